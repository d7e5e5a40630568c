"""From allowed weights to whole-lot, tick-legal orders; the only place that rounds to lots."""

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Verdict

_ALLOWED = int(Verdict.ALLOWED)
_NOT_TRADABLE = int(Verdict.NOT_TRADABLE)
_WITHIN_BAND = int(Verdict.WITHIN_BAND)
_BELOW_LOT = int(Verdict.BELOW_LOT)
_NO_CASH = int(Verdict.NO_CASH)
_CAP_ADV = int(Verdict.CAP_ADV)
_CAP_SINGLE_NAME = int(Verdict.CAP_SINGLE_NAME)
_CAP_DRAWDOWN = int(Verdict.CAP_DRAWDOWN)
_REDUCING = int(Verdict.REDUCING)
_HALTED = int(Verdict.HALTED)
_NO_VOLATILITY = int(Verdict.NO_VOLATILITY)
BILLION = 1_000_000_000


@njit(cache=True)
def round_to_tick(price: int, ladder: IntArray, up: bool) -> int:
    """Return ``price`` on the tick grid of ``ladder`` (rows: from this price, tick), never below one tick.

    Rows with a tick of 0 are padding.
    """
    tick = ladder[0, 1]
    for k in range(ladder.shape[0]):
        if ladder[k, 1] > 0 and price >= ladder[k, 0]:
            tick = ladder[k, 1]
    rounded = -(-price // tick) * tick if up else price // tick * tick
    return int(max(rounded, tick))


@njit(cache=True)
def limit_price(
    reference: int, band: float, sign: int, ladder: IntArray, lower: int, upper: int
) -> int:
    """Return the limit of an order at ``reference`` ± ``band``, on the tick and inside the limits.

    A buy is rounded down and a sell up: never worse than asked. ``lower`` and ``upper`` are 0
    where the market has no daily price limits.
    """
    wished = int(reference * (1.0 + sign * band) + 0.5)
    price = round_to_tick(wished, ladder, sign < 0)
    if upper > 0:
        price = min(price, upper)
    return max(price, lower)


@njit(cache=True)
def rebalance(
    weights: FloatArray,
    verdicts: IntArray,
    quantity: IntArray,
    tradable: IntArray,
    reference: IntArray,
    buy_limit: IntArray,
    sell_limit: IntArray,
    lot: IntArray,
    max_shares: IntArray,
    equity: int,
    cash: int,
    band: float,
    cash_buffer: float,
    buy_fee_ppb: int,
    resize: bool,
) -> tuple[IntArray, IntArray, IntArray]:
    """Return ``(target quantity, order quantity, verdict)``; orders are positive to buy.

    Parameters
    ----------
    weights : ndarray of shape (n_instruments,)
        Allowed shares of ``equity``.
    resize : bool
        Whether what is held may also be enlarged or trimmed today (monthly rebalancing);
        entries, exits and reductions by a limit never wait. Changes within ``band`` of equity
        are left alone.
    max_shares : ndarray of shape (n_instruments,)
        Most shares one order may have (share of average daily volume).
    cash : int
        What may be spent today, before today's sales; buys are paid at their limit with fees,
        the largest weight first.
    """
    n = weights.shape[0]
    target = quantity.copy()
    order = np.zeros(n, dtype=np.int64)
    codes = verdicts.copy()
    for i in range(n):
        if tradable[i] == 0 or reference[i] <= 0:
            if quantity[i] > 0 or weights[i] > 0.0:
                codes[i] = _NOT_TRADABLE
            continue
        held = quantity[i]
        if codes[i] == _HALTED or codes[i] == _REDUCING or codes[i] == _NO_VOLATILITY:
            # What is kept is kept in shares: its weight times equity may be a share short.
            wished = held
        elif weights[i] <= 0.0:
            wished = 0
        else:
            wished = int(weights[i] * equity / reference[i]) // lot[i] * lot[i]
            if held == 0 and wished == 0:
                codes[i] = _BELOW_LOT
        if held > 0 and wished > 0:
            by_limit = _CAP_SINGLE_NAME <= codes[i] <= _CAP_DRAWDOWN
            may_change = resize or (wished < held and by_limit)
            if not may_change or abs(wished - held) * reference[i] <= band * equity:
                if wished != held and codes[i] == _ALLOWED:
                    codes[i] = _WITHIN_BAND
                wished = held
        if abs(wished - held) > max_shares[i]:
            step = max_shares[i] // lot[i] * lot[i]
            wished = held + step if wished > held else held - step
            codes[i] = _CAP_ADV
        # Whole lots both ways: a rest that a price below the lot's bound left over waits for it.
        lots = abs(wished - held) // lot[i] * lot[i]
        if wished < held:
            if lots == 0:
                codes[i] = _BELOW_LOT
            order[i] = -lots
            target[i] = held - lots
        elif wished > held:
            target[i] = held + lots
    budget = int(cash * (1.0 - cash_buffer))
    for i in np.argsort(-weights, kind="mergesort"):
        wanted = target[i] - quantity[i]
        if wanted <= 0:
            continue
        price = buy_limit[i] + buy_limit[i] * buy_fee_ppb // BILLION + 1
        shares = min(wanted, budget // price) // lot[i] * lot[i]
        if shares < wanted:
            codes[i] = _NO_CASH
        shares = max(shares, 0)
        order[i] = shares
        target[i] = quantity[i] + shares
        budget -= shares * price
    return target, order, codes
