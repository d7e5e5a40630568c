"""The agreed shape of every frame that crosses the store's border.

What a row may contain beyond its shape (price limits, tick grid, calendar) is ``quality``'s.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trading.errors import SchemaError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSchema:
    """Columns with their Arrow type, the key that is unique, and what may be absent.

    ``partition`` is the column, the name of its directories and their numpy date unit; ``None``
    is one file.
    """

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    partition: tuple[str, str, Literal["M", "D"]] | None = None

    def arrow(self) -> "pa.Schema":
        """Return the schema as it is written to Parquet."""
        import pyarrow as pa

        return pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in self.columns.items()])


DAILY_BARS = FrameSchema(
    name="daily",
    columns={
        "session": "date",
        "symbol": "text",
        "exchange": "text",
        "open": "int",
        "high": "int",
        "low": "int",
        "close": "int",
        "volume": "int",
        "value": "int",
        "adj_close": "float",
        "basis": "text",
        "source": "text",
        "fetched_at": "instant",
    },
    key=("symbol", "session"),
    nullable=frozenset({"value", "adj_close", "fetched_at"}),
    partition=("session", "month", "M"),
)
MINUTE_BARS = FrameSchema(
    name="minute",
    columns={
        "ts": "instant",
        "session": "date",
        "symbol": "text",
        "exchange": "text",
        "open": "int",
        "high": "int",
        "low": "int",
        "close": "int",
        "volume": "int",
        "source": "text",
        "fetched_at": "instant",
    },
    key=("ts", "symbol"),
    nullable=frozenset({"fetched_at"}),
    partition=("session", "date", "D"),
)
INDEX = FrameSchema(
    name="index",
    columns={"session": "date", "name": "text", "close": "float"},
    key=("name", "session"),
)
INSTRUMENTS = FrameSchema(
    name="instruments",
    columns={
        "symbol": "text",
        "exchange": "text",
        "name": "text",
        "sector": "text",
        "listed": "date",
        "delisted": "date",
    },
    key=("symbol",),
    nullable=frozenset({"sector", "listed", "delisted"}),
)
ACTIONS = FrameSchema(
    name="actions",
    columns={
        "symbol": "text",
        "ex_date": "date",
        "kind": "text",
        "numerator": "int",
        "denominator": "int",
        "amount": "int",
        "source": "text",
        "inferred": "bool",
    },
    key=("symbol", "ex_date", "kind"),
)
KINDS = {schema.name: schema for schema in (DAILY_BARS, MINUTE_BARS, INDEX, INSTRUMENTS, ACTIONS)}


def empty(schema: FrameSchema) -> "pd.DataFrame":
    """Return a frame without rows in the agreed shape."""
    return to_frame(schema.arrow().empty_table(), schema)


def conform(frame: "pd.DataFrame", schema: FrameSchema) -> "pd.DataFrame":
    """Return the agreed columns, in order and with the agreed types, after ``validate``."""
    checked = cast(frame, schema)
    validate(checked, schema)
    return checked


def cast(frame: "pd.DataFrame", schema: FrameSchema) -> "pd.DataFrame":
    """Return the agreed columns and types; ``SchemaError`` when a column or a cell cannot be one.

    Keys may still repeat: a batch that goes to quality control is allowed to.
    """
    import pyarrow as pa

    missing = [name for name in schema.columns if name not in frame.columns]
    if missing:
        raise SchemaError(f"{schema.name} 자료에 열이 없음: {', '.join(missing)}")
    try:
        table = pa.Table.from_pandas(
            frame[list(schema.columns)], schema=schema.arrow(), preserve_index=False, safe=True
        )
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise SchemaError(f"{schema.name} 자료의 형식 오류: {error}") from error
    for name in schema.columns:
        if name not in schema.nullable and table[name].null_count:
            count = table[name].null_count
            raise SchemaError(f"{schema.name} 자료의 {name} 열에 빈 값 {count}개")
    return to_frame(table, schema)


def validate(frame: "pd.DataFrame", schema: FrameSchema) -> None:
    """Raise ``SchemaError`` unless each key of a cast frame appears once."""
    repeated = frame.duplicated(list(schema.key))
    if bool(repeated.any()):
        row = frame.loc[repeated, list(schema.key)].iloc[0].tolist()
        raise SchemaError(f"{schema.name} 자료에 같은 키가 {int(repeated.sum())}번 겹침: {row}")


def to_frame(table: "pa.Table", schema: FrameSchema) -> "pd.DataFrame":
    """Return an Arrow table of this schema as the frame that the program works with."""
    import pandas as pd
    import pyarrow as pa

    nullable_ints = [
        name
        for name in schema.nullable
        if schema.columns[name] == "int" and name in table.schema.names
    ]
    frame: pd.DataFrame = table.to_pandas(
        date_as_object=False,
        ignore_metadata=True,
        integer_object_nulls=False,
        types_mapper={pa.int64(): pd.Int64Dtype()}.get if nullable_ints else None,
    )
    for name, kind in schema.columns.items():
        if kind == "int" and name not in schema.nullable and frame[name].dtype != np.int64:
            frame[name] = frame[name].to_numpy(dtype=np.int64)
    return frame


def day(value: date | datetime | Any) -> date:
    """Return the calendar day of a cell of a ``date`` column."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    result: date = np.datetime64(value, "D").astype(object)
    return result


def _arrow_type(kind: str) -> "pa.DataType":
    import pyarrow as pa

    return {
        "date": pa.date32(),
        "text": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "instant": pa.timestamp("us", tz="UTC"),
    }[kind]
