"""The WebSocket side: who listens to what, and the frames they get.

What happens is decided in ``venue``; how it reads on the wire is in ``trading.wire.stream``.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trading.clock import WallClock
from trading.domain.instrument import Market
from trading.errors import SchemaError
from trading.exchange.accounts import BRANCH
from trading.exchange.gate import Gate
from trading.exchange.venue import Event, NoticeKind, Notified, Phase, Traded, Venue
from trading.log import get_logger
from trading.wire import stream, values
from trading.wire.endpoints import Profile
from trading.wire.overseas import stream_key, symbol_of_key
from trading.wire.records import Notice, OrderKind

log = get_logger(__name__)

PING_SECONDS = 110.0
# Registered like at KIS, but nothing was recorded to send.
_SILENT_TRS = {Market.KRX: "H0STASP0", Market.US: "HDFSASP0"}


@dataclass(slots=True, eq=False)
class Listener:
    """One WebSocket connection; ``sent`` counts every text handed to it."""

    approval_key: str = ""
    owner: str = ""
    sent: int = 0
    registered: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    outbox: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)

    def send(self, text: str) -> None:
        """Queue a text; texts leave in this order."""
        self.sent += 1
        self.outbox.put_nowait(text)

    def hang_up(self) -> None:
        """Close the connection after what is queued."""
        self.outbox.put_nowait(None)


class Hub:
    """All listeners of one venue."""

    def __init__(self, gate: Gate, market: Market, profile: Profile) -> None:
        self._gate = gate
        self._market = market
        self._listeners: list[Listener] = []
        self._trade_tr = stream.TRADE_TR[market]
        self._notice_tr = stream.NOTICE_TR[market, profile]
        # 모의투자 has Korean prints but no US ones (PROTOCOL 12.2).
        self._has_trades = market is Market.KRX or profile is Profile.REAL
        self._wall = WallClock()

    @property
    def frames(self) -> dict[str, int]:
        """Texts sent so far on each connection, by its WebSocket key."""
        return {one.approval_key: one.sent for one in self._listeners if one.approval_key}

    async def serve(self, websocket: Any, venue: Venue) -> None:
        """Talk to one client until it leaves."""
        from starlette.websockets import WebSocketDisconnect

        await websocket.accept()
        listener = Listener()
        self._listeners.append(listener)
        writer = asyncio.create_task(_write(websocket, listener))
        pinger = asyncio.create_task(self._ping(listener))
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                text = message.get("text")
                if text is not None:
                    self._hear(listener, text, venue)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._listeners.remove(listener)
            self._tell_watched(venue)
            writer.cancel()
            pinger.cancel()

    def publish(self, events: Sequence[Event], venue: Venue) -> None:
        """Send the events of one instant to whom they concern, in their order."""
        if not self._listeners:
            return
        for event in events:
            if isinstance(event, Traded):
                key = self._trade_key(event.symbol, venue)
                listeners = [one for one in self._listeners if key in one.registered]
                if listeners:
                    text = self._trade_frame(event, venue)
                    for listener in listeners:
                        listener.send(text)
            else:
                self._notify(event, venue)

    def _hear(self, listener: Listener, text: str, venue: Venue) -> None:
        try:
            message = stream.parse_client_message(text)
        except SchemaError:
            listener.send(_refusal("", "", "OPSP9999"))
            return
        if isinstance(message, stream.Ping):
            return
        tr_id, key = message.tr_id, message.key
        owner = self._gate.owner_of_approval(message.approval_key, venue.now)
        if owner is None:
            reason = f"invalid approval : {message.approval_key}"
            listener.send(_refusal(tr_id, key, "OPSP0011", reason))
            return
        if any(other is not listener and other.owner == owner for other in self._listeners):
            listener.send(_refusal("", "", "OPSP8996"))
            listener.hang_up()
            return
        listener.owner, listener.approval_key = owner, message.approval_key
        if not message.is_on:
            known = (tr_id, key) in listener.registered
            listener.registered.discard((tr_id, key))
            self._tell_watched(venue)
            code = "OPSP0001" if known else "OPSP0003"
            listener.send(_reply(tr_id, key, code, ok=known))
            return
        refused = self._refused(listener, tr_id, key, venue)
        if refused:
            listener.send(_refusal(tr_id, key, refused))
            return
        if tr_id == self._notice_tr and not self._gate.claim_hts_id(owner, key):
            log.warning("다른 사용자의 HTS ID로 체결 통보를 등록하려 하여 접속을 끊음")
            listener.hang_up()
            return
        if tr_id not in listener.keys:
            listener.keys[tr_id] = (secrets.token_hex(8), secrets.token_hex(16))
        iv, secret = listener.keys[tr_id]
        listener.registered.add((tr_id, key))
        listener.send(
            stream.reply_message(
                stream.Reply(
                    tr_id=tr_id,
                    key=key,
                    ok=True,
                    code="OPSP0000",
                    text="",
                    encrypted=tr_id == self._notice_tr,
                    iv=iv,
                    secret=secret,
                )
            )
        )
        self._tell_watched(venue)
        if tr_id == self._trade_tr:
            self._repeat_present(listener, self._symbol(key), venue)

    def _refused(self, listener: Listener, tr_id: str, key: str, venue: Venue) -> str:
        """Return the code that refuses a registration, blank when it may be had."""
        quotes = {self._trade_tr, _SILENT_TRS[self._market]} if self._has_trades else set()
        if tr_id not in {*quotes, self._notice_tr}:
            return "OPSP8991"
        if tr_id in quotes:
            symbol = self._symbol(key)
            if symbol not in venue.instruments or self._trade_key(symbol, venue)[1] != key:
                return "OPSP8992"
        if (tr_id, key) in listener.registered:
            return "OPSP0002"
        if len(listener.registered) >= stream.MAX_REGISTRATIONS:
            return "OPSP0008"
        return ""

    def _repeat_present(self, listener: Listener, symbol: str, venue: Venue) -> None:
        """Send the print of this very instant to one who has just come (back).

        The clock stands still in lock-step: who lost the connection at an instant must still
        see what it held.
        """
        if not venue.is_begun or venue.phase in (Phase.PRE_OPEN, Phase.CLOSED):
            return
        index = venue.last_index(symbol)
        tape = venue.replay.tape(symbol)
        if index >= 0 and tape.times[index] == venue.now:
            listener.send(self._trade_frame(Traded(symbol, tape, index), venue))

    def _notify(self, event: Notified, venue: Venue) -> None:
        owner = event.account.owner
        hts_id = self._gate.hts_id(owner)
        for listener in self._listeners:
            if listener.owner == owner and (self._notice_tr, hts_id) in listener.registered:
                iv, secret = listener.keys[self._notice_tr]
                record = self._notice_record(event, hts_id, venue)
                listener.send(stream.frame_message(self._notice_tr, [record], iv=iv, secret=secret))

    def _notice_record(self, event: Notified, hts_id: str, venue: Venue) -> str:
        order = event.order
        instrument = venue.instruments[order.symbol]
        is_fill = event.kind is NoticeKind.FILLED
        kinds = {NoticeKind.CANCELED: OrderKind.CANCEL, NoticeKind.REVISED: OrderKind.REVISE}
        return stream.render_notice(
            self._market,
            Notice(
                account=event.account.number,
                order_id=order.number,
                original_order_id=order.original_number,
                side=order.side,
                kind=kinds.get(event.kind, OrderKind.NEW),
                symbol=order.symbol,
                quantity=event.quantity,
                price=event.price if is_fill else 0,
                time=values.korean_time(venue.now),
                is_fill=is_fill,
                is_refused=False,
                # Our matching is immediate: what is received is confirmed.
                acceptance="1" if event.kind is NoticeKind.ACCEPTED else "2",
                order_quantity=order.quantity,
                limit=order.limit,
                branch=BRANCH,
                name=instrument.name,
                customer=hts_id,
                exchange=instrument.exchange,
            ),
        )

    def _trade_frame(self, event: Traded, venue: Venue) -> str:
        tape, index = event.tape, event.index
        trade = tape.prints[index]
        record = stream.render_trade(
            self._market,
            stream.Print(
                symbol=event.symbol,
                ts=trade.ts,
                price=trade.price,
                volume=trade.volume,
                cumulative_volume=tape.volume[index],
                value=tape.value[index],
                open=tape.prints[0].price,
                high=tape.high[index],
                low=tape.low[index],
                previous_close=venue.replay.reference(event.symbol),
            ),
            venue.instruments[event.symbol],
        )
        return stream.frame_message(self._trade_tr, [record])

    def _trade_key(self, symbol: str, venue: Venue) -> tuple[str, str]:
        if self._market is Market.KRX:
            return self._trade_tr, symbol
        return self._trade_tr, stream_key(venue.instruments[symbol])

    def _symbol(self, key: str) -> str:
        return key if self._market is Market.KRX else symbol_of_key(key)

    def _tell_watched(self, venue: Venue) -> None:
        venue.watch(self._watched_symbols())

    def _watched_symbols(self) -> Iterable[str]:
        return {
            self._symbol(key)
            for listener in self._listeners
            for tr_id, key in listener.registered
            if tr_id == self._trade_tr
        }

    async def _ping(self, listener: Listener) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            listener.send(stream.ping_message(self._wall.now()))


async def _write(websocket: Any, listener: Listener) -> None:
    while True:
        text = await listener.outbox.get()
        if text is None:
            await websocket.close()
            return
        await websocket.send_text(text)


def _refusal(tr_id: str, key: str, code: str, text: str = "") -> str:
    return _reply(tr_id, key, code, ok=False, text=text)


def _reply(tr_id: str, key: str, code: str, *, ok: bool, text: str = "") -> str:
    return stream.reply_message(
        stream.Reply(tr_id=tr_id, key=key, ok=ok, code=code, text=text, encrypted=False)
    )
