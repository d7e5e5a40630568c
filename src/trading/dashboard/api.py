"""The venue's door: calls that worked and failed, the stream, the session's sign of life."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from trading import explain
from trading.clock import WallClock
from trading.dashboard import data, frame
from trading.dashboard.data import Account
from trading.errors import MissingDataError
from trading.monitoring import Heartbeat, is_running

TITLE: Final = "API 상태"
# Whose warnings speak of the venue and the way to it.
_DOORS: Final = ("trading.broker", "trading.exchange", "trading.live")


def show() -> None:
    """Draw the page."""
    home = frame.installation().home
    with frame.said():
        _now(frame.chosen())
    with frame.said():
        _history(frame.chosen())
    with frame.said():
        _accounts(data.accounts(home))
    with frame.said():
        _troubles()


def _now(account: Account) -> None:
    beat = data.heartbeat(frame.installation().home, account)
    if beat is None:
        raise MissingDataError(
            f"{account.name} 계좌의 세션이 아직 심박을 남기지 않았습니다. 세션이 돌면 10초마다 남깁니다."
        )
    counted = beat.counters
    good, bad = counted.get("api_succeeded", 0), counted.get("api_failed", 0)
    frame.tiles(
        frame.Tile("세션", f"{beat.session} {_life(beat)}"),
        frame.Tile("마지막 심박", _ago(beat)),
        frame.Tile("API 성공", f"{good:,}"),
        frame.Tile("API 실패", f"{bad:,}"),
        frame.Tile("성공률", frame.share(good / (good + bad) if good + bad else None)),
        frame.Tile("실시간 메시지", f"{counted.get('frames', 0):,}"),
        frame.Tile("실시간 연결", f"{counted.get('connections', 0):,}회"),
        frame.Tile("메모리", f"{beat.memory_mb:,.0f} MB"),
        frame.Tile("프로세서", f"{beat.cpu_percent:.0f} %"),
    )
    if bad:
        st.warning(
            f"실패한 호출이 {bad:,}건 있습니다. 조회는 다시 시도되고, 주문은 다시 보내지 않습니다."
        )
    st.caption(
        "횟수는 그 세션이 시작한 뒤의 것입니다. 지난 세션들은 아래 기록과 로그 화면에 있습니다."
    )


def _history(account: Account) -> None:
    """Show the calls of the last hours that the monitor ran, as many as it saw between two looks."""
    beats = data.watched(frame.installation().home, account)
    if len(beats) < 2:
        st.caption("시간에 따른 그림은 trading monitor 를 함께 돌리면 생깁니다.")
        return
    made = frame.figure(height=220)
    for name, counter, color in (
        ("성공", "api_succeeded", "#aab2bf"),
        ("실패", "api_failed", frame.UP),
    ):
        made.add_trace(
            go.Bar(
                x=[one.ts.astimezone(frame.SEOUL).replace(tzinfo=None) for one in beats[1:]],
                y=[_since(before, one, counter) for before, one in pairwise(beats)],
                name=name,
                marker={"color": color},
                hovertemplate="%{y:,}",
            )
        )
    made.update_layout(barmode="stack")
    made.update_xaxes(tickformat="%H:%M", hoverformat="%m-%d %H:%M:%S")
    frame.draw(made, key="api_history")
    st.caption("감시(trading monitor)가 볼 때마다 그사이 늘어난 호출입니다. 시각은 KST입니다.")


def _since(before: Heartbeat, now: Heartbeat, counter: str) -> int:
    """Return how much a count has grown; a session begun anew counts from zero."""
    count = now.counters.get(counter, 0)
    same = (before.session, before.pid) == (now.session, now.pid)
    return max(0, count - before.counters.get(counter, 0)) if same else count


def _life(beat: Heartbeat) -> str:
    if not is_running(beat):
        return "끝남"
    age = (WallClock().now() - beat.ts).total_seconds()
    return "응답 없음" if age > data.SILENT_SECONDS else "도는 중"


def _ago(beat: Heartbeat) -> str:
    seconds = max(0.0, (WallClock().now() - beat.ts).total_seconds())
    if seconds < 120:
        return f"{seconds:.0f}초 전"
    if seconds < 7200:
        return f"{seconds / 60:.0f}분 전"
    return f"{beat.ts.astimezone(frame.SEOUL):%m-%d %H:%M} KST"


def _accounts(found: Sequence[Account]) -> None:
    st.subheader("모든 계좌")
    rows = []
    for account in found:
        with frame.said():
            beat = data.heartbeat(frame.installation().home, account)
            if beat is None:
                continue
            rows.append(
                {
                    "계좌": account.name,
                    "세션": beat.session,
                    "상태": _life(beat),
                    "마지막 심박": frame.when(beat.ts),
                    "성공": beat.counters.get("api_succeeded", 0),
                    "실패": beat.counters.get("api_failed", 0),
                    "프로세스": beat.pid,
                }
            )
    if not rows:
        raise MissingDataError("심박을 남긴 계좌가 없습니다.")
    frame.grid(pd.DataFrame(rows), formats={"성공": "{:,}".format, "실패": "{:,}".format})


def _troubles() -> None:
    st.subheader("거래소와의 문제")
    files = data.log_files(frame.installation().home, "trading")
    if not files:
        raise MissingDataError("로그가 아직 없습니다.")
    page = data.log_tail(files[0])
    read = frame.plain(f"{files[0].name}{'의 끝부분' if page.is_cut else ''}")
    lines = [
        line
        for line in page.lines
        if line.get("level") in ("warning", "error", "critical")
        and str(line.get("logger", "")).startswith(_DOORS)
    ]
    if not lines:
        st.success(f"{read}에 거래소와의 문제가 없습니다.")
        return
    counts = Counter((str(line["event"]), _code(line)) for line in lines)
    latest: dict[tuple[str, str], str] = {}
    for line in lines:
        latest.setdefault((str(line["event"]), _code(line)), str(line.get("ts", "")))
    frame.grid(
        pd.DataFrame(
            [
                {
                    "일": event,
                    "코드": code or "—",
                    "횟수": count,
                    "마지막": _when(latest[event, code]),
                    "까닭": meaning.get("cause", ""),
                    "할 일": meaning.get("action", ""),
                }
                for (event, code), count in counts.most_common()
                for meaning in [_meaning(code)]
            ]
        ),
        formats={"횟수": "{:,}".format},
    )
    st.caption(
        f"{read}에 적힌 주의와 오류를 일과 코드로 센 것입니다. 한 줄씩은 로그 화면에 있습니다."
    )


def _code(line: Mapping[str, Any]) -> str:
    return str(line.get("code") or "")


def _meaning(code: str) -> Mapping[str, Any]:
    return explain.explain(code) if code else {}


def _when(text: str) -> str:
    try:
        return frame.when(datetime.fromisoformat(text))
    except ValueError:
        return text


if __name__ == "__main__":
    frame.page(TITLE, show, refreshes=True)
