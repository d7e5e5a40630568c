"""Rule-based agents: moving averages, RSI, Bollinger with money flow, momentum.

Each returns standing votes of shape ``(n_sessions, n_instruments)``: 1 since the last buy
event, -1 since the last sell event, NaN (abstain) before the first event or after a time stop.
The state machines are compiled; backtest, sweep and live call these same functions.
"""

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray
from trading.features import indicators, statistics
from trading.features.cross_section import SCORE_DECIMALS, percentile_rank
from trading.features.indicators import Bars
from trading.strategies.base import (
    BollingerMfiSettings,
    MaCrossoverSettings,
    MomentumSettings,
    RsiSettings,
)


def ma_crossover(bars: Bars, settings: MaCrossoverSettings) -> FloatArray:
    """Vote 1 since the fast average crossed above the slow one, -1 since it crossed below."""
    average = indicators.sma if settings.kind == "sma" else indicators.ema
    gap = average(bars, settings.fast) / average(bars, settings.slow) - 1.0
    votes: FloatArray = crossing_votes(_rounded(gap), bars.valid)
    return votes


def rsi(bars: Bars, settings: RsiSettings) -> FloatArray:
    """Vote 1 since RSI came back above ``lower``, 0 since it came back below ``upper``.

    The upper crossing ends a view, it is not the opposite one (docs/adr/0008).
    """
    index = _rounded(indicators.rsi(bars, settings.window))
    votes: FloatArray = recross_votes(index, bars.valid, settings.lower, settings.upper)
    return votes


def bollinger_mfi(bars: Bars, settings: BollingerMfiSettings) -> FloatArray:
    """Vote 1 since price and money flow were both strong, 0 since both were weak.

    Edge-triggered: strength counts on the bar on which it begins. A view older than
    ``time_stop`` own bars ends.
    """
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


def momentum(bars: Bars, settings: MomentumSettings) -> FloatArray:
    """Vote by the rank of the 12-1 momentum, from -1 (worst) to 1 (best).

    Abstains with fewer than ``min_names`` ranked names.
    """
    score = statistics.momentum(bars, settings.window, settings.skip)
    rank = percentile_rank(score, bars.tradable, min_names=settings.min_names)
    return _rounded(2.0 * rank - 1.0)


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
