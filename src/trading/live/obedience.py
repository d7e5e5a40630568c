"""How a running session follows the operator: his word is looked for, obeyed, written and answered.

Where the word is kept is ``control``; what a state allows is the engine's business.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import date
from typing import Any, Protocol

from trading.clock import monotonic_seconds
from trading.domain.decision import TradingState
from trading.domain.decision import Verdict as Limit
from trading.domain.instrument import Exchange
from trading.domain.order import Order, OrderStatus
from trading.errors import BrokerError, DataError
from trading.execution.engine import BOUNDARY_MANUAL, Event, Halt, Timer, TradingEngine
from trading.live.books import Bookkeeper
from trading.live.control import By, CancelAll, Cancellation, Scope, Standing, Watch
from trading.live.journal import Journal, RecordedSession
from trading.live.withdrawal import cancel_foreign
from trading.log import get_logger
from trading.ports import Broker, Clock, Notifier

log = get_logger(__name__)

# How often, in wall time, the session looks whether the operator has said something.
_LOOK_SECONDS = 1.0


class Desk(Protocol):
    """What the session does on the operator's word."""

    async def take(self, event: Event) -> None:
        """Hand an event to the engine, write what it booked, carry what it commands."""
        ...

    async def cancel(self, order: Order) -> None:
        """Send a cancel of all that is left of an order."""
        ...


class Obedience:
    """Follows the operator for one session; without a ``watch``, as far as the ledger remembers."""

    def __init__(
        self,
        engine: TradingEngine,
        broker: Broker,
        journal: Journal,
        notifier: Notifier,
        desk: Desk,
        books: Bookkeeper,
        *,
        clock: Clock,
        exchanges: Mapping[str, Exchange],
        watch: Watch | None,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._journal = journal
        self._notifier = notifier
        self._desk = desk
        self._books = books
        self._clock = clock
        self._exchanges = exchanges
        self._watch = watch
        self._session = date.min
        self._looked_at = -_LOOK_SECONDS
        self._word = TradingState.ACTIVE
        self._canceled_for = ""
        self.held_by: list[str] = []
        # How often the word has changed: what the guards said before may not be so any more.
        self.turns = 0

    async def answer_until(self, opened: Coroutine[Any, Any, None]) -> None:
        """Answer the operator while the session waits to begin: it will begin as he says."""
        waiting = asyncio.create_task(opened)
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
                if self._watch is not None and not waiting.done():
                    self._answer_early(self._watch.read())
        finally:
            waiting.cancel()
        await waiting

    def _answer_early(self, said: Standing) -> None:
        nothing = Cancellation()
        self._answer(lambda watch: watch.answer(said, said.state, (), nothing))

    async def begin(self, session: date, recorded: RecordedSession) -> None:
        """Take over the operator's word and what broken limits left of the session's freedom.

        Before the orders of the session are taken over: what the word asks of those follows.
        """
        self._session = session
        self._word = self._journal.last_word()
        if recorded.words:
            last = recorded.words[-1]
            self._engine.handle(Halt(ts=last.ts, state=last.state))
        if self._engine.limited is not TradingState.ACTIVE:
            self.held_by.append(Limit.CAP_DRAWDOWN.name)
        self.held_by += recorded.held_by
        if self._watch is not None:
            await self._turn(self._watch.read())

    async def look(self, *, at_once: bool = False) -> None:
        """Do what the operator has said since the last look, at most once a second.

        ``at_once`` looks however short ago that was: at a boundary, and before an order leaves.
        """
        now = monotonic_seconds()
        if self._watch is None or (not at_once and now - self._looked_at < _LOOK_SECONDS):
            return
        self._looked_at = now
        said = self._watch.news()
        if said is None:
            return
        withdrawn = await self._turn(said)
        asked = said.cancel_all
        if asked is not None and asked.answer is None and asked.request != self._canceled_for:
            self._canceled_for = asked.request
            done = await self._cancel_all(asked)
            self._answer(lambda watch: watch.answer_cancel_all(asked.request, done))
        state, held_by = self._engine.risk.state, self.held_by
        self._answer(lambda watch: watch.answer(said, state, held_by, withdrawn))

    async def _turn(self, said: Standing) -> Cancellation:
        """Let the engine trade by the word; return what that took back."""
        engine = self._engine
        word = said.word if said.is_given else self._word
        state = TradingState.HALTED if said.by is By.FILE else word
        if state is engine.operator and word is self._word:
            return Cancellation()
        before, working = engine.risk.state, engine.open_orders()
        self._word = word
        self.turns += 1
        by = said.by or By.FILE
        self._journal.operator(state, word, by=by, reason=said.reason)
        now = self._clock.now()
        await self._desk.take(Halt(ts=now, state=state))
        # A loss beyond the limit while nobody might trade is not lifted with the halt.
        await self._desk.take(Timer(ts=now))
        done = await self._became_of(working)
        log.warning(
            "운영자의 말에 따라 거래 상태 변경",
            before=str(before),
            state=str(engine.risk.state),
            word=str(state),
            by=str(by),
            said=said.reason,
            canceled=list(done.canceled),
            failed=list(done.failed),
            held_by=self.held_by,
        )
        self._tell("거래 상태를 바꿨습니다." + (f" ({said.reason})" if said.reason else ""), done)
        return done

    async def _cancel_all(self, asked: CancelAll) -> Cancellation:
        """Cancel what is working, as asked; what may be traded stays."""
        working = self._engine.open_orders()
        for command in self._engine.withdraw():
            await self._desk.cancel(command.order)
        done = await self._became_of(working)
        if asked.scope is Scope.EVERYTHING:
            done = await self._cancel_foreign(done)
        log.warning(
            "운영자의 말에 따라 미체결 주문 취소",
            scope=str(asked.scope),
            by=str(asked.by),
            said=asked.reason,
            canceled=list(done.canceled),
            failed=list(done.failed),
        )
        self._tell("미체결 주문 취소를 요청받았습니다.", done)
        return done

    async def _cancel_foreign(self, done: Cancellation) -> Cancellation:
        ours = {
            order.venue_order_id
            for order in self._engine.orders.values()
            if order.intent.boundary != BOUNDARY_MANUAL
        }
        try:
            listing = await self._broker.orders(self._session)
            theirs = await cancel_foreign(
                self._broker, self._session, listing, known=ours, exchanges=self._exchanges
            )
        except (BrokerError, DataError) as error:
            theirs = Cancellation(failed=(f"손으로 낸 주문을 물어보지 못함: {error}",))
        self._books.doubt()
        return Cancellation(
            canceled=done.canceled + theirs.canceled, failed=done.failed + theirs.failed
        )

    async def _became_of(self, working: list[Order]) -> Cancellation:
        """Return which of the orders a listing shows as canceled, and which cancels came to nothing.

        What was not canceled because the state allows it is neither.
        """
        ours = [order for order in working if order.intent.boundary != BOUNDARY_MANUAL]
        now = [self._engine.orders[order.intent.intent_id] for order in ours]
        tried = [o for o in now if o.status in (OrderStatus.PENDING_CANCEL, OrderStatus.CANCELED)]
        blind = [o for o in now if o.status is OrderStatus.UNKNOWN]
        if tried:
            await self._books.look()
        now = [self._engine.orders[order.intent.intent_id] for order in tried]
        return Cancellation(
            canceled=tuple(o.venue_order_id for o in now if o.status is OrderStatus.CANCELED),
            failed=(
                *(
                    f"{o.intent.symbol} {o.venue_order_id}: 취소를 확인하는 중"
                    for o in now
                    if o.status.is_open
                ),
                *(f"{o.intent.symbol}: 주문의 답을 기다리는 중, 오면 취소" for o in blind),
            ),
        )

    def _tell(self, text: str, done: Cancellation) -> None:
        if done.canceled:
            text += f" 미체결 주문 {len(done.canceled)}건을 취소했습니다."
        if done.failed:
            text += " 아직 남은 것: " + ", ".join(done.failed)
        self._notifier.send("risk_event", {"state": str(self._engine.risk.state), "message": text})

    def _answer(self, write: Callable[[Watch], None]) -> None:
        assert self._watch is not None
        try:
            write(self._watch)
        except DataError as error:
            log.warning("운영자에게 답하지 못함", reason=str(error))
