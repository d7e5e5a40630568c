"""Prints become bars; a bar closes on a timer, so a silent instrument closes with the others.

``merge`` does for arrays what ``BarBuilder`` does print by print.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from trading.domain.arrays import IntArray
from trading.domain.market import Tick

Ohlcv = tuple[int, int, int, int, int]


@dataclass(slots=True)
class _Open:
    open: int
    high: int
    low: int
    close: int
    volume: int


class BarBuilder:
    """The running bar of every instrument that printed since the last close."""

    def __init__(self) -> None:
        self._bars: dict[str, _Open] = {}

    def add(self, tick: Tick) -> None:
        """Take one print into the running bar of its instrument."""
        bar = self._bars.get(tick.symbol)
        if bar is None:
            price = tick.price
            self._bars[tick.symbol] = _Open(price, price, price, price, tick.volume)
            return
        bar.high = max(bar.high, tick.price)
        bar.low = min(bar.low, tick.price)
        bar.close = tick.price
        bar.volume += tick.volume

    def close(self) -> Mapping[str, Ohlcv]:
        """Return the finished bars as (open, high, low, close, volume) and begin new ones."""
        finished = {
            symbol: (bar.open, bar.high, bar.low, bar.close, bar.volume)
            for symbol, bar in self._bars.items()
        }
        self._bars.clear()
        return finished


@njit(cache=True)
def merge(
    group: IntArray,
    open_: IntArray,
    high: IntArray,
    low: IntArray,
    close: IntArray,
    volume: IntArray,
) -> tuple[IntArray, IntArray]:
    """Merge prints, or bars, into wider bars.

    Parameters
    ----------
    group : ndarray of shape (n,)
        Which wider bar a row belongs to; the rows of one follow each other in order of time.
    open_, high, low, close, volume : ndarray of shape (n,)
        A print has its price four times. A price of 0 says that only the volume counts.

    Returns
    -------
    tuple of ndarray
        The row at which each bar begins, and its (open, high, low, close, volume); a bar without
        any price has 0 there.
    """
    first = np.empty(len(group), dtype=np.int64)
    bars = np.zeros((len(group), 5), dtype=np.int64)
    n = -1
    for row in range(len(group)):
        if row == 0 or group[row] != group[row - 1]:
            n += 1
            first[n] = row
        bars[n, 4] += volume[row]
        if open_[row] <= 0:
            continue
        if bars[n, 0] == 0:
            bars[n, 0], bars[n, 1], bars[n, 2] = open_[row], high[row], low[row]
        bars[n, 1] = max(bars[n, 1], high[row])
        bars[n, 2] = min(bars[n, 2], low[row])
        bars[n, 3] = close[row]
    return first[: n + 1], bars[: n + 1]
