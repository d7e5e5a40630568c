"""The US services of the local exchange, call by call."""

from collections.abc import Callable, Mapping

from trading.domain.instrument import Exchange, Instrument
from trading.domain.market import Quote
from trading.domain.order import Side
from trading.exchange.desk import Answer, Call, Desk, daily_row, newest
from trading.exchange.replay import FIRST_DAY
from trading.wire import overseas as wire
from trading.wire import values
from trading.wire.domestic import render_ack, render_page
from trading.wire.endpoints import Profile
from trading.wire.records import Book, OrderKind, SettlementRow

CONTEXT = 200


class OverseasDesk(Desk):
    """US: quotations, orders, balance (PROTOCOL 10, 11)."""

    @property
    def services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            "us_price": self._price,
            "us_price_detail": self._price_detail,
            "us_book": self._book,
            "us_daily": self._daily,
            "us_minute": self._minute,
            "us_volume_rank": self._volume_rank,
            "us_search": self._search,
            "us_holidays": self._settlements,
            "us_order": self._order,
            "us_change": self._change,
            "us_open_orders": self._open_orders,
            "us_orders": self._orders,
            "us_balance": self._balance,
            "us_present_balance": self._present_balance,
            "us_buying_power": self._buying_power,
        }

    def _price(self, call: Call) -> Answer:
        found = self._quoted(*wire.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", wire.render_unknown_price())
        quote, instrument = found
        value = self.venue.traded_value(quote.symbol)
        return self.answer("quote", wire.render_price(quote, instrument, value=value))

    def _price_detail(self, call: Call) -> Answer:
        found = self._quoted(*wire.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", wire.render_unknown_price())
        quote, instrument = found
        tick, _ = self.venue.units(quote.symbol, quote.price)
        value = self.venue.traded_value(quote.symbol)
        return self.answer(
            "quote", wire.render_price_detail(quote, instrument, value=value, tick=tick)
        )

    def _book(self, call: Call) -> Answer:
        # No book was ever recorded: KIS's blank levels, never invented ones.
        found = self._quoted(*wire.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", {"output1": {}, "output2": [], "output3": []})
        quote, instrument = found
        book = Book(symbol=quote.symbol)
        return self.answer("quote", wire.render_book(book, quote, instrument, self.venue.now))

    def _daily(self, call: Call) -> Answer:
        exchange, symbol, last, adjusted = wire.parse_daily_request(call.params)
        instrument = self._instrument(exchange, symbol)
        if instrument is None or self.venue.session is None:
            return self.answer("quote", {"output1": {}, "output2": []})
        bars = self.venue.daily_bars(
            symbol, FIRST_DAY, last or self.venue.session, adjusted=adjusted
        )
        size = call.endpoint.page_size(self.profile)
        rows = [daily_row(bar) for bar in bars[: -size - 1 : -1]]
        return self.answer("quote", wire.render_daily(rows, instrument))

    def _minute(self, call: Call) -> Answer:
        exchange, symbol, minutes, count, before = wire.parse_minute_request(call.params)
        instrument = self._instrument(exchange, symbol)
        if instrument is None or minutes != 1 or not self.venue.is_begun:
            return self.answer("quote", {"output1": {}, "output2": []})
        rows = self.minute_rows(symbol)
        shown = newest(rows, before or self.venue.now, count)
        replay = self.venue.replay
        body = wire.render_minute(
            shown,
            instrument,
            opens=replay.open_ts,
            closes=replay.close_ts,
            has_more=bool(shown) and shown[-1].start > rows[0].start,
        )
        return self.answer("quote", body)

    def _volume_rank(self, call: Call) -> Answer:
        symbols = self._listed_on(wire.parse_exchange_request(call.params))
        rows = self.ranking(symbols, by_value=False)
        return self.answer("quote", wire.render_volume_rank(rows))

    def _search(self, call: Call) -> Answer:
        symbols = self._listed_on(wire.parse_exchange_request(call.params))
        least = values.integer(values.upper_keys(call.params).get("CO_ST_VOLUME"))
        rows = [row for row in self.ranking(symbols, by_value=False) if row.volume >= least]
        return self.answer("quote", wire.render_volume_rank(rows))

    def _settlements(self, call: Call) -> Answer:
        day, _ = wire.parse_settlement_request(call.params)
        rows = []
        if self.is_business_day(day):
            settles = self.venue.settlement_date(day)
            # When the money reaches Korea was not recorded: the local date stands for both.
            rows = [
                SettlementRow(
                    country="840",
                    market_name="나스닥",
                    local_settlement=settles,
                    domestic_settlement=settles,
                )
            ]
        return self.paged(wire.render_settlements(rows), has_next=False, is_empty=not rows)

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
        if which == "01":
            orders = [order for order in orders if order.filled_quantity]
        elif which == "02":
            orders = [order for order in orders if order.open_quantity]
        if values.upper_keys(call.params).get("SORT_SQN") == "AS":
            orders.reverse()
        listed = [order.listed() for order in orders]
        rows, page = self.page(call, listed, asked)
        body = {**wire.render_orders(rows, self.venue.instruments), **render_page(page, CONTEXT)}
        return self.paged(body, has_next=bool(page.nk), is_empty=not listed)

    def _balance(self, call: Call) -> Answer:
        number, code, asked = wire.parse_balance_request(call.params)
        wanted = self._exchanges(code)
        every = [
            holding
            for holding in self.balance(self.account(call, number)).holdings
            if holding.exchange in wanted
        ]
        rows, page = self.page(call, every, asked)
        body = {**wire.render_holdings(number, rows, every=every), **render_page(page, CONTEXT)}
        return self.paged(body, has_next=bool(page.nk), is_empty=not every)

    def _present_balance(self, call: Call) -> Answer:
        number, _ = wire.parse_present_balance_request(call.params)
        account = self.account(call, number)
        bought, sold = account.unsettled(self.venue.today)
        body = wire.render_present_balance(
            self.balance(account), unsettled_bought=bought, unsettled_sold=sold
        )
        return self.answer("found", body)

    def _buying_power(self, call: Call) -> Answer:
        number, _, symbol, limit = wire.parse_buying_power_request(call.params)
        power = self.buying_power(self.account(call, number), symbol, limit)
        return self.answer("found", wire.render_buying_power(power))

    def _instrument(self, exchange: Exchange, symbol: str) -> Instrument | None:
        instrument = self.venue.instruments.get(symbol)
        return instrument if instrument is not None and instrument.exchange is exchange else None

    def _quoted(self, exchange: Exchange, symbol: str) -> tuple[Quote, Instrument] | None:
        instrument = self._instrument(exchange, symbol)
        quote = self.venue.quote(symbol) if instrument is not None else None
        return None if instrument is None or quote is None else (quote, instrument)

    def _listed_on(self, exchange: Exchange) -> list[str]:
        if not self.venue.is_begun:
            return []
        return [
            symbol
            for symbol in self.venue.replay.today
            if self._instrument(exchange, symbol) is not None
        ]

    def _exchanges(self, code: str) -> frozenset[Exchange]:
        # NASD is the whole US on the real server and Nasdaq alone on paper (FAULTS 6).
        if code == "NASD" and self.profile is Profile.REAL:
            return frozenset(wire.TRADE_CODES)
        if code == "NAS":
            return frozenset({Exchange.NASDAQ})
        return frozenset({wire.exchange_of_trade(code)})
