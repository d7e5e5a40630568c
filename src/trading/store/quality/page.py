"""The quality page: coverage, findings, trend and agreement of one or more reports."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from trading.store import schema
from trading.store.quality.result import Coverage, Life, Report
from trading.store.quality.settings import Severity

_TEMPLATE = Path(__file__).with_name("page.html.j2")

KIND_WORDS = {"daily": "일봉", "minute": "분봉", "index": "지수·환율", "fundamentals": "재무"}
MARKET_WORDS = {"krx": "한국", "us": "미국"}
SEVERITY_WORDS = {
    Severity.ROW: "격리",
    Severity.BATCH: "묶음 거절",
    Severity.WARN: "확인 필요",
    Severity.NOTE: "참고",
}
_COLUMN_WORDS = {
    "session": "거래일", "ts": "시각", "symbol": "종목", "name": "이름", "open": "시가",
    "high": "고가", "low": "저가", "close": "종가", "volume": "거래량", "basis": "기준",
    "source": "출처", "metric": "항목", "period": "기간", "published": "공표", "value": "값",
    "detail": "설명", "rows": "행", "absent": "빠진 종목", "failed": "어긋난 행",
}  # fmt: skip
# Groups beyond this many are drawn as one row of years each.
_MOST_CALENDARS = 6
_MOST_GROUPS = 60
# Coverage from which a month is whole, nearly whole, holed.
_LEVELS = ((0.9999, "full"), (0.99, "high"), (0.95, "mid"), (0.0, "low"))
_TREND_WIDTH, _TREND_HEIGHT = 960.0, 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One square of a heat map; ``level`` is empty where nothing was asked for."""

    label: str
    level: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Rows of squares under column heads."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One month of the trend, placed and labelled."""

    x: float
    y: float
    width: float
    height: float
    label: str


def write_page(reports: Sequence[Report], directory: Path) -> Path:
    """Write the page and, beside it, the same as JSON; return where the page is."""
    import jinja2

    # One page for one set of kinds, in whatever order they were judged.
    places = list(schema.KINDS)
    reports = sorted(reports, key=lambda report: (report.market, places.index(report.kind)))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        reports=[_view(report) for report in reports],
        columns=_COLUMN_WORDS,
        severities=SEVERITY_WORDS,
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"quality-{_name(reports)}.html"
    path.write_text(page, encoding="utf-8")
    path.with_suffix(".json").write_text(as_json(reports), encoding="utf-8")
    return path


def as_json(reports: Sequence[Report]) -> str:
    """Return the reports as one JSON object: totals, and each report in full."""
    return json.dumps(summary(reports), ensure_ascii=False, indent=1, default=_json_value)


def summary(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the totals of the reports, and each of them, as plain values."""
    return {
        "rows": sum(report.rows for report in reports),
        "quarantined": sum(report.quarantined for report in reports),
        "findings": [
            {"market": report.market.value, "kind": report.kind, **finding}
            for report in reports
            for finding in report.summary()["findings"]
        ],
        "reports": [report.summary() for report in reports],
    }


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else str(value)


def _name(reports: Sequence[Report]) -> str:
    markets = sorted({report.market.value for report in reports})
    kinds = [report.kind for report in reports]
    return "-".join([*markets, *dict.fromkeys(kinds)])


def _view(report: Report) -> dict[str, Any]:
    """Return what the template shows of one report."""
    lives = report.coverage.symbols
    holed = sorted(
        ((symbol, life) for symbol, life in lives.items() if life.gaps),
        key=lambda item: (-item[1].gaps, item[0]),
    )
    return {
        "title": f"{MARKET_WORDS[report.market.value]} {KIND_WORDS[report.kind]}",
        "anchor": f"{report.market.value}-{report.kind}",
        "rows": report.rows,
        "quarantined": report.quarantined,
        "rate": _rate(report.quarantined, report.rows),
        "symbols": len(lives),
        "first": min((life.first for life in lives.values()), default=None),
        "last": max((life.last for life in lives.values()), default=None),
        "halts": sum(life.halts for life in lives.values()),
        "gaps": sum(life.gaps for life in lives.values()),
        "coverage": _coverage_share(lives),
        # Sessions are counted where every one must have a row; elsewhere only what failed is known.
        "counts_sessions": report.kind in ("daily", "index"),
        "refused": any(item.severity is Severity.BATCH for item in report.findings),
        "findings": report.findings,
        "passed": [check for check in report.checks.values() if not check.failed],
        "explained": sorted(report.explained.values(), key=lambda item: -item.rows),
        "agreements": list(report.agreements.values()),
        "heat_maps": heat_maps(report.coverage),
        "trend": _trend(report.coverage),
        "sources": _sources(report.coverage),
        "holed": [(symbol, life, _coverage_share({symbol: life})) for symbol, life in holed[:20]],
        "holed_count": len(holed),
    }


def heat_maps(coverage: Coverage) -> list[HeatMap]:
    """Return the coverage by month: a calendar for each group, or a row for each if many."""
    rows: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for (month, group, _), count in coverage.rows.items():
        rows[month, group] += count
    for (month, group, _), count in coverage.failed.items():
        failed[month, group] += count
    groups = sorted({group for _, group in rows})
    years = sorted({month[:4] for month, _ in rows})
    if not groups:
        return []
    if len(groups) > _MOST_CALENDARS:
        by_year = tuple(
            (group, tuple(_cell(year, group, _in(year, group, rows),
                                _in(year, group, coverage.missing), _in(year, group, failed))
                          for year in years))
            for group in groups[:_MOST_GROUPS]
        )  # fmt: skip
        return [HeatMap(title="", heads=tuple(year[2:] for year in years), rows=by_year)]
    months = [f"{number:02d}" for number in range(1, 13)]
    return [
        HeatMap(
            title=group,
            heads=tuple(str(int(month)) for month in months),
            rows=tuple(
                (year, tuple(_cell(f"{year}-{month}", group, rows[f"{year}-{month}", group],
                                   coverage.missing[f"{year}-{month}", group],
                                   failed[f"{year}-{month}", group])
                             for month in months))
                for year in years
            ),
        )
        for group in groups
    ]  # fmt: skip


def _in(year: str, group: str, counts: Mapping[tuple[str, str], int]) -> int:
    return sum(n for (month, name), n in counts.items() if name == group and month[:4] == year)


def _cell(when: str, group: str, rows: int, missing: int, failed: int) -> Cell:
    if not rows and not missing:
        return Cell(label=f"{group} {when}: 자료 없음")
    # A row set aside is as missing from the clean layer as one that never came.
    share = max(rows - failed, 0) / (rows + missing)
    level = next(name for least, name in _LEVELS if share >= least)
    label = f"{group} {when}: {rows:,}행, 채움 {share:.2%}, 빠짐 {missing:,}, 격리 {failed:,}"
    return Cell(label=label, level=level, marked=failed > 0)


def _coverage_share(lives: Mapping[str, Life]) -> float | None:
    bars = sum(life.bars for life in lives.values())
    gaps = sum(life.gaps for life in lives.values())
    return bars / (bars + gaps) if bars else None


def _trend(coverage: Coverage) -> dict[str, Any] | None:
    """Return the bars of the rate set aside by month, on a scale of its root.

    The rate spans orders of magnitude: one bad month must not flatten all others.
    """
    rows: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for (month, _, _), count in coverage.rows.items():
        rows[month] += count
    for (month, _, _), count in coverage.failed.items():
        failed[month] += count
    months = _every_month(sorted(rows))
    if len(months) < 2:
        return None
    most = max(failed[month] / rows[month] for month in months if rows[month])
    step = _TREND_WIDTH / len(months)
    bars = []
    for number, month in enumerate(months):
        if not failed[month]:
            continue
        rate = failed[month] / rows[month]
        height = max(math.sqrt(rate / most) * _TREND_HEIGHT, 1.5)
        bars.append(
            Bar(
                x=round(number * step, 2),
                y=round(_TREND_HEIGHT - height, 2),
                width=round(max(step - 0.8, 0.8), 2),
                height=round(height, 2),
                label=f"{month}: {failed[month]:,} / {rows[month]:,}행 ({rate:.3%})",
            )
        )
    every = max(len(months) // 12 // 10 + 1, 1)
    ticks = [
        (round(number * step, 1), month[:4])
        for number, month in enumerate(months)
        if month.endswith("-01") and int(month[:4]) % every == 0
    ]
    return {
        "bars": bars,
        "ticks": ticks or [(0.0, months[0])],
        "most": f"{most:.3%}" if bars else "0 %",
        "first": months[0],
        "last": months[-1],
    }


def _every_month(months: Sequence[str]) -> list[str]:
    if not months:
        return []
    first, last = (int(m[:4]) * 12 + int(m[5:]) - 1 for m in (months[0], months[-1]))
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(first, last + 1)]


def _sources(coverage: Coverage) -> list[tuple[str, int, int, str]]:
    rows: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for (_, _, source), count in coverage.rows.items():
        rows[source] += count
    for (_, _, source), count in coverage.failed.items():
        failed[source] += count
    return [
        (source, count, failed[source], _rate(failed[source], count))
        for source, count in rows.most_common()
    ]


def _rate(part: int, whole: int) -> str:
    return f"{part / whole:.4%}" if whole else "—"


def _number(value: Any) -> str:
    """Return a cell as people read it."""
    if value is None:
        return "—"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{int(value):,}"
