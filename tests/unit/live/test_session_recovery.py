"""A session taken up again at a venue whose notices come late, on a recorded day."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from small_venue import Day

from trading.backtest.runner import fees_of
from trading.clock import ManualClock
from trading.domain.account import VenueAccount
from trading.domain.market import Quote
from trading.domain.order import Fill, OrderAck, VenueOrder
from trading.errors import TransientBrokerError
from trading.execution.engine import TradingEngine
from trading.live.journal import Evidence, Journal, read_session
from trading.live.session import LiveSession, Supervision
from trading.risk.guards import GuardCode
from trading.simulation.account import Account
from trading.store.ledger import MemoryLedger


class Venue:
    """The other side of the doors: one order, partly filled, and a notice still on its way."""

    approval_key = "key"
    frames_handled = 0
    polls_prices = False
    takes_orders_early = True

    def __init__(self, listed, then, late):
        self.listed, self.then, self.late = listed, then, list(late)
        self.sent = []

    async def orders(self, session):
        listed, self.listed = self.listed, self.then
        return [listed]

    async def account(self):
        return VenueAccount(cash=0, buying_power=0, positions={})

    async def quote(self, symbol):
        return Quote(
            symbol=symbol, price=0, previous_close=0, open=0, high=0, low=0, volume=0,
            upper_limit=0, lower_limit=0, ts_event=self.listed.ts_event,
        )  # fmt: skip

    async def submit(self, intent):
        self.sent.append(intent)
        raise AssertionError("nothing may be sent again")

    async def subscribe(self, symbols):
        """Nobody prints."""

    async def wait_handled(self, count, *, timeout_seconds=30.0):
        """Everything is handled."""

    async def arrived(self, timeout_seconds):
        return bool(self.late)

    async def heal(self):
        """No print is ever lost here."""

    def drain(self):
        events, self.late = self.late, []
        return events


class Pace:
    """Lets the day pass boundary by boundary."""

    waits = True

    def __init__(self, clock):
        self.clock = clock

    async def open_session(self, session):
        """It is open."""

    async def settle(self, feed, pump):
        await pump()

    async def advance(self, until, feed, pump):
        self.clock.set(max(until, self.clock.now()))
        await pump()


class Silence:
    """Tells nobody."""

    def send(self, event, fields):
        """Nothing."""


@pytest.mark.parametrize(("after", "booked"), [(-1, 40), (0, 40), (60, 47)])
async def test_a_late_notice_is_not_booked_twice(traded, embedded_market, after, booked):
    """The listing of a restart holds 40 shares; a notice of 7 counts only if a later one has it.

    What a guard refused before is not asked for again either.
    """
    start, decision = traded.start, traded.result.decision
    intent, other = decision.intents[:2]
    noon = start.open_ts + timedelta(hours=2)
    ledger = MemoryLedger()
    journal = Journal(ledger, start.session, ManualClock(start.open_ts))
    engine = TradingEngine(
        traded.engine.policy, Account(traded.engine.policy.market, 1_000_000_000),
        traded.engine.risk, fees_of(embedded_market.rules, embedded_market.calendar),
    )  # fmt: skip
    journal.opened(engine.snapshot())
    journal.decided(decision, Evidence())
    journal.intends(intent, highest_order_id="")
    journal.accepted(
        intent.intent_id, OrderAck(venue_order_id="1", branch="", ts_event=start.open_ts)
    )
    for refused in decision.intents[1:]:
        journal.denied(refused, GuardCode.NO_CASH)
    listed = VenueOrder(
        venue_order_id="1", branch="", symbol=intent.symbol, side=intent.side,
        quantity=intent.quantity, limit=intent.limit, filled_quantity=40,
        filled_amount=40 * intent.limit, canceled_quantity=0, rejected_quantity=0,
        ts_event=start.open_ts,
    )  # fmt: skip
    moment = noon + timedelta(seconds=after)
    notice = Fill(
        symbol=intent.symbol, side=intent.side, quantity=7, amount=7 * intent.limit,
        venue_order_id="1", ts_event=moment, ts_recv=moment,
    )  # fmt: skip
    then = replace(listed, filled_quantity=booked, filled_amount=booked * intent.limit)
    venue = Venue(listed, then, [notice])
    session = LiveSession(
        engine, venue, venue, Journal(ledger, start.session, ManualClock(start.open_ts)),
        Pace(ManualClock(noon)), Silence(),
        Supervision(check_interval=timedelta(minutes=5), absence_listings=1,
                    absence_wait_seconds=0.0),
    )  # fmt: skip

    await session.run(start, traded.view, read_session(ledger, start.session), evidence=Evidence())

    assert sum(b.fill.quantity for b in engine.booked) == booked
    assert venue.sent == []
    assert engine.orders[other.intent_id].reason == GuardCode.NO_CASH


@pytest.mark.parametrize(
    ("late", "told"),
    [
        (-30, [30, 60, 120, 180, 240, 300, 360]),
        (0, [30, 60, 120, 180, 240, 300, 360]),
        (230, [230, 240, 300, 360]),
        (240, [240, 300, 360]),
        (385, [385]),
    ],
)
async def test_hours_that_are_over_are_not_told_later(traded, embedded_market, late, told):
    """Whoever comes late tells once how it is now, and then each hour that is still to come."""
    day = Day(traded, embedded_market, MemoryLedger())
    day.venue.clock.set(day.at(late))
    hours = []

    def hear(event, fields):
        if event == "hourly_status":
            hours.append(datetime.fromisoformat(fields["ts"]))

    day.told.send = hear

    await day.run()

    assert hours == [day.at(minutes) for minutes in told]


class Killed(BaseException):
    """The process is gone."""


def killed():
    """Kill the process."""
    raise Killed


@pytest.mark.parametrize("saw", [True, False])
async def test_a_trailing_stop_keeps_the_peak_that_a_killed_process_saw(
    traded, embedded_market, saw
):
    """What was bought today follows the highest price of its last mark, whatever came before it."""
    day = Day(traded, embedded_market, MemoryLedger())
    bought = day.decision.intents[0]
    high = bought.limit * 104 // 100
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(bought.symbol)))
    day.plan(5, lambda: day.venue.tick(bought.symbol, high if saw else bought.limit))
    day.plan(6, lambda: day.venue.tick(bought.symbol, bought.limit))
    day.plan(45, killed)
    with pytest.raises(Killed):
        await day.run()

    day.venue.quote = _quoting(day, bought.symbol, price=bought.limit, high=high)
    await day.run()

    peak = day.engine.snapshot()["peaks"][bought.symbol]
    assert peak == (high if saw else bought.limit)


async def test_a_trailing_stop_knows_the_high_of_hours_that_nobody_saw(traded, embedded_market):
    """What was held before the open was held at the day's high: the venue tells it."""
    day = Day(traded, embedded_market, MemoryLedger())
    held = day.decision.intents[0]
    high = held.limit * 104 // 100
    fresh = day.new_engine

    def holding():
        engine = fresh()
        engine.account.adjust(symbol=held.symbol, quantity=10, price=held.limit)
        engine.last_price[held.symbol] = held.limit
        return engine

    day.new_engine = holding
    day.venue.book.adjust(symbol=held.symbol, quantity=10, price=held.limit)
    day.venue.clock.set(day.at(60))
    day.venue.quote = _quoting(day, held.symbol, price=held.limit, high=high)

    await day.run()

    assert day.engine.snapshot()["peaks"][held.symbol] == high


async def test_a_name_without_a_quote_leaves_the_others_not_alone(traded, embedded_market):
    """What the venue tells of the rest is taken over, and the day goes on."""
    day = Day(traded, embedded_market, MemoryLedger())
    names = sorted(day.decision.intents, key=lambda intent: intent.symbol)[:2]
    (dumb, held), fresh = names, day.new_engine
    high = held.limit * 104 // 100

    def holding():
        engine = fresh()
        for one in names:
            engine.account.adjust(symbol=one.symbol, quantity=10, price=one.limit)
            engine.last_price[one.symbol] = one.limit
        return engine

    day.new_engine = holding
    for one in names:
        day.venue.book.adjust(symbol=one.symbol, quantity=10, price=one.limit)
    day.venue.clock.set(day.at(60))
    answer = _quoting(day, held.symbol, price=held.limit, high=high)

    async def quote(asked):
        if asked == dumb.symbol:
            raise TransientBrokerError("시세 서버 오류")
        return await answer(asked)

    day.venue.quote = quote

    await day.run()

    assert day.engine.snapshot()["peaks"][held.symbol] == high
    assert day.recorded.closed is not None


def _quoting(day, symbol, *, price, high):
    """Return a venue's answers about prices: it knows one name."""

    async def quote(asked):
        known = asked == symbol
        return Quote(
            symbol=asked, price=price * known, previous_close=0, open=price * known,
            high=high * known, low=0, volume=int(known), upper_limit=0, lower_limit=0,
            ts_event=day.venue.clock.now(),
        )  # fmt: skip

    return quote
