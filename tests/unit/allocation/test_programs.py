"""The convex programs against optimality conditions, closed forms and other formulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from trading.allocation.bounds import Bounds, fit
from trading.allocation.programs import minimum_cvar, quadratic


def bounds_of(n, **changes):
    """Return bounds of ``n`` names that may be held freely, without sectors and turnover."""
    values = {
        "lower": np.zeros(n),
        "upper": np.ones(n),
        "sectors": np.full(n, -1),
        "caps": np.zeros(0),
        "gross": 1.0,
        "budget": 1.0,
        "previous": np.zeros(n),
        "held": np.zeros(n),
        "turnover": np.inf,
        "cost": np.zeros(n),
    }
    return Bounds(**(values | changes))


# --- quadratic -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    first=st.integers(0, 900),
    rows=st.integers(20, 100),
    cap=st.sampled_from([0.3, 0.5, 1.0]),
    aversion=st.sampled_from([1.0, 5.0, 50.0]),
    invests_all=st.booleans(),
)
def test_optimality(four_returns, first, rows, cap, aversion, invests_all):
    """Karush–Kuhn–Tucker: one marginal value for all that is free, worse where nothing is held,
    better where the cap holds; and none is left when cash is."""
    returns = four_returns[first : first + rows]
    matrix = aversion * np.cov(returns.T)
    slope = -returns.mean(axis=0)

    weights = quadratic(bounds_of(4, upper=np.full(4, cap)), matrix, slope, invests_all=invests_all)

    value = -(matrix @ weights + slope) / np.diag(matrix).mean()
    assert weights.min() > -1e-9 and weights.max() < cap + 1e-9
    assert weights.sum() < 1.0 + 1e-9
    price = value[(weights > 1e-6) & (weights < cap - 1e-6)]
    if not invests_all and weights.sum() < 1.0 - 1e-6:
        price = np.append(price, 0.0)
    if invests_all:
        assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    if len(price):
        assert np.ptp(price) < 1e-5
        assert value[weights <= 1e-6].max(initial=-np.inf) <= price.max() + 1e-5
        assert value[weights >= cap - 1e-6].min(initial=np.inf) >= price.min() - 1e-5


@pytest.mark.parametrize(
    ("held", "expected"),
    [(0.0, 0.38), (0.37, 0.38), (0.39, 0.39), (0.41, 0.41), (0.42, 0.42), (0.9, 0.42)],
)
def test_cost_leaves_a_band(held, expected):
    """One asset, closed form: trade to the nearer of (μ ∓ c) / γσ², else not at all.

    At the edge itself an interior point is good for about the root of its tolerance.
    """
    bounds = bounds_of(1, previous=np.array([held]), cost=np.array([0.02]))

    weights = quadratic(bounds, np.array([[1.0]]), np.array([-0.4]), invests_all=False)

    assert weights[0] == pytest.approx(expected, abs=5e-6)


def test_two_names_closed_form():
    """Minimum variance of two: (σ₂² - ρσ₁σ₂) / (σ₁² + σ₂² - 2ρσ₁σ₂)."""
    matrix = np.array([[0.04, 0.006], [0.006, 0.09]])

    weights = quadratic(bounds_of(2), matrix, np.zeros(2), invests_all=True)

    assert weights[0] == pytest.approx((0.09 - 0.006) / (0.04 + 0.09 - 0.012), abs=1e-10)


def test_sector_and_turnover_bind(four_returns):
    """As scipy's SLSQP on the same program, to its own tolerance; ours is never worse."""
    matrix = 1e4 * np.cov(four_returns.T)
    previous = np.array([0.7, 0.1, 0.1, 0.1])
    bounds = bounds_of(
        4,
        upper=np.full(4, 0.6),
        sectors=np.array([0, 0, 1, -1]),
        caps=np.array([0.65, 0.5]),
        previous=previous,
        held=np.array([0.55, 0.1, 0.1, 0.1]),
        turnover=0.8,
    )

    weights = quadratic(bounds, matrix, np.zeros(4), invests_all=True)
    theirs = optimize.minimize(
        lambda x: x[:4] @ matrix @ x[:4] / 2,
        np.concatenate([np.full(4, 0.25), np.full(4, 0.3)]),
        jac=lambda x: np.concatenate([matrix @ x[:4], np.zeros(4)]),
        bounds=[(0, 0.6)] * 4 + [(0, 2)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda x: x[:4].sum() - 1},
            {"type": "ineq", "fun": lambda x: 0.65 - x[:2].sum()},
            {"type": "ineq", "fun": lambda x: 0.5 - x[2]},
            {"type": "ineq", "fun": lambda x: x[4:] - x[:4] + previous},
            {"type": "ineq", "fun": lambda x: x[4:] + x[:4] - previous},
            {"type": "ineq", "fun": lambda x: 0.8 - x[4:].sum()},
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )

    assert weights @ matrix @ weights / 2 <= theirs.fun + 1e-8
    np.testing.assert_allclose(weights, theirs.x[:4], atol=1e-4)
    assert np.abs(weights - previous).sum() <= 0.8 + 1e-9


# --- CVaR ------------------------------------------------------------------------------------


def cvar(weights, returns, level):
    """Return the CVaR by its definition (Rockafellar and Uryasev): the least over thresholds."""
    losses = -returns @ weights
    excess = np.maximum(losses[None, :] - losses[:, None], 0.0).mean(axis=1)
    return float((losses + excess / (1 - level)).min())


def primal(bounds, returns, level):
    """Return the least of CVaR plus costs by the textbook program: a row a session."""
    rows, n = returns.shape
    one, none = np.eye(n), np.zeros
    groups = (bounds.sectors == np.arange(len(bounds.caps))[:, None]).astype(float)
    width = none((rows, n))
    upper = np.block(
        [
            [-returns, -np.ones((rows, 1)), -np.eye(rows), width],
            [groups, none((len(groups), 1 + rows + n))],
            [one, none((n, 1 + rows)), -one],
            [-one, none((n, 1 + rows)), -one],
            [none((1, n + 1 + rows)), np.ones((1, n))],
        ]
    )
    limit = np.concatenate(
        [
            none(rows), bounds.caps, bounds.previous, -bounds.previous,
            [min(bounds.turnover, 10.0)],
        ]
    )  # fmt: skip
    tail = np.full(rows, 1 / ((1 - level) * rows))
    solution = optimize.linprog(
        np.concatenate([none(n), [1.0], tail, bounds.cost]),
        A_ub=upper,
        b_ub=limit,
        A_eq=np.concatenate([np.ones(n), none(1 + rows + n)])[None],
        b_eq=[bounds.budget],
        bounds=[
            *zip(bounds.lower, bounds.upper, strict=True),
            (None, None),
            *[(0, None)] * (rows + n),
        ],
        method="highs-ipm",
    )
    assert solution.status == 0
    return solution.fun


def test_cvar_of_recorded_returns(four_returns):
    """cvxpy 1.9.3 with Clarabel at 1e-12: CVaR 95 % 0.0252088523107, on 1,000 sessions."""
    weights = minimum_cvar(bounds_of(4), four_returns, 0.95)

    assert cvar(weights, four_returns, 0.95) == pytest.approx(0.025208852310672675, abs=1e-8)
    np.testing.assert_allclose(weights, [0.0012814, 0.19034073, 0.53587597, 0.2725019], atol=1e-6)


@settings(max_examples=25)
@given(
    first=st.integers(0, 900),
    rows=st.integers(20, 80),
    level=st.sampled_from([0.9, 0.95, 0.975]),
    cap=st.sampled_from([0.4, 1.0]),
    floor=st.sampled_from([0.0, 0.1]),
    sectors=st.sampled_from([(-1, -1, -1, -1), (0, 0, 1, 1), (0, 0, 0, -1)]),
    turnover=st.sampled_from([np.inf, 0.9]),
    cost=st.sampled_from([0.0, 0.002]),
)
def test_dual_is_the_primal(four_returns, first, rows, level, cap, floor, sectors, turnover, cost):
    """The weights keep every bound and reach the primal's least CVaR, to 1e-8."""
    returns = four_returns[first : first + rows]
    previous = np.array([0.4, 0.3, 0.2, 0.1])
    codes = np.array(sectors)
    bounds = bounds_of(
        4,
        lower=np.array([floor, 0.0, 0.0, 0.0]),
        upper=np.full(4, cap),
        sectors=codes,
        caps=np.full(codes.max() + 1, 0.7),
        previous=previous,
        held=previous,
        turnover=turnover,
        cost=np.full(4, cost),
    )

    weights = minimum_cvar(bounds, returns, level)

    moved = np.abs(weights - previous)
    assert (weights >= bounds.lower - 1e-9).all() and (weights <= cap + 1e-9).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    for sector, most in enumerate(bounds.caps):
        assert weights[codes == sector].sum() <= most + 1e-9
    assert moved.sum() <= turnover + 1e-9
    reached = cvar(weights, returns, level) + (bounds.cost * moved).sum()
    assert reached == pytest.approx(primal(bounds, returns, level), abs=1e-8)


# --- cutting ---------------------------------------------------------------------------------


def test_cut_to_bounds():
    """Names first, then sectors in proportion, then all in proportion; lower bounds stay."""
    weights = np.array([0.5, 0.3, 0.3, 0.0])

    cut = fit(
        weights,
        np.array([0.0, 0.0, 0.1, 0.2]),
        np.array([0.4, 0.4, 0.4, 0.4]),
        np.array([0, 0, 1, 1]),
        np.array([0.35, 1.0]),
        0.8,
    )

    # Sector 0: 0.4 + 0.3 → 0.35. All: 0.35 + 0.5 = 0.85 → 0.8, of which 0.3 stays.
    free = np.array([0.2, 0.15, 0.2, 0.0])
    np.testing.assert_allclose(cut, np.array([0.0, 0.0, 0.1, 0.2]) + free * 0.5 / 0.55)


def test_turnover_stops_half_way():
    """A target further than the turnover allows is approached in a straight line."""
    held = np.array([0.5, 0.5])
    bounds = bounds_of(2, previous=held, held=held, turnover=0.2)

    np.testing.assert_allclose(bounds.nearest(np.array([0.1, 0.9])), [0.4, 0.6])
    np.testing.assert_allclose(bounds.nearest(np.array([0.45, 0.5])), [0.45, 0.5])


def test_forced_sales_use_the_turnover():
    """0.1 of the turnover is spent on the way into the bounds; the rest is left for the target."""
    bounds = bounds_of(2, previous=np.array([0.6, 0.3]), held=np.array([0.5, 0.3]), turnover=0.3)

    np.testing.assert_allclose(bounds.nearest(np.array([0.1, 0.3])), [0.3, 0.3])
