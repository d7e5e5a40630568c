"""How a market answers an order: one compiled rule, and the book-keeping around it.

Used alike by the backtest, by parity and by the local exchange. What the account owns is in
``simulation.account``; order numbers, phases and refusals belong to the venue.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from numba import njit

from trading.domain.order import Side
from trading.simulation.paths import Print
from trading.simulation.slippage import Slippage, slipped

BASIS_POINTS = 10_000


@njit(cache=True)
def fill(
    sign: int,
    quantity: int,
    limit: int,
    previous: int,
    price: int,
    capacity: int,
    lower: int,
    upper: int,
) -> tuple[int, int]:
    """Return ``(shares, price)`` of one order meeting one print.

    Parameters
    ----------
    sign : int
        +1 for a buy, -1 for a sell.
    quantity, limit : int
        Shares still open and limit price in minor units.
    previous : int
        Price of the print before, 0 when the order has not lived through one: it then takes the
        print's own price, as in an auction or on arrival. An order that rested away from the
        market when the price came to it fills at its limit.
    capacity : int
        Shares of this print the account may still take.
    lower, upper : int
        Daily price limits, 0 where there are none. At the limit price the far side is locked:
        nobody sells at the upper limit to a late buyer, nobody buys at the lower from a seller.
    """
    if price <= 0 or quantity <= 0 or capacity <= 0:
        return 0, 0
    if sign > 0:
        if limit < price or (upper > 0 and price >= upper):
            return 0, 0
    else:
        if limit > price or (lower > 0 and price <= lower):
            return 0, 0
    shares = min(quantity, capacity)
    rested = previous > 0 and (limit - previous) * sign < 0
    return shares, limit if rested else price


@njit(cache=True)
def capacity_of(volume: int, participation_bps: int) -> int:
    """Return the shares of a print that one account may take, at most its participation."""
    return volume * participation_bps // BASIS_POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingOrder:
    """An order resting in the matcher; ``quantity`` is what is still open."""

    order_id: str
    symbol: str
    side: Side
    quantity: int
    limit: int
    traded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A match: ``quantity`` shares at ``price`` minor units each.

    ``slippage`` is what that cost more, in all, than the print that it met.
    """

    order_id: str
    symbol: str
    side: Side
    quantity: int
    price: int
    slippage: int = 0


@dataclass(slots=True)
class _Book:
    """One instrument: its last print, what is left of it, and its orders in arrival order."""

    lower: int = 0
    upper: int = 0
    last: int = 0
    capacity: int = 0
    is_auction: bool = False


class Matcher:
    """Working orders of one session against the prints of a replay.

    Orders given before the first print of an instrument rest for its opening auction; later
    ones first meet what is left of the last print. Nothing here knows time: the caller decides
    which prints happen when, and when the session is over.
    """

    def __init__(self, participation_bps: int) -> None:
        self._participation_bps = participation_bps
        self._books: dict[str, _Book] = {}
        self._orders: dict[str, WorkingOrder] = {}
        self._slippage: Mapping[str, Slippage] = {}

    def open_session(
        self,
        limits: Mapping[str, tuple[int, int]],
        slippage: Mapping[str, Slippage] | None = None,
    ) -> None:
        """Begin a session with the daily price limits ``(lower, upper)`` of its instruments.

        ``slippage`` is for backtests only; without it fills are at the prices of the prints.
        """
        self._slippage = slippage or {}
        self._orders.clear()
        self._books = {
            symbol: _Book(lower=lower, upper=upper) for symbol, (lower, upper) in limits.items()
        }

    def submit(self, order: WorkingOrder) -> list[Execution]:
        """Take an order in and match it against what is left of the last print."""
        book = self._books.setdefault(order.symbol, _Book())
        self._orders[order.order_id] = order
        if book.last == 0:
            return []
        execution = self._match(order, book, previous=0)
        return [execution] if execution is not None else []

    def rest(self, order: WorkingOrder) -> None:
        """Take an order in that waits for the next print, as in a call auction."""
        self._orders[order.order_id] = order

    def fillable(self, order: WorkingOrder) -> int:
        """Return the shares that ``submit`` would fill at once."""
        book = self._books.setdefault(order.symbol, _Book())
        return self._answer(order, book, previous=0)[0]

    def cancel(self, order_id: str) -> int:
        """Take an order out; return the shares that were still open, 0 if it was done."""
        order = self._orders.pop(order_id, None)
        return order.quantity if order is not None else 0

    def reduce(self, order_id: str, quantity: int) -> None:
        """Take ``quantity`` shares out of a resting order, which keeps its place."""
        order = self._orders[order_id]
        if quantity == order.quantity:
            del self._orders[order_id]
        else:
            self._orders[order_id] = replace(order, quantity=order.quantity - quantity)

    def pass_over(self, trade: Print) -> None:
        """See a print that no order may take part in, as in a halt."""
        book = self._books.setdefault(trade.symbol, _Book())
        book.last = trade.price
        book.capacity = 0
        book.is_auction = trade.auction

    def on_print(self, trade: Print) -> list[Execution]:
        """Match the instrument's orders, oldest first, against a new print."""
        book = self._books.setdefault(trade.symbol, _Book())
        previous = 0 if trade.auction else book.last
        book.last = trade.price
        book.is_auction = trade.auction
        book.capacity = capacity_of(trade.volume, self._participation_bps)
        executions = []
        for order in [o for o in self._orders.values() if o.symbol == trade.symbol]:
            execution = self._match(order, book, previous=previous)
            if execution is not None:
                executions.append(execution)
        return executions

    def open_orders(self) -> list[WorkingOrder]:
        """Return the working orders in arrival order."""
        return list(self._orders.values())

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values; ``restore`` of it continues identically."""
        return {
            "books": {symbol: asdict(book) for symbol, book in self._books.items()},
            # Written out: ``asdict`` copies deeply, and a venue takes this after every order.
            "orders": [
                {
                    "order_id": order.order_id,
                    "symbol": order.symbol,
                    "side": order.side.value,
                    "quantity": order.quantity,
                    "limit": order.limit,
                    "traded": order.traded,
                }
                for order in self._orders.values()
            ],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a state that ``snapshot`` described."""
        self._books = {symbol: _Book(**book) for symbol, book in snapshot["books"].items()}
        self._orders = {
            order["order_id"]: WorkingOrder(**{**order, "side": Side(order["side"])})
            for order in snapshot["orders"]
        }

    def _match(self, order: WorkingOrder, book: _Book, *, previous: int) -> Execution | None:
        shares, price = self._answer(order, book, previous=previous)
        if shares == 0:
            return None
        book.capacity -= shares
        traded = order.traded + shares
        if shares == order.quantity:
            del self._orders[order.order_id]
        else:
            self._orders[order.order_id] = replace(
                order, quantity=order.quantity - shares, traded=traded
            )
        paid = self._slipped(order, book, price, traded)
        return Execution(
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=shares,
            price=paid,
            slippage=abs(paid - price) * shares,
        )

    def _slipped(self, order: WorkingOrder, book: _Book, price: int, traded: int) -> int:
        slippage = self._slippage.get(order.symbol)
        if slippage is None:
            return price
        return int(
            slipped(
                order.side.sign,
                price,
                traded,
                order.limit,
                book.is_auction,
                slippage.rates,
                slippage.scale,
                slippage.ladder,
                book.lower,
                book.upper,
            )
        )

    def _answer(self, order: WorkingOrder, book: _Book, *, previous: int) -> tuple[int, int]:
        shares, price = fill(
            order.side.sign,
            order.quantity,
            order.limit,
            previous,
            book.last,
            book.capacity,
            book.lower,
            book.upper,
        )
        return int(shares), int(price)
