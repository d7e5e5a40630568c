r"""The hedge ratio as a state: ``y = beta x + alpha + noise`` with both drifting.

.. math:: y_t = \beta_t x_t + \alpha_t + \varepsilon_t, \quad
          (\beta, \alpha)_{t+1} = (\beta, \alpha)_t + \eta_t, \quad
          \varepsilon \sim N(0, r), \; \eta \sim N(0, \mathrm{diag}(q_\beta, q_\alpha))

Always filtered, never smoothed: what a row says, it said on that day. Give ``x`` with the mean of
its fitting window taken off, or ``beta`` and ``alpha`` can hardly be told apart. With ``x`` of
zeros it is the local level model. Which pairs are followed is ``strategies.statistical``.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray
from trading.errors import MissingDataError

_LOG_2PI: Final = math.log(2.0 * math.pi)

# Ratios of the variance of a state's step, in units of y, to that of the noise. A state that moves
# less than the lowest does not move in a lifetime of bars.
_LOWEST: Final = math.log(1e-10)
_HIGHEST: Final = math.log(1e2)
_GRID: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Variances: of the steps of ``beta`` and ``alpha``, and of the observation."""

    beta: float
    alpha: float
    observation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of (``beta``, ``alpha``) before the first observation.

    ``covariance`` is (beta, between, alpha); ``diffuse`` are the variances that are infinite, as
    multiples of one infinity.
    """

    mean: tuple[float, float] = (0.0, 0.0)
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    diffuse: tuple[float, float] = (0.0, 0.0)


UNKNOWN: Final = Prior(diffuse=(1.0, 1.0))
"""Nothing is believed: the exact diffuse start."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filtered:
    """What the filter says at each row, of that row and those before it.

    Attributes
    ----------
    states : ndarray of shape (n_bars, 2)
        ``(beta, alpha)`` after the row's observation.
    innovations, variances : ndarray of shape (n_bars,)
        The observation less what was expected of it one row before, and the variance of that; NaN
        where nothing was observed or nothing could yet be expected.
    log_likelihood : float
        Of all observations; of a diffuse start the exact diffuse one (Durbin and Koopman).
    """

    states: FloatArray
    innovations: FloatArray
    variances: FloatArray
    log_likelihood: float

    def z(self) -> FloatArray:
        """Return the standardized innovations: N(0, 1) and independent where the model holds."""
        return self.innovations / np.sqrt(self.variances)

    def log_likelihood_after(self, row: int) -> float:
        """Return the log-likelihood without the first ``row`` observations."""
        z, variances = self.z()[row:], self.variances[row:]
        seen = np.isfinite(z)
        return float(-0.5 * (_LOG_2PI + np.log(variances[seen]) + z[seen] ** 2).sum())


def hedge_filter(y: FloatArray, x: FloatArray, noise: Noise, prior: Prior = UNKNOWN) -> Filtered:
    """Filter ``y`` on ``x``, both of shape ``(n_bars,)``; a NaN in either is no observation.

    References
    ----------
    .. [1] Durbin, J. and Koopman, S. J. (2012). "Time Series Analysis by State Space Methods",
       2nd ed., chapters 4 and 5.
    """
    n = len(y)
    states, innovations, variances = np.empty((n, 2)), np.empty(n), np.empty(n)
    log_likelihood, _, _ = _filter(
        np.ascontiguousarray(y, dtype=np.float64),
        np.ascontiguousarray(x, dtype=np.float64),
        noise.beta,
        noise.alpha,
        noise.observation,
        *prior.mean,
        *prior.covariance,
        *prior.diffuse,
        states,
        innovations,
        variances,
    )
    return Filtered(
        states=states,
        innovations=innovations,
        variances=variances,
        log_likelihood=log_likelihood,
    )


def fit_ml(y: FloatArray, x: FloatArray) -> Noise:
    """Return the variances of highest diffuse likelihood.

    The observation's variance is known once the ratios to it are, so two numbers are searched:
    over a grid, then by Nelder and Mead. Without a random start, so always the same.

    Raises
    ------
    MissingDataError
        With fewer than 10 observations, or where the observations do not vary.
    """
    from scipy.optimize import minimize

    y, x = _checked(y, x)
    # A ratio counts in units of y: a step of beta moves it by the size of x. Where x never moves
    # beta has nothing to say.
    square = float((x * x).mean()) if np.ptp(x) > 0.0 else math.inf
    unit = np.array([1.0 / square, 1.0])
    free = np.flatnonzero(unit)
    scratch = (np.empty((len(y), 2)), np.empty(len(y)), np.empty(len(y)))

    def loss(logs: FloatArray) -> float:
        ratios = np.zeros(2)
        ratios[free] = unit[free] * np.exp(np.clip(logs, _LOWEST, _HIGHEST))
        # Outside the bounds the loss rises, so that the search comes back.
        outside = float(np.abs(logs - np.clip(logs, _LOWEST, _HIGHEST)).sum())
        return _profile(y, x, ratios, scratch)[0] + outside

    axis = np.linspace(_LOWEST, math.log(1.0), _GRID)
    grid = np.stack(np.meshgrid(*[axis] * len(free), indexing="ij"), axis=-1).reshape(-1, len(free))
    best = grid[int(np.argmin([loss(point) for point in grid]))]
    found = minimize(
        loss,
        best,
        method="Nelder-Mead",
        options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 400},
    )
    ratios = np.zeros(2)
    ratios[free] = unit[free] * np.exp(np.clip(found.x, _LOWEST, _HIGHEST))
    _, observation = _profile(y, x, ratios, scratch)
    return Noise(
        beta=float(ratios[0] * observation),
        alpha=float(ratios[1] * observation),
        observation=observation,
    )


def fit_em(y: FloatArray, x: FloatArray, *, start: Noise, iterations: int) -> Noise:
    """Return the variances after ``iterations`` of expectation–maximization from ``start``.

    The likelihood rises with every iteration, towards that of ``fit_ml``, slowly where a state
    hardly moves. The start of the states is known to within a hundred standard errors of a plain
    regression. About a thousand times the cost of ``fit_ml``.

    Raises
    ------
    MissingDataError
        With fewer than 10 observations, or where the observations do not vary.

    References
    ----------
    .. [1] Shumway, R. H. and Stoffer, D. S. (1982). "An Approach to Time Series Smoothing and
       Forecasting Using the EM Algorithm." Journal of Time Series Analysis, 3(4), 253-264.
    """
    from pykalman import KalmanFilter

    y, x = _checked(y, x)
    prior = wide_prior(y, x)
    noise = start
    model = KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.stack([x, np.ones_like(x)], axis=-1)[:, None, :],
        initial_state_mean=np.array(prior.mean),
        initial_state_covariance=np.diag([prior.covariance[0], prior.covariance[2]]),
        transition_covariance=np.diag([noise.beta, noise.alpha]),
        observation_covariance=np.array([[noise.observation]]),
        em_vars=["transition_covariance", "observation_covariance"],
    )
    for _ in range(iterations):
        model = model.em(y, n_iter=1)
        # The best diagonal is the diagonal of the best matrix.
        steps = np.diag(np.asarray(model.transition_covariance))
        model.transition_covariance = np.diag(steps)
        noise = Noise(
            beta=float(steps[0]),
            alpha=float(steps[1]),
            observation=float(np.asarray(model.observation_covariance).item()),
        )
    return noise


def wide_prior(y: FloatArray, x: FloatArray) -> Prior:
    """Return the plain regression of ``y`` on ``x``, believed to 100 of its standard errors."""
    n = len(y)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    square = float(((x - mean_x) ** 2).sum())
    beta = float(((x - mean_x) * (y - mean_y)).sum()) / square if square > 0.0 else 0.0
    left = float((((y - mean_y) - beta * (x - mean_x)) ** 2).sum()) / max(1, n - 2)
    wide = 1e4 * left
    return Prior(
        mean=(beta, mean_y - beta * mean_x),
        covariance=(wide / square if square > 0.0 else 0.0, 0.0, wide / n),
    )


def _checked(y: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rows with both numbers."""
    seen = np.isfinite(y) & np.isfinite(x)
    if seen.sum() < 10 or np.ptp(y[seen]) <= 0.0:
        raise MissingDataError(f"변하는 관측 10개가 필요함, 받은 것 {int(seen.sum())}개")
    y = np.ascontiguousarray(y[seen], dtype=np.float64)
    return y, np.ascontiguousarray(x[seen], dtype=np.float64)


def _profile(
    y: FloatArray,
    x: FloatArray,
    ratios: FloatArray,
    scratch: tuple[FloatArray, FloatArray, FloatArray],
) -> tuple[float, float]:
    """Return minus the log-likelihood at the best observation variance, and that variance."""
    _, squares, logs = _filter(
        y, x, ratios[0], ratios[1], 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, *UNKNOWN.diffuse, *scratch
    )
    counted = int(np.isfinite(scratch[2]).sum())
    observation = squares / counted
    if not observation > 0.0:
        return math.inf, math.nan
    half = 0.5 * (counted * (_LOG_2PI + math.log(observation) + 1.0) + logs)
    return half, observation


@njit(cache=True, nogil=True)
def _filter(
    y: FloatArray,
    x: FloatArray,
    q_beta: float,
    q_alpha: float,
    r: float,
    beta: float,
    alpha: float,
    p00: float,
    p01: float,
    p11: float,
    d00: float,
    d11: float,
    states: FloatArray,
    innovations: FloatArray,
    variances: FloatArray,
) -> tuple[float, float, float]:
    """Write what the filter says; return log-likelihood, sum of z squared, sum of log variances.

    ``p`` is the covariance of the states, ``d`` the part of it that is infinite. Two states and
    one observation, so every product is written out.
    """
    d01 = 0.0
    unknown = d00 > 0.0 or d11 > 0.0
    largest = max(d00, d11)
    squares, logs = 0.0, 0.0
    seen = 0
    for t in range(y.shape[0]):
        innovations[t], variances[t] = np.nan, np.nan
        h = x[t]
        e = y[t] - beta * h - alpha
        if e == e:
            seen += 1
            m0, m1 = p00 * h + p01, p01 * h + p11
            s = m0 * h + m1 + r
            i0, i1 = d00 * h + d01, d01 * h + d11
            infinite = i0 * h + i1
            # Rounding leaves a trace of an infinity that is used up; it must not count.
            if unknown and infinite > 1e-10 * largest * (h * h + 1.0):
                k0, k1 = i0 / infinite, i1 / infinite
                beta += k0 * e
                alpha += k1 * e
                p00 += k0 * k0 * s - 2.0 * k0 * m0
                p01 += k0 * k1 * s - k0 * m1 - k1 * m0
                p11 += k1 * k1 * s - 2.0 * k1 * m1
                d00 -= k0 * i0
                d01 -= k0 * i1
                d11 -= k1 * i1
                logs += math.log(infinite)
                tiny = 1e-10 * largest
                if d00 <= tiny and d11 <= tiny:
                    unknown = False
            elif s > 0.0:
                k0, k1 = m0 / s, m1 / s
                beta += k0 * e
                alpha += k1 * e
                p00 -= k0 * m0
                p01 -= k0 * m1
                p11 -= k1 * m1
                squares += e * e / s
                logs += math.log(s)
                innovations[t], variances[t] = e, s
        states[t, 0], states[t, 1] = beta, alpha
        p00 += q_beta
        p11 += q_alpha
    return -0.5 * (seen * _LOG_2PI + logs + squares), squares, logs
