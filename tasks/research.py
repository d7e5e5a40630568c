"""The task of the ``research`` flow."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish
from trading.domain.instrument import Market


@task(name="백테스트", task_run_name="백테스트 {strategy}", timeout_seconds=86400)
async def run_backtest(
    root: str | None,
    strategy: str,
    market: Market | None,
    symbols: list[str] | None,
    first: date | None,
    last: date | None,
) -> dict[str, Any]:
    """Run one backtest over recorded history."""
    from trading import bootstrap
    from trading import day as stages

    home = Path(root) if root is not None else None
    result = await in_day_thread(
        lambda: stages.research(bootstrap.open_home(home), strategy, market, symbols, first, last)
    )
    await publish("research", result.message, result.summary)
    return result.summary
