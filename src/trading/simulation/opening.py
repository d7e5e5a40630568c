"""A market order of one name in the opening auction: what is wished of it, and what it gets.

Used alike by the backtests of single rules and by the environment of reinforcement learning. The
orders of a whole portfolio are sized in ``allocation``.
"""

from numba import njit

from trading.domain.arrays import IntArray
from trading.simulation.account import BILLION, RATE_PPB, SIDE, SIDE_SELL
from trading.simulation.matching import capacity_of, fill
from trading.simulation.paths import share_of_volume


@njit(cache=True)
def buy_fee(price: int, fee_ppb: int) -> int:
    """Return the most that one share bought at ``price`` costs beside it."""
    return price * fee_ppb // BILLION + 1


@njit(cache=True)
def buy_rate(fees: IntArray) -> int:
    """Return the rate of all fees of a purchase, in 1e-9."""
    rate = 0
    for k in range(fees.shape[0]):
        if fees[k, SIDE] != SIDE_SELL:
            rate += fees[k, RATE_PPB]
    return rate


@njit(cache=True)
def target_of(shares: int, held: int, cash: int, price: int, fee_ppb: int, lot: int) -> int:
    """Return the shares to hold: ``shares``, or for 0 what ``cash`` adds to those held at ``price``."""
    if shares > 0:
        return shares // lot * lot
    if price <= 0:
        return held
    return held + max(cash, 0) // (price + buy_fee(price, fee_ppb)) // lot * lot


@njit(cache=True)
def auction(
    change: int, price: int, volume: int, lower: int, upper: int, lot: int, cash: int,
    fee_ppb: int, share_bps: int,
) -> tuple[int, int]:  # fmt: skip
    """Return ``(shares, still)`` of a market order in the opening auction at ``price``.

    ``still`` is the change that is wished after it: what the auction did not fill, but nothing
    that cash does not pay for.
    """
    sign, wanted = (1, change) if change > 0 else (-1, -change)
    if sign > 0:
        unit = price + buy_fee(price, fee_ppb)
        if wanted * unit > cash:
            wanted = max(cash, 0) // unit // lot * lot
    capacity = capacity_of(share_of_volume(volume, 0), share_bps)
    shares, _ = fill(sign, wanted, price, 0, price, capacity, lower, upper)
    return shares, sign * (wanted - shares)
