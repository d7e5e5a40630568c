"""The stages of a day as use-case functions, in order.

``market_data → features → retrain → premarket → intraday → closing``: a Prefect task wraps
exactly one, and ``trading demo --no-prefect`` calls the same list plainly. Each stage may be
repeated for the same market and session; what is done already is not done again.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from trading.briefing import before_open
from trading.context import (
    Client,
    Connection,
    DayContext,
    Prepared,
    briefing_path,
    heartbeat_path,
    known_facts,
    known_standing,
    open_engine,
    panels,
    prepare,
    quality_path,
    run_dir,
    session_event,
)
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.market import PriceBasis
from trading.domain.order import OrderStatus
from trading.domain.wording import REGIME_TEXT, model_text
from trading.errors import (
    BrokerError,
    DataError,
    LeaseLostError,
    LedgerError,
    MissingDataError,
    ModelError,
    NothingLeftError,
    SchemaError,
    SessionBusyError,
    TransientBrokerError,
)
from trading.execution.decide import View
from trading.execution.engine import SessionStart, TradingEngine
from trading.live.control import Watch
from trading.live.drill import drill
from trading.live.journal import (
    Evidence,
    Journal,
    RecordedSession,
    read_session,
)
from trading.live.parity import history_hashes
from trading.live.session import LiveSession, SessionOutcome, Supervision
from trading.log import get_logger
from trading.monitoring import (
    BEAT_SECONDS,
    OPEN,
    SessionMonitor,
    hours_text,
    machine,
    market_states,
    status_of,
)
from trading.ports import Notifier, Record, RecordKind
from trading.sessions import SessionCalendar
from trading.settlement import capital_before, collect, parity, summarize, write_report
from trading.store.intake import write_pages

if TYPE_CHECKING:
    from trading.mlops.retrain import Outcomes
    from trading.mlops.track import Venue

log = get_logger(__name__)

# How often a session looks whether its dead-man switch is there.
_GUARD_SECONDS = 10.0

STAGES = ("market_data", "features", "retrain", "premarket", "intraday", "closing")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage did: a Korean sentence and its figures."""

    stage: str
    message: str
    summary: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False


def perform(
    stage: Callable[[DayContext], StageResult], context: DayContext, *, is_told: bool = False
) -> StageResult:
    """Carry out one stage and say so: that it begins, what came of it, why it failed.

    ``is_told``: whoever called sends a message of its own when nothing comes of it.
    """
    # Arguments may be bound to it.
    name = str(getattr(stage, "func", stage).__name__)
    log.info("단계 시작", stage=name)
    try:
        result = stage(context)
    except Exception:
        # Whoever called may try again, and then nobody else would have told of this one.
        log.exception("단계 실패", stage=name, told=is_told)
        raise
    log.info("단계 완료", stage=name, message=result.message)
    return result


def market_data(context: DayContext) -> StageResult:
    """Bring the source's bars up to the previous close through the quality gate into the lake."""
    assert context.intake is not None
    if context.replays:
        stamp = context.clock.now().strftime("%Y%m%dT%H%M%S%f")
        folder = context.home.data_dir / "archive" / f"lake-{context.market}-{stamp}"
        if context.intake.leave_others(folder):
            log.info("다른 자료로 채운 저장소 보관", path=str(folder))
    first, last = context.run.first_bar, context.calendar.previous(context.session)
    context.panels = None
    morning = _morning(context)
    brought = context.intake.bring(("instruments", "index", "daily"), (first, last), known=morning)
    if brought.refused:
        raise SchemaError(" ".join(brought.refused))
    if last in brought.missing:
        raise MissingDataError(f"{last} 거래일의 일봉이 아직 없습니다.")
    if brought.failed and not len(context.lake.daily(context.market, None, last, last)):
        reason = next(iter(brought.failed.values()))
        raise TransientBrokerError(f"{last} 거래일의 일봉을 하나도 받지 못했습니다: {reason}")
    _bring_facts(context, (first, last), morning)
    _bring_abroad(context, morning)
    rows = brought.rows.get("daily", 0)
    missing = f" 받지 못한 것이 {len(brought.failed):,}가지 있습니다." if brought.failed else ""
    if rows == 0:
        return StageResult(
            stage="market_data",
            message=f"새로 받은 시세가 없습니다.{missing}",
            summary={"rows": 0},
        )
    page = write_pages(brought.reports, context.home)
    kept = quality_path(context)
    kept.parent.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "quarantined": brought.quarantined, "findings": brought.told}
    kept.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    return StageResult(
        stage="market_data",
        message=f"시세 {rows:,}행을 검사해 {brought.quarantined:,}행을 격리했습니다.{missing}",
        summary={"rows": rows, "quarantined": brought.quarantined, "page": page},
    )


def _morning(context: DayContext) -> date:
    """Return the day whose morning it is, which no source knows anything beyond.

    Who learns on a Saturday for Monday does not know Monday's splits: they are asked for then.
    """
    if context.replays:
        return context.session
    zone = ZoneInfo(context.market.timezone_name)
    return min(context.session, context.clock.now().astimezone(zone).date())


def _bring_facts(context: DayContext, span: tuple[date, date], morning: date) -> None:
    """Bring what is known of the names besides their bars; without it the day goes on.

    From so long before the first bar as a figure may be old: what an earlier run has left in the
    lake from before then changes nothing.
    """
    from trading.store.universe import SEEN_WITHIN

    assert context.intake is not None
    oldest = timedelta(days=context.settings.features.factors.max_age_days)
    facts = context.intake.bring(
        ("listings", "fundamentals"),
        (span[0] - max(oldest, SEEN_WITHIN), span[1]),
        known=morning,
    )
    lacking = [*facts.refused, *facts.failed.values()]
    if lacking:
        log.warning("재무와 시장 조치 자료를 다 받지 못함", reason=" ".join(lacking))


def _bring_abroad(context: DayContext, morning: date) -> None:
    """Bring the indices of the other markets: what they did overnight is told before the open."""
    assert context.intake is not None
    for market in Market:
        if market is context.market or not context.intake.offers("index", market):
            continue
        rules = context.settings.markets[market]
        intake = context.intake.abroad(rules, SessionCalendar(market, rules))
        # Where another source's account lives, its lake is left alone.
        if not intake.has_others:
            yesterday = context.session - timedelta(days=1)
            intake.bring(("index",), (context.run.first_bar, yesterday), known=morning)


def features(context: DayContext) -> StageResult:
    """Compute the features of the last session and keep them in the lake."""
    from trading.features import pipeline
    from trading.features.indicators import Bars

    _, adjusted, row = panels(context)
    bars = Bars(adjusted.until(row), known_facts(context))
    # Only the last session is kept: of a wide universe the whole matrix would not fit.
    matrix = pipeline.compute(bars, context.settings.features, rows=slice(-1, None))
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


def retrain(context: DayContext, *, is_full: bool = False) -> StageResult:
    """Train challengers where they are due; a champion stays when training fails.

    One that the last session refused leaves first. ``is_full`` takes every family, with the time
    that they need together.
    """
    from trading.mlops import health

    health.apply(context)
    return tell_training(context, train_families(context, is_full=is_full))


def train_families(
    context: DayContext,
    families: Sequence[str] | None = None,
    *,
    is_full: bool = False,
    force: bool = False,
) -> "Outcomes":
    """Train ``families``, those of every day when not given, on what is known before the session.

    Named families have the time of a full training. ``force`` trains what is not due, too.
    """
    from trading.mlops.retrain import retrain_all
    from trading.mlops.train import FAMILIES

    models = context.settings.models
    retraining = models.retrain
    return retrain_all(
        venue_of(context),
        context.home,
        models,
        families or (tuple(FAMILIES) if is_full else models.families),
        minutes=retraining.full_minutes if is_full or families else retraining.daily_minutes,
        is_full=is_full,
        force=force,
        bias=evidence_bias(context),
    )


def search_models(
    context: DayContext,
    families: Sequence[str] | None = None,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], "Outcomes"]:
    """Look for a better configuration, and train and judge the best as a challenger."""
    from trading.mlops import automl
    from trading.mlops.retrain import Outcomes, retrain

    models, venue = context.settings.models, venue_of(context)
    sought = automl.search(
        venue, context.home, models, families, minutes=minutes, progress=progress
    )
    report = retrain(
        venue, context.home, models, family=sought.family, force=True,
        bias=evidence_bias(context), chosen=sought.chosen, others=sought.tracks,
    )  # fmt: skip
    return sought.to_json(), Outcomes(reports=(report,), missed={}, silent={})


def tell_training(context: DayContext, found: "Outcomes") -> StageResult:
    """Say what a training came to, and who trades now."""
    from trading.mlops.retrain import text

    market = str(context.market)
    for family, reason in found.missed.items():
        message = f"{model_text(family)}: {reason} (챔피언은 그대로입니다)"
        context.notifier.send("training_failed", {"market": market, "message": message})
    for report in found.trained:
        if report.promoted:
            context.notifier.send(
                "promoted",
                {
                    "market": market,
                    "model": model_text(report.family),
                    "version": report.version,
                    "verdict": report.verdict,
                    "reason": report.reason,
                    "report": report.page,
                },
            )
    if not (found.trained or found.missed or found.silent):
        return StageResult(stage="retrain", message="아직 다시 학습할 때가 아닙니다.", skipped=True)
    lines = text(found)
    return StageResult(
        stage="retrain",
        message=" · ".join(lines),
        summary={"models": lines, "pages": [report.page for report in found.trained]},
        skipped=not found.trained,
    )


def evidence_bias(context: DayContext) -> str | None:
    """Return in Korean what makes the history useless as proof, if anything does."""
    is_adjusted = panels(context)[0].basis is PriceBasis.ADJUSTED
    return "공급자 수정주가로 배워 증거가 되지 않음" if is_adjusted else None


def venue_of(context: DayContext) -> "Venue":
    """Return the history before the session and how it would be traded."""
    from trading.mlops.track import Venue

    raw, adjusted, row = panels(context)
    first, last = adjusted.sessions[0].item(), adjusted.sessions[row - 1].item()
    return Venue(
        raw=raw,
        adjusted=adjusted.until(row),
        actions=context.lake.actions(context.market, first, last),
        calendar=context.calendar,
        rules=context.rules,
        policy=context.policy,
        strategies=context.settings.strategies,
        features=context.settings.features,
        cash=context.run.starting_cash,
        facts=known_facts(context),
        exchanges=context.settings.universe.exchanges[context.market],
        standing=known_standing(context),
        crises=context.settings.research.robustness.crises,
    )


def premarket(context: DayContext) -> StageResult:
    """Evaluate every agent on what is known, screen the universe, and make today's view.

    A champion that was named in the registry's own pages trades from here on.
    """
    from trading.mlops import health

    _follow_registry(context)
    prepared = prepare(context)
    context.prepared = prepared
    health.keep_features(context, prepared)
    body = before_open(context, prepared)
    path = briefing_path(context)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1), encoding="utf-8")
    screened = body["screen"]["selected"]
    regime = REGIME_TEXT.get(prepared.view.regime, prepared.view.regime)
    voting = [model_text(*item) for item in prepared.model_versions.items()]
    return StageResult(
        stage="premarket",
        message=f"{screened:,}종목을 골랐습니다. 시장 국면: {regime}. {path}",
        summary={
            "screened": screened,
            "watched": len(prepared.view.symbols),
            "regime": prepared.view.regime,
            "model_versions": voting,
        },
    )


def _follow_registry(context: DayContext) -> None:
    from trading.mlops import promote

    _, adjusted, row = panels(context)
    until = adjusted.sessions[row - 1].item()
    try:
        moves = promote.follow_registry(
            context.home, context.market, context.settings.features, until
        )
    except ModelError as error:
        log.error("모델 등록소를 읽지 못해 챔피언을 그대로 둠", reason=str(error))
        return
    for move in moves:
        name = model_text(move.family, move.version)
        if move.refused is None:
            # Whether it votes today is told by whoever asks it.
            event = "promoted"
            message = f"등록소의 champion 별칭을 따라 {name}을(를) 챔피언으로 올렸습니다."
        else:
            event = "training_failed"
            message = f"별칭을 옮긴 {name}을(를) 쓸 수 없어 챔피언을 그대로 둡니다: {move.refused}"
        context.notifier.send(
            event,
            {
                "market": str(context.market),
                "model": model_text(move.family),
                "version": move.version,
                "previous": move.previous,
                "verdict": move.verdict,
                "reason": move.reason,
                "message": message,
            },
        )


def intraday(context: DayContext) -> StageResult:
    """Trade the session at the venue, from before the open to after the close."""
    recorded = read_session(context.ledger, context.session)
    if recorded.closed is not None:
        return StageResult(stage="intraday", message="이미 끝난 세션입니다.", skipped=True)
    if recorded.opened is None and not context.replays:
        close_ts = context.calendar.open_close(context.session)[1]
        if context.clock.now() >= close_ts:
            # Its books would be those of an earlier evening, and every order of it refused.
            raise NothingLeftError(
                f"{context.session} 거래일의 장은 이미 끝나 거래하지 않았습니다. 다음 거래일에 다시 시작하십시오."
            )
    prepared = context.prepared or prepare(context)
    context.prepared = prepared
    try:
        outcome = asyncio.run(_trade(context, prepared, recorded))
    except BrokerError as error:
        context.notifier.send(
            "api_failed",
            {
                "market": str(context.market),
                "session": str(context.session),
                "operation": "장중 매매",
                "code": error.code,
                "message": str(error),
            },
        )
        raise
    except (LedgerError, LeaseLostError) as error:
        log.critical(
            "장부 때문에 매매 중단", session=str(context.session), reason=str(error), told=True
        )
        context.notifier.send(
            "error",
            {
                "market": str(context.market),
                "session": str(context.session),
                "message": str(error),
            },
        )
        raise
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
    context.begin_session()
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
        start = session_event(context, prepared, engine)
        recorded = _drilled(context, prepared, engine, start, view, journal) or recorded
        monitor = SessionMonitor(
            heartbeat_path(context.home, context.env, context.market),
            market=str(context.market),
            session=str(context.session),
            clock=context.clock,
            counters=lambda: _counters(connection.client),
            venue=connection.pace.clock,
            speed=connection.pace.speed,
        )
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
                absence_seconds=app.supervision.absence_seconds,
                balance_reads=app.supervision.balance_reads,
                manual_trades=context.settings.execution.manual_trades,
            ),
            exchanges={i.symbol: i.exchange for i in context.lake.instruments(context.market)},
            condition=_condition(context, engine, monitor),
            watch=Watch(run_dir(context.home), context.env, str(context.market)),
        )
        told = f"{context.run.run_id}:{context.session}"
        context.notifier.send("session_started", about | {"key": f"start:{told}"})
        # Often enough that one late beat is no silence.
        beat = min(BEAT_SECONDS, app.supervision.dead_man_seconds / 4)
        async with _guarded(context, connection), monitor.beating(every_seconds=beat):
            outcome = await session.run(
                start,
                view,
                recorded,
                evidence=Evidence(
                    history=history_hashes(prepared.raw, prepared.row, view.symbols),
                    model_versions=prepared.model_versions,
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


@contextlib.asynccontextmanager
async def _guarded(context: DayContext, connection: Connection) -> AsyncIterator[None]:
    """Have somebody watch the session while it runs, also when whoever did is killed."""
    guard = context.guard
    if guard is None or connection.pace.waits:
        # In lock-step nothing happens at the venue while nobody moves its time.
        yield
        return

    async def keep_on() -> None:
        while True:
            await asyncio.to_thread(guard)
            await asyncio.sleep(_GUARD_SECONDS)

    guarding = asyncio.create_task(keep_on(), name="guard")
    try:
        yield
    finally:
        guarding.cancel()


def _drilled(
    context: DayContext,
    prepared: Prepared,
    engine: TradingEngine,
    start: SessionStart,
    view: View,
    journal: Journal,
) -> RecordedSession | None:
    """Prove the guards before the session; return it as reduced from its start where one fails."""
    report = drill(engine, start, _orderable(prepared, view))
    journal.drilled(report.body())
    if report.passed:
        log.info("안전장치 훈련 통과", guards=len(report.guards), rules=len(report.rules))
        return None
    log.error("안전장치 훈련 실패, 축소만 허용", failed=list(report.failed), told=True)
    context.notifier.send(
        "risk_event",
        {
            "market": str(context.market),
            "session": str(context.session),
            "state": str(TradingState.REDUCING),
            "message": "안전장치가 듣지 않아 오늘은 파는 주문만 냅니다: "
            + ", ".join(report.failed),
            "key": f"drill:{context.run.run_id}:{context.session}",
        },
    )
    return read_session(context.ledger, context.session)


def _orderable(prepared: Prepared, view: View) -> View:
    """Return a view with something to order: the session's, else one of the most traded name."""
    if (view.morning.tradable & (view.morning.reference > 0)).any():
        return view
    raw, past = prepared.raw, prepared.row - 1
    value = np.where(raw.tradable[past], raw.close[past] * raw.volume[past], 0)
    return prepared.views.at(prepared.row, held=[raw.symbols[int(value.argmax())]])


def _condition(
    context: DayContext, engine: TradingEngine, monitor: SessionMonitor
) -> Callable[[datetime], Mapping[str, Any]]:
    """Return what tells how account and machine are doing, for the hourly status.

    In a demo all hours are those of the recorded day.
    """
    names = {i.symbol: i.name for i in context.lake.instruments(context.market)}
    calendars = [
        context.calendar
        if market is context.market
        else SessionCalendar(market, context.settings.markets[market], around=context.session)
        for market in Market
    ]
    yesterday, began = capital_before(
        context.ledger, context.run, context.calendar, context.session
    )

    def tell(now: datetime) -> Mapping[str, Any]:
        beat = monitor.beat(OPEN)
        marks = context.ledger.read(RecordKind.MARK, session=context.session)
        statuses = [order.status for order in engine.orders.values()]
        return status_of(
            engine.account,
            engine.last_price,
            names=names,
            previous_equity=yesterday,
            starting_equity=began,
        ) | {
            "curve": [
                [context.calendar.open_close(context.session)[0].isoformat(), yesterday],
                *([mark.ts.isoformat(), mark.body["equity"]] for mark in marks),
                [now.isoformat(), engine.equity()],
            ],
            "orders": len(statuses),
            "fills": sum(status is OrderStatus.FILLED for status in statuses),
            "refused": sum(status is OrderStatus.REJECTED for status in statuses),
            "api_succeeded": beat.counters["api_succeeded"],
            "api_failed": beat.counters["api_failed"],
            "memory_mb": beat.memory_mb,
            "cpu_percent": beat.cpu_percent,
            "disk_free_gb": machine(context.home.data_dir).disk_free_gb,
            "market_state": market_states(calendars, now),
            **hours_text(now),
            "environment": f"{context.env} (기록된 {context.session} 거래일의 재생, 시각은 그날의 것)"
            if context.replays
            else context.env,
        }

    return tell


def _counters(client: Client) -> dict[str, int]:
    succeeded, failed = client.call_counts
    return {
        "api_succeeded": succeeded,
        "api_failed": failed,
        "frames": client.frames_handled,
        "connections": client.connections,
    }


def closing(context: DayContext) -> StageResult:
    """Collect the session's bars, prove parity, examine the champions, and write the report."""
    from trading.reporting import daily_message

    recorded = read_session(context.ledger, context.session)
    context.prepared = context.prepared or prepare(context, recorded.evidence)
    untradable = set(recorded.evidence.untradable)
    watched = context.prepared.view.symbols
    asyncio.run(collect(context, [s for s in watched if s not in untradable]))
    report = parity(context)
    _examine(context, context.prepared)
    _keep_index(context)
    summary = summarize(context, report)
    paths = write_report(context, report)
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
                "price_basis": context.prepared.raw.basis,
                "ambiguous_fills": report.ambiguous_fills,
            },
        )
    )
    context.notifier.send(
        "daily_report",
        {
            "market": str(context.market),
            "session": str(context.session),
            **daily_message(paths),
            "key": f"daily:{context.run.run_id}:{context.session}",
        },
    )
    _keep_safe(context)
    return StageResult(
        stage="closing",
        message=f"{context.session} 세션을 정리했습니다. 보고서: {paths.html}",
        summary=summary,
    )


def _examine(context: DayContext, prepared: Prepared) -> None:
    """Weigh the evidence on the champions; the session is proven and reported without it, too."""
    from trading.mlops import health

    try:
        health.check(context, prepared)
    except Exception:  # whatever it is: report and record must not be kept back by it
        log.exception("모델 점검 실패, 점검 없이 정리", session=str(context.session))


def _keep_index(context: DayContext) -> None:
    """Keep the benchmark's close of the session; without it the report compares with the shares."""
    try:
        index = context.source.index(context.market, context.session, context.session)
    except BrokerError as error:
        # The next morning brings it.
        log.warning("지수를 받지 못해 종목군과 견줌", reason=str(error))
        return
    if len(index):
        context.lake.upsert(context.market, "index", index.assign(source=context.source.name))


def _keep_safe(context: DayContext) -> None:
    """Take the day's backup; the day is done without one, and somebody has to look."""
    if context.back_up is None:
        return
    try:
        context.back_up()
    except (DataError, SessionBusyError) as error:
        log.error("백업 실패", session=str(context.session), reason=str(error), told=True)
        context.notifier.send(
            "error",
            {
                "market": str(context.market),
                "session": str(context.session),
                "stage": "백업",
                "message": str(error),
                "key": f"backup:{context.run.run_id}:{context.session}",
            },
        )


class _Bound:
    """A notifier whose every message says which session it is about."""

    def __init__(self, notifier: Notifier, about: Mapping[str, Any]) -> None:
        self._notifier = notifier
        self._about = about

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        self._notifier.send(event, {**self._about, **fields})
