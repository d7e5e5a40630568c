"""Law 4 in a running session: an answer lost, a listing that fails, a twin by hand, a restart."""

from dataclasses import replace
from datetime import timedelta

import pytest
from small_venue import QUICK, Day

from trading.domain.order import OrderDoubt, OrderStatus, Side
from trading.errors import LedgerError, TransientBrokerError
from trading.live.journal import Evidence, Journal
from trading.ports import RecordKind
from trading.store.ledger import MemoryLedger


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(params=[True, False], ids=["lock-step", "wall"])
def day(request, traded, embedded_market):
    """Return the recorded day at a small venue whose time waits for us, or does not."""
    day = Day(traded, embedded_market, MemoryLedger())
    day.waits = request.param
    return day


def fill_everything(day):
    """Let the venue fill what it holds, and tell."""
    for number in sorted(day.venue.rows):
        day.venue.fill_all(number)


async def test_an_undisturbed_day(day):
    """Every purchase is sent once, filled, and the books agree."""
    day.plan(1, lambda: fill_everything(day))

    outcome = await day.run()

    assert (outcome.orders, outcome.fills, outcome.differences) == (day.count, day.count, ())
    assert day.venue.sent == [i.intent_id for i in day.decision.intents]
    assert day.agrees()


@pytest.mark.parametrize("fate", ["lost", "broken"])
async def test_an_answer_lost(day, fate):
    """Booked at the venue and found there; an unexpected failure is a lost answer too."""
    day.venue.fate = [fate]
    day.plan(1, lambda: fill_everything(day))

    outcome = await day.run()

    first = day.decision.intents[0]
    assert day.venue.sent.count(first.intent_id) == 1
    found = day.recorded.orders[first.intent_id]
    assert found.status is (OrderStatus.ACCEPTED if fate == "lost" else OrderStatus.REJECTED)
    assert outcome.fills == (day.count if fate == "lost" else day.count - 1)
    assert day.engine.frozen == set()
    assert day.agrees()


async def test_an_order_that_never_arrived(day):
    """Is over after two complete listings, and is not sent again by a running session."""
    day.venue.fate = ["gone"]
    day.plan(1, lambda: fill_everything(day))

    outcome = await day.run()

    assert len(day.venue.sent) == day.count
    assert day.recorded.orders[day.venue.sent[0]].reason == "거래소에 도착하지 않음"
    assert outcome.fills == day.count - 1
    assert day.agrees()


async def test_a_failed_listing_is_no_absence(day):
    """Half pages and server faults say nothing: the order is found when the venue lists again."""
    day.venue.fate = ["lost"]
    booked = day.venue.submit

    async def submit(intent):
        day.venue.failing = 2
        return await booked(intent)

    day.venue.submit = submit
    day.plan(1, lambda: fill_everything(day))

    outcome = await day.run()

    assert outcome.fills == day.count
    assert len(day.venue.sent) == day.count
    assert day.agrees()


async def test_a_venue_that_lists_nothing_stops_the_day(day):
    """The question stays open in the ledger, and the next start goes on with it."""
    day.waits = True
    day.venue.fate = ["lost"]
    booked = day.venue.submit

    async def submit(intent):
        day.venue.failing = 1_000
        return await booked(intent)

    day.venue.submit = submit
    with pytest.raises(TransientBrokerError, match="주문 목록"):
        await day.run()
    assert day.recorded.orders[day.venue.sent[0]].status is OrderStatus.UNKNOWN

    day.venue.failing = 0
    day.venue.submit = booked
    day.plan(1, lambda: fill_everything(day))
    outcome = await day.run()

    assert sorted(day.venue.sent) == sorted(i.intent_id for i in day.decision.intents)
    assert outcome.fills == day.count
    assert day.agrees()


async def test_a_twin_by_hand(day):
    """Two orders that could be ours: neither is claimed, both are in the books, nothing is bought."""
    first = day.decision.intents[0]
    booked = day.venue.submit

    async def submit(intent):
        if intent == first:
            day.venue.place(first.symbol, first.side, first.quantity, first.limit)
        return await booked(intent)

    day.venue.submit = submit
    day.venue.fate = ["lost"]
    day.plan(1, lambda: fill_everything(day))

    outcome = await day.run()

    assert day.venue.sent.count(first.intent_id) == 1
    assert day.recorded.orders[first.intent_id].status is OrderStatus.UNKNOWN
    assert day.recorded.unclear == {first.intent_id}
    assert len(day.recorded.manual) == 2
    assert first.symbol in day.engine.quarantined
    assert any("가릴 수 없습니다" in message for message in day.told.messages)
    assert (outcome.fills, outcome.differences) == (day.count - 1, ())
    assert day.agrees()


async def test_a_twin_from_before_is_not_ours(day):
    """What the last complete listing held already cannot be an order that left after it."""
    first = day.decision.intents[0]
    # Both together are more of one name than the shipped cap allows.
    policy = day.traded.engine.policy
    risk = policy.risk.model_copy(update={"max_single_name": 0.2})
    day.traded.engine.policy = replace(policy, risk=risk)
    day.venue.place(first.symbol, first.side, first.quantity, first.limit)
    day.venue.fate = ["gone"]
    day.plan(1, lambda: fill_everything(day))

    await day.run()

    assert day.recorded.orders[first.intent_id].status is OrderStatus.REJECTED
    assert [o.venue_order_id for o in day.recorded.manual.values()] == ["0000000001"]
    assert day.agrees()


@pytest.mark.parametrize("kind", [RecordKind.INTENT, RecordKind.UPDATE, RecordKind.FILL])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fate", ["ok", "lost", "gone"])
async def test_killed_around_a_commit(day, kind, before, fate):
    """Killed before or after any commit and begun again: each order once, the books to the unit."""
    day.venue.fate = [fate]
    day.plan(1, lambda: fill_everything(day))
    append = day.ledger.append
    armed = [True]

    def dying(*records):
        hit = armed[0] and any(r.kind is kind for r in records)
        if hit and before:
            armed[0] = False
            raise Killed
        written = append(*records)
        if hit:
            armed[0] = False
            raise Killed
        return written

    day.ledger.append = dying
    with pytest.raises(Killed):
        await day.run()
    day.venue.notices.clear()
    for number in day.venue.rows:
        if not day.venue.rows[number].filled_quantity:
            day.venue.plan.setdefault(day.at(2), lambda: fill_everything(day))

    outcome = await day.run()

    arrived = [i for i in day.venue.rows.values() if i.filled_quantity]
    assert len(arrived) == len({r.symbol for r in arrived})
    assert outcome.differences == ()
    assert day.agrees()
    for intent in day.decision.intents:
        assert day.venue.sent.count(intent.intent_id) <= 2


async def test_what_left_no_trace_leaves_once_more(day):
    """Killed between its commit and its request, an intent leaves at the next start."""
    first = day.decision.intents[0]
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    await _written(day, journal, first)

    outcome = await day.run()

    assert day.venue.sent.count(first.intent_id) == 1
    assert outcome.orders == day.count


async def test_what_left_no_trace_too_long_ago_does_not(day):
    """After its check interval the moment of an order is over."""
    first = day.decision.intents[0]
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    await _written(day, journal, first)
    day.venue.clock.set(day.at(31))

    await day.run()

    assert first.intent_id not in day.venue.sent
    assert day.recorded.orders[first.intent_id].status is OrderStatus.REJECTED


@pytest.mark.parametrize(("minutes", "leaves"), [(30, True), (31, False)])
async def test_what_was_decided_and_never_written(day, minutes, leaves):
    """Killed between the decision and its intents: they leave while their moment lasts."""
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    journal.opened(day.new_engine().snapshot())
    journal.decided(day.decision, Evidence())
    day.venue.clock.set(day.at(minutes))
    day.plan(minutes + 1, lambda: fill_everything(day))

    outcome = await day.run()

    wished = {i.intent_id for i in day.decision.intents}
    assert set(day.venue.sent) == (wished if leaves else set())
    assert day.recorded.orders.keys() == wished
    assert leaves or set(day.statuses().values()) == {"rejected"}
    assert outcome.fills == (day.count if leaves else 0)
    assert day.agrees()


async def test_a_decision_made_late_has_its_moment_too(day):
    """Decided an hour after the open and killed there: half an hour later its orders may leave."""
    day.venue.clock.set(day.at(60))
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    journal.opened(day.new_engine().snapshot())
    journal.decided(day.decision, Evidence())
    day.venue.clock.set(day.at(90))

    await day.run()

    assert set(day.venue.sent) == {i.intent_id for i in day.decision.intents}


async def test_a_late_start_is_marked_at_the_prices_of_the_venue(day):
    """An hour after the open, with a share that prints no more: what it traded at counts."""
    symbol = "AAPL"
    before, price = day.start.reference[symbol], day.traded.bars[symbol][1]
    assert price != before
    day.venue.book.adjust(symbol=symbol, quantity=100, price=before)
    without, silent = day.new_engine, day.venue.quote

    def holding():
        engine = without()
        engine.account.adjust(symbol=symbol, quantity=100, price=before)
        engine.last_price[symbol] = before
        return engine

    async def quote(asked):
        return replace(await silent(asked), price=price, volume=1)

    day.new_engine, day.venue.quote = holding, quote
    day.venue.clock.set(day.at(60))
    marks = {}
    day.plan(61, lambda: marks.update(day.engine.last_price))

    await day.run()

    assert marks[symbol] == price
    assert day.recorded.saw_open is False


async def test_a_lookalike_keeps_an_intent_home(day):
    """A new order of the same share and side, of whatever size, may be what we sent after all."""
    first = day.decision.intents[0]
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    await _written(day, journal, first)
    day.venue.place(first.symbol, first.side, first.quantity + 1, first.limit)
    day.plan(1, lambda: fill_everything(day))

    await day.run()

    assert first.intent_id not in day.venue.sent
    assert day.agrees()


async def _written(day, journal, intent):
    """Leave a ledger in which ``intent`` was written and nothing of it is known."""
    journal.opened(day.new_engine().snapshot())
    journal.decided(day.decision, Evidence())
    journal.intends(intent, highest_order_id="")


async def test_an_intent_that_cannot_be_written_is_not_sent(day):
    """A ledger that takes no intent stops the session; what follows starts from where it was."""
    append = day.ledger.append

    def full(*records):
        if any(r.kind is RecordKind.INTENT for r in records):
            raise LedgerError("디스크에 자리가 없어 장부를 쓰지 못했습니다")
        return append(*records)

    day.ledger.append = full
    with pytest.raises(LedgerError, match="디스크"):
        await day.run()
    assert day.venue.sent == []
    assert day.venue.rows == {}

    day.ledger.append = append
    day.plan(1, lambda: fill_everything(day))
    outcome = await day.run()

    assert outcome.fills == day.count
    assert day.agrees()


async def test_a_notice_told_twice(day):
    """Equal notices are never booked from themselves: the listing says how much it was."""

    def partly():
        for number in sorted(day.venue.rows):
            day.venue.fill(number, 5, day.venue.rows[number].limit, again=2)

    day.plan(1, partly)

    outcome = await day.run()

    assert [b.fill.quantity for b in day.engine.booked] == [5] * day.count
    assert outcome.differences == ()
    assert day.agrees()


async def test_equal_executions_in_one_second(day):
    """Two equal executions of one instant are two: the listing has both."""

    def twice():
        number = min(day.venue.rows)
        for _ in range(2):
            day.venue.fill(number, 5, day.venue.rows[number].limit)

    day.plan(1, twice)

    await day.run()

    assert sum(b.fill.quantity for b in day.engine.booked) == 10
    assert day.agrees()


@pytest.mark.parametrize("doubt", [True, False])
async def test_a_notice_that_never_came(day, doubt):
    """A fill nobody told of is in the next listing: at once after a gap, else within the hour."""
    day.plan(1, lambda: [day.venue.fill_all(n, told=False) for n in day.venue.rows])
    if doubt:
        day.plan(2, lambda: day.venue.notices.append(OrderDoubt(ts_recv=day.at(2))))
    seen = {}
    day.plan(5, lambda: seen.update(fills=len(day.engine.booked)))

    outcome = await day.run()

    assert seen["fills"] == (day.count if doubt else 0)
    assert outcome.fills == day.count
    assert day.agrees()


async def test_notices_in_the_wrong_order(day):
    """A cancel told before the fill that it followed, and a fill of an ended order, end no session."""

    def muddle():
        number = min(day.venue.rows)
        day.venue.fill(number, 5, day.venue.rows[number].limit)
        day.venue.rows[number] = replace(
            day.venue.rows[number], canceled_quantity=day.venue.rows[number].quantity - 5
        )
        fill = day.venue.notices.pop()
        from trading.domain.order import OrderUpdate

        for status in (OrderStatus.CANCELED, OrderStatus.REJECTED):
            day.venue.notices.append(
                OrderUpdate(
                    venue_order_id=number, symbol=fill.symbol, status=status,
                    ts_event=fill.ts_event, ts_recv=fill.ts_recv,
                )
            )  # fmt: skip
        day.venue.notices.append(fill)

    day.plan(1, muddle)

    outcome = await day.run()

    assert outcome.differences == ()
    assert day.agrees()


async def test_a_lost_cancel_is_sent_again_only_when_it_is_needed(day):
    """The listing says whether it was carried out; if not, the same cancel is harmless."""
    for fate, sent in (("lost", 1), ("gone", 2)):
        day = Day(day.traded, day.market, MemoryLedger())
        day.venue.cancel_fate = [fate]
        symbol = day.decision.intents[0].symbol
        price = day.decision.intents[0].limit

        def partly(day=day, symbol=symbol, price=price):
            day.venue.fill(day.venue.number_of(symbol), 5, price)

        day.plan(1, partly)
        day.plan(2, lambda day=day, symbol=symbol, price=price: day.venue.tick(symbol, price // 2))

        outcome = await day.run()

        number = min(n for n, r in day.venue.rows.items() if r.symbol == symbol)
        assert day.venue.canceled == [number] * sent
        assert day.recorded.orders[day.intents[symbol].intent_id].status is OrderStatus.CANCELED
        assert outcome.differences == ()


async def test_a_refused_cancel_leaves_a_working_order(day):
    """It may be canceled again at the next print, but not forever."""
    symbol = day.decision.intents[0].symbol
    price = day.decision.intents[0].limit
    day.venue.cancel_fate = ["refused"] * 10
    day.plan(1, lambda: day.venue.fill(day.venue.number_of(symbol), 5, price))
    for minute in range(2, 9):
        day.plan(minute, lambda: day.venue.tick(symbol, price // 2))

    outcome = await day.run()

    assert 1 < len(day.venue.canceled) <= QUICK.absence_listings + 1
    assert outcome.differences == ()


async def test_orders_wait_for_a_venue_that_takes_none_early(day):
    """The decision is the morning's; its orders leave at the open."""
    day.venue.takes_orders_early = False
    sent_at = []
    booked = day.venue.submit

    async def submit(intent):
        sent_at.append(day.venue.clock.now())
        return await booked(intent)

    day.venue.submit = submit

    await day.run()

    assert sent_at == [day.start.open_ts] * day.count
    assert [i.intent_id for i in day.decision.intents] == day.venue.sent


async def test_prices_are_asked_for_where_none_are_streamed(day):
    """What is held or ordered is asked for at every check, and after the close."""
    day.venue.polls_prices = True
    day.plan(1, lambda: fill_everything(day))

    await day.run()

    asked = [moment for moment, symbols in day.venue.polled if len(symbols) == day.count]
    # 9:30 to 16:00 has twelve checks of thirty minutes inside, and the close. Where time passes by
    # itself, the rate budget sets the pace instead.
    assert len(asked) == 13 if day.waits else len(asked) > 1
    assert asked[-1] >= day.start.close_ts
    assert day.recorded.polled


async def test_the_ledger_names_the_newest_order_it_knew(day):
    """The mark of an intent is of the last complete listing, not of an acknowledgement."""
    day.venue.place("IBM", Side.BUY, 1, 10_000)

    await day.run()

    assert set(day.recorded.highest_before.values()) == {"20050527:1"}
    assert day.at(0) - timedelta(hours=1) < min(day.recorded.due_at.values())


async def test_a_venue_whose_clock_is_ahead(day):
    """A notice that a listing covers is not booked again because the venue's clock is ahead."""

    def ahead():
        number = min(day.venue.rows)
        day.venue.fill(number, 5, day.venue.rows[number].limit)
        (notice,) = day.venue.notices
        later = notice._replace(ts_event=notice.ts_event + timedelta(minutes=20))
        day.venue.notices = [OrderDoubt(ts_recv=day.venue.clock.now())]
        day.plan(2, lambda: day.venue.notices.append(later))
        day.plan(3, lambda: day.venue.fill(number, 5, day.venue.rows[number].limit))

    day.plan(1, ahead)

    await day.run()

    assert [b.fill.quantity for b in day.engine.booked] == [5, 5]
    assert day.agrees()


async def test_an_order_that_could_not_be_sent_leaves_when_the_venue_is_back(day):
    """No connection is no refusal: it leaves once, after the venue has shown that it never came."""
    first = day.decision.intents[0]
    day.venue.fate = ["unsent", "unsent"]
    day.plan(1, lambda: fill_everything(day))
    day.plan(10, lambda: fill_everything(day))

    outcome = await day.run()

    assert day.venue.sent.count(first.intent_id) == 2
    assert len([r for r in day.venue.rows.values() if r.symbol == first.symbol]) == 1
    assert (outcome.fills, outcome.differences) == (day.count, ())
    assert day.agrees()


async def test_a_moment_that_has_passed(day):
    """What could not leave within a check interval is over, and is told."""
    day.waits = False
    day.venue.fate = ["unsent"]
    listed = day.venue.orders

    async def orders(session):
        # The venue cannot be reached until forty minutes after the open.
        if day.venue.sent and day.venue.clock.now() < day.at(40):
            raise TransientBrokerError("연결하지 못함")
        return await listed(session)

    day.venue.orders = orders

    await day.run()

    first = day.recorded.orders[day.decision.intents[0].intent_id]
    assert first.reason == "나가지 못한 채 때를 놓침"
    assert day.venue.sent.count(first.intent.intent_id) == 1


async def test_lost_killed_and_sent_after_all(day):
    """UNKNOWN in the ledger, proven absent after a restart: it leaves, and the ledger stays readable."""
    first = day.decision.intents[0]
    journal = Journal(day.ledger, day.start.session, day.venue.clock)
    await _written(day, journal, first)
    journal.moved(first.intent_id, OrderStatus.UNKNOWN, "응답 없음")
    day.venue.fate = ["unsent", "unsent"]
    day.plan(1, lambda: fill_everything(day))
    day.plan(10, lambda: fill_everything(day))

    outcome = await day.run()

    assert day.recorded.orders[first.intent_id].venue_order_id
    assert len([r for r in day.venue.rows.values() if r.symbol == first.symbol]) == 1
    assert (outcome.fills, outcome.differences) == (day.count, ())
