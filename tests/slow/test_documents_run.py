"""Every command of the documents does what its page says, for a reader without keys.

The lines of the shell blocks are collected, their placeholders filled, and each is run in a copy of
one demo home, so that none of them leans on another. ``-k`` with a word of the line runs some.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from shell_blocks import shell_lines

pytestmark = [pytest.mark.slow, pytest.mark.compiled_only]

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("README*.md"), *CHECKOUT.glob("docs/**/*.md")])
PROGRAMS = ("trading", "ai-trading-monitor", "prefect deployment run")
KOREAN = re.compile("[가-힣]")
LONGEST_SECONDS = 600
# What the pages write for a folder that the reader has.
FOLDERS = {"DIR", "폴더", "../자료", "../data", "../shared/data"}
EMBEDDED_RUNS = ("ma_crossover-us", "ensemble-us")

# Not run here, and why.
LEFT_OUT: Mapping[str, str] = {
    "trading chaos --seeds 1000 --json": "네 시간: 시드 25개로 돌립니다",
    "trading chaos --seeds 1000 --dataset ../자료 --json": "네 시간: 시드 25개로 돌립니다",
    "trading gate-calibrate": "귀무마다 5,000번, 30분: bench와 docs/gate.md에서 잽니다",
    "trading gate-calibrate --quick": "귀무마다 1,000번: tests/unit/mlops/test_calibrate.py",
    "trading gate-calibrate --market krx --dataset 폴더": "30분: docs/gate.md에서 잽니다",
    "trading train --family all": "아홉 계열, 몇십 분: tests/unit/mlops가 계열마다 시험합니다",
    "trading train --search --minutes 30": "30분: tests/unit/mlops/test_automl.py",
    "trading lookahead --cuts 100 --seed 7 --json": "100번 자름: 12번으로 돌립니다",
    "trading lookahead --market krx --dataset ../data": "한국 전체: tests/unit/test_lookahead.py",
    "trading data backfill --market krx --dataset DIR": "기록 전체: tests/integration/test_backfill.py",
    "trading reference --data dem2gbp.csv": "읽는 사람이 가진 파일",
    "trading walk-forward ma_crossover --trials 40 --scheme rolling": "학습 구간마다 40번",
    "trading chaos --seeds 25": "십 분: tests/integration/test_chaos.py",
    "trading chaos --seeds 25 --plant retry": "십 분: tests/integration/test_chaos.py",
    "trading optimize ma_crossover --trials 200 --workers 2": "같은 것 100번을 돌립니다",
}
# How a command ends where it is not with 0, by how it begins. The longest that fits counts.
ENDS: Mapping[str, set[int]] = {
    "trading": {2},  # no terminal to ask on
    "trading setup": {2},
    "trading setup --yes": {0, 1},
    "trading check": {0, 1},
    "trading check --env": {1},
    "trading notify test": {2},
    "trading restore": {2},
    "trading restore ": {2},  # there is something already
    "trading restore 백업.zip --force": {0},
    "trading promote": {1},
    "trading promote 7 --without-proof": {0},
    "trading cancel-all --everything": {3},  # the demo's exchange ended with its session
    "trading drill --market krx": {3},  # nothing Korean was brought into this home
    # Without keys, and said so.
    "trading data backfill --market us --source kis": {2},
    "trading data backfill --market krx --source kis": {2},
    "trading rollback": {3},  # no model before the first
    "trading lookahead --plant": {1},
    "trading data quality": {0, 1},
    "trading monitor": {0, 1},
    "ai-trading-monitor": {0, 1},
    "trading run": {2},
}
# Strategies that a page lets its reader write: the page, and what the file's place would do by itself.
STRATEGIES = {"donchian": "strategies.md", "near_high": "tutorial.md"}
OWN = """
import sys, trading.strategies
trading.strategies.__path__.append(sys.argv.pop(1))
from trading.cli import main
main()
"""
SERVERS = ("trading dashboard", "trading exchange serve")


@dataclass(frozen=True, slots=True)
class Line:
    """A command as its pages print it."""

    text: str
    pages: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def _lines() -> list[Line]:
    """Return every command of the documents once, with the pages that print it."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for line in shell_lines(page.read_text("utf-8")):
            text = line.removeprefix(".venv/bin/")
            if any(text == p or text.startswith(f"{p} ") for p in PROGRAMS):
                found.setdefault(text, []).append(page.name)
    return [Line(text, tuple(dict.fromkeys(pages))) for text, pages in found.items()]


LINES = _lines()
TRADING = [line for line in LINES if line.words[0] != "prefect"]
PREFECT = [line for line in LINES if line.words[0] == "prefect"]


def _environment(home: Path) -> dict[str, str]:
    """Return an environment without anybody's keys, with a Prefect of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KIS_", "TRADING_", "SMTP_", "PREFECT_"))
    }
    return kept | {
        "PREFECT_HOME": str(home.parent / "prefect"),
        "DO_NOT_TRACK": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "NO_COLOR": "1",
        "COLUMNS": "160",
    }


def _command(home: Path, words: Sequence[str]) -> list[str]:
    program = [str(Path(sys.executable).with_name(words[0]))]
    for name in STRATEGIES.keys() & set(words):
        program = [sys.executable, "-c", OWN, str(_written(home, name))]
    if words[0] == "trading":
        program += ["--root", str(home)]
    return [*program, *words[1:]]


def _written(home: Path, name: str) -> Path:
    """Write the strategy as its page prints it: the file, and the block of the settings."""
    page = (CHECKOUT / "docs" / STRATEGIES[name]).read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    own = home.parent / "own"
    own.mkdir(exist_ok=True)
    (own / f"{name}.py").write_text(code, "utf-8")
    shutil.copytree(CHECKOUT / "config", home / "config", dirs_exist_ok=True)
    with (home / "config" / "strategies.yaml").open("a", encoding="utf-8") as settings:
        settings.write(block)
    return own


def _run(home: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    extra = {"TRADING_HOME": str(home)} if words[0] != "trading" else {}
    return subprocess.run(
        _command(home, words), capture_output=True, text=True, timeout=LONGEST_SECONDS,
        env=_environment(home) | extra, cwd=home, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of somebody who tried the first page: three sessions, two runs, a backup."""
    home = tmp_path_factory.mktemp("documents") / "home"
    home.mkdir()
    for words in (
        ["demo", "--sessions", "3"],
        ["backtest", "ma_crossover", "--report"],
        ["backtest", "ensemble", "--from", "2005-03-08", "--to", "2006-03-08", "--report"],
        ["backup"],
    ):
        done = _run(home, ["trading", *words])
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return home


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    """Return a copy of the demo home."""
    return Path(
        shutil.copytree(demo_home, tmp_path / "home", ignore=shutil.ignore_patterns("*.lock"))
    )


@pytest.fixture
def words(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> list[str]:
    """Return the words of the line under test with the reader's own put in."""
    line: Line = request.param
    if line.text in LEFT_OUT:
        pytest.skip(f"돌리지 않음: {LEFT_OUT[line.text]}")
    words = line.words
    if FOLDERS & set(words) or "krx" in words:
        folder = request.getfixturevalue("shared_data")
        words = [str(folder) if word in FOLDERS else word for word in words]
        if "krx" in words and words[1] in {"demo", "drill", "screen", "monitor"}:
            words += ["--dataset", str(folder)] if words[1] == "demo" else []
    if words[:2] == ["trading", "compare"]:
        words[2:4] = EMBEDDED_RUNS
    if words[:2] == ["trading", "promote"]:
        words[2] = "1"
    if words[:2] == ["trading", "restore"] and len(words) > 2:
        words[2] = str(next((home / "backups").glob("*.zip")))
    if "--session" in words:
        sessions = sorted(path.name for path in (home / "data" / "reports" / "demo-us").iterdir())
        words[words.index("--session") + 1] = sessions[-1]
    if "--to" in words and words[1] == "backup":
        words[words.index("--to") + 1] = str(tmp_path / "disk")
    if "faults.yaml" in words:
        page = (CHECKOUT / "docs" / "faults.md").read_text("utf-8")
        plan = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
        assert plan is not None
        (home / "faults.yaml").write_text(plan[1], "utf-8")
    if words[0] == "ai-trading-monitor" or words[1:2] == ["monitor"]:
        if "--hours" in words:
            del words[words.index("--hours") : words.index("--hours") + 2]
        words += ["--hours", "0.004"]
    return words


def _expected(text: str) -> set[int]:
    fitting = [
        start for start in ENDS if text == start or (start != "trading" and text.startswith(start))
    ]
    return ENDS[max(fitting, key=len)] if fitting else {0}


@pytest.mark.parametrize(
    ("line", "words"),
    [(line, line) for line in TRADING if not line.text.startswith(SERVERS)],
    ids=[line.text for line in TRADING if not line.text.startswith(SERVERS)],
    indirect=["words"],
)
def test_a_command_of_the_documents(line: Line, words: list[str], home: Path) -> None:
    """It ends as it should and says so in Korean, without a stack."""
    done = _run(home, words)

    said = done.stdout + done.stderr
    assert done.returncode in _expected(line.text), f"{line.pages}: {words}\n{said[-4000:]}"
    assert "Traceback" not in said, f"{line.pages}\n{said[-4000:]}"
    if "--json" in words and done.stdout:
        assert isinstance(json.loads(done.stdout), dict)
    elif words[:3] != ["trading", "data", "sql"]:  # says what it was asked for
        assert KOREAN.search(said), line.pages


def test_the_tutorial_prints_what_it_shows(home: Path) -> None:
    """The figures of the first backtest are those that its reader gets."""
    page = (CHECKOUT / "docs" / "tutorial.md").read_text("utf-8")
    shown = re.search(r"\.venv/bin/(trading backtest .*)\n```\n\n```\n(.*?)```", page, re.DOTALL)
    assert shown is not None

    done = _run(home, shlex.split(shown[1]))

    assert [line for line in shown[2].splitlines() if line not in done.stdout] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [(line, line) for line in TRADING if line.text.startswith(SERVERS)],
    ids=[line.text for line in TRADING if line.text.startswith(SERVERS)],
    indirect=["words"],
)
def test_a_server_of_the_documents(line: Line, words: list[str], home: Path) -> None:
    """It answers on its port, says where it is in Korean, and ends on Ctrl+C."""
    port = _free_port()
    if "--port" in words:
        words[words.index("--port") + 1] = str(port)
    else:
        words += ["--port", str(port)]
    said = home / "said.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            _command(home, words), stdout=log, stderr=log, env=_environment(home), cwd=home
        )
    try:
        _wait(lambda: process.poll() is not None or _answers(port), seconds=120)
        alive = process.poll() is None
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    finally:
        process.kill()

    text = said.read_text("utf-8")
    assert alive, f"{line.pages}: {words}\n{text[-4000:]}"
    assert code in {0, 130}, text[-4000:]
    assert KOREAN.search(text), line.pages
    assert "Traceback" not in text, text[-4000:]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _wait(condition, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{seconds}초 안에 되지 않음")
        time.sleep(0.3)


@pytest.fixture(scope="module")
def project(demo_home: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a folder and environment with a Prefect server that has the deployments, no worker."""
    folder = demo_home.parent / "project"
    folder.mkdir()
    for name in ("prefect.yaml", "prefect.toml", "flows", "tasks"):
        (folder / name).symlink_to(CHECKOUT / name)
    shutil.copytree(CHECKOUT / "config", folder / "config")
    port = _free_port()
    environment = _environment(folder) | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    prefect = Path(sys.executable).with_name("prefect")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait(lambda: _answers(port), seconds=90)
        prepared = subprocess.run(
            [sys.executable, "-m", "flows.serve", "--prepare"], cwd=folder, env=environment,
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
        yield folder, environment
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.parametrize("line", PREFECT, ids=[line.text for line in PREFECT])
def test_a_deployment_of_the_documents(line: Line, project: tuple[Path, dict[str, str]]) -> None:
    """A run of it is made; that runs end well is ``tests/integration/test_prefect_server.py``'s."""
    folder, environment = project
    words = [word for word in line.words[1:] if word != "--watch"]

    done = subprocess.run(
        [Path(sys.executable).with_name("prefect"), "--no-prompt", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Created flow run" in done.stdout


def test_what_is_left_out_is_still_there() -> None:
    """No reason outlives its line."""
    assert sorted(set(LEFT_OUT) - {line.text for line in LINES}) == []
