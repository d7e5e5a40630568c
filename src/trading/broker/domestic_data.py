"""Market data of Korean shares: bars, books, trades, indices, rankings, companies, the calendar.

Every method blocks. What a paper account lacks raises ``UsageError`` before anything is sent;
an object that the venue does not have raises ``MissingDataError``, a list of it is empty.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from trading.broker.listings import walk_back
from trading.broker.rest import Answer, Priority, RestTransport
from trading.domain.instrument import Market
from trading.errors import MissingDataError, TransientBrokerError, UsageError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import domestic_bars as bars
from trading.wire import domestic_company as company
from trading.wire import domestic_index as indices
from trading.wire import domestic_investors as flows
from trading.wire import domestic_quotes as quotes
from trading.wire import domestic_rankings as rankings
from trading.wire import endpoints as at
from trading.wire import values
from trading.wire.accounts import parse_page
from trading.wire.domestic_bars import Period
from trading.wire.domestic_company import Statement
from trading.wire.domestic_rankings import Ranking
from trading.wire.endpoints import Endpoint, Profile
from trading.wire.fields import read_rows
from trading.wire.records import Book, DailyRow, HolidayRow, MinuteRow, Page, RankRow

log = get_logger(__name__)
R = TypeVar("R")
S = TypeVar("S", bound=Statement)

_LAST_MINUTE = "153000"
_FIRST_SECOND = values.seconds_of("090000")
# How far ahead business days are asked for.
_HORIZON = timedelta(days=366)


class DomesticData:
    """The market data calls of one key.

    ``cache_dir`` keeps the business days, which KIS wants to be asked for at most once a day.
    """

    def __init__(
        self, transport: RestTransport, *, profile: Profile, clock: Clock, cache_dir: Path
    ) -> None:
        self._transport = transport
        self._profile = profile
        self._clock = clock
        self._holiday_file = cache_dir / f"holidays-krx-{profile}.json"

    # --- prices --------------------------------------------------------------------------

    def book(self, symbol: str) -> Book:
        """Return the order book; empty where the venue has none."""
        return quotes.parse_book(self._ask(at.KRX_BOOK, quotes.symbol_request(symbol)), symbol)

    def price_detail(self, symbol: str) -> quotes.PriceDetail:
        """Return the current price with warnings, halts and interruptions."""
        return self._one(at.KRX_PRICE_DETAIL, quotes.symbol_request(symbol), quotes.PriceDetail)

    def prices(self, symbols: Sequence[str]) -> tuple[quotes.WatchedPrice, ...]:
        """Return the prices of many symbols, 30 a call."""
        rows: list[quotes.WatchedPrice] = []
        for start in range(0, len(symbols), quotes.MOST_WATCHED):
            some = symbols[start : start + quotes.MOST_WATCHED]
            rows += self._rows(at.KRX_PRICES, quotes.prices_request(some), quotes.WatchedPrice)
        return tuple(rows)

    def trades(self, symbol: str) -> tuple[quotes.RecentTrade, ...]:
        """Return the last 30 trades, newest first."""
        return self._rows(at.KRX_TRADES, quotes.symbol_request(symbol), quotes.RecentTrade)

    def trades_before(self, symbol: str, last_time: str) -> tuple[quotes.TimedTrade, ...]:
        """Return today's trades up to ``last_time`` (``HHMMSS``), newest first."""
        return self._rows(
            at.KRX_TRADES_BEFORE,
            quotes.trades_before_request(symbol, last_time),
            quotes.TimedTrade,
            output="output2",
        )

    def overtime_price(self, symbol: str) -> quotes.OvertimePrice:
        """Return the single price after hours, which KRX had until 2026-09-11."""
        return self._one(at.KRX_OVERTIME_PRICE, quotes.symbol_request(symbol), quotes.OvertimePrice)

    def expected_closes(self) -> tuple[quotes.ExpectedClose, ...]:
        """Return where the closing auction would match now, largest gain first."""
        request = quotes.expected_closes_request()
        body = self._ask(at.KRX_EXPECTED_CLOSE, request)
        # The documented name and the recorded one differ.
        return read_rows(quotes.ExpectedClose, body.get("output1") or body.get("output"))

    def fund_price(self, symbol: str) -> quotes.FundPrice:
        """Return the price of an ETF or ETN beside its net asset value."""
        return self._one(at.KRX_ETF_PRICE, quotes.symbol_request(symbol), quotes.FundPrice)

    # --- bars ----------------------------------------------------------------------------

    def daily(
        self,
        symbol: str,
        first: date,
        last: date,
        *,
        adjusted: bool,
        period: Period = Period.DAY,
    ) -> list[DailyRow]:
        """Return the bars of a range, oldest first; a longer one is named by its last session."""

        def page(end: date) -> Sequence[DailyRow]:
            request = bars.daily_request(symbol, first, end, adjusted=adjusted, period=period)
            return bars.parse_daily(self._ask(at.KRX_DAILY, request))

        return walk_back(page, first, last, at.KRX_DAILY.page_real, period)

    def recent_bars(
        self, symbol: str, *, adjusted: bool, period: Period = Period.DAY
    ) -> tuple[bars.RecentBar, ...]:
        """Return the last 30 bars, newest first."""
        request = bars.recent_bars_request(symbol, adjusted=adjusted, period=period)
        return self._rows(at.KRX_RECENT_BARS, request, bars.RecentBar)

    def minutes(self, symbol: str, since: datetime | None = None) -> list[MinuteRow]:
        """Return today's minute bars so far, oldest first; not asked for far before ``since``."""
        today, clock_text = values.date_and_time(self._clock.now(), Market.KRX)
        # Asked for a later time than now, KIS fills the gap with the current price.
        return self._minutes(
            today,
            min(clock_text, _LAST_MINUTE),
            lambda time_text: self._ask(at.KRX_MINUTE, bars.minute_request(symbol, time_text)),
            since,
        )

    def past_minutes(self, symbol: str, session: date) -> list[MinuteRow]:
        """Return the minute bars of a session of about the past year, oldest first."""
        return self._minutes(
            values.day_text(session),
            _LAST_MINUTE,
            lambda time_text: self._ask(
                at.KRX_PAST_MINUTE, bars.past_minute_request(symbol, session, time_text)
            ),
        )

    def _minutes(
        self,
        day: str,
        time_text: str,
        ask: Callable[[str], Mapping[str, Any]],
        since: datetime | None = None,
    ) -> list[MinuteRow]:
        found: dict[datetime, MinuteRow] = {}
        while values.seconds_of(time_text) >= _FIRST_SECOND:
            new = {
                row.start: row
                for row in bars.parse_minute(ask(time_text))
                if row.start not in found and values.date_and_time(row.start, Market.KRX)[0] == day
            }
            if not new:
                break
            found.update(new)
            if since is not None and min(new) <= since:
                break
            time_text = bars.earlier_minute(values.date_and_time(min(new), Market.KRX)[1])
        return [found[start] for start in sorted(found)]

    # --- indices -------------------------------------------------------------------------

    def index(self, code: str) -> indices.IndexQuote:
        """Return the present value of an index (0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200)."""
        return self._one(at.KRX_INDEX, indices.index_request(code), indices.IndexQuote)

    def index_daily(
        self, code: str, first: date, last: date, *, period: Period = Period.DAY
    ) -> list[indices.IndexBar]:
        """Return the bars of an index, oldest first."""

        def page(end: date) -> Sequence[indices.IndexBar]:
            request = indices.index_daily_request(code, first, end, period)
            return self._rows(at.KRX_INDEX_DAILY, request, indices.IndexBar, output="output2")

        return walk_back(page, first, last, at.KRX_INDEX_DAILY.page_real, period)

    def index_recent(
        self, code: str, last: date, *, period: Period = Period.DAY
    ) -> tuple[indices.IndexBar, ...]:
        """Return the bars of an index up to ``last`` that fit into one answer, newest first."""
        request = indices.index_days_request(code, last, period)
        return self._rows(at.KRX_INDEX_DAYS, request, indices.IndexBar, output="output2")

    def index_minutes(self, code: str, *, seconds: int = 60) -> tuple[indices.IndexMinute, ...]:
        """Return today's intervals of an index, newest first."""
        body = self._ask(at.KRX_INDEX_MINUTE, indices.index_minute_request(code, seconds))
        # The documented name and the recorded one differ in case.
        return read_rows(indices.IndexMinute, body.get("output2") or body.get("Output2"))

    def index_times(self, code: str, *, seconds: int = 60) -> tuple[indices.IndexTime, ...]:
        """Return what an index was at times of today, newest first."""
        return self._rows(
            at.KRX_INDEX_TIMES, indices.index_times_request(code, seconds), indices.IndexTime
        )

    # --- the market ----------------------------------------------------------------------

    def ranking(self, ranking: Ranking) -> tuple[rankings.RankedShare, ...]:
        """Return the leaders of the whole market, best first, at most 30."""
        endpoint, request = rankings.ranking_call(ranking)
        return rankings.parse_ranking(self._ask(endpoint, request))

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the common shares with the largest volume of the day."""
        body = self._ask(at.KRX_VOLUME_RANK, rankings.volume_rank_request())
        return rankings.parse_volume_rank(body)

    def interruptions(self, session: date, symbol: str = "") -> tuple[rankings.Interruption, ...]:
        """Return the volatility interruptions of a session, newest first."""
        request = rankings.interruptions_request(session, symbol)
        return self._rows(at.KRX_INTERRUPTIONS, request, rankings.Interruption)

    def investors(self, symbol: str) -> tuple[flows.FlowDay, ...]:
        """Return who traded a share on the last 30 days; today appears after the close."""
        body = self._ask(at.KRX_INVESTORS, quotes.symbol_request(symbol))
        return flows.parse_flow_rows(body.get("output"))

    def investors_daily(self, symbol: str, last: date) -> tuple[flows.FlowDay, ...]:
        """Return every class's trades in a share on the days up to ``last``."""
        request = flows.investors_daily_request(symbol, last)
        body = self._ask(at.KRX_INVESTORS_DAILY, request)
        return flows.parse_flow_rows(body.get("output2"))

    def market_investors(self, code: str) -> flows.FlowDay | None:
        """Return today's flows of KOSPI (0001) or KOSDAQ (1001); ``None`` before any."""
        body = self._ask(at.KRX_INVESTORS_NOW, flows.investors_now_request(code))
        rows = flows.parse_flow_rows(body.get("output"))
        return rows[0] if rows else None

    def market_investors_daily(self, code: str, last: date) -> tuple[flows.FlowDay, ...]:
        """Return the daily flows of KOSPI (0001) or KOSDAQ (1001) up to ``last``."""
        request = flows.investors_market_request(code, last)
        body = self._ask(at.KRX_INVESTORS_MARKET, request)
        return flows.parse_flow_rows(body.get("output"))

    def net_buys(self, *, selling: bool = False) -> tuple[flows.NetBuy, ...]:
        """Return the shares that foreigners and institutions buy most today, or sell most."""
        body = self._ask(at.KRX_FOREIGN_INSTITUTION, flows.net_buys_request(selling=selling))
        return read_rows(flows.NetBuy, body.get("Output") or body.get("output"))

    def flow_estimates(self, symbol: str) -> tuple[flows.FlowEstimate, ...]:
        """Return today's provisional flows of a share, newest first."""
        return self._rows(
            at.KRX_INVESTOR_ESTIMATE,
            flows.flow_estimate_request(symbol),
            flows.FlowEstimate,
            output="output2",
        )

    # --- companies and the calendar ------------------------------------------------------

    def info(self, symbol: str) -> company.StockInfo:
        """Return what a share is."""
        return self._one(at.KRX_STOCK_INFO, company.info_request(symbol), company.StockInfo)

    def product_info(
        self, symbol: str, product_type: str = company.SHARE_TYPE
    ) -> company.ProductInfo:
        """Return what a product is, shares of other countries included."""
        request = company.info_request(symbol, product_type)
        return self._one(at.KRX_PRODUCT_INFO, request, company.ProductInfo)

    def statements(self, symbol: str, kind: type[S], *, quarterly: bool = False) -> tuple[S, ...]:
        """Return one kind of statement of a company, newest period first."""
        request = company.statement_request(symbol, quarterly=quarterly)
        return self._rows(company.STATEMENTS[kind], request, kind)

    def news(self, symbol: str = "", *, before: str = "") -> tuple[company.NewsTitle, ...]:
        """Return headlines, newest first, of one symbol when named, older than ``before``."""
        return self._rows(at.KRX_NEWS, company.news_request(symbol, before), company.NewsTitle)

    def market_time(self) -> company.MarketTime:
        """Return the business days around today and KIS's hours."""
        return self._one(at.KRX_MARKET_TIME, {}, company.MarketTime, output="output1")

    def holidays(self, first: date, last: date | None = None) -> tuple[HolidayRow, ...]:
        """Return open and closed days from ``first`` to ``last`` (by default a year).

        Asked of the venue once a day of its clock, and kept in a file for the rest of it.
        """
        last = first + _HORIZON if last is None else last
        today = values.local_date(self._clock.now(), Market.KRX)
        rows = self._kept_holidays(today, first, last)
        if rows is None:
            begin, end = min(first, today), max(last, today + _HORIZON)
            rows = self._asked_holidays(begin, end)
            self._keep_holidays(today, begin, end, rows)
        return tuple(row for row in rows if first <= row.day <= last)

    def _asked_holidays(self, first: date, last: date) -> list[HolidayRow]:
        found: dict[date, HolidayRow] = {}
        for body in self._pages(
            at.KRX_HOLIDAYS, lambda page: company.holidays_request(first, page)
        ):
            found.update((row.day, row) for row in company.parse_holidays(body))
            if found and max(found) >= last:
                break
        return [found[day] for day in sorted(found)]

    def _kept_holidays(self, today: date, first: date, last: date) -> list[HolidayRow] | None:
        try:
            kept = json.loads(self._holiday_file.read_text(encoding="utf-8"))
            if kept["asked_on"] != today.isoformat():
                return None
            if first.isoformat() < kept["first"] or last.isoformat() > kept["last"]:
                return None
            return [
                HolidayRow(day=date.fromisoformat(day), is_open=bool(is_open))
                for day, is_open in kept["days"]
            ]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("휴장일 파일을 읽을 수 없어 다시 조회함", reason=str(error))
            return None

    def _keep_holidays(
        self, today: date, first: date, last: date, rows: Sequence[HolidayRow]
    ) -> None:
        kept = {
            "asked_on": today.isoformat(),
            "first": first.isoformat(),
            "last": last.isoformat(),
            "days": [(row.day.isoformat(), row.is_open) for row in rows],
        }
        self._holiday_file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._holiday_file.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(kept), encoding="utf-8")
        fresh.replace(self._holiday_file)

    # --- calls ---------------------------------------------------------------------------

    def _ask(self, endpoint: Endpoint, request: Mapping[str, str]) -> Mapping[str, Any]:
        return self._answer(endpoint, request).body

    def _answer(
        self, endpoint: Endpoint, request: Mapping[str, str], *, is_next_page: bool = False
    ) -> Answer:
        if not endpoint.is_offered(self._profile):
            raise UsageError(endpoint.absence(self._profile))
        call = self._transport.start(
            endpoint, request, priority=Priority.QUOTE, is_next_page=is_next_page
        )
        return call.result()

    def _pages(
        self, endpoint: Endpoint, request: Callable[[Page], Mapping[str, str]]
    ) -> Iterator[Mapping[str, Any]]:
        page = Page()
        seen = {page}
        while True:
            answer = self._answer(endpoint, request(page), is_next_page=len(seen) > 1)
            yield answer.body
            if not answer.has_more:
                return
            page = parse_page(answer.body, endpoint.context)
            if not page.nk.strip() or page in seen:
                raise TransientBrokerError(f"연속 조회가 끊김: {endpoint.title}")
            seen.add(page)

    def _rows(
        self,
        endpoint: Endpoint,
        request: Mapping[str, str],
        record: type[R],
        *,
        output: str = "output",
    ) -> tuple[R, ...]:
        return read_rows(record, self._ask(endpoint, request).get(output))

    def _one(
        self,
        endpoint: Endpoint,
        request: Mapping[str, str],
        record: type[R],
        *,
        output: str = "output",
    ) -> R:
        found = self._rows(endpoint, request, record, output=output)
        if not found:
            raise MissingDataError(f"거래소에 자료 없음: {endpoint.title}")
        return found[0]
