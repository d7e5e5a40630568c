"""What the configuration knows of instruments, and which were there on a day."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading.domain.instrument import Exchange, Instrument, Market
from trading.errors import ConfigError
from trading.store import schema
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.lake import Lake
from trading.store.universe import (
    Sectors,
    Survival,
    members,
    read_universe,
    sectors,
    shipped_universe,
    standings,
    survivorship,
)
from trading.strategies.screener import Standing


def test_shipped_facts():
    """The five embedded stocks have an exchange, a name and a sector."""
    universe = shipped_universe()

    assert universe.exchange("IBM") is Exchange.NYSE
    for symbol in ("AAPL", "FB", "GOOG", "MSFT"):
        assert universe.exchange(symbol) is Exchange.NASDAQ
        assert universe.instruments[symbol].sector
    assert universe.exchanges[Market.KRX] == (Exchange.KOSPI, Exchange.KOSDAQ)
    with pytest.raises(ConfigError, match="거래소를 알 수 없음"):
        universe.exchange("NONE")


def test_wrong_file_is_named(tmp_path: Path):
    """A missing file, an unknown key and a wrong exchange are configuration errors."""
    path = tmp_path / "universe.yaml"

    with pytest.raises(ConfigError, match="설정 파일이 없음"):
        read_universe(path)
    path.write_text("exchanges: {us: [NYSE]}\nbenchmark: {us: x}\nextra: 1\n")
    with pytest.raises(ConfigError, match="extra"):
        read_universe(path)
    path.write_text("exchanges: {us: [MOON]}\nbenchmark: {us: x}\n")
    with pytest.raises(ConfigError, match="exchanges"):
        read_universe(path)


# ---- membership ----------------------------------------------------------------------------


def embedded_lake(root: Path, *instruments: Instrument) -> Lake:
    """Return a lake with the embedded stocks, and more instruments without bars."""
    source = EmbeddedSource()
    lake = Lake(root)
    lake.upsert(
        Market.US, "daily", source.daily(Market.US, None, date(2004, 7, 1), date(2004, 9, 30))
    )
    lake.upsert_instruments(Market.US, [*source.instruments(Market.US), *instruments], "test")
    return lake


def symbols_of(found: list[Instrument]) -> list[str]:
    return [item.symbol for item in found]


def test_members_are_those_that_were_listed(tmp_path: Path):
    """GOOG came on 2004-08-19; a name that left on 2004-09-01 was a member until that day."""
    gone = Instrument(
        symbol="LEFT",
        exchange=Exchange.NYSE,
        name="Left",
        sector="Energy",
        listed=date(2000, 1, 3),
        delisted=date(2004, 9, 1),
    )
    lake = embedded_lake(tmp_path, gone)

    before, first, last, after = (
        members(lake, Market.US, day)
        for day in (date(2004, 8, 18), date(2004, 8, 19), date(2004, 9, 1), date(2004, 9, 2))
    )

    assert symbols_of(before) == ["AAPL", "IBM", "LEFT", "MSFT"]
    assert symbols_of(first) == symbols_of(last) == ["AAPL", "GOOG", "IBM", "LEFT", "MSFT"]
    assert symbols_of(after) == ["AAPL", "GOOG", "IBM", "MSFT"]
    # Neither its end nor its later sector was known while it was there.
    (left,) = [item for item in last if item.symbol == "LEFT"]
    assert (left.delisted, left.sector, left.name) == (None, None, "Left")


def test_what_comes_later_changes_no_membership(tmp_path: Path):
    """A lake that goes on for years answers for an old day as it did then."""
    lake = embedded_lake(tmp_path)
    then = members(lake, Market.US, date(2004, 9, 30))

    source = EmbeddedSource()
    later = source.daily(Market.US, None, date(2004, 10, 1), date(2013, 3, 1))
    lake.upsert(Market.US, "daily", later.assign(exchange="AMEX"))

    assert members(lake, Market.US, date(2004, 9, 30)) == then
    assert {i.exchange for i in members(lake, Market.US, date(2005, 1, 3))} == {Exchange.AMEX}


def test_a_transfer_between_boards(tmp_path: Path, shared_data: Path):
    """L&F (066970) moved from KOSDAQ to KOSPI on 2024-01-29 (KRX notice)."""
    source = RecordedSource(shared_data)
    lake = Lake(tmp_path)
    lake.upsert(
        Market.KRX,
        "daily",
        source.table("daily", Market.KRX, None, date(2024, 1, 2), date(2024, 2, 8)),
    )
    lake.upsert_instruments(Market.KRX, source.instruments(Market.KRX), "test")

    boards = [
        {item.symbol: item.exchange for item in members(lake, Market.KRX, day)}["066970"]
        for day in (date(2024, 1, 26), date(2024, 1, 29))
    ]

    assert boards == [Exchange.KOSDAQ, Exchange.KOSPI]


# ---- sectors -------------------------------------------------------------------------------


def sector_rows(*rows: tuple[str, date, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["symbol", "as_of", "sector"])
    return frame.assign(scheme="gics", source="test")


def test_sectors_as_of(tmp_path: Path):
    """Alphabet and Meta moved from technology to communication on 2018-09-24 (GICS)."""
    lake = Lake(tmp_path)
    lake.upsert(
        Market.US,
        "sectors",
        sector_rows(
            ("GOOG", date(2018, 9, 24), "Communication Services"),
            ("GOOG", date(2004, 8, 19), "Information Technology"),
            ("FB", date(2018, 9, 24), "Communication Services"),
        ),
    )

    def on(day: date, **wanted: bool) -> Sectors:
        return sectors(lake, Market.US, day, scheme="gics", **wanted)

    assert on(date(2018, 9, 21)).of == {"GOOG": "Information Technology"}
    assert on(date(2018, 9, 24)).of == dict.fromkeys(("GOOG", "FB"), "Communication Services")
    asked = on(date(2018, 9, 21), lookahead=True)
    assert asked.of == {"GOOG": "Information Technology", "FB": "Communication Services"}
    assert asked.lookahead == {"FB"}
    assert on(date(2018, 9, 24), lookahead=True).lookahead == frozenset()
    assert on(date(2000, 1, 3)).of == {}


# ---- designations --------------------------------------------------------------------------


def listing(day: date, symbol: str, administered: bool | None, warning: str | None) -> dict:
    return {
        "session": day, "symbol": symbol, "exchange": "KOSDAQ", "name": symbol, "is_halted": False,
        "is_administrative": administered, "warning": warning, "market_cap": None, "shares": None,
        "source": "test", "fetched_at": None,
    }  # fmt: skip


def test_a_designation_holds_until_the_next_listing():
    """The last listing counts, the gravest of what it says, for a month at most, never earlier."""
    days = np.arange("2024-01-02", "2024-02-20", dtype="datetime64[D]")
    rows = [
        listing(date(2024, 1, 3), "A", True, None),
        listing(date(2024, 1, 5), "A", False, "투자경고"),
        listing(date(2024, 1, 9), "A", False, None),
        listing(date(2024, 1, 4), "B", True, "정리매매"),
        listing(date(2024, 1, 4), "C", None, None),
        listing(date(2024, 2, 25), "C", True, None),
        listing(date(2024, 1, 4), "ELSE", True, None),
    ]
    table = schema.conform(pd.DataFrame(rows), schema.LISTINGS)

    got = standings(table, days, ("A", "B", "C"))

    a, b, c = got.T.tolist()
    unknown, normal = Standing.UNKNOWN, Standing.NORMAL
    administered, warned = Standing.ADMINISTRATIVE, Standing.WARNING
    assert a[:9] == [unknown, administered, administered, *[warned] * 4, normal, normal]
    # 2024-01-09 and 31 days: to 2024-02-09.
    assert a[38:40] == [normal, unknown]
    assert b[:3] == [unknown, unknown, Standing.LIQUIDATION]
    assert set(c) == {unknown}
    assert (standings(table.slice(0, 0), days, ("A",)) == unknown).all()


def test_designations_know_no_future():
    """Later sessions and later listings change nothing."""
    days = np.arange("2024-01-02", "2024-02-20", dtype="datetime64[D]")
    rows = [
        listing(date(2024, 1, 1) + timedelta(days=7 * k), "A", k % 2 == 0, None) for k in range(7)
    ]
    table = schema.conform(pd.DataFrame(rows), schema.LISTINGS)
    whole = standings(table, days, ("A",))

    for n in (1, 8, 20, 40):
        known = schema.conform(
            pd.DataFrame([row for row in rows if row["session"] <= days[n - 1].astype(object)]),
            schema.LISTINGS,
        )
        np.testing.assert_array_equal(standings(known, days[:n], ("A",)), whole[:n])


# ---- survivorship --------------------------------------------------------------------------


def market_of(names: int, left: list[date]) -> list[Instrument]:
    """Return a market of so many names, of which some left on the given days."""
    endings = [*left, *[None] * (names - len(left))]
    return [
        Instrument(
            symbol=f"{number:06}",
            exchange=Exchange.KOSPI,
            listed=date(2010, 1, 4),
            delisted=day,
        )
        for number, day in enumerate(endings)
    ]


def spread(year: int, count: int) -> list[date]:
    return [date(year, 1, 4) + timedelta(days=7 * number) for number in range(count)]


@pytest.mark.parametrize(
    ("names", "left", "first", "last", "verdict"),
    [
        # 1,000 names: at least five leave in a year.
        (1_000, spread(2015, 8) + spread(2016, 8), 2015, 2016, Survival.FREE),
        (1_000, [], 2015, 2016, Survival.BIASED),
        (1_000, spread(2016, 20), 2015, 2016, Survival.BIASED),
        # A vendor's record that ends for 119 names on one day is no evidence of losers.
        (1_000, [date(2015, 5, 18)] * 119, 2015, 2015, Survival.BIASED),
        (5, [], 2015, 2016, Survival.BIASED),
        (0, [], 2015, 2016, Survival.UNKNOWN),
    ],
)
def test_survivorship(names, left, first, last, verdict):
    """A whole market loses names in every year."""
    found = survivorship(Market.KRX, market_of(names, left), date(first, 1, 2), date(last, 12, 30))

    assert found.verdict is verdict
    assert found.reason


def test_survivorship_of_a_week_and_of_chosen_names():
    """A week proves nothing; names that a user picked were picked knowing how they fared."""
    everything = market_of(1_000, spread(2015, 30))
    week = date(2015, 1, 5), date(2015, 1, 9)
    year = date(2015, 1, 2), date(2015, 12, 30)

    assert survivorship(Market.KRX, everything, *week).verdict is Survival.UNKNOWN
    assert survivorship(Market.KRX, everything, *year).verdict is Survival.FREE
    chosen = survivorship(Market.KRX, everything, *year, are_chosen=True)
    assert chosen.verdict is Survival.BIASED


def test_recorded_files_are_biased(shared_data: Path):
    """Names delisted before 2022-05 are missing (MANIFEST); the US file is a vendor's choice."""
    source = RecordedSource(shared_data)

    for market in Market:
        found = survivorship(
            market, source.instruments(market), date(2010, 1, 4), date(2021, 12, 30)
        )
        assert found.verdict is Survival.BIASED
