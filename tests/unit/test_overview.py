"""What an account is shown to be: by its books, in the units of its market."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from trading import bootstrap
from trading.context import Run
from trading.domain.instrument import Market
from trading.overview import account_now
from trading.ports import Record, RecordKind

SESSION = date(2024, 6, 4)
OPENED = datetime(2024, 6, 4, 0, 0, tzinfo=UTC)


def begun(root: Path, cash: int, held: dict[str, tuple[int, int]]) -> bootstrap.Installation:
    """Return a home whose paper account has opened its first session with what it had already."""
    installation = bootstrap.open_home(root, console=False)
    ledger = bootstrap.open_ledger(installation.home, "paper", Market.KRX)
    ledger.claim()
    run = Run(
        run_id="r1", market=Market.KRX, first_session=SESSION, sessions=1, first_bar=SESSION,
        starting_cash=cash, dataset=None, profile="paper", asked={}, positions=held,
    )  # fmt: skip
    account = {"cash": cash, "positions": {name: list(both) for name, both in held.items()}}
    body = {"engine": {"account": account, "last_price": {"005930": 75_000}}}
    ledger.append(run.record(OPENED))
    ledger.append(
        Record(
            kind=RecordKind.SESSION, key=f"{SESSION}:opened", session=SESSION, ts=OPENED, body=body
        )
    )
    ledger.close()
    return installation


@pytest.mark.parametrize("cash", [10_000_000, 0])
def test_what_was_held_before_was_not_earned_today(tmp_path, cash):
    """On the first day of an account its shares count as what they had cost."""
    home = begun(tmp_path, cash, {"005930": (100, 7_000_000)}).home

    now = account_now(home, "paper", Market.KRX)

    assert now.equity == cash + 7_500_000
    assert now.daily_profit == 500_000
    assert now.daily_return == now.total_return == pytest.approx(500_000 / (cash + 7_000_000))


def test_an_account_without_money_is_shown(tmp_path):
    """Nothing is no divisor."""
    now = account_now(begun(tmp_path, 0, {}).home, "paper", Market.KRX)

    assert (now.equity, now.exposure) == (0, 0.0)
    shown = now.to_json()
    assert (shown["daily_profit"], shown["daily_return"], shown["total_return"]) == (0, 0.0, 0.0)


NEXT, LAST = date(2024, 6, 5), date(2024, 6, 7)


def record(kind: RecordKind, key: str, session: date, body: dict[str, Any]) -> Record:
    """Return a record of a session's morning."""
    ts = datetime(session.year, session.month, session.day, tzinfo=UTC)
    return Record(kind=kind, key=f"{session}:{key}", session=session, ts=ts, body=body)


def opened(session: date, cash: int) -> Record:
    """Return the books of a session as the one before left them, all in cash."""
    body = {"engine": {"account": {"cash": cash, "positions": {}}, "last_price": {}}}
    return record(RecordKind.SESSION, "opened", session, body)


def closed(session: date, cash: int) -> Record:
    """Return the books of a session that is over, all in cash."""
    engine = {"account": {"cash": cash, "positions": {}}, "last_price": {}}
    body = {"equity": cash, "cash": cash, "state": "active", "differences": [], "engine": engine}
    return record(RecordKind.SESSION, "closed", session, body)


def brought(session: date, amount: int) -> Record:
    """Return what the operator said came before a session, taken away where it is below 0."""
    body = {"adjustments": [{"symbol": "", "amount": amount, "price": 0}]}
    return record(RecordKind.ADJUSTMENT, "accepted", session, body)


def test_money_that_was_brought_or_taken_was_not_earned(tmp_path):
    """Ten percent were earned before it; what came or went since counts once, and is no return."""
    installation = begun(tmp_path, 1_000_000, {})

    def now(*records: Record) -> tuple[int, int, float, float]:
        ledger = bootstrap.open_ledger(installation.home, "paper", Market.KRX)
        ledger.claim()
        ledger.append(*records)
        ledger.close()
        one = account_now(installation.home, "paper", Market.KRX)
        return one.equity, one.daily_profit, one.daily_return, one.total_return

    # A session that runs.
    assert now(
        closed(SESSION, 1_100_000), brought(NEXT, 900_000), opened(NEXT, 1_100_000)
    ) == pytest.approx((2_000_000, 0, 0.0, 0.1), rel=1e-5)
    # One that is over.
    assert now(closed(NEXT, 2_200_000)) == pytest.approx((2_200_000, 200_000, 0.1, 0.21), rel=1e-5)
    # The day after it.
    assert now(opened(LAST, 2_200_000)) == pytest.approx((2_200_000, 0, 0.0, 0.21), rel=1e-5)
    assert now(brought(LAST, -1_100_000)) == pytest.approx((1_100_000, 0, 0.0, 0.21), rel=1e-5)
    assert now(closed(LAST, 990_000)) == pytest.approx((990_000, -110_000, -0.1, 0.089), rel=1e-5)
