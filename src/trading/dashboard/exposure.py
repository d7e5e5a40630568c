"""Risk: limits and what is left of them, VaR day by day with its exceptions, the tables of the report."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
import streamlit as st

from trading import risk_tables
from trading.dashboard import data, frame
from trading.dashboard.data import Account, RiskPoint
from trading.domain.wording import LIMIT_TEXT
from trading.errors import MissingDataError

TITLE: Final = "위험"


def show() -> None:
    """Draw the page."""
    account = frame.chosen()
    with frame.said():
        _history(account)
    day = frame.session_choice(account, key="exposure_session", closed=True)
    body = data.report(frame.installation().home, account, day, "risk")
    st.caption(frame.plain(risk_tables.headline(body)))
    _limits(body)
    for one in risk_tables.tables(body)[1:]:
        frame.report_table(one)


def _history(account: Account) -> None:
    st.subheader("하루 VaR와 실제 손실")
    points = data.risk_history(frame.installation().home, account)
    if not points:
        raise MissingDataError(
            "위험 기록이 남은 세션이 아직 없습니다. 세션이 끝나면 하루에 한 점씩 쌓입니다."
        )
    told = [one for one in points if one.is_told]
    exceptions = [one for one in told if one.is_exception]
    level = 0.95
    with frame.said():
        last = data.report(frame.installation().home, account, points[-1].session, "risk")
        level = last["level"]
    frame.tiles(
        frame.Tile("견준 날", f"{len(told):,}일"),
        frame.Tile("VaR를 넘은 날", f"{len(exceptions):,}일"),
        frame.Tile("기대한 날", f"{(1.0 - level) * len(told):.1f}일"),
        frame.Tile("지금 하루 VaR", frame.share(points[-1].var)),
    )
    frame.draw(_figure(points, exceptions), key="exposure_var")
    st.caption(
        f"그날 저녁의 보유로 잰 다음 날의 VaR(신뢰수준 {100 * level:g}%)를, 그다음 세션의 실제 수익률과 견줍니다. "
        "입출금은 수익률에서 뺐고, 가진 것이 없던 저녁은 견주지 않습니다. 빨간 점은 손실이 VaR를 넘은 날입니다. 아래의 검정이 넘은 횟수가 정상인지 말합니다."
    )


def _figure(points: Sequence[RiskPoint], exceptions: Sequence[RiskPoint]) -> go.Figure:
    made = frame.figure(height=300, unit="%")
    days = [one.next_session or one.session for one in points]
    made.add_trace(
        go.Bar(
            x=days,
            y=[None if p.next_return is None else 100 * p.next_return for p in points],
            name="수익률",
            marker={"color": "#aab2bf"},
            hovertemplate="%{y:+.2f}%",
        )
    )
    frame.line(
        made,
        days,
        [None if one.var is None else -100 * one.var for one in points],
        "-VaR",
        line={"color": frame.LINE, "width": 2},
        hovertemplate="%{y:.2f}%",
    )
    limit = next((one.limit for one in reversed(points) if one.limit is not None), None)
    if limit is not None:
        frame.line(
            made,
            days,
            [-100 * limit] * len(days),
            "-한도",
            line={"color": "#c2410c", "width": 1.5, "dash": "dash"},
            hovertemplate="%{y:.2f}%",
        )
    if exceptions:
        made.add_trace(
            go.Scatter(
                x=[one.next_session for one in exceptions],
                y=[100 * (one.next_return or 0.0) for one in exceptions],
                mode="markers",
                name="VaR를 넘은 날",
                marker={"color": frame.UP, "size": 9},
                hoverinfo="skip",
            )
        )
    frame.by_session(made)
    return made


def _limits(body: Mapping[str, Any]) -> None:
    """Show each limit as a bar that is full where the limit is reached."""
    st.subheader("한도와 남은 여유")
    for one in body["limits"]:
        name = LIMIT_TEXT[one["name"]] + (f" ({one['of']})" if one["of"] else "")
        if one["value"] is None:
            st.caption(frame.plain(f"{name}: 기록이 모자라 재지 못했습니다."))
            continue
        told = f"{name}: {frame.share(one['value'])} / {frame.share(one['limit'])}"
        room = f"여유 {frame.share(one['room'])}" if one["room"] >= 0 else ":red[**한도를 넘음**]"
        used = one["value"] / one["limit"] if one["limit"] else 1.0
        st.progress(min(1.0, max(0.0, used)), text=f"{frame.plain(told)} · {room}")
    st.caption("막대는 한도를 얼마나 썼는지입니다. 다 차면 그 한도가 새 매수를 줄이거나 막습니다.")


if __name__ == "__main__":
    frame.page(TITLE, show)
