"""What an exchange knows can be copied while it runs, though nobody else may open its journal."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from venue_home import SESSION, Venue


def test_the_copy_is_the_journal_of_that_moment(tmp_path):
    """Every fact is in it; it is the owner's alone, replaced by the next, and the venue goes on."""
    venue = Venue(tmp_path / "venue")
    try:
        journal = tmp_path / "venue" / "journal.db"
        with (
            closing(sqlite3.connect(journal, timeout=0)) as db,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            db.execute("SELECT * FROM fact")

        for _ in range(2):
            copy = Path(venue.control("copy")["copy"])

            assert copy.stat().st_mode & 0o077 == 0
            with closing(sqlite3.connect(copy)) as db:
                facts = set(db.execute("SELECT kind, key FROM fact"))
            known = {
                (kind, fact.key)
                for (kind,) in {(kind,) for kind, _ in facts}
                for fact in venue.server._journal.read(kind)
            }
            assert facts and facts == known
        assert venue.control("session", session=SESSION)["session"] == SESSION
    finally:
        venue.stop()


def test_only_for_who_has_the_token(tmp_path):
    """Without the token of the port file no copy is made."""
    venue = Venue(tmp_path / "venue")
    try:
        answer = httpx.post(f"{venue.base}/control/copy", json={})

        assert answer.status_code == 403
        assert not (tmp_path / "venue" / "journal.db.copy").exists()
    finally:
        venue.stop()
