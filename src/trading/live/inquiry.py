"""Orders whose answer was lost: how often the venue is asked, and when the answer is believed.

Pure: complete listings come in, verdicts go out. A listing that failed is never shown to it, so
that half a page cannot count as absence. Which order is ours is ``reconcile``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trading.domain.order import Order, VenueOrder
from trading.live.reconcile import candidates, match_unknown, resembling

# A venue that says now this, now that is not asked forever.
_MOST_LISTINGS = 100


class Verdict(StrEnum):
    """What became of an order whose answer was lost."""

    FOUND = "found"
    ABSENT = "absent"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict on ``order``; ``listed`` is the venue's order when it was found.

    ``may_leave``: it was never seen to leave, and nothing like it is at the venue.
    """

    order: Order
    verdict: Verdict
    listed: VenueOrder | None = None
    may_leave: bool = False


@dataclass(slots=True)
class _Inquiry:
    order: Order
    highest_before: str
    may_leave: bool
    verdict: Verdict | None = None
    asked: int = 0
    listings: int = 0
    since: float = 0.0


class Inquiries:
    """The open questions of a session.

    Parameters
    ----------
    listings : int
        Complete listings in a row that must say the same before absence or ambiguity is believed.
    seconds : float
        Least time between the first and the last of them: longer than a request can be under way.
    """

    def __init__(self, *, listings: int, seconds: float) -> None:
        self._listings = listings
        self._seconds = seconds
        self._open: dict[str, _Inquiry] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def ask(self, order: Order, *, highest_before: str, may_leave: bool = False) -> None:
        """Open the question what became of ``order``."""
        self._open[order.intent.intent_id] = _Inquiry(order, highest_before, may_leave)

    def concerns(self, symbol: str) -> bool:
        """Whether a question about ``symbol`` is open."""
        return any(one.order.intent.symbol == symbol for one in self._open.values())

    def could_be(self, listed: VenueOrder) -> bool:
        """Whether an order of the venue may turn out to be one of those asked for."""
        return any(
            resembling(one.order, [listed], claimed=(), highest_before=one.highest_before)
            for one in self._open.values()
        )

    def hear(
        self, listing: Sequence[VenueOrder], *, claimed: Collection[str], at: float
    ) -> list[Answer]:
        """Take one complete listing in; return what is now known, those found first.

        ``claimed`` are the numbers that belong to known orders, ``at`` are seconds of a clock
        that is never set back.
        """
        unknowns = [one.order for one in self._open.values()]
        answers = []
        for one in list(self._open.values()):
            before = one.highest_before
            listed = match_unknown(
                one.order, listing, claimed=claimed, highest_before=before, unknowns=unknowns
            )
            if listed is not None:
                answers.append(Answer(order=one.order, verdict=Verdict.FOUND, listed=listed))
                del self._open[one.order.intent.intent_id]
                continue
            possible = candidates(one.order, listing, claimed=claimed, highest_before=before)
            verdict = Verdict.AMBIGUOUS if possible else Verdict.ABSENT
            if not self._is_believed(one, verdict, at):
                continue
            alike = resembling(one.order, listing, claimed=claimed, highest_before=before)
            answers.append(
                Answer(order=one.order, verdict=verdict, may_leave=one.may_leave and not alike)
            )
            del self._open[one.order.intent.intent_id]
        return answers

    def _is_believed(self, one: _Inquiry, verdict: Verdict, at: float) -> bool:
        if one.verdict is not verdict:
            one.verdict, one.listings, one.since = verdict, 0, at
        one.asked += 1
        one.listings += 1
        if one.asked >= _MOST_LISTINGS and verdict is Verdict.AMBIGUOUS:
            return True
        return one.listings >= self._listings and at - one.since >= self._seconds
