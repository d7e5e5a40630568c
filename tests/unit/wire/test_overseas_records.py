"""US rows as records: every recorded answer is read, and writing it gives back what came."""

import json
from contextlib import suppress
from dataclasses import fields as fields_of
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import OrderAck, OrderType, Side, VenueOrder
from trading.errors import MissingDataError, SchemaError
from trading.sessions import SessionCalendar
from trading.wire import fields, values
from trading.wire import overseas_account as money
from trading.wire import overseas_bars as bars
from trading.wire import overseas_codes as names
from trading.wire import overseas_lists as lists
from trading.wire import overseas_orders as orders
from trading.wire import overseas_quotes as quotes
from trading.wire.accounts import SIDE, parse_ack, render_ack
from trading.wire.domestic_bars import Period
from trading.wire.fields import DAY, DOLLAR, FLAG, NUMBER, TEXT, TIME, WHOLE
from trading.wire.order_codes import OVERSEAS, takes_overseas
from trading.wire.overseas_lists import Criterion, Ranking
from trading.wire.records import (
    Balance,
    Book,
    BookLevel,
    BuyingPower,
    DailyRow,
    Holding,
    ListedOrder,
    MinuteRow,
    OrderRequest,
    Page,
    RankRow,
    SettlementRow,
)

QUOTES, TRADING = "overseas-quote.quotations.", "overseas.trading."
# record, recorded answer, its output ("" where the fields came without a container)
RECORDED = [
    (quotes.PriceDetail, QUOTES + "price-detail", "output"),
    (quotes.TradeRow, QUOTES + "inquire-ccnl", "output1"),
    (bars.IndexNow, QUOTES + "inquire-daily-chartprice", ""),
    (bars.IndexNow, QUOTES + "inquire-time-indexchartprice", "output1"),
    (bars.IndexMinute, QUOTES + "inquire-time-indexchartprice", "output2"),
    (lists.FoundShare, QUOTES + "inquire-search", "output2"),
    (lists.ProductInfo, QUOTES + "search-info", "output"),
    (money.Margin, TRADING + "foreign-margin", "output"),
    (money.SettledTrade, TRADING + "inquire-period-trans", "output1"),
    (money.SettledTradeTotal, TRADING + "inquire-period-trans", "output2"),
    (money.KeptShare, TRADING + "inquire-paymt-stdr-balance", "output1"),
    (money.KeptCurrency, TRADING + "inquire-paymt-stdr-balance", "output2"),
    (money.KeptTotal, TRADING + "inquire-paymt-stdr-balance", "output3"),
    (money.KeptShare, TRADING + "inquire-present-balance", "output1"),
    (orders.ReservedOrder, TRADING + "order-resv-list", "output"),
]
RECORDS = [
    *dict.fromkeys(row[0] for row in RECORDED),
    quotes.PriceRow, bars.IndexBar, lists.RankedShare, lists.NewsTitle, lists.BreakingNews,
    money.ProfitRow, money.ProfitTotal,
]  # fmt: skip
# record, documented path: every key that it asks for is in the workbook.
DOCUMENTED = [
    (quotes.PriceDetail, "quotations/price-detail"),
    (quotes.PriceRow, "quotations/multprice"),
    (quotes.TradeRow, "quotations/inquire-ccnl"),
    (bars.IndexNow, "quotations/inquire-daily-chartprice"),
    (bars.IndexBar, "quotations/inquire-daily-chartprice"),
    (bars.IndexMinute, "quotations/inquire-time-indexchartprice"),
    (lists.FoundShare, "quotations/inquire-search"),
    (lists.ProductInfo, "quotations/search-info"),
    (lists.NewsTitle, "quotations/news-title"),
    (lists.BreakingNews, "quotations/brknews-title"),
    (money.Margin, "trading/foreign-margin"),
    (money.ProfitRow, "trading/inquire-period-profit"),
    (money.ProfitTotal, "trading/inquire-period-profit"),
    (money.SettledTrade, "trading/inquire-period-trans"),
    (money.SettledTradeTotal, "trading/inquire-period-trans"),
    (orders.ReservedOrder, "trading/order-resv-list"),
]
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ, name="Apple")
ACCOUNT = "1234567801"


@pytest.fixture
def kis(shared_data):
    """Return a function that reads a file of the broker's reference."""

    def read(name):
        path = shared_data.parent / "kis" / name
        if not path.is_file():
            pytest.skip(f"기록된 KIS 자료가 없어 건너뜀: {path}")
        return json.loads(path.read_text(encoding="utf-8"))

    return read


@pytest.mark.parametrize(("record", "name", "output"), RECORDED)
def test_recorded_rows_come_back(kis, record, name, output):
    """Every row is read, and writing it gives back what the venue wrote, key by key."""
    answer = kis(f"examples/{name}.json")["response"]
    part = answer[output] if output else answer
    rows = part if isinstance(part, list) else [part]

    assert rows
    for row in rows:
        written = fields.write(fields.read(record, row))
        for key in fields.keys_of(record) & row.keys():
            assert written[key].strip() == row[key].strip(), key


@pytest.mark.parametrize(("record", "end"), DOCUMENTED)
def test_records_read_documented_keys(kis, record, end):
    """No record asks for a key that the workbook does not have."""
    documented = {
        name
        for call in kis("fields.json")["rest"]
        if "overseas" in call["path"] and call["path"].endswith("/" + end)
        for _, name, _, _ in call["response"]
    }

    assert fields.keys_of(record) <= documented


def test_rankings_read_documented_keys(kis):
    """Each ranking is asked with the workbook's names, and its rows are read."""
    table = {call["path"]: call for call in kis("fields.json")["rest"]}
    read = {"name" if key == "knam" else key for key in fields.keys_of(lists.RankedShare)}
    known = set()
    for ranking in Ranking:
        endpoint, request = lists.ranking_call(ranking, Exchange.NASDAQ)
        call = table[endpoint.path]
        known |= {name for _, name, _, _ in call["response"]}

        assert call["tr_real"] == [endpoint.real[""]]
        assert request.keys() == {name for name, _, _ in call["request"]}
    assert read - known == set()


# --- without the reference: rows of the workbook's own examples --------------------------------


def test_documented_rows():
    """Figures are exact: prices in 1/10,000 dollar, amounts of reports as KIS writes them."""
    detail = quotes.parse_price_detail(
        {"output": {"rsym": "DNASTSLA", "last": "245.0100", "h52d": "20220921", "l52d": "00000000",
                    "tamt": "32907071789", "tomv": "777659289900", "perx": "69.51"}}
    )  # fmt: skip
    (trade,) = quotes.parse_trades(
        {"output1": [{"khms": "085957", "last": "195.2000", "sign": "5", "diff": "3.2200",
                      "rate": "-1.62", "evol": "30", "tvol": "29159135", "vpow": "71.66"}]}
    )  # fmt: skip
    (margin,) = money.parse_margins(
        {"output": [{"natn_name": "미국", "crcy_cd": "USD", "frcr_dncl_amt1": "698.190000",
                     "frcr_gnrl_ord_psbl_amt": "694.37", "bass_exrt": "1349.40000000"},
                    {"crcy_cd": ""}]}
    )  # fmt: skip
    (reserved,) = orders.parse_reserves(
        {"output": [{"cncl_yn": "N", "rsvn_ord_rcit_dt": "20250523",
                     "ovrs_rsvn_odno": "0031111234", "sll_buy_dvsn_cd": "02", "pdno": "AAPL",
                     "ft_ord_qty": "100", "ft_ord_unpr3": "150.00000000", "odno": "",
                     "ovrs_rsvn_ord_stat_cd_name": "접수"}]}
    )  # fmt: skip

    assert (detail.price, detail.year_high_on, detail.year_low_on) == (
        2_450_100, date(2022, 9, 21), None,
    )  # fmt: skip
    assert detail.value == 329_070_717_890_000
    assert detail.price_to_earnings == Decimal("69.51")
    assert (trade.price, trade.change, trade.change_percent) == (
        1_952_000, 32_200, Decimal("-1.62"),
    )  # fmt: skip
    assert (margin.deposit, margin.unpaid) == (Decimal("698.19"), None)
    assert (reserved.side, reserved.limit, reserved.order_id) == (Side.BUY, 1_500_000, None)


def test_reservations_are_named_by_number_and_day():
    """KIS's own example leaves out the day: it is then the day of the request."""
    today = date(2021, 11, 24)

    bare = orders.parse_reserved({"output": {"ODNO": "0030138295"}}, today)
    whole = orders.parse_reserved(orders.render_reserved("0000000007", today), date(2000, 1, 1))
    asked = orders.parse_cancel_reserved_request(
        orders.cancel_reserved_request(ACCOUNT, "0030138295", today)
    )

    assert bare == ("0030138295", today)
    assert whole == ("0000000007", today)
    assert asked == (ACCOUNT, "0030138295", today)
    with pytest.raises(SchemaError):
        orders.parse_reserved({"output": {}}, today)


# --- exchange codes (PROTOCOL 10.1, 10.11, 14; FAULTS 17) --------------------------------------


def test_exchange_codes_are_one_table():
    """Nine exchanges have a code in each family; three are traded; none is named twice."""
    rows = names.EXCHANGES

    assert {row.trade for row in rows} == {
        "NASD", "NYSE", "AMEX", "SEHK", "SHAA", "SZAA", "TKSE", "HASE", "VNSE",
    }  # fmt: skip
    assert {row.quote for row in rows} == {
        "NAS", "NYS", "AMS", "HKS", "SHS", "SZS", "TSE", "HNX", "HSX",
    }  # fmt: skip
    assert {row.product_type for row in rows} == {
        "512", "513", "529", "501", "551", "552", "515", "507", "508",
    }  # fmt: skip
    for row in rows:
        for code, find in (
            (row.quote, names.exchange_of_quote),
            (row.trade, names.exchange_of_trade),
            (row.product_type, names.exchange_of_product_type),
        ):
            if row.exchange is not None:
                assert find(code) is row.exchange
            else:
                with pytest.raises(SchemaError):
                    find(code)
    assert names.exchange_of_quote("BAA") is Exchange.AMEX
    assert names.find_exchange("NAS") is names.find_exchange("NASD") is Exchange.NASDAQ
    assert names.find_exchange("HKS") is names.find_exchange("") is None


# --- requests --------------------------------------------------------------------------------

_LIMITS = st.integers(1, 10**9)


@given(
    side=st.sampled_from(Side),
    order_type=st.sampled_from(list(OVERSEAS)),
    limit=_LIMITS,
    quantity=st.integers(1, 10**6),
    exchange=st.sampled_from(names.US_EXCHANGES),
)
def test_orders_and_reservations_round_trip(side, order_type, limit, quantity, exchange):
    """Every type and side is read as it was asked; one without a price sends a bare zero."""
    order = OrderRequest(
        account=ACCOUNT, symbol="AAPL", side=side, quantity=quantity, exchange=exchange,
        order_type=order_type, limit=limit if order_type.names_price else 0,
    )  # fmt: skip

    body = orders.order_request(order)

    assert orders.parse_order_request(body, side) == order
    assert orders.parse_reserve_request(orders.reserve_request(order), side) == order
    assert (body["OVRS_ORD_UNPR"] == "0") is not order_type.names_price
    # Only the schedules carry the fields of one (PROTOCOL 10.2).
    assert ("ALGO_ORD_TMD_DVSN_CD" in body) is (order_type in (OrderType.TWAP, OrderType.VWAP))


def test_order_types_of_each_side():
    """The table of PROTOCOL 10.1: market orders on open and on close are for sales alone."""
    taken = {
        (OVERSEAS[kind], side) for kind in OVERSEAS for side in Side if takes_overseas(side, kind)
    }

    assert {code for code, side in taken if side is Side.BUY} == {"00", "32", "34", "35", "36"}
    assert {code for code, side in taken if side is Side.SELL} == {
        "00", "31", "32", "33", "34", "35", "36",
    }  # fmt: skip
    with pytest.raises(SchemaError):
        orders.order_type_of("01")  # Korea's market order


@given(
    criteria=st.dictionaries(
        st.sampled_from(Criterion),
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**12)),
    ),
    first=st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    period=st.sampled_from(Period),
    minutes=st.sampled_from((1, 5, 30, 60)),
)
def test_queries_round_trip(criteria, first, period, minutes):
    """Searches, ranges and pages are read as they were asked."""
    last = first + timedelta(days=30)
    before = datetime(2024, 3, 8, 20, 0, tzinfo=UTC)
    exchange, found = lists.parse_search_request(lists.search_request(Exchange.NYSE, criteria))

    assert (exchange, found) == (Exchange.NYSE, criteria)
    assert bars.parse_index_daily_request(
        bars.index_daily_request(bars.Series.INDEX, "SPX", first, last, period)
    ) == ("N", "SPX", first, last, period)
    assert bars.parse_minute_request(bars.minute_request(APPLE, before, minutes=minutes)) == (
        Exchange.NASDAQ, "AAPL", minutes, 120, before,
    )  # fmt: skip
    assert quotes.parse_prices_request(quotes.prices_request([APPLE])) == [
        (Exchange.NASDAQ, "AAPL")
    ]
    for request, parse in (
        (money.period_profit_request, money.parse_period_profit_request),
        (money.period_trades_request, money.parse_period_trades_request),
    ):
        assert parse(request(ACCOUNT, first, last, Page())) == (ACCOUNT, first, last, Page())
    assert money.parse_settled_balance_request(money.settled_balance_request(ACCOUNT, first)) == (
        ACCOUNT,
        first,
    )
    assert orders.parse_reserves_request(
        orders.reserves_request(ACCOUNT, first, last, Exchange.AMEX, Page())
    ) == (ACCOUNT, first, last, Exchange.AMEX, Page())


# --- rows ------------------------------------------------------------------------------------

_WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=9
)
_MINOR = st.integers(-(10**14), 10**14)
_VALUES = {
    TEXT: _WORDS,
    DAY: st.dates(date(1956, 3, 3), date(2100, 1, 1)),
    TIME: st.times().map(lambda t: f"{t:%H%M%S}"),
    WHOLE: st.integers(-(10**15), 10**15),
    DOLLAR: _MINOR,
    orders._PRICE8: _MINOR,
    quotes.WHOLE_DOLLARS: st.integers(0, 10**11).map(lambda dollars: dollars * 10_000),
    NUMBER: st.decimals(-(10**9), 10**9, places=8),
    quotes.RATE: st.decimals(-100, 10**6, places=2),
    money._SHARES8: st.decimals(0, 10**9, places=8),
    FLAG: st.booleans(),
    SIDE: st.sampled_from(Side),
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


NOW = datetime(2024, 1, 5, 15, 0, tzinfo=UTC)
_DAY = DailyRow(session=NOW.date(), open=1, high=1, low=1, close=1, volume=1)
_MINUTE = MinuteRow(start=NOW, open=1, high=1, low=1, close=1, volume=1)
_QUOTE = Quote(
    symbol="AAPL", price=1, previous_close=1, open=1, high=1, low=1, volume=1, upper_limit=0,
    lower_limit=0, ts_event=NOW,
)  # fmt: skip
_HOLDING = Holding(symbol="AAPL", quantity=1, sellable=1, cost=1, exchange=Exchange.NASDAQ)
_RANKED = RankRow(
    rank=1, symbol="AAPL", name="", price=1, previous_close=1, volume=1, exchange=Exchange.NASDAQ
)
_SETTLES = SettlementRow(
    country="840", market_name="", local_settlement=NOW.date(), domestic_settlement=NOW.date()
)
_ORDER = VenueOrder(
    venue_order_id="0000000001", branch="01790", symbol="AAPL", side=Side.BUY, quantity=1,
    limit=1, filled_quantity=0, filled_amount=0, canceled_quantity=0, rejected_quantity=0,
    ts_event=NOW,
)  # fmt: skip


def _row(record):
    """Return a whole row of ``record``, every value a number that any kind but some can read."""
    return dict.fromkeys(fields.keys_of(record), "1")


# A reader, and an answer that it reads before it is altered.
_READERS = {
    "orders": (orders.parse_orders, orders.render_orders([ListedOrder(order=_ORDER)], {})),
    "open orders": (orders.parse_open_orders, orders.render_open_orders([_ORDER], {})),
    "reserved": (lambda body: orders.parse_reserved(body, NOW.date()),
                 orders.render_reserved("1", NOW.date())),
    "reserves": (orders.parse_reserves, {"output": [_row(orders.ReservedOrder)]}),
    "ack": (lambda body: parse_ack(body, NOW), render_ack(
        OrderAck(venue_order_id="0000000001", branch="1", ts_event=NOW))),
    "holdings": (money.parse_holdings, money.render_holdings(ACCOUNT, [_HOLDING])),
    "present": (money.parse_present_balance, money.render_present_balance(
        Balance(cash=1, cash_next=1, cash_final=1), unsettled_bought=0, unsettled_sold=0)),
    "kept": (money.parse_kept, {"output1": [_row(money.KeptShare)],
                                "output2": [_row(money.KeptCurrency)],
                                "output3": _row(money.KeptTotal)}),
    "buying power": (lambda body: money.parse_buying_power(body, 1), money.render_buying_power(
        BuyingPower(amount=1, quantity=1, price=1))),
    "margins": (money.parse_margins, {"output": [_row(money.Margin)]}),
    "profit": (money.parse_period_profit, {"Output1": [_row(money.ProfitRow)],
                                           "Output2": _row(money.ProfitTotal)}),
    "trades": (money.parse_period_trades, {"output1": [_row(money.SettledTrade)],
                                           "output2": _row(money.SettledTradeTotal)}),
    "price": (lambda body: quotes.parse_price(body, "AAPL", NOW),
              quotes.render_price(_QUOTE, APPLE, value=1)),
    "detail": (quotes.parse_price_detail, {"output": _row(quotes.PriceDetail)}),
    "prices": (quotes.parse_prices, {"output2": [_row(quotes.PriceRow)]}),
    "executions": (quotes.parse_trades, {"output1": [_row(quotes.TradeRow)]}),
    "book": (lambda body: quotes.parse_book(body, "AAPL"), quotes.render_book(
        Book(symbol="AAPL", asks=(BookLevel(price=1, quantity=1),)), _QUOTE, APPLE, NOW)),
    "daily": (bars.parse_daily, bars.render_daily([_DAY], APPLE)),
    "minute": (bars.parse_minute, bars.render_minute(
        [_MINUTE], APPLE, opens=NOW, closes=NOW, has_more=False)),
    "index": (bars.parse_index_now, {"output1": _row(bars.IndexNow)}),
    "index days": (bars.parse_index_daily, {"output2": [_row(bars.IndexBar)]}),
    "index minutes": (bars.parse_index_minutes, {"output2": [_row(bars.IndexMinute)]}),
    "volume": (lists.parse_volume_rank, lists.render_volume_rank([_RANKED])),
    "ranking": (lists.parse_ranking, {"output2": [_row(lists.RankedShare)]}),
    "search": (lists.parse_search, {"output2": [_row(lists.FoundShare)]}),
    "product": (lists.parse_product_info, {"output": _row(lists.ProductInfo)}),
    "news": (lists.parse_news, {"outblock1": [_row(lists.NewsTitle)]}),
    "breaking": (lists.parse_breaking_news, {"output": [_row(lists.BreakingNews)]}),
    "settlements": (lists.parse_settlements, lists.render_settlements([_SETTLES])),
}  # fmt: skip
_JUNK = (
    st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.booleans()
    | st.lists(st.text(max_size=3), max_size=2) | st.just({}) | st.just([{}])
    | st.sampled_from(("", " ", "0", "-1", "20240105", "235960", "1E9", "NaN", "Y", "02"))
)  # fmt: skip


def _altered(data, value):
    """Return ``value`` with some of its parts, at any depth, lost, doubled or turned to junk."""
    if isinstance(value, dict) and value:
        names_of = data.draw(st.lists(st.sampled_from(sorted(value)), max_size=3, unique=True))
        found = dict(value)
        for name in names_of:
            match data.draw(st.integers(0, 3)):
                case 0:
                    found.pop(name, None)
                case 1:
                    found[name] = data.draw(_JUNK)
                case _ if name in found:
                    found[name] = _altered(data, found[name])
        return found
    if isinstance(value, list):
        return [_altered(data, part) for part in value] * data.draw(st.integers(0, 2))
    return data.draw(_JUNK)


@pytest.mark.parametrize("name", _READERS)
@settings(max_examples=150)
@given(data=st.data())
def test_altered_answers_are_read_or_refused(name, data):
    """Whatever KIS leaves out or changes, an answer is read or refused with a data error."""
    parse, body = _READERS[name]

    with suppress(SchemaError, MissingDataError):
        parse(_altered(data, body))


# --- dates and times (FAULTS 23) ---------------------------------------------------------------


def _hours():
    calendar = SessionCalendar(Market.US)
    return [
        (day, *calendar.open_close(day))
        for day in calendar.sessions(date(2000, 1, 3), date(2026, 12, 31))
    ]


def test_every_session_maps_to_its_instants():
    """In every session of 2000-2026 an order at open, close and Korean midnight keeps its time.

    Listings carry the US date with the Korean time, or the Korean date with the Korean time; a
    session crosses Korean midnight, and its hours move with the daylight saving of New York.
    """
    hours = _hours()
    assert len(hours) > 6_700
    for day, opened, closed in hours:
        local = values.date_and_time(opened, Market.US)
        assert local == (values.day_text(day), "093000")
        korean_midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(),
                                           values.KST).astimezone(UTC)  # fmt: skip
        moments = (
            opened - timedelta(hours=5, minutes=30),  # pre-market, 04:00
            korean_midnight - timedelta(seconds=1),
            korean_midnight,
            closed + timedelta(hours=3, minutes=59),  # after-market
        )
        orders_then = [_order(moment) for moment in moments]
        listed = orders.parse_orders(
            orders.render_orders([ListedOrder(order=order) for order in orders_then], {})
        )
        waiting = orders.parse_open_orders(orders.render_open_orders(orders_then[::3], {}))
        assert tuple(row.order.ts_event for row in listed) == moments
        assert tuple(row.order.ts_event for row in waiting) == moments[::3]
        # The day under which the listing is asked for is the session's.
        assert {values.local_date(moment, Market.US) for moment in moments} == {day}


def test_known_instants():
    """Hand-made: the days around both changes of 2024, and the half day after Thanksgiving."""
    hours = {day: (opened, closed) for day, opened, closed in _hours()}

    assert hours[date(2024, 3, 8)][0] == datetime(2024, 3, 8, 14, 30, tzinfo=UTC)
    assert hours[date(2024, 3, 11)][0] == datetime(2024, 3, 11, 13, 30, tzinfo=UTC)
    assert hours[date(2024, 11, 1)][1] == datetime(2024, 11, 1, 20, 0, tzinfo=UTC)
    assert hours[date(2024, 11, 4)][1] == datetime(2024, 11, 4, 21, 0, tzinfo=UTC)
    assert hours[date(2024, 11, 29)][1] == datetime(2024, 11, 29, 18, 0, tzinfo=UTC)
    # 00:10 in Seoul on the 9th is still the session of the 8th.
    moment = datetime(2024, 3, 8, 15, 10, tzinfo=UTC)
    (listed,) = orders.parse_orders(
        {"output": [{**orders.render_orders([ListedOrder(order=_order(moment))], {})["output"][0],
                     "dmst_ord_dt": "", "thco_ord_tmd": ""}]}
    )  # fmt: skip
    assert listed.order.ts_event == moment


def _order(moment):
    return replace(_ORDER, ts_event=moment)
