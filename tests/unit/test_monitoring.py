import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trading.clock import ManualClock
from trading.monitoring import CLOSED, OPEN, SessionMonitor, is_running, read_heartbeat

NOW = datetime(2012, 6, 1, 13, 30, tzinfo=UTC)


def monitor_at(path, clock, counts) -> SessionMonitor:
    return SessionMonitor(
        path, market="us", session="2012-06-01", clock=clock, counters=lambda: counts
    )


def test_heartbeat_says_what_was_counted(tmp_path):
    """The file is the monitor's own view, instants and counts included."""
    path = tmp_path / "run" / "heartbeat.json"
    clock = ManualClock(NOW)
    counts = {"api_succeeded": 3, "api_failed": 1}
    monitor = monitor_at(path, clock, counts)

    clock.set(NOW + timedelta(minutes=5))
    written = monitor.beat(OPEN)

    assert read_heartbeat(path) == written
    assert written.ts == NOW + timedelta(minutes=5)
    assert written.counters == {"api_failed": 1, "api_succeeded": 3}
    assert written.pid == os.getpid()
    assert written.memory_mb > 1
    assert list(path.parent.iterdir()) == [path]


def test_no_file_is_no_heartbeat(tmp_path):
    """A session that never ran has no sign of life."""
    assert read_heartbeat(tmp_path / "heartbeat.json") is None


async def test_beats_while_the_block_runs(tmp_path):
    """Open from the start, again and again, closed at the end, also after a fault."""
    path = tmp_path / "heartbeat.json"
    counts = {"frames": 0}
    monitor = monitor_at(path, ManualClock(NOW), counts)

    with pytest.raises(RuntimeError):
        async with monitor.beating(every_seconds=0.0):
            for frames in range(1, 4):
                counts["frames"] = frames
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            during = read_heartbeat(path)
            raise RuntimeError
    after = read_heartbeat(path)

    assert during is not None and after is not None
    assert (during.phase, after.phase) == (OPEN, CLOSED)
    assert during.counters["frames"] >= 2
    assert is_running(during)
    assert not is_running(after)


def test_running_means_the_process_exists(tmp_path):
    """A heartbeat of a process that ended is not a running session."""
    alive = monitor_at(tmp_path / "heartbeat.json", ManualClock(NOW), {}).beat(OPEN)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert is_running(alive)
    assert not is_running(replace(alive, pid=ended.pid))
