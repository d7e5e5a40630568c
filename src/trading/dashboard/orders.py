"""Orders and fills: on the price chart of a symbol, and as a table with reasons and costs."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from trading.dashboard import data, frame
from trading.dashboard.data import Account, PlacedOrder
from trading.domain.actions import CorporateAction
from trading.domain.order import OrderStatus, Side
from trading.domain.wording import (
    SIDE_TEXT,
    STATUS_TEXT,
    boundary_text,
    money_text,
    percent_text,
    reason_text,
)
from trading.errors import MissingDataError

TITLE: Final = "주문과 체결"
_SPANS: Final = {"한 달": 31, "석 달": 92, "여섯 달": 183, "한 해": 366, "전체": None}
# Prices before the first order and after the last one, so that both are seen in their place.
_MARGIN: Final = timedelta(days=20)
# Rows of the table; what is older is found by filtering. A table of all would hold the processor,
# and Streamlit draws no styled one with more than 262,144 cells.
_MOST: Final = 1000
_KINDS: Final = {
    "모두": frozenset(OrderStatus),
    "체결": frozenset({OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED}),
    "미체결": frozenset(
        {
            OrderStatus.NEW,
            OrderStatus.SUBMITTED,
            OrderStatus.ACCEPTED,
            OrderStatus.PENDING_CANCEL,
            OrderStatus.UNKNOWN,
            OrderStatus.PARTIALLY_FILLED,
        }
    ),
    "거부·취소·소멸": frozenset(
        {OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.CANCELED, OrderStatus.EXPIRED}
    ),
}


def show() -> None:
    """Draw the page."""
    account = frame.chosen()
    placed = data.orders(frame.installation().home, account)
    if not placed:
        raise MissingDataError(
            "아직 주문이 없습니다. 판단 화면에 종목마다 사지 않은 까닭이 있습니다."
        )
    _summary(account, placed)
    with frame.said():
        _chart(account, placed)
    with frame.said():
        _table(account, placed)


def _summary(account: Account, placed: Sequence[PlacedOrder]) -> None:
    currency = account.market.currency
    filled = [one for one in placed if one.fills]
    refused = [one for one in placed if one.status in _REFUSED]
    fees = sum(one.commission + one.tax for one in placed)
    realized = sum(one.realized for one in placed)
    frame.tiles(
        frame.Tile("주문", f"{len(placed):,}건"),
        frame.Tile("체결된 주문", f"{len(filled):,}건"),
        frame.Tile("거부", f"{len(refused):,}건"),
        frame.Tile("수수료와 세금", money_text(fees, currency)),
        frame.Tile("실현 손익", frame.signed_money(realized, currency)),
    )


_REFUSED: Final = (OrderStatus.DENIED, OrderStatus.REJECTED)


def _chart(account: Account, placed: Sequence[PlacedOrder]) -> None:
    home = frame.installation().home
    names = data.names(home, account.market)
    symbols = sorted({one.intent.symbol for one in placed})
    # The symbol that was traded last is the one people come to see.
    last = next((one for one in reversed(placed) if one.fills), placed[-1]).intent.symbol
    left, right = st.columns((2, 3))
    with left:
        symbol = st.selectbox(
            "종목",
            symbols,
            index=symbols.index(last),
            format_func=lambda s: f"{s} {names.get(s, '')}".strip(),
            key="orders_symbol",
        )
    with right:
        span = st.segmented_control(
            "기간", list(_SPANS), default="석 달", key="orders_span", required=True
        )
    mine = [one for one in placed if one.intent.symbol == symbol]
    end = max(one.session for one in mine) + _MARGIN
    days = _SPANS[span or "석 달"]
    begin = mine[0].session - _MARGIN if days is None else end - _MARGIN - timedelta(days=days)
    bars = data.daily_bars(home, account.market, symbol, begin, end)
    if bars.empty:
        raise MissingDataError(f"{symbol}의 일봉이 저장소에 없어 가격을 그리지 못합니다.")
    unit = account.market.currency.minor_per_unit
    shown = [one for one in mine if begin <= one.session <= end]
    splits = data.splits(home, account.market, symbol, begin, end)
    frame.draw(_figure(bars, shown, unit, splits), key="orders_chart")
    for one in splits:
        st.caption(
            f"{one.ex_date}에 {one.denominator}주가 {one.numerator}주로 나뉘었습니다. 그림에서는 그 전 가격을 지금 "
            "주식 수에 맞췄고, 아래 표는 그때 가격 그대로입니다."
        )
    st.caption(
        "막대는 실제 거래된 일봉입니다. 세모는 체결(빨강 ▲ 매수, 파랑 ▼ 매도, 평균 체결가), 가로줄은 체결되지 "
        "않은 지정가, ×는 거부된 주문입니다. 일봉이 수정주가인 기록에서는 세모가 막대 밖에 놓일 수 있습니다."
    )


def _figure(
    bars: pd.DataFrame, placed: Sequence[PlacedOrder], unit: int, splits: Sequence[CorporateAction]
) -> go.Figure:
    made = frame.figure(height=420)
    days = [day.date() for day in bars["session"]]

    def drawn(day: date, price: float) -> float:
        """Return a price in whole units, on the shares of the last day drawn."""
        for split in splits:
            if day < split.ex_date:
                price = price * split.denominator / split.numerator
        return price / unit

    made.add_trace(
        go.Candlestick(
            x=days,
            **{
                name: [drawn(day, price) for day, price in zip(days, bars[name], strict=True)]
                for name in ("open", "high", "low", "close")
            },
            name="일봉",
            increasing={"line": {"color": frame.UP, "width": 1}},
            decreasing={"line": {"color": frame.DOWN, "width": 1}},
        )
    )
    for side, shape, color in (
        (Side.BUY, "triangle-up", frame.UP),
        (Side.SELL, "triangle-down", frame.DOWN),
    ):
        of_side = [one for one in placed if one.intent.side is side]
        _marks(
            made,
            [(o, o.average_fill) for o in of_side if o.fills],
            drawn,
            f"{SIDE_TEXT[side]} 체결",
            {"symbol": shape, "size": 12, "color": color, "line": {"color": "#fff", "width": 1}},
        )
        _marks(
            made,
            [(o, o.intent.limit) for o in of_side if not o.fills and o.status not in _REFUSED],
            drawn,
            f"{SIDE_TEXT[side]} 미체결",
            {"symbol": "line-ew-open", "size": 11, "color": color, "line": {"width": 2}},
        )
        _marks(
            made,
            [(o, o.intent.limit) for o in of_side if o.status in _REFUSED],
            drawn,
            f"{SIDE_TEXT[side]} 거부",
            {"symbol": "x", "size": 8, "color": color, "opacity": 0.7},
        )
    made.update_layout(hovermode="closest", xaxis={"rangeslider": {"visible": False}})
    frame.by_session(made)
    return made


def _marks(
    made: go.Figure,
    placed: Sequence[tuple[PlacedOrder, float | None]],
    drawn: Callable[[date, float], float],
    name: str,
    marker: dict[str, object],
) -> None:
    known = [(one, price) for one, price in placed if price]
    if not known:
        return
    made.add_trace(
        go.Scatter(
            x=[one.session for one, _ in known],
            y=[drawn(one.session, price) for one, price in known],
            mode="markers",
            name=name,
            marker=marker,
            text=[_told(one) for one, _ in known],
            hovertemplate="%{x} · %{y:,.2f}<br>%{text}<extra></extra>",
        )
    )


def _told(one: PlacedOrder) -> str:
    intent = one.intent
    done = (
        f"{one.filled_quantity:,}/{intent.quantity:,}주" if one.fills else f"{intent.quantity:,}주"
    )
    why = reason_text(one.denied or intent.reason)
    return f"{SIDE_TEXT[intent.side]} {done} · {STATUS_TEXT[one.status]} · {why}"


def _table(account: Account, placed: Sequence[PlacedOrder]) -> None:
    st.subheader("모든 주문")
    left, middle, right = st.columns(3)
    sessions = sorted({one.session for one in placed}, reverse=True)
    with left:
        day: date | None = st.selectbox(
            "세션", [None, *sessions], format_func=lambda d: str(d or "모두"), key="orders_day"
        )
    with middle:
        symbol: str | None = st.selectbox(
            "종목",
            [None, *sorted({one.intent.symbol for one in placed})],
            format_func=lambda s: s or "모두",
            key="orders_of",
        )
    with right:
        kind = st.selectbox("상태", list(_KINDS), key="orders_kind")
    shown = [
        one
        for one in reversed(placed)
        if day in (None, one.session)
        and symbol in (None, one.intent.symbol)
        and one.status in _KINDS[kind]
    ]
    if not shown:
        raise MissingDataError("고른 조건에 맞는 주문이 없습니다.")
    currency = account.market.currency
    rows = [
        {
            "세션": one.session,
            "시점": "수동" if one.by_hand else boundary_text(one.intent.boundary),
            "종목": one.intent.symbol,
            "구분": SIDE_TEXT[one.intent.side],
            "수량": one.intent.quantity,
            "지정가": one.intent.limit or None,
            "상태": STATUS_TEXT[one.status],
            "체결 수량": one.filled_quantity,
            "평균 체결가": one.average_fill,
            "지정가 대비": _slippage(one),
            "수수료·세금": one.commission + one.tax,
            "실현 손익": one.realized if one.intent.side is Side.SELL and one.fills else None,
            "까닭": reason_text(one.intent.reason),
            "답": reason_text(one.denied) if one.denied else one.answer,
            "주문 번호": one.venue_order_id,
        }
        for one in shown[:_MOST]
    ]

    def money(minor: float) -> str:
        return money_text(minor, currency)

    frame.grid(
        pd.DataFrame(rows),
        formats={
            "수량": "{:,}".format,
            "체결 수량": "{:,}".format,
            "지정가": money,
            "평균 체결가": money,
            "지정가 대비": percent_text,
            "수수료·세금": money,
            "실현 손익": lambda minor: frame.signed_money(minor, currency),
        },
        tones=("실현 손익",),
        key="orders_table",
    )
    if len(shown) > _MOST:
        st.caption(
            f"{len(shown):,}건 가운데 최근 {_MOST:,}건입니다. 앞의 것은 세션이나 종목을 골라 봅니다."
        )
    st.caption(
        "지정가 대비는 체결가가 지정가보다 얼마나 높았는지(+)입니다. 거부 코드의 뜻은 trading explain 코드 로 봅니다."
    )


def _slippage(one: PlacedOrder) -> float | None:
    average = one.average_fill
    if average is None or not one.intent.limit:
        return None
    return average / one.intent.limit - 1.0


if __name__ == "__main__":
    frame.page(TITLE, show, refreshes=True)
