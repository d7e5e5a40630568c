"""The only reader of wall time.

A clock answers one question, "what instant is it now", always in timezone-aware UTC.
Waiting is the business of whoever waits.
"""

import time
from datetime import UTC, datetime, timedelta


class WallClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when it is told to; for backtests, lock-step replays and tests."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("시간대가 없는 시각은 쓸 수 없음")
        self._now = start

    def now(self) -> datetime:
        """Return the instant the clock was last set to."""
        return self._now

    def set(self, instant: datetime) -> None:
        """Move to ``instant``; a clock never runs backwards."""
        if instant < self._now:
            raise ValueError(f"시계를 뒤로 돌릴 수 없음: {self._now} → {instant}")
        self._now = instant


class ScaledClock:
    """Wall time multiplied by ``speed``, from an anchor; the venue clock of a wall-clock replay."""

    def __init__(self, anchor: datetime, *, speed: float) -> None:
        self._anchor = anchor
        self._speed = speed
        self._started = time.monotonic()

    def now(self) -> datetime:
        """Return the anchor plus the scaled time since construction."""
        elapsed = (time.monotonic() - self._started) * self._speed
        return self._anchor + timedelta(seconds=elapsed)


def monotonic_seconds() -> float:
    """Return seconds on a clock that is never set back; for pacing and time-outs only."""
    return time.monotonic()
