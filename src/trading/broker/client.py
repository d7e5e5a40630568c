"""The KIS client: one account, one market, over the wire.

The same object serves ``demo`` (the local exchange), ``paper`` and ``real``; only addresses,
profile and keys differ. Methods of ``Broker`` and ``MarketFeed`` are asynchronous; the data
calls (bars, ranking, holidays) block and belong outside the session's event loop.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from trading.broker.domestic import DomesticCalls
from trading.broker.overseas import OverseasCalls
from trading.broker.rest import Priority, RestTransport
from trading.broker.settings import Credentials, KisSettings
from trading.broker.stream import KisStream
from trading.domain.account import VenueAccount
from trading.domain.instrument import Instrument, Market
from trading.domain.market import Quote, Tick
from trading.domain.order import Order, OrderAck, OrderIntent, OrderType, VenueOrder
from trading.errors import (
    BrokerError,
    OrderRejectedError,
    OrderUnknownError,
    SchemaError,
    TransientBrokerError,
    UsageError,
)
from trading.log import get_logger, register_secret
from trading.ports import Clock, FeedEvent
from trading.wire import auth as wire_auth
from trading.wire import stream as wire_stream
from trading.wire.endpoints import Endpoint, Profile
from trading.wire.records import Book, BuyingPower, HolidayRow, OrderKind, RankRow

if TYPE_CHECKING:
    import pandas as pd

log = get_logger(__name__)

_JITTER_SEED = 0x4B4953


class KisClient:
    """Broker and market feed of one KIS account for one market.

    Parameters
    ----------
    instruments : mapping of symbol to Instrument
        Every share that may be traded or asked for; tells the exchange of a US symbol.
    clock : Clock
        The venue's clock: token life and receipt times follow it, pacing does not.
    cache_dir : Path
        Folder of the token file.
    rest_base, ws_base : str, optional
        Addresses of another venue than the profile's own: the local exchange.
    """

    def __init__(
        self,
        settings: KisSettings,
        *,
        profile: Profile | str,
        market: Market,
        instruments: Mapping[str, Instrument],
        credentials: Credentials,
        clock: Clock,
        cache_dir: Path,
        rest_base: str | None = None,
        ws_base: str | None = None,
    ) -> None:
        profile = Profile(profile)
        for secret in (
            credentials.app_key, credentials.app_secret, credentials.account,
            credentials.account[:8], credentials.hts_id,
        ):  # fmt: skip
            register_secret(secret)
        self.market = market
        self.profile = profile
        self.instruments = dict(instruments)
        self.clock = clock
        self._send_hashkey = settings.send_hashkey
        self._trade_tr = wire_stream.TRADE_TR[market]
        # KIS streams US prices to real accounts only; see ``poll``.
        self.polls_prices = market is Market.US and profile is Profile.PAPER
        self._polled: dict[str, int] = {}
        rng = random.Random(_JITTER_SEED)
        self._transport = RestTransport(
            settings,
            profile=profile,
            credentials=credentials,
            clock=clock,
            cache_dir=cache_dir,
            rng=rng,
            base=rest_base,
        )
        self._calls: DomesticCalls | OverseasCalls
        if market is Market.KRX:
            self._calls = DomesticCalls(
                self._transport,
                profile=profile,
                account=credentials.account,
                clock=clock,
            )
        else:
            self._calls = OverseasCalls(
                self._transport,
                profile=profile,
                account=credentials.account,
                instruments=self.instruments,
                clock=clock,
                search_least_volume=settings.us_search_least_volume,
            )
        self._stream = KisStream(
            ws_base or settings.profiles[profile].ws_base,
            settings=settings.stream,
            approve=self._approve,
            notice=(wire_stream.NOTICE_TR[market, profile], credentials.hts_id),
            account=credentials.account,
            clock=clock,
            rng=rng,
        )

    # --- Broker --------------------------------------------------------------------------

    async def submit(self, intent: OrderIntent) -> OrderAck:
        """Send one limit order, once; see ``ports.Broker``."""
        if intent.order_type is not OrderType.LIMIT:
            raise UsageError(f"보낼 수 없는 주문 유형: {intent.order_type}")
        endpoint, fields, variant = self._calls.order_call(intent)
        return await self._send(endpoint, fields, variant, Priority.ORDER)

    async def cancel(self, order: Order) -> OrderAck:
        """Cancel what is still open; the acknowledgement is the cancel request's own."""
        if not order.venue_order_id:
            raise UsageError(f"주문번호 없는 주문은 취소할 수 없음: {order.intent.intent_id}")
        endpoint, fields = self._calls.cancel_call(order)
        return await self._send(endpoint, fields, "", Priority.CANCEL)

    async def orders(self, session: date) -> Sequence[VenueOrder]:
        """Return every order of ``session``, ended ones included, by order number.

        Cancel requests, which KIS lists as rows of their own, are left out: what they took shows
        in the original. Raises rather than return half a listing.
        """
        listed = await self._calls.orders(session)
        unique = {row.order.venue_order_id: row.order for row in listed
                  if row.kind is not OrderKind.CANCEL}  # fmt: skip
        return [unique[number] for number in sorted(unique)]

    async def account(self) -> VenueAccount:
        """Return cash, buying power and holdings.

        An answer without cash and without holdings is taken for the passing fault that it is at
        KIS: ``TransientBrokerError``.
        """
        account = await self._calls.account()
        if not account.positions and not account.cash and not account.buying_power:
            raise TransientBrokerError("잔고 응답이 비어 있음")
        return account

    async def quote(self, symbol: str) -> Quote:
        """Return the current price and daily limits."""
        return await self._calls.quote(symbol)

    async def book(self, symbol: str) -> Book:
        """Return the order book; empty where the venue has none."""
        return await self._calls.book(symbol)

    async def buying_power(self, symbol: str, limit: int) -> BuyingPower:
        """Return what may be spent on ``symbol`` at ``limit`` minor units."""
        return await self._calls.buying_power(symbol, limit)

    # --- MarketFeed ----------------------------------------------------------------------

    async def subscribe(self, symbols: Sequence[str]) -> None:
        """Ask for the prints of ``symbols``; notices are registered with the connection.

        Where the venue streams no prices (US on paper), ``poll`` must be called instead.
        """
        await self._stream.connect()
        if self.polls_prices:
            log.warning(
                "모의투자에는 해외 실시간 시세가 없어 현재가를 조회함", symbols=len(symbols)
            )
            for symbol in symbols:
                self._polled.setdefault(symbol, -1)
            return
        await self._stream.register(self._trade_tr, self._calls.stream_keys(list(symbols)))

    async def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Give the prints of ``symbols`` back."""
        for symbol in symbols:
            self._polled.pop(symbol, None)
        await self._stream.unregister(self._trade_tr, self._calls.stream_keys(list(symbols)))

    async def poll(self) -> int:
        """Ask for the prices of symbols without a stream; returns how many had traded.

        The volume of such a tick is what was traded since the last poll.
        """
        count = 0
        for symbol, before in list(self._polled.items()):
            quote = await self._calls.quote(symbol)
            self._polled[symbol] = quote.volume
            if before >= 0 and quote.volume > before:
                tick = Tick(
                    symbol=symbol,
                    price=quote.price,
                    volume=quote.volume - before,
                    cumulative_volume=quote.volume,
                    ts_event=quote.ts_event,
                    ts_recv=self.clock.now(),
                )
                self._stream.push(tick)
                count += 1
        return count

    async def events(self) -> AsyncIterator[FeedEvent]:
        """Yield events as they arrive, until ``close``."""
        while (event := await self._stream.next_event()) is not None:
            yield event

    def drain(self) -> list[FeedEvent]:
        """Return the events that have arrived, without waiting; for lock-step."""
        return self._stream.drain()

    async def arrived(self, timeout_seconds: float) -> bool:
        """Wait until an event is there to be drained, at most that long."""
        return await self._stream.arrived(timeout_seconds)

    async def wait_handled(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Wait until ``count`` text messages of this connection have become events."""
        await self._stream.wait_handled(count, timeout_seconds=timeout_seconds)

    @property
    def frames_handled(self) -> int:
        """Text messages of this connection that have become events."""
        return self._stream.frames_handled

    @property
    def connections(self) -> int:
        """How often the stream has connected; when it grows, prints and notices were missed."""
        return self._stream.connections

    @property
    def approval_key(self) -> str:
        """The key under which the venue knows this connection; "" before ``subscribe``."""
        return self._stream.approval_key

    @property
    def call_counts(self) -> tuple[int, int]:
        """REST calls that succeeded and failed so far."""
        return self._transport.successes, self._transport.failures

    async def close(self) -> None:
        """Disconnect; unsent calls fail."""
        await self._stream.close()
        await asyncio.to_thread(self._transport.close)

    # --- data, blocking ------------------------------------------------------------------

    def daily_bars(self, symbol: str, first: date, last: date) -> "pd.DataFrame":
        """Return raw daily bars with the vendor's adjusted close; columns of ``DAILY_BARS``.

        The bar of a running session is what has traded so far.
        """
        from trading.broker.history import daily_frame

        raw = self._calls.daily(symbol, first, last, adjusted=False)
        adjusted = self._calls.daily(symbol, first, last, adjusted=True)
        return daily_frame(self.instruments[symbol], raw, adjusted, self.clock.now())

    def minute_bars(self, symbol: str) -> "pd.DataFrame":
        """Return today's minute bars so far; columns of ``MINUTE_BARS``."""
        from trading.broker.history import minute_frame

        rows = self._calls.minutes(symbol)
        return minute_frame(self.instruments[symbol], rows, self.clock.now())

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the volume leaders, largest first; empty where the venue has no ranking."""
        return self._calls.volume_rank()

    def holidays(self, first: date) -> tuple[HolidayRow, ...]:
        """Return open and closed days from ``first`` on, as far as the venue tells."""
        return self._calls.holidays(first)

    # --- helpers -------------------------------------------------------------------------

    async def _send(
        self, endpoint: Endpoint, fields: dict[str, str], variant: str, priority: Priority
    ) -> OrderAck:
        hashkey = ""
        if self._send_hashkey:
            try:
                answer = await asyncio.wrap_future(self._transport.hashkey(fields))
                hashkey = wire_auth.parse_hashkey(answer.body)
            except (BrokerError, SchemaError) as error:
                # The order itself has not left yet: a definite "not accepted".
                code = error.code if isinstance(error, BrokerError) else ""
                raise OrderRejectedError(f"해시키 발급 실패: {error}", code=code) from error
        body = await self._transport.ask(
            endpoint, fields, priority=priority, variant=variant, hashkey=hashkey
        )
        try:
            return self._calls.parse_ack(body)
        except SchemaError as error:
            # Accepted, but under which number is not known: the listing must tell.
            raise OrderUnknownError(str(error)) from error

    async def _approve(self) -> str:
        answer = await asyncio.wrap_future(self._transport.approval_key())
        key = wire_auth.parse_approval(answer.body)
        register_secret(key)
        return key
