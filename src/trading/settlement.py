"""After the close: the session computed again from the lake, added up, and reported.

How two sessions are compared is ``live.parity``; how a report looks is ``reporting``.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from trading import briefing, holdings, risk_tables
from trading.backtest import replay, runner
from trading.backtest.runner import SessionResult
from trading.domain.account import Position
from trading.domain.decision import TradingState
from trading.domain.market import PriceBasis, RawPanel
from trading.domain.order import OrderStatus
from trading.domain.wording import BASIS_TEXT, LIMIT_TEXT
from trading.errors import MissingDataError
from trading.execution.bars import Ohlcv
from trading.execution.engine import Halt, SessionStart, TradingEngine
from trading.live import parity as live_parity
from trading.live.journal import read_session
from trading.live.parity import ParityReport, history_hashes
from trading.log import get_logger
from trading.monitoring import read_heartbeat
from trading.ports import Ledger, RecordKind
from trading.simulation.matching import BASIS_POINTS, Matcher
from trading.simulation.paths import Print

if TYPE_CHECKING:
    from trading.reporting import QualityLine, ReportPaths

from trading.context import (
    DayContext,
    Prepared,
    Run,
    heartbeat_path,
    open_engine,
    panels,
    prepare,
    quality_path,
    report_dir,
    session_event,
)
from trading.sessions import SessionCalendar
from trading.store.intake import admit
from trading.store.universe import survivorship

log = get_logger(__name__)


async def collect(context: DayContext, symbols: Sequence[str]) -> None:
    """Ask the venue for the session's daily bars and store them through the quality gate."""
    import pandas as pd

    if not symbols:
        log.info("선별된 종목이 없어 받을 일봉이 없음", session=str(context.session))
        return
    async with context.connect(symbols) as connection:
        frames = [
            connection.client.daily_bars(symbol, context.session, context.session)
            for symbol in symbols
        ]
    bars = pd.concat([f for f in frames if len(f)]) if any(len(f) for f in frames) else None
    if bars is None:
        raise MissingDataError(f"{context.session} 세션의 일봉을 거래소에서 받지 못했습니다.")
    admit(context.lake, context.home, context.rules, context.calendar, bars)
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
    # The morning's is as large again, and the report is made from this one.
    context.prepared = None
    context.prepared = prepared = prepare(context, recorded.evidence)
    engine = open_engine(context, recorded)
    start = session_event(context, prepared, engine)
    engine.handle(Halt(ts=start.open_ts, state=recorded.allowed))
    minutes = context.source.minute(context.market, context.session, list(prepared.raw.symbols))
    prints = replay.minutes(context.market, start, minutes, prepared.view.symbols)
    again = _again(context, prepared, engine, start, prints)
    untradable = set(recorded.evidence.untradable)
    seen = [s for s in recorded.observed if s not in untradable]
    bars, neighbours = _lake_bars(context, seen)
    report = live_parity.compare(
        recorded,
        again,
        history=history_hashes(prepared.raw, prepared.row, prepared.view.symbols),
        lake_bars=bars,
        neighbour_bars=neighbours,
        with_volume=not prints,
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
    prints: Mapping[str, list[Print]],
) -> SessionResult:
    matcher = Matcher(round(context.policy.orders.participation * BASIS_POINTS))
    view = prepared.view
    instants = replay.merged(prepared.raw, prepared.row, view, start, prints)
    return runner.run_session(engine, matcher, start, view, instants)


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
        "ambiguous_fills": report.ambiguous_fills if report is not None else 0,
        "parity_orders": report.orders if report is not None else 0,
        "parity_differences": len(report.differences) if report is not None else 0,
        "parity_unexplained": report.unexplained if report is not None else 0,
    }


def write_report(context: DayContext, parity_report: ParityReport) -> "ReportPaths":
    """Write the session's report from the ledger, the lake and the verdict on it."""
    from trading import reporting

    recorded = read_session(context.ledger, context.session)
    prepared = context.prepared or prepare(context, recorded.evidence)
    closed = recorded.closed or {}
    at_risk = holdings.risk(context, prepared)
    decision = recorded.decision
    names = {i.symbol: i.name for i in context.lake.instruments(context.market)}
    equity = holdings.equity_curve(context.ledger, context.run, context.calendar, context.session)
    positions = [
        Position(symbol=s, quantity=q, cost=c)
        for s, (q, c) in closed["engine"]["account"]["positions"].items()
    ]
    prices = closed["engine"]["last_price"]
    index = context.lake.index(context.market, equity[0][0], context.session)
    name = context.settings.universe.benchmark[context.market]
    named = index.loc[index["name"] == name]
    levels = {
        day.date(): float(close)
        for day, close in zip(named["session"], named["close"], strict=True)
    }
    # The panel of the morning ends before the session; its own bars are in the lake by now.
    raw, _, _ = panels(context)
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
    voters = briefing.voters(context, prepared)
    report = reporting.SessionReport(
        market=context.market,
        session=context.session,
        environment=context.env,
        run_id=context.run.run_id,
        generated_at=context.calendar.open_close(context.session)[1],
        state=TradingState(closed["state"]),
        equity=equity,
        returns=holdings.account_returns(context.ledger, equity),
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
                name=LIMIT_TEXT[one["name"]] + (f" ({one['of']})" if one["of"] else ""),
                value=one["value"],
                limit=one["limit"],
            )
            for one in at_risk["limits"]
        ],
        tables=(
            *risk_tables.tables(at_risk)[1:],
            briefing.voter_table(
                voters,
                closed["engine"].get("attributed", {}),
                context.market.currency,
            ),
            *briefing.model_tables(context),
        ),
        reliability=[(one.name, *bin_) for one in voters for bin_ in one.diagram],
        quality=_quality(context),
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
    folder = report_dir(context.home, context.env, context.market, context.session)
    paths = reporting.write_report(folder, report)
    kept = json.dumps(at_risk, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / "risk.json").write_text(kept + "\n", encoding="utf-8")
    return paths


def capital_before(
    ledger: Ledger, run: Run, calendar: SessionCalendar, session: date
) -> tuple[int, int]:
    """Return what the session begins with, and what would be that without any gain so far.

    What the operator brought or took is neither gain nor loss: it was there from the beginning.
    """
    curve = [
        one for one in holdings.equity_curve(ledger, run, calendar, session) if one[0] < session
    ]
    day, equity = curve[-1]
    begins = equity + holdings.brought(ledger, [day, session])[session]
    growth = float(np.prod(1.0 + holdings.account_returns(ledger, curve)))
    return begins, round(begins / growth) if growth > 0 else begins


def _quality(context: DayContext) -> "QualityLine | None":
    """Return what the morning's data check found; a report made again later says the same."""
    from trading.reporting import QualityLine

    path = quality_path(context)
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return QualityLine(
        rows=found["rows"], quarantined=found["quarantined"], findings=tuple(found["findings"])
    )


def _final_status(
    status: OrderStatus, filled: tuple[int, int, int, int] | None, quantity: int
) -> OrderStatus:
    """Return the status an order ended with: the ledger keeps fills apart from updates."""
    return OrderStatus.FILLED if filled is not None and filled[0] == quantity else status


def _labels(context: DayContext, prepared: Prepared) -> dict[str, str]:
    labels = {"가격 기준": BASIS_TEXT[prepared.raw.basis]}
    if prepared.raw.basis is PriceBasis.ADJUSTED:
        labels["수정주가"] = "일부 가격이 공급자 수정주가라 이 결과로는 모델을 승격하지 않습니다."
    if not prepared.regime_from_index:
        labels["국면 기준"] = "기록된 지수가 없어 거래 가능 종목의 수익률로 국면을 추정했습니다."
    if context.env == "demo":
        first = prepared.raw.sessions[0].astype(date)
        instruments = context.lake.instruments(context.market)
        labels["생존 편향"] = survivorship(context.market, instruments, first, context.session).text
        if prepared.facts.sector_names and not prepared.facts.sectors_of_the_day:
            labels["업종"] = "오늘의 분류를 지난 날에도 썼습니다 (그날 알 수 없던 값)."
        labels["재생 규칙"] = "봉 하나를 시가·저가·고가·종가 네 번의 체결로 재생했습니다."
    return labels


def _counted(context: DayContext) -> dict[str, float]:
    """Return what the session's last heartbeat counted, by Korean name."""
    beat = read_heartbeat(heartbeat_path(context.home, context.env, context.market))
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
