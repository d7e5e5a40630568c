"""The KIS client: one account, one market, over the wire.

The same object serves ``demo`` (the local exchange), ``paper`` and ``real``; only addresses,
profile and keys differ. Methods of ``Broker`` and ``MarketFeed`` are asynchronous; the data
calls (bars, ranking, holidays) block and belong outside the session's event loop.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading.broker.domestic import DomesticCalls
from trading.broker.domestic_data import DomesticData
from trading.broker.masters import MasterFiles
from trading.broker.overseas import OverseasCalls
from trading.broker.overseas_data import OverseasData
from trading.broker.rest import Priority, RestTransport
from trading.broker.settings import Credentials, KisSettings
from trading.broker.stream import KisStream
from trading.domain.account import VenueAccount
from trading.domain.instrument import Instrument, Market
from trading.domain.market import Quote, Tick
from trading.domain.order import Order, OrderAck, OrderIntent, VenueOrder
from trading.errors import (
    AuthenticationError,
    BrokerError,
    OrderNotSentError,
    OrderUnknownError,
    SchemaError,
    TradingError,
    TransientBrokerError,
    UsageError,
)
from trading.log import get_logger, register_secret
from trading.ports import Clock, FeedEvent
from trading.wire import auth as wire_auth
from trading.wire import stream as wire_stream
from trading.wire.domestic_reserves import ReservedOrder as DomesticReservedOrder
from trading.wire.endpoints import KRX_HOLIDAYS, KRX_VOLUME_RANK, Endpoint, Profile
from trading.wire.overseas_orders import ReservedOrder as OverseasReservedOrder
from trading.wire.records import (
    Book,
    BuyingPower,
    HolidayRow,
    ListedOrder,
    MinuteRow,
    OrderKind,
    RankRow,
)
from trading.wire.ticker import FEED_TR, PAPER_TRS, Feed

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
    is_background : bool, default=False
        Whether its questions wait behind those of a session with the same key: a back-fill.
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
        is_background: bool = False,
    ) -> None:
        profile = Profile(profile)
        for secret in (
            credentials.app_key, credentials.app_secret, credentials.account,
            credentials.account[:8], credentials.hts_id,
        ):  # fmt: skip
            if credentials.is_secret:
                register_secret(secret)
        self.market = market
        self.profile = profile
        self.instruments = dict(instruments)
        self.clock = clock
        self._send_hashkey = settings.send_hashkey
        self._trade_tr = wire_stream.TRADE_TR[market]
        # KIS streams US prices to real accounts only.
        self._streams_prices = market is not Market.US or profile is not Profile.PAPER
        # It refuses them with 40570000 before the open; every other venue takes them early.
        self.takes_orders_early = self._streams_prices
        self._streamed: set[str] = set()
        self._polled: dict[str, int] = {}
        self._polled_books: dict[str, None] = {}
        rng = random.Random(_JITTER_SEED)  # noqa: S311 (spreads retries, hides nothing)
        self._transport = RestTransport(
            settings,
            profile=profile,
            credentials=credentials,
            clock=clock,
            cache_dir=cache_dir,
            rng=rng,
            base=rest_base,
            is_background=is_background,
        )
        self.masters = MasterFiles(
            settings.master_base, directory=cache_dir / "masters", clock=clock
        )
        self._calls: DomesticCalls | OverseasCalls
        if market is Market.KRX:
            self._calls = DomesticCalls(
                self._transport,
                profile=profile,
                account=credentials.account,
                clock=clock,
                cache_dir=cache_dir,
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
            quote=self._calls.quote,
            minutes=self._todays_minutes,
        )

    # --- Broker --------------------------------------------------------------------------

    async def submit(self, intent: OrderIntent) -> OrderAck:
        """Send one order, once; see ``ports.Broker``.

        ``UsageError`` for what the venue or the account does not take: nothing was sent.
        """
        self._check_whole(intent)
        return await self._send(*self._calls.order_call(intent), Priority.ORDER)

    async def cancel(self, order: Order, quantity: int = 0) -> OrderAck:
        """Cancel what is still open, or ``quantity`` of it; the acknowledgement is the request's."""
        self._check_numbered(order)
        endpoint, fields = self._calls.cancel_call(order, quantity)
        return await self._send(endpoint, fields, "", Priority.CANCEL)

    async def revise(self, order: Order, limit: int, quantity: int = 0) -> OrderAck:
        """Give what is still open of ``order``, or ``quantity`` of it, another price.

        The acknowledgement carries the number of the order that takes its place.
        """
        self._check_numbered(order)
        endpoint, fields = self._calls.revise_call(order, limit, quantity)
        return await self._send(endpoint, fields, "", Priority.ORDER)

    async def submit_daytime(self, intent: OrderIntent) -> OrderAck:
        """Send one order to the US daytime market (10:00 to 18:00 in Seoul), once."""
        self._check_whole(intent)
        return await self._send(*self.overseas.daytime_order_call(intent), Priority.ORDER)

    async def cancel_daytime(self, order: Order, quantity: int = 0) -> OrderAck:
        """Cancel what is still open of a daytime order, or ``quantity`` of it."""
        self._check_numbered(order)
        endpoint, fields = self.overseas.cancel_call(order, quantity, daytime=True)
        return await self._send(endpoint, fields, "", Priority.CANCEL)

    async def revise_daytime(self, order: Order, limit: int, quantity: int = 0) -> OrderAck:
        """Give a daytime order, or ``quantity`` shares of it, another price."""
        self._check_numbered(order)
        endpoint, fields = self.overseas.revise_call(order, limit, quantity, daytime=True)
        return await self._send(endpoint, fields, "", Priority.ORDER)

    async def orders(self, session: date) -> Sequence[VenueOrder]:
        """Return every order of ``session``, ended ones included, by order number.

        Cancel requests, which KIS lists as rows of their own, are left out: what they took shows
        in the original. Raises rather than return half a listing.
        """
        listed = await self._calls.orders(session)
        unique = {row.order.venue_order_id: row.order for row in listed
                  if row.kind is not OrderKind.CANCEL}  # fmt: skip
        return [unique[number] for number in sorted(unique)]

    async def open_orders(self, session: date) -> Sequence[ListedOrder]:
        """Return the orders of ``session`` that may still be filled, by order number."""
        listed = await self._calls.open_orders(session)
        return sorted(listed, key=lambda row: row.order.venue_order_id)

    async def reserve(self, intent: OrderIntent) -> tuple[str, date]:
        """Place an order for the next session; returns the reservation's number and its day."""
        self._check_whole(intent)
        endpoint, fields, variant = self._calls.reserve_call(intent)
        body = await self._post(endpoint, fields, variant, Priority.ORDER)
        try:
            return self._calls.parse_reserved(body)
        except SchemaError as error:
            raise OrderUnknownError(str(error)) from error

    async def revise_reserved(
        self, number: str, received_on: date, intent: OrderIntent, last: date | None = None
    ) -> None:
        """Make another order of a reservation in a Korean account; it keeps its number."""
        self._check_whole(intent)
        call = self.domestic.revise_reserved_call(number, received_on, intent, last)
        await self._post(*call, Priority.ORDER)

    async def cancel_reserved(self, number: str, received_on: date) -> None:
        """Cancel a reservation that was made on ``received_on``."""
        endpoint, fields, variant = self._calls.cancel_reserved_call(number, received_on)
        await self._post(endpoint, fields, variant, Priority.CANCEL)

    async def reserved_orders(
        self, first: date, last: date
    ) -> Sequence[DomesticReservedOrder] | Sequence[OverseasReservedOrder]:
        """Return the reservations of a range of days, canceled ones included."""
        return await self._calls.reserved_orders(first, last)

    async def sellable(self, symbol: str) -> int:
        """Return how many shares of ``symbol`` may be sold now."""
        return await self._calls.sellable(symbol)

    @property
    def transport(self) -> RestTransport:
        """The REST side of the account, for questions that are not about trading."""
        return self._transport

    @property
    def domestic(self) -> DomesticCalls:
        """The calls that only a Korean account has; ``UsageError`` on a US one."""
        if not isinstance(self._calls, DomesticCalls):
            raise UsageError("국내 계좌의 기능임")
        return self._calls

    @property
    def overseas(self) -> OverseasCalls:
        """The calls that only a US account has; ``UsageError`` on a Korean one."""
        if not isinstance(self._calls, OverseasCalls):
            raise UsageError("해외 계좌의 기능임")
        return self._calls

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

        Where the venue streams no prices (US on paper), or not of so many symbols (an account that
        came with more holdings than one connection carries), ``poll`` must be called as well.
        """
        await self._stream.connect()
        new = [symbol for symbol in symbols if symbol not in self._streamed]
        room = self._stream.room if self._streams_prices else 0
        streamed, polled = new[:room], new[room:]
        await self._stream.register(self._trade_tr, self._calls.stream_keys(streamed))
        self._streamed |= set(streamed)
        if polled:
            reason = "실시간 등록 자리가 모자람" if streamed else "실시간으로 받을 수 없음"
            log.warning("일부 종목은 현재가를 조회함", symbols=polled, reason=reason)
            self._polled = dict.fromkeys(polled, -1) | self._polled
        await self._watch_status(symbols)

    @property
    def polls_prices(self) -> bool:
        """Whether the prices of some symbols must be asked for, see ``poll``."""
        return not self._streams_prices or bool(self._polled)

    async def _watch_status(self, symbols: Sequence[str]) -> None:
        """Have halts and interruptions of ``symbols`` come as events, as far as there is room.

        Without them a halt ends, for whoever asks, with the next print.
        """
        tr_id = FEED_TR.get((self.market, Feed.STATUS))
        if tr_id is None or not self._is_streamed(tr_id):
            return
        try:
            await self._stream.register(tr_id, list(symbols)[: self._stream.room])
        except BrokerError as error:
            log.warning("장운영 정보를 등록하지 못함", reason=str(error))

    async def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Give the prints of ``symbols`` back."""
        for symbol in symbols:
            self._polled.pop(symbol, None)
            self._streamed.discard(symbol)
        await self._stream.unregister(self._trade_tr, self._calls.stream_keys(list(symbols)))
        status_tr = FEED_TR.get((self.market, Feed.STATUS))
        if status_tr is not None:
            await self._stream.unregister(status_tr, list(symbols))

    async def poll(self, symbols: Sequence[str] | None = None) -> int:
        """Ask for the prices of symbols without a stream; returns how many had traded.

        ``symbols`` are some of those subscribed, all when not given; those whose prints are
        streamed are left out. The volume of such a tick is what was traded since the last poll.
        What is wrong with one symbol is raised once all others were asked for: their stops follow
        these prices.
        """
        count = 0
        trouble: TradingError | None = None
        for symbol in list(self._polled) if symbols is None else symbols:
            if symbol in self._streamed:
                continue
            before = self._polled.get(symbol, -1)
            try:
                quote = await self._calls.quote(symbol)
            except (TransientBrokerError, AuthenticationError):
                raise
            except TradingError as error:
                trouble = trouble or error
                continue
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
        for symbol in list(self._polled_books):
            self._stream.push(await self._calls.book(symbol))
        if trouble is not None:
            raise trouble
        return count

    async def watch_books(self, symbols: Sequence[str]) -> None:
        """Have the order books of ``symbols`` come as events, for as long as an order works.

        They are streamed while the venue takes registrations, the rest comes with ``poll``.
        """
        tr_id = FEED_TR[self.market, Feed.BOOK]
        new = [symbol for symbol in symbols if symbol not in self._polled_books]
        room = self._stream.room if self._is_streamed(tr_id) else 0
        await self._stream.register(tr_id, self._calls.stream_keys(new[:room]))
        self._polled_books |= dict.fromkeys(new[room:])

    async def unwatch_books(self, symbols: Sequence[str]) -> None:
        """Give the order books of ``symbols`` back."""
        for symbol in symbols:
            self._polled_books.pop(symbol, None)
        tr_id = FEED_TR[self.market, Feed.BOOK]
        await self._stream.unregister(tr_id, self._calls.stream_keys(list(symbols)))

    async def heal(self) -> None:
        """Find prints that were missed and that no later print has shown; see ``KisStream.heal``."""
        await self._stream.heal()

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

    @property
    def data(self) -> DomesticData | OverseasData:
        """Market data; every call blocks."""
        return self._calls.data

    def daily_bars(self, symbol: str, first: date, last: date) -> "pd.DataFrame":
        """Return raw daily bars with the vendor's adjusted close; columns of ``DAILY_BARS``.

        The bar of a running session is what has traded so far.
        """
        from trading.broker.history import daily_frame

        raw = self.data.daily(symbol, first, last, adjusted=False)
        adjusted = self.data.daily(symbol, first, last, adjusted=True)
        return daily_frame(self.instruments[symbol], raw, adjusted, self.clock.now())

    def minute_bars(self, symbol: str) -> "pd.DataFrame":
        """Return today's minute bars so far; columns of ``MINUTE_BARS``."""
        from trading.broker.history import minute_frame

        rows = self.data.minutes(symbol)
        return minute_frame(self.instruments[symbol], rows, self.clock.now())

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the volume leaders, largest first; empty where the venue has no ranking."""
        if self.market is Market.KRX and self.profile is Profile.PAPER:
            log.warning(KRX_VOLUME_RANK.absence(self.profile))
            return ()
        return self.data.volume_rank()

    def holidays(self, first: date) -> tuple[HolidayRow, ...]:
        """Return open and closed days from ``first`` on, as far as the venue tells."""
        if self.market is Market.KRX and self.profile is Profile.PAPER:
            log.warning(KRX_HOLIDAYS.absence(self.profile))
            return ()
        return self.data.holidays(first)

    # --- helpers -------------------------------------------------------------------------

    @staticmethod
    def _check_whole(intent: OrderIntent) -> None:
        # A float that got past the types would be sent as it is written.
        if not isinstance(intent.quantity, int) or not isinstance(intent.limit, int):
            raise UsageError(
                f"소수점 주문은 받지 않음: {intent.symbol} {intent.quantity}주 × {intent.limit}"
            )
        if intent.quantity <= 0:
            raise UsageError(f"주문 수량이 1주보다 적음: {intent.symbol} {intent.quantity}주")

    @staticmethod
    def _check_numbered(order: Order) -> None:
        if not order.venue_order_id:
            raise UsageError(f"주문번호 없는 주문은 바꿀 수 없음: {order.intent.intent_id}")

    async def _send(
        self, endpoint: Endpoint, fields: dict[str, str], variant: str, priority: Priority
    ) -> OrderAck:
        body = await self._post(endpoint, fields, variant, priority)
        try:
            return self._calls.parse_ack(body)
        except SchemaError as error:
            # Accepted, but under which number is not known: the listing must tell.
            raise OrderUnknownError(str(error)) from error

    async def _post(
        self, endpoint: Endpoint, fields: dict[str, str], variant: str, priority: Priority
    ) -> Mapping[str, Any]:
        if not endpoint.is_offered(self.profile):
            raise UsageError(endpoint.absence(self.profile))
        hashkey = ""
        if self._send_hashkey:
            try:
                answer = await asyncio.wrap_future(self._transport.hashkey(fields))
                hashkey = wire_auth.parse_hashkey(answer.body)
            except (BrokerError, SchemaError) as error:
                # The order itself has not left yet: a definite "not accepted".
                code = error.code if isinstance(error, BrokerError) else ""
                raise OrderNotSentError(f"해시키 발급 실패: {error}", code=code) from error
        return await self._transport.ask(
            endpoint, fields, priority=priority, variant=variant, hashkey=hashkey
        )

    def _is_streamed(self, tr_id: str) -> bool:
        return self.profile is Profile.REAL or tr_id in PAPER_TRS

    async def _todays_minutes(self, symbol: str, since: datetime) -> Sequence[MinuteRow]:
        return await asyncio.to_thread(self._calls.data.minutes, symbol, since)

    async def _approve(self) -> str:
        answer = await asyncio.wrap_future(self._transport.approval_key())
        key = wire_auth.parse_approval(answer.body)
        register_secret(key)
        return key
