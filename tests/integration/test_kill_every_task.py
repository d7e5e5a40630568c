"""Every task of a day is killed once, and the ledger is that of a day that nobody disturbed."""

import hashlib
import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from program import EAGER, command, configure, environment, ledger_rows, trading

from trading.day import STAGES

START = "2004-11-12"
PLAIN = ("demo", "--start", START, "--sessions", "1", "--no-prefect", "--json")
BY_FLOW = tuple(word for word in PLAIN if word != "--no-prefect")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A home in which one session was traded without Prefect and without a fault."""
    root = configure(tmp_path_factory.mktemp("undisturbed"), EAGER)
    answer = trading(root, *PLAIN)
    assert answer.code == 0, answer.err
    return root


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(BY_FLOW, id="by-flow", marks=pytest.mark.slow),
    ],
)
def test_every_task_killed_once(undisturbed, tmp_path, words):
    """``kill -9`` right after each task has begun, the same command again: the same ledger.

    What a killed run had done is not done again: the last run trades no second session.
    """
    root = configure(tmp_path, EAGER)
    for stage in STAGES:
        kill_in(stage, root, words)

    answer = trading(root, *words)

    assert answer.code == 0, answer.err
    assert ledger_hash(root) == ledger_hash(undisturbed)
    assert len(ledger_rows(root, "SELECT key FROM journal WHERE kind = 'intent'")) > 2
    assert answer.json["parity"]["differences"] == answer.json["cash_difference"] == 0
    told = {line["stage"]: line["message"] for line in lines(root, "단계 완료")}
    assert told["market_data"] == "새로 받은 시세가 없습니다."
    assert told["intraday"] == "이미 끝난 세션입니다."
    assert not left_behind(root)


def kill_in(stage: str, root: Path, words: tuple[str, ...]) -> None:
    """Run the command until ``stage`` begins, and kill it there."""
    before = begun(root, stage)
    said = root / "said.txt"
    # Not a pipe: the command's helpers live on and would keep it open.
    with said.open("wb") as sink:
        run = subprocess.Popen(
            command(root, *words), stdout=subprocess.DEVNULL, stderr=sink,
            env=environment(), cwd=root,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while begun(root, stage) == before:
            assert run.poll() is None, said.read_text()
            assert time.monotonic() < deadline, (stage, said.read_text())
            time.sleep(0.02)
    finally:
        run.kill()
        run.wait()


def begun(root: Path, stage: str) -> int:
    return sum(line["stage"] == stage for line in lines(root, "단계 시작"))


def lines(root: Path, event: str) -> list[dict]:
    path = root / "logs" / "trading.jsonl"
    if not path.exists():
        return []
    # A line that is being written is not read yet.
    whole = [text for text in path.read_text().splitlines(keepends=True) if text.endswith("\n")]
    return [line for line in map(json.loads, whole) if line["event"] == event]


def ledger_hash(root: Path) -> str:
    """Return a digest of everything in the ledger but who wrote it, and when it was heard."""
    rows = ledger_rows(
        root, "SELECT kind, session, key, body FROM journal ORDER BY kind, session, key"
    )
    digest = hashlib.sha256()
    for kind, session, key, text in rows:
        body = json.loads(text)
        body.pop("ts_recv", None)
        digest.update(json.dumps([kind, session, key, body], sort_keys=True).encode())
    return digest.hexdigest()


def left_behind(root: Path) -> list[str]:
    """Return the processes that still work on ``root``."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        if str(root) in (environ.get("PREFECT_HOME") or "") or str(root) in " ".join(
            process.info["cmdline"] or []
        ):
            found.append(" ".join(process.info["cmdline"] or [])[:200])
    return found
