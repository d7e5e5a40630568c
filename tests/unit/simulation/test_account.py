"""Fees by hand, cash and cost to the unit, splits and dividends as they happened."""

from datetime import date

import numpy as np
import pytest

from trading.domain.account import Position
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.domain.rules import as_array, shipped_rules
from trading.simulation.account import (
    Account,
    Booking,
    book,
    costs,
    lost_right,
    mark,
    net_dividend,
    split_shares,
)

KRX = shipped_rules(Market.KRX)
US = shipped_rules(Market.US)
DAY = date(2024, 1, 8)
KOSPI = as_array(KRX.fees(Exchange.KOSPI, DAY, date(2024, 1, 10)))
KOSDAQ = as_array(KRX.fees(Exchange.KOSDAQ, DAY, date(2024, 1, 10)))
NASDAQ = as_array(US.fees(Exchange.NASDAQ, DAY, date(2024, 1, 10)))
FREE = np.zeros((0, 7), dtype=np.int64)


@pytest.mark.parametrize(
    ("sign", "fees", "quantity", "amount", "commission", "tax"),
    [
        # 0.014 % of 7,654,321 = 1,071.60…
        (1, KOSPI, 100, 7_654_321, 1_071, 0),
        # KOSPI sale of 2024: 0.03 % = 2,296.29… and 0.15 % = 11,481.48…, each rounded down.
        (-1, KOSPI, 100, 7_654_321, 1_071, 2_296 + 11_481),
        # KOSDAQ sale of 2024: 0.18 % = 13,777.77…
        (-1, KOSDAQ, 100, 7_654_321, 1_071, 13_777),
        # Below 1 won nothing is charged: 0.014 % of 7,142 = 0.99988.
        (1, KOSPI, 1, 7_142, 0, 0),
        (1, KOSPI, 1, 7_143, 1, 0),
        # 0.25 % of $18,559.00 = $46.3975 → $46.39; a purchase pays nothing else.
        (1, NASDAQ, 100, 185_590_000, 463_900, 0),
        # SEC fee $8 per million (to 2024-05-21) = $0.148472 → $0.15;
        # trading activity fee 100 × $0.000166 = $0.0166 → $0.02.
        (-1, NASDAQ, 100, 185_590_000, 463_900, 1_500 + 200),
        # The activity fee ends at $8.30: 60,000 × $0.000166 = $9.96. SEC: $6m × 8 = $48.00.
        (-1, NASDAQ, 60_000, 60_000_000_000, 150_000_000, 480_000 + 83_000),
        (-1, NASDAQ, 0, 0, 0, 0),
    ],
)
def test_shipped_fees(sign, fees, quantity, amount, commission, tax):
    """Amounts worked out by hand from the shipped rates of 2024."""
    assert costs(sign, quantity, amount, fees) == (commission, tax)


def test_half_up():
    """The third rounding mode: from one half up."""
    fee = np.array([[0, 1, 1_000_000, 0, 1, 2, 0]], dtype=np.int64)

    assert costs(1, 1, 1_499, fee) == (1, 0)
    assert costs(1, 1, 1_500, fee) == (2, 0)
    assert costs(-1, 1, 1_500, fee) == (0, 0)


def test_cutting_an_order_costs_nothing():
    """Three fills of one order pay what one fill pays, each the difference it makes."""
    account = Account(Market.KRX, 10_000_000)
    parts = [
        account.apply_fill("1", "A", Side.BUY, 1, amount, KOSPI) for amount in (7_142, 7_142, 7_143)
    ]

    assert [p.commission for p in parts] == [0, 1, 1]
    assert sum(p.commission for p in parts) == costs(1, 3, 21_427, KOSPI)[0]
    assert account.cash == 10_000_000 - 21_427 - 2


def test_the_next_order_begins_anew():
    """Rounding is an order's own, and the session's numbers may be used again tomorrow."""
    account = Account(Market.KRX, 10_000_000)
    account.apply_fill("1", "A", Side.BUY, 1, 7_142, KOSPI)

    assert account.apply_fill("2", "A", Side.BUY, 1, 7_142, KOSPI).commission == 0
    account.end_session()
    assert account.apply_fill("1", "A", Side.BUY, 1, 7_142, KOSPI).commission == 0


def test_book():
    """A sale takes its share of the cost, rounded down; the last share takes all that is left."""
    assert book(1, 10, 1_000, 7, 5, 450, 5_000) == (15, 1_450, 3_993, 0)
    # 10 of 15 shares: 1,450 × 10 // 15 = 966.
    assert book(-1, 10, 1_200, 9, 15, 1_450, 3_993) == (5, 484, 5_184, 1_200 - 9 - 966)
    assert book(-1, 5, 500, 1, 5, 484, 5_184) == (0, 0, 5_683, 500 - 1 - 484)


def test_round_trip():
    """Bookings of a purchase and a sale, and a position that is gone when it is empty."""
    account = Account(Market.KRX, 1_000_000)
    bought = account.apply_fill("1", "A", Side.BUY, 10, 500_000, KOSPI)
    assert account.portfolio().quantity("A") == 10
    assert account.positions["A"].average_price == 50_000.0
    assert account.equity({"A": 51_000}) == 1_000_000 - 70 + 10_000

    sold = account.apply_fill("2", "A", Side.SELL, 10, 520_000, KOSPI)

    assert bought == Booking(commission=70, tax=0, realized=0)
    assert sold == Booking(commission=72, tax=156 + 780, realized=520_000 - 72 - 936 - 500_000)
    assert account.positions == {}
    assert account.cash == 1_000_000 - 70 + 20_000 - 72 - 936
    assert account.portfolio().quantity("A") == 0
    assert Position(symbol="A", quantity=0, cost=0).average_price == 0.0


def test_mark():
    """Cash and holdings at their prices."""
    assert mark(5, np.array([2, 3]), np.array([10, 100])) == 325


def test_split_shares():
    """Fractions of a share are paid out at the restated base price."""
    assert split_shares(100, 2, 1, 449_000) == (200, 0)
    assert split_shares(25, 1, 10, 1_000) == (2, 500)
    assert split_shares(3, 3, 2, 1_001) == (4, 500)


@pytest.fixture
def holder():
    """Return an account with 100 AAPL and 100 MSFT and no cash."""
    account = Account(Market.US, 0)
    account.restore(
        {
            "cash": 0,
            "positions": {"AAPL": [100, 40_000_000], "MSFT": [100, 25_000_000]},
            "traded": {},
        }
    )
    return account


def cell(raw, name, symbol, day):
    """Return one number of the panel."""
    return int(getattr(raw, name)[raw.row_of(day), raw.symbols.index(symbol)])


def test_apple_split_of_2005(embedded_market, holder):
    """Two for one before the open of 2005-02-28: twice the shares, equity to the unit."""
    raw = embedded_market.raw
    (split,) = [
        a for a in embedded_market.actions
        if a.symbol == "AAPL" and a.ex_date == date(2005, 2, 28)
    ]  # fmt: skip
    before = cell(raw, "close", "AAPL", date(2005, 2, 25))
    reference = cell(raw, "reference", "AAPL", date(2005, 2, 28))
    prices = {"AAPL": before, "MSFT": 1}

    equity = holder.equity(prices)
    effect = holder.apply_action(split, reference=reference, withholding_ppb=0)

    assert (split.kind, split.numerator, split.denominator) == (ActionKind.SPLIT, 2, 1)
    assert (effect.quantity_before, effect.quantity_after, effect.cash) == (100, 200, 0)
    # $88.99 closed the day before; half of an odd number of units is rounded by at most one.
    assert before == 889_900
    assert reference == 444_950
    assert holder.equity({"AAPL": reference, "MSFT": 1}) == equity
    assert holder.positions["AAPL"].cost == 40_000_000


def test_microsoft_dividend_of_2004(embedded_market, holder):
    """$3.08 a share on 2004-11-15, less 15 % for a Korean resident."""
    (paid,) = [
        a for a in embedded_market.actions
        if a.symbol == "MSFT" and a.ex_date == date(2004, 11, 15)
    ]  # fmt: skip
    withholding = US.dividend_withholding_ppb(paid.ex_date)

    effect = holder.apply_action(paid, reference=0, withholding_ppb=withholding)

    assert (paid.kind, paid.amount) == (ActionKind.CASH_DIVIDEND, 30_800)
    assert (effect.cash, effect.withheld) == (2_618_000, 462_000)
    assert holder.cash == 2_618_000
    assert holder.positions["MSFT"].quantity == effect.quantity_after == 100


def test_a_right_moves_neither_shares_nor_cash(holder):
    """What the right is worth is lost to a holder who does nothing: 100 shares fall by a tenth."""
    rights = CorporateAction(
        symbol="AAPL", ex_date=DAY, kind=ActionKind.RIGHTS, numerator=10, denominator=9
    )
    before = holder.equity({"AAPL": 400_000, "MSFT": 1})

    effect = holder.apply_action(rights, reference=rights.ex_price(400_000), withholding_ppb=0)

    assert rights.ex_price(400_000) == 360_000
    assert (effect.quantity_before, effect.quantity_after) == (100, 100)
    assert (effect.cash, effect.withheld, holder.cash) == (0, 0, 0)
    assert holder.positions["AAPL"].cost == 40_000_000
    assert before - holder.equity({"AAPL": 360_000, "MSFT": 1}) == 100 * 40_000


def test_lost_right():
    """A tenth of what was paid; a base price that was set higher gives it back."""
    assert lost_right(40_000_000, 10, 9) == 4_000_000
    assert lost_right(1_000, 9, 10) == -111


def test_dividend_rounds_the_tax_down():
    """15.4 % of 333 won is 51.28."""
    assert net_dividend(1, 333, 154_000_000) == (282, 51)


def test_delisting_and_nothing_held(holder):
    """What is delisted is paid at its last price; what is not held is not touched."""
    gone = CorporateAction(symbol="AAPL", ex_date=DAY, kind=ActionKind.DELISTING, amount=300_000)

    effect = holder.apply_action(gone, reference=0, withholding_ppb=0)

    assert (effect.quantity_after, effect.cash, holder.cash) == (0, 30_000_000, 30_000_000)
    assert "AAPL" not in holder.positions
    assert holder.apply_action(gone, reference=0, withholding_ppb=0) is None


def test_snapshot_keeps_the_rounding(holder):
    """A restored account charges the rest of an order as if nothing had happened."""
    holder.apply_fill("1", "AAPL", Side.BUY, 1, 39_999, NASDAQ)
    other = Account(Market.US, 7)
    other.restore(holder.snapshot())

    rest = [a.apply_fill("1", "AAPL", Side.BUY, 1, 39_999, NASDAQ) for a in (holder, other)]

    # 0.25 % of $3.9999 is less than a cent, of $7.9998 it is one cent.
    assert rest[0] == rest[1] == Booking(commission=100, tax=0, realized=0)
    assert other.snapshot() == holder.snapshot()
