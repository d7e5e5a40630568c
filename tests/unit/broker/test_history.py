"""What KIS tells of companies and the calendar, in the shapes of the store."""

import asyncio
import io
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from raw_server import RawServer, http
from scripted_server import ScriptedServer

from trading.broker.client import KisClient
from trading.broker.history import KisBarSource
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.store import schema
from trading.wire import codes, domestic_company, domestic_rankings
from trading.wire.domestic_company import BalanceSheet, FinancialRatio, IncomeStatement
from trading.wire.endpoints import BY_PATH, Profile
from trading.wire.fields import write
from trading.wire.records import HolidayRow, RankRow

# 10:00 in Seoul on Friday 2024-05-17.
NOW = datetime(2024, 5, 17, 1, 0, tzinfo=UTC)
TODAY = date(2024, 5, 17)
TOKEN = {"access_token": "t", "access_token_token_expired": "2024-05-18 10:00:00"}
SAMSUNG = Instrument(symbol="005930", exchange=Exchange.KOSPI, name="삼성전자")


def listed(symbol, isin, name, **fields):
    """Return one line of the KOSPI file; (offset, width) as PROTOCOL 14 lists them."""
    places = {
        "group": (0, 2), "halted": (60, 1), "delisting": (61, 1), "administrative": (62, 1),
        "warning": (63, 2), "listed": (105, 8), "shares": (113, 15), "sales": (163, 9),
        "operating_profit": (172, 9), "net_income": (190, 5), "roe": (195, 9),
        "stated": (204, 8), "market_cap": (212, 9),
    }  # fmt: skip
    tail = [" "] * 227
    for field, value in {"group": "ST", "halted": "N", **fields}.items():
        start, width = places[field]
        tail[start : start + width] = value.rjust(width)
    return (
        f"{symbol:<9}{isin:<12}".encode() + name.encode("cp949").ljust(40) + "".join(tail).encode()
    )


# Samsung: 5,969,782,550 shares; sales of the first quarter of 2024 71,915.6 billion won.
KOSPI = b"\n".join(
    [
        listed("005930", "KR7005930003", "삼성전자", listed="19750611", shares="5969782",
               sales="719156", operating_profit="66060", roe="2.02", stated="20240331",
               market_cap="4632551", warning="02", halted="Y"),
        listed("069500", "KR7069500007", "KODEX 200", group="EF"),
    ]
)  # fmt: skip
KOSDAQ = listed("247540", "KR7247540008", "에코프로비엠")[: 61 + 221]


def packed(name, content):
    """Return a zip archive with one file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    return archive.getvalue()


@pytest.fixture
def source(tmp_path):
    """Return a function that makes a source of scripted answers, and its server."""
    things = []

    def make(answers, *, profile=Profile.REAL, published=None):
        def script(path, fields, headers):
            if path == "/oauth2/tokenP":
                return 200, TOKEN, {}
            return 200, codes.success(answers[BY_PATH[path].name]), {}

        server = ScriptedServer(script)
        files = RawServer(
            lambda path: http(
                200,
                packed("kospi_code.mst", KOSPI)
                if "kospi" in path
                else packed("kosdaq_code.mst", KOSDAQ),
            ),
            close_after=True,
        )
        one = ProfileSettings(
            rest_base=server.base, ws_base="ws://127.0.0.1:9", calls_per_second=1000,
            reserved_for_cancel=0,
        )  # fmt: skip
        client = KisClient(
            KisSettings(
                profiles={Profile.REAL: one, Profile.PAPER: one}, master_base=files.base
            ),
            profile=profile, market=Market.KRX, instruments={"005930": SAMSUNG},
            credentials=Credentials(
                app_key="app-key", app_secret="app-secret", account="12345678-01", hts_id="hts"
            ),
            clock=ManualClock(NOW), cache_dir=tmp_path,
        )  # fmt: skip
        things.extend([(client, server, files)])
        return KisBarSource(client, published=published), server

    yield make
    for client, server, files in things:
        asyncio.run(client.close())
        server.close()
        files.close()


def rows_of(source, kind, symbols=None):
    """Return the rows of a kind in the agreed shape."""
    return schema.conform(
        source.table(kind, Market.KRX, symbols, TODAY, TODAY), schema.KINDS[kind]
    ).to_pylist()


def test_symbol_files_tell_state_and_figures(source):
    """Halts, warnings and market cap of the day; the last figures, known from that day on."""
    kis, _ = source({})

    (state,) = rows_of(kis, "listings")
    figures = rows_of(kis, "fundamentals")

    assert (state["session"], state["symbol"], state["exchange"]) == (TODAY, "005930", "KOSPI")
    assert (state["is_halted"], state["is_administrative"]) == (True, False)
    assert (state["warning"], state["shares"]) == ("투자경고", 5_969_782_000)
    assert state["market_cap"] == 463_255_100_000_000
    assert {row["metric"]: row["value"] for row in figures} == {
        "sales": 71_915_600_000_000.0,
        "operating_profit": 6_606_000_000_000.0,
        "roe": 2.02,
    }
    assert {(row["period"], row["published"], row["rule"]) for row in figures} == {
        (date(2024, 3, 31), TODAY, False)
    }
    assert {row["fetched_at"] for row in figures} == {NOW}


def test_a_name_in_liquidation(source, monkeypatch):
    """The days before a delisting are graver than any warning, and are told instead of it."""
    line = listed("005930", "KR7005930003", "삼성전자", warning="02", delisting="Y")
    monkeypatch.setitem(globals(), "KOSPI", line)
    kis, _ = source({})

    (state,) = rows_of(kis, "listings")

    assert state["warning"] == "정리매매"


def test_statements_of_named_symbols(source):
    """Yearly statements are in won and count as known by the rule; without one there are none."""
    answers = {
        "krx_financial_ratio": {
            "output": [write(FinancialRatio(period="202312", earnings_per_share=Decimal(2131)))]
        },
        "krx_income_statement": {
            "output": [write(IncomeStatement(period="202312", sales=Decimal("2589354.94")))]
        },
        "krx_balance_sheet": {
            "output": [write(BalanceSheet(period="202402", assets=Decimal(4559060)))]
        },
    }
    by_rule, _ = source(answers, published=lambda period: date(period.year + 1, 4, 22))
    without, server = source({})

    figures = {
        row["metric"]: (row["period"], row["published"], row["value"])
        for row in rows_of(by_rule, "fundamentals", ["005930"])
        if row["rule"]
    }

    assert figures == {
        "eps": (date(2023, 12, 31), date(2024, 4, 22), 2131.0),
        "sales": (date(2023, 12, 31), date(2024, 4, 22), 258_935_494_000_000.0),
        "total_assets": (date(2024, 2, 29), date(2025, 4, 22), 455_906_000_000_000.0),
    }
    assert all(not row["rule"] for row in rows_of(without, "fundamentals", ["005930"]))
    assert server.requests == []


def test_holidays_and_rankings(source):
    """The calendar from today on; each ranking with what it ranks by."""
    answers = {
        "krx_holidays": domestic_company.render_holidays(
            [HolidayRow(day=TODAY, is_open=True), HolidayRow(day=date(2024, 5, 18), is_open=False)]
        ),
        "krx_volume_rank": domestic_rankings.render_volume_rank(
            [RankRow(rank=1, symbol="005930", name="", price=2, previous_close=1, volume=30)]
        ),
        "krx_fluctuation_rank": domestic_rankings.render_fluctuation(
            [RankRow(rank=1, symbol="005930", name="", price=103, previous_close=100, volume=30)]
        ),
        "krx_cap_rank": {"output": []},
    }
    kis, _ = source(answers)

    holidays = rows_of(kis, "holidays")
    rankings = rows_of(kis, "rankings")

    assert [(row["day"], row["is_open"]) for row in holidays] == [
        (TODAY, True), (date(2024, 5, 18), False),
    ]  # fmt: skip
    assert {(r["ranking"], r["rank"], r["symbol"], r["value"]) for r in rankings} == {
        ("volume", 1, "005930", 30.0),
        ("rise", 1, "005930", 3.0),
        ("fall", 1, "005930", 3.0),
    }
    assert {row["session"] for row in rankings} == {TODAY}


def test_a_paper_account_offers_no_calendar(source):
    """모의투자 lacks holidays, rankings and past minutes; symbol files need no account."""
    kis, _ = source({}, profile=Profile.PAPER)

    assert kis.kinds(Market.KRX) == {
        "instruments", "index", "daily", "listings", "fundamentals",
    }  # fmt: skip
