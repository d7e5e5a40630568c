"""Settings of all strategies and the shape of what they say.

The rules are in ``technical`` and ``learned``, the screen in ``screener``, the whole day's
view in ``evaluation``; how votes become a forecast is ``ensemble``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Market


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MaCrossoverSettings(_Settings):
    """Long after the fast average crosses above the slow one, short after it crosses below."""

    enabled: bool = True
    kind: Literal["sma", "ema"] = "sma"
    fast: int = Field(default=10, ge=2)
    slow: int = Field(default=30, ge=3)

    @model_validator(mode="after")
    def _ordered(self) -> "MaCrossoverSettings":
        if self.fast >= self.slow:
            raise ValueError("fast 는 slow 보다 작아야 합니다")
        return self


class RsiSettings(_Settings):
    """Long after RSI comes back above ``lower``, short after it comes back below ``upper``."""

    enabled: bool = True
    window: int = Field(default=14, ge=2)
    lower: float = Field(default=30.0, gt=0, lt=100)
    upper: float = Field(default=70.0, gt=0, lt=100)

    @model_validator(mode="after")
    def _ordered(self) -> "RsiSettings":
        if self.lower >= self.upper:
            raise ValueError("lower 는 upper 보다 작아야 합니다")
        return self


class BollingerMfiSettings(_Settings):
    """Trend following: strength in price and in money flow together.

    References
    ----------
    .. [1] Bollinger, J. (2001). "Bollinger on Bollinger Bands", method II.
    """

    enabled: bool = True
    window: int = Field(default=20, ge=2)
    width: float = Field(default=2.0, gt=0)
    mfi_window: int = Field(default=10, ge=2)
    enter_b: float = 0.8
    enter_mfi: float = Field(default=80.0, ge=0, le=100)
    leave_b: float = 0.2
    leave_mfi: float = Field(default=20.0, ge=0, le=100)
    time_stop: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "BollingerMfiSettings":
        if self.leave_b >= self.enter_b or self.leave_mfi >= self.enter_mfi:
            raise ValueError("leave_* 는 enter_* 보다 작아야 합니다")
        return self


class MomentumSettings(_Settings):
    """Rank of the return from ``window`` to ``skip`` bars ago among the tradable names."""

    enabled: bool = True
    window: int = Field(default=252, ge=3)
    skip: int = Field(default=21, ge=0)
    min_names: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> "MomentumSettings":
        if self.skip >= self.window:
            raise ValueError("skip 은 window 보다 작아야 합니다")
        return self


class ForestVoteSettings(_Settings):
    """The champion forest's forecast as a vote; see ``models.base.view``."""

    enabled: bool = True


class ConfidenceSettings(_Settings):
    """How an agent's hit rate is measured."""

    horizon_sessions: int = Field(default=20, ge=1)
    prior_outcomes: float = Field(default=20.0, gt=0)


class ScreenSettings(_Settings):
    """The daily screen of one market; prices and values in units of its currency."""

    min_price: float = Field(ge=0)
    min_bars: int = Field(ge=1)
    value_sessions: int = Field(ge=1)
    min_value: float = Field(ge=0)
    leaders: int = Field(ge=0)
    momentum_window: int = Field(default=252, ge=3)
    momentum_skip: int = Field(default=21, ge=0)
    top: int = Field(ge=0)
    min_names: int = Field(default=5, ge=2)


_SCREENS = {
    Market.US: ScreenSettings(
        min_price=5.0, min_bars=60, value_sessions=20, min_value=1e6, leaders=0, top=0
    ),
    Market.KRX: ScreenSettings(
        min_price=1000.0, min_bars=60, value_sessions=20, min_value=1e9, leaders=200, top=40
    ),
}


class StrategySettings(_Settings):
    """All strategies and screens; commented in ``config/strategies.yaml``."""

    ma_crossover: MaCrossoverSettings = MaCrossoverSettings()
    rsi: RsiSettings = RsiSettings()
    bollinger_mfi: BollingerMfiSettings = BollingerMfiSettings()
    momentum: MomentumSettings = MomentumSettings()
    forest: ForestVoteSettings = ForestVoteSettings()
    confidence: ConfidenceSettings = ConfidenceSettings()
    screener: Mapping[Market, ScreenSettings] = _SCREENS

    @model_validator(mode="after")
    def _every_market(self) -> "StrategySettings":
        if missing := [market.value for market in Market if market not in self.screener]:
            raise ValueError(f"screener 에 시장이 없습니다: {', '.join(missing)}")
        return self

    def enabled(self) -> tuple[str, ...]:
        """Return the names of the agents that vote, in the order of their columns."""
        return tuple(name for name in AGENTS if getattr(self, name).enabled)


AGENTS = ("ma_crossover", "rsi", "bollinger_mfi", "momentum", "forest")
"""Every agent, in the order of their columns."""


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
    volatility : ndarray of shape (n_sessions, n_instruments)
        Daily realized volatility, as a fraction; NaN during warm-up.
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple close-to-close returns; 0 over a halt, NaN before the second bar.
    screened : ndarray of shape (n_sessions, n_instruments)
        Names that may be bought.
    screen_reason : ndarray of shape (n_sessions, n_instruments)
        ``screener.ScreenReason`` of each name.
    regime : ndarray of shape (n_sessions,)
        Index into ``regime_names``, whose last is ``unknown``.
    regime_from_index : ndarray of shape (n_sessions,)
        Whether the market's return came from the recorded index, not from the universe.
    """

    agents: tuple[str, ...]
    votes: FloatArray
    confidence: FloatArray
    volatility: FloatArray
    returns: FloatArray
    screened: BoolArray
    screen_reason: IntArray
    regime: IntArray
    regime_names: tuple[str, ...]
    regime_from_index: BoolArray
    first_bar: date
