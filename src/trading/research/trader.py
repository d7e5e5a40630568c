"""Recorded history that is ready for any parameters of one strategy.

What no parameter changes (screen, regimes, the other agents' views) is evaluated once; the object
travels to other processes, where it is evaluated once again.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np

from trading.backtest import runner, sweep
from trading.backtest.sweep import SweepResult
from trading.backtest.trials import Outcome, Trial, TrialLedger, trials_path
from trading.bootstrap import Installation
from trading.clock import WallClock
from trading.config import read_yaml
from trading.domain.actions import CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.domain.rules import MarketRules
from trading.errors import ModelError
from trading.execution.decide import Policy, Views
from trading.features.pipeline import FeatureSettings
from trading.measures import returns_of
from trading.models.base import ModelSettings
from trading.models.inference import TrainedModel
from trading.research.history import History, agents_of, evidence_of
from trading.research.parameters import Params, key_of, with_params
from trading.sessions import SessionCalendar
from trading.strategies.base import Evaluation, ExitRules
from trading.strategies.catalog import StrategySettings
from trading.strategies.evaluation import Ground, survey, vote


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traded:
    """What one set of parameters made of the history.

    ``equity`` is the account in minor units, first its starting cash, then after each session.
    """

    params: Params
    equity: IntArray
    orders: int
    orders_hash: str
    ambiguous_fills: int
    slippage: int

    @property
    def returns(self) -> FloatArray:
        """Returns from close to close, as fractions."""
        return returns_of(self.equity.astype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Trader:
    """One strategy over one recorded history; ``of`` makes it, everything in it can be pickled."""

    strategy: str
    market: Market
    strategies: StrategySettings
    features: FeatureSettings
    models: ModelSettings
    exits: ExitRules
    exchanges: tuple[Exchange, ...]
    raw: RawPanel
    adjusted: AdjustedPanel
    actions: tuple[CorporateAction, ...]
    calendar: SessionCalendar
    rules: MarketRules
    policy: Policy
    facts: Facts
    standing: IntArray
    first: date
    last: date
    cash: int
    # What was traded, beside the parameters: one part of a trial's identity.
    setting: Mapping[str, Any]
    evidence: Mapping[str, Any]

    @classmethod
    def of(cls, installation: Installation, history: History, strategy: str) -> "Trader":
        """Return a trader of ``strategy``; ``UsageError`` when there is none of that name."""
        settings = installation.settings
        market = history.market
        agents_of(strategy, settings.strategies)
        law = read_yaml(settings.config_dir / "markets" / f"{market}.yaml")
        cash = settings.app.demo.cash_minor(market)
        return cls(
            strategy=strategy,
            market=market,
            strategies=settings.strategies,
            features=settings.features,
            models=settings.models,
            exits=settings.execution.exits,
            exchanges=tuple(settings.universe.exchanges[market]),
            raw=history.raw,
            adjusted=history.adjusted,
            actions=history.actions,
            calendar=history.calendar,
            rules=history.rules,
            policy=history.policy,
            facts=history.facts,
            standing=history.standing,
            first=history.first,
            last=history.last,
            cash=cash,
            setting={
                "strategy": strategy,
                "market": str(market),
                "symbols": _hash(sorted(history.raw.symbols)),
                "first_bar": str(history.raw.sessions[0]),
                "first": str(history.first),
                "last": str(history.last),
                "basis": str(history.raw.basis),
                "policy": history.policy.hash,
                "law": _hash(law),
                "cash": cash,
            },
            evidence=evidence_of(history),
        )

    @cached_property
    def ground(self) -> Ground:
        """What of the evaluation no parameter changes."""
        return survey(
            self.adjusted,
            self.raw,
            features=self.features,
            screening=self.strategies.screener[self.market],
            facts=self.facts,
            exchanges=self.exchanges,
            standing=self.standing,
        )

    @property
    def rows(self) -> range:
        """Rows of the panel that are traded: those of the asked dates that have a yesterday."""
        return self.raw.rows_between(self.first, self.last)

    @property
    def sessions(self) -> tuple[date, ...]:
        """The dates of ``rows``."""
        return tuple(self.raw.sessions[row].astype(date) for row in self.rows)

    @cached_property
    def _latest(self) -> dict[str, Evaluation]:
        """The evaluation of the parameters that were traded last: they may have other dates to trade."""
        return {}

    def settings_of(self, params: Params) -> StrategySettings:
        """Return the strategies' settings with ``params``; ``UsageError`` when they cannot be."""
        return with_params(self.strategies, self.strategy, params, self.exits)

    def evaluation_of(
        self, strategies: StrategySettings, models: Mapping[str, TrainedModel] | None = None
    ) -> Evaluation:
        """Return what the agents of the strategy say under these settings.

        A learned one abstains without its model, and before the model was trained.
        """
        ground = self.ground.taught(models) if models else self.ground
        return vote(ground, strategies, agents_of(self.strategy, strategies)).evaluation

    def forget(self) -> None:
        """Let go of ``ground``, as large as the history itself; who asks for it again waits again."""
        self.__dict__.pop("ground", None)

    def views(self, evaluation: Evaluation) -> Views:
        """Return the views of every session by ``evaluation``."""
        return Views(evaluation, self.raw, self.rules, self.policy)

    def models_at(self, row: int) -> dict[str, TrainedModel]:
        """Return what each learned agent is taught by all that is known at the close of ``row``.

        Only the families that are taught every day. One that has no vote, or for which too little
        is known, is not there.
        """
        from trading.mlops.train import train

        panel, facts = self.adjusted.until(row + 1), self.facts.until(row + 1)
        found = {}
        for family in self.models.families:
            if family in agents_of(self.strategy, self.strategies):
                with suppress(ModelError):
                    found[family] = train(panel, self.features, self.models, facts, family).model
        return found

    def run(
        self,
        evaluation: Evaluation,
        agent_exits: Mapping[str, ExitRules],
        first: date | None = None,
        last: date | None = None,
    ) -> SweepResult:
        """Trade ``evaluation`` from ``first`` to ``last``, the whole history when not named."""
        return sweep.run(
            self.views(evaluation),
            self.raw,
            self.actions,
            self.calendar,
            self.rules,
            replace(self.policy, agent_exits=agent_exits),
            cash=self.cash,
            first=first or self.first,
            last=last or self.last,
        )

    def trade(self, params: Params, first: date | None = None, last: date | None = None) -> Traded:
        """Trade the history by ``params`` and return the account's course."""
        strategies = self.settings_of(params)
        key = key_of(params)
        if key not in self._latest:
            self._latest.clear()
            self._latest[key] = self.evaluation_of(strategies)
        made = self.run(self._latest[key], strategies.exits(), first, last)
        return Traded(
            params=dict(params),
            equity=np.array([made.starting_cash, *made.equity], dtype=np.int64),
            orders=len(made.orders),
            orders_hash=runner.orders_hash(made.orders),
            ambiguous_fills=made.ambiguous_fills,
            slippage=made.slippage,
        )

    def fingerprint(self, chosen: Mapping[str, Any]) -> str:
        """Return sixteen hex digits of what is traded and of what else was ``chosen``."""
        return _hash({**self.setting, **chosen})

    def trial(
        self,
        command: str,
        params: Params,
        returns: FloatArray | None,
        *,
        chosen: Mapping[str, Any] | None = None,
        first: date | None = None,
    ) -> Trial:
        """Return what the trial ledger keeps of one evaluation; pruned where nothing came of it.

        ``chosen`` is what else was chosen for it, ``first`` the first session of ``returns`` where
        it is not the history's.
        """
        return Trial(
            market=self.market,
            command=command,
            configuration={**self.setting, "params": dict(params), **(chosen or {})},
            first_session=str(first or self.first),
            last_session=str(self.last),
            at=WallClock().now(),
            outcome=Outcome.COMPLETE if returns is not None else Outcome.PRUNED,
            returns=returns,
        )


def trade(trader: Trader, params: Params) -> Traded:
    """Trade the whole history by ``params``: a task for ``backtest.workers``."""
    return trader.trade(params)


def open_trials(installation: Installation) -> TrialLedger:
    """Return the trial ledger of an installation."""
    return TrialLedger(trials_path(installation.home.data_dir))


def trials_line(trials: Mapping[str, Any]) -> str:
    """Return how much was tried, as a user reads it."""
    return (
        f"  지금까지 이 시장에서 한 시도: {trials['raw']:,}번, 서로 다른 설정 {trials['distinct']:,}개 "
        f"(서로 독립인 시도로 치면 {trials['effective']:,.1f}개)"
    )


def _hash(body: Any) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
