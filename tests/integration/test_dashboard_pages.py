"""Every page of the dashboard over a real home, without a browser: filled, empty, broken, locked."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from dashboard_home import LAST, PAGES, copy_of, finished
from program import environment, trading

from trading import config
from trading.domain.decision import TradingState
from trading.live import control

ENTRY = Path(__file__).parents[2] / "src" / "trading" / "dashboard" / "app.py"
KOREAN = re.compile("[가-힣]")

pytestmark = pytest.mark.compiled_only


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Let nobody's keys in, and nothing of an earlier test: settings and locks are kept."""
    import streamlit as st

    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    st.cache_resource.clear()


@pytest.fixture
def visit(monkeypatch):
    """Return what opens a page of a home as the server would."""
    from streamlit.testing.v1 import AppTest

    def opened(root: Path, page: str = "overview") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(ENTRY), str(root)])
        at = AppTest.from_file(str(ENTRY), default_timeout=60).run()
        return at if page == "overview" else at.switch_page(f"{page}.py").run()

    return opened


def said(at) -> str:
    """Return every sentence on a page."""
    parts = [at.title, at.subheader, at.info, at.success, at.warning, at.error, at.caption]
    parts += [at.markdown, at.metric]
    return "\n".join(
        f"{getattr(one, 'label', '')} {one.value}".replace("\\", "")
        for part in parts
        for one in part
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_a_finished_home(visit, page):
    """A title, something in Korean below it, no error, nothing missing but what was never made."""
    at = visit(finished(), page)

    assert not at.exception
    assert not at.error
    assert not at.warning
    assert len(at.title) == 1
    assert KOREAN.search(at.title[0].value)
    assert KOREAN.search(said(at).removeprefix(at.title[0].value))
    # Nothing was taught in this home; every other page is filled.
    lacking = [one.value for one in at.info if "아직" in one.value]
    assert bool(lacking) is (page == "learners")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_an_empty_home(visit, home, page):
    """What is missing is said with how to get it; nothing is written."""
    at = visit(home, page)

    assert not at.exception
    assert not at.error
    assert re.search("trading demo|로그가 아직", said(at))
    assert not (home / "data").exists()


def test_what_the_overview_shows_is_what_the_books_say(visit):
    """Equity, cash and return as the report of the last session has them."""
    root = finished()
    path = root / "data" / "reports" / "demo-us" / LAST / f"performance_{LAST}.json"
    body = json.loads(path.read_text())

    at = visit(root)
    shown = {one.label: one.value.replace("\\", "") for one in at.metric}

    assert _dollars(shown["평가금액"]) == body["equity"]
    assert _dollars(shown["현금"]) == body["cash"]
    assert shown["시작부터"] == f"{100 * body['total_return']:+.2f} %"
    assert shown["노출"] == f"{100 * body['gross_exposure']:.2f} %"
    assert "S&P 500 대비" in shown


def test_every_order_is_listed_with_its_fills(visit):
    """As many as the reports' files of trades, to the share and the unit."""
    root = finished()
    files = sorted(root.glob("data/reports/demo-us/*/trades_*.json"))
    told = [order for path in files for order in json.loads(path.read_text())["orders"]]

    at = visit(root, "orders")
    table = at.dataframe[0].value

    assert len(told) > 0
    assert len(table) == len(told)
    assert table["체결 수량"].sum() == sum(order["filled_quantity"] for order in told)
    assert table["수수료·세금"].sum() == sum(o["commission"] + o["tax"] for o in told)


def test_years_of_orders_are_a_table_of_the_last_ones(visit, monkeypatch):
    """Streamlit refuses a styled table of all; what is left out is said."""
    from trading.dashboard import data

    home = config.resolve_root(finished())
    placed = data.orders(home, data.accounts(home)[0])
    monkeypatch.setattr(data, "orders", lambda *_: placed * (20_000 // len(placed) + 1))

    at = visit(finished(), "orders")

    assert not at.error
    assert len(at.dataframe[0].value) == 1000
    assert "가운데 최근 1,000건입니다" in said(at)


def test_decisions_show_votes_and_reasons(visit):
    """Every choice of the session has its reason; the screen says why each name is in."""
    at = visit(finished(), "decisions")

    choices, screened = at.dataframe[0].value, at.dataframe[-1].value
    assert choices["까닭"].map(lambda text: bool(KOREAN.search(text))).all()
    assert screened["까닭"].map(lambda text: bool(KOREAN.search(text))).all()
    assert [one.label for one in at.tabs] == ["판단과 까닭", "투표자", "종목 선별"]


def test_logs_are_filtered(visit):
    """By level and by word."""
    at = visit(finished(), "logbook")
    everything = len(at.dataframe[0].value)

    at.text_input(key="logbook_search").set_value("AAPL").run()

    assert 0 < len(at.dataframe[0].value) < everything
    at.selectbox(key="logbook_level").set_value("critical").run()
    assert "고른 조건에 맞는 줄이 없습니다" in said(at)


def test_broken_files_are_said_and_the_rest_is_drawn(visit, tmp_path):
    """A report, a heartbeat and a log cut in half take nothing else with them."""
    root = copy_of(finished(), tmp_path / "home")
    folder = root / "data" / "reports" / "demo-us" / LAST
    for name in ("risk.json", "briefing.json", "quality.json", f"performance_{LAST}.json"):
        _halve(folder / name)
    _halve(root / "data" / "run" / "demo-us.json")
    _halve(root / "logs" / "trading.jsonl")

    for page in PAGES:
        at = visit(root, page)
        assert not at.exception, page
        assert not at.error, page
        if page in ("overview", "decisions", "exposure", "quality", "api"):
            assert any("읽을 수 없" in one.value for one in at.warning), page
        if page == "overview":
            assert "평가금액" in [one.label for one in at.metric]


def test_what_the_data_check_found_is_said_in_words(visit, tmp_path):
    """A finding reads as a sentence, graver ones as warnings."""
    root = copy_of(finished(), tmp_path / "home")
    path = next((root / "data" / "reports" / "quality").glob("*.json"))
    body = json.loads(path.read_text("utf-8"))
    one = {
        "check": "price_is_positive",
        "title": "가격이 0보다 큼",
        "checked": 40,
        "failed": 2,
        "examples": [],
    }
    body["reports"][0]["findings"] = [one | {"severity": "warn"}, one | {"severity": "note"}]
    path.write_text(json.dumps(body), encoding="utf-8")

    at = visit(root, "quality")

    told = "— {}: 가격이 0보다 큼, 40개 가운데 2개"
    assert any(told.format("확인 필요") in each.value for each in at.warning)
    assert any(told.format("참고") in each.value for each in at.info)
    assert "미국" in set(at.dataframe[1].value["시장"])


def test_a_broken_ledger_is_said(visit, tmp_path):
    """A sentence, not a stack; pages that need no ledger are there."""
    root = copy_of(finished(), tmp_path / "home")
    for path in root.glob("data/ledger/demo-us.db*"):
        path.unlink()
    (root / "data" / "ledger" / "demo-us.db").write_bytes(b"no database" * 100)

    at = visit(root)

    assert not at.exception
    assert any("장부" in one.value for one in at.warning)
    assert not visit(root, "logbook").warning


def test_the_operators_word_is_typed_out(visit, tmp_path):
    """Nothing is written until the phrase is right; then the account stands halted."""
    root = copy_of(finished(), tmp_path / "home")
    run = root / "data" / "run"
    at = visit(root)

    at.radio(key="controls_word").set_value("halt").run()
    at.text_input(key="controls_typed").set_value("halt demo-krx")
    _send(at)
    assert any("확인 글이 다릅니다" in one.value.replace("\\", "") for one in at.error)
    assert control.read(run, "demo", "us").since is None

    at.text_input(key="controls_reason").set_value("시험")
    at.text_input(key="controls_typed").set_value("halt demo-us")
    _send(at)
    word = control.read(run, "demo", "us")
    assert (word.state, word.by, word.reason) == (
        TradingState.HALTED,
        control.By.DASHBOARD,
        "시험",
    )
    assert any("거래 정지" in one.value for one in at.success)

    at.radio(key="controls_word").set_value("resume").run()
    at.text_input(key="controls_typed").set_value("resume demo-us")
    _send(at)
    assert control.read(run, "demo", "us").state is TradingState.ACTIVE


def test_a_password_hides_everything(visit, tmp_path, monkeypatch):
    """Wrong ones show nothing and lock; the right one opens, and is asked for again at a button."""
    root = copy_of(finished(), tmp_path / "home")
    monkeypatch.setenv("TRADING_DASHBOARD_PASSWORD", "열려라 참깨")
    at = visit(root)

    assert not at.metric
    for _ in range(2):
        _enter(at, "틀림")
        assert not at.metric
        assert any("비밀번호가 다릅니다" in one.value for one in at.error)
    _enter(at, "열려라 참깨")
    assert at.metric

    at.radio(key="controls_word").set_value("halt").run()
    at.text_input(key="controls_typed").set_value("halt demo-us")
    at.text_input(key="controls_password").set_value("틀림")
    _send(at)
    assert any("아무것도 바꾸지 않았습니다" in one.value for one in at.error)
    assert control.read(root / "data" / "run", "demo", "us").since is None

    other = visit(root)
    for _ in range(4):
        _enter(other, "틀림")
    assert any("초 동안 잠급니다" in one.value for one in other.error)
    _enter(other, "열려라 참깨")
    assert not other.metric


@pytest.mark.slow
def test_both_markets_in_one_home(visit, tmp_path, shared_data):
    """Each account is chosen by name and speaks in its own money; the other is named below."""
    root = copy_of(finished(), tmp_path / "home")
    done = trading(
        root, "demo", "--market", "krx", "--dataset", str(shared_data), "--no-prefect",
        timeout=900,
    )  # fmt: skip
    assert done.code == 0, done.err

    at = visit(root)
    assert at.selectbox[0].options == ["데모 · 한국", "데모 · 미국"]
    assert at.selectbox[0].value.name == "데모 · 미국"
    assert "데모 · 한국" in said(at)

    at.selectbox[0].select_index(0).run()
    worth = next(one.value for one in at.metric if one.label == "평가금액")
    assert worth.endswith("원")
    for page in PAGES[1:]:
        at.switch_page(f"{page}.py").run()
        assert not at.exception, page
        assert not at.error, page
        assert at.selectbox[0].value.name == "데모 · 한국"


@pytest.mark.slow
def test_models_that_were_taught(visit, home):
    """Who trades, every question of the gate, and how far the features have drifted."""
    done = trading(home, "demo", "--no-prefect", timeout=900)
    assert done.code == 0, done.err

    at = visit(home, "learners")
    standing, asked = at.dataframe[0].value, at.dataframe[1].value

    assert not at.error
    assert list(standing["거래"]) == ["투표함"]
    assert list(standing["자리"]) == ["챔피언"]
    assert set(asked["결과"]) == {"통과", "못 넘음"}
    assert "드리프트" in said(at)


def _enter(at, password: str) -> None:
    at.text_input[0].set_value(password)
    at.button[0].click().run()


def _send(at) -> None:
    next(one for one in at.button if one.label.endswith("보내기")).click().run()


def _halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _dollars(text: str) -> int:
    return round(float(text.replace("$", "").replace(",", "")) * 10_000)
