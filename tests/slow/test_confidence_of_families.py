"""What every learned family is credited with is how often it is right: ECE at most 0.05."""

import math

import numpy as np
import pytest

from trading.features.pipeline import FeatureSettings
from trading.mlops.train import FAMILIES, taught
from trading.models import validation
from trading.models.base import ModelSettings

MODELS = ModelSettings()
# As shipped they have nothing to say of recorded returns.
SPEAKS = {
    name: {"min_gain_t": -math.inf, "min_outcome_t": -math.inf, "abstain_share": 0.0}
    for name in ("arima", "garch", "hmm", "kalman")
}
# As shipped it finds nothing that pays where it was not taught; to be taught takes minutes.
SILENT = {"dqn"}
PRIOR = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.compiled_only]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - SILENT))
def test_credit_is_how_often_it_is_right(family, embedded_panels):
    """Out of sample on the embedded record, with the settings as shipped, at every session."""
    own = getattr(MODELS, family).model_copy(update=SPEAKS.get(family, {}))
    models = MODELS.model_copy(update={family: own})
    data = taught(embedded_panels[1], FeatureSettings(), models, None, family)

    walk = validation.walk_forward(
        data, FAMILIES[family](models), models.validation, rank_min_names=5, seed=7
    )
    found = validation.calibration(walk, horizon=data.horizon, prior_outcomes=PRIOR)

    assert found.count.sum() == np.count_nonzero(walk.vote)
    assert found.count.sum() > 1000
    assert found.error <= 0.05
