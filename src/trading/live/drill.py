"""Proof, every morning, that each guard still fires: a guard that cannot prove it is none.

One violating order per guard goes through a twin of the running engine, on a throw-away account
that no driver listens to, and must come back with exactly that guard's code; orders that violate
nothing must pass, and loss limits, states and exit rules must do what they are there for. What
the guards check is ``risk.guards``; what follows from a failed drill is ``day``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from trading.allocation.rebalance import limit_price
from trading.domain.decision import ExitTerms, TradingState, Verdict, Waiting
from trading.domain.market import MarketStatus, Tick
from trading.domain.order import OrderAck, OrderIntent, OrderType, Side
from trading.execution.decide import View, decide
from trading.execution.engine import (
    Accepted,
    Breach,
    Cancel,
    Command,
    Deny,
    Halt,
    SessionStart,
    Submit,
    Timer,
    TradingEngine,
)
from trading.execution.exits import BASIS_POINTS, ExitRule
from trading.log import get_logger
from trading.risk.guards import GuardCode
from trading.simulation.account import Account

log = get_logger(__name__)

PASSED = "PASSED"
# Nothing that could be ordered today, so that nothing was proven.
NO_SYMBOL = "NO_SYMBOL"
# A guard that nobody wrote a drill for.
NO_DRILL = "NO_DRILL"

_BOUNDARY = "drill"
_ABSENT = "(drill)"
_MANY = 1_000_000_000
# How many lots of the name fill the narrowest limit, so that one is next to nothing.
_LOTS = 1_000
# How far the price moves against an exit rule that is drilled, and how far the rule lies.
_MOVE = 0.25
_NEAR = 0.01
# A drawdown limit that no account reaches is none.
_UNLIMITED = 0.99
_DISTANCE = BASIS_POINTS // 10
_SIDECAR_BEGINS = "387"


class RuleCode(StrEnum):
    """What else must hold besides the guards."""

    CLEAN_BUY = "CLEAN_BUY"
    CLEAN_SELL = "CLEAN_SELL"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    DRAWDOWN_START = "DRAWDOWN_START"
    REDUCING_SELLS = "REDUCING_SELLS"
    HALTED_KEEPS_ALL = "HALTED_KEEPS_ALL"
    STATE_SURVIVES = "STATE_SURVIVES"
    QUARANTINE = "QUARANTINE"
    STOP_LOSS = "STOP_LOSS"
    TRAILING_STOP = "TRAILING_STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    EXIT_WAITS = "EXIT_WAITS"


RULE_TEXT: Mapping[RuleCode, str] = {
    RuleCode.CLEAN_BUY: "어긋난 것이 없는 매수는 나감",
    RuleCode.CLEAN_SELL: "어긋난 것이 없는 매도는 나감",
    RuleCode.DAILY_LOSS: "하루 손실 한도에 닿으면 매수를 거두고 파는 주문만 나감",
    RuleCode.DRAWDOWN: "낙폭 한도에 닿으면 매수를 거두고 파는 주문만 나감",
    RuleCode.DRAWDOWN_START: "낙폭 한도를 넘은 채 시작하면 파는 주문만 나감",
    RuleCode.REDUCING_SELLS: "축소만 허용되는 상태에서 파는 주문은 나감",
    RuleCode.HALTED_KEEPS_ALL: "거래 정지 상태에서는 손절도 나가지 않음",
    RuleCode.STATE_SURVIVES: "운영자가 정한 상태는 다시 시작해도 그대로임",
    RuleCode.QUARANTINE: "격리한 종목은 팔기만 함",
    RuleCode.STOP_LOSS: "손절이 나감",
    RuleCode.TRAILING_STOP: "추적 손절이 나감",
    RuleCode.TAKE_PROFIT: "익절이 나감",
    RuleCode.EXIT_WAITS: "매매가 멈춘 종목의 손절은 기다렸다가 풀린 뒤에 나감",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What came of one drill: ``got`` is ``code`` itself when it fired."""

    code: str
    got: str

    @property
    def fired(self) -> bool:
        """Whether exactly this code came back."""
        return self.got == self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """One drill of the policy ``policy_hash``: its guards, and the rules besides them."""

    policy_hash: str
    guards: tuple[Drilled, ...]
    rules: tuple[Drilled, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Codes that did not fire."""
        return tuple(one.code for one in (*self.guards, *self.rules) if not one.fired)

    @property
    def passed(self) -> bool:
        """Whether everything fired."""
        return not self.failed

    def body(self) -> dict[str, Any]:
        """Return the report as JSON values, for the ledger and the command line."""
        return {
            "policy_hash": self.policy_hash,
            "passed": self.passed,
            "guards": [asdict(one) | {"fired": one.fired} for one in self.guards],
            "rules": [asdict(one) | {"fired": one.fired} for one in self.rules],
        }


def outcome_text(one: Drilled) -> str:
    """Return what came of a drill as a user reads it."""
    if one.fired:
        return "들음"
    known = {
        NO_SYMBOL: "주문할 종목이 없음",
        NO_DRILL: "훈련이 없음",
        PASSED: "막지 않음",
    }
    return f"듣지 않음: {known.get(one.got, one.got)}"


def drill(running: TradingEngine, start: SessionStart, view: View) -> DrillReport:
    """Return what every guard and rule of ``running`` does to an order that violates it.

    Neither ``running`` nor its account, orders or rate is touched. ``start`` and ``view`` are
    those of the session that is about to begin; the most expensive name that may be traded is
    the one that is ordered. Where there is none nothing is proven.
    """

    def desk(**how: Any) -> _Desk:
        return _Desk(running, start, view, **how)

    guards = [_drilled(code, _GUARDS.get(code), desk) for code in GuardCode]
    rules = [_drilled(code, _RULES.get(code), desk) for code in RuleCode]
    return DrillReport(policy_hash=running.policy.hash, guards=tuple(guards), rules=tuple(rules))


def _drilled(code: StrEnum, recipe: "_Recipe | None", desk: "_NewDesk") -> Drilled:
    if recipe is None:
        return Drilled(code=str(code), got=NO_DRILL)
    try:
        return Drilled(code=str(code), got=str(recipe(desk)))
    except _NothingToOrderError:
        return Drilled(code=str(code), got=NO_SYMBOL)
    except Exception as error:
        # What breaks the chain is no guard either; the session begins, reducing only.
        log.exception("안전장치 훈련 중 예상하지 못한 오류", code=str(code))
        return Drilled(code=str(code), got=type(error).__name__)


class _NothingToOrderError(Exception):
    """The view holds no name that may be traded."""


class _Desk:
    """A twin of the running engine in the middle of the session, on an account of its own.

    It holds two lots of one name and cash for many more; what the drill needs otherwise it
    changes on this copy: a tick, a lot, a limit that the market of the day does not have.
    """

    def __init__(
        self,
        running: TradingEngine,
        start: SessionStart,
        view: View,
        *,
        terms: ExitTerms | None = None,
        drawn_down: float = 0.0,
        operator: TradingState = TradingState.ACTIVE,
        plans: str | None = None,
        **changes: Any,
    ) -> None:
        self.policy = running.policy
        self.view = view
        self.i = self._column()
        self.symbol = view.symbols[self.i]
        self.reference = int(view.morning.reference[self.i])
        self.shares = int(view.morning.lot[self.i])
        self.limit = self.price(0.0)
        self.open_ts, self.close_ts = start.open_ts, start.close_ts
        self.view = self._changed(**changes)
        self.equity = self._equity()
        cash = self.equity - 2 * self.shares * self.reference
        self.engine = running.twin(Account(self.policy.market, cash))
        self.engine.account.adjust(
            symbol=self.symbol, quantity=2 * self.shares, price=self.reference
        )
        self.engine.last_price[self.symbol] = self.reference
        self._restore(terms, drawn_down, operator)
        self.engine.handle(
            replace(start, actions=(), adjustments=(), reference={self.symbol: self.reference})
        )
        self._resume(plans)

    def _column(self) -> int:
        morning = self.view.morning
        usable = morning.tradable & (morning.reference > 0)
        if not usable.any():
            raise _NothingToOrderError
        # Next to a high price a tick is small: limits can be put exactly where they are wanted.
        return int(np.where(usable, morning.reference, 0).argmax())

    def price(self, move: float) -> int:
        """Return the reference price moved by that fraction, on its tick, inside no limits."""
        view = self.view
        ladder = view.ladders[view.ladder_of[self.i]]
        return int(limit_price(self.reference, abs(move), 1 if move > 0 else -1, ladder, 0, 0))

    def _changed(self, **changes: Any) -> View:
        """Return the view with room for every order, and ``changes`` of the name's own terms."""
        view = self.view
        ladders = view.ladders
        if "tick" in changes:
            ladders = np.zeros_like(ladders)
            ladders[:, :, 1] = changes["tick"]
        n = len(view.symbols)
        morning = view.morning._replace(
            sectors=np.where(np.arange(n) == self.i, 0, -1),
            lot=self._at("lot", changes, view.morning.lot),
            max_shares=self._at("max_shares", {"max_shares": _MANY} | changes, np.zeros(n)),
        )
        return replace(
            view,
            morning=morning,
            ladders=ladders,
            lower=self._at("lower", {"lower": 0} | changes, view.lower),
            upper=self._at("upper", {"upper": 0} | changes, view.upper),
        )

    def _at(self, name: str, changes: Mapping[str, int], values: Any) -> Any:
        whole = np.asarray(values, dtype=np.int64).copy()
        whole[self.i] = changes.get(name, whole[self.i])
        return whole

    def _equity(self) -> int:
        """Return equity of which a few lots take a small part of the narrowest limit."""
        risk = self.policy.risk
        narrowest = min(
            risk.max_single_name, risk.max_sector, risk.max_gross, risk.guards.max_order_share
        )
        return int(_LOTS * self.shares * self.limit / narrowest)

    def _restore(self, terms: ExitTerms | None, drawn_down: float, operator: TradingState) -> None:
        state = self.engine.snapshot() | {"operator": str(operator)}
        if terms is not None:
            state["terms"] = {self.symbol: asdict(terms)}
        state["risk"] = {"peak": int(self.equity / (1.0 - drawn_down)), "cooldown": 0}
        self.engine.restore(state)

    def _resume(self, plans: str | None) -> None:
        """Take over a decision that orders nothing, as a restarted session does.

        It may plan to fill the account with one name: then no limit above that stands in the way.
        """
        engine = self.engine
        nothing = np.zeros(len(self.view.symbols), dtype=np.bool_)
        quiet = replace(self.view, morning=self.view.morning._replace(tradable=nothing))
        decision = decide(quiet, engine.account.portfolio(), self.policy, engine.risk)
        whole = [
            Waiting(symbol=name, budget=_MANY * self.equity, distance=_MANY, ceiling=0)
            for name in (plans,)
            if name is not None
        ]
        engine.resume(
            replace(decision, choices=(), intents=(), waiting=tuple(whole), entries={}), self.view
        )

    def intent(self, side: Side, **changes: Any) -> OrderIntent:
        """Return an order for one lot at the reference price, as a decision would wish it."""
        view = self.view
        named = OrderIntent(
            intent_id=f"{self.policy.market}:{view.session}:{_BOUNDARY}:{self.symbol}:{side}",
            session=view.session,
            boundary=_BOUNDARY,
            symbol=self.symbol,
            exchange=view.exchanges[self.i],
            side=side,
            quantity=self.shares,
            limit=self.limit,
            reason=_BOUNDARY,
        )
        return replace(named, **changes)

    def ask(self, side: Side, *, at: datetime | None = None, **changes: Any) -> str:
        """Send an order through the chain; return the code that came back."""
        command = self.engine.guarded(self.intent(side, **changes), at or self.open_ts)
        return _answer([command])

    def buys(self, **changes: Any) -> str:
        """Send a purchase."""
        return self.ask(Side.BUY, **changes)

    def sells(self, **changes: Any) -> str:
        """Send a sale."""
        return self.ask(Side.SELL, **changes)

    def tick(self, price: int, at: datetime) -> list[Command]:
        """Print."""
        return self.engine.handle(
            Tick(
                symbol=self.symbol,
                price=price,
                volume=1,
                cumulative_volume=1,
                ts_event=at,
                ts_recv=at,
            )
        )

    def told(self, *, halted: bool = False, operation: str = "", at: datetime) -> None:
        """Let the venue say something about the name."""
        self.engine.handle(
            MarketStatus(
                symbol=self.symbol,
                halted=halted,
                interrupted=False,
                operation=operation,
                reason="",
                ts_recv=at,
            )
        )

    def working_purchase(self) -> OrderIntent:
        """Send a purchase and let the venue take it."""
        intent = self.intent(Side.BUY, intent_id=f"{_BOUNDARY}:working")
        self.engine.guarded(intent, self.open_ts)
        ack = OrderAck(venue_order_id=_ABSENT, branch="", ts_event=self.open_ts)
        self.engine.handle(Accepted(intent_id=intent.intent_id, ack=ack))
        return intent

    def later(self) -> datetime:
        """Return a moment at which the first order counts no more, with a price of then."""
        at = self.open_ts + timedelta(minutes=2)
        self.tick(self.reference, at)
        return at

    def lose(self, fraction: float) -> list[Command]:
        """Lose that part of the equity, and look at the portfolio."""
        self.engine.account.adjust(cash=-int(fraction * self.equity))
        return self.engine.handle(Timer(ts=self.open_ts + timedelta(minutes=5)))


_NewDesk = Callable[..., _Desk]
_Recipe = Callable[[_NewDesk], str]


def _answer(commands: list[Command]) -> str:
    """Return the code of what the engine answers: why it denies, or that it lets pass."""
    codes = [
        str(c.code) if isinstance(c, Deny) else PASSED
        for c in commands
        if isinstance(c, Deny | Submit)
    ]
    return ",".join(codes) or "NOTHING"


# --- one order that violates each guard, and no guard before it --------------------------------


def _bad_quantity(desk: _NewDesk) -> str:
    return desk().buys(quantity=0)


def _order_type(desk: _NewDesk) -> str:
    return desk().buys(order_type=OrderType.MARKET)


def _duplicate(desk: _NewDesk) -> str:
    d = desk()
    d.buys()
    return d.buys()


def _symbol_frozen(desk: _NewDesk) -> str:
    d = desk()
    d.engine.frozen.add(d.symbol)
    return d.sells()


def _session_closed(desk: _NewDesk) -> str:
    d = desk()
    d.tick(d.reference, d.close_ts)
    return d.sells(at=d.close_ts)


def _halted(desk: _NewDesk) -> str:
    d = desk()
    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.HALTED))
    return d.sells()


def _reducing(desk: _NewDesk) -> str:
    d = desk()
    d.engine.handle(Halt(ts=d.open_ts, state=TradingState.REDUCING))
    return d.buys()


def _short_sale(desk: _NewDesk) -> str:
    d = desk()
    return d.sells(quantity=3 * d.shares)


def _unknown_symbol(desk: _NewDesk) -> str:
    return desk().buys(symbol=_ABSENT)


def _symbol_halted(desk: _NewDesk) -> str:
    d = desk()
    d.told(halted=True, at=d.open_ts)
    return d.sells()


def _entry_stopped(desk: _NewDesk) -> str:
    d = desk()
    d.told(operation=_SIDECAR_BEGINS, at=d.open_ts)
    return d.buys()


def _stale_data(desk: _NewDesk) -> str:
    d = desk()
    stale = timedelta(seconds=d.policy.risk.guards.stale_seconds + 1.0)
    d.tick(d.reference, d.open_ts - stale)
    return d.sells()


def _price_limit(desk: _NewDesk) -> str:
    return desk(upper=desk().limit - 1).buys()


def _tick(desk: _NewDesk) -> str:
    return desk(tick=desk().limit - 1).buys()


def _lot(desk: _NewDesk) -> str:
    return desk(lot=desk().shares + 1).buys()


def _price_band(desk: _NewDesk) -> str:
    d = desk()
    return d.sells(limit=d.price(2.0 * d.policy.risk.guards.max_price_deviation))


def _order_value(desk: _NewDesk) -> str:
    d = desk()
    largest = d.policy.risk.guards.max_order_share * d.equity
    # Weights are compared to nine digits: a whole lot above, not the rest of one.
    return d.buys(quantity=(int(largest / (d.shares * d.reference)) + 2) * d.shares)


def _adv_share(desk: _NewDesk) -> str:
    return desk(max_shares=desk().shares - 1).buys()


def _no_cash(desk: _NewDesk) -> str:
    d = desk()
    d.engine.account.cash = d.shares * d.limit - 1
    return d.buys()


def _gross(desk: _NewDesk) -> str:
    d = desk()
    _hold(d, _ABSENT, d.policy.risk.max_gross)
    return d.buys()


def _sector(desk: _NewDesk) -> str:
    # The name itself fills its sector; that it is too much of one name is asked later.
    d = desk(plans=_ABSENT)
    _hold(d, d.symbol, d.policy.risk.max_sector)
    return d.buys()


def _single_name(desk: _NewDesk) -> str:
    d = desk(plans=desk().symbol)
    _hold(d, d.symbol, d.policy.risk.max_single_name)
    return d.buys()


def _order_rate(desk: _NewDesk) -> str:
    d = desk()
    d.engine.account.adjust(symbol=d.symbol, quantity=_MANY * d.shares, price=d.reference)
    for number in range(d.policy.risk.guards.max_orders_per_minute):
        d.sells(intent_id=f"{_BOUNDARY}:{number}")
        # Only the clock of the guards is drilled: what is open costs time to look through.
        d.engine.orders.clear()
    return d.sells()


def _hold(desk: _Desk, symbol: str, share: float) -> None:
    """Let holdings of ``symbol`` fill ``share`` of the equity that the day is measured by."""
    quantity = int(share * desk.equity / desk.reference) + desk.shares
    desk.engine.account.adjust(symbol=symbol, quantity=quantity, price=desk.reference)
    desk.engine.last_price.setdefault(symbol, desk.reference)


_GUARDS: Mapping[GuardCode, _Recipe] = {
    GuardCode.BAD_QUANTITY: _bad_quantity,
    GuardCode.ORDER_TYPE: _order_type,
    GuardCode.DUPLICATE: _duplicate,
    GuardCode.SYMBOL_FROZEN: _symbol_frozen,
    GuardCode.SESSION_CLOSED: _session_closed,
    GuardCode.HALTED: _halted,
    GuardCode.REDUCING: _reducing,
    GuardCode.SHORT_SALE: _short_sale,
    GuardCode.UNKNOWN_SYMBOL: _unknown_symbol,
    GuardCode.SYMBOL_HALTED: _symbol_halted,
    GuardCode.ENTRY_STOPPED: _entry_stopped,
    GuardCode.STALE_DATA: _stale_data,
    GuardCode.PRICE_LIMIT: _price_limit,
    GuardCode.TICK: _tick,
    GuardCode.LOT: _lot,
    GuardCode.PRICE_BAND: _price_band,
    GuardCode.ORDER_VALUE: _order_value,
    GuardCode.ADV_SHARE: _adv_share,
    GuardCode.NO_CASH: _no_cash,
    GuardCode.GROSS: _gross,
    GuardCode.SECTOR: _sector,
    GuardCode.SINGLE_NAME: _single_name,
    GuardCode.ORDER_RATE: _order_rate,
}


# --- what else must hold: each returns its own code when it does ------------------------------


def _clean_buy(desk: _NewDesk) -> str:
    answer = desk().buys()
    return _holds(RuleCode.CLEAN_BUY, answer == PASSED, [answer])


def _clean_sell(desk: _NewDesk) -> str:
    answer = desk().sells()
    return _holds(RuleCode.CLEAN_SELL, answer == PASSED, [answer])


def _daily_loss(desk: _NewDesk) -> str:
    d = desk()
    risk = d.policy.risk
    # What has lost that much since yesterday may have fallen as far from its peak.
    is_shadowed = risk.max_drawdown <= risk.max_daily_loss
    verdict = Verdict.CAP_DRAWDOWN if is_shadowed else Verdict.DAILY_LOSS
    return _breached(d, RuleCode.DAILY_LOSS, verdict, risk.max_daily_loss)


def _drawdown(desk: _NewDesk) -> str:
    largest = desk().policy.risk.max_drawdown
    if largest >= _UNLIMITED:
        return RuleCode.DRAWDOWN
    # So near above the limit that little is left to lose; twice that is lost.
    almost = largest * (1.0 - _NEAR)
    left = 1.0 - (1.0 - largest) / (1.0 - almost)
    d = desk(drawn_down=almost)
    return _breached(d, RuleCode.DRAWDOWN, Verdict.CAP_DRAWDOWN, 2.0 * left)


def _breached(d: _Desk, rule: RuleCode, verdict: Verdict, loss: float) -> str:
    working = d.working_purchase()
    calm = d.lose(0.0)
    commands = d.lose(loss + 1e-6)
    did = [c.verdict.name if isinstance(c, Breach) else type(c).__name__ for c in commands]
    canceled = [c.order.intent for c in commands if isinstance(c, Cancel)]
    answers = [d.engine.risk.state, d.buys(), d.sells(at=d.later())]
    expected = [TradingState.REDUCING, GuardCode.REDUCING, PASSED]
    is_so = calm == [] and did == [verdict.name, Cancel.__name__] and canceled == [working]
    return _holds(rule, is_so and answers == expected, [*did, *answers])


def _drawdown_start(desk: _NewDesk) -> str:
    largest = desk().policy.risk.max_drawdown
    if largest >= _UNLIMITED:
        return RuleCode.DRAWDOWN_START
    d = desk(drawn_down=largest + _NEAR / 2.0)
    answers = [d.buys(), d.sells()]
    return _holds(RuleCode.DRAWDOWN_START, answers == [GuardCode.REDUCING, PASSED], answers)


def _reducing_sells(desk: _NewDesk) -> str:
    d = desk()
    working = d.working_purchase()
    commands = d.engine.handle(Halt(ts=d.open_ts, state=TradingState.REDUCING))
    canceled = [c.order.intent for c in commands if isinstance(c, Cancel)]
    answer = d.sells(at=d.later())
    is_so = canceled == [working] and answer == PASSED
    return _holds(RuleCode.REDUCING_SELLS, is_so, [answer])


def _halted_keeps_all(desk: _NewDesk) -> str:
    d = desk(terms=ExitTerms(stop=_DISTANCE))
    d.working_purchase()
    commands = d.engine.handle(Halt(ts=d.open_ts, state=TradingState.HALTED))
    stopped = _answer(d.tick(d.price(-_MOVE), d.open_ts))
    answers = [d.buys(limit=d.price(-_MOVE)), d.sells(limit=d.price(-_MOVE)), stopped]
    is_so = [type(c) for c in commands] == [Cancel] and answers == [GuardCode.HALTED] * 3
    return _holds(RuleCode.HALTED_KEEPS_ALL, is_so, answers)


def _state_survives(desk: _NewDesk) -> str:
    answers = []
    for state in (TradingState.REDUCING, TradingState.HALTED):
        before = desk()
        before.engine.handle(Halt(ts=before.open_ts, state=state))
        operator = TradingState(before.engine.snapshot()["operator"])
        after = desk(operator=operator)
        answers += [after.engine.risk.state, after.buys()]
    expected = [
        TradingState.REDUCING,
        GuardCode.REDUCING,
        TradingState.HALTED,
        GuardCode.HALTED,
    ]
    return _holds(RuleCode.STATE_SURVIVES, answers == expected, answers)


def _quarantine(desk: _NewDesk) -> str:
    d = desk()
    d.engine.quarantined.add(d.symbol)
    answers = [d.buys(), d.sells()]
    return _holds(RuleCode.QUARANTINE, answers == [GuardCode.REDUCING, PASSED], answers)


def _stop_loss(desk: _NewDesk) -> str:
    d = desk(terms=ExitTerms(stop=_DISTANCE))
    return _exits(d, RuleCode.STOP_LOSS, ExitRule.STOP_LOSS, [0.0, -_MOVE])


def _trailing_stop(desk: _NewDesk) -> str:
    d = desk(terms=ExitTerms(trail=_DISTANCE))
    return _exits(d, RuleCode.TRAILING_STOP, ExitRule.TRAILING_STOP, [_MOVE, 0.0])


def _take_profit(desk: _NewDesk) -> str:
    d = desk(terms=ExitTerms(profit=_DISTANCE))
    return _exits(d, RuleCode.TAKE_PROFIT, ExitRule.TAKE_PROFIT, [0.0, _MOVE])


def _exits(d: _Desk, rule: RuleCode, exit_rule: ExitRule, moves: list[float]) -> str:
    """Let prices come: the last sells everything for that reason, the others nothing."""
    *quiet, last = [
        d.tick(d.price(move), d.open_ts + timedelta(seconds=k)) for k, move in enumerate(moves)
    ]
    sold = [(c.intent.reason, c.intent.quantity) for c in last if isinstance(c, Submit)]
    is_so = not any(quiet) and sold == [(exit_rule.name.lower(), 2 * d.shares)]
    return _holds(rule, is_so, [_answer(last)])


def _exit_waits(desk: _NewDesk) -> str:
    d = desk(terms=ExitTerms(stop=_DISTANCE))
    halted_at = d.open_ts + timedelta(seconds=2)
    d.told(halted=True, at=halted_at)
    # A print of before the halt that comes after the word of it, and the first one after it.
    waits = _answer(d.tick(d.price(-_MOVE), d.open_ts + timedelta(seconds=1)))
    d.told(at=d.open_ts + timedelta(seconds=3))
    goes = _answer(d.tick(d.price(-_MOVE), d.open_ts + timedelta(seconds=4)))
    is_so = [waits, goes] == [GuardCode.SYMBOL_HALTED, PASSED]
    return _holds(RuleCode.EXIT_WAITS, is_so, [waits, goes])


def _holds(rule: RuleCode, is_so: bool, answers: "list[Any]") -> str:
    return rule if is_so else ",".join(str(answer) for answer in answers) or "NOTHING"


_RULES: Mapping[RuleCode, _Recipe] = {
    RuleCode.CLEAN_BUY: _clean_buy,
    RuleCode.CLEAN_SELL: _clean_sell,
    RuleCode.DAILY_LOSS: _daily_loss,
    RuleCode.DRAWDOWN: _drawdown,
    RuleCode.DRAWDOWN_START: _drawdown_start,
    RuleCode.REDUCING_SELLS: _reducing_sells,
    RuleCode.HALTED_KEEPS_ALL: _halted_keeps_all,
    RuleCode.STATE_SURVIVES: _state_survives,
    RuleCode.QUARANTINE: _quarantine,
    RuleCode.STOP_LOSS: _stop_loss,
    RuleCode.TRAILING_STOP: _trailing_stop,
    RuleCode.TAKE_PROFIT: _take_profit,
    RuleCode.EXIT_WAITS: _exit_waits,
}
