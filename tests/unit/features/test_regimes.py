"""The regime filter against published numbers, hmmlearn and brute force; and its rules."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.features import regimes
from trading.features.regimes import RegimeSettings

UMBRELLA = np.array([[0.9, 0.2], [0.9, 0.2], [0.1, 0.8], [0.9, 0.2], [0.9, 0.2]])
RAIN = np.array([[0.7, 0.3], [0.3, 0.7]])
HALF = np.array([0.5, 0.5])


def test_the_umbrella_is_filtered():
    """Russell and Norvig's umbrella world, the guard's belief in rain (REFERENCES 18)."""
    got = regimes.forward_filter(HALF, RAIN, UMBRELLA)

    np.testing.assert_allclose(got[:, 0], [0.8182, 0.8834, 0.1907, 0.7308, 0.8673], atol=5e-5)


def test_the_umbrella_is_smoothed():
    """Looking back, day 0 without an observation included (REFERENCES 18)."""
    unseen = np.vstack([np.full((1, 2), np.nan), UMBRELLA])

    got = regimes.smooth(HALF, RAIN, unseen)

    expected = [0.6469, 0.8673, 0.8204, 0.3075, 0.8204, 0.8673]
    np.testing.assert_allclose(got[:, 0], expected, atol=5e-5)


def test_the_fever_path():
    """Normal, cold, dizzy: healthy, healthy, fever with probability 0.01512 (REFERENCES 18)."""
    seen = np.array([[0.5, 0.1], [0.4, 0.3], [0.1, 0.6]])

    path, score = regimes.viterbi(np.array([0.6, 0.4]), np.array([[0.7, 0.3], [0.4, 0.6]]), seen)

    assert path.tolist() == [0, 0, 1]
    assert np.exp(score) == pytest.approx(0.01512, abs=5e-6)


@settings(max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 3), n=st.integers(1, 6))
def test_chains_equal_counting_every_path(seed, k, n):
    """Filter, smoother and best path are those of summing over all paths there are."""
    rng = np.random.default_rng(seed)  # two ways of computing one thing are compared
    start, transition = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), size=k)
    seen = rng.uniform(0.05, 1.0, size=(n, k))
    seen[rng.uniform(size=n) < 0.2] = np.nan
    told = np.where(np.isnan(seen), 1.0, seen)
    filtered, smoothed = np.zeros((n, k)), np.zeros((n, k))
    best = (-1.0, ())
    for path in product(range(k), repeat=n):
        weight = start[path[0]] * told[0, path[0]]
        filtered[0, path[0]] += weight if n == 1 else 0.0
        for t in range(1, n):
            weight *= transition[path[t - 1], path[t]] * told[t, path[t]]
        best = max(best, (weight, path), key=lambda one: one[0])
        for t in range(n):
            smoothed[t, path[t]] += weight
    for stop in range(1, n + 1):
        ends = np.zeros(k)
        for path in product(range(k), repeat=stop):
            weight = start[path[0]] * told[0, path[0]]
            for t in range(1, stop):
                weight *= transition[path[t - 1], path[t]] * told[t, path[t]]
            ends[path[-1]] += weight
        filtered[stop - 1] = ends / ends.sum()

    np.testing.assert_allclose(regimes.forward_filter(start, transition, seen), filtered)
    np.testing.assert_allclose(
        regimes.smooth(start, transition, seen), smoothed / smoothed.sum(axis=1, keepdims=True)
    )
    path, score = regimes.viterbi(start, transition, seen)
    assert np.exp(score) == pytest.approx(best[0])
    assert tuple(path) == best[1]


def test_an_impossible_observation_is_none():
    """What no possible state could have said leaves the prediction."""
    got = regimes.forward_filter(HALF, RAIN, np.array([[0.9, 0.2], [0.0, 0.0]]))

    np.testing.assert_allclose(got[1], RAIN.T @ got[0])


def test_filter_equals_hmmlearn(embedded_panels):
    """The last smoothed probability of an expanding window is the filtered one."""
    panel = embedded_panels[1].until(800)
    past = regimes.market_returns(panel)[0][1:]
    states = regimes._fit(past.tobytes(), 2, 50)
    model = GaussianHMM(2, covariance_type="diag")
    model.startprob_ = states.start / states.start.sum()
    model.means_ = states.mean[:, None]
    model.covars_ = states.sigma[:, None] ** 2
    model.transmat_ = states.transition / states.transition.sum(axis=1, keepdims=True)

    likelihood = regimes.gaussian_likelihood(past, states.mean, states.sigma)
    got = regimes.forward_filter(states.start, states.transition, likelihood)

    for row in (1, 10, 300, 798):
        expected = model.predict_proba(past[: row + 1, None])[-1]
        np.testing.assert_allclose(got[row], expected, atol=1e-6)


def test_the_filter_is_never_smoothed(embedded_panels):
    """The estimate of a row is the filter's: another past than the smoother's."""
    panel = embedded_panels[1].until(700)
    returns, _ = regimes.market_returns(panel)
    start = int(np.searchsorted(panel.sessions, np.datetime64("2002-12-02")))

    found = regimes.estimate(panel, RegimeSettings()).probability[start : start + 10]

    past = returns[1 : start + 1]
    states = regimes.matched(regimes._fit(past.tobytes(), 2, 50), None, equal_volatility=0.0)
    likelihood = regimes.gaussian_likelihood(returns[0 : start + 10], states.mean, states.sigma)
    filtered = regimes.forward_filter(states.start, states.transition, likelihood)
    smoothed = regimes.smooth(states.start, states.transition, likelihood)
    np.testing.assert_allclose(found, filtered[start:], atol=1e-9)
    assert np.abs(found - smoothed[start:]).max() > 0.01


def test_states_are_ordered_and_2008_is_turbulent(embedded_panels):
    """The first state is the calm one; the autumn of 2008 was not calm, 2005 was."""
    panel = embedded_panels[1]

    result = regimes.estimate(panel, RegimeSettings())

    crash = np.searchsorted(panel.sessions, np.datetime64("2008-10-15"))
    quiet = np.searchsorted(panel.sessions, np.datetime64("2005-07-15"))
    assert result.name(int(crash)) == "turbulent"
    assert result.name(int(quiet)) == "calm"
    assert result.name(10) == "unknown"
    assert result.from_index[1:].all()


def states_of(*pairs: tuple[float, float]) -> regimes.States:
    k = len(pairs)
    return regimes.States(
        start=np.full(k, 1 / k),
        mean=np.array([mean for mean, _ in pairs]),
        sigma=np.array([sigma for _, sigma in pairs]),
        transition=np.arange(k * k, dtype=float).reshape(k, k),
    )


def test_states_of_like_volatility_keep_their_names():
    """Where two fits only exchange states of nearly equal volatility, names stay with the means."""
    before = states_of((0.002, 0.0100), (-0.002, 0.0104))
    fitted = states_of((0.002, 0.0105), (-0.002, 0.0101))

    kept = regimes.matched(fitted, before, equal_volatility=0.15)
    by_volatility = regimes.matched(fitted, None, equal_volatility=0.15)

    assert kept.mean.tolist() == [0.002, -0.002]
    assert by_volatility.mean.tolist() == [-0.002, 0.002]
    # A whole state moves: its row and its column of the transitions.
    assert by_volatility.transition.tolist() == [[3.0, 2.0], [1.0, 0.0]]


def test_a_clearly_wilder_state_is_never_the_calm_one():
    """Whatever the month before said, names follow volatility where it differs."""
    before = states_of((0.0, 0.0100), (0.001, 0.0101))
    fitted = states_of((0.001, 0.0080), (0.0, 0.0200))

    got = regimes.matched(fitted, before, equal_volatility=0.15)

    assert got.sigma.tolist() == [0.0080, 0.0200]


def test_three_states_are_matched_pairwise():
    """Only the like ones among three are exchanged."""
    before = states_of((0.001, 0.0100), (-0.001, 0.0103), (0.0, 0.0300))
    fitted = states_of((0.0, 0.0310), (0.001, 0.0104), (-0.001, 0.0100))

    got = regimes.matched(fitted, before, equal_volatility=0.10)

    assert got.mean.tolist() == [0.001, -0.001, 0.0]


def test_a_new_fit_needs_the_probability_to_switch(embedded_panels):
    """On the first session of a month the regime of the day before holds, as on any other day."""
    panel = embedded_panels[1]
    settings = RegimeSettings()

    found = regimes.estimate(panel, settings)

    months = panel.sessions.astype("datetime64[M]").astype(int)
    inside_a_year = np.flatnonzero((months[1:] != months[:-1]) & (months[1:] % 12 != 0)) + 1
    switched = inside_a_year[
        (found.state[inside_a_year] != found.state[inside_a_year - 1])
        & (found.state[inside_a_year - 1] != regimes.UNKNOWN)
    ]
    reached = found.probability[switched, found.state[switched]]
    assert (reached >= settings.switch_probability).all()


def test_first_row_changes_no_later_row(embedded_panels):
    """Estimating only the last rows gives what estimating all of them gives."""
    panel = embedded_panels[1].until(1500)
    settings = RegimeSettings()

    whole = regimes.estimate(panel, settings)
    # In the middle of a year, on its first session, on its last one, and after the end.
    first, last = (int(np.searchsorted(panel.sessions, np.datetime64(day)))
                   for day in ("2005-01-03", "2004-12-31"))  # fmt: skip
    for row in (1450, first, last, 1499, 1500):
        tail = regimes.estimate(panel, settings, first_row=row)

        np.testing.assert_array_equal(whole.state[row:], tail.state[row:])
        np.testing.assert_array_equal(whole.probability[row:], tail.probability[row:])
        assert (tail.state[:row] == regimes.UNKNOWN).all()


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
    turbulent = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.95, 0.8, 0.35])
    probability = np.column_stack([1 - turbulent, turbulent])

    assert regimes.hold(probability, 0.5, -1).tolist() == [0, 0, 0, 1, 0, 1, 1, 0]
    assert regimes.hold(probability, 0.9, -1).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    # Whoever held before goes on holding.
    assert regimes.hold(probability, 0.95, 1).tolist() == [1] * 8


def test_flat_returns_have_no_regime():
    """Without any variation there is nothing to estimate."""
    assert regimes._fit(np.zeros(300).tobytes(), 2, 50) is None


def test_minimum_above_the_window_is_refused():
    """The window must hold the minimum."""
    with pytest.raises(ValueError):
        RegimeSettings(window_sessions=200, min_sessions=300)


def test_far_beyond_every_state_is_the_widest(embedded_panels):
    """A move of a million deviations is the wild state's; a missing one says nothing."""
    mean, sigma = np.zeros(2), np.array([0.01, 0.03])

    got = regimes.gaussian_likelihood(np.array([1e4, np.nan, 0.0]), mean, sigma)

    assert got[0].tolist() == [0.0, 1.0]
    assert np.isnan(got[1]).all()
    np.testing.assert_allclose(got[2], [1.0, 1 / 3])


def test_compiled_equals_interpreted(embedded_panels):
    """The machine code gives what the Python text says, missing returns included."""
    returns = regimes.market_returns(embedded_panels[1].until(300))[0]
    returns[50] = np.nan
    start, transition = HALF, np.array([[0.9, 0.1], [0.1, 0.9]])

    def run(name):
        function = getattr(regimes, name)
        plain = getattr(function, "py_func", function)
        return lambda *given: (function(*given), plain(*given))

    likelihood, text = run("gaussian_likelihood")(returns, np.zeros(2), np.array([0.01, 0.02]))
    np.testing.assert_allclose(likelihood, text, rtol=1e-12)
    filtered, text = run("forward_filter")(start, transition, likelihood)
    np.testing.assert_allclose(filtered, text, rtol=1e-12)
    np.testing.assert_array_equal(*run("hold")(filtered, 0.7, -1))
    np.testing.assert_array_equal(
        *(path for path, _ in run("viterbi")(start, transition, likelihood))
    )
