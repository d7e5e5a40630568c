"""Which strategies there are, and the settings of all of them: ``config/strategies.yaml``.

Every module of this package with a tuple ``AGENTS`` takes part; its blocks in the file are read
with the settings class that each agent names. A new strategy is one module and one block.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model, model_validator

import trading.strategies
from trading.domain.instrument import Market
from trading.errors import ConfigError
from trading.strategies.base import Agent, AgentSettings, ExitRules, Family, StrictSettings
from trading.strategies.premarket import PremarketSettings
from trading.strategies.screener import DEFAULT_SCREENS, ScreenSettings

# They read this module, or have nothing that votes.
_NO_STRATEGIES = frozenset({"base", "calibration", "catalog", "evaluation"})


class ConfidenceSettings(StrictSettings):
    """How an agent's hit rate is measured."""

    horizon_sessions: int = Field(default=20, ge=1)
    prior_outcomes: float = Field(default=60.0, gt=0)


class AdaptationSettings(StrictSettings):
    """How the weights of the agents follow what their closed views earned."""

    enabled: bool = True
    min_closed: int = Field(default=120, ge=2)
    shrink_closed: float = Field(default=240.0, gt=0)
    full_score: float = Field(default=0.25, gt=0)
    least: float = Field(default=0.5, gt=0, le=1)
    most: float = Field(default=2.0, ge=1)


class _Common(StrictSettings):
    """All strategies and screens; commented in ``config/strategies.yaml``."""

    confidence: ConfidenceSettings = ConfidenceSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    screener: Mapping[Market, ScreenSettings] = DEFAULT_SCREENS
    premarket: PremarketSettings = PremarketSettings()

    @model_validator(mode="after")
    def _every_market(self) -> "_Common":
        if missing := [market.value for market in Market if market not in self.screener]:
            raise ValueError(f"screener 에 시장이 없습니다: {', '.join(missing)}")
        return self

    def of(self, name: str) -> AgentSettings:
        """Return the block of one agent."""
        settings: AgentSettings = getattr(self, name)
        return settings

    def enabled(self) -> tuple[str, ...]:
        """Return the names of the agents that vote, in the order of their columns."""
        return tuple(name for name in AGENTS if self.of(name).enabled)

    def exits(self) -> dict[str, ExitRules]:
        """Return the exit rules of the agents that have their own."""
        own = {name: self.of(name).exits for name in AGENTS}
        return {name: rules for name, rules in own.items() if rules is not None}


def find_agents() -> dict[str, Agent]:
    """Return every agent of the package by its name, in the order of their columns.

    Raises
    ------
    ConfigError
        If a module cannot be read, or its agents cannot have the names they want.
    """
    agents: list[Agent] = []
    for module in pkgutil.iter_modules(trading.strategies.__path__):
        if module.name not in _NO_STRATEGIES:
            agents += _agents_of(module.name)
    order = list(Family)
    agents.sort(key=lambda agent: (order.index(agent.family), agent.name))
    names = [agent.name for agent in agents]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"전략의 이름이 겹칩니다: {', '.join(twice)}")
    if wrong := [name for name in names if not _is_free(name)]:
        raise ConfigError(f"전략의 이름으로 쓸 수 없습니다: {', '.join(wrong)}")
    return {agent.name: agent for agent in agents}


def _agents_of(module: str) -> tuple[Agent, ...]:
    try:
        loaded = importlib.import_module(f"{trading.strategies.__name__}.{module}")
    except Exception as error:
        # Whatever a strategy's file does wrong, the user is told which file it is.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"전략 파일 {module}.py 를 읽지 못했습니다: {reason}") from error
    agents = getattr(loaded, "AGENTS", ())
    if not isinstance(agents, tuple) or not all(isinstance(one, Agent) for one in agents):
        raise ConfigError(f"전략 파일 {module}.py 의 AGENTS 는 Agent 의 튜플이어야 합니다.")
    return agents


def _is_free(name: str) -> bool:
    """Whether a block of ``strategies.yaml`` can have this name."""
    taken = name in _Common.model_fields or hasattr(_Common, name)
    return name.isidentifier() and not name.startswith("_") and not taken


AGENTS: Mapping[str, Agent] = find_agents()
"""Every agent by its name, in the order of their columns."""

if TYPE_CHECKING:
    StrategySettings = _Common
else:
    _blocks: dict[str, Any] = {
        name: (agent.settings, agent.settings()) for name, agent in AGENTS.items()
    }
    StrategySettings = create_model(
        "StrategySettings", __base__=_Common, __doc__=_Common.__doc__, **_blocks
    )
