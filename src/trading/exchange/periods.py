"""Longer bars made of shorter recorded ones, the way charts show them."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar

from trading.wire.domestic_bars import Period
from trading.wire.records import DailyRow, MinuteRow

T = TypeVar("T")

_NAMES: dict[Period, Callable[[date], Any]] = {
    Period.DAY: lambda day: day,
    Period.WEEK: lambda day: day.isocalendar()[:2],
    Period.MONTH: lambda day: (day.year, day.month),
    Period.YEAR: lambda day: day.year,
}


def grouped(rows: Sequence[T], day_of: Callable[[T], date], period: Period) -> list[list[T]]:
    """Return dated rows, given in order, in groups of one ``period`` each."""
    return [list(group) for _, group in groupby(rows, lambda row: _NAMES[period](day_of(row)))]


def merged(days: Sequence[DailyRow], period: Period) -> list[DailyRow]:
    """Return daily bars, given oldest first, as bars of ``period`` named by their last day."""
    return [_merged(group) for group in grouped(days, lambda day: day.session, period)]


def widened(rows: Sequence[MinuteRow], minutes: int, opened: datetime) -> list[MinuteRow]:
    """Return bars, given oldest first, as bars of ``minutes`` counted from the open."""
    width = timedelta(minutes=minutes)
    groups = groupby(rows, lambda row: opened + (row.start - opened) // width * width)
    return [_widened(start, list(group)) for start, group in groups]


def _merged(days: Sequence[DailyRow]) -> DailyRow:
    values = [day.value for day in days if day.value is not None]
    return DailyRow(
        session=days[-1].session,
        open=days[0].open,
        high=max(day.high for day in days),
        low=min(day.low for day in days),
        close=days[-1].close,
        volume=sum(day.volume for day in days),
        value=sum(values) if len(values) == len(days) else None,
    )


def _widened(start: datetime, rows: Sequence[MinuteRow]) -> MinuteRow:
    return MinuteRow(
        start=start,
        open=rows[0].open,
        high=max(row.high for row in rows),
        low=min(row.low for row in rows),
        close=rows[-1].close,
        volume=sum(row.volume for row in rows),
        value=rows[-1].value,
    )
