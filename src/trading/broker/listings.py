"""Order listings as wholes: half of one must never pass for all of it."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from trading.errors import TransientBrokerError
from trading.wire.records import ListedOrder


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
