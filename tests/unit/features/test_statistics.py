"""Returns, volatility, ranks and labels against their definitions."""

from dataclasses import replace

import numpy as np
import pandas as pd

from trading.features import statistics
from trading.features.cross_section import percentile_rank
from trading.features.indicators import Bars
from trading.features.labels import forward_returns

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


def test_percentile_rank_with_ties_and_absentees():
    """Ranks are (rank - 0.5) / count with mean ranks for ties; the ineligible take no part."""
    values = np.array([[3.0, 1.0, 1.0, np.nan, 9.0, 2.0]])
    eligible = np.array([[True, True, True, True, False, True]])

    got = percentile_rank(values, eligible, min_names=4)

    np.testing.assert_allclose(got, [[0.875, 0.25, 0.25, np.nan, np.nan, 0.625]])


def test_percentile_rank_abstains_below_min_names():
    """Fewer names than ``min_names`` have no rank."""
    values = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, np.nan]])

    got = percentile_rank(values, np.ones((2, 3), dtype=bool), min_names=3)

    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()


def test_scores_that_differ_by_less_than_the_unit_are_ties():
    """A difference below 1e-9 is rounding noise and must not decide a rank."""
    values = np.array([[1.0, 1.0 + 1e-12]])

    got = percentile_rank(values, np.ones((1, 2), dtype=bool), min_names=2)

    np.testing.assert_array_equal(got, [[0.5, 0.5]])


def test_labels_start_at_the_next_open(embedded_panels):
    """A decision at the close earns from the next open to the close of the horizon."""
    panel = embedded_panels[1].until(300)

    labels = forward_returns(panel, 20)

    expected = panel.close[120, IBM] / panel.open[101, IBM] - 1
    assert labels.forward[100, IBM] == expected
    others = [panel.close[120, i] / panel.open[101, i] - 1 for i in (AAPL, IBM, MSFT)]
    np.testing.assert_allclose(labels.excess[100, IBM], expected - np.mean(others))
    assert np.isnan(labels.forward[-20:]).all()
    assert np.isnan(labels.forward[:, FB]).all()
