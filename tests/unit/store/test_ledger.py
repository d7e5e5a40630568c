"""The journal keeps what it was told, once, in order, and never changes it."""

import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from trading.errors import DataError, LeaseLostError, LedgerError, MissingDataError
from trading.ports import Ledger, Record, RecordKind
from trading.store.ledger import MemoryLedger, SqliteLedger

SESSION = date(2005, 2, 28)
TS = datetime(2005, 2, 28, 14, 30, tzinfo=UTC)


def record(kind: RecordKind = RecordKind.INTENT, key: str = "a", **body: object) -> Record:
    return Record(kind=kind, key=key, session=SESSION, ts=TS, body=body)


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return SqliteLedger(tmp_path / "book.db") if request.param == "sqlite" else MemoryLedger()


def test_reads_back_in_order_of_writing(ledger: Ledger):
    """What was appended comes back equal, numbered from 1, with its instant in UTC."""
    seoul = timezone(timedelta(hours=9))
    other = Record(
        kind=RecordKind.FILL,
        key="b",
        session=date(2005, 3, 1),
        ts=datetime(2005, 3, 1, 23, 30, tzinfo=seoul),
        body={"이름": "체결", "parts": [1, 2.5, None]},
    )

    assert ledger.append(record(quantity=3), other) == 2

    first, second = ledger.read()
    assert (first.seq, first.body) == (1, {"quantity": 3})
    assert (second.seq, second.body, second.ts) == (2, other.body, other.ts)
    assert second.ts.tzinfo == UTC


def test_same_key_is_written_once(ledger: Ledger):
    """A second record of the same kind and key changes nothing, in one append or in two."""
    assert ledger.append(record(n=1), record(n=2)) == 1
    assert ledger.append(record(n=3), record(RecordKind.UPDATE, n=4)) == 1

    assert [(r.kind, r.body["n"]) for r in ledger.read()] == [("intent", 1), ("update", 4)]


def test_filters(ledger: Ledger):
    """Kinds, session and key narrow the reading, alone and together."""
    ledger.append(
        record(key="1"),
        record(RecordKind.FILL, "2"),
        Record(kind=RecordKind.FILL, key="3", session=date(2005, 3, 1), ts=TS),
    )

    assert [r.key for r in ledger.read(RecordKind.FILL)] == ["2", "3"]
    assert [r.key for r in ledger.read(session=SESSION)] == ["1", "2"]
    assert [r.key for r in ledger.read(RecordKind.FILL, session=SESSION)] == ["2"]
    assert [r.key for r in ledger.read(key="3")] == ["3"]
    assert [r.key for r in ledger.read(RecordKind.INTENT, RecordKind.FILL)] == ["1", "2", "3"]


def test_refuses_what_it_could_not_give_back(ledger: Ledger):
    """Naive instants and values that are no JSON are errors, and nothing of the append stays."""
    naive = Record(kind=RecordKind.RUN, key="x", session=SESSION, ts=datetime(2005, 2, 28))  # noqa: DTZ001

    with pytest.raises(ValueError, match="시간대"):
        ledger.append(record(), naive)
    with pytest.raises(ValueError):
        ledger.append(record(), record(key="b", price=float("nan")))

    assert list(ledger.read()) == []


def test_closed_ledger_fails(ledger: Ledger):
    """After closing, neither reading nor writing works."""
    ledger.close()

    with pytest.raises(ValueError, match="닫힌"):
        ledger.append(record())
    with pytest.raises(ValueError, match="닫힌"):
        ledger.read()


def test_readable_while_written(tmp_path: Path):
    """Another connection sees what is committed while the session goes on writing."""
    writer = SqliteLedger(tmp_path / "book.db")
    writer.append(record(key="1"))
    reader = SqliteLedger(tmp_path / "book.db", read_only=True)

    seen = reader.read()
    writer.append(record(key="2"))

    assert [r.key for r in seen] == ["1"]
    assert [r.key for r in reader.read()] == ["1", "2"]
    with pytest.raises(LedgerError, match="쓰기 권한"):
        reader.append(record(key="3"))


def test_history_cannot_be_changed(tmp_path: Path):
    """Rows can be neither updated nor deleted, even around this class."""
    SqliteLedger(tmp_path / "book.db").append(record())
    connection = sqlite3.connect(tmp_path / "book.db")

    for statement in ("UPDATE journal SET key = 'z'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="장부"):
            connection.execute(statement)


def test_committed_rows_survive_a_killed_writer(tmp_path: Path):
    """A process that dies right after append leaves every record of that append."""
    program = """
import os, sys
from datetime import UTC, date, datetime
from pathlib import Path
from trading.ports import Record, RecordKind
from trading.store.ledger import SqliteLedger
book = SqliteLedger(Path(sys.argv[1]))
ts = datetime(2005, 2, 28, tzinfo=UTC)
book.append(*(Record(kind=RecordKind.INTENT, key=str(n), session=ts.date(), ts=ts) for n in range(3)))
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "book.db")], check=False)

    assert done.returncode == -9
    assert [r.key for r in SqliteLedger(tmp_path / "book.db").read()] == ["0", "1", "2"]


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path):
    """An intent must outlive the machine that loses its power a moment later."""
    ledger = SqliteLedger(tmp_path / "ledger.db")

    # 2 is FULL (sqlite.org/pragma.html#pragma_synchronous).
    assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger.close()


def test_who_lost_the_fence_writes_no_more(tmp_path: Path):
    """Who claims the account last writes it; a handle that only reads takes nothing over."""
    first, second = SqliteLedger(tmp_path / "book.db"), SqliteLedger(tmp_path / "book.db")
    first.append(record(key="1"))
    list(second.read())
    first.append(record(key="2"))

    second.claim()

    with pytest.raises(LeaseLostError, match="넘겨받아"):
        first.append(record(key="3"))
    assert second.append(record(key="4")) == 1
    with pytest.raises(LeaseLostError):
        first.append(record(key="5"))
    assert [r.key for r in first.read()] == ["1", "2", "4"]


def test_a_full_disk_writes_nothing_and_recovers(tmp_path: Path):
    """A transaction that finds no room is told in Korean, leaves nothing, and can be repeated."""
    ledger = SqliteLedger(tmp_path / "book.db")
    ledger.append(record(key="1"))
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(LedgerError, match="디스크에 자리가 없어"):
        ledger.append(*(record(key=str(n), body={"text": "x" * 500}) for n in range(100, 140)))
    ledger._connection.execute("PRAGMA max_page_count = 1000000")

    assert [r.key for r in ledger.read()] == ["1"]
    assert ledger.append(record(key="2")) == 1


def test_a_locked_ledger_is_said(tmp_path: Path, monkeypatch):
    """Another program that keeps the file locked stops the writer with its reason."""
    monkeypatch.setattr("trading.store.ledger._BUSY_SECONDS", 0.05)
    ledger = SqliteLedger(tmp_path / "book.db")
    other = sqlite3.connect(tmp_path / "book.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerError, match="놓지 않습니다"):
        ledger.append(record(key="1"))
    other.execute("ROLLBACK")

    assert ledger.append(record(key="1")) == 1


def test_opening_says_what_is_wrong(tmp_path: Path):
    """A missing file for a reader, and a file that is no journal, are named in Korean."""
    with pytest.raises(MissingDataError, match="장부가 없음"):
        SqliteLedger(tmp_path / "none.db", read_only=True)
    (tmp_path / "bad.db").write_text("이것은 장부가 아니다" * 100)
    with pytest.raises(DataError, match=r"bad\.db"):
        SqliteLedger(tmp_path / "bad.db")
