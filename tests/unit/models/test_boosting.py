"""Compiled boosted trees against scikit-learn, and where they stop growing."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models import boosting
from trading.models.base import BoostingSettings, ModelSettings, purged_tail
from trading.models.trees import walk

FAST = BoostingSettings(trees=40, patience=5)


@pytest.fixture(scope="module")
def data(embedded_panels):
    return datasets.build(embedded_panels[1], FeatureSettings(), ModelSettings())


def test_inference_equals_scikit_learn(data):
    """The compiled walk gives scikit-learn's forecast to 1e-9, also interpreted."""
    reference = HistGradientBoostingRegressor(
        max_iter=30, max_leaf_nodes=15, random_state=1, early_stopping=False
    ).fit(data.x, data.excess)

    trees = boosting.flatten(reference)
    got = trees.predict(data.x)

    np.testing.assert_allclose(got, reference.predict(data.x), atol=1e-9, rtol=0)
    plain = getattr(walk, "py_func", walk)
    parts = (trees.root, trees.feature, trees.threshold, trees.left, trees.right, trees.value)
    few = plain(data.x[:50], *parts, float(trees.base[0]), 1.0)
    np.testing.assert_array_equal(few, got[:50])


def test_one_row_alone_is_the_same_row(data):
    """A forecast does not depend on which rows are asked together."""
    fitted = boosting.Boosting(FAST).fit(data, np.arange(1500), seed=7)

    together = fitted.predict(data.x[:32])
    alone = np.array([fitted.predict(data.x[i : i + 1])[0] for i in range(32)])

    np.testing.assert_array_equal(together, alone)


def test_the_same_rows_and_seed_give_the_same_trees(data):
    """Fitted twice: equal to the bit; another seed looks at other features."""
    first, again, other = (
        boosting.Boosting(FAST).fit(data, np.arange(1500), seed=seed).tensors for seed in (7, 7, 8)
    )

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["threshold"], other["threshold"])


def test_worthless_features_stop_growth_early_and_a_leak_does_not(data):
    """Noise is not worth many trees; a feature that contains the label is worth them all."""
    rng = np.random.default_rng(3)
    noise = replace(data, x=rng.normal(size=data.x.shape))
    leaking = replace(data, x=np.column_stack([data.x, data.excess]))
    everything = np.arange(len(data.row))

    few = boosting.Boosting(FAST).fit(noise, everything, seed=7)
    many = boosting.Boosting(FAST).fit(leaking, everything, seed=7)

    assert len(few.root) < 15
    assert len(many.root) == FAST.trees
    assert np.corrcoef(many.predict(leaking.x), data.excess)[0, 1] > 0.9


def test_rows_to_stop_by_are_later_and_purged(data):
    """What is learned from was known before the first session that the rest looks at."""
    everything = np.arange(len(data.row))

    taught, held = purged_tail(data, everything, share=0.2)
    windowed = replace(data, x=np.repeat(data.x[:, None, :], 3, axis=1))
    earlier, same = purged_tail(windowed, everything, share=0.2)

    assert data.row[taught].max() + data.horizon < data.row[held].min()
    assert data.row[earlier].max() + data.horizon < data.row[same].min() - 2
    np.testing.assert_array_equal(held, same)
    sessions = np.unique(data.row)
    assert len(np.unique(data.row[held])) == pytest.approx(0.2 * len(sessions), abs=1)


def test_too_few_sessions_are_refused(data):
    """A handful of rows cannot tell when to stop."""
    with pytest.raises(ModelError, match="부족"):
        boosting.Boosting(FAST).fit(data, np.arange(30), seed=7)
