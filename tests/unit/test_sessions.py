"""Sessions and their hours, on days that are known to be special."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, BrokenBarrierError

import exchange_calendars
import pytest
from pandas.tseries.holiday import AbstractHolidayCalendar as Holidays

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import ConfigError
from trading.sessions import SessionCalendar

KRX = SessionCalendar(Market.KRX)
US = SessionCalendar(Market.US)


def local(calendar, day):
    """Return the local opening and closing times of a session as text."""
    opened, closed = calendar.open_close(day)
    return tuple(f"{at.astimezone(calendar.timezone):%H:%M}" for at in (opened, closed))


@pytest.mark.parametrize("day", [date(2026, 6, 3), date(2026, 7, 17), date(2025, 6, 3)])
def test_election_and_constitution_days_are_closed(day):
    """Days that the library has open are closed by the override file."""
    assert not KRX.is_session(day)


@pytest.mark.parametrize(
    "day",
    [
        date(2021, 11, 18),
        date(2022, 11, 17),
        date(2023, 11, 16),
        date(2024, 11, 14),
        date(2025, 11, 13),
        date(2026, 11, 19),
    ],
)
def test_exam_days_run_an_hour_late(day):
    """On college entrance exam days KRX trades 10:00 to 16:30."""
    assert local(KRX, day) == ("10:00", "16:30")


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2016, 7, 29), ("09:00", "15:00")),
        (date(2016, 8, 1), ("09:00", "15:30")),
        (date(2024, 1, 2), ("10:00", "15:30")),
        (date(2027, 12, 30), ("09:00", "15:30")),
    ],
)
def test_korean_hours(day, hours):
    """The longer day of 2016, the late first session of a year, the last one known."""
    assert local(KRX, day) == hours


def test_american_half_day_and_daylight_saving():
    """The day after Thanksgiving closes at 13:00; UTC moves by an hour in March."""
    assert local(US, date(2023, 11, 24)) == ("09:30", "13:00")
    assert US.open_close(date(2024, 3, 8))[0] == datetime(2024, 3, 8, 14, 30, tzinfo=UTC)
    assert US.open_close(date(2024, 3, 11))[0] == datetime(2024, 3, 11, 13, 30, tzinfo=UTC)


def test_regular_sessions_have_the_hours_of_the_law():
    """Apart from late openings and half days, calendar and law agree on every session."""
    for calendar, special in ((KRX, 56), (US, 61)):
        rules = shipped_rules(calendar.market)
        odd = [
            day
            for day in calendar.sessions(rules.first, rules.last)
            if local(calendar, day)
            != (f"{rules.hours(day).open:%H:%M}", f"{rules.hours(day).close:%H:%M}")
        ]
        assert len(odd) <= special


def test_neighbours():
    """Before, after and offsets skip weekends and holidays; the day itself may be closed."""
    assert KRX.next(date(2024, 12, 30)) == date(2025, 1, 2)
    assert KRX.previous(date(2025, 1, 1)) == date(2024, 12, 30)
    assert KRX.offset(date(2024, 12, 27), 2) == date(2025, 1, 2)
    assert KRX.offset(date(2025, 1, 2), -2) == date(2024, 12, 27)
    assert US.sessions(date(2001, 9, 10), date(2001, 9, 17)) == [
        date(2001, 9, 10),
        date(2001, 9, 17),
    ]


def test_each_market_has_its_own_year():
    """About 247 sessions a year in Seoul, 251 to 252 in New York."""
    assert KRX.sessions_per_year == 247
    assert US.sessions_per_year == 251


def test_recorded_days_are_exactly_the_sessions(shared_data):
    """Each session of 2000 to 2025 was traded, and nothing else was."""
    import pandas as pd

    for calendar, name in ((KRX, "krx_daily"), (US, "us_daily")):
        days = pd.read_parquet(shared_data / f"{name}.parquet", columns=["date"])["date"]
        traded = sorted(set(pd.to_datetime(days).dt.date))
        assert calendar.sessions(traded[0], traded[-1]) == traded


def test_one_calendar_is_made_at_a_time(monkeypatch):
    """Pages ask for several at once, and pandas knows one range of holidays for all."""
    met, make, undisturbed = Barrier(2), exchange_calendars.get_calendar, []
    known = Holidays.start_date, Holidays.end_date

    def making(*asked, **more):
        begun = Holidays.start_date, Holidays.end_date
        with suppress(BrokenBarrierError):
            met.wait(timeout=0.3)  # for the other one, which must not come
        undisturbed.append((Holidays.start_date, Holidays.end_date) == begun)
        return make(*asked, **more)

    monkeypatch.setattr(exchange_calendars, "get_calendar", making)
    middles = [date(2011, 9, 12), date(2014, 9, 8)]  # Chuseok of both years

    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda day: SessionCalendar(Market.KRX, around=day), middles))

    assert undisturbed == [True, True]
    assert (Holidays.start_date, Holidays.end_date) == known
    month = timedelta(days=30)
    for middle, calendar in zip(middles, made, strict=True):
        assert not calendar.is_session(middle)
        sessions = KRX.sessions(middle - month, middle + month)
        assert calendar.sessions(middle - month, middle + month) == sessions


def test_unknown_days_are_errors():
    """Outside the stated range, beyond its ends, and hours of a closed day."""
    for ask in (
        lambda: KRX.is_session(date(1999, 12, 30)),
        lambda: KRX.sessions(date(2020, 1, 1), date(2030, 1, 1)),
        lambda: KRX.next(date(2027, 12, 31)),
        lambda: KRX.previous(date(2000, 1, 1)),
        lambda: KRX.open_close(date(2026, 6, 3)),
        lambda: KRX.offset(date(2026, 6, 3), 1),
    ):
        with pytest.raises(ConfigError):
            ask()
