"""Speed of research: one rule through the compiled loop and through the engine, sweeps, a market.

``python bench/backtest.py [--dataset folder] [--rounds N] [--json]``; part of ``make bench``. The
workloads are those of ``peers/time_engine.py``, whose engines are measured in turn with ours, each
in a process of its own, where their environments exist (``make compare-peers`` makes them);
without them ours and the limit are shown: the tight loops of ``peers/engines/with_numba.py``.
``--ours NAME --workload NAME`` is one such process. The table is also kept in docs/benchmarks.md.
Tiled history is good for time only.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from measure import Result, show

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "peers"
sys.path.insert(0, str(PEERS))

import environments  # noqa: E402 # of the folder that was just named
from engines import with_numba, workloads  # noqa: E402
from engines.case import Case  # noqa: E402

BASIS_POINTS = 10_000
# Commission and tax on sales, to the nearest unit.
FEES = np.array([[0, 0, 150_000, 0, 1, 2, 0], [1, 2, 2_000_000, 0, 1, 2, 0]], dtype=np.int64)
SINGLE, MANY = ("single", "million", "hundred"), ("sweep", "sweep-hundred")
EVENT_PEERS = ("backtesting", "bt", "backtrader", "pybroker")
BEGIN, END = "<!-- 연구의 속도: make bench 가 씀 -->", "<!-- 끝 -->"
KRX_FIRST, KRX_LAST, KRX_NAMES = date(2010, 1, 4), date(2019, 12, 30), 900


def main() -> int:
    """Measure and show, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--ours", choices=("compiled", "event", "limit"))
    parser.add_argument("--workload", choices=(*SINGLE, *MANY, "krx"))
    asked = parser.parse_args()
    if asked.ours:
        sys.stdout.write(json.dumps(_timed(asked.ours, asked.workload, asked.dataset)) + "\n")
        return 0
    results = []
    for workload in SINGLE:
        results += _single(workload, _rounds(workload, asked.rounds))
    for workload in MANY:
        results += _many(workload, _rounds(workload, asked.rounds))
    if asked.dataset is not None:
        results += _market(asked.dataset)
    else:
        sys.stderr.write("KRX 900종목은 --dataset 으로 기록 폴더를 주면 잽니다.\n")
    _write(results)
    return show(results, as_json=asked.json)


def _write(results: list[Result]) -> None:
    """Keep the table in docs/benchmarks.md, in the place that is marked for it."""
    path = ROOT / "docs" / "benchmarks.md"
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    rows = [
        f"| {one.name} | {one.value:,.2f} {one.unit} | "
        + (f"{'≥' if one.at_least else '≤'} {one.limit:g} {one.unit}" if one.limit else "–")
        + f" | {'' if one.is_kept else '**미달**'} |"
        for one in results
    ]
    table = "\n".join(["| 무엇 | 잰 값 | 약속 | |", "|---|---|---|---|", *rows])
    path.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def _rounds(workload: str, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return what every engine needed, engines in turn, several rounds."""
    ours = ("limit", "compiled") if workload in MANY else ("limit", "compiled", "event")
    peers = ("vectorbt",) if workload in MANY else ("vectorbt", *EVENT_PEERS)
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for name in ours:
            command = [sys.executable, __file__, "--ours", name, "--workload", workload]
            found.setdefault(name, []).append(_asked(command))
        for name in peers if environments.is_ready() else ():
            # A minute or more each: once says enough.
            if number and (workload in ("million", "sweep-hundred")) and name != "vectorbt":
                continue
            command = [sys.executable, str(PEERS / "time_engine.py"), "--engine", name]
            command += ["--workload", workload, "--repeat", "3"]
            found.setdefault(name, []).append(_asked(command))
    return found


def _asked(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"재지 못했습니다: {' '.join(command[1:])}\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _single(workload: str, found: dict[str, list[dict[str, Any]]]) -> list[Result]:
    """Return the lines of one rule over one account."""
    results = [
        _result(f"{workload}: {name}", _speed(found, name) / 1e6, None, "백만 봉/초")
        for name in found
    ]
    limit, compiled, event = (_speed(found, name) for name in ("limit", "compiled", "event"))
    if workload == "single":
        bars = found["compiled"][0]["bars"]
        results.append(_result("single: 컴파일, 한 번", bars / compiled * 1e3, 0.5, "ms"))
        results.append(_result("single: 이벤트 엔진, 한 번", bars / event * 1e3, 15.0, "ms"))
        return results
    share = {"million": 0.40, "hundred": 0.30}[workload]
    results.append(_result(f"{workload}: 컴파일 ÷ 한계", compiled / limit, share, "배", True))
    extra = median(one["extra_mb"] for one in found["compiled"])
    results.append(_result(f"{workload}: 컴파일이 자료 위에 쓴 메모리", extra, 200.0, "MB"))
    if "vectorbt" in found:
        times = {"million": 4.5, "hundred": 4.0}[workload]
        ratio = compiled / _speed(found, "vectorbt")
        results.append(_result(f"{workload}: 컴파일 ÷ vectorbt", ratio, times, "배", True))
        fastest = max(EVENT_PEERS, key=lambda name: _speed(found, name))
        times = {"million": 1.8, "hundred": 2.9}[workload]
        ratio = event / _speed(found, fastest)
        name = f"{workload}: 이벤트 엔진 ÷ 가장 빠른 이벤트 방식 ({fastest})"
        results.append(_result(name, ratio, times, "배", True))
    owed = {"million": 0.3, "hundred": 0.8}[workload]
    results.append(_result(f"{workload}: 이벤트 엔진", event / 1e6, owed, "백만 봉/초", True))
    return results


def _many(workload: str, found: dict[str, list[dict[str, Any]]]) -> list[Result]:
    """Return the lines of a thousand pairs of averages."""
    seconds = {name: min(map(_seconds, runs)) for name, runs in found.items()}
    results = [
        _result(f"{workload}: {name}", value * 1e3, None, "ms") for name, value in seconds.items()
    ]
    limit = {"sweep": 15.0, "sweep-hundred": 2_500.0}[workload]
    results.append(_result(f"{workload}: 1,000쌍", seconds["compiled"] * 1e3, limit, "ms"))
    results.append(
        _result(f"{workload}: 1,000쌍 ÷ 한계", seconds["compiled"] / seconds["limit"], 2.3, "배")
    )
    peak = max(one["peak_mb"] for one in found["compiled"])
    results.append(_result(f"{workload}: 최대 메모리", peak, 350.0, "MB"))
    if "vectorbt" in seconds:
        ratio = seconds["vectorbt"] / seconds["compiled"]
        results.append(_result(f"{workload}: vectorbt ÷ 1,000쌍", ratio, 25.0, "배", True))
    return results


def _market(dataset: Path) -> list[Result]:
    """Return the lines of 900 Korean shares over ten years."""
    command = [sys.executable, __file__, "--workload", "krx", "--dataset", str(dataset), "--ours"]
    compiled, event = _asked([*command, "compiled"]), _asked([*command, "event"])
    if compiled["equity"] != event["equity"] or compiled["orders"] != event["orders"]:
        raise SystemExit(f"두 길의 답이 다릅니다: {compiled} ≠ {event}")
    name = f"krx: {compiled['symbols']}종목 × {compiled['sessions']:,}거래일"
    peak = max(compiled["peak_mb"], event["peak_mb"]) / 1024
    return [
        _result(f"{name}, 전략 평가 (읽기 제외)", compiled["evaluated_seconds"], None, "s"),
        _result(f"{name}, 컴파일", compiled["seconds"], 2.0, "s"),
        _result(f"{name}, 이벤트 엔진", event["seconds"], 30.0, "s"),
        _result(f"{name}, 최대 메모리 (읽기와 평가 포함)", peak, 3.0, "GiB"),
    ]


def _result(name: str, value: float, limit: float | None, unit: str, more: bool = False) -> Result:
    return Result(name=name, value=value, limit=limit, unit=unit, at_least=more, spreads={})


def _speed(found: dict[str, list[dict[str, Any]]], name: str) -> float:
    """Return bars a second, of the best round."""
    return max(float(one["bars"]) / _seconds(one) for one in found[name])


def _seconds(one: dict[str, Any]) -> float:
    # What the processor did: on a shared machine the wall says what others did.
    return float(one["processor_seconds"])


def _timed(engine: str, workload: str, dataset: Path | None) -> dict[str, Any]:
    """Return what one engine of ours needs for one workload, the best of several times."""
    if workload == "krx":
        return _krx(engine, dataset)
    case = _case({"sweep": "single", "sweep-hundred": "hundred"}.get(workload, workload))
    make = _swept if workload in MANY else _run
    # The first call compiles and makes the prices of the limit: no part of the work, nor is the
    # reading of the settings.
    call = make(engine, case)
    call()
    loaded, times = _peak_mb(), []
    for _ in range(3 if engine == "event" or workload == "sweep-hundred" else 9):
        spent = process_time()
        equity, orders = call()
        times.append(process_time() - spent)
    bars = case.close.size * (len(workloads.PAIRS) if workload in MANY else 1)
    return {
        "bars": bars, "processor_seconds": min(times), "equity": equity, "orders": orders,
        "peak_mb": _peak_mb(), "extra_mb": _peak_mb() - loaded,
    }  # fmt: skip


def _case(name: str) -> Case:
    """Return a workload of the peers on their own history; on the embedded one where they are not."""
    goog = environments.goog()
    if not goog.is_file():
        goog = ROOT / "build" / "goog.npz"
        goog.parent.mkdir(exist_ok=True)
        _export(goog)
    return workloads.reference(name, goog)


def _export(path: Path) -> None:
    """Write the embedded GOOG as ``engines.workloads`` reads it."""
    from trading.domain.instrument import Market
    from trading.store.datasets import EmbeddedSource

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    frame = source.daily(Market.US, ["GOOG"], days[0], days[-1])
    fields = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    np.savez(path, times=np.array(frame["session"], dtype="datetime64[s]"), **fields)


def _run(engine: str, case: Case) -> Callable[[], tuple[float, int]]:
    """Return a call from arrays in memory to the equity after every bar, averages included."""
    rule = case.rule
    if engine == "limit":

        def limit() -> tuple[float, int]:
            found = with_numba.run(case, path=False)
            return float(found.equity[-1]), len(found.orders)

        return limit
    from trading.backtest import direct

    size = direct.Size(case.quantity, BASIS_POINTS)
    policy = _policy() if engine == "event" else None

    def call() -> tuple[float, int]:
        bars = direct.lawless(case.open, case.close, case.volume, FEES)
        wish = direct.above(case.close, rule.fast, rule.slow)
        cash = case.cash * case.minor_per_unit
        if policy is None:
            made = direct.run(bars, wish, size, cash=cash)
        else:
            made = direct.replay(bars, wish, size, cash=cash, policy=policy, symbols=case.symbols)
        return made.equity[-1] / case.minor_per_unit, len(made.fills)

    return call


def _swept(engine: str, case: Case) -> Callable[[], tuple[float, int]]:
    if engine == "limit":

        def limit() -> tuple[float, int]:
            out = with_numba.sweep(case, workloads.PAIRS)
            return float(out[0, :, 0].max()), int(out[:, :, 3].sum())

        return limit
    from trading.backtest import direct

    def call() -> tuple[float, int]:
        out = direct.sweep(
            direct.lawless(case.open, case.close, case.volume, FEES), workloads.PAIRS,
            direct.Size(0, BASIS_POINTS), cash=case.cash * case.minor_per_unit,
            periods_per_year=252,
        )  # fmt: skip
        best = out[0, :, direct.FINAL_EQUITY].max() / case.minor_per_unit
        return best, int(out[:, :, direct.ORDERS].sum())

    return call


def _policy() -> Any:
    from trading.bootstrap import policy_of
    from trading.config import load_settings
    from trading.domain.instrument import Market
    from trading.sessions import SessionCalendar

    return policy_of(load_settings(ROOT), Market.US, SessionCalendar(Market.US))


def _krx(engine: str, dataset: Path | None) -> dict[str, Any]:
    """Trade the rank of the factors of 900 Korean shares, resized monthly, under every rule."""
    import pandas as pd

    from trading import bootstrap
    from trading.backtest import runner, sweep
    from trading.domain.instrument import Market
    from trading.research.history import Scope, load_history
    from trading.research.trader import Trader

    if dataset is None:
        raise SystemExit("--dataset 이 필요합니다.")
    listed = pd.read_parquet(dataset / "krx_symbols.parquet")
    whole = (listed["first_date"].astype(str) <= "2009-01-05") & (
        listed["last_date"].astype(str) >= str(KRX_LAST)
    )
    names = sorted(listed.loc[whole, "symbol"])[:KRX_NAMES]
    installation = bootstrap.open_home(ROOT)
    settings = installation.settings
    # The recorded prices are adjusted by the vendor: time is measured here, and nothing else.
    data = settings.app.data.model_copy(
        update={"require_raw": {**settings.app.data.require_raw, Market.KRX: False}}
    )
    settings.app = settings.app.model_copy(update={"data": data})
    history = load_history(
        installation,
        Scope(market=Market.KRX, symbols=names, first=KRX_FIRST, last=KRX_LAST, dataset=dataset),
    )
    # Value, quality and growth were not recorded in those years: momentum is the one factor.
    trader = Trader.of(installation, history, "factor")
    began = perf_counter()
    views = trader.views(trader.evaluation_of(trader.settings_of({"min_factors": 1})))
    evaluated = perf_counter() - began
    trader.forget()
    what = (
        views, history.raw, history.actions, history.calendar, history.rules, history.policy,
    )  # fmt: skip
    span = {"cash": 1_000_000_000, "first": history.first, "last": history.last}
    trade = sweep.run if engine == "compiled" else runner.run
    # Compiles, or fetches what was compiled.
    trade(
        *what,
        **{**span, "last": history.raw.sessions[history.raw.row_of(history.first) + 20].item()},
    )
    times = []
    for _ in range(3 if engine == "compiled" else 1):
        spent = process_time()
        made = trade(*what, **span)
        times.append(process_time() - spent)
    orders = len(made.orders) if engine == "compiled" else sum(len(day.orders) for day in made.days)
    return {
        "symbols": len(names), "sessions": len(made.sessions), "seconds": min(times),
        "evaluated_seconds": evaluated, "equity": made.equity[-1], "orders": orders,
        "peak_mb": _peak_mb(),
    }  # fmt: skip


def _peak_mb() -> float:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    sys.exit(main())
