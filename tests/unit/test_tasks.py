"""What a task does with a stage of the day: tries, ends, and who is told."""

import asyncio
import json
import shutil
import sqlite3
import threading
import types
from typing import Any

import pytest

import tasks
from tasks import worth_waiting
from tasks.market_data import collect_market_data
from tasks.notify import _in_korean, tell_failure
from trading import bootstrap, log
from trading.context import DayContext
from trading.day import StageResult, perform
from trading.domain.instrument import Market
from trading.errors import MissingDataError, SchemaError, TransientBrokerError
from trading.home import shipped_config_dir

DONE = StageResult(stage="intraday", message="마쳤습니다.")


@pytest.fixture
def day(monkeypatch) -> DayContext:
    """An open day whose stages are the test's own; nothing of it goes to Prefect."""
    nothing: Any = None
    context = DayContext(
        key="demo-us-2005-02-25",
        env="demo",
        market=Market.US,
        **dict.fromkeys(
            (
                "session", "run", "home", "settings", "rules", "calendar", "policy", "clock",
                "ledger", "lake", "source", "notifier", "connect",
            ),
            nothing,
        ),
    )  # fmt: skip

    async def unpublished(*_: Any) -> None:
        return None

    monkeypatch.setattr(bootstrap, "current_day", lambda key: context)
    monkeypatch.setattr(tasks, "publish", unpublished)
    return context


def a_session(context: DayContext) -> StageResult:
    """Trade for as long as nobody ends it, at most a moment."""

    async def trade() -> StageResult:
        context.begin_session()
        await asyncio.sleep(0.01)
        return DONE

    return asyncio.run(trade())


def test_a_try_after_a_time_out_may_trade(day):
    """What ends a stage that took too long ends neither its next try nor the stages after it."""
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(_: DayContext) -> StageResult:
        begun.set()
        may_go_on.wait(5)
        return DONE

    async def one_day() -> StageResult:
        first = asyncio.create_task(tasks.carry_out(slow, day.key))
        await asyncio.to_thread(begun.wait, 5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        may_go_on.set()
        await tasks.carry_out(lambda _: DONE, day.key)
        return await tasks.carry_out(a_session, day.key)

    assert asyncio.run(one_day()) == DONE


def test_a_session_that_is_ended_before_it_begins(day):
    """A stage that is stopped while it still prepares its session does not begin to trade."""
    preparing, may_go_on = threading.Event(), threading.Event()
    traded = []

    def late(context: DayContext) -> StageResult:
        preparing.set()
        may_go_on.wait(5)
        traded.append(a_session(context))
        return DONE

    async def one_day() -> None:
        trading = asyncio.create_task(tasks.carry_out(late, day.key))
        await asyncio.to_thread(preparing.wait, 5)
        trading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trading
        may_go_on.set()
        await tasks.in_day_thread(lambda: None)

    asyncio.run(one_day())

    assert traded == []


def test_who_tells_of_a_stage_that_fails(day):
    """In a flow its hook alone tells of it, without a flow the line of the log does."""
    told: list[Any] = []
    stop = log.on_error(told.append)

    def broken(_: DayContext) -> StageResult:
        raise ValueError("고장")

    try:
        with pytest.raises(ValueError, match="고장"):
            asyncio.run(tasks.carry_out(broken, day.key))
        assert told == []
        with pytest.raises(ValueError, match="고장"):
            perform(broken, day)
        assert [line["event"] for line in told] == ["단계 실패"]
    finally:
        stop()


# What Prefect 3.9 leaves in the state of a flow that ended so.
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Flow run encountered an exception: UsageError: 잘못된 부탁", "UsageError: 잘못된 부탁"),
        (
            "Flow run failed due to timeout: "
            "TaskRunTimeoutError('Scope timed out after 1800.0 second(s).')",
            "1,800초 안에 끝나지 않음",
        ),
        ("Execution was aborted by an interrupt signal.", "Ctrl+C로 멈춤"),
        ("Execution was aborted by a termination signal.", "종료 요청(SIGTERM)으로 멈춤"),
        ("Execution was cancelled by the runtime environment.", "실행이 취소됨"),
    ],
)
def test_a_failure_is_told_in_korean(said, told):
    """The mail about a flow says why in Korean."""
    assert _in_korean(said) == f"흐름이 오류로 끝났습니다: {told}"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TransientBrokerError("점검 중"), 5),
        (SchemaError("깨진 묶음"), 3),
        (MissingDataError("없는 날"), 1),
    ],
)
def test_before_the_open_a_venue_that_is_down_is_waited_for(error, tries):
    """The data of the day are asked for until the open is near; a broken batch is not."""
    state = types.SimpleNamespace(aresult=lambda **_: asyncio.sleep(0, error))
    allowed = collect_market_data.retries

    done = 1
    while done <= allowed and asyncio.run(
        worth_waiting(None, types.SimpleNamespace(run_count=done), state)
    ):
        done += 1

    assert done == tries
    assert sum(collect_market_data.retry_delay_seconds) < 30 * 60


def test_a_broken_settings_file_is_told(home):
    """What keeps the day from starting must not keep its message from being written."""
    shutil.copytree(shipped_config_dir(), home / "config")
    (home / "config" / "risk.yaml").write_text("max_gros: 1.0\n", "utf-8")
    run = types.SimpleNamespace(parameters={"root": str(home)}, name="하루 매매", id="run-1")
    said = "Flow run encountered an exception: ConfigError: 모르는 설정"

    tell_failure(
        types.SimpleNamespace(name="daily-trading"), run, types.SimpleNamespace(message=said)
    )

    with sqlite3.connect(home / "data" / "outbox.db") as db:
        rows = db.execute("SELECT body FROM outbox WHERE event = 'error'").fetchall()
    db.close()
    assert [json.loads(body)["message"] for (body,) in rows] == [
        "흐름이 오류로 끝났습니다: ConfigError: 모르는 설정"
    ]
