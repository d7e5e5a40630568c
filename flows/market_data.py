"""Bars of the day: collected, checked, stored."""

from prefect import flow

from tasks.market_data import collect_market_data
from trading.day import StageResult


@flow(name="market-data", flow_run_name="시장 데이터 {day}")
async def market_data(day: str) -> StageResult:
    """Run the stage for the open day ``day``."""
    return await collect_market_data(day)
