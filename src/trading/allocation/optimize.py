"""From past returns and a view of the future to target weights: one door, six methods.

``allocate`` is pure and deterministic. How returns become moments is ``allocation.moments``, the
methods that need no optimizer ``allocation.risk_parity``, whole lots ``allocation.rounding``.

The order is target → caps → cash: what caps leave over stays cash, and no weight of a result is
above its cap to the bit, unless its lower bound (a holding that cannot be sold) is.
Convex methods know the caps while they choose; the others are cut afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.allocation.bounds import DECIMALS, Bounds, fit
from trading.allocation.moments import (
    CovarianceRule,
    cholesky,
    cholesky_solve,
    complete_returns,
    covariance,
    product,
    shrunk_means,
)
from trading.allocation.programs import minimum_cvar, quadratic
from trading.allocation.risk_parity import Linkage, equal_risk, hierarchical, risk_contributions
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.errors import ModelError

# Of the mean variance, added to the diagonal where a covariance is singular to rounding:
# the minimum is then one portfolio and not a plane of them.
_RIDGE = 1e-9


class AllocationMethod(StrEnum):
    """How weights are chosen; the values are those of ``allocation.yaml``."""

    MINIMUM_VARIANCE = "minimum_variance"
    MEAN_VARIANCE = "mean_variance"
    EQUAL_RISK = "equal_risk"
    HIERARCHICAL = "hierarchical"
    MINIMUM_CVAR = "minimum_cvar"
    BLACK_LITTERMAN = "black_litterman"


class ExpectedReturns(StrEnum):
    """Where expected returns come from: the caller's views, or the past (``shrunk_means``)."""

    VIEWS = "views"
    PAST = "past"


class AllocationStatus(StrEnum):
    """Whether the weights are the method's; all but ``SOLVED`` keep what is held."""

    SOLVED = "solved"
    NO_HISTORY = "no_history"
    NO_EXPECTED_RETURNS = "no_expected_returns"
    NO_MARKET_VALUES = "no_market_values"
    SOLVER_FAILED = "solver_failed"


class OptimizerSettings(BaseModel):
    """How weights are optimized (``allocation.yaml: optimizer``).

    ``max_turnover`` counts purchases and sales, as a share of equity: 2 is no limit at all.
    Costs of a trade are spread over ``cost_horizon_sessions``, about how long it is held.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    covariance: CovarianceRule = CovarianceRule.LEDOIT_WOLF
    expected_returns: ExpectedReturns = ExpectedReturns.VIEWS
    window_sessions: Annotated[int, Field(ge=20)] = 500
    min_sessions: Annotated[int, Field(ge=20)] = 250
    ewma_half_life: Annotated[float, Field(gt=0.0)] = 63.0
    risk_aversion: Annotated[float, Field(gt=0.0)] = 5.0
    cvar_level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    linkage: Linkage = Linkage.SINGLE
    view_scale: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    max_turnover: Annotated[float, Field(gt=0.0, le=2.0)] = 2.0
    cost_horizon_sessions: Annotated[int, Field(ge=1)] = 21

    @model_validator(mode="after")
    def _window_holds_the_minimum(self) -> "OptimizerSettings":
        if self.min_sessions > self.window_sessions:
            raise ValueError("min_sessions 는 window_sessions 이하여야 합니다")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AllocationInputs:
    """What is known when weights are chosen; one entry an instrument.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns to the last close; NaN as in ``complete_returns``.
    members : ndarray of bool
        Who may be held. All others get 0.
    sectors : ndarray of int
        A code an instrument, -1 where no source names one (never capped by sector).
    previous : ndarray
        Weights held now.
    lower, upper : ndarray
        Bounds of each weight. A holding that cannot be traded has both at what is held.
    max_sector, gross : float
        Most that one sector, and all together, may weigh.
    cost : ndarray
        Cost of trading, as a fraction of what is traded.
    expected, expected_error : ndarray, optional
        Return in excess of cash per session and its standard error. NaN: no view of that name.
        Not looked at where the settings ask for the past's.
    market_values : ndarray, optional
        Market value of all shares as known that day; NaN where it is not.
    """

    returns: FloatArray
    members: BoolArray
    sectors: IntArray
    previous: FloatArray
    lower: FloatArray
    upper: FloatArray
    max_sector: float
    gross: float
    cost: FloatArray
    expected: FloatArray | None = None
    expected_error: FloatArray | None = None
    market_values: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Weights and how they came about; all arrays have one entry an instrument.

    ``target`` is what the method wished before caps and turnover (equal to ``weights`` where it
    knew both), ``sized`` who had enough history. ``matrix`` is the covariance of the sized names
    per session, ``(n_sized, n_sized)``.
    """

    status: AllocationStatus
    weights: FloatArray
    target: FloatArray
    sized: BoolArray
    matrix: FloatArray

    def contributions(self, weights: FloatArray) -> FloatArray:
        """Return the shares of variance of ``weights`` (``target``, ``weights`` or any other)."""
        out = np.zeros(len(self.sized))
        out[self.sized] = risk_contributions(
            np.ascontiguousarray(weights[self.sized], dtype=np.float64), self.matrix
        )
        return out


def allocate(
    method: AllocationMethod, inputs: AllocationInputs, settings: OptimizerSettings
) -> Allocation:
    """Return the weights that ``method`` wishes, rounded to 1e-9, within all bounds.

    Their sum is at most ``gross``. Minimum variance, minimum CVaR, equal risk and hierarchy
    invest all that caps and turnover allow; the methods that know expected returns may prefer
    cash. When the turnover limit is too small for what caps force, the caps win.

    What cannot be computed is never replaced in silence: the status says so and the weights are
    those held, within the caps. A name without enough history gets its lower bound and is not
    ``sized``: whoever holds more of it decides what that means.
    """
    returns = inputs.returns[-settings.window_sessions :]
    sample = complete_returns(returns, inputs.members, min_sessions=settings.min_sessions)
    sized = sample.usable
    matrix = covariance(sample, settings.covariance, half_life=settings.ewma_half_life).matrix

    def unsolved(status: AllocationStatus) -> Allocation:
        bounds = _bounds(inputs, inputs.members, settings)
        kept = _spread(bounds.settle(bounds.previous), inputs, inputs.members)
        return Allocation(status=status, weights=kept, target=kept, sized=sized, matrix=matrix)

    if not sized.any():
        return unsolved(AllocationStatus.NO_HISTORY)
    definite = _definite(matrix)
    expected = _known(inputs.expected, sized)
    expected_error = _known(inputs.expected_error, sized)
    if settings.expected_returns is ExpectedReturns.PAST:
        means = shrunk_means(sample, definite)
        expected, expected_error = means.mean, means.standard_error
    problem = _Problem(
        returns=sample.returns,
        matrix=definite,
        bounds=_bounds(inputs, sized, settings),
        expected=expected,
        expected_error=expected_error,
        market_values=_known(inputs.market_values, sized),
    )
    if method is AllocationMethod.MEAN_VARIANCE and not np.isfinite(problem.expected).any():
        return unsolved(AllocationStatus.NO_EXPECTED_RETURNS)
    if method is AllocationMethod.BLACK_LITTERMAN and not (problem.market_values > 0.0).all():
        return unsolved(AllocationStatus.NO_MARKET_VALUES)
    try:
        target, weights = _METHODS[method](problem, settings)
    except ModelError:
        return unsolved(AllocationStatus.SOLVER_FAILED)
    return Allocation(
        status=AllocationStatus.SOLVED,
        weights=_spread(problem.bounds.settle(weights), inputs, sized),
        target=_spread(np.round(target, DECIMALS), inputs, sized),
        sized=sized,
        matrix=matrix,
    )


def black_litterman(
    matrix: FloatArray,
    market_weights: FloatArray,
    picks: FloatArray,
    views: FloatArray,
    view_variance: FloatArray,
    *,
    risk_aversion: float,
    view_scale: float,
) -> tuple[FloatArray, FloatArray]:
    r"""Return ``(means, covariance)`` of returns after views, from the market's equilibrium.

    .. math::
       \pi = \delta\Sigma w_m, \qquad
       \mu = \pi + \tau\Sigma P'(P\tau\Sigma P' + \Omega)^{-1}(q - P\pi), \qquad
       \bar\Sigma = \Sigma + \tau\Sigma - \tau\Sigma P'(P\tau\Sigma P'+\Omega)^{-1}P\tau\Sigma

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Covariance of returns; with it, means and views are per the same period.
    market_weights : ndarray of shape (n,)
        Shares of the market's value. They must be those of the day: today's values on a past
        day know who would grow.
    picks, views, view_variance : ndarray of shape (k, n), (k,), (k,)
        Portfolios with a view, their expected returns and how unsure these are. No views leave
        the equilibrium.
    risk_aversion, view_scale : float
        :math:`\delta`, and :math:`\tau`: how unsure the equilibrium itself is.

    Raises
    ------
    ModelError
        If views that claim to be certain say the same thing twice.

    References
    ----------
    .. [1] He, G. and Litterman, R. (1999). "The Intuition Behind Black-Litterman Model
       Portfolios." Goldman Sachs, SSRN 334304.
    """
    equilibrium = risk_aversion * product(matrix, market_weights[:, None])[:, 0]
    if not len(views):
        return equilibrium, (1.0 + view_scale) * matrix
    spread = view_scale * product(picks, matrix)
    doubt = product(spread, picks.T) + np.diag(view_variance)
    factor, is_definite = cholesky(doubt)
    if not is_definite:
        raise ModelError(
            "전망이 서로 겹쳐 결합할 수 없음: 분산이 0인 전망이 둘 이상 같은 것을 말함"
        )
    surprise = views - product(picks, equilibrium[:, None])[:, 0]
    means = equilibrium + product(spread.T, cholesky_solve(factor, surprise)[:, None])[:, 0]
    gain = np.column_stack([cholesky_solve(factor, column) for column in spread.T])
    posterior = (1.0 + view_scale) * matrix - product(spread.T, gain)
    return means, (posterior + posterior.T) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Problem:
    """The sized names alone."""

    returns: FloatArray
    matrix: FloatArray
    bounds: Bounds
    expected: FloatArray
    expected_error: FloatArray
    market_values: FloatArray


_Weights = tuple[FloatArray, FloatArray]


def _minimum_variance(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    matrix = settings.risk_aversion * problem.matrix
    weights = quadratic(problem.bounds, matrix, np.zeros(len(matrix)), invests_all=True)
    return weights, weights


def _mean_variance(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    """What is not known of a mean counts as risk; a name without a view is not bought."""
    known = np.isfinite(problem.expected)
    error = np.where(np.isfinite(problem.expected_error), problem.expected_error, 0.0)
    bounds = problem.bounds
    unseen = replace(bounds, upper=np.where(known, bounds.upper, bounds.held))
    matrix = settings.risk_aversion * (problem.matrix + np.diag(error**2))
    means = np.where(known, problem.expected, 0.0)
    weights = quadratic(unseen, matrix, -means, invests_all=False)
    return weights, weights


def _black_litterman(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    """A view needs a mean and its error; names without one are held for the market's reasons."""
    seen = np.isfinite(problem.expected) & (problem.expected_error > 0.0)
    means, matrix = black_litterman(
        problem.matrix,
        problem.market_values / problem.market_values.sum(),
        np.eye(len(seen))[seen],
        problem.expected[seen],
        problem.expected_error[seen] ** 2,
        risk_aversion=settings.risk_aversion,
        view_scale=settings.view_scale,
    )
    matrix = settings.risk_aversion * matrix
    weights = quadratic(problem.bounds, matrix, -means, invests_all=False)
    return weights, weights


def _equal_risk(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    n = len(problem.matrix)
    weights, is_equal = equal_risk(problem.matrix, np.full(n, 1.0 / n))
    if not is_equal:
        raise ModelError("같은 위험 비중을 찾지 못함: 위험이 없는 조합이 있음")
    target = weights * problem.bounds.gross
    return target, problem.bounds.nearest(target)


def _hierarchical(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    target = hierarchical(problem.matrix, settings.linkage) * problem.bounds.gross
    return target, problem.bounds.nearest(target)


def _minimum_cvar(problem: _Problem, settings: OptimizerSettings) -> _Weights:
    weights = minimum_cvar(problem.bounds, problem.returns, settings.cvar_level)
    return weights, weights


_METHODS: dict[AllocationMethod, Callable[[_Problem, OptimizerSettings], _Weights]] = {
    AllocationMethod.MINIMUM_VARIANCE: _minimum_variance,
    AllocationMethod.MEAN_VARIANCE: _mean_variance,
    AllocationMethod.EQUAL_RISK: _equal_risk,
    AllocationMethod.HIERARCHICAL: _hierarchical,
    AllocationMethod.MINIMUM_CVAR: _minimum_cvar,
    AllocationMethod.BLACK_LITTERMAN: _black_litterman,
}


def _definite(matrix: FloatArray) -> FloatArray:
    """Return the matrix, with a small ridge where it is singular to rounding."""
    if cholesky(matrix)[1]:
        return matrix
    ridge = _RIDGE * float(np.diag(matrix).mean())
    return matrix + ridge * np.eye(len(matrix))


def _known(values: FloatArray | None, who: BoolArray) -> FloatArray:
    return np.full(int(who.sum()), np.nan) if values is None else values[who]


def _floor(inputs: AllocationInputs) -> FloatArray:
    """Return the lower bounds of members; nobody else is held."""
    return np.where(inputs.members, np.maximum(inputs.lower, 0.0), 0.0)


def _spread(weights: FloatArray, inputs: AllocationInputs, who: BoolArray) -> FloatArray:
    """Return the weights of ``who`` among those of all instruments."""
    out = _floor(inputs)
    out[who] = weights
    return out


def _bounds(inputs: AllocationInputs, who: BoolArray, settings: OptimizerSettings) -> Bounds:
    """Return the bounds of ``who``, such that all can be kept together.

    A lower bound wins over every cap that it breaks. Members that are not among ``who`` stay at
    theirs, which take their share of sector, gross and turnover. What the caps force is traded
    even beyond the turnover limit; ``budget`` is what can be invested then.
    """
    floor = _floor(inputs)
    aside = np.where(who, 0.0, floor)
    codes = np.unique(inputs.sectors[who & (inputs.sectors >= 0)])
    row = np.where(np.isin(inputs.sectors, codes), np.searchsorted(codes, inputs.sectors), -1)
    lower, upper, sectors = floor[who], np.maximum(inputs.upper, floor)[who], row[who]
    caps = np.empty(len(codes))
    most = float(upper[sectors < 0].sum())
    for k in range(len(codes)):
        inside = sectors == k
        caps[k] = max(inputs.max_sector - aside[row == k].sum(), lower[inside].sum())
        most += min(float(caps[k]), float(upper[inside].sum()))
    gross = max(inputs.gross - float(aside.sum()), float(lower.sum()))
    budget = min(gross, most)
    held = fit(inputs.previous[who], lower, upper, sectors, caps, gross)
    turnover = np.inf
    if settings.max_turnover < 2.0:
        forced = float(np.abs(held - inputs.previous[who]).sum())
        outside = float(np.abs(inputs.previous - floor)[~who].sum())
        turnover = max(settings.max_turnover - outside, forced)
        budget = min(budget, float(held.sum()) + turnover - forced)
    return Bounds(
        lower=lower,
        upper=upper,
        sectors=sectors,
        caps=caps,
        gross=gross,
        budget=budget,
        previous=inputs.previous[who],
        held=held,
        turnover=turnover,
        cost=inputs.cost[who] / settings.cost_horizon_sessions,
    )
