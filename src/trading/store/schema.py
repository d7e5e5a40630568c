"""The agreed shape of every table that crosses the store's border.

Inside the store a batch is an Arrow table with text as dictionary codes; ``to_frame`` makes the
pandas frame for people and for code outside. What a row may contain beyond its shape (price
limits, tick grid, calendar) is ``quality``'s.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trading.errors import SchemaError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.domain.arrays import BoolArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSchema:
    """Columns with their type, the key that is unique, and what may be absent.

    Parameters
    ----------
    dated_by : str, optional
        The column that a range of days narrows, and by which the files are cut.
    partition : {"month", "date"}, optional
        What one file holds; everything when absent.
    subject : str, optional
        The column that a list of symbols narrows.
    """

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    nullable: frozenset[str]
    dated_by: str | None = None
    partition: Literal["month", "date"] | None = None
    subject: str | None = "symbol"

    def arrow(self, columns: Iterable[str] | None = None) -> "pa.Schema":
        """Return the Arrow schema of a batch, or of some of its columns."""
        import pyarrow as pa

        chosen = list(self.columns if columns is None else columns)
        if unknown := [name for name in chosen if name not in self.columns]:
            raise UsageError(
                f"{self.name} 자료에 없는 열: {', '.join(unknown)} (있는 열: {', '.join(self.columns)})"
            )
        return pa.schema([pa.field(name, _arrow_type(self.columns[name])) for name in chosen])


def _schema(
    name: str,
    columns: str,
    *,
    key: str,
    dated_by: str | None = None,
    partition: Literal["month", "date"] | None = None,
    subject: str | None = "symbol",
) -> FrameSchema:
    """Return a schema from words ``name:type``; a ``?`` marks what may be absent."""
    words = f"{columns} source:text fetched_at:instant?".split()
    types = dict(word.rstrip("?").split(":") for word in words)
    return FrameSchema(
        name=name,
        columns=types,
        key=tuple(key.split()),
        nullable=frozenset(word.split(":")[0] for word in words if word.endswith("?")),
        dated_by=dated_by,
        partition=partition,
        subject=subject,
    )


_OHLC = "open:int high:int low:int close:int volume:int"

DAILY_BARS = _schema(
    "daily",
    f"session:date symbol:text exchange:text {_OHLC} "
    "value:int? market_cap:int? shares:int? adj_close:float? basis:text",
    key="symbol session",
    dated_by="session",
    partition="month",
)
MINUTE_BARS = _schema(
    "minute",
    f"ts:instant session:date symbol:text exchange:text {_OHLC}",
    key="ts symbol",
    dated_by="session",
    partition="date",
)
TICKS = _schema(
    "ticks",
    "ts:instant seq:int session:date symbol:text exchange:text kind:text price:int? size:int? "
    "bid:int? bid_size:int? ask:int? ask_size:int? condition:text? suspicious:bool?",
    key="symbol ts seq",
    dated_by="session",
    partition="date",
)
INDEX = _schema(
    "index",
    "session:date name:text open:float? high:float? low:float? close:float volume:int?",
    key="name session",
    dated_by="session",
    subject="name",
)
INSTRUMENTS = _schema(
    "instruments",
    "symbol:text exchange:text name:text sector:text? listed:date? delisted:date?",
    key="symbol",
)
ACTIONS = _schema(
    "actions",
    "symbol:text ex_date:date kind:text numerator:int denominator:int amount:int inferred:bool",
    key="symbol ex_date kind",
    dated_by="ex_date",
)
FUNDAMENTALS = _schema(
    "fundamentals",
    "symbol:text metric:text period:date published:date value:float rule:bool",
    key="symbol metric period published",
    dated_by="published",
    partition="month",
)
SECTORS = _schema(
    "sectors",
    "symbol:text scheme:text as_of:date sector:text",
    key="symbol scheme as_of",
    dated_by="as_of",
)
LISTINGS = _schema(
    "listings",
    "session:date symbol:text exchange:text name:text is_halted:bool is_administrative:bool? "
    "warning:text? market_cap:int? shares:int?",
    key="symbol session",
    dated_by="session",
    partition="month",
)
RANKINGS = _schema(
    "rankings",
    "session:date ts:instant ranking:text rank:int symbol:text value:float",
    key="session ranking ts rank",
    dated_by="session",
    partition="month",
)
HOLIDAYS = _schema(
    "holidays",
    "day:date is_open:bool",
    key="day",
    dated_by="day",
    subject=None,
)
KINDS = {
    kind.name: kind
    for kind in (
        DAILY_BARS,
        MINUTE_BARS,
        TICKS,
        INDEX,
        INSTRUMENTS,
        ACTIONS,
        FUNDAMENTALS,
        SECTORS,
        LISTINGS,
        RANKINGS,
        HOLIDAYS,
    )
}


def kind_named(name: str) -> FrameSchema:
    """Return the schema of a kind; ``UsageError`` names those that exist."""
    try:
        return KINDS[name]
    except KeyError:
        raise UsageError(f"자료 종류는 {', '.join(KINDS)} 중 하나여야 함: {name}") from None


def empty(kind: FrameSchema) -> "pd.DataFrame":
    """Return a frame without rows in the agreed shape."""
    return to_frame(kind.arrow().empty_table(), kind)


def conform(data: "pd.DataFrame | pa.Table", kind: FrameSchema) -> "pa.Table":
    """Return the agreed columns, in order and with the agreed types, after ``validate``."""
    table = cast(data, kind)
    validate(table, kind)
    return table


def cast(data: "pd.DataFrame | pa.Table", kind: FrameSchema) -> "pa.Table":
    """Return the agreed columns and types; ``SchemaError`` when a column or a cell cannot be one.

    Columns that may be empty may be missing; other columns than the agreed ones are left out.
    Keys may still repeat: a batch that goes to quality control is allowed to.
    """
    import pyarrow as pa

    given = data.column_names if isinstance(data, pa.Table) else data.columns
    missing = [name for name in kind.columns if name not in given and name not in kind.nullable]
    if missing:
        raise SchemaError(f"{kind.name} 자료에 열이 없음: {', '.join(missing)}")
    rows = len(data)
    columns = []
    for field in kind.arrow():
        if field.name not in given:
            columns.append(pa.chunked_array([pa.nulls(rows, field.type)]))
            continue
        try:
            column = _cast_column(data[field.name], field.type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise SchemaError(f"{kind.name} 자료의 {field.name} 열 형식 오류: {error}") from error
        if column.null_count and field.name not in kind.nullable:
            raise SchemaError(f"{kind.name} 자료의 {field.name} 열에 빈 값 {column.null_count:,}개")
        columns.append(column)
    return pa.table(columns, schema=kind.arrow())


def completed(table: "pa.Table", kind: FrameSchema, columns: Iterable[str]) -> "pa.Table":
    """Return columns as they were read in today's shape: files may be older than a column."""
    import pyarrow as pa

    wanted = kind.arrow(columns)
    if table.schema.equals(wanted):
        return table.unify_dictionaries()
    found = []
    for field in wanted:
        if field.name in table.column_names:
            found.append(_cast_column(table[field.name], field.type))
        else:
            filled = "" if field.name == "source" else None
            found.append(pa.chunked_array([pa.array([filled] * len(table), type=field.type)]))
    return pa.table(found, schema=wanted)


def validate(data: "pd.DataFrame | pa.Table", kind: FrameSchema) -> None:
    """Raise ``SchemaError`` unless each key of a batch appears once."""
    unique_order(cast(data, kind), kind)


def to_frame(table: "pa.Table", kind: FrameSchema) -> "pd.DataFrame":
    """Return a table of this kind, or some of its columns, as the frame that people work with.

    Text is plain text, whole numbers that may be absent are pandas' nullable integers.
    """
    import pandas as pd
    import pyarrow as pa

    plain = pa.schema(
        [
            pa.field(name, pa.string() if kind.columns.get(name) == "text" else table[name].type)
            for name in table.column_names
        ]
    )
    nullable_ints = any(
        kind.columns.get(name) == "int" and name in kind.nullable for name in table.column_names
    )
    frame: pd.DataFrame = table.cast(plain).to_pandas(
        date_as_object=False,
        ignore_metadata=True,
        integer_object_nulls=False,
        types_mapper={pa.int64(): pd.Int64Dtype()}.get if nullable_ints else None,
    )
    for name in table.column_names:
        is_number = kind.columns.get(name) == "int" and name not in kind.nullable
        if is_number and frame[name].dtype != np.int64:
            frame[name] = frame[name].to_numpy(dtype=np.int64)
    return frame


def unique_order(table: "pa.Table", kind: FrameSchema) -> "IntArray":
    """Return the order of the rows by key; ``SchemaError`` where a key repeats."""
    order, repeats = ordered(table, kind)
    if repeats.any():
        first = int(order[np.flatnonzero(repeats)[0]])
        row = ", ".join(str(table[name][first].as_py()) for name in kind.key)
        count = int(repeats.sum())
        raise SchemaError(f"{kind.name} 자료에 같은 키가 {count:,}번 겹침: {row}")
    return order


def ordered(table: "pa.Table", kind: FrameSchema) -> "tuple[IntArray, BoolArray]":
    """Return the stable order of the rows by key, and which of them repeat the key before."""
    columns = [_codes(table[name]) for name in kind.key]
    order = _order(columns, len(table))
    repeats = np.ones(len(order), dtype=np.bool_)
    repeats[:1] = False
    for codes in columns:
        repeats[1:] &= codes[order[1:]] == codes[order[:-1]]
    return order, repeats


def stable_order(codes: "IntArray") -> "IntArray":
    """Return the stable order of numbers from 0 on."""
    # numpy sorts 16 bits by radix, in linear time.
    if len(codes) and int(codes.max()) < 2**16:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    return np.argsort(codes, kind="stable")


def by_key(table: "pa.Table", kind: FrameSchema) -> "pa.Table":
    """Return the rows sorted by those columns of the key that the table has."""
    present = [_codes(table[name]) for name in kind.key if name in table.column_names]
    return table.take(_order(present, len(table)))


def day(value: date | datetime | Any) -> date:
    """Return the calendar day of a cell of a ``date`` column."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    result: date = np.datetime64(value, "D").astype(object)
    return result


def _order(columns: "Sequence[IntArray]", rows: int) -> "IntArray":
    order = np.arange(rows)
    for codes in reversed(columns):
        order = order[stable_order(codes[order])]
    return order


def _codes(column: "pa.ChunkedArray") -> "IntArray":
    """Return numbers from 0 on that sort as the cells do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        rank = np.empty(len(whole.dictionary), dtype=np.int64)
        rank[pc.array_sort_indices(whole.dictionary).to_numpy()] = np.arange(len(rank))
        codes: IntArray = rank[whole.indices.to_numpy(zero_copy_only=False)]
        return codes
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    numbers: IntArray = column.cast(pa.int64()).to_numpy()
    if not len(numbers):
        return numbers
    least = numbers.min()
    if int(numbers.max()) - int(least) >= 2**63:
        # Their difference is no number any more; their rank is.
        ranks: IntArray = np.unique(numbers, return_inverse=True)[1]
        return ranks
    apart: IntArray = numbers - least
    return apart


def _cast_column(values: Any, wanted: "pa.DataType") -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    column = values
    if not isinstance(column, pa.ChunkedArray):
        text = pa.types.is_dictionary(wanted)
        made = pa.array(values, type=pa.string() if text else None, from_pandas=True)
        column = made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if pa.types.is_dictionary(wanted):
        return _cast_text(column, wanted)
    if column.type == wanted and not pa.types.is_floating(wanted):
        return column
    if _is_number(column.type) != _is_number(wanted) or _is_text(column.type):
        raise TypeError(f"{wanted} 자리에 {column.type}")
    if pa.types.is_timestamp(column.type) and (column.type.tz is None) != pa.types.is_date(wanted):
        raise TypeError("시간대가 없는 시각" if column.type.tz is None else "날짜 자리에 시각")
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    found = column.cast(wanted, safe=True)
    # Arrow cuts the time of day off a date without a word.
    if pa.types.is_date(wanted) and not found.cast(column.type).equals(column):
        raise ValueError("날짜 자리에 시각")
    return found


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return any(test(kind) for test in tests)


def _cast_text(column: "pa.ChunkedArray", wanted: "pa.DataType") -> "pa.ChunkedArray":
    import pyarrow as pa

    if column.type == wanted and not any(chunk.dictionary.null_count for chunk in column.chunks):
        unified = column.unify_dictionaries()
        if _is_plain(unified.chunk(0).dictionary):
            return unified
    if not _is_text(column.type):
        raise TypeError(f"글이 아님: {column.type}")
    return column.cast(pa.string()).dictionary_encode().unify_dictionaries()


def _is_plain(words: "pa.Array") -> bool:
    """Return whether each word has one code: Arrow allows several."""
    import pyarrow.compute as pc

    return len(pc.unique(words)) == len(words)


def _arrow_type(kind: str) -> "pa.DataType":
    import pyarrow as pa

    return {
        "date": pa.date32(),
        "text": pa.dictionary(pa.int32(), pa.string()),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "instant": pa.timestamp("us", tz="UTC"),
    }[kind]
