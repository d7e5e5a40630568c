"""The gate between raw and clean data: what may pass, what is set aside, and why.

Shape is checked by ``schema`` before; corporate actions are inferred by ``adjust``. Each kind's
oracle is a module of its own, the Great Expectations suites run in ``suite``, the page is
``page``'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.log import get_logger
from trading.store import schema
from trading.store.quality.bars import to_date
from trading.store.quality.page import as_json, summary, write_page
from trading.store.quality.result import (
    Agreement,
    Coverage,
    Explained,
    Finding,
    QualityResult,
    Report,
    Verdict,
)
from trading.store.quality.settings import (
    QualitySettings,
    Severity,
    read_settings,
    shipped_settings,
)
from trading.store.quality.suite import load

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar

__all__ = [
    "KINDS",
    "Agreement",
    "Context",
    "Coverage",
    "Explained",
    "Finding",
    "QualityResult",
    "QualitySettings",
    "Report",
    "Severity",
    "as_json",
    "check",
    "history_sessions",
    "load",
    "read_settings",
    "shipped_settings",
    "shown_columns",
    "summary",
    "write_page",
]

log = get_logger(__name__)

# The kinds of data that have a gate; the others are checked for their shape only.
KINDS = frozenset({"daily", "minute", "index", "fundamentals"})

_BIG_BASE = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a batch is judged against.

    Parameters
    ----------
    as_of : date
        The last session that can be known; later rows are from the future.
    actions : sequence of CorporateAction
        What explains a jump of raw prices.
    history : pyarrow.Table, optional
        Rows of the same kind before the batch (``history_sessions`` says how many sessions):
        known context, not judged again.
    daily : pyarrow.Table, optional
        Daily bars of the days of a batch of minutes or fundamentals.
    instruments : sequence of Instrument
        Whose listing and delisting explain first days and liquidations.
    span : (date, date), optional
        What was asked for; a session missing at its edges is only seen with it.
    """

    rules: "MarketRules"
    calendar: "SessionCalendar"
    as_of: date
    actions: Sequence[CorporateAction] = ()
    history: "pa.Table | None" = None
    daily: "pa.Table | None" = None
    instruments: Sequence[Instrument] = ()
    span: tuple[date, date] | None = None

    @property
    def market(self) -> Market:
        """Whose law binds."""
        return self.rules.market

    @property
    def listed(self) -> Mapping[str, date]:
        """First days of the symbols that are known."""
        return {item.symbol: item.listed for item in self.instruments if item.listed is not None}

    @property
    def delisted(self) -> Mapping[str, date]:
        """Last days of the symbols that are gone."""
        return {i.symbol: i.delisted for i in self.instruments if i.delisted is not None}

    def days(self, *ranges: IntArray) -> IntArray:
        """Return the sessions from the first to the last of the days, counted from 1970."""
        known = [days for days in ranges if len(days)]
        if self.span is not None:
            known.append(np.array(self.span, dtype="datetime64[D]").astype(np.int64))
        if not known:
            return np.zeros(0, dtype=np.int64)
        # A date outside of the law is no session; the calendar would refuse to be asked.
        first = max(to_date(min(int(days.min()) for days in known)), self.rules.first)
        last = min(to_date(max(int(days.max()) for days in known)), self.rules.last)
        if first > last:
            return np.zeros(0, dtype=np.int64)
        sessions = self.calendar.sessions(first, last)
        return np.array(sessions, dtype="datetime64[D]").astype(np.int64)

    def asked(self, days: IntArray) -> tuple[int, int]:
        """Return the first and last day that was asked for: those of the rows if not known."""
        if self.span is not None:
            first, last = np.array(self.span, dtype="datetime64[D]").astype(np.int64)
            return int(first), int(last)
        return (int(days.min()), int(days.max())) if len(days) else (0, -1)

    def limit_rates(self, exchanges: Sequence[Exchange], days: IntArray) -> FloatArray:
        """Return the daily price limit as a fraction; 0 is none. Shape (days, exchanges)."""
        base = np.full((len(days), len(exchanges)), _BIG_BASE, dtype=np.int64)
        _, upper = self.rules.limit_arrays(exchanges, base, days.astype("datetime64[D]"))
        rates: FloatArray = np.where(upper > 0, upper / _BIG_BASE - 1, 0.0)
        return rates


def history_sessions(kind: str, settings: QualitySettings) -> int:
    """Return how many sessions before a batch its context should hold."""
    return settings.of(kind).history_sessions


def shown_columns(kind: str) -> Sequence[str]:
    """Return the columns that examples of a kind show."""
    return _JUDGES[kind]()[1]


def check(
    kind: str,
    data: "pa.Table | pd.DataFrame",
    context: Context,
    settings: QualitySettings | None = None,
) -> QualityResult:
    """Judge one batch of daily or minute bars, index levels or fundamentals.

    Parameters
    ----------
    data : Table or DataFrame
        Of the kind's schema; keys may repeat.
    settings : QualitySettings, optional
        Default: as shipped.

    Raises
    ------
    SchemaError
        When the batch does not have the agreed columns and types: quarantine it whole.
    """
    judge, shown = _JUDGES[kind]()
    used = (settings or shipped_settings()).of(kind)
    table = schema.cast(data, schema.KINDS[kind])
    verdict = Verdict(table, used, shown)
    coverage = judge(table, context, verdict) if len(table) else Coverage()
    failed = int((~verdict.clean).sum())
    if failed >= max(used.max_failed_share * len(table), used.failed_share_from):
        verdict.found("failed_share", len(table), [{"rows": len(table), "failed": failed}])
    passed, quarantined = verdict.split()
    result = QualityResult(
        market=context.market,
        kind=kind,
        passed=passed,
        quarantined=quarantined,
        checks=tuple(verdict.checks),
        explained=tuple(verdict.explained),
        agreements=tuple(verdict.agreements),
        coverage=coverage,
    )
    level = log.warning if len(quarantined) else log.info
    level(
        "품질 검사",
        market=context.market.value,
        kind=kind,
        rows=result.rows,
        quarantined=len(quarantined),
    )
    return result


_Judge = Callable[["pa.Table", Context, Verdict], Coverage]


def _daily() -> tuple[_Judge, Sequence[str]]:
    from trading.store.quality import daily

    return daily.judge_daily, daily.SHOWN


def _minute() -> tuple[_Judge, Sequence[str]]:
    from trading.store.quality import minute

    return minute.judge_minute, minute.SHOWN


def _index() -> tuple[_Judge, Sequence[str]]:
    from trading.store.quality import index

    return index.judge_index, index.SHOWN


def _fundamentals() -> tuple[_Judge, Sequence[str]]:
    from trading.store.quality import fundamentals

    return fundamentals.judge_fundamentals, fundamentals.SHOWN


# Loaded when first needed: compiled code and Great Expectations take seconds to import.
_JUDGES: Mapping[str, Callable[[], tuple[_Judge, Sequence[str]]]] = {
    "daily": _daily,
    "minute": _minute,
    "index": _index,
    "fundamentals": _fundamentals,
}
