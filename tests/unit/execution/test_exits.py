"""Stops at and beside their level."""

import numpy as np
import pytest

from trading.execution.exits import ExitRule, exit_terms, exits, rule_rows
from trading.strategies.base import ExitRules


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


def test_the_nearer_distance_counts():
    """Of a fraction and of a multiple of the range the nearer one is the stop; none is off."""
    own = {"breakout": ExitRules(stop_loss=0.08, stop_atr=2.0, profit_atr=3.0, max_sessions=1)}
    rules = rule_rows(("ma", "breakout"), own, ExitRules(trailing_stop=0.29, cooldown_sessions=7))

    terms = exit_terms(rules, np.array([1, 1, 0, -1]), np.array([0.03, 0.05, 0.03, np.nan]))

    assert terms.tolist() == [
        [600, 0, 900, 1, 0],
        [800, 0, 1_500, 1, 0],
        [0, 2_900, 0, 0, 7],
        [0, 2_900, 0, 0, 7],
    ]


def test_a_range_that_nobody_knows():
    """A multiple of an unknown range is off; the fraction beside it holds."""
    rules = rule_rows((), {}, ExitRules(stop_loss=0.0001, stop_atr=2.0, trailing_atr=1.0))

    (terms,) = exit_terms(rules, np.array([-1]), np.array([np.nan])).tolist()

    assert terms == [1, 0, 0, 0, 0]


def test_the_nearest_and_the_furthest_distance():
    """A range far too wide leaves a stop at the last basis point, one next to nothing at the first."""
    rules = rule_rows((), {}, ExitRules(stop_atr=2.0, trailing_atr=3.0, profit_atr=2.0))

    wide, narrow = exit_terms(rules, np.array([-1, -1]), np.array([0.6, 1e-6])).tolist()

    assert wide == [9_999, 9_999, 12_000, 0, 0]
    assert narrow == [1, 1, 1, 0, 0]
