"""Each fault of the field, over the wire, and what the KIS client makes of it.

The numbers are those of ``docs/faults.md``. The exchange replays 2005-02-25: AAPL opened at 89.62,
IBM at 92.65 (bokeh_sampledata).
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import requests
from broker_bench import STARTING_CASH, Bench, intent, ticks

from trading.broker.client import KisClient
from trading.broker.settings import KisSettings
from trading.domain.market import Tick
from trading.domain.order import Fill, Order, OrderStatus, OrderUpdate, Side
from trading.errors import (
    BrokerError,
    OrderRejectedError,
    OrderUnknownError,
    SchemaError,
    TransientBrokerError,
)
from trading.ports import FeedEvent
from trading.wire.endpoints import Generation, Profile

DAY = date(2005, 2, 25)
AAPL_OPEN = 896_200
HIGH, LOW = 950_000, 500_000


@pytest.fixture
def patience() -> float:
    """Return how many seconds an answer is waited for; those that wait for none say less."""
    return 10.0


@pytest.fixture
def settings(settings: KisSettings, patience: float) -> KisSettings:
    """Return the shipped ``kis.yaml`` with the pauses of a test."""
    quick = {"backoff_seconds": 0.01, "backoff_max_seconds": 0.05}
    stream = settings.stream.model_copy(update=quick)
    return settings.model_copy(
        update={
            **quick,
            "answer_timeout_seconds": patience,
            "token_wait_seconds": 0.2,
            "stream": stream,
        }
    )


@pytest.fixture
async def client(bench: Bench, settings: KisSettings, cache):
    """Return a client before the open of 2005-02-25."""
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    yield client
    await client.close()


def door(bench: Bench, faults: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Add faults at the control door, or only read its counts."""
    port = json.loads(bench.server.port_file.read_text())
    url = f"http://{port['host']}:{port['rest_port']}/control/faults"
    headers = {"x-control-token": port["token"]}
    if faults is None:
        answer = requests.get(url, headers=headers, timeout=10)
    else:
        answer = requests.post(url, json={"faults": faults}, headers=headers, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


def inject(bench: Bench, number: int, variant: str, **more: Any) -> None:
    """Let one fault happen next."""
    door(bench, [{"fault": number, "variant": variant, **more}])


def happened(bench: Bench, name: str) -> int:
    """Return how often a fault happened."""
    return int(door(bench)["variants"].get(name, 0))


def standing(client_intent: Any, ack: Any) -> Order:
    """Return an acknowledged order."""
    return Order(intent=client_intent, status=OrderStatus.SUBMITTED).acknowledged(ack)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def fills(events: list[FeedEvent]) -> list[tuple[str, int, int]]:
    """Return the fills among ``events``."""
    return [(e.venue_order_id, e.quantity, e.amount) for e in events if isinstance(e, Fill)]


# --- 1: the reply to an order is lost ----------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "patience"),
    [
        ("reply_lost", 10.0),
        ("reset", 10.0),
        ("timeout", 2.0),
        ("server_error", 10.0),
        ("truncated", 10.0),
        ("verify", 10.0),
    ],
)
async def test_an_accepted_order_without_reply_is_unknown(bench, client, variant):
    """However the answer is lost, the order was sent once and the listing shows it once."""
    inject(bench, 1, variant)

    with pytest.raises(OrderUnknownError):
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    listed = await client.orders(DAY)

    assert [(order.symbol, order.quantity) for order in listed] == [("AAPL", 7)]
    assert happened(bench, f"1/{variant}") == 1


async def test_an_order_cut_off_on_the_way_is_unknown_too(bench, client):
    """The client cannot tell that the venue never saw the order: unknown, and absent."""
    inject(bench, 1, "before")

    with pytest.raises(OrderUnknownError):
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))

    assert list(await client.orders(DAY)) == []


@pytest.mark.parametrize("patience", [2.0])
async def test_an_order_may_arrive_after_the_client_gave_up(bench, client):
    """The first listing lacks the order, a later one has it: one listing proves no absence."""
    inject(bench, 1, "late", seconds=3.0)

    with pytest.raises(OrderUnknownError):
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    first = list(await client.orders(DAY))
    listed: list[Any] = []
    async with asyncio.timeout(10):
        while not listed:
            listed = list(await client.orders(DAY))
            await asyncio.sleep(0.1)

    assert first == []
    assert [order.quantity for order in listed] == [7]


async def test_a_cancel_without_reply_is_unknown(bench, client):
    """A cancel, too, is sent once; the listing tells what became of it."""
    wish = intent("AAPL", Side.BUY, 10, LOW)
    order = standing(wish, await client.submit(wish))
    inject(bench, 1, "reply_lost", call="us_change")

    with pytest.raises(OrderUnknownError):
        await client.cancel(order)

    assert [row.canceled_quantity for row in await client.orders(DAY)] == [10]


@pytest.mark.parametrize(
    ("variant", "patience"),
    [
        ("reply_lost", 10.0),
        ("reset", 10.0),
        ("timeout", 2.0),
        ("server_error", 10.0),
        ("truncated", 10.0),
        ("before", 10.0),
    ],
)
async def test_a_query_without_reply_is_repeated(bench, client, variant):
    """What only asks is asked again."""
    await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    inject(bench, 1, variant, call="us_orders")

    listed = await client.orders(DAY)

    assert [order.quantity for order in listed] == [7]
    assert happened(bench, f"1/{variant}") == 1


# --- 2, 3, 5: tokens ---------------------------------------------------------------------------


async def test_a_token_refused_for_haste_is_waited_for(bench, client):
    """``EGW00133`` is not an error: the client waits and asks once more."""
    inject(bench, 2, "too_soon")

    quote = await client.quote("AAPL")

    assert quote.symbol == "AAPL"
    assert happened(bench, "2/too_soon") == 1


@pytest.mark.parametrize(
    ("number", "variant"), [(3, "revoked"), (3, "odd_text"), (3, "maintenance"), (5, "expired")]
)
async def test_a_dead_token_is_renewed_by_a_query(bench, client, number, variant):
    """A token that died early costs one renewal, whatever the text says."""
    await client.quote("AAPL")
    inject(bench, number, variant)

    quote = await client.quote("AAPL")

    assert quote.symbol == "AAPL"
    assert happened(bench, f"{number}/{variant}") == 1


@pytest.mark.parametrize(("number", "variant"), [(3, "revoked"), (3, "odd_text"), (5, "expired")])
async def test_a_dead_token_refuses_an_order_for_good(bench, client, number, variant):
    """The gateway turned the order away: definite, not listed, and the next one goes through."""
    await client.quote("AAPL")
    inject(bench, number, variant, call="us_order")

    with pytest.raises(OrderRejectedError):
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    # Whoever asks what became of it waits for the new token; an order would not.
    assert await client.orders(DAY) == []
    await client.submit(intent("AAPL", Side.BUY, 8, LOW))

    assert [order.quantity for order in await client.orders(DAY)] == [8]


async def test_two_processes_survive_an_expired_token(bench, client, settings, cache):
    """Both clients of one key go on after their common token expired in mid-burst."""
    second = bench.client(cache, settings=settings, profile=Profile.REAL)
    await client.quote("AAPL")
    await second.quote("AAPL")
    inject(bench, 5, "expired")

    quotes = await asyncio.gather(
        *(one.quote(symbol) for one in (client, second) for symbol in ("AAPL", "IBM"))
    )
    await second.close()

    assert [quote.symbol for quote in quotes] == ["AAPL", "IBM"] * 2


# --- 4: rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["gateway", "ledger"])
async def test_a_rate_refusal_delays_a_query(bench, client, variant):
    """``EGW00201`` and ``EGW00215`` are waited out."""
    inject(bench, 4, variant, count=2)

    account = await client.account()

    assert account.cash == STARTING_CASH
    assert happened(bench, f"4/{variant}") == 2


async def test_a_rate_refusal_of_an_order_is_definite(bench, client):
    """An order refused for its rate did not reach the book, and is not sent again by itself."""
    inject(bench, 4, "gateway", call="us_order")

    with pytest.raises(OrderRejectedError) as refused:
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))

    assert refused.value.code == "EGW00201"
    assert list(await client.orders(DAY)) == []


# --- 6: NASD -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(Profile))
async def test_holdings_of_all_exchanges_are_counted_once(start_bench, settings, cache, profile):
    """NASD is the whole US on real accounts and Nasdaq alone on paper: the client knows both."""
    bench = start_bench(profile)
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=profile)
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    await client.submit(intent("AAPL", Side.BUY, 5, HIGH))
    await client.submit(intent("IBM", Side.BUY, 3, HIGH))

    account = await client.account()
    await client.close()

    assert {s: p.quantity for s, p in account.positions.items()} == {"AAPL": 5, "IBM": 3}
    assert happened(bench, "6/nasd") >= 1


# --- 7: pages ----------------------------------------------------------------------------------


async def test_a_listing_of_many_pages_is_whole(bench, client):
    """One row a page: every order is listed once."""
    for number in range(3):
        await client.submit(intent("AAPL", Side.BUY, 1, LOW + 100 * number))
    inject(bench, 7, "small_page", rows=1)

    listed = await client.orders(DAY)

    assert [order.limit for order in listed] == [LOW, LOW + 100, LOW + 200]
    assert happened(bench, "7/small_page") == 3


@pytest.mark.parametrize("variant", ["repeated_page", "lost_key"])
async def test_half_a_listing_is_no_listing(bench, client, variant):
    """A page that repeats, or whose key is gone, fails the whole listing."""
    for number in range(3):
        await client.submit(intent("AAPL", Side.BUY, 1, LOW + 100 * number))
    inject(bench, 7, "small_page", rows=1)
    inject(bench, 7, variant)

    with pytest.raises(TransientBrokerError):
        await client.orders(DAY)
    again = await client.orders(DAY)

    assert len(again) == 3


# --- 10, 11, 12, 17, 20, 21: answers that are no answers -----------------------------------------


async def test_an_empty_balance_is_not_believed(bench, client):
    """An account without cash and holdings is the passing fault that it is at KIS."""
    for call in ("us_balance", "us_present_balance", "us_buying_power"):
        inject(bench, 10, "empty", call=call)

    with pytest.raises(TransientBrokerError):
        await client.account()
    account = await client.account()

    assert account.cash == STARTING_CASH


@pytest.mark.parametrize(
    ("number", "variant", "code"),
    [
        (11, "window", "KIER3672"),
        (17, "wrong_exchange", "APBK0656"),
        (20, "temporary", "APBK0919"),
    ],
)
async def test_a_refused_order_says_why(bench, client, number, variant, code):
    """A refusal is definite, carries the venue's code, and leaves nothing behind."""
    inject(bench, number, variant)

    with pytest.raises(OrderRejectedError) as refused:
        await client.submit(intent("AAPL", Side.BUY, 7, LOW))

    assert refused.value.code == code
    assert list(await client.orders(DAY)) == []


async def test_a_temporary_holiday_is_told(bench, client):
    """The day's holiday call says closed, and only for that day."""
    inject(bench, 20, "temporary")

    closed = await asyncio.to_thread(client.holidays, DAY)

    assert [row.is_open for row in closed] == [False]


@pytest.mark.parametrize(("variant", "code"), [("gateway", "EGW02006"), ("business", "90000000")])
async def test_a_call_that_paper_lacks_is_refused_once(bench, client, variant, code):
    """ "Not a paper TR" is not repeated: it would be refused again."""
    inject(bench, 12, variant)

    with pytest.raises(BrokerError) as refused:
        await client.quote("AAPL")

    assert not isinstance(refused.value, TransientBrokerError)
    assert refused.value.code == code
    assert client.call_counts == (0, 1)


# --- 13, 14, 15, 27: frames --------------------------------------------------------------------


async def _trade(bench: Bench, client: KisClient) -> tuple[str, list[FeedEvent]]:
    """Buy ten AAPL before the open and live the open; return number and all events."""
    await client.subscribe(["AAPL", "IBM"])
    ack = await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    events = await bench.settle(client)
    _, opened = await bench.advance(client, DAY)
    return ack.venue_order_id, [*events, *opened]


async def test_appended_notice_fields_do_no_harm(bench, client):
    """Notices grew from 23 to 26 fields once and may grow again."""
    inject(bench, 13, "appended", fields=3, count=0)

    number, events = await _trade(bench, client)

    assert fills(events) == [(number, 10, 10 * AAPL_OPEN)]
    assert happened(bench, "13/appended") == 2


async def test_an_unreadable_notice_is_survived(bench, client):
    """A notice that cannot be decrypted is lost; the next one is heard on the same connection."""
    inject(bench, 13, "garbled")

    number, events = await _trade(bench, client)

    assert [type(e) for e in events if not isinstance(e, Tick)] == [Fill]
    assert fills(events) == [(number, 10, 10 * AAPL_OPEN)]
    assert client.connections == 1


async def test_all_records_of_a_frame_are_read(bench, client):
    """Two prints in one frame are two ticks."""
    await client.subscribe(["AAPL", "IBM"])
    inject(bench, 14, "merged")
    before = client.frames_handled

    _, events = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(events)] == ["AAPL", "IBM"]
    assert client.frames_handled == before + 1


async def test_merged_notices_are_all_read(bench, client):
    """Acceptance and fill of an order that meets the market come in one frame."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    inject(bench, 14, "merged_notices")

    await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    events = await bench.settle(client)

    assert [type(e) for e in events] == [OrderUpdate, Fill]


@pytest.mark.parametrize(("number", "variant"), [(14, "miscounted"), (27, "malformed")])
async def test_a_broken_frame_costs_only_itself(bench, client, number, variant):
    """A broken frame does not cost the connection; its print is mended when the next one comes."""
    await client.subscribe(["AAPL", "IBM"])
    inject(bench, number, variant)

    _, first = await bench.advance(client, DAY)
    _, second = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(first)] == ["IBM"]
    assert [tick.symbol for tick in ticks(second)][:2] == ["AAPL", "IBM"]
    apples = [tick for tick in ticks(second) if tick.symbol == "AAPL"]
    assert {tick.price for tick in apples} == {AAPL_OPEN, apples[0].price}
    assert sum(tick.volume for tick in apples) == apples[0].cumulative_volume
    assert client.connections == 1


async def test_appended_trade_fields_do_no_harm(bench, client):
    """A print with two more fields is read as before."""
    await client.subscribe(["AAPL"])
    inject(bench, 27, "appended_frame")

    _, events = await bench.advance(client, DAY)

    assert [tick.price for tick in ticks(events)] == [AAPL_OPEN]


@pytest.mark.parametrize("variant", ["disconnect", "close", "stall", "lost_registrations"])
async def test_the_stream_comes_back(bench, settings, cache, variant):
    """After a cut, a silence or lost registrations everything is registered anew."""
    bench.control("session", session=DAY.isoformat())
    stream = settings.stream.model_copy(update={"stall_seconds": 1.0})
    restless = settings.model_copy(update={"stream": stream})
    client = bench.client(cache, settings=restless, profile=Profile.REAL)
    await client.subscribe(["AAPL", "IBM"])
    inject(bench, 15, variant)

    await asyncio.to_thread(bench.control, "advance", until=f"{DAY}T23:00:00+00:00")
    # Two prints of the opening come again, as the clock stands still; three replies before.
    await until(lambda: client.connections >= 2 and client.frames_handled >= 5)
    client.drain()
    _, events = await bench.advance(client, DAY)
    await client.close()

    assert {tick.symbol for tick in ticks(events)} == {"AAPL", "IBM"}
    assert happened(bench, f"15/{variant}") == 1


@pytest.mark.parametrize("variant", ["ghost", "approval"])
async def test_a_refused_session_is_tried_again(bench, client, variant):
    """A ghost of ourselves, or a stale key, delays the connection and no more."""
    inject(bench, 15, variant, count=2)

    await client.subscribe(["AAPL"])
    _, events = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(events)] == ["AAPL"]
    assert client.connections == 3


async def test_a_registration_that_fails_is_made_again(bench, client):
    """The venue's own failure to register is not an answer about the symbol."""
    await client.subscribe(["AAPL"])
    inject(bench, 15, "unavailable")

    await client.subscribe(["IBM"])
    _, events = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(events)] == ["AAPL", "IBM"]


async def test_pings_and_repeated_prints_are_no_news(bench, client):
    """A PINGPONG is answered, a print that comes twice is one tick."""
    await client.subscribe(["AAPL", "IBM"])
    inject(bench, 15, "ping")
    inject(bench, 15, "twice", nth=2)

    _, events = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(events)] == ["AAPL", "IBM"]
    assert (happened(bench, "15/ping"), happened(bench, "15/twice")) == (1, 1)


async def test_a_dropped_print_holds_nobody_up(bench, client):
    """In lock-step nobody waits for a frame that was never sent."""
    await client.subscribe(["AAPL", "IBM"])
    inject(bench, 15, "dropped", symbol="IBM")

    _, events = await bench.advance(client, DAY)

    assert [tick.symbol for tick in ticks(events)] == ["AAPL"]


# --- 16, 25: cancels and fills that cross --------------------------------------------------------


async def _waiting_order(bench: Bench, client: KisClient, quantity: int) -> Order:
    """Return a buy that waits between the first print (89.62) and the second, the low (88.19)."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    wish = intent("AAPL", Side.BUY, quantity, 885_000)
    order = standing(wish, await client.submit(wish))
    await bench.settle(client)
    return order


async def test_a_cancel_may_come_too_late(bench, client):
    """An order that filled while its cancel was on the way: the cancel is refused for good."""
    order = await _waiting_order(bench, client, 10)
    inject(bench, 16, "just_filled")

    with pytest.raises(OrderRejectedError):
        await client.cancel(order)
    events = await bench.settle(client)
    listed = await client.orders(DAY)

    assert fills(events) == [(order.venue_order_id, 10, 10 * 885_000)]
    assert [(row.filled_quantity, row.canceled_quantity) for row in listed] == [(10, 0)]
    assert happened(bench, "16/just_filled") == 1


async def test_a_refused_cancel_leaves_the_order(bench, client):
    """ "Nothing left to cancel" is believed only of the cancel: the order still stands."""
    wish = intent("AAPL", Side.BUY, 10, LOW)
    order = standing(wish, await client.submit(wish))
    inject(bench, 16, "refused")

    with pytest.raises(OrderRejectedError):
        await client.cancel(order)

    assert [row.open_quantity for row in await client.orders(DAY)] == [10]


async def test_notices_may_come_before_the_reply(bench, client):
    """Acceptance and fill are heard while the answer to the order is still on its way."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    inject(bench, 25, "fill_before_reply", seconds=0.3)

    sending = asyncio.create_task(client.submit(intent("AAPL", Side.BUY, 10, HIGH)))
    await until(lambda: client.frames_handled >= 5)
    early = client.drain()
    was_unanswered = not sending.done()
    ack = await sending

    assert was_unanswered
    assert fills(early) == [(ack.venue_order_id, 10, 10 * AAPL_OPEN)]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("reordered", [Fill, OrderUpdate]),
        ("twice", [OrderUpdate, OrderUpdate, Fill]),
        ("dropped", [Fill]),
    ],
)
async def test_notices_out_of_order(bench, client, variant, expected):
    """The acceptance comes after the fill, twice, or never; the fill is counted once."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    inject(bench, 25, variant)

    ack = await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    events = await bench.settle(client)

    assert [type(e) for e in events] == expected
    assert fills(events) == [(ack.venue_order_id, 10, 10 * AAPL_OPEN)]


async def test_a_fill_told_twice_is_one_fill(bench, client):
    """The fill notice repeats: booked once."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    inject(bench, 25, "twice", nth=2)

    ack = await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    events = await bench.settle(client)

    assert fills(events) == [(ack.venue_order_id, 10, 10 * AAPL_OPEN)]


async def test_a_late_notice_comes_with_the_next_instant(bench, client):
    """A notice that is held back is not waited for, and arrives later."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    inject(bench, 25, "delayed", nth=2)

    ack = await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    now = await bench.settle(client)
    _, later = await bench.advance(client, DAY)

    assert fills(now) == []
    assert fills(later) == [(ack.venue_order_id, 10, 10 * AAPL_OPEN)]


async def test_an_order_may_fill_while_its_cancel_waits(bench, client):
    """The cancel was accepted, and then the order filled: nothing was left to cancel."""
    order = await _waiting_order(bench, client, 10)
    inject(bench, 25, "slow_cancel")

    await client.cancel(order)
    _, events = await bench.advance(client, DAY)
    listed = await client.orders(DAY)

    assert fills(events) == [(order.venue_order_id, 10, 10 * 885_000)]
    assert [(row.filled_quantity, row.canceled_quantity) for row in listed] == [(10, 0)]


async def test_a_fill_may_be_told_after_the_cancel(start_bench, settings, cache):
    """Part of the order filled while its cancel was on the way; its notice comes last."""
    # One basis point of a print of 4,087,100 shares is 408.
    bench = start_bench(participation_bps=1)
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    order = await _waiting_order(bench, client, 1_000)
    inject(bench, 25, "fill_after_cancel")

    # Half of it: a US cancel that names more than is left would be refused.
    half = order._replace(intent=replace(order.intent, quantity=500))
    await client.cancel(half)
    events = await bench.settle(client)
    listed = await client.orders(DAY)
    await client.close()

    assert [type(e) for e in events if not isinstance(e, Tick)] == [OrderUpdate, Fill]
    assert fills(events) == [(order.venue_order_id, 408, 408 * 885_000)]
    assert [(row.filled_quantity, row.canceled_quantity) for row in listed] == [(408, 500)]


# --- 26: trades by hand --------------------------------------------------------------------------


async def test_a_twin_made_by_hand_is_listed_beside_ours(bench, client):
    """Two equal orders under two numbers: ours is the one of the acknowledgement."""
    await client.account()
    inject(bench, 26, "twin")

    ack = await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    listed = await client.orders(DAY)

    assert [(row.quantity, row.limit) for row in listed] == [(7, LOW)] * 2
    assert ack.venue_order_id in {row.venue_order_id for row in listed}


async def test_a_trade_by_hand_shows_in_notice_listing_and_balance(bench, client):
    """What the customer buys in the HTS is told to the client like its own."""
    await client.subscribe(["AAPL"])
    await client.account()
    inject(bench, 26, "buy", symbol="AAPL", quantity=3)

    _, events = await bench.advance(client, DAY)
    listed = await client.orders(DAY)
    account = await client.account()

    assert [quantity for _, quantity, _ in fills(events)] == [3]
    assert [(row.symbol, row.filled_quantity) for row in listed] == [("AAPL", 3)]
    assert account.positions["AAPL"].quantity == 3


async def test_a_sale_by_hand_takes_what_we_hold(bench, client):
    """The customer may sell the program's own shares: the venue's balance says so."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    await client.submit(intent("AAPL", Side.BUY, 5, HIGH))
    inject(bench, 26, "sell", quantity=2)

    await bench.advance(client, DAY)
    account = await client.account()

    assert account.positions["AAPL"].quantity == 3
    assert happened(bench, "26/sell") == 1


@pytest.mark.parametrize(
    ("variant", "listed"), [("cancel", [(0, 10)]), ("revise", [(0, 10), (10, 0)])]
)
async def test_the_customer_may_change_our_order(bench, client, variant, listed):
    """What is canceled or revised in the HTS shows in the listing, a revision as a new order."""
    await client.subscribe(["AAPL"])
    await client.submit(intent("AAPL", Side.BUY, 10, LOW))
    inject(bench, 26, variant)

    await bench.advance(client, DAY)
    rows = await client.orders(DAY)

    assert [(row.open_quantity, row.canceled_quantity) for row in rows] == listed


async def test_an_accepted_order_may_be_refused_later(bench, client):
    """The refusal notice ends the order, and so says the listing."""
    await client.subscribe(["AAPL"])
    ack = await client.submit(intent("AAPL", Side.BUY, 10, LOW))
    await bench.settle(client)
    inject(bench, 13, "rejected")

    _, events = await bench.advance(client, DAY)
    rows = await client.orders(DAY)

    told = [event for event in events if isinstance(event, OrderUpdate)]
    assert [(event.venue_order_id, event.status) for event in told] == [
        (ack.venue_order_id, OrderStatus.REJECTED)
    ]
    assert [(row.open_quantity, row.rejected_quantity) for row in rows] == [(0, 10)]


# --- 24: halts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["halt", "vi"])
async def test_an_interrupted_instrument_takes_orders_and_fills_none(bench, client, variant):
    """During a halt or VI the order is accepted and waits; afterwards it fills."""
    await client.subscribe(["AAPL"])
    await client.account()
    # The next print after the opening's is 97 minutes and 30 seconds later.
    inject(bench, 24, variant, symbol="AAPL", minutes=120)
    await bench.advance(client, DAY)

    await client.submit(intent("AAPL", Side.BUY, 10, HIGH))
    waiting = await client.orders(DAY)
    for _ in range(3):
        await bench.advance(client, DAY)
    filled = await client.orders(DAY)

    assert [row.filled_quantity for row in waiting] == [0]
    assert [row.filled_quantity for row in filled] == [10]
    assert happened(bench, f"24/{variant}") == 1


# --- 19: the end date ----------------------------------------------------------------------------


async def test_bars_are_asked_backwards_from_their_end(bench, client):
    """However few rows the venue looks back, the whole range is there."""
    first, last = date(2004, 10, 1), date(2005, 2, 24)
    whole = await asyncio.to_thread(client.daily_bars, "IBM", first, last)
    inject(bench, 19, "look_back", rows=30)

    short = await asyncio.to_thread(client.daily_bars, "IBM", first, last)

    assert len(short) == len(whole) == 101  # XNYS sessions of the range
    assert list(short["close"]) == list(whole["close"])


# --- 21, 22, 23: what the exchange does by its rules ---------------------------------------------


@pytest.mark.parametrize("generation", list(Generation))
async def test_either_generation_of_order_ids_is_taken(bench, settings, cache, generation):
    """US orders have one id only: the setting for Korean ids changes nothing there."""
    bench.control("session", session=DAY.isoformat())
    chosen = settings.model_copy(update={"order_ids": generation})
    client = bench.client(cache, settings=chosen, profile=Profile.REAL)

    await client.submit(intent("AAPL", Side.BUY, 7, LOW))
    listed = await client.orders(DAY)
    await client.close()

    assert [row.quantity for row in listed] == [7]


async def test_the_base_price_of_a_split_is_not_the_last_close(bench, client):
    """AAPL split 2:1 before 2005-02-28: its base price is half of the last close, 88.99."""
    bench.control("advance", until=f"{DAY}T23:59:00+00:00")
    while bench.control("status")["phase"] != "closed":
        bench.control("advance", until=f"{DAY}T23:59:00+00:00")
    bench.control("session", session="2005-02-28")

    quote = await client.quote("AAPL")

    assert quote.previous_close == 444_950
    assert happened(bench, "22/base_price") == 1


async def test_summer_time_moves_the_open(bench, settings, cache):
    """On 2005-04-04, the first session of that summer time, the market opens at 13:30 UTC."""
    bench.control("session", session="2005-04-04")
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    await client.subscribe(["AAPL"])

    _, events = await bench.advance(client, date(2005, 4, 4))
    await client.submit(intent("AAPL", Side.BUY, 1, 10_000))
    listed = await client.orders(date(2005, 4, 4))
    await client.close()

    assert ticks(events)[0].ts_event == datetime(2005, 4, 4, 13, 30, tzinfo=UTC)
    assert len(listed) == 1
    assert happened(bench, "23/dst") == 1
    assert happened(bench, "23/midnight") == 1


# --- 27: fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["appended", "blanks", "numbers", "padded"])
async def test_reshaped_answers_are_read_the_same(bench, client, variant):
    """New fields, blanks for zero, real numbers, padded values: the same account and orders."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    await client.submit(intent("AAPL", Side.BUY, 5, HIGH))
    await client.submit(intent("IBM", Side.BUY, 3, LOW))
    plain = (await client.account(), list(await client.orders(DAY)), await client.quote("AAPL"))
    inject(bench, 27, variant, count=0)

    changed = (await client.account(), list(await client.orders(DAY)), await client.quote("AAPL"))

    assert changed == plain
    assert happened(bench, f"27/{variant}") >= 5


@pytest.mark.parametrize("variant", ["renamed", "upper_case"])
@pytest.mark.parametrize("field", ["odno", "ft_ccld_qty"])
async def test_a_lost_field_is_an_error_and_no_zero(bench, client, variant, field):
    """An answer without a field that the books need is refused, never read as nothing."""
    await client.submit(intent("AAPL", Side.BUY, 5, LOW))
    named = {"field": field} if variant == "renamed" else {}
    inject(bench, 27, variant, call="us_orders", **named)

    with pytest.raises((SchemaError, BrokerError)):
        await client.orders(DAY)
