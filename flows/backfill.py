"""Fill the lake from a recorded source or from KIS, without trading."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow

from tasks.backfill import fill_lake
from tasks.notify import tell_failure
from trading.backfill import Request
from trading.domain.instrument import Market


@flow(name="backfill", flow_run_name="시세 채우기", on_failure=[tell_failure])
async def backfill(
    market: Market | None = None,
    first: date | None = None,
    last: date | None = None,
    kinds: list[str] | None = None,
    symbols: list[str] | None = None,
    source: str = "recorded",
    dataset: str | None = None,
    again: bool = False,
    root: str | None = None,
) -> dict[str, Any]:
    """Bring what is missing from ``first`` to ``last``; all that there is when not given.

    The parameters are those of ``trading data backfill``; a run that failed goes on where it was.
    """
    request = Request(
        market=market,
        first=first,
        last=last,
        kinds=kinds,
        symbols=symbols,
        source=source,
        dataset=Path(dataset) if dataset is not None else None,
        again=again,
    )
    return await fill_lake(root, request)
