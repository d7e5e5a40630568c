"""The call budget of one app key, shared by every process of this machine.

Instants of the last calls stand in a small mapped file under a lock; the clock is the machine's
monotonic one, which all processes see alike. Which call comes first inside one process is in
``rest``.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trading.clock import monotonic_seconds

RANKS = 4
# What comes before the slots: until when a waiting call of each rank goes first, and the throttle.
_THROTTLED_LIMIT, _THROTTLED_AT, _HEAD = RANKS, RANKS + 1, 8
_LEAST_SLOTS = 64
# How much longer a claim lasts than the wait it stands for: the time to wake up.
_CLAIM_SECONDS = 0.02


class RateWindow:
    """At most ``limit`` calls in any ``seconds``.

    A call is counted from its answer, not from its sending, as soon as there is one: however long
    it took to arrive, the venue's own count is never above ours. After a refusal for its rate the
    limit is halved and grows back by one call a window, so that what waited does not burst.
    """

    def __init__(self, path: Path, *, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = 8 * (_HEAD + max(_LEAST_SLOTS, limit))
        with self._locked():
            missing = size - os.fstat(self._file).st_size
            if missing > 0:
                # Written, not only sized: on a full disk this fails here and not at the mapping.
                os.pwrite(self._file, bytes(missing), size - missing)
        self._map = mmap.mmap(self._file, size)
        self._cells = memoryview(self._map).cast("d")

    def take(self, rank: int, *, reserve: int = 0) -> tuple[float, int]:
        """Take a slot: ``(0, slot)``, or how long to wait before asking again and -1.

        ``reserve`` calls are left to others; a waiting call of a lower rank goes first, in
        whatever process it waits.
        """
        cells = self._cells
        with self._locked():
            now = monotonic_seconds()
            pause = self._pause(now, rank, reserve)
            if pause > 0.0:
                cells[rank] = now + pause + _CLAIM_SECONDS
                return pause, -1
            cells[rank] = 0.0
            stamps = [s if 0.0 < s <= now else 0.0 for s in cells[_HEAD:].tolist()]
            slot = _HEAD + stamps.index(min(stamps))
            cells[slot] = now
            return 0.0, slot

    def answered(self, slot: int) -> None:
        """Count the call in ``slot`` from now on: its answer is here."""
        self._cells[slot] = monotonic_seconds()

    def give_back(self, slot: int) -> None:
        """Free a slot whose call is not made after all."""
        self._cells[slot] = 0.0

    def refused(self) -> None:
        """Note that the venue refused a call for its rate: wait a window, then go on slower."""
        cells = self._cells
        with self._locked():
            now = monotonic_seconds()
            if now >= cells[_THROTTLED_AT] or cells[_THROTTLED_AT] > now + self.seconds:
                cells[_THROTTLED_LIMIT] = float(max(1, self._limit_at(now) // 2))
                cells[_THROTTLED_AT] = now + self.seconds

    @property
    def is_throttled(self) -> bool:
        """Whether a refusal still slows the calls down."""
        return self._limit_at(monotonic_seconds()) < self.limit

    def close(self) -> None:
        """Release the file; the slots stay for the next process."""
        self._cells.release()
        self._map.close()
        os.close(self._file)

    def _pause(self, now: float, rank: int, reserve: int) -> float:
        cells = self._cells
        held = cells[_THROTTLED_AT] - now
        if 0.0 < held <= self.seconds:
            return held
        # What lies in the future is from before the machine was started.
        stamps = sorted((s for s in cells[_HEAD:].tolist() if 0.0 < s <= now), reverse=True)
        allowed = max(1, self._limit_at(now) - reserve)
        wait = stamps[allowed - 1] + self.seconds - now if len(stamps) >= allowed else 0.0
        for claim in cells[:rank].tolist():
            if claim - now <= self.seconds + _CLAIM_SECONDS:
                wait = max(wait, claim - now)
        return wait

    def _limit_at(self, now: float) -> int:
        since, least = self._cells[_THROTTLED_AT], self._cells[_THROTTLED_LIMIT]
        if not (0.0 < since <= now + self.seconds and 1.0 <= least <= self.limit):
            return self.limit
        grown = max(0, int((now - since) / self.seconds))
        return min(self.limit, int(least) + grown)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
