"""A Korean account at the local exchange, call by call: orders, reservations, cash, profit."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from itertools import groupby

from trading.domain.order import Side
from trading.exchange.accounts import Reservation, ReservedState, StandingOrder
from trading.exchange.desk import Answer, Call
from trading.exchange.domestic_quotes import DomesticQuotes
from trading.exchange.refusals import OrderRefused, Reason
from trading.wire import domestic_account as money
from trading.wire import domestic_orders as wire
from trading.wire import domestic_reserves as reserves
from trading.wire import values
from trading.wire.accounts import parse_account, render_ack, render_page
from trading.wire.domestic_account import (
    AssetClass,
    AssetSums,
    ProfitDay,
    ProfitSums,
    ProfitTrade,
    RealizedHolding,
    RealizedSums,
    Sellable,
)
from trading.wire.domestic_keys import whole_row
from trading.wire.domestic_reserves import ReservedOrder, ReserveRequest
from trading.wire.records import Balance, Holding, ListedOrder, OrderKind, OrderRequest

_RESULTS = {
    ReservedState.WAITING: "미처리",
    ReservedState.SENT: "처리",
    ReservedState.CANCELED: "취소",
    ReservedState.REFUSED: "거부",
}


class DomesticDesk(DomesticQuotes):
    """KRX: what an account may ask and order (PROTOCOL 9), beside the market data."""

    @property
    def services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            **self.quote_services,
            "krx_order": self._order,
            "krx_change": self._change,
            "krx_open_orders": self._open_orders,
            "krx_orders": self._orders,
            "krx_balance": self._balance,
            "krx_buying_power": self._buying_power,
            "krx_sellable": self._sellable,
            "krx_realized": self._realized,
            "krx_assets": self._assets,
            "krx_period_profit": self._period_profit,
            "krx_trade_profit": self._trade_profit,
            "krx_reserve": self._reserve,
            "krx_reserve_change": self._change_reserved,
            "krx_reserves": self._reserves,
        }

    # --- orders --------------------------------------------------------------------------

    def _order(self, call: Call) -> Answer:
        side = Side(call.variant)
        request = wire.parse_order_request(call.params, side)
        order = self.venue.place(self.account(call, request.account), request)
        return self.answer(self.placed(side), render_ack(self.acknowledge(order)))

    def _change(self, call: Call) -> Answer:
        request = wire.parse_change_request(call.params)
        order = self.venue.change(self.account(call, request.account), request)
        outcome = "cancel" if order.kind is OrderKind.CANCEL else "revise"
        return self.answer(outcome, render_ack(self.acknowledge(order)))

    def _open_orders(self, call: Call) -> Answer:
        number, asked = wire.parse_open_orders_request(call.params)
        account = self.account(call, number)
        every = [order.listed() for order in account.working()]
        rows, page = self.page(call, every, asked)
        body = {
            **wire.render_open_orders(rows, self.venue.instruments),
            **render_page(page, call.endpoint.context),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _orders(self, call: Call) -> Answer:
        number, first, last, which, newest_first, asked = wire.parse_orders_request(call.params)
        account = self.account(call, number)
        shown = [
            order
            for order in self.venue.orders(account, first, last)
            if _is_wanted(order.listed(), which) and wire.is_listed(call.params, order.listed())
        ]
        if newest_first:
            shown.reverse()
        listed = [order.listed() for order in shown]
        rows, page = self.page(call, listed, asked)
        body = {
            **wire.render_orders(
                rows,
                self.venue.instruments,
                total=listed,
                costs=sum(order.commission + order.tax for order in shown),
            ),
            **render_page(page, call.endpoint.context),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not listed)

    # --- reserved orders -----------------------------------------------------------------

    def _reserve(self, call: Call) -> Answer:
        wish = reserves.parse_reserve_request(call.params)
        account = self.account(call, wish.account)
        reserved = self.venue.reserve(account, self._reservable(wish), wish.last)
        return self.answer("reserve", reserves.render_reserved(str(reserved.number)))

    def _change_reserved(self, call: Call) -> Answer:
        is_cancel = call.variant == "cancel"
        change = reserves.parse_reserve_change_request(call.params, is_cancel=is_cancel)
        account = self.account(call, change.account)
        number = values.integer(change.number)
        if change.wish is None:
            self.venue.cancel_reserved(account, number)
        else:
            self.venue.change_reserved(account, number, self._reservable(change.wish))
        return self.answer("changed", reserves.render_reserve_changed())

    def _reserves(self, call: Call) -> Answer:
        number, first, last, asked = reserves.parse_reserves_request(call.params)
        account = self.account(call, number)
        every = self.venue.reserved(account, first, last)
        rows, page = self.page(call, every, asked)
        orders = {
            order.order_id: order for order in self.venue.orders(account, first, self.venue.today)
        }
        body = {
            "output": [whole_row(self._reserved_row(row, orders)) for row in rows],
            **render_page(page, call.endpoint.context),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _reservable(self, wish: ReserveRequest) -> OrderRequest:
        if wish.order_type not in reserves.RESERVABLE:
            raise OrderRefused(Reason.ORDER_KIND, wire.type_name(wish.order_type))
        return OrderRequest(
            account=wish.account,
            symbol=wish.symbol,
            side=wish.side,
            quantity=wish.quantity,
            limit=wish.limit,
            order_type=wish.order_type,
        )

    def _reserved_row(
        self, reserved: Reservation, orders: Mapping[int, StandingOrder]
    ) -> ReservedOrder:
        request = reserved.request
        made = [orders[number] for number in reserved.order_ids if number in orders]
        instrument = self.venue.instruments.get(request.symbol)
        canceled = reserved.changed if reserved.state is ReservedState.CANCELED else None
        ended = (
            (None, None) if canceled is None else values.date_and_time(canceled, self.venue.market)
        )
        received_on, received_at = values.date_and_time(reserved.ts, self.venue.market)
        return ReservedOrder(
            number=str(reserved.number),
            day=reserved.day,
            received_on=values.day(received_on),
            received_at=received_at,
            symbol=request.symbol,
            name=instrument.name if instrument is not None else None,
            side=request.side,
            order_type=request.order_type,
            quantity=request.quantity,
            limit=request.limit,
            filled_quantity=sum(order.filled_quantity for order in made),
            filled_amount=sum(order.filled_amount for order in made),
            venue_order_id=made[-1].number if made else None,
            sent_at=values.korean_time(made[-1].ts) if made else None,
            canceled_on=values.day(ended[0]) if ended[0] else None,
            canceled_at=ended[1],
            result=_RESULTS[reserved.state],
            reason=reserved.reason or None,
            last=reserved.last,
        )

    # --- account -------------------------------------------------------------------------

    def _balance(self, call: Call) -> Answer:
        number, asked = money.parse_balance_request(call.params)
        whole = self.balance(self.account(call, number))
        rows, page = self.page(call, whole.holdings, asked)
        shown = Balance(
            cash=whole.cash,
            cash_next=whole.cash_next,
            cash_final=whole.cash_final,
            holdings=tuple(rows),
            bought_today=whole.bought_today,
            sold_today=whole.sold_today,
            costs_today=whole.costs_today,
        )
        body = {
            **money.render_balance(shown, every=whole.holdings),
            **render_page(page, call.endpoint.context),
        }
        # A balance without holdings is still an answer: the cash is there.
        return self.paged(body, has_next=bool(page.nk), is_empty=False)

    def _buying_power(self, call: Call) -> Answer:
        number, symbol, limit = money.parse_buying_power_request(call.params)
        power = self.buying_power(self.account(call, number), symbol, limit)
        return self.answer("found", money.render_buying_power(power))

    def _sellable(self, call: Call) -> Answer:
        number, symbol = money.parse_sellable_request(call.params)
        account = self.account(call, number)
        holdings = self.balance(account).holdings
        held = next((row for row in holdings if row.symbol == symbol), None)
        if held is None:
            return self.answer("empty", {"output": {}})
        worth = held.quantity * held.price
        row = Sellable(
            symbol=symbol,
            name=held.name,
            quantity=held.sellable,
            held=held.quantity,
            bought=held.bought_today,
            sold=held.sold_today,
            average_price=_average(held),
            price=held.price,
            worth=worth,
            profit=worth - held.cost,
            profit_percent=_percent(worth - held.cost, held.cost),
        )
        # The workbook says output1, the recorded answer output; KIS sends one of them.
        return self.answer("found", {"output": whole_row(row) | {"pchs_amt": str(held.cost)}})

    def _realized(self, call: Call) -> Answer:
        number, asked = money.parse_balance_request(call.params)
        account = self.account(call, number)
        whole = self.balance(account)
        rows, page = self.page(call, whole.holdings, asked)
        worth = sum(holding.quantity * holding.price for holding in whole.holdings)
        cost = sum(holding.cost for holding in whole.holdings)
        realized = sum(order.realized for order in account.orders.values())
        if values.upper_keys(call.params).get("COST_ICLD_YN") == "N":
            realized += sum(_costs(order) for order in _sales(account.orders.values()))
        sums = RealizedSums(
            cash=whole.cash,
            cash_next=whole.cash_next,
            cash_final=whole.cash_final,
            bought_today=whole.bought_today,
            sold_today=whole.sold_today,
            costs_today=whole.costs_today,
            worth=worth,
            total=worth + whole.cash_final,
            cost=cost,
            open_profit=worth - cost,
            realized=realized,
        )
        body = {
            "output1": [whole_row(_realized_row(holding)) for holding in rows],
            "output2": [whole_row(sums)],
            **render_page(page, call.endpoint.context),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=False)

    def _assets(self, call: Call) -> Answer:
        account = self.account(call, parse_account(values.upper_keys(call.params)))
        whole = self.balance(account)
        worth = sum(holding.quantity * holding.price for holding in whole.holdings)
        cost = sum(holding.cost for holding in whole.holdings)
        # Shares are the first of KIS's classes of assets, and all that an account here has.
        shares = AssetClass(cost=cost, worth=worth, profit=worth - cost, loan=0, net=worth)
        sums = AssetSums(
            cost=cost,
            net=worth + whole.cash_final,
            loans=0,
            profit=worth - cost,
            worth=worth,
            total=worth + whole.cash_final,
            cash=whole.cash,
            deposits=whole.cash,
            unpaid_today=0,
        )
        return self.answer("found", {"output1": [whole_row(shares)], "output2": whole_row(sums)})

    def _period_profit(self, call: Call) -> Answer:
        return self._profit(call, self._profit_days)

    def _trade_profit(self, call: Call) -> Answer:
        return self._profit(call, self._profit_trades)

    def _profit(
        self,
        call: Call,
        rows_of: Callable[[list[StandingOrder]], list[ProfitDay] | list[ProfitTrade]],
    ) -> Answer:
        number, first, last, newest_first, asked = money.parse_profit_request(call.params)
        account = self.account(call, number)
        symbol = values.upper_keys(call.params).get("PDNO", "").strip()
        traded = [
            order
            for order in self.venue.orders(account, first, last)
            if order.filled_quantity and symbol in ("", order.symbol)
        ]
        every = rows_of(traded)
        if newest_first:
            every.reverse()
        rows, page = self.page(call, every, asked)
        body = {
            "output1": [whole_row(row) for row in rows],
            "output2": whole_row(_profit_sums(traded)),
            **render_page(page, call.endpoint.context),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _profit_days(self, traded: list[StandingOrder]) -> list[ProfitDay]:
        traded.sort(key=lambda order: order.session)
        return [
            _profit_day(session, list(orders))
            for session, orders in groupby(traded, key=lambda order: order.session)
        ]

    def _profit_trades(self, traded: list[StandingOrder]) -> list[ProfitTrade]:
        traded.sort(key=lambda order: (order.session, order.symbol))
        rows = []
        for (session, symbol), group in groupby(
            traded, key=lambda order: (order.session, order.symbol)
        ):
            orders = list(group)
            day, sold = _profit_day(session, orders), _sales(orders)
            quantity, amount = _filled(sold)
            cost, shares = day.bought or 0, day.bought_quantity or 0
            if quantity:
                cost = amount - sum(_costs(order) + order.realized for order in sold)
                shares = quantity
            rows.append(
                ProfitTrade(
                    session=session,
                    symbol=symbol,
                    name=self.venue.instruments[symbol].name,
                    purchase_price=Decimal(cost // shares),
                    bought_quantity=day.bought_quantity,
                    bought=day.bought,
                    sale_price=Decimal(amount // quantity) if quantity else Decimal(0),
                    sold_quantity=quantity,
                    sold=amount,
                    realized=day.realized,
                    percent=day.percent,
                    commission=day.commission,
                    tax=day.tax,
                    interest=0,
                )
            )
        return rows


def _is_wanted(row: ListedOrder, which: str) -> bool:
    """Whether an order is among those filled (01), open (02) or all (00)."""
    if which == "01":
        return row.order.filled_quantity > 0
    return which != "02" or row.order.open_quantity > 0


def _realized_row(holding: Holding) -> RealizedHolding:
    worth = holding.quantity * holding.price
    return RealizedHolding(
        symbol=holding.symbol,
        name=holding.name,
        quantity=holding.quantity,
        sellable=holding.sellable,
        bought_today=holding.bought_today,
        sold_today=holding.sold_today,
        average_price=_average(holding),
        cost=holding.cost,
        price=holding.price,
        worth=worth,
        profit=worth - holding.cost,
        profit_percent=_percent(worth - holding.cost, holding.cost),
    )


def _profit_day(session: date, orders: list[StandingOrder]) -> ProfitDay:
    """Sum up a day; what was realized is net of the costs of the sales."""
    sales = _sales(orders)
    bought_quantity, bought = _filled(order for order in orders if order.side is Side.BUY)
    sold_quantity, sold = _filled(sales)
    realized = sum(order.realized for order in sales)
    cost = sold - sum(_costs(order) for order in sales) - realized
    return ProfitDay(
        session=session,
        bought=bought,
        sold=sold,
        realized=realized,
        commission=sum(order.commission for order in orders),
        tax=sum(order.tax for order in orders),
        interest=0,
        percent=_percent(realized, cost),
        bought_quantity=bought_quantity,
        sold_quantity=sold_quantity,
    )


def _profit_sums(orders: list[StandingOrder]) -> ProfitSums:
    sales = _sales(orders)
    purchases = [order for order in orders if order.side is Side.BUY]
    sold_quantity, sold = _filled(sales)
    return ProfitSums(
        sold_quantity=sold_quantity,
        sold=sold,
        sale_commission=sum(order.commission for order in sales),
        sale_tax=sum(order.tax for order in sales),
        bought=_filled(purchases)[1],
        purchase_commission=sum(order.commission for order in purchases),
        commission=sum(order.commission for order in orders),
        tax=sum(order.tax for order in orders),
        realized=sum(order.realized for order in sales),
    )


def _sales(orders: Iterable[StandingOrder]) -> list[StandingOrder]:
    return [order for order in orders if order.side is Side.SELL]


def _filled(orders: Iterable[StandingOrder]) -> tuple[int, int]:
    """Return the shares and the amount that ``orders`` traded."""
    rows = list(orders)
    return sum(row.filled_quantity for row in rows), sum(row.filled_amount for row in rows)


def _costs(order: StandingOrder) -> int:
    return order.commission + order.tax


def _average(holding: Holding) -> Decimal:
    exact = Decimal(holding.cost) / holding.quantity if holding.quantity else Decimal(0)
    return exact.quantize(Decimal("0.0001"))


def _percent(part: int, whole: int) -> Decimal:
    return Decimal(values.ratio_text(part, whole))
