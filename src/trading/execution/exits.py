"""When a holding must go: stop-loss, trailing stop, take-profit, on every print.

Kept by the engine, not by the venue: a stop needs a living engine, and a gap fills where the
market opens (docs/operations.md). Which rules hold for a position is settled when it is entered:
those of the strategy that led into it, with the average true range of that morning.
"""

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray
from trading.strategies.base import ExitRules

BASIS_POINTS = 10_000
# A stop further away than the whole price is none.
_WHOLE = BASIS_POINTS - 1

# Columns of ``exit_terms``: distances in basis points, sessions; 0 is off.
STOP, TRAIL, PROFIT, MAX_SESSIONS, COOLDOWN = range(5)
N_TERMS = 5


class ExitRule(IntEnum):
    """Which rule sold; the name in lower case is the order's ``reason``."""

    NONE = 0
    STOP_LOSS = 1
    TRAILING_STOP = 2
    TAKE_PROFIT = 3


_STOP_LOSS = int(ExitRule.STOP_LOSS)
_TRAILING_STOP = int(ExitRule.TRAILING_STOP)
_TAKE_PROFIT = int(ExitRule.TAKE_PROFIT)


@njit(cache=True)
def exits(
    quantity: int,
    cost: int,
    peak: int,
    price: int,
    stop_bps: int,
    trailing_bps: int,
    profit_bps: int,
) -> int:
    """Return the ``ExitRule`` that a print at ``price`` triggers for one holding.

    ``cost`` is the total paid for ``quantity``, so a split moves the level with the shares;
    ``peak`` is the highest print since entry. A rule of 0 basis points is off. A loss is
    checked before a profit.
    """
    if quantity <= 0:
        return 0
    value = price * quantity * BASIS_POINTS
    if stop_bps > 0 and value <= cost * (BASIS_POINTS - stop_bps):
        return _STOP_LOSS
    if trailing_bps > 0 and price * BASIS_POINTS <= peak * (BASIS_POINTS - trailing_bps):
        return _TRAILING_STOP
    if profit_bps > 0 and value >= cost * (BASIS_POINTS + profit_bps):
        return _TAKE_PROFIT
    return 0


@njit(cache=True)
def exit_terms(rules: FloatArray, leader: IntArray, atr: FloatArray) -> IntArray:
    """Return the exit terms of what would be entered now, of shape ``(n_instruments, N_TERMS)``.

    Parameters
    ----------
    rules : ndarray of shape (n_agents + 1, 8)
        As from ``rule_rows``; the last row is for a name that nobody leads.
    leader : ndarray of shape (n_instruments,)
        The agent that leads, -1 for nobody.
    atr : ndarray of shape (n_instruments,)
        Average true range as a fraction of the price; a multiple of an unknown one is off.
    """
    n = leader.shape[0]
    terms = np.zeros((n, N_TERMS), dtype=np.int64)
    for i in range(n):
        row = rules[leader[i]]
        terms[i, STOP] = min(_nearer(row[0], row[1], atr[i]), _WHOLE)
        terms[i, TRAIL] = min(_nearer(row[2], row[3], atr[i]), _WHOLE)
        terms[i, PROFIT] = _nearer(row[4], row[5], atr[i])
        terms[i, MAX_SESSIONS] = int(row[6])
        terms[i, COOLDOWN] = int(row[7])
    return terms


@njit(cache=True)
def _nearer(fraction: float, multiple: float, atr: float) -> int:
    distance = math.inf
    if fraction > 0.0:
        distance = fraction
    if multiple > 0.0 and atr > 0.0:
        distance = min(distance, multiple * atr)
    return 0 if distance == math.inf else max(1, int(distance * BASIS_POINTS + 0.5))


def rule_rows(agents: Sequence[str], own: Mapping[str, ExitRules], others: ExitRules) -> FloatArray:
    """Return the exit rules of each agent, then of nobody, as ``exit_terms`` reads them."""
    return np.array([_row(own.get(name, others)) for name in agents] + [_row(others)])


def _row(rules: ExitRules) -> list[float]:
    values = (
        rules.stop_loss,
        rules.stop_atr,
        rules.trailing_stop,
        rules.trailing_atr,
        rules.take_profit,
        rules.profit_atr,
        rules.max_sessions,
        rules.cooldown_sessions,
    )
    return [0.0 if value is None else float(value) for value in values]
