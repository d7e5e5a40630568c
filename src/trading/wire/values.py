"""Single values on the wire: numbers, prices, dates and times as KIS writes them.

Everything at KIS is text: numbers, dates ``YYYYMMDD`` and times ``HHMMSS`` in the time of the
place; what is absent is blank. Prices become integer minor units here, exactly.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from trading.domain.instrument import Market
from trading.errors import SchemaError

KST = timezone(timedelta(hours=9))
EASTERN = ZoneInfo("America/New_York")
_ORDER_NUMBER_WIDTH = 10
_YEARS = (1000, 9000)
# No price, amount or count needs more digits; "1E999999999" would be written out as an integer.
_MOST_DIGITS = 30


def decimal(text: Any) -> Decimal:
    """Return the number in ``text``; blank is zero."""
    cleaned = str(text).strip().replace(",", "") if text is not None else ""
    if not cleaned:
        return Decimal(0)
    try:
        number = Decimal(cleaned)
    except InvalidOperation as error:
        raise SchemaError(f"숫자가 아님: {text!r}") from error
    if not number.is_finite() or len(number.as_tuple().digits) > _MOST_DIGITS:
        raise SchemaError(f"숫자가 아님: {text!r}")
    if number and abs(number.adjusted()) > _MOST_DIGITS:
        raise SchemaError(f"너무 크거나 작은 숫자: {text!r}")
    return number


def integer(text: Any) -> int:
    """Return the whole number in ``text``; blank is zero, a fraction is an error."""
    if isinstance(text, str) and _is_plain(text):
        return int(text)
    number = decimal(text)
    if number != number.to_integral_value():
        raise SchemaError(f"정수가 아님: {text!r}")
    return int(number)


def to_minor(text: Any, market: Market) -> int:
    """Return a price or an amount in minor units, exactly; blank is zero.

    Raises ``SchemaError`` when the text is finer than one minor unit.
    """
    per_unit = market.currency.minor_per_unit
    if isinstance(text, str):
        if per_unit == 1 and _is_plain(text):
            return int(text)
        if per_unit == 10_000 and text[-5:-4] == ".":
            # Most dollars come with four decimals: no need for ``Decimal``.
            units, rest = text[:-5], text[-4:]
            if _is_plain(units) and _is_plain(rest):
                return int(units) * 10_000 + int(rest)
    minor = decimal(text) * per_unit
    if minor != minor.to_integral_value():
        raise SchemaError(f"최소 화폐 단위보다 작은 값: {text!r} ({market.currency})")
    return int(minor)


def to_minor_rounded(text: Any, market: Market) -> int:
    """Return an amount in minor units, half to even; for vendor averages and adjusted prices."""
    minor = decimal(text) * market.currency.minor_per_unit
    return int(minor.to_integral_value(rounding=ROUND_HALF_EVEN))


def from_minor(minor: int, market: Market) -> str:
    """Write minor units: whole won, dollars with four decimals."""
    if market is Market.KRX:
        return str(minor)
    sign = "-" if minor < 0 else ""
    units, rest = divmod(abs(minor), 10_000)
    return f"{sign}{units}.{rest:04d}"


def ratio_text(numerator: int, denominator: int) -> str:
    """Write ``numerator / denominator`` in percent with two decimals; 0.00 without denominator."""
    if denominator == 0:
        return "0.00"
    return f"{Decimal(100 * numerator) / Decimal(denominator):.2f}"


def change_sign(price: int, base: int, *, upper: int = 0, lower: int = 0) -> str:
    """Return KIS's direction code: 1 upper limit, 2 up, 3 flat, 4 lower limit, 5 down."""
    if upper and price == upper:
        return "1"
    if lower and price == lower:
        return "4"
    if price == base:
        return "3"
    return "2" if price > base else "5"


def order_number(text: Any) -> str:
    """Return an order number as ten digits; KIS pads with zeros in some places only."""
    cleaned = str(text).strip()
    return cleaned.lstrip("0").zfill(_ORDER_NUMBER_WIDTH) if cleaned else ""


def day(text: Any) -> date:
    """Return the date written ``YYYYMMDD``."""
    cleaned = str(text).strip()
    try:
        found = date(int(cleaned[:4]), int(cleaned[4:6]), int(cleaned[6:8]))
        if not _YEARS[0] <= found.year <= _YEARS[1]:
            # The first and the last years have no instant in some time zones.
            raise ValueError(found)
        return found
    except ValueError as error:
        raise SchemaError(f"날짜가 아님: {text!r}") from error


def day_text(value: date) -> str:
    """Write a date as ``YYYYMMDD``."""
    return f"{value.year:04d}{value.month:02d}{value.day:02d}"


def seconds_of(text: str) -> int:
    """Return the seconds since midnight of a time written ``HHMMSS``."""
    text = text.strip()
    try:
        hour, minute, second = int(text[:2]), int(text[2:4]), int(text[4:6])
    except ValueError as error:
        raise SchemaError(f"시각이 아님: {text!r}") from error
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        raise SchemaError(f"시각이 아님: {text!r}")
    return hour * 3600 + minute * 60 + second


def instant(date_text: str, time_text: str, market: Market) -> datetime:
    """Return the UTC instant of a local date and time of ``market``."""
    return _noon(date_text, market) + timedelta(seconds=seconds_of(time_text) - 43_200)


def local_date(moment: datetime, market: Market) -> date:
    """Return the date of ``moment`` in the market's local time."""
    return moment.astimezone(zone(market)).date()


def date_and_time(moment: datetime, market: Market) -> tuple[str, str]:
    """Write ``moment`` as the market's local ``YYYYMMDD`` and ``HHMMSS``."""
    local = moment.astimezone(zone(market))
    return day_text(local), f"{local.hour:02d}{local.minute:02d}{local.second:02d}"


def korean_time(moment: datetime) -> str:
    """Write ``moment`` as Korean ``HHMMSS``, the time of orders and notices."""
    return date_and_time(moment, Market.KRX)[1]


def nearest_instant(time_text: str, received: datetime) -> datetime:
    """Return the instant nearest to ``received`` at which Korean clocks show ``time_text``.

    Order replies and notices carry a time without a date, and a US session crosses midnight in
    Korea.
    """
    local = received.astimezone(KST)
    midnight = datetime.combine(local.date(), time(), KST)
    moment = midnight + timedelta(seconds=seconds_of(time_text))
    if moment - received > timedelta(hours=12):
        moment -= timedelta(days=1)
    elif received - moment > timedelta(hours=12):
        moment += timedelta(days=1)
    return moment.astimezone(UTC)


def zone(market: Market) -> timezone | ZoneInfo:
    """Return the market's local time zone; KST has had no daylight saving since 1988."""
    return KST if market is Market.KRX else EASTERN


def upper_keys(params: Mapping[str, Any]) -> dict[str, str]:
    """Return request fields under upper-case names with text values.

    KIS takes query names in either case, and clients send numbers with and without quotes.
    """
    return {name.upper(): "" if value is None else str(value) for name, value in params.items()}


def required(fields: Mapping[str, Any], *names: str) -> None:
    """Raise ``SchemaError`` naming the first of ``names`` that is missing."""
    for name in names:
        if name not in fields:
            raise SchemaError(f"필수 항목 없음: {name}")


def turnover(minor: int | None, volume: int) -> int | None:
    """Return what was paid for ``volume``; ``None`` for the zero that stands for unknown."""
    return None if volume and not minor else minor


def blanks(names: str) -> dict[str, str]:
    """Return blank fields for space-separated ``names``."""
    return dict.fromkeys(names.split(), "")


def rows(value: Any) -> list[Mapping[str, Any]]:
    """Return the rows of an output that KIS sends as list, as one object or not at all.

    Empty objects, which KIS mixes into some lists, are left out.
    """
    if value is None:
        return []
    found = [value] if isinstance(value, Mapping) else value
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise SchemaError("응답의 출력이 목록이나 객체가 아님")
    return [row for row in found if row]


def needed(row: Mapping[str, Any], key: str) -> str:
    """Return the text under ``key`` of a row; ``SchemaError`` when it is blank or not there."""
    text = str(row.get(key) or "").strip()
    if not text:
        raise SchemaError(f"필수 항목이 비어 있음: {key}")
    return text


def is_blank(row: Mapping[str, Any], key: str) -> bool:
    """Whether a row is one of the blank ones that KIS sends for none: ``key`` there and empty.

    A row *without* the key has another shape than we know and must not pass for a blank one.
    """
    return key in row and not str(row[key] or "").strip()


def first_row(value: Any) -> Mapping[str, Any]:
    """Return the one row of an output that KIS sends as an object or as a list; else nothing."""
    return next(iter(rows(value)), {})


def _is_plain(text: str) -> bool:
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


@lru_cache(maxsize=64)
def _noon(date_text: str, market: Market) -> datetime:
    # Anchored at noon, so that a DST change in the night does not move the trading hours.
    return datetime.combine(day(date_text), time(12), zone(market)).astimezone(UTC)
