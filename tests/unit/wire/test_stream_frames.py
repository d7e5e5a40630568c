"""Frames of the WebSocket: what they say, and that nothing of them is lost."""

import json
from datetime import UTC, datetime

import pytest
from kis_frames import ACCEPTED, BOOK, DATA, EXPECTED, FILLED, INDEX, STATUS, TRADE, US_BOOK

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import BookLevel, ExpectedMatch, IndexTick, MarketStatus
from trading.domain.order import OrderStatus, Side
from trading.errors import SchemaError
from trading.wire import layouts, stream, ticker
from trading.wire.records import Notice, OrderKind

NOW = datetime(2024, 5, 7, 0, 30, tzinfo=UTC)
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ)


def records(text):
    frame = stream.parse_frame(text)
    return frame.tr_id, stream.records_of(frame.tr_id, frame.count, frame.payload)


def event(text):
    tr_id, (record,) = records(text)
    return ticker.parse(tr_id, record, NOW)


def whole(text):
    """Decode every field of a frame and write it again."""
    tr_id, found = records(text)
    again = [
        "^".join(layouts.encode_record(tr_id, layouts.decode_record(tr_id, record)))
        for record in found
    ]
    return stream.frame_message(tr_id, again)


@pytest.mark.parametrize("text", DATA, ids=lambda text: text[2:10])
def test_documented_frames_come_back_the_same(text):
    """Decoding every field and encoding it again loses nothing."""
    assert whole(text) == text


def test_recorded_frames_come_back_the_same(shared_data):
    """So do the frames that were recorded, older and newer field counts included."""
    lines = (shared_data / "kis_ws_frames.jsonl").read_text(encoding="utf-8").splitlines()
    frames = [json.loads(line) for line in lines]

    assert [whole(frame["raw"]) for frame in frames] == [frame["raw"] for frame in frames]
    assert sum(len(records(frame["raw"])[1]) for frame in frames) == sum(
        frame.get("records", 1) for frame in frames
    )


def test_every_example_comes_back_the_same(shared_data):
    """And every example of the documentation, of TRs that nobody here registers too."""
    path = shared_data.parent / "kis" / "examples" / "ws_frames.json"
    if not path.is_file():
        pytest.skip(f"기록된 실시간 자료가 없어 건너뜀: {path}")
    for tr_id, examples in json.loads(path.read_text(encoding="utf-8"))["frames"].items():
        for example in examples:
            record = example["frame"].rpartition("|")[2].split("^")
            row = layouts.decode_record(tr_id, record)
            assert layouts.encode_record(tr_id, row) == record


def test_field_counts_are_the_documented_ones():
    """PROTOCOL 12.2; of H0UNMKO0 the workbook prints ten."""
    assert layouts.FIELD_COUNTS == {
        "H0STCNT0": 46, "H0NXCNT0": 46, "H0UNCNT0": 46,
        "H0STASP0": 59, "H0NXASP0": 65, "H0UNASP0": 65,
        "H0STANC0": 45, "H0NXANC0": 46, "H0UNANC0": 46,
        "H0UPCNT0": 30, "H0UPANC0": 30,
        "H0STMKO0": 11, "H0NXMKO0": 11, "H0UNMKO0": 10,
        "HDFSCNT0": 26, "HDFSASP0": 71,
        "H0STCNI0": 26, "H0STCNI9": 26, "H0GSCNI0": 25, "H0GSCNI9": 25,
    }  # fmt: skip


def test_books_have_ten_levels():
    """Best level first, dollars in 1/10,000; a level of zeros does not exist."""
    korean, american = event(BOOK), event(US_BOOK)
    empty = event(BOOK.replace("^72800^", "^0^"))

    assert (len(korean.asks), len(korean.bids)) == (10, 10)
    assert korean.asks[0] == BookLevel(price=71_900, quantity=91_918)
    assert korean.bids[0] == BookLevel(price=71_800, quantity=95_221)
    assert korean.ts_event == datetime(2024, 5, 7, 0, 37, 30, tzinfo=UTC)
    assert american.symbol == "AAPL"
    assert american.bids[0] == BookLevel(price=1_828_500, quantity=350)
    assert american.asks[9] == BookLevel(price=1_830_100, quantity=98)
    assert american.ts_event == datetime(2024, 5, 7, 0, 22, 23, tzinfo=UTC)
    assert len(empty.asks) == 9


def test_indices_expected_matches_and_status():
    """Index points, the price of a running auction, and whether a share trades."""
    halted = STATUS.replace("^N^(null)^", "^Y^거래정지^")
    unified = "0|H0UNMKO0|001|N^(null)^^311^^^55^N^N^1"

    assert event(INDEX) == IndexTick(
        index="0001", value=2624.54, open=2615.72, high=2624.82, low=2610.0,
        ts_event=datetime(2024, 5, 7, 0, 12, 40, tzinfo=UTC), ts_recv=NOW,
    )  # fmt: skip
    assert event(EXPECTED) == ExpectedMatch(
        symbol="005930", price=77_600, volume=17_226_113_600 // 77_600,
        ts_event=datetime(2024, 4, 25, 23, 49, 45, tzinfo=UTC), ts_recv=NOW,
    )  # fmt: skip
    assert event(STATUS) == MarketStatus(
        symbol="396300", halted=False, interrupted=False, operation="", reason="", ts_recv=NOW
    )
    assert (event(halted).halted, event(halted).reason) == (True, "거래정지")
    assert event(unified).symbol == ""


def test_a_status_written_is_read_the_same():
    """What the local exchange says of a halt is what the client hears."""
    for halted, interrupted in ((True, False), (False, True), (False, False)):
        status = MarketStatus(
            symbol="005930", halted=halted, interrupted=interrupted, operation="", reason="",
            ts_recv=NOW,
        )  # fmt: skip
        text = stream.frame_message("H0STMKO0", [ticker.render_status(status)])
        assert event(text) == status


def test_the_quick_decoder_says_what_the_whole_one_says():
    """A lone trade decoded with the help of an earlier one equals the one read in full."""
    decoder = stream.TradeDecoder()
    decoder.begin(NOW)
    first = decoder.decode(TRADE, NOW)
    ((full, is_regular),) = decoder.read(stream.parse_frame(TRADE), NOW)

    assert first is None
    assert is_regular
    assert decoder.decode(TRADE, NOW) == full
    assert (full.price, full.volume, full.cumulative_volume) == (71_900, 1, 3_052_507)
    assert full.ts_event == datetime(2023, 6, 12, 0, 33, 54, tzinfo=UTC)
    # Neither another share nor another second is guessed.
    assert decoder.decode(TRADE.replace("005930", "000660"), NOW) is None
    assert decoder.decode(TRADE.replace("^093354^", "^093355^"), NOW) is None
    assert decoder.decode(TRADE.replace("|001|", "|002|"), NOW) is None


def test_the_quick_decoder_forgets_the_day():
    """The same time of day an hour later on the receiving clock may be of another day."""
    decoder = stream.TradeDecoder()
    decoder.begin(NOW)
    decoder.read(stream.parse_frame(TRADE), NOW)

    decoder.begin(NOW.replace(hour=2))

    assert decoder.decode(TRADE, NOW) is None


def test_trades_outside_the_regular_session_are_marked():
    """MTYP 1 is the regular session, 2 what comes before it, 3 what comes after (US)."""
    trade = stream.Print(
        symbol="AAPL", ts=NOW, price=1_828_500, volume=10, cumulative_volume=20, value=0,
        open=1, high=1, low=1, previous_close=1,
    )  # fmt: skip
    record = stream.render_trade(Market.US, trade, APPLE)
    decoder = stream.TradeDecoder()
    marks = []
    for session in ("1", "2", "3"):
        text = stream.frame_message("HDFSCNT0", [record[:-1] + session])
        ((tick, is_regular),) = decoder.read(stream.parse_frame(text), NOW)
        marks.append((tick.price, is_regular))

    assert marks == [(1_828_500, True), (1_828_500, False), (1_828_500, False)]


def test_both_alternative_exchanges_trade_like_krx():
    """NXT and unified trades have the same fields."""
    for tr_id in ("H0NXCNT0", "H0UNCNT0"):
        ((tick, _),) = stream.TradeDecoder().read(
            stream.parse_frame(TRADE.replace("H0STCNT0", tr_id)), NOW
        )
        assert (tick.symbol, tick.price) == ("005930", 71_900)


@pytest.mark.parametrize(
    "text",
    [
        TRADE.replace("|001|", "|002|"),
        TRADE.replace("|001|", "|000|"),
        TRADE.replace("|001|", "|-01|"),
        TRADE.replace("|001|", "|99999999|"),
        TRADE + "^" + TRADE.rpartition("|")[2],
        TRADE[:120],
        "0|H0STCNT0|001",
    ],
    ids=["two", "none", "negative", "huge", "one for two", "cut", "no payload"],
)
def test_a_wrong_count_is_noticed(text):
    """A count that does not fit the fields is an error, not another reading of them."""
    with pytest.raises(SchemaError):
        records(text)


def test_appended_fields_are_left_out():
    """At the end of the last record, or of every record of the frame."""
    payload = TRADE.rpartition("|")[2]
    last = f"0|H0STCNT0|002|{payload}^{payload}^x"
    each = f"0|H0STCNT0|002|{payload}^x^{payload}^x"

    assert [record[:46] for record in records(last)[1]] == [payload.split("^")] * 2
    assert [record[:46] for record in records(each)[1]] == [payload.split("^")] * 2


def test_documented_notices_are_read():
    """The workbook still prints the former layout: 23 fields."""
    accepted = stream.parse_notice("H0STCNI0", ACCEPTED.split("^"))
    filled = stream.parse_notice("H0STCNI0", FILLED.split("^"))

    assert (accepted.is_fill, accepted.order_id, accepted.symbol) == (False, "0000002891", "136480")
    assert (filled.is_fill, filled.quantity, filled.price) == (True, 1, 3_190)
    assert (filled.name, filled.side) == ("하림", Side.BUY)


@pytest.mark.parametrize(("market", "counts"), [(Market.KRX, (26, 23)), (Market.US, (25, 21))])
def test_notices_of_both_layouts(market, counts):
    """Today's and the former field counts say the same."""
    tr_id = "H0STCNI0" if market is Market.KRX else "H0GSCNI0"
    notice = Notice(
        account="1234567801", order_id="0000000007", original_order_id="", side=Side.SELL,
        kind=OrderKind.NEW, symbol="AAPL", quantity=3, price=1_828_500, time="093015",
        is_fill=True, is_refused=False, acceptance="2", order_quantity=10,
        limit=1_820_000 if market is Market.KRX else 0, branch="06010", name="애플",
        customer="hts", exchange=None if market is Market.KRX else Exchange.NASDAQ,
    )  # fmt: skip
    written = [
        stream.render_notice(market, notice, is_former=is_former).split("^")
        for is_former in (False, True)
    ]

    assert tuple(len(record) for record in written) == counts
    assert [stream.parse_notice(tr_id, record) for record in written] == [notice, notice]


def test_a_refusal_is_a_rejection():
    """RFUS_YN 1 ends the order."""
    refused = ACCEPTED.replace("^094941^0^1^1^", "^094941^1^1^1^")
    update = stream.notice_event(stream.parse_notice("H0STCNI0", refused.split("^")), NOW)

    assert (update.status, update.venue_order_id) == (OrderStatus.REJECTED, "0000002891")


def test_korean_text_in_either_encoding():
    """Names and reasons come as UTF-8, or as cp949 from older servers."""
    assert stream.text_of("하림".encode()) == "하림"
    assert stream.text_of("하림".encode("cp949")) == "하림"
    assert stream.text_of(b"\xff\xfe") != ""
