"""The page of a run: whole, alone, in two languages, and true to the figures."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from trading.backtest import figures, page, report
from trading.backtest.page import Cell, Grid, Page, Section, Words, grid_html, render
from trading.backtest.settings import ReportSettings
from trading.domain.instrument import Currency

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

QUICK = ReportSettings(repetitions=100)


class Html(HTMLParser):
    """Tags that are open, what would be loaded, and the words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags, self.words = [], [], Counter(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.loads += [
            value for name, value in attrs if name in ("src", "href", "srcset", "action")
        ]
        if tag not in ("meta", "br", "line", "rect", "polyline", "polygon"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def record(embedded_run):
    """Three years of an eager ensemble on the embedded history."""
    return embedded_run


def page_of(record, language="ko"):
    words = Words(language)
    return render(report.run_page(record, words, QUICK), words)


@pytest.fixture(scope="module")
def html(record):
    return page_of(record)


def test_it_is_whole_and_alone(html):
    """Every tag closed, nothing to load, nothing that runs, and the policy that forbids it."""
    found = Html(html)

    assert found.open == []
    assert found.loads == []
    assert found.tags["script"] == found.tags["link"] == found.tags["img"] == 0
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html
    assert '<html lang="ko">' in html


def test_it_says_what_came_out(html, record):
    """The answer, the tiles, the labels and the run's name, with the figures of the record."""
    words = Html(html).words
    found = figures.run_figures(record)

    for text in (
        "ensemble 전략 성적표",
        f"{100 * found['total_return']:+.2f} %",
        f"{100 * found['benchmark_total_return']:+.2f} %",
        f"${record.equity[-1] / 10_000:,.2f}",
        "있음 <다섯> 종목만",
        "12번, 서로 다른 설정 8가지",
        "실제 거래된 가격",
        "같은 종목을 똑같은 금액씩",
        record.run_id,
        "소르티노 비율",
        "최소 기록 길이",
        "2004-",
        f"{found['trades']:,}",
    ):
        assert text in words, text
    assert "있음 <다섯>" not in html


def test_every_metric_has_a_definition(html, record):
    """Each row of the table of figures has its meaning under its name."""
    words = Words("ko")
    for rows in report._TABLE.values():
        for name, _, _ in rows:
            assert words(f"figure.{name}.is") in html, name
            assert name in figures.run_figures(record), name


def test_english_says_the_same(record):
    """In English there is no Korean left but what others named."""
    text = page_of(record, "en")

    assert '<html lang="en">' in text
    assert not re.search(r"[가-힣]", Html(text).words)


def test_both_languages_have_every_sentence():
    """Every text is there twice and asks for the same values."""
    for key, texts in page._texts().items():
        assert set(texts) == {"ko", "en"}, key
        assert len({frozenset(re.findall(r"{(\w+)}", text)) for text in texts.values()}) == 1, key
        assert re.search(r"[가-힣]", texts["ko"]) or texts["ko"] == texts["en"], key


def test_it_is_the_same_twice(record, html):
    """The same record gives the same bytes: intervals have a seed."""
    assert page_of(record) == html


def test_months_chain_to_the_whole(record):
    """What the yearly column says, chained, is the total return."""
    made = report.months(record.sessions, record.returns(), record.matched_returns(), Words("ko"))
    by_year = {}
    for day, value in zip(record.sessions, record.returns(), strict=True):
        by_year[day.year] = by_year.get(day.year, 1.0) * (1.0 + value)

    assert [row[0].text for row in made.grid.rows] == [str(year) for year in by_year]
    assert [row[1].text for row in made.grid.rows] == [
        f"{100 * (grown - 1):+.1f}" for grown in by_year.values()
    ]
    total = np.prod(list(by_year.values())) - 1.0
    assert total == pytest.approx(record.equity[-1] / record.starting_cash - 1.0)


def test_rolling_sharpe_is_that_of_each_window(record):
    """Against the plain formula on single windows; NaN before the first whole one."""
    returns = record.returns()
    found = report.rolling_sharpe(returns, 126, 252)

    assert np.isnan(found[:125]).all()
    for end in (126, 400, len(returns)):
        window = returns[end - 126 : end]
        expected = window.mean() / window.std(ddof=1) * np.sqrt(252)
        assert found[end - 1] == pytest.approx(expected)
    assert np.isnan(report.rolling_sharpe(returns[:50], 126, 252)).all()
    assert np.isnan(report.rolling_sharpe(np.zeros(200), 126, 252)).all()


def test_each_fill_is_on_its_chart(record, html):
    """Of each drawn symbol as many signs as fills, with what was done."""
    drawn = {line.symbol for line in record.prices}
    shown = [fill for fill in record.fills if fill.symbol in drawn]

    assert html.count('class="mark buy"') + html.count('class="mark sell"') == len(shown)
    fill = shown[0]
    assert f"{fill.session} 매수 {fill.quantity:,}주" in html


def test_ambiguous_fills_show_both_bounds(record):
    """Where the favorable side was computed both are said, else that it was not."""
    best = tuple(value + 5_000_000 for value in record.equity)
    both = page_of(replace(record, ambiguous_fills=3, optimistic_equity=best))
    one = page_of(replace(record, ambiguous_fills=3, optimistic_equity=None))
    high = f"{100 * (best[-1] / record.starting_cash - 1):+.2f} %"

    assert f"모두 유리한 쪽이었다면 {high}" in Html(both).words
    assert "유리한 쪽으로 셌을 때의 결과는 재지 않았습니다" in Html(one).words


def test_a_short_run_says_what_it_cannot(record):
    """Five sessions: no interval, no ratio, dashes with their reason, and the page stands."""
    days = slice(0, 5)
    short = replace(
        record,
        sessions=record.sessions[days], equity=record.equity[days], cash=record.cash[days],
        universe=record.universe[days], index=record.index[days], regimes=record.regimes[days],
        fills=(), trades=(), prices=(),
    )  # fmt: skip
    found = Html(page_of(short))

    assert "판정하기에는 기록이 모자랍니다" in found.words
    assert "20거래일 미만" in found.words
    assert "126거래일보다 짧아" in found.words
    assert "거래가 없습니다" in found.words
    assert found.open == []


def test_an_unknown_benchmark_says_so(record):
    """Without a universe or an index the account is shown alone."""
    blind = replace(
        record, universe=(None,) * len(record.sessions), index=(None,) * len(record.sessions)
    )
    found = Html(page_of(blind))

    assert "벤치마크의 기록이 없어" in found.words
    assert "벤치마크 기록이 없거나" in found.words
    assert found.open == []


def test_an_account_that_only_rose_has_no_drawdowns(record):
    """Nothing lost: the table says so, ratios over losses are dashes."""
    rising = tuple(record.starting_cash + 1_000 * (i + 1) for i in range(len(record.sessions)))
    made = replace(record, equity=rising, cash=rising, fills=(), trades=(), prices=())
    found = Html(page_of(made))

    assert "고점 아래로 내려온 날이 없습니다" in found.words
    assert "움직임이나 손실이 없어" in found.words


def test_words_write_numbers_for_people():
    """Signs, separators, no negative zero, a dash for what is unknown."""
    ko, en = Words("ko"), Words("en")

    assert ko.percent(0.01234) == "+1.23\u00a0%"
    assert ko.percent(-0.000001) == "0.00\u00a0%"
    assert ko.percent(None) == ko.percent(float("nan")) == ko.number(None) == "—"
    assert ko.money(-1234500, Currency.KRW) == "-1,234,500원"
    assert en.money(1234500, Currency.KRW, signed=True) == "+₩1,234,500"
    assert ko.money(12_345_678, Currency.USD) == "$1,234.57"
    assert ko.code("reason", "stop_loss") == "손절"
    assert en.code("reason", "some_new_rule") == "some new rule"
    with pytest.raises(KeyError):
        ko("no.such.sentence")


def test_text_of_others_is_harmless():
    """What comes from settings and data is text, never markup."""
    evil = "<script>alert(1)</script>"
    grid = Grid(heads=(evil,), rows=((Cell(text=evil, small=evil),),), groups={0: evil})
    made = Page(
        title=evil,
        meta=evil,
        answer=None,
        tiles=(),
        sections=(Section(title=evil, grid=grid, notes=(evil,)),),
        footer=(evil,),
    )

    assert "<script" not in render(made, Words("ko"))
    assert "<script" not in grid_html(grid)
