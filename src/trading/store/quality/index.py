"""The oracle of index levels and exchange rates: each series against its own past."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.store.quality.bars import DAY_SPAN, codes, day_number, month, numbers, to_date
from trading.store.quality.result import Coverage, Life, Verdict, count_months
from trading.store.quality.settings import IndexSettings
from trading.store.quality.suite import run_suite

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.store.quality import Context

SHOWN = ("session", "name", "open", "high", "low", "close", "source")

# How slowly a series forgets how far it used to move: half in 60 rows.
_MEMORY = 1 - 0.5 ** (1 / 60)
# A move counts for at most this many times the usual one when the usual one is learned.
_LEARNED_CAP = 6.0
# Series are dated by day; within a week of the last good level no more room is given.
_WEEK_DAYS = 7.0


def judge_index(table: "pa.Table", context: "Context", verdict: Verdict) -> Coverage:
    """Judge a batch of levels; return where its rows are."""
    settings = verdict.settings
    assert isinstance(settings, IndexSettings)
    name, names = codes(table["name"])
    day = numbers(table, "session").astype(np.int64)
    close = numbers(table, "close")
    opened = _filled(table, "open", close)
    columns = {
        "key": name * DAY_SPAN + day,
        "open": opened,
        "high": _filled(table, "high", np.maximum(opened, close)),
        "low": _filled(table, "low", np.minimum(opened, close)),
        "close": close,
    }
    texts = {"name": (name, names)}
    for item, rows in run_suite("index", columns, texts, settings.expectations):
        verdict.note(item.type, item.title, item.severity, len(table), rows)
    verdict.judge("future", len(table), np.flatnonzero(day > day_number(context.as_of)))
    days = context.days(day)
    bound = np.array([text not in settings.off_calendar for text in names], dtype=np.bool_)[name]
    # The calendar is stated as far as the market's law; a longer record is not wrong before it.
    bound &= (day >= day_number(context.rules.first)) & (day <= day_number(context.rules.last))
    verdict.judge("calendar", int(bound.sum()), np.flatnonzero(bound & ~np.isin(day, days)))

    series = _Series(table, context, verdict.clean)
    found = _find(series, settings)
    _judge_levels(series, found, verdict)
    _judge_stale(series, verdict, settings)
    coverage = count_months(table, verdict, "name")
    _judge_gaps(series, bound, days, verdict, coverage)
    return coverage


def _filled(table: "pa.Table", name: str, instead: FloatArray) -> FloatArray:
    column = numbers(table, name, np.nan)
    return np.where(np.isnan(column), instead, column)


class _Series:
    """The rows of the batch and of the history before it, by series and day."""

    def __init__(self, table: "pa.Table", context: "Context", clean: BoolArray) -> None:
        import pyarrow as pa

        picked = ["session", "name", "close"]
        whole, before = table.select(picked), 0
        if context.history is not None:
            before = len(context.history)
            whole = pa.concat_tables([context.history.select(picked), whole])
        code, self.names = codes(whole["name"])
        value = numbers(whole, "close")
        # What came before was not necessarily let through.
        usable = np.concatenate([np.isfinite(value[:before]) & (value[:before] > 0), clean])
        keep = np.flatnonzero(usable)
        day = numbers(whole, "session").astype(np.int64)[keep]
        order = np.lexsort((day, code[keep]))
        self.row: IntArray = np.where(keep >= before, keep - before, -1)[order]
        self.name: IntArray = code[keep][order]
        self.day: IntArray = day[order]
        self.value: FloatArray = value[keep][order]


@dataclass(frozen=True, slots=True)
class _Found:
    """What each row is against its series' past: the last good level, rows away from it, rows
    with the level of another series, and rows with the very value of another.
    """

    level: FloatArray
    away: BoolArray
    mixed: dict[int, int]
    shared: BoolArray


def _find(series: "_Series", used: IndexSettings) -> _Found:
    """Walk all series; rows that are another series' teach their own nothing, so walk again."""
    skipped = np.zeros(len(series.name), dtype=np.bool_)
    pairs = _equal_pairs(series)
    while True:
        level, scale, away = _walk(
            series.value,
            series.day,
            series.name,
            skipped,
            used.warm_up,
            used.jump_scales,
            used.min_jump,
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            distance = np.nan_to_num(np.abs(np.log(series.value / level)) / scale)
        mixed = _mixed(series, level, scale, distance, used)
        taken = np.zeros(len(skipped), dtype=np.bool_)
        taken[list(mixed)] = True
        shared = taken & False
        for left, right in pairs:
            # The one further from its own level took the value of the other.
            further = int(np.sign(round(math.log2((distance[left] + 1) / (distance[right] + 1)))))
            shared[left] |= further >= 0
            shared[right] |= further <= 0
            taken[left if further > 0 else right] |= further != 0
        if not (taken & ~skipped).any():
            return _Found(level, away, mixed, shared)
        skipped |= taken


def _equal_pairs(series: "_Series") -> list[tuple[int, int]]:
    """Return the rows of two series that have the same value on the same day."""
    order = np.lexsort((series.name, series.value, series.day))
    pair = (np.diff(series.day[order]) == 0) & (np.diff(series.value[order]) == 0)
    return list(zip(order[:-1][pair].tolist(), order[1:][pair].tolist(), strict=True))


def _mixed(
    series: "_Series",
    level: FloatArray,
    scale: FloatArray,
    distance: FloatArray,
    used: IndexSettings,
) -> dict[int, int]:
    """Return the rows that have another series' level, with the number of that series."""
    starts = np.searchsorted(series.name, np.arange(len(series.names) + 1)).tolist()
    taken: dict[int, tuple[int, int]] = {}
    for at in np.flatnonzero(distance >= used.mixed_scales).tolist():
        for code, (low, high) in enumerate(pairwise(starts)):
            if code == series.name[at] or low == high:
                continue
            other = min(low + int(np.searchsorted(series.day[low:high], series.day[at])), high - 1)
            off = abs(np.log(series.value[at] / level[other])) / scale[other]
            if off <= used.mixed_within:
                taken[at] = (code, other)
    # A crash may end at another series' level by chance; then that one still has its own value.
    return {
        at: code
        for at, (code, other) in taken.items()
        if series.day[other] != series.day[at] or other in taken
    }


@njit(cache=True, nogil=True)
def _walk(
    value: FloatArray,
    day: IntArray,
    name: IntArray,
    skipped: BoolArray,
    warm_up: int,
    jump_scales: float,
    min_jump: float,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return each row's last good level and usual move before it, and whether it is too far away.

    The usual move is learned from good rows only; a level that stays away is believed when it
    has stayed for longer than its distance could take to walk.
    """
    n = len(value)
    level = np.full(n, np.nan)
    scale = np.full(n, np.nan)
    away = np.zeros(n, dtype=np.bool_)
    start = 0
    while start < n:
        end = start
        while end < n and name[end] == name[start]:
            end += 1
        first = min(start + warm_up, end)
        moves = np.zeros(max(first - start - 1, 0))
        for i in range(start + 1, first):
            moves[i - start - 1] = abs(np.log(value[i] / value[i - 1]))
        if first < end:
            # The mean size of a normal move is 1.18 times the median one.
            usual = max(1.18 * np.median(moves), 1e-6)
            # The warm-up has no past of its own: its median stands in for the last good level.
            good = np.median(value[start:first])
            for i in range(first - 1, start - 1, -1):
                if abs(np.log(value[i] / good)) <= max(jump_scales * usual, min_jump):
                    good = value[i]
                    break
            good_day = day[first - 1]
            for i in range(first, end):
                level[i] = good
                scale[i] = usual
                move = abs(np.log(value[i] / good))
                room = max(jump_scales * usual, min_jump)
                room *= np.sqrt(max(1.0, (day[i] - good_day) / _WEEK_DAYS))
                away[i] = move > room
                if away[i] or skipped[i]:
                    continue
                usual = max((1 - _MEMORY) * usual + _MEMORY * min(move, _LEARNED_CAP * usual), 1e-6)
                good = value[i]
                good_day = day[i]
        start = end
    return level, scale, away


def _judge_levels(series: _Series, found: _Found, verdict: Verdict) -> None:
    """Levels too far from the series' own, and those that are another series' own."""
    mine = series.row >= 0
    checked = int((mine & ~np.isnan(found.level)).sum())
    at_row = {int(series.row[i]): i for i in np.flatnonzero(mine & found.away)}

    def detail(row: int) -> str:
        at = at_row[row]
        return f"앞선 수준 {found.level[at]:,.2f} → {series.value[at]:,.2f}"

    verdict.judge("jump", checked, series.row[found.away & mine], detail)
    foreign = {
        int(series.row[at]): series.names[code] for at, code in found.mixed.items() if mine[at]
    }
    rows = np.array(sorted(foreign), dtype=np.int64)
    verdict.judge("mixed", checked, rows, lambda row: f"{foreign[row]}의 수준")
    verdict.judge("shared", int(mine.sum()), series.row[found.shared & mine])


def _judge_stale(series: _Series, verdict: Verdict, used: IndexSettings) -> None:
    """A value repeated for longer than the series' own past makes likely."""
    equal = np.zeros(len(series.name), dtype=np.bool_)
    equal[1:] = (np.diff(series.name) == 0) & (np.diff(series.value) == 0)
    position = np.arange(len(equal))
    run = position - np.maximum.accumulate(np.where(equal, 0, position))
    start = np.searchsorted(series.name, series.name)
    past = np.concatenate([[0], np.cumsum(equal)])
    before = position - run
    seen = before - start
    chance = (past[before] - past[start] + 1) / (seen + 2)
    stale = (run >= 1) & (chance ** run.astype(np.float64) < used.stale_chance)
    mine = series.row >= 0
    verdict.judge("stale", int(mine.sum()), series.row[stale & mine])


def _judge_gaps(
    series: _Series, bound: BoolArray, days: IntArray, verdict: Verdict, coverage: Coverage
) -> None:
    """Sessions missing inside a series that follows the market's calendar."""
    clean = verdict.clean
    holes = []
    for code, text in enumerate(series.names):
        mine = np.flatnonzero((series.name == code) & (series.row >= 0))
        mine = mine[clean[series.row[mine]]]
        if not len(mine):
            continue
        known = series.day[mine]
        missing = np.zeros(0, dtype=np.int64)
        if bound[series.row[mine]].any():
            inside = days[(days >= known[0]) & (days <= known[-1])]
            missing = np.setdiff1d(inside, known)
        for day in missing:
            coverage.missing[month(int(day)), text] += 1
            holes.append({"session": to_date(int(day)).isoformat(), "name": text})
        coverage.symbols[text] = Life(
            group=text,
            bars=len(mine),
            halts=0,
            gaps=len(missing),
            first=to_date(int(known[0])),
            last=to_date(int(known[-1])),
        )
    verdict.found("gap", int((series.row >= 0).sum()), holes)
