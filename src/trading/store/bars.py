"""Daily bars as frames, quickly: the last ones of some symbols, and all of one session."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import DateArray, IntArray
from trading.domain.instrument import Market
from trading.domain.market import PriceBasis
from trading.store import cache
from trading.store.cache import ADJUSTED, EXCHANGE_SHIFT, EXCHANGES, PRICES, Block

if TYPE_CHECKING:
    import pandas as pd

    from trading.store.lake import Lake

_BASES = (PriceBasis.RAW, PriceBasis.ADJUSTED)


def last_bars(
    lake: "Lake",
    market: Market,
    symbols: Sequence[str],
    n: int,
    as_of: date | None = None,
    *,
    cached: bool = True,
) -> "pd.DataFrame":
    """Return the last ``n`` clean daily bars of each symbol up to ``as_of``, which is included.

    Columns are ``cache.COLUMNS``, sorted by symbol and session. A symbol with fewer bars has
    those, one without bars is absent. ``cached=False`` reads Parquet and gives the same.
    """
    oldest, newest = cache.span(lake, market)
    last = newest if as_of is None else min(as_of, newest)
    names = np.unique(np.array(symbols, dtype=np.str_))
    # Five sessions in seven days, less holidays: what a first look at the files is enough for.
    near = max(oldest, last - timedelta(days=n * 8 // 5 + 21))
    for first in (oldest,) if cached else (near, oldest):
        use = partial(_tail, names, n, first, last)
        bars, is_enough = cache.read(lake, market, names.tolist(), first, last, use, cached=cached)
        if is_enough:
            break
    return _frame(bars, names)


def cross_section(
    lake: "Lake", market: Market, session: date, *, cached: bool = True
) -> "pd.DataFrame":
    """Return the clean daily bar of every symbol that has one on the session, by symbol."""
    use: Callable[[Iterator[Block]], Block] = next
    block = cache.read(lake, market, None, session, session, use, cached=cached)
    everyone = np.arange(len(block.symbols))
    bars = _bars(block, block.rows(session, session), everyone, everyone, 1)
    return _frame([bars], block.symbols)


@dataclass(frozen=True, slots=True)
class _Bars:
    """Bars one below the other: whose, of which session, prices and volume, state."""

    name: IntArray
    session: DateArray
    numbers: tuple[NDArray[Any], ...]
    state: NDArray[np.uint8]


def _tail(
    names: NDArray[np.str_], n: int, first: date, last: date, blocks: Iterator[Block]
) -> tuple[list[_Bars], bool]:
    """Return up to ``n`` bars of each name, newest block first, and whether all have so many."""
    found: list[_Bars] = []
    missing = np.full(len(names), n)
    for block in blocks:
        columns = block.columns(names)
        short = np.flatnonzero((missing > 0) & (columns >= 0))
        if len(short) or not found:
            rows = block.rows(first, last)
            bars = _bars(block, rows, columns[short], short, missing[short])
            missing -= np.bincount(bars.name, minlength=len(names))
            found.append(bars)
        if not missing.any():
            break
    return found, not missing.any()


def _bars(block: Block, rows: slice, columns: IntArray, names: IntArray, most: Any) -> _Bars:
    """Return the last ``most`` bars of each column in the rows; ``names`` says whose they are."""
    state = block.state[rows][:, columns]
    present = state != 0
    row, column = np.nonzero(present & (present[::-1].cumsum(axis=0)[::-1] <= most))
    cell = row + rows.start, columns[column]
    grids = (block.open, block.high, block.low, block.close, block.volume)
    return _Bars(
        names[column],
        block.sessions[cell[0]],
        tuple(grid[cell].astype(np.int64, copy=False) for grid in grids),
        state[row, column],
    )


def _frame(bars: Sequence[_Bars], names: NDArray[np.str_]) -> "pd.DataFrame":
    """Return the bars as a frame, by symbol and session."""
    import pandas as pd

    name = np.concatenate([piece.name for piece in bars])
    session = np.concatenate([piece.session for piece in bars])
    state = np.concatenate([piece.state for piece in bars])
    order = np.lexsort((session, name))
    numbers = zip(*(piece.numbers for piece in bars), strict=True)
    return pd.DataFrame(
        {
            "session": session[order].astype("datetime64[ms]"),
            "symbol": _text(name[order], names.tolist()),
            "exchange": _text(state[order] >> EXCHANGE_SHIFT, EXCHANGES),
            **{
                field: np.concatenate(pieces)[order]
                for field, pieces in zip((*PRICES, "volume"), numbers, strict=True)
            },
            "basis": _text((state[order] & ADJUSTED) // ADJUSTED, _BASES),
        },
        copy=False,
    )


def _text(number: NDArray[Any], words: Sequence[str]) -> Any:
    """Return the word of each number as a pandas column."""
    import pandas as pd
    import pyarrow as pa

    kept = pa.array([str(word) for word in words], pa.string())
    return pd.array(kept.take(pa.array(number)), dtype="str")
