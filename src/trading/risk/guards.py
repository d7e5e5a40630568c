"""Which order may leave at this moment; each refusal has a code that the documents list.

Guards fail closed: what cannot be checked is refused. In a backtest they never fire, because a
decision only makes orders that pass them.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from trading.domain.decision import TradingState
from trading.domain.order import OrderIntent, Side
from trading.risk.limits import GuardSettings


class GuardCode(StrEnum):
    """Why an order was denied."""

    DUPLICATE = "GUARD_DUPLICATE"
    SESSION_CLOSED = "GUARD_SESSION_CLOSED"
    HALTED = "GUARD_HALTED"
    REDUCING = "GUARD_REDUCING"
    SHORT_SALE = "GUARD_SHORT_SALE"
    STALE_DATA = "GUARD_STALE_DATA"
    PRICE_BAND = "GUARD_PRICE_BAND"
    ORDER_VALUE = "GUARD_ORDER_VALUE"
    ORDER_RATE = "GUARD_ORDER_RATE"
    NO_CASH = "GUARD_NO_CASH"
    BAD_QUANTITY = "GUARD_BAD_QUANTITY"
    SYMBOL_FROZEN = "GUARD_SYMBOL_FROZEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderContext:
    """What the guards need to know at the moment an order wants to leave.

    ``reference`` is the last known price in minor units (0 when none is known), ``data_age`` how
    old it is; ``free_quantity`` are shares held and not yet promised to another sale.
    """

    now: datetime
    is_open: bool
    state: TradingState
    reference: int
    data_age: timedelta
    free_quantity: int
    free_cash: int
    equity: int
    is_known: bool
    is_frozen: bool


class Guards:
    """The last check before an order leaves."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._sent: deque[datetime] = deque()

    def refuse(self, intent: OrderIntent, context: OrderContext) -> GuardCode | None:
        """Return why ``intent`` must not leave, or ``None``; an allowed one counts as sent."""
        code = self._check(intent, context)
        if code is None:
            self._sent.append(context.now)
        return code

    def _check(self, intent: OrderIntent, context: OrderContext) -> GuardCode | None:
        s = self._settings
        is_buy = intent.side is Side.BUY
        value = intent.quantity * intent.limit
        is_whole = isinstance(intent.quantity, int) and isinstance(intent.limit, int)
        if not is_whole or intent.quantity <= 0 or intent.limit <= 0:
            return GuardCode.BAD_QUANTITY
        if context.is_known:
            return GuardCode.DUPLICATE
        if context.is_frozen:
            return GuardCode.SYMBOL_FROZEN
        if not context.is_open:
            return GuardCode.SESSION_CLOSED
        if context.state is TradingState.HALTED:
            return GuardCode.HALTED
        if is_buy and context.state is not TradingState.ACTIVE:
            return GuardCode.REDUCING
        if not is_buy and intent.quantity > context.free_quantity:
            return GuardCode.SHORT_SALE
        if context.reference <= 0 or context.data_age > timedelta(seconds=s.stale_seconds):
            return GuardCode.STALE_DATA
        deviation = abs(intent.limit - context.reference) / context.reference
        if deviation > s.max_price_deviation:
            return GuardCode.PRICE_BAND
        if is_buy and value > s.max_order_share * context.equity:
            return GuardCode.ORDER_VALUE
        if is_buy and value > context.free_cash:
            return GuardCode.NO_CASH
        return self._rate(context.now)

    def _rate(self, now: datetime) -> GuardCode | None:
        while self._sent and now - self._sent[0] >= timedelta(minutes=1):
            self._sent.popleft()
        full = len(self._sent) >= self._settings.max_orders_per_minute
        return GuardCode.ORDER_RATE if full else None
