"""The client and the local exchange together, over real sockets, on recorded days."""

import asyncio
import socket
import threading
from contextlib import suppress
from datetime import date
from urllib.parse import urlsplit

import pandas as pd
import pytest
from broker_bench import STARTING_CASH, intent, ticks

from trading.domain.instrument import Market
from trading.domain.order import Fill, Order, OrderStatus, OrderUpdate, Side
from trading.errors import OrderRejectedError, OrderUnknownError, UsageError
from trading.store.datasets import EmbeddedSource
from trading.wire import stream
from trading.wire.endpoints import Profile
from trading.wire.records import Book

DAY = date(2005, 2, 25)
# AAPL opened at 89.62 that day (bokeh_sampledata), the standard US commission is 0.25 %.
AAPL_OPEN = 896_200


@pytest.fixture
async def client(bench, settings, cache):
    """Return a client before the open of 2005-02-25."""
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    yield client
    await client.close()


async def test_order_is_filled_and_paid(bench, client):
    """An order is acknowledged, filled at the open, listed with its exact amount and paid for."""
    await client.subscribe(["AAPL", "IBM"])
    before = await client.account()

    ack = await client.submit(intent("AAPL", Side.BUY, 100, 950_000))
    accepted = await bench.settle(client)
    phase, opened = await bench.advance(client, DAY)
    listed = await client.orders(DAY)
    after = await client.account()

    assert before.cash == before.buying_power == STARTING_CASH
    assert before.positions == {}
    assert [type(event) for event in accepted] == [OrderUpdate]
    assert accepted[0].status is OrderStatus.ACCEPTED
    assert phase == "open"
    assert [tick.symbol for tick in ticks(opened)] == ["AAPL", "IBM"]
    assert ticks(opened)[0].price == AAPL_OPEN
    fills = [event for event in opened if isinstance(event, Fill)]
    assert [(fill.venue_order_id, fill.quantity, fill.amount) for fill in fills] == [
        (ack.venue_order_id, 100, 100 * AAPL_OPEN)
    ]
    assert [(order.filled_quantity, order.filled_amount) for order in listed] == [
        (100, 100 * AAPL_OPEN)
    ]
    assert after.positions["AAPL"].cost == 100 * AAPL_OPEN
    assert after.cash == STARTING_CASH - 100 * AAPL_OPEN - 224_000  # 22.40 USD, 0.25 % of 8,962
    assert client.frames_handled == sum(1 for _ in (*accepted, *opened)) + 3  # three replies


async def test_cancel_ends_the_order(bench, client):
    """A cancel is acknowledged under its own number and ends the original order."""
    await client.subscribe(["AAPL"])
    wish = intent("AAPL", Side.BUY, 10, 500_000)
    ack = await client.submit(wish)
    order = Order(intent=wish, status=OrderStatus.SUBMITTED).acknowledged(ack)

    cancel = await client.cancel(order)
    events = await bench.settle(client)
    listed = await client.orders(DAY)

    assert cancel.venue_order_id != ack.venue_order_id
    updates = [event for event in events if isinstance(event, OrderUpdate)]
    assert (updates[-1].venue_order_id, updates[-1].status) == (
        ack.venue_order_id,
        OrderStatus.CANCELED,
    )
    assert [(row.venue_order_id, row.canceled_quantity, row.open_quantity) for row in listed] == [
        (ack.venue_order_id, 10, 0)
    ]
    with pytest.raises(OrderRejectedError):
        await client.cancel(order)


async def test_refusals_are_definite(client):
    """A refused order raises with the venue's code and leaves nothing behind."""
    with pytest.raises(OrderRejectedError) as broke:
        await client.submit(intent("AAPL", Side.BUY, 100_000, 950_000))
    with pytest.raises(OrderRejectedError) as bare:
        await client.submit(intent("IBM", Side.SELL, 1, 900_000))

    assert broke.value.code == "APBK0952"
    assert bare.value.code in ("APBK0400", "APBK1234")
    assert list(await client.orders(DAY)) == []


async def test_listing_is_complete_over_pages(client):
    """More orders than a page holds (20) are all listed once, by number."""
    for number in range(23):
        await client.submit(intent("AAPL", Side.BUY, 1, 500_000 + 100 * number))

    listed = await client.orders(DAY)

    assert [order.limit for order in listed] == [500_000 + 100 * number for number in range(23)]


async def test_quote_and_daily_bars_are_the_recorded_ones(bench, client):
    """Quotes and raw bars are the recorded prices to the unit; longer ranges are paged."""
    quote = await client.quote("IBM")
    power = await client.buying_power("IBM", 1_000_000)
    frame = await asyncio.to_thread(client.daily_bars, "IBM", date(2004, 1, 2), date(2005, 2, 24))
    recorded = EmbeddedSource().daily(Market.US, ["IBM"], date(2004, 1, 2), date(2005, 2, 24))

    columns = ["open", "high", "low", "close", "volume"]
    assert len(frame) == len(recorded) > 200
    pd.testing.assert_frame_equal(
        frame[columns].reset_index(drop=True),
        recorded[columns].astype("int64").reset_index(drop=True),
        check_dtype=False,
    )
    assert quote.previous_close == int(recorded["close"].iloc[-1])
    assert set(frame["basis"]) == {"raw"}
    assert frame["adj_close"].notna().all()
    assert power.amount == STARTING_CASH


async def test_rank_and_holidays(client):
    """The ranking is sorted by volume; an open day is told from a closed one."""
    ranked = await asyncio.to_thread(client.volume_rank)
    open_day = await asyncio.to_thread(client.holidays, DAY)
    closed_day = await asyncio.to_thread(client.holidays, date(2005, 2, 26))
    minutes = await asyncio.to_thread(client.minute_bars, "AAPL")
    book = await client.book("AAPL")

    volumes = [row.volume for row in ranked]
    assert volumes == sorted(volumes, reverse=True)
    assert [row.is_open for row in (*open_day, *closed_day)] == [True, False]
    assert minutes.empty  # only days were recorded
    assert (book.asks, book.bids) == ((), ())  # no book was recorded


async def test_token_is_shared_by_processes(bench, client, settings, cache):
    """A second client takes the first one's token from the file: KIS issues one a minute."""
    await client.quote("AAPL")
    second = bench.client(cache, settings=settings, profile=Profile.REAL)

    quote = await second.quote("AAPL")
    await second.close()

    assert quote.symbol == "AAPL"
    assert second.call_counts == (1, 0)
    assert [path.stat().st_mode & 0o777 for path in cache.glob("kis-token-*.json")] == [0o600]


async def test_stream_returns_after_the_venue_was_gone(start_bench, settings, cache):
    """After a restart of the venue everything is registered again and prints go on."""
    bench = start_bench()
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    await client.subscribe(["AAPL"])
    _, first = await bench.advance(client, DAY)
    port = urlsplit(bench.base).port

    await asyncio.to_thread(bench.stop)
    again = start_bench(port=port)
    async with asyncio.timeout(20):
        while client.connections < 2 or client.frames_handled < 2:
            await asyncio.sleep(0.02)
    client.drain()
    _, second = await again.advance(client, DAY)
    await client.close()

    assert [tick.cumulative_volume for tick in ticks(first)] == [4_087_100]
    assert [tick.cumulative_volume for tick in ticks(second)] == [8_174_200]


async def test_forty_symbols_and_a_notice(client):
    """More than the venue's 41 registrations is refused before anything is sent."""
    with pytest.raises(UsageError):
        await client._stream.register("HDFSCNT0", [f"DNAS{number}" for number in range(41)])


async def test_lost_answer_is_unknown_and_found(bench, settings, cache):
    """An order whose answer is lost is UNKNOWN, was sent once, and the listing shows it."""
    bench.control("session", session=DAY.isoformat())
    with _Cutter(bench.base) as cutter:
        client = bench.client(cache, settings=settings, profile=Profile.REAL)
        client._transport._base = cutter.base
        await client.quote("AAPL")

        cutter.is_cutting = True
        with pytest.raises(OrderUnknownError):
            await client.submit(intent("AAPL", Side.BUY, 7, 800_000))
        cutter.is_cutting = False
        listed = await client.orders(DAY)
        await client.close()

    assert [(order.symbol, order.quantity) for order in listed] == [("AAPL", 7)]


async def test_paper_profile_degrades(start_bench, settings, cache):
    """On paper accounts prices are polled and the missing calls answer with nothing."""
    bench = start_bench(Profile.PAPER)
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.PAPER)
    await client.subscribe(["AAPL"])
    with pytest.raises(OrderRejectedError) as early:
        await client.submit(intent("AAPL", Side.BUY, 5, 950_000))
    first = await client.poll()
    await bench.advance(client, DAY)
    ack = await client.submit(intent("AAPL", Side.BUY, 5, 950_000))

    second = await client.poll()
    polled = ticks(client.drain())
    account = await client.account()
    listed = await client.orders(DAY)
    holidays = client.holidays(DAY)
    await client.close()

    assert client.polls_prices
    assert early.value.code == "40570000"  # paper takes US orders in regular hours only
    assert (first, second) == (0, 1)
    assert [(tick.price, tick.volume) for tick in polled] == [(AAPL_OPEN, 4_087_100)]
    assert account.positions["AAPL"].quantity == 5
    assert [order.venue_order_id for order in listed] == [ack.venue_order_id]
    assert holidays == ()


async def test_books_come_for_as_long_as_an_order_works(bench, settings, cache, monkeypatch):
    """They are streamed while a registration is left, and polled beyond; given back, nothing comes."""
    monkeypatch.setattr(stream, "MAX_REGISTRATIONS", 2)  # the notices and one book
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)

    await client.watch_books(["AAPL", "IBM"])
    await client.poll()
    polled = client.drain()
    await client.unwatch_books(["AAPL", "IBM"])
    await client.poll()
    after = client.drain()
    await client.subscribe(["AAPL"])
    await client.close()

    assert [(type(event), event.symbol) for event in polled] == [(Book, "IBM")]
    assert after == []
    assert not client.polls_prices  # the registration of the book was given back


async def test_what_one_connection_does_not_carry_is_polled(bench, settings, cache, monkeypatch):
    """An account that came with too many holdings sees the prices of all, each once."""
    monkeypatch.setattr(stream, "MAX_REGISTRATIONS", 2)  # the notices and one symbol
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)

    await client.subscribe(["AAPL", "IBM"])
    before = await client.poll(["AAPL", "IBM"])
    _, opened = await bench.advance(client, DAY)
    traded = await client.poll(["AAPL", "IBM"])
    polled = ticks(client.drain())
    await client.close()

    assert client.polls_prices
    assert {tick.symbol for tick in ticks(opened)} == {"AAPL"}
    assert (before, traded) == (0, 1)
    assert [tick.symbol for tick in polled] == ["IBM"]


class _Cutter:
    """A door in front of the exchange that can pass requests on and drop their answers."""

    def __init__(self, base: str) -> None:
        address = urlsplit(base)
        self._target = (address.hostname, address.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.is_cutting = False

    def __enter__(self) -> "_Cutter":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._target) as server:
            while request := _message(client):
                server.sendall(request)
                answer = _message(server)
                if self.is_cutting:
                    return
                client.sendall(answer)


def _message(source: socket.socket) -> bytes:
    """Return one HTTP message with its body; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = source.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        body += source.recv(65_536)
    return head + b"\r\n\r\n" + body
