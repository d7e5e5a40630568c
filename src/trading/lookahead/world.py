"""Everything that is registered, computed from one record as live computes it.

Registered is what the registries hold: a new feature, agent, sizing method or field of an
evaluation takes part without a line here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from trading.allocation.sizing import SizingMethod
from trading.domain.account import Portfolio, Position
from trading.domain.arrays import FloatArray
from trading.domain.decision import Decision, TradingState
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.execution.decide import RiskState, View, Views, decide
from trading.features import pipeline
from trading.features.pipeline import FeatureSettings
from trading.lookahead.compare import Kind, Subject
from trading.lookahead.record import Record, Terms
from trading.models.base import Model
from trading.store import facts as store_facts
from trading.store import universe
from trading.strategies import evaluation
from trading.strategies.catalog import AGENTS


class World:
    """Everything registered, computed from one record."""

    def __init__(self, record: Record, terms: Terms, models: Mapping[str, Model]) -> None:
        self.record = record
        self._terms = terms
        self.method = terms.policy.allocation.sizing.method
        raw, adjusted = record.panels(terms)
        days = adjusted.sessions.tolist()
        # An instrument carries today's sector in every row, and whoever uses it says so.
        with_sectors = replace(record, listed=terms.instruments)
        facts = store_facts.facts_of(with_sectors.as_lake(), record.market, days, record.symbols)
        found = evaluation.evaluate(
            adjusted,
            raw,
            features=terms.features,
            strategies=terms.strategies,
            facts=facts,
            models=models,
            agents=terms.agents,
            exchanges=terms.exchanges,
            standing=universe.standings(
                record.tables["listings"], adjusted.sessions, record.symbols
            )
            if record.has_listings
            else None,
        )
        self._views = Views(found.evaluation, raw, terms.rules, terms.policy)
        self.grids = dict(_grids(raw, adjusted, facts, found, terms.features))
        self._view_of: dict[int, View] = {}
        self._decided: dict[tuple[int, SizingMethod], dict[Subject, Any]] = {}
        self._members: dict[int, FloatArray] = {}

    def morning(self, row: int, methods: Sequence[SizingMethod]) -> dict[Subject, Any]:
        """Return view and decisions of the session in ``row``, as they are before its open."""
        if row not in self._view_of:
            self._view_of[row] = self._views.at(row)
        view = self._view_of[row]
        # A digest over every number of the view: one of them differing is enough.
        out: dict[Subject, Any] = {VIEW: np.array([int(view.hash, 16)], dtype=np.uint64)}
        for method in methods:
            if (row, method) not in self._decided:
                self._decided[row, method] = dict(self._decisions(view, method))
            out |= self._decided[row, method]
        return out

    def mornings(self) -> list[dict[Subject, Any]]:
        """Return what was decided on the mornings that were asked for."""
        return list(self._decided.values())

    def members(self, row: int) -> FloatArray:
        """Return the number of the exchange of each name that was listed, NaN for the others."""
        if row not in self._members:
            record = self.record
            found = universe.members(record.as_lake(), record.market, record.sessions[row])
            boards = {item.symbol: item.exchange for item in found}
            every = list(Exchange)
            self._members[row] = np.array(
                [every.index(boards[s]) if s in boards else np.nan for s in record.symbols],
                dtype=np.float64,
            )
        return self._members[row]

    def _decisions(self, view: View, method: SizingMethod) -> Iterator[tuple[Subject, Any]]:
        cash = self._terms.cash
        policy = self._terms.policies[method]
        state = RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE)
        taken = [
            decide(view, _account(view, cash, is_held=is_held), policy, state)
            for is_held in (False, True)
        ]
        for name, numbers in _numbers(taken, view, self.record.symbols).items():
            yield Subject(Kind.DECISION, f"{method.name.lower()}.{name}"), numbers


VIEW = Subject(Kind.DECISION, "view", by_symbol=False)
UNIVERSE = Subject(Kind.UNIVERSE, "members")
_BY_AGENT = ("votes", "confidence", "triggers", "trigger_confidence")
_KIND_OF = {
    "weights": Kind.WEIGHT,
    "screened": Kind.SCREEN,
    "screen_reason": Kind.SCREEN,
    "sectors": Kind.SCREEN,
    "regime": Kind.REGIME,
    "regime_from_index": Kind.REGIME,
}


def _grids(
    raw: RawPanel,
    adjusted: AdjustedPanel,
    facts: Facts,
    found: evaluation.Research,
    features: FeatureSettings,
) -> Iterator[tuple[Subject, Any]]:
    """Yield everything that has a row a session."""
    n = len(adjusted.sessions)

    def arrays(owner: Any) -> Iterator[tuple[str, Any]]:
        for field in fields(owner):
            value = getattr(owner, field.name)
            if isinstance(value, np.ndarray) and field.name != "sessions" and len(value) >= n:
                yield field.name, value

    for name, grid in arrays(raw):
        yield Subject(Kind.PANEL, f"raw.{name}"), grid
    for name, grid in arrays(adjusted):
        yield Subject(Kind.PANEL, f"adjusted.{name}", by_symbol=grid.ndim > 1), grid
    for name, grid in facts.fundamentals.items():
        yield Subject(Kind.FUNDAMENTAL, name), grid
    matrix = pipeline.compute(found.bars, features)
    for column, name in enumerate(matrix.names):
        yield Subject(Kind.FEATURE, name), matrix.values[:, :, column]
    for name, grid in arrays(found.screen.factors):
        yield Subject(Kind.FACTOR, name), grid
    for name, grid in arrays(found.screen):
        yield Subject(Kind.SCREEN, f"screen.{name}"), grid
    said = found.evaluation
    for name, grid in arrays(said):
        if name == "ceilings":
            continue
        if name in _BY_AGENT:
            for k, agent in enumerate(said.agents):
                if name.startswith("trigger") and AGENTS[agent].triggers is None:
                    continue
                yield Subject(Kind.AGENT, f"{agent}.{name}", by_symbol=grid.ndim > 2), grid[:, k]
            continue
        by_symbol = grid.ndim > 1 and name != "weights"
        yield Subject(_KIND_OF.get(name, Kind.EXPECTATION), name, by_symbol), grid
    for k, agent in enumerate(said.agents):
        record = np.stack([grid for _, grid in arrays(found.records[k])], axis=1)
        yield Subject(Kind.WEIGHT, f"{agent}.record", by_symbol=False), record
    yield Subject(Kind.REGIME, "probability", by_symbol=False), found.regimes.probability


def _account(view: View, cash: int, *, is_held: bool) -> Portfolio:
    """Return an account of cash, or one that also holds every second name of the view."""
    market = view.exchanges[0].market if view.exchanges else Market.US
    positions = {}
    for i, symbol in enumerate(view.symbols[::2] if is_held else ()):
        price = int(view.morning.reference[2 * i])
        quantity = cash // (len(view.symbols) * price) if price > 0 else 0
        if quantity > 0:
            positions[symbol] = Position(symbol=symbol, quantity=quantity, cost=quantity * price)
    return Portfolio(market=market, cash=cash, positions=positions)


def _numbers(taken: Sequence[Decision], view: View, symbols: Sequence[str]) -> dict[str, Any]:
    """Return decisions as arrays ``(n_accounts, …, n_instruments)``; NaN for names not in the view."""
    place = {symbol: column for column, symbol in enumerate(symbols)}
    at = [place[symbol] for symbol in view.symbols]
    accounts, m = len(taken), len(symbols)
    out = {name: np.full((accounts, m), np.nan) for name in _CHOSEN}
    out["order"] = np.zeros((accounts, m))
    out["waiting"] = np.zeros((accounts, len(_WAITS), m))
    out["exits"] = np.zeros((accounts, len(_EXITS), m))
    for account, decision in enumerate(taken):
        choices = list(decision.choices)
        for name, field in _CHOSEN.items():
            out[name][account, at] = [float(getattr(choice, field)) for choice in choices]
        for intent in decision.intents:
            out["order"][account, place[intent.symbol]] = intent.side.sign * intent.quantity
        for entry in decision.waiting:
            out["waiting"][account, :, place[entry.symbol]] = [getattr(entry, f) for f in _WAITS]
        for symbol, terms in decision.entries.items():
            out["exits"][account, :, place[symbol]] = [getattr(terms, f) for f in _EXITS]
    return out


_CHOSEN = {
    "forecast": "forecast",
    "weight": "weight",
    "quantity": "target_quantity",
    "verdict": "verdict",
}
_WAITS = ("budget", "distance", "ceiling")
_EXITS = ("stop", "trail", "profit", "max_sessions", "cooldown")
