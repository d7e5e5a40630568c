"""Out-of-sample judgement: an anchored, purged walk-forward and its rank IC.

Whether the numbers suffice to trade is decided in ``mlops.promote``.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.errors import ModelError
from trading.features.cross_section import percentile_rank
from trading.models.base import Dataset, Learner, ValidationSettings, view


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WalkForward:
    """Result of a walk-forward.

    ``rank_ic`` is the mean Spearman correlation of forecast and excess return per session,
    ``rank_ic_t`` its t-statistic with Newey–West errors over the labels' overlap. Counts are
    in non-overlapping outcomes: ``long_hits`` of ``long_count`` long views were followed by a
    gain, ``short_hits`` of ``short_count`` short views by a loss.
    """

    row: IntArray
    column: IntArray
    forecast: FloatArray
    session_ic: FloatArray
    rank_ic: float
    rank_ic_t: float
    forecast_scale: float
    long_hits: float
    long_count: float
    short_hits: float
    short_count: float


def folds(dataset: Dataset, settings: ValidationSettings) -> list[tuple[IntArray, IntArray]]:
    """Return (train, test) positions, anchored at the first row.

    A training row's label is known more than ``embargo_sessions`` before the first test row.
    """
    dates = np.unique(dataset.row)
    first = int(len(dates) * settings.first_train_share)
    edges = np.linspace(first, len(dates), settings.folds + 1).astype(int)
    out = []
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        begin, end = dates[start], dates[stop - 1]
        known = dataset.row + dataset.horizon + settings.embargo_sessions
        train = np.flatnonzero(known < begin)
        test = np.flatnonzero((dataset.row >= begin) & (dataset.row <= end))
        if len(train):
            out.append((train, test))
    return out


def walk_forward(
    dataset: Dataset,
    learner: Learner,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
) -> WalkForward:
    """Fit on each fold's past, forecast its future, and measure what came of it."""
    forecast = np.full(len(dataset.row), np.nan)
    for train, test in folds(dataset, settings):
        forecast[test] = learner.fit(dataset, train, seed=seed).predict(dataset.x[test])
    at = np.flatnonzero(np.isfinite(forecast))
    if len(at) == 0:
        raise ModelError("검증 구간을 만들 수 없음: 학습 자료의 거래일이 너무 적음")
    scale = float(forecast[at].std())
    if scale < 1e-9:
        raise ModelError("모델의 예측이 모두 같음: 학습할 것이 없음")

    rows, position = np.unique(dataset.row[at], return_inverse=True)
    shape = (len(rows), int(dataset.column.max()) + 1)
    grid, excess, forward = (np.full(shape, np.nan) for _ in range(3))
    grid[position, dataset.column[at]] = forecast[at]
    excess[position, dataset.column[at]] = dataset.excess[at]
    forward[position, dataset.column[at]] = dataset.forward[at]

    known = np.isfinite(grid)
    session_ic = _rank_correlation(grid, excess, min_names=settings.min_names)
    measured = session_ic[np.isfinite(session_ic)]
    stride = int(np.median(np.diff(rows))) if len(rows) > 1 else dataset.horizon
    overlap = max(1, -(-dataset.horizon // max(1, stride)))
    votes = view(grid, known, scale=scale, min_names=rank_min_names)
    size = np.where(known, np.abs(votes), 0.0) / overlap
    long, short = size * (votes > 0), size * (votes < 0)
    return WalkForward(
        row=dataset.row[at],
        column=dataset.column[at],
        forecast=forecast[at],
        session_ic=session_ic,
        rank_ic=float(measured.mean()) if len(measured) else 0.0,
        rank_ic_t=newey_west_t(measured, lags=overlap - 1),
        forecast_scale=scale,
        long_hits=float(long[forward > 0].sum()),
        long_count=float(long.sum()),
        short_hits=float(short[forward < 0].sum()),
        short_count=float(short.sum()),
    )


def newey_west_t(values: FloatArray, *, lags: int) -> float:
    """Return the t-statistic of the mean with Bartlett weights; 0 when it cannot be known.

    References
    ----------
    .. [1] Newey, W. K. and West, K. D. (1987). Econometrica, 55(3), 703-708.
    """
    n = len(values)
    if n < 2:
        return 0.0
    centered = values - values.mean()
    variance = float(centered @ centered) / n
    for lag in range(1, min(lags, n - 1) + 1):
        covariance = float(centered[lag:] @ centered[:-lag]) / n
        variance += 2.0 * (1.0 - lag / (lags + 1)) * covariance
    return float(values.mean() / np.sqrt(variance / n)) if variance > 0.0 else 0.0


def _rank_correlation(a: FloatArray, b: FloatArray, *, min_names: int) -> FloatArray:
    known = np.isfinite(a) & np.isfinite(b)
    ra = percentile_rank(a, known, min_names=min_names) - 0.5
    rb = percentile_rank(b, known, min_names=min_names) - 0.5
    product = np.nansum(ra * rb, axis=1)
    length = np.sqrt(np.nansum(ra**2, axis=1) * np.nansum(rb**2, axis=1))
    return np.where(length > 0, product / np.where(length > 0, length, 1.0), np.nan)
