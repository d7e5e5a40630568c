"""The stream client against a small WebSocket server that speaks as KIS does."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from websockets.asyncio.server import serve

from trading.broker.settings import StreamSettings
from trading.broker.stream import KisStream
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Tick
from trading.domain.order import Fill, OrderStatus, OrderUpdate, Side
from trading.errors import BrokerError, TransientBrokerError, UsageError
from trading.wire import stream as wire
from trading.wire import values
from trading.wire.records import Notice, OrderKind

NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
IV, SECRET = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
NOTICE_TR, TRADE_TR = "H0STCNI0", "H0STCNT0"
SAMSUNG = Instrument(symbol="005930", exchange=Exchange.KOSPI)
ACCOUNT = "1234567801"


class Venue:
    """Confirms registrations, unless ``refuse`` names a code for a key, and sends on demand."""

    def __init__(self):
        self.refuse = {}
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

        stream = KisStream(
            changes.pop("url", venue.url),
            settings=StreamSettings(
                **{
                    "backoff_seconds": 0.01,
                    "backoff_max_seconds": 0.05,
                    "connect_timeout_seconds": 2.0,
                    "reply_timeout_seconds": 1.0,
                    **changes,
                }
            ),
            approve=approve,
            notice=(NOTICE_TR, "hts"),
            account=ACCOUNT,
            clock=ManualClock(NOW),
            rng=random.Random(1),
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
    """Equal partial fills count; repeats after a reconnection and overfills do not."""
    stream = start()
    await stream.connect()
    first = await received(stream, venue, notice(), notice())

    await venue.sockets[-1].close()
    async with asyncio.timeout(5):
        while stream.connections < 2 or stream.frames_handled < 1:
            await asyncio.sleep(0.005)
    second = await received(stream, venue, notice(), notice(), notice(), notice())

    assert [event.quantity for event in first] == [3, 3]
    # Two repeat what was seen; the third is new (9 of 10), the fourth would be 12 of 10.
    assert [type(event) for event in second] == [Fill]


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

    await venue.sockets[-1].close()
    async with asyncio.timeout(5):
        while stream.connections < 2 or stream.frames_handled < 2:
            await asyncio.sleep(0.005)
    again = await received(
        stream, venue, wire.frame_message(TRADE_TR, [trade(100, 1)]),
        wire.frame_message(TRADE_TR, [trade(102, 2)]),
    )  # fmt: skip

    assert venue.registered == [(NOTICE_TR, "hts", True), (TRADE_TR, "005930", True)]
    assert stream.approvals == ["key-1"]
    assert [event.price for event in again] == [102]  # the repeated print is not new


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


async def test_no_server_and_no_frames(start, venue):
    """Waiting has an end, whether for the connection or for frames."""
    stream = start()
    await stream.connect()
    with pytest.raises(TransientBrokerError):
        await stream.wait_handled(99, timeout_seconds=0.01)

    nowhere = start(url="ws://127.0.0.1:9", connect_timeout_seconds=0.1)
    with pytest.raises(TransientBrokerError):
        await nowhere.connect()


async def test_closing_ends_the_events(start, venue):
    """After closing, what had come can still be taken and then the stream says it is over."""
    stream = start()
    await stream.connect()
    await venue.send(notice(is_fill=False, price=0))
    await stream.wait_handled(2, timeout_seconds=5)
    await stream.close()

    assert isinstance(await stream.next_event(), OrderUpdate)
    assert await stream.next_event() is None
