"""Logs: everything, the errors with their stacks, and the life of each order; filtered and searched."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from trading.dashboard import data, frame
from trading.errors import MissingDataError

TITLE: Final = "로그"
_LOGS: Final = {"trading": "모두", "errors": "오류", "trades": "거래"}
_LEVELS: Final = {
    "debug": "상세",
    "info": "정보",
    "warning": "주의",
    "error": "오류",
    "critical": "위험",
}
_HEAD: Final = ("ts", "level", "logger", "event", "stack")
# More rows than this are found by filtering, not by scrolling.
_MOST: Final = 1000
_STACKS: Final = 20


def show() -> None:
    """Draw the page."""
    home = frame.installation().home
    left, middle = st.columns(2)
    with left:
        name = st.segmented_control(
            "로그",
            list(_LOGS),
            default="trading",
            format_func=lambda each: _LOGS[each],
            key="logbook_name",
            required=True,
        )
    files = data.log_files(home, name or "trading")
    if not files:
        raise MissingDataError(
            f"{home.logs_dir} 에 {_LOGS[name or 'trading']} 로그가 아직 없습니다."
            + (" 오류가 없었다는 뜻입니다." if name == "errors" else " 명령을 돌리면 쌓입니다.")
        )
    with middle:
        path = st.selectbox("파일", files, format_func=lambda p: p.name, key="logbook_file")
    page = data.log_tail(path)
    lines = _filtered(page.lines)
    notes = [f"{len(lines):,}줄" + (f" 가운데 {_MOST:,}줄" if len(lines) > _MOST else "")]
    if page.is_cut:
        notes.append("파일이 커서 끝부분만 읽었습니다")
    if page.broken:
        notes.append(f"읽을 수 없는 줄 {page.broken:,}개")
    st.caption(frame.plain(f"{path} · " + " · ".join(notes) + " · 시각은 KST"))
    if not lines:
        raise MissingDataError("고른 조건에 맞는 줄이 없습니다.")
    _table(lines[:_MOST])
    _stacks([line for line in lines if "stack" in line][:_STACKS])


def _filtered(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    first, second, third = st.columns((1, 1, 2))
    with first:
        least = st.selectbox(
            "수준",
            list(_LEVELS),
            index=1,
            format_func=lambda level: f"{_LEVELS[level]} 이상",
            key="logbook_level",
        )
    with second:
        loggers = sorted({str(line.get("logger", "")) for line in lines})
        logger = st.selectbox(
            "모듈", [None, *loggers], format_func=lambda each: each or "모두", key="logbook_logger"
        )
    with third:
        search = st.text_input("찾기", key="logbook_search", placeholder="종목, 주문 번호, 낱말")
    order = list(_LEVELS)
    wanted = set(order[order.index(least) :])
    return [
        line
        for line in lines
        if line.get("level") in wanted
        and logger in (None, line.get("logger"))
        and (not search or search.lower() in _text(line).lower())
    ]


def _table(lines: Sequence[Mapping[str, Any]]) -> None:
    frame.grid(
        pd.DataFrame(
            [
                {
                    "시각": _when(line),
                    "수준": _LEVELS.get(str(line.get("level")), str(line.get("level"))),
                    "내용": line.get("event", ""),
                    "값": _fields(line),
                    "모듈": line.get("logger", ""),
                }
                for line in lines
            ]
        ),
        alarms={
            i: ["수준", "내용"]
            for i, line in enumerate(lines)
            if line.get("level") in ("error", "critical")
        },
    )


def _stacks(lines: Sequence[Mapping[str, Any]]) -> None:
    if not lines:
        return
    st.subheader("오류의 자리")
    for line in lines:
        with st.expander(frame.plain(f"{_when(line)} {line.get('event', '')}")):
            st.write(frame.plain(_fields(line)))
            st.code(str(line["stack"]), language=None)


def _when(line: Mapping[str, Any]) -> str:
    try:
        return f"{datetime.fromisoformat(str(line['ts'])).astimezone(frame.SEOUL):%m-%d %H:%M:%S}"
    except (KeyError, ValueError):
        return str(line.get("ts", ""))


def _fields(line: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in line.items() if name not in _HEAD)


def _text(line: Mapping[str, Any]) -> str:
    return f"{line.get('event', '')} {line.get('logger', '')} {_fields(line)}"


if __name__ == "__main__":
    frame.page(TITLE, show, refreshes=True)
