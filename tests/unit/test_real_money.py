"""What stands before real money, and how far it says it has come."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta

import pytest

from trading import bootstrap, real_money
from trading.config import Env
from trading.domain.account import Portfolio
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Market
from trading.execution.decide import RiskState, decide
from trading.execution.orders import FirstSessions
from trading.home import shipped_config_dir
from trading.live.journal import CLOSED
from trading.ports import Record, RecordKind
from trading.sessions import SessionCalendar
from trading.store.ledger import MemoryLedger

TODAY = date(2005, 6, 1)


def recent(count):
    """Return the last ``count`` US sessions before today."""
    return SessionCalendar(Market.US).sessions(TODAY - timedelta(days=90), TODAY)[-count:]


def ledger_of(days, *, differing=(), unexplained=(), unproven=()):
    """Return a ledger in which ``days`` were closed; the named ones left something open."""
    ledger = MemoryLedger()
    for day in days:
        ts = datetime(day.year, day.month, day.day, 21, tzinfo=UTC)
        bodies = {
            RecordKind.SESSION: (
                f"{day}:{CLOSED}", {"differences": ["현금"] if day in differing else []},
            ),
            RecordKind.PARITY: (f"{day}:parity", {"unexplained": int(day in unexplained)}),
        }  # fmt: skip
        for kind, (key, body) in bodies.items():
            if kind is not RecordKind.PARITY or day not in unproven:
                ledger.append(Record(kind=kind, key=key, session=day, ts=ts, body=body))
    return ledger


def test_twenty_paper_sessions_of_the_last_sixty_days():
    """Only those count that closed, reconciled and were proven; the progress says how many."""
    days = recent(25)

    none = real_money.paper_sessions(None, None, TODAY)
    some = real_money.paper_sessions(ledger_of(days[-7:]), None, TODAY)
    enough = real_money.paper_sessions(ledger_of(days[-20:]), None, TODAY)
    old = real_money.paper_sessions(ledger_of(days), None, TODAY + timedelta(days=40))
    stained = real_money.paper_sessions(
        ledger_of(days[-22:], differing=days[-1:], unexplained=days[-2:-1], unproven=days[-3:-2]),
        None,
        TODAY,
    )

    assert (none.progress, none.is_met) == ("0/20회", False)
    assert (some.progress, some.is_met) == ("7/20회", False)
    assert (enough.progress, enough.is_met) == ("20/20회", True)
    assert not old.is_met
    assert (stained.progress, stained.is_met) == (
        "19/20회, 차이가 남아 세지 않은 세션 3회", False,
    )  # fmt: skip
    assert "지금 7회" in some.lacking


def test_an_account_that_trades_is_not_stopped_by_the_age_of_its_rehearsal():
    """Clean sessions with real money count; those that left something open do not."""
    days = recent(30)
    later = TODAY + timedelta(days=40)
    since = SessionCalendar(Market.US).sessions(TODAY, later)

    trading = real_money.paper_sessions(ledger_of(days), ledger_of(since), later)
    stained = real_money.paper_sessions(ledger_of(days), ledger_of(since, unexplained=since), later)

    assert len(since) >= 20 and trading.is_met
    assert not stained.is_met


@pytest.mark.parametrize(
    ("account", "said", "is_met", "progress"),
    [
        ("60001234-01", "3401", True, "맞음"),
        ("60001234-01", " 3401 ", True, "맞음"),
        ("60001234-01", "1234", False, "다름"),
        ("60001234-01", "가나다라", False, "다름"),
        ("60001234-01", None, False, "없음"),
        ("60001234-01", "", False, "없음"),
        (None, "3401", False, "다름"),
        ("", "", False, "없음"),
    ],
)
def test_the_operator_repeats_the_last_four_digits(account, said, is_met, progress):
    """Of the account that is given; nothing else passes, and the digits are not told."""
    found = real_money.confirmation(account, said)

    assert (found.is_met, found.progress) == (is_met, progress)
    assert "3401" not in found.lacking + found.action + found.name


def test_all_of_them_are_shown(home):
    """A new installation asks for everything; each one says what it is, how far, and what to do."""
    installation = bootstrap.open_home(home, console=False)

    real = bootstrap.conditions(installation, Env.REAL)
    paper = bootstrap.conditions(installation, Env.PAPER)

    assert [c.code for c in real] == [real_money.KEY] * 4 + [
        real_money.ENV, real_money.PAPER, real_money.WALK_FORWARD, real_money.DRILL,
        real_money.CONFIRM,
    ]  # fmt: skip
    assert {c.code for c in paper} == {real_money.KEY, real_money.ENV}
    assert all(not c.is_met and c.lacking and c.action and c.progress for c in real)
    assert bootstrap.unmet_conditions(installation, Env.REAL) == [c.lacking for c in real]


def test_the_market_that_is_traded_is_the_one_that_is_proven(home):
    """Evidence of one market opens no other: an option does not borrow it."""
    installation = bootstrap.open_home(home, console=False)
    ledger = bootstrap.open_ledger(installation.home, Env.PAPER, Market.US)
    today = bootstrap._today(Market.US)
    days = SessionCalendar(Market.US).sessions(today - timedelta(days=50), today)[-20:]
    for record in ledger_of(days).read():
        ledger.append(record)
    ledger.close()

    def paper_sessions(market):
        found = bootstrap.conditions(installation, Env.REAL, market)
        return next(c.progress for c in found if c.code == real_money.PAPER)

    assert (paper_sessions(Market.US), paper_sessions(Market.KRX)) == ("20/20회", "0/20회")


def test_with_everything_there_only_the_drill_is_left_and_done(home, monkeypatch):
    """Keys, setting, paper sessions, walk-forward and the operator's word; then nothing is missing."""
    shutil.copytree(shipped_config_dir(), home / "config")
    app = home / "config" / "app.yaml"
    app.write_text(app.read_text("utf-8").replace("env: demo", "env: real"), "utf-8")
    keys = {"APP_KEY": "key-of-the-test", "APP_SECRET": "secret-of-it", "ACCOUNT": "60001234-01"}
    for name, value in keys.items():
        monkeypatch.setenv(f"KIS_REAL_{name}", value)
    monkeypatch.setenv("KIS_HTS_ID", "user01")
    monkeypatch.setenv("TRADING_CONFIRM_REAL", "3401")
    installation = bootstrap.open_home(home, console=False)
    calendar = SessionCalendar(Market.US)
    policy = bootstrap.policy_of(installation.settings, Market.US, calendar)
    body = {
        "strategy": "ensemble", "policy_hash": policy.hash, "folds": [{"params": {}}],
        "sessions": ["2007-03-16"] * 3 * calendar.sessions_per_year,
    }  # fmt: skip
    folder = bootstrap.research_dir(installation.home) / "walk-forward"
    folder.mkdir(parents=True)
    (folder / "ensemble.json").write_text(json.dumps(body), "utf-8")
    today = bootstrap._today(Market.US)
    days = calendar.sessions(today - timedelta(days=50), today)[-20:]
    ledger = bootstrap.open_ledger(installation.home, Env.PAPER, Market.US)
    for record in ledger_of(days).read():
        ledger.append(record)
    ledger.close()

    before = [c for c in bootstrap.conditions(installation, Env.REAL) if not c.is_met]
    unmet = bootstrap.unmet_today(installation, Env.REAL)
    monkeypatch.setenv("TRADING_CONFIRM_REAL", "0000")
    mistaken = bootstrap.unmet_today(installation, Env.REAL)

    assert [c.code for c in before] == [real_money.DRILL]
    assert unmet == []
    assert len(mistaken) == 1 and "TRADING_CONFIRM_REAL" in mistaken[0]


def test_first_limits_only_narrow(home):
    """The smaller limit holds; after the last of the first sessions the policy is the whole one."""
    settings = bootstrap.open_home(home, console=False).settings
    calendar = SessionCalendar(Market.US)
    whole = bootstrap.policy_of(settings, Market.US, calendar)
    wide = FirstSessions(sessions=3, max_gross=1.0, max_single_name=1.0, max_order_share=1.0)
    narrow = FirstSessions(sessions=3, max_gross=0.2, max_single_name=0.02, max_order_share=0.02)

    assert real_money.first_steps(whole, wide, 0).hash == whole.hash
    assert real_money.first_steps(whole, narrow, 3).hash == whole.hash
    small = real_money.first_steps(whole, narrow, 2)
    assert small.hash != whole.hash
    assert (small.risk.max_gross, small.risk.max_single_name) == (0.2, 0.02)
    assert small.risk.guards.max_order_share == 0.02
    assert small.numbers.max_gross == 0.2
    assert small.risk.max_daily_loss == whole.risk.max_daily_loss


def test_the_same_decision_under_narrower_limits(embedded_market):
    """Over recorded mornings: the same names and forecasts, weights within the caps, cut by their codes."""
    policy, views = embedded_market.views(
        allocation=embedded_market.policy.allocation.model_copy(
            update={
                "ensemble": embedded_market.policy.allocation.ensemble.model_copy(
                    update={"entry_forecast": 0.05, "min_confidence": 0.05, "max_entry_var": 1.0}
                )
            }
        )
    )
    limits = FirstSessions(sessions=1, max_gross=0.06, max_single_name=0.05, max_order_share=0.05)
    capped = real_money.first_steps(policy, limits, 0)
    cash = 1_000_000_000
    account = Portfolio(market=Market.US, cash=cash, positions={})
    risk = RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE)
    bought = 0
    codes = set()

    for row in range(900, 1200, 20):
        view = views.at(row)
        whole = decide(view, account, policy, risk)
        small = decide(view, account, capped, risk)

        weights = [choice.weight for choice in small.choices]
        assert [c.forecast for c in small.choices] == [c.forecast for c in whole.choices]
        assert sum(weights) <= 0.06 + 1e-9 and max(weights) <= 0.05 + 1e-9
        assert {i.symbol for i in small.intents} <= {i.symbol for i in whole.intents}
        for intent in small.intents:
            assert intent.quantity * intent.limit <= 0.05 * cash * (1 + policy.orders.entry_band)
        bought += len(small.intents)
        codes |= {choice.verdict for choice in small.choices}

    assert bought > 5
    assert codes >= {Verdict.CAP_SINGLE_NAME, Verdict.CAP_GROSS}


def test_the_shipped_limits_are_the_defaults(home):
    """Who leaves the block out has what the shipped file says."""
    shipped = bootstrap.open_home(home, console=False).settings

    assert shipped.execution.first_sessions == FirstSessions()


def test_first_limits_that_contradict_each_other_are_refused():
    """An order that a decision may want must pass the gate."""
    with pytest.raises(ValueError, match="max_single_name"):
        FirstSessions(max_single_name=0.1, max_order_share=0.05)


def test_changing_the_first_limits_costs_no_evidence(home):
    """They are no part of the policy that a walk-forward proves."""
    settings = bootstrap.open_home(home, console=False).settings
    calendar = SessionCalendar(Market.US)
    before = bootstrap.policy_of(settings, Market.US, calendar).hash

    wider = settings.execution.model_copy(update={"first_sessions": FirstSessions(max_gross=0.5)})
    settings.__dict__["execution"] = wider

    assert bootstrap.policy_of(settings, Market.US, calendar).hash == before
