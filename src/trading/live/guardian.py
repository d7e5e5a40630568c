"""The dead-man switch's watch: a session shows that it lives, or somebody has to stand in for it.

It runs in a process of its own beside each session whose venue does not wait, and reads nothing but
the heartbeat file, so that it stays small. What is done about a silent session is in
``trading.supervision``.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from trading.clock import monotonic_seconds

# How long a new watch waits for the one before it to end.
PREDECESSOR_SECONDS = 10.0
_LOOK_SECONDS = 0.5
# The phase of a heartbeat whose session came to its end; see ``trading.monitoring``.
_ENDED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A session that has shown no sign of life for ``seconds``; ``phase`` is what it said last."""

    session: date
    pid: int
    phase: str
    seconds: float


def heartbeat_mark(path: Path) -> int:
    """Return what tells one heartbeat from the next; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def watch(
    path: Path,
    *,
    after: int,
    seconds: float,
    is_succeeded: Callable[[int], bool],
    sleep: Callable[[float], None] = time.sleep,
    elapsed: Callable[[], float] = monotonic_seconds,
) -> Silence | None:
    """Return when the session is silent for too long, ``None`` when there is nothing to guard.

    Parameters
    ----------
    path : Path
        The heartbeat file. An end with the mark ``after`` is that of an earlier session.
    seconds : float
        How long a session may be silent, on a clock that stands still while the machine sleeps:
        a laptop that wakes up has its session's next beat to wait for, not all that it slept.
    is_succeeded : callable
        Asked at the deadline with the number of the silent process: whether it is gone and
        another one works on the account. That one gets the same time once more.
    """
    last: dict[str, Any] | None = None
    mark, since, is_patient = 0, elapsed(), True
    while path.parent.is_dir():
        now = heartbeat_mark(path)
        if now not in (0, mark):
            found = _beat(path)
            if found is not None and found["phase"] != _ENDED:
                mark, last, since, is_patient = now, found, elapsed(), True
            elif found is not None and now != after:
                return None
        if elapsed() - since >= seconds:
            if last is None:
                # It never began.
                return None
            if not is_patient or not is_succeeded(last["pid"]):
                return Silence(
                    session=date.fromisoformat(last["session"]),
                    pid=last["pid"],
                    phase=last["phase"],
                    seconds=elapsed() - since,
                )
            is_patient, since = False, elapsed()
        sleep(_LOOK_SECONDS)
    return None


def is_succeeded(lease: Path, pid: int) -> bool:
    """Return whether ``pid`` is gone and another process holds the lease of its account."""
    import psutil

    try:
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        pass
    return is_held(lease)


def is_held(lock: Path) -> bool:
    """Return whether somebody holds ``lock``."""
    from filelock import FileLock, Timeout

    probe = FileLock(lock)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    probe.release()
    return False


def _beat(path: Path) -> dict[str, Any] | None:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return {name: body[name] for name in ("pid", "session", "phase")}
    except (OSError, ValueError, KeyError, TypeError):
        # Not a heartbeat: no sign of life either.
        return None
