"""Law 3: cutting the data after a row changes nothing at that row, to the bit."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features import pipeline, regimes
from trading.features.labels import forward_returns
from trading.features.pipeline import FeatureSettings
from trading.lookahead.compare import first_difference
from trading.lookahead.record import SMALL
from trading.mlops import dataset
from trading.mlops.train import FAMILIES, train
from trading.models.base import ForestSettings, ModelSettings
from trading.strategies import catalog
from trading.strategies.base import Evaluation
from trading.strategies.catalog import StrategySettings
from trading.strategies.evaluation import evaluate

# Few names are enough to rank, so that every rank and every screen has something to say.
FEATURES = FeatureSettings(min_names=3)
_SHIPPED = StrategySettings()
STRATEGIES = _SHIPPED.model_copy(
    update={
        "momentum": _SHIPPED.of("momentum").model_copy(update={"min_names": 3}),
        "screener": {
            Market.US: _SHIPPED.screener[Market.US].model_copy(
                update={"leaders": 4, "top": 2, "min_names": 3}
            ),
            Market.KRX: _SHIPPED.screener[Market.KRX],
        },
    }
)
LEARNING = ModelSettings(forest=ForestSettings(trees=12))
# Every family, small and with something to say.
TAUGHT = LEARNING.model_copy(
    update={name: getattr(LEARNING, name).model_copy(update=small) for name, small in SMALL.items()}
    | {"validation": LEARNING.validation.model_copy(update={"folds": 1})}
)
ROWS = st.integers(min_value=2, max_value=3269)
# Settings, not rows.
CONSTANT = ("agents", "ceilings", "regime_names", "first_bar")


@pytest.fixture(scope="module")
def models(embedded_panels):
    past = embedded_panels[1].until(1200)
    return {family: train(past, FEATURES, TAUGHT, family=family).model for family in FAMILIES}


@pytest.fixture(scope="module")
def whole(embedded_panels, models):
    raw, panel = embedded_panels
    return _evaluated(panel, raw, models)


@pytest.fixture(scope="module")
def matrix(embedded_panels):
    return pipeline.compute(embedded_panels[1], FEATURES)


def _evaluated(panel: AdjustedPanel, raw, models, first_row: int = 0) -> Evaluation:
    return evaluate(
        panel,
        raw,
        features=FEATURES,
        strategies=STRATEGIES,
        models=models,
        agents=tuple(catalog.AGENTS),
        first_row=first_row,
    ).evaluation


def _assert_same(whole: Evaluation, other: Evaluation, rows: slice) -> None:
    for field in fields(Evaluation):
        if field.name not in CONSTANT:
            a, b = (getattr(said, field.name)[rows] for said in (whole, other))
            assert first_difference(a, b) is None, field.name


@settings(max_examples=20, deadline=None, derandomize=True)
@given(n=ROWS)
def test_features(embedded_panels, matrix, n):
    """Every registered feature of the last row is the same with and without what follows."""
    cut = pipeline.compute(embedded_panels[1].until(n), FEATURES)

    assert cut.names == matrix.names
    assert first_difference(cut.values, matrix.values[:n]) is None


def test_every_family_speaks(models, whole):
    """A check of what abstains would prove nothing."""
    assert models.keys() == FAMILIES.keys()
    for family in FAMILIES:
        votes = whole.votes[:, whole.agents.index(family)]
        assert len(np.unique(votes[np.isfinite(votes)])) > 2, family


@settings(max_examples=10, deadline=None, derandomize=True)
@given(n=ROWS)
def test_evaluation(embedded_panels, models, whole, n):
    """Whatever all agents, the ensemble, the screen and the regime say knows no future."""
    raw, panel = embedded_panels

    cut = _evaluated(panel.until(n), raw, models)

    _assert_same(whole, cut, slice(0, n))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(n=ROWS)
def test_only_the_last_rows(embedded_panels, models, whole, n):
    """Live asks for the last row only and gets what the backtest got."""
    raw, panel = embedded_panels

    cut = _evaluated(panel.until(n), raw, models, first_row=n - 1)

    _assert_same(whole, cut, slice(n - 1, n))


def _perturbed(panel: AdjustedPanel, after: int) -> AdjustedPanel:
    changed = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(panel, name).copy()
        values[after:] *= 1.5
        changed[name] = values
    benchmark = panel.benchmark.copy()
    benchmark[after:] *= 0.5
    return replace(panel, **changed, benchmark=benchmark)


# Of each example the months that follow are fitted anew.
@settings(max_examples=3, deadline=None, derandomize=True)
@given(n=ROWS)
def test_another_future(embedded_panels, models, whole, n):
    """Other prices after a row change nothing up to it."""
    raw, panel = embedded_panels

    other = _evaluated(_perturbed(panel, n), raw, models)

    _assert_same(whole, other, slice(0, n))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(n=st.integers(min_value=2, max_value=1200))
def test_an_index_with_gaps(embedded_panels, n):
    """Where the index is missing and the universe stands in for it, regimes know no future."""
    panel = embedded_panels[1].until(1200)
    benchmark = panel.benchmark.copy()
    benchmark[400:700] = np.nan
    panel = replace(panel, benchmark=benchmark)

    whole, cut = (regimes.estimate(p, FEATURES.regime) for p in (panel, panel.until(n)))

    assert first_difference(whole.probability[:n], cut.probability) is None
    assert first_difference(whole.state[:n], cut.state) is None


def test_what_is_taught(embedded_panels):
    """A longer history teaches the rows of a shorter one, and all labels that it knew."""
    panel = embedded_panels[1]
    longer, shorter = (dataset.build(panel.until(n), FEATURES, LEARNING) for n in (2000, 1500))

    common = [name for name in shorter.feature_names if name in longer.feature_names]
    cells = {
        (row, column): i
        for i, (row, column) in enumerate(zip(longer.row, longer.column, strict=True))
    }
    kept = [
        (i, cells[row, column])
        for i, (row, column) in enumerate(zip(shorter.row, shorter.column, strict=True))
        if (row, column) in cells
    ]

    assert len(common) > 10
    assert len(kept) > 0.9 * len(shorter.row)
    mine, theirs = np.array(kept).T
    for ours, others in ((shorter.excess, longer.excess), (shorter.forward, longer.forward)):
        assert first_difference(ours[mine], others[theirs]) is None
    for name in common:
        ours = shorter.x[mine, shorter.feature_names.index(name)]
        others = longer.x[theirs, longer.feature_names.index(name)]
        assert first_difference(ours, others) is None, name


def test_labels_are_no_features(embedded_panels, matrix):
    """A label needs rows that come later; no feature is one, at any horizon that is taught."""
    panel = embedded_panels[1]
    horizon = LEARNING.horizon_sessions
    labels = forward_returns(panel, horizon)
    known = np.isfinite(labels.forward)

    assert not known[-horizon:].any()
    cut = forward_returns(panel.until(1000), horizon)
    assert not np.isfinite(cut.forward[-horizon:]).any()
    assert np.isfinite(labels.forward[1000 - horizon : 1000]).any()
    for h in (1, 5, horizon):
        forward = forward_returns(panel, h)
        for label in (forward.forward, forward.excess):
            for i, name in enumerate(matrix.names):
                feature = matrix.values[:, :, i]
                both = np.isfinite(label) & np.isfinite(feature)
                if both.sum() > 100:
                    same = (label[both] == feature[both]).mean()
                    correlation = np.corrcoef(label[both], feature[both])[0, 1]
                    assert same < 0.05, name
                    # What the past tells of the future is little (DESIGN 7).
                    assert abs(correlation) < 0.35, name
