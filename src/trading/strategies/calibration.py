"""What the record says about the agents: hit rates, weights, expected returns, independence.

Everything is counted at the row at which its outcome became known, so row ``t`` knows rows up to
``t`` only. What an account really earned from each voter is divided by ``measures.attribution``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.ensemble import blend
from trading.features.indicators import Bars
from trading.measures import Reliability, reliability
from trading.models.base import ModelCard
from trading.strategies.base import Triggers
from trading.strategies.catalog import AdaptationSettings, ConfidenceSettings

_WEIGHT_STEPS = 1000


def hit_rate(
    votes: FloatArray,
    bars: Bars,
    settings: ConfidenceSettings,
    *,
    card: ModelCard | None = None,
    is_learned: bool = False,
) -> FloatArray:
    r"""Return how often standing views of this sign were right, shrunk to how often anybody was.

    .. math:: c_t = \frac{h_t + a b_t}{n_t + a}, \qquad b_t = \frac{H_t + a/2}{N_t + a}

    over all names and all votes whose outcome was known at ``t``, weighted by ``|vote|``.
    A long view is right when the close ``horizon_sessions`` later is higher, a short one when it
    is lower. Outcomes overlap, so each counts ``1 / horizon_sessions``; ``a`` is
    ``prior_outcomes``. ``H`` of all ``N`` tradable cells moved that way: who knows nothing is
    right as often as that. A model's out-of-sample record (``card``) is counted with it.

    What was learned (``is_learned``) has a view of every name on every session. These move
    together, so the names of a session count as one outcome.
    """
    n, m = votes.shape
    horizon = settings.horizon_sessions
    out = np.full((n, m), 0.5)
    close = bars.close()
    moved = np.zeros((n, m))
    if n > horizon:
        moved[: n - horizon] = np.sign(close[horizon:] - close[:-horizon])
    known = bars.tradable & np.isfinite(moved)
    counted = known & np.isfinite(votes)
    prior = settings.prior_outcomes
    of_session = np.ones((2, n))
    if is_learned:
        of_session = np.maximum(np.stack([counted.sum(axis=1), known.sum(axis=1)]), 1.0)
    for sign in (1, -1):
        # Integer weights: their sum is exact, whatever the order and the number of names.
        weight = np.where(counted & (votes * sign > 0), np.abs(votes), 0.0)
        size = np.rint(weight * _WEIGHT_STEPS).astype(np.int64)
        hits = np.where(moved * sign > 0, size, 0)
        per_outcome = 1.0 / (_WEIGHT_STEPS * horizon)
        n_known = _by_row(size, of_session[0], horizon) * per_outcome
        h_known = _by_row(hits, of_session[0], horizon) * per_outcome
        cells = _by_row(known.astype(np.int64), of_session[1], horizon) / horizon
        that_way = (known & (moved * sign > 0)).astype(np.int64)
        moves = _by_row(that_way, of_session[1], horizon) / horizon
        base = (moves + 0.5 * prior) / (cells + prior)
        if card is not None:
            n_known += card.long_count if sign > 0 else card.short_count
            h_known += card.long_hits if sign > 0 else card.short_hits
        rate = (h_known + prior * base) / (n_known + prior)
        out = np.where(votes * sign > 0, np.round(rate, 9)[:, None], out)
    return out


def _by_row(outcomes: IntArray, names: FloatArray, horizon: int) -> FloatArray:
    """Return the sum of all outcomes that are known at each row, ``horizon`` rows after their own.

    Those of a row are divided by its ``names``.
    """
    n = len(outcomes)
    total = np.zeros(n)
    if n > horizon:
        total[horizon:] = np.cumsum(outcomes.sum(axis=1) / names)[:-horizon]
    return total


def trigger_rate(triggers: Triggers, settings: ConfidenceSettings) -> FloatArray:
    """Return how often entries inside a session gained, shrunk to one half: ``(n_sessions,)``."""
    known = np.isfinite(triggers.outcome)
    n_known = np.cumsum(known.sum(axis=1))
    h_known = np.cumsum((known & (triggers.outcome > 0)).sum(axis=1))
    prior = settings.prior_outcomes
    rate: FloatArray = np.round((h_known + 0.5 * prior) / (n_known + prior), 9)
    return rate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """What an agent's closed views earned up to each row, over the market's mean.

    ``count``, ``total`` and ``squares`` have shape ``(n_sessions,)``; returns are fractions.
    """

    count: FloatArray
    total: FloatArray
    squares: FloatArray

    def score(self) -> FloatArray:
        """Return mean over standard deviation of a closed view's excess; 0 without variation."""
        n = np.maximum(self.count, 1.0)
        mean = self.total / n
        variance = np.maximum(self.squares / n - mean * mean, 0.0)
        deviation = np.sqrt(variance)
        return np.where(deviation > 1e-12, mean / np.where(deviation > 0, deviation, 1.0), 0.0)


def closed_views(votes: FloatArray, bars: Bars, triggers: Triggers | None = None) -> Record:
    """Return the record of an agent's closed long views, or of its ``triggers``.

    A long view begins on the row on which its vote rises above 0 and is closed on the row on
    which it no longer is. It earns from the open after the one to the open after the other, less
    the mean of the tradable names over the same sessions, and is known at the second open.
    """
    if triggers is not None:
        known = np.isfinite(triggers.outcome)
        # Spread over the columns from left to right, then down: the sum has one order.
        earned = np.cumsum(np.where(known, triggers.outcome, 0.0), axis=1)[:, -1]
        squared = np.cumsum(np.where(known, triggers.outcome**2, 0.0), axis=1)[:, -1]
        return Record(
            count=np.cumsum(known.sum(axis=1)).astype(np.float64),
            total=np.cumsum(earned),
            squares=np.cumsum(squared),
        )
    panel = bars.panel
    count, total, squares = _closed(votes, panel.open, bars.valid & bars.tradable)
    return Record(count=count, total=total, squares=squares)


def agent_weights(
    priors: FloatArray, records: list[Record], settings: AdaptationSettings
) -> FloatArray:
    r"""Return each agent's weight on each row, of shape ``(n_sessions, n_agents)``.

    .. math:: w_k = p_k \operatorname{clip}\!\left(
              2^{\,\frac{n_k}{n_k + a}\,\frac{s_k - \bar s}{s^*}},\ l,\ u\right)

    with the score :math:`s_k` of ``Record``, its mean :math:`\bar s` over the agents that have
    closed at least ``min_closed`` views (the others keep their prior), the shrinkage
    ``shrink_closed`` :math:`a`, the advantage ``full_score`` :math:`s^*` that doubles a weight,
    and the bounds ``least`` and ``most``.
    """
    n = len(records[0].count) if records else 0
    weights = np.tile(priors, (n, 1))
    if not settings.enabled:
        return weights
    score = np.round(np.stack([r.score() for r in records], axis=1), 9)
    count = np.stack([r.count for r in records], axis=1)
    told = count >= settings.min_closed
    known = told.sum(axis=1)
    total = np.cumsum(np.where(told, score, 0.0), axis=1)[:, -1]
    mean = np.where(known > 0, total / np.maximum(known, 1), 0.0)
    advantage = (score - mean[:, None]) / settings.full_score
    power = count / (count + settings.shrink_closed) * advantage
    factor = np.clip(np.exp2(np.clip(power, -60.0, 60.0)), settings.least, settings.most)
    return np.round(weights * np.where(told, factor, 1.0), 9)


def expected_returns(
    votes: FloatArray,
    confidence: FloatArray,
    weights: FloatArray,
    bars: Bars,
    settings: ConfidenceSettings,
) -> tuple[FloatArray, FloatArray]:
    r"""Return ``(expected, standard error)`` of each name's daily excess return.

    One slope for all names: the excess return of ``horizon_sessions`` :math:`h` per unit of
    forecast, through the origin, over every outcome known by then.

    .. math:: b = \frac{\sum f y}{\sum f^2},\quad \hat\mu = \frac{b f}{h},\quad
              se = \frac{|f|}{h}\sqrt{\frac{h\,\sum (y - b f)^2}{N \sum f^2}}

    The factor :math:`h` is for outcomes that overlap. NaN while the outcomes known, each counted
    ``1 / h``, are fewer than ``prior_outcomes``.
    """
    forecast = _forecasts(votes, confidence, weights)
    close = bars.close()
    slope, error = _slope(
        forecast,
        close,
        bars.tradable,
        settings.horizon_sessions,
        settings.prior_outcomes,
    )
    horizon = settings.horizon_sessions
    expected = np.round(forecast * slope[:, None] / horizon, 9)
    return expected, np.round(np.abs(forecast) * error[:, None] / horizon, 9)


def vote_reliability(
    votes: FloatArray, confidence: FloatArray, bars: Bars, settings: ConfidenceSettings
) -> Reliability:
    """Return how the hit rates that an agent was credited with compare with what followed.

    ``votes`` and ``confidence`` have shape ``(n_sessions, n_instruments)``. Every standing view
    counts whose outcome is known, as in ``hit_rate``; a price that did not move counts as a miss.
    """
    horizon = settings.horizon_sessions
    n = len(votes)
    close = bars.close()
    if n <= horizon:
        return reliability(np.empty(0), np.empty(0, dtype=np.bool_))
    moved = np.sign(close[horizon:] - close[:-horizon])
    said, credit = votes[: n - horizon], confidence[: n - horizon]
    counted = bars.tradable[: n - horizon] & (np.abs(said) > 0) & np.isfinite(moved)
    return reliability(credit[counted], moved[counted] == np.sign(said[counted]))


def vote_correlation(votes: FloatArray) -> FloatArray:
    """Return the correlation of the agents' votes over the cells in which both voted.

    ``votes`` has shape ``(n_sessions, n_agents, n_instruments)``. NaN for pairs with fewer than
    two common cells or without variation; the diagonal is 1.
    """
    k = votes.shape[1]
    flat = votes.transpose(1, 0, 2).reshape(k, -1)
    out = np.full((k, k), np.nan)
    for a in range(k):
        out[a, a] = 1.0
        for b in range(a):
            both = np.isfinite(flat[a]) & np.isfinite(flat[b])
            if both.sum() < 2:
                continue
            x, y = flat[a, both] - flat[a, both].mean(), flat[b, both] - flat[b, both].mean()
            scale = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
            if scale > 0:
                out[a, b] = out[b, a] = float((x * y).sum()) / scale
    return out


def effective_number(correlation: FloatArray) -> float:
    r"""Return how many independent voters the agents are worth, :math:`k^2 / \sum_{ij} \rho_{ij}^2`.

    Unknown correlations count as 0. Equals ``k`` for independent agents, 1 for copies.
    """
    known = np.nan_to_num(correlation, nan=0.0)
    return float(len(known) ** 2 / (known * known).sum()) if len(known) else 0.0


@njit(cache=True)
def _closed(
    votes: FloatArray, opens: FloatArray, valid: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    n, m = votes.shape
    count, total, squares = np.zeros(n), np.zeros(n), np.zeros(n)
    # Growth of the market from open to open: the mean over names that trade on both days.
    market = np.ones(n)
    last = np.full(m, np.nan)
    for t in range(n):
        moved, names = 0.0, 0
        for i in range(m):
            if valid[t, i]:
                if not np.isnan(last[i]) and t > 0 and valid[t - 1, i]:
                    moved += opens[t, i] / last[i] - 1.0
                    names += 1
                last[i] = opens[t, i]
        if t > 0:
            market[t] = market[t - 1] * (1.0 + (moved / names if names else 0.0))
    c, s, q = 0.0, 0.0, 0.0
    entered = np.full(m, np.nan)
    entered_market = np.ones(m)
    standing = np.zeros(m, dtype=np.bool_)
    for t in range(n):
        for i in range(m):
            if not valid[t, i]:
                continue
            # What was decided on earlier rows happens at this open.
            before = votes[t - 1, i] if t > 0 else np.nan
            wanted = before > 0.0
            if wanted and not standing[i]:
                entered[i] = opens[t, i]
                entered_market[i] = market[t]
                standing[i] = True
            elif standing[i] and not wanted:
                earned = opens[t, i] / entered[i] - market[t] / entered_market[i]
                c += 1.0
                s += earned
                q += earned * earned
                standing[i] = False
        count[t], total[t], squares[t] = c, s, q
    return count, total, squares


@njit(cache=True)
def _forecasts(votes: FloatArray, confidence: FloatArray, weights: FloatArray) -> FloatArray:
    n, _, m = votes.shape
    out = np.empty((n, m))
    for t in range(n):
        forecast, _, _ = blend(votes[t], confidence[t], weights[t])
        out[t] = forecast
    return out


@njit(cache=True)
def _slope(
    forecast: FloatArray, close: FloatArray, tradable: BoolArray, horizon: int, least: float
) -> tuple[FloatArray, FloatArray]:
    """Return the slope of excess returns on forecasts, and its error, as known at each row."""
    n, m = forecast.shape
    slope, error = np.full(n, np.nan), np.full(n, np.nan)
    fy, ff, yy, known = 0.0, 0.0, 0.0, 0.0
    for t in range(horizon, n):
        s = t - horizon
        mean, names = 0.0, 0
        for i in range(m):
            if tradable[s, i] and close[s, i] > 0.0 and close[t, i] > 0.0:
                mean += close[t, i] / close[s, i] - 1.0
                names += 1
        if names > 1:
            mean /= names
            for i in range(m):
                f = forecast[s, i]
                if tradable[s, i] and close[s, i] > 0.0 and close[t, i] > 0.0 and not np.isnan(f):
                    y = close[t, i] / close[s, i] - 1.0 - mean
                    fy += f * y
                    ff += f * f
                    yy += y * y
                    known += 1.0
        if known / horizon >= least and ff > 0.0:
            b = fy / ff
            slope[t] = b
            residual = max(yy - b * fy, 0.0)
            error[t] = math.sqrt(horizon * residual / (known * ff))
    return slope, error
