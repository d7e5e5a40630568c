"""bt: trades at the price of its frame, so it is given the opens and the wishes of the bar before.

It has no indicators; the wishes are ``signals``. Its value of a bar is at the open as well.
"""

import bt
import numpy as np
import pandas as pd

from engines.case import Answer, Case
from engines.signals import wishes


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what bt does."""
    quantity, commission, tax = case.quantity, case.commission, case.tax
    symbols = list(case.symbols)
    index = pd.DatetimeIndex(case.times)
    prices = pd.DataFrame(case.prices["open"], index=index, columns=symbols)
    wish = np.zeros((len(index), len(symbols)), dtype=np.int8)
    wish[1:] = wishes(case)[:-1]
    row_of = {instant: row for row, instant in enumerate(index)}
    rows, paid = [], []

    class Follow(bt.Algo):
        def __call__(self, target):
            row = row_of.get(target.now)
            if row is None:
                return True
            for i in np.flatnonzero(wish[row]):
                symbol = symbols[i]
                held = target.children[symbol].position if symbol in target.children else 0
                change = quantity if wish[row, i] > 0 and not held else 0
                if wish[row, i] < 0 and held:
                    change = -held
                if change:
                    target.transact(change, child=symbol)
                    rows.append((row, i, 1 if change > 0 else -1, abs(change)))
                    paid.append(target.children[symbol].price)
            return True

    strategy = bt.Strategy("follow", [Follow()], children=symbols)
    backtest = bt.Backtest(
        strategy, prices, initial_capital=float(case.cash), integer_positions=True,
        progress_bar=False,
        commissions=lambda size, price: abs(size) * price * (commission + (tax if size < 0 else 0)),
    )  # fmt: skip
    backtest.run()
    return Answer.of(rows, paid, backtest.strategy.values.loc[index].to_numpy())
