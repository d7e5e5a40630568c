"""nautilus_trader, for its speed only: it fills a bar's order at that bar's close, not the next open."""

import numpy as np
import pandas as pd
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FeeModel
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

from engines.case import Answer, Case


class _Fees(FeeModel):
    def __init__(self, commission, tax):
        super().__init__()
        self.buy, self.sell = commission, commission + tax

    def get_commission(self, order, fill_qty, fill_px, instrument):
        rate = self.buy if order.side == OrderSide.BUY else self.sell
        return Money(float(fill_qty) * float(fill_px) * rate, USD)


class _Follow(Strategy):
    def __init__(self, bars, rule, quantity):
        super().__init__()
        self.bars, self.rule, self.quantity = bars, rule, Quantity.from_int(quantity)
        self.averages, self.held, self.fills = {}, {}, []

    def on_start(self):
        for bars in self.bars:
            pair = SimpleMovingAverage(self.rule.fast), SimpleMovingAverage(self.rule.slow)
            for average in pair:
                self.register_indicator_for_bars(bars, average)
            self.averages[bars], self.held[bars] = pair, False
            self.subscribe_bars(bars)

    def on_bar(self, bar):
        bars = bar.bar_type
        fast, slow = self.averages[bars]
        if not slow.initialized:
            return
        if fast.value > slow.value and not self.held[bars]:
            self.trade(bars, OrderSide.BUY)
        elif fast.value < slow.value and self.held[bars]:
            self.trade(bars, OrderSide.SELL)

    def trade(self, bars, side):
        self.held[bars] = side == OrderSide.BUY
        self.submit_order(self.order_factory.market(bars.instrument_id, side, self.quantity))

    def on_order_filled(self, event):
        self.fills.append((event.ts_event, event.instrument_id, event.order_side, event.last_px))


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what nautilus_trader does for a rule ``above``; its equity is the last value only."""
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    venue = Venue("SIM")
    engine.add_venue(
        venue, OmsType.NETTING, AccountType.CASH, [Money(case.cash, USD)], base_currency=USD,
        fee_model=_Fees(case.commission, case.tax),
    )  # fmt: skip
    index = pd.DatetimeIndex(case.times.astype("datetime64[ns]")).tz_localize("UTC")
    step = "MINUTE" if index[1] - index[0] < pd.Timedelta(days=1) else "DAY"
    kinds, data = [], []
    for i, symbol in enumerate(case.symbols):
        name = InstrumentId(Symbol(symbol), venue)
        stock = Equity(
            name, Symbol(symbol), USD, 2, Price.from_str("0.01"), Quantity.from_int(1), 0, 0
        )
        engine.add_instrument(stock)
        kinds.append(BarType.from_str(f"{name}-1-{step}-LAST-EXTERNAL"))
        fields = {key: field[:, i] for key, field in case.prices.items()}
        fields["volume"] = case.volume[:, i].astype(np.float64)
        data += BarDataWrangler(kinds[-1], stock).process(pd.DataFrame(fields, index=index))
    engine.add_data(data, validate=False)
    strategy = _Follow(kinds, case.rule, case.quantity)
    engine.add_strategy(strategy)
    engine.run()
    value = engine.portfolio.account(venue).balance_total(USD).as_double()
    for i, bars in enumerate(kinds):
        held = float(engine.portfolio.net_position(bars.instrument_id))
        value += held * case.prices["close"][-1, i]
    row_of = {instant: row for row, instant in enumerate(index.as_unit("ns").asi8.tolist())}
    column_of = {bars.instrument_id: i for i, bars in enumerate(kinds)}
    rows = [
        (row_of[when], column_of[name], 1 if side == OrderSide.BUY else -1, case.quantity)
        for when, name, side, _ in strategy.fills
    ]
    answer = Answer.of(rows, [float(price) for *_, price in strategy.fills], np.array([value]))
    engine.dispose()
    return answer
