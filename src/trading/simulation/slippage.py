r"""What a fill costs beyond its print: half the spread, and the account's own impact.

A replay shows prices that others traded at. An order that takes them pays the spread once more,
and moves the price by its own size. Per share, as a fraction of the price,

.. math:: s = s_0 + Y \sigma \sqrt{Q / V}

with half the spread :math:`s_0`, the daily volatility :math:`\sigma`, the shares :math:`Q` that
the order has traded, this fill included, and the average daily volume :math:`V`, all known before
the open. The square root is measured: its exponent is 0.60 with a coefficient near 0.14 for
temporary impact in [1]_, one half over a wide range of sizes and markets with :math:`Y` near 1
in [2]_. An order that waited at its limit until the price came gave liquidity and pays nothing.

References
----------
.. [1] Almgren, R., Thum, C., Hauptmann, E. and Li, H. (2005). "Direct Estimation of Equity Market
   Impact." Risk, 18(7), 58-62.
.. [2] Tóth, B. et al. (2011). "Anomalous Price Impact and the Critical Nature of Liquidity in
   Financial Markets." Physical Review X, 1(2), 021006.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np
from numba import njit
from pydantic import BaseModel, ConfigDict, Field

from trading.domain.arrays import FloatArray, IntArray
from trading.simulation.ticks import round_to_tick, tick_at

_BASIS_POINTS = 10_000

Bps = Annotated[float, Field(ge=0.0, le=1_000.0)]


class SlippageSettings(BaseModel):
    """What backtests of one market take off every fill (``execution.yaml: krx.slippage | us.slippage``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_spread_bps: Bps = 0.0
    half_spread_ticks: Annotated[int, Field(ge=0, le=100)] = 0
    auction_bps: Bps = 0.0
    impact: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0

    @property
    def is_off(self) -> bool:
        """Whether fills are made at the prices of the prints."""
        return self == SlippageSettings()

    @property
    def rates(self) -> "Rates":
        """The settings as the compiled functions know them."""
        return Rates(self.half_spread_bps, self.half_spread_ticks, self.auction_bps)


class Rates(NamedTuple):
    """What a fill costs before the account's own impact, as in ``SlippageSettings``."""

    half_spread_bps: float
    half_spread_ticks: int
    auction_bps: float


class Slippage(NamedTuple):
    """The slippage of one instrument in one session."""

    rates: Rates
    scale: float
    ladder: IntArray


def impact_scales(
    coefficient: float, annual_volatility: FloatArray, sessions_per_year: int, volume: IntArray
) -> FloatArray:
    """Return the impact of one share, as a fraction; that of ``n`` shares is √n times as large.

    Parameters
    ----------
    coefficient : float
        ``Y`` of the square-root law.
    annual_volatility, volume : ndarray of one shape
        Annualized volatility, and average shares a session. Where one of them is not known there
        is no impact to tell, and nothing is taken off.
    """
    known = (volume > 0) & (annual_volatility > 0.0)
    scales = np.zeros(volume.shape)
    daily = annual_volatility[known] / math.sqrt(sessions_per_year)
    scales[known] = coefficient * daily / np.sqrt(volume[known])
    return scales


@njit(cache=True)
def slipped(
    sign: int,
    price: int,
    traded: int,
    limit: int,
    is_auction: bool,
    rates: Rates,
    scale: float,
    ladder: IntArray,
    lower: int,
    upper: int,
) -> int:
    """Return the price of a fill at ``price`` after slippage, on the tick, against the account.

    Parameters
    ----------
    sign : int
        +1 for a buy, -1 for a sell.
    traded : int
        Shares of the order that have traded, this fill included.
    limit, lower, upper : int
        The order's limit and the price limits of the day (0 where there are none): never beyond.
    is_auction : bool
        Whether the print is the single price of an auction: nobody pays a spread there.
    """
    bps = rates.auction_bps if is_auction else rates.half_spread_bps
    away = price * (bps / _BASIS_POINTS + scale * math.sqrt(traded))
    if not is_auction:
        away += rates.half_spread_ticks * tick_at(price, ladder)
    if away <= 0.0:
        return price
    if sign > 0:
        worse = round_to_tick(math.ceil(price + away), ladder, True)
        if upper > 0:
            worse = min(worse, upper)
        return max(price, min(worse, limit))
    worse = max(round_to_tick(math.floor(price - away), ladder, False), lower)
    return min(price, max(worse, limit))
