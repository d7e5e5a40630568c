"""The tick grid of a session, for compiled functions; the law of it is ``domain.rules``."""

from numba import njit

from trading.domain.arrays import IntArray


@njit(cache=True)
def round_to_tick(price: int, ladder: IntArray, up: bool) -> int:
    """Return ``price`` on the tick grid of ``ladder`` (rows: from this price, tick), never below one tick.

    Rows with a tick of 0 are padding.
    """
    tick = tick_at(price, ladder)
    rounded = -(-price // tick) * tick if up else price // tick * tick
    return int(max(rounded, ladder[0, 1]))


@njit(cache=True)
def tick_at(price: int, ladder: IntArray) -> int:
    """Return the tick in force at ``price``."""
    tick = ladder[0, 1]
    for k in range(ladder.shape[0]):
        if ladder[k, 1] > 0 and price >= ladder[k, 0]:
            tick = ladder[k, 1]
    return int(tick)
