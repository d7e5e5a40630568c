"""Calls for Korean shares: which endpoint, which TR id, which pages."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from trading.broker.rest import Priority, RestTransport
from trading.domain.account import Position, VenueAccount
from trading.domain.instrument import Market
from trading.domain.market import Quote
from trading.domain.order import Order, OrderAck, OrderIntent
from trading.errors import TransientBrokerError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import domestic as wire
from trading.wire import endpoints as at
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

# Orders older than this are listed under another TR id.
_RECENT = timedelta(days=88)
_BARS_PER_CALL = 100
_LAST_MINUTE = "153000"
_FIRST_SECOND = values.seconds_of("090000")


class DomesticCalls:
    """The calls of one KRX account."""

    def __init__(
        self,
        transport: RestTransport,
        *,
        profile: Profile,
        account: str,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._profile = profile
        self._account = account
        self._clock = clock

    def order_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of a new order."""
        request = OrderRequest(
            account=self._account,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit,
        )
        return at.KRX_ORDER, wire.order_request(request), str(intent.side)

    def cancel_call(self, order: Order) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that cancel all that is left of ``order``."""
        request = ChangeRequest(
            account=self._account,
            original_order_id=order.venue_order_id,
            branch=order.branch,
            quantity=0,
            limit=0,
        )
        return at.KRX_CHANGE, wire.change_request(request)

    def parse_ack(self, body: Mapping[str, object]) -> OrderAck:
        """Read an acceptance."""
        return wire.parse_ack(body, self._clock.now())

    async def orders(self, session: date) -> list[ListedOrder]:
        """Return every order of ``session`` with what was filled."""
        today = values.local_date(self._clock.now(), Market.KRX)
        listed: list[ListedOrder] = []
        pages = self._transport.pages(
            at.KRX_ORDERS,
            lambda page: wire.orders_request(self._account, session, session, page),
            variant="" if today - session <= _RECENT else "old_days",
        )
        async for body in pages:
            rows = wire.parse_orders(body)
            sums = values.rows(body.get("output2"))
            if not rows and not listed and sums and values.integer(sums[0].get("tot_ord_qty")):
                # Seen on the paper server: the sums are there and the rows are not.
                raise TransientBrokerError("주문 목록이 비어 있으나 합계가 있음")
            listed += rows
        return listed

    async def account(self) -> VenueAccount:
        """Return cash (D+2), what may be spent, and holdings."""
        positions: dict[str, Position] = {}
        cash = 0
        pages = self._transport.pages(
            at.KRX_BALANCE, lambda page: wire.balance_request(self._account, page)
        )
        async for body in pages:
            balance = wire.parse_balance(body)
            cash = balance.cash_final
            for holding in balance.holdings:
                held = positions.get(holding.symbol)
                # A cash and a loan position of one share are two rows.
                positions[holding.symbol] = Position(
                    symbol=holding.symbol,
                    quantity=holding.quantity + (held.quantity if held else 0),
                    cost=holding.cost + (held.cost if held else 0),
                )
        power = await self.buying_power("", 0)
        return VenueAccount(cash=cash, buying_power=power.amount, positions=positions)

    async def buying_power(self, symbol: str, limit: int) -> BuyingPower:
        """Return what may be spent, for ``symbol`` at ``limit`` when given."""
        body = await self._transport.ask(
            at.KRX_BUYING_POWER,
            wire.buying_power_request(self._account, symbol, limit),
            priority=Priority.BALANCE,
        )
        return wire.parse_buying_power(body)

    async def quote(self, symbol: str) -> Quote:
        """Return the current price and today's limits."""
        body = await self._transport.ask(
            at.KRX_PRICE, wire.symbol_request(symbol), priority=Priority.QUOTE
        )
        return wire.parse_price(body, symbol, self._clock.now())

    async def book(self, symbol: str) -> Book:
        """Return the order book."""
        body = await self._transport.ask(
            at.KRX_BOOK, wire.symbol_request(symbol), priority=Priority.QUOTE
        )
        return wire.parse_book(body, symbol)

    def daily(self, symbol: str, first: date, last: date, *, adjusted: bool) -> list[DailyRow]:
        """Return daily bars, oldest first; blocks."""
        bars: dict[date, DailyRow] = {}
        end = last
        while end >= first:
            request = wire.daily_request(symbol, first, end, adjusted=adjusted)
            answer = self._transport.start(at.KRX_DAILY, request, priority=Priority.QUOTE)
            rows = wire.parse_daily(answer.result().body)
            bars.update((row.session, row) for row in rows if first <= row.session <= last)
            if len(rows) < _BARS_PER_CALL:
                break
            end = min(row.session for row in rows) - timedelta(days=1)
        return [bars[session] for session in sorted(bars)]

    def minutes(self, symbol: str) -> list[MinuteRow]:
        """Return today's minute bars so far, oldest first; blocks."""
        now = self._clock.now()
        today, clock_text = values.date_and_time(now, Market.KRX)
        # Asked for a later time than now, KIS fills the gap with the current price.
        time_text = min(clock_text, _LAST_MINUTE)
        bars: dict[datetime, MinuteRow] = {}
        while values.seconds_of(time_text) >= _FIRST_SECOND:
            request = wire.minute_request(symbol, time_text)
            answer = self._transport.start(at.KRX_MINUTE, request, priority=Priority.QUOTE)
            rows = wire.parse_minute(answer.result().body)
            rows = tuple(
                row for row in rows if values.date_and_time(row.start, Market.KRX)[0] == today
            )
            new = {row.start: row for row in rows if row.start not in bars}
            if not new:
                break
            bars.update(new)
            oldest = values.date_and_time(min(new), Market.KRX)[1]
            time_text = wire.earlier_minute(oldest)
        return [bars[start] for start in sorted(bars)]

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the day's volume leaders; empty on paper accounts, which have no ranking."""
        if not at.KRX_VOLUME_RANK.is_offered(self._profile):
            log.warning("모의투자에는 거래량 순위가 없음")
            return ()
        answer = self._transport.start(
            at.KRX_VOLUME_RANK, wire.volume_rank_request(), priority=Priority.QUOTE
        )
        return wire.parse_volume_rank(answer.result().body)

    def holidays(self, first: date) -> tuple[HolidayRow, ...]:
        """Return open and closed days from ``first`` on; empty on paper accounts.

        KIS asks for at most one such call a day.
        """
        if not at.KRX_HOLIDAYS.is_offered(self._profile):
            log.warning("모의투자에는 휴장일 조회가 없음")
            return ()
        answer = self._transport.start(
            at.KRX_HOLIDAYS, wire.holidays_request(first, Page()), priority=Priority.QUOTE
        )
        return wire.parse_holidays(answer.result().body)

    def stream_keys(self, symbols: list[str]) -> list[str]:
        """Return the WebSocket names of ``symbols``."""
        return symbols
