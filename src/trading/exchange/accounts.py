"""Accounts of the exchange: cash by settlement day, holdings, and the orders of the day.

The arithmetic of money is ``simulation.account``; what may be ordered is asked in ``venue``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from trading.domain.arrays import IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.order import OrderType, Route, Side, VenueOrder
from trading.simulation.account import Account, costs
from trading.simulation.matching import Execution
from trading.wire.records import ListedOrder, OrderKind, OrderRequest

# KIS branch that numbers the orders: one constant, as it is for one account there.
BRANCH = "06010"


@dataclass(slots=True, kw_only=True)
class StandingOrder:
    """One row of the order book of an account, changed by fills and cancels.

    ``limit`` is the price it was ordered at, 0 where its type names none; ``bound`` the price it
    may trade at now, and ``ceiling`` what a share of it may cost at most. One that is asleep
    waits for its stop price or its auction and meets no print. ``by_hand`` was not sent by the
    account's programs.
    """

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
    bound: int
    ceiling: int
    order_type: OrderType = OrderType.LIMIT
    stop: int = 0
    route: Route = Route.KRX
    is_asleep: bool = False
    by_hand: bool = False
    original_id: int = 0
    filled_quantity: int = 0
    filled_amount: int = 0
    canceled_quantity: int = 0
    rejected_quantity: int = 0
    reason: str = ""
    commission: int = 0
    tax: int = 0
    realized: int = 0

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
        return (
            self.quantity - self.filled_quantity - self.canceled_quantity - self.rejected_quantity
        )

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
                rejected_quantity=self.rejected_quantity,
                ts_event=self.ts,
                original_order_id=self.original_number,
            ),
            kind=self.kind,
            reason=self.reason,
            order_type=self.order_type,
            stop=self.stop,
            route=self.route,
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
            "bound": self.bound,
            "ceiling": self.ceiling,
            "order_type": self.order_type.value,
            "stop": self.stop,
            "route": self.route.value,
            "is_asleep": self.is_asleep,
            "by_hand": self.by_hand,
            "original_id": self.original_id,
            "filled_quantity": self.filled_quantity,
            "filled_amount": self.filled_amount,
            "canceled_quantity": self.canceled_quantity,
            "rejected_quantity": self.rejected_quantity,
            "reason": self.reason,
            "commission": self.commission,
            "tax": self.tax,
            "realized": self.realized,
        }

    @classmethod
    def from_body(cls, number: str, body: Mapping[str, Any]) -> "StandingOrder":
        """Return the order that ``body`` described."""
        # Journals of before there were types held plain limit orders only.
        body = {"bound": body["limit"], "ceiling": body["limit"], **body}
        return cls(
            order_id=int(number),
            **{
                **body,
                "session": date.fromisoformat(body["session"]),
                "ts": datetime.fromisoformat(body["ts"]),
                "kind": OrderKind(body["kind"]),
                "exchange": Exchange(body["exchange"]),
                "side": Side(body["side"]),
                "order_type": OrderType(body.get("order_type", OrderType.LIMIT)),
                "route": Route(body.get("route", Route.KRX)),
            },
        )


class ReservedState(StrEnum):
    """Where a reserved order is in its life."""

    WAITING = "waiting"
    SENT = "sent"
    CANCELED = "canceled"
    REFUSED = "refused"


@dataclass(slots=True, kw_only=True)
class Reservation:
    """An order left for the next open, or for every open up to ``last``.

    ``order_ids`` are the orders made of it so far, ``reason`` why the venue would not have one.
    """

    number: int
    request: OrderRequest
    day: date
    ts: datetime
    last: date | None = None
    state: ReservedState = ReservedState.WAITING
    changed: datetime | None = None
    order_ids: list[int] = field(default_factory=list)
    reason: str = ""

    def body(self) -> dict[str, Any]:
        """Return the reservation as JSON values."""
        request = self.request
        return {
            "account": request.account,
            "symbol": request.symbol,
            "side": request.side.value,
            "quantity": request.quantity,
            "limit": request.limit,
            "exchange": request.exchange.value if request.exchange is not None else None,
            "order_type": request.order_type.value,
            "day": self.day.isoformat(),
            "ts": self.ts.isoformat(),
            "last": self.last.isoformat() if self.last is not None else None,
            "state": self.state.value,
            "changed": self.changed.isoformat() if self.changed is not None else None,
            "order_ids": list(self.order_ids),
            "reason": self.reason,
        }

    @classmethod
    def from_body(cls, number: str, body: Mapping[str, Any]) -> "Reservation":
        """Return the reservation that ``body`` described."""
        exchange, last, changed = body["exchange"], body["last"], body["changed"]
        return cls(
            number=int(number),
            request=OrderRequest(
                account=body["account"],
                symbol=body["symbol"],
                side=Side(body["side"]),
                quantity=body["quantity"],
                limit=body["limit"],
                exchange=Exchange(exchange) if exchange is not None else None,
                order_type=OrderType(body["order_type"]),
            ),
            day=date.fromisoformat(body["day"]),
            ts=datetime.fromisoformat(body["ts"]),
            last=date.fromisoformat(last) if last is not None else None,
            state=ReservedState(body["state"]),
            changed=datetime.fromisoformat(changed) if changed is not None else None,
            order_ids=list(body["order_ids"]),
            reason=body["reason"],
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
        self._open: dict[int, StandingOrder] = {}
        # [to pay for purchases, to receive for sales] by the day on which it is paid, ISO date.
        self._unsettled: dict[str, list[int]] = {}

    def add(self, order: StandingOrder) -> None:
        """Take an order of the session in."""
        self.orders[order.order_id] = order
        self._open[order.order_id] = order

    def working(self) -> list[StandingOrder]:
        """Return the orders that may still be filled, oldest first."""
        return [order for order in self._unfinished() if order.kind is not OrderKind.CANCEL]

    def pending_cancels(self) -> list[StandingOrder]:
        """Return the cancels that were taken but have not been carried out."""
        return [order for order in self._unfinished() if order.kind is OrderKind.CANCEL]

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
        order.realized += booking.realized
        due = self._unsettled.setdefault(settles.isoformat(), [0, 0])
        # A sale of next to nothing may cost more than it brings: then it brings less than zero.
        due[order.side is Side.SELL] -= order.side.sign * (self.book.cash - before)

    def begin_session(self, session: date) -> None:
        """Forget yesterday's orders and settle what is due."""
        self.orders.clear()
        self._open.clear()
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

    def _unfinished(self) -> list[StandingOrder]:
        for number in [n for n, order in self._open.items() if order.open_quantity == 0]:
            del self._open[number]
        return list(self._open.values())

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


def reservation(order: StandingOrder, fees: IntArray, *, less: int = 0) -> int:
    """Return what the open part of a buy, ``less`` so many shares, may still cost with fees."""
    rest = order.open_quantity - less
    commission, tax = costs(
        1, order.filled_quantity + rest, order.filled_amount + rest * order.ceiling, fees
    )
    return rest * order.ceiling + int(commission) + int(tax) - order.commission - order.tax


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
