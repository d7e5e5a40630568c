"""backtesting.py: one symbol at a time, so each is an account of its own with all the cash."""

import warnings

import backtesting
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import SMA

from engines.case import Answer, Case
from engines.signals import wilder_rsi


class Pair(Strategy):
    """Hold with all cash while the fast average is above the slow one."""

    fast, slow = 10, 30

    def init(self):
        """Compute the averages."""
        self.quick = self.I(SMA, self.data.Close, self.fast)
        self.calm = self.I(SMA, self.data.Close, self.slow)

    def next(self):
        """Decide at the close of a bar."""
        if self.quick[-1] > self.calm[-1]:
            if not self.position:
                self.buy()
        elif self.quick[-1] < self.calm[-1] and self.position:
            self.position.close()


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what backtesting.py does; what the symbols earned is added up."""
    backtesting.backtesting._tqdm = lambda steps, **_: steps
    rule, quantity, commission, tax = case.rule, case.quantity, case.commission, case.tax

    class Averages(Strategy):
        def init(self):
            self.fast = self.I(SMA, self.data.Close, rule.fast)
            self.slow = self.I(SMA, self.data.Close, rule.slow)

        def next(self):
            if rule.kind == "crossing":
                up, down = crossover(self.fast, self.slow), crossover(self.slow, self.fast)
            else:
                up, down = self.fast[-1] > self.slow[-1], self.fast[-1] < self.slow[-1]
            self.follow(up, down)

        def follow(self, up, down):
            if up and not self.position:
                self.buy(size=quantity)
            elif down and self.position:
                self.position.close()

    class Index(Averages):
        def init(self):
            self.index = self.I(
                lambda close: wilder_rsi(np.asarray(close), rule.window), self.data.Close
            )

        def next(self):
            before, now = self.index[-2], self.index[-1]
            self.follow(
                before < rule.lower <= now,
                before > rule.upper >= now,
            )

    def fees(size, price):
        return abs(size) * price * (commission + (tax if size < 0 else 0.0))

    rows, prices = [], []
    equity = np.full(len(case.times), float(case.cash))
    for i in range(len(case.symbols)):
        frame = _frame(case, i)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Backtest(
                frame, Index if rule.kind == "recross" else Averages, cash=float(case.cash),
                commission=fees, finalize_trades=False,
            ).run()  # fmt: skip
        equity += found["_equity_curve"]["Equity"].to_numpy() - case.cash
        for trade in (*found["_strategy"].closed_trades, *found["_strategy"].trades):
            rows.append((trade.entry_bar, i, 1, trade.size))
            prices.append(trade.entry_price)
            if trade.exit_bar is not None:
                rows.append((trade.exit_bar, i, -1, trade.size))
                prices.append(trade.exit_price)
    return Answer.of(rows, prices, equity)


def sweep(case: Case, pairs: np.ndarray) -> np.ndarray:
    """Return the final equity of every pair of the first symbol; the other columns are NaN.

    Whole shares, and half of the tax on either side: it can charge neither better.
    """
    backtesting.backtesting._tqdm = lambda steps, **_: steps
    test = Backtest(
        _frame(case, 0), Pair, cash=float(case.cash), commission=case.commission + case.tax / 2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, found = test.optimize(
            fast=np.unique(pairs[:, 0]).tolist(), slow=np.unique(pairs[:, 1]).tolist(),
            maximize="Equity Final [$]", return_heatmap=True,
        )  # fmt: skip
    out = np.full((1, len(pairs), 4), np.nan)
    out[0, :, 0] = [found[fast, slow] for fast, slow in pairs.tolist()]
    return out


def _frame(case: Case, column: int) -> pd.DataFrame:
    fields = {name.capitalize(): field[:, column] for name, field in case.prices.items()}
    fields["Volume"] = case.volume[:, column]
    return pd.DataFrame(fields, index=pd.DatetimeIndex(case.times))
