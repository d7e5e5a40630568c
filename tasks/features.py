"""The task of the ``features`` stage."""

from prefect import task

from tasks import carry_out, worth_repeating
from trading import day as stages
from trading.day import StageResult


@task(
    name="특성 계산",
    task_run_name="특성 계산 {day}",
    retries=1,
    retry_delay_seconds=[5],
    retry_condition_fn=worth_repeating,
    timeout_seconds=1800,
)
async def build_features(day: str) -> StageResult:
    """Build the features of the universe up to the previous close."""
    return await carry_out(stages.features, day)
