"""The oracle of fundamentals: when a figure was published, and whether it can be."""

from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.store.quality.bars import DAY_SPAN, codes, day_number, numbers, to_date
from trading.store.quality.result import Agreement, Coverage, Life, Verdict, count_months
from trading.store.quality.settings import FundamentalsSettings
from trading.store.quality.suite import run_suite

if TYPE_CHECKING:
    import pyarrow as pa

    from trading.store.quality import Context

SHOWN = ("symbol", "metric", "period", "published", "value", "source")

# Published ratios carry two decimals.
_RATIO_ROUNDING = 0.005
_MIX = np.uint64(0x9E3779B97F4A7C15)


class _Figures:
    """The columns of the batch and of the history before it."""

    def __init__(self, table: "pa.Table", context: "Context") -> None:
        import pyarrow as pa

        names = ["symbol", "metric", "period", "published", "value"]
        whole, before = table.select(names), 0
        if context.history is not None:
            before = len(context.history)
            whole = pa.concat_tables([context.history.select(names), whole])
        self.row: IntArray = np.arange(len(whole)) - before
        self.symbol, self.symbols = codes(whole["symbol"])
        self.metric, self.metrics = codes(whole["metric"])
        self.period: IntArray = numbers(whole, "period").astype(np.int64)
        self.published: IntArray = numbers(whole, "published").astype(np.int64)
        self.value: FloatArray = numbers(whole, "value")
        self.before = before

    def of(self, metric: str) -> BoolArray:
        """Return which rows are of the metric."""
        code = self.metrics.index(metric) if metric in self.metrics else -1
        rows: BoolArray = self.metric == code
        return rows


def judge_fundamentals(table: "pa.Table", context: "Context", verdict: Verdict) -> Coverage:
    """Judge a batch of published figures; return where its rows are."""
    settings = verdict.settings
    assert isinstance(settings, FundamentalsSettings)
    figures = _Figures(table, context)
    mine = figures.row >= 0
    texts = {
        "symbol": (figures.symbol[mine], figures.symbols),
        "metric": (figures.metric[mine], figures.metrics),
    }
    published, period = figures.published[mine], figures.period[mine]
    columns: dict[str, np.ndarray] = {
        "key": _keys(figures)[mine],
        "value": figures.value[mine],
        "days_to_publish": published - period,
    }
    for item, rows in run_suite("fundamentals", columns, texts, settings.expectations):
        verdict.note(item.type, item.title, item.severity, len(table), rows)
    verdict.judge("future", len(table), np.flatnonzero(published > day_number(context.as_of)))
    _judge_bounds(figures, verdict, settings)
    _judge_slips(figures, verdict, settings)
    _judge_repeats(figures, verdict, settings)
    _judge_identity(figures, context, verdict, settings)
    return _coverage(table, figures, verdict)


def _keys(figures: _Figures) -> IntArray:
    """Return one number for each symbol, metric, period and day of publication."""
    table = np.stack([figures.symbol, figures.metric, figures.period, figures.published], axis=1)
    _, key = np.unique(table, axis=0, return_inverse=True)
    return key.reshape(-1).astype(np.int64)


def _judge_bounds(figures: _Figures, verdict: Verdict, used: FundamentalsSettings) -> None:
    """Figures that no company can have; a metric without bounds is not judged."""
    low = np.full(len(figures.metrics), -np.inf)
    high = np.full(len(figures.metrics), np.inf)
    for code, name in enumerate(figures.metrics):
        bottom, top = used.bounds.get(name, (None, None))
        low[code] = -np.inf if bottom is None else bottom
        high[code] = np.inf if top is None else top
    bad = (figures.value < low[figures.metric]) | (figures.value > high[figures.metric])
    bounded = np.isfinite(low[figures.metric]) | np.isfinite(high[figures.metric])
    mine = figures.row >= 0
    verdict.judge("bounds", int((bounded & mine).sum()), figures.row[bad & mine])


def _judge_slips(figures: _Figures, verdict: Verdict, used: FundamentalsSettings) -> None:
    """A balance that changes by a power of ten within a year was written in another unit.

    When the series comes back, the figure between is at fault; else the one that jumps.
    """
    steady = np.array([name in used.steady_metrics for name in figures.metrics], dtype=np.bool_)
    order = np.lexsort((figures.published, figures.period, figures.metric, figures.symbol))
    order = order[steady[figures.metric[order]] & (figures.value[order] > 0)]
    value = np.log(figures.value[order])
    series = (figures.symbol * len(figures.metrics) + figures.metric)[order]
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = series[1:] == series[:-1]
    step = np.where(same, np.diff(value, prepend=0.0), 0.0)
    factors = np.log(np.array(used.slip_factors))
    near = np.abs(np.abs(step)[:, None] - factors[None, :]).min(axis=1) if len(order) else step
    slip = same & (near <= used.slip_tolerance)
    # Back where it was: the step is the end of the fault before it.
    back = slip.copy()
    back[1:] &= slip[:-1] & (np.sign(step[1:]) == -np.sign(step[:-1]))
    rows = figures.row[order[slip & ~back]]
    detail = {
        int(figures.row[order[i]]): f"앞 값의 {np.exp(step[i]):,.4g}배"
        for i in np.flatnonzero(slip)
    }
    judged = int((same & (figures.row[order] >= 0)).sum())
    verdict.judge("unit_slip", judged, np.sort(rows[rows >= 0]), lambda row: detail[row])


def _judge_repeats(figures: _Figures, verdict: Verdict, used: FundamentalsSettings) -> None:
    """All figures of one symbol equal to those of another of its periods, or of another symbol."""
    cell = figures.symbol * DAY_SPAN + figures.period
    cells, which = np.unique(cell, return_inverse=True)
    mixed = (figures.value.view(np.uint64) ^ figures.metric.astype(np.uint64)) * _MIX
    mixed ^= mixed >> np.uint64(31)
    # The sum of the mixes is the same in whatever order the figures come.
    digest = np.zeros(len(cells), dtype=np.uint64)
    np.add.at(digest, which, mixed * _MIX)
    symbol, period = cells // DAY_SPAN, cells % DAY_SPAN
    enough = np.bincount(which, figures.value != 0, len(cells)) >= used.repeated_metrics
    mine = figures.row >= 0
    # Cells are in order of symbol and period; a daily figure may well be that of the day before.
    by_cell = (np.arange(len(cells)), np.diff(period) >= used.repeated_days)
    by_digest = (np.lexsort((period, digest)), np.ones(max(len(cells) - 1, 0), dtype=np.bool_))
    for check, same, (order, pair) in (
        ("repeated", symbol, by_cell),
        ("twin", period, by_digest),
    ):
        pair &= (digest[order][1:] == digest[order][:-1]) & (same[order][1:] == same[order][:-1])
        alike = np.zeros(len(cells), dtype=np.bool_)
        alike[order[1:][pair]] = True
        if check == "twin":
            alike[order[:-1][pair]] = True
        bad = figures.row[(alike & enough)[which] & mine]
        verdict.judge(check, int((mine & enough[which]).sum()), bad)


def _judge_identity(
    figures: _Figures, context: "Context", verdict: Verdict, used: FundamentalsSettings
) -> None:
    """PER × EPS and PBR × BPS are both the close of the day they are of."""
    cell = figures.symbol * DAY_SPAN + figures.period
    mine = figures.row >= 0
    products: dict[str, dict[int, tuple[float, float, list[int]]]] = {}
    for ratio, base in (("per", "eps"), ("pbr", "bps")):
        found = {}
        at = {int(cell[i]): i for i in np.flatnonzero(figures.of(base) & mine)}
        for i in np.flatnonzero(figures.of(ratio) & mine & (figures.value > 0)):
            j = at.get(int(cell[i]))
            if j is not None and figures.value[j] > 0:
                room = used.identity_tolerance + _RATIO_ROUNDING / figures.value[i]
                price = float(figures.value[i] * figures.value[j])
                found[int(cell[i])] = (price, room, [int(figures.row[i]), int(figures.row[j])])
        products[ratio] = found
    closes = _closes(figures, context)
    bad: dict[int, str] = {}
    checked = agreed = 0
    for ratio, other in (("per", "pbr"), ("pbr", "per")):
        for key, (price, room, pair) in products[ratio].items():
            against = closes.get(key)
            if against is None and (twin := products[other].get(key)) is not None:
                against, room = twin[0], room + twin[1]
            if against is None:
                continue
            checked += 1
            if abs(price / against - 1) <= room:
                agreed += 1
                continue
            for row in pair:
                bad[row] = f"{price:,.0f} ≠ {against:,.0f}"
    if checked:
        verdict.agreements.append(
            Agreement(pair="PER×EPS·PBR×BPS와 종가", rows=checked, rates={"일치": agreed / checked})
        )
    rows = np.array(sorted(bad), dtype=np.int64)
    verdict.judge("identity", checked, rows, lambda row: bad[row])


def _closes(figures: _Figures, context: "Context") -> dict[int, float]:
    """Return the raw closes of the days that figures are of."""
    daily = context.daily
    if daily is None or not len(daily):
        return {}
    symbol, symbols = codes(daily["symbol"])
    basis, bases = codes(daily["basis"])
    number = {name: code for code, name in enumerate(figures.symbols)}
    code = np.array([number.get(name, -1) for name in symbols], dtype=np.int64)[symbol]
    raw = np.array([name == "raw" for name in bases], dtype=np.bool_)[basis]
    rows = np.flatnonzero((code >= 0) & raw)
    cell = code * DAY_SPAN + numbers(daily, "session")
    units = numbers(daily, "close") / context.market.currency.minor_per_unit
    return {int(cell[i]): float(units[i]) for i in rows}


def _coverage(table: "pa.Table", figures: _Figures, verdict: Verdict) -> Coverage:
    coverage = count_months(table, verdict, "metric", dated_by="published")
    rows = np.flatnonzero(figures.row >= 0)
    order = rows[np.lexsort((figures.period[rows], figures.symbol[rows]))]
    symbol = figures.symbol[order]
    starts = np.flatnonzero(np.r_[True, symbol[1:] != symbol[:-1]]) if len(order) else order
    ends = np.r_[starts[1:], len(order)] - 1
    for start, end in zip(starts, ends, strict=True):
        coverage.symbols[figures.symbols[int(symbol[start])]] = Life(
            group="",
            bars=int(end - start) + 1,
            halts=0,
            gaps=0,
            first=to_date(int(figures.period[order[start]])),
            last=to_date(int(figures.period[order[end]])),
        )
    return coverage
