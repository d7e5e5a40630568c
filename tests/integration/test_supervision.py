"""Real processes on one account: who obeys the operator, and who stands in for a session that is gone.

The venue keeps its own time, thirty seconds of it each second; the morning's orders rest for almost half an
hour of that before the open.
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from filelock import FileLock
from program import (
    EAGER,
    command,
    configure,
    environment,
    ledger_rows,
    messages,
    trading,
)

from trading.live import control

DEMO = ("demo", "--no-prefect", "--start", "2005-05-27", "--speed", "30", "--json")
PLACE = "demo", "us"


@pytest.fixture
def home(tmp_path):
    """Make homes with a dead-man switch of so many seconds; whatever they started is ended."""

    def make(seconds):
        root = tmp_path / "home"
        root.mkdir()
        early = {"us": {**EAGER["execution"]["us"], "preopen_minutes": 29}}
        return configure(
            root,
            EAGER
            | {"app": {"supervision": {"dead_man_seconds": seconds}}}
            | {"execution": {**EAGER["execution"], **early}},
        )

    yield make
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def begin(root):
    """Begin the session and return its process once the venue has taken all of its orders."""
    log = (root / "session.log").open("ab")
    session = subprocess.Popen(
        command(root, *DEMO), stdout=log, stderr=log, env=environment(), cwd=root
    )
    with _said(root):
        await_(lambda: session.poll() is not None or _working(root), seconds=240)
        assert session.poll() is None
    return session


@contextmanager
def _said(root):
    """Show what the session said where something else was waited for."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError((root / "session.log").read_text()[-4000:]) from error


def _working(root):
    """Whether each order of the decision has its number, or was kept back."""
    with suppress(sqlite3.OperationalError):
        (decided,) = ledger_rows(root, "SELECT body FROM journal WHERE kind = 'decision'") or [None]
        accepted = _statuses(root, "accepted")
        (kept,) = ledger_rows(root, "SELECT count(*) FROM journal WHERE kind = 'verdict'")[0]
        wished = len(json.loads(decided[0])["intents"]) if decided is not None else -1
        return bool(accepted) and wished == len(accepted) + kept
    return False


def _statuses(root, status):
    query = "SELECT body FROM journal WHERE kind = 'update' AND key LIKE ?"
    return [json.loads(body) for (body,) in ledger_rows(root, query, [f"%:{status}"])]


def await_(holds, *, seconds):
    """Wait until ``holds``; poll, for at most so long."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def _guards(root):
    """Return the processes that watch a session of ``root``."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if {"guard-session", str(root)} <= set(process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def word(root):
    """Return what stands."""
    return control.read(root / "data" / "run", *PLACE)


def stood_in(root):
    """Return what the log says of the stand-in, if it was needed."""
    path = root / "logs" / "trading.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return next((line for line in lines if line["level"] == "critical" and "pid" in line), None)


def test_nobody_trades_yet(tmp_path):
    """From an empty home: the words stand, the switch binds whoever resumes, nothing is canceled."""
    said = trading(tmp_path, "halt", "--reason", "점검", "--json")
    assert (said.code, said.json["state"], said.json["session_running"]) == (0, "halted", False)
    assert "점검" in messages(tmp_path, "risk_event")[-1]["message"]

    (tmp_path / "data" / "run" / control.HALT_FILE).touch()
    refused = trading(tmp_path, "resume", "--json")
    assert (refused.code, refused.json["state"], refused.json["word"]) == (1, "halted", "active")

    nothing = trading(tmp_path, "cancel-all", "--json")
    assert (nothing.code, nothing.json["canceled"], nothing.json["failed"]) == (0, [], [])


def test_an_account_that_is_held_without_a_session(tmp_path):
    """While a day prepares or trains, the word stands at once: whoever could send orders is not there yet.

    Orders by hand are asked about by the next session only, and that is no success yet.
    """
    (tmp_path / "data" / "run").mkdir(parents=True)
    with FileLock(tmp_path / "data" / "run" / "demo-us.lock"):
        halted = trading(tmp_path, "halt", "--json")
        ours = trading(tmp_path, "cancel-all", "--json")
        everything = trading(tmp_path, "cancel-all", "--everything", "--json")

    assert [one.code for one in (halted, ours, everything)] == [0, 0, 1]
    for one in (halted, ours, everything):
        assert (one.json["account_busy"], one.json["session_running"]) == (True, False)
    assert word(tmp_path).state == "halted"
    assert word(tmp_path).cancel_all.answer is None


def test_a_killed_session_leaves_no_order_behind(home):
    """kill -9: after the deadline its open orders are gone, it may only reduce, and that is told.

    Nobody has to be logged in for that, and the message does not claim to have stopped a loss.
    """
    root = home(6)
    session = begin(root)
    orders = {body["venue_order_id"] for body in _statuses(root, "accepted")}
    fence = ledger_rows(root, "SELECT number FROM fence")

    session.kill()
    session.wait()
    await_(lambda: stood_in(root), seconds=40)

    assert set(stood_in(root)["canceled"]) == orders
    assert stood_in(root)["failed"] == []
    assert len(_statuses(root, "pending_cancel")) == len(orders)
    assert (word(root).state, word(root).by) == ("reducing", control.By.DEAD_MAN)
    assert ledger_rows(root, "SELECT number FROM fence") > fence
    await_(lambda: messages(root, "risk_event"), seconds=10)
    assert "손실을 막지 못합니다" in messages(root, "risk_event")[-1]["message"]


@pytest.mark.slow
def test_a_session_that_wakes_up_has_lost_its_account(home):
    """SIGSTOP and, after the deadline, SIGCONT: it writes and sends nothing more, and says why."""
    root = home(6)
    session = begin(root)

    os.kill(session.pid, signal.SIGSTOP)
    await_(lambda: stood_in(root), seconds=40)
    rows = ledger_rows(root, "SELECT max(seq) FROM journal")
    os.kill(session.pid, signal.SIGCONT)

    assert session.wait(timeout=60) == 3
    assert "다른 실행이 이 계좌를 넘겨받아" in (root / "session.log").read_text()
    assert ledger_rows(root, "SELECT max(seq) FROM journal") == rows
    assert stood_in(root)["canceled"]


@pytest.mark.slow
def test_a_restart_before_the_deadline_is_left_alone(home):
    """Killed and begun again, it is guarded as before, and what it had open is still open.

    A guard that is killed is missed and made again.
    """
    root = home(240)
    begin(root).kill()

    log = (root / "session.log").open("ab")
    session = subprocess.Popen(command(root, *DEMO), stdout=log, stderr=log, env=environment())
    beat = root / "data" / "run" / "demo-us.json"
    with _said(root):
        await_(
            lambda: (
                session.poll() is not None or json.loads(beat.read_text())["pid"] == session.pid
            ),
            seconds=240,
        )
        assert session.poll() is None

    assert stood_in(root) is None
    assert len(_statuses(root, "pending_cancel")) == 0
    assert not word(root).is_given
    guards = _guards(root)
    assert guards
    for guard in guards:
        guard.kill()
    await_(lambda: set(_guards(root)) - set(guards), seconds=60)


@pytest.mark.slow
def test_the_operator_is_obeyed(home):
    """With a session and without one; what stands in the way of resuming is named."""
    root = home(180)
    begin(root).kill()

    left = trading(root, "reduce", "--json")
    assert (left.code, left.json["left"]) == (1, len(_statuses(root, "accepted")))
    trading(root, "resume", "--json")
    canceled = trading(root, "cancel-all", "--json").json
    assert (canceled["session_running"], canceled["failed"]) == (False, [])
    assert len(canceled["canceled"]) == len(_statuses(root, "accepted")) > 0
    halted = trading(root, "halt", "--reason", "점검", "--json")
    assert (halted.code, halted.json["session_running"]) == (0, False)

    log = (root / "session.log").open("ab")
    session = subprocess.Popen(command(root, *DEMO), stdout=log, stderr=log, env=environment())
    await_(lambda: word(root).obeyed is not None, seconds=240)
    assert word(root).obeyed.state == "halted"
    resumed = trading(root, "resume", "--json")
    assert (resumed.code, resumed.json["done"], resumed.json["state"]) == (0, True, "active")
    switch = root / "data" / "run" / control.HALT_FILE
    switch.touch()
    await_(lambda: word(root).obeyed.state == "halted", seconds=10)
    refused = trading(root, "resume")
    assert refused.code == 1
    assert str(switch) in refused.out
    switch.unlink()
    await_(lambda: word(root).obeyed.state == "active", seconds=10)

    session.kill()
    session.wait()
    states = "SELECT json_extract(body, '$.state') FROM journal WHERE kind = 'state' ORDER BY seq"
    assert [state for (state,) in ledger_rows(root, states)] == [
        "reducing", "active", "halted", "active", "halted", "active",
    ]  # fmt: skip
