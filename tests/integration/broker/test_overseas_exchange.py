"""Every US call of the client against the local exchange: what was recorded, and the rest empty.

Prices are those of bokeh_sampledata; index closes those of the S&P 500.
"""

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from broker_bench import STARTING_CASH, intent

from trading.domain.instrument import Exchange
from trading.domain.order import Order, OrderStatus, OrderType, Side
from trading.errors import MissingDataError, OrderRejectedError, UsageError
from trading.wire.domestic_bars import Period
from trading.wire.endpoints import Profile
from trading.wire.overseas_bars import Series
from trading.wire.overseas_lists import Criterion, Ranking

DAY = date(2005, 2, 25)
AAPL_OPEN, AAPL_BASE = 896_200, 889_300
# 0.25 % of 10 × 89.62 USD, down to the cent.
COMMISSION = 22_400


@pytest.fixture
async def client(bench, settings, cache):
    """Return a client before the open of 2005-02-25."""
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    yield client
    await client.close()


async def call(function, *arguments, **more):
    """Make a blocking call outside the loop."""
    return await asyncio.to_thread(function, *arguments, **more)


async def test_prices(bench, client):
    """Prices, many prices and executions are the recorded ones to the unit."""
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)

    price = await call(client.data.price, "AAPL")
    detail = await call(client.data.price_detail, "AAPL")
    rows = await call(client.data.prices, ["AAPL", "IBM"])
    trades = await call(client.data.trades, "AAPL")
    earlier = await call(client.data.trades, "AAPL", today=False)
    book = await call(client.data.book, "AAPL")

    assert (price.price, price.previous_close) == (AAPL_OPEN, AAPL_BASE)
    assert (detail.price, detail.open, detail.previous_close) == (AAPL_OPEN, AAPL_OPEN, AAPL_BASE)
    # The highest price of the year before: 90.88 dollars on 2005-02-17.
    assert (detail.currency, detail.tick, detail.year_high) == ("USD", 100, 908_800)
    assert [(row.symbol, row.exchange_code) for row in rows] == [("AAPL", "NAS"), ("IBM", "NYS")]
    assert (rows[0].change, rows[0].change_percent) == (6_900, Decimal("0.78"))  # 0.69 / 88.93
    # 09:30 in New York is 23:30 in Seoul; a quarter of the day's volume (replay rule).
    assert [(row.korean_time, row.price, row.volume) for row in trades] == [
        ("233000", AAPL_OPEN, 4_087_100)
    ]
    assert earlier == ()
    assert (book.asks, book.bids) == ((), ())


async def test_bars(client):
    """Days, weeks and the index are recorded; what is not, is empty."""
    week = await call(
        client.data.daily, "AAPL", date(2005, 2, 14), date(2005, 2, 24), adjusted=False,
        period=Period.WEEK,
    )  # fmt: skip
    index = await call(client.data.index_daily, "SPX", date(2005, 2, 22), DAY)
    now = await call(client.data.index, "SPX")
    rate = await call(
        client.data.index_daily, "FX@KRW", date(2005, 2, 22), DAY, series=Series.EXCHANGE_RATE
    )

    assert [bar.session for bar in week] == [date(2005, 2, 18), date(2005, 2, 24)]
    first = week[0]
    assert (first.open, first.high, first.low, first.close) == (831_600, 908_800, 820_500, 868_100)
    assert first.volume == 22_704_700 + 41_289_600 + 29_272_200 + 27_115_600 + 20_772_400
    assert [(bar.session.day, round(bar.close, 2)) for bar in index] == [
        (22, Decimal("1184.16")), (23, Decimal("1190.80")), (24, Decimal("1200.20")),
    ]  # fmt: skip
    assert round(now.value, 2) == Decimal("1200.20")
    assert rate == []
    assert await call(client.data.minutes, "AAPL") == []
    assert await call(client.data.past_minutes, "AAPL", date(2005, 2, 24)) == []
    assert await call(client.data.index_minutes, "SPX") == ()
    with pytest.raises(UsageError):
        await call(client.data.daily, "AAPL", DAY, DAY, adjusted=False, period=Period.YEAR)


async def test_lists(bench, client):
    """Rankings and searches come from the tape; news and capital were not recorded."""
    await client.subscribe(["AAPL", "IBM", "MSFT", "GOOG"])
    await bench.advance(client, DAY)

    rising = await call(client.data.ranking, Ranking.RISE, [Exchange.NASDAQ])
    falling = await call(client.data.ranking, Ranking.FALL, [Exchange.NASDAQ])
    by_value = await call(client.data.ranking, Ranking.VALUE, [Exchange.NASDAQ])
    largest = await call(client.data.ranking, Ranking.MARKET_CAP)
    found = await call(
        client.data.search, {Criterion.PRICE: (50, 100), Criterion.VOLUME: (1, 10**11)}
    )
    unknown = await call(client.data.search, {Criterion.PRICE_TO_EARNINGS: (0, 100)})
    info = await call(client.data.info, "IBM")

    # At the open: AAPL +0.78 %, GOOG 189.15 against 188.89 +0.14 %, MSFT 25.35 against 25.37.
    assert [row.symbol for row in rising] == ["AAPL", "GOOG", "MSFT"]
    assert [row.symbol for row in falling] == ["MSFT", "GOOG", "AAPL"]
    assert [row.change_percent for row in rising] == [
        Decimal("0.78"), Decimal("0.14"), Decimal("-0.08"),
    ]  # fmt: skip
    assert [row.symbol for row in by_value] == ["GOOG", "MSFT", "AAPL"]
    assert largest == ()
    assert [(row.symbol, row.price) for row in found] == [("AAPL", AAPL_OPEN), ("IBM", 923_500)]
    assert unknown == ()
    assert (info.exchange_code, info.currency, info.is_listed) == ("NYSE", "USD", True)
    assert await call(client.data.news) == ()
    assert await call(client.data.breaking_news) == ()


async def test_settlement_days(client):
    """A trade of Friday 2005-02-25 settles three sessions later, as the law then was."""
    open_day = await call(client.data.settlements, DAY)
    closed_day = await call(client.data.settlements, date(2005, 2, 26))

    assert [(row.country, row.local_settlement) for row in open_day] == [("840", date(2005, 3, 2))]
    assert closed_day == ()


async def test_orders_of_a_day(bench, client):
    """An order is revised, listed as open, canceled in part, and leaves its chain behind."""
    await client.subscribe(["AAPL"])
    wish = intent("AAPL", Side.BUY, 10, 500_000)
    order = Order(intent=wish, status=OrderStatus.SUBMITTED).acknowledged(await client.submit(wish))

    revised = await client.revise(order, 510_000)
    still_open = await client.open_orders(DAY)
    await client.cancel(order._replace(venue_order_id=revised.venue_order_id), 4)
    after = await client.open_orders(DAY)
    listed = {row.venue_order_id: row for row in await client.orders(DAY)}

    assert [(row.order.venue_order_id, row.order.limit) for row in still_open] == [
        (revised.venue_order_id, 510_000)
    ]
    assert [row.order.open_quantity for row in after] == [6]
    assert listed[revised.venue_order_id].original_order_id == order.venue_order_id
    assert listed[order.venue_order_id].canceled_quantity == 10
    with pytest.raises(OrderRejectedError):
        await client.revise(order, 520_000)


async def test_order_types(client):
    """Types and sides are those of the current list; others are refused before anything leaves."""
    on_close = replace(intent("AAPL", Side.BUY, 1, 900_000), order_type=OrderType.LIMIT_ON_CLOSE)
    market_buy = replace(intent("AAPL", Side.BUY, 1, 0), order_type=OrderType.MARKET_ON_OPEN)
    korean = replace(on_close, order_type=OrderType.BEST)
    before = client.call_counts

    for wrong in (market_buy, korean):
        with pytest.raises(UsageError):
            await client.submit(wrong)
    assert client.call_counts == before
    assert (await client.submit(on_close)).venue_order_id == "0000000001"


async def test_wrong_exchange_is_told(client):
    """IBM is listed in New York: asked for at Nasdaq it is unknown, with a Korean sentence."""
    wrong = replace(intent("IBM", Side.BUY, 1, 900_000), exchange=Exchange.NASDAQ)

    with pytest.raises(OrderRejectedError) as refused:
        await client.submit(wrong)

    assert refused.value.code == "APBK0656"
    assert "거래소" in str(refused.value) or "종목" in str(refused.value)


async def test_daytime_market_is_closed(client):
    """Nothing of the daytime market was recorded: its orders are refused, never taken."""
    wish = intent("AAPL", Side.BUY, 1, 900_000)
    order = Order(intent=wish, venue_order_id="0000000001")

    for attempt in (
        client.submit_daytime(wish),
        client.cancel_daytime(order),
        client.revise_daytime(order, 910_000),
    ):
        with pytest.raises(OrderRejectedError) as refused:
            await attempt
        assert refused.value.code == "APBK0918"
    with pytest.raises(UsageError):
        await client.submit_daytime(replace(wish, order_type=OrderType.LIMIT_ON_OPEN))


async def test_reservations(bench, client):
    """A reservation made in the evening is listed, can be canceled, and is sent at the open."""
    next_day = date(2005, 2, 28)
    await client.subscribe(["AAPL"])
    with pytest.raises(OrderRejectedError) as early:
        await client.reserve(intent("MSFT", Side.BUY, 2, 200_000))
    phase = ""
    while phase != "closed":
        phase, _ = await bench.advance(client, DAY)
    await bench.advance(client, DAY)

    kept = await client.reserve(intent("MSFT", Side.BUY, 2, 200_000))
    dropped = await client.reserve(intent("IBM", Side.BUY, 1, 900_000))
    await client.cancel_reserved(*dropped)
    waiting = await client.reserved_orders(kept[1], kept[1])
    await call(bench.control, "session", session=next_day.isoformat())
    await bench.advance(client, next_day)
    sent = await client.reserved_orders(kept[1], kept[1])
    orders = await client.orders(next_day)

    assert early.value.code == "KIER3672"
    assert kept[1] == date(2005, 2, 26)  # it is Saturday in Seoul already
    assert [(row.symbol, row.side, row.quantity, row.limit, row.status, row.is_canceled)
            for row in waiting] == [
        ("MSFT", Side.BUY, 2, 200_000, "접수", False),
        ("IBM", Side.BUY, 1, 900_000, "취소", True),
    ]  # fmt: skip
    assert [row.symbol for row in orders] == ["MSFT"]
    assert sent[0].order_id == orders[0].venue_order_id
    with pytest.raises(OrderRejectedError):
        await client.cancel_reserved(*kept)


async def test_account_reports(bench, client):
    """A round trip shows in holdings, money, profit and trades, each to the unit."""
    await client.subscribe(["AAPL"])
    await client.submit(intent("AAPL", Side.BUY, 10, 950_000))
    await bench.advance(client, DAY)
    sellable = await client.sellable("AAPL")
    margins = await client.overseas.margins()
    present = await client.overseas.present_balance()
    await client.submit(intent("AAPL", Side.SELL, 10, 800_000))
    sold_out = await client.sellable("AAPL")

    profits, total = await client.overseas.period_profit(DAY, DAY)
    trades, sums = await client.overseas.period_trades(DAY, DAY)
    settled = await client.overseas.settled_balance(DAY)
    delivered = await client.overseas.settled_balance(date(2005, 3, 2))

    # Bought at 89.62 for 896.20 and 2.24 of commission; nothing is paid before 2005-03-02.
    assert (sellable, sold_out) == (10, 0)
    assert margins[0].deposit == Decimal(STARTING_CASH) / 10_000
    assert margins[0].unsettled_bought == Decimal("898.4400")
    assert [(row.symbol, row.quantity, row.cost) for row in present.shares] == [
        ("AAPL", 10, Decimal("896.2000"))
    ]
    assert present.currencies[0].deposit == Decimal(STARTING_CASH) / 10_000
    # Sold at the same price: what is lost is the second commission; SEC fees are in the tax.
    assert [(row.symbol, row.quantity, row.cost, row.proceeds) for row in profits] == [
        ("AAPL", 10, Decimal("896.2000"), Decimal("896.2000"))
    ]
    assert profits[0].realized == -profits[0].costs
    assert total is not None and total.realized == profits[0].realized
    assert [(row.side_code, row.quantity, row.settled_on) for row in trades] == [
        ("02", 10, date(2005, 3, 2)), ("01", 10, date(2005, 3, 2)),
    ]  # fmt: skip
    assert trades[0].domestic_fee == Decimal(COMMISSION) / 10_000
    assert trades[0].settlement == Decimal("898.4400")
    assert sums is not None and sums.bought == sums.sold == Decimal("896.2000")
    assert settled.shares == delivered.shares == ()
    after = await client.account()
    assert delivered.currencies[0].deposit == Decimal(after.cash) / 10_000


async def test_paper_gaps_are_told(start_bench, settings, cache):
    """What 모의투자 lacks raises one Korean sentence before anything is sent, or is derived."""
    bench = start_bench(Profile.PAPER)
    bench.control("session", session=DAY.isoformat())
    # The paper limit is one call a second: this test needs no more than a few.
    client = bench.client(cache, settings=settings, profile=Profile.PAPER)
    await client.subscribe(["AAPL"])
    await bench.advance(client, DAY)
    ack = await client.submit(intent("AAPL", Side.BUY, 1, 500_000))

    derived = await client.open_orders(DAY)
    present = await client.overseas.present_balance()
    sent = client.call_counts
    with pytest.raises(UsageError, match="모의투자에는 없는 기능: 해외 뉴스 제목"):
        await call(client.data.news)
    with pytest.raises(UsageError, match="모의투자에는 없는 기능"):
        await client.overseas.margins()
    with pytest.raises(UsageError, match="모의투자에는 없는 기능"):
        await client.reserved_orders(DAY, DAY)
    with pytest.raises(UsageError, match="지정가"):
        await client.submit(
            replace(intent("AAPL", Side.BUY, 1, 500_000), order_type=OrderType.LIMIT_ON_CLOSE)
        )
    counts = client.call_counts
    await client.close()

    assert [row.order.venue_order_id for row in derived] == [ack.venue_order_id]
    assert (present.shares, present.currencies) == ((), ())  # paper fills only the totals
    assert counts[0] == sent[0]


async def test_unknown_share(bench, client, settings, cache):
    """A share that the venue does not know raises; one that we do not know is never asked for."""
    client.instruments["XYZ"] = replace(client.instruments["AAPL"], symbol="XYZ")

    with pytest.raises(MissingDataError):
        await call(client.data.price, "XYZ")
    with pytest.raises(UsageError):
        await call(client.data.price, "ABC")
