"""The task of the ``backfill`` flow."""

from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish_page, worth_repeating
from trading import backfill
from trading.backfill import Request


@task(
    name="시세 채우기",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_repeating,
)
async def fill_lake(root: str | None, request: Request) -> dict[str, Any]:
    """Bring what is missing of the range through the quality gate into the lake.

    Each try goes on where the one before ended; years of a whole market take hours.
    """
    home = Path(root) if root is not None else None
    summary = await in_day_thread(_fill_lake, home, request)
    await publish_page("backfill", "시세 채우기", f"```text\n{backfill.text(summary)}\n```")
    return summary


def _fill_lake(root: Path | None, request: Request) -> dict[str, Any]:
    from trading import bootstrap

    installation = bootstrap.open_home(root)
    # Nobody looks at its log while it runs.
    with bootstrap.notifier_of(installation):
        return backfill.backfill(installation, request)
