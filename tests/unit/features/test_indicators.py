"""Indicators against published worksheets and pandas, and their rule for halts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, Facts
from trading.features import indicators, pipeline
from trading.features.factors import FactorSettings
from trading.features.indicators import Bars
from trading.features.pipeline import REGISTRY, FeatureSettings
from trading.features.regimes import RegimeSettings

AAPL, FB, GOOG, IBM, MSFT = range(5)


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

    # The market's own course is compounded over the halt: the same but for its last bits.
    market = [with_halt.names.index(name) for name in ("beta", "volatility_idiosyncratic")]
    plain = [i for i in range(len(with_halt.names)) if i not in market]
    np.testing.assert_array_equal(with_halt.values[kept][:, :, plain], without.values[:, :, plain])
    np.testing.assert_allclose(
        with_halt.values[kept][:, :, market], without.values[:, :, market], atol=1e-9
    )
    among = ("_rank", "_in_sector", "_score")
    plain = [i for i, name in enumerate(with_halt.names) if not name.endswith(among)]
    for row in halted:
        np.testing.assert_array_equal(
            with_halt.values[row][:, plain], with_halt.values[399][:, plain]
        )


def known_from_the_start(n_sessions: int, n_names: int) -> Facts:
    """Different figures of each name, all public before the first row: what the scores need."""
    row = np.arange(1.0, n_names + 1)
    names = ("book_yield", "earnings_yield", "total_assets", "operating_cash_flow", "sales_growth")
    return replace(
        Facts.none(n_sessions, n_names),
        fundamentals={
            name: np.broadcast_to(row ** (1 + k), (n_sessions, n_names))
            for k, name in enumerate(names)
        },
    )


@pytest.mark.parametrize("feature", REGISTRY, ids=lambda feature: feature.name)
def test_warm_up_counts_from_the_own_first_bar(embedded_panels, feature):
    """The first value comes exactly ``warm_up`` bars after the name's own first bar."""
    panel = embedded_panels[1]
    settings = FeatureSettings(min_names=2, factors=FactorSettings(min_names=2))
    bars = Bars(panel, known_from_the_start(*panel.close.shape))
    warm_up = feature.warm_up(settings)

    values = feature.compute(bars, settings)

    for name in (AAPL, FB, GOOG, MSFT):
        first_bar = int(np.argmax(bars.valid[:, name]))
        found = np.flatnonzero(np.isfinite(values[:, name]))
        if warm_up < bars.valid[:, name].sum():
            assert found[0] == first_bar + warm_up
        else:
            assert len(found) == 0


def test_no_value_before_the_first_bar_and_none_without_bars(embedded_panels):
    """A name that never traded has no value at all, and its presence changes nobody else's."""
    panel = embedded_panels[1].until(300)
    shape = (300, 1)
    wider = replace(
        panel,
        symbols=(*panel.symbols, "NONE"),
        tradable=np.hstack([panel.tradable, np.zeros(shape, dtype=bool)]),
        **{
            name: np.hstack([getattr(panel, name), np.full(shape, np.nan)])
            for name in ("open", "high", "low", "close", "volume")
        },
    )

    got, alone = (pipeline.compute(p, FeatureSettings(min_names=2)) for p in (wider, panel))

    assert np.isnan(got.values[:, -1]).all()
    np.testing.assert_array_equal(got.values[:, :-1], alone.values)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_shortest_panels(embedded_panels, n):
    """A panel of a few sessions has its few values, and no error."""
    whole = pipeline.compute(embedded_panels[1].until(60), FeatureSettings(min_names=2))

    got = pipeline.compute(embedded_panels[1].until(n), FeatureSettings(min_names=2))

    np.testing.assert_array_equal(got.values, whole.values[:n])


def test_rows_are_those_of_the_whole(embedded_panels):
    """Keeping some sessions only keeps what they are."""
    bars = Bars(embedded_panels[1].until(700))
    whole = pipeline.compute(bars, FeatureSettings())

    some = pipeline.compute(bars, FeatureSettings(), rows=slice(3, None, 7))

    np.testing.assert_array_equal(some.values, whole.values[3::7])


def test_adx_is_wilders(embedded_panels):
    """ADX(14) follows Wilder's own steps, written out bar by bar."""
    panel = embedded_panels[1].until(500)
    high, low, close = (getattr(panel, n)[:, IBM] for n in ("high", "low", "close"))
    up, down = np.diff(high), -np.diff(low)
    plus = np.where((up > down) & (up > 0), up, 0.0)
    minus = np.where((down > up) & (down > 0), down, 0.0)
    true = np.maximum.reduce([high[1:] - low[1:],
                              np.abs(high[1:] - close[:-1]), np.abs(low[1:] - close[:-1])])  # fmt: skip
    sums = []
    for part in (plus, minus, true):
        smoothed = np.full(len(part), np.nan)
        smoothed[12] = part[:13].sum()
        for i in range(13, len(part)):
            smoothed[i] = smoothed[i - 1] * (1 - 1 / 14) + part[i]
        sums.append(smoothed)
    plus_di, minus_di = sums[0] / sums[2], sums[1] / sums[2]
    dx = 100 * np.abs(plus_di - minus_di) / (plus_di + minus_di)
    expected = np.full(500, np.nan)
    expected[27] = dx[13:27].mean()
    for i in range(28, 500):
        expected[i] = (expected[i - 1] * 13 + dx[i - 1]) / 14

    got = indicators.adx(Bars(panel), 14)[:, IBM]

    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_on_balance_volume_adds_rises_and_takes_off_falls(embedded_panels):
    """OBV is the running sum of signed volume; its flow is the window's part per share traded."""
    panel = embedded_panels[1].until(400)
    close, volume = panel.close[:, MSFT], panel.volume[:, MSFT]
    line = volume[0] + np.concatenate([[0.0], np.cumsum(np.sign(np.diff(close)) * volume[1:])])
    expected = np.full(400, np.nan)
    for i in range(20, 400):
        expected[i] = (line[i] - line[i - 20]) / volume[i - 19 : i + 1].sum()

    bars = Bars(panel)

    np.testing.assert_allclose(indicators.obv(bars)[:, MSFT], line, rtol=1e-12)
    got = indicators.obv_flow(bars, 20)[:, MSFT]
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert np.nanmax(np.abs(got)) <= 1.0


def test_stochastic_equals_pandas(embedded_panels):
    """%K is the place of the close in the range of 14 bars averaged over 3, %D averages it."""
    panel = embedded_panels[1].until(400)
    high, low, close = (pd.Series(getattr(panel, n)[:, AAPL]) for n in ("high", "low", "close"))
    bottom, top = low.rolling(14).min(), high.rolling(14).max()
    slow = (100 * (close - bottom) / (top - bottom)).rolling(3).mean()
    signal = slow.rolling(3).mean()

    k, d = indicators.stochastic(Bars(panel), 14, 3, 3)

    np.testing.assert_allclose(d[:, AAPL], signal, rtol=1e-9)
    np.testing.assert_allclose(k[:, AAPL], slow.where(signal.notna()), rtol=1e-9)


def test_a_flat_stochastic_is_in_the_middle(embedded_panels):
    """Fourteen bars at one price put %K at 50, wherever they stand; before them nothing changes."""
    panel = embedded_panels[1].until(200)
    changed = {}
    for name in ("open", "high", "low", "close"):
        values = getattr(panel, name).copy()
        values[100:130, AAPL] = panel.close[99, AAPL]
        changed[name] = values

    k, d = indicators.stochastic(Bars(replace(panel, **changed)), 14, 3, 3)
    before, _ = indicators.stochastic(Bars(panel), 14, 3, 3)

    np.testing.assert_allclose(k[118:130, AAPL], 50.0, rtol=1e-12)
    np.testing.assert_allclose(d[120:130, AAPL], 50.0, rtol=1e-12)
    np.testing.assert_array_equal(k[:100, AAPL], before[:100, AAPL])


def test_gaps_are_relative_to_the_average(embedded_panels):
    """Each gap is the distance of its line from the average, as a fraction of the average."""
    panel = embedded_panels[1].until(300)
    bars = Bars(panel)

    np.testing.assert_allclose(
        indicators.ema_gap(bars, 20), panel.close / indicators.ema(bars, 20) - 1, rtol=1e-12
    )
    np.testing.assert_allclose(
        indicators.average_gap(bars, 10, 30),
        indicators.sma(bars, 10) / indicators.sma(bars, 30) - 1,
        atol=1e-12,
    )


def test_fingerprint_changes_with_a_window():
    """A model taught on other windows has another fingerprint; regimes do not matter to it."""
    shipped = FeatureSettings()

    assert pipeline.fingerprint(shipped) == pipeline.fingerprint(FeatureSettings())
    assert pipeline.fingerprint(shipped) != pipeline.fingerprint(FeatureSettings(rsi_window=15))
    assert pipeline.fingerprint(shipped) != pipeline.fingerprint(
        FeatureSettings(factors=FactorSettings(winsor_quantile=0.1))
    )
    assert pipeline.fingerprint(shipped) == pipeline.fingerprint(
        FeatureSettings(regime=RegimeSettings(states=3))
    )


def test_the_registry_says_what_each_feature_is():
    """Names are unique, and each has a unit and says where it comes from."""
    names = [feature.name for feature in REGISTRY]

    assert len(set(names)) == len(names)
    assert all(feature.unit and feature.reference for feature in REGISTRY)


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
