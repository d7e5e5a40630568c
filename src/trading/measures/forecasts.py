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
    known = np.isfinite(forecast) & np.isfinite(outcome)
    count = known.sum(axis=1)
    x, y = (np.where(known, values, 0.0) for values in (forecast, outcome))
    is_varied = _is_varied(x, known) & _is_varied(y, known)
    told = is_varied & (count >= max(min_names, 2))
    if rank:
        for t in np.flatnonzero(told):
            x[t, known[t]], y[t, known[t]] = _ranks(x[t, known[t]]), _ranks(y[t, known[t]])
    dx, dy = _centered(x, known, count), _centered(y, known, count)
    scale = np.sqrt(np.sum(dx * dx, axis=1) * np.sum(dy * dy, axis=1))
    told &= scale > 0
    correlation: FloatArray = np.full(len(x), np.nan)
    np.divide(np.sum(dx * dy, axis=1), scale, out=correlation, where=told)
    return correlation


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2.0
    ranks: FloatArray = mean_rank[inverse]
    return ranks


def _is_varied(values: FloatArray, known: BoolArray) -> BoolArray:
    least = np.min(values, axis=1, initial=np.inf, where=known)
    most = np.max(values, axis=1, initial=-np.inf, where=known)
    varied: BoolArray = most > least
    return varied


def _centered(values: FloatArray, known: BoolArray, count: IntArray) -> FloatArray:
    mean = np.sum(values, axis=1) / np.maximum(count, 1)
    return np.where(known, values - mean[:, None], 0.0)
