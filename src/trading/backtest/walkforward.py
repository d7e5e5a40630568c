"""Walk-forward: parameters chosen on one stretch of history, traded on the next, fold after fold.

What the agents say of a session is a causal function of the past, so one evaluation per set of
parameters serves every fold. Which sets there are, and who evaluates them, is ``research``'s.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trading import measures
from trading.backtest.settings import Objective, Scheme
from trading.domain.arrays import FloatArray, IntArray
from trading.errors import UsageError
from trading.strategies.base import Evaluation, ExitRules

MINIMIZED: frozenset[Objective] = frozenset({"annual_volatility", "max_drawdown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Positions among the traded sessions, each range without its end."""

    train: tuple[int, int]
    test: tuple[int, int]


def folds(n_sessions: int, *, scheme: Scheme, train: int, test: int, purge: int) -> list[Fold]:
    """Return the folds of ``n_sessions``: the tests follow each other to the last session.

    ``purge`` sessions lie between the end of each training range and its test. ``anchored`` trains
    from the first session on, ``rolling`` on the last ``train`` ones. The last test may be shorter.

    Raises
    ------
    UsageError
        If there is nothing left to test on.
    """
    if train + purge >= n_sessions:
        raise UsageError(
            f"거래할 기록이 {n_sessions:,}거래일이라 학습 {train:,}거래일과 간격 {purge:,}거래일 뒤에 시험할 "
            "날이 없습니다. --train을 줄이거나 --from을 앞당겨 주십시오."
        )
    found = []
    for begin in range(train + purge, n_sessions, test):
        end = begin - purge
        found.append(
            Fold(
                train=(0 if scheme is Scheme.ANCHORED else end - train, end),
                test=(begin, min(begin + test, n_sessions)),
            )
        )
    return found


def value_of(objective: Objective, equity: IntArray | FloatArray, *, per_year: int) -> float:
    """Return what ``objective`` says of an account's course; NaN where it cannot be said.

    ``equity`` begins with the value before the first session. For those in ``MINIMIZED`` less is
    better. An account that never moved is NaN under every objective: nothing was tried.
    """
    values = np.asarray(equity, dtype=np.float64)
    if len(values) < 3 or not (values != values[0]).any() or (values <= 0).any():
        return math.nan
    returns = measures.returns_of(values)
    match objective:
        case "sharpe":
            return measures.sharpe(returns, periods_per_year=per_year)
        case "sortino":
            return measures.sortino(returns, periods_per_year=per_year)
        case "calmar":
            return measures.calmar(values, periods_per_year=per_year)
        case "total_return":
            return measures.total_return(values)
        case "annual_return":
            return measures.cagr(values, periods_per_year=per_year)
        case "annual_volatility":
            return measures.annual_volatility(returns, periods_per_year=per_year)
        case "max_drawdown":
            return measures.max_drawdown(values)


def best_of(objective: Objective, values: Sequence[float]) -> int:
    """Return the position of the best value, the first of equals; the first when none is known."""
    sign = -1.0 if objective in MINIMIZED else 1.0
    ranked = [sign * value if math.isfinite(value) else -math.inf for value in values]
    return ranked.index(max(ranked))


# What differs between evaluations of one strategy; by agent, the value of one that abstains.
_BY_AGENT = {
    "votes": math.nan,
    "confidence": 0.5,
    "weights": 0.0,
    "triggers": math.nan,
    "trigger_confidence": 0.5,
}
_BY_NAME = ("expected", "expected_error")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """What of an evaluation speaks for the traded rows ``first`` to ``last`` of the panel."""

    first: int
    last: int
    parts: Mapping[str, FloatArray]
    ceilings: tuple[float, ...]
    agent_exits: Mapping[str, ExitRules]

    @classmethod
    def of(
        cls, evaluation: Evaluation, agent_exits: Mapping[str, ExitRules], first: int, last: int
    ) -> "Stretch":
        """Return a copy of those rows: a session is traded by what was said at the close before."""
        return cls(
            first=first,
            last=last,
            parts={
                name: getattr(evaluation, name)[first - 1 : last].copy()
                for name in (*_BY_AGENT, *_BY_NAME)
            },
            ceilings=tuple(evaluation.ceilings.tolist()),
            agent_exits=agent_exits,
        )


def chained(
    whole: Evaluation, stretches: Sequence[Stretch]
) -> tuple[Evaluation, dict[str, ExitRules]]:
    """Return one evaluation that follows each stretch in turn, and its agents' exit rules.

    One account trades it through, as a live one would whose parameters are changed between two
    sessions: what it holds is carried over, and keeps the exit rules under which it was bought.
    Stretches that buy under other exit rules vote as agents of their own: the others abstain.
    ``whole`` is any evaluation of the same strategy; what no parameter changes comes from it.
    """
    agents = whole.agents
    manners: list[tuple[tuple[ExitRules | None, ...], tuple[float, ...]]] = []
    for stretch in stretches:
        manner = _manner(stretch, agents)
        if manner not in manners:
            manners.append(manner)
    count = len(manners)
    filled = {
        name: np.full((len(whole.votes), len(agents) * count, *shape[2:]), _BY_AGENT[name])
        for name in _BY_AGENT
        if (shape := getattr(whole, name).shape)
    }
    filled |= {name: np.full_like(getattr(whole, name), np.nan) for name in _BY_NAME}
    for stretch in stretches:
        rows, d = slice(stretch.first - 1, stretch.last), manners.index(_manner(stretch, agents))
        for name in _BY_AGENT:
            filled[name][rows, d::count] = stretch.parts[name]
        for name in _BY_NAME:
            filled[name][rows] = stretch.parts[name]
    columns = [(k, d) for k in range(len(agents)) for d in range(count)]
    names = tuple(agents[k] if d == 0 else f"{agents[k]}#{d}" for k, d in columns)
    evaluation = replace(
        whole,
        agents=names,
        ceilings=np.array([manners[d][1][k] for k, d in columns]),
        votes=filled["votes"],
        confidence=filled["confidence"],
        weights=filled["weights"],
        triggers=filled["triggers"],
        trigger_confidence=filled["trigger_confidence"],
        expected=filled["expected"],
        expected_error=filled["expected_error"],
    )
    rules = {name: manners[d][0][k] for name, (k, d) in zip(names, columns, strict=True)}
    return evaluation, {name: own for name, own in rules.items() if own is not None}


def _manner(
    stretch: Stretch, agents: Sequence[str]
) -> tuple[tuple[ExitRules | None, ...], tuple[float, ...]]:
    """Return how its agents buy: their own exit rules, and how far above the open they still do."""
    return tuple(stretch.agent_exits.get(agent) for agent in agents), stretch.ceilings


def proven_sessions(folder: Path, policy_hash: str) -> int:
    """Return the out-of-sample sessions of the longest kept walk-forward of exactly this policy.

    That is one of the whole ensemble as it is configured: no parameter was chosen. 0 without.
    """
    counts = [
        len(body["sessions"])
        for body in _kept(folder)
        if body.get("policy_hash") == policy_hash
        and body.get("strategy") == "ensemble"
        and not any(fold["params"] for fold in body["folds"])
    ]
    return max(counts, default=0)


def _kept(folder: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Damaged by something else than this program: it proves nothing.
            continue
        if isinstance(body, dict) and {"sessions", "folds"} <= body.keys():
            yield body
