"""TA-Lib indicators per instrument, on its own bars.

Statistics that TA-Lib does not have are in ``statistics``; ranks across names in
``cross_section``.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.market import AdjustedPanel, Facts

_FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    strategies, features and a parameter sweep share them. ``facts`` is what is known of the
    instruments besides their bars; without them there is nothing.

    ``own`` holds the bars of all instruments one after the other, those of instrument ``i`` from
    ``starts[i]`` to ``starts[i + 1]``: what a compiled function walks over at once.

    Lines have the shape of the panel, but each instrument's sessions lie side by side in memory
    (Fortran order): to turn them over would take longer than to compute them.
    """

    def __init__(self, panel: AdjustedPanel, facts: Facts | None = None) -> None:
        self.shape: tuple[int, int] = panel.close.shape
        self.panel = panel
        self.facts = facts if facts is not None else Facts.none(*self.shape)
        self.tradable: BoolArray = panel.tradable
        grids = {name: getattr(panel, name) for name in _FIELDS}
        self.valid: BoolArray = np.empty(self.shape, dtype=np.bool_)
        # Position of the last own bar at each row; -1 before the first one.
        self.age: IntArray = np.empty(self.shape, dtype=np.int64)
        _find(tuple(grids.values()), self.valid, self.age)
        self.starts: IntArray = np.zeros(self.shape[1] + 1, dtype=np.int64)
        if self.shape[0] > 0:
            np.cumsum(self.age[-1] + 1, out=self.starts[1:])
        self.own = Column(**{name: self.gather(grid) for name, grid in grids.items()})
        self._columns = [
            (begin, end, Column(**{name: getattr(self.own, name)[begin:end] for name in _FIELDS}))
            for begin, end in pairwise(self.starts.tolist())
            if end > begin
        ]
        # Written over by each line: memory that is new costs as much as what is put there.
        self._series: list[FloatArray] = []
        # As ``age``, but an instrument's sessions side by side: it is read once a line.
        self._place: NDArray[np.int32] = np.empty(self.shape[::-1], dtype=np.int32)
        _turn(self.age, self._place)
        self._lines: dict[Hashable, tuple[FloatArray, ...]] = {}

    def line(self, key: Hashable, function: Callable[[Column], FloatArray]) -> FloatArray:
        """Return ``function`` of every instrument's own bars, spread over the sessions.

        ``key`` names the function and its parameters; the same key is computed once.
        """
        return self.lines(key, 1, lambda column: (function(column),))[0]

    def lines(
        self, key: Hashable, count: int, function: Callable[[Column], Sequence[FloatArray]]
    ) -> tuple[FloatArray, ...]:
        """Return ``count`` lines that one ``function`` makes together; see ``line``."""
        if key not in self._lines:
            while len(self._series) < count:
                self._series.append(np.empty(self.starts[-1]))
            whole = self._series[:count]
            for begin, end, column in self._columns:
                for out, values in zip(whole, function(column), strict=True):
                    out[begin:end] = values
            self._lines[key] = tuple(self.spread(out) for out in whole)
        return self._lines[key]

    def walk(self, key: Hashable, function: Callable[[Column, IntArray], FloatArray]) -> FloatArray:
        """Return ``function(own, starts)``, of all instruments at once, spread over the sessions.

        It returns one value per own bar in the order of ``own``.
        """
        return self.walks(key, lambda own, starts: (function(own, starts),))[0]

    def walks(
        self, key: Hashable, function: Callable[[Column, IntArray], Sequence[FloatArray]]
    ) -> tuple[FloatArray, ...]:
        """Return the lines that one ``function`` of all instruments makes together; see ``walk``."""
        if key not in self._lines:
            found = function(self.own, self.starts)
            self._lines[key] = tuple(self.spread(series) for series in found)
        return self._lines[key]

    def grid(self, key: Hashable, function: Callable[[], FloatArray]) -> FloatArray:
        """Return what ``function`` makes of whole sessions, computed once; see ``line``."""
        if key not in self._lines:
            self._lines[key] = (function(),)
        return self._lines[key][0]

    def forget(self, above: int) -> None:
        """Drop the lines made first, until what is kept takes no more than ``above`` bytes."""
        taken = sum(line.nbytes for lines in self._lines.values() for line in lines)
        for key in list(self._lines):
            if taken <= above:
                break
            taken -= sum(line.nbytes for line in self._lines.pop(key))

    def gather(self, grid: FloatArray) -> FloatArray:
        """Return the cells of own bars, instrument after instrument, in the order of ``own``."""
        out = np.empty(self.starts[-1])
        _gather(grid, self.valid, self.starts, out)
        return out

    def spread(self, series: FloatArray) -> FloatArray:
        """Return values per own bar as a grid; NaN before the first bar, carried over halts."""
        out = np.empty(self._place.shape)
        _spread(series, self.starts, self._place, out)
        return out.T

    def close(self) -> FloatArray:
        """Return the close, carried over halts."""
        return self.walk("close", lambda own, _: own.close)


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
        _neutral_while_flat(column.close, window, out)
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
        return _floats(_between(column.close, upper, lower))

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


def average_gap(bars: Bars, fast: int, slow: int) -> FloatArray:
    """Return the fast simple moving average over the slow one minus 1, as a fraction."""
    import talib

    return bars.line(
        ("average_gap", fast, slow),
        lambda column: _floats(talib.SMA(column.close, fast)) / talib.SMA(column.close, slow) - 1.0,
    )


def ema_gap(bars: Bars, window: int) -> FloatArray:
    """Return the close over its exponential moving average minus 1, as a fraction."""
    import talib

    return bars.line(
        ("ema_gap", window),
        lambda column: column.close / _floats(talib.EMA(column.close, window)) - 1.0,
    )


def adx(bars: Bars, window: int) -> FloatArray:
    """Return Wilder's average directional index, 0 (no trend) to 100, whichever way it goes."""
    import talib

    return bars.line(
        ("adx", window),
        lambda column: _floats(talib.ADX(column.high, column.low, column.close, window)),
    )


def obv(bars: Bars) -> FloatArray:
    """Return Granville's on-balance volume in shares, counted from the own first bar.

    Its level says nothing, only its course does: see ``obv_flow``.
    """
    import talib

    return bars.line("obv", lambda column: _floats(talib.OBV(column.close, column.volume)))


def obv_flow(bars: Bars, window: int) -> FloatArray:
    """Return the change of on-balance volume over ``window`` bars per share traded, -1 to 1.

    1 says that every share of the window was traded on a bar that closed higher. Unlike the
    line itself it depends neither on where the history begins nor on the size of the company.
    """
    import talib

    def of(column: Column) -> FloatArray:
        line = _floats(talib.OBV(column.close, column.volume))
        traded = _floats(talib.SUM(column.volume, window))
        return _floats(_flow(line, traded, window))

    return bars.line(("obv_flow", window), of)


def stochastic(bars: Bars, window: int, slow: int, signal: int) -> tuple[FloatArray, FloatArray]:
    """Return Lane's slow stochastic %K and its average %D, 0 to 100.

    %K is the close between the lowest low and the highest high of ``window`` bars, averaged over
    ``slow``; %D averages it over ``signal``. A window without any range puts it in the middle: 50.
    """
    import talib

    mean = talib.MA_Type.SMA  # type: ignore[attr-defined]

    def of(column: Column) -> tuple[FloatArray, FloatArray]:
        bar = (column.high, column.low, column.close)
        if not _has_flat_window(column.high, column.low, window):
            k, d = talib.STOCH(*bar, window, slow, mean, signal, mean)
            return _floats(k), _floats(d)
        # TA-Lib calls such a window 0, as if it had closed at its low.
        fast = _floats(talib.STOCHF(*bar, window, 1)[0])
        flat = _floats(talib.MAX(column.high, window)) == _floats(talib.MIN(column.low, window))
        k = _floats(talib.SMA(np.where(flat, 50.0, fast), slow))
        d = _floats(talib.SMA(k, signal))
        return np.where(np.isfinite(d), k, np.nan), d

    k, d = bars.lines(("stochastic", window, slow, signal), 2, of)
    return k, d


def _floats(values: object) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


@njit(cache=True, nogil=True)
def _find(prices, valid, age):  # type: ignore[no-untyped-def]
    """Mark the cells with a whole bar, and count them down each column."""
    opens, highs, lows, closes, volumes = prices
    n, m = valid.shape
    for t in range(n):
        for i in range(m):
            # NaN and infinity are the only numbers whose difference from themselves is not 0.
            whole = opens[t, i] - opens[t, i] + highs[t, i] - highs[t, i]
            whole += lows[t, i] - lows[t, i] + closes[t, i] - closes[t, i]
            whole += volumes[t, i] - volumes[t, i]
            valid[t, i] = whole == 0.0
            before = age[t - 1, i] if t > 0 else -1
            age[t, i] = before + 1 if valid[t, i] else before


@njit(cache=True, nogil=True)
def _gather(grid, valid, starts, out):  # type: ignore[no-untyped-def]
    # Rows outside: the panel is read in its own order, each instrument written in its own.
    at = starts[:-1].copy()
    n, m = valid.shape
    for t in range(n):
        for i in range(m):
            if valid[t, i]:
                out[at[i]] = grid[t, i]
                at[i] += 1


@njit(cache=True, nogil=True)
def _turn(age, place):  # type: ignore[no-untyped-def]
    n, m = age.shape
    for t in range(n):
        for i in range(m):
            place[i, t] = age[t, i]


@njit(cache=True, nogil=True)
def _spread(series, starts, place, out):  # type: ignore[no-untyped-def]
    m, n = out.shape
    for i in range(m):
        begin, count = starts[i], starts[i + 1] - starts[i]
        first = n - count
        if count > 0 and place[i, first] == 0:
            # A bar on every session since the first one: nothing to look up.
            for t in range(first):
                out[i, t] = np.nan
            for t in range(count):
                out[i, first + t] = series[begin + t]
        else:
            for t in range(n):
                out[i, t] = series[begin + place[i, t]] if place[i, t] >= 0 else np.nan


@njit(cache=True, nogil=True)
def _neutral_while_flat(close, window, out):  # type: ignore[no-untyped-def]
    for i in range(len(close)):
        if close[i] != close[0]:
            break
        if i >= window:
            out[i] = 50.0


@njit(cache=True, nogil=True)
def _between(close, upper, lower):  # type: ignore[no-untyped-def]
    out = np.empty(len(close))
    for i in range(len(close)):
        width = upper[i] - lower[i]
        # NaN during warm-up is not below: it stays NaN.
        out[i] = 0.5 if width <= 1e-9 * close[i] else (close[i] - lower[i]) / width
    return out


@njit(cache=True, nogil=True)
def _flow(line, traded, window):  # type: ignore[no-untyped-def]
    out = np.full(len(line), np.nan)
    for i in range(window, len(line)):
        if traded[i] > 0.0:
            out[i] = (line[i] - line[i - window]) / traded[i]
    return out


@njit(cache=True, nogil=True)
def _has_flat_window(high, low, window):  # type: ignore[no-untyped-def]
    """Return whether one price was all that traded over ``window`` bars in a row."""
    run = 0
    for i in range(len(high)):
        if high[i] != low[i]:
            run = 0
        elif run > 0 and high[i] == high[i - 1]:
            run += 1
        else:
            run = 1
        if run >= window:
            return True
    return False
