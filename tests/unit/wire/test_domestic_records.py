"""Korean rows as records: every recorded answer is read, and writing it gives back what came."""

import json
from contextlib import suppress
from dataclasses import fields as fields_of
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.order import OrderType, Side
from trading.errors import SchemaError
from trading.wire import accounts, fields
from trading.wire import domestic_account as money
from trading.wire import domestic_bars as bars
from trading.wire import domestic_company as company
from trading.wire import domestic_index as indices
from trading.wire import domestic_investors as investors
from trading.wire import domestic_quotes as quotes
from trading.wire import domestic_rankings as rankings
from trading.wire import domestic_reserves as reserves
from trading.wire.domestic_investors import Flow, FlowDay, Investor
from trading.wire.domestic_keys import _KEYS, whole_row
from trading.wire.fields import DAY, FLAG, NUMBER, TEXT, TIME, WHOLE, WON

QUOTES, TRADING, RANKING = "domestic.quotations.", "domestic.trading.", "domestic.ranking."
# record, recorded answer, its output
RECORDED = [
    (quotes.PriceDetail, QUOTES + "inquire-price-2", "output"),
    (quotes.RecentTrade, QUOTES + "inquire-ccnl", "output"),
    (quotes.WatchedPrice, QUOTES + "intstock-multprice", "output"),
    (quotes.OvertimePrice, QUOTES + "inquire-overtime-price", "output"),
    (quotes.FundPrice, "etf.quotations.inquire-price", "output"),
    (bars.RecentBar, QUOTES + "inquire-daily-price", "output"),
    (indices.IndexQuote, QUOTES + "inquire-index-price", "output"),
    (indices.IndexBar, QUOTES + "inquire-index-daily-price", "output2"),
    (indices.IndexMinute, QUOTES + "inquire-time-indexchartprice", "output2"),
    (indices.IndexTime, QUOTES + "inquire-index-timeprice", "output"),
    (rankings.Interruption, QUOTES + "inquire-vi-status", "output"),
    (investors.FlowEstimate, QUOTES + "investor-trend-estimate", "output2"),
    (company.StockInfo, QUOTES + "search-stock-info", "output"),
    (company.ProductInfo, QUOTES + "search-info", "output"),
    (company.MarketTime, QUOTES + "market-time", "output1"),
    (company.NewsTitle, QUOTES + "news-title", "output"),
    (company.FinancialRatio, "domestic.finance.financial-ratio", "output"),
    (company.IncomeStatement, "domestic.finance.income-statement", "output"),
    (company.BalanceSheet, "domestic.finance.balance-sheet", "output"),
    (company.ProfitRatio, "domestic.finance.profit-ratio", "output"),
    (company.StabilityRatio, "domestic.finance.stability-ratio", "output"),
    (company.GrowthRatio, "domestic.finance.growth-ratio", "output"),
    (company.OtherRatios, "domestic.finance.other-major-ratios", "output"),
    (money.Sellable, TRADING + "inquire-psbl-sell", "output"),
    (money.RealizedHolding, TRADING + "inquire-balance-rlz-pl", "output1"),
    (money.AssetClass, TRADING + "inquire-account-balance", "output1"),
    (money.AssetSums, TRADING + "inquire-account-balance", "output2"),
    (money.ProfitDay, TRADING + "inquire-period-profit", "output1"),
    (money.ProfitSums, TRADING + "inquire-period-profit", "output2"),
    (money.ProfitTrade, TRADING + "inquire-period-trade-profit", "output1"),
    (money.ProfitSums, TRADING + "inquire-period-trade-profit", "output2"),
    (reserves.ReservedOrder, TRADING + "order-resv-ccnl", "output"),
]
# What the workbook documents and no answer was recorded of, beside those above.
DOCUMENTED = [
    (money.RealizedSums, "/uapi/domestic-stock/v1/trading/inquire-balance-rlz-pl"),
    (quotes.TimedTrade, "/uapi/domestic-stock/v1/quotations/inquire-time-itemconclusion"),
    (quotes.ExpectedClose, "/uapi/domestic-stock/v1/quotations/exp-closing-price"),
    (investors.NetBuy, "/uapi/domestic-stock/v1/quotations/foreign-institution-total"),
]
RECORDS = list(dict.fromkeys([*(row[0] for row in (*RECORDED, *DOCUMENTED)), rankings.RankedShare]))


@pytest.fixture
def kis(shared_data):
    """Return a function that reads a file of the broker's reference."""

    def read(name):
        path = shared_data.parent / "kis" / name
        if not path.is_file():
            pytest.skip(f"기록된 KIS 자료가 없어 건너뜀: {path}")
        return json.loads(path.read_text(encoding="utf-8"))

    return read


def same(written, recorded):
    """Whether two texts mean the same: KIS pads numbers with zeros and texts with blanks."""
    recorded = str(recorded).strip()
    if written == recorded:
        return True
    try:
        return Decimal(written or 0) == Decimal(recorded or 0)
    except ArithmeticError:
        return False


@pytest.mark.parametrize(("record", "name", "output"), RECORDED)
def test_recorded_rows_come_back(kis, record, name, output):
    """Every row is read, and writing it says again what the venue said, key by key."""
    answer = kis(f"examples/{name}.json")["response"]
    rows = answer[output] if isinstance(answer[output], list) else [answer[output]]

    for row in rows:
        written = fields.write(fields.read(record, row))
        for key in fields.keys_of(record) & row.keys():
            if key == "pdno":
                assert row[key].endswith(written[key])
            else:
                assert same(written[key], row[key]), (key, row[key], written[key])


def test_whole_rows_have_every_recorded_key(kis):
    """A client that reads any recorded field of a row finds it in ours."""
    for record, name, output in RECORDED:
        if record not in _KEYS or record is money.ProfitSums:
            continue
        answer = kis(f"examples/{name}.json")["response"][output]
        recorded = answer[0] if isinstance(answer, list) else answer
        assert set(recorded) <= set(_KEYS[record].split()), record


def test_records_read_documented_keys(kis):
    """No record asks for a key that the workbook and the recorded answers do not have."""
    table = kis("fields.json")["rest"]
    documented = {}
    for call in table:
        names = {name.rstrip(" ") for _, name, _, _ in call["response"]}
        documented.setdefault(call["path"].split("/v1/")[-1], set()).update(names)
    for record, name, output in RECORDED:
        known = set(documented[".".join(name.split(".")[1:]).replace(".", "/")])
        answer = kis(f"examples/{name}.json")["response"].get(output) or {}
        rows = answer if isinstance(answer, list) else [answer]
        known.update(key for row in rows for key in row)
        known.update(f"date{k}" for k in range(1, 6))
        known.update(f"iscd{k}" for k in range(1, 6))
        assert fields.keys_of(record) <= known, record
    for record, path in DOCUMENTED:
        assert fields.keys_of(record) <= documented[path.split("/v1/")[-1]], record


@pytest.mark.parametrize("name", ["fluctuation", "market-cap", "volume-power"])
def test_recorded_rankings(kis, name):
    """Every ranking names its shares, whatever the key is called."""
    answer = kis(f"examples/{RANKING}{name}.json")["response"]

    ranked = rankings.parse_ranking(answer)

    assert [row.rank for row in ranked] == [1, 2, 3]
    recorded = answer["output"][0]
    assert ranked[0].symbol == (recorded.get("mksc_shrn_iscd") or recorded["stck_shrn_iscd"])
    assert str(ranked[0].price) == recorded["stck_prpr"]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("inquire-investor", "output"),
        ("investor-trade-by-stock-daily", "output2"),
        ("inquire-investor-time-by-market", "output"),
        ("inquire-investor-daily-by-market", "output"),
    ],
)
def test_recorded_flows_come_back(kis, name, output):
    """Every class of investors is read with its net, purchases and sales, and written again."""
    rows = kis(f"examples/{QUOTES}{name}.json")["response"][output]

    for row in rows:
        day = investors.parse_flows(row)
        written = investors.render_flows(day)
        assert {Investor.FOREIGN, Investor.PERSON, Investor.INSTITUTION} <= set(day.flows)
        for key in written.keys() | {k for i in Investor for k in investors.flow_keys(i)}:
            assert written.get(key, "") == row.get(key, ""), key


# Rows of PROTOCOL 8.9, 7.3, 6.8 and 9.17 as recorded, so that these tests need no files.
ESTIMATE = {
    "bsop_hour_gb": "5",
    "frgn_fake_ntby_qty": "-00000000000030000",
    "orgn_fake_ntby_qty": "000000000000121000",
    "sum_fake_ntby_qty": "000000000000091000",
}
RATIO = {
    "stac_yymm": "202312", "grs": "-14.33", "bsop_prfi_inrt": "-84.86", "ntin_inrt": "-72.17",
    "roe_val": "4.14", "eps": "2131.00", "sps": "38120", "bps": "52002.00",
    "rsrv_rate": "39256.91", "lblt_rate": "25.36",
}  # fmt: skip
RESERVED = {
    "rsvn_ord_seq": "42401", "rsvn_ord_ord_dt": "20220523", "rsvn_ord_rcit_dt": "20220520",
    "pdno": "005940", "ord_dvsn_cd": "01", "ord_rsvn_qty": "1", "tot_ccld_qty": "0",
    "cncl_ord_dt": "", "ord_tmd": "", "rjct_rson2": "", "odno": "", "rsvn_ord_rcit_tmd": "165318",
    "kor_item_shtn_name": "NH투자증권", "sll_buy_dvsn_cd": "02", "ord_rsvn_unpr": "6000",
    "tot_ccld_amt": "0", "cncl_rcit_tmd": "", "prcs_rslt": "미처리", "rsvn_end_dt": "20220523",
}  # fmt: skip


def test_documented_rows():
    """Zero-padded shares, exact ratios, and a reservation are read in domain terms."""
    estimate = fields.read(investors.FlowEstimate, ESTIMATE)
    ratio = fields.read(company.FinancialRatio, RATIO)
    reserved = fields.read(reserves.ReservedOrder, RESERVED)

    assert (estimate.foreign_net, estimate.institution_net) == (-30_000, 121_000)
    assert (ratio.period, ratio.return_on_equity) == ("202312", Decimal("4.14"))
    assert fields.write(ratio) == RATIO
    assert (reserved.side, reserved.order_type) == (Side.BUY, OrderType.MARKET)
    assert (reserved.day, reserved.last) == (date(2022, 5, 23), date(2022, 5, 23))
    assert (reserved.canceled_on, reserved.venue_order_id) == (None, None)
    assert fields.write(reserved) == RESERVED


def test_absent_values_stay_absent():
    """Blanks, zeros for a date and missing keys are unknown, not zero; a required one is missed."""
    info = fields.read(
        company.StockInfo,
        {"pdno": "00000A000660", "lstg_abol_dt": "00000000", "kospi200_item_yn": " "},
    )

    assert (info.symbol, info.delisted, info.is_kospi200, info.capital) == (
        "000660", None, None, None,
    )  # fmt: skip
    with pytest.raises(SchemaError, match="stck_prpr"):
        fields.read(quotes.PriceDetail, {"stck_prpr": ""})
    with pytest.raises(SchemaError):
        fields.read(reserves.ReservedOrder, {**RESERVED, "ord_dvsn_cd": "99"})


@pytest.mark.parametrize("record", _KEYS)
def test_whole_rows_have_every_key(record):
    """What the venue sends has all documented keys, blank where nothing is known."""
    required = {
        item.name: _EXAMPLES[item.metadata["kis_kind"].name]
        for item in fields_of(record)
        if item.metadata["kis_required"]
    }

    row = whole_row(record(**required))

    assert set(row) == set(_KEYS[record].split())
    assert all(isinstance(value, str) for value in row.values())


_EXAMPLES = {
    "day": date(2024, 1, 5), "number": Decimal("1.5"), "text": "1", "time": "090000", "whole": 1,
    "money-krx": 1, "symbol": "005930", "side": Side.BUY, "order-type": OrderType.LIMIT,
}  # fmt: skip

_WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=9
)
_VALUES = {
    TEXT: _WORDS,
    DAY: st.dates(date(1956, 3, 3), date(2100, 1, 1)),
    TIME: st.times().map(lambda t: f"{t:%H%M%S}"),
    WHOLE: st.integers(-(10**15), 10**15),
    WON: st.integers(-(10**15), 10**15),
    NUMBER: st.decimals(-(10**9), 10**9, places=2),
    FLAG: st.booleans(),
    accounts.SYMBOL: st.from_regex(r"[0-9]{6}|Q[0-9]{6}", fullmatch=True),
    accounts.SIDE: st.sampled_from(Side),
    reserves._ORDER_TYPE: st.sampled_from(
        [OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LIMIT, OrderType.AFTER_MARKET_BEST]
    ),
}


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(data=st.data())
def test_any_record_survives_the_wire(record, data):
    """Reading what was written gives the record back, with any of its values absent."""
    parts = {}
    for item in fields_of(record):
        kind = _VALUES[item.metadata["kis_kind"]]
        drawn = kind if item.metadata["kis_required"] else st.none() | kind
        parts[item.name] = data.draw(drawn, label=item.name)
    value = record(**parts)

    assert fields.read(record, fields.write(value)) == value


_FLOWS = st.builds(
    Flow,
    **{item.name: st.none() | st.integers(-(10**12), 10**12) for item in fields_of(Flow)},
).filter(lambda flow: flow != Flow())


@given(
    day=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    flows=st.dictionaries(st.sampled_from(Investor), _FLOWS),
)
def test_any_flows_survive_the_wire(day, flows):
    """A class with one known figure is there; one without any is not."""
    value = FlowDay(session=day, flows=flows)

    assert investors.parse_flows(investors.render_flows(value)) == value


_JUNK = st.dictionaries(
    st.sampled_from(sorted({key for record in RECORDS for key in fields.keys_of(record)})),
    st.text(max_size=12) | st.none() | st.integers() | st.floats(),
)


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(row=_JUNK)
def test_junk_is_read_or_refused(record, row):
    """Whatever an answer holds, it becomes a record or a ``SchemaError``, never another error."""
    with suppress(SchemaError):
        fields.read(record, row)
