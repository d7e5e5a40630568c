"""Votes become a forecast: hand numbers, abstention, and thresholds met to the last bit."""

import numpy as np
import pytest

from trading.domain.decision import Verdict
from trading.ensemble import NOBODY, blend, combine

NAN = float("nan")


def combined(votes, **changes):
    """Return (forecast, confidence, member, verdict) of one instrument that may be bought."""
    votes = np.array(votes, dtype=np.float64).reshape(-1, 1)
    n = len(votes)
    settings = {
        "confidence": np.full((n, 1), 0.5),
        "weights": np.ones(n),
        "held_weights": np.array([0.0]),
        "screened": np.array([True]),
        "tradable": np.array([True]),
        "expired": np.array([False]),
        "name_var": np.array([0.02]),
        "entry_forecast": 0.5,
        "exit_forecast": 0.0,
        "min_confidence": 0.7,
        "max_entry_var": 0.05,
        "regime_scale": 1.0,
    } | changes
    forecast, confidence, _, member, verdict = combine(votes, *settings.values())
    return forecast[0], confidence[0], bool(member[0]), Verdict(int(verdict[0]))


def test_hand_numbers():
    """Priors 1, 2, 1 and hit rates 0.5, 0.6, 0.8 of votes 1, 0.5 and -0.25.

    Weights 0.5, 1.2, 0.8: forecast (0.5 + 0.6 - 0.2) / 2.5 = 0.36, agreeing 1.7 / 2.5 = 0.68.
    """
    forecast, confidence, _, verdict = combined(
        [1.0, 0.5, -0.25],
        confidence=np.array([[0.5], [0.6], [0.8]]),
        weights=np.array([1.0, 2.0, 1.0]),
    )

    assert (forecast, confidence) == (0.36, 0.68)
    assert verdict is Verdict.BELOW_ENTRY_FORECAST


def test_who_abstains_does_not_count():
    """NaN is no view: neither for nor against."""
    assert combined([0.8, NAN, 0.6])[:2] == combined([0.8, 0.6])[:2]
    assert combined([NAN, NAN]) == (0.0, 0.0, False, Verdict.ABSTAIN)
    assert combined([0.9], weights=np.zeros(1)) == (0.0, 0.0, False, Verdict.ABSTAIN)


def test_the_leader_pulls_hardest():
    """Of the votes on the forecast's side the heaviest leads, the first of equals; none on 0."""
    votes = np.array([[0.5, 1.0, 0.0], [0.9, 1.0, NAN], [-1.0, -1.0, NAN]])

    forecast, agreement, leader = blend(votes, np.full((3, 3), 0.5), np.array([2.0, 1.0, 0.5]))

    # (1.0 + 0.9 - 0.5) / 3.5, (2 + 1 - 0.5) / 3.5, 0.
    np.testing.assert_allclose(forecast, [0.4, 2.5 / 3.5, 0.0], atol=1e-9)
    np.testing.assert_allclose(agreement, [3.0 / 3.5, 3.0 / 3.5, 0.0], atol=1e-9)
    assert list(leader) == [0, 0, NOBODY]
    # Equal but for the last bit: 0.1 × 0.7 × 0.9 and 0.3 × 0.7 × 0.3, in either order.
    for weights, votes in (([0.1, 0.3], [0.3, 0.1]), ([0.3, 0.1], [0.1, 0.3])):
        three = np.array([[votes[0] * 3], [votes[1] * 3]])
        _, _, first = blend(three, np.full((2, 1), 0.7), np.array(weights))
        assert first[0] == 0


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_exactly_at_a_threshold(threshold):
    """At the entry forecast nothing is bought; at the minimum confidence it is."""
    at = combined([threshold], entry_forecast=threshold, min_confidence=1.0)
    # Sums whose last bit is off: ten tenths of the threshold.
    off = combined([threshold] * 10, entry_forecast=threshold, min_confidence=1.0)
    above = combined([threshold + 1e-8], entry_forecast=threshold, min_confidence=1.0)
    agreeing = combined(
        [1.0, -1e-6],
        confidence=np.array([[threshold], [1.0 - threshold]]),
        entry_forecast=-1.0,
        min_confidence=threshold,
    )

    assert at[3] is Verdict.BELOW_ENTRY_FORECAST
    assert off[3] is Verdict.BELOW_ENTRY_FORECAST
    assert off[0] == threshold
    assert above[3] is Verdict.ALLOWED
    assert (agreeing[1], agreeing[3]) == (threshold, Verdict.ALLOWED)


@pytest.mark.parametrize(
    ("votes", "changes", "verdict"),
    [
        ([1.0], {"tradable": np.array([False])}, Verdict.NOT_TRADABLE),
        ([NAN], {}, Verdict.ABSTAIN),
        ([1.0], {"screened": np.array([False])}, Verdict.NOT_SCREENED),
        ([0.5], {}, Verdict.BELOW_ENTRY_FORECAST),
        ([1.0, 1.0, -0.1], {}, Verdict.BELOW_MIN_CONFIDENCE),
        ([1.0], {"name_var": np.array([0.0500001])}, Verdict.ENTRY_VAR),
        ([1.0], {"name_var": np.array([NAN])}, Verdict.ENTRY_VAR),
        ([1.0], {"name_var": np.array([0.05])}, Verdict.ALLOWED),
        ([1.0], {"regime_scale": 0.0}, Verdict.REGIME_BLOCK),
    ],
)
def test_why_nothing_is_bought(votes, changes, verdict):
    """Each reason has its verdict, in this order."""
    *_, member, found = combined(votes, **changes)

    assert found is verdict
    assert member is (verdict is Verdict.ALLOWED)


@pytest.mark.parametrize(
    ("votes", "changes", "verdict"),
    [
        ([0.01], {}, Verdict.ALLOWED),
        ([0.0], {}, Verdict.EXIT_SIGNAL),
        ([-0.5], {}, Verdict.EXIT_SIGNAL),
        # No view, no market, no screen and a bad regime are no reasons to sell.
        ([NAN], {}, Verdict.ALLOWED),
        ([-0.5], {"tradable": np.array([False])}, Verdict.NOT_TRADABLE),
        ([0.9], {"expired": np.array([True])}, Verdict.TIME_STOP),
        ([0.01], {"screened": np.array([False])}, Verdict.ALLOWED),
        ([0.01], {"regime_scale": 0.0}, Verdict.ALLOWED),
        ([0.01], {"name_var": np.array([NAN])}, Verdict.ALLOWED),
    ],
)
def test_what_is_held(votes, changes, verdict):
    """A holding leaves on a forecast at or below the exit, when its time is over, and on nothing else."""
    *_, member, found = combined(votes, held_weights=np.array([0.08]), **changes)

    assert found is verdict
    assert member is (verdict is Verdict.ALLOWED)
