"""The exchange's durable memory: facts by kind and key in one SQLite file.

What the facts mean is the business of those who write them: ``venue`` and ``gate``.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from trading.errors import DataError, UsageError

# The part of an extended result code that says what went wrong.
_PRIMARY = 0xFF


class Fact(NamedTuple):
    """The present state of one thing; ``session`` (ISO date or "") makes old days findable."""

    kind: str
    key: str
    session: str
    body: Mapping[str, Any]


class Journal:
    """Facts that survive ``kill -9``: each commit is one transaction, on disk when it returns.

    The file belongs to one process at a time; a second one is refused with a sentence.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The files that SQLite puts beside it get the rights that it has when they are made.
        path.touch(mode=0o600)
        # Held by one thread at a time (the server's loop), but opened by another in tests.
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS fact (kind TEXT, key TEXT, session TEXT, body TEXT,"
                " PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS fact_session ON fact (kind, session, key)")
        except sqlite3.DatabaseError as error:
            self._db.close()
            if error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_BUSY:
                raise UsageError(
                    f"이 이름의 거래소가 이미 실행 중이라 기록을 열 수 없음: {path.parent}"
                ) from error
            if not isinstance(error, sqlite3.OperationalError):
                raise DataError(f"거래소 기록이 깨졌음: {path}") from error
            # A disk that is full or may not be written is no other exchange.
            raise

    def commit(self, *facts: Fact) -> None:
        """Write the facts in one transaction, each replacing what its key held before."""
        if not facts:
            return
        rows = [
            (fact.kind, fact.key, fact.session, json.dumps(fact.body, ensure_ascii=False))
            for fact in facts
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the body under ``key``, or ``None``."""
        row = self._db.execute(
            "SELECT body FROM fact WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def read(self, kind: str, *, first: str = "", last: str = "9999") -> Iterator[Fact]:
        """Yield the facts of ``kind`` whose session lies in the range, in order of key."""
        for key, session, body in self._db.execute(
            "SELECT key, session, body FROM fact WHERE kind = ? AND session BETWEEN ? AND ?"
            " ORDER BY key",
            (kind, first, last),
        ):
            yield Fact(kind, key, session, json.loads(body))

    def copy(self) -> Path:
        """Write all facts to a file beside the journal, which nobody else may open meanwhile."""
        target = self._path.with_name(f"{self._path.name}.copy")
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        with closing(sqlite3.connect(target)) as copy:
            self._db.backup(copy)
        return target

    def close(self) -> None:
        """Release the file."""
        self._db.close()
