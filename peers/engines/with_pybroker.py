"""pybroker: averages as its indicators; shown as it counts them, not rounded to the cent."""

from decimal import Decimal

import pandas as pd
import pybroker
from pybroker import PriceType

from engines.case import BILLION, Answer, Case
from engines.signals import average


def run(case: Case, *, path: bool = True) -> Answer:
    """Return what pybroker does for a rule ``above``."""
    rule, quantity = case.rule, case.quantity
    if rule.kind != "above":
        raise ValueError(f"pybroker: {rule.kind}")
    rates = {
        "buy": Decimal(case.commission_ppb) / BILLION,
        "sell": Decimal(case.commission_ppb + case.tax_ppb) / BILLION,
    }
    index = pd.DatetimeIndex(case.times)
    frame = pd.concat(
        [
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "date": index,
                    **{name: field[:, i] for name, field in case.prices.items()},
                    "volume": case.volume[:, i],
                }
            )
            for i, symbol in enumerate(case.symbols)
        ],
        ignore_index=True,
    )
    pybroker.disable_logging()
    pybroker.disable_progress_bar()
    fast = pybroker.indicator("fast", lambda bars: average(bars.close, rule.fast))
    slow = pybroker.indicator("slow", lambda bars: average(bars.close, rule.slow))

    def follow(context):
        quick, calm = context.indicator("fast")[-1], context.indicator("slow")[-1]
        held = context.long_pos()
        if quick > calm and not held:
            context.buy_shares = quantity
            context.buy_fill_price = PriceType.OPEN
        elif quick < calm and held:
            context.sell_all_shares()
            context.sell_fill_price = PriceType.OPEN

    settings = pybroker.StrategyConfig(
        initial_cash=float(case.cash), buy_delay=1, sell_delay=1, exit_on_last_bar=False,
        round_test_result=False,
        fee_mode=lambda fill: fill.shares * fill.fill_price * rates[fill.order_type],
    )  # fmt: skip
    strategy = pybroker.Strategy(frame, index[0], index[-1], settings)
    strategy.add_execution(follow, list(case.symbols), indicators=[fast, slow])
    found = strategy.backtest(calc_bootstrap=False, warmup=None)
    row_of = {instant: row for row, instant in enumerate(index)}
    column_of = {symbol: i for i, symbol in enumerate(case.symbols)}
    orders = found.orders
    rows = [
        (row_of[when], column_of[symbol], 1 if kind == "buy" else -1, int(shares))
        for when, symbol, kind, shares in zip(
            orders["date"], orders["symbol"], orders["type"], orders["shares"], strict=True
        )
    ]
    return Answer.of(
        rows, orders["fill_price"].astype(float), found.portfolio["market_value"].astype(float)
    )
