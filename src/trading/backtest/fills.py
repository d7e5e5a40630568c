"""Is ``fill`` honest: what a coarse bar promises an order, against the finer prints of that bar.

A limit order rests at a level of a recorded bar. What ``simulation.matching.fill`` gives it along
the bar's four prints is compared with the finer prints that really followed: minutes of a day,
trades of a minute. A print beyond the limit proves that the order would have been filled (whoever
sold there would have met it first); one at the limit proves nothing, for others may have waited in
front, and is told apart. Where the prints come from is ``research.fills``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, IntArray
from trading.simulation.matching import BASIS_POINTS, capacity_of, fill
from trading.simulation.paths import Print
from trading.simulation.ticks import round_to_tick

# Levels of a limit, in parts of the bar's range above its low, and sizes in parts of its volume
# (0 is a single share).
LEVELS = (-0.25, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25)
SIZES = (0.0, 0.01, 0.05)


class Case(IntEnum):
    """What the finer prints prove about a resting order."""

    AT_ONCE = 0
    THROUGH = 1
    TOUCH = 2
    NEVER = 3


class Path(NamedTuple):
    """Prints of one bar in order of time; ``before`` is the last price before it, 0 at an open."""

    price: IntArray
    volume: IntArray
    auction: BoolArray
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One recorded bar as its four prints and as the finer ones, and the ticks of its session."""

    coarse: Path
    fine: Path
    ladder: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """All orders of one case and size.

    ``claimed`` and ``filled`` count orders that got anything along the four prints and along the
    finer ones. ``false_fills`` were claimed and no finer print was at the limit or beyond it;
    ``missed`` got something along the finer prints only. ``claimed_shares`` and ``filled_shares`` add up
    what they got, ``excess_shares`` what was claimed beyond the account's part of all finer prints
    at the limit or beyond it. ``optimism_bps`` is by how much the claimed price was better than the
    finer one, on average over the orders that got something in both, ``worst_bps`` at most.
    """

    case: Case
    size: float
    orders: int
    claimed: int
    filled: int
    false_fills: int
    missed: int
    claimed_shares: int
    filled_shares: int
    excess_shares: int
    optimism_bps: float
    worst_bps: float

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "case"
        } | {"case": self.case.name.lower()}


def path_of(prints: Sequence[Print], before: int = 0) -> Path:
    """Return prints as arrays."""
    return Path(
        np.array([p.price for p in prints], dtype=np.int64),
        np.array([p.volume for p in prints], dtype=np.int64),
        np.array([p.auction for p in prints], dtype=np.bool_),
        before,
    )


def compare(bars: Iterable[Bar], participation_bps: int) -> list[Row]:
    """Return what became of an order of each side, level and size in every bar, case by case."""
    levels, sizes = np.array(LEVELS), np.array(SIZES)
    counts = np.zeros((len(Case), len(sizes), 8), dtype=np.int64)
    better = np.zeros((len(Case), len(sizes), 3))
    better[:, :, 2] = -np.inf
    for bar in bars:
        _try(*bar.coarse, *bar.fine, bar.ladder, participation_bps, levels, sizes, counts, better)
    return [
        Row(
            case=case,
            size=float(size),
            **dict(zip(_COUNTED, counts[case, k].tolist(), strict=True)),
            # A hundredth of a basis point is less than any tick: what is left is rounding.
            optimism_bps=round(float(better[case, k, 0] / max(better[case, k, 1], 1.0)), 2) + 0.0,
            worst_bps=round(float(better[case, k, 2]), 2) + 0.0 if better[case, k, 1] else 0.0,
        )
        for case in Case
        for k, size in enumerate(sizes)
        if counts[case, k, 0]
    ]


_COUNTED = (
    "orders", "claimed", "filled", "false_fills", "missed", "claimed_shares", "filled_shares",
    "excess_shares",
)  # fmt: skip
_AT_ONCE, _THROUGH, _TOUCH, _NEVER = (int(case) for case in Case)


@njit(cache=True)
def _try(  # type: ignore[no-untyped-def] # compiled: numba infers the types
    price, volume, auction, before, fine_price, fine_volume, fine_auction, fine_before, ladder,
    share_bps, levels, sizes, counts, better,
):  # fmt: skip
    low, high = price.min(), price.max()
    total = volume.sum()
    for sign in (-1, 1):
        for level in levels:
            limit = round_to_tick(int(low + level * (high - low)), ladder, sign < 0)
            case, is_reached, offered = _evidence(
                sign, limit, fine_price, fine_volume, fine_auction, fine_before, share_bps
            )
            for k in range(len(sizes)):
                quantity = max(1, int(sizes[k] * total))
                claimed, amount = _filled(
                    sign, quantity, limit, price, volume, auction, before, share_bps
                )
                filled, spent = _filled(
                    sign, quantity, limit, fine_price, fine_volume, fine_auction, fine_before,
                    share_bps,
                )  # fmt: skip
                row = counts[case, k]
                row[0] += 1
                row[1] += claimed > 0
                row[2] += filled > 0
                row[3] += claimed > 0 and not is_reached
                row[4] += filled > 0 and claimed == 0
                row[5] += claimed
                row[6] += filled
                row[7] += max(0, claimed - offered)
                if claimed > 0 and filled > 0:
                    bps = (spent / filled - amount / claimed) * sign / (spent / filled)
                    better[case, k, 0] += bps * BASIS_POINTS
                    better[case, k, 1] += 1
                    better[case, k, 2] = max(better[case, k, 2], bps * BASIS_POINTS)


@njit(cache=True)
def _evidence(sign, limit, price, volume, auction, before, share_bps):  # type: ignore[no-untyped-def] # as above
    """Return what the prints prove, whether any is at the limit or beyond it, and our part of those."""
    first = price[0] if auction[0] or before == 0 else before
    traded = 0
    is_through, is_reached = False, False
    for k in range(len(price)):
        beyond = (limit - price[k]) * sign
        if beyond >= 0:
            traded += volume[k]
            is_through |= beyond > 0
            is_reached = True
    offered = capacity_of(traded, share_bps)
    if (limit - first) * sign >= 0:
        return _AT_ONCE, is_reached, offered
    if is_through:
        return _THROUGH, is_reached, offered
    return (_TOUCH if is_reached else _NEVER), is_reached, offered


@njit(cache=True)
def _filled(sign, quantity, limit, price, volume, auction, before, share_bps):  # type: ignore[no-untyped-def] # as above
    """Return shares and amount that an order gets which rests from before the first print."""
    shares, amount = 0, 0
    for k in range(len(price)):
        previous = 0 if auction[k] else before
        got, paid = fill(
            sign, quantity - shares, limit, previous, price[k],
            capacity_of(volume[k], share_bps), 0, 0,
        )  # fmt: skip
        shares += got
        amount += got * paid
        before = price[k]
    return shares, amount


def worst(rows: Iterable[Row]) -> int:
    """Return how many fills were claimed that no finer print allowed."""
    return sum(row.false_fills for row in rows)
