"""What a strategy is: its settings, what it may look at, what it says.

A strategy is one module of this package with a tuple ``AGENTS``, found by ``catalog``; the rules
are in ``technical``, ``statistical``, ``factor`` and ``learned``, the screen in ``screener``, the
whole day's view in ``evaluation``; how votes become a forecast is ``ensemble``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.models.base import Model

Distance = Annotated[float, Field(gt=0.0, lt=1.0)]
Multiple = Annotated[float, Field(gt=0.0)]


class StrictSettings(BaseModel):
    """Settings that never change and know no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExitRules(StrictSettings):
    """When a holding is sold without a decision; ``None`` switches a rule off.

    Fractions count from the average purchase price (``trailing_*`` from the highest price since
    entry), ``*_atr`` are multiples of the average true range at entry. Of a fraction and a
    multiple of the same rule the nearer one counts. ``max_sessions`` sells at the open after so
    many sessions; ``cooldown_sessions`` keeps a name that was sold by a rule from being bought.
    """

    stop_loss: Distance | None = None
    stop_atr: Multiple | None = None
    trailing_stop: Distance | None = None
    trailing_atr: Multiple | None = None
    take_profit: Multiple | None = None
    profit_atr: Multiple | None = None
    max_sessions: Annotated[int, Field(ge=1)] | None = None
    cooldown_sessions: Annotated[int, Field(ge=0)] = 0


class AgentSettings(StrictSettings):
    """What every strategy has in its block of ``strategies.yaml``.

    ``weight`` is the prior weight of its votes in the ensemble, 0 counts for nothing. ``exits``
    replaces the exit rules of ``execution.yaml`` for what this strategy led into.
    """

    enabled: bool = True
    weight: float = Field(default=1.0, ge=0.0)
    exits: ExitRules | None = None


class Family(StrEnum):
    """Which kind of argument a strategy makes."""

    TECHNICAL = "technical"
    STATISTICAL = "statistical"
    FACTOR = "factor"
    FORECASTER = "forecaster"
    REINFORCEMENT = "reinforcement"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """What a strategy may look at: bars and facts, feature windows, champions by agent name."""

    bars: Bars
    features: FeatureSettings
    models: Mapping[str, Model] = field(default_factory=dict)

    @property
    def sessions(self) -> DateArray:
        """The dates of the rows."""
        return self.bars.panel.sessions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triggers:
    """Entries that wait inside a session for a price; arrays ``(n_sessions, n_instruments)``.

    Attributes
    ----------
    distance : ndarray
        How far above the open of the **next** session the price must rise, as a fraction of this
        row's close; NaN where there is nothing to wait for.
    outcome : ndarray
        What the entry that this session gave earned from its trigger to this session's close,
        as a fraction; NaN where none was given. The record that calibrates its confidence.
    ceiling : float
        A price further above the open than this fraction is a spike that is not bought.
    """

    distance: FloatArray
    outcome: FloatArray
    ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One voter.

    ``votes`` returns standing views in [-1, 1] of shape ``(n_sessions, n_instruments)``, NaN
    abstains; row ``t`` knows rows up to ``t`` only. ``triggers`` is for strategies that enter
    inside a session: they have no standing view. Both take ``(Inputs, settings)``.
    """

    name: str
    family: Family
    settings: type[AgentSettings]
    votes: Callable[[Inputs, Any], FloatArray]
    triggers: Callable[[Inputs, Any], Triggers] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What the agents say about every session of a panel; row ``t`` knows rows up to ``t``.

    Attributes
    ----------
    agents : tuple of str
        Names of the ``K`` agents.
    votes : ndarray of shape (n_sessions, K, n_instruments)
        Standing views in [-1, 1]; NaN abstains.
    confidence : ndarray of shape (n_sessions, K, n_instruments)
        Calibrated hit rate of views of this sign, in (0, 1); 0.5 where the agent abstains.
    weights : ndarray of shape (n_sessions, K)
        Weight of each agent: its prior times what its closed views earned it.
    triggers : ndarray of shape (n_sessions, K, n_instruments)
        How far above the next open an agent's entry waits, as a fraction of the close; NaN none.
    trigger_confidence : ndarray of shape (n_sessions, K)
        Calibrated hit rate of each agent's waiting entries.
    ceilings : ndarray of shape (K,)
        How far above the open, as a fraction, an agent still buys; 0 for standing views.
    volatility : ndarray of shape (n_sessions, n_instruments)
        Daily realized volatility, as a fraction; NaN during warm-up.
    atr : ndarray of shape (n_sessions, n_instruments)
        Average true range as a fraction of the close; NaN during warm-up.
    expected, expected_error : ndarray of shape (n_sessions, n_instruments)
        Daily excess return to expect from the standing views, and its standard error; NaN while
        the record is too short.
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple close-to-close returns; 0 over a halt, NaN before the second bar.
    screened : ndarray of shape (n_sessions, n_instruments)
        Names that may be bought.
    screen_reason : ndarray of shape (n_sessions, n_instruments)
        ``screener.ScreenReason`` of each name.
    sectors : ndarray of shape (n_sessions, n_instruments)
        Sector codes, -1 unknown.
    market_values : ndarray of shape (n_sessions, n_instruments)
        Market value of all shares as listed within the last month; NaN where it was not.
    regime : ndarray of shape (n_sessions,)
        Index into ``regime_names``, whose last is ``unknown``.
    regime_from_index : ndarray of shape (n_sessions,)
        Whether the market's return came from the recorded index, not from the universe.
    """

    agents: tuple[str, ...]
    votes: FloatArray
    confidence: FloatArray
    weights: FloatArray
    triggers: FloatArray
    trigger_confidence: FloatArray
    ceilings: FloatArray
    volatility: FloatArray
    atr: FloatArray
    expected: FloatArray
    expected_error: FloatArray
    returns: FloatArray
    screened: BoolArray
    screen_reason: IntArray
    sectors: IntArray
    market_values: FloatArray
    regime: IntArray
    regime_names: tuple[str, ...]
    regime_from_index: BoolArray
    first_bar: date
