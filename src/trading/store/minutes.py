"""Intraday bars: made of ticks, made wider, and the days that they make.

Bars start at whole multiples of their width from the open of their session, whatever the hour it
opens at. What trades at the close or after it is the closing auction: a bar of its own, labelled
with the close even where the auction ended late. A row in which nothing traded (the wait for an
auction, an interruption) belongs to no bar. How prints become a bar is ``execution.bars``'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.instrument import Instrument
from trading.domain.market import PriceBasis
from trading.errors import DataError, UsageError
from trading.execution.bars import merge
from trading.sessions import SessionCalendar
from trading.simulation.paths import Print
from trading.store import schema

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.domain.arrays import BoolArray, IntArray

# Sale conditions of the tick files of QuantConnect's Lean: a bit each, written in hexadecimal.
# What they do to the figures of a day: docs.thetadata.us, "Trade Conditions".
# Form T, extended hours; official open and official close repeat a trade.
_NOT_A_TRADE_OF_THE_SESSION = 0x400 | 0x2000 | 0x1000000 | 0x4000000
# Cash, next-day and seller's delivery; derivatively priced; sold late, out of sequence; contingent
# on an option; average price; price variation; prior reference price.
_NOT_THE_PRICE_OF_THE_MOMENT = (
    0x2 | 0x4 | 0x8 | 0x200 | 0x800 | 0x4000 | 0x40000 | 0x100000 | 0x400000 | 0x2000000
)
_OPENING_PRINT, _CLOSING_PRINT = 0x40, 0x80
_OHLC = ("open", "high", "low", "close")
_MINUTE = 60_000_000


def from_ticks(
    ticks: "pa.Table",
    calendar: SessionCalendar,
    instruments: Iterable[Instrument],
    *,
    every: int = 1,
) -> "pa.Table":
    """Return the bars of ``every`` minutes that the trades of the regular session make.

    Suspicious trades are left out. One that was not made at the price of its moment counts by its
    volume, in a bar that has a price; so does what is reported after the close, but for the
    closing auction.
    """
    import pyarrow as pa

    trades, price, size, counts, _ = _trades(ticks, calendar)
    made = _merged(trades, (price, price, price, price, size), counts, calendar, every)
    listed = {item.symbol: item.exchange.value for item in instruments}
    symbols = made.rows["symbol"].to_pylist()
    unknown = sorted(set(symbols) - set(listed))
    if unknown:
        raise DataError(f"종목 정보가 없는 종목의 체결: {', '.join(unknown)}")
    return made.table(
        {"exchange": pa.array([listed[symbol] for symbol in symbols], pa.string())},
        schema.MINUTE_BARS,
    )


def prints(ticks: "pa.Table", calendar: SessionCalendar) -> dict[str, list[Print]]:
    """Return each trade of the regular session that made a price, by symbol, oldest first.

    What ``from_ticks`` gives no price is no print here. The opening and the closing print of the
    listing exchange are auctions; the latter is told at the close, however late it was reported.
    """
    trades, price, size, counts, flags = _trades(ticks, calendar)
    opened, closed = _hours(trades, calendar)
    ts = np.minimum(_integers(trades, "ts"), closed)
    counts &= (price > 0) & (ts >= opened)
    order = np.flatnonzero(counts)[np.lexsort((_integers(trades, "seq")[counts], ts[counts]))]
    found: dict[str, list[Print]] = {}
    for symbol, at, paid, shares, is_auction in zip(
        trades["symbol"].take(order).to_pylist(),
        ts[order].astype("datetime64[us]").tolist(),
        price[order].tolist(),
        size[order].tolist(),
        (flags[order] & (_OPENING_PRINT | _CLOSING_PRINT) != 0).tolist(),
        strict=True,
    ):
        found.setdefault(symbol, []).append(
            Print(
                symbol=symbol,
                ts=at.replace(tzinfo=UTC),
                price=paid,
                volume=shares,
                auction=is_auction,
            )
        )
    return found


def wider(bars: "pa.Table", calendar: SessionCalendar, *, every: int) -> "pa.Table":
    """Return bars of ``every`` minutes, which is a multiple of the width of ``bars``."""
    return _merged_bars(bars, calendar, every).table({}, schema.MINUTE_BARS)


def days(bars: "pa.Table", calendar: SessionCalendar, *, basis: PriceBasis) -> "pa.Table":
    """Return the daily bars that intraday bars make, with the auctions that they hold."""
    import pyarrow as pa

    made = _merged_bars(bars, calendar, None)
    return made.table({"basis": pa.repeat(basis.value, len(made.rows))}, schema.DAILY_BARS)


@dataclass(frozen=True, slots=True)
class _Made:
    """Merged bars, each with the first of the rows that it was made of."""

    rows: "pa.Table"
    start: "IntArray"
    bars: "IntArray"

    def table(self, more: "dict[str, pa.Array]", kind: schema.FrameSchema) -> "pa.Table":
        import pyarrow as pa

        columns = {name: self.rows[name] for name in self.rows.column_names} | {
            "ts": pa.array(self.start).cast(pa.timestamp("us", tz="UTC")),
            **{name: self.bars[:, i] for i, name in enumerate((*_OHLC, "volume"))},
            **more,
        }
        found = pa.table({name: columns[name] for name in kind.columns if name in columns})
        return schema.by_key(schema.conform(found, kind), kind)


def _trades(
    ticks: "pa.Table", calendar: SessionCalendar
) -> "tuple[pa.Table, IntArray, IntArray, BoolArray, IntArray]":
    """Return the trades, their prices (0 where a trade made none), sizes, whether they count, flags."""
    import pyarrow.compute as pc

    trades = ticks.filter(pc.equal(ticks["kind"], "trade"))
    flags = _flags(trades)
    price, size = _integers(trades, "price"), _integers(trades, "size")
    late = (_integers(trades, "ts") >= _hours(trades, calendar)[1]) & (flags & _CLOSING_PRINT == 0)
    price = np.where(late | (flags & _NOT_THE_PRICE_OF_THE_MOMENT != 0), 0, price)
    counts = (size > 0) & (flags & _NOT_A_TRADE_OF_THE_SESSION == 0)
    counts &= ~pc.fill_null(trades["suspicious"], False).to_numpy()
    return trades, price, size, counts, flags


def _merged_bars(bars: "pa.Table", calendar: SessionCalendar, every: int | None) -> _Made:
    columns = tuple(_integers(bars, name) for name in (*_OHLC, "volume"))
    return _merged(bars, columns, columns[-1] > 0, calendar, every)


def _merged(
    table: "pa.Table",
    columns: "tuple[IntArray, ...]",
    counts: "BoolArray",
    calendar: SessionCalendar,
    every: int | None,
) -> _Made:
    """Merge the rows that count, from the open on, into bars of ``every`` minutes or of a day."""
    if every is not None and every < 1:
        raise UsageError(f"봉의 너비는 1분 이상이어야 함: {every}")
    ts = _integers(table, "ts")
    opened, closed = _hours(table, calendar)
    start = opened
    if every is not None:
        width = every * _MINUTE
        start = np.where(ts >= closed, closed, opened + (ts - opened) // width * width)
    symbol = _codes(table)
    seq = _integers(table, "seq") if "seq" in table.column_names else ts
    order = np.lexsort((seq, ts, symbol))
    order = order[(counts & (ts >= opened))[order]]
    changes = (np.diff(symbol[order], prepend=-1) != 0) | (np.diff(start[order], prepend=0) != 0)
    group = np.cumsum(changes)
    first, bars = merge(group, *(column[order] for column in columns))
    priced = bars[:, 0] > 0
    rows = order[first[priced]]
    return _Made(table.take(rows), start[rows], bars[priced])


def _hours(table: "pa.Table", calendar: SessionCalendar) -> "tuple[IntArray, IntArray]":
    """Return open and close of the session of each row, in microseconds."""
    sessions, place = np.unique(table["session"].to_numpy(), return_inverse=True)
    hours = np.array(
        [
            [np.datetime64(at.replace(tzinfo=None), "us") for at in calendar.open_close(day)]
            for day in sessions.tolist()
        ],
        dtype="datetime64[us]",
    ).reshape(-1, 2)
    found = hours.view(np.int64)[place]
    return found[:, 0], found[:, 1]


def _flags(trades: "pa.Table") -> "IntArray":
    """Return the sale conditions of each trade; a trade without any is a plain one."""
    column = trades["condition"].unify_dictionaries().combine_chunks()
    try:
        known = [int(text, 16) for text in column.dictionary.to_pylist()]
    except ValueError as error:
        raise DataError(f"체결 조건을 읽을 수 없음: {error}") from error
    codes = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    flags: IntArray = np.array([*known, 0], dtype=np.int64)[codes]
    return flags


def _codes(table: "pa.Table") -> "IntArray":
    codes: IntArray = (
        table["symbol"].unify_dictionaries().combine_chunks().indices.to_numpy().astype(np.int64)
    )
    return codes


def _integers(table: "pa.Table", name: str) -> "IntArray":
    import pyarrow as pa

    numbers: IntArray = table[name].cast(pa.int64()).fill_null(0).to_numpy()
    return numbers
