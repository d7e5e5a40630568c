"""The automations of a real server, seen to do what they are there for."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect_bench import Server, prepared_server, wait_for

pytestmark = pytest.mark.slow

# Two hours are too long for a test; the server evaluates silence every 5 s.
_HURRY = """
import asyncio
from datetime import timedelta
from flows import automations
automations._SILENT_MESSENGER = timedelta(seconds=20)
asyncio.run(automations.ensure_automations())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with prepared_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def deployment_of(server: Server, name: str) -> str:
    (found,) = server.ask("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    return found["id"]


def runs_of(server: Server, name: str) -> list[dict]:
    only = {"id": {"any_": [deployment_of(server, name)]}}
    return server.ask("/flow_runs/filter", {"deployments": only})


def begin(server: Server, name: str, *, due: datetime) -> dict:
    details = {"scheduled_time": due.isoformat()}
    state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": details}
    path = f"/deployments/{deployment_of(server, name)}/create_flow_run"
    return server.ask(path, {"state": state})


def alarm(server: Server, start: str) -> dict | None:
    return next(
        (
            run
            for run in runs_of(server, "hourly-report")
            if (run["parameters"].get("alarm") or "").startswith(start)
        ),
        None,
    )


def test_a_late_day_is_told(server):
    """No worker takes the day: the messenger is called, and what it says reaches the outbox."""
    late = begin(server, "daily-trading", due=datetime.now(UTC) - timedelta(minutes=5))

    told = wait_for(lambda: alarm(server, "예약된 시각에 시작하지 못했습니다"), seconds=90)

    assert late["name"] in told["parameters"]["alarm"]
    assert told["parameters"]["about"] == f"late:{late['id']}"
    sent = server.prefect("flow-run", "execute", told["id"])
    assert sent.returncode == 0, sent.stdout + sent.stderr
    with sqlite3.connect(server.project / "data" / "outbox.db") as outbox:
        bodies = [body for (body,) in outbox.execute("SELECT body FROM outbox")]
    assert any("예약된 시각에 시작하지 못했습니다" in body for body in bodies)


def test_a_day_that_crashed_is_told_and_begun_again(server):
    """Once: the same days begin again, and a second crash within ten minutes begins no third."""
    due = datetime.now(UTC) + timedelta(days=2)
    first = begin(server, "daily-trading-us", due=due)
    crashed = {"state": {"type": "CRASHED", "message": "시험"}, "force": True}

    server.ask(f"/flow_runs/{first['id']}/set_state", crashed)

    told = wait_for(lambda: alarm(server, "실행이 죽었습니다"), seconds=60)
    assert told["parameters"] == {
        "alarm": f"실행이 죽었습니다: {first['name']} (시험)", "about": first["id"],
    }  # fmt: skip

    def again() -> dict | None:
        found = runs_of(server, "daily-trading-us")
        return next((run for run in found if run["auto_scheduled"] is False
                     and run["id"] != first["id"]), None)  # fmt: skip

    second = wait_for(again, seconds=60)
    server.ask(f"/flow_runs/{second['id']}/set_state", crashed)
    wait_for(lambda: _alarm_about(server, second["id"]), seconds=60)
    by_hand = [run for run in runs_of(server, "daily-trading-us") if not run["auto_scheduled"]]
    assert sorted(run["id"] for run in by_hand) == sorted([first["id"], second["id"]])


def _alarm_about(server: Server, run_id: str) -> bool:
    runs = runs_of(server, "hourly-report")
    return any(run["parameters"].get("about") == run_id for run in runs)


def test_a_run_without_a_sign_of_life_is_ended(server):
    """Its process died with the machine: 90 seconds after the last sign it counts as crashed."""
    run = begin(server, "research", due=datetime.now(UTC) + timedelta(days=2))
    running = {"state": {"type": "RUNNING"}, "force": True}
    server.ask(f"/flow_runs/{run['id']}/set_state", running)
    sign = {
        "id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run['id']}"},
    }  # fmt: skip
    server.ask("/events", [sign])

    def ended() -> dict | None:
        now = server.ask(f"/flow_runs/{run['id']}")
        return now if now["state_type"] != "RUNNING" else None

    assert wait_for(ended, seconds=180)["state_type"] == "CRASHED"


def test_a_messenger_that_is_silent_is_told(server):
    """Nothing has to happen first: an hourly message that never comes is missed."""
    hurried = subprocess.run(
        [sys.executable, "-c", _HURRY], cwd=server.project, env=server.environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert hurried.returncode == 0, hurried.stderr

    told = wait_for(lambda: alarm(server, "매시 알림이 두 시간 동안"), seconds=120)

    assert told["parameters"].get("about") is None
