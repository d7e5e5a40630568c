import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from trading.clock import ManualClock
from trading.monitoring import SessionMonitor, is_running, read_heartbeat, resources

NOW = datetime(2012, 6, 1, 13, 30, tzinfo=UTC)


def test_heartbeat_says_what_was_counted(tmp_path):
    """The file is the monitor's own view, instants and counters included."""
    path = tmp_path / "state" / "heartbeat.json"
    clock = ManualClock(NOW)
    monitor = SessionMonitor(path, market="us", session="2012-06-01", clock=clock)

    monitor.count("api_succeeded", 3)
    monitor.count("api_failed")
    monitor.frame(NOW)
    clock.set(NOW + timedelta(minutes=5))
    written = monitor.beat("open")

    assert read_heartbeat(path) == written
    assert written.ts == NOW + timedelta(minutes=5)
    assert written.last_frame == NOW
    assert written.counters == {"api_failed": 1, "api_succeeded": 3, "frames": 1}
    assert written.pid == os.getpid()
    assert written.memory_mb > 1
    assert list(path.parent.iterdir()) == [path]


def test_no_file_is_no_heartbeat(tmp_path):
    """A session that never ran has no sign of life."""
    assert read_heartbeat(tmp_path / "heartbeat.json") is None


def test_before_the_first_frame(tmp_path):
    """Nothing received is said as nothing, not as an instant."""
    path = tmp_path / "heartbeat.json"
    SessionMonitor(path, market="us", session="2012-06-01", clock=ManualClock(NOW)).beat("pre_open")

    heartbeat = read_heartbeat(path)

    assert heartbeat is not None
    assert heartbeat.last_frame is None


def test_running_means_the_process_exists(tmp_path):
    """A heartbeat of a process that ended is not a running session."""
    path = tmp_path / "heartbeat.json"
    monitor = SessionMonitor(path, market="us", session="2012-06-01", clock=ManualClock(NOW))
    alive = monitor.beat("open")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert is_running(alive)
    assert not is_running(replace(alive, pid=ended.pid))


def test_resources_are_measured(tmp_path):
    """Memory and disk are there on every machine."""
    measured = resources(tmp_path)

    assert measured.memory_mb > 1
    assert measured.disk_free_gb >= 0
    assert measured.cpu_percent >= 0
