"""Measures of an equity path, of a track record and of a forecast.

Returns are fractions per period, one value a period, without NaN. Losses and drawdowns are
positive numbers. What cannot be computed is NaN, never 0. Risk forecasts for limits are in
``trading.risk.var``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray

_NORMAL = NormalDist()


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


def calmar(equity: FloatArray, *, periods_per_year: int) -> float:
    """Return compound annual growth over maximum drawdown; NaN without a drawdown."""
    deepest = max_drawdown(equity)
    if math.isnan(deepest) or deepest == 0:
        return math.nan
    return cagr(equity, periods_per_year=periods_per_year) / deepest


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


def hit_rate(outcomes: FloatArray) -> float:
    """Return the share of gains among outcomes that are not zero; NaN when there is none."""
    decided = outcomes[outcomes != 0]
    return float(np.mean(decided > 0)) if len(decided) else math.nan


def skewness(returns: FloatArray) -> float:
    """Return the third standardized moment (population)."""
    return _moment(returns, 3)


def kurtosis(returns: FloatArray) -> float:
    """Return the fourth standardized moment (population), 3 for a normal distribution."""
    return _moment(returns, 4)


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
    scale = _sharpe_scale(observed, skew, kurt)
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
    scale = _sharpe_scale(observed, skew, kurt)
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """How often what was said to happen with a probability happened, by bins of the probability.

    ``predicted`` and ``observed`` are the mean probability and the share of outcomes of each bin
    (NaN for an empty one), ``count`` how many fell into it. ``error`` is the expected calibration
    error: the mean distance of the two, weighted by count; NaN without outcomes.
    """

    predicted: FloatArray
    observed: FloatArray
    count: IntArray
    error: float


def reliability(probability: FloatArray, outcome: BoolArray, *, bins: int = 10) -> Reliability:
    """Return the reliability diagram of probabilities against what happened.

    Parameters
    ----------
    probability : ndarray of shape (n,)
        In [0, 1], without NaN.
    outcome : ndarray of shape (n,)
        Whether it happened.
    bins : int
        Equal in width; the last one includes 1.

    References
    ----------
    .. [1] Naeini, M., Cooper, G. and Hauskrecht, M. (2015). "Obtaining Well Calibrated
       Probabilities Using Bayesian Binning." AAAI, 2901-2907.
    """
    which = np.minimum((np.asarray(probability) * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    some = np.maximum(count, 1)
    predicted = np.bincount(which, weights=probability, minlength=bins) / some
    observed = np.bincount(which, weights=outcome, minlength=bins) / some
    total = int(count.sum())
    error = float((count * np.abs(predicted - observed)).sum() / total) if total else math.nan
    return Reliability(
        predicted=np.where(count > 0, predicted, np.nan),
        observed=np.where(count > 0, observed, np.nan),
        count=count,
        error=error,
    )


def attribution(amount: int, credit: Mapping[str, float]) -> dict[str, int]:
    """Return ``amount`` divided among the names of ``credit`` by their shares, to the last unit.

    Shares are positive and need not add up to 1. What rounding leaves over goes to those with the
    largest fractions, the first of equals; without any credit everything belongs to ``""``.
    """
    total = sum(credit.values())
    if not total > 0:
        return {"": amount}
    size, sign = abs(amount), 1 if amount >= 0 else -1
    exact = {name: size * share / total for name, share in credit.items()}
    whole = {name: int(part) for name, part in exact.items()}
    left = size - sum(whole.values())
    order = sorted(credit, key=lambda name: whole[name] - exact[name])
    for k in range(abs(left)):
        whole[order[k % len(order)]] += 1 if left > 0 else -1
    return {name: sign * part for name, part in whole.items()}


def information_coefficient(
    forecast: FloatArray, outcome: FloatArray, *, rank: bool = True, min_names: int = 5
) -> FloatArray:
    """Return for each session the correlation across instruments of forecast and outcome.

    Parameters
    ----------
    forecast, outcome : ndarray of shape (n_sessions, n_instruments)
        NaN leaves a cell out of its session.
    rank : bool
        Spearman (mean ranks of ties) if true, else Pearson.
    min_names : int
        Sessions with fewer pairs are NaN, as are those without variation.
    """
    result = np.full(len(forecast), np.nan)
    for t, (x, y) in enumerate(zip(forecast, outcome, strict=True)):
        known = np.isfinite(x) & np.isfinite(y)
        if np.count_nonzero(known) < min_names:
            continue
        pair = (_ranks(x[known]), _ranks(y[known])) if rank else (x[known], y[known])
        result[t] = _correlation(*pair)
    return result


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


def _sharpe_scale(observed: float, skew: float, kurt: float) -> float:
    inner = 1.0 - skew * observed + (kurt - 1.0) / 4.0 * observed**2
    return math.sqrt(inner) if inner > 0 else math.nan


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2.0
    ranks: FloatArray = mean_rank[inverse]
    return ranks


def _correlation(x: FloatArray, y: FloatArray) -> float:
    dx, dy = x - np.mean(x), y - np.mean(y)
    scale = math.sqrt(float(np.sum(dx * dx)) * float(np.sum(dy * dy)))
    return float(np.sum(dx * dy)) / scale if scale > 0 else math.nan
