"""Models: who trades and who waits, what the gate said of each, how far the world has drifted."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import streamlit as st

from trading.dashboard import data, frame
from trading.domain.wording import GATE_TEXT, MARKET_TEXT, model_text
from trading.errors import MissingDataError
from trading.mlops import health
from trading.mlops.tracking import CHALLENGER, CHAMPION, PREVIOUS

TITLE: Final = "모델"
_ALIAS_TEXT: Final = {CHAMPION: "챔피언", CHALLENGER: "도전자", PREVIOUS: "이전 챔피언"}


def show() -> None:
    """Draw the page."""
    account = frame.chosen()
    home, market = frame.installation().home, account.market
    found = data.models(home, market)
    if not found:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장에서 배운 모델이 아직 없습니다. trading train 으로 학습합니다. 모델이 없어도 "
            "규칙 전략은 투표합니다."
        )
    _standing(found)
    with frame.said():
        _gate(found)
    with frame.said():
        _drift(account)


def _standing(found: list[Mapping[str, Any]]) -> None:
    st.subheader("챔피언과 도전자")
    rows = []
    for family in found:
        latest = family["latest"]
        for one in family["versions"]:
            verdict = one["verdict"]
            is_latest = latest is not None and latest["version"] == one["version"]
            aliases = [_ALIAS_TEXT.get(alias, alias) for alias in one["aliases"]]
            rows.append(
                {
                    "모델": model_text(family["family"]),
                    "판": one["version"],
                    "자리": ", ".join(aliases) or "—",
                    "거래": "투표함" if family["trades"] == one["version"] else "",
                    "판정": GATE_TEXT.get(verdict["verdict"], verdict["verdict"])
                    if verdict is not None
                    else "기록 없음",
                    "증명": ("됨" if verdict["proven"] else "안 됨")
                    if verdict is not None
                    else "—",
                    "순위 IC": latest["rank_ic"] if is_latest else None,
                    "t": latest["rank_ic_t"] if is_latest else None,
                    "배운 날": latest["trained_through"] if is_latest else "—",
                }
            )
    if not rows:
        raise MissingDataError("등록된 판이 없습니다. trading models 로 등록소를 봅니다.")
    frame.grid(pd.DataFrame(rows), formats={"순위 IC": "{:+.4f}".format, "t": "{:+.2f}".format})
    silent = [model_text(family["family"]) for family in found if family["trades"] is None]
    if silent:
        st.caption(f"챔피언이 없어 기권하는 모델: {', '.join(silent)}")
    st.caption(
        "증명되지 않음이 보통입니다. 올리기는 trading promote, 되돌리기는 trading rollback 입니다."
    )


def _gate(found: list[Mapping[str, Any]]) -> None:
    st.subheader("관문의 판정")
    judged = [
        (family["family"], one)
        for family in found
        for one in family["versions"]
        if one["verdict"] is not None
    ]
    if not judged:
        raise MissingDataError("남은 판정이 없습니다. 학습할 때마다 하나씩 남습니다.")
    _family, one = st.selectbox(
        "모델",
        judged,
        format_func=lambda item: model_text(item[0], item[1]["version"]),
        key="learners_model",
    )
    verdict = one["verdict"]
    if verdict["proven"]:
        st.success(frame.plain(verdict["reason"]))
    else:
        st.info(frame.plain(verdict["reason"]))
    frame.grid(
        pd.DataFrame(
            [
                {
                    "결과": "통과" if check["passed"] else "못 넘음",
                    "물음": check["sentence"],
                }
                for check in verdict["checks"]
            ]
        ),
        alarms={i: ["결과"] for i, check in enumerate(verdict["checks"]) if not check["passed"]},
    )
    if one["page"].exists():
        st.caption(frame.plain(f"그림이 든 판정서: {one['page']}"))


def _drift(account: data.Account) -> None:
    st.subheader("드리프트")
    bodies = [
        body
        for body in data.health_history(frame.installation().home, account.market)
        if body["models"]
    ]
    if not bodies:
        raise MissingDataError("챔피언을 점검한 기록이 아직 없습니다. 세션이 끝나면 점검합니다.")
    last = bodies[-1]
    frame.grid(pd.DataFrame(health.rows(last), columns=list(health.HEADS)))
    st.caption(frame.plain(f"{last['session']} 마감 뒤. {health.SKEW_TEXT[last['skew']]}"))
    made = frame.figure(height=260)
    for family in sorted({entry["family"] for body in bodies for entry in body["models"]}):
        shares = [(body["session"], _share_of_limit(body, family)) for body in bodies]
        known = [(day, share) for day, share in shares if share is not None]
        if known:
            days, values = zip(*known, strict=True)
            frame.line(made, days, values, model_text(family), hovertemplate="%{y:.2f}")
    if not made.data:
        raise MissingDataError("특성의 거리를 잴 만큼 기록이 쌓이지 않았습니다.")
    frame.by_session(made)
    made.add_hline(y=1.0, line={"color": "#c2410c", "width": 1.5, "dash": "dash"})
    made.update_yaxes(rangemode="tozero")
    frame.draw(made, key="learners_drift")
    st.caption(
        "가장 멀어진 특성의 거리를 한도로 나눈 것입니다. 점선(1)을 넘으면 다시 학습합니다. 거리는 학습 표본의 창들이 그 앞의 "
        "자료와 달랐던 만큼을 1로 센 것입니다."
    )
    with st.expander("마지막 점검의 특성마다"):
        _columns(last)


def _share_of_limit(body: Mapping[str, Any], family: str) -> float | None:
    for entry in body["models"]:
        found = entry["features"]
        if entry["family"] == family and found is not None and found["limit"]:
            farthest: float | None = found["farthest"]
            return farthest / found["limit"] if farthest is not None else None
    return None


def _columns(body: Mapping[str, Any]) -> None:
    rows = [
        {
            "모델": model_text(entry["family"], entry["version"]),
            "특성": name,
            "거리": one["score"],
            "PSI": one["psi"],
            "KS": one["ks"],
            "빠진 값": one["missing"],
        }
        for entry in body["models"]
        if entry["features"] is not None
        for name, one in entry["features"]["columns"].items()
    ]
    if not rows:
        raise MissingDataError("특성마다의 기록이 없습니다.")
    table = pd.DataFrame(rows).sort_values("거리", ascending=False)
    frame.grid(
        table,
        formats={
            "거리": "{:.2f}".format,
            "PSI": "{:.3f}".format,
            "KS": "{:.3f}".format,
            "빠진 값": frame.share,
        },
    )


if __name__ == "__main__":
    frame.page(TITLE, show)
