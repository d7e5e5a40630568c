"""One backtest as a flow, for machines that research at night."""

from datetime import date
from typing import Any

from prefect import flow

from tasks.notify import tell_failure
from tasks.research import run_backtest
from trading.domain.instrument import Market


@flow(name="research", flow_run_name="연구 {strategy}", on_failure=[tell_failure])
async def research(
    strategy: str = "ensemble",
    market: Market | None = None,
    symbols: list[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    root: str | None = None,
) -> dict[str, Any]:
    """Backtest ``strategy`` on ``symbols``, or on the whole universe, over the dates."""
    return await run_backtest(root, strategy, market, symbols, first, last)
