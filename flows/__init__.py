"""Prefect flows: the day, its stages, and what runs beside it."""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_SERVER = "prefect.server.api.server:create_app"

_SERVICES = (
    "CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "DB_VACUUM", "EVENT_LOGGER", "EVENT_PERSISTER",
    "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "SCHEDULER", "TASK_RUN_RECORDER",
    "TRIGGERS",
)  # fmt: skip


def use_local_api(data_dir: Path) -> None:
    """Let flows of this process run on a server of their own, kept under ``data_dir``.

    Call before anything of Prefect is imported. Prefect keeps no trading state: the folder may be
    deleted at any time. Its English log lines stay out of the console; the program tells its own.
    """
    folder = data_dir / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    _end_servers_left_in(folder)
    os.environ |= {
        # Empty, not absent: prefect.toml names the server of ``make serve``.
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILE": "ephemeral",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "true",
        # A server that lives as long as one command schedules, cleans and alarms nothing.
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _SERVICES},
    }


def _end_servers_left_in(folder: Path) -> None:
    """End servers of ``folder`` whose command was killed: they would stay until the next boot."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if not any(_SERVER in word for word in process.info["cmdline"] or ()):
            continue
        # Gone meanwhile, or somebody else's.
        with suppress(psutil.Error):
            parent = process.parent()
            is_left = parent is None or "python" not in "".join(parent.cmdline()[:1])
            if is_left and process.environ().get("PREFECT_HOME") == str(folder):
                process.terminate()


def run_here(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow to its end and return what it gives; SIGTERM ends it as Ctrl+C does, with ``KeyboardInterrupt``."""
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker
    from prefect.exceptions import TerminationSignal

    # Nobody listens on a server without services, and each worker of events that ends stays in
    # memory until the process does: a run of many days would grow with every one.
    EventsWorker.set_client_override(NullEventsClient)
    try:
        return asyncio.run(flow)
    except TerminationSignal as signaled:
        # While a flow runs, SIGTERM raises this: no ``Exception``, and nobody else knows it.
        raise KeyboardInterrupt from signaled
