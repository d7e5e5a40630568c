"""The US market data of the local exchange, call by call.

What was recorded is served; the rest is KIS's empty answer, never an invented figure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.exchange.desk import Answer, Call, Desk, daily_row, newest
from trading.exchange.periods import grouped, merged, widened
from trading.exchange.replay import FIRST_DAY
from trading.wire import domestic_company, values
from trading.wire import overseas_bars as bars
from trading.wire import overseas_lists as lists
from trading.wire import overseas_quotes as quotes
from trading.wire.domestic_keys import whole_row
from trading.wire.overseas_bars import IndexBar, IndexNow
from trading.wire.overseas_codes import (
    QUOTE_CODES,
    TRADE_CODES,
    UNITED_STATES,
    exchange_of_product_type,
)
from trading.wire.overseas_lists import Criterion, FoundShare, ProductInfo, Range
from trading.wire.overseas_quotes import TradeRow
from trading.wire.records import Book, MinuteRow, RankRow, SettlementRow

BENCHMARK_CODE, BENCHMARK_NAME = "SPX", "S&P500"
_TRADES = 30
# KIS keeps minute bars of about the last month.
_MINUTE_DAYS = timedelta(days=31)
_LIST_ENDS: Mapping[str, Any] = {"output1": {}, "output2": []}

# What nothing was recorded for, with KIS's empty answer.
UNRECORDED: Mapping[str, Mapping[str, Any]] = {
    "us_index_minute": _LIST_ENDS,
    "us_news": {"outblock1": []},
    "us_breaking_news": {"output": []},
    "us_cap_rank": _LIST_ENDS,
    "us_growth_rank": _LIST_ENDS,
    "us_turnover_rank": _LIST_ENDS,
    "us_surge_rank": _LIST_ENDS,
    "us_move_rank": _LIST_ENDS,
    "us_power_rank": _LIST_ENDS,
    "us_extreme_rank": _LIST_ENDS,
}


class OverseasQuotes(Desk):
    """US: prices, bars, lists (PROTOCOL 11)."""

    @property
    def quote_services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            **dict.fromkeys(UNRECORDED, self._unrecorded),
            "us_price": self._price,
            "us_price_detail": self._price_detail,
            "us_prices": self._prices,
            # No book was ever recorded: blank levels.
            "us_book": self._book,
            "us_trades": self._trades,
            "us_daily": self._daily,
            "us_minute": self._minute,
            "us_index_daily": self._index_daily,
            "us_volume_rank": self._volume_rank,
            "us_value_rank": self._value_rank,
            "us_change_rank": self._change_rank,
            "us_search": self._search,
            "us_product_info": self._product_info,
            # The Korean path knows products of every market, by their type.
            "krx_product_info": self._product_of_type,
            "us_holidays": self._settlements,
        }

    def _unrecorded(self, call: Call) -> Answer:
        return self.answer("quote", UNRECORDED[call.endpoint.name])

    # --- prices --------------------------------------------------------------------------

    def _price(self, call: Call) -> Answer:
        found = self._quoted(*quotes.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", quotes.render_unknown_price())
        quote, instrument = found
        value = self.venue.traded_value(quote.symbol)
        return self.answer("quote", quotes.render_price(quote, instrument, value=value))

    def _price_detail(self, call: Call) -> Answer:
        found = self._quoted(*quotes.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", quotes.render_unknown_price())
        quote, instrument = found
        tick, _ = self.venue.units(quote.symbol, quote.price)
        value = self.venue.traded_value(quote.symbol)
        return self.answer(
            "quote",
            quotes.render_price_detail(
                quote, instrument, value=value, tick=tick, year=self.year_range(quote.symbol)
            ),
        )

    def _prices(self, call: Call) -> Answer:
        rows = []
        for exchange, symbol in quotes.parse_prices_request(call.params):
            found = self._quoted(exchange, symbol)
            if found is not None:
                value = self.venue.traded_value(symbol)
                rows.append(quotes.price_row(*found, value=value))
        return self.answer("quote", quotes.render_prices(rows))

    def _book(self, call: Call) -> Answer:
        found = self._quoted(*quotes.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", {"output1": {}, "output2": [], "output3": []})
        quote, instrument = found
        book = Book(symbol=quote.symbol)
        return self.answer("quote", quotes.render_book(book, quote, instrument, self.venue.now))

    def _trades(self, call: Call) -> Answer:
        found = self._quoted(*quotes.parse_symbol_request(call.params))
        is_today = values.upper_keys(call.params).get("TDAY") != "0"
        if found is None or not is_today:
            return self.answer("quote", {"output1": [], "output2": {}})
        quote, instrument = found
        tape, base = self.venue.replay.tape(quote.symbol), quote.previous_close
        last = self.venue.last_index(quote.symbol)
        rows = [
            TradeRow(
                korean_time=values.korean_time(tape.prints[k].ts),
                price=tape.prints[k].price,
                direction=values.change_sign(tape.prints[k].price, base),
                change=abs(tape.prints[k].price - base),
                change_percent=_percent(tape.prints[k].price - base, base),
                volume=tape.prints[k].volume,
                cumulative_volume=tape.volume[k],
            )
            for k in range(last, max(-1, last - _TRADES), -1)
        ]
        return self.answer("quote", quotes.render_trades(rows, instrument))

    # --- bars ----------------------------------------------------------------------------

    def _daily(self, call: Call) -> Answer:
        exchange, symbol, last, adjusted, period = bars.parse_daily_request(call.params)
        instrument = self._instrument(exchange, symbol)
        if instrument is None or self.venue.session is None:
            return self.answer("quote", _LIST_ENDS)
        recorded = self.venue.daily_bars(
            symbol, FIRST_DAY, last or self.venue.session, adjusted=adjusted
        )
        size = call.endpoint.page_size(self.profile)
        rows = merged([daily_row(bar) for bar in recorded], period)
        before = rows[-size - 1].close if len(rows) > size else None
        body = bars.render_daily(rows[: -size - 1 : -1], instrument, before=before)
        return self.answer("quote", body)

    def _minute(self, call: Call) -> Answer:
        exchange, symbol, minutes, count, before = bars.parse_minute_request(call.params)
        instrument = self._instrument(exchange, symbol)
        if instrument is None or minutes < 1 or not self.venue.is_begun:
            return self.answer("quote", _LIST_ENDS)
        goes_back = before is not None or values.upper_keys(call.params).get("PINC") == "1"
        shown: list[MinuteRow] = []
        has_more = False
        # One bar more than asked for says whether there is a next page.
        for rows in self._minute_days(symbol, minutes, before, goes_back=goes_back):
            shown += newest(rows, before or self.venue.now, count + 1 - len(shown))
            has_more = len(shown) > count
            if has_more:
                break
        replay = self.venue.replay
        body = bars.render_minute(
            shown[:count],
            instrument,
            opens=replay.open_ts,
            closes=replay.close_ts,
            has_more=has_more,
        )
        return self.answer("quote", body)

    def _minute_days(
        self, symbol: str, minutes: int, before: datetime | None, *, goes_back: bool
    ) -> Iterator[list[MinuteRow]]:
        """Yield the bars of each day, newest day first, each day's oldest first."""
        venue = self.venue
        today = venue.replay.session
        wanted = values.local_date(before, Market.US) if before is not None else today
        if wanted >= today:
            yield widened(self.minute_rows(symbol), minutes, venue.replay.open_ts)
        if not goes_back:
            return
        last = min(wanted, today - timedelta(days=1))
        for session in reversed(venue.calendar.sessions(today - _MINUTE_DAYS, last)):
            recorded, seconds = venue.past_minutes(symbol, session)
            if recorded and seconds <= 60 * minutes:
                opened, _ = venue.calendar.open_close(session)
                rows = [
                    MinuteRow(start=start, open=o, high=h, low=lo, close=c, volume=v)
                    for start, o, h, lo, c, v in recorded
                ]
                yield widened(rows, minutes, opened)

    def _index_daily(self, call: Call) -> Answer:
        _, code, first, last, period = bars.parse_index_daily_request(call.params)
        if code.lstrip(".") != BENCHMARK_CODE or not self.venue.is_begun:
            return self.answer("quote", bars.render_index_daily(None, []))
        closes = self.venue.index_closes(FIRST_DAY, self.venue.today)
        if not closes:
            return self.answer("quote", bars.render_index_daily(None, []))
        rows = [
            IndexBar(session=days[-1][0], close=Decimal(str(days[-1][1])))
            for days in grouped(
                [row for row in closes if first <= row[0] <= last], lambda row: row[0], period
            )
        ]
        value, previous = (Decimal(str(close)) for _, close in (closes[-1], closes[-2:][0]))
        now = IndexNow(
            code=BENCHMARK_CODE,
            name=BENCHMARK_NAME,
            value=value,
            previous_close=previous,
            change=value - previous,
            direction="2" if value > previous else "5" if value < previous else "3",
        )
        size = call.endpoint.page_size(self.profile)
        return self.answer("quote", bars.render_index_daily(now, rows[: -size - 1 : -1]))

    # --- lists ---------------------------------------------------------------------------

    def _volume_rank(self, call: Call) -> Answer:
        symbols = self._listed_on(lists.parse_exchange_request(call.params))
        rows = self.ranking(symbols, by_value=False)
        return self.answer("quote", lists.render_volume_rank(rows))

    def _value_rank(self, call: Call) -> Answer:
        symbols = self._listed_on(lists.parse_exchange_request(call.params))
        rows = self.ranking(symbols, by_value=True)
        return self.answer("quote", lists.render_volume_rank(rows))

    def _change_rank(self, call: Call) -> Answer:
        symbols = self._listed_on(lists.parse_exchange_request(call.params))
        rising = values.upper_keys(call.params).get("GUBN") != "0"
        traded = [q for q in self._quotes(symbols) if q.volume and q.previous_close]
        sign = -1 if rising else 1
        traded.sort(key=lambda q: (sign * _percent(q.price - q.previous_close, q.previous_close),
                                   q.symbol))  # fmt: skip
        size = call.endpoint.page_size(self.profile)
        rows = [self._rank_row(number, q) for number, q in enumerate(traded[:size], start=1)]
        return self.answer("quote", lists.render_volume_rank(rows))

    def _search(self, call: Call) -> Answer:
        exchange, criteria = lists.parse_search_request(call.params)
        found = [
            (quote, self.venue.traded_value(quote.symbol))
            for quote in self._quotes(self._listed_on(exchange))
        ]
        found = [row for row in found if all(
            _meets(criterion, ends, *row) for criterion, ends in criteria.items()
        )]  # fmt: skip
        found.sort(key=lambda row: (-row[0].volume, row[0].symbol))
        rows = [
            self._found(number, quote, value)
            for number, (quote, value) in enumerate(
                found[: call.endpoint.page_size(self.profile)], start=1
            )
        ]
        return self.answer("quote", lists.render_search(rows))

    def _product_info(self, call: Call) -> Answer:
        exchange, symbol = lists.parse_product_info_request(call.params)
        instrument = self._instrument(exchange, symbol)
        if instrument is None:
            return self.answer("empty", {"output": {}})
        today = self.venue.today
        is_gone = instrument.delisted is not None and instrument.delisted <= today
        info = ProductInfo(
            name=instrument.name or None,
            english_name=instrument.name or None,
            country_code=UNITED_STATES,
            exchange_code=TRADE_CODES[exchange],
            currency="USD",
            listed_on=instrument.listed,
            is_listed=not is_gone,
            is_delisted=is_gone,
            delisted_on=instrument.delisted if is_gone else None,
        )
        return self.answer("found", lists.render_product_info(info))

    def _product_of_type(self, call: Call) -> Answer:
        product_type, symbol = domestic_company.parse_product_info_request(call.params)
        exchange = exchange_of_product_type(product_type)
        instrument = self._instrument(exchange, symbol)
        if instrument is None:
            return self.answer("empty", {"output": {}})
        info = domestic_company.product_info(instrument, product_type)
        return self.answer("found", {"output": whole_row(info)})

    def _settlements(self, call: Call) -> Answer:
        day, _ = lists.parse_settlement_request(call.params)
        rows = []
        if self.is_business_day(day):
            settles = self.venue.settlement_date(day)
            # When the money reaches Korea was not recorded: the local date stands for both.
            rows = [
                SettlementRow(
                    country=UNITED_STATES,
                    market_name="나스닥",
                    local_settlement=settles,
                    domestic_settlement=settles,
                )
            ]
        return self.paged(lists.render_settlements(rows), has_next=False, is_empty=not rows)

    # --- helpers -------------------------------------------------------------------------

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

    def _quotes(self, symbols: Iterable[str]) -> list[Quote]:
        found = (self.venue.quote(symbol) for symbol in symbols)
        return [quote for quote in found if quote is not None]

    def _rank_row(self, rank: int, quote: Quote) -> RankRow:
        instrument = self.venue.instruments[quote.symbol]
        return RankRow(
            rank=rank,
            symbol=quote.symbol,
            name=instrument.name,
            price=quote.price,
            previous_close=quote.previous_close,
            volume=quote.volume,
            value=self.venue.traded_value(quote.symbol),
            exchange=instrument.exchange,
        )

    def _found(self, rank: int, quote: Quote, value: int) -> FoundShare:
        instrument = self.venue.instruments[quote.symbol]
        change = quote.price - quote.previous_close
        return FoundShare(
            symbol=quote.symbol,
            exchange_code=QUOTE_CODES[instrument.exchange],
            name=instrument.name or None,
            english_name=instrument.name or None,
            rank=rank,
            price=quote.price,
            direction=values.change_sign(quote.price, quote.previous_close),
            change=abs(change),
            change_percent=_percent(change, quote.previous_close),
            open=quote.open,
            high=quote.high,
            low=quote.low,
            volume=quote.volume,
            value=value,
        )


def _percent(change: int, base: int) -> Decimal:
    return Decimal(values.ratio_text(change, base))


def _meets(criterion: Criterion, ends: Range, quote: Quote, value: int) -> bool:
    """Whether a share meets a criterion; it never meets one that nothing was recorded for."""
    figures: Mapping[Criterion, Decimal] = {
        Criterion.PRICE: Decimal(quote.price) / 10_000,
        Criterion.CHANGE_PERCENT: _percent(
            quote.price - quote.previous_close, quote.previous_close
        ),
        Criterion.VOLUME: Decimal(quote.volume),
        # Thousands of dollars.
        Criterion.VALUE: Decimal(value) / 10_000_000,
    }
    figure = figures.get(criterion)
    return figure is not None and ends[0] <= figure <= ends[1]
