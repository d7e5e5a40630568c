"""Training: a stage of the day, and a flow of its own for when the day is over."""

from contextlib import AsyncExitStack
from datetime import date
from typing import Any

from prefect import State, flow
from prefect.states import Completed

from tasks import open_day
from tasks.notify import tell_failure
from tasks.retrain import train_models
from trading.day import StageResult
from trading.domain.instrument import Market
from trading.errors import MissingDataError, SessionBusyError


@flow(name="train", flow_run_name="학습 {day}")
async def train(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await train_models(day)


@flow(name="retrain", flow_run_name="재학습", on_failure=[tell_failure])
async def retrain(
    market: Market | None = None, session_date: date | None = None, root: str | None = None
) -> dict[str, Any] | State:
    """Train for the next session of ``market`` without trading it."""
    async with AsyncExitStack() as held:
        try:
            day = await held.enter_async_context(open_day(root, market, session_date))
        except (MissingDataError, SessionBusyError) as reason:
            return Completed(name="Skipped", message=str(reason))
        return (await train_models(day)).summary
