"""The engine driven by recorded sessions in this process: backtests, and parity afterwards.

Thousands of parameter sets in one compiled loop are ``backtest.sweep``.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache, lru_cache
from typing import Any, Protocol

from trading.domain.actions import CorporateAction, in_effect_order
from trading.domain.arrays import IntArray
from trading.domain.decision import Decision, TradingState
from trading.domain.instrument import Exchange
from trading.domain.market import RawPanel, Tick
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
    Side,
)
from trading.domain.rules import MarketRules, as_array
from trading.errors import UsageError
from trading.execution.decide import Policy, RiskState, View, Views
from trading.execution.engine import (
    BOUNDARY_EXIT,
    Accepted,
    Applied,
    Booked,
    Cancel,
    Command,
    Deny,
    SessionEnd,
    SessionStart,
    Submit,
    Timer,
    TradingEngine,
)
from trading.execution.exits import ExitRule
from trading.sessions import SessionCalendar
from trading.simulation.account import Account
from trading.simulation.matching import BASIS_POINTS, Execution, Matcher, WorkingOrder
from trading.simulation.paths import Print, daily_prints
from trading.simulation.slippage import Slippage, impact_scales

Instants = Sequence[tuple[datetime, Sequence[Print]]]
_LOSSES = (ExitRule.STOP_LOSS, ExitRule.TRAILING_STOP)


class Replay(Protocol):
    """Prints of recorded sessions, finer than daily bars; see ``backtest.replay``."""

    def refused(self, row: int, view: View, start: SessionStart) -> frozenset[str]:
        """Return the names that no orders are taken for, since their record contradicts itself."""
        ...

    def instants(self, row: int, view: View, start: SessionStart) -> Instants:
        """Return the prints of the session by instant."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What one session decided and did."""

    session: date
    decision: Decision | None
    orders: tuple[Order, ...]
    booked: tuple[Booked, ...]
    denied: tuple[Deny, ...]
    equity: int
    cash: int
    ambiguous_fills: int = 0
    slippage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestResult:
    """A whole run. ``equity`` has one value a session, in minor units, after the close.

    ``ambiguous_fills`` counts what an unknown order inside bars decided, and ``slippage`` is what
    fills cost more than their prints, in minor units. ``optimistic_equity`` is the equity with
    every ambiguous bar taken as the profit, ``None`` where nobody asked (docs/replay.md).
    """

    sessions: tuple[date, ...]
    equity: tuple[int, ...]
    days: tuple[SessionResult, ...]
    applied: tuple[Applied, ...]
    starting_cash: int
    final_cash: int
    positions: Mapping[str, int] = field(default_factory=dict)
    optimistic_equity: tuple[int, ...] | None = None

    @property
    def cash_difference(self) -> int:
        """Cash in the books less cash recomputed from every fill, fee and action: 0."""
        cash = self.starting_cash
        for day in self.days:
            for booked in day.booked:
                cash -= booked.intent.side.sign * booked.fill.amount
                cash -= booked.booking.commission + booked.booking.tax
        cash += sum(applied.effect.cash for applied in self.applied)
        return self.final_cash - cash

    @property
    def ambiguous_fills(self) -> int:
        """Sales by a rule, in all sessions, that the unknown order of a bar's extremes decided."""
        return sum(day.ambiguous_fills for day in self.days)

    @property
    def slippage(self) -> int:
        """What all fills cost more than the prints that they met."""
        return sum(day.slippage for day in self.days)


def run(
    views: Views,
    raw: RawPanel,
    actions: Iterable[CorporateAction],
    calendar: SessionCalendar,
    rules: MarketRules,
    policy: Policy,
    *,
    cash: int,
    first: date,
    last: date,
    replay: Replay | None = None,
    favourable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BacktestResult:
    """Trade every session from ``first`` to ``last`` and return what happened.

    The session before ``first`` must be in the panel: a decision needs a yesterday. Without a
    ``replay`` each session is the four prints of its daily bar. ``favourable`` takes a bar that
    holds both a loss and a profit as the profit: the other bound.
    """
    by_session = actions_by_session(actions)
    rows = traded_rows(raw, first, last)
    engine = TradingEngine(
        policy,
        Account(policy.market, cash),
        RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE),
        fees_of(rules, calendar),
    )
    matcher = Matcher(round(policy.orders.participation * BASIS_POINTS))
    days = []
    for done, row in enumerate(rows):
        session = raw.sessions[row].astype(date)
        view = views.at(row, held=engine.account.positions)
        open_ts, close_ts = calendar.open_close(session)
        start = session_start(
            view, raw, row, by_session.get(session, ()), rules, engine, open_ts, close_ts
        )
        if replay is not None:
            refused = replay.refused(row, view, start)
            view = views.at(row, held=engine.account.positions, untradable=refused)
            instants = replay.instants(row, view, start)
        else:
            instants = daily_instants(raw, row, view, start)
        days.append(
            run_session(
                engine,
                matcher,
                start,
                view,
                instants,
                slippage=slippage_of(view, policy),
                favourable=favourable,
            )
        )
        if progress is not None:
            progress(done + 1, len(rows))
    return BacktestResult(
        sessions=tuple(day.session for day in days),
        equity=tuple(day.equity for day in days),
        days=tuple(days),
        applied=tuple(engine.applied),
        starting_cash=cash,
        final_cash=engine.account.cash,
        positions={s: p.quantity for s, p in engine.account.positions.items()},
    )


def traded_rows(raw: RawPanel, first: date, last: date) -> range:
    """Return the rows of the sessions from ``first`` to ``last``; ``UsageError`` for none."""
    rows = raw.rows_between(first, last)
    if not rows:
        raise UsageError(f"{first}부터 {last}까지 거래할 수 있는 기록이 없습니다.")
    return rows


def run_both(
    views: Views,
    raw: RawPanel,
    actions: Iterable[CorporateAction],
    calendar: SessionCalendar,
    rules: MarketRules,
    policy: Policy,
    *,
    cash: int,
    first: date,
    last: date,
    replay: Replay | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BacktestResult:
    """Return the same as ``run``, with the other bound beside it.

    Where no bar was ambiguous the two are one, and nothing is traded a second time.
    """
    asked = views, raw, tuple(actions), calendar, rules, policy
    result = run(*asked, cash=cash, first=first, last=last, replay=replay, progress=progress)
    if result.ambiguous_fills == 0:
        return replace(result, optimistic_equity=result.equity)
    other = run(*asked, cash=cash, first=first, last=last, replay=replay, favourable=True)
    return replace(result, optimistic_equity=other.equity)


def session_start(
    view: View,
    raw: RawPanel,
    row: int,
    actions: Sequence[CorporateAction],
    rules: MarketRules,
    engine: TradingEngine,
    open_ts: datetime,
    close_ts: datetime,
) -> SessionStart:
    """Return the event that begins the session in ``row``, with references of all it concerns."""
    return SessionStart(
        session=view.session,
        open_ts=open_ts,
        close_ts=close_ts,
        actions=actions,
        reference={
            symbol: int(raw.reference[row, raw.columns[symbol]])
            for symbol in (*view.symbols, *engine.account.positions)
            if symbol in raw.columns
        },
        withholding_ppb=rules.dividend_withholding_ppb(view.session),
    )


def run_session(
    engine: TradingEngine,
    matcher: Matcher,
    start: SessionStart,
    view: View | None,
    instants: Instants,
    *,
    slippage: Mapping[str, Slippage] | None = None,
    favourable: bool = False,
) -> SessionResult:
    """Drive the engine through one session of prints.

    At each instant all resting orders meet their print first; then, instrument by instrument,
    the engine hears of its fills and of the print, and answers. ``view`` is ``None`` for a
    session in which nothing is decided; ``favourable`` as in ``run``.
    """
    engine.handle(start)
    driver = _Driver(engine, matcher)
    if view is not None:
        matcher.open_session(
            {s: (int(view.lower[i]), int(view.upper[i])) for i, s in enumerate(view.symbols)},
            slippage,
        )
        driver.carry(engine.handle(Timer(ts=start.open_ts, view=view)), start.open_ts)
    for ts, prints in instants:
        matched = [
            (trade, matcher.on_print(trade))
            for trade in (driver.in_order(one, favourable=favourable) for one in prints)
        ]
        for trade, executions in matched:
            driver.print = trade
            for execution in executions:
                driver.deliver(execution, ts)
            tick = Tick(
                symbol=trade.symbol,
                price=trade.price,
                volume=trade.volume,
                cumulative_volume=0,
                ts_event=ts,
                ts_recv=ts,
                auction=trade.auction,
            )
            driver.carry(engine.handle(tick), ts)
        if ts < start.close_ts:
            driver.carry(engine.handle(Timer(ts=ts)), ts)
    engine.handle(SessionEnd(ts=start.close_ts))
    return SessionResult(
        session=start.session,
        decision=engine.decisions[-1] if engine.decisions else None,
        orders=tuple(engine.orders.values()),
        booked=tuple(engine.booked),
        denied=tuple(driver.denied),
        equity=engine.equity(),
        cash=engine.account.cash,
        ambiguous_fills=driver.ambiguous_fills,
        slippage=driver.slippage,
    )


class _Driver:
    """Carries commands to the matcher and executions back, in one process."""

    def __init__(self, engine: TradingEngine, matcher: Matcher) -> None:
        self.denied: list[Deny] = []
        self.ambiguous_fills = 0
        self.slippage = 0
        # What is being told to the engine now.
        self.print: Print | None = None
        # Bought at an extreme of the bar that is running, and bars whose extremes are exchanged.
        self._entered: set[str] = set()
        self._exchanged: set[str] = set()
        self._engine = engine
        self._matcher = matcher
        self._numbered = 0

    def in_order(self, trade: Print, *, favourable: bool) -> Print:
        """Return the print as it comes, its bar's extremes exchanged where that is favourable.

        A holding that the low sells at a loss and the high at a profit: which came first was not
        recorded. It is counted once, at the low.
        """
        symbol, engine = trade.symbol, self._engine
        if trade.other == 0:
            self._entered.discard(symbol)
            self._exchanged.discard(symbol)
            return trade
        if (
            trade.price < trade.other
            and engine.rule_at(symbol, trade.price) in _LOSSES
            and engine.rule_at(symbol, trade.other) is ExitRule.TAKE_PROFIT
        ):
            self.ambiguous_fills += 1
            if favourable:
                self._exchanged.add(symbol)
        if symbol in self._exchanged:
            return replace(trade, price=trade.other, other=trade.price)
        return trade

    def carry(self, commands: Iterable[Command], ts: datetime) -> None:
        for command in commands:
            match command:
                case Submit(intent=intent):
                    if intent.boundary == BOUNDARY_EXIT and intent.symbol in self._entered:
                        self.ambiguous_fills += 1
                    self._submit(intent, ts)
                case Cancel(order=order):
                    self._matcher.cancel(order.venue_order_id)
                    self._engine.handle(
                        OrderUpdate(
                            venue_order_id=order.venue_order_id,
                            symbol=order.intent.symbol,
                            status=OrderStatus.CANCELED,
                            ts_event=ts,
                            ts_recv=ts,
                        )
                    )
                case Deny():
                    self.denied.append(command)

    def deliver(self, execution: Execution, ts: datetime) -> None:
        self.slippage += execution.slippage
        if execution.side is Side.BUY and self.print is not None and self.print.other != 0:
            self._entered.add(execution.symbol)
        fill = Fill(
            symbol=execution.symbol,
            side=execution.side,
            quantity=execution.quantity,
            amount=execution.quantity * execution.price,
            venue_order_id=execution.order_id,
            ts_event=ts,
            ts_recv=ts,
        )
        self.carry(self._engine.handle(fill), ts)

    def _submit(self, intent: OrderIntent, ts: datetime) -> None:
        self._numbered += 1
        number = f"{self._numbered:010d}"
        ack = OrderAck(venue_order_id=number, branch="", ts_event=ts)
        self.carry(self._engine.handle(Accepted(intent_id=intent.intent_id, ack=ack)), ts)
        order = WorkingOrder(
            order_id=number,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit,
        )
        for execution in self._matcher.submit(order):
            self.deliver(execution, ts)


def slippage_of(view: View, policy: Policy) -> Mapping[str, Slippage] | None:
    """Return the slippage of each instrument of the view, ``None`` where there is none."""
    if policy.orders.slippage.is_off:
        return None
    scales = impact_scales(
        policy.orders.slippage.impact,
        view.morning.volatility,
        policy.sessions_per_year,
        view.volume,
    )
    return {
        symbol: Slippage(
            policy.orders.slippage.rates, float(scales[i]), view.ladders[view.ladder_of[i]]
        )
        for i, symbol in enumerate(view.symbols)
    }


def daily_instants(raw: RawPanel, row: int, view: View, start: SessionStart) -> Instants:
    """Return the prints of one session's daily bars, by instant, instruments in view order."""
    by_instant: dict[datetime, list[Print]] = {}
    for symbol in view.symbols:
        i = raw.columns[symbol]
        if not raw.tradable[row, i]:
            continue
        for trade in daily_prints(
            symbol,
            int(raw.open[row, i]),
            int(raw.high[row, i]),
            int(raw.low[row, i]),
            int(raw.close[row, i]),
            int(raw.volume[row, i]),
            start.open_ts,
            start.close_ts,
        ):
            by_instant.setdefault(trade.ts, []).append(trade)
    return sorted(by_instant.items())


def actions_by_session(
    actions: Iterable[CorporateAction],
) -> dict[date, tuple[CorporateAction, ...]]:
    """Return actions keyed by ex-date, in the order in which they take effect."""
    found: dict[date, list[CorporateAction]] = {}
    for action in sorted(actions, key=in_effect_order):
        found.setdefault(action.ex_date, []).append(action)
    return {day: tuple(group) for day, group in found.items()}


@lru_cache(maxsize=8)
def fees_of(rules: MarketRules, calendar: SessionCalendar) -> Callable[[Exchange, date], IntArray]:
    """Return the fee array of a trade, by exchange and session, looked up once each."""

    @cache
    def fees(exchange: Exchange, session: date) -> IntArray:
        settled = rules.settlement_date(session, calendar)
        return as_array(rules.fees(exchange, session, settled))

    return fees


def orders_hash(intents: Iterable[OrderIntent]) -> str:
    """Return sha256 over JSON lines [session, symbol, side, quantity, limit, type] in order."""
    return _hash_lines(
        [str(i.session), i.symbol, str(i.side), i.quantity, i.limit, str(i.order_type)]
        for i in intents
    )


def decision_hash(decisions: Iterable[Decision]) -> str:
    """Return sha256 over JSON lines [session, boundary, symbol, target quantity, verdict]."""
    return _hash_lines(
        [str(d.session), d.boundary, c.symbol, c.target_quantity, c.verdict.name]
        for d in decisions
        for c in d.choices
    )


def _hash_lines(rows: Iterable[list[Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()
