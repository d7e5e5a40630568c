"""Two files compared: the client's ledger and the exchange's journal, read as plain SQLite and JSON.

Nothing here calls the client's or the exchange's code: what they believe is not evidence.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A venue order of its own, in KIS's words; cancels are orders about other orders.
_CANCEL = "cancel"
_ENDS = {"filled", "denied", "rejected", "canceled", "expired"}


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What the comparison found. Money in minor units; ``findings`` are Korean sentences.

    ``faults`` counts what the exchange did on purpose, by number and variant.
    ``cost_differences`` counts holdings whose average cost differs although every fill is there:
    a listing tells what was filled, not in which order, and an average depends on the order.
    """

    orders: int = 0
    fills: int = 0
    manual: int = 0
    lost: int = 0
    doubled: int = 0
    money_difference: int = 0
    cost_differences: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether both books tell the same story."""
        return not (self.lost or self.doubled or self.money_difference or self.findings)


@dataclass(slots=True, kw_only=True)
class _Filled:
    """What the ledger booked of one order."""

    quantity: int = 0
    amount: int = 0
    costs: int = 0

    def add(self, body: Mapping[str, Any], prefix: str = "") -> None:
        """Add the fill of a record."""
        self.quantity += body[prefix + "quantity"]
        self.amount += body[prefix + "amount"]
        self.costs += body["commission"] + body["tax"]

    @property
    def figures(self) -> tuple[int, int, int]:
        """Return quantity, amount and costs."""
        return self.quantity, self.amount, self.costs


@dataclass(slots=True, kw_only=True)
class _Intent:
    """One intent as the ledger tells it."""

    shape: tuple[str, str, str, int, int]
    status: str = "submitted"
    numbers: set[str] = field(default_factory=set)
    filled: _Filled = field(default_factory=_Filled)


@dataclass(slots=True)
class _Ledger:
    """The client's ledger, by what matters here.

    ``manual`` are orders by hand that it took into its books, by number; ``unclear`` the intents
    that it says it cannot tell from one of them.
    """

    intents: dict[str, _Intent] = field(default_factory=dict)
    manual: dict[str, _Filled] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    ends: list[dict[str, Any]] = field(default_factory=list)
    paid_by_actions: int = 0


Row = tuple[str, str, str, dict[str, Any]]


def compare(ledger: Path, journal: Path, *, account: str, starting_cash: int) -> Verdict:
    """Compare the books of a finished run; every order, share and unit of money."""
    verdict = Verdict()
    ours = _ledger(
        _rows(ledger, "SELECT kind, key, session, body FROM journal ORDER BY seq"), verdict
    )
    facts = _rows(journal, "SELECT kind, key, session, body FROM fact ORDER BY kind, key")
    verdict.faults = {key: b["count"] for kind, key, _, b in facts if kind == "fault_count"}
    venue = {
        key: body
        for kind, key, _, body in facts
        if kind == "order" and body["account"] == account and body["kind"] != _CANCEL
    }
    book = next((b["book"] for k, key, _, b in facts if k == "account" and key == account), None)
    _compare_orders(ours, venue, verdict)
    if book is None or not ours.ends:
        verdict.findings.append("끝난 세션이나 거래소 계좌가 없음")
        return verdict
    _compare_account(ours.ends[-1], book, verdict)
    _recompute_cash(ours, venue, book, starting_cash, verdict)
    return verdict


def _rows(path: Path, query: str) -> list[Row]:
    connection = sqlite3.connect(path)
    try:
        return [(k, key, s, json.loads(body)) for k, key, s, body in connection.execute(query)]
    except sqlite3.OperationalError:
        # Not even the tables are there: nothing was written.
        return []
    finally:
        connection.close()


def _ledger(rows: list[Row], verdict: Verdict) -> _Ledger:
    """Return what the ledger tells; what it decided and then forgot is lost."""
    ledger = _Ledger()
    decided: set[str] = set()
    denied: set[str] = set()
    for kind, key, session, body in rows:
        match kind:
            case "decision":
                decided |= {one["intent_id"] for one in body["intents"]}
            case "intent":
                shape = _shape(session, body)
                ledger.intents.setdefault(body["intent_id"], _Intent(shape=shape))
            case "verdict":
                denied.add(body["intent_id"])
            case "update" | "fill":
                _follow(kind, body, ledger, verdict)
            case "manual":
                ledger.manual.setdefault(body["venue_order_id"], _Filled())
            case "manual_fill":
                verdict.fills += 1
                # One from a day that was over already tells what it filled in all.
                prefix = "filled_" if "day" in body else ""
                ledger.manual.setdefault(body["venue_order_id"], _Filled()).add(body, prefix)
            case "quarantine":
                ledger.unclear |= {body["intent_id"]} - {""}
            case "action":
                ledger.paid_by_actions += body["cash"]
            case "session" if key.endswith("closed"):
                ledger.ends.append(body)
    for intent_id in sorted(decided - ledger.intents.keys() - denied):
        verdict.lost += 1
        verdict.findings.append(f"결정하고 잊은 주문: {intent_id}")
    return ledger


def _shape(session: str, body: Mapping[str, Any]) -> tuple[str, str, str, int, int]:
    return session, body["symbol"], body["side"], body["quantity"], body["limit"]


def _follow(kind: str, body: Mapping[str, Any], ledger: _Ledger, verdict: Verdict) -> None:
    intent = ledger.intents.get(body["intent_id"])
    if intent is None:
        verdict.lost += 1
        verdict.findings.append(f"의도 없는 기록: {kind} {body['intent_id']}")
    elif kind == "fill":
        verdict.fills += 1
        intent.numbers.add(body["venue_order_id"])
        intent.filled.add(body)
    else:
        intent.status = body["status"]
        if body["status"] == "accepted" and body.get("venue_order_id"):
            intent.numbers.add(body["venue_order_id"])


def _compare_orders(
    ours: _Ledger, venue: Mapping[str, Mapping[str, Any]], verdict: Verdict
) -> None:
    owners: dict[str, list[str]] = {}
    for intent_id, intent in ours.intents.items():
        for number in intent.numbers:
            owners.setdefault(number, []).append(intent_id)
        if len(intent.numbers) > 1:
            verdict.doubled += len(intent.numbers) - 1
            verdict.findings.append(f"한 의도에 주문이 여럿: {intent_id} {sorted(intent.numbers)}")
        is_settled = intent.status in ("rejected", "denied") or intent_id in ours.unclear
        if not intent.numbers and not is_settled:
            verdict.lost += 1
            verdict.findings.append(f"결과를 모르는 채 끝난 의도: {intent_id} {intent.status}")
    for number in sorted((owners.keys() | ours.manual.keys()) - venue.keys()):
        verdict.lost += 1
        verdict.findings.append(f"거래소에 없는 주문번호: {number} {owners.get(number, '손')}")
    for number, order in venue.items():
        verdict.orders += 1
        mine = owners.get(number, [])
        if len(mine) + (number in ours.manual) > 1:
            verdict.doubled += 1
            verdict.findings.append(f"한 주문을 여럿이 가짐: {number} {mine}")
        elif mine:
            _compare_own(number, order, mine[0], ours, venue, verdict)
        else:
            _compare_foreign(number, order, ours, verdict)


def _compare_own(
    number: str,
    order: Mapping[str, Any],
    intent_id: str,
    ours: _Ledger,
    venue: Mapping[str, Mapping[str, Any]],
    verdict: Verdict,
) -> None:
    """Compare an order that an intent claims."""
    intent = ours.intents[intent_id]
    shape = _shape(order["session"], order)
    if intent.shape != shape:
        verdict.lost += 1
        verdict.findings.append(f"의도와 다른 주문: {number} {intent.shape} {shape}")
    if order.get("by_hand"):
        verdict.manual += 1
        # Alike in everything KIS tells, and ours never arrived: nobody could know better.
        twins = [n for n, o in venue.items() if _shape(o["session"], o) == shape and n != number]
        if any(not venue[n].get("by_hand") for n in twins):
            verdict.doubled += 1
            verdict.findings.append(f"손으로 낸 주문을 제 것으로 셈: {number} {intent_id}")
    _compare_fills(number, order, intent.filled, verdict)
    if intent.status not in _ENDS and order["filled_quantity"] != order["quantity"]:
        verdict.lost += 1
        verdict.findings.append(f"끝나지 않은 주문: {number} {intent_id} {intent.status}")


def _compare_foreign(
    number: str, order: Mapping[str, Any], ours: _Ledger, verdict: Verdict
) -> None:
    """Compare an order that no intent claims: by hand, or one too many, or forgotten."""
    shape = _shape(order["session"], order)
    booked = ours.manual.get(number)
    if order.get("by_hand"):
        verdict.manual += 1
        if booked is None and order["filled_quantity"]:
            verdict.lost += 1
            verdict.findings.append(f"장부가 모르는 손 주문: {number} {shape}")
    elif any(one.shape == shape and one.numbers for one in ours.intents.values()):
        verdict.doubled += 1
        verdict.findings.append(f"두 번 낸 주문: {number} {shape}")
    elif not any(i in ours.unclear and one.shape == shape for i, one in ours.intents.items()):
        verdict.lost += 1
        verdict.findings.append(f"장부가 모르는 주문: {number} {shape}")
    if booked is not None:
        _compare_fills(number, order, booked, verdict)


def _compare_fills(
    number: str, order: Mapping[str, Any], booked: _Filled, verdict: Verdict
) -> None:
    theirs = (order["filled_quantity"], order["filled_amount"], order["commission"] + order["tax"])
    if booked.figures != theirs:
        _, amount, costs = booked.figures
        verdict.money_difference += abs(amount - theirs[1]) + abs(costs - theirs[2])
        verdict.findings.append(
            f"체결이 다름 (수량, 금액, 비용): {number} 장부 {booked.figures} 거래소 {theirs}"
        )


def _compare_account(end: Mapping[str, Any], book: Mapping[str, Any], verdict: Verdict) -> None:
    ours = end["engine"]["account"]
    verdict.money_difference += abs(ours["cash"] - book["cash"])
    if ours["cash"] != book["cash"]:
        verdict.findings.append(f"현금이 다름: 장부 {ours['cash']} 거래소 {book['cash']}")
    shares, theirs = _shares(ours), _shares(book)
    if shares != theirs:
        verdict.findings.append(f"보유가 다름: 장부 {shares} 거래소 {theirs}")
    verdict.cost_differences += sum(
        ours["positions"][symbol] != book["positions"][symbol]
        for symbol in shares.keys() & theirs.keys()
    )
    if end["differences"]:
        verdict.findings.append(f"세션이 스스로 찾은 차이: {end['differences']}")


def _shares(account: Mapping[str, Any]) -> dict[str, int]:
    return {symbol: quantity for symbol, (quantity, _) in account["positions"].items()}


def _recompute_cash(
    ours: _Ledger,
    venue: Mapping[str, Mapping[str, Any]],
    book: Mapping[str, Any],
    starting_cash: int,
    verdict: Verdict,
) -> None:
    """Add the exchange's own orders up: they must give the exchange's own cash."""
    cash = starting_cash + ours.paid_by_actions
    for order in venue.values():
        sign = 1 if order["side"] == "sell" else -1
        cash += sign * order["filled_amount"] - order["commission"] - order["tax"]
    if cash != book["cash"]:
        verdict.money_difference += abs(cash - book["cash"])
        verdict.findings.append(f"거래소의 주문을 더한 현금이 계좌와 다름: {cash} {book['cash']}")
