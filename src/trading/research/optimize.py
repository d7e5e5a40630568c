"""Parameters looked for by a study over recorded history, and what the find is worth."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import walkforward
from trading.backtest.optimize import Found, Progress, State, open_study
from trading.backtest.record import ENSEMBLE
from trading.backtest.settings import Objective, Range
from trading.backtest.trials import Trial, TrialLedger
from trading.backtest.workers import Workers, open_workers
from trading.bootstrap import Installation, research_dir
from trading.domain.arrays import FloatArray, IntArray
from trading.errors import UsageError
from trading.research.evidence import overfitting
from trading.research.history import Scope, evidence_lines, load_history
from trading.research.parameters import Params, key_of
from trading.research.studies import OBJECTIVE_TEXT, STATE_TEXT, publish
from trading.research.trader import Trader, open_trials, trials_line

FOLDER = "optuna"
_SHOWN = 5


def optimize(
    installation: Installation,
    strategy: str,
    scope: Scope,
    progress: Progress | None = None,
    *,
    trials: int | None = None,
    objectives: Sequence[Objective] | None = None,
    name: str | None = None,
    workers: str | None = None,
) -> dict[str, Any]:
    """Look for parameters of ``strategy`` in the ranges of ``research.yaml``, and keep the study.

    The history is cut into stretches, each traded by an account of its own; a set of parameters
    that does worse than most is given up after some. The same command goes on where an earlier
    one was stopped. What is found was chosen on the very sessions that speak for it: how it does
    on others is what ``walk_forward`` says.
    """
    settings = installation.settings.research.optimize
    trader = Trader.of(installation, load_history(installation, scope, strategy), strategy)
    space = space_of(trader, installation.settings.research.spaces)
    wanted = tuple(objectives or settings.objectives)
    spans = _spans(trader, settings.folds)
    chosen = {
        "objectives": wanted,
        "spans": spans,
        "space": {key: within.model_dump() for key, within in space.items()},
        "settings": settings.model_dump(exclude={"trials", "storage", "objectives"}),
    }
    asked = trader.fingerprint(chosen)
    name = f"{strategy}-{trader.market}-{asked[:8]}" if name is None else name
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"연구의 이름에는 글자, 숫자, 점, 밑줄, 붙임표만 쓸 수 있습니다: {name}")
    folder = research_dir(installation.home) / FOLDER
    with (
        open_workers(workers, trader) as hands,
        open_trials(installation) as ledger,
        open_study(wanted, settings, folder=folder, name=name, asked=asked) as study,
    ):
        judge = _Judge(trader=trader, hands=hands, ledger=ledger, spans=spans, objectives=wanted)
        before = len(study.found)
        study.search(space, judge, trials or settings.trials, progress)
        found = study.found
        complete = [one for one in found if one.state is State.COMPLETE]
        returns = ledger.returns_of(
            trader.market, [judge.trial(one.params, None).identity for one in complete]
        )
        counted = ledger.count(trader.market)
        body = {
            "study": name,
            "storage": "optuna" if settings.storage is None else "database",
            "strategy": strategy,
            "market": str(trader.market),
            "currency": str(trader.market.currency),
            "policy_hash": trader.policy.hash,
            "first_session": str(trader.sessions[0]),
            "last_session": str(trader.sessions[-1]),
            **trader.evidence,
            "objectives": list(wanted),
            "folds": [[str(first), str(last)] for first, last in spans],
            "asked": len(found),
            "states": {str(s): sum(one.state is s for one in found) for s in State},
            "best": [_line(one, wanted) for one in study.best()],
            "importance": study.importance(),
            "luck": _luck(returns, trader),
            "overfitting": overfitting(returns, installation.settings.research.walk_forward.blocks),
            "trials": counted.to_json(),
            "new": len(found) - before,
        }
        return {**body, **publish(folder, installation.home.mlruns_dir, body, found)}


def text(result: Mapping[str, Any]) -> str:
    """Return a study as a user reads it."""
    lines = [
        f"{result['strategy']}: {result['first_session']} ~ {result['last_session']}, "
        f"조합 {result['asked']:,}개 (이번에 {result['new']:,}개)",
        "  "
        + ", ".join(
            f"{STATE_TEXT[State(name)]} {count:,}개" for name, count in result["states"].items()
        ),
    ]
    for one in result["best"][:_SHOWN]:
        values = ", ".join(f"{OBJECTIVE_TEXT[o]} {v:.3f}" for o, v in one["values"].items())
        params = ", ".join(f"{name}={value}" for name, value in one["params"].items())
        lines.append(f"  {params}: {values}")
    if not result["best"]:
        lines.append("  끝까지 시험한 조합이 없습니다.")
    if result["luck"] is not None:
        lines.append(
            f"  샤프 비율: 최고 {result['luck']['best_sharpe']:.2f}, 쓸모없는 조합을 그만큼 시험했을 때 "
            f"운만으로 기대되는 최고 {result['luck']['expected_best_sharpe']:.2f}"
        )
    if result["overfitting"] is not None:
        lines.append(f"  과최적화 확률(PBO) {result['overfitting']['pbo']:.0%}")
    lines.append(
        "  고른 기록에서 잰 값입니다. 다른 때에도 그런지는 trading walk-forward로 확인하십시오."
    )
    return "\n".join(
        [
            *lines,
            trials_line(result["trials"]),
            *evidence_lines(result),
            f"  보기: {result['page']}",
        ]
    )


def space_of(trader: Trader, spaces: Mapping[str, Mapping[str, Range]]) -> dict[str, Range]:
    """Return the ranges of the trader's strategy; of the ensemble, those of all its agents.

    Raises
    ------
    UsageError
        If ``research.yaml`` has none, or has a parameter that the strategy has not.
    """
    if trader.strategy == ENSEMBLE:
        space = {
            f"{agent}.{name}": within
            for agent in trader.strategies.enabled()
            for name, within in spaces.get(agent, {}).items()
        }
    else:
        space = dict(spaces.get(trader.strategy, {}))
    if not space:
        raise UsageError(
            f"config/research.yaml의 spaces에 {trader.strategy}의 탐색 범위를 적어 주십시오."
        )
    for name, within in space.items():
        # One value that is right in itself: a wrong name is told before anything is tried.
        value = within.choices[0] if within.choices is not None else within.low
        reason = refusal_of(trader, {name: value})
        if reason is not None and "없는 매개변수" in reason:
            raise UsageError(f"config/research.yaml의 spaces: {reason}")
    return space


def refusal_of(trader: Trader, params: Params) -> str | None:
    """Return why the strategy cannot have ``params``; ``None`` when it can."""
    try:
        trader.settings_of(params)
    except UsageError as error:
        return str(error)
    return None


def _luck(returns: Sequence[FloatArray], trader: Trader) -> dict[str, Any] | None:
    """Return the best Sharpe ratio beside the one to expect from as many worthless trials."""
    ratios = np.array([measures.period_sharpe(one) for one in returns])
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < 2:
        return None
    annual = math.sqrt(trader.policy.sessions_per_year)
    lucky = measures.expected_max_sharpe(len(ratios), variance=float(np.var(ratios, ddof=1)))
    return {
        "best_sharpe": annual * float(ratios.max()),
        "expected_best_sharpe": annual * lucky,
        "trials": len(ratios),
    }


def _spans(trader: Trader, folds: int) -> list[tuple[date, date]]:
    """Return first and last session of ``folds`` stretches as equally long as may be."""
    sessions = trader.sessions
    if len(sessions) < 20 * folds:
        raise UsageError(
            f"거래할 기록이 {len(sessions):,}거래일이라 {folds}조각으로 나누면 한 조각이 20거래일보다 "
            "짧습니다. config/research.yaml의 optimize.folds를 줄이거나 --from을 앞당기십시오."
        )
    return [(part[0], part[-1]) for part in np.array_split(np.array(sessions), folds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """What parameters are worth on the stretches of the history; see ``optimize.Judge``."""

    trader: Trader
    hands: Workers
    ledger: TrialLedger
    spans: Sequence[tuple[date, date]]
    objectives: Sequence[Objective]
    # The account on each stretch, of the sets of the batch at hand.
    known: dict[tuple[str, int], IntArray] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        return len(self.spans)

    def refusal(self, params: Params) -> str | None:
        return refusal_of(self.trader, params)

    def values(self, batch: Sequence[Params], fold: int) -> list[tuple[float, ...]]:
        wanted = {
            (key_of(params), k): (params, *self.spans[k])
            for params in batch
            for k in range(fold + 1)
            if (key_of(params), k) not in self.known
        }
        made = self.hands.map(_equity, list(wanted.values()))
        self.known.update(zip(wanted, made, strict=True))
        per_year = self.trader.policy.sessions_per_year
        paths = [self._path(params, fold + 1) for params in batch]
        return [
            tuple(
                walkforward.value_of(objective, path, per_year=per_year)
                for objective in self.objectives
            )
            for path in paths
        ]

    def ended(self, params: Params, state: State) -> None:
        returns = None
        if all((key_of(params), k) in self.known for k in range(self.folds)):
            returns = measures.returns_of(self._path(params, self.folds))
        self.ledger.record(self.trial(params, returns))

    def trial(self, params: Params, returns: FloatArray | None) -> Trial:
        return self.trader.trial(
            "optimize", params, returns, chosen={"stretches": [str(f) for f, _ in self.spans]}
        )

    def _path(self, params: Params, folds: int) -> FloatArray:
        """Return the accounts of the first stretches end to end, as one that begins at 1."""
        path = np.ones(1)
        for k in range(folds):
            equity = self.known[key_of(params), k].astype(np.float64)
            path = np.concatenate([path, path[-1] * equity[1:] / equity[0]])
        return path


def _equity(trader: Trader, asked: tuple[Params, date, date]) -> IntArray:
    params, first, last = asked
    return trader.trade(params, first, last).equity


def _line(found: Found, objectives: Sequence[Objective]) -> dict[str, Any]:
    return {
        "params": dict(found.params),
        "values": dict(zip(objectives, found.values, strict=True)),
    }
