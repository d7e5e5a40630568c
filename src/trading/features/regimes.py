"""Market regimes: a Gaussian hidden Markov model of the benchmark's returns, filtered.

What a regime does to the portfolio is decided in ``ensemble`` and ``risk``.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import AdjustedPanel
from trading.features.pipeline import RegimeSettings

UNKNOWN = -1
_NAMES = {2: ("calm", "turbulent"), 3: ("calm", "normal", "turbulent")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regimes:
    """The regime of every session; states are ordered by volatility, ``UNKNOWN`` is -1.

    ``probability`` has shape ``(n_sessions, n_states)`` and is filtered, never smoothed.
    ``from_index`` says where the benchmark's own return was recorded; elsewhere the
    equal-weight return of the tradable names stands in.
    """

    state: IntArray
    probability: FloatArray
    names: tuple[str, ...]
    from_index: BoolArray

    def name(self, row: int) -> str:
        """Return the regime's name at ``row``; ``unknown`` before there is enough history."""
        state = int(self.state[row])
        return "unknown" if state == UNKNOWN else self.names[state]


def market_returns(panel: AdjustedPanel) -> tuple[FloatArray, BoolArray]:
    """Return the market's simple return per session and whether it came from the index.

    Where the index has no close today or yesterday: the mean return of the tradable names with
    a bar on both days, summed from left to right. NaN where there is neither.
    """
    n = len(panel.sessions)
    index = np.full(n, np.nan)
    index[1:] = panel.benchmark[1:] / panel.benchmark[:-1] - 1.0
    change = np.full(panel.close.shape, np.nan)
    change[1:] = panel.close[1:] / panel.close[:-1] - 1.0
    change[~panel.tradable] = np.nan
    known = np.isfinite(change)
    count = known.sum(axis=1)
    total = np.cumsum(np.where(known, change, 0.0), axis=1)[:, -1]
    universe = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    from_index = np.isfinite(index)
    return np.where(from_index, index, universe), from_index


def estimate(panel: AdjustedPanel, settings: RegimeSettings, *, first_row: int = 0) -> Regimes:
    """Return the regime of each session from ``first_row`` on.

    On the first session of every month the model is fitted anew on the last
    ``window_sessions`` returns up to that session, and the filter and its hysteresis start
    again at the head of that window. Row ``t`` therefore depends on one window and what came
    since, whatever ``first_row`` is; earlier rows are left ``UNKNOWN``.
    """
    returns, from_index = market_returns(panel)
    n, k = len(returns), settings.states
    state = np.full(n, UNKNOWN, dtype=np.int64)
    probability = np.full((n, k), np.nan)
    months = panel.sessions.astype("datetime64[M]")
    starts = [t for t in range(1, n) if months[t] != months[t - 1]]
    for start, stop in pairwise([*starts, n]):
        if stop <= first_row:
            continue
        head = max(0, start + 1 - settings.window_sessions)
        past = returns[head : start + 1]
        past = past[np.isfinite(past)]
        if len(past) < settings.min_sessions:
            continue
        model = _fit(np.ascontiguousarray(past).tobytes(), k, settings.max_iterations)
        if model is None:
            continue
        center, scale, parameters = model
        standardized = (returns[head:stop] - center) / scale
        p, s = _filter(standardized, parameters, settings.switch_probability)
        begin = max(start, first_row)
        probability[begin:stop] = p[begin - head :]
        state[begin:stop] = s[begin - head :]
    return Regimes(state=state, probability=probability, names=_NAMES[k], from_index=from_index)


@lru_cache(maxsize=4096)
def _fit(window: bytes, k: int, iterations: int) -> tuple[float, float, FloatArray] | None:
    """Return mean, sigma and rows ``[start | mean | variance | transitions…]`` of the states.

    Cached by content: each new session of a running program refits at most one month. ``None``
    for returns without any variation.
    """
    from hmmlearn.hmm import GaussianHMM

    # hmmlearn reports non-convergence in English on stderr; the iteration bound is ours.
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    past = np.frombuffer(window, dtype=np.float64)
    center, scale = float(past.mean()), float(past.std())
    if scale < 1e-9:
        return None
    z = ((past - center) / scale)[:, None]
    model = GaussianHMM(
        k, covariance_type="diag", n_iter=iterations, tol=1e-3, init_params="", params="stmc"
    )
    leave = 0.05 / (k - 1)
    model.startprob_ = np.full(k, 1.0 / k)
    model.transmat_ = np.full((k, k), leave) + np.eye(k) * (0.95 - leave)
    model.means_ = np.zeros((k, 1))
    # Start from the spread of small, (middle) and large moves: no random start, no label luck.
    ordered = np.sort(np.abs(z[:, 0]))
    parts = np.array_split(ordered, k)
    model.covars_ = np.array([[float(np.mean(part**2)) + 1e-3] for part in parts])
    model.fit(z)
    variance = model.covars_.reshape(k)
    order = np.argsort(variance, kind="stable")
    parameters = np.empty((k, 3 + k))
    parameters[:, 0] = model.startprob_[order]
    parameters[:, 1] = model.means_[order, 0]
    parameters[:, 2] = variance[order]
    parameters[:, 3:] = model.transmat_[np.ix_(order, order)]
    # Rounded so that the last bits of a BLAS never reach a regime switch.
    return center, scale, np.round(parameters, 9)


@njit(cache=True)
def _filter(z: FloatArray, parameters: FloatArray, switch: float) -> tuple[FloatArray, IntArray]:
    """Run the forward filter over ``z`` and the hysteresis over its probabilities."""
    n, k = len(z), parameters.shape[0]
    probability = np.empty((n, k))
    state = np.empty(n, dtype=np.int64)
    belief = parameters[:, 0].copy()
    ahead = np.empty(k)
    held = -1
    for t in range(n):
        for j in range(k):
            ahead[j] = belief[j]
            if t > 0:
                ahead[j] = 0.0
                for i in range(k):
                    ahead[j] += belief[i] * parameters[i, 3 + j]
        if np.isfinite(z[t]):
            total = 0.0
            for j in range(k):
                distance = z[t] - parameters[j, 1]
                variance = parameters[j, 2]
                ahead[j] *= np.exp(-0.5 * distance * distance / variance) / np.sqrt(variance)
                total += ahead[j]
            if total > 0.0:
                for j in range(k):
                    ahead[j] /= total
            else:
                # Farther out than any state explains: the widest one.
                for j in range(k):
                    ahead[j] = 1.0 if j == k - 1 else 0.0
        best = 0
        for j in range(k):
            belief[j] = ahead[j]
            probability[t, j] = np.round(ahead[j], 9)
            if probability[t, j] > probability[t, best]:
                best = j
        if held == -1 or probability[t, best] >= switch:
            held = best
        state[t] = held
    return probability, state
