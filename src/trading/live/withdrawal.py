"""Canceling what is working at the venue where no session does it: the ledger is told first.

A session takes its own orders back through its engine; this is for whoever stands in for one that
is dead, hung or not there, and for orders that somebody placed by hand.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date

from trading.domain.instrument import Exchange
from trading.domain.order import Order, OrderIntent, OrderStatus, VenueOrder
from trading.errors import BrokerError, DataError, UsageError
from trading.execution.engine import BOUNDARY_MANUAL
from trading.live.control import Cancellation, Scope
from trading.live.journal import Journal, RecordedSession
from trading.live.reconcile import acknowledgment, candidates, match_unknown
from trading.log import get_logger
from trading.ports import Broker

log = get_logger(__name__)

_UNANSWERED = (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)


async def withdraw(
    broker: Broker,
    journal: Journal,
    recorded: RecordedSession,
    *,
    scope: Scope,
    exchanges: Mapping[str, Exchange],
) -> Cancellation:
    """Cancel the open orders of a session that nobody runs.

    Ours are those that the ledger knows, and those whose answer was lost and that one listing
    finds without a doubt. The next start of the session asks what became of each. Raises
    ``BrokerError`` when the venue does not list its orders: then nothing was canceled.
    """
    listing = await broker.orders(recorded.session)
    ours = {o.venue_order_id: o for o in recorded.orders.values() if o.venue_order_id}
    lost = [o for o in recorded.orders.values() if not o.venue_order_id and o.status in _UNANSWERED]
    unclear = []
    for order in lost:
        before = recorded.highest_before.get(order.intent.intent_id, "")
        listed = match_unknown(
            order, listing, claimed=set(ours), highest_before=before, unknowns=lost
        )
        if listed is not None:
            journal.accepted(order.intent.intent_id, acknowledgment(listed))
            ours[listed.venue_order_id] = order
        elif candidates(order, listing, claimed=set(ours), highest_before=before):
            unclear.append(f"{order.intent.symbol}: 어느 주문이 우리 것인지 가릴 수 없음")
    failed: dict[str, str] = {}
    tried = [row for row in listing if row.open_quantity and row.venue_order_id in ours]
    for row in tried:
        journal.moved(ours[row.venue_order_id].intent.intent_id, OrderStatus.PENDING_CANCEL)
        await _cancel(broker, _as_left(ours[row.venue_order_id], row), failed)
    done = await _outcome(broker, recorded.session, tried, failed)
    if scope is Scope.EVERYTHING:
        done = _joined(done, await cancel_foreign(
            broker, recorded.session, listing, known=ours, exchanges=exchanges
        ))  # fmt: skip
    return _joined(done, Cancellation(failed=tuple(unclear)))


async def cancel_foreign(
    broker: Broker,
    session: date,
    listing: Sequence[VenueOrder],
    *,
    known: Collection[str],
    exchanges: Mapping[str, Exchange],
) -> Cancellation:
    """Cancel what is open in ``listing`` and not among the numbers ``known``: placed by hand.

    Where the listing exchange of a share is not known it is left alone, and that is said.
    """
    failed: dict[str, str] = {}
    tried = [row for row in listing if row.open_quantity and row.venue_order_id not in known]
    for row in tried:
        exchange = exchanges.get(row.symbol)
        if exchange is None:
            failed[row.venue_order_id] = "종목의 거래소를 몰라 취소할 수 없음"
            continue
        await _cancel(broker, _by_hand(row, session, exchange), failed)
    return await _outcome(broker, session, tried, failed)


async def _cancel(broker: Broker, order: Order, failed: dict[str, str]) -> None:
    try:
        await broker.cancel(order)
    except (BrokerError, DataError, UsageError) as error:
        log.warning("취소 실패", venue_order_id=order.venue_order_id, reason=str(error))
        failed[order.venue_order_id] = str(error)


async def _outcome(
    broker: Broker, session: date, tried: Sequence[VenueOrder], failed: Mapping[str, str]
) -> Cancellation:
    """Return what the venue says became of the orders: its listing counts, not its answers."""
    if not tried:
        return Cancellation()
    try:
        now = {row.venue_order_id: row for row in await broker.orders(session)}
    except (BrokerError, DataError) as error:
        log.warning("주문 목록 조회 실패", reason=str(error))
        why = "취소를 보냈으나 확인하지 못함"
        return Cancellation(
            failed=tuple(_line(row, failed.get(row.venue_order_id, why)) for row in tried)
        )
    still = [row for row in tried if now.get(row.venue_order_id, row).open_quantity]
    gone = [row for row in tried if row not in still]
    return Cancellation(
        canceled=tuple(
            row.venue_order_id for row in gone if now[row.venue_order_id].canceled_quantity
        ),
        failed=tuple(
            _line(row, failed.get(row.venue_order_id, "취소했으나 아직 열려 있음")) for row in still
        ),
    )


def _line(row: VenueOrder, why: str) -> str:
    return f"{row.symbol} {row.venue_order_id}: {why}"


def _joined(one: Cancellation, other: Cancellation) -> Cancellation:
    return Cancellation(canceled=one.canceled + other.canceled, failed=one.failed + other.failed)


def _as_left(order: Order, row: VenueOrder) -> Order:
    """Return an order of ours with what the venue says is left of it."""
    intent = replace(order.intent, quantity=row.filled_quantity + row.open_quantity)
    return order._replace(
        intent=intent,
        venue_order_id=row.venue_order_id,
        branch=row.branch,
        filled_quantity=row.filled_quantity,
    )


def _by_hand(row: VenueOrder, session: date, exchange: Exchange) -> Order:
    intent = OrderIntent(
        intent_id=f"{BOUNDARY_MANUAL}:{row.venue_order_id}",
        session=session,
        boundary=BOUNDARY_MANUAL,
        symbol=row.symbol,
        exchange=exchange,
        side=row.side,
        quantity=row.quantity,
        limit=row.limit,
        reason=BOUNDARY_MANUAL,
    )
    return _as_left(Order(intent=intent), row)
