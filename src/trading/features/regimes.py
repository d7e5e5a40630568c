"""Market regimes: a Gaussian hidden Markov model of the benchmark's returns, filtered.

What a regime does to the portfolio is decided in ``ensemble`` and ``risk``.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, permutations

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import AdjustedPanel

UNKNOWN = -1
_NAMES = {2: ("calm", "turbulent"), 3: ("calm", "normal", "turbulent")}


class RegimeSettings(BaseModel):
    """How the market regime is estimated; commented in ``config/features.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: int = Field(default=2, ge=2, le=3)
    window_sessions: int = Field(default=1008, ge=120)
    min_sessions: int = Field(default=252, ge=60)
    switch_probability: float = Field(default=0.7, ge=0.5, lt=1.0)
    equal_volatility: float = Field(default=0.15, ge=0.0, le=1.0)
    max_iterations: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _window_covers_minimum(self) -> "RegimeSettings":
        if self.min_sessions > self.window_sessions:
            raise ValueError("min_sessions 는 window_sessions 이하여야 합니다")
        return self


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class States:
    """A fitted model: emissions in daily returns, transitions from row to column."""

    start: FloatArray
    mean: FloatArray
    sigma: FloatArray
    transition: FloatArray

    def ordered(self, order: IntArray) -> "States":
        """Return the same model with its states in another order."""
        return States(
            start=self.start[order],
            mean=self.mean[order],
            sigma=self.sigma[order],
            transition=self.transition[np.ix_(order, order)],
        )


def market_returns(panel: AdjustedPanel) -> tuple[FloatArray, BoolArray]:
    """Return the market's simple return per session and whether it came from the index.

    Where the index has no close today or yesterday: the mean return of the tradable names with
    a bar on both days, summed from left to right. NaN where there is neither.
    """
    n = len(panel.sessions)
    index = np.full(n, np.nan)
    index[1:] = panel.benchmark[1:] / panel.benchmark[:-1] - 1.0
    from_index = np.isfinite(index)
    out = index
    # Row by row: of a wide market with an index nothing else has to be looked at.
    for row in np.flatnonzero(~from_index)[1:]:
        change = panel.close[row] / panel.close[row - 1] - 1.0
        change = change[panel.tradable[row] & np.isfinite(change)]
        if len(change) > 0:
            out[row] = np.cumsum(change)[-1] / len(change)
    return out, from_index


def estimate(panel: AdjustedPanel, settings: RegimeSettings, *, first_row: int = 0) -> Regimes:
    """Return the regime of each session from ``first_row`` on.

    On the first session of every month the model is fitted anew on the last
    ``window_sessions`` returns up to that session, and the filter starts again at the head of
    that window. Its states keep the names of the month before (``matched``), and so does the
    regime that is held, until another one reaches ``switch_probability``: a new fit alone changes
    nothing. The first fit of a year knows no month before: names follow volatility, and the
    regime is what the filter and its hysteresis make of the window.

    Row ``t`` therefore depends on the fits of its year and what came since, whatever
    ``first_row`` is; earlier rows are left ``UNKNOWN``.
    """
    returns, from_index = market_returns(panel)
    n, k = len(returns), settings.states
    state = np.full(n, UNKNOWN, dtype=np.int64)
    probability = np.full((n, k), np.nan)
    months = panel.sessions.astype("datetime64[M]")
    years = panel.sessions.astype("datetime64[Y]")
    starts = [t for t in range(1, n) if months[t] != months[t - 1]]
    before: States | None = None
    held = UNKNOWN
    for start, stop in pairwise([*starts, n]):
        if years[start] != years[start - 1]:
            before, held = None, UNKNOWN
        if first_row >= n or years[start] < years[first_row]:
            continue
        head = max(0, start + 1 - settings.window_sessions)
        past = returns[head : start + 1]
        past = past[np.isfinite(past)]
        states = None
        if len(past) >= settings.min_sessions:
            states = _fit(np.ascontiguousarray(past).tobytes(), k, settings.max_iterations)
        if states is None:
            before, held = None, UNKNOWN
            continue
        states = matched(states, before, equal_volatility=settings.equal_volatility)
        found = forward_filter(
            states.start,
            states.transition,
            gaussian_likelihood(returns[head:stop], states.mean, states.sigma),
        )
        found = np.round(found, 9)
        begin = start if held != UNKNOWN else head
        line = hold(found[begin - head :], settings.switch_probability, held)
        before, held = states, int(line[-1])
        first = max(start, first_row)
        if first < stop:
            probability[first:stop] = found[first - head :]
            state[first:stop] = line[first - begin :]
    return Regimes(state=state, probability=probability, names=_NAMES[k], from_index=from_index)


def matched(states: States, before: States | None, *, equal_volatility: float) -> States:
    """Return the states in the order of those of the month before.

    The order is by volatility. Only among states whose volatilities differ by no more than the
    share ``equal_volatility`` is that order chance, and a new fit would exchange their names:
    there the order counts that is nearest to the month before, by the sum of the squared
    Hellinger distances of the emissions. It never calls a state calm that is clearly wilder than
    the one called turbulent.
    """
    best = np.argsort(states.sigma, kind="stable")
    if before is None:
        return states.ordered(best)
    nearest = _distance(states.ordered(best), before)
    for tried in permutations(best.tolist()):
        order = np.array(tried, dtype=np.int64)
        sigma = states.sigma[order]
        widest_so_far = np.maximum.accumulate(sigma)
        if (sigma * (1.0 + equal_volatility) < widest_so_far).any():
            continue
        distance = _distance(states.ordered(order), before)
        if distance < nearest:
            best, nearest = order, distance
    return states.ordered(best)


def _distance(a: States, b: States) -> float:
    squares = a.sigma**2 + b.sigma**2
    overlap = np.sqrt(2.0 * a.sigma * b.sigma / squares)
    overlap *= np.exp(-0.25 * (a.mean - b.mean) ** 2 / squares)
    # Rounded: the order of two fits that are as near as each other is not left to the last bit.
    return round(float(np.sum(1.0 - overlap)), 9)


@lru_cache(maxsize=4096)
def _fit(window: bytes, k: int, iterations: int) -> States | None:
    """Return the states of one window of returns.

    Cached by content: each new session of a running program refits at most one month. ``None``
    for returns without any variation.
    """
    past = np.frombuffer(window, dtype=np.float64)
    return fit_states(past, k, iterations) if float(past.std()) >= 1e-9 else None


def fit_states(
    values: FloatArray, k: int, iterations: int, *, lengths: IntArray | None = None
) -> States:
    """Return the ``k`` states that explain ``values`` best, by expectation and maximization.

    ``values`` has shape ``(n,)``, is finite and varies; ``lengths`` divides it into series that
    do not go on in each other. The start is not random, so the same values give the same states,
    to the bit; they come in no order.
    """
    from hmmlearn.hmm import GaussianHMM

    # hmmlearn reports non-convergence in English on stderr; the iteration bound is ours.
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    center, scale = float(values.mean()), float(values.std())
    z = ((values - center) / scale)[:, None]
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
    model.fit(z, lengths)
    # Rounded so that the last bits of a BLAS never reach a regime switch.
    mean = np.round(model.means_[:, 0], 9)
    sigma = np.sqrt(np.round(model.covars_.reshape(k), 9))
    return States(
        start=np.round(model.startprob_, 9),
        mean=center + scale * mean,
        sigma=scale * sigma,
        transition=np.round(model.transmat_, 9),
    )


# ---- hidden Markov chains ------------------------------------------------------------------


@njit(cache=True)
def gaussian_likelihood(values: FloatArray, mean: FloatArray, sigma: FloatArray) -> FloatArray:
    """Return how likely each value is in each state, of shape ``(n, n_states)``.

    Each row is divided by its largest: only the proportions count, and however far out a value
    is, one state explains it best. A missing value (NaN) says nothing: NaN.
    """
    n, k = len(values), len(mean)
    out = np.empty((n, k))
    for t in range(n):
        best = -np.inf
        for j in range(k):
            distance = (values[t] - mean[j]) / sigma[j]
            out[t, j] = -0.5 * distance * distance - np.log(sigma[j])
            best = max(best, out[t, j])
        for j in range(k):
            out[t, j] = np.exp(out[t, j] - best) if np.isfinite(values[t]) else np.nan
    return out


@njit(cache=True)
def forward_filter(start: FloatArray, transition: FloatArray, likelihood: FloatArray) -> FloatArray:
    """Return the probability of each state given what was seen so far, of shape ``(n, n_states)``.

    Parameters
    ----------
    start : ndarray of shape (n_states,)
        Probabilities before the first observation, at its time.
    transition : ndarray of shape (n_states, n_states)
        From row to column.
    likelihood : ndarray of shape (n, n_states)
        Of each observation in each state, up to a factor per row. A row with NaN is no
        observation; one that is 0 in every possible state contradicts the model and is none.

    References
    ----------
    .. [1] Rabiner, L. R. (1989). "A Tutorial on Hidden Markov Models and Selected Applications in
       Speech Recognition." Proceedings of the IEEE, 77(2), 257-286.
    """
    n, k = likelihood.shape
    out = np.empty((n, k))
    for t in range(n):
        total = 0.0
        for j in range(k):
            ahead = start[j]
            if t > 0:
                ahead = 0.0
                for i in range(k):
                    ahead += out[t - 1, i] * transition[i, j]
            out[t, j] = ahead * likelihood[t, j]
            total += out[t, j]
        if total > 0.0:
            for j in range(k):
                out[t, j] /= total
        else:
            for j in range(k):
                out[t, j] = start[j]
                if t > 0:
                    out[t, j] = 0.0
                    for i in range(k):
                        out[t, j] += out[t - 1, i] * transition[i, j]
    return out


@njit(cache=True)
def smooth(start: FloatArray, transition: FloatArray, likelihood: FloatArray) -> FloatArray:
    """Return the probability of each state given all that was seen, later rows too.

    For looking back only: nothing that decides may use it.
    """
    out = forward_filter(start, transition, likelihood)
    n, k = likelihood.shape
    for t in range(n - 2, -1, -1):
        ahead = np.zeros(k)
        for j in range(k):
            for i in range(k):
                ahead[j] += out[t, i] * transition[i, j]
        for i in range(k):
            factor = 0.0
            for j in range(k):
                if ahead[j] > 0.0:
                    factor += transition[i, j] * out[t + 1, j] / ahead[j]
            out[t, i] *= factor
    return out


@njit(cache=True)
def viterbi(
    start: FloatArray, transition: FloatArray, likelihood: FloatArray
) -> tuple[IntArray, float]:
    """Return the most likely path of states as a whole and the logarithm of its probability.

    For looking back only, like ``smooth``. Of paths that are equally likely the one of the lower
    states counts. A row with NaN is no observation.
    """
    n, k = likelihood.shape
    score = np.empty((n, k))
    back = np.zeros((n, k), dtype=np.int64)
    for t in range(n):
        for j in range(k):
            best = np.log(start[j])
            if t > 0:
                best = -np.inf
                for i in range(k):
                    tried = score[t - 1, i] + np.log(transition[i, j])
                    if tried > best:
                        best = tried
                        back[t, j] = i
            seen = likelihood[t, j]
            score[t, j] = best + (0.0 if np.isnan(seen) else np.log(seen))
    path = np.zeros(n, dtype=np.int64)
    if n == 0:
        return path, 0.0
    path[n - 1] = np.argmax(score[n - 1])
    for t in range(n - 2, -1, -1):
        path[t] = back[t + 1, path[t + 1]]
    return path, score[n - 1, path[n - 1]]


@njit(cache=True)
def hold(probability: FloatArray, switch: float, held: int) -> IntArray:
    """Return the state that is held: another one only from the probability ``switch`` on.

    ``held`` is the state before the first row, ``UNKNOWN`` when there is none.
    """
    state = np.empty(len(probability), dtype=np.int64)
    for t in range(len(probability)):
        best = int(np.argmax(probability[t]))
        if held == -1 or probability[t, best] >= switch:
            held = best
        state[t] = held
    return state
