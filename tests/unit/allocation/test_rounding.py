"""Whole lots against all others, bands against the theory, and accounts that are too small."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.allocation.rounding import (
    SmallReason,
    no_trade_width,
    round_lots,
    small_account,
)
from trading.domain.instrument import Currency

NO_SECTORS = np.zeros(0, dtype=np.int64)


def integers(*values):
    """Return an array of whole numbers."""
    return np.array(values, dtype=np.int64)


def lots_of(
    wished, value, *, cost=None, most=None, sectors=None, room=NO_SECTORS, budget, nodes=400
):
    """Return (lots, error, gap) with costs of the values and without caps by default."""
    n = len(wished)
    value = np.asarray(value, dtype=np.int64)
    return round_lots(
        np.asarray(wished, dtype=np.float64),
        value,
        value if cost is None else np.asarray(cost, dtype=np.int64),
        np.full(n, 10_000) if most is None else np.asarray(most, dtype=np.int64),
        np.full(n, -1) if sectors is None else np.asarray(sectors, dtype=np.int64),
        np.asarray(room, dtype=np.int64),
        budget,
        nodes,
    )


def scaled(wished, value, cost, most, sectors, room, budget):
    """Return the wishes within caps, scaled to their sectors and to the budget, by hand."""
    target = np.minimum(wished, most * value).astype(float)
    for s, most_value in enumerate(room):
        total = target[sectors == s].sum()
        if total > most_value:
            target[sectors == s] *= most_value / total
    spent = (target * cost / value).sum()
    return target * budget / spent if spent > budget else target


# --- whole lots ------------------------------------------------------------------------------


def test_nearest_when_all_can_be_paid():
    """With money for everything each name is rounded to its nearest lot."""
    lots, error, gap = lots_of([149.0, 151.0, 30.0], [100, 100, 100], budget=1000)

    np.testing.assert_array_equal(lots, [1, 2, 0])
    assert error == pytest.approx(49 + 49 + 30)
    assert gap == 0.0


def test_the_budget_chooses():
    """One lot more can be paid: it goes where it brings the holding nearest."""
    lots, _, gap = lots_of([190.0, 160.0], [100, 100], budget=350)

    np.testing.assert_array_equal(lots, [2, 1])
    assert gap == 0.0


def test_search_beats_greedy():
    """Greedy takes the lot that gains most per won and cannot pay for the better pair after it.

    Scaled to the budget the wishes are 62 of 100 and twice 49 of 80: gains 24 or 2 × 18.
    """
    wished, value, budget = [99.0, 78.0, 78.0], [100, 80, 80], 160

    greedy = lots_of(wished, value, budget=budget, nodes=0)
    searched = lots_of(wished, value, budget=budget)

    np.testing.assert_array_equal(searched[0], [0, 1, 1])
    assert searched[2] == 0.0
    assert greedy[1] >= searched[1]
    assert greedy[1] - searched[1] <= greedy[2]


@settings(max_examples=300)
@given(data=st.data())
def test_never_beaten_by_more_than_the_gap(data):
    """Against every whole-lot portfolio: never above budget, cap or sector; the error is what it
    says; nothing is nearer by more than the gap; a search that ended is the nearest; and without
    sectors greedy is within one lot (the theorem)."""
    n = data.draw(st.integers(1, 4))

    def draw(low, high):
        return integers(*data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    value = draw(40, 400)
    cost = value + draw(0, 30)
    wished = draw(0, 900).astype(float)
    most = draw(0, 4)
    sectors = draw(-1, 1)
    room = integers(*data.draw(st.lists(st.integers(0, 1500), min_size=2, max_size=2)))
    budget = data.draw(st.integers(0, 2500))
    if not data.draw(st.booleans()):
        sectors, room = np.full(n, -1), NO_SECTORS
    target = scaled(wished, value, cost, most, sectors, room, budget)
    best = np.inf
    for tried in itertools.product(*[range(m + 1) for m in most]):
        k = np.array(tried)
        inside = all((k * value)[sectors == s].sum() <= room[s] for s in range(len(room)))
        if inside and (k * cost).sum() <= budget:
            best = min(best, np.abs(target - k * value).sum())

    for nodes in (0, 3, 100_000):
        lots, error, gap = lots_of(
            wished, value, cost=cost, most=most, sectors=sectors, room=room, budget=budget,
            nodes=nodes,
        )  # fmt: skip
        assert (lots >= 0).all() and (lots <= most).all()
        assert (lots * cost).sum() <= budget
        for s in range(len(room)):
            assert (lots * value)[sectors == s].sum() <= room[s]
        assert error == pytest.approx(np.abs(target - lots * value).sum(), abs=1e-6)
        # A search that ended by itself leaves less than half a minor unit, and calls it nothing.
        assert error - gap <= best + (0.5 if gap == 0.0 else 1e-6)
        if nodes > 3:
            assert error <= best + 0.5
        if len(room) == 0:
            assert error < best + value.max()


@pytest.mark.parametrize(
    ("wished", "value", "budget"),
    [
        ([], [], 100),
        ([50.0], [0], 100),
        ([50.0], [100], 0),
        ([50.0], [100], -5),
        ([0.0, 0.0], [10, 10], 100),
    ],
)
def test_nothing_to_buy(wished, value, budget):
    """No names, no price, no money, no wish: no lots."""
    lots, _, gap = lots_of(wished, value, budget=budget)

    np.testing.assert_array_equal(lots, np.zeros(len(wished)))
    assert gap == 0.0


def test_shortage_is_shared():
    """When half can be paid, everybody gets about half and not the first everything."""
    lots, _, _ = lots_of([1000.0, 1000.0, 1000.0, 1000.0], [10, 10, 10, 10], budget=2000)

    np.testing.assert_array_equal(lots, [50, 50, 50, 50])


def test_recorded_prices(embedded_panels):
    """Five stocks on 100 recorded days: never above cap, sector or the wished gross, and nearer
    to the weights than rounding down on every one of them."""
    raw, _ = embedded_panels
    wished = np.array([0.098, 0.1, 0.05, 0.061, 0.1]) * 1e9
    sectors = integers(0, 0, 0, 1, -1)
    for row in range(2200, 3200, 10):
        price = np.maximum(raw.close[row], 0)
        value = np.where(price > 0, price, 1)
        most = np.where(price > 0, 100_000_000 // value, 0)
        target = scaled(
            wished, value, value, most, sectors, integers(200_000_000, 10**9), 4 * 10**8
        )

        lots, error, _ = lots_of(
            wished, price, most=most, sectors=sectors, room=(200_000_000, 10**9), budget=4 * 10**8
        )

        bought = lots * price
        assert (bought <= 100_000_000).all()
        assert bought[:3].sum() <= 200_000_000
        assert bought.sum() <= 4 * 10**8
        assert (lots[price == 0] == 0).all()
        assert error <= (target - target // value * value).sum() + 1e-6


# --- bands -----------------------------------------------------------------------------------


def test_band_width():
    """(3/2 · 0.6² · 0.4² · 0.01 / 1)^⅓ = 0.0952 of one half-spread of 1 %, worked out by hand;
    Guasoni and Muhle-Karbe give (3/4γ)^⅓ (π²(1-π)²)^⅓ ε^⅓ with ε the whole spread."""
    width = no_trade_width(np.array([0.6]), np.array([100.0]), 1.0)

    assert width[0] == pytest.approx((0.75 * 0.6**2 * 0.4**2 * 0.02) ** (1 / 3), rel=1e-12)
    assert width[0] == pytest.approx(0.0952, abs=5e-5)


@pytest.mark.parametrize(("target", "cost"), [(0.0, 50.0), (1.0, 50.0), (0.3, 0.0), (0.3, np.nan)])
def test_no_band(target, cost):
    """Whole exits and whole positions have none, and neither has trading that costs nothing."""
    assert no_trade_width(np.array([target]), np.array([cost]), 3.0)[0] == 0.0


# --- too small -------------------------------------------------------------------------------


@given(
    weight=st.floats(0.001, 0.3),
    cap=st.floats(0.01, 0.3),
    lot_value=st.integers(100, 10_000_000),
    equity=st.integers(1, 10_000_000_000),
)
def test_smallest_equity_suffices(weight, cap, lot_value, equity):
    """Too small exactly when no lot is rounded to; with the equity named one lot is, and with a
    hundredth less none."""
    weight = min(weight, cap)

    def lots(equity):
        most = int(cap * equity) // lot_value
        return lots_of([weight * equity], [lot_value], most=[most], budget=2 * equity)[0][0]

    found = small_account(weight, cap, lot_value, equity)

    if found is None:
        assert lot_value <= cap * equity + 1
        return
    assert lots(equity) == 0
    assert lots(found.smallest_equity) >= 1
    assert found.smallest_equity > equity
    assert small_account(weight, cap, lot_value, found.smallest_equity) is None
    assert small_account(weight, cap, lot_value, int(found.smallest_equity * 0.99) - 1) is not None


def test_too_small_in_words():
    """Samsung at 71,900 won in a million won account with a cap of 5 %: the cap is the reason."""
    found = small_account(0.05, 0.05, 71_900, 1_000_000)

    assert found is not None
    assert found.reason is SmallReason.LOT_ABOVE_CAP
    assert found.smallest_equity == 1_438_001
    assert found.text(Currency.KRW) == (
        "계좌가 작아 살 수 없음: 한 단위 71,900원, 종목 한도 50,000원, 필요한 자산 1,438,001원 이상"
    )


def test_wish_below_half_a_lot():
    """A wish of less than half a lot is nearer to none."""
    found = small_account(0.03, 0.1, 71_900, 1_000_000)

    assert found is not None
    assert found.reason is SmallReason.LOT_ABOVE_TARGET
    assert small_account(0.04, 0.1, 71_900, 1_000_000) is None


@pytest.mark.parametrize(
    ("weight", "cap", "lot_value"), [(0.0, 0.1, 10), (0.1, 0.0, 10), (0.1, 0.1, 0)]
)
def test_no_wish_is_not_too_small(weight, cap, lot_value):
    """What is not wished, not allowed or has no price is no question of the account."""
    assert small_account(weight, cap, lot_value, 100) is None
