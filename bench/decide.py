"""Speed of the decision: 200 symbols, with every limit, from a view that is there.

``python bench/decide.py [--json]``; part of ``make bench``. The recorded views of the embedded
shares are laid side by side: good for time only.
"""

import argparse
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from measure import Result, Spread, show, time_calls

from trading import bootstrap
from trading.backtest.record import ENSEMBLE
from trading.domain.account import Portfolio, Position
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.execution.decide import RiskState, View, decide
from trading.research.history import Scope, load_history
from trading.research.trader import Trader

SYMBOLS = 200
CASH = 1_000_000_000
DAYS = (date(2005, 5, 27), date(2006, 3, 1), date(2008, 10, 1))


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    installation = bootstrap.open_home(Path(__file__).parents[1])
    history = load_history(installation, Scope(market=Market.US))
    trader = Trader.of(installation, history, ENSEMBLE)
    views = trader.views(trader.evaluation_of(trader.strategies))
    results = []
    for day in DAYS:
        view = _wide(views.at(history.raw.row_of(day)))
        portfolio = _holdings(view)
        risk = RiskState(peak=portfolio.cash * 2, cooldown=0, state=TradingState.ACTIVE)
        times = time_calls(
            lambda v=view, p=portfolio, r=risk: decide(v, p, history.policy, r), samples=2000
        )
        spread = Spread.of(times)
        for name, value, limit in (
            ("중앙값", spread.p50 / 1e3, 0.5),
            ("p99", spread.p99 / 1e3, 5.0),
        ):
            results.append(
                Result(
                    name=f"결정 한 번, {len(view.symbols)}종목 ({day}, {name})",
                    value=value,
                    limit=limit,
                    unit="ms",
                    spreads={"decide": spread},
                )
            )
    return show(results, as_json=asked.json)


def _wide(view: View) -> View:
    """Return the view with its columns repeated until there are ``SYMBOLS``."""
    times = -(-SYMBOLS // len(view.symbols))
    names = tuple(f"{symbol}{k}" for k in range(times) for symbol in view.symbols)[:SYMBOLS]

    def repeated(values: object) -> object:
        if not isinstance(values, np.ndarray) or values.shape[-1] != len(view.symbols):
            return values
        return np.ascontiguousarray(np.tile(values, times)[..., :SYMBOLS])

    skipped = {"weights", "trigger_confidence", "ceilings"}
    morning = view.morning._replace(
        **{
            name: repeated(value)
            for name, value in view.morning._asdict().items()
            if name not in skipped
        }
    )
    wide = replace(
        view,
        symbols=names,
        exchanges=(view.exchanges * times)[:SYMBOLS],
        morning=morning,
        history=repeated(view.history),
        market_values=repeated(view.market_values),
        lower=repeated(view.lower),
        upper=repeated(view.upper),
        ladder_of=repeated(view.ladder_of),
    )
    # A view knows its hash when it is made.
    assert wide.hash
    return wide


def _holdings(view: View) -> Portfolio:
    """Return an account that holds every tenth name."""
    held = {
        symbol: Position(symbol=symbol, quantity=50, cost=50 * int(view.morning.reference[i]))
        for i, symbol in enumerate(view.symbols)
        if i % 10 == 0 and view.morning.reference[i] > 0
    }
    return Portfolio(market=Market.US, cash=CASH, positions=held)


if __name__ == "__main__":
    sys.exit(main())
