"""The task of the ``backfill`` flow."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish, worth_repeating
from trading.domain.instrument import Market


@task(
    name="기록 시세 채우기",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_repeating,
    timeout_seconds=7200,
)
async def fill_lake(
    root: str | None, market: Market | None, first: date | None, last: date | None
) -> dict[str, Any]:
    """Bring the recorded bars of the range through the quality gate into the lake."""
    home = Path(root) if root is not None else None
    summary = await in_day_thread(_fill_lake, home, market, first, last)
    await publish("backfill", "기록된 시세를 저장소에 채웠습니다.", summary)
    return summary


def _fill_lake(
    root: Path | None, market: Market | None, first: date | None, last: date | None
) -> dict[str, Any]:
    from trading import backfill, bootstrap

    return backfill.backfill(bootstrap.open_home(root), market, first, last)
