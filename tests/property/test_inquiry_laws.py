"""Which venue order is ours, under any interleaving of twins, orders by hand and broken listings."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Exchange
from trading.domain.order import Order, OrderIntent, OrderStatus, Side, VenueOrder
from trading.live.inquiry import Inquiries, Verdict
from trading.live.reconcile import is_newer, mark_of

# 23:00 in Korea: an American morning, with the Korean midnight in the middle of the session.
OPEN = datetime(2024, 7, 8, 14, tzinfo=UTC)
SHAPES = [("AAPL", Side.BUY, 10, 100), ("AAPL", Side.BUY, 11, 100), ("IBM", Side.SELL, 5, 90)]

# What happens at a venue, in any order: somebody trades by hand, we send (and it arrives or not),
# the midnight passes, and it lists, wholly or not at all.
HAND = st.tuples(st.just("hand"), st.sampled_from(SHAPES))
SEND = st.tuples(st.just("send"), st.sampled_from(SHAPES), st.booleans(), st.booleans())
MIDNIGHT = st.tuples(st.just("midnight"), st.booleans())
LIST = st.tuples(st.just("list"), st.booleans())
STEPS = st.lists(st.one_of(HAND, SEND, MIDNIGHT, LIST, LIST), max_size=25)


@dataclass
class World:
    """A venue's true order book: which order is whose.

    Numbers may begin lower after the Korean midnight, but none comes twice in a session: a cancel
    names its order by the number alone.
    """

    def __init__(self):
        self.rows, self.owner = [], {}
        self.now, self.number = OPEN, 1_000

    def book(self, shape, owner):
        """Book an order under the next number."""
        self.number += 1
        self.now += timedelta(seconds=1)
        symbol, side, quantity, limit = shape
        row = VenueOrder(
            venue_order_id=f"{self.number:010d}", branch="", symbol=symbol, side=side,
            quantity=quantity, limit=limit, filled_quantity=0, filled_amount=0,
            canceled_quantity=0, rejected_quantity=0, ts_event=self.now,
        )  # fmt: skip
        self.rows.append(row)
        self.owner[id(row)] = owner


def ours(number, shape):
    """Return an order of ours that left."""
    symbol, side, quantity, limit = shape
    intent = OrderIntent(
        intent_id=f"us:{number}", session=date(2024, 7, 8), boundary="open", symbol=symbol,
        exchange=Exchange.NASDAQ, side=side, quantity=quantity, limit=limit,
    )  # fmt: skip
    return Order(intent=intent, status=OrderStatus.UNKNOWN)


@given(STEPS, st.integers(min_value=1, max_value=3))
def test_no_wrong_verdict(steps, listings):
    """An order that arrived is never called absent nor given another's number; none is claimed twice.

    An order of somebody else is claimed in one case only: it is the single new order of exactly
    these terms, and ours never arrived.
    """
    world, inquiries = World(), Inquiries(listings=listings, seconds=0.0)
    mark, claimed, at = "", set(), 0.0
    for number, (what, *rest) in enumerate([*steps, *[("list", True)] * (listings + 1)]):
        if what == "hand":
            world.book(rest[0], "hand")
        elif what == "midnight" and world.now.date() == OPEN.date() and world.now.hour < 15:
            world.now = datetime(2024, 7, 8, 15, tzinfo=UTC)
            world.number = 0 if rest[0] else world.number
        elif what == "send":
            shape, arrives, answered = rest
            if inquiries.concerns(shape[0]):
                # The symbol is frozen while its question is open: nothing of ours leaves for it.
                continue
            order = ours(number, shape)
            if arrives:
                world.book(shape, order.intent.intent_id)
            if arrives and answered:
                claimed.add(world.rows[-1].venue_order_id)
            else:
                inquiries.ask(order, highest_before=mark, may_leave=True)
        elif what == "list" and rest[0]:
            at += 1.0
            answers = inquiries.hear(list(world.rows), claimed=claimed, at=at)
            for answer in answers:
                intent_id = answer.order.intent.intent_id
                did_arrive = intent_id in world.owner.values()
                match answer.verdict:
                    case Verdict.FOUND:
                        owner = world.owner[id(answer.listed)]
                        assert answer.listed.venue_order_id not in claimed
                        claimed.add(answer.listed.venue_order_id)
                        assert owner == intent_id or not did_arrive
                    case Verdict.ABSENT:
                        assert not did_arrive
                    case Verdict.AMBIGUOUS:
                        assert not answer.may_leave
            mark = mark_of(world.rows, mark)
    assert not inquiries


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.floats(0.0, 5.0), st.integers(1, 4))
def test_absence_needs_its_listings_and_its_time(present, seconds, listings):
    """Only so many complete listings in a row, over so long, prove that an order never arrived."""
    inquiries = Inquiries(listings=listings, seconds=seconds)
    order = ours(1, SHAPES[0])
    world = World()
    for _ in range(2):
        world.book(SHAPES[0], "hand")
    inquiries.ask(order, highest_before="")
    streak, began = 0, 0.0
    for at, two in enumerate(present):
        if not inquiries:
            break
        rows = world.rows if two else []
        if at == 0 or present[at - 1] != two:
            streak, began = 0, float(at)
        streak += 1
        believed = streak >= listings and at - began >= seconds

        answers = inquiries.hear(rows, claimed=(), at=float(at))

        assert [a.verdict for a in answers] == (
            [Verdict.AMBIGUOUS if two else Verdict.ABSENT] if believed else []
        )


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 10**9)), min_size=1, max_size=8))
def test_a_mark_divides_before_from_after(places):
    """Nothing of a listing is newer than its mark, and everything that comes after it is."""
    row = VenueOrder(
        venue_order_id="1", branch="", symbol="AAPL", side=Side.BUY, quantity=1, limit=1,
        filled_quantity=0, filled_amount=0, canceled_quantity=0, rejected_quantity=0, ts_event=OPEN,
    )  # fmt: skip
    rows = [
        replace(row, venue_order_id=str(n), ts_event=OPEN + timedelta(days=d)) for d, n in places
    ]
    mark = mark_of(rows)
    day, number = max(places)

    assert not any(is_newer(one, mark) for one in rows)
    assert is_newer(
        replace(row, venue_order_id=str(number + 1), ts_event=OPEN + timedelta(days=day)), mark
    )
    assert is_newer(replace(row, venue_order_id="1", ts_event=OPEN + timedelta(days=day + 1)), mark)
    assert mark_of([], mark) == mark == mark_of(rows, mark)
