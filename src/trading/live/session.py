"""One session at a venue: the engine driven by a live feed, every fact journalled first.

Restart is the same path as start: what the ledger holds is taken over, the venue is asked for
the rest, exits are armed again, and the session goes on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from trading.allocation.optimize import AllocationStatus
from trading.allocation.rounding import small_account
from trading.clock import monotonic_seconds
from trading.domain.decision import Decision, TradingState, Verdict
from trading.domain.instrument import Exchange
from trading.domain.market import MarketStatus, Quote, Tick
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderDoubt,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
    Side,
)
from trading.domain.wording import reason_text
from trading.errors import (
    BrokerError,
    DataError,
    OrderNotSentError,
    OrderRejectedError,
    OrderStateError,
    OrderUnknownError,
    ReconciliationError,
    TradingError,
    TransientBrokerError,
    UsageError,
)
from trading.execution.bars import BarBuilder
from trading.execution.decide import View
from trading.execution.engine import (
    BOUNDARY_MANUAL,
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
from trading.live.books import NO_LISTING, PATIENCE, Bookkeeper, Supervision, listed_text
from trading.live.control import Watch
from trading.live.journal import Evidence, Journal, RecordedSession
from trading.live.obedience import Obedience
from trading.live.pace import Pace
from trading.live.reconcile import Difference
from trading.log import get_logger, get_trade_log
from trading.ports import Broker, MarketFeed, Notifier

__all__ = ["LiveSession", "SessionOutcome", "Supervision"]

log = get_logger(__name__)
trade_log = get_trade_log()

# A replay in lock-step asks for the balance of an idle account only this often.
_IDLE = timedelta(hours=1)
_REPORT_INTERVAL = timedelta(hours=1)
_TOO_LATE = "나가지 못한 채 때를 놓침"


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
    """Drives one engine through one session at one venue.

    ``exchanges`` names the exchange of every known share, for the fees of trades by hand; those
    of the view when not given. ``condition`` says at the venue's time how account and machine are
    doing, for the hourly status. ``watch`` is where the operator's word is looked for.
    """

    def __init__(
        self,
        engine: TradingEngine,
        broker: Broker,
        feed: MarketFeed,
        journal: Journal,
        pace: Pace,
        notifier: Notifier,
        supervision: Supervision,
        *,
        exchanges: Mapping[str, Exchange] | None = None,
        condition: Callable[[datetime], Mapping[str, Any]] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._condition = condition or (lambda _: {})
        self._engine = engine
        self._broker = broker
        self._feed = feed
        self._journal = journal
        self._pace = pace
        self._notifier = notifier
        self._supervision = supervision
        self._exchanges = dict(exchanges or {})
        self._books = Bookkeeper(
            engine,
            broker,
            journal,
            notifier,
            self,
            supervision,
            clock=pace.clock,
            exchanges=self._exchanges,
        )
        self._obedience = Obedience(
            engine,
            broker,
            journal,
            notifier,
            self,
            self._books,
            clock=pace.clock,
            exchanges=self._exchanges,
            watch=watch,
        )
        self._bars = BarBuilder()
        # The mark before each intent left, when it was wished, and whether the last one got lost.
        self._left_after: dict[str, str] = {}
        self._due_at: dict[str, datetime] = {}
        self._is_cut_off = False
        self._asked_at = 0.0
        self._saw_open = True
        # Names that wait for a price and whose open the venue has told.
        self._opened: set[str] = set()
        self._open_ts = datetime.min.replace(tzinfo=UTC)
        self._close_ts = datetime.max.replace(tzinfo=UTC)

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
        for symbol, exchange in zip(view.symbols, view.exchanges, strict=True):
            self._exchanges.setdefault(symbol, exchange)
        await self._obedience.answer_until(self._pace.open_session(start.session))
        await self._feed.subscribe(view.symbols)
        # Killed and started again in the middle of a day, it has seen a part of the bars only.
        self._saw_open = self._pace.clock.now() < start.open_ts
        self._open_ts, self._close_ts = start.open_ts, start.close_ts
        before = len(self._engine.applied)
        self._books.begin(start, recorded)
        if recorded.opened is None:
            await self._open(start)
        else:
            log.info("세션 이어서 진행", session=str(start.session), orders=len(recorded.orders))
            self._engine.restore(recorded.opened)
            self._engine.handle(start)
        for applied in self._engine.applied[before:]:
            self._journal.applied(applied)
        await self._obedience.begin(start.session, recorded)
        await self._recover(start, view, recorded)
        await self._obedience.look(at_once=True)
        async with self._prices(start):
            if not self._engine.decisions:
                await self._decide(start, view, evidence)
            else:
                await self._finish_decision(start)
            await self._watch(start)
        return await self._close(start)

    async def _open(self, start: SessionStart) -> None:
        """Begin the session in the ledger, with what was traded by hand since the last one."""
        applied = len(self._engine.applied)
        snapshot = self._engine.snapshot()
        self._engine.handle(start)
        trades = await self._books.traded_before()
        booked = []
        if trades:
            # They came before this morning's actions.
            self._engine.restore(snapshot)
            del self._engine.applied[applied:]
            booked = self._books.book_before(trades)
            snapshot = self._engine.snapshot()
            self._engine.handle(start)
        self._journal.opened(snapshot, booked)

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
        self._tell_what_is_too_small(decision, view)
        if decision.allocation not in ("", AllocationStatus.SOLVED):
            log.warning("비중 최적화를 쓰지 못해 가진 비중을 유지", status=decision.allocation)
        await self._wait_for_market(start, will_send=bool(commands))
        await self._carry(commands)

    def _tell_what_is_too_small(self, decision: Decision, view: View) -> None:
        """Say of what the account cannot hold one lot, and how large it would have to be."""
        cap, currency = (
            self._engine.policy.risk.max_single_name,
            self._engine.account.market.currency,
        )
        for i, choice in enumerate(decision.choices):
            if choice.verdict is not Verdict.BELOW_LOT:
                continue
            lot = int(view.morning.lot[i] * view.morning.reference[i])
            found = small_account(choice.weight, cap, lot, decision.equity)
            if found is not None:
                log.warning(
                    "계좌가 작아 살 수 없음", symbol=choice.symbol, detail=found.text(currency)
                )

    async def _finish_decision(self, start: SessionStart) -> None:
        """Send what a killed process had decided and not yet written, while it is time."""
        intents = [
            intent
            for intent in self._engine.decisions[-1].intents
            if intent.intent_id not in self._engine.orders
        ]
        await self._wait_for_market(start, will_send=bool(intents))
        for intent in intents:
            if self._is_too_late(intent):
                self._journal.intends(intent, highest_order_id=self._books.mark)
                self._engine.adopt(Order(intent=intent).moved(OrderStatus.SUBMITTED))
                self._refuse(intent, _TOO_LATE, code="")
            else:
                await self._carry([self._engine.guarded(intent, self._deciding_at(start))])

    def _is_too_late(self, intent: OrderIntent) -> bool:
        """Whether the moment of an intent is over; a morning's lasts from the open on."""
        now = self._pace.clock.now()
        due = max(self._due_at.get(intent.intent_id, now), self._open_ts)
        return now - due > self._supervision.check_interval

    async def _wait_for_market(self, start: SessionStart, *, will_send: bool) -> None:
        """Wait for the open where the venue takes no orders before it (US on paper)."""
        if self._broker.takes_orders_early or not will_send:
            return
        while self._pace.clock.now() < start.open_ts:
            await self._obedience.look()
            await self._pace.advance(start.open_ts, self._feed, self._pump)
        # What somebody ordered by hand meanwhile must not be taken for ours.
        await self._books.settle()

    def _deciding_at(self, start: SessionStart) -> datetime:
        """Return the open, for which a morning's orders are meant, or now when it is later."""
        return max(start.open_ts, self._pace.clock.now())

    @contextlib.asynccontextmanager
    async def _prices(self, start: SessionStart) -> AsyncIterator[None]:
        """Keep asking for prices where the venue streams none and time passes by itself."""
        if not self._feed.polls_prices or self._pace.waits:
            yield
            return

        async def keep_asking() -> None:
            while True:
                if self._pace.clock.now() < start.open_ts:
                    await asyncio.sleep(self._supervision.absence_wait_seconds)
                else:
                    await self._ask_prices()
                # The rate budget paces the questions; without one to ask, nothing does.
                await asyncio.sleep(self._supervision.absence_wait_seconds)

        asking = asyncio.create_task(keep_asking(), name="price-polling")
        try:
            yield
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    async def _ask_prices(self) -> None:
        """Ask for the prices of what is held, ordered or waited for: only there anything may follow."""
        ordered = {order.intent.symbol for order in self._engine.open_orders()}
        waited = set(self._engine.waits_for)
        try:
            for symbol in sorted(waited - self._opened):
                # A poll tells the last price; the wait counts from the first.
                quote = await self._broker.quote(symbol)
                if quote.open > 0:
                    self._engine.opened_at({symbol: quote.open})
                    self._opened.add(symbol)
            await self._feed.poll(sorted({*self._engine.account.positions, *ordered, *waited}))
        except (BrokerError, DataError, UsageError) as error:
            log.warning("현재가 조회 실패", reason=str(error))
        except Exception:
            # Nobody would ask for prices any more, and no stop would follow.
            log.exception("현재가 조회 중 예상하지 못한 오류")

    async def _watch(self, start: SessionStart) -> None:
        await self._pace.settle(self._feed, self._pump)
        boundary = start.open_ts + self._supervision.check_interval
        next_report = start.open_ts
        reconciled = self._pace.clock.now()
        while self._pace.clock.now() < start.close_ts:
            await self._obedience.look()
            if await self._look_when_in_doubt():
                continue
            until = min(boundary, start.close_ts)
            await self._pace.advance(until, self._feed, self._pump)
            now = self._pace.clock.now()
            if now >= boundary and now < start.close_ts:
                await self._obedience.look(at_once=True)
                if self._feed.polls_prices and self._pace.waits:
                    await self._ask_prices()
                    await self._pump()
                await self._handle(Timer(ts=boundary))
                self._mark()
                boundary = _next_boundary(boundary, now, self._supervision.check_interval)
                idle = self._pace.waits and not self._books.moved
                if not idle or now - reconciled >= _IDLE:
                    reconciled = now
                    await self._books.reconcile()
            if now >= next_report:
                self._report_hour(now)
                # Whoever comes late has one thing to tell, not one for each hour that is over.
                next_report = _next_boundary(next_report, now, _REPORT_INTERVAL)

    async def _look_when_in_doubt(self) -> bool:
        """Ask the venue about what is in doubt, now and then; return whether time must wait.

        Time waits only where it can: in lock-step.
        """
        books = self._books
        if not books.is_in_doubt and not books.is_suspicious:
            return False
        pause = self._asked_at + self._supervision.absence_wait_seconds - monotonic_seconds()
        if pause > 0:
            if not self._pace.waits:
                return False
            await asyncio.sleep(pause)
        self._asked_at = monotonic_seconds()
        if books.is_in_doubt:
            await books.look()
        else:
            await books.reconcile()
        if self._pace.waits and books.failures >= PATIENCE:
            raise TransientBrokerError(NO_LISTING)
        return self._pace.waits and (books.is_in_doubt or books.is_suspicious)

    async def _close(self, start: SessionStart) -> SessionOutcome:
        await self._pace.settle(self._feed, self._pump)
        # The venue ends the day's orders at the close; a minute later its word is final.
        final = start.close_ts + timedelta(minutes=1)
        while self._pace.clock.now() < final:
            await self._obedience.look()
            await self._pace.advance(final, self._feed, self._pump)
        if self._feed.polls_prices:
            await self._ask_prices()
        if not self._pace.waits:
            await self._feed.heal()
        await self._pump()
        await self._books.settle()
        found, venue = await self._books.confirmed()
        orders = {
            key: order
            for key, order in self._engine.orders.items()
            if order.intent.boundary != BOUNDARY_MANUAL
        }
        self._engine.handle(SessionEnd(ts=start.close_ts))
        for intent_id, before in orders.items():
            order = self._engine.orders[intent_id]
            if order.status is not before.status:
                self._journal.moved(intent_id, order.status)
                self.tell_step("주문 소멸", order)
        bars = self._bars.close()
        self._journal.observed(bars, saw_open=self._saw_open, polled=self._feed.polls_prices)
        self._tell_unwatched(start.session, bars.keys())
        outcome = SessionOutcome(
            equity=self._engine.equity(),
            cash=self._engine.account.cash,
            cash_difference=venue.cash_difference(self._engine.account.cash),
            differences=tuple(found),
            orders=sum(o.status is not OrderStatus.DENIED for o in orders.values()),
            fills=sum(b.intent.boundary != BOUNDARY_MANUAL for b in self._engine.booked),
        )
        self._journal.closed(
            {
                "engine": self._engine.snapshot(),
                "equity": outcome.equity,
                "cash": outcome.cash,
                "cash_difference": outcome.cash_difference,
                "differences": [[d.what, d.ours, d.theirs] for d in found],
                "state": str(self._engine.risk.state),
            }
        )
        if found:
            listed = listed_text(found, self._engine.account.market)
            log.error("장부와 거래소 잔고가 다름", differences=listed, told=True)
            self._notifier.send("error", {"message": f"장부와 거래소 잔고가 다릅니다: {listed}"})
        return outcome

    def _tell_unwatched(self, session: date, seen: Collection[str]) -> None:
        """Say of what is held that not one print came: its stop was not looked at all day.

        A halted share has none either: whether it is one, the operator knows.
        """
        unwatched = sorted(self._engine.account.positions.keys() - set(seen))
        if not unwatched or not self._saw_open:
            return
        listed = ", ".join(unwatched)
        log.warning("보유 종목의 체결이 하루 내내 오지 않음", symbols=listed)
        message = (
            f"보유 종목의 체결이 하루 내내 오지 않아 손절을 살피지 못했습니다: {listed}. "
            "거래가 정지된 종목이 아니면 연결을 확인하십시오."
        )
        self._notifier.send("risk_event", {"message": message, "key": f"unwatched:{session}"})

    async def _recover(self, start: SessionStart, view: View, recorded: RecordedSession) -> None:
        """Take over what the ledger and the venue know of a session that was begun before."""
        if recorded.decision is not None:
            self._engine.resume(recorded.decision, view)
        for order in (*recorded.orders.values(), *recorded.manual.values()):
            self._engine.adopt(order)
        for intent, code in recorded.denied:
            # Refused is refused: the guards are not asked again because a process died.
            self._engine.adopt(Order(intent=intent).moved(OrderStatus.DENIED, reason=code))
        self._engine.unclear |= recorded.unclear
        for known in recorded.booked:
            self._engine.handle(known.fill)
        # What a trailing stop follows was seen by a process that is gone.
        self._engine.peaked_at((recorded.mark or {}).get("peaks", {}))
        self._left_after = dict(recorded.highest_before)
        self._due_at = dict(recorded.due_at)
        # Before anything leaves again; what is found to be working is canceled below.
        left = recorded.state or TradingState.ACTIVE
        restricted = self._engine.restrict(left)
        self._ask_for_lost(recorded)
        await self._books.settle()
        if not recorded.orders:
            found, _ = await self._books.confirmed()
            if found:
                self._journal.differs(found)
                listed = listed_text(found, self._engine.account.market)
                raise ReconciliationError(
                    f"장부와 거래소의 계좌가 달라 거래하지 않았습니다: {listed}. 한쪽 기록이 "
                    "지워진 데모라면 --fresh로 새 계좌를 시작하십시오. 입출금처럼 아는 까닭이면 "
                    "trading reconcile --accept 로 거래소의 값을 받아들인 뒤 다시 실행하십시오."
                )
        await self._pump()
        await self._carry([*restricted, *self._engine.restrict(left)])
        if not self._saw_open:
            await self._catch_up(view)

    def _ask_for_lost(self, recorded: RecordedSession) -> None:
        """Open the question about orders and cancels that a killed process left without an answer.

        An order that provably never arrived may leave now, if its moment is not over.
        """
        for order in self._engine.open_orders():
            intent_id = order.intent.intent_id
            if order.status is OrderStatus.PENDING_CANCEL:
                self._books.cancel_lost(order)
            is_lost = order.status in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)
            if not is_lost or intent_id in recorded.unclear:
                continue
            highest = self._left_after.get(intent_id, "")
            self._books.ask(order, highest_before=highest, may_leave=True)

    async def _catch_up(self, view: View) -> None:
        """Look at today's prices again: a print may have come while nobody was there."""
        looked_at = {*self._engine.account.positions, *self._engine.waits_for}
        quotes: dict[str, Quote] = {}
        for symbol in sorted(looked_at & set(view.symbols)):
            try:
                quotes[symbol] = await self._broker.quote(symbol)
            except TradingError as error:
                # Its next print says the same; the others are not left alone until then.
                log.error("재시작한 뒤 시세를 다시 보지 못함", symbol=symbol, reason=str(error))
        self._engine.opened_at({symbol: quote.open for symbol, quote in quotes.items()})
        # Of what was bought or sold today nobody knows whether the high came before.
        traded = {one.fill.symbol for one in self._engine.booked}
        self._engine.peaked_at(
            {s: quote.high for s, quote in quotes.items() if quote.volume > 0 and s not in traded}
        )
        for symbol, quote in quotes.items():
            now = self._pace.clock.now()
            if quote.halted:
                self._take_status(_halted(symbol, now))
            if quote.volume > 0 and quote.price > 0:
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
            if isinstance(event, OrderDoubt):
                self._books.doubt()
            elif isinstance(event, Fill | OrderUpdate):
                if self._books.is_news(event):
                    await self._handle(event)
            elif isinstance(event, Tick):
                await self._handle(self._not_too_late(event))
            elif isinstance(event, MarketStatus):
                self._take_status(event)

    def _take_status(self, status: MarketStatus) -> None:
        """Take a halt or its end over; what it keeps back follows when prints do."""
        self._engine.handle(status)
        log.warning(
            "장운영 상태 변경",
            symbol=status.symbol,
            halted=status.halted,
            interrupted=status.interrupted,
            operation=status.operation,
            reason=status.reason,
        )

    def _not_too_late(self, tick: Tick) -> Tick:
        """Return a print that was mended after the close as one of the close: no exit follows."""
        if self._pace.clock.now() < self._close_ts:
            return tick
        return tick._replace(ts_event=max(tick.ts_event, self._close_ts))

    async def take(self, event: Event) -> None:
        """See ``books.Desk``."""
        await self._handle(event, is_listed=True)

    async def _handle(self, event: Event, *, is_listed: bool = False) -> None:
        before = len(self._engine.booked)
        if isinstance(event, Tick):
            self._bars.add(event)
        known = (
            self._engine.order_of(event.venue_order_id) if isinstance(event, OrderUpdate) else None
        )
        try:
            commands = self._engine.handle(event)
        except OrderStateError as error:
            # Something that cannot be, or told in the wrong order: the listing decides, and what
            # the listing itself says wrong shows in the balance.
            log.error("받아들일 수 없는 통보", reason=str(error), is_listed=is_listed)
            if not is_listed:
                self._books.doubt()
            return
        self._write_booked(before)
        if known is not None:
            self._write_update(known)
        await self._carry(commands)

    def _write_booked(self, before: int) -> None:
        for booked in self._engine.booked[before:]:
            order = self._engine.orders[booked.intent.intent_id]
            self._journal.filled(booked, order.filled_quantity)
            self.tell_step(
                "체결",
                order,
                quantity=booked.fill.quantity,
                price=booked.fill.amount / booked.fill.quantity,
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
                    "price": booked.fill.amount / booked.fill.quantity,
                    "amount": booked.fill.amount,
                    "commission": booked.booking.commission,
                    "tax": booked.booking.tax,
                    "realized": booked.booking.realized if order.intent.side is Side.SELL else None,
                    "reason": order.intent.reason,
                },
            )

    def _write_update(self, known: Order) -> None:
        order = self._engine.orders[known.intent.intent_id]
        if order.status is not known.status:
            if order.intent.boundary != BOUNDARY_MANUAL:
                self._journal.moved(order.intent.intent_id, order.status, order.reason)
            self.tell_step("주문 상태 변경", order)

    async def _carry(self, commands: Sequence[Command]) -> None:
        turns = self._obedience.turns
        for wished in commands:
            command = wished
            if isinstance(wished, Submit):
                if has_waited := self._is_cut_off:
                    await self._reach_venue()
                await self._obedience.look(at_once=True)
                if has_waited or self._obedience.turns != turns:
                    # What the guards let pass a moment ago they may refuse now.
                    command = self._engine.reconsider(wished.intent, self._pace.clock.now())
            match command:
                case Submit(intent=intent):
                    self._left_after[intent.intent_id] = self._books.mark
                    self._journal.intends(intent, highest_order_id=self._books.mark)
                    await self._submit(intent)
                case Cancel(order=order):
                    await self.cancel(order)
                case Deny(intent=intent, code=code):
                    self._journal.denied(intent, code)
                    self._denied(intent, str(code), OrderStatus.DENIED)
                case Breach(verdict=verdict, equity=equity):
                    self._journal.state(TradingState.REDUCING, verdict.name)
                    self._obedience.held_by.append(verdict.name)
                    log.error(
                        "손실 한도 도달, 매수 중단", verdict=verdict.name, equity=equity, told=True
                    )
                    self._notifier.send("risk_event", {"verdict": verdict.name, "equity": equity})

    async def _submit(self, intent: OrderIntent) -> None:
        """Send an intent that the ledger holds, once, and take the venue's answer over."""
        self._books.moved = True
        self._due_at.setdefault(intent.intent_id, self._pace.clock.now())
        self.tell_step("주문 전송", self._engine.orders[intent.intent_id])
        try:
            ack = await self._broker.submit(intent)
        except OrderNotSentError as error:
            self._hold(intent, str(error))
        except (OrderRejectedError, UsageError) as error:
            self._refuse(intent, str(error), code=getattr(error, "code", ""))
        except OrderUnknownError as error:
            self._lose(intent, str(error))
        except Exception as error:
            # Whatever it was, the order may have left: only the venue knows.
            log.exception("주문 전송 중 예상하지 못한 오류", intent_id=intent.intent_id)
            self._lose(intent, f"{type(error).__name__}: {error}")
        else:
            await self.accept(intent, ack)

    async def _reach_venue(self) -> None:
        """Wait for the venue before the next order leaves, where one was just lost on the way."""
        self._is_cut_off = not await self._books.reach()
        if self._is_cut_off and self._pace.waits:
            raise TransientBrokerError(NO_LISTING)

    def _hold(self, intent: OrderIntent, reason: str) -> None:
        """Keep an order that never left until the venue has proven it, and can be reached."""
        self._is_cut_off = True
        self._journal.moved(intent.intent_id, OrderStatus.SUBMITTED, reason)
        log.warning("주문이 나가지 못함", intent_id=intent.intent_id, reason=reason)
        self.tell_step("주문이 나가지 못함", self._engine.orders[intent.intent_id], refusal=reason)
        self._books.ask(
            self._engine.orders[intent.intent_id],
            highest_before=self._left_after[intent.intent_id],
            may_leave=True,
        )

    def _refuse(self, intent: OrderIntent, reason: str, *, code: str) -> None:
        self._engine.handle(Refused(intent_id=intent.intent_id, reason=reason))
        self._journal.moved(intent.intent_id, OrderStatus.REJECTED, reason)
        order = self._engine.orders[intent.intent_id]
        self.tell_step("주문 거래소 거부", order, code=code, refusal=reason)
        self._notifier.send(
            "order_refused",
            {
                "symbol": intent.symbol,
                "side": str(intent.side),
                "quantity": intent.quantity,
                "limit": intent.limit,
                "reason": reason,
            },
        )

    def _lose(self, intent: OrderIntent, reason: str) -> None:
        self._is_cut_off = True
        self._engine.handle(Lost(intent_id=intent.intent_id, reason=reason))
        self._books.ask(
            self._engine.orders[intent.intent_id],
            highest_before=self._left_after[intent.intent_id],
        )
        self._journal.moved(intent.intent_id, OrderStatus.UNKNOWN, reason)
        log.error("주문 결과 불명", intent_id=intent.intent_id, reason=reason, told=True)
        self.tell_step("주문 결과 불명", self._engine.orders[intent.intent_id])
        self._notifier.send("error", {"message": f"주문 결과를 모릅니다: {intent.intent_id}"})

    async def leave_again(self, intent: OrderIntent) -> None:
        """See ``books.Desk``."""
        await self._obedience.look(at_once=True)
        if self._is_too_late(intent):
            self._refuse(intent, _TOO_LATE, code="")
            return
        match self._engine.reconsider(intent, self._pace.clock.now()):
            case Submit():
                self._journal.leaves_again(intent)
                await self._submit(intent)
            case Deny(code=code):
                self._journal.moved(intent.intent_id, OrderStatus.REJECTED, str(code))
                self._denied(intent, str(code), OrderStatus.REJECTED)

    async def accept(self, intent: OrderIntent, ack: OrderAck) -> None:
        """See ``books.Desk``."""
        self._journal.accepted(intent.intent_id, ack)
        commands = self._engine.handle(Accepted(intent_id=intent.intent_id, ack=ack))
        self.tell_step("주문 접수", self._engine.orders[intent.intent_id])
        self._notifier.send(
            "order_submitted",
            {
                "symbol": intent.symbol,
                "side": str(intent.side),
                "quantity": intent.quantity,
                "limit": intent.limit,
            },
        )
        await self._carry(commands)

    async def cancel(self, order: Order) -> None:
        """Write that an order is being canceled and send that; see ``books.Desk``."""
        intent_id = order.intent.intent_id
        self._journal.moved(intent_id, OrderStatus.PENDING_CANCEL)
        self.tell_step("취소 전송", order)
        self._books.moved = True
        try:
            await self._broker.cancel(order)
        except OrderNotSentError as error:
            log.warning("취소가 나가지 못함", intent_id=intent_id, reason=str(error))
            self.tell_step("취소가 나가지 못함", order, refusal=str(error))
            self._books.cancel_lost(order)
        except OrderRejectedError as error:
            # It was filled or gone already, or may not be canceled now: the listing says which.
            log.warning("취소 거부", intent_id=intent_id, reason=str(error))
            self.tell_step("취소 거부", order, refusal=str(error))
            self._books.cancel_refused(order)
        except Exception as error:
            log.error("취소 결과 불명", intent_id=intent_id, reason=str(error))
            self.tell_step("취소 결과 불명", order, refusal=str(error))
            self._books.cancel_lost(order)

    def tell_step(self, event: str, order: Order, **fields: Any) -> None:
        """Write one step of an order's life into the trade log; each line says the whole order.

        See ``books.Desk``.
        """
        intent, market = order.intent, order.intent.exchange.market
        average = order.filled_amount / order.filled_quantity if order.filled_quantity else None
        trade_log.info(
            event,
            market=str(market),
            session=str(intent.session),
            venue_time=self._pace.clock.now().isoformat(),
            boundary=intent.boundary,
            intent_id=intent.intent_id,
            venue_order_id=order.venue_order_id,
            symbol=intent.symbol,
            side=str(intent.side),
            order_type=str(intent.order_type),
            order_quantity=intent.quantity,
            limit=intent.limit,
            stop=intent.stop,
            currency=str(market.currency),
            status=str(order.status),
            filled_quantity=order.filled_quantity,
            average_price=average,
            wish=intent.reason,
            reason=order.reason or reason_text(intent.reason),
            **fields,
        )

    def _denied(self, intent: OrderIntent, code: str, status: OrderStatus) -> None:
        """Tell of an order that a guard kept back."""
        order = Order(intent=intent)._replace(status=status, reason=code)
        self.tell_step("주문 내부 거부", order, code=code, refusal=reason_text(code))
        self._notifier.send(
            "order_refused",
            {
                "symbol": intent.symbol,
                "side": str(intent.side),
                "quantity": intent.quantity,
                "limit": intent.limit,
                "reason": code,
            },
        )

    def _mark(self) -> None:
        engine = self._engine
        self._journal.marked(
            {
                "equity": engine.equity(),
                "cash": engine.account.cash,
                "positions": {s: p.quantity for s, p in engine.account.positions.items()},
                "prices": {s: engine.last_price[s] for s in engine.account.positions},
                "peaks": engine.snapshot()["peaks"],
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
        try:
            told = {"ts": now.isoformat(), **fields, **self._condition(now)}
        except Exception:
            # What is told of a session ends none.
            log.exception("시간별 상태를 다 모으지 못함")
            told = {"ts": now.isoformat(), **fields}
        self._notifier.send("hourly_status", told)


def _halted(symbol: str, ts: datetime) -> MarketStatus:
    return MarketStatus(
        symbol=symbol, halted=True, interrupted=False, operation="", reason="", ts_recv=ts
    )


def _next_boundary(boundary: datetime, now: datetime, interval: timedelta) -> datetime:
    passed = (now - boundary) // interval
    return boundary + interval * (passed + 1)
