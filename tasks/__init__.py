"""Coarse Prefect tasks: each carries out exactly one use-case of ``trading.day``.

Retries, timeouts and artifacts live here; what is done lives in ``trading``.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from datetime import date
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from trading.context import DayContext
from trading.day import StageResult, perform
from trading.domain.instrument import Market
from trading.errors import (
    AuthenticationError,
    ConfigError,
    LeaseLostError,
    MissingDataError,
    ReconciliationError,
    SessionBusyError,
    TransientBrokerError,
    UsageError,
)
from trading.log import get_logger

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A day has one thread: its event loop belongs to it, and Prefect's own loop stays free to answer
# while a session runs for hours.
_day_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="day")

# Repeating these changes nothing: the answer would be the same, or a person must look first.
_FINAL = (
    AuthenticationError,
    ConfigError,
    LeaseLostError,
    MissingDataError,
    ReconciliationError,
    SessionBusyError,
    UsageError,
)


# How often ``worth_waiting`` lets anything but a silent venue be tried again.
_TRIES_OF_OTHERS = 2


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


def day_text(day: str) -> str:
    """Return the market and the session of the open day ``day`` as people read them."""
    from trading import bootstrap
    from trading.domain.wording import MARKET_TEXT

    context = bootstrap.current_day(day)
    return f"{MARKET_TEXT[context.market]} {context.session}"


async def name_run(name: str) -> None:
    """Give the flow run that is under way a name that says more than was known at its start."""
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    with _best_effort(name):
        async with get_client() as client:
            await client.set_flow_run_name(flow_run.id, name)


async def carry_out(stage: Callable[[DayContext], StageResult], day: str) -> StageResult:
    """Run one stage of the open day ``day`` and publish what it says."""
    from trading import bootstrap

    context = bootstrap.current_day(day)
    stopped = threading.Event()

    def attempt() -> StageResult:
        # In the day's thread, where whatever an earlier try left running has ended: that one was
        # stopped, and this one is not.
        context.stopped = stopped
        # The hook of the flow tells of what no further try has mended.
        return perform(stage, context, is_told=True)

    try:
        result = await in_day_thread(attempt)
    except asyncio.CancelledError:
        # Ctrl+C, SIGTERM or a time-out: its thread would trade on until the close.
        context.stop(stopped)
        raise
    market = {"market": str(context.market)}
    await publish(f"{result.stage}-{day}", result.message, market | result.summary)
    return result


async def publish(key: str, message: str, summary: Mapping[str, Any]) -> None:
    """Leave a Korean artifact: a sentence and a table of figures."""
    from trading.notify import labeled

    rows = [{"항목": name, "값": text} for name, text in labeled(summary)]
    await publish_table(key, message, rows)


async def publish_table(key: str, message: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Leave a table with ``message`` above it; the sentence alone where there are no rows."""
    from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

    with _best_effort(key):
        if rows:
            table = [dict(row) for row in rows]
            await acreate_table_artifact(table=table, key=_key(key), description=message)
        else:
            await acreate_markdown_artifact(markdown=message, key=_key(key), description=message)


async def publish_page(key: str, message: str, markdown: str) -> None:
    """Leave a page of text."""
    from prefect.artifacts import acreate_markdown_artifact

    with _best_effort(key):
        await acreate_markdown_artifact(markdown=markdown, key=_key(key), description=message)


async def publish_link(key: str, message: str, path: Path) -> None:
    """Leave a link to a file of this machine; its path is the text, for whoever sits elsewhere."""
    from prefect.artifacts import acreate_link_artifact

    with _best_effort(key):
        await acreate_link_artifact(
            link=path.absolute().as_uri(), link_text=str(path), key=_key(key), description=message
        )


@contextmanager
def _best_effort(key: str) -> Iterator[None]:
    # What was traded is in the ledger: a page that cannot be shown fails no stage of the day.
    try:
        yield
    except Exception as error:
        log.warning("Prefect 화면에 결과를 남기지 못함", artifact=key, reason=str(error))


def _key(key: str) -> str:
    return key.replace("_", "-").lower()


async def worth_repeating(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task may be tried again: not when the answer would be the same."""
    error = await state.aresult(raise_on_failure=False)
    return not isinstance(error, _FINAL)


async def worth_waiting(task: Any, run: Any, state: Any) -> bool:
    """Whether to ask again before the open: a venue that is down for longer than for anything else."""
    error = await state.aresult(raise_on_failure=False)
    if isinstance(error, TransientBrokerError):
        return True
    return not isinstance(error, _FINAL) and run.run_count <= _TRIES_OF_OTHERS


async def worth_restarting(task: Any, run: Any, state: Any) -> bool:
    """Whether a session that broke off goes on from the ledger: a dead token is none for long."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, AuthenticationError) or not isinstance(error, _FINAL)
