"""The compiled sweep and the engine trade alike: same orders, same equity to the unit."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.allocation.sizing import SizingMethod
from trading.backtest import runner, sweep
from trading.backtest.runner import orders_hash
from trading.config import load_settings
from trading.domain.actions import ActionKind
from trading.domain.decision import Verdict
from trading.domain.instrument import Market
from trading.execution.decide import Views
from trading.simulation.slippage import SlippageSettings
from trading.store.datasets import EmbeddedSource
from trading.store.panels import assemble_panels
from trading.strategies.base import ExitRules
from trading.strategies.evaluation import evaluate

CHECKOUT = Path(__file__).resolve().parents[2]
CASH = 1_000_000_000
# GOOG trades from 2004-08-19: some runs see a name appear.
RECORDED = date(2000, 3, 1), date(2007, 6, 29)
SYMBOLS = (
    ("AAPL",),
    ("AAPL", "IBM", "MSFT"),
    ("AAPL", "GOOG", "IBM", "MSFT"),
)
CROSSOVERS = ((3, 8), (10, 30), (20, 60))
ALL_AGENTS = ("ma_crossover", "rsi", "bollinger_mfi", "volatility_breakout")

# Every limit so tight that it binds, and what the engine calls it.
TIGHT = {
    "max_single_name": ({"max_single_name": 0.03}, Verdict.CAP_SINGLE_NAME),
    "max_sector": ({"max_sector": 0.03, "max_single_name": 0.5}, Verdict.CAP_SECTOR),
    "max_gross": ({"max_gross": 0.03, "max_single_name": 0.5}, Verdict.CAP_GROSS),
    "max_portfolio_var": ({"max_portfolio_var": 0.001}, Verdict.CAP_PORTFOLIO_VAR),
    "max_drawdown": ({"max_drawdown": 0.01}, Verdict.REDUCING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The embedded panels of some names and what every run over them shares."""

    raw: Any
    adjusted: Any
    actions: Any


@cache
def panels(symbols: tuple[str, ...], splits_as: ActionKind = ActionKind.SPLIT) -> History:
    """Return the embedded history of ``symbols`` to the middle of 2007.

    ``splits_as`` tells the splits otherwise: a right moves the price alike, and no shares.
    """
    source = EmbeddedSource()
    first, last = RECORDED
    actions = [
        replace(a, kind=splits_as) if a.kind is ActionKind.SPLIT else a
        for a in source.actions(Market.US, first, last)
    ]
    raw, adjusted = assemble_panels(
        source.daily(Market.US, symbols, first, last),
        actions,
        [day for day in source.sessions(Market.US) if first <= day <= last],
        Market.US,
        symbols,
        index=source.index(Market.US, first, last),
        benchmark="S&P 500",
    )
    # Those of names that are not traded here as well: the lake tells them all, and nobody holds them.
    return History(raw=raw, adjusted=adjusted, actions=tuple(actions))


@pytest.fixture(scope="module")
def trade(embedded_market):
    """Return both results of one run: the engine's and the sweep's."""
    shipped = load_settings(CHECKOUT)
    base = embedded_market.policy
    guards = base.risk.guards.model_copy(update={"max_order_share": 1.0})

    @cache
    def evaluated(symbols, agents, crossover, splits_as):
        fast, slow = crossover
        strategies = shipped.strategies.model_copy(
            update={
                "ma_crossover": shipped.strategies.ma_crossover.model_copy(
                    update={"fast": fast, "slow": slow}
                )
            }
        )
        market = panels(symbols, splits_as)
        return evaluate(
            market.adjusted,
            market.raw,
            features=shipped.features,
            strategies=strategies,
            agents=agents,
        ).evaluation

    def run(
        symbols, crossover, first, last, *, agents=("ma_crossover",), sectors=None,
        ensemble=None, sizing=None, allocation=None, risk=None, orders=None, exits=None,
        agent_exits=None, splits_as=ActionKind.SPLIT, slippage=None, favourable=False,
    ):  # fmt: skip
        eager = base.allocation.ensemble.model_copy(
            update={"entry_forecast": 0.05, "min_confidence": 0.05, "max_entry_var": 1.0}
            | (ensemble or {})
        )
        policy = replace(
            base,
            allocation=base.allocation.model_copy(
                update={
                    "ensemble": eager,
                    "sizing": base.allocation.sizing.model_copy(update=sizing or {}),
                    "resize": "daily",
                    "no_trade_band": 0.001,
                }
                | (allocation or {})
            ),
            # The guards of single orders are no part of the sweep: their limits stay out of the way.
            risk=base.risk.model_copy(update={"guards": guards} | (risk or {})),
            orders=base.orders.model_copy(
                update=(orders or {}) | {"slippage": SlippageSettings(**(slippage or {}))}
            ),
            exits=base.exits.model_copy(update=exits or {}),
            agent_exits=base.agent_exits if agent_exits is None else agent_exits,
        )
        market = panels(symbols, splits_as)
        evaluation = evaluated(symbols, agents, crossover, splits_as)
        codes = np.array((sectors or [-1] * len(symbols))[: len(symbols)], dtype=np.int64)
        evaluation = replace(evaluation, sectors=np.broadcast_to(codes, evaluation.screened.shape))
        asked = (
            Views(evaluation, market.raw, embedded_market.rules, policy),
            market.raw,
            market.actions,
            embedded_market.calendar,
            embedded_market.rules,
            policy,
        )
        span = {"cash": CASH, "first": first, "last": last, "favourable": favourable}
        return runner.run(*asked, **span), sweep.run(*asked, **span)

    return run


def assert_same(engine, swept):
    """Same sessions, same equity to the unit, same orders."""
    intents = [order.intent for day in engine.days for order in day.orders]
    assert swept.sessions == engine.sessions
    assert swept.equity == engine.equity
    assert orders_hash(swept.orders) == orders_hash(intents)
    assert swept.ambiguous_fills == engine.ambiguous_fills
    assert swept.slippage == engine.slippage
    assert engine.cash_difference == 0


@pytest.mark.parametrize("name", TIGHT)
def test_each_limit_alone(trade, name):
    """With one limit so tight that it binds, both still trade alike."""
    changes, code = TIGHT[name]

    engine, swept = trade(
        SYMBOLS[2], (3, 8), date(2004, 9, 1), date(2005, 12, 30), sectors=[0, 0, 0, 1], risk=changes
    )

    assert_same(engine, swept)
    verdicts = {c.verdict for day in engine.days if day.decision for c in day.decision.choices}
    assert code in verdicts


def test_a_daily_loss_stops_purchases(trade):
    """The loss limit of a day binds while purchases rest, in both."""
    tight, swept = trade(
        SYMBOLS[2],
        (3, 8),
        date(2004, 9, 1),
        date(2005, 12, 30),
        risk={"max_daily_loss": 0.0005, "max_single_name": 0.5},
        sizing={"volatility_target": 0.5},
        orders={"participation": 0.0002},
    )
    loose, _ = trade(
        SYMBOLS[2],
        (3, 8),
        date(2004, 9, 1),
        date(2005, 12, 30),
        risk={"max_daily_loss": 1.0, "max_single_name": 0.5},
        sizing={"volatility_target": 0.5},
        orders={"participation": 0.0002},
    )

    assert_same(tight, swept)
    assert tight.equity != loose.equity


@pytest.mark.parametrize(
    ("reason", "exits"),
    [
        ("stop_loss", {"stop_loss": 0.02, "cooldown_sessions": 3}),
        ("trailing_stop", {"stop_loss": None, "trailing_stop": 0.03, "cooldown_sessions": 0}),
        ("take_profit", {"stop_loss": None, "take_profit": 0.02, "cooldown_sessions": 5}),
        ("stop_loss", {"stop_loss": None, "stop_atr": 0.5, "cooldown_sessions": 2}),
        ("trailing_stop", {"stop_loss": None, "trailing_atr": 1.0}),
        ("take_profit", {"stop_loss": None, "profit_atr": 0.7}),
    ],
)
def test_each_exit_alone(trade, reason, exits):
    """With one exit rule so tight that it sells, both sell at the same prints."""
    engine, swept = trade(SYMBOLS[1], (10, 30), date(2003, 1, 2), date(2004, 6, 30), exits=exits)

    assert_same(engine, swept)
    assert reason in {o.reason for o in swept.orders}


def test_breakouts(trade):
    """Entries that wait for a price are made at the same prints, and sold at the next open."""
    engine, swept = trade(
        SYMBOLS[2], (10, 30), date(2004, 9, 1), date(2005, 12, 30),
        agents=("volatility_breakout",), exits={"stop_loss": 0.02},
    )  # fmt: skip

    assert_same(engine, swept)
    orders = [order for day in engine.days for order in day.orders]
    triggered = [o.intent for o in orders if o.intent.reason == "trigger"]
    assert len(triggered) > 20
    verdicts = Counter(c.verdict for d in engine.days for c in d.decision.choices)
    assert verdicts[Verdict.WAITING] > len(triggered)
    assert verdicts[Verdict.TIME_STOP] > 10


# So near to each other that many a bar holds both, in the years after the split of 2000.
NARROW = {"stop_loss": 0.015, "take_profit": 0.015, "cooldown_sessions": 0}


def test_both_bounds(trade):
    """Bars that hold loss and profit are the loss, counted, and the profit in the other bound."""
    span = SYMBOLS[1], (3, 8), date(2003, 1, 2), date(2004, 6, 30)
    engine, swept = trade(*span, exits=NARROW)
    other, swept_other = trade(*span, exits=NARROW, favourable=True)

    assert_same(engine, swept)
    assert_same(other, swept_other)
    assert engine.ambiguous_fills > 5
    assert other.equity[-1] > engine.equity[-1]


def test_without_an_ambiguous_bar_the_bounds_are_one(trade):
    """Where no bar holds a loss and a profit, the order of its extremes decides nothing."""
    span = SYMBOLS[1], (3, 8), date(2003, 1, 2), date(2003, 12, 31)
    wide = {"stop_loss": 0.05, "take_profit": 0.3}
    engine, _ = trade(*span, exits=wide)
    other, _ = trade(*span, exits=wide, favourable=True)

    assert engine.ambiguous_fills == 0
    assert "stop_loss" in {b.intent.reason for day in engine.days for b in day.booked}
    assert other.equity == engine.equity


@pytest.mark.parametrize(
    "slippage",
    [
        {"half_spread_bps": 10.0, "auction_bps": 10.0},
        {"half_spread_ticks": 2},
        {"impact": 1.0},
    ],
)
def test_slippage(trade, slippage):
    """What fills cost more than their prints is taken alike, told, and only ever a cost."""
    span = SYMBOLS[2], (3, 8), date(2004, 9, 1), date(2005, 12, 30)
    exits = {"stop_loss": 0.02, "take_profit": 0.03}
    engine, swept = trade(*span, exits=exits, slippage=slippage)
    free, _ = trade(*span, exits=exits)

    assert_same(engine, swept)
    assert free.slippage == 0 < engine.slippage
    assert engine.equity[-1] < free.equity[-1]
    for day in engine.days:
        for booked in day.booked:
            price = booked.fill.amount / booked.fill.quantity
            assert (booked.intent.limit - price) * booked.intent.side.sign >= 0


def test_a_strategy_of_its_own_exits(trade):
    """What a strategy led into is sold by its rules, and what another led into by the others'."""
    own = {"ma_crossover": ExitRules(max_sessions=5, cooldown_sessions=1)}
    engine, swept = trade(
        SYMBOLS[1], (3, 8), date(2003, 1, 2), date(2004, 6, 30),
        agents=("ma_crossover", "rsi"), agent_exits=own, exits={"stop_loss": 0.03},
    )  # fmt: skip

    assert_same(engine, swept)
    led = {t.leader for day in engine.days for t in day.decision.entries.values()}
    assert led == {"ma_crossover", "rsi"}
    assert Verdict.TIME_STOP in {c.verdict for d in engine.days for c in d.decision.choices}
    assert "stop_loss" in {o.reason for o in swept.orders}


def test_partial_fills(trade):
    """Orders that get only a part of what they ask for leave the same books."""
    engine, swept = trade(
        SYMBOLS[1], (10, 30), date(2003, 1, 2), date(2004, 6, 30),
        orders={"participation": 0.0001}, exits={"stop_loss": 0.02},
    )  # fmt: skip

    assert_same(engine, swept)
    partly = [o for d in engine.days for o in d.orders if 0 < o.filled_quantity < o.intent.quantity]
    assert partly


FRACTIONS = {
    "max_single_name": (0.02, 0.10, 0.6),
    "max_sector": (0.05, 0.3, 1.0),
    "max_gross": (0.05, 0.3, 1.0),
    "max_portfolio_var": (0.001, 0.005, 0.5),
    "max_daily_loss": (0.001, 0.01, 1.0),
    "max_drawdown": (0.005, 0.03, 1.0),
    "max_adv_share": (0.00001, 0.05),
}


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_random_runs(trade, data):
    """Whatever the names, dates, parameters, limits, exits and participation, they trade alike."""
    draw = data.draw
    symbols = draw(st.sampled_from(SYMBOLS))
    first = draw(st.dates(date(2001, 1, 2), date(2006, 6, 30)))
    length = draw(st.integers(20, 250))
    last = min(date.fromordinal(first.toordinal() + length), RECORDED[1])

    engine, swept = trade(
        symbols,
        draw(st.sampled_from(CROSSOVERS)),
        first,
        last,
        agents=draw(st.sampled_from([("ma_crossover",), ("volatility_breakout",), ALL_AGENTS])),
        sectors=draw(st.lists(st.integers(-1, 1), min_size=4, max_size=4)),
        risk={name: draw(st.sampled_from(values), name) for name, values in FRACTIONS.items()}
        | {"drawdown_cooldown_sessions": draw(st.integers(1, 6))},
        sizing={
            "method": draw(st.sampled_from(list(SizingMethod))),
            "volatility_target": draw(st.sampled_from([0.01, 0.05, 0.5])),
            "atr_risk": draw(st.sampled_from([0.001, 0.01])),
        },
        allocation={
            "no_trade_band": draw(st.sampled_from([0.0001, 0.01, 0.05])),
            "cash_buffer": draw(st.sampled_from([0.0001, 0.01, 0.3])),
            "resize": draw(st.sampled_from(["monthly", "daily"])),
        },
        orders={
            "entry_band": draw(st.sampled_from([0.0001, 0.005, 0.02])),
            "exit_band": draw(st.sampled_from([0.0001, 0.005, 0.03])),
            "stop_collar": draw(st.sampled_from([0.0001, 0.02])),
            "participation": draw(st.sampled_from([0.00005, 0.001, 0.1])),
        },
        splits_as=draw(st.sampled_from([ActionKind.SPLIT, ActionKind.RIGHTS])),
        exits={
            "stop_loss": draw(st.sampled_from([None, 0.01, 0.05])),
            "trailing_stop": draw(st.sampled_from([None, 0.02, 0.1])),
            "take_profit": draw(st.sampled_from([None, 0.02, 0.2])),
            "stop_atr": draw(st.sampled_from([None, 0.5, 2.0])),
            "trailing_atr": draw(st.sampled_from([None, 1.5])),
            "max_sessions": draw(st.sampled_from([None, 1, 7])),
            "cooldown_sessions": draw(st.integers(0, 5)),
        },
        slippage=draw(
            st.sampled_from(
                [
                    {},
                    {"half_spread_bps": 5.0, "auction_bps": 2.0},
                    {"half_spread_ticks": 1, "impact": 0.8},
                ]
            )
        ),
        favourable=draw(st.booleans()),
        agent_exits=draw(
            st.sampled_from([{}, {"ma_crossover": ExitRules(take_profit=0.03, max_sessions=3)}])
        ),
    )

    assert_same(engine, swept)


@pytest.mark.parametrize(
    ("symbol", "ex_date"), [("AAPL", date(2005, 2, 28)), ("MSFT", date(2004, 11, 15))]
)
def test_equity_is_continuous_over_actions(trade, symbol, ex_date):
    """Overnight, an action moves equity by the withheld tax alone, in the engine and the sweep."""
    engine, swept = trade(SYMBOLS[1], (10, 30), date(2004, 1, 2), date(2005, 6, 30))

    assert_same(engine, swept)
    (applied,) = [
        a for a in engine.applied if a.action.symbol == symbol and a.action.ex_date == ex_date
    ]
    held = applied.effect.quantity_before
    day = engine.sessions.index(ex_date)
    assert held > 0
    assert engine.days[day].decision.equity == engine.equity[day - 1] - applied.effect.withheld


def test_a_right_is_lost(trade):
    """Overnight AAPL's halving of 2005, told as a right, takes half the holding out of equity."""
    engine, swept = trade(
        ("AAPL",), (10, 30), date(2004, 6, 1), date(2005, 6, 30),
        exits={"stop_loss": 0.3, "trailing_stop": 0.3}, splits_as=ActionKind.RIGHTS,
    )  # fmt: skip

    assert_same(engine, swept)
    (applied,) = [a for a in engine.applied if a.action.kind is ActionKind.RIGHTS]
    day = engine.sessions.index(date(2005, 2, 28))
    held = applied.effect.quantity_before
    assert applied.effect.quantity_after == held > 0
    assert engine.days[day].decision.equity == engine.equity[day - 1] - held * 444_950
