"""Whatever the program starts listens on this machine's loopback, and nowhere else."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from program import CHECKOUT, EAGER, command, configure, environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(line: Sequence[str], folder: Path, **more: str) -> Iterator[psutil.Process]:
    """Run a command with all that it starts, and end them all."""
    process = subprocess.Popen(
        line, cwd=folder, env=environment(**more), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    parent = psutil.Process(process.pid)
    family: list[psutil.Process] = [parent]
    try:
        yield parent
        family += parent.children(recursive=True)
    finally:
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                family += [p for p in member.children(recursive=True) if p not in family]
                member.send_signal(signal.SIGKILL)
        process.wait()


def listening(parent: psutil.Process) -> dict[tuple[str, int], str]:
    """Return the addresses at which a process and its children listen, with their command."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                for one in member.net_connections(kind="inet"):
                    if one.status == psutil.CONN_LISTEN:
                        found[one.laddr.ip, one.laddr.port] = " ".join(member.cmdline())
    return found


def heard(
    line: Sequence[str], folder: Path, *, servers: int, seconds: float = 90.0, **more: str
) -> Mapping[tuple[str, int], str]:
    """Return every address at which a command listened until ``servers`` of them did."""
    seen: dict[tuple[str, int], str] = {}
    with running(line, folder, **more) as parent:
        deadline = time.monotonic() + seconds
        while len(seen) < servers and time.monotonic() < deadline and parent.is_running():
            seen |= listening(parent)
            time.sleep(0.05)
    assert len(seen) >= servers, f"서버 {servers}개를 기다렸으나 {seen}"
    return seen


def assert_own(seen: Mapping[tuple[str, int], str]) -> None:
    assert [where for where in seen if not ip_address(where[0]).is_loopback] == []


def test_the_exchange(home):
    """REST, WebSocket and control door, by the exchange's own command."""
    line = command(home, "exchange", "serve", "--market", "us", "--name", "x")

    assert_own(heard(line, home, servers=1))


def test_a_demo_with_prefect(tmp_path):
    """The exchange and Prefect's passing server, while a day runs."""
    root = configure(tmp_path, EAGER)
    line = command(root, "demo", "--start", "2004-11-12", "--sessions", "1")

    seen = heard(line, root, servers=2)

    assert_own(seen)
    assert any("exchange serve" in text for text in seen.values())


def test_the_dashboard(home):
    """Streamlit, by its own command."""
    line = command(home, "dashboard", "--port", str(free_port()))

    assert_own(heard(line, home, servers=1))


def made(target: str) -> list[str]:
    """Return the command of a target of the Makefile, as it stands there."""
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert recipe is not None
    lines = recipe[1].replace("\\\n", " ").splitlines()
    return shlex.split(
        lines[-1].strip().removeprefix("@").replace("$(BIN)", str(Path(sys.executable).parent))
    )


@pytest.mark.slow
def test_mlflow(tmp_path):
    """``make mlflow``, at another port."""
    words = made("mlflow")
    settings = dict(word.split("=", 1) for word in words if re.match(r"^[A-Z_]+=", word))
    line = [word for word in words if not re.match(r"^[A-Z_]+=", word)]
    line[line.index("--port") + 1] = str(free_port())
    (tmp_path / "mlruns").mkdir()

    seen = heard(line, tmp_path, servers=1, **settings)

    assert_own(seen)


def test_the_prefect_server_is_not_opened_by_an_address(tmp_path):
    """An address outside of this machine is one to ask, not one to listen at."""
    root = configure(tmp_path, {})
    (root / "prefect.yaml").write_bytes((CHECKOUT / "prefect.yaml").read_bytes())

    done = subprocess.run(
        [sys.executable, "-m", "flows.serve"], cwd=root, capture_output=True, text=True, timeout=60,
        env=environment(
            PREFECT_API_URL=f"http://0.0.0.0:{free_port()}/api", PREFECT_HOME=str(tmp_path / "prefect"),
            PYTHONPATH=os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]),
        ),
    )  # fmt: skip

    assert done.returncode == 2
    assert "이 컴퓨터 안의 주소가 아니고" in done.stdout
    assert not (tmp_path / "logs" / "prefect-server.log").exists()


@pytest.mark.slow
def test_the_prefect_server(tmp_path):
    """The server that the service of the flows starts, at another port."""
    root = configure(tmp_path, {})
    (root / "prefect.yaml").write_bytes((CHECKOUT / "prefect.yaml").read_bytes())
    api = f"http://127.0.0.1:{free_port()}/api"
    seen = heard(
        [sys.executable, "-m", "flows.serve"], tmp_path, servers=1, PREFECT_API_URL=api, PREFECT_HOME=str(tmp_path / "prefect"),
        PYTHONPATH=os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]),
    )  # fmt: skip

    assert_own(seen)
