"""The Korean services of the local exchange, over recorded KRX days (skipped without them).

Samsung Electronics (005930) on 2024-01-15, whose official raw prices are recorded, and on
whatever has all one-minute bars of 2025-09-10.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from exchange_client import HTS_ID, Client

from trading.domain.instrument import Market
from trading.store.datasets import RecordedSource
from trading.wire import stream
from trading.wire.endpoints import Profile

QUOTES = "/uapi/domestic-stock/v1/quotations/"
TRADE = "/uapi/domestic-stock/v1/trading/"
SAMSUNG = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "005930"}
BARS_DAY = date(2024, 1, 15)
MINUTES_DAY = date(2025, 9, 10)
MINUTES_OF_DAY = 381  # 09:00 to 15:19 and the closing auction
HOLDINGS = {
    "AFHR_FLPR_YN": "N",
    "OFL_YN": "",
    "INQR_DVSN": "02",
    "UNPR_DVSN": "01",
    "FUND_STTL_ICLD_YN": "N",
    "FNCG_AMT_AUTO_RDPT_YN": "N",
    "PRCS_DVSN": "00",
    "CTX_AREA_FK100": "",
    "CTX_AREA_NK100": "",
}


@pytest.fixture(scope="module")
def recorded() -> dict[Path, RecordedSource]:
    """Return the sources opened so far, so that each file is read once."""
    return {}


@pytest.fixture
def history(shared_data: Path, recorded: dict[Path, RecordedSource]) -> RecordedSource:
    """Return the recorded files as a source."""
    return recorded.setdefault(shared_data, RecordedSource(shared_data))


@pytest.fixture
def market(start_exchange: Callable[..., Client], history: RecordedSource) -> Client:
    """Return a client before the open of 2024-01-15."""
    client = start_exchange(market=Market.KRX, history=history)
    client.open(BARS_DAY.isoformat())
    return client


def bar_of(history: RecordedSource, day: date) -> dict[str, int]:
    """Return the recorded bar of Samsung."""
    return dict(history.daily(Market.KRX, ["005930"], day, day).iloc[0])


def order(client: Client, side: str, quantity: int, price: int, kind: str = "00") -> Any:
    """Place an order in Samsung with the old or new TR ids."""
    body = {
        **client.account,
        "PDNO": "005930",
        "ORD_DVSN": kind,
        "ORD_QTY": str(quantity),
        "ORD_UNPR": str(price),
    }
    tr_id = {"buy": "TTTC0012U", "sell": "TTTC0801U"}[side]
    return client.post(TRADE + "order-cash", tr_id, body).json()


def listed(client: Client, which: str = "00", newest_first: str = "01") -> Any:
    """Return the answer of the order listing."""
    params = {
        **client.account,
        "INQR_STRT_DT": "20240115",
        "INQR_END_DT": "20240115",
        "SLL_BUY_DVSN_CD": "00",
        "PDNO": "",
        "CCLD_DVSN": which,
        "INQR_DVSN": newest_first,
        "CTX_AREA_FK100": "",
        "CTX_AREA_NK100": "",
    }
    return client.get(TRADE + "inquire-daily-ccld", "TTTC0081R", params).json()


def test_a_korean_day_of_orders(market: Client, history: RecordedSource):
    """Limits of the day, a market order, a resting sale, its cancel, the balance and the sums."""
    bar = bar_of(history, BARS_DAY)
    price = market.get(QUOTES + "inquire-price", "FHKST01010100", SAMSUNG).json()["output"]
    upper, lower = int(price["stck_mxpr"]), int(price["stck_llam"])
    base = int(price["stck_sdpr"])

    refused = [
        order(market, "buy", 1, upper + int(price["aspr_unit"])),
        order(market, "buy", 1, base + 1),
        order(market, "buy", 1, base, kind="06"),
    ]
    bought = order(market, "buy", 10, 0, kind="01")
    market.step()
    # The upper limit is out of reach of this day's prints.
    resting = order(market, "sell", 10, upper)
    open_rows = market.get(
        TRADE + "inquire-psbl-rvsecncl",
        "TTTC0084R",
        {**market.account, "CTX_AREA_FK100": "", "CTX_AREA_NK100": "", "INQR_DVSN_1": "0"},
    ).json()["output"]
    canceled = market.post(
        TRADE + "order-rvsecncl",
        "TTTC0013U",
        {
            **market.account,
            "KRX_FWDG_ORD_ORGNO": resting["output"]["KRX_FWDG_ORD_ORGNO"],
            "ORGN_ODNO": resting["output"]["ODNO"],
            "ORD_DVSN": "00",
            "RVSE_CNCL_DVSN_CD": "02",
            "ORD_QTY": "0",
            "ORD_UNPR": "0",
            "QTY_ALL_ORD_YN": "Y",
        },
    ).json()

    assert 0.69 * base < lower < base < upper < 1.31 * base  # ±30 % since 2015-06-15
    assert [answer["msg_cd"] for answer in refused] == ["APBK0918"] * 3
    assert "가격제한폭" in refused[0]["msg1"] and "호가단위" in refused[1]["msg1"]
    assert bought["rt_cd"] == canceled["rt_cd"] == "0"
    assert [row["odno"] for row in open_rows] == [resting["output"]["ODNO"]]
    everything = listed(market)
    assert [row["tot_ccld_qty"] for row in everything["output1"]] == ["10", "0", "0"]
    assert everything["output1"][0]["tot_ccld_amt"] == str(10 * bar["open"])
    assert len(listed(market, which="01")["output1"]) == 1
    assert listed(market, which="02")["output1"] == []
    assert listed(market, newest_first="00")["output1"][0] == everything["output1"][2]
    commission = 10 * bar["open"] * 14 // 100_000  # 0.014 %, won cut off
    balance = market.get(
        TRADE + "inquire-balance", "TTTC8434R", {**market.account, **HOLDINGS}
    ).json()
    [held], [cash] = balance["output1"], balance["output2"]
    assert (held["hldg_qty"], held["ord_psbl_qty"]) == ("10", "10")
    assert cash["dnca_tot_amt"] == cash["nxdy_excc_amt"] == "100000000"
    spent = 10 * bar["open"] + int(cash["thdt_tlex_amt"])
    assert int(cash["prvs_rcdl_excc_amt"]) == 100_000_000 - spent
    assert abs(int(cash["thdt_tlex_amt"]) - commission) <= 10
    power = market.get(
        TRADE + "inquire-psbl-order",
        "TTTC8908R",
        {**market.account, "PDNO": "005930", "ORD_UNPR": "", "ORD_DVSN": "01"},
    ).json()["output"]
    assert power["nrcvb_buy_amt"] == cash["prvs_rcdl_excc_amt"]
    assert power["psbl_qty_calc_unpr"] == str(upper)


def test_korean_quotations(market: Client, history: RecordedSource):
    """Bars, minutes, ranking, book, holidays: recorded ones only, up to now only."""
    bar = bar_of(history, BARS_DAY)
    market.step()

    daily = market.get(
        QUOTES + "inquire-daily-itemchartprice",
        "FHKST03010100",
        {
            **SAMSUNG,
            "FID_INPUT_DATE_1": "20230101",
            "FID_INPUT_DATE_2": "20240131",
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        },
    ).json()["output2"]
    minutes = market.get(
        QUOTES + "inquire-time-itemchartprice",
        "FHKST03010200",
        {
            **SAMSUNG,
            "FID_INPUT_HOUR_1": "153000",
            "FID_PW_DATA_INCU_YN": "N",
            "FID_ETC_CLS_CODE": "",
        },
    ).json()["output2"]
    book = market.get(QUOTES + "inquire-asking-price-exp-ccn", "FHKST01010200", SAMSUNG).json()
    rank = market.get(
        QUOTES + "volume-rank",
        "FHPST01710000",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_BLNG_CLS_CODE": "3", "FID_DIV_CLS_CODE": "1"},
    ).json()["output"]
    holidays = market.get(
        QUOTES + "chk-holiday", "CTCA0903R", {"BASS_DT": "20240208", "CTX_AREA_NK": ""}
    )
    unknown = market.get(
        QUOTES + "inquire-price", "FHKST01010100", {**SAMSUNG, "FID_INPUT_ISCD": "999999"}
    ).json()

    assert len(daily) == 100 and daily[0]["stck_bsop_date"] == "20240115"
    assert daily[0]["stck_clpr"] == str(bar["open"])  # so far, only the opening print
    assert [row["stck_cntg_hour"] for row in minutes] == ["090000"]
    assert book["rt_cd"] == "0" and book["output1"]["askp1"] == "0"
    assert len(rank) == 30 and all(row["mksc_shrn_iscd"].endswith("0") for row in rank)
    values = [int(row["acml_tr_pbmn"]) for row in rank]
    assert values == sorted(values, reverse=True)
    days = {row["bass_dt"]: row["opnd_yn"] for row in holidays.json()["output"]}
    assert days["20240208"] == "Y" and days["20240209"] == days["20240212"] == "N"  # 설날
    assert holidays.headers["tr_cont"] == "M"
    assert unknown["rt_cd"] == "0" and unknown["output"]["stck_prpr"] == "0"


def test_recorded_minutes_are_replayed(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """2025-09-10 prints four times a minute; the first and the last are the auctions'."""
    client = start_exchange(market=Market.KRX, history=history)
    client.open(MINUTES_DAY.isoformat())
    status = client.control("status")
    listed_symbols = [item.symbol for item in history.instruments(Market.KRX)]
    everything = history.minute(Market.KRX, MINUTES_DAY, listed_symbols)
    complete = everything.groupby("symbol").size() == MINUTES_OF_DAY
    symbol = next(s for s in complete.index[complete] if s not in status["untradable_symbols"])
    recorded = everything[everything["symbol"] == symbol]
    listener = client.listen()
    listener.register("H0STCNT0", symbol)

    places = [client.step() for _ in range(5)]
    records = [listener.records()[1][0] for _ in range(5)]
    rest = client.finish()

    assert status["minutes"] and 0 < sum(status["untradable"].values()) < status["recorded"]
    assert [place["now"][11:19] for place in places] == [
        "00:00:00",
        "00:00:15",
        "00:00:30",
        "00:00:45",
        "00:01:00",
    ]
    first = recorded.iloc[0]
    assert [int(record[2]) for record in records[:4]] == [
        first["open"],
        first["low"],
        first["high"],
        first["close"],
    ]
    assert int(records[3][13]) == first["volume"]
    assert all(len(record) == 46 for record in records)
    assert rest["frames"][listener.approval_key] == 1 + 4 * (len(recorded) - 1) + 1
    price = client.get(
        QUOTES + "inquire-price", "FHKST01010100", {**SAMSUNG, "FID_INPUT_ISCD": symbol}
    ).json()["output"]
    assert int(price["acml_vol"]) == recorded["volume"].sum()


def test_an_untradable_share_says_why(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """Prices that were never prices of that day cannot be traded; the refusal gives the reason."""
    client = start_exchange(market=Market.KRX, history=history)
    client.open(MINUTES_DAY.isoformat())
    symbol, reason = next(iter(client.control("status")["untradable_symbols"].items()))

    body = {
        **client.account,
        "PDNO": symbol,
        "ORD_DVSN": "00",
        "ORD_QTY": "1",
        "ORD_UNPR": "1000",
    }
    answer = client.post(TRADE + "order-cash", "TTTC0012U", body).json()

    assert answer["rt_cd"] == "1" and reason in answer["msg1"]


def test_the_paper_profile_lives_a_korean_day(
    start_exchange: Callable[..., Client], history: RecordedSource
):
    """Paper ids, paper codes, paper notices; orders before the open are taken."""
    client = start_exchange(market=Market.KRX, history=history, profile=Profile.PAPER)
    client.open(BARS_DAY.isoformat())
    listener = client.listen()
    ok = listener.register("H0STCNI9", HTS_ID).ok
    open_at = bar_of(history, BARS_DAY)["open"]
    body = {
        **client.account,
        "PDNO": "005930",
        "ORD_DVSN": "01",
        "ORD_QTY": "1",
        "ORD_UNPR": "0",
    }

    accepted = client.post(TRADE + "order-cash", "VTTC0012U", body).json()
    client.step()
    notices = [stream.parse_notice("H0STCNI9", listener.records()[1][0]) for _ in range(2)]
    missing = client.get(TRADE + "inquire-psbl-rvsecncl", "TTTC0084R", {}).json()

    assert ok and accepted["msg_cd"] == "40600000"
    assert notices[1].is_fill and notices[1].price == open_at
    assert missing["msg_cd"] == "EGW02006"
