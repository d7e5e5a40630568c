"""What a session at a venue owes: from its own morning on, until its last duty is done."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from trading import bootstrap
from trading.bootstrap import Installation
from trading.clock import ManualClock
from trading.context import report_dir
from trading.domain.instrument import Market
from trading.home import shipped_config_dir
from trading.monitoring import CLOSED, Heartbeat
from trading.watch import contract, probe, run
from trading.watch.contract import Duty, owed, send_hourly, todays_session
from trading.watch.run import Watch

YESTERDAY, TODAY = date(2024, 6, 3), date(2024, 6, 4)
# KRX, 09:00 to 15:30 in Seoul.
OPENS = datetime(2024, 6, 4, 0, 0, tzinfo=UTC)
CLOSES = datetime(2024, 6, 4, 6, 30, tzinfo=UTC)
LATE = timedelta(seconds=90)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An installation that trades paper in Korea and has no ledger yet."""
    app = yaml.safe_load((shipped_config_dir() / "app.yaml").read_text("utf-8"))
    (tmp_path / "config").mkdir()
    for source in shipped_config_dir().rglob("*.yaml"):
        path = tmp_path / "config" / source.relative_to(shipped_config_dir())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.read_bytes())
    text = yaml.safe_dump(app | {"env": "paper", "market": "krx"}, allow_unicode=True)
    (tmp_path / "config" / "app.yaml").write_text(text, "utf-8")
    return bootstrap.open_home(tmp_path, console=False)


def beat_of(session: date) -> Heartbeat:
    """Return the last beat of a session that was closed."""
    at = datetime(session.year, session.month, session.day, 6, 32, tzinfo=UTC)
    return Heartbeat(
        pid=1, ts=at, market="krx", session=str(session), phase=CLOSED, counters={},
        memory_mb=500.0, cpu_percent=1.0, venue_ts=at, speed=1.0,
    )  # fmt: skip


def test_yesterdays_beat_ends_no_day(installation):
    """Before its hour a session owes nothing, after it its beginning: also on the second day."""

    def missing(now: datetime) -> list[Duty]:
        beat = beat_of(YESTERDAY)
        _, found = owed(installation, Market.KRX, TODAY, env="paper", beat=beat, now=now)
        return [one.duty for one in found]

    assert missing(OPENS - timedelta(hours=8)) == []
    assert missing(OPENS + LATE) == []
    assert missing(OPENS + LATE + timedelta(seconds=1)) == [Duty.OPENED]


def test_a_session_is_todays_until_its_last_duty_was_due(installation):
    """A watch that begins after the close still sees that there is no report."""

    def todays(now: datetime) -> date | None:
        return todays_session(installation, Market.KRX, now)

    assert todays(OPENS - timedelta(hours=8)) == TODAY
    assert todays(CLOSES + timedelta(minutes=90)) == TODAY
    assert todays(CLOSES + timedelta(hours=3)) is None
    # A holiday.
    assert todays(datetime(2024, 6, 6, 1, 0, tzinfo=UTC)) is None


def test_the_hourly_flow_tells_of_a_day_that_never_began(installation, monkeypatch):
    """At a venue a session that is not there is no silence, and nothing is said before its hour."""
    notifier = bootstrap.notifier_of(installation)

    def looked(now: datetime) -> int:
        monkeypatch.setattr(contract, "WallClock", lambda: ManualClock(now))
        return send_hourly(installation, notifier)["missed"]

    assert looked(OPENS - timedelta(hours=1)) == 0
    assert looked(OPENS + timedelta(hours=1)) == 1


def test_what_followed_the_close_at_once_counts(installation, monkeypatch):
    """A backup between the close and the look that sees it is the backup of that day."""
    looks = [CLOSES, CLOSES + timedelta(seconds=10)]
    told: list[datetime | None] = []
    watch = Watch(installation, Market.KRX)
    present = contract.read_trace(installation, "paper", Market.KRX, TODAY)

    def answer(*_: object, now: datetime, closed_at: datetime | None, **__: object) -> object:
        told.append(closed_at)
        return replace(present, closed=CLOSES if now > CLOSES else None), []

    monkeypatch.setattr(contract, "owed", answer)
    for now in (*looks, looks[-1] + timedelta(seconds=10)):
        monkeypatch.setattr(run, "WallClock", lambda now=now: ManualClock(now))
        watch.step()

    assert told == [None, None, looks[0]]


def test_another_accounts_report_is_not_this_ones(installation):
    """A demo of the same market and day leaves its report in its own folder."""
    folder = report_dir(installation.home, "demo", Market.KRX, TODAY)
    folder.mkdir(parents=True)
    (folder / "report.html").touch()

    assert contract.read_trace(installation, "demo", Market.KRX, TODAY).reported
    assert not contract.read_trace(installation, "paper", Market.KRX, TODAY).reported


def test_a_ledger_that_the_disk_refuses_is_said(installation, monkeypatch):
    """What cannot be looked at ends no watch."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("permission denied")

    monkeypatch.setattr(probe, "account_now", refused)

    sample = probe.Sampler(installation, "paper", Market.KRX).look(OPENS)

    assert sample.account is None and "permission denied" in sample.unread
