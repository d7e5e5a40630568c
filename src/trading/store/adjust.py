"""Corporate actions from raw/adjusted pairs, and the two panels that decisions are made on.

Both are causal: row ``t`` of a panel is the same, to the bit, whatever rows follow it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, PriceBasis, RawPanel
from trading.errors import MissingDataError
from trading.log import get_logger
from trading.store import schema

if TYPE_CHECKING:
    import pandas as pd

    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake

log = get_logger(__name__)

# A step this close to a small ratio is a split (DESIGN, "Corporate actions").
_SPLIT_TOLERANCE = 0.005
# Small ratios: p/q with both up to 5, and n:1 or 1:n up to 100. The smallest is 5:4, so the
# 11 % step of MSFT's special dividend of 2004-11-15 is no "10:9 split".
_SMALL_TERM = 5
_WHOLE_RATIO = 100
# Relative error of a vendor's factor that is given with all its digits.
_FLOAT_NOISE = 1e-9


class DividendBase(StrEnum):
    """Which close a vendor divided a dividend by when it made the adjusted series."""

    EX_CLOSE = "ex_close"  # factor 1 + D / close of the ex-date (CRSP, Quandl WIKI)
    PREVIOUS_CLOSE = "previous_close"  # factor 1 / (1 - D / previous close) (Yahoo)


def infer_actions(
    frame: "pd.DataFrame",
    *,
    minor_per_unit: int,
    dividend_base: DividendBase = DividendBase.EX_CLOSE,
    adj_unit: float = 0.0,
    source: str = "",
) -> list[CorporateAction]:
    """Return the splits and cash dividends that explain a vendor's adjusted closes.

    A step of ``adj_close / close`` within 0.5 % of a small ratio is a split, any other step
    beyond rounding a cash dividend.

    Parameters
    ----------
    frame : DataFrame
        ``symbol, session, close`` (raw, minor units) and ``adj_close`` (units; NaN rows are
        left out). In any order.
    minor_per_unit : int
        Minor units in one unit of the currency.
    dividend_base : DividendBase
        The vendor's convention.
    adj_unit : float, default=0.0
        To what ``adj_close`` was rounded, in units; 0 when it keeps all digits. A step smaller
        than the rounding error of both neighbors is noise.
    source : str
        Written into each action.
    """
    ratios = _small_ratios()
    values = np.array([float(ratio) for ratio in ratios])
    actions: list[CorporateAction] = []
    known = frame.loc[frame["adj_close"].notna() & (frame["close"] > 0)]
    for symbol, rows in known.sort_values(["symbol", "session"]).groupby("symbol", sort=True):
        close = rows["close"].to_numpy(dtype=np.float64) / minor_per_unit
        adjusted = rows["adj_close"].to_numpy(dtype=np.float64)
        days = rows["session"].to_numpy()
        factor = adjusted / close
        step = factor[1:] / factor[:-1]
        noise = 0.5 * adj_unit * (1 / adjusted[1:] + 1 / adjusted[:-1]) + _FLOAT_NOISE
        for i in np.flatnonzero(np.abs(step - 1) > noise):
            nearest = int(np.argmin(np.abs(values / step[i] - 1)))
            ex_date = schema.day(days[i + 1])
            if abs(values[nearest] / step[i] - 1) <= _SPLIT_TOLERANCE:
                actions.append(
                    CorporateAction(
                        symbol=str(symbol),
                        ex_date=ex_date,
                        kind=ActionKind.SPLIT,
                        numerator=ratios[nearest].numerator,
                        denominator=ratios[nearest].denominator,
                        source=source,
                        inferred=True,
                    )
                )
                continue
            if dividend_base is DividendBase.EX_CLOSE:
                paid = close[i + 1] * (step[i] - 1)
            else:
                paid = close[i] * (1 - 1 / step[i])
            if (amount := round(paid * minor_per_unit)) > 0:
                actions.append(
                    CorporateAction(
                        symbol=str(symbol),
                        ex_date=ex_date,
                        kind=ActionKind.CASH_DIVIDEND,
                        amount=amount,
                        source=source,
                        inferred=True,
                    )
                )
    return actions


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

    Raises
    ------
    MissingDataError
        When the range has no session, or a symbol is neither in the bars nor an instrument.
    """
    frame = lake.daily(market, symbols, first, last)
    known = {item.symbol: item.exchange for item in lake.instruments(market)}
    index = lake.index(market, first, last)
    if symbols is None and known_on is not None:
        earlier = frame["session"] < np.datetime64(known_on)
        symbols = sorted(frame.loc[earlier, "symbol"].unique())
    return assemble_panels(
        frame,
        lake.actions(market, first, last),
        calendar.sessions(first, last),
        market,
        symbols,
        exchanges=known,
        index=index.loc[index["name"] == benchmark],
        benchmark=benchmark,
        rules=rules,
        require_raw=require_raw,
    )


def assemble_panels(
    frame: "pd.DataFrame",
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
    """Return both panels of ``frame`` (``schema.DAILY_BARS``) on ``sessions``; see ``build_panels``.

    A session without a row inside an instrument's life is a halt. A life ends with its delisting
    action, never because later rows are absent: that would look into the future.
    """
    if not sessions:
        raise MissingDataError(f"{market} 시장의 거래일이 없음")
    names = tuple(symbols) if symbols is not None else tuple(sorted(frame["symbol"].unique()))
    days = np.array(sessions, dtype="datetime64[D]")
    cells = place(frame, days, names)
    shape = (len(days), len(names))

    bars = {name: _grid(cells, frame[name], shape) for name in ("open", "high", "low", "close")}
    volume = _grid(cells, frame["volume"], shape)
    present = np.zeros(shape, dtype=np.bool_)
    present[cells.row, cells.column] = True
    traded = present & (volume > 0) & (bars["open"] > 0)
    raw_basis = np.ones(shape, dtype=np.bool_)
    adjusted_rows = (frame["basis"] == PriceBasis.ADJUSTED.value).to_numpy()[cells.kept]
    raw_basis[cells.row, cells.column] = ~adjusted_rows

    events = _events(actions, days, names)
    state = _carry(bars["close"], present, events)
    alive = ~events.gone
    traded &= alive
    volume = np.where(traded, volume, 0)
    prices = {name: np.where(traded, bars[name], 0) for name in ("open", "high", "low")}

    tradable = traded.copy()
    if require_raw:
        tradable &= raw_basis
    elif rules is not None and adjusted_rows.any():
        off = np.zeros(shape, dtype=np.bool_)
        off[cells.row, cells.column] = adjusted_rows & off_tick_grid(frame.loc[cells.kept], rules)
        tradable &= ~off
    if (dropped := int(traded.sum() - tradable.sum())) > 0:
        log.info("수정주가라 매매할 수 없는 칸", market=market.value, cells=dropped)

    raw = RawPanel(
        market=market,
        basis=PriceBasis.ADJUSTED if adjusted_rows.any() else PriceBasis.RAW,
        symbols=names,
        exchanges=_exchanges(frame, names, exchanges or {}),
        sessions=days,
        open=prices["open"],
        high=prices["high"],
        low=prices["low"],
        close=state.close,
        reference=state.reference,
        volume=volume,
        tradable=tradable,
    )
    adjusted = AdjustedPanel(
        market=market,
        symbols=names,
        sessions=days,
        open=np.where(traded, bars["open"] * state.factor, np.nan),
        high=np.where(traded, bars["high"] * state.factor, np.nan),
        low=np.where(traded, bars["low"] * state.factor, np.nan),
        close=np.where(traded, bars["close"] * state.factor, np.nan),
        volume=np.where(traded, volume / state.split_factor, np.nan),
        tradable=traded,
        benchmark=_benchmark(index, days),
        benchmark_name=benchmark,
    )
    return raw, adjusted


def off_tick_grid(
    frame: "pd.DataFrame", rules: "MarketRules", *, half_tick: bool = False
) -> BoolArray:
    """Return which rows of ``frame`` carry a price that no order could have carried that day.

    Prices of 0 are no prices. ``half_tick`` also allows the midpoints between two ticks.
    """
    import pandas as pd

    exchanges, exchange_of = np.unique(
        frame["exchange"].to_numpy(dtype=object).astype(str), return_inverse=True
    )
    days, day_of = np.unique(
        frame["session"].to_numpy().astype("datetime64[D]"), return_inverse=True
    )
    ladders, ladder_of = rules.ladder_arrays([Exchange(name) for name in exchanges], days)
    ladder = ladder_of[day_of, exchange_of]
    off = np.zeros(len(frame), dtype=np.bool_)
    for number in pd.unique(ladder):
        rows = np.flatnonzero(ladder == number)
        bounds, ticks = ladders[number, :, 0], ladders[number, :, 1]
        for name in ("open", "high", "low", "close"):
            price = frame[name].to_numpy(dtype=np.int64)[rows]
            tick = ticks[np.maximum(np.searchsorted(bounds, price, side="right") - 1, 0)]
            off[rows] |= (price * 2 % tick if half_tick else price % tick) != 0
    return off


@dataclass(frozen=True, slots=True)
class Cells:
    """Where each kept row of a frame goes in the grid."""

    kept: BoolArray
    row: IntArray
    column: IntArray


@dataclass(frozen=True, slots=True)
class _Events:
    """Corporate actions as grids: split terms, dividends, and from when an instrument is gone."""

    numerator: IntArray
    denominator: IntArray
    dividend: IntArray
    gone: BoolArray


@dataclass(frozen=True, slots=True)
class _State:
    """What is carried from row to row."""

    close: IntArray
    reference: IntArray
    factor: FloatArray
    split_factor: FloatArray


def place(frame: "pd.DataFrame", days: "np.ndarray", names: Sequence[str]) -> Cells:
    """Return the grid cell of each row; rows of other days and other symbols are left out."""
    import pandas as pd

    column = pd.Index(names).get_indexer(pd.Index(frame["symbol"]))
    session = frame["session"].to_numpy().astype("datetime64[D]")
    row = np.searchsorted(days, session)
    inside = row < len(days)
    on_day = inside.copy()
    on_day[inside] = days[row[inside]] == session[inside]
    kept = on_day & (column >= 0)
    if (outside := int((inside & ~on_day).sum())) > 0:
        log.warning("거래일이 아닌 날의 봉 제외", rows=outside)
    return Cells(kept, row[kept].astype(np.int64), column[kept].astype(np.int64))


def _grid(cells: Cells, column: "pd.Series[int]", shape: tuple[int, int]) -> IntArray:
    grid = np.zeros(shape, dtype=np.int64)
    grid[cells.row, cells.column] = column.to_numpy(dtype=np.int64)[cells.kept]
    return grid


def _events(
    actions: Iterable[CorporateAction], days: "np.ndarray", names: Sequence[str]
) -> _Events:
    shape = (len(days), len(names))
    columns = {name: number for number, name in enumerate(names)}
    events = _Events(
        np.ones(shape, dtype=np.int64),
        np.ones(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.bool_),
    )
    for action in actions:
        # An ex-date between sessions works from the next session on.
        row = int(np.searchsorted(days, np.datetime64(action.ex_date, "D")))
        column = columns.get(action.symbol)
        if column is None or row == len(days):
            continue
        if action.kind is ActionKind.SPLIT:
            events.numerator[row, column] *= action.numerator
            events.denominator[row, column] *= action.denominator
        elif action.kind is ActionKind.CASH_DIVIDEND:
            events.dividend[row, column] += action.amount
        else:
            events.gone[row:, column] = True
    return events


def _carry(close: IntArray, present: BoolArray, events: _Events) -> _State:
    """Walk forward once: restated reference, carried close, and the factors from the first row."""
    n, m = close.shape
    state = _State(
        np.zeros((n, m), dtype=np.int64),
        np.zeros((n, m), dtype=np.int64),
        np.ones((n, m)),
        np.ones((n, m)),
    )
    previous = np.zeros(m, dtype=np.int64)
    factor = np.ones(m)
    split_factor = np.ones(m)
    for t in range(n):
        p, q, paid = events.numerator[t], events.denominator[t], events.dividend[t]
        held = previous > 0
        after_dividend = np.maximum(previous - paid, 1)
        reference = np.where(held, np.maximum(after_dividend * q // p, 1), 0)
        moved = held & ((p != q) | (paid > 0))
        split = np.where(held, p / q, 1.0)
        factor = np.where(moved, factor * (previous / after_dividend) * split, factor)
        split_factor = split_factor * split
        now = np.where(present[t], close[t], reference)
        gone = events.gone[t]
        state.reference[t] = np.where(gone, 0, reference)
        state.close[t] = np.where(gone, 0, now)
        state.factor[t] = factor
        state.split_factor[t] = split_factor
        previous = state.close[t]
    return state


def _exchanges(
    frame: "pd.DataFrame", names: Sequence[str], known: dict[str, Exchange]
) -> tuple[Exchange, ...]:
    seen = frame.drop_duplicates("symbol").set_index("symbol")["exchange"].to_dict()
    unknown = [name for name in names if name not in known and name not in seen]
    if unknown:
        raise MissingDataError(f"자료에 없는 종목: {', '.join(unknown[:10])}")
    return tuple(known[name] if name in known else Exchange(seen[name]) for name in names)


def _benchmark(index: "pd.DataFrame | None", days: "np.ndarray") -> FloatArray:
    series = np.full(len(days), np.nan)
    if index is None or index.empty:
        return series
    session = index["session"].to_numpy().astype("datetime64[D]")
    row = np.searchsorted(days, session)
    inside = row < len(days)
    inside[inside] = days[row[inside]] == session[inside]
    series[row[inside]] = index["close"].to_numpy(dtype=np.float64)[inside]
    return series


def _small_ratios() -> list[Fraction]:
    terms = {
        Fraction(p, q)
        for p in range(1, _SMALL_TERM + 1)
        for q in range(1, _SMALL_TERM + 1)
        if p != q and gcd(p, q) == 1
    }
    terms |= {Fraction(n, 1) for n in range(2, _WHOLE_RATIO + 1)}
    terms |= {Fraction(1, n) for n in range(2, _WHOLE_RATIO + 1)}
    return sorted(terms)
