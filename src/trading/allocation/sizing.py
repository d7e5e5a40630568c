"""How large a position is wished before limits, and the settings of the whole allocation."""

from typing import Annotated

from numba import njit
from pydantic import BaseModel, ConfigDict, Field

from trading.domain.arrays import BoolArray, FloatArray

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class EnsembleSettings(BaseModel):
    """How the votes of the agents become one forecast (``allocation.yaml: ensemble``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry_forecast: Fraction
    exit_forecast: Annotated[float, Field(ge=-1.0, le=1.0)]
    min_confidence: Fraction
    max_entry_var: Fraction
    agent_weights: dict[str, Annotated[float, Field(ge=0.0)]]
    regime_action: str = Field(pattern="^(block_new|scale|off)$")
    regime_scales: dict[str, Fraction]


class AllocationSettings(BaseModel):
    """Contents of ``allocation.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ensemble: EnsembleSettings
    name_volatility_target: Annotated[float, Field(gt=0.0)]
    no_trade_band: Fraction
    cash_buffer: Fraction
    resize: str = Field(pattern="^(monthly|daily)$")


@njit(cache=True)
def volatility_weights(
    members: BoolArray, annual_volatility: FloatArray, target: float
) -> FloatArray:
    """Return weights that give each member the same annual volatility ``target`` of its own.

    Members without a known volatility get 0: nothing is sized by a guess.
    """
    weights = annual_volatility * 0.0
    for i in range(members.shape[0]):
        sigma = annual_volatility[i]
        weights[i] = target / sigma if members[i] and sigma > 0.0 else 0.0
    return weights
