"""The recorded market on which seeds are played: loaded, evaluated and compiled once, then forked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from trading import bootstrap
from trading import log as logs
from trading.backtest import runner
from trading.bootstrap import Installation
from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import RawPanel
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError, TradingError
from trading.execution.decide import Policy, Views
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.strategies.base import Evaluation

# Sessions that the limits of a decision look back on, and some for the agents to warm up.
HISTORY_SESSIONS = 320
# Names of a wide market that are played with.
MAX_SYMBOLS = 6
# Names that must have had a price as traded the day before.
LEAST_TRADABLE = 4
# The newest recorded sessions that are kept: enough for a thousand different weeks.
MAX_SESSIONS = 3_400


class RecordedDays(BarSource, Protocol):
    """A source that knows on which days intraday bars were recorded: both shipped ones do."""

    def minute_sessions(self, market: Market) -> list[date]:
        """Return those sessions, oldest first."""
        ...


class Kept:
    """A few instruments and years of another source, in memory: every process has them at once."""

    name = "kept"

    def __init__(self, source: RecordedDays, market: Market, recorded: Sequence[date]) -> None:
        self.basis = source.basis
        symbols = _liquid(source, market, recorded)
        self._sessions = list(recorded)
        self._instruments = [i for i in source.instruments(market) if i.symbol in symbols]
        self._daily = source.daily(market, symbols, recorded[0], recorded[-1])
        self._day = self._daily["session"].to_numpy().astype("datetime64[D]")
        self._actions = [
            action
            for action in source.actions(market, recorded[0], recorded[-1])
            if action.symbol in symbols
        ]
        known = set(recorded)
        self.minute_sessions = [s for s in source.minute_sessions(market) if s in known]
        self._minutes = {s: source.minute(market, s, symbols) for s in self.minute_sessions}
        self._no_minutes = source.minute(market, recorded[0], symbols)

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the kept instruments."""
        return self._instruments

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return the kept bars in the range."""
        rows = (self._day >= np.datetime64(first)) & (self._day <= np.datetime64(last))
        frame = self._daily.loc[rows]
        return frame if symbols is None else frame.loc[frame["symbol"].isin(symbols)]

    def sessions(self, market: Market) -> list[date]:
        """Return the kept sessions."""
        return self._sessions

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return the recorded intraday bars of a session."""
        frame = self._minutes.get(session, self._no_minutes)
        return frame.loc[frame["symbol"].isin(symbols)]

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return nothing: no decision of a seed looks at an index."""
        return self._daily.loc[[], ["session"]].assign(name="", close=0.0)

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the recorded actions in the range."""
        return [action for action in self._actions if first <= action.ex_date <= last]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """One market as it was recorded.

    ``daily`` and ``minutes`` are the sessions that a seed may trade: replayed from daily bars,
    four prints each, and from intraday bars.
    """

    installation: Installation
    market: Market
    source: Kept
    rules: MarketRules
    calendar: SessionCalendar
    raw: RawPanel
    evaluation: Evaluation
    actions: tuple[CorporateAction, ...]
    daily: tuple[date, ...]
    minutes: tuple[date, ...]
    dataset: str | None


def load_all(installation: Installation, dataset: Path | None) -> tuple[World, ...]:
    """Return the embedded American history and, where ``dataset`` is given, its Korean one.

    Compiled and warm: what is forked from here starts at once. Nothing of this is logged: a
    process with open log files would share them with all its children.
    """
    logs.configure(None, level="critical", console=False)
    return tuple(
        _load(installation, market, dataset if market is Market.KRX else None)
        for market in markets(dataset)
    )


def markets(dataset: Path | None) -> tuple[Market, ...]:
    """Return the markets that are played."""
    return (Market.US,) if dataset is None else (Market.US, Market.KRX)


def views(world: World, evaluation: Evaluation, policy: Policy) -> Views:
    """Return the views of ``evaluation`` under ``policy``."""
    return Views(evaluation, world.raw, world.rules, policy)


def _load(installation: Installation, market: Market, dataset: Path | None) -> World:
    from trading.store.panels import assemble_panels
    from trading.strategies.evaluation import evaluate

    settings = installation.settings
    rules, calendar = bootstrap.rules_and_calendar(settings, market)
    source = _kept(installation, market, dataset)
    recorded = source.sessions(market)
    raw, adjusted = assemble_panels(
        source.daily(market, None, recorded[0], recorded[-1]),
        source.actions(market, recorded[0], recorded[-1]),
        calendar.sessions(recorded[0], recorded[-1]),
        market,
        None,
        exchanges={i.symbol: i.exchange for i in source.instruments(market)},
        rules=rules,
        require_raw=settings.app.data.require_raw[market],
    )
    evaluation = evaluate(
        adjusted,
        raw,
        features=settings.features,
        strategies=settings.strategies,
        agents=("ma_crossover",),
        exchanges=settings.universe.exchanges[market],
    ).evaluation
    minutes = set(source.minute_sessions)
    lively = raw.tradable.sum(axis=1) >= min(LEAST_TRADABLE, len(raw.symbols))
    played = [s for s in recorded[HISTORY_SESSIONS:] if lively[raw.row_of(s) - 1]]
    world = World(
        installation=installation,
        market=market,
        source=source,
        rules=rules,
        calendar=calendar,
        raw=raw,
        evaluation=evaluation,
        actions=tuple(source.actions(market, recorded[0], recorded[-1])),
        daily=tuple(s for s in played if s not in minutes),
        minutes=tuple(s for s in played if s in minutes),
        dataset=str(dataset) if dataset is not None else None,
    )
    _warm(world)
    return world


def _kept(installation: Installation, market: Market, dataset: Path | None) -> Kept:
    """Read the source in a process of its own: reading starts threads, which do not survive a fork."""
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)

    def read() -> None:
        try:
            source = cast(RecordedDays, bootstrap.open_source(installation, dataset))
            recorded = source.sessions(market)[-MAX_SESSIONS:]
            if len(recorded) <= HISTORY_SESSIONS:
                raise MissingDataError(f"{MARKET_TEXT[market]} 시장의 기록이 모자랍니다: {dataset}")
            sending.send(Kept(source, market, recorded))
        except TradingError as error:
            sending.send(error)

    reader = context.Process(target=read)
    reader.start()
    sending.close()
    try:
        kept: Kept | TradingError = receiving.recv()
    except EOFError:
        raise MissingDataError(f"{MARKET_TEXT[market]} 시장의 기록을 읽지 못했습니다.") from None
    finally:
        reader.join()
        receiving.close()
    if isinstance(kept, TradingError):
        raise kept
    return kept


def _liquid(source: BarSource, market: Market, recorded: Sequence[date]) -> list[str]:
    """Return the names with the most traded value of the last recorded month."""
    frame = source.daily(market, None, recorded[-20], recorded[-1])
    value = (frame["close"] * frame["volume"]).groupby(frame["symbol"]).sum()
    return sorted(value.nlargest(MAX_SYMBOLS).index)


def _warm(world: World) -> None:
    """Trade a few sessions in this process, so that every compiled function is loaded."""
    policy = bootstrap.policy_of(world.installation.settings, world.market, world.calendar)
    first = world.daily[0]
    votes = np.ones_like(world.evaluation.votes)
    always = replace(
        world.evaluation,
        votes=votes,
        confidence=np.full_like(votes, 0.9),
        screened=np.ones_like(world.evaluation.screened),
    )
    runner.run(
        views(world, always, policy),
        world.raw,
        world.actions,
        world.calendar,
        world.rules,
        policy,
        cash=world.installation.settings.app.demo.cash_minor(world.market),
        first=first,
        last=first + timedelta(days=7),
    )
