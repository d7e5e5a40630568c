"""A local archive in the layout of FinanceData/marcap: the whole KRX market, official, by year."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.domain.rules import shipped_rules
from trading.errors import DataError
from trading.log import get_logger
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.adjust import actions_from_base
from trading.store.datasets.base import (
    Reader,
    TableSource,
    chosen,
    days_of,
    or_null,
    same_word,
)
from trading.store.datasets.files import amounts, demand, moments, read_any, refuse
from trading.store.universe import UniverseSettings

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

_SOURCE = "marcap"
_PATTERNS = tuple(f"marcap-{'[0-9]' * 4}{end}" for end in (".parquet", ".csv.gz", ".csv"))
_BARS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
_FACTS = {"value": "Amount", "market_cap": "Marcap", "shares": "Stocks"}
_COLUMNS = ("Date", "Code", "Name", "Market", *_BARS.values(), *_FACTS.values(), "Changes")
_EXCHANGES = {
    "KOSPI": Exchange.KOSPI,
    "KOSDAQ": Exchange.KOSDAQ,
    "KOSDAQ GLOBAL": Exchange.KOSDAQ,
}
# A name that the archive last shows this long before its own end has been delisted.
_DELISTED_AFTER_DAYS = 30


def archive_files(folder: Path) -> list[Path]:
    """Return the archive's files, one a year, oldest first; its clones keep them under ``data``.

    Of a year that is there twice the Parquet file is read.
    """
    found: dict[str, Path] = {}
    for place in (folder, folder / "data"):
        for pattern in _PATTERNS:
            for path in place.glob(pattern):
                found.setdefault(path.name.split(".")[0], path)
    return [found[year] for year in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Overview:
    """What a pass over the whole archive tells."""

    sessions: list[date]
    instruments: list[Instrument]
    actions: list[CorporateAction]


class MarcapSource(TableSource):
    """KRX daily bars as traded, with traded value, capitalization and shares, from a local folder.

    The change of a session is counted from its official base price. Where that is not the close
    before, a split, a rights issue or a reduction took place, and is inferred from the two.
    """

    name = _SOURCE
    basis = PriceBasis.RAW

    def __init__(self, directory: Path, universe: UniverseSettings | None = None) -> None:
        super().__init__(universe)
        self.directory = directory
        self._files = {int(path.name[7:11]): path for path in archive_files(directory)}
        self._last_read: tuple[int, pa.Table] | None = None

    def readers(self, market: Market) -> Mapping[str, Reader]:
        """Return the readers of the Korean kinds; the archive has no other."""
        if market is not Market.KRX:
            return {}
        return {
            "instruments": self.instrument_reader(market, _SOURCE),
            "listings": lambda symbols, first, last: self._rows(
                schema.LISTINGS, symbols, first, last
            ),
            "actions": self.action_reader(market),
            "daily": lambda symbols, first, last: self._rows(
                schema.DAILY_BARS, symbols, first, last
            ),
        }

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every name of the archive; lives are from its first to its last row."""
        return self._overview.instruments if market is Market.KRX else []

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the delistings, and what the official base prices tell."""
        if market is not Market.KRX:
            return []
        return [action for action in self._overview.actions if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return every session of the archive, oldest first."""
        return self._overview.sessions if market is Market.KRX else []

    def minute_sessions(self, market: Market) -> list[date]:
        """Return no session: the archive has daily rows only."""
        return []

    def _rows(
        self, kind: schema.FrameSchema, symbols: Sequence[str] | None, first: date, last: date
    ) -> "pa.Table":
        import pyarrow as pa

        parts = [kind.arrow().empty_table()]
        for year in self._files:
            if first.year <= year <= last.year:
                parts.append(
                    chosen(schema.cast(self._year(year), kind), kind, symbols, first, last)
                )
        return schema.conform(schema.by_key(pa.concat_tables(parts), kind), kind)

    def _year(self, year: int) -> "pa.Table":
        """Return the rows of one file with the columns of daily bars, listings, and ``base``.

        The year read last is kept: its bars and its listings are asked for one after the other.
        """
        read = self._last_read
        if read is None or read[0] != year:
            read = self._last_read = year, _read_year(self._files[year], year)
        return read[1]

    @cached_property
    def _overview(self) -> _Overview:
        import pyarrow as pa

        columns = ["symbol", "session", "exchange", "name", "close", "base", "shares"]
        parts = [self._year(year).select(columns) for year in self._files]
        whole = schema.by_key(pa.concat_tables(parts), schema.DAILY_BARS)
        if len(whole) == 0:
            raise DataError(f"코스피·코스닥의 행이 없음: {self.directory}")
        symbol = whole.unify_dictionaries()["symbol"].combine_chunks()
        names = np.array(symbol.dictionary.to_pylist(), dtype=object)
        code = symbol.indices.to_numpy()
        day = whole["session"].cast(pa.int32()).to_numpy()
        sessions = np.unique(day)

        first = np.flatnonzero(np.diff(code, prepend=-1))
        last = np.append(first[1:], len(code)) - 1
        ends = sessions[-1] - _DELISTED_AFTER_DAYS
        latest = whole.select(["exchange", "name", "close"]).take(pa.array(last)).to_pylist()
        lives = [
            Instrument(
                symbol=str(names[code[begin]]),
                exchange=Exchange(row["exchange"]),
                name=row["name"] or "",
                listed=_date(day[begin]),
                delisted=_date(day[end]) if day[end] < ends else None,
            )
            for begin, end, row in zip(first, last, latest, strict=True)
        ]
        gone = [
            CorporateAction(
                symbol=item.symbol,
                ex_date=_date(sessions[np.searchsorted(sessions, day[end], side="right")]),
                kind=ActionKind.DELISTING,
                amount=row["close"],
                source=_SOURCE,
                inferred=True,
            )
            for item, end, row in zip(lives, last, latest, strict=True)
            if item.delisted is not None
        ]
        pairs = _base_steps(whole, code, day, sessions)
        return _Overview(
            sessions=days_of(sessions),
            instruments=lives,
            actions=[*actions_from_base(pairs, source=_SOURCE), *gone],
        )


def _base_steps(whole: "pa.Table", code: IntArray, day: IntArray, sessions: IntArray) -> "pa.Table":
    """Return the rows whose base price is not the close before, each after the row before it.

    Only between neighboring sessions: after a hole in the archive the close before is not known.
    """
    import pyarrow as pa

    close, base = whole["close"].to_numpy(), whole["base"].to_numpy()
    rules = shipped_rules(Market.KRX)
    first, last = max(_date(sessions[0]), rules.first), min(_date(sessions[-1]), rules.last)
    known = SessionCalendar(Market.KRX, rules).sessions(first, last) if first <= last else []
    every = np.union1d(sessions, np.array(known, dtype="datetime64[D]").astype(np.int64))
    place = np.searchsorted(every, day)
    step = 1 + np.flatnonzero(
        (code[1:] == code[:-1]) & (place[1:] == place[:-1] + 1) & (base[1:] != close[:-1])
    )
    rows = np.union1d(step, step - 1)
    pairs = whole.take(pa.array(rows))
    # The rows that are there for their close only must show no step themselves.
    unmoved = np.concatenate([close[rows[:1]], close[rows[:-1]]])
    stepped = np.where(np.isin(rows, step), base[rows], unmoved)
    return pairs.set_column(pairs.column_names.index("base"), "base", pa.array(stepped))


def _date(number: int) -> date:
    return schema.day(np.datetime64(int(number), "D"))


def _read_year(path: Path, year: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_any(path)
    demand(path, _COLUMNS, table.column_names)
    day = moments(path, table, "Date", zone=Market.KRX.timezone_name)
    years = day.astype("datetime64[Y]").astype(np.int64) + 1970
    refuse(path, years != year, f"{year}년의 날짜가 아님", table["Date"])
    board = pc.index_in(_text(table, "Market"), value_set=pa.array(list(_EXCHANGES)))
    numbers = {name: _whole(path, table, column) for name, column in _BARS.items()}
    for name in ("open", "high", "low"):
        numbers[name][numbers["volume"] == 0] = 0  # a halt: only the carried close is a price
    facts = {name: _whole(path, table, column, empty=-1) for name, column in _FACTS.items()}
    changes = np.nan_to_num(amounts(path, table, "Changes")).astype(np.int64)
    if "ChagesRatio" in table.column_names:
        # Some years write the change without its sign.
        ratio = amounts(path, table, "ChagesRatio")
        changes = np.where(ratio < 0, -np.abs(changes), changes)
    segment = _text(table, "Dept")
    exchanges = pa.array([exchange.value for exchange in _EXCHANGES.values()])
    warned = pc.fill_null(pc.starts_with(segment, "투자주의환기종목"), False)
    rows = pa.table(
        {
            "session": pa.array(day.astype("datetime64[D]")),
            "symbol": _text(table, "Code"),
            "exchange": exchanges.take(board),
            **numbers,
            **{name: or_null(column) for name, column in facts.items()},
            "basis": same_word(PriceBasis.RAW.value, len(table)),
            "source": same_word(_SOURCE, len(table)),
            "name": _text(table, "Name"),
            "is_halted": numbers["volume"] == 0,
            "is_administrative": pc.starts_with(segment, "관리종목"),
            "warning": pc.if_else(warned, "투자주의환기종목", pa.scalar(None, pa.string())),
            "base": numbers["close"] - changes,
        }
    )
    listed = rows.filter(pc.is_valid(rows["exchange"]))
    if left_out := len(rows) - len(listed):
        log.debug("다른 시장의 행 제외", file=path.name, rows=left_out)
    for name in ("symbol", "exchange", "name"):
        column = listed[name].dictionary_encode()
        listed = listed.set_column(listed.column_names.index(name), name, column)
    return schema.by_key(listed, schema.DAILY_BARS)


def _whole(path: Path, table: "pa.Table", name: str, *, empty: int = 0) -> IntArray:
    """Return a column of numbers that are never below zero."""
    values = amounts(path, table, name)
    refuse(path, values < 0, f"{name} 값이 음수임", table[name])
    return np.rint(np.where(np.isnan(values), empty, values)).astype(np.int64)


def _text(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    """Return a column as plain text, empty where the archive's year does not have it."""
    import pyarrow as pa

    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    return table[name].cast(pa.string())
