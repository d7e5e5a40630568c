"""The only decision of the program: from a view and a portfolio to target quantities and orders.

Pure: called alike by backtest, demo, paper and real trading, and by parity afterwards. The view
holds what was known before the session opened; whoever calls says where that came from.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property, lru_cache

import numpy as np

from trading.allocation.optimize import AllocationInputs, AllocationStatus, allocate
from trading.allocation.sizing import AllocationSettings
from trading.domain.account import Portfolio
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Choices, Decision, ExitTerms, TradingState, Waiting
from trading.domain.instrument import Exchange, Market
from trading.domain.market import RawPanel
from trading.domain.order import OrderIntent, Side
from trading.domain.rules import MarketRules
from trading.execution.exits import rule_rows
from trading.execution.mornings import (
    Mornings,
    Terms,
    Window,
    columns_of,
    morning_of,
    mornings,
)
from trading.execution.orders import OrderSettings
from trading.execution.plan import Account, Chosen, Morning, Numbers, Plan, choose, place, plan
from trading.risk import limits
from trading.risk.backtests import DemotionSettings, champion_path
from trading.risk.guards import Law
from trading.risk.limits import RiskSettings
from trading.risk.var import VarSettings, forecast_path
from trading.strategies.base import Evaluation, ExitRules

BOUNDARY_OPEN = "open"
# Sessions that are made ready at once.
_BLOCK = 64
_STATES = {
    TradingState.ACTIVE: limits.ACTIVE,
    TradingState.REDUCING: limits.REDUCING,
    TradingState.HALTED: limits.HALTED,
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything that turns a view into orders; its hash is recorded with every decision.

    ``voting`` fingerprints the settings of features and strategies, which made the view;
    ``agent_exits`` are the exit rules of the strategies that have their own.
    """

    market: Market
    allocation: AllocationSettings
    risk: RiskSettings
    orders: OrderSettings
    exits: ExitRules
    sessions_per_year: int
    voting: str = ""
    agent_exits: Mapping[str, ExitRules] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits that change when any setting does."""
        settings = {
            "market": self.market,
            "allocation": self.allocation.model_dump(mode="json"),
            "risk": self.risk.model_dump(mode="json"),
            "orders": self.orders.model_dump(mode="json"),
            "exits": self.exits.model_dump(mode="json"),
            "agent_exits": {k: v.model_dump(mode="json") for k, v in self.agent_exits.items()},
            "sessions_per_year": self.sessions_per_year,
            "voting": self.voting,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def numbers(self) -> Numbers:
        """The policy as the compiled functions know it."""
        ensemble, sizing, risk = self.allocation.ensemble, self.allocation.sizing, self.risk
        return Numbers(
            entry_forecast=ensemble.entry_forecast,
            exit_forecast=ensemble.exit_forecast,
            min_confidence=ensemble.min_confidence,
            max_entry_var=ensemble.max_entry_var,
            sizing=int(sizing.method),
            volatility_target=sizing.volatility_target,
            atr_risk=sizing.atr_risk,
            atr_multiple=sizing.atr_multiple,
            kelly_fraction=sizing.kelly_fraction,
            max_single_name=risk.max_single_name,
            max_sector=risk.max_sector,
            max_gross=risk.max_gross,
            var_level=risk.var_level,
            garch_alpha=risk.var.garch_alpha,
            garch_beta=risk.var.garch_beta,
            max_portfolio_var=risk.max_portfolio_var,
            var_min_sessions=risk.var_min_sessions,
            annual=math.sqrt(self.sessions_per_year),
            exposure_target=risk.exposure.annual_volatility_target,
            exposure_half_life=risk.exposure.half_life_sessions or math.inf,
            exposure_band=risk.exposure.band,
            exposure_max_rise=risk.exposure.max_rise,
            trade_cost_bps=self.allocation.trade_cost_bps,
            risk_aversion=self.allocation.optimizer.risk_aversion,
            no_trade_band=self.allocation.no_trade_band,
            cash_buffer=self.allocation.cash_buffer,
        )

    def rules(self, agents: tuple[str, ...]) -> FloatArray:
        """Return the exit rules of ``agents``, then of nobody; see ``exits.rule_rows``."""
        if agents not in self._rules:
            self._rules[agents] = rule_rows(agents, self.agent_exits, self.exits)
        return self._rules[agents]

    @cached_property
    def _rules(self) -> dict[tuple[str, ...], FloatArray]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskState:
    """What the limits remember from session to session.

    ``peak`` is the highest equity since the last reset, ``cooldown`` the sessions a drawdown
    still keeps the account in ``REDUCING``, ``cooling`` the sessions each symbol that was sold
    by an exit rule may not be bought again, ``expired`` the symbols that have been held as long
    as they may, ``exposure`` the factor on all weights of the last decision. ``outside`` is what
    the holdings are worth that no view knows: the peak counts them, the equity of a plan does not.
    """

    peak: int
    cooldown: int
    state: TradingState
    cooling: tuple[tuple[str, int], ...] = ()
    expired: tuple[str, ...] = ()
    exposure: float = 1.0
    outside: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What is known before a session opens.

    ``morning`` holds the arrays, one entry an instrument; prices are minor units restated for the
    morning's actions. ``history`` are the past returns ``(n_sessions, n_instruments)`` that an
    optimizer looks at, none where positions are sized one by one; ``market_values`` those of all
    shares, NaN where they are not known; ``volume`` the mean shares a session of the past days.
    """

    session: date
    boundary: str
    first_bar: date
    symbols: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    agents: tuple[str, ...]
    regime: str
    morning: Morning
    history: FloatArray
    market_values: FloatArray
    lower: IntArray
    upper: IntArray
    ladders: IntArray
    ladder_of: IntArray
    volume: IntArray

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits that change when anything in the view does."""
        digest = hashlib.sha256()
        named = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "morning"]
        for name, value in (*named, *self.morning._asdict().items()):
            digest.update(name.encode())
            if isinstance(value, np.ndarray):
                digest.update(np.ascontiguousarray(value).tobytes())
            else:
                digest.update(repr(value).encode())
        return digest.hexdigest()[:16]

    def law(self, column: int) -> Law:
        """Return what the market asks of an order in one instrument; made once."""
        if column not in self._laws:
            self._laws[column] = Law(
                lower=int(self.lower[column]),
                upper=int(self.upper[column]),
                ladder=self.ladders[self.ladder_of[column]],
                lot=int(self.morning.lot[column]),
                max_shares=int(self.morning.max_shares[column]),
                buy_fee_ppb=self.morning.buy_fee_ppb,
            )
        return self._laws[column]

    @cached_property
    def _laws(self) -> dict[int, Law]:
        return {}

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """The column of each symbol."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}


class Views:
    """The views of a range of sessions: an evaluation joined with the market's law.

    ``evaluation`` row ``t - 1`` and ``raw`` row ``t`` make the view of session ``t``, so the
    panel of the day being traded needs only its reference prices.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        raw: RawPanel,
        rules: MarketRules,
        policy: Policy,
    ) -> None:
        self._evaluation = replace(
            evaluation, returns=np.ascontiguousarray(evaluation.returns, dtype=np.float64)
        )
        self._raw = raw
        self._rules = rules
        self._policy = policy
        self._champions = _var_champions(evaluation, raw, policy.risk)
        self._block: Mornings | None = None

    def at(self, row: int, *, held: Collection[str] = (), untradable: Collection[str] = ()) -> View:
        """Return the view of the session in ``row`` of the raw panel.

        Of a universe wider than one feed can carry, only the ``held`` and the screened names,
        the most traded first.
        ``untradable`` are names that the venue says it takes no orders for.
        """
        raw, evaluation, policy = self._raw, self._evaluation, self._policy
        known = self._around(row)
        t, past = row - known.first_row, row - 1
        is_held = np.zeros(len(raw.symbols), dtype=np.bool_)
        is_held[[raw.columns[symbol] for symbol in held if symbol in raw.columns]] = True
        columns = columns_of(known, t, is_held)
        symbols = tuple(raw.symbols[i] for i in columns)
        found = morning_of(known, t, columns, self.window)
        # Plain numbers, also where compilation is off: books and guards count with them.
        morning = Morning(*found)._replace(
            regime_scale=float(found.regime_scale),
            var_champion=int(found.var_champion),
            buy_fee_ppb=int(found.buy_fee_ppb),
            resize=bool(found.resize),
        )
        refused = [i for i, symbol in enumerate(symbols) if symbol in untradable]
        morning.tradable[refused] = False
        optimized = policy.allocation.sizing.method.optimized is not None
        length = policy.allocation.optimizer.window_sessions if optimized else 0
        history = evaluation.returns[max(0, row - length) : row][:, columns]
        return View(
            session=raw.sessions[row].astype(date),
            boundary=BOUNDARY_OPEN,
            first_bar=raw.sessions[0].astype(date),
            symbols=symbols,
            exchanges=tuple(raw.exchanges[i] for i in columns),
            agents=evaluation.agents,
            regime=evaluation.regime_names[int(evaluation.regime[past])],
            morning=morning,
            history=np.ascontiguousarray(history),
            market_values=evaluation.market_values[past, columns],
            lower=known.lower[t, columns],
            upper=known.upper[t, columns],
            ladders=known.ladders,
            ladder_of=known.ladder_of[t, columns],
            volume=known.volume[t, columns],
        )

    def between(self, first: int, stop: int) -> Mornings:
        """Return what is known before the sessions in rows ``first`` to ``stop`` (not included)."""
        policy, evaluation = self._policy, self._evaluation
        scales = [regime_scale_of(policy.allocation, name) for name in evaluation.regime_names]
        return mornings(
            evaluation,
            self._raw,
            self._rules,
            Terms(
                adv_sessions=policy.risk.adv_sessions,
                max_adv_share=policy.risk.max_adv_share,
                entry_band=policy.orders.entry_band,
                exit_band=policy.orders.exit_band,
                sessions_per_year=policy.sessions_per_year,
                resize_daily=policy.allocation.resize == "daily",
            ),
            regime_scales=np.array(scales, dtype=np.float64),
            champions=self._champions,
            first=first,
            stop=stop,
        )

    @property
    def agents(self) -> tuple[str, ...]:
        """Who votes."""
        return self._evaluation.agents

    @property
    def window(self) -> Window:
        """The past returns that risk is measured on."""
        risk = self._policy.risk
        return Window(risk.var_window_sessions, risk.var_level, risk.var_min_sessions)

    def _around(self, row: int) -> Mornings:
        """Return mornings that hold ``row``; the next sessions are made with it, most will be asked."""
        block = self._block
        if block is None or not 0 <= row - block.first_row < len(block.weights):
            last = min(len(self._raw.sessions), len(self._evaluation.votes) + 1)
            self._block = block = self.between(row, max(row + 1, min(row + _BLOCK, last)))
        return block


def _var_champions(evaluation: Evaluation, raw: RawPanel, risk: RiskSettings) -> IntArray:
    """Return the VaR method in force after each session, judged on the universe's mean return."""
    rows = min(len(evaluation.returns), len(raw.sessions))
    returns = evaluation.returns[:rows]
    known = np.isfinite(returns) & raw.tradable[:rows]
    # Summed from left to right: the mean is the same whatever comes later.
    total = np.cumsum(np.where(known, returns, 0.0), axis=1)[:, -1]
    outcomes = np.round(total / np.maximum(known.sum(axis=1), 1), 12)
    return _judged(
        outcomes.tobytes(), risk.var_window_sessions, risk.var_level, risk.var, risk.demotion
    )


@lru_cache(maxsize=8)
def _judged(
    outcomes: bytes, window: int, level: float, var: VarSettings, demotion: DemotionSettings
) -> IntArray:
    path = np.frombuffer(outcomes, dtype=np.float64).copy()
    forecasts = forecast_path(path, window, level, var.garch_alpha, var.garch_beta)
    return champion_path(path, forecasts, level=level, settings=demotion)


def decide(
    view: View,
    portfolio: Portfolio,
    policy: Policy,
    risk: RiskState,
) -> Decision:
    """Return the decision of one boundary.

    Pure and deterministic: the same view, portfolio, policy and risk state give the same
    decision, to the bit. Sales come before purchases in the order of intents.
    """
    planned, status = plan_of(view, portfolio, policy, risk)
    morning = view.morning
    quantity = _shares(view, portfolio)
    waiting = np.flatnonzero(planned.budget > 0).tolist()
    entered = [*np.flatnonzero((planned.order > 0) & (quantity == 0)).tolist(), *waiting]
    return Decision(
        session=view.session,
        boundary=view.boundary,
        first_bar=view.first_bar,
        view_hash=view.hash,
        policy_hash=policy.hash,
        equity=portfolio.cash + int((quantity * morning.reference).sum()),
        state=risk.state,
        regime=view.regime,
        portfolio_var=float(planned.expected_loss),
        exposure=float(planned.exposure),
        allocation=status,
        choices=Choices(
            view.symbols,
            view.agents,
            morning.votes,
            (
                planned.forecast,
                planned.agreement,
                planned.weights,
                planned.target,
                planned.verdicts,
            ),
        ),
        intents=_intents(view, policy.market, planned.order),
        waiting=tuple(
            Waiting(
                symbol=view.symbols[i],
                budget=int(planned.budget[i]),
                distance=int(planned.distance[i]),
                ceiling=int(planned.ceiling[i]),
            )
            for i in waiting
        ),
        entries={
            view.symbols[i]: terms_of(
                view.agents,
                int(planned.leader[i]),
                planned.exits[i],
                _credit(view, i, waits=i in waiting),
            )
            for i in entered
        },
    )


def plan_of(view: View, portfolio: Portfolio, policy: Policy, risk: RiskState) -> tuple[Plan, str]:
    """Return the numbers behind ``decide``, and how an optimizer ended: empty where none was asked."""
    morning = view.morning
    quantity = _shares(view, portfolio)
    cooling = {symbol for symbol, sessions in risk.cooling if sessions > 0}
    cool = np.array([s in cooling for s in view.symbols], dtype=np.bool_)
    expired = np.array([s in risk.expired for s in view.symbols], dtype=np.bool_)
    peak = risk.peak
    if risk.outside:
        # The plan is as far below its own peak as the whole account is below the account's.
        inside = portfolio.cash + int((quantity * morning.reference).sum())
        peak = peak * inside // (inside + risk.outside)
    account = Account(portfolio.cash, peak, risk.exposure, _STATES[risk.state])
    rules, numbers = policy.rules(view.agents), policy.numbers
    ladder = policy.risk.exposure.ladder
    method = policy.allocation.sizing.method.optimized
    status = ""
    if method is None:
        planned = plan(morning, quantity, cool, expired, account, rules, ladder, numbers)
    else:
        chosen = choose(morning, quantity, cool, expired, portfolio.cash, numbers)
        found = allocate(method, _inputs(view, chosen, policy), policy.allocation.optimizer)
        status = str(found.status)
        sized = found.sized if found.status is AllocationStatus.SOLVED else found.weights > 0.0
        planned = place(
            morning,
            chosen,
            np.where(sized | ~chosen.members, found.weights, np.nan),
            quantity,
            expired,
            account,
            rules,
            ladder,
            numbers,
        )
    return planned, status


def _shares(view: View, portfolio: Portfolio) -> IntArray:
    return np.array([portfolio.quantity(s) for s in view.symbols], dtype=np.int64)


def _inputs(view: View, chosen: Chosen, policy: Policy) -> AllocationInputs:
    """Return what an optimizer may know; a holding that is not to be sized stays as it is."""
    morning, risk = view.morning, policy.risk
    n = len(view.symbols)
    scale = morning.regime_scale if morning.regime_scale > 0.0 else 1.0
    fixed = ~morning.tradable & (chosen.held > 0.0)
    upper = np.where(fixed, chosen.held, risk.max_single_name)
    return AllocationInputs(
        returns=view.history,
        members=chosen.members | fixed,
        sectors=morning.sectors,
        previous=chosen.held,
        lower=np.where(fixed, chosen.held, 0.0),
        upper=upper,
        max_sector=risk.max_sector,
        gross=risk.max_gross * scale,
        cost=np.full(n, policy.allocation.trade_cost_bps / 1e4),
        expected=morning.expected / policy.sessions_per_year,
        expected_error=morning.expected_error / policy.sessions_per_year,
        market_values=view.market_values,
    )


def _credit(view: View, i: int, *, waits: bool) -> dict[str, float]:
    """Return how hard each agent pulls into a purchase of one instrument."""
    morning = view.morning
    # Ten numbers: lists are several times as fast as arrays of that length.
    votes, confidence = morning.votes[:, i].tolist(), morning.confidence[:, i].tolist()
    weights = morning.weights.tolist()
    if waits:
        triggers = morning.triggers[:, i].tolist()
        counts = [k for k, weight in enumerate(weights) if weight > 0.0 and triggers[k] > 0.0]
        nearest = min(triggers[k] for k in counts)
        for k in counts:
            if triggers[k] == nearest:
                votes[k], confidence[k] = 1.0, float(morning.trigger_confidence[k])
    pulls = [
        round(weight * sure * vote, 9)
        for weight, sure, vote in zip(weights, confidence, votes, strict=True)
    ]
    return {agent: pull for agent, pull in zip(view.agents, pulls, strict=True) if pull > 0.0}


def terms_of(
    agents: tuple[str, ...], leader: int, row: IntArray, credit: Mapping[str, float] | None = None
) -> ExitTerms:
    """Return one row of ``exit_terms`` as the terms of a position."""
    stop, trail, profit, max_sessions, cooldown = row.tolist()
    return ExitTerms(
        leader=agents[leader] if leader >= 0 else "",
        stop=stop,
        trail=trail,
        profit=profit,
        max_sessions=max_sessions,
        cooldown=cooldown,
        credit=credit or {},
    )


def regime_scale_of(settings: AllocationSettings, regime: str) -> float:
    """Return the factor on all weights in ``regime``: 1 when off or unknown, 0 blocks entries."""
    scale = settings.ensemble.regime_scales.get(regime, 1.0)
    if settings.ensemble.regime_action == "off":
        return 1.0
    if settings.ensemble.regime_action == "block_new":
        return 1.0 if scale >= 1.0 else 0.0
    return scale


def _intents(view: View, market: Market, order: IntArray) -> tuple[OrderIntent, ...]:
    sides = ((Side.SELL, np.flatnonzero(order < 0)), (Side.BUY, np.flatnonzero(order > 0)))
    intents = [
        OrderIntent(
            intent_id=f"{market}:{view.session}:{view.boundary}:{view.symbols[i]}:{side}",
            session=view.session,
            boundary=view.boundary,
            symbol=view.symbols[i],
            exchange=view.exchanges[i],
            side=side,
            quantity=abs(int(order[i])),
            limit=int(
                view.morning.buy_limit[i] if side is Side.BUY else view.morning.sell_limit[i]
            ),
        )
        for side, columns in sides
        for i in columns.tolist()
    ]
    return tuple(intents)
