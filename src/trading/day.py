"""The stages of a day as use-case functions, in order.

``market_data → features → retrain → premarket → intraday → closing``: a Prefect task wraps
exactly one, and ``trading demo --no-prefect`` calls the same list plainly. Each stage may be
repeated for the same market and session; what is done already is not done again.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trading.backtest import runner
from trading.backtest.runner import Instants, SessionResult
from trading.domain.account import Position
from trading.domain.actions import CorporateAction
from trading.domain.arrays import IntArray
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, PriceBasis, RawPanel
from trading.domain.order import OrderStatus
from trading.domain.wording import REGIME_TEXT
from trading.errors import MissingDataError, ModelError, SchemaError
from trading.execution.bars import Ohlcv
from trading.execution.decide import Policy, RiskState, View, Views
from trading.execution.engine import SessionStart, TradingEngine
from trading.live import parity as live_parity
from trading.live.journal import (
    Evidence,
    Journal,
    RecordedSession,
    closed_sessions,
    read_session,
)
from trading.live.pace import Pace
from trading.live.parity import ParityReport, history_hashes
from trading.live.session import LiveSession, SessionOutcome, Supervision
from trading.log import get_logger
from trading.monitoring import SessionMonitor, read_heartbeat
from trading.ports import BarSource, Broker, Clock, Ledger, MarketFeed, Notifier, Record, RecordKind
from trading.simulation.account import Account
from trading.simulation.matching import BASIS_POINTS, Matcher
from trading.simulation.paths import Print, minute_prints

if TYPE_CHECKING:
    import pandas as pd

    from trading.config import Home, Settings
    from trading.domain.rules import MarketRules
    from trading.mlops.promote import RetrainReport
    from trading.reporting import ReportPaths
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake

log = get_logger(__name__)

STAGES = ("market_data", "features", "retrain", "premarket", "intraday", "closing")
RUN_KEY = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage did: a Korean sentence and its figures."""

    stage: str
    message: str
    summary: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False


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
    def latest(cls, ledger: Ledger) -> "Run | None":
        """Return the run that was begun last in ``ledger``, or ``None``."""
        bodies = [record.body for record in ledger.read(RecordKind.RUN)]
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

    ``connect`` opens the venue for the symbols it will be asked about.
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
    panels: tuple[RawPanel, AdjustedPanel, int] | None = None
    prepared: "Prepared | None" = None
    quality: dict[str, Any] = field(default_factory=dict)
    retrained: "RetrainReport | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What is known before the open of one session."""

    raw: RawPanel
    adjusted: AdjustedPanel
    row: int
    views: Views
    view: View
    regime_from_index: bool
    model_version: int | None
    screened: int
    screen_reasons: Mapping[str, str]


def market_data(context: DayContext) -> StageResult:
    """Bring the source's bars up to the previous close through the quality gate into the lake."""
    marker = context.home.data_dir / "lake" / f"imported-{context.env}-{context.market}.json"
    done = _imported(marker, context)
    last = context.calendar.previous(context.session)
    first = context.calendar.next(done) if done is not None else context.run.first_bar
    brought = ingest(
        context.lake,
        context.source,
        context.home,
        context.rules,
        context.calendar,
        first=max(first, context.run.first_bar),
        last=last,
        known=context.session,
    )
    if brought is None:
        return StageResult(
            stage="market_data", message="새로 받을 시세가 없습니다.", summary={"rows": 0}
        )
    marker.write_text(
        json.dumps(
            {
                "source": context.run.dataset,
                "first": str(context.run.first_bar),
                "last": str(last),
            }
        )
    )
    context.quality = brought
    context.panels = None
    return StageResult(
        stage="market_data",
        message=f"시세 {brought['rows']:,}행을 검사해 {brought['quarantined']:,}행을 격리했습니다.",
        summary={k: v for k, v in brought.items() if k != "findings"},
    )


def ingest(
    lake: "Lake",
    source: BarSource,
    home: "Home",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    *,
    first: date,
    last: date,
    known: date,
) -> dict[str, Any] | None:
    """Bring bars, actions, instruments and index of a range from a source into the lake.

    ``known`` is the session whose morning it is: its actions are public, its bars are not.
    ``None`` when the range holds nothing new.
    """
    market = rules.market
    lake.upsert_instruments(market, source.instruments(market))
    actions = source.actions(market, first, known)
    lake.upsert_actions(market, actions)
    if first > last:
        return None
    index = source.index(market, first, last)
    if len(index):
        lake.upsert_index(market, index)
    frame = source.daily(market, None, first, last)
    if frame.empty:
        raise MissingDataError(f"{first}부터 {last}까지 기록된 시세가 없습니다.")
    before = calendar.previous(first)
    return admit(
        lake,
        home,
        rules,
        calendar,
        frame,
        as_of=last,
        actions=actions,
        history=lake.daily(market, None, before, before),
    )


def admit(
    lake: "Lake",
    home: "Home",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    frame: "pd.DataFrame",
    *,
    as_of: date,
    actions: Sequence[CorporateAction],
    history: "pd.DataFrame",
) -> dict[str, Any]:
    """Let a batch of daily bars through the quality gate: what fails is set aside with its reason."""
    from trading.store import quality

    market = rules.market
    result = quality.check_daily(
        frame,
        rules,
        calendar,
        market,
        as_of=as_of,
        actions=actions,
        history=history if len(history) else None,
        settings=quality.read_quality(home.config_dir / "quality" / "daily.yaml"),
    )
    lake.quarantine(market, "daily", result.quarantined)
    keyed = frame.drop_duplicates(["symbol", "session"], keep="last")
    lake.upsert_daily(market, keyed, layer="raw")
    if len(result.passed) == 0:
        raise SchemaError(f"시세 {result.rows:,}행이 모두 품질 검사에 걸려 쓰지 않습니다.")
    lake.upsert_daily(market, result.passed, layer="clean")
    page = quality.write_report(result, home.data_dir / "reports" / "quality")
    return {
        "rows": result.rows,
        "quarantined": len(result.quarantined),
        "findings": [f"{f.title}: {f.failed:,}건" for f in result.findings],
        "page": str(page),
    }


def _imported(marker: Any, context: DayContext) -> date | None:
    """Return the last session that this source already brought for this first bar."""
    if not marker.exists():
        return None
    body = json.loads(marker.read_text())
    same = body["source"] == context.run.dataset and body["first"] == str(context.run.first_bar)
    return date.fromisoformat(body["last"]) if same else None


def features(context: DayContext) -> StageResult:
    """Compute the features of the last session and keep them in the lake."""
    from trading.features import pipeline

    _, adjusted, row = _panels(context)
    matrix = pipeline.compute(adjusted.until(row), context.settings.features)
    path = (
        context.home.data_dir / "lake" / "features" / f"market={context.market.upper()}"
        / f"session={context.session}.json"
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {
        symbol: {
            name: float(value)
            for name, value in zip(matrix.names, matrix.values[-1, i], strict=True)
            if np.isfinite(value)
        }
        for i, symbol in enumerate(adjusted.symbols)
    }
    body = {"fingerprint": matrix.fingerprint, "values": {s: v for s, v in known.items() if v}}
    path.write_text(json.dumps(body, ensure_ascii=False))
    return StageResult(
        stage="features",
        message=f"{len(body['values']):,}종목의 특성 {len(matrix.names)}가지를 계산했습니다.",
        summary={"symbols": len(body["values"]), "features": len(matrix.names)},
    )


def retrain(context: DayContext) -> StageResult:
    """Train a challenger when it is due; the champion stays when training fails."""
    from trading.mlops import promote

    raw, adjusted, row = _panels(context)
    is_adjusted = raw.basis is PriceBasis.ADJUSTED
    try:
        report = promote.retrain(
            adjusted.until(row),
            context.home.root,
            context.settings.features,
            context.settings.models,
            bias="공급자 수정주가로 배워 증거가 되지 않음" if is_adjusted else None,
        )
    except ModelError as error:
        log.error("재학습 실패, 기존 모델 유지", reason=str(error))
        context.notifier.send("training_failed", {"message": str(error)})
        return StageResult(stage="retrain", message=f"학습하지 못했습니다: {error}", skipped=True)
    context.retrained = report
    if not report.trained:
        return StageResult(stage="retrain", message="아직 다시 학습할 때가 아닙니다.", skipped=True)
    if report.promoted:
        context.notifier.send(
            "promoted",
            {"version": report.version, "verdict": report.verdict, "reason": report.reason},
        )
    return StageResult(
        stage="retrain",
        message=report.reason,
        summary={
            "version": report.version,
            "verdict": report.verdict,
            "rank_ic": round(report.rank_ic, 4),
            "rank_ic_t": round(report.rank_ic_t, 2),
        },
    )


def premarket(context: DayContext) -> StageResult:
    """Evaluate every agent on what is known, screen the universe, and make today's view."""
    prepared = prepare(context)
    context.prepared = prepared
    path = context.home.data_dir / "reports" / context.market / str(context.session) / "screen.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(prepared.screen_reasons, ensure_ascii=False, indent=1))
    regime = REGIME_TEXT.get(prepared.view.regime, prepared.view.regime)
    return StageResult(
        stage="premarket",
        message=f"{prepared.screened:,}종목을 골랐습니다. 시장 국면: {regime}.",
        summary={
            "screened": prepared.screened,
            "watched": len(prepared.view.symbols),
            "regime": prepared.view.regime,
            "model_version": prepared.model_version,
        },
    )


def prepare(context: DayContext, evidence: Evidence | None = None) -> Prepared:
    """Return the view of the session and what stands behind it, from the lake alone.

    ``evidence`` asks for the model and the tradable names of a decision that was taken; without
    it the champion votes.
    """
    from trading.mlops import promote
    from trading.strategies.evaluation import evaluate
    from trading.strategies.screener import ScreenReason

    raw, adjusted, row = _panels(context)
    root = context.home.root
    version = (
        evidence.model_version
        if evidence is not None
        else promote.champion_version(root, context.market)
    )
    model = promote.load_version(root, context.market, version) if version is not None else None
    evaluation = evaluate(
        adjusted.until(row),
        raw,
        features=context.settings.features,
        strategies=context.settings.strategies,
        model=model,
        first_row=max(0, row - 1),
    )
    views = Views(
        evaluation, raw, context.rules, context.policy, sector_codes(context, raw.symbols)
    )
    held = opening_positions(context)
    view = views.at(row, held=held, untradable=evidence.untradable if evidence is not None else ())
    reasons = evaluation.screen_reason[row - 1]
    return Prepared(
        raw=raw,
        adjusted=adjusted,
        row=row,
        views=views,
        view=view,
        regime_from_index=bool(evaluation.regime_from_index[row - 1]),
        model_version=version,
        screened=int(evaluation.screened[row - 1].sum()),
        screen_reasons={
            symbol: ScreenReason(int(reasons[i])).text for i, symbol in enumerate(raw.symbols)
        },
    )


def _panels(context: DayContext) -> tuple[RawPanel, AdjustedPanel, int]:
    """Return the panels up to the session, whose own row knows only its reference prices.

    Kept until the lake changes.
    """
    from trading.store.adjust import build_panels

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
    )
    context.panels = (raw, adjusted, raw.row_of(context.session))
    return context.panels


def sector_codes(context: DayContext, symbols: Sequence[str]) -> IntArray:
    """Return a code for each symbol's sector, -1 where no source names one."""
    sectors = {i.symbol: i.sector for i in context.lake.instruments(context.market)}
    names = sorted({s for s in sectors.values() if s is not None})
    return np.array(
        [names.index(s) if (s := sectors.get(symbol)) is not None else -1 for symbol in symbols],
        dtype=np.int64,
    )


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


def intraday(context: DayContext) -> StageResult:
    """Trade the session at the venue, from before the open to after the close."""
    recorded = read_session(context.ledger, context.session)
    if recorded.closed is not None:
        return StageResult(stage="intraday", message="이미 끝난 세션입니다.", skipped=True)
    prepared = context.prepared or prepare(context)
    context.prepared = prepared
    outcome = asyncio.run(_trade(context, prepared, recorded))
    return StageResult(
        stage="intraday",
        message=f"주문 {outcome.orders}건, 체결 {outcome.fills}건으로 세션을 마쳤습니다.",
        summary={
            "orders": outcome.orders,
            "fills": outcome.fills,
            "equity": outcome.equity,
            "cash_difference": outcome.cash_difference,
        },
    )


async def _trade(
    context: DayContext, prepared: Prepared, recorded: RecordedSession
) -> SessionOutcome:
    engine = open_engine(context, recorded)
    app = context.settings.app
    about: dict[str, Any] = {
        "market": str(context.market),
        "session": str(context.session),
        "currency": str(context.market.currency),
    }
    async with context.connect(prepared.view.symbols) as connection:
        untradable = sorted(connection.untradable & set(prepared.view.symbols))
        view = prepared.views.at(prepared.row, held=engine.account.positions, untradable=untradable)
        journal = Journal(context.ledger, context.session, connection.pace.clock)
        session = LiveSession(
            engine,
            connection.client,
            connection.client,
            journal,
            connection.pace,
            _Bound(context.notifier, about),
            Supervision(
                check_interval=timedelta(minutes=app.check_interval_minutes),
                absence_listings=app.supervision.absence_listings,
                absence_wait_seconds=app.supervision.absence_wait_seconds,
            ),
        )
        told = f"{context.run.run_id}:{context.session}"
        context.notifier.send("session_started", about | {"key": f"start:{told}"})
        monitor = SessionMonitor(
            heartbeat_path(context),
            market=str(context.market),
            session=str(context.session),
            clock=context.clock,
            counters=lambda: _counters(connection.client),
        )
        async with monitor.beating():
            outcome = await session.run(
                _start(context, prepared, engine),
                view,
                recorded,
                evidence=Evidence(
                    history=history_hashes(prepared.raw, prepared.row, view.symbols),
                    model_version=prepared.model_version,
                    untradable=untradable,
                ),
            )
        ended = {
            "equity": outcome.equity,
            "cash": outcome.cash,
            "orders": outcome.orders,
            "fills": outcome.fills,
            "cash_difference": outcome.cash_difference,
            "key": f"end:{told}",
        }
        context.notifier.send("session_ended", about | ended)
        return outcome


def heartbeat_path(context: DayContext) -> Path:
    """Return the file in which the running session of this account shows that it lives."""
    return context.home.data_dir / "run" / f"{context.env}-{context.market}.json"


def _counters(client: Client) -> dict[str, int]:
    succeeded, failed = client.call_counts
    return {
        "api_succeeded": succeeded,
        "api_failed": failed,
        "frames": client.frames_handled,
        "connections": client.connections,
    }


def _start(context: DayContext, prepared: Prepared, engine: TradingEngine) -> SessionStart:
    open_ts, close_ts = context.calendar.open_close(context.session)
    actions = runner.actions_by_session(
        context.lake.actions(context.market, context.session, context.session)
    )
    return runner.session_start(
        prepared.view,
        prepared.raw,
        prepared.row,
        actions.get(context.session, ()),
        context.rules,
        engine,
        open_ts,
        close_ts,
    )


def closing(context: DayContext) -> StageResult:
    """Collect the session's bars from the venue, prove parity, and write the report."""
    recorded = read_session(context.ledger, context.session)
    prepared = context.prepared or prepare(context, recorded.evidence)
    untradable = set(recorded.evidence.untradable)
    asyncio.run(_collect(context, [s for s in prepared.view.symbols if s not in untradable]))
    report = parity(context)
    index = context.source.index(context.market, context.session, context.session)
    if len(index):
        context.lake.upsert_index(context.market, index)
    summary = summarize(context, report)
    paths = write_report(context, report)
    prepared = context.prepared or prepared
    context.ledger.append(
        Record(
            kind=RecordKind.PARITY,
            key=f"{context.session}:parity",
            session=context.session,
            ts=context.clock.now(),
            body={
                "orders": report.orders,
                "differences": len(report.differences),
                "unexplained": report.unexplained,
                "price_basis": prepared.raw.basis,
            },
        )
    )
    context.notifier.send(
        "daily_report",
        {
            "market": str(context.market),
            "session": str(context.session),
            "currency": str(context.market.currency),
            "equity": summary["final_equity"],
            "orders": summary["orders"],
            "fills": summary["fills"],
            "report": str(paths.html),
            "key": f"daily:{context.run.run_id}:{context.session}",
        },
    )
    return StageResult(
        stage="closing",
        message=f"{context.session} 세션을 정리했습니다. 보고서: {paths.html}",
        summary=summary,
    )


async def _collect(context: DayContext, symbols: Sequence[str]) -> None:
    """Ask the venue for the session's daily bars and store them through the quality gate."""
    import pandas as pd

    async with context.connect(symbols) as connection:
        frames = [
            connection.client.daily_bars(symbol, context.session, context.session)
            for symbol in symbols
        ]
    bars = pd.concat([f for f in frames if len(f)]) if any(len(f) for f in frames) else None
    if bars is None:
        raise MissingDataError(f"{context.session} 세션의 일봉을 거래소에서 받지 못했습니다.")
    previous = context.calendar.previous(context.session)
    admit(
        context.lake,
        context.home,
        context.rules,
        context.calendar,
        bars,
        as_of=context.session,
        actions=context.lake.actions(context.market, previous, context.session),
        history=context.lake.daily(context.market, symbols, previous, previous),
    )
    context.panels = None


def parity_verdicts(ledger: Ledger, sessions: Sequence[date]) -> list[Mapping[str, Any]]:
    """Return the verdicts on ``sessions``, in order of writing."""
    wanted = set(sessions)
    return [r.body for r in ledger.read(RecordKind.PARITY) if r.session in wanted]


def parity(context: DayContext) -> ParityReport:
    """Compute the finished session again from the lake and compare."""
    recorded = read_session(context.ledger, context.session)
    if recorded.closed is None or recorded.opened is None:
        raise MissingDataError(f"{context.session} 세션은 아직 끝나지 않았습니다.")
    prepared = prepare(context, recorded.evidence)
    engine = open_engine(context, recorded)
    start = _start(context, prepared, engine)
    minutes = context.source.minute(context.market, context.session, list(prepared.view.symbols))
    again = _again(context, prepared, engine, start, minutes)
    untradable = set(recorded.evidence.untradable)
    seen = [s for s in recorded.observed if s not in untradable]
    bars, neighbours = _lake_bars(context, seen)
    report = live_parity.compare(
        recorded,
        again,
        history=history_hashes(prepared.raw, prepared.row, prepared.view.symbols),
        lake_bars=bars,
        neighbour_bars=neighbours,
        with_volume=len(minutes) == 0,
    )
    for difference in report.differences:
        log.warning(
            "재계산 차이",
            kind=str(difference.kind),
            symbol=difference.symbol,
            detail=difference.detail,
            explained=difference.explained,
        )
    return report


def _again(
    context: DayContext,
    prepared: Prepared,
    engine: TradingEngine,
    start: SessionStart,
    minutes: "pd.DataFrame",
) -> SessionResult:
    matcher = Matcher(round(context.policy.orders.participation * BASIS_POINTS))
    instants = _instants(prepared, start, minutes)
    return runner.run_session(engine, matcher, start, prepared.view, instants)


def _instants(prepared: Prepared, start: SessionStart, minutes: "pd.DataFrame") -> Instants:
    """Return the session's prints: of its recorded minutes where there are some, else its bar."""
    daily = runner.daily_instants(prepared.raw, prepared.row, prepared.view, start)
    if minutes.empty:
        return daily
    with_minutes = set(minutes["symbol"])
    by_instant: dict[datetime, list[Print]] = {}
    for ts, prints in daily:
        by_instant.setdefault(ts, []).extend(p for p in prints if p.symbol not in with_minutes)
    for symbol, rows in minutes.groupby("symbol", sort=True):
        tradable = prepared.raw.tradable[prepared.row, prepared.raw.symbols.index(str(symbol))]
        if not tradable:
            continue
        bars = zip(
            (ts.to_pydatetime() for ts in rows["ts"]),
            rows["open"].tolist(),
            rows["high"].tolist(),
            rows["low"].tolist(),
            rows["close"].tolist(),
            rows["volume"].tolist(),
            strict=True,
        )
        for trade in minute_prints(str(symbol), bars, start.open_ts, start.close_ts):
            by_instant.setdefault(trade.ts, []).append(trade)
    order = {symbol: i for i, symbol in enumerate(prepared.view.symbols)}
    return [
        (ts, sorted(prints, key=lambda p: order[p.symbol]))
        for ts, prints in sorted(by_instant.items())
        if prints
    ]


def _lake_bars(
    context: DayContext, symbols: list[str]
) -> tuple[dict[str, Ohlcv], dict[str, list[Ohlcv]]]:
    """Return the lake's bars of the session, and those of its neighbours."""
    before = context.calendar.previous(context.session)
    after = context.calendar.next(context.session)
    frame = context.lake.daily(context.market, symbols, before, after)
    here: dict[str, Ohlcv] = {}
    beside: dict[str, list[Ohlcv]] = {}
    columns = [frame[name].tolist() for name in ("open", "high", "low", "close", "volume")]
    for day, symbol, *bar in zip(frame["session"], frame["symbol"], *columns, strict=True):
        ohlcv = (bar[0], bar[1], bar[2], bar[3], bar[4])
        if day.date() == context.session:
            here[symbol] = ohlcv
        else:
            beside.setdefault(symbol, []).append(ohlcv)
    return here, beside


def summarize(context: DayContext, report: ParityReport | None) -> dict[str, Any]:
    """Return the session's machine-readable figures."""
    recorded = read_session(context.ledger, context.session)
    closed = recorded.closed or {}
    sent = [o for o in recorded.orders.values() if o.status is not OrderStatus.DENIED]
    return {
        "session": str(context.session),
        "market": str(context.market),
        "currency": str(context.market.currency),
        "orders": len(sent),
        "fills": len(recorded.fills),
        "final_equity": closed.get("equity", 0),
        "cash_difference": closed.get("cash_difference", 0),
        "ambiguous_fills": closed.get("ambiguous_fills", 0),
        "parity_orders": report.orders if report is not None else 0,
        "parity_differences": len(report.differences) if report is not None else 0,
        "parity_unexplained": report.unexplained if report is not None else 0,
    }


def write_report(context: DayContext, parity_report: ParityReport) -> "ReportPaths":
    """Write the session's report from the ledger, the lake and the verdict on it."""
    from trading import reporting

    recorded = read_session(context.ledger, context.session)
    prepared = context.prepared or prepare(context)
    closed = recorded.closed or {}
    decision = recorded.decision
    names = {i.symbol: i.name for i in context.lake.instruments(context.market)}
    equity = equity_curve(context)
    risk = context.policy.risk
    positions = [
        Position(symbol=s, quantity=q, cost=c)
        for s, (q, c) in closed["engine"]["account"]["positions"].items()
    ]
    prices = closed["engine"]["last_price"]
    values = [e for _, e in equity]
    peak = max(values)
    gross = sum(p.quantity * prices[p.symbol] for p in positions) / values[-1]
    index = context.lake.index(context.market, equity[0][0], context.session)
    name = context.settings.universe.benchmark[context.market]
    named = index.loc[index["name"] == name]
    levels = {
        day.date(): float(close)
        for day, close in zip(named["session"], named["close"], strict=True)
    }
    # The panel of the morning ends before the session; its own bars are in the lake by now.
    raw, _, _ = _panels(context)
    benchmark, benchmark_name = _benchmark(raw, [d for d, _ in equity], levels, name)
    fills: dict[str, tuple[int, int, int, int]] = {}
    for f in recorded.fills:
        q, a, c, t = fills.get(f.intent_id, (0, 0, 0, 0))
        fills[f.intent_id] = (q + f.fill.quantity, a + f.fill.amount, c + f.commission, t + f.tax)
    lines = [
        reporting.OrderLine(
            intent_id=o.intent.intent_id,
            boundary=o.intent.boundary,
            symbol=o.intent.symbol,
            name=names.get(o.intent.symbol, ""),
            side=o.intent.side,
            quantity=o.intent.quantity,
            limit=o.intent.limit,
            status=_final_status(o.status, fills.get(o.intent.intent_id), o.intent.quantity),
            filled_quantity=fills.get(o.intent.intent_id, (0, 0, 0, 0))[0],
            filled_amount=fills.get(o.intent.intent_id, (0, 0, 0, 0))[1],
            commission=fills.get(o.intent.intent_id, (0, 0, 0, 0))[2],
            tax=fills.get(o.intent.intent_id, (0, 0, 0, 0))[3],
            reason=o.intent.reason,
            message=o.reason,
        )
        for o in recorded.orders.values()
    ] + [
        reporting.OrderLine(
            intent_id=intent.intent_id,
            boundary=intent.boundary,
            symbol=intent.symbol,
            name=names.get(intent.symbol, ""),
            side=intent.side,
            quantity=intent.quantity,
            limit=intent.limit,
            status=OrderStatus.DENIED,
            filled_quantity=0,
            filled_amount=0,
            commission=0,
            tax=0,
            reason=intent.reason,
            verdict=code,
        )
        for intent, code in recorded.denied
    ]
    report = reporting.SessionReport(
        market=context.market,
        session=context.session,
        environment=context.env,
        run_id=context.run.run_id,
        generated_at=context.calendar.open_close(context.session)[1],
        state=TradingState(closed["state"]),
        equity=equity,
        cash=closed["cash"],
        positions=[
            reporting.PositionLine(
                symbol=p.symbol,
                name=names.get(p.symbol, ""),
                quantity=p.quantity,
                average_price=p.average_price,
                last_price=prices[p.symbol],
            )
            for p in positions
        ],
        orders=lines,
        decisions=[decision] if decision is not None else [],
        cash_difference=closed["cash_difference"],
        position_differences=[
            f"{what}: 장부 {ours:,} / 거래소 {theirs:,}"
            for what, ours, theirs in closed["differences"]
            if what != "cash"
        ],
        counters=_counted(context),
        benchmark=benchmark,
        benchmark_name=benchmark_name,
        risk=[
            reporting.RiskLine(
                name="포트폴리오 하루 VaR 95%",
                value=decision.portfolio_var if decision is not None else None,
                limit=risk.max_portfolio_var,
            ),
            reporting.RiskLine(name="총 노출", value=gross, limit=risk.max_gross),
            reporting.RiskLine(name="낙폭", value=1 - values[-1] / peak, limit=risk.max_drawdown),
            reporting.RiskLine(
                name="하루 손익", value=values[-1] / values[-2] - 1, limit=-risk.max_daily_loss
            ),
        ],
        quality=reporting.QualityLine(
            rows=context.quality["rows"],
            quarantined=context.quality["quarantined"],
            findings=tuple(context.quality["findings"]),
        )
        if context.quality
        else None,
        parity=reporting.ParityLine(
            orders=parity_report.orders,
            differences=len(parity_report.differences),
            unexplained=parity_report.unexplained,
            details=tuple(f"{d.symbol} {d.kind}: {d.detail}" for d in parity_report.differences),
        ),
        actions=context.lake.actions(context.market, context.session, context.session),
        labels=_labels(context, prepared),
        decision_hash=runner.decision_hash([decision] if decision is not None else []),
        orders_hash=runner.orders_hash(o.intent for o in recorded.orders.values()),
        sessions_per_year=context.policy.sessions_per_year,
    )
    return reporting.write_report(context.home.data_dir / "reports", report)


def _final_status(
    status: OrderStatus, filled: tuple[int, int, int, int] | None, quantity: int
) -> OrderStatus:
    """Return the status an order ended with: the ledger keeps fills apart from updates."""
    return OrderStatus.FILLED if filled is not None and filled[0] == quantity else status


def _labels(context: DayContext, prepared: Prepared) -> dict[str, str]:
    labels = {"price_basis": str(prepared.raw.basis)}
    if prepared.raw.basis is PriceBasis.ADJUSTED:
        labels["수정주가"] = "일부 가격이 공급자 수정주가라 이 결과로는 모델을 승격하지 않습니다."
    if not prepared.regime_from_index:
        labels["국면 기준"] = "기록된 지수가 없어 거래 가능 종목의 수익률로 국면을 추정했습니다."
    if context.env == "demo":
        labels["생존 편향"] = "지금까지 남은 종목의 기록이라 성과가 실제보다 좋게 보일 수 있습니다."
        labels["재생 규칙"] = "봉 하나를 시가·저가·고가·종가 네 번의 체결로 재생했습니다."
    return labels


def _counted(context: DayContext) -> dict[str, float]:
    """Return what the session's last heartbeat counted, by Korean name."""
    beat = read_heartbeat(heartbeat_path(context))
    if beat is None or beat.session != str(context.session):
        return {}
    names = {
        "api_succeeded": "API 성공",
        "api_failed": "API 실패",
        "frames": "실시간 메시지",
        "connections": "실시간 연결",
    }
    counted = {text: float(beat.counters[name]) for name, text in names.items()}
    return counted | {"메모리 (MB)": beat.memory_mb}


def equity_curve(context: DayContext) -> list[tuple[date, int]]:
    """Return (session, equity) after each close, beginning with the capital the day before."""
    closed = context.run.closed(context.ledger)
    curve = [(context.calendar.previous(closed[0]), context.run.starting_cash)]
    for session in closed:
        record = read_session(context.ledger, session).closed
        if record is not None and session <= context.session:
            curve.append((session, record["equity"]))
    return curve


def _benchmark(
    raw: RawPanel,
    days: Sequence[date],
    levels: Mapping[date, float],
    name: str,
) -> tuple[list[tuple[date, float]], str]:
    """Return the index over ``days``, or the equal-weight universe where it was not recorded."""
    if all(day in levels for day in days):
        return [(day, levels[day]) for day in days], name
    level, series = 1.0, [(days[0], 1.0)]
    for day in days[1:]:
        row = raw.row_of(day)
        known = (raw.reference[row] > 0) & (raw.close[row] > 0) & raw.tradable[row]
        if known.any():
            level *= float(np.mean(raw.close[row][known] / raw.reference[row][known]))
        series.append((day, level))
    return series, "같은 종목군 동일 비중"


class _Bound:
    """A notifier whose every message says which session it is about."""

    def __init__(self, notifier: Notifier, about: Mapping[str, Any]) -> None:
        self._notifier = notifier
        self._about = about

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        self._notifier.send(event, {**self._about, **fields})
