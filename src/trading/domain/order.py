"""Orders: what we wish, what we sent, what the venue did, and which changes are legal."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from trading.domain.instrument import Exchange
from trading.errors import OrderStateError


class Side(StrEnum):
    """Buy or sell; cash accounts know no short side."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """Return +1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How an order names its price and its time, as the venues define it.

    KRX: a conditional limit joins the closing auction as a market order; a best order takes the
    price of the far side, a priority order that of its own, a mid order the middle of both; off-
    hours orders trade at a closing price; an after-hours single price is its own auction; IOC is
    done at once as far as it can be, FOK wholly or not at all; a stop limit is a limit order from
    the first trade at its stop price on. US: limit or market on open and on close, and the two
    schedules that KIS works itself. ``MARKET_OPEN`` exists only in backtests, for comparison
    with peers.
    """

    LIMIT = "limit"
    MARKET = "market"
    CONDITIONAL_LIMIT = "conditional_limit"
    BEST = "best"
    PRIORITY = "priority"
    PRE_HOURS_CLOSE = "pre_hours_close"
    AFTER_HOURS_CLOSE = "after_hours_close"
    AFTER_HOURS_SINGLE = "after_hours_single"
    LIMIT_IOC = "limit_ioc"
    LIMIT_FOK = "limit_fok"
    MARKET_IOC = "market_ioc"
    MARKET_FOK = "market_fok"
    BEST_IOC = "best_ioc"
    BEST_FOK = "best_fok"
    MID = "mid"
    STOP_LIMIT = "stop_limit"
    MID_IOC = "mid_ioc"
    MID_FOK = "mid_fok"
    NXT_PRE_LIMIT = "nxt_pre_limit"
    AFTER_MARKET_LIMIT = "after_market_limit"
    AFTER_MARKET_LIMIT_IOC = "after_market_limit_ioc"
    AFTER_MARKET_LIMIT_FOK = "after_market_limit_fok"
    AFTER_MARKET_BEST = "after_market_best"
    AFTER_MARKET_BEST_IOC = "after_market_best_ioc"
    AFTER_MARKET_BEST_FOK = "after_market_best_fok"
    AFTER_MARKET_PRIORITY = "after_market_priority"
    MARKET_ON_OPEN = "market_on_open"
    LIMIT_ON_OPEN = "limit_on_open"
    MARKET_ON_CLOSE = "market_on_close"
    LIMIT_ON_CLOSE = "limit_on_close"
    TWAP = "twap"
    VWAP = "vwap"
    MARKET_OPEN = "market_open"

    @property
    def names_price(self) -> bool:
        """Whether the order carries a price of its own; the others send 0."""
        return self in _PRICED


_PRICED = frozenset(
    {
        OrderType.LIMIT,
        OrderType.CONDITIONAL_LIMIT,
        OrderType.AFTER_HOURS_SINGLE,
        OrderType.LIMIT_IOC,
        OrderType.LIMIT_FOK,
        OrderType.STOP_LIMIT,
        OrderType.NXT_PRE_LIMIT,
        OrderType.AFTER_MARKET_LIMIT,
        OrderType.AFTER_MARKET_LIMIT_IOC,
        OrderType.AFTER_MARKET_LIMIT_FOK,
        OrderType.LIMIT_ON_OPEN,
        OrderType.LIMIT_ON_CLOSE,
        OrderType.TWAP,
        OrderType.VWAP,
    }
)


class Route(StrEnum):
    """Where a Korean order goes: an exchange, or the broker's choice between them."""

    KRX = "KRX"
    NXT = "NXT"
    SOR = "SOR"


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    NEW = "new"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    DENIED = "denied"
    REJECTED = "rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"
    PENDING_CANCEL = "pending_cancel"
    UNKNOWN = "unknown"

    @property
    def is_open(self) -> bool:
        """Whether the venue may still fill the order."""
        return self not in _ENDS

    @property
    def is_end(self) -> bool:
        """Whether the order's life is over (a late fill may still be reported)."""
        return self in _ENDS


_ENDS = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.DENIED,
        OrderStatus.REJECTED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
    }
)
_S = OrderStatus
# What a partial fill does not change: the order is over, or about to be.
_KEPT_BY_A_FILL = (_S.CANCELED, _S.EXPIRED, _S.PENDING_CANCEL)
# A fill may outrun the acceptance, a cancel may lose to a fill, and a fill may be reported
# after the cancel was: all three happen at KIS (FAULTS 25).
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.NEW: frozenset({_S.SUBMITTED, _S.DENIED}),
    _S.SUBMITTED: frozenset(
        {_S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.REJECTED, _S.UNKNOWN, _S.CANCELED,
         _S.EXPIRED, _S.PENDING_CANCEL}
    ),
    _S.ACCEPTED: frozenset(
        {_S.PARTIALLY_FILLED, _S.FILLED, _S.REJECTED, _S.CANCELED, _S.EXPIRED, _S.PENDING_CANCEL}
    ),
    _S.PARTIALLY_FILLED: frozenset(
        {_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.PENDING_CANCEL}
    ),
    _S.PENDING_CANCEL: frozenset(
        {_S.CANCELED, _S.FILLED, _S.EXPIRED, _S.PARTIALLY_FILLED, _S.ACCEPTED, _S.PENDING_CANCEL,
         _S.REJECTED}
    ),
    _S.UNKNOWN: frozenset(
        {_S.UNKNOWN, _S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.REJECTED, _S.CANCELED,
         _S.EXPIRED}
    ),
    _S.CANCELED: frozenset({_S.CANCELED, _S.FILLED}),
    _S.EXPIRED: frozenset({_S.EXPIRED, _S.FILLED}),
    _S.FILLED: frozenset(),
    _S.DENIED: frozenset(),
    _S.REJECTED: frozenset(),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntent:
    """The wish to trade, complete enough to be sent and to be found again.

    ``intent_id`` is made from the decision (market, session, boundary, symbol, side, number),
    so the same decision taken twice is the same intent. ``limit`` in minor units (0 for a type
    that names no price), ``stop`` the price that wakes a stop limit. ``route`` matters in Korea
    only. ``reason`` says which rule wished it (``rebalance``, ``stop_loss`` …).
    """

    intent_id: str
    session: date
    boundary: str
    symbol: str
    exchange: Exchange
    side: Side
    quantity: int
    limit: int
    order_type: OrderType = OrderType.LIMIT
    reason: str = "rebalance"
    stop: int = 0
    route: Route = Route.KRX


# What an order meets on its way is a tuple, as a ``Tick`` is: a backtest sends thousands a second,
# and a frozen dataclass takes longer to make than all that the engine does with it.
class OrderAck(NamedTuple):
    """The venue's acceptance: its order number and the branch that a cancel must name."""

    venue_order_id: str
    branch: str
    ts_event: datetime


class Fill(NamedTuple):
    """One execution, or several seen as one; ``amount`` is their exact value in minor units."""

    symbol: str
    side: Side
    quantity: int
    amount: int
    venue_order_id: str
    ts_event: datetime
    ts_recv: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """The venue's word on an order that is not a fill."""

    venue_order_id: str
    symbol: str
    status: OrderStatus
    ts_event: datetime
    ts_recv: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDoubt:
    """Something about our orders may not have reached us, or twice: the order listing must say.

    ``venue_order_id`` is blank when it may be any order: after an interrupted stream.
    """

    ts_recv: datetime
    venue_order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """One order as the venue lists it, with its exact filled value in minor units."""

    venue_order_id: str
    branch: str
    symbol: str
    side: Side
    quantity: int
    limit: int
    filled_quantity: int
    filled_amount: int
    canceled_quantity: int
    rejected_quantity: int
    ts_event: datetime
    original_order_id: str = ""

    @property
    def open_quantity(self) -> int:
        """Shares that may still be filled."""
        return (
            self.quantity - self.filled_quantity - self.canceled_quantity - self.rejected_quantity
        )


class Order(NamedTuple):
    """An intent on its way through the venue. Immutable: each change is a new value."""

    intent: OrderIntent
    status: OrderStatus = OrderStatus.NEW
    venue_order_id: str = ""
    branch: str = ""
    filled_quantity: int = 0
    filled_amount: int = 0
    reason: str = ""

    @property
    def open_quantity(self) -> int:
        """Shares that may still be filled; 0 once the order has ended."""
        if self.status.is_end:
            return 0
        return self.intent.quantity - self.filled_quantity

    def moved(self, status: OrderStatus, *, reason: str = "") -> "Order":
        """Return the order in ``status``; ``OrderStateError`` when the table forbids it."""
        return self._with(self._legal(status), reason=reason or self.reason)

    def acknowledged(self, ack: OrderAck) -> "Order":
        """Return the order with the venue's number; a fill that outran it keeps its status."""
        status, reason = self.status, self.reason
        if status is _S.SUBMITTED or status is _S.UNKNOWN:
            # Why its answer was lost explains nothing that happens to it from now on.
            status, reason = _S.ACCEPTED, ""
        return Order(
            intent=self.intent,
            status=status,
            venue_order_id=ack.venue_order_id,
            branch=ack.branch,
            filled_quantity=self.filled_quantity,
            filled_amount=self.filled_amount,
            reason=reason,
        )

    def with_fill(self, quantity: int, amount: int) -> "Order":
        """Return the order after ``quantity`` more shares for ``amount`` minor units."""
        filled = self.filled_quantity + quantity
        if quantity <= 0 or filled > self.intent.quantity:
            raise OrderStateError(
                f"체결 수량 오류: {filled}/{self.intent.quantity}주 ({self.intent.intent_id})"
            )
        if filled == self.intent.quantity:
            status = self._legal(_S.FILLED)
        elif self.status in _KEPT_BY_A_FILL:
            status = self.status
        else:
            status = self._legal(_S.PARTIALLY_FILLED)
        return self._with(status, filled, self.filled_amount + amount, self.reason)

    def _legal(self, status: OrderStatus) -> OrderStatus:
        if status not in TRANSITIONS[self.status]:
            raise OrderStateError(
                f"주문 상태 전이 불가: {self.status} → {status} ({self.intent.intent_id})"
            )
        return status

    def _with(
        self,
        status: OrderStatus,
        filled: int | None = None,
        amount: int | None = None,
        reason: str = "",
    ) -> "Order":
        # ``_replace`` would take longer than all the rest of an order's way.
        return Order(
            intent=self.intent,
            status=status,
            venue_order_id=self.venue_order_id,
            branch=self.branch,
            filled_quantity=self.filled_quantity if filled is None else filled,
            filled_amount=self.filled_amount if amount is None else amount,
            reason=reason,
        )
