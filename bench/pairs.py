"""Speed of the pair scan and the Kalman hedge ratio, as ratios against statsmodels in one run.

``python bench/pairs.py [--dataset folder] [--json]``. Without the recorded KRX set the embedded
stocks are measured, in eras of the length of one window. What the numbers mean and what they were
is in ``docs/statistical.md``.
"""

import argparse
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from time import perf_counter, thread_time_ns
from typing import Any

# One thread each: what is measured is the work, not how many cores the machine can spare.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from measure import Result, Spread, show
from statsmodels.tsa.statespace.mlemodel import MLEModel
from statsmodels.tsa.stattools import coint

from trading.domain.arrays import FloatArray
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.models import cointegration, kalman
from trading.strategies import statistical
from trading.strategies.base import Inputs

OBSERVATIONS = 1250
FORMATION = 500
SERIES = 100
LIVE_ROWS = 1260
FILTERED = 2500
FIRST, LAST = date(2015, 1, 12), date(2025, 1, 23)
ROUNDS = 7


def recorded(folder: Path) -> AdjustedPanel:
    """Return ten years of every recorded KRX name."""
    from trading.sessions import SessionCalendar
    from trading.store.datasets import RecordedSource
    from trading.store.panels import assemble_panels

    source = RecordedSource(folder)
    bars = source.table("daily", Market.KRX, None, FIRST, LAST)
    _, panel = assemble_panels(
        bars,
        [],
        SessionCalendar(Market.KRX).sessions(FIRST, LAST),
        Market.KRX,
        None,
        exchanges={one.symbol: one.exchange for one in source.instruments(Market.KRX)},
        index=source.index(Market.KRX, FIRST, LAST),
        benchmark="KOSPI",
    )
    return panel


def embedded() -> AdjustedPanel:
    """Return the bars that come with the program."""
    from trading.store.datasets import EmbeddedSource
    from trading.store.panels import assemble_panels

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    _, panel = assemble_panels(
        source.daily(Market.US, None, days[0], days[-1]), [], days, Market.US, None
    )
    return panel


def log_closes(panel: AdjustedPanel, rows: int) -> FloatArray:
    """Return the closes of the last ``rows`` sessions, carried over halts, of the names listed."""
    close = Bars(panel).close()[-rows:]
    return np.ascontiguousarray(np.log(close[:, np.isfinite(close).all(axis=0)]))


def in_eras(panel: AdjustedPanel) -> FloatArray:
    """Return every window of ``OBSERVATIONS`` bars, one after the other, as series of their own."""
    sessions = len(panel.sessions)
    eras = [
        log_closes(panel.until(end), OBSERVATIONS)
        for end in range(sessions, 0, -OBSERVATIONS // 2)
        if end >= OBSERVATIONS
    ]
    return np.ascontiguousarray(np.concatenate(eras, axis=1))


def timed(calls: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, list[int]]:
    """Return processor times of the one thread, taken in turns after a first call of each."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = thread_time_ns()
            call()
            times[name].append(thread_time_ns() - begin)
    return times


def median(times: list[int]) -> float:
    """Return the median, in nanoseconds."""
    return float(np.median(times))


def scans(levels: FloatArray) -> list[Result]:
    """Time a test of one ordered pair, ours out of a whole scan and statsmodels' of a sample."""
    n = levels.shape[1]
    rng = np.random.default_rng(0)
    picks = [(i, j) for i, j in rng.integers(0, n, (400, 2)) if i != j]
    out = []
    for max_lag, autolag, sample, least in ((0, None, 40, 100.0), (10, "aic", 12, 40.0)):
        pairs = picks[:sample]

        def theirs() -> list[float]:
            return [
                coint(levels[:, i], levels[:, j], "c", maxlag=max_lag, autolag=autolag)[0]  # noqa: B023
                for i, j in pairs  # noqa: B023
            ]

        def ours() -> FloatArray:
            return cointegration.scan(levels, max_lag=max_lag)[0]  # noqa: B023

        found = ours()
        np.testing.assert_allclose([found[i, j] for i, j in pairs], theirs(), rtol=1e-10)
        times = timed({"theirs": theirs, "ours": ours})
        tests = n * (n - 1)
        per = {
            f"statsmodels coint, {sample} tests": Spread.of(times["theirs"], per=sample),
            f"scan of {tests:,} tests ({n} series, both ways)": Spread.of(times["ours"], per=tests),
        }
        lags = "시차 없음" if max_lag == 0 else f"AIC 시차 {max_lag} 이하"
        out.append(
            Result(
                name=f"Engle-Granger 검정 하나, {levels.shape[0]:,}봉, {lags} (statsmodels 대비)",
                value=median(times["theirs"]) / sample / (median(times["ours"]) / tests),
                limit=least,
                unit="배",
                at_least=True,
                spreads=per,
            )
        )
    return out


def hedge(y: FloatArray, x: FloatArray) -> Result:
    """Time the filter of one pair; the states must be the same."""
    noise = kalman.Noise(beta=1e-4, alpha=1e-4, observation=1e-3)
    prior = kalman.Prior(covariance=(1.0, 0.0, 1.0))
    model = MLEModel(y, k_states=2)
    model["design"] = np.column_stack([x, np.ones_like(x)])[:, None, :].transpose(1, 2, 0)
    model["transition"] = model["selection"] = np.eye(2)
    model["state_cov"] = np.diag([noise.beta, noise.alpha])
    model["obs_cov"] = np.array([[noise.observation]])
    model.ssm.initialize_known(np.zeros(2), np.eye(2))
    calls: dict[str, Callable[[], Any]] = {
        "statsmodels": model.ssm.filter,
        "hedge_filter": lambda: kalman.hedge_filter(y, x, noise, prior),
        "fit_ml on the first 500": lambda: kalman.fit_ml(y[:500], x[:500]),
    }
    np.testing.assert_allclose(
        calls["hedge_filter"]().states, calls["statsmodels"]().filtered_state.T, atol=1e-10
    )
    times = timed(calls, rounds=30)
    return Result(
        name=f"칼만 헤지 비율, {len(y):,}봉 (statsmodels 대비, 상태 1e-10까지 같음)",
        value=median(times["statsmodels"]) / median(times["hedge_filter"]),
        limit=20.0,
        unit="배",
        at_least=True,
        spreads={name: Spread.of(found) for name, found in times.items()},
    )


def whole_market(panel: AdjustedPanel) -> list[Result]:
    """Time the scan of every name with a whole window, both ways."""
    out = []
    for bars, max_lag in ((FORMATION, 0), (FORMATION, 10), (OBSERVATIONS, 0), (OBSERVATIONS, 10)):
        levels = log_closes(panel, bars)
        n = levels.shape[1]
        begin = perf_counter()
        statistic, _ = cointegration.scan(levels, max_lag=max_lag)
        seconds = perf_counter() - begin
        p = cointegration.p_value(np.where(np.isfinite(statistic), statistic, np.nan), 2)
        passed = int(cointegration.benjamini_yekutieli(p, 0.05).sum())
        lags = "시차 없음" if max_lag == 0 else f"AIC 시차 {max_lag} 이하"
        out.append(
            Result(
                name=f"전 종목 {n:,}개의 모든 쌍 {n * (n - 1):,}개 검정, {levels.shape[0]:,}봉, {lags}"
                f" (BY 5 %를 통과한 검정 {passed:,}개)",
                value=seconds,
                limit=None,
                unit="초",
                spreads={},
            )
        )
    return out


def votes(panel: AdjustedPanel) -> list[Result]:
    """Time what a morning pays: every agent on the whole panel, fits included."""
    rows = min(LIVE_ROWS, len(panel.sessions))
    last = slice(len(panel.sessions) - rows, None)
    names = ("sessions", "open", "high", "low", "close", "volume", "tradable", "benchmark")
    recent = replace(panel, **{name: getattr(panel, name)[last] for name in names})
    inputs = Inputs(bars=Bars(recent), features=FeatureSettings())
    spent: dict[str, Spread] = {}
    for agent in statistical.AGENTS:
        settings = agent.settings()
        agent.votes(inputs, settings)
        begin = thread_time_ns()
        agent.votes(inputs, settings)
        spent[agent.name] = Spread.of([thread_time_ns() - begin])
    return [
        Result(
            name=f"하루 아침의 통계 전략 넷, {rows:,}거래일 × {recent.close.shape[1]:,}종목, 코어 하나",
            value=sum(spread.p50 for spread in spent.values()) / 1e6,
            limit=60.0,
            unit="초",
            spreads=spent,
        )
    ]


def main() -> int:
    """Run the benchmarks of pairs and filters."""
    parser = argparse.ArgumentParser(
        description="쌍 검정과 칼만 필터의 속도를 같은 실행 안의 statsmodels와 비교합니다."
    )
    parser.add_argument("--dataset", type=Path, help="기록된 KRX 자료가 있는 폴더.")
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    asked = parser.parse_args()
    whole = asked.dataset is not None and (asked.dataset / "krx_daily.parquet").is_file()
    if not whole:
        sys.stderr.write(
            "기록된 KRX 자료가 없어 프로그램에 든 다섯 종목으로만 잽니다: "
            "bench/pairs.py --dataset 폴더\n"
        )
    panel = recorded(asked.dataset) if whole else embedded()
    levels = log_closes(panel, OBSERVATIONS) if whole else in_eras(panel)
    some = np.ascontiguousarray(levels[:, :: max(1, levels.shape[1] // SERIES)][:, :SERIES])
    long = log_closes(panel, FILTERED if whole else min(FILTERED, len(panel.sessions)))
    results = [*scans(some), hedge(long[:, 0].copy(), long[:, 1] - long[:, 1].mean())]
    if whole:
        results += whole_market(panel)
    results += votes(panel)
    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform != "darwin" else 2**30
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    results.append(
        Result(name="이 실행의 최대 메모리", value=used, limit=6.0, unit="GiB", spreads={})
    )
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
