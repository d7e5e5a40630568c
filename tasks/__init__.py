"""Coarse Prefect tasks: each carries out exactly one use-case of ``trading.day``.

Retries, timeouts and artifacts live here; what is done lives in ``trading``.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from trading.errors import (
    AuthenticationError,
    ConfigError,
    MissingDataError,
    SessionBusyError,
    UsageError,
)

if TYPE_CHECKING:
    from trading.day import StageResult

P = ParamSpec("P")
T = TypeVar("T")

# A day has one thread: its ledger and its event loop belong to it, and Prefect's own loop stays
# free to answer while a session runs for hours.
_day_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="day")

# Repeating these changes nothing: the answer would be the same.
_FINAL = (AuthenticationError, ConfigError, MissingDataError, SessionBusyError, UsageError)


async def in_day_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in the day's thread and wait for it without blocking the loop."""
    context = copy_context()
    future = _day_thread.submit(context.run, function, *args, **kwargs)
    return await asyncio.wrap_future(future)


async def carry_out(stage: str, day: str) -> "StageResult":
    """Run one stage of the open day ``day`` and publish what it says."""
    from trading import bootstrap
    from trading import day as stages

    result: StageResult = await in_day_thread(getattr(stages, stage), bootstrap.current_day(day))
    await publish(f"{stage}-{day}", result.message, result.summary)
    return result


async def publish(key: str, message: str, summary: dict[str, Any]) -> None:
    """Leave a Korean artifact: one sentence and a table of figures."""
    from prefect.artifacts import acreate_markdown_artifact

    rows = "\n".join(f"| {name} | {value} |" for name, value in summary.items())
    table = f"\n\n| 항목 | 값 |\n|---|---|\n{rows}" if rows else ""
    await acreate_markdown_artifact(
        key=key.replace("_", "-").lower(), markdown=f"{message}{table}", description=message
    )


async def worth_repeating(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task may be tried again: not when the answer would be the same."""
    error = await state.aresult(raise_on_failure=False)
    return not isinstance(error, _FINAL)
