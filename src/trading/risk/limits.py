"""Whether the portfolio is allowed: caps, exposure and loss limits, as one compiled function.

Whether one order may leave at this moment is ``risk.guards``.
"""

from typing import Annotated

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Verdict
from trading.risk.backtests import DemotionSettings
from trading.risk.exposure import ExposureSettings
from trading.risk.scenarios import ScenarioSettings
from trading.risk.var import VarSettings

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]

_ALLOWED = int(Verdict.ALLOWED)
_SINGLE_NAME = int(Verdict.CAP_SINGLE_NAME)
_SECTOR = int(Verdict.CAP_SECTOR)
_GROSS = int(Verdict.CAP_GROSS)
_PORTFOLIO_VAR = int(Verdict.CAP_PORTFOLIO_VAR)
_DRAWDOWN = int(Verdict.CAP_DRAWDOWN)
_DAILY_LOSS = int(Verdict.DAILY_LOSS)
_REDUCING = int(Verdict.REDUCING)
_HALTED = int(Verdict.HALTED)

# States as the compiled functions know them; ``execution.engine`` maps them to TradingState.
ACTIVE, REDUCING, HALTED = 0, 1, 2


class GuardSettings(BaseModel):
    """Limits of a single order at the moment it leaves (``risk.yaml: guards``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_order_share: Fraction
    max_orders_per_minute: Annotated[int, Field(gt=0)]
    max_price_deviation: Fraction
    stale_seconds: Annotated[float, Field(gt=0.0)]


class RiskSettings(BaseModel):
    """Contents of ``risk.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_single_name: Fraction
    max_sector: Fraction
    max_gross: Fraction
    max_portfolio_var: Fraction
    var_level: Annotated[float, Field(gt=0.5, lt=1.0)]
    var_window_sessions: Annotated[int, Field(ge=20)]
    var_min_sessions: Annotated[int, Field(ge=20)]
    max_daily_loss: Fraction
    max_drawdown: Fraction
    drawdown_cooldown_sessions: Annotated[int, Field(ge=1)]
    max_adv_share: Fraction
    adv_sessions: Annotated[int, Field(ge=1)]
    var: VarSettings = VarSettings()
    demotion: DemotionSettings = DemotionSettings()
    exposure: ExposureSettings = ExposureSettings()
    scenarios: ScenarioSettings = ScenarioSettings()
    guards: GuardSettings

    @model_validator(mode="after")
    def _order_fits_the_name(self) -> "RiskSettings":
        if self.guards.max_order_share < self.max_single_name:
            raise ValueError("guards.max_order_share 는 max_single_name 보다 작을 수 없습니다")
        return self


@njit(cache=True)
def breach(
    equity: int, previous_equity: int, peak: int, max_daily_loss: float, max_drawdown: float
) -> int:
    """Return the verdict code of the loss limit that is broken, or ``ALLOWED``.

    Daily loss counts from the previous close, drawdown from ``peak``; both as marked now.
    """
    if equity <= peak * (1.0 - max_drawdown):
        return _DRAWDOWN
    if equity <= previous_equity * (1.0 - max_daily_loss):
        return _DAILY_LOSS
    return _ALLOWED


@njit(cache=True)
def cap_weights(
    weights: FloatArray,
    sectors: IntArray,
    max_single_name: float,
    max_sector: float,
    max_gross: float,
) -> tuple[FloatArray, IntArray]:
    """Return ``(weights, verdicts)`` after the single-name, sector and gross caps, in that order.

    ``sectors`` holds a code an instrument, -1 where no source names one (never capped by sector).
    """
    n = weights.shape[0]
    capped = weights.copy()
    verdicts = np.zeros(n, dtype=np.int64)
    for i in range(n):
        if capped[i] > max_single_name:
            capped[i] = max_single_name
            verdicts[i] = _SINGLE_NAME
    for s in range(sectors.max() + 1 if n else 0):
        total = 0.0
        for i in range(n):
            if sectors[i] == s:
                total += capped[i]
        if total > max_sector:
            for i in range(n):
                if sectors[i] == s and capped[i] > 0.0:
                    capped[i] *= max_sector / total
                    verdicts[i] = _SECTOR
    gross = 0.0
    for i in range(n):
        gross += capped[i]
    if gross > max_gross:
        for i in range(n):
            if capped[i] > 0.0:
                capped[i] *= max_gross / gross
                verdicts[i] = _GROSS
    return capped, verdicts


@njit(cache=True)
def limit(
    weights: FloatArray,
    verdicts: IntArray,
    held_weights: FloatArray,
    portfolio_var: float,
    state: int,
    max_portfolio_var: float,
) -> tuple[FloatArray, IntArray]:
    """Return ``(weights, verdicts)`` that the portfolio may have in ``state``.

    Parameters
    ----------
    weights : ndarray of shape (n_instruments,)
        Weights after ``cap_weights``; ``portfolio_var`` is the one-day VaR of exactly these.
    held_weights : ndarray of shape (n_instruments,)
        What is held now; in ``REDUCING`` nothing may rise above it, in ``HALTED`` nothing moves.
    """
    n = weights.shape[0]
    allowed = weights.copy()
    codes = verdicts.copy()
    if portfolio_var > max_portfolio_var:
        for i in range(n):
            if allowed[i] > 0.0:
                allowed[i] *= max_portfolio_var / portfolio_var
                codes[i] = _PORTFOLIO_VAR
    for i in range(n):
        if state == HALTED:
            allowed[i] = held_weights[i]
            codes[i] = _HALTED
        elif state == REDUCING and allowed[i] > held_weights[i]:
            allowed[i] = held_weights[i]
            codes[i] = _REDUCING
    return allowed, codes


@njit(cache=True)
def next_state(
    equity: int,
    peak: int,
    cooldown: int,
    max_drawdown: float,
    cooldown_sessions: int,
) -> tuple[int, int, int]:
    """Return ``(state, peak, cooldown)`` at the start of a session, before its decision.

    A drawdown from the peak beyond its limit puts the account into ``REDUCING`` for
    ``cooldown_sessions``; then the peak starts again from the equity of that day, because a
    portfolio that was sold can never earn its old peak back.
    """
    if cooldown > 0:
        cooldown -= 1
        if cooldown > 0:
            return REDUCING, peak, cooldown
        peak = equity
    peak = max(peak, equity)
    if equity <= peak * (1.0 - max_drawdown):
        return REDUCING, peak, cooldown_sessions
    return ACTIVE, peak, 0


@njit(cache=True)
def weights_held(quantity: IntArray, price: IntArray, equity: int) -> FloatArray:
    """Return holdings as shares of equity at ``price``."""
    result = np.zeros(quantity.shape[0])
    if equity > 0:
        for i in range(quantity.shape[0]):
            result[i] = quantity[i] * price[i] / equity
    return result
