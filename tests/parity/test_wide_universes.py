"""Sweep and engine over recorded Korean names, more than one feed carries: alike to the won.

Over the tick ladder of 2010-10-04 and the price limits of 2015-06-15, with lots of ten below 50,000.
"""

from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.backtest import runner, sweep
from trading.bootstrap import policy_of
from trading.config import load_settings
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.execution.decide import Views
from trading.sessions import SessionCalendar
from trading.simulation.slippage import SlippageSettings
from trading.store.datasets import RecordedSource
from trading.store.panels import assemble_panels
from trading.strategies.evaluation import evaluate

CHECKOUT = Path(__file__).resolve().parents[2]
# Panels begin 300 sessions before what is traded.
SPANS = (
    (date(2009, 6, 1), date(2010, 9, 1), date(2010, 11, 15)),
    (date(2014, 3, 3), date(2015, 5, 15), date(2015, 7, 31)),
)
WIDTHS = (25, 70)
CASH = 500_000_000

pytestmark = pytest.mark.slow


@pytest.fixture
def trade(shared_data):
    """Return both results of one run."""
    shipped, rules = load_settings(CHECKOUT), shipped_rules(Market.KRX)
    calendar = SessionCalendar(Market.KRX)
    base = policy_of(shipped, Market.KRX, calendar)
    guards = base.risk.guards.model_copy(update={"max_order_share": 1.0})
    source = RecordedSource(shared_data)

    @cache
    def market(span, width, agents):
        first, _, last = SPANS[span]
        traded = source.daily(Market.KRX, None, last, last)
        value = (traded["close"] * traded["volume"]).to_numpy()
        symbols = sorted(traded["symbol"].to_numpy()[value.argsort()[::-1][:width]].tolist())
        exchanges = {i.symbol: i.exchange for i in source.instruments(Market.KRX)}
        actions = [a for a in source.actions(Market.KRX, first, last) if a.symbol in symbols]
        raw, adjusted = assemble_panels(
            source.daily(Market.KRX, symbols, first, last), actions,
            calendar.sessions(first, last), Market.KRX, symbols,
            exchanges={s: exchanges[s] for s in symbols}, rules=rules,
        )  # fmt: skip
        evaluation = evaluate(
            adjusted, raw, features=shipped.features, strategies=shipped.strategies, agents=agents,
        ).evaluation  # fmt: skip
        return raw, tuple(actions), evaluation

    def run(span, width, agents, *, orders, exits, risk, favourable):
        raw, actions, evaluation = market(span, width, agents)
        eager = base.allocation.ensemble.model_copy(
            update={"entry_forecast": 0.0, "min_confidence": 0.0, "max_entry_var": 1.0}
        )
        policy = replace(
            base,
            allocation=base.allocation.model_copy(update={"ensemble": eager, "resize": "daily"}),
            risk=base.risk.model_copy(update={"guards": guards} | risk),
            orders=base.orders.model_copy(update=orders),
            exits=base.exits.model_copy(update=exits),
            agent_exits={},
        )
        asked = (
            Views(evaluation, raw, rules, policy), raw, actions, calendar, rules, policy,
        )  # fmt: skip
        _, first, last = SPANS[span]
        asked_for = {"cash": CASH, "first": first, "last": last, "favourable": favourable}
        return runner.run(*asked, **asked_for), sweep.run(*asked, **asked_for)

    return run


@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_wide_universes(trade, data):
    """Whatever the universe, limits, exits, participation and slippage: same orders, same equity."""
    draw = data.draw
    engine, swept = trade(
        draw(st.integers(0, 1)),
        draw(st.sampled_from(WIDTHS)),
        draw(st.sampled_from([("ma_crossover", "rsi"), ("volatility_breakout", "bollinger_mfi")])),
        orders={
            "participation": draw(st.sampled_from([0.0005, 0.1])),
            "slippage": SlippageSettings(
                **draw(
                    st.sampled_from(
                        [{}, {"half_spread_ticks": 1}, {"auction_bps": 8.0, "impact": 0.5}]
                    )
                )
            ),
        },
        exits={
            "stop_loss": draw(st.sampled_from([None, 0.02])),
            "take_profit": draw(st.sampled_from([None, 0.02])),
            "cooldown_sessions": draw(st.integers(0, 3)),
        },
        risk={
            "max_single_name": draw(st.sampled_from([0.02, 0.1])),
            "max_daily_loss": draw(st.sampled_from([0.003, 1.0])),
        },
        favourable=draw(st.booleans()),
    )

    intents = [order.intent for day in engine.days for order in day.orders]
    assert len(intents) > 5
    assert swept.equity == engine.equity
    assert runner.orders_hash(swept.orders) == runner.orders_hash(intents)
    assert swept.ambiguous_fills == engine.ambiguous_fills
    assert swept.slippage == engine.slippage
    assert engine.cash_difference == 0
