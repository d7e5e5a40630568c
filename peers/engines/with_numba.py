"""The limit: one compiled loop over bars and symbols in plain floats, without any rule of a market.

What no engine with books and rules can be faster than. Needs numpy and numba only.
"""

import numpy as np
from numba import njit

from engines.case import Answer, Case


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what the loop does for a rule ``above``."""
    equity, rows, prices, count = _trade(
        case.prices["open"], case.prices["close"], case.rule.fast, case.rule.slow,
        float(case.quantity), float(case.cash), case.commission, case.tax,
    )  # fmt: skip
    return Answer.of(rows[:count], prices[:count], equity)


def sweep(case: Case, pairs: np.ndarray) -> np.ndarray:
    """Return final equity, drawdown, Sharpe and orders of every pair, each symbol alone.

    All cash goes in, in fractions of shares. Shape ``(n_symbols, n_pairs, 4)``.
    """
    opens, closes = case.prices["open"], case.prices["close"]
    return np.array(
        [
            _sweep(
                np.ascontiguousarray(opens[:, i]), np.ascontiguousarray(closes[:, i]), pairs,
                float(case.cash), case.commission, case.tax,
            )
            for i in range(opens.shape[1])
        ]
    )  # fmt: skip


@njit
def _trade(opens, closes, fast, slow, quantity, cash, commission, tax):
    n, m = closes.shape
    quick, calm = np.zeros(m), np.zeros(m)
    held, order = np.zeros(m), np.zeros(m)
    equity = np.empty(n)
    rows = np.empty((n * m // 2 + 1, 4), dtype=np.int64)
    prices = np.empty(n * m // 2 + 1)
    count = 0
    for t in range(n):
        value = 0.0
        for i in range(m):
            if order[i] != 0.0:
                price = opens[t, i]
                amount = order[i] * price
                fee = amount * commission if amount > 0.0 else -amount * (commission + tax)
                if amount + fee <= cash:
                    cash -= amount + fee
                    held[i] += order[i]
                    rows[count, 0], rows[count, 1] = t, i
                    rows[count, 2] = 1 if order[i] > 0.0 else -1
                    rows[count, 3] = int(abs(order[i]))
                    prices[count] = price
                    count += 1
                order[i] = 0.0
            close = closes[t, i]
            quick[i] += close
            calm[i] += close
            if t >= fast:
                quick[i] -= closes[t - fast, i]
            if t >= slow:
                calm[i] -= closes[t - slow, i]
            if t >= slow - 1:
                gap = quick[i] / fast - calm[i] / slow
                if gap > 0.0 and held[i] == 0.0:
                    order[i] = quantity
                elif gap < 0.0 and held[i] > 0.0:
                    order[i] = -held[i]
            value += held[i] * close
        equity[t] = cash + value
    return equity, rows, prices, count


@njit
def _sweep(opens, closes, pairs, starting_cash, commission, tax):
    n = len(closes)
    total = np.zeros(n + 1)
    for t in range(n):
        total[t + 1] = total[t] + closes[t]
    out = np.empty((len(pairs), 4))
    for p in range(len(pairs)):
        fast, slow = pairs[p, 0], pairs[p, 1]
        per_fast, per_slow = 1.0 / fast, 1.0 / slow
        cash, held, orders, side = starting_cash, 0.0, 0, 0
        before, peak, deepest = starting_cash, starting_cash, 0.0
        mean, square = 0.0, 0.0
        for t in range(n):
            if side > 0 and held == 0.0:
                held = cash / (opens[t] * (1.0 + commission))
                cash = 0.0
                orders += 1
            elif side < 0 and held > 0.0:
                cash = held * opens[t] * (1.0 - commission - tax)
                held = 0.0
                orders += 1
            equity = cash + held * closes[t]
            change = equity / before - 1.0
            mean += change
            square += change * change
            before = equity
            peak = max(peak, equity)
            deepest = max(deepest, 1.0 - equity / peak)
            side = 0
            if t >= slow - 1:
                gap = (total[t + 1] - total[t + 1 - fast]) * per_fast
                gap -= (total[t + 1] - total[t + 1 - slow]) * per_slow
                side = 1 if gap > 0.0 else (-1 if gap < 0.0 else 0)
        mean /= n
        deviation = np.sqrt(max(square / n - mean * mean, 0.0))
        out[p, 0], out[p, 1], out[p, 3] = equity, deepest, orders
        out[p, 2] = mean / deviation * np.sqrt(252.0) if deviation > 0.0 else np.nan
    return out
