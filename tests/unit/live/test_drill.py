"""The drill finds every guard and rule that does not fire, and touches nothing."""

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from small_venue import Day

from trading import bootstrap, real_money
from trading import day as stages
from trading.backtest.runner import fees_of, session_start
from trading.config import Env
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Market
from trading.domain.market import MarketStatus
from trading.execution import engine as engine_module
from trading.execution.decide import RiskState
from trading.execution.engine import TradingEngine
from trading.execution.exits import ExitRule
from trading.home import shipped_config_dir
from trading.live import drill as drill_module
from trading.live.drill import (
    NO_DRILL,
    NO_SYMBOL,
    RULE_TEXT,
    RuleCode,
    drill,
    outcome_text,
)
from trading.live.journal import Journal
from trading.ports import RecordKind
from trading.risk import guards as guards_module
from trading.risk.guards import GUARDS, GuardCode, Guards
from trading.risk.limits import ACTIVE, GuardSettings
from trading.simulation.account import Account
from trading.store.ledger import MemoryLedger

CASH = 1_000_000_000
DAY = date(2005, 5, 27)


class Running:
    """The engine of a recorded session just before it begins."""

    def __init__(self, market, **changes):
        policy, views = market.views(**changes)
        self.engine = TradingEngine(
            policy, Account(policy.market, CASH),
            RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE),
            fees_of(market.rules, market.calendar),
        )  # fmt: skip
        row = market.raw.row_of(DAY)
        self.view = views.at(row)
        self.start = session_start(
            self.view, market.raw, row, (), market.rules, self.engine,
            *market.calendar.open_close(DAY),
        )  # fmt: skip

    def drill(self):
        """Drill it."""
        return drill(self.engine, self.start, self.view)


@pytest.fixture
def running(embedded_market):
    """Return the running engine under the shipped policy."""
    return Running(embedded_market)


def test_everything_fires(running):
    """One row per guard and per rule, each with its own code."""
    report = running.drill()

    assert [one.code for one in report.guards] == list(GuardCode)
    assert [one.code for one in report.rules] == list(RuleCode)
    assert {one.code: one.got for one in (*report.guards, *report.rules) if not one.fired} == {}
    assert report.passed
    assert report.policy_hash == running.engine.policy.hash


def test_words_for_every_rule():
    """No rule is shown without its sentence, and no two read the same."""
    assert list(RULE_TEXT) == list(RuleCode)
    assert len(set(RULE_TEXT.values())) == len(RULE_TEXT)


def unfired(report):
    """Return the guards that did not fire, and the rules."""
    return tuple(
        [one.code for one in part if not one.fired] for part in (report.guards, report.rules)
    )


@pytest.mark.parametrize("code", GuardCode)
def test_an_unwired_guard_is_found(running, code):
    """Taken out of the chain, a guard is reported, it and no other."""
    others = {name: guard for name, guard in GUARDS.items() if name is not code}
    running.engine._guards = Guards(running.engine.policy.risk, others)

    report = running.drill()

    assert unfired(report)[0] == [code]
    assert not report.passed


@pytest.mark.parametrize("code", GuardCode)
def test_a_guard_that_lets_everything_pass_is_found(embedded_market, monkeypatch, code):
    """Still in the chain, but toothless."""
    monkeypatch.setattr(guards_module, "GUARDS", {**GUARDS, code: lambda case: True})

    report = Running(embedded_market).drill()

    assert unfired(report)[0] == [code]


@pytest.mark.parametrize("code", GuardCode)
def test_a_guard_with_another_code_is_found(running, code):
    """What refuses under a wrong name tells the operator a wrong reason."""
    wrong = GuardCode.BAD_QUANTITY if code is not GuardCode.BAD_QUANTITY else GuardCode.LOT
    chain = {}
    for name, guard in GUARDS.items():
        chain[wrong if name is code else name] = _both(chain.get(wrong), guard, name is code)
    running.engine._guards = Guards(running.engine.policy.risk, chain)

    assert code in unfired(running.drill())[0]


def _both(first, second, are_one):
    """Return a guard that is as strict as both."""
    if not are_one or first is None:
        return second
    return lambda case: first(case) and second(case)


def test_a_chain_that_refuses_everything_proves_nothing(running):
    """Every guard fires, and yet nothing could be traded: the clean orders say so."""
    chain = {**GUARDS, "GUARD_EVERYTHING": lambda case: False}
    running.engine._guards = Guards(running.engine.policy.risk, chain)

    guards, rules = unfired(running.drill())

    # Of orders that never leave none is one too many.
    assert guards == [GuardCode.ORDER_RATE]
    assert {RuleCode.CLEAN_BUY, RuleCode.CLEAN_SELL} <= set(rules)


def without(verdict, function):
    """Return ``function`` that never says ``verdict``."""
    return lambda *values: 0 if function(*values) == verdict else function(*values)


MUTATIONS = {
    RuleCode.DAILY_LOSS: (
        engine_module, "breach", without(int(Verdict.DAILY_LOSS), engine_module.breach)),
    RuleCode.DRAWDOWN: (
        engine_module, "breach", without(int(Verdict.CAP_DRAWDOWN), engine_module.breach)),
    RuleCode.DRAWDOWN_START: (
        engine_module, "next_state", lambda equity, peak, *rest: (ACTIVE, peak, 0)),
    RuleCode.REDUCING_SELLS: (TradingEngine, "_take_back", lambda self: []),
    RuleCode.HALTED_KEEPS_ALL: (TradingEngine, "_take_back", lambda self: []),
    RuleCode.STATE_SURVIVES: (
        TradingEngine, "snapshot",
        lambda self, then=TradingEngine.snapshot: then(self) | {"operator": "active"}),
    RuleCode.QUARANTINE: (TradingEngine, "_state_of", lambda self, symbol: self.risk.state),
    RuleCode.STOP_LOSS: (
        engine_module, "exits", without(int(ExitRule.STOP_LOSS), engine_module.exits)),
    RuleCode.TRAILING_STOP: (
        engine_module, "exits", without(int(ExitRule.TRAILING_STOP), engine_module.exits)),
    RuleCode.TAKE_PROFIT: (
        engine_module, "exits", without(int(ExitRule.TAKE_PROFIT), engine_module.exits)),
    RuleCode.EXIT_WAITS: (TradingEngine, "_on_status", lambda self, status: None),
}  # fmt: skip


@pytest.mark.parametrize("rule", MUTATIONS)
def test_an_unwired_rule_is_found(embedded_market, monkeypatch, rule):
    """A loss limit that breaks nothing, a state that is forgotten, an exit that does not sell."""
    monkeypatch.setattr(*MUTATIONS[rule])

    assert rule in unfired(Running(embedded_market).drill())[1]


def test_every_rule_has_its_mutation():
    """The clean orders have one above: a chain that refuses everything."""
    assert set(MUTATIONS) | {RuleCode.CLEAN_BUY, RuleCode.CLEAN_SELL} == set(RuleCode)


@pytest.mark.parametrize(
    "rule",
    [
        RuleCode.DAILY_LOSS, RuleCode.DRAWDOWN, RuleCode.DRAWDOWN_START, RuleCode.QUARANTINE,
        RuleCode.TRAILING_STOP, RuleCode.TAKE_PROFIT, RuleCode.STATE_SURVIVES,
    ],
)  # fmt: skip
def test_it_is_found_alone(embedded_market, monkeypatch, rule):
    """What hangs on nothing else is reported alone: the operator is told where to look."""
    monkeypatch.setattr(*MUTATIONS[rule])

    assert unfired(Running(embedded_market).drill()) == ([], [rule])


def test_an_exit_that_stays_kept_back_is_found(embedded_market, monkeypatch):
    """A halt whose end nobody takes in must not hold the stop for ever."""
    then = TradingEngine._on_status

    def deaf(self, status):
        if status.halted or status.operation:
            then(self, status)

    monkeypatch.setattr(TradingEngine, "_goes_on", lambda self, tick: None)
    monkeypatch.setattr(TradingEngine, "_on_status", deaf)

    assert unfired(Running(embedded_market).drill()) == ([], [RuleCode.EXIT_WAITS])


def test_a_chain_that_breaks_is_found(running, monkeypatch):
    """An error on the way of an order is no refusal: nobody knows what it would do live."""

    def broken(self, intent, ts):
        raise ZeroDivisionError

    monkeypatch.setattr(TradingEngine, "guarded", broken)

    report = running.drill()

    assert {one.got for one in report.guards} == {"ZeroDivisionError"}
    assert not report.passed


def test_nothing_is_touched(running):
    """Not the books, the orders, the decisions, the rate or the view of the running session."""
    engine = running.engine
    before = (engine.snapshot(), engine.risk, dict(engine.orders), replace(running.view).hash)

    running.drill()

    after = (engine.snapshot(), engine.risk, dict(engine.orders), replace(running.view).hash)
    assert after == before
    assert engine.decisions == []
    assert list(engine._guards._sent) == []
    assert engine.account.cash == CASH


def test_a_running_session_can_be_drilled(running):
    """Also in the middle of a day, with orders out and the rate used up."""
    engine = running.engine
    engine.handle(running.start)
    engine._guards._sent.extend([running.start.open_ts] * 500)

    assert running.drill().passed
    assert len(engine._guards._sent) == 500


def test_where_nothing_can_be_ordered_nothing_is_proven(running):
    """A guard that was not asked has not fired."""
    nothing = running.view.morning._replace(tradable=np.zeros(len(running.view.symbols), np.bool_))
    running.view = replace(running.view, morning=nothing)

    report = running.drill()

    assert {one.got for one in (*report.guards, *report.rules)} == {NO_SYMBOL}
    assert set(report.failed) == {*GuardCode, *RuleCode}


def test_a_guard_without_a_drill_has_not_fired(running, monkeypatch):
    """Whoever adds a guard adds its drill."""
    recipes = {k: v for k, v in drill_module._GUARDS.items() if k is not GuardCode.TICK}
    monkeypatch.setattr(drill_module, "_GUARDS", recipes)

    report = running.drill()

    assert report.failed == (GuardCode.TICK,)
    assert next(one.got for one in report.guards if not one.fired) == NO_DRILL
    assert "훈련이 없음" in outcome_text(next(one for one in report.guards if not one.fired))


def test_the_body_is_what_the_ledger_and_the_command_show(running):
    """JSON values, one row a guard."""
    report = running.drill()

    body = json.loads(json.dumps(report.body()))

    assert body["passed"] is True
    assert body["guards"][0] == {
        "code": "GUARD_BAD_QUANTITY", "got": "GUARD_BAD_QUANTITY", "fired": True,
    }  # fmt: skip
    assert (len(body["guards"]), len(body["rules"])) == (len(GuardCode), len(RuleCode))
    assert {outcome_text(one) for one in report.guards} == {"들음"}


def test_settings_that_keep_every_stop_back_are_found(embedded_market):
    """A stop is a limit two per cent below the print; no order may be more than one per cent away."""
    shipped = embedded_market.policy.risk
    guards = shipped.guards.model_copy(update={"max_price_deviation": 0.01})

    report = Running(embedded_market, risk=shipped.model_copy(update={"guards": guards})).drill()

    assert RuleCode.STOP_LOSS in report.failed
    assert "GUARD_PRICE_BAND" in {one.got for one in report.rules}


FRACTIONS = st.floats(0.01, 1.0)


def test_no_setting_makes_the_drill_cry_wolf(embedded_market):
    """A false alarm would cost a day: whatever the operator allows, guards that work are proven."""
    shipped = embedded_market.policy.risk

    # Without shrinking: one example is a whole drill.
    @settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
    @given(
        name=FRACTIONS, sector=FRACTIONS, gross=FRACTIONS, order=FRACTIONS, loss=FRACTIONS,
        drawdown=FRACTIONS, orders=st.integers(1, 150), deviation=st.floats(0.025, 1.0),
        stale=st.floats(1.0, 100_000.0),
    )  # fmt: skip
    def check(name, sector, gross, order, loss, drawdown, orders, deviation, stale):
        guards = GuardSettings(
            max_order_share=max(name, order), max_orders_per_minute=orders,
            max_price_deviation=deviation, stale_seconds=stale,
        )  # fmt: skip
        risk = shipped.model_copy(
            update={
                "max_single_name": name, "max_sector": sector, "max_gross": gross,
                "max_daily_loss": loss, "max_drawdown": drawdown, "guards": guards,
            }
        )  # fmt: skip

        assert unfired(Running(embedded_market, risk=risk).drill()) == ([], [])

    check()


# --- what follows ------------------------------------------------------------------------------


class Notices:
    """Keeps what the operator is told."""

    def __init__(self):
        self.sent = []

    def send(self, event, fields):
        self.sent.append((event, dict(fields)))


def morning(day, running):
    """Return what ``day.intraday`` hands to the drill, with the ledger of a small venue's day."""
    context = SimpleNamespace(
        market=Market.US, session=DAY, run=SimpleNamespace(run_id="run"), ledger=day.ledger,
        notifier=Notices(),
    )  # fmt: skip
    journal = Journal(day.ledger, DAY, day.venue.clock)
    recorded = stages._drilled(
        context, SimpleNamespace(), running.engine, running.start, running.view, journal
    )
    return context.notifier, recorded


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day at a small venue."""
    return Day(traded, embedded_market, MemoryLedger())


async def test_a_proven_morning_trades(day, running):
    """The drill is in the ledger, nobody is told, and the session buys."""
    notices, recorded = morning(day, running)

    await day.run()

    (record,) = day.ledger.read(RecordKind.DRILL)
    assert (recorded, notices.sent) == (None, [])
    assert (record.session, record.body["passed"]) == (DAY, True)
    assert len(day.venue.sent) == day.count
    assert day.recorded.drill_failed is False


async def test_a_guard_that_proves_nothing_lets_the_session_only_reduce(day, running, monkeypatch):
    """No purchase is decided or sent, before a restart and after; the operator is told which."""
    monkeypatch.setattr(
        running.engine, "_guards",
        Guards(running.engine.policy.risk, {**GUARDS, GuardCode.NO_CASH: lambda case: True}),
    )  # fmt: skip
    notices, recorded = morning(day, running)
    day.plan(3, lambda: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        await day.run()
    assert day.engine.risk.state is TradingState.REDUCING
    await day.run()

    assert (recorded.state, recorded.drill_failed) == (TradingState.REDUCING, True)
    ((event, told),) = notices.sent
    assert (event, told["state"]) == ("risk_event", "reducing")
    assert "GUARD_NO_CASH" in told["message"]
    assert day.venue.sent == []
    assert day.decision.intents != ()
    assert day.recorded.decision.intents == ()
    assert day.recorded.decision.state is TradingState.REDUCING
    assert day.recorded.closed["state"] == "reducing"


async def test_a_failed_drill_is_over_with_its_session(day, running):
    """What the next session begins with is what its own drill proves."""
    Journal(day.ledger, DAY, day.venue.clock).drilled({"passed": False, "guards": [], "rules": []})
    await day.run()

    tomorrow = day.new_engine()
    tomorrow.restore(day.recorded.closed["engine"])
    tomorrow.handle(replace(running.start, session=date(2005, 5, 31)))

    assert tomorrow.risk.state is TradingState.ACTIVE


async def test_a_stop_waits_for_a_halt_in_a_session(day):
    """The venue's word of a halt reaches the engine: denied once, sold when it trades again."""
    first = day.decision.intents[0]
    low = first.limit // 2

    def halt(is_halted):
        day.venue.notices.append(
            MarketStatus(
                symbol=first.symbol, halted=is_halted, interrupted=False, operation="", reason="",
                ts_recv=day.venue.clock.now() + timedelta(seconds=1),
            )
        )  # fmt: skip

    def buy():
        day.venue.fill_all(day.venue.number_of(first.symbol))

    day.plan(1, buy)
    day.plan(2, lambda: (halt(True), day.venue.tick(first.symbol, low)))
    day.plan(3, lambda: halt(False))
    day.plan(4, lambda: day.venue.tick(first.symbol, low))

    await day.run()

    ((denied, code),) = day.recorded.denied
    assert (denied.symbol, denied.reason, code) == (
        first.symbol, "stop_loss", GuardCode.SYMBOL_HALTED
    )  # fmt: skip
    sold = [k for k in day.venue.sent if f":{first.symbol}:sell" in k]
    assert len(sold) == 1
    assert sold[0] != denied.intent_id


async def test_a_halt_that_began_while_nobody_was_there(day):
    """Begun again in the middle of a day, the session asks: what is halted is not sold."""
    first = day.decision.intents[0]
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(first.symbol)))
    day.plan(2, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        await day.run()
    usual = day.venue.quote

    async def quote(symbol):
        found = await usual(symbol)
        if symbol != first.symbol:
            return found
        return replace(found, price=first.limit // 2, volume=10, halted=True)

    day.venue.quote = quote

    await day.run()

    assert [code for _, code in day.recorded.denied] == [GuardCode.SYMBOL_HALTED]
    assert [k for k in day.venue.sent if ":sell" in k] == []


def test_a_day_without_a_name_to_order_drills_the_most_traded(embedded_market):
    """Nothing was screened: the guards are proven on another name than those of the view."""
    _, views = embedded_market.views()
    row = embedded_market.raw.row_of(DAY)
    view = views.at(row)
    nothing = view.morning._replace(tradable=np.zeros(len(view.symbols), np.bool_))
    prepared = SimpleNamespace(raw=embedded_market.raw, row=row, views=views)

    found = stages._orderable(prepared, replace(view, morning=nothing))

    assert found.morning.tradable.any()
    assert stages._orderable(prepared, view) is view


def real_home(root):
    """Return an installation that is configured for real trading."""
    shutil.copytree(shipped_config_dir(), root / "config")
    path = root / "config" / "app.yaml"
    path.write_text(path.read_text("utf-8").replace("env: demo", "env: real"), "utf-8")
    return bootstrap.open_home(root, console=False)


def lacking(installation):
    """Return the sentences about the drill that keep real money from trading."""
    unmet = bootstrap.unmet_conditions(installation, Env.REAL)
    return [sentence for sentence in unmet if "훈련" in sentence]


def test_real_money_needs_todays_drill(home, monkeypatch):
    """None, a failed one, one of other settings, and one of yesterday do not do."""
    installation = real_home(home)
    assert "(지금 없음)" in lacking(installation)[0]

    report, is_recorded = bootstrap.drill(installation, Market.US)

    assert (report.passed, is_recorded, lacking(installation)) == (True, True, [])
    path = home / "config" / "risk.yaml"
    shipped = path.read_text("utf-8")
    path.write_text(shipped.replace("max_single_name: 0.10", "max_single_name: 0.04"), "utf-8")
    assert "설정이 바뀜" in lacking(bootstrap.open_home(home, console=False))[0]
    monkeypatch.setattr(
        guards_module, "GUARDS", {**GUARDS, GuardCode.SHORT_SALE: lambda case: True}
    )
    assert bootstrap.drill(installation, Market.US)[0].failed == (GuardCode.SHORT_SALE,)
    assert "실패" in lacking(installation)[0]
    monkeypatch.undo()
    bootstrap.drill(installation, Market.US)
    assert lacking(installation) == []
    monkeypatch.setattr(bootstrap, "_today", lambda market: date(2038, 1, 19))
    assert "(지금 없음)" in lacking(installation)[0]


def test_where_only_the_drill_is_missing_it_is_done(home, monkeypatch):
    """Nobody has to type a command every morning; a guard that fails keeps real money out."""
    installation = real_home(home)
    everything = bootstrap.conditions

    def only_the_drill(installation, env, market=None):
        return [c for c in everything(installation, env, market) if c.code == real_money.DRILL]

    with monkeypatch.context() as broken:
        broken.setattr(bootstrap, "conditions", only_the_drill)
        broken.setattr(guards_module, "GUARDS", {**GUARDS, GuardCode.LOT: lambda case: True})
        assert "실패" in bootstrap.unmet_today(installation, Env.REAL)[0]

    monkeypatch.setattr(bootstrap, "conditions", only_the_drill)

    assert bootstrap.unmet_today(installation, Env.REAL) == []


def test_a_drill_beside_a_running_session_writes_nothing(home):
    """The ledger is the session's: who wrote beside it would take its lease."""
    installation = real_home(home)
    with bootstrap._lease(installation.home, "real-us"):
        report, is_recorded = bootstrap.drill(installation, Market.US)

    assert (report.passed, is_recorded) == (True, False)
    assert not bootstrap.ledger_path(installation.home, Env.REAL, Market.US).exists()


def test_the_command(home, monkeypatch):
    """``trading drill --json``: one row a guard; exit 1 as soon as one did not fire."""
    from typer.testing import CliRunner

    from trading.cli import app

    def run(*words):
        return CliRunner().invoke(app, ["--root", str(home), "drill", *words])

    good = run("--json")
    body = json.loads(good.stdout.splitlines()[-1])
    table = run()
    monkeypatch.setattr(guards_module, "GUARDS", {**GUARDS, GuardCode.TICK: lambda case: True})
    bad = run()

    assert (good.exit_code, table.exit_code, bad.exit_code) == (0, 0, 1)
    assert [row["code"] for row in body["guards"]] == list(GuardCode)
    assert all(row["fired"] for row in body["guards"])
    assert (body["market"], body["recorded"]) == ("us", False)
    assert "모두 듣습니다." in table.stdout
    assert "듣지 않음: 막지 않음" in bad.stdout
    assert not (home / "data" / "ledger").exists()
