"""Times one engine on one workload; prints one JSON line.

``time_engine.py --engine vectorbt --workload million [--repeat N] [--slow]``. Goes on in the
environment that has the engine, whichever interpreter started it. Timed is the way from arrays in
memory to the equity, the engine's set-up included; imports, disk and compilation are not.
``extra_mb`` is the peak of memory over what the loaded data and Python took.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import environments

WORKLOADS = ("single", "million", "hundred", "sweep", "sweep-hundred")
SWEEPERS = ("numba", "vectorbt", "backtesting")
# Of a hundred symbols, what an engine that needs a minute or more for all is timed on.
SAMPLE = {"numba": 100, "vectorbt": 4}
SLOW_SECONDS = 30.0


def main() -> int:
    """Time; 2 where the engine is not installed or does not do the workload."""
    parser = argparse.ArgumentParser(description="다른 백테스터 하나의 속도를 잽니다.")
    parser.add_argument("--engine", required=True, choices=sorted(environments.ENGINES))
    parser.add_argument("--workload", required=True, choices=WORKLOADS)
    parser.add_argument("--repeat", type=int, default=5, help="재는 횟수 (느리면 한 번만)")
    parser.add_argument("--slow", action="store_true", help="몇 분 걸리는 것도 끝까지 잽니다")
    chosen = parser.parse_args()
    python = environments.python_of(chosen.engine)
    if not environments.is_ready():
        sys.stderr.write(
            "비교할 라이브러리가 없습니다: make compare-peers 를 먼저 실행해 주세요.\n"
        )
        return 2
    if Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), *sys.argv])
    if chosen.workload.startswith("sweep") and chosen.engine not in SWEEPERS:
        sys.stderr.write(f"이 라이브러리로는 재지 않는 작업입니다: {chosen.workload}\n")
        return 2
    too_slow = chosen.workload == "sweep-hundred" or not chosen.slow
    if chosen.engine == "backtesting" and chosen.workload.startswith("sweep") and too_slow:
        sys.stderr.write("한 종목만, --slow 와 함께 잽니다 (1분 가까이 걸림).\n")
        return 2
    sys.stdout.write(json.dumps(_timed(chosen)) + "\n")
    return 0


def _timed(chosen: argparse.Namespace) -> dict[str, Any]:
    from engines import workloads

    sweeps = chosen.workload.startswith("sweep")
    name = {"sweep": "single", "sweep-hundred": "hundred"}.get(chosen.workload, chosen.workload)
    case, small = (workloads.reference(one, environments.goog()) for one in (name, "single"))
    symbols = len(case.symbols)
    if symbols > 1 and not sweeps:
        # One column and several lie differently in memory, which is compiled differently.
        small = case.first(2)
    share = 1.0
    if chosen.workload == "sweep-hundred" and not chosen.slow:
        taken = SAMPLE[chosen.engine]
        case, share = case.first(taken), taken / symbols
    _ = case.prices, small.prices
    loaded = _peak_mb()
    module = importlib.import_module(f"engines.with_{chosen.engine}")

    def once(which: Any, pairs: Any = workloads.PAIRS) -> Any:
        return module.sweep(which, pairs) if sweeps else module.run(which, path=False)

    # Compiles. A sweep of Python classes has nothing to compile.
    if chosen.engine != "backtesting" or not sweeps:
        once(small)
    walls, processor = [], []
    for _ in range(chosen.repeat):
        began, used = time.perf_counter(), time.process_time()
        found = once(case)
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
        if walls[-1] > SLOW_SECONDS:
            break
    seconds = statistics.median(walls) / share
    bars = case.close.size / share * (len(workloads.PAIRS) if sweeps else 1)
    return {
        "engine": chosen.engine,
        "version": _version(chosen.engine),
        "workload": chosen.workload,
        "bars": int(bars),
        "seconds": seconds,
        "best_seconds": min(walls) / share,
        "processor_seconds": statistics.median(processor) / share,
        "bars_per_second": bars / seconds,
        "repeat": len(walls),
        "measured_share": share,
        "loaded_mb": loaded,
        "peak_mb": _peak_mb(),
        "extra_mb": _peak_mb() - loaded,
        **(
            {"best": float(found[0, :, 0].max()), "mean": float(found[0, :, 0].mean())}
            if sweeps
            else {"equity": float(found.equity[-1]), "orders": len(found.orders)}
        ),
    }


def _peak_mb() -> float:
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024 * 1024
    )


def _version(engine: str) -> str | None:
    try:
        return version(environments.PACKAGES.get(engine, engine))
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
