"""Accounts of the exchange: cash by settlement day, holdings, and the orders of the day.

The arithmetic of money is ``simulation.account``; what may be ordered is asked in ``venue``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from trading.domain.arrays import IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side, VenueOrder
from trading.simulation.account import Account, costs
from trading.simulation.matching import Execution
from trading.wire.records import ListedOrder, OrderKind

# KIS branch that numbers the orders: one constant, as it is for one account there.
BRANCH = "06010"


@dataclass(slots=True, kw_only=True)
class StandingOrder:
    """One row of the order book of an account, changed by fills and cancels."""

    order_id: int
    account: str = field(repr=False)
    session: date
    ts: datetime
    kind: OrderKind
    symbol: str
    exchange: Exchange
    side: Side
    quantity: int
    limit: int
    original_id: int = 0
    filled_quantity: int = 0
    filled_amount: int = 0
    canceled_quantity: int = 0
    commission: int = 0
    tax: int = 0

    @property
    def number(self) -> str:
        """The order number as KIS writes it: ten digits."""
        return f"{self.order_id:010d}"

    @property
    def original_number(self) -> str:
        """The number of the order that this one changes, or blank."""
        return f"{self.original_id:010d}" if self.original_id else ""

    @property
    def open_quantity(self) -> int:
        """Shares that may still be filled."""
        return self.quantity - self.filled_quantity - self.canceled_quantity

    def listed(self) -> ListedOrder:
        """Return the order as a row of a listing."""
        return ListedOrder(
            order=VenueOrder(
                venue_order_id=self.number,
                branch=BRANCH,
                symbol=self.symbol,
                side=self.side,
                quantity=self.quantity,
                limit=self.limit,
                filled_quantity=self.filled_quantity,
                filled_amount=self.filled_amount,
                canceled_quantity=self.canceled_quantity,
                rejected_quantity=0,
                ts_event=self.ts,
                original_order_id=self.original_number,
            ),
            kind=self.kind,
        )

    def body(self) -> dict[str, Any]:
        """Return the order as JSON values."""
        return {
            "account": self.account,
            "session": self.session.isoformat(),
            "ts": self.ts.isoformat(),
            "kind": self.kind.value,
            "symbol": self.symbol,
            "exchange": self.exchange.value,
            "side": self.side.value,
            "quantity": self.quantity,
            "limit": self.limit,
            "original_id": self.original_id,
            "filled_quantity": self.filled_quantity,
            "filled_amount": self.filled_amount,
            "canceled_quantity": self.canceled_quantity,
            "commission": self.commission,
            "tax": self.tax,
        }

    @classmethod
    def from_body(cls, number: str, body: Mapping[str, Any]) -> "StandingOrder":
        """Return the order that ``body`` described."""
        return cls(
            order_id=int(number),
            **{
                **body,
                "session": date.fromisoformat(body["session"]),
                "ts": datetime.fromisoformat(body["ts"]),
                "kind": OrderKind(body["kind"]),
                "exchange": Exchange(body["exchange"]),
                "side": Side(body["side"]),
            },
        )


class TradingAccount:
    """One account number: its money, its holdings and its orders of the session.

    ``owner`` is the application key that used the number first; no other may use it.
    """

    def __init__(self, number: str, owner: str, market: Market, cash: int) -> None:
        self.number = number
        self.owner = owner
        self.book = Account(market, cash)
        self.orders: dict[int, StandingOrder] = {}
        # [to pay for purchases, to receive for sales] by the day on which it is paid, ISO date.
        self._unsettled: dict[str, list[int]] = {}

    def working(self) -> Iterator[StandingOrder]:
        """Yield the orders that may still be filled, oldest first."""
        return (order for order in self.orders.values() if order.open_quantity > 0)

    def fill(
        self, order: StandingOrder, execution: Execution, fees: IntArray, settles: date
    ) -> None:
        """Book one execution of ``order``; its money is paid on ``settles``."""
        amount = execution.quantity * execution.price
        before = self.book.cash
        booking = self.book.apply_fill(
            order.number, order.symbol, order.side, execution.quantity, amount, fees
        )
        order.filled_quantity += execution.quantity
        order.filled_amount += amount
        order.commission += booking.commission
        order.tax += booking.tax
        due = self._unsettled.setdefault(settles.isoformat(), [0, 0])
        due[order.side is Side.SELL] += abs(self.book.cash - before)

    def begin_session(self, session: date) -> None:
        """Forget yesterday's orders and settle what is due."""
        self.orders.clear()
        self.book.end_session()
        today = session.isoformat()
        self._unsettled = {day: due for day, due in self._unsettled.items() if day > today}

    def cash_on(self, day: date) -> int:
        """Return the cash that is settled on ``day`` if nothing more is traded."""
        bought, sold = self.unsettled(day)
        return self.book.cash + bought - sold

    def unsettled(self, day: date) -> tuple[int, int]:
        """Return what purchases will take and sales will bring after ``day``, costs included."""
        later = [due for paid_on, due in self._unsettled.items() if paid_on > day.isoformat()]
        return sum(due[0] for due in later), sum(due[1] for due in later)

    def buying_power(self, fees: Mapping[Exchange, IntArray]) -> int:
        """Return cash, unsettled proceeds included, less what open buys may still cost."""
        return self.book.cash - sum(
            reservation(order, fees[order.exchange])
            for order in self.working()
            if order.side is Side.BUY
        )

    def sellable(self, symbol: str) -> int:
        """Return the shares held that no open sale has claimed."""
        held = self.book.positions.get(symbol)
        claimed = sum(
            order.open_quantity
            for order in self.working()
            if order.symbol == symbol and order.side is Side.SELL
        )
        return (held.quantity if held is not None else 0) - claimed

    def body(self) -> dict[str, Any]:
        """Return money and holdings as JSON values; orders are facts of their own."""
        return {
            "owner": self.owner,
            "book": self.book.snapshot(),
            "unsettled": {day: list(due) for day, due in sorted(self._unsettled.items())},
        }

    @classmethod
    def from_body(cls, number: str, market: Market, body: Mapping[str, Any]) -> "TradingAccount":
        """Return the account that ``body`` described, without its orders."""
        account = cls(number, body["owner"], market, 0)
        account.book.restore(body["book"])
        account._unsettled = {day: list(due) for day, due in body["unsettled"].items()}
        return account


def cost_of_buying(quantity: int, limit: int, fees: IntArray) -> int:
    """Return what ``quantity`` shares at ``limit`` cost with fees, in minor units."""
    commission, tax = costs(1, quantity, quantity * limit, fees)
    return quantity * limit + int(commission) + int(tax)


def reservation(order: StandingOrder, fees: IntArray) -> int:
    """Return what the open part of a buy may still cost, at its limit and with its fees."""
    rest = order.open_quantity
    commission, tax = costs(
        1, order.filled_quantity + rest, order.filled_amount + rest * order.limit, fees
    )
    return rest * order.limit + int(commission) + int(tax) - order.commission - order.tax


def affordable(cash: int, limit: int, fees: IntArray) -> int:
    """Return how many shares at ``limit`` can be paid from ``cash``, fees included."""
    if limit <= 0 or cash <= 0:
        return 0
    low, high = 0, cash // limit
    while low < high:
        middle = (low + high + 1) // 2
        if cost_of_buying(middle, limit, fees) <= cash:
            low = middle
        else:
            high = middle - 1
    return low
