"""Calls for US shares: which endpoint, which TR id, which pages."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial

from trading.broker.rest import Priority, RestTransport
from trading.domain.account import Position, VenueAccount
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import Order, OrderAck, OrderIntent
from trading.errors import UsageError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import domestic as acks
from trading.wire import endpoints as at
from trading.wire import overseas as wire
from trading.wire import values
from trading.wire.endpoints import Profile
from trading.wire.records import (
    Book,
    BuyingPower,
    ChangeRequest,
    DailyRow,
    HolidayRow,
    ListedOrder,
    MinuteRow,
    OrderRequest,
    Page,
    RankRow,
)

log = get_logger(__name__)

_BARS_PER_CALL = 100
_MINUTES_PER_CALL = 120
_UNITED_STATES = "840"
_US_EXCHANGES = (Exchange.NASDAQ, Exchange.NYSE, Exchange.AMEX)


class OverseasCalls:
    """The calls of one account for US shares; ``instruments`` maps symbols."""

    def __init__(
        self,
        transport: RestTransport,
        *,
        profile: Profile,
        account: str,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        search_least_volume: int,
    ) -> None:
        self._transport = transport
        self._profile = profile
        self._account = account
        self._instruments = instruments
        self._clock = clock
        self._search_least_volume = search_least_volume

    def order_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of a new order."""
        request = OrderRequest(
            account=self._account,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit,
            exchange=intent.exchange,
        )
        return at.US_ORDER, wire.order_request(request), str(intent.side)

    def cancel_call(self, order: Order) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that cancel all that is left of ``order``."""
        request = ChangeRequest(
            account=self._account,
            original_order_id=order.venue_order_id,
            quantity=order.intent.quantity - order.filled_quantity,
            limit=0,
            symbol=order.intent.symbol,
            exchange=order.intent.exchange,
        )
        return at.US_CHANGE, wire.change_request(request)

    def parse_ack(self, body: Mapping[str, object]) -> OrderAck:
        """Read an acceptance."""
        return acks.parse_ack(body, self._clock.now())

    async def orders(self, session: date) -> list[ListedOrder]:
        """Return every order of ``session`` (a US date) with what was filled."""
        blank = self._profile is Profile.PAPER
        listed: list[ListedOrder] = []
        pages = self._transport.pages(
            at.US_ORDERS,
            lambda page: wire.orders_request(
                self._account, session, session, page, everything_blank=blank
            ),
        )
        async for body in pages:
            listed += wire.parse_orders(body)
        return listed

    async def account(self) -> VenueAccount:
        """Return dollar cash with unsettled trades, what may be spent, and holdings.

        Paper accounts answer no dollar cash; what may be spent stands in for it.
        """
        positions: dict[str, Position] = {}
        # The code of Nasdaq is the whole US on the real server and Nasdaq alone on paper.
        wanted = _US_EXCHANGES if self._profile is Profile.PAPER else (Exchange.NASDAQ,)
        for exchange in wanted:
            pages = self._transport.pages(
                at.US_BALANCE, partial(wire.balance_request, self._account, exchange=exchange)
            )
            async for body in pages:
                # Taken once each, never summed: an answer may hold the other exchanges' too.
                for holding in wire.parse_holdings(body):
                    positions[holding.symbol] = Position(
                        symbol=holding.symbol, quantity=holding.quantity, cost=holding.cost
                    )
        body = await self._transport.ask(
            at.US_PRESENT_BALANCE,
            wire.present_balance_request(self._account),
            priority=Priority.BALANCE,
        )
        balance = wire.parse_present_balance(body)
        some = next(iter(self._instruments), None)
        if some is None:
            raise UsageError("종목이 없어 주문가능금액을 조회할 수 없음")
        power = await self.buying_power(some, Market.US.currency.minor_per_unit)
        if balance is None:
            log.warning("외화 예수금 조회가 비어 있어 주문가능금액을 씀")
        return VenueAccount(
            cash=power.amount if balance is None else balance.cash_final,
            buying_power=power.amount,
            positions=positions,
        )

    async def buying_power(self, symbol: str, limit: int) -> BuyingPower:
        """Return what may be spent on ``symbol`` at ``limit``."""
        body = await self._transport.ask(
            at.US_BUYING_POWER,
            wire.buying_power_request(self._account, self._instrument(symbol), limit),
            priority=Priority.BALANCE,
        )
        return wire.parse_buying_power(body, limit)

    async def quote(self, symbol: str) -> Quote:
        """Return the current price; paper accounts know no open, high and low."""
        endpoint = at.US_PRICE_DETAIL
        if not endpoint.is_offered(self._profile):
            endpoint = at.US_PRICE
        body = await self._transport.ask(
            endpoint, wire.symbol_request(self._instrument(symbol)), priority=Priority.QUOTE
        )
        return wire.parse_price(body, symbol, self._clock.now())

    async def book(self, symbol: str) -> Book:
        """Return the order book; empty on paper accounts, which have none."""
        if not at.US_BOOK.is_offered(self._profile):
            log.warning("모의투자에는 해외 호가가 없음", symbol=symbol)
            return Book(symbol=symbol)
        body = await self._transport.ask(
            at.US_BOOK, wire.symbol_request(self._instrument(symbol)), priority=Priority.QUOTE
        )
        return wire.parse_book(body, symbol)

    def daily(self, symbol: str, first: date, last: date, *, adjusted: bool) -> list[DailyRow]:
        """Return daily bars, oldest first; blocks."""
        instrument = self._instrument(symbol)
        bars: dict[date, DailyRow] = {}
        end = last
        while end >= first:
            request = wire.daily_request(instrument, end, adjusted=adjusted)
            answer = self._transport.start(at.US_DAILY, request, priority=Priority.QUOTE)
            rows = wire.parse_daily(answer.result().body)
            bars.update((row.session, row) for row in rows if first <= row.session <= last)
            if len(rows) < _BARS_PER_CALL:
                break
            end = min(row.session for row in rows) - timedelta(days=1)
        return [bars[session] for session in sorted(bars)]

    def minutes(self, symbol: str) -> list[MinuteRow]:
        """Return today's minute bars so far, oldest first; blocks. Empty on paper accounts."""
        if not at.US_MINUTE.is_offered(self._profile):
            log.warning("모의투자에는 해외 분봉이 없음", symbol=symbol)
            return []
        today = values.local_date(self._clock.now(), Market.US)
        bars: dict[datetime, MinuteRow] = {}
        before: datetime | None = None
        while True:
            request = wire.minute_request(self._instrument(symbol), before)
            answer = self._transport.start(at.US_MINUTE, request, priority=Priority.QUOTE)
            rows = wire.parse_minute(answer.result().body)
            new = {
                row.start: row
                for row in rows
                if row.start not in bars and values.local_date(row.start, Market.US) == today
            }
            bars.update(new)
            if not new or len(rows) < _MINUTES_PER_CALL:
                return [bars[start] for start in sorted(bars)]
            before = min(new) - timedelta(minutes=1)

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the volume leaders of the three exchanges, largest first.

        Paper accounts have no ranking: a search by volume stands in for it.
        """
        is_ranked = at.US_VOLUME_RANK.is_offered(self._profile)
        rows: list[RankRow] = []
        for exchange in _US_EXCHANGES:
            if is_ranked:
                endpoint, request = at.US_VOLUME_RANK, wire.volume_rank_request(exchange)
            else:
                endpoint, request = (
                    at.US_SEARCH,
                    wire.search_request(exchange, least_volume=self._search_least_volume),
                )
            answer = self._transport.start(endpoint, request, priority=Priority.QUOTE)
            rows += wire.parse_volume_rank(answer.result().body)
        return tuple(sorted(rows, key=lambda row: (-row.volume, row.symbol)))

    def holidays(self, first: date) -> tuple[HolidayRow, ...]:
        """Return whether ``first`` is open: settlement dates are listed for open markets only."""
        if not at.US_HOLIDAYS.is_offered(self._profile):
            log.warning("모의투자에는 해외 휴장일 조회가 없음")
            return ()
        answer = self._transport.start(
            at.US_HOLIDAYS, wire.settlement_request(first, Page()), priority=Priority.QUOTE
        )
        rows = wire.parse_settlements(answer.result().body)
        is_open = any(row.country == _UNITED_STATES for row in rows)
        return (HolidayRow(day=first, is_open=is_open),)

    def stream_keys(self, symbols: list[str]) -> list[str]:
        """Return the WebSocket names of ``symbols``."""
        return [wire.stream_key(self._instrument(symbol)) for symbol in symbols]

    def _instrument(self, symbol: str) -> Instrument:
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise UsageError(f"거래소를 알 수 없는 종목: {symbol}")
        return instrument
