"""What is written is what is read."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from trading.clock import ManualClock
from trading.domain.actions import ActionKind
from trading.domain.decision import TradingState
from trading.domain.order import OrderStatus, Side
from trading.execution.engine import Applied
from trading.live.journal import (
    Evidence,
    Journal,
    closed_sessions,
    decision_body,
    decision_from,
    read_session,
)
from trading.ports import RecordKind
from trading.risk.guards import GuardCode
from trading.simulation.account import Account, ActionEffect
from trading.store.ledger import MemoryLedger


def test_a_decision_survives_json(traded):
    """Every field of the decision, its choices and its intents."""
    decision = traded.result.decision

    assert len(decision.intents) >= 2
    assert decision_from(json.loads(json.dumps(decision_body(decision)))) == decision


def test_the_whole_session(traded):
    """Orders, fills, evidence, bars and the opening state come back as they were."""
    recorded = traded.recorded

    assert recorded.decision == traded.result.decision
    assert recorded.evidence == Evidence(history=traded.history, untradable=["FB"])
    assert recorded.observed == traded.bars
    assert recorded.opened["account"]["cash"] == 1_000_000_000
    assert (recorded.closed, recorded.state, recorded.mark) == (None, None, None)
    assert [f.fill for f in recorded.fills] == [b.fill for b in traded.result.booked]
    assert [(f.commission, f.tax, f.realized) for f in recorded.fills] == [
        (b.booking.commission, b.booking.tax, b.booking.realized) for b in traded.result.booked
    ]
    for order in traded.result.orders:
        read = recorded.orders[order.intent.intent_id]
        assert (read.intent, read.venue_order_id) == (order.intent, order.venue_order_id)


@pytest.mark.parametrize(("version", "known"), [(3, {"forest": 3}), (None, {})])
def test_a_decision_of_one_model_is_the_forests(traded, version, known):
    """What was written before there were families is still read, and asks for that forest."""
    written = next(r for r in traded.ledger.read() if r.kind is RecordKind.DECISION)
    evidence = {"history": {}, "model_version": version, "untradable": []}
    ledger = MemoryLedger()
    ledger.append(replace(written, body={**written.body, "evidence": evidence}))

    recorded = read_session(ledger, written.session)

    assert recorded.evidence == Evidence(model_versions=known, untradable=[])
    assert recorded.decision == traded.result.decision


def test_fills_on_top_of_orders_make_the_session(traded):
    """Orders and fills read back give the engine's own orders and books."""
    recorded = traded.recorded
    orders = dict(recorded.orders)
    account = Account(traded.engine.policy.market, 0)
    account.restore(recorded.opened["account"])

    for known in recorded.fills:
        order = orders[known.intent_id]
        orders[known.intent_id] = order.with_fill(known.fill.quantity, known.fill.amount)
        paid = known.fill.side.sign * known.fill.amount + known.commission + known.tax
        account.cash -= paid

    assert account.cash == traded.engine.account.cash
    for order in traded.result.orders:
        assert orders[order.intent.intent_id].status is order.status
        assert orders[order.intent.intent_id].filled_amount == order.filled_amount


def test_writing_again_changes_nothing(traded):
    """A fill that is told twice is written once."""
    booked = traded.result.booked[0]
    before = list(traded.ledger.read())

    assert traded.journal.filled(booked, booked.fill.quantity) is False
    traded.journal.decided(traded.result.decision, Evidence())

    assert list(traded.ledger.read()) == before


def test_the_rest_of_a_session(traded, embedded_market):
    """States, refusals, cancels, actions, marks and the end."""
    intent = traded.result.orders[0].intent
    clock = ManualClock(traded.start.open_ts)
    other = traded.start.session + timedelta(days=4)
    journal = Journal(traded.ledger, other, clock)
    action = next(a for a in embedded_market.actions if a.kind is ActionKind.CASH_DIVIDEND)
    effect = ActionEffect(quantity_before=10, quantity_after=10, cash=85, withheld=15)
    assert closed_sessions(traded.ledger) == []

    for status in (OrderStatus.UNKNOWN, OrderStatus.REJECTED):
        journal.intends(intent, highest_order_id="17")
        journal.moved(intent.intent_id, status, "이유")
    journal.moved(intent.intent_id, OrderStatus.REJECTED, "다시")
    journal.denied(intent, GuardCode.REDUCING)
    journal.applied(Applied(action=action, effect=effect))
    journal.marked({"equity": 5})
    clock.set(clock.now() + timedelta(minutes=5))
    journal.marked({"equity": 6})
    journal.state(TradingState.REDUCING, "DAILY_LOSS")
    journal.closed({"equity": 7})
    recorded = read_session(traded.ledger, other)

    assert recorded.orders[intent.intent_id].status is OrderStatus.REJECTED
    assert recorded.orders[intent.intent_id].reason == "이유"
    assert recorded.highest_before == {intent.intent_id: "17"}
    assert recorded.denied == [(intent, "GUARD_REDUCING")]
    assert recorded.actions[0]["withheld"] == 15
    assert recorded.actions[0]["symbol"] == action.symbol
    assert recorded.mark == {"equity": 6}
    assert recorded.state is TradingState.REDUCING
    assert recorded.closed == {"equity": 7}
    assert recorded.decision is None
    assert closed_sessions(traded.ledger) == [other]
    assert traded.result.orders[0].intent.side is Side.BUY
