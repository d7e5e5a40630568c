"""The life of an order: the whole transition table, fills, late fills."""

from datetime import UTC, date, datetime

import pytest

from trading.domain.instrument import Exchange
from trading.domain.order import (
    TRANSITIONS,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    Side,
    VenueOrder,
)
from trading.errors import OrderStateError

S = OrderStatus
INTENT = OrderIntent(
    intent_id="us:2005-02-28:open:AAPL:buy",
    session=date(2005, 2, 28),
    boundary="open",
    symbol="AAPL",
    exchange=Exchange.NASDAQ,
    side=Side.BUY,
    quantity=100,
    limit=449_000,
)
ACK = OrderAck(venue_order_id="17", branch="06010", ts_event=datetime(2005, 2, 28, tzinfo=UTC))
# Written down by hand from DESIGN §4 and FAULTS 25 (fills and cancels overtake each other).
LEGAL = {
    S.NEW: {S.SUBMITTED, S.DENIED},
    S.SUBMITTED: {
        S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.REJECTED, S.UNKNOWN, S.CANCELED, S.EXPIRED,
        S.PENDING_CANCEL,
    },
    S.ACCEPTED: {
        S.PARTIALLY_FILLED, S.FILLED, S.REJECTED, S.CANCELED, S.EXPIRED, S.PENDING_CANCEL,
    },
    S.PARTIALLY_FILLED: {
        S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.PENDING_CANCEL,
    },
    S.PENDING_CANCEL: {
        S.CANCELED, S.FILLED, S.EXPIRED, S.PARTIALLY_FILLED, S.ACCEPTED, S.PENDING_CANCEL,
        S.REJECTED,
    },
    S.UNKNOWN: {
        S.UNKNOWN, S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.REJECTED, S.CANCELED, S.EXPIRED,
    },
    S.CANCELED: {S.CANCELED, S.FILLED},
    S.EXPIRED: {S.EXPIRED, S.FILLED},
    S.FILLED: set(),
    S.DENIED: set(),
    S.REJECTED: set(),
}  # fmt: skip


@pytest.mark.parametrize("before", list(S))
@pytest.mark.parametrize("after", list(S))
def test_every_transition(before, after):
    """A listed change happens and keeps the reason; every other one raises."""
    order = Order(intent=INTENT, status=before, reason="earlier")

    if after in LEGAL[before]:
        assert order.moved(after).status is after
        assert order.moved(after).reason == "earlier"
        assert order.moved(after, reason="later").reason == "later"
    else:
        with pytest.raises(OrderStateError, match=INTENT.intent_id):
            order.moved(after)


@pytest.mark.parametrize("before", [S.SUBMITTED, S.UNKNOWN])
def test_an_acceptance_ends_the_doubt(before):
    """Why an answer was lost is no reason of what happens to the order afterwards."""
    order = Order(intent=INTENT, status=before, reason="시간 초과").acknowledged(ACK)

    assert (order.status, order.venue_order_id, order.reason) == (S.ACCEPTED, "17", "")


def test_the_table_knows_every_status():
    """No status is without a row, and an end has no way back to an open one."""
    assert set(TRANSITIONS) == set(S)
    for status in S:
        assert status.is_open is not status.is_end
        if status.is_end:
            assert not any(after.is_open for after in TRANSITIONS[status])


@pytest.mark.parametrize(
    ("before", "quantity", "after", "left"),
    [
        (S.SUBMITTED, 40, S.PARTIALLY_FILLED, 60),
        (S.SUBMITTED, 100, S.FILLED, 0),
        (S.ACCEPTED, 40, S.PARTIALLY_FILLED, 60),
        (S.PARTIALLY_FILLED, 100, S.FILLED, 0),
        (S.UNKNOWN, 40, S.PARTIALLY_FILLED, 60),
        (S.PENDING_CANCEL, 40, S.PENDING_CANCEL, 60),
        (S.PENDING_CANCEL, 100, S.FILLED, 0),
        (S.CANCELED, 40, S.CANCELED, 0),
        (S.CANCELED, 100, S.FILLED, 0),
        (S.EXPIRED, 40, S.EXPIRED, 0),
    ],
)
def test_fill(before, quantity, after, left):
    """A fill moves an open order on; one reported after the cancel is booked all the same."""
    order = Order(intent=INTENT, status=before).with_fill(quantity, quantity * 448_600)

    assert order.status is after
    assert order.open_quantity == left
    assert order.filled_quantity == quantity
    assert order.filled_amount == quantity * 448_600


@pytest.mark.parametrize("quantity", [0, -1, 61])
def test_impossible_fill(quantity):
    """More than was ordered, or nothing, is a lost message or a bug."""
    order = Order(intent=INTENT, status=S.ACCEPTED).with_fill(40, 1)

    with pytest.raises(OrderStateError):
        order.with_fill(quantity, 1)


@pytest.mark.parametrize("status", [S.REJECTED, S.DENIED, S.NEW])
def test_fill_of_an_order_that_never_worked(status):
    """A refused order cannot be filled."""
    with pytest.raises(OrderStateError):
        Order(intent=INTENT, status=status).with_fill(1, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S.SUBMITTED, S.ACCEPTED),
        (S.UNKNOWN, S.ACCEPTED),
        (S.PARTIALLY_FILLED, S.PARTIALLY_FILLED),
        (S.FILLED, S.FILLED),
        (S.CANCELED, S.CANCELED),
    ],
)
def test_acknowledged(before, after):
    """The number is taken over; an order that has gone further stays there."""
    order = Order(intent=INTENT, status=before).acknowledged(ACK)

    assert (order.status, order.venue_order_id, order.branch) == (after, "17", "06010")


def test_open_quantity_of_a_listed_order():
    """What the venue lists as open is what is neither filled, canceled nor rejected."""
    listed = VenueOrder(
        venue_order_id="17", branch="", symbol="AAPL", side=Side.BUY, quantity=100, limit=1,
        filled_quantity=30, filled_amount=30, canceled_quantity=50, rejected_quantity=5,
        ts_event=ACK.ts_event,
    )  # fmt: skip

    assert listed.open_quantity == 15
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
