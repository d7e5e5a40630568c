"""Ledger against venue: orders whose answer was lost, fills nobody told us of, cash, holdings.

An unknown order is found by asking, never by sending again. Its match must be unique among our
unknowns, unclaimed by any known number, and new since the last complete listing before it left.
How often is asked, and what follows, is ``inquiry``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from zoneinfo import ZoneInfo

from trading.domain.account import VenueAccount
from trading.domain.order import Fill, Order, OrderAck, VenueOrder
from trading.simulation.account import Account

_KOREA = ZoneInfo("Asia/Seoul")
# Of how many dividends, the newest, any may be under way; of more than these only all at once.
_MOST_DIVIDENDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which ledger and venue disagree, in minor units or shares.

    ``price`` is what the venue says was paid for a share, 0 where it holds none.
    """

    what: str
    ours: int
    theirs: int
    price: int = 0

    @property
    def is_cash(self) -> bool:
        """Whether it is money, not shares."""
        return self.what == CASH


CASH = "cash"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAction:
    """A corporate action that our books hold and the venue may credit later."""

    symbol: str
    quantity_before: int
    quantity_after: int
    cash: int


def candidates(
    order: Order, listing: Sequence[VenueOrder], *, claimed: Iterable[str], highest_before: str
) -> list[VenueOrder]:
    """Return the venue's orders that ``order``, whose answer was lost, could be.

    Same symbol, side, quantity and limit, a number nobody of ours has, and newer than
    ``highest_before``, the mark of the last complete listing before it left. None in several
    complete listings means that it never arrived.
    """
    return [
        listed
        for listed in resembling(order, listing, claimed=claimed, highest_before=highest_before)
        if (listed.quantity, listed.limit) == (order.intent.quantity, order.intent.limit)
    ]


def resembling(
    order: Order, listing: Sequence[VenueOrder], *, claimed: Iterable[str], highest_before: str
) -> list[VenueOrder]:
    """Return the new, unclaimed orders of the same symbol and side, whatever their terms."""
    taken = set(claimed)
    return [
        listed
        for listed in listing
        if listed.venue_order_id not in taken
        and not listed.original_order_id.strip("0")
        and (listed.symbol, listed.side) == (order.intent.symbol, order.intent.side)
        and is_newer(listed, highest_before)
    ]


def match_unknown(
    order: Order,
    listing: Sequence[VenueOrder],
    *,
    claimed: Iterable[str],
    highest_before: str,
    unknowns: Sequence[Order],
) -> VenueOrder | None:
    """Return the venue's order that must be ``order``, or ``None`` when none or several could be.

    ``unknowns`` are all of ours without an answer: a twin among them makes the match ambiguous.
    """
    twins = [
        other
        for other in unknowns
        if _shape(other) == _shape(order) and other.intent.intent_id != order.intent.intent_id
    ]
    found = candidates(order, listing, claimed=claimed, highest_before=highest_before)
    return found[0] if len(found) == 1 and not twins else None


def missing_fill(order: Order, listed: VenueOrder, received: datetime) -> Fill | None:
    """Return what the venue has filled of ``order`` beyond what is booked, or ``None``."""
    quantity = listed.filled_quantity - order.filled_quantity
    if quantity <= 0:
        return None
    return Fill(
        symbol=listed.symbol,
        side=listed.side,
        quantity=quantity,
        amount=listed.filled_amount - order.filled_amount,
        venue_order_id=listed.venue_order_id,
        ts_event=listed.ts_event,
        ts_recv=received,
    )


def acknowledgment(listed: VenueOrder) -> OrderAck:
    """Return the acceptance that a listed order implies."""
    return OrderAck(
        venue_order_id=listed.venue_order_id, branch=listed.branch, ts_event=listed.ts_event
    )


def differences(account: Account, venue: VenueAccount) -> list[Difference]:
    """Return every disagreement about cash and holdings; empty when books reconcile."""
    found = []
    if venue.cash_difference(account.cash):
        found.append(Difference(what=CASH, ours=account.cash, theirs=venue.cash))
    ours: Mapping[str, int] = {s: p.quantity for s, p in account.positions.items()}
    theirs: Mapping[str, int] = {s: p.quantity for s, p in venue.positions.items() if p.quantity}
    for symbol in sorted({*ours, *theirs}):
        mine, other = ours.get(symbol, 0), theirs.get(symbol, 0)
        if mine != other:
            price = venue.positions[symbol].cost // other if other else 0
            found.append(Difference(what=symbol, ours=mine, theirs=other, price=price))
    return found


def unexplained(found: Sequence[Difference], actions: Sequence[PendingAction]) -> list[Difference]:
    """Return the differences that no recorded corporate action explains.

    Our books take an action on its ex-date; a venue pays the dividend weeks later, and lists
    the new shares of a free issue later too. ``actions`` are in the order of their ex-dates.
    """
    pending = {(a.symbol, a.quantity_after - a.quantity_before) for a in actions}
    dividends = [a.cash for a in actions if a.cash]
    return [
        one
        for one in found
        if not (
            _is_sum(one.ours - one.theirs, dividends)
            if one.is_cash
            else (one.what, one.ours - one.theirs) in pending
        )
    ]


def mark_of(listing: Iterable[VenueOrder], before: str = "") -> str:
    """Return the mark of a complete listing: Korean day and number of its newest order.

    ``before`` is an older mark, kept when the listing holds nothing newer.
    """
    newest = max(listing, key=_place, default=None)
    if newest is None or not is_newer(newest, before):
        return before
    day, number = _place(newest)
    return f"{day}:{number}"


def is_newer(listed: VenueOrder, mark: str) -> bool:
    """Return whether an order came after ``mark``.

    A US session lasts over the Korean midnight, where numbers may begin anew: the day counts
    before the number.
    """
    day, _, number = mark.rpartition(":")
    here = _place(listed)
    if not day:
        return here[1] > (int(number) if number.strip() else 0)
    return here > (day, int(number))


def _place(listed: VenueOrder) -> tuple[str, int]:
    number = listed.venue_order_id
    day = listed.ts_event.astimezone(_KOREA).strftime("%Y%m%d")
    return day, int(number) if number.strip() else 0


def _shape(order: Order) -> tuple[str, str, int, int]:
    intent = order.intent
    return (intent.symbol, intent.side, intent.quantity, intent.limit)


def _is_sum(amount: int, parts: Sequence[int]) -> bool:
    # Of many only the newest can be told apart: the oldest are paid first.
    newest = parts[-_MOST_DIVIDENDS:]
    return (bool(parts) and amount == sum(parts)) or any(
        amount == sum(some)
        for size in range(1, len(newest) + 1)
        for some in combinations(newest, size)
    )
