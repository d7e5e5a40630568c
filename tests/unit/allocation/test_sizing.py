"""How large a position is wished: by volatility, by range, by Kelly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trading.allocation.optimize import AllocationMethod
from trading.allocation.sizing import (
    SizingMethod,
    SizingSettings,
    atr_weights,
    kelly_weights,
    size,
    volatility_weights,
)

EVERYONE = np.ones(4, dtype=bool)


def test_equal_volatility():
    """target / sigma for members; 0 for others and for those without a known volatility."""
    members = np.array([True, True, False, True, True])
    sigma = np.array([0.30, 0.15, 0.30, np.nan, 0.0])

    weights = volatility_weights(members, sigma, 0.03)

    np.testing.assert_allclose(weights, [0.1, 0.2, 0.0, 0.0, 0.0])


def test_range_loses_the_stated_risk():
    """A fall of two ranges costs half a percent of equity: 0.005 / (2 × 2 %) = 12.5 %."""
    atr = np.array([0.02, 0.05, np.nan, 0.0])

    weights = atr_weights(EVERYONE, atr, 0.005, 2.0)

    np.testing.assert_allclose(weights, [0.125, 0.05, 0.0, 0.0])
    np.testing.assert_allclose(weights[:2] * 2.0 * atr[:2], 0.005)


def test_kelly_closed_form():
    """A quarter of μ / σ² (REFERENCES 22): 0.25 × 0.04 / 0.04; doubt in the mean is variance."""
    expected = np.array([0.04, 0.04, -0.04, 0.04])
    error = np.array([0.0, 0.2, 0.0, 0.1])
    volatility = np.array([0.2, 0.2, 0.2, 0.3])

    weights = kelly_weights(EVERYONE, expected, error, volatility, 0.25)

    np.testing.assert_allclose(weights, [0.25, 0.125, 0.0, 0.1])


@pytest.mark.parametrize("hole", [0, 1, 2])
def test_kelly_does_not_guess(hole):
    """Without mean, error or volatility the weight is 0."""
    known = [np.full(4, 0.1), np.full(4, 0.1), np.full(4, 0.3)]
    known[hole][1] = np.nan

    weights = kelly_weights(EVERYONE, *known, 0.25)

    assert weights[1] == 0.0
    assert weights[0] > 0.0


@given(
    expected=st.lists(st.floats(-1.0, 5.0), min_size=4, max_size=4),
    error=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    volatility=st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4),
    members=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_kelly_never_lends(expected, error, volatility, members):
    """Gross is at most 1, weights are never negative, and what is scaled keeps its proportions."""
    who = np.array(members)

    weights = kelly_weights(who, np.array(expected), np.array(error), np.array(volatility), 0.25)

    bets = np.maximum(0.25 * np.array(expected), 0.0) / (
        np.array(volatility) ** 2 + np.array(error) ** 2
    )
    bets = np.where(who, bets, 0.0)
    assert weights.sum() <= 1.0 + 1e-15
    np.testing.assert_allclose(weights, bets / max(bets.sum(), 1.0), rtol=1e-12)


def test_more_than_a_quarter_of_kelly_is_refused():
    """The settings do not take a fraction above a quarter."""
    assert SizingSettings(kelly_fraction=0.25).kelly_fraction == 0.25
    with pytest.raises(ValidationError):
        SizingSettings(kelly_fraction=0.26)


def test_every_optimizer_has_a_name():
    """Each method of ``allocation.optimize`` is a sizing method of the same name, and no other."""
    assert {m.optimized for m in SizingMethod} - {None} == set(AllocationMethod)
    assert SizingSettings(method="equal_risk").method.optimized is AllocationMethod.EQUAL_RISK
    with pytest.raises(ValidationError, match=r"sizing\.method 는"):
        SizingSettings(method="best")


@pytest.mark.parametrize("method", [m for m in SizingMethod if m.optimized is None])
def test_one_door(method):
    """``size`` gives what the method of that name gives."""
    volatility, atr = np.array([0.3, 0.2, 0.5, np.nan]), np.array([0.02, 0.03, 0.04, np.nan])
    expected, error = np.array([0.1, 0.2, -0.1, 0.1]), np.full(4, 0.05)
    direct = {
        SizingMethod.VOLATILITY: volatility_weights(EVERYONE, volatility, 0.03),
        SizingMethod.ATR: atr_weights(EVERYONE, atr, 0.005, 2.0),
        SizingMethod.KELLY: kelly_weights(EVERYONE, expected, error, volatility, 0.25),
    }

    weights = size(int(method), EVERYONE, volatility, atr, expected, error, 0.03, 0.005, 2.0, 0.25)

    np.testing.assert_array_equal(weights, direct[method])
