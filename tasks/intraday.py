"""The task of the ``intraday`` stage."""

from prefect import task

from tasks import carry_out, worth_restarting
from trading import day as stages
from trading.day import StageResult


@task(
    name="장중 매매",
    task_run_name="장중 매매 {day}",
    # Where the venue fails for longer than its client has patience, nobody watches the holdings.
    # No pause is as long as the dead-man switch's (``supervision.dead_man_seconds``): it would take
    # the account away from the session that is about to go on.
    retries=3,
    retry_delay_seconds=[5, 30, 120],
    retry_condition_fn=worth_restarting,
    timeout_seconds=86400,
)
async def run_session(day: str) -> StageResult:
    """Run the session from its opening to its close; a restart recovers from the ledger."""
    return await carry_out(stages.intraday, day)
