"""Rules written out with pandas, for engines that bring no indicators of their own."""

from typing import Any

import numpy as np
import pandas as pd

from engines.case import Case, Rule


def wishes(case: Case) -> Any:
    """Return ``int8 (n_bars, n_symbols)``: 1 buy, -1 sell at the next open, 0 nothing."""
    closes = case.prices["close"]
    return np.column_stack([of_series(closes[:, i], case.rule) for i in range(closes.shape[1])])


def of_series(close: Any, rule: Rule) -> Any:
    """Return the wishes of one series of closes."""
    if rule.kind == "recross":
        index = wilder_rsi(close, rule.window)
        before = np.r_[np.nan, index[:-1]]
        up = (before < rule.lower) & (index >= rule.lower)
        down = (before > rule.upper) & (index <= rule.upper)
    else:
        gap = average(close, rule.fast) - average(close, rule.slow)
        up, down = gap > 0, gap < 0
        if rule.kind == "crossing":
            # The last side that was not a tie, as of the bar before.
            side = pd.Series(np.sign(gap)).where(gap != 0).ffill().shift().to_numpy()
            up, down = up & (side < 0), down & (side > 0)
    return up.astype(np.int8) - down.astype(np.int8)


def average(close: Any, window: int) -> Any:
    """Return the simple moving average."""
    return pd.Series(close).rolling(window).mean().to_numpy()


def wilder_rsi(close: Any, window: int) -> Any:
    """Return RSI with Wilder's smoothing, seeded with the plain mean of the first changes.

    References
    ----------
    .. [1] Wilder, J. W. (1978). "New Concepts in Technical Trading Systems", section VI.
    """
    change = np.diff(close)
    out = np.full(len(close), np.nan)
    if len(change) < window:
        return out
    up, down = np.maximum(change, 0.0), np.maximum(-change, 0.0)
    gain, loss = up[:window].mean(), down[:window].mean()
    for t in range(window, len(close)):
        if t > window:
            gain += (up[t - 1] - gain) / window
            loss += (down[t - 1] - loss) / window
        out[t] = 100.0 * gain / (gain + loss) if gain + loss > 0 else 50.0
    return out
