"""Walk-forward over recorded history: parameters chosen on the past, traded on what followed."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import runner, walkforward
from trading.backtest.optimize import Space, State, open_study
from trading.backtest.record import benchmarks
from trading.backtest.settings import Objective, OptimizeSettings, Scheme
from trading.backtest.sweep import SweepResult
from trading.backtest.trials import TrialLedger
from trading.backtest.walkforward import Fold, Stretch
from trading.backtest.workers import Workers, open_workers
from trading.bootstrap import Installation, research_dir
from trading.errors import UsageError
from trading.models.inference import TrainedModel
from trading.research.evidence import against_universe, dispersion, overfitting
from trading.research.history import Scope, evidence_lines, load_history
from trading.research.optimize import refusal_of, space_of
from trading.research.parameters import Params, key_of
from trading.research.runs import Progress, performance
from trading.research.studies import OBJECTIVE_TEXT
from trading.research.trader import Traded, Trader, open_trials, trade, trials_line
from trading.store.parts import make_durably, write_durably

FOLDER = "walk-forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the history is divided and what is best; ``None`` takes ``research.yaml``'s."""

    scheme: Scheme | None = None
    train: int | None = None
    test: int | None = None
    purge: int | None = None
    objective: Objective | None = None


def walk_forward(
    installation: Installation,
    strategy: str,
    candidates: Sequence[Params],
    scope: Scope,
    plan: Plan,
    progress: Progress | None = None,
    *,
    trials: int | None = None,
    workers: str | None = None,
) -> dict[str, Any]:
    """Choose parameters on each training range, trade the choices on the tests, and keep it.

    The choice is among ``candidates``, or what a search of ``trials`` in the ranges of
    ``research.yaml`` finds on each training range. A candidate trades the whole history once:
    what it had earned by the end of a training range is all that is known of it there, since its
    account is a causal function of the past.
    """
    research = installation.settings.research
    settings = research.walk_forward
    trader = Trader.of(installation, load_history(installation, scope, strategy), strategy)
    objective, scheme = plan.objective or settings.objective, plan.scheme or settings.scheme
    parts = walkforward.folds(
        len(trader.sessions),
        scheme=scheme,
        train=plan.train or settings.train_sessions,
        test=plan.test or settings.test_sessions,
        purge=settings.purge_sessions if plan.purge is None else plan.purge,
    )
    for params in candidates:
        trader.settings_of(params)
    space = None
    if trials is not None:
        if any(candidates):
            raise UsageError("--param과 --trials는 함께 쓸 수 없습니다.")
        space = space_of(trader, research.spaces)
    with open_workers(workers, trader) as hands, open_trials(installation) as ledger:
        pool = _Pool(trader, hands, ledger)
        if space is None:
            pool.trade(candidates, progress)
            choices = [_choice(pool, fold, objective) for fold in parts]
        else:
            choices = [
                _searched(pool, fold, objective, space, trials or 1, research.optimize)
                for fold in _told(parts, progress)
            ]
        # Taught anew for each test, by what was known where its training range ends.
        models = [trader.models_at(trader.rows[fold.train[1] - 1]) for fold in parts]
        made = _chained(trader, parts, choices, models)
        # The way in which parameters are chosen was chosen too.
        chosen = {
            "scheme": scheme,
            "objective": objective,
            "folds": [[*fold.train, *fold.test] for fold in parts],
            "candidates": [dict(params) for params in candidates],
            "trials": trials,
        }
        path = np.array([made.starting_cash, *made.equity], dtype=np.float64)
        ledger.record(
            trader.trial(
                "walk-forward",
                {},
                measures.returns_of(path),
                chosen={"walk_forward": chosen},
                first=made.sessions[0],
            )
        )
        counted = ledger.count(trader.market)
    universe, _ = benchmarks(trader.raw, trader.adjusted, np.array(trader.rows))
    body = {
        "strategy": strategy,
        "market": str(trader.market),
        "currency": str(trader.market.currency),
        "policy_hash": trader.policy.hash,
        "scheme": scheme,
        "objective": objective,
        "purge": parts[0].test[0] - parts[0].train[1],
        **trader.evidence,
        "folds": _folds(trader, parts, choices, models, made),
        "sessions": [str(session) for session in made.sessions],
        "equity": list(made.equity),
        "starting_cash": made.starting_cash,
        "orders": len(made.orders),
        "orders_hash": runner.orders_hash(made.orders),
        "metrics": performance([made.starting_cash, *made.equity], trader.market),
        "trials": counted.to_json(),
        "overfitting": overfitting([one.returns for one in pool.made], settings.blocks),
        "against_universe": against_universe(
            measures.returns_of(path),
            universe[parts[0].test[0] :],
            periods_per_year=trader.policy.sessions_per_year,
        ),
        "dispersion": dispersion(
            [one.returns for one in pool.made],
            settings,
            periods_per_year=trader.policy.sessions_per_year,
        ),
    }
    return {**body, "path": str(_keep(research_dir(installation.home) / FOLDER, body))}


def _keep(folder: Path, body: Mapping[str, Any]) -> Path:
    """Write a walk-forward under a name that says what it is of and what came out."""
    text = json.dumps(body, ensure_ascii=False).encode()
    digest = hashlib.sha256(text).hexdigest()[:8]
    make_durably(folder)
    path = folder / f"{body['strategy']}-{body['market']}-{digest}.json"
    write_durably(path, text)
    return path


class _Pool:
    """Every set of parameters that was traded so far, each once."""

    def __init__(self, trader: Trader, hands: Workers, ledger: TrialLedger) -> None:
        self.trader = trader
        self._hands = hands
        self._ledger = ledger
        self._known: dict[str, Traded] = {}

    @property
    def made(self) -> list[Traded]:
        """In the order of trading."""
        return list(self._known.values())

    def trade(self, sets: Sequence[Params], progress: Progress | None = None) -> list[Traded]:
        """Return what each set made of the whole history; each is a trial."""
        new = {key_of(params): params for params in sets if key_of(params) not in self._known}
        for done, made in enumerate(self._hands.map(trade, list(new.values())), start=1):
            self._ledger.record(self.trader.trial("walk-forward", made.params, made.returns))
            self._known[key_of(made.params)] = made
            if progress is not None:
                progress(done, len(new))
        return [self._known[key_of(params)] for params in sets]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What was chosen on one training range, what it was worth there, and among how many."""

    made: Traded
    value: float
    candidates: int


def _value(made: Traded, fold: Fold, objective: Objective, per_year: int) -> float:
    begin, end = fold.train
    return walkforward.value_of(objective, made.equity[begin : end + 1], per_year=per_year)


def _choice(pool: _Pool, fold: Fold, objective: Objective) -> _Choice:
    per_year = pool.trader.policy.sessions_per_year
    earned = [_value(made, fold, objective, per_year) for made in pool.made]
    best = walkforward.best_of(objective, earned)
    return _Choice(made=pool.made[best], value=earned[best], candidates=len(earned))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainJudge:
    """Judges parameters by one training range alone."""

    pool: _Pool
    fold: Fold
    objective: Objective
    folds: int = 1

    def refusal(self, params: Params) -> str | None:
        return refusal_of(self.pool.trader, params)

    def values(self, batch: Sequence[Params], fold: int) -> list[tuple[float, ...]]:
        per_year = self.pool.trader.policy.sessions_per_year
        return [
            (_value(made, self.fold, self.objective, per_year),) for made in self.pool.trade(batch)
        ]

    def ended(self, params: Params, state: State) -> None:
        """Nothing more to note: the pool counted it when it was traded."""


def _searched(
    pool: _Pool,
    fold: Fold,
    objective: Objective,
    space: Space,
    trials: int,
    settings: OptimizeSettings,
) -> _Choice:
    judge = _TrainJudge(pool=pool, fold=fold, objective=objective)
    with open_study((objective,), settings) as study:
        study.search(space, judge, trials)
        best, count = study.best(), len({key_of(f.params) for f in study.found if f.steps})
    # Nothing in the ranges ever traded: the strategy stays as it is configured.
    (made,) = pool.trade([best[0].params if best else {}])
    value = best[0].values[0] if best else math.nan
    return _Choice(made=made, value=value, candidates=count)


def _told(parts: Sequence[Fold], progress: Progress | None) -> Iterator[Fold]:
    for done, fold in enumerate(parts):
        if progress is not None and done:
            progress(done, len(parts))
        yield fold


def _chained(
    trader: Trader,
    parts: Sequence[Fold],
    choices: Sequence[_Choice],
    models: Sequence[Mapping[str, TrainedModel]],
) -> SweepResult:
    """Trade the choices through the tests in one account."""
    stretches = []
    for fold, choice, taught in zip(parts, choices, models, strict=True):
        begin, end = fold.test
        strategies = trader.settings_of(choice.made.params)
        whole = trader.evaluation_of(strategies, taught)
        stretches.append(
            Stretch.of(whole, strategies.exits(), trader.rows[begin], trader.rows[end - 1])
        )
    evaluation, agent_exits = walkforward.chained(whole, stretches)
    return trader.run(evaluation, agent_exits, first=trader.sessions[parts[0].test[0]])


def _folds(
    trader: Trader,
    parts: Sequence[Fold],
    choices: Sequence[_Choice],
    models: Sequence[Mapping[str, TrainedModel]],
    made: SweepResult,
) -> list[dict[str, Any]]:
    sessions = trader.sessions
    path = [made.starting_cash, *made.equity]
    begun = parts[0].test[0]
    found = []
    for fold, choice, taught in zip(parts, choices, models, strict=True):
        begin, end = fold.test
        first, last = sessions[begin], sessions[end - 1]
        orders = [order for order in made.orders if first <= order.session <= last]
        found.append(
            {
                "train_first": str(sessions[fold.train[0]]),
                "train_last": str(sessions[fold.train[1] - 1]),
                "test_first": str(first),
                "test_last": str(last),
                "params": dict(choice.made.params),
                "candidates": choice.candidates,
                "models": {name: model.card.dataset_hash for name, model in taught.items()},
                "train_value": measures.known(choice.value),
                "test_metrics": performance(path[begin - begun : end - begun + 1], trader.market),
                "orders": len(orders),
                "orders_hash": runner.orders_hash(orders),
            }
        )
    return found


def text(result: Mapping[str, Any]) -> str:
    """Return a walk-forward as a user reads it."""
    from trading.domain.instrument import Currency
    from trading.domain.wording import money_text, percent_text

    metrics, folds = result["metrics"], result["folds"]
    rows = []
    for fold in folds:
        chosen = ", ".join(f"{k}={v}" for k, v in fold["params"].items()) or "설정값 그대로"
        value = "" if fold["train_value"] is None else f" (학습 값 {fold['train_value']:.3f})"
        rows.append(
            f"  {fold['test_first']} ~ {fold['test_last']}: {chosen}{value}, "
            f"수익률 {percent_text(fold['test_metrics']['total_return'])}, "
            f"낙폭 {percent_text(-fold['test_metrics']['max_drawdown'])}, "
            f"주문 {fold['orders']:,}건"
        )
    scheme = "학습 구간을 늘려 가며" if result["scheme"] == "anchored" else "학습 구간을 밀고 가며"
    equity = result["equity"][-1]
    lines = [
        f"{result['strategy']}: {scheme} {len(folds)}번, "
        f"고르는 기준 {OBJECTIVE_TEXT[result['objective']]}",
        *rows,
        f"표본 밖 {result['sessions'][0]} ~ {result['sessions'][-1]} "
        f"({len(result['sessions']):,}거래일, 한 계좌로 이어서 거래)",
        f"  최종 평가금액 {money_text(equity, Currency(result['currency']))}, "
        f"수익률 {percent_text(metrics['total_return'])}, "
        f"최대 낙폭 {percent_text(-metrics['max_drawdown'])}",
    ]
    if metrics.get("sharpe") is not None:
        lines.append(f"  샤프 비율 {metrics['sharpe']:.2f}")
    beside = result["against_universe"]
    if beside is not None:
        lines.append(
            f"  같은 종목을 베타 {beside['beta']:.2f}만큼 든 것과 견주면: 연 {percent_text(beside['alpha'])} "
            f"(t {beside['alpha_t']:.2f}; 2를 넘어야 우연이라 하기 어려움)"
        )
    luck = result["overfitting"]
    if luck is not None:
        lines.append(
            f"  과최적화 확률(PBO) {percent_text(luck['pbo'], signed=False, digits=0)}: 과거에 가장 좋던 "
            "설정이 다른 때에는 중간보다 못한 비율"
        )
    spread = result["dispersion"]
    if spread is not None:
        lines.append(
            f"  고르는 날을 달리하면 (CPCV 경로 {spread['paths']}개): 샤프 비율 "
            f"{spread['sharpe_least']:.2f} ~ {spread['sharpe_most']:.2f}, 가운데 "
            f"{spread['sharpe_median']:.2f}. 얼마나 흔들리는지만 말하며, 앞날을 모르고 고른 값이 아닙니다"
        )
    return "\n".join(
        [
            *lines,
            trials_line(result["trials"]),
            *evidence_lines(result),
            f"  저장: {result['path']}",
        ]
    )
