"""Backups of an installation: one archive that is checked before it counts, and the way back.

An archive holds what cannot be fetched again: the accounts' ledgers, the outbox, trials and
studies, models and their registry, reports, the operator's word, the configuration; the lake only
when asked. Secrets are in none: ``.env``, access tokens and the control door's token stay where
they are. When a backup is taken is decided by ``day`` and by the operator.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from filecmp import cmp
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from trading.clock import WallClock
from trading.domain.instrument import Market
from trading.errors import DataError, SessionBusyError, TransientBrokerError, UsageError
from trading.home import UNFINISHED_RESTORE, config_dir_of
from trading.live.journal import closed_sessions
from trading.live.pace import ControlDoor, PortFile
from trading.log import get_logger
from trading.ports import RecordKind
from trading.store.ledger import SCHEMA_VERSION, SqliteLedger, copy_database
from trading.store.parts import locked, write_durably

if TYPE_CHECKING:
    from trading.config import Home, Settings

log = get_logger(__name__)

_FORMAT = 1
_MANIFEST = "manifest.json"
_ROOMS = ("config", "data", "mlruns")
# Folders and files of ``data`` that an archive holds. What is in neither list is a new thing that
# somebody has to decide about: a test asks.
KEPT = (
    "ledger", "exchange", "outbox.db", "research", "models", "health", "reports", "run",
)  # fmt: skip
LEFT_OUT = {
    "lake": "시세 저장소(--with-lake로 넣음)",
    "broker": "접근토큰과 종목 마스터(다시 받음)",
    "prefect": "Prefect의 실행 기록",
    "archive": "지난 데모 계좌(data/archive)",
    "chaos": "강제 종료 시험의 기록(data/chaos)",
    "backup.json": "마지막 백업의 기록",
}
_OUTSIDE = (".env의 키와 비밀번호(비밀은 백업하지 않음)", "로그(logs)")
_LAKE_LAYERS = ("raw", "clean", "quarantine")
_NAME = re.compile(r"trading-\d{8}T\d{12}Z\.zip")
_PASSING = re.compile(r"(^\.)|(-wal|-shm|-journal|\.lock|\.tmp|\.copy|\.partial|\.bak)$")
_CHUNK = 1 << 20
_BUSY_SECONDS = 30.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL = "디스크에 자리가 없습니다"
_REFUSED = {
    errno.ENOENT: "그런 폴더가 없고 만들 수도 없습니다",
    errno.EEXIST: "그 자리에 폴더가 아닌 것이 있습니다",
    errno.ENOTDIR: "그 자리에 폴더가 아닌 것이 있습니다",
    errno.EACCES: "읽거나 쓸 권한이 없습니다",
    errno.EPERM: "읽거나 쓸 권한이 없습니다",
    errno.EROFS: "쓸 수 없는 디스크입니다",
    errno.EIO: "디스크가 읽거나 쓰지 못합니다",
}
# Compressed already.
_DENSE = (".parquet", ".safetensors", ".block", ".png", ".zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One archive, as ``data/backup.json`` tells of it; ``bytes`` is its size on disk."""

    ts: datetime
    path: Path
    files: int
    bytes: int
    verified: bool
    with_lake: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self) | {"ts": self.ts.isoformat(), "path": str(self.path)}


@dataclass(frozen=True)
class Contents:
    """What an archive says it holds."""

    manifest: Mapping[str, Any]

    @cached_property
    def created(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.manifest["created"])

    @property
    def root(self) -> str:
        """The folder of the installation that it was made of."""
        return str(self.manifest["root"])

    @property
    def accounts(self) -> Sequence[Mapping[str, Any]]:
        """Of each ledger: name, closed sessions, the last of them, its datasets."""
        return list(self.manifest["accounts"])

    @property
    def lake(self) -> Sequence[Mapping[str, Any]]:
        """Of each kind of market data: market, layer, kind, first and last day, rows."""
        return list(self.manifest["lake"]["held"])

    @property
    def left_out(self) -> Sequence[str]:
        """In Korean, what is not in the archive."""
        return list(self.manifest["left_out"])

    @property
    def has_lake(self) -> bool:
        """Whether the market data themselves are in the archive."""
        return bool(self.manifest["lake"]["included"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore put where; ``aside`` is where the former things are."""

    archive: Path
    contents: Contents
    aside: tuple[Path, ...]
    missing_datasets: tuple[str, ...]


# -- making one -----------------------------------------------------------------------------


def back_up(
    home: "Home", settings: "Settings", target: Path | None = None, *, with_lake: bool = False
) -> Backup:
    """Write one archive into ``target`` (``backup.folder`` by default), prove it, and return it.

    Sessions may trade meanwhile: every database is copied as it is at one instant. The archive
    appears under its name when it is whole and was read again; then the oldest of this home beyond
    ``backup.keep`` go, and ``data/backup.json`` is written.

    Raises
    ------
    DataError
        If something cannot be copied or written; what was there before is as it was.
    SessionBusyError
        While another backup is written into the same folder.
    """
    folder = (target or home.root / settings.app.backup.folder).expanduser().absolute()
    # Two names of one microsecond cannot be: a folder has one writer.
    now = WallClock().now().astimezone(UTC)
    name = f"trading-{now:%Y%m%dT%H%M%S%f}Z.zip"
    with _explained(f"백업하지 못함: {folder}"), _alone_in(folder):
        for left in folder.glob(".trading-*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        work = folder / f".{name}.partial"
        work.mkdir(mode=0o700)
        try:
            fresh = work / name
            with _writable(fresh) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
                _Writer(home, settings, out, work).write(now, with_lake=with_lake)
            contents = verify(fresh, work)
            if not contents.manifest["files"]:
                raise UsageError(f"백업할 것이 없음: {home.root}")
            size = fresh.stat().st_size
            fresh.replace(folder / name)
            _sync(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        done = Backup(
            ts=now, path=folder / name, files=len(contents.manifest["files"]), bytes=size,
            verified=True, with_lake=with_lake,
        )  # fmt: skip
        _record_path(home).parent.mkdir(parents=True, exist_ok=True)
        write_durably(_record_path(home), json.dumps(done.to_json()).encode())
        for old in _archives_of(home, folder)[: -settings.app.backup.keep]:
            # Where a clock was ahead once, the new name is not the last.
            if old != done.path:
                old.unlink()
                log.info("오래된 백업 지움", path=str(old))
    log.info("백업 완료", path=str(done.path), files=done.files, bytes=done.bytes)
    return done


def latest(home: "Home") -> Backup | None:
    """Return the last good backup of this installation, ``None`` when there was none.

    Raises ``DataError`` when its record cannot be read.
    """
    try:
        body = json.loads(_record_path(home).read_text(encoding="utf-8"))
        return Backup(
            **body | {"ts": datetime.fromisoformat(body["ts"]), "path": Path(body["path"])}
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"백업 기록을 읽을 수 없음: {_record_path(home)}") from error


def archives(folder: Path) -> list[Path]:
    """Return the archives in a folder, oldest first."""
    return sorted(path for path in folder.glob("trading-*.zip") if _NAME.fullmatch(path.name))


def _archives_of(home: "Home", folder: Path) -> list[Path]:
    """Return the archives that this home has made, oldest first; a folder may serve several."""
    made = []
    for path in archives(folder):
        # What cannot be read is nobody's to delete.
        with suppress(DataError, UsageError):
            if contents_of(path).root == str(home.root):
                made.append(path)
    return made


def _record_path(home: "Home") -> Path:
    return home.data_dir / "backup.json"


class _Writer:
    """Fills one archive; ``work`` is a folder for the copies of databases."""

    def __init__(
        self, home: "Home", settings: "Settings", out: zipfile.ZipFile, work: Path
    ) -> None:
        self._home = home
        self._settings = settings
        self._out = out
        self._work = work
        self._files: dict[str, tuple[int, str]] = {}
        self._accounts: list[dict[str, Any]] = []

    def write(self, now: datetime, *, with_lake: bool) -> None:
        home = self._home
        blanked = self._config()
        # The books first, then the venue of the demo: it may know more than the books, as KIS
        # does after a crash, never less.
        for path in sorted((home.data_dir / "ledger").glob("*.db")):
            # One that was begun and never written holds nothing, not even tables.
            if path.stat().st_size:
                self._database(path, f"data/ledger/{path.name}")
        for path in sorted((home.data_dir / "exchange").glob("*/journal.db")):
            self._venue(path)
        for name in KEPT:
            if name not in ("ledger", "exchange"):
                self._tree((home.data_dir / name).resolve(), f"data/{name}")
        # Where the folder really is: one on another disk is a part of the home.
        self._tree(home.mlruns_dir.resolve(), "mlruns")
        held = _lake_held(home.data_dir / "lake")
        if with_lake:
            self._lake(home.data_dir / "lake")
        out = [*_OUTSIDE, *blanked]
        out += [text for name, text in LEFT_OUT.items() if not (with_lake and name == "lake")]
        manifest = {
            "format": _FORMAT,
            "program": version("ai-trading"),
            "created": now.isoformat(),
            "ledger_schema": SCHEMA_VERSION,
            "root": str(home.root),
            # As MLflow knows it.
            "mlruns": str(home.mlruns_dir.resolve()),
            "accounts": self._accounts,
            "lake": {"included": with_lake, "held": held},
            "left_out": out,
            "files": self._files,
        }
        self._out.writestr(_MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))

    def _config(self) -> list[str]:
        """Write the home's own configuration; the shipped one comes with the program."""
        folder = self._home.root / "config"
        url = self._settings.notify.webhook.url
        blanked = []
        for path in sorted(folder.rglob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            if url is not None and url.get_secret_value() in text:
                # Many services take the address itself as the key.
                value = re.escape(url.get_secret_value())
                text = re.sub(rf"([\"']?){value}\1", "null", text)
                blanked.append(f"{path.name}의 웹훅 주소(비밀로 여겨 비워 둠)")
            name = f"config/{path.relative_to(folder).as_posix()}"
            data = text.encode()
            self._out.writestr(name, data)
            self._files[name] = len(data), hashlib.sha256(data).hexdigest()
        return blanked

    def _tree(self, source: Path, name: str) -> None:
        """Write a file, or everything under a folder that is neither passing nor hidden."""
        passing = _PASSING.search(PurePosixPath(name).name)
        if source.is_symlink() or passing or not source.exists():
            return
        if source.is_dir():
            for path in sorted(source.iterdir()):
                self._tree(path, f"{name}/{path.name}")
        elif name.startswith("data/run/") and not _is_standing(source):
            return
        elif source.suffix == ".db":
            self._database(source, name)
        elif source.is_file() and source.name != "README.md":
            with suppress(FileNotFoundError):
                self._add(source, name)

    def _venue(self, path: Path) -> None:
        """Write the journal of a local exchange: as the running one says it, or from its file."""
        port = PortFile.read(path.with_name("port.json"))
        name = f"data/exchange/{path.parent.name}/{path.name}"
        if port is not None:
            try:
                copy = ControlDoor(port).copy_journal()
            except TransientBrokerError:
                log.info("거래소가 대답하지 않아 기록 파일에서 백업", path=str(path))
            else:
                try:
                    self._database(copy, name)
                finally:
                    copy.unlink(missing_ok=True)
                return
        self._database(path, name)

    def _database(self, path: Path, name: str) -> None:
        copy = self._work / "copy.db"
        try:
            with closing(_opened(path)) as source:
                copy_database(source, copy)
            if name.startswith("data/ledger/"):
                self._accounts.append(_account(path.stem, copy))
        except (sqlite3.Error, DataError) as error:
            if _is_full(error):
                raise
            raise DataError(f"백업할 수 없는 파일: {path} ({error})") from error
        self._add(copy, name)
        copy.unlink()

    def _lake(self, root: Path) -> None:
        """Write the lake: each dataset as it is between two writes."""
        for folder in sorted(root.glob("*/market=*/kind=*")):
            if folder.parts[-3] not in _LAKE_LAYERS:
                continue
            still = self._work / "still"
            # Files are replaced, never changed: a second name keeps each as it is.
            with locked(folder):
                _linked(folder, still)
            self._tree(still, f"data/lake/{folder.relative_to(root).as_posix()}")
            shutil.rmtree(still)
        for folder in sorted(root.glob("backfill/market=*")):
            for path in sorted(folder.glob("*.json")):
                self._add(path, f"data/lake/{path.relative_to(root).as_posix()}")

    def _add(self, path: Path, name: str) -> None:
        with path.open("rb") as source:
            info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            dense = path.suffix in _DENSE
            info.compress_type = zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED
            with self._out.open(info, "w", force_zip64=True) as sink:
                self._files[name] = _copied(source, sink)


def _is_standing(path: Path) -> bool:
    """Whether a file of ``data/run`` is the operator's word, not the sign of a living process."""
    return path.name == "HALT" or path.name.endswith(".control.json")


def _linked(folder: Path, still: Path) -> None:
    def put(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    shutil.copytree(folder, still, copy_function=put, ignore=shutil.ignore_patterns(".*"))


def _account(name: str, copy: Path) -> dict[str, Any]:
    """Return what a ledger has seen, for people and for the look at another machine."""
    with closing(SqliteLedger(copy, read_only=True)) as ledger:
        closed = closed_sessions(ledger)
        datasets = {record.body["dataset"] for record in ledger.read(RecordKind.RUN)}
    return {
        "name": name,
        "sessions": len(closed),
        "last_session": closed[-1].isoformat() if closed else None,
        "datasets": sorted(datasets - {None}),
    }


def _lake_held(root: Path) -> list[dict[str, Any]]:
    """Return what the clean layer holds: enough to fetch it again."""
    from trading.store import schema
    from trading.store.lake import Lake

    found = []
    lake = Lake(root)
    for market in Market:
        for kind in schema.KINDS:
            parts = lake.parts(market, kind) if root.is_dir() else {}
            if not parts:
                continue
            firsts = [part.first for part in parts.values() if part.first]
            lasts = [part.last for part in parts.values() if part.last]
            found.append(
                {
                    "market": str(market),
                    "kind": kind,
                    "first": min(firsts, default=None),
                    "last": max(lasts, default=None),
                    "rows": sum(part.rows for part in parts.values()),
                    "sources": sorted({s for part in parts.values() for s in part.sources}),
                    "files": {name: part.sha256 for name, part in sorted(parts.items())},
                }
            )
    return found


# -- reading one ----------------------------------------------------------------------------


def verify(archive: Path, work: Path | None = None) -> Contents:
    """Read every file of an archive, compare it with its hash, and return what it holds.

    ``work`` is a folder in which databases are opened for their own check; without it they are
    compared with their hashes only.

    Raises
    ------
    UsageError
        If there is no such file.
    DataError
        If it is no backup of this program, or not what was written.
    """
    with _read(archive) as (file, contents):
        for name, (size, sha256) in contents.manifest["files"].items():
            checks = work is not None and name.endswith(".db")
            target = work / "check.db" if work is not None and checks else None
            _extract(file, name, size, sha256, archive, target)
            if target is not None:
                with closing(sqlite3.connect(target)) as db:
                    found = db.execute("PRAGMA integrity_check").fetchone()[0]
                target.unlink()
                if found != "ok":
                    raise DataError(f"백업 안의 데이터베이스가 깨졌음: {name} ({found})")
        return contents


def contents_of(archive: Path) -> Contents:
    """Return what an archive says it holds, without reading its files; errors as ``verify``."""
    with _read(archive) as (_, contents):
        return contents


@contextmanager
def _read(archive: Path) -> Iterator[tuple[zipfile.ZipFile, Contents]]:
    if not archive.is_file():
        raise UsageError(f"백업 파일이 없음: {archive}")
    try:
        with zipfile.ZipFile(archive) as file:
            yield file, _contents(file, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"백업 파일이 잘렸거나 깨졌거나 백업이 아님: {archive} — 다른 백업을 쓰십시오."
        ) from error


def _contents(file: zipfile.ZipFile, archive: Path) -> Contents:
    try:
        manifest = json.loads(file.read(_MANIFEST))
        form, known = int(manifest["format"]), int(manifest["ledger_schema"])
        contents = Contents(manifest)
        names = [(name, int(size), str(sha)) for name, (size, sha) in manifest["files"].items()]
        _ = contents.created, contents.root, contents.accounts, contents.left_out, contents.has_lake
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"이 프로그램의 백업이 아님: {archive}") from error
    if form > _FORMAT or known > SCHEMA_VERSION:
        raise DataError(
            f"더 새 프로그램이 만든 백업이라 열지 않음: {archive} (프로그램 {manifest['program']}) — "
            "이 프로그램을 새 판으로 올린 뒤 되살리십시오."
        )
    held = set(file.namelist())
    for name, *_ in names:
        if not _is_ours(name):
            raise DataError(f"백업 안에 있을 수 없는 이름: {name!r} ({archive})")
        if name not in held:
            raise DataError(f"백업에 빠진 파일: {name} ({archive})")
    return contents


def _is_ours(name: str) -> bool:
    """Whether a name leads into a room of an installation, and nowhere else."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or "\0" in name or str(path) != name:
        return False
    if len(path.parts) < 2 or any(part in (".", "..") for part in path.parts):
        return False
    room, first = path.parts[:2]
    return room in _ROOMS and (room != "data" or first in KEPT or first == "lake")


def _extract(
    file: zipfile.ZipFile, name: str, size: int, sha256: str, archive: Path, target: Path | None
) -> None:
    """Read one file whole, to ``target`` if given; never more of it than its size."""
    with ExitStack() as stack:
        source = stack.enter_context(file.open(name))
        sink = stack.enter_context(_writable(target)) if target is not None else None
        found = _copied(source, sink, most=size)
    if found != (size, sha256):
        raise DataError(f"백업 안의 파일이 쓴 것과 다름: {name} ({archive})")


def _copied(source: IO[bytes], sink: IO[bytes] | None, most: int | None = None) -> tuple[int, str]:
    """Copy to the end and return size and sha256; beyond ``most`` bytes it stops."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if most is not None and size > most:
            break
        digest.update(chunk)
        if sink is not None:
            sink.write(chunk)
    return size, digest.hexdigest()


# -- the way back ---------------------------------------------------------------------------


def restore(archive: Path, root: Path, *, force: bool = False) -> Restored:
    """Put an archive into the home folder ``root``, wherever it was made.

    Everything is unpacked and compared with its hashes beside its place; only then do the folders
    take their places, each by one rename, along a plan that a killed restore goes on with.

    Raises
    ------
    UsageError
        If something is in the way and ``force`` does not move it aside; nothing has changed.
    DataError
        If the archive is damaged or not ours; nothing has changed.
    SessionBusyError
        While an account of the home is traded, or anything else runs in it.
    """
    root = root.expanduser().absolute()
    archive = archive.expanduser().absolute()
    # What is unpacked belongs to its user alone, as everything that the program writes.
    os.umask(0o077)
    finished = finish_restore(root)
    if finished is not None and finished.archive == archive:
        return finished
    with _explained(f"되살리지 못함: {archive}"), _read(archive) as (file, contents):
        root.mkdir(parents=True, exist_ok=True)
        with _alone_in(root, ".restore.lock"), ExitStack() as undo, ExitStack() as leases:
            moves = _staged(file, contents, archive, root, undo)
            for move in moves:
                if move.target.is_mount():
                    raise UsageError(
                        f"다른 디스크가 붙은 자리라 바꿀 수 없음: {move.target} — config/app.yaml의 paths로 "
                        "그 안의 폴더를 가리키게 한 백업이나, 다른 --root를 주십시오."
                    )
            in_the_way = [move.target for move in moves if _worthy(move.target)]
            if in_the_way and not force:
                raise UsageError(
                    f"비어 있지 않아 되살리지 않음: {', '.join(map(str, in_the_way))} — 지금 것을 옆으로 "
                    "옮기고 되살리려면 --force, 다른 곳에 되살리려면 다른 --root를 주십시오."
                )
            _hold_accounts(moves, leases)
            plan = {
                "archive": str(archive),
                "manifest": contents.manifest,
                "moves": [move.to_json() for move in moves],
            }
            write_durably(root / UNFINISHED_RESTORE, json.dumps(plan).encode())
            # From here on it only goes forward.
            undo.pop_all()
            done = _carry_out(root)
    log.info("백업에서 되살림", path=str(archive), root=str(root))
    return done


def finish_restore(root: Path) -> Restored | None:
    """Carry out what a restore that was killed had begun; ``None`` when there is nothing."""
    if not (root / UNFINISHED_RESTORE).exists():
        return None
    with _explained(f"복원을 마치지 못함: {root}"), _alone_in(root, ".restore.lock"):
        return _carry_out(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A room that stands ready in ``source`` and belongs at ``target``."""

    source: Path
    target: Path
    aside: Path

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}

    @property
    def changes_nothing(self) -> bool:
        """Whether the place holds just that already."""
        there, coming = _worthy(self.target), _worthy(self.source)
        return there.keys() == coming.keys() and all(
            cmp(path, coming[name], shallow=False) for name, path in there.items()
        )


def _worthy(folder: Path) -> dict[str, Path]:
    """Return the files of a folder but for those that every home has."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md" and path.suffix != ".lock"
    }


def _staged(
    file: zipfile.ZipFile, contents: Contents, archive: Path, root: Path, undo: ExitStack
) -> list[_Move]:
    """Unpack the archive beside the places where its rooms belong."""
    from trading.config import AppSettings, load_settings, read_yaml
    from trading.mlops import tracking

    manifest = contents.manifest
    stamp = f"{WallClock().now().astimezone(UTC):%Y%m%dT%H%M%S%f}"
    by_room: dict[str, list[str]] = {
        room: [n for n in manifest["files"] if n.startswith(f"{room}/")] for room in _ROOMS
    }

    def unpacked(room: str, target: Path) -> _Move:
        # Where the folder really is: a link to another disk stays one.
        target = target.resolve()
        stage = target.with_name(f".{room}.restoring")
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True, mode=0o700)
        undo.callback(shutil.rmtree, stage, ignore_errors=True)
        for name in by_room[room]:
            path = stage.joinpath(*PurePosixPath(name).parts[1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            size, sha256 = manifest["files"][name]
            _extract(file, name, size, sha256, archive, path)
        kept = target / "README.md"
        if kept.is_file():
            shutil.copy2(kept, stage / kept.name)
        return _Move(
            source=stage, target=target, aside=target.with_name(f"{target.name}.before-{stamp}")
        )

    moves = []
    if by_room["config"]:
        config = unpacked("config", root / "config")
        # Asked as a home would ask: a setting that this program does not know is told now.
        whole = config.source.with_name(f".settings-{stamp}.restoring")
        undo.callback(shutil.rmtree, whole, ignore_errors=True)
        shutil.copytree(config.source, whole / "config")
        paths = load_settings(whole).app.paths
        shutil.rmtree(whole)
        # A checkout comes with its configuration: what is the same is not in the way.
        if not config.changes_nothing:
            moves.append(config)
    else:
        paths = AppSettings.model_validate(read_yaml(config_dir_of(root) / "app.yaml")).paths
    moves.insert(0, unpacked("data", root / paths.data))
    mlruns = unpacked("mlruns", root / paths.mlruns)
    moves.insert(1, mlruns)
    tracking.relocate(
        mlruns.source,
        {manifest["mlruns"]: str(mlruns.target), contents.root: str(root)},
    )
    for move in moves:
        _sync_tree(move.source)
    return moves


def _hold_accounts(moves: Iterable[_Move], leases: ExitStack) -> None:
    """Keep sessions, and whatever watches or serves them, away until the process has done its work."""
    from filelock import FileLock, Timeout

    for move in moves:
        for path in (move.target / "run").glob("*.lock"):
            lock = FileLock(path, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise SessionBusyError(
                    f"이 폴더에서 도는 것이 있어 되살리지 않음: {path.stem} — 먼저 멈추십시오."
                ) from None
            leases.callback(lock.release)


def _carry_out(root: Path) -> Restored:
    """Take every step of the plan that is still to be taken, then drop the plan."""
    path = root / UNFINISHED_RESTORE
    plan = json.loads(path.read_text(encoding="utf-8"))
    moves = [_Move(**{k: Path(v) for k, v in move.items()}) for move in plan["moves"]]
    for move in moves:
        if not move.source.exists():
            continue
        if move.target.exists():
            move.target.rename(move.aside)
        move.source.rename(move.target)
        _sync(move.target.parent)
    path.unlink()
    _sync(root)
    for move in moves:
        if move.aside.exists() and not _worthy(move.aside):
            shutil.rmtree(move.aside)
    contents = Contents(plan["manifest"])
    datasets = {d for account in contents.accounts for d in account["datasets"]}
    return Restored(
        archive=Path(plan["archive"]),
        contents=contents,
        aside=tuple(move.aside for move in moves if move.aside.exists()),
        missing_datasets=tuple(sorted(d for d in datasets if not Path(d).exists())),
    )


# -- files ----------------------------------------------------------------------------------


def _opened(path: Path) -> sqlite3.Connection:
    # Through a name that SQLite does not take apart: "?" and "#" may be in a path.
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)


@contextmanager
def _writable(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file of ours alone; its bytes are on disk afterwards."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone_in(folder: Path, name: str = ".backup.lock") -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / name, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SessionBusyError(f"다른 백업이나 복원이 도는 중입니다: {folder}") from None
    try:
        yield
    finally:
        lock.release()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync(path)
    _sync(folder)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say in Korean what the disk or SQLite refused."""
    try:
        yield
    except OSError as error:
        reason = _REFUSED.get(error.errno or 0, f"파일을 다루지 못했습니다 ({error})")
        if error.errno in _NO_SPACE:
            reason = _FULL
        raise DataError(f"{what} — {reason}. 있던 것은 그대로입니다.") from error
    except sqlite3.Error as error:
        reason = _FULL if _is_full(error) else str(error)
        raise DataError(f"{what} — {reason}. 있던 것은 그대로입니다.") from error


def _is_full(error: Exception) -> bool:
    """Whether SQLite means that the disk took no more."""
    return isinstance(error, sqlite3.Error) and any(
        word in str(error) for word in ("is full", "disk I/O")
    )
