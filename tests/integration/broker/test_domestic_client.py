"""Every Korean call of the client against the local exchange, on recorded KRX days.

Samsung Electronics (005930) on 2024-01-15, whose raw prices are recorded; skipped without them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from broker_bench import STARTING_CASH, Bench

from trading.broker.client import KisClient
from trading.broker.settings import KisSettings
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Order, OrderIntent, OrderStatus, OrderType, Route, Side
from trading.errors import MissingDataError, OrderRejectedError, UsageError
from trading.exchange.domestic import DomesticDesk
from trading.exchange.domestic_quotes import UNRECORDED
from trading.exchange.floor import SuspensionKind
from trading.exchange.periods import merged
from trading.store.datasets import RecordedSource
from trading.wire import endpoints
from trading.wire.domestic_bars import Period
from trading.wire.domestic_company import STATEMENTS
from trading.wire.domestic_rankings import Ranking
from trading.wire.endpoints import Profile

DAY, BEFORE = date(2024, 1, 15), date(2024, 1, 12)
MINUTES_DAY, AFTER_MINUTES = date(2025, 9, 10), date(2025, 9, 11)
SAMSUNG = "005930"
pytestmark = pytest.mark.usefixtures("shared_data")


@pytest.fixture(scope="module")
def opened() -> dict[Path, RecordedSource]:
    """Return the sources opened so far, so that each file is read once."""
    return {}


@pytest.fixture
def history(shared_data: Path, opened: dict[Path, RecordedSource]) -> RecordedSource:
    """Return the recorded files as a source."""
    return opened.setdefault(shared_data, RecordedSource(shared_data))


@pytest.fixture
def bench(start_bench: Callable[..., Bench], history: RecordedSource) -> Bench:
    """Return a Korean exchange of the real profile in lock-step."""
    return start_bench(source=history, market=Market.KRX)


@pytest.fixture
async def client(bench: Bench, settings: KisSettings, cache: Path) -> AsyncIterator[KisClient]:
    """Return a client before the open of 2024-01-15."""
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    yield client
    await client.close()


def wish(side: Side, quantity: int, limit: int, **more: object) -> OrderIntent:
    """Return an intent in Samsung."""
    return OrderIntent(
        intent_id=f"{side}-{quantity}-{limit}-{sorted(more)}",
        session=DAY,
        boundary="open",
        symbol=SAMSUNG,
        exchange=Exchange.KOSPI,
        side=side,
        quantity=quantity,
        limit=limit,
        **more,  # type: ignore[arg-type]
    )


async def sent(client: KisClient, intent: OrderIntent) -> Order:
    """Send an order and return it as acknowledged."""
    ack = await client.submit(intent)
    return Order(intent=intent, status=OrderStatus.SUBMITTED).acknowledged(ack)


def bar_of(history: RecordedSource, day: date) -> dict[str, int]:
    """Return the recorded bar of Samsung."""
    return dict(history.daily(Market.KRX, [SAMSUNG], day, day).iloc[0])


async def test_market_order_revision_and_partial_cancel(bench, client, history):
    """A market order fills at the open; a resting one is revised and canceled in parts."""
    upper = (await client.quote(SAMSUNG)).upper_limit
    await client.subscribe([SAMSUNG])

    market = await sent(client, wish(Side.BUY, 10, 0, order_type=OrderType.MARKET))
    await bench.advance(client, DAY)
    resting = await sent(client, wish(Side.SELL, 10, upper))
    can_sell = await client.sellable(SAMSUNG)
    revised = await client.revise(resting, upper - 100, 4)
    still_open = await client.open_orders(DAY)
    await client.cancel(resting, 2)
    left = await client.open_orders(DAY)
    listed = await client.orders(DAY)

    assert can_sell == 0  # all ten are claimed by the sale
    assert [(row.order.venue_order_id, row.order.open_quantity, row.order.limit)
            for row in still_open] == [
        (resting.venue_order_id, 6, upper), (revised.venue_order_id, 4, upper - 100),
    ]  # fmt: skip
    assert [row.order.open_quantity for row in left] == [4, 4]
    filled = {order.venue_order_id: order for order in listed}[market.venue_order_id]
    assert (filled.filled_quantity, filled.filled_amount) == (
        10, 10 * bar_of(history, DAY)["open"],
    )  # fmt: skip


async def test_orders_of_every_route_are_listed(bench, settings, cache):
    """The exchange shows KRX alone unless asked for all: the client asks for all."""
    bench.control("session", session=MINUTES_DAY.isoformat())
    venue = bench.server.venue
    symbol = next(name for name in venue.replay.today if name not in venue.replay.untradable)
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    await client.subscribe([symbol])
    for _ in range(5):
        await bench.advance(client, MINUTES_DAY)
    lowest = (await client.quote(symbol)).lower_limit
    exchange = venue.instruments[symbol].exchange
    common = {"symbol": symbol, "exchange": exchange, "session": MINUTES_DAY}
    krx = await sent(client, replace(wish(Side.BUY, 1, lowest), **common))
    nxt = await sent(client, replace(wish(Side.BUY, 2, lowest, route=Route.NXT), **common))

    listed = await client.orders(MINUTES_DAY)
    await client.cancel(nxt)
    after = await client.open_orders(MINUTES_DAY)
    await client.close()

    assert [order.venue_order_id for order in listed] == [krx.venue_order_id, nxt.venue_order_id]
    assert [row.order.venue_order_id for row in after] == [krx.venue_order_id]


async def test_what_the_venue_does_not_take_never_leaves(client):
    """Type and route of PROTOCOL 9.1 are checked before anything is sent."""
    before = client.call_counts

    for intent in (
        wish(Side.BUY, 1, 0, order_type=OrderType.MARKET, route=Route.NXT),
        wish(Side.BUY, 1, 70_000, order_type=OrderType.CONDITIONAL_LIMIT, route=Route.SOR),
        wish(Side.BUY, 1, 0, order_type=OrderType.MID, route=Route.SOR),
        wish(Side.BUY, 1, 70_000, order_type=OrderType.NXT_PRE_LIMIT),
        wish(Side.BUY, 1, 0, order_type=OrderType.MARKET_ON_OPEN),
        wish(Side.BUY, 1, 0, order_type=OrderType.MARKET_OPEN),
        wish(Side.BUY, 1, 0),
        wish(Side.BUY, 0, 70_000),
        wish(Side.BUY, 1, 70_000, order_type=OrderType.STOP_LIMIT),
    ):
        with pytest.raises(UsageError):
            await client.submit(intent)

    assert client.call_counts == before


async def test_account_profit_and_assets(bench, client, history):
    """Realized profit, its days and trades, and the assets agree with the fills to the won."""
    await client.subscribe([SAMSUNG])
    await client.submit(wish(Side.BUY, 10, 0, order_type=OrderType.MARKET))
    await bench.advance(client, DAY)
    await client.submit(wish(Side.SELL, 10, 0, order_type=OrderType.MARKET))
    while (await bench.advance(client, DAY))[0] != "after_close":
        pass

    listed = await client.orders(DAY)
    account = await client.account()
    realized = await client.domestic.realized_profit()
    period = await client.domestic.period_profit(DAY, DAY)
    trades = await client.domestic.trade_profit(DAY, DAY)
    assets = await client.domestic.assets()

    bought, sold = (order.filled_amount for order in listed)
    assert bought == 10 * bar_of(history, DAY)["open"]
    [day] = period.days
    assert (day.session, day.bought, day.sold) == (DAY, bought, sold)
    costs = day.commission + day.tax
    # All is sold: what the cash changed by is what was realized, less the purchase's commission.
    change = account.cash - STARTING_CASH
    assert change == sold - bought - costs
    assert day.realized == change + period.sums.purchase_commission
    assert realized.sums.realized == day.realized == period.sums.realized
    assert trades.sums == period.sums
    [trade] = trades.trades
    assert (trade.symbol, trade.sold_quantity, trade.realized) == (SAMSUNG, 10, day.realized)
    assert assets.sums.total == account.cash
    assert await client.sellable(SAMSUNG) == 0


async def test_reserved_orders(bench, client):
    """A reservation is kept, listed, revised and canceled; in the session it is refused."""
    base = (await client.quote(SAMSUNG)).previous_close
    await client.subscribe([SAMSUNG])
    with pytest.raises(OrderRejectedError) as early:
        await client.reserve(wish(Side.BUY, 1, base))
    while (await bench.advance(client, DAY))[0] != "closed":
        pass
    while bench.control("status")["now"] < "2024-01-15T07:45:00+00:00":
        bench.control("advance", until="2024-01-15T07:45:00+00:00")

    number, made_on = await client.reserve(wish(Side.BUY, 3, base))
    await client.revise_reserved(number, made_on, wish(Side.BUY, 2, base - 100))
    waiting = await client.reserved_orders(made_on, made_on)
    await client.cancel_reserved(number, made_on)
    canceled = await client.reserved_orders(made_on, made_on)

    assert early.value.code == "KIER3672"
    assert made_on == DAY
    assert [(row.number, row.quantity, row.limit, row.result) for row in waiting] == [
        (number, 2, base - 100, "미처리")
    ]
    assert [row.result for row in canceled] == ["취소"]
    with pytest.raises(UsageError):
        await client.reserve(wish(Side.BUY, 1, base, order_type=OrderType.LIMIT_IOC))


async def test_prices_bars_and_trades(bench, client, history):
    """What was recorded comes back to the unit, day by day and month by month."""
    data = client.domestic.data
    bar = bar_of(history, DAY)
    await client.subscribe([SAMSUNG])
    await bench.advance(client, DAY)

    def asked():
        return (
            data.price_detail(SAMSUNG),
            data.prices([SAMSUNG, "000660", "999999"]),
            data.trades(SAMSUNG),
            data.trades_before(SAMSUNG, "090500"),
            data.daily(SAMSUNG, date(2023, 1, 2), BEFORE, adjusted=False),
            data.daily(SAMSUNG, date(2023, 1, 2), BEFORE, adjusted=False, period=Period.MONTH),
            data.recent_bars(SAMSUNG, adjusted=False),
            data.minutes(SAMSUNG),
            data.book(SAMSUNG),
        )

    detail, prices, trades, timed, daily, months, recent, minutes, book = await asyncio.to_thread(
        asked
    )

    recorded = history.daily(Market.KRX, [SAMSUNG], date(2023, 1, 2), BEFORE)
    assert (detail.price, detail.open, detail.is_halted) == (bar["open"], bar["open"], False)
    assert [(row.symbol, row.name) for row in prices] == [
        (SAMSUNG, "삼성전자"), ("000660", "SK하이닉스"),
    ]  # fmt: skip
    assert [(row.time, row.price) for row in trades] == [("090000", bar["open"])]
    assert [row.cumulative_volume for row in timed] == [trades[0].volume]
    assert [row.close for row in daily] == recorded["close"].tolist()
    january = [row for row in daily if row.session < date(2023, 2, 1)]
    assert months[0].session == january[-1].session
    assert (months[0].open, months[0].volume) == (
        january[0].open, sum(row.volume for row in january),
    )  # fmt: skip
    assert [row.session for row in recent[1:3]] == [BEFORE, date(2024, 1, 11)]
    assert recent[1].change == recent[1].close - recent[2].close
    assert [row.open for row in minutes] == [bar["open"]]
    assert book.asks == book.bids == ()


@pytest.mark.parametrize("period", [Period.WEEK, Period.MONTH])
async def test_longer_bars_over_pages(client, period):
    """No week is torn where two pages meet: the pages together are the days put together."""
    data = client.domestic.data
    first = date(2015, 1, 2)

    def asked():
        return (
            data.daily(SAMSUNG, first, BEFORE, adjusted=True, period=period),
            data.daily(SAMSUNG, first, BEFORE, adjusted=True),
        )

    long, days = await asyncio.to_thread(asked)

    assert len(long) > 100
    assert long == merged(days, period)


async def test_past_minutes_are_recorded_ones(bench, settings, cache, history):
    """The minutes of an earlier day come back whole, over pages of 120."""
    listed = [item.symbol for item in history.instruments(Market.KRX)]
    recorded = history.minute(Market.KRX, MINUTES_DAY, listed)
    counts = recorded.groupby("symbol").size()
    symbol = counts.index[counts == counts.max()][0]
    bench.control("session", session=AFTER_MINUTES.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.REAL)

    rows = await asyncio.to_thread(client.domestic.data.past_minutes, symbol, MINUTES_DAY)
    await client.close()

    wanted = recorded[recorded["symbol"] == symbol]
    assert len(rows) == counts.max() > 240
    assert [row.close for row in rows] == wanted["close"].tolist()
    assert [row.volume for row in rows] == wanted["volume"].tolist()


async def test_indices_and_rankings(bench, client, history):
    """KOSPI is 0001; leaders are ordered by what was asked for."""
    data = client.domestic.data
    await client.subscribe([SAMSUNG])
    await bench.advance(client, DAY)

    def asked():
        return (
            data.index_daily("0001", date(2023, 1, 2), BEFORE),
            data.index_recent("0001", BEFORE),
            data.index_daily("1001", date(2023, 1, 2), BEFORE),
            data.ranking(Ranking.VALUE),
            data.ranking(Ranking.RISE),
            data.ranking(Ranking.FALL),
            data.volume_rank(),
        )

    days, recent, kosdaq, value, rise, fall, volume = await asyncio.to_thread(asked)

    closes = history.index(Market.KRX, date(2023, 1, 2), BEFORE)
    assert [(row.session, float(row.close)) for row in days] == list(
        zip(closes["session"].dt.date, closes["close"], strict=True)
    )
    assert recent[0] == days[-1] and len(recent) == 100
    assert kosdaq == []
    with pytest.raises(MissingDataError):  # no index of a running session was recorded
        await asyncio.to_thread(data.index, "0001")
    assert [row.value for row in value] == sorted((row.value for row in value), reverse=True)
    assert rise[0].change_percent > 0 > fall[0].change_percent
    assert len(rise) == len(volume) == 30


async def test_interruptions_are_listed(bench, client):
    """A volatility interruption shows in the list, and in the price of its share."""
    data = client.domestic.data
    await client.subscribe([SAMSUNG])
    await bench.advance(client, DAY)
    venue = bench.server.venue
    until = venue.now.replace(minute=venue.now.minute + 2)
    bench.server.venue.suspend(SAMSUNG, SuspensionKind.VI, until)

    shown = await asyncio.to_thread(data.interruptions, DAY)
    detail = await asyncio.to_thread(data.price_detail, SAMSUNG)
    other = await asyncio.to_thread(data.interruptions, BEFORE)

    assert [(row.symbol, row.state, row.triggered_at) for row in shown] == [
        (SAMSUNG, "Y", "090000")
    ]
    assert detail.interruption == "Y"
    assert other == ()


async def test_companies_and_the_calendar(client, cache):
    """What a share is, and which days are open; the venue is asked for them once a day."""
    data = client.domestic.data
    info = await asyncio.to_thread(data.info, SAMSUNG)
    product = await asyncio.to_thread(data.product_info, SAMSUNG)
    time = await asyncio.to_thread(data.market_time)
    days = await asyncio.to_thread(data.holidays, date(2024, 2, 1), date(2024, 2, 29))
    calls = client.call_counts
    again = await asyncio.to_thread(data.holidays, date(2024, 2, 8), date(2024, 2, 13))
    (cache / "holidays-krx-real.json").write_text("{broken")
    anew = await asyncio.to_thread(data.holidays, date(2024, 2, 8), date(2024, 2, 13))

    assert (info.symbol, info.board, info.name) == (SAMSUNG, "STK", "삼성전자")
    assert product.symbol == SAMSUNG
    assert (time.first, time.third, time.today) == (date(2024, 1, 11), DAY, DAY)
    assert (time.opens, time.closes) == ("090000", "153000")
    assert len(days) == 29
    # 설날: 2024-02-09 to 2024-02-12.
    assert [row.is_open for row in again] == [True, False, False, False, False, True]
    assert again == anew
    assert client.call_counts > calls  # only the broken file made it ask again


async def test_the_unrecorded_is_empty(client):
    """Books, flows, statements, news: KIS's empty answers, never an invented figure."""
    data = client.domestic.data

    def asked():
        return [
            data.expected_closes(),
            data.index_minutes("0001"),
            data.index_times("0001"),
            data.news(SAMSUNG),
            *(data.statements(SAMSUNG, kind) for kind in STATEMENTS),
            data.ranking(Ranking.MARKET_CAP),
            data.ranking(Ranking.BUYING_POWER),
            data.investors(SAMSUNG),
            data.investors_daily(SAMSUNG, BEFORE),
            data.market_investors_daily("0001", BEFORE),
            data.net_buys(),
            data.flow_estimates(SAMSUNG),
        ]

    answers = await asyncio.to_thread(asked)

    assert answers == [()] * len(answers)
    assert await asyncio.to_thread(data.market_investors, "1001") is None
    for ask in (data.overtime_price, data.fund_price):
        with pytest.raises(MissingDataError):
            await asyncio.to_thread(ask, SAMSUNG)


async def test_paper_lacks_what_it_lacks(start_bench, settings, cache, history):
    """Every call that a paper account lacks says so in Korean, and nothing is sent."""
    bench = start_bench(Profile.PAPER, source=history, market=Market.KRX)
    bench.control("session", session=DAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.PAPER)
    data, calls = client.domestic.data, client.domestic
    blocking = [
        lambda: data.price_detail(SAMSUNG),
        lambda: data.prices([SAMSUNG]),
        lambda: data.past_minutes(SAMSUNG, BEFORE),
        lambda: data.ranking(Ranking.RISE),
        lambda: data.holidays(DAY),
        lambda: data.info(SAMSUNG),
        lambda: data.index("0001"),
    ]
    waiting = [
        calls.realized_profit,
        calls.assets,
        lambda: calls.period_profit(DAY, DAY),
        lambda: calls.trade_profit(DAY, DAY),
        lambda: client.reserve(wish(Side.BUY, 1, 70_000)),
        lambda: client.reserved_orders(DAY, DAY),
        lambda: client.submit(wish(Side.BUY, 1, 70_000, route=Route.SOR)),
    ]

    for ask in blocking:
        with pytest.raises(UsageError, match="모의투자"):
            await asyncio.to_thread(ask)
    for ask in waiting:
        with pytest.raises(UsageError, match="모의투자"):
            await ask()
    nothing_sent = client.call_counts
    closes = await asyncio.to_thread(data.index_daily, "0001", date(2024, 1, 2), BEFORE)
    await client.close()

    assert nothing_sent == (0, 0)
    assert closes[-1].close == Decimal(str(history.index(Market.KRX, BEFORE, BEFORE)["close"][0]))


def test_every_korean_call_is_answered():
    """The exchange has a service for each Korean call of the table, with content or empty."""
    known = {
        endpoint.name for endpoint in endpoints.BY_PATH.values() if endpoint.name.startswith("krx_")
    }
    desk = DomesticDesk(None, Profile.REAL)  # type: ignore[arg-type]

    assert set(desk.services) == known
    assert set(UNRECORDED) < known
