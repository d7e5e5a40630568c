"""A hidden Markov model of the returns of all names as a forecaster; family ``hmm``.

Regimes of the market as a whole, which scale the portfolio, are in ``features.regimes``, and so
is the filter.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.errors import ModelError
from trading.features.regimes import fit_states, forward_filter, gaussian_likelihood
from trading.models.base import HmmSettings
from trading.models.pooled import Estimate, Process

_LOG_2PI: Final = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hidden:
    """States with a mean and a volatility of their own, ordered by volatility.

    Filtered, never smoothed: what is expected is a mixture over how likely each state is today.
    A window begins in ``start``. Returns are in units of the volatility before the window.

    References
    ----------
    .. [1] Hamilton, J. (1989). "A New Approach to the Economic Analysis of Nonstationary Time
       Series and the Business Cycle." Econometrica, 57(2), 357-384.
    """

    scaled_at: ClassVar[int] = 0
    start: FloatArray
    transition: FloatArray
    means: FloatArray
    sigma: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {
            "start": self.start,
            "transition": self.transition,
            "means": self.means,
            "sigma": self.sigma,
        }

    def log_density(self, u: FloatArray, own: int) -> FloatArray:
        """Return the mean log density of the last ``own`` returns of each window."""
        density, _ = _filtered(u, self.start, self.transition, self.means, self.sigma, own)
        return density

    def ahead(self, u: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Return the sum of what the next returns' states mean beyond the usual, and its spread."""
        _, now = _filtered(u, self.start, self.transition, self.means, self.sigma, 1)
        return _ahead(now, self.transition, self.means - self.usual, self.sigma, horizon)

    @property
    def usual(self) -> float:
        """Mean of a return in the long run."""
        return float(_stationary(self.transition) @ self.means)


def estimator(settings: HmmSettings) -> Estimate:
    """Return what finds the states."""
    return partial(_estimate, settings)


def _estimate(
    settings: HmmSettings, u: FloatArray, own: int, like: Process | None = None
) -> tuple[Hidden, Hidden]:
    """Return the states of highest likelihood, and the same with one mean for all of them."""
    # Windows overlap: every so many-th of them has seen about as much as all.
    every = max(1, u.shape[1] // own, -(-len(u) // settings.sample_windows))
    some = np.ascontiguousarray(u[::every])
    if not float(some.std()) > 0.0:
        raise ModelError("수익률이 전혀 움직이지 않아 국면을 나눌 수 없음")
    found = fit_states(
        some.ravel(),
        settings.states,
        settings.iterations,
        lengths=np.full(len(some), some.shape[1]),
    )
    found = found.ordered(np.argsort(found.sigma, kind="stable"))
    process = Hidden(
        start=found.start, transition=found.transition, means=found.mean, sigma=found.sigma
    )
    return process, replace(process, means=np.full(settings.states, process.usual))


@njit(cache=True)
def _filtered(
    u: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    means: FloatArray,
    sigma: FloatArray,
    own: int,
) -> tuple[FloatArray, FloatArray]:
    """Return each window's mean log density of its own returns, and its states today."""
    n, window = u.shape
    k = len(means)
    density, now = np.zeros(n), np.empty((n, k))
    for i in range(n):
        found = forward_filter(start, transition, gaussian_likelihood(u[i], means, sigma))
        now[i] = found[-1]
        for t in range(window - own, window):
            best = -np.inf
            each = np.empty(k)
            for j in range(k):
                before = 0.0
                for s in range(k):
                    before += found[t - 1, s] * transition[s, j]
                distance = (u[i, t] - means[j]) / sigma[j]
                each[j] = np.log(max(before, 1e-300)) - np.log(sigma[j])
                each[j] -= 0.5 * (distance * distance + _LOG_2PI)
                best = max(best, each[j])
            total = 0.0
            for j in range(k):
                total += np.exp(each[j] - best)
            density[i] += (best + np.log(total)) / own
    return density, now


@njit(cache=True)
def _ahead(
    now: FloatArray, transition: FloatArray, means: FloatArray, sigma: FloatArray, horizon: int
) -> tuple[FloatArray, FloatArray]:
    n, k = now.shape
    mean, spread = np.empty(n), np.empty(n)
    state, ahead = np.empty(k), np.empty(k)
    for i in range(n):
        state[:] = now[i]
        total, variance = 0.0, 0.0
        for _ in range(horizon):
            expected, square = 0.0, 0.0
            for j in range(k):
                ahead[j] = 0.0
                for s in range(k):
                    ahead[j] += state[s] * transition[s, j]
                expected += ahead[j] * means[j]
                square += ahead[j] * (sigma[j] * sigma[j] + means[j] * means[j])
            state[:] = ahead
            total += expected
            variance += square - expected * expected
        mean[i], spread[i] = total, math.sqrt(variance)
    return mean, spread


def _stationary(transition: FloatArray) -> FloatArray:
    """Return how often each state is met in the long run."""
    k = len(transition)
    equations = np.vstack([transition.T - np.eye(k), np.ones(k)])
    share: FloatArray = np.linalg.lstsq(equations, np.append(np.zeros(k), 1.0), rcond=None)[0]
    return share
