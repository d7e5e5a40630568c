"""The task of the ``backfill`` flow."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish, worth_repeating
from trading.domain.instrument import Market


@task(
    name="기록 시세 채우기",
    task_run_name="기록 시세 채우기 {market} {first} {last}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_repeating,
    timeout_seconds=7200,
)
async def fill_lake(
    root: str | None, market: Market | None, first: date | None, last: date | None
) -> dict[str, Any]:
    """Bring the recorded bars of the range into the lake; what is there already stays."""
    from trading import bootstrap
    from trading import day as stages

    home = Path(root) if root is not None else None
    result = await in_day_thread(
        lambda: stages.backfill(bootstrap.open_home(home), market, first, last)
    )
    await publish("backfill", result.message, result.summary)
    return result.summary
