"""The task of the ``intraday`` stage."""

from prefect import task

from tasks import carry_out
from trading import day as stages
from trading.day import StageResult


@task(
    name="장중 매매",
    task_run_name="장중 매매 {day}",
    timeout_seconds=86400,
)
async def run_session(day: str) -> StageResult:
    """Run the session from its opening to its close; a restart recovers from the ledger."""
    return await carry_out(stages.intraday, day)
