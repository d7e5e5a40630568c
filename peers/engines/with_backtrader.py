"""backtrader: its own averages, crossings and RSI; market orders fill at the next open."""

import backtrader as bt
import numpy as np
import pandas as pd

from engines.case import Answer, Case


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what backtrader does; without ``path`` its equity is the last value only."""
    rows, prices, equity = [], [], []
    rule, quantity, commission, tax = case.rule, case.quantity, case.commission, case.tax

    class Fees(bt.CommInfoBase):
        params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_PERC), ("percabs", True))

        def _getcommission(self, size, price, pseudoexec):
            return abs(size) * price * (commission + (tax if size < 0 else 0.0))

    class Follow(bt.Strategy):
        def __init__(self):
            self.place = {data: i for i, data in enumerate(self.datas)}
            self.lines_of = []
            for data in self.datas:
                if rule.kind == "recross":
                    line = bt.ind.RSI(data.close, period=rule.window)
                else:
                    fast = bt.ind.SMA(data.close, period=rule.fast)
                    slow = bt.ind.SMA(data.close, period=rule.slow)
                    line = fast - slow
                    if rule.kind == "crossing":
                        line = bt.ind.CrossOver(fast, slow)
                self.lines_of.append(line)

        def notify_order(self, order):
            if order.status == order.Completed:
                done = order.executed
                sign = 1 if order.isbuy() else -1
                rows.append((len(order.data) - 1, self.place[order.data], sign, abs(done.size)))
                prices.append(done.price)
            elif order.status in (order.Canceled, order.Margin, order.Rejected):
                raise RuntimeError(f"backtrader: {order.getstatusname()}")

        def prenext(self):
            if path:
                equity.append(self.broker.getvalue())

        def next(self):
            for data, line in zip(self.datas, self.lines_of, strict=True):
                if rule.kind == "recross":
                    up = line[-1] < rule.lower and line[0] >= rule.lower
                    down = line[-1] > rule.upper and line[0] <= rule.upper
                else:
                    up, down = line[0] > 0, line[0] < 0
                if up or down:
                    held = self.getposition(data).size
                    if up and not held:
                        self.buy(data=data, size=quantity)
                    elif down and held:
                        self.sell(data=data, size=held)
            if path:
                equity.append(self.broker.getvalue())

    cerebro = bt.Cerebro(stdstats=False)
    index = pd.DatetimeIndex(case.times)
    for i, symbol in enumerate(case.symbols):
        frame = pd.DataFrame(
            {
                **{name: field[:, i] for name, field in case.prices.items()},
                "volume": case.volume[:, i],
            },
            index=index,
        )
        cerebro.adddata(bt.feeds.PandasData(dataname=frame, openinterest=None), name=symbol)
    cerebro.addstrategy(Follow)
    cerebro.broker.setcash(float(case.cash))
    cerebro.broker.addcommissioninfo(Fees())
    cerebro.run()
    return Answer.of(rows, prices, np.array(equity if path else [cerebro.broker.getvalue()]))
