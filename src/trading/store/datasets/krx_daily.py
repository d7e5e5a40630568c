"""The recorded KRX daily bars: a vendor's adjusted series joined with the official rows at hand.

Everything is arrays of codes and whole numbers: the eight million rows are read once, fit into
300 MB, and any year of them is served in a few hundredths of a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.domain.rules import shipped_rules
from trading.errors import MissingDataError
from trading.log import get_logger
from trading.store import schema
from trading.store.datasets.base import clamp, dates, day_number, or_null, words
from trading.store.datasets.files import codes_in, count_rows, numbers, read, read_pieces

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

_VENDOR = ("krx_daily.parquet", "krx_daily_2025.parquet")
_SOURCE_ERROR = 2  # flags bit: high/low inconsistent by more than vendor rounding
_COMPLETE_MINUTES = "full_day_matches_daily"
# The boards have had one tick ladder since 2023-01-25, before the first recorded minute.
_MINUTES_FROM = date(2025, 9, 1)
_MOST_OFF_GRID = 0.2
_BOARDS = {
    "KOSPI": Exchange.KOSPI,
    "KOSDAQ": Exchange.KOSDAQ,
    "KOSDAQ GLOBAL": Exchange.KOSDAQ,
}
_EXCHANGES = list(dict.fromkeys(exchange.value for exchange in _BOARDS.values()))
_BASES = [PriceBasis.ADJUSTED.value, PriceBasis.RAW.value]
_PRICES = ("open", "high", "low", "close")
_FACTS = ("value", "market_cap", "shares")
# Numbers of a vendor row and the width that holds them.
_WIDTHS = {**dict.fromkeys(_PRICES, np.int32), "volume": np.int64, "flags": np.uint8}
_DAY_BITS = 20
_NEVER = 1 << _DAY_BITS

# Columns by name, sorted by symbol and day. Text is positions in a list; -1 stands for a number
# that the file leaves empty.
_Columns = dict[str, "np.ndarray"]


@dataclass(frozen=True, slots=True)
class _Listed:
    """The symbols in ascending order and, for each, its exchange as a position in ``_EXCHANGES``.

    ``moved`` is the first day on the latest exchange, 0 for those that were always there.
    """

    names: list[str]
    exchange: IntArray
    moved: IntArray
    before: IntArray


class KrxDaily:
    """Daily bars, instruments, listings and delistings of the recorded KRX files.

    From the first day on which a symbol's vendor close equals every official raw close that is at
    hand, later adjustments do not touch it: its rows are what was traded, ``basis`` "raw", and
    official rows take their place where they exist. All other rows are ``basis`` "adjusted".
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sources: list[str] = []
        self._lock = Lock()
        self._whole: tuple[_Columns, IntArray] | None = None

    def bars(self, symbols: Sequence[str] | None, first: date, last: date) -> "pa.Table":
        """Return the rows of ``DAILY_BARS`` in the range, by symbol and session.

        The files are read once when all symbols are asked for, else only what holds them.
        """
        if symbols is None or self._whole is not None:
            vendor, since = self._everything()
        else:
            vendor = self._loaded(symbols)
            since = self._raw_since(vendor)
        vendor, official, facts = (
            _taken(rows, self._rows_within(rows, symbols, first, last))
            for rows in (vendor, self._official, self._facts)
        )
        return self._joined(vendor, since, official, facts)

    def listings(self, symbols: Sequence[str] | None, first: date, last: date) -> "pa.Table":
        """Return the official rows as the state of each instrument on those days.

        A name without a trade counts as halted: the record does not tell them apart. Whether a
        name is administered is said by the KOSDAQ segment, and for KOSDAQ names only.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        official = self._official
        rows = self._rows_within(official, symbols, first, last)
        record = self._record.take(pa.array(self._record_order[rows]))
        segment = record["dept"].cast(pa.string())
        warned = pc.fill_null(pc.starts_with(segment, "투자주의환기종목"), False)
        table = pa.table(
            {
                "session": dates(official["day"][rows]),
                "symbol": words(official["symbol"][rows], self._listed.names),
                "exchange": words(official["exchange"][rows], _EXCHANGES),
                "name": record["name"].cast(pa.string()),
                "is_halted": official["volume"][rows] == 0,
                "is_administrative": pc.starts_with(segment, "관리종목"),
                "warning": pc.if_else(warned, "투자주의환기종목", pa.scalar(None, pa.string())),
                "market_cap": or_null(official["market_cap"][rows]),
                "shares": or_null(official["shares"][rows]),
                "source": words(official["source"][rows], self._sources),
            }
        )
        return schema.conform(table, schema.LISTINGS)

    @cached_property
    def sessions(self) -> list[date]:
        """Every session with a recorded bar, oldest first."""
        import pyarrow.compute as pc

        found: set[date] = set()
        for path in self._vendor_files():
            found.update(pc.unique(read(path, ["date"])["date"]).to_pylist())
        return sorted(found)

    @cached_property
    def instruments(self) -> list[Instrument]:
        """Every instrument with bars; ``listed`` is its first bar, ``delisted`` its last day listed.

        A record that ends proves nothing: one vendor's snapshot ends on 2022-05-16 for names that
        trade on. Delisted is who the official rows of the whole market no longer list afterwards.
        """
        listed = read(
            self.directory / "krx_symbols.parquet", ["symbol", "name", "first_date", "last_date"]
        ).to_pylist()
        sectors = self.directory / "krx_sectors.parquet"
        industry: dict[str, str] = {}
        if sectors.is_file():
            known = read(sectors, ["symbol", "krx_industry_finda"]).to_pydict()
            industry = dict(zip(known["symbol"], known["krx_industry_finda"], strict=True))
        exchange = dict(zip(self._listed.names, self._listed.exchange, strict=True))
        rows = [row for row in listed if row["first_date"] and row["symbol"] in exchange]
        told = self._official["day"].max(initial=-1)
        last = {
            row["symbol"]: max(day_number(row["last_date"]), self._last_official[0][row["symbol"]])
            for row in rows
        }
        return [
            Instrument(
                symbol=row["symbol"],
                exchange=Exchange(_EXCHANGES[exchange[row["symbol"]]]),
                name=row["name"] or "",
                sector=industry.get(row["symbol"]),
                listed=row["first_date"],
                delisted=schema.day(np.datetime64(last[row["symbol"]], "D"))
                if last[row["symbol"]] < told
                else None,
            )
            for row in rows
        ]

    @cached_property
    def delistings(self) -> list[CorporateAction]:
        """The end of each delisted name, closed at its last price: the official one, if there is."""
        gone = {item.symbol: item.delisted for item in self.instruments if item.delisted}
        closes = read(
            self.directory / _VENDOR[0],
            ["date", "symbol", "close"],
            [("symbol", "in", list(gone)), ("date", "in", sorted(set(gone.values())))],
        ).to_pylist()
        last = {row["symbol"]: row["close"] for row in closes if row["date"] == gone[row["symbol"]]}
        seen, official = self._last_official
        for symbol, day in gone.items():
            if symbol not in last and seen[symbol] != day_number(day):
                raise MissingDataError(
                    f"{self.directory / _VENDOR[0]}에 {symbol}의 마지막 봉({day})이 없습니다. "
                    "같은 때에 만든 파일이 함께 있어야 합니다."
                )
        sessions = np.array(self.sessions, dtype="datetime64[D]")
        actions = []
        for symbol, day in sorted(gone.items()):
            after = int(np.searchsorted(sessions, np.datetime64(day, "D"), side="right"))
            is_official = seen[symbol] == day_number(day)
            actions.append(
                CorporateAction(
                    symbol=symbol,
                    ex_date=self.sessions[after],
                    kind=ActionKind.DELISTING,
                    amount=official[symbol] if is_official else int(last[symbol]),
                    source="krx_symbols",
                    inferred=True,
                )
            )
        return actions

    @cached_property
    def _last_official(self) -> tuple[dict[str, int], dict[str, int]]:
        """The last day and close of each symbol in the official rows; -1 and 0 where it has none."""
        days, closes = (np.full(len(self._listed.names), empty) for empty in (-1, 0))
        # The rows are in order: the last one of a symbol wins.
        days[self._official["symbol"]] = self._official["day"]
        closes[self._official["symbol"]] = self._official["close"]
        names = self._listed.names
        return (
            dict(zip(names, days.tolist(), strict=True)),
            dict(zip(names, closes.tolist(), strict=True)),
        )

    def _joined(
        self, vendor: _Columns, since: IntArray, official: _Columns, facts: _Columns
    ) -> "pa.Table":
        import pyarrow as pa

        # A row with volume but without open, high and low is no bar.
        usable = (vendor["open"] >= 0) | (vendor["volume"] == 0)
        if (left_out := int((~usable).sum())) > 0:
            log.warning("쓸 수 없는 봉 제외", market=Market.KRX.value, rows=left_out)
            vendor = _taken(vendor, usable)
        symbol, day, listed = vendor["symbol"], vendor["day"], self._listed
        key = _keys(vendor)
        raw = day >= since[symbol]
        at = _positions(_keys(official), key)
        replaced = raw & (at >= 0)
        prices = {
            name: np.where(replaced, _at(official[name], at), np.maximum(vendor[name], 0))
            for name in _PRICES
        }
        volume = np.where(replaced, _at(official["volume"], at), vendor["volume"])
        traded = volume > 0
        clamp(prices, traded & ((vendor["flags"] & _SOURCE_ERROR) == 0) & ~replaced)
        for name in ("open", "high", "low"):
            prices[name][~traded] = 0  # a halt: only the carried close is a price
        moved = day < listed.moved[symbol]
        known = _positions(_keys(facts), key)
        table = pa.table(
            {
                "session": dates(day),
                "symbol": words(symbol, listed.names),
                "exchange": words(
                    np.where(moved, listed.before[symbol], listed.exchange[symbol]), _EXCHANGES
                ),
                **prices,
                "volume": volume,
                **{name: or_null(_at(facts[name], known)) for name in _FACTS},
                "basis": words(raw, _BASES),
                "source": words(
                    np.where(replaced, _at(official["source"], at), vendor["source"]),
                    self._sources,
                ),
            }
        )
        return schema.conform(table, schema.DAILY_BARS)

    def _rows_within(
        self, rows: _Columns, symbols: Sequence[str] | None, first: date, last: date
    ) -> IntArray:
        """Return the positions of the rows in the range, of all symbols or of some."""
        days = rows["day"]
        low, high = day_number(first), day_number(last)
        if symbols is None:
            return np.flatnonzero((days >= low) & (days <= high))
        codes = np.flatnonzero(np.isin(self._listed.names, list(symbols)))
        starts = np.searchsorted(rows["symbol"], codes, side="left")
        ends = np.searchsorted(rows["symbol"], codes, side="right")
        spans = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
        found = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        inside: IntArray = found[(days[found] >= low) & (days[found] <= high)]
        return inside

    def _everything(self) -> tuple[_Columns, IntArray]:
        if self._whole is None:
            vendor = self._loaded(None)
            self._whole = vendor, self._raw_since(vendor)
        return self._whole

    def _pieces(self, symbols: Sequence[str] | None) -> tuple[int, Iterable["pa.Table"]]:
        """Return the vendor's rows in pieces, and how many they are."""
        columns = ["date", "symbol", *_WIDTHS, "source"]
        paths = self._vendor_files()
        if symbols is None:
            pieces = (read_pieces(path, columns, text=["symbol", "source"]) for path in paths)
            return sum(count_rows(path) for path in paths), chain.from_iterable(pieces)
        wanted = [("symbol", "in", list(symbols))]
        tables = [read(path, columns, wanted) for path in paths]
        return sum(len(table) for table in tables), tables

    def _vendor_files(self) -> list[Path]:
        first, *later = (self.directory / name for name in _VENDOR)
        return [first, *(path for path in later if path.is_file())]

    def _loaded(self, symbols: Sequence[str] | None) -> _Columns:
        count, pieces = self._pieces(symbols)
        widths = {"symbol": np.int16, "day": np.int32, **_WIDTHS, "source": np.int8}
        rows = {name: np.empty(count, dtype=width) for name, width in widths.items()}
        end = 0
        for piece in pieces:
            symbol = self._symbol_codes(piece["symbol"])
            columns = {
                "symbol": symbol,
                "day": numbers(piece["date"], np.int32),
                **{name: numbers(piece[name], width) for name, width in _WIDTHS.items()},
                "source": self._source_codes(piece["source"]),
            }
            known = symbol >= 0
            start, end = end, end + int(known.sum())
            for name, column in columns.items():
                rows[name][start:end] = column if known.all() else column[known]
        if end < count:
            log.warning("거래소를 모르는 종목의 봉 제외", market=Market.KRX.value, rows=count - end)
        return _sorted({name: column[:end] for name, column in rows.items()})

    def _raw_since(self, vendor: _Columns) -> IntArray:
        """Return from which day each symbol's vendor close is the traded one, by every witness."""
        witnesses = (self._official, self._last_minutes)
        known = {
            name: np.concatenate([rows[name] for rows in witnesses])
            for name in ("symbol", "day", "close")
        }
        at = _positions(_keys(vendor), _keys(known))
        symbol, day = known["symbol"][at >= 0], known["day"][at >= 0]
        equal = vendor["close"][at[at >= 0]] == known["close"][at >= 0]
        unequal = np.full(len(self._listed.names), -1)
        np.maximum.at(unequal, symbol[~equal], day[~equal])
        since = np.full(len(self._listed.names), _NEVER)
        after = day > unequal[symbol]
        np.minimum.at(since, symbol[after], day[after])
        return since

    @cached_property
    def _last_minutes(self) -> _Columns:
        """The close of each complete intraday recording: a second witness of raw prices.

        Some recordings are of adjusted prices after all: most of their bars are off the tick grid.
        """
        path = self.directory / "krx_minute.parquet"
        if not path.is_file():
            return dict.fromkeys(("symbol", "day", "close"), np.zeros(0, dtype=np.int64))
        table = read(
            path,
            ["ts_kst", "symbol", "close"],
            [("quality", "==", _COMPLETE_MINUTES), ("volume", ">", 0)],
        )
        symbol, stamp = self._symbol_codes(table["symbol"]), table["ts_kst"].to_numpy()
        order = np.lexsort((stamp, symbol))
        order = order[symbol[order] >= 0]
        rows = {
            "symbol": symbol[order],
            "day": stamp[order].astype("datetime64[D]").astype(np.int64),
            "close": numbers(table["close"], np.int64)[order],
        }
        key = _keys(rows)
        last = np.append(key[1:] != key[:-1], True)[: len(key)]
        recording = np.cumsum(last) - last
        off = np.bincount(recording, weights=_is_off_grid(rows["close"]))
        raw = off / np.bincount(recording) <= _MOST_OFF_GRID
        return _taken(_taken(rows, last), raw)

    @cached_property
    def _record(self) -> "pa.Table":
        """The official rows as they lie in the file."""
        return read(
            self.directory / "krx_cross_section.parquet",
            ["date", "symbol", "name", "market", "dept", *_PRICES, "volume", *_FACTS, "source"],
            [("market", "in", list(_BOARDS))],
        )

    @cached_property
    def _record_order(self) -> IntArray:
        """The positions of the official rows by symbol and day."""
        symbol = self._symbol_codes(self._record["symbol"])
        return np.lexsort((numbers(self._record["date"], np.int64), symbol))

    @cached_property
    def _official(self) -> _Columns:
        record, order = self._record, self._record_order
        columns = {
            "symbol": self._symbol_codes(record["symbol"]),
            "day": numbers(record["date"], np.int64),
            "exchange": _exchange_codes(record["market"]),
            **{name: numbers(record[name], np.int64) for name in (*_PRICES, "volume", *_FACTS)},
            "source": self._source_codes(record["source"]),
        }
        return _taken(columns, order)

    @cached_property
    def _facts(self) -> _Columns:
        """Official traded value, capitalization and shares, of the continuation files too."""
        names = ("symbol", "day", *_FACTS)
        parts = [{name: self._official[name] for name in names}]
        for path in self._vendor_files()[1:]:
            table = read(path, ["date", "symbol", *_FACTS], [("value", ">=", 0)])
            part = {
                "symbol": self._symbol_codes(table["symbol"]),
                "day": numbers(table["date"], np.int64),
                **{name: numbers(table[name], np.int64) for name in _FACTS},
            }
            parts.append({name: part[name][part["symbol"] >= 0] for name in names})
        return _sorted({name: np.concatenate([part[name] for part in parts]) for name in names})

    @cached_property
    def _listed(self) -> _Listed:
        """Latest exchanges and transfers: the official rows, overruled by the list of symbols."""
        import pyarrow as pa

        listed = read(self.directory / "krx_symbols.parquet", ["symbol", "market"])
        on_board = _exchange_codes(listed["market"]) >= 0
        known = np.array(listed["symbol"].to_pylist(), dtype=object)[on_board]
        names = sorted({*known, *self._record["symbol"].unique().to_pylist()})

        position = {name: code for code, name in enumerate(names)}
        lookup = pa.array(names, pa.string())
        symbol = codes_in(self._record["symbol"], lookup)
        order = np.lexsort((numbers(self._record["date"], np.int64), symbol))
        symbol = symbol[order]
        day = numbers(self._record["date"], np.int64)[order]
        seen = _exchange_codes(self._record["market"])[order]

        exchange, moved, before = (np.zeros(len(names), dtype=np.int64) for _ in range(3))
        exchange[symbol] = seen  # the last row of a symbol wins
        exchange[[position[name] for name in known]] = _exchange_codes(listed["market"])[on_board]
        elsewhere = np.flatnonzero(seen != exchange[symbol])
        follows = np.minimum(elsewhere + 1, max(len(symbol) - 1, 0))
        same = (symbol[follows] == symbol[elsewhere]) & (follows != elsewhere)
        before[symbol[elsewhere]] = seen[elsewhere]
        moved[symbol[elsewhere]] = np.where(same, day[follows], day[elsewhere] + 1)
        return _Listed(names=names, exchange=exchange, moved=moved, before=before)

    def _symbol_codes(self, column: "pa.ChunkedArray") -> IntArray:
        import pyarrow as pa

        return codes_in(column, pa.array(self._listed.names, pa.string()))

    def _source_codes(self, column: "pa.ChunkedArray") -> IntArray:
        import pyarrow as pa

        names = set(column.unique().cast(pa.string()).to_pylist())
        with self._lock:  # a back-fill reads ahead in a thread of its own
            self._sources += sorted(names - set(self._sources))
            return codes_in(column, pa.array(self._sources, pa.string()))


def _exchange_codes(column: "pa.ChunkedArray") -> IntArray:
    """Return the position in ``_EXCHANGES`` of each board, -1 for other boards."""
    import pyarrow as pa

    boards = codes_in(column, pa.array(list(_BOARDS), pa.string()))
    exchanges = [_EXCHANGES.index(exchange.value) for exchange in _BOARDS.values()]
    return np.array([*exchanges, -1])[boards]


def _is_off_grid(prices: IntArray) -> BoolArray:
    """Return which prices of 2025 are no tick and no half tick, cut to the whole won."""
    ladder = shipped_rules(Market.KRX).tick_ladder(Exchange.KOSPI, _MINUTES_FROM)
    bounds, ticks = np.array(ladder).T
    tick = ticks[np.searchsorted(bounds, prices, side="right") - 1]
    over = prices % tick
    off: BoolArray = (over != 0) & (over != tick // 2)
    return off


def _keys(rows: _Columns) -> IntArray:
    """Return one number for each symbol and day that sorts as they do."""
    return rows["symbol"].astype(np.int64) << _DAY_BITS | rows["day"]


def _sorted(rows: _Columns) -> _Columns:
    key = _keys(rows)
    if bool((key[1:] >= key[:-1]).all()):
        return rows
    order = np.argsort(key, kind="stable")
    for name in rows:  # one column after another: the whole never lies twice in memory
        rows[name] = rows[name][order]
    return rows


def _taken(rows: _Columns, places: "np.ndarray") -> _Columns:
    return {name: column[places] for name, column in rows.items()}


def _positions(known: IntArray, wanted: IntArray) -> IntArray:
    """Return the place of each number among ascending ones, or -1."""
    if len(known) == 0:
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, -1)


def _at(column: "np.ndarray", places: IntArray) -> IntArray:
    """Return the numbers at the places, -1 where there is no place."""
    if len(column) == 0:
        return np.full(len(places), -1)
    return np.where(places >= 0, column[places], -1)
