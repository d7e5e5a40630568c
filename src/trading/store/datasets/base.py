"""What every recorded source shares: frames over tables, and the columns both are built from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.actions import CorporateAction
from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Instrument, Market
from trading.domain.market import PriceBasis
from trading.log import get_logger
from trading.store import schema
from trading.store.universe import UniverseSettings, shipped_universe

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

# Symbols (all when ``None``), first and last day of what is wanted.
Reader = Callable[[Sequence[str] | None, date, date], "pa.Table"]


class TableSource(ABC):
    """A source that serves whole kinds as tables; single frames are cut from them.

    A subclass says in ``readers`` which kinds it has and how each is read.
    """

    name: str
    basis: PriceBasis

    def __init__(self, universe: UniverseSettings | None = None) -> None:
        self.universe = universe or shipped_universe()

    @abstractmethod
    def readers(self, market: Market) -> Mapping[str, Reader]:
        """Return for each kind of ``schema.KINDS`` that is recorded the method that reads it."""

    @abstractmethod
    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every instrument with bars, by symbol."""

    @abstractmethod
    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the corporate actions with an ex-date in the range."""

    @abstractmethod
    def sessions(self, market: Market) -> list[date]:
        """Return every session with recorded daily bars, oldest first."""

    @abstractmethod
    def minute_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded intraday bars, oldest first."""

    def tick_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded trades, oldest first; none unless a subclass has some."""
        return []

    def kinds(self, market: Market) -> frozenset[str]:
        """Return the names of the kinds that ``table`` has rows of."""
        return frozenset(self.readers(market))

    def table(
        self, kind: str, market: Market, symbols: Sequence[str] | None, first: date, last: date
    ) -> "pa.Table":
        """Return the rows of a kind in the agreed shape; none when the kind is not recorded.

        ``symbols`` are names of series for the index. Instruments and sectors come whole,
        whatever the range.
        """
        read = self.readers(market).get(kind)
        if read is None:
            return schema.kind_named(kind).arrow().empty_table()
        return read(symbols, first, last)

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return the recorded bars in the range, by symbol and session, each with its basis."""
        return self._frame(schema.DAILY_BARS, market, symbols, first, last)

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return the recorded intraday bars of one session that hold a trade."""
        return self._frame(schema.MINUTE_BARS, market, symbols, session, session)

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return the market's benchmark."""
        return self._frame(schema.INDEX, market, [self.universe.benchmark[market]], first, last)

    def instrument_reader(self, market: Market, source: str) -> Reader:
        """Return the reader of ``instruments`` as rows."""
        return lambda symbols, first, last: chosen(
            _instrument_table(self.instruments(market), source),
            schema.INSTRUMENTS,
            symbols,
            first,
            last,
        )

    def action_reader(self, market: Market) -> Reader:
        """Return the reader of ``actions`` as rows."""
        return lambda symbols, first, last: chosen(
            _action_table(self.actions(market, first, last)),
            schema.ACTIONS,
            symbols,
            first,
            last,
        )

    def _frame(
        self,
        kind: schema.FrameSchema,
        market: Market,
        symbols: Sequence[str] | None,
        first: date,
        last: date,
    ) -> Any:
        return schema.to_frame(self.table(kind.name, market, symbols, first, last), kind)


def chosen(
    table: "pa.Table",
    kind: schema.FrameSchema,
    symbols: Sequence[str] | None,
    first: date,
    last: date,
) -> "pa.Table":
    """Return the rows of a conforming table that lie in the range and are of the symbols."""
    import pyarrow as pa

    keep = np.ones(len(table), dtype=np.bool_)
    if kind.dated_by is not None:
        days = table[kind.dated_by].cast(pa.int32()).to_numpy()
        keep &= (days >= day_number(first)) & (days <= day_number(last))
    if symbols is not None and kind.subject is not None:
        keep &= is_one_of(table[kind.subject], symbols)
    return table if keep.all() else table.filter(pa.array(keep))


def is_one_of(column: "pa.ChunkedArray", names: Sequence[str]) -> BoolArray:
    """Return for each cell of a text column whether it is one of the names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(names), pa.string())
    found: BoolArray = pc.is_in(column.cast(pa.string()), value_set=wanted).to_numpy()
    return found


def _instrument_table(items: Sequence[Instrument], source: str) -> "pa.Table":
    """Return instruments as rows of their kind."""
    import pyarrow as pa

    return schema.conform(
        pa.table(
            {
                "symbol": pa.array([item.symbol for item in items], pa.string()),
                "exchange": pa.array([item.exchange.value for item in items], pa.string()),
                "name": pa.array([item.name for item in items], pa.string()),
                "sector": pa.array([item.sector for item in items], pa.string()),
                "listed": pa.array([item.listed for item in items], pa.date32()),
                "delisted": pa.array([item.delisted for item in items], pa.date32()),
                "source": pa.array([source] * len(items), pa.string()),
            }
        ),
        schema.INSTRUMENTS,
    )


def _action_table(items: Sequence[CorporateAction]) -> "pa.Table":
    """Return corporate actions as rows of their kind."""
    import pyarrow as pa

    return schema.conform(
        pa.table(
            {
                "symbol": pa.array([item.symbol for item in items], pa.string()),
                "ex_date": pa.array([item.ex_date for item in items], pa.date32()),
                "kind": pa.array([item.kind.value for item in items], pa.string()),
                "numerator": pa.array([item.numerator for item in items], pa.int64()),
                "denominator": pa.array([item.denominator for item in items], pa.int64()),
                "amount": pa.array([item.amount for item in items], pa.int64()),
                "inferred": pa.array([item.inferred for item in items], pa.bool_()),
                "source": pa.array([item.source for item in items], pa.string()),
            }
        ),
        schema.ACTIONS,
    )


def words(codes: "np.ndarray", names: Sequence[str]) -> "pa.DictionaryArray":
    """Return a text column from positions in ``names``."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(list(names), pa.string())
    )


def same_word(word: str, count: int) -> "pa.DictionaryArray":
    """Return a text column that repeats one word."""
    return words(np.zeros(count, dtype=np.int32), [word])


def or_null(numbers: "np.ndarray") -> "pa.Array":
    """Return whole numbers with -1 as an empty cell."""
    import pyarrow as pa

    return pa.array(numbers.astype(np.int64), mask=numbers < 0)


def dates(days: "np.ndarray") -> "pa.Array":
    """Return a date column from days since 1970."""
    import pyarrow as pa

    return pa.array(days.astype(np.int32)).view(pa.date32())


def day_number(day: date) -> int:
    """Return the days since 1970."""
    return (day - date(1970, 1, 1)).days


def days_of(numbers: "np.ndarray") -> list[date]:
    """Return the different days among days since 1970, oldest first."""
    found: list[date] = np.unique(numbers).astype("datetime64[D]").astype(object).tolist()
    return found


def minor(prices: Any, minor_per_unit: int) -> IntArray:
    """Return prices in units as whole minor units."""
    return np.rint(np.asarray(prices, dtype=np.float64) * minor_per_unit).astype(np.int64)


def clamp(prices: Mapping[str, "np.ndarray"], rows: BoolArray) -> None:
    """Widen high and low to the open and close that a vendor's rounding put outside (MANIFEST)."""
    high = np.maximum.reduce(list(prices.values()))
    low = np.minimum.reduce(list(prices.values()))
    changed = rows & ((high != prices["high"]) | (low != prices["low"]))
    if (count := int(changed.sum())) > 0:
        log.info("공급자 반올림으로 어긋난 고가·저가를 맞춤", rows=count)
    prices["high"][changed] = high[changed]
    prices["low"][changed] = low[changed]


def lives(bars: "pa.Table", universe: UniverseSettings) -> list[Instrument]:
    """Return the instruments of daily bars, with the facts of the configuration."""
    import pyarrow as pa

    first = (
        pa.table({"symbol": bars["symbol"].cast(pa.string()), "session": bars["session"]})
        .group_by("symbol")
        .aggregate([("session", "min")])
        .to_pydict()
    )
    return [
        Instrument(
            symbol=symbol,
            exchange=universe.exchange(symbol),
            name=universe.instruments[symbol].name,
            sector=universe.instruments[symbol].sector,
            listed=listed,
        )
        for symbol, listed in sorted(zip(first["symbol"], first["session_min"], strict=True))
    ]
