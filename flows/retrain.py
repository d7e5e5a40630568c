"""Training: a stage of the day, and a flow of its own for when the day is over."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.states import Completed, State

from tasks import in_day_thread
from tasks.notify import tell_failure
from tasks.retrain import train_models
from trading.domain.instrument import Market
from trading.errors import MissingDataError, SessionBusyError

if TYPE_CHECKING:
    from trading.day import StageResult


@flow(name="train", flow_run_name="학습 {day}")
async def train(day: str) -> "StageResult":
    """Run the stage for the open day ``day``."""
    return await train_models(day)


@flow(name="retrain", flow_run_name="재학습", on_failure=[tell_failure])
async def retrain(
    market: Market | None = None, session_date: date | None = None, root: str | None = None
) -> dict[str, Any] | State:
    """Train for the next session of ``market`` without trading it."""
    from trading import bootstrap

    home = Path(root) if root is not None else None
    try:
        context = await in_day_thread(bootstrap.open_day, home, market, session_date)
    except (MissingDataError, SessionBusyError) as reason:
        return Completed(name="Skipped", message=str(reason))
    try:
        result = await train_models(context.key)
    finally:
        await in_day_thread(bootstrap.close_day, context.key)
    return result.summary
