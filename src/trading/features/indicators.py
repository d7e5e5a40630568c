"""TA-Lib indicators per instrument, on its own bars.

Statistics that TA-Lib does not have are in ``statistics``; ranks across names in
``cross_section``.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import AdjustedPanel


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The bars of one instrument, without its halts and without rows before its listing."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


class Bars:
    """The panel seen as one contiguous series of bars per instrument.

    A halt is no bar: an indicator does not see it, and its last value is carried over the halt.
    Warm-up counts from the instrument's own first bar. Lines are computed once per key, so
    strategies, features and a parameter sweep share them.
    """

    def __init__(self, panel: AdjustedPanel) -> None:
        self.shape: tuple[int, int] = panel.close.shape
        self.tradable: BoolArray = panel.tradable
        self.valid: BoolArray = (
            np.isfinite(panel.open)
            & np.isfinite(panel.high)
            & np.isfinite(panel.low)
            & np.isfinite(panel.close)
            & np.isfinite(panel.volume)
        )
        # Position of the last own bar at each row; -1 before the first one.
        self.age: IntArray = np.cumsum(self.valid, axis=0, dtype=np.int64) - 1
        self._columns = [
            Column(
                open=panel.open[rows, i],
                high=panel.high[rows, i],
                low=panel.low[rows, i],
                close=panel.close[rows, i],
                volume=panel.volume[rows, i],
            )
            for i, rows in enumerate(self.valid.T)
        ]
        self._lines: dict[Hashable, FloatArray] = {}

    def line(self, key: Hashable, function: Callable[[Column], FloatArray]) -> FloatArray:
        """Return ``function`` of every instrument's own bars, spread over the sessions.

        ``key`` names the function and its parameters; the same key is computed once.
        """
        if key not in self._lines:
            out = np.full(self.shape, np.nan)
            for i, column in enumerate(self._columns):
                if len(column.close):
                    own = function(column)
                    age = self.age[:, i]
                    out[:, i] = np.where(age >= 0, own[age], np.nan)
            self._lines[key] = out
        return self._lines[key]

    def close(self) -> FloatArray:
        """Return the close, carried over halts."""
        return self.line("close", lambda column: column.close)


def sma(bars: Bars, window: int) -> FloatArray:
    """Return the simple moving average of the close over ``window`` bars, in price units."""
    import talib

    return bars.line(("sma", window), lambda column: _floats(talib.SMA(column.close, window)))


def ema(bars: Bars, window: int) -> FloatArray:
    """Return the exponential moving average of the close, seeded with the first simple one."""
    import talib

    return bars.line(("ema", window), lambda column: _floats(talib.EMA(column.close, window)))


def rsi(bars: Bars, window: int) -> FloatArray:
    """Return Wilder's relative strength index, 0 to 100.

    As long as the close has not moved once since the first bar the index is defined as 50.
    """
    import talib

    def of(column: Column) -> FloatArray:
        out = _floats(talib.RSI(column.close, window))
        flat = np.maximum.accumulate(column.close) == np.minimum.accumulate(column.close)
        out[flat & np.isfinite(out)] = 50.0
        return out

    return bars.line(("rsi", window), of)


def macd_histogram(bars: Bars, fast: int, slow: int, signal: int) -> FloatArray:
    """Return MACD minus its signal line, as a fraction of the close."""
    import talib

    def of(column: Column) -> FloatArray:
        _, _, histogram = talib.MACD(column.close, fast, slow, signal)
        return _floats(histogram) / column.close

    return bars.line(("macd", fast, slow, signal), of)


def percent_b(bars: Bars, window: int, width: float) -> FloatArray:
    """Return Bollinger's %b: 0 at the lower band, 1 at the upper one (population sigma).

    Bands without any width put the price in their middle: 0.5.
    """
    import talib

    def of(column: Column) -> FloatArray:
        upper, _, lower = talib.BBANDS(column.close, window, width, width)
        distance = _floats(upper) - _floats(lower)
        flat = distance <= 1e-9 * column.close
        return np.where(flat, 0.5, (column.close - lower) / np.where(flat, 1.0, distance))

    return bars.line(("percent_b", window, width), of)


def mfi(bars: Bars, window: int) -> FloatArray:
    """Return the money flow index, 0 to 100."""
    import talib

    return bars.line(
        ("mfi", window),
        lambda column: _floats(
            talib.MFI(column.high, column.low, column.close, column.volume, window)
        ),
    )


def atr_ratio(bars: Bars, window: int) -> FloatArray:
    """Return Wilder's average true range as a fraction of the close."""
    import talib

    return bars.line(
        ("atr", window),
        lambda column: (
            _floats(talib.ATR(column.high, column.low, column.close, window)) / column.close
        ),
    )


def _floats(values: object) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
