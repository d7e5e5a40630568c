"""Recorded sources serve what was recorded, in the agreed shape, and nothing else."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trading.domain.actions import ActionKind
from trading.domain.instrument import Exchange, Market
from trading.errors import DataError, MissingDataError, SchemaError, UsageError
from trading.store import schema
from trading.store.datasets import EmbeddedSource, RecordedSource

ALL = (date(2000, 1, 1), date(2026, 12, 31))
EMBEDDED = EmbeddedSource()


def test_embedded_bars_are_the_package_data():
    """Row counts, ends and exact prices are those of bokeh_sampledata's stocks.csv."""
    bars = EMBEDDED.daily(Market.US, None, *ALL)

    schema.validate(bars, schema.DAILY_BARS)
    counts = bars.groupby("symbol").size().to_dict()
    assert counts == {"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}
    first = bars.iloc[0]
    # stocks.csv: AAPL,2000-03-01,118.56,132.06,118.5,130.31,9616100,4.186662803811
    assert (first["open"], first["high"], first["low"], first["close"]) == (
        1_185_600, 1_320_600, 1_185_000, 1_303_100,
    )  # fmt: skip
    assert (first["volume"], first["adj_close"], first["basis"]) == (
        9_616_100, 4.186662803811, "raw",
    )  # fmt: skip
    # AAPL,2013-03-01,...,438.1799: a high with four decimals stays exact.
    assert bars.loc[bars["symbol"] == "AAPL", "high"].iloc[-1] == 4_381_799


def test_embedded_minor_units_are_exact():
    """No price of the package has more than four decimals."""
    import bokeh_sampledata.stocks as package

    for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT"):
        bars = EMBEDDED.daily(Market.US, [symbol], *ALL)
        np.testing.assert_array_equal(bars["low"] / 10_000, getattr(package, symbol)["low"])


def test_embedded_instruments_and_sessions():
    """GOOG begins with its IPO of 2004-08-19 and FB with that of 2012-05-18."""
    listed = {item.symbol: item for item in EMBEDDED.instruments(Market.US)}

    assert listed["GOOG"].listed == date(2004, 8, 19)
    assert listed["FB"].listed == date(2012, 5, 18)
    assert listed["IBM"].exchange is Exchange.NYSE
    sessions = EMBEDDED.sessions(Market.US)
    assert (sessions[0], sessions[-1], len(sessions)) == (
        date(2000, 3, 1), date(2013, 3, 1), 3270,
    )  # fmt: skip


def test_embedded_index_is_the_sp500():
    """arch's S&P 500 closed 2008 at 903.25 (S&P Dow Jones Indices)."""
    index = EMBEDDED.index(Market.US, date(2008, 12, 31), date(2008, 12, 31))

    assert index["close"].tolist() == [903.25]
    assert index["name"].tolist() == ["S&P 500"]


def test_embedded_has_nothing_korean_and_nothing_intraday():
    """What was not recorded is absent."""
    assert EMBEDDED.daily(Market.KRX, None, *ALL).empty
    assert EMBEDDED.index(Market.KRX, *ALL).empty
    assert not EMBEDDED.instruments(Market.KRX)
    assert not EMBEDDED.actions(Market.KRX, *ALL)
    assert not EMBEDDED.sessions(Market.KRX)
    assert EMBEDDED.minute(Market.US, date(2005, 1, 3), ["IBM"]).empty
    assert EMBEDDED.minute_sessions(Market.US) == []


def test_missing_folder_and_file_are_named(tmp_path: Path):
    """The message says which path to look at."""
    with pytest.raises(UsageError, match="nowhere"):
        RecordedSource(tmp_path / "nowhere")
    with pytest.raises(MissingDataError, match=r"us_daily\.parquet"):
        RecordedSource(tmp_path).daily(Market.US, None, *ALL)


def test_official_days_are_served_raw(recorded: RecordedSource):
    """On an official day every raw row is the exchange's own, and most symbols have one."""
    bars = recorded.daily(Market.KRX, None, date(2024, 1, 8), date(2024, 1, 8))

    raw = bars.loc[bars["basis"] == "raw"]
    assert len(raw) > 1_500
    assert set(raw["source"]) == {"FinanceData/marcap"}
    samsung = raw.loc[raw["symbol"] == "005930"].iloc[0]
    official = pd.read_parquet(
        recorded.directory / "krx_cross_section.parquet",
        filters=[("date", "==", date(2024, 1, 8)), ("symbol", "==", "005930")],
    ).iloc[0]
    for name in ("open", "high", "low", "close", "volume", "value"):
        assert samsung[name] == official[name]


def test_rows_before_a_later_adjustment_are_adjusted(recorded: RecordedSource):
    """355150's vendor close differs from the official one until 2024-02-01, and equals it after.

    Its earlier rows are adjusted for what happened then, its later rows are what was traded.
    """
    bars = recorded.daily(Market.KRX, ["355150"], date(2024, 1, 30), date(2024, 2, 5))

    assert dict(zip(bars["session"].dt.day, bars["basis"], strict=True)) == {
        30: "adjusted", 31: "adjusted", 1: "adjusted", 2: "raw", 5: "raw",
    }  # fmt: skip


def test_adjusted_minutes_are_no_witness_of_raw_prices(recorded: RecordedSource):
    """Most minutes of 476060 on 2025-09-16 are on no tick: that its daily close equals theirs
    does not make it a price as traded.
    """
    bars = recorded.daily(Market.KRX, ["476060"], date(2025, 9, 16), date(2025, 9, 30))

    assert set(bars["basis"]) == {"adjusted"}


def test_halts_have_no_open(recorded: RecordedSource):
    """A row without volume has a close and no other price; traded rows are ordered."""
    bars = recorded.daily(Market.KRX, None, date(2023, 12, 1), date(2024, 1, 31))
    halted = bars.loc[bars["volume"] == 0]
    traded = bars.loc[bars["volume"] > 0]

    assert len(halted) > 0
    assert (halted[["open", "high", "low"]] == 0).all(axis=None)
    assert (halted["close"] > 0).all()
    wrong = (traded["high"] < traded[["open", "close"]].max(axis=1)) | (
        traded["low"] > traded[["open", "close"]].min(axis=1)
    )
    assert wrong.mean() < 1e-4


def test_recorded_minutes_are_in_utc(recorded: RecordedSource):
    """000660 on 2025-09-08: first bar 09:00, closing auction 15:30 Korean time."""
    bars = recorded.minute(Market.KRX, date(2025, 9, 8), ["000660"])

    assert bars["ts"].iloc[0] == datetime(2025, 9, 8, 0, 0, tzinfo=UTC)
    assert bars["ts"].iloc[-1] == datetime(2025, 9, 8, 6, 30, tzinfo=UTC)
    assert (bars["volume"] > 0).all()
    day = recorded.daily(Market.KRX, ["000660"], date(2025, 9, 8), date(2025, 9, 8)).iloc[0]
    assert (bars["open"].iloc[0], bars["high"].max(), bars["low"].min(), bars["close"].iloc[-1]) == (
        day["open"], day["high"], day["low"], day["close"],
    )  # fmt: skip
    assert day["basis"] == "raw"
    assert date(2025, 9, 8) in recorded.minute_sessions(Market.KRX)


def test_recorded_lists_and_index(recorded: RecordedSource):
    """Instruments, delistings, sessions and the benchmark of the Korean files."""
    listed = {item.symbol: item for item in recorded.instruments(Market.KRX)}

    assert listed["005930"].exchange is Exchange.KOSPI
    assert listed["005930"].delisted is None
    ended = [item for item in listed.values() if item.delisted is not None]
    actions = recorded.actions(Market.KRX, *ALL)
    assert len(actions) == len(ended) > 50
    # 삼양홀딩스우 is in the official rows of 2025-01-23; one vendor's file of it ends in 2022-05.
    assert listed["000075"].delisted is None
    assert {action.kind for action in actions} == {ActionKind.DELISTING}
    sessions = recorded.sessions(Market.KRX)
    assert (sessions[0], sessions[-1]) == (date(2000, 1, 4), date(2025, 9, 30))
    # KOSPI closed 2024-01-08 at 2,567.82 (KRX).
    index = recorded.index(Market.KRX, date(2024, 1, 8), date(2024, 1, 8))
    assert index["close"].tolist() == [2567.82]


def test_recorded_transfers_keep_the_old_exchange(recorded: RecordedSource):
    """066970 moved from KOSDAQ to KOSPI on 2024-01-29."""
    bars = recorded.daily(Market.KRX, ["066970"], date(2024, 1, 26), date(2024, 1, 29))

    assert bars["exchange"].tolist() == ["KOSDAQ", "KOSPI"]


def test_recorded_us_files(recorded: RecordedSource):
    """US rows are adjusted, known by the configuration, and five-minute bars start in UTC."""
    bars = recorded.daily(Market.US, ["AAPL", "SPY"], date(2024, 3, 11), date(2024, 3, 11))
    minutes = recorded.minute(Market.US, date(2024, 3, 11), ["AAPL"])

    assert bars["symbol"].tolist() == ["AAPL"]
    assert bars["basis"].tolist() == ["adjusted"]
    assert minutes["ts"].iloc[0] == datetime(2024, 3, 11, 13, 30, tzinfo=UTC)
    assert len(minutes) == 78
    assert recorded.actions(Market.US, *ALL) == []
    assert len(recorded.instruments(Market.US)) == 93
    assert recorded.sessions(Market.US)[-1] == date(2025, 1, 23)


def test_every_recorded_kind_is_offered(recorded: RecordedSource):
    """What can be asked for, by market; another kind has no rows."""
    assert recorded.kinds(Market.KRX) == {
        "daily", "minute", "index", "instruments", "actions", "listings", "fundamentals", "sectors",
    }  # fmt: skip
    assert recorded.kinds(Market.US) == {"daily", "minute", "ticks", "index", "instruments"}
    assert len(recorded.table("rankings", Market.KRX, None, *ALL)) == 0
    assert EMBEDDED.kinds(Market.US) == {"daily", "index", "instruments", "actions"}
    for kind in ("instruments", "actions"):
        assert schema.KINDS[kind].arrow().equals(EMBEDDED.table(kind, Market.US, None, *ALL).schema)


def test_years_add_up_to_the_whole(recorded: RecordedSource):
    """Served year by year, the vendor's rows are all there, but those of no known board."""
    rows = sum(
        len(recorded.table("daily", Market.KRX, None, date(y, 1, 1), date(y, 12, 31)))
        for y in range(2000, 2026)
    )
    (piece,) = recorded.table(
        "daily", Market.KRX, ["005930"], date(2021, 1, 4), date(2021, 1, 4)
    ).to_pylist()

    # MANIFEST.md: 8,237,638 rows and 73,057 of the continuation, of symbols of every board.
    assert 8_237_638 + 73_057 - 40_000 < rows < 8_237_638 + 73_057
    assert [piece[name] for name in ("open", "high", "low", "close", "volume")] == [
        81_000, 84_400, 80_200, 83_000, 38_655_276,
    ]  # fmt: skip
    # FinanceData/marcap: value and shares of that day.
    assert (piece["value"], piece["shares"]) == (3_185_356_823_460, 5_969_782_550)


def test_listings_are_the_official_days(recorded: RecordedSource):
    """215600 was halted and administered on 2022-01-03; KOSPI names have no segment to say so."""
    day = date(2022, 1, 3)
    rows = recorded.table("listings", Market.KRX, None, day, day).to_pylist()
    states = {row["symbol"]: row for row in rows}

    assert (states["215600"]["is_halted"], states["215600"]["is_administrative"]) == (True, True)
    assert (states["015350"]["is_halted"], states["015350"]["is_administrative"]) == (True, None)
    assert states["005930"]["name"] == "삼성전자"


def test_fundamentals_by_the_day_they_were_public(recorded: RecordedSource):
    """KRX figures of 005930 on 2021-01-04; statements 15 sessions after 1 April, marked so.

    2020: sessions from 2 April, without the election on the 15th; the 15th of them is the 23rd.
    """
    day = date(2021, 1, 4)
    rows = recorded.table("fundamentals", Market.KRX, ["005930"], day, day).to_pylist()
    filed = recorded.table(
        "fundamentals", Market.KRX, None, date(2020, 1, 3), date(2020, 12, 31)
    ).to_pylist()

    assert {row["metric"]: row["value"] for row in rows} == {
        "bps": 37_528, "per": 26.22, "pbr": 2.21, "eps": 3_166, "div_yield": 1.71, "dps": 1_416,
    }  # fmt: skip
    assert not any(row["rule"] for row in rows)
    statements = [row for row in filed if row["rule"]]
    assert {row["published"] for row in statements} == {date(2020, 4, 23)}
    assert {row["period"] for row in statements} == {date(2019, 12, 31)}
    assert {row["symbol"] for row in filed if not row["rule"]} == {"KOSPI200"}


def test_sectors_say_of_when_they_are(recorded: RecordedSource):
    """Industries are one snapshot of 2025-12, whatever range is asked for; segments have days."""
    rows = recorded.table(
        "sectors", Market.KRX, ["005930", "247540"], date(2020, 1, 1), date(2020, 1, 2)
    ).to_pylist()

    known = {(row["symbol"], row["scheme"]): (row["as_of"], row["sector"]) for row in rows}
    assert known["005930", "krx_industry_finda"] == (date(2025, 12, 27), "전기·전자")
    assert known["247540", "krx_dept"][1] == "우량기업부"


def test_ticks_keep_side_and_order(recorded: RecordedSource):
    """The first print of IBM on 2013-10-08: 300 at 182.10 before the open, in New York time."""
    day = date(2013, 10, 8)
    ticks = recorded.table("ticks", Market.US, ["IBM"], day, day)

    assert len(ticks) == 159_131
    trade = next(row for row in ticks.slice(1000, 50).to_pylist() if row["kind"] == "trade")
    assert trade["ts"] == datetime(2013, 10, 8, 12, 47, 49, 457_000, tzinfo=UTC)
    assert (trade["price"], trade["size"], trade["bid"]) == (1_821_000, 300, None)
    first = ticks.slice(0, 1).to_pylist()[0]
    # Nobody offered yet: recorded as 0 for 0 shares.
    assert (first["bid"], first["ask"], first["ask_size"]) == (1_800_100, None, None)


def test_index_series(recorded: RecordedSource):
    """Korean series, with the won, and American ones, each under its name."""
    names = {
        market: set(recorded.table("index", market, None, *ALL)["name"].unique().to_pylist())
        for market in Market
    }

    assert names[Market.KRX] == {"KOSPI", "KOSDAQ", "KOSPI200", "USDKRW"}
    assert names[Market.US] == {"S&P 500", "NASDAQ", "RUSSELL2000", "PHLX_SOX", "VIX"}
    (row,) = recorded.table(
        "index", Market.KRX, ["KOSPI"], date(2024, 1, 8), date(2024, 1, 8)
    ).to_pylist()
    assert row["low"] <= row["close"] == 2567.82 <= row["high"]


def test_raw_closes_beside_adjusted_ones(recorded: RecordedSource):
    """090430 was split 10:1 on 2015-05-08: the raw close falls to a tenth, the adjusted does not."""
    table = recorded.raw_closes(["090430"], date(2015, 5, 4), date(2015, 5, 8)).to_pydict()

    raw, adjusted = table["close"], table["adj_close"]
    assert 9 < raw[-2] / raw[-1] < 11
    assert 0.9 < adjusted[-2] / adjusted[-1] < 1.1


def test_one_symbol_equals_its_part_of_the_whole(shared_data: Path):
    """Reading what holds a symbol, and reading everything, give the same rows."""
    fresh, symbols = RecordedSource(shared_data), ["005930", "355150", "066970"]
    span = (date(2023, 12, 1), date(2025, 9, 30))

    part = fresh.table("daily", Market.KRX, symbols, *span)
    whole = fresh.table("daily", Market.KRX, None, *span)

    assert len(part) > 700
    named = schema.to_frame(whole, schema.DAILY_BARS)
    pd.testing.assert_frame_equal(
        schema.to_frame(part, schema.DAILY_BARS),
        named.loc[named["symbol"].isin(symbols)].reset_index(drop=True),
    )


def test_truncated_recorded_files_are_named(small_folder: RecordedSource):
    """A Parquet file without its end, or of another layout, is refused by name."""
    path = small_folder.directory / "krx_daily.parquet"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=r"krx_daily\.parquet .*손상됨"):
        small_folder.daily(Market.KRX, None, *ALL)

    (small_folder.directory / "us_daily.parquet").write_bytes(
        (small_folder.directory / "index_daily.parquet").read_bytes()
    )
    with pytest.raises(SchemaError, match=r"us_daily\.parquet에 열이 없음: adj_close"):
        small_folder.daily(Market.US, None, *ALL)


@pytest.fixture
def small_folder(tmp_path: Path) -> RecordedSource:
    """A folder in the format of the recorded one, filled from published rows only.

    US: the embedded IBM and GOOG. KRX: the row of 005930 that MANIFEST.md prints (2021-01-04), and
    the same row mutated: halved as a vendor would after a 2:1 split, halted, misordered by 1 won.
    """
    us = EMBEDDED.daily(Market.US, ["IBM", "GOOG"], date(2005, 1, 3), date(2005, 1, 31))
    for name in ("open", "high", "low", "close"):
        us[name] = (us[name] / 10_000).astype("float32")
    us = us.rename(columns={"session": "date"})
    pq.write_table(pa.Table.from_pandas(us), tmp_path / "us_daily.parquet")
    five = us.loc[us["symbol"] == "IBM"].rename(columns={"date": "ts_et"})
    five["ts_et"] = five["ts_et"] + pd.Timedelta(hours=9, minutes=30)
    pq.write_table(pa.Table.from_pandas(five), tmp_path / "us_minute.parquet")

    day = date(2021, 1, 4)
    row = {
        "date": day, "symbol": "005930", "market": "KOSPI", "open": 81_000, "high": 84_400,
        "low": 80_200, "close": 83_000, "volume": 38_655_276, "value": None, "flags": 0,
        "source": "gyu", "name": "삼성전자", "dept": None, "market_cap": None, "shares": None,
    }  # fmt: skip
    half = {name: row[name] // 2 for name in ("open", "high", "low", "close")}
    none = {"open": None, "high": None, "low": None}
    vendor = [
        row,
        {**row, **half, "symbol": "005935"},
        {**row, "symbol": "005935", "date": date(2021, 1, 5), "high": 82_999},
        {**row, **none, "symbol": "000660", "volume": 0, "flags": 1},
        {**row, **none, "symbol": "000020"},
        {**row, "symbol": "005930", "date": date(2021, 3, 31)},
    ]
    official = [
        {**row, "value": 3_185_356_823_460, "source": "official"},
        {**row, "symbol": "005935", "market": "KOSDAQ GLOBAL", "source": "official"},
        {**row, "symbol": "005935", "date": date(2021, 1, 5), "source": "official"},
    ]
    listed = [
        {"symbol": s, "name": n, "market": "KOSPI", "holdout": False,
         "first_date": day, "last_date": last}
        for s, n, last in (
            ("000020", None, day), ("000660", "SK하이닉스", day),
            ("005930", "삼성전자", date(2021, 3, 31)), ("005935", "삼성전자우", date(2021, 3, 31)),
        )
    ]  # fmt: skip
    for file, rows in (
        ("krx_daily", vendor), ("krx_cross_section", official), ("krx_symbols", listed)
    ):  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{file}.parquet")
    index = {"date": datetime(2021, 1, 4), "symbol": "KOSPI", "close": 2944.45, "source": "KRX"}  # noqa: DTZ001
    absent = dict.fromkeys(("open", "high", "low", "volume"))
    pq.write_table(pa.Table.from_pylist([index | absent]), tmp_path / "index_daily.parquet")
    return RecordedSource(tmp_path)


def test_small_folder_korean_rows(small_folder: RecordedSource):
    """Equal closes are raw and official; a halved history is adjusted; halts have no open."""
    bars = small_folder.daily(Market.KRX, None, *ALL)
    rows = {(bar.symbol, bar.session.date()): bar for bar in bars.itertuples()}
    day = date(2021, 1, 4)

    samsung = rows["005930", day]
    assert (samsung.basis, samsung.source, samsung.value) == ("raw", "official", 3_185_356_823_460)
    assert rows["005930", date(2021, 3, 31)].basis == "raw"
    preferred = rows["005935", day]
    assert (preferred.basis, preferred.source, preferred.close) == ("adjusted", "gyu", 41_500)
    assert (preferred.exchange, rows["005935", date(2021, 1, 5)].exchange) == ("KOSDAQ", "KOSPI")
    assert rows["005935", date(2021, 1, 5)].basis == "raw"
    halt = rows["000660", day]
    assert (halt.open, halt.high, halt.low, halt.close, halt.basis) == (0, 0, 0, 83_000, "adjusted")
    assert ("000020", day) not in rows
    one = small_folder.daily(Market.KRX, ["000660"], day, day)
    assert one["symbol"].tolist() == ["000660"]


def test_small_folder_lives(small_folder: RecordedSource):
    """A symbol that the official rows no longer list is delisted at its last close."""
    listed = {item.symbol: item for item in small_folder.instruments(Market.KRX)}

    assert listed["000660"].delisted == date(2021, 1, 4)
    assert listed["005930"].delisted is None
    assert listed["005930"].name == "삼성전자"
    (first, second) = small_folder.actions(Market.KRX, *ALL)
    assert (second.symbol, second.ex_date, second.amount) == ("000660", date(2021, 1, 5), 83_000)
    assert first.symbol == "000020"
    assert small_folder.sessions(Market.KRX)[0] == date(2021, 1, 4)
    assert small_folder.index(Market.KRX, *ALL)["close"].tolist() == [2944.45]


def test_small_folder_us_rows(small_folder: RecordedSource):
    """Single-precision dollars come back as the exact ten-thousandths they were."""
    bars = small_folder.daily(Market.US, None, *ALL)
    exact = EMBEDDED.daily(Market.US, ["IBM", "GOOG"], date(2005, 1, 3), date(2005, 1, 31))

    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(bars[name], exact[name])
    assert set(bars["basis"]) == {"adjusted"}
    minutes = small_folder.minute(Market.US, date(2005, 1, 3), ["IBM", "GOOG"])
    assert minutes["ts"].tolist() == [datetime(2005, 1, 3, 14, 30, tzinfo=UTC)]
    assert minutes["close"].tolist() == [exact.loc[exact["symbol"] == "IBM", "close"].iloc[0]]
    assert small_folder.minute_sessions(Market.US)[0] == date(2005, 1, 3)
    assert [item.symbol for item in small_folder.instruments(Market.US)] == ["GOOG", "IBM"]
