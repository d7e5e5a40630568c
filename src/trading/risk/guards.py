"""Which order may leave at this moment; each refusal has a code that the documents list.

Guards fail closed: what cannot be checked is refused. In a backtest they never fire, because a
decision only makes orders that pass them. Whether each one still fires is proven every morning by
``live.drill``; whether the portfolio is allowed is ``risk.limits``.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from numba.core.errors import NumbaError

from trading.domain.arrays import IntArray
from trading.domain.decision import TradingState
from trading.domain.order import OrderIntent, Side
from trading.risk.limits import RiskSettings
from trading.simulation.account import BILLION
from trading.simulation.ticks import round_to_tick

_MINUTE = timedelta(minutes=1)


class GuardCode(StrEnum):
    """Why an order was denied."""

    BAD_QUANTITY = "GUARD_BAD_QUANTITY"
    ORDER_TYPE = "GUARD_ORDER_TYPE"
    DUPLICATE = "GUARD_DUPLICATE"
    SYMBOL_FROZEN = "GUARD_SYMBOL_FROZEN"
    SESSION_CLOSED = "GUARD_SESSION_CLOSED"
    HALTED = "GUARD_HALTED"
    REDUCING = "GUARD_REDUCING"
    SHORT_SALE = "GUARD_SHORT_SALE"
    UNKNOWN_SYMBOL = "GUARD_UNKNOWN_SYMBOL"
    SYMBOL_HALTED = "GUARD_SYMBOL_HALTED"
    ENTRY_STOPPED = "GUARD_ENTRY_STOPPED"
    STALE_DATA = "GUARD_STALE_DATA"
    PRICE_LIMIT = "GUARD_PRICE_LIMIT"
    TICK = "GUARD_TICK"
    LOT = "GUARD_LOT"
    PRICE_BAND = "GUARD_PRICE_BAND"
    ORDER_VALUE = "GUARD_ORDER_VALUE"
    ADV_SHARE = "GUARD_ADV_SHARE"
    NO_CASH = "GUARD_NO_CASH"
    GROSS = "GUARD_GROSS"
    SECTOR = "GUARD_SECTOR"
    SINGLE_NAME = "GUARD_SINGLE_NAME"
    ORDER_RATE = "GUARD_ORDER_RATE"


class Trading(IntEnum):
    """What the venue says about trading in one instrument; a later value allows less.

    ``NO_ENTRY``: a sidecar, or a name that is not to be bought today. ``HALTED``: a halt, a
    volatility interruption, a circuit breaker.
    """

    OPEN = 0
    NO_ENTRY = 1
    HALTED = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """What the market asks of an order in one instrument this session.

    ``lower`` and ``upper`` are 0 where there are no daily price limits; ``ladder`` has one row a
    step: from this price, tick. ``max_shares`` is the largest purchase (share of average daily
    volume), ``buy_fee_ppb`` the dearest rate a purchase may meet.
    """

    lower: int
    upper: int
    ladder: IntArray
    lot: int
    max_shares: int
    buy_fee_ppb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What a purchase would add to, at the prices and the equity that the decision went by.

    What is held beyond the decision's view counts on both sides, in ``gross`` and in ``equity``.
    ``price`` is that price of the instrument; ``name``, ``sector`` and ``gross`` are the values
    of holdings and open orders in minor units, open sales counted as sold except in ``name``, and
    purchases of today below the reference price at their limit; ``sector`` is ``None`` where no
    source names one. ``planned_*`` is what the day's decision knowingly leads to, which drifting
    prices may have carried above a cap. ``open_shares`` are open purchases of the instrument.
    """

    price: int
    equity: int
    name: int
    sector: int | None
    gross: int
    planned_sector: int
    planned_gross: int
    open_shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderContext:
    """What the guards need to know at the moment an order wants to leave.

    ``reference`` is the last known price in minor units (0 when none is known), ``data_age`` how
    old it is; ``free_quantity`` are shares held and not yet promised to another sale, and
    ``free_cash`` what open purchases with their fees leave. ``law`` is ``None`` for an
    instrument that today's view does not know, ``exposure`` where nothing is known to measure a
    purchase by.
    """

    now: datetime
    is_open: bool
    state: TradingState
    trading: Trading
    reference: int
    data_age: timedelta
    free_quantity: int
    free_cash: int
    is_known: bool
    is_frozen: bool
    law: Law | None
    exposure: Exposure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One order before the guards; ``sent`` are the orders of the last sixty seconds."""

    intent: OrderIntent
    context: OrderContext
    settings: RiskSettings
    sent: int

    @property
    def is_buy(self) -> bool:
        """Whether it is a purchase."""
        return self.intent.side is Side.BUY

    @property
    def value(self) -> int:
        """Return what the order is worth at its limit, in minor units."""
        return self.intent.quantity * self.intent.limit

    @property
    def law(self) -> Law:
        """Return what the market asks; ``LookupError`` where nobody knows."""
        if self.context.law is None:
            raise LookupError(self.intent.symbol)
        return self.context.law

    @property
    def exposure(self) -> Exposure:
        """Return what a purchase is measured by; ``LookupError`` where nobody knows."""
        if self.context.exposure is None:
            raise LookupError(self.intent.symbol)
        return self.context.exposure


# A guard says whether the order passes it. What it cannot say for want of something it raises,
# and then the order does not leave.
Guard = Callable[[Case], bool]


class Guards:
    """The last check before an order leaves: every guard in order, the first refusal counts."""

    def __init__(
        self, settings: RiskSettings, guards: Mapping[GuardCode, Guard] | None = None
    ) -> None:
        self._settings = settings
        self._guards = GUARDS if guards is None else guards
        self._sent: deque[datetime] = deque()

    def refuse(self, intent: OrderIntent, context: OrderContext) -> GuardCode | None:
        """Return why ``intent`` must not leave, or ``None``; an allowed one counts as sent."""
        while self._sent and context.now - self._sent[0] >= _MINUTE:
            self._sent.popleft()
        case = Case(intent=intent, context=context, settings=self._settings, sent=len(self._sent))
        code = None
        try:
            for code, guard in self._guards.items():
                if guard(case) is not True:
                    return code
        except (LookupError, TypeError, ValueError, ArithmeticError, NumbaError):
            return code
        self._sent.append(context.now)
        return None

    def fresh(self) -> "Guards":
        """Return the same guards with no order sent yet."""
        return type(self)(self._settings, self._guards)


# Every comparison is written so that a NaN does not pass.


def _quantity(case: Case) -> bool:
    quantity, limit = case.intent.quantity, case.intent.limit
    is_whole = type(quantity) is int and type(limit) is int
    return is_whole and quantity > 0 and limit > 0


def _order_type(case: Case) -> bool:
    # What a market order costs nobody knows before: neither value, cash nor band can be checked.
    return case.intent.order_type.names_price


def _duplicate(case: Case) -> bool:
    return case.context.is_known is False


def _symbol_frozen(case: Case) -> bool:
    return case.context.is_frozen is False


def _session_closed(case: Case) -> bool:
    return case.context.is_open is True


def _halted(case: Case) -> bool:
    return case.context.state in (TradingState.ACTIVE, TradingState.REDUCING)


def _reducing(case: Case) -> bool:
    return not case.is_buy or case.context.state is TradingState.ACTIVE


def _short_sale(case: Case) -> bool:
    return case.is_buy or case.intent.quantity <= case.context.free_quantity


def _unknown_symbol(case: Case) -> bool:
    return case.context.law is not None


def _symbol_halted(case: Case) -> bool:
    # A sale waits too: sold into a halt it would meet whatever the first auction makes of it.
    return case.context.trading < Trading.HALTED


def _entry_stopped(case: Case) -> bool:
    return not case.is_buy or case.context.trading is Trading.OPEN


def _stale_data(case: Case) -> bool:
    oldest = timedelta(seconds=case.settings.guards.stale_seconds)
    return case.context.reference > 0 and case.context.data_age <= oldest


def _price_limit(case: Case) -> bool:
    law, limit = case.law, case.intent.limit
    return law.lower <= limit and (law.upper == 0 or limit <= law.upper)


def _tick(case: Case) -> bool:
    limit = case.intent.limit
    return bool(round_to_tick(limit, case.law.ladder, False) == limit)


def _lot(case: Case) -> bool:
    return case.intent.quantity % case.law.lot == 0


def _price_band(case: Case) -> bool:
    deviation = abs(case.intent.limit - case.context.reference) / case.context.reference
    return deviation <= case.settings.guards.max_price_deviation


def _order_value(case: Case) -> bool:
    return not case.is_buy or _share(case, 0) <= case.settings.guards.max_order_share


def _adv_share(case: Case) -> bool:
    if not case.is_buy:
        return True
    return case.exposure.open_shares + case.intent.quantity <= case.law.max_shares


def _no_cash(case: Case) -> bool:
    # Spending more than the account will have at settlement is 미수.
    if not case.is_buy:
        return True
    fee = case.value * case.law.buy_fee_ppb // BILLION
    return case.value + fee <= case.context.free_cash


def _gross(case: Case) -> bool:
    return not case.is_buy or _is_within(
        case, case.exposure.gross, case.settings.max_gross, case.exposure.planned_gross
    )


def _sector(case: Case) -> bool:
    if not case.is_buy or case.exposure.sector is None:
        return True
    return _is_within(
        case, case.exposure.sector, case.settings.max_sector, case.exposure.planned_sector
    )


def _single_name(case: Case) -> bool:
    return not case.is_buy or _share(case, case.exposure.name) <= case.settings.max_single_name


def _is_within(case: Case, value: int, cap: float, planned: int) -> bool:
    return _share(case, value) <= cap or value + _added(case) <= planned


def _share(case: Case, value: int) -> float:
    """Return ``value`` with this order as a share of equity, as the decision counts it."""
    exposure = case.exposure
    if exposure.equity <= 0 or exposure.price <= 0:
        raise ValueError("no measure")
    # Weights are floats: a cap of 10 % is one also where its tenth is not.
    return round((value + _added(case)) / exposure.equity, 9)


def _added(case: Case) -> int:
    # An entry that waited for its price may come far below the reference.
    return case.intent.quantity * min(case.exposure.price, case.intent.limit)


def _order_rate(case: Case) -> bool:
    return case.sent < case.settings.guards.max_orders_per_minute


# In the order in which they are asked. What is not in here is not checked by anybody: the drill
# goes by ``GuardCode``.
GUARDS: Mapping[GuardCode, Guard] = {
    GuardCode.BAD_QUANTITY: _quantity,
    GuardCode.ORDER_TYPE: _order_type,
    GuardCode.DUPLICATE: _duplicate,
    GuardCode.SYMBOL_FROZEN: _symbol_frozen,
    GuardCode.SESSION_CLOSED: _session_closed,
    GuardCode.HALTED: _halted,
    GuardCode.REDUCING: _reducing,
    GuardCode.SHORT_SALE: _short_sale,
    GuardCode.UNKNOWN_SYMBOL: _unknown_symbol,
    GuardCode.SYMBOL_HALTED: _symbol_halted,
    GuardCode.ENTRY_STOPPED: _entry_stopped,
    GuardCode.STALE_DATA: _stale_data,
    GuardCode.PRICE_LIMIT: _price_limit,
    GuardCode.TICK: _tick,
    GuardCode.LOT: _lot,
    GuardCode.PRICE_BAND: _price_band,
    GuardCode.ORDER_VALUE: _order_value,
    GuardCode.ADV_SHARE: _adv_share,
    GuardCode.NO_CASH: _no_cash,
    GuardCode.GROSS: _gross,
    GuardCode.SECTOR: _sector,
    GuardCode.SINGLE_NAME: _single_name,
    GuardCode.ORDER_RATE: _order_rate,
}
