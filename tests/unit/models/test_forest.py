"""The compiled forest against scikit-learn, its files, and the walk-forward's purge."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.mlops.train import train
from trading.models import forest, inference
from trading.models.base import ForestSettings, ModelCard, ModelSettings, ValidationSettings, view
from trading.models.trees import walk
from trading.models.validation import folds, newey_west_t, walk_forward

FAST = ModelSettings(forest=ForestSettings(trees=12))


@pytest.fixture(scope="module")
def data(embedded_panels):
    return datasets.build(embedded_panels[1], FeatureSettings(), FAST)


@pytest.fixture(scope="module")
def challenger(embedded_panels):
    return train(embedded_panels[1].until(2000), FeatureSettings(), FAST)


def test_inference_equals_scikit_learn(data):
    """The compiled walk gives scikit-learn's forecast to 1e-9, also interpreted."""
    reference = RandomForestRegressor(
        n_estimators=20, max_depth=6, min_samples_leaf=5, random_state=1, n_jobs=1
    ).fit(data.x, data.excess)

    trees = forest.flatten(reference)
    got = trees.predict(data.x)

    np.testing.assert_allclose(got, reference.predict(data.x), atol=1e-9, rtol=0)
    plain = getattr(walk, "py_func", walk)
    parts = (trees.root, trees.feature, trees.threshold, trees.left, trees.right, trees.value)
    few = plain(data.x[:50].astype(np.float32), *parts, 0.0, 20.0)
    np.testing.assert_array_equal(few, got[:50])


def test_one_row_alone_is_the_same_row(data, challenger):
    """A forecast does not depend on which rows are asked together."""
    model = challenger.model

    together = model.predict(data.x[:64])
    alone = np.array([model.predict(data.x[i : i + 1])[0] for i in range(64)])

    np.testing.assert_array_equal(together, alone)


def test_training_is_repeatable(embedded_panels, challenger):
    """The same panel and settings give the same model, to the bit."""
    again = train(embedded_panels[1].until(2000), FeatureSettings(), FAST)

    assert again.model.fingerprint == challenger.model.fingerprint
    assert again.model.card == challenger.model.card


def test_files_round_trip_and_refuse_tampering(tmp_path, challenger):
    """What is loaded is what was saved; one changed byte of the weights is refused."""
    challenger.model.save(tmp_path)

    loaded = inference.load(tmp_path)

    assert loaded.card == challenger.model.card
    assert loaded.fingerprint == challenger.model.fingerprint
    weights = tmp_path / inference.WEIGHTS
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(bytes(body))
    with pytest.raises(ModelError, match="해시"):
        inference.load(tmp_path)


def test_unreadable_files_are_a_model_error(tmp_path, challenger):
    """A missing file or a card without its fields is a ``ModelError``, never a traceback."""
    with pytest.raises(ModelError):
        inference.load(tmp_path / "nowhere")
    challenger.model.save(tmp_path)
    facts = json.loads((tmp_path / inference.FACTS).read_text())
    del facts["card"]["seed"]
    (tmp_path / inference.FACTS).write_text(json.dumps(facts))
    with pytest.raises(ModelError):
        inference.load(tmp_path)


def test_card_is_json(challenger):
    """The card survives JSON."""
    card = challenger.model.card

    assert ModelCard.from_json(json.loads(json.dumps(card.to_json()))) == card
    assert isinstance(card.trained_through, date)


def test_dataset_knows_no_future(embedded_panels, data):
    """Every label was known within the panel, and features that the universe lacks are out."""
    panel = embedded_panels[1]

    assert data.row.max() + data.horizon < len(panel.sessions)
    assert np.isfinite(data.x).all()
    assert "momentum_rank" not in data.feature_names
    assert data.known_at == panel.sessions[data.row.max() + 20].item()
    with pytest.raises(ModelError, match="부족"):
        datasets.build(panel.until(300), FeatureSettings(), FAST)


def test_folds_are_purged_and_anchored(data):
    """Each training label is known more than the embargo before the first test session."""
    settings = ValidationSettings(folds=4, embargo_sessions=5)

    splits = folds(data, settings)

    assert len(splits) == 4
    for train_rows, test_rows in splits:
        known = data.row[train_rows] + data.horizon
        assert known.max() + 5 < data.row[test_rows].min()
        assert data.row[train_rows].min() == data.row.min()
    tested = np.concatenate([test for _, test in splits])
    assert len(np.unique(tested)) == len(tested)


def test_walk_forward_sees_a_planted_leak(data):
    """A feature that contains the label is found: the rank IC goes towards one."""
    leaking = replace(data, x=np.column_stack([data.x, data.excess]))

    learner = forest.Forest(FAST.forest)
    honest = walk_forward(data, learner, FAST.validation, rank_min_names=5, seed=7)
    leaked = walk_forward(leaking, learner, FAST.validation, rank_min_names=5, seed=7)

    assert abs(honest.rank_ic) < 0.15
    assert leaked.rank_ic > 0.6
    assert leaked.rank_ic_t > 10
    assert 0 < honest.long_hits < honest.long_count


def test_walk_forward_refuses_constants_and_too_little(data):
    """Nothing to learn, or nowhere to test, is a ``ModelError``."""

    learner = forest.Forest(FAST.forest)
    constant = replace(data, excess=np.zeros_like(data.excess))
    with pytest.raises(ModelError, match="모두 같음"):
        walk_forward(constant, learner, FAST.validation, rank_min_names=5, seed=7)
    short = replace(
        data, x=data.x[:6], excess=data.excess[:6], forward=data.forward[:6],
        row=data.row[:6], column=data.column[:6],
    )  # fmt: skip
    with pytest.raises(ModelError, match="너무 적음"):
        walk_forward(short, learner, FAST.validation, rank_min_names=5, seed=7)


def test_newey_west_against_statsmodels(data):
    """The t-statistic is OLS on a constant with HAC errors (statsmodels), and plain at lag 0."""
    import statsmodels.api as sm

    values = data.excess[:200]
    for lags in (0, 3):
        fitted = sm.OLS(values, np.ones(200)).fit(
            cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
        )
        assert newey_west_t(values, lags=lags) == pytest.approx(fitted.tvalues[0])
    assert newey_west_t(values[:1], lags=0) == 0.0


def test_view_ranks_many_and_sizes_few():
    """Five names are ranked, fewer are measured against the usual size of a forecast."""
    many = np.array([[0.03, -0.01, 0.0, 0.01, 0.02]])
    few = np.array([[0.03, -0.005, np.nan, np.nan, np.nan]])
    everyone = np.ones((1, 5), dtype=bool)

    ranked = view(many, everyone, scale=0.01, min_names=5)
    sized = view(few, everyone, scale=0.01, min_names=5)

    np.testing.assert_allclose(ranked, [[0.8, -0.8, -0.4, 0.0, 0.4]])
    np.testing.assert_allclose(sized, [[1.0, -0.5, np.nan, np.nan, np.nan]])
