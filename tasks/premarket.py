"""The task of the ``premarket`` stage."""

import json

from prefect import task

from tasks import carry_out, publish_page, worth_repeating
from trading import day as stages
from trading.context import briefing_path
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
    """Screen the universe, prepare the policy of the session, and show why names were chosen."""
    from trading import bootstrap, briefing

    result = await carry_out(stages.premarket, day)
    kept = briefing_path(bootstrap.current_day(day)).read_text(encoding="utf-8")
    told = briefing.text(json.loads(kept))
    await publish_page(f"briefing-{day}", "장전 분석", f"```text\n{told}\n```")
    return result
