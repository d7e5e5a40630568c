"""How much of the wished portfolio may be held, and what it is exposed to.

The factor on all weights follows volatility, drawdown and VaR, and is never above 1: a cash account
borrows nothing. Caps on names and sectors are ``risk.limits``; the size of one position is
``allocation.sizing``.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Final

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.allocation.risk_parity import risk_contributions
from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.risk.var import portfolio_outcomes

# Like scores: the last bit never decides between holding and trading.
_PER_UNIT: Final = 1e9


class DrawdownStep(BaseModel):
    """From this drawdown on (fraction of the peak) the factor is at most ``factor``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drawdown: Annotated[float, Field(gt=0.0, lt=1.0)]
    factor: Annotated[float, Field(ge=0.0, le=1.0)]


class ExposureSettings(BaseModel):
    """How the exposure of the whole portfolio is controlled (``risk.yaml: exposure``).

    ``annual_volatility_target`` bounds the portfolio's volatility, measured over the VaR's window
    with weights that halve every ``half_life_sessions`` (``null`` for equal weights). The VaR cap
    is ``max_portfolio_var``. The factor falls at once; it rises by at most ``max_rise`` a session
    and only when volatility and VaR leave ``band`` to spare and the drawdown is ``band`` times
    its step above the step that it left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annual_volatility_target: Annotated[float, Field(gt=0.0)] = 0.20
    half_life_sessions: Annotated[float, Field(gt=0.0)] | None = 20.0
    drawdown_ladder: tuple[DrawdownStep, ...] = (
        DrawdownStep(drawdown=0.05, factor=0.75),
        DrawdownStep(drawdown=0.10, factor=0.50),
    )
    band: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.10
    max_rise: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05

    @model_validator(mode="after")
    def _descends(self) -> "ExposureSettings":
        steps = [(step.drawdown, -step.factor) for step in self.drawdown_ladder]
        if any(a[0] >= b[0] or a[1] >= b[1] for a, b in pairwise(steps)):
            raise ValueError("drawdown_ladder 는 낙폭이 커질수록 계수가 작아져야 합니다")
        return self

    @cached_property
    def ladder(self) -> FloatArray:
        """Return the ladder as ``(n_steps, 2)``: drawdown and factor, mildest first."""
        return np.array(
            [[step.drawdown, step.factor] for step in self.drawdown_ladder], dtype=np.float64
        ).reshape(-1, 2)


@njit(cache=True)
def exposure(
    previous: float,
    annual_volatility: float,
    drawdown: float,
    var: float,
    volatility_target: float,
    max_var: float,
    ladder: FloatArray,
    band: float,
    max_rise: float,
) -> float:
    r"""Return the factor on all weights for this session, between 0 and 1.

    .. math:: g = \min\!\left(1, \frac{\sigma^*}{\sigma}, \frac{V^*}{V}, \ell(d)\right), \qquad
              g^- = \min\!\left(1, \frac{\sigma^*}{(1+b)\sigma}, \frac{V^*}{(1+b)V},
              \ell\big((1+b)\,d\big)\right)

    Parameters
    ----------
    previous : float
        The factor of the session before; 1 at the very first.
    annual_volatility, var : float
        Of the weights as they would be with factor 1.
    drawdown : float
        Of the account from its peak, as a positive fraction.
    ladder : ndarray of shape (n_steps, 2)
        Drawdown and factor of each step, mildest first.
    band, max_rise : float
        See ``ExposureSettings``.

    Returns
    -------
    float
        ``g`` when ``previous`` is above it; at most ``previous + max_rise`` and at most ``g^-``
        when it is below ``g^-``; else ``previous``. A measure that is NaN forbids any rise: what
        cannot be measured is not enlarged.
    """
    bound = min(
        1.0,
        _share(volatility_target, annual_volatility),
        _share(max_var, var),
        _rung(ladder, drawdown),
    )
    wide = 1.0 + band
    roomy = min(
        1.0,
        _share(volatility_target, wide * annual_volatility),
        _share(max_var, wide * var),
        _rung(ladder, wide * drawdown),
    )
    is_known = not (math.isnan(annual_volatility) or math.isnan(var) or math.isnan(drawdown))
    factor = previous
    if previous > bound:
        factor = bound
    elif is_known and previous < roomy:
        factor = min(roomy, previous + max_rise)
    return math.floor(factor * _PER_UNIT + 0.5) / _PER_UNIT


@njit(cache=True)
def portfolio_volatility(outcomes: FloatArray, half_life: float, min_sessions: int) -> float:
    r"""Return the volatility per session of what today's weights made of past sessions.

    .. math:: \sigma = \sqrt{\frac{\sum_i \lambda^i x_{t-i}^2}{\sum_i \lambda^i}}, \qquad
              \lambda = 2^{-1/H}

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        From ``var.portfolio_outcomes``, oldest first. The mean counts as 0.
    half_life : float
        ``H`` in sessions; infinite for equal weights.

    Returns
    -------
    float
        NaN with fewer than ``min_sessions`` outcomes. Annualize by the calendar's own sessions.
    """
    n = outcomes.shape[0]
    if n == 0 or n < min_sessions:
        return math.nan
    decay = 0.5 ** (1.0 / half_life)
    squares, weights = 0.0, 0.0
    for t in range(n):
        squares = decay * squares + outcomes[t] * outcomes[t]
        weights = decay * weights + 1.0
    return math.sqrt(squares / weights)


@njit(cache=True)
def _share(allowed: float, found: float) -> float:
    """Return ``allowed / found``; 1 where nothing, or nothing measurable, is found."""
    return allowed / found if found > allowed else 1.0


@njit(cache=True)
def _rung(ladder: FloatArray, drawdown: float) -> float:
    factor = 1.0
    for step in range(ladder.shape[0]):
        if drawdown >= ladder[step, 0]:
            factor = ladder[step, 1]
    return factor


# --- what it is exposed to ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorExposure:
    """How a portfolio moved with factors. Arrays have one entry a factor, in ``names``' order.

    ``beta`` and ``error`` (its standard error) are NaN for a factor without enough returns.
    ``contribution`` is the share of the portfolio's variance that goes along with the factor;
    with ``specific``, what no factor explains, it sums to 1. ``sessions`` is how many were used,
    ``annual_volatility`` that of the portfolio over them.
    """

    names: tuple[str, ...]
    beta: FloatArray
    error: FloatArray
    contribution: FloatArray
    specific: float
    sessions: int
    annual_volatility: float


def sector_weights(weights: FloatArray, sectors: IntArray, n_sectors: int) -> FloatArray:
    """Return the weight in each sector and, last, in names of no known sector (code -1)."""
    totals = np.zeros(n_sectors + 1)
    for weight, sector in zip(weights.tolist(), sectors.tolist(), strict=True):
        totals[sector] += weight
    return totals


@njit(cache=True, nogil=True)
def factor_returns(
    returns: FloatArray, scores: FloatArray, tradable: BoolArray, share: float, min_names: int
) -> FloatArray:
    """Return what a factor earned each session: its best names less its worst, equally weighted.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions, n_instruments)
        Simple returns; NaN where there was none.
    scores : ndarray of shape (n_sessions, n_instruments)
        The factor's score at the close of each row; NaN leaves a name out.
    tradable : ndarray of shape (n_sessions, n_instruments)
        Only names tradable when they were ranked take part.
    share : float
        Of the ranked names on each side: 0.3 for the usual three portfolios.

    Returns
    -------
    ndarray of shape (n_sessions,)
        Row ``t`` ranks by row ``t - 1`` and earns row ``t``. NaN with fewer than ``min_names``
        ranked names. Ties go to the earlier column; a name halted on the day earned nothing.
    """
    n_sessions, n = returns.shape
    result = np.full(n_sessions, math.nan)
    place = np.empty(n, dtype=np.int64)
    score = np.empty(n)
    for t in range(1, n_sessions):
        count = 0
        for i in range(n):
            if tradable[t - 1, i] and not math.isnan(scores[t - 1, i]):
                place[count] = i
                score[count] = -math.floor(scores[t - 1, i] * _PER_UNIT + 0.5)
                count += 1
        side = math.floor(share * count + 1e-9)
        if count < min_names or side < 1:
            continue
        order = np.argsort(score[:count], kind="mergesort")
        best, worst = 0.0, 0.0
        for k in range(side):
            gain = returns[t, place[order[k]]]
            loss = returns[t, place[order[count - 1 - k]]]
            best += 0.0 if math.isnan(gain) else gain
            worst += 0.0 if math.isnan(loss) else loss
        result[t] = (best - worst) / side
    return result


def factor_exposure(
    outcomes: FloatArray,
    factors: dict[str, FloatArray],
    *,
    sessions_per_year: int,
    min_sessions: int = 60,
) -> FactorExposure:
    r"""Return the betas of a portfolio on factors and what each adds to its variance.

    .. math:: r_t = a + \sum_k \beta_k f_{kt} + \varepsilon_t, \qquad
              \sigma^2(r) = \sum_k \beta_k\,\mathrm{Cov}(f_k, r) + \sigma^2(\varepsilon)

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        What today's weights made of past sessions (``var.portfolio_outcomes``).
    factors : dict of str to ndarray of shape (n_sessions,)
        Returns of the market and of ``factor_returns``; NaN where there is none.
    min_sessions : int
        A factor with fewer returns is left out; only sessions that all others have are used.

    Raises
    ------
    ValueError
        If a factor has not one return for each outcome.
    """
    names = tuple(factors)
    for name in names:
        if len(factors[name]) != len(outcomes):
            raise ValueError(f"need {len(outcomes)} returns of {name}, got {len(factors[name])}")
    empty = np.full(len(names), math.nan)
    beta, error, contribution = empty.copy(), empty.copy(), empty.copy()
    kept = [k for k, name in enumerate(names) if np.isfinite(factors[name]).sum() >= min_sessions]
    known = np.isfinite(outcomes)
    for k in kept:
        known &= np.isfinite(factors[names[k]])
    n, width = int(known.sum()), len(kept)
    y = outcomes[known] - _mean(outcomes[known])
    total = _dot(y, y)
    if n < max(min_sessions, width + 2) or not total > 0.0:
        return FactorExposure(
            names=names,
            beta=beta,
            error=error,
            contribution=contribution,
            specific=math.nan,
            sessions=n,
            annual_volatility=math.sqrt(total / (n - 1) * sessions_per_year) if n > 1 else math.nan,
        )
    columns = [factors[names[k]][known] - _mean(factors[names[k]][known]) for k in kept]
    cross = np.array([[_dot(a, b) for b in columns] for a in columns]).reshape(width, width)
    side = np.array([_dot(a, y) for a in columns])
    # Factors that move alike share their beta instead of blowing it up.
    inverse = np.linalg.pinv(cross, hermitian=True)
    slopes = inverse @ side
    residual = max(total - float(np.sum(slopes * side)), 0.0)
    spread = residual / (n - width - 1)
    beta[kept] = slopes
    error[kept] = np.sqrt(np.maximum(np.diag(inverse) * spread, 0.0))
    contribution[kept] = slopes * side / total
    return FactorExposure(
        names=names,
        beta=beta,
        error=error,
        contribution=contribution,
        specific=residual / total,
        sessions=n,
        annual_volatility=math.sqrt(total / (n - 1) * sessions_per_year),
    )


def variance_contributions(weights: FloatArray, returns: FloatArray) -> FloatArray:
    """Return each name's share of the variance of today's weights over past returns.

    They sum to 1. Weights and returns as in ``var.portfolio_outcomes`` (NaN counts as 0). All 0
    for a portfolio without variance.
    """
    if len(returns) == 0 or np.std(portfolio_outcomes(weights, returns)) <= 1e-12:
        return np.zeros(len(weights))
    matrix = np.atleast_2d(np.cov(np.nan_to_num(returns), rowvar=False, ddof=0))
    return risk_contributions(weights, matrix)


def _mean(values: FloatArray) -> float:
    return float(np.sum(values)) / max(len(values), 1)


def _dot(a: FloatArray, b: FloatArray) -> float:
    return float(np.sum(a * b))
