"""What the program writes is its user's alone, and what it reads cannot make it run or write elsewhere."""

import ast
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from trading.bootstrap import ledger_path, open_home, open_ledger, open_notifier
from trading.config import Env, load_secrets
from trading.domain.instrument import Market

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("src", "flows", "tasks") for path in (CHECKOUT / folder).rglob("*.py")
)
# A newcomer's umask: everybody reads.
BUSY = """
import os, sys
from datetime import UTC, date, datetime
from pathlib import Path
os.umask(0o022)
from trading import backup, bootstrap
from trading.backtest.trials import TrialLedger
from trading.config import Env
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.live import control
from trading.log import get_logger
from trading.monitoring import SessionMonitor
from trading.ports import Record, RecordKind
root = Path(sys.argv[1])
installation = bootstrap.open_home(root)
home = installation.home
ledger = bootstrap.open_ledger(home, Env.DEMO, Market.US)
ledger.append(Record(kind=RecordKind.DRILL, key="x", session=date(2005, 2, 28),
                     ts=datetime(2005, 2, 28, tzinfo=UTC)))
bootstrap.open_notifier(root).send("error", {"message": "m"})
with bootstrap.account_held(home, Env.DEMO, Market.US):
    pass
control.ask(home.data_dir / "run", "demo", "us", TradingState.REDUCING, by=control.By.CLI)
get_logger("x").error("오류")
TrialLedger(bootstrap.research_dir(home) / "trials.db").close()
print(backup.back_up(home, installation.settings).path)
"""


def loose(root: Path) -> list[str]:
    """Return what others than the owner may read or enter."""
    return sorted(
        f"{path.relative_to(root)} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in root.rglob("*")
        if path.stat().st_mode & 0o077
    )


def test_whatever_the_umask_nobody_else_reads(home):
    """Ledger, outbox, control, locks, logs, research and backups are 0600 and their folders 0700."""
    done = subprocess.run(
        [sys.executable, "-c", BUSY, str(home)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    written = {path.name for path in home.rglob("*")}
    assert written >= {
        "demo-us.db", "outbox.db", "demo-us.control.json", "demo-us.lock", "trading.jsonl",
        "errors.jsonl", "trials.db", "backup.json", Path(done.stdout.split()[-1]).name,
    }  # fmt: skip
    assert loose(home) == []


def test_what_an_older_program_left_open_is_closed(home):
    """A ledger and an outbox that others could read are theirs no longer once they are opened."""
    installation = open_home(home, console=False)
    book, outbox = ledger_path(installation.home, Env.DEMO, Market.US), home / "data" / "outbox.db"
    for path in (book, outbox):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)):
            pass
        path.touch()
        path.chmod(0o644)

    open_ledger(installation.home, Env.DEMO, Market.US).close()
    open_notifier(home)

    assert [path.stat().st_mode & 0o077 for path in (book, outbox)] == [0, 0]


def test_a_file_of_secrets_that_others_read_is_told(home, capsys):
    """A ``.env`` that is not 0600 is used, and warned of."""
    (home / ".env").write_text("KIS_HTS_ID=somebody\n")
    (home / ".env").chmod(0o644)

    load_secrets(home)

    assert "chmod 600" in capsys.readouterr().err


# -- what is read can only be data ------------------------------------------------------------


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Return place, name and node of every call in the program."""
    return [
        (f"{path.relative_to(CHECKOUT)}:{node.lineno}", ast.unparse(node.func), node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_yaml_is_only_data():
    """YAML is read by a safe loader everywhere: a file cannot name an object to be made."""
    found = {
        place: name
        for place, name, _ in calls()
        if name.startswith("yaml.")
        and name.rpartition(".")[2] in ("load", "load_all", "unsafe_load", "full_load")
    }

    assert list(found.values()) == ["yaml.load"]
    (place,) = found
    assert place.startswith("src/trading/config.py")
    from yaml.constructor import FullConstructor, SafeConstructor

    from trading.config import _UniqueKeyLoader

    assert issubclass(_UniqueKeyLoader, SafeConstructor)
    assert not issubclass(_UniqueKeyLoader, FullConstructor)


def test_nothing_is_unpickled_but_our_own_bytes():
    """No model, cache or archive is read by pickle; a worker reads what its parent hands it."""
    found = [
        place
        for place, name, _ in calls()
        if name in ("pickle.load", "pickle.loads", "torch.load", "joblib.load", "np.load")
    ]

    assert [place.partition(":")[0] for place in found] == ["src/trading/backtest/workers.py"]


def test_no_shell():
    """Programs are started from lists of arguments; no text is ever given to a shell."""
    found = [
        place
        for place, name, call in calls()
        if name in ("os.system", "os.popen", "subprocess.getoutput")
        or any(
            word.arg == "shell"
            and not (isinstance(word.value, ast.Constant) and not word.value.value)
            for word in call.keywords
        )
    ]

    assert found == []


@pytest.mark.skipif(os.geteuid() != 0, reason="다른 사용자가 되려면 root여야 함")
def test_another_user_reads_nothing():
    """Somebody else on the machine, who may enter the home itself, opens nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", BUSY, str(home)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        (home / "open.txt").write_text("for all")
        (home / "open.txt").chmod(0o644)
        files = [str(path) for path in home.rglob("*") if path.is_file()]

        tried = subprocess.run(
            ["cat", *files], capture_output=True, text=True, user=65534, group=65534, cwd="/"
        )

    assert len(files) > 8
    assert tried.stdout == "for all"
    assert tried.stderr.count("Permission denied") == len(files) - 1
