"""The US trading services of the local exchange, call by call."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal

from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.exchange.accounts import Reservation, ReservedState, StandingOrder, TradingAccount
from trading.exchange.desk import Answer, Call
from trading.exchange.overseas_quotes import OverseasQuotes
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.venue import Phase
from trading.wire import overseas_account as money
from trading.wire import overseas_orders as wire
from trading.wire import values
from trading.wire.accounts import SIDE_CODES, SIDE_NAMES, render_ack, render_page
from trading.wire.endpoints import Profile
from trading.wire.overseas_account import (
    KeptCurrency,
    KeptShare,
    Margin,
    ProfitRow,
    ProfitTotal,
    SettledTrade,
    SettledTradeTotal,
)
from trading.wire.overseas_codes import TRADE_CODES, US_EXCHANGES, exchange_of_trade
from trading.wire.overseas_orders import ReservedOrder
from trading.wire.records import Holding, OrderKind

CONTEXT = 200
TRADES_CONTEXT = 100
_DAY = timedelta(days=1)
# Longer than any settlement: what was traded before is settled.
_LONGEST_SETTLEMENT = timedelta(days=14)
# KIS's own words for a reservation that waits; its codes for the others are not known.
_STATES = {
    ReservedState.WAITING: ("01", "접수"),
    ReservedState.SENT: (None, "전송"),
    ReservedState.CANCELED: (None, "취소"),
    ReservedState.REFUSED: (None, "거부"),
}


class OverseasDesk(OverseasQuotes):
    """US: orders, reservations, balance, profit (PROTOCOL 10)."""

    @property
    def services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            **self.quote_services,
            "us_order": self._order,
            "us_change": self._change,
            "us_daytime_order": self._daytime_order,
            "us_daytime_change": self._daytime_change,
            "us_reserve": self._reserve,
            "us_reserve_cancel": self._cancel_reserved,
            "us_reserves": self._reserves,
            "us_open_orders": self._open_orders,
            "us_orders": self._orders,
            "us_balance": self._balance,
            "us_present_balance": self._present_balance,
            "us_settled_balance": self._settled_balance,
            "us_buying_power": self._buying_power,
            "us_margins": self._margins,
            "us_period_profit": self._period_profit,
            "us_period_trades": self._period_trades,
            "us_ledger": self._ledger,
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

    def _daytime_order(self, call: Call) -> Answer:
        request = wire.parse_order_request(call.params, Side(call.variant))
        self.account(call, request.account)
        # Nothing of the daytime market was recorded: it is never open here.
        raise OrderRefused(Reason.CLOSED)

    def _daytime_change(self, call: Call) -> Answer:
        self.account(call, wire.parse_change_request(call.params).account)
        raise OrderRefused(Reason.CLOSED)

    def _open_orders(self, call: Call) -> Answer:
        number, exchange, asked = wire.parse_open_orders_request(call.params)
        account = self.account(call, number)
        every = [
            order.listed().order
            for order in account.working()
            if exchange is None or order.exchange is exchange
        ]
        rows, page = self.page(call, every, asked)
        body = {
            **wire.render_open_orders(rows, self.venue.instruments),
            **render_page(page, CONTEXT),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _orders(self, call: Call) -> Answer:
        number, first, last, which, asked = wire.parse_orders_request(call.params)
        orders = self.venue.orders(self.account(call, number), first, last)
        fields = values.upper_keys(call.params)
        # Paper knows no filters.
        if self.profile is Profile.REAL:
            orders = [order for order in orders if _is_asked_for(order, which, fields)]
        if fields.get("SORT_SQN") == "AS":
            orders.reverse()
        listed = [order.listed() for order in orders]
        rows, page = self.page(call, listed, asked)
        body = {**wire.render_orders(rows, self.venue.instruments), **render_page(page, CONTEXT)}
        return self.paged(body, has_next=bool(page.nk), is_empty=not listed)

    # --- reservations --------------------------------------------------------------------

    def _reserve(self, call: Call) -> Answer:
        request = wire.parse_reserve_request(call.params, Side(call.variant))
        reserved = self.venue.reserve(self.account(call, request.account), request)
        body = wire.render_reserved(_number(reserved), _received_on(reserved))
        return self.answer(self.placed(request.side), body)

    def _cancel_reserved(self, call: Call) -> Answer:
        account, number, _ = wire.parse_cancel_reserved_request(call.params)
        reserved = self.venue.cancel_reserved(self.account(call, account), values.integer(number))
        return self.answer("cancel", wire.render_canceled_reserved(_number(reserved)))

    def _reserves(self, call: Call) -> Answer:
        number, first, last, exchange, asked = wire.parse_reserves_request(call.params)
        account = self.account(call, number)
        # The venue files them by the US day, KIS lists them by the Korean one.
        every = [
            self._reserved_row(reserved)
            for reserved in self.venue.reserved(account, first - _DAY, last + _DAY)
            if first <= _received_on(reserved) <= last and reserved.request.exchange is exchange
        ]
        rows, page = self.page(call, every, asked)
        body = {**wire.render_reserves(rows), **render_page(page, CONTEXT)}
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _reserved_row(self, reserved: Reservation) -> ReservedOrder:
        request = reserved.request
        instrument = self.venue.instruments.get(request.symbol)
        code, state = _STATES[reserved.state]
        return ReservedOrder(
            number=_number(reserved),
            received_on=_received_on(reserved),
            received_time=values.korean_time(reserved.ts),
            symbol=request.symbol,
            name=instrument.name or None if instrument is not None else None,
            exchange_code=TRADE_CODES[request.exchange] if request.exchange else None,
            side=request.side,
            kind=SIDE_NAMES[request.side],
            quantity=request.quantity,
            limit=request.limit,
            is_canceled=reserved.state is ReservedState.CANCELED,
            status_code=code,
            status=state,
            order_id=f"{reserved.order_ids[-1]:010d}" if reserved.order_ids else None,
            reason=reserved.reason or None,
        )

    # --- account -------------------------------------------------------------------------

    def _balance(self, call: Call) -> Answer:
        number, code, asked = money.parse_balance_request(call.params)
        wanted = self._exchanges(code)
        every = [
            holding
            for holding in self.balance(self.account(call, number)).holdings
            if holding.exchange in wanted
        ]
        rows, page = self.page(call, every, asked)
        body = {**money.render_holdings(number, rows, every=every), **render_page(page, CONTEXT)}
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _present_balance(self, call: Call) -> Answer:
        number, _ = money.parse_present_balance_request(call.params)
        account = self.account(call, number)
        bought, sold = account.unsettled(self.venue.today)
        body = money.render_present_balance(
            self.balance(account), unsettled_bought=bought, unsettled_sold=sold
        )
        if self.profile is Profile.PAPER:
            # Paper fills the totals alone (PROTOCOL 10.7), and these are in won: no rate is known.
            body = {**body, "output1": [], "output2": []}
        return self.answer("found", body)

    def _settled_balance(self, call: Call) -> Answer:
        number, day = money.parse_settled_balance_request(call.params)
        account = self.account(call, number)
        pending: dict[str, int] = {}
        for order in self.venue.orders(account, day - _LONGEST_SETTLEMENT, self.venue.today):
            if self.venue.settlement_date(order.session) > day:
                change = order.side.sign * order.filled_quantity
                pending[order.symbol] = pending.get(order.symbol, 0) + change
        shares = [
            _kept_share(holding, holding.quantity - pending.pop(holding.symbol, 0))
            for holding in self.balance(account).holdings
        ]
        # Sold out, but not yet delivered; what they had cost is gone from the books.
        shares += [
            KeptShare(symbol=symbol, currency="USD", quantity=Decimal(-change))
            for symbol, change in sorted(pending.items())
        ]
        currency = KeptCurrency(
            currency="USD", name="미국 달러", deposit=_dollars(account.cash_on(day))
        )
        body = money.render_settled_balance(
            [share for share in shares if share.quantity], [currency]
        )
        return self.answer("found", body)

    def _buying_power(self, call: Call) -> Answer:
        number, _, symbol, limit = money.parse_buying_power_request(call.params)
        power = self.buying_power(self.account(call, number), symbol, limit)
        return self.answer("found", money.render_buying_power(power))

    def _margins(self, call: Call) -> Answer:
        account = self.account(call, money.parse_margins_request(call.params))
        bought, sold = account.unsettled(self.venue.today)
        power = max(0, self.venue.buying_power(account))
        row = Margin(
            currency="USD",
            country="미국",
            deposit=_dollars(account.cash_on(self.venue.today)),
            unsettled_bought=_dollars(bought),
            unsettled_sold=_dollars(sold),
            margin=_dollars(account.book.cash - self.venue.buying_power(account)),
            general_buying_power=_dollars(power),
            integrated_buying_power=_dollars(power),
        )
        return self.answer("found", money.render_margins([row]))

    def _period_profit(self, call: Call) -> Answer:
        number, first, last, asked = money.parse_period_profit_request(call.params)
        sales: dict[tuple[date, str], list[StandingOrder]] = {}
        bought = 0
        for order in self._filled(self.account(call, number), first, last):
            if order.side is Side.SELL:
                sales.setdefault((order.session, order.symbol), []).append(order)
            else:
                bought += order.filled_amount
        every = [self._profit_row(*key, sales[key]) for key in sorted(sales)]
        rows, page = self.page(call, every, asked)
        sold = [order for orders in sales.values() for order in orders]
        realized, cost = sum(o.realized for o in sold), sum(_cost(o) for o in sold)
        total = ProfitTotal(
            sold=_dollars(sum(o.filled_amount for o in sold)),
            bought=_dollars(bought),
            fees=_dollars(sum(o.commission + o.tax for o in sold)),
            realized=_dollars(realized),
            realized_percent=Decimal(values.ratio_text(realized, cost)),
        )
        body = {
            **money.render_period_profit(rows, total if every else None),
            **render_page(page, CONTEXT),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _profit_row(self, session: date, symbol: str, sales: list[StandingOrder]) -> ProfitRow:
        instrument = self.venue.instruments[symbol]
        quantity = sum(order.filled_quantity for order in sales)
        cost = sum(_cost(order) for order in sales)
        proceeds = sum(order.filled_amount for order in sales)
        realized = sum(order.realized for order in sales)
        return ProfitRow(
            session=session,
            symbol=symbol,
            name=instrument.name or None,
            exchange_code=TRADE_CODES[instrument.exchange],
            quantity=quantity,
            average_cost=_average(cost, quantity),
            cost=_dollars(cost),
            average_price=_average(proceeds, quantity),
            proceeds=_dollars(proceeds),
            costs=_dollars(sum(order.commission + order.tax for order in sales)),
            realized=_dollars(realized),
            realized_percent=Decimal(values.ratio_text(realized, cost)),
        )

    def _period_trades(self, call: Call) -> Answer:
        number, first, last, asked = money.parse_period_trades_request(call.params)
        orders = self._filled(self.account(call, number), first, last)
        rows, page = self.page(call, orders, asked)
        total = SettledTradeTotal(
            bought=_dollars(sum(o.filled_amount for o in orders if o.side is Side.BUY)),
            sold=_dollars(sum(o.filled_amount for o in orders if o.side is Side.SELL)),
            domestic_fees=_dollars(sum(o.commission for o in orders)),
            foreign_fees=_dollars(sum(o.tax for o in orders)),
        )
        body = {
            **money.render_period_trades(
                [self._settled_trade(order) for order in rows], total if orders else None
            ),
            **render_page(page, TRADES_CONTEXT),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not orders)

    def _settled_trade(self, order: StandingOrder) -> SettledTrade:
        instrument = self.venue.instruments[order.symbol]
        costs = order.commission + order.tax
        return SettledTrade(
            session=order.session,
            settled_on=self.venue.settlement_date(order.session),
            side_code=SIDE_CODES[order.side],
            side_name=SIDE_NAMES[order.side],
            symbol=order.symbol,
            name=instrument.name or None,
            quantity=order.filled_quantity,
            fractional_quantity=Decimal(order.filled_quantity),
            price=_average(order.filled_amount, order.filled_quantity),
            amount=_dollars(order.filled_amount),
            settlement=_dollars(order.filled_amount + order.side.sign * costs),
            domestic_fee=_dollars(order.commission),
            foreign_fee=_dollars(order.tax),
            currency="USD",
        )

    def _ledger(self, call: Call) -> Answer:
        # The night ledger of old was the one of the regular US session.
        is_night = self.venue.phase in (Phase.PRE_OPEN, Phase.OPEN)
        return self.answer("found", {"output": {"PSBL_YN": "Y" if is_night else "N"}})

    # --- helpers -------------------------------------------------------------------------

    def _filled(self, account: TradingAccount, first: date, last: date) -> list[StandingOrder]:
        return [o for o in self.venue.orders(account, first, last) if o.filled_quantity]

    def _exchanges(self, code: str) -> frozenset[Exchange]:
        # NASD is the whole US on the real server and Nasdaq alone on paper (FAULTS 6).
        if code == "NASD" and self.profile is Profile.REAL:
            return frozenset(US_EXCHANGES)
        if code == "NAS":
            return frozenset({Exchange.NASDAQ})
        return frozenset({exchange_of_trade(code)})


def _is_asked_for(order: StandingOrder, which: str, fields: Mapping[str, str]) -> bool:
    symbol = fields.get("PDNO", "").strip()
    side = fields.get("SLL_BUY_DVSN", "00").strip()
    code = fields.get("OVRS_EXCG_CD", "").strip()
    return (
        (which != "01" or order.filled_quantity > 0)
        and (which != "02" or order.open_quantity > 0)
        and symbol in ("", "%", order.symbol)
        and side in ("", "00", SIDE_CODES[order.side])
        # NASD is the whole US in this listing.
        and code in ("", "%", "NASD", TRADE_CODES[order.exchange])
    )


def _number(reserved: Reservation) -> str:
    return f"{reserved.number:010d}"


def _received_on(reserved: Reservation) -> date:
    return values.local_date(reserved.ts, Market.KRX)


def _kept_share(holding: Holding, quantity: int) -> KeptShare:
    cost = holding.cost * quantity // holding.quantity
    worth = holding.price * quantity
    return KeptShare(
        symbol=holding.symbol,
        name=holding.name or None,
        exchange_code=TRADE_CODES[holding.exchange] if holding.exchange else None,
        currency="USD",
        quantity=Decimal(quantity),
        sellable=Decimal(min(quantity, holding.sellable)),
        bought_today=Decimal(holding.bought_today),
        sold_today=Decimal(holding.sold_today),
        average_cost=_average(cost, quantity) if quantity else None,
        cost=_dollars(cost),
        price=_dollars(holding.price),
        worth=_dollars(worth),
        profit=_dollars(worth - cost),
        profit_percent=Decimal(values.ratio_text(worth - cost, cost)),
    )


def _cost(sale: StandingOrder) -> int:
    """Return what the sold shares had cost: proceeds less fees less what they realized."""
    return sale.filled_amount - sale.commission - sale.tax - sale.realized


def _dollars(minor: int) -> Decimal:
    return Decimal(values.from_minor(minor, Market.US))


def _average(amount: int, quantity: int) -> Decimal:
    return (Decimal(amount) / quantity / 10_000).quantize(Decimal("0.0001"))
