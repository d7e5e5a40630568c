"""Equal risk contributions and hierarchy against the papers and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.allocation.risk_parity import Linkage, equal_risk, hierarchical, risk_contributions


def equal(n):
    """Return equal risk budgets."""
    return np.full(n, 1.0 / n)


def covariance_of(sigma, correlation):
    """Return a covariance from volatilities and a correlation matrix."""
    return np.outer(sigma, sigma) * correlation


@pytest.fixture
def paper():
    """Return the four assets of Maillard, Roncalli and Teïletche (2010), section 4."""
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.8
    correlation[2, 3] = correlation[3, 2] = -0.5
    return covariance_of(np.array([0.1, 0.2, 0.3, 0.4]), correlation)


def test_published_weights(paper):
    """ERC 38.361 / 19.181 / 24.262 / 18.196 % (REFERENCES 12)."""
    weights, is_equal = equal_risk(paper, equal(4))

    assert is_equal
    np.testing.assert_allclose(weights * 100, [38.361, 19.181, 24.262, 18.196], atol=0.0005)


@pytest.mark.parametrize("correlation", [-0.2, 0.0, 0.7])
def test_one_correlation_gives_inverse_volatility(correlation):
    """With one correlation for all pairs the weights are proportional to 1 / σ (paper, 3.2)."""
    sigma = np.array([0.1, 0.25, 0.4, 0.05])
    matrix = covariance_of(sigma, np.full((4, 4), correlation) + (1 - correlation) * np.eye(4))

    weights, _ = equal_risk(matrix, equal(4))

    np.testing.assert_allclose(weights, (1 / sigma) / (1 / sigma).sum(), rtol=1e-12)


@given(
    first=st.integers(0, 900),
    rows=st.integers(20, 100),
    columns=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_contributions_are_equal(four_returns, first, rows, columns, scale):
    """Contributions are equal to 1e-11 at any scale, also when names are copies of each other."""
    matrix = np.atleast_2d(np.cov(four_returns[first : first + rows][:, columns].T)) * scale

    weights, is_equal = equal_risk(matrix, equal(len(columns)))

    assert is_equal
    assert weights.min() > 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    contributions = weights * (matrix @ weights) / (weights @ matrix @ weights)
    np.testing.assert_allclose(contributions, equal(len(columns)), atol=1e-11)


def test_other_budgets(four_returns):
    """Contributions are the budgets, whatever these are."""
    matrix = np.cov(four_returns.T)
    budgets = np.array([0.7, 0.001, 0.2, 0.099])

    weights, is_kept = equal_risk(matrix, budgets)

    assert is_kept
    np.testing.assert_allclose(risk_contributions(weights, matrix), budgets, atol=1e-11)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((0, 0)),
        np.array([[1.0, -1.0], [-1.0, 1.0]]),
        np.array([[1.0, np.nan], [np.nan, 1.0]]),
        np.array([[0.04, 0.0], [0.0, 0.0]]),
        # Not a covariance at all: three correlations of -0.9.
        np.full((3, 3), -0.9) + 1.9 * np.eye(3),
    ],
)
def test_what_cannot_be_equal_is_refused(matrix):
    """Where a portfolio is free of risk, or the matrix is none, it says so."""
    n = len(matrix)

    assert not equal_risk(matrix, np.full(n, 1.0 / n if n else 0.0))[1]


def test_risk_contributions(paper):
    """Shares of the variance: they sum to 1, and a hedge's is negative."""
    weights = np.array([0.5, 0.0, 0.4, 0.1])

    shares = risk_contributions(weights, paper)

    np.testing.assert_allclose(shares, weights * (paper @ weights) / (weights @ paper @ weights))
    assert shares[3] < 0.0 < shares[2]
    assert shares.sum() == pytest.approx(1.0)


def test_nothing_held_has_no_risk(paper):
    """Without holdings all shares are 0; what is not held does not count, known or not."""
    np.testing.assert_array_equal(risk_contributions(np.zeros(4), paper), np.zeros(4))

    paper[3] = paper[:, 3] = np.nan
    shares = risk_contributions(np.array([0.5, 0.5, 0.0, 0.0]), paper)

    assert shares.sum() == pytest.approx(1.0)


# --- hierarchy -------------------------------------------------------------------------------


@pytest.mark.parametrize("linkage", list(Linkage))
def test_hierarchy_without_correlation(linkage):
    """Uncorrelated names get inverse-variance weights, however they are joined."""
    variances = np.array([0.01, 0.04, 0.09, 0.0225, 0.16])

    weights = hierarchical(np.diag(variances), linkage)

    np.testing.assert_allclose(weights, (1 / variances) / (1 / variances).sum(), rtol=1e-12)


@pytest.mark.parametrize("linkage", [Linkage.SINGLE, Linkage.WARD])
def test_hierarchy_of_recorded_returns(four_returns, linkage):
    """AAPL, GOOG, IBM, MSFT by PyPortfolioOpt 1.6.0's HRPOpt, single and ward alike."""
    weights = hierarchical(np.cov(four_returns.T), linkage)

    np.testing.assert_allclose(
        weights, [0.174878590939, 0.213122382529, 0.37129171492, 0.240707311612], atol=1e-11
    )


def test_opposites_are_far_apart(four_returns):
    """GOOG and MSFT turned around, and half AAPL plus IBM beside them: PyPortfolioOpt 1.6.0."""
    returns = four_returns * np.array([1.0, -1.0, 1.0, -1.0])
    returns = np.column_stack([returns, 0.5 * returns[:, 0] + returns[:, 2]])

    weights = hierarchical(np.cov(returns.T), Linkage.SINGLE)

    np.testing.assert_allclose(
        weights,
        [0.084946144477, 0.222300130681, 0.183961175844, 0.256096610002, 0.252695938995],
        atol=1e-11,
    )


@pytest.mark.parametrize("n", [0, 1])
def test_hierarchy_of_too_few(n):
    """One name gets everything."""
    np.testing.assert_array_equal(hierarchical(np.eye(n), Linkage.SINGLE), np.ones(n))


@given(first=st.integers(0, 900), columns=st.lists(st.integers(0, 3), min_size=2, max_size=9))
def test_hierarchy_is_a_portfolio(four_returns, first, columns):
    """Weights are positive and sum to 1, also when names are copies of each other."""
    matrix = np.cov(four_returns[first : first + 100][:, columns].T)

    for linkage in Linkage:
        weights = hierarchical(matrix, linkage)
        assert weights.min() > 0.0
        assert weights.sum() == pytest.approx(1.0)
