"""The task of the ``research`` flow."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish
from trading.domain.instrument import Market
from trading.research.history import Scope


@task(name="백테스트", task_run_name="백테스트 {strategy}", timeout_seconds=86400)
async def run_backtest(
    root: str | None,
    strategy: str,
    market: Market | None,
    symbols: list[str] | None,
    first: date | None,
    last: date | None,
) -> dict[str, Any]:
    """Run one backtest over recorded history."""
    summary = await in_day_thread(
        _run_backtest,
        Path(root) if root is not None else None,
        strategy,
        Scope(market=market, symbols=symbols, first=first, last=last),
    )
    await publish(
        "research", f"백테스트 {strategy}: {summary['sessions']}거래일", summary["metrics"]
    )
    return summary


def _run_backtest(root: Path | None, strategy: str, scope: Scope) -> dict[str, Any]:
    from trading import bootstrap
    from trading.research import runs

    installation = bootstrap.open_home(root)
    with bootstrap.notifier_of(installation):
        return runs.backtest(installation, strategy, scope)
