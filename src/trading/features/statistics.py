"""Returns, volatility and other plain statistics per instrument, on its own bars.

Running sums are taken anew every ``window`` bars, so that the rounding of one wild bar does not
stay with an instrument for the rest of its life.
"""

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray
from trading.features.indicators import Bars, Column
from trading.features.regimes import market_returns


def session_returns(bars: Bars) -> FloatArray:
    """Return simple close-to-close returns per session; 0 over a halt, NaN before the second bar.

    The bar after a halt carries the whole move: the position could not have left before it.
    """
    close = bars.close()
    out = np.full_like(close, np.nan)
    np.divide(close[1:], close[:-1], out=out[1:])
    out[1:] -= 1.0
    return out


def simple_return(bars: Bars, window: int) -> FloatArray:
    """Return the change of the close over ``window`` own bars, as a fraction."""
    return momentum(bars, window, 0)


def momentum(bars: Bars, window: int, skip: int) -> FloatArray:
    """Return the change from ``window`` bars ago to ``skip`` bars ago, as a fraction.

    252 and 21 are twelve months without the last one.

    References
    ----------
    .. [1] Jegadeesh, N. and Titman, S. (1993). "Returns to Buying Winners and Selling Losers."
       Journal of Finance, 48(1), 65-91.
    """
    return bars.walk(
        ("change", window, skip), lambda own, starts: _changes(own.close, starts, window, skip)
    )


def realized_volatility(bars: Bars, window: int) -> FloatArray:
    r"""Return the daily volatility :math:`\sqrt{\frac1w\sum r^2}` of the last ``window`` returns."""
    return bars.walk(
        ("volatility", window),
        lambda own, starts: _root_mean_square(_returns(own, starts), starts, 1, window),
    )


def downside_volatility(bars: Bars, window: int) -> FloatArray:
    r"""Return the daily root mean square of falls, :math:`\sqrt{\frac1w\sum\min(r, 0)^2}`.

    References
    ----------
    .. [1] Ang, A., Chen, J. and Xing, Y. (2006). "Downside Risk." Review of Financial Studies,
       19(4), 1191-1239.
    """
    return bars.walk(
        ("downside", window),
        lambda own, starts: _root_mean_square(
            np.minimum(_returns(own, starts), 0.0), starts, 1, window
        ),
    )


def parkinson_volatility(bars: Bars, window: int) -> FloatArray:
    r"""Return the daily volatility that the ranges of the last ``window`` bars show.

    .. math:: \sqrt{\frac{1}{4w\ln 2}\sum \ln^2(H/L)}

    References
    ----------
    .. [1] Parkinson, M. (1980). "The Extreme Value Method for Estimating the Variance of the Rate
       of Return." Journal of Business, 53(1), 61-65.
    """

    def of(own: Column, starts: IntArray) -> FloatArray:
        wide = np.log(own.high / own.low) / np.sqrt(4.0 * np.log(2.0))
        return _root_mean_square(wide, starts, 0, window)

    return bars.walk(("parkinson", window), of)


def garman_klass_volatility(bars: Bars, window: int) -> FloatArray:
    r"""Return the daily volatility that open, high, low and close of the last bars show.

    .. math:: \sqrt{\frac1w\sum\left[\tfrac12\ln^2(H/L) - (2\ln2 - 1)\ln^2(C/O)\right]}

    References
    ----------
    .. [1] Garman, M. and Klass, M. (1980). "On the Estimation of Security Price Volatilities from
       Historical Data." Journal of Business, 53(1), 67-78.
    """

    def of(own: Column, starts: IntArray) -> FloatArray:
        wide, moved = np.log(own.high / own.low), np.log(own.close / own.open)
        inside = 0.5 * wide * wide - (2.0 * np.log(2.0) - 1.0) * moved * moved
        return _root_mean(inside, starts, 0, window)

    return bars.walk(("garman_klass", window), of)


def autocorrelation(bars: Bars, window: int) -> FloatArray:
    """Return the correlation of the last ``window`` returns with those one bar before, -1 to 1.

    Where either did not move there is nothing to go on: 0.
    """

    def of(own: Column, starts: IntArray) -> FloatArray:
        returns = _returns(own, starts)
        before = np.full(len(returns), np.nan)
        before[1:] = returns[:-1]
        together, of_before, of_now = _moments(before, returns, starts, 2, window)
        size = np.sqrt(of_before * of_now)
        # Without any movement both are 0; NaN during warm-up stays NaN.
        return _floats(np.clip(together / np.where(size == 0.0, 1.0, size), -1.0, 1.0))

    return bars.walk(("autocorrelation", window), of)


def market_beta(bars: Bars, window: int) -> FloatArray:
    """Return the slope of the last ``window`` own returns on the market's.

    The market is the panel's index, and the mean of its names where no index was recorded. Over a
    halt the market's move is what it did from one own bar to the next.

    References
    ----------
    .. [1] Frazzini, A. and Pedersen, L. (2014). "Betting Against Beta." Journal of Financial
       Economics, 111(1), 1-25.
    """
    return _market_model(bars, window)[0]


def idiosyncratic_volatility(bars: Bars, window: int) -> FloatArray:
    """Return the daily volatility that the market does not explain; see ``market_beta``.

    References
    ----------
    .. [1] Ang, A., Hodrick, R., Xing, Y. and Zhang, X. (2006). "The Cross-Section of Volatility
       and Expected Returns." Journal of Finance, 61(1), 259-299.
    """
    return _market_model(bars, window)[1]


def drawdown(bars: Bars, window: int) -> FloatArray:
    """Return the distance of the close from its highest close of ``window`` bars, 0 or below."""
    import talib

    return bars.line(
        ("drawdown", window),
        lambda column: column.close / np.asarray(talib.MAX(column.close, window)) - 1.0,
    )


def volume_ratio(bars: Bars, window: int) -> FloatArray:
    """Return volume over its own mean of ``window`` bars; 1 is usual, NaN without any volume."""

    def of(own: Column, starts: IntArray) -> FloatArray:
        mean = _sums(own.volume, starts, 0, window) / window
        traded = mean >= 0.5
        return np.where(traded, own.volume / np.where(traded, mean, 1.0), np.nan)

    return bars.walk(("volume_ratio", window), of)


def _market_model(bars: Bars, window: int) -> tuple[FloatArray, FloatArray]:
    def of(own: Column, starts: IntArray) -> tuple[FloatArray, FloatArray]:
        moves, _ = market_returns(bars.panel)
        level = np.cumprod(1.0 + np.where(np.isfinite(moves), moves, 0.0))
        market = bars.gather(np.broadcast_to(level[:, None], bars.shape))
        together, of_market, of_own = _moments(
            _changes(market, starts, 1, 0), _returns(own, starts), starts, 1, window
        )
        known = of_market > 0.0
        beta = np.where(known, together / np.where(known, of_market, 1.0), np.nan)
        return beta, np.sqrt(np.maximum(of_own - beta * together, 0.0))

    beta, rest = bars.walks(("market_model", window), of)
    return beta, rest


def _returns(own: Column, starts: IntArray) -> FloatArray:
    return _floats(_changes(own.close, starts, 1, 0))


def _root_mean_square(values: FloatArray, starts: IntArray, lead: int, window: int) -> FloatArray:
    return _root_mean(np.multiply(values, values, out=values), starts, lead, window)


def _root_mean(values: FloatArray, starts: IntArray, lead: int, window: int) -> FloatArray:
    mean = _floats(_sums(values, starts, lead, window))
    mean /= window
    # A running sum may leave a rounding residue below zero after a flat stretch.
    np.maximum(mean, 0.0, out=mean)
    return np.sqrt(mean, out=mean)


def _floats(values: object) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


@njit(cache=True, nogil=True)
def _changes(values, starts, window, skip):  # type: ignore[no-untyped-def]
    """Return from ``window`` to ``skip`` bars ago, for each series between ``starts``."""
    out = np.full(len(values), np.nan)
    for i in range(len(starts) - 1):
        for b in range(starts[i] + window, starts[i + 1]):
            out[b] = values[b - skip] / values[b - window] - 1.0
    return out


@njit(cache=True, nogil=True)
def _sums(values, starts, lead, window):  # type: ignore[no-untyped-def]
    """Sum the last ``window`` values; the first ``lead`` of each series are not there."""
    out = np.full(len(values), np.nan)
    for i in range(len(starts) - 1):
        first = starts[i] + lead
        total = 0.0
        for b in range(first + window - 1, starts[i + 1]):
            if (b - first + 1) % window == 0:
                total = 0.0
                for k in range(b - window + 1, b + 1):
                    total += values[k]
            else:
                total += values[b] - values[b - window]
            out[b] = total
    return out


@njit(cache=True, nogil=True)
def _moments(x, y, starts, lead, window):  # type: ignore[no-untyped-def]
    """Return covariance and both variances (population) of the last ``window`` pairs.

    A variance that is nothing but rounding is 0, and with it the covariance.
    """
    together = np.full(len(x), np.nan)
    of_x = np.full(len(x), np.nan)
    of_y = np.full(len(x), np.nan)
    for i in range(len(starts) - 1):
        first = starts[i] + lead
        sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
        for b in range(first + window - 1, starts[i + 1]):
            if (b - first + 1) % window == 0:
                sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
                for k in range(b - window + 1, b + 1):
                    sx += x[k]
                    sy += y[k]
                    sxx += x[k] * x[k]
                    syy += y[k] * y[k]
                    sxy += x[k] * y[k]
            else:
                o = b - window
                sx += x[b] - x[o]
                sy += y[b] - y[o]
                sxx += x[b] * x[b] - x[o] * x[o]
                syy += y[b] * y[b] - y[o] * y[o]
                sxy += x[b] * y[b] - x[o] * y[o]
            vx = sxx / window - (sx / window) ** 2
            vy = syy / window - (sy / window) ** 2
            of_x[b] = vx if vx > 1e-10 * sxx / window and vx > 1e-18 else 0.0
            of_y[b] = vy if vy > 1e-10 * syy / window and vy > 1e-18 else 0.0
            moved = of_x[b] > 0.0 and of_y[b] > 0.0
            together[b] = sxy / window - sx / window * (sy / window) if moved else 0.0
    return together, of_x, of_y
