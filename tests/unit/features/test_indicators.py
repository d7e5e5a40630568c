"""Indicators against published worksheets and pandas, and their rule for halts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features import indicators, pipeline
from trading.features.indicators import Bars
from trading.features.pipeline import REGISTRY, FeatureSettings

AAPL, FB, MSFT = 0, 1, 4


def one_name(close: list[float]) -> AdjustedPanel:
    """A panel of a few closes that a formula needs."""
    column = np.array(close)[:, None]
    n = len(close)
    return AdjustedPanel(
        market=Market.US,
        symbols=("X",),
        sessions=np.arange("2010-01-01", n, dtype="datetime64[D]")
        if n == 0
        else np.datetime64("2010-01-04", "D") + np.arange(n),
        open=column,
        high=column,
        low=column,
        close=column,
        volume=np.full((n, 1), 1000.0),
        tradable=np.ones((n, 1), dtype=bool),
        benchmark=np.full(n, np.nan),
        benchmark_name="",
    )


def test_rsi_worksheet():
    """RSI(14) reproduces StockCharts' published worksheet (REFERENCES 13)."""
    close = [
        44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826,
        45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439,
        46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672,
        43.4205, 42.6628, 43.1314,
    ]  # fmt: skip
    expected = [
        70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99,
        41.46, 41.87, 45.46, 37.30, 33.08, 37.77,
    ]  # fmt: skip

    got = indicators.rsi(Bars(one_name(close)), 14)[:, 0]

    assert np.isnan(got[:14]).all()
    np.testing.assert_allclose(got[14:], expected, atol=0.0051)


def test_rsi_of_a_flat_line_is_neutral():
    """A close that never moved is neither strong nor weak: 50, by definition."""
    got = indicators.rsi(Bars(one_name([100.0] * 20)), 14)[:, 0]

    np.testing.assert_array_equal(got[14:], 50.0)


def test_percent_b_without_width_is_the_middle():
    """Bands that have collapsed put the price at 0.5."""
    got = indicators.percent_b(Bars(one_name([100.0] * 25)), 20, 2.0)[:, 0]

    np.testing.assert_array_equal(got[19:], 0.5)


def test_percent_b_equals_pandas(embedded_panels):
    """%b uses the population sigma of the window, like pandas' rolling std with ddof 0."""
    panel = embedded_panels[1]
    close = pd.Series(panel.close[:, MSFT])
    middle, sigma = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    expected = (close - (middle - 2 * sigma)) / (4 * sigma)

    got = indicators.percent_b(Bars(panel), 20, 2.0)[:, MSFT]

    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_averages_equal_pandas(embedded_panels):
    """SMA is the rolling mean; EMA recurs with 2/(n+1) from the first SMA."""
    panel = embedded_panels[1]
    close = pd.Series(panel.close[:, AAPL])
    seeded = close.copy()
    seeded.iloc[:9] = np.nan
    seeded.iloc[9] = close.iloc[:10].mean()

    bars = Bars(panel)

    np.testing.assert_allclose(
        indicators.sma(bars, 10)[:, AAPL], close.rolling(10).mean(), rtol=1e-9
    )
    np.testing.assert_allclose(
        indicators.ema(bars, 10)[9:, AAPL],
        seeded.iloc[9:].ewm(span=10, adjust=False).mean(),
        rtol=1e-9,
    )


def test_halts_are_no_bars(embedded_panels):
    """Every line skips a halt as if the session did not exist, and carries its last value."""
    panel = embedded_panels[1].until(600)
    halted = np.arange(400, 410)
    kept = np.setdiff1d(np.arange(600), halted)
    holes = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(panel, name).copy()
        values[halted] = np.nan
        holes[name] = values
    tradable = panel.tradable.copy()
    tradable[halted] = False
    short = {
        name: getattr(panel, name)[kept] for name in (*holes, "sessions", "tradable", "benchmark")
    }
    settings = FeatureSettings()

    with_halt = pipeline.compute(replace(panel, **holes, tradable=tradable), settings)
    without = pipeline.compute(replace(panel, **short), settings)

    np.testing.assert_array_equal(with_halt.values[kept], without.values)
    plain = [i for i, name in enumerate(with_halt.names) if not name.endswith("_rank")]
    for row in halted:
        np.testing.assert_array_equal(
            with_halt.values[row][:, plain], with_halt.values[399][:, plain]
        )


@pytest.mark.parametrize("feature", REGISTRY, ids=lambda feature: feature.name)
def test_warm_up_counts_from_the_own_first_bar(embedded_panels, feature):
    """The first value comes exactly ``warm_up`` bars after the name's own first bar."""
    panel, settings = embedded_panels[1], FeatureSettings(min_names=2)
    bars = Bars(panel)
    warm_up = feature.warm_up(settings)

    values = feature.compute(bars, settings)

    for name in (AAPL, FB, MSFT):
        first_bar = int(np.argmax(bars.valid[:, name]))
        found = np.flatnonzero(np.isfinite(values[:, name]))
        if warm_up < bars.valid[:, name].sum():
            assert found[0] == first_bar + warm_up
        else:
            assert len(found) == 0


def test_fingerprint_changes_with_a_window():
    """A model taught on other windows has another fingerprint; regimes do not matter to it."""
    shipped = FeatureSettings()

    assert pipeline.fingerprint(shipped) == pipeline.fingerprint(FeatureSettings())
    assert pipeline.fingerprint(shipped) != pipeline.fingerprint(FeatureSettings(rsi_window=15))


def test_select_names_the_columns(embedded_panels):
    """Features are picked by name, in the order asked for."""
    matrix = pipeline.compute(embedded_panels[1].until(40), FeatureSettings())

    picked = matrix.select(("rsi", "return_1"))

    np.testing.assert_array_equal(
        picked[:, :, 1], matrix.values[:, :, matrix.names.index("return_1")]
    )
    with pytest.raises(KeyError):
        matrix.select(("unknown",))


@pytest.mark.parametrize(
    "wrong", [{"fast_window": 30}, {"macd_fast": 26}, {"momentum_skip": 252}, {"unknown": 1}]
)
def test_settings_refuse_nonsense(wrong):
    """Windows in the wrong order and unknown keys are errors."""
    with pytest.raises(ValueError):
        FeatureSettings(**wrong)
