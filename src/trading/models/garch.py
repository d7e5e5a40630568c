"""GJR-GARCH in mean as a process of the returns of all names; family ``garch``.

Of a name's next returns it expects what yesterday's leaves and what their variance pays, and
knows by that variance how far they may miss. The variance of a single series, which risk is
measured by, is in ``timeseries``.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.models.base import GarchSettings
from trading.models.pooled import Estimate, Process

# Of the search: mean, ar, premium, logarithm of the long-run variance, persistence, the share of
# it that shocks have, their lean to falls, logarithm of the degrees of freedom above two.
_START: Final = (0.0, 0.0, 0.0, 0.0, 0.95, 0.1, 0.3, math.log(4.0))
_BOUNDS: Final = (
    (-1.0, 1.0), (-0.95, 0.95), (-2.0, 2.0), (-3.0, 3.0), (0.0, 0.999), (0.0, 1.0), (-1.0, 1.0),
    (math.log(0.1), math.log(200.0)),
)  # fmt: skip
# What is kept at nothing where nothing is expected: ar and premium.
_EXPECTING: Final = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gjr:
    r"""GJR(1,1,1) with Student's innovations, an autoregression and a price of risk.

    .. math:: u_t - \mu = \varphi (u_{t-1} - \mu) + \lambda (\sqrt{h_t} - \sqrt{\bar h}) + e_t, \qquad
              h_t = \omega + (\alpha + \gamma 1_{e_{t-1}<0})\, e_{t-1}^2 + \beta h_{t-1}

    ``parameters`` are :math:`(\mu, \varphi, \lambda, \omega, \alpha, \gamma, \beta, \nu)`;
    :math:`\bar h` is the variance in the long run. Returns are in units of the volatility before
    the window, so that :math:`h` begins at 1.

    References
    ----------
    .. [1] Engle, R., Lilien, D. and Robins, R. (1987). "Estimating Time Varying Risk Premia in the
       Term Structure: The ARCH-M Model." Econometrica, 55(2), 391-407.
    .. [2] Glosten, L., Jagannathan, R. and Runkle, D. (1993). "On the Relation between the
       Expected Value and the Volatility of the Nominal Excess Return on Stocks." Journal of
       Finance, 48(5), 1779-1801.
    """

    scaled_at: ClassVar[int] = 0
    parameters: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {"parameters": self.parameters}

    def log_density(self, u: FloatArray, own: int) -> FloatArray:
        """Return the mean log density of the last ``own`` returns of each window."""
        kernel, _, _ = _filtered(u, self.parameters, own)
        density: FloatArray = kernel + _norming(float(self.parameters[7]))
        return density

    def ahead(self, u: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Return the sum of the expected deviations of the next returns, and its spread."""
        _, deviation, variance = _filtered(u, self.parameters, 1)
        return _ahead(deviation, variance, self.parameters, horizon)


def estimator(settings: GarchSettings) -> Estimate:
    """Return what finds the parameters."""
    return partial(_estimate, settings)


def _estimate(
    settings: GarchSettings, u: FloatArray, own: int, like: Process | None = None
) -> tuple[Gjr, Gjr]:
    """Return the process of highest likelihood, and that of no autoregression and no premium.

    Of the last ``own`` returns of each window, given those before them.
    """
    u = np.ascontiguousarray(u[:: -(-len(u) // settings.sample_windows)])
    bounds = [(0.0, 0.0) if i in _EXPECTING else bound for i, bound in enumerate(_BOUNDS)]
    null = _searched(u, own, np.array(_START), bounds)
    found = _searched(u, own, null, list(_BOUNDS))
    return Gjr(parameters=_parameters(found)), Gjr(parameters=_parameters(null))


def _searched(
    u: FloatArray, own: int, start: FloatArray, bounds: list[tuple[float, float]]
) -> FloatArray:
    from scipy.optimize import minimize

    def loss(point: FloatArray) -> float:
        theta = _parameters(point)
        return -float(_filtered(u, theta, own)[0].mean()) - _norming(float(theta[7]))

    found: FloatArray = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return found


def _parameters(point: FloatArray) -> FloatArray:
    """Return the parameters at a point of the search; all that are stationary are there."""
    mean, ar, premium, long_run, persistence, share, lean, degrees = point
    shocks = persistence * share
    return np.array(
        [
            mean,
            ar,
            premium,
            math.exp(long_run) * (1.0 - persistence),
            (1.0 - lean) * shocks,
            2.0 * lean * shocks,
            persistence - shocks,
            2.0 + math.exp(degrees),
        ]
    )


def _norming(nu: float) -> float:
    """Return the logarithm of what makes Student's density of unit variance one."""
    return (
        math.lgamma((nu + 1.0) / 2.0) - math.lgamma(nu / 2.0) - 0.5 * math.log(math.pi * (nu - 2.0))
    )


@njit(cache=True, nogil=True)
def _filtered(
    u: FloatArray, theta: FloatArray, own: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each window's mean log density less its constant, last deviation and next variance."""
    mean, ar, premium, omega, alpha, gamma, beta, nu = theta
    n, window = u.shape
    usual = math.sqrt(omega / (1.0 - alpha - 0.5 * gamma - beta))
    kernel, last, variance = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        h, deviation, total = 1.0, 0.0, 0.0
        for t in range(window):
            e = u[i, t] - mean - ar * deviation - premium * (math.sqrt(h) - usual)
            deviation = u[i, t] - mean
            if t >= window - own:
                total -= 0.5 * math.log(h)
                total -= 0.5 * (nu + 1.0) * math.log1p(e * e / (h * (nu - 2.0)))
            shock = alpha + gamma if e < 0.0 else alpha
            h = omega + shock * e * e + beta * h
        kernel[i], last[i], variance[i] = total / own, deviation, h
    return kernel, last, variance


@njit(cache=True, nogil=True)
def _ahead(
    deviation: FloatArray, variance: FloatArray, theta: FloatArray, horizon: int
) -> tuple[FloatArray, FloatArray]:
    _, ar, premium, omega, alpha, gamma, beta, _ = theta
    persistence = alpha + 0.5 * gamma + beta
    long_run = omega / (1.0 - persistence)
    mean, spread = np.empty(len(deviation)), np.empty(len(deviation))
    for i in range(len(deviation)):
        expected, h, total, sum_of_h = deviation[i], variance[i], 0.0, 0.0
        for _ in range(horizon):
            expected = ar * expected + premium * (math.sqrt(h) - math.sqrt(long_run))
            total += expected
            sum_of_h += h
            h = long_run + persistence * (h - long_run)
        mean[i], spread[i] = total, math.sqrt(sum_of_h)
    return mean, spread
