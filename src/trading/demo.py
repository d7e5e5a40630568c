"""Running whole days until what was asked for is done, and adding them up.

The stages of one day are ``day``; which run a command works on is ``bootstrap``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trading import bootstrap, day, settlement
from trading.backtest.runner import decision_hash, orders_hash
from trading.bootstrap import DemoRequest, Installation
from trading.config import Env, Home
from trading.context import DayContext, Run, report_dir
from trading.domain.instrument import Currency, Market
from trading.domain.order import OrderStatus
from trading.domain.wording import MARKET_TEXT, money_text, percent_text
from trading.errors import NothingLeftError
from trading.live.journal import closed_sessions, read_session
from trading.log import get_logger
from trading.ports import Ledger
from trading.research.runs import performance

log = get_logger(__name__)


def run(
    installation: Installation, market: Market, request: DemoRequest, *, with_prefect: bool
) -> dict[str, Any]:
    """Run demo days until the run's sessions are closed; return its figures."""
    if not any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbi")):
        log.info("처음이거나 갱신된 뒤라 계산 함수를 컴파일함, 1~2분 더 걸림")
    begun = bootstrap.begin_demo(installation, market, request)
    home = installation.home
    with bootstrap.exchange_kept(installation, market):
        while (left := _left(installation, begun)) > 0:
            log.info("하루 시작", market=str(market), left=left)
            if with_prefect:
                _day_by_prefect(home, market)
            else:
                context = bootstrap.open_demo_day(installation, begun)
                try:
                    run_day(context)
                finally:
                    bootstrap.close_day(context.key)
    ledger = bootstrap.open_ledger(home, Env.DEMO, market, read_only=True)
    try:
        return add_up(ledger, begun, home)
    finally:
        ledger.close()


def run_today(home: Home, market: Market, *, with_prefect: bool) -> dict[str, Any]:
    """Run the next session of the configured environment; return its figures."""
    if with_prefect:
        return _day_by_prefect(home, market)
    context = bootstrap.open_day(home.root, market)
    try:
        return run_day(context)
    finally:
        bootstrap.close_day(context.key)


def has_riddles(result: Mapping[str, Any]) -> bool:
    """Whether a day left something that nobody can explain: somebody has to look before the next."""
    return bool(result["cash_difference"] or result["parity_unexplained"])


def day_text(result: Mapping[str, Any]) -> str:
    """Return the figures of one day as a user reads them."""
    currency = Currency(result["currency"])
    done = (
        f"{result['session']} 세션을 마쳤습니다. 주문 {result['orders']:,}건, 체결 {result['fills']:,}건, "
        f"총자산 {money_text(result['final_equity'], currency)}."
    )
    if not has_riddles(result):
        return done
    return (
        f"{done}\n장부와 거래소의 현금 차이 {money_text(result['cash_difference'], currency)}, 설명되지 "
        f"않는 재계산 차이 {result['parity_unexplained']:,}건: 보고서(trading report)에서 까닭을 보기 전에는 "
        "다음 날을 시작하지 마십시오."
    )


def run_day(context: DayContext) -> dict[str, Any]:
    """Call the stages of one day in order, without Prefect."""
    summary: dict[str, Any] = {}
    for stage in day.STAGES:
        summary = day.perform(getattr(day, stage), context).summary
    return summary


def _left(installation: Installation, begun: Run) -> int:
    ledger = bootstrap.open_ledger(installation.home, Env.DEMO, begun.market)
    try:
        return begun.sessions - len(begun.settled(ledger))
    finally:
        ledger.close()


def _day_by_prefect(home: Home, market: Market) -> dict[str, Any]:
    """Call the parent flow through an API that lives as long as this process."""
    from flows import run_here, use_local_api

    use_local_api(home.data_dir)

    from flows.daily_trading import daily_trading

    async def one_day() -> dict[str, Any]:
        state = await daily_trading(market=market, root=str(home.root), return_state=True)
        if state.name == "Skipped":
            raise NothingLeftError(state.message or "건너뛰었습니다.")
        summary = await state.aresult()
        assert isinstance(summary, dict)
        return summary

    return run_here(one_day())


def add_up(ledger: Ledger, begun: Run, home: Home) -> dict[str, Any]:
    """Return the figures of a run over all its closed sessions.

    The account may have traded before: the run starts with what the last close left.
    """
    closed = begun.closed(ledger)
    earlier = [s for s in closed_sessions(ledger) if s < begun.first_session]
    before = read_session(ledger, earlier[-1]).closed if earlier else None
    start = before["equity"] if before is not None else begun.starting_cash
    recorded = [read_session(ledger, session) for session in closed]
    orders = [
        order
        for one in recorded
        for order in one.orders.values()
        if order.status is not OrderStatus.DENIED
    ]
    decisions = [one.decision for one in recorded if one.decision is not None]
    verdicts = settlement.parity_verdicts(ledger, closed)
    ends = [one.closed or {} for one in recorded]
    market = begun.market
    return {
        "market": str(market),
        "currency": str(market.currency),
        "sessions": len(closed),
        "first_session": str(closed[0]) if closed else None,
        "last_session": str(closed[-1]) if closed else None,
        "orders": len(orders),
        "fills": sum(len(one.fills) for one in recorded),
        "refused": sum(o.status is OrderStatus.REJECTED for o in orders),
        "denied": sum(len(one.denied) for one in recorded),
        "final_equity": ends[-1]["equity"] if ends else start,
        "starting_equity": start,
        "cash_difference": sum(abs(end["cash_difference"]) for end in ends),
        "book_differences": sum(len(end["differences"]) for end in ends),
        "ambiguous_fills": sum(v.get("ambiguous_fills", 0) for v in verdicts),
        "decision_hash": decision_hash(decisions),
        "orders_hash": orders_hash(order.intent for order in orders),
        "metrics": performance([start, *(end["equity"] for end in ends)], market=market),
        "parity": {
            "orders": sum(v["orders"] for v in verdicts),
            "differences": sum(v["differences"] for v in verdicts),
            "unexplained": sum(v["unexplained"] for v in verdicts),
        },
        "price_basis": _basis(verdicts),
        "reports": [
            str(report_dir(home, Env.DEMO, market, session) / "report.html") for session in closed
        ],
    }


def _basis(verdicts: list[Mapping[str, Any]]) -> str:
    return "adjusted" if any(v["price_basis"] == "adjusted" for v in verdicts) else "raw"


def text(result: Mapping[str, Any]) -> str:
    """Return the figures as a user reads them."""
    currency = Currency(result["currency"])
    start, end = result["starting_equity"], result["final_equity"]
    parity = result["parity"]
    lines = [
        "",
        f"{MARKET_TEXT[Market(result['market'])]} 시장 {result['first_session']} ~ "
        f"{result['last_session']}, {result['sessions']}거래일을 마쳤습니다.",
        f"  주문 {result['orders']:,}건, 체결 {result['fills']:,}건, "
        f"거래소 거부 {result['refused']:,}건, 내부 거부 {result['denied']:,}건",
        f"  평가금액 {money_text(end, currency)} "
        f"(시작 {money_text(start, currency)}, 수익률 {percent_text(end / start - 1)})",
        f"  장부와 거래소의 현금 차이 {result['cash_difference']:,}",
        f"  다시 계산해 견준 주문 {parity['orders']:,}건, 차이 {parity['differences']:,}건, "
        f"설명되지 않는 차이 {parity['unexplained']:,}건",
        "보고서:",
        *(f"  {path}" for path in result["reports"]),
    ]
    return "\n".join(lines)
