"""How a running session is doing: its heartbeat file, its counts, memory and processor.

Whoever wants to know reads the file; nothing here decides or alarms.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from trading.ports import Clock

OPEN = "open"
CLOSED = "closed"

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of a session; ``ts`` in wall time."""

    pid: int
    ts: datetime
    market: str
    session: str
    phase: str
    counters: Mapping[str, int]
    memory_mb: float
    cpu_percent: float


class SessionMonitor:
    """Writes the heartbeat of one session; ``counters`` tells how far its counts have come."""

    def __init__(
        self,
        path: Path,
        *,
        market: str,
        session: str,
        clock: Clock,
        counters: Callable[[], Mapping[str, int]],
    ) -> None:
        import psutil

        self._path = path
        self._market = market
        self._session = session
        self._clock = clock
        self._counters = counters
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only marks the start of the interval

    def beat(self, phase: str) -> Heartbeat:
        """Write the heartbeat file, whole or not at all, and return what it says."""
        heartbeat = Heartbeat(
            pid=os.getpid(),
            ts=self._clock.now(),
            market=self._market,
            session=self._session,
            phase=phase,
            counters=dict(sorted(self._counters().items())),
            memory_mb=round(self._process.memory_info().rss / _MB, 1),
            cpu_percent=self._process.cpu_percent(),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps(asdict(heartbeat), default=_iso), encoding="utf-8")
        fresh.replace(self._path)
        return heartbeat

    @contextlib.asynccontextmanager
    async def beating(self, *, every_seconds: float = 10.0) -> AsyncIterator[None]:
        """Beat while the block runs: at its start, every so often, and ``closed`` at its end."""

        async def keep_on() -> None:
            while True:
                self.beat(OPEN)
                await asyncio.sleep(every_seconds)

        heart = asyncio.create_task(keep_on())
        try:
            yield
        finally:
            heart.cancel()
            self.beat(CLOSED)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return the heartbeat in the file; ``None`` when there is none."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Heartbeat(**body | {"ts": datetime.fromisoformat(body["ts"])})


def is_running(heartbeat: Heartbeat) -> bool:
    """Whether the session has not ended and the process that ran it still exists."""
    import psutil

    return heartbeat.phase != CLOSED and bool(psutil.pid_exists(heartbeat.pid))


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"JSON으로 쓸 수 없는 값: {value!r}")
