"""Speed and size of the data platform, as ratios against references timed in the same run.

``make bench DATASET=folder``, or ``python bench/store.py --dataset folder [--json] [--seconds 60]``.
The folder is the recorded KRX set. What the numbers mean and what they were is in
``docs/benchmarks.md``.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, perf_counter_ns, process_time_ns
from typing import Any

from measure import Result, Spread, show

from trading.domain.instrument import Market

KRX = Market.KRX
NAMES = 30
BARS = 250
YEARS = 10
READERS = 4
# Of a reader that meets a torn state; 0 is a good end.
TORN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is measured on: the recorded files, a scratch folder, and the lake made of them."""

    dataset: Path
    scratch: Path

    @property
    def source(self) -> Path:
        """The recorded daily bars that DuckDB copies."""
        return self.dataset / "krx_daily.parquet"

    @property
    def home(self) -> Path:
        """The home folder into which the whole set is imported."""
        return self.scratch / "home"

    @property
    def lake(self) -> Any:
        """The lake of that home."""
        from trading.store.lake import Lake

        return Lake(self.home / "data" / "lake")


def timed(call: Callable[[], Any], rounds: int) -> list[int]:
    """Return the times of the rounds after one that warms up, in nanoseconds."""
    call()
    times = []
    for _ in range(rounds):
        begin = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - begin)
    return times


def in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Spread]:
    """Time all calls in turns, so that what else the machine does meets each alike."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = perf_counter_ns()
            call()
            times[name].append(perf_counter_ns() - begin)
    return {name: Spread.of(found) for name, found in times.items()}


# A process is charged with the memory of the one that started it, so one that is small starts it.
MEASURE = """
import resource, subprocess, sys, time
begin = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.monotonic() - begin
if done.returncode:
    sys.exit(done.stderr.decode()[-2000:])
# Kilobytes on Linux, bytes on macOS.
unit = 2**20 if sys.platform != "darwin" else 2**30
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
"""


def run_child(arguments: Sequence[str]) -> tuple[float, float, float]:
    """Run a program to its end; return its seconds, processor seconds and largest memory in GiB."""
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, worked, memory = map(float, told.stdout.split())
    return seconds, worked, memory


def once(seconds: float) -> Spread:
    """Return the spread of one measured time."""
    return Spread.of([int(seconds * 1e9)])


# --- import ------------------------------------------------------------------------------------


def bring_in(ground: Ground) -> list[Result]:
    """The whole import with its checks, and what it leaves, against DuckDB's copy and sort."""
    import duckdb

    times: dict[str, list[int]] = {"symbol, date": [], "date, symbol": []}
    work: list[int] = []

    def sort() -> None:
        target = ground.scratch / "sorted.parquet"
        for order, found in times.items():
            begin, worked = perf_counter_ns(), process_time_ns()
            duckdb.sql(
                f"COPY (SELECT * FROM read_parquet('{ground.source}') ORDER BY {order}) "
                f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
            )
            found.append(perf_counter_ns() - begin)
            if order == "symbol, date":
                work.append(process_time_ns() - worked)

    # Before and after, so that what else the machine does meets both.
    sort()
    sort()
    seconds, worked, memory = run_child(
        [sys.executable, "-m", "trading.cli", "--root", str(ground.home), "data", "import",
         "--market", "krx", "--dataset", str(ground.dataset), "--kind", "daily"]
    )  # fmt: skip
    sort()
    sort()
    by_symbol = Spread.of(times["symbol, date"])
    recorded = sum(path.stat().st_size for path in ground.dataset.glob("krx_daily*.parquet")
                   if path.stem != "krx_daily_raw")  # fmt: skip
    kept = sum(part.bytes for part in ground.lake.parts(KRX, "daily").values())
    return [
        Result(
            name="KRX 일봉 전체 들여오기, 모든 검사 포함 (DuckDB가 베껴 정렬하는 시간 대비)",
            value=seconds * 1e6 / by_symbol.p50,
            limit=6.0,
            unit="배",
            spreads={
                "trading data import (the whole program)": once(seconds),
                "the same, processor time": once(worked),
                "duckdb copy, by symbol and date": by_symbol,
                "the same copy, processor time": Spread.of(work),
                "duckdb copy, by date and symbol": Spread.of(times["date, symbol"]),
            },
        ),
        Result(name="들여오기의 최대 메모리", value=memory, limit=3.0, unit="GiB", spreads={}),
        Result(
            name="정제 층의 크기 (원본 파일 대비)",
            value=kept / recorded,
            limit=1.5,
            unit="배",
            spreads={},
        ),
    ]


def one_day(ground: Ground) -> list[Result]:
    """A day of the whole market over the day as it was, with fsync; then a new day with checks."""
    from trading.config import resolve_root
    from trading.domain.rules import shipped_rules
    from trading.sessions import SessionCalendar
    from trading.store import bars
    from trading.store.datasets import RecordedSource
    from trading.store.intake import Intake, Terms
    from trading.store.lake import Lake

    lake = Lake(ground.scratch / "copy")
    shutil.copytree(ground.home / "data" / "lake" / "clean", lake.root / "clean")
    last = date(2025, 1, 23)
    day = ground.lake.table(KRX, "daily", first=last, last=last)
    bars.last_bars(lake, KRX, ["005930"], 1, last)
    writes, renewals = [], []
    for state in range(1, 26):
        corrected = _with_volume(day, state)
        begin = perf_counter_ns()
        assert lake.upsert(KRX, "daily", corrected) == len(day)
        middle = perf_counter_ns()
        bars.last_bars(lake, KRX, ["005930"], 1, last)
        renewals.append(perf_counter_ns() - middle)
        writes.append(middle - begin)
    shutil.rmtree(lake.root)

    (ground.scratch / "daily").mkdir()
    home = resolve_root(ground.scratch / "daily")
    calendar = SessionCalendar(KRX)
    intake = Intake(
        Lake(home.data_dir / "lake"), home, shipped_rules(KRX), calendar,
        RecordedSource(ground.dataset), Terms(origin="recorded"),
    )  # fmt: skip
    sessions = calendar.sessions(date(2025, 1, 9), last)
    intake.bring(("daily",), (date(2024, 9, 2), sessions[0]), known=sessions[1])
    checked = []
    for session in sessions[1:]:
        begin = perf_counter_ns()
        intake.bring(("daily",), (session, session), known=session + timedelta(days=1))
        checked.append(perf_counter_ns() - begin)
    return [
        Result(
            name=f"하루치 {len(day):,}종목 덮어쓰기, fsync 포함, 25년 위에 p50",
            value=Spread.of(writes).p50 / 1e3,
            limit=60.0,
            unit="ms",
            spreads={
                "upsert of a day": Spread.of(writes),
                "first read after it (the year's block made again)": Spread.of(renewals),
            },
        ),
        Result(
            name="새 하루를 받아 검사해 두 층에 쓰기 p50",
            value=Spread.of(checked).p50 / 1e3,
            limit=1000.0,
            unit="ms",
            spreads={"one new day through the gate": Spread.of(checked)},
        ),
    ]


def _with_volume(day: Any, more: int) -> Any:
    """Return the day with so many more shares in every row."""
    import pyarrow.compute as pc

    at = day.column_names.index("volume")
    return day.set_column(at, day.schema.field(at), pc.add(day["volume"], more))


# --- queries -----------------------------------------------------------------------------------


class Peers:
    """The same rows in the stores of others: a DuckDB table, a file for each symbol, ArcticDB."""

    COLUMNS = ("session", "symbol", "open", "high", "low", "close", "volume")

    def __init__(self, ground: Ground) -> None:
        import duckdb
        import pyarrow.parquet as pq

        self.duckdb = duckdb.connect(str(ground.scratch / "native.duckdb"))
        self.duckdb.register("lake", ground.lake.table(KRX, "daily", columns=self.COLUMNS))
        begin = monotonic()
        self.duckdb.execute("CREATE TABLE bars AS FROM lake ORDER BY symbol, session")
        self.duckdb.execute("CHECKPOINT")
        self.duckdb_seconds = monotonic() - begin
        self.duckdb.unregister("lake")
        self.folder = ground.scratch / "by_symbol"
        self.folder.mkdir()
        begin = monotonic()
        ordered = self.duckdb.execute("FROM bars ORDER BY symbol, session").to_arrow_table()
        symbol = ordered["symbol"].to_numpy()
        starts = [0, *((symbol[1:] != symbol[:-1]).nonzero()[0] + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], len(symbol)], strict=True):
            pq.write_table(
                ordered.slice(start, end - start),
                self.folder / f"{symbol[start]}.parquet",
                compression="zstd",
            )
        self.files_seconds = monotonic() - begin
        self.symbols = [str(symbol[start]) for start in starts]

    def last_of_files(self, symbols: Sequence[str], first: date) -> Any:
        """Read the files of the symbols; the rows from ``first`` on."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        tables = []
        for symbol in symbols:
            table = pq.ParquetFile(self.folder / f"{symbol}.parquet").read()
            tables.append(table.filter(pc.greater_equal(table["session"], pa.scalar(first))))
        return pa.concat_tables(tables)

    def last_of_duckdb(self, symbols: Sequence[str], first: date) -> Any:
        """Select the rows of the symbols from ``first`` on."""
        names = ", ".join(f"'{symbol}'" for symbol in symbols)
        return self.duckdb.execute(
            f"FROM bars WHERE symbol IN ({names}) AND session >= DATE '{first}'"
        ).to_arrow_table()

    def day_of_duckdb(self, session: date) -> Any:
        """Select every row of the session."""
        return self.duckdb.execute(f"FROM bars WHERE session = DATE '{session}'").to_arrow_table()

    def day_of_files(self, session: date) -> Any:
        """Read every file; the rows of the session."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        tables = []
        for symbol in self.symbols:
            table = pq.ParquetFile(self.folder / f"{symbol}.parquet").read()
            tables.append(table.filter(pc.equal(table["session"], pa.scalar(session))))
        return pa.concat_tables(tables)

    def all_of_files(self) -> Any:
        """Read every file whole."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pa.concat_tables(
            [pq.ParquetFile(self.folder / f"{symbol}.parquet").read() for symbol in self.symbols]
        )

    def all_of_duckdb(self) -> Any:
        """Select everything."""
        return self.duckdb.execute("FROM bars").to_arrow_table()

    def upsert_duckdb(self, day: Any) -> None:
        """Delete and insert in one transaction; committed to disk."""
        self.duckdb.register("day", day)
        self.duckdb.execute("BEGIN")
        self.duckdb.execute(
            "DELETE FROM bars USING day WHERE bars.symbol = day.symbol "
            "AND bars.session = day.session"
        )
        self.duckdb.execute("INSERT INTO bars FROM day")
        self.duckdb.execute("COMMIT")

    def upsert_files(self, day: Any) -> None:
        """Write the file of each symbol of the day again; nothing is synced."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        plain = day.cast(pq.ParquetFile(self.folder / f"{self.symbols[0]}.parquet").schema_arrow)
        for at, symbol in enumerate(plain["symbol"].to_pylist()):
            path = self.folder / f"{symbol}.parquet"
            row = plain.slice(at, 1)
            kept = pq.ParquetFile(path).read()
            kept = kept.filter(pc.not_equal(kept["session"], row["session"][0]))
            pq.write_table(pa.concat_tables([kept, row]), path, compression="zstd")


class Arctic:
    """The same rows in ArcticDB on LMDB, a symbol for each ticker; only where it is installed."""

    def __init__(self, ground: Ground, peers: Peers) -> None:
        import arcticdb

        self.db = arcticdb
        store = arcticdb.Arctic(f"lmdb://{ground.scratch / 'arctic'}?map_size=8GB")
        self.library = store.get_library("bars", create_if_missing=True)
        self.symbols = peers.symbols
        payloads = [
            arcticdb.WritePayload(symbol, self._frame(peers.last_of_files([symbol], date.min)))
            for symbol in self.symbols
        ]
        begin = monotonic()
        self.library.write_batch(payloads)
        self.seconds = monotonic() - begin

    @staticmethod
    def _frame(table: Any) -> Any:
        frame = table.drop_columns(["symbol"]).to_pandas(date_as_object=False)
        return frame.set_index(frame.pop("session").astype("datetime64[ns]"))

    def read(self, symbols: Sequence[str], first: date, last: date) -> Any:
        """Read the rows of the symbols in the range."""
        span = datetime.combine(first, time.min), datetime.combine(last, time.min)
        return self.library.read_batch(
            [self.db.ReadRequest(symbol, date_range=span) for symbol in symbols]
        )

    def upsert(self, day: Any) -> None:
        """Update every symbol with its row of the day."""
        names = day["symbol"].to_pylist()
        self.library.update_batch(
            [
                self.db.UpdatePayload(name, self._frame(day.slice(at, 1)))
                for at, name in enumerate(names)
            ],
            prune_previous_versions=True,
        )


def queries(ground: Ground) -> list[Result]:
    """What is asked most, from the cache and from Parquet, against the stores of others."""
    import numpy as np

    from trading.store import bars, cache
    from trading.store.lake import Lake

    lake, peers = ground.lake, Peers(ground)
    arctic = Arctic(ground, peers) if find_spec("arcticdb") is not None else None
    oldest, newest = date(2000, 1, 4), date(2025, 1, 23)
    day = date(2017, 5, 24)
    recent = bars.last_bars(lake, KRX, peers.symbols, BARS, newest)
    sizes = recent.groupby("symbol")["session"].agg(["size", "min", "max"])
    first = recent["session"].sort_values().unique()[-BARS]
    alive = sizes.index[(sizes["size"] == BARS) & (sizes["min"] == first)].tolist()
    picked = sorted(np.random.default_rng(1).choice(alive, NAMES, replace=False).tolist())
    start = first.date()
    assert len(bars.last_bars(lake, KRX, picked, BARS, newest)) == NAMES * BARS
    assert len(peers.last_of_duckdb(picked, start)) >= NAMES * BARS

    asked: dict[str, Callable[[], Any]] = {
        "ours, cache": lambda: bars.last_bars(lake, KRX, picked, BARS, newest),
        "ours, Parquet alone": lambda: bars.last_bars(
            lake, KRX, picked, BARS, newest, cached=False
        ),
        "file per symbol": lambda: peers.last_of_files(picked, start),
        "duckdb native": lambda: peers.last_of_duckdb(picked, start),
    }
    if arctic is not None:
        asked["arcticdb"] = lambda: arctic.read(picked, start, newest)
    last = in_turns(asked, 15)

    rows = len(bars.cross_section(lake, KRX, day))
    assert rows == len(peers.day_of_duckdb(day)) == len(peers.day_of_files(day))
    asked = {
        "ours, cache": lambda: bars.cross_section(lake, KRX, day),
        "ours, Parquet alone (the file named)": lambda: bars.cross_section(
            lake, KRX, day, cached=False
        ),
        "duckdb native": lambda: peers.day_of_duckdb(day),
    }
    section = in_turns(asked, 15)
    section["file per symbol"] = Spread.of(timed(lambda: peers.day_of_files(day), 1))
    if arctic is not None:
        section["arcticdb"] = Spread.of(timed(lambda: arctic.read(peers.symbols, day, day), 1))

    def everything() -> list[Any]:
        return [
            getattr(block, name).copy()
            for block in cache.read(lake, KRX, None, oldest, newest, list)
            for name in (*cache.PRICES, "volume", "state")
        ]

    asked = {
        "ours, cache (all arrays copied out)": everything,
        "ours, Parquet alone": lambda: lake.table(KRX, "daily", columns=Peers.COLUMNS),
        "file per symbol": peers.all_of_files,
        "duckdb native": peers.all_of_duckdb,
    }
    if arctic is not None:
        asked["arcticdb"] = lambda: arctic.read(peers.symbols, oldest, newest)
    whole = in_turns(asked, 3)

    rewritten = Lake(ground.scratch / "anew")
    table = lake.table(KRX, "daily")
    begin = monotonic()
    rewritten.upsert(KRX, "daily", table)
    made = {"ours, one layer, without checks": once(monotonic() - begin)}
    made["duckdb native"] = once(peers.duckdb_seconds)
    made["file per symbol"] = once(peers.files_seconds)
    full = lake.table(KRX, "daily", first=newest, last=newest)
    session = full.select(Peers.COLUMNS)
    states = iter(range(1, 1000))
    asked = {
        "ours, with fsync": lambda: rewritten.upsert(
            KRX, "daily", _with_volume(full, next(states))
        ),
        "duckdb native: delete and insert": lambda: peers.upsert_duckdb(session),
    }
    written = in_turns(asked, 11)
    written["file per symbol, no fsync"] = Spread.of(timed(lambda: peers.upsert_files(session), 1))
    if arctic is not None:
        made["arcticdb"] = once(arctic.seconds)
        written["arcticdb"] = Spread.of(timed(lambda: arctic.upsert(session), 1))
    peers.duckdb.close()
    ours = last["ours, Parquet alone"].p50
    return [
        _lead(f"마지막 {BARS}봉 × {NAMES}종목, 캐시", last, 4.0),
        _ahead(f"마지막 {BARS}봉 × {NAMES}종목, 캐시", last),
        Result(
            name=f"마지막 {BARS}봉 × {NAMES}종목, Parquet만 (종목마다 파일 하나 대비)",
            value=ours / last["file per symbol"].p50,
            limit=2.0,
            unit="배",
            spreads={},
        ),
        _lead("하루 횡단면, 캐시", section, 5.0),
        _ahead("하루 횡단면, 캐시", section),
        Result(
            name="하루 횡단면, Parquet만 p50",
            value=section["ours, Parquet alone (the file named)"].p50 / 1e3,
            limit=5.0,
            unit="ms",
            spreads={},
        ),
        _ahead("전부 읽기, 캐시", whole, shown=True),
        _ahead("하루치 덮어쓰기", written, shown=True),
        _ahead("처음부터 쓰기", made, shown=True, limit=None),
    ]


def _lead(name: str, found: dict[str, Spread], limit: float) -> Result:
    value = found["ours, cache"].p50 / 1e3
    return Result(name=f"{name} p50", value=value, limit=limit, unit="ms", spreads=found)


def _ahead(
    name: str, found: dict[str, Spread], *, shown: bool = False, limit: float | None = 1.0
) -> Result:
    """Return our time over that of the fastest of the others."""
    ours = next(spread for title, spread in found.items() if title.startswith("ours"))
    others = [spread for title, spread in found.items() if not title.startswith("ours")]
    return Result(
        name=f"{name} (가장 빠른 다른 저장소 대비)",
        value=ours.p50 / min(spread.p50 for spread in others),
        limit=limit,
        unit="배",
        spreads=found if shown else {},
    )


# --- panels ------------------------------------------------------------------------------------


def panel(ground: Ground) -> list[Result]:
    """Both panels of ten years of the whole market, against reading their columns with pyarrow."""
    import pyarrow.dataset as ds

    from trading.domain.rules import shipped_rules
    from trading.sessions import SessionCalendar
    from trading.store import cache
    from trading.store.panels import build_panels

    lake, calendar, rules = ground.lake, SessionCalendar(KRX), shipped_rules(KRX)
    last = date(2024, 12, 30)
    first = last.replace(year=last.year - YEARS) + timedelta(days=3)
    months = [
        str(ground.home / "data/lake/clean/market=KRX/kind=daily" / name / part.file)
        for name, part in lake.parts(KRX, "daily").items()
        if part.last >= first.isoformat() and part.first <= last.isoformat()
    ]

    def columns() -> Any:
        return ds.dataset(months, format="parquet").to_table(columns=list(cache.COLUMNS))

    def both(cached: bool) -> Any:
        return build_panels(
            lake, calendar, KRX, None, first, last, benchmark="", rules=rules, cached=cached
        )

    found = in_turns(
        {
            "pyarrow reads the columns": columns,
            "both panels, cache": lambda: both(True),
            "both panels, Parquet alone": lambda: both(False),
        },
        5,
    )
    begin = process_time_ns()
    raw, _ = both(True)
    used = process_time_ns() - begin
    found["both panels, cache: processor time"] = Spread.of([used])
    _, _, memory = run_child([sys.executable, __file__, "--whole-panel", str(lake.root)])
    return [
        Result(
            name=f"두 패널 {raw.close.shape[1]:,}종목 × {raw.close.shape[0]:,}일, 캐시 (pyarrow 대비)",
            value=found["both panels, cache"].p50 / found["pyarrow reads the columns"].p50,
            limit=2.0,
            unit="배",
            spreads=found,
        ),
        Result(
            name="25년 전체 두 패널의 최대 메모리", value=memory, limit=3.0, unit="GiB", spreads={}
        ),
    ]


def whole_panel(root: Path) -> None:
    """Make both panels of everything, in a process whose memory is measured."""
    from trading.store.lake import Lake
    from trading.store.panels import shipped_panels

    raw, adjusted = shipped_panels(Lake(root), KRX)
    assert raw.close.shape == adjusted.close.shape


# --- one writer, four readers ------------------------------------------------------------------


def together(ground: Ground, seconds: float) -> list[Result]:
    """One writer and four readers: no error, and nobody sees half a write."""
    from trading.store.lake import Lake

    root = ground.scratch / "together"
    shutil.copytree(ground.home / "data" / "lake" / "clean", root / "clean")
    lake = Lake(root)
    first, last = date(2024, 12, 27), date(2025, 1, 6)
    days = ground.lake.table(KRX, "daily", first=first, last=last)
    readers = [
        subprocess.Popen(
            [sys.executable, __file__, "--read", str(root), "--seconds", str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(READERS)
    ]
    writes = []
    state = 0
    while any(reader.poll() is None for reader in readers):
        state += 1
        begin = perf_counter_ns()
        lake.upsert(KRX, "daily", _with_volume(days, state))
        writes.append(perf_counter_ns() - begin)
    told = [(reader.returncode, reader.communicate()[0]) for reader in readers]
    reads = sum(int(text.split()[-1]) for code, text in told if code == 0)
    return [
        Result(
            name=f"쓰는 이 하나와 읽는 이 {READERS}, {seconds:.0f}초: 오류나 찢긴 읽기를 만난 이",
            value=sum(code != 0 for code, _ in told),
            limit=0,
            unit="명",
            spreads={"upsert over two months meanwhile": Spread.of(writes)},
        ),
        Result(name="그동안의 읽기와 쓰기", value=reads + state, limit=None, unit="번", spreads={}),
    ]


def read_meanwhile(root: Path, seconds: float) -> int:
    """Read while another process adds the same number of shares to every bar of some days.

    Returns ``TORN`` when two bars were of different writes.
    """
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake
    from trading.store.panels import build_panels

    lake, calendar = Lake(root), SessionCalendar(KRX)
    first, last = date(2024, 12, 27), date(2025, 1, 6)

    def volumes() -> Any:
        return lake.table(KRX, "daily", columns=["volume"], first=first, last=last)["volume"]

    def panel_volumes(*, cached: bool) -> Any:
        raw, _ = build_panels(lake, calendar, KRX, None, first, last, benchmark="", cached=cached)
        return raw.volume

    rows, cells = volumes().to_numpy(), panel_volumes(cached=True)
    traded = cells > 0
    count = 0
    end = monotonic() + seconds
    while monotonic() < end:
        added = volumes().to_numpy() - rows
        added_to_cells = (panel_volumes(cached=count % 3 != 0) - cells)[traded]
        if added.min() != added.max() or added_to_cells.min() != added_to_cells.max():
            return TORN
        count += 1
    sys.stdout.write(f"{count}\n")
    return 0


def main() -> int:
    """Run the benchmarks of the store."""
    parser = argparse.ArgumentParser(
        description="자료 저장소의 속도와 크기를 같은 실행 안의 기준과 비교합니다."
    )
    parser.add_argument("--dataset", type=Path, help="기록된 KRX 자료가 있는 폴더.")
    parser.add_argument("--folder", type=Path, help="시험 자료를 만들 빈 폴더 (약 3 GB).")
    parser.add_argument("--seconds", type=float, default=60.0, help="함께 읽고 쓰는 시간.")
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    parser.add_argument("--whole-panel", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.whole_panel is not None:
        whole_panel(asked.whole_panel)
        return 0
    if asked.read is not None:
        return read_meanwhile(asked.read, asked.seconds)
    if asked.dataset is None or not (asked.dataset / "krx_daily.parquet").is_file():
        sys.stderr.write(
            "기록된 KRX 자료가 없어 저장소의 속도는 재지 않습니다: make bench DATASET=폴더\n"
        )
        return 0
    # DuckDB's advice on how to get Arrow out of it faster does not apply to queries in a string.
    warnings.filterwarnings("ignore", category=UserWarning, module="store")
    if find_spec("arcticdb") is None:
        sys.stderr.write("ArcticDB는 설치되어 있지 않아 재지 않습니다.\n")
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        (Path(scratch) / "home").mkdir()
        ground = Ground(dataset=asked.dataset.resolve(), scratch=Path(scratch))
        results = [
            *bring_in(ground),
            *one_day(ground),
            *queries(ground),
            *panel(ground),
            *together(ground, asked.seconds),
        ]
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
