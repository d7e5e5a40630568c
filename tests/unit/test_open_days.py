"""Which days may be opened, and when: before anything is asked of a venue."""

import shutil
from datetime import UTC, date, datetime
from typing import Any

import pytest

from trading import bootstrap, day
from trading.clock import ManualClock
from trading.config import Env
from trading.context import DayContext, Run
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import (
    ConfigError,
    MissingDataError,
    NothingLeftError,
    TransientBrokerError,
    UsageError,
)
from trading.home import shipped_config_dir
from trading.live.journal import CLOSED, OPENED
from trading.ports import Record, RecordKind
from trading.sessions import SessionCalendar
from trading.store.intake import Brought
from trading.store.lake import Lake
from trading.store.ledger import MemoryLedger

MONDAY, TUESDAY = date(2026, 11, 30), date(2026, 12, 1)
# New York is five hours behind: the session of Monday runs from 14:30 to 21:00 in UTC.
IN_SESSION = datetime(2026, 11, 30, 16, tzinfo=UTC)
AFTER_CLOSE = datetime(2026, 11, 30, 21, tzinfo=UTC)


@pytest.fixture
def keys(monkeypatch):
    """Give the environment keys that open nothing."""
    for env in ("REAL", "PAPER"):
        monkeypatch.setenv(f"KIS_{env}_APP_KEY", "key-of-the-test")
        monkeypatch.setenv(f"KIS_{env}_APP_SECRET", "secret-of-the-test")
        monkeypatch.setenv(f"KIS_{env}_ACCOUNT", "60001234-01")
    monkeypatch.setenv("KIS_HTS_ID", "user01")


def of_env(home, env):
    """Give ``home`` settings of its own that trade in ``env``."""
    shutil.copytree(shipped_config_dir(), home / "config")
    app = home / "config" / "app.yaml"
    app.write_text(app.read_text("utf-8").replace("env: demo", f"env: {env}"), "utf-8")
    return home


def a_run(session):
    """Return the run of an account that began with ``session``."""
    return Run(
        run_id=f"real-us-{session}", market=Market.US, first_session=session, sessions=0,
        first_bar=session, starting_cash=1, dataset=None, profile="real", asked={},
    )  # fmt: skip


def test_tomorrow_is_not_opened_while_today_runs(home, keys, monkeypatch):
    """The bar of a running session would be kept as if it were whole; nothing is written."""
    monkeypatch.setattr(bootstrap, "WallClock", lambda: ManualClock(IN_SESSION))

    with pytest.raises(UsageError, match="2026-11-30 거래일이 끝난 뒤"):
        bootstrap.open_day(of_env(home, Env.PAPER), Market.US, TUESDAY)

    assert not (home / "data").exists()


def test_a_past_session_is_read_without_the_word_of_trading(home, keys):
    """Report, risk and parity of a real account ask for nothing that only an order needs."""
    root = of_env(home, Env.REAL)
    installation = bootstrap.open_home(root, console=False)
    ledger = bootstrap.open_ledger(installation.home, Env.REAL, Market.US)
    key = f"{MONDAY}:{CLOSED}"
    ledger.append(
        a_run(MONDAY).record(IN_SESSION),
        Record(kind=RecordKind.SESSION, key=key, session=MONDAY, ts=AFTER_CLOSE, body={}),
    )
    ledger.close()

    with pytest.raises(ConfigError, match="TRADING_CONFIRM_REAL"):
        bootstrap.open_day(root, Market.US, MONDAY)
    past = bootstrap.open_past_day(root, Market.US)
    bootstrap.close_day(past.key)

    assert past.session == MONDAY


def test_a_demo_opens_recorded_days_only(home):
    """A day without a record is told as what it is."""
    with pytest.raises(MissingDataError, match="2005-02-26은"):
        bootstrap.open_day(home, Market.US, date(2005, 2, 26))


def at_wall_clock(now, ledger):
    """Return Monday of an account at KIS, at ``now``."""
    nothing: Any = None
    names = ("run", "home", "settings", "policy", "lake", "source", "notifier", "connect")
    rules = shipped_rules(Market.US)
    return DayContext(
        key="paper-us-2026-11-30", env="paper", market=Market.US, session=MONDAY, rules=rules,
        calendar=SessionCalendar(Market.US, rules), clock=ManualClock(now), ledger=ledger,
        **dict.fromkeys(names, nothing),
    )  # fmt: skip


class ReachedError(Exception):
    """The session would be traded now."""


def test_a_session_that_is_over_is_not_begun(monkeypatch):
    """Begun before its close it goes on, also after it; begun later it is none."""

    def prepare(_: Any) -> Any:
        raise ReachedError

    monkeypatch.setattr(day, "prepare", prepare)
    empty, begun = MemoryLedger(), MemoryLedger()
    begun.append(
        Record(
            kind=RecordKind.SESSION, key=f"{MONDAY}:{OPENED}", session=MONDAY, ts=IN_SESSION,
            body={"engine": {}},
        )
    )  # fmt: skip

    with pytest.raises(NothingLeftError, match="이미 끝나"):
        day.intraday(at_wall_clock(AFTER_CLOSE, empty))
    with pytest.raises(ReachedError):
        day.intraday(at_wall_clock(IN_SESSION, empty))
    with pytest.raises(ReachedError):
        day.intraday(at_wall_clock(AFTER_CLOSE, begun))


class Asked:
    """An intake that notes what it is asked for, and on which morning."""

    def __init__(self, brought: Brought) -> None:
        self.brought = brought
        self.mornings: list[date] = []

    def bring(self, kinds: Any, wanted: Any, *, known: date) -> Brought:
        """Note the morning."""
        self.mornings.append(known)
        return self.brought


def test_on_a_saturday_nobody_knows_the_splits_of_monday(home):
    """Training for Monday asks nothing of Monday's morning, so that Monday itself still does."""
    saturday, morning = (
        datetime(2026, 11, 28, 14, tzinfo=UTC),
        datetime(2026, 11, 30, 13, tzinfo=UTC),
    )
    asked = Asked(Brought(missing=[date(2026, 11, 27)]))

    for now in (saturday, morning):
        context = at_wall_clock(now, MemoryLedger())
        context.intake, context.run = asked, a_run(date(2026, 1, 5))
        with pytest.raises(MissingDataError):
            day.market_data(context)

    assert asked.mornings == [date(2026, 11, 28), MONDAY]


def test_a_venue_that_gave_no_bar_is_asked_again(home):
    """Bars that did not come are no quiet market; one name without its bar stops nobody."""
    context = at_wall_clock(datetime(2026, 11, 30, 13, tzinfo=UTC), MemoryLedger())
    context.run, context.lake = a_run(date(2026, 1, 5)), Lake(home / "data" / "lake")
    context.intake = Asked(Brought(failed={"AAPL": "점검 중"}))

    with pytest.raises(TransientBrokerError, match="점검 중"):
        day.market_data(context)
