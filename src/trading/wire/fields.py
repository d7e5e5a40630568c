"""Rows of KIS answers as typed records: one table for both directions.

A record is a frozen dataclass whose fields name their KIS key and how KIS writes the value::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class InvestorDay:
        session: date = kis("stck_bsop_date", DAY, required=True)
        foreign_net: int | None = kis("frgn_ntby_qty", WHOLE)

Blank and absent are ``None``: KIS leaves out what it does not know, and renames and appends
fields without notice. ``write(read(cls, row))`` gives back ``row`` on the keys of the record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from trading.domain.instrument import Market
from trading.errors import SchemaError
from trading.wire import values

R = TypeVar("R")
_KEY, _KIND, _REQUIRED = "kis_key", "kis_kind", "kis_required"
_tables: dict[type, tuple[tuple[str, str, "Kind", bool], ...]] = {}


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of value is written on the wire."""

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def money(market: Market) -> Kind:
    """Return the kind of an exact price or amount in ``market``'s minor units (``int``)."""
    return Kind(
        f"money-{market}",
        lambda text: values.to_minor(text, market),
        lambda minor: values.from_minor(minor, market),
    )


TEXT = Kind("text", str, str)
# Zeros are KIS's other way to leave a date out.
DAY = Kind("day", lambda text: values.day(text) if text.strip("0") else None, values.day_text)
# A time of day stays HHMMSS: what date it belongs to, the row does not say.
TIME = Kind("time", lambda text: _time(text), str)
WHOLE = Kind("whole", values.integer, str)
# Exact, with the digits that the venue wrote: rates, ratios, averages, index points.
NUMBER = Kind("number", values.decimal, lambda number: format(number, "f"))
FLAG = Kind("flag", lambda text: _flag(text), lambda flag: "Y" if flag else "N")
WON = money(Market.KRX)
DOLLAR = money(Market.US)


def kis(key: str, kind: Kind, *, required: bool = False) -> Any:
    """Declare the field of a record that KIS calls ``key``; not required ones may be ``None``."""
    metadata = {_KEY: key, _KIND: kind, _REQUIRED: required}
    return field(metadata=metadata) if required else field(default=None, metadata=metadata)


def read(record: type[R], row: Mapping[str, Any]) -> R:
    """Return ``row`` as a ``record``; keys are found in either case.

    Raises ``SchemaError`` when a value cannot be read or a required one is blank.
    """
    found: dict[str, Any] = {}
    for name, key, kind, required in _table(record):
        raw = row.get(key)
        if raw is None:
            raw = row.get(key.upper())
        text = "" if raw is None else str(raw).strip()
        found[name] = kind.read(text) if text else None
        if required and found[name] is None:
            raise SchemaError(f"필수 항목이 비어 있음: {key}")
    return record(**found)


def read_rows(record: type[R], value: Any) -> tuple[R, ...]:
    """Return an output that KIS sends as list, as one object or not at all as records."""
    return tuple(read(record, row) for row in values.rows(value))


def write(record: Any) -> dict[str, str]:
    """Return the row of ``record``; ``None`` is blank."""
    row = {}
    for name, key, kind, _ in _table(type(record)):
        value = getattr(record, name)
        row[key] = "" if value is None else kind.write(value)
    return row


def keys_of(record: type) -> frozenset[str]:
    """Return the KIS keys that ``record`` reads."""
    return frozenset(key for _, key, _, _ in _table(record))


def _table(record: type) -> tuple[tuple[str, str, Kind, bool], ...]:
    found = _tables.get(record)
    if found is None:
        found = _tables[record] = tuple(
            (item.name, item.metadata[_KEY], item.metadata[_KIND], item.metadata[_REQUIRED])
            for item in fields(record)
        )
    return found


def _time(text: str) -> str:
    values.seconds_of(text)
    return text


def _flag(text: str) -> bool:
    if text not in ("Y", "N"):
        raise SchemaError(f"Y/N이 아님: {text!r}")
    return text == "Y"
