"""Answers of many pages as wholes: half of one must never pass for all of it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Protocol, TypeVar

from trading.errors import TransientBrokerError
from trading.wire.domestic_bars import Period
from trading.wire.records import ListedOrder


class _Dated(Protocol):
    @property
    def session(self) -> date: ...


D = TypeVar("D", bound=_Dated)

# A short page that ends this near to the first day wanted is the last: no exchange stays closed
# longer. One that ends earlier may come from a venue that looks back less far than documented.
_LONGEST_CLOSING = timedelta(days=14)


async def whole_listing(
    pages: AsyncIterator[Mapping[str, Any]],
    parse: Callable[[Mapping[str, Any]], tuple[ListedOrder, ...]],
) -> list[ListedOrder]:
    """Return the orders of all pages.

    Raises ``TransientBrokerError`` when a page brings only orders that came before: KIS has been
    seen to repeat a page under new keys (FAULTS 7).
    """
    found: dict[str, ListedOrder] = {}
    async for body in pages:
        rows = parse(body)
        new = {row.order.venue_order_id: row for row in rows}
        if rows and found.keys() >= new.keys():
            raise TransientBrokerError("연속 조회가 같은 주문을 되풀이함")
        found.update(new)
    return list(found.values())


def walk_back(
    page: Callable[[date], Sequence[D]], first: date, last: date, size: int, period: Period
) -> list[D]:
    """Return the bars of a range, oldest first, from pages of ``size`` that end with a day.

    Raises ``TransientBrokerError`` when a page ends later than it was asked to: the same page
    would come for ever.
    """
    found: dict[date, D] = {}
    end = last
    while end >= first:
        rows = page(end)
        if not rows:
            break
        oldest = min(row.session for row in rows)
        if oldest > end:
            raise TransientBrokerError("기준일을 따르지 않는 봉 응답")
        found.update((row.session, row) for row in rows if first <= row.session <= last)
        if len(rows) < size and oldest - first <= _LONGEST_CLOSING:
            break
        # Before its whole period: an end inside it would bring a part of the same bar again.
        end = period.begin(oldest) - timedelta(days=1)
    return [found[session] for session in sorted(found)]
