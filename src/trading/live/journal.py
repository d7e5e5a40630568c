"""How a session's facts are written to the ledger and read back after a restart."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from trading.domain.decision import (
    Choice,
    Decision,
    ExitTerms,
    TradingState,
    Verdict,
    Waiting,
)
from trading.domain.instrument import Exchange
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderType,
    Route,
    Side,
    VenueOrder,
)
from trading.execution.engine import BOUNDARY_MANUAL, Adjustment, Applied, Booked, stricter
from trading.live.reconcile import Difference
from trading.ports import Clock, Ledger, Record, RecordKind
from trading.risk.guards import GuardCode
from trading.simulation.account import Booking

OPENED = "opened"
CLOSED = "closed"
# Where an order may be more than once: a cancel that came to nothing gives it back.
_REPEATED = (OrderStatus.PENDING_CANCEL, OrderStatus.ACCEPTED)
# Why a session begins in REDUCING: a guard could not prove that it works.
DRILL_FAILED = "DRILL_FAILED"
# Why a state changed that the operator, and no limit, asked for.
OPERATOR = "OPERATOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a decision rested on besides its view, so that it can be computed again.

    ``history`` fingerprints each symbol's bars, ``model_versions`` are the champions that voted by
    family, ``untradable`` are the symbols that the venue would not take orders for.
    """

    history: Mapping[str, str] = field(default_factory=dict)
    model_versions: Mapping[str, int] = field(default_factory=dict)
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
class Word:
    """What the operator allowed from ``ts`` on; before or after the day's decision."""

    ts: datetime
    state: TradingState
    is_before_decision: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSession:
    """Everything the ledger knows of one session.

    ``opened`` is the engine's state before the session's actions; ``closed`` is ``None`` while
    the session is not over. ``observed`` maps a symbol to the (open, high, low, close, volume)
    that the session saw: of the whole day when it ``saw_open``, of asked prices when ``polled``.
    ``highest_before`` is the mark of the last complete listing before each intent left, and
    ``due_at`` when it was wished: with the decision, or when it was written. ``orders`` and
    ``fills`` are ours; ``manual`` are those that somebody placed by hand and that were taken into
    the books, ``booked`` the fills of both in order. ``unclear`` are intents that nobody can tell
    from an order placed by hand. ``drill_failed``: it began reducing only, because a guard could
    not prove that it works. ``state`` is what broken limits left, ``held_by`` their codes, and
    ``words`` what the operator said, in order.
    """

    session: date
    opened: Mapping[str, Any] | None
    decision: Decision | None
    evidence: Evidence
    orders: dict[str, Order]
    highest_before: dict[str, str]
    due_at: dict[str, datetime]
    fills: list[RecordedFill]
    manual: dict[str, Order]
    booked: list[RecordedFill]
    quarantined: set[str]
    unclear: set[str]
    set_aside: dict[str, VenueOrder]
    denied: list[tuple[OrderIntent, str]]
    actions: list[dict[str, Any]]
    observed: dict[str, tuple[int, int, int, int, int]]
    saw_open: bool
    polled: bool
    mark: Mapping[str, Any] | None
    state: TradingState | None
    held_by: tuple[str, ...]
    words: tuple[Word, ...]
    drill_failed: bool
    closed: Mapping[str, Any] | None

    @property
    def allowed(self) -> TradingState:
        """What operator and drill allowed when the day's decision was taken."""
        said = [word.state for word in self.words if word.is_before_decision]
        operator = TradingState((self.opened or {}).get("operator", TradingState.ACTIVE))
        drilled = TradingState.REDUCING if self.drill_failed else TradingState.ACTIVE
        return stricter(said[-1] if said else operator, drilled)


class Journal:
    """The session's pen: each method is one durable transaction."""

    def __init__(self, ledger: Ledger, session: date, clock: Clock) -> None:
        self._ledger = ledger
        self._session = session
        self._clock = clock

    def opened(
        self, snapshot: Mapping[str, Any], by_hand: Sequence[tuple[date, VenueOrder, Booking]] = ()
    ) -> None:
        """Write the engine's state before the session.

        ``by_hand`` are the trades of earlier days that it holds beside what the last session
        left: the day, the order with what it filled since, and what that cost.
        """
        earlier = [
            self._record(
                RecordKind.MANUAL_FILL,
                f"{day}:{one.venue_order_id}:{one.filled_quantity}",
                _listed_body(one) | asdict(booking) | {"day": day.isoformat()},
            )
            for day, one, booking in by_hand
        ]
        begun = self._record(RecordKind.SESSION, OPENED, {"engine": snapshot})
        self._ledger.append(*earlier, begun)

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
        key, times = f"{intent_id}:{status}", 1
        while not self._write(RecordKind.UPDATE, key, body) and status in _REPEATED:
            times += 1
            key = f"{intent_id}:{status}:{times}"

    def denied(self, intent: OrderIntent, code: GuardCode) -> None:
        """Write an order that a guard kept back."""
        body = _intent_body(intent) | {"code": str(code)}
        self._write(RecordKind.VERDICT, intent.intent_id, body)

    def leaves_again(self, intent: OrderIntent) -> None:
        """Write that an intent, proven never to have arrived, is about to leave."""
        body = {"intent_id": intent.intent_id, "status": OrderStatus.SUBMITTED, "reason": ""}
        moment = self._clock.now().isoformat()
        self._write(RecordKind.UPDATE, f"{intent.intent_id}:again:{moment}", body)

    def by_hand(self, order: Order) -> None:
        """Write that an order somebody placed by hand belongs to the books from now on."""
        body = _intent_body(order.intent) | {
            "venue_order_id": order.venue_order_id,
            "branch": order.branch,
        }
        self._write(RecordKind.MANUAL, order.intent.intent_id, body)

    def quarantined(self, symbol: str, reason: str, *, intent_id: str = "") -> None:
        """Write that ``symbol`` is not bought until somebody has looked.

        ``intent_id`` names an intent that cannot be told from an order placed by hand.
        """
        body = {"symbol": symbol, "reason": reason, "intent_id": intent_id}
        self._write(RecordKind.QUARANTINE, f"{symbol}:{intent_id}", body)

    def set_aside(self, day: date, listed: VenueOrder, reason: str) -> None:
        """Write an order of ``day`` that stays out of the books, as it is now."""
        body = _listed_body(listed) | {"reason": reason, "intent_id": "", "day": day.isoformat()}
        key = f"{day}:{listed.venue_order_id}:{listed.filled_quantity}"
        self._write(RecordKind.QUARANTINE, key, body)

    def differs(self, found: Sequence[Difference]) -> None:
        """Write what kept the session from trading, for the operator to look at."""
        body = {"differences": [asdict(one) for one in found]}
        self._write(RecordKind.DIFFERENCE, self._clock.now().isoformat(), body)

    def filled(self, booked: Booked, cumulative_quantity: int) -> bool:
        """Write a fill once; return whether it is new."""
        fill = booked.fill
        is_manual = booked.intent.boundary == BOUNDARY_MANUAL
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
        kind = RecordKind.MANUAL_FILL if is_manual else RecordKind.FILL
        return self._write(kind, f"{fill.venue_order_id}:{cumulative_quantity}", body)

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
        self._write(RecordKind.ACTION, f"{action.symbol}:{action.kind}:{action.ex_date}", body)

    def marked(self, body: Mapping[str, Any]) -> None:
        """Write the portfolio as it is marked now."""
        self._write(RecordKind.MARK, self._clock.now().isoformat(), body)

    def state(self, state: TradingState, reason: str) -> None:
        """Write a change of what the session may do."""
        body = {"state": state, "reason": reason}
        self._write(RecordKind.STATE, f"{state}:{self._clock.now().isoformat()}", body)

    def operator(self, state: TradingState, word: TradingState, *, by: str, reason: str) -> None:
        """Write what the operator allows from now on, and what once the kill switch is gone."""
        record = operator_record(
            self._session, self._clock.now(), state, word, by=by, reason=reason
        )
        self._ledger.append(record)

    def last_word(self) -> TradingState:
        """Return what the operator last wished, in whatever session."""
        found = TradingState.ACTIVE
        for record in self._ledger.read(RecordKind.STATE):
            if record.body["reason"] == OPERATOR:
                found = TradingState(record.body["word"])
        return found

    def drilled(self, body: Mapping[str, Any]) -> None:
        """Write how the guards were proven before the session, and what follows if they were not."""
        moment = self._clock.now().isoformat()
        self._write(RecordKind.DRILL, moment, body)
        if not body["passed"]:
            self.state(TradingState.REDUCING, DRILL_FAILED)

    def observed(
        self,
        bars: Mapping[str, tuple[int, int, int, int, int]],
        *,
        saw_open: bool = True,
        polled: bool = False,
    ) -> None:
        """Write the bars that the session saw, whether from the open on, whether of asked prices."""
        body = {
            "saw_open": saw_open,
            "polled": polled,
            "bars": {s: list(bar) for s, bar in bars.items()},
        }
        self._write(RecordKind.OBSERVED, "bars", body)

    def closed(self, body: Mapping[str, Any]) -> None:
        """Write the end of the session."""
        self._write(RecordKind.SESSION, CLOSED, body)

    def books_from(self) -> date | None:
        """Return the first day that today's books may lack something of.

        The last session before this one that is over, or the first begun where none is.
        """
        begun = [r.session for r in self._ledger.read(RecordKind.SESSION)]
        closed = [s for s in closed_sessions(self._ledger) if s < self._session]
        return closed[-1] if closed else min((s for s in begun if s < self._session), default=None)

    def ours_on(self, day: date) -> set[str]:
        """Return the numbers of our own orders of ``day``."""
        return {o.venue_order_id for o in read_session(self._ledger, day).orders.values()} - {""}

    def booked_on(self, day: date) -> dict[str, tuple[int, int]]:
        """Return quantity and amount that the books hold of each order number of ``day``.

        A session that never ended left its books to nobody: what it booked is not in ours.
        """
        known: dict[str, tuple[int, int]] = {}
        closed = set(closed_sessions(self._ledger))
        later = [
            (r.body["venue_order_id"], r.body["filled_quantity"], r.body["filled_amount"])
            for r in self._ledger.read(RecordKind.MANUAL_FILL)
            if r.body.get("day") == day.isoformat() and r.session in closed
        ]
        booked = read_session(self._ledger, day).booked if day in closed else []
        fills = [(one.fill.venue_order_id, one.fill.quantity, one.fill.amount) for one in booked]
        for number, quantity, amount in (*fills, *later):
            q, a = known.get(number, (0, 0))
            known[number] = (q + quantity, a + amount)
        return known

    def still_aside(self) -> list[tuple[date, VenueOrder]]:
        """Return the orders of earlier sessions that are still out of the books, by day."""
        aside: dict[tuple[str, str], VenueOrder] = {}
        kept = {self._session, *closed_sessions(self._ledger)}
        for record in self._ledger.read(RecordKind.QUARANTINE, RecordKind.MANUAL_FILL):
            body = record.body
            if "day" not in body:
                continue
            key = (body["day"], body["venue_order_id"])
            if record.kind is RecordKind.MANUAL_FILL and record.session in kept:
                aside.pop(key, None)
            elif record.kind is RecordKind.QUARANTINE and record.session < self._session:
                aside[key] = _listed_from(body)
        return [(date.fromisoformat(day), listed) for (day, _), listed in aside.items()]

    def actions_since(self, day: date) -> list[Mapping[str, Any]]:
        """Return the corporate actions that were booked from ``day`` on."""
        return [r.body for r in self._ledger.read(RecordKind.ACTION) if r.session >= day]

    def _write(self, kind: RecordKind, key: str, body: Mapping[str, Any]) -> bool:
        return self._ledger.append(self._record(kind, key, body)) == 1

    def _record(self, kind: RecordKind, key: str, body: Mapping[str, Any]) -> Record:
        return Record(
            kind=kind,
            key=f"{self._session}:{key}",
            session=self._session,
            ts=self._clock.now(),
            body=body,
        )


def _evidence_from(body: Mapping[str, Any]) -> Evidence:
    """Return the evidence of a decision; before there were families, the forest voted alone."""
    fields = dict(body)
    if "model_version" in fields:
        version = fields.pop("model_version")
        fields["model_versions"] = {} if version is None else {"forest": version}
    return Evidence(**fields)


def read_session(ledger: Ledger, session: date) -> RecordedSession:
    """Return what the ledger knows of ``session``; empty when it never began."""
    opened = decision = mark = state = closed = None
    evidence = Evidence()
    orders: dict[str, Order] = {}
    highest_before: dict[str, str] = {}
    due_at: dict[str, datetime] = {}
    fills: list[RecordedFill] = []
    manual: dict[str, Order] = {}
    booked: list[RecordedFill] = []
    quarantined: set[str] = set()
    unclear: set[str] = set()
    set_aside: dict[str, VenueOrder] = {}
    denied: list[tuple[OrderIntent, str]] = []
    actions: list[dict[str, Any]] = []
    observed: dict[str, tuple[int, int, int, int, int]] = {}
    held_by: list[str] = []
    words: list[Word] = []
    saw_open, polled, drill_failed = True, False, False
    for record in ledger.read(session=session):
        body = record.body
        match record.kind:
            case RecordKind.SESSION if record.key.endswith(OPENED):
                opened = body["engine"]
            case RecordKind.SESSION:
                closed = body
            case RecordKind.DECISION:
                decision = decision_from(body)
                evidence = _evidence_from(body["evidence"])
                due_at |= {intent.intent_id: record.ts for intent in decision.intents}
            case RecordKind.INTENT:
                intent = _intent_from(body)
                orders[intent.intent_id] = Order(intent=intent).moved(OrderStatus.SUBMITTED)
                highest_before[intent.intent_id] = body["highest_order_id"]
                due_at.setdefault(intent.intent_id, record.ts)
            case RecordKind.UPDATE:
                orders[body["intent_id"]] = _updated(orders[body["intent_id"]], body)
            case RecordKind.FILL:
                fills.append(_fill_from(body))
                booked.append(fills[-1])
            case RecordKind.MANUAL:
                manual[body["intent_id"]] = _manual_from(body)
            case RecordKind.MANUAL_FILL if "day" not in body:
                booked.append(_fill_from(body))
            case RecordKind.QUARANTINE:
                quarantined.add(body["symbol"])
                if body.get("day") == session.isoformat():
                    set_aside[body["venue_order_id"]] = _listed_from(body)
                elif body["intent_id"]:
                    unclear.add(body["intent_id"])
            case RecordKind.VERDICT:
                denied.append((_intent_from(body), body["code"]))
            case RecordKind.ACTION:
                actions.append(dict(body))
            case RecordKind.OBSERVED:
                saw_open, polled = body["saw_open"], body.get("polled", False)
                observed = {s: (b[0], b[1], b[2], b[3], b[4]) for s, b in body["bars"].items()}
            case RecordKind.MARK:
                mark = body
            case RecordKind.STATE if body["reason"] == OPERATOR and closed is not None:
                pass  # said after this session, for the next one
            case RecordKind.STATE if body["reason"] == OPERATOR:
                said = TradingState(body["state"])
                words.append(Word(ts=record.ts, state=said, is_before_decision=decision is None))
            case RecordKind.STATE:
                state = TradingState(body["state"])
                held_by.append(body["reason"])
                drill_failed |= body["reason"] == DRILL_FAILED
    return RecordedSession(
        session=session,
        opened=opened,
        decision=decision,
        evidence=evidence,
        orders=orders,
        highest_before=highest_before,
        due_at=due_at,
        fills=fills,
        manual=manual,
        booked=booked,
        quarantined=quarantined,
        unclear=unclear,
        set_aside=set_aside,
        denied=denied,
        actions=actions,
        observed=observed,
        saw_open=saw_open,
        polled=polled,
        mark=mark,
        state=state,
        held_by=tuple(dict.fromkeys(held_by)),
        words=tuple(words),
        drill_failed=drill_failed,
        closed=closed,
    )


def operator_record(
    session: date,
    ts: datetime,
    state: TradingState,
    word: TradingState,
    *,
    by: str,
    reason: str,
) -> Record:
    """Return the record of what the operator allows from ``ts`` on."""
    return Record(
        kind=RecordKind.STATE,
        # A venue's time stands still between two words in lock-step: the instant names none.
        key=f"{session}:{OPERATOR}:{uuid4().hex}",
        session=session,
        ts=ts,
        body={"state": state, "word": word, "reason": OPERATOR, "by": by, "said": reason},
    )


def open_differences(ledger: Ledger) -> tuple[date, list[Difference]] | None:
    """Return the session that did not begin because of differences, and those; ``None`` if none.

    Those that the operator has accepted, or that a session has lived with since, are over.
    """
    last: tuple[date, list[Difference]] | None = None
    kinds = (RecordKind.DIFFERENCE, RecordKind.ADJUSTMENT, RecordKind.SESSION)
    for record in ledger.read(*kinds):
        last = None
        if record.kind is RecordKind.DIFFERENCE:
            last = record.session, [Difference(**one) for one in record.body["differences"]]
    return last


def accept_differences(
    ledger: Ledger, session: date, found: Sequence[Difference], ts: datetime
) -> None:
    """Write, on the operator's word, that the venue is right in what it differs."""
    body = {
        "adjustments": [
            {
                "symbol": "" if one.is_cash else one.what,
                "amount": one.theirs - one.ours,
                "price": one.price,
            }
            for one in found
        ]
    }
    key = f"{session}:{ts.isoformat()}"
    ledger.append(Record(kind=RecordKind.ADJUSTMENT, key=key, session=session, ts=ts, body=body))


def adjustments(ledger: Ledger, first: date, last: date) -> list[Adjustment]:
    """Return what the operator accepted for the sessions ``first`` to ``last``."""
    return [
        Adjustment(**one)
        for record in ledger.read(RecordKind.ADJUSTMENT)
        if first <= record.session <= last
        for one in record.body["adjustments"]
    ]


def closed_sessions(ledger: Ledger) -> list[date]:
    """Return the sessions that are over, in order."""
    return sorted(r.session for r in ledger.read(RecordKind.SESSION) if r.key.endswith(CLOSED))


def opened_sessions(ledger: Ledger) -> list[date]:
    """Return the sessions that were begun, in order."""
    return sorted(r.session for r in ledger.read(RecordKind.SESSION) if r.key.endswith(OPENED))


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
        "exposure": decision.exposure,
        "allocation": decision.allocation,
        "choices": [
            {**asdict(choice), "votes": dict(choice.votes), "verdict": choice.verdict.name}
            for choice in decision.choices
        ],
        "intents": [_intent_body(intent) for intent in decision.intents],
        "waiting": [asdict(one) for one in decision.waiting],
        "entries": {symbol: asdict(terms) for symbol, terms in decision.entries.items()},
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
        # A ledger of before these were kept had none of them.
        exposure=body.get("exposure", 1.0),
        allocation=body.get("allocation", ""),
        waiting=tuple(Waiting(**one) for one in body.get("waiting", ())),
        entries={s: ExitTerms(**terms) for s, terms in body.get("entries", {}).items()},
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
        stop=body.get("stop", 0),
        route=Route(body.get("route", Route.KRX)),
    )


def _manual_from(body: Mapping[str, Any]) -> Order:
    ack = OrderAck(
        venue_order_id=body["venue_order_id"],
        branch=body["branch"],
        ts_event=datetime.fromisoformat(body["session"]).replace(tzinfo=UTC),
    )
    return Order(intent=_intent_from(body)).moved(OrderStatus.SUBMITTED).acknowledged(ack)


def _listed_body(listed: VenueOrder) -> dict[str, Any]:
    return {**asdict(listed), "ts_event": listed.ts_event.isoformat()}


def _listed_from(body: Mapping[str, Any]) -> VenueOrder:
    names = [field.name for field in fields(VenueOrder)]
    values = {name: body[name] for name in names if name in body}
    return VenueOrder(
        **values
        | {"side": Side(body["side"]), "ts_event": datetime.fromisoformat(body["ts_event"])}
    )


def _updated(order: Order, body: Mapping[str, Any]) -> Order:
    status = OrderStatus(body["status"])
    if status is OrderStatus.ACCEPTED and "venue_order_id" in body:
        ack = OrderAck(
            venue_order_id=body["venue_order_id"],
            branch=body["branch"],
            ts_event=datetime.fromisoformat(body["ts_event"]),
        )
        return order.acknowledged(ack)
    # What was written was legal when it was: a ledger must be readable whatever happened.
    return order._replace(status=status, reason=body["reason"] or order.reason)


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
