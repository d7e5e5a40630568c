"""Measures of an equity path and of its returns."""

import math
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray


def returns_of(equity: FloatArray) -> FloatArray:
    """Return the simple returns between consecutive values of an equity path."""
    path = np.asarray(equity, dtype=np.float64)
    returns: FloatArray = path[1:] / path[:-1] - 1.0
    return returns


def total_return(equity: FloatArray) -> float:
    """Return last over first, less one; NaN for an empty path."""
    return float(equity[-1] / equity[0] - 1.0) if len(equity) else math.nan


def cagr(equity: FloatArray, *, periods_per_year: int) -> float:
    """Return the compound annual growth rate of a path of at least two values."""
    if len(equity) < 2 or equity[-1] <= 0:
        return math.nan
    years = (len(equity) - 1) / periods_per_year
    return float((equity[-1] / equity[0]) ** (1.0 / years) - 1.0)


def annual_volatility(returns: FloatArray, *, periods_per_year: int) -> float:
    """Return the annualized standard deviation (ddof 1)."""
    if len(returns) < 2:
        return math.nan
    return float(np.std(returns, ddof=1) * math.sqrt(periods_per_year))


def sharpe(returns: FloatArray, *, periods_per_year: int, risk_free: float = 0.0) -> float:
    """Return the annualized Sharpe ratio; ``risk_free`` is per period. NaN without variation."""
    return math.sqrt(periods_per_year) * period_sharpe(returns, risk_free=risk_free)


def period_sharpe(returns: FloatArray, *, risk_free: float = 0.0) -> float:
    """Return mean over standard deviation (ddof 1) per period, as PSR and DSR want it."""
    if len(returns) < 2:
        return math.nan
    deviation = float(np.std(returns, ddof=1))
    return float(np.mean(returns) - risk_free) / deviation if deviation > 0 else math.nan


def sortino(returns: FloatArray, *, periods_per_year: int, target: float = 0.0) -> float:
    r"""Return the annualized Sortino ratio.

    .. math:: \sqrt{k}\,\frac{\bar r - \tau}{\sqrt{\frac{1}{n}\sum_i \min(r_i - \tau, 0)^2}}

    The downside deviation is over all ``n`` observations, not only the losing ones.

    References
    ----------
    .. [1] Sortino, F. and Price, L. (1994). "Performance Measurement in a Downside Risk
       Framework." Journal of Investing, 3(3), 59-64.
    """
    if not len(returns):
        return math.nan
    shortfall = np.minimum(returns - target, 0.0)
    downside = math.sqrt(float(np.mean(shortfall * shortfall)))
    if downside == 0:
        return math.nan
    return math.sqrt(periods_per_year) * (float(np.mean(returns)) - target) / downside


def drawdown(equity: FloatArray) -> FloatArray:
    """Return at each point how far the path is below its highest value so far (0 to 1)."""
    path = np.asarray(equity, dtype=np.float64)
    below: FloatArray = 1.0 - path / np.maximum.accumulate(path)
    return below


def max_drawdown(equity: FloatArray) -> float:
    """Return the deepest drawdown as a positive fraction; NaN for an empty path."""
    return float(np.max(drawdown(equity))) if len(equity) else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """One spell under water; all but ``depth`` in periods of the path.

    ``peak`` is the last index at the old high, ``trough`` the (first) deepest one, ``recovery`` the
    first back at the old high or above, ``None`` while it lasts. ``length`` counts from the peak to
    the recovery, or to the end of the path; ``recovery_length`` from the trough to the recovery.
    """

    peak: int
    trough: int
    recovery: int | None
    depth: float
    length: int
    recovery_length: int | None


def drawdown_spells(equity: FloatArray) -> tuple[Drawdown, ...]:
    """Return every spell below the highest value so far, the deepest first, then the earliest."""
    below = drawdown(equity) if len(equity) else np.empty(0)
    edges = np.diff(np.concatenate(([False], below > 0, [False])).astype(np.int8))
    spells = []
    for start, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        peak, end = int(start) - 1, int(stop)
        trough = int(start + np.argmax(below[start:stop]))
        recovery = end if end < len(below) else None
        spells.append(
            Drawdown(
                peak=peak,
                trough=trough,
                recovery=recovery,
                depth=float(below[trough]),
                length=min(end, len(below) - 1) - peak,
                recovery_length=None if recovery is None else recovery - trough,
            )
        )
    return tuple(sorted(spells, key=lambda spell: -spell.depth))


def calmar(equity: FloatArray, *, periods_per_year: int) -> float:
    """Return compound annual growth over maximum drawdown; NaN without a drawdown."""
    deepest = max_drawdown(equity)
    if math.isnan(deepest) or deepest == 0:
        return math.nan
    return cagr(equity, periods_per_year=periods_per_year) / deepest


def omega(returns: FloatArray, target: float = 0.0) -> float:
    r"""Return the Omega ratio: what was gained over ``target`` for what was lost under it.

    .. math:: \sum_i \max(r_i - \tau, 0) \Big/ \sum_i \max(\tau - r_i, 0)

    ``target`` is per period. NaN when no return was under it.

    References
    ----------
    .. [1] Keating, C. and Shadwick, W. (2002). "A Universal Performance Measure." Journal of
       Performance Measurement, 6(3), 59-84.
    """
    over = np.asarray(returns, dtype=np.float64) - target
    lost = -float(np.sum(over[over < 0]))
    return float(np.sum(over[over > 0])) / lost if lost > 0 else math.nan


def tail_ratio(returns: FloatArray, level: float = 0.95) -> float:
    """Return the gain at the upper quantile for the loss at the lower one.

    Quantiles ``level`` and ``1 - level`` with linear interpolation. Above 1 the best periods
    outweigh the worst; negative when even the upper quantile is a loss; NaN when the lower one is
    none.
    """
    if not len(returns):
        return math.nan
    lower, upper = np.quantile(returns, [1.0 - level, level])
    return float(upper / -lower) if lower < 0 else math.nan


def historical_var(returns: FloatArray, *, level: float = 0.95) -> float:
    """Return the historical value at risk as a positive loss.

    The quantile is an observed one: the ``k``-th worst return with
    ``k = max(1, floor(n (1 - level)))``, so it never understates for lack of data.
    A negative value means that even that return was a gain.
    """
    worst = _worst(returns, level)
    return float(-worst[-1]) if len(worst) else math.nan


def historical_es(returns: FloatArray, *, level: float = 0.95) -> float:
    """Return the mean loss of the ``k`` worst returns, ``k`` as in ``historical_var``."""
    worst = _worst(returns, level)
    return float(-np.mean(worst)) if len(worst) else math.nan


def turnover(weights: FloatArray) -> float:
    """Return the mean one-way turnover per period of weights ``(n_periods, n_instruments)``.

    Half the sum of absolute changes; price drift between periods counts as turnover, so pass
    weights after trading and the drifted ones beforehand when that matters.
    """
    if len(weights) < 2:
        return math.nan
    return float(np.mean(np.sum(np.abs(np.diff(weights, axis=0)), axis=1)) / 2.0)


def skewness(returns: FloatArray) -> float:
    """Return the third standardized moment (population)."""
    return _moment(returns, 3)


def kurtosis(returns: FloatArray) -> float:
    """Return the fourth standardized moment (population), 3 for a normal distribution."""
    return _moment(returns, 4)


def _worst(returns: FloatArray, level: float) -> FloatArray:
    if not len(returns):
        return np.empty(0)
    # n (1 - level) is off by one ulp for many n and would lose a whole observation.
    k = max(1, math.floor(round(len(returns) * (1.0 - level), 9)))
    worst: FloatArray = np.sort(returns)[:k]
    return worst


def _moment(returns: FloatArray, order: int) -> float:
    if len(returns) < 2:
        return math.nan
    deviation = returns - np.mean(returns)
    sigma = math.sqrt(float(np.mean(deviation * deviation)))
    return float(np.mean(deviation**order)) / sigma**order if sigma > 0 else math.nan


def known(value: float | None) -> float | None:
    """Return a number as JSON takes it: ``None`` for what could not be computed."""
    if value is None or isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None
