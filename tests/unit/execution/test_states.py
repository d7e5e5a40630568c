"""What the engine does in halts, sidecars and states that allow less: it waits, and goes on."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from test_engine import CASH, Desk

from trading.backtest import runner
from trading.domain.decision import TradingState
from trading.domain.market import MarketStatus, Tick
from trading.domain.order import OrderStatus, Side
from trading.execution.engine import Breach, Cancel, Deny, Halt, SessionEnd, Submit, Timer
from trading.risk.guards import GuardCode

# As in ``test_engine``.
pytestmark = pytest.mark.compiled_only
HELD = {"AAPL": [100, 45_000_000]}
STOP = {"stop_loss": 0.08}
# Bought at 45.00 and printed at 40.64 and below: every print of the day is under the stop.


@pytest.fixture
def desk(embedded_market):
    """Return a way to open a desk that has decided to buy nothing and to keep what it holds."""

    def open_desk(*, decided=True, **how):
        d = Desk(embedded_market, **how)
        if decided:
            assert d.engine.handle(Timer(ts=d.open_ts, view=d.content())) == []
        return d

    return open_desk


def tell(d, symbol="AAPL", *, seconds, halted=False, interrupted=False, operation=""):
    """Let the venue say something about a name, or about all of them ("")."""
    status = MarketStatus(
        symbol=symbol, halted=halted, interrupted=interrupted, operation=operation, reason="",
        ts_recv=d.open_ts + timedelta(seconds=seconds),
    )  # fmt: skip
    assert d.engine.handle(status) == []


def tick(d, *, seconds, price=None, symbol="AAPL"):
    """Print, at the day's opening price when none is named."""
    at = d.open_ts + timedelta(seconds=seconds)
    price = price or d.prints[symbol][0].price
    return d.engine.handle(
        Tick(symbol=symbol, price=price, volume=1, cumulative_volume=1, ts_event=at, ts_recv=at)
    )


def purchase(d, ts=None, **changes):
    """Ask for a small purchase at the reference price; return what comes back."""
    i = d.view.columns["AAPL"]
    template = Desk(d.market).decide()
    wish = replace(template, quantity=1, limit=int(d.view.morning.reference[i]), **changes)
    return d.engine.guarded(replace(wish, session=d.view.session), ts or d.open_ts)


@pytest.mark.parametrize("word", [{"halted": True}, {"interrupted": True}, {"operation": "174"}])
@pytest.mark.parametrize("whose", ["AAPL", ""])
def test_a_stop_waits_for_the_end_of_a_halt(desk, word, whose):
    """Halt, volatility interruption, circuit breaker: kept back, said once, sold at the next print."""
    d = desk(held=HELD, exits=STOP)
    tell(d, whose, seconds=10, **word)

    # Prints of before that arrive late, as they do over several connections.
    (denied,), *later = [tick(d, seconds=k) for k in (3, 4, 5)]
    tell(d, whose, seconds=130)
    (sent,) = tick(d, seconds=131)

    assert isinstance(denied, Deny)
    assert denied.code is GuardCode.SYMBOL_HALTED
    assert later == [[], []]
    assert isinstance(sent, Submit)
    assert (sent.intent.quantity, sent.intent.reason) == (100, "stop_loss")
    assert d.engine.open_orders() == [d.engine.orders[sent.intent.intent_id]]


@pytest.mark.parametrize("whose", ["AAPL", ""])
def test_a_print_ends_a_halt_whose_end_was_lost(desk, whose):
    """What trades is not halted, whatever nobody told: the stop leaves with that print."""
    d = desk(held=HELD, exits=STOP)
    tell(d, whose, seconds=10, halted=True)

    assert isinstance(tick(d, seconds=9)[0], Deny)
    assert isinstance(tick(d, seconds=11)[0], Submit)
    assert isinstance(purchase(d, d.open_ts + timedelta(seconds=11)), Submit)


def test_a_halt_of_one_name_stops_no_other(desk):
    """IBM trades on while AAPL is halted."""
    d = desk()
    tell(d, "IBM", seconds=1, halted=True)

    assert isinstance(purchase(d), Submit)


def test_a_halt_keeps_purchases_back(desk):
    """Nothing is bought into a halt either."""
    d = desk()
    tell(d, seconds=1, interrupted=True)

    assert purchase(d).code is GuardCode.SYMBOL_HALTED


@pytest.mark.parametrize(("begins", "ends"), [("387", "388"), ("397", "398")])
def test_a_sidecar_stops_entries_only(desk, begins, ends):
    """Neither the stop nor its price waits; purchases do, until it is over."""
    d = desk(held=HELD, exits=STOP)
    tell(d, seconds=1, operation=begins)

    assert purchase(d, intent_id="1").code is GuardCode.ENTRY_STOPPED
    assert isinstance(tick(d, seconds=2)[0], Submit)
    tell(d, seconds=300, operation=ends)
    assert isinstance(purchase(d, d.open_ts + timedelta(seconds=2), intent_id="2"), Submit)


def test_a_sidecar_is_no_end_of_a_halt(desk):
    """It speaks of the programs of the whole market, not of the name."""
    d = desk(held=HELD, exits=STOP)
    tell(d, seconds=10, halted=True)
    tell(d, seconds=11, operation="388")

    assert tick(d, seconds=9)[0].code is GuardCode.SYMBOL_HALTED


def test_a_name_that_may_not_be_traded_today_is_not_bought(desk, embedded_market):
    """An order for it, whoever wished it, does not leave; a sale of what is held may."""
    d = desk(decided=False, held=HELD, exits=STOP)
    tradable = d.view.morning.tradable.copy()
    tradable[d.view.columns["AAPL"]] = False
    d.view = replace(d.view, morning=d.view.morning._replace(tradable=tradable))
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))

    assert purchase(d).code is GuardCode.ENTRY_STOPPED
    assert isinstance(tick(d, seconds=1)[0], Submit)


def test_a_halt_ends_with_its_session(desk):
    """Tomorrow's reference and screen say what may be traded tomorrow."""
    d = desk(held=HELD, exits=STOP)
    tell(d, seconds=1, halted=True)
    tell(d, "", seconds=1, operation="387")
    d.engine.handle(SessionEnd(ts=d.start.close_ts))
    d.turn_to(date(2005, 5, 31))
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))

    assert isinstance(purchase(d), Submit)


def test_a_daily_loss_does_not_sell_into_a_halt(desk):
    """The limit takes purchases back and reduces; what is halted is held until it trades."""
    d = desk(held=HELD, exits=STOP, risk={"max_daily_loss": 1e-4})
    buy = purchase(d).intent
    d.accept(buy)
    tell(d, seconds=10, halted=True)
    low = d.prints["AAPL"][1].price
    # The stop takes the purchase of its own name back; what is halted it cannot sell.
    cancel, denied = tick(d, seconds=9, price=low)
    assert (cancel.order.intent, denied.code) == (buy, GuardCode.SYMBOL_HALTED)
    d.update(OrderStatus.ACCEPTED)

    commands = d.engine.handle(Timer(ts=d.open_ts + timedelta(minutes=5)))

    assert [type(c) for c in commands] == [Breach, Cancel]
    assert d.engine.risk.state is TradingState.REDUCING
    assert [o.intent.side for o in d.engine.open_orders()] == [Side.BUY]
    d.update(OrderStatus.CANCELED)
    assert d.engine.handle(Timer(ts=d.open_ts + timedelta(minutes=10))) == []
    # It trades again: the stop leaves although the session may only reduce.
    (sent,) = tick(d, seconds=600)
    assert sent.intent.quantity == 100
    assert purchase(d, d.open_ts + timedelta(seconds=600), intent_id="2").code is GuardCode.REDUCING


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_the_operators_state_survives_a_restart(desk, state):
    """Through the ledger's snapshot, into the same and into the next session, until taken back."""
    d = desk(held=HELD, exits=STOP)
    d.engine.handle(Halt(ts=d.open_ts, state=state))
    snapshot = d.engine.snapshot()

    for day in (date(2005, 5, 27), date(2005, 5, 31)):
        other = desk(decided=False, exits=STOP)
        other.engine.restore(snapshot)
        other.turn_to(day)
        other.engine.handle(Timer(ts=other.open_ts, view=other.content()))
        assert other.engine.risk.state is state
        code = GuardCode.HALTED if state is TradingState.HALTED else GuardCode.REDUCING
        assert purchase(other).code is code
        (answer,) = tick(other, seconds=1)
        assert isinstance(answer, Deny if state is TradingState.HALTED else Submit)

    other.engine.handle(Halt(ts=other.open_ts, state=TradingState.ACTIVE))
    other.turn_to(date(2005, 6, 1))
    assert other.engine.risk.state is TradingState.ACTIVE


@pytest.mark.parametrize(("state", "taken"), [(TradingState.REDUCING, 0), (TradingState.HALTED, 1)])
def test_a_halt_takes_sales_back_too(desk, state, taken):
    """A working stop goes on in REDUCING; in a halt it is canceled, and made again afterwards."""
    d = desk(held=HELD, exits=STOP)
    (sent,) = tick(d, seconds=1)
    d.accept(sent.intent)

    commands = d.engine.handle(Halt(ts=d.open_ts, state=state))

    assert [type(c) for c in commands] == [Cancel] * taken
    if taken:
        d.update(OrderStatus.CANCELED)
        assert isinstance(tick(d, seconds=2)[0], Deny)
        d.engine.handle(Halt(ts=d.open_ts, state=TradingState.ACTIVE))
        (again,) = tick(d, seconds=3)
        assert again.intent.quantity == sent.intent.quantity


def test_a_quarantined_name_is_only_sold_and_a_frozen_one_left_alone(desk):
    """Doubt about one name costs that name its orders, and no other."""
    d = desk(held=HELD, exits=STOP)
    d.engine.quarantined.add("AAPL")
    assert purchase(d, intent_id="1").code is GuardCode.REDUCING
    d.engine.frozen.add("AAPL")
    assert tick(d, seconds=1)[0].code is GuardCode.SYMBOL_FROZEN

    d.engine.frozen.clear()

    assert isinstance(tick(d, seconds=2)[0], Submit)
    assert d.engine.risk.state is TradingState.ACTIVE


def test_an_order_of_another_day_does_not_leave(desk):
    """What yesterday wished was wished of yesterday's prices."""
    d = desk()

    stale = replace(Desk(d.market).decide(), session=date(2005, 5, 26), intent_id="stale")

    assert d.engine.guarded(stale, d.open_ts).code is GuardCode.SESSION_CLOSED


def test_open_orders_count_as_if_they_were_filled(desk):
    """Each purchase alone is within the cap of a name; together they are not."""
    d = desk()
    i = d.view.columns["AAPL"]
    share = d.engine.policy.risk.max_single_name
    lots = int(share * CASH / int(d.view.morning.reference[i]))
    template = purchase(d, intent_id="first").intent
    half = replace(template, quantity=lots // 2)

    codes = [
        getattr(d.engine.guarded(replace(half, intent_id=str(k)), d.open_ts), "code", None)
        for k in range(3)
    ]

    # One share of the template is out already.
    assert codes == [None, None if lots % 2 else GuardCode.SINGLE_NAME, GuardCode.SINGLE_NAME]


def test_what_was_canceled_counts_no_more(desk):
    """Room that a canceled purchase took is there again."""
    d = desk()
    i = d.view.columns["AAPL"]
    lots = int(d.engine.policy.risk.max_single_name * CASH / int(d.view.morning.reference[i]))
    whole = replace(purchase(d, intent_id="tiny").intent, quantity=lots - 1, intent_id="whole")
    assert isinstance(d.engine.guarded(whole, d.open_ts), Submit)
    d.accept(whole)
    again = replace(whole, intent_id="again")
    assert d.engine.guarded(again, d.open_ts).code is GuardCode.SINGLE_NAME

    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.REDUCING))
    d.update(OrderStatus.CANCELED)
    d.engine.risk = replace(d.engine.risk, state=TradingState.ACTIVE)

    assert isinstance(d.engine.guarded(replace(whole, intent_id="third"), d.open_ts), Submit)


@pytest.mark.parametrize("eager", [False, True])
def test_in_a_backtest_no_guard_fires(embedded_market, eager):
    """A decision only makes orders that pass: every order of a year leaves, as in the sweep."""
    shipped = embedded_market.policy
    changes = {}
    if eager:
        ensemble = shipped.allocation.ensemble.model_copy(
            update={"entry_forecast": 0.0, "min_confidence": 0.0, "max_entry_var": 1.0}
        )
        allocation = shipped.allocation.model_copy(
            update={"ensemble": ensemble, "resize": "daily", "no_trade_band": 0.001}
        )
        exits = shipped.exits.model_copy(update={"stop_loss": 0.03, "cooldown_sessions": 1})
        risk = shipped.risk.model_copy(
            update={"max_single_name": 0.2, "max_sector": 0.5, "max_gross": 0.6}
        )
        changes = {"allocation": allocation, "exits": exits, "risk": risk}
    # All names in one sector: its cap binds before the others do.
    evaluation = embedded_market.evaluation
    if eager:
        evaluation = replace(evaluation, sectors=np.zeros_like(evaluation.sectors))
    policy, views = replace(embedded_market, evaluation=evaluation).views(**changes)

    result = runner.run(
        views, embedded_market.raw, embedded_market.actions, embedded_market.calendar,
        embedded_market.rules, policy, cash=CASH, first=date(2004, 10, 1), last=date(2005, 10, 1),
    )  # fmt: skip

    assert [deny for day in result.days for deny in day.denied] == []
    orders = sum(len(day.orders) for day in result.days)
    assert orders > (50 if eager else 2)
