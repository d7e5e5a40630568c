"""Ranks across the names that trade in one session."""

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray

SCORE_DECIMALS = 9
"""Scores are rounded to this many places before a threshold or a rank (law 3)."""


def percentile_rank(values: FloatArray, eligible: BoolArray, *, min_names: int) -> FloatArray:
    """Return each name's place among the eligible names of its row, in (0, 1).

    Parameters
    ----------
    values : ndarray of shape (n_sessions, n_instruments)
        Scores; NaN takes no part.
    eligible : ndarray of shape (n_sessions, n_instruments)
        Names that may be ranked, normally the tradable ones.
    min_names : int
        Rows with fewer ranked names abstain: all NaN.

    Returns
    -------
    ndarray of shape (n_sessions, n_instruments)
        ``(rank - 0.5) / count`` with mean ranks for ties, so that the row's mean is 0.5.
    """
    out = np.full(values.shape, np.nan)
    scores = np.round(values, SCORE_DECIMALS)
    ranked = eligible & np.isfinite(scores)
    for row in np.flatnonzero(ranked.sum(axis=1) >= min_names):
        names = ranked[row]
        score = scores[row, names]
        ordered = np.sort(score)
        below = np.searchsorted(ordered, score, side="left")
        not_above = np.searchsorted(ordered, score, side="right")
        out[row, names] = (below + not_above) / (2.0 * len(score))
    return out
