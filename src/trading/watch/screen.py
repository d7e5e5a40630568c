"""What the monitor shows: tables on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from trading.clock import monotonic_seconds
from trading.domain.order import OrderStatus
from trading.domain.wording import (
    MARKET_TEXT,
    SIDE_TEXT,
    STATE_TEXT,
    STATUS_TEXT,
    VERDICT_TEXT,
    money_text,
    percent_text,
    reason_text,
)
from trading.monitoring import SEOUL
from trading.overview import AccountNow, OrderNow, SignalNow
from trading.watch.probe import PROCESS_TEXT, ProcessNow, Sample
from trading.watch.run import Show, Watch

if TYPE_CHECKING:
    from rich.console import RenderableType

# A decision over a whole market has hundreds of rows.
_MOST_ROWS = 20


@contextmanager
def screen(stream: IO[str] | None = None) -> Iterator[Show]:
    """Yield what shows a sample on ``stream``: live tables on a terminal, a line now and then elsewhere."""
    stream = stream or sys.stdout
    if not stream.isatty():
        yield _lines(stream)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=stream), auto_refresh=False) as live:

        def show(watch: Watch, sample: Sample) -> None:
            live.update(_tables(watch, sample), refresh=True)

        yield show


def _lines(stream: IO[str]) -> Show:
    told: float | None = None
    known = (0, 0, 0, "")

    def show(watch: Watch, sample: Sample) -> None:
        nonlocal told, known
        now = monotonic_seconds()
        errors, missed = watch.errors[known[0] :], watch.missed[known[1] :]
        findings = list(watch.findings)[known[2] :]
        doing = _doing(watch, sample)
        at = f"{sample.ts.astimezone(SEOUL):%H:%M:%S}"
        if doing != known[3]:
            print(f"{at} {doing}", file=stream, flush=True)
        for text in errors:
            print(f"{at} 오류: {text}", file=stream, flush=True)
        for one in missed:
            print(f"{at} 예정된 일이 없었음: {one.session} {one.text}", file=stream, flush=True)
        for finding in findings:
            print(f"{at} 살펴볼 것: {finding}", file=stream, flush=True)
        known = (len(watch.errors), len(watch.missed), len(watch.findings), doing)
        if told is None or now - told >= watch.settings.line_seconds:
            told = now
            print(f"{at} {line(watch, sample)}", file=stream, flush=True)

    return show


def line(watch: Watch, sample: Sample) -> str:
    """Return a sample as one Korean line."""
    parts = []
    account = sample.account
    if account is not None:
        currency = account.currency
        parts += [
            f"총자산 {money_text(account.equity, currency)} ({percent_text(account.total_return)}, "
            f"오늘 {percent_text(account.daily_return)})",
            f"보유 {len(account.holdings)}종목",
            f"주문 {len(account.orders)} 체결 {account.fills} 거부 {account.refused + account.denied}",
            STATE_TEXT[account.state],
        ]
    if sample.is_running:
        succeeded, failed = sample.calls
        parts.append(f"API 성공 {succeeded:,} 실패 {failed:,}")
    session = sample.processes.get("session")
    if session is not None:
        parts.append(
            f"세션 메모리 {session.memory_mb:,.0f} MB CPU {session.cpu_percent:.0f} % 파일 {session.files}"
        )
    present = sample.machine
    parts += [
        f"컴퓨터 메모리 {present.memory_percent:.0f} % CPU {present.cpu_percent:.0f} %",
        f"디스크 남음 {present.disk_free_gb:,.1f} GB",
        f"네트워크 ↑{_rate(sample.sent)} ↓{_rate(sample.received)}",
        f"오류 {len(watch.errors):,} 없었던 일 {len(watch.missed):,}",
    ]
    return " · ".join(parts)


def _rate(bytes_a_second: float) -> str:
    return f"{bytes_a_second / 1024:,.1f} KB/s"


def _doing(watch: Watch, sample: Sample) -> str:
    """Return in Korean what is going on: who trades, and whether the market is open."""
    name = MARKET_TEXT[watch.market]
    if sample.unread:
        return f"장부를 읽지 못함: {sample.unread}"
    account = sample.account
    beat = sample.heartbeat
    if beat is None or not sample.is_running or account is None:
        if watch.is_closing:
            return f"{name} 시장 {watch.sessions[-1]} 세션의 마감을 정리하는 중 (재현 검사, 보고서, 백업)"
        if watch.child is not None:
            return f"{name} 시장 데모를 준비하는 중 (자료 검사, 학습, 장전 분석) · 기록된 거래일의 재생"
        return f"{name} 시장에 도는 세션이 없음"
    hours = account.hours
    state = hours.text if hours is not None else "시장 시간을 모름"
    replay = f" · 기록된 {beat.session} 거래일의 재생" if account.is_replay else ""
    return f"{name} 시장 {beat.session} 세션{replay} · {state}"


def _tables(watch: Watch, sample: Sample) -> "RenderableType":
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    at = f"{sample.ts.astimezone(SEOUL):%Y-%m-%d %H:%M:%S} KST"
    # What is wrong stands where a low terminal does not cut it off.
    parts: list[RenderableType] = [Text(_doing(watch, sample), style="bold"), _troubles(watch)]
    if sample.account is not None:
        parts += _account(sample.account)
    parts += [_machine(sample), _markets(sample)]
    return Panel(Group(*parts), title=f"AI 매매 감시 {at}", subtitle="Ctrl+C: 판정을 보고 끝내기")


def _account(account: AccountNow) -> "list[RenderableType]":
    from rich.table import Table
    from rich.text import Text

    currency = account.currency
    profit = account.daily_profit
    head = Text()
    head.append(f"총자산 {money_text(account.equity, currency)}", style="bold")
    head.append("  누적 ")
    head.append(percent_text(account.total_return), style=_tone(account.total_return))
    head.append("  오늘 ")
    head.append(
        f"{'+' if profit > 0 else ''}{money_text(profit, currency)} "
        f"({percent_text(account.daily_return)})",
        style=_tone(profit),
    )
    head.append(
        f"  현금 {money_text(account.cash, currency)}  "
        f"노출 {percent_text(account.exposure, signed=False)}  상태 {STATE_TEXT[account.state]}"
    )
    if not account.is_running:
        head.append(f"\n마지막 세션 {account.session or '없음'}")
    elif account.is_replay:
        head.append(
            f"\n장의 시각(기록된 날) {account.venue_now.astimezone(SEOUL):%Y-%m-%d %H:%M:%S} KST"
        )
    held = Table(title="보유 종목", title_justify="left", expand=True)
    for name, side in (("종목", "left"), ("수량", "right"), ("평균 단가", "right"), ("현재가", "right"),
                       ("오늘 변동", "right"), ("수익률", "right"), ("평가금액", "right")):  # fmt: skip
        held.add_column(name, justify=side)  # type: ignore[arg-type]
    for one in sorted(account.holdings, key=lambda h: (-h.value, h.symbol))[:_MOST_ROWS]:
        held.add_row(
            _named(one.symbol, one.name),
            f"{one.quantity:,}",
            money_text(round(one.average_cost), currency),
            money_text(one.last_price, currency),
            Text(percent_text(one.change), style=_tone(one.change)),
            Text(percent_text(one.total_return), style=_tone(one.total_return)),
            money_text(one.value, currency),
        )
    if not account.holdings:
        held.add_row("없음", *[""] * 6)
    signals = Table(title="신호와 실행", title_justify="left", expand=True)
    for name, side in (("종목", "left"), ("예측", "right"), ("신뢰도", "right"), ("목표", "right"),
                       ("판정", "left"), ("실행", "left")):  # fmt: skip
        signals.add_column(name, justify=side)  # type: ignore[arg-type]
    shown = sorted(account.signals, key=lambda s: (s.order is None, -abs(s.weight), s.symbol))
    for signal in shown[:_MOST_ROWS]:
        signals.add_row(
            _named(signal.symbol, signal.name),
            f"{signal.forecast:+.2f}",
            f"{signal.confidence:.2f}",
            f"{signal.target_quantity:,}주",
            VERDICT_TEXT[signal.verdict],
            _done_text(signal),
        )
    if len(shown) > _MOST_ROWS:
        signals.add_row(f"그 밖 {len(shown) - _MOST_ROWS:,}종목", *[""] * 5)
    if not shown:
        signals.add_row("아직 결정 없음", *[""] * 5)
    parts: list[RenderableType] = [head, held, signals]
    led = {id(signal.order) for signal in account.signals}
    others = [one for one in account.orders if id(one) not in led]
    if others:
        table = Table(title="장중의 다른 주문", title_justify="left", expand=True)
        for name in ("종목", "주문", "까닭", "실행"):
            table.add_column(name)
        for order in others[-_MOST_ROWS:]:
            table.add_row(
                _named(order.symbol, order.name),
                f"{SIDE_TEXT[order.side]} {order.quantity:,}주",
                reason_text(order.reason),
                _order_text(order),
            )
        parts.append(table)
    return parts


def _done_text(signal: SignalNow) -> str:
    """Return in Korean whether a signal was executed."""
    if signal.order is None:
        return "주문 없음"
    return f"{SIDE_TEXT[signal.order.side]} {signal.order.quantity:,}주 {_order_text(signal.order)}"


def _order_text(order: OrderNow) -> str:
    text = STATUS_TEXT[order.status]
    if 0 < order.filled_quantity < order.quantity:
        text += f" ({order.filled_quantity:,}주 체결)"
    refused = (OrderStatus.REJECTED, OrderStatus.DENIED)
    return (
        f"{text}: {reason_text(order.message)}"
        if order.status in refused and order.message
        else text
    )


def _named(symbol: str, name: str) -> str:
    return f"{name} ({symbol})" if name and name != symbol else symbol


def _tone(value: float | None) -> str:
    # Korean screens show gains in red.
    if not value:
        return ""
    return "red" if value > 0 else "blue"


def _machine(sample: Sample) -> "RenderableType":
    from rich.table import Table

    table = Table(title="프로그램과 컴퓨터", title_justify="left", expand=True)
    for name, side in (("", "left"), ("메모리", "right"), ("CPU", "right"), ("열린 파일", "right"),
                       ("스레드", "right"), ("그 밖", "left")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    succeeded, failed = sample.calls
    remarks = {"session": f"API 성공 {succeeded:,} 실패 {failed:,}"}
    for kind, process in sample.processes.items():
        table.add_row(PROCESS_TEXT[kind], *_process(process), remarks.get(kind, ""))
    present = sample.machine
    table.add_row(
        "컴퓨터",
        f"{present.memory_percent:.0f} %",
        f"{present.cpu_percent:.0f} %",
        "",
        "",
        f"디스크 {present.disk_percent:.0f} % 사용, {present.disk_free_gb:,.1f} GB 남음 · "
        f"네트워크 ↑{_rate(sample.sent)} ↓{_rate(sample.received)}",
    )
    return table


def _process(process: ProcessNow) -> tuple[str, ...]:
    return (
        f"{process.memory_mb:,.0f} MB",
        f"{process.cpu_percent:.0f} %",
        f"{process.files:,}",
        f"{process.threads:,}",
    )


def _markets(sample: Sample) -> "RenderableType":
    from rich.text import Text

    words = [
        f"{MARKET_TEXT[market]}: {state.text if state is not None else '달력 밖의 날이라 모름'}"
        for market, state in sample.markets.items()
    ]
    return Text("실제 시장  " + "   ".join(words))


def _troubles(watch: Watch) -> "RenderableType":
    from rich.text import Text

    count = len(watch.errors) + len(watch.missed) + len(watch.findings)
    if not count:
        return Text("오류 없음, 없었던 일 없음", style="green")
    text = Text(
        f"오류 {len(watch.errors):,}건, 없었던 일 {len(watch.missed):,}건", style="bold red"
    )
    for sentence in [
        *watch.errors[-3:],
        *(f"없었던 일: {one.session} {one.text}" for one in watch.missed[-5:]),
        *list(watch.findings)[-3:],
    ]:
        text.append(f"\n  {sentence}")
    return text
