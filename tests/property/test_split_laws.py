"""No training label is known after what it is tested on begins, whatever the calendar of rows."""

from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.models.base import Dataset, ValidationSettings
from trading.models.validation import combinations, folds


@st.composite
def split(draw):
    """Return rows of some sessions and names, and how they are split: arithmetic, no market."""
    horizon = draw(st.integers(1, 30))
    window = draw(st.integers(1, 25))
    stride = draw(st.integers(1, 12))
    dates = np.arange(draw(st.integers(0, 9)), draw(st.integers(120, 700)), stride)
    names = draw(st.integers(1, 4))
    keep = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((len(dates), names))
    # Names come and go, and dates without any are no dates.
    at, column = np.nonzero(keep < draw(st.sampled_from([1.0, 0.6, 0.2])))
    row = dates[at]
    n = len(row)
    groups = draw(st.integers(2, 8))
    first = np.datetime64(date(2020, 1, 1), "D")
    data = Dataset(
        market=Market.KRX,
        feature_names=("place",),
        feature_fingerprint="",
        horizon=horizon,
        sessions=first + np.arange(int(dates[-1]) + horizon + 1),
        x=np.zeros((n, 1) if window == 1 else (n, window, 1)),
        excess=np.zeros(n),
        forward=np.zeros(n),
        row=row,
        column=column,
        content_hash="",
    )
    settings = ValidationSettings(
        scheme=draw(st.sampled_from(["anchored", "rolling"])),
        folds=draw(st.integers(1, 9)),
        first_train_share=draw(st.floats(0.05, 0.9)),
        embargo_sessions=draw(st.integers(0, 20)),
        groups=groups,
        tested_groups=draw(st.integers(1, groups - 1)),
    )
    return data, window, settings


@given(split())
def test_nothing_known_later_is_learnt(case):
    """A label is known, and embargoed, before the first session that the test looks at."""
    data, window, settings = case
    for train, test in folds(data, settings):
        begin = data.row[test].min()
        looked_at = begin - (window - 1)
        known = data.row[train] + data.horizon
        assert known.max() + settings.embargo_sessions < looked_at
        # By date: no session is on both sides, and every row of a tested one is tested.
        assert not set(data.row[train]) & set(data.row[test])
        inside = (data.row >= begin) & (data.row <= data.row[test].max())
        np.testing.assert_array_equal(np.flatnonzero(inside), test)


@given(split())
def test_tests_follow_each_other_to_the_end(case):
    """No row is tested twice, and none is left out after the first that is."""
    data, _, settings = case
    tests = [test for _, test in folds(data, settings)]
    if tests:
        tested = np.concatenate(tests)
        np.testing.assert_array_equal(tested, np.arange(tested[0], len(data.row)))


@given(split())
def test_a_path_tests_every_row_once_by_who_saw_nothing_near(case):
    """Each row is once on each path; on either side its teachers are further than the purge."""
    data, window, settings = case
    if int(np.ptp(data.row)) + 1 < settings.groups:
        return
    splits, paths = combinations(data, settings)
    reach = data.horizon + window - 1 + settings.embargo_sessions
    for k, (train, test) in enumerate(splits):
        np.testing.assert_array_equal(np.flatnonzero((paths == k).any(axis=0)), test)
        tested = np.unique(data.row[test])
        for row in np.unique(data.row[train]):
            assert np.abs(tested - row).min(initial=reach + 1) > reach
    assert paths.shape[1] == len(data.row)
    # As many paths as splits that test a row: each of them once.
    times = np.zeros(len(data.row), dtype=int)
    for _, test in splits:
        times[test] += 1
    assert (times == len(paths)).all()
    for row in paths.T:
        assert len(set(row)) == len(row)
