"""What a track record proves: errors, intervals, and the luck of having tried many."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from trading.domain.arrays import FloatArray
from trading.measures.against import long_run_variance
from trading.measures.path import sharpe

_NORMAL = NormalDist()
# With fewer values the rule for the length of blocks has too few autocorrelations to judge.
_LEAST_FOR_BLOCKS = 20


def sharpe_scale(autocorrelation: FloatArray, periods: int) -> float:
    r"""Return what the Sharpe ratio of one period becomes over ``periods`` of them.

    .. math:: \eta(q) = \frac{q}{\sqrt{q + 2\sum_{k=1}^{q-1}(q-k)\rho_k}}

    ``autocorrelation`` begins with that of lag 1 and is 0 beyond its end; without any it is the
    square root of ``periods``. NaN where the correlations leave no variance.

    References
    ----------
    .. [1] Lo, A. (2002). "The Statistics of Sharpe Ratios." Financial Analysts Journal, 58(4),
       36-52, equation 20.
    """
    rho = np.asarray(autocorrelation, dtype=np.float64)[: periods - 1]
    variance = periods + 2.0 * float(np.sum((periods - np.arange(1, len(rho) + 1)) * rho))
    return periods / math.sqrt(variance) if variance > 0 else math.nan


def sharpe_lo(returns: FloatArray, *, periods_per_year: int, lags: int) -> float:
    """Return the annual Sharpe ratio that allows for autocorrelation, see ``sharpe_scale``.

    Sample autocorrelations to ``lags`` count, later ones are taken as 0; with ``lags=0`` it is
    ``sharpe``. NaN without variation.
    """
    x = np.asarray(returns, dtype=np.float64)
    if len(x) < 2:
        return math.nan
    rho = _autocovariance(x, lags)
    if not rho[0] > 0:
        return math.nan
    scale = sharpe_scale(rho[1:] / rho[0], periods_per_year)
    return sharpe(x, periods_per_year=1) * scale


def sharpe_error(returns: FloatArray, *, periods_per_year: int, lags: int) -> float:
    """Return the standard error of ``sharpe_lo`` with the same ``lags``.

    That of the generalized method of moments [1]_: the influence of each return on the ratio,
    with Newey-West errors over ``lags``. With ``lags=0`` it is the error of the plain Sharpe ratio
    for independent returns of any distribution, the one in PSR. NaN where the ratio is.

    References
    ----------
    .. [1] Lo, A. (2002). "The Statistics of Sharpe Ratios." Financial Analysts Journal, 58(4),
       36-52.
    .. [2] Mertens, E. (2002). "Comments on Variance of the IID Estimator in Lo (2002)." Working
       paper, University of Basel.
    """
    x = np.asarray(returns, dtype=np.float64)
    n, q = len(x), periods_per_year
    if n < 2:
        return math.nan
    gamma = _autocovariance(x, min(lags, q - 1))
    weight = 2.0 * (q - np.arange(len(gamma)))
    weight[0] = q
    variance = float(np.sum(weight * gamma))
    if not gamma[0] > 0 or not variance > 0:
        return math.nan
    d = x - np.mean(x)
    moved = np.zeros(n)
    for k in range(len(gamma)):
        moved[k:] += weight[k] * d[k:] * d[: n - k]
    influence = (q * d - q * np.mean(x) * (moved - variance) / (2.0 * variance)) / math.sqrt(
        variance
    )
    spread = long_run_variance(influence, lags=lags)
    return math.sqrt(spread / n) if spread > 0 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A statistic, and between what it lies with probability ``level``; NaN when unknown.

    ``block`` is the mean length of the blocks that were drawn, in values.
    """

    value: float
    low: float
    high: float
    level: float
    block: float


def bootstrap_interval(
    values: FloatArray,
    statistic: Callable[[FloatArray], float],
    *,
    level: float = 0.95,
    repetitions: int,
    rng: np.random.Generator,
    method: Literal["stationary", "bca"] = "stationary",
    block: float | None = None,
) -> Interval:
    """Return the bootstrap interval of a statistic.

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, k)
        Rows are drawn whole: columns stay paired.
    statistic : callable
        Of ``values`` redrawn. One that is NaN for any redrawn sample has NaN bounds.
    method : {"stationary", "bca"}
        ``stationary`` draws blocks of random length [1]_, for what follows in time, and takes the
        percentiles. ``bca`` draws single values and corrects bias and acceleration [3]_, for what
        is independent, such as the outcomes of trades.
    block : float, optional
        Mean length of blocks. By default the automatic one [2]_, of several columns the longest;
        with fewer than 20 values, or none of the rule, the cube root of their number.

    Returns
    -------
    Interval
        Bounds are NaN for fewer than 2 values or without variation.

    References
    ----------
    .. [1] Politis, D. and Romano, J. (1994). "The Stationary Bootstrap." Journal of the American
       Statistical Association, 89(428), 1303-1313.
    .. [2] Politis, D. and White, H. (2004). "Automatic Block-Length Selection for the Dependent
       Bootstrap." Econometric Reviews, 23(1), 53-70; with Patton, A. (2009), 28(4), 372-375.
    .. [3] Efron, B. (1987). "Better Bootstrap Confidence Intervals." Journal of the American
       Statistical Association, 82(397), 171-185.
    """
    from arch.bootstrap import IIDBootstrap, StationaryBootstrap

    sample = np.asarray(values, dtype=np.float64)
    value = float(statistic(sample)) if len(sample) else math.nan
    length = 1.0
    if method == "stationary":
        length = block if block is not None else block_length(sample)
    bounds = (math.nan, math.nan)
    if len(sample) > 1 and np.any(sample != sample[0]) and not math.isnan(value):
        if method == "bca":
            drawn = IIDBootstrap(sample, seed=rng)
        else:
            # Its type says int; it uses one over the length.
            drawn = StationaryBootstrap(length, sample, seed=rng)  # type: ignore[arg-type]
        results = drawn.apply(lambda v: np.array([statistic(v)]), repetitions)[:, 0]
        tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
        if method == "bca":
            tails = _bca_tails(tails, sample, statistic, value, results)
        if not np.isnan(results).any() and not np.isnan(tails).any():
            low, high = np.quantile(results, tails)
            bounds = (float(low), float(high))
    return Interval(value=value, low=bounds[0], high=bounds[1], level=level, block=length)


def _bca_tails(
    tails: tuple[float, float],
    sample: FloatArray,
    statistic: Callable[[FloatArray], float],
    value: float,
    results: FloatArray,
) -> tuple[float, float]:
    """Return which quantiles of the results bound the statistic, after bias and acceleration.

    Half of the ties count as below: a hit rate takes few values. NaN when the statistic is NaN
    without one of its values.
    """
    n = len(results)
    below = float(np.mean(results < value) + np.mean(results == value) / 2.0)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / n), 1.0 - 0.5 / n))
    without = np.array([statistic(np.delete(sample, i, axis=0)) for i in range(len(sample))])
    moved = np.mean(without) - without
    spread = float(np.sum(moved**2))
    bend = float(np.sum(moved**3)) / (6.0 * math.sqrt(spread) ** 3) if spread != 0 else 0.0
    low, high = (bias + _NORMAL.inv_cdf(tail) for tail in tails)
    return (
        _NORMAL.cdf(bias + low / (1.0 - bend * low)),
        _NORMAL.cdf(bias + high / (1.0 - bend * high)),
    )


def block_length(values: FloatArray) -> float:
    """Return the automatic mean block length of the stationary bootstrap, at least 1.

    See ``bootstrap_interval`` for its source, several columns and short samples.
    """
    from arch.bootstrap import optimal_block_length

    sample = np.asarray(values, dtype=np.float64)
    usual = max(1.0, math.cbrt(len(sample)))
    if len(sample) < _LEAST_FOR_BLOCKS:
        return usual
    columns = sample.reshape(len(sample), -1)
    varied = columns[:, np.ptp(columns, axis=0) > 0]
    if not varied.shape[1]:
        return usual
    longest = float(optimal_block_length(varied)["stationary"].max())
    return max(1.0, longest) if math.isfinite(longest) else usual


def probabilistic_sharpe(
    observed: float,
    n: int,
    *,
    skew: float = 0.0,
    kurt: float = 3.0,
    benchmark: float = 0.0,
) -> float:
    r"""Return the probability that the true Sharpe ratio exceeds ``benchmark`` (PSR).

    .. math:: \Phi\!\left(\frac{(\hat{SR} - SR^*)\sqrt{n-1}}
              {\sqrt{1 - \gamma_3 \hat{SR} + \frac{\gamma_4 - 1}{4}\hat{SR}^2}}\right)

    Parameters
    ----------
    observed, benchmark : float
        Sharpe ratios **per period**, not annualized.
    n : int
        Number of returns.
    skew, kurt : float
        Third and fourth standardized moments of the returns.

    References
    ----------
    .. [1] Bailey, D. and Lopez de Prado, M. (2012). "The Sharpe Ratio Efficient Frontier."
       Journal of Risk, 15(2), 3-44.
    """
    scale = _psr_scale(observed, skew, kurt)
    if n < 2 or not scale > 0:
        return math.nan
    return _NORMAL.cdf((observed - benchmark) * math.sqrt(n - 1) / scale)


def min_track_record(
    observed: float,
    *,
    skew: float = 0.0,
    kurt: float = 3.0,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Return how many returns prove that the Sharpe ratio exceeds ``benchmark`` [1]_ of PSR."""
    if observed <= benchmark:
        return math.inf
    scale = _psr_scale(observed, skew, kurt)
    return 1.0 + (scale * _NORMAL.inv_cdf(confidence) / (observed - benchmark)) ** 2


def expected_max_sharpe(trials: float, *, variance: float = 1.0) -> float:
    r"""Return the Sharpe ratio to expect from the best of ``trials`` worthless ones.

    .. math:: \sqrt{V}\left((1-\gamma)\Phi^{-1}\!\left[1-\tfrac1N\right]
              + \gamma\,\Phi^{-1}\!\left[1-\tfrac1{Ne}\right]\right)

    ``variance`` is that of the trials' Sharpe ratios, per period. One trial expects 0.
    """
    if trials <= 1:
        return 0.0
    usual = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    tail = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - np.euler_gamma) * usual + np.euler_gamma * tail)


def deflated_sharpe(
    observed: float, n: int, *, trials: float, variance: float, skew: float, kurt: float
) -> float:
    """Return the PSR against the best Sharpe ratio that ``trials`` would give by luck (DSR).

    ``observed`` and ``variance`` are per period: annual ones are the common mistake.

    References
    ----------
    .. [1] Bailey, D. and Lopez de Prado, M. (2014). "The Deflated Sharpe Ratio." Journal of
       Portfolio Management, 40(5), 94-107.
    """
    lucky = expected_max_sharpe(trials, variance=variance)
    return probabilistic_sharpe(observed, n, skew=skew, kurt=kurt, benchmark=lucky)


def _psr_scale(observed: float, skew: float, kurt: float) -> float:
    inner = 1.0 - skew * observed + (kurt - 1.0) / 4.0 * observed**2
    return math.sqrt(inner) if inner > 0 else math.nan


def _autocovariance(x: FloatArray, lags: int) -> FloatArray:
    """Return the sample autocovariances of lag 0 to ``lags``, all over ``n``."""
    d = x - np.mean(x)
    n = len(d)
    return np.array([float(np.sum(d[k:] * d[: n - k])) / n for k in range(min(lags, n - 1) + 1)])
