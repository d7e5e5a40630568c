"""What an account has to earn with, as the ledger tells it."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from trading.context import DayContext, Run
from trading.domain.instrument import Market
from trading.live.journal import CLOSED
from trading.ports import Record, RecordKind
from trading.sessions import SessionCalendar
from trading.settlement import capital_before
from trading.store.ledger import MemoryLedger

SESSIONS = (date(2005, 2, 22), date(2005, 2, 23), date(2005, 2, 24))


def noon(session):
    """Return an instant of a session."""
    return datetime(session.year, session.month, session.day, 17, tzinfo=UTC)


def closed(session, equity):
    """Return the end of a session."""
    body = {"equity": equity, "engine": {"last_price": {}}}
    key = f"{session}:{CLOSED}"
    return Record(
        kind=RecordKind.SESSION, key=key, session=session, ts=noon(session), body=body
    )  # fmt: skip


def brought(session, amount):
    """Return what the operator said came before a session."""
    body = {"adjustments": [{"symbol": "", "amount": amount, "price": 0}]}
    return Record(
        kind=RecordKind.ADJUSTMENT, key=f"{session}:accepted", session=session, ts=noon(session),
        body=body,
    )  # fmt: skip


@pytest.fixture
def day() -> DayContext:
    """The third session of an account that began with 1,000 in cash and shares that cost 500."""
    nothing: Any = None
    run = Run(
        run_id="paper-us", market=Market.US, first_session=SESSIONS[0], sessions=0,
        first_bar=SESSIONS[0], starting_cash=1_000, dataset=None, profile="paper", asked={},
        positions={"IBM": (10, 500)},
    )  # fmt: skip
    names = ("home", "settings", "rules", "policy", "clock", "lake", "source", "notifier")
    return DayContext(
        key="paper-us", env="paper", market=Market.US, session=SESSIONS[2], run=run,
        calendar=SessionCalendar(Market.US, around=SESSIONS[2]), ledger=MemoryLedger(),
        connect=nothing, **dict.fromkeys(names, nothing),
    )  # fmt: skip


def test_what_was_held_when_it_was_taken_over_counts(day):
    """Before its first session the account has its cash and, at cost, its shares."""
    assert capital_before(day.ledger, day.run, day.calendar, day.session) == (1_500, 1_500)


def test_a_deposit_is_no_gain(day):
    """Ten percent were earned on what was there, whatever came since; a withdrawal is no loss."""
    day.ledger.append(
        closed(SESSIONS[0], 1_500),
        brought(SESSIONS[1], 500),
        closed(SESSIONS[1], 2_200),
        brought(SESSIONS[2], -1_100),
    )

    assert capital_before(day.ledger, day.run, day.calendar, day.session) == (1_100, 1_000)
