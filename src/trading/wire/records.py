"""What a KIS message says, where the domain has no word for it: requests, rows and balances.

All prices and amounts are integer minor units of the market's currency.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from trading.domain.instrument import Exchange
from trading.domain.market import Book as Book
from trading.domain.market import BookLevel as BookLevel
from trading.domain.order import OrderType, Route, Side, VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """A new order. ``account`` is the ten-digit number; ``exchange`` is ``None`` for KRX.

    ``limit`` is 0 for a type that names no price, ``stop`` wakes a stop limit; ``route`` matters
    in Korea only.
    """

    account: str = field(repr=False)
    symbol: str
    side: Side
    quantity: int
    limit: int
    exchange: Exchange | None = None
    order_type: OrderType = OrderType.LIMIT
    stop: int = 0
    route: Route = Route.KRX


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A cancel, or a revision when ``is_cancel`` is false; ``quantity`` 0 is all that is left.

    ``route`` must be the one that the order took; ``order_type`` and ``stop`` are those that a
    revision in Korea wishes.
    """

    account: str = field(repr=False)
    original_order_id: str
    quantity: int
    limit: int
    is_cancel: bool = True
    branch: str = ""
    symbol: str = ""
    exchange: Exchange | None = None
    order_type: OrderType = OrderType.LIMIT
    stop: int = 0
    route: Route = Route.KRX


class OrderKind(StrEnum):
    """Whether a listed row is an order or the request to change another one."""

    NEW = "new"
    REVISE = "revise"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOrder:
    """One row of an order listing."""

    order: VenueOrder
    kind: OrderKind = OrderKind.NEW
    reason: str = ""
    order_type: OrderType = OrderType.LIMIT
    stop: int = 0
    route: Route = Route.KRX


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a listing goes on; both keys blank at the beginning."""

    fk: str = ""
    nk: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class YearRange:
    """The highest and the lowest price of a year, in minor units, and the days of them."""

    high: int
    high_on: date
    low: int
    low_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRow:
    """One daily bar; ``value`` is the turnover, ``None`` where none was recorded."""

    session: date
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteRow:
    """One minute bar from ``start``; ``value`` is the turnover since the open, if recorded."""

    start: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """One line of a volume ranking."""

    rank: int
    symbol: str
    name: str
    price: int
    previous_close: int
    volume: int
    previous_volume: int = 0
    value: int | None = None
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One holding as the venue lists it; ``cost`` is what was paid in all, without fees."""

    symbol: str
    quantity: int
    sellable: int
    cost: int
    price: int = 0
    name: str = ""
    exchange: Exchange | None = None
    bought_today: int = 0
    sold_today: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Holdings and cash.

    ``cash`` is settled today, ``cash_next`` on the next business day, ``cash_final`` once every
    trade so far has settled (KRX: D+0, D+1, D+2). Today's amounts are before fees and taxes;
    ``costs_today`` are these.
    """

    cash: int
    cash_next: int
    cash_final: int
    holdings: tuple[Holding, ...] = ()
    bought_today: int = 0
    sold_today: int = 0
    costs_today: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyingPower:
    """What may be spent now without credit, and for how many shares at ``price`` that is enough."""

    amount: int
    quantity: int
    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HolidayRow:
    """Whether orders can be placed on ``day``."""

    day: date
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRow:
    """When a trade made today settles abroad and in Korea, per country and market."""

    country: str
    market_name: str
    local_settlement: date
    domestic_settlement: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An order or execution notice.

    ``quantity`` and ``price`` are those of this event: the order's for an order notice, the
    execution's for a fill. ``acceptance`` is 1 received, 2 confirmed, 3 canceled by the venue.
    """

    account: str = field(repr=False)
    order_id: str
    original_order_id: str
    side: Side
    kind: OrderKind
    symbol: str
    quantity: int
    price: int
    time: str
    is_fill: bool
    is_refused: bool
    acceptance: str
    order_quantity: int
    limit: int = 0
    branch: str = ""
    name: str = ""
    customer: str = field(default="", repr=False)
    exchange: Exchange | None = None
