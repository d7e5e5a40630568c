"""A split between training and today changes no past decision (law 3), through ``decide``."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trading.backtest import runner
from trading.bootstrap import policy_of
from trading.config import load_settings
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.decision import Decision
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.execution.decide import Views
from trading.sessions import SessionCalendar
from trading.store.adjust import KOREAN_VENDOR, infer_actions
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.panels import assemble_panels
from trading.strategies.evaluation import evaluate

CHECKOUT = Path(__file__).resolve().parents[3]
AGENTS = ("ma_crossover", "rsi", "bollinger_mfi", "momentum")


def decisions(
    frame: pd.DataFrame,
    actions: list[CorporateAction],
    market: Market,
    first: date,
    until: date,
    recorded_to: date,
) -> list[Decision]:
    """Return the decisions up to ``until`` of somebody whose record goes to ``recorded_to``."""
    settings, calendar = load_settings(CHECKOUT), SessionCalendar(market)
    policy, rules = policy_of(settings, market, calendar), shipped_rules(market)
    frame = frame.loc[frame["session"] <= pd.Timestamp(recorded_to)]
    actions = [a for a in actions if a.ex_date <= recorded_to]
    origin = frame["session"].min().date()
    raw, adjusted = assemble_panels(
        frame, actions, calendar.sessions(origin, recorded_to), market, None
    )
    evaluation = evaluate(
        adjusted,
        raw,
        features=settings.features,
        strategies=settings.strategies,
        agents=AGENTS,
    ).evaluation
    result = runner.run(
        Views(evaluation, raw, rules, policy),
        raw,
        actions,
        calendar,
        rules,
        policy,
        cash=settings.app.demo.cash_minor(market),
        first=first,
        last=until,
    )
    return [day.decision for day in result.days if day.decision is not None]


def assert_same_past(
    frame: pd.DataFrame,
    actions: list[CorporateAction],
    market: Market,
    first: date,
    eve: date,
    later: date,
) -> None:
    """Assert that the record after the eve of an action changes nothing that was decided by it."""
    then = decisions(frame, actions, market, first, eve, eve)
    now = decisions(frame, actions, market, first, eve, later)

    assert len(then) == len(now) > 100
    assert then == now
    assert any(choice.target_quantity for d in then for choice in d.choices)


@pytest.mark.parametrize(
    ("eve", "kind"),
    [
        (date(2005, 2, 25), ActionKind.SPLIT),  # AAPL two for one on the 28th
        (date(2004, 11, 12), ActionKind.CASH_DIVIDEND),  # MSFT 3.08 dollars on the 15th
        (date(2005, 2, 25), ActionKind.RIGHTS),
    ],
)
def test_embedded(eve, kind):
    """The first session after the eve brings an action; it and a year more change no decision."""
    source = EmbeddedSource()
    first, last = date(2003, 1, 2), date(2005, 12, 30)
    frame = source.daily(Market.US, None, first, last)
    actions = list(source.actions(Market.US, first, last))
    if kind is ActionKind.RIGHTS:
        actions = [
            CorporateAction(
                symbol=a.symbol,
                ex_date=a.ex_date,
                kind=kind,
                numerator=a.numerator,
                denominator=a.denominator,
            )
            if a.kind is ActionKind.SPLIT
            else a
            for a in actions
        ]
    following = SessionCalendar(Market.US).next(eve)
    assert kind in {a.kind for a in actions if a.ex_date == following}

    assert_same_past(frame, actions, Market.US, date(2004, 6, 1), eve, last)


def test_krx_ten_for_one(shared_data: Path):
    """Amorepacific (090430) and its holding (002790), 10:1 on 2015-05-08, beside Samsung.

    Bars as traded are the vendor's times ten before the day; that, and nothing else, is inferred
    from the recorded raw closes.
    """
    source = RecordedSource(shared_data)
    symbols = ["002790", "005380", "005930", "090430"]
    first, eve, last = date(2013, 1, 2), date(2015, 5, 7), date(2016, 3, 31)
    frame = source.daily(Market.KRX, symbols, first, last)
    pairs = source.raw_closes(symbols, first, last)
    actions = infer_actions(pairs, minor_per_unit=1, vendor=KOREAN_VENDOR)
    assert [(a.symbol, a.ex_date, a.numerator, a.denominator) for a in actions] == [
        (symbol, date(2015, 5, 8), 10, 1) for symbol in ("002790", "090430")
    ]
    split = frame["symbol"].isin(["002790", "090430"]) & (
        frame["session"] < pd.Timestamp(2015, 5, 8)
    )
    for name in ("open", "high", "low", "close"):
        frame.loc[split, name] *= 10
    frame["basis"] = "raw"

    assert_same_past(frame, actions, Market.KRX, date(2014, 9, 1), eve, last)
