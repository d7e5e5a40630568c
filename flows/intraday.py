"""The session itself, from its opening to its close."""

from prefect import flow

from tasks.intraday import run_session
from trading.day import StageResult


@flow(name="intraday", flow_run_name="장중 {day}")
async def intraday(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await run_session(day)
