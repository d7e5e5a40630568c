"""Returns, volatility and the market model against their definitions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features import statistics
from trading.features.indicators import Bars

AAPL, FB, GOOG, IBM, MSFT = range(5)


def test_momentum_skips_the_last_month(embedded_panels):
    """12-1 momentum is the close 21 bars ago over the close 252 bars ago."""
    panel = embedded_panels[1]

    got = statistics.momentum(Bars(panel), 252, 21)

    assert np.isnan(got[251, IBM])
    assert got[1000, IBM] == panel.close[979, IBM] / panel.close[748, IBM] - 1
    assert np.isnan(got[:, FB]).all()  # 196 bars only


def test_volatility_equals_pandas(embedded_panels):
    """The daily volatility is the root mean square of the last returns."""
    panel = embedded_panels[1]
    returns = pd.Series(panel.close[:, AAPL]).pct_change()
    expected = (returns**2).rolling(20).mean() ** 0.5

    got = statistics.realized_volatility(Bars(panel), 20)[:, AAPL]

    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_session_returns_over_a_halt(embedded_panels):
    """A halt returns 0, the bar after it the whole move."""
    panel = embedded_panels[1].until(50)
    holes = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close")}
    for values in holes.values():
        values[20:23, MSFT] = np.nan

    got = statistics.session_returns(Bars(replace(panel, **holes)))[:, MSFT]

    np.testing.assert_array_equal(got[20:23], 0.0)
    assert got[23] == panel.close[23, MSFT] / panel.close[19, MSFT] - 1
    assert np.isnan(got[0])


def test_drawdown_and_volume_ratio(embedded_panels):
    """Both compare the last bar with its own window."""
    panel = embedded_panels[1]
    bars = Bars(panel)
    window = slice(1000 - 59, 1001)

    assert statistics.drawdown(bars, 60)[1000, MSFT] == (
        panel.close[1000, MSFT] / panel.close[window, MSFT].max() - 1
    )
    np.testing.assert_allclose(
        statistics.volume_ratio(bars, 20)[1000, MSFT],
        panel.volume[1000, MSFT] / panel.volume[981:1001, MSFT].mean(),
    )


def test_range_volatilities_follow_their_formulas(embedded_panels):
    """Parkinson and Garman-Klass are the root means of their published terms over 20 bars."""
    panel = embedded_panels[1].until(600)
    names = ("open", "high", "low", "close")
    first, high, low, last = (pd.Series(getattr(panel, name)[:, IBM]) for name in names)
    wide, moved = np.log(high / low) ** 2, np.log(last / first) ** 2
    parkinson = wide.rolling(20).mean() / (4 * np.log(2))
    inside = 0.5 * wide - (2 * np.log(2) - 1) * moved

    bars = Bars(panel)

    np.testing.assert_allclose(
        statistics.parkinson_volatility(bars, 20)[:, IBM], parkinson**0.5, rtol=1e-9
    )
    np.testing.assert_allclose(
        statistics.garman_klass_volatility(bars, 20)[:, IBM],
        inside.rolling(20).mean() ** 0.5,
        rtol=1e-9,
    )


def test_range_volatilities_of_one_bar():
    """One bar of high 110, low 100, open 100, close 105, as a pocket calculator has it."""
    # ln 1.1 = 0.0953102, ln 1.05 = 0.0487902: 0.0953102 / 1.6651092 = 0.0572396 and
    # sqrt(0.0045420 − 0.3862944 · 0.0023805) = 0.060187.
    panel = AdjustedPanel(
        market=Market.US, symbols=("X",), sessions=np.array(["2010-01-04"] * 2, "datetime64[D]"),
        open=np.full((2, 1), 100.0), high=np.full((2, 1), 110.0), low=np.full((2, 1), 100.0),
        close=np.full((2, 1), 105.0), volume=np.ones((2, 1)), tradable=np.ones((2, 1), bool),
        benchmark=np.full(2, np.nan), benchmark_name="",
    )  # fmt: skip
    bars = Bars(panel)

    assert round(float(statistics.parkinson_volatility(bars, 2)[1, 0]), 6) == 0.05724
    assert round(float(statistics.garman_klass_volatility(bars, 2)[1, 0]), 6) == 0.060187


def test_downside_volatility_counts_falls_only(embedded_panels):
    """Rises count as 0, but they count."""
    panel = embedded_panels[1].until(400)
    returns = pd.Series(panel.close[:, MSFT]).pct_change()
    expected = (returns.clip(upper=0) ** 2).rolling(60).mean() ** 0.5

    got = statistics.downside_volatility(Bars(panel), 60)[:, MSFT]

    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_autocorrelation_equals_pandas(embedded_panels):
    """It is Pearson's correlation of the last 60 returns with those one bar before."""
    panel = embedded_panels[1].until(900)
    returns = pd.Series(panel.close[:, AAPL]).pct_change()
    expected = returns.rolling(60).corr(returns.shift(1))

    got = statistics.autocorrelation(Bars(panel), 60)[:, AAPL]

    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_market_model_equals_least_squares(embedded_panels):
    """Beta and what it leaves are those of numpy's least squares over the last 252 returns."""
    panel = embedded_panels[1].until(1000)
    market = panel.benchmark[1:] / panel.benchmark[:-1] - 1
    own = panel.close[1:, IBM] / panel.close[:-1, IBM] - 1
    bars = Bars(panel)

    beta = statistics.market_beta(bars, 252)[:, IBM]
    rest = statistics.idiosyncratic_volatility(bars, 252)[:, IBM]

    for row in (252, 600, 999):
        x, y = market[row - 252 : row], own[row - 252 : row]
        slope, intercept = np.polyfit(x, y, 1)
        assert beta[row] == pytest.approx(slope, rel=1e-9)
        assert rest[row] == pytest.approx(np.std(y - slope * x - intercept), rel=1e-9)


def test_beta_equals_talib(embedded_panels):
    """TA-Lib's BETA of two price lines is the same slope."""
    import talib

    panel = embedded_panels[1].until(700)

    got = statistics.market_beta(Bars(panel), 60)[:, MSFT]

    expected = talib.BETA(panel.benchmark, panel.close[:, MSFT], 60)
    np.testing.assert_allclose(got[60:], expected[60:], rtol=1e-7)


def test_beta_over_a_halt(embedded_panels):
    """The first bar after a halt is set against what the market did from one bar to the next."""
    panel = embedded_panels[1].until(120)
    kept = np.setdiff1d(np.arange(120), np.arange(50, 60))
    holes = {n: getattr(panel, n).copy() for n in ("open", "high", "low", "close", "volume")}
    for values in holes.values():
        values[50:60, IBM] = np.nan
    market, own = (
        values[kept][1:] / values[kept][:-1] - 1
        for values in (panel.benchmark, panel.close[:, IBM])
    )

    got = statistics.market_beta(Bars(replace(panel, **holes)), 60)[:, IBM]

    assert got[99] == pytest.approx(np.polyfit(market[29:89], own[29:89], 1)[0], rel=1e-9)


def test_a_name_that_does_not_move(embedded_panels):
    """Without movement beta, volatilities and autocorrelation are 0; without a market NaN."""
    panel = embedded_panels[1].until(300)
    flat = {n: np.full_like(panel.close, 10.0) for n in ("open", "high", "low", "close")}
    moving = Bars(replace(panel, **flat))
    still = Bars(replace(panel, **flat, benchmark=np.full(300, 100.0)))

    assert (statistics.market_beta(moving, 60)[60:, IBM] == 0.0).all()
    assert (statistics.idiosyncratic_volatility(moving, 60)[60:, IBM] == 0.0).all()
    assert (statistics.autocorrelation(moving, 60)[61:, IBM] == 0.0).all()
    assert (statistics.realized_volatility(moving, 60)[60:, IBM] == 0.0).all()
    assert np.isnan(statistics.market_beta(still, 60)[:, IBM]).all()


def test_one_wild_bar_leaves_no_trace(embedded_panels):
    """A price that was a million times too high is forgotten when its window is over."""
    panel = embedded_panels[1].until(600)
    close = panel.close.copy()
    close[100, MSFT] *= 1e6

    bars = Bars(replace(panel, close=close))
    for statistic, own in (
        (statistics.realized_volatility, 20),
        (statistics.autocorrelation, 20),
        (statistics.market_beta, 20),
    ):
        expected = statistic(Bars(panel), own)[150:, MSFT]
        np.testing.assert_allclose(statistic(bars, own)[150:, MSFT], expected, rtol=1e-9)


@settings(max_examples=8, derandomize=True)
@given(window=st.integers(2, 40), lead=st.integers(0, 2))
def test_running_sums_equal_plain_ones(embedded_panels, window, lead):
    """Sums and moments that run along equal those taken anew at each bar, for every series."""
    panel = embedded_panels[1].until(150)
    x = panel.close[:, [AAPL, IBM]].T.ravel().copy()
    y = panel.volume[:, [AAPL, IBM]].T.ravel() / 1e6
    starts = np.array([0, 150, 150, 300])

    total = statistics._sums(x, starts, lead, window)
    together, of_x, of_y = statistics._moments(x, y, starts, lead, window)

    for begin in (0, 150):
        first = begin + lead + window - 1
        assert np.isnan(total[begin:first]).all()
        for row in (first, first + 1, first + window, begin + 149):
            if row < begin + 150:
                a, b = x[row - window + 1 : row + 1], y[row - window + 1 : row + 1]
                assert total[row] == pytest.approx(a.sum(), rel=1e-12)
                assert together[row] == pytest.approx(np.cov(a, b, ddof=0)[0, 1], rel=1e-6)
                assert of_x[row] == pytest.approx(a.var(), rel=1e-7)
                assert of_y[row] == pytest.approx(b.var(), rel=1e-7)
