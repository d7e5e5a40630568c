"""From a source into the lake: in chunks, through the quality gate, resumable at any point.

A chunk (a year of daily bars) is fetched, judged, written to both layers and only then noted in the
journal; what is killed in between is done again, and the lake does not change by it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.errors import (
    AuthenticationError,
    BrokerError,
    ConfigError,
    DataError,
    SchemaError,
    UsageError,
)
from trading.log import get_logger
from trading.ports import BulkSource
from trading.store import schema
from trading.store.journal import EVERYTHING, Journal, Span, origins

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.config import Home
    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.adjust import Vendor
    from trading.store.lake import Lake
    from trading.store.parts import Part
    from trading.store.quality import QualityResult, Report

log = get_logger(__name__)

# What others are judged by comes before them.
ORDER = (
    "holidays", "instruments", "listings", "sectors", "actions", "index", "daily", "minute",
    "ticks", "fundamentals", "rankings",
)  # fmt: skip
Progress = Callable[[int, int], None]

_UNDATED = frozenset({"instruments", "sectors"})
_BY_SYMBOL = frozenset({"daily", "minute"})
_BY_YEAR = frozenset({"daily", "fundamentals", "listings"})
_JUDGED_BY_DAYS = frozenset({"minute", "fundamentals"})
_DAILY_COLUMNS = ("session", "symbol", "open", "high", "low", "close", "volume", "basis")
_DAY = timedelta(days=1)
# Sessions before a chunk that are fetched with it, so that a split on its first day shows.
_OVERLAP = 5
# So many symbols in a row that fail are no matter of the symbols.
_MOST_FAILURES = 20
_TRIES = 2
# What was fetched for a chunk and not gone on with for so long is fetched again.
_SPOOLED_FOR = timedelta(days=30)
# A series without a level for so long has ended; of another the last levels may come late.
_GOES_ON = timedelta(days=14)
_NEVER: Span = date.max, date.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a source is asked.

    Parameters
    ----------
    origin : str
        Under which name the journal keeps what it brought.
    parallel : int, default=0
        How many symbols are asked for at once, each by itself; 0 for a source that gives all.
    momentary : frozenset of str
        Kinds that come as they are now, whatever the range.
    vendor : Vendor, optional
        Whose adjusted closes stand beside raw ones, so that actions are inferred from them.
    """

    origin: str
    parallel: int = 0
    momentary: frozenset[str] = frozenset()
    vendor: "Vendor | None" = None


@dataclass(slots=True, kw_only=True)
class Brought:
    """What one run brought; ``failed`` by symbol or kind, with the reason.

    ``changed`` counts clean rows that are new or different, ``skipped`` what was there already.
    ``missing`` are sessions of which no or few daily bars came; they are asked for the next time.
    ``unknown`` are symbols that the source does not have.
    """

    rows: dict[str, int] = field(default_factory=dict)
    changed: int = 0
    quarantined: int = 0
    skipped: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    missing: list[date] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unavailable: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    reports: "dict[str, Report]" = field(default_factory=dict)

    @property
    def told(self) -> list[str]:
        """The findings as a user reads them."""
        return [f"{title}: {count:,}건" for title, count in self.findings.items()]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Days of one kind that are brought together, and which of them each symbol lacks.

    ``morning`` is the session after them, when the adjusted closes tell its actions already.
    ``again`` says that what is in the lake is to be told anew.
    """

    kind: str
    span: Span
    lacking: dict[str, Span]
    morning: date | None = None
    again: bool = False

    @property
    def name(self) -> str:
        # Adjusted closes of last night are not those of this morning.
        asked = f"-{self.morning}" if self.morning is not None else ""
        return f"{self.kind}-{self.span[0]}-{self.span[1]}{asked}"

    @property
    def symbols(self) -> list[str] | None:
        return None if EVERYTHING in self.lacking else list(self.lacking)

    def brought_without(self, failed: Mapping[str, str]) -> list[str] | None:
        """Return the symbols whose rows came; ``None`` for all that there are."""
        symbols = self.symbols
        return None if symbols is None else [name for name in symbols if name not in failed]

    @property
    def days(self) -> Span:
        spans = self.lacking.values()
        return min(first for first, _ in spans), max(last for _, last in spans)


class Intake:
    """Brings one market's data from a source into the lake."""

    def __init__(
        self,
        lake: "Lake",
        home: "Home",
        rules: "MarketRules",
        calendar: "SessionCalendar",
        source: BulkSource,
        terms: Terms,
    ) -> None:
        self._lake = lake
        self._home = home
        self._market = rules.market
        self._calendar = calendar
        self._source = source
        self._terms = terms
        self._gate = _Gate(lake, home, rules, calendar)
        # What the closes of a chunk tell, by its name, until it is known whether they may be kept.
        self._inferred: dict[str, list[CorporateAction]] = {}
        self.journal = Journal(lake.root, rules.market, terms.origin)

    def bring(
        self,
        kinds: Iterable[str],
        wanted: Span,
        *,
        known: date,
        symbols: Sequence[str] | None = None,
        again: bool = False,
        progress: Progress | None = None,
    ) -> Brought:
        """Bring what the journal does not name yet, or everything ``again``.

        ``known`` is the session whose morning it is: its actions are public, its bars are not.
        ``progress`` hears how many parts are done, and of how many.
        """
        from trading.store import quality

        brought = Brought()
        offered = self._source.kinds(self._market)
        named = set(kinds)
        asked = named - {"actions"}
        brought.unavailable = sorted(asked - offered)
        if symbols is not None:
            listed = {one.symbol for one in self._source.instruments(self._market)}
            brought.unknown = [symbol for symbol in symbols if symbol not in listed]
            symbols = [symbol for symbol in symbols if symbol in listed]
        chunks = [
            chunk
            for kind in ORDER
            if kind in asked & offered
            for chunk in self._chunks(kind, wanted, known, symbols, again, brought)
        ]
        self._inferred.clear()
        self.journal.sweep(known - _SPOOLED_FOR)
        if named & {"daily", "actions"}:
            # Of all days: that a name is gone is known weeks after its last bar.
            actions = self._source.actions(self._market, wanted[0], known)
            self._lake.upsert_actions(self._market, actions)

        total, done = sum(len(chunk.lacking) for chunk in chunks), 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        with (
            ThreadPoolExecutor(1, thread_name_prefix="read") as reader,
            ThreadPoolExecutor(1, thread_name_prefix="lake") as writer,
        ):
            if chunks:
                # Loaded while the first rows are read; whoever needs it waits for it.
                writer.submit(quality.load)
            writing: Future[None] | None = None
            before: tuple[_Chunk, pa.Table] | None = None
            for chunk, table, failed in self._read(chunks, reader, brought, step):
                begin = self._gate.begin(chunk.kind, chunk.days[0])
                follows = before is not None and _follows(chunk, before[0], begin)
                if writing is not None and not follows:
                    writing.result()
                result = self._gate.judge(
                    chunk.kind,
                    table,
                    chunk.days,
                    history=before[1] if before is not None and follows else None,
                    symbols=chunk.brought_without(failed),
                    actions=[one for found in list(self._inferred.values()) for one in found],
                )
                # Judged while the chunk before is written; two are not written at once.
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._keep, chunk, table, result, failed, brought)
                before = chunk, table
            if writing is not None:
                writing.result()
        return brought

    @property
    def has_others(self) -> bool:
        """Whether another source brought some of the market."""
        return not origins(self._lake.root, self._market) <= {self.journal.origin}

    def offers(self, kind: str, market: Market) -> bool:
        """Whether the source has rows of a kind, of this or of another market."""
        return kind in self._source.kinds(market)

    def abroad(self, rules: "MarketRules", calendar: "SessionCalendar") -> "Intake":
        """Return the intake of another market's data from the same source."""
        return Intake(self._lake, self._home, rules, calendar, self._source, self._terms)

    def leave_others(self, folder: Path) -> bool:
        """Move all of the market to ``folder`` when another source brought some of it.

        Its prices and splits are not these. Returns whether anything was moved.
        """
        if not self.has_others:
            return False
        self._lake.set_aside(self._market, folder)
        return True

    # --- what is missing -----------------------------------------------------------------

    def _chunks(
        self,
        kind: str,
        wanted: Span,
        known: date,
        symbols: Sequence[str] | None,
        again: bool,
        brought: Brought,
    ) -> Iterator[_Chunk]:
        if kind in self._terms.momentary | _UNDATED:
            wanted = known, known
        names = self._names(kind, symbols)
        if again:
            lacking = {name: [wanted] for name in names}
        else:
            lacking = self.journal.missing(kind, names, wanted)
        morning = None
        if kind == "daily" and self._terms.vendor is not None:
            morning = self._morning(wanted, known)
        if morning is not None:
            # Bars that came last night do not know this morning's actions.
            for symbol in self.journal.missing("actions", names, (morning, morning)):
                spans = lacking.setdefault(symbol, [])
                if not spans or spans[-1][1] < wanted[1]:
                    spans.append((wanted[1], wanted[1]))
        brought.skipped += len(names) - len(lacking)
        for first, last in self._spans(kind, wanted):
            cut = {name: _within(spans, first, last) for name, spans in lacking.items()}
            cut = {name: spans for name, spans in cut.items() if spans}
            # Many symbols that lack different days are asked once each, from first to last.
            found = [{name: (spans[0][0], spans[-1][1]) for name, spans in cut.items()}]
            if names == [EVERYTHING]:
                found = [{EVERYTHING: span} for span in cut.get(EVERYTHING, [])]
            for lacks in filter(None, found):
                known_on = morning if last == wanted[1] else None
                chunk = _Chunk(kind, (first, last), lacks, known_on, again)
                if again:
                    # Whatever an earlier run had left.
                    self.journal.unspool(chunk.name)
                yield chunk

    def _morning(self, wanted: Span, known: date) -> date | None:
        """Return the session that begins right after the days wanted, if it is this morning."""
        is_next = self._calendar.is_session(known) and self._calendar.previous(known) == wanted[1]
        return known if is_next else None

    def _names(self, kind: str, symbols: Sequence[str] | None) -> Sequence[str]:
        """Return what the journal names: symbols where they are asked for one by one."""
        if schema.KINDS[kind].subject != "symbol":
            return [EVERYTHING]
        if symbols is not None:
            return symbols
        if self._terms.parallel and kind in _BY_SYMBOL:
            return [one.symbol for one in self._source.instruments(self._market)]
        return [EVERYTHING]

    def _spans(self, kind: str, wanted: Span) -> Iterator[Span]:
        """Yield the chunks of a range: years of days, months or sessions of minutes."""
        first, last = wanted
        if kind == "minute" and self._terms.parallel:
            for session in self._calendar.sessions(first, last):
                # From the session before, so that what was brought joins into one span.
                yield first, session
                first = session + _DAY
        elif kind in _BY_YEAR:
            for year in range(first.year, last.year + 1):
                yield max(first, date(year, 1, 1)), min(last, date(year, 12, 31))
        elif kind in ("minute", "ticks"):
            while first <= last:
                following = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
                yield first, min(last, following - _DAY)
                first = following
        elif first <= last:
            yield first, last

    # --- fetching ------------------------------------------------------------------------

    def _read(
        self,
        chunks: Sequence[_Chunk],
        reader: ThreadPoolExecutor,
        brought: Brought,
        step: Callable[[], None],
    ) -> "Iterator[tuple[_Chunk, pa.Table, dict[str, str]]]":
        """Yield each chunk with its rows, and why some symbols (or all) could not be brought.

        What is in files is read ahead; a venue is not asked for more than may be waited for.
        """
        reading: Future[tuple[pa.Table, dict[str, str]]] | None = None
        for chunk, following in zip_longest(chunks, chunks[1:]):
            if self._terms.parallel and chunk.symbols is not None and chunk.kind in _BY_SYMBOL:
                yield chunk, *self._fetched_by_symbol(chunk, step)
                continue
            table, failed = reading.result() if reading else self._fetched(chunk, brought)
            reading = None
            if following is not None and not self._terms.parallel:
                reading = reader.submit(self._fetched, following, brought)
            yield chunk, table, failed
            for _ in chunk.lacking:
                step()

    def _fetched(self, chunk: _Chunk, brought: Brought) -> "tuple[pa.Table, dict[str, str]]":
        kind = schema.KINDS[chunk.kind]
        try:
            data = self._source.table(chunk.kind, self._market, chunk.symbols, *chunk.days)
            table = schema.cast(data, kind)
        except (BrokerError, DataError, UsageError) as error:
            # A file that cannot be read ends the import; of a venue only this kind is missing.
            if not self._terms.parallel or isinstance(error, AuthenticationError):
                raise
            log.error("자료를 받지 못함", kind=chunk.kind, reason=str(error))
            brought.failed[chunk.kind] = str(error)
            return kind.arrow().empty_table(), dict.fromkeys(chunk.lacking, str(error))
        return table, {}

    def _fetched_by_symbol(
        self, chunk: _Chunk, step: Callable[[], None]
    ) -> "tuple[pa.Table, dict[str, str]]":
        import pyarrow as pa

        listed = {one.symbol: one.listed for one in self._source.instruments(self._market)}
        tables: dict[str, pa.Table] = {}
        failed: dict[str, str] = {}
        todo = list(chunk.lacking)
        pool = ThreadPoolExecutor(self._terms.parallel, thread_name_prefix="fetch")
        try:
            for attempt in range(_TRIES):
                failures = 0
                failed = {}
                futures = {
                    pool.submit(self._one, chunk, symbol, listed.get(symbol)): symbol
                    for symbol in todo
                }
                for future in as_completed(futures):
                    symbol = futures[future]
                    try:
                        tables[symbol] = future.result()
                        failures = 0
                    except AuthenticationError:
                        raise
                    except (BrokerError, DataError) as error:
                        failures += 1
                        if failures >= _MOST_FAILURES:
                            raise
                        failed[symbol] = str(error)
                    if symbol in tables or attempt == _TRIES - 1:
                        step()
                todo = list(failed)
        finally:
            # After Ctrl+C nobody waits for what is under way: it is asked for again.
            pool.shutdown(wait=False, cancel_futures=True)
        for symbol, reason in failed.items():
            log.error("종목을 받지 못함", kind=chunk.kind, symbol=symbol, reason=reason)
        kind = schema.KINDS[chunk.kind]
        whole = pa.concat_tables([kind.arrow().empty_table(), *tables.values()])
        whole = whole.unify_dictionaries().combine_chunks()
        if self._terms.vendor is not None and chunk.kind == "daily":
            self._inferred[chunk.name] = self._infer(whole, chunk)
        return _from_the_first_lacking(whole, chunk.lacking), failed

    def _one(self, chunk: _Chunk, symbol: str, listed: date | None) -> "pa.Table":
        """Return the rows of one symbol, from the spool when it was fetched for this chunk before."""
        kind = schema.KINDS[chunk.kind]
        first, last = chunk.lacking[symbol]
        if listed is not None:
            first = max(first, listed)
        if first > last or not self._calendar.sessions(first, last):
            return kind.arrow().empty_table()
        kept = self.journal.spooled(chunk.name, symbol)
        if kept is not None:
            return schema.cast(kept, kind)
        if self._terms.vendor is not None and chunk.kind == "daily":
            first = _sessions_before(self._calendar, first, _OVERLAP)
        data = self._source.table(chunk.kind, self._market, [symbol], first, last)
        table = schema.cast(data, kind)
        self.journal.spool(chunk.name, symbol, table)
        return table

    def _infer(self, table: "pa.Table", chunk: _Chunk) -> list[CorporateAction]:
        """Return the actions that explain the adjusted closes of a chunk and are not known yet.

        What was traded on stands: the closes of the next evening, rounded otherwise, may tell
        another ratio of the same morning, or call a split a right, and then there would be both.
        """
        from trading.store.adjust import infer_actions

        assert self._terms.vendor is not None
        found = infer_actions(
            table,
            minor_per_unit=self._market.currency.minor_per_unit,
            vendor=self._terms.vendor,
            known_on=chunk.morning,
            source=self._source.name,
        )
        if found:
            days = [action.ex_date for action in found]
            told = {
                (action.symbol, action.ex_date): action.kind
                for action in self._lake.actions(self._market, min(days), max(days))
                if action.inferred
            }
            found = [
                action
                for action in found
                if (kind := told.get((action.symbol, action.ex_date))) is None
                # Of another kind it would stand beside the one that is there.
                or (chunk.again and kind is action.kind)
            ]
        return found

    def _absent(
        self, chunk: _Chunk, table: "pa.Table", result: "QualityResult | None"
    ) -> list[date]:
        """Return the sessions without any daily bar, though some symbol was listed, or with few."""
        if chunk.kind != "daily":
            return []
        days = _days_of(table)
        sessions = self._calendar.sessions(*chunk.days)
        if chunk.symbols is not None and not days.issuperset(sessions):
            # Days on which more symbols have their bar than are asked for here: these have none.
            first, last = chunk.days
            held = self._lake.table(
                self._market, "daily", columns=["session"], first=first, last=last
            )
            days |= _days_of(held, least=len(chunk.lacking))
        first, last = min(days, default=date.max), max(days, default=date.min)
        lives = [
            one
            for one in self._source.instruments(self._market)
            if chunk.symbols is None or one.symbol in chunk.lacking
        ]
        # Who has no known first day is not missed before the first bar, and is after it.
        surely = min((one.listed or date.max for one in lives), default=date.max)
        perhaps = min((one.listed or date.min for one in lives), default=date.max)
        gone = max((one.delisted or date.max for one in lives), default=date.min)
        thin = {
            date.fromisoformat(example["session"])
            for finding in (result.findings if result is not None else ())
            if finding.check == "thin_session"
            for example in finding.examples
        }
        none = {
            day
            for day in sessions
            if day not in days
            and (
                first < day < last
                or surely <= day < first
                or (last < day < gone and day >= perhaps)
            )
        }
        return sorted(thin | none)

    def _late(self, chunk: _Chunk) -> list[date]:
        """Return the last sessions of which an index that goes on has no level yet."""
        if chunk.kind != "index":
            return []
        first, end = chunk.days
        begin = end - _GOES_ON
        rows = self._lake.index(self._market, begin, end)
        newest = rows.groupby("name", observed=True)["session"].max()
        since = min((schema.day(at) for at in newest), default=end)
        try:
            late = [day for day in self._calendar.sessions(max(first, begin), end) if day > since]
        except ConfigError:
            # Of days before the market's law is stated nothing new comes.
            return []
        if late:
            log.info("아직 없는 지수", first=str(late[0]), last=str(late[-1]))
        return late

    # --- keeping -------------------------------------------------------------------------

    def _keep(
        self,
        chunk: _Chunk,
        table: "pa.Table",
        result: "QualityResult | None",
        failed: Mapping[str, str],
        brought: Brought,
    ) -> None:
        brought.failed.update(failed)
        if result is not None:
            self._gate.note(chunk.kind, result, brought.reports)
        if result is not None and result.refusals:
            for reason in result.refusals:
                log.error("자료를 통째로 받아들이지 않음", chunk=chunk.name, reason=reason)
            # Kept, the same rows would be refused for ever; and they tell of no action either.
            self.journal.unspool(chunk.name)
            self._inferred.pop(chunk.name, None)
            brought.refused += [f"{chunk.span[0]} ~ {chunk.span[1]}: {r}" for r in result.refusals]
            return
        kind = chunk.kind
        self._lake.upsert_actions(self._market, self._inferred.get(chunk.name, ()))
        self._inferred.pop(chunk.name, None)
        brought.rows[kind] = brought.rows.get(kind, 0) + len(table)
        brought.changed += self._gate.write(kind, table, result)
        if result is not None:
            brought.quarantined += len(result.quarantined)
            for finding in result.findings:
                brought.findings[finding.title] = (
                    brought.findings.get(finding.title, 0) + finding.failed
                )
        done = {name: span for name, span in chunk.lacking.items() if name not in failed}
        # Not noted: what is not there yet may be there the next time.
        absent = self._absent(chunk, table, result) if done else []
        if absent:
            # One line: a chunk of which nothing came has hundreds of them.
            log.error(
                "일봉이 없거나 대부분 빠진 거래일",
                sessions=len(absent),
                first=str(absent[0]),
                last=str(absent[-1]),
            )
        brought.missing += absent
        self.journal.add(kind, done, [*absent, *self._late(chunk)])
        if chunk.morning is not None:
            # From the session before, so that the mornings join into one span.
            self.journal.add("actions", dict.fromkeys(done, (chunk.span[1], chunk.morning)))
        # Of those that failed nothing is kept; the others are noted by now.
        self.journal.unspool(chunk.name)


class _Gate:
    """The quality gate with the settings of one home, and the two layers behind it."""

    def __init__(
        self, lake: "Lake", home: "Home", rules: "MarketRules", calendar: "SessionCalendar"
    ) -> None:
        from trading.store import quality

        self._lake = lake
        self._rules = rules
        self._calendar = calendar
        self._market = rules.market
        self._settings = quality.read_settings(home.config_dir)
        self._known_parts: dict[str, Part] | None = None
        self._known_instruments: list[Instrument] = []

    def judge(
        self,
        kind: str,
        table: "pa.Table",
        span: Span,
        *,
        history: "pa.Table | None",
        symbols: Sequence[str] | None,
        actions: Sequence[CorporateAction] = (),
    ) -> "QualityResult | None":
        """Judge a batch beside what came before it; ``None`` where no law is known for its kind.

        ``history`` holds rows before the batch that are not in the lake yet; else they are read.
        ``actions`` are not there yet either.
        """
        from trading.store import quality

        if kind not in quality.KINDS or len(table) == 0:
            return None
        first, last = span
        begin = self.begin(kind, first)
        if history is not None:
            history = _since(history, schema.KINDS[kind], begin)
        elif begin < first:
            history = self._lake.table(
                self._market, kind, symbols=symbols, first=begin, last=first - _DAY, layer="raw"
            )
        known = {
            (one.symbol, one.ex_date, one.kind): one
            for one in (*self._lake.actions(self._market, begin, last), *actions)
            if begin <= one.ex_date <= last
        }
        context = quality.Context(
            rules=self._rules,
            calendar=self._calendar,
            as_of=last,
            actions=list(known.values()),
            history=history if history is not None and len(history) else None,
            daily=self._lake.table(
                self._market, "daily", columns=_DAILY_COLUMNS, first=first, last=last
            )
            if kind in _JUDGED_BY_DAYS
            else None,
            instruments=self._instruments(),
            span=span,
        )
        return quality.check(kind, table, context, self._settings)

    def begin(self, kind: str, first: date) -> date:
        """Return from which session on rows before a batch help to judge it."""
        from trading.store import quality

        if kind not in quality.KINDS:
            return first
        back = quality.history_sessions(kind, self._settings)
        return _sessions_before(self._calendar, first, back)

    def _instruments(self) -> Sequence[Instrument]:
        """Return the instruments of the lake, read again when they have changed."""
        parts = self._lake.parts(self._market, "instruments")
        if parts != self._known_parts:
            self._known_parts = parts
            self._known_instruments = self._lake.instruments(self._market)
        return self._known_instruments

    def write(self, kind: str, table: "pa.Table", result: "QualityResult | None") -> int:
        """Write a judged batch; returns how many clean rows are new or different."""
        unique = _last_of_each(table, schema.KINDS[kind])
        if result is None:
            return self._lake.upsert(self._market, kind, unique) if len(unique) else 0
        self._lake.quarantine(self._market, kind, result.quarantined)
        self._lake.upsert(self._market, kind, unique, layer="raw")
        return self._lake.upsert(self._market, kind, result.passed)

    def note(self, kind: str, result: "QualityResult", reports: "dict[str, Report]") -> None:
        """Add a result to the report of its kind."""
        from trading.store import quality

        report = reports.setdefault(kind, quality.Report(self._market, kind))
        report.add(result)


def admit(
    lake: "Lake",
    home: "Home",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    frame: "pd.DataFrame",
) -> int:
    """Let daily bars that are at hand through the gate; returns how many are new or different.

    Judged beside the sessions that came before them, so that what looks back sees in a day what it
    sees in one batch.
    """
    table = schema.cast(frame, schema.DAILY_BARS)
    days = table["session"].to_numpy().astype("datetime64[D]")
    span: Span = days.min().item(), days.max().item()
    gate = _Gate(lake, home, rules, calendar)
    symbols = table["symbol"].unique().to_pylist()
    result = gate.judge("daily", table, span, history=None, symbols=symbols)
    if result is not None and result.refusals:
        raise SchemaError(" ".join(result.refusals))
    return gate.write("daily", table, result)


def write_pages(reports: "Mapping[str, Report]", home: "Home") -> str | None:
    """Write the quality page of a run and return where it is; ``None`` when nothing was judged."""
    from trading.store import quality

    if not reports:
        return None
    return str(quality.write_page(list(reports.values()), home.data_dir / "reports" / "quality"))


def _within(spans: Sequence[Span], first: date, last: date) -> list[Span]:
    """Return the days of ``spans`` inside a chunk."""
    return [(max(a, first), min(b, last)) for a, b in spans if a <= last and b >= first]


def _follows(chunk: _Chunk, before: _Chunk, begin: date) -> bool:
    """Whether the rows from ``begin`` to a chunk are those of the chunk before."""
    return (
        chunk.kind == before.kind
        and begin >= before.days[0]
        and chunk.days[0] == before.days[1] + _DAY
        and chunk.lacking.keys() <= before.lacking.keys()
    )


def _sessions_before(calendar: "SessionCalendar", day: date, sessions: int) -> date:
    """Return the session so many before ``day``, or the first one that the calendar knows."""
    for _ in range(sessions):
        try:
            day = calendar.previous(day)
        except ConfigError:
            break
    return day


def _since(table: "pa.Table", kind: schema.FrameSchema, first: date) -> "pa.Table":
    import pyarrow.compute as pc

    return table.filter(pc.field(kind.dated_by) >= first)


def _days_of(table: "pa.Table", *, least: int = 1) -> set[date]:
    """Return the sessions of which a table has so many rows."""
    days, rows = np.unique(table["session"].to_numpy().astype("datetime64[D]"), return_counts=True)
    return set(days[rows >= least].tolist())


def _from_the_first_lacking(table: "pa.Table", lacking: Mapping[str, Span]) -> "pa.Table":
    """Return the rows from each symbol's first missing day on: what came before is there."""
    symbols = table["symbol"].combine_chunks()
    # The dictionary may name symbols that have no row here.
    firsts = [lacking.get(symbol, _NEVER)[0] for symbol in symbols.dictionary.to_pylist()]
    if not len(table):
        return table
    first = np.array(firsts, dtype="datetime64[D]")[symbols.indices.to_numpy()]
    return table.filter(table["session"].to_numpy().astype("datetime64[D]") >= first)


def _last_of_each(table: "pa.Table", kind: schema.FrameSchema) -> "pa.Table":
    """Return the table with only the last of the rows that share a key."""
    order, repeats = schema.ordered(table, kind)
    if not repeats.any():
        return table
    is_last = np.append(~repeats[1:], True)
    return table.take(np.sort(order[is_last]))
