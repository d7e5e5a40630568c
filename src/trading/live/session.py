"""One session at a venue: the engine driven by a live feed, every fact journalled first.

Restart is the same path as start: what the ledger holds is taken over, the venue is asked for
the rest, exits are armed again, and the session goes on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from trading.domain.decision import TradingState
from trading.domain.market import Tick
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
    VenueOrder,
)
from trading.errors import OrderRejectedError, OrderUnknownError, ReconciliationError
from trading.execution.bars import BarBuilder
from trading.execution.decide import View
from trading.execution.engine import (
    Accepted,
    Breach,
    Cancel,
    Command,
    Deny,
    Event,
    Lost,
    Refused,
    SessionEnd,
    SessionStart,
    Submit,
    Timer,
    TradingEngine,
)
from trading.live.journal import Evidence, Journal, RecordedSession
from trading.live.pace import Pace
from trading.live.reconcile import (
    Difference,
    acknowledgment,
    candidates,
    differences,
    highest_number,
    match_unknown,
    missing_fill,
)
from trading.log import get_logger, get_trade_log
from trading.ports import Broker, MarketFeed, Notifier

log = get_logger(__name__)
trade_log = get_trade_log()


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """How often the session looks at itself, and how long it asks for a lost order."""

    check_interval: timedelta
    absence_listings: int
    absence_wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a session ended. ``differences`` is empty when the books reconcile to the unit."""

    equity: int
    cash: int
    cash_difference: int
    differences: tuple[Difference, ...]
    orders: int
    fills: int


class LiveSession:
    """Drives one engine through one session at one venue."""

    def __init__(
        self,
        engine: TradingEngine,
        broker: Broker,
        feed: MarketFeed,
        journal: Journal,
        pace: Pace,
        notifier: Notifier,
        supervision: Supervision,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._feed = feed
        self._journal = journal
        self._pace = pace
        self._notifier = notifier
        self._supervision = supervision
        self._bars = BarBuilder()
        self._highest = ""
        self._highest_before: dict[str, str] = {}
        self._listed_at: dict[str, datetime] = {}
        self._closed_at: datetime | None = None
        self._saw_open = True

    async def run(
        self,
        start: SessionStart,
        view: View,
        recorded: RecordedSession,
        *,
        evidence: Evidence,
    ) -> SessionOutcome:
        """Trade the session to its end and return how it went.

        ``recorded`` is what the ledger already holds of this session: nothing on a first start.
        ``evidence`` is what ``view`` rests on, for the record.
        """
        self._closed_at = start.close_ts
        await self._pace.open_session(start.session)
        await self._feed.subscribe(view.symbols)
        # Killed and started again in the middle of a day, it has seen a part of the bars only.
        self._saw_open = self._pace.clock.now() < start.open_ts
        if recorded.opened is None:
            self._journal.opened(self._engine.snapshot())
        else:
            log.info("세션 이어서 진행", session=str(start.session), orders=len(recorded.orders))
            self._engine.restore(recorded.opened)
        before = len(self._engine.applied)
        self._engine.handle(start)
        for applied in self._engine.applied[before:]:
            self._journal.applied(applied)
        if not recorded.orders:
            _check_books(differences(self._engine, await self._broker.account()))
        await self._recover(view, recorded)
        if not self._engine.decisions:
            await self._decide(start, view, evidence)
        else:
            await self._finish_decision(start)
        await self._watch(start)
        return await self._close(start)

    async def _decide(self, start: SessionStart, view: View, evidence: Evidence) -> None:
        commands = self._engine.handle(Timer(ts=self._deciding_at(start), view=view))
        decision = self._engine.decisions[-1]
        self._journal.decided(decision, evidence)
        log.info(
            "매매 결정",
            session=str(decision.session),
            symbols=len(decision.choices),
            intents=len(decision.intents),
            equity=decision.equity,
            regime=decision.regime,
            state=str(decision.state),
        )
        await self._carry(commands)

    async def _finish_decision(self, start: SessionStart) -> None:
        """Send what a killed process had decided and not yet written as an intent."""
        for intent in self._engine.decisions[-1].intents:
            if intent.intent_id not in self._engine.orders:
                await self._carry([self._engine.guarded(intent, self._deciding_at(start))])

    def _deciding_at(self, start: SessionStart) -> datetime:
        """Return the open, for which a morning's orders are meant, or now when it is later."""
        return max(start.open_ts, self._pace.clock.now())

    async def _watch(self, start: SessionStart) -> None:
        await self._pace.settle(self._feed, self._pump)
        boundary = start.open_ts + self._supervision.check_interval
        next_report = start.open_ts
        while self._pace.clock.now() < start.close_ts:
            until = min(boundary, start.close_ts)
            await self._pace.advance(until, self._feed, self._pump)
            now = self._pace.clock.now()
            if now >= boundary and now < start.close_ts:
                await self._handle(Timer(ts=boundary))
                self._mark()
                boundary = _next_boundary(boundary, now, self._supervision.check_interval)
            if now >= next_report:
                self._report_hour(now)
                next_report += timedelta(hours=1)

    async def _close(self, start: SessionStart) -> SessionOutcome:
        await self._pace.settle(self._feed, self._pump)
        # The venue ends the day's orders at the close; a minute later its word is final.
        final = start.close_ts + timedelta(minutes=1)
        while self._pace.clock.now() < final:
            await self._pace.advance(final, self._feed, self._pump)
        await self._take_over_listing(start)
        orders = dict(self._engine.orders)
        self._engine.handle(SessionEnd(ts=start.close_ts))
        for intent_id, order in self._engine.orders.items():
            if order.status is not orders[intent_id].status:
                self._journal.moved(intent_id, order.status)
                _log_trade("주문 소멸", order)
        venue = await self._broker.account()
        found = tuple(differences(self._engine, venue))
        self._journal.observed(self._bars.close(), saw_open=self._saw_open)
        outcome = SessionOutcome(
            equity=self._engine.equity(),
            cash=self._engine.account.cash,
            cash_difference=self._engine.account.cash - venue.cash,
            differences=found,
            orders=sum(o.status is not OrderStatus.DENIED for o in orders.values()),
            fills=len(self._engine.booked),
        )
        self._journal.closed(
            {
                "engine": self._engine.snapshot(),
                "equity": outcome.equity,
                "cash": outcome.cash,
                "cash_difference": outcome.cash_difference,
                "differences": [[d.what, d.ours, d.theirs] for d in found],
                "ambiguous_fills": self._engine.ambiguous_fills,
                "state": str(self._engine.risk.state),
            }
        )
        if found:
            listed = _listed(found)
            log.error("장부와 거래소 잔고가 다름", differences=listed)
            self._notifier.send("error", {"message": f"장부와 거래소 잔고가 다릅니다: {listed}"})
        return outcome

    async def _recover(self, view: View, recorded: RecordedSession) -> None:
        """Take over what the ledger and the venue know of a session that was begun before."""
        if recorded.decision is not None:
            self._engine.resume(recorded.decision, view)
        for order in recorded.orders.values():
            self._engine.adopt(order)
        for intent, code in recorded.denied:
            # Refused is refused: the guards are not asked again because a process died.
            self._engine.adopt(Order(intent=intent).moved(OrderStatus.DENIED, reason=code))
        for known in recorded.fills:
            self._engine.handle(known.fill)
        listing = await self._broker.orders(view.session)
        self._highest = highest_number(listing)
        if recorded.orders:
            self._highest_before = dict(recorded.highest_before)
            await self._recover_lost(view.session)
            await self._take_over_listing_of(await self._broker.orders(view.session))
            await self._pump()
        if recorded.state is not None:
            await self._carry(self._engine.restrict(recorded.state))
        if recorded.decision is not None:
            await self._catch_up(view)

    async def _recover_lost(self, session: date) -> None:
        """Settle orders that a killed process had sent, or not, without seeing the answer.

        One that provably never arrived leaves now: it was never sent twice.
        """
        unknown = (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)
        lost = [order for order in self._engine.open_orders() if order.status in unknown]
        for order in await self._resolve(lost, session):
            log.warning("거래소에 도착하지 않은 주문을 냄", intent_id=order.intent.intent_id)
            await self._submit(order.intent)

    async def _resolve(self, lost: Sequence[Order], session: date) -> list[Order]:
        """Ask the venue for orders whose answer was lost; return those that never arrived.

        A unique match is taken over. Several possible ones freeze the symbol and are told to
        the operator. Absence needs several complete listings.
        """
        open_questions = list(lost)
        possible: dict[str, int] = {}
        for attempt in range(self._supervision.absence_listings):
            if not open_questions:
                return []
            if attempt:
                await asyncio.sleep(self._supervision.absence_wait_seconds)
            listing = await self._broker.orders(session)
            for order in list(open_questions):
                intent_id = order.intent.intent_id
                claimed = [o.venue_order_id for o in self._engine.orders.values()]
                before = self._highest_before.get(intent_id, "")
                listed = match_unknown(
                    order, listing, claimed=claimed, highest_before=before, unknowns=open_questions
                )
                if listed is not None:
                    await self._accept(order.intent, acknowledgment(listed))
                    open_questions.remove(order)
                    continue
                possible[intent_id] = len(
                    candidates(order, listing, claimed=claimed, highest_before=before)
                )
        for order in open_questions:
            if possible[order.intent.intent_id]:
                self._engine.frozen.add(order.intent.symbol)
                log.error("주문을 하나로 가릴 수 없음", intent_id=order.intent.intent_id)
                message = (
                    f"거래소의 어느 주문이 우리 것인지 알 수 없습니다: {order.intent.intent_id}"
                )
                self._notifier.send("error", {"message": message})
        return [o for o in open_questions if not possible[o.intent.intent_id]]

    async def _take_over_listing(self, start: SessionStart) -> None:
        await self._take_over_listing_of(await self._broker.orders(start.session))

    async def _take_over_listing_of(self, listing: Sequence[VenueOrder]) -> None:
        """Book the fills and ends that the venue lists and no notice has told us of."""
        now = self._pace.clock.now()
        for listed in listing:
            order = self._engine.order_of(listed.venue_order_id)
            if order is None:
                continue
            fill = missing_fill(order, listed, now)
            if fill is not None:
                await self._handle(fill)
            # KIS gives its executions no number: a notice of one that this listing holds, still
            # on its way, would book it twice. One left out for nothing is in the next listing.
            self._listed_at[listed.venue_order_id] = now
            order = self._engine.order_of(listed.venue_order_id)
            if order is not None and order.status.is_open and listed.open_quantity == 0:
                status = self._ended(order, listed)
                await self._handle(
                    OrderUpdate(
                        venue_order_id=listed.venue_order_id,
                        symbol=listed.symbol,
                        status=status,
                        ts_event=listed.ts_event,
                        ts_recv=now,
                    )
                )

    def _ended(self, order: Order, listed: VenueOrder) -> OrderStatus:
        """Return how an order ended; KIS lists what expired at the close as canceled."""
        if listed.rejected_quantity:
            return OrderStatus.REJECTED
        is_over = self._closed_at is not None and self._pace.clock.now() >= self._closed_at
        if is_over and order.status is not OrderStatus.PENDING_CANCEL:
            return OrderStatus.EXPIRED
        return OrderStatus.CANCELED

    async def _catch_up(self, view: View) -> None:
        """Look at today's prices again: a print may have come while nobody was there."""
        for symbol in sorted(set(self._engine.account.positions) & set(view.symbols)):
            quote = await self._broker.quote(symbol)
            if quote.volume > 0 and quote.price > 0:
                now = self._pace.clock.now()
                await self._handle(
                    Tick(
                        symbol=symbol,
                        price=quote.price,
                        volume=0,
                        cumulative_volume=quote.volume,
                        ts_event=now,
                        ts_recv=now,
                    )
                )

    async def _pump(self) -> None:
        for event in self._feed.drain():
            if isinstance(event, Fill):
                listed_at = self._listed_at.get(event.venue_order_id)
                if listed_at is not None and event.ts_event <= listed_at:
                    continue
            await self._handle(event)

    async def _handle(self, event: Event) -> None:
        before = len(self._engine.booked)
        if isinstance(event, Tick):
            self._bars.add(event)
        known = (
            self._engine.order_of(event.venue_order_id) if isinstance(event, OrderUpdate) else None
        )
        commands = self._engine.handle(event)
        self._write_booked(before)
        if known is not None:
            self._write_update(known)
        await self._carry(commands)

    def _write_booked(self, before: int) -> None:
        for booked in self._engine.booked[before:]:
            order = self._engine.orders[booked.intent.intent_id]
            self._journal.filled(booked, order.filled_quantity)
            _log_trade(
                "체결",
                order,
                quantity=booked.fill.quantity,
                amount=booked.fill.amount,
                commission=booked.booking.commission,
                tax=booked.booking.tax,
                realized=booked.booking.realized,
            )
            self._notifier.send(
                "order_filled",
                {
                    "symbol": booked.intent.symbol,
                    "side": str(booked.intent.side),
                    "quantity": booked.fill.quantity,
                    "amount": booked.fill.amount,
                },
            )

    def _write_update(self, known: Order) -> None:
        order = self._engine.orders[known.intent.intent_id]
        if order.status is not known.status:
            self._journal.moved(order.intent.intent_id, order.status, order.reason)
            _log_trade("주문 상태 변경", order)

    async def _carry(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Submit(intent=intent):
                    self._highest_before[intent.intent_id] = self._highest
                    self._journal.intends(intent, highest_order_id=self._highest)
                    await self._submit(intent)
                case Cancel(order=order):
                    await self._cancel(order)
                case Deny(intent=intent, code=code):
                    self._journal.denied(intent, code)
                    trade_log.warning("주문 내부 거부", intent_id=intent.intent_id, code=str(code))
                    self._notifier.send(
                        "order_refused", {"symbol": intent.symbol, "reason": str(code)}
                    )
                case Breach(verdict=verdict, equity=equity):
                    self._journal.state(TradingState.REDUCING, verdict.name)
                    log.error("손실 한도 도달, 매수 중단", verdict=verdict.name, equity=equity)
                    self._notifier.send("risk_event", {"verdict": verdict.name, "equity": equity})

    async def _submit(self, intent: OrderIntent) -> None:
        try:
            ack = await self._broker.submit(intent)
        except OrderRejectedError as error:
            self._engine.handle(Refused(intent_id=intent.intent_id, reason=str(error)))
            self._journal.moved(intent.intent_id, OrderStatus.REJECTED, str(error))
            _log_trade("주문 거래소 거부", self._engine.orders[intent.intent_id], code=error.code)
            self._notifier.send("order_refused", {"symbol": intent.symbol, "reason": str(error)})
        except OrderUnknownError as error:
            self._engine.handle(Lost(intent_id=intent.intent_id, reason=str(error)))
            self._journal.moved(intent.intent_id, OrderStatus.UNKNOWN, str(error))
            self._engine.frozen.add(intent.symbol)
            log.error("주문 결과 불명", intent_id=intent.intent_id, reason=str(error))
            self._notifier.send("error", {"message": f"주문 결과를 모릅니다: {intent.intent_id}"})
            await self._settle_lost(intent)
        else:
            await self._accept(intent, ack)

    async def _settle_lost(self, intent: OrderIntent) -> None:
        """Find out what became of an order; one that never arrived is over, not sent again."""
        absent = await self._resolve([self._engine.orders[intent.intent_id]], intent.session)
        if absent:
            reason = "거래소에 도착하지 않음"
            self._engine.handle(Refused(intent_id=intent.intent_id, reason=reason))
            self._journal.moved(intent.intent_id, OrderStatus.REJECTED, reason)
            _log_trade("주문 미도착", self._engine.orders[intent.intent_id])
        if self._engine.orders[intent.intent_id].status is not OrderStatus.UNKNOWN:
            self._engine.frozen.discard(intent.symbol)

    async def _accept(self, intent: OrderIntent, ack: OrderAck) -> None:
        self._highest = max(self._highest, ack.venue_order_id, key=lambda n: int(n or 0))
        self._journal.accepted(intent.intent_id, ack)
        before = len(self._engine.booked)
        commands = self._engine.handle(Accepted(intent_id=intent.intent_id, ack=ack))
        _log_trade("주문 접수", self._engine.orders[intent.intent_id])
        self._notifier.send(
            "order_submitted",
            {
                "symbol": intent.symbol,
                "side": str(intent.side),
                "quantity": intent.quantity,
                "limit": intent.limit,
            },
        )
        self._write_booked(before)
        await self._carry(commands)

    async def _cancel(self, order: Order) -> None:
        try:
            await self._broker.cancel(order)
        except OrderRejectedError as error:
            # It was filled or gone already; the notice or the closing listing says which.
            log.warning("취소 거부", intent_id=order.intent.intent_id, reason=str(error))
        except OrderUnknownError as error:
            log.error("취소 결과 불명", intent_id=order.intent.intent_id, reason=str(error))
        else:
            self._journal.moved(order.intent.intent_id, OrderStatus.PENDING_CANCEL)

    def _mark(self) -> None:
        engine = self._engine
        self._journal.marked(
            {
                "equity": engine.equity(),
                "cash": engine.account.cash,
                "positions": {s: p.quantity for s, p in engine.account.positions.items()},
                "prices": {s: engine.last_price[s] for s in engine.account.positions},
                "state": str(engine.risk.state),
                "open_orders": len(engine.open_orders()),
            }
        )

    def _report_hour(self, now: datetime) -> None:
        engine = self._engine
        fields: Mapping[str, Any] = {
            "equity": engine.equity(),
            "cash": engine.account.cash,
            "positions": {s: p.quantity for s, p in engine.account.positions.items()},
            "state": str(engine.risk.state),
        }
        # "ts" of a log line is wall time: the venue's own has a name of its own.
        log.info("시간별 상태", venue_time=now.isoformat(), **fields)
        self._notifier.send("hourly_status", {"ts": now.isoformat(), **fields})


def _next_boundary(boundary: datetime, now: datetime, interval: timedelta) -> datetime:
    passed = (now - boundary) // interval
    return boundary + interval * (passed + 1)


def _log_trade(event: str, order: Order, **fields: Any) -> None:
    intent = order.intent
    trade_log.info(
        event,
        intent_id=intent.intent_id,
        venue_order_id=order.venue_order_id,
        symbol=intent.symbol,
        side=str(intent.side),
        order_quantity=intent.quantity,
        limit=intent.limit,
        status=str(order.status),
        filled_quantity=order.filled_quantity,
        reason=order.reason or intent.reason,
        **fields,
    )


def _check_books(found: Sequence[Difference]) -> None:
    """Raise ``ReconciliationError`` unless ledger and venue agree to the unit, before any order."""
    if found:
        raise ReconciliationError(
            f"장부와 거래소의 계좌가 달라 거래하지 않았습니다: {_listed(found)}. 한쪽 기록이 지워진 데모라면 "
            "--fresh로 새 계좌를 시작하십시오."
        )


def _listed(found: Sequence[Difference]) -> str:
    """Return differences as the operator reads them; cash in minor units."""
    return ", ".join(f"{d.what} 장부 {d.ours:,} / 거래소 {d.theirs:,}" for d in found)
