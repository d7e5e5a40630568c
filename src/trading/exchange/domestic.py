"""The Korean services of the local exchange, call by call."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from trading.domain.order import Side
from trading.errors import ConfigError
from trading.exchange.desk import Answer, Call, Desk, daily_row, days_from, newest
from trading.wire import domestic as wire
from trading.wire import values
from trading.wire.records import Balance, Book, HolidayRow, OrderKind, Page

CONTEXT = 100


class DomesticDesk(Desk):
    """KRX: quotations, orders, balance (PROTOCOL 5, 6.6, 8.1, 9)."""

    @property
    def services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            "krx_price": self._price,
            "krx_book": self._book,
            "krx_daily": self._daily,
            "krx_minute": self._minute,
            "krx_volume_rank": self._volume_rank,
            "krx_holidays": self._holidays,
            "krx_order": self._order,
            "krx_change": self._change,
            "krx_open_orders": self._open_orders,
            "krx_orders": self._orders,
            "krx_balance": self._balance,
            "krx_buying_power": self._buying_power,
        }

    def _price(self, call: Call) -> Answer:
        symbol = wire.parse_symbol_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", wire.render_unknown_price())
        tick, lot = self.venue.units(symbol, quote.price)
        body = wire.render_price(
            quote,
            self.venue.instruments[symbol],
            value=self.venue.traded_value(symbol),
            tick=tick,
            lot=lot,
        )
        return self.answer("quote", body)

    def _book(self, call: Call) -> Answer:
        # No book was ever recorded: KIS's blank levels, never invented ones.
        symbol = wire.parse_symbol_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", {"output1": {}, "output2": {}})
        now = values.korean_time(self.venue.now)
        return self.answer("quote", wire.render_book(Book(symbol=symbol), quote, now))

    def _daily(self, call: Call) -> Answer:
        symbol, first, last, adjusted = wire.parse_daily_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", {"output1": {}, "output2": []})
        bars = self.venue.daily_bars(symbol, first, last, adjusted=adjusted)
        size = call.endpoint.page_size(self.profile)
        rows = [daily_row(bar) for bar in reversed(bars)][:size]
        return self.answer("quote", wire.render_daily(rows, quote, self.venue.instruments[symbol]))

    def _minute(self, call: Call) -> Answer:
        symbol, time_text = wire.parse_minute_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", {"output1": {}, "output2": []})
        day = values.day_text(values.local_date(self.venue.now, self.venue.market))
        last = values.instant(day, time_text, self.venue.market)
        size = call.endpoint.page_size(self.profile)
        rows = newest(self.minute_rows(symbol), last, size)
        return self.answer("quote", wire.render_minute(rows, quote, self.venue.instruments[symbol]))

    def _volume_rank(self, call: Call) -> Answer:
        fields = values.upper_keys(call.params)
        kind = fields.get("FID_DIV_CLS_CODE", "0")
        symbols = [
            symbol
            for symbol in (self.venue.replay.today if self.venue.is_begun else ())
            # The last digit of a Korean common share is 0.
            if kind == "0" or (symbol[-1] == "0") == (kind == "1")
        ]
        by_value = fields.get("FID_BLNG_CLS_CODE") == "3"
        return self.answer(
            "quote", wire.render_volume_rank(self.ranking(symbols, by_value=by_value))
        )

    def _holidays(self, call: Call) -> Answer:
        first, asked = wire.parse_holidays_request(call.params)
        if call.is_next_page and asked.nk:
            first = values.day(asked.nk)
        rows = []
        for day in days_from(first, call.endpoint.page_size(self.profile)):
            try:
                rows.append(HolidayRow(day=day, is_open=self.is_business_day(day)))
            except ConfigError:
                break
        more = len(rows) == call.endpoint.page_size(self.profile)
        page = Page(nk=values.day_text(rows[-1].day + timedelta(days=1)) if more else "")
        body = {**wire.render_holidays(rows), **wire.render_page(page, 20)}
        return self.paged(body, has_next=more, is_empty=not rows)

    def _order(self, call: Call) -> Answer:
        side = Side(call.variant)
        request = wire.parse_order_request(call.params, side)
        order = self.venue.place(self.account(call, request.account), request)
        return self.answer(self.placed(side), wire.render_ack(self.acknowledge(order)))

    def _change(self, call: Call) -> Answer:
        request = wire.parse_change_request(call.params)
        order = self.venue.change(self.account(call, request.account), request)
        outcome = "cancel" if order.kind is OrderKind.CANCEL else "revise"
        return self.answer(outcome, wire.render_ack(self.acknowledge(order)))

    def _open_orders(self, call: Call) -> Answer:
        number, asked = wire.parse_open_orders_request(call.params)
        account = self.account(call, number)
        every = [order.listed().order for order in account.working()]
        rows, page = self.page(call, every, asked)
        body = {
            **wire.render_open_orders(rows, self.venue.instruments),
            **wire.render_page(page, CONTEXT),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _orders(self, call: Call) -> Answer:
        number, first, last, which, newest_first, asked = wire.parse_orders_request(call.params)
        account = self.account(call, number)
        orders = self.venue.orders(account, first, last)
        if which == "01":
            orders = [order for order in orders if order.filled_quantity]
        elif which == "02":
            orders = [order for order in orders if order.open_quantity]
        if newest_first:
            orders.reverse()
        listed = [order.listed() for order in orders]
        rows, page = self.page(call, listed, asked)
        body = {
            **wire.render_orders(
                rows,
                self.venue.instruments,
                total=listed,
                costs=sum(order.commission + order.tax for order in orders),
            ),
            **wire.render_page(page, CONTEXT),
        }
        return self.paged(body, has_next=bool(page.nk), is_empty=not listed)

    def _balance(self, call: Call) -> Answer:
        number, asked = wire.parse_balance_request(call.params)
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
            **wire.render_balance(shown, every=whole.holdings),
            **wire.render_page(page, CONTEXT),
        }
        # A balance without holdings is still an answer: the cash is there.
        return self.paged(body, has_next=bool(page.nk), is_empty=False)

    def _buying_power(self, call: Call) -> Answer:
        number, symbol, limit = wire.parse_buying_power_request(call.params)
        power = self.buying_power(self.account(call, number), symbol, limit)
        return self.answer("found", wire.render_buying_power(power))
