"""What an account is shown to be: by its books, in the units of its market."""

from datetime import UTC, date, datetime
from pathlib import Path

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
