"""Every family that is taught passes the controls before its result counts."""

from dataclasses import replace

import numpy as np
import pytest

from trading.features.pipeline import FeatureSettings
from trading.mlops import controls
from trading.mlops import dataset as datasets
from trading.mlops.train import FAMILIES
from trading.models.base import ModelSettings

# As little as a question needs; a family takes the fields that it has. Steps are larger where they
# are fewer.
CHEAP = (
    {"trees": 12, "sample_rows": 2000},
    {"trees": 30, "learning_rate": 0.2, "patience": 10},
    {"window": 6, "epochs": 15, "patience": 5, "batch": 64, "learning_rate": 1e-2, "layers": 1},
    {"hidden": 16},
    {"d_model": 16, "heads": 2},
)
# Learns from an account that trades, not from labels: tests/unit/models/test_dqn.py.
TRADES = {"dqn"}
# Learns from returns alone: a planted label is nothing that it looks at.
BLIND = {"arima"}

pytestmark = [pytest.mark.slow, pytest.mark.compiled_only]


def cheap(models):
    """Return the settings with every family's made small, by their fields and not their names."""
    changes = {}
    for name, value in models:
        for smaller in CHEAP:
            if smaller.keys() <= getattr(type(value), "model_fields", {}).keys():
                value = value.model_copy(update=smaller)
                changes[name] = value
    return models.model_copy(update=changes)


MODELS = cheap(ModelSettings())
SETTINGS = MODELS.validation.model_copy(update={"folds": 2})


@pytest.fixture
def taught(embedded_panels):
    """Return the data of a learner: the years in which four names or five trade."""

    def of(learner):
        whole = datasets.build(embedded_panels[1], FeatureSettings(), MODELS, window=learner.window)
        at = np.flatnonzero(whole.row >= 1500)
        return replace(
            whole, x=whole.x[at], excess=whole.excess[at], forward=whole.forward[at],
            row=whole.row[at], column=whole.column[at], history=None,
            path=None if whole.path is None else whole.path[at],
        )  # fmt: skip

    return of


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - TRADES - BLIND))
def test_every_control_is_passed(family, taught):
    """Leaks are found and used; shuffled labels, noise, constants and the future say nothing."""
    learner = FAMILIES[family](MODELS)
    found = controls.examine(learner, taught(learner), SETTINGS, rank_min_names=5, seed=7)

    assert [control.sentence for control in found if not control.passed] == []
    assert len(found) == (8 if learner.window > 2 else 7)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() & BLIND))
def test_who_looks_at_returns_only_is_not_told_the_future(family, taught):
    """Other rows and other folds change nothing, and shuffled labels are not forecast."""
    learner = FAMILIES[family](MODELS)
    data = taught(learner)

    found = [
        controls.future_rows(learner, data, SETTINGS, seed=7),
        controls.inside_the_fold(learner, data, SETTINGS, seed=7),
        controls.shuffled_labels(learner, data, SETTINGS, rank_min_names=5, seed=7),
        controls.noise_features(learner, data, SETTINGS, rank_min_names=5, seed=7),
    ]

    assert [control.sentence for control in found if not control.passed] == []
