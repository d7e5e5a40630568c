"""The WebSocket side: who listens to what, and the frames they get.

What happens is decided in ``venue``; how it reads on the wire is in ``trading.wire.stream``.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trading.clock import WallClock
from trading.domain.instrument import Market
from trading.domain.market import MarketStatus
from trading.errors import SchemaError
from trading.exchange.accounts import BRANCH
from trading.exchange.faults import Injector, Stage
from trading.exchange.faulty_frames import Line
from trading.exchange.floor import SuspensionKind
from trading.exchange.gate import Gate
from trading.exchange.venue import (
    Event,
    NoticeKind,
    Notified,
    Phase,
    Suspended,
    Traded,
    Venue,
)
from trading.log import get_logger
from trading.wire import stream, values
from trading.wire.endpoints import Profile
from trading.wire.overseas_codes import stream_key, symbol_of_key
from trading.wire.records import Notice, OrderKind
from trading.wire.ticker import FEED_TR, PAPER_TRS, Feed, render_status

log = get_logger(__name__)

PING_SECONDS = 110.0


class NoticeFields(StrEnum):
    """How many fields a notice has: today's, or those that older clients count on."""

    CURRENT = "current"
    FORMER = "former"


# Registered like at KIS, though of books, indices and expected matches nothing was recorded.
_BY_SYMBOL = {
    Market.KRX: {FEED_TR[Market.KRX, feed] for feed in (Feed.BOOK, Feed.EXPECTED, Feed.STATUS)},
    Market.US: {FEED_TR[Market.US, Feed.BOOK]},
}
_STATUS_TR = FEED_TR[Market.KRX, Feed.STATUS]
_INDEX_TR = FEED_TR[Market.KRX, Feed.INDEX]
_INDEX_CODES = ("0001", "1001", "2001")


@dataclass(slots=True, eq=False)
class Listener:
    """One WebSocket connection; ``sent`` counts every text handed to it."""

    approval_key: str = ""
    owner: str = ""
    sent: int = 0
    registered: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    outbox: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    line: Line = field(init=False)
    is_gone: bool = False
    is_cut: bool = False

    def send(self, text: str) -> None:
        """Queue a text; texts leave in this order."""
        self.sent += 1
        self.outbox.put_nowait(text)

    def hang_up(self, *, is_cut: bool = False) -> None:
        """Close the connection after what is queued; ``is_cut``: without a goodbye."""
        self.is_gone, self.is_cut = True, is_cut
        self.outbox.put_nowait(None)


class Hub:
    """All listeners of one venue."""

    def __init__(
        self,
        gate: Gate,
        market: Market,
        profile: Profile,
        injector: Injector,
        notice_fields: NoticeFields,
    ) -> None:
        self._gate = gate
        self._injector = injector
        self._notice_fields = notice_fields
        self._market = market
        self._listeners: list[Listener] = []
        self._trade_tr = stream.TRADE_TR[market]
        self._notice_tr = stream.NOTICE_TR[market, profile]
        is_real = profile is Profile.REAL
        # 모의투자 has Korean prints and books, and nothing of the US (PROTOCOL 12.2).
        self._by_symbol = {
            tr_id
            for tr_id in {self._trade_tr, *_BY_SYMBOL[market]}
            if is_real or tr_id in PAPER_TRS
        }
        self._has_indices = is_real and market is Market.KRX
        self._wall = WallClock()

    @property
    def frames(self) -> dict[str, int]:
        """Texts sent so far on each connection, by its WebSocket key."""
        return {
            one.approval_key: one.sent
            for one in self._listeners
            if one.approval_key and not one.is_gone
        }

    async def serve(self, websocket: Any, venue: Venue) -> None:
        """Talk to one client until it leaves."""
        from starlette.websockets import WebSocketDisconnect, WebSocketState

        await websocket.accept()
        listener = Listener()
        listener.line = Line(
            self._injector,
            cut=lambda is_cut: listener.hang_up(is_cut=is_cut),
            forget=lambda: self._forget(listener, venue),
        )
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
        except WebSocketDisconnect:
            pass
        except RuntimeError:
            # What a socket says that has closed meanwhile; of an open one it is a fault of ours.
            if websocket.client_state is WebSocketState.CONNECTED:
                log.exception("실시간 접속 처리 실패")
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
                        _send(listener, text, venue)
            elif isinstance(event, Notified):
                self._notify(event, venue)
            else:
                self._tell_status(event, venue)
        for listener in self._listeners:
            for text in listener.line.settle(listener.keys):
                listener.send(text)

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
        is_in_use = any(
            other is not listener and other.owner == owner and not other.is_gone
            for other in self._listeners
        )
        fault = self._injector.on(Stage.REGISTRATION, session=venue.session, now=venue.now)
        variant = fault.kind.variant if fault is not None else ""
        if is_in_use or variant == "ghost":
            listener.send(_refusal("", "", "OPSP8996"))
            listener.hang_up()
            return
        if variant:
            code = {"approval": "OPSP0011", "unavailable": "OPSP0007"}[variant]
            listener.send(_refusal(tr_id, key, code))
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
        if tr_id == _INDEX_TR and self._has_indices:
            if key not in _INDEX_CODES:
                return "OPSP8992"
        elif tr_id not in {*self._by_symbol, self._notice_tr}:
            return "OPSP8991"
        elif tr_id in self._by_symbol:
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
            _send(listener, self._trade_frame(Traded(symbol, tape, index), venue), venue)

    def _notify(self, event: Notified, venue: Venue) -> None:
        owner = event.account.owner
        hts_id = self._gate.hts_id(owner)
        for listener in self._listeners:
            if listener.owner == owner and (self._notice_tr, hts_id) in listener.registered:
                iv, secret = listener.keys[self._notice_tr]
                record = self._notice_record(event, hts_id, venue)
                text = stream.frame_message(self._notice_tr, [record], iv=iv, secret=secret)
                _send(listener, text, venue)

    def _tell_status(self, event: Suspended, venue: Venue) -> None:
        symbol = event.suspension.symbol
        is_halt = event.suspension.kind is SuspensionKind.HALT
        status = MarketStatus(
            symbol=symbol,
            halted=is_halt and not event.is_over,
            interrupted=not is_halt and not event.is_over,
            operation="",
            reason="",
            ts_recv=venue.now,
        )
        text = stream.frame_message(_STATUS_TR, [render_status(status)])
        for listener in self._listeners:
            if (_STATUS_TR, symbol) in listener.registered:
                _send(listener, text, venue)

    def _notice_record(self, event: Notified, hts_id: str, venue: Venue) -> str:
        order = event.order
        instrument = venue.instruments[order.symbol]
        is_fill = event.kind is NoticeKind.FILLED
        is_refused = event.kind is NoticeKind.REFUSED
        # Our matching is immediate: what is received is confirmed, unless nothing came of it.
        acceptances = {NoticeKind.ACCEPTED: "1", NoticeKind.KILLED: "3"}
        kinds = {NoticeKind.CANCELED: OrderKind.CANCEL, NoticeKind.REVISED: OrderKind.REVISE}
        return stream.render_notice(
            self._market,
            Notice(
                account=event.account.number,
                order_id=order.number,
                original_order_id=order.original_number,
                side=order.side,
                kind=order.kind if is_refused else kinds.get(event.kind, OrderKind.NEW),
                symbol=order.symbol,
                quantity=event.quantity,
                price=event.price if is_fill else 0,
                time=values.korean_time(venue.now),
                is_fill=is_fill,
                is_refused=is_refused,
                acceptance=acceptances.get(event.kind, "2"),
                order_quantity=order.quantity,
                limit=order.limit,
                branch=BRANCH,
                name=instrument.name,
                customer=hts_id,
                exchange=instrument.exchange,
            ),
            is_former=self._notice_fields is NoticeFields.FORMER,
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
                open_ts=tape.times[0],
                high_ts=tape.times[tape.high_at[index]],
                low_ts=tape.times[tape.low_at[index]],
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

    def _forget(self, listener: Listener, venue: Venue) -> None:
        listener.registered.clear()
        self._tell_watched(venue)

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
            if listener.is_cut:
                websocket.scope["state"]["transport"].abort()
            else:
                await websocket.close()
            return
        await websocket.send_text(text)


def _send(listener: Listener, text: str, venue: Venue) -> None:
    """Send a data frame, as far as the faults of the day let it through."""
    for one in listener.line.pass_on(text, listener.keys, venue):
        listener.send(one)


def _refusal(tr_id: str, key: str, code: str, text: str = "") -> str:
    return _reply(tr_id, key, code, ok=False, text=text)


def _reply(tr_id: str, key: str, code: str, *, ok: bool, text: str = "") -> str:
    return stream.reply_message(
        stream.Reply(tr_id=tr_id, key=key, ok=ok, code=code, text=text, encrypted=False)
    )
