"""The engine event by event, on recorded sessions: fills, stops, limits, restarts."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from trading.backtest.runner import daily_instants, fees_of, session_start
from trading.domain.account import Position
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.decision import TradingState, Verdict
from trading.domain.market import Tick
from trading.domain.order import Fill, Order, OrderAck, OrderStatus, OrderUpdate, Side
from trading.errors import OrderStateError
from trading.execution.decide import RiskState
from trading.execution.engine import (
    Accepted,
    Adjustment,
    Breach,
    Cancel,
    Deny,
    Halt,
    Lost,
    Refused,
    SessionEnd,
    Submit,
    Timer,
    TradingEngine,
)
from trading.risk.guards import GuardCode
from trading.simulation.account import Account

# Nothing here looks at a compiled line, and the recorded sessions take a minute without compilation.
pytestmark = pytest.mark.compiled_only
CASH = 1_000_000_000
# The shipped policy buys AAPL before this open; that day it opened at 40.64 and fell to 39.96.
ENTRY = date(2005, 5, 27)
S = OrderStatus


def rewritten(view, **arrays):
    """Return the view with other arrays of its morning."""
    return replace(view, morning=view.morning._replace(**arrays))


class Desk:
    """One recorded session under an engine, moved by hand."""

    def __init__(self, market, *, day=ENTRY, held=None, exits=None, risk=None):
        policy, _ = market.views()
        policy = replace(
            policy,
            exits=policy.exits.model_copy(update=exits or {}),
            risk=policy.risk.model_copy(update=risk or {}),
        )
        self.market = market
        self.engine = TradingEngine(
            policy,
            Account(policy.market, CASH),
            RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE),
            fees_of(market.rules, market.calendar),
        )
        if held:
            self.engine.account.restore(
                {"cash": CASH, "positions": held, "traded": {}},
            )
        self.turn_to(day)

    def turn_to(self, day, actions=()):
        """Begin a session."""
        raw, row = self.market.raw, self.market.raw.row_of(day)
        engine = self.engine
        _, views = self.market.views(exits=engine.policy.exits, risk=engine.policy.risk)
        self.view = views.at(row, held=engine.account.positions)
        self.start = session_start(
            self.view, raw, row, actions, self.market.rules, engine,
            *self.market.calendar.open_close(day),
        )  # fmt: skip
        self.prints = {
            symbol: [p for _, at in daily_instants(raw, row, self.view, self.start) for p in at
                     if p.symbol == symbol]
            for symbol in raw.symbols
        }  # fmt: skip
        self.open_ts = self.start.open_ts
        engine.handle(self.start)

    def decide(self):
        """Take the decision; return its one purchase."""
        (submit,) = self.engine.handle(Timer(ts=self.open_ts, view=self.view))
        assert isinstance(submit, Submit)
        return submit.intent

    def content(self):
        """Return the view of agents that wish to keep everything and to buy nothing."""
        return rewritten(self.view, votes=self.view.morning.votes * 0 + 0.1)

    def accept(self, intent, number="1"):
        """Let the venue take the order."""
        ack = OrderAck(venue_order_id=number, branch="", ts_event=self.open_ts)
        return self.engine.handle(Accepted(intent_id=intent.intent_id, ack=ack))

    def fill(self, intent, quantity, number="1", k=0):
        """Report an execution at the ``k``-th recorded print."""
        price = self.prints[intent.symbol][k].price
        return self.engine.handle(
            Fill(
                symbol=intent.symbol, side=intent.side, quantity=quantity,
                amount=quantity * price, venue_order_id=number, ts_event=self.open_ts,
                ts_recv=self.open_ts,
            )
        )  # fmt: skip

    def tick(self, symbol, k):
        """Report the ``k``-th recorded print: 0 open, 1 low, 2 high, 3 close."""
        p = self.prints[symbol][k]
        return self.engine.handle(
            Tick(symbol=symbol, price=p.price, volume=p.volume, cumulative_volume=0,
                 ts_event=p.ts, ts_recv=p.ts)
        )  # fmt: skip

    def update(self, status, number="1"):
        """Report the venue's word on an order."""
        return self.engine.handle(
            OrderUpdate(venue_order_id=number, symbol="AAPL", status=status,
                        ts_event=self.open_ts, ts_recv=self.open_ts)
        )  # fmt: skip

    def status(self, intent):
        """Return where an order is."""
        return self.engine.orders[intent.intent_id].status


@pytest.fixture
def desk(embedded_market):
    """Return a way to open a desk."""
    return lambda **how: Desk(embedded_market, **how)


def test_a_decision_becomes_orders_once(desk):
    """The same decision taken again is denied as a duplicate and leaves the first order alone."""
    d = desk()
    intent = d.decide()
    d.accept(intent)

    again = d.engine.handle(Timer(ts=d.open_ts, view=d.view))

    assert again == [Deny(intent=intent, code=GuardCode.DUPLICATE)]
    assert d.status(intent) is S.ACCEPTED
    assert d.engine.open_orders() == [d.engine.orders[intent.intent_id]]


def test_a_fill_of_an_unknown_number_is_not_booked(desk):
    """Nor is it forgotten: the driver is told, and books it once the number is known."""
    d = desk()
    intent = d.decide()

    with pytest.raises(OrderStateError):
        d.fill(intent, 40)
    assert d.engine.booked == []
    assert d.engine.account.cash == CASH

    d.accept(intent)
    d.fill(intent, 40)
    assert d.status(intent) is S.PARTIALLY_FILLED
    assert d.engine.account.positions["AAPL"].quantity == 40
    d.fill(intent, intent.quantity - 40)
    assert d.status(intent) is S.FILLED
    assert [b.fill.quantity for b in d.engine.booked] == [40, intent.quantity - 40]


def test_books_after_a_purchase(desk):
    """Cash pays the amount and 0.25 % of it, rounded down to the cent."""
    d = desk()
    intent = d.decide()
    d.accept(intent)
    d.fill(intent, intent.quantity)
    d.tick("AAPL", 0)

    amount = intent.quantity * d.prints["AAPL"][0].price
    commission = amount * 25 // 10_000 // 100 * 100

    assert d.engine.account.cash == CASH - amount - commission
    assert d.engine.equity() == CASH - commission
    assert d.engine.booked[0].booking.commission == commission


def test_stop_on_the_print_of_the_entry(desk):
    """What was bought at the open is sold at the low of the same bar, once."""
    d = desk(exits={"stop_loss": 0.01, "cooldown_sessions": 10})
    intent = d.decide()
    d.accept(intent)
    d.fill(intent, intent.quantity)
    assert d.tick("AAPL", 0) == []

    (submit,) = d.tick("AAPL", 1)

    sale = submit.intent
    low = d.prints["AAPL"][1].price
    assert (sale.side, sale.quantity, sale.reason) == (Side.SELL, intent.quantity, "stop_loss")
    assert sale.intent_id == "us:2005-05-27:exit0:AAPL:sell"
    # Two per cent below the print that triggered it, up to the cent.
    assert sale.limit == -(-round(low * 0.98) // 100) * 100
    assert d.tick("AAPL", 1) == []


def test_a_partly_bought_position_is_stopped(desk):
    """The rest of the purchase is taken back, and what was bought is sold."""
    d = desk(exits={"stop_loss": 0.01})
    intent = d.decide()
    d.accept(intent)
    d.fill(intent, 40)

    cancel, submit = d.tick("AAPL", 1)

    assert isinstance(cancel, Cancel)
    assert cancel.order.venue_order_id == "1"
    assert submit.intent.quantity == 40
    assert d.status(intent) is S.PENDING_CANCEL
    d.fill(intent, 10)
    assert d.status(intent) is S.PENDING_CANCEL
    d.update(S.CANCELED)
    assert d.status(intent) is S.CANCELED
    # What the cancel lost to is sold by the next print, under a number of its own.
    (second,) = d.tick("AAPL", 1)
    assert (second.intent.quantity, second.intent.boundary) == (10, "exit")
    assert second.intent.intent_id.split(":")[2] == "exit1"


def test_a_sale_that_asks_too_much_makes_way(desk):
    """A resting sale above the market is canceled first; the next print sells."""
    d = desk(held={"AAPL": [100, 45_000_000]}, exits={"stop_loss": 0.08})
    view = rewritten(d.view, votes=d.view.morning.votes * 0 - 1.0)
    (submit,) = d.engine.handle(Timer(ts=d.open_ts, view=view))
    sale = replace(submit.intent, limit=10_000_000)
    d.engine.orders[sale.intent_id] = d.engine.orders[sale.intent_id]._replace(intent=sale)
    d.accept(sale)

    commands = d.tick("AAPL", 1)

    assert [type(c) for c in commands] == [Cancel]
    d.update(S.CANCELED)
    (again,) = d.tick("AAPL", 1)
    assert (again.intent.quantity, again.intent.reason) == (100, "stop_loss")


def test_a_sale_at_the_market_is_enough(desk):
    """A stop does not sell what is already on its way out."""
    d = desk(held={"AAPL": [100, 45_000_000]}, exits={"stop_loss": 0.08})
    view = rewritten(d.view, votes=d.view.morning.votes * 0 - 1.0)
    (submit,) = d.engine.handle(Timer(ts=d.open_ts, view=view))
    d.accept(submit.intent)

    assert d.tick("AAPL", 1) == []


def test_no_stop_without_a_market(desk):
    """At the close nothing can be sold any more, and before a decision nothing is known."""
    d = desk(held={"AAPL": [100, 45_000_000]}, exits={"stop_loss": 0.08})

    assert d.tick("AAPL", 1) == []
    assert d.engine.handle(Timer(ts=d.open_ts, view=d.content())) == []
    assert d.tick("AAPL", 3) == []
    assert len(d.tick("AAPL", 1)) == 1


def test_an_exit_that_is_denied_is_tried_again(desk):
    """A halt keeps the stop back, which is said once; at the first print after it the stop leaves."""
    d = desk(held={"AAPL": [100, 45_000_000]}, exits={"stop_loss": 0.08})
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))
    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.HALTED))

    (denied,), *later = [d.tick("AAPL", 1) for _ in range(3)]
    d.engine.risk = replace(d.engine.risk, state=TradingState.ACTIVE)
    (sent,) = d.tick("AAPL", 1)

    assert (denied.code, d.status(denied.intent)) == (GuardCode.HALTED, S.DENIED)
    assert later == [[], []]
    assert d.status(sent.intent) is S.SUBMITTED
    assert denied.intent.intent_id != sent.intent.intent_id


def test_a_broken_loss_limit_stops_purchases(desk):
    """Open purchases are canceled, new ones refused, and it is said once."""
    d = desk(risk={"max_daily_loss": 1e-3})
    intent = d.decide()
    d.accept(intent)
    assert d.engine.handle(Timer(ts=d.open_ts)) == []
    d.fill(intent, intent.quantity - 1)
    d.tick("AAPL", 1)
    breach, cancel = d.engine.handle(Timer(ts=d.open_ts + timedelta(minutes=5)))

    assert breach == Breach(verdict=Verdict.DAILY_LOSS, equity=d.engine.equity())
    assert cancel.order.intent == intent
    assert d.engine.risk.state is TradingState.REDUCING
    assert d.engine.handle(Timer(ts=d.open_ts + timedelta(minutes=10))) == []
    other = replace(intent, intent_id="other")
    assert d.engine.guarded(other, d.open_ts).code is GuardCode.REDUCING


def test_a_broken_limit_ends_with_its_session(desk):
    """A restart within the session keeps it, the next session begins anew."""
    d = desk()
    intent = d.decide()
    d.accept(intent)

    (cancel,) = d.engine.restrict(TradingState.REDUCING)
    assert cancel.order.intent == intent
    assert d.engine.restrict(TradingState.ACTIVE) == []
    assert d.engine.risk.state is TradingState.REDUCING

    d.engine.handle(SessionEnd(ts=d.start.close_ts))
    assert d.engine.snapshot()["operator"] == "active"
    d.turn_to(date(2005, 5, 31))
    assert d.engine.risk.state is TradingState.ACTIVE


def test_a_drawdown_reduces_for_its_cooldown(desk):
    """Below 85 % of the peak nothing is bought, and the memory outlives a restart."""
    d = desk()
    d.engine.risk = replace(d.engine.risk, peak=2 * CASH)
    d.turn_to(date(2005, 5, 31))
    assert d.engine.risk.state is TradingState.REDUCING
    assert d.engine.risk.cooldown == 20

    other = desk()
    other.engine.restore(d.engine.snapshot())
    other.turn_to(date(2005, 6, 1))

    assert (other.engine.risk.cooldown, other.engine.risk.peak) == (19, 2 * CASH)
    assert other.engine.risk.state is TradingState.REDUCING


@pytest.mark.parametrize(
    ("brought", "peak", "state"),
    [
        # 40 % taken out of an account at its peak is no loss.
        (Adjustment(symbol="", amount=-4 * CASH // 10, price=0), CASH, TradingState.ACTIVE),
        # An account 20 % below its peak is so with twice the money, too.
        (Adjustment(symbol="", amount=CASH, price=0), CASH * 10 // 8, TradingState.REDUCING),
        # Shares that moved to another broker: the venue names no price for what is gone.
        (Adjustment(symbol="AAPL", amount=-1000, price=0), None, TradingState.ACTIVE),
    ],
)
def test_what_the_operator_brings_or_takes_is_no_drawdown(desk, brought, peak, state):
    """Money and shares that came or went move the peak along; the drawdown stays what it was."""
    d = desk(held={"AAPL": [1000, 400_000_000]})
    before = d.engine.equity() if peak is None else peak
    if peak is not None:
        d.engine.account.positions.clear()
    d.engine.risk = replace(d.engine.risk, peak=before)

    d.engine.handle(replace(d.start, adjustments=(brought,)))

    assert d.engine.risk.state is state
    drawdown = 1.0 - (d.engine.equity() / d.engine.risk.peak)
    assert drawdown == pytest.approx(0.2 if state is TradingState.REDUCING else 0.0, abs=1e-8)


@pytest.mark.parametrize(("drawdown", "exposure"), [(0, 1.0), (8, 0.75)])
def test_a_holding_that_no_record_knows(desk, drawdown, exposure):
    """Half of an account that was taken over is beyond the universe: the other half trades as alone.

    It counts at what was paid for it.
    """
    alone, d = desk(), desk()
    d.engine.account.positions["XYZ"] = Position(symbol="XYZ", quantity=100, cost=CASH)
    for one, whole in ((alone, CASH), (d, 2 * CASH)):
        one.engine.risk = replace(one.engine.risk, peak=whole * 100 // (100 - drawdown))
    assert d.engine.snapshot()["last_price"] == {"XYZ": CASH // 100}

    for one in (alone, d):
        one.engine.handle(one.start)
    intents = [one.decide() for one in (alone, d)]

    assert d.engine.equity() == 2 * CASH
    assert [one.engine.decisions[-1].exposure for one in (alone, d)] == [exposure] * 2
    assert intents[0] == intents[1]


def test_the_operators_word_stays(desk):
    """It stops purchases now, outlives the session and a restart, until the next word."""
    d = desk()
    intent = d.decide()
    d.accept(intent)

    (cancel,) = d.engine.handle(Halt(ts=d.open_ts, state=TradingState.REDUCING))
    assert cancel.order.intent == intent
    d.engine.handle(SessionEnd(ts=d.start.close_ts))
    other = desk()
    other.engine.restore(d.engine.snapshot())
    other.turn_to(date(2005, 5, 31))
    assert other.engine.risk.state is TradingState.REDUCING

    assert other.engine.handle(Halt(ts=other.open_ts, state=TradingState.ACTIVE)) == []
    assert other.engine.risk.state is TradingState.ACTIVE


def test_the_operators_word_lifts_no_limit(desk):
    """What a limit forbids stays forbidden whoever resumes, and a halt takes sales back as well."""
    d = desk()
    intent = d.decide()
    d.accept(intent)
    d.engine.restrict(TradingState.REDUCING)

    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.HALTED))
    assert (d.engine.operator, d.engine.limited) == (TradingState.HALTED, TradingState.REDUCING)
    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.ACTIVE))

    assert d.engine.risk.state is TradingState.REDUCING


def test_refused_and_lost(desk):
    """A refusal ends the order; a lost answer leaves it open, also when asked again in vain."""
    d = desk()
    intent = d.decide()
    d.engine.handle(Refused(intent_id=intent.intent_id, reason="APBK0919"))
    assert d.status(intent) is S.REJECTED
    assert d.engine.orders[intent.intent_id].reason == "APBK0919"

    d = desk()
    intent = d.decide()
    for _ in range(2):
        d.engine.handle(Lost(intent_id=intent.intent_id, reason="시간 초과"))
        assert d.status(intent) is S.UNKNOWN
    # Its cash stays promised, and without a number there is nothing to cancel.
    assert d.engine.open_orders() != []
    assert d.engine.handle(Halt(ts=d.open_ts, state=TradingState.HALTED)) == []
    d.engine.handle(SessionEnd(ts=d.start.close_ts))
    assert d.status(intent) is S.UNKNOWN
    d.accept(intent)
    assert d.status(intent) is S.ACCEPTED
    with pytest.raises(OrderStateError):
        d.engine.handle(Refused(intent_id="nobody's", reason=""))


def test_words_of_the_venue(desk):
    """Late, repeated and unknown words change nothing; a fill after the cancel is booked."""
    d = desk()
    intent = d.decide()
    d.accept(intent)

    d.update(S.ACCEPTED)
    d.update(S.CANCELED, number="unheard-of")
    assert d.status(intent) is S.ACCEPTED
    d.fill(intent, 40)
    d.update(S.ACCEPTED)
    assert d.status(intent) is S.PARTIALLY_FILLED
    d.update(S.CANCELED)
    d.update(S.CANCELED)
    d.fill(intent, intent.quantity - 40)
    assert d.status(intent) is S.FILLED
    # The cancel that lost is refused after the fill.
    d.update(S.ACCEPTED)
    assert d.status(intent) is S.FILLED
    assert d.engine.account.positions["AAPL"].quantity == intent.quantity


def test_a_refused_cancel_leaves_the_order_working(desk):
    """The order may be canceled again later."""
    d = desk()
    intent = d.decide()
    d.accept(intent)
    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.REDUCING))
    assert d.status(intent) is S.PENDING_CANCEL

    d.update(S.ACCEPTED)

    assert d.status(intent) is S.ACCEPTED
    assert len(d.engine.restrict(TradingState.REDUCING)) == 1


def test_open_orders_expire_with_the_session(desk):
    """What the close leaves open is over; the next session knows none of it."""
    d = desk()
    intent = d.decide()
    d.accept(intent)

    d.engine.handle(SessionEnd(ts=d.start.close_ts))

    assert d.status(intent) is S.EXPIRED
    assert d.engine.guarded(replace(intent, intent_id="x"), d.open_ts).code is (
        GuardCode.SESSION_CLOSED
    )
    d.turn_to(date(2005, 5, 31))
    assert d.engine.orders == {}


def test_what_was_sold_by_a_stop_cools(desk):
    """For the configured sessions after that one, over restarts too."""
    d = desk(exits={"stop_loss": 0.01, "cooldown_sessions": 2})
    intent = d.decide()
    d.accept(intent)
    d.fill(intent, intent.quantity)
    (sale,) = d.tick("AAPL", 1)
    d.accept(sale.intent, "2")
    d.fill(sale.intent, intent.quantity, "2", k=1)
    assert d.engine.account.positions == {}
    d.engine.handle(SessionEnd(ts=d.start.close_ts))

    cooling = []
    for day in (date(2005, 5, 31), date(2005, 6, 1), date(2005, 6, 2)):
        other = desk(exits={"stop_loss": 0.01, "cooldown_sessions": 2})
        other.engine.restore(d.engine.snapshot())
        other.turn_to(day)
        cooling.append(other.engine.risk.cooling)
        other.engine.handle(SessionEnd(ts=other.start.close_ts))
        d = other

    assert cooling == [(("AAPL", 2),), (("AAPL", 1),), ()]


def test_a_stop_sells_whole_lots(desk):
    """The odd rest below a lot of ten is kept, whatever its loss."""
    d = desk(held={"AAPL": [57, 57 * 450_000]}, exits={"stop_loss": 0.08})
    view = rewritten(d.content(), lot=d.view.morning.lot * 10)
    d.engine.handle(Timer(ts=d.open_ts, view=view))

    (submit,) = d.tick("AAPL", 1)
    d.accept(submit.intent)
    d.fill(submit.intent, 50, k=1)

    assert submit.intent.quantity == 50
    assert d.tick("AAPL", 1) == []
    assert d.engine.account.positions["AAPL"].quantity == 7


def test_frozen_and_stale(desk):
    """A symbol in doubt and a price of yesterday's noon hold orders back."""
    d = desk()
    d.tick("AAPL", 0)
    late = d.open_ts + timedelta(hours=1)
    intent = replace(d.decide(), intent_id="late")
    assert d.engine.guarded(intent, late).code is GuardCode.STALE_DATA

    d.engine.frozen.add("AAPL")
    assert d.engine.guarded(replace(intent, intent_id="now"), d.open_ts).code is (
        GuardCode.SYMBOL_FROZEN
    )


def test_cash_and_shares_are_promised_once(desk):
    """Two orders cannot spend the same money or sell the same shares."""
    d = desk(
        held={"AAPL": [100, 40_000_000]},
        risk={"max_single_name": 1.0, "guards": _wide_guards(desk)},
    )
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))
    sale = _intent(d, Side.SELL, 60)
    buy = _intent(d, Side.BUY, CASH // 407_400 // 2 + 1)

    codes = [
        getattr(d.engine.guarded(replace(i, intent_id=name), d.open_ts), "code", None)
        for i, name in ((sale, "s1"), (sale, "s2"), (buy, "b1"), (buy, "b2"))
    ]

    assert codes == [None, GuardCode.SHORT_SALE, None, GuardCode.NO_CASH]


def test_the_fees_of_an_open_purchase_are_promised_too(desk):
    """What two purchases cost with the fees of one is there, with the fees of both it is not."""
    d = desk(risk={"max_single_name": 1.0, "max_sector": 1.0, "guards": _wide_guards(desk)})
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))
    rate = d.view.morning.buy_fee_ppb
    intent = _intent(d, Side.BUY, 1)
    # As many as two orders may have when only one of them pays fees.
    most = CASH * 1_000_000_000 // (intent.limit * (2_000_000_000 + rate))
    intent = replace(intent, quantity=most)
    value = intent.quantity * intent.limit
    fee = value * rate // 1_000_000_000
    assert 2 * value + fee <= CASH < 2 * value + 2 * fee

    codes = [
        getattr(d.engine.guarded(replace(intent, intent_id=name), d.open_ts), "code", None)
        for name in ("b1", "b2")
    ]

    assert codes == [None, GuardCode.NO_CASH]


def test_a_split_moves_the_trailing_peak(desk, embedded_market):
    """Two for one on 2005-02-28: the highest print is halved with the price, nothing is sold."""
    d = desk(
        day=date(2005, 2, 25), held={"AAPL": [100, 80_000_000]},
        exits={"stop_loss": None, "trailing_stop": 0.10},
    )  # fmt: skip
    d.tick("AAPL", 2)
    high = d.prints["AAPL"][2].price
    equity = CASH + 100 * 889_900
    d.engine.handle(SessionEnd(ts=d.start.close_ts))

    split = [a for a in embedded_market.actions if a.ex_date == date(2005, 2, 28)]
    d.turn_to(date(2005, 2, 28), actions=split)

    assert d.engine.account.positions["AAPL"].quantity == 200
    assert d.engine.equity() == equity
    assert d.engine.snapshot()["peaks"] == {"AAPL": high // 2}
    assert [x.effect.quantity_after for x in d.engine.applied] == [200]
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))
    assert d.tick("AAPL", 1) == []


def test_a_right_stops_nothing_and_gives_nothing(desk, embedded_market):
    """AAPL's halving of 2005-02-28 as if it were a right: the worth is lost, no stop is touched.

    Bought at 80, worth 40 after the right: a stop of 10 % lies at 36, and the print is 44.68.
    """
    d = desk(
        day=date(2005, 2, 25), held={"AAPL": [100, 80_000_000]},
        exits={"stop_loss": 0.10, "trailing_stop": 0.10},
    )  # fmt: skip
    d.tick("AAPL", 2)
    high = d.prints["AAPL"][2].price
    d.engine.handle(SessionEnd(ts=d.start.close_ts))
    (split,) = [a for a in embedded_market.actions if a.ex_date == date(2005, 2, 28)]

    d.turn_to(date(2005, 2, 28), actions=[replace(split, kind=ActionKind.RIGHTS)])

    (applied,) = d.engine.applied
    assert (applied.effect.quantity_after, applied.effect.cash) == (100, 0)
    assert d.engine.account.positions["AAPL"].cost == 80_000_000
    assert d.engine.equity() == CASH + 100 * 444_950
    assert d.engine.snapshot()["peaks"] == {"AAPL": high // 2}
    d.engine.handle(Timer(ts=d.open_ts, view=d.content()))
    assert [d.tick("AAPL", k) for k in range(4)] == [[]] * 4

    # Without the right the same prints sell at once.
    other = desk(day=date(2005, 2, 28), held={"AAPL": [100, 80_000_000]}, exits={"stop_loss": 0.10})
    other.engine.handle(Timer(ts=other.open_ts, view=other.content()))
    assert len(other.tick("AAPL", 0)) == 1


def test_a_delisting_forgets_the_peak(desk):
    """What is bought again after a relisting starts its own trail."""
    d = desk(held={"AAPL": [100, 40_000_000]})
    d.tick("AAPL", 2)
    gone = CorporateAction(
        symbol="AAPL", ex_date=date(2005, 5, 31), kind=ActionKind.DELISTING, amount=400_000
    )

    d.turn_to(date(2005, 5, 31), actions=[gone])

    assert d.engine.account.cash == CASH + 40_000_000
    assert d.engine.snapshot()["peaks"] == {}


def test_a_restarted_session_goes_on(desk):
    """Orders of the ledger are taken over; their fills follow, and their intents are known."""
    d = desk(exits={"stop_loss": 0.01})
    intent = d.decide()
    d.accept(intent)
    d.fill(intent, 40)
    recorded = Order(intent=intent).moved(S.SUBMITTED).acknowledged(
        OrderAck(venue_order_id="1", branch="", ts_event=d.open_ts)
    )  # fmt: skip

    other = desk(exits={"stop_loss": 0.01})
    other.engine.resume(d.engine.decisions[-1], other.view)
    other.engine.adopt(recorded)
    other.engine.adopt(Order(intent=replace(intent, intent_id="sent")).moved(S.SUBMITTED))
    other.fill(intent, 40)

    assert other.engine.account.snapshot() == d.engine.account.snapshot()
    assert other.engine.guarded(intent, other.open_ts).code is GuardCode.DUPLICATE
    assert other.engine.decisions == d.engine.decisions
    (sale,) = [c for c in other.tick("AAPL", 1) if isinstance(c, Submit)]
    assert sale.intent.reason == "stop_loss"
    exit_order = Order(intent=sale.intent).moved(S.SUBMITTED)
    third = desk()
    third.engine.adopt(exit_order)
    third.engine.handle(SessionEnd(ts=third.start.close_ts))
    assert third.engine.snapshot()["cooling"] == {"AAPL": 10}


def _intent(d, side, quantity):
    view, i = d.view, d.view.columns["AAPL"]
    (template,) = [
        c.intent
        for c in Desk(d.market).engine.handle(Timer(ts=d.open_ts, view=view))
        if isinstance(c, Submit)
    ] or [None]
    assert template is not None
    return replace(template, side=side, quantity=quantity, limit=int(view.morning.reference[i]))


def _wide_guards(desk):
    return desk().engine.policy.risk.guards.model_copy(update={"max_order_share": 1.0})
