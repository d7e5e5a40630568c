"""Every feature knows its past only; a source without figures leaves the others as they are."""

from dataclasses import replace

import numpy as np
import pytest

from trading.domain.market import AdjustedPanel, Facts
from trading.features import pipeline
from trading.features.factors import FactorSettings
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings

ROWS = 800
SETTINGS = FeatureSettings(
    min_names=2, factors=FactorSettings(min_names=2, winsor_quantile=0.2, momentum_window=120)
)


def figures(panel: AdjustedPanel) -> Facts:
    """Figures that a formula needs, other ones from each hundredth row on."""
    n, m = panel.close.shape
    step = np.arange(n)[:, None] // 100
    name = np.arange(1.0, m + 1)[None, :]
    row = np.minimum(step * 100, n - 1)
    days = panel.sessions.astype("datetime64[D]").astype(float)[row]
    return Facts(
        sectors=np.broadcast_to(np.array([0, 0, 1, 0, 1]), (n, m)),
        sector_names=("a", "b"),
        sectors_of_the_day=False,
        fundamentals={
            "book_yield": np.sin(name + step) + 2.0,
            "earnings_yield": np.cos(name * (step + 1)),
            "total_assets": 10.0 + name * step,
            "total_liabilities": name + step,
            "sales_growth": np.sin(name * step),
            "ratios_as_of": np.broadcast_to(days, (n, m)),
            "statements_as_of": np.broadcast_to(days - 90, (n, m)),
        },
    )


@pytest.fixture(scope="module")
def panel(embedded_panels) -> AdjustedPanel:
    """Sessions around Google's first one, with a halt of IBM."""
    whole = embedded_panels[1]
    begin = int(np.searchsorted(whole.sessions, np.datetime64("2004-08-19"))) - 300
    part = {
        name: getattr(whole, name)[begin : begin + ROWS].copy()
        for name in ("sessions", "open", "high", "low", "close", "volume", "tradable", "benchmark")
    }
    for name in ("open", "high", "low", "close", "volume"):
        part[name][500:506, 3] = np.nan
    part["tradable"][500:506, 3] = False
    return replace(whole, **part)


@pytest.fixture(scope="module")
def whole(panel) -> np.ndarray:
    return pipeline.compute(Bars(panel, figures(panel)), SETTINGS).values


def test_every_feature_has_something_to_say(whole):
    """Nothing of the registry is empty here: what follows is about every feature."""
    assert np.isfinite(whole).any(axis=(0, 1)).all()
    assert not np.isinf(whole).any()


@pytest.mark.parametrize("n", [2, 61, 300, 301, 503, 505, 507, 799])
def test_what_follows_changes_nothing(panel, whole, n):
    """Cut after a row, in a halt or before a listing, it is the same to the bit."""
    cut = pipeline.compute(Bars(panel.until(n), figures(panel).until(n)), SETTINGS)

    np.testing.assert_array_equal(cut.values, whole[:n])


@pytest.mark.parametrize("n", [310, 504, 700])
def test_another_future_changes_nothing(panel, whole, n):
    """Wild prices, frozen prices and other figures afterwards leave the rows before alone."""
    facts = figures(panel)
    changed = {}
    for k, name in enumerate(("open", "high", "low", "close", "volume")):
        values = getattr(panel, name).copy()
        values[n:] = np.where(np.isfinite(values[n:]), 7.0, np.nan) if k < 4 else values[n:] * 1e6
        changed[name] = values
    told = {name: np.where(np.arange(ROWS)[:, None] < n, grid, -grid)
            for name, grid in facts.fundamentals.items()}  # fmt: skip

    other = pipeline.compute(
        Bars(replace(panel, **changed), replace(facts, fundamentals=told)), SETTINGS
    )

    np.testing.assert_array_equal(other.values[:n], whole[:n])


def test_the_comparison_can_fail(panel):
    """A line that looks one bar ahead is seen by it."""

    def leaking(part: AdjustedPanel) -> np.ndarray:
        return Bars(part).line("leak", lambda column: np.append(column.close[1:], np.nan))

    assert not np.array_equal(leaking(panel.until(400)), leaking(panel)[:400], equal_nan=True)


def test_without_figures_only_their_scores_are_missing(panel, whole):
    """Facts feed the scores; no other feature depends on them."""
    bare = pipeline.compute(panel, SETTINGS)
    about_facts = ("value_score", "quality_score", "growth_score")
    of_sectors = ("momentum_in_sector", "return_20_in_sector", "momentum_score", "factor_score")

    for i, name in enumerate(bare.names):
        if name in about_facts:
            assert np.isnan(bare.values[:, :, i]).all()
        elif name not in of_sectors:
            np.testing.assert_array_equal(bare.values[:, :, i], whole[:, :, i])


def test_training_leaves_out_what_is_not_there(embedded_panels):
    """Scores without figures cost no row of the training data."""
    from trading.mlops import dataset
    from trading.models.base import ModelSettings

    data = dataset.build(embedded_panels[1].until(1500), FeatureSettings(), ModelSettings())

    assert "adx" in data.feature_names and "beta" in data.feature_names
    assert not any(name.endswith(("_score", "_in_sector")) for name in data.feature_names)
    assert np.isfinite(data.x).all()
