"""The trade log tells each order's whole life: what was wished, sent, answered, filled, and its costs."""

import json
from collections import defaultdict

import pytest
from small_venue import Day

from trading import log as logs
from trading.ports import RecordKind
from trading.store.ledger import MemoryLedger


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day at a small venue."""
    return Day(traded, embedded_market, MemoryLedger())


@pytest.fixture
def told(tmp_path):
    """Return what gives the lines of the trade log by intent, in their order."""
    logs.configure(tmp_path, console=False)

    def lines():
        found = defaultdict(list)
        for text in (tmp_path / "trades.jsonl").read_text("utf-8").splitlines():
            line = json.loads(text)
            found[line["intent_id"]].append(line)
        return found

    yield lines
    logs.configure(None)


def events(lines):
    """Return what happened, in order, with where the order stood."""
    return [(line["event"], line["status"]) for line in lines]


async def test_every_fate_is_told_to_its_end(day, told):
    """Refused, answer lost, never arrived, not sent and sent again; filled in part and expired."""

    def fill_half():
        for number, row in sorted(day.venue.rows.items()):
            day.venue.fill(number, row.quantity // 2, row.limit)

    day.venue.fate = ["refused", "lost", "gone", "unsent"]
    day.plan(1, fill_half)
    await day.run()

    lines = told()
    refused, lost, gone, unsent = (lines[i.intent_id] for i in day.decision.intents)
    filled_and_over = [("체결", "partially_filled"), ("주문 상태 변경", "expired")]
    assert events(refused) == [("주문 전송", "submitted"), ("주문 거래소 거부", "rejected")]
    assert (refused[1]["code"], refused[1]["refusal"]) == ("APBK0919", "거부")
    assert events(lost) == [
        ("주문 전송", "submitted"),
        ("주문 결과 불명", "unknown"),
        ("주문 접수", "accepted"),
        *filled_and_over,
    ]
    assert lost[1]["reason"] == "응답 없음"
    assert events(gone) == [
        ("주문 전송", "submitted"),
        ("주문 결과 불명", "unknown"),
        ("주문 미도착", "rejected"),
    ]
    assert gone[-1]["reason"] == "거래소에 도착하지 않음"
    assert events(unsent) == [
        ("주문 전송", "submitted"),
        ("주문이 나가지 못함", "submitted"),
        ("주문 전송", "submitted"),
        ("주문 접수", "accepted"),
        *filled_and_over,
    ]


async def test_a_fill_tells_prices_and_costs_as_the_ledger_has_them(day, told):
    """Quantity, price, amount, fees and what was realized; each line says the whole order."""
    day.plan(1, lambda: [day.venue.fill_all(number) for number in sorted(day.venue.rows)])
    await day.run()

    booked = {r.body["intent_id"]: r.body for r in day.ledger.read(RecordKind.FILL)}
    for intent in day.decision.intents:
        (line,) = (x for x in told()[intent.intent_id] if x["event"] == "체결")
        body = booked[intent.intent_id]
        for name in ("quantity", "amount", "commission", "tax", "realized"):
            assert line[name] == body[name]
        assert line["price"] == line["average_price"] == body["amount"] / body["quantity"]
        assert (line["symbol"], line["side"], line["order_quantity"], line["limit"]) == (
            intent.symbol, str(intent.side), intent.quantity, intent.limit,
        )  # fmt: skip
        assert (line["market"], line["currency"], line["session"], line["boundary"]) == (
            "us", "USD", str(intent.session), intent.boundary,
        )  # fmt: skip
        assert (line["wish"], line["reason"]) == ("rebalance", "비중 조정")


async def test_what_a_guard_keeps_back_is_told_with_its_reason(day, told):
    """A denied order stands in the log like a sent one, with the code and its Korean words."""
    day.engine = None
    made = day.new_engine

    def frozen_engine():
        engine = made()
        engine.frozen.add(day.decision.intents[0].symbol)
        return engine

    day.new_engine = frozen_engine
    await day.run()

    (line,) = told()[day.decision.intents[0].intent_id]
    assert (line["event"], line["status"]) == ("주문 내부 거부", "denied")
    assert line["code"] == "GUARD_SYMBOL_FROZEN"
    assert line["refusal"] == "거부: 결과를 모르는 주문이 있어 멈춘 종목"
    assert line["order_quantity"] == day.decision.intents[0].quantity
