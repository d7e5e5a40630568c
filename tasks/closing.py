"""The task of the ``closing`` stage."""

from prefect import task

from tasks import carry_out, worth_repeating
from trading import day as stages
from trading.day import StageResult


@task(
    name="마감, 대조, 보고서",
    task_run_name="마감, 대조, 보고서 {day}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_repeating,
    timeout_seconds=3600,
)
async def close_session(day: str) -> StageResult:
    """Settle, reconcile, recompute and report the session."""
    return await carry_out(stages.closing, day)
