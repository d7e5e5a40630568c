"""Value at risk and expected shortfall of today's weights on past returns, as positive losses.

The compiled functions are what the decision calls; the ones that return a ``TailRisk`` add standard
errors for reports and research. Several sessions ahead is ``risk.sums``, whether the forecasts were
any good ``risk.backtests``; what happened to equity is ``measures``.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import FloatArray
from trading.models.timeseries import garch_variance as conditional_variance
from trading.risk.student import (
    NU_MAX,
    NU_MIN,
    fit_ordered,
    fit_student,
    moments,
    normal_tail,
    student_information,
    student_tail,
)


class VarMethod(StrEnum):
    """How the loss is forecast; the order is that of the columns of every array here."""

    HISTORICAL = "historical"
    NORMAL = "normal"
    STUDENT = "student"
    FILTERED = "filtered"


METHODS: Final = tuple(VarMethod)
HISTORICAL: Final = METHODS.index(VarMethod.HISTORICAL)
NORMAL: Final = METHODS.index(VarMethod.NORMAL)
STUDENT: Final = METHODS.index(VarMethod.STUDENT)
FILTERED: Final = METHODS.index(VarMethod.FILTERED)
# Of no method: every one of them is demoted.
NO_CHAMPION: Final = -1


class VarSettings(BaseModel):
    """How losses are forecast (``risk.yaml: var``).

    The two GARCH coefficients are settings, not fitted each morning: the variance is targeted at
    that of the window, so that only the speed of its forecast rests on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    garch_alpha: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.08
    garch_beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.90
    monte_carlo_paths: Annotated[int, Field(ge=1_000)] = 10_000
    horizon_sessions: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="after")
    def _is_stationary(self) -> "VarSettings":
        if self.garch_alpha + self.garch_beta >= 1.0:
            raise ValueError("garch_alpha 와 garch_beta 의 합은 1보다 작아야 합니다")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRisk:
    """A loss forecast with its standard errors: fractions of equity, positive for a loss.

    ``var_error`` and ``es_error`` are the standard errors of estimation for methods that rest on
    a sample, of simulation for a Monte-Carlo answer, and 0 for an exact one. ``sessions`` is how
    many sessions ahead the loss is.
    """

    method: str
    level: float
    sessions: int = 1
    var: float
    es: float
    var_error: float
    es_error: float


# --- what the decision calls ---------------------------------------------------------------------


@njit(cache=True)
def tail_loss(outcomes: FloatArray, level: float) -> float:
    """Return the historical VaR of a sample of returns.

    The quantile rule is the lower empirical one: with ``n`` returns, the loss exceeded by at
    most ``floor((1 - level) n)`` of them. NaN when the sample is empty.
    """
    if outcomes.shape[0] == 0:
        return math.nan
    return _ordered_loss(np.sort(outcomes), level)


@njit(cache=True)
def portfolio_outcomes(weights: FloatArray, returns: FloatArray) -> FloatArray:
    """Return what ``weights``, held each day anew, would have made of each past session.

    Parameters
    ----------
    weights : ndarray of shape (n_instruments,)
        Shares of equity; the rest is cash.
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns; NaN (halt, before listing) counts as 0: the position could not move.

    Returns
    -------
    ndarray of shape (n_sessions,)
        Summed from the first instrument to the last, never as a matrix product.
    """
    n_sessions = returns.shape[0]
    held = np.flatnonzero(weights)
    outcomes = np.zeros(n_sessions)
    for t in range(n_sessions):
        total = 0.0
        for i in held:
            change = returns[t, i]
            if not math.isnan(change):
                total += weights[i] * change
        outcomes[t] = total
    return outcomes


@njit(cache=True)
def portfolio_var(weights: FloatArray, returns: FloatArray, level: float) -> float:
    """Return the one-day historical VaR of ``weights`` held over the past ``returns``.

    Weights and returns as in ``portfolio_outcomes``. A gain is no loss and no history is no
    number to reduce by: both are 0.
    """
    outcomes = portfolio_outcomes(weights, returns)
    return max(tail_loss(outcomes, level), 0.0) if outcomes.shape[0] else 0.0


@njit(cache=True)
def portfolio_vars(
    weights: FloatArray, returns: FloatArray, level: float, alpha: float, beta: float
) -> FloatArray:
    """Return the one-day VaR of ``weights`` by each of ``METHODS``.

    The first is ``portfolio_var`` to the bit; none is below 0. ``alpha`` and ``beta`` are those
    of ``garch_variance``.
    """
    outcomes = portfolio_outcomes(weights, returns)
    if outcomes.shape[0] == 0:
        return np.zeros(4)
    return np.maximum(tail_risks(outcomes, level, alpha, beta)[:, 0], 0.0)


@njit(cache=True)
def limit_var(vars_: FloatArray, champion: int) -> float:
    """Return the VaR that limits go by: the larger of the champion's and the historical one.

    Where no method is in force (``NO_CHAMPION``) it is the largest of all.
    """
    if champion < 0:
        return float(vars_.max())
    return float(max(vars_[champion], vars_[HISTORICAL]))


@njit(cache=True)
def name_vars(returns: FloatArray, level: float, min_sessions: int) -> FloatArray:
    """Return each instrument's own one-day VaR; NaN with fewer than ``min_sessions`` returns."""
    return name_risks(returns, level, min_sessions)[:, 0].copy()


@njit(cache=True, nogil=True)
def name_risks(returns: FloatArray, level: float, min_sessions: int) -> FloatArray:
    """Return each instrument's own historical VaR and expected shortfall.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns; NaN (halt, before listing) is left out.

    Returns
    -------
    ndarray of shape (n_instruments, 2)
        NaN with fewer than ``min_sessions`` returns.

    Notes
    -----
    Only the worst ``floor((1 - level) n) + 1`` returns of a column are kept, in a heap whose root
    is the mildest of them, instead of a sort. Columns are first laid out one after the other, in
    tiles of whole cache lines.
    """
    n_sessions, n = returns.shape
    result = np.full((n, 2), math.nan)
    columns = np.empty((_LANES, n_sessions))
    heap = np.empty(max(math.floor((1.0 - level) * n_sessions + 1e-9), 0) + 1)
    for first in range(0, n, _LANES):
        lanes = min(_LANES, n - first)
        for head in range(0, n_sessions, _TILE):
            for j in range(lanes):
                for t in range(head, min(head + _TILE, n_sessions)):
                    columns[j, t] = returns[t, first + j]
        for j in range(lanes):
            known = _without_gaps(columns[j])
            if known < max(min_sessions, 1):
                continue
            size = min(math.floor((1.0 - level) * known + 1e-9) + 1, known)
            _keep_worst(columns[j], known, heap, size)
            worse = 0.0
            for s in range(1, size):
                worse += heap[s]
            result[first + j, 0] = -heap[0]
            result[first + j, 1] = _shortfall(worse, heap[0], size - 1, known, level)
    return result


@njit(cache=True, nogil=True)
def tail_risks(outcomes: FloatArray, level: float, alpha: float, beta: float) -> FloatArray:
    r"""Return VaR and expected shortfall of a sample of returns by each of ``METHODS``.

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        Returns without NaN, oldest first.
    level : float
        0.95 for the loss exceeded one day in twenty.
    alpha, beta : float
        GARCH coefficients of the filtered method, see ``garch_variance``.

    Returns
    -------
    ndarray of shape (4, 2)
        NaN for an empty sample; minus the mean for one without variation. A negative number is
        a gain even in the tail.

    Notes
    -----
    Historical: order statistic ``floor((1 - level) n) + 1`` from below (see ``tail_loss``), and
    the mean over the share ``1 - level`` of the worst, the order statistic counted for the rest
    of that share. Normal and Student-t: closed forms of the fitted distributions, the latter by
    maximum likelihood. Filtered: the historical rule on returns over their own GARCH deviation,
    times the deviation forecast for the next session.

    References
    ----------
    .. [1] Acerbi, C. and Tasche, D. (2002). "On the Coherence of Expected Shortfall." Journal of
       Banking & Finance, 26(7), 1487-1503.
    .. [2] Barone-Adesi, G., Giannopoulos, K. and Vosper, L. (1999). "VaR without Correlations for
       Portfolios of Derivative Securities." Journal of Futures Markets, 19(5), 583-602.
    """
    risks = np.full((4, 2), math.nan)
    n = outcomes.shape[0]
    if n == 0:
        return risks
    ordered = np.sort(outcomes)
    risks[HISTORICAL, 0] = _ordered_loss(ordered, level)
    risks[HISTORICAL, 1] = _ordered_shortfall(ordered, level)
    mean, sigma = moments(outcomes)
    if not sigma > 0.0:
        risks[1:] = 0.0 - mean
        return risks
    var, es = normal_tail(level)
    risks[NORMAL, 0] = sigma * var - mean
    risks[NORMAL, 1] = sigma * es - mean
    nu, location, scale = fit_ordered(ordered)
    var, es = student_tail(nu, level)
    risks[STUDENT, 0] = scale * var - location
    risks[STUDENT, 1] = scale * es - location
    variance = garch_variance(outcomes - mean, alpha, beta)
    standard = np.sort((outcomes - mean) / np.sqrt(variance[:n]))
    ahead = math.sqrt(variance[n])
    risks[FILTERED, 0] = ahead * _ordered_loss(standard, level) - mean
    risks[FILTERED, 1] = ahead * _ordered_shortfall(standard, level) - mean
    return risks


@njit(cache=True, nogil=True)
def forecast_path(
    outcomes: FloatArray, window: int, level: float, alpha: float, beta: float
) -> FloatArray:
    """Return, for each session, the forecasts that were possible before it.

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        Returns of one portfolio, oldest first, without NaN.

    Returns
    -------
    ndarray of shape (n_sessions, 4, 2)
        VaR and expected shortfall by each of ``METHODS`` for the outcome of that row, from the
        ``window`` outcomes before it; NaN in the first ``window`` rows.
    """
    n = outcomes.shape[0]
    path = np.full((n, 4, 2), math.nan)
    for t in range(window, n):
        path[t] = tail_risks(outcomes[t - window : t], level, alpha, beta)
    return path


@njit(cache=True)
def garch_variance(residuals: FloatArray, alpha: float, beta: float) -> FloatArray:
    r"""Return the GARCH(1,1) variance of each residual and, last, the forecast of the next.

    .. math:: h_{t+1} = (1 - \alpha - \beta)\,s^2 + \alpha e_t^2 + \beta h_t, \qquad h_0 = s^2

    with :math:`s^2` the mean square of the window (variance targeting), so that nothing needs to
    be fitted when a decision is due. ``residuals`` must not all be 0; ``n + 1`` values.
    """
    n = residuals.shape[0]
    target = 0.0
    for e in residuals:
        target += e * e
    target /= n
    omega = (1.0 - alpha - beta) * target
    return conditional_variance(residuals, omega, alpha, 0.0, beta, target)


# --- with standard errors, for reports and research ----------------------------------------------


def historical(outcomes: FloatArray, level: float) -> TailRisk:
    """Return the historical VaR and expected shortfall of a sample of returns.

    The error of the quantile is that of the exact bootstrap of an order statistic [1]_, that of
    the mean beyond it the asymptotic one [2]_.

    References
    ----------
    .. [1] Maritz, J. and Jarrett, R. (1978). "A Note on Estimating the Variance of the Sample
       Median." Journal of the American Statistical Association, 73(361), 194-196.
    .. [2] Manistre, B. J. and Hancock, G. H. (2005). "Variance of the CTE Estimator." North
       American Actuarial Journal, 9(2), 129-156.
    """
    return sample_risk(VarMethod.HISTORICAL, outcomes, level)


def normal(outcomes: FloatArray, level: float) -> TailRisk:
    r"""Return VaR and expected shortfall of a normal distribution fitted to a sample of returns.

    Standard error of :math:`c\,\hat\sigma - \hat\mu`:
    :math:`\hat\sigma\sqrt{(1 + c^2/2)/n}`.
    """
    mean, sigma = moments(outcomes)
    var, es = normal_tail(level)
    return TailRisk(
        method=VarMethod.NORMAL,
        level=level,
        var=sigma * var - mean,
        es=sigma * es - mean,
        var_error=sigma * math.sqrt((1.0 + var * var / 2.0) / len(outcomes)),
        es_error=sigma * math.sqrt((1.0 + es * es / 2.0) / len(outcomes)),
    )


def student(outcomes: FloatArray, level: float) -> TailRisk:
    """Return VaR and expected shortfall of a Student distribution fitted to a sample of returns.

    Errors by the delta method from the Fisher information of location, scale and ``nu``; where
    ``nu`` is at a bound it counts as known.

    References
    ----------
    .. [1] Lange, K., Little, R. and Taylor, J. (1989). "Robust Statistical Modeling Using the t
       Distribution." Journal of the American Statistical Association, 84(408), 881-896.
    """
    nu, location, scale = fit_student(outcomes)
    if not scale > 0.0:
        return _flat(VarMethod.STUDENT, location, level)
    var, es = student_tail(nu, level)
    covariance = np.linalg.inv(student_information(nu, scale)) / len(outcomes)
    step = 1e-4 * nu
    up, down = student_tail(nu + step, level), student_tail(nu - step, level)
    is_free = NU_MIN * 1.0001 < nu < NU_MAX * 0.9999
    errors = []
    for value, above, below in zip((var, es), up, down, strict=True):
        slope = np.array([-1.0, value, scale * (above - below) / (2.0 * step)])
        if is_free:
            errors.append(math.sqrt(float(slope @ covariance @ slope)))
        else:
            known = np.linalg.inv(student_information(nu, scale)[:2, :2]) / len(outcomes)
            errors.append(math.sqrt(float(slope[:2] @ known @ slope[:2])))
    return TailRisk(
        method=VarMethod.STUDENT,
        level=level,
        var=scale * var - location,
        es=scale * es - location,
        var_error=errors[0],
        es_error=errors[1],
    )


def filtered(outcomes: FloatArray, level: float, *, alpha: float, beta: float) -> TailRisk:
    """Return filtered historical VaR and expected shortfall, one session ahead.

    The errors are those of the standardized sample, given the variance forecast.
    """
    mean, sigma = moments(outcomes)
    if not sigma > 0.0:
        return _flat(VarMethod.FILTERED, mean, level)
    variance = garch_variance(outcomes - mean, alpha, beta)
    standard = sample_risk(VarMethod.FILTERED, (outcomes - mean) / np.sqrt(variance[:-1]), level)
    ahead = math.sqrt(variance[-1])
    return TailRisk(
        method=VarMethod.FILTERED,
        level=level,
        var=ahead * standard.var - mean,
        es=ahead * standard.es - mean,
        var_error=ahead * standard.var_error,
        es_error=ahead * standard.es_error,
    )


def sample_risk(method: str, outcomes: FloatArray, level: float) -> TailRisk:
    """Return VaR and expected shortfall of a sample by the historical rule, see ``historical``."""
    if not len(outcomes):
        return _flat(method, math.nan, level)
    ordered = np.sort(outcomes)
    n = len(ordered)
    k = min(math.floor((1.0 - level) * n + 1e-9), n - 1)
    var, es = -float(ordered[k]), _ordered_shortfall(ordered, level)
    tail = ordered[: max(k, 1)]
    within = float(np.var(tail)) + level * (es - var) ** 2
    return TailRisk(
        method=method,
        level=level,
        var=var,
        es=es,
        var_error=_order_error(ordered, k),
        es_error=math.sqrt(within / max((1.0 - level) * n, 1.0)),
    )


# --- samples --------------------------------------------------------------------------------------

_LANES: Final = 32
_TILE: Final = 8
_CHUNK: Final = 64


def _order_error(ordered: FloatArray, k: int) -> float:
    """Return the deviation of the order statistic ``k`` (from 0) over all resamples."""
    from scipy.special import betainc

    n = len(ordered)
    # Beyond ten deviations of the rank nothing adds to the last bit.
    reach = 10.0 * math.sqrt((k + 1.0) * (n - k) / n) + 10.0
    first, last = max(0, math.floor(k - reach)), min(n, math.ceil(k + reach))
    steps = np.diff(betainc(k + 1.0, float(n - k), np.arange(first, last + 1) / n))
    near = ordered[first:last] - ordered[k]
    mean = float(np.sum(steps * near))
    return math.sqrt(max(float(np.sum(steps * near * near)) - mean * mean, 0.0))


def _flat(method: str, mean: float, level: float) -> TailRisk:
    error = 0.0 if math.isfinite(mean) else math.nan
    return TailRisk(
        method=method, level=level, var=0.0 - mean, es=0.0 - mean, var_error=error, es_error=error
    )


@njit(cache=True)
def _ordered_loss(ordered: FloatArray, level: float) -> float:
    n = ordered.shape[0]
    # (1 - level) n is off by one ulp for many n and would lose a whole observation.
    k = math.floor((1.0 - level) * n + 1e-9)
    return float(-ordered[min(k, n - 1)])


@njit(cache=True)
def _ordered_shortfall(ordered: FloatArray, level: float) -> float:
    n = ordered.shape[0]
    k = min(math.floor((1.0 - level) * n + 1e-9), n - 1)
    worse = 0.0
    for i in range(k):
        worse += ordered[i]
    return _shortfall(worse, ordered[k], k, n, level)


@njit(cache=True)
def _shortfall(worse: float, edge: float, k: int, n: int, level: float) -> float:
    """Return the mean loss over the worst share: ``k`` returns and a part of the next."""
    share = (1.0 - level) * n
    return -(worse + max(share - k, 0.0) * edge) / max(share, float(k))


@njit(cache=True)
def _without_gaps(row: FloatArray) -> int:
    """Move what is not NaN to the front, in order; return how many there are."""
    n = row.shape[0]
    gaps = 0
    for t in range(n):
        gaps += math.isnan(row[t])
    if gaps:
        k = 0
        for t in range(n):
            row[k] = row[t]
            k += not math.isnan(row[t])
    return int(n - gaps)


@njit(cache=True)
def _keep_worst(row: FloatArray, known: int, heap: FloatArray, size: int) -> None:
    """Fill ``heap`` with the ``size`` smallest of the first ``known`` values of ``row``."""
    for t in range(size):
        _rise(heap, t, row[t])
    mildest = heap[0]
    for first in range(size, known, _CHUNK):
        stop = min(first + _CHUNK, known)
        # Most chunks hold nothing so bad; counting needs no branch and goes many at a time.
        below = 0
        for t in range(first, stop):
            below += row[t] < mildest
        if below:
            for t in range(first, stop):
                if row[t] < mildest:
                    _sink(heap, size, row[t])
                    mildest = heap[0]


@njit(cache=True)
def _rise(heap: FloatArray, size: int, value: float) -> None:
    """Add ``value`` to a heap of ``size`` values with the largest at its root."""
    i = size
    while i > 0:
        parent = (i - 1) // 2
        if heap[parent] >= value:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = value


@njit(cache=True)
def _sink(heap: FloatArray, size: int, value: float) -> None:
    """Put ``value`` in the place of the root of a heap of ``size`` values."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value
