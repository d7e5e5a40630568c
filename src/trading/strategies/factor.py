"""The factor agent: names ranked by value, quality, momentum and growth together.

How a factor is measured is ``features.factors``; the same scores make the screen.
"""

import numpy as np
from pydantic import Field

from trading.domain.arrays import FloatArray
from trading.features import factors
from trading.features.cross_section import SCORE_DECIMALS, percentile_rank
from trading.strategies.base import Agent, AgentSettings, Family, Inputs


class FactorVoteSettings(AgentSettings):
    """``min_factors`` of the four must be known of a name: one alone is another agent's view."""

    min_factors: int = Field(default=2, ge=1, le=4)
    min_names: int = Field(default=5, ge=2)


def factor(inputs: Inputs, settings: FactorVoteSettings) -> FloatArray:
    """Vote by the rank of the composite score, from -1 (worst) to 1 (best).

    Abstains for names with fewer than ``min_factors`` factors, and in sessions with fewer than
    ``min_names`` ranked names.
    """
    found = factors.scores(inputs.bars, inputs.features.factors)
    known = np.zeros(inputs.bars.shape, dtype=np.int64)
    for score in (found.value, found.quality, found.momentum, found.growth):
        known += np.isfinite(score)
    eligible = inputs.bars.tradable & (known >= settings.min_factors)
    rank = percentile_rank(found.composite, eligible, min_names=settings.min_names)
    votes: FloatArray = np.round(2.0 * rank - 1.0, SCORE_DECIMALS)
    return votes


AGENTS = (Agent(name="factor", family=Family.FACTOR, settings=FactorVoteSettings, votes=factor),)
