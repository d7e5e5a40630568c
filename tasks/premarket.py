"""The task of the ``premarket`` stage."""

from prefect import task

from tasks import carry_out, worth_repeating
from trading import day as stages
from trading.day import StageResult


@task(
    name="장전 선별과 판단 준비",
    task_run_name="장전 선별과 판단 준비 {day}",
    retries=1,
    retry_delay_seconds=[5],
    retry_condition_fn=worth_repeating,
    timeout_seconds=1800,
)
async def prepare_session(day: str) -> StageResult:
    """Screen the universe and prepare the policy of the session."""
    return await carry_out(stages.premarket, day)
