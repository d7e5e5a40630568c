"""vectorbt: its own averages and crossings; RSI written out, since it offers no Wilder smoothing."""

import numpy as np
import pandas as pd
import vectorbt as vbt

from engines.case import Answer, Case
from engines.signals import wishes


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what vectorbt does, one account for all symbols."""
    rule = case.rule
    index = pd.DatetimeIndex(case.times)
    close = pd.DataFrame(case.prices["close"], index=index, columns=list(case.symbols))
    if rule.kind == "recross":
        wish = wishes(case)
        buy, sell = wish > 0, wish < 0
    else:
        fast, slow = vbt.MA.run(close, rule.fast), vbt.MA.run(close, rule.slow)
        if rule.kind == "crossing":
            buy, sell = (
                fast.ma_crossed_above(slow).to_numpy(),
                fast.ma_crossed_below(slow).to_numpy(),
            )
        else:
            quick, calm = fast.ma.to_numpy(), slow.ma.to_numpy()
            buy, sell = quick > calm, quick < calm
    enter, leave = np.zeros_like(buy), np.zeros_like(sell)
    enter[1:], leave[1:] = buy[:-1], sell[:-1]
    portfolio = vbt.Portfolio.from_signals(
        close, enter, leave, price=case.prices["open"], size=float(case.quantity),
        fees=np.where(leave, case.commission + case.tax, case.commission),
        init_cash=float(case.cash), cash_sharing=True,
        group_by=np.zeros(close.shape[1], dtype=int), freq="1D",
    )  # fmt: skip
    orders = portfolio.orders.records
    rows = np.column_stack(
        (orders["idx"], orders["col"], 1 - 2 * orders["side"], np.rint(orders["size"]))
    )
    return Answer.of(rows, orders["price"], np.asarray(portfolio.value()).ravel())


def sweep(case: Case, pairs: np.ndarray) -> np.ndarray:
    """Return final equity, drawdown, Sharpe and orders of every pair; see ``with_numba.sweep``."""
    index = pd.DatetimeIndex(case.times)
    windows = np.unique(pairs)
    place = np.searchsorted(windows, pairs)
    out = []
    for i in range(len(case.symbols)):
        close = pd.Series(case.prices["close"][:, i], index=index)
        averages = vbt.MA.run(close, windows.tolist()).ma.to_numpy()
        quick, calm = averages[:, place[:, 0]], averages[:, place[:, 1]]
        enter, leave = np.zeros(quick.shape, dtype=bool), np.zeros(quick.shape, dtype=bool)
        enter[1:], leave[1:] = (quick > calm)[:-1], (quick < calm)[:-1]
        portfolio = vbt.Portfolio.from_signals(
            close, enter, leave, price=case.prices["open"][:, i : i + 1],
            fees=np.where(leave, case.commission + case.tax, case.commission),
            init_cash=float(case.cash), freq="1D",
        )  # fmt: skip
        out.append(
            np.column_stack(
                (
                    portfolio.final_value(), -portfolio.max_drawdown(),
                    portfolio.sharpe_ratio(), portfolio.orders.count(),
                )
            )
        )  # fmt: skip
    return np.array(out)
