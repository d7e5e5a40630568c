"""The entry that Streamlit runs: the password, the account, the list of pages."""

from pathlib import Path

import streamlit as st

from trading.charts import plot_style
from trading.dashboard import data, frame

_HERE = Path(__file__).resolve().parent
# File, title, icon; in the order of a look round.
PAGES = (
    ("overview", "개요", ":material/monitoring:"),
    ("positions", "보유 종목", ":material/pie_chart:"),
    ("orders", "주문과 체결", ":material/receipt_long:"),
    ("decisions", "판단", ":material/how_to_vote:"),
    ("exposure", "위험", ":material/shield:"),
    ("learners", "모델", ":material/psychology:"),
    ("quality", "데이터 품질", ":material/fact_check:"),
    ("api", "API 상태", ":material/lan:"),
    ("logbook", "로그", ":material/article:"),
)
_STYLE = f"""<style>
{frame.PALETTE}
{plot_style()}
.block-container {{ padding-top: 3rem; padding-bottom: 4rem; max-width: 1280px; }}
[data-testid="stMetricValue"] {{ font-size: 1.3rem; font-variant-numeric: tabular-nums; }}
[data-testid="stMetricValue"] {{ padding-bottom: 0; }}
[data-testid="stMetricValue"] * {{ line-height: 1.4; }}
h1 {{ font-size: 1.9rem !important; }} h3 {{ font-size: 1.3rem !important; }}
</style>"""


def main() -> None:
    """Draw what every page has, then the page."""
    st.set_page_config(page_title="자동 매매 대시보드", page_icon="📈", layout="wide")
    st.html(_STYLE)
    pages = [
        st.Page(_HERE / f"{name}.py", title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, title, icon) in enumerate(PAGES)
    ]
    with frame.said():
        # The address keeps the page that was asked for while the password is typed.
        if not _is_let_in():
            st.navigation(pages, position="hidden")
            _ask_password()
            return
        page = st.navigation(pages)
        with st.sidebar:
            _choose_account()
            st.caption(frame.plain(f"작업 폴더 {frame.installation().home.root}"))
        page.run()


def _is_let_in() -> bool:
    return frame.lock() is None or bool(st.session_state.get("is_let_in"))


def _ask_password() -> None:
    st.title("자동 매매 대시보드")
    with st.form("door", width=420):
        given = st.text_input("비밀번호", type="password")
        asked = st.form_submit_button("들어가기", type="primary")
    lock = frame.lock()
    if not asked or lock is None:
        return
    refusal = lock.refusal(given)
    if refusal is not None:
        st.error(refusal)
        return
    st.session_state["is_let_in"] = True
    st.rerun()


def _choose_account() -> None:
    """Let the reader choose among the accounts of the home; the choice outlives the page."""
    found = data.accounts(frame.installation().home)
    before = st.session_state.get("account")
    if not found:
        st.session_state["account"] = None
        return
    market = frame.installation().settings.app.market
    first = next((one for one in found if one.market is market), found[0])
    index = found.index(before) if before in found else found.index(first)
    st.session_state["account"] = st.selectbox(
        "계좌", found, index=index, format_func=lambda one: one.name
    )


if __name__ == "__main__":
    main()
