"""The monitor beside real sessions: what is missing is told, what is well is not."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from program import EAGER, Answer, command, configure, environment, ledger_rows, messages, trading

from trading import bootstrap, log
from trading.clock import ManualClock, WallClock
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.live.journal import read_session
from trading.monitoring import (
    CLOSED,
    OPEN,
    Heartbeat,
    SessionMonitor,
    is_running,
    read_heartbeat,
)
from trading.overview import account_now, heartbeat_of
from trading.watch.contract import Duty, Missed, owed, send_hourly
from trading.watch.run import Watch

SESSION = date(2004, 11, 12)
OPENS = datetime(2004, 11, 12, 14, 30, tzinfo=UTC)
NEXT_OPENS = OPENS + timedelta(days=3)
# Nothing to train: a family that cannot be taught is an error of its own.
CALM = {**EAGER, "models": {"families": []}}
MONITOR = {
    "sample_seconds": 0.5,
    "line_seconds": 5,
    "late_seconds": 15,
    "closing_minutes": 3,
    "demo_speed": 400,
}


@pytest.fixture(autouse=True, scope="module")
def console() -> Iterator[None]:
    """Homes are opened without a console here; later tests have theirs again."""
    yield
    log.configure(None)


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> Path:
    """A home after one session in lock-step, its report, its parity and its backup."""
    root = configure(tmp_path_factory.mktemp("traded"), CALM)
    answer = trading(
        root, "demo", "--start", str(SESSION), "--sessions", "1", "--no-prefect", "--json"
    )
    assert answer.code == 0, answer.err
    return root


@pytest.fixture
def copied(traded, tmp_path) -> Path:
    """A copy of that home, to take something away from."""
    return Path(shutil.copytree(traded, tmp_path / "home"))


def forget(database: str, query: str) -> Callable[[Path], None]:
    """Return what drops rows from a database of a home; the ledger's own guard steps aside."""

    def drop(root: Path) -> None:
        with closing(sqlite3.connect(root / "data" / database)) as db, db:
            db.execute("DROP TRIGGER IF EXISTS journal_no_delete")
            assert db.execute(query).rowcount > 0

    return drop


def remove(*parts: str) -> Callable[[Path], None]:
    """Return what moves a file or folder of a home away."""

    def move(root: Path) -> None:
        root.joinpath(*parts).rename(root / "gone")

    return move


LEDGER = "ledger/demo-us.db"
STEPS = {
    Duty.OPENED: forget(LEDGER, "DELETE FROM journal WHERE kind='session' AND key LIKE '%opened'"),
    Duty.DATA: remove("data", "lake"),
    Duty.DECISION: forget(LEDGER, "DELETE FROM journal WHERE kind = 'decision'"),
    Duty.CHECK: forget(
        LEDGER, "DELETE FROM journal WHERE kind = 'mark' AND ts LIKE '2004-11-12T16:05:%'"
    ),
    Duty.HOURLY: forget(
        "outbox.db",
        "DELETE FROM outbox WHERE event = 'hourly_status' "
        "AND json_extract(body, '$.ts') LIKE '2004-11-12T17:30%'",
    ),
    Duty.CLOSED: forget(LEDGER, "DELETE FROM journal WHERE kind='session' AND key LIKE '%closed'"),
    Duty.PARITY: forget(LEDGER, "DELETE FROM journal WHERE kind = 'parity'"),
    Duty.REPORT: remove("data", "reports", "demo-us", str(SESSION), "report.html"),
    Duty.BACKUP: remove("data", "backup.json"),
}
# When each is due, in venue time; what follows the close is due by the wall's clock.
DUE = {
    Duty.OPENED: OPENS,
    Duty.DATA: OPENS,
    Duty.DECISION: OPENS,
    Duty.CHECK: datetime(2004, 11, 12, 16, 5, tzinfo=UTC),
    Duty.HOURLY: datetime(2004, 11, 12, 17, 35, tzinfo=UTC),
    Duty.CLOSED: datetime(2004, 11, 12, 21, 1, tzinfo=UTC),
}


def missing_at(root: Path, venue: datetime, since_close: timedelta) -> list[Missed]:
    """Return what the session owes when the venue's clock shows ``venue``."""
    installation = bootstrap.open_home(root, console=False)
    closed = heartbeat_of(installation.home, "demo", Market.US)
    assert closed is not None and closed.phase == CLOSED
    beat = replace(closed, venue_ts=venue, speed=None)
    _, missing = owed(
        installation, Market.US, SESSION, env="demo", beat=beat,
        now=closed.ts + since_close, closed_at=closed.ts,
    )  # fmt: skip
    return missing


def test_a_whole_session_owes_nothing(traded):
    """At every hour of the day, and long after it, nothing is missing."""
    for hour in range(9):
        assert missing_at(traded, OPENS + timedelta(hours=hour), timedelta(hours=hour)) == []


@pytest.mark.parametrize("duty", STEPS)
def test_each_step_that_is_taken_away_is_missed(duty, copied):
    """Whatever did not happen is told of, that alone, and not before its deadline."""
    STEPS[duty](copied)
    late = timedelta(seconds=90)
    long_ago = timedelta(hours=1)

    told = missing_at(copied, OPENS + timedelta(days=1), long_ago)
    if duty in DUE:
        before = missing_at(copied, DUE[duty] + late, long_ago)
        after = missing_at(copied, DUE[duty] + late + timedelta(seconds=1), long_ago)
    else:
        before = missing_at(copied, OPENS + timedelta(days=1), timedelta(minutes=30))
        after = missing_at(copied, OPENS + timedelta(days=1), timedelta(minutes=31))

    assert [one.duty for one in told] == [duty]
    assert before == []
    assert [one.duty for one in after] == [duty]


def test_the_hourly_flow_tells_of_it_once(copied):
    """A running session that skipped a check is told of once, however often the flow looks."""
    STEPS[Duty.CHECK](copied)
    installation = bootstrap.open_home(copied, console=False)
    path = copied / "data" / "run" / "demo-us.json"
    quiet = send_hourly(installation, bootstrap.notifier_of(installation))
    beat_at(path, OPENS + timedelta(hours=3), {"frames": 1})

    first = send_hourly(installation, bootstrap.notifier_of(installation))
    send_hourly(installation, bootstrap.notifier_of(installation))

    assert (quiet["running"], quiet["missed"]) == (0, 0)
    assert (first["running"], first["missed"]) == (1, 1)
    (told,) = messages(copied, "event_missed")
    assert told["expected"] == "장중 점검 (2004-11-13 01:05 KST)"
    assert (told["market"], told["session"]) == ("us", str(SESSION))


def beat_at(path: Path, venue: datetime, counters: dict[str, int]) -> Heartbeat:
    """Write the heartbeat of a session of this very process at the venue's ``venue``."""
    return SessionMonitor(
        path,
        market="us",
        session=str(SESSION),
        clock=WallClock(),
        counters=lambda: counters,
        venue=ManualClock(venue),
        speed=1.0,
    ).beat(OPEN)


def test_the_account_as_the_ledger_has_it(traded):
    """What is shown of a session is what its books say, to the last unit."""
    home = bootstrap.open_home(traded, console=False).home

    now = account_now(home, "demo", Market.US)

    ledger = bootstrap.open_ledger(home, "demo", Market.US, read_only=True)
    closed = read_session(ledger, SESSION).closed
    ledger.close()
    assert closed is not None
    assert (now.equity, now.cash) == (closed["equity"], closed["cash"])
    assert now.is_closed and not now.is_running
    assert now.holdings and now.equity == now.cash + sum(one.value for one in now.holdings)
    assert {one.symbol for one in now.orders} == {"AAPL", "IBM", "MSFT"}
    assert json.loads(json.dumps(now.to_json(), default=str))["fills"] == now.fills == 3


def test_in_the_middle_of_a_session(copied, traded):
    """Books before the close come from the opening and the fills, and equal those of the close."""
    STEPS[Duty.CLOSED](copied)

    before = account_now(bootstrap.open_home(copied, console=False).home, "demo", Market.US)
    after = account_now(bootstrap.open_home(traded, console=False).home, "demo", Market.US)

    assert not before.is_closed
    assert before.cash == after.cash
    assert {h.symbol: (h.quantity, h.average_cost) for h in before.holdings} == {
        h.symbol: (h.quantity, h.average_cost) for h in after.holdings
    }


def test_a_silent_venue_and_a_hung_session(copied):
    """A feed without news, and a session that no longer beats, are alarms within their time."""
    STEPS[Duty.CLOSED](copied)
    change(copied, silence_seconds=0.2, late_seconds=40)
    installation = bootstrap.open_home(copied, console=False)
    watch = Watch(installation, Market.US)
    path = copied / "data" / "run" / "demo-us.json"

    beat_at(path, OPENS + timedelta(minutes=1), {"frames": 7})
    watch.step()
    beat_at(path, OPENS + timedelta(minutes=1), {"frames": 8})
    time.sleep(0.3)
    watch.step()
    lively = [one.duty for one in watch.missed]
    time.sleep(0.3)
    watch.step()
    silent = [one.duty for one in watch.missed]
    beat = json.loads(path.read_text())
    hung = datetime.fromisoformat(beat["ts"]) - timedelta(seconds=41)
    path.write_text(json.dumps(beat | {"ts": hung.isoformat()}))
    watch.step()

    assert lively == []
    assert silent == [Duty.FEED]
    assert [one.duty for one in watch.missed] == [Duty.FEED, Duty.ALIVE]
    assert not watch.verdict().is_clean


def test_attached_only_it_starts_nothing(copied):
    """Where somebody else runs the demo's days, an account that is free stays so."""
    watch = Watch(bootstrap.open_home(copied, console=False), Market.US, only_attaches=True)

    for _ in range(5):
        watch.step()

    assert watch.child is None
    assert not left_over(copied)


def change(root: Path, **settings: object) -> None:
    """Change settings of the monitor in a home."""
    configure(root, {"app": {"monitor": {**MONITOR, **settings}}, **CALM})


@pytest.mark.slow
def test_it_starts_a_demo_and_judges(copied):
    """Without a session it runs the demo at its pace, over the close, and finds nothing wrong."""
    change(copied)

    answer = trading(copied, "monitor", "--hours", "0.06", "--json", timeout=400)

    body = answer.json
    assert body["missed"] == [], answer.err
    assert answer.code == 0, answer.err
    assert body["clean"] and body["findings"] == [] and body["errors"] == 0
    assert body["sessions"][0] == "2004-11-15"
    assert body["samples"] > 50
    rows = [json.loads(one) for path in sorted(Path(body["folder"]).glob("*.jsonl"))
            for one in path.read_text().splitlines()]  # fmt: skip
    assert len(rows) == body["samples"]
    running = [row for row in rows if row["is_running"]]
    assert max(row["api"]["succeeded"] for row in running) > 0
    assert any({"session", "exchange", "monitor"} <= set(row["processes"]) for row in running)
    assert not left_over(copied)


@pytest.mark.slow
def test_a_killed_session_is_told_of_and_taken_up_again(copied):
    """``kill -9`` in the middle of a day is told at once, and the day goes on.

    Before the dead man's switch would act: the account trades as it did.
    """
    change(copied, demo_speed=120)
    installation = bootstrap.open_home(copied, console=False)
    watching = subprocess.Popen(
        command(copied, "monitor", "--hours", "1"), env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    path = copied / "data" / "run" / "demo-us.json"
    first = session_pid(path, after=None, seconds=300)
    os.kill(first, signal.SIGKILL)
    patience = installation.settings.app.supervision.dead_man_seconds
    second = session_pid(path, after=first, seconds=patience)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)

    answer = Answer(code=watching.returncode, out=out, err=err)
    assert answer.code == 1, (out, err)
    assert "종료 코드 -9" in answer.out
    assert second != first
    rows = ledger_rows(
        copied, "SELECT count(*) FROM journal WHERE session = '2004-11-15' AND kind = 'decision'"
    )
    assert rows == [(1,)]
    assert account_now(installation.home, "demo", Market.US).state is TradingState.ACTIVE
    assert [one["code"] for one in messages(copied, "error")] == [-9]
    assert not left_over(copied)


def session_pid(path: Path, *, after: int | None, seconds: float) -> int:
    """Wait until a session of another process than ``after`` has seen its venue open."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        beat = read_heartbeat(path)
        if beat is not None and beat.pid != after and is_running(beat):
            venue = beat.venue_now(datetime.now(UTC))
            if venue > NEXT_OPENS + timedelta(minutes=5):
                return beat.pid
        time.sleep(0.2)
    raise AssertionError("no session")


def left_over(root: Path) -> list[str]:
    """Return the processes that still work on a home.

    A session's guardian is not among them: it outlives a session that was stopped, on purpose, for
    ``dead_man_seconds``.
    """
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(root) in line and "guard-session" not in line]
