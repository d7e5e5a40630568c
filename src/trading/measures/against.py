"""Measures of returns against a benchmark."""

import math
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray
from trading.measures.path import sharpe


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Returns explained by a benchmark; ``alpha`` is a year's, NaN for what cannot be known."""

    alpha: float
    beta: float
    alpha_t: float
    beta_t: float
    r_squared: float


def regression(
    returns: FloatArray, benchmark: FloatArray, *, periods_per_year: int, lags: int | None = None
) -> Regression:
    """Return alpha and beta by least squares, their t-values with Newey-West errors.

    Parameters
    ----------
    returns, benchmark : ndarray of shape (n,)
        Of the same periods, without NaN. Alpha is the mean of a period times ``periods_per_year``.
    lags : int, optional
        Of the errors; by default ``4 (n / 100)^(2/9)``, rounded down [2]_.

    Returns
    -------
    Regression
        All NaN with fewer than 3 periods or a benchmark that never varied; t-values NaN where
        nothing is left unexplained.

    References
    ----------
    .. [1] Newey, W. and West, K. (1987). Econometrica, 55(3), 703-708.
    .. [2] Newey, W. and West, K. (1994). Review of Economic Studies, 61(4), 631-653.
    """
    y, x = (np.asarray(a, dtype=np.float64) for a in (returns, benchmark))
    n = len(y)
    centered = x - np.mean(x) if n else x
    spread = float(np.sum(centered * centered))
    if n < 3 or not spread > 0:
        return Regression(
            alpha=math.nan, beta=math.nan, alpha_t=math.nan, beta_t=math.nan, r_squared=math.nan
        )
    beta = float(np.sum(centered * y)) / spread
    alpha = float(np.mean(y)) - beta * float(np.mean(x))
    residual = y - alpha - beta * x
    total = float(np.sum((y - np.mean(y)) ** 2))
    if lags is None:
        lags = math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0))
    # What each residual moves in the estimates, (X'X)^-1 x_t e_t: its sum is 0.
    in_beta = n * centered * residual / spread
    in_alpha = residual - float(np.mean(x)) * in_beta
    errors = [math.sqrt(max(long_run_variance(a, lags=lags), 0.0) / n) for a in (in_alpha, in_beta)]
    is_exact = not float(np.sum(residual * residual)) > 1e-24 * total
    alpha_t, beta_t = (
        math.nan if is_exact or error == 0 else value / error
        for value, error in zip((alpha, beta), errors, strict=True)
    )
    return Regression(
        alpha=alpha * periods_per_year,
        beta=beta,
        alpha_t=alpha_t,
        beta_t=beta_t,
        r_squared=1.0 - float(np.sum(residual * residual)) / total if total > 0 else math.nan,
    )


def information_ratio(
    returns: FloatArray, benchmark: FloatArray, *, periods_per_year: int
) -> float:
    """Return the annual Sharpe ratio of the returns over the benchmark's; NaN if never apart.

    References
    ----------
    .. [1] Grinold, R. and Kahn, R. (1999). Active Portfolio Management. McGraw-Hill.
    """
    return sharpe(np.subtract(returns, benchmark), periods_per_year=periods_per_year)


def exposure_matched(benchmark_returns: FloatArray, exposure: FloatArray) -> FloatArray:
    """Return what the benchmark would have earned with as much of the account in it, per period.

    Parameters
    ----------
    benchmark_returns : ndarray of shape (n,)
        From each close to the next.
    exposure : ndarray of shape (n + 1,)
        Share of the account that was invested at each of these closes, the first before the first
        return; period ``t`` earns ``exposure[t] * benchmark_returns[t]``, the rest is cash
        without interest. NaN stays NaN.
    """
    matched: FloatArray = np.asarray(exposure, dtype=np.float64)[:-1] * benchmark_returns
    return matched


def long_run_variance(values: FloatArray, *, lags: int) -> float:
    """Return the variance of the mean times ``n``, with Bartlett weights to ``lags``.

    0 without values. Over ``n``, not ``n - 1``.
    """
    n = len(values)
    if n == 0:
        return 0.0
    d = values - np.mean(values)
    variance = float(np.sum(d * d)) / n
    for k in range(1, min(lags, n - 1) + 1):
        variance += 2.0 * (1.0 - k / (lags + 1)) * float(np.sum(d[k:] * d[:-k])) / n
    return variance
