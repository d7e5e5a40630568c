"""Prints become bars; a bar closes on a timer, so a silent instrument closes with the others."""

from collections.abc import Mapping
from dataclasses import dataclass

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
