"""The oracle of intraday bars: the hours of the session, its auctions, and the daily bar."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.domain.instrument import Exchange
from trading.store.quality.bars import (
    DAY_SPAN,
    PRICES,
    codes,
    day_number,
    numbers,
    of_other_markets,
    off_grid,
    to_date,
)
from trading.store.quality.result import Agreement, Coverage, Life, Verdict, count_months
from trading.store.quality.settings import MinuteSettings
from trading.store.quality.suite import run_suite

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.store.quality import Context

SHOWN = ("ts", "symbol", "open", "high", "low", "close", "volume", "source")

_MICROSECONDS = 1_000_000
# More than the seconds of any day.
_SECONDS_SPAN = 100_000


class _Minutes:
    """Columns of the batch as arrays; ``second`` counts from 1970, UTC."""

    def __init__(self, table: "pa.Table") -> None:
        import pyarrow as pa

        self.symbol, self.symbols = codes(table["symbol"])
        exchange, exchanges = codes(table["exchange"])
        self.exchange: IntArray = exchange
        self.exchanges = exchanges
        self.day: IntArray = numbers(table, "session").astype(np.int64)
        self.second: IntArray = table["ts"].cast(pa.int64()).to_numpy() // _MICROSECONDS
        self.open, self.high, self.low, self.close, self.volume = (
            numbers(table, name) for name in (*PRICES, "volume")
        )
        self.cell = self.symbol * DAY_SPAN + self.day


def judge_minute(table: "pa.Table", context: "Context", verdict: Verdict) -> Coverage:
    """Judge a batch of intraday bars; return where its rows are."""
    settings = verdict.settings
    assert isinstance(settings, MinuteSettings)
    bars = _Minutes(table)
    columns: dict[str, np.ndarray] = {name: getattr(bars, name) for name in (*PRICES, "volume")}
    columns["key"] = bars.symbol * (DAY_SPAN * _SECONDS_SPAN) + (
        bars.second - int(bars.second.min(initial=0))
    )
    texts = {"symbol": (bars.symbol, bars.symbols), "exchange": (bars.exchange, bars.exchanges)}
    for item, rows in run_suite("minute", columns, texts, settings.expectations):
        verdict.note(item.type, item.title, item.severity, len(table), rows)
    verdict.judge("future", len(table), np.flatnonzero(bars.day > day_number(context.as_of)))
    days = context.days(bars.day)
    closed = ~np.isin(bars.day, days)
    verdict.judge("calendar", len(table), np.flatnonzero(closed))
    foreign = of_other_markets(bars.exchange, bars.exchanges, context.market)
    verdict.judge("foreign", len(table), np.flatnonzero(foreign))
    _judge_hours(bars, ~closed, context, verdict, settings)
    clean = verdict.clean
    _judge_grid(bars, clean, context, verdict, settings)
    _judge_range(bars, clean, verdict, settings)
    _judge_daily(bars, verdict, context, settings)
    # Of two equal bars the one that left its own share's prices is out already.
    _judge_repeats(bars, verdict.clean, verdict, settings)
    coverage = count_months(table, verdict, "exchange")
    _lives(bars, verdict.clean, coverage)
    return coverage


def _judge_hours(
    bars: _Minutes,
    open_days: BoolArray,
    context: "Context",
    verdict: Verdict,
    used: MinuteSettings,
) -> None:
    """Bars lie in their session, and not in the call auction before its close."""
    outside = np.zeros(len(bars.day), dtype=np.bool_)
    auction = np.zeros(len(bars.day), dtype=np.bool_)
    for day in np.unique(bars.day[open_days]):
        session = to_date(int(day))
        opened, closed = (int(at.timestamp()) for at in context.calendar.open_close(session))
        rows = open_days & (bars.day == day)
        outside |= rows & (
            (bars.second < opened) | (bars.second > closed + used.late_close_seconds)
        )
        hours = context.rules.hours(session)
        if hours.closing_auction is not None:
            # On a late day the call period moves with the close.
            length = datetime.combine(session, hours.close) - datetime.combine(
                session, hours.closing_auction
            )
            begins = closed - length // timedelta(seconds=1)
            auction |= rows & (bars.second >= begins) & (bars.second < closed)
    checked = int(open_days.sum())
    verdict.judge("hours", checked, np.flatnonzero(outside))
    verdict.judge("auction", checked, np.flatnonzero(auction & (bars.volume > 0)))


def _judge_grid(
    bars: _Minutes,
    clean: BoolArray,
    context: "Context",
    verdict: Verdict,
    used: MinuteSettings,
) -> None:
    if context.market not in used.tick_grid_markets:
        return
    rows = np.flatnonzero(clean & (bars.volume > 0))
    own = ~of_other_markets(np.arange(len(bars.exchanges)), bars.exchanges, context.market)
    at = np.cumsum(own) - 1
    off = off_grid(
        context.rules,
        at[bars.exchange[rows]],
        [Exchange(name) for name, known in zip(bars.exchanges, own, strict=True) if known],
        bars.day[rows],
        [getattr(bars, name)[rows] for name in PRICES],
        day_number(used.half_tick_from),
    )
    verdict.judge("tick_grid", len(rows), rows[off])


def _judge_range(bars: _Minutes, clean: BoolArray, verdict: Verdict, used: MinuteSettings) -> None:
    """No bar is further from the session's middle than a day's price limits are apart."""
    rows = np.flatnonzero(clean & (bars.volume > 0))
    order = np.lexsort((bars.close[rows], bars.cell[rows]))
    cell = bars.cell[rows][order]
    starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]]) if len(cell) else cell
    sizes = np.diff(np.r_[starts, len(cell)])
    middle = np.repeat(bars.close[rows][order][starts + sizes // 2], sizes).astype(np.float64)
    at = rows[order]
    most = 1 + used.max_move
    far = (bars.high[at] > middle * most) | (bars.low[at] * most < middle)
    verdict.judge("range", len(rows), np.sort(at[far]))


def _judge_repeats(
    bars: _Minutes, clean: BoolArray, verdict: Verdict, used: MinuteSettings
) -> None:
    """Bars that repeat over minutes, over symbols, or a session under another date."""
    rows = np.flatnonzero(clean & (bars.volume >= used.repeat_min_volume))
    order = rows[np.lexsort((bars.second[rows], bars.symbol[rows]))]
    equal = np.zeros(len(order), dtype=np.bool_)
    equal[1:] = bars.cell[order][1:] == bars.cell[order][:-1]
    for name in (*PRICES, "volume"):
        column = getattr(bars, name)[order]
        equal[1:] &= column[1:] == column[:-1]
    position = np.arange(len(order))
    run = position - np.maximum.accumulate(np.where(equal, 0, position))
    verdict.judge("stale", len(rows), np.sort(order[run >= used.stale_bars - 1]))

    values = [getattr(bars, name)[rows] for name in (*PRICES, "volume")]
    twins, others = _pairs(rows, values, bars.second[rows], bars.symbol)
    verdict.judge("twin", len(rows), rows[_enough(bars, rows, twins | others, used)])
    time = (bars.second - bars.day * 86_400)[rows]
    at = [*values, bars.symbol[rows]]
    # Of two equal sessions the later one is the copy: on the earlier evening there was none.
    _, copies = _pairs(rows, at, time, bars.day)
    verdict.judge("copied_session", len(rows), rows[_enough(bars, rows, copies, used)])


def _pairs(
    rows: IntArray, values: list[IntArray], when: IntArray, apart: IntArray
) -> tuple[BoolArray, BoolArray]:
    """Return the rows equal to one further ``apart`` at the same ``when``, and those equal to one
    before.
    """
    order = np.lexsort((apart[rows], *values, when))
    same = np.ones(max(len(rows) - 1, 0), dtype=np.bool_)
    for column in (*values, when):
        same &= column[order][1:] == column[order][:-1]
    same &= apart[rows][order][1:] != apart[rows][order][:-1]
    first, second = (np.zeros(len(rows), dtype=np.bool_) for _ in range(2))
    first[order[:-1][same]] = True
    second[order[1:][same]] = True
    return first, second


def _enough(bars: _Minutes, rows: IntArray, found: BoolArray, used: MinuteSettings) -> BoolArray:
    """Keep what is no chance: a symbol's day needs ``twin_min_bars`` and ``twin_share`` of it."""
    _, which = np.unique(bars.cell[rows], return_inverse=True)
    count = np.bincount(which, found) if len(rows) else np.zeros(0)
    enough = np.maximum(used.twin_min_bars, used.twin_share * np.bincount(which))
    kept: BoolArray = found & (count >= enough)[which]
    return kept


def _judge_daily(
    bars: _Minutes, verdict: Verdict, context: "Context", used: MinuteSettings
) -> None:
    """Bars lie inside the daily bar of their session, and add up to it."""
    daily = context.daily
    if daily is None or not len(daily) or not len(bars.day):
        return
    symbol, symbols = codes(daily["symbol"])
    number = {name: code for code, name in enumerate(bars.symbols)}
    basis, bases = codes(daily["basis"])
    known = np.array([number.get(name, -1) for name in symbols], dtype=np.int64)[symbol]
    raw = np.array([name == "raw" for name in bases], dtype=np.bool_)[basis]
    usable = (known >= 0) & raw & (numbers(daily, "volume") > 0)
    cell = (known * DAY_SPAN + numbers(daily, "session"))[usable]
    order = np.argsort(cell, kind="stable")
    cell = cell[order]
    whole = {name: numbers(daily, name)[usable][order] for name in (*PRICES, "volume")}
    if not len(cell):
        return
    at = np.minimum(np.searchsorted(cell, bars.cell), len(cell) - 1)
    compared = (cell[at] == bars.cell) & verdict.clean & (bars.volume > 0)
    high = whole["high"][at] * (1 + used.price_tolerance)
    low = whole["low"][at] * (1 - used.price_tolerance)
    outside = compared & ((bars.high > high) | (bars.low < low))
    verdict.judge(
        "outside_daily",
        int(compared.sum()),
        np.flatnonzero(outside),
        lambda row: (
            f"일봉 저가 {int(whole['low'][at[row]]):,} ~ 고가 {int(whole['high'][at[row]]):,}"
        ),
    )
    rows = np.flatnonzero(compared & ~outside)
    _judge_sums(bars, rows[np.lexsort((bars.second[rows], at[rows]))], at, whole, verdict, used)


def _judge_sums(
    bars: _Minutes,
    rows: IntArray,
    at: IntArray,
    whole: dict[str, FloatArray],
    verdict: Verdict,
    used: MinuteSettings,
) -> None:
    """Compare each symbol's day, added up, with its daily bar. ``rows`` are in order of time."""
    if not len(rows):
        return
    starts = np.flatnonzero(np.r_[True, np.diff(at[rows]) != 0])
    ends = np.r_[starts[1:], len(rows)] - 1
    day = at[rows[starts]]
    volume = np.add.reduceat(bars.volume[rows], starts) / whole["volume"][day]
    alike = {
        "시가": bars.open[rows[starts]] == whole["open"][day],
        "고가": np.maximum.reduceat(bars.high[rows], starts) == whole["high"][day],
        "저가": np.minimum.reduceat(bars.low[rows], starts) == whole["low"][day],
        "종가": bars.close[rows[ends]] == whole["close"][day],
        "거래량": (volume >= used.volume_low) & (volume <= used.volume_high),
    }
    verdict.agreements.append(
        Agreement(
            pair="분봉 합계와 일봉",
            rows=len(starts),
            rates={name: float(equal.mean()) for name, equal in alike.items()},
        )
    )
    off = ~np.logical_and.reduce(list(alike.values()))
    names = {int(rows[s]): [n for n, equal in alike.items() if not equal[i]]
             for i, s in enumerate(starts) if off[i]}  # fmt: skip
    verdict.judge(
        "daily_sum",
        len(starts),
        np.array(sorted(names), dtype=np.int64),
        lambda row: "다른 값: " + ", ".join(names[row]),
    )


def _lives(bars: _Minutes, clean: BoolArray, coverage: Coverage) -> None:
    rows = np.flatnonzero(clean)
    order = rows[np.lexsort((bars.day[rows], bars.symbol[rows]))]
    symbol = bars.symbol[order]
    starts = np.flatnonzero(np.r_[True, symbol[1:] != symbol[:-1]]) if len(order) else order
    ends = np.r_[starts[1:], len(order)] - 1
    for start, end in zip(starts, ends, strict=True):
        coverage.symbols[bars.symbols[int(symbol[start])]] = Life(
            group=bars.exchanges[int(bars.exchange[order[end]])],
            bars=int(end - start) + 1,
            halts=0,
            gaps=0,
            first=to_date(int(bars.day[order[start]])),
            last=to_date(int(bars.day[order[end]])),
        )
