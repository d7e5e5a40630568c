"""The only decision of the program: from a view and a portfolio to target quantities and orders.

Pure: called alike by backtest, demo, paper and real trading, and by parity afterwards. The view
holds what was known before the session opened; whoever calls says where that came from.
"""

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import date
from functools import cached_property

import numpy as np

from trading.allocation.rebalance import rebalance
from trading.allocation.sizing import AllocationSettings
from trading.domain.account import Portfolio
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.decision import Choice, Decision, TradingState, Verdict
from trading.domain.instrument import Exchange, Market
from trading.domain.market import RawPanel
from trading.domain.order import OrderIntent, Side
from trading.domain.rules import MarketRules
from trading.ensemble import combine
from trading.execution.orders import ExitSettings, OrderSettings, limit_prices
from trading.risk import limits
from trading.risk.limits import RiskSettings
from trading.risk.var import name_vars, portfolio_var
from trading.strategies.base import Evaluation

BOUNDARY_OPEN = "open"
# KIS accepts 41 registrations a session: 40 symbols and the account's notices.
MAX_VIEW_SYMBOLS = 40
_STATES = {
    TradingState.ACTIVE: limits.ACTIVE,
    TradingState.REDUCING: limits.REDUCING,
    TradingState.HALTED: limits.HALTED,
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything that turns a view into orders; its hash is recorded with every decision.

    ``voting`` fingerprints the settings of features and strategies, which made the view.
    """

    market: Market
    allocation: AllocationSettings
    risk: RiskSettings
    orders: OrderSettings
    exits: ExitSettings
    sessions_per_year: int
    voting: str = ""

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits that change when any setting does."""
        settings = {
            "market": self.market,
            "allocation": self.allocation.model_dump(mode="json"),
            "risk": self.risk.model_dump(mode="json"),
            "orders": self.orders.model_dump(mode="json"),
            "exits": self.exits.model_dump(mode="json"),
            "sessions_per_year": self.sessions_per_year,
            "voting": self.voting,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskState:
    """What the limits remember from session to session.

    ``peak`` is the highest equity since the last reset, ``cooldown`` the sessions a drawdown
    still keeps the account in ``REDUCING``, ``cooling`` the sessions each symbol that was sold
    by an exit rule may not be bought again.
    """

    peak: int
    cooldown: int
    state: TradingState
    cooling: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What is known before a session opens. Arrays have one entry an instrument.

    ``votes`` and ``confidence`` are ``(n_agents, n_instruments)``, ``returns`` are the past
    ``(n_sessions, n_instruments)``; prices are minor units restated for the morning's actions.
    """

    session: date
    boundary: str
    first_bar: date
    symbols: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    agents: tuple[str, ...]
    votes: FloatArray
    confidence: FloatArray
    volatility: FloatArray
    returns: FloatArray
    screened: BoolArray
    tradable: BoolArray
    regime: str
    reference: IntArray
    lower: IntArray
    upper: IntArray
    buy_limit: IntArray
    sell_limit: IntArray
    lot: IntArray
    max_shares: IntArray
    sectors: IntArray
    ladders: IntArray
    ladder_of: IntArray
    buy_fee_ppb: int
    new_month: bool

    def hash(self) -> str:
        """Sixteen hex digits that change when anything in the view does."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            digest.update(field.name.encode())
            if isinstance(value, np.ndarray):
                digest.update(np.ascontiguousarray(value).tobytes())
            else:
                digest.update(repr(value).encode())
        return digest.hexdigest()[:16]

    def index(self, symbol: str) -> int:
        """Return the column of ``symbol``; ``ValueError`` when it is not in the view."""
        return self.symbols.index(symbol)


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
        sectors: IntArray,
    ) -> None:
        self._evaluation = evaluation
        self._raw = raw
        self._rules = rules
        self._policy = policy
        self._sectors = sectors

    def at(self, row: int, *, held: Collection[str] = (), untradable: Collection[str] = ()) -> View:
        """Return the view of the session in ``row`` of the raw panel.

        Of a universe wider than one feed can carry, only the ``held`` and the screened names,
        the most traded first.
        ``untradable`` are names that the venue says it takes no orders for.
        """
        past = row - 1
        raw, evaluation, policy = self._raw, self._evaluation, self._policy
        session = raw.sessions[row].astype(date)
        columns = np.arange(len(raw.symbols))
        first = max(0, row - policy.risk.adv_sessions)
        volume = raw.volume[first:row].sum(axis=0) // max(row - first, 1)
        if len(raw.symbols) > MAX_VIEW_SYMBOLS:
            kept = [raw.symbols.index(symbol) for symbol in held if symbol in raw.symbols]
            value = volume * raw.close[past]
            screened = np.flatnonzero(evaluation.screened[past] & ~np.isin(columns, kept))
            room = max(0, MAX_VIEW_SYMBOLS - len(kept))
            chosen = screened[np.argsort(-value[screened], kind="stable")[:room]]
            columns = np.sort(np.array([*kept, *chosen], dtype=np.int64))
        exchanges = tuple(raw.exchanges[i] for i in columns)
        reference = raw.reference[row, columns]
        sessions = raw.sessions[row : row + 1]
        lower, upper = self._rules.limit_arrays(exchanges, reference[None, :], sessions)
        ladders, ladder_of = self._rules.ladder_arrays(exchanges, sessions)
        lot = self._rules.lot_arrays(exchanges, reference[None, :], sessions)[0]
        window = slice(max(0, row - policy.risk.var_window_sessions), row)
        return View(
            session=session,
            boundary=BOUNDARY_OPEN,
            first_bar=raw.sessions[0].astype(date),
            symbols=tuple(raw.symbols[i] for i in columns),
            exchanges=exchanges,
            agents=evaluation.agents,
            votes=np.ascontiguousarray(evaluation.votes[past][:, columns]),
            confidence=np.ascontiguousarray(evaluation.confidence[past][:, columns]),
            volatility=evaluation.volatility[past, columns] * math.sqrt(policy.sessions_per_year),
            returns=np.ascontiguousarray(evaluation.returns[window][:, columns]),
            screened=evaluation.screened[past, columns],
            tradable=raw.tradable[past, columns]
            & (reference > 0)
            & np.array([raw.symbols[i] not in untradable for i in columns], dtype=np.bool_),
            regime=evaluation.regime_names[int(evaluation.regime[past])],
            reference=reference,
            lower=lower[0],
            upper=upper[0],
            buy_limit=limit_prices(
                reference, policy.orders.entry_band, 1, ladders, ladder_of[0], lower[0], upper[0]
            ),
            sell_limit=limit_prices(
                reference, policy.orders.exit_band, -1, ladders, ladder_of[0], lower[0], upper[0]
            ),
            lot=lot,
            max_shares=(volume[columns] * policy.risk.max_adv_share).astype(np.int64),
            sectors=self._sectors[columns],
            ladders=ladders,
            ladder_of=ladder_of[0],
            buy_fee_ppb=self._buy_fee_ppb(exchanges, session),
            new_month=raw.sessions[past].astype("datetime64[M]")
            != raw.sessions[row].astype("datetime64[M]"),
        )

    def _buy_fee_ppb(self, exchanges: tuple[Exchange, ...], session: date) -> int:
        """Return the dearest rate a buy may meet, for reserving cash."""
        rates = [
            sum(
                fee.rate_ppb
                for fee in self._rules.fees(exchange, session, session)
                if fee.side != "sell"
            )
            for exchange in set(exchanges)
        ]
        return max(rates, default=0)


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
    quantity = np.array([portfolio.quantity(s) for s in view.symbols], dtype=np.int64)
    equity = portfolio.cash + int((quantity * view.reference).sum())
    held = limits.weights_held(quantity, view.reference, equity)
    cooling = dict(risk.cooling)
    cool = np.array([cooling.get(s, 0) > 0 for s in view.symbols], dtype=np.bool_)
    ensemble = policy.allocation.ensemble
    forecast, confidence, wished, verdicts = combine(
        view.votes,
        view.confidence,
        priors_of(view.agents, ensemble.agent_weights),
        held,
        view.screened & ~cool,
        view.tradable,
        name_vars(view.returns, policy.risk.var_level, policy.risk.var_min_sessions),
        view.volatility,
        ensemble.entry_forecast,
        ensemble.exit_forecast,
        ensemble.min_confidence,
        ensemble.max_entry_var,
        regime_scale_of(policy.allocation, view.regime),
        policy.allocation.name_volatility_target,
    )
    verdicts[cool & (verdicts == int(Verdict.NOT_SCREENED))] = int(Verdict.COOLDOWN)
    capped, caps = limits.cap_weights(
        wished,
        view.sectors,
        policy.risk.max_single_name,
        policy.risk.max_sector,
        policy.risk.max_gross,
    )
    expected_loss = float(portfolio_var(capped, view.returns, policy.risk.var_level))
    allowed, caps = limits.limit(
        capped,
        np.where(caps > 0, caps, verdicts),
        held,
        expected_loss,
        _STATES[risk.state],
        policy.risk.max_portfolio_var,
    )
    target, order, codes = rebalance(
        allowed,
        caps,
        quantity,
        view.tradable.astype(np.int64),
        view.reference,
        view.buy_limit,
        view.sell_limit,
        view.lot,
        view.max_shares,
        equity,
        portfolio.cash,
        policy.allocation.no_trade_band,
        policy.allocation.cash_buffer,
        view.buy_fee_ppb,
        policy.allocation.resize == "daily" or view.new_month,
    )
    choices = tuple(
        Choice(
            symbol=symbol,
            votes={
                agent: float(view.votes[k, i])
                for k, agent in enumerate(view.agents)
                if not math.isnan(view.votes[k, i])
            },
            forecast=float(forecast[i]),
            confidence=float(confidence[i]),
            weight=float(allowed[i]),
            target_quantity=int(target[i]),
            verdict=Verdict(int(codes[i])),
        )
        for i, symbol in enumerate(view.symbols)
    )
    return Decision(
        session=view.session,
        boundary=view.boundary,
        first_bar=view.first_bar,
        view_hash=view.hash(),
        policy_hash=policy.hash,
        equity=equity,
        state=risk.state,
        regime=view.regime,
        portfolio_var=expected_loss,
        choices=choices,
        intents=_intents(view, policy.market, order),
    )


def priors_of(agents: tuple[str, ...], weights: dict[str, float]) -> FloatArray:
    """Return the configured weight of each agent, 0 for one that the configuration leaves out."""
    return np.array([weights.get(agent, 0.0) for agent in agents])


def regime_scale_of(settings: AllocationSettings, regime: str) -> float:
    """Return the factor on all weights in ``regime``: 1 when off or unknown, 0 blocks entries."""
    scale = settings.ensemble.regime_scales.get(regime, 1.0)
    if settings.ensemble.regime_action == "off":
        return 1.0
    if settings.ensemble.regime_action == "block_new":
        return 1.0 if scale >= 1.0 else 0.0
    return scale


def _intents(view: View, market: Market, order: IntArray) -> tuple[OrderIntent, ...]:
    intents = [
        OrderIntent(
            intent_id=f"{market}:{view.session}:{view.boundary}:{symbol}:{side}",
            session=view.session,
            boundary=view.boundary,
            symbol=symbol,
            exchange=view.exchanges[i],
            side=side,
            quantity=abs(int(order[i])),
            limit=int(view.buy_limit[i] if side is Side.BUY else view.sell_limit[i]),
        )
        for side in (Side.SELL, Side.BUY)
        for i, symbol in enumerate(view.symbols)
        if order[i] * side.sign > 0
    ]
    return tuple(intents)
