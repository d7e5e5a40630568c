"""Labels start at the next open, and say what the recorded prices did."""

from dataclasses import replace

import numpy as np
import pytest

from trading.features import statistics
from trading.features.indicators import Bars
from trading.features.labels import forward_returns, triple_barrier

AAPL, FB, GOOG, IBM, MSFT = range(5)


def test_labels_start_at_the_next_open(embedded_panels):
    """A decision at the close earns from the next open to the close of the horizon."""
    panel = embedded_panels[1].until(300)

    found = forward_returns(panel, 20)

    expected = panel.close[120, IBM] / panel.open[101, IBM] - 1
    assert found.forward[100, IBM] == expected
    others = [panel.close[120, i] / panel.open[101, i] - 1 for i in (AAPL, IBM, MSFT)]
    np.testing.assert_allclose(found.excess[100, IBM], expected - np.mean(others))
    assert np.isnan(found.forward[-20:]).all()
    assert np.isnan(found.forward[:, FB]).all()


def test_rank_labels(embedded_panels):
    """The best of three names has 5/6, the worst 1/6; without enough names there is no rank."""
    found = forward_returns(embedded_panels[1].until(300), 20)

    ranks = found.rank(min_names=3)

    best = np.nanargmax(found.forward[100])
    assert ranks[100, best] == pytest.approx(5 / 6)
    assert sorted(ranks[100][np.isfinite(ranks[100])]) == pytest.approx([1 / 6, 0.5, 5 / 6])
    assert np.isnan(found.rank(min_names=4)).all()


@pytest.fixture
def month(embedded_panels):
    """Seven sessions of one name that the tests lay their own path over."""
    panel = embedded_panels[1].until(7)
    flat = {name: np.full((7, 5), 100.0) for name in ("open", "high", "low", "close")}
    return replace(panel, **flat, tradable=np.ones((7, 5), dtype=bool))


def barriers(panel, **path):
    """Lay single cells ``name=(row, price)`` over the first name; widths are 4 % either way."""
    changed = {}
    for name, cells in path.items():
        values = getattr(panel, name).copy()
        for row, price in cells:
            values[row, 0] = price
        changed[name] = values
    volatility = np.full(panel.close.shape, 0.02)
    return triple_barrier(replace(panel, **changed), volatility, horizon=4, upper=1.0, lower=1.0)


def test_the_upper_barrier_first(month):
    """A high that reaches 100 · (1 + 0.02 · √4) = 104 ends at 104."""
    found = barriers(month, high=[(3, 104.5)], low=[(4, 90.0)])

    assert (found.side[0, 0], found.row[0, 0]) == (1.0, 3)
    assert found.earned[0, 0] == pytest.approx(0.04)


def test_the_lower_barrier_first(month):
    """A low that reaches 96 ends at 96, whatever comes later."""
    found = barriers(month, low=[(2, 95.0)], high=[(3, 120.0)])

    assert (found.side[0, 0], found.row[0, 0]) == (-1.0, 2)
    assert found.earned[0, 0] == pytest.approx(-0.04)


def test_both_in_one_bar_is_the_loss(month):
    """What a bar did first is not recorded: the loss counts."""
    found = barriers(month, low=[(2, 95.0)], high=[(2, 105.0)])

    assert found.side[0, 0] == -1.0


def test_a_gap_ends_at_the_open(month):
    """An open beyond a barrier is all that can be had."""
    found = barriers(month, open=[(2, 110.0)], high=[(2, 112.0)])
    fallen = barriers(month, open=[(2, 90.0)], low=[(2, 88.0)])

    assert found.earned[0, 0] == pytest.approx(0.10)
    assert fallen.earned[0, 0] == pytest.approx(-0.10)


def test_time_runs_out(month):
    """Without either, the close of the horizon counts; a halt on that day leaves the last one."""
    nan = float("nan")

    found = barriers(month, close=[(4, 101.0)])
    halted = barriers(month, close=[(3, 102.0), (4, nan)], high=[(4, nan)], low=[(4, nan)])

    assert (found.side[0, 0], found.row[0, 0]) == (0.0, 4)
    assert found.earned[0, 0] == pytest.approx(0.01)
    assert halted.earned[0, 0] == pytest.approx(0.02)


def test_without_a_label(month):
    """The last rows, a next session without a bar, and an untradable name have none."""
    found = barriers(month, open=[(2, float("nan"))])
    idle = triple_barrier(
        replace(month, tradable=np.zeros((7, 5), dtype=bool)),
        np.full((7, 5), 0.02), horizon=4, upper=1.0, lower=1.0,
    )  # fmt: skip

    assert np.isnan(found.side[3:]).all() and (found.row[3:] == -1).all()
    assert np.isnan(found.side[1, 0]) and found.side[1, 1] == 0.0
    assert np.isnan(idle.earned).all()


def test_barriers_left_out(month):
    """A multiple of 0 is no barrier."""
    changed = replace(month, high=np.full((7, 5), 200.0), low=np.full((7, 5), 1.0))
    volatility = np.full((7, 5), 0.02)

    only_down = triple_barrier(changed, volatility, horizon=4, upper=0.0, lower=1.0)
    neither = triple_barrier(changed, volatility, horizon=4, upper=0.0, lower=0.0)

    assert (only_down.side[:3] == -1).all()
    assert (neither.side[:3] == 0).all()


def test_the_label_is_what_the_prices_did(embedded_panels):
    """On recorded bars, against a plain loop over each path."""
    panel = embedded_panels[1].until(250)
    volatility = statistics.realized_volatility(Bars(panel), 20)

    found = triple_barrier(panel, volatility, horizon=10, upper=1.0, lower=0.5)

    for t in range(20, 240, 7):
        width = volatility[t, IBM] * 10**0.5
        entry = panel.open[t + 1, IBM]
        expected = 0.0
        for s in range(t + 1, t + 11):
            if panel.low[s, IBM] <= entry * (1 - 0.5 * width):
                expected = -1.0
            elif panel.high[s, IBM] >= entry * (1 + width):
                expected = 1.0
            if expected:
                break
        assert found.side[t, IBM] == expected
    assert set(np.unique(found.side[np.isfinite(found.side)])) == {-1.0, 0.0, 1.0}
