"""The dashboard as a reader sees it: the program serves it, a headless Chromium looks at it."""

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from dashboard_home import LAST, PAGES, finished
from program import command, environment

KOREAN = re.compile("[가-힣]")
# What nobody should see: Streamlit's own words for an error, a stack, a formula made of dollars.
STRANGE = re.compile("Traceback|encountered an error|Error:|NaN|None")

pytestmark = pytest.mark.compiled_only


@pytest.fixture(scope="module")
def served():
    """Return the address of a dashboard that the program serves."""
    port = _free_port()
    with _serving(finished(), port) as process:
        yield f"http://127.0.0.1:{port}", process


@pytest.mark.parametrize("width", [pytest.param(390, marks=pytest.mark.slow), 1280])
def test_every_page_in_a_browser(browser, served, tmp_path, width):
    """Korean, without an error, nothing beyond the edge; on a phone and on a desk."""
    address, _ = served
    context = browser.new_context(viewport={"width": width, "height": 900})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    for name in PAGES:
        page.goto(f"{address}/{name if name != 'overview' else ''}")
        page.wait_for_selector("h1", timeout=30_000)
        page.wait_for_selector("[data-testid=stStatusWidget]", state="detached", timeout=30_000)
        page.wait_for_timeout(300)
        text = page.inner_text("[data-testid=stMain]")
        picture = tmp_path / f"{width}-{name}.png"
        page.screenshot(path=picture)
        wider = page.evaluate(
            "document.querySelector('[data-testid=stMain]').scrollWidth - window.innerWidth"
        )

        assert page.locator("[data-testid=stException]").count() == 0, name
        assert KOREAN.search(text), name
        assert not STRANGE.search(text), name
        assert wider <= 0, name
        assert picture.stat().st_size > 10_000, name
    context.close()

    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_the_first_paint_is_quick(browser, served):
    """The overview, numbers and curve, within what a reader waits for, without the script of figures.

    The bound is wide: this machine may be busy. What was measured is in docs.
    """
    address, _ = served
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    took = []
    for _ in range(2):
        begun = time.monotonic()
        page.goto(address)
        page.wait_for_selector("[data-testid=stMetric]", timeout=30_000)
        page.wait_for_selector(".plot img", timeout=30_000)
        took.append(time.monotonic() - begun)
    # All three are drawn in the end.
    page.wait_for_function(
        "(drawn => drawn.length === 3 && drawn.every(each => each.naturalWidth > 0))"
        "([...document.querySelectorAll('.plot img')])",
        timeout=30_000,
    )
    page.locator(".plot").first.locator("i.at").last.hover()
    told = page.locator(".plot").first.locator("i.at:hover").get_attribute("data-says")
    page.close()

    assert min(took) < 10.0
    assert re.fullmatch(rf"{LAST}\n계좌 \d+\.\d\d\nS&P 500 \d+\.\d\d", told)
    assert [url for url in asked if "Plotly" in url] == []


def test_it_listens_on_the_loopback_alone(served):
    """No other address of this machine answers."""
    _, process = served

    listening = [
        each.laddr.ip
        for each in psutil.Process(process.pid).net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    ]

    assert listening == ["127.0.0.1"]


def test_a_strange_page_cannot_use_it(served):
    """A web page of somebody else that finds the port is refused the connection."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    address, _ = served
    url = address.replace("http", "ws") + "/_stcore/stream"

    with pytest.raises(InvalidStatus):
        connect(url, origin="http://evil.example", proxy=None)
    connect(url, origin=address, proxy=None).close()


def test_it_says_where_it_is_and_ends_when_told():
    """Two Korean lines, nothing else, exit code 0; a second one on the same port is refused."""
    port = _free_port()
    with _serving(finished(), port) as process:
        second = subprocess.run(
            command(finished(), "dashboard", "--port", str(port)),
            capture_output=True, text=True, timeout=120, env=environment(),
        )  # fmt: skip
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert second.returncode == 2
    assert f"{port} 포트를 다른 프로그램이 쓰고 있습니다" in second.stderr
    assert process.returncode == 0
    assert out.split("\n") == [
        f"대시보드: http://127.0.0.1:{port} (끝내려면 Ctrl+C)",
        "대시보드를 끝냈습니다.",
        "",
    ]
    assert err == ""


class _serving:  # noqa: N801
    """A dashboard in a process of its own, ended with the block."""

    def __init__(self, root: Path, port: int) -> None:
        self._command = command(root, "dashboard", "--port", str(port))
        self._port = port

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd="/",
        )
        deadline = time.monotonic() + 120
        while not _answers(self._port):
            assert self._process.poll() is None, self._process.communicate()[1]
            assert time.monotonic() < deadline, "대시보드가 뜨지 않음"
            time.sleep(0.1)
        return self._process

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
