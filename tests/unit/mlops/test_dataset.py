"""What a model is taught: features that it can be asked with tomorrow."""

import numpy as np
import pytest

from trading.domain.market import Facts
from trading.features.factors import RATIOS_AS_OF, FactorSettings
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset
from trading.models.base import ModelSettings

SESSIONS = 1500
# Four of the five names trade in these years: ranks need no more here.
FEATURES = FeatureSettings(min_names=3, factors=FactorSettings(min_names=3, max_age_days=30))


@pytest.mark.parametrize(("silent_for", "is_taught"), [(0, True), (100, False)])
def test_what_is_too_old_by_now_is_not_taught(embedded_panels, silent_for, is_taught):
    """A yield nobody has published of late is left out, and the newest labels are learnt from."""
    panel = embedded_panels[1].until(SESSIONS)
    days = panel.sessions.astype("datetime64[D]").astype(np.float64)
    as_of = np.minimum(days, days[SESSIONS - 1 - silent_for])
    facts = Facts(
        sectors=Facts.none(*panel.close.shape).sectors,
        sector_names=(),
        sectors_of_the_day=True,
        fundamentals={
            "book_yield": np.broadcast_to(1.0 / np.arange(2.0, 7.0), panel.close.shape),
            RATIOS_AS_OF: np.broadcast_to(as_of[:, None], panel.close.shape),
        },
    )

    data = dataset.build(panel, FEATURES, ModelSettings(), facts)
    bare = dataset.build(panel, FEATURES, ModelSettings())

    assert ("value_score" in data.feature_names) is is_taught
    assert data.row.max() == bare.row.max()
