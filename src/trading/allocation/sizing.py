"""How large a position is wished before limits, and the settings of the whole allocation."""

from enum import IntEnum
from typing import Annotated

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trading.allocation.optimize import AllocationMethod, OptimizerSettings
from trading.domain.arrays import BoolArray, FloatArray

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class SizingMethod(IntEnum):
    """How members get their weights; the file names them in lower case.

    The first three size each position by itself; the others are ``optimize.AllocationMethod``
    and look at all members together.
    """

    VOLATILITY = 0
    ATR = 1
    KELLY = 2
    MINIMUM_VARIANCE = 3
    MEAN_VARIANCE = 4
    EQUAL_RISK = 5
    HIERARCHICAL = 6
    MINIMUM_CVAR = 7
    BLACK_LITTERMAN = 8

    @property
    def optimized(self) -> AllocationMethod | None:
        """The method that looks at all members together, or ``None``."""
        if self <= SizingMethod.KELLY:
            return None
        return AllocationMethod(self.name.lower())


_ATR = int(SizingMethod.ATR)
_KELLY = int(SizingMethod.KELLY)


class EnsembleSettings(BaseModel):
    """How the votes of the agents become one forecast (``allocation.yaml: ensemble``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry_forecast: Fraction
    exit_forecast: Annotated[float, Field(ge=-1.0, le=1.0)]
    min_confidence: Fraction
    max_entry_var: Fraction
    regime_action: str = Field(pattern="^(block_new|scale|off)$")
    regime_scales: dict[str, Fraction]


class SizingSettings(BaseModel):
    """How large a position is wished (``allocation.yaml: sizing``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: SizingMethod = SizingMethod.VOLATILITY
    volatility_target: Annotated[float, Field(gt=0.0)] = 0.03
    atr_risk: Annotated[float, Field(gt=0.0, le=0.1)] = 0.005
    atr_multiple: Annotated[float, Field(gt=0.0)] = 2.0
    # More than a quarter of Kelly's bet is a bet on knowing the mean.
    kelly_fraction: Annotated[float, Field(gt=0.0, le=0.25)] = 0.25

    @field_validator("method", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if isinstance(value, str):
            named = {method.name.lower(): method for method in SizingMethod}
            if value not in named:
                raise ValueError(f"sizing.method 는 {', '.join(named)} 가운데 하나여야 합니다")
            return named[value]
        return value


class AllocationSettings(BaseModel):
    """Contents of ``allocation.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ensemble: EnsembleSettings
    sizing: SizingSettings
    optimizer: OptimizerSettings = OptimizerSettings()
    trade_cost_bps: Annotated[float, Field(ge=0.0)] = 15.0
    no_trade_band: Fraction
    cash_buffer: Fraction
    resize: str = Field(pattern="^(monthly|daily)$")


@njit(cache=True)
def size(
    method: int,
    members: BoolArray,
    annual_volatility: FloatArray,
    atr: FloatArray,
    annual_expected: FloatArray,
    annual_error: FloatArray,
    volatility_target: float,
    atr_risk: float,
    atr_multiple: float,
    kelly_fraction: float,
) -> FloatArray:
    """Return the wished share of equity of each member by ``SizingMethod``; 0 for the others."""
    if method == _ATR:
        return atr_weights(members, atr, atr_risk, atr_multiple)
    if method == _KELLY:
        return kelly_weights(
            members, annual_expected, annual_error, annual_volatility, kelly_fraction
        )
    return volatility_weights(members, annual_volatility, volatility_target)


@njit(cache=True)
def volatility_weights(
    members: BoolArray, annual_volatility: FloatArray, target: float
) -> FloatArray:
    """Return weights that give each member the same annual volatility ``target`` of its own.

    Members without a known volatility get 0: nothing is sized by a guess.
    """
    weights = np.zeros(members.shape[0])
    for i in range(members.shape[0]):
        sigma = annual_volatility[i]
        weights[i] = target / sigma if members[i] and sigma > 0.0 else 0.0
    return weights


@njit(cache=True)
def atr_weights(members: BoolArray, atr: FloatArray, risk: float, multiple: float) -> FloatArray:
    """Return weights that lose ``risk`` of equity when a member falls by ``multiple`` ranges.

    ``atr`` is the average true range as a fraction of the price; unknown gives 0.
    """
    weights = np.zeros(members.shape[0])
    for i in range(members.shape[0]):
        if members[i] and atr[i] > 0.0:
            weights[i] = risk / (multiple * atr[i])
    return weights


@njit(cache=True)
def kelly_weights(
    members: BoolArray,
    expected: FloatArray,
    error: FloatArray,
    volatility: FloatArray,
    fraction: float,
) -> FloatArray:
    r"""Return :math:`f = c\,\hat\mu / (\hat\sigma^2 + se^2)`, never above a gross of 1.

    Parameters
    ----------
    expected, error : ndarray of shape (n_instruments,)
        Annual excess return and its standard error: what is not known of the mean counts as risk.
    volatility : ndarray of shape (n_instruments,)
        Annual volatility. A member without any of the three gets 0, as does a negative mean.
    fraction : float
        :math:`c`, at most a quarter.

    References
    ----------
    .. [1] Kelly, J. (1956). "A New Interpretation of Information Rate." Bell System Technical
       Journal, 35(4), 917-926.
    """
    weights = np.zeros(members.shape[0])
    gross = 0.0
    for i in range(members.shape[0]):
        if members[i] and expected[i] > 0.0 and volatility[i] > 0.0 and error[i] >= 0.0:
            weights[i] = fraction * expected[i] / (volatility[i] ** 2 + error[i] ** 2)
            gross += weights[i]
    if gross > 1.0:
        weights /= gross
    return weights
