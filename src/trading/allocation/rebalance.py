"""From allowed weights to whole-lot, tick-legal orders; the only place that rounds to lots."""

import numpy as np
from numba import njit

from trading.allocation.rounding import round_lots
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Verdict
from trading.simulation.ticks import round_to_tick

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
_CAP_EXPOSURE = int(Verdict.CAP_EXPOSURE)
BILLION = 1_000_000_000


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
    lot: IntArray,
    max_shares: IntArray,
    sectors: IntArray,
    width: FloatArray,
    equity: int,
    cash: int,
    max_single_name: float,
    max_sector: float,
    max_gross: float,
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
    width : ndarray of shape (n_instruments,)
        Half-width of each name's no-trade band (``rounding.no_trade_width``): what is held is
        resized to the band's edge, because going on would cost more than it gains.
    resize : bool
        Whether what is held may also be enlarged or trimmed today (monthly rebalancing);
        entries, exits and reductions by a limit never wait, and the latter go all the way.
        Changes within ``band`` of equity are left alone.
    max_shares : ndarray of shape (n_instruments,)
        Most shares one order may have (share of average daily volume).
    max_single_name, max_sector, max_gross : float
        Shares of equity that whole lots may not exceed: those bought are the nearest to what is
        wished (``rounding.round_lots``), together worth no more than that.
    cash : int
        What may be spent today, before today's sales; buys are paid at their limit with fees,
        the largest weight first.
    """
    n = weights.shape[0]
    target = quantity.copy()
    order = np.zeros(n, dtype=np.int64)
    codes = verdicts.copy()
    wanted = np.zeros(n)
    for i in range(n):
        if tradable[i] == 0 or reference[i] <= 0:
            if quantity[i] > 0 or weights[i] > 0.0:
                codes[i] = _NOT_TRADABLE
            continue
        held = quantity[i]
        if codes[i] == _HALTED or codes[i] == _REDUCING or codes[i] == _NO_VOLATILITY:
            # What is kept is kept in shares: its weight times equity may be a share short.
            continue
        has = held * reference[i] / equity if equity > 0 else 0.0
        wished = max(weights[i], 0.0)
        if held > 0 and wished > 0.0:
            by_limit = codes[i] == _CAP_EXPOSURE or _CAP_SINGLE_NAME <= codes[i] <= _CAP_DRAWDOWN
            by_limit = by_limit and wished < has
            if not (resize or by_limit) or abs(wished - has) <= max(band, width[i]):
                if wished != has and codes[i] == _ALLOWED:
                    codes[i] = _WITHIN_BAND
                continue
            if not by_limit:
                wished += width[i] if wished < has else -width[i]
        if wished >= has:
            wanted[i] = (wished - has) * equity
            continue
        left = int(wished * equity / reference[i]) // lot[i] * lot[i]
        # Whole lots both ways: a rest that a price below the lot's bound left over waits for it.
        lots = (held - left) // lot[i] * lot[i]
        if lots > max_shares[i]:
            lots = max_shares[i] // lot[i] * lot[i]
            codes[i] = _CAP_ADV
        if lots == 0 and codes[i] != _CAP_ADV:
            codes[i] = _BELOW_LOT
        order[i] = -lots
        target[i] = held - lots
    wishes = _whole_lots(
        wanted, target, reference, lot, max_shares, sectors, equity, max_single_name, max_sector,
        max_gross, codes,
    )  # fmt: skip
    budget = int(cash * (1.0 - cash_buffer))
    for i in np.argsort(-weights, kind="mergesort"):
        if wanted[i] <= 0.0:
            continue
        if wishes[i] == 0:
            if quantity[i] == 0 and codes[i] != _CAP_ADV:
                codes[i] = _BELOW_LOT
            continue
        price = buy_limit[i] + buy_limit[i] * buy_fee_ppb // BILLION + 1
        shares = min(wishes[i], budget // price) // lot[i] * lot[i]
        if shares < wishes[i]:
            codes[i] = _NO_CASH
        shares = max(shares, 0)
        order[i] = shares
        target[i] = quantity[i] + shares
        budget -= shares * price
    return target, order, codes


@njit(cache=True)
def _whole_lots(
    wanted: FloatArray,
    target: IntArray,
    reference: IntArray,
    lot: IntArray,
    max_shares: IntArray,
    sectors: IntArray,
    equity: int,
    max_single_name: float,
    max_sector: float,
    max_gross: float,
    codes: IntArray,
) -> IntArray:
    """Return the shares to buy that come nearest to the values ``wanted`` beside ``target``."""
    n = wanted.shape[0]
    lot_value = np.zeros(n, dtype=np.int64)
    most = np.zeros(n, dtype=np.int64)
    room = np.full(max(sectors.max() + 1, 0) if n else 0, int(max_sector * equity), dtype=np.int64)
    total = 0.0
    free = int(max_gross * equity)
    for i in range(n):
        value = target[i] * reference[i]
        free -= value
        if sectors[i] >= 0:
            room[sectors[i]] -= value
        if wanted[i] > 0.0:
            total += wanted[i]
            lot_value[i] = lot[i] * reference[i]
            most[i] = max(int(max_single_name * equity) - value, 0) // lot_value[i]
            by_volume = max_shares[i] // lot[i]
            if by_volume * lot_value[i] < wanted[i] and by_volume < most[i]:
                codes[i] = _CAP_ADV
            most[i] = min(most[i], by_volume)
    for s in range(room.shape[0]):
        room[s] = max(room[s], 0)
    budget = max(min(int(total + 1e-6), free), 0)
    lots, _, _ = round_lots(wanted, lot_value, lot_value, most, sectors, room, budget)
    return lots * lot
