"""The oracle of daily bars: the market's dated law, and what no honest record looks like."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from trading.domain.actions import ActionKind, in_effect_order
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.store.quality.bars import (
    DAY_SPAN,
    PRICES,
    Bars,
    codes,
    day_number,
    month,
    numbers,
    of_other_markets,
    off_grid,
    sort_bars,
    to_date,
)
from trading.store.quality.result import Coverage, Life, Verdict, count_months
from trading.store.quality.settings import DailySettings
from trading.store.quality.suite import run_suite

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.store.quality import Context

SHOWN = ("session", "symbol", "open", "high", "low", "close", "volume", "basis", "source")

# Ratios of splits and bonus issues worth more than any day's honest move.
_SPLIT_RATIOS = np.array(
    [p / q for p, q in ((3, 2), (5, 3), (2, 1), (5, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1),
                        (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (30, 1), (50, 1), (100, 1))]
)  # fmt: skip
_VALUE_WINDOW = 20
_MIX = np.uint64(0x9E3779B97F4A7C15)
# One row's evidence for or against a series being misplaced is capped: one wild day is no proof.
_SCORE_CAP = 3.0
_MOVE_CAP = (-0.12, 0.12)
# How far a price may be from where it was and still be back there, by the root of the sessions
# since: far after a jump that cannot be, less so after one that is only odd.
_WALK_FAR, _WALK, _WALK_MOST = 0.12, 0.06, 0.30
# A variance of returns below which a series does not move.
_NO_NOISE = 1e-8
_MIN_ROWS = 20


def judge_daily(table: "pa.Table", context: "Context", verdict: Verdict) -> Coverage:
    """Judge a batch of daily bars; return where its rows are."""
    settings = verdict.settings
    assert isinstance(settings, DailySettings)
    day = numbers(table, "session").astype(np.int64)
    volume = numbers(table, "volume")
    _suite(table, day, volume, verdict)
    future = day > day_number(context.as_of)
    verdict.judge("future", len(table), np.flatnonzero(future))
    past = () if context.history is None else (numbers(context.history, "session"),)
    days = context.days(day, *past)
    verdict.judge("calendar", len(table), np.flatnonzero(~np.isin(day, days)))

    exchange = codes(table["exchange"])
    foreign = of_other_markets(*exchange, context.market)
    verdict.judge("foreign", len(table), np.flatnonzero(foreign))

    clean = np.flatnonzero(verdict.clean)
    bars = sort_bars(context.history, table, clean, days)
    _judge_grid(bars, context, verdict, settings)
    blame, restated = _judge_limits(bars, context, verdict, settings)
    faults = blame.faults
    _judge_splits(
        bars, faults | np.roll(faults, 1) | blame.back | restated, context, verdict, settings
    )
    _judge_values(table, bars, verdict, settings)
    _judge_repeats(bars, blame.away, verdict, settings)
    _judge_order(bars, verdict, settings)
    _judge_shift(bars, verdict, settings)
    _judge_sessions(bars, day[clean], faults, context, verdict, settings)
    return _coverage(table, bars, verdict)


def _suite(table: "pa.Table", day: IntArray, volume: IntArray, verdict: Verdict) -> None:
    """Run Great Expectations; a halt has one price, its carried close."""
    texts = {name: codes(table[name]) for name in ("symbol", "exchange", "basis")}
    close = numbers(table, "close")
    halted = volume == 0
    opened, high, low = (
        np.where(halted, close, numbers(table, name)) for name in ("open", "high", "low")
    )
    # Each check of Great Expectations costs as much as a year of rows: two columns make one.
    columns: dict[str, np.ndarray] = {
        "key": texts["symbol"][0] * DAY_SPAN + day,
        "volume": volume,
        "high": high,
        "low": low,
        "upper": np.maximum(opened, close),
        "lower": np.minimum(opened, close),
    }
    for item, rows in run_suite("daily", columns, texts, verdict.settings.expectations):
        verdict.note(item.type, item.title, item.severity, len(table), rows)


def _judge_grid(bars: Bars, context: "Context", verdict: Verdict, used: DailySettings) -> None:
    """Raw prices of a market whose prints keep its ticks lie on the grid of their day."""
    if context.market not in used.tick_grid_markets:
        return
    rows = np.flatnonzero(bars.raw & bars.traded & (bars.row >= 0))
    prices = [getattr(bars, name)[rows] for name in PRICES]
    off = off_grid(
        context.rules,
        bars.exchange[rows],
        bars.exchanges,
        bars.day[rows],
        prices,
        day_number(used.half_tick_from),
    )
    verdict.judge("tick_grid", len(rows), bars.row[rows[off]])


@dataclass(frozen=True, slots=True)
class _Judged:
    """Each row against the row before it: base price, and whether it broke its bounds.

    ``odd`` rows move further than an honest one rarely does where no law limits them.
    """

    reference: IntArray
    beyond: BoolArray
    odd: BoolArray
    judged: BoolArray


def _judge_limits(
    bars: Bars, context: "Context", verdict: Verdict, used: DailySettings
) -> "tuple[_Blame, BoolArray]":
    """Find the rows that no legal trade could have made, and explain those that only look so.

    Returns which rows are at fault or away, and which had their base price restated by an action.
    """
    same, traded = bars.same, bars.traded
    step = np.diff(bars.session, prepend=0)
    plain = np.where(same, np.roll(bars.close, 1), 0)
    reference, restated = _restate(bars, context, plain)
    beyond, odd = _beyond(bars, context, reference, used)
    next_day = same & (step == 1) & np.roll(traded, 1)
    liquidated = _in_liquidation(bars, context, used)
    judged = traded & next_day & ~liquidated
    blame = _blame(bars, _Judged(reference, beyond, odd, judged), used.excursion_sessions)
    faults, shown = blame.faults, blame.shown

    def detail(row: int) -> str:
        at = at_row[row]
        base, close = int(reference[at]), int(bars.close[at])
        return f"기준가 {base:,} → 종가 {close:,} ({close / max(base, 1) - 1:+.1%})"

    in_batch = bars.row >= 0
    at_row = {int(bars.row[i]): i for i in np.flatnonzero((beyond | shown | restated) & in_batch)}
    checked = int((judged & in_batch).sum())
    verdict.judge("price_limit", checked, bars.row[faults & in_batch], detail)
    verdict.judge("excursion", checked, bars.row[shown & in_batch], detail)

    left = beyond & traded & in_batch & ~faults & ~shown
    would = _beyond(bars, context, plain, used)[0] if restated.any() else beyond
    by_action = restated & would & ~beyond & traded & in_batch
    gap = left & ~judged & ~liquidated & same & (step > 1)
    halt = left & ~judged & ~liquidated & same & (step == 1)
    for reason, rows in (
        ("기업행위(분할·권리락·배당)로 바뀐 기준가", by_action),
        ("정리매매: 가격 제한 없음", left & liquidated),
        ("거래정지 뒤 재개: 새 기준가", halt),
        ("빠진 거래일 뒤 첫 봉: 기준가 모름", gap),
        ("잘못된 값에서 제자리로 돌아온 봉", left & judged),
    ):
        verdict.explain(reason, bars.row[rows], detail)
    verdict.explain("첫 봉(신규상장 등): 기준가 없음", bars.row[_debuts(bars, context) & in_batch])
    return blame, restated


def _restate(bars: Bars, context: "Context", plain: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the base price of each row, and which of them an action of that morning changed."""
    reference = plain.copy()
    restated = np.zeros(len(bars), dtype=np.bool_)
    number = {name: code for code, name in enumerate(bars.symbols)}
    key = bars.symbol * DAY_SPAN + bars.day
    for action in sorted(context.actions, key=in_effect_order):
        code = number.get(action.symbol)
        if code is None or action.kind is ActionKind.DELISTING:
            continue
        ex_day = day_number(action.ex_date)
        at = int(np.searchsorted(key, code * DAY_SPAN + ex_day))
        held = 0 < at < len(bars) and bars.symbol[at] == bars.symbol[at - 1] == code
        # A vendor's adjusted prices contain the action already.
        if held and bars.day[at - 1] < ex_day and bars.raw[at] and bars.raw[at - 1]:
            reference[at] = action.ex_price(int(reference[at]))
            restated[at] = True
    return reference, restated


def _beyond(
    bars: Bars, context: "Context", reference: IntArray, used: DailySettings
) -> tuple[BoolArray, BoolArray]:
    """Return which rows leave their day's bounds around ``reference``, and which move oddly far.

    The law binds raw prices; a vendor's adjusted ones are given its rounding. Where the law
    knows no limit, only a move that no session has seen is out of bounds.
    """
    pair = bars.raw & np.roll(bars.raw, 1)
    rates = context.limit_rates(bars.exchanges, bars.days)
    beyond, near, odd = _loose_bounds(
        np.stack([getattr(bars, name) for name in PRICES]),
        reference,
        rates,
        bars.session,
        bars.exchange,
        used.adjusted_tolerance,
        used.adjusted_rounding,
        used.max_factor,
        used.max_wick,
        used.odd_move,
    )
    for code, exchange in enumerate(bars.exchanges):
        rows = np.flatnonzero(pair & near & (bars.exchange == code))
        if len(rows):
            sessions = bars.day[rows].astype("datetime64[D]")
            lower, upper = context.rules.limit_arrays(
                [exchange], reference[rows][:, None], sessions
            )
            outside = (bars.high[rows] > upper[:, 0]) | (bars.low[rows] < lower[:, 0])
            beyond[rows] = np.where(upper[:, 0] > 0, outside, beyond[rows])
    return beyond, odd


@njit(cache=True, nogil=True)
def _loose_bounds(
    prices: IntArray,
    reference: IntArray,
    rates: FloatArray,
    session: IntArray,
    exchange: IntArray,
    tolerance: float,
    rounding: int,
    max_factor: float,
    max_wick: float,
    odd_move: float,
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Return the rows out of bounds that allow for rounding, those on the way to a limit, and
    those that move oddly far where there is none.
    """
    beyond = np.zeros(len(reference), dtype=np.bool_)
    near = np.zeros(len(reference), dtype=np.bool_)
    odd = np.zeros(len(reference), dtype=np.bool_)
    for i in range(len(reference)):
        base = float(reference[i])
        if base <= 0:
            continue
        opened, high, low, close = prices[0, i], prices[1, i], prices[2, i], prices[3, i]
        rate = rates[session[i], exchange[i]]
        if rate > 0:
            slack = base * tolerance + rounding
            beyond[i] = high > base * (1 + rate) + slack or low < base * (1 - rate) - slack
            # Rounding to ticks never takes half of a limit away.
            near[i] = max(high - base, base - low) > base * rate / 2
        else:
            beyond[i] = (
                close > base * max_factor
                or close * max_factor < base
                or high > max(opened, close, base) * (1 + max_wick)
                or low * (1 + max_wick) < min(opened, close, base)
            )
            # Other prices are there from the open on; a crash takes the day.
            least, most = min(opened, close), max(opened, close)
            odd[i] = least > base * (1 + odd_move) or most * (1 + odd_move) < base
    return beyond, near, odd


@dataclass(frozen=True, slots=True)
class _Blame:
    """Which rows are at fault, not back from one, and back; and which later rows show."""

    faults: BoolArray
    away: BoolArray
    back: BoolArray
    shown: BoolArray


def _blame(bars: Bars, state: _Judged, reach: int) -> _Blame:
    """Find the rows at fault.

    A row that jumps out of its bounds is at fault, unless it comes back to where the series was
    before a jump at most ``reach`` rows ago. All rows between were wrong too, but nobody could
    know: what is set aside on an evening must not hang on what comes later. So for a jump that
    leaves a row which could not be judged, and for an odd move that another one takes back.
    """
    faults, away, back, shown = (np.zeros(len(bars), dtype=np.bool_) for _ in range(4))
    ends = np.searchsorted(bars.symbol, bars.symbol, side="right")
    left: list[int] = []
    for at in np.flatnonzero(state.beyond & state.judged).tolist():
        before = at - 1
        if (
            state.beyond[before]
            and not state.judged[before]
            and _near(int(bars.close[at]), int(state.reference[before]), 2, _WALK_FAR)
        ):
            shown[before] = back[at] = True
            continue
        left = [one for one in left if one >= at - reach and bars.symbol[one] == bars.symbol[at]]
        start = _left_from(bars, state, left, at, _WALK_FAR)
        if start is None:
            faults[at] = True
            away[at : min(at + reach, int(ends[at]))] = True
            left.append(at)
        else:
            shown[start + 1 : at] = back[at] = True
            away[at : int(ends[at])] = False
            left = [one for one in left if one < start]
    odd = state.odd & state.judged & ~faults & ~np.roll(faults, 1)
    left = []
    for at in np.flatnonzero(odd).tolist():
        left = [one for one in left if one >= at - reach and bars.symbol[one] == bars.symbol[at]]
        start = _left_from(bars, state, left, at, _WALK)
        if start is None:
            left.append(at)
        else:
            shown[start:at] = True
            left = [one for one in left if one < start]
    return _Blame(faults, away, back, shown & ~faults)


def _left_from(bars: Bars, state: _Judged, left: list[int], at: int, walk: float) -> int | None:
    """Return the jump whose starting level the row ``at`` comes back to; the oldest one."""
    for start in left:
        level = int(state.reference[start])
        if _near(int(bars.close[at]), level, at - start + 1, walk):
            return start
    return None


def _near(price: int, level: int, sessions: int, walk: float) -> bool:
    """Whether ``price`` is where a series at ``level`` may honestly be some sessions later."""
    honest = 1 + min(_WALK_MOST, walk * float(np.sqrt(sessions)))
    return level > 0 and level / honest <= price <= level * honest


def _in_liquidation(bars: Bars, context: "Context", used: DailySettings) -> BoolArray:
    """Return the rows of the last sessions before a delisting, which know no price limit."""
    found = np.zeros(len(bars), dtype=np.bool_)
    ends = dict(context.delisted)
    ends |= {
        action.symbol: action.ex_date
        for action in context.actions
        if action.kind is ActionKind.DELISTING
    }
    begins: dict[date, int] = {}
    for code, name in enumerate(bars.symbols):
        if (end := ends.get(name)) is None:
            continue
        if end not in begins:
            begins[end] = _sessions_to(end, used.liquidation_sessions, context)
        low, high = np.searchsorted(bars.symbol, [code, code + 1])
        found[low:high] = bars.day[low:high] >= begins[end]
    return found


def _sessions_to(end: date, sessions: int, context: "Context") -> int:
    """Return the day, counted from 1970, that lies so many sessions before the last one by ``end``.

    By the calendar: the batch may end years before the name does.
    """
    last = max(min(end, context.rules.last), context.rules.first)
    first = max(last - timedelta(days=2 * sessions + 30), context.rules.first)
    known = context.calendar.sessions(first, last)
    return day_number(known[max(len(known) - 1 - sessions, 0)] if known else last)


def _debuts(bars: Bars, context: "Context") -> BoolArray:
    first = np.full(len(bars.symbols), -1, dtype=np.int64)
    known = context.listed
    for code, name in enumerate(bars.symbols):
        if (listed := known.get(name)) is not None:
            first[code] = day_number(listed)
    debuts: BoolArray = ~bars.same & (bars.day == first[bars.symbol])
    return debuts


def _judge_splits(
    bars: Bars, settled: BoolArray, context: "Context", verdict: Verdict, used: DailySettings
) -> None:
    """Find overnight steps of a split's ratio that no action explains, where no limit forbids them.

    A crash trades many times its usual value; after a split, the same money changes hands.
    """
    same, traded = bars.same, bars.traded
    before = np.where(same, np.roll(bars.close, 1), 0).astype(np.float64)
    free = context.limit_rates(bars.exchanges, bars.days) == 0
    usual = same & traded & np.roll(traded, 1) & (before > 0) & ~settled
    usual &= free[bars.session, bars.exchange]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(usual, bars.open / before, 1.0)
    size = np.where(gap > 0, np.maximum(gap, 1 / np.maximum(gap, 1e-9)), 1.0)
    found = []
    value = bars.close.astype(np.float64) * bars.volume
    for at in np.flatnonzero(usual & (size >= 1 + used.split_gap) & (bars.row >= 0)):
        upward = gap[at] > 1
        closing = bars.close[at] / before[at] if upward else before[at] / bars.close[at]
        ratio = _SPLIT_RATIOS[np.argmin(np.abs(np.log(_SPLIT_RATIOS / size[at])))]
        near = max(abs(np.log(size[at] / ratio)), abs(np.log(closing / ratio)))
        start = int(np.searchsorted(bars.symbol[:at], bars.symbol[at]))
        past = value[max(start, at - _VALUE_WINDOW) : at]
        past = past[past > 0]
        if near <= used.split_tolerance and len(past) >= _VALUE_WINDOW // 2:
            busy = value[at] / float(np.median(past))
            if busy <= used.split_max_value_ratio:
                found.append(at)

    def detail(row: int) -> str:
        at = at_row[row]
        return f"전일 종가 {int(before[at]):,} → 시가 {int(bars.open[at]):,} ({gap[at]:.3f}배)"

    at_row = {int(bars.row[at]): at for at in found}
    rows = bars.row[np.array(found, dtype=np.int64)]
    verdict.judge("split_like", int((usual & (bars.row >= 0)).sum()), rows, detail)


def _judge_values(table: "pa.Table", bars: Bars, verdict: Verdict, used: DailySettings) -> None:
    """The traded value lies between volume at the low and at the high; caps are price × shares."""
    rows = bars.row[bars.raw & bars.traded & (bars.row >= 0)]
    low, high, close, volume = (
        numbers(table, name)[rows].astype(np.float64) for name in ("low", "high", "close", "volume")
    )
    value = numbers(table, "value", np.nan)[rows]
    known = ~np.isnan(value)
    with np.errstate(invalid="ignore"):
        off = (value < low * volume * (1 - used.value_tolerance)) | (
            value > high * volume * (1 + used.value_tolerance)
        )
    verdict.judge("value", int(known.sum()), rows[known & off])
    cap = numbers(table, "market_cap", np.nan)[rows]
    shares = numbers(table, "shares", np.nan)[rows]
    with np.errstate(invalid="ignore"):
        off = np.abs(cap - close * shares) > cap * used.value_tolerance
    verdict.judge("market_cap", int((~np.isnan(cap * shares)).sum()), rows[off])


def _judge_repeats(bars: Bars, away: BoolArray, verdict: Verdict, used: DailySettings) -> None:
    """Bars that repeat over sessions, over symbols, or a whole session over another date."""
    equal = bars.same
    for name in (*PRICES, "volume"):
        column = getattr(bars, name)
        equal &= column == np.roll(column, 1)
    position = np.arange(len(bars))
    start = np.maximum.accumulate(np.where(equal, 0, position))
    many = bars.volume >= used.repeat_min_volume
    stale = (position - start >= used.stale_sessions - 1) & many & (bars.row >= 0)
    verdict.judge("stale", int((many & (bars.row >= 0)).sum()), bars.row[stale])

    busy = np.flatnonzero(many)
    digest = _digest(bars, busy)
    alike = np.flatnonzero(_repeated(digest))
    members, groups = busy[alike], digest[alike]
    _judge_twins(bars, members, groups, away, len(busy), verdict)
    _judge_copies(bars, members, groups, busy, verdict, used)


def _digest(bars: Bars, rows: IntArray) -> "np.ndarray":
    """Return a 64-bit mix of each bar; equal bars have equal mixes."""
    return _mixed(np.stack([getattr(bars, name) for name in (*PRICES, "volume")]), rows)


@njit(cache=True, nogil=True)
def _mixed(columns: IntArray, rows: IntArray) -> "np.ndarray":
    digest = np.empty(len(rows), dtype=np.uint64)
    for i in range(len(rows)):
        mix = np.uint64(0)
        for k in range(len(columns)):
            mix = (mix ^ np.uint64(columns[k, rows[i]])) * _MIX
            mix ^= mix >> np.uint64(29)
        digest[i] = mix
    return digest


@njit(cache=True, nogil=True)
def _repeated(digest: "np.ndarray") -> BoolArray:
    """Return which numbers occur more than once, by open addressing."""
    size = 16
    while size < 2 * len(digest):
        size *= 2
    mask = np.uint64(size - 1)
    first = np.full(size, -1, dtype=np.int64)
    again = np.zeros(len(digest), dtype=np.bool_)
    for i in range(len(digest)):
        slot = (digest[i] ^ (digest[i] >> np.uint64(32))) & mask
        while first[slot] >= 0 and digest[first[slot]] != digest[i]:
            slot = (slot + np.uint64(1)) & mask
        if first[slot] < 0:
            first[slot] = i
        else:
            again[i] = again[first[slot]] = True
    return again


def _judge_twins(
    bars: Bars,
    members: IntArray,
    groups: "np.ndarray",
    away: BoolArray,
    checked: int,
    verdict: Verdict,
) -> None:
    """Two symbols with one bar on one day: the one that left its own level has the other's.

    Where neither or both did, neither can be trusted.
    """
    order = np.lexsort((bars.symbol[members], bars.day[members], groups))
    rows, group = members[order], groups[order]
    pair = (group[1:] == group[:-1]) & (bars.day[rows[1:]] == bars.day[rows[:-1]])
    pair &= bars.symbol[rows[1:]] != bars.symbol[rows[:-1]]
    left, right = rows[:-1][pair], rows[1:][pair]
    found = np.concatenate([left[away[left] | ~away[right]], right[away[right] | ~away[left]]])
    found = np.unique(bars.row[found])
    verdict.judge("twin", checked, found[found >= 0])


def _judge_copies(
    bars: Bars,
    members: IntArray,
    groups: "np.ndarray",
    busy: IntArray,
    verdict: Verdict,
    used: DailySettings,
) -> None:
    """Of two sessions on which many symbols have the same bars, one is a copy."""
    order = np.lexsort((bars.session[members], bars.symbol[members], groups))
    rows, group = members[order], groups[order]
    pair = (group[1:] == group[:-1]) & (bars.symbol[rows[1:]] == bars.symbol[rows[:-1]])
    first, second = rows[:-1][pair], rows[1:][pair]
    n = len(bars.days)
    total = np.bincount(bars.session[busy], minlength=n)
    pairs, which = np.unique(bars.session[first] * n + bars.session[second], return_inverse=True)
    size = np.bincount(which, minlength=len(pairs))
    copies, copied = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    for at in np.flatnonzero(size > 1).tolist():
        days = int(pairs[at]) // n, int(pairs[at]) % n
        if size[at] >= used.copied_share * min(total[days[0]], total[days[1]]):
            # The copy follows from the session before it worse than the original does.
            misfit = [_misfit(bars, side[which == at]) for side in (first, second)]
            copies[days[1]] |= misfit[1] >= misfit[0]
            copied[list(days)] = True
    for check, sessions in (("copied_session", copies), ("copied_maybe", copied & ~copies)):
        bad = bars.row[sessions[bars.session] & (bars.row >= 0)]
        verdict.judge(check, int((total > 0).sum()), np.sort(bad))


def _misfit(bars: Bars, rows: IntArray) -> float:
    """Return the usual size of the step from the close before to the open."""
    inner = rows[rows > 0]
    inner = inner[bars.symbol[inner - 1] == bars.symbol[inner]]
    if not len(inner):
        return 0.0
    return float(np.median(np.abs(np.log(bars.open[inner] / bars.close[inner - 1]))))


def _judge_order(bars: Bars, verdict: Verdict, used: DailySettings) -> None:
    """Find runs of rows whose open and close are exchanged.

    The open is nearer to the close before it than the close is to the open before it; where it
    is the other way round for long, the columns are swapped.
    """
    # Thin trading and coarse prices make opens and closes of their own.
    liquid = (bars.volume >= used.repeat_min_volume) & (
        bars.close * used.adjusted_tolerance >= used.adjusted_rounding
    )
    usual = bars.same & liquid & np.roll(liquid, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        opened, closed = np.log(bars.open), np.log(bars.close)
        score = np.abs(opened - np.roll(closed, 1)) - np.abs(closed - np.roll(opened, 1))
    score[~usual] = 0.0
    scale = _spread(score, bars.symbol, usual, len(bars.symbols))
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence = np.where(usual, score / scale[bars.symbol], 0.0)
    evidence = np.clip(np.nan_to_num(evidence), -_SCORE_CAP, _SCORE_CAP)
    bad = _runs(evidence, bars.symbol, used.order_score) & (bars.row >= 0)
    verdict.judge("swapped_columns", int((usual & (bars.row >= 0)).sum()), bars.row[bad])


def _judge_shift(bars: Bars, verdict: Verdict, used: DailySettings) -> None:
    """Find runs of rows that move with the market of the session before or after.

    The evidence of a row is the log likelihood ratio of the two, overnight and intraday, under
    the symbol's own beta.
    """
    same, traded, n_days = bars.same, bars.traded, len(bars.days)
    usual = same & traded & np.roll(traded, 1) & (np.diff(bars.session, prepend=0) == 1)
    judged = usual & (bars.row >= 0)
    count = np.bincount(bars.session[usual], minlength=n_days)
    many = count >= used.shift_min_symbols
    bad = np.zeros(len(bars), dtype=np.bool_)
    if many.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            opened, closed = np.log(bars.open), np.log(bars.close)
            moves = [opened - np.roll(closed, 1), closed - opened]
        moves = [np.where(usual, np.clip(move, *_MOVE_CAP), 0.0) for move in moves]
        market = [
            np.bincount(bars.session, move, minlength=n_days) / np.maximum(count, 1)
            for move in moves
        ]
        move, level = np.stack(moves), np.stack(market)
        for lag in (1, -1):
            other = np.clip(bars.session - lag, 0, n_days - 1)
            inside = usual & (other == bars.session - lag) & many[bars.session] & many[other]
            bad |= _shifted(move, level, bars.session, other, inside, bars.symbol, used.shift_score)
    verdict.judge("shifted_rows", int(judged.sum()), bars.row[bad & (bars.row >= 0)])


@njit(cache=True, nogil=True)
def _shifted(
    move: FloatArray,
    level: FloatArray,
    here: IntArray,
    there: IntArray,
    inside: BoolArray,
    symbol: IntArray,
    threshold: float,
) -> BoolArray:
    """Mark, in each symbol, the runs of rows that move with the market of ``there``.

    A share that moves against the market of its own session is not yet one of another day: the
    run must also be likelier than one that moves with none, by a quarter of the threshold.
    """
    n = len(symbol)
    bad = np.zeros(n, dtype=np.bool_)
    start = 0
    while start < n:
        end = start
        rows = 0
        while end < n and symbol[end] == symbol[start]:
            rows += inside[end]
            end += 1
        if rows >= _MIN_ROWS:
            beta = np.zeros(len(move))
            scale = np.zeros(len(move))
            for k in range(len(move)):
                with_here = with_there = size_here = size_there = _NO_NOISE
                for i in range(start, end):
                    if inside[i]:
                        a, b = level[k, here[i]], level[k, there[i]]
                        with_here += move[k, i] * a
                        with_there += move[k, i] * b
                        size_here += a * a
                        size_there += b * b
                beta[k] = max(with_here / size_here, with_there / size_there, 0.0)
                miss_here = miss_there = 0.0
                for i in range(start, end):
                    if inside[i]:
                        miss_here += (move[k, i] - beta[k] * level[k, here[i]]) ** 2
                        miss_there += (move[k, i] - beta[k] * level[k, there[i]]) ** 2
                scale[k] = 0.5 / max(min(miss_here, miss_there) / rows, _NO_NOISE)
            total = best = alone = best_alone = 0.0
            begin = last = start
            for i in range(start, end + 1):
                against = with_none = 0.0
                if i < end and inside[i]:
                    for k in range(len(move)):
                        miss = (move[k, i] - beta[k] * level[k, there[i]]) ** 2
                        gain = (move[k, i] - beta[k] * level[k, here[i]]) ** 2 - miss
                        against += min(max(gain * scale[k], -_SCORE_CAP), _SCORE_CAP)
                        gain = move[k, i] ** 2 - miss
                        with_none += min(max(gain * scale[k], -_SCORE_CAP), _SCORE_CAP)
                if i == end or total + against <= 0.0:
                    if best > threshold and best_alone > threshold / 4:
                        bad[begin : last + 1] = True
                    total = best = alone = best_alone = 0.0
                    begin = i + 1
                    continue
                total += against
                alone += with_none
                if total > best:
                    best, best_alone, last = total, alone, i
        start = end
    return bad


def _spread(score: FloatArray, symbol: IntArray, usual: BoolArray, n_symbols: int) -> FloatArray:
    rows = np.bincount(symbol, usual, minlength=n_symbols)
    size = np.bincount(symbol, np.abs(score), minlength=n_symbols)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rows >= _MIN_ROWS, size / rows, np.inf)


@njit(cache=True, nogil=True)
def _runs(evidence: FloatArray, symbol: IntArray, threshold: float) -> BoolArray:
    """Mark, in each symbol, the runs of rows whose evidence adds up beyond the threshold."""
    n = len(evidence)
    bad = np.zeros(n, dtype=np.bool_)
    total = best = 0.0
    begin = last = 0
    for i in range(n + 1):
        fresh = i == n or (i > 0 and symbol[i] != symbol[i - 1])
        if fresh or total + evidence[i] <= 0.0:
            if best > threshold:
                bad[begin : last + 1] = True
            total = best = 0.0
            begin = i
        if i < n:
            total = max(total + evidence[i], 0.0)
            if total == 0.0:
                begin = i + 1
            elif total > best:
                best, last = total, i
    return bad


def _judge_sessions(
    bars: Bars,
    day: IntArray,
    faults: BoolArray,
    context: "Context",
    verdict: Verdict,
    used: DailySettings,
) -> None:
    """Sessions without rows, with few of them, or with many faults at once."""
    present = np.bincount(bars.session, minlength=len(bars.days))
    # Who was there before and is there again later was left out; who never comes back may be gone.
    left_out, ended = _absent(bars)
    first, last = context.asked(day)
    asked = (bars.days >= first) & (bars.days <= last)
    filled = asked & (present > 0)
    missing = asked & (present == 0)
    inside = left_out >= used.market_min_symbols
    _found(verdict, "missing_session", asked, missing & inside, bars.days)
    tail = np.arange(len(bars.days)) > (int(bars.session.max()) if len(bars) else -1)
    _found(verdict, "missing_tail", asked, missing & tail, bars.days)
    for check, gone in (("thin_session", left_out), ("thin_tail", ended)):
        thin = filled & (gone >= used.market_min_symbols)
        thin &= gone > (1 - used.thin_share) * (present + gone)
        _found(verdict, check, filled, thin, bars.days, {"rows": present, "absent": gone})

    wrong = np.bincount(bars.session[faults], minlength=len(bars.days))
    wild = (wrong >= used.wild_share * present) & (present >= used.wild_min_symbols)
    rows = np.sort(bars.row[wild[bars.session] & (bars.row >= 0)])
    verdict.judge("wild_session", int((present > 0).sum()), rows)

    gaps = bars.same & (np.diff(bars.session, prepend=0) > 1) & (bars.row >= 0)
    missed = np.diff(bars.session, prepend=0) - 1
    at_row = {int(bars.row[i]): i for i in np.flatnonzero(gaps)}
    verdict.judge(
        "gap",
        int((bars.row >= 0).sum()),
        bars.row[gaps],
        lambda row: f"바로 앞 {int(missed[at_row[row]]):,}거래일이 없음",
    )


def _absent(bars: Bars) -> tuple[IntArray, IntArray]:
    """Return how many symbols lack each session inside their rows, and how many ended before it.

    A symbol counts as ended on the one session after its last.
    """
    n = len(bars.days)
    step = np.diff(bars.session, prepend=0)
    after = np.flatnonzero(bars.same & (step > 1))
    change = np.bincount(bars.session[after - 1] + 1, minlength=n + 1)
    change = change - np.bincount(bars.session[after], minlength=n + 1)
    last = bars.session[np.flatnonzero(~np.roll(bars.same, -1))] if len(bars) else after
    return np.cumsum(change)[:n], np.bincount(last + 1, minlength=n + 1)[:n]


def _found(
    verdict: Verdict,
    check: str,
    looked_at: BoolArray,
    failed: BoolArray,
    days: "np.ndarray",
    counts: Mapping[str, IntArray] | None = None,
) -> None:
    examples: list[dict[str, Any]] = [
        {"session": to_date(int(days[at])).isoformat()}
        | {name: int(count[at]) for name, count in (counts or {}).items()}
        for at in np.flatnonzero(failed)
    ]
    verdict.found(check, int(looked_at.sum()), examples)


def _coverage(table: "pa.Table", bars: Bars, verdict: Verdict) -> Coverage:
    """Count rows and failures by month, exchange and source, and each symbol's life."""
    coverage = count_months(table, verdict, "exchange")
    passed = np.zeros(len(table), dtype=np.bool_)
    passed[np.flatnonzero(verdict.clean)] = True
    kept = np.flatnonzero((bars.row >= 0) & passed[bars.row])
    if not len(kept):
        return coverage
    step = np.where(bars.same, np.diff(bars.session, prepend=0) - 1, 0)
    n = len(bars.symbols)
    symbol = bars.symbol[kept]
    rows = np.bincount(symbol, minlength=n)
    halts = np.bincount(symbol, bars.volume[kept] == 0, minlength=n)
    gaps = np.bincount(symbol, step[kept], minlength=n)
    starts = np.flatnonzero(np.r_[True, symbol[1:] != symbol[:-1]])
    ends = np.r_[starts[1:], len(symbol)] - 1
    for start, end in zip(kept[starts], kept[ends], strict=True):
        code = int(bars.symbol[start])
        coverage.symbols[bars.symbols[code]] = Life(
            group=str(bars.exchanges[bars.exchange[end]].value),
            bars=int(rows[code]),
            halts=int(halts[code]),
            gaps=int(gaps[code]),
            first=to_date(int(bars.day[start])),
            last=to_date(int(bars.day[end])),
        )
    missing = Counter[tuple[str, str]]()
    for at in kept[step[kept] > 0]:
        group = str(bars.exchanges[bars.exchange[at]].value)
        for session in range(int(bars.session[at] - step[at]), int(bars.session[at])):
            missing[month(int(bars.days[session])), group] += 1
    coverage.missing.update(missing)
    return coverage
