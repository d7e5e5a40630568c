"""Combinatorial purged cross-validation: the splits of the book, and what they may not share."""

import math

import numpy as np
import pytest

from trading import measures


def test_splits_of_the_book():
    """Six groups, two tested: 15 splits and 5 paths (Lopez de Prado 2018, 12.4)."""
    splits = measures.combinatorial_splits(60, groups=6, tested=2, horizon=0, embargo=0)
    paths = measures.recombined(60, splits, [s.test.astype(float) for s in splits])

    assert len(splits) == 15
    assert all(len(s.test) == 20 and len(s.train) == 40 for s in splits)
    np.testing.assert_array_equal(paths, np.tile(np.arange(60.0), (5, 1)))


def test_every_test_is_used_once():
    """Each path takes its groups from splits of its own; no return appears twice."""
    splits = measures.combinatorial_splits(23, groups=5, tested=3, horizon=1, embargo=1)
    numbered = [np.full(len(s.test), float(k)) for k, s in enumerate(splits)]

    paths = measures.recombined(23, splits, numbered)

    assert paths.shape == (math.comb(4, 2), 23)
    for t in range(23):
        assert sorted(paths[:, t]) == [k for k, s in enumerate(splits) if t in s.test]


@pytest.mark.parametrize(("horizon", "embargo"), [(0, 0), (3, 0), (3, 2), (10, 10)])
def test_no_label_looks_into_a_test(horizon, embargo):
    """No training session's label overlaps a tested one's, and the embargo follows every group."""
    for split in measures.combinatorial_splits(
        40, groups=5, tested=2, horizon=horizon, embargo=embargo
    ):
        tested = set(split.test.tolist())
        for t in split.train.tolist():
            assert not tested & set(range(t, t + horizon + 1))
            assert not tested & set(range(t - horizon - embargo, t + 1))


@pytest.mark.parametrize(
    ("sessions", "groups", "tested"), [(10, 5, 5), (10, 5, 0), (4, 5, 1), (0, 2, 1)]
)
def test_impossible_splits(sessions, groups, tested):
    """More groups than sessions, or nothing left to fit on or to test, are refused."""
    with pytest.raises(ValueError, match="groups"):
        measures.combinatorial_splits(sessions, groups=groups, tested=tested, horizon=0, embargo=0)
