"""The two panels that decisions are made on: raw, and adjusted as of each row.

Both are causal: row ``t`` of a panel is the same, to the bit, whatever rows follow it. One
compiled walk over the blocks of ``cache`` makes both.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import DateArray, FloatArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, PriceBasis, RawPanel
from trading.errors import MissingDataError, UsageError
from trading.log import get_logger
from trading.store import cache
from trading.store.cache import ADJUSTED, EXCHANGE_SHIFT, EXCHANGES, Block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake

log = get_logger(__name__)

_SPLIT: Final = 0
_RIGHTS: Final = 1
_DIVIDEND: Final = 2
_DELISTING: Final = 3
_NUMBER_OF: Final = {
    ActionKind.SPLIT: _SPLIT,
    ActionKind.RIGHTS: _RIGHTS,
    ActionKind.CASH_DIVIDEND: _DIVIDEND,
    ActionKind.DELISTING: _DELISTING,
}


def build_panels(
    lake: "Lake",
    calendar: "SessionCalendar",
    market: Market,
    symbols: Sequence[str] | None,
    first: date,
    last: date,
    *,
    benchmark: str,
    rules: "MarketRules | None" = None,
    require_raw: bool = False,
    known_on: date | None = None,
    cached: bool = True,
) -> tuple[RawPanel, AdjustedPanel]:
    """Return the raw and the as-of-adjusted panel of the lake's clean daily bars.

    Parameters
    ----------
    symbols : sequence of str or None
        Columns, in this order; ``None`` means every symbol with a bar in the range, sorted.
    first, last : date
        Both included. The first bar is the origin of the adjustment factors.
    benchmark : str
        Name of the index whose close goes along; NaN where it was not recorded.
    rules : MarketRules, optional
        When given, vendor-adjusted rows off the tick grid of their date are not tradable in the
        raw panel.
    require_raw : bool, default=False
        Whether vendor-adjusted rows are not tradable in the raw panel at all.
    known_on : date, optional
        The morning that the columns are of, where ``symbols`` names none: a symbol whose first
        bar comes on or after it has no column yet, whatever the lake holds by now.
    cached : bool, default=True
        Whether bars come from the memory-mapped cache, made where it is missing; else from
        Parquet. The panels are the same.

    Raises
    ------
    MissingDataError
        When the range has no session, or a symbol is neither in the bars nor an instrument.
    """
    held = cache.read(lake, market, symbols, first, last, list, cached=cached)[::-1]
    if symbols is None:
        before = min(last, known_on - timedelta(days=1)) if known_on is not None else last
        symbols = _seen(held, first, before)
    index = lake.index(market, first, last)
    return _panels(
        held,
        lake.actions(market, first, last),
        calendar.sessions(first, last),
        market,
        symbols,
        exchanges={item.symbol: item.exchange for item in lake.instruments(market)},
        index=index.loc[index["name"] == benchmark],
        benchmark=benchmark,
        rules=rules,
        require_raw=require_raw,
    )


def shipped_panels(
    lake: "Lake",
    market: Market,
    symbols: Iterable[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    *,
    known_on: date | None = None,
) -> tuple[RawPanel, AdjustedPanel]:
    """Return ``build_panels`` under the shipped calendar, rules and benchmark of the market.

    Where the range has no end it is that of the lake.
    """
    from trading.domain.rules import shipped_rules
    from trading.sessions import SessionCalendar
    from trading.store.universe import shipped_universe

    oldest, newest = cache.span(lake, market)
    return build_panels(
        lake,
        SessionCalendar(market),
        market,
        list(symbols) if symbols is not None else None,
        first or oldest,
        last or newest,
        benchmark=shipped_universe().benchmark[market],
        rules=shipped_rules(market),
        known_on=known_on,
    )


def assemble_panels(
    bars: "pd.DataFrame | pa.Table",
    actions: Iterable[CorporateAction],
    sessions: Sequence[date],
    market: Market,
    symbols: Sequence[str] | None,
    *,
    exchanges: dict[str, Exchange] | None = None,
    index: "pd.DataFrame | None" = None,
    benchmark: str = "",
    rules: "MarketRules | None" = None,
    require_raw: bool = False,
) -> tuple[RawPanel, AdjustedPanel]:
    """Return both panels of ``bars`` (``schema.DAILY_BARS``) on ``sessions``; see ``build_panels``.

    A session without a row inside an instrument's life is a halt. A life ends with its delisting
    action, never because later rows are absent: that would look into the future.
    """
    block = cache.block_of(bars)
    return _panels(
        [block],
        actions,
        sessions,
        market,
        symbols if symbols is not None else block.symbols.tolist(),
        exchanges=exchanges or {},
        index=index,
        benchmark=benchmark,
        rules=rules,
        require_raw=require_raw,
    )


def _panels(
    blocks: Sequence[Block],
    actions: Iterable[CorporateAction],
    sessions: Sequence[date],
    market: Market,
    symbols: Sequence[str],
    *,
    exchanges: dict[str, Exchange],
    index: "pd.DataFrame | None",
    benchmark: str,
    rules: "MarketRules | None",
    require_raw: bool,
) -> tuple[RawPanel, AdjustedPanel]:
    if not sessions:
        raise MissingDataError(f"{market} 시장의 거래일이 없음")
    if len(set(symbols)) < len(symbols):
        raise UsageError(f"같은 종목이 두 번 있음: {', '.join(symbols)}")
    names = np.array(symbols, dtype=np.str_)
    days = np.array(sessions, dtype="datetime64[D]")
    _warn_of_strays(blocks, names, days)
    listed = _exchanges(blocks, names, days, exchanges)
    shape = (len(days), len(names))
    raw = tuple(np.empty(shape, dtype=np.int64) for _ in range(6))
    adjusted = tuple(np.empty(shape) for _ in range(5))
    traded, tradable = (np.empty(shape, dtype=np.bool_) for _ in range(2))
    # Previous close, price factor, share factor, and whether the life is over.
    carried = (
        np.zeros(len(names), dtype=np.int64),
        np.ones(len(names)),
        np.ones(len(names)),
        np.zeros(len(names), dtype=np.bool_),
    )
    events = _events(actions, days, names)
    counts = np.zeros(2, dtype=np.int64)
    start = 0
    for number, block in enumerate(blocks, 1):
        end = len(days)
        if number < len(blocks):
            end = int(np.searchsorted(days, block.sessions[-1], side="right"))
        _walk(
            start,
            _where(block, days[start:end]),
            block.columns(names),
            (block.open, block.high, block.low, block.close, block.volume, block.state),
            *events,
            require_raw,
            *_ladders(block, days[start:end], rules, market),
            carried,
            (*raw, *adjusted),
            traded,
            tradable,
            counts,
        )
        start = end
    n_adjusted, n_dropped = counts.tolist()
    if n_dropped > 0:
        log.info("수정주가라 매매할 수 없는 칸", market=market.value, cells=n_dropped)
    open_, high, low, close, reference, volume = raw
    raw_panel = RawPanel(
        market=market,
        basis=PriceBasis.ADJUSTED if n_adjusted else PriceBasis.RAW,
        symbols=tuple(symbols),
        exchanges=listed,
        sessions=days,
        open=open_,
        high=high,
        low=low,
        close=close,
        reference=reference,
        volume=volume,
        tradable=tradable,
    )
    adjusted_open, adjusted_high, adjusted_low, adjusted_close, adjusted_volume = adjusted
    adjusted_panel = AdjustedPanel(
        market=market,
        symbols=tuple(symbols),
        sessions=days,
        open=adjusted_open,
        high=adjusted_high,
        low=adjusted_low,
        close=adjusted_close,
        volume=adjusted_volume,
        tradable=traded,
        benchmark=_benchmark(index, days),
        benchmark_name=benchmark,
    )
    return raw_panel, adjusted_panel


def _seen(blocks: Sequence[Block], first: date, last: date) -> list[str]:
    """Return every symbol with a bar in the range, sorted."""
    found: set[str] = set()
    for block in blocks:
        present = (block.state[block.rows(first, last)] != 0).any(axis=0)
        found.update(block.symbols[present].tolist())
    return sorted(found)


def _where(block: Block, days: DateArray) -> IntArray:
    """Return the block's row of each day, -1 where it has none."""
    if not len(block.sessions):
        return np.full(len(days), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(block.sessions, days), len(block.sessions) - 1)
    return np.where(block.sessions[at] == days, at, -1)


def _warn_of_strays(blocks: Sequence[Block], names: NDArray[np.str_], days: DateArray) -> None:
    count = 0
    for block in blocks:
        inside = (block.sessions >= days[0]) & (block.sessions <= days[-1])
        strays = np.flatnonzero(inside & ~np.isin(block.sessions, days))
        if len(strays):
            columns = block.columns(names)
            count += int((block.state[np.ix_(strays, columns[columns >= 0])] != 0).sum())
    if count > 0:
        log.warning("거래일이 아닌 날의 봉 제외", rows=count)


def _events(
    actions: Iterable[CorporateAction], days: DateArray, names: NDArray[np.str_]
) -> tuple[IntArray, IntArray]:
    """Return the actions as ``(column, kind, numerator, denominator, amount)`` rows, by day.

    The second array says at which of them each day begins; one past the last day included.
    """
    columns = {name: number for number, name in enumerate(names.tolist())}
    found = []
    for action in actions:
        # An ex-date between sessions works from the next session on.
        row = int(np.searchsorted(days, np.datetime64(action.ex_date, "D")))
        column = columns.get(action.symbol)
        if column is not None and row < len(days):
            terms = (action.numerator, action.denominator, action.amount)
            found.append((row, column, _NUMBER_OF[action.kind], *terms))
    events = np.array(sorted(found), dtype=np.int64).reshape(-1, 6)
    return events[:, 1:].copy(), np.searchsorted(events[:, 0], np.arange(len(days) + 1))


def _ladders(
    block: Block, days: DateArray, rules: "MarketRules | None", market: Market
) -> tuple[IntArray, IntArray]:
    """Return the tick ladders, and which of them binds on each day and exchange (by number).

    Only days with vendor-adjusted bars are looked up: others need no rule.
    """
    ladder_of = np.zeros((len(days), len(EXCHANGES)), dtype=np.int64)
    adjusted = ((block.state & ADJUSTED) != 0).any(axis=1)
    judged = np.isin(days, block.sessions[adjusted])
    if rules is None or not judged.any():
        return np.zeros((0, 0, 2), dtype=np.int64), ladder_of
    columns = np.array([e.market is market for e in EXCHANGES])
    listing = [e for e in EXCHANGES if e.market is market]
    ladders, ladder_of[np.ix_(judged, columns)] = rules.ladder_arrays(listing, days[judged])
    return ladders, ladder_of


def _exchanges(
    blocks: Sequence[Block],
    names: NDArray[np.str_],
    days: DateArray,
    known: dict[str, Exchange],
) -> tuple[Exchange, ...]:
    """Return each symbol's exchange: the known one, else that of its first bar in the range."""
    found = {name: known[name] for name in names.tolist() if name in known}
    for block in blocks:
        missing = np.array([name for name in names.tolist() if name not in found], dtype=np.str_)
        columns = block.columns(missing)
        missing, columns = missing[columns >= 0], columns[columns >= 0]
        state = block.state[block.rows(days[0].item(), days[-1].item())][:, columns]
        if state.size:
            first = state[(state != 0).argmax(axis=0), np.arange(len(columns))]
            for name, code in zip(missing.tolist(), first.tolist(), strict=True):
                if code:
                    found[name] = EXCHANGES[code >> EXCHANGE_SHIFT]
    unknown = [name for name in names.tolist() if name not in found]
    if unknown:
        raise MissingDataError(f"자료에 없는 종목: {', '.join(unknown[:10])}")
    return tuple(found[name] for name in names.tolist())


def _benchmark(index: "pd.DataFrame | None", days: DateArray) -> FloatArray:
    series = np.full(len(days), np.nan)
    if index is None or index.empty:
        return series
    session = index["session"].to_numpy().astype("datetime64[D]")
    row = np.searchsorted(days, session)
    inside = row < len(days)
    inside[inside] = days[row[inside]] == session[inside]
    series[row[inside]] = index["close"].to_numpy(dtype=np.float64)[inside]
    return series


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    start,
    row_of,
    column_of,
    bars,
    events,
    first_event,
    require_raw,
    ladders,
    ladder_of,
    carried,
    grids,
    traded,
    tradable,
    counts,
):
    """Walk forward over the rows from ``start`` on: base prices, carried closes, factors.

    ``row_of`` and ``column_of`` point into ``bars``. ``carried`` goes on from block to block.
    ``counts`` gains the vendor-adjusted cells, and those of them that may not trade.
    """
    open_from, high_from, low_from, close_from, volume_from, state_from = bars
    previous, factor, share_factor, gone = carried
    open_, high, low, close, reference, volume = grids[:6]
    adjusted_open, adjusted_high, adjusted_low, adjusted_close, adjusted_volume = grids[6:]
    width = len(column_of)
    split = np.ones((2, width), dtype=np.int64)
    rights = np.ones((2, width), dtype=np.int64)
    paid = np.zeros(width, dtype=np.int64)
    code = np.zeros(width, dtype=np.uint8)
    now = np.zeros((5, width), dtype=np.int64)
    for i in range(len(row_of)):
        t, r = start + i, row_of[i]
        of_day = events[first_event[t] : first_event[t + 1]]
        for e in range(len(of_day)):
            j, kind = of_day[e, 0], of_day[e, 1]
            if kind == _SPLIT:
                split[0, j] *= of_day[e, 2]
                split[1, j] *= of_day[e, 3]
            elif kind == _RIGHTS:
                rights[0, j] *= of_day[e, 2]
                rights[1, j] *= of_day[e, 3]
            elif kind == _DIVIDEND:
                paid[j] += of_day[e, 4]
            else:
                gone[j] = True
        for e in range(len(of_day)):
            j = of_day[e, 0]
            held = previous[j]
            if held > 0:
                base = max(held - paid[j], 1)
                scale = factor[j] * (held / base)
                base = max(base * rights[1, j] // rights[0, j], 1)
                previous[j] = max(base * split[1, j] // split[0, j], 1)
                shares = split[0, j] / split[1, j]
                factor[j] = scale * (rights[0, j] / rights[1, j]) * shares
                share_factor[j] *= shares
            if gone[j]:
                previous[j] = 0
            # Another action of the same morning has nothing left to do.
            split[:, j] = 1
            rights[:, j] = 1
            paid[j] = 0
        reference[t] = previous

        # One loop a grid: rows of many grids at once would share the lines of the cache.
        for j in range(width):
            k = column_of[j]
            code[j] = state_from[r, k] if r >= 0 and k >= 0 else 0
            counts[0] += code[j] & ADJUSTED != 0
            if gone[j]:
                code[j] = 0
        if r >= 0:
            _take(open_from[r], column_of, now[0])
            _take(high_from[r], column_of, now[1])
            _take(low_from[r], column_of, now[2])
            _take(close_from[r], column_of, now[3])
            _take(volume_from[r], column_of, now[4])
        for j in range(width):
            if code[j] != 0:
                previous[j] = now[3, j]
            traded[t, j] = code[j] != 0 and now[0, j] > 0 and now[4, j] > 0
        close[t] = previous
        mask = traded[t]
        _put(mask, now[0], factor, open_[t], adjusted_open[t])
        _put(mask, now[1], factor, high[t], adjusted_high[t])
        _put(mask, now[2], factor, low[t], adjusted_low[t])
        for j in range(width):
            adjusted_close[t, j] = now[3, j] * factor[j] if mask[j] else np.nan
        for j in range(width):
            volume[t, j] = now[4, j] if mask[j] else 0
        for j in range(width):
            adjusted_volume[t, j] = now[4, j] / share_factor[j] if mask[j] else np.nan
        for j in range(width):
            tradable[t, j] = mask[j]
            if mask[j] and code[j] & ADJUSTED != 0:
                if require_raw:
                    tradable[t, j] = False
                elif len(ladders):
                    ladder = ladders[ladder_of[i, code[j] >> EXCHANGE_SHIFT]]
                    tradable[t, j] = not (
                        _off_grid(now[0, j], ladder)
                        or _off_grid(now[1, j], ladder)
                        or _off_grid(now[2, j], ladder)
                        or _off_grid(now[3, j], ladder)
                    )
                counts[1] += not tradable[t, j]


@njit(cache=True, nogil=True)
def _take(row, column_of, out):  # type: ignore[no-untyped-def]
    for j in range(len(out)):
        k = column_of[j]
        out[j] = row[k] if k >= 0 else 0


@njit(cache=True, nogil=True)
def _put(mask, price, factor, raw, adjusted):  # type: ignore[no-untyped-def]
    for j in range(len(mask)):
        raw[j] = price[j] if mask[j] else 0
    for j in range(len(mask)):
        adjusted[j] = price[j] * factor[j] if mask[j] else np.nan


@njit(cache=True, nogil=True)
def _off_grid(price, ladder):  # type: ignore[no-untyped-def]
    """Return whether no order could have carried the price: it is no whole number of ticks."""
    step = 0
    while step + 1 < len(ladder) and ladder[step + 1, 0] <= price:
        step += 1
    # Exact below 2**53, and faster than the remainder of whole numbers.
    ticks = price / ladder[step, 1]
    return ticks != np.floor(ticks)
