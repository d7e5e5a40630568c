"""Reading files that somebody else wrote: whatever is wrong with one is a ``DataError``.

The encoding of text is found out from its bytes; what a cell means is found out once per
different cell. Rows are counted from 1 below the header.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.errors import DataError, MissingDataError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

Filters = Sequence[tuple[str, str, Any]]

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DELIMITERS = (",", "\t", ";", "|")
_GZIP = b"\x1f\x8b"
# Prices were recorded in no other years; a cell outside them was misread.
_YEARS = (1900, 2100)


def read(path: Path, columns: Sequence[str], filters: Filters = ()) -> "pa.Table":
    """Return some columns of a Parquet file, of the rows that pass every filter."""
    import pyarrow.parquet as pq

    with explained(path):
        known = pq.read_schema(path)
        demand(path, columns, known.names)
        # An empty list of values has no type, which Arrow refuses; no row can match it.
        if any(operator == "in" and not values for _, operator, values in filters):
            return known.empty_table().select(columns)
        return pq.read_table(path, columns=list(columns), filters=list(filters) or None)


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file says it has."""
    import pyarrow.parquet as pq

    with explained(path):
        return int(pq.read_metadata(path).num_rows)


def read_pieces(path: Path, columns: Sequence[str], text: Sequence[str]) -> Iterator["pa.Table"]:
    """Yield a Parquet file's row groups, so that the whole never lies twice in memory.

    The columns named in ``text`` come as dictionary codes.
    """
    import pyarrow.parquet as pq

    with explained(path), pq.ParquetFile(path, read_dictionary=list(text)) as file:
        demand(path, columns, file.schema_arrow.names)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=list(columns))


def read_any(path: Path, encoding: str | None = None) -> "pa.Table":
    """Return a whole Parquet or CSV file; the cells of a CSV file are text, empty ones null."""
    import pyarrow.parquet as pq

    with explained(path):
        table = pq.read_table(path) if path.suffix == ".parquet" else _read_csv(path, encoding)
        # Bytes that are no text would be found only when a cell is looked at.
        table.validate(full=True)
        header = table.column_names
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        raise SchemaError(f"{path}에 같은 이름의 열이 여럿 있음: {', '.join(repeated)}")
    if len(table) == 0:
        raise DataError(f"자료 행이 없는 파일: {path}")
    return table.select([name for name in header if name])


def codes_in(column: "pa.ChunkedArray", names: "pa.Array") -> IntArray:
    """Return the position of each text cell in ``names``, -1 for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = [np.zeros(0, dtype=np.int64)]
    for chunk in column.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        place = pc.index_in(coded.dictionary.cast(pa.string()), value_set=names)
        # The last entry is where the code -1 of an empty cell points to.
        lookup = np.append(pc.fill_null(place, -1).to_numpy(), -1).astype(np.int64)
        found.append(lookup[pc.fill_null(coded.indices, -1).to_numpy()])
    return np.concatenate(found)


def numbers(column: "pa.ChunkedArray", dtype: Any, *, empty: int = -1) -> "np.ndarray":
    """Return a column of whole numbers or dates, ``empty`` where a cell is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.date32(), safe=False).cast(pa.int32())
    elif pa.types.is_null(column.type):
        column = column.cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, empty)
    result: np.ndarray = column.to_numpy().astype(dtype, copy=False)
    return result


def amounts(path: Path, table: "pa.Table", name: str) -> FloatArray:
    """Return a column as numbers, NaN where a cell is empty; infinite ones are refused.

    Thousands separators are understood.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if _is_text(column.type):
        plain = pc.replace_substring(pc.utf8_trim_whitespace(column.cast(pa.string())), ",", "")
        plain = pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)
        try:
            column = plain.cast(pa.float64())
        except pa.ArrowInvalid:
            wrong = [not _is_number(cell) for cell in plain.to_pylist()]
            refuse(path, np.array(wrong), f"{name} 칸이 숫자가 아님", column)
    elif not _is_numeric(column.type):
        raise SchemaError(f"{path}의 {name} 열이 숫자가 아님: {column.type}")
    values: FloatArray = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    refuse(path, np.isinf(values) | (np.abs(values) > 1e15), f"{name} 값이 너무 큼", table[name])
    return values


def moments(
    path: Path, table: "pa.Table", name: str, *, zone: str, pattern: str | None = None
) -> "np.ndarray":
    """Return a column of dates or times as ``datetime64[us]`` in local time.

    Times with an offset are brought into ``zone``, others are taken as they are; both in one file
    are refused. ``pattern`` is strptime's; without it ISO 8601 and 2021.1.4, 2021/01/04 and
    20210104 are understood.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if column.null_count:
        refuse(path, pc.is_null(column).to_numpy(), f"{name} 칸이 비었음", column)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = pc.local_timestamp(column.cast(pa.timestamp("us", tz=zone), safe=False))
        found = column.cast(pa.timestamp("us"), safe=False).to_numpy()
    else:
        if not (_is_text(column.type) or pa.types.is_integer(column.type)):
            raise SchemaError(f"{path}의 {name} 열이 날짜가 아님: {column.type}")
        coded = column.cast(pa.string()).combine_chunks().dictionary_encode()
        cells = [_moment(cell, pattern) for cell in coded.dictionary.to_pylist()]
        index = coded.indices.to_numpy()
        unread = np.array([cell is None for cell in cells])[index]
        refuse(path, unread, f"{name} 칸이 날짜가 아님", column)
        read_cells = [cell for cell in cells if cell is not None]
        aware = np.array([cell.tzinfo is not None for cell in read_cells])[index]
        if aware.any():
            refuse(path, ~aware, f"{name} 열에 시간대가 있는 시각과 없는 시각이 섞임", column)
            whole = pa.array(read_cells, pa.timestamp("us", tz=zone))
            local = pc.local_timestamp(whole)
        else:
            local = pa.array(read_cells, pa.timestamp("us"))
        found = local.to_numpy()[index]
    year = found.astype("datetime64[Y]").astype(np.int64) + 1970
    refuse(path, (year < _YEARS[0]) | (year > _YEARS[1]), f"{name} 칸이 있을 수 없는 날짜", column)
    result: np.ndarray = found.astype("datetime64[us]")
    return result


def refuse(path: Path, wrong: BoolArray, what: str, column: "pa.ChunkedArray") -> None:
    """Raise ``DataError`` naming the first wrong row, if there is one, and what stands there."""
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    try:
        cell = repr(column[row].as_py())
    except (OverflowError, ValueError):  # a time that Python cannot hold
        cell = str(column[row].type)
    count = int(wrong.sum())
    more = f" (모두 {count:,}행)" if count > 1 else ""
    raise DataError(f"{path}의 자료 {row + 1:,}번째 행: {what}: {cell}{more}")


def demand(path: Path, wanted: Sequence[str], known: Sequence[str]) -> None:
    """Raise ``SchemaError`` unless every wanted column is there."""
    if missing := [name for name in wanted if name not in known]:
        raise SchemaError(f"{path}에 열이 없음: {', '.join(missing)} (있는 열: {', '.join(known)})")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the libraries say about a broken file into a ``DataError`` that names it."""
    import pyarrow as pa

    if not path.is_file():
        raise MissingDataError(f"기록 파일이 없음: {path}")
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeError, zlib.error, csv.Error) as error:
        raise DataError(f"파일을 읽을 수 없음: {path} (잘렸거나 손상됨: {error})") from error


def _read_csv(path: Path, encoding: str | None) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow

    content = path.read_bytes()
    if content[:2] == _GZIP:
        content = gzip.decompress(content)
    text = _decoded(path, content, encoding).lstrip("\r\n")
    header = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(_DELIMITERS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if not any(names):
        raise DataError(f"빈 파일: {path}")
    # Positions, since names may repeat; one thread, so that the reader can say where it stumbled.
    keys = [str(position) for position in range(len(names))]
    table = arrow.read_csv(
        BytesIO(text.encode()),
        read_options=arrow.ReadOptions(use_threads=False, skip_rows=1, column_names=keys),
        parse_options=arrow.ParseOptions(delimiter=delimiter),
        convert_options=arrow.ConvertOptions(
            column_types=dict.fromkeys(keys, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table.rename_columns(names)


def _decoded(path: Path, content: bytes, encoding: str | None) -> str:
    marked = [name for mark, name in _MARKS if content.startswith(mark)]
    for name in [encoding] if encoding else marked or ["utf-8", "cp949"]:
        try:
            text = content.decode(name)
        except (UnicodeError, LookupError):
            continue
        if "\0" not in text:
            return text
    tried = encoding or "UTF-8, CP949, UTF-16(BOM)"
    raise DataError(f"글자를 읽을 수 없는 파일: {path} (해 본 인코딩: {tried})")


def _moment(cell: str, pattern: str | None) -> datetime | None:
    text = cell.strip()
    try:
        if pattern is not None:
            return datetime.strptime(text, pattern)  # noqa: DTZ007 - local unless it has an offset
        if text.isdigit() and len(text) not in (8, 12, 14):
            return None
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d%H%M"):
        try:
            return datetime.strptime(text.replace("/", "-").replace(".", "-"), form)  # noqa: DTZ007
        except ValueError:
            continue
    return None


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def _is_numeric(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    types = pa.types
    known = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    return any(is_one(kind) for is_one in known)


def _is_number(cell: str | None) -> bool:
    import pyarrow as pa

    try:
        pa.scalar(cell, pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
