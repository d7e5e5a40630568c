"""What is worth trading of target weights: no-trade bands, and the whole lots nearest to them.

Which orders follow, at which prices and from which cash, is ``allocation.rebalance``.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Currency
from trading.domain.wording import money_text

# Steps of the search for better lots: some 30 µs. What is then left unproven is returned.
_MAX_NODES = 1000
# Half a minor unit: less is no difference in money.
_EXACT = 0.5


@njit(cache=True, nogil=True)
def round_lots(
    wished: FloatArray,
    lot_value: IntArray,
    lot_cost: IntArray,
    most: IntArray,
    sectors: IntArray,
    sector_room: IntArray,
    budget: int,
    max_nodes: int = _MAX_NODES,
) -> tuple[IntArray, float, float]:
    r"""Return ``(lots, error, gap)``: whole lots whose values are nearest to what is wished.

    Nearest is the least :math:`e(k) = \sum_i |W_i - k_i v_i|` over whole :math:`k_i \ge 0` with
    :math:`\sum k_i c_i \le B`, :math:`k_i` at most its cap, and no sector above its room.
    Where budget or a sector cannot pay for all, the wishes are first scaled down alike.

    Parameters
    ----------
    wished : ndarray of shape (n_instruments,)
        Wished value of each holding, in minor units, at least 0.
    lot_value, lot_cost : ndarray of shape (n_instruments,)
        Value of one lot, and what it takes from ``budget`` (with fees, at the limit price).
        A value of 0 marks a name that cannot be bought.
    most : ndarray of shape (n_instruments,)
        Most lots that the caps allow.
    sectors, sector_room : ndarray of shape (n_instruments,), (n_sectors,)
        Row of each name in ``sector_room`` (value the sector may have) or -1.
    budget : int
        What all lots together may cost.
    max_nodes : int
        Where the search ends; 0 leaves the greedy lots.

    Returns
    -------
    lots : ndarray of shape (n_instruments,)
    error : float
        Distance to the scaled wishes, in minor units.
    gap : float
        Proven: no allowed lots are nearer by more than this. 0 when the search ended by itself: then
        none are nearer by half a minor unit, which is no difference in money.

    Notes
    -----
    A name's error falls by :math:`v` for each lot up to :math:`f = \lfloor W/v \rfloor` and by
    :math:`(2r-1)v` for one more, :math:`r = W/v - f`; every further one adds :math:`v`. So the
    gains of successive lots fall (the error is convex in :math:`k`), and choosing lots is a
    knapsack of segments of falling gain per cost.

    *Theorem.* Without binding sectors, filling segments by gain per cost until one does not fit
    gives lots whose error exceeds the least by less than the gain of one lot of the first segment
    that did not fit, hence by less than the value of one lot. *Proof.* By the convexity the
    greedy filling, with a part :math:`\theta < 1` of a lot of that segment at the end, solves the
    program without the demand of whole lots; its error is a lower bound, and dropping the part
    costs :math:`\theta` times the gain. ∎

    The greedy lots are improved by going on with what still fits and by a depth-first search
    that takes segments back, last first, and stops a branch at the same bound.
    """
    n = wished.shape[0]
    lots = np.zeros(n, dtype=np.int64)
    target = _affordable(wished, lot_value, lot_cost, most, sectors, sector_room, budget)
    name = np.empty(2 * n, dtype=np.int64)
    count = np.empty(2 * n, dtype=np.int64)
    gain = np.empty(2 * n)
    m = 0
    error = 0.0
    for i in range(n):
        error += target[i]
        if lot_value[i] <= 0 or lot_cost[i] <= 0:
            continue
        ratio = target[i] / lot_value[i]
        whole = int(ratio + 1e-9)
        rest = ratio - whole
        # The target is within the cap, so a lot more than it is, too.
        if whole > 0:
            name[m], count[m], gain[m] = i, whole, lot_value[i]
            m += 1
        if rest > 0.5:
            name[m], count[m], gain[m] = i, 1, (2.0 * rest - 1.0) * lot_value[i]
            m += 1
    if m == 0:
        return lots, error, 0.0
    density = np.empty(m)
    for j in range(m):
        # Rounded, so that equal names are equal; the larger wish goes first among them.
        density[j] = np.round(gain[j] / lot_cost[name[j]], 9)
    by_wish = np.argsort(-target[name[:m]], kind="mergesort")
    order = by_wish[np.argsort(-density[by_wish], kind="mergesort")]
    name, count, gain, density = name[order], count[order], gain[order], density[order]

    take = np.zeros(m, dtype=np.int64)
    room = sector_room.copy()
    left, value = _fill(0, take, name, count, gain, lot_value, lot_cost, sectors, room, budget)
    best, best_take = value, take.copy()
    ceiling = _relaxed(0, name, count, gain, lot_cost, budget)
    nodes = 0
    is_searched = False
    j = m - 1
    while best < ceiling - _EXACT and nodes < max_nodes:
        while j >= 0 and take[j] == 0:
            j -= 1
        if j < 0:
            is_searched = True
            break
        nodes += 1
        i = name[j]
        # One lot of the last segment is taken back; what follows is filled again, if it can help.
        take[j] -= 1
        left += lot_cost[i]
        value -= gain[j]
        if sectors[i] >= 0:
            room[sectors[i]] += lot_value[i]
        if value + _relaxed(j + 1, name, count, gain, lot_cost, left) > best + _EXACT:
            left, added = _fill(
                j + 1, take, name, count, gain, lot_value, lot_cost, sectors, room, left
            )
            value += added
            if value > best:
                best, best_take = value, take.copy()
            j = m - 1
        else:
            # Fewer of it would be worse still: the segments before it are better per cost.
            left += take[j] * lot_cost[i]
            value -= take[j] * gain[j]
            if sectors[i] >= 0:
                room[sectors[i]] += take[j] * lot_value[i]
            take[j] = 0
    for k in range(m):
        lots[name[k]] += best_take[k]
    error = 0.0
    for i in range(n):
        error += abs(target[i] - lots[i] * lot_value[i])
    gap = 0.0 if is_searched else max(ceiling - best, 0.0)
    return lots, error, gap


@njit(cache=True, nogil=True)
def _affordable(
    wished: FloatArray,
    lot_value: IntArray,
    lot_cost: IntArray,
    most: IntArray,
    sectors: IntArray,
    sector_room: IntArray,
    budget: int,
) -> FloatArray:
    """Return the wishes within caps, then scaled to what sectors and the budget can pay for."""
    n = wished.shape[0]
    target = np.zeros(n)
    in_sector = np.zeros(sector_room.shape[0])
    for i in range(n):
        if lot_value[i] > 0:
            target[i] = max(min(wished[i], float(most[i] * lot_value[i])), 0.0)
            if sectors[i] >= 0:
                in_sector[sectors[i]] += target[i]
    cost = 0.0
    for i in range(n):
        s = sectors[i]
        if s >= 0 and in_sector[s] > sector_room[s]:
            target[i] *= max(sector_room[s], 0) / in_sector[s]
        if lot_value[i] > 0:
            cost += target[i] * (lot_cost[i] / lot_value[i])
    if cost > budget:
        for i in range(n):
            target[i] *= max(budget, 0) / cost
    return target


@njit(cache=True, nogil=True)
def _fill(
    start: int,
    take: IntArray,
    name: IntArray,
    count: IntArray,
    gain: FloatArray,
    lot_value: IntArray,
    lot_cost: IntArray,
    sectors: IntArray,
    room: IntArray,
    left: int,
) -> tuple[int, float]:
    """Take what fits of the segments from ``start`` on; return the budget left and the gain."""
    added = 0.0
    for j in range(start, name.shape[0]):
        i = name[j]
        lots = min(count[j], left // lot_cost[i])
        s = sectors[i]
        if s >= 0:
            lots = min(lots, room[s] // lot_value[i])
            room[s] -= lots * lot_value[i]
        take[j] = lots
        left -= lots * lot_cost[i]
        added += lots * gain[j]
    return left, added


@njit(cache=True, nogil=True)
def _relaxed(
    start: int,
    name: IntArray,
    count: IntArray,
    gain: FloatArray,
    lot_cost: IntArray,
    left: int,
) -> float:
    """Return the most that segments from ``start`` on could gain if lots could be parted."""
    total = 0.0
    for j in range(start, name.shape[0]):
        cost = count[j] * lot_cost[name[j]]
        if cost > left:
            return float(total + gain[j] * left / lot_cost[name[j]])
        total += count[j] * gain[j]
        left -= cost
    return total


@njit(cache=True, nogil=True)
def no_trade_width(target: FloatArray, cost_bps: FloatArray, risk_aversion: float) -> FloatArray:
    r"""Return how far a weight may stray from its target before trading pays.

    .. math:: \Delta_i = \left(\frac{3}{2\gamma}\, w_i^2 (1-w_i)^2\, \varepsilon_i\right)^{1/3}

    The first term, for small costs, of the half-width of the region in which an investor of
    constant relative risk aversion :math:`\gamma` leaves a position alone; volatility and
    horizon cancel. It is exact, in that limit, for one risky asset or independent ones.

    Parameters
    ----------
    target : ndarray of shape (n_instruments,)
        Wished weights. One of 0 or 1 has no band: an exit is made whole.
    cost_bps : ndarray of shape (n_instruments,)
        Cost of trading one unit of value, in basis points: half of what buying and selling cost
        together, taxes included.

    References
    ----------
    .. [1] Davis, M. and Norman, A. (1990). "Portfolio Selection with Transaction Costs."
       Mathematics of Operations Research, 15(4), 676-713.
    .. [2] Guasoni, P. and Muhle-Karbe, J. (2013). "Portfolio Choice with Transaction Costs: A
       User's Guide." Paris-Princeton Lectures on Mathematical Finance, 169-201.
    """
    width = np.zeros(target.shape[0])
    for i in range(target.shape[0]):
        w = target[i]
        if 0.0 < w < 1.0 and cost_bps[i] > 0.0:
            square = w * w * (1.0 - w) * (1.0 - w)
            width[i] = (1.5 / risk_aversion * square * cost_bps[i] / 1e4) ** (1.0 / 3.0)
    return width


class SmallReason(StrEnum):
    """Why an account is too small for a name."""

    LOT_ABOVE_CAP = "lot_above_cap"
    LOT_ABOVE_TARGET = "lot_above_target"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallAccount:
    """A name of which the account cannot hold one lot; amounts in minor units.

    ``smallest_equity`` is what would suffice for one, at today's price and weight.
    """

    reason: SmallReason
    lot_value: int
    room: int
    smallest_equity: int

    def text(self, currency: Currency) -> str:
        """Return the reason as a Korean sentence."""
        limit = {
            SmallReason.LOT_ABOVE_CAP: "종목 한도",
            SmallReason.LOT_ABOVE_TARGET: "목표 금액",
        }[self.reason]
        return (
            f"계좌가 작아 살 수 없음: 한 단위 {money_text(self.lot_value, currency)},"
            f" {limit} {money_text(self.room, currency)},"
            f" 필요한 자산 {money_text(self.smallest_equity, currency)} 이상"
        )


def small_account(weight: float, cap: float, lot_value: int, equity: int) -> SmallAccount | None:
    """Return why not one lot of a wished ``weight`` can be held, or None when one can.

    One lot must be within ``cap`` (a share of equity) and nearer to the wish than none: the wish
    must be worth more than half of it. An account that is to hold all of several names needs the
    largest of their ``smallest_equity``.
    """
    if weight <= 0.0 or cap <= 0.0 or lot_value <= 0:
        return None
    if lot_value <= int(cap * equity) and weight * equity > lot_value / 2:
        return None
    by_cap, by_target = lot_value / cap, lot_value / (2.0 * weight)
    smallest = int(max(by_cap, by_target)) + 1
    if lot_value > int(cap * equity):
        reason, room = SmallReason.LOT_ABOVE_CAP, int(cap * equity)
    else:
        reason, room = SmallReason.LOT_ABOVE_TARGET, int(weight * equity)
    return SmallAccount(reason=reason, lot_value=lot_value, room=room, smallest_equity=smallest)
