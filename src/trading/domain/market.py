"""What a market says: ticks, quotes, and the two panels made of bars.

Prices are ``int`` minor units in raw data and ``float64`` in adjusted data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.instrument import Exchange, Market


class Tick(NamedTuple):
    """One trade print, or several of one instant seen as one.

    ``price`` in minor units, ``volume`` in shares, ``cumulative_volume`` since the open.
    ``auction`` marks the single price of an opening or closing auction.
    """

    # A tuple, unlike the other values: a feed makes thousands a second, and a frozen dataclass
    # takes as long to make as the whole frame to decode.

    symbol: str
    price: int
    volume: int
    cumulative_volume: int
    ts_event: datetime
    ts_recv: datetime
    auction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The last price of an instrument as the venue answers it on request.

    ``previous_close``, ``open``, ``high``, ``low`` are 0 where the venue has none;
    ``upper_limit`` and ``lower_limit`` are 0 on markets without daily price limits.
    ``bid`` and ``ask`` are ``None`` where no book was recorded.
    """

    symbol: str
    price: int
    previous_close: int
    open: int
    high: int
    low: int
    volume: int
    upper_limit: int
    lower_limit: int
    ts_event: datetime
    bid: int | None = None
    ask: int | None = None
    halted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTick:
    """The level of an index as the venue streams it, in points; ``index`` is the venue's code."""

    index: str
    value: float
    open: float
    high: float
    low: float
    ts_event: datetime
    ts_recv: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedMatch:
    """The price and shares at which a running call auction would end now."""

    symbol: str
    price: int
    volume: int
    ts_event: datetime
    ts_recv: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStatus:
    """What the venue says about trading in one instrument, or in all (``symbol`` "").

    ``operation`` is the venue's code of the phase (112 open, 129 close, 174 circuit breaker …);
    the message carries no time, so ``ts_recv`` is all there is.
    """

    symbol: str
    halted: bool
    interrupted: bool
    operation: str
    reason: str
    ts_recv: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLevel:
    """One price of an order book with the shares that wait there."""

    price: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """An order book, best level first; both sides are empty where none was recorded.

    ``ts_event`` is ``None`` where the venue does not say of when the book is.
    """

    symbol: str
    asks: tuple[BookLevel, ...] = ()
    bids: tuple[BookLevel, ...] = ()
    ts_event: datetime | None = None


class PriceBasis(StrEnum):
    """Whether raw prices are what was traded, or what a vendor made of it."""

    RAW = "raw"
    ADJUSTED = "adjusted"


@dataclass(frozen=True, kw_only=True, eq=False)
class RawPanel:
    """Prices as traded, for orders, fills, lots, ticks, limits and cash.

    Arrays have shape ``(n_sessions, n_instruments)``; prices are ``int64`` minor units.
    Before listing and after delisting all are 0. On a halt ``close`` is carried,
    ``volume`` is 0, ``open``, ``high`` and ``low`` are 0 and ``tradable`` is false.
    ``reference`` is the base price of the session: the previous close restated for the
    corporate actions of that morning (0 on the first bar of an instrument).
    """

    market: Market
    basis: PriceBasis
    symbols: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    sessions: DateArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    reference: IntArray
    volume: IntArray
    tradable: BoolArray

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """The column of each symbol."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def rows_between(self, first: date, last: date) -> range:
        """Return the rows from ``first`` to ``last`` that have a yesterday."""
        begin = int(np.searchsorted(self.sessions, np.datetime64(first, "D")))
        end = int(np.searchsorted(self.sessions, np.datetime64(last, "D"), side="right"))
        return range(max(begin, 1), end)

    def row_of(self, session: date) -> int:
        """Return the row of ``session``; ``KeyError`` when the panel has none."""
        row = int(np.searchsorted(self.sessions, np.datetime64(session, "D")))
        if row == len(self.sessions) or self.sessions[row] != np.datetime64(session, "D"):
            raise KeyError(session)
        return row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdjustedPanel:
    """Prices as of each row, comparable over time; for features only.

    ``raw × factor`` with factors that multiply forward from the first row: a later split
    rewrites nothing. Where an instrument has no bar, and on halts, prices and volume are NaN.
    Volume is divided by the split part of the factor. ``benchmark`` is the close of the
    market's index, or NaN where none was recorded; ``benchmark_name`` says which.
    """

    market: Market
    symbols: tuple[str, ...]
    sessions: DateArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    tradable: BoolArray
    benchmark: FloatArray
    benchmark_name: str

    def until(self, n_sessions: int) -> "AdjustedPanel":
        """Return the first ``n_sessions`` rows, as if nothing later were known."""
        return AdjustedPanel(
            market=self.market,
            symbols=self.symbols,
            sessions=self.sessions[:n_sessions],
            open=self.open[:n_sessions],
            high=self.high[:n_sessions],
            low=self.low[:n_sessions],
            close=self.close[:n_sessions],
            volume=self.volume[:n_sessions],
            tradable=self.tradable[:n_sessions],
            benchmark=self.benchmark[:n_sessions],
            benchmark_name=self.benchmark_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What was known of the instruments besides their bars, aligned to a panel's rows and columns.

    ``sectors`` has shape ``(n_sessions, n_instruments)`` and holds indices into
    ``sector_names``, -1 where no source names one; a snapshot is the same in every row, and then
    ``sectors_of_the_day`` is false. ``fundamentals`` holds one array of the same shape a metric,
    as it was public before the session's close, NaN before anything was published. Both may be
    read-only broadcasts.
    """

    sectors: IntArray
    sector_names: tuple[str, ...]
    sectors_of_the_day: bool
    fundamentals: Mapping[str, FloatArray]

    @classmethod
    def none(cls, n_sessions: int, n_instruments: int) -> "Facts":
        """Return the facts of a panel of which nothing else was recorded."""
        nowhere = np.full(1, -1, dtype=np.int64)
        return cls(
            sectors=np.broadcast_to(nowhere, (n_sessions, n_instruments)),
            sector_names=(),
            sectors_of_the_day=True,
            fundamentals={},
        )

    def until(self, n_sessions: int) -> "Facts":
        """Return the first ``n_sessions`` rows, as if nothing later were known."""
        return Facts(
            sectors=self.sectors[:n_sessions],
            sector_names=self.sector_names,
            sectors_of_the_day=self.sectors_of_the_day,
            fundamentals={name: grid[:n_sessions] for name, grid in self.fundamentals.items()},
        )
