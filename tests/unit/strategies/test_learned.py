"""The forest's votes: never in sample, never on other features."""

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops.train import train
from trading.models.base import ForestSettings, ModelSettings
from trading.strategies.catalog import StrategySettings
from trading.strategies.evaluation import evaluate

FOREST = StrategySettings().enabled().index("forest")


@pytest.fixture(scope="module")
def model(embedded_panels):
    settings = ModelSettings(forest=ForestSettings(trees=12))
    return train(embedded_panels[1].until(2000), FeatureSettings(), settings).model


def test_votes_begin_where_training_ended(embedded_panels, model):
    """Rows before ``trained_through`` are in sample: the forest abstains there."""
    raw, panel = embedded_panels

    got = evaluate(
        panel,
        raw,
        features=FeatureSettings(),
        strategies=StrategySettings(),
        models={"forest": model},
    ).evaluation

    votes = got.votes[:, FOREST]
    start = int(np.searchsorted(panel.sessions, np.datetime64(model.card.trained_through)))
    assert np.isnan(votes[:start]).all()
    assert np.isfinite(votes[start:, 0]).all()
    assert np.nanmax(np.abs(votes)) <= 1.0
    card = model.card
    (row, column), *_ = np.argwhere(votes[start : start + 20] > 0)
    credited = got.confidence[start + row, FOREST, column]
    # The card's record, shrunk towards how often the market rose: between one half and two thirds.
    low, high = ((card.long_hits + 60 * b) / (card.long_count + 60) for b in (0.5, 0.667))
    assert low < credited < high


def test_a_model_newer_than_the_panel_abstains(embedded_panels, model):
    """A panel that ends before the model's training gets no vote from it."""
    raw, panel = embedded_panels

    got = evaluate(
        panel.until(500), raw, features=FeatureSettings(), strategies=StrategySettings(),
        models={"forest": model}, agents=("forest",),
    ).evaluation  # fmt: skip

    assert np.isnan(got.votes).all()


def test_other_features_are_refused(embedded_panels, model):
    """A changed window changes the fingerprint: the model may not be asked."""
    raw, panel = embedded_panels

    with pytest.raises(ModelError, match="지문"):
        evaluate(
            panel, raw, features=FeatureSettings(rsi_window=15), strategies=StrategySettings(),
            models={"forest": model},
        )  # fmt: skip
