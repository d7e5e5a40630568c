"""Ranks and standard scores against their definitions and against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trading.features.cross_section import percentile_rank, standard_score, winsorize

# A few numbers, ties and gaps among them.
ROWS = st.lists(
    st.lists(st.sampled_from([np.nan, -2.0, 0.0, 0.5, 0.5, 1.0, 3.0, 8.0]), min_size=9, max_size=9),
    min_size=1,
    max_size=4,
).map(np.array)
NOWHERE = np.full((1, 1), -1, dtype=np.int64)


def everywhere(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, dtype=bool)


def test_percentile_rank_with_ties_and_absentees():
    """Ranks are (rank - 0.5) / count with mean ranks for ties; the ineligible take no part."""
    values = np.array([[3.0, 1.0, 1.0, np.nan, 9.0, 2.0]])
    eligible = np.array([[True, True, True, True, False, True]])

    got = percentile_rank(values, eligible, min_names=4)

    np.testing.assert_allclose(got, [[0.875, 0.25, 0.25, np.nan, np.nan, 0.625]])


def test_percentile_rank_abstains_below_min_names():
    """Fewer names than ``min_names`` have no rank."""
    values = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, np.nan]])

    got = percentile_rank(values, np.ones((2, 3), dtype=bool), min_names=3)

    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()


def test_scores_that_differ_by_less_than_the_unit_are_ties():
    """A difference below 1e-9 is rounding noise and must not decide a rank."""
    values = np.array([[1.0, 1.0 + 1e-12]])

    got = percentile_rank(values, np.ones((1, 2), dtype=bool), min_names=2)

    np.testing.assert_array_equal(got, [[0.5, 0.5]])


@settings(max_examples=40, derandomize=True)
@given(values=ROWS)
def test_ranks_equal_scipy(values):
    """The mean ranks of scipy, moved to the middle of their place."""
    got = percentile_rank(values, everywhere(values), min_names=1)

    for row, ranks in zip(values, got, strict=True):
        known = np.isfinite(row)
        expected = (stats.rankdata(row[known]) - 0.5) / max(known.sum(), 1)
        np.testing.assert_allclose(ranks[known], expected)
        assert np.isnan(ranks[~known]).all()


@settings(max_examples=40, derandomize=True)
@given(values=ROWS, quantile=st.sampled_from([0.0, 0.05, 0.2, 0.4]))
def test_winsorize_equals_numpy(values, quantile):
    """Values end at numpy's linearly interpolated quantiles of the row."""
    got = winsorize(values, everywhere(values), quantile=quantile)

    for row, clipped in zip(values, got, strict=True):
        known = np.isfinite(row)
        if known.any():
            low, high = np.quantile(row[known], [quantile, 1 - quantile])
            np.testing.assert_allclose(clipped[known], np.clip(row[known], low, high), atol=1e-12)
        assert np.isnan(clipped[~known]).all()


def test_winsorize_asks_the_eligible_only():
    """A name that does not trade neither has a value nor moves a quantile."""
    values = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 1e9]])
    eligible = np.array([[True, True, True, True, True, False]])

    got = winsorize(values, eligible, quantile=0.25)

    np.testing.assert_array_equal(got, [[2.0, 2.0, 3.0, 4.0, 4.0, np.nan]])


@settings(max_examples=40, derandomize=True)
@given(values=ROWS)
def test_without_sectors_the_score_is_scipys(values):
    """Distance from the row's mean in population deviations; equal values are all 0."""
    sectors = np.broadcast_to(NOWHERE, values.shape)

    got = standard_score(values, everywhere(values), sectors, min_names=1)

    for row, scores in zip(values, got, strict=True):
        known = np.isfinite(row)
        if known.any():
            flat = np.ptp(row[known]) == 0.0
            expected = np.zeros(known.sum()) if flat else stats.zscore(row[known])
            np.testing.assert_allclose(scores[known], expected, atol=1e-9)


def test_a_sector_is_compared_with_itself():
    """Names of a large enough sector are scored within it, the others against the market."""
    values = np.array([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 50.0]])
    sectors = np.array([[0, 0, 0, 1, 1, 1, -1]])
    market = (values[0] - values[0].mean()) / values[0].std()

    three = standard_score(values, everywhere(values), sectors, min_names=3)[0]
    four = standard_score(values, everywhere(values), sectors, min_names=4)[0]

    # Three evenly spaced values lie 0 and ±sqrt(3/2) deviations from their mean.
    np.testing.assert_allclose(three[:6], [-(1.5**0.5), 0, 1.5**0.5] * 2, atol=1e-9)
    assert three[6] == pytest.approx(market[6], abs=1e-9)
    np.testing.assert_allclose(four, market, atol=1e-9)


def test_a_neutral_score_keeps_the_size_of_a_sectors_differences():
    """With one deviation for all, only the sectors' means are gone."""
    values = np.array([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])
    sectors = np.array([[0, 0, 0, 1, 1, 1]])
    apart = np.array([-1.0, 0.0, 1.0, -10.0, 0.0, 10.0])

    got = standard_score(values, everywhere(values), sectors, min_names=3, within=False)[0]

    np.testing.assert_allclose(got, apart / np.sqrt(np.mean(apart**2)), atol=1e-9)


def test_rows_do_not_know_each_other(embedded_panels):
    """A row's scores are the same to the bit alone, among others, and in any memory order."""
    close = embedded_panels[1].close
    # Recorded daily changes, gaps before a listing included, laid out as forty names.
    values = (close[1:] / close[:-1] - 1.0).ravel()[:12_000].reshape(300, 40)
    assert np.isnan(values).any()
    sectors = np.broadcast_to(np.arange(40) % 5, values.shape)

    for function in (
        lambda x, e, s: percentile_rank(x, e, min_names=5),
        lambda x, e, s: winsorize(x, e, quantile=0.05),
        lambda x, e, s: standard_score(x, e, s, min_names=5),
        lambda x, e, s: standard_score(x, e, s, min_names=5, within=False),
    ):
        whole = function(values, everywhere(values), sectors)
        turned = function(np.asfortranarray(values), everywhere(values), sectors)
        np.testing.assert_array_equal(whole, turned)
        for row in (0, 127, 128, 299):
            one = slice(row, row + 1)
            alone = function(values[one], everywhere(values[one]), sectors[one])
            np.testing.assert_array_equal(whole[one], alone)
