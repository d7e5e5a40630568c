"""Laws of the matcher over recorded prints and any orders."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.order import Side
from trading.simulation.matching import Matcher, WorkingOrder, capacity_of
from trading.simulation.paths import daily_prints

OPEN, CLOSE = datetime(2004, 2, 24, 14, 30, tzinfo=UTC), datetime(2004, 2, 24, 21, tzinfo=UTC)
# (before which print, buy?, quantity as a part of the bar's volume in 1e-6, limit in bps of it)
ORDERS = st.lists(
    st.tuples(
        st.integers(0, 4), st.booleans(), st.integers(1, 200_000), st.integers(-600, 600),
        st.sampled_from(["AAPL", "IBM"]),
    ),
    max_size=12,
)  # fmt: skip
CANCELS = st.dictionaries(st.integers(0, 11), st.integers(0, 3), max_size=4)
ROWS = st.integers(1, 3200)


@pytest.fixture(scope="module")
def bars(embedded_panels):
    """Return the recorded bars of a row."""
    raw = embedded_panels[0]

    def of(row):
        return {
            s: [
                int(getattr(raw, n)[row, raw.symbols.index(s)])
                for n in ("open", "high", "low", "close", "volume")
            ]
            for s in ("AAPL", "IBM")
        }

    return of


def steps(bars, orders, cancels):
    """Return the session as a list of (what, argument)."""
    prints = {s: daily_prints(s, *bar, OPEN, CLOSE) for s, bar in bars.items()}
    found = []
    for k in range(5):
        for number, (when, is_buy, part, bps, symbol) in enumerate(orders):
            if when == k:
                bar = bars[symbol]
                order = WorkingOrder(
                    order_id=str(number), symbol=symbol, side=Side.BUY if is_buy else Side.SELL,
                    quantity=max(1, bar[4] * part // 1_000_000),
                    limit=bar[0] * (10_000 + bps) // 10_000,
                )  # fmt: skip
                found.append(("submit", order))
        if k < 4:
            found += [("on_print", prints[s][k]) for s in bars]
            found += [("cancel", str(n)) for n, at in cancels.items() if at == k]
    return found


def play(matcher, what):
    """Return what each step answered."""
    return [getattr(matcher, name)(argument) for name, argument in what]


@settings(max_examples=60, deadline=None)
@given(ROWS, ORDERS, CANCELS, st.integers(0, 40))
def test_a_restored_matcher_continues_identically(bars, row, orders, cancels, at):
    """Wherever the session is cut, a new matcher from the snapshot gives the same rest."""
    what = steps(bars(row), orders, cancels)
    whole, first = Matcher(1_000), Matcher(1_000)
    for matcher in (whole, first):
        matcher.open_session({"AAPL": (0, 0), "IBM": (0, 0)})

    expected = play(whole, what)
    begun = play(first, what[:at])
    second = Matcher(1_000)
    second.restore(json.loads(json.dumps(first.snapshot())))

    assert begun + play(second, what[at:]) == expected
    assert second.open_orders() == whole.open_orders()


@settings(max_examples=60, deadline=None)
@given(ROWS, ORDERS, CANCELS, st.sampled_from([1, 500, 1_000, 10_000]))
def test_fills_are_honest(bars, row, orders, cancels, participation):
    """Within quantity, limit, the bar's range and the account's share of every print."""
    recorded = bars(row)
    what = steps(recorded, orders, cancels)
    matcher = Matcher(participation)
    matcher.open_session({"AAPL": (0, 0), "IBM": (0, 0)})
    given_ = {order.order_id: order for name, order in what if name == "submit"}
    filled, canceled, taken = dict.fromkeys(given_, 0), dict.fromkeys(given_, 0), {}
    room = {}

    for name, argument in what:
        answer = getattr(matcher, name)(argument)
        if name == "cancel":
            if argument in canceled:
                canceled[argument] += answer
            continue
        if name == "on_print":
            room[argument.symbol] = capacity_of(argument.volume, participation)
            taken[argument.symbol] = 0
        for execution in answer:
            order = given_[execution.order_id]
            filled[execution.order_id] += execution.quantity
            taken[execution.symbol] += execution.quantity
            assert execution.quantity > 0
            assert (order.limit - execution.price) * order.side.sign >= 0
            _, high, low, _, _ = recorded[execution.symbol]
            assert low <= execution.price <= high
        assert all(taken[s] <= room[s] for s in room)

    for order_id, order in given_.items():
        left = {o.order_id: o.quantity for o in matcher.open_orders()}.get(order_id, 0)
        assert filled[order_id] + canceled[order_id] + left == order.quantity


@given(st.integers(0, 2**40), st.integers(0, 10_000))
def test_capacity_is_a_share(volume, participation):
    """Never more than asked for, never a whole share less."""
    capacity = int(capacity_of(np.int64(volume), participation))

    assert 0 <= volume * participation - capacity * 10_000 < 10_000
