"""Statistical agents: pairs, Kalman pairs, statistical arbitrage, mean reversion.

Each is fitted on the first session of a calendar month or quarter, on a window that ends there,
and followed until the next: what a row says depends on no later row. The tests and filters are in
``models.cointegration`` and ``models.kalman``.

A cash account cannot sell short: of two legs the cheap one is voted 1 and the rich one -1, which
becomes "hold none". What is bought is a tilt with the market's beta, never a neutral position.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.features.cross_section import SCORE_DECIMALS
from trading.features.indicators import Bars
from trading.features.statistics import session_returns
from trading.models import cointegration, kalman
from trading.strategies.base import Agent, AgentSettings, Family, Inputs

Refit = Literal["month", "quarter"]


class _CrossSettings(AgentSettings):
    """Which names are compared with each other, and how often anew.

    ``leaders`` are the names of the highest mean traded value over ``value_sessions``, 0 for all.
    A name needs own bars in ``min_bar_share`` of the sessions of the window. A view of a name that
    has not traded for more than ``max_halt`` sessions is withdrawn.
    """

    refit: Refit = "quarter"
    leaders: int = Field(default=200, ge=0)
    value_sessions: int = Field(default=60, ge=1)
    min_bar_share: float = Field(default=0.95, gt=0, le=1)
    max_halt: int = Field(default=5, ge=0)


class _FormationSettings(_CrossSettings):
    """How pairs are found; see ``formed``."""

    same_sector: bool = False
    formation: int = Field(default=500, ge=500, le=750)
    validation: int = Field(default=125, ge=60)
    max_lag: int = Field(default=10, ge=0, le=25)
    false_discovery: float = Field(default=0.05, gt=0, lt=1)
    retest_level: float = Field(default=0.05, gt=0, lt=1)
    min_half_life: float = Field(default=3.0, gt=0)
    max_half_life: float = Field(default=40.0, gt=0)
    max_pairs: int = Field(default=20, ge=1)
    enter: float = Field(default=2.0, gt=0)
    leave: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "_FormationSettings":
        _check_levels(self.enter, self.leave)
        if self.min_half_life >= self.max_half_life:
            raise ValueError("min_half_life 는 max_half_life 보다 작아야 합니다")
        return self


class PairsSettings(_FormationSettings):
    """Cointegrated pairs: the cheaper leg of a spread that is far from its mean.

    References
    ----------
    .. [1] Gatev, E., Goetzmann, W. N. and Rouwenhorst, K. G. (2006). "Pairs Trading: Performance
       of a Relative-Value Arbitrage Rule." Review of Financial Studies, 19(3), 797-827.
    """

    z_window: int = Field(default=60, ge=20, le=500)


class KalmanPairsSettings(_FormationSettings):
    """Cointegrated pairs with a drifting hedge ratio: the surprise of one leg given the other.

    A pair is silent where the standard deviation of its standardized innovations over the last
    ``validation`` bars, all after the formation window, is not between ``min_sigma`` and
    ``max_sigma``: then the filter's idea of its own error is wrong.
    """

    estimation: Literal["ml", "em"] = "ml"
    em_iterations: int = Field(default=20, ge=1)
    min_sigma: float = Field(default=0.8, gt=0)
    max_sigma: float = Field(default=1.2, gt=0)

    @model_validator(mode="after")
    def _band(self) -> "KalmanPairsSettings":
        if not self.min_sigma < 1.0 < self.max_sigma:
            raise ValueError("min_sigma 는 1 보다 작고 max_sigma 는 1 보다 커야 합니다")
        return self


class StatArbSettings(_CrossSettings):
    """What principal components do not explain of a name, as an Ornstein–Uhlenbeck process.

    As many components as explain ``explained`` of the variance of standardized returns, at most
    ``max_factors``. A residual that takes longer than ``max_reversion`` bars to come back is not
    traded.

    References
    ----------
    .. [1] Avellaneda, M. and Lee, J.-H. (2010). "Statistical arbitrage in the US equities
       market." Quantitative Finance, 10(7), 761-782.
    """

    refit: Refit = "month"
    window: int = Field(default=252, ge=60)
    residual_window: int = Field(default=60, ge=30)
    explained: float = Field(default=0.55, gt=0, lt=1)
    max_factors: int = Field(default=15, ge=1)
    min_names: int = Field(default=5, ge=3)
    max_reversion: float = Field(default=30.0, gt=0)
    enter: float = Field(default=1.25, gt=0)
    leave_long: float = Field(default=0.5, ge=0)
    leave_short: float = Field(default=0.75, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "StatArbSettings":
        _check_levels(self.enter, max(self.leave_long, self.leave_short))
        if self.residual_window > self.window:
            raise ValueError("residual_window 는 window 보다 클 수 없습니다")
        return self


class MeanReversionSettings(AgentSettings):
    """One name's own log price as an AR(1) process around its mean.

    Refused where the confidence interval of the autoregression reaches 1: that is nearly always.
    """

    refit: Refit = "month"
    window: int = Field(default=250, ge=250)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_half_life: float = Field(default=3.0, gt=0)
    max_half_life: float = Field(default=40.0, gt=0)
    max_halt: int = Field(default=5, ge=0)
    enter: float = Field(default=2.0, gt=0)
    leave: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "MeanReversionSettings":
        _check_levels(self.enter, self.leave)
        if self.min_half_life >= self.max_half_life:
            raise ValueError("min_half_life 는 max_half_life 보다 작아야 합니다")
        return self


def _check_levels(enter: float, leave: float) -> None:
    if leave >= enter:
        raise ValueError("leave 는 enter 보다 작아야 합니다")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A pair that passed at ``row``: ``log y = alpha + beta log x + spread``; legs are columns.

    ``statistic`` is the Engle–Granger one of the formation window, ``retest_p`` the p-value of a
    unit root in the spread over the bars that followed it.
    """

    row: int
    y: int
    x: int
    alpha: float
    beta: float
    half_life: float
    statistic: float
    retest_p: float


def pairs(inputs: Inputs, settings: PairsSettings) -> FloatArray:
    """Vote 1 on the cheap and -1 on the rich leg since the spread's z-score left ``enter``.

    The score is over the last ``z_window`` sessions. A view ends, 0, when the score is back at
    ``leave``. A name in several pairs gets the mean of the views that stand.
    """
    bars = inputs.bars
    logs = _logs(bars.close())

    def scores(pair: Pair, start: int, stop: int) -> tuple[FloatArray, BoolArray]:
        rows = slice(start - settings.z_window + 1, stop)
        z = _spread_z(logs[rows, pair.y], logs[rows, pair.x], pair.beta, settings.z_window)
        return z, np.ones(len(z), dtype=np.bool_)

    return _pair_votes(bars, formed(inputs, settings), scores, settings)


def kalman_pairs(inputs: Inputs, settings: KalmanPairsSettings) -> FloatArray:
    """Vote like ``pairs`` by the standardized innovation of the filtered hedge ratio."""
    bars = inputs.bars
    logs = np.where(bars.valid, _logs(bars.close()), np.nan)

    def scores(pair: Pair, start: int, stop: int) -> tuple[FloatArray, BoolArray]:
        first = start - settings.formation - settings.validation + 1
        return _kalman_z(logs[first:stop, pair.y], logs[first:stop, pair.x], settings)

    return _pair_votes(bars, formed(inputs, settings), scores, settings)


def formed(
    inputs: Inputs, settings: _FormationSettings
) -> Iterator[tuple[int, int, tuple[Pair, ...]]]:
    """Yield the pairs that may be traded from row ``start`` to before row ``stop``.

    At each refit the ``formation`` bars that end ``validation`` bars before it are scanned in both
    directions. A pair passes when it is rejected among all tests of the scan with a false
    discovery rate of ``false_discovery``, its hedge ratio is positive, its half-life lies within
    the bounds, and the spread with the ratio of the formation window still has no unit root around
    its old mean over the ``validation`` bars that followed, which no estimate has seen. The best
    ``max_pairs`` by statistic are kept.
    """
    bars = inputs.bars
    logs = _logs(bars.close())
    total = settings.formation + settings.validation
    for start, stop in periods(inputs.sessions, settings.refit, total - 1):
        names = _eligible(bars, settings, start, total)
        yield start, stop, tuple(_passing(bars, logs, names, settings, start))


def _passing(
    bars: Bars, logs: FloatArray, names: IntArray, settings: _FormationSettings, row: int
) -> list[Pair]:
    split = row - settings.validation + 1
    window = slice(split - settings.formation, split)
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    for group in _groups(bars, names, row, by_sector=settings.same_sector):
        if len(group) > 1:
            statistic, _ = cointegration.scan(logs[window][:, group], max_lag=settings.max_lag)
            statistic = np.round(statistic, SCORE_DECIMALS)
            # A copy of a name under another symbol is no pair.
            y, x = np.nonzero(np.isfinite(statistic))
            found.append((group[y], group[x], statistic[y, x]))
    if not found:
        return []
    y, x, statistic = (np.concatenate(parts) for parts in zip(*found, strict=True))
    p = cointegration.p_value(statistic, 2)
    rejected = np.flatnonzero(cointegration.benjamini_yekutieli(p, settings.false_discovery))
    out: list[Pair] = []
    taken: set[frozenset[int]] = set()
    for k in rejected[np.lexsort((x[rejected], y[rejected], statistic[rejected]))]:
        legs = frozenset((int(y[k]), int(x[k])))
        # The other direction of a pair comes later and is the weaker one.
        if len(out) == settings.max_pairs or legs in taken:
            continue
        taken.add(legs)
        pair = _judged(logs, settings, row, int(y[k]), int(x[k]))
        if pair is not None:
            out.append(pair)
    return out


def _judged(
    logs: FloatArray, settings: _FormationSettings, row: int, y: int, x: int
) -> Pair | None:
    """Return the pair when hedge ratio, half-life and the retest on later bars allow it."""
    split = row - settings.validation + 1
    before = slice(split - settings.formation, split)
    after = slice(split, row + 1)
    fit = cointegration.engle_granger(logs[before, y], logs[before, x], max_lag=settings.max_lag)
    life = round(fit.half_life, SCORE_DECIMALS)
    if not (fit.beta > 0.0 and settings.min_half_life <= life <= settings.max_half_life):
        return None
    spread = logs[after, y] - fit.alpha - fit.beta * logs[after, x]
    test = cointegration.adf(spread, max_lag=settings.max_lag, constant=False)
    retest = round(test.p_value, SCORE_DECIMALS)
    if not retest <= settings.retest_level:
        return None
    return Pair(
        row=row,
        y=y,
        x=x,
        alpha=fit.alpha,
        beta=fit.beta,
        half_life=fit.half_life,
        statistic=fit.statistic,
        retest_p=test.p_value,
    )


def stat_arb(inputs: Inputs, settings: StatArbSettings) -> FloatArray:
    """Vote 1 since a name's residual was cheap by ``enter``, -1 since it was as rich.

    The components are of the correlations of the window that ends at the refit. At every row the
    returns of the last ``residual_window`` sessions are regressed on theirs; the sum of what is
    left over is the process, its distance from its mean in long-run standard deviations the score
    (means are taken less their mean over the names). A residual that does not revert in time has
    no view.
    """
    bars = inputs.bars
    returns = session_returns(bars)
    idle = _idle(bars)
    votes = np.full(bars.shape, np.nan)
    for start, stop in periods(inputs.sessions, settings.refit, settings.window):
        names, portfolios = _portfolios(bars, returns, settings, start)
        views = np.full((stop - start, bars.shape[1]), np.nan)
        if len(names) >= settings.min_names:
            first = start - settings.residual_window + 1
            score = _residual_scores(
                np.ascontiguousarray(returns[first:stop, names]),
                portfolios,
                settings.residual_window,
                float(np.exp(-1.0 / settings.max_reversion)),
            )
            live = np.isfinite(score) & (idle[start:stop, names] <= settings.max_halt)
            score = np.where(bars.valid[start:stop, names], score, np.nan)
            views[:, names] = _stances(
                np.round(score, SCORE_DECIMALS),
                live,
                _before(votes, start)[names],
                settings.enter,
                settings.leave_long,
                settings.leave_short,
            )
        votes[start:stop] = _withdrawn(views, _before(votes, start))
    return votes


def mean_reversion(inputs: Inputs, settings: MeanReversionSettings) -> FloatArray:
    """Vote 1 since the price was ``enter`` long-run deviations below its mean, -1 since above.

    On each name's own bars. A view ends, 0, at ``leave``, or when a later fit is refused: the
    interval of the autoregression reaches 1, or the half-life is out of bounds.
    """
    bars = inputs.bars
    logs = _logs(bars.close())
    own = [logs[rows, i] for i, rows in enumerate(bars.valid.T)]
    idle = _idle(bars)
    votes = np.full(bars.shape, np.nan)
    for start, stop in periods(inputs.sessions, settings.refit, settings.window - 1):
        last = bars.age[start]
        names = np.flatnonzero((last >= settings.window - 1) & bars.tradable[start])
        views = np.full((stop - start, bars.shape[1]), np.nan)
        if len(names):
            ends = last[names] + 1
            levels = np.stack(
                [own[i][e - settings.window : e] for i, e in zip(names, ends, strict=True)], axis=1
            )
            fit = cointegration.reversion(levels)
            life = np.round(fit.half_life, SCORE_DECIMALS)
            taken = np.round(fit.p_value, SCORE_DECIMALS) <= 0.5 * (1.0 - settings.confidence)
            taken &= (life >= settings.min_half_life) & (life <= settings.max_half_life)
            names = names[taken]
            score = (logs[start:stop, names] - fit.mean[taken]) / fit.sigma[taken]
            score = np.where(bars.valid[start:stop, names], score, np.nan)
            views[:, names] = _stances(
                np.round(score, SCORE_DECIMALS),
                idle[start:stop, names] <= settings.max_halt,
                _before(votes, start)[names],
                settings.enter,
                settings.leave,
                settings.leave,
            )
        votes[start:stop] = _withdrawn(views, _before(votes, start))
    return votes


def periods(sessions: DateArray, refit: Refit, first: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` rows: from each first session of a calendar period to the next.

    ``first`` is the lowest row at which the window of a fit is complete.
    """
    months = sessions.astype("datetime64[M]").astype(np.int64)
    period = months // 3 if refit == "quarter" else months
    starts = np.flatnonzero(np.diff(period)) + 1
    starts = starts[starts >= first]
    for k, start in enumerate(starts):
        stop = starts[k + 1] if k + 1 < len(starts) else len(sessions)
        yield int(start), int(stop)


def _eligible(bars: Bars, settings: _CrossSettings, row: int, window: int) -> IntArray:
    """Return the columns that trade at ``row`` and have bars enough in the window ending there."""
    before = bars.age[row - window] if row >= window else -1
    share = (bars.age[row] - before) / window
    # Carried over halts, a close is known from the first bar on.
    begun = bars.age[row - window + 1] >= 0
    names = np.flatnonzero(bars.tradable[row] & begun & (share >= settings.min_bar_share))
    if settings.leaders == 0 or len(names) <= settings.leaders:
        return names
    recent = slice(max(0, row - settings.value_sessions + 1), row + 1)
    panel = bars.panel
    value = np.nan_to_num(panel.close[recent][:, names] * panel.volume[recent][:, names])
    order = np.argsort(-value.mean(axis=0), kind="stable")
    return np.sort(names[order[: settings.leaders]])


def _groups(bars: Bars, names: IntArray, row: int, *, by_sector: bool) -> Iterable[IntArray]:
    """Return the names among which pairs are looked for; those of no known sector are one group."""
    if not by_sector:
        return [names]
    sector = bars.facts.sectors[row, names]
    return [names[sector == one] for one in np.unique(sector)]


def _portfolios(
    bars: Bars, returns: FloatArray, settings: StatArbSettings, row: int
) -> tuple[IntArray, FloatArray]:
    """Return the names compared from ``row`` on, and their weights in the eigenportfolios.

    Weights have shape ``(n_names, n_factors)``; without factors when there are too few names.
    """
    names = _eligible(bars, settings, row, settings.window + 1)
    window = returns[row - settings.window + 1 : row + 1, names]
    moves = np.ptp(window, axis=0) > 0.0
    names, window = names[moves], np.ascontiguousarray(window[:, moves])
    if len(names) < settings.min_names:
        return names, np.empty((len(names), 0))
    return names, _components(window, settings)


def _components(window: FloatArray, settings: StatArbSettings) -> FloatArray:
    m = window.shape[1]
    correlation, scale = _correlation(window)
    values, vectors = np.linalg.eigh(correlation)
    values, vectors = values[::-1], vectors[:, ::-1]
    share = np.round(np.cumsum(values) / values.sum(), SCORE_DECIMALS)
    wanted = int(np.searchsorted(share, settings.explained)) + 1
    count = min(wanted, settings.max_factors, m - 1, settings.residual_window // 4)
    vectors = vectors[:, :count]
    # A sign is arbitrary, and the last bits are the library's: neither may reach a vote.
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(count)]
    weights = np.round(vectors * np.sign(largest), SCORE_DECIMALS) / scale[:, None]
    return np.ascontiguousarray(weights)


_Scores = Callable[[Pair, int, int], tuple[FloatArray, BoolArray]]


def _pair_votes(
    bars: Bars,
    fits: Iterable[tuple[int, int, tuple[Pair, ...]]],
    scores: _Scores,
    settings: _FormationSettings,
) -> FloatArray:
    """Return the votes of the pairs of each period; a pair that stays keeps its view.

    ``scores`` gives of a pair the z-score of ``y`` and whether it may have a view, from row
    ``start`` to before ``stop``.
    """
    idle = _idle(bars)
    votes = np.full(bars.shape, np.nan)
    # By legs in order: 1 when the first is the cheap one.
    standing: dict[tuple[int, int], float] = {}
    for start, stop, found in fits:
        views = np.full((stop - start, bars.shape[1]), np.nan)
        total, count = np.zeros(views.shape), np.zeros(views.shape)
        after: dict[tuple[int, int], float] = {}
        for pair in found:
            legs = [pair.y, pair.x]
            key, turn = (min(legs), max(legs)), 1.0 if pair.y < pair.x else -1.0
            z, good = scores(pair, start, stop)
            both = bars.valid[start:stop, legs].all(axis=1)
            stance = _stances(
                np.where(both, np.round(z, SCORE_DECIMALS), np.nan)[:, None],
                (good & (idle[start:stop, legs] <= settings.max_halt).all(axis=1))[:, None],
                np.array([turn * standing.get(key, np.nan)]),
                settings.enter,
                settings.leave,
                settings.leave,
            )[:, 0]
            after[key] = turn * float(stance[-1])
            for leg, sign in ((pair.y, 1.0), (pair.x, -1.0)):
                known = np.isfinite(stance)
                views[known, leg] = 0.0
                total[known, leg] += sign * stance[known]
                count[known, leg] += np.abs(stance[known])
        open_ = count > 0.0
        views[open_] = np.round(total[open_] / count[open_], SCORE_DECIMALS)
        votes[start:stop] = _withdrawn(views, _before(votes, start))
        standing = after
    return votes


def _kalman_z(
    y: FloatArray, x: FloatArray, settings: KalmanPairsSettings
) -> tuple[FloatArray, BoolArray]:
    """Return the scores from the last bar of validation on, and where the filter is to be believed.

    Both legs begin with the formation window, which alone is fitted.
    """
    formation = settings.formation
    x = x - np.nanmean(x[:formation])
    noise = kalman.fit_ml(y[:formation], x[:formation])
    if settings.estimation == "em":
        noise = kalman.fit_em(
            y[:formation], x[:formation], start=noise, iterations=settings.em_iterations
        )
    z = kalman.hedge_filter(y, x, noise).z()[formation:]
    sigma = np.round(_rolling_sigma(z, settings.validation), SCORE_DECIMALS)
    believed = (sigma >= settings.min_sigma) & (sigma <= settings.max_sigma)
    return z[settings.validation - 1 :], believed[settings.validation - 1 :]


def _before(votes: FloatArray, row: int) -> FloatArray:
    return votes[row - 1] if row > 0 else np.full(votes.shape[1], np.nan)


def _withdrawn(views: FloatArray, before: FloatArray) -> FloatArray:
    """Return ``views`` with 0 where a view that stood before the refit has no successor.

    Abstaining would leave what was bought on it without anyone who says to sell.
    """
    stood = np.isfinite(before) & (before != 0.0)
    return np.where(np.isnan(views) & stood, 0.0, views)


@njit(cache=True, nogil=True)
def _logs(close: FloatArray) -> FloatArray:
    # One number at a time: a vectorized logarithm may differ in its last bit by position.
    out = np.empty(close.shape)
    for t in range(close.shape[0]):
        for i in range(close.shape[1]):
            out[t, i] = np.log(close[t, i])
    return out


def _idle(bars: Bars) -> IntArray:
    """Return the sessions since each name's last bar, counting from before the panel's first."""
    rows = np.arange(bars.shape[0])[:, None]
    last: IntArray = np.maximum.accumulate(np.where(bars.valid, rows, -1), axis=0)
    return rows - last


@njit(cache=True, nogil=True)
def _stances(
    z: FloatArray,
    live: BoolArray,
    before: FloatArray,
    enter: float,
    leave_long: float,
    leave_short: float,
) -> FloatArray:
    """Return each column's view by its score: 1 since it was low, -1 since it was high, else 0.

    NaN before the first view. A NaN score is no event; where ``live`` is false a view ends.
    """
    n, m = z.shape
    out = np.empty((n, m))
    for i in range(m):
        stance = before[i]
        for t in range(n):
            score = z[t, i]
            if not live[t, i]:
                if stance == stance:
                    stance = 0.0
            elif score <= -enter:
                stance = 1.0
            elif score >= enter:
                stance = -1.0
            elif (stance > 0.0 and score >= -leave_long) or (stance < 0.0 and score <= leave_short):
                stance = 0.0
            out[t, i] = stance
    return out


@njit(cache=True, nogil=True)
def _spread_z(y: FloatArray, x: FloatArray, beta: float, window: int) -> FloatArray:
    """Return the z-score of the last value of each window of ``y - beta x``; NaN of a flat one."""
    n = y.shape[0]
    spread = np.empty(n)
    for t in range(n):
        spread[t] = y[t] - beta * x[t]
    out = np.full(n - window + 1, np.nan)
    for k in range(n - window + 1):
        total = 0.0
        for t in range(k, k + window):
            total += spread[t] - spread[k]
        mean = total / window
        square = 0.0
        for t in range(k, k + window):
            square += (spread[t] - spread[k] - mean) ** 2
        sigma = np.sqrt(square / (window - 1))
        if sigma > 1e-12:
            out[k] = (spread[k + window - 1] - spread[k] - mean) / sigma
    return out


@njit(cache=True, nogil=True)
def _rolling_sigma(z: FloatArray, window: int) -> FloatArray:
    """Return the root mean square of the known scores of each window; NaN with under half."""
    n = z.shape[0]
    out = np.full(n, np.nan)
    for t in range(window - 1, n):
        total, count = 0.0, 0
        for s in range(t - window + 1, t + 1):
            if z[s] == z[s]:
                total += z[s] * z[s]
                count += 1
        if 2 * count >= window:
            out[t] = np.sqrt(total / count)
    return out


@njit(cache=True, nogil=True)
def _correlation(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the correlations of the columns, and their standard deviations."""
    n, m = returns.shape
    scaled = np.empty((m, n))
    scale = np.empty(m)
    for i in range(m):
        total = 0.0
        for t in range(n):
            total += returns[t, i]
        mean = total / n
        square = 0.0
        for t in range(n):
            square += (returns[t, i] - mean) ** 2
        scale[i] = np.sqrt(square / (n - 1))
        for t in range(n):
            scaled[i, t] = (returns[t, i] - mean) / np.sqrt(square)
    out = np.empty((m, m))
    for i in range(m):
        for j in range(i + 1):
            total = 0.0
            for t in range(n):
                total += scaled[i, t] * scaled[j, t]
            out[i, j] = total
            out[j, i] = total
    return out, scale


@njit(cache=True, nogil=True)
def _residual_scores(
    returns: FloatArray, portfolios: FloatArray, window: int, slowest: float
) -> FloatArray:
    """Return the s-score of every name at every row from ``window - 1`` on.

    Parameters
    ----------
    returns : ndarray of shape (n_rows + window - 1, n_names)
    portfolios : ndarray of shape (n_names, n_factors)
    slowest : float
        Autoregression of the residual from which on a name has no score.
    """
    n, m = returns.shape
    k = portfolios.shape[1]
    factors = np.zeros((k, n))
    for j in range(k):
        for t in range(n):
            total = 0.0
            for i in range(m):
                total += portfolios[i, j] * returns[t, i]
            factors[j, t] = total
    columns = np.empty((m, n))
    for i in range(m):
        for t in range(n):
            columns[i, t] = returns[t, i]
    out = np.full((n - window + 1, m), np.nan)
    basis = np.empty((k + 1, window))
    left = np.empty(window)
    mean = np.empty(m)
    sigma = np.empty(m)
    for row in range(n - window + 1):
        # The constant and the factors, made orthogonal in turn (modified Gram–Schmidt).
        size = 0
        for j in range(k + 1):
            for t in range(window):
                basis[size, t] = 1.0 if j == 0 else factors[j - 1, row + t]
            length = _length(basis[size])
            for s in range(size):
                _take_off(basis[size], basis[s])
            rest = _length(basis[size])
            if rest > 1e-9 * length:
                for t in range(window):
                    basis[size, t] /= rest
                size += 1
        center, known = 0.0, 0
        for i in range(m):
            for t in range(window):
                left[t] = columns[i, row + t]
            for s in range(size):
                _take_off(left, basis[s])
            mean[i], sigma[i] = _equilibrium(left, slowest)
            if mean[i] == mean[i]:
                center += mean[i]
                known += 1
        for i in range(m):
            if mean[i] == mean[i]:
                # The sum of the residuals ends at 0: the regression had a constant.
                out[row, i] = -(mean[i] - center / known) / sigma[i]
    return out


@njit(cache=True, nogil=True)
def _length(vector: FloatArray) -> float:
    total = 0.0
    for t in range(vector.shape[0]):
        total += vector[t] * vector[t]
    return float(np.sqrt(total))


@njit(cache=True, nogil=True)
def _take_off(vector: FloatArray, unit: FloatArray) -> None:
    """Make ``vector`` orthogonal to ``unit``."""
    total = 0.0
    for t in range(vector.shape[0]):
        total += vector[t] * unit[t]
    for t in range(vector.shape[0]):
        vector[t] -= total * unit[t]


@njit(cache=True, nogil=True)
def _equilibrium(steps: FloatArray, slowest: float) -> tuple[float, float]:
    """Return mean and long-run deviation of the sum of ``steps``; NaN where it does not revert."""
    n = steps.shape[0]
    level = 0.0
    before, after = 0.0, 0.0
    for t in range(n):
        if t > 0:
            before += level
        level += steps[t]
        if t > 0:
            after += level
    before /= n - 1
    after /= n - 1
    square, product, response = 0.0, 0.0, 0.0
    level = 0.0
    for t in range(n):
        new = level + steps[t]
        if t > 0:
            square += (level - before) ** 2
            product += (level - before) * (new - after)
            response += (new - after) ** 2
        level = new
    if square <= 0.0:
        return np.nan, np.nan
    b = product / square
    left = response - b * product
    if not (0.0 < b < slowest and left > 1e-14 * response):
        return np.nan, np.nan
    return (after - b * before) / (1.0 - b), np.sqrt(left / (n - 3) / (1.0 - b * b))


AGENTS = (
    Agent(name="pairs", family=Family.STATISTICAL, settings=PairsSettings, votes=pairs),
    Agent(
        name="kalman_pairs",
        family=Family.STATISTICAL,
        settings=KalmanPairsSettings,
        votes=kalman_pairs,
    ),
    Agent(name="stat_arb", family=Family.STATISTICAL, settings=StatArbSettings, votes=stat_arb),
    Agent(
        name="mean_reversion",
        family=Family.STATISTICAL,
        settings=MeanReversionSettings,
        votes=mean_reversion,
    ),
)
