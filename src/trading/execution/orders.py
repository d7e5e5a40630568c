"""How an order is priced and how long it lives, per market; the same in every environment."""

from enum import StrEnum
from typing import Annotated

from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.allocation.rebalance import limit_price
from trading.domain.arrays import IntArray
from trading.domain.instrument import Market
from trading.simulation.opening import buy_fee as buy_fee
from trading.simulation.slippage import SlippageSettings
from trading.strategies.base import ExitRules

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class OrderSettings(BaseModel):
    """One market's order policy (``execution.yaml: krx | us``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry_band: Fraction
    exit_band: Fraction
    stop_collar: Fraction
    participation: Annotated[float, Field(ge=0.0001, le=1.0)]
    preopen_minutes: Annotated[int, Field(ge=1)]
    slippage: SlippageSettings = SlippageSettings()


class ManualTrades(StrEnum):
    """What happens to orders that somebody placed by hand on the same account."""

    ADOPT = "adopt"
    QUARANTINE = "quarantine"


class FirstSessions(BaseModel):
    """Narrower limits of a real account's first sessions (``execution.yaml: first_sessions``).

    Fractions of equity. They stand beside the limits of ``risk.yaml`` and are no part of the
    policy that a walk-forward proves: while they count, the smaller of the two limits holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: Annotated[int, Field(ge=1)] = 20
    max_gross: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    max_single_name: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    max_order_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05

    @model_validator(mode="after")
    def _order_fits_the_name(self) -> "FirstSessions":
        # A name within its cap must be one order's worth, or a decision is refused at the gate.
        if self.max_order_share < self.max_single_name:
            raise ValueError("max_order_share 는 max_single_name 보다 작을 수 없습니다")
        return self


class ExecutionSettings(BaseModel):
    """Contents of ``execution.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manual_trades: ManualTrades = ManualTrades.ADOPT
    first_sessions: FirstSessions = FirstSessions()

    krx: OrderSettings
    us: OrderSettings
    exits: ExitRules

    def for_market(self, market: Market) -> OrderSettings:
        """Return the order policy of ``market``."""
        return self.krx if market is Market.KRX else self.us


@njit(cache=True)
def entry_order(
    price: int,
    budget: int,
    cash: int,
    collar: float,
    cash_buffer: float,
    buy_fee_ppb: int,
    lot: int,
    max_shares: int,
    ladder: IntArray,
    lower: int,
    upper: int,
) -> tuple[int, int]:
    """Return ``(limit, shares)`` of an entry that a print at ``price`` has triggered.

    A marketable limit ``collar`` above the print, and as many whole lots as ``budget`` and
    ``cash`` (less the buffer) pay for at that limit with fees; 0 shares when that is none.
    """
    limit = limit_price(price, collar, 1, ladder, lower, upper)
    unit = limit + buy_fee(limit, buy_fee_ppb)
    spendable = min(budget, int(cash * (1.0 - cash_buffer)))
    shares = max(0, min(spendable // unit, max_shares))
    return limit, shares // lot * lot
