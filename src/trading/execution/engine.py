"""The one engine: events in, commands out, no I/O.

``backtest.runner`` and ``live.session`` are two thin drivers around the same object. A driver
writes what the engine wishes into the ledger, carries it to the venue, and feeds the answers back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from trading.allocation.rebalance import limit_price
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.decision import Decision, TradingState, Verdict
from trading.domain.instrument import Exchange
from trading.domain.market import Tick
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
    Side,
)
from trading.errors import OrderStateError
from trading.execution.decide import Policy, RiskState, View, decide
from trading.execution.exits import ExitRule, basis_points, exits
from trading.risk.guards import GuardCode, Guards, OrderContext
from trading.risk.limits import REDUCING, breach, next_state
from trading.simulation.account import Account, ActionEffect, Booking, income_kept, lost_right

BOUNDARY_EXIT = "exit"
# An order that somebody placed by hand and that the books took over.
BOUNDARY_MANUAL = "manual"
# An order without a number cannot be canceled; one that is being canceled need not be again.
_CANCELABLE = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})
# Where "accepted" is news. A cancel that lost to the fill is refused with the same word, late.
_ACCEPTABLE = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING_CANCEL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Money, or shares of ``symbol`` at ``price``, that the operator says came or went."""

    symbol: str
    amount: int
    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStart:
    """A session begins: its hours, this morning's actions and restated reference prices.

    ``adjustments`` are what the operator accepted since the last session.
    """

    session: date
    open_ts: datetime
    close_ts: datetime
    actions: Sequence[CorporateAction]
    reference: Mapping[str, int]
    withholding_ppb: int
    adjustments: Sequence[Adjustment] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A boundary: with a view it is time to decide, without one to check the portfolio."""

    ts: datetime
    view: View | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The operator's word; it stays until the next one, over restarts too."""

    ts: datetime
    state: TradingState


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """The session is over; what is still open has expired."""

    ts: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The venue took an order."""

    intent_id: str
    ack: OrderAck


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The venue refused an order for good."""

    intent_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The venue's answer was lost; the order is ``UNKNOWN`` until reconciled."""

    intent_id: str
    reason: str


Event = (
    SessionStart | Timer | Tick | Fill | OrderUpdate | Halt | SessionEnd | Accepted | Refused | Lost
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Send this order, once."""

    intent: OrderIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel what is open of this order."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """A guard kept this order back; nothing is sent, the refusal is recorded."""

    intent: OrderIntent
    code: GuardCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A loss limit is broken: the session is ``REDUCING`` from here on."""

    verdict: Verdict
    equity: int


Command = Submit | Cancel | Deny | Breach


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A fill as it was booked, for the ledger and the trade log."""

    intent: OrderIntent
    fill: Fill
    booking: Booking


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A corporate action as it was booked."""

    action: CorporateAction
    effect: ActionEffect


@dataclass(frozen=True, slots=True)
class _Session:
    session: date
    open_ts: datetime
    close_ts: datetime
    equity: int


class TradingEngine:
    """One account, one market, one session at a time.

    Parameters
    ----------
    policy : Policy
        What to trade and how; the same in every environment.
    account : Account
        Cash and holdings; changed by fills and actions only.
    risk : RiskState
        What the limits remember.
    fees_of : callable
        ``(exchange, session) -> fee array`` for ``simulation.account.costs``.
    """

    def __init__(
        self,
        policy: Policy,
        account: Account,
        risk: RiskState,
        fees_of: Callable[[Exchange, date], IntArray],
    ) -> None:
        self.policy = policy
        self.account = account
        self.risk = risk
        self.orders: dict[str, Order] = {}
        self.decisions: list[Decision] = []
        self.booked: list[Booked] = []
        self.applied: list[Applied] = []
        self.last_price: dict[str, int] = {}
        # Symbols that nothing is sent for, symbols that are only sold, and orders that may be
        # somebody else's: their shares and money are not promised to them.
        self.frozen: set[str] = set()
        self.quarantined: set[str] = set()
        self.unclear: set[str] = set()
        self.ambiguous_fills = 0
        self.fees_of = fees_of
        self._guards = Guards(policy.risk.guards)
        self._session: _Session | None = None
        self._view: View | None = None
        self._operator = TradingState.ACTIVE
        self._peaks: dict[str, int] = {}
        self._income: dict[str, int] = {}
        self._cooling = dict(risk.cooling)
        self._exited: set[str] = set()
        self._by_venue_id: dict[str, str] = {}
        self._ticked: dict[str, datetime] = {}
        # Why the last exit of a symbol was refused by a guard.
        self._kept_back: dict[str, GuardCode | None] = {}
        self._stop = basis_points(policy.exits.stop_loss)
        self._trail = basis_points(policy.exits.trailing_stop)
        self._profit = basis_points(policy.exits.take_profit)

    def handle(self, event: Event) -> list[Command]:
        """Take one event in; return what should be done about it, in order."""
        match event:
            case Tick():
                return self._on_tick(event)
            case Fill():
                return self._on_fill(event)
            case OrderUpdate():
                return self._on_update(event)
            case Timer(view=None):
                return self._check(event.ts)
            case Timer(view=View() as view):
                return self._decide(event.ts, view)
            case Accepted():
                return self._on_accepted(event)
            case Refused():
                self._move(event.intent_id, OrderStatus.REJECTED, event.reason)
            case Lost():
                self._move(event.intent_id, OrderStatus.UNKNOWN, event.reason)
            case SessionStart():
                self._start(event)
            case SessionEnd():
                self._end()
            case Halt():
                self._operator = event.state
                return self.restrict(event.state)
        return []

    def equity(self) -> int:
        """Return cash and holdings at the last known prices, in minor units."""
        return self.account.equity(self.last_price)

    def open_orders(self) -> list[Order]:
        """Return the orders that the venue may still fill, in order of intent."""
        return [order for order in self.orders.values() if order.status.is_open]

    def order_of(self, venue_order_id: str) -> Order | None:
        """Return the order that the venue knows by this number."""
        intent_id = self._by_venue_id.get(venue_order_id)
        return self.orders[intent_id] if intent_id is not None else None

    def adopt(self, order: Order) -> None:
        """Take an order over from the ledger after a restart; its fills follow as events."""
        self.orders[order.intent.intent_id] = order
        if order.venue_order_id:
            self._by_venue_id[order.venue_order_id] = order.intent.intent_id
        if order.intent.boundary == BOUNDARY_EXIT:
            self._exited.add(order.intent.symbol)

    def restrict(self, state: TradingState) -> list[Command]:
        """Take over, after a restart, what a broken loss limit left of this session's freedom."""
        self.risk = replace(self.risk, state=_stricter(self.risk.state, state))
        return [] if self.risk.state is TradingState.ACTIVE else self._cancel_buys()

    def resume(self, decision: Decision, view: View) -> None:
        """Take today's decision over from the ledger after a restart, instead of taking it again."""
        self.decisions.append(decision)
        self._view = view

    def snapshot(self) -> dict[str, Any]:
        """Return what outlives a session, as JSON values: books, limits' memory, last prices."""
        return {
            "account": self.account.snapshot(),
            "risk": {"peak": self.risk.peak, "cooldown": self.risk.cooldown},
            "cooling": dict(self._cooling),
            "peaks": dict(self._peaks),
            "income": dict(self._income),
            "last_price": {s: self.last_price[s] for s in self.account.positions},
            "operator": str(self._operator),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what ``snapshot`` described."""
        self.account.restore(snapshot["account"])
        self._cooling = dict(snapshot["cooling"])
        self._peaks = dict(snapshot["peaks"])
        self._income = dict(snapshot["income"])
        self.last_price = dict(snapshot["last_price"])
        self._operator = TradingState(snapshot["operator"])
        self.risk = RiskState(
            peak=snapshot["risk"]["peak"],
            cooldown=snapshot["risk"]["cooldown"],
            state=self._operator,
            cooling=tuple(sorted(self._cooling.items())),
        )

    def _start(self, event: SessionStart) -> None:
        for action in event.actions:
            self._apply(action, event)
        for one in event.adjustments:
            if one.symbol:
                self.account.adjust(symbol=one.symbol, quantity=one.amount, price=one.price)
                self.last_price.setdefault(one.symbol, one.price)
            else:
                self.account.adjust(cash=one.amount)
        self.last_price = {
            symbol: event.reference.get(symbol) or self.last_price[symbol]
            for symbol in self.account.positions
        } | {symbol: price for symbol, price in event.reference.items() if price > 0}
        equity = self.equity()
        state, peak, cooldown = next_state(
            equity,
            self.risk.peak,
            self.risk.cooldown,
            self.policy.risk.max_drawdown,
            self.policy.risk.drawdown_cooldown_sessions,
        )
        drawn_down = TradingState.REDUCING if state == REDUCING else TradingState.ACTIVE
        self.risk = RiskState(
            peak=int(peak),
            cooldown=int(cooldown),
            state=_stricter(drawn_down, self._operator),
            cooling=tuple(sorted(self._cooling.items())),
        )
        self._session = _Session(event.session, event.open_ts, event.close_ts, equity)
        self._view = None
        self.orders.clear()
        self._by_venue_id.clear()
        self.unclear.clear()
        self._exited.clear()
        self._ticked.clear()
        self._kept_back.clear()
        self.decisions.clear()
        self.booked.clear()

    def _apply(self, action: CorporateAction, event: SessionStart) -> None:
        reference = event.reference.get(action.symbol, 0)
        effect = self.account.apply_action(
            action, reference=reference, withholding_ppb=event.withholding_ppb
        )
        if effect is None:
            return
        self.applied.append(Applied(action=action, effect=effect))
        symbol, peak = action.symbol, self._peaks.get(action.symbol, 0)
        if symbol not in self.account.positions:
            self._forget(symbol)
        elif action.kind is ActionKind.SPLIT:
            self._peaks[symbol] = peak * action.denominator // action.numerator
        elif action.kind is ActionKind.RIGHTS:
            # The price falls by what the right is worth: no move of the market, so it stops nothing.
            income = self._income.get(symbol, 0)
            cost = self.account.positions[symbol].cost - income
            lost = lost_right(cost, action.numerator, action.denominator)
            self._income[symbol] = income + int(lost)
            self._peaks[symbol] = peak * action.denominator // action.numerator
        elif action.kind is ActionKind.CASH_DIVIDEND:
            # The price falls by what was paid out: that is no loss, and stops nothing.
            paid = effect.quantity_before * action.amount
            self._income[symbol] = self._income.get(symbol, 0) + paid
            self._peaks[symbol] = max(peak - action.amount, 0)

    def _forget(self, symbol: str) -> None:
        self._peaks.pop(symbol, None)
        self._income.pop(symbol, None)

    def _decide(self, ts: datetime, view: View) -> list[Command]:
        decision = decide(view, self.account.portfolio(), self.policy, self.risk)
        self._view = view
        self.decisions.append(decision)
        return [self.guarded(intent, ts) for intent in decision.intents]

    def _on_tick(self, tick: Tick) -> list[Command]:
        self.last_price[tick.symbol] = tick.price
        self._ticked[tick.symbol] = tick.ts_event
        held = self.account.positions.get(tick.symbol)
        if held is None:
            return []
        peak = max(self._peaks.get(tick.symbol, 0), tick.price)
        self._peaks[tick.symbol] = peak
        cost = held.cost - self._income.get(tick.symbol, 0)
        rule = exits(held.quantity, cost, peak, tick.price, self._stop, self._trail, self._profit)
        if rule == ExitRule.NONE or not self._is_continuous(tick.ts_event):
            return []
        return self._exit(tick, ExitRule(rule))

    def _exit(self, tick: Tick, rule: ExitRule) -> list[Command]:
        """Sell what is free; take back purchases and sales that ask for more than the market."""
        here = [o for o in self.orders.values() if o.intent.symbol == tick.symbol]
        commands: list[Command] = [
            self._cancel(order)
            for order in here
            if order.status.is_open
            and self._is_cancelable(order)
            and (order.intent.side is Side.BUY or order.intent.limit > tick.price)
        ]
        view = self._view
        if view is None or tick.symbol not in view.symbols:
            return commands
        i = view.index(tick.symbol)
        lot = int(view.lot[i])
        free = self._free_quantity(tick.symbol) // lot * lot
        if free <= 0:
            return commands
        number = sum(o.intent.boundary == BOUNDARY_EXIT for o in here)
        intent = OrderIntent(
            intent_id=f"{self.policy.market}:{view.session}:{BOUNDARY_EXIT}{number}"
            f":{tick.symbol}:{Side.SELL}",
            session=view.session,
            boundary=BOUNDARY_EXIT,
            symbol=tick.symbol,
            exchange=view.exchanges[i],
            side=Side.SELL,
            quantity=free,
            limit=int(
                limit_price(
                    tick.price,
                    self.policy.orders.stop_collar,
                    -1,
                    view.ladders[view.ladder_of[i]],
                    int(view.lower[i]),
                    int(view.upper[i]),
                )
            ),
            reason=rule.name.lower(),
        )
        self._exited.add(tick.symbol)
        code = self._refusal(intent, tick.ts_event)
        if code is not None and code is self._kept_back.get(tick.symbol):
            # Refused for the same reason at every print: once is enough to know.
            return commands
        self._kept_back[tick.symbol] = code
        if any(o.intent.side is Side.BUY and o.filled_quantity for o in here):
            # Entry and exit inside one bar: which came first was not recorded; it is a loss.
            self.ambiguous_fills += 1
        return [*commands, self._admitted(intent, code)]

    def _check(self, ts: datetime) -> list[Command]:
        """Look at the whole portfolio; a broken loss limit stops purchases for the session."""
        if self._session is None:
            return []
        if self.risk.state is not TradingState.ACTIVE:
            # What could not be canceled before.
            return self._cancel_buys()
        equity = self.equity()
        verdict = Verdict(
            breach(
                equity,
                self._session.equity,
                self.risk.peak,
                self.policy.risk.max_daily_loss,
                self.policy.risk.max_drawdown,
            )
        )
        if verdict is Verdict.ALLOWED:
            return []
        self.risk = replace(self.risk, state=TradingState.REDUCING)
        return [Breach(verdict=verdict, equity=equity), *self._cancel_buys()]

    def _on_accepted(self, event: Accepted) -> list[Command]:
        order = self.orders[event.intent_id].acknowledged(event.ack)
        self.orders[event.intent_id] = order
        self._by_venue_id[event.ack.venue_order_id] = event.intent_id
        # A purchase whose answer was lost may come to light after purchases were stopped.
        if self._session is None or self.risk.state is TradingState.ACTIVE:
            return []
        return self._cancel_buys()

    def _on_fill(self, fill: Fill) -> list[Command]:
        order = self.order_of(fill.venue_order_id)
        if order is None:
            raise OrderStateError(f"모르는 주문번호의 체결: {fill.venue_order_id}")
        intent = order.intent
        self.orders[intent.intent_id] = order.with_fill(fill.quantity, fill.amount)
        before = self.account.portfolio().quantity(intent.symbol)
        booking = self.account.apply_fill(
            intent.intent_id,
            intent.symbol,
            intent.side,
            fill.quantity,
            fill.amount,
            self.fees_of(intent.exchange, intent.session),
        )
        self.booked.append(Booked(intent=intent, fill=fill, booking=booking))
        # What was bought by hand may never have printed here.
        self.last_price.setdefault(intent.symbol, fill.amount // fill.quantity)
        held = self.account.positions.get(intent.symbol)
        if held is None:
            self._forget(intent.symbol)
        elif intent.side is Side.BUY:
            price = fill.amount // fill.quantity
            self._peaks[intent.symbol] = max(self._peaks.get(intent.symbol, 0), price)
        else:
            income = self._income.get(intent.symbol, 0)
            self._income[intent.symbol] = int(income_kept(income, before, held.quantity))
        return []

    def _on_update(self, update: OrderUpdate) -> list[Command]:
        order = self.order_of(update.venue_order_id)
        if order is None or order.status is update.status:
            return []
        if update.status is not OrderStatus.ACCEPTED or order.status in _ACCEPTABLE:
            self._move(order.intent.intent_id, update.status, update.reason)
        return []

    def _end(self) -> None:
        for intent_id, order in self.orders.items():
            if order.status.is_open and order.status is not OrderStatus.UNKNOWN:
                self.orders[intent_id] = order.moved(OrderStatus.EXPIRED)
        self._cooling = {s: n - 1 for s, n in self._cooling.items() if n > 1}
        if self.policy.exits.cooldown_sessions > 0:
            for symbol in sorted(self._exited):
                self._cooling[symbol] = self.policy.exits.cooldown_sessions
        self.account.end_session()
        self._session = None

    def guarded(self, intent: OrderIntent, ts: datetime) -> Command:
        """Return the command for an intent: its submission, or its refusal by a guard."""
        return self._admitted(intent, self._refusal(intent, ts))

    def _refusal(self, intent: OrderIntent, ts: datetime) -> GuardCode | None:
        context = OrderContext(
            now=ts,
            is_open=self._session is not None and ts < self._session.close_ts,
            state=self._state_of(intent.symbol),
            reference=self.last_price.get(intent.symbol, 0),
            data_age=self._age(intent.symbol, ts),
            free_quantity=self._free_quantity(intent.symbol),
            # A stop must not wait for a sum that no guard of a sale looks at.
            free_cash=self._free_cash() if intent.side is Side.BUY else self.account.cash,
            equity=self._session.equity if self._session is not None else 0,
            is_known=intent.intent_id in self.orders,
            is_frozen=intent.symbol in self.frozen,
        )
        return self._guards.refuse(intent, context)

    def _admitted(self, intent: OrderIntent, code: GuardCode | None) -> Submit | Deny:
        if code is None:
            self.orders[intent.intent_id] = Order(intent=intent).moved(OrderStatus.SUBMITTED)
            return Submit(intent=intent)
        if code is not GuardCode.DUPLICATE:
            denied = Order(intent=intent).moved(OrderStatus.DENIED, reason=code)
            self.orders[intent.intent_id] = denied
        return Deny(intent=intent, code=code)

    def reconsider(self, intent: OrderIntent, ts: datetime) -> Command:
        """Return the command for an intent that never left, as the guards see it now."""
        del self.orders[intent.intent_id]
        return self.guarded(intent, ts)

    def _state_of(self, symbol: str) -> TradingState:
        if symbol in self.quarantined:
            return _stricter(self.risk.state, TradingState.REDUCING)
        return self.risk.state

    def _age(self, symbol: str, ts: datetime) -> timedelta:
        """Return how old the last price is; the reference price is fresh until the first print."""
        ticked = self._ticked.get(symbol)
        return ts - ticked if ticked is not None else timedelta(0)

    def _free_quantity(self, symbol: str) -> int:
        held = self.account.positions.get(symbol)
        promised = sum(
            o.open_quantity
            for o in self.orders.values()
            if o.intent.symbol == symbol
            and o.intent.side is Side.SELL
            and o.intent.intent_id not in self.unclear
        )
        return (held.quantity if held is not None else 0) - promised

    def _free_cash(self) -> int:
        promised = sum(
            o.open_quantity * o.intent.limit
            for o in self.orders.values()
            if o.intent.side is Side.BUY and o.intent.intent_id not in self.unclear
        )
        return self.account.cash - promised

    def _cancel_buys(self) -> list[Command]:
        return [
            self._cancel(order)
            for order in self.open_orders()
            if order.intent.side is Side.BUY and self._is_cancelable(order)
        ]

    def _is_cancelable(self, order: Order) -> bool:
        """Whether a cancel may be sent: never for what somebody placed by hand."""
        return order.status in _CANCELABLE and order.intent.boundary != BOUNDARY_MANUAL

    def _cancel(self, order: Order) -> Cancel:
        self._move(order.intent.intent_id, OrderStatus.PENDING_CANCEL)
        return Cancel(order=order)

    def _move(self, intent_id: str, status: OrderStatus, reason: str = "") -> None:
        if intent_id not in self.orders:
            raise OrderStateError(f"모르는 주문: {intent_id}")
        self.orders[intent_id] = self.orders[intent_id].moved(status, reason=reason)

    def _is_continuous(self, ts: datetime) -> bool:
        return self._session is not None and self._session.open_ts <= ts < self._session.close_ts


def _stricter(one: TradingState, other: TradingState) -> TradingState:
    order = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)
    return max(one, other, key=order.index)
