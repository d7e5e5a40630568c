"""When the venue takes which order, and until when the order lives, in one session.

The hours are dated law (``config/markets``); a day whose hours are moved (exam days) moves all
of them. Phases of the replay are in ``venue``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from trading.domain.instrument import Market
from trading.domain.order import OrderType, Route
from trading.domain.rules import MarketRules
from trading.exchange.refusals import OrderRefused, Reason
from trading.sessions import SessionCalendar

_T = OrderType
IMMEDIATE = frozenset(
    {
        _T.LIMIT_IOC,
        _T.MARKET_IOC,
        _T.BEST_IOC,
        _T.LIMIT_FOK,
        _T.MARKET_FOK,
        _T.BEST_FOK,
        _T.AFTER_MARKET_LIMIT_IOC,
        _T.AFTER_MARKET_LIMIT_FOK,
        _T.AFTER_MARKET_BEST_IOC,
        _T.AFTER_MARKET_BEST_FOK,
    }
)
WHOLE = frozenset(
    {
        _T.LIMIT_FOK,
        _T.MARKET_FOK,
        _T.BEST_FOK,
        _T.AFTER_MARKET_LIMIT_FOK,
        _T.AFTER_MARKET_BEST_FOK,
    }
)
# Priced at the limits of the day until filled (PROTOCOL 9.1); a conditional limit may become one.
AT_MARKET = frozenset({_T.MARKET, _T.MARKET_IOC, _T.MARKET_FOK})
# No book was recorded: the last trade stands for the far side, and for the own one.
AT_LAST = frozenset(
    {
        _T.BEST,
        _T.BEST_IOC,
        _T.BEST_FOK,
        _T.PRIORITY,
        _T.AFTER_MARKET_BEST,
        _T.AFTER_MARKET_BEST_IOC,
        _T.AFTER_MARKET_BEST_FOK,
        _T.AFTER_MARKET_PRIORITY,
    }
)
PASSIVE = frozenset({_T.PRIORITY, _T.AFTER_MARKET_PRIORITY})
AT_CLOSING_PRICE = frozenset({_T.PRE_HOURS_CLOSE, _T.AFTER_HOURS_CLOSE})
ON_OPEN = frozenset({_T.MARKET_ON_OPEN, _T.LIMIT_ON_OPEN})
ON_CLOSE = frozenset({_T.MARKET_ON_CLOSE, _T.LIMIT_ON_CLOSE})
_NEEDS_BOOK = frozenset({_T.MID, _T.MID_IOC, _T.MID_FOK})
_AFTER_MARKET = frozenset(kind for kind in OrderType if kind.value.startswith("after_market"))
_OUTSIDE = frozenset({_T.PRE_HOURS_CLOSE, _T.AFTER_HOURS_CLOSE, _T.AFTER_HOURS_SINGLE})
_IN_CALL_AUCTIONS = frozenset({_T.LIMIT, _T.MARKET})
_BEFORE_OPEN = _IN_CALL_AUCTIONS | {_T.CONDITIONAL_LIMIT, _T.STOP_LIMIT}
# KRX took these with the start of the second exchange (PROTOCOL 13.3).
_SINCE_ALTERNATIVE = _NEEDS_BOOK | {_T.STOP_LIMIT}
# The main market of NXT is closed around both call auctions of KRX (PROTOCOL 13.1).
_NXT_PRE_END = timedelta(minutes=-10)
_NXT_MAIN_START = timedelta(seconds=30)


class Span(NamedTuple):
    """From ``start`` until just before ``end``."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Whether ``moment`` lies in the span."""
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The hours of one session in UTC; a span that was not law that day is ``None``."""

    market: Market
    open_ts: datetime
    close_ts: datetime
    closing_auction: datetime
    spans: Mapping[OrderType, Span]
    after_market: Span | None
    alternative: Span | None

    @classmethod
    def of(cls, session: date, rules: MarketRules, calendar: SessionCalendar) -> "Windows":
        """Return the hours in force on ``session``."""
        opened, closed = calendar.open_close(session)
        hours = rules.hours(session)

        def at(moment: time) -> datetime:
            anchor, instant = (
                (hours.open, opened) if moment <= hours.open else (hours.close, closed)
            )
            return instant + (_of_day(moment) - _of_day(anchor))

        def span(bounds: tuple[time, time] | None) -> Span | None:
            return None if bounds is None else Span(at(bounds[0]), at(bounds[1]))

        outside = {
            _T.PRE_HOURS_CLOSE: span(hours.pre_hours),
            _T.AFTER_HOURS_CLOSE: span(hours.after_hours),
            _T.AFTER_HOURS_SINGLE: span(hours.after_hours_single),
        }
        closing = hours.closing_auction
        return cls(
            market=rules.market,
            open_ts=opened,
            close_ts=closed,
            closing_auction=closed if closing is None else at(closing),
            spans={kind: bounds for kind, bounds in outside.items() if bounds is not None},
            after_market=span(hours.after_market),
            alternative=span(hours.alternative),
        )

    def is_call(self, moment: datetime) -> bool:
        """Whether regular trading only collects orders for a single price."""
        return moment < self.open_ts or self.closing_auction <= moment < self.close_ts

    def check(
        self, order_type: OrderType, route: Route, moment: datetime, *, interrupted: bool
    ) -> None:
        """Raise ``OrderRefused`` when an order of this type is not taken at ``moment``.

        ``interrupted`` is true while the instrument's trading is interrupted (VI).
        """
        if self.market is Market.US:
            self._check_us(order_type, moment)
            return
        if order_type in _NEEDS_BOOK:
            raise OrderRefused(Reason.NO_BOOK)
        is_new = route is not Route.KRX or order_type in _SINCE_ALTERNATIVE
        if is_new and self.alternative is None:
            raise OrderRefused(Reason.ORDER_KIND, order_type.value)
        if route is Route.NXT:
            self._check_nxt(moment)
            return
        span = self.after_market if order_type in _AFTER_MARKET else self.spans.get(order_type)
        if order_type in _AFTER_MARKET or order_type in _OUTSIDE:
            if span is None:
                raise OrderRefused(Reason.ORDER_KIND, order_type.value)
            if not span.holds(moment):
                raise OrderRefused(Reason.CLOSED)
            return
        if moment >= self.close_ts:
            raise OrderRefused(Reason.CLOSED)
        taken = _BEFORE_OPEN if moment < self.open_ts else _IN_CALL_AUCTIONS
        if (interrupted or self.is_call(moment)) and order_type not in taken:
            raise OrderRefused(Reason.CALL_AUCTION)

    def expiry(self, order_type: OrderType, route: Route) -> datetime:
        """Return when what is left of an order ends."""
        if route is not Route.KRX and self.alternative is not None:
            return self.alternative.end
        if order_type in _AFTER_MARKET and self.after_market is not None:
            return self.after_market.end
        span = self.spans.get(order_type)
        return self.close_ts if span is None else span.end

    def _check_us(self, order_type: OrderType, moment: datetime) -> None:
        if order_type not in ON_OPEN | ON_CLOSE | {_T.LIMIT}:
            raise OrderRefused(Reason.ORDER_KIND, order_type.value)
        if moment >= self.close_ts or (order_type in ON_OPEN and moment >= self.open_ts):
            raise OrderRefused(Reason.CLOSED)

    def _check_nxt(self, moment: datetime) -> None:
        if self.alternative is None:
            raise OrderRefused(Reason.ORDER_KIND, Route.NXT.value)
        spans = (
            Span(self.alternative.start, self.open_ts + _NXT_PRE_END),
            Span(self.open_ts + _NXT_MAIN_START, self.closing_auction),
            Span(self.close_ts, self.alternative.end),
        )
        if not any(span.holds(moment) for span in spans):
            raise OrderRefused(Reason.CLOSED)


def _of_day(moment: time) -> timedelta:
    return timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second)
