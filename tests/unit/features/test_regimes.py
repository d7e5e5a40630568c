"""The regime filter against hmmlearn's own, and its rules."""

from dataclasses import replace

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM

from trading.features import regimes
from trading.features.pipeline import RegimeSettings


def test_filter_equals_hmmlearn(embedded_panels):
    """The last smoothed probability of an expanding window is the filtered one."""
    panel = embedded_panels[1].until(800)
    returns, _ = regimes.market_returns(panel)
    past = returns[1:]
    center, scale, parameters = regimes._fit(past.tobytes(), 2, 50)
    z = (past - center) / scale
    model = GaussianHMM(2, covariance_type="diag")
    model.startprob_ = parameters[:, 0] / parameters[:, 0].sum()
    model.means_ = parameters[:, 1:2]
    model.covars_ = parameters[:, 2:3]
    model.transmat_ = parameters[:, 3:] / parameters[:, 3:].sum(axis=1, keepdims=True)

    got, _ = regimes._filter(z, parameters, 0.7)

    for row in (1, 10, 300, 798):
        np.testing.assert_allclose(got[row], model.predict_proba(z[: row + 1, None])[-1], atol=1e-6)


def test_states_are_ordered_and_2008_is_turbulent(embedded_panels):
    """The first state is the calm one; the autumn of 2008 was not calm, 2005 was."""
    panel = embedded_panels[1]

    result = regimes.estimate(panel, RegimeSettings())

    _, _, parameters = regimes._fit(regimes.market_returns(panel)[0][1:1009].tobytes(), 2, 50)
    assert parameters[0, 2] < parameters[1, 2]
    crash = np.searchsorted(panel.sessions, np.datetime64("2008-10-15"))
    quiet = np.searchsorted(panel.sessions, np.datetime64("2005-07-15"))
    assert result.name(int(crash)) == "turbulent"
    assert result.name(int(quiet)) == "calm"
    assert result.name(10) == "unknown"
    assert result.from_index[1:].all()


def test_first_row_changes_no_later_row(embedded_panels):
    """Estimating only the last rows gives what estimating all of them gives."""
    panel = embedded_panels[1].until(1500)
    settings = RegimeSettings()

    whole = regimes.estimate(panel, settings)
    tail = regimes.estimate(panel, settings, first_row=1450)

    np.testing.assert_array_equal(whole.state[1450:], tail.state[1450:])
    np.testing.assert_array_equal(whole.probability[1450:], tail.probability[1450:])
    assert (tail.state[:1450] == regimes.UNKNOWN).all()


def test_without_an_index_the_universe_stands_in(embedded_panels):
    """Where no index was recorded the equal-weight return of the names is used, and said so."""
    panel = embedded_panels[1].until(400)
    bare = replace(panel, benchmark=np.full(400, np.nan))

    returns, from_index = regimes.market_returns(bare)

    assert not from_index.any()
    change = panel.close[100] / panel.close[99] - 1
    np.testing.assert_allclose(returns[100], np.nanmean(change), rtol=1e-12)
    three = regimes.estimate(bare, RegimeSettings(states=3))
    assert three.names == ("calm", "normal", "turbulent")
    assert (three.state[300:] != regimes.UNKNOWN).any()


def test_hysteresis_holds_a_regime():
    """A probability between 0.5 and the switch level changes nothing."""
    parameters = np.array([[0.5, 0.0, 0.5, 0.6, 0.4], [0.5, 0.0, 3.0, 0.4, 0.6]])
    z = np.array([0.0, 0.0, 0.0, 1.6, 0.0, 6.0, 1.6])

    probability, loose = regimes._filter(z, parameters, 0.5)
    _, strict = regimes._filter(z, parameters, 0.9)

    assert probability[3, 1] > 0.5
    assert loose.tolist() == [0, 0, 0, 1, 0, 1, 1]
    assert strict.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_flat_returns_have_no_regime():
    """Without any variation there is nothing to estimate."""
    assert regimes._fit(np.zeros(300).tobytes(), 2, 50) is None


def test_minimum_above_the_window_is_refused():
    """The window must hold the minimum."""
    with pytest.raises(ValueError):
        RegimeSettings(window_sessions=200, min_sessions=300)


def test_compiled_filter_equals_interpreted(embedded_panels):
    """The machine code gives what the Python text says, missing returns included."""
    panel = embedded_panels[1].until(300)
    z = regimes.market_returns(panel)[0] / 0.013
    z[50] = np.nan
    z[60] = 1e6  # beyond what either state explains: the wide one
    parameters = np.array([[0.5, 0.0, 0.5, 0.9, 0.1], [0.5, 0.0, 3.0, 0.1, 0.9]])
    plain = getattr(regimes._filter, "py_func", regimes._filter)

    compiled, interpreted = regimes._filter(z, parameters, 0.7), plain(z, parameters, 0.7)

    np.testing.assert_allclose(compiled[0], interpreted[0], atol=1e-9)
    np.testing.assert_array_equal(compiled[1], interpreted[1])
    assert compiled[0][60].tolist() == [0.0, 1.0]
