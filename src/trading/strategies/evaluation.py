"""Everything the agents say about a panel, evaluated once for all its sessions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from trading.strategies.base import AgentSettings, Evaluation, Family, Inputs
from trading.strategies.catalog import AGENTS, ConfidenceSettings, StrategySettings
from trading.strategies.screener import Screen, ScreenSettings, screen

# Days after which a listed market value says too little of the day.
_LISTED_WITHIN = 31
# Of the lines that agents asked for, so many bytes are kept for the next set of parameters.
_LINE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Research:
    """An evaluation with what it was made from, for analysis and reports."""

    evaluation: Evaluation
    bars: Bars
    screen: Screen
    regimes: Regimes
    records: tuple[calibration.Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Voice:
    """What one agent says in each session, and how it is believed; see ``Evaluation``."""

    asked: tuple[AgentSettings, ConfidenceSettings]
    votes: FloatArray
    confidence: FloatArray
    triggers: FloatArray | None
    trigger_confidence: FloatArray | float
    ceiling: float
    record: calibration.Record


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What of an evaluation no agent changes, made once for many sets of their parameters.

    The last voice of each agent is remembered: a set that changes one of them asks only that one.
    """

    features: FeatureSettings
    bars: Bars
    models: Mapping[str, Model]
    screen: Screen
    regimes: Regimes
    volatility: FloatArray
    atr: FloatArray
    returns: FloatArray
    market_values: FloatArray
    voices: dict[str, _Voice] = field(default_factory=dict)

    def taught(self, models: Mapping[str, Model]) -> "Ground":
        """Return the same ground with other champions; what the other agents say is remembered."""
        asked = self.models.keys() | models.keys()
        others = {name: voice for name, voice in self.voices.items() if name not in asked}
        return replace(self, models=models, voices=others)


def evaluate(
    panel: AdjustedPanel,
    raw: RawPanel,
    *,
    features: FeatureSettings,
    strategies: StrategySettings,
    facts: Facts | None = None,
    models: Mapping[str, Model] | None = None,
    agents: Sequence[str] | None = None,
    exchanges: Collection[Exchange] = tuple(Exchange),
    standing: IntArray | None = None,
    first_row: int = 0,
) -> Research:
    """Return votes, confidence, screen and regimes of every session, and what they were made from.

    ``vote`` on the ground that ``survey`` finds; parameters and errors are theirs.
    """
    ground = survey(
        panel,
        raw,
        features=features,
        screening=strategies.screener[panel.market],
        facts=facts,
        models=models,
        exchanges=exchanges,
        standing=standing,
        first_row=first_row,
    )
    return vote(ground, strategies, agents)


def survey(
    panel: AdjustedPanel,
    raw: RawPanel,
    *,
    features: FeatureSettings,
    screening: ScreenSettings,
    facts: Facts | None = None,
    models: Mapping[str, Model] | None = None,
    exchanges: Collection[Exchange] = tuple(Exchange),
    standing: IntArray | None = None,
    first_row: int = 0,
) -> Ground:
    """Return what can be said of every session before any agent is heard.

    Parameters
    ----------
    panel : AdjustedPanel
        Its first row is part of the policy; what follows row ``t`` never changes row ``t``.
    raw : RawPanel
        The same instruments from the same first session; it may be longer.
    facts : Facts, optional
        Sectors and fundamentals of the panel's rows; nothing is known without them.
    models : mapping of str to Model, optional
        The champion of each family, by the family's name; the agent of one without abstains.
    exchanges : collection of Exchange, optional
        Listings that the screen lets through; all when not named.
    standing : ndarray of shape (n_sessions, n_instruments), optional
        What the exchange says of each name, ``screener.Standing``.
    first_row : int, default=0
        Regimes are estimated from this row on only. A row's values do not depend on it.
    """
    bars = Bars(panel, facts)
    return Ground(
        features=features,
        bars=bars,
        models=models or {},
        screen=screen(
            bars,
            raw,
            screening,
            factors=factors.scores(bars, features.factors),
            exchanges=exchanges,
            standing=standing,
        ),
        regimes=regimes.estimate(panel, features.regime, first_row=first_row),
        volatility=statistics.realized_volatility(bars, features.volatility_long_window),
        atr=indicators.atr_ratio(bars, features.atr_window),
        returns=statistics.session_returns(bars),
        market_values=_market_values(bars),
    )


def vote(
    ground: Ground, strategies: StrategySettings, agents: Sequence[str] | None = None
) -> Research:
    """Return what ``agents`` say on ``ground``, those enabled in ``strategies`` when not named.

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
    bars, panel, regime = ground.bars, ground.bars.panel, ground.regimes
    n, m = bars.shape
    votes = np.full((n, len(names), m), np.nan)
    confidence = np.full((n, len(names), m), 0.5)
    triggers = np.full((n, len(names), m), np.nan)
    trigger_confidence = np.full((n, len(names)), 0.5)
    ceilings = np.zeros(len(names))
    records = []
    for k, name in enumerate(names):
        voice = _voice(ground, name, strategies)
        votes[:, k], confidence[:, k] = voice.votes, voice.confidence
        trigger_confidence[:, k], ceilings[k] = voice.trigger_confidence, voice.ceiling
        if voice.triggers is not None:
            triggers[:, k] = voice.triggers
        records.append(voice.record)
    weights = calibration.agent_weights(
        np.array([strategies.of(name).weight for name in names], dtype=np.float64),
        records,
        strategies.adaptation,
    )
    expected, expected_error = calibration.expected_returns(
        votes, confidence, weights, bars, strategies.confidence
    )
    evaluation = Evaluation(
        agents=names,
        votes=votes,
        confidence=confidence,
        weights=weights,
        triggers=triggers,
        trigger_confidence=trigger_confidence,
        ceilings=ceilings,
        volatility=ground.volatility,
        atr=ground.atr,
        expected=expected,
        expected_error=expected_error,
        returns=ground.returns,
        screened=ground.screen.selected,
        screen_reason=ground.screen.reason,
        sectors=bars.facts.sectors,
        market_values=ground.market_values,
        regime=np.where(regime.state == regimes.UNKNOWN, len(regime.names), regime.state),
        regime_names=(*regime.names, "unknown"),
        regime_from_index=regime.from_index,
        first_bar=panel.sessions[0].item(),
    )
    bars.forget(_LINE_BYTES)
    return Research(
        evaluation=evaluation,
        bars=bars,
        screen=ground.screen,
        regimes=regime,
        records=tuple(records),
    )


def _voice(ground: Ground, name: str, strategies: StrategySettings) -> _Voice:
    """Return what one agent says, asked again only when its settings are others than before."""
    agent, settings, believed = AGENTS[name], strategies.of(name), strategies.confidence
    # Whether it counts, how much, and when its holdings are sold is no part of what it says.
    asked = (settings.model_copy(update={"enabled": True, "weight": 1.0, "exits": None}), believed)
    known = ground.voices.get(name)
    if known is not None and known.asked == asked:
        return known
    bars, models = ground.bars, ground.models
    inputs = Inputs(bars=bars, features=ground.features, models=models)
    votes = _checked(name, agent.votes(inputs, settings), bars.shape, within=1.0)
    waits = agent.triggers(inputs, settings) if agent.triggers is not None else None
    voice = ground.voices[name] = _Voice(
        asked=asked,
        votes=votes,
        confidence=calibration.hit_rate(
            votes,
            bars,
            believed,
            card=models[name].card if name in models else None,
            is_learned=agent.family in (Family.FORECASTER, Family.REINFORCEMENT),
        ),
        triggers=None
        if waits is None
        else _checked(name, waits.distance, bars.shape, within=np.inf),
        trigger_confidence=0.5 if waits is None else calibration.trigger_rate(waits, believed),
        ceiling=0.0 if waits is None else waits.ceiling,
        record=calibration.closed_views(votes, bars, waits),
    )
    return voice


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
