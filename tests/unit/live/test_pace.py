"""How venue time passes: the barrier of a lock-step replay, and the wall clock."""

import json
import os
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from trading.clock import ManualClock, ScaledClock
from trading.errors import TransientBrokerError
from trading.live.pace import ControlDoor, LockStep, PortFile, WallPace

OPEN = datetime(2024, 1, 8, 0, tzinfo=UTC)


class Venue(HTTPServer):
    """A control door on a real socket: it answers from a list and remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Door)
        self.answers = []
        self.asked = []

    @property
    def port(self):
        """Return where it listens."""
        return PortFile(
            host="127.0.0.1", rest_port=self.server_port, ws_port=0, pid=1, token="secret"
        )


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Answer the next of the list."""
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.path, body, self.headers["x-control-token"]))
        status, content = self.server.answers.pop(0)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 # the name that http.server looks for

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def venue():
    """Return a listening door."""
    server = Venue()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Feed:
    """Frames as the venue's answers count them: each answer's frames have arrived when asked."""

    approval_key = "key"

    def __init__(self, arrivals):
        self.frames_handled = 0
        self.waited = []
        self._arrivals = list(arrivals)

    async def wait_handled(self, count, *, timeout_seconds):
        """Remember what was waited for."""
        self.waited.append(count)

    async def arrived(self, timeout_seconds):
        """Say whether something is there to be taken."""
        return self._arrivals.pop(0)


def answer(minutes, frames):
    """Return the door's answer at a minute after the open."""
    now = (OPEN + timedelta(minutes=minutes)).isoformat()
    return 200, {"now": now, "phase": "open", "frames": {"key": frames, "other": 99}}


async def test_the_barrier_waits_for_consequences(venue):
    """After each pump the venue is asked again, until nothing more has come."""
    feed, pumped = Feed([True, True, False]), []
    door, clock = ControlDoor(venue.port), ManualClock(OPEN)
    pace = LockStep(door, clock, timeout_seconds=1.0)
    venue.answers = [answer(1, 3), answer(1, 5), answer(1, 5)]

    async def pump():
        pumped.append(pace.clock.now())

    until = OPEN + timedelta(minutes=5)
    await pace.advance(until, feed, pump)

    assert feed.waited == [3, 5, 5]
    assert pumped == [OPEN + timedelta(minutes=1)] * 2
    assert venue.asked == [
        ("/control/advance", {"until": until.isoformat()}, "secret"),
        ("/control/status", None, "secret"),
        ("/control/status", None, "secret"),
    ]


async def test_morning_and_settling(venue):
    """Opening moves the clock; an answer from before does not turn it back."""
    feed = Feed([False, False])
    door, clock = ControlDoor(venue.port), ManualClock(OPEN)
    pace = LockStep(door, clock, timeout_seconds=1.0)
    venue.answers = [
        answer(2, 0), answer(1, 4), (200, {"now": OPEN.isoformat(), "frames": {}}),
    ]  # fmt: skip

    async def pump():
        raise AssertionError("nothing came")

    await pace.open_session(date(2024, 1, 8))
    await pace.settle(feed, pump)
    await pace.settle(feed, pump)

    assert clock.now() == OPEN + timedelta(minutes=2)
    assert feed.waited == [4, 0]
    assert venue.asked[0] == ("/control/session", {"session": "2024-01-08"}, "secret")


@pytest.mark.parametrize("broken", [(500, {"error": "x"}), (200, b"no json")])
def test_a_door_that_does_not_answer_well(venue, broken):
    """Refusals and garbage are passing faults; the next call connects anew."""
    door = ControlDoor(venue.port)
    venue.answers = [broken, answer(0, 1)]

    with pytest.raises(TransientBrokerError):
        door.status()

    assert door.status()["frames"]["key"] == 1


def test_nobody_there(venue):
    """A port without a listener."""
    port = venue.port
    venue.server_close()

    with pytest.raises(TransientBrokerError):
        ControlDoor(port).status()


def test_port_file(tmp_path):
    """Read as written, absent or half-written is nothing, and the token is never shown."""
    path = tmp_path / "port.json"
    assert PortFile.read(path) is None
    path.write_text("{")
    assert PortFile.read(path) is None

    body = {
        "host": "127.0.0.1",
        "rest_port": 1,
        "ws_port": 2,
        "pid": os.getpid(),
        "token": "secret",
    }
    path.write_text(json.dumps({**body, "profile": "real"}))
    port = PortFile.read(path)

    assert (port.rest_port, port.ws_port, port.pid) == (1, 2, os.getpid())
    assert "secret" not in repr(port)


async def test_wall_clock():
    """Waits for what comes next at most a short while, scaled by the speed of the replay."""
    waits = []

    class Listening(Feed):
        async def arrived(self, timeout_seconds):
            waits.append(timeout_seconds)
            return await super().arrived(timeout_seconds)

    pumped, clock = [], ManualClock(OPEN)
    pace = WallPace(clock, speed=10.0)
    feed = Listening([True, False, False, True])

    async def pump():
        pumped.append(len(waits))

    await pace.open_session(date(2024, 1, 8))
    await pace.settle(feed, pump)
    await pace.advance(OPEN + timedelta(hours=1), feed, pump)
    await pace.advance(OPEN + timedelta(seconds=1), feed, pump)
    await pace.advance(OPEN - timedelta(seconds=1), feed, pump)

    assert pace.clock is clock
    assert waits == [0.0, 0.5, 0.1, 0.0]
    assert pumped == [1, 4]


async def test_wall_clock_begins_in_the_morning():
    """A session at wall clock sends nothing before its time, and does not wait after it."""
    begins = OPEN - timedelta(minutes=20)
    clock = ScaledClock(begins - timedelta(minutes=5), speed=6000.0)
    pace = WallPace(clock, speed=6000.0, begins=begins)

    await pace.open_session(date(2024, 1, 8))
    arrived = clock.now()
    await WallPace(ManualClock(OPEN), begins=begins).open_session(date(2024, 1, 8))

    assert begins <= arrived < OPEN
