"""Keeps ledger and venue one: listings taken over, lost orders asked for, trades by hand, balances.

The venue's listing with its cumulative quantities is the truth; a notice is only its first word.
What one listing says about a lost order is ``inquiry``; the arithmetic of comparing is ``reconcile``.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from trading.clock import monotonic_seconds
from trading.domain.account import VenueAccount
from trading.domain.instrument import Exchange, Market
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
    VenueOrder,
)
from trading.domain.wording import money_text
from trading.errors import BrokerError, DataError, TransientBrokerError
from trading.execution.engine import BOUNDARY_MANUAL, Event, Refused, SessionStart, TradingEngine
from trading.execution.orders import ManualTrades
from trading.live.inquiry import Answer, Inquiries, Verdict
from trading.live.journal import Journal, RecordedSession
from trading.live.reconcile import (
    Difference,
    PendingAction,
    acknowledgment,
    differences,
    mark_of,
    missing_fill,
    unexplained,
)
from trading.log import get_logger
from trading.ports import Broker, Clock, Notifier
from trading.simulation.account import Account, Booking

log = get_logger(__name__)

# Failed listings in a row after which the venue counts as gone.
PATIENCE = 3
NO_LISTING = "거래소의 주문 목록을 받지 못해 멈췄습니다. 같은 명령을 다시 치면 이어서 합니다."
# Listings that are asked for while nothing else can be done.
_MOST_LOOKS = 500
# Listings in a row that lack a known order before nothing more is asked for because of that.
_MOST_BARE = 30
# How long back trades by hand are looked for, and how long a dividend may be under way.
_LONGEST_GAP, _LONGEST_PENDING = timedelta(days=30), timedelta(days=60)
# What a venue may hold back for fees beside the price of a working purchase.
_RESERVED_FOR_FEES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """How often the session looks at itself, and when it believes what the venue says.

    A lost order counts as never arrived after ``absence_listings`` complete listings over
    ``absence_seconds``, ``absence_wait_seconds`` apart; a balance that differs, after
    ``balance_reads`` equal answers.
    """

    check_interval: timedelta
    absence_listings: int
    absence_wait_seconds: float
    absence_seconds: float = 0.0
    balance_reads: int = 3
    manual_trades: ManualTrades = ManualTrades.ADOPT


class Desk(Protocol):
    """What the session does on the word of the books."""

    async def take(self, event: Event) -> None:
        """Hand an event to the engine, write what it booked, carry what it commands."""
        ...

    async def accept(self, intent: OrderIntent, ack: OrderAck) -> None:
        """Take an acceptance over."""
        ...

    async def leave_again(self, intent: OrderIntent) -> None:
        """Send an intent that never arrived, if the guards allow it still."""
        ...

    async def cancel(self, order: Order) -> None:
        """Send a cancel of all that is left of an order."""
        ...

    def tell_step(self, event: str, order: Order, **fields: Any) -> None:
        """Write one step of an order's life into the trade log."""
        ...


class Bookkeeper:
    """The books of one session at one venue."""

    def __init__(
        self,
        engine: TradingEngine,
        broker: Broker,
        journal: Journal,
        notifier: Notifier,
        desk: Desk,
        supervision: Supervision,
        *,
        clock: Clock,
        exchanges: Mapping[str, Exchange],
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._journal = journal
        self._notifier = notifier
        self._desk = desk
        self._supervision = supervision
        self._clock = clock
        self._exchanges = exchanges
        self._session = date.min
        self._close_ts: datetime | None = None
        self._inquiries = Inquiries(
            listings=supervision.absence_listings, seconds=supervision.absence_seconds
        )
        self._failures = self._bare = 0
        self._doubts = False
        self._listed_at: dict[str, datetime] = {}
        # Shares booked from a listing whose notices may still be on their way.
        self._covered: Counter[str] = Counter()
        self._told: set[tuple[str, datetime, int, int]] = set()
        # Numbers that notices named and no listing has held yet, with the listings since.
        self._strange: dict[str, int] = {}
        self._lost_cancels: dict[str, int] = {}
        self._refused_cancels: Counter[str] = Counter()
        self._set_aside: dict[tuple[date, str], VenueOrder] = {}
        self._suspects: dict[Difference, int] = {}
        self.mark = ""
        self.moved = True

    # --- what is known and what is not ------------------------------------------------------

    def begin(self, start: SessionStart, recorded: RecordedSession) -> None:
        """Take over what the ledger holds of the session."""
        self._session, self._close_ts = start.session, start.close_ts
        self._told = {
            (one.fill.venue_order_id, one.fill.ts_event, one.fill.quantity, one.fill.amount)
            for one in recorded.booked
        }
        for day, listed in self._journal.still_aside():
            self._set_aside[day, listed.venue_order_id] = listed
        for number, listed in recorded.set_aside.items():
            self._set_aside[start.session, number] = listed
        self._engine.quarantined |= recorded.quarantined
        self._engine.quarantined |= {listed.symbol for listed in self._set_aside.values()}

    @property
    def is_in_doubt(self) -> bool:
        """Whether a listing has to say what became of something."""
        return bool(self._doubts or self._inquiries or self._strange or self._lost_cancels)

    @property
    def is_suspicious(self) -> bool:
        """Whether a balance differed and has to be read again."""
        return any(n < self._supervision.balance_reads for n in self._suspects.values())

    @property
    def failures(self) -> int:
        """Listings that failed since the last complete one."""
        return self._failures

    def doubt(self) -> None:
        """Something may not have reached us: the next listing says."""
        self._doubts = True

    def ask(self, order: Order, *, highest_before: str, may_leave: bool = False) -> None:
        """Ask what became of an order whose answer was lost; its symbol is frozen until then."""
        self._engine.frozen.add(order.intent.symbol)
        self._inquiries.ask(order, highest_before=highest_before, may_leave=may_leave)

    def cancel_lost(self, order: Order) -> None:
        """Ask whether a cancel without an answer was carried out."""
        self._lost_cancels.setdefault(order.intent.intent_id, 0)

    def cancel_refused(self, order: Order) -> None:
        """Ask what is left of an order that the venue would not cancel."""
        self._refused_cancels[order.intent.intent_id] += 1
        self._doubts = True

    def is_news(self, event: Fill | OrderUpdate) -> bool:
        """Return whether a notice may be booked as it is; else the next listing speaks for it.

        KIS gives its executions no number. Equal notices may be two executions or one told
        twice, and one from before a listing may be in it: neither is guessed.
        """
        number = event.venue_order_id
        self.moved = True
        order = self._engine.order_of(number)
        if order is None:
            if (self._session, number) not in self._set_aside:
                self._strange.setdefault(number, 0)
            self._doubts = True
            return False
        if isinstance(event, OrderUpdate):
            return not self._is_unasked_end(order, event.status)
        key = (number, event.ts_event, event.quantity, event.amount)
        is_first, listed_at = key not in self._told, self._listed_at.get(number)
        self._told.add(key)
        if self._covered[number] >= event.quantity:
            # Before any clock is asked: the venue's may be ahead of ours. Should this one not be
            # what was covered, the listing books it.
            self._covered[number] -= event.quantity
        elif is_first and (listed_at is None or event.ts_event > listed_at):
            return True
        self._doubts = True
        return False

    # --- listings ---------------------------------------------------------------------------

    async def look(self) -> bool:
        """Take one complete listing over; return whether there was one. A failure says nothing."""
        try:
            listing = await self._broker.orders(self._session)
        except (BrokerError, DataError) as error:
            self._failures += 1
            log.warning("주문 목록 조회 실패", reason=str(error), failures=self._failures)
            return False
        self._failures = 0
        await self.take_over(listing)
        return True

    async def reach(self) -> bool:
        """Wait until the venue lists its orders again; return whether it does.

        Asked between two orders when the answer to the first was lost: the second would be too.
        """
        while not await self.look():
            if self._failures >= PATIENCE:
                return False
            await asyncio.sleep(self._supervision.absence_wait_seconds)
        return True

    async def settle(self) -> None:
        """Ask until nothing is in doubt; while it waits, nothing else happens.

        Raises ``TransientBrokerError`` when the venue does not list its orders.
        """
        for _ in range(_MOST_LOOKS):
            if await self.look() and not self.is_in_doubt:
                return
            if self._failures >= PATIENCE:
                break
            await asyncio.sleep(self._supervision.absence_wait_seconds)
        raise TransientBrokerError(NO_LISTING)

    async def take_over(self, listing: Sequence[VenueOrder]) -> None:
        """Book what a complete listing holds and no notice has told: fills, ends, trades by hand."""
        now = self._clock.now()
        self.mark = mark_of(listing, self.mark)
        is_whole = self._is_whole(listing)
        self._bare = 0 if is_whole else self._bare + 1
        self._doubts = 0 < self._bare < _MOST_BARE
        claimed = {order.venue_order_id for order in self._engine.orders.values()}
        claimed |= {number for day, number in self._set_aside if day == self._session}
        if is_whole:
            at = monotonic_seconds()
            for answer in self._inquiries.hear(listing, claimed=claimed, at=at):
                await self._take_answer(answer)
        for listed in listing:
            is_known = self._engine.order_of(listed.venue_order_id) is not None
            if is_known or self._takes_by_hand(listed):
                await self._take_listed(listed, now)
        self._give_up_strangers()

    def _is_unasked_end(self, order: Order, status: OrderStatus) -> bool:
        """Whether somebody else ended an order; then the listing is asked.

        A notice does not say how much was ended: by hand a part of an order can be canceled, and
        the rest works on.
        """
        is_asked = order.status is OrderStatus.PENDING_CANCEL
        if status.is_open or not order.status.is_open or is_asked:
            return False
        self._doubts = True
        return True

    def _is_whole(self, listing: Sequence[VenueOrder]) -> bool:
        """Whether a listing holds at least what is known; else its silence proves no absence."""
        known = {order.venue_order_id for order in self._engine.orders.values()} - {""}
        missing = known - {listed.venue_order_id for listed in listing}
        if missing:
            log.warning("목록에 아는 주문이 없음", missing=sorted(missing))
        return not missing

    async def _take_answer(self, answer: Answer) -> None:
        intent = answer.order.intent
        if not self._inquiries.concerns(intent.symbol):
            self._engine.frozen.discard(intent.symbol)
        match answer.verdict:
            case Verdict.FOUND if answer.listed is not None:
                log.warning("답을 잃은 주문을 찾음", intent_id=intent.intent_id)
                await self._desk.accept(intent, acknowledgment(answer.listed))
            case Verdict.AMBIGUOUS:
                self._engine.unclear.add(intent.intent_id)
                self._desk.tell_step("주문 격리", self._engine.orders[intent.intent_id])
                self._quarantine(
                    intent.symbol,
                    f"거래소의 어느 주문이 우리 것인지 가릴 수 없습니다: {intent.intent_id}",
                    intent_id=intent.intent_id,
                )
            case _ if answer.may_leave:
                log.warning("거래소에 도착하지 않은 주문을 냄", intent_id=intent.intent_id)
                await self._desk.leave_again(intent)
            case _:
                reason = "거래소에 도착하지 않음"
                self._engine.handle(Refused(intent_id=intent.intent_id, reason=reason))
                self._journal.moved(intent.intent_id, OrderStatus.REJECTED, reason)
                log.error("주문 미도착", intent_id=intent.intent_id)
                self._desk.tell_step("주문 미도착", self._engine.orders[intent.intent_id])

    async def _take_listed(self, listed: VenueOrder, now: datetime) -> None:
        number = listed.venue_order_id
        order = self._engine.order_of(number)
        assert order is not None
        fill = missing_fill(order, listed, now)
        if fill is not None:
            self._covered[number] += fill.quantity
            await self._desk.take(fill)
        elif listed.filled_quantity < order.filled_quantity:
            log.warning(
                "목록의 체결이 장부보다 적음",
                venue_order_id=number,
                ours=order.filled_quantity,
                theirs=listed.filled_quantity,
            )
        self._listed_at[number] = now
        order = self._engine.orders[order.intent.intent_id]
        if not order.status.is_open or listed.open_quantity == 0:
            self._lost_cancels.pop(order.intent.intent_id, None)
        if not order.status.is_open:
            return
        if listed.open_quantity == 0:
            await self._move(order, listed, self._ended(order, listed), now)
        elif order.status is OrderStatus.PENDING_CANCEL:
            await self._take_uncanceled(order, listed, now)

    async def _take_uncanceled(self, order: Order, listed: VenueOrder, now: datetime) -> None:
        """Cancel again what a lost cancel left working; give back what may not be canceled.

        A second cancel is harmless: it names one order and takes all that is left of it, so the
        worst is the refusal that nothing was left.
        """
        intent_id = order.intent.intent_id
        tries = self._lost_cancels.pop(intent_id, None)
        if tries is not None and tries < self._supervision.absence_listings:
            self._lost_cancels[intent_id] = tries + 1
            await self._desk.cancel(order)
        elif (
            tries is not None
            or 0 < self._refused_cancels[intent_id] <= self._supervision.absence_listings
        ):
            await self._move(order, listed, OrderStatus.ACCEPTED, now)

    async def _move(
        self, order: Order, listed: VenueOrder, status: OrderStatus, now: datetime
    ) -> None:
        await self._desk.take(
            OrderUpdate(
                venue_order_id=order.venue_order_id,
                symbol=listed.symbol,
                status=status,
                ts_event=listed.ts_event,
                ts_recv=now,
            )
        )

    def _ended(self, order: Order, listed: VenueOrder) -> OrderStatus:
        """Return how an order ended; KIS lists what expired at the close as canceled."""
        if listed.rejected_quantity and not listed.filled_quantity:
            return OrderStatus.REJECTED
        is_over = self._close_ts is not None and self._clock.now() >= self._close_ts
        if is_over and order.status is not OrderStatus.PENDING_CANCEL:
            return OrderStatus.EXPIRED
        return OrderStatus.CANCELED

    def _give_up_strangers(self) -> None:
        for number, listings in list(self._strange.items()):
            is_known = self._engine.order_of(number) is not None
            if is_known or (self._session, number) in self._set_aside:
                del self._strange[number]
            elif not self._inquiries:
                self._strange[number] = listings + 1
                if listings + 1 >= self._supervision.absence_listings:
                    del self._strange[number]
                    log.error("목록에 없는 주문번호의 통보", venue_order_id=number)

    # --- trades by hand ---------------------------------------------------------------------

    def _takes_by_hand(self, listed: VenueOrder) -> bool:
        """Take an order that is none of ours into the books, or set it aside, as the policy says."""
        if not listed.filled_quantity and not listed.open_quantity:
            return False
        if self._inquiries.could_be(listed):
            return False
        exchange = self._exchanges.get(listed.symbol)
        if self._supervision.manual_trades is ManualTrades.ADOPT and exchange is not None:
            self._adopt(listed, exchange)
            return True
        self._put_aside(self._session, listed, is_known=exchange is not None)
        return False

    def _adopt(self, listed: VenueOrder, exchange: Exchange) -> None:
        intent = OrderIntent(
            intent_id=f"{self._engine.policy.market}:{self._session}:{BOUNDARY_MANUAL}"
            f"{listed.venue_order_id}:{listed.symbol}:{listed.side}",
            session=self._session,
            boundary=BOUNDARY_MANUAL,
            symbol=listed.symbol,
            exchange=exchange,
            side=listed.side,
            quantity=listed.quantity,
            limit=listed.limit,
            reason=BOUNDARY_MANUAL,
        )
        order = Order(intent=intent).moved(OrderStatus.SUBMITTED)
        order = order.acknowledged(acknowledgment(listed))
        self._journal.by_hand(order)
        self._engine.adopt(order)
        self._tell_by_hand(listed, "장부에 반영했습니다")

    def _put_aside(self, day: date, listed: VenueOrder, *, is_known: bool) -> None:
        key = (day, listed.venue_order_id)
        before = self._set_aside.get(key)
        if before is not None and before.filled_quantity == listed.filled_quantity:
            self._set_aside[key] = listed
            return
        reason = "손으로 낸 주문" if is_known else "종목 정보가 없는, 손으로 낸 주문"
        self._journal.set_aside(day, listed, reason)
        self._set_aside[key] = listed
        self._engine.quarantined.add(listed.symbol)
        if before is None:
            self._tell_by_hand(listed, "장부에 넣지 않고 그 종목의 매수를 멈췄습니다")

    def _tell_by_hand(self, listed: VenueOrder, what: str) -> None:
        log.warning(
            "손으로 낸 주문 발견",
            venue_order_id=listed.venue_order_id,
            symbol=listed.symbol,
            side=str(listed.side),
            quantity=listed.quantity,
            filled_quantity=listed.filled_quantity,
            policy=str(self._supervision.manual_trades),
        )
        text = f"손으로 낸 주문 {listed.venue_order_id}({listed.symbol})을 {what}."
        self._notifier.send("error", {"message": text})

    async def traded_before(self) -> list[tuple[date, VenueOrder]]:
        """Return by day what was traded since the last session that ended and the books lack.

        By hand, or by a session that was killed and never finished. Empty when the balances
        agree; then nothing but them is asked for.
        """
        adopts = self._supervision.manual_trades is ManualTrades.ADOPT
        trades = dict(self._set_aside) if adopts else {}
        if not trades and not await self._differs():
            return []
        last = self._journal.books_from()
        day = max(last, self._session - _LONGEST_GAP) if last is not None else self._session
        while day < self._session:
            known = self._journal.booked_on(day)
            for listed in await self._broker.orders(day):
                quantity, amount = known.get(listed.venue_order_id, (0, 0))
                if listed.filled_quantity > quantity:
                    trades[day, listed.venue_order_id] = replace(
                        listed,
                        filled_quantity=listed.filled_quantity - quantity,
                        filled_amount=listed.filled_amount - amount,
                    )
            day += timedelta(days=1)
        return [
            (day, listed) for (day, _), listed in sorted(trades.items()) if listed.filled_quantity
        ]

    def book_before(
        self, trades: Sequence[tuple[date, VenueOrder]]
    ) -> list[tuple[date, VenueOrder, Booking]]:
        """Take earlier trades into the account, or set them aside; return those booked."""
        booked = []
        for day, listed in trades:
            exchange = self._exchanges.get(listed.symbol)
            is_ours = listed.venue_order_id in self._journal.ours_on(day)
            adopts = is_ours or self._supervision.manual_trades is ManualTrades.ADOPT
            if not adopts or exchange is None:
                self._put_aside(day, listed, is_known=exchange is not None)
                continue
            if self._set_aside.pop((day, listed.venue_order_id), None) is not None:
                self._engine.quarantined.discard(listed.symbol)
            booking = self._book(self._engine.account, day, listed)
            price = listed.filled_amount // listed.filled_quantity
            self._engine.last_price.setdefault(listed.symbol, price)
            booked.append((day, listed, booking))
            if is_ours:
                log.warning(
                    "끝나지 않은 세션의 체결을 장부에 반영",
                    day=str(day),
                    venue_order_id=listed.venue_order_id,
                    symbol=listed.symbol,
                    filled_quantity=listed.filled_quantity,
                )
            else:
                self._tell_by_hand(listed, "장부에 반영했습니다")
        return booked

    def _book(self, account: Account, day: date, listed: VenueOrder) -> Booking:
        # Where the listing exchange is not known, another's of the market: only a fee hangs on it.
        exchange = self._exchanges.get(listed.symbol) or next(iter(self._exchanges.values()))
        return account.apply_fill(
            f"{day}:{listed.venue_order_id}",
            listed.symbol,
            listed.side,
            listed.filled_quantity,
            listed.filled_amount,
            self._engine.fees_of(exchange, day),
        )

    # --- balances ---------------------------------------------------------------------------

    async def confirmed(self) -> tuple[list[Difference], VenueAccount]:
        """Return what nothing explains in several answers in a row, and the last of them.

        A balance that is empty or late for a moment is a known fault of KIS: it is read again,
        and nothing is ever bought or sold because of one.
        """
        reads = self._supervision.balance_reads
        for attempt in range(reads):
            if attempt:
                await asyncio.sleep(self._supervision.absence_wait_seconds)
                await self.look()
            try:
                venue = await self._broker.account()
            except TransientBrokerError as error:
                if attempt == reads - 1:
                    raise
                log.warning("잔고 조회 실패", reason=str(error))
                continue
            found = self._unexplained(venue)
            if not found or attempt == reads - 1:
                return found, venue
        raise AssertionError("unreachable")

    async def reconcile(self) -> None:
        """Compare orders, fills, holdings and cash with the venue's, and tell what stays different."""
        if not await self.look() or self.is_in_doubt:
            return
        try:
            venue = await self._broker.account()
        except (BrokerError, DataError) as error:
            log.warning("잔고 조회 실패", reason=str(error))
            return
        self.moved = False
        seen: dict[Difference, int] = {}
        for one in self._unexplained(venue, in_flight=True):
            seen[one] = self._suspects.get(one, 0) + 1
            if seen[one] == self._supervision.balance_reads:
                self._tell_difference(one)
        self._suspects = seen

    async def _differs(self) -> bool:
        for attempt in range(self._supervision.balance_reads):
            if attempt:
                await asyncio.sleep(self._supervision.absence_wait_seconds)
            try:
                venue = await self._broker.account()
            except TransientBrokerError as error:
                log.warning("잔고 조회 실패", reason=str(error))
                continue
            if not self._unexplained(venue):
                return False
        return True

    def _unexplained(self, venue: VenueAccount, *, in_flight: bool = False) -> list[Difference]:
        found = differences(self._expected(), venue)
        if found:
            found = unexplained(found, self._pending_actions())
        if in_flight:
            found = [one for one in found if not self._is_reserved(one)]
        return found

    def _expected(self) -> Account:
        """Return the account with what was set aside: what the venue should answer."""
        if not self._set_aside:
            return self._engine.account
        account = Account(self._engine.account.market, 0)
        account.restore(self._engine.account.snapshot())
        for (day, _), listed in sorted(self._set_aside.items()):
            if listed.filled_quantity:
                self._book(account, day, listed)
        return account

    def _pending_actions(self) -> list[PendingAction]:
        return [
            PendingAction(
                symbol=body["symbol"],
                quantity_before=body["quantity_before"],
                quantity_after=body["quantity_after"],
                cash=body["cash"],
            )
            for body in self._journal.actions_since(self._session - _LONGEST_PENDING)
        ]

    def _is_reserved(self, one: Difference) -> bool:
        """Whether a venue that answers what may be spent holds this much back for open purchases."""
        reserved = sum(
            order.open_quantity * order.intent.limit
            for order in self._engine.open_orders()
            if order.intent.side.sign > 0
        )
        most = reserved + reserved // _RESERVED_FOR_FEES
        return one.is_cash and 0 < one.ours - one.theirs <= most

    def _tell_difference(self, one: Difference) -> None:
        text = f"장부와 거래소가 다릅니다: {listed_text([one], self._engine.account.market)}"
        log.error(
            "장부와 거래소가 다름", what=one.what, ours=one.ours, theirs=one.theirs, told=True
        )
        if one.is_cash:
            self._notifier.send("error", {"message": text})
        else:
            self._quarantine(one.what, text)

    def _quarantine(self, symbol: str, reason: str, *, intent_id: str = "") -> None:
        self._engine.quarantined.add(symbol)
        self._journal.quarantined(symbol, reason, intent_id=intent_id)
        log.error("종목 격리", symbol=symbol, reason=reason, told=True)
        self._notifier.send("error", {"message": f"{reason} 이 종목은 줄이는 주문만 냅니다."})


def listed_text(found: Sequence[Difference], market: Market) -> str:
    """Return differences as the operator reads them."""

    def amount(difference: Difference, units: int) -> str:
        return money_text(units, market.currency) if difference.is_cash else f"{units:,}주"

    return ", ".join(
        f"{'현금' if d.is_cash else d.what} 장부 {amount(d, d.ours)} / 거래소 {amount(d, d.theirs)}"
        for d in found
    )
