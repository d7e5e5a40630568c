r"""Unit roots and cointegration: Dickey–Fuller, Engle–Granger for all pairs, half-lives.

Everything is compiled and sums in a fixed order over time: a window gives the same bits whatever
else is in the array. Which pairs are traded, and when, is ``strategies.statistical``; a hedge
ratio that moves is ``kalman``.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.errors import MissingDataError

# MacKinnon, J. G. (2010). "Critical Values for Cointegration Tests." Queen's Economics
# Department Working Paper 1227, tables 2 and 3: b0 + b1/T + b2/T^2 + b3/T^3 at 1, 5 and 10 %.
# Without a constant N = 1 only, from the 1996 paper (the one of 2010 has no such case).
_SURFACE: Final = {
    (1, True): (
        (-3.43035, -6.5393, -16.786, -79.433),
        (-2.86154, -2.8903, -4.234, -40.040),
        (-2.56677, -1.5384, -2.809, 0.0),
    ),
    (2, True): (
        (-3.89644, -10.9519, -33.527, 0.0),
        (-3.33613, -6.1101, -6.823, 0.0),
        (-3.04445, -4.2412, -2.720, 0.0),
    ),
    (1, False): (
        (-2.56574, -2.2358, -3.627, 0.0),
        (-1.94100, -0.2686, -3.365, 31.223),
        (-1.61682, 0.2656, -2.714, 25.364),
    ),
}


@dataclass(frozen=True, slots=True)
class _Probit:
    """p-values as a polynomial in the statistic under the normal distribution."""

    smallest: float
    largest: float
    split: float
    left: tuple[float, ...]
    right: tuple[float, ...]


# MacKinnon, J. G. (1994). "Approximate Asymptotic Distribution Functions for Unit-Root and
# Cointegration Tests." Journal of Business & Economic Statistics, 12(2), 167-176, tables 3 and 4.
_PROBIT: Final = {
    (1, True): _Probit(
        -18.83,
        2.74,
        -1.61,
        (2.1659, 1.4412, 0.038269),
        (1.7339, 0.93202, -0.12745, -0.010368),
    ),
    (2, True): _Probit(
        -18.86,
        0.92,
        -2.62,
        (2.92, 1.5012, 0.039796),
        (2.1945, 0.64695, -0.29198, -0.042377),
    ),
    (1, False): _Probit(
        -19.04,
        math.inf,
        -1.04,
        (0.6344, 1.2378, 0.032496),
        (0.4797, 0.93557, -0.06999, 0.033066),
    ),
}

# From here on two series say the same thing, and their residual is rounding: the statistic is
# -inf. The bound is that of statsmodels' ``coint``.
_COLLINEAR: Final = 1.0 - 100.0 * math.sqrt(np.finfo(np.float64).eps)

_STRIP = 64
_TILE = 256
_BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRoot:
    """An augmented Dickey–Fuller test: the null hypothesis is a unit root."""

    statistic: float
    p_value: float
    lags: int
    observations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cointegration:
    """An Engle–Granger test of ``y = alpha + beta x + residual``: the null is no cointegration.

    ``half_life`` is that of the residual in bars, NaN where it does not revert.
    """

    statistic: float
    p_value: float
    lags: int
    alpha: float
    beta: float
    half_life: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reversion:
    """AR(1) fits of several series; each array has one entry a series, NaN where unknown.

    Attributes
    ----------
    phi : ndarray
        Autoregression, corrected for its bias; may exceed 1.
    half_life : ndarray
        Bars until half a deviation is gone; NaN where ``phi`` is not between 0 and 1.
    mean, sigma : ndarray
        Level that is reverted to, and the standard deviation around it in the long run.
    p_value : ndarray
        Of ``phi`` = 1 (Dickey–Fuller). The equal-tailed confidence interval of level ``c`` that
        inverts this test reaches 1 exactly where ``p_value > (1 - c) / 2``.
    """

    phi: FloatArray
    half_life: FloatArray
    mean: FloatArray
    sigma: FloatArray
    p_value: FloatArray


def critical_values(
    variables: int, observations: float = math.inf, *, constant: bool = True
) -> tuple[float, float, float]:
    """Return MacKinnon's (2010) critical values at 1, 5 and 10 %.

    Parameters
    ----------
    variables : int
        1 for a series as it is, 2 for the residual of a regression of one series on another. The
        second may never be judged by the values of the first: at 5 % they reject 15 %.
    observations : float
        Sample size of the regression; infinite for the asymptotic values.
    """
    power = 1.0 / observations
    surface = _SURFACE[variables, constant]
    one, five, ten = (b0 + power * (b1 + power * (b2 + power * b3)) for b0, b1, b2, b3 in surface)
    return one, five, ten


def p_value(statistic: FloatArray, variables: int, *, constant: bool = True) -> FloatArray:
    """Return MacKinnon's (1994) asymptotic p-values; NaN stays NaN.

    An approximation fitted between about 0.005 and 0.95: farther out it still orders statistics.
    """
    from scipy.special import ndtr

    fit = _PROBIT[variables, constant]
    tau = np.clip(statistic, fit.smallest, min(fit.largest, 1e3))
    left, right = (np.polynomial.polynomial.polyval(tau, c) for c in (fit.left, fit.right))
    p = np.asarray(ndtr(np.where(tau <= fit.split, left, right)))
    p = np.where(statistic > fit.largest, 1.0, np.where(statistic < fit.smallest, 0.0, p))
    return np.where(np.isnan(statistic), np.nan, p)


def default_lags(observations: int) -> int:
    """Return Schwert's (1989) bound on the lags of a Dickey–Fuller regression."""
    bound = math.ceil(12.0 * math.pow(observations / 100.0, 0.25))
    return max(0, min(bound, observations // 2 - 2))


def adf(
    series: FloatArray,
    *,
    max_lag: int | None = None,
    autolag: bool = True,
    constant: bool = True,
) -> UnitRoot:
    """Test ``series`` for a unit root.

    Parameters
    ----------
    series : ndarray of shape (n_bars,)
        All finite.
    max_lag : int, optional
        Lagged differences in the regression; ``default_lags`` when not given.
    autolag : bool, default=True
        Whether the number of lags up to ``max_lag`` is chosen by AIC, on the bars that all
        choices share; the chosen regression then uses every bar it can.
    constant : bool, default=True
        Whether the level reverted to is estimated, else it is 0.

    Raises
    ------
    MissingDataError
        If there are not two bars more than twice the lags.
    """
    n = len(series)
    lags = default_lags(n) if max_lag is None else max_lag
    if n < 2 * (lags + 2):
        raise MissingDataError(f"시차 {lags}개에는 봉 {2 * (lags + 2)}개가 필요함, 받은 것 {n}개")
    t, used = _unit_root(np.ascontiguousarray(series, dtype=np.float64), lags, autolag, constant)
    p = float(p_value(np.array([t]), 1, constant=constant)[0])
    return UnitRoot(statistic=t, p_value=p, lags=used, observations=n - 1 - used)


def engle_granger(
    y: FloatArray, x: FloatArray, *, max_lag: int = 0, autolag: bool = True
) -> Cointegration:
    """Test whether ``y`` and ``x`` are cointegrated, by the residual of ``y`` on ``x``.

    The other direction is another test with another answer. See ``adf`` for the lags.

    Raises
    ------
    MissingDataError
        If there are not two bars more than twice the lags.
    """
    n = len(y)
    if n < 2 * (max_lag + 2):
        raise MissingDataError(
            f"시차 {max_lag}개에는 봉 {2 * (max_lag + 2)}개가 필요함, 받은 것 {n}개"
        )
    alpha, beta, t, used, phi = _pair(
        np.ascontiguousarray(y, dtype=np.float64),
        np.ascontiguousarray(x, dtype=np.float64),
        max_lag,
        autolag,
    )
    return Cointegration(
        statistic=t,
        p_value=float(p_value(np.array([t]), 2)[0]),
        lags=used,
        alpha=alpha,
        beta=beta,
        half_life=float(half_life(np.array([phi]))[0]),
    )


def scan(
    levels: FloatArray, *, max_lag: int = 0, autolag: bool = True, threads: int = 1
) -> tuple[FloatArray, IntArray]:
    """Return the Engle–Granger statistic of every ordered pair of series, and its lags.

    A residual is linear in its two series, so all sums of its Dickey–Fuller regression are
    quadratic forms of products between series: ``max_lag + 2`` products of the whole universe
    with itself, then a regression of a few numbers a pair. No pass over time is made per pair.

    Parameters
    ----------
    levels : ndarray of shape (n_bars, n_series)
        Log prices. A series with a NaN, or one that never moves, takes no part.
    max_lag, autolag
        As in ``adf``.
    threads : int, default=1
        The work holds no lock of the interpreter. The result does not depend on it.

    Returns
    -------
    statistic : ndarray of shape (n_series, n_series)
        ``[i, j]`` is of the residual of ``i`` regressed on ``j`` and a constant; judged by
        ``p_value(..., 2)``. NaN on the diagonal and where there is no test, -inf where one is a
        copy of the other.
    lags : ndarray of shape (n_series, n_series)
        Lags used; 0 where there is no test.

    Raises
    ------
    MissingDataError
        If there are not two bars more than twice the lags.
    """
    n, m = levels.shape
    if n < 2 * (max_lag + 2):
        raise MissingDataError(
            f"시차 {max_lag}개에는 봉 {2 * (max_lag + 2)}개가 필요함, 받은 것 {n}개"
        )
    statistic = np.full((m, m), np.nan)
    lags = np.zeros((m, m), dtype=np.int64)
    known = np.flatnonzero(_moves(levels))
    k = len(known)
    centered = np.empty((n, k))
    steps = np.empty((n - 1, k))
    _prepare(levels, known, centered, steps)
    own = _own_products(steps, max_lag)
    squares = _own_products(centered, 0)[0]
    found = np.full((k, k), np.nan)
    used = np.zeros((k, k), dtype=np.int64)

    def work(first: int) -> None:
        last = min(first + _BLOCK, k)
        _scan_block(centered, steps, own, squares, first, last, max_lag, autolag, found, used)

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(0, k, _BLOCK)))
    else:
        for first in range(0, k, _BLOCK):
            work(first)
    statistic[np.ix_(known, known)] = found
    lags[np.ix_(known, known)] = used
    return statistic, lags


def benjamini_yekutieli(p: FloatArray, level: float) -> BoolArray:
    r"""Return which hypotheses are rejected with a false discovery rate of at most ``level``.

    The largest ``k`` with :math:`p_{(k)} \le k\,\alpha / (m \sum_{i \le m} 1/i)`. Holds however
    the tests depend on each other. NaN is no test and is not counted.

    References
    ----------
    .. [1] Benjamini, Y. and Yekutieli, D. (2001). "The control of the false discovery rate in
       multiple testing under dependency." Annals of Statistics, 29(4), 1165-1188.
    """
    tests = np.sort(p[np.isfinite(p)])
    m = len(tests)
    if m == 0:
        return np.zeros(p.shape, dtype=np.bool_)
    rank = np.arange(1, m + 1)
    passed = np.flatnonzero(tests <= rank * level / (m * np.cumsum(1.0 / rank)[-1]))
    return p <= tests[passed[-1]] if len(passed) else np.zeros(p.shape, dtype=np.bool_)


def half_life(phi: FloatArray) -> FloatArray:
    r"""Return :math:`-\ln 2 / \ln \varphi` in bars; NaN where ``phi`` is not between 0 and 1."""
    reverts = (phi > 0.0) & (phi < 1.0)
    return np.where(reverts, -math.log(2.0) / np.log(np.where(reverts, phi, 0.5)), np.nan)


def reversion(levels: FloatArray) -> Reversion:
    r"""Return the AR(1) fit of each column of ``levels``, of shape ``(n_bars, n_series)``.

    Least squares finds too much reversion in a short sample; the first-order bias
    :math:`-(1 + 3\varphi)/n` is taken back: :math:`\varphi = (n\hat\varphi + 1)/(n - 3)` with
    ``n`` transitions. A column with a NaN, or one that never moves, is all NaN.

    References
    ----------
    .. [1] Kendall, M. G. (1954). "Note on Bias in the Estimation of Autocorrelation."
       Biometrika, 41, 403-404.
    .. [2] Marriott, F. H. C. and Pope, J. A. (1954). "Bias in the Estimation of
       Autocorrelations." Biometrika, 41, 390-402.
    """
    fits = _autoregressions(np.ascontiguousarray(levels, dtype=np.float64))
    ols, mean, error, statistic = fits
    n = len(levels) - 1
    phi = (n * ols + 1.0) / (n - 3.0)
    inside = np.abs(phi) < 1.0
    spread = np.sqrt(np.where(inside, 1.0 - phi * phi, np.nan))
    return Reversion(
        phi=phi,
        half_life=half_life(phi),
        mean=mean,
        sigma=error / spread,
        p_value=p_value(statistic, 1),
    )


@njit(cache=True, nogil=True)
def _moves(levels: FloatArray) -> BoolArray:
    n, m = levels.shape
    out = np.zeros(m, dtype=np.bool_)
    for j in range(m):
        low, high = levels[0, j], levels[0, j]
        for t in range(n):
            value = levels[t, j]
            if not np.isfinite(value):
                low, high = 0.0, 0.0
                break
            low, high = min(low, value), max(high, value)
        out[j] = high > low
    return out


@njit(cache=True, nogil=True)
def _prepare(levels: FloatArray, known: IntArray, centered: FloatArray, steps: FloatArray) -> None:
    """Write the centered levels and their differences."""
    n = levels.shape[0]
    for j in range(known.shape[0]):
        column = known[j]
        total = 0.0
        for t in range(n):
            total += levels[t, column]
        mean = total / n
        for t in range(n):
            centered[t, j] = levels[t, column] - mean
            if t > 0:
                steps[t - 1, j] = levels[t, column] - levels[t - 1, column]


@njit(cache=True, nogil=True)
def _own_products(series: FloatArray, max_lag: int) -> FloatArray:
    """Return the sums of each series times itself ``k`` bars ago, shape ``(max_lag + 1, m)``."""
    n, m = series.shape
    out = np.zeros((max_lag + 1, m))
    for k in range(max_lag + 1):
        for t in range(k, n):
            for j in range(m):
                out[k, j] += series[t, j] * series[t - k, j]
    return out


@njit(cache=True, nogil=True)
def _products(left: FloatArray, right: FloatArray, start: int, out: FloatArray) -> None:
    """Write ``sum_t left[t, i] * right[t, start + j]``, each summed in the order of time.

    Strips of bars and tiles of columns keep what is used in the cache; the sum of one pair is the
    same whatever other columns there are.
    """
    n, columns = right.shape
    out[:, :] = 0.0
    part = np.empty(_TILE)
    for begin in range(0, n, _STRIP):
        end = min(begin + _STRIP, n)
        for c in range(start, columns, _TILE):
            width = min(_TILE, columns - c)
            p = part[:width]
            for i in range(left.shape[1]):
                p[:] = 0.0
                t = begin
                # Four bars at a time: a quarter of the loads and stores of ``p``.
                while t + 4 <= end:
                    a0, a1, a2, a3 = left[t, i], left[t + 1, i], left[t + 2, i], left[t + 3, i]
                    b0, b1 = right[t, c : c + width], right[t + 1, c : c + width]
                    b2, b3 = right[t + 2, c : c + width], right[t + 3, c : c + width]
                    for j in range(width):
                        p[j] = (((p[j] + a0 * b0[j]) + a1 * b1[j]) + a2 * b2[j]) + a3 * b3[j]
                    t += 4
                while t < end:
                    a0, b0 = left[t, i], right[t, c : c + width]
                    for j in range(width):
                        p[j] += a0 * b0[j]
                    t += 1
                q = out[i, c - start : c - start + width]
                for j in range(width):
                    q[j] += p[j]


@njit(cache=True, nogil=True)
def _scan_block(
    centered: FloatArray,
    steps: FloatArray,
    own: FloatArray,
    squares: FloatArray,
    first: int,
    last: int,
    max_lag: int,
    autolag: bool,
    statistic: FloatArray,
    lags: IntArray,
) -> None:
    """Test the pairs of the series from ``first`` to ``last`` with all that come after each."""
    n, m = centered.shape
    rows, columns = last - first, m - first
    levels = np.empty((rows, columns))
    _products(centered[:, first:last].copy(), centered, first, levels)
    # Of each lag the sum of both crossed products: all that a quadratic form asks for.
    crossed = np.empty((max_lag + 1, rows, columns))
    shifted = np.empty((n - 1, rows))
    for k in range(max_lag + 1):
        for t in range(n - 1):
            for i in range(rows):
                back = steps[t - k, first + i] if t >= k else 0.0
                ahead = steps[t + k, first + i] if t + k < n - 1 else 0.0
                shifted[t, i] = back + ahead
        _products(shifted, steps, first, crossed[k])
    head = np.empty(max_lag + 1)
    tail = np.empty(max_lag + 1)
    gamma = np.empty(max_lag + 1)
    work = np.empty((max_lag + 2, max_lag + 2))
    factor = np.empty((max_lag + 2, max_lag + 2))
    for i in range(rows):
        for j in range(i + 1, columns):
            for y, x in ((first + i, first + j), (first + j, first + i)):
                cross = levels[i, j]
                if cross * cross >= _COLLINEAR * squares[x] * squares[y]:
                    statistic[y, x] = -np.inf
                    continue
                beta = cross / squares[x]
                for k in range(max_lag + 1):
                    head[k] = centered[k, y] - beta * centered[k, x]
                    at = n - 1 - max_lag + k
                    tail[k] = centered[at, y] - beta * centered[at, x]
                    gamma[k] = own[k, y] - beta * (crossed[k, i, j] - beta * own[k, x])
                square = squares[y] - beta * (2.0 * cross - beta * squares[x])
                statistic[y, x], lags[y, x] = _dickey_fuller(
                    gamma, square, 0.0, head, tail, n, max_lag, autolag, False, work, factor
                )


@njit(cache=True, nogil=True)
def _unit_root(
    series: FloatArray, max_lag: int, autolag: bool, constant: bool
) -> tuple[float, int]:
    """Return statistic and lags of one series; its mean is taken off first for precision."""
    n = series.shape[0]
    shift = 0.0
    if constant:
        for t in range(n):
            shift += series[t]
        shift /= n
    e = np.empty(n)
    square, plain = 0.0, 0.0
    for t in range(n):
        e[t] = series[t] - shift
        square += e[t] * e[t]
        plain += e[t]
    gamma = np.zeros(max_lag + 1)
    for k in range(max_lag + 1):
        for t in range(k + 1, n):
            gamma[k] += (e[t] - e[t - 1]) * (e[t - k] - e[t - k - 1])
    work = np.empty((max_lag + 2, max_lag + 2))
    factor = np.empty((max_lag + 2, max_lag + 2))
    head, tail = e[: max_lag + 1], e[n - 1 - max_lag :]
    return _dickey_fuller(
        gamma, square, plain, head, tail, n, max_lag, autolag, constant, work, factor
    )


@njit(cache=True, nogil=True)
def _dickey_fuller(
    gamma: FloatArray,
    square: float,
    plain: float,
    head: FloatArray,
    tail: FloatArray,
    n: int,
    max_lag: int,
    autolag: bool,
    constant: bool,
    work: FloatArray,
    factor: FloatArray,
) -> tuple[float, int]:
    """Return the statistic and its lags from a few sums over a series ``e`` of ``n`` bars.

    ``gamma[k]`` is the sum of its differences times those ``k`` bars ago, ``square`` and ``plain``
    the sums of squares and of values, ``head`` and ``tail`` its first and last ``max_lag + 1``
    values. NaN where the regression has no unique answer.
    """
    lags = max_lag
    if autolag and max_lag > 0:
        _moments(gamma, square, plain, head, tail, n, max_lag, max_lag, constant, work)
        residual = _decompose(work, max_lag + 1, factor)
        if np.isnan(residual):
            return np.nan, 0
        # The last column of the factor holds what each regressor in turn explains.
        count = n - 1 - max_lag
        left = residual
        best = np.inf
        for p in range(max_lag, -1, -1):
            criterion = count * math.log(left) + 2.0 * (p + 1)
            if criterion <= best:
                best, lags = criterion, p
            left += factor[max_lag + 1, p] * factor[max_lag + 1, p]
    _moments(gamma, square, plain, head, tail, n, max_lag, lags, constant, work)
    # The level goes last: its t-statistic is then read off the factor.
    for k in range(lags):
        for j in range(k + 1):
            factor[k, j] = work[k + 1, j + 1]
        factor[lags, k] = work[k + 1, 0]
        factor[lags + 1, k] = work[lags + 1, k + 1]
    factor[lags, lags] = work[0, 0]
    factor[lags + 1, lags] = work[lags + 1, 0]
    factor[lags + 1, lags + 1] = work[lags + 1, lags + 1]
    residual = _decompose(factor, lags + 1, factor)
    freedom = n - 1 - lags - (lags + 1) - (1 if constant else 0)
    if np.isnan(residual) or freedom < 1:
        return np.nan, 0
    return factor[lags + 1, lags] / math.sqrt(residual / freedom), lags


@njit(cache=True, nogil=True)
def _moments(
    gamma: FloatArray,
    square: float,
    plain: float,
    head: FloatArray,
    tail: FloatArray,
    n: int,
    max_lag: int,
    lags: int,
    constant: bool,
    out: FloatArray,
) -> None:
    """Write the lower triangle of the products of (level, lagged differences, difference).

    Over the bars ``t`` from ``lags + 1`` to ``n - 1``: the level is ``e[t-1]``, a difference
    ``d[t-j] = e[t-j] - e[t-j-1]``, the response ``d[t]``. Sums over all bars are known; what the
    ends add or lack is corrected. Products with the level telescope:
    ``2 e[s-1] d[s] = e[s]^2 - e[s-1]^2 - d[s]^2``.
    """
    last = max_lag  # tail[last - i] is e[n - 1 - i]
    response = lags + 1
    # Differences i <= j bars ago; row 0 of the matrix serves as i = 0 until the level takes it.
    for j in range(lags + 1):
        total = gamma[j]
        for s in range(j + 1, lags + 1):
            total -= (head[s] - head[s - 1]) * (head[s - j] - head[s - j - 1])
        i = 0
        while True:
            a, b = (response if i == 0 else i), (response if i + j == 0 else i + j)
            out[max(a, b), min(a, b)] = total
            if i + j == lags:
                break
            begin_a, begin_b = lags - i, lags - i - j
            total += (head[begin_a] - head[begin_a - 1]) * (head[begin_b] - head[begin_b - 1])
            end_a, end_b = last - i, last - i - j
            total -= (tail[end_a] - tail[end_a - 1]) * (tail[end_b] - tail[end_b - 1])
            i += 1
    level = square - tail[last] * tail[last]
    for s in range(lags):
        level -= head[s] * head[s]
    out[0, 0] = level
    for j in range(lags + 1):
        at = response if j == 0 else j
        total = 0.5 * (tail[last - j] ** 2 - head[lags - j] ** 2 - out[at, at])
        for i in range(1, j + 1):
            total += out[at, i] if i <= at else out[i, at]
        out[at, 0] = total
    if constant:
        count = n - 1 - lags
        mean_level = plain - tail[last]
        for s in range(lags):
            mean_level -= head[s]
        mean_level /= count
        out[0, 0] -= count * mean_level * mean_level
        for j in range(lags + 1):
            a = response if j == 0 else j
            sum_a = tail[last - j] - head[lags - j]
            out[a, 0] -= sum_a * mean_level
            for i in range(j + 1):
                b = response if i == 0 else i
                sum_b = tail[last - i] - head[lags - i]
                out[max(a, b), min(a, b)] -= sum_a * sum_b / count


@njit(cache=True, nogil=True)
def _decompose(matrix: FloatArray, k: int, out: FloatArray) -> float:
    """Write the Cholesky factor of the leading ``k`` rows and the row of the response under it.

    Returns what the regression leaves, or NaN when the regressors are not independent.
    """
    for i in range(k + 1):
        for j in range(i + 1):
            total = matrix[i, j]
            scale = total
            for s in range(j):
                total -= out[i, s] * out[j, s]
            if i > j:
                out[i, j] = total / out[j, j]
            elif not total > 1e-14 * abs(scale):
                return np.nan
            elif i < k:
                out[i, i] = math.sqrt(total)
            else:
                return float(total)
    return np.nan


@njit(cache=True, nogil=True)
def _pair(
    y: FloatArray, x: FloatArray, max_lag: int, autolag: bool
) -> tuple[float, float, float, int, float]:
    """Return (alpha, beta, statistic, lags, AR(1) of the residual) of ``y`` on ``x``."""
    n = y.shape[0]
    # Of a series that never moves the centered one is rounding, not 0.
    if not (y.max() > y.min() and x.max() > x.min()):
        return np.nan, np.nan, np.nan, 0, np.nan
    mean_x, mean_y = 0.0, 0.0
    for t in range(n):
        mean_x += x[t]
        mean_y += y[t]
    mean_x /= n
    mean_y /= n
    xx, xy, yy = 0.0, 0.0, 0.0
    for t in range(n):
        a, b = x[t] - mean_x, y[t] - mean_y
        xx += a * a
        xy += a * b
        yy += b * b
    beta = xy / xx
    alpha = mean_y - beta * mean_x
    if xy * xy >= _COLLINEAR * xx * yy:
        return alpha, beta, -np.inf, 0, np.nan
    e = np.empty(n)
    product, square = 0.0, 0.0
    for t in range(n):
        e[t] = (y[t] - mean_y) - beta * (x[t] - mean_x)
        if t > 0:
            product += e[t] * e[t - 1]
            square += e[t - 1] * e[t - 1]
    statistic, lags = _unit_root(e, max_lag, autolag, False)
    return alpha, beta, statistic, lags, product / square


@njit(cache=True, nogil=True)
def _autoregressions(
    levels: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return (phi by least squares, mean, residual sigma, Dickey–Fuller statistic) per column."""
    n, m = levels.shape
    phi, mean, error, statistic = (
        np.full(m, np.nan),
        np.full(m, np.nan),
        np.full(m, np.nan),
        np.full(m, np.nan),
    )
    if n < 6:
        return phi, mean, error, statistic
    moves = _moves(levels)
    for j in range(m):
        if not moves[j]:
            continue
        total = 0.0
        for t in range(n):
            total += levels[t, j]
        center = total / n
        before, after = 0.0, 0.0
        for t in range(1, n):
            before += levels[t - 1, j] - center
            after += levels[t, j] - center
        before /= n - 1
        after /= n - 1
        square, product, response = 0.0, 0.0, 0.0
        for t in range(1, n):
            a = levels[t - 1, j] - center - before
            b = levels[t, j] - center - after
            square += a * a
            product += a * b
            response += b * b
        if square <= 0.0:
            continue
        left = response - product * product / square
        if not left > 1e-14 * response:
            continue
        phi[j] = product / square
        mean[j] = center
        error[j] = math.sqrt(left / (n - 3))
        statistic[j] = (phi[j] - 1.0) / (error[j] / math.sqrt(square))
    return phi, mean, error, statistic
