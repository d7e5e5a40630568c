"""The flows on a Prefect server of their own, over the real local exchange."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from program import EAGER, configure, messages

from trading import bootstrap, demo
from trading.bootstrap import DemoRequest
from trading.domain.instrument import Currency, Market
from trading.domain.wording import money_text
from trading.errors import UsageError
from trading.notify import Event

START = date(2004, 11, 12)


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A home in which a demo run of one session was begun and not yet traded."""
    root = configure(tmp_path_factory.mktemp("by-flow"), EAGER)
    bootstrap.begin_demo(
        bootstrap.open_home(root, console=False), Market.US, DemoRequest(start=START)
    )
    return root


def test_schedule_of_another_market_is_skipped(prefect_server, home):
    """A run that wakes by the clock of another market says why it does nothing."""
    from flows.daily_trading import daily_trading

    state = asyncio.run(daily_trading(root=str(home), only_market=Market.KRX, return_state=True))

    assert (state.type, state.name) == ("COMPLETED", "Skipped")
    assert "krx" in state.message
    assert list(home.iterdir()) == []


def test_second_day_is_skipped_while_one_runs(prefect_server, begun):
    """The lease decides, whoever holds it; nobody waits and nothing fails."""
    from flows.daily_trading import daily_trading
    from flows.retrain import retrain

    holder = bootstrap.open_day(begun)
    try:
        states = [
            asyncio.run(flow(root=str(begun), return_state=True))
            for flow in (daily_trading, retrain)
        ]
    finally:
        bootstrap.close_day(holder.key)

    assert [(state.type, state.name) for state in states] == [("COMPLETED", "Skipped")] * 2


def test_day_by_flow_is_the_day(prefect_server, begun, tmp_path):
    """The flow and the plain list of stages decide, order and report the same.

    Afterwards the outbox is sent and nobody is missed.
    """
    from flows.daily_trading import daily_trading
    from flows.hourly_report import hourly_report

    asyncio.run(daily_trading(root=str(begun)))
    bootstrap.stop_exchange(bootstrap.open_home(begun, console=False), "demo-us")
    plain = demo.run(
        bootstrap.open_home(configure(tmp_path, EAGER), console=False),
        Market.US,
        DemoRequest(start=START),
        with_prefect=False,
    )

    by_flow = figures_of(begun)
    for name in ("sessions", "orders", "fills", "final_equity", "decision_hash", "orders_hash"):
        assert by_flow[name] == plain[name], name
    assert by_flow["sessions"] == 1
    assert by_flow["cash_difference"] == 0
    assert Path(by_flow["reports"][0]).is_file()
    figures = json.loads(asyncio.run(artifact_of(f"day-demo-us-{START}")))
    told = {row["항목"]: row["값"] for row in figures}
    assert told["총자산"] == money_text(by_flow["final_equity"], Currency.USD)
    assert not [name for name in told if re.fullmatch("[a-z_]+", name)], "an English name"
    orders = json.loads(asyncio.run(artifact_of(f"orders-demo-us-{START}")))
    assert len(orders) == by_flow["orders"] > 0
    assert {row["상태"] for row in orders} <= {"체결", "일부 체결", "미체결 소멸", "내부 거부"}
    assert by_flow["reports"][0] in asyncio.run(artifact_of(f"report-demo-us-{START}"))
    assert "장전" in asyncio.run(artifact_of(f"briefing-demo-us-{START}"))
    assert asyncio.run(name_of("daily-trading", "Completed")) == f"하루 매매 미국 {START}"
    sent = asyncio.run(hourly_report(root=str(begun)))
    assert (sent["pending"], sent["running"]) == (0, 0)
    assert len(messages(begun, Event.SESSION_ENDED)) == 1


def test_backfill_and_research(prefect_server, home):
    """Filling the lake and a backtest run as flows and answer in figures."""
    from flows.backfill import backfill
    from flows.research import research

    filled = asyncio.run(
        backfill(date(2005, 1, 3), date(2005, 3, 31), market=Market.US, root=str(home))
    )
    tested = asyncio.run(
        research(
            strategy="ma_crossover",
            symbols=["AAPL", "IBM"],
            first=date(2004, 1, 2),
            last=date(2004, 6, 30),
            root=str(home),
        )
    )

    assert filled["rows"] > 200
    assert (
        tested["sessions"] == 124
    )  # NYSE sessions of the first half of 2004, without Reagan's day


def test_being_asked_to_end_is_no_failure():
    """What Prefect makes of SIGTERM ends the command line as Ctrl+C does."""
    from prefect.exceptions import TerminationSignal

    from flows import run_here

    async def flow() -> None:
        raise TerminationSignal(signal=15)

    with pytest.raises(KeyboardInterrupt):
        run_here(flow())


def test_failure_is_told(prefect_server, home):
    """A flow that fails puts a message into the outbox."""
    from flows.backfill import backfill

    with pytest.raises(UsageError):
        asyncio.run(backfill(date(2006, 1, 2), date(2005, 1, 3), market=Market.US, root=str(home)))

    assert len(messages(home, Event.ERROR)) == 1


async def artifact_of(key: str) -> str:
    from prefect.artifacts import Artifact

    found = await Artifact.aget(key)
    assert found is not None
    return str(found.data)


async def name_of(flow: str, state: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )

    async with get_client() as client:
        (run,) = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[state]))
            ),
        )
        return run.name


def figures_of(root: Path) -> dict:
    installation = bootstrap.open_home(root, console=False)
    ledger = bootstrap.open_ledger(installation.home, "demo", Market.US, read_only=True)
    try:
        run = bootstrap.Run.latest(ledger)
        return demo.add_up(ledger, run, installation.home)
    finally:
        ledger.close()
