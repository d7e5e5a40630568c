"""What the WebSocket tells beside trades and notices: books, indices, expected matches, phases.

Nothing here becomes an order; ``stream`` holds what does.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from trading.domain.instrument import Market
from trading.domain.market import Book, BookLevel, ExpectedMatch, IndexTick, MarketStatus
from trading.errors import SchemaError
from trading.wire import values

Event = Book | IndexTick | ExpectedMatch | MarketStatus


class Feed(StrEnum):
    """What can be watched beside trades and notices."""

    BOOK = "book"
    INDEX = "index"
    EXPECTED = "expected"
    STATUS = "status"


# Which TR feeds what; the US has books only (PROTOCOL 12.2).
FEED_TR: Mapping[tuple[Market, Feed], str] = {
    (Market.KRX, Feed.BOOK): "H0STASP0",
    (Market.KRX, Feed.INDEX): "H0UPCNT0",
    (Market.KRX, Feed.EXPECTED): "H0STANC0",
    (Market.KRX, Feed.STATUS): "H0STMKO0",
    (Market.US, Feed.BOOK): "HDFSASP0",
}
# Of all that is no notice, a paper account has these.
PAPER_TRS = frozenset({"H0STCNT0", "H0STASP0"})
_LEVELS = 10
_US_FIRST, _US_STEP = 11, 6


def _book(record: Sequence[str], received: datetime) -> Book:
    return Book(
        symbol=record[0],
        asks=_levels(record[3:13], record[23:33], Market.KRX),
        bids=_levels(record[13:23], record[33:43], Market.KRX),
        ts_event=values.nearest_instant(record[1], received),
    )


def _us_book(record: Sequence[str], received: datetime) -> Book:
    last = _US_FIRST + _US_STEP * _LEVELS
    bids, asks, bid_sizes, ask_sizes = (record[_US_FIRST + k : last : _US_STEP] for k in range(4))
    return Book(
        symbol=record[1],
        asks=_levels(asks, ask_sizes, Market.US),
        bids=_levels(bids, bid_sizes, Market.US),
        ts_event=values.instant(record[3], record[4], Market.US),
    )


def _levels(prices: Sequence[str], sizes: Sequence[str], market: Market) -> tuple[BookLevel, ...]:
    levels = (
        BookLevel(price=values.to_minor(price, market), quantity=values.integer(size))
        for price, size in zip(prices, sizes, strict=True)
    )
    # A level that does not exist is sent as zeros.
    return tuple(level for level in levels if level.price > 0)


def _index(record: Sequence[str], received: datetime) -> IndexTick:
    value, first, high, low = (float(values.decimal(record[k])) for k in (2, 10, 11, 12))
    return IndexTick(
        index=record[0],
        value=value,
        open=first,
        high=high,
        low=low,
        ts_event=values.nearest_instant(record[1], received),
        ts_recv=received,
    )


def _expected(record: Sequence[str], received: datetime) -> ExpectedMatch:
    return ExpectedMatch(
        symbol=record[0],
        price=values.to_minor(record[2], Market.KRX),
        # CNTG_VOL is what came since the record before; ACML_TR_PBMN is the price times this.
        volume=values.integer(record[13]),
        ts_event=values.instant(record[33], record[1], Market.KRX),
        ts_recv=received,
    )


def _status(record: Sequence[str], received: datetime) -> MarketStatus:
    # Without the symbol the record begins with the halt flag (PROTOCOL 12.8, H0UNMKO0).
    symbol, rest = ("", record) if record[0] in ("Y", "N") else (record[0], record[1:])
    if len(rest) < 8 or rest[0] not in ("Y", "N"):
        raise SchemaError("장운영 정보 형식 오류")
    return MarketStatus(
        symbol=symbol,
        halted=rest[0] == "Y",
        interrupted=rest[7] not in ("", "0", "N"),
        operation=rest[2],
        reason="" if rest[1] == "(null)" else rest[1],
        ts_recv=received,
    )


def render_status(status: MarketStatus) -> str:
    """Write one H0STMKO0 record; what the venue does not know of is blank."""
    return "^".join(
        (
            status.symbol,
            "Y" if status.halted else "N",
            status.reason or "(null)",
            status.operation,
            *("", "", ""),
            # 58 is "halted" (PROTOCOL 5.1).
            "58" if status.halted else "",
            "Y" if status.interrupted else "N",
            "N",
            "1",
        )
    )


# Per TR: the fewest fields that its reader needs, and the reader.
_READERS: Mapping[str, tuple[int, Callable[[Sequence[str], datetime], Event]]] = {
    **dict.fromkeys(("H0STASP0", "H0NXASP0", "H0UNASP0"), (43, _book)),
    "HDFSASP0": (71, _us_book),
    **dict.fromkeys(("H0UPCNT0", "H0UPANC0"), (30, _index)),
    **dict.fromkeys(("H0STANC0", "H0NXANC0", "H0UNANC0"), (34, _expected)),
    **dict.fromkeys(("H0STMKO0", "H0NXMKO0", "H0UNMKO0"), (9, _status)),
}


def knows(tr_id: str) -> bool:
    """Whether records of this TR can be read here."""
    return tr_id in _READERS


def parse(tr_id: str, record: Sequence[str], received: datetime) -> Event:
    """Read one record.

    Raises ``SchemaError`` when it is too short or a value cannot be read.
    """
    least, reader = _READERS[tr_id]
    if len(record) < least:
        raise SchemaError(f"실시간 항목 부족: {tr_id} {len(record)}개")
    return reader(record, received)
