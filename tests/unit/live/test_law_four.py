"""What would lose, double or forget an order: cancels that never left, stale listings, late news."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from small_venue import QUICK, Day

from trading.domain.decision import TradingState
from trading.domain.market import Tick
from trading.domain.order import Order, OrderDoubt, OrderStatus, Side
from trading.errors import OrderNotSentError, OrderUnknownError
from trading.live.inquiry import Inquiries, Verdict
from trading.risk.guards import GuardCode
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
    usual, canceled = day.venue.cancel, {}

    async def cancel(order):
        canceled[order.intent.symbol] = day.venue.clock.now()
        return await usual(order)

    day.venue.cancel = cancel

    await day.run()

    assert day.recorded.state is TradingState.REDUCING
    # At the check that broke the limit, not at the next one.
    assert canceled[first.symbol] == day.at(30)


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


async def test_a_bare_listing_at_the_close(day):
    """The last fills are in a listing that holds what is known, not in one that holds nothing."""
    first = day.decision.intents[0]
    listings, bare = day.venue.orders, []

    async def orders(session):
        if day.venue.clock.now() > day.start.close_ts and len(bare) < 5:
            bare.append(1)
            return []
        return await listings(session)

    day.venue.orders = orders
    day.plan(385, lambda: day.venue.fill_all(day.venue.number_of(first.symbol), told=False))

    outcome = await day.run()

    assert (len(bare), outcome.fills, outcome.differences) == (5, 1, ())


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


async def test_cancels_that_get_lost_are_tried_at_the_next_check_too(day):
    """After a loss limit a purchase that still works is asked back until the venue carries it out."""
    first, other = day.decision.intents[:2]
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(other.symbol)))
    day.plan(2, lambda: day.venue.tick(other.symbol, 1))
    usual, tries = day.venue.cancel, []

    async def cancel(order):
        if order.intent != first:
            return await usual(order)
        tries.append(day.venue.clock.now())
        if len(tries) <= 2 * QUICK.absence_listings:
            raise OrderUnknownError("응답 없음")
        return await usual(order)

    day.venue.cancel = cancel

    await day.run()

    assert day.recorded.state is TradingState.REDUCING
    assert len(set(tries)) > 1
    assert day.recorded.orders[first.intent_id].status is OrderStatus.CANCELED


async def test_a_purchase_refused_after_a_part_of_it_was_filled(day):
    """What was filled stays, the rest is over."""
    first = day.decision.intents[0]
    day.plan(1, lambda: day.venue.fill(day.venue.number_of(first.symbol), 5, first.limit))

    def refuse():
        number = day.venue.number_of(first.symbol)
        row = day.venue.rows[number]
        day.venue.rows[number] = replace(row, rejected_quantity=row.open_quantity)

    day.plan(2, refuse)
    seen = {}
    day.plan(70, lambda: seen.update(day.engine.orders))

    outcome = await day.run()

    assert seen[first.intent_id].status is OrderStatus.CANCELED
    assert outcome.differences == ()


async def test_asking_for_prices_goes_on_after_an_error(day):
    """A quote that cannot be read must not leave every stop blind for the rest of the day."""
    day.waits = False
    day.venue.polls_prices = True
    asked = []

    async def poll(symbols):
        asked.append(day.venue.clock.now())
        raise KeyError("last")

    day.venue.poll = poll
    day.plan(5, lambda: None)

    await day.run()

    assert len(asked) > 1


def test_absence_takes_its_time(day):
    """However many listings agree, one from before the request arrived proves nothing."""
    order = Order(intent=day.decision.intents[0]).moved(OrderStatus.SUBMITTED)
    inquiries = Inquiries(listings=2, seconds=5.0)
    inquiries.ask(order, highest_before="")

    early = [inquiries.hear([], claimed=(), at=at) for at in (100.0, 101.0, 102.0, 104.9)]
    (answer,) = inquiries.hear([], claimed=(), at=105.0)

    assert early == [[]] * 4
    assert (answer.verdict, answer.may_leave) == (Verdict.ABSENT, False)
    assert not inquiries


async def test_a_session_that_is_canceled_with_an_order_on_the_wire(day):
    """Ended from outside while it waits for the answer, it leaves the question in the ledger."""
    first = day.decision.intents[0]
    submit, sent = day.venue.submit, asyncio.Event()

    async def hanging(intent):
        await submit(intent)
        sent.set()
        await asyncio.Event().wait()

    day.venue.submit = hanging
    session = asyncio.create_task(day.run())
    await sent.wait()
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await session
    assert day.recorded.orders[first.intent_id].status is OrderStatus.SUBMITTED
    day.venue.submit = submit
    day.plan(1, lambda: [day.venue.fill_all(n) for n in list(day.venue.rows)])

    outcome = await day.run()

    assert day.venue.sent.count(first.intent_id) == 1
    assert outcome.fills == day.count
    assert day.agrees()


async def test_a_notice_from_before_a_restart(day):
    """What a listing had told the killed process is not booked again when its notice comes late."""
    first = day.decision.intents[0]
    late = []

    def untold():
        day.venue.fill(day.venue.number_of(first.symbol), 5, first.limit)
        late.append(day.venue.notices.pop())
        day.venue.notices.append(OrderDoubt(ts_recv=day.venue.clock.now()))

    def kill():
        raise Killed

    day.plan(1, untold)
    day.plan(5, kill)
    with pytest.raises(Killed):
        await day.run()
    day.plan(6, lambda: day.venue.notices.extend(late))

    outcome = await day.run()

    assert [b.fill.quantity for b in day.engine.booked] == [5]
    assert outcome.differences == ()
    assert day.agrees()


async def test_equal_executions_are_asked_about_at_once(day):
    """Not at the next comparison of the books: a stop may hang on the second one."""
    first = day.decision.intents[0]

    def twice():
        for _ in range(2):
            day.venue.fill(day.venue.number_of(first.symbol), 5, first.limit)

    seen = {}
    day.plan(1, twice)
    day.plan(2, lambda: seen.update(held=day.engine.account.positions[first.symbol].quantity))

    await day.run()

    assert seen == {"held": 10}


async def test_a_share_is_frozen_while_its_order_is_asked_about(day):
    """Nothing else leaves for it: neither another purchase nor a sale of what it may have bought."""
    first = day.decision.intents[0]
    day.waits = False
    day.venue.fate = ["lost"]
    booked = day.venue.submit

    async def submit(intent):
        day.venue.failing = 20
        return await booked(intent)

    day.venue.submit = submit
    seen = {}

    def ask():
        again = replace(first, intent_id="again")
        seen["while"] = day.engine.guarded(again, day.venue.clock.now()).code
        day.venue.failing = 0

    day.plan(1, ask)
    day.plan(20, lambda: seen.update(after=set(day.engine.frozen)))

    await day.run()

    assert seen == {"while": GuardCode.SYMBOL_FROZEN, "after": set()}


async def test_an_order_that_nobody_can_tell_apart_over_a_restart(day):
    """It stays set apart: not asked about again, not sent, its share not bought."""
    first = day.decision.intents[0]
    booked = day.venue.submit

    async def submit(intent):
        if intent == first:
            day.venue.place(first.symbol, first.side, first.quantity, first.limit)
        return await booked(intent)

    def kill():
        raise Killed

    day.venue.submit = submit
    day.venue.fate = ["lost"]
    day.plan(5, kill)
    with pytest.raises(Killed):
        await day.run()
    seen = {}

    def look():
        again = replace(first, intent_id="again")
        seen["again"] = day.engine.guarded(again, day.venue.clock.now()).code
        seen["promised"] = day.engine._free_cash()

    day.plan(6, look)

    outcome = await day.run()

    assert day.venue.sent.count(first.intent_id) == 1
    assert seen["again"] is GuardCode.REDUCING
    assert day.recorded.orders[first.intent_id].status is OrderStatus.UNKNOWN
    assert outcome.differences == ()
    # The money of the two that were adopted is promised, that of the one in doubt is not.
    bought = [i for i in day.decision.intents if i != first]
    # A share costs its price and the dearest fee, a unit more for rounding.
    rate = day.view.morning.buy_fee_ppb
    promised = sum(
        i.quantity * (i.limit + i.limit * rate // 1_000_000_000 + 1)
        for i in (first, first, *bought)
    )
    assert seen["promised"] == day.cash - promised


async def test_an_error_after_the_request_has_left(day):
    """Whatever went wrong here, the venue may have the order: it is asked, and has it."""
    first = day.decision.intents[0]
    booked = day.venue.submit

    async def submit(intent):
        ack = await booked(intent)
        if intent == first:
            raise ZeroDivisionError("뜻밖")
        return ack

    day.venue.submit = submit
    day.plan(1, lambda: [day.venue.fill_all(n) for n in list(day.venue.rows)])

    outcome = await day.run()

    assert day.recorded.orders[first.intent_id].status is OrderStatus.ACCEPTED
    assert (day.recorded.manual, outcome.fills) == ({}, day.count)


async def test_a_print_that_is_mended_after_the_close_stops_nothing(day):
    """It is of the session, and no order may follow from it any more."""
    first = day.decision.intents[0]
    day.waits = False
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(first.symbol)))

    async def heal():
        missed = day.start.close_ts - timedelta(minutes=1)
        now = day.venue.clock.now()
        day.venue.notices.append(
            Tick(
                symbol=first.symbol, price=first.limit // 2, volume=1, cumulative_volume=1,
                ts_event=missed, ts_recv=now,
            )
        )  # fmt: skip

    day.venue.heal = heal

    outcome = await day.run()

    assert all(row.side is Side.BUY for row in day.venue.rows.values())
    assert day.engine.last_price[first.symbol] == first.limit // 2
    assert outcome.differences == ()
