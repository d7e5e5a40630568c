"""Training: a stage of the day, and a flow of its own for all families, once a week."""

from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.states import Completed

from flows.parameters import MARKET, ONLY_MARKET, ROOT, described
from tasks import day_text, name_run, open_day
from tasks.market_data import collect_market_data
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
    market: Market | None = MARKET,
    session_date: date | None = described("이 거래일 전까지 배웁니다. 비우면 다음 거래일."),
    root: str | None = ROOT,
    only_market: Market | None = ONLY_MARKET,
    is_full: bool = described("모든 계열을 학습합니다. 매주 토요일의 예약이 그렇습니다.", False),
) -> dict[str, Any] | State:
    """Train for the next session of ``market`` without trading it.

    ``is_full`` takes every family; ``only_market`` is for schedules: ``Skipped`` unless it is the
    configured market.
    """
    from trading import bootstrap

    home = Path(root) if root is not None else None
    if only_market is not None and only_market is not bootstrap.configured_market(home):
        return Completed(name="Skipped", message=f"설정된 시장이 아닙니다: {only_market}")
    async with AsyncExitStack() as held:
        try:
            coming = session_date or bootstrap.coming_session(home, market)
            day = await held.enter_async_context(open_day(root, market, coming))
        except (MissingDataError, SessionBusyError) as reason:
            return Completed(name="Skipped", message=str(reason))
        await name_run(f"재학습 {day_text(day)}")
        await collect_market_data(day)
        return (await train_models(day, is_full=is_full)).summary
