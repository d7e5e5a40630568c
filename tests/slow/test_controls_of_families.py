"""Every family that is taught passes the controls before its result counts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trading.features.pipeline import FeatureSettings
from trading.mlops import controls
from trading.mlops import dataset as datasets
from trading.mlops.train import FAMILIES
from trading.models.base import ModelSettings
from trading.models.validation import outcome, walk_forward

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
# Look at returns alone: a planted label is nothing that they see, and labels teach them nothing.
BLIND = {"arima", "garch", "hmm", "kalman"}
# As shipped they have nothing to say of recorded returns, and what is silent passes everything.
SPEAKS = {
    "window": 20, "min_gain_t": -math.inf, "min_outcome_t": -math.inf, "abstain_share": 0.0,
}  # fmt: skip
QUICK = {"garch": {"sample_windows": 200}, "hmm": {"iterations": 10, "sample_windows": 100}}
# Of recorded returns it finds that drifts stay as they are: a mean, which knows no order.
UNORDERED = {"kalman"}

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
    """Other rows and other folds change nothing, the order of the window does, noise does not tell."""
    own = getattr(MODELS, family).model_copy(update=SPEAKS | QUICK.get(family, {}))
    learner = FAMILIES[family](MODELS.model_copy(update={family: own}))
    data = taught(learner)

    found = [
        controls.future_rows(learner, data, SETTINGS, seed=7),
        controls.inside_the_fold(learner, data, SETTINGS, seed=7),
        controls.shuffled_labels(learner, data, SETTINGS, rank_min_names=5, seed=7),
        controls.noise_features(learner, data, SETTINGS, rank_min_names=5, seed=7),
    ]
    if family not in UNORDERED:
        found.append(controls.order_in_window(learner, data, SETTINGS, seed=7))

    assert [control.sentence for control in found if not control.passed] == []


def drifting(data, returns, volatility):
    """Every return of a window carries a part of what the name will earn; so will those to come."""
    return returns + (0.1 * data.excess)[:, None], data.excess, 0.1 * data.horizon


def paying(data, returns, volatility):
    """Windows of names that will earn more than most are wild, and pay."""
    earns = data.excess > np.median(data.excess)
    wild = 2.0 * returns + 1.5 * volatility[:, None]
    return np.where(earns[:, None], wild, returns), earns.astype(np.float64), 8.0


@pytest.mark.parametrize(
    ("family", "oracle"),
    [("arima", drifting), ("kalman", drifting), ("garch", paying), ("hmm", paying)],
)
def test_who_looks_at_returns_only_finds_an_oracle_in_them(family, oracle, taught):
    """What will be, told by the returns themselves in the way that the family listens to.

    It is found with the settings as shipped, which abstain from recorded returns.
    """
    learner = FAMILIES[family](MODELS)
    data = taught(learner)
    column, volatility = (data.feature_names.index(n) for n in ("return_1", "volatility_long"))
    x = data.x.copy()
    x[:, :, column], told, times = oracle(data, x[:, :, column], x[:, 0, volatility])
    some = {"rank_min_names": 5}
    # As large as what was planted promises: a forecast that is far too bold is none.
    data = replace(data, x=x, excess=times * data.excess)

    walk = walk_forward(data, learner, SETTINGS, **some, seed=7)

    itself = outcome(data, told, SETTINGS, **some)
    assert walk.rank_ic >= controls.NEAR * itself.rank_ic
