"""An entry that waits for its price, over a process that dies at every point of its way."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_venue import Day

from trading.domain.market import Quote
from trading.live.journal import decision_body, decision_from
from trading.store.ledger import MemoryLedger

# AAPL opened at 40.64; it is waited for 1 % of its reference (40.74) above that.
OPEN = 406_400
BELOW, ABOVE = OPEN + 4_073, OPEN + 4_074


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day with a view that only waits for AAPL; its venue knows the open."""
    day = Day(traded, embedded_market, MemoryLedger())
    morning = day.view.morning
    votes = np.full(morning.votes.shape, np.nan)
    triggers = votes.copy()
    triggers[0, day.view.columns["AAPL"]] = 0.01
    ceilings = np.full(len(morning.weights), 0.07)
    day.view = replace(
        day.view, morning=morning._replace(votes=votes, triggers=triggers, ceilings=ceilings)
    )
    day.price, day.first = 0, 0

    async def quote(symbol):
        known = symbol == "AAPL" and day.price > 0
        return Quote(
            symbol=symbol, price=day.price if known else 0, previous_close=0,
            open=day.first if known else 0, high=0, low=0, volume=int(known), upper_limit=0,
            lower_limit=0, ts_event=day.venue.clock.now(),
        )  # fmt: skip

    day.venue.quote = quote
    prints(day, 0, OPEN)
    return day


def prints(day, minutes, price):
    """Let AAPL print then."""

    def happens():
        day.first = day.first or price
        day.price = price
        day.venue.tick("AAPL", price)

    day.plan(minutes, happens)


def dies(day, minutes):
    """Kill the process then; what it had not heard of is lost."""

    def happens():
        day.venue.notices.clear()
        raise Killed

    day.plan(minutes, happens)


def fills(day):
    """Fill what is open of the purchase, at the print that triggered it."""
    number = day.venue.number_of("AAPL")
    day.venue.fill(number, day.venue.rows[number].open_quantity, ABOVE)


async def lives_twice(day):
    """Run until it is killed, and once more to the end."""
    with pytest.raises(Killed):
        await day.run()
    day.venue.notices.clear()
    await day.run()


def bought(day):
    """Return the ledger's only order, of AAPL; books and venue agree and it left exactly once."""
    (order,) = day.recorded.orders.values()
    assert (order.intent.symbol, order.intent.reason) == ("AAPL", "trigger")
    assert len(day.venue.rows) == 1
    assert day.agrees()
    return order


async def test_without_a_death(day):
    """The reference: bought above the trigger, filled, held to the close by its entry's terms."""
    prints(day, 1, BELOW)
    prints(day, 2, ABOVE)
    day.plan(3, lambda: fills(day))

    await day.run()

    order = bought(day)
    assert order.intent.limit == 418_600
    terms = day.engine.snapshot()["terms"]["AAPL"]
    assert terms["leader"] == day.view.agents[0]
    assert list(terms["credit"]) == [day.view.agents[0]]


@pytest.mark.parametrize("minutes", [-10, 0.5, 1.5])
async def test_before_the_trigger(day, minutes):
    """Killed before the open, or before the price came: it waits on, from the same open."""
    prints(day, 1, BELOW)
    dies(day, minutes)
    prints(day, 2, ABOVE)
    day.plan(3, lambda: fills(day))

    await lives_twice(day)

    assert bought(day).intent.limit == 418_600
    assert day.engine.snapshot()["terms"]["AAPL"]["leader"] == day.view.agents[0]


async def test_the_price_came_while_nobody_was_there(day):
    """The venue's word on the open and on the last price is enough."""
    dies(day, 1)
    with pytest.raises(Killed):
        await day.run()
    day.venue.notices.clear()
    day.price = ABOVE

    await day.run()

    assert bought(day).intent.limit == 418_600


@pytest.mark.parametrize("placed", [False, True])
async def test_between_intent_and_answer(day, placed):
    """What arrived is found and not sent again; what never arrived leaves once more in time."""
    prints(day, 2, ABOVE)
    usual = day.venue.submit

    async def submit(intent):
        if placed:
            await usual(intent)
        raise Killed

    day.venue.submit = submit
    with pytest.raises(Killed):
        await day.run()
    day.venue.submit = usual
    day.venue.notices.clear()
    day.plan(3, lambda: fills(day))
    prints(day, 4, ABOVE + 1_000)

    await day.run()

    order = bought(day)
    assert [f.fill.quantity for f in day.recorded.fills] == [order.intent.quantity]
    assert day.engine.snapshot()["terms"]["AAPL"]["leader"] == day.view.agents[0]


async def test_after_a_part_was_filled(day):
    """It is not bought a second time, and what is held has the terms of its entry."""
    prints(day, 2, ABOVE)
    day.plan(3, lambda: day.venue.fill(day.venue.number_of("AAPL"), 10, ABOVE))
    dies(day, 4)
    prints(day, 5, ABOVE + 1_000)

    await lives_twice(day)

    bought(day)
    assert [f.fill.quantity for f in day.recorded.fills] == [10]
    assert day.engine.snapshot()["terms"]["AAPL"]["leader"] == day.view.agents[0]
    assert day.engine.waits_for == []


async def test_the_decision_is_read_as_it_was_written(day):
    """Waiting entries and exit terms come back from the ledger as they were decided."""
    await day.run()
    decision = day.engine.decisions[-1]

    assert [one.symbol for one in decision.waiting] == ["AAPL"]
    assert day.recorded.decision == decision
    assert decision_from(json.loads(json.dumps(decision_body(decision)))) == decision


async def test_a_venue_that_streams_no_prices(day):
    """It is asked for what is waited for, and the wait counts from the open it tells."""
    day.venue.polls_prices = True
    day.venue.plan.clear()
    asked = []

    async def poll(symbols):
        asked.append(tuple(symbols))
        minutes = (day.venue.clock.now() - day.start.open_ts).total_seconds() / 60
        day.first = OPEN
        day.price = BELOW if minutes <= 30 else ABOVE
        if "AAPL" in symbols and day.venue.clock.now() < day.start.close_ts:
            day.venue.tick("AAPL", day.price)
        return 1

    day.price, day.first = BELOW, OPEN
    day.venue.poll = poll

    await day.run()

    assert asked[0] == ("AAPL",)
    assert bought(day).intent.limit == 418_600
