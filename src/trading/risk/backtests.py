"""Whether forecasts of losses were any good: tests on what followed, and which method is in force.

A hit is a session that lost more than its VaR. Tests judge the share of hits, their order and
their size; their p-values come from simulation of the null hypothesis, because the asymptotic ones
of tests on a dozen hits are wrong. The forecasts themselves are ``risk.var``.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.risk.student import student_tail
from trading.risk.var import METHODS, NO_CHAMPION, VarMethod

# Statistics are rounded like scores before they are compared, so that the last bit never decides.
_DIGITS: Final = 9


class DemotionSettings(BaseModel):
    """When a VaR method loses its place, and how it gets it back (``risk.yaml: demotion``).

    ``preferred`` names the methods from the most wanted to the least. Each session every method
    is put to four tests on each of ``windows``; it fails when the smallest p-value is at most
    ``family_wise`` over the number of tests. After ``fail_sessions`` failed sessions on end it is
    demoted, after ``pass_sessions`` passed ones on end it is back. The null distributions are
    simulated with ``draws`` draws from ``seed``; the size of losses beyond the VaR is taken from a
    Student distribution with ``tail_nu`` degrees of freedom.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preferred: tuple[VarMethod, ...] = (
        VarMethod.FILTERED,
        VarMethod.STUDENT,
        VarMethod.HISTORICAL,
        VarMethod.NORMAL,
    )
    windows: tuple[Annotated[int, Field(ge=100)], ...] = (250, 1000)
    family_wise: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    fail_sessions: Annotated[int, Field(ge=1)] = 5
    pass_sessions: Annotated[int, Field(ge=1)] = 20
    lags: Annotated[int, Field(ge=1, le=10)] = 4
    tail_nu: Annotated[float, Field(gt=2.0)] = 4.0
    draws: Annotated[int, Field(ge=1_000)] = 20_000
    seed: int = 20090914

    @field_validator("preferred")
    @classmethod
    def _are_distinct(cls, preferred: tuple[VarMethod, ...]) -> tuple[VarMethod, ...]:
        if not preferred or len(set(preferred)) != len(preferred):
            raise ValueError("preferred 에는 VaR 방법을 하나 이상, 겹치지 않게 적어야 합니다")
        return preferred


class Zone(StrEnum):
    """The traffic light of the Basel Committee (1996)."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One test: its value, the asymptotic p-value where there is one, the simulated one."""

    value: float
    asymptotic: float
    simulated: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VarBacktest:
    """All tests of one method over one window of sessions."""

    sessions: int
    hits: int
    expected: float
    coverage: Statistic
    independence: Statistic
    conditional_coverage: Statistic
    dynamic_quantile: Statistic
    shortfall_given_hits: Statistic
    shortfall: Statistic
    zone: Zone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What the tests made of the methods after each session.

    ``champion`` holds the index in ``METHODS`` of the method in force once the outcome of that
    row is known (``NO_CHAMPION`` when all are demoted), ``demoted`` and ``p_values`` have shape
    ``(n_sessions, 4)``; a p-value is already multiplied by the number of tests, NaN before the
    shortest window is full.
    """

    champion: IntArray
    demoted: BoolArray
    p_values: FloatArray


# --- single tests ---------------------------------------------------------------------------------


@njit(cache=True)
def kupiec(hits: int, n: int, share: float) -> float:
    r"""Return the likelihood ratio of the share of hits (proportion of failures, POF).

    .. math:: LR = -2\ln\frac{(1-p)^{n-x}p^x}{(1-x/n)^{n-x}(x/n)^x} \sim \chi^2_1

    References
    ----------
    .. [1] Kupiec, P. (1995). "Techniques for Verifying the Accuracy of Risk Measurement Models."
       Journal of Derivatives, 3(2), 73-84.
    """
    free = _binomial_log(hits, n, hits / n)
    return max(-2.0 * (_binomial_log(hits, n, share) - free), 0.0)


@njit(cache=True)
def independence(hits: BoolArray) -> float:
    r"""Return the likelihood ratio against first-order dependence of hits.

    Over the ``n - 1`` pairs of neighbouring sessions, asymptotically :math:`\chi^2_1`. Its sum with
    ``kupiec`` over all ``n`` is the test of conditional coverage, :math:`\chi^2_2`.

    References
    ----------
    .. [1] Christoffersen, P. (1998). "Evaluating Interval Forecasts." International Economic
       Review, 39(4), 841-862.
    """
    where = np.flatnonzero(hits)
    return _independence(where, 0, where.shape[0], 0, hits.shape[0])


def dynamic_quantile(hits: BoolArray, var: FloatArray, share: float, *, lags: int = 4) -> float:
    r"""Return the dynamic quantile statistic of hits.

    .. math:: DQ = \frac{\hat\beta' X'X \hat\beta}{p(1-p)} \sim \chi^2_{2+k}

    of the regression of :math:`I_t - p` on a constant, ``lags`` past hits and the VaR of the day.
    Columns without variation are left out.

    References
    ----------
    .. [1] Engle, R. and Manganelli, S. (2004). "CAViaR." Journal of Business & Economic
       Statistics, 22(4), 367-381.
    """
    return float(_dynamic_quantile(hits.astype(np.bool_), var, share, lags))


def shortfall_given_hits(outcomes: FloatArray, var: FloatArray, es: FloatArray) -> float:
    r"""Return Acerbi and Szekely's :math:`Z_1`: 0 expected, negative for losses beyond the ES.

    .. math:: Z_1 = 1 - \frac1{N}\sum_t \frac{-r_t I_t}{ES_t}

    NaN without a hit.
    """
    losses = -outcomes
    hits = losses > var
    count = int(np.count_nonzero(hits))
    if not count:
        return math.nan
    return 1.0 - float(np.sum(losses[hits] / es[hits])) / count


def shortfall(outcomes: FloatArray, var: FloatArray, es: FloatArray, share: float) -> float:
    r"""Return Acerbi and Szekely's :math:`Z_2`: 0 expected, negative for too many or too large.

    .. math:: Z_2 = 1 - \sum_t \frac{-r_t I_t}{n\,p\,ES_t}

    References
    ----------
    .. [1] Acerbi, C. and Szekely, B. (2014). "Backtesting Expected Shortfall." Risk, December.
    """
    losses = -outcomes
    hits = losses > var
    return 1.0 - float(np.sum(losses[hits] / es[hits])) / (len(outcomes) * share)


def basel_zone(hits: int, n: int = 250, share: float = 0.01) -> Zone:
    """Return the zone of a number of hits: yellow from 95 %, red from 99.99 % of the binomial.

    References
    ----------
    .. [1] Basel Committee (1996). "Supervisory Framework for the Use of Backtesting in
       Conjunction with the Internal Models Approach to Market Risk Capital Requirements."
    """
    from scipy.special import bdtr

    upto = float(bdtr(hits, n, share))
    if upto < 0.95:
        return Zone.GREEN
    return Zone.YELLOW if upto < 0.9999 else Zone.RED


# --- all tests of a window ------------------------------------------------------------------------


def backtest(
    outcomes: FloatArray,
    var: FloatArray,
    es: FloatArray,
    *,
    level: float,
    settings: DemotionSettings | None = None,
) -> VarBacktest:
    """Return every test of one method's forecasts over the given sessions.

    Parameters
    ----------
    outcomes, var, es : ndarray of shape (n_sessions,)
        Returns and, as positive losses, what had been forecast for each of them; without NaN.
    level : float
        Of the forecasts: 0.95 for a VaR that one session in twenty should exceed.
    """
    from scipy.special import chdtrc

    settings = DemotionSettings() if settings is None else settings
    n, share = len(outcomes), 1.0 - level
    hits = -outcomes > var
    count = int(np.count_nonzero(hits))
    tables = null_tables(n, level, settings)
    coverage = kupiec(count, n, share)
    pairs = independence(hits)
    both = coverage + pairs
    quantile = dynamic_quantile(hits, var, share, lags=settings.lags)
    given, whole = shortfall_given_hits(outcomes, var, es), shortfall(outcomes, var, es, share)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.random((settings.draws // 10, n)) < share
    quantiles = np.sort([float(_dynamic_quantile(one, var, share, settings.lags)) for one in drawn])
    ratios = _tail_ratios(level, settings.tail_nu)
    means = np.sort(rng.choice(ratios, (settings.draws // 10, max(count, 1))).mean(axis=1)) - 1.0
    return VarBacktest(
        sessions=n,
        hits=count,
        expected=n * share,
        coverage=Statistic(
            value=coverage,
            asymptotic=float(chdtrc(1, coverage)),
            simulated=float(tables.coverage[count]),
        ),
        independence=Statistic(
            value=pairs,
            asymptotic=float(chdtrc(1, pairs)),
            simulated=_upper_share(tables.independence, pairs),
        ),
        conditional_coverage=Statistic(
            value=both,
            asymptotic=float(chdtrc(2, both)),
            simulated=_upper_share(tables.conditional_coverage, both),
        ),
        dynamic_quantile=Statistic(
            value=quantile,
            asymptotic=float(chdtrc(settings.lags + 2, quantile)),
            simulated=_upper_share(quantiles, quantile),
        ),
        shortfall_given_hits=Statistic(
            value=given,
            asymptotic=math.nan,
            simulated=_upper_share(means, -given) if count else math.nan,
        ),
        shortfall=Statistic(
            value=whole,
            asymptotic=math.nan,
            simulated=_upper_share(tables.shortfall, -whole),
        ),
        zone=basel_zone(count, n, share),
    )


# --- which method is in force ---------------------------------------------------------------------


def champion_path(
    outcomes: FloatArray,
    forecasts: FloatArray,
    *,
    level: float,
    settings: DemotionSettings | None = None,
) -> IntArray:
    """Return the method in force after each session; see ``judge``."""
    return judge(outcomes, forecasts, level=level, settings=settings).champion


def judge(
    outcomes: FloatArray,
    forecasts: FloatArray,
    *,
    level: float,
    settings: DemotionSettings | None = None,
) -> Judgement:
    """Return which method is in force once the outcome of each session is known.

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        Returns of one portfolio, oldest first.
    forecasts : ndarray of shape (n_sessions, 4, 2)
        VaR and expected shortfall by each of ``METHODS`` for the outcome of that row, as
        ``var.forecast_path`` makes them. A row with NaN starts all windows anew.

    Returns
    -------
    Judgement
        Row ``t`` uses rows ``<= t`` only.

    Notes
    -----
    The four tests are the share of hits (exact, both sides), ``independence``, the dynamic
    quantile test on past hits alone (with the VaR as a further regressor its null distribution
    would have to be simulated anew each day) and ``shortfall``. Holm's procedure rejects anything
    at all exactly when Bonferroni's does, so the smallest p-value times the number of tests
    decides. A window counts once it is full.
    """
    settings = DemotionSettings() if settings is None else settings
    n = len(outcomes)
    tables = [null_tables(window, level, settings) for window in settings.windows]
    width = max(settings.windows) + 1
    coverage = np.ones((len(tables), width))
    for row, table in zip(coverage, tables, strict=True):
        row[: len(table.coverage)] = table.coverage
    p_values, demoted = _judge(
        np.ascontiguousarray(outcomes, dtype=np.float64),
        np.ascontiguousarray(forecasts, dtype=np.float64),
        1.0 - level,
        np.array(settings.windows, dtype=np.int64),
        coverage,
        np.stack([table.independence for table in tables]),
        np.stack([table.dynamic_quantile for table in tables]),
        np.stack([table.shortfall for table in tables]),
        settings.lags,
        settings.family_wise,
        settings.fail_sessions,
        settings.pass_sessions,
    )
    champion = np.full(n, NO_CHAMPION, dtype=np.int64)
    for method in reversed(settings.preferred):
        index = METHODS.index(method)
        champion[~demoted[:, index]] = index
    return Judgement(champion=champion, demoted=demoted, p_values=p_values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NullTables:
    """What the tests say of right forecasts: p-values by hits, and sorted statistics."""

    coverage: FloatArray
    independence: FloatArray
    conditional_coverage: FloatArray
    dynamic_quantile: FloatArray
    shortfall: FloatArray


@lru_cache(maxsize=8)
def null_tables(n: int, level: float, settings: DemotionSettings) -> NullTables:
    """Return the null distributions of the tests over ``n`` sessions.

    The share of hits is binomial and exact. The others are simulated: the sessions between
    hits are geometric, so only hits are drawn.
    """
    share = 1.0 - level
    rng = np.random.default_rng([settings.seed, n])
    most = math.ceil(n * share + 10.0 * math.sqrt(n * share) + 10.0)
    where = np.cumsum(rng.geometric(share, (settings.draws, most)), axis=1) - 1
    ratios = rng.choice(_tail_ratios(level, settings.tail_nu), where.shape)
    pairs, both, quantile, beyond = _null_statistics(where, ratios, n, share, settings.lags)
    return NullTables(
        coverage=_exact_coverage(n, share),
        independence=np.sort(pairs),
        conditional_coverage=np.sort(both),
        dynamic_quantile=np.sort(quantile),
        shortfall=np.sort(beyond),
    )


def _exact_coverage(n: int, share: float) -> FloatArray:
    """Return the p-value of each number of hits: the probability of so unlikely a ratio."""
    from scipy.special import bdtr

    upto = bdtr(np.arange(n + 1), n, share)
    probability = np.diff(upto, prepend=0.0)
    ratio = np.round([kupiec(x, n, share) for x in range(n + 1)], _DIGITS)
    order = np.argsort(-ratio, kind="stable")
    reached = np.cumsum(probability[order])
    p_values = np.empty(n + 1)
    # Ties share the probability of all that are as unlikely.
    last = np.searchsorted(-ratio[order], -ratio[order], side="right") - 1
    p_values[order] = np.minimum(reached[last], 1.0)
    return p_values


@lru_cache(maxsize=8)
def _tail_ratios(level: float, nu: float) -> FloatArray:
    """Return losses beyond the VaR over the expected shortfall, at equal steps of probability."""
    from scipy.special import stdtrit

    steps = (np.arange(_TAIL_STEPS) + 0.5) / _TAIL_STEPS
    ratios: FloatArray = -stdtrit(nu, (1.0 - level) * steps) / student_tail(nu, level)[1]
    return ratios


_TAIL_STEPS: Final = 65_536


def _upper_share(table: FloatArray, statistic: float) -> float:
    return float(_p_value(table, statistic))


# --- compiled -------------------------------------------------------------------------------------


@njit(cache=True)
def _binomial_log(hits: int, n: int, share: float) -> float:
    result = 0.0
    if hits > 0:
        result += hits * math.log(share)
    if hits < n:
        result += (n - hits) * math.log1p(-share)
    return result


@njit(cache=True)
def _p_value(table: FloatArray, statistic: float) -> float:
    """Return the share of a sorted table, and of the statistic itself, that is as large."""
    above = table.shape[0] - np.searchsorted(table, statistic - 10.0**-_DIGITS)
    return float((above + 1.0) / (table.shape[0] + 1.0))


@njit(cache=True)
def _independence(where: IntArray, low: int, high: int, first: int, stop: int) -> float:
    """Return the likelihood ratio over sessions ``first`` to ``stop`` with hits ``low`` to ``high``.

    ``where`` holds the sessions of all hits in order.
    """
    hits = high - low
    pairs = stop - first - 1
    after_hit, hit_to_hit = hits, 0
    if hits > 0 and where[high - 1] == stop - 1:
        after_hit -= 1
    for k in range(low + 1, high):
        hit_to_hit += where[k] == where[k - 1] + 1
    into_hit = hits
    if hits > 0 and where[low] == first:
        into_hit -= 1
    after_quiet = pairs - after_hit
    quiet_to_hit = into_hit - hit_to_hit
    ratio = -_binomial_log(into_hit, pairs, into_hit / pairs) if pairs > 0 else 0.0
    if after_hit > 0:
        ratio += _binomial_log(hit_to_hit, after_hit, hit_to_hit / after_hit)
    if after_quiet > 0:
        ratio += _binomial_log(quiet_to_hit, after_quiet, quiet_to_hit / after_quiet)
    return max(2.0 * ratio, 0.0)


@njit(cache=True)
def _lagged_quantile(
    where: IntArray, low: int, high: int, first: int, stop: int, share: float, lags: int
) -> float:
    """Return the dynamic quantile statistic on past hits alone, from the places of hits."""
    size = lags + 1
    cross = np.zeros((size, size))
    side = np.zeros(size)
    begin = first + lags
    cross[0, 0] = stop - begin
    side[0] = -share * (stop - begin)
    for k in range(low, high):
        if where[k] >= begin:
            side[0] += 1.0
        for lag in range(1, size):
            t = where[k] + lag
            if t < begin or t >= stop:
                continue
            cross[0, lag] += 1.0
            side[lag] -= share
            # Later hits within reach: at t itself, or between the hit and t.
            for other in range(k, high):
                if where[other] > t:
                    break
                behind = t - where[other]
                if behind == 0:
                    side[lag] += 1.0
                else:
                    cross[behind, lag] += 1.0
    return _explained(cross, side) / (share * (1.0 - share))


@njit(cache=True)
def _dynamic_quantile(hits: BoolArray, var: FloatArray, share: float, lags: int) -> float:
    n = hits.shape[0]
    size = lags + 2
    cross = np.zeros((size, size))
    side = np.zeros(size)
    row = np.zeros(size)
    # Centred and scaled, so that one threshold tells a column without variation.
    mean, scale = var.mean(), var.std()
    for t in range(lags, n):
        row[0] = 1.0
        for lag in range(1, lags + 1):
            row[lag] = hits[t - lag]
        row[lags + 1] = (var[t] - mean) / scale if scale > 1e-12 * abs(mean) else 0.0
        error = (1.0 if hits[t] else 0.0) - share
        for i in range(size):
            if row[i] != 0.0:
                side[i] += row[i] * error
                for j in range(i, size):
                    cross[i, j] += row[i] * row[j]
    return _explained(cross, side) / (share * (1.0 - share))


@njit(cache=True)
def _explained(cross: FloatArray, side: FloatArray) -> float:
    """Return the squares that a regression explains, from the upper normal equations.

    Elimination in order: a column that earlier ones already span has no pivot and adds nothing.
    """
    size = side.shape[0]
    total = 0.0
    for i in range(size):
        pivot = cross[i, i]
        if pivot <= 1e-9:
            continue
        total += side[i] * side[i] / pivot
        for j in range(i + 1, size):
            factor = cross[i, j] / pivot
            if factor != 0.0:
                side[j] -= factor * side[i]
                for k in range(j, size):
                    cross[j, k] -= factor * cross[i, k]
    return total


@njit(cache=True, nogil=True)
def _null_statistics(
    where: IntArray, ratios: FloatArray, n: int, share: float, lags: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    draws = where.shape[0]
    pairs, both = np.empty(draws), np.empty(draws)
    quantile, beyond = np.empty(draws), np.empty(draws)
    for d in range(draws):
        hits = int(np.searchsorted(where[d], n))
        pairs[d] = _independence(where[d], 0, hits, 0, n)
        both[d] = pairs[d] + kupiec(hits, n, share)
        quantile[d] = _lagged_quantile(where[d], 0, hits, 0, n, share, lags)
        total = 0.0
        for k in range(hits):
            total += ratios[d, k]
        beyond[d] = total / (n * share) - 1.0
    return pairs, both, quantile, beyond


@njit(cache=True, nogil=True)
def _judge(  # type: ignore[no-untyped-def] # numba infers every type; the caller above is typed
    outcomes,
    forecasts,
    share,
    windows,
    coverage,
    pairs,
    quantiles,
    shortfalls,
    lags,
    family_wise,
    fail_sessions,
    pass_sessions,
):
    """Return ``(p_values, demoted)`` of shape ``(n_sessions, n_methods)``."""
    n, n_methods = forecasts.shape[0], forecasts.shape[1]
    p_values = np.full((n, n_methods), math.nan)
    demoted = np.zeros((n, n_methods), dtype=np.bool_)
    where = np.empty(n, dtype=np.int64)
    ratios = np.empty(n)
    lows = np.empty(windows.shape[0], dtype=np.int64)
    for m in range(n_methods):
        high, start, failed, passed = 0, 0, 0, 0
        is_out = False
        lows[:] = 0
        for t in range(n):
            var, es = forecasts[t, m, 0], forecasts[t, m, 1]
            loss = -outcomes[t]
            if math.isnan(var) or math.isnan(es) or math.isnan(loss):
                start = t + 1
            elif loss > var:
                where[high] = t
                # Who forecast no loss at all was wrong beyond measure.
                ratios[high] = loss / es if es > 0.0 else math.inf
                high += 1
            smallest, tests = 1.0, 0
            for w in range(windows.shape[0]):
                first = t + 1 - windows[w]
                if first < start:
                    continue
                while lows[w] < high and where[lows[w]] < first:
                    lows[w] += 1
                low = lows[w]
                total = 0.0
                for k in range(low, high):
                    total += ratios[k]
                tests += 4
                smallest = min(
                    smallest,
                    coverage[w, high - low],
                    _p_value(pairs[w], _independence(where, low, high, first, t + 1)),
                    _p_value(
                        quantiles[w],
                        _lagged_quantile(where, low, high, first, t + 1, share, lags),
                    ),
                    _p_value(shortfalls[w], total / (windows[w] * share) - 1.0),
                )
            if tests:
                p_values[t, m] = min(smallest * tests, 1.0)
                if p_values[t, m] <= family_wise:
                    failed, passed = failed + 1, 0
                else:
                    failed, passed = 0, passed + 1
                if failed >= fail_sessions:
                    is_out = True
                elif passed >= pass_sessions:
                    is_out = False
            demoted[t, m] = is_out
    return p_values, demoted
