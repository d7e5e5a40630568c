"""What a model is taught: returns that were not yet known. Nothing on the live path reads this."""

from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray
from trading.domain.market import AdjustedPanel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """Forward returns of shape ``(n_sessions, n_instruments)``, as fractions.

    Row ``t`` needs rows up to ``t + horizon``; the last ``horizon`` rows are NaN.
    """

    horizon: int
    forward: FloatArray
    excess: FloatArray


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
