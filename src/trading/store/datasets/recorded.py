"""A folder of recorded KRX and US files, as its MANIFEST.md describes them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import UsageError
from trading.store import schema
from trading.store.datasets import krx_facts
from trading.store.datasets.base import (
    Reader,
    TableSource,
    chosen,
    clamp,
    days_of,
    lives,
    minor,
    or_null,
    same_word,
)
from trading.store.datasets.files import numbers, read
from trading.store.datasets.krx_daily import KrxDaily
from trading.store.universe import UniverseSettings

if TYPE_CHECKING:
    import pyarrow as pa

_OHLC = ("open", "high", "low", "close")
_FILES = {
    Market.KRX: {
        "daily": "krx_daily.parquet",
        "minute": "krx_minute.parquet",
        "index": "index_daily.parquet",
        "instruments": "krx_symbols.parquet",
        "actions": "krx_symbols.parquet",
        "listings": "krx_cross_section.parquet",
        "fundamentals": "krx_fundamentals.parquet",
        "sectors": "krx_sectors.parquet",
    },
    Market.US: {
        "daily": "us_daily.parquet",
        "minute": "us_minute.parquet",
        "ticks": "us_ticks.parquet",
        "index": "index_daily.parquet",
        "instruments": "us_daily.parquet",
    },
}
_LOCAL_TIME = {Market.KRX: "ts_kst", Market.US: "ts_et"}
# The won's rate goes with the Korean series: it is what a Korean account is measured in.
_SERIES = {
    Market.KRX: ("KOSPI", "KOSDAQ", "KOSPI200", "USDKRW"),
    Market.US: ("S&P500", "NASDAQ", "RUSSELL2000", "PHLX_SOX", "VIX"),
}
# How the program calls a series that the file names otherwise.
_SERIES_NAMES = {"S&P500": "S&P 500"}
_TICK_KINDS = {"T": "trade", "Q": "quote"}


def recorded_files(folder: Path) -> list[Path]:
    """Return the files of a folder that ``RecordedSource`` knows."""
    names = {file for files in _FILES.values() for file in files.values()}
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


class RecordedSource(TableSource):
    """A folder of recorded KRX and US files (its MANIFEST.md says what each holds).

    KRX daily bars are raw where that is proven, else adjusted for splits and rights (see
    ``KrxDaily``); US daily bars are split-adjusted throughout. Left out are the files that fit no
    kind without loss: ``krx_bars_5m_1h`` (its days end at 14:55, without the closing auction),
    ``krx_kis_snapshots`` (polls of a running day) and ``krx_daily_raw`` (closes without a bar:
    see ``raw_closes``).
    """

    name = "recorded"
    basis = PriceBasis.ADJUSTED

    def __init__(self, directory: Path, universe: UniverseSettings | None = None) -> None:
        super().__init__(universe)
        if not directory.is_dir():
            raise UsageError(f"자료 폴더가 없음: {directory} (경로를 확인해 주세요)")
        self.directory = directory
        self._krx = KrxDaily(directory)

    def readers(self, market: Market) -> Mapping[str, Reader]:
        """Return the reader of each kind, whether or not its file is in this folder."""
        shared: dict[str, Reader] = {
            "instruments": self.instrument_reader(market, _FILES[market]["instruments"]),
            "index": lambda names, first, last: chosen(
                self._index(market), schema.INDEX, names, first, last
            ),
            "minute": lambda symbols, first, last: self._minutes(market, symbols, first, last),
        }
        if market is Market.US:
            return {
                **shared,
                "daily": lambda symbols, first, last: chosen(
                    self._us_bars, schema.DAILY_BARS, symbols, first, last
                ),
                "ticks": self._us_ticks,
            }
        return {
            **shared,
            "daily": self._krx.bars,
            "listings": self._krx.listings,
            "actions": self.action_reader(market),
            "fundamentals": lambda symbols, first, last: chosen(
                self._fundamentals, schema.FUNDAMENTALS, symbols, first, last
            ),
            "sectors": lambda symbols, first, last: chosen(
                krx_facts.sectors(self.directory), schema.SECTORS, symbols, date.min, date.max
            ),
        }

    def kinds(self, market: Market) -> frozenset[str]:
        """Return the kinds whose file is in this folder."""
        return frozenset(
            kind for kind, file in _FILES[market].items() if (self.directory / file).is_file()
        )

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every instrument with bars; lives are from the first to the last recorded bar.

        KRX sectors are one snapshot of 2025-12.
        """
        if market is Market.KRX:
            return self._krx.instruments
        return lives(self._us_bars, self.universe)

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the delistings; splits are inside the adjusted prices, dividends not recorded."""
        if market is not Market.KRX:
            return []
        return [action for action in self._krx.delistings if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return every session with recorded daily bars, oldest first."""
        if market is Market.US:
            return days_of(self._us_bars["session"].to_numpy())
        return self._krx.sessions

    def minute_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded intraday bars, oldest first."""
        return self._days(market, "minute")

    def tick_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded trades, oldest first."""
        return self._days(market, "ticks")

    def raw_closes(self, symbols: Sequence[str] | None, first: date, last: date) -> "pa.Table":
        """Return closes as traded beside the adjusted ones, 298 large KRX names to 2017-06.

        Columns ``session, symbol, close, volume, adj_close, source``: what splits and rights
        issues are inferred from. No bars: open, high and low were not recorded.
        """
        filters: list[tuple[str, str, object]] = [("date", ">=", first), ("date", "<=", last)]
        if symbols is not None:
            filters.append(("symbol", "in", list(symbols)))
        table = read(
            self.directory / "krx_daily_raw.parquet",
            ["date", "symbol", "raw_close", "raw_volume", "adj_close", "source"],
            filters,
        )
        names = ["session", "symbol", "close", "volume", "adj_close", "source"]
        return table.rename_columns(names)

    def _days(self, market: Market, kind: str) -> list[date]:
        if kind not in self.kinds(market):
            return []
        path = self.directory / _FILES[market][kind]
        column = _LOCAL_TIME[market]
        return days_of(numbers(read(path, [column])[column], np.int64))

    def _minutes(
        self, market: Market, symbols: Sequence[str] | None, first: date, last: date
    ) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        column = _LOCAL_TIME[market]
        filters: list[tuple[str, str, object]] = [
            *_between(column, first, last), ("volume", ">", 0)
        ]  # fmt: skip
        if symbols is not None:
            filters.append(("symbol", "in", list(symbols)))
        table = read(
            self.directory / _FILES[market]["minute"],
            [column, "symbol", *_OHLC, "volume", "source"],
            filters,
        )
        exchanges = {item.symbol: item.exchange.value for item in self.instruments(market)}
        symbol = table["symbol"].cast(pa.string())
        place = pc.index_in(symbol, value_set=pa.array(list(exchanges), pa.string()))
        instants = _utc(table[column], market)
        table = pa.table(
            {
                "ts": instants,
                "session": table[column].cast(pa.date32(), safe=False),
                "symbol": symbol,
                "exchange": pa.array(list(exchanges.values()), pa.string()).take(place),
                **{name: _prices(table[name], market) for name in _OHLC},
                "volume": table["volume"],
                "source": table["source"],
            }
        )
        known = table.filter(pc.is_valid(table["exchange"]))
        order = [("ts", "ascending"), ("symbol", "ascending")]
        return schema.conform(known.sort_by(order), schema.MINUTE_BARS)

    def _us_ticks(self, symbols: Sequence[str] | None, first: date, last: date) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        filters = _between("ts_et", first, last)
        if symbols is not None:
            filters.append(("symbol", "in", list(symbols)))
        table = read(
            self.directory / "us_ticks.parquet",
            ["ts_et", "symbol", "kind", "price", "size", "bid", "bid_size", "ask", "ask_size",
             "exchange", "condition", "suspicious", "source"],
            filters,
        )  # fmt: skip
        kind = pc.index_in(table["kind"], value_set=pa.array(list(_TICK_KINDS), pa.large_string()))
        columns = {}
        for price, size in (("price", "size"), ("bid", "bid_size"), ("ask", "ask_size")):
            # A side without an offer is recorded as price 0 and size 0.
            there = pc.fill_null(pc.greater(table[price], 0), False).to_numpy()
            cents = minor(pc.fill_null(table[price], 0).to_numpy(), _US_MINOR)
            columns[price] = or_null(np.where(there, cents, -1))
            columns[size] = or_null(np.where(there, numbers(table[size], np.int64), -1))
        return schema.conform(
            pa.table(
                {
                    "ts": _utc(table["ts_et"], Market.US),
                    "seq": np.arange(len(table)),
                    "session": table["ts_et"].cast(pa.date32(), safe=False),
                    "symbol": table["symbol"],
                    "exchange": table["exchange"],
                    "kind": pa.array(list(_TICK_KINDS.values())).take(kind),
                    **columns,
                    "condition": table["condition"],
                    "suspicious": table["suspicious"],
                    "source": table["source"],
                }
            ),
            schema.TICKS,
        )

    def _index(self, market: Market) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        names = _SERIES[market]
        table = read(
            self.directory / _FILES[market]["index"],
            ["date", "symbol", *_OHLC, "volume", "source"],
            [("symbol", "in", list(names))],
        ).sort_by([("symbol", "ascending"), ("date", "ascending")])
        place = pc.index_in(table["symbol"], value_set=pa.array(names, pa.string()))
        called = pa.array([_SERIES_NAMES.get(name, name) for name in names], pa.string())
        return schema.conform(
            pa.table(
                {
                    "session": table["date"].cast(pa.date32()),
                    "name": called.take(place),
                    **{name: table[name] for name in (*_OHLC, "volume", "source")},
                }
            ),
            schema.INDEX,
        )

    @cached_property
    def _fundamentals(self) -> "pa.Table":
        return krx_facts.fundamentals(self.directory)

    @cached_property
    def _us_bars(self) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        facts = self.universe.instruments
        table = read(
            self.directory / _FILES[Market.US]["daily"],
            ["date", "symbol", *_OHLC, "volume", "adj_close", "source"],
            [("symbol", "in", list(facts))],
        ).sort_by([("symbol", "ascending"), ("date", "ascending")])
        symbol = table["symbol"].cast(pa.string())
        place = pc.index_in(symbol, value_set=pa.array(list(facts), pa.string()))
        exchanges = pa.array([fact.exchange.value for fact in facts.values()], pa.string())
        prices = {name: minor(table[name].to_numpy(), _US_MINOR) for name in _OHLC}
        traded = table["volume"].to_numpy() > 0
        clamp(prices, traded)
        for name in ("open", "high", "low"):
            prices[name][~traded] = 0
        return schema.conform(
            pa.table(
                {
                    "session": table["date"].cast(pa.date32()),
                    "symbol": symbol,
                    "exchange": exchanges.take(place),
                    **prices,
                    "volume": table["volume"],
                    "adj_close": table["adj_close"].cast(pa.float64()),
                    "basis": same_word(PriceBasis.ADJUSTED.value, len(table)),
                    "source": table["source"],
                }
            ),
            schema.DAILY_BARS,
        )


_US_MINOR = Market.US.currency.minor_per_unit


def _prices(column: "pa.ChunkedArray", market: Market) -> "np.ndarray":
    return minor(column.to_numpy(), market.currency.minor_per_unit)


def _utc(column: "pa.ChunkedArray", market: Market) -> "pa.ChunkedArray":
    """Return the files' local wall time as instants."""
    import pyarrow as pa
    import pyarrow.compute as pc

    local = pc.assume_timezone(column.cast(pa.timestamp("us")), market.timezone_name)
    return local.cast(pa.timestamp("us", tz="UTC"))


def _between(column: str, first: date, last: date) -> list[tuple[str, str, object]]:
    """Return the filters on a column of local wall time."""
    return [
        (column, ">=", _midnight(first)),
        (column, "<", _midnight(last + timedelta(days=1))),
    ]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the files' local wall time
