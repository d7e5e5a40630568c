"""Kept runs side by side: their figures, and whether their returns can be told apart.

Runs of other dates or of another market are compared on the sessions that all of them have, by
their returns alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import figures
from trading.backtest.figures import Figures, Sampling
from trading.backtest.record import RunRecord
from trading.domain.arrays import FloatArray
from trading.errors import UsageError
from trading.measures import Interval

# What is compared of a run besides its returns; the others of its figures are in its own page.
COMPARED = (
    ("total_return", "percent"), ("annual_return", "percent"), ("annual_volatility", "share"),
    ("sharpe", "number"), ("sortino", "number"), ("calmar", "number"), ("max_drawdown", "share"),
    ("longest_drawdown", "sessions"), ("exposure", "share"), ("trades", "count"),
    ("hit_rate", "share"), ("profit_factor", "number"), ("turnover", "times"),
    ("cost_drag", "share"),
)  # fmt: skip
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much more a year run ``run`` earned than run ``other`` (by position), on average."""

    run: int
    other: int
    interval: Interval
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Runs on their common sessions.

    ``returns`` has shape ``(n_sessions, n_runs)``, ``correlation`` ``(n_runs, n_runs)`` with NaN
    where an account never moved. ``is_cut`` says that some run had more sessions. ``figures`` are
    of the common sessions, those of trades and costs of each whole run.
    """

    runs: tuple[RunRecord, ...]
    names: tuple[str, ...]
    sessions: tuple[date, ...]
    is_cut: bool
    returns: FloatArray
    figures: tuple[Figures, ...]
    differences: tuple[Difference, ...]
    correlation: FloatArray
    apart: Mapping[str, tuple[Any, ...]]

    @property
    def has_one_currency(self) -> bool:
        """Whether all accounts are in the same currency."""
        return len({run.currency for run in self.runs}) == 1


def compare(runs: Sequence[RunRecord], sampling: Sampling) -> Comparison:
    """Return the comparison of two or more different runs.

    Raises
    ------
    UsageError
        When there are fewer than two, one comes twice, or they have no two sessions in common.
    """
    if len(runs) < 2:
        raise UsageError("견줄 실행을 둘 이상 주십시오.")
    ids = [run.run_id for run in runs]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"같은 실행을 두 번 주셨습니다: {twice}")
    common = sorted(set.intersection(*(set(run.sessions) for run in runs)))
    if len(common) < _FEWEST:
        raise UsageError("함께 있는 거래일이 없어 견줄 수 없습니다.")
    returns = np.column_stack([_on(run, common) for run in runs])
    # The calendar of the first; days of a year that another market trades are not its own.
    per_year = runs[0].sessions_per_year
    is_cut = any(len(run.sessions) > len(common) for run in runs)
    return Comparison(
        runs=tuple(runs),
        names=_names(runs),
        sessions=tuple(common),
        is_cut=is_cut,
        returns=returns,
        figures=tuple(
            figures.run_figures(run)
            | figures.path_figures(figures.benchmark_path(returns[:, i]), periods_per_year=per_year)
            for i, run in enumerate(runs)
        ),
        differences=tuple(
            _difference(returns, i, j, sampling, per_year)
            for i in range(len(runs))
            for j in range(i)
        ),
        correlation=_correlation(returns),
        apart=_apart(runs),
    )


def to_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values; unknown numbers are ``None``."""
    return {
        "runs": [
            {
                "run_id": run.run_id,
                "strategy": run.strategy,
                "market": str(run.market),
                "currency": str(run.currency),
                "first_session": str(run.sessions[0]),
                "last_session": str(run.sessions[-1]),
                "metrics": dict(metrics),
            }
            for run, metrics in zip(found.runs, found.figures, strict=True)
        ],
        "sessions": len(found.sessions),
        "first_session": str(found.sessions[0]),
        "last_session": str(found.sessions[-1]),
        "is_cut": found.is_cut,
        "differences": [
            {
                "run": found.runs[one.run].run_id,
                "other": found.runs[one.other].run_id,
                "annual": measures.known(one.interval.value),
                "low": measures.known(one.interval.low),
                "high": measures.known(one.interval.high),
                "level": one.interval.level,
                "verdict": one.verdict,
            }
            for one in found.differences
        ],
        "correlation": [
            [measures.known(value) for value in row] for row in found.correlation.tolist()
        ],
        "differing": {name: list(values) for name, values in found.apart.items()},
    }


def _on(run: RunRecord, days: Sequence[date]) -> FloatArray:
    """Return the returns of a run from each of ``days`` to the next, the first from its own eve.

    What it earned on sessions that are not among them is left out.
    """
    row = {day: i for i, day in enumerate(run.sessions)}
    returns: FloatArray = run.returns()[[row[day] for day in days]]
    return returns


def _names(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return short names that differ: the strategies', or with the ends of their ids."""
    strategies = [run.strategy for run in runs]
    return tuple(
        run.strategy
        if strategies.count(run.strategy) == 1
        else f"{run.strategy} ({run.run_id.rsplit('-', 1)[1]})"
        for run in runs
    )


def _difference(
    returns: FloatArray, i: int, j: int, sampling: Sampling, per_year: int
) -> Difference:
    interval = figures.difference(returns[:, i], returns[:, j], sampling, periods_per_year=per_year)
    is_same = bool(np.all(returns[:, i] == returns[:, j]))
    return Difference(
        run=i,
        other=j,
        interval=interval,
        verdict="same" if is_same else figures.verdict(interval),
    )


def _correlation(returns: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = np.atleast_2d(np.corrcoef(returns, rowvar=False))
    return found


def _apart(runs: Sequence[RunRecord]) -> dict[str, tuple[Any, ...]]:
    """Return by name what was set or read differently.

    What only some runs have is left out: other strategies have other parameters.
    """
    told = [
        {
            "strategy": run.strategy,
            "market": str(run.market),
            "dates": f"{run.sessions[0]} ~ {run.sessions[-1]}",
            "symbols": len(run.symbols),
            "starting_cash": run.starting_cash,
            "policy": run.policy_hash,
            "price_basis": str(run.evidence.price_basis),
            "survivorship": run.evidence.survivorship,
            "ambiguous_fills": run.ambiguous_fills,
            **_flat(run.params, ""),
        }
        for run in runs
    ]
    names = [name for name in told[0] if all(name in one for one in told)]
    rows = {name: tuple(one[name] for one in told) for name in names}
    return {name: values for name, values in rows.items() if len({*map(str, values)}) > 1}


def _flat(params: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
