"""An autoregressive moving average as a process of the returns of all names; family ``arima``.

The exact-likelihood ARIMA of a single series is in ``timeseries``.
"""

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.models.base import ArimaSettings
from trading.models.pooled import Estimate, Process

_LOG_2PI: Final = math.log(2.0 * math.pi)
# Roots stay outside the unit circle by this much: what happened is forgotten within the window.
_LARGEST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arma:
    r"""Autoregression and moving average around a mean, the newest coefficient first.

    .. math:: u_t - \mu = \sum_i \varphi_i (u_{t-i} - \mu) + \sum_j \theta_j e_{t-j} + e_t

    ``variance`` is that of :math:`e`. Returns are in units of the newest volatility.

    References
    ----------
    .. [1] Box, G. and Jenkins, G. (1976). "Time Series Analysis: Forecasting and Control."
    """

    scaled_at: ClassVar[int] = -1
    mean: FloatArray
    ar: FloatArray
    ma: FloatArray
    variance: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def log_density(self, u: FloatArray, own: int) -> FloatArray:
        """Return the mean log density of the last ``own`` returns of each window."""
        variance = float(self.variance[0])
        surprise = _residuals(u, float(self.mean[0]), self.ar, self.ma)[:, -own:]
        density: FloatArray = -0.5 * (
            _LOG_2PI + math.log(variance) + (surprise**2).mean(axis=1) / variance
        )
        return density

    def ahead(self, u: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Return the sum of the expected deviations of the next returns, and its spread.

        The spread is that of noise: what the coefficients add is the same for all windows.
        """
        mean = _ahead(u, float(self.mean[0]), self.ar, self.ma, horizon)
        return mean, np.full(len(u), math.sqrt(horizon))


def estimator(settings: ArimaSettings) -> Estimate:
    """Return what finds the coefficients."""
    return partial(_estimate, settings)


def _estimate(
    settings: ArimaSettings, u: FloatArray, own: int, like: Process | None = None
) -> tuple[Arma, Arma]:
    """Return the coefficients of the order with the lowest BIC, by least squares, and none."""
    mean = float(u[:, -own:].mean())
    if isinstance(like, Arma):
        mean = float(like.mean[0])
        found = [_fitted(u, mean, len(like.ar), len(like.ma), own)]
    else:
        found = [_fitted(u, mean, p, q, own) for p, q in settings.orders]
    n = len(u) * own
    information = [
        n * math.log(variance) + (len(ar) + len(ma)) * math.log(n) for ar, ma, variance in found
    ]
    ar, ma, variance = found[int(np.argmin(information))]
    null = float(np.mean((u[:, -own:] - mean) ** 2))
    nothing = np.zeros(0)
    return (
        Arma(mean=np.array([mean]), ar=ar, ma=ma, variance=np.array([variance])),
        Arma(mean=np.array([mean]), ar=nothing, ma=nothing, variance=np.array([null])),
    )


def _fitted(
    u: FloatArray, mean: float, p: int, q: int, own: int
) -> tuple[FloatArray, FloatArray, float]:
    """Return the coefficients with the least squared surprises in the last ``own`` sessions."""
    from scipy.optimize import minimize

    def squares(partial: FloatArray) -> float:
        ar, ma = _coefficients(partial[:p]), -_coefficients(partial[p:])
        return float(np.mean(_residuals(u, mean, ar, ma)[:, -own:] ** 2))

    # Partial autocorrelations inside the unit interval are all that is stationary and invertible.
    best = minimize(
        squares, np.zeros(p + q), method="L-BFGS-B", bounds=[(-_LARGEST, _LARGEST)] * (p + q)
    )
    return _coefficients(best.x[:p]), -_coefficients(best.x[p:]), float(best.fun)


def _coefficients(partial: FloatArray) -> FloatArray:
    """Return the autoregressive coefficients of these partial autocorrelations (Durbin-Levinson)."""
    found = np.zeros(0)
    for r in partial:
        found = np.append(found - r * found[::-1], r)
    return found


@njit(cache=True)
def _residuals(u: FloatArray, mean: float, ar: FloatArray, ma: FloatArray) -> FloatArray:
    """Return what each return was beyond its expectation; nothing was before the window."""
    n, window = u.shape
    e = np.zeros((n, window))
    for i in range(n):
        for t in range(window):
            expected = 0.0
            for k in range(len(ar)):
                if t > k:
                    expected += ar[k] * (u[i, t - 1 - k] - mean)
            for k in range(len(ma)):
                if t > k:
                    expected += ma[k] * e[i, t - 1 - k]
            e[i, t] = u[i, t] - mean - expected
    return e


@njit(cache=True)
def _ahead(u: FloatArray, mean: float, ar: FloatArray, ma: FloatArray, horizon: int) -> FloatArray:
    """Return the sum of the expected deviations of the next ``horizon`` returns."""
    e = _residuals(u, mean, ar, ma)
    n, window = u.shape
    out = np.empty(n)
    ahead = np.empty(horizon)
    for i in range(n):
        total = 0.0
        for h in range(horizon):
            expected = 0.0
            for k in range(len(ar)):
                expected += ar[k] * (ahead[h - 1 - k] if h > k else u[i, window + h - 1 - k] - mean)
            for k in range(len(ma)):
                if h <= k:
                    expected += ma[k] * e[i, window + h - 1 - k]
            ahead[h] = expected
            total += expected
        out[i] = total
    return out
