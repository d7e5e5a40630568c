"""Backtests and sweeps over recorded history."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trading import measures
from trading.backtest import runner
from trading.backtest.runner import BacktestResult
from trading.bootstrap import Installation
from trading.domain.decision import Verdict
from trading.domain.instrument import Market
from trading.errors import UsageError
from trading.research.history import (
    History,
    Scope,
    agents_of,
    evidence_lines,
    evidence_of,
    load_history,
    views_of,
)
from trading.sessions import SessionCalendar

if TYPE_CHECKING:
    from trading.strategies.base import ExitRules
    from trading.strategies.catalog import StrategySettings

_EXITS = "exits."
# The commonest verdicts tell why orders were few, or none.
_SHOWN_VERDICTS = 3

# Called with (done, all) as the work goes on.
Progress = Callable[[int, int], None]


def backtest(
    installation: Installation,
    strategy: str,
    scope: Scope,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trade recorded history by one strategy, or by the whole ensemble, and return the figures.

    Learned agents abstain: a model trained on these years would know their end.
    """
    strategies = installation.settings.strategies
    history = load_history(installation, scope)
    views = views_of(installation, history, agents_of(strategy, strategies), strategies)
    result = runner.run(
        views,
        history.raw,
        history.actions,
        history.calendar,
        history.rules,
        history.policy,
        cash=installation.settings.app.demo.cash_minor(history.market),
        first=history.first,
        last=history.last,
        progress=progress,
    )
    return {"strategy": strategy, **_figures(result, history)}


def sweep(
    installation: Installation,
    strategy: str,
    grid: Sequence[Mapping[str, Any]],
    scope: Scope,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trade recorded history once for each set of parameters, in one compiled loop each."""
    from trading.backtest import sweep as compiled

    history = load_history(installation, scope)
    runs: list[dict[str, Any]] = []
    for params in grid:
        strategies = with_params(
            installation.settings.strategies,
            strategy,
            params,
            installation.settings.execution.exits,
        )
        views = views_of(installation, history, agents_of(strategy, strategies), strategies)
        result = compiled.run(
            views,
            history.raw,
            history.actions,
            history.calendar,
            history.rules,
            replace(history.policy, agent_exits=strategies.exits()),
            cash=installation.settings.app.demo.cash_minor(history.market),
            first=history.first,
            last=history.last,
        )
        runs.append(
            {
                "params": dict(params),
                "final_equity": result.equity[-1],
                "orders": len(result.orders),
                "orders_hash": runner.orders_hash(result.orders),
                "metrics": performance([result.starting_cash, *result.equity], history.market),
            }
        )
        if progress is not None:
            progress(len(runs), len(grid))
    return {
        "strategy": strategy,
        "market": str(history.market),
        "currency": str(history.market.currency),
        **evidence_of(history),
        "runs": runs,
    }


def grid(strategy: str, params: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of ``name=value,value``; one empty set when none is given."""
    names, values = [], []
    for text in params:
        name, _, listed = text.partition("=")
        if not listed:
            raise UsageError(f"매개변수는 이름=값,값 꼴로 주십시오: {text}")
        names.append(name.strip())
        values.append([_number(v) for v in listed.split(",")])
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]


def with_params(
    strategies: "StrategySettings", strategy: str, params: Mapping[str, Any], exits: "ExitRules"
) -> "StrategySettings":
    """Return the settings with other parameters of one strategy, validated as on load.

    ``exits.stop_loss`` names a parameter of its exit rules; a strategy without its own begins
    with ``exits``, those of everybody.
    """
    from pydantic import ValidationError

    from trading.strategies.catalog import StrategySettings

    body = strategies.model_dump()
    if strategy not in body:
        raise UsageError(f"없는 전략입니다: {strategy}")
    block = {**body[strategy], **{k: v for k, v in params.items() if not k.startswith(_EXITS)}}
    rules = {k.removeprefix(_EXITS): v for k, v in params.items() if k.startswith(_EXITS)}
    if rules:
        block["exits"] = {**(block.get("exits") or exits.model_dump()), **rules}
    body[strategy] = block
    try:
        return StrategySettings.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or ", ".join(params)
        if first["type"] == "extra_forbidden":
            within = type(exits).model_fields if name.startswith(_EXITS) else body[strategy]
            known = ", ".join(k for k in within if k not in params)
            raise UsageError(
                f"{strategy}에 없는 매개변수입니다: {name} (있는 것: {known})"
            ) from None
        raise UsageError(f"쓸 수 없는 값입니다: {name}={params.get(name)}") from None


def performance(equity: Sequence[int], market: Market) -> dict[str, Any]:
    """Return the measures of an equity curve; ``None`` where too short to say."""
    values = np.asarray(equity, dtype=np.float64)
    returns = values[1:] / values[:-1] - 1.0
    per_year = SessionCalendar(market).sessions_per_year
    body: dict[str, Any] = {
        "total_return": float(values[-1] / values[0] - 1.0),
        "max_drawdown": float(measures.max_drawdown(values)),
    }
    if len(returns) >= 20:
        body |= {
            "annual_return": float(measures.cagr(values, periods_per_year=per_year)),
            "annual_volatility": float(
                measures.annual_volatility(returns, periods_per_year=per_year)
            ),
            "sharpe": float(measures.sharpe(returns, periods_per_year=per_year)),
            "sortino": float(measures.sortino(returns, periods_per_year=per_year)),
        }
    return {name: value if np.isfinite(value) else None for name, value in body.items()}


def text(result: Mapping[str, Any]) -> str:
    """Return a backtest's figures as a user reads them."""
    from trading.domain.instrument import Currency
    from trading.domain.wording import VERDICT_TEXT, money_text, percent_text

    metrics = result["metrics"]
    lines = [
        f"{result['strategy']}: {result['first_session']} ~ {result['last_session']}, "
        f"{result['sessions']:,}거래일",
        f"  주문 {result['orders']:,}건, 체결 {result['fills']:,}건",
        "  판정 "
        + " · ".join(
            f"{VERDICT_TEXT[Verdict[name]]} {count:,}건"
            for name, count in list(result["verdicts"].items())[:_SHOWN_VERDICTS]
        ),
        f"  최종 평가금액 {money_text(result['final_equity'], Currency(result['currency']))}, "
        f"수익률 {percent_text(metrics['total_return'])}, "
        f"최대 낙폭 {percent_text(-metrics['max_drawdown'])}",
    ]
    if "sharpe" in metrics and metrics["sharpe"] is not None:
        lines.append(f"  샤프 지수 {metrics['sharpe']:.2f}")
    return "\n".join([*lines, *evidence_lines(result)])


def sweep_text(result: Mapping[str, Any]) -> str:
    """Return a sweep's runs as a user reads them, best first."""
    from trading.domain.instrument import Currency
    from trading.domain.wording import money_text, percent_text

    currency = Currency(result["currency"])
    ranked = sorted(result["runs"], key=lambda r: -int(r["final_equity"]))
    lines = [
        f"{', '.join(f'{k}={v}' for k, v in run['params'].items()) or '설정값 그대로'}: {money_text(run['final_equity'], currency)} "
        f"({percent_text(run['metrics']['total_return'])}), 주문 {run['orders']:,}건"
        for run in ranked
    ]
    return "\n".join([*lines, *evidence_lines(result)])


def _figures(result: BacktestResult, history: History) -> dict[str, Any]:
    intents = [order.intent for day in result.days for order in day.orders]
    return {
        "market": str(history.market),
        "currency": str(history.market.currency),
        "first_session": str(result.sessions[0]),
        "last_session": str(result.sessions[-1]),
        "sessions": len(result.sessions),
        "orders": len(intents),
        "fills": sum(len(day.booked) for day in result.days),
        "denied": sum(len(day.denied) for day in result.days),
        "final_equity": result.equity[-1],
        "starting_cash": result.starting_cash,
        "cash_difference": result.cash_difference,
        "ambiguous_fills": result.ambiguous_fills,
        "verdicts": _verdicts(result),
        "decision_hash": runner.decision_hash(
            day.decision for day in result.days if day.decision is not None
        ),
        "orders_hash": runner.orders_hash(intents),
        **evidence_of(history),
        "metrics": performance([result.starting_cash, *result.equity], history.market),
    }


def _verdicts(result: BacktestResult) -> dict[str, int]:
    """Return how often each verdict fell, the most frequent first."""
    counted = Counter(
        choice.verdict
        for day in result.days
        if day.decision is not None
        for choice in day.decision.choices
    )
    return {verdict.name: count for verdict, count in counted.most_common()}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()
