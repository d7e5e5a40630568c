"""Coarse Prefect tasks: each carries out exactly one use-case of ``trading.day``.

Retries, timeouts and artifacts live here; what is done lives in ``trading``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from datetime import date
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from trading.context import DayContext
from trading.day import StageResult
from trading.domain.instrument import Market
from trading.errors import (
    AuthenticationError,
    ConfigError,
    MissingDataError,
    SessionBusyError,
    UsageError,
)
from trading.log import get_logger

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A day has one thread: its event loop belongs to it, and Prefect's own loop stays free to answer
# while a session runs for hours.
_day_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="day")

# Repeating these changes nothing: the answer would be the same.
_FINAL = (AuthenticationError, ConfigError, MissingDataError, SessionBusyError, UsageError)


async def in_day_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in the day's thread and wait for it without blocking the loop."""
    context = copy_context()
    future = _day_thread.submit(lambda: context.run(function, *args, **kwargs))
    return await asyncio.wrap_future(future)


@asynccontextmanager
async def open_day(
    root: str | None, market: Market | None, session: date | None
) -> AsyncIterator[str]:
    """Hold the lease of one session and yield its key; errors as ``bootstrap.open_day``."""
    from trading import bootstrap

    home = Path(root) if root is not None else None
    context = await in_day_thread(bootstrap.open_day, home, market, session)
    try:
        yield context.key
    finally:
        await in_day_thread(bootstrap.close_day, context.key)


async def carry_out(stage: Callable[[DayContext], StageResult], day: str) -> StageResult:
    """Run one stage of the open day ``day`` and publish what it says."""
    from trading import bootstrap

    context = bootstrap.current_day(day)
    try:
        result = await in_day_thread(stage, context)
    except asyncio.CancelledError:
        # Ctrl+C, SIGTERM or a time-out: its thread would trade on until the close.
        context.stop()
        raise
    log.info("단계 완료", stage=result.stage, message=result.message)
    market = {"market": str(context.market)}
    await publish(f"{result.stage}-{day}", result.message, market | result.summary)
    return result


async def publish(key: str, message: str, summary: Mapping[str, Any]) -> None:
    """Leave a Korean artifact: one sentence and a table of figures."""
    from prefect.artifacts import acreate_markdown_artifact

    from trading.notify import labeled

    told = [(name, text.replace("\n", "<br>")) for name, text in labeled(summary)]
    rows = "\n".join(f"| {name} | {text} |" for name, text in told)
    table = f"\n\n| 항목 | 값 |\n|---|---|\n{rows}" if rows else ""
    await acreate_markdown_artifact(
        key=key.replace("_", "-").lower(), markdown=f"{message}{table}", description=message
    )


async def worth_repeating(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task may be tried again: not when the answer would be the same."""
    error = await state.aresult(raise_on_failure=False)
    return not isinstance(error, _FINAL)
