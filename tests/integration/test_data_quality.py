"""``trading data quality`` as typed: a table, a page, JSON, and an exit code that tells."""

import json

import pandas as pd
import pytest
from program import trading

from trading.domain.instrument import Market
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A home with half a year of the embedded stocks."""
    root = tmp_path_factory.mktemp("home")
    done = trading(root, "data", "import", "--from", "2004-01-02", "--to", "2004-06-30")
    assert done.code == 0, done.err
    return root


@pytest.mark.slow
def test_nothing_to_judge(tmp_path):
    """An empty lake is said to be empty, and is no finding."""
    (tmp_path / "home").mkdir()

    shown = trading(tmp_path / "home", "data", "quality")
    as_json = trading(tmp_path / "home", "data", "quality", "--json")

    assert (shown.code, as_json.code) == (0, 0)
    assert "검사할 시세가 없습니다" in shown.out
    assert (as_json.json["rows"], as_json.json["findings"]) == (0, [])


def test_a_clean_lake(filled):
    """Recorded bars have no finding; the page is written, and only the days asked for count."""
    shown = trading(filled, "data", "quality")
    month = trading(
        filled, "data", "quality", "--kind", "daily", "--from", "2004-03-01", "--to", "2004-03-31",
        "--json",
    )  # fmt: skip

    assert (shown.code, month.code) == (0, 0)
    assert "미국 일봉: 372행 검사, 0행 격리" in shown.out
    # 23 sessions of AAPL, IBM and MSFT (NYSE calendar).
    assert (month.json["rows"], month.json["quarantined"], month.json["findings"]) == (69, 0, [])
    assert month.json["page"].endswith("quality-us-daily.html")


@pytest.mark.slow
def test_what_is_wrong_ends_with_one(filled):
    """A row set aside and a row that should have been are findings, in the table and as JSON."""
    bars = EmbeddedSource().daily(
        Market.US, ["IBM"], pd.Timestamp(2004, 5, 3).date(), pd.Timestamp(2004, 5, 4).date()
    )
    prices = ["open", "high", "low", "close"]
    lake = Lake(filled / "data" / "lake")
    lake.quarantine(Market.US, "daily", bars.iloc[[0]].assign(reason="고가 ≥ 시가·종가"))
    lake.upsert(
        Market.US, "daily", bars.iloc[[1]].assign(**{n: bars[n].iloc[1] * 10 for n in prices})
    )

    shown = trading(filled, "data", "quality", "--kind", "daily")
    as_json = trading(filled, "data", "quality", "--kind", "daily", "--json")

    assert (shown.code, as_json.code) == (1, 1)
    assert "정제층에 남은 것: 가격 제한폭을 벗어난 가격" in shown.out
    assert as_json.json["quarantined"] == 1
    found = {item["title"]: item for item in as_json.json["findings"]}
    assert found["고가 ≥ 시가·종가"]["examples"][0]["session"] == "2004-05-03"
    assert json.loads((filled / "data/reports/quality/quality-us-daily.json").read_text())["rows"]


@pytest.mark.slow
def test_one_page_for_one_set_of_kinds(filled):
    """The back-fill judges the index first; its page is that of the audit all the same."""
    from trading.domain.instrument import Market
    from trading.store.quality import Report, write_page

    told = trading(filled, "data", "quality", "--market", "us", "--json").json
    kinds = [report["kind"] for report in told["reports"]]
    reports = [Report(Market.US, kind) for kind in reversed(kinds)]

    page = write_page(reports, filled / "again")

    assert len(kinds) > 1
    assert page.name == told["page"].rpartition("/")[2]


def test_wrong_words(filled, tmp_path):
    """An unknown kind and an unknown second record are sentences with the usage exit code."""
    kind = trading(filled, "data", "quality", "--kind", "daily,tea")
    other = trading(filled, "data", "quality", "--against", str(tmp_path / "none"))

    assert (kind.code, other.code) == (2, 2)
    assert "tea" in kind.err
    assert "자료 폴더가 없음" in other.err
