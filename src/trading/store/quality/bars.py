"""Bars as sorted columns of numbers: what the oracles of the gate compute on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Exchange, Market

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.domain.rules import MarketRules

PRICES = ("open", "high", "low", "close")
# More than the days of any calendar: symbol and day make one number.
DAY_SPAN = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """Rows sorted by symbol and session, as arrays of equal length.

    ``row`` is the number of the row in the batch, -1 for rows of the history before it. ``day``
    counts from 1970, ``session`` is the position in ``days``, the calendar's sessions.
    ``missing`` prices are 0.
    """

    row: IntArray
    symbol: IntArray
    exchange: IntArray
    day: IntArray
    session: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    volume: IntArray
    raw: BoolArray
    symbols: list[str]
    exchanges: list[Exchange]
    days: "np.ndarray"

    @property
    def traded(self) -> BoolArray:
        """Which rows have trades."""
        traded: BoolArray = self.volume > 0
        return traded

    @property
    def same(self) -> BoolArray:
        """Which rows have a row of the same symbol right before them."""
        same = np.zeros(len(self.symbol), dtype=np.bool_)
        same[1:] = self.symbol[1:] == self.symbol[:-1]
        return same

    def __len__(self) -> int:
        return len(self.symbol)


def codes(column: "pa.ChunkedArray") -> tuple[IntArray, list[str]]:
    """Return the code of each cell of a text column, and the text of each code."""
    import pyarrow as pa

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        if whole.num_chunks == 0:
            return np.zeros(0, dtype=np.int64), []
        whole = whole.chunk(0)
    return whole.indices.to_numpy(zero_copy_only=False).astype(
        np.int64
    ), whole.dictionary.to_pylist()


def numbers(table: "pa.Table", name: str, absent: float | None = None) -> "np.ndarray":
    """Return a column of numbers or days; empty cells become ``absent`` and make it floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32()).cast(pa.int64())
    if absent is not None:
        column = pc.fill_null(column.cast(pa.float64()), pa.scalar(absent, pa.float64()))
    array: np.ndarray = column.to_numpy()
    return array


def sort_bars(
    history: "pa.Table | None",
    batch: "pa.Table",
    chosen: IntArray,
    days: "np.ndarray",
) -> Bars:
    """Return the chosen rows of the batch, with the rows before it, sorted.

    Rows on no session of ``days`` are left out.
    """
    import pyarrow as pa

    names = ["session", "symbol", "exchange", *PRICES, "volume", "basis"]
    whole = batch.select(names)
    before = 0
    if history is not None and len(history):
        before = len(history)
        whole = pa.concat_tables([history.select(names), whole])
    symbol, symbols = codes(whole["symbol"])
    exchange, texts = codes(whole["exchange"])
    basis, bases = codes(whole["basis"])
    day = numbers(whole, "session").astype(np.int64)
    keep = np.concatenate([np.arange(before), chosen + before])
    session = np.searchsorted(days, day[keep])
    on = session < len(days)
    on[on] = days[session[on]] == day[keep][on]
    keep, session = keep[on], session[on]
    key = symbol[keep] * DAY_SPAN + day[keep]
    if not bool((key[1:] > key[:-1]).all()):
        order = np.argsort(key, kind="stable")
        keep, session = keep[order], session[order]
    # The dictionary may also name what no kept row has.
    used = np.flatnonzero(np.bincount(exchange[keep], minlength=len(texts)))
    at = np.zeros(len(texts), dtype=np.int64)
    at[used] = np.arange(len(used))
    columns = {name: numbers(whole, name)[keep].astype(np.int64) for name in (*PRICES, "volume")}
    return Bars(
        row=np.where(keep >= before, keep - before, -1),
        symbol=symbol[keep],
        exchange=at[exchange[keep]],
        day=day[keep],
        session=session.astype(np.int64),
        raw=np.array([name == "raw" for name in bases], dtype=np.bool_)[basis[keep]],
        symbols=symbols,
        exchanges=[Exchange(texts[code]) for code in used],
        days=days,
        **columns,
    )


def off_grid(
    rules: "MarketRules",
    exchange: IntArray,
    exchanges: Sequence[Exchange],
    day: IntArray,
    prices: Sequence[IntArray],
    half_from: int,
) -> BoolArray:
    """Return which rows carry a price off the tick grid of their day.

    Prices of 0 are no prices. From the day ``half_from`` on midpoints between two ticks are on
    the grid; half a won is not recorded.
    """
    if not len(day):
        return np.zeros(0, dtype=np.bool_)
    first = int(day.min())
    every = np.arange(first, int(day.max()) + 1).astype("datetime64[D]")
    ladders, ladder_of = rules.ladder_arrays(exchanges, every)
    return _off_grid(np.stack(prices), day - first, exchange, ladders, ladder_of, half_from - first)


@njit(cache=True, nogil=True)
def _off_grid(
    prices: IntArray,
    day: IntArray,
    exchange: IntArray,
    ladders: IntArray,
    ladder_of: IntArray,
    half_from: int,
) -> BoolArray:
    off = np.zeros(len(day), dtype=np.bool_)
    for i in range(len(day)):
        ladder = ladders[ladder_of[day[i], exchange[i]]]
        for k in range(len(prices)):
            price = prices[k, i]
            step = 0
            while step + 1 < len(ladder) and ladder[step + 1, 0] <= price:
                step += 1
            tick = ladder[step, 1]
            if price % tick == 0:
                continue
            if day[i] >= half_from:
                # Right above a bound the best bid may still be on the finer grid below it.
                if step > 0 and price - ladder[step, 0] < tick:
                    tick = ladder[step - 1, 1]
                if price * 2 % tick == 0 or (price * 2 + 1) % tick == 0:
                    continue
            off[i] = True
    return off


def day_number(day: date) -> int:
    """Return a day counted from 1970."""
    return int(np.datetime64(day, "D").astype(np.int64))


def to_date(day: int) -> date:
    """Return the date of a day counted from 1970."""
    found: date = np.datetime64(day, "D").astype(object)
    return found


def month(day: int) -> str:
    """Return ``YYYY-MM`` of a day counted from 1970."""
    return str(np.datetime64(day, "D").astype("datetime64[M]"))


def of_other_markets(exchange: IntArray, texts: Sequence[str], market: Market) -> BoolArray:
    """Return which rows name an exchange that the market does not have."""
    own = {item.value for item in Exchange if item.market is market}
    other = np.array([text not in own for text in texts], dtype=np.bool_)
    return other[exchange] if len(texts) else np.zeros(len(exchange), dtype=np.bool_)
