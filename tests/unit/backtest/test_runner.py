"""Backtests over recorded history: money to the unit, no guard, the same twice."""

import json
from dataclasses import replace
from datetime import date

import pytest

from trading.backtest import runner
from trading.domain.actions import ActionKind
from trading.domain.decision import TradingState
from trading.domain.order import OrderStatus, Side
from trading.errors import UsageError
from trading.execution.decide import RiskState
from trading.execution.engine import TradingEngine
from trading.simulation.account import Account
from trading.simulation.matching import BASIS_POINTS, Matcher

pytestmark = pytest.mark.compiled_only

CASH = 1_000_000_000
FIRST, LAST = date(2003, 6, 2), date(2006, 6, 30)


def eager(market):
    """Return policy and views of an ensemble that enters on any agreement and stops early."""
    policy = market.policy
    ensemble = policy.allocation.ensemble.model_copy(
        update={"entry_forecast": 0.0, "min_confidence": 0.0, "exit_forecast": -0.5}
    )
    return market.views(
        allocation=policy.allocation.model_copy(update={"ensemble": ensemble}),
        exits=policy.exits.model_copy(
            update={"stop_loss": 0.12, "trailing_stop": 0.25, "take_profit": 1.0}
        ),
    )


def run(market, *, chosen=None, first=FIRST, last=LAST, **changes):
    """Trade the embedded history eagerly, or by the ``chosen`` policy and views."""
    policy, views = chosen or eager(market)
    return runner.run(
        views, market.raw, market.actions, market.calendar, market.rules, policy,
        **{"cash": CASH, "first": first, "last": last} | changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(embedded_market):
    """Three years with trades, splits and dividends."""
    return run(embedded_market)


def test_money_adds_up(result, embedded_market):
    """Cash is what all fills, fees and actions make it; equity is cash and holdings."""
    raw = embedded_market.raw
    row = raw.row_of(LAST)

    assert result.cash_difference == 0
    assert result.equity[-1] == result.final_cash + sum(
        q * int(raw.close[row, raw.symbols.index(s)]) for s, q in result.positions.items()
    )
    assert sum(len(day.booked) for day in result.days) > 30


def test_no_guard_ever_fires(result):
    """A decision makes only orders that pass them."""
    assert [deny for day in result.days for deny in day.denied] == []


def test_every_rule_of_the_engine_was_at_work(result):
    """The run is worth its assertions: entries, exits by rule, actions, expired orders."""
    reasons = {b.intent.reason for day in result.days for b in day.booked}

    assert {"rebalance", "stop_loss", "trailing_stop"} <= reasons
    assert {a.action.kind for a in result.applied} == {ActionKind.SPLIT, ActionKind.CASH_DIVIDEND}
    assert result.sessions[0] == FIRST
    assert len(result.sessions) == len(result.equity) == len(result.days)


def test_orders_and_fills_are_legal(result, embedded_market):
    """Fills at or better than the limit, inside the recorded bar, on the tick of the day."""
    raw = embedded_market.raw
    for day in result.days:
        row = raw.row_of(day.session)
        for booked in day.booked:
            i = raw.symbols.index(booked.intent.symbol)
            price = booked.fill.amount / booked.fill.quantity
            assert (booked.intent.limit - price) * booked.intent.side.sign >= 0
            assert raw.low[row, i] <= price <= raw.high[row, i]
        for order in day.orders:
            assert embedded_market.rules.is_on_tick(
                order.intent.exchange, order.intent.limit, day.session
            )
            assert order.status.is_end


@pytest.mark.parametrize(
    ("symbol", "ex_date", "kind"),
    [
        ("AAPL", date(2005, 2, 28), ActionKind.SPLIT),
        ("MSFT", date(2004, 11, 15), ActionKind.CASH_DIVIDEND),
    ],
)
def test_equity_is_continuous_over_actions(result, embedded_market, symbol, ex_date, kind):
    """Over an action equity changes by what the prices of the day did, less the withheld tax."""
    (applied,) = [
        a for a in result.applied if a.action.symbol == symbol and a.action.ex_date == ex_date
    ]
    day = result.sessions.index(ex_date)
    raw, row = embedded_market.raw, embedded_market.raw.row_of(ex_date)
    (decision, before) = (result.days[day].decision, result.equity[day - 1])
    i = raw.symbols.index(symbol)
    ratio = applied.action.numerator / applied.action.denominator

    assert applied.action.kind is kind
    # Reference prices are yesterday's closes restated: nothing is gained overnight but rounding.
    gross = applied.effect.quantity_before * applied.action.amount
    restated = raw.close[row - 1, i] - raw.reference[row, i] * ratio
    assert applied.effect.cash + applied.effect.withheld == gross
    assert restated == pytest.approx(applied.action.amount, abs=1)
    assert decision.equity == before - applied.effect.withheld
    assert applied.effect.withheld == gross * 15 // 100


def test_a_dividend_stops_nothing(embedded_market):
    """MSFT fell by the 3.08 dollars it paid out, more than the 8 % stop: that is no loss."""
    policy = eager(embedded_market)[0]
    chosen = embedded_market.views(
        allocation=policy.allocation,
        exits=policy.exits.model_copy(
            update={"stop_loss": 0.08, "trailing_stop": 0.08, "take_profit": None}
        ),
    )
    day = date(2004, 11, 15)
    paid = run(embedded_market, chosen=chosen, first=date(2004, 9, 1), last=day)

    (dividend,) = [a for a in paid.applied if a.action.ex_date == day]
    assert dividend.effect.quantity_before > 0
    assert [o for o in paid.days[-1].orders if o.intent.boundary == "exit"] == []


def test_twice_the_same(result, embedded_market):
    """Two runs have the same orders, decisions and equity."""
    again = run(embedded_market)

    assert again.equity == result.equity
    assert _hashes(again) == _hashes(result)


def test_hashes_notice_one_share(result):
    """A hash over orders or decisions changes with one share or one verdict."""
    intents = [o.intent for day in result.days for o in day.orders]
    decisions = [day.decision for day in result.days]
    other = replace(intents[7], quantity=intents[7].quantity + 1)
    choice = replace(decisions[7].choices[0], target_quantity=1)
    changed = replace(decisions[7], choices=(choice, *decisions[7].choices[1:]))

    assert runner.orders_hash([*intents[:7], other, *intents[8:]]) != runner.orders_hash(intents)
    assert runner.decision_hash([*decisions[:7], changed, *decisions[8:]]) != (
        runner.decision_hash(decisions)
    )


def test_a_restart_every_evening_changes_nothing(result, embedded_market):
    """Each session by a new engine from the snapshot of the last, through JSON: the same run."""
    policy, views = eager(embedded_market)
    raw, calendar, rules = embedded_market.raw, embedded_market.calendar, embedded_market.rules
    by_session = runner.actions_by_session(embedded_market.actions)
    fees = runner.fees_of(rules, calendar)
    snapshot, equity, intents = None, [], []

    for session in result.sessions:
        risk = RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE)
        engine = TradingEngine(policy, Account(policy.market, CASH), risk, fees)
        if snapshot is not None:
            engine.restore(json.loads(snapshot))
        row = raw.row_of(session)
        view = views.at(row, held=engine.account.positions)
        start = runner.session_start(
            view,
            raw,
            row,
            by_session.get(session, ()),
            rules,
            engine,
            *calendar.open_close(session),
        )
        matcher = Matcher(round(policy.orders.participation * BASIS_POINTS))
        instants = runner.daily_instants(raw, row, view, start)
        day = runner.run_session(engine, matcher, start, view, instants)
        snapshot = json.dumps(engine.snapshot())
        equity.append(day.equity)
        intents += [o.intent for o in day.orders]

    assert tuple(equity) == result.equity
    assert runner.orders_hash(intents) == _hashes(result)[0]


def test_a_session_without_a_decision(embedded_market):
    """Holdings are marked and actions booked when nothing is decided."""
    policy, views = eager(embedded_market)
    raw, rules = embedded_market.raw, embedded_market.rules
    row = raw.row_of(FIRST)
    engine = TradingEngine(
        policy, Account(policy.market, CASH),
        RiskState(peak=CASH, cooldown=0, state=TradingState.ACTIVE),
        runner.fees_of(rules, embedded_market.calendar),
    )  # fmt: skip
    view = views.at(row)
    start = runner.session_start(
        view, raw, row, (), rules, engine, *embedded_market.calendar.open_close(FIRST)
    )

    day = runner.run_session(engine, Matcher(1_000), start, None, ())

    assert (day.decision, day.orders, day.equity) == (None, (), CASH)


def test_purchases_end_where_a_loss_limit_breaks(embedded_market):
    """Rests of purchases are canceled in the session of the breach, and still money adds up."""
    policy, _ = eager(embedded_market)
    policy, views = embedded_market.views(
        allocation=policy.allocation,
        risk=policy.risk.model_copy(update={"max_daily_loss": 0.0005}),
        # One share in ten thousand of a print: purchases take several.
        orders=policy.orders.model_copy(update={"participation": 0.0001}),
    )

    result = runner.run(
        views, embedded_market.raw, embedded_market.actions, embedded_market.calendar,
        embedded_market.rules, policy, cash=30 * CASH, first=FIRST, last=LAST,
    )  # fmt: skip

    orders = [order for day in result.days for order in day.orders]
    ends = {order.status for order in orders}
    assert ends >= {OrderStatus.CANCELED, OrderStatus.FILLED, OrderStatus.EXPIRED}
    assert any(o.status is OrderStatus.CANCELED and o.filled_quantity for o in orders)
    # A sale is canceled only to make way for one that asks for less.
    assert any(o.intent.side is Side.BUY for o in orders if o.status is OrderStatus.CANCELED)
    assert result.cash_difference == 0
    assert not any(day.denied for day in result.days)


def test_the_other_bound(embedded_market):
    """Where a bar held a loss and a profit, a second run takes the profit; else there is none."""
    policy, _ = eager(embedded_market)
    narrow, views = embedded_market.views(
        allocation=policy.allocation,
        exits=policy.exits.model_copy(
            update={"stop_loss": 0.015, "take_profit": 0.015, "cooldown_sessions": 0}
        ),
    )
    market, span = embedded_market, {"cash": CASH, "first": FIRST, "last": date(2004, 6, 30)}
    asked = market.raw, market.actions, market.calendar, market.rules

    both = runner.run_both(views, *asked, narrow, **span)
    calm = runner.run_both(eager(market)[1], *asked, policy, **span)

    other = run(market, chosen=(narrow, views), favourable=True, last=span["last"])
    assert both.ambiguous_fills > 0
    assert both.optimistic_equity == other.equity
    assert both.optimistic_equity[-1] > both.equity[-1]
    assert calm.ambiguous_fills == 0
    assert calm.optimistic_equity == calm.equity


def test_nothing_to_trade(embedded_market):
    """A range without a recorded session is a usage error; progress is told."""
    with pytest.raises(UsageError, match="1999"):
        run(embedded_market, first=date(1999, 1, 1), last=date(1999, 2, 1))
    told = []
    run(embedded_market, last=date(2003, 6, 4), progress=lambda *x: told.append(x))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_dividends_come_before_splits(embedded_market):
    """Both on one morning: the dividend is paid on old shares."""
    split, dividend = (
        next(a for a in embedded_market.actions if a.kind is kind)
        for kind in (ActionKind.SPLIT, ActionKind.CASH_DIVIDEND)
    )
    dividend = replace(dividend, ex_date=split.ex_date)

    assert runner.actions_by_session([split, dividend]) == {split.ex_date: (dividend, split)}


def _hashes(result):
    return (
        runner.orders_hash(o.intent for day in result.days for o in day.orders),
        runner.decision_hash(day.decision for day in result.days),
    )
