"""What a model is taught: returns that were not yet known. Nothing on the live path reads this."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import AdjustedPanel
from trading.features.cross_section import percentile_rank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """Forward returns of shape ``(n_sessions, n_instruments)``, as fractions.

    Row ``t`` needs rows up to ``t + horizon``; the last ``horizon`` rows are NaN.
    """

    horizon: int
    forward: FloatArray
    excess: FloatArray

    def rank(self, *, min_names: int) -> FloatArray:
        """Return each label's place among those of its session, in (0, 1).

        What happened to the whole market is gone, and one takeover weighs no more than the next
        best name. Sessions with fewer than ``min_names`` labels are NaN.
        """
        return percentile_rank(self.forward, np.isfinite(self.forward), min_names=min_names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Barriers:
    """Which barrier a position met first; arrays of shape ``(n_sessions, n_instruments)``.

    ``side`` is 1 for the upper one, -1 for the lower one, 0 when time ran out and NaN without a
    label; ``earned`` the return until then, as a fraction; ``row`` where it ended, else -1.
    """

    horizon: int
    side: FloatArray
    earned: FloatArray
    row: IntArray


def forward_returns(panel: AdjustedPanel, horizon: int) -> Labels:
    """Return what a decision at the close of ``t`` earns from the next open to ``t + horizon``.

    ``excess`` is over the equal-weight mean of the tradable names that have a label (with one
    such name it is 0). A name without the opening or the closing bar has no label.
    """
    forward = np.full(panel.close.shape, np.nan)
    n = len(panel.sessions)
    if n > horizon:
        forward[: n - horizon] = panel.close[horizon:] / panel.open[1 : n - horizon + 1] - 1.0
    forward[~panel.tradable] = np.nan
    known = np.isfinite(forward)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, forward, 0.0).sum(axis=1, keepdims=True)
    return Labels(horizon=horizon, forward=forward, excess=forward - total / np.maximum(count, 1))


def triple_barrier(
    panel: AdjustedPanel, volatility: FloatArray, *, horizon: int, upper: float, lower: float
) -> Barriers:
    r"""Return which of three barriers a purchase at the next open meets first.

    The horizontal ones lie :math:`u\,\sigma_t\sqrt{h}` above and :math:`l\,\sigma_t\sqrt{h}` below
    the entry, the vertical one at the close of session ``t + horizon``.

    Parameters
    ----------
    panel : AdjustedPanel
        Its highs and lows are the path.
    volatility : ndarray of shape (n_sessions, n_instruments)
        Daily volatility as it was known at each close, as a fraction.
    horizon : int
        Sessions until time runs out.
    upper, lower : float
        Multiples of the volatility over the horizon; 0 leaves that barrier out.

    Returns
    -------
    Barriers
        The last ``horizon`` rows have no label, nor has a name that does not trade at ``t``, has
        no bar on the next session, or no volatility.

    Notes
    -----
    A bar does not tell the order of its extremes: one that meets both barriers counts as the
    lower one. An open beyond a barrier ends there, at the open. Over a halt nothing is met.

    References
    ----------
    .. [1] López de Prado, M. (2018). Advances in Financial Machine Learning, chapter 3. Wiley.
    """
    shape = panel.close.shape
    side, earned = np.full(shape, np.nan), np.full(shape, np.nan)
    row = np.full(shape, -1, dtype=np.int64)
    width = np.where(panel.tradable, volatility, np.nan) * np.sqrt(horizon)
    _meet(
        (panel.open, panel.high, panel.low, panel.close),
        width, horizon, upper, lower, side, earned, row,
    )  # fmt: skip
    return Barriers(horizon=horizon, side=side, earned=earned, row=row)


@njit(cache=True, nogil=True)
def _meet(bars, width, horizon, upper, lower, side, earned, row):  # type: ignore[no-untyped-def]
    opens, highs, lows, closes = bars
    n, m = closes.shape
    for t in range(n - horizon):
        for i in range(m):
            entry = opens[t + 1, i]
            if not (np.isfinite(entry) and np.isfinite(width[t, i])):
                continue
            top = entry * (1.0 + upper * width[t, i]) if upper > 0.0 else np.inf
            bottom = entry * (1.0 - lower * width[t, i]) if lower > 0.0 else -np.inf
            side[t, i] = 0.0
            row[t, i] = t + horizon
            last = entry
            for s in range(t + 1, t + horizon + 1):
                if not np.isfinite(closes[s, i]):
                    continue
                last = closes[s, i]
                if lows[s, i] <= bottom:
                    side[t, i] = -1.0
                    last = min(opens[s, i], bottom)
                elif highs[s, i] >= top:
                    side[t, i] = 1.0
                    last = max(opens[s, i], top)
                if side[t, i] != 0.0:
                    row[t, i] = s
                    break
            earned[t, i] = last / entry - 1.0
