"""Rule-based agents: moving averages, RSI, Bollinger with money flow, momentum, breakouts.

Each returns standing votes of shape ``(n_sessions, n_instruments)``: 1 since the last buy
event, -1 since the last sell event, NaN (abstain) before the first event or after a time stop.
The state machines are compiled; backtest, sweep and live call these same functions.
"""

from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from trading.domain.arrays import BoolArray, FloatArray, IntArray, SideArray
from trading.features import indicators, statistics
from trading.features.cross_section import SCORE_DECIMALS, percentile_rank
from trading.strategies.base import Agent, AgentSettings, ExitRules, Family, Inputs, Triggers


class MaCrossoverSettings(AgentSettings):
    """Long after the fast average crosses above the slow one, short after it crosses below."""

    kind: Literal["sma", "ema"] = "sma"
    fast: int = Field(default=10, ge=2)
    slow: int = Field(default=30, ge=3)

    @model_validator(mode="after")
    def _ordered(self) -> "MaCrossoverSettings":
        if self.fast >= self.slow:
            raise ValueError("fast 는 slow 보다 작아야 합니다")
        return self


class RsiSettings(AgentSettings):
    """Long after RSI comes back above ``lower``; no view after it comes back below ``upper``."""

    window: int = Field(default=14, ge=2)
    lower: float = Field(default=30.0, gt=0, lt=100)
    upper: float = Field(default=70.0, gt=0, lt=100)

    @model_validator(mode="after")
    def _ordered(self) -> "RsiSettings":
        if self.lower >= self.upper:
            raise ValueError("lower 는 upper 보다 작아야 합니다")
        return self


class BollingerMfiSettings(AgentSettings):
    """Trend following: strength in price and in money flow together.

    References
    ----------
    .. [1] Bollinger, J. (2001). "Bollinger on Bollinger Bands", method II.
    """

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


class MomentumSettings(AgentSettings):
    """Rank of the return from ``window`` to ``skip`` bars ago among the tradable names."""

    window: int = Field(default=252, ge=3)
    skip: int = Field(default=21, ge=0)
    min_names: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> "MomentumSettings":
        if self.skip >= self.window:
            raise ValueError("skip 은 window 보다 작아야 합니다")
        return self


class VolatilityBreakoutSettings(AgentSettings):
    """Buy inside the session when the price has risen by ``k`` times yesterday's range.

    Held to the next open (``exits``). Above ``whipsaw`` over the open the move is a spike that
    comes back more often than not: it is not bought. Off as shipped: a strategy that lives inside
    the bar is promoted on minutes or ticks, and daily bars have it buy at the high.

    References
    ----------
    .. [1] Williams, L. (1999). "Long-Term Secrets to Short-Term Trading", volatility breakouts.
    """

    enabled: bool = False
    k: float = Field(default=0.5, gt=0)
    whipsaw: float = Field(default=0.07, gt=0, lt=1)
    exits: ExitRules | None = ExitRules(max_sessions=1, cooldown_sessions=0)


def ma_crossover(inputs: Inputs, settings: MaCrossoverSettings) -> FloatArray:
    """Vote 1 since the fast average crossed above the slow one, -1 since it crossed below."""
    bars = inputs.bars
    average = indicators.sma if settings.kind == "sma" else indicators.ema
    gap = average(bars, settings.fast) / average(bars, settings.slow) - 1.0
    votes: FloatArray = crossing_votes(_rounded(gap), bars.valid)
    return votes


def rsi(inputs: Inputs, settings: RsiSettings) -> FloatArray:
    """Vote 1 since RSI came back above ``lower``, 0 since it came back below ``upper``.

    The upper crossing ends a view, it is not the opposite one (docs/adr/0008).
    """
    bars = inputs.bars
    index = _rounded(indicators.rsi(bars, settings.window))
    votes: FloatArray = recross_votes(index, bars.valid, settings.lower, settings.upper)
    return votes


def bollinger_mfi(inputs: Inputs, settings: BollingerMfiSettings) -> FloatArray:
    """Vote 1 since price and money flow were both strong, 0 since both were weak.

    Edge-triggered: strength counts on the bar on which it begins. A view older than
    ``time_stop`` own bars ends.
    """
    bars = inputs.bars
    votes: FloatArray = strength_votes(
        _rounded(indicators.percent_b(bars, settings.window, settings.width)),
        _rounded(indicators.mfi(bars, settings.mfi_window)),
        bars.valid,
        settings.enter_b,
        settings.enter_mfi,
        settings.leave_b,
        settings.leave_mfi,
        settings.time_stop,
    )
    return votes


def momentum(inputs: Inputs, settings: MomentumSettings) -> FloatArray:
    """Vote by the rank of the 12-1 momentum, from -1 (worst) to 1 (best).

    Abstains with fewer than ``min_names`` ranked names.
    """
    bars = inputs.bars
    score = statistics.momentum(bars, settings.window, settings.skip)
    rank = percentile_rank(score, bars.tradable, min_names=settings.min_names)
    return _rounded(2.0 * rank - 1.0)


def volatility_breakout(inputs: Inputs, settings: VolatilityBreakoutSettings) -> FloatArray:
    """Abstain: a breakout is no standing view, see ``breakout_triggers``."""
    return np.full(inputs.bars.shape, np.nan)


def breakout_triggers(inputs: Inputs, settings: VolatilityBreakoutSettings) -> Triggers:
    """Return where each name's next session must break out, and what this session's breakout earned.

    A trigger above ``whipsaw`` over the last close is no trigger: it could only fire on a spike.
    The outcome is from the trigger to the close; a session whose high went beyond ``whipsaw``
    over its open is counted like any other that touched the trigger, since the entry came first.
    """
    bars = inputs.bars
    width = bars.line("range", lambda column: (column.high - column.low) / column.close)
    distance = _rounded(settings.k * width)
    waits = bars.tradable & np.isfinite(distance) & (distance > 0) & (distance < settings.whipsaw)
    distance = np.where(waits, distance, np.nan)
    panel = bars.panel
    outcome = np.full(bars.shape, np.nan)
    close = bars.close()
    trigger = panel.open[1:] + distance[:-1] * close[:-1]
    touched = panel.tradable[1:] & (panel.high[1:] >= trigger)
    outcome[1:] = np.where(touched, panel.close[1:] / trigger - 1.0, np.nan)
    return Triggers(distance=distance, outcome=outcome, ceiling=settings.whipsaw)


def _rounded(values: FloatArray) -> FloatArray:
    return np.round(values, SCORE_DECIMALS)


@njit(cache=True)
def crossing_votes(gap: FloatArray, valid: BoolArray) -> FloatArray:
    """Vote the sign of ``gap`` since it last changed sides; touching 0 is no crossing."""
    n, m = gap.shape
    votes = np.full((n, m), np.nan)
    for i in range(m):
        side = 0.0
        vote = np.nan
        for t in range(n):
            if valid[t, i] and not np.isnan(gap[t, i]) and gap[t, i] != 0.0:
                now = 1.0 if gap[t, i] > 0.0 else -1.0
                if side != 0.0 and now != side:
                    vote = now
                side = now
            votes[t, i] = vote
    return votes


@njit(cache=True)
def running_sums(close: IntArray) -> FloatArray:
    """Return ``(n_bars + 1,)`` totals of integer prices; exact, as they stay below 2^53."""
    sums = np.empty(close.shape[0] + 1)
    sums[0] = 0.0
    for t in range(close.shape[0]):
        sums[t + 1] = sums[t] + close[t]
    return sums


@njit(cache=True)
def average_sides(sums: FloatArray, fast: int, slow: int, side: SideArray) -> None:
    """Write 1 while the fast average of one series is above the slow one, -1 while it is below.

    0 where they are equal, and before there are ``slow`` bars. Sums of integers are compared
    across, so that no rounding decides. No crossing is waited for, unlike ``crossing_votes``.
    """
    first = min(slow - 1, side.shape[0])
    side[:first] = 0
    known = side[first:]
    end, fast_start = sums[slow:], sums[slow - fast :]
    for t in range(known.shape[0]):
        above = (end[t] - fast_start[t]) * float(slow) - (end[t] - sums[t]) * float(fast)
        known[t] = np.int8(above > 0.0) - np.int8(above < 0.0)


@njit(cache=True)
def recross_votes(index: FloatArray, valid: BoolArray, lower: float, upper: float) -> FloatArray:
    """Vote 1 since ``index`` left the zone below ``lower`` upwards, 0 since it fell from above."""
    n, m = index.shape
    votes = np.full((n, m), np.nan)
    for i in range(m):
        previous = np.nan
        vote = np.nan
        for t in range(n):
            if valid[t, i] and not np.isnan(index[t, i]):
                now = index[t, i]
                if previous < lower and now >= lower:
                    vote = 1.0
                elif previous > upper and now <= upper:
                    vote = 0.0
                previous = now
            votes[t, i] = vote
    return votes


@njit(cache=True)
def strength_votes(
    percent_b: FloatArray,
    flow: FloatArray,
    valid: BoolArray,
    enter_b: float,
    enter_flow: float,
    leave_b: float,
    leave_flow: float,
    time_stop: int,
) -> FloatArray:
    """Vote 1 since both measures rose above their entry levels, 0 since both fell below."""
    n, m = percent_b.shape
    votes = np.full((n, m), np.nan)
    for i in range(m):
        was_strong = True
        was_weak = True
        vote = np.nan
        age = 0
        for t in range(n):
            if valid[t, i] and not np.isnan(percent_b[t, i]) and not np.isnan(flow[t, i]):
                strong = percent_b[t, i] > enter_b and flow[t, i] > enter_flow
                weak = percent_b[t, i] < leave_b and flow[t, i] < leave_flow
                age += 1
                if strong and not was_strong:
                    vote = 1.0
                    age = 0
                elif weak and not was_weak:
                    vote = 0.0
                    age = 0
                elif vote > 0.0 and age >= time_stop:
                    vote = 0.0
                was_strong = strong
                was_weak = weak
            votes[t, i] = vote
    return votes


AGENTS = (
    Agent(
        name="ma_crossover",
        family=Family.TECHNICAL,
        settings=MaCrossoverSettings,
        votes=ma_crossover,
    ),
    Agent(name="rsi", family=Family.TECHNICAL, settings=RsiSettings, votes=rsi),
    Agent(
        name="bollinger_mfi",
        family=Family.TECHNICAL,
        settings=BollingerMfiSettings,
        votes=bollinger_mfi,
    ),
    Agent(name="momentum", family=Family.TECHNICAL, settings=MomentumSettings, votes=momentum),
    Agent(
        name="volatility_breakout",
        family=Family.TECHNICAL,
        settings=VolatilityBreakoutSettings,
        votes=volatility_breakout,
        triggers=breakout_triggers,
    ),
)
