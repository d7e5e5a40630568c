"""The stream client against a small WebSocket server that speaks as KIS does."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from kis_frames import CONTROL, DATA
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from trading.broker.settings import StreamSettings
from trading.broker.stream import KisStream
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote, Tick
from trading.domain.order import OrderDoubt, OrderStatus, OrderUpdate, Side
from trading.errors import BrokerError, TransientBrokerError, UsageError
from trading.wire import stream as wire
from trading.wire import values
from trading.wire.records import MinuteRow, Notice, OrderKind

NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
IV, SECRET = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
NOTICE_TR, TRADE_TR = "H0STCNI0", "H0STCNT0"
SAMSUNG = Instrument(symbol="005930", exchange=Exchange.KOSPI)
ACCOUNT = "1234567801"


class Venue:
    """Confirms registrations, unless ``refuse`` names a code for a key, and sends on demand."""

    def __init__(self):
        self.refuse = {}
        self.ignore = set()
        self.times = []
        self.unknown_keys = set()
        self.registered = []
        self.heard = []
        self.sockets = []

    async def talk(self, socket):
        self.sockets.append(socket)
        async for text in socket:
            message = wire.parse_client_message(text)
            if isinstance(message, wire.Ping):
                self.heard.append(message.text)
                continue
            self.registered.append((message.tr_id, message.key, message.is_on))
            self.times.append(asyncio.get_running_loop().time())
            if message.key in self.ignore:
                continue
            code = self.refuse.get(message.key, "OPSP0000" if message.is_on else "OPSP0001")
            if message.approval_key in self.unknown_keys:
                code = "OPSP0011"
            is_ok = code in ("OPSP0000", "OPSP0001")
            await socket.send(
                wire.reply_message(
                    wire.Reply(
                        tr_id=message.tr_id,
                        key=message.key,
                        ok=is_ok,
                        code=code,
                        text="",
                        encrypted=message.tr_id == NOTICE_TR,
                        iv=IV if is_ok else "",
                        secret=SECRET if is_ok else "",
                    )
                )
            )

    async def send(self, text):
        await self.sockets[-1].send(text)


@pytest.fixture
async def venue():
    """Return a server that listens on a free port."""
    venue = Venue()
    async with serve(venue.talk, "127.0.0.1", 0) as server:
        venue.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield venue


@pytest.fixture
async def start(venue):
    """Return a function that makes a stream; approvals are counted in ``approvals``."""
    streams = []

    def make(**changes):
        approvals = []

        async def approve():
            approvals.append(f"key-{len(approvals) + 1}")
            return approvals[-1]

        own = {"url": venue.url, "clock": ManualClock(NOW), "quote": None, "minutes": None}
        own |= {name: changes.pop(name) for name in own if name in changes}
        stream = KisStream(
            own.pop("url"),
            settings=StreamSettings(
                **{
                    "backoff_seconds": 0.01,
                    "backoff_max_seconds": 0.05,
                    "connect_timeout_seconds": 2.0,
                    "reply_timeout_seconds": 1.0,
                    "mend_after_seconds": 0.0,
                    "mend_pause_seconds": 0.0,
                    **changes,
                }
            ),
            approve=approve,
            notice=(NOTICE_TR, "hts"),
            account=ACCOUNT,
            rng=random.Random(1),
            **own,
        )
        stream.approvals = approvals
        streams.append(stream)
        return stream

    yield make
    for stream in streams:
        await stream.close()


def trade(price, cumulative, *, volume=1, second=0):
    """Return one Korean trade record."""
    return wire.render_trade(
        Market.KRX,
        wire.Print(
            symbol="005930", ts=NOW + timedelta(seconds=second), price=price, volume=volume,
            cumulative_volume=cumulative, value=0, open=price, high=price, low=price,
            previous_close=price,
        ),
        SAMSUNG,
    )  # fmt: skip


def notice(**changes):
    """Return one encrypted notice frame: a fill of 3 of 10 shares unless told otherwise."""
    fields = {
        "account": ACCOUNT,
        "order_id": "0000000007",
        "original_order_id": "",
        "side": Side.BUY,
        "kind": OrderKind.NEW,
        "symbol": "005930",
        "quantity": 3,
        "price": 71_900,
        "time": values.korean_time(NOW),
        "is_fill": True,
        "is_refused": False,
        "acceptance": "2",
        "order_quantity": 10,
        **changes,
    }
    record = wire.render_notice(Market.KRX, Notice(**fields))
    return wire.frame_message(NOTICE_TR, [record], iv=IV, secret=SECRET)


async def received(stream, venue, *texts):
    """Send texts and return the events they became."""
    before = stream.frames_handled
    for text in texts:
        await venue.send(text)
    await stream.wait_handled(before + len(texts), timeout_seconds=5)
    return stream.drain()


def frame(record):
    return wire.frame_message(TRADE_TR, [record])


def bar(minute, first, high, low, close, *, volume):
    return MinuteRow(
        start=NOW + timedelta(minutes=minute), open=first, high=high, low=low, close=close,
        volume=volume,
    )  # fmt: skip


async def keep_talking(venue):
    """Send PINGPONG for ever, so that the connection is not taken for dead."""
    while True:
        with suppress(ConnectionClosed):
            await venue.send(wire.ping_message(NOW))
        await asyncio.sleep(0.02)


async def reconnected(stream, venue, *, replies):
    """Close the connection and return when the next one has had its replies."""
    connections = stream.connections
    await venue.sockets[-1].close()
    async with asyncio.timeout(5):
        while stream.connections == connections or stream.frames_handled < replies:
            await asyncio.sleep(0.005)


async def test_trades_and_ping(start, venue):
    """Several trades in a frame all come out, in order; PINGPONG goes back as it came."""
    stream = start()
    await stream.register(TRADE_TR, ["005930"])
    ping = wire.ping_message(NOW)

    events = await received(
        stream, venue, wire.frame_message(TRADE_TR, [trade(100, 1), trade(101, 2)]), ping
    )
    async with asyncio.timeout(5):
        while not venue.heard:
            await asyncio.sleep(0)

    assert [(type(event), event.price) for event in events] == [(Tick, 100), (Tick, 101)]
    assert events[0].auction
    assert not events[1].auction
    assert venue.heard == [ping]
    assert stream.frames_handled == 4  # two replies, one frame, one ping


async def test_notices_become_events(start, venue):
    """Acceptance, fill, cancel and refusal each become what they mean; others' are left out."""
    stream = start()
    await stream.connect()

    events = await received(
        stream,
        venue,
        notice(is_fill=False, price=0, quantity=10, acceptance="1"),
        notice(),
        notice(is_fill=False, kind=OrderKind.CANCEL, order_id="0000000008", price=0,
               original_order_id="0000000007", acceptance="1"),
        notice(is_fill=False, kind=OrderKind.CANCEL, order_id="0000000008", price=0,
               original_order_id="0000000007"),
        notice(is_fill=False, is_refused=True, order_id="0000000009", price=0),
        notice(is_fill=False, is_refused=True, kind=OrderKind.CANCEL, order_id="0000000010",
               original_order_id="0000000007", price=0),
        notice(is_fill=False, acceptance="3", order_id="0000000011", price=0),
        notice(account="9999999901"),
    )  # fmt: skip

    assert [(event.venue_order_id, getattr(event, "status", "fill")) for event in events] == [
        ("0000000007", OrderStatus.ACCEPTED),
        ("0000000007", "fill"),
        ("0000000007", OrderStatus.CANCELED),
        ("0000000009", OrderStatus.REJECTED),
        ("0000000007", OrderStatus.ACCEPTED),
        ("0000000011", OrderStatus.CANCELED),
    ]
    assert events[1].amount == 3 * 71_900
    assert events[4].reason == "취소 거부"


async def test_equal_fills_and_repeated_fills(start, venue):
    """A fill that looks like one already told is left to the order listing, and so is too much."""
    stream = start()
    await stream.connect()
    later = values.korean_time(NOW + timedelta(seconds=1))
    first = await received(stream, venue, notice(), notice(), notice(time=later))

    await reconnected(stream, venue, replies=1)
    again = await received(stream, venue, notice())
    last = values.korean_time(NOW + timedelta(seconds=2))
    too_much = await received(stream, venue, notice(time=last, quantity=5))
    rest = await received(stream, venue, notice(time=last, quantity=4))

    number = "0000000007"
    assert [getattr(event, "quantity", "doubt") for event in first] == [3, "doubt", 3]
    # The reconnection itself puts every order in doubt.
    assert [event.venue_order_id for event in again] == ["", number]
    assert [(type(event), event.venue_order_id) for event in too_much] == [(OrderDoubt, number)]
    assert [event.quantity for event in rest] == [4]


async def test_order_numbers_begin_anew_each_day(start, venue):
    """The same order number on another day is another order."""
    stream = start()
    await stream.connect()
    await received(stream, venue, notice(quantity=10))

    stream._clock.set(NOW + timedelta(hours=20))
    events = await received(stream, venue, notice(quantity=10))

    assert [event.quantity for event in events] == [10]


async def test_reconnects_and_registers_again(start, venue):
    """After a lost connection everything wanted is registered again with the same key."""
    stream = start()
    await stream.register(TRADE_TR, ["005930", "000660"])
    await stream.unregister(TRADE_TR, ["000660"])
    await received(stream, venue, wire.frame_message(TRADE_TR, [trade(100, 1)]))
    venue.registered.clear()

    await reconnected(stream, venue, replies=2)
    again = await received(
        stream, venue, wire.frame_message(TRADE_TR, [trade(100, 1)]),
        wire.frame_message(TRADE_TR, [trade(102, 2)]),
    )  # fmt: skip

    assert venue.registered == [(NOTICE_TR, "hts", True), (TRADE_TR, "005930", True)]
    assert stream.approvals == ["key-1"]
    # The repeated print is not new.
    assert [event.price for event in again if isinstance(event, Tick)] == [102]


async def test_silence_counts_as_a_lost_connection(start, venue):
    """A connection that says nothing for too long is replaced."""
    stream = start(stall_seconds=0.05)
    await stream.connect()

    async with asyncio.timeout(5):
        while stream.connections < 3:
            await asyncio.sleep(0.005)


async def test_refused_registrations(start, venue):
    """A refusal is an error with its code, and the place is not counted as taken."""
    venue.refuse["000660"] = "OPSP8992"
    stream = start()

    with pytest.raises(BrokerError) as refused:
        await stream.register(TRADE_TR, ["000660"])
    with pytest.raises(UsageError):
        await stream.register(TRADE_TR, [f"{number:06d}" for number in range(41)])
    await stream.register(TRADE_TR, [f"{number:06d}" for number in range(40)])

    assert refused.value.code == "OPSP8992"


async def test_refused_key_is_replaced(start, venue):
    """A WebSocket key that the venue does not know is fetched anew, and nobody notices."""
    venue.unknown_keys.add("key-1")
    stream = start()

    await stream.register(TRADE_TR, ["005930"])

    assert stream.approvals == ["key-1", "key-2"]
    assert stream.approval_key == "key-2"


async def test_unreadable_messages_cost_nothing(start, venue):
    """Text that cannot be read is logged and counted, and the next one is read."""
    stream = start()
    await stream.connect()

    events = await received(
        stream, venue, "not json", "0|H0STCNT0|001", "0|H0STCNT0|001|a^b", "[]",
        "1|H0GSCNI0|001|abc", wire.frame_message(TRADE_TR, [trade(100, 1)]),
    )  # fmt: skip

    assert [event.price for event in events] == [100]


async def test_damaged_messages_cost_nothing(start, venue):
    """Hundreds of damaged messages later the same connection reads the next good one."""
    stream = start()
    await stream.register(TRADE_TR, ["005930"])
    good = wire.frame_message(TRADE_TR, [trade(100, 1)])
    rng = random.Random(7)
    damaged = []
    for text in [*DATA, *CONTROL[2:], notice()] * 30:
        at = rng.randrange(len(text))
        damaged.append(rng.choice((text[:at], text[:at] + "^|" + text[at:], text[at:], text * 2)))

    await received(stream, venue, *damaged, "\x00", "9" * 10_000, "[" * 10_000)
    events = await received(stream, venue, good)

    assert [event.price for event in events] == [100]
    assert stream.connections == 1


async def test_text_that_is_no_utf8_cost_nothing(start, venue):
    """A frame in cp949 is read as such; the connection stays."""
    stream = start()
    await stream.register(TRADE_TR, ["005930"])
    before = stream.frames_handled
    await venue.sockets[-1].send('{"header":{},"body":{"msg1":"정상"}}'.encode("cp949"), text=True)
    await venue.send(wire.frame_message(TRADE_TR, [trade(100, 1)]))
    await stream.wait_handled(before + 2, timeout_seconds=5)

    assert [event.price for event in stream.drain()] == [100]
    assert stream.connections == 1


async def test_a_passing_refusal_is_tried_again(start, venue):
    """ "Internal error" is no answer: the registration is repeated until there is one."""
    stream = start()
    venue.refuse["005930"] = "OPSP0007"

    waiting = asyncio.create_task(stream.register(TRADE_TR, ["005930"]))
    async with asyncio.timeout(5):
        while len(venue.registered) < 2:
            await asyncio.sleep(0.005)
    del venue.refuse["005930"]
    await waiting

    assert venue.registered[-1] == (TRADE_TR, "005930", True)
    assert stream.connections == 1


async def test_registrations_that_nobody_answers(start, venue):
    """After a reconnection every registration must be answered; one that never is, is given up."""
    stream = start(stall_seconds=0.2, reply_timeout_seconds=0.1)
    pinging = asyncio.create_task(keep_talking(venue))
    await stream.register(TRADE_TR, ["005930", "000660"])
    venue.ignore.add("000660")
    await venue.sockets[-1].close()

    async with asyncio.timeout(5):
        while stream.connections < 4 or stream.frames_handled < 2:
            await asyncio.sleep(0.005)
    pinging.cancel()

    assert venue.registered[-2:] == [(NOTICE_TR, "hts", True), (TRADE_TR, "005930", True)]
    assert stream.room == wire.MAX_REGISTRATIONS - 2


async def test_lost_registrations_are_noticed(start, venue):
    """A venue that has forgotten a registration while the connection lives is connected anew."""
    stream = start(stall_seconds=0.2, audit_seconds=0.05)
    venue.refuse = {"hts": "OPSP0002", "005930": "OPSP0002"}
    await stream.register(TRADE_TR, ["005930"])
    talking = asyncio.create_task(keep_talking(venue))
    async with asyncio.timeout(5):
        while len(venue.registered) < 6:
            await asyncio.sleep(0.005)
    connections = stream.connections
    del venue.refuse["005930"]
    async with asyncio.timeout(5):
        while stream.connections < 2 or len(venue.registered) < 9:
            await asyncio.sleep(0.005)
    talking.cancel()

    assert connections == 1  # "already registered" is as it should be
    assert {key for _, key, _ in venue.registered[-2:]} == {"hts", "005930"}
    assert await stream.arrived(5.0)
    assert OrderDoubt in {type(event) for event in stream.drain()}


async def test_a_ghost_session_is_waited_for(start, venue):
    """While the venue thinks that another session lives, it is asked ever more rarely."""
    venue.refuse["hts"] = "OPSP8996"
    stream = start(backoff_seconds=0.02, backoff_max_seconds=0.16)
    waiting = asyncio.create_task(stream.connect())
    async with asyncio.timeout(5):
        while len(venue.times) < 6:
            await asyncio.sleep(0.005)
    del venue.refuse["hts"]
    await waiting

    pauses = [later - first for first, later in pairwise(venue.times[:6])]
    least = [0.02, 0.04, 0.08, 0.16, 0.16]
    assert all(pause >= wait for pause, wait in zip(pauses, least, strict=True))
    assert stream.approvals == ["key-1"]  # a fresh one would not help


async def test_a_hole_is_mended_from_minute_bars(start, venue):
    """The print that does not begin where the last one ended brings what lies between."""
    asked = []

    async def minutes(symbol, since):
        asked.append(symbol)
        return [bar(0, 90, 130, 90, 110, volume=20), bar(1, 110, 140, 80, 120, volume=40)]

    stream = start(minutes=minutes)
    await stream.register(TRADE_TR, ["005930"])
    before = await received(stream, venue, frame(trade(100, 5, volume=5)))
    later = frame(trade(120, 70, volume=10, second=125))
    newest, *events = await received(stream, venue, later)

    # 55 shares were missed. Of the first minute 100 was seen: its low and high are news. The
    # second was missed whole: open, low, high, close with 40 shares. The rest comes at the end.
    assert [event.price for event in before] == [100]
    assert asked == ["005930"]
    assert newest.price == 120
    assert [event.price for event in events] == [90, 130, 110, 80, 140, 120, 120]
    assert sum(event.volume for event in events) == 55
    assert events[-1].ts_event == NOW + timedelta(seconds=125)


async def test_a_late_print_closes_its_hole(start, venue):
    """What was only out of order is not asked for."""
    asked = []

    async def minutes(symbol, since):
        asked.append(symbol)
        return []

    stream = start(minutes=minutes, mend_after_seconds=0.05)
    await stream.register(TRADE_TR, ["005930"])
    texts = [frame(trade(price, price)) for price in (1, 3, 2, 4, 4)]
    events = await received(stream, venue, *texts)

    assert [event.price for event in events] == [1, 3, 2, 4]
    assert asked == []


async def test_what_was_missed_over_a_cut_is_mended(start, venue):
    """After a reconnection the current price tells of prints that nothing followed."""

    async def minutes(symbol, since):
        return [bar(0, 100, 100, 95, 99, volume=30)]

    async def quote(symbol):
        return Quote(
            symbol=symbol, price=99, previous_close=0, open=0, high=0, low=0, volume=30,
            upper_limit=0, lower_limit=0, ts_event=NOW,
        )  # fmt: skip

    stream = start(minutes=minutes, quote=quote)
    await stream.register(TRADE_TR, ["005930"])
    await received(stream, venue, frame(trade(100, 5, volume=5)))
    await reconnected(stream, venue, replies=2)
    await stream.wait_handled(2)
    ticks = [event for event in stream.drain() if isinstance(event, Tick)]
    await stream.heal()

    assert [tick.price for tick in ticks] == [95, 100]
    assert sum(tick.volume for tick in ticks) == 25
    assert stream.drain() == []


async def test_a_broken_look_up_leaves_the_hole(start, venue):
    """When REST fails too, the hole stays and the next print tries again."""
    answers = [TransientBrokerError("없음"), [bar(0, 1, 9, 1, 5, volume=9)]]

    async def minutes(symbol, since):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    stream = start(minutes=minutes)
    await stream.register(TRADE_TR, ["005930"])
    await received(stream, venue, frame(trade(5, 1)), frame(trade(5, 4)))
    events = await received(stream, venue, frame(trade(5, 5)))

    assert answers == []
    assert [event.price for event in events] == [5, 1, 9, 5]


async def test_no_server_and_no_frames(start, venue):
    """Waiting has an end, whether for the connection or for frames."""
    stream = start()
    await stream.connect()
    with pytest.raises(TransientBrokerError):
        await stream.wait_handled(99, timeout_seconds=0.01)

    nowhere = start(url="ws://127.0.0.1:9", connect_timeout_seconds=0.1)
    with pytest.raises(TransientBrokerError):
        await nowhere.connect()


async def test_closing_loses_no_event(start, venue):
    """After closing, what had come can still be taken, and then there is nothing more."""
    stream = start()
    await stream.connect()
    await venue.send(notice(is_fill=False, price=0))
    await stream.wait_handled(2, timeout_seconds=5)
    await stream.close()

    (event,) = stream.drain()
    assert isinstance(event, OrderUpdate)
    assert not await stream.arrived(0.0)
