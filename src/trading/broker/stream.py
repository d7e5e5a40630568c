"""The WebSocket of one app key: registrations, trades, notices, and staying connected.

Events come out in the venue's order. Every text message is counted once it has been turned into
events, which is what the local exchange's lock-step barrier waits for; the count starts anew with
each connection. Prints that were missed are mended from minute bars; notices that were missed or
may have come twice become an ``OrderDoubt``, because only the order listing knows.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from trading.broker.prints import PrintTrack
from trading.broker.settings import StreamSettings
from trading.domain.instrument import Market
from trading.domain.market import Quote, Tick
from trading.domain.order import OrderDoubt
from trading.errors import (
    AuthenticationError,
    BrokerError,
    SchemaError,
    TradingError,
    TransientBrokerError,
    UsageError,
)
from trading.log import get_logger
from trading.ports import Clock, FeedEvent
from trading.wire import stream as wire
from trading.wire import ticker, values
from trading.wire.codes import Retry, lookup
from trading.wire.overseas_codes import symbol_of_key
from trading.wire.records import MinuteRow, Notice

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = get_logger(__name__)

_IN_USE = "OPSP8996"
_ALREADY, _NOT_FOUND = "OPSP0002", "OPSP0003"
_NIGHT = timedelta(hours=8)
# What trades before is of another session; on days that open later nothing trades in between.
_OPENS = {Market.KRX: time(9), Market.US: time(9, 30)}
# How often at most silence, missing replies and holes are looked for, in seconds.
_LOOK_SECONDS = 0.25
_LONGEST_MESSAGE = 2**24
_LONGEST_TR = 8
# After so many connections on which the venue did not answer it, a registration is given up.
_MOST_IGNORED = 1
Key = tuple[str, str]
FillKey = tuple[str, str, int, int]


class KisStream:
    """One session of registrations that survives reconnection.

    Parameters
    ----------
    approve : callable
        Returns a fresh WebSocket key; asked again only when the venue refuses the old one.
    notice : tuple of (TR id, HTS id) or None
        The notices to receive, always registered first; ``None`` for quotes only.
    account : str
        Ten digits: notices of other accounts of the same HTS id are left out.
    quote, minutes : callable, optional
        The current price of a symbol and its minute bars since an instant, from which missed
        prints are mended; without them holes stay.
    """

    def __init__(
        self,
        url: str,
        *,
        settings: StreamSettings,
        approve: Callable[[], Awaitable[str]],
        notice: Key | None,
        account: str,
        clock: Clock,
        rng: random.Random,
        quote: Callable[[str], Awaitable[Quote]] | None = None,
        minutes: Callable[[str, datetime], Awaitable[Sequence[MinuteRow]]] | None = None,
    ) -> None:
        self._url = url
        self._settings = settings
        self._approve = approve
        self._notice = notice
        self._account = account
        self._clock = clock
        self._rng = rng
        self._quote = quote
        self._minutes = minutes
        self._wanted: dict[Key, None] = {notice: None} if notice is not None else {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._replies: dict[Key, asyncio.Future[wire.Reply]] = {}
        # Registrations without a reply, or to be repeated, with the instant they are due.
        self._unanswered: dict[Key, float] = {}
        self._refused: dict[Key, float] = {}
        self._ignored: Counter[Key] = Counter()
        self._audited: Key | None = None
        self._audit_at = 0.0
        self._events: deque[FeedEvent] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._mending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._trouble: Exception | None = None
        self._heard_at = 0.0
        self._has_lived = False
        self._decoder = wire.TradeDecoder()
        self._market = Market.KRX
        self._tracks: dict[str, PrintTrack] = {}
        self._mended_at: dict[str, datetime] = {}
        self._strangers: set[str] = set()
        self._last_notice: datetime | None = None
        self._filled: Counter[str] = Counter()
        self._told: set[FillKey] = set()
        self._doubted: set[str] = set()
        self.approval_key = ""
        self.frames_handled = 0
        self.connections = 0

    # --- use -----------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect and register the notices; returns once the venue has confirmed them."""
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected(), name="kis-stream")
        await self._until_connected()
        if self._notice is not None:
            await self._confirmed([self._notice])

    @property
    def room(self) -> int:
        """How many more registrations the venue takes."""
        return wire.MAX_REGISTRATIONS - len(self._wanted)

    async def register(self, tr_id: str, keys: Sequence[str]) -> None:
        """Register ``keys``; those already registered are left as they are.

        Raises ``UsageError`` beyond the venue's 41 registrations, ``BrokerError`` when refused.
        """
        new = [(tr_id, key) for key in dict.fromkeys(keys) if (tr_id, key) not in self._wanted]
        if len(new) > self.room:
            raise UsageError(
                f"실시간 등록은 {wire.MAX_REGISTRATIONS}건까지: "
                f"{len(new)}건 요청, {self.room}건 남음"
            )
        await self.connect()
        for key in new:
            self._wanted[key] = None
            self._follow(key)
            await self._send_registration(key, is_on=True)
        await self._confirmed(new)

    async def unregister(self, tr_id: str, keys: Sequence[str]) -> None:
        """Give registrations back."""
        for key in ((tr_id, name) for name in keys):
            if key in self._wanted:
                self._forget(key)
                self._replies.pop(key, None)
                await self._send_registration(key, is_on=False)

    def drain(self) -> list[FeedEvent]:
        """Return what has arrived so far, without waiting."""
        events = list(self._events)
        self._events.clear()
        self._doubted.clear()
        return events

    async def arrived(self, timeout_seconds: float) -> bool:
        """Wait until an event is there, at most that long; whether there is one."""
        if not self._events and timeout_seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    while not self._events:
                        await self._wait()
        return bool(self._events)

    def push(self, event: FeedEvent) -> None:
        """Queue an event that came another way (polled prices) behind what has arrived."""
        self._events.append(event)
        self._wake()

    async def wait_handled(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Wait until ``count`` messages of this connection are events, and holes are mended.

        Raises ``TransientBrokerError`` when they do not come in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while self.frames_handled < count or self._mending:
                    await self._wait()
        except TimeoutError as error:
            raise TransientBrokerError(
                f"실시간 메시지 대기 시간 초과: {self.frames_handled}/{count}"
            ) from error

    async def heal(self) -> None:
        """Ask what every registered symbol has traded, and mend what nobody has told of.

        A hole is seen by the print after it; this finds those that no print has followed.
        """
        await asyncio.gather(*(self._look_back(track) for track in list(self._tracks.values())))

    async def close(self) -> None:
        """Disconnect for good; what has arrived can still be drained."""
        self._is_closed = True
        tasks = [*self._mending, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._wake()

    # --- connection ----------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        from websockets.exceptions import WebSocketException

        pause, reason = self._settings.backoff_seconds, ""
        while not self._is_closed:
            try:
                await self._one_connection()
            except (OSError, WebSocketException, TradingError) as error:
                self._trouble = error
                reason = str(error) or type(error).__name__
            except Exception as error:
                # Whatever it was: a stream that nobody reads any more would be worse.
                self._trouble = error
                reason = type(error).__name__
                log.exception("실시간 연결 처리 오류")
            finally:
                self._socket = None
                self._wake()
            if self._has_lived:
                # A new trouble, not the old one going on.
                pause = self._settings.backoff_seconds
            ceiling = self._settings.backoff_max_seconds
            wait = min(pause * self._rng.uniform(1.0, 1.5), max(ceiling, pause))
            log.warning("실시간 연결 끊김", reason=reason, retry_seconds=round(wait, 2))
            await asyncio.sleep(wait)
            pause = min(2.0 * pause, ceiling)

    async def _one_connection(self) -> None:
        from websockets.asyncio.client import connect

        self._has_lived = False
        if not self.approval_key:
            self.approval_key = await self._approve()
        async with connect(
            self._url,
            open_timeout=self._settings.connect_timeout_seconds,
            # KIS keeps the connection alive with its own text message.
            ping_interval=None,
            # A server that has gone silent does not answer a goodbye either.
            close_timeout=1.0,
            max_size=_LONGEST_MESSAGE,
            compression=None,
            proxy=None,
        ) as socket:
            self.connections += 1
            self.frames_handled = 0
            self._keys.clear()
            self._unanswered.clear()
            self._refused.clear()
            self._audited = None
            # Who still waits for a reply is answered by this connection.
            self._replies = {key: one for key, one in self._replies.items() if not one.done()}
            self._heard_at = asyncio.get_running_loop().time()
            self._socket = socket
            # The notices first: an order may be working.
            for key in sorted(self._wanted, key=lambda key: key != self._notice):
                await self._send_registration(key, is_on=True)
            self._wake()
            log.info("실시간 연결", connections=self.connections, registrations=len(self._wanted))
            if self.connections > 1:
                for track in list(self._tracks.values()):
                    self._start(self._look_back(track))
            keeper = asyncio.create_task(self._keep(socket))

            def ended(one: "asyncio.Task[None]") -> None:
                # Without its keeper a connection could die unnoticed.
                if not one.cancelled():
                    socket.transport.abort()

            keeper.add_done_callback(ended)
            try:
                await self._read(socket)
            finally:
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper

    async def _read(self, socket: "ClientConnection") -> None:
        from websockets.exceptions import WebSocketException

        loop = asyncio.get_running_loop()
        while True:
            # As bytes: text that is not UTF-8 would cost the connection, not just the message.
            data = await socket.recv(decode=False)
            self._heard_at = loop.time()
            try:
                await self._handle(socket, wire.text_of(data))
            except SchemaError as error:
                # One unreadable message must not cost the connection: REST heals what it said.
                log.error("실시간 메시지 해석 실패", reason=str(error))
            except (BrokerError, WebSocketException):
                raise
            except Exception:
                log.exception("실시간 메시지 처리 오류")
            finally:
                self.frames_handled += 1
                self._wake()

    async def _keep(self, socket: "ClientConnection") -> None:
        """Look after the connection: silence, missing replies, refused registrations, holes."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, settings.stall_seconds / 4))
            now = loop.time()
            if now - self._heard_at > settings.stall_seconds:
                self._break(socket, "실시간 메시지가 오지 않음")
            self._check_replies(socket, now)
            if now >= self._audit_at:
                await self._audit(now)
            for key in [key for key, due in self._refused.items() if due <= now]:
                del self._refused[key]
                if key in self._wanted:
                    await self._send_registration(key, is_on=True)
            for track in self._tracks.values():
                self._see_to(track)

    async def _audit(self, now: float) -> None:
        """Register one more time what should be live, in turns: the venue must know it already."""
        if self._audit_at and self._wanted and not self._unanswered:
            self._audited = next(iter(self._wanted))
            # Behind the others for the next turn.
            self._wanted[self._audited] = self._wanted.pop(self._audited)
            await self._send_registration(self._audited, is_on=True)
        self._audit_at = now + self._settings.audit_seconds

    def _check_replies(self, socket: "ClientConnection", now: float) -> None:
        """Break the connection over registrations that nobody answers, and in the end give up."""
        late = [key for key, due in self._unanswered.items() if due <= now]
        for key in late:
            del self._unanswered[key]
            self._ignored[key] += 1
            if self._ignored[key] > _MOST_IGNORED and key != self._notice:
                log.error("실시간 등록에 응답이 없어 포기함", tr_id=key[0])
                self._forget(key)
        if late:
            self._break(socket, "실시간 등록 응답 없음")

    def _break(self, socket: "ClientConnection", reason: str) -> None:
        # Not closed in good form: nobody may be there to take part in it.
        log.warning("실시간 연결을 버림", reason=reason)
        socket.transport.abort()

    async def _until_connected(self) -> None:
        patience = self._settings.connect_timeout_seconds + self._settings.backoff_max_seconds
        try:
            async with asyncio.timeout(patience):
                while self._socket is None:
                    if isinstance(self._trouble, AuthenticationError):
                        raise self._trouble
                    await self._wait()
        except TimeoutError as error:
            reason = f": {self._trouble}" if self._trouble is not None else ""
            raise TransientBrokerError(
                f"실시간 서버에 연결할 수 없음 ({self._url}){reason}"
            ) from error

    async def _send_registration(self, key: Key, *, is_on: bool) -> None:
        if is_on:
            loop = asyncio.get_running_loop()
            reply = self._replies.get(key)
            if reply is None or reply.done():
                self._replies[key] = loop.create_future()
            self._unanswered[key] = loop.time() + self._settings.reply_timeout_seconds
        message = wire.registration_message(
            wire.Registration(approval_key=self.approval_key, is_on=is_on, tr_id=key[0], key=key[1])
        )
        socket = self._socket
        if socket is None:
            # Lost a moment ago: the next connection registers everything that is wanted.
            return
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):
            await socket.send(message)

    async def _confirmed(self, keys: Sequence[Key]) -> None:
        for key in keys:
            reply = self._replies.get(key)
            if reply is None:
                continue
            try:
                answer = await asyncio.wait_for(
                    asyncio.shield(reply), self._settings.reply_timeout_seconds
                )
            except TimeoutError as error:
                reason = f" ({self._trouble})" if self._trouble is not None else ""
                raise TransientBrokerError(f"실시간 등록 응답 없음: {key[0]}{reason}") from error
            if not answer.ok and answer.code != _ALREADY:
                raise BrokerError(
                    f"실시간 등록 거부: {lookup(answer.code).cause} [{answer.code}]",
                    code=answer.code,
                )

    # --- messages ------------------------------------------------------------------------

    async def _handle(self, socket: "ClientConnection", text: str) -> None:
        if wire.is_data(text):
            self._has_lived = True
            self._handle_data(text)
            return
        message = wire.parse_control(text)
        if isinstance(message, wire.Ping):
            self._has_lived = True
            await socket.send(message.text)
            return
        self._handle_reply(message)

    def _handle_reply(self, reply: wire.Reply) -> None:
        key = (reply.tr_id, reply.key)
        is_live = reply.ok or reply.code == _ALREADY
        self._unanswered.pop(key, None)
        self._ignored.pop(key, None)
        was_audited, self._audited = key == self._audited, None
        if reply.secret:
            self._keys[reply.tr_id] = (reply.iv, reply.secret)
        if reply.code == _NOT_FOUND:
            # Given back twice: it is gone, as was wished.
            return
        if is_live:
            self._trouble = None
        if is_live and key == self._notice and self.connections > 1:
            self._doubt("")
        if was_audited and reply.ok:
            raise TransientBrokerError("실시간 등록이 풀려 있어 다시 연결함", code=reply.code)
        if not is_live:
            retry = lookup(reply.code).retry
            log.error("실시간 등록 거부", tr_id=reply.tr_id, code=reply.code, reason=reply.text)
            if reply.code == _IN_USE:
                raise TransientBrokerError(lookup(reply.code).cause, code=reply.code)
            if retry is Retry.RENEW:
                self.approval_key = ""
                raise TransientBrokerError(lookup(reply.code).cause, code=reply.code)
            if retry is Retry.AGAIN:
                loop = asyncio.get_running_loop()
                self._refused[key] = loop.time() + self._settings.backoff_seconds
                return
            # A refused registration is not live and must not be counted as such.
            if key != self._notice:
                self._forget(key)
        waiting = self._replies.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def _handle_data(self, text: str) -> None:
        received = self._clock.now()
        self._decoder.begin(received)
        tick = self._decoder.decode(text, received)
        if tick is not None:
            self._take(tick)
            return
        frame = wire.parse_frame(text)
        if frame.encrypted:
            if frame.tr_id not in self._keys:
                raise SchemaError(f"암호 키 없는 실시간 자료: {frame.tr_id}")
            iv, secret = self._keys[frame.tr_id]
            payload = wire.decrypt(frame.payload, iv=iv, secret=secret)
            frame = replace(frame, encrypted=False, payload=payload)
        if frame.tr_id in wire.TRADE_TRS:
            for one, is_regular in self._decoder.read(frame, received):
                self._take(one, is_regular=is_regular)
        elif frame.tr_id in wire.NOTICE_TRS:
            for record in wire.records_of(frame.tr_id, frame.count, frame.payload):
                self._handle_notice(wire.parse_notice(frame.tr_id, record), received)
        elif ticker.knows(frame.tr_id):
            for record in wire.records_of(frame.tr_id, frame.count, frame.payload):
                self._events.append(ticker.parse(frame.tr_id, record, received))
        elif (stranger := frame.tr_id[:_LONGEST_TR]) not in self._strangers:
            self._strangers.add(stranger)
            log.error("모르는 실시간 자료를 건너뜀", tr_id=stranger)

    # --- prints --------------------------------------------------------------------------

    def _take(self, tick: Tick, *, is_regular: bool = True) -> None:
        track = self._tracks.get(tick.symbol)
        if track is None:
            track = PrintTrack(tick.symbol, tick.ts_recv, is_whole_day=False)
            self._tracks[tick.symbol] = track
        if not is_regular:
            track.skip(tick)
        elif track.take(tick):
            self._events.append(tick)
            if track.holes:
                self._see_to(track)

    def _follow(self, key: Key) -> None:
        tr_id, _ = key
        if tr_id not in wire.TRADE_TRS:
            return
        self._market = Market.KRX if tr_id in wire.KRX_TRADE_TRS else Market.US
        symbol = _symbol(key)
        now = self._clock.now()
        is_whole_day = not self._is_open_at(now)
        self._tracks[symbol] = PrintTrack(symbol, now, is_whole_day=is_whole_day)

    def _forget(self, key: Key) -> None:
        self._wanted.pop(key, None)
        if key[0] in wire.TRADE_TRS:
            self._tracks.pop(_symbol(key), None)

    def _is_open_at(self, moment: datetime) -> bool:
        """Whether the market has opened on the day of ``moment``, as on most days."""
        return moment.astimezone(values.zone(self._market)).time() >= _OPENS[self._market]

    def _see_to(self, track: PrintTrack) -> None:
        """Have the holes of ``track`` mended, unless that was done a moment ago."""
        if not track.holes or self._minutes is None or self._clock.now() < self._due(track):
            return
        self._mended_at[track.symbol] = self._clock.now()
        self._start(self._mend(track))

    def _due(self, track: PrintTrack) -> datetime:
        mended_at = self._mended_at.get(track.symbol)
        if mended_at is None:
            return track.since
        return mended_at + timedelta(seconds=self._settings.mend_pause_seconds)

    def _start(self, mending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(mending)
        self._mending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._mending.discard(task)
        self._wake()

    async def _look_back(self, track: PrintTrack) -> None:
        """Find and mend what ``track`` missed without a later print that says so."""
        if self._quote is None or track.cumulative is None:
            return
        try:
            quote = await self._quote(track.symbol)
        except TradingError as error:
            log.error("놓친 체결 확인 실패", symbol=track.symbol, reason=str(error))
            return
        track.miss(quote.volume, self._clock.now())
        if track.holes:
            await self._mend(track)

    async def _mend(self, track: PrintTrack) -> None:
        if self._minutes is None:
            return
        # A print that is only late closes its hole itself.
        await asyncio.sleep(self._settings.mend_after_seconds)
        newest = track.newest
        if not track.holes:
            return
        try:
            bars = await self._minutes(track.symbol, min(hole.since for hole in track.holes))
        except TradingError as error:
            log.error("놓친 체결 복구 실패", symbol=track.symbol, reason=str(error))
            return
        regular = [bar for bar in bars if self._is_open_at(bar.start)]
        ticks = track.mend(regular, newest, self._clock.now())
        log.info(
            "놓친 체결 복구",
            symbol=track.symbol,
            prints=len(ticks),
            shares=sum(tick.volume for tick in ticks),
        )
        self._events.extend(ticks)
        self._wake()

    # --- notices -------------------------------------------------------------------------

    def _handle_notice(self, notice: Notice, received: datetime) -> None:
        if notice.account and notice.account != self._account:
            return
        if self._last_notice is not None and received - self._last_notice > _NIGHT:
            # Order numbers begin anew each day.
            self._filled.clear()
            self._told.clear()
        self._last_notice = received
        if notice.is_fill and not self._is_new_fill(notice):
            log.warning("체결통보를 믿지 않고 조회함", order_id=notice.order_id)
            self._doubt(notice.order_id)
            return
        event = wire.notice_event(notice, received)
        if event is not None:
            self._events.append(event)

    def _is_new_fill(self, notice: Notice) -> bool:
        # Notices carry no execution number. One equal to an earlier one may be the same fill told
        # again (a repetition, a reconnection) or another of that second: both happen, and nothing
        # in it tells which. A fill beyond the ordered quantity is never new.
        key = (notice.order_id, notice.time, notice.quantity, notice.price)
        ordered = notice.order_quantity
        if key in self._told:
            return False
        if ordered and self._filled[notice.order_id] + notice.quantity > ordered:
            return False
        self._told.add(key)
        self._filled[notice.order_id] += notice.quantity
        return True

    def _doubt(self, order_id: str) -> None:
        if order_id not in self._doubted:
            self._doubted.add(order_id)
            self._events.append(OrderDoubt(ts_recv=self._clock.now(), venue_order_id=order_id))

    # --- waiting -------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait until something has happened."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()


def _symbol(key: Key) -> str:
    tr_id, name = key
    return name if tr_id in wire.KRX_TRADE_TRS else symbol_of_key(name)
