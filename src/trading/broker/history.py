"""What KIS tells of a market as frames, and as a source of the lake.

KIS gives raw daily bars with the adjusted close beside them; corporate actions are inferred from
the pair by the store. Minute bars of past sessions go back about a year in Korea and a month in
the US, on real accounts. The symbol files tell the state of every share, and the last figures of
its company, without a key.
"""

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trading.broker.domestic_data import DomesticData
from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import MissingDataError, UsageError
from trading.log import get_logger
from trading.wire import domestic_company as company
from trading.wire import domestic_rankings, overseas_lists, values
from trading.wire.domestic_index import INDEX_CODES
from trading.wire.domestic_index import IndexBar as DomesticIndexBar
from trading.wire.endpoints import (
    KRX_FINANCIAL_RATIO,
    KRX_HOLIDAYS,
    KRX_PAST_MINUTE,
    KRX_VOLUME_RANK,
    US_MINUTE,
    US_VOLUME_RANK,
)
from trading.wire.masters import Board, ListedShare, MarketWarning
from trading.wire.overseas_bars import IndexBar as OverseasIndexBar
from trading.wire.overseas_bars import Series
from trading.wire.records import DailyRow, MinuteRow

if TYPE_CHECKING:
    import pandas as pd

    from trading.broker.client import KisClient

log = get_logger(__name__)

SOURCE = "kis"
# What comes as it is now, whatever the range.
MOMENTARY = frozenset({"holidays", "instruments", "listings", "fundamentals", "rankings"})
_LOOK_BACK = timedelta(days=5 * 366)
_PAST_MINUTES = {Market.KRX: KRX_PAST_MINUTE, Market.US: US_MINUTE}
# The indices that ``universe.yaml`` calls the benchmarks, by KIS's codes.
_BENCHMARKS = {Market.KRX: "KOSPI", Market.US: "S&P 500"}
# Every series that is kept of a market; the exchange rate stands beside the US indices.
_US_INDICES: Mapping[str, tuple[Series, str]] = {
    "S&P 500": (Series.INDEX, "SPX"),
    "NASDAQ": (Series.INDEX, "COMP"),
    "USDKRW": (Series.EXCHANGE_RATE, "FX@KRW"),
}
_KOREAN_RANKINGS: Mapping[domestic_rankings.Ranking, str] = {
    domestic_rankings.Ranking.VOLUME: "volume",
    domestic_rankings.Ranking.VALUE: "value",
    domestic_rankings.Ranking.RISE: "change_percent",
    domestic_rankings.Ranking.FALL: "change_percent",
    domestic_rankings.Ranking.MARKET_CAP: "cap_hundred_million_krw",
}
_US_RANKINGS: Mapping[overseas_lists.Ranking, str] = {
    overseas_lists.Ranking.VOLUME: "volume",
    overseas_lists.Ranking.VALUE: "value",
    overseas_lists.Ranking.RISE: "change_percent",
    overseas_lists.Ranking.FALL: "change_percent",
    overseas_lists.Ranking.MARKET_CAP: "market_cap",
}
_WARNINGS = {
    MarketWarning.CAUTION: "투자주의",
    MarketWarning.WARNING: "투자경고",
    MarketWarning.DANGER: "투자위험",
}
# The figures of a company that are kept, by the names of the store; amounts in won.
_MASTER_METRICS = {
    "sales": "sales",
    "operating_profit": "operating_profit",
    "ordinary_profit": "ordinary_profit",
    "net_income": "net_income",
    "return_on_equity": "roe",
}
_HUNDRED_MILLION = 100_000_000
_STATEMENT_METRICS: Mapping[type[company.Statement], Mapping[str, tuple[str, int]]] = {
    company.FinancialRatio: {
        "return_on_equity": ("roe", 1),
        "earnings_per_share": ("eps", 1),
        "sales_per_share": ("sps", 1),
        "book_per_share": ("bps", 1),
        "debt": ("debt_to_equity", 1),
        "sales_growth": ("sales_growth", 1),
    },
    company.IncomeStatement: {
        "sales": ("sales", _HUNDRED_MILLION),
        "gross_profit": ("gross_profit", _HUNDRED_MILLION),
        "operating_profit": ("operating_profit", _HUNDRED_MILLION),
        "ordinary_profit": ("ordinary_profit", _HUNDRED_MILLION),
        "net_income": ("net_income", _HUNDRED_MILLION),
    },
    company.BalanceSheet: {
        "assets": ("total_assets", _HUNDRED_MILLION),
        "debts": ("total_liabilities", _HUNDRED_MILLION),
        "equity": ("equity", _HUNDRED_MILLION),
    },
}


class KisBarSource:
    """One market through KIS; see ``ports.BulkSource``.

    ``clients`` share one key and with it one budget of calls; each asks one thing at a time, so
    as many threads may ask at once. ``published`` tells when the statement of a period is known
    by rule, for KIS does not say it: without it there are no statements.
    """

    name = SOURCE
    basis = PriceBasis.RAW

    def __init__(
        self,
        client: "KisClient",
        *others: "KisClient",
        published: Callable[[date], date] | None = None,
    ) -> None:
        self._client = client
        self._idle: queue.SimpleQueue[KisClient] = queue.SimpleQueue()
        for one in (client, *others):
            self._idle.put(one)
        self._published = published

    def kinds(self, market: Market) -> frozenset[str]:
        """Return what the account may ask for."""
        if market is not self._client.market:
            return frozenset()
        profile = self._client.profile
        found = {"instruments", "index", "daily"}
        if _PAST_MINUTES[market].is_offered(profile):
            found.add("minute")
        if market is Market.KRX:
            found |= {"listings", "fundamentals"}
            if KRX_HOLIDAYS.is_offered(profile):
                found.add("holidays")
        ranking = KRX_VOLUME_RANK if market is Market.KRX else US_VOLUME_RANK
        if ranking.is_offered(profile):
            found.add("rankings")
        return frozenset(found)

    def table(
        self, kind: str, market: Market, symbols: Sequence[str] | None, first: date, last: date
    ) -> Any:
        """Return a frame of one kind in its agreed shape.

        What is in ``MOMENTARY`` comes as it is now, whatever the range: the holidays of a year from
        today on, which KIS wants to be asked for once a day; the fundamentals of the symbol files.
        """
        if kind not in self.kinds(market):
            raise UsageError(f"이 계좌로는 한국투자증권에서 받을 수 없는 자료: {kind}")
        if kind == "daily":
            return self.daily(market, symbols, first, last)
        if kind == "minute":
            return self._past_minutes(self._named(symbols), first, last)
        if kind == "index":
            return self._index_bars(symbols, first, last)
        with self._client_in_turn() as client:
            if kind == "holidays":
                return _holidays_frame(_domestic(client), client.clock.now())
            if kind == "rankings":
                return _rankings_frame(client)
            if kind == "instruments":
                return _instruments_frame(self.instruments(market), client.clock.now())
            shares = _listed(client)
            if kind == "listings":
                return _listings_frame(shares, client.clock.now())
            return self._fundamentals(client, shares, symbols)

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the client's instruments."""
        return list(self._client.instruments.values()) if market is self._client.market else []

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return daily bars; a symbol that KIS does not know is left out with a warning."""
        if market is not self._client.market:
            return _daily_table([])
        frames = []
        for symbol in self._named(symbols):
            with self._client_in_turn() as client:
                frame = client.daily_bars(symbol, first, last)
            if frame.empty:
                log.warning("일봉 없음", symbol=symbol, first=str(first), last=str(last))
            else:
                frames.append(frame)
        return _together(frames, _daily_table([]))

    def sessions(self, market: Market) -> list[date]:
        """Return the sessions of the past five years, as the first instrument's bars tell them.

        KIS has no list of recorded days; the running session is the last one.
        """
        if market is not self._client.market:
            return []
        today = values.local_date(self._client.clock.now(), market)
        symbol = next(iter(self._client.instruments))
        frame = self._client.daily_bars(symbol, today - _LOOK_BACK, today)
        return list(frame["session"].dt.date)

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return a session's minute bars; empty where the account has only the running one's."""
        client = self._client
        frames = []
        if market is client.market:
            today = values.local_date(client.clock.now(), market)
            if session == today:
                frames = [client.minute_bars(symbol) for symbol in symbols]
            elif _PAST_MINUTES[market].is_offered(client.profile):
                frames = [self._past_minutes(symbols, session, session)]
        found = _together([frame for frame in frames if not frame.empty], _minute_table([]))
        return found.sort_values(["ts", "symbol"], ignore_index=True)

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return the closes of the market's benchmark."""
        found = (
            self._index_bars([_BENCHMARKS[market]], first, last)
            if market is self._client.market
            else _index_table([])
        )
        return found[["session", "name", "close"]]

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return nothing: the store infers actions from raw and adjusted closes."""
        return []

    @contextmanager
    def _client_in_turn(self) -> Iterator["KisClient"]:
        client = self._idle.get()
        try:
            yield client
        finally:
            self._idle.put(client)

    def _named(self, symbols: Sequence[str] | None) -> Sequence[str]:
        known = self._client.instruments
        for symbol in symbols or ():
            if symbol not in known:
                raise MissingDataError(f"알 수 없는 종목: {symbol}")
        return list(known) if symbols is None else symbols

    def _past_minutes(self, symbols: Sequence[str], first: date, last: date) -> "pd.DataFrame":
        frames = []
        for symbol in symbols:
            for session in _weekdays(first, last):
                with self._client_in_turn() as client:
                    rows = client.data.past_minutes(symbol, session)
                    if rows:
                        frames.append(
                            minute_frame(client.instruments[symbol], rows, client.clock.now())
                        )
        return _together(frames, _minute_table([]))

    def _index_bars(self, names: Sequence[str] | None, first: date, last: date) -> "pd.DataFrame":
        known = INDEX_CODES if self._client.market is Market.KRX else _US_INDICES
        rows: list[dict[str, Any]] = []
        for name in known if names is None else names:
            if name not in known:
                raise MissingDataError(f"알 수 없는 지수: {name}")
            with self._client_in_turn() as client:
                bars: Sequence[DomesticIndexBar] | Sequence[OverseasIndexBar]
                if isinstance(client.data, DomesticData):
                    bars = client.data.index_daily(INDEX_CODES[name], first, last)
                else:
                    series, code = _US_INDICES[name]
                    bars = client.data.index_daily(code, first, last, series=series)
                now = client.clock.now()
            rows += [_index_row(name, bar, now) for bar in bars]
        return _index_table(rows)

    def _fundamentals(
        self, client: "KisClient", shares: Sequence[ListedShare], symbols: Sequence[str] | None
    ) -> "pd.DataFrame":
        """Return the figures of the symbol files, and with named symbols their statements."""
        now = client.clock.now()
        rows = [
            row
            for share in shares
            if symbols is None or share.symbol in symbols
            for row in _master_figures(share, now)
        ]
        can_ask = KRX_FINANCIAL_RATIO.is_offered(client.profile)
        if symbols is not None and self._published is not None and can_ask:
            for symbol in symbols:
                rows += _statement_figures(_domestic(client), symbol, self._published, now)
        return _table(rows, _FUNDAMENTAL_TYPES)


def daily_frame(
    instrument: Instrument,
    raw: Sequence[DailyRow],
    adjusted: Sequence[DailyRow],
    fetched_at: datetime,
) -> "pd.DataFrame":
    """Return rows of ``DAILY_BARS``; the adjusted close is in currency units, not minor."""
    per_unit = instrument.market.currency.minor_per_unit
    closes = {row.session: row.close / per_unit for row in adjusted}
    return _daily_table(
        [
            {
                "session": row.session,
                "symbol": instrument.symbol,
                "exchange": str(instrument.exchange),
                "open": row.open,
                "high": row.high,
                "low": row.low,
                "close": row.close,
                "volume": row.volume,
                "value": row.value,
                "adj_close": closes.get(row.session),
                "basis": str(PriceBasis.RAW),
                "source": SOURCE,
                "fetched_at": fetched_at,
            }
            for row in raw
        ]
    )


def minute_frame(
    instrument: Instrument, rows: Sequence[MinuteRow], fetched_at: datetime
) -> "pd.DataFrame":
    """Return rows of ``MINUTE_BARS``."""
    return _minute_table(
        [
            {
                "ts": row.start,
                "session": values.local_date(row.start, instrument.market),
                "symbol": instrument.symbol,
                "exchange": str(instrument.exchange),
                "open": row.open,
                "high": row.high,
                "low": row.low,
                "close": row.close,
                "volume": row.volume,
                "source": SOURCE,
                "fetched_at": fetched_at,
            }
            for row in rows
        ]
    )


# --- rows --------------------------------------------------------------------------------


def _domestic(client: "KisClient") -> DomesticData:
    if not isinstance(client.data, DomesticData):
        raise UsageError("국내 시장의 자료임")
    return client.data


def _listed(client: "KisClient") -> list[ListedShare]:
    """Return what the symbol files say today of the instruments that the client knows."""
    boards = (client.masters.korean(board) for board in (Board.KOSPI, Board.KOSDAQ))
    return [share for rows in boards for share in rows if share.symbol in client.instruments]


def _weekdays(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if day.weekday() < 5:
            yield day


def _index_row(
    name: str, bar: DomesticIndexBar | OverseasIndexBar, now: datetime
) -> dict[str, Any]:
    points = {
        field: None if (value := getattr(bar, field)) is None else float(value)
        for field in ("open", "high", "low", "close")
    }
    is_korean = isinstance(bar, DomesticIndexBar)
    # KIS counts the shares of Korean indices in thousands.
    volume = bar.volume_thousand if isinstance(bar, DomesticIndexBar) else bar.volume
    if volume is not None and is_korean:
        volume *= 1000
    return {
        "session": bar.session,
        "name": name,
        **points,
        "volume": volume,
        "source": SOURCE,
        "fetched_at": now,
    }


def _holidays_frame(data: DomesticData, now: datetime) -> "pd.DataFrame":
    rows = [
        {"day": row.day, "is_open": row.is_open, "source": SOURCE, "fetched_at": now}
        for row in data.holidays(values.local_date(now, Market.KRX))
    ]
    return _table(rows, _HOLIDAY_TYPES)


def _instruments_frame(instruments: Sequence[Instrument], now: datetime) -> "pd.DataFrame":
    rows = [
        {
            "symbol": one.symbol,
            "exchange": str(one.exchange),
            "name": one.name,
            "sector": one.sector,
            "listed": one.listed,
            "delisted": one.delisted,
            "source": SOURCE,
            "fetched_at": now,
        }
        for one in instruments
    ]
    return _table(rows, _INSTRUMENT_TYPES)


def _listings_frame(shares: Sequence[ListedShare], now: datetime) -> "pd.DataFrame":
    today = values.local_date(now, Market.KRX)
    rows = [
        {
            "session": today,
            "symbol": share.symbol,
            "exchange": str(instrument.exchange),
            "name": share.name,
            "is_halted": share.is_halted,
            "is_administrative": share.is_administrative,
            "warning": "정리매매" if share.is_delisting else _WARNINGS.get(share.warning),
            "market_cap": share.market_cap,
            "shares": share.shares,
            "source": SOURCE,
            "fetched_at": now,
        }
        for share in shares
        if (instrument := share.instrument) is not None
    ]
    return _table(rows, _LISTING_TYPES)


def _rankings_frame(client: "KisClient") -> "pd.DataFrame":
    rows: list[dict[str, Any]] = []
    kinds = _KOREAN_RANKINGS if client.market is Market.KRX else _US_RANKINGS
    for ranking, field in kinds.items():
        listed: Sequence[Any] = client.data.ranking(ranking)  # type: ignore[arg-type]
        now = client.clock.now()
        known = [share for share in listed if getattr(share, field) is not None]
        if client.market is Market.US:
            # KIS ranks each exchange by itself.
            known.sort(key=lambda share: -abs(getattr(share, field)))
        rows += [
            {
                "session": values.local_date(now, client.market),
                "ts": now,
                "ranking": str(ranking),
                "rank": rank,
                "symbol": share.symbol,
                "value": float(getattr(share, field)),
                "source": SOURCE,
                "fetched_at": now,
            }
            for rank, share in enumerate(known, start=1)
        ]
    return _table(rows, _RANKING_TYPES)


def _figure(
    symbol: str, metric: str, period: date, published: date, value: float, now: datetime, rule: bool
) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "metric": metric,
        "period": period,
        "published": published,
        "value": value,
        "rule": rule,
        "source": SOURCE,
        "fetched_at": now,
    }


def _master_figures(share: ListedShare, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the last figures of a company, known from the day of the file on."""
    if share.stated_on is None:
        return
    today = values.local_date(now, Market.KRX)
    for field, metric in _MASTER_METRICS.items():
        value = getattr(share, field)
        if value is not None:
            yield _figure(
                share.symbol, metric, share.stated_on, today, float(value), now, rule=False
            )


def _statement_figures(
    data: DomesticData, symbol: str, published: Callable[[date], date], now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the figures of the yearly statements, which KIS does not date."""
    for kind, metrics in _STATEMENT_METRICS.items():
        for statement in data.statements(symbol, kind):
            period = _end_of_month(statement.period)
            for field, (metric, unit) in metrics.items():
                value = getattr(statement, field)
                if value is not None:
                    yield _figure(
                        symbol, metric, period, published(period), float(value) * unit, now,
                        rule=True,
                    )  # fmt: skip


def _end_of_month(period: str) -> date:
    """Return the last day of a period that KIS writes ``YYYYMM``."""
    first = values.day(f"{period}01")
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


_PRICES = dict.fromkeys(("open", "high", "low", "close", "volume"), "int64")
_DAILY_TYPES = {
    "session": "datetime64[ns]",
    "symbol": "str",
    "exchange": "str",
    **_PRICES,
    "value": "Int64",
    "adj_close": "float64",
    "basis": "str",
    "source": "str",
    "fetched_at": "datetime64[ns, UTC]",
}
_MINUTE_TYPES = {
    "ts": "datetime64[ns, UTC]",
    "session": "datetime64[ns]",
    "symbol": "str",
    "exchange": "str",
    **_PRICES,
    "source": "str",
    "fetched_at": "datetime64[ns, UTC]",
}


_STAMP = {"source": "str", "fetched_at": "datetime64[ns, UTC]"}
_INDEX_TYPES = {
    "session": "datetime64[ns]",
    "name": "str",
    **dict.fromkeys(("open", "high", "low", "close"), "float64"),
    "volume": "Int64",
    **_STAMP,
}
_HOLIDAY_TYPES = {"day": "datetime64[ns]", "is_open": "bool", **_STAMP}
_INSTRUMENT_TYPES = {
    **dict.fromkeys(("symbol", "exchange", "name"), "str"),
    "sector": "object",
    "listed": "datetime64[ns]",
    "delisted": "datetime64[ns]",
    **_STAMP,
}
_LISTING_TYPES = {
    "session": "datetime64[ns]",
    **dict.fromkeys(("symbol", "exchange", "name"), "str"),
    "is_halted": "bool",
    "is_administrative": "bool",
    "warning": "object",
    "market_cap": "Int64",
    "shares": "Int64",
    **_STAMP,
}
_RANKING_TYPES = {
    "session": "datetime64[ns]",
    "ts": "datetime64[ns, UTC]",
    "ranking": "str",
    "rank": "int64",
    "symbol": "str",
    "value": "float64",
    **_STAMP,
}
_FUNDAMENTAL_TYPES = {
    "symbol": "str",
    "metric": "str",
    "period": "datetime64[ns]",
    "published": "datetime64[ns]",
    "value": "float64",
    "rule": "bool",
    **_STAMP,
}


def _daily_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    return _table(rows, _DAILY_TYPES)


def _minute_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    return _table(rows, _MINUTE_TYPES)


def _index_table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    return _table(rows, _INDEX_TYPES)


def _table(rows: list[dict[str, Any]], types: Mapping[str, str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(types)).astype(dict(types))


def _together(frames: Sequence["pd.DataFrame"], empty: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(frames, ignore_index=True) if frames else empty
