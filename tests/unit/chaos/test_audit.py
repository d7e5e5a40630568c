"""The comparison of two books: told apart by hand-made files of one buy, one sell and one trade by hand."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trading.chaos.audit import Verdict, compare

ACCOUNT = "7001000101"
DAY = "2010-10-06"
CASH = 1_000_000
BUY, SELL = "us:2010-10-06:open:IBM:buy", "us:2010-10-06:exit0:IBM:sell"
# 10 shares bought at 1,000 for 25, 10 sold at 1,100 for 28, 1 bought by hand at 500 for 2.
CASH_AT_END = CASH - 10_000 - 25 + 11_000 - 28 - 500 - 2


def order(
    number: int, side: str, quantity: int, limit: int, costs: int, **more: Any
) -> dict[str, Any]:
    """Return an order fact of the exchange, filled at its limit."""
    return {
        "key": f"{number:010d}",
        "account": ACCOUNT,
        "session": DAY,
        "kind": "new",
        "symbol": "IBM",
        "side": side,
        "quantity": quantity,
        "limit": limit,
        "filled_quantity": quantity,
        "filled_amount": quantity * limit,
        "commission": costs,
        "tax": 0,
        "by_hand": False,
    } | more


def venue() -> dict[str, Any]:
    """Return the exchange's facts of the day."""
    return {
        "orders": [
            order(1, "buy", 10, 1_000, 25),
            order(2, "sell", 10, 1_100, 28),
            order(3, "buy", 1, 500, 2, by_hand=True),
            order(4, "sell", 10, 1_100, 0, kind="cancel", filled_quantity=0, filled_amount=0),
        ],
        "book": {"cash": CASH_AT_END, "positions": {"IBM": [1, 500]}},
    }


def intent(intent_id: str, side: str, limit: int) -> tuple[str, str, dict[str, Any]]:
    """Return the record of an intent of ten shares."""
    body = {"intent_id": intent_id, "symbol": "IBM", "side": side, "quantity": 10, "limit": limit}
    return "intent", intent_id, body


def accepted(intent_id: str, number: str) -> tuple[str, str, dict[str, Any]]:
    """Return the record of an acceptance."""
    body = {"intent_id": intent_id, "status": "accepted", "venue_order_id": number}
    return "update", f"{intent_id}:accepted", body


def fill(
    kind: str, intent_id: str, number: str, quantity: int, amount: int, costs: int
) -> tuple[str, str, dict[str, Any]]:
    """Return the record of a fill, ours or by hand."""
    body = {
        "intent_id": intent_id,
        "venue_order_id": number,
        "quantity": quantity,
        "amount": amount,
        "commission": costs,
        "tax": 0,
    }
    return kind, f"{number}:{quantity}", body


def ledger() -> list[tuple[str, str, dict[str, Any]]]:
    """Return the client's records of the day."""
    intents = [{"intent_id": BUY}]
    account = {"cash": CASH_AT_END, "positions": {"IBM": [1, 500]}}
    return [
        ("decision", "open", {"intents": intents}),
        intent(BUY, "buy", 1_000),
        accepted(BUY, "0000000001"),
        fill("fill", BUY, "0000000001", 10, 10_000, 25),
        intent(SELL, "sell", 1_100),
        accepted(SELL, "0000000002"),
        fill("fill", SELL, "0000000002", 10, 11_000, 28),
        ("manual", "hand", {"intent_id": "hand", "venue_order_id": "0000000003"}),
        fill("manual_fill", "hand", "0000000003", 1, 500, 2),
        ("session", "closed", {"engine": {"account": account}, "differences": []}),
    ]


@pytest.fixture
def audit(tmp_path: Path) -> Any:
    """Return a function that writes both files and compares them."""

    def run(records: list[tuple[str, str, dict[str, Any]]], facts: Mapping[str, Any]) -> Verdict:
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            db.execute("CREATE TABLE journal (seq INTEGER PRIMARY KEY, kind, key, session, body)")
            db.executemany(
                "INSERT INTO journal (kind, key, session, body) VALUES (?, ?, ?, ?)",
                [(kind, f"{DAY}:{key}", DAY, json.dumps(body)) for kind, key, body in records],
            )
        with sqlite3.connect(tmp_path / "venue.db") as db:
            db.execute("CREATE TABLE fact (kind, key, session, body)")
            rows = [("order", one["key"], DAY, json.dumps(one)) for one in facts["orders"]]
            rows.append(("account", ACCOUNT, "", json.dumps({"book": facts["book"]})))
            db.executemany("INSERT INTO fact VALUES (?, ?, ?, ?)", rows)
        return compare(
            tmp_path / "ledger.db", tmp_path / "venue.db", account=ACCOUNT, starting_cash=CASH
        )

    return run


def test_equal_books_are_clean(audit):
    """Every order has its owner, cancels are no orders, and the money adds up."""
    verdict = audit(ledger(), venue())

    assert verdict.is_clean, verdict.findings
    assert (verdict.orders, verdict.fills, verdict.manual) == (3, 3, 1)


def test_an_order_sent_twice_is_doubled(audit):
    """A second order of the same shape that no intent claims was sent by mistake."""
    facts = venue()
    facts["orders"].append(order(5, "buy", 10, 1_000, 0, filled_quantity=0, filled_amount=0))

    assert audit(ledger(), facts).doubled == 1


def test_an_order_nobody_knows_is_lost(audit):
    """An order of another shape, not placed by hand, is one that the client forgot."""
    facts = venue()
    facts["orders"].append(order(5, "buy", 7, 900, 0, filled_quantity=0, filled_amount=0))

    assert audit(ledger(), facts).lost == 1


def test_a_decided_order_without_intent_is_lost(audit):
    """What was decided is sent, refused or denied, and never just gone."""
    records = [r for r in ledger() if r[2].get("intent_id") != BUY or r[0] == "decision"]

    verdict = audit(records, venue())

    # The decision without its intent, and the venue's order without an owner.
    assert verdict.lost == 2


def test_an_intent_without_an_outcome_is_lost(audit):
    """A request whose answer never came may not stay unknown after the close."""
    records = [r for r in ledger() if r[1] not in (f"{SELL}:accepted", "0000000002:10")]

    assert audit(records, venue()).lost >= 1


def test_an_intent_that_cannot_be_told_from_a_twin_is_accounted_for(audit):
    """A quarantine that names the intent is an outcome; its order is booked like one by hand."""
    records = [r for r in ledger() if r[1] not in (f"{SELL}:accepted", "0000000002:10")]
    records[-1:-1] = [
        ("quarantine", f"IBM:{SELL}", {"symbol": "IBM", "intent_id": SELL}),
        ("manual", "twin", {"intent_id": "twin", "venue_order_id": "0000000002"}),
        fill("manual_fill", "twin", "0000000002", 10, 11_000, 28),
    ]

    verdict = audit(records, venue())

    assert verdict.is_clean, verdict.findings


def test_a_fill_booked_twice_is_money(audit):
    """Ten shares for 10,000 and 25 too much: the fill and the cash are both off."""
    records = ledger()
    records.insert(4, fill("fill", BUY, "0000000001", 10, 10_000, 25))
    records[-1][2]["engine"]["account"]["cash"] -= 10_025

    assert audit(records, venue()).money_difference == 10_025 + 10_025


def test_a_trade_by_hand_that_was_missed_is_lost(audit):
    """The customer's own trades move the account, so the books must have them."""
    records = [r for r in ledger() if not r[0].startswith("manual")]

    assert audit(records, venue()).lost == 1


def test_an_order_by_hand_claimed_as_ours_is_doubled(audit):
    """An intent that has its own order may not claim the customer's."""
    facts = venue()
    facts["orders"][2] = order(3, "buy", 10, 1_000, 0, by_hand=True, filled_quantity=0,
                               filled_amount=0)  # fmt: skip
    records = [r for r in ledger() if not r[0].startswith("manual")]
    records.insert(3, accepted(BUY, "0000000003"))

    assert audit(records, facts).doubled >= 1


def test_other_holdings_are_a_finding(audit):
    """Shares are compared, not only money."""
    records = ledger()
    records[-1][2]["engine"]["account"]["positions"] = {}

    verdict = audit(records, venue())

    assert verdict.money_difference == 0
    assert not verdict.is_clean


def test_another_average_cost_is_only_counted(audit):
    """The order of fills that a listing told is not known: quantity and money are the same."""
    records = ledger()
    records[-1][2]["engine"]["account"]["positions"] = {"IBM": [1, 499]}

    verdict = audit(records, venue())

    assert verdict.is_clean
    assert verdict.cost_differences == 1


def test_an_exchange_that_lost_a_fill_is_found(audit):
    """The exchange's own orders must add up to its own cash."""
    facts = venue()
    facts["book"]["cash"] -= 1
    records = ledger()
    records[-1][2]["engine"]["account"]["cash"] -= 1

    assert audit(records, facts).money_difference == 1
