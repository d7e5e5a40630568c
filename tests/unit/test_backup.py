"""A backup holds everything that cannot be fetched again, no secret, and comes back whole or not at all."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from trading import backup
from trading.bootstrap import open_home
from trading.clock import WallClock
from trading.config import Home, Settings, load_settings, resolve_root
from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError, DataError, SessionBusyError, UsageError
from trading.notify import open_notifier
from trading.ports import Record, RecordKind
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake
from trading.store.ledger import SqliteLedger

FIRST, LAST = date(2005, 2, 22), date(2005, 2, 25)
TOKEN = "an-access-token-that-must-stay-here"
HOOK = "https://hooks.example.com/services/T000/B000/very-secret"
MODEL = Path(__file__).parents[1] / "parity" / "pinned" / "forest"
HELD = {
    "config/app.yaml",
    "data/ledger/demo-us.db",
    "data/exchange/demo-us/journal.db",
    "data/outbox.db",
    "data/models/us/forest/1/model.json",
    "data/models/us/forest/1/model.safetensors",
    "data/run/HALT",
    "data/run/demo-us.control.json",
}


def records(path: Path) -> list[Record]:
    with closing(SqliteLedger(path, read_only=True)) as ledger:
        return list(ledger.read())


def decision(number: int) -> Record:
    ts = datetime(2005, 2, 25, 15, tzinfo=UTC)
    return Record(
        kind=RecordKind.DECISION, key=str(number), session=LAST, ts=ts, body={"n": number}
    )


@pytest.fixture
def lived_in(home: Path) -> Path:
    """A home that has traded, with recorded bars in its lake, and with secrets where they belong."""
    shutil.copytree(shipped_config_dir(), home / "config")
    data = home / "data"
    run = {"dataset": None, "run_id": "us", "market": "us"}
    ledger = SqliteLedger(data / "ledger" / "demo-us.db")
    ts = datetime(2005, 2, 25, 21, tzinfo=UTC)
    ledger.append(
        Record(kind=RecordKind.RUN, key="run:us", session=LAST, ts=ts, body=run), decision(0)
    )
    ledger.close()
    (data / "exchange" / "demo-us").mkdir(parents=True)
    with closing(sqlite3.connect(data / "exchange" / "demo-us" / "journal.db")) as db:
        db.execute("CREATE TABLE fact (kind TEXT)")
    (data / "exchange" / "demo-us" / "port.json").write_text(json.dumps({"token": TOKEN}) + "{")
    open_notifier(load_settings(home).notify, path=data / "outbox.db", clock=WallClock())
    shutil.copytree(MODEL, data / "models" / "us" / "forest" / "1")
    lake, source = Lake(data / "lake"), EmbeddedSource()
    lake.upsert(
        Market.US, "daily", source.daily(Market.US, ["IBM"], FIRST, LAST).assign(source="x")
    )
    for folder, name, text in (
        ("broker", "kis-token-1.json", TOKEN),
        ("run", "HALT", ""),
        ("run", "demo-us.control.json", '{"state": "HALTED"}'),
        ("run", "demo-us.json", '{"pid": 1}'),
        ("run", "demo-us.lock", ""),
        ("ledger", "demo-us.v0.bak", "old"),
    ):
        (data / folder).mkdir(exist_ok=True)
        (data / folder / name).write_text(text)
    (home / ".env").write_text(f"SMTP_PASSWORD={TOKEN}\n")
    (home / "config" / ".env").write_text(f"SMTP_PASSWORD={TOKEN}\n")
    return home


def parts(root: Path) -> tuple[Home, Settings]:
    return resolve_root(root), load_settings(root)


def backed_up(root: Path, **how: bool) -> Path:
    return backup.back_up(*parts(root), **how).path


def configure(root: Path, file: str, old: str, new: str) -> None:
    path = root / "config" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def everything(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# -- what is in it --------------------------------------------------------------------------


def test_it_holds_what_cannot_be_fetched_again(lived_in):
    """Books, models, the operator's word, settings; no secret, no token, no sign of a process."""
    done = backup.back_up(*parts(lived_in))

    assert done.verified
    assert done.path.stat().st_mode & 0o077 == 0
    assert done.bytes == done.path.stat().st_size
    with zipfile.ZipFile(done.path) as file:
        names = set(file.namelist())
        whole = b"".join(file.read(name) for name in names)
    assert names >= HELD
    assert {n.split("/")[1] for n in names if n.startswith("data/")} == {
        "ledger", "exchange", "outbox.db", "models", "run",
    }  # fmt: skip
    assert {n for n in names if n.startswith("data/run/")} == {n for n in HELD if "/run/" in n}
    assert not any(n.endswith((".env", ".lock", ".bak", "port.json")) for n in names)
    assert TOKEN.encode() not in whole
    (held,) = backup.contents_of(done.path).lake
    assert (held["market"], held["kind"], held["rows"]) == ("us", "daily", 4)
    assert (held["first"], held["last"]) == (str(FIRST), str(LAST))


def test_its_record_is_what_others_look_at(lived_in):
    """``latest`` is the last good one, before any ``None``; an unreadable record is an error."""
    home, _ = parts(lived_in)
    assert backup.latest(home) is None

    done = backup.back_up(*parts(lived_in))

    assert backup.latest(home) == done
    body = json.loads((lived_in / "data" / "backup.json").read_text())
    assert (body["path"], body["verified"]) == (str(done.path), True)
    assert datetime.fromisoformat(body["ts"]) == done.ts
    (lived_in / "data" / "backup.json").write_text("{")
    with pytest.raises(DataError, match="백업 기록을 읽을 수 없음"):
        backup.latest(home)


def test_a_session_writes_meanwhile(lived_in):
    """What is in the copy is what had been written by then, in order, and nothing is half there."""
    path = lived_in / "data" / "ledger" / "demo-us.db"
    stop = threading.Event()

    def trade() -> None:
        ledger = SqliteLedger(path)
        number = 1
        while not stop.is_set():
            ledger.append(decision(number), decision(number + 1))
            number += 2
        ledger.close()

    trader = threading.Thread(target=trade)
    trader.start()
    try:
        copies = [backed_up(lived_in) for _ in range(3)]
    finally:
        stop.set()
        trader.join()

    seen = []
    for number, archive in enumerate(copies):
        elsewhere = lived_in.with_name(f"copy{number}")
        backup.restore(archive, elsewhere)
        numbers = [
            r.body["n"]
            for r in records(elsewhere / "data" / "ledger" / "demo-us.db")
            if r.kind is RecordKind.DECISION
        ]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) % 2 == 1
        seen.append(len(numbers))
    assert seen == sorted(seen)


def test_the_address_of_a_webhook_is_a_secret(lived_in):
    """The setting is there, without its value, and that is told."""
    configure(lived_in, "notify.yaml", "url: null", f'url: "{HOOK}"')

    archive = backed_up(lived_in)

    with zipfile.ZipFile(archive) as file:
        text = file.read("config/notify.yaml").decode()
    assert HOOK not in text
    assert "url: null" in text
    assert any("웹훅 주소" in line for line in backup.contents_of(archive).left_out)


def test_the_oldest_go(lived_in):
    """As many stay as the setting says; what is not ours in the folder stays too."""
    configure(lived_in, "app.yaml", "keep: 14", "keep: 2")
    (lived_in / "backups").mkdir()
    (lived_in / "backups" / "trading-mine.zip").write_text("mine")

    made = [backed_up(lived_in) for _ in range(4)]

    assert backup.archives(lived_in / "backups") == made[-2:]
    assert (lived_in / "backups" / "trading-mine.zip").exists()


def test_two_homes_share_a_folder(lived_in, tmp_path):
    """Each counts and deletes its own; an archive that cannot be read is nobody's."""
    other = tmp_path / "other"
    shutil.copytree(lived_in, other)
    folder = tmp_path / "shared"
    folder.mkdir()
    broken = folder / "trading-20050101T000000000000Z.zip"
    broken.write_bytes(b"no archive")
    made = []
    for root in (lived_in, other):
        configure(root, "app.yaml", "keep: 14", "keep: 1")
        made.append(backup.back_up(*parts(root), folder).path)

    last = backup.back_up(*parts(lived_in), folder).path

    assert backup.archives(folder) == [broken, made[1], last]


def test_the_new_one_stays(lived_in):
    """Also where a clock that was ahead has left archives of days to come."""
    configure(lived_in, "app.yaml", "keep: 14", "keep: 1")
    early = backed_up(lived_in)
    late = early.rename(early.with_name("trading-29990101T000000000000Z.zip"))

    made = backed_up(lived_in)

    assert backup.archives(lived_in / "backups") == [made, late]


def test_folders_on_another_disk_are_held(lived_in, tmp_path):
    """Models and their registry count where they are, also behind a link."""
    (lived_in / "mlruns").mkdir(exist_ok=True)
    (lived_in / "mlruns" / "registered").write_text("1")
    for folder in (lived_in / "mlruns", lived_in / "data" / "models"):
        moved = tmp_path / f".disk-{folder.name}"
        folder.rename(moved)
        folder.symlink_to(moved)

    with zipfile.ZipFile(backed_up(lived_in)) as file:
        names = set(file.namelist())

    assert "mlruns/registered" in names
    assert names >= {name for name in HELD if name.startswith("data/models")}


def test_a_damaged_book_makes_no_backup(lived_in):
    """It names the file; the good archives and their record stay."""
    good = backed_up(lived_in)
    path = lived_in / "data" / "outbox.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)

    with pytest.raises(DataError, match=r"outbox\.db"):
        backed_up(lived_in)

    assert backup.archives(lived_in / "backups") == [good]
    assert backup.latest(parts(lived_in)[0]).path == good
    assert [p for p in (lived_in / "backups").iterdir() if p.name.endswith(".partial")] == []


def test_a_home_may_hold_little_or_nothing(lived_in):
    """What is not there is left out; of nothing there is no backup, and a folder must be one."""
    shutil.rmtree(lived_in / "data")
    with zipfile.ZipFile(backed_up(lived_in)) as file:
        assert {name.split("/")[0] for name in file.namelist()} == {"config", "manifest.json"}

    shutil.rmtree(lived_in / "config")
    with pytest.raises(UsageError, match="백업할 것이 없음"):
        backed_up(lived_in)
    (lived_in / "file").touch()
    with pytest.raises(DataError, match="폴더가 아닌 것"):
        backup.back_up(*parts(lived_in), lived_in / "file")


def test_one_at_a_time(lived_in):
    """A second backup into the same folder is refused while the first is made."""
    (lived_in / "backups").mkdir()

    with (
        FileLock(lived_in / "backups" / ".backup.lock"),
        pytest.raises(SessionBusyError, match="다른 백업"),
    ):
        backed_up(lived_in)


# -- the way back ---------------------------------------------------------------------------


def test_it_comes_back_at_another_place(lived_in, tmp_path):
    """Records and files are the same; what was left out is not there."""
    archive = backed_up(lived_in)
    there = tmp_path / "another machine"

    done = backup.restore(archive, there)

    book = Path("data") / "ledger" / "demo-us.db"
    assert records(there / book) == records(lived_in / book)
    for name in sorted(HELD - {"data/ledger/demo-us.db", "data/outbox.db"}):
        if not name.endswith(".db"):
            assert (there / name).read_bytes() == (lived_in / name).read_bytes(), name
    assert (done.aside, done.missing_datasets) == ((), ())
    assert not (there / ".env").exists()
    assert not (there / "data" / "broker").exists()
    assert not (there / "data" / "lake").exists()
    loose = [p for p in there.rglob("*") if p.stat().st_mode & 0o077]
    assert loose == []
    open_home(there, console=False)


def test_with_the_lake_nothing_is_fetched_again(lived_in, tmp_path):
    """The lake at the new place says what the old one said."""
    archive = backed_up(lived_in, with_lake=True)

    backup.restore(archive, tmp_path / "there")

    old, new = Lake(lived_in / "data" / "lake"), Lake(tmp_path / "there" / "data" / "lake")
    assert new.fingerprint(Market.US) == old.fingerprint(Market.US)
    assert new.daily(Market.US, None, FIRST, LAST).equals(old.daily(Market.US, None, FIRST, LAST))


def test_what_is_there_is_not_overwritten(lived_in, tmp_path):
    """A home that holds something is refused; ``force`` moves all of it aside, nothing is lost."""
    archive = backed_up(lived_in)
    there = tmp_path / "there"
    backup.restore(archive, there)
    book = there / "data" / "ledger" / "demo-us.db"
    ledger = SqliteLedger(book)
    ledger.append(decision(99))
    ledger.close()
    before = everything(there)

    with pytest.raises(UsageError, match="--force"):
        backup.restore(archive, there)
    assert everything(there) == before
    done = backup.restore(archive, there, force=True)

    (aside,) = [path for path in done.aside if path.name.startswith("data.before-")]
    assert [r.key for r in records(aside / "ledger" / "demo-us.db")][-1] == "99"
    assert [r.key for r in records(book)][-1] == "0"


def test_a_checkout_takes_a_backup(lived_in, tmp_path):
    """The configuration that comes with the program and the READMEs are not in the way."""
    archive = backed_up(lived_in)
    there = tmp_path / "checkout"
    shutil.copytree(shipped_config_dir(), there / "config")
    (there / "data").mkdir()
    (there / "data" / "README.md").write_text("what appears here")

    done = backup.restore(archive, there)

    assert done.aside == ()
    assert (there / "data" / "README.md").read_text() == "what appears here"
    assert sorted(p.name for p in there.iterdir() if not p.name.startswith(".")) == [
        "config", "data", "mlruns",
    ]  # fmt: skip


def test_a_folder_on_another_disk_stays_there(lived_in, tmp_path):
    """Where ``data`` is a link, what it leads to is replaced, and the link stays."""
    archive = backed_up(lived_in)
    there, disk = tmp_path / "there", tmp_path / "disk"
    there.mkdir()
    (disk / "data").mkdir(parents=True)
    (there / "data").symlink_to(disk / "data")

    backup.restore(archive, there)

    assert (there / "data").is_symlink()
    assert (disk / "data" / "ledger" / "demo-us.db").is_file()


def test_a_book_that_was_never_written_is_no_obstacle(lived_in):
    """A ledger file without a byte (its maker was killed) is left out, and the rest is kept."""
    (lived_in / "data" / "ledger" / "demo-krx.db").touch()

    accounts = backup.contents_of(backed_up(lived_in)).accounts

    assert [account["name"] for account in accounts] == ["demo-us"]


def test_not_while_an_account_is_traded(lived_in, tmp_path):
    """A session that runs keeps its home."""
    archive = backed_up(lived_in)
    before = everything(lived_in)

    with (
        FileLock(lived_in / "data" / "run" / "demo-us.lock"),
        pytest.raises(SessionBusyError, match="도는 것이 있어 되살리지 않음: demo-us"),
    ):
        backup.restore(archive, lived_in, force=True)

    assert everything(lived_in) == {**before, ".restore.lock": b""}


def test_a_setting_that_is_not_known_is_told_first(lived_in, tmp_path):
    """A configuration that this program would refuse is refused before anything is put in place."""
    archive = backed_up(lived_in)
    spoilt = rewritten(
        archive, lambda files: files.update({"config/app.yaml": b"env: demo\nmarket: us\nnew: 1\n"})
    )

    with pytest.raises(ConfigError, match="new"):
        backup.restore(spoilt, tmp_path / "there")

    assert_untouched(tmp_path / "there")


# -- archives that are not what they should be ----------------------------------------------


def rewritten(
    archive: Path, change: Callable[[dict[str, bytes]], None], **manifest: object
) -> Path:
    """Return an archive with other files, whose manifest speaks truth unless told otherwise."""
    import hashlib

    with zipfile.ZipFile(archive) as file:
        files = {name: file.read(name) for name in file.namelist()}
    body = json.loads(files.pop("manifest.json"))
    change(files)
    body["files"] = {n: (len(d), hashlib.sha256(d).hexdigest()) for n, d in files.items()}
    body.update(manifest)
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
        file.writestr("manifest.json", json.dumps(body))
    return target


def assert_untouched(root: Path) -> None:
    """Nothing but the lock of the attempt may stand there."""
    assert [p for p in root.rglob("*") if p.name != ".restore.lock"] == []


def test_a_damaged_archive_is_refused(lived_in, tmp_path):
    """Cut at any length or with any of its bytes turned over: a sentence, and nothing is touched."""
    whole = backed_up(lived_in).read_bytes()
    spoilt = tmp_path / "spoilt.zip"
    there = tmp_path / "there"
    refused = 0

    for at in range(0, len(whole), len(whole) // 20):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            spoilt.write_bytes(data)
            try:
                backup.verify(spoilt)
            except DataError as error:
                refused += 1
                assert "백업" in str(error)
                with pytest.raises(DataError):
                    backup.restore(spoilt, there)
                assert_untouched(there)
    # Two bytes of a zip may be turned over without harm to what it holds: times and the like.
    assert refused > 35


@pytest.mark.parametrize(
    "name",
    ["data/../../evil", "/etc/evil", "data/ledger/../../../evil", "..", "logs/evil", "data\\evil",
     "data/broker/kis-token-1.json", "data//ledger", ".env", "config/../.env", "data/backup.json"],
)  # fmt: skip
def test_no_file_leaves_its_room(lived_in, tmp_path, name):
    """A name that leads anywhere else is refused, whatever the archive says of it."""
    archive = rewritten(backed_up(lived_in), lambda files: files.update({name: b"x"}))

    with pytest.raises(DataError, match="있을 수 없는 이름"):
        backup.restore(archive, tmp_path / "there")

    assert_untouched(tmp_path / "there")
    assert not (tmp_path / "evil").exists()


def test_files_that_nobody_announced_stay_inside(lived_in, tmp_path):
    """What is in the archive but not in its manifest is not unpacked."""
    archive = backed_up(lived_in)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../evil", "x")
        file.writestr("data/ledger/more.db", "x")

    backup.restore(archive, tmp_path / "there")

    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "there" / "data" / "ledger" / "more.db").exists()


def test_other_archives_and_newer_ones_are_refused(lived_in, tmp_path):
    """A zip of something else, no zip, no file, a later format, a ledger of a later program."""
    archive = backed_up(lived_in)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("hello.txt", "x")
    text = tmp_path / "text.zip"
    text.write_text("hello")

    for path, sentence in (
        (other, "이 프로그램의 백업이 아님"),
        (text, "백업이 아님"),
        (rewritten(archive, lambda files: None, format=2), "더 새 프로그램"),
    ):
        with pytest.raises(DataError, match=sentence):
            backup.restore(path, tmp_path / "there")
    with pytest.raises(DataError, match="더 새 프로그램"):
        backup.restore(rewritten(archive, lambda files: None, ledger_schema=99), tmp_path / "there")
    with pytest.raises(UsageError, match="백업 파일이 없음"):
        backup.restore(tmp_path / "none.zip", tmp_path / "there")

    assert_untouched(tmp_path / "there")


# -- disks that are full and processes that are killed ---------------------------------------

_LIMITED = """
import resource, sys
from trading.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
sys.exit(main())
"""


def limited(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program where no file may become larger than ``size`` bytes."""
    return subprocess.run(
        [sys.executable, "-c", _LIMITED, str(size), *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_full_disk_makes_no_backup(lived_in):
    """It is told in Korean, exit 3; nothing is left over, and the former backup stays the last."""
    good = backed_up(lived_in)

    answer = limited(20_000, "--root", str(lived_in), "backup")

    assert answer.returncode == 3, answer.stderr
    assert "디스크에 자리가 없습니다" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert sorted(p.name for p in (lived_in / "backups").iterdir()) == [".backup.lock", good.name]
    assert backup.latest(parts(lived_in)[0]).path == good


def test_a_full_disk_restores_nothing(lived_in, tmp_path):
    """It is told in Korean, exit 3; the place is as it was."""
    archive = backed_up(lived_in)

    answer = limited(20_000, "--root", str(tmp_path / "there"), "restore", str(archive))

    assert answer.returncode == 3, answer.stderr
    assert "디스크에 자리가 없습니다" in answer.stderr
    assert_untouched(tmp_path / "there")


def killed_at(step: int, call: Callable[[], object]) -> bool:
    """Run ``call`` in a child that is killed at its ``step``-th rename; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step
        original = {"rename": Path.rename, "replace": Path.replace}

        def dying(name: str) -> Callable[..., Path]:
            def move(self: Path, target: Path) -> Path:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original[name](self, target)

            return move

        Path.rename = dying("rename")  # type: ignore[method-assign]
        Path.replace = dying("replace")  # type: ignore[method-assign]
        try:
            call()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_backup_that_is_killed_leaves_no_archive(lived_in):
    """At whichever file it dies, no half archive has a name, and the next backup tidies up."""
    step, deaths = 0, 0
    while killed_at(step, lambda: backed_up(lived_in)):
        deaths += 1
        step += 1
        for archive in backup.archives(lived_in / "backups"):
            backup.verify(archive)

    assert deaths >= 4
    assert [p for p in (lived_in / "backups").iterdir() if p.name.endswith(".partial")] == []
    assert backup.latest(parts(lived_in)[0]).path == backup.archives(lived_in / "backups")[-1]


def test_a_restore_that_is_killed_goes_on(lived_in, tmp_path):
    """Killed at any rename: nothing works there until the same command carries it out; all is there."""
    archive = backed_up(lived_in)
    other = tmp_path / "other"
    shutil.copytree(lived_in, other)
    ledger = SqliteLedger(other / "data" / "ledger" / "demo-us.db")
    ledger.append(decision(99))
    ledger.close()
    configure(other, "app.yaml", "keep: 14", "keep: 3")
    step, unfinished = 0, 0
    while True:
        there = tmp_path / f"there{step}"
        shutil.copytree(other, there)
        if not killed_at(step, lambda there=there: backup.restore(archive, there, force=True)):
            break
        if (there / ".restore.json").exists():
            unfinished += 1
            with pytest.raises(ConfigError, match="trading restore"):
                open_home(there, console=False)
            done = backup.finish_restore(there)
        else:
            assert [r.key for r in records(there / "data" / "ledger" / "demo-us.db")][-1] == "99"
            done = backup.restore(archive, there, force=True)
        assert done is not None
        assert [r.key for r in records(there / "data" / "ledger" / "demo-us.db")] == ["run:us", "0"]
        (aside,) = there.glob("data.before-*")
        assert [r.key for r in records(aside / "ledger" / "demo-us.db")][-1] == "99"
        assert "keep: 14" in (there / "config" / "app.yaml").read_text()
        assert not (there / ".restore.json").exists()
        step += 1

    assert unfinished >= 4
