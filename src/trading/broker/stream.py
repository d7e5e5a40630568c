"""The WebSocket of one app key: registrations, trades, notices, and staying connected.

Events come out in the venue's order. Every text message is counted once it has been turned into
events, which is what the local exchange's lock-step barrier waits for; the count starts anew with
each connection. What was missed while disconnected is healed from REST by whoever sees
``connections`` grow.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trading.broker.settings import StreamSettings
from trading.errors import BrokerError, SchemaError, TransientBrokerError, UsageError
from trading.log import get_logger
from trading.ports import Clock, FeedEvent
from trading.wire import stream as wire
from trading.wire.codes import Retry, lookup
from trading.wire.records import Notice

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = get_logger(__name__)

_IN_USE = "OPSP8996"
_ALREADY = "OPSP0002"
_NIGHT = timedelta(hours=8)
Key = tuple[str, str]


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
    ) -> None:
        self._url = url
        self._settings = settings
        self._approve = approve
        self._notice = notice
        self._account = account
        self._clock = clock
        self._rng = rng
        self._wanted: dict[Key, None] = {notice: None} if notice is not None else {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._replies: dict[Key, asyncio.Future[wire.Reply]] = {}
        self._events: asyncio.Queue[FeedEvent | None] = asyncio.Queue()
        self._progress = asyncio.Condition()
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._last_notice: datetime | None = None
        self._last_prints: dict[str, tuple[datetime, int]] = {}
        self._filled: Counter[str] = Counter()
        self._fills_seen: Counter[tuple[str, str, int, int]] = Counter()
        self._fills_now: Counter[tuple[str, str, int, int]] = Counter()
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

    async def register(self, tr_id: str, keys: Sequence[str]) -> None:
        """Register ``keys``; those already registered are left as they are.

        Raises ``UsageError`` beyond the venue's 41 registrations, ``BrokerError`` when refused.
        """
        new = [(tr_id, key) for key in dict.fromkeys(keys) if (tr_id, key) not in self._wanted]
        room = wire.MAX_REGISTRATIONS - len(self._wanted)
        if len(new) > room:
            raise UsageError(
                f"실시간 등록은 {wire.MAX_REGISTRATIONS}건까지: {len(new)}건 요청, {room}건 남음"
            )
        await self.connect()
        for key in new:
            self._wanted[key] = None
            await self._send_registration(key, is_on=True)
        await self._confirmed(new)

    async def unregister(self, tr_id: str, keys: Sequence[str]) -> None:
        """Give registrations back."""
        for key in ((tr_id, name) for name in keys):
            if key in self._wanted:
                del self._wanted[key]
                self._replies.pop(key, None)
                await self._send_registration(key, is_on=False)

    async def next_event(self) -> FeedEvent | None:
        """Return the next event, waiting for it; ``None`` once the stream is closed."""
        return await self._events.get()

    def drain(self) -> list[FeedEvent]:
        """Return what has arrived so far, without waiting."""
        events = []
        while not self._events.empty():
            event = self._events.get_nowait()
            if event is None:
                # The end mark stays for whoever waits in ``next_event``.
                self._events.put_nowait(None)
                break
            events.append(event)
        return events

    async def arrived(self, timeout_seconds: float) -> bool:
        """Wait until an event is there, at most that long; whether there is one."""
        if self._events.empty() and timeout_seconds > 0:
            async with self._progress:
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._progress.wait_for(lambda: not self._events.empty()), timeout_seconds
                    )
        return not self._events.empty()

    def push(self, event: FeedEvent) -> None:
        """Queue an event that came another way (polled prices) behind what has arrived."""
        self._events.put_nowait(event)

    async def wait_handled(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Wait until ``count`` messages of this connection have been turned into events.

        Raises ``TransientBrokerError`` when they do not come in time.
        """
        async with self._progress:
            try:
                await asyncio.wait_for(
                    self._progress.wait_for(lambda: self.frames_handled >= count), timeout_seconds
                )
            except TimeoutError as error:
                raise TransientBrokerError(
                    f"실시간 메시지 대기 시간 초과: {self.frames_handled}/{count}"
                ) from error

    async def close(self) -> None:
        """Disconnect for good; ``next_event`` then ends."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._events.put_nowait(None)

    # --- connection ----------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        from websockets.exceptions import WebSocketException

        pause = self._settings.backoff_seconds
        while not self._is_closed:
            try:
                await self._one_connection()
                reason = "서버가 연결을 닫음"
            except (OSError, WebSocketException, BrokerError, SchemaError) as error:
                reason = str(error) or type(error).__name__
            finally:
                self._socket = None
            if self.frames_handled > len(self._wanted):
                # The connection had lived: this is a new trouble, not the old one going on.
                pause = self._settings.backoff_seconds
            wait = pause * self._rng.uniform(0.5, 1.0)
            log.warning("실시간 연결 끊김", reason=reason, retry_seconds=round(wait, 2))
            await asyncio.sleep(wait)
            pause = min(2.0 * pause, self._settings.backoff_max_seconds)

    async def _one_connection(self) -> None:
        from websockets.asyncio.client import connect

        if not self.approval_key:
            self.approval_key = await self._approve()
        async with connect(
            self._url,
            open_timeout=self._settings.connect_timeout_seconds,
            # KIS keeps the connection alive with its own text message.
            ping_interval=None,
            max_size=None,
            proxy=None,
        ) as socket:
            self.connections += 1
            self.frames_handled = 0
            self._keys.clear()
            # Who still waits for a reply is answered by this connection.
            self._replies = {key: one for key, one in self._replies.items() if not one.done()}
            self._fills_seen |= self._fills_now
            self._fills_now.clear()
            self._socket = socket
            for key in self._wanted:
                await self._send_registration(key, is_on=True)
            async with self._progress:
                self._progress.notify_all()
            log.info("실시간 연결", connections=self.connections, registrations=len(self._wanted))
            await self._read(socket)

    async def _read(self, socket: "ClientConnection") -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.stall_seconds):
                    message = await socket.recv()
            except TimeoutError as error:
                raise TransientBrokerError("실시간 메시지가 오지 않음") from error
            text = message if isinstance(message, str) else message.decode()
            try:
                await self._handle(socket, text)
            except SchemaError as error:
                # One unreadable message must not cost the connection: REST heals what it said.
                log.error("실시간 메시지 해석 실패", reason=str(error))
            finally:
                self.frames_handled += 1
                async with self._progress:
                    self._progress.notify_all()

    async def _until_connected(self) -> None:
        async with self._progress:
            try:
                await asyncio.wait_for(
                    self._progress.wait_for(lambda: self._socket is not None),
                    self._settings.connect_timeout_seconds + self._settings.backoff_max_seconds,
                )
            except TimeoutError as error:
                raise TransientBrokerError(f"실시간 서버에 연결할 수 없음: {self._url}") from error

    async def _send_registration(self, key: Key, *, is_on: bool) -> None:
        if is_on:
            reply = self._replies.get(key)
            if reply is None or reply.done():
                self._replies[key] = asyncio.get_running_loop().create_future()
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
                raise TransientBrokerError(f"실시간 등록 응답 없음: {key[0]}") from error
            if not answer.ok and answer.code != _ALREADY:
                raise BrokerError(
                    f"실시간 등록 거부: {lookup(answer.code).cause} [{answer.code}]",
                    code=answer.code,
                )

    # --- messages ------------------------------------------------------------------------

    async def _handle(self, socket: "ClientConnection", text: str) -> None:
        if wire.is_data(text):
            self._handle_data(text)
            return
        message = wire.parse_control(text)
        if isinstance(message, wire.Ping):
            await socket.send(message.text)
            return
        self._handle_reply(message)

    def _handle_reply(self, reply: wire.Reply) -> None:
        if reply.secret:
            self._keys[reply.tr_id] = (reply.iv, reply.secret)
        key = (reply.tr_id, reply.key)
        if not reply.ok and reply.code != _ALREADY:
            log.error("실시간 등록 거부", tr_id=reply.tr_id, code=reply.code, reason=reply.text)
            if reply.code == _IN_USE:
                raise TransientBrokerError(lookup(reply.code).cause, code=reply.code)
            if lookup(reply.code).retry is Retry.RENEW:
                self.approval_key = ""
                raise TransientBrokerError(lookup(reply.code).cause, code=reply.code)
            # A refused registration is not live and must not be counted as such.
            if key != self._notice:
                self._wanted.pop(key, None)
        waiting = self._replies.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def _handle_data(self, text: str) -> None:
        frame = wire.parse_frame(text)
        payload = frame.payload
        if frame.encrypted:
            if frame.tr_id not in self._keys:
                raise SchemaError(f"암호 키 없는 실시간 자료: {frame.tr_id}")
            iv, secret = self._keys[frame.tr_id]
            payload = wire.decrypt(payload, iv=iv, secret=secret)
        received = self._clock.now()
        for record in wire.records_of(frame.tr_id, frame.count, payload):
            if frame.tr_id in wire.NOTICE_TRS:
                self._handle_notice(wire.parse_notice(frame.tr_id, record))
                continue
            tick = wire.parse_trade(frame.tr_id, record, received)
            place = (tick.ts_event, tick.cumulative_volume)
            # After a reconnection the print of the moment may be sent once more.
            if self._last_prints.get(tick.symbol) != place:
                self._last_prints[tick.symbol] = place
                self._events.put_nowait(tick)

    def _handle_notice(self, notice: Notice) -> None:
        if notice.account and notice.account != self._account:
            return
        now = self._clock.now()
        if self._last_notice is not None and now - self._last_notice > _NIGHT:
            # Order numbers begin anew each day.
            self._filled.clear()
            self._fills_seen.clear()
            self._fills_now.clear()
        self._last_notice = now
        if notice.is_fill and not self._is_new_fill(notice):
            log.warning("중복 체결통보 무시", order_id=notice.order_id, quantity=notice.quantity)
            return
        event = wire.notice_event(notice, now)
        if event is not None:
            self._events.put_nowait(event)

    def _is_new_fill(self, notice: Notice) -> bool:
        # Notices carry no execution number. Equal ones on one connection are different fills
        # (two equal partial fills in a second are legal); after a reconnection the first k equal
        # ones repeat the k seen before. A fill beyond the ordered quantity is never new. What
        # this rule still gets wrong is found by the reconciliation over REST.
        key = (notice.order_id, notice.time, notice.quantity, notice.price)
        self._fills_now[key] += 1
        if self._fills_now[key] <= self._fills_seen[key]:
            return False
        ordered = notice.order_quantity
        if ordered and self._filled[notice.order_id] + notice.quantity > ordered:
            return False
        self._filled[notice.order_id] += notice.quantity
        return True
