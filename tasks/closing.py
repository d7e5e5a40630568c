"""The task of the ``closing`` stage."""

from prefect import task

from tasks import carry_out, in_day_thread, publish_link, publish_table, worth_repeating
from trading import day as stages
from trading.context import DayContext
from trading.day import StageResult


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
    orders = await in_day_thread(_orders, context)
    await publish_table(f"orders-{day}", f"{context.session} 주문 {len(orders)}건", orders)
    report = (
        context.home.data_dir / "reports" / context.market / str(context.session) / "report.html"
    )
    await publish_link(f"report-{day}", f"{context.session} 일일 보고서", report)
    return result


def _orders(context: DayContext) -> list[dict[str, str]]:
    """Return the session's orders as people read them, in the order of their decision."""
    from trading.domain.wording import SIDE_TEXT, STATUS_TEXT, money_text, reason_text
    from trading.live.journal import read_session

    currency = context.market.currency
    orders = read_session(context.ledger, context.session).orders.values()
    return [
        {
            "종목": order.intent.symbol,
            "구분": SIDE_TEXT[order.intent.side],
            "수량": f"{order.intent.quantity:,}",
            "지정가": money_text(order.intent.limit, currency),
            "상태": STATUS_TEXT[order.status],
            "체결": f"{order.filled_quantity:,}",
            "까닭": reason_text(order.reason or order.intent.reason),
        }
        for order in orders
    ]
