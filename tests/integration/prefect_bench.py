"""A real Prefect server of its own home, port and project folder, and what may be asked of it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import configure

CHECKOUT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")


class Server:
    """A server of its own home, port and project folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.project = folder / "project"
        self.project.mkdir()
        for name in ("prefect.yaml", "prefect.toml", "flows", "tasks"):
            (self.project / name).symlink_to(CHECKOUT / name)
        configure(self.project, {})
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            "DO_NOT_TRACK": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "NO_COLOR": "1",
        }
        with (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PREFECT, "--no-prompt", *arguments],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def prepare(self) -> subprocess.CompletedProcess[str]:
        """Make pool, deployments and automations, as ``make serve`` and systemd do."""
        return subprocess.run(
            [sys.executable, "-m", "flows.serve", "--prepare"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ask(self, path: str, body: dict | None = None, method: str | None = None):
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def is_up(self) -> bool:
        try:
            return self.ask("/health") is True
        except OSError:
            return False


def wait_for(condition, *, seconds: float):
    """Poll until the condition holds and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {condition}")
        time.sleep(0.2)
    return answer


@contextmanager
def prepared_server(folder: Path) -> Iterator[Server]:
    """Start a server on which pool, deployments and automations are made; it ends with the block."""
    server = Server(folder)
    try:
        wait_for(server.is_up, seconds=90)
        prepared = server.prepare()
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)
