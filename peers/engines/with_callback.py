"""The call floor: plain lists and one method call a bar, what any Python strategy costs at least."""

import numpy as np

from engines.case import Answer, Case
from engines.signals import average


class _Bar:
    __slots__ = ("calm", "held", "order", "quick")


class _Follow:
    def __init__(self, quantity):
        self.quantity = quantity

    def on_bar(self, bar):
        if bar.quick > bar.calm:
            if not bar.held:
                bar.order = self.quantity
        elif bar.quick < bar.calm and bar.held:
            bar.order = -bar.held


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what the loop does for a rule ``above``."""
    opens, closes = case.prices["open"], case.prices["close"]
    quick, calm = (
        [average(closes[:, i], window).tolist() for i in range(closes.shape[1])]
        for window in (case.rule.fast, case.rule.slow)
    )
    opens, closes = opens.T.tolist(), closes.T.tolist()
    bar, on_bar = _Bar(), _Follow(case.quantity).on_bar
    symbols = range(len(opens))
    held, order = [0] * len(opens), [0] * len(opens)
    cash, rows, prices, equity = float(case.cash), [], [], []
    for t in range(len(opens[0])):
        value = 0.0
        for i in symbols:
            if order[i]:
                price, shares = opens[i][t], order[i]
                amount = shares * price
                rate = case.commission if shares > 0 else -case.commission - case.tax
                cash -= amount * (1.0 + rate)
                held[i] += shares
                rows.append((t, i, 1 if shares > 0 else -1, abs(shares)))
                prices.append(price)
            bar.quick, bar.calm, bar.held, bar.order = quick[i][t], calm[i][t], held[i], 0
            on_bar(bar)
            order[i] = bar.order
            value += held[i] * closes[i][t]
        equity.append(cash + value)
    return Answer.of(rows, prices, np.array(equity))
