"""How a session's facts are written to the ledger and read back after a restart."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from trading.domain.decision import Choice, Decision, TradingState, Verdict
from trading.domain.instrument import Exchange
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
)
from trading.execution.engine import Applied, Booked
from trading.ports import Clock, Ledger, Record, RecordKind
from trading.risk.guards import GuardCode

OPENED = "opened"
CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a decision rested on besides its view, so that it can be computed again.

    ``history`` fingerprints each symbol's bars, ``model_version`` is the champion that voted,
    ``untradable`` are the symbols that the venue would not take orders for.
    """

    history: Mapping[str, str] = field(default_factory=dict)
    model_version: int | None = None
    untradable: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFill:
    """A fill as it was booked: exact value, fees and what it realized, in minor units."""

    intent_id: str
    fill: Fill
    commission: int
    tax: int
    realized: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSession:
    """Everything the ledger knows of one session.

    ``opened`` is the engine's state before the session's actions; ``closed`` is ``None`` while
    the session is not over. ``observed`` maps a symbol to the (open, high, low, close, volume)
    that the session saw: of the whole day when it ``saw_open``. ``highest_before`` is the highest order number known when each intent
    left.
    """

    session: date
    opened: Mapping[str, Any] | None
    decision: Decision | None
    evidence: Evidence
    orders: dict[str, Order]
    highest_before: dict[str, str]
    fills: list[RecordedFill]
    denied: list[tuple[OrderIntent, str]]
    actions: list[dict[str, Any]]
    observed: dict[str, tuple[int, int, int, int, int]]
    saw_open: bool
    mark: Mapping[str, Any] | None
    state: TradingState | None
    closed: Mapping[str, Any] | None


class Journal:
    """The session's pen: each method is one durable transaction."""

    def __init__(self, ledger: Ledger, session: date, clock: Clock) -> None:
        self._ledger = ledger
        self._session = session
        self._clock = clock

    def opened(self, snapshot: Mapping[str, Any]) -> None:
        """Write the engine's state before the session."""
        self._write(RecordKind.SESSION, OPENED, {"engine": snapshot})

    def decided(self, decision: Decision, evidence: Evidence) -> None:
        """Write the decision and what it rested on before any of its orders leaves."""
        body = decision_body(decision) | {"evidence": asdict(evidence)}
        self._write(RecordKind.DECISION, decision.boundary, body)

    def intends(self, intent: OrderIntent, *, highest_order_id: str) -> None:
        """Write an intent before its request leaves, with the highest order number known."""
        body = _intent_body(intent) | {"highest_order_id": highest_order_id}
        self._write(RecordKind.INTENT, intent.intent_id, body)

    def accepted(self, intent_id: str, ack: OrderAck) -> None:
        """Write the venue's order number."""
        body = {
            "intent_id": intent_id,
            "status": OrderStatus.ACCEPTED,
            "venue_order_id": ack.venue_order_id,
            "branch": ack.branch,
            "ts_event": ack.ts_event.isoformat(),
        }
        self._write(RecordKind.UPDATE, f"{intent_id}:accepted", body)

    def moved(self, intent_id: str, status: OrderStatus, reason: str = "") -> None:
        """Write any other change of an order."""
        body = {"intent_id": intent_id, "status": status, "reason": reason}
        self._write(RecordKind.UPDATE, f"{intent_id}:{status}", body)

    def denied(self, intent: OrderIntent, code: GuardCode) -> None:
        """Write an order that a guard kept back."""
        body = _intent_body(intent) | {"code": str(code)}
        self._write(RecordKind.VERDICT, intent.intent_id, body)

    def filled(self, booked: Booked, cumulative_quantity: int) -> bool:
        """Write a fill once; return whether it is new."""
        fill = booked.fill
        body = {
            "intent_id": booked.intent.intent_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "quantity": fill.quantity,
            "amount": fill.amount,
            "venue_order_id": fill.venue_order_id,
            "ts_event": fill.ts_event.isoformat(),
            "ts_recv": fill.ts_recv.isoformat(),
            **asdict(booked.booking),
        }
        return self._write(RecordKind.FILL, f"{fill.venue_order_id}:{cumulative_quantity}", body)

    def applied(self, applied: Applied) -> None:
        """Write a corporate action and what it did."""
        action = applied.action
        body = {
            "symbol": action.symbol,
            "kind": action.kind,
            "numerator": action.numerator,
            "denominator": action.denominator,
            "amount": action.amount,
            **asdict(applied.effect),
        }
        self._write(RecordKind.ACTION, f"{action.symbol}:{action.kind}", body)

    def marked(self, body: Mapping[str, Any]) -> None:
        """Write the portfolio as it is marked now."""
        self._write(RecordKind.MARK, self._clock.now().isoformat(), body)

    def state(self, state: TradingState, reason: str) -> None:
        """Write a change of what the session may do."""
        body = {"state": state, "reason": reason}
        self._write(RecordKind.STATE, f"{state}:{self._clock.now().isoformat()}", body)

    def observed(
        self, bars: Mapping[str, tuple[int, int, int, int, int]], *, saw_open: bool = True
    ) -> None:
        """Write the bars that the session saw, and whether it listened from the open on."""
        body = {"saw_open": saw_open, "bars": {s: list(bar) for s, bar in bars.items()}}
        self._write(RecordKind.OBSERVED, "bars", body)

    def closed(self, body: Mapping[str, Any]) -> None:
        """Write the end of the session."""
        self._write(RecordKind.SESSION, CLOSED, body)

    def _write(self, kind: RecordKind, key: str, body: Mapping[str, Any]) -> bool:
        record = Record(
            kind=kind,
            key=f"{self._session}:{key}",
            session=self._session,
            ts=self._clock.now(),
            body=body,
        )
        return self._ledger.append(record) == 1


def read_session(ledger: Ledger, session: date) -> RecordedSession:
    """Return what the ledger knows of ``session``; empty when it never began."""
    opened = decision = mark = state = closed = None
    evidence = Evidence()
    orders: dict[str, Order] = {}
    highest_before: dict[str, str] = {}
    fills: list[RecordedFill] = []
    denied: list[tuple[OrderIntent, str]] = []
    actions: list[dict[str, Any]] = []
    observed: dict[str, tuple[int, int, int, int, int]] = {}
    saw_open = True
    for record in ledger.read(session=session):
        body = record.body
        match record.kind:
            case RecordKind.SESSION if record.key.endswith(OPENED):
                opened = body["engine"]
            case RecordKind.SESSION:
                closed = body
            case RecordKind.DECISION:
                decision = decision_from(body)
                evidence = Evidence(**body["evidence"])
            case RecordKind.INTENT:
                intent = _intent_from(body)
                orders[intent.intent_id] = Order(intent=intent).moved(OrderStatus.SUBMITTED)
                highest_before[intent.intent_id] = body["highest_order_id"]
            case RecordKind.UPDATE:
                orders[body["intent_id"]] = _updated(orders[body["intent_id"]], body)
            case RecordKind.FILL:
                fills.append(_fill_from(body))
            case RecordKind.VERDICT:
                denied.append((_intent_from(body), body["code"]))
            case RecordKind.ACTION:
                actions.append(dict(body))
            case RecordKind.OBSERVED:
                saw_open = body["saw_open"]
                observed = {s: (b[0], b[1], b[2], b[3], b[4]) for s, b in body["bars"].items()}
            case RecordKind.MARK:
                mark = body
            case RecordKind.STATE:
                state = TradingState(body["state"])
    return RecordedSession(
        session=session,
        opened=opened,
        decision=decision,
        evidence=evidence,
        orders=orders,
        highest_before=highest_before,
        fills=fills,
        denied=denied,
        actions=actions,
        observed=observed,
        saw_open=saw_open,
        mark=mark,
        state=state,
        closed=closed,
    )


def closed_sessions(ledger: Ledger) -> list[date]:
    """Return the sessions that are over, in order."""
    return sorted(r.session for r in ledger.read(RecordKind.SESSION) if r.key.endswith(CLOSED))


def decision_body(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON values."""
    return {
        "session": decision.session.isoformat(),
        "boundary": decision.boundary,
        "first_bar": decision.first_bar.isoformat(),
        "view_hash": decision.view_hash,
        "policy_hash": decision.policy_hash,
        "equity": decision.equity,
        "state": decision.state,
        "regime": decision.regime,
        "portfolio_var": decision.portfolio_var,
        "choices": [
            {**asdict(choice), "votes": dict(choice.votes), "verdict": choice.verdict.name}
            for choice in decision.choices
        ],
        "intents": [_intent_body(intent) for intent in decision.intents],
    }


def decision_from(body: Mapping[str, Any]) -> Decision:
    """Return the decision that ``decision_body`` described."""
    return Decision(
        session=date.fromisoformat(body["session"]),
        boundary=body["boundary"],
        first_bar=date.fromisoformat(body["first_bar"]),
        view_hash=body["view_hash"],
        policy_hash=body["policy_hash"],
        equity=body["equity"],
        state=TradingState(body["state"]),
        regime=body["regime"],
        portfolio_var=body["portfolio_var"],
        choices=tuple(
            Choice(**{**choice, "verdict": Verdict[choice["verdict"]]})
            for choice in body["choices"]
        ),
        intents=tuple(_intent_from(intent) for intent in body["intents"]),
    )


def _intent_body(intent: OrderIntent) -> dict[str, Any]:
    return {**asdict(intent), "session": intent.session.isoformat()}


def _intent_from(body: Mapping[str, Any]) -> OrderIntent:
    return OrderIntent(
        intent_id=body["intent_id"],
        session=date.fromisoformat(body["session"]),
        boundary=body["boundary"],
        symbol=body["symbol"],
        exchange=Exchange(body["exchange"]),
        side=Side(body["side"]),
        quantity=body["quantity"],
        limit=body["limit"],
        order_type=OrderType(body["order_type"]),
        reason=body["reason"],
    )


def _updated(order: Order, body: Mapping[str, Any]) -> Order:
    status = OrderStatus(body["status"])
    if status is OrderStatus.ACCEPTED:
        ack = OrderAck(
            venue_order_id=body["venue_order_id"],
            branch=body["branch"],
            ts_event=datetime.fromisoformat(body["ts_event"]),
        )
        return order.acknowledged(ack)
    return order.moved(status, reason=body["reason"]) if order.status is not status else order


def _fill_from(body: Mapping[str, Any]) -> RecordedFill:
    return RecordedFill(
        intent_id=body["intent_id"],
        fill=Fill(
            symbol=body["symbol"],
            side=Side(body["side"]),
            quantity=body["quantity"],
            amount=body["amount"],
            venue_order_id=body["venue_order_id"],
            ts_event=datetime.fromisoformat(body["ts_event"]),
            ts_recv=datetime.fromisoformat(body["ts_recv"]),
        ),
        commission=body["commission"],
        tax=body["tax"],
        realized=body["realized"],
    )
