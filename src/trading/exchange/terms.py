"""What an order means in a session: at which price it may trade, and what it may cost."""

from typing import NamedTuple

from trading.domain.instrument import Instrument
from trading.domain.order import OrderType, Side
from trading.domain.rules import MarketRules
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.replay import SessionReplay
from trading.exchange.windows import AT_LAST, AT_MARKET

# No share ever cost as much in minor units; the matching is compiled for 64 bits.
_HIGHEST = 10**14
# An after-hours single price stays within a tenth of the close (PROTOCOL 13.1).
_SINGLE_PART = 10


class Terms(NamedTuple):
    """``limit`` as ordered, ``bound`` to match at, ``ceiling`` to reserve a share at."""

    limit: int
    bound: int
    ceiling: int


def terms_of(
    order_type: OrderType,
    side: Side,
    limit: int,
    stop: int,
    *,
    instrument: Instrument,
    replay: SessionReplay,
    rules: MarketRules,
    last: int,
) -> Terms:
    """Return the terms; ``last`` is the last price traded, 0 before the first.

    Raises ``OrderRefused`` for a price that is off the grid, outside the day's limits, or that
    the order's type needs and nobody recorded.
    """
    lower, upper = replay.limits(instrument.symbol)
    is_buy = side is Side.BUY
    if order_type.names_price:
        _check_price(limit, instrument, replay, rules)
        if order_type is OrderType.STOP_LIMIT:
            _check_price(stop, instrument, replay, rules)
        if order_type is OrderType.AFTER_HOURS_SINGLE and abs(limit - last) * _SINGLE_PART > last:
            raise OrderRefused(Reason.PRICE_LIMIT)
        is_market_later = order_type is OrderType.CONDITIONAL_LIMIT and is_buy and upper
        return Terms(limit, limit, upper if is_market_later else limit)
    if order_type in AT_MARKET:
        if not upper:
            raise OrderRefused(Reason.NOT_TRADABLE, "기준가가 없어 시장가를 받을 수 없음")
        bound = upper if is_buy else lower
        return Terms(0, bound, bound)
    if order_type in AT_LAST:
        if not last:
            raise OrderRefused(Reason.NO_BOOK)
        bound = rules.round_to_tick(instrument.exchange, last, replay.session, side)
        return Terms(0, bound, upper if is_buy and upper else bound)
    if order_type is OrderType.PRE_HOURS_CLOSE:
        last = replay.reference(instrument.symbol)
    elif order_type is not OrderType.AFTER_HOURS_CLOSE:
        # Market on open and on close are sales without a lowest price.
        return Terms(0, 1, 1)
    if not last:
        raise OrderRefused(Reason.NOT_TRADABLE, "종가가 없음")
    return Terms(0, last, last)


def _check_price(
    price: int, instrument: Instrument, replay: SessionReplay, rules: MarketRules
) -> None:
    if not 0 < price < _HIGHEST or not rules.is_on_tick(instrument.exchange, price, replay.session):
        raise OrderRefused(Reason.TICK)
    lower, upper = replay.limits(instrument.symbol)
    if upper and not lower <= price <= upper:
        raise OrderRefused(Reason.PRICE_LIMIT)
