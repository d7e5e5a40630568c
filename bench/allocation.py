"""Speed of allocation against skfolio and cvxpy, as ratios timed in the same run.

``python bench/allocation.py [--json] [--rounds N]``. The workload is that of PERFORMANCE 6:
50 assets × 1,000 sessions, from skfolio's 20 recorded US stocks (three stretches side by side).
Without skfolio the embedded stocks take their place, textbook programs in scipy that of peers,
and nothing is promised.
"""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

# A second thread of BLAS spins on a shared machine and slows everybody down, peers too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from measure import Result, Spread, show

from trading.allocation.moments import CovarianceRule
from trading.allocation.optimize import (
    AllocationInputs,
    AllocationMethod,
    AllocationStatus,
    OptimizerSettings,
    allocate,
)
from trading.allocation.risk_parity import equal_risk, risk_contributions
from trading.allocation.rounding import round_lots

N, SESSIONS, LEVEL = 50, 1000, 0.95
BUDGETS = np.full(N, 1 / N)
HOW_TO_GET_PEERS = (
    "skfolio가 없어 scipy의 교과서 풀이와만 견줍니다."
    " 같은 실행에서 견주려면: .venv/bin/pip install -e '.[bench]'\n"
)


def has_skfolio() -> bool:
    """Return whether the peer is installed."""
    try:
        import skfolio  # noqa: F401
    except ImportError:
        return False
    return True


def workload() -> np.ndarray:
    """Return 1,000 recorded returns of 50 columns."""
    if has_skfolio():
        from skfolio.datasets import load_sp500_dataset

        whole = load_sp500_dataset().pct_change(fill_method=None).dropna().to_numpy()
        stretches = [whole[-1000:], whole[-2000:-1000], whole[-3000:-2000]]
        return np.ascontiguousarray(np.concatenate(stretches, axis=1)[:, :N])
    from trading.store.datasets import EmbeddedSource

    closes = _embedded_closes(EmbeddedSource())
    whole = closes[1:] / closes[:-1] - 1.0
    step = (len(whole) - SESSIONS) // (N // closes.shape[1])
    stretches = [whole[k * step : k * step + SESSIONS] for k in range(N // closes.shape[1] + 1)]
    return np.ascontiguousarray(np.concatenate(stretches, axis=1)[:, :N])


def _embedded_closes(source: Any) -> np.ndarray:
    """Return the closes of the embedded stocks that were listed all the time."""
    from trading.domain.instrument import Market
    from trading.store.panels import assemble_panels

    days = source.sessions(Market.US)
    daily = source.daily(Market.US, None, days[0], days[-1])
    actions = source.actions(Market.US, days[0], days[-1])
    _, adjusted = assemble_panels(daily, actions, days, Market.US, None)
    return adjusted.close[:, ~np.isnan(adjusted.close).any(axis=0)]


def inputs_of(returns: np.ndarray) -> AllocationInputs:
    """Return inputs in which everything may be held freely, as the peers have it."""
    return AllocationInputs(
        returns=returns,
        members=np.ones(N, dtype=bool),
        sectors=np.full(N, -1),
        previous=np.zeros(N),
        lower=np.zeros(N),
        upper=np.ones(N),
        max_sector=1.0,
        gross=1.0,
        cost=np.zeros(N),
    )


def ours(method: AllocationMethod, inputs: AllocationInputs) -> np.ndarray:
    """Return our weights by the whole path: returns in, checked and rounded weights out."""
    settings = OptimizerSettings(covariance=CovarianceRule.SAMPLE, window_sessions=SESSIONS)
    chosen = allocate(method, inputs, settings)
    assert chosen.status is AllocationStatus.SOLVED
    return chosen.weights


def parity(returns: np.ndarray, rounds: int) -> Result:
    """Equal risk contributions of 50 assets."""
    matrix = np.cov(returns.T)
    inputs = inputs_of(returns)
    weights, is_equal = equal_risk(matrix, BUDGETS)
    assert is_equal
    assert np.abs(risk_contributions(weights, matrix) - BUDGETS).max() < 1e-10
    calls: dict[str, Callable[[], Any]] = {
        "ours, from returns to weights": lambda: ours(AllocationMethod.EQUAL_RISK, inputs),
        "ours, the solver alone": lambda: equal_risk(matrix, BUDGETS),
    }
    if has_skfolio():
        import cvxpy
        from skfolio import RiskMeasure
        from skfolio.optimization import RiskBudgeting

        frame = _frame(returns)

        def direct() -> np.ndarray:
            y = cvxpy.Variable(N)
            risk = 0.5 * cvxpy.quad_form(y, cvxpy.psd_wrap(matrix))
            cvxpy.Problem(cvxpy.Minimize(risk - cvxpy.sum(cvxpy.log(y)) / N)).solve(
                solver="CLARABEL"
            )
            return y.value / y.value.sum()

        calls["skfolio RiskBudgeting"] = lambda: (
            RiskBudgeting(risk_measure=RiskMeasure.VARIANCE).fit(frame).weights_
        )
        calls["cvxpy, the program alone"] = direct
        reference = "skfolio RiskBudgeting"
        np.testing.assert_allclose(calls[reference](), weights, atol=1e-5)
    else:
        from scipy import optimize

        def textbook() -> np.ndarray:
            scaled = matrix / np.diag(matrix).mean()
            found = optimize.minimize(
                lambda y: y @ scaled @ y / 2 - np.log(y).mean(),
                np.ones(N),
                jac=lambda y: scaled @ y - 1 / (N * y),
                bounds=[(1e-6, None)] * N,
                method="L-BFGS-B",
            )
            return found.x / found.x.sum()

        reference = "scipy L-BFGS-B, the program alone"
        calls[reference] = textbook
    spreads = interleaved(calls, rounds=rounds)
    return Result(
        name=f"같은 위험 비중, {N}종목 ({reference.split(',')[0]} 대비 빠르기)",
        value=spreads[reference].p50 / spreads["ours, from returns to weights"].p50,
        limit=10.0 if has_skfolio() else None,
        unit="배",
        at_least=True,
        spreads=spreads,
    )


def cvar(returns: np.ndarray, rounds: int) -> Result:
    """Minimum CVaR of 50 assets over 1,000 sessions."""
    inputs = inputs_of(returns)
    calls: dict[str, Callable[[], Any]] = {
        "ours, from returns to weights": lambda: ours(AllocationMethod.MINIMUM_CVAR, inputs),
    }
    if has_skfolio():
        from skfolio import RiskMeasure
        from skfolio.optimization import MeanRisk

        frame = _frame(returns)
        reference = "skfolio MeanRisk"
        calls[reference] = lambda: MeanRisk(risk_measure=RiskMeasure.CVAR).fit(frame).weights_
    else:
        reference = "scipy HiGHS, a row a session"
        calls[reference] = lambda: _primal(returns)

    def tail(weights: np.ndarray) -> float:
        worst = round((1 - LEVEL) * SESSIONS)
        return float(np.sort(-returns @ (weights / weights.sum()))[-worst:].mean())

    mine, theirs = (tail(calls[name]()) for name in ("ours, from returns to weights", reference))
    assert mine < theirs + 1e-8, (mine, theirs)
    spreads = interleaved(calls, rounds=rounds)
    return Result(
        name=f"최소 CVaR, {N}종목 × {SESSIONS:,}일 ({reference.split(',')[0]} 대비 빠르기)",
        value=spreads[reference].p50 / spreads["ours, from returns to weights"].p50,
        limit=1.0 if has_skfolio() else None,
        unit="배",
        at_least=True,
        spreads=spreads,
    )


def _primal(returns: np.ndarray) -> np.ndarray:
    """Solve the program of Rockafellar and Uryasev as it is printed."""
    from scipy import optimize, sparse

    left = sparse.hstack([-returns, -np.ones((SESSIONS, 1)), -sparse.identity(SESSIONS)])
    tail = np.full(SESSIONS, 1 / ((1 - LEVEL) * SESSIONS))
    total = np.concatenate([np.ones(N), np.zeros(1 + SESSIONS)])
    found = optimize.linprog(
        np.concatenate([np.zeros(N), [1.0], tail]),
        A_ub=left.tocsc(),
        b_ub=np.zeros(SESSIONS),
        A_eq=total[None],
        b_eq=[1.0],
        bounds=[(0, None)] * N + [(None, None)] + [(0, None)] * SESSIONS,
        method="highs-ds",
    )
    return found.x[:N]


def lots(returns: np.ndarray, rounds: int) -> Result:
    """Whole lots of 40 wishes at recorded prices, with the gap that is left unproven."""
    from trading.store.datasets import EmbeddedSource

    closes = _embedded_closes(EmbeddedSource())
    # Prices of 14 days side by side: 1/10,000 dollar, as the closes of the panel are.
    price = np.rint(closes[:: len(closes) // 14].ravel()[:40]).astype(np.int64)
    equity = 1_000_000_000
    weights = ours(AllocationMethod.EQUAL_RISK, inputs_of(returns))[:40]
    wished = weights / weights.sum() * equity
    arguments = (
        wished, price, price, np.full(40, equity // 10) // price, np.full(40, -1),
        np.zeros(0, dtype=np.int64), equity,
    )  # fmt: skip
    found, error, gap = round_lots(*arguments)
    down = np.abs(wished - wished // price * price).sum()
    assert (found * price).sum() <= equity and gap < price.max()
    spreads = interleaved({"round_lots": lambda: round_lots(*arguments)}, rounds=200 * rounds)
    return Result(
        name=(
            f"40종목 정수 주 수 (목표와의 거리 {error / equity:.3%}, 내림만 하면 {down / equity:.3%},"
            f" 증명되지 않은 차이 {gap / equity:.4%})"
        ),
        value=spreads["round_lots"].p50,
        limit=100.0,
        unit="µs",
        spreads=spreads,
    )


def interleaved(calls: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, Spread]:
    """Time all calls in turns, so that what else the machine does meets each alike."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    gc.collect()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = perf_counter_ns()
            call()
            times[name].append(perf_counter_ns() - begin)
    return {name: Spread.of(taken) for name, taken in times.items()}


def _frame(returns: np.ndarray) -> Any:
    import pandas as pd

    index = pd.bdate_range("2018-01-01", periods=len(returns))
    return pd.DataFrame(returns, columns=[f"A{i}" for i in range(N)], index=index)


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        description="비중 계산의 속도를 같은 실행 안의 skfolio·cvxpy와 비교합니다."
    )
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    parser.add_argument("--rounds", type=int, default=9, help="되풀이 횟수.")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    if not has_skfolio():
        sys.stderr.write(HOW_TO_GET_PEERS)
    returns = workload()
    results = [bench(returns, asked.rounds) for bench in (parity, cvar, lots)]
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
