"""Every recorded KIS answer of the trunk is read, and what we render has all its fields."""

import json
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Instrument
from trading.domain.market import Quote
from trading.domain.order import OrderAck, Side, VenueOrder
from trading.errors import MissingDataError, SchemaError, TradingError
from trading.wire import (
    accounts,
    auth,
    codes,
    domestic_account,
    domestic_bars,
    domestic_company,
    domestic_orders,
    domestic_quotes,
    domestic_rankings,
    endpoints,
    overseas_account,
    overseas_bars,
    overseas_lists,
    overseas_orders,
    overseas_quotes,
    stream,
)
from trading.wire.endpoints import Generation, Profile
from trading.wire.records import (
    Balance,
    Book,
    BookLevel,
    BuyingPower,
    DailyRow,
    Holding,
    HolidayRow,
    ListedOrder,
    MinuteRow,
    OrderKind,
    Page,
    RankRow,
    SettlementRow,
)

NOW = datetime(2024, 1, 5, 3, 0, tzinfo=UTC)


@pytest.fixture
def example(shared_data):
    """Return a function that reads a recorded answer by the name of its file."""

    def read(name):
        path = shared_data.parent / "kis" / "examples" / f"{name}.json"
        if not path.is_file():
            pytest.skip(f"기록된 KIS 응답이 없어 건너뜀: {path}")
        return json.loads(path.read_text(encoding="utf-8"))["response"]

    return read


# --- reading recorded answers; expected numbers are those in the files -----------------------


def test_oauth(example):
    """Token times are Korean."""
    token = auth.parse_token(example("oauth2.tokenP"))

    assert token.expires_at == datetime(2023, 12, 21, 23, 16, 59, tzinfo=UTC)
    assert "redacted" not in repr(token)
    assert auth.parse_approval(example("oauth2.Approval")) == "<redacted>"
    assert example("oauth2.revokeP") == auth.render_revoked()


def test_korean_quotes(example):
    """Price, book, minutes, ranking and holidays are read to the unit."""
    quote = domestic_quotes.parse_price(example("domestic.quotations.inquire-price"), "000660", NOW)
    book = domestic_quotes.parse_book(
        example("domestic.quotations.inquire-asking-price-exp-ccn"), "000660"
    )
    minutes = domestic_bars.parse_minute(example("domestic.quotations.inquire-time-itemchartprice"))
    ranked = domestic_rankings.parse_volume_rank(example("domestic.quotations.volume-rank"))
    days = domestic_company.parse_holidays(example("domestic.quotations.chk-holiday"))

    assert (quote.price, quote.upper_limit, quote.lower_limit) == (128_500, 167_000, 90_000)
    assert (quote.volume, quote.halted) == (2_669_075, False)
    assert book.asks[0] == BookLevel(price=128_000, quantity=69_454)
    assert (len(book.asks), len(book.bids)) == (10, 10)
    assert minutes[0].start == datetime(2022, 9, 2, 1, 0, tzinfo=UTC)
    assert (minutes[0].open, minutes[0].close, minutes[0].volume) == (92_400, 92_500, 1_383)
    assert [row.symbol for row in ranked] == ["005930", "034020", "034220"]
    assert ranked[0].previous_close == 65_400
    assert [row.is_open for row in days] == [True, True, True]
    # The recorded daily example holds the snapshot only, and no bars.
    assert (
        domestic_bars.parse_daily(example("domestic.quotations.inquire-daily-itemchartprice")) == ()
    )


def test_korean_account(example):
    """Orders, open orders, balance and buying power are read to the won."""
    ack = accounts.parse_ack(example("domestic.trading.order-cash"), NOW)
    change = accounts.parse_ack(example("domestic.trading.order-rvsecncl"), NOW)
    still_open = domestic_orders.parse_open_orders(
        example("domestic.trading.inquire-psbl-rvsecncl"), NOW
    )
    listed = domestic_orders.parse_orders(example("domestic.trading.inquire-daily-ccld"))
    balance = domestic_account.parse_balance(example("domestic.trading.inquire-balance"))
    power = domestic_account.parse_buying_power(example("domestic.trading.inquire-psbl-order"))

    assert (ack.venue_order_id, ack.branch) == ("0001569157", "06010")
    assert ack.ts_event == datetime(2024, 1, 5, 6, 52, 11, tzinfo=UTC)  # 15:52:11 in Seoul
    assert change.venue_order_id == "0001569139"
    assert [row.kind for row in still_open] == [OrderKind.REVISE, OrderKind.NEW]
    assert [row.order.open_quantity for row in still_open] == [1, 1]
    assert [(row.order.rejected_quantity, row.order.open_quantity) for row in listed] == [
        (10, 0),
        (10, 0),
    ]
    assert balance.cash_final == 346_455
    assert [(row.quantity, row.cost) for row in balance.holdings] == [
        (1_657, 224_424_497),
        (3, 369_000),
    ]
    assert (power.amount, power.quantity) == (107_177_377, 1_531)


def test_american_quotes(example):
    """Dollars become 1/10,000 dollars exactly."""
    price = overseas_quotes.parse_price(example("overseas-quote.quotations.price"), "TSLA", NOW)
    detail = overseas_quotes.parse_price(
        example("overseas-quote.quotations.price-detail"), "TSLA", NOW
    )
    book = overseas_quotes.parse_book(
        example("overseas-quote.quotations.inquire-asking-price"), "TSLA"
    )
    bars = overseas_bars.parse_daily(example("overseas-quote.quotations.dailyprice"))
    minutes = overseas_bars.parse_minute(
        example("overseas-quote.quotations.inquire-time-itemchartprice")
    )
    found = overseas_lists.parse_volume_rank(example("overseas-quote.quotations.inquire-search"))
    settled = overseas_lists.parse_settlements(example("overseas.quotations.countries-holiday"))

    assert (price.price, price.open) == (10_912_600, 0)
    assert (detail.price, detail.high, detail.previous_close) == (2_450_100, 2_590_794, 2_580_800)
    assert book.asks[0] == BookLevel(price=1_470_000, quantity=9_730)
    assert book.bids == ()  # recorded as zeros after the close
    assert (bars[0].session, bars[0].close) == (date(2022, 4, 6), 10_457_600)
    assert minutes[0].start == datetime(2024, 2, 22, 21, 0, tzinfo=UTC)
    assert found[0].exchange is Exchange.NASDAQ
    assert found[0].previous_close == 1_678_200
    assert settled[-1].local_settlement == date(2022, 12, 29)


def test_american_account(example):
    """Orders, holdings and an empty listing are read; blank rows are dropped."""
    still_open = overseas_orders.parse_open_orders(example("overseas.trading.inquire-nccs"))
    listed = overseas_orders.parse_orders(example("overseas.trading.inquire-ccnl"))
    held = overseas_account.parse_holdings(example("overseas.trading.inquire-balance"))
    cash = overseas_account.parse_present_balance(
        example("overseas.trading.inquire-present-balance")
    )
    ack = accounts.parse_ack(example("overseas.trading.order"), NOW)

    assert [row.order.limit for row in still_open] == [2_000_000, 2_000_000]
    # 16:32:09 in Seoul on the American date.
    assert still_open[0].order.ts_event == datetime(2022, 1, 12, 7, 32, 9, tzinfo=UTC)
    assert listed == ()
    assert [(row.symbol, row.quantity, row.cost) for row in held] == [("TSLA", 744, 43_391_677_852)]
    assert cash is None  # the recorded answer holds no currency row
    assert ack.venue_order_id == "0000004336"


def test_recorded_errors(shared_data):
    """Recorded refusals carry codes that the table knows, with their class of retry."""
    path = shared_data.parent / "kis" / "examples" / "errors.json"
    if not path.is_file():
        pytest.skip(f"기록된 KIS 오류가 없어 건너뜀: {path}")
    bodies = [case["body"] for case in json.loads(path.read_text())["examples"] if "body" in case]

    outcomes = [codes.outcome(body) for body in bodies]

    assert all(outcome.code in codes.CODES for outcome in outcomes)
    assert [outcome.code for outcome in outcomes if outcome.ok] == ["40600000", "70070000"]


def test_recorded_frames(shared_data):
    """All recorded trade frames are cut into their records, three in one frame too."""
    path = shared_data / "kis_ws_frames.jsonl"
    if not path.is_file():
        pytest.skip(f"기록된 실시간 자료가 없어 건너뜀: {path}")
    recorded = [json.loads(line) for line in path.read_text().splitlines()]

    for row in recorded:
        frame = stream.parse_frame(row["raw"])
        records = stream.records_of(frame.tr_id, frame.count, frame.payload)
        assert stream.is_data(row["raw"])
        assert [len(record) for record in records] == [row["fields_per_record"]] * row["records"]
        if frame.tr_id != "H0STCNT0":
            continue
        for record in records:
            tick = stream.parse_trade(frame.tr_id, record, NOW)
            assert f"{tick.ts_event:%Y-%m-%d}" == row["business_date"]
            assert str(tick.price) == record[2]
            assert tick.cumulative_volume >= tick.volume


# The two notices of shared/kis/examples/ws_frames.json (decrypted, the layout before 2025-03).
OLD_ORDER = (
    "HTS ID^0000000001^0000002891^^02^0^01^0^136480^0000000001^000000000^094941^0^1^1^06010^"
    "000000001^NAME^하림^10^^하림^"
)
OLD_FILL = (
    "HTS ID^0000000001^0000002891^^02^0^00^0^136480^0000000001^000003190^094941^0^2^2^06010^"
    "000000001^NAME^하림^10^^하림^000000000"
)


def test_old_notices_are_still_read():
    """The 23-field layout means the same: an acceptance and a fill."""
    received = datetime(2024, 1, 5, 0, 49, 42, tzinfo=UTC)
    order = stream.parse_notice("H0STCNI0", OLD_ORDER.split("^"))
    fill = stream.parse_notice("H0STCNI0", OLD_FILL.split("^"))

    event = stream.notice_event(fill, received)

    assert (order.is_fill, order.order_id, order.name) == (False, "0000002891", "하림")
    assert (fill.side, fill.quantity, fill.price) == (Side.BUY, 1, 3_190)
    assert event.amount == 3_190
    assert event.ts_event == datetime(2024, 1, 5, 0, 49, 41, tzinfo=UTC)


# --- what we render holds the fields of the recorded answers ---------------------------------

SAMSUNG = Instrument(symbol="005930", exchange=Exchange.KOSPI, name="삼성전자")
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ, name="Apple")
INSTRUMENTS = {"005930": SAMSUNG, "AAPL": APPLE}
KRX_QUOTE = Quote(
    symbol="005930", price=71_900, previous_close=72_000, open=72_100, high=72_400, low=71_700,
    volume=3, upper_limit=93_600, lower_limit=50_400, ts_event=NOW,
)  # fmt: skip
US_QUOTE = Quote(
    symbol="AAPL", price=896_200, previous_close=889_300, open=896_200, high=899_100, low=881_900,
    volume=3, upper_limit=0, lower_limit=0, ts_event=NOW,
)  # fmt: skip
ORDER = VenueOrder(
    venue_order_id="0000000001", branch="06010", symbol="005930", side=Side.SELL, quantity=10,
    limit=71_900, filled_quantity=4, filled_amount=4 * 71_901, canceled_quantity=0,
    rejected_quantity=0, ts_event=NOW,
)  # fmt: skip
US_ORDER = VenueOrder(
    venue_order_id="0000000001", branch="01790", symbol="AAPL", side=Side.BUY, quantity=10,
    limit=896_200, filled_quantity=4, filled_amount=4 * 896_201, canceled_quantity=6,
    rejected_quantity=0, ts_event=NOW,
)  # fmt: skip
HOLDING = Holding(symbol="AAPL", quantity=3, sellable=2, cost=2_600_001, price=896_200,
                  name="Apple", exchange=Exchange.NASDAQ)  # fmt: skip
BALANCE = Balance(cash=100, cash_next=90, cash_final=80, holdings=(HOLDING,))
DAY = DailyRow(session=NOW.date(), open=1, high=2, low=1, close=2, volume=3, value=4)
MINUTE = MinuteRow(start=NOW, open=1, high=2, low=1, close=2, volume=3, value=4)
RANK = RankRow(rank=1, symbol="AAPL", name="Apple", price=896_200, previous_close=889_300,
               volume=5, exchange=Exchange.NASDAQ)  # fmt: skip
PAGE = Page(fk="1", nk="2")

RENDERED = {
    "domestic.quotations.inquire-price": domestic_quotes.render_price(
        KRX_QUOTE, SAMSUNG, value=1, tick=100, lot=1
    ),
    "domestic.quotations.inquire-asking-price-exp-ccn": domestic_quotes.render_book(
        Book(symbol="005930"), KRX_QUOTE, "120000"
    ),
    "domestic.quotations.inquire-time-itemchartprice": domestic_bars.render_minute(
        [MINUTE], KRX_QUOTE, SAMSUNG
    ),
    "domestic.quotations.volume-rank": domestic_rankings.render_volume_rank([RANK]),
    "domestic.quotations.chk-holiday": {
        **domestic_company.render_holidays([HolidayRow(day=NOW.date(), is_open=True)]),
        **accounts.render_page(PAGE, 20),
    },
    "domestic.trading.order-cash": accounts.render_ack(
        OrderAck(venue_order_id="0000000001", branch="06010", ts_event=NOW)
    ),
    "domestic.trading.inquire-psbl-rvsecncl": {
        **domestic_orders.render_open_orders([ListedOrder(order=ORDER)], INSTRUMENTS),
        **accounts.render_page(PAGE, 100),
    },
    "domestic.trading.inquire-daily-ccld": {
        **domestic_orders.render_orders([ListedOrder(order=ORDER)], INSTRUMENTS),
        **accounts.render_page(PAGE, 100),
    },
    "domestic.trading.inquire-balance": {
        **domestic_account.render_balance(BALANCE),
        **accounts.render_page(PAGE, 100),
    },
    "domestic.trading.inquire-psbl-order": domestic_account.render_buying_power(
        BuyingPower(amount=1, quantity=2, price=3)
    ),
    "overseas-quote.quotations.price": overseas_quotes.render_price(US_QUOTE, APPLE, value=None),
    "overseas-quote.quotations.price-detail": overseas_quotes.render_price_detail(
        US_QUOTE, APPLE, value=1, tick=100
    ),
    "overseas-quote.quotations.inquire-asking-price": overseas_quotes.render_book(
        Book(symbol="AAPL"), US_QUOTE, APPLE, NOW
    ),
    "overseas-quote.quotations.dailyprice": overseas_bars.render_daily([DAY], APPLE),
    "overseas-quote.quotations.inquire-time-itemchartprice": overseas_bars.render_minute(
        [MINUTE], APPLE, opens=NOW, closes=NOW, has_more=False
    ),
    "overseas-quote.quotations.inquire-search": overseas_lists.render_volume_rank([RANK]),
    "overseas.trading.order": accounts.render_ack(
        OrderAck(venue_order_id="0000000001", branch="01790", ts_event=NOW)
    ),
    "overseas.trading.inquire-nccs": {
        **overseas_orders.render_open_orders([US_ORDER], INSTRUMENTS),
        **accounts.render_page(PAGE, 200),
    },
    "overseas.trading.inquire-ccnl": {
        **overseas_orders.render_orders([ListedOrder(order=US_ORDER)], INSTRUMENTS),
        **accounts.render_page(PAGE, 200),
    },
    "overseas.trading.inquire-balance": {
        **overseas_account.render_holdings("1234567801", [HOLDING]),
        **accounts.render_page(PAGE, 200),
    },
    "overseas.trading.inquire-present-balance": overseas_account.render_present_balance(
        BALANCE, unsettled_bought=1, unsettled_sold=2
    ),
    "overseas.quotations.countries-holiday": {
        **overseas_lists.render_settlements(
            [
                SettlementRow(
                    country="840", market_name="나스닥", local_settlement=NOW.date(),
                    domestic_settlement=NOW.date(),
                )
            ]
        ),
        **accounts.render_page(PAGE, 20),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_answers_have_every_recorded_field(example, name):
    """A client that reads any recorded field of an answer finds it in ours."""
    ours = codes.success(RENDERED[name])

    for key, value in example(name).items():
        assert key in ours
        recorded = value[0] if isinstance(value, list) else value
        rendered = ours[key][0] if isinstance(ours[key], list) else ours[key]
        if isinstance(recorded, dict):
            assert set(recorded) <= set(rendered), key
            assert all(isinstance(field, str) for field in rendered.values())


# --- both ends agree -------------------------------------------------------------------------


def test_quotes_come_back():
    """What the venue renders the client reads as it was."""
    krx = domestic_quotes.parse_price(RENDERED["domestic.quotations.inquire-price"], "005930", NOW)
    us = overseas_quotes.parse_price(
        RENDERED["overseas-quote.quotations.price-detail"], "AAPL", NOW
    )
    book = Book(symbol="AAPL", asks=(BookLevel(price=896_300, quantity=5),))

    assert (krx, us) == (KRX_QUOTE, US_QUOTE)
    assert (
        overseas_quotes.parse_book(overseas_quotes.render_book(book, US_QUOTE, APPLE, NOW), "AAPL")
        == book
    )
    won = Book(symbol="005930", bids=(BookLevel(price=71_900, quantity=5),))
    assert (
        domestic_quotes.parse_book(domestic_quotes.render_book(won, KRX_QUOTE, "120000"), "005930")
        == won
    )


def test_orders_come_back():
    """Exact filled amounts, canceled shares and refusals survive the wire."""
    refused = ListedOrder(
        order=VenueOrder(
            venue_order_id="0000000002", branch="01790", symbol="AAPL", side=Side.SELL, quantity=3,
            limit=1, filled_quantity=0, filled_amount=0, canceled_quantity=0, rejected_quantity=3,
            ts_event=NOW, original_order_id="",
        ),
        reason="호가 오류",
    )  # fmt: skip
    cancel = ListedOrder(
        order=VenueOrder(
            venue_order_id="0000000003", branch="06010", symbol="005930", side=Side.SELL,
            quantity=6, limit=0, filled_quantity=0, filled_amount=0, canceled_quantity=6,
            rejected_quantity=0, ts_event=NOW, original_order_id="0000000001",
        ),
        kind=OrderKind.CANCEL,
    )  # fmt: skip
    korean = [ListedOrder(order=ORDER), cancel]
    american = [ListedOrder(order=US_ORDER), refused]

    assert (
        list(domestic_orders.parse_orders(domestic_orders.render_orders(korean, INSTRUMENTS)))
        == korean
    )
    assert (
        list(overseas_orders.parse_orders(overseas_orders.render_orders(american, INSTRUMENTS)))
        == american
    )


def test_a_canceled_revision_keeps_what_it_traded():
    """Six of ten were canceled by hand: the four that traded are not lost with the flag."""
    revised = ListedOrder(
        order=VenueOrder(
            venue_order_id="0000000004", branch="06010", symbol="005930", side=Side.BUY,
            quantity=10, limit=70_000, filled_quantity=4, filled_amount=280_000,
            canceled_quantity=6, rejected_quantity=0, ts_event=NOW, original_order_id="0000000001",
        ),
        kind=OrderKind.REVISE,
    )  # fmt: skip
    body = domestic_orders.render_orders([revised], INSTRUMENTS)
    body["output1"][0]["cncl_yn"] = "Y"

    assert domestic_orders.parse_orders(body) == (revised,)


def test_balances_come_back():
    """Cash and cost survive to the minor unit; sold-out positions are dropped."""
    gone = Holding(symbol="IBM", quantity=0, sellable=0, cost=0, exchange=Exchange.NYSE)
    balance = Balance(cash=3, cash_next=2, cash_final=1, holdings=(HOLDING, gone), bought_today=9)

    korean = domestic_account.parse_balance(domestic_account.render_balance(balance))
    american = overseas_account.parse_present_balance(
        overseas_account.render_present_balance(balance, unsettled_bought=7, unsettled_sold=5)
    )

    assert (korean.cash, korean.cash_next, korean.cash_final) == (3, 2, 1)
    assert [row.cost for row in korean.holdings] == [HOLDING.cost]
    assert (american.cash, american.cash_final) == (3, 3 + 5 - 7)
    assert overseas_account.parse_holdings(
        overseas_account.render_holdings("1234567801", [HOLDING, gone])
    ) == (HOLDING,)


def test_of_a_fractional_holding_the_whole_shares_count():
    """They alone can be sold here; a holding of less than one share is none."""
    body = overseas_account.render_holdings("1234567801", [HOLDING])
    (row,) = body["output1"]
    part = row | {
        "ovrs_cblc_qty": "2.50000000", "ord_psbl_qty": "2.5", "frcr_pchs_amt1": "250.00000",
    }  # fmt: skip
    crumb = part | {"ovrs_pdno": "IBM", "ovrs_cblc_qty": "0.25", "ord_psbl_qty": "0"}

    (held,) = overseas_account.parse_holdings(body | {"output1": [part, crumb]})

    assert (held.quantity, held.sellable, held.cost) == (2, 2, 2_000_000)


def test_unknown_symbols_are_missing():
    """KIS answers an unknown symbol without an error; we do not."""
    with pytest.raises(MissingDataError):
        domestic_quotes.parse_price(domestic_quotes.render_unknown_price(), "999999", NOW)
    with pytest.raises(MissingDataError):
        overseas_quotes.parse_price(overseas_quotes.render_unknown_price(), "NONE", NOW)


def test_tr_ids():
    """Both generations and both profiles have their ids; the US sale has an id of its own."""
    order = endpoints.KRX_ORDER

    assert order.tr_id(Profile.REAL, "buy") == "TTTC0012U"
    assert order.tr_id(Profile.PAPER, "sell", Generation.OLD) == "VTTC0801U"
    assert order.variant(Profile.REAL, "TTTC0801U") == "sell"
    assert order.variant(Profile.REAL, "VTTC0801U") is None
    assert endpoints.US_ORDER.tr_id(Profile.PAPER, "sell") == "VTTT1001U"
    assert endpoints.KRX_BALANCE.tr_id(Profile.REAL, "", Generation.OLD) == "TTTC8434R"
    assert not endpoints.KRX_OPEN_ORDERS.is_offered(Profile.PAPER)
    assert endpoints.BY_PATH[order.path] is order


def test_requests_are_read_in_either_case():
    """Query names come in both cases; a missing field is named."""
    lower = {"fid_cond_mrkt_div_code": "J", "fid_input_iscd": "005930"}

    assert domestic_quotes.parse_symbol_request(lower) == "005930"
    with pytest.raises(SchemaError, match="FID_INPUT_ISCD"):
        domestic_quotes.parse_symbol_request({"fid_cond_mrkt_div_code": "J"})
    with pytest.raises(SchemaError, match="거래소"):
        overseas_quotes.parse_symbol_request({"EXCD": "HKS", "SYMB": "00003"})


def test_unknown_codes_are_not_retried():
    """What we do not know is never asked again; a missing envelope is a refusal."""
    assert codes.lookup("XYZ12345").retry is codes.Retry.NEVER
    assert codes.lookup("OPSQ0005").retry is codes.Retry.AGAIN
    assert not codes.outcome({}).ok


KOREAN = {
    "domestic.quotations.inquire-price": lambda body: domestic_quotes.parse_price(body, "1", NOW),
    "domestic.quotations.inquire-asking-price-exp-ccn": lambda body: domestic_quotes.parse_book(
        body, "1"
    ),
    "domestic.quotations.inquire-time-itemchartprice": domestic_bars.parse_minute,
    "domestic.quotations.volume-rank": domestic_rankings.parse_volume_rank,
    "domestic.quotations.chk-holiday": domestic_company.parse_holidays,
    "domestic.trading.order-cash": lambda body: accounts.parse_ack(body, NOW),
    "domestic.trading.inquire-psbl-rvsecncl": lambda body: domestic_orders.parse_open_orders(
        body, NOW
    ),
    "domestic.trading.inquire-daily-ccld": domestic_orders.parse_orders,
    "domestic.trading.inquire-balance": domestic_account.parse_balance,
    "domestic.trading.inquire-psbl-order": domestic_account.parse_buying_power,
}
JUNK = (
    None, "", " ", "abc", [], {}, [[]], [{}], ["x"], 0, -5, 1.5, True, "99999999", "250000",
    "1e400", "NaN", "가", "-", "1,234", {"a": [1]},
)  # fmt: skip


@pytest.mark.parametrize("name", KOREAN)
@given(data=st.data())
def test_damaged_answers_are_read_or_refused(name, data):
    """Whatever is missing, renamed or of another shape is a value or one of our errors."""
    body = json.loads(json.dumps(RENDERED[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        inside, key = None, None
        here = body
        while isinstance(here, dict | list) and here:
            keys = sorted(here) if isinstance(here, dict) else range(len(here))
            inside, key = here, data.draw(st.sampled_from(keys))
            here = inside[key]
            if data.draw(st.booleans()):
                break
        if inside is not None:
            inside[key] = deepcopy(data.draw(st.sampled_from(JUNK)))

    with suppress(TradingError):
        KOREAN[name](body)
