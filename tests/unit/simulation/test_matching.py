"""One order against one print, and the books around it."""

from datetime import UTC, datetime

import pytest

from trading.domain.order import Side
from trading.simulation.matching import Execution, Matcher, WorkingOrder, capacity_of, fill
from trading.simulation.paths import Print

NOON = datetime(2024, 1, 8, 3, tzinfo=UTC)
BUY, SELL = 1, -1


def trade(price, volume, *, symbol="AAPL", auction=False):
    """Return a print at noon."""
    return Print(symbol=symbol, ts=NOON, price=price, volume=volume, auction=auction)


def order(name, quantity, limit, *, side=Side.BUY, symbol="AAPL"):
    """Return a working order."""
    return WorkingOrder(order_id=name, symbol=symbol, side=side, quantity=quantity, limit=limit)


@pytest.mark.parametrize(
    ("sign", "limit", "previous", "price", "expected"),
    [
        # An auction, or arrival: the print's own price, never the limit.
        (BUY, 105, 0, 100, (10, 100)),
        (SELL, 95, 0, 100, (10, 100)),
        (BUY, 100, 0, 100, (10, 100)),
        (BUY, 99, 0, 100, (0, 0)),
        (SELL, 101, 0, 100, (0, 0)),
        # Rested away from the market until the price came to it: its limit.
        (BUY, 98, 100, 95, (10, 98)),
        (SELL, 102, 100, 105, (10, 102)),
        (BUY, 98, 100, 99, (0, 0)),
        (SELL, 102, 100, 101, (0, 0)),
        (BUY, 98, 100, 98, (10, 98)),
        # Already at or through the market at the print before: what the market pays now.
        (BUY, 100, 100, 97, (10, 97)),
        (BUY, 103, 100, 101, (10, 101)),
        (SELL, 97, 100, 99, (10, 99)),
    ],
)
def test_price_of_a_fill(sign, limit, previous, price, expected):
    """Never worse than the limit; better only where the market came better."""
    assert fill(sign, 10, limit, previous, price, 10, 0, 0) == expected


@pytest.mark.parametrize(
    ("sign", "price", "filled"),
    [
        (BUY, 130, False),
        (BUY, 129, True),
        (SELL, 130, True),
        (SELL, 70, False),
        (SELL, 71, True),
        (BUY, 70, True),
    ],
)
def test_locked_at_the_daily_limit(sign, price, filled):
    """Nobody sells at the upper limit to a late buyer, nobody buys at the lower from a seller."""
    limit = 130 if sign == BUY else 70

    shares, _ = fill(sign, 10, limit, 0, price, 10, 70, 130)

    assert (shares > 0) is filled


@pytest.mark.parametrize(
    ("quantity", "capacity", "shares"), [(10, 4, 4), (4, 10, 4), (10, 0, 0), (0, 10, 0)]
)
def test_capacity_caps_the_shares(quantity, capacity, shares):
    """An order takes what it wants, at most what the print leaves it."""
    assert fill(BUY, quantity, 100, 0, 100, capacity, 0, 0)[0] == shares


def test_a_halt_fills_nothing():
    """A print without a price is none."""
    assert fill(BUY, 10, 100, 0, 0, 10, 0, 0) == (0, 0)


def test_capacity_rounds_down():
    """Ten percent of 1,999 shares are 199."""
    assert capacity_of(1_999, 1_000) == 199
    assert capacity_of(9, 1_000) == 0
    assert capacity_of(9, 10_000) == 9


def test_orders_before_the_open_meet_the_auction():
    """They rest until the first print and all take its price."""
    matcher = Matcher(10_000)
    matcher.open_session({"AAPL": (0, 0)})

    assert matcher.submit(order("1", 10, 105)) == []
    assert matcher.submit(order("2", 10, 101)) == []
    assert matcher.submit(order("3", 10, 99)) == []
    executions = matcher.on_print(trade(100, 100, auction=True))

    assert [(e.order_id, e.quantity, e.price) for e in executions] == [
        ("1", 10, 100),
        ("2", 10, 100),
    ]
    assert [o.order_id for o in matcher.open_orders()] == ["3"]


def test_own_orders_share_one_print_in_order_of_arrival():
    """The account takes its share of a print once, the oldest order first."""
    matcher = Matcher(1_000)
    matcher.open_session({})
    matcher.submit(order("old", 15, 100))
    matcher.submit(order("new", 15, 100))

    executions = matcher.on_print(trade(100, 200))

    assert [(e.order_id, e.quantity) for e in executions] == [("old", 15), ("new", 5)]
    assert [(o.order_id, o.quantity) for o in matcher.open_orders()] == [("new", 10)]
    assert matcher.submit(order("late", 5, 100)) == []


def test_a_late_order_meets_what_is_left_of_the_last_print():
    """Arrival at an open market fills at once, at the last price, within what is left."""
    matcher = Matcher(1_000)
    matcher.open_session({})
    matcher.on_print(trade(100, 200))

    executions = matcher.submit(order("1", 30, 110))

    assert executions == [
        Execution(order_id="1", symbol="AAPL", side=Side.BUY, quantity=20, price=100)
    ]
    assert matcher.on_print(trade(99, 50))[0].quantity == 5
    assert matcher.on_print(trade(101, 500)) == [
        Execution(order_id="1", symbol="AAPL", side=Side.BUY, quantity=5, price=101)
    ]
    assert matcher.open_orders() == []


def test_a_resting_order_fills_at_its_limit_but_at_the_price_of_an_auction():
    """In continuous trading the price passes the limit; the closing auction has one price."""
    matcher = Matcher(10_000)
    matcher.open_session({})
    matcher.on_print(trade(100, 10))
    matcher.submit(order("day", 5, 98))
    matcher.submit(order("close", 5, 96))

    assert matcher.on_print(trade(97, 10))[0].price == 98
    assert matcher.on_print(trade(95, 10, auction=True))[0].price == 95


def test_other_instruments_are_left_alone():
    """A print fills its own instrument's orders only."""
    matcher = Matcher(10_000)
    matcher.open_session({})
    matcher.submit(order("1", 5, 100, symbol="IBM"))

    assert matcher.on_print(trade(90, 10)) == []
    assert matcher.on_print(trade(90, 10, symbol="IBM"))[0].order_id == "1"


def test_limits_hold_for_their_session():
    """A new session forgets prices, capacity and orders of the one before."""
    matcher = Matcher(10_000)
    matcher.open_session({"AAPL": (70, 130)})
    matcher.submit(order("1", 5, 130))
    assert matcher.on_print(trade(130, 10)) == []

    matcher.open_session({"AAPL": (90, 160)})

    assert matcher.open_orders() == []
    assert matcher.submit(order("2", 5, 130)) == []
    assert matcher.on_print(trade(130, 10))[0].order_id == "2"


def test_a_cancel_takes_out_what_was_open():
    """It does so once; the others keep waiting, oldest first."""
    matcher = Matcher(10_000)
    matcher.open_session({})
    for name in "123":
        matcher.submit(order(name, 10, 90))
    matcher.on_print(trade(90, 4))

    assert matcher.cancel("1") == 6
    assert matcher.cancel("1") == 0
    assert [o.order_id for o in matcher.open_orders()] == ["2", "3"]


def test_a_resting_order_waits_for_the_next_print():
    """``rest`` never trades on arrival; ``fillable`` says what ``submit`` would do."""
    matcher = Matcher(10_000)
    matcher.on_print(trade(100, 30))

    assert matcher.fillable(order("b", 40, 100)) == 30
    matcher.rest(order("a", 10, 100))
    assert [o.quantity for o in matcher.open_orders()] == [10]
    [execution] = matcher.on_print(trade(99, 30, auction=True))
    assert (execution.quantity, execution.price) == (10, 99)


def test_a_reduced_order_keeps_its_place():
    """Four of ten taken out: the six left are served before a later order."""
    matcher = Matcher(10_000)
    matcher.submit(order("first", 10, 100))
    matcher.submit(order("second", 10, 100))

    matcher.reduce("first", 4)
    executions = matcher.on_print(trade(100, 8))

    assert [(e.order_id, e.quantity) for e in executions] == [("first", 6), ("second", 2)]
    matcher.reduce("second", 8)
    assert matcher.open_orders() == []


def test_a_print_passed_over_leaves_nothing_to_take():
    """Nobody takes part in it, and who comes after it waits for the next."""
    matcher = Matcher(10_000)
    matcher.submit(order("resting", 10, 100))

    matcher.pass_over(trade(95, 50))

    assert matcher.submit(order("late", 10, 100)) == []
    executions = matcher.on_print(trade(96, 50))
    # Both were through the market at the print before: what the market pays now.
    assert [(e.order_id, e.price) for e in executions] == [("resting", 96), ("late", 96)]
