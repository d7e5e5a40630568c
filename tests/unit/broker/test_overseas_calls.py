"""Calls for US shares against scripted answers in KIS shapes: bodies, pages and traps."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from scripted_server import ScriptedServer

from trading.broker.client import KisClient
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.order import Order, OrderAck, OrderIntent, OrderType, Side, VenueOrder
from trading.errors import TransientBrokerError, UsageError
from trading.wire import codes
from trading.wire import overseas_account as money
from trading.wire import overseas_bars as bars
from trading.wire import overseas_orders as orders
from trading.wire import overseas_quotes as quotes
from trading.wire.accounts import render_ack, render_page
from trading.wire.endpoints import BY_PATH, Profile
from trading.wire.overseas_account import ProfitRow
from trading.wire.overseas_bars import IndexBar
from trading.wire.overseas_quotes import PriceRow
from trading.wire.records import BuyingPower, DailyRow, Holding, ListedOrder, MinuteRow, Page

# 12:00 in New York.
NOW = datetime(2024, 1, 5, 17, 0, tzinfo=UTC)
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ, name="Apple")
IBM = Instrument(symbol="IBM", exchange=Exchange.NYSE, name="IBM")
INTENT = OrderIntent(
    intent_id="1", session=date(2024, 1, 5), boundary="open", symbol="AAPL",
    exchange=Exchange.NASDAQ, side=Side.BUY, quantity=10, limit=1_812_500,
)  # fmt: skip
ACK = OrderAck(venue_order_id="0000000042", branch="01790", ts_event=NOW)
TOKEN = {"access_token": "t", "access_token_token_expired": "2024-01-06 10:00:00"}


@pytest.fixture
async def start(tmp_path):
    """Return a function that makes a client of a server with one answer per endpoint.

    An answer is a body, or a function of the request that returns a body, or a body and whether
    another page follows.
    """
    things = []

    def make(answers, *, profile=Profile.REAL):
        def script(path, fields, headers):
            if path == "/oauth2/tokenP":
                return 200, TOKEN, {}
            answer = answers[BY_PATH[path].name]
            body = answer(fields) if callable(answer) else answer
            body, more = body if isinstance(body, tuple) else (body, False)
            return 200, codes.success(body), {"tr_cont": "M" if more else "D"}

        server = ScriptedServer(script)
        one = ProfileSettings(
            rest_base=server.base,
            ws_base="ws://127.0.0.1:9",
            calls_per_second=1000,
            reserved_for_cancel=0,
        )
        client = KisClient(
            KisSettings(profiles={Profile.REAL: one, Profile.PAPER: one}),
            profile=profile,
            market=Market.US,
            instruments={"AAPL": APPLE, "IBM": IBM},
            credentials=Credentials(
                app_key="app-key", app_secret="app-secret", account="12345678-01", hts_id="hts-id"
            ),
            clock=ManualClock(NOW),
            cache_dir=tmp_path,
        )
        things.append((client, server))
        return client, server

    yield make
    for client, server in things:
        await client.close()
        server.close()


@pytest.mark.parametrize(
    ("side", "order_type", "code", "price", "tr_id"),
    [
        (Side.BUY, OrderType.LIMIT, "00", "181.2500", "TTTT1002U"),
        (Side.SELL, OrderType.LIMIT, "00", "181.2500", "TTTT1006U"),
        (Side.BUY, OrderType.LIMIT_ON_OPEN, "32", "181.2500", "TTTT1002U"),
        (Side.BUY, OrderType.LIMIT_ON_CLOSE, "34", "181.2500", "TTTT1002U"),
        (Side.SELL, OrderType.MARKET_ON_OPEN, "31", "0", "TTTT1006U"),
        (Side.SELL, OrderType.MARKET_ON_CLOSE, "33", "0", "TTTT1006U"),
        (Side.BUY, OrderType.VWAP, "36", "181.2500", "TTTT1002U"),
    ],
)
async def test_order_bodies(start, side, order_type, code, price, tr_id):
    """Each type goes out with its code of PROTOCOL 10.1, and a price only where it has one."""
    client, server = start({"us_order": render_ack(ACK)})

    ack = await client.submit(replace(INTENT, side=side, order_type=order_type))

    _, sent, head = server.requests[-1]
    assert ack.venue_order_id == "0000000042"
    assert (sent["ORD_DVSN"], sent["OVRS_ORD_UNPR"], head["tr_id"]) == (code, price, tr_id)
    assert (sent["OVRS_EXCG_CD"], sent["SLL_TYPE"]) == ("NASD", "00" if side is Side.SELL else "")


async def test_the_paper_sale_has_an_id_of_its_own(start):
    """VTTT1001U since July 2026, not the real id with another first letter."""
    client, server = start({"us_order": render_ack(ACK)}, profile=Profile.PAPER)

    await client.submit(replace(INTENT, side=Side.SELL))

    assert server.requests[-1][2]["tr_id"] == "VTTT1001U"


async def test_changes_name_their_quantity(start):
    """A cancel and a revision name exchange, symbol and what is left; a schedule is not revised."""
    client, server = start({"us_change": render_ack(ACK), "us_daytime_change": render_ack(ACK)})
    order = Order(intent=INTENT, venue_order_id="0000000007", filled_quantity=4)

    await client.cancel(order)
    await client.revise(order, 1_800_000, 2)
    await client.cancel_daytime(order)

    fields = [sent for _, sent, _ in server.requests[1:]]
    assert [(f["RVSE_CNCL_DVSN_CD"], f["ORD_QTY"], f["OVRS_ORD_UNPR"]) for f in fields] == [
        ("02", "6", "0"), ("01", "2", "180.0000"), ("02", "6", "0"),
    ]  # fmt: skip
    assert {(f["OVRS_EXCG_CD"], f["PDNO"], f["ORGN_ODNO"]) for f in fields} == {
        ("NASD", "AAPL", "0000000007")
    }
    assert server.requests[-1][2]["tr_id"] == "TTTS6038U"
    scheduled = order._replace(intent=replace(INTENT, order_type=OrderType.TWAP))
    with pytest.raises(UsageError):
        await client.revise(scheduled, 1_800_000)


def _holding(symbol, exchange):
    return Holding(symbol=symbol, quantity=3, sellable=2, cost=9, exchange=exchange)


@pytest.mark.parametrize(("profile", "asked"), [(Profile.REAL, 1), (Profile.PAPER, 3)])
async def test_nothing_is_counted_twice(start, profile, asked):
    """NASD is asked once on the real server; on paper each exchange, and never summed.

    Even when each answer holds the shares of all exchanges, as has been seen.
    """
    every = [_holding("AAPL", Exchange.NASDAQ), _holding("IBM", Exchange.NYSE)]
    client, server = start(
        {"us_balance": money.render_holdings("1234567801", every)}, profile=profile
    )

    holdings = await client.overseas.holdings()

    assert {symbol: row.quantity for symbol, row in holdings.items()} == {"AAPL": 3, "IBM": 3}
    assert await client.sellable("AAPL") == 2
    assert await client.sellable("MSFT") == 0
    codes_asked = [sent["OVRS_EXCG_CD"] for _, sent, _ in server.requests[1 : 1 + asked]]
    assert codes_asked == ["NASD", "NYSE", "AMEX"][:asked]


async def test_paper_cash_is_told_to_the_cent(start):
    """Paper tells no deposit: what may be spent stands in, and hides less than a cent of ours."""
    answers = {
        "us_balance": money.render_holdings("1234567801", []),
        "us_present_balance": {"output1": [], "output2": [], "output3": {}},
        "us_buying_power": money.render_buying_power(
            BuyingPower(amount=999_745_999, quantity=1, price=1)
        ),
    }
    client, _ = start(answers, profile=Profile.PAPER)

    account = await client.account()

    assert account.cash == 999_745_900
    assert [account.cash_difference(ours) for ours in (999_745_999, 999_745_900, 999_746_000)] == [
        0, 0, 100,
    ]  # fmt: skip


def _listed(number):
    return ListedOrder(
        order=VenueOrder(
            venue_order_id=f"{number:010d}", branch="", symbol="AAPL", side=Side.BUY, quantity=1,
            limit=1, filled_quantity=0, filled_amount=0, canceled_quantity=0,
            rejected_quantity=0, ts_event=NOW,
        )
    )  # fmt: skip


async def test_pages_are_joined(start):
    """Two pages of fills are one listing; an empty last page is the end of it."""

    def listing(fields):
        page = fields["CTX_AREA_NK200"].strip()
        rows, more = {"": ([_listed(1), _listed(2)], True), "2": ([_listed(3)], True),
                      "3": ([], False)}[page]  # fmt: skip
        following = {"": "2", "2": "3", "3": ""}[page]
        body = orders.render_orders(rows, {})
        return {**body, **render_page(Page(fk="x", nk=following), 200)}, more

    client, _ = start({"us_orders": listing})

    listed = await client.orders(date(2024, 1, 5))

    assert [order.venue_order_id for order in listed] == [
        "0000000001", "0000000002", "0000000003",
    ]  # fmt: skip


async def test_a_repeated_page_is_not_a_listing(start):
    """One row that comes again and again under new keys is a fault, not the whole (FAULTS 7)."""
    pages = []

    def listing(_):
        pages.append(str(len(pages)))
        body = orders.render_orders([_listed(1)], {})
        return {**body, **render_page(Page(fk="x", nk=pages[-1] + "x"), 200)}, True

    client, _ = start({"us_orders": listing})

    with pytest.raises(TransientBrokerError):
        await client.orders(date(2024, 1, 5))
    assert len(pages) == 2


def _day(session):
    return DailyRow(session=session, open=1, high=1, low=1, close=1, volume=1)


DAYS = [date(2023, 1, 1) + timedelta(days=k) for k in range(250)]


async def test_days_are_walked_back_from_the_end(start):
    """The date parameter is an end date with a look-back of 100 bars (FAULTS 19)."""
    asked = []

    def daily(fields):
        _, _, last, _, _ = bars.parse_daily_request(fields)
        asked.append(last)
        rows = [_day(day) for day in DAYS if day <= last][:-101:-1]
        return bars.render_daily(rows, APPLE)

    client, _ = start({"us_daily": daily})

    found = await asyncio.to_thread(client.data.daily, "AAPL", DAYS[20], DAYS[-1], adjusted=False)

    assert [row.session for row in found] == DAYS[20:]
    assert asked == [DAYS[249], DAYS[149], DAYS[49]]


async def test_a_venue_that_ignores_the_end_is_found_out(start):
    """The newest page again and again would never end: it is a fault."""
    newest = [_day(day) for day in DAYS[:-101:-1]]
    client, server = start({"us_daily": bars.render_daily(newest, APPLE)})

    with pytest.raises(TransientBrokerError):
        await asyncio.to_thread(client.data.daily, "AAPL", DAYS[0], DAYS[-1], adjusted=False)
    assert server.count("dailyprice") == 2


async def test_past_minutes_stop_at_midnight(start):
    """The bars of one past session are paged back to its open, and no further."""
    opens = [datetime(2023, 12, day, 14, 30, tzinfo=UTC) for day in (28, 27)]
    recorded = [
        MinuteRow(start=opened + timedelta(minutes=k), open=1, high=1, low=1, close=1, volume=1)
        for opened in opens
        for k in reversed(range(390))
    ]

    def minute(fields):
        _, _, _, count, before = bars.parse_minute_request(fields)
        page = [bar for bar in recorded if before is None or bar.start <= before][:count]
        return bars.render_minute(page, APPLE, opens=opens[0], closes=NOW, has_more=True)

    client, server = start({"us_minute": minute})

    found = await asyncio.to_thread(client.data.past_minutes, "AAPL", date(2023, 12, 28))

    assert [row.start for row in found] == [opens[0] + timedelta(minutes=k) for k in range(390)]
    assert server.count("inquire-time-itemchartprice") == 4
    assert server.requests[1][1]["KEYB"] == "20231228160000"


async def test_index_bars_are_walked_back(start):
    """Index bars come a hundred at a time, newest first, up to the end asked for."""

    def chart(fields):
        _, code, first, last, _ = bars.parse_index_daily_request(fields)
        rows = [
            IndexBar(session=day, close=Decimal(day.toordinal()))
            for day in DAYS if first <= day <= last
        ][: -101 : -1]  # fmt: skip
        return bars.render_index_daily(None, rows if code == "SPX" else [])

    client, server = start({"us_index_daily": chart})

    found = await asyncio.to_thread(client.data.index_daily, "SPX", DAYS[0], DAYS[-1])

    assert [row.session for row in found] == DAYS
    assert server.count("inquire-daily-chartprice") == 3


async def test_many_prices_are_asked_in_tens(start):
    """Twelve shares are two calls; one that the venue leaves out is left out."""

    def prices(fields):
        wanted = quotes.parse_prices_request(fields)
        return quotes.render_prices(
            [PriceRow(symbol=symbol) for _, symbol in wanted if symbol != "S3"]
        )

    client, server = start({"us_prices": prices})
    for k in range(12):
        client.instruments[f"S{k}"] = replace(APPLE, symbol=f"S{k}")

    rows = await asyncio.to_thread(client.data.prices, [f"S{k}" for k in range(12)])

    assert [row.symbol for row in rows] == [f"S{k}" for k in range(12) if k != 3]
    assert [sent["NREC"] for _, sent, _ in server.requests[1:]] == ["10", "2"]


async def test_period_profit_is_joined_over_pages(start):
    """Rows of all pages, the sums of the last; asked for in foreign currency, which is 01 here."""

    def profit(fields):
        is_first = not fields["CTX_AREA_NK200"].strip()
        row = ProfitRow(session=date(2024, 1, 4 if is_first else 5), symbol="AAPL")
        body = money.render_period_profit([row], None)
        return {**body, **render_page(Page(fk="x", nk="1" if is_first else ""), 200)}, is_first

    client, server = start({"us_period_profit": profit})

    rows, total = await client.overseas.period_profit(date(2024, 1, 1), date(2024, 1, 5))

    assert [row.session.day for row in rows] == [4, 5]
    assert total is None
    assert server.requests[1][1]["WCRC_FRCR_DVSN_CD"] == "01"
    assert server.requests[2][2]["tr_cont"] == "N"
