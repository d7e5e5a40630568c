"""A backtest over recorded Korean history: lots, ticks and limits of their days, money to the won."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from trading.backtest import runner
from trading.bootstrap import policy_of
from trading.config import load_settings
from trading.domain.instrument import Market
from trading.domain.order import Side
from trading.domain.rules import shipped_rules
from trading.execution.decide import Views
from trading.sessions import SessionCalendar
from trading.store.datasets import RecordedSource
from trading.store.panels import assemble_panels
from trading.strategies.evaluation import evaluate

SYMBOLS = ["000660", "005930", "055550"]
FIRST, LAST = date(2009, 1, 2), date(2011, 12, 29)


@pytest.fixture
def traded(shared_data):
    """Trade three KOSPI names over the tick change of 2010-10-04, in lots of ten below 50,000."""
    settings = load_settings(Path(__file__).resolve().parents[2])
    source, calendar = RecordedSource(shared_data), SessionCalendar(Market.KRX)
    rules = shipped_rules(Market.KRX)
    listed = {i.symbol: i.exchange for i in source.instruments(Market.KRX)}
    actions = [a for a in source.actions(Market.KRX, FIRST, LAST) if a.symbol in SYMBOLS]
    raw, adjusted = assemble_panels(
        source.daily(Market.KRX, SYMBOLS, FIRST, LAST), actions, calendar.sessions(FIRST, LAST),
        Market.KRX, SYMBOLS, exchanges={s: listed[s] for s in SYMBOLS}, rules=rules,
    )  # fmt: skip
    policy = policy_of(settings, Market.KRX, calendar)
    ensemble = policy.allocation.ensemble.model_copy(
        update={"entry_forecast": 0.0, "min_confidence": 0.0, "exit_forecast": -0.5}
    )
    policy = replace(
        policy,
        allocation=policy.allocation.model_copy(
            update={"ensemble": ensemble, "resize": "daily", "no_trade_band": 0.005}
        ),
        risk=policy.risk.model_copy(update={"max_single_name": 0.3}),
    )
    evaluation = evaluate(
        adjusted, raw, features=settings.features, strategies=settings.strategies,
        agents=("ma_crossover", "rsi", "bollinger_mfi", "momentum"),
    ).evaluation  # fmt: skip
    views = Views(evaluation, raw, rules, policy)
    result = runner.run(
        views, raw, actions, calendar, rules, policy,
        cash=100_000_000, first=date(2010, 2, 1), last=LAST,
    )  # fmt: skip
    return raw, rules, result


def test_recorded_korean_history(traded):
    """Every order is one that KRX would have taken, no guard fires, and not a won is missing."""
    raw, rules, result = traded
    orders = [order for day in result.days for order in day.orders]

    assert len(orders) > 50
    assert {o.intent.side for o in orders} == set(Side)
    assert not any(day.denied for day in result.days)
    assert result.cash_difference == 0
    for order in orders:
        intent = order.intent
        reference = int(raw.reference[raw.row_of(intent.session), raw.symbols.index(intent.symbol)])
        lower, upper = rules.price_limits(intent.exchange, reference, intent.session)
        assert intent.quantity % rules.lot_size(intent.exchange, reference, intent.session) == 0
        assert rules.is_on_tick(intent.exchange, intent.limit, intent.session)
        assert lower <= intent.limit <= upper
