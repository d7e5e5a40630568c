"""The stages of a day as use-case functions, in order.

``market_data → features → retrain → premarket → intraday → closing``: a Prefect task wraps
exactly one, and ``trading demo --no-prefect`` calls the same list plainly. Each stage may be
repeated for the same market and session; what is done already is not done again.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from trading.briefing import before_open
from trading.context import (
    Client,
    DayContext,
    Prepared,
    briefing_path,
    heartbeat_path,
    known_facts,
    open_engine,
    panels,
    prepare,
    quality_path,
    session_event,
)
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.domain.market import PriceBasis
from trading.domain.wording import REGIME_TEXT
from trading.errors import (
    BrokerError,
    LeaseLostError,
    LedgerError,
    MissingDataError,
    ModelError,
    SchemaError,
)
from trading.execution.decide import View
from trading.execution.engine import SessionStart, TradingEngine
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
from trading.monitoring import SessionMonitor
from trading.ports import Notifier, Record, RecordKind
from trading.sessions import SessionCalendar
from trading.settlement import collect, parity, summarize, write_report
from trading.store.intake import write_pages

log = get_logger(__name__)

STAGES = ("market_data", "features", "retrain", "premarket", "intraday", "closing")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage did: a Korean sentence and its figures."""

    stage: str
    message: str
    summary: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False


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
    brought = context.intake.bring(
        ("instruments", "index", "daily"), (first, last), known=context.session
    )
    if brought.refused:
        raise SchemaError(" ".join(brought.refused))
    if last in brought.missing:
        raise MissingDataError(f"{last} 거래일의 일봉이 아직 없습니다.")
    _bring_facts(context, (first, last))
    _bring_abroad(context)
    rows = brought.rows.get("daily", 0)
    if rows == 0:
        return StageResult(
            stage="market_data", message="새로 받을 시세가 없습니다.", summary={"rows": 0}
        )
    page = write_pages(brought.reports, context.home)
    kept = quality_path(context)
    kept.parent.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "quarantined": brought.quarantined, "findings": brought.told}
    kept.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    missing = f" {len(brought.failed):,}종목은 받지 못했습니다." if brought.failed else ""
    return StageResult(
        stage="market_data",
        message=f"시세 {rows:,}행을 검사해 {brought.quarantined:,}행을 격리했습니다.{missing}",
        summary={"rows": rows, "quarantined": brought.quarantined, "page": page},
    )


def _bring_facts(context: DayContext, span: tuple[date, date]) -> None:
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
        known=context.session,
    )
    lacking = [*facts.refused, *facts.failed.values()]
    if lacking:
        log.warning("재무와 시장 조치 자료를 다 받지 못함", reason=" ".join(lacking))


def _bring_abroad(context: DayContext) -> None:
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
            intake.bring(("index",), (context.run.first_bar, yesterday), known=context.session)


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


def retrain(context: DayContext) -> StageResult:
    """Train a challenger when it is due; the champion stays when training fails."""
    from trading.mlops import promote

    raw, adjusted, row = panels(context)
    is_adjusted = raw.basis is PriceBasis.ADJUSTED
    try:
        report = promote.retrain(
            adjusted.until(row),
            context.home,
            context.settings.features,
            context.settings.models,
            facts=known_facts(context),
            bias="공급자 수정주가로 배워 증거가 되지 않음" if is_adjusted else None,
        )
    except ModelError as error:
        log.error("재학습 실패, 기존 모델 유지", reason=str(error))
        context.notifier.send(
            "training_failed", {"market": str(context.market), "message": str(error)}
        )
        return StageResult(stage="retrain", message=f"학습하지 못했습니다: {error}", skipped=True)
    if not report.trained:
        return StageResult(stage="retrain", message="아직 다시 학습할 때가 아닙니다.", skipped=True)
    if report.promoted:
        context.notifier.send(
            "promoted",
            {
                "market": str(context.market),
                "version": report.version,
                "verdict": report.verdict,
                "reason": report.reason,
            },
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
    body = before_open(context, prepared)
    path = briefing_path(context)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1), encoding="utf-8")
    screened = body["screen"]["selected"]
    regime = REGIME_TEXT.get(prepared.view.regime, prepared.view.regime)
    return StageResult(
        stage="premarket",
        message=f"{screened:,}종목을 골랐습니다. 시장 국면: {regime}. {path}",
        summary={
            "screened": screened,
            "watched": len(prepared.view.symbols),
            "regime": prepared.view.regime,
            "model_version": prepared.model_version,
        },
    )


def intraday(context: DayContext) -> StageResult:
    """Trade the session at the venue, from before the open to after the close."""
    recorded = read_session(context.ledger, context.session)
    if recorded.closed is not None:
        return StageResult(stage="intraday", message="이미 끝난 세션입니다.", skipped=True)
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
        log.critical("장부 때문에 매매 중단", session=str(context.session), reason=str(error))
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
                start,
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
    log.error("안전장치 훈련 실패, 축소만 허용", failed=list(report.failed))
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


def _counters(client: Client) -> dict[str, int]:
    succeeded, failed = client.call_counts
    return {
        "api_succeeded": succeeded,
        "api_failed": failed,
        "frames": client.frames_handled,
        "connections": client.connections,
    }


def closing(context: DayContext) -> StageResult:
    """Collect the session's bars from the venue, prove parity, and write the report."""
    recorded = read_session(context.ledger, context.session)
    context.prepared = context.prepared or prepare(context, recorded.evidence)
    untradable = set(recorded.evidence.untradable)
    watched = context.prepared.view.symbols
    asyncio.run(collect(context, [s for s in watched if s not in untradable]))
    report = parity(context)
    index = context.source.index(context.market, context.session, context.session)
    if len(index):
        context.lake.upsert(context.market, "index", index.assign(source=context.source.name))
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


class _Bound:
    """A notifier whose every message says which session it is about."""

    def __init__(self, notifier: Notifier, about: Mapping[str, Any]) -> None:
        self._notifier = notifier
        self._about = about

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        self._notifier.send(event, {**self._about, **fields})
