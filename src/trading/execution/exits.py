"""When a holding must go: stop-loss, trailing stop, take-profit, on every print.

Kept by the engine, not by the venue: a stop needs a living engine, and a gap fills where the
market opens (docs/operations.md).
"""

from enum import IntEnum

from numba import njit

BASIS_POINTS = 10_000


class ExitRule(IntEnum):
    """Which rule sold; the name in lower case is the order's ``reason``."""

    NONE = 0
    STOP_LOSS = 1
    TRAILING_STOP = 2
    TAKE_PROFIT = 3


_STOP_LOSS = int(ExitRule.STOP_LOSS)
_TRAILING_STOP = int(ExitRule.TRAILING_STOP)
_TAKE_PROFIT = int(ExitRule.TAKE_PROFIT)


@njit(cache=True)
def exits(
    quantity: int,
    cost: int,
    peak: int,
    price: int,
    stop_bps: int,
    trailing_bps: int,
    profit_bps: int,
) -> int:
    """Return the ``ExitRule`` that a print at ``price`` triggers for one holding.

    ``cost`` is the total paid for ``quantity``, so a split moves the level with the shares;
    ``peak`` is the highest print since entry. A rule of 0 basis points is off. A loss is
    checked before a profit.
    """
    if quantity <= 0:
        return 0
    value = price * quantity * BASIS_POINTS
    if stop_bps > 0 and value <= cost * (BASIS_POINTS - stop_bps):
        return _STOP_LOSS
    if trailing_bps > 0 and price * BASIS_POINTS <= peak * (BASIS_POINTS - trailing_bps):
        return _TRAILING_STOP
    if profit_bps > 0 and value >= cost * (BASIS_POINTS + profit_bps):
        return _TAKE_PROFIT
    return 0


def basis_points(fraction: float | None) -> int:
    """Return a configured fraction in basis points, 0 when the rule is off."""
    return 0 if fraction is None else round(fraction * BASIS_POINTS)
