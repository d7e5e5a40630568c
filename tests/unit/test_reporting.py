import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.decision import Choice, Decision, TradingState, Verdict
from trading.domain.instrument import Exchange, Market
from trading.domain.order import OrderIntent, OrderStatus, Side
from trading.reporting import (
    OrderLine,
    ParityLine,
    PositionLine,
    QualityLine,
    RiskLine,
    SessionReport,
    Table,
    performance,
    render,
    write_report,
)

CASH = 1_000_000_000  # 100,000 USD


@pytest.fixture(scope="module")
def closes() -> dict[str, list[tuple[date, int]]]:
    """Recorded closes of the embedded stocks, in 1/10,000 dollar."""
    from bokeh_sampledata import stocks

    return {
        symbol: [
            (date.fromisoformat(day), round(close * 10_000))
            for day, close in zip(data["date"], data["close"], strict=True)
        ]
        for symbol, data in (("AAPL", stocks.AAPL), ("IBM", stocks.IBM))
    }


def report_of(closes, *, sessions: int) -> SessionReport:
    """An account that bought 100 AAPL and 200 IBM at one close and held them."""
    apple, ibm = (dict(closes[s]) for s in ("AAPL", "IBM"))
    days = [day for day, _ in closes["AAPL"] if date(2006, 1, 3) <= day][: sessions + 1]
    first, last = days[0], days[-1]
    cash = CASH - 100 * apple[first] - 200 * ibm[first]
    intent = OrderIntent(
        intent_id="us-1",
        session=last,
        boundary="open",
        symbol="AAPL",
        exchange=Exchange.NASDAQ,
        side=Side.BUY,
        quantity=100,
        limit=apple[first],
    )
    order = OrderLine(
        intent_id="us-1",
        boundary="open",
        symbol="AAPL",
        name="Apple",
        side=Side.BUY,
        quantity=100,
        limit=apple[first],
        status=OrderStatus.FILLED,
        filled_quantity=100,
        filled_amount=100 * apple[first],
        commission=187_000,
        tax=0,
        reason="rebalance",
    )
    return SessionReport(
        market=Market.US,
        session=last,
        environment="demo",
        run_id="us-20060103-1",
        generated_at=datetime(2006, 3, 1, 21, 5, tzinfo=UTC),
        state=TradingState.ACTIVE,
        equity=[(day, cash + 100 * apple[day] + 200 * ibm[day]) for day in days],
        cash=cash,
        positions=[
            PositionLine(
                symbol=symbol,
                name=name,
                quantity=quantity,
                average_price=prices[first],
                last_price=prices[last],
            )
            for symbol, name, quantity, prices in (
                ("AAPL", "Apple", 100, apple),
                ("IBM", "IBM", 200, ibm),
            )
        ],
        orders=[
            order,
            replace(
                order,
                intent_id="us-2",
                symbol="IBM",
                name="IBM",
                status=OrderStatus.DENIED,
                filled_quantity=0,
                filled_amount=0,
                commission=0,
                verdict="GUARD_DUPLICATE",
                message="같은 주문이 이미 <나가> 있음",
            ),
        ],
        decisions=[
            Decision(
                session=last,
                boundary="open",
                first_bar=date(2000, 3, 1),
                view_hash="v",
                policy_hash="p",
                equity=CASH,
                state=TradingState.ACTIVE,
                regime="중간 변동성",
                portfolio_var=0.012,
                exposure=1.0,
                allocation="",
                choices=(
                    Choice(
                        symbol="AAPL",
                        votes={"ma_crossover": 1.0, "rsi": 0.0, "forest": 0.6},
                        forecast=0.62,
                        confidence=0.81,
                        weight=0.1,
                        target_quantity=100,
                        verdict=Verdict.CAP_SINGLE_NAME,
                    ),
                    Choice(
                        symbol="IBM",
                        votes={"ma_crossover": -1.0},
                        forecast=-0.4,
                        confidence=0.55,
                        weight=0.0,
                        target_quantity=0,
                        verdict=Verdict.BELOW_ENTRY_FORECAST,
                    ),
                    Choice(
                        symbol="MSFT",
                        votes={},
                        forecast=0.0,
                        confidence=0.0,
                        weight=0.0,
                        target_quantity=0,
                        verdict=Verdict.ABSTAIN,
                    ),
                ),
                intents=(intent,),
                waiting=(),
                entries={},
            )
        ],
        cash_difference=0,
        benchmark=[(day, (apple[day] / apple[first] + ibm[day] / ibm[first]) / 2) for day in days],
        benchmark_name="같은 종목 동일 비중",
        risk=[
            RiskLine(name="하루 VaR 95 %", value=0.012, limit=0.05),
            RiskLine(name="가장 큰 종목 비중", value=0.11, limit=0.10),
        ],
        quality=QualityLine(rows=3270, quarantined=1, findings=("고가가 저가보다 낮음 1행",)),
        parity=ParityLine(orders=1, differences=0, unexplained=0),
        actions=[
            CorporateAction(
                symbol="AAPL",
                ex_date=date(2005, 2, 28),
                kind=ActionKind.SPLIT,
                numerator=2,
                inferred=True,
            ),
            CorporateAction(
                symbol="MSFT",
                ex_date=date(2004, 11, 15),
                kind=ActionKind.CASH_DIVIDEND,
                amount=30_800,
                source="Microsoft",
            ),
        ],
        counters={"API 성공": 41, "API 실패": 0, "메모리 (MB)": 312.5},
        labels={"생존 편향": "내장 종목은 뒤에 살아남은 다섯 종목입니다"},
        decision_hash="d" * 64,
        orders_hash="o" * 64,
    )


def test_report_writes_three_files_and_the_same_again(closes, tmp_path):
    """The files are where the documents say, and writing twice changes no byte."""
    report = report_of(closes, sessions=3)

    folder = tmp_path / "2006-01-06"

    paths = write_report(folder, report)
    before = [path.read_bytes() for path in (paths.html, paths.performance, paths.trades)]
    write_report(folder, report)

    assert sorted(path.name for path in folder.iterdir()) == [
        "performance_2006-01-06.json",
        "report.html",
        "trades_2006-01-06.json",
    ]
    assert before == [p.read_bytes() for p in (paths.html, paths.performance, paths.trades)]


def test_performance_adds_up(closes, tmp_path):
    """Equity is cash plus holdings; returns and drawdown follow from the curve."""
    report = report_of(closes, sessions=60)

    figures = json.loads(
        write_report(tmp_path, report).performance.read_text("utf-8"), parse_constant=pytest.fail
    )

    values = [amount for _, amount in report.equity]
    assert figures["equity"] == figures["cash"] + sum(p["value"] for p in figures["positions"])
    assert figures["daily_profit"] == values[-1] - values[-2]
    assert figures["total_return"] == pytest.approx(values[-1] / CASH - 1)
    assert figures["drawdown"] == pytest.approx(1 - values[-1] / max(values))
    assert figures["metrics"]["returns"] == 60
    assert figures["metrics"]["sharpe"] is not None
    assert figures["benchmark"]["total_return"] == pytest.approx(report.benchmark[-1][1] - 1)
    assert figures["cash_difference"] == 0


def test_money_that_was_brought_is_no_profit(closes):
    """A deposit makes the account larger, its returns and its risk are those without it."""
    plain = report_of(closes, sessions=3)
    (*before, (eve, previous), (day, equity)) = plain.equity
    deposit = 500_000_000
    earned = equity / previous - 1
    richer = round((previous + deposit) * (1 + earned))
    returns = [b / a - 1 for (_, a), (_, b) in pairwise([*before, (eve, previous)])]

    alone = performance(plain)
    told = performance(
        replace(plain, equity=[*before, (eve, previous), (day, richer)], returns=[*returns, earned])
    )

    assert told["daily_profit"] == richer - previous - deposit
    for name in ("daily_return", "total_return", "drawdown"):
        assert told[name] == pytest.approx(alone[name]), name
    assert told["metrics"] == pytest.approx(alone["metrics"])


def test_an_empty_account_has_a_report(closes):
    """With nothing in it nothing was earned and nothing is invested."""
    plain = report_of(closes, sessions=3)
    days = [day for day, _ in plain.equity]

    empty = replace(
        plain, equity=[(day, 0) for day in days], returns=[0.0] * 3, cash=0, positions=(), orders=()
    )
    figures = performance(empty)

    assert (figures["daily_profit"], figures["total_return"], figures["gross_exposure"]) == (
        0,
        0,
        0,
    )
    assert "현금" in render(empty)


def test_few_sessions_claim_nothing_annual(closes):
    """Three sessions make no Sharpe ratio."""
    metrics = performance(report_of(closes, sessions=3))["metrics"]

    assert metrics["returns"] == 3
    assert metrics["sharpe"] is None
    assert metrics["max_drawdown"] >= 0


def test_trades_keep_refusals(closes, tmp_path):
    """Every order is in the file with its reason, refused ones too."""
    orders = json.loads(
        write_report(tmp_path, report_of(closes, sessions=3)).trades.read_text("utf-8")
    )["orders"]

    assert [order["status"] for order in orders] == ["filled", "denied"]
    assert orders[1]["verdict"] == "GUARD_DUPLICATE"


class Page(HTMLParser):
    """Reads the page: its text, its tags, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags = []
        self.loads = []
        self.open = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_page_is_whole_and_alone(closes):
    """Three charts inside, every tag closed, nothing loaded, user text harmless."""
    page = Page(render(report_of(closes, sessions=60)))

    assert page.open == []
    assert page.loads == []
    assert page.tags.count("svg") == 3
    for words in (
        "미국 시장",
        "장부 현금 − 거래소 현금",
        "$0.00",
        "같은 종목 동일 비중",
        "축소: 단일 종목 한도",
        "의견 없음: 모든 전략이 기권 1종목",
        "같은 주문이 이미 <나가> 있음",
        "고가가 저가보다 낮음 1행",
        "2 : 1",
        "주당 $3.08",
        "가격 쌍에서 추론",
        "샤프 비율",
        "312.5",
    ):
        assert words in page.words, words


def test_what_is_unknown_is_said(closes):
    """No benchmark, no checks, no trades: the page says so instead of showing nothing."""
    bare = replace(
        report_of(closes, sessions=1),
        benchmark=(),
        quality=None,
        parity=None,
        orders=(),
        positions=(),
        decisions=(),
        actions=(),
        counters={},
        labels={},
        risk=[RiskLine(name="하루 VaR 95 %", value=None)],
    )

    page = Page(render(bare))

    assert performance(bare)["benchmark"] is None
    for words in (
        "기준 지표: 기록 없음",
        "검사 안 함",
        "실행 안 함",
        "주문 없음",
        "보유 종목 없음",
    ):
        assert words in page.words, words


def test_a_difference_is_shown_as_one(closes):
    """A cash difference of one minor unit is on the page, in full."""
    broken = replace(
        report_of(closes, sessions=1),
        cash_difference=1,
        position_differences=("IBM 장부 200 거래소 190",),
    )

    page = Page(render(broken))

    assert "$0.0001" in page.words
    assert "IBM 장부 200 거래소 190" in page.words


def test_first_report_of_an_account_that_did_not_move(closes):
    """One point, no change: the charts stand."""
    report = report_of(closes, sessions=1)
    still = replace(report, equity=report.equity[:1], benchmark=(), positions=(), cash=CASH)

    assert Page(render(still)).tags.count("svg") == 3
    assert performance(still)["daily_profit"] == 0


def test_many_holdings_are_folded_in_the_chart(closes):
    """A wide portfolio shows its largest holdings and the sum of the others."""
    report = report_of(closes, sessions=1)
    line = report.positions[0]
    wide = replace(
        report, positions=[replace(line, symbol=f"A{i}", name="", quantity=1) for i in range(25)]
    )

    assert "그 밖 5종목" in Page(render(wide)).words


@pytest.mark.parametrize(
    ("value", "limit", "broken"),
    [
        (0.06, 0.05, True),
        (0.05, 0.05, False),
        (None, 0.05, False),
        (0.06, None, False),
    ],
)
def test_a_limit_is_a_ceiling(value, limit, broken):
    """A figure may reach its limit, not pass it; one that is unknown breaks nothing."""
    line = RiskLine(name="x", value=value, limit=limit)

    assert line.is_broken is broken
    assert (line.room is None) == (value is None or limit is None)


RISK_TABLES = (
    Table(
        title="손실 전망",
        heads=("방법", "VaR 95%", "업종", "넘은 날"),
        rows=(
            ("역사적", "0.43 ± 0.06 %", "3S전자", "13 / 12.5"),
            ("<정규>", "기록 없음", "은행", "<0.001"),
        ),
        notes=("지난 250거래일",),
        bad=frozenset({(1, 3)}),
    ),
    Table(title="팩터", notes=("보유 종목이 없습니다.",)),
    Table(title="위기", heads=tuple("abcde"), rows=(tuple("vwxyz"),)),
)


def test_tables_of_risk(closes):
    """Each table is on the page with its notes; numbers stand right, alarms are marked."""
    text = render(replace(report_of(closes, sessions=3), tables=RISK_TABLES))

    page = Page(text)
    assert page.open == []
    for words in ("손실 전망", "<정규>", "지난 250거래일", "보유 종목이 없습니다.", "위기"):
        assert words in page.words, words
    assert '<td class="n bad">&lt;0.001</td>' in text
    assert '<td class="n ">0.43 ± 0.06 %</td>' in text
    assert '<td class=" ">3S전자</td>' in text
    assert RISK_TABLES[0].numeric == (False, True, False, True)
    assert [table.is_narrow for table in RISK_TABLES] == [True, True, False]


def test_the_reliability_of_votes_is_drawn(closes):
    """A circle a bin, with the voter's name as text and the larger number of views the larger one."""
    points = [("rsi", 0.52, 0.48, 400), ("a<b", 0.40, 0.45, 100)]

    page = render(replace(report_of(closes, sessions=3), reliability=points))
    without = render(report_of(closes, sessions=3))

    circles = re.findall(
        r'<circle class="dot equity" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', page
    )
    drawn = [c for c in circles if float(c[2]) > 3.5]
    assert [c[2] for c in drawn] == ["12.0", "7.5"]
    # 52 + (1000 - 52 - 12) × 0.52 and 12 + (260 - 12 - 28) × 0.52.
    assert drawn[0][:2] == ("538.7", "126.4")
    assert "a&lt;b: 인정 40.0%, 실제 45.0%, 의견 100건" in page
    assert "적중률의 신뢰도" not in without
