"""Law 5: money is conserved, however orders are cut and whatever happens to shares."""

from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.domain.rules import as_array, shipped_rules
from trading.simulation.account import Account, costs

DAYS = (date(2005, 3, 2), date(2015, 6, 15), date(2024, 1, 8), date(2026, 2, 2))
FEES = [
    as_array(shipped_rules(exchange.market).fees(exchange, day, day))
    for exchange in Exchange
    for day in DAYS
]
PARTS = st.lists(
    st.tuples(st.integers(1, 5_000), st.integers(1, 50_000_000)), min_size=1, max_size=8
)
FILLS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]), st.booleans(), st.integers(1, 500), st.integers(1, 2_000_000)
    ),
    max_size=30,
)


@given(PARTS, st.sampled_from(FEES), st.sampled_from(list(Side)))
def test_any_cut_of_an_order_costs_the_same(parts, fees, side):
    """The fees of the fills add up to the fee of the whole, kind by kind, and none is negative."""
    account = Account(Market.KRX, 0)
    account.restore({"cash": 0, "positions": {"A": [10**6, 10**9]}, "traded": {}})

    booked = [account.apply_fill("1", "A", side, q, q * p, fees) for q, p in parts]

    amount = sum(q * p for q, p in parts)
    whole = costs(side.sign, sum(q for q, _ in parts), amount, fees)
    assert (sum(b.commission for b in booked), sum(b.tax for b in booked)) == whole
    assert all(b.commission >= 0 and b.tax >= 0 for b in booked)
    assert account.cash == -side.sign * amount - sum(whole)


@given(st.integers(0, 10**11), st.integers(0, 10**6), st.sampled_from(FEES))
def test_compiled_fees_are_exact(amount, quantity, fees):
    """The same in integers without a bound: nothing overflows up to ten million dollars."""
    exact = [0, 0]
    for kind, side, rate, per_share, unit, rounding, maximum in fees.tolist():
        if side == 1:
            continue
        numerator, denominator = amount * rate + quantity * per_share * 1_000, unit * 10**9
        whole = {
            0: numerator // denominator,
            1: -(-numerator // denominator),
            2: (2 * numerator + denominator) // (2 * denominator),
        }[rounding]
        exact[kind] += min(whole * unit, maximum) if maximum else whole * unit

    assert list(costs(-1, quantity, amount, fees)) == exact


@given(FILLS, st.sampled_from(FEES))
@settings(max_examples=60)
def test_cash_cost_and_realized_profit_balance(fills, fees):
    """Cash + cost of what is held = starting cash + realized - fees of purchases; always."""
    account = Account(Market.US, 10**12)
    realized = paid = 0
    for number, (symbol, is_buy, quantity, price) in enumerate(fills):
        held = account.portfolio().quantity(symbol)
        side = Side.BUY if is_buy or held == 0 else Side.SELL
        shares = quantity if side is Side.BUY else min(quantity, held)
        booking = account.apply_fill(str(number), symbol, side, shares, shares * price, fees)
        realized += booking.realized
        paid += booking.commission + booking.tax if side is Side.BUY else 0

        cost = sum(p.cost for p in account.positions.values())
        assert account.cash + cost == 10**12 + realized - paid
        assert all(p.quantity > 0 and p.cost >= 0 for p in account.positions.values())

    other = Account(Market.US, 0)
    other.restore(account.snapshot())
    prices = dict.fromkeys(account.positions, 17)
    assert other.equity(prices) == account.equity(prices)
    assert account.equity(prices) == account.cash + 17 * sum(
        p.quantity for p in account.positions.values()
    )


@given(
    st.integers(1, 10**6), st.integers(1, 20), st.integers(1, 20), st.integers(1, 10**6),
)  # fmt: skip
def test_a_split_creates_nothing(held, numerator, denominator, reference):
    """At the restated price equity changes by less than one share's rounding."""
    account = Account(Market.US, 0)
    account.restore({"cash": 0, "positions": {"A": [held, 1]}, "traded": {}})
    split = CorporateAction(
        symbol="A", ex_date=DAYS[0], kind=ActionKind.SPLIT, numerator=numerator,
        denominator=denominator,
    )  # fmt: skip

    effect = account.apply_action(split, reference=reference, withholding_ppb=0)

    worth = account.cash + effect.quantity_after * reference
    exact = held * numerator * reference / denominator
    assert exact - 1 <= worth <= exact
    assert (effect.quantity_after + 1) * denominator > held * numerator
    assert effect.cash < reference


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.sampled_from([0, 150_000_000, 154_000_000]))
def test_a_dividend_is_paid_whole(held, amount, withholding):
    """Net and tax make the gross; the tax never exceeds its rate."""
    account = Account(Market.KRX, 0)
    account.restore({"cash": 0, "positions": {"A": [held, 1]} if held else {}, "traded": {}})
    paid = CorporateAction(
        symbol="A", ex_date=DAYS[0], kind=ActionKind.CASH_DIVIDEND, amount=amount
    )

    effect = account.apply_action(paid, reference=0, withholding_ppb=withholding)

    assert (effect is None) is (held == 0)
    if effect is not None:
        assert effect.cash + effect.withheld == held * amount
        assert 0 <= held * amount * withholding - effect.withheld * 10**9 < 10**9
        assert np.int64(effect.cash) == account.cash
