"""How a running session is doing: its heartbeat file, its counters, and what it uses.

Whoever wants to know reads the file; nothing here decides or alarms.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from trading.ports import Clock

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What this process uses and what the disk of ``path`` has left."""

    memory_mb: float
    cpu_percent: float
    disk_free_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of a session: ``ts`` in the clock that the session runs by."""

    pid: int
    ts: datetime
    market: str
    session: str
    phase: str
    last_frame: datetime | None
    counters: Mapping[str, int]
    memory_mb: float
    cpu_percent: float


class SessionMonitor:
    """Counts what a session does and writes its heartbeat.

    Counter names are free; the session uses ``api_succeeded``, ``api_failed``, ``frames``,
    ``reconnects``, ``orders``, ``fills``, ``refused``.
    """

    def __init__(self, path: Path, *, market: str, session: str, clock: Clock) -> None:
        import psutil

        self._path = path
        self._market = market
        self._session = session
        self._clock = clock
        self._counters: Counter[str] = Counter()
        self._last_frame: datetime | None = None
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only marks the start of the interval

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self._counters[name] += amount

    def frame(self, ts: datetime) -> None:
        """Note one message of the feed."""
        self._counters["frames"] += 1
        self._last_frame = ts

    @property
    def counters(self) -> Mapping[str, int]:
        """The counters so far, by name."""
        return dict(sorted(self._counters.items()))

    def beat(self, phase: str) -> Heartbeat:
        """Write the heartbeat file, whole or not at all, and return what it says."""
        heartbeat = Heartbeat(
            pid=os.getpid(),
            ts=self._clock.now(),
            market=self._market,
            session=self._session,
            phase=phase,
            last_frame=self._last_frame,
            counters=self.counters,
            memory_mb=round(self._process.memory_info().rss / _MB, 1),
            cpu_percent=self._process.cpu_percent(),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps(asdict(heartbeat), default=_iso), encoding="utf-8")
        fresh.replace(self._path)
        return heartbeat


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return the heartbeat in the file; ``None`` when there is none."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    last_frame = body.pop("last_frame")
    return Heartbeat(
        **body | {"ts": datetime.fromisoformat(body["ts"])},
        last_frame=datetime.fromisoformat(last_frame) if last_frame is not None else None,
    )


def is_running(heartbeat: Heartbeat) -> bool:
    """Whether the process that wrote the heartbeat still exists."""
    import psutil

    return bool(psutil.pid_exists(heartbeat.pid))


def resources(path: Path) -> Resources:
    """Measure this process and the disk that holds ``path``."""
    import psutil

    process = psutil.Process()
    return Resources(
        memory_mb=round(process.memory_info().rss / _MB, 1),
        cpu_percent=process.cpu_percent(interval=None),
        disk_free_gb=round(psutil.disk_usage(str(path)).free / _MB / 1024, 1),
    )


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"JSON으로 쓸 수 없는 값: {value!r}")
