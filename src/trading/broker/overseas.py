"""Calls of one account for US shares: which endpoint, which TR id, which pages.

Market data is in ``overseas_data``.
"""

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

from trading.broker.listings import whole_listing
from trading.broker.overseas_data import OverseasData
from trading.broker.rest import Priority, RestTransport
from trading.domain.account import Position, VenueAccount
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import Order, OrderAck, OrderIntent, OrderType, Side
from trading.errors import UsageError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import accounts, values
from trading.wire import endpoints as at
from trading.wire import overseas_account as money
from trading.wire import overseas_orders as wire
from trading.wire import overseas_quotes as quotes
from trading.wire.endpoints import Profile
from trading.wire.order_codes import takes_overseas
from trading.wire.overseas_account import (
    KeptBalance,
    Margin,
    ProfitRow,
    ProfitTotal,
    SettledTrade,
    SettledTradeTotal,
)
from trading.wire.overseas_codes import US_EXCHANGES, stream_key
from trading.wire.overseas_orders import ReservedOrder
from trading.wire.records import (
    Book,
    BuyingPower,
    ChangeRequest,
    Holding,
    ListedOrder,
    OrderKind,
    OrderRequest,
)

log = get_logger(__name__)


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
        self.data = OverseasData(
            transport,
            profile=profile,
            instruments=instruments,
            clock=clock,
            search_least_volume=search_least_volume,
        )
        self._transport = transport
        self._profile = profile
        self._account = account
        self._instruments = instruments
        self._clock = clock

    # --- orders --------------------------------------------------------------------------

    def order_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of a new order.

        Raises ``UsageError`` for an order that KIS does not take, before anything is sent.
        """
        self._check_type(intent.side, intent.order_type)
        return at.US_ORDER, wire.order_request(self._request(intent)), str(intent.side)

    def daytime_order_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of an order for the US daytime market.

        It is open from 10:00 to 18:00 in Seoul, for limit orders on selected shares.
        """
        if intent.order_type is not OrderType.LIMIT:
            raise UsageError(f"미국 주간거래는 지정가만 받음: {intent.order_type}")
        self._check_offered(at.US_DAYTIME_ORDER)
        return at.US_DAYTIME_ORDER, wire.order_request(self._request(intent)), str(intent.side)

    def cancel_call(
        self, order: Order, quantity: int = 0, *, daytime: bool = False
    ) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that cancel ``quantity`` shares of ``order``, 0 for the rest.

        KIS wants the quantity named.
        """
        return self._change_call(order, quantity, 0, is_cancel=True, daytime=daytime)

    def revise_call(
        self, order: Order, limit: int, quantity: int = 0, *, daytime: bool = False
    ) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that give ``quantity`` shares of ``order`` another price."""
        if order.intent.order_type in wire.SCHEDULED:
            raise UsageError(f"정정할 수 없는 주문 유형: {order.intent.order_type}")
        return self._change_call(order, quantity, limit, is_cancel=False, daytime=daytime)

    def parse_ack(self, body: Mapping[str, object]) -> OrderAck:
        """Read an acceptance."""
        return accounts.parse_ack(body, self._clock.now())

    async def orders(self, session: date) -> list[ListedOrder]:
        """Return every order of ``session`` (a US date) with what was filled."""
        blank = self._profile is Profile.PAPER
        pages = self._transport.pages(
            at.US_ORDERS,
            lambda page: wire.orders_request(
                self._account, session, session, page, everything_blank=blank
            ),
        )
        return await whole_listing(pages, wire.parse_orders)

    async def open_orders(self, session: date) -> list[ListedOrder]:
        """Return the orders of ``session`` that may still be filled, on all US exchanges.

        Paper accounts have no such listing: the orders of the day are looked through instead.
        """
        if not at.US_OPEN_ORDERS.is_offered(self._profile):
            return [
                row
                for row in await self.orders(session)
                if row.order.open_quantity and row.kind is not OrderKind.CANCEL
            ]
        pages = self._transport.pages(
            at.US_OPEN_ORDERS, partial(wire.open_orders_request, self._account)
        )
        return await whole_listing(pages, wire.parse_open_orders)

    # --- reserved orders -----------------------------------------------------------------

    def reserve_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of an order that waits for the next session."""
        self._check_type(intent.side, intent.order_type)
        return at.US_RESERVE, wire.reserve_request(self._request(intent)), str(intent.side)

    def parse_reserved(self, body: Mapping[str, Any]) -> tuple[str, date]:
        """Read number and day of a reservation; without a day it is today in Korea."""
        return wire.parse_reserved(body, values.local_date(self._clock.now(), Market.KRX))

    def cancel_reserved_call(
        self, number: str, received_on: date
    ) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant that cancel a reservation."""
        request = wire.cancel_reserved_request(self._account, number, received_on)
        return at.US_RESERVE_CANCEL, request, ""

    async def reserved_orders(self, first: date, last: date) -> list[ReservedOrder]:
        """Return the reservations of a range of Korean days, canceled ones included."""
        found: dict[tuple[date, str], ReservedOrder] = {}
        for exchange in US_EXCHANGES:
            pages = self._transport.pages(
                at.US_RESERVES,
                lambda page, exchange=exchange: wire.reserves_request(  # type: ignore[misc]
                    self._account, first, last, exchange, page
                ),
            )
            async for body in pages:
                found.update(((row.received_on, row.number), row)
                             for row in wire.parse_reserves(body))  # fmt: skip
        return [found[key] for key in sorted(found)]

    # --- account -------------------------------------------------------------------------

    async def account(self) -> VenueAccount:
        """Return dollar cash with unsettled trades, what may be spent, and holdings.

        Paper accounts answer no dollar cash; what may be spent stands in for it.
        """
        holdings = await self.holdings()
        body = await self._ask(at.US_PRESENT_BALANCE, money.present_balance_request(self._account))
        balance = money.parse_present_balance(body)
        some = next(iter(self._instruments), None)
        if some is None:
            raise UsageError("종목이 없어 주문가능금액을 조회할 수 없음")
        power = await self.buying_power(some, Market.US.currency.minor_per_unit)
        if balance is None:
            log.warning("외화 예수금 조회가 비어 있어 주문가능금액을 씀")
        return VenueAccount(
            cash=power.amount if balance is None else balance.cash_final,
            cash_step=_CENT if balance is None else 1,
            buying_power=power.amount,
            positions={
                symbol: Position(symbol=symbol, quantity=row.quantity, cost=row.cost)
                for symbol, row in holdings.items()
            },
        )

    async def holdings(self) -> dict[str, Holding]:
        """Return the US holdings by symbol."""
        found: dict[str, Holding] = {}
        # The code of Nasdaq is the whole US on the real server and Nasdaq alone on paper.
        wanted = US_EXCHANGES if self._profile is Profile.PAPER else (Exchange.NASDAQ,)
        for exchange in wanted:
            pages = self._transport.pages(
                at.US_BALANCE, partial(money.balance_request, self._account, exchange=exchange)
            )
            async for body in pages:
                # Taken once each, never summed: an answer may hold the other exchanges' too.
                found.update((row.symbol, row) for row in money.parse_holdings(body))
        return found

    async def sellable(self, symbol: str) -> int:
        """Return how many shares of ``symbol`` may be sold now."""
        holding = (await self.holdings()).get(symbol)
        return holding.sellable if holding is not None else 0

    async def buying_power(self, symbol: str, limit: int) -> BuyingPower:
        """Return what may be spent on ``symbol`` at ``limit``."""
        request = money.buying_power_request(self._account, self.data.instrument(symbol), limit)
        return money.parse_buying_power(await self._ask(at.US_BUYING_POWER, request), limit)

    async def present_balance(self) -> KeptBalance:
        """Return holdings and currencies by execution; paper fills the totals only."""
        request = money.present_balance_request(self._account)
        return money.parse_kept(await self._ask(at.US_PRESENT_BALANCE, request))

    async def settled_balance(self, day: date) -> KeptBalance:
        """Return holdings and currencies as settled on ``day``."""
        request = money.settled_balance_request(self._account, day)
        return money.parse_kept(await self._ask(at.US_SETTLED_BALANCE, request))

    async def margins(self) -> tuple[Margin, ...]:
        """Return the money of every currency and what orders may take of it."""
        return money.parse_margins(
            await self._ask(at.US_MARGINS, money.margins_request(self._account))
        )

    async def period_profit(
        self, first: date, last: date
    ) -> tuple[list[ProfitRow], ProfitTotal | None]:
        """Return what the sales of a range of days realized, by day and share and in all."""
        rows: list[ProfitRow] = []
        total = None
        pages = self._transport.pages(
            at.US_PERIOD_PROFIT, partial(money.period_profit_request, self._account, first, last)
        )
        async for body in pages:
            more, total = money.parse_period_profit(body)
            rows += more
        return rows, total

    async def period_trades(
        self, first: date, last: date
    ) -> tuple[list[SettledTrade], SettledTradeTotal | None]:
        """Return the trades of a range of days with their fees, and their sums."""
        rows: list[SettledTrade] = []
        total = None
        pages = self._transport.pages(
            at.US_PERIOD_TRADES, partial(money.period_trades_request, self._account, first, last)
        )
        async for body in pages:
            more, total = money.parse_period_trades(body)
            rows += more
        return rows, total

    # --- quotes --------------------------------------------------------------------------

    async def quote(self, symbol: str) -> Quote:
        """Return the current price; paper accounts know no open, high and low."""
        request = quotes.symbol_request(self.data.instrument(symbol))
        body = await self._transport.ask(self.data.price_endpoint, request, priority=Priority.QUOTE)
        return quotes.parse_price(body, symbol, self._clock.now())

    async def book(self, symbol: str) -> Book:
        """Return the order book; empty on paper accounts, which have none."""
        if not at.US_BOOK.is_offered(self._profile):
            log.warning("모의투자에는 해외 호가가 없음", symbol=symbol)
            return Book(symbol=symbol)
        request = quotes.symbol_request(self.data.instrument(symbol))
        body = await self._transport.ask(at.US_BOOK, request, priority=Priority.QUOTE)
        return quotes.parse_book(body, symbol)

    def stream_keys(self, symbols: list[str]) -> list[str]:
        """Return the WebSocket names of ``symbols``."""
        return [stream_key(self.data.instrument(symbol)) for symbol in symbols]

    # --- helpers -------------------------------------------------------------------------

    def _request(self, intent: OrderIntent) -> OrderRequest:
        return OrderRequest(
            account=self._account,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit if intent.order_type.names_price else 0,
            exchange=intent.exchange,
            order_type=intent.order_type,
        )

    def _change_call(
        self, order: Order, quantity: int, limit: int, *, is_cancel: bool, daytime: bool
    ) -> tuple[at.Endpoint, dict[str, str]]:
        endpoint = at.US_DAYTIME_CHANGE if daytime else at.US_CHANGE
        self._check_offered(endpoint)
        request = ChangeRequest(
            account=self._account,
            original_order_id=order.venue_order_id,
            quantity=quantity or order.intent.quantity - order.filled_quantity,
            limit=limit,
            is_cancel=is_cancel,
            symbol=order.intent.symbol,
            exchange=order.intent.exchange,
        )
        return endpoint, wire.change_request(request)

    def _check_offered(self, endpoint: at.Endpoint) -> None:
        if not endpoint.is_offered(self._profile):
            raise UsageError(endpoint.absence(self._profile))

    def _check_type(self, side: Side, order_type: OrderType) -> None:
        if not takes_overseas(side, order_type):
            raise UsageError(f"미국 주식 {_SIDES[side]}에 없는 주문 유형: {order_type}")
        if self._profile is Profile.PAPER and order_type is not OrderType.LIMIT:
            raise UsageError(f"모의투자는 미국 주식의 지정가 주문만 받음: {order_type}")

    async def _ask(self, endpoint: at.Endpoint, request: Mapping[str, str]) -> Mapping[str, Any]:
        return await self._transport.ask(endpoint, request, priority=Priority.BALANCE)


# What may be spent comes in dollars and cents, rounded down.
_CENT = Market.US.currency.minor_per_unit // 100
_SIDES = {Side.BUY: "매수", Side.SELL: "매도"}
