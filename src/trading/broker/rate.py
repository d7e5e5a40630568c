"""The call budget of one app key, shared by every process of this machine.

Instants of the last calls stand in a ring in a small mapped file under a lock; the clock is the
machine's monotonic one, which all processes see alike. Which call comes first inside one process
is in ``rest``.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trading.clock import monotonic_seconds

RANKS = 5
# What comes before the ring: until when a waiting call of each rank goes first, the throttle, and
# how many calls were taken in all.
_THROTTLED_LIMIT, _THROTTLED_AT, _TAKEN, _HEAD = RANKS, RANKS + 1, RANKS + 2, 8
_LEAST_SLOTS = 64
# More calls than this in a window are no limit that anybody keeps.
_MOST_CALLS = 10_000
# How much longer a claim lasts than the wait it stands for: the time to wake up.
_CLAIM_SECONDS = 0.02


class RateWindow:
    """At most ``limit`` calls in any ``seconds``.

    A call is counted from its answer, not from its sending, as soon as there is one: however long
    it took to arrive, the venue's own count is never above ours. After a refusal for its rate the
    limit is halved and grows back by one call a window, so that what waited does not burst.
    """

    def __init__(self, path: Path, *, limit: int, seconds: float) -> None:
        self.limit = min(limit, _MOST_CALLS)
        self.seconds = seconds
        # Twice the limit: a call that is slow to be answered still has its slot.
        self._slots = max(_LEAST_SLOTS, 2 * self.limit)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = 8 * (_HEAD + self._slots)
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
            return 0.0, self._push(now)

    def answered(self, slot: int) -> None:
        """Count the call in ``slot`` from now on: its answer is here."""
        with self._locked():
            now = monotonic_seconds()
            if self._taken() - slot <= self.limit:
                self._cells[_HEAD + slot % self._slots] = now
            else:
                # Others have filled a window since: it counts as the newest call.
                self._push(now)

    def give_back(self, slot: int) -> None:
        """Free a slot whose call is not made after all; one that others followed stays taken."""
        with self._locked():
            if self._taken() == slot + 1:
                self._cells[_TAKEN] = float(slot)

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
        # If all calls from the ``allowed``-th last backwards are over, fewer than ``allowed``
        # remain in the window. What lies in the future is from before the machine was started.
        allowed = max(1, self._limit_at(now) - reserve)
        taken = self._taken()
        earlier = (
            cells[_HEAD + number % self._slots]
            for number in range(taken - self.limit, taken - allowed + 1)
        )
        last = max((stamp for stamp in earlier if 0.0 < stamp <= now), default=0.0)
        wait = last + self.seconds - now if last else 0.0
        for claim in cells[:rank].tolist():
            if claim - now <= self.seconds + _CLAIM_SECONDS:
                wait = max(wait, claim - now)
        return wait

    def _push(self, stamp: float) -> int:
        # Killed in between, the stamp is overwritten: that call was not made yet.
        slot = self._taken()
        self._cells[_HEAD + slot % self._slots] = stamp
        self._cells[_TAKEN] = float(slot + 1)
        return slot

    def _taken(self) -> int:
        count = self._cells[_TAKEN]
        return int(count) if 0.0 <= count < 2.0**53 else 0

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
