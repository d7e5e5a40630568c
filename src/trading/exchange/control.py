"""The control door: sessions and simulated time, outside of KIS's protocol.

A client in lock-step lives one instant per ``advance`` and asks for the next only when it has
handled as many frames as the answer names. With a speed, the wall clock drives instead.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from trading.clock import ScaledClock
from trading.errors import UsageError
from trading.exchange.hub import Hub
from trading.exchange.venue import PRE_OPEN, Phase, Venue
from trading.log import get_logger

log = get_logger(__name__)

TOKEN_HEADER = "x-control-token"  # noqa: S105 (the name of a header)
_OWN_HOSTS = ("127.0.0.1", "localhost")
# How often a wall-clock venue looks whether the next instant has come.
TICK_SECONDS = 0.02


class Control:
    """Moves one venue, by request (``speed`` is ``None``) or with the wall clock × ``speed``."""

    def __init__(
        self,
        venue: Venue,
        hub: Hub,
        *,
        speed: float | None,
        start: date | None,
        lived: Callable[[], None],
    ) -> None:
        self.token = secrets.token_hex(16)
        self._venue = venue
        self._hub = hub
        self._speed = speed
        self._start = start
        self._lived = lived
        self._clock: ScaledClock | None = None
        # The last session that was looked for in the record and is not there.
        self._passed: date | None = None

    def allows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token of the port file and comes from no web page.

        A browser names the page in ``Origin``, and the host that it believes to speak with: a
        foreign name that resolves to this machine is not ours.
        """
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            return False
        if headers.get("host", "").partition(":")[0] not in _OWN_HOSTS:
            return False
        token = headers.get(TOKEN_HEADER, "").encode()
        return secrets.compare_digest(token, self.token.encode())

    def touch(self) -> None:
        """Let the venue's clock show the present before somebody asks it; wall clock only."""
        if self._clock is not None:
            self._catch_up(self._clock.now())

    def status(self) -> dict[str, Any]:
        """Answer ``GET /control/status``."""
        venue = self._venue
        replay = venue.replay if venue.is_begun else None
        return {
            **self._place(),
            "market": venue.market.value,
            "profile": venue.profile.value,
            "mode": "lock-step" if self._speed is None else "wall-clock",
            "speed": self._speed,
            "instruments": len(venue.instruments),
            "recorded": len(replay.today) if replay is not None else 0,
            "minutes": replay.has_minutes if replay is not None else False,
            "untradable": replay.untradable_counts() if replay is not None else {},
            "untradable_symbols": dict(replay.untradable) if replay is not None else {},
        }

    def open_session(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``POST /control/session``."""
        try:
            session = date.fromisoformat(str(body["session"]))
        except (KeyError, ValueError) as error:
            raise UsageError("거래일을 YYYY-MM-DD로 적으십시오") from error
        self._venue.open_session(session)
        self._lived()
        if self._speed is not None:
            self._clock = ScaledClock(self._venue.now, speed=self._speed)
        return self._place()

    def advance(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``POST /control/advance``: at most one instant."""
        if self._speed is not None:
            raise UsageError("벽시계로 움직이는 거래소는 시각을 옮길 수 없음")
        try:
            until = datetime.fromisoformat(str(body["until"]))
        except (KeyError, ValueError) as error:
            raise UsageError("시각을 ISO 8601로 적으십시오") from error
        if until.tzinfo is None:
            raise UsageError("시간대가 없는 시각은 쓸 수 없음")
        self._venue.step(until)
        self._lived()
        return self._place()

    async def drive(self) -> None:
        """Move with the wall clock until canceled; nothing to do in lock-step."""
        if self._speed is None:
            return
        if self._venue.is_begun:
            self._clock = ScaledClock(self._venue.now, speed=self._speed)
        elif self._start is not None:
            self.open_session({"session": self._start.isoformat()})
        else:
            raise UsageError("벽시계로 처음 띄울 때는 첫 거래일이 필요합니다 (--start).")
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.touch()

    def _catch_up(self, now: datetime) -> None:
        venue = self._venue
        while venue.is_begun:
            following = venue.next_instant()
            if following is None or following > now:
                break
            venue.step(following)
            self._lived()
        # A session that has just begun is lived before the clock goes on past it.
        if venue.phase is not Phase.CLOSED or not self._open_next(now):
            venue.glide(now)

    def _open_next(self, now: datetime) -> bool:
        """Begin the first recorded session whose time has come; return whether there was one."""
        venue = self._venue
        following = venue.next_session(self._passed)
        while following is not None:
            opens, _ = venue.calendar.open_close(following)
            if opens - PRE_OPEN > now:
                return False
            try:
                venue.open_session(following)
            except UsageError:
                # Not recorded: like a holiday, the day passes. It is not read again at every tick.
                self._passed = following
                following = venue.next_session(following)
            else:
                self._lived()
                return True
        return False

    def _place(self) -> dict[str, Any]:
        venue = self._venue
        return {
            "now": venue.now.isoformat(),
            "session": venue.session.isoformat() if venue.session is not None else None,
            "phase": venue.phase.value,
            "frames": self._hub.frames,
        }
