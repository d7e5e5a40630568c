"""Stops at and beside their level."""

import pytest

from trading.execution.exits import ExitRule, basis_points, exits


@pytest.mark.parametrize(
    ("price", "peak", "bps", "rule"),
    [
        # Ten shares for 1,000 in all: 92 is 8 % below the average of 100.
        (93, 100, (800, 0, 0), ExitRule.NONE),
        (92, 100, (800, 0, 0), ExitRule.STOP_LOSS),
        (92, 100, (0, 0, 0), ExitRule.NONE),
        # 5 % below the highest print of 140 is 133.
        (134, 140, (0, 500, 0), ExitRule.NONE),
        (133, 140, (0, 500, 0), ExitRule.TRAILING_STOP),
        # 20 % above the purchase.
        (119, 119, (0, 0, 2_000), ExitRule.NONE),
        (120, 120, (0, 0, 2_000), ExitRule.TAKE_PROFIT),
        # A loss comes before a trail, a trail before a profit.
        (92, 100, (800, 500, 0), ExitRule.STOP_LOSS),
        (120, 140, (0, 500, 2_000), ExitRule.TRAILING_STOP),
    ],
)
def test_levels(price, peak, bps, rule):
    """A rule fires at its level, not a unit before."""
    assert ExitRule(exits(10, 1_000, peak, price, *bps)) is rule


def test_a_split_moves_the_level():
    """Twice the shares for the same money: the stop is at half the price."""
    assert exits(20, 1_000, 50, 47, 800, 0, 0) == ExitRule.NONE
    assert exits(20, 1_000, 50, 46, 800, 0, 0) == ExitRule.STOP_LOSS


def test_nothing_held():
    """Nothing can be sold."""
    assert exits(0, 0, 100, 1, 800, 500, 0) == ExitRule.NONE


def test_basis_points():
    """Null is off; fractions are whole basis points, not a float's neighbour."""
    assert [basis_points(x) for x in (None, 0.08, 0.29, 0.0001)] == [0, 800, 2_900, 1]
