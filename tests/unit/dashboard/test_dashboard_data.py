"""What the pages read when files are missing, broken, or change under their hands."""

import contextlib
import json
import socket
import sqlite3
from datetime import UTC, date, datetime

import pytest

from trading import bootstrap, config
from trading.dashboard import data, frame, server
from trading.dashboard.data import Account
from trading.domain.instrument import Market
from trading.errors import DataError, MissingDataError
from trading.ports import Record, RecordKind

US = Account(env="demo", market=Market.US)


@pytest.fixture
def empty(home):
    """Return a home in which nothing was ever done."""
    return config.resolve_root(home)


def test_an_empty_home_has_nothing_and_says_so(empty):
    """Each reading tells how one gets what is not there; none writes."""
    assert data.accounts(empty) == []
    assert data.models(empty, Market.US) == []
    assert data.health_history(empty, Market.US) == []
    assert data.log_files(empty, "trading") == []
    assert data.names(empty, Market.US) == {}
    assert data.heartbeat(empty, US) is None
    with pytest.raises(MissingDataError, match="trading demo"):
        data.lake_status(empty)
    with pytest.raises(MissingDataError, match="아직 거래한 기록이 없습니다"):
        data.story(empty, US)

    assert list(empty.root.iterdir()) == []


def test_accounts_are_the_ledgers(empty):
    """Both markets and every environment, in a fixed order; other and empty files are none."""
    folder = empty.data_dir / "ledger"
    folder.mkdir(parents=True)
    for name in ("real-krx.db", "demo-us.db", "demo-krx.db", "demo-us.db-wal", "notes.db"):
        (folder / name).write_bytes(b"x")
    (folder / "paper-us.db").touch()

    found = data.accounts(empty)

    assert [f"{one.env}-{one.market}" for one in found] == ["demo-krx", "demo-us", "real-krx"]
    assert found[0].name == "데모 · 한국"


def test_a_ledger_without_tables_is_said(empty):
    """SQLite's English stays out of the sentence's head; the file and what to do are in it."""
    path = empty.data_dir / "ledger" / "demo-us.db"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (one INTEGER)")

    for read in (data.story, data.orders, data.account_now):
        with pytest.raises(DataError, match=r"장부를 읽지 못했습니다: .*demo-us\.db"):
            read(empty, US)


def test_a_damaged_row_of_a_ledger_is_said_and_stops_nobody(empty):
    """The pages say which ledger; the server starts, so that there are pages to say it."""
    book = bootstrap.open_ledger(empty, "demo", Market.US)
    book.append(
        Record(
            kind=RecordKind.SESSION, key="2024-01-02:opened", session=date(2024, 1, 2),
            ts=datetime(2024, 1, 2, tzinfo=UTC), body={},
        )
    )  # fmt: skip
    book.close()
    path = empty.data_dir / "ledger" / "demo-us.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TRIGGER journal_no_update")
        db.execute("UPDATE journal SET body = '{'")

    with pytest.raises(DataError, match=r"장부를 읽지 못했습니다: .*demo-us\.db"):
        data.account_now(empty, US)
    with socket.socket() as probe:
        probe.bind((server.HOST, 0))
        port = probe.getsockname()[1]
    server.prepare(bootstrap.open_home(empty.root, console=False), port)


def test_a_file_is_read_again_when_it_changes(tmp_path):
    """And not before: what was read is kept."""
    path = tmp_path / "one.json"
    path.write_text('{"a": 1}')
    first = data.read_json(path, "힌트")

    assert data.read_json(path, "힌트") is first
    path.write_text('{"a": 22}')
    assert data.read_json(path, "힌트") == {"a": 22}


def test_missing_and_broken_files_are_told_apart(tmp_path):
    """The sentence names the file and how one gets it."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"a": ')

    with pytest.raises(MissingDataError, match=r"아직 없습니다: .*none\.json\. 세션이"):
        data.read_json(tmp_path / "none.json", "세션이 남깁니다.")
    with pytest.raises(DataError, match=r"읽을 수 없는 파일입니다: .*broken\.json") as told:
        data.read_json(broken, "세션이 남깁니다.")
    assert not isinstance(told.value, MissingDataError)


def test_another_accounts_report_is_not_shown_as_ones_own(empty):
    """Paper and real traded the same day: each has its own folder, as its ledger is its own."""
    day = date(2024, 1, 4)
    paper, real = (Account(env=env, market=Market.US) for env in ("paper", "real"))
    folder = empty.data_dir / "reports" / "real-us" / str(day)
    folder.mkdir(parents=True)
    (folder / "risk.json").write_text('{"equity": 1}')

    assert data.report(empty, real, day, "risk") == {"equity": 1}
    with pytest.raises(MissingDataError, match="아직 없습니다"):
        data.report(empty, paper, day, "risk")


def test_a_broken_heartbeat_is_said(empty):
    """Half a file is no sign of life and no English stack."""
    path = empty.data_dir / "run" / "demo-us.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"pid": 1')

    with pytest.raises(DataError, match="심박 파일을 읽을 수 없습니다"):
        data.heartbeat(empty, US)


def test_the_end_of_a_log_newest_first(tmp_path):
    """Lines that are no JSON, or were cut while being written, are counted."""
    path = tmp_path / "trading.jsonl"
    lines = [json.dumps({"event": f"일 {number}"}) for number in range(3)]
    path.write_text("\n".join([*lines, "no json", "[1]", '{"event": "잘']), encoding="utf-8")

    page = data.log_tail(path)

    assert [line["event"] for line in page.lines] == ["일 2", "일 1", "일 0"]
    assert page.broken == 3
    assert not page.is_cut


def test_a_long_log_is_read_from_its_end(tmp_path):
    """Only so many bytes, beginning with a whole line."""
    path = tmp_path / "trading.jsonl"
    line = json.dumps({"event": "일", "filler": "x" * 1000})
    path.write_text("\n".join([line] * 5000) + "\n", encoding="utf-8")

    page = data.log_tail(path)

    assert page.is_cut
    assert page.broken == 0
    assert 3000 < len(page.lines) < 4500


def test_signs_are_no_markdown():
    """Two dollars in a sentence are no formula, a file name no emphasis."""
    assert frame.plain("$1 · $2 a_b*c") == r"\$1 · \$2 a\_b\*c"
