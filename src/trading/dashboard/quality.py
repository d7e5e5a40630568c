"""Quality of the data: what the checks set aside and found, day by day, and what the lake holds."""

from typing import Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from trading.dashboard import data, frame
from trading.dashboard.data import Account
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import MissingDataError
from trading.store.quality.page import SEVERITY_WORDS
from trading.store.quality.settings import Severity

TITLE: Final = "데이터 품질"
_LAYER_TEXT: Final = {"raw": "받은 그대로", "clean": "검사를 지난 것"}
_KIND_TEXT: Final = {
    "daily": "일봉",
    "minute": "분봉",
    "index": "지수",
    "instruments": "종목",
    "actions": "권리 변동",
    "fundamentals": "재무",
    "listings": "상장 상태",
}


def show() -> None:
    """Draw the page."""
    with frame.said():
        _lake()
    with frame.said():
        _checks()
    with frame.said():
        _mornings(frame.chosen())


def _lake() -> None:
    st.subheader("저장소")
    status = data.lake_status(frame.installation().home)
    sets = status["datasets"]
    if not sets:
        raise MissingDataError(
            "저장소가 비어 있습니다. trading demo 나 trading data import 가 채웁니다."
        )
    frame.tiles(
        frame.Tile("행", f"{sum(one['rows'] for one in sets if one['layer'] == 'clean'):,}"),
        frame.Tile("크기", f"{sum(one['bytes'] for one in sets) / 1024**2:,.1f} MB"),
        frame.Tile("격리된 파일", f"{status['quarantine_files']:,}개"),
    )
    frame.grid(
        pd.DataFrame(
            [
                {
                    "시장": MARKET_TEXT[Market(one["market"])],
                    "자료": _KIND_TEXT.get(one["kind"], one["kind"]),
                    "층": _LAYER_TEXT.get(one["layer"], one["layer"]),
                    "행": one["rows"],
                    "종목": one["symbols"],
                    "처음": one["first"],
                    "마지막": one["last"],
                    "출처": ", ".join(one["sources"]),
                    "받은 때": one["fetched"],
                }
                for one in sets
            ]
        ),
        formats={"행": "{:,}".format, "종목": "{:,}".format},
    )


def _checks() -> None:
    st.subheader("마지막 검사")
    found = data.last_quality_checks(frame.installation().home)
    if not found:
        raise MissingDataError(
            "검사한 기록이 아직 없습니다. trading data quality 로 지금 검사합니다."
        )
    rows, findings = [], []
    for body in found.values():
        for one in body["reports"]:
            rows.append(
                {
                    "시장": MARKET_TEXT[Market(one["market"])],
                    "자료": _KIND_TEXT.get(one["kind"], one["kind"]),
                    "행": one["rows"],
                    "격리": one["quarantined"],
                    "종목": one["symbols"],
                    "처음": one["first"],
                    "마지막": one["last"],
                    "거래 정지": one["halts"],
                    "빈 날": one["gaps"],
                }
            )
            findings += [(rows[-1]["시장"], rows[-1]["자료"], each) for each in one["findings"]]
    counted = dict.fromkeys(("행", "격리", "종목", "거래 정지", "빈 날"), "{:,}".format)
    frame.grid(
        pd.DataFrame(rows),
        formats=counted,
        alarms={i: ["격리"] for i, row in enumerate(rows) if row["격리"]},
    )
    if not findings:
        st.success("마지막 검사에서 지적된 것이 없습니다.")
    for market, kind, one in findings:
        severity = Severity(one["severity"])
        told = f"{one['title']}, {one['checked']:,}개 가운데 {one['failed']:,}개"
        (st.info if severity is Severity.NOTE else st.warning)(
            frame.plain(f"{market} {kind} — {SEVERITY_WORDS[severity]}: {told}")
        )


def _mornings(account: Account) -> None:
    st.subheader("세션 아침의 검사")
    found = data.quality_history(frame.installation().home, account)
    if not found:
        raise MissingDataError(
            "아침 검사의 기록이 아직 없습니다. 세션의 시세 단계가 하루에 하나씩 남깁니다."
        )
    made = frame.figure(height=240)
    days = [day for day, _ in found]
    for name, column, color in (
        ("검사한 행", "rows", "#aab2bf"),
        ("격리한 행", "quarantined", "#c81e1e"),
    ):
        made.add_trace(
            go.Bar(
                x=days,
                y=[body[column] for _, body in found],
                name=name,
                marker={"color": color},
                hovertemplate="%{y:,}",
            )
        )
    # The first morning brings years, the others a day each.
    made.update_yaxes(type="log", tickformat=",d", dtick=1)
    made.update_layout(barmode="overlay")
    frame.by_session(made)
    frame.draw(made, key="quality_mornings")
    bad = [(day, body) for day, body in reversed(found) if body["quarantined"] or body["findings"]]
    st.caption(
        f"세션 {len(found):,}일 가운데 격리나 지적이 있던 날 {len(bad):,}일. 세로축은 로그 눈금입니다."
    )
    if bad:
        frame.grid(
            pd.DataFrame(
                [
                    {
                        "세션": day,
                        "격리": body["quarantined"],
                        "지적": " / ".join(body["findings"]),
                    }
                    for day, body in bad
                ]
            ),
            formats={"격리": "{:,}".format},
        )


if __name__ == "__main__":
    frame.page(TITLE, show)
