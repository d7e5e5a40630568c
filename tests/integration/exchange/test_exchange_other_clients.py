"""What KIS clients of others need of the local exchange (docs/conformance.md)."""

import pytest
from exchange_client import ACCOUNT, Client

KOREAN = "/uapi/domestic-stock/v1/trading/"
MONDAY = "2005-03-07"


@pytest.fixture
def market(start_exchange) -> Client:
    """Return a client before the open of Monday 2005-03-07."""
    client = start_exchange()
    client.login()
    client.open(MONDAY)
    return client


def test_the_other_market_holds_nothing(market: Client):
    """An account that never traded Korean shares has no cash, orders or profit there."""
    page = {"CTX_AREA_FK100": "", "CTX_AREA_NK100": ""}
    period = {"INQR_STRT_DT": "20050301", "INQR_END_DT": "20050307"}

    balance = market.get(KOREAN + "inquire-balance", "TTTC8434R", {**ACCOUNT, **page}).json()
    pending = market.get(KOREAN + "inquire-psbl-rvsecncl", "TTTC8036R", {**ACCOUNT, **page}).json()
    orders = market.get(KOREAN + "inquire-daily-ccld", "TTTC8001R", {**ACCOUNT, **period, **page})
    profit = market.get(
        KOREAN + "inquire-period-trade-profit", "TTTC8715R", {**ACCOUNT, **period, **page}
    ).json()

    assert (balance["rt_cd"], balance["output1"]) == ("0", [])
    assert balance["output2"][0]["dnca_tot_amt"] == "0"
    assert (pending["rt_cd"], pending["output"]) == ("0", [])
    assert orders.headers["tr_cont"] == "D" and orders.json()["output1"] == []
    assert (profit["output1"], profit["output2"]["tot_fee"]) == ([], "0")


def test_the_other_market_is_closed(market: Client):
    """An order there is refused, and leaves no trace here."""
    body = {**ACCOUNT, "PDNO": "005930", "ORD_DVSN": "00", "ORD_QTY": "1", "ORD_UNPR": "60000"}

    answer = market.post(KOREAN + "order-cash", "TTTC0802U", body).json()

    assert (answer["rt_cd"], answer["msg1"]) == ("1", "장운영시간이 아닙니다")
    assert market.orders("20050307", "20050307") == []


def test_another_keys_account_is_refused_there_too(market: Client):
    """Also where nothing is held, an account belongs to the key that used it first."""
    market.order("buy", "AAPL", 1, "40.00")
    stranger = Client(market.directory, app_key="another-app-key")
    stranger.login()

    answer = stranger.get(KOREAN + "inquire-balance", "TTTC8434R", ACCOUNT).json()

    assert (answer["rt_cd"], answer["msg_cd"]) == ("1", "OPSQ2000")


def test_the_korean_path_knows_us_products(market: Client):
    """Type 512 is Nasdaq (PROTOCOL 7.2); clients take the symbol from the short number."""
    path = "/uapi/domestic-stock/v1/quotations/search-info"

    apple = market.get(path, "CTPF1604R", {"PDNO": "AAPL", "PRDT_TYPE_CD": "512"}).json()["output"]
    elsewhere = market.get(path, "CTPF1604R", {"PDNO": "AAPL", "PRDT_TYPE_CD": "513"}).json()

    assert (apple["pdno"], apple["shtn_pdno"], apple["prdt_type_cd"]) == ("AAPL", "AAPL", "512")
    assert elsewhere["output"] == {}


def test_the_keys_alone_say_which_page(market: Client):
    """mojito2 leaves out the header ``tr_cont: N``; without it the first page came for ever."""
    for _ in range(21):
        market.order("buy", "AAPL", 1, "30.00")
    params = {
        **ACCOUNT, "PDNO": "%", "ORD_STRT_DT": "20050307", "ORD_END_DT": "20050307",
        "SLL_BUY_DVSN": "00", "CCLD_NCCS_DVSN": "00", "OVRS_EXCG_CD": "NASD", "SORT_SQN": "DS",
        "ORD_DT": "", "ORD_GNO_BRNO": "", "ODNO": "",
    }  # fmt: skip
    path = "/uapi/overseas-stock/v1/trading/inquire-ccnl"
    blank = {"CTX_AREA_FK200": "", "CTX_AREA_NK200": ""}

    first = market.get(path, "TTTS3035R", params | blank)
    keys = {
        "CTX_AREA_FK200": first.json()["ctx_area_fk200"],
        "CTX_AREA_NK200": first.json()["ctx_area_nk200"],
    }
    second = market.get(path, "TTTS3035R", params | keys)

    assert (first.headers["tr_cont"], len(first.json()["output"])) == ("M", 20)
    assert (second.headers["tr_cont"], len(second.json()["output"])) == ("D", 1)


def test_open_orders_without_an_exchange_are_all(market: Client):
    """A blank exchange asks for every one."""
    market.order("buy", "AAPL", 1, "30.00")
    market.order("buy", "IBM", 1, "60.00")
    page = {"SORT_SQN": "", "CTX_AREA_FK200": "", "CTX_AREA_NK200": ""}

    answer = market.get(
        "/uapi/overseas-stock/v1/trading/inquire-nccs",
        "TTTS3018R",
        {**ACCOUNT, "OVRS_EXCG_CD": "", **page},
    ).json()

    assert sorted(row["pdno"] for row in answer["output"]) == ["AAPL", "IBM"]


def test_numbers_that_were_not_recorded_are_zeros(market: Client):
    """KIS leaves none of these blank; the range of the year is recorded, and served."""
    detail = market.get(
        "/uapi/overseas-price/v1/quotations/price-detail",
        "HHDFS76200200",
        {"AUTH": "", "EXCD": "NAS", "SYMB": "AAPL"},
    ).json()["output"]

    assert (detail["perx"], detail["tomv"], detail["t_rate"]) == ("0.00", "0", "0.00")
    # 90.88 and 25.22 dollars before the split in two of 2005-02-28.
    assert (detail["h52p"], detail["h52d"]) == ("45.4400", "20050217")
    assert (detail["l52p"], detail["l52d"]) == ("12.6100", "20040323")


def test_a_korean_trade_says_when_the_extremes_were(start_exchange, shared_data):
    """The open, the highest and the lowest price of the day so far, with their times."""
    from trading.domain.instrument import Market
    from trading.store.datasets import RecordedSource

    client = start_exchange(market=Market.KRX, history=RecordedSource(shared_data))
    client.login()
    client.open("2025-09-08")
    listener = client.listen()
    listener.register("H0STCNT0", "000660")
    for _ in range(6):
        client.step()

    trades = []
    while len(trades) < 6:
        tr_id, records = listener.records()
        assert tr_id == "H0STCNT0"
        trades += records

    last = trades[-1]
    prices = [int(trade[2]) for trade in trades]
    times = [trade[1] for trade in trades]
    assert len(last) == 46
    assert last[24] == times[0]
    assert last[27] == times[prices.index(max(prices))]
    assert last[30] == times[prices.index(min(prices))]
    assert [last[k] for k in (10, 11, 15, 16, 38, 39)] == ["0"] * 6
