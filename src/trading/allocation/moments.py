"""What past returns say of tomorrow's means and covariances, with how little they say of means.

What to do with them is ``allocation.optimize``; risk in the tail is ``risk.var``.

Sums over sessions are compiled loops in a fixed order, not matrix products: the same rows give
the same bits, however the array lies in memory and whatever was appended to the history.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray


class CovarianceRule(StrEnum):
    """How a covariance is estimated; the values are those of ``allocation.yaml``."""

    SAMPLE = "sample"
    LEDOIT_WOLF = "ledoit_wolf"
    CONSTANT_CORRELATION = "constant_correlation"
    EWMA = "ewma"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Returns without a hole: ``(n_rows, n_usable)``, and which instruments its columns are.

    ``usable`` has one entry an instrument of the original array.
    """

    returns: FloatArray
    usable: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covariance:
    """A covariance per session, ``(n, n)``, and how far it was shrunk to its target (0 … 1)."""

    matrix: FloatArray
    shrinkage: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Means:
    """Expected returns per session with their standard errors, both ``(n,)``.

    ``shrinkage`` is the weight of the common mean (0: each name's own past alone).
    """

    mean: FloatArray
    standard_error: FloatArray
    shrinkage: float


def complete_returns(returns: FloatArray, members: BoolArray, *, min_sessions: int) -> Sample:
    """Return the members' returns over the longest stretch that all of them share.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns. NaN before the first return in it is "not listed yet"; NaN after that
        is a halt and counts as 0, since the position could not have moved.
    members : ndarray of shape (n_instruments,)
        Who may be held.
    min_sessions : int
        Names with fewer sessions since their first return are left out, and so are names that
        never moved: nothing is sized by a guess.

    Returns
    -------
    Sample
        Rows from the first return of the youngest usable name on, so that every pair is
        estimated on the same rows. Pairwise-complete estimates would use more of the older
        names' past, but need not be positive semi-definite.
    """
    n_rows, n = returns.shape
    known = ~np.isnan(returns)
    first = np.where(known.any(axis=0), known.argmax(axis=0), n_rows) if n_rows else np.zeros(n)
    usable = members & (n_rows - first >= max(min_sessions, 2))
    while usable.any():
        rows = np.where(known, returns, 0.0)[int(first[usable].max()) :]
        moved = (rows != rows[0]).any(axis=0)
        if moved[usable].all():
            return Sample(returns=np.ascontiguousarray(rows[:, usable]), usable=usable)
        usable &= moved
    return Sample(returns=np.zeros((0, 0)), usable=usable)


def covariance(sample: Sample, rule: CovarianceRule, *, half_life: float = 63.0) -> Covariance:
    r"""Return the covariance of a sample's returns per session.

    =========================  ==================================================================
    ``sample``                 :math:`\frac{1}{T-1}\sum_t x_t x_t'` of demeaned returns
    ``ledoit_wolf``            :math:`(1-\delta) S + \delta m I`, S with ddof 0, m its mean variance
    ``constant_correlation``   the same to a target with each name's own variance and one
                               correlation, the mean of all
    ``ewma``                   weights that halve every ``half_life`` sessions, normalized, and
                               demeaned by the mean of the same weights
    =========================  ==================================================================

    Each is positive semi-definite in exact arithmetic: the sample matrices are weighted sums of
    :math:`x_t x_t'`, and a constant correlation that is a mean over a correlation matrix is at
    least :math:`-1/(n-1)`. The upper triangle is a copy of the lower, so that it is symmetric
    to the bit. ``ledoit_wolf`` is positive definite whenever it shrinks at all, also with fewer
    sessions than names.

    References
    ----------
    .. [1] Ledoit, O. and Wolf, M. (2004). "A well-conditioned estimator for large-dimensional
       covariance matrices." Journal of Multivariate Analysis, 88(2), 365-411.
    .. [2] Ledoit, O. and Wolf, M. (2004). "Honey, I Shrunk the Sample Covariance Matrix."
       Journal of Portfolio Management, 30(4), 110-119. Appendix B.
    """
    n_rows, n = sample.returns.shape
    if n_rows < 2 or n == 0:
        return Covariance(matrix=np.full((n, n), np.nan), shrinkage=0.0)
    weights = np.full(n_rows, 1.0 / n_rows)
    if rule is CovarianceRule.EWMA:
        weights = 0.5 ** (np.arange(n_rows - 1, -1, -1) / half_life)
        weights /= weights.sum()
    centered, matrix = _weighted_covariance(sample.returns, weights)
    shrinkage = 0.0
    if rule is CovarianceRule.SAMPLE:
        matrix *= n_rows / (n_rows - 1)
    elif rule is CovarianceRule.LEDOIT_WOLF:
        matrix, shrinkage = _to_identity(centered, matrix)
    elif rule is CovarianceRule.CONSTANT_CORRELATION:
        matrix, shrinkage = _to_constant_correlation(centered, matrix)
    return Covariance(matrix=matrix, shrinkage=float(shrinkage))


def sample_means(sample: Sample) -> Means:
    """Return the mean return of each name and its standard error (ddof 1, over the root of T)."""
    n_rows, n = sample.returns.shape
    if n_rows < 2 or n == 0:
        return Means(mean=np.full(n, np.nan), standard_error=np.full(n, np.nan), shrinkage=0.0)
    mean, squares = _moments(sample.returns)
    error = np.sqrt(squares / (n_rows - 1) / n_rows)
    return Means(mean=mean, standard_error=error, shrinkage=0.0)


def shrunk_means(sample: Sample, matrix: FloatArray) -> Means:
    r"""Return the means shrunk to the mean of the minimum-variance portfolio.

    The Bayes–Stein estimator of Jorion: with :math:`\hat\mu` the sample means,
    :math:`\mu_0 = 1'\Sigma^{-1}\hat\mu / 1'\Sigma^{-1}1` and
    :math:`\lambda = (n+2) / (\hat\mu-\mu_0)'\Sigma^{-1}(\hat\mu-\mu_0)`,

    .. math::
       \mu = \frac{T\hat\mu + \lambda\mu_0}{T+\lambda}, \qquad
       \operatorname{Var}\mu = \frac{\Sigma}{T+\lambda}
       + \frac{\lambda}{T(T+\lambda)}\frac{11'}{1'\Sigma^{-1}1}.

    ``matrix`` is the covariance of the same columns, positive definite (shrunk, if there are
    more names than sessions). Fewer than three names leave nothing to shrink to
    (Stein's paradox needs three): the sample means come back.

    Notes
    -----
    The variance is that of the mean alone, the law of total variance over a flat prior of
    :math:`\mu_0`. It is the sample's as ``λ`` → 0, and that of the common mean,
    :math:`1/(T\,1'\Sigma^{-1}1)`, as ``λ`` → ∞. Jorion prints :math:`T(T+1+\lambda)`.

    References
    ----------
    .. [1] Jorion, P. (1986). "Bayes-Stein Estimation for Portfolio Analysis."
       Journal of Financial and Quantitative Analysis, 21(3), 279-292.
    """
    plain = sample_means(sample)
    n_rows, n = sample.returns.shape
    if n < 3 or n_rows < 2:
        return plain
    factor, is_definite = cholesky(matrix)
    if not is_definite:
        return plain
    ones = cholesky_solve(factor, np.ones(n))
    precision = float(ones.sum())
    target = float((ones * plain.mean).sum()) / precision
    gap = plain.mean - target
    distance = float((gap * cholesky_solve(factor, gap)).sum())
    if distance <= 0.0:
        return plain
    prior = (n + 2) / distance
    share = prior / (n_rows + prior)
    variance = np.diag(matrix) / (n_rows + prior) + share / (n_rows * precision)
    return Means(
        mean=(1.0 - share) * plain.mean + share * target,
        standard_error=np.sqrt(variance),
        shrinkage=share,
    )


@njit(cache=True, nogil=True)
def cholesky(matrix: FloatArray) -> tuple[FloatArray, bool]:
    """Return the lower factor and whether the matrix is positive definite to rounding.

    A pivot under 1e-13 of its own diagonal ends it: what is left of that column is rounding.
    """
    n = matrix.shape[0]
    factor = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                # Written so that a NaN fails too.
                if not total > 1e-13 * matrix[i, i]:
                    return factor, False
                factor[i, i] = np.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    return factor, True


@njit(cache=True, nogil=True)
def cholesky_solve(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``x`` with ``L L' x = right``."""
    n = factor.shape[0]
    x = right.copy()
    for i in range(n):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        x[i] /= factor[i, i]
        for k in range(i):
            x[k] -= factor[i, k] * x[i]
    return x


@njit(cache=True, nogil=True)
def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the matrix product, summed in a fixed order."""
    out = np.zeros((left.shape[0], right.shape[1]))
    for i in range(left.shape[0]):
        for k in range(left.shape[1]):
            for j in range(right.shape[1]):
                out[i, j] += left[i, k] * right[k, j]
    return out


@njit(cache=True, nogil=True)
def _moments(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means and the sums of squared deviations of the columns."""
    n_rows, n = returns.shape
    mean = np.zeros(n)
    squares = np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            mean[i] += returns[t, i]
    for i in range(n):
        mean[i] /= n_rows
    for t in range(n_rows):
        for i in range(n):
            squares[i] += (returns[t, i] - mean[i]) ** 2
    return mean, squares


@njit(cache=True, nogil=True)
def _weighted_covariance(returns: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the demeaned returns and their weighted covariance, row after row.

    The inner loop runs over columns, whose sums do not depend on each other, so it vectorizes
    without reordering any of them.
    """
    n_rows, n = returns.shape
    mean = np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            mean[i] += weights[t] * returns[t, i]
    centered = returns - mean
    matrix = np.zeros((n, n))
    for t in range(n_rows):
        for i in range(n):
            scaled = weights[t] * centered[t, i]
            for j in range(i + 1):
                matrix[i, j] += scaled * centered[t, j]
    for i in range(n):
        for j in range(i):
            matrix[j, i] = matrix[i, j]
    return centered, matrix


@njit(cache=True, nogil=True)
def _to_identity(centered: FloatArray, matrix: FloatArray) -> tuple[FloatArray, float]:
    n_rows, n = centered.shape
    mean_variance = 0.0
    for i in range(n):
        mean_variance += matrix[i, i]
    mean_variance /= n
    norm = 0.0
    for i in range(n):
        for j in range(n):
            norm += matrix[i, j] * matrix[i, j]
    fourth = 0.0
    for t in range(n_rows):
        square = 0.0
        for i in range(n):
            square += centered[t, i] * centered[t, i]
        fourth += square * square
    distance = norm - n * mean_variance * mean_variance
    noise = min((fourth / n_rows - norm) / n_rows, distance)
    share = noise / distance if distance > 0.0 and noise > 0.0 else 0.0
    shrunk = (1.0 - share) * matrix
    for i in range(n):
        shrunk[i, i] += share * mean_variance
    return shrunk, share


@njit(cache=True, nogil=True)
def _to_constant_correlation(centered: FloatArray, matrix: FloatArray) -> tuple[FloatArray, float]:
    n_rows, n = centered.shape
    if n < 2:
        return matrix, 0.0
    sigma = np.sqrt(np.diag(matrix))
    total = 0.0
    for i in range(n):
        for j in range(i):
            total += matrix[i, j] / (sigma[i] * sigma[j])
    correlation = 2.0 * total / (n * (n - 1))
    target = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            target[i, j] = matrix[i, i] if i == j else correlation * (sigma[i] * sigma[j])
    # E[x_i² x_i x_j] and E[x_i² x_j²], which give every asymptotic variance and covariance.
    cubes = np.zeros((n, n))
    squares = np.zeros((n, n))
    for t in range(n_rows):
        for i in range(n):
            square = centered[t, i] * centered[t, i]
            cube = square * centered[t, i]
            for j in range(n):
                cubes[i, j] += cube * centered[t, j]
                squares[i, j] += square * centered[t, j] * centered[t, j]
    noise, common, distance = 0.0, 0.0, 0.0
    for i in range(n):
        for j in range(n):
            variance = squares[i, j] / n_rows - matrix[i, j] * matrix[i, j]
            noise += variance
            if i == j:
                common += variance
            else:
                # The paper's mean of two symmetric terms, each met once from either side.
                shared = cubes[i, j] / n_rows - matrix[i, i] * matrix[i, j]
                common += correlation * sigma[j] / sigma[i] * shared
            distance += (target[i, j] - matrix[i, j]) ** 2
    share = 0.0
    if distance > 0.0:
        share = max(0.0, min(1.0, (noise - common) / distance / n_rows))
    return (1.0 - share) * matrix + share * target, share
