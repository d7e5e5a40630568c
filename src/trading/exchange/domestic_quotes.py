"""The Korean market data of the local exchange, call by call.

What was recorded is served; the rest is KIS's empty answer, never an invented figure.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Instrument
from trading.domain.market import Quote
from trading.errors import ConfigError
from trading.exchange.desk import Answer, Call, Desk, daily_row, days_from, newest
from trading.exchange.floor import SuspensionKind
from trading.exchange.periods import grouped, merged, widened
from trading.exchange.replay import FIRST_DAY
from trading.wire import domestic_bars as bars
from trading.wire import domestic_company as company
from trading.wire import domestic_index as indices
from trading.wire import domestic_quotes as quotes
from trading.wire import domestic_rankings as rankings
from trading.wire import values
from trading.wire.accounts import render_page
from trading.wire.domestic_bars import Period, RecentBar
from trading.wire.domestic_company import MarketTime
from trading.wire.domestic_index import INDEX_CODES, IndexBar, IndexQuote
from trading.wire.domestic_keys import whole_row
from trading.wire.domestic_quotes import PriceDetail, RecentTrade, TimedTrade, WatchedPrice
from trading.wire.domestic_rankings import Interruption
from trading.wire.records import Book, DailyRow, HolidayRow, MinuteRow, Page, RankRow

_LIST: Mapping[str, Any] = {"output": []}
_ENDS: Mapping[str, Any] = {"output1": {}, "output2": []}

# What nothing was recorded for, with KIS's empty answer.
UNRECORDED: Mapping[str, Mapping[str, Any]] = {
    "krx_overtime_price": {"output": {}},
    "krx_expected_close": {"output1": []},
    "krx_etf_price": {"output": {}},
    "krx_index_minute": _ENDS,
    "krx_index_times": _LIST,
    "krx_news": _LIST,
    "krx_financial_ratio": _LIST,
    "krx_income_statement": _LIST,
    "krx_balance_sheet": _LIST,
    "krx_profit_ratio": _LIST,
    "krx_stability_ratio": _LIST,
    "krx_growth_ratio": _LIST,
    "krx_other_ratios": _LIST,
    "krx_cap_rank": _LIST,
    "krx_power_rank": _LIST,
    "krx_investors": _LIST,
    "krx_investors_daily": _ENDS,
    "krx_investors_now": _LIST,
    "krx_investors_market": _LIST,
    "krx_foreign_institution": {"Output": []},
    "krx_investor_estimate": {"output2": []},
}


class DomesticQuotes(Desk):
    """KRX: prices, bars, rankings, companies, the calendar (PROTOCOL 5-8)."""

    @property
    def quote_services(self) -> Mapping[str, Callable[[Call], Answer]]:
        """Return the handler of each endpoint by its name."""
        return {
            **dict.fromkeys(UNRECORDED, self._unrecorded),
            "krx_price": self._price,
            "krx_price_detail": self._price_detail,
            "krx_prices": self._prices,
            # No book was ever recorded: blank levels.
            "krx_book": self._book,
            "krx_trades": self._trades,
            "krx_trades_before": self._trades_before,
            "krx_daily": self._daily,
            "krx_recent_bars": self._recent_bars,
            "krx_minute": self._minute,
            "krx_past_minute": self._past_minute,
            "krx_index": self._index,
            "krx_index_days": self._index_days,
            "krx_index_daily": self._index_days,
            "krx_volume_rank": self._volume_rank,
            "krx_fluctuation_rank": self._fluctuation_rank,
            "krx_interruptions": self._interruptions,
            "krx_stock_info": self._stock_info,
            "krx_product_info": self._product_info,
            "krx_holidays": self._holidays,
            "krx_market_time": self._market_time,
        }

    def _unrecorded(self, call: Call) -> Answer:
        return self.answer("quote", UNRECORDED[call.endpoint.name])

    # --- prices --------------------------------------------------------------------------

    def _price(self, call: Call) -> Answer:
        symbol = quotes.parse_symbol_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", quotes.render_unknown_price())
        tick, lot = self.venue.units(symbol, quote.price)
        body = quotes.render_price(
            quote,
            self.venue.instruments[symbol],
            value=self.venue.traded_value(symbol),
            tick=tick,
            lot=lot,
            year=self.year_range(symbol),
        )
        return self.answer("quote", body)

    def _price_detail(self, call: Call) -> Answer:
        found = self._quoted(quotes.parse_symbol_request(call.params))
        if found is None:
            return self.answer("quote", {"output": {}})
        quote, instrument = found
        suspension = self.venue.interruption(quote.symbol)
        in_auction = suspension is not None and suspension.kind is SuspensionKind.VI
        detail = PriceDetail(
            price=quote.price,
            base=quote.previous_close,
            change=quote.price - quote.previous_close,
            change_percent=_percent(quote.price - quote.previous_close, quote.previous_close),
            open=quote.open or None,
            high=quote.high or None,
            low=quote.low or None,
            upper_limit=quote.upper_limit or None,
            lower_limit=quote.lower_limit or None,
            volume=quote.volume,
            value=self.venue.traded_value(quote.symbol),
            board=instrument.exchange,
            sector=instrument.sector,
            interruption="Y" if in_auction else "N",
            is_halted=quote.halted,
        )
        return self.answer("quote", {"output": whole_row(detail) | _sign(quote)})

    def _prices(self, call: Call) -> Answer:
        rows = []
        for symbol in quotes.parse_prices_request(call.params):
            found = self._quoted(symbol)
            if found is None:
                continue
            quote, instrument = found
            change = quote.price - quote.previous_close
            row = WatchedPrice(
                symbol=symbol,
                name=instrument.name,
                price=Decimal(quote.price),
                change=Decimal(change),
                change_percent=_percent(change, quote.previous_close),
                base=Decimal(quote.previous_close),
                open=_known(quote.open),
                high=_known(quote.high),
                low=_known(quote.low),
                upper_limit=_known(quote.upper_limit),
                lower_limit=_known(quote.lower_limit),
                volume=quote.volume,
                value=self.venue.traded_value(symbol),
            )
            rows.append(whole_row(row) | _sign(quote))
        return self.answer("quote", {"output": rows})

    def _book(self, call: Call) -> Answer:
        symbol = quotes.parse_symbol_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", {"output1": {}, "output2": {}})
        now = values.korean_time(self.venue.now)
        return self.answer("quote", quotes.render_book(Book(symbol=symbol), quote, now))

    def _trades(self, call: Call) -> Answer:
        symbol = quotes.parse_symbol_request(call.params)
        rows = [
            RecentTrade(
                time=row.time,
                price=row.price,
                change=row.change,
                change_percent=row.change_percent,
                volume=row.volume,
            )
            for row in self._printed(symbol, "235959", call.endpoint.page_size(self.profile))
        ]
        return self.answer("quote", {"output": [self._signed(row, symbol) for row in rows]})

    def _trades_before(self, call: Call) -> Answer:
        symbol, last_time = quotes.parse_trades_before_request(call.params)
        quote = self.venue.quote(symbol)
        if quote is None:
            return self.answer("quote", _ENDS)
        rows = self._printed(symbol, last_time, call.endpoint.page_size(self.profile))
        head = {
            "stck_prpr": str(quote.price),
            **quotes.change_fields(quote.price, quote.previous_close),
            "acml_vol": str(quote.volume),
            "prdy_vol": "",
            "rprs_mrkt_kor_name": str(self.venue.instruments[symbol].exchange),
        }
        shown = [self._signed(row, symbol) for row in rows]
        return self.answer("quote", {"output1": head, "output2": shown})

    def _printed(self, symbol: str, last_time: str, count: int) -> list[TimedTrade]:
        """Return the newest prints up to a time of today, newest first."""
        quote = self.venue.quote(symbol)
        if quote is None:
            return []
        tape, base = self.venue.replay.tape(symbol), quote.previous_close
        rows: list[TimedTrade] = []
        for k in range(self.venue.last_index(symbol), -1, -1):
            trade = tape.prints[k]
            time_text = values.korean_time(trade.ts)
            if time_text > last_time:
                continue
            if len(rows) == count:
                break
            change = trade.price - base
            rows.append(
                TimedTrade(
                    time=time_text,
                    price=trade.price,
                    change=change,
                    change_percent=_percent(change, base),
                    volume=trade.volume,
                    cumulative_volume=tape.volume[k],
                )
            )
        return rows

    def _signed(self, row: RecentTrade | TimedTrade, symbol: str) -> dict[str, str]:
        base = self.venue.replay.reference(symbol)
        sign = values.change_sign(row.price or base, base)
        return whole_row(row) | {"prdy_vrss_sign": sign}

    # --- bars ----------------------------------------------------------------------------

    def _daily(self, call: Call) -> Answer:
        symbol, first, last, adjusted = bars.parse_daily_request(call.params)
        found = self._quoted(symbol)
        if found is None:
            return self.answer("quote", _ENDS)
        size = call.endpoint.page_size(self.profile)
        period = bars.parse_period(call.params)
        rows = self._bars(symbol, first, last, adjusted=adjusted, period=period)
        earlier = rows[:-size] or self._bars(
            symbol, FIRST_DAY, first - timedelta(days=1), adjusted=adjusted, period=Period.DAY
        )
        before = earlier[-1].close if earlier else None
        body = bars.render_daily(rows[: -size - 1 : -1], *found, before=before)
        return self.answer("quote", body)

    def _recent_bars(self, call: Call) -> Answer:
        symbol, adjusted, period = bars.parse_recent_bars_request(call.params)
        if self._quoted(symbol) is None:
            return self.answer("quote", _LIST)
        size = call.endpoint.page_size(self.profile)
        rows = self._bars(symbol, FIRST_DAY, self.venue.today, adjusted=adjusted, period=period)
        # One more than shown: its close is the base of the oldest one's change.
        newest_first = rows[: -size - 2 : -1]
        shown = []
        for number, row in enumerate(newest_first[:size]):
            before = newest_first[number + 1].close if number + 1 < len(newest_first) else None
            change = None if before is None else row.close - before
            bar = RecentBar(
                session=row.session,
                open=row.open,
                high=row.high,
                low=row.low,
                close=row.close,
                volume=row.volume,
                change=change,
                change_percent=_percent(change or 0, before) if before else None,
            )
            sign = values.change_sign(row.close, before) if before else ""
            shown.append(whole_row(bar) | {"prdy_vrss_sign": sign})
        return self.answer("quote", {"output": shown})

    def _bars(
        self, symbol: str, first: date, last: date, *, adjusted: bool, period: Period
    ) -> list[DailyRow]:
        recorded = self.venue.daily_bars(symbol, first, last, adjusted=adjusted)
        return merged([daily_row(bar) for bar in recorded], period)

    def _minute(self, call: Call) -> Answer:
        symbol, time_text = bars.parse_minute_request(call.params)
        found = self._quoted(symbol)
        if found is None:
            return self.answer("quote", _ENDS)
        return self._shown_minutes(call, found, self.venue.today, time_text)

    def _past_minute(self, call: Call) -> Answer:
        symbol, session, time_text = bars.parse_past_minute_request(call.params)
        found = self._quoted(symbol)
        if found is None:
            return self.answer("quote", _ENDS)
        return self._shown_minutes(call, found, session, time_text)

    def _shown_minutes(
        self, call: Call, found: tuple[Quote, Instrument], session: date, time_text: str
    ) -> Answer:
        quote, instrument = found
        # No bar ends at midnight: clients that name no time send it, and get the newest bars.
        time_text = time_text if time_text.strip("0") else "235959"
        last = values.instant(values.day_text(session), time_text, self.venue.market)
        size = call.endpoint.page_size(self.profile)
        rows = newest(self._minutes_of(quote.symbol, session), last, size)
        return self.answer("quote", bars.render_minute(rows, quote, instrument))

    def _minutes_of(self, symbol: str, session: date) -> Sequence[MinuteRow]:
        if session == self.venue.today:
            return self.minute_rows(symbol)
        recorded, seconds = self.venue.past_minutes(symbol, session)
        if not recorded or seconds > 60:
            return []
        opened, _ = self.venue.calendar.open_close(session)
        rows = [
            MinuteRow(start=start, open=o, high=h, low=lo, close=c, volume=v)
            for start, o, h, lo, c, v in recorded
        ]
        return widened(rows, 1, opened)

    # --- indices -------------------------------------------------------------------------

    def _index(self, call: Call) -> Answer:
        closes = self._index_closes(indices.parse_index_request(call.params), self.venue.today)
        # The index of a running session was not recorded: there is none until its close.
        if not closes or closes[-1][0] != self.venue.today:
            return self.answer("quote", {"output": {}})
        change = closes[-1][1] - closes[-2][1] if len(closes) > 1 else None
        quote = IndexQuote(value=closes[-1][1], change=change)
        return self.answer("quote", {"output": whole_row(quote)})

    def _index_days(self, call: Call) -> Answer:
        code, first, last, period = indices.parse_index_daily_request(call.params)
        closes = [row for row in self._index_closes(code, last) if row[0] >= first]
        size = call.endpoint.page_size(self.profile)
        rows = [
            IndexBar(session=days[-1][0], close=days[-1][1])
            for days in grouped(closes, lambda row: row[0], period)
        ]
        shown = [whole_row(row) for row in rows[: -size - 1 : -1]]
        return self.answer("quote", {"output1": {}, "output2": shown})

    def _index_closes(self, code: str, last: date) -> list[tuple[date, Decimal]]:
        # The benchmark of the Korean market, the only index that was recorded.
        if code != INDEX_CODES["KOSPI"] or not self.venue.is_begun:
            return []
        closes = self.venue.index_closes(FIRST_DAY, last)
        return [(session, Decimal(str(close))) for session, close in closes]

    # --- the market ----------------------------------------------------------------------

    def _volume_rank(self, call: Call) -> Answer:
        by_value = values.upper_keys(call.params).get("FID_BLNG_CLS_CODE") == "3"
        rows = self.ranking(self._classed(call), by_value=by_value)
        return self.answer("quote", rankings.render_volume_rank(rows))

    def _fluctuation_rank(self, call: Call) -> Answer:
        order = values.upper_keys(call.params).get("FID_RANK_SORT_CLS_CODE", "0")
        traded = [
            quote
            for symbol in self._classed(call)
            if (quote := self.venue.quote(symbol)) is not None
            and quote.volume
            and quote.previous_close
        ]
        traded.sort(key=lambda quote: (_moved(quote, order), quote.symbol))
        size = call.endpoint.page_size(self.profile)
        rows = [
            RankRow(
                rank=rank,
                symbol=quote.symbol,
                name=self.venue.instruments[quote.symbol].name,
                price=quote.price,
                previous_close=quote.previous_close,
                volume=quote.volume,
            )
            for rank, quote in enumerate(traded[:size], start=1)
        ]
        return self.answer("quote", rankings.render_fluctuation(rows))

    def _classed(self, call: Call) -> list[str]:
        """Return the symbols of today that a ranking asks for: all, common or preferred."""
        kind = values.upper_keys(call.params).get("FID_DIV_CLS_CODE", "0")
        return [
            symbol
            for symbol in (self.venue.replay.today if self.venue.is_begun else ())
            # The last digit of a Korean common share is 0.
            if kind == "0" or (symbol[-1] == "0") == (kind == "1")
        ]

    def _interruptions(self, call: Call) -> Answer:
        fields = values.upper_keys(call.params)
        values.required(fields, "FID_INPUT_DATE_1")
        symbol = fields.get("FID_INPUT_ISCD", "").strip()
        rows = []
        for suspension in self.venue.suspensions():
            day, began = values.date_and_time(suspension.since, self.venue.market)
            if (
                suspension.kind is not SuspensionKind.VI
                or day != fields["FID_INPUT_DATE_1"]
                or symbol not in ("", suspension.symbol)
            ):
                continue
            is_over = suspension.until <= self.venue.now
            row = Interruption(
                symbol=suspension.symbol,
                name=self.venue.instruments[suspension.symbol].name,
                state="N" if is_over else "Y",
                session=values.day(day),
                triggered_at=began,
                released_at=values.korean_time(suspension.until) if is_over else None,
            )
            rows.append(whole_row(row))
        return self.answer("quote", {"output": rows})

    # --- companies and the calendar ------------------------------------------------------

    def _stock_info(self, call: Call) -> Answer:
        found = self._quoted(company.parse_info_request(call.params))
        if found is None:
            return self.answer("empty", {"output": {}})
        quote, instrument = found
        info = company.stock_info(instrument, halted=quote.halted)
        return self.answer("found", {"output": whole_row(info)})

    def _product_info(self, call: Call) -> Answer:
        product_type, symbol = company.parse_product_info_request(call.params)
        instrument = self.venue.instruments.get(symbol)
        if instrument is None or product_type != company.SHARE_TYPE:
            return self.answer("empty", {"output": {}})
        return self.answer("found", {"output": whole_row(company.product_info(instrument))})

    def _holidays(self, call: Call) -> Answer:
        first, asked = company.parse_holidays_request(call.params)
        if call.is_next_page and asked.nk:
            first = values.day(asked.nk)
        size = call.endpoint.page_size(self.profile)
        rows = []
        for day in days_from(first, size):
            try:
                rows.append(HolidayRow(day=day, is_open=self.is_business_day(day)))
            except ConfigError:
                break
        more = len(rows) == size
        page = Page(nk=values.day_text(rows[-1].day + timedelta(days=1)) if more else "")
        body = {**company.render_holidays(rows), **render_page(page, call.endpoint.context)}
        return self.paged(body, has_next=more, is_empty=not rows)

    def _market_time(self, call: Call) -> Answer:
        venue = self.venue
        if not venue.is_begun:
            return self.answer("quote", {"output1": {}})
        today, now = values.date_and_time(venue.now, venue.market)
        around = venue.calendar.sessions(
            venue.today - timedelta(days=15), venue.today + timedelta(days=15)
        )
        before = [day for day in around if day < venue.today][-2:]
        days: list[date | None] = [*before, *(day for day in around if day >= venue.today)]
        first, second, third, fourth, fifth = (days + [None] * 5)[:5]
        row = MarketTime(
            first=first,
            second=second,
            third=third,
            fourth=fourth,
            fifth=fifth,
            today=values.day(today),
            now=now,
            opens=values.korean_time(venue.replay.open_ts),
            closes=values.korean_time(venue.replay.close_ts),
        )
        return self.answer("quote", {"output1": whole_row(row)})

    # --- helpers -------------------------------------------------------------------------

    def _quoted(self, symbol: str) -> tuple[Quote, Instrument] | None:
        quote = self.venue.quote(symbol)
        return None if quote is None else (quote, self.venue.instruments[symbol])


def _sign(quote: Quote) -> dict[str, str]:
    sign = values.change_sign(
        quote.price, quote.previous_close, upper=quote.upper_limit, lower=quote.lower_limit
    )
    return {"prdy_vrss_sign": sign}


def _known(price: int) -> Decimal | None:
    return Decimal(price) if price else None


def _percent(change: int, base: int) -> Decimal:
    return Decimal(values.ratio_text(change, base))


def _moved(quote: Quote, order: str) -> float:
    """Return by what a ranking of changes sorts, best first."""
    from_base = (quote.price - quote.previous_close) / quote.previous_close
    from_open = (quote.price - quote.open) / quote.open
    if order == "1":
        return from_base
    if order == "2":
        return -from_open
    if order == "3":
        return from_open
    if order == "4":
        return -(quote.high - quote.low) / quote.previous_close
    return -from_base
