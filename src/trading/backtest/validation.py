"""What the best of many tried configurations is worth: overfitting, superiority, stability.

Arrays in and out; nothing here trades. Measures of one track record, and the splits of a history,
are in ``trading.measures``, choosing on one stretch and trading the next in ``backtest.walkforward``.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from trading import measures
from trading.domain.arrays import BoolArray, FloatArray, IntArray

# Exact enumeration of more blocks than this takes minutes: 16 make 12,870 halves, 20 184,756.
MAX_BLOCKS = 16
# Sharpe ratios are rounded to this part of 1 before they are compared, so that the last bit never
# ranks two equals.
_GRAIN = 1e9
# Sessions below which a test of superiority says nothing.
_LEAST_SESSIONS = 20
# Returns that deviate less than this from the benchmark's differ by rounding only.
_LEAST_DEVIATION = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overfitting:
    """What was left, in the other half, of the configuration that was best in one half.

    ``pbo`` is the probability that the best is below the median of the others there; ``slope``
    and ``intercept`` the line of its Sharpe ratio there on the one that chose it, ``r_squared`` its
    fit; ``loss`` the probability that it loses money there. ``logits``, ``chosen`` (the column) and
    the two per-period Sharpe ratios have one value for each half.
    """

    pbo: float
    slope: float
    intercept: float
    r_squared: float
    loss: float
    logits: FloatArray
    chosen: IntArray
    inside: FloatArray
    outside: FloatArray


def overfitting(returns: FloatArray, *, blocks: int) -> Overfitting:
    r"""Return the probability of backtest overfitting by combinatorially symmetric cross-validation.

    The sessions are cut into ``blocks`` of equal length (the first ones a session longer where it
    does not come out even). For every choice of half of them the configuration with the highest
    Sharpe ratio is found, and its rank :math:`r` among the ``n`` in the other half:

    .. math:: \lambda = \ln\frac{\omega}{1 - \omega}, \qquad \omega = \frac{r}{n + 1}, \qquad
              \mathrm{PBO} = P(\lambda < 0) + \tfrac12 P(\lambda = 0)

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_configurations)
        Without NaN. A configuration that never moves in a half has a Sharpe ratio of 0 there.
    blocks : int
        Even, 2 to 16: all :math:`\binom{S}{S/2}` halves are enumerated.

    Returns
    -------
    Overfitting
        Equals share their mean rank; of equals the first is chosen. Thus copies of one
        configuration have a PBO of 0.5: nothing was chosen. NaN and empty with fewer than 2
        configurations, or 2 sessions a block.

    References
    ----------
    .. [1] Bailey, D., Borwein, J., Lopez de Prado, M. and Zhu, Q. (2017). "The Probability of
       Backtest Overfitting." Journal of Computational Finance, 20(4), 39-69 (first 2015).
    """
    if blocks % 2 or not 2 <= blocks <= MAX_BLOCKS:
        raise ValueError(f"blocks must be even, 2 to {MAX_BLOCKS}, got {blocks}")
    x = np.asarray(returns, dtype=np.float64)
    n_sessions, n = x.shape
    if n < 2 or n_sessions < 2 * blocks:
        none = np.empty(0)
        return Overfitting(
            pbo=math.nan, slope=math.nan, intercept=math.nan, r_squared=math.nan, loss=math.nan,
            logits=none, chosen=none.astype(np.int64), inside=none, outside=none,
        )  # fmt: skip
    parts = np.array_split(x, blocks)
    rank, chosen, inside, outside = _best_elsewhere(
        np.array(list(itertools.combinations(range(blocks), blocks // 2))),
        np.stack([part.sum(axis=0) for part in parts]),
        np.stack([(part * part).sum(axis=0) for part in parts]),
        np.array([len(part) for part in parts]),
    )
    omega = rank / (n + 1)
    logits = np.log(omega / (1.0 - omega))
    line = measures.regression(outside, inside, periods_per_year=1)
    return Overfitting(
        pbo=float(np.mean(rank < (n + 1) / 2) + np.mean(rank == (n + 1) / 2) / 2.0),
        slope=line.beta,
        intercept=line.alpha,
        r_squared=line.r_squared,
        loss=float(np.mean(outside < 0)),
        logits=logits,
        chosen=chosen,
        inside=inside,
        outside=outside,
    )


@njit(cache=True)
def _best_elsewhere(
    halves: IntArray, sums: FloatArray, squares: FloatArray, lengths: IntArray
) -> tuple[FloatArray, IntArray, FloatArray, FloatArray]:
    """Return, for each half, the best column's rank in the other, which one, and both ratios."""
    n = sums.shape[1]
    all_sums, all_squares, all_length = np.zeros(n), np.zeros(n), 0
    for b in range(len(lengths)):
        all_sums += sums[b]
        all_squares += squares[b]
        all_length += lengths[b]
    rank = np.empty(len(halves))
    chosen = np.zeros(len(halves), dtype=np.int64)
    inside = np.empty(len(halves))
    outside = np.empty(len(halves))
    there = np.empty(n)
    for h in range(len(halves)):
        length = 0
        for b in halves[h]:
            length += lengths[b]
        for i in range(n):
            total, square = 0.0, 0.0
            for b in halves[h]:
                total += sums[b, i]
                square += squares[b, i]
            here = _sharpe(total, square, length)
            there[i] = _sharpe(all_sums[i] - total, all_squares[i] - square, all_length - length)
            if i == 0 or here > inside[h]:
                inside[h] = here
                chosen[h] = i
        outside[h] = there[chosen[h]]
        below, equal = 0, 0
        for i in range(n):
            below += there[i] < outside[h]
            equal += there[i] == outside[h]
        rank[h] = below + (equal + 1) / 2.0
    return rank, chosen, inside, outside


@njit(cache=True)
def _sharpe(total: float, square: float, n: int) -> float:
    """Return the per-period Sharpe ratio from a sum and a sum of squares, 0 without variation."""
    mean = total / n
    variance = square / n - mean * mean
    # What cancels to less than this of the square is no variation but rounding.
    if variance <= 1e-12 * square / n:
        return 0.0
    ratio = mean / math.sqrt(variance * n / (n - 1))
    return math.floor(ratio * _GRAIN + 0.5) / _GRAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Superiority:
    """Whether anything beat the benchmark by more than the luck of having tried so many.

    ``p_value`` is the consistent one of Hansen, between ``p_lower`` and ``p_upper``; ``superior``
    are the columns that beat it at the family-wise ``size``; ``block`` the mean block length.
    """

    p_value: float
    p_lower: float
    p_upper: float
    superior: tuple[int, ...]
    size: float
    block: int


def superiority(
    returns: FloatArray,
    benchmark: FloatArray,
    *,
    size: float = 0.05,
    repetitions: int,
    rng: np.random.Generator,
    block: int | None = None,
) -> Superiority:
    """Return Hansen's test of superior predictive ability, and who is superior (StepM).

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_configurations)
        Without NaN.
    benchmark : ndarray of shape (n_sessions,)
        Of the same sessions; zeros are cash without interest.
    size : float
        Probability of naming anything superior that is not.
    block : int, optional
        Mean block length of the stationary bootstrap; by default the longest automatic one of the
        differences to the benchmark.

    Returns
    -------
    Superiority
        A p-value counts the sample itself among the draws, so it is never 0. NaN and nobody with
        fewer than 20 sessions or no configuration.

    Notes
    -----
    The statistic is studentized, as Hansen recommends: each difference is divided by the deviation
    that the stationary bootstrap gives its mean. ``arch.bootstrap.SPA`` (8.0) leaves that out; on
    differences so divided it finds the same p-values from the same draws (tests).

    References
    ----------
    .. [1] Hansen, P. (2005). "A Test for Superior Predictive Ability." Journal of Business and
       Economic Statistics, 23(4), 365-380.
    .. [2] Romano, J. and Wolf, M. (2005). "Stepwise Multiple Testing as Formalized Data Snooping."
       Econometrica, 73(4), 1237-1282.
    """
    x = np.asarray(returns, dtype=np.float64)
    excess = x - np.asarray(benchmark, dtype=np.float64)[:, None]
    n_sessions, n = excess.shape
    if n_sessions < _LEAST_SESSIONS or n == 0:
        return Superiority(
            p_value=math.nan, p_lower=math.nan, p_upper=math.nan, superior=(), size=size, block=0
        )
    if block is None:
        block = max(1, round(measures.block_length(excess)))
    deviation = np.array([_deviation(column, block) for column in excess.T])
    # One that is the benchmark is 0 in every draw: never superior.
    is_apart = deviation > _LEAST_DEVIATION
    scaled = np.divide(excess, deviation, out=np.zeros_like(excess), where=is_apart)
    mean = scaled.mean(axis=0)
    drawn = _redrawn_means(scaled, block, repetitions, rng)
    # Hansen's three ways to treat what is worse than the benchmark: it cannot win however lucky,
    # it cannot win if it is far worse, it wins like everybody.
    far = -math.sqrt(2.0 * math.log(math.log(n_sessions)) / n_sessions)
    centers = (np.maximum(mean, 0.0), np.where(mean >= far, mean, 0.0), mean)
    everybody = np.ones(n, dtype=np.bool_)
    p_lower, p_value, p_upper = (
        float(_chance(mean, drawn - center, everybody).min()) for center in centers
    )
    left = everybody
    while left.any():
        better = left & (_chance(mean, drawn - centers[1], left) <= size)
        if not better.any():
            break
        left = left & ~better
    return Superiority(
        p_value=p_value,
        p_lower=p_lower,
        p_upper=p_upper,
        superior=tuple(int(i) for i in np.flatnonzero(~left)),
        size=size,
        block=block,
    )


def _chance(mean: FloatArray, lucky: FloatArray, among: BoolArray) -> FloatArray:
    """Return how probable it is that the luckiest of ``among`` does as well as each mean."""
    best = np.sort(lucky[:, among].max(axis=1))
    n = len(best)
    chance: FloatArray = (n - np.searchsorted(best, mean, side="left") + 1) / (n + 1)
    return chance


def _deviation(values: FloatArray, block: int) -> float:
    """Return the deviation of the mean under the stationary bootstrap, times the root of ``n``.

    Politis and Romano (1994), equation 7: autocovariances with the weight of two values staying
    together when blocks end with probability ``1 / block``.
    """
    n = len(values)
    spectrum = np.fft.rfft(values - values.mean(), 2 * n)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), 2 * n)[:n] / n
    lag = np.arange(1, n)
    stays = 1.0 - 1.0 / block
    weight = (1.0 - lag / n) * stays**lag + lag / n * stays ** (n - lag)
    return math.sqrt(max(float(covariance[0] + 2.0 * np.sum(weight * covariance[1:])), 0.0))


def _redrawn_means(
    values: FloatArray, block: int, repetitions: int, rng: np.random.Generator
) -> FloatArray:
    """Return the column means of stationary bootstrap samples, one row a sample."""
    from arch.bootstrap import StationaryBootstrap

    n = len(values)
    bootstrap = StationaryBootstrap(block, np.arange(n), seed=rng)
    times = np.stack(
        [np.bincount(data[0], minlength=n) for data, _ in bootstrap.bootstrap(repetitions)]
    )
    means: FloatArray = times @ values / n
    return means


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stability:
    """How each point of a grid stands among its neighbours; one value a point.

    ``neighbors`` counts those with a value, ``mean`` and ``worst`` are theirs. ``plateau`` is 1
    where they are as good as the point, 0 where they lie below it by the whole range of the grid,
    above 1 where they are better. NaN for a point without a value or without neighbours.
    """

    neighbors: IntArray
    mean: FloatArray
    worst: FloatArray
    plateau: FloatArray


def stability(points: Sequence[Mapping[str, Any]], values: FloatArray) -> Stability:
    """Return how much each point of a grid of parameters depends on being exactly that point.

    Parameters
    ----------
    points : sequence of mappings
        The parameters of each point, all with the same names. Neighbours differ by at most one
        step in every number, a step being the next value that occurs in the grid, and agree in
        everything that is no number: nothing lies between two words.
    values : ndarray of shape (n_points,)
        Higher is better; NaN for a point that could not be measured, which is nobody's neighbour.
    """
    value = np.asarray(values, dtype=np.float64)
    near = np.ones((len(points), len(points)), dtype=np.bool_)
    for name in points[0] if points else ():
        given = [point[name] for point in points]
        is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)
        _, step = np.unique(given if is_number else [repr(v) for v in given], return_inverse=True)
        near &= np.abs(step[:, None] - step[None, :]) <= (1 if is_number else 0)
    np.fill_diagonal(near, val=False)
    near &= np.isfinite(value)[None, :] & np.isfinite(value)[:, None]
    count = near.sum(axis=1)
    some = np.where(count > 0, 1.0, np.nan)
    mean = some * np.where(near, value, 0.0).sum(axis=1) / np.maximum(count, 1)
    worst = some * np.min(np.where(near, value, np.inf), axis=1, initial=np.inf)
    spread = np.ptp(value[np.isfinite(value)]) if np.isfinite(value).any() else 0.0
    lost = value - mean
    return Stability(
        neighbors=count,
        mean=mean,
        worst=worst,
        plateau=1.0 - (lost / spread if spread > 0 else 0.0 * lost),
    )
