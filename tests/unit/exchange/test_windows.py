"""The hours of a session by date, against the tables of PROTOCOL 13.1."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from trading.domain.instrument import Market
from trading.domain.order import OrderType, Route
from trading.domain.rules import shipped_rules
from trading.exchange.refusals import OrderRefused
from trading.exchange.windows import Span, Windows
from trading.sessions import SessionCalendar

T = OrderType
RULES = shipped_rules(Market.KRX)
SEOUL = ZoneInfo("Asia/Seoul")


@pytest.fixture(scope="module")
def calendar() -> SessionCalendar:
    """Return the Korean sessions."""
    return SessionCalendar(Market.KRX, RULES)


def at(day: date, text: str) -> datetime:
    """Return a time of day in Seoul."""
    return datetime.combine(day, time.fromisoformat(text), tzinfo=SEOUL)


def takes(windows: Windows, order_type: OrderType, text: str, route: Route = Route.KRX) -> bool:
    """Whether an order is taken at a time of the session's day."""
    try:
        moment = at(windows.open_ts.astimezone(SEOUL).date(), text)
        windows.check(order_type, route, moment, interrupted=False)
    except OrderRefused:
        return False
    return True


def test_the_after_market_takes_the_place_of_single_prices(calendar: SessionCalendar):
    """2026-09-11 has 16:00-18:00 single prices, 2026-09-14 an after-market until 20:00."""
    before = Windows.of(date(2026, 9, 11), RULES, calendar)
    after = Windows.of(date(2026, 9, 14), RULES, calendar)

    assert takes(before, T.AFTER_HOURS_SINGLE, "17:59:59")
    assert not takes(before, T.AFTER_MARKET_LIMIT, "17:00:00")
    assert not takes(after, T.AFTER_HOURS_SINGLE, "17:00:00")
    for order_type in OrderType:
        if order_type.value.startswith("after_market"):
            assert takes(after, order_type, "16:00:00") and takes(after, order_type, "19:59:59")
            assert not takes(after, order_type, "15:59:59")
            assert not takes(after, order_type, "20:00:00")
    day = date(2026, 9, 14)
    assert after.expiry(T.AFTER_MARKET_LIMIT, Route.KRX) == at(day, "20:00:00")
    assert after.expiry(T.LIMIT, Route.KRX) == at(day, "15:30:00")


def test_days_whose_off_hours_nobody_stated_have_none(calendar: SessionCalendar):
    """Before 2019-04-29 PROTOCOL knows the auctions only."""
    windows = Windows.of(date(2018, 1, 15), RULES, calendar)

    assert windows.spans == {} and windows.alternative is None and windows.after_market is None
    assert windows.closing_auction == at(date(2018, 1, 15), "15:20:00")
    assert not takes(windows, T.PRE_HOURS_CLOSE, "08:35:00")


def test_an_exam_day_moves_every_hour(calendar: SessionCalendar):
    """2025-11-13 opened at 10:00 and closed at 16:30: an hour later throughout."""
    day = date(2025, 11, 13)
    windows = Windows.of(day, RULES, calendar)

    assert windows.closing_auction == at(day, "16:20:00")
    assert windows.spans[T.PRE_HOURS_CLOSE] == Span(at(day, "09:30:00"), at(day, "09:40:00"))
    assert windows.spans[T.AFTER_HOURS_CLOSE] == Span(at(day, "16:40:00"), at(day, "17:00:00"))


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("08:00:00", True),
        ("08:49:59", True),
        ("08:50:00", False),
        ("09:00:29", False),
        ("09:00:30", True),
        ("15:19:59", True),
        ("15:20:00", False),
        ("15:30:00", True),
        ("19:59:59", True),
        ("20:00:00", False),
    ],
)
def test_nxt_has_three_markets(calendar: SessionCalendar, text: str, taken: bool):
    """08:00-08:50, 09:00:30-15:20, 15:30-20:00."""
    windows = Windows.of(date(2025, 9, 10), RULES, calendar)

    assert takes(windows, T.LIMIT, text, Route.NXT) is taken
    assert windows.expiry(T.LIMIT, Route.NXT) == at(date(2025, 9, 10), "20:00:00")


def test_nxt_begins_on_its_first_day(calendar: SessionCalendar):
    """2025-02-28 had one exchange, 2025-03-04 two."""
    before = Windows.of(date(2025, 2, 28), RULES, calendar)
    after = Windows.of(date(2025, 3, 4), RULES, calendar)

    for route in (Route.NXT, Route.SOR):
        assert not takes(before, T.LIMIT, "10:00:00", route)
        assert takes(after, T.LIMIT, "10:00:00", route)
    assert not takes(before, T.STOP_LIMIT, "10:00:00") and takes(after, T.STOP_LIMIT, "10:00:00")
