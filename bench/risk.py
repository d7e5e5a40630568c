"""Speed of the risk measures against libraries in the same run, and how often their rule errs.

``make bench``, or ``python bench/risk.py [--json] [--only NAME]``. What the numbers mean and what
they were is in ``docs/risk.md``. Returns are the recorded S&P 500 that comes with ``arch``.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from measure import Result, Spread, show, time_calls

from trading.domain.arrays import FloatArray
from trading.risk.backtests import DemotionSettings, judge, null_tables
from trading.risk.student import fit_student, student_tail
from trading.risk.sums import exact_sum, simulate_student, simulation_risk
from trading.risk.var import (
    METHODS,
    VarSettings,
    forecast_path,
    name_risks,
    portfolio_var,
    portfolio_vars,
    tail_loss,
)

LEVEL = 0.95
PATHS, YEAR = 10_000, 252
SETTINGS = VarSettings()
GARCH = (SETTINGS.garch_alpha, SETTINGS.garch_beta)


def _index() -> FloatArray:
    from arch.data import sp500

    return np.diff(np.log(sp500.load()["Adj Close"].to_numpy(dtype=np.float64)))


def _in_turns(calls: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, Spread]:
    """Time all calls in turns, so that what else the machine does meets each alike."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = perf_counter_ns()
            call()
            times[name].append(perf_counter_ns() - begin)
    return {name: Spread.of(found) for name, found in times.items()}


def fit() -> Result:
    """A Student fit of 2,500 returns against scipy's."""
    from scipy import stats

    sample = _index()[-2500:]
    spreads = _in_turns(
        {
            "scipy stats.t.fit": partial(stats.t.fit, sample),
            "our fit": partial(fit_student, sample),
            "our fit of 250 returns": partial(fit_student, sample[-250:].copy()),
        },
        rounds=15,
    )
    return Result(
        name="스튜던트 t 적합, 2,500개 (scipy 대비 빠르기)",
        value=spreads["scipy stats.t.fit"].p50 / spreads["our fit"].p50,
        limit=4.0,
        unit="배",
        at_least=True,
        spreads=spreads,
    )


def simulation() -> list[Result]:
    """A year of Student returns, 10,000 paths, with VaR and its error; and without simulation."""
    from scipy import stats

    sample = _index()[-2500:]
    nu, location, scale = fit_student(sample)
    rng, ours = np.random.default_rng(1), np.random.default_rng(1)

    def by_scipy() -> FloatArray:
        draws = stats.t.rvs(nu, location, scale, size=(PATHS, YEAR), random_state=rng)
        return np.quantile(draws.sum(axis=1), [0.05, 0.01])

    def by_us() -> Any:
        sums = simulate_student(nu, location, scale, n_sessions=YEAR, n_paths=PATHS, rng=ours)
        return simulation_risk(sums, LEVEL), simulation_risk(sums, 0.99)

    def exactly() -> Any:
        return [exact_sum(nu, location, scale, n_sessions=YEAR, level=q) for q in (LEVEL, 0.99)]

    spreads = _in_turns(
        {
            "scipy rvs, sum, quantile": by_scipy,
            "our paths, VaR, ES and errors": by_us,
            "exact VaR and ES": exactly,
        },
        rounds=11,
    )
    found, (exact, _) = by_us(), exactly()
    reference = spreads["scipy rvs, sum, quantile"].p50
    apart = abs(found[0].var - exact.var) / found[0].var_error
    return [
        Result(
            name="몬테카를로 VaR 10,000 × 252 (scipy 경로 대비 시간)",
            value=spreads["our paths, VaR, ES and errors"].p50 / reference,
            limit=0.6,
            unit="배",
            spreads=spreads,
        ),
        Result(
            name="독립 수익률 합의 정확한 VaR·ES (scipy 경로 대비 빠르기)",
            value=reference / spreads["exact VaR and ES"].p50,
            limit=14.0,
            unit="배",
            at_least=True,
            spreads={},
        ),
        Result(
            name=f"정확한 값 {exact.var:.4f}와 모의 값 {found[0].var:.4f}의 차이 (표준오차 단위)",
            value=apart,
            limit=4.0,
            unit="",
            spreads={},
        ),
    ]


def columns() -> Result:
    """VaR and ES of 500 columns of 5,000 returns against numpy's partition."""
    index = _index()
    table = np.stack([np.roll(index, 7 * k)[:5000] for k in range(500)], axis=1)
    k = 50

    def partition() -> tuple[FloatArray, FloatArray]:
        rows = np.ascontiguousarray(table.T)
        rows.partition(k, axis=1)
        return -rows[:, k], -rows[:, :k].mean(axis=1)

    found = name_risks(table, 0.99, 60)
    np.testing.assert_allclose(found, np.stack(partition(), axis=1), rtol=1e-12)
    spreads = _in_turns(
        {
            "numpy partition of the transpose": partition,
            "our heaps": partial(name_risks, table, 0.99, 60),
        },
        rounds=15,
    )
    return Result(
        name="과거 VaR·ES 5,000 × 500 (numpy partition 대비 시간)",
        value=spreads["our heaps"].p50 / spreads["numpy partition of the transpose"].p50,
        limit=0.5,
        unit="배",
        spreads=spreads,
    )


def decision() -> Result:
    """What a decision pays for the VaR of 200 names, 20 of them held, by every method."""
    index = _index()
    table = np.stack([np.roll(index, 11 * k)[:250] for k in range(200)], axis=1)
    weights = np.zeros(200)
    weights[::10] = 0.05
    spreads = {
        name: Spread.of(time_calls(call, samples=400))
        for name, call in {
            "all four methods": partial(portfolio_vars, weights, table, LEVEL, *GARCH),
            "historical alone": partial(portfolio_var, weights, table, LEVEL),
            "each name's own": partial(name_risks, table, LEVEL, 60),
            "sort of one column": partial(tail_loss, table[:, 0].copy(), LEVEL),
        }.items()
    }
    return Result(
        name="결정 한 번의 포트폴리오 VaR, 네 방법",
        value=spreads["all four methods"].p50,
        limit=100.0,
        unit="µs",
        spreads=spreads,
    )


def morning() -> Result:
    """The tests of four methods over five years, as each morning repeats them."""
    outcomes = np.expm1(_index()[-1510:])
    path = partial(forecast_path, outcomes, 250, LEVEL, *GARCH)
    forecasts = path()
    settings = DemotionSettings()

    def tables() -> None:
        null_tables.cache_clear()
        for window in settings.windows:
            null_tables(window, LEVEL, settings)

    spreads = _in_turns(
        {
            "forecasts of 1,260 sessions": path,
            "tests and rule over them": partial(
                judge, outcomes, forecasts, level=LEVEL, settings=settings
            ),
            "null distributions, once a process": tables,
        },
        rounds=7,
    )
    return Result(
        name="아침마다의 검정: 1,260일, 네 방법 (규칙까지)",
        value=spreads["tests and rule over them"].p50 / 1e3,
        limit=None,
        unit="ms",
        spreads=spreads,
    )


def rule() -> list[Result]:
    """How often the rule demotes right forecasts in four years, and finds wrong ones in one."""
    settings = DemotionSettings()
    n, before = 1250, 1000

    def demoted(factor: float, nu: float, histories: int) -> tuple[float, float, float]:
        """Return the share ever demoted, demoted after the change, and of sessions before it."""
        rng = np.random.default_rng(7)
        var, es = student_tail(nu, LEVEL)
        forecasts = np.broadcast_to([var, es], (n, len(METHODS), 2)).copy()
        ever, after, days = [], [], []
        for _ in range(histories):
            outcomes = rng.standard_t(nu, n)
            outcomes[before:] *= factor
            found = judge(outcomes, forecasts, level=LEVEL, settings=settings).demoted[:, 0]
            ever.append(found[:before].any() if factor != 1.0 else found.any())
            after.append(found[before:].any())
            days.append(found[249:before].mean())
        return float(np.mean(ever)), float(np.mean(after)), float(np.mean(days))

    results = []
    for nu in (3.0, 4.0, 100.0):
        ever, _, days = demoted(1.0, nu, 1000)
        results += [
            Result(name=f"옳은 예측(t, 자유도 {nu:g})이 4년에 한 번이라도 강등", value=100 * ever,
                   limit=25.0, unit="%", spreads={}),
            Result(name=f"옳은 예측(t, 자유도 {nu:g})이 강등된 날", value=100 * days,
                   limit=3.0, unit="%", spreads={}),
        ]  # fmt: skip
    for factor in (0.7, 1.1, 1.2, 1.3, 1.5, 2.0):
        _, after, _ = demoted(factor, 4.0, 400)
        results.append(
            Result(name=f"손실이 예측의 {factor:g}배가 된 뒤 250일 안에 강등", value=100 * after,
                   limit=None, unit="%", spreads={})
        )  # fmt: skip
    return results


BENCHES: dict[str, Callable[[], Result | list[Result]]] = {
    "fit": fit,
    "simulation": simulation,
    "columns": columns,
    "decision": decision,
    "morning": morning,
    "rule": rule,
}


def main() -> int:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(
        description="위험 측정의 속도를 같은 실행 안의 기준과 비교하고 강등 규칙의 오류를 잽니다."
    )
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    parser.add_argument("--only", choices=sorted(BENCHES), help="하나만 잽니다.")
    asked = parser.parse_args()
    results: list[Result] = []
    for name, bench in BENCHES.items():
        if asked.only in (None, name):
            found = bench()
            results += found if isinstance(found, list) else [found]
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
