"""What would lose, double or forget an order: cancels that never left, stale listings, late news."""

from dataclasses import replace
from datetime import timedelta

import pytest
from small_venue import QUICK, Day

from trading.domain.decision import TradingState
from trading.domain.order import OrderStatus, OrderUpdate, Side
from trading.errors import OrderNotSentError
from trading.live.journal import Evidence, Journal
from trading.ports import RecordKind
from trading.store.ledger import MemoryLedger


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day at a small venue whose time waits for us."""
    return Day(traded, embedded_market, MemoryLedger())


def fall(day, *, filled=5):
    """Fill a little of the first purchase, then halve its price: what is left is taken back."""
    first = day.decision.intents[0]
    day.plan(1, lambda: day.venue.fill(day.venue.number_of(first.symbol), filled, first.limit))
    day.plan(2, lambda: day.venue.tick(first.symbol, first.limit // 2))
    return first


async def test_a_cancel_that_a_killed_process_had_written(day):
    """Written and perhaps never sent, it is sent at the next start."""
    first = fall(day)

    async def cancel(order):
        raise Killed

    usual, day.venue.cancel = day.venue.cancel, cancel
    with pytest.raises(Killed):
        await day.run()
    assert day.recorded.orders[first.intent_id].status is OrderStatus.PENDING_CANCEL
    day.venue.cancel = usual
    day.venue.notices.clear()

    await day.run()

    assert day.venue.canceled == [day.venue.number_of(first.symbol)]
    assert day.recorded.orders[first.intent_id].status is OrderStatus.CANCELED


async def test_a_cancel_that_could_not_be_sent_is_sent_again(day):
    """No connection, no token, too many calls: the venue has refused nothing."""
    first = fall(day)
    usual, tries = day.venue.cancel, []

    async def cancel(order):
        tries.append(order.venue_order_id)
        if len(tries) == 1:
            raise OrderNotSentError("연결하지 못함")
        return await usual(order)

    day.venue.cancel = cancel

    await day.run()

    assert tries == [day.venue.number_of(first.symbol)] * 2
    assert day.recorded.orders[first.intent_id].status is OrderStatus.CANCELED


async def test_a_purchase_found_after_a_loss_limit_broke_is_taken_back(day):
    """Its answer was lost, so it could not be canceled with the others."""
    first, other = day.decision.intents[:2]
    day.venue.fate = ["lost"]
    listings = day.venue.orders

    async def late(session):
        rows = await listings(session)
        broken = day.engine.risk.state is not TradingState.ACTIVE
        return rows if broken else [r for r in rows if r.symbol != first.symbol]

    day.waits = False
    day.supervision = replace(day.supervision, absence_listings=1_000)
    day.venue.orders = late
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(other.symbol)))
    day.plan(2, lambda: day.venue.tick(other.symbol, 1))

    await day.run()

    assert day.recorded.state is TradingState.REDUCING
    assert day.venue.number_of(first.symbol) in day.venue.canceled


async def test_an_order_refused_while_it_is_being_canceled(day):
    """Promises nothing any more: its shares can be sold, its money spent."""
    first = fall(day)

    async def cancel(order):
        number = order.venue_order_id
        row = day.venue.rows[number]
        day.venue.rows[number] = replace(row, rejected_quantity=row.open_quantity)
        raise OrderNotSentError("연결하지 못함")

    day.venue.cancel = cancel
    seen = {}
    day.plan(40, lambda: seen.update(day.engine.orders))

    await day.run()

    assert not seen[first.intent_id].status.is_open


@pytest.mark.parametrize("fate", ["lost", "gone"])
async def test_a_listing_that_lacks_a_known_order_proves_no_absence(day, fate):
    """KIS answers bare for a moment: what we know to be there is missing, so others may be too."""
    second = day.decision.intents[1]
    day.venue.fate = ["ok", fate]
    listings, bare = day.venue.orders, []

    async def orders(session):
        rows = await listings(session)
        if len(day.venue.rows) >= 1 and day.venue.sent[-1:] and len(bare) < 5:
            bare.append(1)
            return []
        return rows

    day.venue.orders = orders
    day.plan(1, lambda: [day.venue.fill_all(n) for n in list(day.venue.rows)])

    await day.run()

    found = day.recorded.orders[second.intent_id].status
    assert found is (OrderStatus.ACCEPTED if fate == "lost" else OrderStatus.REJECTED)
    assert day.recorded.manual == {}
    assert len(bare) == 5
    assert day.agrees()


async def test_a_bare_listing_after_a_restart_doubles_nothing(day):
    """Killed with a request on the wire; the first listings hold not even what we know of."""
    second = day.decision.intents[1]
    submit = day.venue.submit

    async def dying(intent):
        await submit(intent)
        if intent == second:
            raise Killed

    async def answered(intent):
        ack = await submit(intent)
        if intent == second:
            raise Killed
        return ack

    day.venue.submit = answered
    with pytest.raises(Killed):
        await day.run()
    day.venue.submit = submit
    listings, bare = day.venue.orders, []

    async def orders(session):
        if len(bare) < 5:
            bare.append(1)
            return []
        return await listings(session)

    day.venue.orders = orders

    await day.run()

    assert day.venue.sent.count(second.intent_id) == 1


async def test_a_stop_that_may_not_leave_is_refused_once(day):
    """Not once a print: each refusal is a commit, a mail and an order in memory."""
    first = day.decision.intents[0]
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(first.symbol)))
    day.plan(2, lambda: day.engine.frozen.add(first.symbol))
    for minute in range(3, 20):
        day.plan(minute, lambda: day.venue.tick(first.symbol, first.limit // 2))
    day.plan(20, lambda: day.engine.frozen.clear())
    day.plan(21, lambda: day.venue.tick(first.symbol, first.limit // 2))

    await day.run()

    refused = [i for i, _ in day.recorded.denied if i.symbol == first.symbol]
    assert len(refused) == 1
    sales = [r for r in day.venue.rows.values() if r.side is Side.SELL]
    assert [(r.symbol, r.quantity) for r in sales] == [(first.symbol, first.quantity)]
