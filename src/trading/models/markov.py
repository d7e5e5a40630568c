"""Autoregressions whose mean switches between hidden states (Hamilton 1989).

The states are filtered by ``features.regimes.forward_filter``, as those of the market are.
"""

import math
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray
from trading.errors import ModelError
from trading.features.regimes import forward_filter

# Where the search starts: how likely a state is to stay.
_STAYS = (0.7, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarkovFit:
    """A fitted autoregression with switching mean; states are ordered by their mean.

    ``transition[i, j]`` is the probability of going from state ``i`` to ``j``; ``probability`` has
    shape ``(n - order, n_states)`` and is filtered: its last row is what is known today.
    """

    transition: FloatArray
    means: FloatArray
    variance: float
    coefficients: FloatArray
    log_likelihood: float
    probability: FloatArray

    @property
    def durations(self) -> FloatArray:
        """Expected stay in each state, in observations."""
        durations: FloatArray = 1.0 / (1.0 - np.diag(self.transition))
        return durations


def fit_markov_autoregression(series: FloatArray, *, order: int) -> MarkovFit:
    r"""Return the maximum-likelihood two-state model.

    .. math:: y_t - \mu_{s_t} = \sum_{k=1}^{p} \phi_k (y_{t-k} - \mu_{s_{t-k}}) + e_t

    Conditional on the first ``order`` observations; the state begins in its long-run distribution.

    Parameters
    ----------
    series : ndarray of shape (n,)
        Observations, oldest first, all finite.
    order : int
        Lags ``p``; the filter runs over the ``2 ** (order + 1)`` histories of the state.

    Raises
    ------
    ModelError
        With fewer than ten observations for each parameter, or without variation.

    References
    ----------
    .. [1] Hamilton, J. (1989). "A New Approach to the Economic Analysis of Nonstationary Time
       Series and the Business Cycle." Econometrica, 57(2), 357-384.
    """
    from scipy.optimize import minimize

    y = np.asarray(series, dtype=np.float64)
    needed = 10 * (5 + order)
    if len(y) < needed or not np.all(np.isfinite(y)):
        raise ModelError(f"국면 전환 모형에는 빠짐없는 값이 {needed}개 이상 필요합니다: {len(y)}개")
    center, scale = float(y.mean()), float(y.std())
    if not scale > 1e-12 * max(1.0, abs(center)):
        raise ModelError("값이 전혀 움직이지 않아 국면 전환 모형을 맞출 수 없습니다.")
    z = (y - center) / scale
    lags = np.column_stack([z[order - k : len(z) - k] for k in range(order + 1)])

    def loss(theta: FloatArray) -> float:
        return -_filtered(lags, *_parameters(theta))[0] / len(lags)

    starts = [
        np.array([_logit(low), _logit(high), -1.0, 0.5, -0.5, *np.zeros(order)])
        for low in _STAYS
        for high in _STAYS
    ]
    found = min(
        (minimize(loss, start, method="BFGS", options={"gtol": 1e-7}) for start in starts),
        key=lambda result: float(result.fun),
    )
    transition, means, variance, coefficients = _parameters(found.x)
    value, probability = _filtered(lags, transition, means, variance, coefficients)
    rank = np.argsort(means, kind="stable")
    return MarkovFit(
        transition=transition[np.ix_(rank, rank)],
        means=means[rank] * scale + center,
        variance=variance * scale**2,
        coefficients=coefficients,
        log_likelihood=value - len(lags) * math.log(scale),
        probability=probability[:, rank],
    )


def _parameters(theta: FloatArray) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    stay = 1.0 / (1.0 + np.exp(-np.clip(theta[:2], -30.0, 30.0)))
    transition = np.array([[stay[0], 1.0 - stay[0]], [1.0 - stay[1], stay[1]]])
    # A line search may try any number: no standard deviation below 1e-8 or above 1e8.
    return transition, theta[2:4], math.exp(2.0 * float(np.clip(theta[4], -18.0, 18.0))), theta[5:]


def _filtered(
    lags: FloatArray,
    transition: FloatArray,
    means: FloatArray,
    variance: float,
    coefficients: FloatArray,
) -> tuple[float, FloatArray]:
    """Return the log likelihood and the filtered probability of each state.

    ``lags`` has shape ``(n, order + 1)``, today's value first. A history of states is a number
    whose binary digits are the states, today's the most significant.
    """
    depth = lags.shape[1]
    states = (np.arange(2**depth)[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    weights = np.array([1.0, *-coefficients])
    residuals = (lags @ weights)[:, None] - (means[states] @ weights)[None, :]
    density = -0.5 * (residuals**2 / variance + math.log(2.0 * math.pi * variance))
    # Up to a factor a row, so that no value is too far out for every state.
    best = density.max(axis=1)
    likelihood = np.exp(density - best[:, None])
    # A history goes to those that begin with any state and continue with all but its oldest.
    paths = np.zeros((len(states), len(states)))
    for new in (0, 1):
        following = (new << (depth - 1)) | (np.arange(len(states)) >> 1)
        paths[np.arange(len(states)), following] = transition[states[:, 0], new]
    leave = 1.0 - np.diag(transition)
    start = (leave[::-1] / leave.sum())[states[:, -1]]
    for k in range(depth - 1):
        start = start * transition[states[:, k + 1], states[:, k]]
    filtered = forward_filter(start, paths, likelihood)
    before = np.vstack([start, filtered[:-1] @ paths])
    total = float(np.sum(best + np.log(np.sum(before * likelihood, axis=1))))
    today = filtered @ (states[:, 0][:, None] == np.arange(2))
    return total, today


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))
