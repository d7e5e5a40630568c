"""Features of the universe up to the previous close."""

from prefect import flow

from tasks.features import build_features
from trading.day import StageResult


@flow(name="features", flow_run_name="특성 {day}")
async def features(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await build_features(day)
