"""Kept runs: written whole, found again, and held against each other on common sessions."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trading import bootstrap
from trading.backtest.figures import Sampling
from trading.backtest.page import Words, render
from trading.backtest.settings import ReportSettings
from trading.domain.instrument import Market
from trading.errors import SchemaError, UsageError
from trading.research import pages, records
from trading.research.compare import compare, to_json

QUICK = Sampling(repetitions=200)


@pytest.fixture
def installation(home):
    return bootstrap.open_home(home, console=False)


@pytest.fixture(scope="module")
def other(embedded_run):
    """The same dates wholly in the universe's names: another account, with other returns."""
    path = embedded_run.starting_cash * np.cumprod(1.0 + embedded_run.universe_returns())
    equity = tuple(round(value) for value in path)
    return replace(
        embedded_run, strategy="rsi", params={"window": 14}, equity=equity,
        cash=(0,) * len(equity), policy_hash="0" * 16,
    )  # fmt: skip


def first_part(record, n, **changes):
    """Return a run of the first ``n`` sessions."""
    cut = {
        name: getattr(record, name)[:n]
        for name in ("sessions", "equity", "cash", "universe", "index", "regimes")
    }
    return replace(record, fills=(), trades=(), prices=(), **cut, **changes)


def test_a_run_is_found_by_id_beginning_and_path(installation, embedded_run, other):
    """All ways lead to the same record; writing again changes nothing."""
    folder = records.save(installation, embedded_run)
    records.save(installation, other)
    before = (folder / "run.json").read_bytes()
    records.save(installation, embedded_run)

    assert (folder / "run.json").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    for named in (
        embedded_run.run_id, "ensemble-us", str(folder), str(folder / "run.json")
    ):  # fmt: skip
        assert records.load(installation, named) == embedded_run


def test_what_cannot_be_found_or_read_is_said(installation, embedded_run, other):
    """No run, an unknown one, several, an empty folder, and a damaged file: one sentence each."""
    with pytest.raises(UsageError, match="저장된 실행이 없습니다"):
        records.load(installation, "ensemble")
    folder = records.save(installation, embedded_run)
    records.save(installation, replace(embedded_run, params={}))

    with pytest.raises(UsageError, match="없는 실행입니다"):
        records.load(installation, "momentum")
    with pytest.raises(UsageError, match="여럿입니다"):
        records.load(installation, "ensemble")
    with pytest.raises(UsageError, match="없는 실행입니다"):
        records.load(installation, "")
    with pytest.raises(UsageError, match="없는 실행입니다"):
        records.load(installation, str(installation.home.root))
    text = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(text[:-100])
    with pytest.raises(SchemaError, match="손상"):
        records.load(installation, embedded_run.run_id)


def test_it_compares_on_all_sessions(embedded_run, other):
    """Same dates: returns are the runs' own, the difference is the mean's, a year."""
    found = compare([embedded_run, other], QUICK)
    apart = other.returns() - embedded_run.returns()

    assert not found.is_cut
    assert found.sessions == embedded_run.sessions
    np.testing.assert_array_equal(found.returns[:, 1], other.returns())
    assert found.differences[0].interval.value == pytest.approx(
        embedded_run.sessions_per_year * apart.mean()
    )
    assert found.correlation[0, 1] == pytest.approx(
        np.corrcoef(embedded_run.returns(), other.returns())[0, 1]
    )
    assert found.figures[0]["total_return"] == pytest.approx(
        embedded_run.equity[-1] / embedded_run.starting_cash - 1
    )
    assert set(found.apart) == {"strategy", "policy", "window"}


def test_other_dates_are_cut_to_the_common_ones(embedded_run, other):
    """Only sessions that both have count, and it says so."""
    found = compare([embedded_run, first_part(other, 200)], QUICK)
    lines = pages.comparison_lines(found, Words("ko"))

    assert found.is_cut
    assert found.sessions == embedded_run.sessions[:200]
    np.testing.assert_array_equal(found.returns[:, 0], embedded_run.returns()[:200])
    assert any("200거래일의 수익률만" in line for line in lines)
    assert "dates" in found.apart


def test_other_markets_are_compared_by_returns(embedded_run, other):
    """Another currency: no amounts, and a sentence that there is no exchange rate in it."""
    found = compare([embedded_run, replace(other, market=Market.KRX)], QUICK)

    assert not found.has_one_currency
    assert any("환율" in line for line in pages.comparison_lines(found, Words("ko")))


def test_copies_are_not_told_apart(embedded_run):
    """Equal returns are the same, whatever was set; a correlation of 1."""
    copy = replace(embedded_run, params={"window": 99})
    found = compare([embedded_run, copy], QUICK)

    assert found.differences[0].verdict == "same"
    assert found.correlation[0, 1] == pytest.approx(1.0)
    assert "날마다 같습니다" in pages.comparison_lines(found, Words("ko"))[0]
    assert len(set(found.names)) == 2


def test_a_sure_difference_is_said(embedded_run):
    """An account that earns 20 bp a session more is better, the other way round worse."""
    grown = np.cumprod(1.0 + embedded_run.returns() + 0.002) * embedded_run.starting_cash
    rich = replace(embedded_run, strategy="rsi", equity=tuple(round(v) for v in grown))

    assert compare([embedded_run, rich], QUICK).differences[0].verdict == "better"
    assert compare([rich, embedded_run], QUICK).differences[0].verdict == "worse"


def test_a_still_account_has_no_correlation(embedded_run):
    """An account in cash: unknown, not 0, and JSON says null."""
    n = len(embedded_run.sessions)
    cash = (embedded_run.starting_cash,) * n
    still = replace(embedded_run, strategy="rsi", equity=cash, cash=cash)
    body = to_json(compare([embedded_run, still], QUICK))

    assert body["correlation"][0][1] is None
    assert body["runs"][1]["metrics"]["sharpe"] is None
    json.dumps(body, allow_nan=False)


def test_wrong_questions_are_refused(embedded_run, other):
    """One run, the same twice, and nothing in common."""
    late = first_part(other, 20)
    early = replace(embedded_run, sessions=tuple(day.replace(year=1999) for day in late.sessions),
                    **{n: getattr(late, n) for n in ("equity", "cash", "universe", "index")},
                    regimes=late.regimes, fills=(), trades=(), prices=())  # fmt: skip

    with pytest.raises(UsageError, match="둘 이상"):
        compare([embedded_run], QUICK)
    with pytest.raises(UsageError, match="두 번"):
        compare([embedded_run, embedded_run], QUICK)
    with pytest.raises(UsageError, match="함께 있는"):
        compare([early, late], QUICK)


def test_the_page_shows_all_runs(installation, embedded_run, other):
    """Three runs: a line, a column and a row of each, in both languages."""
    third = first_part(replace(other, strategy="momentum"), 300)
    found = compare([embedded_run, other, third], QUICK)
    path = pages.write_comparison(installation, found, "ko")
    korean = render(pages.compare_page(found, Words("ko")), Words("ko"))

    assert korean == open(path, encoding="utf-8").read()  # noqa: PTH123, SIM115
    for run in found.runs:
        assert run.run_id in korean
    assert korean.count('class="line ') == 6
    assert len(found.differences) == 3
    english = render(pages.compare_page(found, Words("en")), Words("en"))
    assert not any("가" <= letter <= "힣" for letter in english.split("<body>")[1])


def swept(embedded_run, params, returns):
    """Return the result of a sweep as ``runs.sweep`` makes it, of recorded accounts."""
    from trading.backtest.settings import ResearchSettings
    from trading.research.evidence import evidence_of_choice
    from trading.research.runs import performance

    equities = [1_000_000_000 * np.cumprod(np.concatenate(([1.0], 1.0 + r))) for r in returns]
    return {
        "strategy": "ma_crossover",
        "market": "us",
        "currency": "USD",
        "price_basis": "raw",
        "survivorship": "biased",
        "survivorship_text": "있음",
        "are_sectors_of_today": False,
        "trials": {"raw": 4, "distinct": 4, "effective": 2.0},
        "runs": [
            {
                "params": one,
                "final_equity": round(equity[-1]),
                "orders": 10,
                "orders_hash": "0",
                "metrics": performance(np.round(equity).astype(np.int64), Market.US),
            }
            for one, equity in zip(params, equities, strict=True)
        ],
        **evidence_of_choice(
            returns,
            embedded_run.universe_returns(),
            ResearchSettings(report=ReportSettings(repetitions=200)),
        ),
    }


def test_a_sweep_is_mapped(embedded_run):
    """Two parameters make one map with a cell each; a third one makes a map of each of its values."""
    market = embedded_run.universe_returns()
    two = [{"fast": f, "slow": s} for f in (5, 10) for s in (50, 100, 150)]
    three = [{**one, "kind": kind} for kind in ("sma", "ema") for one in two]
    words = Words("ko")

    flat = pages.sweep_page(swept(embedded_run, two, [market * (0.1 * i) for i in range(6)]), words)
    deep = pages.sweep_page(
        swept(embedded_run, three, [market * (0.1 * i) for i in range(12)]), words
    )

    assert len(flat.sections[0].charts) == 1
    html = flat.sections[0].charts[0][1]
    assert html.count("<tr>") == 3
    assert html.count(" heat ") == 5
    # The first one stayed in cash: a dash, not 0.
    assert html.count("—") == 1
    assert [title for title, _ in deep.sections[0].charts] == ["kind=sma", "kind=ema"]


def test_one_combination_and_one_parameter(embedded_run):
    """A sweep of nothing says so; of one parameter it is a line."""
    market, own = embedded_run.universe_returns(), embedded_run.returns()
    words = Words("ko")
    one = pages.sweep_page(swept(embedded_run, [{}], [market]), words)
    line = pages.sweep_page(
        swept(embedded_run, [{"fast": 5}, {"fast": 10}], [0.5 * own, own]),
        words,
    )

    assert one.answer.head == words("sweep.one.head")
    assert one.sections[0].notes == (words("sweep.map.none"),)
    assert line.sections[0].charts[0][1].count("<tr>") == 2
    assert "벤치마크보다 낫다고 할 조합이 없습니다" in line.answer.head
    assert render(line, Words("ko"))
