"""A session that nobody finished, and a start that was killed: the books of the next one."""

from dataclasses import replace
from datetime import date

import pytest
from small_venue import QUICK, Day

from trading.domain.order import OrderAck, Side
from trading.execution.engine import Booked
from trading.execution.orders import ManualTrades
from trading.live.journal import Journal
from trading.store.ledger import MemoryLedger

YESTERDAY = date(2005, 5, 26)
BEFORE = date(2005, 5, 25)
SET_ASIDE = replace(QUICK, manual_trades=ManualTrades.QUARANTINE)


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day at a small venue whose time waits for us."""
    return Day(traded, embedded_market, MemoryLedger())


@pytest.mark.parametrize("was_closed_before", [True, False])
async def test_a_session_that_was_killed_and_never_finished(day, was_closed_before):
    """What it had booked is in its own records only: the next start takes the venue's word."""
    snapshot = day.new_engine().snapshot()
    clock = day.venue.clock
    if was_closed_before:
        earlier = Journal(day.ledger, BEFORE, clock)
        earlier.opened(snapshot)
        earlier.closed({"engine": snapshot})
    intent = replace(day.decision.intents[0], session=YESTERDAY, intent_id="us:yesterday:buy")
    number = day.venue.place(intent.symbol, Side.BUY, intent.quantity, intent.limit)
    day.venue.fill(number, intent.quantity, intent.limit)
    notice = day.venue.notices.pop()
    unfinished = Journal(day.ledger, YESTERDAY, clock)
    unfinished.opened(snapshot)
    unfinished.intends(intent, highest_order_id="")
    ack = OrderAck(venue_order_id=number, branch="", ts_event=clock.now())
    unfinished.accepted(intent.intent_id, ack)
    booking = day.new_engine().account.apply_fill(
        number, intent.symbol, Side.BUY, intent.quantity, notice.amount,
        day.fees(intent.exchange, YESTERDAY),
    )  # fmt: skip
    unfinished.filled(Booked(intent=intent, fill=notice, booking=booking), intent.quantity)
    day.venue.days[YESTERDAY] = [day.venue.rows.pop(number)]

    outcome = await day.run()

    assert outcome.differences == ()
    assert day.agrees()
    assert day.engine.account.positions[intent.symbol].quantity >= intent.quantity


async def test_a_start_that_was_killed_after_it_booked_what_was_aside(traded, embedded_market):
    """Begun again, what was set aside and is booked now is not set aside a second time."""
    ledger = MemoryLedger()
    day = Day(traded, embedded_market, ledger, supervision=SET_ASIDE)
    yesterday = Journal(ledger, YESTERDAY, day.venue.clock)
    snapshot = day.new_engine().snapshot()
    yesterday.opened(snapshot)
    number = day.venue.place("IBM", Side.BUY, 7, 770_000)
    day.venue.fill(number, 7, 770_000, told=False)
    listed = day.venue.rows.pop(number)
    yesterday.set_aside(YESTERDAY, listed, "손으로 낸 주문")
    yesterday.closed({"engine": snapshot})
    day.venue.days[YESTERDAY] = [listed]
    day.supervision = QUICK

    def kill():
        raise Killed

    day.plan(1, kill)
    with pytest.raises(Killed):
        await day.run()

    outcome = await day.run()

    assert outcome.differences == ()
    assert "IBM" not in day.engine.quarantined
    assert day.agrees()
