"""The task of the ``market_data`` stage."""

from prefect import task

from tasks import carry_out, worth_waiting
from trading import day as stages
from trading.day import StageResult


@task(
    name="시장 데이터 수집과 검사",
    task_run_name="시장 데이터 수집과 검사 {day}",
    # Without bars nobody watches the holdings all day: a venue that is down an hour before the open
    # is waited for.
    retries=4,
    retry_delay_seconds=[5, 30, 300, 900],
    retry_condition_fn=worth_waiting,
    timeout_seconds=1800,
)
async def collect_market_data(day: str) -> StageResult:
    """Collect, check and store the bars that the day needs."""
    return await carry_out(stages.market_data, day)
