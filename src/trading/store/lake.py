"""The Parquet lake: every kind of market data of ``schema.KINDS``, by layer and market.

Layout: ``{raw,clean}/market=KRX/kind=daily/month=YYYY-MM/part-<hash>.parquet`` (minute bars and
ticks by ``date=``). How files are written and replaced is ``parts``'; what may enter the clean
layer is decided by ``quality``.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.errors import UsageError
from trading.home import lake_dir
from trading.store import journal, parts, schema
from trading.store.parts import Damage, Dataset, Part

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from trading.domain.market import AdjustedPanel, RawPanel
    from trading.store.fundamentals import Known

Layer = Literal["raw", "clean"]

_LAYERS: tuple[Layer, ...] = ("raw", "clean")

_WIDE = frozenset({"HUGEINT", "UHUGEINT"})
_SQL_ERRORS = (
    (
        r"Table with name (\S+) does not exist",
        "그런 표가 없음: {0}. 표는 daily_krx처럼 종류_시장입니다 (모두 보기: SHOW TABLES).",
    ),
    (r'Referenced column "([^"]+)" not found', "그런 열이 없음: {0} (열 보기: DESCRIBE 표)."),
    (r'syntax error at or near "([^"]+)"', 'SQL 문법 오류: "{0}" 근처를 봐 주십시오.'),
    (r"Permission Error", "저장소 밖의 파일은 읽거나 쓸 수 없습니다."),
)


class Lake:
    """The lake under ``root`` (``data/lake``); made on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def upsert(
        self,
        market: Market,
        kind_name: str,
        data: "pd.DataFrame | pa.Table",
        layer: Layer = "clean",
    ) -> int:
        """Write rows of a kind over those of the same key.

        Returns how many rows are new or different. Rows that say the same change nothing, not
        even a file's hash; when they were fetched does not count as a difference.
        """
        kind = schema.kind_named(kind_name)
        return self._dataset(market, kind.name, layer).upsert(schema.cast(data, kind))

    def table(
        self,
        market: Market,
        kind_name: str,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        layer: Layer = "clean",
    ) -> "pa.Table":
        """Return rows of a kind; the range (both ends included) narrows what is dated.

        Files come oldest first, and inside each the rows are sorted by key; a kind that is kept
        in one file is sorted by key as a whole.
        """
        return self._dataset(market, kind_name, layer).table(
            columns=columns, symbols=symbols, first=first, last=last
        )

    def frame(
        self,
        market: Market,
        kind_name: str,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        layer: Layer = "clean",
    ) -> "pd.DataFrame":
        """Return the same as ``table`` as a pandas frame, sorted by what it has of the key."""
        kind = schema.kind_named(kind_name)
        table = self.table(
            market,
            kind_name,
            columns=columns,
            symbols=symbols,
            first=first,
            last=last,
            layer=layer,
        )
        return schema.to_frame(schema.by_key(table, kind), kind)

    def parts(self, market: Market, kind_name: str, layer: Layer = "clean") -> dict[str, Part]:
        """Return what the manifest says of each file, by partition (``month=2024-05``)."""
        return dict(self._dataset(market, kind_name, layer).manifest().parts)

    def daily(
        self,
        market: Market,
        symbols: Sequence[str] | None,
        first: date,
        last: date,
        layer: Layer = "clean",
    ) -> "pd.DataFrame":
        """Return the daily bars of the range (both included), sorted by symbol and session."""
        return self.frame(market, "daily", symbols=symbols, first=first, last=last, layer=layer)

    def index(self, market: Market, first: date, last: date) -> "pd.DataFrame":
        """Return every index kept for the market, by name and session."""
        return self.frame(market, "index", first=first, last=last)

    def upsert_instruments(
        self, market: Market, instruments: Iterable[Instrument], source: str = ""
    ) -> int:
        """Write instruments over those of the same symbol."""
        import pandas as pd

        rows = [asdict(item) | {"source": source} for item in instruments]
        frame = pd.DataFrame(rows, columns=list(schema.INSTRUMENTS.columns))
        return self.upsert(market, "instruments", frame)

    def instruments(self, market: Market) -> list[Instrument]:
        """Return every instrument kept for the market, by symbol."""
        columns = [name for name in schema.INSTRUMENTS.columns if name in Instrument.__slots__]
        rows = self.table(market, "instruments", columns=columns).to_pylist()
        return [Instrument(**{**row, "exchange": Exchange(row["exchange"])}) for row in rows]

    def upsert_actions(self, market: Market, actions: Iterable[CorporateAction]) -> int:
        """Write actions over those of the same symbol, ex-date and kind."""
        import pandas as pd

        rows = [asdict(item) for item in actions]
        return self.upsert(
            market, "actions", pd.DataFrame(rows, columns=list(schema.ACTIONS.columns))
        )

    def actions(self, market: Market, first: date, last: date) -> list[CorporateAction]:
        """Return the actions with an ex-date in the range, by ex-date and symbol."""
        columns = [name for name in schema.ACTIONS.columns if name in CorporateAction.__slots__]
        rows = self.table(market, "actions", columns=columns, first=first, last=last).to_pylist()
        found = [CorporateAction(**{**row, "kind": ActionKind(row["kind"])}) for row in rows]
        return sorted(found, key=lambda item: (item.ex_date, item.symbol, item.kind))

    def sessions(self, market: Market, layer: Layer = "clean") -> list[date]:
        """Return every session with a daily bar, oldest first."""
        import pyarrow.compute as pc

        table = self.table(market, "daily", columns=["session"], layer=layer)
        found: list[date] = sorted(pc.unique(table["session"]).to_pylist())
        return found

    def last(
        self, market: Market, symbols: Sequence[str], n: int, as_of: date | None = None
    ) -> "pd.DataFrame":
        """Return the last ``n`` daily bars of each symbol up to ``as_of``; see ``bars``."""
        from trading.store.bars import last_bars

        return last_bars(self, market, symbols, n, as_of)

    def cross_section(self, market: Market, session: date) -> "pd.DataFrame":
        """Return the daily bar of every symbol that has one on the session, by symbol."""
        from trading.store.bars import cross_section

        return cross_section(self, market, session)

    def panel(
        self,
        market: Market,
        symbols: Iterable[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        *,
        adjusted: bool = True,
        known_on: date | None = None,
    ) -> "AdjustedPanel | RawPanel":
        """Return the as-of-adjusted panel of the symbols and range, or the raw one.

        ``None`` means all of them. The first session is the origin of the adjustment;
        ``known_on`` is that of ``panels.build_panels``.
        """
        from trading.store.panels import shipped_panels

        raw, as_of = shipped_panels(self, market, symbols, first, last, known_on=known_on)
        return as_of if adjusted else raw

    def quarantine(
        self, market: Market, kind_name: str, data: "pd.DataFrame | pa.Table"
    ) -> Path | None:
        """Keep failing rows with their ``reason``; the same rows give the same file.

        Returns where, or ``None`` when there are none.
        """
        import pyarrow as pa

        if len(data) == 0:
            return None
        kind = schema.kind_named(kind_name)
        reasons = pa.chunked_array([pa.array(data["reason"], type=pa.string())])
        table = schema.cast(data, kind).append_column("reason", reasons)
        directory = self._quarantine(market, kind_name)
        with parts.locked(directory):
            for left in directory.glob("*.tmp"):
                left.unlink()
            return directory / parts.write_part(table, directory, kind).file

    def quarantined(self, market: Market, kind_name: str) -> "pa.Table":
        """Return the rows set aside, each once, with their ``reason``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = schema.kind_named(kind_name)
        names = list(kind.columns)
        tables = []
        files = sorted(self._quarantine(market, kind_name).glob("part-*.parquet"))
        parts.refuse_changed(files)
        for path in files:
            table = pq.ParquetFile(path).read()
            reasons = table["reason"].cast(pa.string())
            tables.append(schema.completed(table, kind, names).append_column("reason", reasons))
        if not tables:
            return kind.arrow().append(pa.field("reason", pa.string())).empty_table()
        whole = pa.concat_tables(tables).unify_dictionaries()
        said = [name for name in whole.column_names if name != "fetched_at"]
        once = whole.group_by(said, use_threads=False).aggregate([("fetched_at", "min")])
        return once.rename_columns([*said, "fetched_at"]).select(whole.column_names)

    def set_aside(self, market: Market, folder: Path) -> None:
        """Move everything of ``market`` to ``folder``: bars of two sources never mix."""
        # What was brought is noted in "backfill", which goes last: killed in between, the next run
        # moves the rest.
        for path in sorted(self.root.glob(f"*/market={market.name}"), reverse=True):
            target = folder / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def status(self) -> dict[str, Any]:
        """Return what the lake holds, from the manifests alone."""
        datasets = []
        for layer, market, dataset in self._written():
            manifest = dataset.manifest()
            found = list(manifest.parts.values())
            datasets.append(
                {
                    "layer": layer,
                    "market": market.value,
                    "kind": dataset.kind.name,
                    "rows": sum(part.rows for part in found),
                    "symbols": len(manifest.symbols),
                    "files": len(found),
                    "bytes": sum(part.bytes for part in found),
                    "first": min((part.first for part in found if part.first), default=None),
                    "last": max((part.last for part in found if part.last), default=None),
                    "sources": sorted({source for part in found for source in part.sources}),
                    "fetched": max((part.fetched for part in found if part.fetched), default=None),
                }
            )
        quarantined = sum(1 for _ in self.root.glob("quarantine/market=*/kind=*/*.parquet"))
        return {"root": str(self.root), "datasets": datasets, "quarantine_files": quarantined}

    def verify(self) -> list[Damage]:
        """Compare every file with the hash that its manifest or its name tells."""
        found = [damage for *_, dataset in self._written() for damage in dataset.damages()]
        aside = sorted(self.root.glob("quarantine/market=*/kind=*/part-*.parquet"))
        return found + parts.changed(aside)

    def repair(self) -> list[tuple[Market, str, Damage]]:
        """Move damaged files to ``damaged/`` and forget them, so that they can be fetched again.

        Returns the market and kind of each.
        """
        found = []
        for layer, market, dataset in self._written():
            kind = dataset.kind.name
            for damage in dataset.damages():
                # Before the lake forgets them: what is only fetched once more is not lost.
                lost = None
                if damage.first is not None and damage.last is not None:
                    lost = date.fromisoformat(damage.first), date.fromisoformat(damage.last)
                journal.forget(self.root, market, kind, lost)
                if kind == schema.ACTIONS.name:
                    # Nobody is asked for these alone: they come with the bars that tell them.
                    journal.forget(self.root, market, schema.DAILY_BARS.name, lost)
            found += [
                (market, kind, damage)
                for damage in dataset.repair(self._damaged(market, kind) / layer)
            ]
        for market in Market:
            for kind in schema.KINDS:
                place = self._quarantine(market, kind)
                for damage in parts.changed(sorted(place.glob("part-*.parquet"))):
                    parts.move(damage.path, self._damaged(market, kind) / "quarantine")
                    found.append((market, kind, damage))
        return found

    def sql(self, query: str) -> "pd.DataFrame":
        """Run one DuckDB SELECT over the lake's views; nothing else can be read or written.

        ``daily_krx``, ``minute_us`` …: a view for each kind and market; ``raw_daily_krx`` for
        what came, ``quarantine_daily_krx`` for what was set aside, with its ``reason``. Sums of
        whole numbers are exact: ``int64``, or Python's ``int`` where that is too narrow.
        """
        import duckdb

        def run() -> "pd.DataFrame":
            views = self._views()
            try:
                with duckdb.connect(":memory:") as connection:
                    _make_views(connection, {name: files for name, (files, _) in views.items()})
                    statements = connection.extract_statements(query)
                    if [str(item.type) for item in statements] != ["StatementType.SELECT"]:
                        raise UsageError("SQL은 SELECT 문 하나만 쓸 수 있습니다.")
                    for name in views.keys() & set(re.findall(r"\w+", query.lower())):
                        if (dataset := views[name][1]) is not None:
                            dataset.check()
                    return _answered(connection, query)
            except duckdb.Error as error:
                for files, _ in views.values():
                    for file in files:
                        # What DuckDB says of a file that a writer has replaced is of many kinds.
                        file.stat()
                raise UsageError(_sql_sentence(error)) from error

        return parts.retried(run, [dataset for *_, dataset in self._written()])

    def _views(self) -> dict[str, tuple[list[Path], Dataset | None]]:
        """Return the files of each view, and the dataset whose manifest names them."""
        views: dict[str, tuple[list[Path], Dataset | None]] = {}
        for market in Market:
            for kind in schema.KINDS:
                aside = sorted(self._quarantine(market, kind).glob("part-*.parquet"))
                views[f"quarantine_{kind}_{market.value}"] = aside, None
        for layer, market, dataset in self._written():
            prefix = "" if layer == "clean" else f"{layer}_"
            views[f"{prefix}{dataset.kind.name}_{market.value}"] = dataset.files(), dataset
        return views

    def fingerprint(self, market: Market, layer: Layer = "clean") -> str:
        """Return a hash of everything kept for the market; equal content has an equal hash."""
        digest = hashlib.sha256()
        for kind in schema.KINDS:
            for name, part in sorted(self.parts(market, kind, layer).items()):
                digest.update(f"{kind}/{name}/{part.file}\n".encode())
        return digest.hexdigest()

    def _dataset(self, market: Market, kind_name: str, layer: Layer) -> Dataset:
        kind = schema.kind_named(kind_name)
        if layer not in _LAYERS:
            raise UsageError(f"자료 층은 {', '.join(_LAYERS)} 중 하나여야 함: {layer}")
        return Dataset(self.root / layer / f"market={market.name}" / f"kind={kind.name}", kind)

    def _written(self) -> "Iterator[tuple[Layer, Market, Dataset]]":
        """Yield what was ever written, in order."""
        for layer in _LAYERS:
            for market in Market:
                for kind_name in schema.KINDS:
                    dataset = self._dataset(market, kind_name, layer)
                    if dataset.directory.is_dir():
                        yield layer, market, dataset

    def _quarantine(self, market: Market, kind_name: str) -> Path:
        return self.root / "quarantine" / f"market={market.name}" / f"kind={kind_name}"

    def _damaged(self, market: Market, kind_name: str) -> Path:
        return self.root / "damaged" / f"market={market.name}" / f"kind={kind_name}"


# ---- one line in a notebook ------------------------------------------------------------------
# ``from trading.store import lake`` and then ``lake.daily("us", "AAPL", "2005-01-03")``. Days are
# ``date`` or ISO text; ``root`` is the home folder, by default the one that the commands use.


def at(root: Path | str | None = None) -> Lake:
    """Return the lake of a home folder."""
    return Lake(lake_dir(None if root is None else Path(root)))


def read(
    kind: str,
    market: str,
    symbols: str | Sequence[str] | None = None,
    first: date | str | None = None,
    last: date | str | None = None,
    *,
    columns: Sequence[str] | None = None,
    layer: Layer = "clean",
    root: Path | str | None = None,
) -> "pd.DataFrame":
    """Return rows of any kind of ``schema.KINDS``, sorted by key; both ends are included."""
    return at(root).frame(
        _market(market),
        kind,
        columns=columns,
        symbols=_symbols(symbols),
        first=_day(first),
        last=_day(last),
        layer=layer,
    )


daily = partial(read, "daily")
minute = partial(read, "minute")
ticks = partial(read, "ticks")
index = partial(read, "index")
instruments = partial(read, "instruments")
actions = partial(read, "actions")
listings = partial(read, "listings")
sectors = partial(read, "sectors")


def last(
    market: str,
    symbols: str | Sequence[str],
    n: int,
    as_of: date | str | None = None,
    *,
    root: Path | str | None = None,
) -> "pd.DataFrame":
    """Return the last ``n`` daily bars of each symbol up to ``as_of``."""
    return at(root).last(_market(market), _symbols(symbols) or [], n, _day(as_of))


def cross_section(
    market: str, session: date | str, *, root: Path | str | None = None
) -> "pd.DataFrame":
    """Return the daily bar of every symbol on a session."""
    return at(root).cross_section(_market(market), _date(session))


def panel(
    market: str,
    symbols: str | Sequence[str] | None = None,
    first: date | str | None = None,
    last: date | str | None = None,
    *,
    adjusted: bool = True,
    known_on: date | str | None = None,
    root: Path | str | None = None,
) -> "AdjustedPanel | RawPanel":
    """Return the panel of the symbols and range, as-of adjusted or raw; see ``Lake.panel``."""
    return at(root).panel(
        _market(market),
        _symbols(symbols),
        _day(first),
        _day(last),
        adjusted=adjusted,
        known_on=_day(known_on),
    )


def fundamentals(
    market: str,
    metrics: str | Sequence[str],
    symbols: str | Sequence[str],
    first: date | str,
    last: date | str | None = None,
    *,
    root: Path | str | None = None,
) -> "Known":
    """Return what was known of each metric on each session of the range."""
    from trading.sessions import SessionCalendar
    from trading.store.fundamentals import asof

    start = _date(first)
    days = SessionCalendar(_market(market)).sessions(start, _day(last) or start)
    wanted, names = _symbols(metrics) or [], _symbols(symbols) or []
    return asof(at(root), _market(market), wanted, days, names)


def bars(
    market: str,
    symbols: str | Sequence[str] | None,
    first: date | str,
    last: date | str | None = None,
    *,
    every: int,
    root: Path | str | None = None,
) -> "pd.DataFrame":
    """Return bars of ``every`` minutes, counted from the open of each session.

    They are made of the minute bars of the range, where none are kept of its ticks.
    """
    from trading.sessions import SessionCalendar
    from trading.store import minutes

    store, chosen, start = at(root), _market(market), _date(first)
    calendar = SessionCalendar(chosen)
    scope: Any = {"symbols": _symbols(symbols), "first": start, "last": _day(last) or start}
    made = minutes.wider(store.table(chosen, "minute", **scope), calendar, every=every)
    if not len(made):
        ticks = store.table(chosen, "ticks", **scope)
        made = minutes.from_ticks(ticks, calendar, store.instruments(chosen), every=every)
    return schema.to_frame(made, schema.MINUTE_BARS)


def sql(query: str, *, root: Path | str | None = None) -> "pd.DataFrame":
    """Return the result of a SELECT over the views; see ``Lake.sql``."""
    return at(root).sql(query)


def status(*, root: Path | str | None = None) -> "pd.DataFrame":
    """Return what the lake holds, a row a layer, market and kind."""
    import pandas as pd

    return pd.DataFrame(at(root).status()["datasets"])


def _market(name: str) -> Market:
    try:
        return Market(name)
    except ValueError:
        raise UsageError(f"시장은 {', '.join(Market)} 중 하나여야 함: {name}") from None


def _symbols(given: str | Sequence[str] | None) -> list[str] | None:
    return [given] if isinstance(given, str) else None if given is None else list(given)


def _day(given: date | str | None) -> date | None:
    return None if given is None else _date(given)


def _date(given: date | str) -> date:
    if isinstance(given, date):
        return given
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise UsageError(f"날짜는 YYYY-MM-DD로 적어 주세요: {given}") from None


def _make_views(
    connection: "duckdb.DuckDBPyConnection", views: Mapping[str, Sequence[Path]]
) -> None:
    """Make the views over their files, and let the connection touch nothing else."""
    for market in Market:
        for kind in schema.KINDS.values():
            # A kind that nothing was kept of has its columns all the same.
            shape = connection.from_arrow(kind.arrow().empty_table())
            shape.create_view(f"{kind.name}_{market.value}")
    every = []
    for name, paths in views.items():
        if files := [str(path) for path in paths]:
            connection.read_parquet(files, hive_partitioning=False).create_view(name)
            every += files
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in every)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET allowed_paths = [{quoted}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _answered(connection: "duckdb.DuckDBPyConnection", query: str) -> "pd.DataFrame":
    """Return what a query says; Ctrl+C ends it at once."""
    # In the main thread DuckDB answers a signal with an error of its own.
    with ThreadPoolExecutor(1, thread_name_prefix="sql") as worker:
        answer = worker.submit(_fetched, connection, query)
        try:
            return answer.result()
        except KeyboardInterrupt:
            while not answer.done():
                # Again and again: a query that is about to begin forgets that it was to end.
                connection.interrupt()
                wait([answer], timeout=0.05)
            raise


def _fetched(connection: "duckdb.DuckDBPyConnection", query: str) -> "pd.DataFrame":
    """Return the rows of a query, the sums of whole numbers exact."""
    relation = connection.sql(query)
    wide = [place for place, kind in enumerate(relation.types) if str(kind) in _WIDE]
    if not wide:
        plain: pd.DataFrame = relation.df()
        return plain
    # As a frame DuckDB gives 128 bits as floats, which are exact up to 2^53 only.
    columns = []
    for place, name in enumerate(relation.columns):
        quoted = name.replace('"', '""')
        cast = "::VARCHAR" if place in wide else ""
        columns.append(f'#{place + 1}{cast} AS "{quoted}"')
    frame: pd.DataFrame = relation.project(", ".join(columns)).df()
    for place in wide:
        frame.isetitem(place, _integers(frame.iloc[:, place]))
    return frame


def _integers(texts: "pd.Series[str]") -> Any:
    import pandas as pd

    numbers = [None if pd.isna(text) else int(text) for text in texts]
    known = [number for number in numbers if number is not None]
    if known and not -(2**63) <= min(known) <= max(known) < 2**63:
        return pd.Series(numbers, dtype=object)
    return pd.array(numbers, dtype="int64" if len(known) == len(numbers) else "Int64")


def _sql_sentence(error: Exception) -> str:
    """Return what DuckDB says against a query, in Korean where it is one of the usual things."""
    text = str(error)
    for pattern, sentence in _SQL_ERRORS:
        if found := re.search(pattern, text):
            return sentence.format(*found.groups())
    return f"SQL 오류: {text}"
