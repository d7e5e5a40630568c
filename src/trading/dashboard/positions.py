"""What is held: prices, gains, weights; and today's signals with whether each was carried out."""

from typing import Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from trading.dashboard import data, frame
from trading.domain.order import OrderStatus
from trading.domain.wording import SIDE_TEXT, STATUS_TEXT, VERDICT_TEXT, money_text
from trading.errors import MissingDataError
from trading.overview import AccountNow, SignalNow

TITLE: Final = "보유 종목"


def show() -> None:
    """Draw the page."""
    now = data.account_now(frame.installation().home, frame.chosen())
    gain = sum(one.value - one.quantity * one.average_cost for one in now.holdings)
    frame.tiles(
        frame.Tile("보유", f"{len(now.holdings):,}종목"),
        frame.Tile("주식 평가", money_text(now.equity - now.cash, now.currency)),
        frame.Tile("현금", money_text(now.cash, now.currency)),
        frame.Tile("노출", frame.share(now.exposure)),
        frame.Tile("평가 손익", frame.signed_money(gain, now.currency)),
    )
    with frame.said():
        _holdings(now)
    with frame.said():
        _signals(now)


def _holdings(now: AccountNow) -> None:
    if not now.holdings:
        raise MissingDataError(
            "지금 가진 종목이 없습니다. 아래의 신호에 사지 않은 까닭이 있습니다."
        )
    currency = now.currency
    held = sorted(now.holdings, key=lambda one: -one.value)
    frame.grid(
        pd.DataFrame(
            [
                {
                    "종목": one.symbol,
                    "이름": one.name,
                    "수량": one.quantity,
                    "평균 단가": one.average_cost,
                    "지금 가격": one.last_price,
                    "오늘": one.change,
                    "평가금액": one.value,
                    "비중": one.value / now.equity if now.equity else None,
                    "손익": one.value - one.quantity * one.average_cost,
                    "수익률": one.total_return,
                }
                for one in held
            ]
        ),
        formats={
            "수량": "{:,}".format,
            "평균 단가": lambda minor: money_text(round(minor), currency),
            "지금 가격": lambda minor: money_text(minor, currency),
            "오늘": frame.percent,
            "평가금액": lambda minor: money_text(minor, currency),
            "비중": frame.share,
            "손익": lambda minor: frame.signed_money(round(minor), currency),
            "수익률": frame.percent,
        },
        tones=("오늘", "손익", "수익률"),
        key="positions_table",
    )
    st.caption(
        "평균 단가는 비용을 뺀 값입니다. 지금 가격은 마지막 점검이나 체결의 값이고, 오늘은 전 세션 종가 대비입니다."
    )
    made = frame.figure(height=70 + 30 * (len(held) + 1), unit="%")
    rows = [(one.name or one.symbol, one.value / now.equity) for one in held]
    rows.append(("현금", now.cash / now.equity))
    made.add_trace(
        go.Bar(
            x=[100 * share for _, share in rows],
            y=[name for name, _ in rows],
            orientation="h",
            marker={"color": [frame.LINE] * len(held) + ["#aab2bf"]},
            text=[frame.share(share) for _, share in rows],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    made.update_xaxes(
        range=[0, 118 * max(share for _, share in rows)], ticksuffix="%", tickformat="d"
    )
    made.update_yaxes(autorange="reversed", ticksuffix="  ", showgrid=False)
    frame.draw(made, key="positions_weights")


def _signals(now: AccountNow) -> None:
    st.subheader(f"{now.session} 세션의 신호와 실행" if now.session else "신호와 실행")
    wanted = [one for one in now.signals if one.weight or one.forecast or one.order is not None]
    if not wanted:
        raise MissingDataError("이 세션에는 아직 신호가 없습니다. 판단은 개장 때 적힙니다.")
    wanted.sort(key=lambda one: (one.order is None, -one.weight, -abs(one.forecast)))
    frame.grid(
        pd.DataFrame(
            [
                {
                    "종목": one.symbol,
                    "이름": one.name,
                    "종합 예측": one.forecast,
                    "신뢰도": one.confidence,
                    "바란 비중": one.weight,
                    "까닭": VERDICT_TEXT[one.verdict],
                    "실행": _carried_out(one),
                }
                for one in wanted
            ]
        ),
        formats={
            "종합 예측": "{:+.3f}".format,
            "신뢰도": frame.share,
            "바란 비중": frame.share,
        },
        tones=("종합 예측",),
        key="positions_signals",
    )
    hidden = len(now.signals) - len(wanted)
    if hidden:
        st.caption(f"의견도 주문도 없는 {hidden:,}종목은 줄였습니다.")


def _carried_out(one: SignalNow) -> str:
    order = one.order
    if order is None:
        return "주문 없음"
    done = STATUS_TEXT[order.status]
    if order.filled_quantity and order.status is not OrderStatus.FILLED:
        done = f"{done}, {order.filled_quantity:,}주 체결"
    return f"{SIDE_TEXT[order.side]} {order.quantity:,}주 → {done}"


if __name__ == "__main__":
    frame.page(TITLE, show, refreshes=True)
