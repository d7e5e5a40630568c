"""Anybody's OHLCV files: CSV or Parquet, one file or a folder, described by a YAML beside them.

What the header says in common Korean or English words needs no description.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trading.domain.actions import CorporateAction
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.errors import ConfigError, DataError, SchemaError, UsageError
from trading.log import get_logger
from trading.store import schema
from trading.store.adjust import DividendBase, Vendor, infer_actions
from trading.store.datasets.base import (
    Reader,
    TableSource,
    chosen,
    days_of,
    or_null,
    same_word,
    words,
)
from trading.store.datasets.files import amounts, moments, read_any, refuse
from trading.store.universe import UniverseSettings

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

Column = Literal[
    "date", "time", "symbol", "exchange", "open", "high", "low", "close", "volume",
    "value", "market_cap", "shares", "adj_close",
]  # fmt: skip

SETTINGS_FILE = "ohlcv.yaml"
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".txt", ".tsv")
# Headers as they are commonly written, without blanks, underscores and case.
_HEADERS: Mapping[Column, tuple[str, ...]] = {
    "date": ("date", "datetime", "timestamp", "ts", "tradedate", "day", "session", "날짜", "일자",
             "일시", "거래일", "거래일자", "영업일자", "기준일", "기준일자"),
    "time": ("time", "시각", "시간", "체결시각", "체결시간"),
    "symbol": ("symbol", "ticker", "code", "종목코드", "단축코드", "코드", "티커"),
    "exchange": ("exchange", "market", "시장", "시장구분", "거래소"),
    "open": ("open", "openprice", "시가"),
    "high": ("high", "highprice", "고가"),
    "low": ("low", "lowprice", "저가"),
    "close": ("close", "closeprice", "종가"),
    "volume": ("volume", "vol", "거래량"),
    "value": ("value", "amount", "거래대금"),
    "market_cap": ("marketcap", "marcap", "시가총액"),
    "shares": ("shares", "stocks", "상장주식수"),
    "adj_close": ("adjclose", "adjustedclose", "수정종가"),
}  # fmt: skip
_PRICES: tuple[Column, ...] = ("open", "high", "low", "close")
_FACTS: tuple[Column, ...] = ("value", "market_cap", "shares")
_NEEDED: tuple[Column, ...] = ("date", *_PRICES, "volume")
_EXCHANGES = {
    **{exchange.value: exchange for exchange in Exchange},
    "KOSDAQ GLOBAL": Exchange.KOSDAQ,
    "STK": Exchange.KOSPI,
    "KSQ": Exchange.KOSDAQ,
    "유가증권": Exchange.KOSPI,
    "코스피": Exchange.KOSPI,
    "코스닥": Exchange.KOSDAQ,
}
# Exchanges whose rows are left out.
_OTHER = ("KONEX", "코넥스", "KNX")
# 005930, A005930 as KRX writes it in full, 5930 as a spreadsheet leaves it.
_KRX_CODE = re.compile(r"A?[0-9][0-9A-Z]{5}|[0-9]{1,5}")
# Minor units must fit into 64 bits.
_LARGEST = 9e18


class AdjustedClose(BaseModel):
    """What a vendor's adjusted close stands for; splits and bonus issues are always in it.

    Parameters
    ----------
    dividends : DividendBase, optional
        By which close cash dividends were divided; not given where they are left out.
    rounded_to : float
        Currency units to which it was rounded; 0 where it keeps all digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dividends: DividendBase | None = None
    rounded_to: float = Field(default=0.0, ge=0)


class OhlcvSettings(BaseModel):
    """What the files do not say themselves.

    Parameters
    ----------
    market, kind : optional
        Of all rows; else told from the symbols and from the times of day.
    columns : mapping
        Our names of columns to the files' own, where these are uncommon.
    symbol, exchange : optional
        Of all rows, where no column says it. Without either the symbol is the file's name.
    date_format : str, optional
        strptime's, for dates and times that are in no common form.
    timezone : str, optional
        Of times without an offset; the market's own by default.
    stamp : {"start", "end"}
        Which end of an intraday bar its time is.
    bar_minutes : int
        Length of an intraday bar, needed where ``stamp`` is "end".
    price_unit : float
        Currency units in one of the files' price units: 0.01 where prices are cents.
    basis : PriceBasis
        Whether prices are as traded. Not said, they count as adjusted and are never ordered on
        where raw prices are demanded.
    adjusted : AdjustedClose, optional
        What a column of adjusted closes beside raw prices stands for. Corporate actions are
        inferred from the two; without it there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    market: Market | None = None
    kind: Literal["daily", "minute"] | None = None
    columns: Mapping[Column, str] = Field(default_factory=dict)
    symbol: str | None = None
    exchange: Exchange | None = None
    date_format: str | None = None
    timezone: str | None = None
    stamp: Literal["start", "end"] = "start"
    bar_minutes: int = Field(default=1, ge=1, le=390)
    price_unit: float = Field(default=1.0, gt=0)
    basis: PriceBasis = PriceBasis.ADJUSTED
    adjusted: AdjustedClose | None = None
    encoding: str | None = None

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, OSError) as error:
            raise ValueError(f"모르는 시간대: {value}") from error
        return value


def ohlcv_files(path: Path) -> list[Path]:
    """Return the files of a folder that may hold bars, or the one that is named."""
    if path.is_file():
        return [path] if path.name.endswith(_SUFFIXES) else []
    if not path.is_dir():
        return []
    # A text file among others is more often a note than a table.
    suffixes = [suffix for suffix in _SUFFIXES if suffix != ".txt"]
    visible = (file for file in path.iterdir() if not file.name.startswith("."))
    return sorted(file for file in visible if file.name.endswith(tuple(suffixes)))


def read_settings(path: Path) -> OhlcvSettings:
    """Return what ``ohlcv.yaml`` in the folder, or ``<file>.yaml`` beside the file, says."""
    beside = path / SETTINGS_FILE if path.is_dir() else path.with_name(f"{path.name}.yaml")
    if not beside.is_file():
        return OhlcvSettings()
    try:
        return OhlcvSettings.model_validate(
            yaml.safe_load(beside.read_text(encoding="utf-8")) or {}
        )
    except (ValidationError, yaml.YAMLError, OSError, UnicodeError) as error:
        raise ConfigError(f"자료 설명 파일 오류: {beside}: {error}") from error


class OhlcvSource(TableSource):
    """Daily or intraday bars of one market from somebody's files.

    All files are read and checked before the first row is served: one that cannot be read stops
    the whole.
    """

    name = "ohlcv"

    def __init__(self, path: Path, universe: UniverseSettings | None = None) -> None:
        super().__init__(universe)
        self.path = path
        self.settings = read_settings(path)
        self.basis = self.settings.basis
        self._files = ohlcv_files(path)
        if not self._files:
            raise UsageError(f"{path}에 읽을 파일이 없음 ({', '.join(_SUFFIXES)})")

    def readers(self, market: Market) -> Mapping[str, Reader]:
        """Return the reader of the bars, and of the instruments they are of."""
        kind, bars = self._bars
        if market is not self._market:
            return {}
        return {
            kind.name: lambda symbols, first, last: chosen(bars, kind, symbols, first, last),
            "instruments": self.instrument_reader(market, self._label),
            "actions": self.action_reader(market),
        }

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every symbol of the files; ``listed`` is its first recorded session."""
        import pyarrow as pa

        _, bars = self._bars
        if market is not self._market:
            return []
        rows = pa.table(
            {name: bars[name].cast(pa.string()) for name in ("symbol", "exchange")}
            | {"session": bars["session"]}
        )
        lives = rows.group_by("symbol", use_threads=False).aggregate(
            [("session", "min"), ("exchange", "last")]
        )
        facts = self.universe.instruments
        found = []
        for row in lives.sort_by("symbol").to_pylist():
            fact = facts.get(row["symbol"])
            found.append(
                Instrument(
                    symbol=row["symbol"],
                    exchange=Exchange(row["exchange_last"]),
                    name=fact.name if fact else "",
                    sector=fact.sector if fact else None,
                    listed=row["session_min"],
                )
            )
        return found

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return what raw and adjusted closes tell, where it is said what these stand for."""
        if market is not self._market:
            return []
        return [action for action in self._actions if first <= action.ex_date <= last]

    def sessions(self, market: Market) -> list[date]:
        """Return the sessions with daily bars, oldest first."""
        return self._sessions(market, schema.DAILY_BARS)

    def minute_sessions(self, market: Market) -> list[date]:
        """Return the sessions with intraday bars, oldest first."""
        return self._sessions(market, schema.MINUTE_BARS)

    @cached_property
    def _actions(self) -> list[CorporateAction]:
        kind, bars = self._bars
        vendor = self.settings.adjusted
        if kind is not schema.DAILY_BARS or self.basis is PriceBasis.ADJUSTED or vendor is None:
            return []
        return infer_actions(
            bars,
            minor_per_unit=self._market.currency.minor_per_unit,
            vendor=Vendor(dividends=vendor.dividends, adj_unit=vendor.rounded_to),
            source=self._label,
        )

    def _sessions(self, market: Market, wanted: schema.FrameSchema) -> list[date]:
        kind, bars = self._bars
        if market is not self._market or kind is not wanted:
            return []
        return days_of(bars["session"].to_numpy())

    @property
    def _label(self) -> str:
        return self.settings.name or self.path.name

    @property
    def _market(self) -> Market:
        exchange: str = self._bars[1]["exchange"][0].as_py()
        return Exchange(exchange).market

    @cached_property
    def _bars(self) -> "tuple[schema.FrameSchema, pa.Table]":
        import pyarrow as pa

        files = [_File(path, self.settings) for path in self._files]
        market = self._market_of({name for file in files for name in file.symbols})
        zone = self.settings.timezone or market.timezone_name
        for file in files:
            file.read_times(zone)
        intraday = self.settings.kind == "minute" or (
            self.settings.kind is None and any(file.is_intraday for file in files)
        )
        kind = schema.MINUTE_BARS if intraday else schema.DAILY_BARS
        parts = [file.rows(kind, market, zone, self.universe, self._label) for file in files]
        whole = schema.by_key(pa.concat_tables(parts).unify_dictionaries(), kind)
        if len(whole) == 0:
            raise DataError(f"다루는 거래소의 행이 없음: {self.path}")
        return kind, schema.conform(whole, kind)

    def _market_of(self, symbols: Collection[str]) -> Market:
        if self.settings.market is not None:
            return self.settings.market
        if self.settings.exchange is not None:
            return self.settings.exchange.market
        korean = {_KRX_CODE.fullmatch(name) is not None for name in symbols}
        if len(korean) > 1:
            raise ConfigError(
                f"{self.path}에 두 시장의 종목이 섞인 듯함: {SETTINGS_FILE}에 market을 적어 주세요"
            )
        return Market.KRX if True in korean else Market.US


class _File:
    """One file while it is being read."""

    def __init__(self, path: Path, settings: OhlcvSettings) -> None:
        self.path = path
        self.settings = settings
        self.table = read_any(path, settings.encoding)
        self.names = self._columns()
        self._symbol = self._symbols()

    @property
    def symbols(self) -> list[str]:
        """The different symbols of the file."""
        found: list[str] = self._symbol.dictionary.to_pylist()
        return found

    def read_times(self, zone: str) -> None:
        """Read when each bar was: in ``zone`` where the file does not say an offset."""
        name, table = self.names["date"], self.table
        if "time" in self.names:
            name = f"{name} {self.names['time']}"
            table = table.append_column(name, self._date_and_time())
        self._local = moments(self.path, table, name, zone=zone, pattern=self.settings.date_format)

    @property
    def is_intraday(self) -> bool:
        """Whether a symbol has several times on one day."""
        days = self._local.astype("datetime64[D]").astype(np.int64)
        if bool((self._local == days.astype("datetime64[D]")).all()):
            return False
        key = self._symbol.indices.to_numpy().astype(np.int64) << 32 | days
        return len(np.unique(key)) < len(key)

    def rows(
        self,
        kind: schema.FrameSchema,
        market: Market,
        zone: str,
        universe: UniverseSettings,
        source: str,
    ) -> "pa.Table":
        """Return the rows in the agreed shape.

        Left out are rows of exchanges not dealt with, and intraday bars without a trade.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        count = len(self.table)
        columns = {
            "symbol": self._krx_codes() if market is Market.KRX else self._symbol,
            "exchange": self._exchanges(market, universe),
            **self._numbers(market),
            "source": same_word(source, count),
        }
        kept = pc.is_valid(columns["exchange"]).to_numpy(zero_copy_only=False)
        if kind is schema.MINUTE_BARS:
            kept &= columns["volume"] > 0
            started = self._instants(zone)
            columns["ts"] = started
            columns["session"] = pc.local_timestamp(
                started.cast(pa.timestamp("us", tz=market.timezone_name))
            ).cast(pa.date32(), safe=False)
        else:
            columns["session"] = pa.array(self._local.astype("datetime64[D]"))
            columns["basis"] = same_word(self.settings.basis.value, count)
        rows = schema.cast(pa.table(columns).filter(pa.array(kept)), kind)
        order, repeats = schema.ordered(rows, kind)
        repeated = np.zeros(count, dtype=np.bool_)
        repeated[np.flatnonzero(kept)[order[repeats]]] = True
        self._refuse(repeated, "같은 종목의 같은 때가 또 나옴", "date")
        return rows

    def _columns(self) -> dict[Column, str]:
        """Return our columns that the file has, with the file's names for them."""
        header = self.table.column_names
        plain = {_plain(name): name for name in reversed(header)}
        found: dict[Column, str] = {}
        for column, names in _HEADERS.items():
            said = self.settings.columns.get(column)
            if said is not None and said not in header:
                raise SchemaError(
                    f"{self.path}에 {column} 열로 적어 둔 {said!r} 열이 없음: {', '.join(header)}"
                )
            known = said or next((plain[name] for name in names if name in plain), None)
            if known is not None:
                found[column] = known
        if missing := [column for column in _NEEDED if column not in found]:
            raise SchemaError(
                f"{self.path}에서 {', '.join(missing)} 열을 찾지 못함 (머리글: {', '.join(header)}). "
                f"{SETTINGS_FILE}의 columns에 적어 주세요"
            )
        return found

    def _symbols(self) -> "pa.DictionaryArray":
        import pyarrow.compute as pc

        if "symbol" not in self.names:
            name = self.path.name
            suffix = next((end for end in _SUFFIXES if name.endswith(end)), "")
            return same_word(self.settings.symbol or name.removesuffix(suffix), len(self.table))
        text = pc.utf8_trim_whitespace(self._text("symbol"))
        self._refuse(pc.fill_null(pc.equal(text, ""), True).to_numpy(), "종목이 비었음", "symbol")
        coded = text.combine_chunks().dictionary_encode()
        return words(coded.indices.to_numpy(), coded.dictionary.to_pylist())

    def _krx_codes(self) -> "pa.DictionaryArray":
        """Return the symbols as six characters."""
        import pyarrow as pa

        short = [name.removeprefix("A").zfill(6) for name in self.symbols]
        return pa.array(short, pa.string()).take(self._symbol.indices).dictionary_encode()

    def _exchanges(self, market: Market, universe: UniverseSettings) -> "pa.Array":
        import pyarrow as pa

        if "exchange" in self.names:
            coded = self._text("exchange").combine_chunks().dictionary_encode()
            cells = [cell.strip() for cell in coded.dictionary.to_pylist()]
            index = coded.indices.fill_null(-1).to_numpy()
            known = np.array([cell in _EXCHANGES or cell in _OTHER for cell in cells] + [False])
            self._refuse(~known[index], "모르는 거래소", "exchange")
            found = [_EXCHANGES.get(cell) for cell in cells]
        elif self.settings.exchange is not None:
            return same_word(self.settings.exchange.value, len(self.table))
        else:
            found = [universe.exchange(name) for name in self.symbols]
            index = self._symbol.indices.to_numpy()
        if elsewhere := {one.value for one in found if one and one.market is not market}:
            raise ConfigError(f"{self.path}에 다른 시장의 거래소가 있음: {', '.join(elsewhere)}")
        names = pa.array([one.value if one else None for one in found], pa.string())
        return names.take(pa.array(index))

    def _numbers(self, market: Market) -> dict[str, Any]:
        """Return prices in minor units and counts; a bar without volume keeps its close only."""
        minor = market.currency.minor_per_unit
        volume = self._amounts("volume")
        self._refuse(np.rint(volume) != volume, "거래량이 정수가 아님", "volume")
        halted = volume == 0
        columns: dict[str, Any] = {"volume": volume.astype(np.int64)}
        for name in _PRICES:
            empty = halted if name != "close" else False
            prices = self._amounts(name, may_be_empty=empty)
            columns[name] = self._whole(name, prices * self.settings.price_unit * minor)
            if name != "close":
                columns[name][halted] = 0
        for name in _FACTS:
            if name in self.names:
                values = self._amounts(name, may_be_empty=True)
                columns[name] = or_null(
                    self._whole(name, values * (1 if name == "shares" else minor))
                )
        if "adj_close" in self.names:
            adjusted = self._amounts("adj_close", may_be_empty=True)
            columns["adj_close"] = adjusted * self.settings.price_unit
        return columns

    def _amounts(self, name: Column, *, may_be_empty: BoolArray | bool = False) -> FloatArray:
        values = amounts(self.path, self.table, self.names[name])
        self._refuse(np.isnan(values) & ~np.array(may_be_empty), f"{name} 값이 비었음", name)
        self._refuse(values < 0, f"{name} 값이 음수임", name)
        return values

    def _whole(self, name: Column, values: FloatArray) -> IntArray:
        """Return the nearest whole numbers, -1 for what is empty."""
        self._refuse(values > _LARGEST, f"{name} 값이 너무 큼", name)
        return np.where(np.isnan(values), -1, np.rint(values)).astype(np.int64)

    def _instants(self, zone: str) -> "pa.Array":
        """Return when the bars began."""
        import pyarrow as pa
        import pyarrow.compute as pc

        local = pa.array(self._local)
        try:
            instants = pc.assume_timezone(local, zone).cast(pa.timestamp("us", tz="UTC"))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self.path}에 {zone}에서 없거나 두 번 있는 시각이 있음 (서머타임 전환): {error}"
            ) from error
        if self.settings.stamp == "end":
            length = np.timedelta64(self.settings.bar_minutes, "m")
            instants = pc.subtract(instants, pa.scalar(length.astype("timedelta64[us]")))
        return instants

    def _date_and_time(self) -> "pa.ChunkedArray":
        """Return both columns as one text: 90000 is nine in the morning."""
        import pyarrow.compute as pc

        time = pc.replace_substring_regex(
            pc.utf8_trim_whitespace(self._text("time")),
            pattern=r"^([0-9]{3}|[0-9]{5})$",
            replacement=r"0\1",
        )
        return pc.binary_join_element_wise(self._text("date"), time, " ")

    def _text(self, name: Column) -> "pa.ChunkedArray":
        import pyarrow as pa

        column = self.table[self.names[name]]
        if pa.types.is_null(column.type) or pa.types.is_nested(column.type):
            raise SchemaError(f"{self.path}의 {self.names[name]} 열이 글이 아님: {column.type}")
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.date32(), safe=False)
        return column.cast(pa.string())

    def _refuse(self, wrong: BoolArray, what: str, name: Column) -> None:
        refuse(self.path, wrong, what, self.table[self.names[name]])


def _plain(header: str) -> str:
    return re.sub(r"[\s_.*-]", "", header).casefold()
