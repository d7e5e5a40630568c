"""The operator's buttons: halt, reduce, resume, cancel all; typed out before anything happens."""

from typing import Final

import streamlit as st

from trading import supervision
from trading.context import run_dir
from trading.dashboard import data, frame
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
    "reduce": ("축소", "파는 주문만 냅니다. 열린 매수 주문은 취소하고, 손절과 청산은 나갑니다."),
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
        word = control.read(run_dir(frame.installation().home), account.env, account.market)
        if word.since is None:
            st.caption("운영자의 말이 없습니다. 세션은 제 규칙대로 거래합니다.")
        else:
            by = supervision.BY_TEXT[word.by] if word.by is not None else "모름"
            why = f" — {word.reason}" if word.reason else ""
            st.caption(
                frame.plain(
                    f"운영자의 말: {STATE_TEXT[word.state]} ({by}, {frame.when(word.since)}){why}"
                )
            )
        if word.obeyed is not None:
            codes = [supervision.HELD_TEXT.get(code, code) for code in word.obeyed.held_by]
            held = f", 그 밖의 제한 {', '.join(codes)}" if codes else ""
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
    env = frame.installation().settings.app.env
    if account.env != env:
        name = data.ENV_TEXT[env]
        st.info(
            f"설정 파일(config/app.yaml)의 환경이 {name}라서 {account.name} 계좌에는 여기서 말할 수 없습니다. 급하면 "
            "작업 폴더의 data/run/HALT 빈 파일이 모든 계좌를 멈춥니다."
        )
        return
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
        with st.spinner("세션의 답을 기다리는 중"):
            found = _asked(account, word, reason.strip())
        lines = frame.plain(found.text()).replace("\n", "  \n")
        if found.is_done and not found.orders.failed:
            st.success(lines)
        else:
            st.warning(lines)


def _asked(account: Account, word: str, reason: str) -> supervision.Outcome:
    installation, by = frame.installation(), control.By.DASHBOARD
    if word == "cancel-all":
        return supervision.cancel_all(
            installation, account.market, by=by, scope=control.Scope.OURS, reason=reason
        )
    return supervision.give_word(installation, account.market, _STATES[word], by=by, reason=reason)
