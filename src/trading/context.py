"""What one day of one market works with, and what is known before its open.

The stages that use it are ``day``; how it is built is ``bootstrap``.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trading.backtest import runner
from trading.domain.account import Position
from trading.domain.arrays import IntArray
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, Facts, RawPanel
from trading.domain.wording import model_text
from trading.execution.decide import Policy, RiskState, View, Views
from trading.execution.engine import SessionStart, TradingEngine
from trading.live.journal import (
    Evidence,
    RecordedSession,
    adjustments,
    closed_sessions,
    read_session,
)
from trading.live.pace import Pace
from trading.log import get_logger
from trading.ports import BarSource, Broker, Clock, Ledger, MarketFeed, Notifier, Record, RecordKind
from trading.simulation.account import Account

if TYPE_CHECKING:
    import pandas as pd

    from trading.config import Home, Settings
    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.intake import Intake
    from trading.store.lake import Lake
    from trading.strategies.evaluation import Research

log = get_logger(__name__)

RUN_KEY = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for when an account's run was begun; kept in its ledger.

    ``first_bar`` is the first session of every panel of the run: it is part of the policy.
    ``positions`` (quantity, cost) were held before the first session.
    """

    run_id: str
    market: Market
    first_session: date
    sessions: int
    first_bar: date
    starting_cash: int
    dataset: str | None
    profile: str
    asked: Mapping[str, Any]
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def record(self, ts: datetime) -> Record:
        """Return the run as a ledger record."""
        body = {
            "run_id": self.run_id,
            "market": self.market,
            "first_session": self.first_session.isoformat(),
            "sessions": self.sessions,
            "first_bar": self.first_bar.isoformat(),
            "starting_cash": self.starting_cash,
            "dataset": self.dataset,
            "profile": self.profile,
            "asked": dict(self.asked),
            "positions": {s: list(held) for s, held in self.positions.items()},
        }
        key = f"{RUN_KEY}:{self.run_id}"
        return Record(kind=RecordKind.RUN, key=key, session=self.first_session, ts=ts, body=body)

    @classmethod
    def latest(cls, ledger: Ledger, until: date = date.max) -> "Run | None":
        """Return the run that was begun last in ``ledger``, or ``None``.

        ``until`` asks for the one that a session belongs to.
        """
        bodies = [r.body for r in ledger.read(RecordKind.RUN) if r.session <= until]
        if not bodies:
            return None
        body = bodies[-1]
        return cls(
            run_id=body["run_id"],
            market=Market(body["market"]),
            first_session=date.fromisoformat(body["first_session"]),
            sessions=body["sessions"],
            first_bar=date.fromisoformat(body["first_bar"]),
            starting_cash=body["starting_cash"],
            dataset=body["dataset"],
            profile=body["profile"],
            asked=body["asked"],
            positions={s: (q, c) for s, (q, c) in body["positions"].items()},
        )

    def closed(self, ledger: Ledger) -> list[date]:
        """Return the sessions of this run that are over."""
        return [s for s in closed_sessions(ledger) if s >= self.first_session]

    def settled(self, ledger: Ledger) -> list[date]:
        """Return the sessions of this run that were proven and reported after their close."""
        sessions = {r.session for r in ledger.read(RecordKind.PARITY)}
        return sorted(s for s in sessions if s >= self.first_session)


class Client(Broker, MarketFeed, Protocol):
    """A venue's account and feed in one: the KIS client."""

    def daily_bars(self, symbol: str, first: date, last: date) -> "pd.DataFrame":
        """Return daily bars in the columns of ``store.schema.DAILY_BARS``."""
        ...

    @property
    def call_counts(self) -> tuple[int, int]:
        """REST calls that succeeded and failed so far."""
        ...

    @property
    def frames_handled(self) -> int:
        """Messages of the stream that have become events."""
        ...

    @property
    def connections(self) -> int:
        """How often the stream has connected."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open door to the venue, how its time passes, and what it takes no orders for."""

    client: Client
    pace: Pace
    untradable: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class DayContext:
    """Everything one day of one market works with; built by ``bootstrap``.

    ``connect`` opens the venue for the symbols it will be asked about; ``intake`` fills the lake,
    with what ``source`` has alone where the day ``replays`` it; ``guard`` starts the dead-man
    switch beside a session, unless it is there; ``back_up`` keeps the installation safe after the
    close, where that is wished; ``stopped`` is set once the try that is under way shall end.
    """

    key: str
    env: str
    market: Market
    session: date
    run: Run
    home: "Home"
    settings: "Settings"
    rules: "MarketRules"
    calendar: "SessionCalendar"
    policy: Policy
    clock: Clock
    ledger: Ledger
    lake: "Lake"
    source: BarSource
    notifier: Notifier
    connect: Callable[[Sequence[str]], AbstractAsyncContextManager[Connection]]
    intake: "Intake | None" = None
    guard: Callable[[], None] | None = None
    back_up: Callable[[], Any] | None = None
    replays: bool = False
    panels: tuple[RawPanel, AdjustedPanel, int] | None = None
    facts: Facts | None = None
    prepared: "Prepared | None" = None
    session_task: asyncio.Task[Any] | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def begin_session(self) -> None:
        """Let the task that calls this be the one that ``stop`` ends."""
        self.session_task = asyncio.current_task()
        if self.stopped.is_set():
            raise asyncio.CancelledError

    def stop(self, stopped: threading.Event) -> None:
        """End the session from another thread, now or as soon as the try of ``stopped`` begins it.

        What it had in flight is settled by the next start, as after ``kill -9``.
        """
        stopped.set()
        if self.session_task is not None:
            # The loop of a session that has just ended is closed.
            with contextlib.suppress(RuntimeError):
                self.session_task.get_loop().call_soon_threadsafe(self.session_task.cancel)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What is known before the open of one session."""

    raw: RawPanel
    adjusted: AdjustedPanel
    row: int
    views: Views
    view: View
    regime_from_index: bool
    model_versions: Mapping[str, int]
    research: "Research"
    facts: Facts


def prepare(context: DayContext, evidence: Evidence | None = None) -> Prepared:
    """Return the view of the session and what stands behind it, from the lake alone.

    ``evidence`` asks for the models and the tradable names of a decision that was taken; without
    it the champions vote. One that cannot abstains, and it is told.
    """
    from trading.mlops import promote
    from trading.mlops.health import silenced
    from trading.strategies.evaluation import evaluate

    raw, adjusted, row = panels(context)
    past = adjusted.until(row)
    facts = known_facts(context)
    if evidence is not None:
        versions = dict(evidence.model_versions)
        models = {
            family: promote.load_version(context.home, context.market, family, version)
            for family, version in versions.items()
        }
    else:
        models, loaded, silent = promote.load_champions(
            context.home, context.market, context.settings.features
        )
        silent |= silenced(
            context.home, context.market, models, context.settings.models.drift,
            session=context.session, sessions=past.sessions,
        )  # fmt: skip
        models = {family: model for family, model in models.items() if family not in silent}
        versions = {family: loaded[family] for family in models}
        for family, reason in silent.items():
            _tell_silent(context, family, reason)
    found = evaluate(
        past,
        raw,
        features=context.settings.features,
        strategies=context.settings.strategies,
        facts=facts,
        models=models,
        exchanges=context.settings.universe.exchanges[context.market],
        standing=known_standing(context),
        first_row=max(0, row - 1),
    )
    views = Views(found.evaluation, raw, context.rules, context.policy)
    held = opening_positions(context)
    view = views.at(row, held=held, untradable=evidence.untradable if evidence is not None else ())
    return Prepared(
        raw=raw,
        adjusted=adjusted,
        row=row,
        views=views,
        view=view,
        regime_from_index=bool(found.evaluation.regime_from_index[row - 1]),
        model_versions=versions,
        research=found,
        facts=facts,
    )


def _tell_silent(context: DayContext, family: str, reason: str) -> None:
    """Say that a champion does not vote today."""
    log.error("챔피언이 투표하지 못함, 기권", model=model_text(family), reason=reason, told=True)
    context.notifier.send(
        "error",
        {
            "market": str(context.market),
            "session": str(context.session),
            "message": f"{model_text(family)} 모델은 오늘 기권합니다: {reason}",
            "key": f"silent:{family}:{context.run.run_id}:{context.session}",
        },
    )


def panels(context: DayContext) -> tuple[RawPanel, AdjustedPanel, int]:
    """Return the panels up to the session, whose own row knows only its reference prices.

    Kept until the lake changes.
    """
    from trading.store.panels import build_panels

    if context.panels is not None:
        return context.panels
    raw, adjusted = build_panels(
        context.lake,
        context.calendar,
        context.market,
        None,
        context.run.first_bar,
        context.session,
        benchmark=context.settings.universe.benchmark[context.market],
        rules=context.rules,
        require_raw=context.settings.app.data.require_raw[context.market],
        known_on=context.session,
    )
    context.panels = (raw, adjusted, raw.row_of(context.session))
    context.facts = None
    return context.panels


def known_facts(context: DayContext) -> Facts:
    """Return sectors and fundamentals beside the adjusted panel, as known before the session.

    Kept until the panels are built anew.
    """
    from trading.store.facts import facts_of

    if context.facts is None:
        _, adjusted, row = panels(context)
        context.facts = facts_of(
            context.lake, context.market, adjusted.sessions[:row], adjusted.symbols
        )
    return context.facts


def known_standing(context: DayContext) -> IntArray:
    """Return what each market said of each name on each day before the session."""
    from trading.store.universe import SEEN_WITHIN, standings

    _, adjusted, row = panels(context)
    past = adjusted.until(row)
    listings = context.lake.table(
        context.market,
        "listings",
        symbols=past.symbols,
        first=past.sessions[0].item() - SEEN_WITHIN,
        last=past.sessions[-1].item(),
    )
    return standings(listings, past.sessions, past.symbols)


def opening_positions(context: DayContext) -> list[str]:
    """Return the symbols held before the session."""
    engine = open_engine(context, read_session(context.ledger, context.session))
    return list(engine.account.positions)


def open_engine(context: DayContext, recorded: RecordedSession) -> TradingEngine:
    """Return the engine as it is before the session: as recorded, as the last one left it, or new."""
    cash = context.run.starting_cash
    engine = TradingEngine(
        context.policy,
        Account(context.market, cash),
        RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE),
        runner.fees_of(context.rules, context.calendar),
    )
    for symbol, (quantity, cost) in context.run.positions.items():
        engine.account.positions[symbol] = Position(symbol=symbol, quantity=quantity, cost=cost)
    snapshot = recorded.opened
    if snapshot is None:
        earlier = [s for s in closed_sessions(context.ledger) if s < context.session]
        closed = read_session(context.ledger, earlier[-1]).closed if earlier else None
        snapshot = closed["engine"] if closed is not None else None
    if snapshot is not None:
        engine.restore(snapshot)
    return engine


def session_event(context: DayContext, prepared: Prepared, engine: TradingEngine) -> SessionStart:
    """Return the event that begins the session for ``engine``."""
    open_ts, close_ts = context.calendar.open_close(context.session)
    # A session that nobody traded has its actions too: they are taken before today's.
    earlier = [s for s in closed_sessions(context.ledger) if s < context.session]
    first = earlier[-1] + timedelta(days=1) if earlier else context.session
    actions = runner.actions_by_session(
        context.lake.actions(context.market, first, context.session)
    )
    start = runner.session_start(
        prepared.view,
        prepared.raw,
        prepared.row,
        [action for day in sorted(actions) for action in actions[day]],
        context.rules,
        engine,
        open_ts,
        close_ts,
    )
    return replace(start, adjustments=adjustments(context.ledger, first, context.session))


def quality_path(context: DayContext) -> Path:
    """Return the file that keeps what the morning's data check found, beside the report."""
    return report_dir(context.home, context.env, context.market, context.session) / "quality.json"


def briefing_path(context: DayContext) -> Path:
    """Return the file that keeps what was known before the open, beside the report."""
    return report_dir(context.home, context.env, context.market, context.session) / "briefing.json"


def report_dir(home: "Home", env: str, market: Market, session: date) -> Path:
    """Return the folder of what an account keeps of one session for people."""
    return reports_dir(home, env, market) / session.isoformat()


def reports_dir(home: "Home", env: str, market: Market) -> Path:
    """Return the folder of the reports of one account."""
    return home.data_dir / "reports" / f"{env}-{market}"


def run_dir(home: "Home") -> Path:
    """Return where running sessions show that they live, and where their operator speaks."""
    return home.data_dir / "run"


def heartbeat_path(home: "Home", env: str, market: Market) -> Path:
    """Return the file in which the running session of an account shows that it lives."""
    return run_dir(home) / f"{env}-{market}.json"
