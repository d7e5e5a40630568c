"""Value at risk of today's weights on past returns, as positive losses."""

import math

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray


@njit(cache=True)
def tail_loss(outcomes: FloatArray, level: float) -> float:
    """Return the historical VaR of a sample of returns.

    The quantile rule is the lower empirical one: with ``n`` returns, the loss exceeded by at
    most ``floor((1 - level) n)`` of them. NaN when the sample is empty.
    """
    n = outcomes.shape[0]
    if n == 0:
        return math.nan
    ordered = np.sort(outcomes)
    k = math.floor((1.0 - level) * n + 1e-9)
    return float(-ordered[min(k, n - 1)])


@njit(cache=True)
def portfolio_var(weights: FloatArray, returns: FloatArray, level: float) -> float:
    """Return the one-day historical VaR of ``weights`` held over the past ``returns``.

    Parameters
    ----------
    weights : ndarray of shape (n_instruments,)
        Shares of equity; the rest is cash.
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns; NaN (halt, before listing) counts as 0: the position could not move.
    level : float
        0.95 for the loss exceeded one day in twenty.
    """
    n_sessions, n = returns.shape
    outcomes = np.zeros(n_sessions)
    for t in range(n_sessions):
        total = 0.0
        for i in range(n):
            if weights[i] != 0.0 and not math.isnan(returns[t, i]):
                total += weights[i] * returns[t, i]
        outcomes[t] = total
    return max(tail_loss(outcomes, level), 0.0) if n_sessions else 0.0


@njit(cache=True)
def name_vars(returns: FloatArray, level: float, min_sessions: int) -> FloatArray:
    """Return each instrument's own one-day VaR; NaN with fewer than ``min_sessions`` returns."""
    n = returns.shape[1]
    result = np.full(n, math.nan)
    for i in range(n):
        column = returns[:, i]
        known = column[~np.isnan(column)]
        if known.shape[0] >= min_sessions:
            result[i] = tail_loss(known, level)
    return result
