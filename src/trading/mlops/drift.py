"""How far live data, forecasts and results are from what a model was taught and promised.

Pure functions over arrays; what follows from them is decided in ``health``.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import AdjustedPanel
from trading.features.labels import forward_returns
from trading.models.base import Dataset, DriftSettings
from trading.models.validation import WalkForward, newey_west_t, rank_correlation

# A finer grid would hold fewer rows of a small universe in a bin than one.
_FINE = 100
# The bets of the sequential test: shares of the capital, as many above as below the best one.
_BETS = np.linspace(0.2, 1.8, 9)


def psi(counts: NDArray[np.number], reference: NDArray[np.number]) -> FloatArray:
    r"""Return the population stability index of two histograms over the same bins.

    .. math:: PSI = \sum_b (p_b - q_b) \ln\frac{p_b}{q_b}

    Parameters
    ----------
    counts, reference : ndarray of shape (..., n_bins)
        Rows in each bin, of the recent sample and of the one it is held against.

    Returns
    -------
    ndarray of shape (...)
        In nats. NaN where a histogram has no rows.

    Notes
    -----
    A bin that is empty on one side counts as half a row there: the index stays finite and says how
    little is known. One that is empty on both sides adds nothing. Even without drift the
    expectation is about :math:`(B-1)(1/n + 1/m)`, and more where rows hang together: a fixed
    limit such as 0.25 means nothing by itself.

    References
    ----------
    .. [1] Yurdakul, B. and Naranjo, J. (2020). "Statistical properties of the population stability
       index." Journal of Risk Model Validation, 14(4), 89-100.
    """
    counts, reference = np.asarray(counts, float), np.asarray(reference, float)
    told = (counts > 0) | (reference > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.maximum(counts, 0.5) / counts.sum(axis=-1, keepdims=True)
        q = np.maximum(reference, 0.5) / reference.sum(axis=-1, keepdims=True)
        terms = (p - q) * np.log(p / q)
    out: FloatArray = np.where(told, terms, 0.0).sum(axis=-1)
    some = (counts.sum(axis=-1) > 0) & (reference.sum(axis=-1) > 0)
    return np.where(some, out, np.nan)


def ks(counts: NDArray[np.number], reference: NDArray[np.number]) -> FloatArray:
    """Return the largest distance of two distribution functions at the edges of their bins.

    It is below ``scipy.stats.ks_2samp`` of the rows themselves by at most one bin's share of the
    reference, here 1 %; only counts must be kept. Shapes as in ``psi``; NaN where a histogram has no rows.
    """
    counts, reference = np.asarray(counts, float), np.asarray(reference, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = counts.cumsum(axis=-1) / counts.sum(axis=-1, keepdims=True)
        q = reference.cumsum(axis=-1) / reference.sum(axis=-1, keepdims=True)
    out: FloatArray = np.abs(p - q).max(axis=-1)
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drift:
    """A recent sample against a profile; arrays of shape ``(n_columns,)``.

    ``score`` is how far a column is, in units of what one window in ten of the training sample
    itself was from the rows before it, and ``limit`` what the largest score of all columns reached
    in ``alarm_rate`` of those windows. ``missing`` is the share of rows without a value,
    ``outside`` that of values outside the range of the sample. NaN is unknown.
    """

    psi: FloatArray
    ks: FloatArray
    missing: FloatArray
    outside: FloatArray
    score: FloatArray
    limit: float

    @property
    def farthest(self) -> float:
        """The largest score; NaN when none is known."""
        return float(np.nanmax(self.score)) if np.isfinite(self.score).any() else math.nan

    @property
    def is_known(self) -> bool:
        """Whether there is something to hold against something."""
        return math.isfinite(self.farthest) and math.isfinite(self.limit)

    @property
    def has_drifted(self) -> bool:
        """Whether any column is farther than chance, at the rate over all columns together."""
        return self.is_known and self.farthest > self.limit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """How columns were distributed in a training sample, and how its own windows differed.

    ``edges`` of shape ``(n_columns, 99)`` are the sample's percentiles, the outer bins are open;
    ``counts`` of shape ``(n_columns, 100)`` its rows, ``range`` of shape ``(n_columns, 2)`` its
    smallest and largest values. ``window_psi`` and ``window_ks`` of shape
    ``(n_windows, n_columns)`` hold each window against all rows before it.
    """

    edges: FloatArray
    counts: NDArray[np.int64]
    range: FloatArray
    window_psi: FloatArray
    window_ks: FloatArray

    @classmethod
    def of(cls, values: FloatArray, row: IntArray, *, window: int) -> "Profile":
        """Return the profile of rows ``values`` of shape ``(n_rows, n_columns)``.

        ``row`` is the session of each, ascending; ``window`` is in sessions. Windows begin after
        the first 40 % of the sessions and move on by a quarter of their length.
        """
        edges = np.nanpercentile(values, np.arange(1, _FINE), axis=0).T
        dates, start = np.unique(row, return_index=True)
        stop = np.append(start[1:], len(row))
        by_date = np.stack([_count(values[a:b], edges) for a, b in zip(start, stop, strict=True)])
        total = np.concatenate([np.zeros_like(by_date[:1]), by_date.cumsum(axis=0)])
        step = float(np.median(np.diff(dates))) if len(dates) > 1 else 1.0
        length = max(1, round(window / step))
        begin = np.arange(int(0.4 * len(dates)), len(dates) - length + 1, max(1, length // 4))
        recent, before = total[begin + length] - total[begin], total[begin]
        return cls(
            edges=edges,
            counts=total[-1],
            range=np.stack([np.nanmin(values, axis=0), np.nanmax(values, axis=0)], axis=1),
            window_psi=psi(_coarse(recent), _coarse(before)),
            window_ks=ks(recent, before),
        )

    def compare(self, values: FloatArray, settings: DriftSettings) -> Drift:
        """Return how far ``values`` of shape ``(n_rows, n_columns)`` are from the sample.

        Rows of a window must be as many sessions apart as those of the sample. A column with fewer
        than ``min_rows`` values is unknown, as is all where the sample has fewer than
        ``min_windows`` windows.

        Notes
        -----
        Rows of one window hang together over time and names, columns with one another: neither the
        Kolmogorov p-value nor Bonferroni's share of it holds. So each statistic is measured in what
        the sample's own windows reached, and the largest of all is held against the largest of
        theirs (single-step maxT) [1]_.

        References
        ----------
        .. [1] Westfall, P. H. and Young, S. S. (1993). Resampling-Based Multiple Testing. Wiley.
        """
        counts = _count(values, self.edges)
        known = counts.sum(axis=1)
        told = known >= settings.min_rows
        one = np.where(told, psi(_coarse(counts), _coarse(self.counts)), np.nan)
        other = np.where(told, ks(counts, self.counts), np.nan)
        score = self._score(one, other)
        reached = _largest(self._score(self.window_psi, self.window_ks))
        enough = len(reached) >= settings.min_windows
        beyond = (values < self.range[:, 0]) | (values > self.range[:, 1])
        return Drift(
            psi=one,
            ks=other,
            missing=1.0 - known / max(1, len(values)),
            outside=np.where(told, beyond.sum(axis=0) / np.maximum(known, 1), np.nan),
            score=score,
            limit=(
                float(np.quantile(reached, 1.0 - settings.alarm_rate, method="higher"))
                if enough
                else math.nan
            ),
        )

    def _score(self, one: FloatArray, other: FloatArray) -> FloatArray:
        if not len(self.window_psi):
            return np.full(one.shape, np.nan)
        usual_psi, usual_ks = (
            np.quantile(windows, 0.9, axis=0) for windows in (self.window_psi, self.window_ks)
        )
        # What never differed, a constant, has no unit.
        return np.fmax(
            one / np.where(usual_psi > 0.0, usual_psi, np.nan),
            other / np.where(usual_ks > 0.0, usual_ks, np.nan),
        )

    def tensors(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """Return what must be kept, by names that begin with ``prefix``."""
        return {
            f"{prefix}.edges": self.edges,
            f"{prefix}.counts": self.counts,
            f"{prefix}.range": self.range,
            f"{prefix}.window_psi": self.window_psi,
            f"{prefix}.window_ks": self.window_ks,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str) -> "Profile":
        """Return what ``tensors`` kept."""
        names = ("edges", "counts", "range", "window_psi", "window_ks")
        return cls(**{name: tensors[f"{prefix}.{name}"] for name in names})  # type: ignore[arg-type]


def _largest(scores: FloatArray) -> FloatArray:
    known = np.isfinite(scores).any(axis=1)
    return np.nanmax(scores[known], axis=1) if known.any() else np.empty(0)


def _count(values: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """Return each column's rows per bin, NaN left out; a value on an edge is below it."""
    out = np.zeros((len(edges), _FINE), dtype=np.int64)
    for i, inner in enumerate(edges):
        column = values[:, i]
        place = np.searchsorted(inner, column[np.isfinite(column)])
        out[i] = np.bincount(place, minlength=_FINE)
    return out


def _coarse(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ten bins of ten each: PSI over more would measure how few rows there are."""
    out: NDArray[np.int64] = counts.reshape(*counts.shape[:-1], 10, -1).sum(axis=-1)
    return out


class Adwin:
    r"""A window that is cut where the mean of its older part differs from that of the newer one.

    Values in [0, 1]. Two parts of :math:`n_0` and :math:`n_1` values differ when their means are
    farther apart than

    .. math:: \sqrt{\frac{2}{m}\sigma^2\ln\frac{2\ln n}{\delta}} + \frac{2}{3m}\ln\frac{2\ln n}{\delta},
       \quad \frac{1}{m} = \frac{1}{n_0 - 4} + \frac{1}{n_1 - 4}.

    Parameters
    ----------
    delta : float
        Bound on the chance that independent values of one mean are ever cut, at a given length.

    Notes
    -----
    Values are kept as rows of five buckets of 1, 2, 4, ... values, so a cut is only tried between
    buckets and memory grows with the logarithm of the length.

    References
    ----------
    .. [1] Bifet, A. and Gavaldà, R. (2007). "Learning from Time-Changing Data with Adaptive
       Windowing." SIAM International Conference on Data Mining, 443-448.
    """

    _BUCKETS = 5
    _SHORTEST = 5

    def __init__(self, delta: float) -> None:
        self._delta = delta
        # A row of buckets (sum, squared deviations) for each power of two, the newest last.
        self._rows: list[deque[tuple[float, float]]] = [deque()]
        self.width = 0
        self._total = 0.0

    @property
    def mean(self) -> float:
        """Mean of the window; NaN when it is empty."""
        return self._total / self.width if self.width else math.nan

    def update(self, value: float) -> bool:
        """Take in ``value`` and return whether the window was cut."""
        self._rows[0].append((value, 0.0))
        self.width += 1
        self._total += value
        self._compress()
        cut = False
        while self.width > 2 * self._SHORTEST and self._differs():
            self._drop()
            cut = True
        return cut

    def _compress(self) -> None:
        for level, row in enumerate(self._rows):
            if len(row) <= self._BUCKETS:
                return
            (a, u), (b, v) = row.popleft(), row.popleft()
            size = 2**level
            if level + 1 == len(self._rows):
                self._rows.append(deque())
            self._rows[level + 1].append((a + b, u + v + (a - b) ** 2 / (2 * size)))

    def _buckets(self) -> list[tuple[int, float, float]]:
        """Return size, sum and squared deviations of every bucket, the oldest first."""
        return [
            (2**level, *bucket)
            for level in range(len(self._rows) - 1, -1, -1)
            for bucket in self._rows[level]
        ]

    def _differs(self) -> bool:
        buckets = self._buckets()
        mean = self.mean
        spread = sum(v + n * (s / n - mean) ** 2 for n, s, v in buckets) / self.width
        log_term = math.log(2.0 * math.log(self.width) / self._delta)
        n0, s0 = 0, 0.0
        for size, total, _ in buckets[:-1]:
            n0, s0 = n0 + size, s0 + total
            n1, s1 = self.width - n0, self._total - s0
            if n1 < self._SHORTEST:
                return False
            if n0 < self._SHORTEST:
                continue
            # The authors' implementation takes the shortest part off each, and so do we.
            inverse = sum(1.0 / (n - self._SHORTEST + 1) for n in (n0, n1))
            limit = math.sqrt(2.0 * inverse * spread * log_term) + 2.0 / 3.0 * inverse * log_term
            if abs(s0 / n0 - s1 / n1) > limit:
                return True
        return False

    def _drop(self) -> None:
        while not self._rows[-1]:
            self._rows.pop()
        total, _ = self._rows[-1].popleft()
        self.width -= 2 ** (len(self._rows) - 1)
        self._total -= total
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()


def rises(before: FloatArray, live: FloatArray, *, delta: float) -> IntArray:
    """Return at which of ``live`` ADWIN cut the window and the mean rose; NaN is left out.

    ``before`` are the errors of the walk-forward: what the model is used to. Two of their standard
    deviations to each side of their mean are the whole range, what is beyond is pulled in: rank ICs
    of many names keep to a narrow part of what they could be, and ADWIN would wait for years. With
    fewer than 20 of them nothing is found.
    """
    usual = before[np.isfinite(before)]
    if len(usual) < 20 or not usual.std() > 0.0:
        return np.empty(0, dtype=np.int64)

    def placed(error: float) -> float:
        return float(np.clip(0.5 + (error - usual.mean()) / (4.0 * usual.std()), 0.0, 1.0))

    window, found = Adwin(delta), []
    for value in usual:
        window.update(placed(value))
    for i in np.flatnonzero(np.isfinite(live)):
        mean = window.mean
        if window.update(placed(live[i])) and window.mean > mean:
            found.append(i)
    return np.array(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Realized:
    """Mean rank IC of ``sessions`` forecasts and its 95 % interval; NaN is unknown."""

    sessions: int
    mean: float
    low: float
    high: float


def realized(session_ic: FloatArray, *, horizon: int) -> Realized:
    """Return the mean of ``session_ic`` and its interval with Newey-West errors over the overlap.

    The interval is unknown with fewer than four horizons; with few more it is too narrow, for each
    horizon is one observation of a kind.
    """
    known = session_ic[np.isfinite(session_ic)]
    mean = float(known.mean()) if len(known) else math.nan
    t = newey_west_t(known, lags=horizon - 1) if len(known) >= 4 * horizon else 0.0
    half = 1.959964 * abs(mean / t) if t else math.nan
    return Realized(sessions=len(known), mean=mean, low=mean - half, high=mean + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Whether a promised rank IC was kept: ``p`` is valid however often it is looked at."""

    promise: float
    p: float
    blocks: int


def kept(session_ic: FloatArray, *, promise: float, spread: float, horizon: int) -> Kept:
    r"""Return the anytime-valid p-value of "the rank IC is at least ``promise``".

    One bets against the promise with capital that can only grow if it is broken. Of blocks
    of ``horizon`` sessions the mean rank IC is taken, pulled in to 1.5 ``spread`` around the
    promise. The outcomes of every other block do not overlap, so there are two bettors:

    .. math:: K_t = \frac{1}{J}\sum_j \prod_{b \le t} \left(1 + \lambda_j (m - X_b)\right),
       \quad X_b \in [0, 1],\ m = 1/2,

    and :math:`P(\sup_t K_t \ge 2/\alpha) \le \alpha/2` for each while the promise is kept (Ville).

    Parameters
    ----------
    session_ic : ndarray of shape (n_sessions,)
        Rank IC of each session's forecasts since the model has been out of sample, oldest first;
        NaN at the end is not known yet, NaN inside is left out of its block.
    promise : float
        Rank IC that was promised.
    spread : float
        Standard deviation of the walk-forward's rank IC per session, known before.
    horizon : int
        Sessions until an outcome is known.

    Notes
    -----
    The chance that a model which keeps its promise in every block is ever refused is at most
    the level at which ``p`` is read. What is tested is the mean of the pulled-in rank ICs: a wider
    span would bet less on each block and take years longer to refuse.

    References
    ----------
    .. [1] Waudby-Smith, I. and Ramdas, A. (2024). "Estimating means of bounded random variables by
       betting." Journal of the Royal Statistical Society B, 86(1), 1-27.
    """
    told = np.flatnonzero(np.isfinite(session_ic))
    count = (int(told[-1]) + 1) // horizon if len(told) else 0
    blocks = session_ic[: count * horizon].reshape(count, horizon)
    has_some = np.isfinite(blocks).any(axis=1)
    means = np.full(count, np.nan)
    means[has_some] = np.nanmean(blocks[has_some], axis=1)
    width = 1.5 * spread
    if not width > 0.0:
        return Kept(promise=promise, p=1.0, blocks=int(has_some.sum()))
    place = np.clip((means - promise) / (2.0 * width) + 0.5, 0.0, 1.0)
    best = 1.0
    for stream in (place[::2], place[1::2]):
        x = stream[np.isfinite(stream)]
        capital = np.cumprod(1.0 + _BETS[:, None] * (0.5 - x), axis=1).mean(axis=0)
        best = max(best, float(capital.max(initial=1.0)))
    return Kept(promise=promise, p=min(1.0, 2.0 / best), blocks=int(has_some.sum()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What a model was taught and showed, as far as live data are held against it.

    ``step`` is how many sessions the rows of its sample are apart. ``errors`` are the walk-forward's
    of one session, in order; ``spread`` is the standard deviation of its rank IC per session.
    """

    features: Profile
    forecasts: Profile
    errors: FloatArray
    spread: float
    step: int

    @classmethod
    def of(
        cls, data: Dataset, walk: WalkForward, panel: AdjustedPanel, settings: DriftSettings,
        *, step: int, min_names: int,
    ) -> "Reference":  # fmt: skip
        """Return what to keep beside the model that ``data`` taught; of a window its last row."""
        now = (data.x if data.x.ndim == 2 else data.x[:, -1])[data.labelled]
        dates, position = np.unique(walk.row, return_inverse=True)
        forecast = np.full((len(dates), len(panel.symbols)), np.nan)
        forecast[position, walk.column] = walk.forecast
        earned = forward_returns(panel, 1).excess[dates]
        order = np.argsort(walk.row, kind="stable")
        return cls(
            features=Profile.of(now, data.row[data.labelled], window=settings.window_sessions),
            forecasts=Profile.of(
                walk.forecast[order, None], walk.row[order], window=settings.forecast_sessions
            ),
            errors=errors(forecast, earned, min_names=min_names),
            spread=float(np.nanstd(walk.session_ic)),
            step=step,
        )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return everything by name, to be kept beside the model's weights."""
        return {
            **self.features.tensors("features"),
            **self.forecasts.tensors("forecasts"),
            "errors": self.errors,
            "spread": np.array([self.spread]),
            "step": np.array([self.step]),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> "Reference | None":
        """Return what was kept; ``None`` for a model that was saved before anything was."""
        if not tensors:
            return None
        return cls(
            features=Profile.from_tensors(tensors, "features"),
            forecasts=Profile.from_tensors(tensors, "forecasts"),
            errors=tensors["errors"],  # type: ignore[arg-type]
            spread=float(tensors["spread"][0]),
            step=int(tensors["step"][0]),
        )


def errors(forecast: FloatArray, earned: FloatArray, *, min_names: int) -> FloatArray:
    """Return the error of each session's forecasts in [0, 1]: 0 is the right order, 1 the reverse.

    ``earned`` is the excess return of the next session alone: outcomes of one session do not
    overlap, as ``Adwin`` asks.
    """
    return (1.0 - rank_correlation(forecast, earned, min_names=min_names)) / 2.0
