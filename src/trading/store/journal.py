"""What each source has brought into the lake already, by kind and days: nothing is fetched twice.

Beside the lake's layers, under ``backfill/market=KRX``: one JSON file a source, replaced as a
whole, and a spool of what was fetched for a chunk that is not whole yet. Both may be deleted: then
more is fetched again, and the lake stays what it is.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading.domain.instrument import Market
from trading.errors import DataError, SessionBusyError
from trading.log import get_logger
from trading.store.parts import write_durably

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

Span = tuple[date, date]
# In the place of a symbol: all that the source has.
EVERYTHING = "*"

_FOLDER = "backfill"
_DAY = timedelta(days=1)
_NAME_LETTERS = 16
_LOCK_SECONDS = 60.0


class Journal:
    """What one source has brought for one market, under the lake's ``root``.

    ``origin`` names the source: its name, or the folder of its files.
    """

    def __init__(self, root: Path, market: Market, origin: str) -> None:
        self.origin = origin
        name = hashlib.sha256(origin.encode()).hexdigest()[:_NAME_LETTERS]
        self._folder = _folder(root, market)
        self._path = self._folder / f"{name}.json"
        self._spool = self._folder / f"spool-{name}"

    def missing(self, kind: str, symbols: Sequence[str], wanted: Span) -> dict[str, list[Span]]:
        """Return the days of ``wanted`` that were not brought for each symbol, oldest first.

        Symbols that lack nothing are left out.
        """
        kept = self._read().get(kind, {})
        whole = kept.get(EVERYTHING, [])
        found = {s: _without(wanted, sorted(whole + kept.get(s, []))) for s in symbols}
        return {symbol: spans for symbol, spans in found.items() if spans}

    def add(self, kind: str, brought: Mapping[str, Span], absent: Sequence[date] = ()) -> None:
        """Note the days that were brought for each symbol, but for ``absent``; durable on return."""
        left_out = [(day, day) for day in absent]

        def note(kinds: dict[str, dict[str, list[Span]]]) -> None:
            kept = kinds.setdefault(kind, {})
            for symbol, span in brought.items():
                kept[symbol] = _joined([*kept.get(symbol, []), *_without(span, left_out)])

        self._change(note)

    def forget(self, kind: str, lost: Span | None) -> None:
        """Drop the days, all of them when not named, so that they are fetched again."""

        def drop(kinds: dict[str, dict[str, list[Span]]]) -> None:
            kept = kinds.pop(kind, {})
            if lost is not None:
                kinds[kind] = {
                    symbol: [left for span in spans for left in _without(span, [lost])]
                    for symbol, spans in kept.items()
                }

        self._change(drop)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other back-fill from this source away; ``SessionBusyError`` while one runs."""
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_suffix(".running"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SessionBusyError(
                f"다른 채우기가 같은 자료를 받는 중입니다: {self.origin}"
            ) from None
        try:
            yield
        finally:
            lock.release()

    # --- the spool -----------------------------------------------------------------------

    def spooled(self, chunk: str, symbol: str) -> "pa.Table | None":
        """Return what was fetched for a symbol of an unfinished chunk, ``None`` when nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._spooled_at(chunk, symbol)
        if not path.exists():
            return None
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException):
            log.warning("받아 둔 자료가 손상되어 다시 받음", file=str(path))
            path.unlink(missing_ok=True)
            return None

    def spool(self, chunk: str, symbol: str, table: "pa.Table") -> None:
        """Keep what was fetched for a symbol until its chunk is whole."""
        import pyarrow.parquet as pq

        path = self._spooled_at(chunk, symbol)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        pq.write_table(table, fresh)
        fresh.replace(path)

    def unspool(self, chunk: str) -> None:
        """Drop what was kept for a chunk that is in the lake by now."""
        shutil.rmtree(self._spool / chunk, ignore_errors=True)

    def sweep(self, since: date) -> None:
        """Drop what was kept for chunks that nobody has gone on with since a day.

        Their names hold days that are not asked for again: nothing else would take them away.
        """
        for folder in self._spool.glob("*"):
            with suppress(FileNotFoundError):
                if datetime.fromtimestamp(folder.stat().st_mtime, UTC).date() < since:
                    self.unspool(folder.name)

    def _spooled_at(self, chunk: str, symbol: str) -> Path:
        # A symbol may have letters that a file name may not.
        return self._spool / chunk / f"{symbol.encode().hex()}.parquet"

    # --- the file ------------------------------------------------------------------------

    def _read(self) -> dict[str, dict[str, list[Span]]]:
        try:
            body = json.loads(self._path.read_text(encoding="utf-8"))
            return {
                kind: {
                    symbol: [(date.fromisoformat(a), date.fromisoformat(b)) for a, b in spans]
                    for symbol, spans in kept.items()
                }
                for kind, kept in body["kinds"].items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"채우기 기록을 읽을 수 없음: {self._path} — 이 파일을 지우면 처음부터 다시 받고, "
                "이미 저장된 시세는 그대로입니다"
            ) from error

    def _change(self, change: Callable[[dict[str, dict[str, list[Span]]]], None]) -> None:
        from filelock import FileLock

        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            kinds = self._read()
            change(kinds)
            body = {"origin": self.origin, "kinds": _as_json(kinds)}
            write_durably(self._path, json.dumps(body, ensure_ascii=False).encode())


def origins(root: Path, market: Market) -> frozenset[str]:
    """Return the sources that have brought anything for a market."""
    found = set()
    for path in _folder(root, market).glob("*.json"):
        try:
            found.add(str(json.loads(path.read_text(encoding="utf-8"))["origin"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"채우기 기록을 읽을 수 없음: {path}") from error
    return frozenset(found)


def forget(root: Path, market: Market, kind: str, lost: Span | None) -> None:
    """Have every source bring the days again: what they brought is no longer in the lake."""
    for origin in origins(root, market):
        Journal(root, market, origin).forget(kind, lost)


def _folder(root: Path, market: Market) -> Path:
    return root / _FOLDER / f"market={market.name}"


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return the days of ``spans`` as few spans, oldest first."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + _DAY:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def _without(wanted: Span, done: Sequence[Span]) -> list[Span]:
    """Return the days of ``wanted`` that are in no span of ``done``, oldest first."""
    left: list[Span] = []
    first, last = wanted
    for begun, ended in _joined(done):
        if begun > first:
            left.append((first, min(begun - _DAY, last)))
        first = max(first, ended + _DAY)
        if first > last:
            break
    if first <= last:
        left.append((first, last))
    return [(a, b) for a, b in left if a <= b]


def _as_json(kinds: Mapping[str, Mapping[str, Sequence[Span]]]) -> dict[str, Any]:
    return {
        kind: {
            symbol: [[a.isoformat(), b.isoformat()] for a, b in spans]
            for symbol, spans in kept.items()
            if spans
        }
        for kind, kept in kinds.items()
    }
