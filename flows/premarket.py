"""The screen and the policy of the session."""

from prefect import flow

from tasks.premarket import prepare_session
from trading.day import StageResult


@flow(name="premarket", flow_run_name="장전 {day}")
async def premarket(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await prepare_session(day)
