"""Measures of a forecast against what happened."""

import math
from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """How often what was said to happen with a probability happened, by bins of the probability.

    ``predicted`` and ``observed`` are the mean probability and the share of outcomes of each bin
    (NaN for an empty one), ``count`` how many fell into it. ``error`` is the expected calibration
    error: the mean distance of the two, weighted by count; NaN without outcomes.
    """

    predicted: FloatArray
    observed: FloatArray
    count: IntArray
    error: float


def reliability(probability: FloatArray, outcome: BoolArray, *, bins: int = 10) -> Reliability:
    """Return the reliability diagram of probabilities against what happened.

    Parameters
    ----------
    probability : ndarray of shape (n,)
        In [0, 1], without NaN.
    outcome : ndarray of shape (n,)
        Whether it happened.
    bins : int
        Equal in width; the last one includes 1.

    References
    ----------
    .. [1] Naeini, M., Cooper, G. and Hauskrecht, M. (2015). "Obtaining Well Calibrated
       Probabilities Using Bayesian Binning." AAAI, 2901-2907.
    """
    which = np.minimum((np.asarray(probability) * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    some = np.maximum(count, 1)
    predicted = np.bincount(which, weights=probability, minlength=bins) / some
    observed = np.bincount(which, weights=outcome, minlength=bins) / some
    total = int(count.sum())
    error = float((count * np.abs(predicted - observed)).sum() / total) if total else math.nan
    return Reliability(
        predicted=np.where(count > 0, predicted, np.nan),
        observed=np.where(count > 0, observed, np.nan),
        count=count,
        error=error,
    )


def information_coefficient(
    forecast: FloatArray, outcome: FloatArray, *, rank: bool = True, min_names: int = 5
) -> FloatArray:
    """Return for each session the correlation across instruments of forecast and outcome.

    Parameters
    ----------
    forecast, outcome : ndarray of shape (n_sessions, n_instruments)
        NaN leaves a cell out of its session.
    rank : bool
        Spearman (mean ranks of ties) if true, else Pearson.
    min_names : int
        Sessions with fewer pairs are NaN, as are those without variation.
    """
    result = np.full(len(forecast), np.nan)
    for t, (x, y) in enumerate(zip(forecast, outcome, strict=True)):
        known = np.isfinite(x) & np.isfinite(y)
        if np.count_nonzero(known) < min_names:
            continue
        pair = (_ranks(x[known]), _ranks(y[known])) if rank else (x[known], y[known])
        result[t] = _correlation(*pair)
    return result


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2.0
    ranks: FloatArray = mean_rank[inverse]
    return ranks


def _correlation(x: FloatArray, y: FloatArray) -> float:
    dx, dy = x - np.mean(x), y - np.mean(y)
    scale = math.sqrt(float(np.sum(dx * dx)) * float(np.sum(dy * dy)))
    return float(np.sum(dx * dy)) / scale if scale > 0 else math.nan
