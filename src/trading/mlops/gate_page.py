"""The page of a verdict: what the gate asked, what came out, and the course of the account."""

import math
from datetime import date

import numpy as np

from trading import measures
from trading.backtest.figures import benchmark_path
from trading.backtest.page import (
    Answer,
    Cell,
    Grid,
    Page,
    Section,
    Tile,
    Words,
    render,
    text_cell,
    toned,
)
from trading.charts import Line, line_chart
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.mlops.gate import PROMOTED, Track, Trials, Verdict, deflated

# What a check asks, and which group of the table it stands in.
_CHECKS = {
    "unbiased": ("그럴듯한가", "편향 없는 자료"),
    "plausible": ("그럴듯한가", "순위 IC가 지나치지 않음"),
    "rank_ic": ("그럴듯한가", "순위 IC가 우연보다 큼"),
    "rank_ic_champion": ("그럴듯한가", "순위 IC가 챔피언보다 나음"),
    "sessions": ("운이 아닌가", "기록의 길이"),
    "dsr_raw": ("운이 아닌가", "시도 수를 감안한 샤프"),
    "dsr_effective": ("운이 아닌가", "독립인 시도 수를 감안한 샤프"),
    "pbo": ("운이 아닌가", "과최적화 확률"),
    "spa_benchmark": ("운이 아닌가", "벤치마크보다 나음"),
    "spa_champion": ("운이 아닌가", "챔피언보다 나음"),
    "doubled_costs": ("견디는가", "비용 두 배"),
    "delayed": ("견디는가", "하루 늦은 판단"),
    "crisis": ("견디는가", "위기 구간"),
    "capacity": ("견디는가", "수용 규모"),
    "break_even": ("견디는가", "손익분기 비용"),
}


def page_of(
    verdict: Verdict,
    challenger: Track,
    champion: Track | None,
    trials: Trials,
    *,
    name: str,
    market: Market,
) -> str:
    """Return the page of a verdict on the model ``name`` as one HTML text."""
    words = Words("ko")
    first, last = (_day(challenger, at) for at in (0, -1))
    page = Page(
        title=f"{name} 승격 판정",
        meta=f"{MARKET_TEXT[market]} · 표본 밖 {first} ~ {last} · {len(challenger.sessions):,}거래일",
        answer=_answer(verdict),
        tiles=_tiles(challenger, trials, words),
        sections=(_course(challenger, champion), _checks(verdict), _account(challenger, words)),
        footer=(
            "벤치마크: 같은 종목을 같은 비중으로, 전날 종가의 주식 비중만큼만 든 것. 비용을 내지 않습니다.",
            "표본 밖: 앞선 기간으로만 학습한 모델이 예측한 기간. 주문, 비용, 체결은 실제 계좌와 같은 규칙입니다.",
            "관문이 얼마나 자주 틀리는지는 trading gate-calibrate 가 잽니다.",
        ),
    )
    return render(page, words)


def _answer(verdict: Verdict) -> Answer:
    failed = [check.sentence for check in verdict.checks if not check.passed]
    if verdict.verdict == PROMOTED:
        return Answer(
            kind="better", head="승격: 모든 물음을 통과했습니다", sentences=(verdict.reason,)
        )
    if verdict.promoted:
        head = "증명되지 않았지만 첫 모델이라 등록합니다"
    elif verdict.verdict == "kept":
        head = "챔피언을 그대로 둡니다"
    else:
        head = "증명되지 않아 거래에 쓰지 않습니다"
    return Answer(kind="unknown", head=head, sentences=tuple(failed))


def _tiles(challenger: Track, trials: Trials, words: Words) -> tuple[Tile, ...]:
    found = deflated(trials.active, raw=trials.raw, effective=trials.effective)
    annual = math.sqrt(challenger.sessions_per_year)
    return (
        Tile(
            name="연 초과 샤프",
            value=words.number(found.sharpe * annual),
            small="비용을 낸 뒤, 벤치마크와의 차이",
        ),
        Tile(
            name="운만으로 기대되는 최고 샤프",
            value=words.number(found.lucky_raw * annual),
            small=f"시도 {trials.raw:,}번; 독립인 시도 {trials.effective:,.4g}번이면 "
            f"{words.number(found.lucky_effective * annual)}",
        ),
        Tile(
            name="시도 수를 감안한 샤프 (DSR)",
            value=words.percent(found.raw, signed=False, digits=1),
            small=f"독립인 시도 수로는 {words.percent(found.effective, signed=False, digits=1)}",
        ),
        Tile(
            name="손익분기 비용",
            value=f"{words.number(challenger.break_even_bps, 1)} bp",
            small="거래대금마다 더 내도 벤치마크와 같은 비용",
        ),
    )


def _course(challenger: Track, champion: Track | None) -> Section:
    days = [day.astype(date) for day in challenger.sessions]
    lines = [
        Line(kind="equity", values=100.0 * benchmark_path(challenger.net)[1:]),
        Line(kind="benchmark", values=100.0 * benchmark_path(challenger.benchmark)[1:]),
    ]
    legend = [("equity", "도전 모델의 계좌"), ("benchmark", "벤치마크")]
    if champion is not None:
        theirs = np.zeros(len(days))
        _, mine, his = np.intersect1d(challenger.sessions, champion.sessions, return_indices=True)
        theirs[mine] = champion.net[his]
        lines.append(Line(kind="rival1", values=100.0 * benchmark_path(theirs)[1:]))
        legend.append(("rival1", "챔피언의 계좌 (함께 거래한 날)"))
    return Section(
        title="계좌의 경과",
        lead="첫날을 100으로, 비용을 낸 뒤",
        legend=tuple(legend),
        charts=(
            ("", line_chart(days, lines, title="계좌와 벤치마크", size="tall")),
            (
                "벤치마크와의 차이를 쌓은 것",
                line_chart(
                    days,
                    [Line(kind="equity", values=100.0 * np.cumsum(challenger.active))],
                    title="벤치마크와의 차이를 쌓은 것",
                    unit="%",
                    size="low",
                ),
            ),
        ),
    )


def _checks(verdict: Verdict) -> Section:
    rows: list[tuple[Cell, ...]] = []
    groups: dict[int, str] = {}
    for at, check in enumerate(verdict.checks):
        group, asked = _CHECKS[check.name]
        if group not in groups.values():
            groups[at] = group
        rows.append(
            (
                text_cell(asked),
                Cell(
                    text="통과" if check.passed else "막힘",
                    tone="good" if check.passed else "bad",
                    is_text=True,
                ),
                text_cell(check.sentence),
            )
        )
    return Section(
        title="관문의 물음",
        lead="하나라도 막히면 승격하지 않습니다",
        grid=Grid(heads=("물음", "답", "값과 기준"), rows=tuple(rows), groups=groups),
    )


def _account(challenger: Track, words: Words) -> Section:
    per_year = challenger.sessions_per_year
    rows = tuple(
        (
            text_cell(what),
            toned(
                words.percent(measures.total_return(benchmark_path(returns))), float(returns.sum())
            ),
            Cell(text=words.number(measures.sharpe(returns, periods_per_year=per_year))),
            Cell(text=words.percent(-measures.max_drawdown(benchmark_path(returns)))),
        )
        for what, returns in (
            ("도전 모델의 계좌", challenger.net),
            ("벤치마크", challenger.benchmark),
            ("비용을 두 배로 내면", challenger.doubled),
            ("하루 늦게 판단하면", challenger.delayed),
        )
    )
    return Section(
        title="조건을 바꾸어 다시 거래하면",
        lead=f"평균 주식 비중 {words.percent(float(challenger.exposure.mean()), signed=False, digits=1)}, "
        f"한 해 사고판 금액 계좌의 {words.number(challenger.turnover, 1)}배",
        grid=Grid(heads=("", "수익률", "샤프 비율", "최대 낙폭"), rows=rows, groups={}),
    )


def _day(track: Track, at: int) -> date:
    day: date = track.sessions[at].astype(date)
    return day
