"""Weights from risk alone, without an optimizer's library: equal contributions and hierarchy."""

from enum import StrEnum

import numpy as np
from numba import njit

from trading.allocation.moments import cholesky, cholesky_solve
from trading.domain.arrays import FloatArray, IntArray

_MAX_STEPS = 100


class Linkage(StrEnum):
    """How two clusters are joined; the values are scipy's names."""

    SINGLE = "single"
    AVERAGE = "average"
    COMPLETE = "complete"
    WARD = "ward"


@njit(cache=True, nogil=True)
def risk_contributions(weights: FloatArray, matrix: FloatArray) -> FloatArray:
    r"""Return each name's share of the portfolio's variance, :math:`w_i (\Sigma w)_i / w'\Sigma w`.

    They sum to 1; a name that hedges the others has a negative one. All 0 when nothing is held
    or the portfolio has no variance.
    """
    n = weights.shape[0]
    out = np.zeros(n)
    total = 0.0
    for i in range(n):
        if weights[i] != 0.0:
            for j in range(n):
                if weights[j] != 0.0:
                    out[i] += matrix[i, j] * weights[j]
            out[i] *= weights[i]
            total += out[i]
    if not total > 0.0:
        return np.zeros(n)
    return out / total


@njit(cache=True, nogil=True)
def equal_risk(matrix: FloatArray, budgets: FloatArray) -> tuple[FloatArray, bool]:
    r"""Return long-only weights whose risk contributions are ``budgets``, and whether they are.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        A covariance with a positive diagonal. It may be singular, as long as no long-only
        portfolio is free of risk.
    budgets : ndarray of shape (n,)
        Wished shares of the variance, positive, with sum 1. ``1 / n`` for equal ones.

    Notes
    -----
    :math:`y` that minimizes :math:`\tfrac12 y'Cy - \sum b_i \log y_i` has
    :math:`y_i (Cy)_i = b_i`, and is unique; :math:`C` is the correlation, so that the scale of
    the names does not matter. The function is self-concordant, so damped Newton steps converge
    from anywhere, and quadratically at the end: contributions are right to about 1e-15.

    References
    ----------
    .. [1] Maillard, S., Roncalli, T. and Teïletche, J. (2010). "The Properties of Equally
       Weighted Risk Contribution Portfolios." Journal of Portfolio Management, 36(4), 60-70.
    .. [2] Spinu, F. (2013). "An Algorithm for Computing Risk Parity Weights." SSRN 2297383.
    """
    n = matrix.shape[0]
    if n == 0:
        return np.zeros(0), False
    sigma = np.sqrt(np.diag(matrix))
    if not sigma.min() > 0.0:
        return np.zeros(n), False
    scaled = np.empty((n, n))
    total = 0.0
    for i in range(n):
        for j in range(n):
            scaled[i, j] = matrix[i, j] / (sigma[i] * sigma[j])
            total += scaled[i, j]
    if not total > 0.0:
        return np.zeros(n), False
    root = np.sqrt(budgets.min())
    y = np.full(n, 1.0 / np.sqrt(total))
    for _ in range(_MAX_STEPS):
        gradient = np.empty(n)
        hessian = scaled.copy()
        worst = 0.0
        for i in range(n):
            exposure = 0.0
            for j in range(n):
                exposure += scaled[i, j] * y[j]
            gradient[i] = exposure - budgets[i] / y[i]
            hessian[i, i] += budgets[i] / (y[i] * y[i])
            worst = max(worst, abs(gradient[i] * y[i]) / budgets[i])
        if worst < 1e-13:
            break
        factor, is_definite = cholesky(hessian)
        if not is_definite:
            return np.zeros(n), False
        step = cholesky_solve(factor, gradient)
        square = 0.0
        for i in range(n):
            square += gradient[i] * step[i]
        decrement = np.sqrt(max(square, 0.0)) / root
        damping = 1.0 if decrement < 0.3 else 1.0 / (1.0 + decrement)
        for i in range(n):
            y[i] -= damping * step[i]
    weights = y / sigma
    weights /= weights.sum()
    shares = risk_contributions(weights, matrix)
    # The last steps may hover at rounding; what was promised is what is tested.
    return weights, bool(np.abs(shares - budgets).max() < 1e-11)


def hierarchical(matrix: FloatArray, linkage: Linkage) -> FloatArray:
    r"""Return hierarchical risk parity weights.

    Names are put in the order of a dendrogram over :math:`d_{ij} = \sqrt{(1-\rho_{ij})/2}`
    (joined by ``linkage``; ``single`` is the paper's), and the order is halved again and again,
    each half weighted by the inverse of the variance of its inverse-variance portfolio.

    Notes
    -----
    :math:`d` itself is clustered. The paper's code hands the square matrix to scipy, which takes
    its rows for coordinates and clusters their Euclidean distances instead; the text describes
    both. Distances are rounded to 1e-9, so that a tie is a tie on every machine.

    References
    ----------
    .. [1] López de Prado, M. (2016). "Building Diversified Portfolios that Outperform Out of
       Sample." Journal of Portfolio Management, 42(4), 59-69.
    """
    from scipy.cluster import hierarchy

    n = matrix.shape[0]
    if n < 2:
        return np.ones(n)
    sigma = np.sqrt(np.diag(matrix))
    rows, columns = np.triu_indices(n, 1)
    correlation = matrix[rows, columns] / (sigma[rows] * sigma[columns])
    distance = np.round(np.sqrt(np.maximum(1.0 - correlation, 0.0) / 2.0), 9)
    order = hierarchy.leaves_list(hierarchy.linkage(distance, method=str(linkage)))
    return _halved(matrix, order.astype(np.int64))


@njit(cache=True, nogil=True)
def _halved(matrix: FloatArray, order: IntArray) -> FloatArray:
    n = order.shape[0]
    weights = np.ones(n)
    # Half-open stretches of the order still to be split.
    stack = [(0, n)]
    while len(stack) > 0:
        begin, end = stack.pop()
        if end - begin < 2:
            continue
        middle = begin + (end - begin) // 2
        left = _cluster_variance(matrix, order[begin:middle])
        right = _cluster_variance(matrix, order[middle:end])
        share = right / (left + right) if left + right > 0.0 else 0.5
        for k in range(begin, end):
            weights[order[k]] *= share if k < middle else 1.0 - share
        stack.append((begin, middle))
        stack.append((middle, end))
    return weights


@njit(cache=True, nogil=True)
def _cluster_variance(matrix: FloatArray, names: IntArray) -> float:
    total = 0.0
    for i in names:
        total += 1.0 / matrix[i, i]
    variance = 0.0
    for i in names:
        for j in names:
            variance += matrix[i, j] / (matrix[i, i] * matrix[j, j])
    return variance / (total * total)
