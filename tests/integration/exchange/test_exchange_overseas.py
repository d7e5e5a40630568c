"""The US services of the exchange over bare HTTP: ids, names and fields as KIS documents them."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from exchange_client import ACCOUNT, Client

from trading.domain.instrument import Market
from trading.store.datasets import RecordedSource
from trading.wire.endpoints import BY_PATH, Profile

PAGE_200 = {"CTX_AREA_FK200": "", "CTX_AREA_NK200": ""}
SHARE = {"AUTH": "", "EXCD": "NAS", "SYMB": "AAPL"}
RANK = {"KEYB": "", "AUTH": "", "EXCD": "NAS", "NDAY": "0", "VOL_RANG": "0"}
DAYS = {"INQR_STRT_DT": "20050225", "INQR_END_DT": "20050225"}
TRADING = "/uapi/overseas-stock/v1/trading/"
PRICES = "/uapi/overseas-price/v1/quotations/"
RANKING = "/uapi/overseas-stock/v1/ranking/"
# Every query with recorded content, and a request that finds some.
QUERIES = {
    PRICES + "price": SHARE,
    PRICES + "price-detail": SHARE,
    PRICES + "multprice": {
        "AUTH": "", "NREC": "2", "EXCD_01": "NAS", "SYMB_01": "AAPL",
        "EXCD_02": "NYS", "SYMB_02": "IBM",
    },
    PRICES + "inquire-asking-price": SHARE,
    PRICES + "dailyprice": {**SHARE, "GUBN": "0", "BYMD": "", "MODP": "0"},
    PRICES + "inquire-daily-chartprice": {
        "FID_COND_MRKT_DIV_CODE": "N", "FID_INPUT_ISCD": "SPX",
        "FID_INPUT_DATE_1": "20050201", "FID_INPUT_DATE_2": "20050225",
        "FID_PERIOD_DIV_CODE": "D",
    },
    PRICES + "inquire-time-itemchartprice": {
        **SHARE, "NMIN": "1", "PINC": "1", "NEXT": "", "NREC": "120", "FILL": "", "KEYB": "",
    },
    PRICES + "inquire-search": {
        "AUTH": "", "EXCD": "NAS", "CO_YN_VOLUME": "1", "CO_ST_VOLUME": "1", "CO_EN_VOLUME": "",
        "KEYB": "",
    },
    PRICES + "search-info": {"PRDT_TYPE_CD": "512", "PDNO": "AAPL"},
    RANKING + "trade-vol": RANK,
    RANKING + "trade-pbmn": RANK,
    RANKING + "updown-rate": {**RANK, "GUBN": "1"},
    "/uapi/overseas-stock/v1/quotations/countries-holiday": {
        "TRAD_DT": "20050225", "CTX_AREA_NK": "", "CTX_AREA_FK": "",
    },
    TRADING + "inquire-nccs": {**ACCOUNT, "OVRS_EXCG_CD": "NASD", "SORT_SQN": "DS", **PAGE_200},
    TRADING + "inquire-balance": {
        **ACCOUNT, "OVRS_EXCG_CD": "NASD", "TR_CRCY_CD": "USD", **PAGE_200,
    },
    TRADING + "inquire-present-balance": {
        **ACCOUNT, "WCRC_FRCR_DVSN_CD": "02", "NATN_CD": "840", "TR_MKET_CD": "00",
        "INQR_DVSN_CD": "00",
    },
    TRADING + "inquire-paymt-stdr-balance": {
        **ACCOUNT, "BASS_DT": "20050302", "WCRC_FRCR_DVSN_CD": "02", "INQR_DVSN_CD": "00",
    },
    TRADING + "inquire-psamount": {
        **ACCOUNT, "OVRS_EXCG_CD": "NASD", "OVRS_ORD_UNPR": "90", "ITEM_CD": "AAPL",
    },
    TRADING + "foreign-margin": ACCOUNT,
    TRADING + "inquire-period-profit": {
        **ACCOUNT, "OVRS_EXCG_CD": "", "NATN_CD": "", "CRCY_CD": "USD", "PDNO": "", **DAYS,
        "WCRC_FRCR_DVSN_CD": "01", **PAGE_200,
    },
    TRADING + "inquire-period-trans": {
        **ACCOUNT, "ERLM_STRT_DT": "20050225", "ERLM_END_DT": "20050225", "OVRS_EXCG_CD": "",
        "PDNO": "", "SLL_BUY_DVSN_CD": "00", "LOAN_DVSN_CD": "", "CTX_AREA_FK100": "",
        "CTX_AREA_NK100": "",
    },
}  # fmt: skip
# Documented as containers or ranges, or missing from KIS's own recorded answers.
NOT_FIELDS = {"thdt_buy_ccld_frcr_amt{}", "mod_yn", "prdy_vol"}


def documented(fields: Mapping[str, Any], path: str) -> set[str]:
    """Return the names of an answer's fields, ranges such as ``pbid1..pbid10`` taken apart."""
    rows = next(row for row in fields["rest"] if row["path"] == path)["response"]
    names: set[str] = set()
    for container, name, *_ in rows:
        if ".." in name:
            stem = name.split("..")[0].rstrip("1")
            names |= {f"{stem}{number}" for number in range(1, 11)}
        elif container and container != "thdt_buy_ccld_frcr_amt{}":
            names.add(name.lower())
    return names


def answered(value: Any) -> set[str]:
    """Return every name in an answer, at any depth."""
    if isinstance(value, Mapping):
        inner = (answered(one) for one in value.values())
        return {str(name).lower() for name in value}.union(*inner)
    if isinstance(value, list):
        return set().union(*(answered(one) for one in value))
    return set()


@pytest.fixture
def traded(start_exchange) -> Client:
    """Return a client at the open of 2005-02-25 that bought, sold, and waits with an order."""
    client = start_exchange(calls_per_second=1000)
    client.open("2005-02-25")
    client.order("buy", "AAPL", 10, "95.00")
    client.order("buy", "IBM", 3, "95.00")
    client.order("buy", "AAPL", 1, "50.00")
    client.step()
    client.order("sell", "AAPL", 4, "80.00")
    return client


@pytest.mark.parametrize("path", QUERIES)
def test_every_documented_field_is_answered(path, traded, shared_data):
    """A call with recorded content names every field of KIS's document, known or blank."""
    fields = json.loads((shared_data.parent / "kis" / "fields.json").read_text(encoding="utf-8"))

    body = traded.get(path, BY_PATH[path].real[""], QUERIES[path]).json()

    assert body["rt_cd"] == "0"
    assert documented(fields, path) - answered(body) - NOT_FIELDS == set()


def test_every_us_endpoint_is_served(traded):
    """Nothing of the client's table is unknown to the exchange; empty is an answer."""
    unknown = []
    for path, endpoint in BY_PATH.items():
        if not endpoint.name.startswith("us_") or endpoint.method == "POST":
            continue
        body = traded.get(path, endpoint.real[""], QUERIES.get(path, RANK)).json()
        if body["msg_cd"] in ("MCA00124", "OPSQ0002", "EGW00002"):
            unknown.append(path)

    assert unknown == []


def test_ids_of_old_clients(traded):
    """The ids of the night ledger are taken, and it says which ledger is open (mojito asks)."""
    balance = QUERIES[TRADING + "inquire-balance"]

    ledger = traded.get(TRADING + "dayornight", "JTTT3010R", ACCOUNT).json()
    held = traded.get(TRADING + "inquire-balance", "JTTT3012R", balance).json()
    bought = traded.order("buy", "AAPL", 1, "60.00", tr_id="JTTT1002U")
    sold = traded.order("sell", "AAPL", 1, "95.00", tr_id="JTTT1006U")

    assert ledger["output"]["PSBL_YN"] == "Y"
    assert [row["ovrs_cblc_qty"] for row in held["output1"]] == ["6", "3"]
    assert bought["rt_cd"] == sold["rt_cd"] == "0"


def test_ids_that_paper_does_not_have(start_exchange):
    """The id of the US sale with another first letter is no paper id: 90000000, as at KIS."""
    client = start_exchange(profile=Profile.PAPER, calls_per_second=1000)
    client.open("2005-02-25")

    wrong_sale = client.order("sell", "AAPL", 1, "95.00", tr_id="VTTT1006U")
    real_sale = client.order("sell", "AAPL", 1, "95.00", tr_id="TTTT1006U")
    old_listing = client.get(TRADING + "inquire-nccs", "VTTS3018R", {}).json()
    listing = client.get(TRADING + "inquire-nccs", "TTTS3018R", {}).json()

    assert (wrong_sale["msg_cd"], old_listing["msg_cd"]) == ("90000000", "90000000")
    assert (real_sale["msg_cd"], listing["msg_cd"]) == ("EGW02006", "EGW02006")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"AAPL", "IBM"}),
        ({"PDNO": "IBM"}, {"IBM"}),
        ({"OVRS_EXCG_CD": "NYSE"}, {"IBM"}),
        ({"OVRS_EXCG_CD": "%"}, {"AAPL", "IBM"}),
        ({"SLL_BUY_DVSN": "01"}, {"AAPL"}),
        ({"CCLD_NCCS_DVSN": "02"}, {"AAPL"}),
    ],
)
def test_listings_are_filtered(traded, changes, expected):
    """Symbol, exchange, side and state select rows; NASD is the whole US here."""
    params = {
        **ACCOUNT, "PDNO": "%", "ORD_STRT_DT": "20050225", "ORD_END_DT": "20050225",
        "SLL_BUY_DVSN": "00", "CCLD_NCCS_DVSN": "00", "OVRS_EXCG_CD": "NASD", "SORT_SQN": "DS",
        "ORD_DT": "", "ORD_GNO_BRNO": "", "ODNO": "", **PAGE_200, **changes,
    }  # fmt: skip

    body = traded.get(TRADING + "inquire-ccnl", "TTTS3035R", params).json()

    assert {row["pdno"] for row in body["output"]} == expected


def test_foreign_exchanges_are_refused_in_words(traded):
    """A code that exists but is not American, and one that exists nowhere."""
    hong_kong = traded.get(PRICES + "price", "HHDFS00000300", {**SHARE, "EXCD": "HKS"}).json()
    nowhere = traded.get(PRICES + "price", "HHDFS00000300", {**SHARE, "EXCD": "XXX"}).json()
    daytime = traded.get(PRICES + "price", "HHDFS00000300", {**SHARE, "EXCD": "BAQ"}).json()

    assert (hong_kong["msg_cd"], nowhere["msg_cd"]) == ("OPSQ2001", "OPSQ2001")
    assert "HKS" in hong_kong["msg1"] and "XXX" in nowhere["msg1"]
    assert daytime["output"]["rsym"] == "DNASAAPL"


def test_minutes_of_past_days_are_those_recorded(start_exchange, shared_data):
    """Recorded five-minute bars are paged back over midnights; minutes were not recorded."""
    source = RecordedSource(shared_data)
    client = start_exchange(history=source, calls_per_second=1000)
    client.open("2024-03-15")
    path, tr_id = PRICES + "inquire-time-itemchartprice", "HHDFS76950200"
    recorded = source.minute(Market.US, date(2024, 3, 14), ["AAPL"]).iloc[::-1]

    def ask(minutes, key):
        more = {"NMIN": minutes, "PINC": "1", "NEXT": "1", "NREC": "120", "FILL": "", "KEYB": key}
        return client.get(path, tr_id, {**SHARE, **more}).json()

    first = ask("5", "20240314160000")
    hours = ask("60", "20240314160000")["output2"]
    single = ask("1", "20240314160000")

    rows = first["output2"]
    assert (len(rows), len(recorded), first["output1"]["next"]) == (120, 78, "1")
    assert [row["xymd"] for row in rows] == ["20240314"] * 78 + ["20240313"] * 42
    assert [row["last"] for row in rows[:78]] == [
        f"{close / 10_000:.4f}" for close in recorded["close"]
    ]
    # 15:55 in New York, on the first days of its summer time, is 04:55 in Seoul.
    assert (rows[0]["xhms"], rows[0]["kymd"], rows[0]["khms"]) == ("155500", "20240315", "045500")
    assert [row["xhms"] for row in hours[:7]] == [
        "153000", "143000", "133000", "123000", "113000", "103000", "093000",
    ]  # fmt: skip
    assert sum(int(row["evol"]) for row in hours[:7]) == int(recorded["volume"].sum())
    assert (single["output2"], single["output1"]["next"]) == ([], "0")
