"""No message of the venue can break the stream client, and no notice is booked twice."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kis_frames import ACCEPTED, CONTROL, DATA, FILLED, TRADE

from trading.broker.settings import StreamSettings
from trading.broker.stream import KisStream
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Tick
from trading.domain.order import Fill, OrderDoubt, Side
from trading.errors import BrokerError, SchemaError
from trading.wire import layouts, stream, ticker, values
from trading.wire.records import Notice, OrderKind

NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
IV, SECRET = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
NOTICE_TR = "H0STCNI0"
ACCOUNT = "1234567801"
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ)

US_TRADE = stream.frame_message(
    "HDFSCNT0",
    [
        stream.render_trade(
            Market.US,
            stream.Print(
                symbol="AAPL",
                ts=NOW,
                price=1_828_500,
                volume=10,
                cumulative_volume=20,
                value=0,
                open=1,
                high=1,
                low=1,
                previous_close=1,
            ),
            APPLE,
        )
    ],
)
NOTICES = tuple(
    stream.frame_message(tr_id, [record], iv=IV, secret=SECRET)
    for tr_id in sorted(stream.NOTICE_TRS)
    for record in (ACCEPTED, FILLED)
)
MESSAGES = (*DATA, US_TRADE, *NOTICES, *CONTROL)


class Socket:
    """Takes what the client says."""

    def __init__(self):
        self.sent = []

    async def send(self, text):
        self.sent.append(text)


def make_stream():
    """Return a client without a connection, which has the keys of every notice TR."""

    async def approve():
        return "key"

    client = KisStream(
        "ws://127.0.0.1:9",
        settings=StreamSettings(),
        approve=approve,
        notice=(NOTICE_TR, "hts"),
        account=ACCOUNT,
        clock=ManualClock(NOW),
        rng=random.Random(1),
    )
    client._keys.update(dict.fromkeys(stream.NOTICE_TRS, (IV, SECRET)))
    return client


@st.composite
def mutated(draw):
    """A documented message, damaged: cut, flipped, doubled separators, wrong or huge counts."""
    text = draw(st.sampled_from(MESSAGES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        kind = draw(st.sampled_from(("cut", "flip", "drop", "insert", "count", "swap", "repeat")))
        match kind:
            case "cut":
                text = text[:at]
            case "flip" if text:
                code = ord(text[at]) ^ (1 << draw(st.integers(0, 7)))
                text = text[:at] + chr(code) + text[at + 1 :]
            case "drop":
                text = text[:at] + text[at + 1 :]
            case "insert":
                text = text[:at] + draw(st.sampled_from('^|{}[]",:-.eE+_ \0²9')) + text[at:]
            case "count":
                number = draw(st.sampled_from(("000", "002", "-01", "", "99999999999", "1e9", "x")))
                text = text.replace("|001|", f"|{number}|")
            case "swap":
                other = draw(st.sampled_from(MESSAGES))
                text = text[:at] + other[at:]
            case _:
                field = draw(
                    st.sampled_from(("^", "|", "^^^^", "1E99999999", "9" * 5000, "\ud800"))
                )
                text = text[:at] + field + text[at:]
    return text


def taken(client, text):
    """Have one message handled as the connection would; whether it was readable."""
    socket = Socket()
    try:
        asyncio.run(client._handle(socket, text))
    except (SchemaError, BrokerError):
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(mutated(), min_size=1, max_size=5))
def test_damaged_messages_never_break_the_client(texts):
    """Each one is read or refused by name; the next good one is read as ever."""
    client = make_stream()
    for text in texts:
        taken(client, text)
    client.drain()

    assert taken(client, US_TRADE)
    assert taken(client, TRADE)
    ticks = [event for event in client.drain() if isinstance(event, Tick)]
    # A damaged copy may have told these very prints before.
    assert {tick.symbol for tick in ticks} <= {"AAPL", "005930"}


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_of_any_kind_are_survived(data):
    """What is no text, no JSON and no frame is refused by name."""
    taken(make_stream(), stream.text_of(data))


@settings(max_examples=300, deadline=None)
@given(
    tr_id=st.sampled_from(sorted(layouts.LAYOUTS)),
    fields=st.lists(st.text("0123456789-.^YN ABCabc가", max_size=12), min_size=1, max_size=80),
    count=st.integers(1, 4),
)
def test_fields_of_any_kind_are_survived(tr_id, fields, count):
    """A well-formed frame with nonsense inside is read or refused, whatever its TR."""
    text = f"0|{tr_id}|{count:03d}|{'^'.join(fields)}"
    taken(make_stream(), text)
    frame = stream.parse_frame(text)
    assert stream.parse_frame(stream.frame_message(tr_id, [frame.payload] * 1)).tr_id == tr_id


@given(text=st.sampled_from(MESSAGES), wrong=st.text("0123456789abcdef", max_size=40))
def test_a_wrong_key_is_refused(text, wrong):
    """A notice that the key does not open is an error, not a notice."""
    client = make_stream()
    client._keys.update(dict.fromkeys(stream.NOTICE_TRS, (IV, wrong)))

    if text in NOTICES:
        assert not taken(client, text) or not client.drain()


def test_an_unknown_tr_is_told_once():
    """New TRs of KIS cost one line in the log, not the connection."""
    client = make_stream()

    assert all(taken(client, f"0|H0NEWTR0|001|{k}^2^3") for k in range(3))
    assert client._strangers == {"H0NEWTR0"}
    assert client.drain() == []


@pytest.mark.parametrize("text", CONTROL[2:])
def test_pingpong_goes_back_as_it_came(text):
    """As a text frame, byte for byte."""
    client, socket = make_stream(), Socket()
    asyncio.run(client._handle(socket, text))

    assert socket.sent == [text]


def test_every_kind_of_frame_becomes_its_event():
    """One of each documented frame: none is lost, none is something else."""
    client = make_stream()
    for text in DATA:
        assert taken(client, text)

    kinds = [type(event).__name__ for event in client.drain()]
    assert kinds == ["Tick", "Book", "ExpectedMatch", "IndexTick", "MarketStatus", "Book"]


# --- notices ---------------------------------------------------------------------------------


@st.composite
def histories(draw):
    """Fills of up to three orders, and the way their notices come: again, late, over a cut."""
    fills = []
    for number in range(draw(st.integers(1, 3))):
        ordered = draw(st.integers(1, 12))
        left = ordered
        while left and draw(st.booleans()):
            quantity = draw(st.integers(1, left))
            left -= quantity
            fills.append((f"{number + 1:010d}", draw(st.integers(0, 2)), quantity, ordered))
    told = list(fills)
    for fill in fills:
        if draw(st.booleans()):
            told.insert(draw(st.integers(0, len(told))), fill)
    return fills, draw(st.permutations(told)) if draw(st.booleans()) else told


def fill_notice(order_id, second, quantity, ordered):
    return Notice(
        account=ACCOUNT, order_id=order_id, original_order_id="", side=Side.BUY,
        kind=OrderKind.NEW, symbol="005930", quantity=quantity, price=71_900,
        time=values.korean_time(NOW + timedelta(seconds=second)), is_fill=True, is_refused=False,
        acceptance="2", order_quantity=ordered,
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(history=histories())
def test_no_fill_is_told_twice_and_none_is_lost_silently(history):
    """What is told as a fill happened, at most that often; what is not told is put in doubt."""
    fills, told = history
    client = make_stream()
    for fill in told:
        client._handle_notice(fill_notice(*fill), NOW)
    events = client.drain()

    happened, booked = Counter(), Counter()
    for order_id, _, quantity, _ in fills:
        happened[order_id] += quantity
    for event in events:
        if isinstance(event, Fill):
            booked[event.venue_order_id] += event.quantity
    doubted = {event.venue_order_id for event in events if isinstance(event, OrderDoubt)}

    assert all(booked[order_id] <= happened[order_id] for order_id in booked)
    assert all(
        order_id in doubted for order_id in happened if booked[order_id] < happened[order_id]
    )


def test_of_another_account_nothing_is_told():
    """A registration by HTS id brings the notices of all its accounts."""
    client = make_stream()
    record = FILLED.replace("^0000000001^", "^9999999901^", 1)
    taken(client, stream.frame_message(NOTICE_TR, [record], iv=IV, secret=SECRET))

    assert client.drain() == []


def test_the_readers_know_every_watched_tr():
    """What can be registered can be read."""
    for (_, feed), tr_id in ticker.FEED_TR.items():
        assert ticker.knows(tr_id), feed
