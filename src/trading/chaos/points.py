"""Where a process may die: the named I/O boundaries of the order path, and who dies there.

A boundary is passed by one process and may kill it, the other one, or both: a request that the
exchange has booked and not yet answered is the same instant for either.
"""

import mmap
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct


class Party(StrEnum):
    """The two processes of a seed."""

    CLIENT = "client"
    EXCHANGE = "exchange"


class Point(StrEnum):
    """An instant of the order path, named by what has just happened or is about to."""

    OPENED_BEFORE = "client.session_opened.before_commit"
    OPENED_AFTER = "client.session_opened.after_commit"
    DECISION_BEFORE = "client.decision.before_commit"
    DECISION_AFTER = "client.decision.after_commit"
    INTENT_BEFORE = "client.intent.before_commit"
    INTENT_AFTER = "client.intent.after_commit"
    ORDER_REPLIED = "client.order.replied"
    ACK_BEFORE = "client.ack.before_commit"
    ACK_AFTER = "client.ack.after_commit"
    FILL_BEFORE = "client.fill.before_commit"
    FILL_AFTER = "client.fill.after_commit"
    UPDATE_BEFORE = "client.update.before_commit"
    UPDATE_AFTER = "client.update.after_commit"
    CANCEL_BEFORE = "client.cancel.before_send"
    CANCEL_REPLIED = "client.cancel.replied"
    LISTING_BEFORE = "client.listing.before_send"
    LISTING_REPLIED = "client.listing.replied"
    ACCOUNT_REPLIED = "client.account.replied"
    CLOSED_BEFORE = "client.session_closed.before_commit"
    CLOSED_AFTER = "client.session_closed.after_commit"
    ORDER_RECEIVED = "exchange.order.received"
    ORDER_BEFORE = "exchange.order.before_commit"
    ORDER_AFTER = "exchange.order.after_commit"
    ORDER_ANSWERED = "exchange.order.answered"
    CANCEL_RECEIVED = "exchange.cancel.received"
    CANCEL_COMMIT_BEFORE = "exchange.cancel.before_commit"
    CANCEL_COMMIT_AFTER = "exchange.cancel.after_commit"
    CANCEL_ANSWERED = "exchange.cancel.answered"
    LISTING_RECEIVED = "exchange.listing.received"
    TRADE_BEFORE = "exchange.trade.before_commit"
    TRADE_AFTER = "exchange.trade.after_commit"
    NOTICE_BEFORE = "exchange.notice.before_send"
    NOTICE_SENT = "exchange.notice.sent"
    SESSION_BEFORE = "exchange.session.before_commit"
    SESSION_AFTER = "exchange.session.after_commit"

    @property
    def party(self) -> Party:
        """Who passes here."""
        return Party(self.partition(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """At the ``nth`` passing of ``point`` these processes die by signal 9."""

    point: Point
    nth: int
    victims: tuple[Party, ...]


_POINTS = tuple(Point)
_PARTIES = tuple(Party)
_NUMBER = Struct("q")


class Arena:
    """Memory that outlives the processes of a seed: who they are, how often each point was passed.

    Made before they are forked. Each number has one writer at a time.
    """

    def __init__(self, kills: Sequence[Kill]) -> None:
        self._kills = {(kill.point, kill.nth): kill for kill in kills}
        self._memory = mmap.mmap(-1, _NUMBER.size * (len(_PARTIES) + 2 * len(_POINTS) + 1))

    def pid(self, party: Party) -> int:
        """Return the process of ``party``, 0 while it has none."""
        return self._get(_PARTIES.index(party))

    def set_pid(self, party: Party, pid: int) -> None:
        """Say who ``party`` is; 0 before its process is buried, whose number may then be another's."""
        self._set(_PARTIES.index(party), pid)

    def pass_by(self, point: Point) -> None:
        """Count a passing of ``point``, and kill whom the schedule names."""
        number = _POINTS.index(point)
        passed = self._add(len(_PARTIES) + number)
        kill = self._kills.get((point, passed))
        if kill is None:
            return
        self._add(len(_PARTIES) + len(_POINTS) + number)
        # The one that reads this last: after its own death it could kill nobody.
        for victim in sorted(kill.victims, key=lambda one: self.pid(one) == os.getpid()):
            if self.pid(victim):
                os.kill(self.pid(victim), signal.SIGKILL)

    def passed(self) -> dict[Point, int]:
        """Return how often each point was passed."""
        return {p: self._get(len(_PARTIES) + i) for i, p in enumerate(_POINTS)}

    def killed(self) -> dict[Point, int]:
        """Return how often somebody was killed at each point."""
        return {p: self._get(len(_PARTIES) + len(_POINTS) + i) for i, p in enumerate(_POINTS)}

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _add(self, place: int) -> int:
        value = self._get(place) + 1
        self._set(place, value)
        return value

    def _get(self, place: int) -> int:
        return int(_NUMBER.unpack_from(self._memory, place * _NUMBER.size)[0])

    def _set(self, place: int, value: int) -> None:
        _NUMBER.pack_into(self._memory, place * _NUMBER.size, value)
