"""Whether a result hangs on one stretch of time, on cheap trading, on haste, or on small capital.

The runs themselves are made by ``research.robustness`` with the one simulator; here is what to make
of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date

import numpy as np

from trading import measures
from trading.backtest.figures import MIN_RETURNS
from trading.backtest.runner import BacktestResult
from trading.domain.arrays import BoolArray, FloatArray
from trading.risk.scenarios import CrisisWindow
from trading.strategies.base import Evaluation

BASIS_POINT = 1e-4
# A cost of more than a fifth of every amount is no cost that anyone asks about, and the integers of
# the account would not hold the largest.
_MOST_BPS = 2_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What the account and its benchmark did in some of the sessions, chained together.

    ``sharpe`` is annual and NaN for fewer than ``figures.MIN_RETURNS`` sessions;
    ``benchmark_return`` NaN where the benchmark is unknown.
    """

    name: str
    first: date
    last: date
    sessions: int
    total_return: float
    benchmark_return: float
    sharpe: float
    max_drawdown: float


def by_regime(
    sessions: Sequence[date],
    regimes: Sequence[str],
    returns: FloatArray,
    benchmark: FloatArray,
    *,
    periods_per_year: int,
) -> tuple[Stretch, ...]:
    """Return one stretch for each regime that was known before its sessions, by name.

    The drawdown is that of the regime's sessions end to end, as if nothing lay between.
    """
    names = np.array(regimes)
    return tuple(
        _stretch(name, names == name, sessions, returns, benchmark, periods_per_year)
        for name in sorted({name for name in regimes if name})
    )


def in_crises(
    windows: Sequence[CrisisWindow],
    sessions: Sequence[date],
    returns: FloatArray,
    benchmark: FloatArray,
    *,
    periods_per_year: int,
) -> tuple[Stretch, ...]:
    """Return one stretch for each window that lies wholly within the sessions."""
    days = np.array(sessions, dtype="datetime64[D]")
    found = []
    for window in windows:
        inside = (days >= np.datetime64(window.first)) & (days <= np.datetime64(window.last))
        if len(days) and days[0] <= window.first and window.last <= days[-1] and inside.any():
            found.append(
                _stretch(window.name, inside, sessions, returns, benchmark, periods_per_year)
            )
    return tuple(found)


def _stretch(
    name: str,
    inside: BoolArray,
    sessions: Sequence[date],
    returns: FloatArray,
    benchmark: FloatArray,
    periods_per_year: int,
) -> Stretch:
    at = np.flatnonzero(inside)
    own = returns[at]
    path = np.concatenate(([1.0], np.cumprod(1.0 + own)))
    is_long = len(own) >= MIN_RETURNS
    return Stretch(
        name=name,
        first=sessions[at[0]],
        last=sessions[at[-1]],
        sessions=len(at),
        total_return=measures.total_return(path),
        benchmark_return=float(np.prod(1.0 + benchmark[at]) - 1.0),
        sharpe=measures.sharpe(own, periods_per_year=periods_per_year) if is_long else math.nan,
        max_drawdown=measures.max_drawdown(path),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The cost at which nothing is left, in basis points of every traded amount.

    ``extra_bps`` is what could be paid beside the costs that were: the profit over all that was
    traded, if the orders stayed as they are; negative where it is lost already. ``rerun_bps`` is
    where reruns, whose orders shrink with the account, came closest, and ``left`` what they had
    left there as a fraction of the starting capital; NaN without a profit to begin with, or where
    the cost would be more than a fifth of every amount.
    """

    extra_bps: float
    rerun_bps: float
    left: float


def break_even(
    profit: int,
    traded: int,
    starting_cash: int,
    profit_at: Callable[[float], int],
    *,
    reruns: int,
) -> BreakEven:
    """Return the cost at which ``profit`` is gone.

    Parameters
    ----------
    profit : int
        What the run made over what it is compared with, in minor units.
    traded : int
        Sum of all amounts bought and sold, in minor units; without any there is no cost.
    profit_at : callable
        Profit of a rerun that pays so many basis points more of every amount. The secant between
        two runs says where the next one is made.
    """
    if traded <= 0:
        return BreakEven(extra_bps=math.nan, rerun_bps=math.nan, left=math.nan)
    extra = profit / traded / BASIS_POINT
    if not 0 < extra <= _MOST_BPS:
        return BreakEven(extra_bps=extra, rerun_bps=math.nan, left=math.nan)
    known: list[tuple[float, int]] = [(0.0, profit)]
    at = extra
    for _ in range(reruns):
        known.append((at, profit_at(at)))
        (x0, y0), (x1, y1) = known[-2:]
        if y1 == 0 or y1 == y0:
            break
        at = x1 - y1 * (x1 - x0) / (y1 - y0)
        if not 0 < at <= _MOST_BPS:
            break
    best, left = min(known[1:], key=lambda point: abs(point[1]))
    return BreakEven(extra_bps=extra, rerun_bps=best, left=left / starting_cash)


def delayed(evaluation: Evaluation, sessions: int) -> Evaluation:
    """Return what was known ``sessions`` earlier, at each session.

    Before there was anything it is what was known at the first session. Prices and what may be
    traded are of the day itself: orders go to the market of today.
    """
    n = len(evaluation.votes)
    row = np.maximum(np.arange(n) - sessions, 0)
    moved = {
        field.name: getattr(evaluation, field.name)[row]
        for field in fields(evaluation)
        if field.name != "ceilings" and isinstance(getattr(evaluation, field.name), np.ndarray)
    }
    return replace(evaluation, **moved)


def filled_share(result: BacktestResult) -> float:
    """Return how much of what was ordered was filled, by value at the limits; NaN without orders."""
    ordered = sum(
        order.intent.quantity * order.intent.limit for day in result.days for order in day.orders
    )
    filled = sum(
        booked.fill.quantity * booked.intent.limit for day in result.days for booked in day.booked
    )
    return filled / ordered if ordered else math.nan


def capacity(capital: Sequence[int], annual_returns: Sequence[float]) -> float:
    """Return the capital with which the annual return falls to half of that of the smallest.

    Between two runs it falls in a straight line over the logarithm of the capital. Infinite when it
    never falls so far, NaN when there was no return to begin with.
    """
    order = np.argsort(capital, kind="stable")
    size = np.log(np.asarray(capital, dtype=np.float64)[order])
    made = np.asarray(annual_returns, dtype=np.float64)[order]
    if not len(made) or not made[0] > 0:
        return math.nan
    half = made[0] / 2.0
    for k in range(1, len(made)):
        if made[k] <= half:
            step = (made[k - 1] - half) / (made[k - 1] - made[k])
            return float(np.exp(size[k - 1] + step * (size[k] - size[k - 1])))
    return math.inf
