"""The two convex programs of allocation, handed to solvers that are good at them.

The quadratic one goes to Clarabel, the linear one of CVaR to HiGHS (through scipy). Both run in
one thread and give the same answer to the same question.
"""

import numpy as np

from trading.allocation.bounds import Bounds
from trading.allocation.moments import product
from trading.domain.arrays import FloatArray
from trading.errors import ModelError

# Purchases and sales of more than this cannot be: no limit of turnover, as a number.
_ALL = 4.0


def quadratic(
    bounds: Bounds, matrix: FloatArray, slope: FloatArray, *, invests_all: bool
) -> FloatArray:
    r"""Minimize :math:`\tfrac12 w'Mw + q'w + \sum c_i |w_i - p_i|` within ``bounds``.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        :math:`M`, positive definite.
    invests_all : bool
        Whether the weights sum to the budget, or to no more than it.

    Raises
    ------
    ModelError
        If the solver does not come to an end.
    """
    import clarabel
    from scipy import sparse

    n = len(slope)
    identity = sparse.identity(n)
    groups = (bounds.sectors == np.arange(len(bounds.caps))[:, None]).astype(np.float64)
    quadratic_part, linear_part = sparse.triu(sparse.csc_matrix(matrix)), slope
    # Rows of ``left @ x <= right``; the first may be an equality.
    left = sparse.vstack([np.ones((1, n)), identity, -identity, sparse.csc_matrix(groups)])
    right = [np.array([bounds.budget]), bounds.upper, -bounds.lower, bounds.caps]
    if bounds.trades_matter:
        # Further variables: how far each weight is from what is held.
        quadratic_part = sparse.block_diag([quadratic_part, sparse.csc_matrix((n, n))])
        linear_part = np.concatenate([slope, bounds.cost])
        rows = [
            [left, None],
            [identity, -identity],
            [-identity, -identity],
            [None, np.ones((1, n))],
        ]
        left = sparse.bmat(rows)
        right += [bounds.previous, -bounds.previous, np.array([min(bounds.turnover, _ALL)])]
    n_rows = left.shape[0]
    cones = [clarabel.NonnegativeConeT(n_rows)]
    if invests_all:
        cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(n_rows - 1)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    # Where rounding stops it short of that, this is still enough.
    settings.reduced_tol_gap_abs = settings.reduced_tol_gap_rel = 1e-8
    settings.reduced_tol_feas = 1e-8
    # Of size 1, whatever the period of the returns is.
    scale = 1.0 / np.diag(matrix).mean()
    solution = clarabel.DefaultSolver(
        quadratic_part.tocsc() * scale,
        linear_part * scale,
        left.tocsc(),
        np.concatenate(right),
        cones,
        settings,
    ).solve()
    if solution.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
        raise ModelError(f"비중 최적화 실패: Clarabel {solution.status}")
    return np.array(solution.x[:n])


def minimum_cvar(bounds: Bounds, returns: FloatArray, level: float) -> FloatArray:
    r"""Minimize the CVaR of past returns, plus the cost of trades, by the dual program.

    The primal of Rockafellar and Uryasev has a row a session. Its dual has a row a name, and a
    session is a bounded variable there: the weight :math:`p_t` of its loss in the worst tail,

    .. math::
       \max_{p,\,\theta} \; B\theta - \dots \quad\text{s.t.}\quad
       \sum_t x_{ti}\,p_t + \theta - \dots \le 0, \quad \sum_t p_t = 1, \quad
       0 \le p_t \le \tfrac{1}{(1-\alpha)T},

    where the dots are a variable for each bound, sector and trade. The weights are the prices of
    the rows.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n)
        Past returns without a hole.
    level : float
        :math:`\alpha`, 0.95 for the mean of the worst twentieth.

    Raises
    ------
    ModelError
        If the solver does not come to an end.

    References
    ----------
    .. [1] Rockafellar, R. T. and Uryasev, S. (2000). "Optimization of Conditional
       Value-at-Risk." Journal of Risk, 2(3), 21-41.
    """
    from scipy import optimize, sparse

    n_rows, n = returns.shape
    # Of size 1, whatever the period of the returns is; weights count from their lower bounds.
    scale = 1.0 / returns.std()
    scaled = returns * scale
    identity = sparse.identity(n)
    groups = (bounds.sectors == np.arange(len(bounds.caps))[:, None]).astype(np.float64)
    lower = bounds.lower[:, None]
    n_bounds = n + len(groups)
    left = sparse.hstack([scaled.T, np.ones((n, 1)), -identity, -sparse.csc_matrix(groups.T)])
    right = np.zeros(n)
    costs = [
        product(scaled, lower)[:, 0],
        np.array([float(bounds.lower.sum()) - bounds.budget]),
        bounds.upper - bounds.lower,
        bounds.caps - product(groups, lower)[:, 0],
    ]
    ranges: list[tuple[float | None, float | None]]
    ranges = [(0.0, 1.0 / ((1.0 - level) * n_rows))] * n_rows
    ranges += [(None, None)] + [(0.0, None)] * n_bounds
    if bounds.trades_matter:
        # Variables for buying, for selling, for the turnover; a row for each name's trade.
        left = sparse.bmat(
            [[left, -identity, identity, None], [None, identity, identity, -np.ones((n, 1))]]
        )
        right = np.concatenate([right, bounds.cost * scale])
        held = bounds.previous - bounds.lower
        costs += [held, -held, np.array([min(bounds.turnover, _ALL)])]
        ranges += [(0.0, None)] * (2 * n + 1)
    sessions = np.zeros((1, left.shape[1]))
    sessions[0, :n_rows] = 1.0
    solution = optimize.linprog(
        np.concatenate(costs),
        A_ub=left.tocsc(),
        b_ub=right,
        A_eq=sparse.csc_matrix(sessions),
        b_eq=[1.0],
        bounds=ranges,
        method="highs-ds",
    )
    if solution.status != 0:
        raise ModelError(f"CVaR 최적화 실패: {solution.message}")
    weights: FloatArray = bounds.lower - solution.ineqlin.marginals[:n]
    if abs(float(weights.sum()) - bounds.budget) > 1e-6:
        raise ModelError(f"CVaR 최적화 실패: 비중 합 {weights.sum():.9f}, 예산 {bounds.budget:.9f}")
    return weights
