"""Market data of US shares and foreign indices; every call blocks.

What belongs to an account is in ``overseas``. Calls that 모의투자 lacks raise ``UsageError`` with
a Korean sentence, unless their docstring names a substitute.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from trading.broker.listings import walk_back
from trading.broker.rest import Priority, RestTransport
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.errors import UsageError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import endpoints as at
from trading.wire import overseas_bars as bars
from trading.wire import overseas_lists as lists
from trading.wire import overseas_quotes as quotes
from trading.wire import values
from trading.wire.domestic_bars import Period
from trading.wire.endpoints import Profile
from trading.wire.overseas_bars import IndexBar, IndexMinute, IndexNow, Series
from trading.wire.overseas_codes import UNITED_STATES, US_EXCHANGES
from trading.wire.overseas_lists import (
    BreakingNews,
    Criteria,
    Criterion,
    FoundShare,
    NewsTitle,
    ProductInfo,
    RankedShare,
    Ranking,
)
from trading.wire.overseas_quotes import PriceDetail, PriceRow, TradeRow
from trading.wire.records import (
    Book,
    DailyRow,
    HolidayRow,
    MinuteRow,
    Page,
    RankRow,
    SettlementRow,
)

log = get_logger(__name__)

_REGULAR_CLOSE = "160000"
_MOST_SHARES = 10**12 - 1


class OverseasData:
    """What KIS tells of the US market; ``instruments`` names the exchange of each symbol."""

    def __init__(
        self,
        transport: RestTransport,
        *,
        profile: Profile,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        search_least_volume: int,
    ) -> None:
        self._transport = transport
        self._profile = profile
        self._instruments = instruments
        self._clock = clock
        self._search_least_volume = search_least_volume

    # --- prices --------------------------------------------------------------------------

    def price(self, symbol: str) -> Quote:
        """Return the current price; paper accounts know no open, high and low."""
        body = self._ask(self.price_endpoint, quotes.symbol_request(self.instrument(symbol)))
        return quotes.parse_price(body, symbol, self._clock.now())

    def price_detail(self, symbol: str) -> PriceDetail:
        """Return the figures of the day and of the year."""
        request = quotes.symbol_request(self.instrument(symbol))
        return quotes.parse_price_detail(self._ask(at.US_PRICE_DETAIL, request))

    def prices(self, symbols: Sequence[str]) -> tuple[PriceRow, ...]:
        """Return the prices of many shares, ten a call; unknown ones are left out."""
        instruments = [self.instrument(symbol) for symbol in symbols]
        size = quotes.PRICES_PER_CALL
        rows: list[PriceRow] = []
        for start in range(0, len(instruments), size):
            request = quotes.prices_request(instruments[start : start + size])
            rows += quotes.parse_prices(self._ask(at.US_PRICES, request))
        return tuple(rows)

    def book(self, symbol: str) -> Book:
        """Return the ten-level order book."""
        body = self._ask(at.US_BOOK, quotes.symbol_request(self.instrument(symbol)))
        return quotes.parse_book(body, symbol)

    def trades(self, symbol: str, *, today: bool = True) -> tuple[TradeRow, ...]:
        """Return the last executions of today or of the session before, newest first."""
        request = quotes.trades_request(self.instrument(symbol), today=today)
        return quotes.parse_trades(self._ask(at.US_TRADES, request))

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
        """Return bars of days, weeks or months, oldest first."""
        if period is Period.YEAR:
            raise UsageError("해외 주식에는 년봉이 없음")
        instrument = self.instrument(symbol)

        def page(end: date) -> Sequence[DailyRow]:
            request = bars.daily_request(instrument, end, adjusted=adjusted, period=period)
            return bars.parse_daily(self._ask(at.US_DAILY, request))

        return walk_back(page, first, last, at.US_DAILY.page_real, period)

    def minutes(self, symbol: str, since: datetime | None = None) -> list[MinuteRow]:
        """Return today's minute bars so far, oldest first; empty on paper accounts.

        They are not asked for far before ``since``.
        """
        if not at.US_MINUTE.is_offered(self._profile):
            log.warning("모의투자에는 해외 분봉이 없음", symbol=symbol)
            return []
        today = values.local_date(self._clock.now(), Market.US)
        return self._minutes(symbol, today, None, 1, since)

    def past_minutes(self, symbol: str, session: date, *, minutes: int = 1) -> list[MinuteRow]:
        """Return the bars of a past session, oldest first; KIS keeps about a month of them."""
        close = values.instant(values.day_text(session), _REGULAR_CLOSE, Market.US)
        return self._minutes(symbol, session, close, minutes)

    def index(self, code: str, *, series: Series = Series.INDEX) -> IndexNow:
        """Return where an index (``SPX``, ``.DJI``) or a rate (``FX@KRW``) stands."""
        today = values.local_date(self._clock.now(), Market.US)
        request = bars.index_daily_request(series, code, today, today, Period.DAY)
        return bars.parse_index_now(self._ask(at.US_INDEX_DAILY, request))

    def index_daily(
        self,
        code: str,
        first: date,
        last: date,
        *,
        period: Period = Period.DAY,
        series: Series = Series.INDEX,
    ) -> list[IndexBar]:
        """Return the bars of an index or a rate, oldest first."""

        def page(end: date) -> Sequence[IndexBar]:
            request = bars.index_daily_request(series, code, first, end, period)
            return bars.parse_index_daily(self._ask(at.US_INDEX_DAILY, request))

        return walk_back(page, first, last, at.US_INDEX_DAILY.page_real, period)

    def index_minutes(self, code: str, *, past: bool = False) -> tuple[IndexMinute, ...]:
        """Return the newest minutes of an index, newest first."""
        request = bars.index_minute_request(code, past=past)
        return bars.parse_index_minutes(self._ask(at.US_INDEX_MINUTE, request))

    # --- lists ---------------------------------------------------------------------------

    def ranking(
        self, ranking: Ranking, exchanges: Sequence[Exchange] = US_EXCHANGES
    ) -> tuple[RankedShare, ...]:
        """Return the leaders of each exchange in turn: KIS ranks no two of them together."""
        found: list[RankedShare] = []
        for exchange in exchanges:
            endpoint, request = lists.ranking_call(ranking, exchange)
            found += lists.parse_ranking(self._ask(endpoint, request))
        return tuple(found)

    def search(
        self, criteria: Criteria, exchanges: Sequence[Exchange] = US_EXCHANGES
    ) -> tuple[FoundShare, ...]:
        """Return the shares that meet all ``criteria``, at most 100 of each exchange."""
        found: list[FoundShare] = []
        for exchange in exchanges:
            body = self._ask(at.US_SEARCH, lists.search_request(exchange, criteria))
            found += lists.parse_search(body)
        return tuple(found)

    def volume_rank(self) -> tuple[RankRow, ...]:
        """Return the volume leaders of the three exchanges, largest first.

        Paper accounts have no ranking: a search by volume stands in for it.
        """
        is_ranked = at.US_VOLUME_RANK.is_offered(self._profile)
        least = {Criterion.VOLUME: (self._search_least_volume, _MOST_SHARES)}
        rows: list[RankRow] = []
        for exchange in US_EXCHANGES:
            endpoint, request = (
                lists.ranking_call(Ranking.VOLUME, exchange)
                if is_ranked
                else (at.US_SEARCH, lists.search_request(exchange, least))
            )
            rows += lists.parse_volume_rank(self._ask(endpoint, request))
        return tuple(sorted(rows, key=lambda row: (-row.volume, row.symbol)))

    def info(self, symbol: str) -> ProductInfo:
        """Return what KIS keeps about a share."""
        request = lists.product_info_request(self.instrument(symbol))
        return lists.parse_product_info(self._ask(at.US_PRODUCT_INFO, request))

    def news(self, symbol: str | None = None, day: date | None = None) -> tuple[NewsTitle, ...]:
        """Return headlines about a share or all of the US, newest first, up to ``day``."""
        request = lists.news_request(self.instrument(symbol) if symbol else None, day)
        return lists.parse_news(self._ask(at.US_NEWS, request))

    def breaking_news(self) -> tuple[BreakingNews, ...]:
        """Return the newest foreign breaking news."""
        return lists.parse_breaking_news(
            self._ask(at.US_BREAKING_NEWS, lists.breaking_news_request())
        )

    def settlements(self, session: date) -> tuple[SettlementRow, ...]:
        """Return when a trade of ``session`` settles, of every market that is open then."""
        body = self._ask(at.US_HOLIDAYS, lists.settlement_request(session, Page()))
        return lists.parse_settlements(body)

    def holidays(self, first: date) -> tuple[HolidayRow, ...]:
        """Return whether ``first`` is open: settlement days are listed for open markets only."""
        if not at.US_HOLIDAYS.is_offered(self._profile):
            log.warning("모의투자에는 해외 휴장일 조회가 없음")
            return ()
        is_open = any(row.country == UNITED_STATES for row in self.settlements(first))
        return (HolidayRow(day=first, is_open=is_open),)

    # --- helpers -------------------------------------------------------------------------

    @property
    def price_endpoint(self) -> at.Endpoint:
        """The call for the current price: the detailed one where the profile has it."""
        return at.US_PRICE_DETAIL if at.US_PRICE_DETAIL.is_offered(self._profile) else at.US_PRICE

    def instrument(self, symbol: str) -> Instrument:
        """Return the share called ``symbol``; ``UsageError`` when its exchange is not known."""
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise UsageError(f"거래소를 알 수 없는 종목: {symbol}")
        return instrument

    def _ask(self, endpoint: at.Endpoint, request: Mapping[str, str]) -> Mapping[str, Any]:
        return self._transport.start(endpoint, request, priority=Priority.QUOTE).result().body

    def _minutes(
        self,
        symbol: str,
        session: date,
        before: datetime | None,
        minutes: int,
        since: datetime | None = None,
    ) -> list[MinuteRow]:
        instrument = self.instrument(symbol)
        found: dict[datetime, MinuteRow] = {}
        while True:
            request = bars.minute_request(instrument, before, minutes=minutes)
            rows = bars.parse_minute(self._ask(at.US_MINUTE, request))
            dates = {row.start: values.local_date(row.start, Market.US) for row in rows}
            new = {
                row.start: row
                for row in rows
                if row.start not in found and dates[row.start] == session
            }
            found.update(new)
            is_last = len(rows) < bars.MINUTES_PER_CALL or min(dates.values()) < session
            if not new or is_last or (since is not None and min(new) <= since):
                return [found[start] for start in sorted(found)]
            before = min(new) - timedelta(minutes=minutes)
