"""Whatever stops a write or damages a file: the old data is there, and the next run repairs."""

import errno
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import DataError
from trading.store import schema
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake

FIRST, LAST = date(2005, 1, 3), date(2005, 4, 29)
SOURCE = EmbeddedSource()
PROCESSES = multiprocessing.get_context("spawn")

# January as it is, February changed, March new: what a write may do to a partition.
OLD = SOURCE.daily(Market.US, None, FIRST, date(2005, 2, 28))
BATCH = SOURCE.daily(Market.US, None, date(2005, 1, 24), date(2005, 3, 31))
BATCH.loc[(BATCH["session"] >= "2005-02-10") & (BATCH["session"] < "2005-03-01"), "volume"] += 1
NEW = (
    pd.concat([OLD, BATCH])
    .drop_duplicates(["symbol", "session"], keep="last")
    .sort_values(["symbol", "session"], ignore_index=True)
)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two months, to be copied."""
    root = tmp_path_factory.mktemp("before") / "lake"
    Lake(root).upsert(Market.US, "daily", OLD)
    return root


@pytest.fixture
def root(before: Path, tmp_path: Path) -> Path:
    shutil.copytree(before, tmp_path / "lake")
    return tmp_path / "lake"


def bars(root: Path) -> pd.DataFrame:
    return Lake(root).daily(Market.US, None, FIRST, LAST)


def leftovers(root: Path) -> set[str]:
    """Files that no manifest names."""
    directory = root / "clean" / "market=US" / "kind=daily"
    named = {part.file for part in Lake(root).parts(Market.US, "daily").values()}
    kept = named | {"manifest.json", ".lock"}
    return {path.name for path in directory.rglob("*") if path.is_file()} - kept


# ---- kill -9 at every step -------------------------------------------------------------------


def killed(before: Path, place: Path, lakes: int, how: str) -> list[str]:
    """Write into copies of a lake, each killed one step later; return the steps of a whole one."""
    roots = [place / str(number) for number in range(lakes + 1)]
    for root in roots:
        shutil.copytree(before, root)
    batch = place / "batch.parquet"
    pq.write_table(schema.conform(BATCH, schema.DAILY_BARS), batch)
    writer = Path(__file__).with_name("killed_writer.py")
    done = subprocess.run(
        [sys.executable, str(writer), str(batch), how, *map(str, roots)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("how", ["killed", "torn"])
def test_killed_at_every_step(before: Path, tmp_path: Path, how: str):
    """Before each file operation: one whole state is read, and the next run ends the write.

    Readers see the old rows or the new ones, every named file is whole, and after the same write
    again the lake is what it would have been, with nothing left over.
    """
    (tmp_path / "once").mkdir()
    steps = killed(before, tmp_path / "once", 0, how)
    # Two files and a manifest are each written and renamed, they and their folders synced; so is
    # the folder of the new month.
    assert (steps.count("open"), steps.count("rename"), steps.count("fsync")) == (3, 3, 7)
    assert "mkdir" in steps
    # The replaced file, and the mark of a write under way.
    assert steps.count("remove") == 2

    killed(before, tmp_path, len(steps), how)
    whole = Lake(tmp_path / "0")
    pd.testing.assert_frame_equal(bars(whole.root), NEW)

    states = []
    for number in range(1, len(steps) + 1):
        lake = Lake(tmp_path / str(number))
        assert lake.verify() == []
        found = bars(lake.root)
        states.append(len(found))
        pd.testing.assert_frame_equal(found, NEW if len(found) == len(NEW) else OLD)

        lake.upsert(Market.US, "daily", BATCH)

        pd.testing.assert_frame_equal(bars(lake.root), NEW)
        assert leftovers(lake.root) == set()
        assert lake.fingerprint(Market.US) == whole.fingerprint(Market.US)
    assert sorted(states) == states
    assert set(states) == {len(OLD), len(NEW)}


def test_killed_in_the_first_write(tmp_path: Path):
    """Of a lake that was never written there is nothing or everything."""
    none = tmp_path / "none"
    none.mkdir()
    (tmp_path / "once").mkdir()
    steps = killed(none, tmp_path / "once", 0, "killed")
    killed(none, tmp_path, len(steps), "killed")
    expected = bars(tmp_path / "0")
    pd.testing.assert_frame_equal(expected, BATCH)

    for number in range(1, len(steps) + 1):
        root = tmp_path / str(number)
        assert len(bars(root)) in (0, len(BATCH))
        Lake(root).upsert(Market.US, "daily", BATCH)
        pd.testing.assert_frame_equal(bars(root), BATCH)
        assert leftovers(root) == set()


# ---- a disk that takes no more ---------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skips where none may be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("이 기계에서는 작은 파일 시스템을 붙일 수 없음")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_disk_full(small_disk: Path):
    """The reason is told, the old rows stay, and once there is room the write goes through."""
    lake = Lake(small_disk / "lake")
    lake.upsert(Market.US, "daily", OLD)
    filler = small_disk / "filler"
    with pytest.raises(OSError) as full, filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert full.value.errno == errno.ENOSPC

    with pytest.raises(DataError, match=r"디스크에 자리가 없어.*이전 자료는 그대로"):
        lake.upsert(Market.US, "daily", BATCH)

    pd.testing.assert_frame_equal(bars(lake.root), OLD)
    assert lake.verify() == []
    filler.unlink()
    assert lake.upsert(Market.US, "daily", BATCH) > 0
    pd.testing.assert_frame_equal(bars(lake.root), NEW)
    assert leftovers(lake.root) == set()


def _upsert_with_limit(root: Path, limit: int, told: "multiprocessing.Queue[str]") -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        Lake(root).upsert(Market.US, "daily", BATCH)
    except DataError as error:
        told.put(str(error))


@pytest.mark.parametrize("limit", [0, 1000])
def test_file_size_limit(root: Path, limit: int):
    """Where a file may not grow, at whatever byte, the write fails whole."""
    told: multiprocessing.Queue[str] = PROCESSES.Queue()
    process = PROCESSES.Process(target=_upsert_with_limit, args=(root, limit, told))

    process.start()
    message = told.get(timeout=60)
    process.join()

    assert process.exitcode == 0
    assert "이전 자료는 그대로" in message
    pd.testing.assert_frame_equal(bars(root), OLD)
    assert leftovers(root) == set()


# ---- damaged files ---------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(bytes(data))


def overwrite(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def remove(path: Path) -> None:
    path.unlink()


DAMAGES = [cut, empty, flip, overwrite, remove]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_named_and_fetched_again(root: Path, damage: Callable[[Path], None]):
    """A read that needs the file names it; repair forgets that month only; then it is new again."""
    lake = Lake(root)
    part = lake.parts(Market.US, "daily")["month=2005-02"]
    path = root / "clean" / "market=US" / "kind=daily" / "month=2005-02" / part.file
    whole = path.read_bytes()
    damage(path)

    with pytest.raises(DataError, match=rf"{part.file}.*trading data repair"):
        bars(root)
    january = lake.daily(Market.US, None, FIRST, date(2005, 1, 31))
    assert len(january) == (OLD["session"] < "2005-02-01").sum()
    assert [item.path for item in lake.verify()] == [path]

    ((market, kind, found),) = lake.repair()

    assert (market, kind, found.path) == (Market.US, "daily", path)
    assert (found.first, found.last) == ("2005-02-01", "2005-02-28")
    pd.testing.assert_frame_equal(bars(root), january)
    assert lake.verify() == lake.repair() == []
    assert len(list((root / "damaged").rglob("*.parquet"))) == (damage is not remove)
    assert lake.upsert(Market.US, "daily", OLD) == (OLD["session"] >= "2005-02-01").sum()
    pd.testing.assert_frame_equal(bars(root), OLD)
    assert path.read_bytes() == whole


@settings(max_examples=60)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_is_read(before: Path, at: int, bit: int):
    """Wherever a bit of a file changes, in its data or its footer, a read of it fails."""
    path = next(before.rglob("month=2005-01/*.parquet"))
    whole = path.read_bytes()
    data = bytearray(whole)
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    try:
        with pytest.raises(DataError, match="자료 파일이 깨짐"):
            bars(before)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_manifest_is_made_again(root: Path, damage: Callable[[Path], None]):
    """Files are named by their hash, so that the whole ones can be told from the others."""
    lake = Lake(root)
    manifest = root / "clean" / "market=US" / "kind=daily" / "manifest.json"
    text = manifest.read_bytes()
    damage(manifest)
    with pytest.raises(DataError, match=r"trading data repair"):
        bars(root)
    lake.repair()

    assert manifest.read_bytes() == text
    pd.testing.assert_frame_equal(bars(root), OLD)


def test_manifest_and_file_damaged(root: Path):
    """What is not whole is moved aside, not deleted and not believed."""
    lake = Lake(root)
    directory = root / "clean" / "market=US" / "kind=daily"
    (bad,) = (directory / "month=2005-01").glob("*.parquet")
    flip(bad)
    (directory / "manifest.json").write_text("{")

    lake.repair()

    assert list(lake.parts(Market.US, "daily")) == ["month=2005-02"]
    assert len(list((root / "damaged").rglob("*.parquet"))) == 1
    assert lake.upsert(Market.US, "daily", OLD) == (OLD["session"] < "2005-02-01").sum()
    pd.testing.assert_frame_equal(bars(root), OLD)


def test_damaged_quarantine(root: Path):
    """What was set aside is checked too, and moved away by repair."""
    lake = Lake(root)
    path = lake.quarantine(Market.US, "daily", OLD.iloc[:3].assign(reason="시험"))
    assert path is not None
    assert len(lake.quarantined(Market.US, "daily")) == 3
    flip(path)

    with pytest.raises(DataError, match=path.name):
        lake.quarantined(Market.US, "daily")
    assert [damage.path for damage in lake.verify()] == [path]
    assert [(kind, damage.path) for _, kind, damage in lake.repair()] == [("daily", path)]

    assert lake.verify() == []
    assert len(lake.quarantined(Market.US, "daily")) == 0
    pd.testing.assert_frame_equal(bars(root), OLD)


# ---- one writer, four readers ----------------------------------------------------------------


def _read_until(
    root: Path,
    ready: Barrier,
    stop: Event,
    told: "multiprocessing.Queue[tuple[int, str]]",
) -> None:
    """Read both ways; every state that was ever written has one volume a month."""
    lake, reads = Lake(root), 0
    try:
        ready.wait(60)
        while not stop.is_set():
            if reads % 4 == 3:
                found = lake.sql(
                    "SELECT month(session) AS m, count(DISTINCT volume) AS v, count(*) AS n "
                    "FROM daily_us GROUP BY 1"
                )
                assert (found["v"] == 1).all()
                rows = int(found["n"].sum())
            else:
                table = lake.daily(Market.US, None, FIRST, LAST)
                months = table.groupby(table["session"].dt.month)["volume"]
                assert (months.nunique() == 1).all()
                rows = len(table)
            assert rows == len(NEW)
            reads += 1
        told.put((reads, ""))
    except BaseException as error:
        told.put((reads, repr(error)))
        raise


@pytest.mark.parametrize(
    "seconds", [2, pytest.param(60, marks=pytest.mark.slow)], ids=["short", "a minute"]
)
def test_one_writer_and_four_readers(tmp_path: Path, seconds: float):
    """No read fails, and none mixes two states of a month."""
    root = tmp_path / "lake"
    lake = Lake(root)
    lake.upsert(Market.US, "daily", NEW.assign(volume=0))
    ready, stop = PROCESSES.Barrier(5), PROCESSES.Event()
    told: multiprocessing.Queue[tuple[int, str]] = PROCESSES.Queue()
    readers = [
        PROCESSES.Process(target=_read_until, args=(root, ready, stop, told)) for _ in range(4)
    ]

    for reader in readers:
        reader.start()
    ready.wait(60)
    end, writes = time.monotonic() + seconds, 0
    # A busy machine writes as often as a quiet one, later.
    while time.monotonic() < end or writes <= 5:
        writes += 1
        months = NEW if writes % 5 == 0 else NEW.loc[NEW["session"] >= "2005-03-01"]
        lake.upsert(Market.US, "daily", months.assign(volume=writes))
    stop.set()
    results = [told.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()

    assert [error for _, error in results] == [""] * 4
    assert min(reads for reads, _ in results) > 0
    assert writes > 5
    assert lake.verify() == []
