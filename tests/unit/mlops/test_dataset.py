"""What a model is taught: features that it can be asked with tomorrow."""

from dataclasses import replace

import numpy as np
import pytest

from trading.domain.market import Facts
from trading.features.factors import RATIOS_AS_OF, FactorSettings
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset
from trading.models.base import ForestSettings, ModelSettings
from trading.models.forest import Forest
from trading.models.validation import FIGURES, folds, walk_forward

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


def test_who_is_about_to_go_is_forecast_like_everyone(embedded_panels):
    """A name that is halted for good gives its last sessions no label, teaches none of them, and is
    forecast on them as if it had stayed: no account knows before the market does.
    """
    panel = embedded_panels[1].until(SESSIONS)
    gone, name = 1200, panel.symbols.index("IBM")
    grids = {grid: getattr(panel, grid).copy() for grid in ("open", "high", "low", "close")}
    volume, tradable = panel.volume.copy(), panel.tradable.copy()
    for grid in grids.values():
        grid[gone:, name] = np.nan
    volume[gone:, name], tradable[gone:, name] = 0, False
    halted = replace(panel, **grids, volume=volume, tradable=tradable)
    # The two names that are left are ranked, too: the folds are the same.
    features = FeatureSettings(min_names=2, factors=FactorSettings(min_names=2))
    models = ModelSettings(forest=ForestSettings(trees=3))
    learner = Forest(models.forest)

    stayed, left = (dataset.build(one, features, models) for one in (panel, halted))
    walks = [
        walk_forward(one, learner, models.validation, rank_min_names=3, seed=7)
        for one in (stayed, left)
    ]

    assert stayed.feature_names == left.feature_names
    last = (left.column == name) & (left.row >= gone - models.horizon_sessions)
    assert last.any()
    assert not np.isfinite(left.excess[last]).any()
    assert left.row[left.column == name].max() < gone
    assert all(np.isfinite(left.excess[train]).all() for train, _ in folds(left, models.validation))
    assert len(left.labelled) == len(left.row) - last.sum()
    asked = [
        {
            (int(row), int(column)): forecast
            for row, column, forecast in zip(walk.row, walk.column, walk.forecast, strict=True)
            # Of the fold in which it goes.
            if gone - 60 <= row < gone
        }
        for walk in walks
    ]
    assert asked[0] == asked[1]
    assert all(np.isfinite(getattr(walks[1], figure)) for figure in FIGURES)
