"""What a gate found: the rows that passed, those set aside, and the figures of a report."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Market
from trading.store.quality.bars import codes, numbers
from trading.store.quality.settings import KindSettings, Severity

if TYPE_CHECKING:
    import pyarrow as pa

# Reasons are bits of one number per row.
_MAX_CHECKS = 63
_GRAVITY = (Severity.BATCH, Severity.WARN, Severity.ROW, Severity.NOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: how many rows (sessions, symbols) it looked at, how many failed, examples."""

    check: str
    title: str
    severity: Severity
    checked: int
    failed: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Rows that a check would have failed, and the reason why they are fair."""

    reason: str
    rows: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well two records of the same thing agree; each rate is a share of ``rows``."""

    pair: str
    rows: int
    rates: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The bars of one symbol: how many, halts, sessions missing between the first and last."""

    group: str
    bars: int
    halts: int
    gaps: int
    first: date
    last: date

    def joined(self, later: "Life") -> "Life":
        """Return this life continued by ``later``."""
        return Life(
            group=later.group,
            bars=self.bars + later.bars,
            halts=self.halts + later.halts,
            gaps=self.gaps + later.gaps,
            first=min(self.first, later.first),
            last=max(self.last, later.last),
        )


@dataclass(slots=True, kw_only=True)
class Coverage:
    """Where rows are and where they are missing; months are ``YYYY-MM``.

    ``rows`` and ``failed`` count by (month, group, source), ``missing`` by (month, group); the
    group is the exchange of a share and the name of a series.
    """

    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    symbols: dict[str, Life] = field(default_factory=dict)

    def add(self, other: "Coverage") -> None:
        """Add the figures of a later batch."""
        self.rows.update(other.rows)
        self.failed.update(other.failed)
        self.missing.update(other.missing)
        for symbol, life in other.symbols.items():
            known = self.symbols.get(symbol)
            self.symbols[symbol] = life if known is None else known.joined(life)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityResult:
    """What passed, what was set aside with its ``reason``, and every check that was made."""

    market: Market
    kind: str
    passed: "pa.Table"
    quarantined: "pa.Table"
    checks: tuple[Finding, ...]
    explained: tuple[Explained, ...]
    agreements: tuple[Agreement, ...]
    coverage: Coverage

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.passed) + len(self.quarantined)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The checks that something failed."""
        return tuple(check for check in self.checks if check.failed)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the batch must not be written at all; empty when it may."""
        return tuple(
            f"{found.title}: {found.failed:,}건"
            + (f" ({', '.join(str(v) for v in found.examples[0].values())})" * bool(found.examples))
            for found in self.findings
            if found.severity is Severity.BATCH
        )


@dataclass(slots=True)
class Report:
    """The figures of many batches of one market and kind; rows themselves are not kept."""

    market: Market
    kind: str
    examples: int = 10
    rows: int = 0
    quarantined: int = 0
    checks: dict[str, Finding] = field(default_factory=dict)
    explained: dict[str, Explained] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, result: QualityResult) -> None:
        """Add the result of one batch."""
        self.rows += result.rows
        self.quarantined += len(result.quarantined)
        for check in result.checks:
            self.note(check)
        for item in result.explained:
            before = self.explained.get(item.reason, Explained(reason=item.reason, rows=0))
            self.explained[item.reason] = Explained(
                reason=item.reason,
                rows=before.rows + item.rows,
                examples=(before.examples + item.examples)[: self.examples],
            )
        for pair in result.agreements:
            self.agreed(pair)
        self.coverage.add(result.coverage)

    def agreed(self, pair: Agreement) -> None:
        """Add one comparison to those of the same pair."""
        known = self.agreements.get(pair.pair)
        self.agreements[pair.pair] = pair if known is None else _pooled(known, pair)

    def note(self, check: Finding) -> None:
        """Add one check to those of the same title."""
        known = self.checks.get(check.title)
        self.checks[check.title] = Finding(
            check=check.check,
            title=check.title,
            severity=check.severity,
            checked=check.checked + (known.checked if known else 0),
            failed=check.failed + (known.failed if known else 0),
            examples=((known.examples if known else ()) + check.examples)[: self.examples],
        )

    @property
    def findings(self) -> list[Finding]:
        """The checks that something failed, the gravest first."""
        found = [check for check in self.checks.values() if check.failed]
        return sorted(found, key=lambda item: (_GRAVITY.index(item.severity), -item.failed))

    @property
    def matters(self) -> bool:
        """Whether something was set aside, refused, or should have been."""
        return self.quarantined > 0 or any(
            found.severity is not Severity.NOTE for found in self.findings
        )

    def summary(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        lives = self.coverage.symbols
        return {
            "market": self.market.value,
            "kind": self.kind,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "symbols": len(lives),
            "first": min((life.first for life in lives.values()), default=None),
            "last": max((life.last for life in lives.values()), default=None),
            "halts": sum(life.halts for life in lives.values()),
            "gaps": sum(life.gaps for life in lives.values()),
            "findings": [asdict(found) for found in self.findings],
            "explained": [asdict(item) for item in self.explained.values()],
            "agreements": [asdict(item) for item in self.agreements.values()],
        }


class Verdict:
    """Collects, check by check, which rows of a batch fail and why."""

    def __init__(self, table: "pa.Table", settings: KindSettings, shown: Iterable[str]) -> None:
        self.table = table
        self.settings = settings
        self.shown = list(shown)
        self.mask: IntArray = np.zeros(len(table), dtype=np.int64)
        self.checks: list[Finding] = []
        self.explained: list[Explained] = []
        self.agreements: list[Agreement] = []

    @property
    def clean(self) -> BoolArray:
        """Rows that no check has set aside so far."""
        good: BoolArray = self.mask == 0
        return good

    def note(
        self,
        check: str,
        title: str,
        severity: Severity,
        checked: int,
        rows: IntArray,
        detail: Callable[[int], str] | None = None,
    ) -> None:
        """Record a check and the numbers of the rows that failed it."""
        if severity in (Severity.ROW, Severity.BATCH) and len(rows):
            self.mask[rows] |= 1 << len(self.checks)
        self._append(check, title, severity, checked, len(rows), self.examples(rows, detail))

    def judge(
        self,
        check: str,
        checked: int,
        rows: IntArray,
        detail: Callable[[int], str] | None = None,
    ) -> None:
        """Record one of the kind's own checks; its title and severity are configured."""
        configured = self.settings.checks[check]
        self.note(check, configured.title, configured.severity, checked, rows, detail)

    def found(self, check: str, checked: int, examples: list[dict[str, Any]]) -> None:
        """Record a check of the batch as a whole that no row of it stands for."""
        configured = self.settings.checks[check]
        shown = tuple(examples[: self.settings.report.examples])
        self._append(check, configured.title, configured.severity, checked, len(examples), shown)

    def explain(
        self, reason: str, rows: IntArray, detail: Callable[[int], str] | None = None
    ) -> None:
        """Record rows that look wrong and are fair, with the reason."""
        if len(rows):
            examples = self.examples(rows, detail)
            self.explained.append(Explained(reason=reason, rows=len(rows), examples=examples))

    def examples(
        self, rows: IntArray, detail: Callable[[int], str] | None = None
    ) -> tuple[dict[str, Any], ...]:
        """Return the first of the rows as JSON values."""
        first = rows[: self.settings.report.examples]
        records = self.table.select(self.shown).take(first).to_pylist() if len(first) else []
        return tuple(
            {name: plain(value) for name, value in record.items()}
            | ({"detail": detail(int(row))} if detail is not None else {})
            for record, row in zip(records, first, strict=True)
        )

    def split(self) -> "tuple[pa.Table, pa.Table]":
        """Return the rows that passed, and the others with their ``reason``."""
        import pyarrow as pa

        bad = np.flatnonzero(self.mask)
        masks, which = np.unique(self.mask[bad], return_inverse=True)
        texts = [
            ", ".join(c.title for bit, c in enumerate(self.checks) if int(mask) >> bit & 1)
            for mask in masks
        ]
        reason = pa.array([texts[number] for number in which], type=pa.string())
        quarantined = self.table.take(bad).append_column("reason", reason)
        passed = self.table if not len(bad) else self.table.filter(pa.array(self.mask == 0))
        return passed, quarantined

    def _append(
        self,
        check: str,
        title: str,
        severity: Severity,
        checked: int,
        failed: int,
        examples: tuple[dict[str, Any], ...],
    ) -> None:
        if len(self.checks) == _MAX_CHECKS:
            raise ValueError(f"at most {_MAX_CHECKS} checks of one batch")
        self.checks.append(
            Finding(
                check=check,
                title=title,
                severity=severity,
                checked=checked,
                failed=failed,
                examples=examples,
            )
        )


def count_months(
    table: "pa.Table", verdict: Verdict, group: str, dated_by: str = "session"
) -> Coverage:
    """Count the batch's rows and failures by month, group and source."""
    clean = verdict.clean
    failed = table.take(np.flatnonzero(~clean))
    return Coverage(
        rows=count_rows(table, group, dated_by), failed=count_rows(failed, group, dated_by)
    )


def count_rows(table: "pa.Table", group: str, dated_by: str) -> Counter[tuple[str, str, str]]:
    """Count rows by month, group and source."""
    counts: Counter[tuple[str, str, str]] = Counter()
    if not len(table):
        return counts
    day = numbers(table, dated_by)
    first = int(day.min())
    every = np.arange(first, int(day.max()) + 1).astype("datetime64[D]").astype("datetime64[M]")
    low = int(every[0].astype(np.int64))
    months = (every.astype(np.int64) - low)[day - first]
    group_code, groups = codes(table[group])
    source_code, sources = codes(table["source"])
    width = len(groups) * len(sources)
    rows = np.bincount(months * width + group_code * len(sources) + source_code)
    for at in np.flatnonzero(rows).tolist():
        month, pair = str(np.datetime64(low + at // width, "M")), at % width
        counts[month, groups[pair // len(sources)], sources[pair % len(sources)]] = int(rows[at])
    return counts


def _pooled(left: Agreement, right: Agreement) -> Agreement:
    rows = left.rows + right.rows
    return Agreement(
        pair=left.pair,
        rows=rows,
        rates={
            name: (left.rates[name] * left.rows + right.rates[name] * right.rows) / rows
            for name in left.rates.keys() & right.rates.keys()
        },
    )


def plain(value: Any) -> Any:
    """Return a cell as a JSON value."""
    return value.isoformat() if hasattr(value, "isoformat") else value
