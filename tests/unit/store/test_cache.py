"""The panel cache is disposable: stale, torn, missing or unwritable, the panels stay the same."""

import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.sessions import SessionCalendar
from trading.store import cache
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake
from trading.store.panels import build_panels

CALENDAR = SessionCalendar(Market.US)
FIRST, LAST = date(2004, 6, 1), date(2005, 6, 30)
TURN = date(2004, 12, 27), date(2005, 1, 5)
BARS = EmbeddedSource().daily(Market.US, None, FIRST, LAST)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path / "lake")
    made.upsert(Market.US, "daily", BARS)
    return made


def closes(lake: Lake, *, cached: bool = True) -> np.ndarray:
    raw, _ = build_panels(lake, CALENDAR, Market.US, None, FIRST, LAST, benchmark="", cached=cached)
    return raw.close


def files(lake: Lake) -> dict[str, int]:
    """Return the blocks by year with their inode: a file that was made again has another."""
    folder = lake.root / "cache" / "us"
    return {path.name[:4]: path.stat().st_ino for path in folder.glob("*.block")}


def block(lake: Lake, year: int) -> Path:
    (path,) = (lake.root / "cache" / "us").glob(f"{year}-*.block")
    return path


def command(lake: Lake, code: str) -> list[str]:
    """Return how to run ``code`` in a process of its own, with what this file has and ``lake``."""
    before = (
        f"import os, sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        f"from test_cache import *; lake = Lake(Path({str(lake.root)!r}))\n"
    )
    return [sys.executable, "-c", before + code]


def test_a_write_renews_its_year_and_no_other(lake: Lake):
    """Blocks are made once; after a write to 2005 the file of 2004 is the same one."""
    expected = closes(lake)
    first = files(lake)
    assert np.array_equal(closes(lake), expected)
    assert files(lake) == first

    row = BARS.iloc[[-1]]
    lake.upsert(Market.US, "daily", row.assign(close=row["close"] + 100))

    assert (closes(lake)[-1] - expected[-1]).tolist().count(100) == 1
    assert files(lake)["2004"] == first["2004"]
    assert files(lake)["2005"] != first["2005"]
    assert len(list((lake.root / "cache" / "us").glob("*.block"))) == 2


def test_the_same_write_again_renews_nothing(lake: Lake):
    """Rows that say the same leave the manifest, and with it the blocks, as they are."""
    closes(lake)
    before = files(lake)

    lake.upsert(Market.US, "daily", BARS)
    closes(lake)

    assert files(lake) == before


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 4097, -1])
def test_a_torn_block_is_made_again(lake: Lake, size: int):
    """A file cut anywhere is no block; the read repairs it."""
    expected = closes(lake)
    path = block(lake, 2005)
    whole = path.read_bytes()
    cache._maps.clear()
    path.unlink()
    path.write_bytes(whole[:size])

    assert np.array_equal(closes(lake), expected)
    assert path.read_bytes() == whole


@settings(max_examples=40)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), header=st.booleans())
def test_no_garbled_bit_is_believed(tmp_path_factory, at: float, bit: int, header: bool):
    """Whichever bit of a block has changed, what is read is what was written."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.upsert(Market.US, "daily", BARS.iloc[:300])
    expected = closes(lake)
    path = block(lake, 2004)
    whole = bytearray(path.read_bytes())
    # The spaces after the header mean nothing.
    size = len(whole[:4096].rstrip()) if header else len(whole)
    whole[int(at * size)] ^= 1 << bit
    cache._maps.clear()
    path.unlink()
    path.write_bytes(whole)

    assert np.array_equal(closes(lake), expected)


def test_a_block_of_other_data_is_not_taken_for_ours(lake: Lake):
    """A whole block under another year's name is known by that name."""
    expected = closes(lake)
    path, other = block(lake, 2005), block(lake, 2004).read_bytes()
    cache._maps.clear()
    path.unlink()
    path.write_bytes(other)

    assert np.array_equal(closes(lake), expected)


def test_a_deleted_cache_is_made_again(lake: Lake):
    """Deleting the folder costs time, nothing else."""
    expected = closes(lake)
    for path in (lake.root / "cache" / "us").iterdir():
        path.unlink()
    (lake.root / "cache" / "us").rmdir()
    cache._maps.clear()

    assert np.array_equal(closes(lake), expected)
    assert sorted(files(lake)) == ["2004", "2005"]


def test_where_no_cache_can_be_written(lake: Lake):
    """A folder that cannot be made: the read works, from Parquet."""
    (lake.root / "cache").write_text("in the way")

    assert np.array_equal(closes(lake), closes(lake, cached=False))


def test_a_full_disk(lake: Lake):
    """No room for a block: the read works and leaves no half of one."""
    full = command(
        lake,
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "print(int(closes(lake).sum()))",
    )

    run = subprocess.run(full, capture_output=True, text=True, timeout=120)

    assert run.returncode == 0, run.stderr
    assert int(run.stdout.splitlines()[-1]) == closes(lake, cached=False).sum()
    assert not list((lake.root / "cache" / "us").glob("*.[bt]*"))


def test_killed_while_it_was_being_written(lake: Lake):
    """``kill -9`` before the rename leaves a temporary file, which the next read removes."""
    killed = command(lake, "Path.replace = lambda *_: os.kill(os.getpid(), 9)\ncloses(lake)")
    run = subprocess.run(killed, capture_output=True, timeout=120)
    assert run.returncode == -signal.SIGKILL
    assert len(list((lake.root / "cache" / "us").glob("*.tmp"))) == 1

    assert np.array_equal(closes(lake), closes(lake, cached=False))
    assert not list((lake.root / "cache" / "us").glob("*.tmp"))


def test_several_processes_make_it_at_once(lake: Lake):
    """Four processes that find no cache all read the same, and leave one block a year."""
    code = "print('ready', flush=True); input(); print(int(closes(lake).sum()))"
    started = [
        subprocess.Popen(
            command(lake, code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    sums = {process.communicate(timeout=120)[0].split()[-1] for process in started}

    assert sums == {str(closes(lake, cached=False).sum())}
    assert sorted(files(lake)) == ["2004", "2005"]


def test_readers_see_one_state_while_a_writer_writes(lake: Lake):
    """A write over the turn of the year is seen in both years or in neither."""
    turn = BARS["session"].between(*map(pd.Timestamp, TURN))
    rows = BARS.loc[turn & (BARS["symbol"] == "IBM")]
    lake.upsert(Market.US, "daily", rows.assign(close=1))
    code = (
        "seen = set(); print('ready', flush=True)\n"
        "for read in range(100_000):\n"
        "    raw, _ = build_panels(lake, CALENDAR, Market.US, ['IBM'], *TURN, benchmark='')\n"
        "    seen.add(tuple(raw.close[:, 0].tolist()))\n"
        "    if read >= 60 and len(seen) > 3: break\n"
        "print(json.dumps(sorted(seen)))"
    )
    reader = subprocess.Popen(command(lake, code), stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    state = 1
    while reader.poll() is None and state < 5000:
        state += 1
        lake.upsert(Market.US, "daily", rows.assign(close=state))
    seen = json.loads(reader.communicate(timeout=120)[0].splitlines()[-1])

    assert reader.returncode == 0
    assert len(seen) > 3
    for closes_of_ibm in seen:
        assert len(closes_of_ibm) == len(rows)
        assert len(set(closes_of_ibm)) == 1
