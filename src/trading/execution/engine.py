"""The one engine: events in, commands out, no I/O.

``backtest.runner`` and ``live.session`` are two thin drivers around the same object. A driver
writes what the engine wishes into the ledger, carries it to the venue, and feeds the answers back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from trading.allocation.rebalance import limit_price
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.decision import Decision, ExitTerms, TradingState, Verdict, Waiting
from trading.domain.instrument import Exchange
from trading.domain.market import MarketStatus, Tick
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
)
from trading.errors import OrderStateError
from trading.execution.decide import Policy, RiskState, View, decide, terms_of
from trading.execution.exits import BASIS_POINTS, ExitRule, exit_terms, exits
from trading.execution.orders import buy_fee, entry_order
from trading.measures import attribution
from trading.risk.guards import Exposure, GuardCode, Guards, OrderContext, Trading
from trading.risk.limits import REDUCING, breach, next_state
from trading.simulation.account import Account, ActionEffect, Booking, income_kept, lost_right

BOUNDARY_EXIT = "exit"
# An entry that waited inside the session for its price.
BOUNDARY_TRIGGER = "trigger"
REASON_TRIGGER = "trigger"
# An order that a backtest wishes without a decision of ours.
BOUNDARY_WISH = "wish"
# An order that somebody placed by hand and that the books took over.
BOUNDARY_MANUAL = "manual"
# An order without a number cannot be canceled; one that is being canceled need not be again.
_CANCELABLE = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})
# Where "accepted" is news. A cancel that lost to the fill is refused with the same word, late.
_ACCEPTABLE = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING_CANCEL})
# H0STMKO0's codes of the whole market (PROTOCOL 12.8): halt, circuit breakers and the close that
# follows the last; a sidecar that begins or ends stops no sale.
_HALTING = frozenset({"164", "174", "182", "184"})
_SIDECAR = {
    "387": Trading.NO_ENTRY,
    "397": Trading.NO_ENTRY,
    "388": Trading.OPEN,
    "398": Trading.OPEN,
}


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


@dataclass(slots=True, kw_only=True)
class Closes:
    """The market's closing prices of one bar, in minor units; 0 where none is known yet.

    For drivers without prints, who use one object for all bars.
    """

    symbols: Sequence[str]
    prices: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Shares to buy (or, below 0, to sell) of each symbol at the next open, decided elsewhere.

    Only ``backtest.direct`` wishes: a market order passes no guard of a living session.
    """

    session: date
    changes: Sequence[tuple[str, Exchange, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The operator's word; it stays until the next one, over restarts too."""

    ts: datetime
    state: TradingState


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """The session is over; what is still open has expired."""

    ts: datetime


class Accepted(NamedTuple):
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
    SessionStart
    | Timer
    | Tick
    | Closes
    | Wish
    | MarketStatus
    | Fill
    | OrderUpdate
    | Halt
    | SessionEnd
    | Accepted
    | Refused
    | Lost
)


class Submit(NamedTuple):
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
        # What closed trades earned each agent since the account began, in minor units; "" is
        # what no agent led into.
        self.attributed: dict[str, int] = {}
        self.fees_of = fees_of
        self._guards = Guards(policy.risk)
        self._session: _Session | None = None
        self._view: View | None = None
        # What the operator allows, and what the limits of this session do: the stricter counts.
        self._operator = TradingState.ACTIVE
        self._limited = TradingState.ACTIVE
        self._peaks: dict[str, int] = {}
        self._income: dict[str, int] = {}
        # Exit terms of what is held and of what may be entered today; sessions held so far.
        self._terms: dict[str, ExitTerms] = {}
        self._entries: dict[str, ExitTerms] = {}
        self._ages: dict[str, int] = {}
        self._waiting: dict[str, Waiting] = {}
        self._opens: dict[str, int] = {}
        self._cooling = dict(risk.cooling)
        # Symbols that a rule sold today, with the sessions they are not bought for.
        self._exited: dict[str, int] = {}
        self._by_venue_id: dict[str, str] = {}
        self._ticked: dict[str, datetime] = {}
        # Since when a name, or all of them (""), may not be traded or not be bought.
        self._suspended: dict[str, tuple[Trading, datetime]] = {}
        self._sidecar = Trading.OPEN
        # Why the last exit of a symbol was refused by a guard.
        self._kept_back: dict[str, GuardCode | None] = {}
        # Of a holding that no decision of ours led into: no range of its morning is known.
        unled = exit_terms(policy.rules(()), np.array([-1]), np.array([np.nan]))
        self._unled = terms_of((), -1, unled[0])

    def handle(self, event: Event) -> list[Command]:
        """Take one event in; return what should be done about it, in order."""
        match event:
            case Tick():
                return self._on_tick(event)
            case Closes():
                for symbol, price in zip(event.symbols, event.prices, strict=True):
                    self.last_price[symbol] = price
            case Fill():
                return self._on_fill(event)
            case Accepted():
                return self._on_accepted(event)
            case Wish():
                return self._on_wish(event)
            case MarketStatus():
                self._on_status(event)
            case OrderUpdate():
                return self._on_update(event)
            case Timer(view=None):
                return self._check(event.ts)
            case Timer(view=View() as view):
                return self._decide(event.ts, view)
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
                return self._turn()
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
        symbol = order.intent.symbol
        if order.intent.boundary == BOUNDARY_EXIT:
            self._exited[symbol] = self._terms_of(symbol).cooldown
        elif order.intent.boundary == BOUNDARY_TRIGGER:
            self._waiting.pop(symbol, None)

    def restrict(self, state: TradingState) -> list[Command]:
        """Take over, after a restart, what a broken loss limit left of this session's freedom.

        No word of the operator gives it back before the session is over.
        """
        self._limited = stricter(self._limited, state)
        return self._turn()

    @property
    def operator(self) -> TradingState:
        """What the operator's last word allows."""
        return self._operator

    @property
    def limited(self) -> TradingState:
        """What the limits allow, whatever the operator says."""
        return self._limited

    def withdraw(self) -> list[Cancel]:
        """Return the cancels of all orders of ours that are working; what may be traded stays."""
        return [self._cancel(order) for order in self.open_orders() if self._is_cancelable(order)]

    def resume(self, decision: Decision, view: View) -> None:
        """Take today's decision over from the ledger after a restart, instead of taking it again."""
        self.decisions.append(decision)
        self._view = view
        self._take_over(decision)

    def opened_at(self, opens: Mapping[str, int]) -> None:
        """Take over where names opened today, for what waits for a price above it.

        For an engine that did not see the open itself: what opened at an unknown price (0) is not
        waited for any more.
        """
        for symbol, price in opens.items():
            if price > 0:
                self._opens[symbol] = price
            else:
                self._waiting.pop(symbol, None)

    def peaked_at(self, highs: Mapping[str, int]) -> None:
        """Take over how high the prices of holdings have been, for an engine that did not see it.

        A price (0) that is not known says nothing.
        """
        for symbol in self.account.positions.keys() & highs.keys():
            self._peaks[symbol] = max(self._peaks.get(symbol, 0), highs[symbol])

    @property
    def waits_for(self) -> list[str]:
        """The symbols whose entry waits for a price."""
        return list(self._waiting)

    def snapshot(self) -> dict[str, Any]:
        """Return what outlives a session, as JSON values: books, limits' memory, last prices."""
        return {
            "account": self.account.snapshot(),
            "risk": {
                "peak": self.risk.peak,
                "cooldown": self.risk.cooldown,
                "exposure": self.risk.exposure,
            },
            "cooling": dict(self._cooling),
            "peaks": dict(self._peaks),
            "income": dict(self._income),
            "terms": {s: asdict(terms) for s, terms in self._terms.items()},
            "ages": dict(self._ages),
            "attributed": dict(self.attributed),
            "last_price": {s: self._known_price(s) for s in self.account.positions},
            "operator": str(self._operator),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what ``snapshot`` described."""
        self.account.restore(snapshot["account"])
        self._cooling = dict(snapshot["cooling"])
        self._peaks = dict(snapshot["peaks"])
        self._income = dict(snapshot["income"])
        # A book of before these were kept holds by the rules of nobody, from today on.
        terms = snapshot.get("terms", {})
        self._terms = {s: ExitTerms(**one) for s, one in terms.items()}
        self._ages = dict(snapshot.get("ages", {}))
        self.attributed = dict(snapshot.get("attributed", {}))
        self.last_price = dict(snapshot["last_price"])
        self._operator = TradingState(snapshot["operator"])
        self._limited = TradingState.ACTIVE
        self.risk = RiskState(
            peak=snapshot["risk"]["peak"],
            cooldown=snapshot["risk"]["cooldown"],
            state=self._operator,
            cooling=tuple(sorted(self._cooling.items())),
            exposure=snapshot["risk"].get("exposure", 1.0),
        )

    def _start(self, event: SessionStart) -> None:
        for action in event.actions:
            self._apply(action, event)
        moved = self._worth(event)
        for one in event.adjustments:
            if one.symbol:
                self.account.adjust(symbol=one.symbol, quantity=one.amount, price=one.price)
                self.last_price.setdefault(one.symbol, one.price)
            else:
                self.account.adjust(cash=one.amount)
        self.last_price = {
            symbol: event.reference.get(symbol) or self._known_price(symbol)
            for symbol in self.account.positions
        } | {symbol: price for symbol, price in event.reference.items() if price > 0}
        equity, peak = self.equity(), self.risk.peak
        if moved:
            # Neither gain nor loss: the account is as far below its peak as it was.
            before = equity - moved
            peak = peak * equity // before if before > 0 else equity
        state, peak, cooldown = next_state(
            equity,
            peak,
            self.risk.cooldown,
            self.policy.risk.max_drawdown,
            self.policy.risk.drawdown_cooldown_sessions,
        )
        self._ages = {symbol: self._ages.get(symbol, 0) + 1 for symbol in self.account.positions}
        drawn_down = TradingState.REDUCING if state == REDUCING else TradingState.ACTIVE
        self._limited = drawn_down
        self.risk = RiskState(
            peak=int(peak),
            cooldown=int(cooldown),
            state=stricter(drawn_down, self._operator),
            cooling=tuple(sorted(self._cooling.items())),
            expired=tuple(s for s, age in sorted(self._ages.items()) if self._is_over(s, age)),
            exposure=self.risk.exposure,
            outside=sum(
                held.quantity * self.last_price[symbol]
                for symbol, held in self.account.positions.items()
                if not event.reference.get(symbol)
            ),
        )
        self._session = _Session(event.session, event.open_ts, event.close_ts, equity)
        self._view = None
        self.orders.clear()
        self._by_venue_id.clear()
        self.unclear.clear()
        self._exited.clear()
        self._entries.clear()
        self._waiting.clear()
        self._opens.clear()
        self._ticked.clear()
        self._suspended.clear()
        self._sidecar = Trading.OPEN
        self._kept_back.clear()
        self.decisions.clear()
        self.booked.clear()

    def _known_price(self, symbol: str) -> int:
        """Return the last price of a holding, or what was paid where no price was ever told.

        An account that is taken over may hold what no record knows.
        """
        held = self.account.positions[symbol]
        return self.last_price.get(symbol, held.cost // held.quantity)

    def _worth(self, event: SessionStart) -> int:
        """Return what the operator's adjustments bring, or take, at this morning's prices."""
        prices = {**self.last_price, **{s: p for s, p in event.reference.items() if p > 0}}
        return sum(
            one.amount * prices.get(one.symbol, one.price) if one.symbol else one.amount
            for one in event.adjustments
        )

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
        for kept in (self._peaks, self._income, self._terms, self._ages):
            kept.pop(symbol, None)

    def _terms_of(self, symbol: str) -> ExitTerms:
        return self._terms.get(symbol, self._unled)

    def _is_over(self, symbol: str, age: int) -> bool:
        longest = self._terms_of(symbol).max_sessions
        return 0 < longest <= age

    def _decide(self, ts: datetime, view: View) -> list[Command]:
        decision = decide(view, self.account.portfolio(), self.policy, self.risk)
        self._view = view
        self.decisions.append(decision)
        self._take_over(decision)
        if self._session is not None and ts > self._session.open_ts:
            # Where today opened nobody saw.
            self._waiting.clear()
        return [self.guarded(intent, ts) for intent in decision.intents]

    def _take_over(self, decision: Decision) -> None:
        self.risk = replace(self.risk, exposure=decision.exposure)
        self._entries = dict(decision.entries)
        self._waiting = {one.symbol: one for one in decision.waiting}
        for symbol in self.risk.expired:
            self._exited[symbol] = self._terms_of(symbol).cooldown

    def _on_tick(self, tick: Tick) -> list[Command]:
        self.last_price[tick.symbol] = tick.price
        self._ticked[tick.symbol] = tick.ts_event
        self._goes_on(tick)
        self._opens.setdefault(tick.symbol, tick.price)
        if tick.symbol not in self.account.positions:
            return self._enter(tick) if tick.symbol in self._waiting else []
        rule = self.rule_at(tick.symbol, tick.price)
        self._peaks[tick.symbol] = max(self._peaks.get(tick.symbol, 0), tick.price)
        if rule is ExitRule.NONE or not self._is_continuous(tick.ts_event):
            return []
        return self._exit(tick, rule)

    def rule_at(self, symbol: str, price: int) -> ExitRule:
        """Return the rule that a print at ``price`` would sell the holding by; changes nothing."""
        held = self.account.positions.get(symbol)
        if held is None:
            return ExitRule.NONE
        peak = max(self._peaks.get(symbol, 0), price)
        cost = held.cost - self._income.get(symbol, 0)
        terms = self._terms_of(symbol)
        return ExitRule(
            exits(held.quantity, cost, peak, price, terms.stop, terms.trail, terms.profit)
        )

    def _enter(self, tick: Tick) -> list[Command]:
        """Buy what waited for this price, once; a spike beyond its ceiling is waited out."""
        one, opened, view = self._waiting[tick.symbol], self._opens[tick.symbol], self._view
        above = tick.price - opened
        if view is None or above < one.distance or not self._is_continuous(tick.ts_event):
            return []
        if above * BASIS_POINTS > opened * one.ceiling:
            return []
        del self._waiting[tick.symbol]
        i = view.columns[tick.symbol]
        price, shares = entry_order(
            tick.price,
            one.budget,
            self._free_cash(),
            self.policy.orders.stop_collar,
            self.policy.allocation.cash_buffer,
            view.morning.buy_fee_ppb,
            int(view.morning.lot[i]),
            int(view.morning.max_shares[i]),
            view.ladders[view.ladder_of[i]],
            int(view.lower[i]),
            int(view.upper[i]),
        )
        if shares <= 0:
            return []
        intent = OrderIntent(
            intent_id=f"{self.policy.market}:{view.session}:{BOUNDARY_TRIGGER}"
            f":{tick.symbol}:{Side.BUY}",
            session=view.session,
            boundary=BOUNDARY_TRIGGER,
            symbol=tick.symbol,
            exchange=view.exchanges[i],
            side=Side.BUY,
            quantity=int(shares),
            limit=int(price),
            reason=REASON_TRIGGER,
        )
        return [self.guarded(intent, tick.ts_event)]

    def _on_wish(self, wish: Wish) -> list[Command]:
        commands: list[Command] = []
        made_of = f"{self.policy.market}:{wish.session}:{BOUNDARY_WISH}"
        for symbol, exchange, change in wish.changes:
            side = Side.BUY if change > 0 else Side.SELL
            intent = OrderIntent(
                intent_id=f"{made_of}:{symbol}:{side}",
                session=wish.session,
                boundary=BOUNDARY_WISH,
                symbol=symbol,
                exchange=exchange,
                side=side,
                quantity=abs(change),
                limit=0,
                order_type=OrderType.MARKET_OPEN,
                reason=BOUNDARY_WISH,
            )
            held = self.account.positions.get(symbol)
            if -change > (held.quantity if held is not None else 0):
                commands.append(self._admitted(intent, GuardCode.SHORT_SALE))
            else:
                commands.append(self._admitted(intent, None))
        return commands

    def _on_status(self, status: MarketStatus) -> None:
        """Remember what may not be traded now: orders for it are kept back, exits wait."""
        if status.operation in _SIDECAR:
            self._sidecar = _SIDECAR[status.operation]
        if status.halted or status.interrupted or status.operation in _HALTING:
            self._suspended[status.symbol] = (Trading.HALTED, status.ts_recv)
        elif status.operation not in _SIDECAR:
            self._suspended.pop(status.symbol, None)

    def _goes_on(self, tick: Tick) -> None:
        """Take a print for what it proves: a halt whose end nobody told of is over."""
        for name in (tick.symbol, ""):
            if name in self._suspended and tick.ts_event > self._suspended[name][1]:
                del self._suspended[name]

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
        if view is None or tick.symbol not in view.columns:
            return commands
        i = view.columns[tick.symbol]
        lot = int(view.morning.lot[i])
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
        self._exited[tick.symbol] = self._terms_of(tick.symbol).cooldown
        code = self._refusal(intent, tick.ts_event)
        if code is not None and code is self._kept_back.get(tick.symbol):
            # Refused for the same reason at every print: once is enough to know.
            return commands
        self._kept_back[tick.symbol] = code
        return [*commands, self._admitted(intent, code)]

    def _check(self, ts: datetime) -> list[Command]:
        """Look at the whole portfolio; a broken loss limit stops purchases for the session."""
        if self._session is None:
            return []
        if self._limited is TradingState.ACTIVE:
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
            if verdict is not Verdict.ALLOWED:
                stopped = self.restrict(TradingState.REDUCING)
                return [Breach(verdict=verdict, equity=equity), *stopped]
        # What could not be canceled before.
        return [] if self.risk.state is TradingState.ACTIVE else self._take_back()

    def _on_accepted(self, event: Accepted) -> list[Command]:
        order = self.orders[event.intent_id].acknowledged(event.ack)
        self.orders[event.intent_id] = order
        self._by_venue_id[event.ack.venue_order_id] = event.intent_id
        # A purchase whose answer was lost may come to light after purchases were stopped.
        if self._session is None or self.risk.state is TradingState.ACTIVE:
            return []
        return self._take_back()

    def _on_fill(self, fill: Fill) -> list[Command]:
        order = self.order_of(fill.venue_order_id)
        if order is None:
            raise OrderStateError(f"모르는 주문번호의 체결: {fill.venue_order_id}")
        intent, symbol = order.intent, order.intent.symbol
        self.orders[intent.intent_id] = order.with_fill(fill.quantity, fill.amount)
        holding = self.account.positions.get(symbol)
        before = holding.quantity if holding is not None else 0
        booking = self.account.apply_fill(
            intent.intent_id,
            symbol,
            intent.side,
            fill.quantity,
            fill.amount,
            self.fees_of(intent.exchange, intent.session),
        )
        self.booked.append(Booked(intent=intent, fill=fill, booking=booking))
        if booking.realized != 0:
            credit = self._terms_of(symbol).credit
            for agent, earned in attribution(booking.realized, credit).items():
                self.attributed[agent] = self.attributed.get(agent, 0) + earned
        # What was bought by hand may never have printed here.
        price = fill.amount // fill.quantity
        self.last_price.setdefault(symbol, price)
        held = self.account.positions.get(symbol)
        if before == 0 and symbol in self._entries:
            self._terms[symbol] = self._entries[symbol]
        if held is None:
            self._forget(symbol)
        elif held.quantity > before:
            self._peaks[symbol] = max(self._peaks.get(symbol, 0), price)
        else:
            income = self._income.get(symbol, 0)
            self._income[symbol] = int(income_kept(income, before, held.quantity))
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
        self._cooling |= {s: cooldown for s, cooldown in self._exited.items() if cooldown > 0}
        self.account.end_session()
        self._session = None

    def guarded(self, intent: OrderIntent, ts: datetime) -> Command:
        """Return the command for an intent: its submission, or its refusal by a guard."""
        return self._admitted(intent, self._refusal(intent, ts))

    def twin(self, account: Account) -> "TradingEngine":
        """Return an engine behind the same policy and the same guards, for ``live.drill``.

        It knows nothing of this one's orders and books, and no driver carries what it answers.
        """
        fresh = RiskState(peak=account.cash, cooldown=0, state=TradingState.ACTIVE)
        other = type(self)(self.policy, account, fresh, self.fees_of)
        other._guards = self._guards.fresh()
        return other

    def _refusal(self, intent: OrderIntent, ts: datetime) -> GuardCode | None:
        session, view, column = self._session, self._view, self._column(intent)
        is_buy = intent.side is Side.BUY
        context = OrderContext(
            now=ts,
            is_open=session is not None
            and ts < session.close_ts
            and intent.session == session.session,
            state=self._state_of(intent.symbol),
            trading=self._trading(intent.symbol, column),
            reference=self.last_price.get(intent.symbol, 0),
            data_age=self._age(intent.symbol, ts),
            free_quantity=self._free_quantity(intent.symbol),
            # A stop must not wait for sums that no guard of a sale looks at.
            free_cash=self._free_cash() if is_buy else self.account.cash,
            is_known=intent.intent_id in self.orders,
            is_frozen=intent.symbol in self.frozen,
            law=view.law(column) if view is not None and column is not None else None,
            exposure=self._exposure(column) if is_buy else None,
        )
        return self._guards.refuse(intent, context)

    def _admitted(self, intent: OrderIntent, code: GuardCode | None) -> Submit | Deny:
        if code is None:
            self.orders[intent.intent_id] = Order(intent=intent, status=OrderStatus.SUBMITTED)
            return Submit(intent=intent)
        if code is not GuardCode.DUPLICATE:
            denied = Order(intent=intent).moved(OrderStatus.DENIED, reason=code)
            self.orders[intent.intent_id] = denied
        return Deny(intent=intent, code=code)

    def reconsider(self, intent: OrderIntent, ts: datetime) -> Command:
        """Return the command for an intent that never left, as the guards see it now."""
        del self.orders[intent.intent_id]
        return self.guarded(intent, ts)

    def _column(self, intent: OrderIntent) -> int | None:
        """Return the instrument's column in today's view, ``None`` when it is not there."""
        view = self._view
        column = view.columns.get(intent.symbol) if view is not None else None
        if view is None or column is None:
            return None
        return column if view.exchanges[column] is intent.exchange else None

    def _trading(self, symbol: str, column: int | None) -> Trading:
        view = self._view
        stopped = view is not None and column is not None and not view.morning.tradable[column]
        told = [self._suspended[name][0] for name in (symbol, "") if name in self._suspended]
        return max(self._sidecar, Trading.NO_ENTRY if stopped else Trading.OPEN, *told)

    def _exposure(self, column: int | None) -> Exposure | None:
        """Return what a purchase adds to, open orders counted as if they were filled."""
        view = self._view
        if view is None or column is None or self._session is None:
            return None
        reference, sectors = view.morning.reference, view.morning.sectors
        known = view.columns
        symbol, open_shares = view.symbols[column], 0
        value = {
            held: position.quantity * self._measure(held, known, reference)
            for held, position in self.account.positions.items()
        }
        name = value.get(symbol, 0)
        for order in self.orders.values():
            intent, shares = order.intent, order.open_quantity
            price = self._measure(intent.symbol, known, reference)
            added = intent.side.sign * shares * price
            if intent.side is Side.BUY:
                # What was bought below the reference is worth what was paid for it.
                added -= (order.filled_quantity + shares) * max(0, price - intent.limit)
            value[intent.symbol] = value.get(intent.symbol, 0) + added
            if intent.symbol == symbol and intent.side is Side.BUY:
                open_shares += shares
                name += added
        decision = self.decisions[-1] if self.decisions else None
        planned = self._planned(decision, known, reference)
        sector = int(sectors[column])
        peers = {s for s, i in known.items() if int(sectors[i]) == sector}
        return Exposure(
            price=int(reference[column]),
            equity=(
                decision.equity + self.risk.outside
                if decision is not None
                else self._session.equity
            ),
            name=name,
            sector=sum(value[s] for s in value if s in peers) if sector >= 0 else None,
            gross=sum(value.values()),
            planned_sector=sum(planned[s] for s in planned if s in peers),
            planned_gross=sum(planned.values()),
            open_shares=open_shares,
        )

    def _measure(self, symbol: str, known: Mapping[str, int], reference: IntArray) -> int:
        """Return the price by which a share counts: the decision's, else the last known."""
        price = int(reference[known[symbol]]) if symbol in known else 0
        return price or self.last_price.get(symbol, 0)

    @staticmethod
    def _planned(
        decision: Decision | None, known: Mapping[str, int], reference: IntArray
    ) -> dict[str, int]:
        """Return what each name of the day's decision should be worth, entries that wait too."""
        if decision is None:
            return {}
        planned = {
            choice.symbol: choice.target_quantity * int(reference[known[choice.symbol]])
            for choice in decision.choices
            if choice.symbol in known
        }
        for one in decision.waiting:
            planned[one.symbol] = planned.get(one.symbol, 0) + one.budget
        return planned

    def _state_of(self, symbol: str) -> TradingState:
        if symbol in self.quarantined:
            return stricter(self.risk.state, TradingState.REDUCING)
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
        """Return the cash that open purchases leave, fees counted as a decision counts them."""
        rate = self._view.morning.buy_fee_ppb if self._view is not None else 0
        promised = sum(
            o.open_quantity * (o.intent.limit + buy_fee(o.intent.limit, rate))
            for o in self.orders.values()
            if o.intent.side is Side.BUY and o.intent.intent_id not in self.unclear
        )
        return self.account.cash - promised

    def _turn(self) -> list[Command]:
        """Trade by the stricter of what operator and limits allow."""
        self.risk = replace(self.risk, state=stricter(self._limited, self._operator))
        return [] if self.risk.state is TradingState.ACTIVE else self._take_back()

    def _take_back(self) -> list[Command]:
        """Take back what may not be traded now, and wait for no price any more.

        Purchases, and in a halt sales too.
        """
        self._waiting.clear()
        if self.risk.state is TradingState.HALTED:
            return [*self.withdraw()]
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


def stricter(one: TradingState, other: TradingState) -> TradingState:
    """Return the state that allows less."""
    order = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)
    return max(one, other, key=order.index)
