"""The trading days of a market and their hours, in UTC.

exchange_calendars knows the holidays; the days it has wrong are overridden in
``config/markets/*.yaml``. Regular hours as law are in ``trading.domain.rules``.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from threading import Lock
from zoneinfo import ZoneInfo

from trading.domain.instrument import Market
from trading.domain.rules import MarketRules, shipped_rules
from trading.errors import ConfigError

# Longer than any market has ever been closed.
_ABOUT = timedelta(days=30)
_ABOUT_A_YEAR = timedelta(days=400)
_MAKING = Lock()


class SessionCalendar:
    """The sessions of one market, by local date, over the range its law is stated for.

    Parameters
    ----------
    market : Market
        Whose sessions.
    rules : MarketRules or None
        The market's law with the overridden days; ``None`` takes the shipped law.
    around : date or None
        Know only the sessions about this day, which takes a part of the time to make.
    """

    def __init__(
        self, market: Market, rules: MarketRules | None = None, *, around: date | None = None
    ) -> None:
        rules = shipped_rules(market) if rules is None else rules
        first, last = rules.first, rules.last
        if around is not None:
            first, last = max(first, around - _ABOUT), min(last, around + _ABOUT)
        self.market = market
        self.timezone = ZoneInfo(market.timezone_name)
        self._hours = dict(_library_hours(market, first, last))
        for day, override in rules.calendar_overrides.items():
            if not first <= day <= last:
                continue
            if override.closed:
                self._hours.pop(day, None)
            elif override.open is not None and override.close is not None:
                opened, closed = (
                    datetime.combine(day, at, tzinfo=self.timezone).astimezone(UTC)
                    for at in (override.open, override.close)
                )
                self._hours[day] = (opened, closed)
        self._days = sorted(self._hours)
        self._first = first
        self._last = last

    @property
    def sessions_per_year(self) -> int:
        """The market's own annualization factor: sessions of 2001 to 2025 over 25 years."""
        return round(len(self.sessions(date(2001, 1, 1), date(2025, 12, 31))) / 25)

    def sessions(self, first: date, last: date) -> list[date]:
        """Return the sessions from ``first`` to ``last``, both included."""
        self._check(first)
        self._check(last)
        return self._days[bisect_left(self._days, first) : bisect_right(self._days, last)]

    def is_session(self, day: date) -> bool:
        """Whether the market trades on ``day``."""
        self._check(day)
        return day in self._hours

    def next(self, day: date) -> date:
        """Return the first session after ``day``."""
        self._check(day)
        return self._at(bisect_right(self._days, day), day)

    def previous(self, day: date) -> date:
        """Return the last session before ``day``."""
        self._check(day)
        return self._at(bisect_left(self._days, day) - 1, day)

    def offset(self, day: date, sessions: int) -> date:
        """Return the session ``sessions`` after (negative: before) the session ``day``."""
        if not self.is_session(day):
            raise ConfigError(f"{self.market} 시장의 거래일이 아님: {day}")
        return self._at(bisect_left(self._days, day) + sessions, day)

    def open_close(self, day: date) -> tuple[datetime, datetime]:
        """Return the instants at which the regular session of ``day`` opens and closes."""
        if not self.is_session(day):
            raise ConfigError(f"{self.market} 시장의 거래일이 아님: {day}")
        return self._hours[day]

    def _check(self, day: date) -> None:
        if not self._first <= day <= self._last:
            raise ConfigError(
                f"{self.market} 시장 달력은 {self._first}부터 {self._last}까지만 알고 있음: {day}"
            )

    def _at(self, index: int, asked: date) -> date:
        if not 0 <= index < len(self._days):
            raise ConfigError(f"{self.market} 시장 달력의 범위를 벗어남: {asked} 기준")
        return self._days[index]


@cache
def _library_hours(
    market: Market, first: date, last: date
) -> Mapping[date, tuple[datetime, datetime]]:
    # Each process does it once. The library takes the last session of any range for the first of a
    # year (10:00), so ask for more than is used.
    import exchange_calendars
    import pandas as pd
    from pandas.tseries.holiday import AbstractHolidayCalendar

    # The holidays of 230 years by default, those of the moon among them: most of the time. This is
    # how pandas wants the range to be named, for every calendar of the process: one is made at a
    # time, or it would have the holidays of another's range, and it is the old one afterwards.
    with _MAKING:
        known = AbstractHolidayCalendar.start_date, AbstractHolidayCalendar.end_date
        AbstractHolidayCalendar.start_date = pd.Timestamp(first - _ABOUT_A_YEAR)
        AbstractHolidayCalendar.end_date = pd.Timestamp(last + _ABOUT_A_YEAR)
        try:
            schedule = exchange_calendars.get_calendar(
                market.calendar_name,
                start=first.isoformat(),
                end=(last + timedelta(days=45)).isoformat(),
            ).schedule
        finally:
            AbstractHolidayCalendar.start_date, AbstractHolidayCalendar.end_date = known
    return {
        session.date(): (
            opened.to_pydatetime().astimezone(UTC),
            closed.to_pydatetime().astimezone(UTC),
        )
        for session, opened, closed in zip(
            schedule.index, schedule["open"], schedule["close"], strict=True
        )
        if session.date() <= last
    }
