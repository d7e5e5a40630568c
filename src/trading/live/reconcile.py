"""Ledger against venue: orders whose answer was lost, fills nobody told us of, cash, holdings.

An unknown order is found by asking, never by sending again. Its match must be unique among our
unknowns, unclaimed by any known number, and newer than the highest number known when it left.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from trading.domain.account import VenueAccount
from trading.domain.order import Fill, Order, OrderAck, VenueOrder
from trading.execution.engine import TradingEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which ledger and venue disagree, in minor units or shares."""

    what: str
    ours: int
    theirs: int


def candidates(
    order: Order, listing: Sequence[VenueOrder], *, claimed: Iterable[str], highest_before: str
) -> list[VenueOrder]:
    """Return the venue's orders that ``order``, whose answer was lost, could be.

    Same symbol, side, quantity and limit, a number nobody of ours has, and newer than
    ``highest_before``, the highest number known when it left. None in several complete listings
    means that it never arrived.
    """
    taken = set(claimed)
    return [
        listed
        for listed in listing
        if listed.venue_order_id not in taken
        and not listed.original_order_id.strip("0")
        and _number(listed.venue_order_id) > _number(highest_before)
        and (listed.symbol, listed.side, listed.quantity, listed.limit) == _shape(order)
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


def differences(engine: TradingEngine, venue: VenueAccount) -> list[Difference]:
    """Return every disagreement about cash and holdings; empty when books reconcile."""
    found = []
    if engine.account.cash != venue.cash:
        found.append(Difference(what="cash", ours=engine.account.cash, theirs=venue.cash))
    ours: Mapping[str, int] = {s: p.quantity for s, p in engine.account.positions.items()}
    theirs: Mapping[str, int] = {s: p.quantity for s, p in venue.positions.items() if p.quantity}
    for symbol in sorted({*ours, *theirs}):
        if ours.get(symbol, 0) != theirs.get(symbol, 0):
            found.append(
                Difference(what=symbol, ours=ours.get(symbol, 0), theirs=theirs.get(symbol, 0))
            )
    return found


def highest_number(listing: Iterable[VenueOrder]) -> str:
    """Return the highest order number of a listing, "" when it is empty."""
    return max((o.venue_order_id for o in listing), key=_number, default="")


def _shape(order: Order) -> tuple[str, str, int, int]:
    intent = order.intent
    return (intent.symbol, intent.side, intent.quantity, intent.limit)


def _number(venue_order_id: str) -> int:
    return int(venue_order_id) if venue_order_id.strip() else 0
