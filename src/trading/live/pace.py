"""How a session lets time pass: lock-step with the local exchange, or by the wall clock.

Lock-step is a barrier: venue time moves on only after everything that the last instant sent has
been handled, so a session replays identically whatever the machine is doing.
"""

import asyncio
import http.client
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from trading.clock import ManualClock
from trading.errors import TransientBrokerError
from trading.ports import Clock, MarketFeed

Pump = Callable[[], Awaitable[None]]

# How long the wall-clock pace sleeps at most before it looks at the feed again.
WALL_STEP_SECONDS = 0.5


class Pace(Protocol):
    """Lets venue time pass."""

    @property
    def clock(self) -> Clock:
        """The venue's time."""
        ...

    @property
    def waits(self) -> bool:
        """Whether the venue's time stands still until it is moved."""
        ...

    @property
    def speed(self) -> float | None:
        """Venue seconds per wall second; ``None`` where time waits."""
        ...

    async def open_session(self, session: date) -> None:
        """Bring the venue to the morning of ``session``."""
        ...

    async def settle(self, feed: MarketFeed, pump: Pump) -> None:
        """Return when everything the venue has sent so far was handled."""
        ...

    async def advance(self, until: datetime, feed: MarketFeed, pump: Pump) -> None:
        """Let time pass to ``until`` or the venue's next instant; handle what it brought."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFile:
    """Where a local exchange listens and the token of its control door."""

    host: str
    rest_port: int
    ws_port: int
    pid: int
    token: str

    @classmethod
    def read(cls, path: Path) -> "PortFile | None":
        """Return the port file at ``path``, or ``None`` when there is none."""
        try:
            body = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return cls(**{name: body[name] for name in cls.__dataclass_fields__})

    def __repr__(self) -> str:
        return f"PortFile({self.host}:{self.rest_port})"


class ControlDoor:
    """The exchange's control door: outside the KIS protocol, on loopback, guarded by a token."""

    def __init__(self, port: PortFile, *, timeout_seconds: float = 60.0) -> None:
        self._port = port
        self._timeout = timeout_seconds

    def status(self) -> dict[str, Any]:
        """Return time, session, phase and the frames sent to each connection."""
        return self._call("GET", "/control/status", None)

    def open_session(self, session: date) -> dict[str, Any]:
        """Open the replay of ``session``; again is no change."""
        return self._call("POST", "/control/session", {"session": session.isoformat()})

    def advance(self, until: datetime) -> dict[str, Any]:
        """Move to ``until`` or the next instant at which something happens."""
        return self._call("POST", "/control/advance", {"until": until.isoformat()})

    def copy_journal(self) -> Path:
        """Have the exchange write down what it knows, as of now; return the file."""
        return Path(self._call("POST", "/control/copy", {})["copy"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"x-control-token": self._port.token, "content-type": "application/json"}
        # A connection per call: one kept open may be closed by the server just as the next
        # request leaves, and whether an ``advance`` was carried out would then be unknown.
        connection = http.client.HTTPConnection(
            self._port.host, self._port.rest_port, timeout=self._timeout
        )
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None, headers
            )
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise TransientBrokerError(
                f"로컬 거래소와 연결이 끊겼습니다. 같은 명령을 다시 치면 이어서 합니다. ({error})"
            ) from error
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise TransientBrokerError(f"로컬 거래소가 요청을 거부했습니다: {content.get('error')}")
        return dict(content)


class LockStep:
    """Venue time of a local exchange that waits for its client."""

    def __init__(self, door: ControlDoor, clock: ManualClock, *, timeout_seconds: float) -> None:
        self._door = door
        self._clock = clock
        self._timeout = timeout_seconds

    @property
    def clock(self) -> Clock:
        """The venue's time as of the last answer."""
        return self._clock

    @property
    def waits(self) -> bool:
        """The venue waits for its client."""
        return True

    @property
    def speed(self) -> float | None:
        """Time has no speed of its own."""
        return None

    async def open_session(self, session: date) -> None:
        """Bring the venue to the morning of ``session``."""
        self._take(await asyncio.to_thread(self._door.open_session, session))

    async def settle(self, feed: MarketFeed, pump: Pump) -> None:
        """Handle frames until the venue has sent no more; orders on the way may cause some."""
        await self._barrier(await asyncio.to_thread(self._door.status), feed, pump)

    async def advance(self, until: datetime, feed: MarketFeed, pump: Pump) -> None:
        """Move the venue on and handle everything that caused, its consequences included."""
        await self._barrier(await asyncio.to_thread(self._door.advance, until), feed, pump)

    async def _barrier(self, answer: dict[str, Any], feed: MarketFeed, pump: Pump) -> None:
        self._take(answer)
        while True:
            sent = answer["frames"].get(feed.approval_key, 0)
            await feed.wait_handled(sent, timeout_seconds=self._timeout)
            if not await feed.arrived(0.0):
                return
            await pump()
            answer = await asyncio.to_thread(self._door.status)

    def _take(self, answer: dict[str, Any]) -> None:
        now = datetime.fromisoformat(answer["now"])
        if now > self._clock.now():
            self._clock.set(now)


class WallPace:
    """Time passes by itself: KIS, or a local exchange at wall clock times a speed.

    ``begins`` is when the session may send its first order; not given, at once.
    """

    def __init__(self, clock: Clock, *, speed: float = 1.0, begins: datetime | None = None) -> None:
        self._clock = clock
        self._speed = speed
        self._begins = begins

    @property
    def clock(self) -> Clock:
        """The venue's time."""
        return self._clock

    @property
    def waits(self) -> bool:
        """Time passes by itself."""
        return False

    @property
    def speed(self) -> float | None:
        """Venue seconds per wall second."""
        return self._speed

    async def open_session(self, session: date) -> None:
        """Wait until the session begins: the venue opens by itself."""
        while self._begins is not None:
            left = (self._begins - self._clock.now()).total_seconds()
            if left <= 0:
                return
            await asyncio.sleep(min(left / self._speed, WALL_STEP_SECONDS))

    async def settle(self, feed: MarketFeed, pump: Pump) -> None:
        """Handle what has arrived by now."""
        if await feed.arrived(0.0):
            await pump()

    async def advance(self, until: datetime, feed: MarketFeed, pump: Pump) -> None:
        """Wait for the next event, ``until``, or a short while, whichever comes first."""
        left = (until - self._clock.now()).total_seconds() / self._speed
        if await feed.arrived(max(0.0, min(left, WALL_STEP_SECONDS))):
            await pump()
