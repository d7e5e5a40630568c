"""The task of the ``closing`` stage."""

import json
from pathlib import Path

from prefect import task

from tasks import carry_out, publish_link, publish_table, worth_repeating
from trading import day as stages
from trading.context import report_dir
from trading.day import StageResult
from trading.domain.instrument import Currency
from trading.domain.order import OrderStatus, Side


@task(
    name="마감, 대조, 보고서",
    task_run_name="마감, 대조, 보고서 {day}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_repeating,
    timeout_seconds=3600,
)
async def close_session(day: str) -> StageResult:
    """Settle, reconcile, recompute and report the session; show its orders and its report."""
    from trading import bootstrap

    result = await carry_out(stages.closing, day)
    context = bootstrap.current_day(day)
    folder = report_dir(context.home, context.env, context.market, context.session)
    orders = _orders(folder / f"trades_{context.session}.json")
    await publish_table(f"orders-{day}", f"{context.session} 주문 {len(orders)}건", orders)
    await publish_link(f"report-{day}", f"{context.session} 일일 보고서", folder / "report.html")
    return result


def _orders(path: Path) -> list[dict[str, str]]:
    """Return the orders of a written report as people read them."""
    from trading.domain.wording import SIDE_TEXT, STATUS_TEXT, money_text, reason_text

    written = json.loads(path.read_text(encoding="utf-8"))
    currency = Currency(written["currency"])
    return [
        {
            "종목": f"{order['symbol']} {order['name']}".strip(),
            "구분": SIDE_TEXT[Side(order["side"])],
            "수량": f"{order['quantity']:,}",
            "지정가": money_text(order["limit"], currency),
            "상태": STATUS_TEXT[OrderStatus(order["status"])],
            "체결 수량": f"{order['filled_quantity']:,}",
            "체결 금액": money_text(order["filled_amount"], currency),
            "까닭": order["message"] or reason_text(order["verdict"] or order["reason"]),
        }
        for order in written["orders"]
    ]
