"""The state machines of the rule-based agents, event by event."""

import numpy as np
import pytest

from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.strategies import technical
from trading.strategies.base import Inputs
from trading.strategies.catalog import StrategySettings
from trading.strategies.technical import (
    BollingerMfiSettings,
    MaCrossoverSettings,
    MomentumSettings,
    RsiSettings,
    VolatilityBreakoutSettings,
)

nan = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def all_bars(n: int) -> np.ndarray:
    return np.ones((n, 1), dtype=bool)


def test_crossing_stands_until_the_opposite_crossing():
    """No view before the first crossing; touching zero is none; a view then stands."""
    gap = column(nan, 1.0, 2.0, -1.0, -0.5, 0.0, -0.1, 0.3, 0.0, 0.2)

    got = technical.crossing_votes(gap, all_bars(10))

    np.testing.assert_array_equal(got[:, 0], [nan, nan, nan, -1, -1, -1, -1, 1, 1, 1])


def test_crossing_waits_over_a_halt():
    """A halted session is no event and carries the view."""
    gap = column(1.0, -1.0, 1.0, 1.0)
    valid = column(1, 1, 0, 1).astype(bool)

    got = technical.crossing_votes(gap, valid)

    np.testing.assert_array_equal(got[:, 0], [nan, -1, -1, 1])


def test_recross_needs_to_leave_the_zone():
    """Long when the index is back at 30 or more, no view when it is back at 70 or less."""
    index = column(50, 25, 29.9, 30, 50, 75, 71, 70, 40, 72, 60)

    got = technical.recross_votes(index, all_bars(11), 30.0, 70.0)

    np.testing.assert_array_equal(got[:, 0], [nan, nan, nan, 1, 1, 1, 1, 0, 0, 0, 0])


def test_strength_is_edge_triggered_and_expires():
    """Only the beginning of strength counts, and a view ends after ``time_stop`` bars."""
    b = column(0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.1, 0.5)
    flow = column(90, 90, 50, 90, 90, 90, 90, 10, 50)

    got = technical.strength_votes(b, flow, all_bars(9), 0.8, 80.0, 0.2, 20.0, 3)

    np.testing.assert_array_equal(got[:, 0], [nan, nan, nan, 1, 1, 1, 0, 0, 0])


def test_strength_needs_both_measures():
    """A high %b without money flow is no entry."""
    b, flow = column(0.5, 0.9, 0.9), column(50, 70, 81)

    got = technical.strength_votes(b, flow, all_bars(3), 0.8, 80.0, 0.2, 20.0, 60)

    np.testing.assert_array_equal(got[:, 0], [nan, nan, 1])


def test_compiled_equals_interpreted(embedded_panels):
    """The machine code gives what the Python text says."""
    panel = embedded_panels[1].until(400)
    bars = Bars(panel)
    gap = panel.close / panel.close[0] - 1.0
    index = np.abs(gap) * 100
    calls = [
        (technical.crossing_votes, (gap, bars.valid)),
        (technical.recross_votes, (index, bars.valid, 10.0, 20.0)),
        (technical.strength_votes, (gap, index, bars.valid, 0.05, 5.0, 0.0, 4.0, 10)),
    ]

    for function, arguments in calls:
        plain = getattr(function, "py_func", function)
        np.testing.assert_array_equal(function(*arguments), plain(*arguments))


def inputs_of(panel):
    """Return what the agents may look at of ``panel`` alone."""
    return Inputs(bars=Bars(panel), features=FeatureSettings())


def test_votes_on_recorded_prices(embedded_panels):
    """A view is the state since the last event, for every rule, on every name."""
    panel = embedded_panels[1]
    inputs = inputs_of(panel)

    crossover = technical.ma_crossover(inputs, MaCrossoverSettings())
    exponential = technical.ma_crossover(inputs, MaCrossoverSettings(kind="ema"))
    rsi = technical.rsi(inputs, RsiSettings())
    strength = technical.bollinger_mfi(inputs, BollingerMfiSettings())

    sma = np.array([panel.close[t - 9 : t + 1, 3].mean() for t in range(100, 3270)])
    slow = np.array([panel.close[t - 29 : t + 1, 3].mean() for t in range(100, 3270)])
    apart = np.abs(sma - slow) > 1e-6 * slow  # the two averages touch exactly once
    np.testing.assert_array_equal(crossover[100:, 3][apart], np.sign(sma - slow)[apart])
    assert not np.array_equal(crossover, exponential, equal_nan=True)
    for votes, sides in ((crossover, {-1.0, 1.0}), (rsi, {0.0, 1.0}), (strength, {0.0, 1.0})):
        assert set(votes[np.isfinite(votes)]) == sides
        assert np.isnan(votes[:3074, 1]).all()  # FB was not listed yet


def test_momentum_abstains_with_few_names(embedded_panels):
    """Five recorded stocks never have five 12-1 returns at once; three are enough for three."""
    panel = embedded_panels[1]
    inputs = inputs_of(panel)

    shipped = technical.momentum(inputs, MomentumSettings())
    three = technical.momentum(inputs, MomentumSettings(min_names=3))

    assert np.isnan(shipped).all()
    row = three[1000]
    score = panel.close[979] / panel.close[748] - 1
    assert np.nanargmax(row) == np.nanargmax(score)
    np.testing.assert_allclose(np.sort(row[np.isfinite(row)]), [-2 / 3, 0, 2 / 3], atol=1e-9)


def test_breakouts_wait_above_the_next_open(embedded_panels):
    """Half of yesterday's range above today's open; what was touched earned to the close."""
    panel = embedded_panels[1]
    settings = VolatilityBreakoutSettings()

    got = technical.breakout_triggers(inputs_of(panel), settings)

    close, open_, high = panel.close, panel.open, panel.high
    width = 0.5 * (high - panel.low) / close
    known = np.isfinite(got.distance)
    np.testing.assert_allclose(got.distance[known], width[known], atol=1e-9)
    assert (got.distance[known] < 0.07).all()
    assert not known[np.isfinite(width) & (width >= 0.0700001)].any()
    t, i = 1000, 0
    trigger = open_[t, i] + got.distance[t - 1, i] * close[t - 1, i]
    assert np.isfinite(got.outcome[t, i]) == bool(high[t, i] >= trigger)
    for t in range(900, 1100):
        trigger = open_[t] + got.distance[t - 1] * close[t - 1]
        with np.errstate(invalid="ignore"):
            expected = np.where(high[t] >= trigger, close[t] / trigger - 1.0, np.nan)
        np.testing.assert_allclose(got.outcome[t], expected, rtol=1e-12)
    assert np.isnan(technical.volatility_breakout(inputs_of(panel), settings)).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: MaCrossoverSettings(fast=30, slow=10),
        lambda: RsiSettings(lower=70, upper=30),
        lambda: BollingerMfiSettings(leave_b=0.9),
        lambda: MomentumSettings(window=20, skip=21),
        lambda: StrategySettings(screener={}),
        lambda: StrategySettings.model_validate({"nothing": 1}),
    ],
)
def test_settings_refuse_nonsense(build):
    """Levels in the wrong order, a missing market and unknown keys are errors."""
    with pytest.raises(ValueError):
        build()
