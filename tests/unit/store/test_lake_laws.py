"""Laws of the lake over random writes: it is a table with a key, and its bytes tell what it holds."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import SchemaError
from trading.store import schema
from trading.store.lake import Lake
from trading.store.schema import FrameSchema

SETTINGS = settings(max_examples=25)
DAY = date(2023, 12, 28)
# Few keys over three months, so that writes meet: what a cell holds is of no matter here.
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "date": st.integers(0, 60).map(lambda days: DAY + timedelta(days=days)),
    "text": st.sampled_from(["", "A", "B", "가", "BRK.B", "005930"]),
    "int": st.sampled_from([0, 1, -1, 2**31, 2**62, -(2**62)]),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "instant": st.integers(0, 60).map(
        lambda n: datetime(2023, 12, 28, 14, tzinfo=UTC) + timedelta(hours=n)
    ),
}
Row = dict[str, Any]


def rows_of(kind: FrameSchema) -> st.SearchStrategy[Row]:
    rows = st.fixed_dictionaries(
        {
            name: st.none() | CELLS[word] if name in kind.nullable else CELLS[word]
            for name, word in kind.columns.items()
        }
    )
    if "ts" in kind.key:
        # An instant is of one session.
        return rows.map(lambda row: {**row, "session": row["ts"].date()})
    return rows


def batches_of(kind: FrameSchema) -> st.SearchStrategy[list[Row]]:
    key = kind.key
    return st.lists(
        rows_of(kind), max_size=12, unique_by=lambda row: tuple(row[name] for name in key)
    )


def table_of(rows: list[Row], kind: FrameSchema) -> pa.Table:
    return schema.conform(
        pa.Table.from_pylist(rows, schema=kind.arrow()) if rows else kind.arrow().empty_table(),
        kind,
    )


def key_of(row: Row, kind: FrameSchema) -> tuple[Any, ...]:
    return tuple(row[name] for name in kind.key)


def is_same(left: Row, right: Row) -> bool:
    """Whether two rows differ at most in when they were fetched."""
    return {**left, "fetched_at": None} == {**right, "fetched_at": None}


@contextmanager
def new_lake() -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder:
        yield Lake(Path(folder) / "lake")


@pytest.mark.parametrize("name", list(schema.KINDS))
@SETTINGS
@given(data=st.data())
def test_it_is_a_dictionary_by_key(name: str, data: st.DataObject):
    """After any writes it holds what a dict would, and counts what is new or different.

    A row that says the same as the one that is there leaves it, with the time it was fetched.
    """
    kind = schema.KINDS[name]
    expected: dict[tuple[Any, ...], Row] = {}
    with new_lake() as lake:
        for batch in data.draw(st.lists(batches_of(kind), max_size=4)):
            changed = [
                row
                for row in batch
                if (old := expected.get(key_of(row, kind))) is None or not is_same(old, row)
            ]
            before = lake.fingerprint(Market.KRX)

            assert lake.upsert(Market.KRX, name, table_of(batch, kind)) == len(changed)

            assert (lake.fingerprint(Market.KRX) != before) == bool(changed)
            expected |= {key_of(row, kind): row for row in changed}

        found = lake.table(Market.KRX, name)
        assert found.schema == kind.arrow()
        assert {key_of(row, kind): row for row in found.to_pylist()} == expected
        assert len(found) == len(expected)
        assert lake.verify() == []
        if kind.subject is not None and expected:
            (dataset,) = lake.status()["datasets"]
            assert dataset["symbols"] == len({row[kind.subject] for row in expected.values()})
            assert dataset["rows"] == len(expected)


def test_keys_may_lie_as_far_apart_as_numbers_do():
    """A key is the same key however far the others are, also beyond the largest difference."""
    kind = schema.KINDS["ticks"]
    empty = dict.fromkeys(kind.columns) | {"symbol": "", "exchange": "", "kind": "", "source": ""}
    now = datetime(2023, 12, 29, tzinfo=UTC)
    rows = [{**empty, "ts": now, "session": now.date(), "seq": seq} for seq in (-(2**62), 0, 2**62)]
    with new_lake() as lake:
        assert lake.upsert(Market.KRX, "ticks", table_of(rows, kind)) == 3
        assert lake.upsert(Market.KRX, "ticks", table_of(rows[::-1], kind)) == 0

        assert lake.table(Market.KRX, "ticks")["seq"].to_pylist() == [-(2**62), 0, 2**62]


@pytest.mark.parametrize("name", list(schema.KINDS))
@SETTINGS
@given(data=st.data())
def test_the_same_rows_make_the_same_bytes(name: str, data: st.DataObject):
    """In whatever order and pieces they come, and through whatever words their codes stood for."""
    kind = schema.KINDS[name]
    rows = data.draw(batches_of(kind))
    mixed = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    with new_lake() as at_once, new_lake() as in_pieces:
        at_once.upsert(Market.KRX, name, table_of(rows, kind))
        for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            # A slice keeps the words of the whole, and a frame has none.
            piece = table_of(mixed, kind).slice(first, last - first)
            in_pieces.upsert(Market.KRX, name, schema.to_frame(piece, kind) if first % 2 else piece)
            in_pieces.upsert(Market.KRX, name, piece)

        assert in_pieces.fingerprint(Market.KRX) == at_once.fingerprint(Market.KRX)
        assert in_pieces.table(Market.KRX, name).equals(at_once.table(Market.KRX, name))


@SETTINGS
@given(
    rows=batches_of(schema.DAILY_BARS),
    span=st.tuples(CELLS["date"], CELLS["date"]),
    symbols=st.none() | st.lists(CELLS["text"]),
    columns=st.none() | st.lists(st.sampled_from(list(schema.DAILY_BARS.columns)), unique=True),
)
def test_a_read_is_a_filter(rows, span, symbols, columns):
    """Range, symbols and columns narrow the whole, whatever is needed to do so."""
    with new_lake() as lake:
        lake.upsert(Market.KRX, "daily", table_of(rows, schema.DAILY_BARS))

        found = lake.table(
            Market.KRX, "daily", columns=columns, symbols=symbols, first=span[0], last=span[1]
        )

    wanted = [
        {name: row[name] for name in (schema.DAILY_BARS.columns if columns is None else columns)}
        for row in sorted(
            rows, key=lambda row: (row["session"].isoformat()[:7], row["symbol"], row["session"])
        )
        if span[0] <= row["session"] <= span[1] and (symbols is None or row["symbol"] in symbols)
    ]
    assert len(found) == len(wanted) or columns == []
    assert found.to_pylist() == wanted or columns == []


@SETTINGS
@given(rows=batches_of(schema.DAILY_BARS))
def test_frame_and_back(rows: list[Row]):
    """A table makes a frame and the frame the table again, to the last bit."""
    table = table_of(rows, schema.DAILY_BARS)

    frame = schema.to_frame(table, schema.DAILY_BARS)

    again = schema.conform(frame, schema.DAILY_BARS)
    assert again.to_pylist() == table.to_pylist()
    assert again.schema == table.schema


BAR = {
    "session": pd.Timestamp("2024-05-02"), "symbol": "005930", "exchange": "KOSPI", "open": 1,
    "high": 1, "low": 1, "close": 1, "volume": 1, "basis": "raw", "source": "test",
}  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"close": "100"}, "close 열 형식 오류"),
        ({"close": 1.5}, "close 열 형식 오류"),
        ({"close": float("inf")}, "close 열 형식 오류"),
        ({"close": float("nan")}, "close 열에 빈 값"),
        ({"close": 2**63}, "close 열 형식 오류"),
        ({"session": "2024-05-02"}, "session 열 형식 오류"),
        ({"session": 19845}, "session 열 형식 오류"),
        ({"session": pd.Timestamp("2024-05-02 09:00")}, "session 열 형식 오류"),
        ({"session": pd.NaT}, "session 열에 빈 값"),
        ({"symbol": 5930}, "symbol 열 형식 오류"),
        ({"symbol": None}, "symbol 열에 빈 값"),
        ({"fetched_at": pd.Timestamp("2024-05-02 09:00")}, "시간대가 없는 시각"),
        ({"fetched_at": "2024-05-02T09:00Z"}, "fetched_at 열 형식 오류"),
    ],
)
@pytest.mark.parametrize("arrow", [False, True], ids=["frame", "table"])
def test_a_wrong_cell_is_named(cells: Row, message: str, arrow: bool):
    """What is not of the column's type is refused, never guessed at."""
    frame = pd.DataFrame([{**BAR, **cells}])
    data = pa.Table.from_pandas(frame, preserve_index=False) if arrow else frame

    with pytest.raises(SchemaError, match=message):
        schema.conform(data, schema.DAILY_BARS)


def test_codes_mean_their_words():
    """Two codes for one word, or a code for nothing, change neither the key nor the gaps."""
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["A", "A"]))
    none = pa.DictionaryArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.array(["A", None], pa.string())
    )
    table = pa.Table.from_pylist([{**BAR, "session": BAR["session"].date()}] * 2)

    with pytest.raises(SchemaError, match="같은 키가 1번 겹침: A"):
        schema.conform(table.set_column(1, "symbol", twice), schema.DAILY_BARS)
    with pytest.raises(SchemaError, match="symbol 열에 빈 값 1개"):
        schema.conform(table.set_column(1, "symbol", none), schema.DAILY_BARS)


def test_instants_of_any_zone_are_one_instant():
    """Nine in Seoul is midnight in UTC."""
    seoul = pd.Timestamp("2024-05-02 09:00", tz="Asia/Seoul")

    table = schema.conform(pd.DataFrame([{**BAR, "fetched_at": seoul}]), schema.DAILY_BARS)

    assert table["fetched_at"].to_pylist() == [datetime(2024, 5, 2, tzinfo=UTC)]


def test_a_lake_of_before_is_read(tmp_path: Path):
    """Files without the columns of today, text as text, and a manifest without them: all there."""

    frame = pd.DataFrame([BAR]).assign(value=None, adj_close=None)
    lake = Lake(tmp_path)
    lake.upsert(Market.KRX, "daily", frame)
    directory = tmp_path / "clean" / "market=KRX" / "kind=daily"
    (path,) = directory.rglob("*.parquet")
    old = pq.ParquetFile(path).read().drop_columns(["market_cap", "shares", "source"])
    old = old.set_column(1, "symbol", old["symbol"].cast(pa.string()))
    pq.write_table(old, path)
    document = json.loads((directory / "manifest.json").read_text())
    (part,) = document["parts"].values()
    part |= {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
    del document["sha256"], document["symbols"], part["sources"], part["fetched"]
    (directory / "manifest.json").write_text(json.dumps(document))

    found = lake.table(Market.KRX, "daily", symbols=["005930"])

    assert found.schema == schema.DAILY_BARS.arrow()
    (row,) = found.to_pylist()
    assert (row["close"], row["market_cap"], row["source"]) == (1, None, "")
    assert lake.upsert(Market.KRX, "daily", pd.DataFrame([{**BAR, "symbol": "000660"}])) == 1
    assert len(lake.table(Market.KRX, "daily")) == 2
