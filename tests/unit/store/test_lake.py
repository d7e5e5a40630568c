"""The lake gives back what it was given, changes nothing twice, and survives a crash."""

import json
import multiprocessing
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.errors import DataError, SchemaError, UsageError
from trading.store import schema
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake

FIRST, LAST = date(2005, 1, 3), date(2005, 4, 29)
SOURCE = EmbeddedSource()


@pytest.fixture
def bars() -> pd.DataFrame:
    """Four months of the embedded stocks."""
    return SOURCE.daily(Market.US, None, FIRST, LAST)


@pytest.fixture
def lake(tmp_path: Path, bars: pd.DataFrame) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.upsert(Market.US, "daily", bars)
    return lake


def files(lake: Lake) -> dict[str, int]:
    return {
        str(path.relative_to(lake.root)): path.stat().st_mtime_ns
        for path in lake.root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_round_trip(lake: Lake, bars: pd.DataFrame):
    """What is read equals what was written, types included."""
    pd.testing.assert_frame_equal(lake.daily(Market.US, None, FIRST, LAST), bars)


def test_a_market_is_set_aside_whole(lake: Lake, bars: pd.DataFrame, tmp_path: Path):
    """Nothing of it is left, nothing is lost, and the other market stays."""
    lake.upsert_actions(Market.US, SOURCE.actions(Market.US, FIRST, LAST))
    lake.upsert(Market.US, "daily", bars, layer="raw")

    lake.set_aside(Market.KRX, tmp_path / "none")
    assert len(lake.daily(Market.US, None, FIRST, LAST)) == len(bars)
    lake.set_aside(Market.US, tmp_path / "aside")

    assert len(lake.daily(Market.US, None, FIRST, LAST)) == 0
    assert lake.actions(Market.US, FIRST, LAST) == []
    aside = Lake(tmp_path / "aside")
    pd.testing.assert_frame_equal(aside.daily(Market.US, None, FIRST, LAST), bars)
    assert len(aside.actions(Market.US, FIRST, LAST)) > 0


def test_layout(lake: Lake):
    """Files lie by layer, market, kind and month, each named by its manifest."""
    directory = lake.root / "clean" / "market=US" / "kind=daily"
    parts = json.loads((directory / "manifest.json").read_text())["parts"]

    assert sorted(parts) == [f"month=2005-0{month}" for month in (1, 2, 3, 4)]
    assert {p.name for p in (directory / "month=2005-02").iterdir()} == {
        parts["month=2005-02"]["file"]
    }
    assert parts["month=2005-02"]["first"] == "2005-02-01"


def test_range_and_symbols_narrow_the_reading(lake: Lake):
    """Both ends are included; unknown symbols and empty ranges give no rows."""
    found = lake.daily(Market.US, ["IBM", "NONE"], date(2005, 1, 31), date(2005, 2, 1))

    assert found["symbol"].tolist() == ["IBM", "IBM"]
    assert [schema.day(day) for day in found["session"]] == [date(2005, 1, 31), date(2005, 2, 1)]
    assert lake.daily(Market.US, None, date(2001, 1, 1), date(2001, 2, 1)).empty
    assert lake.daily(Market.KRX, None, FIRST, LAST).empty


def test_no_symbols_is_no_rows(lake: Lake):
    """A day on which nothing was seen asks for nothing and gets nothing."""
    assert lake.daily(Market.US, [], FIRST, LAST).empty


def test_same_rows_change_nothing(lake: Lake, bars: pd.DataFrame):
    """Writing the same rows again, all or some, touches no file; nor does a later fetch."""
    before = files(lake)
    later = bars.assign(fetched_at=pd.Timestamp("2024-01-01", tz="UTC"))

    assert lake.upsert(Market.US, "daily", bars) == 0
    assert lake.upsert(Market.US, "daily", bars.iloc[10:20]) == 0
    assert lake.upsert(Market.US, "daily", later) == 0

    assert files(lake) == before


def test_order_of_writing_does_not_matter(tmp_path: Path, lake: Lake, bars: pd.DataFrame):
    """The same rows written in pieces and shuffled give the same fingerprint."""
    other = Lake(tmp_path / "other")
    mixed = bars.sample(frac=1, random_state=7)

    assert other.upsert(Market.US, "daily", mixed.iloc[:100]) == 100
    assert other.upsert(Market.US, "daily", mixed.iloc[50:]) == len(bars) - 100

    assert other.fingerprint(Market.US) == lake.fingerprint(Market.US)


def test_changed_row_replaces_the_old_one(lake: Lake, bars: pd.DataFrame):
    """A corrected row takes the place of the old one; only its month is rewritten."""
    before = files(lake)
    wrong = bars.iloc[[3]].assign(volume=1)

    assert lake.upsert(Market.US, "daily", wrong) == 1

    found = lake.daily(Market.US, None, FIRST, LAST)
    assert len(found) == len(bars)
    assert found.loc[3, "volume"] == 1
    changed = {name for name in files(lake).keys() ^ before.keys() if name.endswith(".parquet")}
    assert {name.split("/")[-2] for name in changed} == {"month=2005-01"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_cell_is_filled_and_emptied(tmp_path: Path, bars: pd.DataFrame, order: tuple[int, int]):
    """An empty cell is another value than a full one: the later row takes the place of the old."""
    row = bars.iloc[[3]]
    states = row, row.assign(adj_close=float("nan"))
    lake = Lake(tmp_path / "lake")

    assert [lake.upsert(Market.US, "daily", states[at]) for at in order] == [1, 1]

    found = lake.daily(Market.US, None, FIRST, LAST)
    assert found["adj_close"].isna().tolist() == [bool(order[-1])]


def test_an_edited_manifest_is_not_read(lake: Lake):
    """Also where it is as good a document as before: a number in it was changed."""
    path = lake.root / "clean" / "market=US" / "kind=daily" / "manifest.json"
    text = path.read_text()
    assert text.count("2005-03-31") == 1
    path.write_text(text.replace("2005-03-31", "2005-02-28"))

    with pytest.raises(DataError, match="자료 목록이 깨짐"):
        lake.daily(Market.US, None, FIRST, LAST)


def test_layers_are_apart(lake: Lake, bars: pd.DataFrame):
    """Raw and clean rows do not see each other, and there is no third layer."""
    lake.upsert(Market.US, "daily", bars.iloc[:5], layer="raw")

    assert len(lake.daily(Market.US, None, FIRST, LAST, layer="raw")) == 5
    assert len(lake.daily(Market.US, None, FIRST, LAST)) == len(bars)
    with pytest.raises(UsageError, match="raw, clean"):
        lake.daily(Market.US, None, FIRST, LAST, layer="other")  # type: ignore[arg-type]


def test_other_kinds(lake: Lake):
    """Instruments, actions and index closes come back equal and are idempotent too."""
    listed = SOURCE.instruments(Market.US)
    actions = SOURCE.actions(Market.US, FIRST, LAST)
    index = SOURCE.index(Market.US, FIRST, LAST)
    gone = CorporateAction(
        symbol="FB", ex_date=date(2005, 3, 1), kind=ActionKind.DELISTING, amount=7, source="x"
    )

    for count in (1, 0):
        assert lake.upsert_instruments(Market.US, listed) == len(listed) * count
        assert lake.upsert_actions(Market.US, [*actions, gone]) == (len(actions) + 1) * count
        assert lake.upsert(Market.US, "index", index.assign(source="arch")) == len(index) * count
    assert lake.upsert_actions(Market.US, []) == 0

    assert lake.instruments(Market.US) == list(listed)
    assert gone in lake.actions(Market.US, FIRST, LAST)
    assert lake.actions(Market.US, date(2005, 2, 28), date(2005, 2, 28)) == [
        a for a in actions if a.ex_date == date(2005, 2, 28)
    ]
    pd.testing.assert_frame_equal(lake.index(Market.US, FIRST, LAST), index)
    assert lake.sessions(Market.US)[:2] == [date(2005, 1, 3), date(2005, 1, 4)]


def test_sql_sees_the_clean_layer(lake: Lake, bars: pd.DataFrame):
    """DuckDB counts what was written; a wrong query is a usage error."""
    found = lake.sql("SELECT symbol, count(*) AS n FROM daily_us GROUP BY 1 ORDER BY 1")

    expected = bars.groupby("symbol").size()
    assert dict(zip(found["symbol"], found["n"], strict=True)) == expected.to_dict()
    with pytest.raises(UsageError, match="그런 표가 없음: nowhere"):
        lake.sql("SELECT * FROM nowhere")


def test_status_counts_from_the_manifests(lake: Lake, bars: pd.DataFrame, tmp_path: Path):
    """Rows, files and range of each kind; an empty lake has none."""
    (dataset,) = lake.status()["datasets"]

    assert (dataset["market"], dataset["kind"], dataset["layer"]) == ("us", "daily", "clean")
    assert (dataset["rows"], dataset["files"]) == (len(bars), 4)
    assert (dataset["first"], dataset["last"]) == ("2005-01-03", "2005-04-29")
    assert Lake(tmp_path / "none").status()["datasets"] == []


def test_status_needs_no_heavy_library(lake: Lake):
    """Status is light: neither pandas nor pyarrow nor duckdb is imported for it."""
    program = (
        "import sys; from pathlib import Path; from trading.store.lake import Lake;"
        f"Lake(Path({str(lake.root)!r})).status();"
        "print([m for m in ('pandas', 'pyarrow', 'duckdb') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr


def test_quarantine_keeps_rows_with_their_reason(lake: Lake, bars: pd.DataFrame):
    """The same failing rows are kept once; no rows make no file."""
    failing = bars.iloc[:2].assign(reason="시험")

    path = lake.quarantine(Market.US, "daily", failing)

    assert path is not None
    assert pd.read_parquet(path)["reason"].tolist() == ["시험", "시험"]
    assert lake.quarantine(Market.US, "daily", failing) == path
    assert lake.quarantine(Market.US, "daily", failing.iloc[:0]) is None
    assert lake.status()["quarantine_files"] == 1


_CRASH = """
import os, sys
from datetime import date
from pathlib import Path
import trading.store.parts as module
from trading.store.lake import Lake
from trading.domain.instrument import Market
from trading.store.datasets import EmbeddedSource

def die(self, parts):
    os.kill(os.getpid(), 9)

module.Dataset._replace_manifest = die
bars = EmbeddedSource().daily(Market.US, None, date(2005, 1, 3), date(2005, 4, 29))
Lake(Path(sys.argv[1])).upsert(Market.US, "daily", bars.assign(volume=1))
"""


def test_crash_before_the_manifest_leaves_the_old_state(lake: Lake, bars: pd.DataFrame):
    """A writer killed after writing its files, before naming them, changed nothing."""
    done = subprocess.run([sys.executable, "-c", _CRASH, str(lake.root)], check=False)

    assert done.returncode == -9
    pd.testing.assert_frame_equal(lake.daily(Market.US, None, FIRST, LAST), bars)
    assert len(list(lake.root.rglob("part-*.parquet"))) == 8
    assert lake.upsert(Market.US, "daily", bars.iloc[[0]].assign(volume=2)) == 1
    assert len(list(lake.root.rglob("part-*.parquet"))) == 4


def _write_month(root: str, month: int) -> None:
    first, last = date(2005, month, 1), date(2005, month + 1, 1)
    Lake(Path(root)).upsert(Market.US, "daily", SOURCE.daily(Market.US, None, first, last))


def test_writers_at_once_lose_nothing(tmp_path: Path):
    """Processes that write the same lake at the same time all get their rows in."""
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_month, args=(str(tmp_path), month)) for month in (1, 2, 3)
    ]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    expected = SOURCE.daily(Market.US, None, date(2005, 1, 1), date(2005, 4, 1))
    pd.testing.assert_frame_equal(
        Lake(tmp_path).daily(Market.US, None, date(2005, 1, 1), date(2005, 4, 1)), expected
    )


def test_locked_lake_says_so(lake: Lake, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch):
    """A writer that does not get the lock in time ends with a clear error."""
    from filelock import FileLock

    monkeypatch.setattr("trading.store.parts._LOCK_SECONDS", 0.05)
    with (
        FileLock(lake.root / "clean" / "market=US" / "kind=daily" / ".lock"),
        pytest.raises(DataError, match="쓰는 중"),
    ):
        lake.upsert(Market.US, "daily", bars)


def test_broken_manifest_is_named(lake: Lake):
    """A manifest that cannot be read is an error with its path, not an empty lake."""
    path = lake.root / "clean" / "market=US" / "kind=daily" / "manifest.json"
    path.write_text("{")

    with pytest.raises(DataError, match=r"manifest\.json"):
        lake.daily(Market.US, None, FIRST, LAST)


def test_reader_meets_a_replaced_file(lake: Lake, bars: pd.DataFrame):
    """A file that vanishes for good is an error after a few attempts, never missing rows."""
    for path in lake.root.rglob("month=2005-02/*.parquet"):
        os.unlink(path)  # noqa: PTH108

    with pytest.raises(DataError, match="자료 파일이 없음"):
        lake.daily(Market.US, None, FIRST, LAST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="close"), "열이 없음: close"),
        (lambda f: f.assign(close="비쌈"), "형식 오류"),
        (lambda f: f.assign(close=f["close"] + 0.5), "형식 오류"),
        (lambda f: f.assign(source=None), "빈 값"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "겹침"),
    ],
)
def test_wrong_shape_is_refused(tmp_path: Path, bars: pd.DataFrame, change, message: str):
    """Missing columns, wrong types, forbidden gaps and repeated keys never enter."""
    with pytest.raises(SchemaError, match=message):
        Lake(tmp_path / "new").upsert(Market.US, "daily", change(bars))

    assert not (tmp_path / "new").exists()
