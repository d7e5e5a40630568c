"""Measures of single outcomes, such as the results of closed trades, and whose they were."""

import math
from collections.abc import Mapping

import numpy as np

from trading.domain.arrays import FloatArray


def hit_rate(outcomes: FloatArray) -> float:
    """Return the share of gains among outcomes that are not zero; NaN when there is none."""
    decided = outcomes[outcomes != 0]
    return float(np.mean(decided > 0)) if len(decided) else math.nan


def payoff_ratio(outcomes: FloatArray) -> float:
    """Return the mean gain over the mean loss; NaN without a gain or without a loss."""
    gains, losses = outcomes[outcomes > 0], outcomes[outcomes < 0]
    if not len(gains) or not len(losses):
        return math.nan
    return float(np.mean(gains) / -np.mean(losses))


def profit_factor(outcomes: FloatArray) -> float:
    """Return all gains over all losses, 0 without a gain; NaN without a loss."""
    lost = -float(np.sum(outcomes[outcomes < 0]))
    return float(np.sum(outcomes[outcomes > 0])) / lost if lost > 0 else math.nan


def attribution(amount: int, credit: Mapping[str, float]) -> dict[str, int]:
    """Return ``amount`` divided among the names of ``credit`` by their shares, to the last unit.

    Shares are positive and need not add up to 1. What rounding leaves over goes to those with the
    largest fractions, the first of equals; without any credit everything belongs to ``""``.
    """
    total = sum(credit.values())
    if not total > 0:
        return {"": amount}
    size, sign = abs(amount), 1 if amount >= 0 else -1
    exact = {name: size * share / total for name, share in credit.items()}
    whole = {name: int(part) for name, part in exact.items()}
    left = size - sum(whole.values())
    order = sorted(credit, key=lambda name: whole[name] - exact[name])
    for k in range(abs(left)):
        whole[order[k % len(order)]] += 1 if left > 0 else -1
    return {name: sign * part for name, part in whole.items()}
