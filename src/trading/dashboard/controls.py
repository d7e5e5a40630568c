"""The operator's buttons: halt, reduce, resume, cancel all; typed out before anything happens."""

from pathlib import Path
from typing import Final

import streamlit as st

from trading.dashboard import frame
from trading.dashboard.data import Account
from trading.domain.decision import TradingState
from trading.domain.wording import STATE_TEXT
from trading.errors import MissingDataError
from trading.live import control

# What each word does, and the sentence that says so before it is given.
_WORDS: Final = {
    "halt": (
        "정지",
        "열린 주문을 모두 취소하고 어떤 주문도 내보내지 않습니다. 손절도 나가지 않습니다.",
    ),
    "reduce": ("축소", "새로 사지 않습니다. 손절과 청산은 나갑니다."),
    "resume": ("재개", "다시 거래합니다. 하루 손실이나 낙폭 같은 다른 제한은 그대로 남습니다."),
    "cancel-all": (
        "모두 취소",
        "이 프로그램이 낸 열린 주문을 모두 취소합니다. 상태는 바꾸지 않습니다.",
    ),
}
_STATES: Final = {
    "halt": TradingState.HALTED,
    "reduce": TradingState.REDUCING,
    "resume": TradingState.ACTIVE,
}
_BY_TEXT: Final = {
    control.By.CLI: "명령줄",
    control.By.DASHBOARD: "대시보드",
    control.By.FILE: "정지 파일",
    control.By.DEAD_MAN: "감시 프로세스",
}


def show() -> None:
    """Draw what stands and the form that changes it; apart from the rest, so that typing is kept."""
    try:
        account = frame.chosen()
    except MissingDataError:
        return  # The page itself has said that there is no account.
    st.subheader("멈춤")
    st.fragment(_standing, run_every=frame.installation().settings.app.dashboard.refresh_seconds)(
        account
    )
    with st.expander("정지 · 축소 · 재개 · 모두 취소"):
        _form(account)


def _standing(account: Account) -> None:
    with frame.said():
        word = control.read(_run_dir(), account.env, account.market)
        if word.since is None:
            st.caption("운영자의 말이 없습니다. 세션은 제 규칙대로 거래합니다.")
        else:
            by = _BY_TEXT[word.by] if word.by is not None else "모름"
            why = f" — {word.reason}" if word.reason else ""
            st.caption(
                frame.plain(
                    f"운영자의 말: {STATE_TEXT[word.state]} ({by}, {frame.when(word.since)}){why}"
                )
            )
        if word.obeyed is not None:
            held = f", 그 밖의 제한 {', '.join(word.obeyed.held_by)}" if word.obeyed.held_by else ""
            heard = "따르는 중" if word.obeyed.request == word.request else "앞선 말까지 따름"
            st.caption(
                frame.plain(
                    f"세션의 답: {STATE_TEXT[word.obeyed.state]}{held} ({heard}, "
                    f"{frame.when(word.obeyed.ts)})"
                )
            )
        if word.cancel_all is not None:
            _canceled(word.cancel_all)


def _canceled(asked: control.CancelAll) -> None:
    done = asked.answer
    if done is None:
        st.caption(f"모두 취소: {frame.when(asked.ts)}에 부탁했고 아직 답이 없습니다.")
        return
    st.caption(
        frame.plain(
            f"모두 취소: {frame.when(asked.ts)}에 부탁, 취소 {len(done.canceled)}건, 못 한 것 "
            f"{len(done.failed)}건" + "".join(f" · {each}" for each in done.failed)
        )
    )


def _form(account: Account) -> None:
    lock = frame.lock()
    word = st.radio(
        "할 일",
        list(_WORDS),
        format_func=lambda each: _WORDS[each][0],
        captions=[does for _, does in _WORDS.values()],
        key="controls_word",
    )
    phrase = f"{word} {account.env}-{account.market}"
    with st.form("controls", clear_on_submit=True):
        reason = st.text_input("까닭", key="controls_reason", max_chars=200)
        typed = st.text_input(f"확인: {phrase} 를 그대로 치십시오", key="controls_typed")
        given = (
            st.text_input("비밀번호", type="password", key="controls_password")
            if lock is not None
            else ""
        )
        asked = st.form_submit_button(f"{_WORDS[word][0]} 보내기", type="primary")
    if not asked:
        return
    if typed.strip() != phrase:
        st.error(
            frame.plain(
                f"확인 글이 다릅니다. {phrase} 를 그대로 쳐야 보냅니다. 아무것도 바꾸지 않았습니다."
            )
        )
        return
    refusal = lock.refusal(given) if lock is not None else None
    if refusal is not None:
        st.error(f"{refusal} 아무것도 바꾸지 않았습니다.")
        return
    with frame.said():
        st.success(frame.plain(_carried_out(account, word, reason.strip())))


def _carried_out(account: Account, word: str, reason: str) -> str:
    """Leave the word where the session finds it, and return what follows."""
    place = _run_dir(), account.env, str(account.market)
    if word == "cancel-all":
        control.ask_cancel_all(*place, by=control.By.DASHBOARD, reason=reason)
        return "모두 취소를 부탁했습니다. 도는 세션이 1초 안에 따르고 위에 답합니다."
    stands = control.ask(*place, _STATES[word], by=control.By.DASHBOARD, reason=reason)
    if stands.by is control.By.FILE:
        return f"적어 두었으나 정지 파일이 있어 그대로 정지입니다: {stands.reason}"
    return f"{STATE_TEXT[stands.state]} 를 적었습니다. 도는 세션이 1초 안에 따르고, 다음 세션에도 남습니다."


def _run_dir() -> Path:
    return frame.installation().home.data_dir / "run"
