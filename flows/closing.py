"""Settlement, reconciliation, parity and the report."""

from prefect import flow

from tasks.closing import close_session
from trading.day import StageResult


@flow(name="closing", flow_run_name="마감 {day}")
async def closing(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await close_session(day)
