"""Facts are what was public on each row, under one name whoever published them."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from trading.domain.instrument import Exchange, Instrument, Market
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.facts import facts_from, facts_of
from trading.store.lake import Lake

KRX = Market.KRX
DAYS = [date(2023, 1, 2), date(2023, 1, 3), date(2023, 1, 4), date(2023, 1, 5)]
SYMBOLS = ("000010", "000020")
NOW = datetime(2023, 1, 6, tzinfo=UTC)


def lake_with(tmp_path, *rows: tuple[str, str, date, date, float]) -> Lake:
    """A lake of a few published figures: symbol, metric, period, published, value."""
    lake = Lake(tmp_path / "lake")
    frame = pd.DataFrame(rows, columns=["symbol", "metric", "period", "published", "value"])
    for name in ("period", "published"):
        frame[name] = pd.to_datetime(frame[name])
    lake.upsert(KRX, "fundamentals", frame.assign(rule=False, source="test", fetched_at=NOW))
    return lake


def first(known, metric: str) -> list[float]:
    column: list[float] = known.fundamentals[metric][:, 0].tolist()
    return column


def number(day: date) -> float:
    return float((day - date(1970, 1, 1)).days)


def test_ratios_become_yields_on_their_day(tmp_path):
    """PER 8 is a yield of 0.125, PBR 2 one of 0.5, 3 % one of 0.03, from their session on."""
    lake = lake_with(
        tmp_path,
        ("000010", "per", DAYS[1], DAYS[1], 8.0),
        ("000010", "pbr", DAYS[1], DAYS[1], 2.0),
        ("000010", "div_yield", DAYS[1], DAYS[1], 3.0),
    )

    known = facts_of(lake, KRX, DAYS, SYMBOLS)

    nan = float("nan")
    for metric, value in (
        ("earnings_yield", 0.125), ("book_yield", 0.5), ("dividend_yield", 0.03),
        ("ratios_as_of", number(DAYS[1])),
    ):  # fmt: skip
        np.testing.assert_allclose(first(known, metric), [nan, value, value, value])
        assert np.isnan(known.fundamentals[metric][:, 1]).all()


def test_a_loss_does_not_keep_last_years_profit(tmp_path):
    """A multiple that the newest publication leaves out is gone, not that of the year before."""
    lake = lake_with(
        tmp_path,
        ("000010", "per", DAYS[0], DAYS[0], 8.0),
        ("000010", "pbr", DAYS[0], DAYS[0], 2.0),
        ("000010", "pbr", DAYS[2], DAYS[2], 1.0),
    )

    known = facts_of(lake, KRX, DAYS, SYMBOLS)

    np.testing.assert_allclose(first(known, "earnings_yield"), [0.125, 0.125, np.nan, np.nan])
    np.testing.assert_allclose(first(known, "book_yield"), [0.5, 0.5, 1.0, 1.0])


def test_statements_have_one_name_and_count_from_their_publication(tmp_path):
    """What one source calls assets is another's total_assets; a restatement has its own day."""
    year = date(2021, 12, 31)
    lake = lake_with(
        tmp_path,
        ("000010", "assets", year, DAYS[1], 100.0),
        ("000010", "cf_operating", year, DAYS[1], 10.0),
        ("000010", "assets", year, DAYS[3], 90.0),
        ("000020", "total_assets", year, DAYS[0], 70.0),
    )

    known = facts_of(lake, KRX, DAYS, SYMBOLS)

    np.testing.assert_allclose(first(known, "total_assets"), [np.nan, 100.0, 100.0, 90.0])
    np.testing.assert_allclose(first(known, "operating_cash_flow"), [np.nan, 10.0, 10.0, 10.0])
    np.testing.assert_allclose(first(known, "statements_as_of")[1:], number(year))
    np.testing.assert_allclose(known.fundamentals["total_assets"][:, 1], 70.0)
    assert "gross_profit" not in known.fundamentals


def test_figures_per_share_meet_the_price_of_their_day(tmp_path):
    """Without a ratio, earnings of 600 at a close of 12,000 as traded are 5 %; a loss is one too."""
    lake = lake_with(
        tmp_path,
        ("000010", "eps", date(2022, 12, 31), DAYS[1], 600.0),
        ("000010", "bps", date(2022, 12, 31), DAYS[1], 9000.0),
        ("000020", "eps", date(2022, 12, 31), DAYS[1], -300.0),
    )
    bars = pd.DataFrame(
        [
            ("000010", DAYS[1], 12_000, "raw"),
            ("000010", DAYS[2], 24_000, "raw"),
            ("000020", DAYS[1], 6_000, "adjusted"),
        ],
        columns=["symbol", "session", "close", "basis"],
    )
    bars["session"] = pd.to_datetime(bars["session"])
    for name in ("open", "high", "low"):
        bars[name] = bars["close"]
    bars = bars.assign(
        exchange="KOSPI", volume=10, value=None, adj_close=np.nan, source="test", fetched_at=NOW
    )
    lake.upsert(KRX, "daily", bars)

    known = facts_of(lake, KRX, DAYS, SYMBOLS)

    np.testing.assert_allclose(first(known, "earnings_yield"), [np.nan, 0.05, 0.05, 0.05])
    np.testing.assert_allclose(first(known, "book_yield")[1:], 0.75)
    # A price that a vendor adjusted is of another number of shares: nothing is known.
    assert np.isnan(known.fundamentals["earnings_yield"][:, 1]).all()


def test_market_values_are_those_last_listed(tmp_path):
    """From the close of its session on, over days that tell none; of a weekend's on Monday."""
    lake = Lake(tmp_path / "lake")
    frame = pd.DataFrame(
        [
            ("000010", date(2022, 12, 29), 5e9),
            ("000010", DAYS[1], 6e9),
            ("000010", DAYS[2], np.nan),
            ("000020", date(2022, 12, 31), 1e9),
            ("000020", date(2023, 1, 1), 2e9),
        ],
        columns=["symbol", "session", "market_cap"],
    )
    frame["session"] = pd.to_datetime(frame["session"])
    frame = frame.assign(exchange="KOSPI", name="A", is_halted=False)
    lake.upsert(KRX, "listings", frame.assign(source="test", fetched_at=NOW))

    known = facts_of(lake, KRX, DAYS, (*SYMBOLS, "000030")).fundamentals

    nan = float("nan")
    np.testing.assert_array_equal(
        known["market_value"],
        [[5e9, 2e9, nan], [6e9, 2e9, nan], [6e9, 2e9, nan], [6e9, 2e9, nan]],
    )
    before, second = number(date(2022, 12, 29)), number(DAYS[1])
    assert known["market_value_as_of"][:, 0].tolist() == [before, second, second, second]
    assert "market_value" not in facts_of(lake, KRX, DAYS, ("000030",)).fundamentals


def test_cutting_the_sessions_changes_nothing(tmp_path):
    """The facts of a row are the same whatever sessions follow."""
    lake = lake_with(
        tmp_path,
        ("000010", "pbr", DAYS[0], DAYS[0], 2.0),
        ("000010", "pbr", DAYS[3], DAYS[3], 4.0),
    )

    whole, cut = (facts_of(lake, KRX, DAYS[:n], SYMBOLS) for n in (4, 2))

    np.testing.assert_array_equal(
        whole.fundamentals["book_yield"][:2], cut.fundamentals["book_yield"]
    )


def test_the_instruments_sectors_are_those_of_today(tmp_path):
    """One row for all sessions, and said to be no sectors of the day."""
    lake = Lake(tmp_path / "lake")
    lake.upsert_instruments(
        KRX,
        [
            Instrument(symbol="000010", exchange=Exchange.KOSPI, name="A", sector="화학"),
            Instrument(symbol="000020", exchange=Exchange.KOSPI, name="B"),
        ],
    )

    known = facts_of(lake, KRX, DAYS, SYMBOLS)

    assert known.sector_names == ("화학",)
    assert known.sectors.tolist() == [[0, -1]] * 4
    assert not known.sectors_of_the_day
    assert known.fundamentals == {}


@pytest.mark.parametrize(
    ("snapshots", "expected", "of_the_day"),
    [
        ([(date(2022, 6, 1), "a")], "aaaa", True),
        ([(DAYS[2], "a")], "aaaa", False),
        ([(date(2022, 6, 1), "a"), (DAYS[2], "b")], "aabb", True),
        ([(date(2022, 1, 1), "b"), (date(2022, 6, 1), "a")], "aaaa", True),
        ([(date(2024, 1, 1), "a")], "aaaa", False),
        ([(DAYS[1], "a"), (DAYS[3], "b")], "aaab", False),
    ],
)
def test_dated_sectors_count_from_their_day(tmp_path, snapshots, expected, of_the_day):
    """The last snapshot by a day counts; before the first one it looks ahead, and says so."""
    lake = Lake(tmp_path / "lake")
    frame = pd.DataFrame(
        [("000010", "mine", as_of, sector) for as_of, sector in snapshots],
        columns=["symbol", "scheme", "as_of", "sector"],
    ).assign(source="test", fetched_at=NOW)
    frame["as_of"] = pd.to_datetime(frame["as_of"])
    lake.upsert(KRX, "sectors", frame)

    known = facts_of(lake, KRX, DAYS, ("000010",), scheme="mine")

    assert [known.sector_names[code] for code in known.sectors[:, 0]] == list(expected)
    assert known.sectors_of_the_day is of_the_day


def test_nothing_recorded_is_nothing_known():
    """The embedded stocks have sectors of the configuration and no figures."""
    source = EmbeddedSource()
    days = source.sessions(Market.US)[:5]

    known = facts_from(source, Market.US, days, ("AAPL", "MSFT"))

    assert known.fundamentals == {}
    assert known.sector_names == ("Information Technology",)
    assert facts_from(source, Market.US, [], ("AAPL",)).sectors.shape == (0, 1)


def test_recorded_figures_count_from_their_day(shared_data):
    """Samsung on 2022-01-03 as KRX published it; its statement of 2021 from 22 April 2022 on."""
    days = SessionCalendar(KRX).sessions(date(2022, 1, 3), date(2022, 4, 29))

    known = facts_from(RecordedSource(shared_data), KRX, days, ("005930",))

    # 78,600 won over a book of 39,406 and earnings of 3,841 a share.
    assert 1 / first(known, "book_yield")[0] == pytest.approx(1.99)
    assert 1 / first(known, "earnings_yield")[0] == pytest.approx(20.46)
    assert first(known, "ratios_as_of")[0] == number(date(2022, 1, 3))
    ends = np.array(first(known, "statements_as_of"))
    public = np.flatnonzero(ends == number(date(2021, 12, 31)))
    assert days[public[0]] == date(2022, 4, 22)
    assert public.tolist() == list(range(public[0], len(days)))
    assert (ends[: public[0]] == number(date(2020, 12, 31))).all()


def test_a_folder_without_figures_is_no_error(shared_data, tmp_path):
    """What else a recording has is used; figures that it lacks are absent, and said by nobody."""
    from trading.store.datasets import RecordedSource

    for file in shared_data.glob("*.parquet"):
        if file.name not in ("krx_fundamentals.parquet", "krx_sectors.parquet"):
            (tmp_path / file.name).symlink_to(file)

    facts = facts_from(RecordedSource(tmp_path), KRX, [date(2022, 3, 2)], ["005930"])

    assert not any(
        np.isfinite(grid).any()
        for name, grid in facts.fundamentals.items()
        if not name.startswith("market_value")
    )
