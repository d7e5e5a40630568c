"""What is said of a journal that cannot be opened."""

import resource
import sqlite3

import pytest

from trading.errors import DataError, UsageError
from trading.exchange.journal import Journal


@pytest.fixture
def no_room():
    """No file grows: as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_no_second_exchange(tmp_path, no_room):
    """The user is sent to the disk, not to look for a process that is not there."""
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        Journal(tmp_path / "journal.db")


def test_a_second_exchange_of_the_name_is_refused(tmp_path):
    """Two venues of one memory would undo each other."""
    first = Journal(tmp_path / "journal.db")
    try:
        with pytest.raises(UsageError, match="이미 실행 중"):
            Journal(tmp_path / "journal.db")
    finally:
        first.close()


def test_a_journal_that_is_none_is_named(tmp_path):
    """A damaged file is said to be damaged."""
    (tmp_path / "journal.db").write_bytes(b"no database" * 1000)

    with pytest.raises(DataError, match=r"깨졌음.*journal\.db"):
        Journal(tmp_path / "journal.db")
