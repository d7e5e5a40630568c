"""One backtest as a flow, for machines that research at night."""

from datetime import date
from typing import Any

from prefect import flow

from flows.parameters import MARKET, ROOT, described
from tasks.notify import tell_failure
from tasks.research import run_backtest
from trading.domain.instrument import Market


@flow(name="research", flow_run_name="연구 {strategy}", on_failure=[tell_failure])
async def research(
    strategy: str = described(
        "전략 이름: ensemble 또는 config/strategies.yaml의 하나.", "ensemble"
    ),
    market: Market | None = MARKET,
    symbols: list[str] | None = described("종목의 목록. 비우면 모두."),
    first: date | None = described("첫 거래일 (YYYY-MM-DD). 비우면 기록의 처음부터."),
    last: date | None = described("끝 거래일 (YYYY-MM-DD). 비우면 기록의 끝까지."),
    root: str | None = ROOT,
) -> dict[str, Any]:
    """Backtest ``strategy`` on ``symbols``, or on the whole universe, over the dates."""
    return await run_backtest(root, strategy, market, symbols, first, last)
