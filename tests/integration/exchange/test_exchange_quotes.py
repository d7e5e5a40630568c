"""What the local exchange tells about prices: only what was recorded, only up to now."""

from typing import Any

import pytest
from exchange_client import Client

QUOTES = "/uapi/overseas-price/v1/quotations/"
AAPL = {"AUTH": "", "EXCD": "NAS", "SYMB": "AAPL"}


@pytest.fixture
def market(exchange: Client) -> Client:
    """Return a client before the open of the split day, 2005-02-28."""
    exchange.open("2005-02-28")
    return exchange


def daily(client: Client, **params: str) -> list[dict[str, str]]:
    """Return daily bars of AAPL, newest first."""
    body = {**AAPL, "GUBN": "0", "BYMD": "", "MODP": "0", **params}
    rows: list[dict[str, str]] = client.get(QUOTES + "dailyprice", "HHDFS76240000", body).json()[
        "output2"
    ]
    return rows


def output(client: Client, name: str, tr_id: str, **params: str) -> Any:
    """Return the main output of a quotation of AAPL."""
    body = client.get(QUOTES + name, tr_id, {**AAPL, **params}).json()
    return body.get("output", body.get("output2"))


def test_before_the_open_the_price_is_the_base_price(market: Client):
    """Half of Friday's 88.99 after the 2:1 split; nothing has traded."""
    price = output(market, "price", "HHDFS00000300")

    assert (price["base"], price["last"], price["tvol"]) == ("44.4950", "44.4950", "0")


def test_the_price_follows_the_prints(market: Client):
    """After the open: opening price, a quarter of the day's volume, the day's range so far."""
    market.step()

    price = output(market, "price", "HHDFS00000300")
    detail = output(market, "price-detail", "HHDFS76200200")

    assert (price["last"], price["tvol"]) == ("44.6800", str(11_635_900 // 4))
    assert (detail["open"], detail["high"], detail["low"]) == ("44.6800",) * 3
    assert detail["e_hogau"] == "0.0100"


def test_an_unknown_share_has_a_blank_price(market: Client):
    """Not an error: KIS answers blanks."""
    answers = [
        output(market, "price", "HHDFS00000300", SYMB="NONE"),
        output(market, "price-detail", "HHDFS76200200", SYMB="FB"),
        output(market, "price", "HHDFS00000300", EXCD="NYS"),
    ]

    assert [answer["last"] for answer in answers] == ["", "", ""]
    assert daily(market, SYMB="NONE") == []


def test_daily_bars_end_before_an_open_session(market: Client):
    """Before the open the newest bar is Friday's; a page has 100; it goes on from a date."""
    rows = daily(market)
    older = daily(market, BYMD=rows[-1]["xymd"])

    assert len(rows) == 100
    assert (rows[0]["xymd"], rows[0]["clos"]) == ("20050225", "88.9900")
    assert older[0] == rows[-1] | {key: older[0][key] for key in ("sign", "diff", "rate")}


def test_adjusted_bars_know_the_splits_up_to_today(market: Client):
    """Friday's close is restated on the split's day: half the price, twice the volume."""
    [friday, *_] = daily(market, MODP="1")

    assert (friday["clos"], friday["tvol"]) == ("44.4950", str(2 * 16_348_400))


def test_todays_bar_runs_and_then_is_the_recorded_one(market: Client):
    """While the market is open the bar holds the prints so far; after it, the record."""
    market.step()
    running = daily(market)[0]
    market.finish()
    closed = daily(market)[0]

    assert (running["xymd"], running["clos"], running["tvol"]) == (
        "20050228",
        "44.6800",
        "2908975",
    )
    assert [closed[key] for key in ("open", "high", "low", "clos")] == [
        "44.6800",
        "45.1400",
        "43.9600",
        "44.8600",
    ]
    assert closed["tvol"] == "11635900"


def test_minute_bars_are_made_of_the_prints(market: Client):
    """After the open there is one minute bar, the 09:30 one; the future has none."""
    params = {
        "NMIN": "1",
        "PINC": "0",
        "NEXT": "",
        "NREC": "120",
        "FILL": "",
        "KEYB": "",
    }
    market.step()

    rows = output(market, "inquire-time-itemchartprice", "HHDFS76950200", **params)

    assert [(row["xhms"], row["last"]) for row in rows] == [("093000", "44.6800")]


def test_a_book_was_never_recorded(market: Client):
    """Its levels are zeros, as KIS writes a level that does not exist."""
    body = market.get(QUOTES + "inquire-asking-price", "HHDFS76200100", AAPL).json()
    unknown = market.get(
        QUOTES + "inquire-asking-price", "HHDFS76200100", {**AAPL, "SYMB": "NONE"}
    ).json()

    assert body["rt_cd"] == "0" and body["output1"]["last"] == "44.4950"
    levels = body["output2"]
    first = levels[0] if isinstance(levels, list) else levels
    assert first["pbid1"] == first["pask10"] == "0.0000"
    assert first["vbid1"] == first["vask10"] == "0"
    assert unknown["output2"] == []


def test_the_ranking_is_by_volume(market: Client):
    """Before the open by Friday's volumes: MSFT led GOOG and AAPL; IBM is on NYSE."""
    params = {"EXCD": "NAS", "KEYB": "", "AUTH": "", "NDAY": "0", "PRC1": "", "PRC2": ""}
    path = "/uapi/overseas-stock/v1/ranking/trade-vol"

    before = market.get(path, "HHDFS76310010", {**params, "VOL_RANG": "0"}).json()["output2"]
    market.step()
    after = market.get(path, "HHDFS76310010", {**params, "VOL_RANG": "0"}).json()["output2"]
    search = {"AUTH": "", "EXCD": "NAS", "CO_YN_VOLUME": "1", "CO_ST_VOLUME": "10000000"}
    found = market.get(QUOTES + "inquire-search", "HHDFS76410000", search).json()["output2"]

    assert [row["symb"] for row in before] == ["MSFT", "GOOG", "AAPL"]
    assert before[0]["tvol"] == "62467700"
    assert after[0]["tvol"] == str(82_728_000 // 4)
    assert [row["symb"] for row in found] == ["MSFT"]


def test_settlement_dates_and_holidays(market: Client):
    """T+3 in 2005; nothing is listed for a Sunday."""
    path = "/uapi/overseas-stock/v1/quotations/countries-holiday"
    days = [
        market.get(path, "CTOS5011R", {"TRAD_DT": day, "CTX_AREA_NK": "", "CTX_AREA_FK": ""})
        for day in ("20050228", "20050227")
    ]

    monday, sunday = (answer.json()["output"] for answer in days)
    assert monday[0]["acpl_sttl_dt"] == "20050303"
    assert sunday == []


def test_nothing_is_known_before_the_first_session(exchange: Client):
    """A venue that never opened has no prices, no bars and takes no orders."""
    exchange.login()

    assert output(exchange, "price", "HHDFS00000300")["last"] == ""
    assert daily(exchange) == []
    assert exchange.order("buy", "AAPL", 1, "50.00")["msg_cd"] == "APBK0918"
    assert exchange.holdings() == {}
