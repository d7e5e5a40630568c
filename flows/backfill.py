"""Fill the lake from the configured source, without trading."""

from datetime import date
from typing import Any

from prefect import flow

from tasks.backfill import fill_lake
from tasks.notify import tell_failure
from trading.domain.instrument import Market


@flow(name="backfill", flow_run_name="기록 시세 채우기", on_failure=[tell_failure])
async def backfill(
    market: Market | None = None,
    first: date | None = None,
    last: date | None = None,
    root: str | None = None,
) -> dict[str, Any]:
    """Store the recorded bars of ``first`` to ``last``; all that there are when not given."""
    return await fill_lake(root, market, first, last)
