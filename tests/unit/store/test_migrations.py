"""A ledger of any age is brought forward whole, or stays what it was."""

import hashlib
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from trading.errors import DataError
from trading.ports import Record, RecordKind
from trading.store.ledger import SCHEMA_VERSION, SqliteLedger

# What the first program that kept a ledger ran, and what the second one added: neither numbered it.
FIRST = """
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
"""
SECOND = (
    FIRST
    + """
CREATE TABLE IF NOT EXISTS fence (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
INSERT INTO fence VALUES (1, 7);
"""
)
ROWS = [
    ("run", "run:us-2005-02-28", "2005-02-28", "2026-11-20T13:10:00.000000+00:00", '{"n":1}'),
    ("intent", "us-2005-02-28-1", "2005-02-28", "2026-11-20T13:11:00.000000+00:00", '{"이름":"가"}'),
]  # fmt: skip
LATER = Record(
    kind=RecordKind.FILL, key="x", session=date(2005, 3, 1), ts=datetime(2005, 3, 1, 15, tzinfo=UTC)
)


def made_by(schema: str, path: Path) -> Path:
    """Return a ledger as a program of then left it, killed before its last checkpoint or not."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(schema)
        db.executemany(
            "INSERT INTO journal (kind, key, session, ts, body) VALUES (?, ?, ?, ?, ?)", ROWS
        )
    return path


def rows(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(
            "SELECT kind, key, session, ts, body FROM journal ORDER BY seq"
        ).fetchall()


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("schema", [FIRST, SECOND], ids=["first", "second"])
def test_an_old_ledger_is_brought_forward_and_a_copy_stays(schema, tmp_path):
    """Every record is there, the next one is taken, the fence holds, the former file lies beside."""
    path = made_by(schema, tmp_path / "demo-us.db")

    ledger = SqliteLedger(path)

    assert [(str(r.kind), r.key, r.body) for r in ledger.read()] == [
        ("run", "run:us-2005-02-28", {"n": 1}),
        ("intent", "us-2005-02-28-1", {"이름": "가"}),
    ]
    assert ledger.append(LATER) == 1
    ledger.close()
    assert version(path) == SCHEMA_VERSION
    assert rows(path)[:2] == ROWS
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT number FROM fence").fetchone() == (
            (8,) if schema is SECOND else (1,)
        )
        with pytest.raises(sqlite3.IntegrityError, match="고칠 수 없음"):
            db.execute("UPDATE journal SET key = 'y'")
    copy = tmp_path / "demo-us.v0.bak"
    assert (version(copy), rows(copy)) == (0, ROWS)
    assert copy.stat().st_mode & 0o077 == 0


def test_it_is_done_once(tmp_path):
    """A ledger of today is opened as it is: no second copy, not even of a new one."""
    path = made_by(FIRST, tmp_path / "demo-us.db")
    SqliteLedger(path).close()
    (tmp_path / "demo-us.v0.bak").unlink()

    SqliteLedger(path).close()
    SqliteLedger(tmp_path / "new.db").close()

    assert version(tmp_path / "new.db") == SCHEMA_VERSION
    assert {p.suffix for p in tmp_path.iterdir()} == {".db"}


def test_a_reader_takes_an_old_one_as_it_is(tmp_path):
    """Who only reads changes nothing."""
    path = made_by(FIRST, tmp_path / "demo-us.db")

    reader = SqliteLedger(path, read_only=True)

    assert len(list(reader.read())) == 2
    reader.close()
    assert version(path) == 0
    assert not list(tmp_path.glob("*.bak"))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_ledger_is_refused(read_only, tmp_path):
    """What a newer program wrote is neither read nor written; the file stays to the byte."""
    path = made_by(SECOND, tmp_path / "demo-us.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = hashlib.sha256(path.read_bytes()).digest()

    with pytest.raises(DataError, match=f"{SCHEMA_VERSION + 1}판.*새 판으로 올려"):
        SqliteLedger(path, read_only=read_only)

    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_without_a_copy_nothing_is_changed(tmp_path):
    """Where the copy cannot be made the ledger keeps its shape, and the next try succeeds."""
    path = made_by(FIRST, tmp_path / "demo-us.db")
    in_the_way = tmp_path / "demo-us.v0.bak"
    in_the_way.mkdir()

    with pytest.raises(DataError, match="장부를 열 수 없음"):
        SqliteLedger(path)

    assert (version(path), rows(path)) == (0, ROWS)
    in_the_way.rmdir()
    SqliteLedger(path).close()
    assert version(path) == SCHEMA_VERSION


def test_two_that_open_it_at_once(tmp_path):
    """One brings it forward, the other finds it done."""
    path = made_by(FIRST, tmp_path / "demo-us.db")
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            SqliteLedger(path).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert (version(path), rows(path)) == (SCHEMA_VERSION, ROWS)
