"""A real Prefect server: the only thing that catches a wrong fastapi or SQLAlchemy."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
DEPLOYMENTS = {
    "daily-trading",
    "daily-trading-krx",
    "daily-trading-us",
    "retrain",
    "backfill",
    "hourly-report",
    "research",
}


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

    def ask(self, path: str, body: dict | None = None):
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

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


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    server = Server(folder)
    try:
        wait_for(server.is_up, seconds=90)
        pool = server.prefect("work-pool", "create", "trading", "--type", "process")
        assert pool.returncode == 0, pool.stderr
        deployed = server.prefect("deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_every_deployment_is_there(server):
    """``prefect deploy --all`` makes the deployments that the documents name."""
    found = server.ask("/deployments/filter", {})

    assert {deployment["name"] for deployment in found} == DEPLOYMENTS


def test_scheduled_runs_appear(server):
    """The day, its companion and the weekly training are scheduled, and runs really appear."""
    names = {d["id"]: d["name"] for d in server.ask("/deployments/filter", {})}

    wanted = {"daily-trading", "hourly-report", "retrain"}

    def scheduled() -> set[str] | None:
        runs = server.ask(
            "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        )
        found = {names[run["deployment_id"]] for run in runs if run["deployment_id"]}
        return found if wanted <= found else None

    assert wait_for(scheduled, seconds=60) == wanted


def test_schedules_keep_local_time(server):
    """The day starts by the clock of its own market."""
    day = server.ask("/deployments/name/daily-trading/daily-trading")

    zones = {entry["schedule"]["timezone"]: entry["parameters"] for entry in day["schedules"]}
    assert zones == {
        "Asia/Seoul": {"only_market": "krx"},
        "America/New_York": {"only_market": "us"},
    }


def test_bare_name_starts_a_run(server):
    """``prefect deployment run research`` needs no flow name."""
    started = server.prefect("deployment", "run", "research")

    assert started.returncode == 0, started.stdout + started.stderr
    deployment = server.ask("/deployments/name/research/research")
    runs = server.ask("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment["id"]]}}})
    assert len(runs) == 1


def test_unknown_bare_name_is_not_found(server):
    """A name that exists nowhere gets Prefect's own answer."""
    failed = server.prefect("deployment", "run", "no-such-day")

    assert failed.returncode != 0
    assert "not found" in failed.stdout + failed.stderr
