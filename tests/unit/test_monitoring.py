import asyncio
import errno
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psutil
import pytest

from trading.clock import ManualClock
from trading.domain.account import Position
from trading.domain.instrument import Market
from trading.domain.order import Side
from trading.monitoring import (
    CLOSED,
    OPEN,
    STOPPED,
    SessionMonitor,
    hours_text,
    is_running,
    market_now,
    market_states,
    read_heartbeat,
    status_of,
)
from trading.sessions import SessionCalendar
from trading.simulation.account import Account

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
    """Open from the start, again and again; closed at the end, stopped after a fault."""
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
    async with monitor.beating(every_seconds=0.0):
        pass
    ended = read_heartbeat(path)

    assert during is not None and after is not None and ended is not None
    assert (during.phase, after.phase, ended.phase) == (OPEN, STOPPED, CLOSED)
    assert during.counters["frames"] >= 2
    assert is_running(during)
    assert not is_running(after) and not is_running(ended)


async def test_a_beat_that_the_disk_refuses_is_not_the_last(tmp_path):
    """Where nothing can be written the session goes on, and beats again once it can."""
    path = tmp_path / "run" / "heartbeat.json"
    path.parent.write_bytes(b"")
    monitor = monitor_at(path, ManualClock(NOW), {})

    async with monitor.beating(every_seconds=0.0):
        await asyncio.sleep(0)
        path.parent.unlink()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = read_heartbeat(path)

    assert found is not None and found.phase == OPEN


async def test_a_machine_that_tells_nothing_stops_no_heart(tmp_path, monkeypatch):
    """Without a file handle left the memory is not known, and the session is not dead for that."""
    path = tmp_path / "heartbeat.json"
    monitor = monitor_at(path, ManualClock(NOW), {})

    def refused(*_: object) -> float:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(psutil.Process, "memory_info", refused)
    async with monitor.beating():
        await asyncio.sleep(0)
        found = read_heartbeat(path)

    assert found is not None and (found.phase, found.memory_mb) == (OPEN, 0.0)


def test_running_means_the_process_exists(tmp_path):
    """A heartbeat of a process that ended is not a running session."""
    alive = monitor_at(tmp_path / "heartbeat.json", ManualClock(NOW), {}).beat(OPEN)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert is_running(alive)
    assert not is_running(replace(alive, pid=ended.pid))


@pytest.mark.parametrize(
    ("speed", "seconds", "shown"), [(1.0, 30, 30), (60.0, 2, 120), (None, 600, 0)]
)
def test_the_venue_has_a_time_of_its_own(speed, seconds, shown, tmp_path):
    """Between two beats the venue's clock goes on at its pace, or waits where it waits."""
    venue = datetime(2005, 3, 8, 14, 30, tzinfo=UTC)
    monitor = SessionMonitor(
        tmp_path / "heartbeat.json",
        market="us",
        session="2005-03-08",
        clock=ManualClock(NOW),
        counters=dict,
        venue=ManualClock(venue),
        speed=speed,
    )

    monitor.beat(OPEN)
    read = read_heartbeat(tmp_path / "heartbeat.json")

    assert read is not None
    assert read.venue_now(NOW + timedelta(seconds=seconds)) == venue + timedelta(seconds=shown)


def test_whether_a_market_trades_now():
    """Open from the open to just before the close; afterwards the next session's hours."""
    calendar = SessionCalendar(Market.US, around=date(2004, 11, 12))
    opens = datetime(2004, 11, 12, 14, 30, tzinfo=UTC)
    closes = datetime(2004, 11, 12, 21, 0, tzinfo=UTC)

    before = market_now(calendar, opens - timedelta(seconds=1))
    during = market_now(calendar, opens)
    after = market_now(calendar, closes)
    unknown = market_now(calendar, datetime(2010, 1, 4, 15, 0, tzinfo=UTC))

    assert before is not None and during is not None and after is not None
    assert (before.is_open, before.opens) == (False, opens)
    assert (during.is_open, during.closes) == (True, closes)
    assert (after.is_open, after.session) == (False, "2004-11-15")
    assert unknown is None


def test_what_the_hourly_message_says():
    """Holdings with what they returned, the largest first, and both markets on one clock."""
    account = Account(Market.US, 1_000_000_000)
    fees = np.zeros((0, 7), dtype=np.int64)
    account.apply_fill("1", "AAPL", Side.BUY, 100, 55_000_000, fees)
    account.apply_fill("2", "IBM", Side.BUY, 10, 9_466_000, fees)
    now = datetime(2004, 11, 12, 15, 30, tzinfo=UTC)

    told = status_of(
        account,
        {"AAPL": 560_000, "IBM": 946_600},
        names={"AAPL": "Apple"},
        previous_equity=1_000_000_000,
        starting_equity=800_000_000,
    )
    states = market_states([SessionCalendar(market, around=now.date()) for market in Market], now)

    assert told["equity"] == 1_001_000_000
    assert told["daily_profit"] == 1_000_000
    assert told["daily_return"] == pytest.approx(0.001)
    assert told["total_return"] == pytest.approx(0.25125)
    assert list(told["positions"].items()) == [
        ("Apple", "100주, $56.00, 수익률 +1.82 %"),
        ("IBM", "10주, $94.66, 수익률 +0.00 %"),
    ]
    assert states == {
        "한국": "장 닫힘, 다음 개장 2004-11-15 09:00 KST",
        "미국": "장중, 06:00 KST 마감",
    }
    assert hours_text(now) == {
        "kst": "2004-11-13 00:30:00 KST",
        "eastern": "2004-11-12 10:30:00 EST",
    }


def test_a_return_on_nothing_is_none():
    """Shares that were given and an account that was empty have no return, and end no session."""
    account = Account(Market.US, 0)
    account.positions["AAPL"] = Position(symbol="AAPL", quantity=10, cost=0)

    told = status_of(
        account, {"AAPL": 560_000}, names={}, previous_equity=0, starting_equity=0
    )  # fmt: skip

    assert (told["daily_profit"], told["daily_return"], told["total_return"]) == (
        5_600_000,
        None,
        None,
    )
    assert told["positions"] == {"AAPL": "10주, $56.00, 수익률 기록 없음"}
