"""Everything the agents say about a panel, evaluated once for all its sessions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Exchange
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.errors import ConfigError, UsageError
from trading.features import factors, indicators, regimes, statistics
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.features.regimes import Regimes
from trading.models.base import Model
from trading.strategies import calibration
from trading.strategies.base import Evaluation, Inputs
from trading.strategies.catalog import AGENTS, StrategySettings
from trading.strategies.screener import Screen, screen

# Days after which a listed market value says too little of the day.
_LISTED_WITHIN = 31


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Research:
    """An evaluation with what it was made from, for analysis and reports."""

    evaluation: Evaluation
    bars: Bars
    screen: Screen
    regimes: Regimes
    records: tuple[calibration.Record, ...]


def evaluate(
    panel: AdjustedPanel,
    raw: RawPanel,
    *,
    features: FeatureSettings,
    strategies: StrategySettings,
    facts: Facts | None = None,
    model: Model | None = None,
    agents: Sequence[str] | None = None,
    exchanges: Collection[Exchange] = tuple(Exchange),
    standing: IntArray | None = None,
    first_row: int = 0,
) -> Research:
    """Return votes, confidence, screen and regimes of every session, and what they were made from.

    Parameters
    ----------
    panel : AdjustedPanel
        Its first row is part of the policy; what follows row ``t`` never changes row ``t``.
    raw : RawPanel
        The same instruments from the same first session; it may be longer.
    facts : Facts, optional
        Sectors and fundamentals of the panel's rows; nothing is known without them.
    model : Model, optional
        The champion; without one the agent of its name abstains.
    agents : sequence of str, optional
        Who votes; those enabled in ``strategies`` when not named.
    exchanges : collection of Exchange, optional
        Listings that the screen lets through; all when not named.
    standing : ndarray of shape (n_sessions, n_instruments), optional
        What the exchange says of each name, ``screener.Standing``.
    first_row : int, default=0
        Regimes are estimated from this row on only. A row's values do not depend on it.

    Raises
    ------
    UsageError
        If an agent is unknown.
    ConfigError
        If a strategy returns views of another shape, or beyond 1.
    """
    names = tuple(agents) if agents is not None else strategies.enabled()
    if unknown := [name for name in names if name not in AGENTS]:
        raise UsageError(f"없는 전략: {', '.join(unknown)} (가능: {', '.join(AGENTS)})")
    bars = Bars(panel, facts)
    n, m = bars.shape
    # A model is registered as agent-market.
    models = {model.card.name.partition("-")[0]: model} if model is not None else {}
    inputs = Inputs(bars=bars, features=features, models=models)
    votes = np.full((n, len(names), m), np.nan)
    confidence = np.full((n, len(names), m), 0.5)
    triggers = np.full((n, len(names), m), np.nan)
    trigger_confidence = np.full((n, len(names)), 0.5)
    ceilings = np.zeros(len(names))
    records = []
    for k, name in enumerate(names):
        agent, settings = AGENTS[name], strategies.of(name)
        votes[:, k] = _checked(name, agent.votes(inputs, settings), (n, m), within=1.0)
        card = models[name].card if name in models else None
        confidence[:, k] = calibration.hit_rate(votes[:, k], bars, strategies.confidence, card=card)
        waits = agent.triggers(inputs, settings) if agent.triggers is not None else None
        if waits is not None:
            triggers[:, k] = _checked(name, waits.distance, (n, m), within=np.inf)
            trigger_confidence[:, k] = calibration.trigger_rate(waits, strategies.confidence)
            ceilings[k] = waits.ceiling
        records.append(calibration.closed_views(votes[:, k], bars, waits))
    weights = calibration.agent_weights(
        np.array([strategies.of(name).weight for name in names], dtype=np.float64),
        records,
        strategies.adaptation,
    )
    expected, expected_error = calibration.expected_returns(
        votes, confidence, weights, bars, strategies.confidence
    )
    chosen = screen(
        bars,
        raw,
        strategies.screener[panel.market],
        factors=factors.scores(bars, features.factors),
        exchanges=exchanges,
        standing=standing,
    )
    regime = regimes.estimate(panel, features.regime, first_row=first_row)
    evaluation = Evaluation(
        agents=names,
        votes=votes,
        confidence=confidence,
        weights=weights,
        triggers=triggers,
        trigger_confidence=trigger_confidence,
        ceilings=ceilings,
        volatility=statistics.realized_volatility(bars, features.volatility_long_window),
        atr=indicators.atr_ratio(bars, features.atr_window),
        expected=expected,
        expected_error=expected_error,
        returns=statistics.session_returns(bars),
        screened=chosen.selected,
        screen_reason=chosen.reason,
        sectors=bars.facts.sectors,
        market_values=_market_values(bars),
        regime=np.where(regime.state == regimes.UNKNOWN, len(regime.names), regime.state),
        regime_names=(*regime.names, "unknown"),
        regime_from_index=regime.from_index,
        first_bar=panel.sessions[0].item(),
    )
    return Research(
        evaluation=evaluation,
        bars=bars,
        screen=chosen,
        regimes=regime,
        records=tuple(records),
    )


def _checked(name: str, values: FloatArray, shape: tuple[int, int], *, within: float) -> FloatArray:
    """Return what a strategy said; one that breaks its promise would move what others say."""
    if values.shape != shape:
        raise ConfigError(f"전략 {name} 의 값은 모양이 {shape}이어야 합니다: {values.shape}")
    if (wrong := values[np.abs(values) > within]).size:
        raise ConfigError(f"전략 {name} 의 의견은 -1에서 1까지여야 합니다: {wrong[0]:g}")
    return values


def _market_values(bars: Bars) -> FloatArray:
    """Return market values that were listed within ``_LISTED_WITHIN`` days of each session."""
    value = bars.facts.fundamentals.get("market_value")
    as_of = bars.facts.fundamentals.get("market_value_as_of")
    if value is None or as_of is None:
        return np.broadcast_to(np.full(1, np.nan), bars.shape)
    today = bars.panel.sessions.astype("datetime64[D]").astype(np.int64)[:, None]
    return np.where(today - as_of <= _LISTED_WITHIN, value, np.nan)
