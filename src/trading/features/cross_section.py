"""Ranks and standard scores across the names that trade in one session.

Sums run over the columns from left to right, so that a row's scores are the same to the bit
whatever rows come before or after it.
"""

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray

SCORE_DECIMALS = 9
"""Scores are rounded to this many places before a threshold or a rank (law 3)."""

# Rows that are taken at once, each name's side by side before: enough to be fast, few enough not
# to need much memory.
_ROWS = 128


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
    for begin in range(0, len(values), _ROWS):
        rows = slice(begin, begin + _ROWS)
        scores = np.round(np.ascontiguousarray(values[rows]), SCORE_DECIMALS)
        ranked = eligible[rows] & np.isfinite(scores)
        keys = np.where(ranked, scores, np.inf)
        # Which of two ties comes first does not matter: both get the mean of their ranks.
        _mean_ranks(keys, np.argsort(keys, axis=1), ranked.sum(axis=1), min_names, out[rows])
    return out


def winsorize(values: FloatArray, eligible: BoolArray, *, quantile: float) -> FloatArray:
    """Return the eligible values, those beyond a row's outer quantiles pulled in to them.

    Parameters
    ----------
    values, eligible : ndarray of shape (n_sessions, n_instruments)
        Scores, NaN where there is none, and which names count.
    quantile : float
        Share of the row's names on each side, below 0.5; quantiles are interpolated linearly.

    Returns
    -------
    ndarray of shape (n_sessions, n_instruments)
        NaN where a name is not eligible or has no value.
    """
    out = np.empty(values.shape)
    for begin in range(0, len(values), _ROWS):
        rows = slice(begin, begin + _ROWS)
        some = np.ascontiguousarray(values[rows])
        known = eligible[rows] & np.isfinite(some)
        ordered = np.sort(np.where(known, some, np.inf), axis=1)
        _clip(some, known, ordered, known.sum(axis=1), quantile, out[rows])
    return out


def standard_score(
    values: FloatArray,
    eligible: BoolArray,
    sectors: IntArray,
    *,
    min_names: int,
    within: bool = True,
) -> FloatArray:
    """Return each name's distance from its sector's mean, in standard deviations.

    Parameters
    ----------
    values, eligible : ndarray of shape (n_sessions, n_instruments)
        Scores, NaN where there is none, and which names count.
    sectors : ndarray of shape (n_sessions, n_instruments)
        Number of each name's sector, -1 for none.
    min_names : int
        A sector with fewer names is compared with the whole market instead; a row with fewer
        names abstains: all NaN.
    within : bool, default=True
        Whether the deviation is the sector's own. Otherwise it is that of the row after the means
        were taken off: a sector of small differences stays one.

    Returns
    -------
    ndarray of shape (n_sessions, n_instruments)
        Rounded to 1e-9; 0 where names do not differ at all.
    """
    out = np.full(values.shape, np.nan)
    groups = int(sectors.max(initial=-1)) + 1
    for begin in range(0, len(values), _ROWS):
        rows = slice(begin, begin + _ROWS)
        some = np.ascontiguousarray(values[rows])
        known = eligible[rows] & np.isfinite(some)
        _score(some, known, sectors[rows], groups, min_names, within, out[rows])
    return np.round(out, SCORE_DECIMALS, out=out)


@njit(cache=True, nogil=True)
def _mean_ranks(keys, order, counts, min_names, out):  # type: ignore[no-untyped-def]
    for t in range(len(keys)):
        n = counts[t]
        if n < min_names:
            continue
        first = 0
        while first < n:
            last = first
            while last + 1 < n and keys[t, order[t, last + 1]] == keys[t, order[t, first]]:
                last += 1
            for k in range(first, last + 1):
                out[t, order[t, k]] = (first + last + 1) / (2.0 * n)
            first = last + 1


@njit(cache=True, nogil=True)
def _clip(values, known, ordered, counts, quantile, out):  # type: ignore[no-untyped-def]
    for t in range(len(values)):
        low, high = 0.0, 0.0
        if counts[t] > 0:
            place = quantile * (counts[t] - 1)
            k = int(place)
            j = min(k + 1, counts[t] - 1)
            low = ordered[t, k] + (place - k) * (ordered[t, j] - ordered[t, k])
            a, b = counts[t] - 1 - k, counts[t] - 1 - j
            high = ordered[t, a] - (place - k) * (ordered[t, a] - ordered[t, b])
        for i in range(values.shape[1]):
            out[t, i] = min(max(values[t, i], low), high) if known[t, i] else np.nan


@njit(cache=True, nogil=True)
def _score(values, known, sectors, groups, min_names, within, out):  # type: ignore[no-untyped-def]
    # The last place is the market's.
    count = np.zeros(groups + 1, dtype=np.int64)
    mean = np.zeros(groups + 1)
    spread = np.zeros(groups + 1)
    deviation = np.zeros(groups + 1)
    for t in range(len(values)):
        count[:] = 0
        mean[:] = 0.0
        spread[:] = 0.0
        for i in range(values.shape[1]):
            if known[t, i]:
                g = sectors[t, i]
                if g >= 0:
                    count[g] += 1
                    mean[g] += values[t, i]
                count[groups] += 1
                mean[groups] += values[t, i]
        if count[groups] < min_names:
            continue
        for g in range(groups + 1):
            if count[g] > 0:
                mean[g] /= count[g]
        for i in range(values.shape[1]):
            if known[t, i]:
                g = sectors[t, i]
                large = g >= 0 and count[g] >= min_names
                if large and within:
                    spread[g] += (values[t, i] - mean[g]) ** 2
                base = mean[g] if large and not within else mean[groups]
                spread[groups] += (values[t, i] - base) ** 2
        for g in range(groups + 1):
            h = g if within else groups
            if count[g] > 0:
                deviation[g] = np.sqrt(spread[h] / count[h])
                # Below this it is the rounding of equal values.
                if deviation[g] <= 1e-12 * abs(mean[g]):
                    deviation[g] = np.inf
        for i in range(values.shape[1]):
            if known[t, i]:
                g = sectors[t, i]
                if g < 0 or count[g] < min_names:
                    g = groups
                out[t, i] = (values[t, i] - mean[g]) / deviation[g]
