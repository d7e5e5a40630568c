"""Judges what the lake holds: its clean layer once more, and what the gate set aside."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from trading.domain.instrument import Market
from trading.errors import DataError
from trading.ports import BulkSource
from trading.store import schema
from trading.store.quality import KINDS, Context, check, history_sessions, shown_columns
from trading.store.quality.agreement import agree, caps_agree
from trading.store.quality.result import Agreement, Finding, Report, count_rows, plain
from trading.store.quality.settings import QualitySettings, Severity

if TYPE_CHECKING:
    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake

Span = tuple[date, date]

# Rows that are judged at once: larger batches cost memory, smaller ones the fixed cost of each.
_BATCH_ROWS = 1_000_000
_IN_CLEAN = "정제층에 남은 것: "


def audit(
    lake: "Lake",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    settings: QualitySettings,
    *,
    kinds: Sequence[str] = (),
    span: Span | None = None,
    against: BulkSource | None = None,
) -> list[Report]:
    """Return one report for each kind of the market that the lake holds.

    Parameters
    ----------
    kinds : sequence of str
        Which; default all that have a gate.
    span : (date, date), optional
        Which days; default all.
    against : BulkSource, optional
        A second record of the daily bars, compared with the lake's.
    """
    market = rules.market
    reports = []
    for kind in sorted(KINDS & set(kinds or KINDS), key=list(schema.KINDS).index):
        report = Report(market, kind, settings.of(kind).report.examples)
        held = _held(lake, market, kind)
        if held is not None:
            inside = held if span is None else (max(held[0], span[0]), min(held[1], span[1]))
            for batch in _batches(lake, market, kind, inside):
                _judge(lake, rules, calendar, settings, kind, batch, report)
                if kind == "daily":
                    _compare(lake, market, batch, against, report)
        _add_quarantine(lake, market, kind, span, settings, report)
        if report.rows:
            reports.append(report)
    return reports


def _judge(
    lake: "Lake",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    settings: QualitySettings,
    kind: str,
    span: Span,
    report: Report,
) -> None:
    """Judge a batch of the clean layer; what fails there is a finding of its own."""
    market = rules.market
    first, last = span
    table = lake.table(market, kind, first=first, last=last)
    if not len(table):
        return
    back = _sessions_before(calendar, rules, first, history_sessions(kind, settings))
    history = lake.table(market, kind, first=back, last=first - timedelta(days=1))
    daily = None
    if kind in ("minute", "fundamentals"):
        daily = lake.table(market, "daily", first=first, last=last)
    result = check(
        kind,
        table,
        Context(
            rules=rules,
            calendar=calendar,
            as_of=last,
            actions=lake.actions(market, back, last),
            history=history if len(history) else None,
            daily=daily,
            instruments=lake.instruments(market),
        ),
        settings,
    )
    checks = tuple(
        replace(item, title=_IN_CLEAN + item.title)
        if item.failed and item.severity is not Severity.NOTE
        else item
        for item in result.checks
    )
    report.add(replace(result, checks=checks))
    # They are in the clean layer still; only the gate's own rows are set aside.
    report.quarantined -= len(result.quarantined)


def _compare(
    lake: "Lake", market: Market, span: Span, against: BulkSource | None, report: Report
) -> None:
    daily = lake.table(market, "daily", first=span[0], last=span[1])
    found: list[Agreement | None] = []
    listings = lake.table(market, "listings", first=span[0], last=span[1])
    if len(listings):
        found.append(caps_agree(daily, listings))
    if against is not None:
        other = against.table("daily", market, None, *span)
        found.append(agree(daily, other, f"저장소와 {against.name}"))
    for pair in found:
        if pair is not None:
            report.agreed(pair)


def _add_quarantine(
    lake: "Lake",
    market: Market,
    kind: str,
    span: Span | None,
    settings: QualitySettings,
    report: Report,
) -> None:
    """Add the rows that the gate set aside, by the check that they failed."""
    import pyarrow.compute as pc

    table = lake.quarantined(market, kind)
    dated_by = schema.KINDS[kind].dated_by
    if span is not None and dated_by is not None and len(table):
        days = table[dated_by]
        table = table.filter(pc.and_(pc.greater_equal(days, span[0]), pc.less_equal(days, span[1])))
    if not len(table):
        return
    report.rows += len(table)
    report.quarantined += len(table)
    titles: Counter[str] = Counter()
    examples: dict[str, list[int]] = {}
    for row, reason in enumerate(table["reason"].to_pylist()):
        for title in reason.split(", "):
            titles[title] += 1
            examples.setdefault(title, []).append(row)
    used = settings.of(kind)
    names = {item.title: item.type for item in used.expectations}
    names |= {item.title: name for name, item in used.checks.items()}
    shown = [name for name in shown_columns(kind) if name in table.column_names]
    for title, count in titles.items():
        rows = examples[title][: used.report.examples]
        report.note(
            Finding(
                check=names.get(title, "gate"),
                title=title,
                severity=Severity.ROW,
                checked=len(table),
                failed=count,
                examples=tuple(
                    {name: plain(value) for name, value in record.items()}
                    for record in table.select(shown).take(rows).to_pylist()
                ),
            )
        )
    group = {"index": "name", "fundamentals": "metric"}.get(kind, "exchange")
    counts = count_rows(table, group, dated_by or "session")
    report.coverage.rows.update(counts)
    report.coverage.failed.update(counts)


def _held(lake: "Lake", market: Market, kind: str) -> Span | None:
    """Return the first and last day of the clean layer, from its manifest."""
    parts = lake.parts(market, kind).values()
    first = [part.first for part in parts if part.first]
    last = [part.last for part in parts if part.last]
    return (date.fromisoformat(min(first)), date.fromisoformat(max(last))) if first else None


def _batches(lake: "Lake", market: Market, kind: str, span: Span) -> Iterator[Span]:
    """Yield ranges of whole files with about as many rows as are judged at once."""
    first, last = span
    begin: date | None = None
    rows = 0
    for _, part in sorted(lake.parts(market, kind).items()):
        if part.first is None or part.last is None:
            raise DataError(f"날짜가 없는 자료: {market.value} {kind}")
        low, high = date.fromisoformat(part.first), date.fromisoformat(part.last)
        if high < first or low > last:
            continue
        begin = max(low, first) if begin is None else begin
        rows += part.rows
        if rows >= _BATCH_ROWS:
            yield begin, min(high, last)
            begin, rows = None, 0
    if begin is not None:
        yield begin, last


def _sessions_before(
    calendar: "SessionCalendar", rules: "MarketRules", day: date, sessions: int
) -> date:
    known = calendar.sessions(rules.first, day)
    return known[max(len(known) - sessions - 1, 0)] if known else rules.first
