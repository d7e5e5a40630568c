"""What the record says: closed views, weights within their bounds, expected returns, independence."""

from dataclasses import replace

import numpy as np
import pytest

from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.strategies import calibration, technical
from trading.strategies.base import Inputs
from trading.strategies.calibration import Record
from trading.strategies.catalog import AGENTS, AdaptationSettings, ConfidenceSettings

AAPL, FB, GOOG, IBM, MSFT = range(5)
NAN = np.nan


def record(count, score):
    """Return the record of ``count`` closed views on one row with a mean over deviation of ``score``."""
    # Half at score + 1 and half at score - 1: mean ``score``, deviation 1.
    return Record(
        count=np.array([float(count)]),
        total=np.array([count * score]),
        squares=np.array([count * (score * score + 1.0)]),
    )


def test_a_closed_view_earns_from_open_to_open(embedded_panels):
    """In at the open after it began, out at the open after it ended, less the market's mean."""
    panel = embedded_panels[1].until(60)
    votes = np.full(panel.close.shape, NAN)
    votes[10:15, IBM] = 0.4
    votes[15:, IBM] = 0.0
    votes[20:, MSFT] = 1.0

    got = calibration.closed_views(votes, Bars(panel))

    opens = panel.open
    names = [AAPL, IBM, MSFT]
    market = np.cumprod(1.0 + np.nanmean(opens[1:, names] / opens[:-1, names] - 1.0, axis=1))
    market = np.concatenate([[1.0], market])
    earned = opens[16, IBM] / opens[11, IBM] - market[16] / market[11]
    assert got.count[15] == 0
    assert got.count[16] == got.count[-1] == 1
    assert got.total[-1] == pytest.approx(earned, rel=1e-12)
    assert got.squares[-1] == pytest.approx(earned**2, rel=1e-12)


def test_weights_follow_the_record_within_their_bounds():
    """Few closed views change nothing; many double or halve at most; shrinkage halves the power."""
    settings = AdaptationSettings()
    priors = np.array([1.0, 2.0, 0.5])

    young = calibration.agent_weights(
        priors, [record(119, 9.0), record(0, 0.0), record(5, 0)], settings
    )
    far = calibration.agent_weights(
        priors, [record(100_000, 5.0), record(100_000, -5.0), record(119, 9.0)], settings
    )
    # Mean of 0.10 and 0.00 is 0.05; 240 of 240 + 240 views: half of 0.05 / 0.25 in powers of two.
    near = calibration.agent_weights(
        priors, [record(240, 0.10), record(240, 0.0), record(0, 0.0)], settings
    )

    np.testing.assert_array_equal(young, [priors])
    np.testing.assert_array_equal(far, [[2.0, 1.0, 0.5]])
    np.testing.assert_allclose(near, [[2**0.1, 2.0 * 2**-0.1, 0.5]], atol=1e-9)
    off = settings.model_copy(update={"enabled": False})
    np.testing.assert_array_equal(
        calibration.agent_weights(priors, [record(500, 1.0)] * 3, off), [priors]
    )


def test_expected_returns_are_the_slope(embedded_panels):
    """The same slope and error as numpy's least squares over the outcomes known by then."""
    panel = embedded_panels[1].until(400)
    bars, settings = Bars(panel), ConfidenceSettings(horizon_sessions=5, prior_outcomes=20.0)
    votes = np.sign(panel.close - np.nanmean(panel.close, axis=0))[:, None, :]
    confidence, weights = np.full(votes.shape, 0.5), np.ones((400, 1))

    expected, error = calibration.expected_returns(votes, confidence, weights, bars, settings)

    t, h = 399, 5
    close = bars.close()
    y = close[h : t + 1] / close[: t + 1 - h] - 1.0
    y = y - np.nanmean(y, axis=1, keepdims=True)
    f = votes[: t + 1 - h, 0]
    known = np.isfinite(y) & np.isfinite(f)
    slope = (f[known] @ y[known]) / (f[known] @ f[known])
    residual = y[known] - slope * f[known]
    se = np.sqrt(h * (residual @ residual) / (known.sum() * (f[known] @ f[known])))
    np.testing.assert_allclose(expected[t, IBM], votes[t, 0, IBM] * slope / h, atol=2e-9)
    np.testing.assert_allclose(error[t, IBM], se / h, atol=2e-9)
    assert np.isnan(expected[:30]).all()


def test_hit_rates_are_calibrated(embedded_panels):
    """What the shipped rules are credited with and what followed differ by at most 0.05 (ECE)."""
    panel = embedded_panels[1]
    inputs = Inputs(bars=Bars(panel), features=FeatureSettings())
    settings = ConfidenceSettings()

    for name in ("ma_crossover", "rsi", "bollinger_mfi"):
        votes = AGENTS[name].votes(inputs, AGENTS[name].settings())
        rate = calibration.hit_rate(votes, inputs.bars, settings)
        found = calibration.vote_reliability(votes, rate, inputs.bars, settings)
        assert found.count.sum() > 1_000
        assert found.error <= 0.05, name


def test_triggers_have_their_own_rate(embedded_panels):
    """Row t counts the breakouts of sessions up to t, half a prior towards one half."""
    panel = embedded_panels[1].until(500)
    inputs = Inputs(bars=Bars(panel), features=FeatureSettings())
    waits = technical.breakout_triggers(inputs, technical.VolatilityBreakoutSettings())

    got = calibration.trigger_rate(waits, ConfidenceSettings(prior_outcomes=20.0))

    past = waits.outcome[:301]
    taken = np.isfinite(past)
    assert got[300] == pytest.approx(((past[taken] > 0).sum() + 10) / (taken.sum() + 20), abs=1e-9)
    assert got[0] == 0.5


def test_independent_voters_and_copies():
    """Two copies are worth one voter, two that never agree on anything are worth two."""
    base = np.array([1.0, -1.0, 1.0, -1.0])
    other = np.array([1.0, 1.0, -1.0, -1.0])
    copies = np.stack([base, base])[None].transpose(2, 1, 0)
    apart = np.stack([base, other])[None].transpose(2, 1, 0)
    silent = np.stack([base, np.full(4, NAN)])[None].transpose(2, 1, 0)

    same, none = calibration.vote_correlation(copies), calibration.vote_correlation(apart)

    np.testing.assert_allclose(same, [[1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(none, np.eye(2), atol=1e-15)
    assert calibration.effective_number(same) == pytest.approx(1.0)
    assert calibration.effective_number(none) == pytest.approx(2.0)
    assert np.isnan(calibration.vote_correlation(silent)[0, 1])


def test_names_of_a_session_are_one_outcome_of_what_was_learned(embedded_panels):
    """Twice as many names that move as one prove nothing more; of a rule they count as two."""
    panel = embedded_panels[1].until(600)
    columns = [AAPL, AAPL, IBM, IBM, MSFT, MSFT]
    names = ("open", "high", "low", "close", "volume", "tradable")
    twice = replace(
        panel,
        symbols=tuple(f"{panel.symbols[c]}{i % 2}" for i, c in enumerate(columns)),
        **{name: np.ascontiguousarray(getattr(panel, name)[:, columns]) for name in names},
    )
    votes = np.full(panel.close.shape, NAN)
    votes[:, [AAPL, IBM, MSFT]] = (0.8, -0.4, 1.0)
    settings = ConfidenceSettings()

    def rates(**learned):
        one = calibration.hit_rate(votes, Bars(panel), settings, **learned)
        two = calibration.hit_rate(votes[:, columns], Bars(twice), settings, **learned)
        return one[:, columns], two

    np.testing.assert_allclose(*rates(is_learned=True), atol=2e-9)
    one, two = rates()
    assert np.abs(one - two).max() > 0.01
