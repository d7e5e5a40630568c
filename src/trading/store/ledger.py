"""The append-only journal of one market's account, on disk (SQLite) or in memory.

What the records mean is the business of ``live`` and ``execution``; here they are only kept.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from trading.errors import DataError, LeaseLostError, LedgerError, MissingDataError
from trading.ports import Record, RecordKind

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    session TEXT NOT NULL,
    ts TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, key)
);
CREATE INDEX IF NOT EXISTS journal_session ON journal (session, seq);
CREATE TRIGGER IF NOT EXISTS journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, '장부는 고칠 수 없음'); END;
CREATE TRIGGER IF NOT EXISTS journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, '장부는 지울 수 없음'); END;
CREATE TABLE IF NOT EXISTS fence (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
"""
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
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._open = True
        self._fence: int | None = None
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            if read_only:
                self._connection.execute("PRAGMA query_only = ON")
            else:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error) or "malformed" in str(error):
                raise DataError(
                    f"장부 파일이 깨졌음: {path} — 사본으로 되돌리거나, 데모라면 --fresh로 새 계좌를 "
                    "시작해 주세요"
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
                f"SELECT {_COLUMNS} FROM journal{where} ORDER BY seq", values
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


def _sentence(error: sqlite3.Error, path: Path) -> str:
    """Return what the operator should know of a ledger that takes nothing."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        reason = "디스크에 자리가 없어 장부를 쓰지 못했습니다"
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
