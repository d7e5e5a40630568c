"""Calls of both markets against scripted answers in KIS shapes: paging, gaps, degradations."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from scripted_server import ScriptedServer

from trading.broker.client import KisClient
from trading.broker.history import KisBarSource
from trading.broker.settings import Credentials, KisSettings, ProfileSettings
from trading.clock import ManualClock
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis, Quote
from trading.domain.order import (
    Order,
    OrderAck,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    VenueOrder,
)
from trading.errors import (
    MissingDataError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
    UsageError,
)
from trading.wire import (
    accounts,
    codes,
    domestic_account,
    domestic_bars,
    domestic_company,
    domestic_index,
    domestic_orders,
    domestic_quotes,
    domestic_rankings,
    overseas_account,
    overseas_bars,
    overseas_lists,
    overseas_quotes,
)
from trading.wire.domestic_index import IndexBar
from trading.wire.domestic_keys import whole_row
from trading.wire.endpoints import BY_PATH, Profile
from trading.wire.records import (
    Balance,
    BuyingPower,
    DailyRow,
    Holding,
    HolidayRow,
    ListedOrder,
    MinuteRow,
    OrderKind,
    RankRow,
)

# 10:00 in Seoul, before the open in New York.
NOW = datetime(2024, 1, 5, 1, 0, tzinfo=UTC)
SAMSUNG = Instrument(symbol="005930", exchange=Exchange.KOSPI, name="삼성전자")
APPLE = Instrument(symbol="AAPL", exchange=Exchange.NASDAQ, name="Apple")
QUOTE = Quote(
    symbol="005930", price=71_900, previous_close=72_000, open=72_100, high=72_400, low=71_700,
    volume=3, upper_limit=93_600, lower_limit=50_400, ts_event=NOW,
)  # fmt: skip
INTENT = OrderIntent(
    intent_id="1", session=date(2024, 1, 5), boundary="open", symbol="005930",
    exchange=Exchange.KOSPI, side=Side.BUY, quantity=10, limit=72_000,
)  # fmt: skip
TOKEN = {"access_token": "t", "access_token_token_expired": "2024-01-06 10:00:00"}


@pytest.fixture
async def start(tmp_path):
    """Return a function that makes a client of a server with one answer per endpoint."""
    things = []

    def make(answers, *, market=Market.KRX, profile=Profile.REAL, **changes):
        def script(path, fields, headers):
            if path == "/oauth2/tokenP":
                return 200, TOKEN, {}
            answer = answers[BY_PATH[path].name]
            body = answer(fields) if callable(answer) else answer
            return 200, body if "rt_cd" in body or "HASH" in body else codes.success(body), {}

        server = ScriptedServer(script)
        one = ProfileSettings(
            rest_base=server.base,
            ws_base="ws://127.0.0.1:9",
            calls_per_second=1000,
            reserved_for_cancel=0,
        )
        instrument = SAMSUNG if market is Market.KRX else APPLE
        client = KisClient(
            KisSettings(profiles={Profile.REAL: one, Profile.PAPER: one}, **changes),
            profile=profile,
            market=market,
            instruments={instrument.symbol: instrument},
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


async def test_korean_orders(start):
    """Orders and cancels carry what KIS asks for; the cancel names branch and number."""
    ack = OrderAck(venue_order_id="0000000042", branch="06010", ts_event=NOW)
    answers = {"krx_order": accounts.render_ack(ack), "krx_change": accounts.render_ack(ack)}
    client, server = start(answers)

    assert await client.submit(INTENT) == ack
    order = Order(intent=INTENT, status=OrderStatus.SUBMITTED).acknowledged(ack)
    await client.cancel(order)

    (_, sent, head), (_, canceled, _) = server.requests[1:]
    assert head["tr_id"] == "TTTC0012U"
    assert (sent["PDNO"], sent["ORD_QTY"], sent["ORD_UNPR"], sent["ORD_DVSN"]) == (
        "005930", "10", "72000", "00",
    )  # fmt: skip
    assert (canceled["ORGN_ODNO"], canceled["KRX_FWDG_ORD_ORGNO"], canceled["QTY_ALL_ORD_YN"]) == (
        "0000000042", "06010", "Y",
    )  # fmt: skip


async def test_orders_that_cannot_be_sent(start):
    """Only limit orders leave, and only acknowledged orders can be canceled."""
    client, server = start({})
    at_open = OrderIntent(
        **{name: getattr(INTENT, name) for name in INTENT.__slots__ if name != "order_type"},
        order_type=OrderType.MARKET_OPEN,
    )

    with pytest.raises(UsageError):
        await client.submit(at_open)
    with pytest.raises(UsageError):
        await client.cancel(Order(intent=INTENT))
    assert server.requests == []


async def test_acceptance_without_a_number_is_unknown(start):
    """An accepted order whose number is missing must be looked for, not sent again."""
    client, _ = start({"krx_order": {"output": {"ODNO": ""}}})

    with pytest.raises(OrderUnknownError):
        await client.submit(INTENT)


async def test_hashkey_goes_along_when_wanted(start):
    """With hash keys on, each order carries one; without it the order does not leave."""
    ack = OrderAck(venue_order_id="0000000042", branch="06010", ts_event=NOW)
    answers = {"hashkey": {"BODY": {}, "HASH": "ab" * 32}, "krx_order": accounts.render_ack(ack)}
    client, server = start(answers, send_hashkey=True)

    await client.submit(INTENT)
    assert server.requests[-1][2]["hashkey"] == "ab" * 32

    answers["hashkey"] = {"BODY": {}, "HASH": ""}
    with pytest.raises(OrderRejectedError):
        await client.submit(INTENT)
    assert server.count("order-cash") == 1


async def test_korean_listing_drops_cancel_rows(start):
    """A cancel request shows in the original order only."""
    order = VenueOrder(
        venue_order_id="0000000001", branch="06010", symbol="005930", side=Side.BUY, quantity=10,
        limit=72_000, filled_quantity=4, filled_amount=287_600, canceled_quantity=6,
        rejected_quantity=0, ts_event=NOW,
    )  # fmt: skip
    cancel = VenueOrder(
        venue_order_id="0000000002", branch="06010", symbol="005930", side=Side.BUY, quantity=6,
        limit=0, filled_quantity=0, filled_amount=0, canceled_quantity=6, rejected_quantity=0,
        ts_event=NOW, original_order_id="0000000001",
    )  # fmt: skip
    rows = [ListedOrder(order=cancel, kind=OrderKind.CANCEL), ListedOrder(order=order)]
    body = domestic_orders.render_orders(rows, {})
    client, server = start({"krx_orders": lambda _: body})

    assert list(await client.orders(date(2024, 1, 5))) == [order]
    await client.orders(date(2023, 1, 5))
    assert [head["tr_id"] for _, _, head in server.requests[1:]] == ["TTTC0081R", "CTSC9215R"]

    body["output1"] = []
    with pytest.raises(TransientBrokerError):  # sums without rows, as seen on paper
        await client.orders(date(2024, 1, 5))


async def test_korean_account(start):
    """Cash is that of D+2, a share in two rows is one position, an empty answer is a fault."""
    held = Holding(symbol="005930", quantity=3, sellable=3, cost=210_000, price=71_900)
    more = Holding(symbol="005930", quantity=2, sellable=2, cost=140_000, price=71_900)
    balance = Balance(cash=900, cash_next=950, cash_final=1_000, holdings=(held, more))
    answers = {
        "krx_balance": domestic_account.render_balance(balance),
        "krx_buying_power": domestic_account.render_buying_power(
            BuyingPower(amount=990, quantity=0, price=0)
        ),
    }
    client, _ = start(answers)

    account = await client.account()
    assert (account.cash, account.buying_power) == (1_000, 990)
    assert account.positions["005930"].cost == 350_000
    assert account.positions["005930"].quantity == 5

    answers["krx_balance"] = domestic_account.render_balance(
        Balance(cash=0, cash_next=0, cash_final=0)
    )
    answers["krx_buying_power"] = domestic_account.render_buying_power(
        BuyingPower(amount=0, quantity=0, price=0)
    )
    with pytest.raises(TransientBrokerError):
        await client.account()


async def test_korean_data(start):
    """Daily bars are paged by date to the first day, minutes by time to the open."""
    days = [date(2023, 1, 1) + timedelta(days=number) for number in range(250)]
    bars = [
        DailyRow(session=day, open=10, high=12, low=9, close=11, volume=5, value=55)
        for day in reversed(days)
    ]
    start_of_day = datetime(2024, 1, 5, 0, 0, tzinfo=UTC)
    minutes = [
        MinuteRow(start=start_of_day + timedelta(minutes=number), open=1, high=1, low=1, close=1,
                  volume=1)
        for number in reversed(range(61))
    ]  # fmt: skip

    def daily(fields):
        _, first, last, _ = domestic_bars.parse_daily_request(fields)
        page = [bar for bar in bars if first <= bar.session <= last][:100]
        return domestic_bars.render_daily(page, QUOTE, SAMSUNG)

    def minute(fields):
        _, last = domestic_bars.parse_minute_request(fields)
        page = [bar for bar in minutes if f"{bar.start + timedelta(hours=9):%H%M%S}" <= last][:30]
        return domestic_bars.render_minute(page, QUOTE, SAMSUNG)

    def index_daily(fields):
        _, _, last, _ = domestic_index.parse_index_daily_request(fields)
        close = IndexBar(session=days[-1], close=Decimal("2642.07"))
        return {"output1": {}, "output2": [whole_row(close)] if last >= days[-1] else []}

    answers = {
        "krx_daily": daily,
        "krx_minute": minute,
        "krx_price": domestic_quotes.render_price(QUOTE, SAMSUNG, value=1, tick=100, lot=1),
        "krx_volume_rank": domestic_rankings.render_volume_rank(
            [RankRow(rank=1, symbol="005930", name="", price=2, previous_close=1, volume=3)]
        ),
        "krx_holidays": domestic_company.render_holidays([HolidayRow(day=days[0], is_open=False)]),
        "krx_past_minute": {"output1": {}, "output2": []},
        "krx_index_daily": index_daily,
    }
    client, _ = start(answers)
    source = KisBarSource(client)

    frame = await asyncio.to_thread(source.daily, Market.KRX, None, days[10], days[-1])
    intraday = await asyncio.to_thread(source.minute, Market.KRX, NOW.date(), ["005930"])
    sessions = await asyncio.to_thread(source.sessions, Market.KRX)
    other_day = await asyncio.to_thread(source.minute, Market.KRX, days[0], ["005930"])

    assert list(frame["session"].dt.date) == days[10:]
    assert sessions == days
    assert source.sessions(Market.US) == []
    assert set(frame["adj_close"]) == {11.0}
    assert list(frame["value"].unique()) == [55]
    assert list(intraday["ts"]) == sorted(bar.start for bar in minutes)
    assert other_day.empty
    assert source.basis is PriceBasis.RAW
    assert source.instruments(Market.KRX) == [SAMSUNG]
    assert source.daily(Market.US, None, days[0], days[-1]).empty
    index = await asyncio.to_thread(source.index, Market.KRX, days[0], days[-1])
    assert [tuple(row) for row in index.itertuples(index=False)] == [
        (pd.Timestamp(days[-1]), "KOSPI", 2642.07)
    ]
    assert source.index(Market.US, days[0], days[-1]).empty
    assert list(source.actions(Market.KRX, days[0], days[-1])) == []
    with pytest.raises(MissingDataError):
        source.daily(Market.KRX, ["000000"], days[0], days[-1])
    assert (await client.quote("005930")).price == 71_900
    ranked = await asyncio.to_thread(client.volume_rank)
    assert [row.symbol for row in ranked] == ["005930"]
    closed = await asyncio.to_thread(client.holidays, days[0])
    assert [row.is_open for row in closed] == [False]


async def test_paper_lacks_rankings_and_holidays(start):
    """What 모의투자 does not have is not asked for."""
    client, server = start({}, profile=Profile.PAPER)

    assert client.volume_rank() == ()
    assert client.holidays(NOW.date()) == ()
    assert server.requests == []
    assert not client.polls_prices


async def test_one_symbol_that_cannot_be_asked_for_stops_no_other(start):
    """A holding beyond the universe comes before AAPL in the alphabet; AAPL is polled all the same."""
    volumes = iter((100, 130))

    def price(fields):
        quote = replace(QUOTE, symbol="AAPL", price=1_850_000, volume=next(volumes))
        return overseas_quotes.render_price(quote, APPLE, value=None)

    client, _ = start({"us_price": price}, market=Market.US, profile=Profile.PAPER)

    for _ in range(2):
        with pytest.raises(UsageError, match="AAA"):
            await client.poll(["AAA", "AAPL"])

    (tick,) = client.drain()
    assert (tick.symbol, tick.price, tick.volume) == ("AAPL", 1_850_000, 30)


async def test_american_paper_account(start):
    """Without a dollar balance, what may be spent stands in; a search replaces the ranking."""
    holding = Holding(
        symbol="AAPL", quantity=3, sellable=3, cost=2_700_000, exchange=Exchange.NASDAQ
    )
    answers = {
        "us_balance": overseas_account.render_holdings("1234567801", [holding]),
        "us_present_balance": {"output1": [], "output2": [], "output3": {}},
        "us_buying_power": overseas_account.render_buying_power(
            BuyingPower(amount=5_000_000, quantity=5, price=1)
        ),
        "us_search": overseas_lists.render_volume_rank(
            [RankRow(rank=1, symbol="AAPL", name="Apple", price=2, previous_close=1, volume=3,
                     exchange=Exchange.NASDAQ)]
        ),
    }  # fmt: skip
    client, server = start(answers, market=Market.US, profile=Profile.PAPER)

    account = await client.account()
    ranked = await asyncio.to_thread(client.volume_rank)

    assert (account.cash, account.buying_power) == (5_000_000, 5_000_000)
    assert account.positions["AAPL"].cost == 2_700_000
    assert (await asyncio.to_thread(client.minute_bars, "AAPL")).empty
    assert len(ranked) == 3  # one per exchange asked
    assert server.count("inquire-balance") == 3  # NASD is Nasdaq alone on paper
    assert client.holidays(NOW.date()) == ()
    assert (await client.book("AAPL")).asks == ()
    with pytest.raises(UsageError):
        await client.quote("NONE")
    assert {head["tr_id"] for _, _, head in server.requests[1:]} == {
        "VTTS3012R", "VTRP6504R", "VTTS3007R", "HHDFS76410000",
    }  # fmt: skip


async def test_american_minutes(start):
    """US minute bars of the local day are paged back to the open."""
    opened = datetime(2024, 1, 4, 14, 30, tzinfo=UTC)  # 20:00 in New York is still the 4th
    minutes = [
        MinuteRow(start=opened + timedelta(minutes=number), open=1, high=1, low=1, close=1,
                  volume=1)
        for number in reversed(range(390))
    ]  # fmt: skip

    def minute(fields):
        _, _, _, count, before = overseas_bars.parse_minute_request(fields)
        page = [bar for bar in minutes if before is None or bar.start <= before][:count]
        return overseas_bars.render_minute(page, APPLE, opens=opened, closes=NOW, has_more=True)

    client, server = start({"us_minute": minute}, market=Market.US)

    frame = await asyncio.to_thread(client.minute_bars, "AAPL")

    assert list(frame["ts"]) == [bar.start for bar in reversed(minutes)]
    assert server.count("inquire-time-itemchartprice") == 4
