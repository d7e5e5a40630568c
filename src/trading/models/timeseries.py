"""Classical models of one series: GARCH and GJR variance, ARIMA with abstention.

Everything here is fitted, in research and in training; nothing of it runs inside a decision.
Regimes are in ``features.regimes``, autoregressions that switch between them in ``models.markov``,
cointegration and the Dickey-Fuller test in ``models.cointegration``.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray
from trading.errors import ModelError

# Persistence at which the variance has no mean left: the fit stays below it.
MAX_PERSISTENCE = 0.9999
_LOG_2PI = math.log(2.0 * math.pi)
# Where the search starts: (alpha, gamma, persistence). The likelihood of a short series often has
# a second peak at short memory, so that one is always climbed as well.
_STARTS = (
    (0.03, 0.0, 0.9),
    (0.05, 0.0, 0.98),
    (0.1, 0.0, 0.95),
    (0.15, 0.0, 0.95),
    (0.2, 0.0, 0.9),
)
_SHORT_MEMORY = (0.02, 0.1, 0.4)
_STUDENT_START = 8.0
# mu, omega, alpha, gamma, beta of standardized returns, degrees of freedom.
_BOUNDS = np.array(
    [(-10.0, 10.0), (1e-6, 10.0), (0.0, 1.0), (-1.0, 1.0), (0.0, 1.0), (2.05, 500.0)]
)
_NEWTON_STEPS = 8
_MIN_OBSERVATIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GarchFit:
    """A fitted GARCH(1,1) or GJR(1,1,1) with constant mean.

    In the units of the returns that it was fitted on: ``mu`` of a return, ``omega`` of a squared
    one. ``gamma`` is 0 without asymmetry, ``nu`` infinite for normal innovations.
    ``standard_errors`` belong to ``parameters`` and come from the inverse Hessian; they are NaN
    where the optimum lies on a bound.
    """

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    nu: float
    log_likelihood: float
    standard_errors: FloatArray
    presample: float
    next_variance: float
    n: int

    @property
    def persistence(self) -> float:
        """Share of today's variance that is still there tomorrow; below 1."""
        return self.alpha + 0.5 * self.gamma + self.beta

    @property
    def long_run_variance(self) -> float:
        """Variance to which forecasts return."""
        return self.omega / (1.0 - self.persistence)

    def variance(self, returns: FloatArray) -> FloatArray:
        """Return the variance of each of ``returns`` and of the one that follows them."""
        return garch_variance(
            np.asarray(returns, dtype=np.float64) - self.mu,
            self.omega, self.alpha, self.gamma, self.beta, self.presample,
        )  # fmt: skip

    def forecast(self, horizon: int) -> FloatArray:
        """Return the expected variance of the next ``horizon`` returns after the fitted ones."""
        decay = self.persistence ** np.arange(horizon, dtype=np.float64)
        path: FloatArray = self.long_run_variance + decay * (
            self.next_variance - self.long_run_variance
        )
        return path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArimaFit:
    """A fitted (seasonal) ARIMA and what it expects next.

    ``coefficients`` are the autoregressive, moving-average, seasonal autoregressive and seasonal
    moving-average ones, in that order; ``mean`` is that of the differenced series, 0 where none
    is estimated. ``forecast`` and ``standard_error`` have shape ``(horizon,)`` and are in units
    of the series itself.
    """

    coefficients: FloatArray
    mean: float
    variance: float
    log_likelihood: float
    null_log_likelihood: float
    forecast: FloatArray
    standard_error: FloatArray


@njit(cache=True, nogil=True)
def garch_variance(
    residuals: FloatArray,
    omega: float,
    alpha: float,
    gamma: float,
    beta: float,
    presample: float,
) -> FloatArray:
    r"""Return the conditional variance of each residual and of the one that comes next.

    .. math:: h_t = \omega + (\alpha + \gamma 1_{e_{t-1}<0})\, e_{t-1}^2 + \beta h_{t-1}

    Parameters
    ----------
    residuals : ndarray of shape (n,)
        Returns less their mean. NaN (no return that day) counts as its expectation.
    presample : float
        Stands for :math:`h` and :math:`e^2` before the first residual; half of ``gamma`` meets it.

    Returns
    -------
    ndarray of shape (n + 1,)
        Row ``t`` uses residuals before ``t`` only; the last row is tomorrow's.
    """
    n = residuals.shape[0]
    variance = np.empty(n + 1)
    variance[0] = omega + (alpha + 0.5 * gamma + beta) * presample
    for t in range(n):
        e = residuals[t]
        if math.isnan(e):
            variance[t + 1] = omega + (alpha + 0.5 * gamma + beta) * variance[t]
        else:
            shock = alpha + gamma if e < 0.0 else alpha
            variance[t + 1] = omega + shock * e * e + beta * variance[t]
    return variance


def fit_garch(returns: FloatArray, *, asymmetric: bool = False, student: bool = False) -> GarchFit:
    """Return the maximum-likelihood GARCH(1,1), GJR(1,1,1) if ``asymmetric``.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Returns, oldest first, in any unit. NaN marks a day without one and is left out.
    student : bool
        Student-t innovations of unit variance, degrees of freedom estimated; else normal.

    Raises
    ------
    ModelError
        With fewer than 100 returns, or returns without variation.

    Notes
    -----
    The presample variance and squared residual are the mean squared residual, as in the FCP
    benchmark [2]_; a back-cast of the first values instead moves omega by some 8 %. Search by
    SLSQP on standardized returns with the exact gradient, then Newton steps to the last digits.

    References
    ----------
    .. [1] Bollerslev, T. and Ghysels, E. (1996). "Periodic Autoregressive Conditional
       Heteroscedasticity." Journal of Business and Economic Statistics, 14(2), 139-151.
    .. [2] Brooks, C., Burke, S. and Persand, G. (2001). "Benchmarks and the Accuracy of GARCH
       Model Estimation." International Journal of Forecasting, 17(1), 45-56.
    .. [3] Glosten, L., Jagannathan, R. and Runkle, D. (1993). "On the Relation between the
       Expected Value and the Volatility of the Nominal Excess Return on Stocks." Journal of
       Finance, 48(5), 1779-1801.
    """
    observed = np.asarray(returns, dtype=np.float64)
    observed = observed[np.isfinite(observed)]
    if len(observed) < _MIN_OBSERVATIONS:
        raise ModelError(
            f"GARCH에는 수익률이 {_MIN_OBSERVATIONS}개 이상 필요한데 {len(observed)}개뿐입니다."
        )
    center, scale = float(observed.mean()), float(observed.std())
    if not scale > 1e-12 * max(1.0, abs(center)):
        raise ModelError("수익률이 전혀 움직이지 않아 GARCH를 맞출 수 없습니다.")
    z = (observed - center) / scale
    free = np.array([True, True, True, asymmetric, True, student])
    theta, errors = _maximize(z, free)
    value, _ = _likelihood(z, theta)
    unit = np.array([scale, scale**2, 1.0, 1.0, 1.0, 1.0])
    mu, omega, alpha, gamma, beta, nu = (float(p) for p in theta * unit)
    mu += center
    residuals = observed - mu
    presample = float(np.mean(residuals * residuals))
    variance = garch_variance(residuals, omega, alpha, gamma, beta, presample)
    return GarchFit(
        mu=mu,
        omega=omega,
        alpha=alpha,
        gamma=gamma,
        beta=beta,
        nu=nu,
        log_likelihood=value - len(z) * math.log(scale),
        standard_errors=errors * unit[free],
        presample=presample,
        next_variance=float(variance[-1]),
        n=len(observed),
    )


def fit_arima(
    series: FloatArray,
    order: tuple[int, int, int],
    *,
    seasonal: tuple[int, int, int, int] = (0, 0, 0, 0),
    constant: bool = False,
    horizon: int = 1,
    level: float = 0.01,
) -> ArimaFit | None:
    r"""Return the exact-likelihood ARIMA, or ``None`` where it explains too little.

    Too little: against the same differences without any of its ``k`` coefficients the log
    likelihood gains less than half the :math:`\chi^2_k` quantile at ``1 - level``. White noise
    is therefore forecast in about ``level`` of all cases only, in up to twice as many where both
    orders are positive: their roots can cancel.

    Parameters
    ----------
    series : ndarray of shape (n,)
        Observations, oldest first, all finite.
    order : (p, d, q)
        Autoregressive order, differences, moving-average order.
    seasonal : (P, D, Q, s)
        The same at lags of ``s``.
    constant : bool
        Whether the differenced series has a mean of its own.
    level : float
        Size of the likelihood-ratio test; 1 never abstains.

    Raises
    ------
    ModelError
        If differences leave fewer observations than ten for each coefficient, if they do not
        vary, or if a value is not finite.

    References
    ----------
    .. [1] Box, G. and Jenkins, G. (1976). "Time Series Analysis: Forecasting and Control."
    """
    from scipy.stats import chi2
    from statsmodels.tsa.arima.model import ARIMA

    y = np.asarray(series, dtype=np.float64)
    k = order[0] + order[2] + seasonal[0] + seasonal[2]
    polynomial = _difference_polynomial(order, seasonal)
    left = len(y) + 1 - len(polynomial)
    if not np.all(np.isfinite(y)) or left < 10 * (k + 1):
        raise ModelError(
            f"ARIMA{order}×{seasonal}에는 차분 뒤 빠짐없는 값이 {10 * (k + 1)}개 이상 필요합니다: "
            f"{max(left, 0)}개"
        )
    differenced = np.convolve(y, polynomial, mode="valid")
    deviation = float(np.std(differenced))
    if not deviation > 1e-12 * max(1.0, float(np.max(np.abs(y)))):
        raise ModelError("차분한 값이 전혀 움직이지 않아 ARIMA를 맞출 수 없습니다.")
    # Returns of a hundredth would meet the optimizer's absolute tolerances too early.
    scale = min(1.0, deviation)
    # statsmodels warns in English of starting values and of convergence; the gain decides.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = ARIMA(
            differenced / scale,
            order=(order[0], 0, order[2]),
            seasonal_order=(seasonal[0], 0, seasonal[2], seasonal[3]),
            trend="c" if constant else "n",
        ).fit()
    found = np.asarray(fitted.params, dtype=np.float64)
    mean = float(found[0]) * scale if constant else 0.0
    coefficients = found[int(constant) : -1]
    variance = float(found[-1]) * scale**2
    log_likelihood = float(fitted.llf) - len(differenced) * math.log(scale)
    noise = differenced - (float(np.mean(differenced)) if constant else 0.0)
    null = -0.5 * len(noise) * (_LOG_2PI + math.log(float(np.mean(noise * noise))) + 1.0)
    gain = log_likelihood - null
    if level < 1.0 and (k == 0 or gain < 0.5 * float(chi2.ppf(1.0 - level, k))):
        return None
    ahead = np.asarray(fitted.forecast(horizon), dtype=np.float64) * scale
    return ArimaFit(
        coefficients=coefficients,
        mean=mean,
        variance=variance,
        log_likelihood=log_likelihood,
        null_log_likelihood=null,
        forecast=_undifferenced(y, ahead, order, seasonal),
        standard_error=np.sqrt(
            variance * np.cumsum(_psi_weights(coefficients, order, seasonal, horizon) ** 2)
        ),
    )


def _maximize(z: FloatArray, free: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the best (mu, omega, alpha, gamma, beta, nu) and their free part's standard errors."""
    from scipy.optimize import minimize

    lower, upper = _BOUNDS[free].T
    persistence = np.array([0.0, 0.0, 1.0, 0.5, 1.0, 0.0])[free]
    # A fall must not leave a smaller variance than no move at all: alpha + gamma >= 0.
    shock = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])[free]

    theta = np.array([0.0, 1.0, 0.0, 0.0, 0.0, math.inf])

    def loss(part: FloatArray) -> tuple[float, FloatArray]:
        theta[free] = part
        value, gradient = _likelihood(z, theta)
        return -value / len(z), -gradient[free] / len(z)

    def inside(part: FloatArray) -> bool:
        slack = min(MAX_PERSISTENCE - float(part @ persistence), float(part @ shock))
        return bool(np.all(part > lower) and np.all(part < upper)) and slack > 0.0

    def search(start: FloatArray) -> Any:
        return minimize(
            loss, start, jac=True, method="SLSQP", bounds=_BOUNDS[free],
            options={"ftol": 1e-12, "maxiter": 500},
            constraints=[
                {"type": "ineq", "fun": lambda p: MAX_PERSISTENCE - p @ persistence, "jac": lambda p: -persistence},
                {"type": "ineq", "fun": lambda p: p @ shock, "jac": lambda p: shock},
            ],
        )  # fmt: skip

    usual = [_start(*start)[free] for start in _STARTS]
    starts = [min(usual, key=lambda start: loss(start)[0]), _start(*_SHORT_MEMORY)[free]]
    found = min(map(search, starts), key=lambda result: float(result.fun))
    best = np.clip(found.x, lower, upper)
    errors = np.full(len(best), np.nan)
    # A few steps end the search; standard errors are those of an optimum inside the bounds only.
    for _ in range(_NEWTON_STEPS):
        if not inside(best):
            break
        hessian = _jacobian(lambda part: loss(part)[1], best)
        if not np.all(np.linalg.eigvalsh(hessian) > 0.0):
            break
        errors = np.sqrt(np.diag(np.linalg.inv(hessian)) / len(z))
        ahead = best - np.linalg.solve(hessian, loss(best)[1])
        if not inside(ahead) or loss(ahead)[0] >= loss(best)[0]:
            break
        best = ahead
    theta[free] = best
    return theta, errors


def _start(alpha: float, gamma: float, persistence: float) -> FloatArray:
    beta = persistence - alpha - 0.5 * gamma
    return np.array([0.0, 1.0 - persistence, alpha, gamma, beta, _STUDENT_START])


def _likelihood(z: FloatArray, theta: FloatArray) -> tuple[float, FloatArray]:
    """Return the log likelihood and its gradient; ``nu`` infinite for normal innovations."""
    value, gradient = _score(z, theta)
    nu = theta[5]
    if math.isinf(nu):
        return value - 0.5 * _LOG_2PI * len(z), gradient
    from scipy.special import digamma, gammaln

    constant = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * math.log(math.pi * (nu - 2.0))
    slope = 0.5 * (digamma((nu + 1.0) / 2.0) - digamma(nu / 2.0) - 1.0 / (nu - 2.0))
    gradient[5] += len(z) * slope
    return value + len(z) * float(constant), gradient


@njit(cache=True, nogil=True)
def _score(z: FloatArray, theta: FloatArray) -> tuple[float, FloatArray]:
    """Return log likelihood and gradient without the innovations' norming constant."""
    mu, omega, alpha, gamma, beta, nu = theta
    n = z.shape[0]
    student = not math.isinf(nu)
    residuals = z - mu
    presample, slope = 0.0, 0.0
    for t in range(n):
        presample += residuals[t] * residuals[t] / n
        slope -= 2.0 * residuals[t] / n
    variance = garch_variance(residuals, omega, alpha, gamma, beta, presample)
    total = 0.0
    gradient = np.zeros(6)
    # dh holds the derivatives of today's variance by mu, omega, alpha, gamma, beta.
    dh = np.array(
        (
            (alpha + 0.5 * gamma + beta) * slope,
            1.0,
            presample,
            0.5 * presample,
            presample,
        )
    )
    for t in range(n):
        e, h = residuals[t], variance[t]
        if not h > 0.0:
            # The search may look past a constraint for a moment.
            return -math.inf, np.zeros(6)
        x = e * e / h
        if student:
            ratio = x / (nu - 2.0)
            total -= 0.5 * math.log(h) + 0.5 * (nu + 1.0) * math.log1p(ratio)
            pull = (nu + 1.0) / ((nu - 2.0) * (1.0 + ratio))
            gradient[5] += 0.5 * (pull * ratio - math.log1p(ratio))
        else:
            total -= 0.5 * (math.log(h) + x)
            pull = 1.0
        by_h = 0.5 * (pull * x - 1.0) / h
        gradient[0] += pull * e / h
        shock = alpha + gamma if e < 0.0 else alpha
        for i in range(5):
            gradient[i] += by_h * dh[i]
            dh[i] *= beta
        dh[0] -= 2.0 * shock * e
        dh[1] += 1.0
        dh[2] += e * e
        if e < 0.0:
            dh[3] += e * e
        dh[4] += h
    return total, gradient


def _difference_polynomial(
    order: tuple[int, int, int], seasonal: tuple[int, int, int, int]
) -> FloatArray:
    """Return the coefficients of (1 - L)^d (1 - L^s)^D, lag 0 first."""
    polynomial = np.ones(1)
    for _ in range(order[1]):
        polynomial = np.convolve(polynomial, (1.0, -1.0))
    for _ in range(seasonal[1]):
        polynomial = np.convolve(polynomial, _lags(np.array((-1.0,)), seasonal[3]))
    return polynomial


def _lags(coefficients: FloatArray, spacing: int) -> FloatArray:
    """Return the polynomial 1 + c1 L^s + c2 L^2s + …."""
    polynomial = np.zeros(1 + spacing * len(coefficients))
    polynomial[0] = 1.0
    if len(coefficients):
        polynomial[spacing::spacing] = coefficients
    return polynomial


def _undifferenced(
    y: FloatArray,
    ahead: FloatArray,
    order: tuple[int, int, int],
    seasonal: tuple[int, int, int, int],
) -> FloatArray:
    """Return what the series itself will be when its differences are ``ahead``."""
    past = _difference_polynomial(order, seasonal)[1:]
    path = list(y)
    for value in ahead:
        path.append(value - sum(c * path[-lag] for lag, c in enumerate(past, start=1)))
    return np.array(path[len(y) :])


def _psi_weights(
    coefficients: FloatArray,
    order: tuple[int, int, int],
    seasonal: tuple[int, int, int, int],
    horizon: int,
) -> FloatArray:
    """Return how much of each shock is still in the series 0, 1, … observations later."""
    ar, ma, sar, sma = np.split(coefficients, np.cumsum((order[0], order[2], seasonal[0])))
    below = np.convolve(_lags(-ar, 1), _lags(-sar, max(seasonal[3], 1)))
    below = np.convolve(below, _difference_polynomial(order, seasonal))
    above = np.convolve(_lags(ma, 1), _lags(sma, max(seasonal[3], 1)))
    weights = np.zeros(horizon)
    for j in range(horizon):
        weights[j] = above[j] if j < len(above) else 0.0
        for lag in range(1, min(j, len(below) - 1) + 1):
            weights[j] -= below[lag] * weights[j - lag]
    return weights


def _jacobian(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    """Return the symmetric matrix of central differences of a gradient."""
    n = len(at)
    out = np.empty((n, n))
    for i in range(n):
        step = np.zeros(n)
        step[i] = 1e-5 * max(abs(at[i]), 1e-2)
        out[i] = (function(at + step) - function(at - step)) / (2.0 * step[i])
    return 0.5 * (out + out.T)
