"""Decisions: what was chosen and why, who voted how, and why a name came into the screen or not."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from trading import briefing
from trading.briefing import Voter
from trading.dashboard import data, frame
from trading.dashboard.data import Account
from trading.domain.decision import Choice, Decision
from trading.domain.wording import (
    REGIME_TEXT,
    SIDE_TEXT,
    STATE_TEXT,
    VERDICT_TEXT,
    boundary_text,
    money_text,
    reason_text,
)
from trading.errors import MissingDataError

TITLE: Final = "판단"


def show() -> None:
    """Draw the page."""
    account = frame.chosen()
    day = frame.session_choice(account, key="decisions_session")
    chosen, voting, screened = st.tabs(["판단과 까닭", "투표자", "종목 선별"])
    with chosen, frame.said():
        _decision(account, data.decision(frame.installation().home, account, day))
    with voting, frame.said():
        _voters(account, day)
    with screened, frame.said():
        _screen(account, day)


def _decision(account: Account, decision: Decision) -> None:
    currency = account.market.currency
    names = data.names(frame.installation().home, account.market)
    frame.tiles(
        frame.Tile("시점", boundary_text(decision.boundary)),
        frame.Tile("상태", STATE_TEXT[decision.state]),
        frame.Tile("시장 국면", REGIME_TEXT.get(decision.regime, decision.regime) or "기록 없음"),
        frame.Tile("평가금액", money_text(decision.equity, currency)),
        frame.Tile("노출 계수", f"{decision.exposure:.2f}"),
        frame.Tile("포트폴리오 하루 VaR", frame.share(decision.portfolio_var)),
        frame.Tile("주문", f"{len(decision.intents):,}건"),
    )
    wanted = [c for c in decision.choices if c.weight or c.target_quantity or c.forecast]
    listed = sorted(
        wanted or decision.choices, key=lambda c: (-c.weight, -abs(c.forecast), c.symbol)
    )
    ordered = {
        intent.symbol: f"{SIDE_TEXT[intent.side]} {intent.quantity:,}주 ({reason_text(intent.reason)})"
        for intent in decision.intents
    }
    table = pd.DataFrame(
        [
            {
                "종목": one.symbol,
                "이름": names.get(one.symbol, ""),
                "종합 예측": one.forecast,
                "신뢰도": one.confidence,
                "바란 비중": one.weight,
                "목표 수량": one.target_quantity,
                "까닭": VERDICT_TEXT[one.verdict],
                "주문": ordered.get(one.symbol, "없음"),
                "코드": one.verdict.name,
            }
            for one in listed
        ]
    )
    frame.grid(
        table,
        formats={
            "종합 예측": "{:+.3f}".format,
            "신뢰도": frame.share,
            "바란 비중": frame.share,
            "목표 수량": "{:,}".format,
        },
        tones=("종합 예측",),
        key="decisions_table",
    )
    hidden = len(decision.choices) - len(listed)
    if hidden:
        st.caption(f"의견도 목표도 없는 {hidden:,}종목은 줄였습니다.")
    if decision.waiting:
        st.caption(
            frame.plain(
                "장중에 가격이 오르기를 기다리는 종목: "
                + ", ".join(
                    f"{one.symbol} (시가 + {money_text(one.distance, currency)})"
                    for one in decision.waiting
                )
            )
        )
    _votes(account, decision, listed, names)


def _votes(
    account: Account, decision: Decision, listed: list[Choice], names: Mapping[str, str]
) -> None:
    """Show who voted how on one name, each vote with the weight that it counted."""
    st.subheader("종목마다 투표한 전략")
    one = st.selectbox(
        "종목",
        listed,
        format_func=lambda c: f"{c.symbol} {names.get(c.symbol, '')}".strip(),
        key="decisions_symbol",
    )
    if not one.votes:
        st.info("이 종목에는 모든 전략이 기권했습니다.")
        return
    weights: dict[str, float] = {}
    with frame.said():
        morning = data.report(frame.installation().home, account, decision.session, "briefing")
        weights = {v["name"]: v["weight"] for v in morning["voters"]}
    agents = sorted(one.votes, key=lambda name: one.votes[name])
    made = frame.figure(height=60 + 34 * len(agents))
    made.add_trace(
        go.Bar(
            x=[one.votes[name] for name in agents],
            y=[f"{name} ×{weights[name]:.2f}" if name in weights else name for name in agents],
            orientation="h",
            marker={"color": [frame.UP if one.votes[name] > 0 else frame.DOWN for name in agents]},
            text=[f"{one.votes[name]:+.2f}" for name in agents],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    made.update_xaxes(
        range=[-1.6, 1.6],
        tickvals=[-1, 0, 1],
        tickformat="+.1f",
        showgrid=True,
        zeroline=True,
        gridcolor="#e3e6eb",
    )
    made.update_yaxes(showgrid=False, ticksuffix="  ")
    frame.draw(made, key="decisions_votes")
    st.caption(
        frame.plain(
            f"-1 은 팔자, +1 은 사자이고, × 뒤는 그 의견이 세는 가중치입니다. 종합 예측 {one.forecast:+.3f}, 신뢰도 "
            f"{frame.share(one.confidence)} → {VERDICT_TEXT[one.verdict]}"
        )
    )


def _voters(account: Account, day: date) -> None:
    body = data.report(frame.installation().home, account, day, "briefing")
    voters = [
        Voter(**one | {"diagram": tuple(tuple(bin_) for bin_ in one["diagram"])})
        for one in body["voters"]
    ]
    if not voters:
        raise MissingDataError("그날 투표한 전략이 없습니다.")
    closed = data.session(frame.installation().home, account, day).closed or {}
    attributed = closed.get("engine", {}).get("attributed", {})
    frame.report_table(briefing.voter_table(voters, attributed, account.market.currency))
    st.caption(f"서로 겹치는 의견을 빼면 독립인 투표자 {body['effective_voters']:.1f}명 몫입니다.")
    st.subheader("장전 시장")
    st.code(body["market"]["text"], language=None, wrap_lines=True)


def _screen(account: Account, day: date) -> None:
    body = data.report(frame.installation().home, account, day, "briefing")["screen"]
    names = body["names"]
    frame.tiles(
        frame.Tile("선정", f"{body['selected']:,}종목"),
        frame.Tile("전체", f"{len(names):,}종목"),
        frame.Tile("새로 선정", f"{len(body['entered']):,}종목"),
        frame.Tile("빠짐", f"{len(body['left']):,}종목"),
    )
    which = st.segmented_control(
        "보기",
        ["선정", "제외", "새로 선정", "빠짐", "모두"],
        default="선정",
        key="decisions_which",
        required=True,
    )
    search = st.text_input("종목 찾기", key="decisions_search", placeholder="코드나 까닭의 일부")
    shown = [one for one in names if _is_asked(one, which or "선정", body, search)]
    shown.sort(key=lambda n: (n["score_rank"] is None, n["score_rank"] or 0, n["symbol"]))
    if not shown:
        raise MissingDataError("고른 조건에 맞는 종목이 없습니다.")
    frame.grid(
        pd.DataFrame(
            [
                {
                    "종목": one["symbol"],
                    "까닭": one["text"],
                    "순위": one["score_rank"],
                    "점수": one["composite"],
                    "업종": one["sector"] or "기록 없음",
                    "상태": one["standing"],
                }
                for one in shown
            ]
        ),
        formats={"순위": "{:,.0f}".format, "점수": "{:+.2f}".format},
        key="decisions_screen",
    )
    for note in body["notes"]:
        st.caption(frame.plain(f"참고: {note}"))


def _is_asked(one: Mapping[str, Any], which: str, body: Mapping[str, Any], search: str) -> bool:
    if search and search.lower() not in f"{one['symbol']} {one['text']}".lower():
        return False
    match which:
        case "선정":
            return bool(one["selected"])
        case "제외":
            return not one["selected"]
        case "새로 선정":
            return one["symbol"] in body["entered"]
        case "빠짐":
            return one["symbol"] in body["left"]
    return True


if __name__ == "__main__":
    frame.page(TITLE, show)
