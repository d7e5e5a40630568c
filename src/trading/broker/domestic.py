"""Calls of one account for Korean shares: which endpoint, which TR id, which pages.

Market data is in ``domestic_data``.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from trading.broker.domestic_data import DomesticData
from trading.broker.listings import whole_listing
from trading.broker.rest import Priority, RestTransport
from trading.domain.account import Position, VenueAccount
from trading.domain.instrument import Market
from trading.domain.market import Quote
from trading.domain.order import Order, OrderAck, OrderIntent, OrderType, Route
from trading.errors import MissingDataError, TransientBrokerError, UsageError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import accounts, values
from trading.wire import domestic_account as money
from trading.wire import domestic_orders as wire
from trading.wire import domestic_quotes as quotes
from trading.wire import domestic_reserves as reserves
from trading.wire import endpoints as at
from trading.wire.domestic_account import Assets, PeriodProfit, RealizedProfit, TradeProfit
from trading.wire.domestic_reserves import ReservedOrder, ReserveRequest
from trading.wire.endpoints import Profile
from trading.wire.fields import read_rows
from trading.wire.order_codes import takes_domestic
from trading.wire.records import (
    Book,
    BuyingPower,
    ChangeRequest,
    ListedOrder,
    OrderKind,
    OrderRequest,
)

log = get_logger(__name__)

# Orders older than this are listed under another TR id.
_RECENT = timedelta(days=88)


class DomesticCalls:
    """The calls of one KRX account; ``data`` are those of the market."""

    def __init__(
        self,
        transport: RestTransport,
        *,
        profile: Profile,
        account: str,
        clock: Clock,
        cache_dir: Path,
    ) -> None:
        self._transport = transport
        self._profile = profile
        self._account = account
        self._clock = clock
        self.data = DomesticData(transport, profile=profile, clock=clock, cache_dir=cache_dir)

    # --- orders --------------------------------------------------------------------------

    def order_call(self, intent: OrderIntent) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of a new order.

        Raises ``UsageError`` for an order that KIS does not take, before anything is sent.
        """
        self._check(intent)
        request = OrderRequest(
            account=self._account,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit if intent.order_type.names_price else 0,
            order_type=intent.order_type,
            stop=intent.stop,
            route=intent.route,
        )
        return at.KRX_ORDER, wire.order_request(request), str(intent.side)

    def cancel_call(self, order: Order, quantity: int = 0) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that cancel ``order``; ``quantity`` 0 is all that is left."""
        request = ChangeRequest(
            account=self._account,
            original_order_id=order.venue_order_id,
            branch=order.branch,
            quantity=quantity,
            limit=0,
            route=order.intent.route,
        )
        return at.KRX_CHANGE, wire.change_request(request)

    def revise_call(
        self, order: Order, limit: int, quantity: int = 0
    ) -> tuple[at.Endpoint, dict[str, str]]:
        """Return endpoint and body that give ``order`` another price.

        ``quantity`` 0 is all that is left; what is not revised goes on as it was.
        """
        intent = order.intent
        if not intent.order_type.names_price:
            raise UsageError(
                f"값이 없는 주문은 정정할 수 없음: {wire.type_name(intent.order_type)}"
            )
        if limit <= 0:
            raise UsageError(f"정정 가격 오류: {limit}")
        request = ChangeRequest(
            account=self._account,
            original_order_id=order.venue_order_id,
            branch=order.branch,
            quantity=quantity,
            limit=limit,
            is_cancel=False,
            order_type=intent.order_type,
            stop=intent.stop,
            route=intent.route,
        )
        return at.KRX_CHANGE, wire.change_request(request)

    def parse_ack(self, body: Mapping[str, object]) -> OrderAck:
        """Read an acceptance."""
        return accounts.parse_ack(body, self._clock.now())

    async def orders(self, session: date) -> list[ListedOrder]:
        """Return every order of ``session`` with what was filled, by whatever route it went."""
        today = values.local_date(self._clock.now(), Market.KRX)
        # KIS hides the orders of NXT and SOR unless all are asked for; paper knows KRX only.
        routes = Route.KRX if self._profile is Profile.PAPER else wire.ALL_ROUTES
        ordered = 0

        def parse(body: Mapping[str, object]) -> tuple[ListedOrder, ...]:
            nonlocal ordered
            for sums in values.rows(body.get("output2")):
                ordered = values.integer(sums.get("tot_ord_qty"))
            return wire.parse_orders(body)

        pages = self._transport.pages(
            at.KRX_ORDERS,
            lambda page: wire.orders_request(self._account, session, session, page, routes=routes),
            variant="" if today - session <= _RECENT else "old_days",
        )
        listed = await whole_listing(pages, parse)
        if ordered and not listed:
            # Seen on the paper server: the sums are there and the rows are not.
            raise TransientBrokerError("주문 목록이 비어 있으나 합계가 있음")
        return listed

    async def open_orders(self, session: date) -> list[ListedOrder]:
        """Return the orders of ``session`` that may still be filled.

        Paper accounts have no such listing: the orders of the day are looked through instead.
        """
        if not at.KRX_OPEN_ORDERS.is_offered(self._profile):
            log.info("모의투자에는 미체결 조회가 없어 주문·체결 내역에서 골라냄")
            return [
                row
                for row in await self.orders(session)
                if row.order.open_quantity and row.kind is not OrderKind.CANCEL
            ]
        pages = self._transport.pages(
            at.KRX_OPEN_ORDERS, partial(wire.open_orders_request, self._account)
        )
        received = self._clock.now()
        return await whole_listing(pages, lambda body: wire.parse_open_orders(body, received))

    # --- reserved orders -----------------------------------------------------------------

    def reserve_call(
        self, intent: OrderIntent, last: date | None = None
    ) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant of an order for the next session.

        With ``last`` it is sent anew in every session up to that day.
        """
        wish = self._wish(intent, last)
        return at.KRX_RESERVE, reserves.reserve_request(wish), ""

    def parse_reserved(self, body: Mapping[str, object]) -> tuple[str, date]:
        """Read the number of a reservation, and the Korean day on which it was made."""
        return reserves.parse_reserved(body), values.local_date(self._clock.now(), Market.KRX)

    def revise_reserved_call(
        self, number: str, day: date, intent: OrderIntent, last: date | None = None
    ) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant that make another order of a reservation."""
        change = reserves.ReserveChangeRequest(
            account=self._account, number=number, day=day, wish=self._wish(intent, last)
        )
        return at.KRX_RESERVE_CHANGE, reserves.reserve_change_request(change), "revise"

    def cancel_reserved_call(
        self, number: str, received_on: date
    ) -> tuple[at.Endpoint, dict[str, str], str]:
        """Return endpoint, body and TR variant that cancel a reservation."""
        self._check_offered(at.KRX_RESERVE_CHANGE)
        change = reserves.ReserveChangeRequest(
            account=self._account, number=number, day=received_on
        )
        return at.KRX_RESERVE_CHANGE, reserves.reserve_change_request(change), "cancel"

    async def reserved_orders(self, first: date, last: date) -> list[ReservedOrder]:
        """Return the reservations for a range of days, canceled ones included."""
        self._check_offered(at.KRX_RESERVES)
        found: dict[str, ReservedOrder] = {}
        pages = self._transport.pages(
            at.KRX_RESERVES, partial(reserves.reserves_request, self._account, first, last)
        )
        async for body in pages:
            rows = read_rows(ReservedOrder, body.get("output"))
            found.update((row.number, row) for row in rows)
        return [found[number] for number in sorted(found)]

    def _wish(self, intent: OrderIntent, last: date | None) -> ReserveRequest:
        self._check_offered(at.KRX_RESERVE)
        self._check(intent)
        if intent.order_type not in reserves.RESERVABLE or intent.route is not Route.KRX:
            raise UsageError(f"예약할 수 없는 주문: {wire.type_name(intent.order_type)}")
        return ReserveRequest(
            account=self._account,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit if intent.order_type.names_price else 0,
            order_type=intent.order_type,
            last=last,
        )

    # --- account -------------------------------------------------------------------------

    async def account(self) -> VenueAccount:
        """Return cash (D+2), what may be spent, and holdings."""
        positions: dict[str, Position] = {}
        cash = 0
        pages = self._transport.pages(
            at.KRX_BALANCE, lambda page: money.balance_request(self._account, page)
        )
        async for body in pages:
            balance = money.parse_balance(body)
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
            money.buying_power_request(self._account, symbol, limit),
            priority=Priority.BALANCE,
        )
        return money.parse_buying_power(body)

    async def sellable(self, symbol: str) -> int:
        """Return how many shares of ``symbol`` may be sold now.

        Paper accounts have no such query: the balance says the same, with its delay.
        """
        if at.KRX_SELLABLE.is_offered(self._profile):
            request = money.sellable_request(self._account, symbol)
            found = money.parse_sellable(await self._ask(at.KRX_SELLABLE, request))
            return found.quantity if found is not None else 0
        quantity = 0
        pages = self._transport.pages(at.KRX_BALANCE, partial(money.balance_request, self._account))
        async for body in pages:
            holdings = money.parse_balance(body).holdings
            quantity += sum(row.sellable for row in holdings if row.symbol == symbol)
        return quantity

    async def realized_profit(self) -> RealizedProfit:
        """Return the holdings with what was realized, costs included."""
        self._check_offered(at.KRX_REALIZED)
        holdings: list[money.RealizedHolding] = []
        sums: tuple[money.RealizedSums, ...] = ()
        pages = self._transport.pages(
            at.KRX_REALIZED, partial(money.realized_request, self._account)
        )
        async for body in pages:
            holdings += read_rows(money.RealizedHolding, body.get("output1"))
            sums = read_rows(money.RealizedSums, body.get("output2")) or sums
        if not sums:
            raise MissingDataError("실현손익 응답에 합계 없음")
        return RealizedProfit(sums=sums[0], holdings=tuple(holdings))

    async def assets(self) -> Assets:
        """Return what the account is worth in all."""
        self._check_offered(at.KRX_ASSETS)
        return money.parse_assets(
            await self._ask(at.KRX_ASSETS, money.assets_request(self._account))
        )

    async def period_profit(self, first: date, last: date) -> PeriodProfit:
        """Return what every day of a period traded and realized, newest first."""
        self._check_offered(at.KRX_PERIOD_PROFIT)
        days: list[money.ProfitDay] = []
        sums = money.ProfitSums()
        pages = self._transport.pages(
            at.KRX_PERIOD_PROFIT,
            partial(money.period_profit_request, self._account, first, last),
        )
        async for body in pages:
            days += read_rows(money.ProfitDay, body.get("output1"))
            sums = next(iter(read_rows(money.ProfitSums, body.get("output2"))), sums)
        return PeriodProfit(sums=sums, days=tuple(days))

    async def trade_profit(self, first: date, last: date) -> TradeProfit:
        """Return what every share traded and realized on each day, newest first."""
        self._check_offered(at.KRX_TRADE_PROFIT)
        trades: list[money.ProfitTrade] = []
        sums = money.ProfitSums()
        pages = self._transport.pages(
            at.KRX_TRADE_PROFIT,
            partial(money.trade_profit_request, self._account, first, last),
        )
        async for body in pages:
            trades += read_rows(money.ProfitTrade, body.get("output1"))
            sums = next(iter(read_rows(money.ProfitSums, body.get("output2"))), sums)
        return TradeProfit(sums=sums, trades=tuple(trades))

    # --- quotes --------------------------------------------------------------------------

    async def quote(self, symbol: str) -> Quote:
        """Return the current price and today's limits."""
        body = await self._transport.ask(
            at.KRX_PRICE, quotes.symbol_request(symbol), priority=Priority.QUOTE
        )
        return quotes.parse_price(body, symbol, self._clock.now())

    async def book(self, symbol: str) -> Book:
        """Return the order book."""
        body = await self._transport.ask(
            at.KRX_BOOK, quotes.symbol_request(symbol), priority=Priority.QUOTE
        )
        return quotes.parse_book(body, symbol)

    def stream_keys(self, symbols: list[str]) -> list[str]:
        """Return the WebSocket names of ``symbols``."""
        return symbols

    # --- helpers -------------------------------------------------------------------------

    def _check(self, intent: OrderIntent) -> None:
        name = wire.type_name(intent.order_type)
        if self._profile is Profile.PAPER and intent.route is not Route.KRX:
            raise UsageError(f"모의투자는 KRX 주문만 받음: {intent.route}")
        if not takes_domestic(intent.route, intent.order_type):
            raise UsageError(f"{intent.route}에 보낼 수 없는 주문 유형: {name}")
        if intent.quantity <= 0:
            raise UsageError(f"주문 수량 오류: {intent.quantity}")
        if intent.order_type.names_price and intent.limit <= 0:
            raise UsageError(f"{name} 주문에 가격이 없음")
        if intent.order_type is OrderType.STOP_LIMIT and intent.stop <= 0:
            raise UsageError(f"{name} 주문에 조건 가격이 없음")

    def _check_offered(self, endpoint: at.Endpoint) -> None:
        if not endpoint.is_offered(self._profile):
            raise UsageError(endpoint.absence(self._profile))

    async def _ask(self, endpoint: at.Endpoint, request: Mapping[str, str]) -> Mapping[str, object]:
        return await self._transport.ask(endpoint, request, priority=Priority.BALANCE)
