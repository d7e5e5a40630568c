"""The risk of a finished session's holdings, from ledger and lake, as a user asks for it."""

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from program import configure, trading

from trading import bootstrap, day, holdings
from trading.context import DayContext, open_engine, prepare, session_event
from trading.domain.instrument import Market
from trading.execution.engine import SessionEnd, Timer
from trading.live.journal import Evidence, Journal, read_session

SESSION = date(2013, 1, 15)
# Nothing to train, and thresholds so low that what it likes is bought.
EASY = {
    "strategies": {"forest": {"enabled": False}},
    "allocation": {
        "ensemble": {"entry_forecast": 0.05, "min_confidence": 0.05, "max_entry_var": 1.0}
    },
}


def open_day(root: Path) -> DayContext:
    installation = bootstrap.open_home(root, console=False)
    request = bootstrap.DemoRequest(start=SESSION, sessions=1)
    return bootstrap.open_demo_day(
        installation, bootstrap.begin_demo(installation, Market.US, request)
    )


@pytest.fixture(scope="module")
def decided(tmp_path_factory) -> Path:
    """A home whose session decided, and bought what it decided at its reference prices.

    Beside that the account holds a name that no source has a bar of.
    """
    root = configure(tmp_path_factory.mktemp("decided"), EASY)
    context = open_day(root)
    try:
        day.market_data(context)
        prepared = prepare(context)
        engine = open_engine(context, read_session(context.ledger, SESSION))
        journal = Journal(context.ledger, SESSION, context.clock)
        journal.opened(engine.snapshot())
        start = session_event(context, prepared, engine)
        engine.handle(start)
        engine.handle(Timer(ts=start.open_ts, view=prepared.view))
        (decision,) = engine.decisions
        journal.decided(decision, Evidence())
        for intent in decision.intents:
            price = start.reference[intent.symbol]
            engine.account.adjust(symbol=intent.symbol, quantity=intent.quantity, price=price)
            engine.account.adjust(cash=-intent.quantity * price)
        engine.account.adjust(symbol="ZZZZ", quantity=1, price=10_000_000)
        engine.last_price["ZZZZ"] = 10_000_000
        engine.handle(SessionEnd(ts=start.close_ts))
        context.lake.upsert(
            Market.US, "daily", context.source.daily(Market.US, None, SESSION, SESSION)
        )
        journal.closed(
            {
                "engine": engine.snapshot(),
                "equity": engine.equity(),
                "cash": engine.account.cash,
                "cash_difference": 0,
                "differences": [],
                "ambiguous_fills": 0,
                "state": "active",
            }
        )
    finally:
        bootstrap.close_day(context.key)
    return root


@pytest.fixture(scope="module")
def told(decided) -> dict:
    """What the command says of it."""
    answer = trading(decided, "risk", "--json")
    assert answer.code == 0, answer.err
    return answer.json


def test_from_wish_to_holding(told):
    """Each name from what was wished over what the caps left to what is held."""
    names = {one["symbol"]: one for one in told["names"]}
    held = [one for one in told["names"] if one["held"] and one["symbol"] != "ZZZZ"]

    assert len(held) > 1
    assert all(one["wished"] >= one["allowed"] > 0.0 for one in held)
    assert max(one["wished"] for one in held) > max(one["allowed"] for one in held)
    assert sum(one["variance_held"] for one in told["names"]) == pytest.approx(1.0)
    assert sum(one["variance_wished"] for one in told["names"]) == pytest.approx(1.0)
    assert names["ZZZZ"]["sessions"] == 0
    assert told["exposure"]["cause"] is not None
    assert told["exposure"]["measures"]["var"] > 0.0


def test_the_session_itself_counts(told):
    """After the close the day's own move is part of the past."""
    assert told["as_of"] == str(SESSION)
    assert told["var"]["sessions"] == 250
    assert told["method"] in {"historical", "normal", "student", "filtered"}
    assert {row["sessions"] for row in told["backtests"]["rows"]} == {250, 1000}
    assert told["account"]["rows"] == []


def test_crises_of_the_record(told):
    """2008 and 2011 are replayed, the name without a bar is left out; the others are not there."""
    found = {one["name"][:4]: one for one in told["scenarios"]}

    assert {year: one["is_covered"] for year, one in found.items()} == {
        "2008": True,
        "2011": True,
        "2020": False,
        "2024": False,
    }
    stranger = next(one["held"] for one in told["names"] if one["symbol"] == "ZZZZ")
    assert found["2008"]["flagged"]["ZZZZ"] == "left_out"
    assert found["2008"]["left_out"] >= stranger > 0.0
    assert found["2008"]["loss"] > 0.0


def test_in_words(decided):
    """The same for people: a table each, in Korean."""
    answer = trading(decided, "risk", "--session", str(SESSION))

    assert answer.code == 0, answer.err
    for words in ("한도와 남은 여유", "손실 전망", "2008 금융위기", "ZZZZ", "예측의 검정"):
        assert words in answer.out, words


@pytest.fixture
def again(decided, tmp_path):
    """The session in a copy of the home, open once more."""
    root = Path(shutil.copytree(decided, tmp_path / "home"))
    context = bootstrap.open_past_day(root, Market.US, SESSION)
    yield context
    bootstrap.close_day(context.key)


def test_the_same_again(again, told):
    """Ledger and lake alone decide what is said; later days in the lake change nothing."""
    calendar = again.calendar
    later = again.source.daily(
        Market.US, None, calendar.next(SESSION), calendar.offset(SESSION, 20)
    )
    again.lake.upsert(Market.US, "daily", later)

    assert json.loads(json.dumps(holdings.risk(again))) == told


def test_a_crisis_from_before_the_panel(again):
    """The panel begins in 2008; a lake that goes back further shows what happened before."""
    first, last = date(2001, 8, 1), date(2001, 10, 31)
    again.lake.upsert(Market.US, "daily", again.source.daily(Market.US, None, first, last))
    window = {"name": "2001", "first": date(2001, 9, 10), "last": date(2001, 9, 21)}
    scenarios = type(again.policy.risk.scenarios)(windows=(window,), min_proxy_names=2)
    risk = again.policy.risk.model_copy(update={"scenarios": scenarios})
    again.policy = replace(again.policy, risk=risk)

    body = holdings.risk(again)

    (found,) = body["scenarios"]
    assert (found["is_covered"], found["sessions"]) == (True, 6)
    own = {s for s, one in found["holdings"].items() if one["basis"] == "own"}
    assert own
    assert own <= {"AAPL", "IBM", "MSFT"}
    weights = {one["symbol"]: one["held"] for one in body["names"]}
    # Closes of 2001-09-07 and 2001-09-21 as recorded, neither share split between.
    closes = again.source.daily(Market.US, sorted(own), date(2001, 9, 7), date(2001, 9, 21))
    for symbol, bars in closes.groupby("symbol"):
        move = bars["close"].iloc[-1] / bars["close"].iloc[0] - 1.0
        assert found["holdings"][symbol]["contribution"] == pytest.approx(
            weights[symbol] * move, rel=1e-6
        )
    # Nobody changed what was decided, so what was wished is still known.
    assert body["exposure"]["cause"] is not None


def test_size_where_market_values_are_listed(again, told):
    """A value listed once counts from its day on; without one size is not measured."""
    before = next(row for row in told["factors"]["rows"] if row["name"] == "size")
    # Shares outstanding by the quarterly reports times the close of that day, billions of dollars.
    values = {"AAPL": 547, "FB": 66, "GOOG": 189, "IBM": 223, "MSFT": 256}
    again.lake.upsert(
        Market.US,
        "listings",
        pd.DataFrame(
            {
                "session": pd.Timestamp(2012, 6, 29),
                "symbol": list(values),
                "exchange": "NASDAQ",
                "name": list(values),
                "is_halted": False,
                "is_administrative": None,
                "warning": None,
                "market_cap": [value * 10**13 for value in values.values()],
                "shares": None,
                "source": "quarterly reports",
            }
        ),
    )

    body = holdings.risk(again)

    after = next(row for row in body["factors"]["rows"] if row["name"] == "size")
    assert before["beta"] is None
    assert after["beta"] is not None
    assert after["error"] > 0.0


def test_other_settings_than_those_of_the_day(again):
    """Settings that lead elsewhere: what was allowed is on record, what was wished is not."""
    risk = again.policy.risk.model_copy(update={"max_single_name": 0.02})
    again.policy = replace(again.policy, risk=risk)

    body = holdings.risk(again)

    assert body["exposure"]["cause"] is None
    assert all(one["wished"] is None for one in body["names"])
    assert max(one["allowed"] for one in body["names"]) > 0.02


def test_a_session_that_is_not_over(decided, tmp_path):
    """Before the close there is nothing to measure: a sentence, not a stack."""
    root = Path(shutil.copytree(decided, tmp_path / "home"))

    answer = trading(root, "risk", "--session", "2013-01-16")

    assert answer.code == 3
    assert "끝난 기록이 없습니다" in answer.err
