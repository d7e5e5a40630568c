"""Backtests and sweeps over recorded history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trading import measures
from trading.backtest import figures, runner
from trading.backtest.record import benchmarks
from trading.backtest.replay import ReplayKind
from trading.backtest.runner import BacktestResult
from trading.backtest.workers import open_workers
from trading.bootstrap import Installation
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Verdict
from trading.domain.instrument import Market
from trading.research import records, robustness
from trading.research.evidence import choice_lines, evidence_of_choice
from trading.research.history import (
    Scope,
    evidence_lines,
    evidence_of,
    load_history,
    replay_of,
    with_slippage,
)
from trading.research.parameters import Params
from trading.research.trader import Trader, open_trials, trade, trials_line
from trading.sessions import SessionCalendar

if TYPE_CHECKING:
    from trading.backtest.page import Language
    from trading.backtest.record import RunRecord

# The commonest verdicts tell why orders were few, or none.
_SHOWN_VERDICTS = 3

# Called with (done, all) as the work goes on.
Progress = Callable[[int, int], None]


def backtest(
    installation: Installation,
    strategy: str,
    scope: Scope,
    progress: Progress | None = None,
    *,
    replay: ReplayKind = ReplayKind.DAILY,
    slippage_bps: float | None = None,
    impact: float | None = None,
    report: "Language | None" = None,
    is_robustness_asked: bool = False,
) -> dict[str, Any]:
    """Trade recorded history by one strategy, or by the whole ensemble, and return the figures.

    Learned agents abstain: a model trained on these years would know their end. ``replay`` says
    what a session's prints are made of, where that was recorded; ``slippage_bps`` and ``impact``
    as in ``history.with_slippage``. With ``report``, the language of
    the page, the run is kept and its page written. ``is_robustness_asked`` trades it again under
    other conditions (``research.robustness``), on daily bars.
    """
    strategies = installation.settings.strategies
    history = with_slippage(load_history(installation, scope, strategy), slippage_bps, impact)
    tapes = replay_of(history, replay)
    trader = Trader.of(installation, history, strategy)
    evaluation = trader.evaluation_of(strategies)
    trader.forget()
    result = runner.run_both(
        trader.views(evaluation),
        history.raw,
        history.actions,
        history.calendar,
        history.rules,
        history.policy,
        cash=trader.cash,
        first=history.first,
        last=history.last,
        replay=tapes,
        progress=progress,
    )
    replayed = dict(tapes.sessions) if tapes is not None else {str(replay): len(result.sessions)}
    with open_trials(installation) as ledger:
        returns = measures.returns_of(np.array([result.starting_cash, *result.equity]))
        ledger.record(trader.trial("backtest", {}, returns, chosen={"replay": str(replay)}))
        trials = ledger.count(history.market)
    record = records.record_run(installation, history, result, strategy, replayed, trials)
    if is_robustness_asked:
        found = robustness.measure(
            trader,
            evaluation,
            record,
            installation.settings.research.robustness,
            progress,
        )
        record = replace(record, robustness=found)
    return {
        "strategy": strategy,
        **_figures(result, record),
        **evidence_of(history),
        "replay": str(replay),
        "replayed_sessions": replayed,
        "replayed_names": dict(tapes.names) if tapes is not None else {},
        "trials": trials.to_json(),
        **({"robustness": record.robustness} if record.robustness is not None else {}),
        **(records.publish(installation, record, report) if report is not None else {}),
    }


def sweep(
    installation: Installation,
    strategy: str,
    grid: Sequence[Params],
    scope: Scope,
    progress: Progress | None = None,
    *,
    workers: str | None = None,
    slippage_bps: float | None = None,
    impact: float | None = None,
) -> dict[str, Any]:
    """Trade recorded history once for each set of parameters, in one compiled loop each.

    Whoever does the work (``backtest.workers``), the result is the same.
    """
    history = with_slippage(load_history(installation, scope, strategy), slippage_bps, impact)
    trader = Trader.of(installation, history, strategy)
    runs: list[dict[str, Any]] = []
    returns: list[FloatArray] = []
    # Before any of them is traded: one that cannot be is told at once.
    for params in grid:
        trader.settings_of(params)
    with open_workers(workers, trader) as hands, open_trials(installation) as ledger:
        for made in hands.map(trade, grid):
            ledger.record(trader.trial("sweep", made.params, made.returns))
            returns.append(made.returns)
            runs.append(
                {
                    "params": made.params,
                    "final_equity": int(made.equity[-1]),
                    "orders": made.orders,
                    "orders_hash": made.orders_hash,
                    "ambiguous_fills": made.ambiguous_fills,
                    "slippage": made.slippage,
                    "metrics": performance(made.equity, trader.market),
                }
            )
            if progress is not None:
                progress(len(runs), len(grid))
        trials = ledger.count(trader.market)
    universe, _ = benchmarks(trader.raw, trader.adjusted, np.array(trader.rows))
    return {
        "strategy": strategy,
        "market": str(trader.market),
        "currency": str(trader.market.currency),
        **trader.evidence,
        "runs": runs,
        "trials": trials.to_json(),
        **evidence_of_choice(returns, universe, installation.settings.research),
    }


def performance(equity: Sequence[int] | IntArray, market: Market) -> dict[str, Any]:
    """Return the measures of an equity curve; ``None`` where too short to say."""
    per_year = SessionCalendar(market).sessions_per_year
    return dict(figures.path_figures(equity, periods_per_year=per_year))


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
        lines.append(f"  샤프 비율 {metrics['sharpe']:.2f}")
    currency = Currency(result["currency"])
    if result["ambiguous_fills"]:
        lines.append(
            f"  봉 안의 순서를 모르는 체결 {result['ambiguous_fills']:,}건은 손실로 계산했습니다. "
            f"모두 이익이었다면 {money_text(result['optimistic_final_equity'], currency)}"
        )
    if result["slippage"]:
        lines.append(f"  슬리피지 {money_text(result['slippage'], currency)} (수수료·세금과 따로)")
    if result["replay"] != ReplayKind.DAILY:
        lines.append("  재생: " + _replayed_text(result))
    if "report" in result:
        lines += [f"  실행 {result['run_id']}", f"  성적표 {result['report']}"]
    if "robustness" in result:
        told = robustness.lines(result["robustness"], Currency(result["currency"]))
        return "\n".join([*lines, *evidence_lines(result), *told])
    return "\n".join([*lines, *evidence_lines(result)])


def _replayed_text(result: Mapping[str, Any]) -> str:
    from trading.domain.wording import REPLAY_TEXT

    sessions, names = result["replayed_sessions"], result["replayed_names"]
    return ", ".join(
        f"{REPLAY_TEXT[kind]} {sessions.get(kind, 0):,}거래일 (종목·일 {names.get(kind, 0):,}건)"
        for kind in (result["replay"], ReplayKind.DAILY)
    )


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
    told = (trials_line(result["trials"]), *choice_lines(result), *evidence_lines(result))
    return "\n".join([*lines, *told])


def _figures(result: BacktestResult, record: "RunRecord") -> dict[str, Any]:
    return {
        "market": str(record.market),
        "currency": str(record.currency),
        "first_session": str(result.sessions[0]),
        "last_session": str(result.sessions[-1]),
        "sessions": len(result.sessions),
        "orders": record.orders,
        "fills": len(record.fills),
        "denied": sum(len(day.denied) for day in result.days),
        "final_equity": result.equity[-1],
        "starting_cash": result.starting_cash,
        "cash_difference": result.cash_difference,
        "ambiguous_fills": result.ambiguous_fills,
        "optimistic_final_equity": (result.optimistic_equity or result.equity)[-1],
        "slippage": result.slippage,
        "verdicts": dict(record.verdicts),
        "decision_hash": record.decision_hash,
        "orders_hash": record.orders_hash,
        "metrics": dict(figures.run_figures(record)),
    }
