"""Out-of-sample judgement of learners: purged walk-forward, what it measures, and its dispersion.

Everything is split by date and refitted inside its fold. Whether the numbers suffice to trade is
decided in ``mlops``, by the returns of the real order rules; the net result here is a first look.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trading import measures
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.errors import AbstentionError, ModelError
from trading.features.cross_section import percentile_rank
from trading.models.base import Dataset, Learner, ValidationSettings, view

_BPS = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WalkForward:
    """What out-of-sample forecasts came to; one value per row, per session, or of them all.

    ``rank_ic`` is the mean Spearman correlation of forecast and excess return per session, ``ic``
    Pearson's; ``rank_ic_t`` its t-statistic with Newey–West errors over the labels' overlap;
    ``rank_icir`` and ``icir`` the mean over the standard deviation of sessions, not annualized [1]_.

    Returns are fractions over the label's span (``horizon`` sessions), of equal weights, in forward
    returns before costs unless they say ``net``. ``quantile_returns`` are the mean excess over the
    names of the session, from the lowest forecasts to the highest; ``spread`` is that of the
    highest. ``net`` takes ``turnover_cost_bps`` per ``turnover`` off the spread: long only, the
    universe in equal parts pays nothing. ``turnover`` is the share of a holding that is replaced
    when it is renewed after ``horizon`` sessions, buying the first one included.

    Counts are in sessions whose outcomes do not overlap, their names together as one outcome:
    ``long_hits`` of ``long_count`` long views were followed by a gain, ``short_hits`` of
    ``short_count`` short views by a loss. ``vote`` is the view of a row, ``forward`` what followed,
    NaN where the name was gone by then: such rows are forecast, so that they are traded, and are in
    no measure. NaN where too few names or sessions leave nothing to say; ``rank_ic`` and
    ``rank_ic_t`` are 0 then.

    References
    ----------
    .. [1] Grinold, R. and Kahn, R. (1999). Active Portfolio Management. McGraw-Hill.
    """

    row: IntArray
    column: IntArray
    forecast: FloatArray
    vote: FloatArray
    forward: FloatArray
    session_ic: FloatArray
    rank_ic: float
    rank_ic_t: float
    rank_icir: float
    ic: float
    icir: float
    quantile_returns: FloatArray
    spread: float
    spread_t: float
    turnover: float
    net: float
    net_t: float
    forecast_scale: float
    long_hits: float
    long_count: float
    short_hits: float
    short_count: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seeds:
    """The same walk-forward with other seeds; ``std`` is over ``n - 1``, both by figure's name."""

    walks: tuple[WalkForward, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]


FIGURES = (
    "rank_ic", "rank_ic_t", "rank_icir", "ic", "icir", "spread", "spread_t", "turnover", "net", "net_t",
)  # fmt: skip


def purge(data: Dataset, settings: ValidationSettings) -> int:
    """Return by how many sessions more than these a training row is apart from every tested one.

    A row is made of the ``window`` sessions up to its own and of the ``horizon`` after it: two rows
    share none if they are ``horizon + window`` apart. ``embargo_sessions`` come on top.
    Features of window 1 look back, too (a year's momentum): of prices that were known, which is
    no leak as long as what is tested comes later.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning. Wiley, chapter 7.
    """
    return data.horizon + data.window - 1 + settings.embargo_sessions


def folds(dataset: Dataset, settings: ValidationSettings) -> list[tuple[IntArray, IntArray]]:
    """Return (train, test) positions: tests follow each other to the last date.

    ``anchored`` teaches every row since the first, ``rolling`` those of the last dates, as many as
    the first fold is taught. A training row is more than ``purge`` sessions before the first test
    row, and has a label.
    """
    dates, is_labelled = np.unique(dataset.row), np.isfinite(dataset.excess)
    first = int(len(dates) * settings.first_train_share)
    edges = np.linspace(first, len(dates), settings.folds + 1).astype(int)
    gap, length, out = purge(dataset, settings), 0, []
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        begin, end = dates[start], dates[stop - 1]
        taught = dates[dates + gap < begin]
        if not len(taught):
            continue
        length = length or len(taught)
        since = taught[0 if settings.scheme == "anchored" else -length]
        train = np.flatnonzero(is_labelled & (dataset.row >= since) & (dataset.row + gap < begin))
        test = np.flatnonzero((dataset.row >= begin) & (dataset.row <= end))
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
    """Fit on each fold's past, forecast its future, and measure what came of it.

    Raises
    ------
    ModelError
        If no date is left to test.
    AbstentionError
        If the learner abstains from all, or its forecasts are all equal.
    """
    *_, forecast = forecasts(dataset, learner, settings, seed=seed)
    return outcome(dataset, forecast, settings, rank_min_names=rank_min_names)


def forecasts(
    dataset: Dataset, learner: Learner, settings: ValidationSettings, *, seed: int
) -> Iterator[FloatArray]:
    """Yield the forecasts of all rows after each fold of a walk-forward; NaN for what is not tested.

    It is the same array each time.

    Raises
    ------
    ModelError
        If no date is left to test.
    """
    splits = folds(dataset, settings)
    if not splits:
        raise ModelError("검증 구간을 만들 수 없음: 학습 자료의 거래일이 너무 적음")
    forecast = np.full(len(dataset.row), np.nan)
    for train, test in splits:
        forecast[test] = learner.fit(dataset, train, seed=seed).predict(dataset.x[test])
        yield forecast


def over_seeds(
    dataset: Dataset,
    learner: Learner,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
    first: WalkForward | None = None,
) -> Seeds:
    """Return the walk-forward with ``settings.seeds`` seeds from ``seed`` on, and their spread.

    ``first`` is that of ``seed`` where it was made already. The spread is that of the training's chance on one history: it says nothing of other histories.
    """
    walks = tuple(
        first
        if first is not None and k == 0
        else walk_forward(dataset, learner, settings, rank_min_names=rank_min_names, seed=seed + k)
        for k in range(settings.seeds)
    )
    found = {name: np.array([getattr(walk, name) for walk in walks]) for name in FIGURES}
    return Seeds(
        walks=walks,
        mean={name: float(values.mean()) for name, values in found.items()},
        std={name: float(values.std(ddof=1)) for name, values in found.items()},
    )


def combinations(
    dataset: Dataset, settings: ValidationSettings
) -> tuple[list[tuple[IntArray, IntArray]], IntArray]:
    """Return the (train, test) positions of combinatorial purged cross-validation, and its paths.

    Returns
    -------
    splits : list of (train, test)
        Every way to test ``tested_groups`` of ``groups`` consecutive stretches. A training row is
        more than ``purge`` sessions away from every tested one, before and after it.
    paths : ndarray of shape (n_paths, n_rows)
        The split whose forecast of a row belongs to the path: each row once a path.
    """
    session = dataset.row - dataset.row.min()
    n_sessions = int(session.max()) + 1
    found = measures.combinatorial_splits(
        n_sessions,
        groups=settings.groups,
        tested=settings.tested_groups,
        horizon=purge(dataset, settings),
        embargo=0,
    )
    numbered = [np.full(len(split.test), float(k)) for k, split in enumerate(found)]
    paths = measures.recombined(n_sessions, found, numbered).astype(np.int64)
    splits = [
        (
            np.flatnonzero(np.isin(session, split.train) & np.isfinite(dataset.excess)),
            np.flatnonzero(np.isin(session, split.test)),
        )
        for split in found
    ]
    return splits, paths[:, session]


def dispersion(
    dataset: Dataset,
    learner: Learner,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
) -> FloatArray:
    """Return the rank IC of every path of combinatorial purged cross-validation.

    Its spread tells how far the result hangs on the sessions that were learnt from. Its level
    proves nothing: most of each path was forecast by what was taught on later sessions.

    Raises
    ------
    ModelError
        If a split leaves nothing to learn from, or the forecasts of a path are all equal.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning. Wiley, chapter 12.
    """
    splits, paths = combinations(dataset, settings)
    forecast = np.full((len(splits), len(dataset.row)), np.nan)
    for k, (train, test) in enumerate(splits):
        if not len(train):
            raise ModelError("교차검증의 학습 구간이 비었음: 학습 자료의 거래일이 너무 적음")
        forecast[k, test] = learner.fit(dataset, train, seed=seed).predict(dataset.x[test])
    every = np.arange(len(dataset.row))
    return np.array(
        [
            outcome(dataset, forecast[path, every], settings, rank_min_names=rank_min_names).rank_ic
            for path in paths
        ]
    )


def outcome(
    dataset: Dataset, forecast: FloatArray, settings: ValidationSettings, *, rank_min_names: int
) -> WalkForward:
    """Return what a forecast of each row came to; NaN takes no part.

    Raises
    ------
    AbstentionError
        If there is no forecast, or all are equal.
    """
    at = np.flatnonzero(np.isfinite(forecast))
    if len(at) == 0:
        raise AbstentionError("모델이 모든 종목에서 기권함: 잴 예측이 없음")
    scale = float(forecast[at].std())
    if scale < 1e-9:
        raise AbstentionError("모델의 예측이 모두 같음: 학습할 것이 없음")

    rows, position = np.unique(dataset.row[at], return_inverse=True)
    shape = (len(rows), int(dataset.column.max()) + 1)
    grid, excess, forward = (np.full(shape, np.nan) for _ in range(3))
    grid[position, dataset.column[at]] = forecast[at]
    excess[position, dataset.column[at]] = dataset.excess[at]
    forward[position, dataset.column[at]] = dataset.forward[at]

    known = np.isfinite(grid)
    followed = known & np.isfinite(forward)
    session_ic = rank_correlation(grid, excess, min_names=settings.min_names)
    measured = session_ic[np.isfinite(session_ic)]
    linear = measures.information_coefficient(
        grid, excess, rank=False, min_names=settings.min_names
    )
    stride = int(np.median(np.diff(rows))) if len(rows) > 1 else dataset.horizon
    overlap = max(1, -(-dataset.horizon // max(1, stride)))
    votes = view(grid, known, scale=scale, min_names=rank_min_names)
    names = np.maximum(followed.sum(axis=1, keepdims=True), 1)
    size = np.where(followed, np.abs(votes), 0.0) / (overlap * names)
    long, short = size * (votes > 0), size * (votes < 0)
    quantile_returns, top = _quantiles(grid, forward, followed, settings)
    told = top.any(axis=1)
    spread = _excess(top, forward, followed)[told]
    turnover = _turnover(top, every=overlap)[told]
    net = spread - turnover * settings.turnover_cost_bps * _BPS
    return WalkForward(
        row=dataset.row[at],
        column=dataset.column[at],
        forecast=forecast[at],
        vote=votes[position, dataset.column[at]],
        forward=dataset.forward[at],
        session_ic=session_ic,
        rank_ic=float(measured.mean()) if len(measured) else 0.0,
        rank_ic_t=newey_west_t(measured, lags=overlap - 1),
        rank_icir=_ratio(measured),
        ic=_mean(linear[np.isfinite(linear)]),
        icir=_ratio(linear[np.isfinite(linear)]),
        quantile_returns=quantile_returns,
        spread=_mean(spread),
        spread_t=newey_west_t(spread, lags=overlap - 1),
        turnover=_mean(turnover),
        net=_mean(net),
        net_t=newey_west_t(net, lags=overlap - 1),
        forecast_scale=scale,
        long_hits=float(long[forward > 0].sum()),
        long_count=float(long.sum()),
        short_hits=float(short[forward < 0].sum()),
        short_count=float(short.sum()),
    )


def calibration(walk: WalkForward, *, horizon: int, prior_outcomes: float) -> measures.Reliability:
    r"""Return how the hit rates that views would have been credited with compare with what followed.

    As an agent's confidence (``strategies.calibration.hit_rate``), from out-of-sample views only: at
    each session the views of the same sign whose outcome was known by then, weighted by
    :math:`|v|`, shrunk to how often anybody was right,

    .. math:: c_t = \frac{h_t + a b_t}{n_t + a}, \qquad b_t = \frac{H_t + a/2}{N_t + a}

    Parameters
    ----------
    walk : WalkForward
        Views, and what followed them. A view of 0 takes no part.
    horizon : int
        Sessions until an outcome is known. Outcomes that overlap count for less in ``n``.
    prior_outcomes : float
        ``a``, in outcomes that do not overlap. The names of a session are one: they move together.

    Returns
    -------
    Reliability
        Over single views; its ``error`` is the expected calibration error.
    """
    followed = np.isfinite(walk.forward)
    vote, forward = walk.vote[followed], walk.forward[followed]
    dates, position = np.unique(walk.row[followed], return_inverse=True)
    stride = int(np.median(np.diff(dates))) if len(dates) > 1 else horizon
    overlap = max(1, -(-horizon // max(1, stride)))
    # How many sessions' outcomes were known at the close of each session.
    told = np.searchsorted(dates, dates - horizon, side="right")
    names = np.bincount(position, minlength=len(dates))

    def known(amounts: FloatArray) -> FloatArray:
        """Return the sum of the amounts of single views, as far as known at each session."""
        by_date = np.bincount(position, weights=amounts, minlength=len(dates)) / names
        upto = np.concatenate([[0.0], np.cumsum(by_date)])
        total: FloatArray = upto[told] / overlap
        return total

    credit = np.full(len(vote), np.nan)
    right = np.sign(forward) == np.sign(vote)
    cells = known(np.ones(len(vote)))
    for sign in (1.0, -1.0):
        size = np.where(vote * sign > 0, np.abs(vote), 0.0)
        moves = known((forward * sign > 0).astype(np.float64))
        base = (moves + 0.5 * prior_outcomes) / (cells + prior_outcomes)
        rate = (known(size * right) + prior_outcomes * base) / (known(size) + prior_outcomes)
        credit = np.where(size > 0, rate[position], credit)
    counted = np.isfinite(credit)
    return measures.reliability(credit[counted], right[counted])


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


def _quantiles(
    grid: FloatArray, forward: FloatArray, known: BoolArray, settings: ValidationSettings
) -> tuple[FloatArray, BoolArray]:
    """Return the mean excess of each quantile of the forecasts, and which names are in the highest.

    As many quantiles as names in the middling session, if those are fewer than ``quantiles``.
    """
    k = min(settings.quantiles, max(2, int(np.median(known.sum(axis=1)))))
    place = percentile_rank(grid, known, min_names=settings.min_names)
    bucket = np.where(np.isfinite(place), np.floor(place * k), -1.0)
    found = []
    for q in range(k):
        members = bucket == q
        found.append(_mean(_excess(members, forward, known)[members.any(axis=1)]))
    return np.array(found), bucket == k - 1


def _excess(members: BoolArray, forward: FloatArray, known: BoolArray) -> FloatArray:
    """Return the mean return of each session's members over that of all its known names."""
    return _mean_of(forward, members) - _mean_of(forward, known)


def _mean_of(values: FloatArray, members: BoolArray) -> FloatArray:
    count = np.maximum(members.sum(axis=1), 1)
    mean: FloatArray = np.where(members, values, 0.0).sum(axis=1) / count
    return mean


def _turnover(members: BoolArray, *, every: int) -> FloatArray:
    """Return the share replaced against ``every`` sessions before, from cash at first.

    One way: half of what is bought and sold, cash among it.
    """
    weight = members / np.maximum(members.sum(axis=1, keepdims=True), 1)
    weight = np.column_stack([weight, 1.0 - weight.sum(axis=1)])
    cash = np.zeros((min(every, len(weight)), weight.shape[1]))
    cash[:, -1] = 1.0
    before = np.concatenate([cash, weight])[: len(weight)]
    share: FloatArray = np.abs(weight - before).sum(axis=1) / 2.0
    return share


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ratio(values: FloatArray) -> float:
    """Return mean over standard deviation (n - 1), NaN without variation."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / deviation if deviation > 0 else float("nan")


def rank_correlation(a: FloatArray, b: FloatArray, *, min_names: int) -> FloatArray:
    """Return Spearman's correlation of two values over the names, per session.

    Both have shape ``(n_sessions, n_instruments)``. NaN where fewer than ``min_names`` names have
    both, or all are tied.
    """
    known = np.isfinite(a) & np.isfinite(b)
    ra = percentile_rank(a, known, min_names=min_names) - 0.5
    rb = percentile_rank(b, known, min_names=min_names) - 0.5
    product = np.nansum(ra * rb, axis=1)
    length = np.sqrt(np.nansum(ra**2, axis=1) * np.nansum(rb**2, axis=1))
    return np.where(length > 0, product / np.where(length > 0, length, 1.0), np.nan)
