"""The task of the ``retrain`` stage."""

from functools import partial

from prefect import task

from tasks import carry_out, worth_repeating
from trading import day as stages
from trading.day import StageResult


@task(
    name="모델 학습과 승격 심사",
    task_run_name="모델 학습과 승격 심사 {day}",
    retries=1,
    retry_delay_seconds=[5],
    retry_condition_fn=worth_repeating,
    # A stop for what hangs; how long training may take is in config/models.yaml.
    timeout_seconds=43_200,
)
async def train_models(day: str, is_full: bool = False) -> StageResult:
    """Train on data to the previous close; the champion stays unless it is beaten."""
    return await carry_out(partial(stages.retrain, is_full=is_full), day)
