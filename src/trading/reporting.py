"""The report of one session: a Korean page with its charts inside, and the same as JSON.

What is shown was measured by others; this module only arranges it. The page needs no network and
no fonts of its own.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from trading import measures
from trading.charts import Line, line_chart, page_style
from trading.domain.actions import CorporateAction
from trading.domain.arrays import FloatArray
from trading.domain.decision import Choice, Decision, TradingState
from trading.domain.instrument import Currency, Market
from trading.domain.order import OrderStatus, Side
from trading.domain.wording import (
    ACTION_TEXT,
    MARKET_TEXT,
    REGIME_TEXT,
    SIDE_TEXT,
    STATE_TEXT,
    STATUS_TEXT,
    VERDICT_TEXT,
    boundary_text,
    money_text,
    percent_text,
    reason_text,
)

# Below this many returns an annualized figure says more about luck than about the account.
MIN_RETURNS = 20
# What the daily message draws of the account: about a year.
MESSAGE_SESSIONS = 250
# A decision over a whole market has hundreds of rows; the rest is counted by verdict.
MAX_CHOICES = 40

# Sizes in CSS pixels of a wide screen, so that chart text is as large as the page's.
WIDE, HALF = (1000, 260), (480, 200)
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 28


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLine:
    """One holding after the close; prices in minor units, ``average_price`` without fees."""

    symbol: str
    name: str
    quantity: int
    average_price: float
    last_price: int

    @property
    def value(self) -> int:
        """Market value in minor units."""
        return self.quantity * self.last_price

    @property
    def unrealized(self) -> float:
        """Gain or loss against the average price, in minor units."""
        return self.value - self.quantity * self.average_price


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One order at its end; money in minor units, ``verdict`` is the guard's code or ""."""

    intent_id: str
    boundary: str
    symbol: str
    name: str
    side: Side
    quantity: int
    limit: int
    status: OrderStatus
    filled_quantity: int
    filled_amount: int
    commission: int
    tax: int
    reason: str
    message: str = ""
    verdict: str = ""

    @property
    def average_fill(self) -> float | None:
        """Average fill price in minor units; ``None`` when nothing was filled."""
        return self.filled_amount / self.filled_quantity if self.filled_quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLine:
    """One risk figure as a fraction of equity; ``limit`` is ``None`` when it has none."""

    name: str
    value: float | None
    limit: float | None = None

    @property
    def is_broken(self) -> bool:
        """Whether the figure is known and beyond its limit."""
        return self.room is not None and self.room < 0.0

    @property
    def room(self) -> float | None:
        """What is left until the limit; negative beyond it."""
        if self.value is None or self.limit is None:
            return None
        return self.limit - self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table in words: cells as they are read, ``bad`` the (row, column) of those that alarm.

    Without rows the notes say why.
    """

    title: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    bad: frozenset[tuple[int, int]] = frozenset()

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers only, which stand to the right."""
        return tuple(all(map(_NUMBER.fullmatch, column)) for column in zip(*self.rows, strict=True))

    @property
    def is_narrow(self) -> bool:
        """Whether two of these fit beside each other."""
        return not self.rows or len(self.heads) <= 4


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLine:
    """What the data checks of the day saw."""

    rows: int
    quarantined: int
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityLine:
    """The session recomputed from the lake against what was done."""

    orders: int
    differences: int
    unexplained: int
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """Everything the report of one session shows.

    ``equity`` are (session, minor units) at each close, oldest first, ending with this session;
    its first point is the capital before the first trade. ``returns`` are the account's own of each
    later point, in which what was brought or taken counts for nothing; those of ``equity`` when not
    given. ``benchmark`` are (session, level) of the same dates, empty when none was recorded.
    ``cash_difference`` is ledger cash minus venue cash in minor units. ``quality`` and ``parity``
    are ``None`` when they were not run; ``labels`` name what makes the evidence biased or special,
    by Korean name. ``tables`` are those of ``holdings`` and ``briefing``; ``reliability`` holds, of
    each bin of each voter's hit rates, the voter, the rate it was credited with, the share that came
    true, and how many views those were.
    """

    market: Market
    session: date
    environment: str
    run_id: str
    generated_at: datetime
    state: TradingState
    equity: Sequence[tuple[date, int]]
    cash: int
    positions: Sequence[PositionLine]
    orders: Sequence[OrderLine]
    decisions: Sequence[Decision]
    cash_difference: int
    position_differences: Sequence[str] = ()
    returns: Sequence[float] | FloatArray | None = None
    benchmark: Sequence[tuple[date, float]] = ()
    benchmark_name: str = ""
    risk: Sequence[RiskLine] = ()
    tables: Sequence[Table] = ()
    reliability: Sequence[tuple[str, float, float, int]] = ()
    quality: QualityLine | None = None
    parity: ParityLine | None = None
    actions: Sequence[CorporateAction] = ()
    counters: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    decision_hash: str = ""
    orders_hash: str = ""
    sessions_per_year: int = 252


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """The files of one report."""

    html: Path
    performance: Path
    trades: Path


def write_report(folder: Path, report: SessionReport) -> ReportPaths:
    """Write the three files of ``report`` into ``folder``.

    Writing the same report again replaces them with the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = report.session.isoformat()
    paths = ReportPaths(
        html=folder / "report.html",
        performance=folder / f"performance_{stamp}.json",
        trades=folder / f"trades_{stamp}.json",
    )
    paths.performance.write_text(_json(performance(report)), encoding="utf-8")
    paths.trades.write_text(_json(trades(report)), encoding="utf-8")
    paths.html.write_text(render(report), encoding="utf-8")
    return paths


def daily_message(paths: ReportPaths) -> dict[str, Any]:
    """Return the fields of the daily message: the report's figures, and its last year as curves."""
    figures = json.loads(paths.performance.read_text("utf-8"))
    benchmark, parity = figures["benchmark"], figures["parity"]
    names = (
        "environment", "currency", "equity", "cash", "daily_profit", "daily_return", "total_return",
    )  # fmt: skip
    orders = json.loads(paths.trades.read_text("utf-8"))["orders"]
    curve = figures["equity_curve"][-MESSAGE_SESSIONS:]
    told = {name: figures[name] for name in names} | {
        "benchmark_return": None if benchmark is None else benchmark["total_return"],
        **{name: figures[name] for name in ("drawdown", "gross_exposure", "state")},
        "orders": len(orders),
        "fills": sum(order["filled_quantity"] > 0 for order in orders),
        "refused": sum(order["status"] in _REFUSED for order in orders),
        "positions": {
            f"{line['symbol']} {line['name']}".strip(): f"{line['quantity']:,}주, "
            f"{money_text(line['value'], Currency(figures['currency']))}"
            for line in figures["positions"]
        },
        "cash_difference": figures["cash_difference"],
        "parity_unexplained": None if parity is None else parity["unexplained"],
        "report": str(paths.html),
        "curve": curve,
    }
    if benchmark is not None:
        told["benchmark"] = [point for point in benchmark["curve"] if point[0] >= curve[0][0]]
    return told


def performance(report: SessionReport) -> dict[str, Any]:
    """Return the figures of the account as JSON values; unknown ones are ``None``."""
    equity = report.equity[-1][1]
    growth = _growth(report)
    today = float(_returns(report)[-1]) if len(report.equity) > 1 else 0.0
    # What was brought or taken today is no profit: it was there to earn with.
    begins = round(equity / (1.0 + today)) if today > -1.0 else report.equity[-2][1]
    return {
        "market": report.market.value,
        "session": report.session.isoformat(),
        "environment": report.environment,
        "run_id": report.run_id,
        "currency": report.market.currency.value,
        "state": report.state.value,
        "equity": equity,
        "cash": report.cash,
        "daily_profit": equity - begins,
        "daily_return": today,
        "total_return": float(growth[-1] - 1.0),
        "gross_exposure": sum(line.value for line in report.positions) / equity if equity else 0.0,
        "drawdown": float(measures.drawdown(growth)[-1]),
        "metrics": _metrics(growth, report.sessions_per_year),
        "benchmark": _benchmark(report),
        "equity_curve": [[day.isoformat(), amount] for day, amount in report.equity],
        "positions": [
            {
                "symbol": line.symbol,
                "name": line.name,
                "quantity": line.quantity,
                "average_price": line.average_price,
                "last_price": line.last_price,
                "value": line.value,
                "unrealized": line.unrealized,
            }
            for line in report.positions
        ],
        "risk": [
            {"name": line.name, "value": measures.known(line.value), "limit": line.limit}
            for line in report.risk
        ],
        "quality": None
        if report.quality is None
        else {
            "rows": report.quality.rows,
            "quarantined": report.quality.quarantined,
            "findings": list(report.quality.findings),
        },
        "parity": None
        if report.parity is None
        else {
            "orders": report.parity.orders,
            "differences": report.parity.differences,
            "unexplained": report.parity.unexplained,
        },
        "cash_difference": report.cash_difference,
        "position_differences": list(report.position_differences),
        "counters": dict(report.counters),
        "labels": dict(report.labels),
        "decision_hash": report.decision_hash,
        "orders_hash": report.orders_hash,
    }


def trades(report: SessionReport) -> dict[str, Any]:
    """Return every order of the session, refused ones included, as JSON values."""
    return {
        "market": report.market.value,
        "session": report.session.isoformat(),
        "currency": report.market.currency.value,
        "orders": [
            {
                "intent_id": line.intent_id,
                "boundary": line.boundary,
                "symbol": line.symbol,
                "name": line.name,
                "side": line.side.value,
                "quantity": line.quantity,
                "limit": line.limit,
                "status": line.status.value,
                "filled_quantity": line.filled_quantity,
                "filled_amount": line.filled_amount,
                "commission": line.commission,
                "tax": line.tax,
                "reason": line.reason,
                "message": line.message,
                "verdict": line.verdict,
            }
            for line in report.orders
        ],
    }


def render(report: SessionReport) -> str:
    """Return the page as one HTML text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    currency = report.market.currency
    environment.filters.update(
        money=lambda minor: "—" if minor is None else money_text(minor, currency),
        signed_money=lambda minor: _signed_money(minor, currency),
        percent=percent_text,
        tone=_tone,
        reason=reason_text,
        boundary=boundary_text,
        regime=lambda name: REGIME_TEXT.get(name, name) or "기록 없음",
    )
    source = (resources.files("trading") / "_templates" / "report.html.j2").read_text("utf-8")
    filled = [line for line in report.orders if line.filled_quantity]
    dates = [day for day, _ in report.equity]
    return environment.from_string(source).render(
        report=report,
        figures=performance(report),
        market=MARKET_TEXT[report.market],
        state=STATE_TEXT[report.state],
        generated_at=report.generated_at.astimezone(ZoneInfo("Asia/Seoul")),
        side_text=SIDE_TEXT,
        status_text=STATUS_TEXT,
        verdict_text=VERDICT_TEXT,
        action_text=ACTION_TEXT,
        filled=filled,
        refused=[line for line in report.orders if line.status in _REFUSED],
        fees=sum(line.commission + line.tax for line in report.orders),
        decisions=[_decision_rows(decision) for decision in report.decisions],
        style=page_style(),
        equity_chart=line_chart(dates, _against_benchmark(report), title="계좌와 기준 지표"),
        drawdown_chart=line_chart(
            dates,
            [
                Line(
                    kind="drawdown",
                    values=-100.0 * measures.drawdown(_growth(report)),
                    is_area=True,
                )
            ],
            title="낙폭",
            unit="%",
            is_pinned=True,
            size="low",
        ),
        weight_chart=_bar_chart(_weights(report)),
        min_returns=MIN_RETURNS,
        table_rows=_side_by_side(report.tables),
        reliability_chart=_reliability_chart(report.reliability),
    )


_REFUSED = (OrderStatus.DENIED, OrderStatus.REJECTED)
# A number with its unit, its error or what it is of; or the word for one that is not known.
_NUMBER = re.compile(r"[-+<]?\$?\d[\d.,]*원?( [^\w].*)?|—|기록 없음|사다리")


def _side_by_side(tables: Sequence[Table]) -> list[list[Table]]:
    """Return the tables in rows: two narrow ones that follow each other share one."""
    rows: list[list[Table]] = []
    for table in tables:
        if rows and len(rows[-1]) == 1 and rows[-1][0].is_narrow and table.is_narrow:
            rows[-1].append(table)
        else:
            rows.append([table])
    return rows


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _growth(report: SessionReport) -> FloatArray:
    """Return what one unit of money in the account from the first point on became at each."""
    return np.concatenate(([1.0], np.cumprod(1.0 + _returns(report))))


def _returns(report: SessionReport) -> FloatArray:
    if report.returns is not None:
        return np.asarray(report.returns, dtype=np.float64)
    return measures.returns_of(np.array([amount for _, amount in report.equity], dtype=np.float64))


def _metrics(values: FloatArray, periods_per_year: int) -> dict[str, float | int | None]:
    returns = measures.returns_of(values)
    figures: dict[str, float | int | None] = {
        "returns": len(returns),
        "max_drawdown": measures.max_drawdown(values),
        "annual_volatility": None,
        "sharpe": None,
        "sortino": None,
        "cagr": None,
        "calmar": None,
    }
    if len(returns) >= MIN_RETURNS:
        k = periods_per_year
        figures |= {
            "annual_volatility": measures.known(
                measures.annual_volatility(returns, periods_per_year=k)
            ),
            "sharpe": measures.known(measures.sharpe(returns, periods_per_year=k)),
            "sortino": measures.known(measures.sortino(returns, periods_per_year=k)),
            "cagr": measures.known(measures.cagr(values, periods_per_year=k)),
            "calmar": measures.known(measures.calmar(values, periods_per_year=k)),
        }
    return figures


def _benchmark(report: SessionReport) -> dict[str, Any] | None:
    if len(report.benchmark) < 2:
        return None
    levels = [level for _, level in report.benchmark]
    return {
        "name": report.benchmark_name,
        "total_return": levels[-1] / levels[0] - 1.0,
        "curve": [[day.isoformat(), level] for day, level in report.benchmark],
    }


def _against_benchmark(report: SessionReport) -> list[Line]:
    """Return both curves with their first common point at 100; no benchmark, no second curve."""
    dates = [day for day, _ in report.equity]
    curves = [Line(kind="equity", values=100.0 * _growth(report))]
    if len(report.benchmark) >= 2:
        levels = dict(report.benchmark)
        line = np.array([levels.get(day, np.nan) for day in dates])
        known = np.flatnonzero(np.isfinite(line))
        if len(known):
            start = curves[0].values[known[0]]
            curves.append(Line(kind="benchmark", values=line / line[known[0]] * start))
    return curves


def _weights(report: SessionReport) -> list[tuple[str, float]]:
    # With nothing in the account every share of it is none.
    equity = report.equity[-1][1] or 1
    held = sorted(report.positions, key=lambda line: (-line.value, line.symbol))
    rows = [(line.name or line.symbol, line.value / equity) for line in held[:20]]
    rest = sum(line.value for line in held[20:])
    if rest:
        rows.append((f"그 밖 {len(held) - 20}종목", rest / equity))
    return [*rows, ("현금", report.cash / equity)]


def _decision_rows(decision: Decision) -> dict[str, Any]:
    """Return the rows worth reading, strongest view first, and a count of the others."""
    strongest = sorted(decision.choices, key=lambda c: (-c.weight, -abs(c.forecast), c.symbol))
    shown = [choice for choice in strongest if _has_view(choice)][:MAX_CHOICES]
    listed = {choice.symbol for choice in shown}
    rest = Counter(choice.verdict for choice in decision.choices if choice.symbol not in listed)
    return {
        "decision": decision,
        "shown": shown,
        "rest": [(VERDICT_TEXT[verdict], count) for verdict, count in rest.most_common()],
    }


def _has_view(choice: Choice) -> bool:
    return choice.forecast != 0.0 or choice.weight != 0.0 or choice.target_quantity != 0


def _signed_money(minor: float, currency: Currency) -> str:
    return f"{'+' if minor > 0 else ''}{money_text(minor, currency)}"


def _tone(value: float | None) -> str:
    if value is None or value == 0:
        return ""
    return "up" if value > 0 else "down"


def _reliability_chart(points: Sequence[tuple[str, float, float, int]]) -> str:
    """Return an SVG of credited against observed hit rates; area counts views. Empty without any."""
    from markupsafe import escape

    if not points:
        return ""
    width, height = WIDE
    most = max(count for *_, count in points)

    def x(share: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * share, 1)

    def y(share: float) -> float:
        return round(TOP + (height - TOP - BOTTOM) * (1.0 - share), 1)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="chart">']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(share)}" y2="{y(share)}"/>'
            f'<text class="axis" x="{LEFT - 8}" y="{y(share) + 4}" text-anchor="end">'
            f"{100 * share:.0f}%</text>"
            f'<text class="axis" x="{x(share)}" y="{height - 8}" '
            f'text-anchor="{"end" if share == 1.0 else "middle"}">'
            f"{100 * share:.0f}%</text>"
        )
    parts.append(f'<polyline class="line benchmark" points="{x(0)},{y(0)} {x(1)},{y(1)}"/>')
    for name, credited, observed, count in points:
        radius = 3.0 + 9.0 * math.sqrt(count / most)
        parts.append(
            f'<circle class="dot equity" cx="{x(credited)}" cy="{y(observed)}" r="{radius:.1f}" '
            f'fill-opacity="0.45"><title>{escape(name)}: 인정 {100 * credited:.1f}%, 실제 '
            f"{100 * observed:.1f}%, 의견 {count:,}건</title></circle>"
        )
    return "".join([*parts, "</svg>"])


def _bar_chart(rows: Sequence[tuple[str, float]]) -> str:
    """Return an SVG of horizontal bars, one a row, with each share written beside it."""
    from markupsafe import escape

    row_height, label, figure = 30, 130, 60
    height = row_height * len(rows) + 8
    longest = max(1e-9, *(abs(share) for _, share in rows))
    parts = [f'<svg viewBox="0 0 {HALF[0]} {height}" role="img" class="chart">']
    for index, (name, share) in enumerate(rows):
        top = 4 + row_height * index
        width = (HALF[0] - label - figure - 12) * max(share, 0.0) / longest
        kind = "cash" if index == len(rows) - 1 else "equity"
        parts.append(
            f'<text class="label" x="{label - 10}" y="{top + 18}" text-anchor="end">'
            f"{escape(name)}</text>"
            f'<rect class="bar {kind}" x="{label}" y="{top + 5}" rx="3" height="18" '
            f'width="{max(width, 1.0):.1f}"/>'
            f'<text class="figure" x="{label + width + 8:.1f}" y="{top + 18}">'
            f"{100 * share:.1f}%</text>"
        )
    return "".join([*parts, "</svg>"])
