"""Orders, fills, cancels and money at the local exchange, over real sockets.

Prices are AAPL's and MSFT's of ``bokeh_sampledata``: AAPL 2005-02-25 opened at 89.62, low 88.19,
high 89.91, closed at 88.99; 16,348,400 shares.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from exchange_client import Client

DAY = "20050225"


@pytest.fixture
def market(exchange: Client) -> Client:
    """Return a client before the open of 2005-02-25."""
    exchange.open("2005-02-25")
    return exchange


def cash_of(client: Client) -> Decimal:
    """Return trade-date cash: the deposit, plus unpaid sales, less unpaid purchases."""
    row = client.cash()
    return (
        Decimal(row["frcr_dncl_amt_2"])
        + Decimal(row["frcr_sll_amt_smtl"])
        - Decimal(row["frcr_buy_amt_smtl"])
    )


def test_a_buy_before_the_open_fills_at_the_open(market: Client):
    """An order resting for the auction gets its price; 0.25 % of 8,962.00, cents cut, is 22.40."""
    answer = market.order("buy", "AAPL", 100, "100.00")

    market.step()

    assert answer["rt_cd"] == "0" and answer["msg_cd"] == "APBK0013"
    assert answer["output"]["ODNO"] == "0000000001"
    [row] = market.orders(DAY, DAY)
    assert row["ft_ccld_qty"] == "100" and row["ft_ccld_amt3"] == "8962.00000"
    assert row["nccs_qty"] == "0" and row["ord_dt"] == DAY
    assert market.holdings()["AAPL"]["ovrs_cblc_qty"] == "100"
    assert cash_of(market) == Decimal("91015.60")
    # T+3 in 2005: nothing of it is paid on the day.
    assert Decimal(market.cash()["frcr_dncl_amt_2"]) == Decimal("100000")


def test_an_order_after_a_print_meets_what_is_left_of_it(market: Client):
    """After the open an order is matched on arrival, at the last price."""
    market.step()

    market.order("buy", "AAPL", 10, "90.00")

    [row] = market.orders(DAY, DAY)
    assert row["ft_ccld_qty"] == "10" and row["ft_ccld_amt3"] == "896.20000"


def test_a_resting_buy_waits_for_its_price_and_gets_its_limit(market: Client):
    """A limit of 88.50 rests at 89.62 and fills at 88.50 when the price falls to 88.19."""
    market.step()
    market.order("buy", "AAPL", 10, "88.50")
    before = market.orders(DAY, DAY)[0]["ft_ccld_qty"]

    market.step()

    [row] = market.orders(DAY, DAY)
    assert before == "0"
    assert row["ft_ccld_amt3"] == "885.00000"


def test_a_sale_pays_commission_and_fees(market: Client):
    """Selling 100 at 88.19: 22.04 commission, 0.30 SEC fee (32.90 per million), 0.01 TAF."""
    market.order("buy", "AAPL", 100, "100.00")
    market.step()
    # Nobody listens and nothing waits: the next instant is whenever we ask for one.
    market.control("advance", until="2005-02-25T16:40:00+00:00")

    market.order("sell", "AAPL", 100, "80.00")

    assert market.holdings() == {}
    spent = Decimal("8962.00") + Decimal("22.40")
    earned = Decimal("8819.00") - Decimal("22.04") - Decimal("0.30") - Decimal("0.01")
    assert cash_of(market) == Decimal("100000") - spent + earned


def test_participation_cuts_an_order_into_partial_fills(
    start_exchange: Callable[..., Client],
):
    """At one basis point of a print of 4,087,100 shares an order gets 408 of it each time."""
    client = start_exchange(participation_bps=1)
    client.open("2005-02-25")
    client.order("buy", "AAPL", 1000, "95.00")

    filled = []
    for _ in range(3):
        client.step()
        filled.append(client.orders(DAY, DAY)[0]["ft_ccld_qty"])

    assert filled == ["408", "816", "1000"]
    [row] = client.orders(DAY, DAY)
    # 408 at 89.62, 408 at 88.19, 184 at 89.91
    assert Decimal(row["ft_ccld_amt3"]) == Decimal("89089.92")


def test_what_is_not_filled_expires_at_the_close(market: Client):
    """A day order ends with its day and its money is free again."""
    market.order("buy", "AAPL", 100, "50.00")
    reserved = market.get(*buying_power("AAPL", "50.00")).json()["output"]["ovrs_ord_psbl_amt"]

    market.finish()

    [row] = market.orders(DAY, DAY)
    assert reserved == "94987.50"  # 100,000 - 5,000 - 12.50 commission
    assert row["ft_ccld_qty"] == "0" and row["nccs_qty"] == "0"
    freed = market.get(*buying_power("AAPL", "50.00")).json()["output"]
    assert freed["ovrs_ord_psbl_amt"] == "100000.00"
    assert freed["max_ord_psbl_qty"] == "1995"  # 1995 x 50 x 1.0025 = 99,999.37


def test_a_cancel_ends_an_order_and_has_a_number_of_its_own(market: Client):
    """The cancel is listed as a row that refers to the order; the order has nothing open."""
    market.step()
    number = market.order("buy", "AAPL", 10, "80.00")["output"]["ODNO"]

    answer = market.change("02", number, "AAPL", 10)

    assert answer["rt_cd"] == "0" and answer["output"]["ODNO"] == "0000000002"
    first, second = market.orders(DAY, DAY)
    assert first["nccs_qty"] == "0" and first["ft_ccld_qty"] == "0"
    assert second["orgn_odno"] == number and second["rvse_cncl_dvsn"] == "02"
    again = market.change("02", number, "AAPL", 10)
    assert again["rt_cd"] == "1" and again["msg_cd"] == "APBK0918"


def test_a_partial_cancel_leaves_the_rest_working(market: Client):
    """Six of ten canceled: four still wait, and fill at their limit."""
    market.step()
    number = market.order("buy", "AAPL", 10, "88.50")["output"]["ODNO"]

    market.change("02", number, "AAPL", 6)
    left = market.orders(DAY, DAY)[0]["nccs_qty"]
    market.step()

    row = market.orders(DAY, DAY)[0]
    assert left == "4"
    assert (row["ft_ccld_qty"], row["nccs_qty"]) == ("4", "0")


def test_a_revision_is_a_new_order_at_the_new_price(market: Client):
    """The revised order fills where the original would still wait."""
    market.step()
    number = market.order("buy", "AAPL", 10, "80.00")["output"]["ODNO"]

    answer = market.change("01", number, "AAPL", 10, "89.62")

    old, new = market.orders(DAY, DAY)
    assert answer["output"]["ODNO"] == new["odno"]
    assert old["nccs_qty"] == "0" and old["ft_ccld_qty"] == "0"
    assert new["orgn_odno"] == number and new["ft_ccld_amt3"] == "896.20000"


@pytest.mark.parametrize(
    ("side", "symbol", "quantity", "price", "code"),
    [
        ("buy", "AAPL", 2000, "90.00", "APBK0952"),  # 180,000 USD of 100,000
        ("buy", "AAPL", 10, "90.005", "APBK0918"),  # not a cent
        ("buy", "AAPL", 0, "90.00", "APBK0918"),
        ("sell", "AAPL", 1, "90.00", "APBK0400"),  # no short sales
        ("buy", "FB", 1, "30.00", "APBK0656"),  # listed in 2012
        ("buy", "XXXX", 1, "30.00", "APBK0656"),
    ],
)
def test_what_cannot_be_ordered_is_refused(
    market: Client, side: str, symbol: str, quantity: int, price: str, code: str
):
    """A refusal has KIS's code, no number, and leaves no trace."""
    answer = market.order(side, symbol, quantity, price)

    assert answer["rt_cd"] != "0" and answer["msg_cd"] == code
    assert answer["msg1"] and "output" not in answer
    assert market.orders(DAY, DAY) == []


def test_cash_is_reserved_by_open_buys(market: Client):
    """Two buys that each fit do not both fit."""
    first = market.order("buy", "AAPL", 600, "90.00")
    second = market.order("buy", "MSFT", 2000, "25.00")

    assert first["rt_cd"] == "0"
    assert second["msg_cd"] == "APBK0952"


def test_shares_are_reserved_by_open_sales(market: Client):
    """Shares promised to one sale cannot be promised to another."""
    market.order("buy", "AAPL", 10, "95.00")
    market.step()
    first = market.order("sell", "AAPL", 10, "99.00")

    second = market.order("sell", "AAPL", 1, "99.00")

    assert first["rt_cd"] == "0" and second["msg_cd"] == "APBK0400"
    assert market.holdings()["AAPL"]["ord_psbl_qty"] == "0"


def test_a_closed_market_takes_no_orders(market: Client):
    """After the close neither orders nor cancels are taken."""
    number = market.order("buy", "AAPL", 1, "50.00")["output"]["ODNO"]
    market.finish()

    assert market.order("buy", "AAPL", 1, "50.00")["msg_cd"] == "APBK0918"
    assert market.change("02", number, "AAPL", 1)["rt_cd"] == "1"


def test_an_account_belongs_to_the_key_that_used_it_first(market: Client):
    """Another application key may not look into the account."""
    market.holdings()
    stranger = Client(market.directory, app_key="another-key")
    stranger.login()

    path = "/uapi/overseas-stock/v1/trading/inquire-balance"
    params = {**stranger.account, "OVRS_EXCG_CD": "NASD", "TR_CRCY_CD": "USD"}
    answer = stranger.get(path, "TTTS3012R", params).json()

    assert answer["msg_cd"] == "OPSQ2000"


def test_a_split_doubles_the_shares_before_the_open(market: Client):
    """AAPL 2:1 on 2005-02-28: 100 become 200, what was paid stays, equity is continuous."""
    market.order("buy", "AAPL", 100, "100.00")
    market.finish()
    before = market.holdings()["AAPL"]

    market.open("2005-02-28")

    after = market.holdings()["AAPL"]
    assert (before["ovrs_cblc_qty"], after["ovrs_cblc_qty"]) == ("100", "200")
    assert before["frcr_pchs_amt1"] == after["frcr_pchs_amt1"] == "8962.00000"
    # Base price: half of the close of 88.99, cut to a ten-thousandth.
    assert after["now_pric2"] == "44.495000"
    assert Decimal(before["ovrs_stck_evlu_amt"]) == Decimal(after["ovrs_stck_evlu_amt"])


def test_a_dividend_is_credited_net_before_the_open(exchange: Client):
    """MSFT paid 3.08 on 2004-11-15: 100 shares bring 308.00 less 15 %, 261.80."""
    exchange.open("2004-11-12")
    exchange.order("buy", "MSFT", 100, "31.00")
    exchange.finish()
    before = cash_of(exchange)

    exchange.open("2004-11-15")

    assert cash_of(exchange) - before == Decimal("261.80")
    assert exchange.holdings()["MSFT"]["ovrs_cblc_qty"] == "100"


def test_purchases_are_paid_three_sessions_later(exchange: Client):
    """Bought on Friday 2005-02-18 (Monday was a holiday), paid on Thursday the 24th."""
    exchange.open("2005-02-18")
    exchange.order("buy", "MSFT", 100, "30.00")
    exchange.finish()

    deposits = []
    for day in ("2005-02-22", "2005-02-23", "2005-02-24"):
        exchange.open(day)
        deposits.append(Decimal(exchange.cash()["frcr_dncl_amt_2"]))
        exchange.finish()

    assert deposits[0] == deposits[1] == Decimal("100000")
    assert deposits[2] == cash_of(exchange) < Decimal("100000")


def test_listings_come_in_pages(market: Client):
    """Real accounts see 20 rows a page; all 45 arrive once, in order."""
    for _ in range(45):
        market.order("buy", "AAPL", 1, "50.00")

    numbers = [int(row["odno"]) for row in market.orders(DAY, DAY)]

    assert numbers == list(range(1, 46))


def auction_order(client: Client, side: str, kind: str, price: str) -> str:
    """Place one share of AAPL by order type code; return the venue's code."""
    body = {
        **client.account,
        "OVRS_EXCG_CD": "NASD",
        "PDNO": "AAPL",
        "ORD_QTY": "1",
        "OVRS_ORD_UNPR": price,
        "ORD_DVSN": kind,
        "ORD_SVR_DVSN_CD": "0",
    }
    tr_id = {"buy": "TTTT1002U", "sell": "TTTT1006U"}[side]
    path = "/uapi/overseas-stock/v1/trading/order"
    return str(client.post(path, tr_id, body).json()["msg_cd"])


def test_auction_orders_over_the_wire(market: Client):
    """LOO and LOC (32, 34) are taken from both sides, MOO (31) from sellers, 99 from nobody."""
    taken = [auction_order(market, "buy", kind, "95.00") for kind in ("32", "34")]
    refused = [auction_order(market, "buy", kind, "95.00") for kind in ("31", "35", "99")]
    market.step()
    late = auction_order(market, "sell", "31", "0")
    market.finish()

    assert taken == ["APBK0013"] * 2 and refused == ["APBK0918", "APBK0918", "OPSQ2001"]
    assert late == "APBK0918"
    rows = market.orders(DAY, DAY)
    # 89.62 at the open, 88.99 at the close
    assert [row["ft_ccld_amt3"] for row in rows] == ["89.62000", "88.99000"]


NONSENSE = ["", " ", "abc", "-1", "0", "1e9", "1.5", "9" * 40, "NaN", "한글", "\x00"]


@pytest.mark.parametrize("field", ["ORD_QTY", "OVRS_ORD_UNPR", "ORD_DVSN", "PDNO", "OVRS_EXCG_CD"])
def test_a_nonsense_order_is_refused_not_a_crash(market: Client, field: str):
    """Any text in any field of an order: an answer with a code, and nothing in the books."""
    body = {
        **market.account,
        "OVRS_EXCG_CD": "NASD",
        "PDNO": "AAPL",
        "ORD_QTY": "1",
        "OVRS_ORD_UNPR": "50.00",
        "ORD_DVSN": "00",
        "ORD_SVR_DVSN_CD": "0",
    }
    path = "/uapi/overseas-stock/v1/trading/order"

    for text in NONSENSE:
        answer = market.post(path, "TTTT1002U", {**body, field: text})
        assert answer.status_code == 200, text
        taken = answer.json()["rt_cd"] == "0"
        assert not taken or (field, text) in LEGAL, text
    assert len(market.orders(DAY, DAY)) == sum(field == name for name, _ in LEGAL)


# A price of 1.5 dollars is legal, if far away.
LEGAL = [("OVRS_ORD_UNPR", "1.5")]


@pytest.mark.parametrize("field", ["ORGN_ODNO", "RVSE_CNCL_DVSN_CD", "ORD_QTY", "OVRS_ORD_UNPR"])
def test_a_nonsense_change_is_refused_not_a_crash(market: Client, field: str):
    """Any text in any field of a revision; the order stays whole or is revised legally."""
    number = market.order("buy", "AAPL", 10, "50.00")["output"]["ODNO"]
    body = {
        **market.account,
        "OVRS_EXCG_CD": "NASD",
        "PDNO": "AAPL",
        "ORGN_ODNO": number,
        "RVSE_CNCL_DVSN_CD": "01",
        "ORD_QTY": "10",
        "OVRS_ORD_UNPR": "51.00",
    }
    path = "/uapi/overseas-stock/v1/trading/order-rvsecncl"

    for text in NONSENSE:
        answer = market.post(path, "TTTT1004U", {**body, field: text})
        assert answer.status_code == 200, text
    assert sum(int(row["nccs_qty"]) for row in market.orders(DAY, DAY)) == 10


def buying_power(symbol: str, price: str) -> tuple[str, str, dict[str, str]]:
    """Return the call that asks for the buying power."""
    return (
        "/uapi/overseas-stock/v1/trading/inquire-psamount",
        "TTTS3007R",
        {
            "CANO": "12345678",
            "ACNT_PRDT_CD": "01",
            "OVRS_EXCG_CD": "NASD",
            "OVRS_ORD_UNPR": price,
            "ITEM_CD": symbol,
        },
    )
