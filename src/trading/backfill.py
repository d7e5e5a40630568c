"""Filling the lake without trading: ``trading data backfill``, ``data import`` and their flow."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from trading import bootstrap
from trading.bootstrap import Installation
from trading.clock import WallClock, monotonic_seconds
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, UsageError
from trading.ports import BulkSource
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.intake import Intake, Progress, Terms, write_pages
from trading.store.lake import Lake

KIS = "kis"
_RECORDED = "recorded"
# What is brought from KIS only when it is named: a call for every share and session, and lists
# that say nothing of the past.
_ON_DEMAND = frozenset({"minute", "rankings"})
_BARS = ("daily", "minute", "ticks")
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be brought; what is not said is all that there is.

    ``source`` is ``kis`` or a recorded source: ``dataset``, or the configured one.
    """

    market: Market | None = None
    first: date | None = None
    last: date | None = None
    kinds: Sequence[str] | None = None
    symbols: Sequence[str] | None = None
    source: str = _RECORDED
    dataset: Path | None = None
    again: bool = False


def backfill(
    installation: Installation, request: Request, progress: Progress | None = None
) -> dict[str, Any]:
    """Bring what is missing of a range into the lake and return the figures.

    An interrupted or killed run is continued by the same call. The session of today, which has
    not ended, never enters as a daily bar.
    """
    begun = monotonic_seconds()
    market = request.market or installation.settings.app.market
    rules, calendar = bootstrap.rules_and_calendar(installation.settings, market)
    for kind in request.kinds or ():
        schema.kind_named(kind)
    with _opened(installation, request, market) as (source, terms):
        first, last, known = _range(installation, request, source, market, calendar)
        kinds = set(
            request.kinds or source.kinds(market) - (_ON_DEMAND if _is_kis(request) else set())
        )
        lake = Lake(installation.home.data_dir / "lake")
        intake = Intake(lake, installation.home, rules, calendar, source, terms)
        with intake.journal.held():
            brought = intake.bring(
                kinds,
                (first, last),
                known=known,
                symbols=request.symbols,
                again=request.again,
                progress=progress,
            )
    page = write_pages(brought.reports, installation.home)
    return {
        "market": str(market),
        "source": terms.origin,
        "first": first,
        "last": last,
        "rows": sum(brought.rows.get(kind, 0) for kind in _BARS),
        "kinds": brought.rows,
        "changed": brought.changed,
        "quarantined": brought.quarantined,
        "skipped": brought.skipped,
        "findings": brought.told,
        "refused": brought.refused,
        "missing": brought.missing,
        "failed": brought.failed,
        "unavailable": brought.unavailable,
        "unknown": brought.unknown,
        "seconds": round(monotonic_seconds() - begun, 1),
    } | ({"page": page} if page is not None else {})


def is_whole(result: dict[str, Any]) -> bool:
    """Whether everything that was asked for is in the lake."""
    return not any(result[name] for name in ("failed", "refused", "missing", "unknown"))


def text(result: dict[str, Any]) -> str:
    """Return the figures as a user reads them."""
    lines = [
        f"시세 {result['rows']:,}행을 검사해 {result['quarantined']:,}행을 격리했습니다. "
        f"새롭거나 바뀐 행 {result['changed']:,}개, {result['seconds']:,}초."
    ]
    lines += [f"  {kind}: {rows:,}행" for kind, rows in result["kinds"].items()]
    if result["skipped"]:
        lines.append(f"이미 있어 다시 받지 않은 것 {result['skipped']:,}건 (다시 받기: --again).")
    lines += [f"  {finding}" for finding in result["findings"]]
    for kind in result["unavailable"]:
        lines.append(f"이 자료원이나 계좌에는 없는 자료: {kind}")
    if result["unknown"]:
        lines.append(f"이 자료원에 없는 종목: {', '.join(result['unknown'])}")
    lines += [f"받아들이지 않은 구간 {refused}" for refused in result["refused"]]
    if result["missing"]:
        days = ", ".join(str(day) for day in result["missing"][:_SHOWN])
        more = " …" if len(result["missing"]) > _SHOWN else ""
        lines.append(
            f"일봉이 없거나 대부분 빠진 거래일 {len(result['missing']):,}일: {days}{more}. "
            "다음에 다시 받습니다."
        )
    failed = list(result["failed"].items())
    if failed:
        lines.append(f"받지 못한 것 {len(failed):,}건. 같은 명령을 다시 치면 그것만 받습니다.")
        lines += [f"  {name}: {reason}" for name, reason in failed[:_SHOWN]]
        if len(failed) > _SHOWN:
            lines.append(f"  … 그 밖에 {len(failed) - _SHOWN:,}건")
    if "page" in result:
        lines.append(f"품질 보고서: {result['page']}")
    return "\n".join(lines)


def _is_kis(request: Request) -> bool:
    return request.source == KIS


@contextlib.contextmanager
def _opened(
    installation: Installation, request: Request, market: Market
) -> Iterator[tuple[BulkSource, Terms]]:
    if _is_kis(request):
        if request.dataset is not None:
            raise UsageError("--source kis와 --dataset은 함께 쓸 수 없습니다.")
        with bootstrap.open_history(installation, market, request.symbols) as source:
            yield source, bootstrap.kis_terms(installation, market)
        return
    if request.source != _RECORDED:
        raise UsageError(f"자료원은 {_RECORDED} 또는 {KIS}입니다: {request.source}")
    folder = request.dataset or installation.settings.app.data.dataset
    recorded = bootstrap.open_source(installation, folder)
    yield recorded, bootstrap.recorded_terms(recorded, folder)


def _range(
    installation: Installation,
    request: Request,
    source: BulkSource,
    market: Market,
    calendar: SessionCalendar,
) -> tuple[date, date, date]:
    """Return the first and the last day to bring, and the session whose morning it is."""
    first, last = request.first, request.last
    if first is not None and last is not None and first > last:
        raise UsageError(f"시작일 {first}이(가) 끝일 {last}보다 늦습니다.")
    if _is_kis(request):
        today = WallClock().now().astimezone(ZoneInfo(market.timezone_name)).date()
        complete = calendar.previous(today)
        last = min(last or complete, complete)
        if first is None:
            first = last
            for _ in range(installation.settings.app.data.first_bar_sessions[market]):
                first = calendar.previous(first)
        if first > last:
            raise UsageError(f"{first}의 거래일은 아직 끝나지 않았습니다. 마지막은 {last}입니다.")
        return first, last, today
    recorded = source.sessions(market)
    if not recorded:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    if (first or recorded[0]) > recorded[-1] or (last or recorded[-1]) < recorded[0]:
        raise MissingDataError(f"그 기간의 기록이 없습니다. 기록: {recorded[0]} ~ {recorded[-1]}")
    first, last = max(first or recorded[0], recorded[0]), min(last or recorded[-1], recorded[-1])
    return first, last, last
