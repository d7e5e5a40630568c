"""The pages of runs in a real browser: alone, readable on a phone, in the dark and on paper."""

from datetime import date
from pathlib import Path

import pytest

from trading import bootstrap
from trading.backtest.figures import Sampling
from trading.domain.instrument import Market
from trading.research import pages, records, runs, walkforward
from trading.research.compare import compare
from trading.research.history import Scope
from trading.research.parameters import grid

SCOPE = Scope(market=Market.US, first=date(2004, 6, 1), last=date(2006, 6, 30))
WIDTHS = (360, 768, 1280)
# Each kind of page, with the fewest charts that are not folded away.
KINDS = {"run": 6, "sweep": 0, "walk-forward": 3, "compare": 2}

pytestmark = pytest.mark.compiled_only

# What a page looks like from inside: what sticks out, what is cut off, what has no size.
_LAYOUT = """() => {
  const inside = (e) => e.closest('.wide') !== null;
  const name = (e) => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 40);
  const all = [...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length);
  const html = all.filter((e) => e instanceof HTMLElement);
  const labels = [...document.querySelectorAll('.plot')].flatMap((plot) => {
    const shown = [...plot.querySelectorAll('.x')].filter((e) => e.getClientRects().length)
      .map((e) => e.getBoundingClientRect()).sort((a, b) => a.left - b.left);
    return shown.slice(1).map((box, i) => box.left - shown[i].right);
  });
  return {
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    outside: html.filter((e) => !inside(e) && !e.closest('.plot') &&
      e.getBoundingClientRect().right > window.innerWidth + 1).map(name),
    axis: [...document.querySelectorAll('.plot span')].filter((e) => e.getClientRects().length)
      .filter((e) => e.getBoundingClientRect().left < 0 ||
        e.getBoundingClientRect().right > window.innerWidth).map(name),
    clipped: html.filter((e) => !e.matches('.wide, .wide *, .plot, .plot *, html, body') &&
      e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(name),
    charts: [...document.querySelectorAll('.plot svg')].filter((e) => !e.closest('details'))
      .map((e) => [e.getBoundingClientRect().width, e.getBoundingClientRect().height]),
    gaps: labels,
    smallest: Math.min(...html.filter((e) => e.childElementCount === 0 && e.textContent.trim())
      .map((e) => parseFloat(getComputedStyle(e).fontSize))),
  };
}"""

# The lowest contrast of text with its ground (WCAG 2.1, relative luminance), and where it is.
_CONTRAST = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;
    return [...numbers.slice(0, 3).map((v) => v * scale), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [...document.querySelectorAll('body *')]
    .filter((e) => e instanceof HTMLElement && e.getClientRects().length)
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => {
      const back = ground(e);
      const ink = light(over(parse(getComputedStyle(e).color), back));
      const paper = light(back);
      const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      return [ratio, e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 30)];
    });
  return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """One page of every kind, written by the parts that write them for a user."""
    root = tmp_path_factory.mktemp("home")
    installation = bootstrap.open_home(root, console=False)
    first, second = (
        runs.backtest(installation, name, SCOPE, report="ko") for name in ("ma_crossover", "rsi")
    )
    swept = runs.sweep(
        installation, "ma_crossover", grid(["fast=5,10,20", "slow=50,100,150"]), SCOPE
    )
    found = compare(
        [records.load(installation, one["run_id"]) for one in (first, second)],
        Sampling(repetitions=200),
    )
    walked = walkforward.walk_forward(
        installation,
        "ma_crossover",
        grid(["fast=5,10", "slow=50,100"]),
        SCOPE,
        walkforward.Plan(train=252, test=63),
    )
    return {
        "run": Path(first["report"]),
        "sweep": Path(pages.write_sweep(installation, swept, "ko")),
        "walk-forward": Path(pages.write_walk_forward(installation, walked, "ko")),
        "compare": Path(pages.write_comparison(installation, found, "ko")),
    }


class Visit:
    """A page that was opened, and what it asked for and complained of."""

    def __init__(self, browser, path: Path, *, width: int = 1280, scheme: str = "light"):
        self.asked: list[str] = []
        self.told: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self._context.new_page()
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        own = path.as_uri()

        def handle(route):
            if route.request.url == own:
                route.continue_()
            else:
                self.asked.append(route.request.url)
                route.abort()

        self._context.route("**/*", handle)
        self.page.goto(own)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._context.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_is_alone(browser, written, kind, width):
    """No request, no complaint, nothing beyond the edge or cut off; charts have a size."""
    with Visit(browser, written[kind], width=width) as visit:
        layout = visit.page.evaluate(_LAYOUT)
        title, language = visit.page.title(), visit.page.get_attribute("html", "lang")

    assert visit.asked == []
    assert visit.told == []
    assert layout["overflow"] <= 0
    assert layout["outside"] == []
    assert layout["axis"] == []
    assert layout["clipped"] == []
    assert all(w > 200 and h >= 100 for w, h in layout["charts"])
    assert len(layout["charts"]) >= KINDS[kind]
    assert all(gap > 2 for gap in layout["gaps"])
    assert layout["smallest"] >= 12
    assert language == "ko"
    assert any("가" <= letter <= "힣" for letter in title)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser, written, kind, scheme):
    """Every text has the contrast that WCAG 2.1 asks of small text: 4.5 to 1."""
    with Visit(browser, written[kind], scheme=scheme) as visit:
        ratio, where = visit.page.evaluate(_CONTRAST)
        ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ratio >= 4.5, where
    assert (ground == "rgb(16, 18, 22)") is (scheme == "dark")


def test_the_answer_comes_first(browser, written):
    """On a phone, without scrolling: did it beat the benchmark, and how sure is that."""
    with Visit(browser, written["run"], width=360) as visit:
        answer = visit.page.locator(".answer")
        box = answer.bounding_box()
        words = answer.inner_text()

    assert box["y"] + box["height"] <= 900
    assert "벤치마크" in words
    assert "구간" in words


def test_folded_charts_open(browser, written):
    """Symbols beyond the first two are folded away and have their chart when opened."""
    with Visit(browser, written["run"]) as visit:
        folded = visit.page.locator("details")
        assert folded.count() >= 1
        assert not folded.first.locator(".plot").is_visible()
        folded.first.locator("summary").click()
        box = folded.first.locator(".plot").bounding_box()

    assert box["width"] > 500
    assert box["height"] > 100


def test_it_prints(browser, written, tmp_path):
    """On paper it is light, and no chart is cut by the end of a page."""
    with Visit(browser, written["run"], scheme="dark") as visit:
        made = visit.page.pdf(path=tmp_path / "run.pdf", prefer_css_page_size=True)
        visit.page.emulate_media(media="print", color_scheme="dark")
        ink = visit.page.evaluate("getComputedStyle(document.body).color")
        kept = visit.page.evaluate(
            "[...document.querySelectorAll('.plot')].map((e) => getComputedStyle(e).breakInside)"
        )

    assert made.startswith(b"%PDF-")
    assert ink == "rgb(22, 24, 29)"
    assert set(kept) == {"avoid"}
