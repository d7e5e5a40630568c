"""The Parquet lake: bars, index, instruments and actions, as files that a manifest names.

Layout: ``{raw,clean}/market=KRX/kind=daily/month=YYYY-MM/part-<hash>.parquet`` (minute bars by
``date=``), zstd, sorted by symbol and session. A write makes new files beside the old ones,
syncs them, and then replaces the kind's ``manifest.json``: readers see the old state or the new
one, never half of it. One writer per market and kind holds a file lock. What may enter the
clean layer is decided by ``quality``.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.errors import DataError, UsageError
from trading.log import get_logger
from trading.store import schema
from trading.store.schema import FrameSchema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = get_logger(__name__)

Layer = Literal["raw", "clean"]
T = TypeVar("T")

_LAYERS: tuple[Layer, ...] = ("raw", "clean")
_LOCK_SECONDS = 60.0
# A reader that meets a file which a writer has just replaced starts again from the manifest.
_READ_ATTEMPTS = 5
_WHOLE = "all"


class Lake:
    """The lake under ``root`` (``data/lake``); made on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def upsert_daily(self, market: Market, frame: "pd.DataFrame", layer: Layer = "clean") -> int:
        """Write daily bars over those of the same symbol and session.

        Returns how many rows are new or different. Rows that say the same change nothing, not
        even a file's hash; when they were fetched does not count as a difference.
        """
        return self._dataset(market, schema.DAILY_BARS, layer).upsert(frame)

    def daily(
        self,
        market: Market,
        symbols: Sequence[str] | None,
        first: date,
        last: date,
        layer: Layer = "clean",
    ) -> "pd.DataFrame":
        """Return the daily bars of the range (both included), sorted by symbol and session."""
        found = self._dataset(market, schema.DAILY_BARS, layer).read(symbols, first, last)
        return found

    def upsert_minute(self, market: Market, frame: "pd.DataFrame", layer: Layer = "clean") -> int:
        """Write intraday bars; same promise as ``upsert_daily``."""
        return self._dataset(market, schema.MINUTE_BARS, layer).upsert(frame)

    def minute(
        self,
        market: Market,
        session: date,
        symbols: Sequence[str] | None,
        layer: Layer = "clean",
    ) -> "pd.DataFrame":
        """Return the intraday bars of one session, sorted by ``ts`` and symbol."""
        return self._dataset(market, schema.MINUTE_BARS, layer).read(symbols, session, session)

    def upsert_index(self, market: Market, frame: "pd.DataFrame") -> int:
        """Write index closes; same promise as ``upsert_daily``."""
        return self._dataset(market, schema.INDEX).upsert(frame)

    def index(self, market: Market, first: date, last: date) -> "pd.DataFrame":
        """Return ``session, name, close`` of every index kept for the market."""
        return self._dataset(market, schema.INDEX).read(None, first, last)

    def upsert_instruments(self, market: Market, instruments: Iterable[Instrument]) -> int:
        """Write instruments over those of the same symbol."""
        import pandas as pd

        rows = [asdict(item) for item in instruments]
        frame = pd.DataFrame(rows, columns=list(schema.INSTRUMENTS.columns))
        return self._dataset(market, schema.INSTRUMENTS).upsert(frame)

    def instruments(self, market: Market) -> list[Instrument]:
        """Return every instrument kept for the market, by symbol."""
        rows = self._dataset(market, schema.INSTRUMENTS).table().to_pylist()
        return [
            Instrument(**{**row, "exchange": Exchange(row["exchange"])})
            for row in sorted(rows, key=lambda row: str(row["symbol"]))
        ]

    def upsert_actions(self, market: Market, actions: Iterable[CorporateAction]) -> int:
        """Write actions over those of the same symbol, ex-date and kind."""
        import pandas as pd

        rows = [asdict(item) for item in actions]
        frame = pd.DataFrame(rows, columns=list(schema.ACTIONS.columns))
        return self._dataset(market, schema.ACTIONS).upsert(frame)

    def actions(self, market: Market, first: date, last: date) -> list[CorporateAction]:
        """Return the actions with an ex-date in the range, by ex-date and symbol."""
        rows = self._dataset(market, schema.ACTIONS).table().to_pylist()
        found = [
            CorporateAction(**{**row, "kind": ActionKind(row["kind"])})
            for row in rows
            if first <= row["ex_date"] <= last
        ]
        return sorted(found, key=lambda item: (item.ex_date, item.symbol, item.kind))

    def sessions(self, market: Market, layer: Layer = "clean") -> list[date]:
        """Return every session with a daily bar, oldest first."""
        import pyarrow.compute as pc

        table = self._dataset(market, schema.DAILY_BARS, layer).table(columns=["session"])
        found: list[date] = sorted(pc.unique(table["session"]).to_pylist())
        return found

    def quarantine(self, market: Market, kind: str, frame: "pd.DataFrame") -> Path | None:
        """Keep failing rows with their ``reason``; the same rows give the same file.

        Returns where, or ``None`` when there are none.
        """
        if frame.empty:
            return None
        import pyarrow as pa

        table = pa.Table.from_pandas(frame, preserve_index=False)
        directory = self.root / "quarantine" / f"market={market.name}" / f"kind={kind}"
        directory.mkdir(parents=True, exist_ok=True)
        return _write_part(table.replace_schema_metadata(None), directory)

    def set_aside(self, market: Market, folder: Path) -> None:
        """Move everything of ``market`` to ``folder``: bars of two sources never mix."""
        for path in sorted(self.root.glob(f"*/market={market.name}")):
            target = folder / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def status(self) -> dict[str, Any]:
        """Return what the lake holds, from the manifests alone."""
        datasets = []
        for path in sorted(self.root.glob("*/market=*/kind=*/manifest.json")):
            parts = list(json.loads(path.read_text(encoding="utf-8"))["parts"].values())
            first = [part["first"] for part in parts if part["first"]]
            last = [part["last"] for part in parts if part["last"]]
            datasets.append(
                {
                    "layer": path.parts[-4],
                    "market": path.parts[-3].removeprefix("market=").lower(),
                    "kind": path.parts[-2].removeprefix("kind="),
                    "rows": sum(part["rows"] for part in parts),
                    "files": len(parts),
                    "bytes": sum(part["bytes"] for part in parts),
                    "first": min(first, default=None),
                    "last": max(last, default=None),
                }
            )
        quarantined = sum(1 for _ in self.root.glob("quarantine/market=*/kind=*/*.parquet"))
        return {"root": str(self.root), "datasets": datasets, "quarantine_files": quarantined}

    def sql(self, query: str) -> "pd.DataFrame":
        """Run DuckDB SQL over views ``daily_krx``, ``minute_us`` … (``raw_daily_krx`` for raw)."""
        import duckdb

        def run() -> "pd.DataFrame":
            with duckdb.connect(":memory:") as connection:
                for dataset in self._existing():
                    files = [str(path) for path in dataset.files()]
                    if files:
                        relation = connection.read_parquet(files, hive_partitioning=False)
                        relation.create_view(dataset.view)
                result: pd.DataFrame = connection.sql(query).df()
                return result

        try:
            return _retried(run, duckdb.IOException)
        except duckdb.Error as error:
            raise UsageError(f"SQL 오류: {error}") from error

    def fingerprint(self, market: Market, layer: Layer = "clean") -> str:
        """Return a hash of everything kept for the market; equal content has an equal hash."""
        digest = hashlib.sha256()
        for kind in schema.KINDS.values():
            for name, part in sorted(self._dataset(market, kind, layer).manifest().items()):
                digest.update(f"{kind.name}/{name}/{part.file}\n".encode())
        return digest.hexdigest()

    def _dataset(self, market: Market, kind: FrameSchema, layer: Layer = "clean") -> "_Dataset":
        if layer not in _LAYERS:
            raise UsageError(f"자료 층은 {', '.join(_LAYERS)} 중 하나여야 함: {layer}")
        directory = self.root / layer / f"market={market.name}" / f"kind={kind.name}"
        prefix = "" if layer == "clean" else f"{layer}_"
        return _Dataset(directory, kind, f"{prefix}{kind.name}_{market.value}")

    def _existing(self) -> "Iterable[_Dataset]":
        for layer in _LAYERS:
            for market in Market:
                for kind in schema.KINDS.values():
                    yield self._dataset(market, kind, layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One file of a manifest; ``first`` and ``last`` are sessions, where the kind has them."""

    file: str
    rows: int
    bytes: int
    sha256: str
    first: str | None
    last: str | None


class _Dataset:
    """All files of one layer, market and kind."""

    def __init__(self, directory: Path, kind: FrameSchema, view: str) -> None:
        self.directory = directory
        self.kind = kind
        self.view = view

    def upsert(self, frame: "pd.DataFrame") -> int:
        """Merge the rows by key, write what changed, replace the manifest once."""
        from filelock import FileLock, Timeout

        incoming = schema.conform(frame, self.kind)
        if incoming.empty:
            return 0
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.directory / ".lock", timeout=_LOCK_SECONDS):
                return self._merge(incoming)
        except Timeout as error:
            raise DataError(f"다른 작업이 자료를 쓰는 중: {self.directory}") from error

    def read(self, symbols: Sequence[str] | None, first: date, last: date) -> "pd.DataFrame":
        """Return the rows of the range, sorted by key."""
        import pyarrow as pa
        import pyarrow.compute as pc

        condition = (pc.field("session") >= first) & (pc.field("session") <= last)
        if symbols is not None:
            condition &= pc.field("symbol").isin(pa.array(list(symbols), pa.string()))
        table = self.table(first=first, last=last, condition=condition)
        return self._sorted(schema.to_frame(table, self.kind))

    def table(
        self,
        *,
        columns: list[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        condition: Any = None,
    ) -> "pa.Table":
        """Return the rows of the named files that meet the condition, in file order."""
        import pyarrow.dataset as ds

        def run() -> "pa.Table":
            files = [str(path) for path in self.files(first, last)]
            if not files:
                empty = self.kind.arrow().empty_table()
                return empty.select(columns) if columns else empty
            source = ds.dataset(files, schema=self.kind.arrow(), format="parquet")
            return source.to_table(columns=columns, filter=condition)

        return _retried(run, FileNotFoundError)

    def files(self, first: date | None = None, last: date | None = None) -> list[Path]:
        """Return the files that the manifest names for the range, oldest first."""
        low = first.isoformat() if first is not None else ""
        high = last.isoformat() if last is not None else "9999"
        return [
            self._place(name) / part.file
            for name, part in sorted(self.manifest().items())
            if (part.last is None or part.last >= low)
            and (part.first is None or part.first <= high)
        ]

    def manifest(self) -> dict[str, _Part]:
        """Return the parts by partition; empty when nothing was written yet."""
        try:
            text = (self.directory / "manifest.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            return {name: _Part(**part) for name, part in json.loads(text)["parts"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"자료 목록이 깨짐: {self.directory / 'manifest.json'}") from error

    def _merge(self, incoming: "pd.DataFrame") -> int:
        parts = self.manifest()
        changed = 0
        for name, rows in self._partitions(incoming):
            merged, count = rows, len(rows)
            if name in parts:
                merged, count = self._over(self._read_part(name, parts[name]), rows)
            if count:
                parts[name] = self._write(name, self._sorted(merged))
                changed += count
        if changed:
            self._replace_manifest(parts)
            self._sweep(parts)
        return changed

    def _over(self, old: "pd.DataFrame", new: "pd.DataFrame") -> "tuple[pd.DataFrame, int]":
        """Return ``old`` with the rows of ``new`` that differ from it laid over, and their count."""
        import pandas as pd

        key = list(self.kind.key)
        compared = [name for name in self.kind.columns if name != "fetched_at"]
        kept = pd.MultiIndex.from_frame(old[key])
        at = kept.get_indexer(pd.MultiIndex.from_frame(new[key]))
        same = at >= 0
        before = old.iloc[at[same]]
        equal = np.ones(int(same.sum()), dtype=np.bool_)
        for name in compared:
            left, right = before[name].reset_index(drop=True), new.loc[same, name]
            right = right.reset_index(drop=True)
            alike = (left == right).fillna(False) | (left.isna() & right.isna())
            equal &= alike.to_numpy(dtype=np.bool_)
        same[same] = equal
        fresh = new.loc[~same]
        untouched = np.ones(len(old), dtype=np.bool_)
        untouched[at[~same & (at >= 0)]] = False
        return pd.concat([old.loc[untouched], fresh], ignore_index=True), len(fresh)

    def _partitions(self, frame: "pd.DataFrame") -> "Iterable[tuple[str, pd.DataFrame]]":
        if self.kind.partition is None:
            return [(_WHOLE, frame)]
        column, label, unit = self.kind.partition
        period = frame[column].to_numpy().astype(f"datetime64[{unit}]")
        groups = frame.groupby(period.astype(np.int64), sort=True)
        return [
            (f"{label}={np.datetime_as_string(np.datetime64(int(str(number)), unit))}", rows)
            for number, rows in groups
        ]

    def _read_part(self, name: str, part: _Part) -> "pd.DataFrame":
        import pyarrow.parquet as pq

        table = pq.read_table(self._place(name) / part.file, schema=self.kind.arrow())
        return schema.to_frame(table, self.kind)

    def _write(self, name: str, frame: "pd.DataFrame") -> _Part:
        import pyarrow as pa

        table = pa.Table.from_pandas(frame, schema=self.kind.arrow(), preserve_index=False)
        directory = self._place(name)
        directory.mkdir(parents=True, exist_ok=True)
        path = _write_part(table.replace_schema_metadata(None), directory)
        days = frame.get("session")
        return _Part(
            file=path.name,
            rows=len(frame),
            bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            first=None if days is None else schema.day(days.min()).isoformat(),
            last=None if days is None else schema.day(days.max()).isoformat(),
        )

    def _sorted(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        return frame.sort_values(list(self.kind.key), ignore_index=True)

    def _place(self, name: str) -> Path:
        return self.directory if name == _WHOLE else self.directory / name

    def _replace_manifest(self, parts: dict[str, _Part]) -> None:
        document = {
            "kind": self.kind.name,
            "parts": {name: asdict(part) for name, part in sorted(parts.items())},
        }
        temporary = self.directory / "manifest.json.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.directory / "manifest.json")
        _sync_directory(self.directory)

    def _sweep(self, parts: dict[str, _Part]) -> None:
        """Remove files that no manifest names: the replaced ones, and what a crash left behind."""
        named = {self._place(name) / part.file for name, part in parts.items()}
        for path in self.directory.rglob("*.parquet*"):
            if path not in named:
                path.unlink(missing_ok=True)


def _write_part(table: "pa.Table", directory: Path) -> Path:
    """Write the table durably as ``part-<hash of its bytes>.parquet`` and return where."""
    import pyarrow.parquet as pq

    temporary = directory / f"part-{os.getpid()}.parquet.tmp"
    with temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    path = directory / f"part-{digest[:16]}.parquet"
    temporary.replace(path)
    _sync_directory(directory)
    return path


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _retried(read: Callable[[], T], vanished: type[Exception]) -> T:
    for _ in range(_READ_ATTEMPTS - 1):
        try:
            return read()
        except vanished:
            continue
    return read()
