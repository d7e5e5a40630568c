"""Entries that wait for a price inside the session, and what a position remembers of its entry."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from test_engine import Desk

from trading.domain.decision import TradingState, Verdict
from trading.domain.market import Tick
from trading.domain.order import Fill, Side
from trading.execution.engine import Halt, SessionEnd, Submit, Timer
from trading.strategies.base import ExitRules

# AAPL opened at 40.64, its reference was 40.74.
# As in ``test_engine``.
pytestmark = pytest.mark.compiled_only
ENTRY = date(2005, 5, 27)
OPEN = 406_400


class BreakoutDesk(Desk):
    """A desk whose only view is that AAPL is bought 1 % of its reference above the open."""

    def waiting(self, *, ceiling=0.07):
        """Return the view, as of this desk's session."""
        morning = self.view.morning
        i = self.view.columns["AAPL"]
        triggers = np.full(morning.votes.shape, np.nan)
        triggers[0, i] = 0.01
        votes = np.full(morning.votes.shape, np.nan)
        return replace(
            self.view,
            morning=morning._replace(
                votes=votes,
                triggers=triggers,
                ceilings=np.full(len(morning.weights), ceiling),
            ),
        )

    def at(self, price, *, minutes=1, symbol="AAPL"):
        """Print at ``price``."""
        ts = self.open_ts + timedelta(minutes=minutes)
        return self.engine.handle(
            Tick(symbol=symbol, price=price, volume=1, cumulative_volume=1, ts_event=ts, ts_recv=ts)
        )


@pytest.fixture
def desk(embedded_market):
    """Return a desk that waits for AAPL, whose first agent has exits of its own."""
    first = embedded_market.evaluation.agents[0]
    rules = ExitRules(stop_loss=0.05, max_sessions=1, cooldown_sessions=3)

    def opened(*, decide=True, **how):
        d = BreakoutDesk(embedded_market, **how)
        d.engine.policy = replace(d.engine.policy, agent_exits={first: rules})
        if decide:
            assert d.engine.handle(Timer(ts=d.open_ts, view=d.waiting())) == []
        return d

    return opened


def bought(d, price=OPEN + 5_000):
    """Let the trigger fire and its order fill at once; return the intent."""
    d.at(OPEN, minutes=0)
    (submit,) = d.at(price)
    d.accept(submit.intent)
    d.engine.handle(
        Fill(
            symbol="AAPL", side=Side.BUY, quantity=submit.intent.quantity,
            amount=submit.intent.quantity * price, venue_order_id="1", ts_event=d.open_ts,
            ts_recv=d.open_ts,
        )
    )  # fmt: skip
    return submit.intent


def test_it_is_bought_when_the_price_has_come(desk):
    """At the open plus 1 % of 40.74, rounded up; a limit 2 % above the print, from the budget."""
    d = desk()
    (wait,) = d.engine.decisions[-1].waiting
    assert (wait.symbol, wait.distance, wait.ceiling) == ("AAPL", 4_074, 700)

    below = [d.at(OPEN, minutes=0), d.at(OPEN + 4_073)]
    (submit,) = d.at(OPEN + 4_074)
    again = d.at(OPEN + 9_000)

    intent = submit.intent
    assert below == [[], []]
    assert isinstance(submit, Submit)
    assert again == []
    # 41.0474 × 1.02 = 41.868…, down to the cent.
    assert intent.limit == 418_600
    unit = 418_600 + 418_600 * int(d.view.morning.buy_fee_ppb) // 10**9 + 1
    assert intent.quantity == wait.budget // unit
    assert (intent.side, intent.reason, intent.boundary) == (Side.BUY, "trigger", "trigger")


def test_a_spike_is_waited_out(desk):
    """More than 7 % above the open nothing is bought; back below, it is."""
    d = desk()
    d.at(OPEN, minutes=0)

    assert d.at(OPEN + 28_449) == []
    (submit,) = d.at(OPEN + 28_448)

    assert submit.intent.symbol == "AAPL"


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_nothing_is_waited_for_when_buying_stops(desk, state):
    """The operator's word, and a restart under it, end the wait."""
    d = desk()
    d.at(OPEN, minutes=0)

    d.engine.handle(Halt(ts=d.open_ts, state=state))

    assert d.engine.waits_for == []
    assert d.at(OPEN + 5_000) == []
    restricted = desk(decide=False)
    restricted.engine.handle(Halt(ts=restricted.open_ts, state=state))
    restricted.engine.handle(Timer(ts=restricted.open_ts, view=restricted.waiting()))
    assert restricted.engine.decisions[-1].waiting == ()


def test_a_late_decision_waits_for_nothing(desk):
    """Where today opened nobody saw: no distance above it can be known."""
    d = desk(decide=False)

    d.engine.handle(Timer(ts=d.open_ts + timedelta(minutes=1), view=d.waiting()))

    assert len(d.engine.decisions[-1].waiting) == 1
    assert d.engine.waits_for == []


def test_a_restart_goes_on_waiting(desk):
    """With the venue's word on the open it waits again; without one, or once ordered, it does not."""
    first = desk()
    decision = first.engine.decisions[-1]

    def restarted(opens):
        d = desk(decide=False)
        d.engine.resume(decision, first.waiting())
        d.engine.opened_at(opens)
        return d

    known, unknown = restarted({"AAPL": OPEN}), restarted({"AAPL": 0})
    (submit,) = known.at(OPEN + 5_000)
    after = desk(decide=False)
    after.engine.resume(decision, first.waiting())
    after.engine.adopt(known.engine.orders[submit.intent.intent_id])
    after.engine.opened_at({"AAPL": OPEN})

    assert unknown.engine.waits_for == after.engine.waits_for == []
    assert after.at(OPEN + 5_000) == []


def test_a_position_keeps_the_exits_of_its_entry(desk):
    """Led by the first agent: its stop of 5 %, not the policy's 8; sold at the next open by its age."""
    d = desk()
    intent = bought(d)
    assert d.at(int((OPEN + 5_000) * 0.951)) == []
    (stop,) = d.at(int((OPEN + 5_000) * 0.95))
    assert (stop.intent.reason, stop.intent.quantity) == ("stop_loss", intent.quantity)

    other = desk()
    bought(other)
    other.engine.handle(SessionEnd(ts=other.start.close_ts))
    kept = other.engine.snapshot()
    other.engine.restore(kept)
    other.turn_to(date(2005, 5, 31))
    (sale,) = other.engine.handle(Timer(ts=other.open_ts, view=other.view))
    choice = next(c for c in other.engine.decisions[-1].choices if c.symbol == "AAPL")

    assert choice.verdict is Verdict.TIME_STOP
    assert (sale.intent.side, sale.intent.quantity) == (Side.SELL, intent.quantity)
    other.engine.handle(SessionEnd(ts=other.start.close_ts))
    assert other.engine.snapshot()["cooling"] == {"AAPL": 3}


def test_what_it_earned_belongs_to_who_was_for_it(desk):
    """The one agent that pulled gets all of it; what nobody led into is nobody's."""
    d = desk()
    intent = bought(d)
    (stop,) = d.at(380_000)
    d.accept(stop.intent, number="2")
    d.engine.handle(
        Fill(
            symbol="AAPL", side=Side.SELL, quantity=intent.quantity,
            amount=intent.quantity * 380_000, venue_order_id="2", ts_event=d.open_ts,
            ts_recv=d.open_ts,
        )
    )  # fmt: skip
    realized = d.engine.booked[-1].booking.realized

    assert realized < 0
    assert d.engine.attributed == {d.view.agents[0]: realized}
    assert d.engine.snapshot()["attributed"] == d.engine.attributed

    unled = desk(held={"AAPL": [100, 45_000_000]}, exits={"stop_loss": 0.05})
    (stop,) = unled.at(400_000)
    unled.accept(stop.intent)
    unled.engine.handle(
        Fill(
            symbol="AAPL", side=Side.SELL, quantity=100, amount=40_000_000, venue_order_id="1",
            ts_event=unled.open_ts, ts_recv=unled.open_ts,
        )
    )  # fmt: skip
    assert list(unled.engine.attributed) == [""]


def armed(desk, held=None, *, halted="", risk=None, agents=None, sectors=None, **triggers):
    """Return a desk of a morning on which names wait; ``agents`` are their weights."""
    d = desk(decide=False, held=held, risk=risk)
    view = d.waiting()
    table = np.full(view.morning.votes.shape, np.nan)
    for symbol, distances in triggers.items():
        table[: len(distances), view.columns[symbol]] = distances
    weights = np.zeros(len(view.agents))
    weights[: len(agents or [1.0])] = agents or [1.0]
    trades = view.morning.tradable & np.array([s != halted for s in view.symbols])
    # A VaR of one name so small that no cap of the portfolio's binds.
    faint = np.full(len(view.symbols), 1e-4)
    morning = view.morning._replace(
        triggers=table, weights=weights, name_var=faint, tradable=trades
    )
    if sectors is not None:
        morning = morning._replace(sectors=np.array(sectors, dtype=np.int64))
    d.engine.handle(Timer(ts=d.open_ts, view=replace(view, morning=morning)))
    return d


def decided(desk, held=None, **how):
    """Return what was decided on such a morning."""
    return armed(desk, held, **how).engine.decisions[-1]


def test_only_the_nearest_trigger_has_fired_then(desk):
    """At the nearer price the other agent has seen nothing: it neither leads nor earns credit."""
    decision = decided(desk, agents=[1.0, 5.0], AAPL=[0.01, 0.03])
    (wait,) = decision.waiting

    assert wait.distance == 4_074
    first = desk(decide=False).view.agents[0]
    assert decision.entries["AAPL"].leader == first
    assert list(decision.entries["AAPL"].credit) == [first]


@pytest.mark.parametrize("nothing", [0.0, -0.01])
def test_no_distance_is_no_trigger(desk, nothing):
    """Nothing waits below the open, nor does it make another agent's wait shorter."""
    (wait,) = decided(desk, agents=[1.0, 1.0], AAPL=[0.01, nothing]).waiting

    assert wait.distance == 4_074
    assert decided(desk, agents=[1.0, 1.0], AAPL=[nothing, nothing]).waiting == ()


def test_two_that_wait_share_the_room(desk):
    """In the order of the columns: the second gets what the first leaves under the gross cap."""
    alone = decided(desk, risk={"max_gross": 0.1}, AAPL=[0.01])
    both = decided(desk, risk={"max_gross": 0.1}, AAPL=[0.01], IBM=[0.01])
    equity = both.equity

    first, second = both.waiting
    assert (first.symbol, second.symbol) == ("AAPL", "IBM")
    assert first.budget == alone.waiting[0].budget
    assert first.budget + second.budget == pytest.approx(0.1 * equity, abs=2)


def test_room_counts_what_cannot_be_sold(desk):
    """A halted name worth more than its cap takes all of its value out of its sector's room."""
    held = {"IBM": [2_000, 150_000_000]}
    caps = {"max_single_name": 0.1, "max_sector": 0.15}

    def waiting(sectors):
        decision = decided(desk, held, halted="IBM", risk=caps, sectors=sectors, AAPL=[0.01])
        return [one.symbol for one in decision.waiting]

    assert waiting([0, 1, 2, 3, 4]) == ["AAPL"]
    assert waiting([0, 0, 0, 0, 0]) == []


def test_the_second_pays_from_what_the_first_leaves(desk):
    """An open purchase has taken its price and its fees out of the cash, whatever was planned."""
    d = armed(desk, AAPL=[0.01], IBM=[0.01])
    fee_ppb, buffer = d.view.morning.buy_fee_ppb, d.engine.policy.allocation.cash_buffer
    at = 780_000
    unit = 795_600 + 795_600 * fee_ppb // 10**9 + 1
    d.at(OPEN, minutes=0)
    d.at(at - 10_000, minutes=0, symbol="IBM")
    (first,) = d.at(OPEN + 5_000)
    # Enough for ten at 78.00 plus two per cent, were there no fees on the first.
    first_price = first.intent.quantity * first.intent.limit
    d.engine.account.cash = first_price + int(10.1 * unit / (1 - buffer))

    (second,) = d.at(at, symbol="IBM")

    assert second.intent.limit == 795_600
    fees = first.intent.quantity * (first.intent.limit * fee_ppb // 10**9 + 1)
    assert fees > 0.15 * unit / (1 - buffer)
    spendable = int((d.engine.account.cash - first_price - fees) * (1 - buffer))
    assert second.intent.quantity == spendable // unit < 10
