"""Returns, volatility and other plain statistics per instrument, on its own bars."""

import numpy as np

from trading.domain.arrays import FloatArray
from trading.features.indicators import Bars, Column


def session_returns(bars: Bars) -> FloatArray:
    """Return simple close-to-close returns per session; 0 over a halt, NaN before the second bar.

    The bar after a halt carries the whole move: the position could not have left before it.
    """
    close = bars.close()
    out = np.full(bars.shape, np.nan)
    out[1:] = close[1:] / close[:-1] - 1.0
    return out


def simple_return(bars: Bars, window: int) -> FloatArray:
    """Return the change of the close over ``window`` own bars, as a fraction."""
    return bars.line(("return", window), lambda column: _change(column.close, window, 0))


def momentum(bars: Bars, window: int, skip: int) -> FloatArray:
    """Return the change from ``window`` bars ago to ``skip`` bars ago, as a fraction.

    252 and 21 are twelve months without the last one.

    References
    ----------
    .. [1] Jegadeesh, N. and Titman, S. (1993). "Returns to Buying Winners and Selling Losers."
       Journal of Finance, 48(1), 65-91.
    """
    return bars.line(("momentum", window, skip), lambda column: _change(column.close, window, skip))


def realized_volatility(bars: Bars, window: int) -> FloatArray:
    r"""Return the daily volatility :math:`\sqrt{\frac1w\sum r^2}` of the last ``window`` returns."""
    import talib

    def of(column: Column) -> FloatArray:
        squares = _change(column.close, 1, 0) ** 2
        if len(squares) < 2:
            return squares
        mean = np.asarray(talib.SMA(squares, window), dtype=np.float64)
        # TA-Lib's running sum may leave a rounding residue below zero after a flat stretch.
        return np.sqrt(np.maximum(mean, 0.0))

    return bars.line(("volatility", window), of)


def drawdown(bars: Bars, window: int) -> FloatArray:
    """Return the distance of the close from its highest close of ``window`` bars, 0 or below."""
    import talib

    return bars.line(
        ("drawdown", window),
        lambda column: column.close / np.asarray(talib.MAX(column.close, window)) - 1.0,
    )


def volume_ratio(bars: Bars, window: int) -> FloatArray:
    """Return volume over its own mean of ``window`` bars; 1 is usual, NaN without any volume."""
    import talib

    def of(column: Column) -> FloatArray:
        mean = np.asarray(talib.SMA(column.volume, window), dtype=np.float64)
        traded = mean >= 0.5
        return np.where(traded, column.volume / np.where(traded, mean, 1.0), np.nan)

    return bars.line(("volume_ratio", window), of)


def _change(values: FloatArray, window: int, skip: int) -> FloatArray:
    out = np.full(len(values), np.nan)
    if len(values) > window:
        out[window:] = values[window - skip : len(values) - skip] / values[: len(values) - window]
        out[window:] -= 1.0
    return out
