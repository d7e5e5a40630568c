"""Daily bars as arrays, sessions × symbols: in memory, or memory-mapped from a disposable cache.

``cache/<market>/<year>-<key>.block`` under the lake holds one year, keyed by the files that the
manifest names for it: a write to a month makes that year's block stale and no other. Blocks are
made on the first read that wants them. A missing, stale or damaged one is made again; where the
disk takes none, the read goes on without.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import DateArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import PriceBasis
from trading.errors import DataError, MissingDataError
from trading.log import get_logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.store.lake import Lake

log = get_logger(__name__)

T = TypeVar("T")

# A cell of ``Block.state``: 0 without a bar, else these bits and the exchange's number above them.
PRESENT: Final = 1
ADJUSTED: Final = 2
EXCHANGE_SHIFT: Final = 2
EXCHANGES: Final = tuple(Exchange)
_NO_EXCHANGE: Final = 0xFF

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("session", "symbol", "exchange", *PRICES, "volume", "basis")

# What the numbers in a file mean; another meaning makes other keys.
_MEANING = f"1 {' '.join(EXCHANGES)}".encode()
_HEADER_BYTES = 4096
_ALIGNMENT = 64
_LOCK_SECONDS = 2.0
_MAPS_KEPT = 256
# The maps of this process, by folder and year.
_maps: "dict[str, tuple[str, Block]]" = {}
# After so many writes between the manifest and its files, a read goes past the cache.
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Daily bars of some sessions; each array is ``(n_sessions, n_symbols)``, 0 without a bar.

    ``sessions`` and ``symbols`` ascend. Prices are ``int32`` where all of them fit, else
    ``int64``. Arrays are read-only.
    """

    sessions: DateArray
    symbols: NDArray[np.str_]
    open: NDArray[np.signedinteger]
    high: NDArray[np.signedinteger]
    low: NDArray[np.signedinteger]
    close: NDArray[np.signedinteger]
    volume: IntArray
    state: NDArray[np.uint8]

    def rows(self, first: date, last: date) -> slice:
        """Return which rows are in the range, both ends included."""
        start = int(np.searchsorted(self.sessions, np.datetime64(first, "D")))
        end = int(np.searchsorted(self.sessions, np.datetime64(last, "D"), side="right"))
        return slice(start, end)

    def columns(self, names: NDArray[np.str_]) -> IntArray:
        """Return the column of each name, -1 where there is none."""
        if not len(self.symbols):
            return np.full(len(names), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.symbols, names), len(self.symbols) - 1)
        return np.where(self.symbols[at] == names, at, -1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The columns of daily bars as arrays, one cell a row; text as numbers.

    ``day`` counts from 1970-01-01; ``symbol`` points into ``symbols``; ``state`` is that of
    ``Block``.
    """

    day: NDArray[np.int32]
    symbol: NDArray[np.int32]
    symbols: NDArray[np.str_]
    state: NDArray[np.uint8]
    prices: tuple[IntArray, IntArray, IntArray, IntArray]
    volume: IntArray


def _rows_of(bars: "pd.DataFrame | pa.Table") -> _Rows:
    """Return the ``COLUMNS`` of a frame or table as arrays, in its row order."""
    symbol, symbols = codes(bars, "symbol")
    exchange, exchanges = codes(bars, "exchange")
    basis, bases = codes(bars, "basis")
    numbers = {name.value: n << EXCHANGE_SHIFT for n, name in enumerate(EXCHANGES)}
    of_exchange = np.array([numbers.get(name, _NO_EXCHANGE) for name in exchanges], dtype=np.uint8)
    listed = of_exchange[exchange]
    if (listed == _NO_EXCHANGE).any():
        # Words that no row has may stand in the dictionary too.
        unknown = exchanges[exchange[np.flatnonzero(listed == _NO_EXCHANGE)[0]]]
        raise DataError(f"알 수 없는 거래소: {unknown}")
    of_basis = np.array(
        [PRESENT | ADJUSTED * (name == PriceBasis.ADJUSTED) for name in bases], dtype=np.uint8
    )
    open_, high, low, close = (_integers(bars, name) for name in PRICES)
    return _Rows(
        day=_days(bars),
        symbol=symbol,
        symbols=np.array(symbols, dtype=np.str_),
        state=listed | of_basis[basis],
        prices=(open_, high, low, close),
        volume=_integers(bars, "volume"),
    )


def block_of(bars: "pd.DataFrame | pa.Table") -> Block:
    """Return the bars, rows in any order, as one block.

    Of rows with the same symbol and session the last one counts.
    """
    rows = _rows_of(bars)
    first = int(rows.day.min()) if len(rows.day) else 0
    seen = np.bincount(rows.day - first).astype(np.bool_)
    used = np.bincount(rows.symbol, minlength=len(rows.symbols)).astype(np.bool_)
    names = rows.symbols[used]
    order = np.argsort(names, kind="stable")
    column_of_code = np.zeros(len(used), dtype=np.int64)
    column_of_code[np.flatnonzero(used)[order]] = np.arange(len(names))
    shape = (int(seen.sum()), len(names))
    grids = tuple(np.zeros(shape, dtype=_price_type(rows.prices)) for _ in PRICES)
    volume = np.zeros(shape, dtype=np.int64)
    state = np.zeros(shape, dtype=np.uint8)
    _scatter(
        (np.cumsum(seen) - 1)[rows.day - first],
        column_of_code[rows.symbol],
        (*rows.prices, rows.volume, rows.state),
        (*grids, volume, state),
    )
    open_, high, low, close = grids
    return Block(
        sessions=(np.flatnonzero(seen) + first).astype("datetime64[D]"),
        symbols=names[order],
        open=_fixed(open_),
        high=_fixed(high),
        low=_fixed(low),
        close=_fixed(close),
        volume=_fixed(volume),
        state=_fixed(state),
    )


def read(
    lake: "Lake",
    market: Market,
    symbols: Sequence[str] | None,
    first: date,
    last: date,
    use: Callable[[Iterator[Block]], T],
    *,
    cached: bool = True,
) -> T:
    """Return what ``use`` makes of the lake's clean daily bars: blocks of one moment, newest first.

    Blocks may hold more sessions and symbols than were asked for; those that ``use`` does not
    come to are not opened.
    """
    for _ in range(_ATTEMPTS if cached else 0):
        keys = _keys(lake, market)
        years = [year for year in sorted(keys, reverse=True) if first.year <= year <= last.year]
        if not years:
            break
        try:
            return use(_block(lake, market, year, keys) for year in years)
        except _ChangedError:
            continue
    table = lake.table(market, "daily", columns=COLUMNS, symbols=symbols, first=first, last=last)
    return use(iter([block_of(table)]))


def span(lake: "Lake", market: Market) -> tuple[date, date]:
    """Return the first and the last session with a clean daily bar."""
    parts = lake.parts(market, "daily").values()
    days = [(part.first, part.last) for part in parts if part.first and part.last]
    if not days:
        raise MissingDataError(f"{market} 시장의 일봉이 없음: {lake.root}")
    first, last = min(day for day, _ in days), max(day for _, day in days)
    return date.fromisoformat(first), date.fromisoformat(last)


class _ChangedError(Exception):
    """A writer came between the manifest and the files."""


def _keys(lake: "Lake", market: Market) -> Mapping[int, str]:
    """Return the key of each year's block, as the manifest is now."""
    parts = lake.parts(market, "daily")
    return _keys_of(tuple((name, part.sha256) for name, part in parts.items()))


@lru_cache(maxsize=8)
def _keys_of(files: tuple[tuple[str, str], ...]) -> Mapping[int, str]:
    digests: dict[int, Any] = {}
    for name, sha in sorted(files):
        year = int(name.removeprefix("month=")[:4])
        digests.setdefault(year, sha256(_MEANING)).update(f"{name} {sha}\n".encode())
    return {year: digest.hexdigest()[:16] for year, digest in digests.items()}


def _block(lake: "Lake", market: Market, year: int, keys: Mapping[int, str]) -> Block:
    folder = lake.root / "cache" / market.value
    path = folder / f"{year}-{keys[year]}.block"
    return _kept(path) or _made(lake, market, year, keys, path)


def _made(lake: "Lake", market: Market, year: int, keys: Mapping[int, str], path: Path) -> Block:
    """Return the block of the year, new from Parquet and kept where the disk takes it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        # Others are making it, as after every write while many read.
        return _current(lake, market, year, keys)
    except OSError as error:
        log.warning("패널 캐시를 쓸 수 없음", path=str(path), reason=str(error))
        return _current(lake, market, year, keys)
    try:
        # Another process may have made it while this one waited.
        found = _kept(path)
        if found is not None:
            return found
        if path.exists():
            log.warning("패널 캐시가 깨져 다시 만듦", path=str(path))
        block = _current(lake, market, year, keys)
        try:
            _write(path, block)
            _sweep(path.parent, {f"{year}-{key}.block" for year, key in keys.items()})
        except OSError as error:
            log.warning("패널 캐시를 쓸 수 없음", path=str(path), reason=str(error))
            return block
        return _kept(path) or block
    finally:
        lock.release()


def _current(lake: "Lake", market: Market, year: int, keys: Mapping[int, str]) -> Block:
    table = lake.table(
        market, "daily", columns=COLUMNS, first=date(year, 1, 1), last=date(year, 12, 31)
    )
    block = block_of(table)
    if _keys(lake, market).get(year) != keys[year]:
        raise _ChangedError
    return block


def _kept(path: Path) -> Block | None:
    """Return the block in the file, or ``None`` when there is none that is whole."""
    year = str(path).rpartition("-")[0]
    name, block = _maps.get(year, ("", None))
    if name == path.name:
        return block
    try:
        block = _mapped(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # The block of the year before a write is let go: its file may be gone already.
    _maps.pop(year, None)
    _maps[year] = path.name, block
    while len(_maps) > _MAPS_KEPT:
        _maps.pop(next(iter(_maps)), None)
    return block


def _mapped(path: Path) -> Block:
    """Map a block; its name says its content, so a map that was checked once stays good."""
    with path.open("rb") as file:
        memory = mmap(file.fileno(), 0, access=ACCESS_READ)
    head = dict(json.loads(memory[:_HEADER_BYTES]))
    checksum = head.pop("checksum")
    fields, end = _layout(**head)
    with memoryview(memory) as view:
        if len(view) != end or _checksum(path, head, view[_HEADER_BYTES:]) != checksum:
            raise ValueError(path)
    arrays = {
        name: np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
        for name, (dtype, shape, offset) in fields.items()
    }
    return Block(**arrays)


def _write(path: Path, block: Block) -> None:
    head: dict[str, Any] = {
        "sessions": len(block.sessions),
        "symbols": len(block.symbols),
        "letters": block.symbols.dtype.itemsize // np.dtype("U1").itemsize,
        "price": block.close.dtype.name,
    }
    fields, end = _layout(**head)
    body = np.zeros(end - _HEADER_BYTES, dtype=np.uint8)
    for name, (dtype, shape, offset) in fields.items():
        at = offset - _HEADER_BYTES
        array = getattr(block, name)
        body[at : at + array.nbytes].view(dtype).reshape(shape)[...] = array
    text = json.dumps(head | {"checksum": _checksum(path, head, body.data)})
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode().ljust(_HEADER_BYTES))
            file.write(body.data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _layout(
    sessions: int, symbols: int, letters: int, price: str
) -> tuple[dict[str, tuple[str, tuple[int, ...], int]], int]:
    """Return type, shape and offset of each array in the file, and where the file ends."""
    grid = (sessions, symbols)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "sessions": ("datetime64[D]", (sessions,)),
        "symbols": (f"U{letters}", (symbols,)),
        **dict.fromkeys(PRICES, (price, grid)),
        "volume": ("int64", grid),
        "state": ("uint8", grid),
    }
    fields = {}
    offset = _HEADER_BYTES
    for name, (dtype, shape) in shapes.items():
        fields[name] = (dtype, shape, offset)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return fields, offset


def _checksum(path: Path, head: dict[str, Any], body: memoryview) -> int:
    """Return the checksum of a block under this name."""
    return zlib.crc32(body, zlib.crc32(f"{path.stem} {sorted(head.items())}".encode()))


def _sweep(folder: Path, current: set[str]) -> None:
    """Remove blocks of earlier states, and what a killed process left half written."""
    for path in folder.iterdir():
        if path.name not in current and path.suffix in {".block", ".tmp"}:
            path.unlink(missing_ok=True)


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array read-only, as a map is: compiled functions then meet one type."""
    array.setflags(write=False)
    return array


def _price_type(prices: tuple[IntArray, ...]) -> type[np.signedinteger]:
    limits = np.iinfo(np.int32)
    fits = all(
        not len(price) or (limits.min <= price.min() and price.max() <= limits.max)
        for price in prices
    )
    return np.int32 if fits else np.int64


def codes(bars: "pd.DataFrame | pa.Table", name: str) -> tuple[NDArray[np.int32], list[str]]:
    """Return the text column as numbers, and the text of each number."""
    import pyarrow as pa

    column = bars[name]
    if not isinstance(column, pa.ChunkedArray):
        made = pa.array(column, type=pa.string(), from_pandas=True)
        column = made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.num_chunks == 0:
        return np.zeros(0, dtype=np.int32), []
    whole = column.unify_dictionaries()
    words: list[str] = whole.chunk(0).dictionary.to_pylist()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])
    return codes.astype(np.int32, copy=False), words


def _days(bars: "pd.DataFrame | pa.Table") -> NDArray[np.int32]:
    """Return the session of each row as days from 1970-01-01."""
    import pyarrow as pa

    column = bars["session"]
    if isinstance(column, pa.ChunkedArray):
        days: NDArray[np.int32] = column.cast(pa.int32()).to_numpy()
        return days
    return column.to_numpy().astype("datetime64[D]").astype(np.int64).astype(np.int32)


def _integers(bars: "pd.DataFrame | pa.Table", name: str) -> IntArray:
    """Return a column of whole numbers."""
    return _fixed(np.ascontiguousarray(bars[name].to_numpy(), dtype=np.int64).view())


@njit(cache=True, nogil=True)
def _scatter(row, column, sources, grids):  # type: ignore[no-untyped-def]
    """Write each row of ``sources`` to its cell of ``grids``."""
    open_from, high_from, low_from, close_from, volume_from, state_from = sources
    open_, high, low, close, volume, state = grids
    for i in range(len(row)):
        t, k = row[i], column[i]
        open_[t, k] = open_from[i]
        high[t, k] = high_from[i]
        low[t, k] = low_from[i]
        close[t, k] = close_from[i]
        volume[t, k] = volume_from[i]
        state[t, k] = state_from[i]
