"""The append-only journal of one market's account, on disk (SQLite) or in memory.

What the records mean is the business of ``live`` and ``execution``; here they are only kept. The
file says which shape it has (``PRAGMA user_version``): an older one is brought forward when it is
opened to be written, a newer one than this program knows is refused.
"""

import contextlib
import json
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from trading.errors import DataError, LeaseLostError, LedgerError, MissingDataError
from trading.ports import Record, RecordKind

# One entry a version, oldest first. Each may find its work done: files made before the versions
# were numbered say 0, and have the first shape or the second.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE IF NOT EXISTS journal (
            seq INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            session TEXT NOT NULL,
            ts TEXT NOT NULL,
            body TEXT NOT NULL,
            UNIQUE (kind, key)
        )
        """,
        "CREATE INDEX IF NOT EXISTS journal_session ON journal (session, seq)",
        """
        CREATE TRIGGER IF NOT EXISTS journal_no_update BEFORE UPDATE ON journal
        BEGIN SELECT RAISE(ABORT, '장부는 고칠 수 없음'); END
        """,
        """
        CREATE TRIGGER IF NOT EXISTS journal_no_delete BEFORE DELETE ON journal
        BEGIN SELECT RAISE(ABORT, '장부는 지울 수 없음'); END
        """,
    ),
    (
        """
        CREATE TABLE IF NOT EXISTS fence (
            id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL
        )
        """,
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)
_COLUMNS = "seq, kind, key, session, ts, body"
_BUSY_SECONDS = 30.0


class SqliteLedger:
    """A journal file: WAL, synchronous=FULL, one transaction per append, readable while written.

    ``read_only`` opens an existing file for a reader beside the session that writes it.

    Who writes holds the fence: a number in the file, raised by each holder at its first append or
    by ``claim``, and compared in the transaction of every append. A process that slept through
    the loss of its lease finds a higher number and writes nothing more.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.is_file():
            raise MissingDataError(f"장부가 없음: {path}")
        self._lock = threading.Lock()
        self._open = True
        self._fence: int | None = None
        try:
            if not read_only:
                _make_private(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            _check_known(self._connection, path)
            if read_only:
                self._connection.execute("PRAGMA query_only = ON")
            else:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                _migrate(self._connection, path)
        except OSError as error:
            raise DataError(f"장부를 열 수 없음: {path}: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error) or "malformed" in str(error):
                raise DataError(
                    f"장부 파일이 깨졌음: {path} — trading restore로 백업에서 되살리거나, 데모라면 "
                    "--fresh로 새 계좌를 시작해 주세요"
                ) from error
            raise DataError(f"장부를 열 수 없음: {path}: {error}") from error

    def claim(self) -> None:
        """Take the account over: whoever wrote it before writes no more."""
        with self._lock:
            self._check_open()
            self._transact([], is_claim=True)

    def append(self, *records: Record) -> int:
        """Write the records in one transaction, durable on return; see ``ports.Ledger``."""
        rows = [_row(record) for record in records]
        with self._lock:
            self._check_open()
            return self._transact(rows, is_claim=self._fence is None)

    def _transact(self, rows: list[tuple[str, str, str, str, str]], *, is_claim: bool) -> int:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            fence = self._fenced(is_claim=is_claim)
            before = self._connection.total_changes
            self._connection.executemany(
                "INSERT OR IGNORE INTO journal (kind, key, session, ts, body)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            written = self._connection.total_changes - before
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise LedgerError(_sentence(error, self.path)) from error
        except BaseException:
            self._roll_back()
            raise
        self._fence = fence
        return written

    def _fenced(self, *, is_claim: bool) -> int:
        row = self._connection.execute("SELECT number FROM fence").fetchone()
        number = int(row[0]) if row is not None else 0
        if is_claim:
            self._connection.execute("INSERT OR REPLACE INTO fence VALUES (1, ?)", (number + 1,))
            return number + 1
        if number != self._fence:
            raise LeaseLostError(
                "다른 실행이 이 계좌를 넘겨받아 주문을 멈췄습니다. 이 실행은 끝내고, 도는 실행이 하나인지 "
                "확인해 주십시오."
            )
        return number

    def _roll_back(self) -> None:
        # SQLite may have ended the transaction itself, or be unable to end it: closing does.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield records in the order of writing, as they were when the reading began."""
        conditions: list[str] = []
        values: list[str] = []
        if kinds:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values.extend(str(kind) for kind in kinds)
        if session is not None:
            conditions.append("session = ?")
            values.append(session.isoformat())
        if key is not None:
            conditions.append("key = ?")
            values.append(key)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._lock:
            self._check_open()
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM journal{where} ORDER BY seq",  # noqa: S608 (the conditions are ours; their values are parameters)
                values,
            ).fetchall()
        return (_record(*row) for row in rows)

    def close(self) -> None:
        """Release the file; later calls fail."""
        with self._lock:
            self._open = False
            self._connection.close()

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("닫힌 장부는 쓸 수 없음")


class MemoryLedger:
    """The same journal without a file; for backtests."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._keys: set[tuple[str, str]] = set()
        self._open = True

    def append(self, *records: Record) -> int:
        """Keep the records; see ``ports.Ledger``."""
        rows = [_row(record) for record in records]
        self._check_open()
        before = len(self._rows)
        for row in rows:
            if row[:2] not in self._keys:
                self._keys.add(row[:2])
                self._rows.append(row)
        return len(self._rows) - before

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield records in the order of writing, as they were when the reading began."""
        self._check_open()
        wanted = {str(kind) for kind in kinds}
        day = session.isoformat() if session is not None else None
        rows = [
            (number, *row)
            for number, row in enumerate(self._rows, start=1)
            if (not wanted or row[0] in wanted)
            and (key is None or row[1] == key)
            and (day is None or row[2] == day)
        ]
        return (_record(*row) for row in rows)

    def close(self) -> None:
        """Forget that it is open; later calls fail."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("닫힌 장부는 쓸 수 없음")


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Write what a database holds to a new file of its own, whole, checked and on disk.

    Others may write the source meanwhile: the copy is as it was at one instant. What is at
    ``target`` is replaced when the copy is good.

    Raises
    ------
    DataError
        If the copy is not sound: then the source is damaged.
    """
    fresh = target.with_name(f".{target.name}.tmp")
    fresh.unlink(missing_ok=True)
    try:
        _make_private(fresh)
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as copy:
            source.backup(copy)
            # A file that needs no second one beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise DataError(f"깨진 데이터베이스라 사본을 만들 수 없음: {target.name} ({found})")
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    """Let there be a file that its owner alone reads; what SQLite puts beside it is like it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_known(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that a newer program has written: it may mean more than this one reads."""
    version = _version(connection)
    if version > SCHEMA_VERSION:
        connection.close()
        raise DataError(
            f"장부가 이 프로그램보다 새것이라 열지 않음: {path} (장부 {version}판, 이 프로그램이 아는 것은 "
            f"{SCHEMA_VERSION}판까지) — 프로그램을 새 판으로 올려 주십시오. 장부는 그대로입니다."
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the present version in one transaction; what it was is kept beside it."""
    if _version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it while this one waited.
        version = _version(connection)
        _check_known(connection, path)
        has_records = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'journal'"
        ).fetchone()
        if version < SCHEMA_VERSION and has_records:
            # Through a second connection: it sees the file as it was before the transaction.
            with contextlib.closing(sqlite3.connect(path)) as before:
                copy_database(before, path.with_name(f"{path.stem}.v{version}.bak"))
        for step in _MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _sentence(error: sqlite3.Error, path: Path) -> str:
    """Return what the operator should know of a ledger that takes nothing."""
    text = str(error)
    if "full" in text:
        reason = "디스크에 자리가 없어 장부를 쓰지 못했습니다"
    elif "disk I/O" in text:
        # Its files beside the ledger find no room by this name, too.
        reason = "디스크에 자리가 없거나 디스크가 고장 나 장부를 쓰지 못했습니다"
    elif "locked" in text or "busy" in text:
        reason = "다른 프로그램이 장부를 잡고 놓지 않습니다"
    elif "readonly" in text:
        reason = "장부에 쓰기 권한이 없습니다"
    else:
        reason = f"장부를 쓰지 못했습니다 ({text})"
    return f"{reason}: {path}. 주문을 멈췄습니다. 고친 뒤 같은 명령을 다시 치면 이어서 합니다."


def _row(record: Record) -> tuple[str, str, str, str, str]:
    if record.ts.tzinfo is None:
        raise ValueError(f"시간대가 없는 시각은 장부에 쓸 수 없음: {record.kind} {record.key}")
    return (
        str(record.kind),
        record.key,
        record.session.isoformat(),
        record.ts.astimezone(UTC).isoformat(timespec="microseconds"),
        _text(record.body),
    )


def _text(body: Mapping[str, Any]) -> str:
    return json.dumps(dict(body), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _record(seq: int, kind: str, key: str, session: str, ts: str, body: str) -> Record:
    return Record(
        kind=RecordKind(kind),
        key=key,
        session=date.fromisoformat(session),
        ts=datetime.fromisoformat(ts),
        body=json.loads(body),
        seq=seq,
    )
