"""A real Prefect server: the only thing that catches a wrong fastapi or SQLAlchemy."""

import re
from collections.abc import Iterator
from datetime import date

import pytest
from prefect_bench import Server, prepared_server, wait_for

from trading.domain.instrument import Market
from trading.store.lake import Lake

DEPLOYMENTS = {
    "daily-trading",
    "daily-trading-krx",
    "daily-trading-us",
    "retrain",
    "backfill",
    "hourly-report",
    "research",
}
AUTOMATIONS = {
    "멎은 실행 정리",
    "시작하지 못한 실행 정리",
    "죽은 실행 알림",
    "죽은 하루 다시 시작",
    "늦은 실행 알림",
    "조용한 예약 알림",
}
ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def automations(server: Server) -> list[dict]:
    return server.ask("/automations/filter", {"limit": 100})


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with prepared_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def test_every_deployment_is_there(server):
    """``prefect deploy --all`` makes the deployments that the documents name."""
    found = server.ask("/deployments/filter", {})

    assert {deployment["name"] for deployment in found} == DEPLOYMENTS


def test_only_what_trades_nothing_waits_for_its_like(server):
    """Training, filling and messages wait; a day has the lease, which outlives the server."""
    limits = {
        d["name"]: (d["global_concurrency_limit"] or {}).get("limit")
        for d in server.ask("/deployments/filter", {})
    }

    days = {name for name in DEPLOYMENTS if name.startswith("daily")}
    assert limits == {name: None if name in days else 1 for name in DEPLOYMENTS}


def test_prepared_twice(server):
    """What was made once is not made again, and what a person has paused stays paused."""
    (paused,) = [a for a in automations(server) if a["name"] == "늦은 실행 알림"]
    server.ask(f"/automations/{paused['id']}", {"enabled": False}, method="PATCH")

    again = server.prepare()

    assert again.returncode == 0, again.stdout + again.stderr
    assert "(새로 만든 것 0가지)" in again.stdout
    found = automations(server)
    assert sorted(a["name"] for a in found) == sorted(AUTOMATIONS)
    assert [a["name"] for a in found if not a["enabled"]] == ["늦은 실행 알림"]
    assert all(re.search("[가-힣]", a["description"]) for a in found)


def test_parameters_are_described_in_korean(server):
    """Whoever starts a run on the pages reads what each field takes."""
    for deployment in server.ask("/deployments/filter", {}):
        fields = deployment["parameter_openapi_schema"]["properties"]
        missing = [
            n for n, f in fields.items() if not re.search("[가-힣]", f.get("description", ""))
        ]
        assert not missing, (deployment["name"], missing)


def test_a_range_is_filled_by_name(server):
    """``prefect deployment run backfill --param from=… --param to=…`` fills that range.

    A worker runs it; its page tells in Korean what came.
    """
    started = server.prefect(
        "deployment", "run", "backfill",
        "--param", "from=2005-01-03", "--param", "to=2005-03-31", "--param", 'kinds=["daily"]',
    )  # fmt: skip
    assert started.returncode == 0, started.stdout + started.stderr

    worked = server.prefect("worker", "start", "--pool", "trading", "--run-once")

    assert worked.returncode == 0, worked.stdout + worked.stderr

    def ended() -> dict | None:
        runs = server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["backfill"]}}})
        return next((run for run in runs if run["state_type"] in ENDS), None)

    run = wait_for(ended, seconds=60)
    assert (run["state_name"], run["name"]) == (
        "Completed",
        "시세 채우기 설정된 시장 2005-01-03 ~ 2005-03-31",
    )
    (page,) = server.ask("/artifacts/filter", {"artifacts": {"key": {"any_": ["backfill"]}}})
    assert "daily: " in page["data"]
    lake = Lake(server.project / "data" / "lake")
    days = lake.sessions(Market.US)
    assert (days[0], days[-1]) == (date(2005, 1, 3), date(2005, 3, 31))


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
