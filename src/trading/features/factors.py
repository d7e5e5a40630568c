"""Value, quality, momentum and growth: how each name compares with the others of its day.

What was public on a day is ``bars.facts``; the formulas are here, and nothing else is read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import FloatArray
from trading.features import statistics
from trading.features.cross_section import SCORE_DECIMALS, standard_score, winsorize
from trading.features.indicators import Bars

# Metrics of ``Facts.fundamentals`` that say of which day the others are, in days since 1970.
RATIOS_AS_OF = "ratios_as_of"
STATEMENTS_AS_OF = "statements_as_of"


class Measure(StrEnum):
    """What a factor can be made of; more is better in each."""

    BOOK_YIELD = "book_yield"
    EARNINGS_YIELD = "earnings_yield"
    DIVIDEND_YIELD = "dividend_yield"
    RETURN_ON_EQUITY = "return_on_equity"
    CASH_RETURN = "cash_return"
    GROSS_PROFITABILITY = "gross_profitability"
    LOW_DEBT = "low_debt"
    SALES_GROWTH = "sales_growth"
    EBITDA_GROWTH = "ebitda_growth"
    EARNINGS_GROWTH = "earnings_growth"
    PRICE_MOMENTUM = "price_momentum"


class FactorSettings(BaseModel):
    """What the factors are made of and how they weigh; commented in ``config/features.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: tuple[Measure, ...] = (
        Measure.BOOK_YIELD,
        Measure.EARNINGS_YIELD,
        Measure.DIVIDEND_YIELD,
    )
    quality: tuple[Measure, ...] = (
        Measure.RETURN_ON_EQUITY,
        Measure.CASH_RETURN,
        Measure.LOW_DEBT,
    )
    momentum: tuple[Measure, ...] = (Measure.PRICE_MOMENTUM,)
    growth: tuple[Measure, ...] = (
        Measure.SALES_GROWTH,
        Measure.EBITDA_GROWTH,
        Measure.EARNINGS_GROWTH,
    )
    value_weight: float = Field(default=0.25, ge=0)
    quality_weight: float = Field(default=0.25, ge=0)
    momentum_weight: float = Field(default=0.25, ge=0)
    growth_weight: float = Field(default=0.25, ge=0)
    winsor_quantile: float = Field(default=0.02, ge=0, lt=0.5)
    sector_neutral: bool = True
    min_names: int = Field(default=5, ge=2)
    momentum_window: int = Field(default=252, ge=3)
    momentum_skip: int = Field(default=21, ge=0)
    growth_window: int = Field(default=252, ge=1)
    max_age_days: int = Field(default=550, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> "FactorSettings":
        if self.momentum_skip >= self.momentum_window:
            raise ValueError("momentum_skip 은 momentum_window 보다 작아야 합니다")
        if not any(self.weights.values()):
            raise ValueError("팩터 가중치가 모두 0일 수는 없습니다")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each factor in the composite."""
        return {name: getattr(self, f"{name}_weight") for name in FACTORS}


FACTORS = ("value", "quality", "momentum", "growth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorScores:
    """Standard scores of shape ``(n_sessions, n_instruments)``, rounded to 1e-9; more is better.

    NaN where a name did not trade, where nothing was public of it, and in rows with too few
    names. ``sectors_of_the_day`` is false where sector means used a classification of later.
    """

    value: FloatArray
    quality: FloatArray
    momentum: FloatArray
    growth: FloatArray
    composite: FloatArray
    sectors_of_the_day: bool


def scores(bars: Bars, settings: FactorSettings) -> FactorScores:
    """Return the four factors and their composite.

    Each measure is clipped at its row's outer quantiles, freed of its sector's mean and scaled to
    a standard score, among the names that trade; a factor is the standard score of the mean of
    those of its measures that are there.

    Notes
    -----
    A factor without data is absent and its weight shared out among the others. The weighted sum
    is divided by the root of the sum of squared weights, not by their sum: a mean of four factors
    spreads less than a single one, and a name of which less is known would stand out for that.
    """
    found = {name: factor(bars, name, settings) for name in FACTORS}
    return FactorScores(
        **found,
        composite=composite(bars, settings),
        sectors_of_the_day=bars.facts.sectors_of_the_day or not settings.sector_neutral,
    )


def factor(bars: Bars, name: str, settings: FactorSettings) -> FloatArray:
    """Return the scores of one of ``FACTORS``; see ``scores``."""
    measures: Sequence[Measure] = getattr(settings, name)
    key = ("factor", name, settings)

    def standard(values: FloatArray) -> FloatArray:
        return _standard(values, bars, settings)

    return bars.grid(
        key, lambda: _mean_score([measure(bars, m, settings) for m in measures], standard)
    )


def composite(bars: Bars, settings: FactorSettings) -> FloatArray:
    """Return the weighted sum of the factors; see ``scores``."""
    return bars.grid(
        ("composite", settings),
        lambda: _composite({n: factor(bars, n, settings) for n in FACTORS}, settings.weights),
    )


def measure(bars: Bars, which: Measure, settings: FactorSettings) -> FloatArray:
    """Return one measure as it was known at each close, before any comparison with others.

    Yields are restated from the day the ratio was published on: the price has moved since, the
    figure has not.
    """
    return _FORMULAS[which](_Known(bars, settings))


class _Known:
    """The metrics of one panel, none of them older than allowed."""

    def __init__(self, bars: Bars, settings: FactorSettings) -> None:
        self.bars = bars
        self.settings = settings

    def ratio(self, name: str) -> FloatArray:
        """Return a yield at the price of its own day; NaN where that is too long ago."""
        return self._recent(name, RATIOS_AS_OF)

    def statement(self, name: str) -> FloatArray:
        """Return a figure of the statements; NaN where they are too old."""
        return self._recent(name, STATEMENTS_AS_OF)

    def restated(self, name: str) -> FloatArray:
        """Return a yield at today's price instead of that of its own day.

        A day before the panel has no price here: there the figure stays as it was published.
        """
        moved = self.price_then() / self.bars.close()
        return self.ratio(name) * np.where(np.isfinite(moved), moved, 1.0)

    def price_then(self) -> FloatArray:
        """Return the adjusted close of the day that the ratios are of."""
        return self.bars.grid("price_then", self._price_then)

    def _price_then(self) -> FloatArray:
        days = self._days()
        as_of = self._metric(RATIOS_AS_OF)
        known = np.isfinite(as_of) & (as_of >= days.min(initial=np.inf))
        row = np.searchsorted(days, np.where(known, as_of, -np.inf), side="right") - 1
        # No later than the row itself, whatever the facts say.
        row = np.clip(row, 0, np.arange(len(days))[:, None])
        then = np.take_along_axis(self.bars.close(), row, axis=0)
        return np.where(known, then, np.nan)

    def a_year_ago(self, grid: FloatArray) -> FloatArray:
        """Return what was known ``growth_window`` sessions before."""
        out = np.full(grid.shape, np.nan)
        out[self.settings.growth_window :] = grid[: -self.settings.growth_window]
        return out

    def _recent(self, name: str, as_of: str) -> FloatArray:
        old = self._days()[:, None] - self._metric(as_of) > self.settings.max_age_days
        return np.where(old, np.nan, self._metric(name))

    def _metric(self, name: str) -> FloatArray:
        nowhere = np.broadcast_to(np.full(1, np.nan), self.bars.shape)
        return self.bars.facts.fundamentals.get(name, nowhere)

    def _days(self) -> FloatArray:
        return self.bars.panel.sessions.astype("datetime64[D]").astype(np.float64)


def _earnings_growth(known: _Known) -> FloatArray:
    # Yield times price is the profit per share of the panel's share count: a split changes nothing.
    profit = known.price_then() * known.ratio("earnings_yield")
    before = known.a_year_ago(profit)
    return profit / np.where(before > 0.0, before, np.nan) - 1.0


def _over(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return numerator / np.where(denominator > 0.0, denominator, np.nan)


_FORMULAS: Mapping[Measure, Callable[[_Known], FloatArray]] = {
    Measure.BOOK_YIELD: lambda k: k.restated("book_yield"),
    Measure.EARNINGS_YIELD: lambda k: k.restated("earnings_yield"),
    Measure.DIVIDEND_YIELD: lambda k: k.restated("dividend_yield"),
    Measure.RETURN_ON_EQUITY: lambda k: _over(k.ratio("earnings_yield"), k.ratio("book_yield")),
    Measure.CASH_RETURN: lambda k: _over(
        k.statement("operating_cash_flow"), k.statement("total_assets")
    ),
    # Novy-Marx, R. (2013). "The Other Side of Value." Journal of Financial Economics, 108(1), 1-28.
    Measure.GROSS_PROFITABILITY: lambda k: _over(
        k.statement("gross_profit"), k.statement("total_assets")
    ),
    Measure.LOW_DEBT: lambda k: (
        -_over(k.statement("total_liabilities"), k.statement("total_assets"))
    ),
    Measure.SALES_GROWTH: lambda k: k.statement("sales_growth"),
    Measure.EBITDA_GROWTH: lambda k: k.statement("ebitda_growth"),
    Measure.EARNINGS_GROWTH: _earnings_growth,
    Measure.PRICE_MOMENTUM: lambda k: statistics.momentum(
        k.bars, k.settings.momentum_window, k.settings.momentum_skip
    ),
}


def _standard(values: FloatArray, bars: Bars, settings: FactorSettings) -> FloatArray:
    clipped = winsorize(values, bars.tradable, quantile=settings.winsor_quantile)
    sectors = bars.facts.sectors
    if not settings.sector_neutral:
        sectors = np.broadcast_to(np.full(1, -1, dtype=np.int64), bars.shape)
    return standard_score(
        clipped, bars.tradable, sectors, min_names=settings.min_names, within=False
    )


def _mean_score(
    measures: Sequence[FloatArray], standard: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Return the standard score of the mean of the measures' standard scores."""
    standards = [standard(values) for values in measures]
    if len(standards) == 1:
        return standards[0]
    total = np.zeros(standards[0].shape)
    count = np.zeros(standards[0].shape)
    for score in standards:
        there = np.isfinite(score)
        total += np.where(there, score, 0.0)
        count += there
    return standard(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _composite(found: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    shape = next(iter(found.values())).shape
    total, squares = np.zeros(shape), np.zeros(shape)
    for name, score in found.items():
        there = np.isfinite(score)
        total += np.where(there, weights[name] * score, 0.0)
        squares += np.where(there, weights[name] ** 2, 0.0)
    known = squares > 0.0
    total /= np.sqrt(np.where(known, squares, 1.0))
    return np.where(known, np.round(total, SCORE_DECIMALS), np.nan)
