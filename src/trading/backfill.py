"""Filling the lake from recorded history without trading: ``trading data import`` and its flow."""

from datetime import date
from pathlib import Path
from typing import Any

from trading import bootstrap
from trading.bootstrap import Installation
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, UsageError
from trading.store.intake import ingest
from trading.store.lake import Lake


def backfill(
    installation: Installation,
    market: Market | None = None,
    first: date | None = None,
    last: date | None = None,
    dataset: Path | None = None,
) -> dict[str, Any]:
    """Bring the recorded bars of ``first`` to ``last`` into the lake; all there are by default.

    Bars that are there already stay as they are. Returns the figures of the quality gate.
    """
    settings = installation.settings
    market = market or settings.app.market
    source = bootstrap.open_source(installation, dataset)
    rules, calendar = bootstrap.rules_and_calendar(settings, market)
    recorded = source.sessions(market)
    if not recorded:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    if (first or recorded[0]) > recorded[-1] or (last or recorded[-1]) < recorded[0]:
        raise MissingDataError(f"그 기간의 기록이 없습니다. 기록: {recorded[0]} ~ {recorded[-1]}")
    first, last = first or recorded[0], last or recorded[-1]
    if first > last:
        raise UsageError(f"시작일 {first}이(가) 끝일 {last}보다 늦습니다.")
    return ingest(
        Lake(installation.home.data_dir / "lake"),
        source,
        installation.home,
        rules,
        calendar,
        first=max(first, recorded[0]),
        last=min(last, recorded[-1]),
        known=min(last, recorded[-1]),
    ) or {"rows": 0, "quarantined": 0}


def text(result: dict[str, Any]) -> str:
    """Return the figures as a user reads them."""
    lines = [f"시세 {result['rows']:,}행을 검사해 {result['quarantined']:,}행을 격리했습니다."]
    lines += [f"  {finding}" for finding in result.get("findings", ())]
    if "page" in result:
        lines.append(f"품질 보고서: {result['page']}")
    return "\n".join(lines)
