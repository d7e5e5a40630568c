"""The whole day of one market: the parent of the stage flows, in their order."""

from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.closing import closing
from flows.features import features
from flows.intraday import intraday
from flows.market_data import market_data
from flows.parameters import MARKET, ONLY_MARKET, ROOT, described
from flows.premarket import premarket
from flows.retrain import train
from tasks import day_text, name_run, open_day, publish
from tasks.notify import tell_failure
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, SessionBusyError


def _run_name() -> str:
    asked = flow_run.parameters
    market = asked.get("market") or asked.get("only_market")
    named = MARKET_TEXT[Market(market)] if market else "설정된 시장"
    return f"하루 매매 {named} {asked.get('session_date') or '다음 거래일'}"


@flow(
    name="daily-trading",
    flow_run_name=_run_name,
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
async def daily_trading(
    market: Market | None = MARKET,
    session_date: date | None = described("거래일 (YYYY-MM-DD). 비우면 다음에 거래할 거래일."),
    root: str | None = ROOT,
    only_market: Market | None = ONLY_MARKET,
) -> dict[str, Any] | State:
    """Trade one session, from its data to its report.

    Parameters
    ----------
    market : Market, optional
        The market; the configured one when not given.
    session_date : date, optional
        The session; the next one to trade when not given.
    root : str, optional
        The home folder; chosen as on the command line when not given.
    only_market : Market, optional
        For schedules: end ``Skipped`` unless this is the configured market.
    """
    from trading import bootstrap

    home = Path(root) if root is not None else None
    if only_market is not None and only_market is not bootstrap.configured_market(home):
        return _skipped(f"설정된 시장이 아닙니다: {only_market}")
    async with AsyncExitStack() as held:
        try:
            day = await held.enter_async_context(open_day(root, market, session_date))
        except (MissingDataError, SessionBusyError) as reason:
            return _skipped(str(reason))
        await name_run(f"하루 매매 {day_text(day)}")
        await market_data(day)
        await features(day)
        await train(day)
        await premarket(day)
        await intraday(day)
        result = await closing(day)
    await publish(f"day-{day}", result.message, result.summary)
    return result.summary


def _skipped(reason: str) -> State:
    return Completed(name="Skipped", message=reason)
