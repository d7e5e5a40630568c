"""One dataset on disk: Parquet files that a manifest names, merged by key.

A write makes new files beside the old ones, syncs them, and then replaces ``manifest.json``:
readers see the old state or the new one, never half of it. One writer at a time holds a file
lock. What a crash leaves behind is swept by the next write. What the disk damages is not read: a
file is compared with its hash before its first use in a process.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trading.errors import DataError
from trading.store import schema
from trading.store.schema import FrameSchema

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from trading.domain.arrays import BoolArray, IntArray

T = TypeVar("T")

_MANIFEST = "manifest.json"
# Stands while a write is under way; one that is found under the lock was left by a crash.
_UNDER_WAY = ".writing"
_LOCK_SECONDS = 60.0
# A reader that meets a file which a writer has just replaced starts again from the manifest;
# the last time it keeps writers out.
_READ_ATTEMPTS = 5
_OPEN_AT_ONCE = 64
# More than there are cores: a thread that waits for the disk leaves its core to another.
_THREADS = 4
_WHOLE = "all"
_UNITS = {"month": "M", "date": "D"}
_CHANGED = "내용이 바뀐 파일"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ADVICE = "trading data repair로 치운 뒤 trading data backfill로 다시 받으십시오"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a manifest; ``first`` and ``last`` are days, where the kind has them."""

    file: str
    rows: int
    bytes: int
    sha256: str
    first: str | None
    last: str | None
    sources: tuple[str, ...] = ()
    fetched: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The files of a dataset by partition, and every symbol that is in them."""

    parts: Mapping[str, Part] = field(default_factory=dict)
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A file that is not what was written; ``partition`` is that of a file of the manifest."""

    path: Path
    problem: str
    partition: str | None = None
    first: str | None = None
    last: str | None = None


class Dataset:
    """All files of one layer, market and kind, under ``directory``."""

    def __init__(self, directory: Path, kind: FrameSchema) -> None:
        self.directory = directory
        self.kind = kind

    def upsert(self, batch: "pa.Table") -> int:
        """Merge a cast batch by key, write what changed, replace the manifest once.

        Returns how many rows are new or different. Whatever fails, the old state stays.
        """
        if len(batch) == 0:
            return 0
        # Rows are picked from one chunk many times faster than from several.
        batch = batch.unify_dictionaries().combine_chunks()
        order = schema.unique_order(batch, self.kind)
        with locked(self.directory):
            return self._merge(batch, order)

    def table(
        self,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> "pa.Table":
        """Return the rows that are asked for, files oldest first, by key inside each."""
        import pyarrow as pa

        chosen = list(self.kind.columns if columns is None else columns)

        def run() -> "pa.Table":
            parts = self._within(first, last)
            # A file that is open stays whole when a writer replaces it; the newest are replaced.
            opened = {path: _OpenPart(path, part) for path, part in parts[-_OPEN_AT_ONCE:]}

            def read(item: tuple[Path, Part]) -> "pa.Table":
                file = opened.pop(item[0], None) or _OpenPart(*item)
                return self._read(file, chosen, symbols, first, last)

            if len(parts) > 1:
                with ThreadPoolExecutor(_THREADS) as pool:
                    tables = list(pool.map(read, parts))
            else:
                tables = [read(item) for item in parts]
            if not tables:
                return self.kind.arrow(chosen).empty_table()
            return pa.concat_tables(tables).unify_dictionaries()

        try:
            return retried(run, [self])
        except FileNotFoundError as error:
            raise DataError(f"자료 파일이 없음: {error.filename}. {_ADVICE}") from error

    def files(self, first: date | None = None, last: date | None = None) -> list[Path]:
        """Return the files that the manifest names for the range, oldest first."""
        return [path for path, _ in self._within(first, last)]

    def check(self) -> None:
        """Raise ``DataError`` when a file is not what was written; once a process for each."""
        for path, part in self._within(None, None):
            _OpenPart(path, part).check()

    def manifest(self) -> Manifest:
        """Return what was written; empty when nothing was yet."""
        path = self.directory / _MANIFEST
        # Twice: a first write may end between the looks at the manifest and at the files.
        for _ in range(2):
            try:
                return _parsed(path.read_bytes())
            except FileNotFoundError:
                under_way = (self.directory / _UNDER_WAY).exists()
                if under_way or not any(self.directory.rglob("part-*.parquet")):
                    return Manifest()
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"자료 목록이 깨짐: {path}. {_ADVICE}") from error
        raise DataError(f"자료 목록이 없음: {path}. {_ADVICE}")

    def damages(self) -> list[Damage]:
        """Compare the manifest and every file with its hash."""
        try:
            manifest = self.manifest()
        except DataError:
            return [Damage(path=self.directory / _MANIFEST, problem="읽을 수 없는 목록")]
        return [
            Damage(path=path, problem=problem, partition=name, first=part.first, last=part.last)
            for name, part in manifest.parts.items()
            if (problem := _problem(path := self._place(name) / part.file, part))
        ]

    def repair(self, aside: Path) -> list[Damage]:
        """Move what is damaged to ``aside`` and forget it; returns what was found.

        A manifest that cannot be read is made again from the files that are whole.
        """
        with locked(self.directory):
            found = self.damages()
            if any(damage.partition is None for damage in found):
                kept, others = self._whole_files()
                found += others
            else:
                lost = {damage.partition for damage in found}
                kept = {n: p for n, p in self.manifest().parts.items() if n not in lost}
            for damage in found:
                if damage.path.is_file():
                    move(damage.path, aside)
            if found:
                self._replace_manifest(Manifest(parts=kept, symbols=self._symbols(kept)))
            self._sweep(self.manifest())
        return found

    def _merge(self, batch: "pa.Table", order: "IntArray") -> int:
        before = self.manifest()
        under_way = self.directory / _UNDER_WAY
        if under_way.exists():
            self._sweep(before)
        with _writing(under_way):
            under_way.touch()
        try:
            parts, changed = self._written(before, batch, order)
            if changed:
                symbols = set(before.symbols).union(_words(batch, self.kind.subject))
                self._replace_manifest(
                    Manifest(parts=dict(before.parts) | parts, symbols=tuple(sorted(symbols)))
                )
        except BaseException:
            self._sweep(self.manifest())
            under_way.unlink(missing_ok=True)
            raise
        for name in parts.keys() & before.parts.keys():
            (self._place(name) / before.parts[name].file).unlink(missing_ok=True)
        under_way.unlink(missing_ok=True)
        return changed

    def _written(
        self, before: Manifest, batch: "pa.Table", order: "IntArray"
    ) -> tuple[dict[str, Part], int]:
        """Write the partitions that change; return their new parts and the rows changed."""

        def write(item: "tuple[str, IntArray]") -> tuple[str, Part | None, int]:
            name, rows = item
            merged, count = self._over(name, before.parts.get(name), batch.take(rows))
            if count == 0:
                return name, None, 0
            return name, write_part(merged, self._place(name), self.kind), count

        cut = list(self._cut(batch, order))
        with _writing(self.directory):
            for name, _ in cut:
                self._place(name).mkdir(exist_ok=True)
            if cut[0][0] != _WHOLE:
                _sync_directory(self.directory)
        if len(cut) == 1:
            done = [write(cut[0])]
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                done = list(pool.map(write, cut))
        parts = {name: part for name, part, _ in done if part is not None}
        return parts, sum(count for *_, count in done)

    def _over(self, name: str, part: Part | None, new: "pa.Table") -> "tuple[pa.Table, int]":
        """Lay sorted rows over those of a file: the rows of both, and how many change it.

        Where both have a key and say the same, the old row stays.
        """
        import pyarrow as pa

        if part is None:
            return new, len(new)
        file = _OpenPart(self._place(name) / part.file, part)
        old = self._read(file, list(self.kind.columns))
        both = pa.concat_tables([old, new]).unify_dictionaries().combine_chunks()
        order, repeats = schema.ordered(both, self.kind)
        later = np.flatnonzero(repeats)
        first, second = order[later - 1], order[later]
        same = np.ones(len(later), dtype=np.bool_)
        for column in self.kind.columns:
            if column != "fetched_at":
                same &= _alike(both[column], first, second)
        kept = np.ones(len(order), dtype=np.bool_)
        kept[later[same]] = False
        kept[later[~same] - 1] = False
        return both.take(order[kept]), len(new) - int(same.sum())

    def _cut(self, batch: "pa.Table", order: "IntArray") -> "Iterator[tuple[str, IntArray]]":
        """Yield the name of each partition and the rows of the batch that it takes, in order."""
        if self.kind.partition is None or self.kind.dated_by is None:
            yield _WHOLE, order
            return
        days = batch[self.kind.dated_by].to_numpy().astype("datetime64[D]")
        period = days.astype(f"datetime64[{_UNITS[self.kind.partition]}]")[order]
        rows = schema.stable_order((period - period.min()).astype(np.int64))
        for at in np.split(rows, np.flatnonzero(np.diff(period[rows])) + 1):
            yield f"{self.kind.partition}={np.datetime_as_string(period[at[0]])}", order[at]

    def _within(self, first: date | None, last: date | None) -> list[tuple[Path, Part]]:
        low = first.isoformat() if first is not None else ""
        high = last.isoformat() if last is not None else "9999"
        return [
            (self._place(name) / part.file, part)
            for name, part in sorted(self.manifest().parts.items())
            if (part.last is None or part.last >= low)
            and (part.first is None or part.first <= high)
        ]

    def _read(
        self,
        file: "_OpenPart",
        columns: list[str],
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> "pa.Table":
        import pyarrow as pa

        part = file.part
        if first is not None and part.first is not None and first.isoformat() <= part.first:
            first = None
        if last is not None and part.last is not None and last.isoformat() >= part.last:
            last = None
        subject = self.kind.subject if symbols is not None else None
        dated_by = self.kind.dated_by if first is not None or last is not None else None
        needed = dict.fromkeys([*columns, *(name for name in (subject, dated_by) if name)])
        table = schema.completed(file.read(list(needed)), self.kind, needed).combine_chunks()
        rows = np.ones(len(table), dtype=np.bool_)
        if subject is not None and symbols is not None:
            rows &= _is_one_of(table[subject], symbols)
        if dated_by is not None and first is not None:
            rows &= table[dated_by].to_numpy() >= np.datetime64(first)
        if dated_by is not None and last is not None:
            rows &= table[dated_by].to_numpy() <= np.datetime64(last)
        if not rows.all():
            table = table.take(pa.array(np.flatnonzero(rows)))
        return table.select(columns)

    def _place(self, name: str) -> Path:
        return self.directory if name == _WHOLE else self.directory / name

    def _replace_manifest(self, manifest: Manifest) -> None:
        # A line for each part: a person can read it, and so it is written ten times faster.
        parts = ",\n".join(
            f'"{name}": {_as_json(part)}' for name, part in sorted(manifest.parts.items())
        )
        head = f'"kind": "{self.kind.name}",\n"symbols": {json.dumps(manifest.symbols)}'
        text = f'{head},\n"parts": {{\n{parts}\n}}}}\n'.encode()
        digest = hashlib.sha256(text).hexdigest()
        write_durably(self.directory / _MANIFEST, f'{{"sha256": "{digest}",\n'.encode() + text)

    def _sweep(self, manifest: Manifest) -> None:
        """Remove every file that the manifest does not name."""
        named = {self._place(name) / part.file for name, part in manifest.parts.items()}
        for path in self.directory.rglob("*"):
            if path.suffix == ".tmp" or (path.suffix == ".parquet" and path not in named):
                path.unlink(missing_ok=True)

    def _whole_files(self) -> tuple[dict[str, Part], list[Damage]]:
        """Return the parts that files tell whose names are their hash, and the other files.

        Of two whole files of one partition the newer one counts.
        """
        import pyarrow.parquet as pq

        files = sorted(self.directory.rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        others = changed(files)
        parts: dict[str, Part] = {}
        for path in files:
            if path not in [damage.path for damage in others]:
                name = _WHOLE if path.parent == self.directory else path.parent.name
                data = path.read_bytes()
                table = schema.completed(pq.ParquetFile(path).read(), self.kind, self.kind.columns)
                digest = hashlib.sha256(data).hexdigest()
                parts[name] = _described(table, digest, len(data), self.kind)
        return parts, others

    def _symbols(self, parts: Mapping[str, Part]) -> tuple[str, ...]:
        import pyarrow.parquet as pq

        found: set[str] = set()
        if (subject := self.kind.subject) is not None:
            for name, part in parts.items():
                table = pq.ParquetFile(self._place(name) / part.file).read(columns=[subject])
                found.update(_words(table, subject))
        return tuple(sorted(found))


def write_part(table: "pa.Table", directory: Path, kind: FrameSchema) -> Part:
    """Write the rows durably as ``part-<hash of its bytes>.parquet`` and describe it.

    Equal rows in equal order make equal bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    canonical = _canonical(table)
    # Whole numbers of like size share their upper bytes: split by byte they pack best.
    numbers = [
        name
        for name in canonical.column_names
        if kind.columns.get(name) in ("int", "float", "instant")
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        canonical,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in canonical.column_names if name not in numbers],
        column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
    )
    data = memoryview(sink.getvalue())
    digest = hashlib.sha256(data).hexdigest()
    write_durably(directory / _part_name(digest), data)
    return _described(canonical, digest, len(data), kind)


def changed(files: Iterable[Path]) -> list[Damage]:
    """Return the files whose names are not those of their hash."""
    return [
        Damage(path=path, problem=_CHANGED)
        for path in files
        if path.name != _part_name(hashlib.sha256(path.read_bytes()).hexdigest())
    ]


def refuse_changed(files: Iterable[Path]) -> None:
    """Raise ``DataError`` for a file whose name is not that of its hash."""
    for damage in changed(files):
        raise DataError(f"자료 파일이 깨짐: {damage.path} ({damage.problem}). {_ADVICE}")


def move(path: Path, folder: Path) -> None:
    """Move a file aside, by a name that tells where it lay."""
    make_durably(folder)
    path.replace(folder / f"{path.parent.name}-{path.name}")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of those who write in a directory, which is made."""
    from filelock import FileLock, Timeout

    make_durably(directory)
    lock = FileLock(directory / ".lock", timeout=_LOCK_SECONDS)
    with _writing(directory):
        try:
            lock.acquire()
        except Timeout as error:
            raise DataError(f"다른 작업이 자료를 쓰는 중: {directory}") from error
    try:
        yield
    finally:
        lock.release()


def retried(read: Callable[[], T], datasets: Sequence[Dataset]) -> T:
    """Return what ``read`` does, again from the start where a writer took a file away meanwhile."""
    for _ in range(_READ_ATTEMPTS - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    with ExitStack() as stack:
        for dataset in datasets:
            stack.enter_context(locked(dataset.directory))
        return read()


@lru_cache(maxsize=16)
def _parsed(text: bytes) -> Manifest:
    document = json.loads(text)
    if "sha256" in document:
        said = text.partition(b"\n")[2]
        if hashlib.sha256(said).hexdigest() != document["sha256"]:
            raise ValueError(_CHANGED)
    return Manifest(
        parts={
            name: Part(**part | {"sources": tuple(part.get("sources", ()))})
            for name, part in document["parts"].items()
        },
        symbols=tuple(document.get("symbols", ())),
    )


@lru_cache(maxsize=10_000)
def _as_json(part: Part) -> str:
    return json.dumps({name: getattr(part, name) for name in Part.__slots__}, ensure_ascii=False)


def _part_name(digest: str) -> str:
    return f"part-{digest[:16]}.parquet"


def _described(table: "pa.Table", digest: str, size: int, kind: FrameSchema) -> Part:
    import pyarrow.compute as pc

    first = last = None
    if kind.dated_by is not None:
        span = pc.min_max(table[kind.dated_by]).as_py()
        first, last = span["min"].isoformat(), span["max"].isoformat()
    fetched = pc.max(table["fetched_at"]).as_py()
    return Part(
        file=_part_name(digest),
        rows=len(table),
        bytes=size,
        sha256=digest,
        first=first,
        last=last,
        sources=tuple(sorted(_words(table, "source"))),
        fetched=None if fetched is None else fetched.isoformat(),
    )


def _problem(path: Path, part: Part) -> str | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "없는 파일"
    except OSError as error:
        return f"읽을 수 없는 파일: {error.strerror}"
    if len(data) != part.bytes:
        return f"잘린 파일: {part.bytes:,}바이트 중 {len(data):,}바이트"
    return None if hashlib.sha256(data).hexdigest() == part.sha256 else _CHANGED


class _OpenPart:
    """A file of the manifest, open until it is read: a writer cannot take it away meanwhile."""

    def __init__(self, path: Path, part: Part) -> None:
        import pyarrow as pa

        self.path, self.part = path, part
        try:
            self._file = pa.memory_map(str(path))
            stat = path.stat()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "없는 파일", str(path)) from error
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error
        self._version = (str(path), stat.st_ino, stat.st_mtime_ns)

    def read(self, columns: list[str]) -> "pa.Table":
        """Return columns; ``DataError`` when the file is not what was written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.check()
        try:
            with self._file:
                return pq.ParquetFile(self._file).read(columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def check(self) -> None:
        """Compare the file with its hash, unless this process has done so."""
        if self._version not in _KNOWN_WHOLE:
            if hashlib.sha256(memoryview(self._file.read_buffer())).hexdigest() != self.part.sha256:
                raise self._damaged(_CHANGED)
            _KNOWN_WHOLE.add(self._version)

    def _damaged(self, problem: object) -> DataError:
        return DataError(f"자료 파일이 깨짐: {self.path} ({problem}). {_ADVICE}")


# Versions of files that were compared with their hash: a file is written once and never changed.
_KNOWN_WHOLE: set[tuple[str, int, int]] = set()


def _codes(column: "pa.ChunkedArray") -> "tuple[NDArray[np.int32], pa.Array]":
    """Return the codes of a text column, -1 where it is empty, and the words they stand for."""
    import pyarrow.compute as pc

    whole = column.unify_dictionaries().combine_chunks()
    codes = pc.fill_null(whole.indices, -1).to_numpy(zero_copy_only=False)
    return codes, whole.dictionary


def _words(table: "pa.Table", name: str | None) -> list[str]:
    """Return the words that occur in a text column."""
    import pyarrow as pa

    if name is None:
        return []
    codes, words = _codes(table[name])
    occurs = np.zeros(len(words) + 1, dtype=np.bool_)
    occurs[codes] = True
    found: list[str] = words.filter(pa.array(occurs[:-1])).to_pylist()
    return found


def _is_one_of(column: "pa.ChunkedArray", wanted: Sequence[str]) -> "BoolArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    codes, words = _codes(column)
    chosen = pc.is_in(words, value_set=pa.array(list(wanted), pa.string()))
    found: BoolArray = np.append(chosen.to_numpy(zero_copy_only=False), False)[codes]
    return found


def _alike(column: "pa.ChunkedArray", first: "IntArray", second: "IntArray") -> "BoolArray":
    """Return where two rows say the same; nothing is the same as nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.indices
    left, right = values.take(pa.array(first)), values.take(pa.array(second))
    equal = pc.fill_null(pc.equal(left, right), False)
    alike: BoolArray = pc.or_(equal, pc.and_(left.is_null(), right.is_null())).to_numpy(
        zero_copy_only=False
    )
    return alike


def _canonical(table: "pa.Table") -> "pa.Table":
    """Return the table in one piece, its text codes in the order of the words that occur."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            codes, words = _codes(table[name])
            occurs = np.zeros(len(words) + 1, dtype=np.bool_)
            occurs[codes] = True
            used = np.flatnonzero(occurs[:-1])
            order = used[pc.array_sort_indices(words.take(pa.array(used))).to_numpy()]
            rank = np.full(len(words) + 1, -1, dtype=np.int32)
            rank[order] = np.arange(len(order))
            ranked = rank[codes]
            column = pa.DictionaryArray.from_arrays(
                pa.array(ranked, mask=ranked < 0), words.take(pa.array(order))
            )
        columns.append(column)
    return pa.table(columns, schema=table.schema.remove_metadata())


def write_durably(path: Path, data: "bytes | memoryview") -> None:
    """Write a file that is there whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            with temporary.open("wb", buffering=0) as file:
                left = memoryview(data)
                while len(left):
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def make_durably(directory: Path) -> None:
    """Make a directory that a power failure does not take away."""
    if not directory.is_dir():
        make_durably(directory.parent)
        with _writing(directory):
            directory.mkdir(exist_ok=True)
            _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DataError(
                f"디스크에 자리가 없어 쓰지 못했습니다: {path}. 이전 자료는 그대로이고, "
                "자리를 만든 뒤 같은 명령을 다시 치면 이어서 합니다."
            ) from error
        raise DataError(
            f"쓰지 못했습니다: {path} ({error.strerror or error}). 이전 자료는 그대로입니다."
        ) from error
