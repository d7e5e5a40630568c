"""``trading lookahead``: nothing that was decided on a day knew what came later (law 3).

The recorded rows are cut at drawn mornings; everything that is registered is computed again, as
live computes it, and compared with what the whole record gave, to the bit. A second time the rows
after the cut are there, but are others. Registered is what the registries hold: a new feature,
agent, sizing method or field of an evaluation takes part without a line here. ``Plant`` puts
classic leaks into the real parts to prove that the comparison sees them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from trading import bootstrap
from trading.allocation.sizing import SizingMethod
from trading.bootstrap import Installation
from trading.domain.account import Portfolio, Position
from trading.domain.actions import CorporateAction
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.decision import Decision, TradingState
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, ModelError, UsageError
from trading.execution.decide import Policy, RiskState, View, Views, decide
from trading.features import pipeline, regimes
from trading.features.indicators import Bars
from trading.features.pipeline import Feature, FeatureSettings
from trading.mlops.train import train
from trading.models.base import Model, ModelSettings
from trading.ports import BulkSource
from trading.sessions import SessionCalendar
from trading.store import facts as store_facts
from trading.store import fundamentals, schema, universe
from trading.store.datasets.base import chosen
from trading.store.panels import assemble_panels
from trading.strategies import evaluation
from trading.strategies.base import Evaluation
from trading.strategies.catalog import AGENTS, StrategySettings

if TYPE_CHECKING:
    import pandas as pd

    from trading.store.lake import Lake

CUTS = 12
NAMES = 60
# A view is made of one row and a short past: all mornings of a quarter before a cut, and one a
# quarter before that. Everything else is compared on all rows.
_QUARTER = 63
# A decision is made of its view alone: ways of sizing that are not in use are tried on the last
# mornings only.
_DAYS = 3
# How long the other future lasts: as far ahead as anything that is taught or held looks.
_YEAR = 252
# Two fifths of the record teach the model: it is silent over what it has seen.
_TAUGHT = 0.4
_TREES = 12
_KINDS = ("daily", "index", "fundamentals", "listings")

Settings = TypeVar("Settings", FeatureSettings, StrategySettings, ModelSettings)


class Kind(StrEnum):
    """What is looked at."""

    PANEL = "panel"
    FUNDAMENTAL = "fundamental"
    UNIVERSE = "universe"
    FEATURE = "feature"
    FACTOR = "factor"
    AGENT = "agent"
    WEIGHT = "weight"
    EXPECTATION = "expectation"
    SCREEN = "screen"
    REGIME = "regime"
    DECISION = "decision"

    @property
    def text(self) -> str:
        """What the user reads."""
        return _KIND_TEXT[self]


_KIND_TEXT = {
    Kind.PANEL: "가격 패널",
    Kind.FUNDAMENTAL: "재무",
    Kind.UNIVERSE: "종목 목록",
    Kind.FEATURE: "특성",
    Kind.FACTOR: "팩터 점수",
    Kind.AGENT: "전략",
    Kind.WEIGHT: "앙상블 가중치",
    Kind.EXPECTATION: "기대 수익과 변동성",
    Kind.SCREEN: "종목 선별",
    Kind.REGIME: "시장 국면",
    Kind.DECISION: "크기와 결정",
}


class Plant(StrEnum):
    """A leak that is put into a real part, and must be found."""

    CENTRED = "centred"
    FULLSAMPLE_SCALER = "fullsample-scaler"
    SMOOTHED_HMM = "smoothed-hmm"
    SAME_BAR_FILL = "same-bar-fill"
    RESTATED_FUNDAMENTALS = "restated-fundamentals"
    SURVIVORS = "survivors"


@dataclass(frozen=True, slots=True)
class Subject:
    """One registered thing; ``by_symbol`` says whether its last axis is the instruments."""

    kind: Kind
    name: str
    by_symbol: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The first cell of a subject that was another one when the future was.

    ``whole`` is what the whole record says, ``cut`` what was said without the rows from
    ``cut_at`` on (``future`` "absent") or with others in their place ("other").
    """

    name: str
    kind: Kind
    session: date
    symbol: str | None
    whole: float | int | None
    cut: float | int | None
    cut_at: date
    future: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "kind": str(self.kind),
            "session": str(self.session),
            "cut_at": str(self.cut_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was compared. ``silent`` subjects said one and the same all the time: nothing proven."""

    subjects: tuple[Subject, ...]
    cuts: tuple[date, ...]
    checked: Mapping[Subject, int]
    violations: tuple[Violation, ...]
    silent: tuple[Subject, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only; ``checked`` is ``registered`` times the number of cuts."""
        kinds = {
            kind: [subject for subject in self.subjects if subject.kind is kind] for kind in Kind
        }
        return {
            "registered": len(self.subjects),
            "checked": sum(self.checked.values()),
            "cuts": [str(day) for day in self.cuts],
            "violations": [violation.to_json() for violation in self.violations],
            "kinds": {
                str(kind): {
                    "registered": len(mine),
                    "checked": sum(self.checked[subject] for subject in mine),
                    "violations": sum(v.kind is kind for v in self.violations),
                }
                for kind, mine in kinds.items()
                if mine
            },
            "silent": [f"{subject.kind}:{subject.name}" for subject in self.silent],
        }


def run(
    installation: Installation,
    *,
    cuts: int = CUTS,
    seed: int = 0,
    names: int = NAMES,
    dataset: Path | None = None,
    market: Market | None = None,
    plant: Plant | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Cut the recorded history and return what was compared and what differed.

    Parameters
    ----------
    cuts, seed
        How many mornings are drawn, one from each of as many equal parts of the history.
    names : int
        Of a wider record only so many names are looked at, drawn by the seed; 0 for all.
    plant : Plant, optional
        The leak that is put in.

    Raises
    ------
    MissingDataError
        If nothing was recorded of the market.
    UsageError
        If there are more cuts than sessions to cut at.
    """
    chosen_market = market or installation.settings.app.market
    source = bootstrap.open_source(installation, dataset)
    rng = np.random.default_rng(seed)
    record = recorded(installation, source, chosen_market, names, rng)
    terms = terms_of(installation, record)
    with planted(plant):
        found = check(record, terms, drawn(record.known, cuts, rng), rng, progress)
    return {
        "market": str(chosen_market),
        "source": source.name,
        "seed": seed,
        "names": len(record.symbols),
        "plant": str(plant) if plant is not None else None,
        **found.to_json(),
    }


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return kinds with what was registered, checked and found, as a table shows them."""
    kinds = [
        (
            Kind(kind).text,
            *(f"{counts[name]:,}" for name in ("registered", "checked", "violations")),
        )
        for kind, counts in result["kinds"].items()
    ]
    total = (len(result["violations"]), result["registered"], result["checked"])
    return [*kinds, ("모두", f"{total[1]:,}", f"{total[2]:,}", f"{total[0]:,}")]


def text(result: Mapping[str, Any]) -> str:
    """Return what the table does not say: where it was cut, what differed, what stayed silent."""
    cuts = result["cuts"]
    lines = [
        f"{MARKET_TEXT[Market(result['market'])]} {result['names']:,}종목의 기록을 "
        f"{cuts[0]} ~ {cuts[-1]} 사이 {len(cuts):,}일에서 잘랐습니다 (시드 {result['seed']})."
    ]
    if result["plant"] is not None:
        lines.append(f"일부러 심은 결함: {result['plant']}")
    for found in result["violations"]:
        symbol = f" {found['symbol']}" if found["symbol"] is not None else ""
        future = "없을 때" if found["future"] == "absent" else "다를 때"
        lines.append(
            f"  [{Kind(found['kind']).text}] {found['name']}: {found['session']}{symbol}의 값이 "
            f"{_number_text(found['whole'])}인데, {found['cut_at']}부터의 기록이 {future}는 "
            f"{_number_text(found['cut'])}입니다."
        )
    if result["silent"]:
        lines.append("이 기록에서 한 가지 값만 내어 증명된 것이 없는 항목:")
        for kind in Kind:
            found_silent = [
                s.partition(":")[2] for s in result["silent"] if s.startswith(f"{kind}:")
            ]
            if found_silent:
                lines.append(f"  [{kind.text}] {', '.join(found_silent)}")
    lines.append(
        "앞일을 아는 값이 있습니다." if result["violations"] else "앞일을 아는 값이 없습니다."
    )
    return "\n".join(lines)


def _number_text(value: float | int | None) -> str:
    return "없음" if value is None else repr(value)


# ---- the record ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """Rows of one market as far as they were known, read as one reads the lake.

    ``known`` is the number of sessions whose rows are known; one more session stands in
    ``sessions`` where the record is cut: the morning, of which only actions and the calendar are.
    """

    market: Market
    symbols: tuple[str, ...]
    sessions: tuple[date, ...]
    known: int
    tables: Mapping[str, Any]
    listed: tuple[Instrument, ...]
    corporate: tuple[CorporateAction, ...]
    has_listings: bool

    def before(self, row: int) -> "Record":
        """Return what was known on the morning of the session in ``row``."""
        morning = self.sessions[row]
        tables = {
            kind: chosen(
                table, schema.kind_named(kind), None, date.min, morning - timedelta(days=1)
            )
            for kind, table in self.tables.items()
        }
        return replace(
            self,
            sessions=self.sessions[: row + 1],
            known=row,
            tables=tables,
            listed=tuple(
                item if item.delisted is None or item.delisted <= morning else _alive(item)
                for item in self.listed
                if item.listed is None or item.listed <= morning
            ),
            corporate=tuple(a for a in self.corporate if a.ex_date <= morning),
        )

    def otherwise(self, row: int) -> "Record":
        """Return the record to a year later with other prices, volumes and figures from ``row`` on."""
        morning = np.datetime64(self.sessions[row], "D")
        end = min(row + _YEAR, self.known)
        ended = self.before(end) if end < self.known else self
        tables = dict(ended.tables)
        for kind, columns in _FIGURES.items():
            shape = schema.kind_named(kind)
            frame = schema.to_frame(tables[kind], shape)
            days = frame[shape.dated_by].to_numpy().astype("datetime64[D]")
            later = days >= morning
            # Up by half and down by half in turns: no return keeps its sign by chance.
            odd = (days - morning).astype(np.int64) % 2 == 1
            for column in columns:
                values = frame[column].to_numpy()
                other = np.where(odd, values // 2 + 1, values + values // 2)
                frame[column] = np.where(later, other, values)
            tables[kind] = schema.conform(frame, shape)
        return replace(ended, tables=tables)

    def table(
        self,
        market: Market,
        kind: str,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Any:
        """Return rows of a kind, as ``Lake.table``."""
        found = chosen(
            self.tables[kind],
            schema.kind_named(kind),
            symbols,
            first or date.min,
            last or date.max,
        )
        return found if columns is None else found.select(list(columns))

    def frame(
        self,
        market: Market,
        kind: str,
        *,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> "pd.DataFrame":
        """Return the same as a frame, as ``Lake.frame``."""
        found = self.table(market, kind, symbols=symbols, first=first, last=last)
        return schema.to_frame(found, schema.kind_named(kind))

    def instruments(self, market: Market) -> list[Instrument]:
        """Return the instruments, as ``Lake.instruments``."""
        return list(self.listed)

    def panels(self, terms: "Terms") -> tuple[RawPanel, AdjustedPanel]:
        """Return both panels; the adjusted one ends with what is known."""
        index = self.frame(self.market, "index")
        raw, adjusted = assemble_panels(
            self.tables["daily"],
            self.corporate,
            self.sessions,
            self.market,
            self.symbols,
            exchanges={item.symbol: item.exchange for item in terms.instruments},
            index=index.loc[index["name"] == terms.benchmark] if len(index) else None,
            benchmark=terms.benchmark,
            rules=terms.rules,
            # Adjusted prices may not trade; here they may, or little would be decided.
            require_raw=False,
        )
        return raw, adjusted.until(self.known)

    def as_lake(self) -> "Lake":
        """Return the record for those who read a lake."""
        return cast("Lake", self)


# Whole numbers first, then the one kind whose figures are fractions.
_FIGURES = {
    "daily": ("open", "high", "low", "close", "volume"),
    "index": ("close",),
    "fundamentals": ("value",),
}


def _alive(item: Instrument) -> Instrument:
    return replace(item, delisted=None)


def recorded(
    installation: Installation,
    source: BulkSource,
    market: Market,
    names: int,
    rng: np.random.Generator,
) -> Record:
    """Return what a source holds of a market, of at most ``names`` names (0: all)."""
    days = source.sessions(market)
    if not days:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    instruments = {item.symbol: item for item in source.instruments(market)}
    symbols = sorted(instruments)
    if 0 < names < len(symbols):
        symbols = sorted(rng.choice(symbols, names, replace=False).tolist())
    first, last = days[0], days[-1]
    calendar = bootstrap.rules_and_calendar(installation.settings, market)[1]
    benchmark = [installation.settings.universe.benchmark[market]]
    tables = {
        kind: source.table(kind, market, benchmark if kind == "index" else symbols, date.min, last)
        for kind in _KINDS
    }
    sessions = tuple(calendar.sessions(first, last))
    return Record(
        market=market,
        symbols=tuple(symbols),
        sessions=sessions,
        known=len(sessions),
        tables=tables,
        has_listings=len(tables["listings"]) > 0,
        listed=tuple(instruments[symbol] for symbol in symbols),
        corporate=tuple(a for a in source.actions(market, first, last) if a.symbol in instruments),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """What does not depend on the cut: settings, law and instruments."""

    calendar: SessionCalendar
    rules: MarketRules
    policy: Policy
    features: FeatureSettings
    strategies: StrategySettings
    models: ModelSettings
    agents: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    instruments: tuple[Instrument, ...]
    benchmark: str
    cash: int


def terms_of(installation: Installation, record: Record) -> Terms:
    """Return the installation's settings, loosened so that everything has something to say.

    A check of what abstains proves nothing. So the least number of names of ranks and scores is
    at most one less than usually trade at once, pairs pass their tests, and every rule of the
    screen works.
    """
    settings, market = installation.settings, record.market
    rules, calendar = bootstrap.rules_and_calendar(settings, market)
    daily = record.frame(market, "daily")
    at_once = int(daily.groupby("session").size().median()) if len(daily) else 0
    few = max(3, at_once - 1)
    strategies = _loosened(settings.strategies, few)
    screen = strategies.screener[market]
    screen = screen.model_copy(
        update={
            "leaders": min(screen.leaders or few, few),
            "surges": min(screen.surges or 1, few),
            "top": min(screen.top or few - 1, few - 1),
            "sector_cap": screen.sector_cap or max(1, few // 2),
        }
    )
    return Terms(
        calendar=calendar,
        rules=rules,
        policy=bootstrap.policy_of(settings, market, calendar),
        features=_loosened(settings.features, few),
        strategies=strategies.model_copy(
            update={"screener": {**strategies.screener, market: screen}}
        ),
        models=_loosened(settings.models, few).model_copy(
            update={"forest": settings.models.forest.model_copy(update={"trees": _TREES})}
        ),
        agents=tuple(AGENTS),
        exchanges=settings.universe.exchanges[market],
        instruments=record.listed,
        benchmark=settings.universe.benchmark[market],
        cash=settings.app.demo.cash_minor(market),
    )


# Tests that hardly any pair of names passes, and what lets many pass.
_LOOSE = {
    "false_discovery": 0.99,
    "retest_level": 0.99,
    "min_half_life": 0.5,
    "max_half_life": 250.0,
    "min_sigma": 0.01,
    "max_sigma": 100.0,
    "min_factors": 1,
    "min_rows": 100,
}


def _loosened(settings: Settings, few: int) -> Settings:
    def loosened(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {inner: loosened(str(inner), part) for inner, part in value.items()}
        return min(value, few) if key.endswith("min_names") else _LOOSE.get(key, value)

    return type(settings).model_validate(loosened("", settings.model_dump()))


# ---- what is computed ----------------------------------------------------------------------


class _World:
    """Everything registered, computed from one record."""

    def __init__(self, record: Record, terms: Terms, model: Model | None) -> None:
        self.record = record
        self._terms = terms
        self.method = terms.policy.allocation.sizing.method
        raw, adjusted = record.panels(terms)
        days = adjusted.sessions.tolist()
        # An instrument carries today's sector in every row, and whoever uses it says so.
        with_sectors = replace(record, listed=terms.instruments)
        facts = store_facts.facts_of(with_sectors.as_lake(), record.market, days, record.symbols)
        found = evaluation.research(
            adjusted,
            raw,
            features=terms.features,
            strategies=terms.strategies,
            facts=facts,
            model=model,
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
        out: dict[Subject, Any] = {_VIEW: np.array([int(view.hash, 16)], dtype=np.uint64)}
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
        policy = _sized(self._terms.policy, method)
        state = RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE)
        taken = [
            decide(view, _account(view, cash, is_held=is_held), policy, state)
            for is_held in (False, True)
        ]
        for name, numbers in _numbers(taken, view, self.record.symbols).items():
            yield Subject(Kind.DECISION, f"{method.name.lower()}.{name}"), numbers


_VIEW = Subject(Kind.DECISION, "view", by_symbol=False)
_UNIVERSE = Subject(Kind.UNIVERSE, "members")
_RESTATEMENT = Subject(Kind.FUNDAMENTAL, "restatement")
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


_policies: dict[tuple[str, SizingMethod], Policy] = {}


def _sized(policy: Policy, method: SizingMethod) -> Policy:
    key = policy.hash, method
    if key not in _policies:
        sizing = policy.allocation.sizing.model_copy(update={"method": method})
        allocation = policy.allocation.model_copy(update={"sizing": sizing})
        _policies[key] = replace(policy, allocation=allocation)
    return _policies[key]


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


# ---- the comparison ------------------------------------------------------------------------


def drawn(n_sessions: int, cuts: int, rng: np.random.Generator) -> list[int]:
    """Return the rows of the mornings at which the record is cut, one from each equal part."""
    edges = np.linspace(2, n_sessions, cuts + 1).astype(np.int64)
    if (np.diff(edges) < 1).any():
        raise UsageError(f"자를 날이 모자랍니다: {cuts:,}번, 기록은 {n_sessions:,}거래일입니다.")
    return [int(rng.integers(low, high)) for low, high in pairwise(edges.tolist())]


def check(
    record: Record,
    terms: Terms,
    mornings: Sequence[int],
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare everything registered at each of the ``mornings``, without and with another future."""
    model = _taught(record, terms)
    whole = _World(record, terms, model)
    decisions = whole.morning(mornings[0], tuple(SizingMethod))
    subjects = (*whole.grids, *decisions, _UNIVERSE, _RESTATEMENT)
    checked = dict.fromkeys(subjects, 0)
    violations: list[Violation] = []
    for done, row in enumerate(mornings, 1):
        found: dict[Subject, Violation] = {}
        compared: set[Subject] = set()
        restatement_cut = int(rng.integers(*_Restatement.span()))
        for future in ("absent", "other"):
            cut = record.before(row) if future == "absent" else record.otherwise(row)
            world = _World(cut, terms, model)
            differences = (
                *_differences(whole, world, row),
                _Restatement.difference(restatement_cut, future),
            )
            for subject, violation in differences:
                compared.add(subject)
                if violation is not None:
                    found.setdefault(subject, replace(violation, future=future))
        for subject in compared:
            checked[subject] += 1
        violations += found.values()
        if progress is not None:
            progress(done, len(mornings))
    return Report(
        subjects=subjects,
        cuts=tuple(record.sessions[row] for row in mornings),
        checked=checked,
        violations=tuple(violations),
        silent=tuple(_silent(whole)),
    )


def first_difference(whole: Any, cut: Any) -> tuple[int, ...] | None:
    """Return the first cell in which two arrays of one shape are not the same bits.

    All missing numbers are one and the same; 0 and -0 are not.
    """
    at = np.flatnonzero(_bits(whole) != _bits(cut))
    return tuple(int(i) for i in np.unravel_index(at[0], np.shape(whole))) if at.size else None


def _bits(values: Any) -> IntArray:
    bits = np.ascontiguousarray(values).ravel()
    if bits.dtype == np.float64:
        bits = np.where(np.isnan(bits), np.nan, bits).view(np.int64)
    whole: IntArray = bits.astype(np.int64)
    return whole


def _differences(
    whole: _World, world: _World, row: int
) -> Iterator[tuple[Subject, Violation | None]]:
    """Yield every subject with its first difference before the morning in ``row``, or none."""
    record = whole.record
    sessions = record.sessions

    def violation(subject: Subject, at: int, a: Any, b: Any) -> Violation | None:
        cell = first_difference(a, b)
        if cell is None:
            return None
        return Violation(
            name=subject.name,
            kind=subject.kind,
            session=sessions[at if at >= 0 else cell[0]],
            symbol=record.symbols[cell[-1]] if subject.by_symbol else None,
            whole=_plain(a[cell]),
            cut=_plain(b[cell]),
            cut_at=sessions[row],
            future="",
        )

    for subject, grid in whole.grids.items():
        # What nobody had published yet has no grid in the cut record.
        other = world.grids.get(subject, np.full(grid.shape, np.nan))
        yield subject, violation(subject, -1, grid[:row], other[:row])
    found: dict[Subject, Violation | None] = {}
    in_use = (whole.method,)
    for at in _looked_at(row):
        methods = tuple(SizingMethod) if at > row - _DAYS else in_use
        theirs = world.morning(at, methods)
        for subject, numbers in whole.morning(at, methods).items():
            if found.get(subject) is None:
                found[subject] = violation(subject, at, numbers, theirs[subject])
    yield from found.items()
    months = np.array(sessions[:row], dtype="datetime64[M]")
    begun = np.flatnonzero(np.diff(months, prepend=months[0] - 1) != np.timedelta64(0, "M"))
    listed: Violation | None = None
    for at in sorted({*begun.tolist(), row - 1}):
        listed = listed or violation(_UNIVERSE, at, whole.members(at), world.members(at))
    yield _UNIVERSE, listed


def _looked_at(row: int) -> list[int]:
    """Return the mornings that are compared when the record is cut on the morning of ``row``."""
    near = max(1, row - _QUARTER)
    # From fixed rows on, so that the whole record's are computed once for all cuts.
    return [*range(_QUARTER, near, _QUARTER), *range(near, row + 1)]


def _plain(value: Any) -> float | int | None:
    plain: float | int = value.item()
    return None if plain != plain else plain


def _taught(record: Record, terms: Terms) -> Model | None:
    """Return a small forest taught on the first years; ``None`` where they are too short."""
    _, adjusted = record.panels(terms)
    try:
        taught = train(adjusted.until(int(record.known * _TAUGHT)), terms.features, terms.models)
    except ModelError:
        return None
    return taught.model


def _silent(whole: _World) -> Iterator[Subject]:
    seen: dict[Subject, list[Any]] = {subject: [grid] for subject, grid in whole.grids.items()}
    for morning in whole.mornings():
        for subject, numbers in morning.items():
            seen.setdefault(subject, []).append(numbers)
    for subject, parts in seen.items():
        bits = np.concatenate([_bits(part) for part in parts])
        if not (bits != bits[:1]).any():
            yield subject


class _Restatement:
    """Apple's fiscal year 2009, which ended 2009-09-26, as published twice.

    In its 10-K of 2009-10-27 Apple reported net sales of 36,537 and a net income of 5,704 million
    dollars; in the 10-K/A of 2010-01-25, under new rules of revenue recognition, 42,905 and 8,235.
    """

    FIRST, LAST = date(2009, 10, 1), date(2010, 3, 31)
    PERIOD = date(2009, 9, 26)
    FIGURES = (
        ("net_sales", date(2009, 10, 27), 36_537e6),
        ("net_sales", date(2010, 1, 25), 42_905e6),
        ("net_income", date(2009, 10, 27), 5_704e6),
        ("net_income", date(2010, 1, 25), 8_235e6),
    )
    METRICS = ("net_sales", "net_income")

    @classmethod
    def sessions(cls) -> list[date]:
        """Return the sessions around both publications."""
        return SessionCalendar(Market.US).sessions(cls.FIRST, cls.LAST)

    @classmethod
    def span(cls) -> tuple[int, int]:
        """Return the mornings between the publications: cut elsewhere, the record says nothing."""
        published = sorted({day for _, day, _ in cls.FIGURES})
        days = cls.sessions()
        return days.index(published[0]) + 1, days.index(published[-1]) + 1

    @classmethod
    def rows(cls) -> "pd.DataFrame":
        """Return the figures as rows of ``schema.FUNDAMENTALS``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "symbol": "AAPL",
                "metric": [metric for metric, _, _ in cls.FIGURES],
                "period": np.datetime64(cls.PERIOD, "s"),
                "published": pd.to_datetime([day for _, day, _ in cls.FIGURES]),
                "value": [value for _, _, value in cls.FIGURES],
                "rule": False,
            }
        )

    @classmethod
    def difference(cls, row: int, future: str) -> tuple[Subject, Violation | None]:
        """Compare what was known before the morning in ``row`` with what the whole record says."""
        days, rows = cls.sessions(), cls.rows()
        later = rows["published"] >= np.datetime64(days[row], "s")
        if future == "absent":
            other = rows[~later]
        else:
            other = rows.assign(value=np.where(later, -rows["value"], rows["value"]))
        whole, cut = (
            fundamentals.known(frame, cls.METRICS, days[:end], ["AAPL"]).values
            for frame, end in ((rows, len(days)), (other, row if future == "absent" else len(days)))
        )
        for metric in cls.METRICS:
            cell = first_difference(whole[metric][:row], cut[metric][:row])
            if cell is not None:
                return _RESTATEMENT, Violation(
                    name=f"{_RESTATEMENT.name}.{metric}",
                    kind=_RESTATEMENT.kind,
                    session=days[cell[0]],
                    symbol="AAPL",
                    whole=_plain(whole[metric][cell]),
                    cut=_plain(cut[metric][cell]),
                    cut_at=days[row],
                    future=future,
                )
        return _RESTATEMENT, None


# ---- planted leaks -------------------------------------------------------------------------


def planted(plant: Plant | None) -> contextlib.AbstractContextManager[None]:
    """Return a context in which the leak is in the real part; nothing for ``None``."""
    return _PLANTS[plant]() if plant is not None else contextlib.nullcontext()


@contextlib.contextmanager
def _replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _with_feature(
    name: str, change: Callable[[Feature], Callable[[Bars, FeatureSettings], FloatArray]]
) -> contextlib.AbstractContextManager[None]:
    registry = tuple(
        replace(feature, compute=change(feature)) if feature.name == name else feature
        for feature in pipeline.REGISTRY
    )
    return _replaced((pipeline, "REGISTRY", registry))


def _centred() -> contextlib.AbstractContextManager[None]:
    """The close over a mean whose window goes as far ahead as back."""

    def compute(bars: Bars, settings: FeatureSettings) -> FloatArray:
        close = bars.close()
        row = np.arange(len(close))
        offsets = range(-(settings.fast_window // 2), settings.fast_window // 2 + 1)
        near = [close[np.clip(row + offset, 0, len(close) - 1)] for offset in offsets]
        gap: FloatArray = close * len(near) / np.cumsum(near, axis=0)[-1] - 1.0
        return gap

    return _with_feature("moving_average_gap", lambda feature: compute)


def _fullsample_scaler() -> contextlib.AbstractContextManager[None]:
    """A feature standardized by its mean and deviation over the whole sample."""

    def change(feature: Feature) -> Callable[[Bars, FeatureSettings], FloatArray]:
        def compute(bars: Bars, settings: FeatureSettings) -> FloatArray:
            values = feature.compute(bars, settings)
            known = values[np.isfinite(values)]
            scaled: FloatArray = (values - known.mean()) / known.std() if known.size else values
            return scaled

        return compute

    return _with_feature("rsi", change)


def _smoothed_hmm() -> contextlib.AbstractContextManager[None]:
    """The regime by its smoothed probability, which knows the rest of the month."""
    filtered = regimes.forward_filter

    def smoothed(start: FloatArray, transition: FloatArray, likelihood: FloatArray) -> FloatArray:
        # Smoothing itself begins with the filter.
        with _replaced((regimes, "forward_filter", filtered)):
            known: FloatArray = regimes.smooth(start, transition, likelihood)
            return known

    return _replaced((regimes, "forward_filter", smoothed))


def _same_bar_fill() -> contextlib.AbstractContextManager[None]:
    """Session ``t`` is traded at its open by what was seen at its close."""
    real = Views.__init__

    def early(
        self: Views, said: Evaluation, raw: RawPanel, rules: MarketRules, policy: Policy
    ) -> None:
        n = len(said.votes)
        shifted: dict[str, Any] = {
            field.name: np.concatenate([value[1:], value[-1:]])
            for field in fields(said)
            if isinstance(value := getattr(said, field.name), np.ndarray)
            and field.name != "ceilings"
            and len(value) == n
        }
        real(self, replace(said, **shifted), raw, rules, policy)

    return _replaced((Views, "__init__", early))


def _restated_fundamentals() -> contextlib.AbstractContextManager[None]:
    """The last figure of a period counts from the day of its first publication."""
    real = fundamentals.known

    def known(
        rows: Any, metrics: Sequence[str], sessions: Sequence[date], symbols: Sequence[str]
    ) -> fundamentals.Known:
        frame = rows if hasattr(rows, "assign") else rows.to_pandas()
        frame = frame.sort_values("published", kind="stable")
        group = frame.groupby(["symbol", "metric", "period"], observed=True, sort=False)
        frame = frame.assign(value=group["value"].transform("last"))
        return real(frame, metrics, sessions, symbols)

    return _replaced((fundamentals, "known", known), (store_facts, "known", known))


def _survivors() -> contextlib.AbstractContextManager[None]:
    """The universe of every day is what trades at the end of the record."""

    def members(lake: Any, market: Market, on: date) -> list[Instrument]:
        bars = lake.table(market, "daily", columns=["session", "symbol"]).to_pandas()
        last = bars.groupby("symbol", observed=True)["session"].max()
        alive = set(last[last == last.max()].index.astype(str))
        return [item for item in lake.instruments(market) if item.symbol in alive]

    return _replaced((universe, "members", members))


_PLANTS: Mapping[Plant, Callable[[], contextlib.AbstractContextManager[None]]] = {
    Plant.CENTRED: _centred,
    Plant.FULLSAMPLE_SCALER: _fullsample_scaler,
    Plant.SMOOTHED_HMM: _smoothed_hmm,
    Plant.SAME_BAR_FILL: _same_bar_fill,
    Plant.RESTATED_FUNDAMENTALS: _restated_fundamentals,
    Plant.SURVIVORS: _survivors,
}
