"""What an account would have earned that follows a model's out-of-sample forecasts.

The orders are those of the one decision, under the real rules and costs; what the track is worth
as proof is decided in ``mlops.gate``.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np

from trading import measures
from trading.backtest import robustness, runner, sweep
from trading.backtest.record import benchmarks
from trading.backtest.robustness import BASIS_POINT
from trading.domain.actions import CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Exchange
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.domain.rules import MarketRules
from trading.errors import ModelError
from trading.execution.decide import Policy, Views
from trading.features.pipeline import FeatureSettings
from trading.mlops.gate import Track
from trading.models.base import ModelSettings, view
from trading.models.validation import WalkForward
from trading.risk.scenarios import CrisisWindow
from trading.sessions import SessionCalendar
from trading.strategies import calibration
from trading.strategies.base import Evaluation
from trading.strategies.catalog import StrategySettings
from trading.strategies.evaluation import Ground, survey, vote


@dataclass(frozen=True, kw_only=True, eq=False)
class Venue:
    """Where forecasts are traded: recorded prices, and the law and policy of the account.

    ``raw`` begins with the same session as ``adjusted`` and may be longer; ``cash`` is in minor
    units.
    """

    raw: RawPanel
    adjusted: AdjustedPanel
    actions: Sequence[CorporateAction]
    calendar: SessionCalendar
    rules: MarketRules
    policy: Policy
    strategies: StrategySettings
    features: FeatureSettings
    cash: int
    facts: Facts | None = None
    exchanges: Collection[Exchange] = tuple(Exchange)
    standing: IntArray | None = None
    crises: Sequence[CrisisWindow] = ()

    @cached_property
    def ground(self) -> Ground:
        """What of the evaluation no forecast changes."""
        return survey(
            self.adjusted,
            self.raw,
            features=self.features,
            screening=self.strategies.screener[self.adjusted.market],
            facts=self.facts,
            exchanges=self.exchanges,
            standing=self.standing,
        )


def trade_forecasts(venue: Venue, walk: WalkForward, family: str, models: ModelSettings) -> Track:
    """Return the track of an account that only the forecasts of ``walk`` vote for.

    A forecast is a standing view until the next one, at most for its horizon. The account begins
    at the session after the first forecast.

    Raises
    ------
    ModelError
        If nothing can be traded after the first forecast.
    """
    evaluation = _evaluation(venue, walk, family, models)
    first_row = int(walk.row.min()) + 1
    last_row = min(int(walk.row.max()) + models.horizon_sessions, len(venue.adjusted.sessions) - 1)
    if first_row >= last_row:
        raise ModelError("예측 뒤에 거래할 거래일이 없음")
    rows = np.arange(first_row, last_row + 1)
    sessions = venue.raw.sessions[rows]
    first, last = sessions[0].astype(date), sessions[-1].astype(date)
    policy = replace(venue.policy, agent_exits=venue.strategies.exits())
    views = Views(evaluation, venue.raw, venue.rules, policy)
    made = runner.run(
        views, venue.raw, venue.actions, venue.calendar, venue.rules, policy,
        cash=venue.cash, first=first, last=last,
    )  # fmt: skip

    def rerun(
        rules: MarketRules = venue.rules, told: Evaluation = evaluation, cash: int = venue.cash
    ) -> FloatArray:
        again = sweep.run(
            Views(told, venue.raw, rules, policy), venue.raw, venue.actions, venue.calendar, rules,
            policy, cash=cash, first=first, last=last,
        )  # fmt: skip
        return np.array([cash, *again.equity], dtype=np.float64)

    path = np.array([venue.cash, *made.equity], dtype=np.float64)
    held = 1.0 - np.array([day.cash for day in made.days], dtype=np.float64) / path[1:]
    universe, _ = benchmarks(venue.raw, venue.adjusted, rows)
    before = np.concatenate(([0.0], held))
    matched = measures.exposure_matched(universe, before)
    matched = np.where(before[:-1] == 0.0, 0.0, matched)
    net = measures.returns_of(path)
    traded = [booked.fill.amount for day in made.days for booked in day.booked]
    years = len(rows) / policy.sessions_per_year
    more = models.gate.min_capacity_multiple
    larger = round(venue.cash * more)
    profit = path[-1] - venue.cash * float(np.prod(1.0 + matched))
    return Track(
        sessions=sessions,
        net=net,
        benchmark=matched,
        exposure=held,
        doubled=measures.returns_of(rerun(rules=venue.rules.costing(multiple=2.0))),
        delayed=measures.returns_of(rerun(told=robustness.delayed(evaluation, 1))),
        sessions_per_year=policy.sessions_per_year,
        turnover=sum(traded) / float(path.mean()) / years,
        break_even_bps=profit / sum(traded) / BASIS_POINT if traded else math.nan,
        capital=float(venue.cash),
        capacity=robustness.capacity(
            [venue.cash, larger],
            [
                measures.cagr(course, periods_per_year=policy.sessions_per_year)
                for course in (path, rerun(cash=larger))
            ],
        ),
        stretches=robustness.in_crises(
            venue.crises, sessions.tolist(), net, matched,
            periods_per_year=policy.sessions_per_year,
        ),
        rank_ic=walk.rank_ic,
        rank_ic_t=walk.rank_ic_t,
    )  # fmt: skip


def _evaluation(venue: Venue, walk: WalkForward, family: str, models: ModelSettings) -> Evaluation:
    """Return what the agent of ``family`` would have said, had it forecast this."""
    ground, believed = venue.ground, venue.strategies.confidence
    # The agent abstains without a model; everything but its voice is as it would be.
    silent = vote(ground, venue.strategies, (family,)).evaluation
    votes = _votes(walk, ground.bars.shape, models)
    confidence = calibration.hit_rate(votes, ground.bars, believed, is_learned=True)
    weights = np.ones((len(votes), 1))
    votes, confidence = votes[:, None], confidence[:, None]
    expected, error = calibration.expected_returns(
        votes, confidence, weights, ground.bars, believed
    )
    return replace(
        silent,
        votes=votes,
        confidence=confidence,
        weights=weights,
        expected=expected,
        expected_error=error,
    )


def _votes(walk: WalkForward, shape: tuple[int, int], models: ModelSettings) -> FloatArray:
    rows, at = np.unique(walk.row, return_inverse=True)
    forecast = np.full((len(rows), shape[1]), np.nan)
    forecast[at, walk.column] = walk.forecast
    said = view(
        forecast,
        np.isfinite(forecast),
        scale=walk.forecast_scale,
        min_names=models.rank_min_names,
    )
    votes = np.full(shape, np.nan)
    for k, row in enumerate(rows):
        until = row + models.horizon_sessions
        if k + 1 < len(rows):
            until = min(until, rows[k + 1])
        votes[row:until] = said[k]
    return votes
