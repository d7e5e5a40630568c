"""A drift that moves, seen through noise: the Kalman filter as a forecaster; family ``kalman``.

The filter of a hedge ratio, which pairs are traded by, is in ``kalman``.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.models.pooled import Process

_LOG_2PI: Final = math.log(2.0 * math.pi)
# Logarithms of the variances of a step and of the first level over that of the noise. Below the
# lowest the level does not move, or is nothing, for as long as anybody looks.
_LOWEST: Final = (math.log(1e-10), math.log(1e-8))
_HIGHEST: Final = (math.log(1.0), math.log(1.0))
_GRID: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    r"""The local level model: a name's drift is a random walk, its return that and noise.

    .. math:: u_t - \mu = d_t + \varepsilon_t, \quad d_{t+1} = d_t + \eta_t, \quad
              \varepsilon \sim N(0, r), \; \eta \sim N(0, q), \; d_0 \sim N(0, p)

    ``mean`` is :math:`\mu`, ``variances`` are :math:`(p, q, r)`. Filtered, never smoothed. Returns
    are in units of the newest volatility.

    References
    ----------
    .. [1] Durbin, J. and Koopman, S. J. (2012). "Time Series Analysis by State Space Methods",
       2nd ed., chapter 2.
    """

    scaled_at: ClassVar[int] = -1
    mean: FloatArray
    variances: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {"mean": self.mean, "variances": self.variances}

    def log_density(self, u: FloatArray, own: int) -> FloatArray:
        """Return the mean log density of the last ``own`` returns of each window."""
        p, q, r = self.variances
        squares, logs, _, _ = _filtered(u, float(self.mean[0]), p, q, r, own)
        density: FloatArray = -0.5 * (_LOG_2PI + logs / own + squares / own)
        return density

    def ahead(self, u: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Return the level times the horizon, and the spread of the sum of what follows."""
        p, q, r = self.variances
        _, _, level, known = _filtered(u, float(self.mean[0]), p, q, r, 1)
        # The step before the k-th return from the end is in k returns.
        steps = horizon * (horizon + 1) * (2 * horizon + 1) / 6.0
        spread = math.sqrt(horizon * r + horizon**2 * known + steps * q)
        return horizon * level, np.full(len(u), spread)


def estimate(u: FloatArray, own: int, like: Process | None = None) -> tuple[Level, Level]:
    """Return the process of highest likelihood, and that of a level which is always 0.

    Of the last ``own`` returns of each window, given those before them. The noise is known once
    the ratios to it are, so two numbers are searched: over a grid, then by Nelder and Mead.
    """
    from scipy.optimize import minimize

    mean = float(u[:, -own:].mean())

    def profile(logs: FloatArray) -> tuple[float, float]:
        """Return minus twice the mean log density at the best noise, and that noise."""
        squares, log_variances, _, _ = _filtered(
            u, mean, math.exp(logs[1]), math.exp(logs[0]), 1.0, own
        )
        noise = float(squares.mean()) / own
        return math.log(noise) + log_variances / own, noise

    def loss(logs: FloatArray) -> float:
        inside = np.clip(logs, _LOWEST, _HIGHEST)
        # Outside the bounds the loss rises, so that the search comes back.
        return profile(inside)[0] + float(np.abs(logs - inside).sum())

    axes = [np.linspace(low, high, _GRID) for low, high in zip(_LOWEST, _HIGHEST, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    best = grid[int(np.argmin([loss(point) for point in grid]))]
    found = minimize(loss, best, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-10})
    logs = np.clip(found.x, _LOWEST, _HIGHEST)
    _, noise = profile(logs)
    whole = float(np.mean((u[:, -own:] - mean) ** 2))
    return (
        Level(
            mean=np.array([mean]),
            variances=noise * np.array([math.exp(logs[1]), math.exp(logs[0]), 1.0]),
        ),
        Level(mean=np.array([mean]), variances=np.array([0.0, 0.0, whole])),
    )


@njit(cache=True, nogil=True)
def _filtered(
    u: FloatArray, mean: float, p: float, q: float, r: float, own: int
) -> tuple[FloatArray, float, FloatArray, float]:
    """Return the squared surprises over their variances and the sum of its logarithms, own ones.

    Then each window's last level and its variance: what is known of a level does not depend on
    what was seen, so it is the same for all.
    """
    n, window = u.shape
    squares, level = np.zeros(n), np.zeros(n)
    logs = 0.0
    for t in range(window):
        s = p + r
        k = p / s
        counts = t >= window - own
        for i in range(n):
            e = u[i, t] - mean - level[i]
            if counts:
                squares[i] += e * e / s
            level[i] += k * e
        if counts:
            logs += math.log(s)
        p -= k * p
        if t < window - 1:
            p += q
    return squares, logs, level, p
