"""Law 3: cutting the data after a row changes nothing at that row, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features import pipeline
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.mlops.train import train
from trading.models.base import ForestSettings, ModelSettings
from trading.strategies.base import StrategySettings
from trading.strategies.evaluation import evaluate

# Few names are enough to rank, so that every rank and every screen has something to say.
FEATURES = FeatureSettings(min_names=3)
_SHIPPED = StrategySettings()
STRATEGIES = _SHIPPED.model_copy(
    update={
        "momentum": _SHIPPED.momentum.model_copy(update={"min_names": 3}),
        "screener": {
            Market.US: _SHIPPED.screener[Market.US].model_copy(
                update={"leaders": 4, "top": 2, "min_names": 3}
            ),
            Market.KRX: _SHIPPED.screener[Market.KRX],
        },
    }
)
ROWS = st.integers(min_value=2, max_value=3269)


@pytest.fixture(scope="module")
def model(embedded_panels):
    learning = ModelSettings(forest=ForestSettings(trees=12))
    return train(embedded_panels[1].until(1200), FEATURES, learning).model


@pytest.fixture(scope="module")
def whole(embedded_panels, model):
    raw, panel = embedded_panels
    return evaluate(panel, raw, features=FEATURES, strategies=STRATEGIES, model=model)


@pytest.fixture(scope="module")
def matrix(embedded_panels):
    return pipeline.compute(embedded_panels[1], FEATURES)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(n=ROWS)
def test_features(embedded_panels, matrix, n):
    """Every registered feature of the last row is the same with and without what follows."""
    cut = pipeline.compute(embedded_panels[1].until(n), FEATURES)

    assert cut.names == matrix.names
    np.testing.assert_array_equal(cut.values, matrix.values[:n])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(n=ROWS)
def test_evaluation(embedded_panels, model, whole, n):
    """Votes, confidence, volatility, returns, screen and regime of all agents know no future."""
    raw, panel = embedded_panels

    cut = evaluate(panel.until(n), raw, features=FEATURES, strategies=STRATEGIES, model=model)

    for name in (
        "votes", "confidence", "volatility", "returns", "screened", "screen_reason", "regime",
        "regime_from_index",
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[:n], err_msg=name)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(n=ROWS)
def test_only_the_last_rows(embedded_panels, model, whole, n):
    """Live asks for the last row only and gets what the backtest got."""
    raw, panel = embedded_panels

    cut = evaluate(
        panel.until(n), raw, features=FEATURES, strategies=STRATEGIES, model=model, first_row=n - 1
    )

    assert cut.regime[-1] == whole.regime[n - 1]
    np.testing.assert_array_equal(cut.votes[-1], whole.votes[n - 1])


def _perturbed(panel: AdjustedPanel, after: int) -> AdjustedPanel:
    changed = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(panel, name).copy()
        values[after:] *= 1.5
        changed[name] = values
    benchmark = panel.benchmark.copy()
    benchmark[after:] *= 0.5
    return replace(panel, **changed, benchmark=benchmark)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(n=ROWS)
def test_another_future(embedded_panels, model, whole, n):
    """Other prices after a row change nothing up to it."""
    raw, panel = embedded_panels

    other = evaluate(
        _perturbed(panel, n), raw, features=FEATURES, strategies=STRATEGIES, model=model
    )

    for name in ("votes", "confidence", "volatility", "screened", "regime"):
        np.testing.assert_array_equal(
            getattr(other, name)[:n], getattr(whole, name)[:n], err_msg=name
        )


def test_the_property_can_fail(embedded_panels):
    """A feature that looks one row ahead is caught by the same comparison."""
    panel = embedded_panels[1]

    def leaking(p: AdjustedPanel) -> np.ndarray:
        close = Bars(p).close()
        return np.vstack([close[1:], close[-1:]])

    cut = leaking(panel.until(500))
    assert not np.array_equal(cut[499], leaking(panel)[499], equal_nan=True)
