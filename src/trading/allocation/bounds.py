"""Bounds of weights that can be kept together, and cutting weights to them.

Whether a caller's bounds agree with each other is settled where ``Bounds`` are made
(``allocation.optimize``); the limits of the account as a whole are ``risk.limits``.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray

# Weights are told apart to here, before they meet a cap or a rank (law 3).
DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """What weights of ``n`` names must keep; there are weights that keep all of it.

    Parameters
    ----------
    lower, upper : ndarray of shape (n,)
        Bounds of names.
    sectors, caps : ndarray of shape (n,), (n_sectors,)
        Row of each name in ``caps`` or -1, and the most that each sector may weigh.
    gross, budget : float
        The most that all together may weigh, and the most of it that the other limits let be
        invested.
    previous, held : ndarray of shape (n,)
        Weights held, and the nearest to them within the bounds.
    turnover : float
        Most that purchases and sales may be together; infinite without a limit.
    cost : ndarray of shape (n,)
        Cost of trading, as a fraction of what is traded, per session that it is held.
    """

    lower: FloatArray
    upper: FloatArray
    sectors: IntArray
    caps: FloatArray
    gross: float
    budget: float
    previous: FloatArray
    held: FloatArray
    turnover: float
    cost: FloatArray

    @property
    def trades_matter(self) -> bool:
        """Whether what is held now has a say in what is best."""
        return self.turnover < np.inf or bool((self.cost > 0.0).any())

    def nearest(self, target: FloatArray) -> FloatArray:
        """Return ``target`` cut to the bounds, and moved towards what is held as turnover asks."""
        weights = fit(target, self.lower, self.upper, self.sectors, self.caps, self.gross)
        distance = float(np.abs(weights - self.held).sum())
        left = self.turnover - float(np.abs(self.held - self.previous).sum())
        if distance <= left:
            return weights
        return self.held + max(left, 0.0) / distance * (weights - self.held)

    def settle(self, weights: FloatArray) -> FloatArray:
        """Return the weights rounded to 1e-9 and within the bounds after rounding, too."""
        cut = fit(weights, self.lower, self.upper, self.sectors, self.caps, self.gross)
        rounded = np.round(cut, DECIMALS)
        return _trim(rounded, self.lower, self.upper, self.sectors, self.caps, self.gross)


@njit(cache=True, nogil=True)
def fit(
    weights: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    sectors: IntArray,
    caps: FloatArray,
    gross: float,
) -> FloatArray:
    """Cut to the bounds of names; what a sector or all have above their lower bounds is scaled."""
    n = weights.shape[0]
    out = np.minimum(np.maximum(weights, lower), upper)
    for s in range(caps.shape[0] + 1):
        cap = caps[s] if s < caps.shape[0] else gross
        total, floor = 0.0, 0.0
        for i in range(n):
            if s == caps.shape[0] or sectors[i] == s:
                total += out[i]
                floor += lower[i]
        if total > cap:
            share = max(cap - floor, 0.0) / (total - floor) if total > floor else 0.0
            for i in range(n):
                if s == caps.shape[0] or sectors[i] == s:
                    out[i] = lower[i] + share * (out[i] - lower[i])
    return out


@njit(cache=True, nogil=True)
def _trim(
    weights: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    sectors: IntArray,
    caps: FloatArray,
    gross: float,
) -> FloatArray:
    """Take back what rounding added: from the largest name, in whole steps of 1e-9."""
    n = weights.shape[0]
    out = np.minimum(np.maximum(weights, lower), upper)
    for s in range(caps.shape[0] + 1):
        cap = caps[s] if s < caps.shape[0] else gross
        for _ in range(n + 1):
            total, largest = 0.0, -1
            for i in range(n):
                if s == caps.shape[0] or sectors[i] == s:
                    total += out[i]
                    if out[i] > lower[i] and (largest < 0 or out[i] > out[largest]):
                        largest = i
            if total <= cap or largest < 0:
                break
            steps = np.ceil((total - cap) * 1e9)
            out[largest] = max(np.floor(out[largest] * 1e9 + 0.5 - steps) / 1e9, lower[largest])
    return out
