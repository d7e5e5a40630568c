"""How the benchmarks time things and show what came out."""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of times, in microseconds."""

    p50: float
    p99: float
    worst: float
    samples: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int], per: int = 1) -> "Spread":
        """Return the spread of measured times, each of ``per`` calls."""
        ordered = sorted(nanoseconds)
        return cls(
            p50=_at(ordered, 0.50) / per,
            p99=_at(ordered, 0.99) / per,
            worst=ordered[-1] / per / 1e3,
            samples=len(ordered),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table. ``limit`` is what is promised of ``value``; both have ``unit``."""

    name: str
    value: float
    limit: float | None
    unit: str
    at_least: bool = False
    spreads: dict[str, Spread]

    @property
    def is_kept(self) -> bool:
        """Whether the promise holds; without one it does."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def time_calls(call: Callable[[], Any], *, samples: int, per: int = 1) -> list[int]:
    """Return the times of ``samples`` rounds of ``per`` calls, in nanoseconds."""
    for _ in range(max(10, samples // 10)):
        call()
    gc.collect()
    times = []
    for _ in range(samples):
        begin = perf_counter_ns()
        for _ in range(per):
            call()
        times.append(perf_counter_ns() - begin)
    return times


def show(results: Sequence[Result], *, as_json: bool) -> int:
    """Write the results; 0 when every promise is kept, else 1."""
    if as_json:
        rows = [
            {
                "name": one.name,
                "value": round(one.value, 3),
                "limit": one.limit,
                "unit": one.unit,
                "kept": one.is_kept,
                "microseconds": {
                    name: {
                        "p50": round(spread.p50, 3),
                        "p99": round(spread.p99, 3),
                        "worst": round(spread.worst, 1),
                        "samples": spread.samples,
                    }
                    for name, spread in one.spreads.items()
                },
            }
            for one in results
        ]
        sys.stdout.write(json.dumps({"results": rows}, ensure_ascii=False) + "\n")
    else:
        for one in results:
            sign = "≥" if one.at_least else "≤"
            promise = f"  (약속 {sign} {one.limit:g} {one.unit})" if one.limit is not None else ""
            mark = "" if one.is_kept else "  ← 미달"
            sys.stdout.write(f"\n{one.name}: {one.value:,.2f} {one.unit}{promise}{mark}\n")
            for name, spread in one.spreads.items():
                sys.stdout.write(
                    f"    {name:<44} p50 {spread.p50:>10,.2f} µs   p99 {spread.p99:>10,.2f} µs"
                    f"   최대 {spread.worst:>10,.1f} µs   n {spread.samples:,}\n"
                )
    return 0 if all(one.is_kept for one in results) else 1


def _at(ordered: Sequence[int], share: float) -> float:
    """Return a quantile in microseconds."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e3
