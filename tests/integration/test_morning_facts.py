"""The morning of a Korean account brings more than bars: figures, designations, what was abroad."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from program import EAGER, configure, trading

from trading import bootstrap, day
from trading.bootstrap import DemoRequest
from trading.context import known_facts
from trading.domain.instrument import Market
from trading.store.intake import Span
from trading.store.journal import EVERYTHING, Journal
from trading.store.lake import Lake

START = date(2024, 1, 8)
SYMBOLS = ("000660", "005380", "005490", "005930", "035420", "055550", "068270", "105560")
KOSDAQ = ("035900", "041020", "042700", "247540")
FILES = ("krx_daily", "krx_symbols", "krx_sectors", "krx_cross_section", "krx_fundamentals",
         "krx_statements_annual")  # fmt: skip


@pytest.fixture
def few(shared_data, tmp_path) -> Path:
    """A folder with a dozen names of the recorded market and its indices since 2020."""
    import pyarrow.parquet as pq

    folder = tmp_path / "few"
    folder.mkdir()
    for name in FILES:
        kept = [("symbol", "in", [*SYMBOLS, *KOSDAQ])]
        table = pq.read_table(shared_data / f"{name}.parquet", filters=kept)
        pq.write_table(table, folder / f"{name}.parquet")
    index = pq.read_table(shared_data / "index_daily.parquet")
    is_recent = index["date"].to_numpy().astype("datetime64[D]") > np.datetime64("2020-01-01")
    pq.write_table(index.filter(is_recent), folder / "index_daily.parquet")
    return folder


def morning(root: Path, dataset: Path) -> tuple[Span, dict[str, np.ndarray], Lake]:
    """Bring the data of the first session; return the days of the panel, its figures, the lake."""
    installation = bootstrap.open_home(root, console=False)
    run = bootstrap.begin_demo(
        installation, Market.KRX, DemoRequest(dataset=dataset, start=START, sessions=1)
    )
    context = bootstrap.open_demo_day(installation, run)
    try:
        day.market_data(context)
        again = day.market_data(context)
        figures = known_facts(context).fundamentals
    finally:
        bootstrap.close_day(context.key)
    assert again.summary["rows"] == 0
    return (run.first_bar, context.calendar.previous(START)), figures, context.lake


def test_figures_and_designations_reach_the_lake(few, home):
    """From as far back as a figure may be old, up to the evening before: the factors know them."""
    (first, last), figures, lake = morning(configure(home, EAGER), few)

    oldest = first - timedelta(days=550)
    published = lake.frame(Market.KRX, "fundamentals")["published"].dt.date
    assert oldest <= published.min() < first
    assert published.max() == date(2024, 1, 2)
    assert lake.frame(Market.KRX, "listings")["session"].dt.date.max() == last
    # KRX published a PBR of 1.57 of 삼성전자 on 2024-01-02 (BPS 50,817 at 79,600 won).
    place = sorted([*SYMBOLS, *KOSDAQ]).index("005930")
    assert figures["book_yield"][-1, place] == pytest.approx(1 / 1.57, rel=0.005)


def test_what_was_abroad_is_told(few, home):
    """American closes up to the night before come with them, those of a later day do not."""
    _, _, lake = morning(configure(home, EAGER), few)

    index = lake.frame(Market.US, "index")
    assert {"S&P 500", "NASDAQ", "VIX"} <= set(index["name"].astype(str))
    assert index["session"].dt.date.max() == date(2024, 1, 5)


def test_the_lake_of_another_source_is_left_alone(few, home):
    """Where an American account lives from another source, nothing of this one is mixed in."""
    root = configure(home, EAGER)
    lake = Lake(root / "data" / "lake")
    journal = Journal(lake.root, Market.US, "embedded")
    journal.add("index", {EVERYTHING: (date(2004, 1, 2), date(2004, 1, 30))})

    morning(root, few)

    assert len(lake.frame(Market.US, "index")) == 0


def test_a_backtest_without_a_price_as_traded_says_so(few, home):
    """Adjusted prices alone are no market to order in: a sentence, not an account without orders."""
    configure(home, {})

    answer = trading(
        home, "backtest", "momentum", "--market", "krx", "--dataset", str(few),
        "--from", "2016-01-04", "--to", "2016-12-29",
    )  # fmt: skip

    assert answer.code == 3
    assert "data.require_raw.krx" in answer.err
