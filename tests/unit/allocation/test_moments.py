"""Covariances and means of past returns against other libraries' numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from trading.allocation.moments import (
    CovarianceRule,
    cholesky,
    cholesky_solve,
    complete_returns,
    covariance,
    product,
    sample_means,
    shrunk_means,
)

RULES = list(CovarianceRule)


def whole(returns):
    """Return the sample of all columns."""
    return complete_returns(returns, np.ones(returns.shape[1], dtype=bool), min_sessions=2)


# --- missing data ----------------------------------------------------------------------------


def test_halts_count_as_zero():
    """NaN after the first return is a halt: the position could not have moved."""
    returns = np.array([[0.01, 0.02], [np.nan, -0.01], [0.02, np.nan]])

    sample = whole(returns)

    np.testing.assert_array_equal(sample.returns, [[0.01, 0.02], [0.0, -0.01], [0.02, 0.0]])
    assert sample.usable.all()


def test_all_pairs_share_rows():
    """Rows begin with the youngest usable name; a younger one than allowed is left out."""
    returns = np.full((10, 3), np.nan)
    returns[:, 0] = np.arange(10) / 100
    returns[4:, 1] = np.arange(6) / 100
    returns[8:, 2] = 0.01, 0.02
    everyone = np.ones(3, dtype=bool)

    sample = complete_returns(returns, everyone, min_sessions=5)

    np.testing.assert_array_equal(sample.usable, [True, True, False])
    np.testing.assert_array_equal(sample.returns, returns[4:, :2])


@pytest.mark.parametrize("value", [0.0, 0.01, np.nan])
def test_what_never_moved_is_left_out(value):
    """A name without variance is not usable: its risk would be a guess."""
    returns = np.column_stack([np.arange(8) / 100, np.full(8, value)])

    sample = complete_returns(returns, np.ones(2, dtype=bool), min_sessions=2)

    np.testing.assert_array_equal(sample.usable, [True, False])


def test_what_moved_before_the_common_rows_only_is_left_out():
    """Moving before the youngest name was listed says nothing of the rows that are used."""
    returns = np.zeros((10, 2))
    returns[0, 0] = 0.05
    returns[:, 1] = [np.nan] * 5 + [0.01, -0.01, 0.02, 0.0, 0.01]

    sample = complete_returns(returns, np.ones(2, dtype=bool), min_sessions=2)

    np.testing.assert_array_equal(sample.usable, [False, True])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0), (1, 2)])
def test_nothing_to_estimate(shape):
    """Without rows or names nobody is usable, and moments are empty."""
    sample = complete_returns(np.zeros(shape), np.ones(shape[1], dtype=bool), min_sessions=2)

    assert not sample.usable.any()
    assert covariance(sample, CovarianceRule.LEDOIT_WOLF).matrix.shape == (0, 0)
    assert sample_means(sample).mean.shape == (0,)


def test_only_members_count():
    """A column that is not a member changes nothing."""
    returns = np.column_stack([np.arange(8) / 100, np.arange(8) ** 2 / 100, np.full(8, np.nan)])
    members = np.array([True, False, True])

    sample = complete_returns(returns, members, min_sessions=2)

    np.testing.assert_array_equal(sample.returns, returns[:, :1])


# --- covariances -----------------------------------------------------------------------------


def test_sample_covariance(four_returns):
    """As numpy's, ddof 1."""
    ours = covariance(whole(four_returns), CovarianceRule.SAMPLE).matrix

    np.testing.assert_allclose(ours, np.cov(four_returns.T), rtol=1e-12)


@pytest.mark.parametrize("sessions", [5, 60, 1000])
def test_ledoit_wolf(four_returns, sessions):
    """Matrix and intensity as scikit-learn's, to 1e-12."""
    returns = four_returns[:sessions]
    theirs = LedoitWolf().fit(returns)

    ours = covariance(whole(returns), CovarianceRule.LEDOIT_WOLF)

    assert ours.shrinkage == pytest.approx(theirs.shrinkage_, abs=1e-12)
    np.testing.assert_allclose(ours.matrix, theirs.covariance_, rtol=1e-12)


def test_ledoit_wolf_goes_all_the_way(four_returns):
    """Columns shuffled against each other and scaled alike are noise around the identity: as
    scikit-learn's, and never beyond the target."""
    rng = np.random.default_rng(3)
    scaled = four_returns[:40] / four_returns[:40].std(axis=0)
    returns = np.column_stack([rng.permutation(column) for column in scaled.T])
    theirs = LedoitWolf().fit(returns)

    ours = covariance(whole(returns), CovarianceRule.LEDOIT_WOLF)

    assert theirs.shrinkage_ == 1.0
    assert ours.shrinkage == 1.0
    np.testing.assert_allclose(ours.matrix, theirs.covariance_, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("sessions", [20, 1000])
def test_constant_correlation(four_returns, sessions):
    """As the authors' own code, covCor.m, written down as it is: matrix products, no loops."""
    x = four_returns[:sessions] - four_returns[:sessions].mean(axis=0)
    t, n = x.shape
    sample = x.T @ x / t
    var = np.diag(sample)
    sqrtvar = np.sqrt(var)
    r_bar = ((sample / np.outer(sqrtvar, sqrtvar)).sum() - n) / (n * (n - 1))
    prior = r_bar * np.outer(sqrtvar, sqrtvar)
    np.fill_diagonal(prior, var)
    phi = (x**2).T @ (x**2) / t - 2 * (x.T @ x) * sample / t + sample**2
    theta = (x**3).T @ x / t - var[:, None] * sample
    np.fill_diagonal(theta, 0.0)
    rho = np.diag(phi).sum() + r_bar * (np.outer(1 / sqrtvar, sqrtvar) * theta).sum()
    share = max(0.0, min(1.0, (phi.sum() - rho) / np.linalg.norm(sample - prior) ** 2 / t))

    ours = covariance(whole(four_returns[:sessions]), CovarianceRule.CONSTANT_CORRELATION)

    assert 0.0 < share <= 1.0
    assert ours.shrinkage == pytest.approx(share, rel=1e-9)
    np.testing.assert_allclose(ours.matrix, share * prior + (1 - share) * sample, rtol=1e-9)


def test_ewma(four_returns):
    """As pandas' adjusted, biased exponential covariance of the same half-life."""
    frame = pd.DataFrame(four_returns[:300])
    theirs = frame.ewm(halflife=63).cov(bias=True).loc[299].to_numpy()

    ours = covariance(whole(four_returns[:300]), CovarianceRule.EWMA, half_life=63.0)

    np.testing.assert_allclose(ours.matrix, theirs, rtol=1e-10)


@given(
    rule=st.sampled_from(RULES),
    first=st.integers(0, 900),
    rows=st.integers(2, 60),
    columns=st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_always_positive_semidefinite(four_returns, rule, first, rows, columns):
    """Symmetric to the bit and without a negative eigenvalue, with fewer rows than names and
    with the same name twice."""
    sample = whole(four_returns[first : first + rows][:, columns])

    matrix = covariance(sample, rule).matrix

    np.testing.assert_array_equal(matrix, matrix.T)
    if len(matrix):
        assert np.linalg.eigvalsh(matrix).min() >= -1e-14 * np.trace(matrix)


@pytest.mark.parametrize("rule", RULES)
def test_layout_and_later_rows_change_nothing(four_returns, rule):
    """The same rows give the same bits from a view, a copy, and a history that goes on."""
    window = slice(100, 400)
    plain = covariance(whole(four_returns[:400][window].copy()), rule).matrix

    for returns in (four_returns, np.asfortranarray(four_returns), four_returns[:401]):
        np.testing.assert_array_equal(covariance(whole(returns[window]), rule).matrix, plain)


# --- means -----------------------------------------------------------------------------------


def test_sample_means(four_returns):
    """Mean, and its standard error s / √T."""
    ours = sample_means(whole(four_returns))

    np.testing.assert_allclose(ours.mean, four_returns.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        ours.standard_error, four_returns.std(axis=0, ddof=1) / np.sqrt(1000), rtol=1e-12
    )


def test_bayes_stein_means(four_returns):
    """Means and intensity of skfolio 1.12.2, ShrunkMu(BAYES_STEIN, vol_weighted_target=True)."""
    sample = whole(four_returns)

    ours = shrunk_means(sample, covariance(sample, CovarianceRule.SAMPLE).matrix)

    assert ours.shrinkage == pytest.approx(0.6462126169254413, rel=1e-9)
    np.testing.assert_allclose(
        ours.mean,
        [0.0012409580937185467, 0.0010110069691834037, 0.000979451884415125,
         0.0008841505003671477],
        rtol=1e-9,
    )  # fmt: skip


def test_two_names_have_nothing_to_shrink_to(four_returns):
    """Below three names, and without a definite matrix, the sample means come back."""
    two = whole(four_returns[:, :2])
    twice = whole(four_returns[:, [0, 1, 1]])

    for sample in (two, twice):
        ours = shrunk_means(sample, covariance(sample, CovarianceRule.SAMPLE).matrix)
        np.testing.assert_array_equal(ours.mean, sample_means(sample).mean)
        assert ours.shrinkage == 0.0


# --- linear algebra --------------------------------------------------------------------------


def test_cholesky_solves(four_returns):
    """Factor and solution as numpy's."""
    matrix = np.cov(four_returns.T)
    right = np.array([1.0, -2.0, 0.5, 3.0])

    factor, is_definite = cholesky(matrix)

    assert is_definite
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(
        cholesky_solve(factor, right), np.linalg.solve(matrix, right), rtol=1e-9
    )
    np.testing.assert_allclose(product(factor, factor.T.copy()), matrix, rtol=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 2)),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.zeros((1, 1)),
        np.array([[1.0, np.nan], [np.nan, 1.0]]),
    ],
)
def test_not_definite(matrix):
    """Singular, indefinite, empty of variance or unknown: said, not factored."""
    assert not cholesky(matrix)[1]
