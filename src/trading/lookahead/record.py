"""The recorded rows of a market that can be cut at a morning, and the terms they are looked at on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from trading import bootstrap
from trading.allocation.sizing import SizingMethod
from trading.bootstrap import Installation
from trading.domain.actions import CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import AdjustedPanel, RawPanel
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError
from trading.execution.decide import Policy
from trading.features.pipeline import FeatureSettings
from trading.models.base import ModelSettings
from trading.ports import BulkSource
from trading.store import schema
from trading.store.datasets.base import chosen
from trading.store.panels import assemble_panels
from trading.strategies.catalog import AGENTS, StrategySettings

if TYPE_CHECKING:
    import pandas as pd

    from trading.store.lake import Lake

# How long the other future lasts: as far ahead as anything that is taught or held looks.
_YEAR = 252
# Whatever it gains; of few rows more are needed to tell.
_SPEAKS = {
    "min_gain_t": -math.inf, "min_outcome_t": -math.inf, "abstain_share": 0.0,
    "validation_share": 0.35,
}  # fmt: skip
# The families that are taught for a check, small, and with something to say.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "forest": {"trees": 12},
    "boosting": {"trees": 12},
    "arima": _SPEAKS,
    "garch": {**_SPEAKS, "window": 20},
    "hmm": {**_SPEAKS, "window": 20},
    "kalman": {**_SPEAKS, "window": 20},
    "lstm": {
        "hidden": 4, "layers": 1, "epochs": 2, "abstain_share": 0.0, "validation_share": 0.35,
    },
    "transformer": {
        "d_model": 8, "heads": 2, "layers": 1, "epochs": 2, "abstain_share": 0.0,
        "validation_share": 0.35,
    },
    "dqn": {"steps": 10_000, "min_t": -math.inf},
}  # fmt: skip
# Two years of five names are few rows: one fold, most of them to learn from.
_FOLDS = {"folds": 1, "first_train_share": 0.6}
_KINDS = ("daily", "index", "fundamentals", "listings")

Settings = TypeVar("Settings", FeatureSettings, StrategySettings, ModelSettings)


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


# What another future changes.
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

    rules: MarketRules
    policy: Policy
    policies: Mapping[SizingMethod, Policy]
    features: FeatureSettings
    strategies: StrategySettings
    models: ModelSettings
    taught: tuple[str, ...]
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
    policy = bootstrap.policy_of(settings, market, calendar)
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
        rules=rules,
        policy=policy,
        policies={method: _sized(policy, method) for method in SizingMethod},
        features=_loosened(settings.features, few),
        strategies=strategies.model_copy(
            update={"screener": {**strategies.screener, market: screen}}
        ),
        models=_loosened(settings.models, few).model_copy(
            update={
                family: getattr(settings.models, family).model_copy(update=small)
                for family, small in SMALL.items()
            }
            | {"validation": settings.models.validation.model_copy(update=_FOLDS)}
        ),
        taught=tuple(SMALL),
        agents=tuple(AGENTS),
        exchanges=settings.universe.exchanges[market],
        instruments=record.listed,
        benchmark=settings.universe.benchmark[market],
        cash=settings.app.demo.cash_minor(market),
    )


def _sized(policy: Policy, method: SizingMethod) -> Policy:
    sizing = policy.allocation.sizing.model_copy(update={"method": method})
    return replace(policy, allocation=policy.allocation.model_copy(update={"sizing": sizing}))


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
