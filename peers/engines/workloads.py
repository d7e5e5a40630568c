"""The GOOG history of backtesting.py, whole, tiled to a million bars, and as a hundred symbols.

Tiled and shifted history is no market: those two are the definition of a workload, for order
lists and for time.
"""

from pathlib import Path
from typing import Any

import numpy as np

from engines.case import Case, Rule

CASH = 10_000_000
COMMISSION_PPB = 150_000
TAX_PPB = 2_000_000
MINOR_PER_UNIT = 10_000
MILLION = 1_000_000
N_SYMBOLS, N_DAYS, SHIFT = 100, 2_500, 21
# Every pair of a fast window of 2 to 41 and a slow one of 45, 50 … 165 bars.
PAIRS = np.array([(fast, slow) for fast in range(2, 42) for slow in range(45, 170, 5)])


def export(path: Path) -> None:
    """Write the history that backtesting.py ships; only its environment can."""
    from backtesting.test import GOOG

    fields = {name: GOOG[name.capitalize()].to_numpy() for name in ("open", "high", "low", "close")}
    np.savez(
        path,
        times=GOOG.index.to_numpy().astype("datetime64[s]"),
        volume=GOOG["Volume"].to_numpy().astype(np.int64),
        **{name: np.rint(f * MINOR_PER_UNIT).astype(np.int64) for name, f in fields.items()},
    )


def reference(name: str, goog: Path) -> Case:
    """Return ``single`` (2,148 bars), ``million`` (1 M bars) or ``hundred`` (100 x 2,500 bars).

    The rule is an average of 10 bars above one of 30, 100 shares, 0.015 % and 0.2 % on sales.
    """
    with np.load(goog) as stored:
        whole: dict[str, Any] = {name: stored[name] for name in stored.files}
    times = whole.pop("times")
    count = len(times)
    symbols: tuple[str, ...] = ("GOOG",)
    rows = np.arange(count)[:, None]
    if name == "million":
        rows = (np.arange(MILLION) % count)[:, None]
        times = np.datetime64("2000-01-03", "s") + np.arange(MILLION) * np.timedelta64(60, "s")
    elif name == "hundred":
        rows = (np.arange(N_DAYS)[:, None] + SHIFT * np.arange(N_SYMBOLS)) % count
        symbols = tuple(f"S{k:05d}" for k in range(N_SYMBOLS))
        first = np.datetime64("2010-01-04", "D")
        times = np.busday_offset(first, np.arange(N_DAYS)).astype("datetime64[s]")
    return Case(
        symbols=symbols, times=times, **{key: field[rows] for key, field in whole.items()},
        minor_per_unit=MINOR_PER_UNIT, rule=Rule(kind="above", fast=10, slow=30), quantity=100,
        cash=CASH, commission_ppb=COMMISSION_PPB, tax_ppb=TAX_PPB,
    )  # fmt: skip
