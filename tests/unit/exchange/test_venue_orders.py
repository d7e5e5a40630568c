"""What each order type of PROTOCOL 9.1 and 10.1 does on a replay.

SK하이닉스 on 2025-09-10: base 288,000, limits 201,600 and 374,000 (±30 %, tick 500); prints
294,500 at 09:00, 293,000 at 11:10, 305,000 at 13:20 and 304,000 at 15:30, a quarter of
5,265,553 shares each; a tenth of a print may be taken: 131,638 and then one more.
"""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from venue_bench import HYNIX, SAMSUNG, Bench, PublishedBars, refusal

from trading.domain.instrument import Exchange, Market
from trading.domain.order import OrderType, Route, Side
from trading.exchange.accounts import StandingOrder
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.venue import NoticeKind
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile

BUY, SELL = Side.BUY, Side.SELL
T = OrderType
DAY = date(2025, 9, 10)
UPPER, LOWER = 374_000, 202_000


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a venue; its session is open unless none is given."""
    made: list[Bench] = []

    def make(session: date | None = DAY, market: Market = Market.KRX, **options: object) -> Bench:
        source = PublishedBars() if market is Market.KRX else EmbeddedSource()
        made.append(Bench(tmp_path, source, market, **options))  # type: ignore[arg-type]
        if session is not None:
            made[0].venue.open_session(session)
        return made[0]

    yield make
    for one in made:
        one.journal.close()


def test_a_market_order_reserves_at_the_upper_limit_and_pays_the_print(bench):
    """10 x 374,000 with 0.014 % is reserved; 10 x 294,500 and 412 won is paid."""
    krx = bench()
    before = krx.venue.buying_power(krx.account)

    order = krx.order(BUY, HYNIX, 10, 0, T.MARKET)
    reserved = before - krx.venue.buying_power(krx.account)
    krx.at(9)

    assert order.limit == 0 and reserved == 3_740_000 + 523
    assert order.filled_amount == 2_945_000
    assert before - krx.venue.buying_power(krx.account) == 2_945_000 + 412


def test_a_conditional_limit_becomes_a_market_order_in_the_closing_auction(bench):
    """A buy at 290,000 never meets its price and closes at 304,000; a plain one expires."""
    krx = bench()

    conditional = krx.order(BUY, HYNIX, 10, 290_000, T.CONDITIONAL_LIMIT)
    plain = krx.order(BUY, HYNIX, 10, 290_000)
    krx.at(15, 25)
    open_before = conditional.open_quantity
    krx.finish()

    assert open_before == 10
    assert conditional.filled_amount == 3_040_000
    assert (plain.filled_quantity, plain.canceled_quantity) == (0, 10)


def test_a_conditional_limit_without_a_base_price_stays_what_it_is(bench):
    """On a day without price limits nobody knows a market price: it closes at 288,000 as limited."""
    krx = bench(date(2025, 9, 9))
    krx.at(14)

    order = krx.order(BUY, HYNIX, 10, 288_000, T.CONDITIONAL_LIMIT)
    krx.finish()

    assert order.filled_amount == 2_880_000


def test_a_best_order_takes_the_last_price_and_a_priority_order_waits_for_it(bench):
    """After 293,000 the best buy fills there; the priority buy needs the next print at it."""
    krx = bench()
    krx.at(11, 10)

    best = krx.order(BUY, HYNIX, 10, 0, T.BEST)
    priority = krx.order(BUY, HYNIX, 10, 0, T.PRIORITY)
    krx.finish()

    assert best.filled_amount == 2_930_000
    assert (priority.bound, priority.filled_quantity) == (293_000, 0)


@pytest.mark.parametrize(
    ("order_type", "quantity", "filled"),
    [
        (T.LIMIT_IOC, 200_000, 131_638),
        (T.LIMIT_FOK, 200_000, 0),
        (T.LIMIT_FOK, 131_638, 131_638),
        (T.MARKET_IOC, 200_000, 131_638),
        (T.MARKET_FOK, 131_639, 0),
        (T.BEST_IOC, 200_000, 131_638),
        (T.BEST_FOK, 200_000, 0),
    ],
)
def test_immediate_orders_take_what_there_is_or_all_or_nothing(bench, order_type, quantity, filled):
    """A tenth of the print of 1,316,388 shares; what is not taken is killed at once."""
    krx = bench(cash=10**12)
    krx.at(9)

    order = krx.order(BUY, HYNIX, quantity, 294_500 if order_type.names_price else 0, order_type)

    assert (order.filled_quantity, order.open_quantity) == (filled, 0)
    killed = [(order.order_id, quantity - filled, order.limit)] if filled < quantity else []
    assert krx.notices(NoticeKind.KILLED) == killed


def test_a_stop_limit_sleeps_until_its_price_trades(bench):
    """A buy that wakes at 300,000 meets 305,000 at its limit; one at 306,000 sleeps on."""
    krx = bench()
    krx.at(11, 10)

    woken = krx.order(BUY, HYNIX, 10, 305_000, T.STOP_LIMIT, stop=300_000)
    asleep = krx.order(BUY, HYNIX, 10, 310_000, T.STOP_LIMIT, stop=306_000)
    krx.restart()
    krx.at(13, 20)

    orders = krx.account.orders
    assert orders[woken.order_id].filled_amount == 3_050_000
    assert orders[asleep.order_id].is_asleep and orders[asleep.order_id].open_quantity == 10


def test_orders_at_a_closing_price(bench):
    """05 trades at yesterday's 288,000 from 08:30 to 08:40, 06 at 304,000 from 15:40 to 16:00."""
    krx = bench(cash=10**12)

    early = krx.order(BUY, HYNIX, 10, 0, T.PRE_HOURS_CLOSE)
    # A tenth of the last quarter (1,039,586) of yesterday's shares: 103,958, less ten.
    rest = krx.order(BUY, HYNIX, 200_000, 0, T.PRE_HOURS_CLOSE)
    open_rest = rest.open_quantity
    krx.at(8, 40)
    too_late = refusal(krx.order, BUY, HYNIX, 10, 0, T.PRE_HOURS_CLOSE)
    krx.at(15, 30)
    too_early = refusal(krx.order, BUY, HYNIX, 10, 0, T.AFTER_HOURS_CLOSE)
    krx.at(15, 40)
    late = krx.order(SELL, HYNIX, 10, 0, T.AFTER_HOURS_CLOSE)
    krx.at(16)

    assert early.filled_amount == 2_880_000
    assert open_rest == 200_000 - 103_948 and rest.canceled_quantity == open_rest
    assert late.filled_amount == 3_040_000
    assert too_late is too_early is Reason.CLOSED
    assert refusal(krx.order, SELL, HYNIX, 1, 0, T.AFTER_HOURS_CLOSE) is Reason.CLOSED


def test_after_hours_single_prices_were_not_recorded_and_fill_nothing(bench):
    """07 is taken from 16:00 to 18:00 within a tenth of the close, and expires."""
    krx = bench()
    krx.at(16)

    order = krx.order(BUY, HYNIX, 1, 304_000, T.AFTER_HOURS_SINGLE)
    too_far = refusal(krx.order, BUY, HYNIX, 1, 335_000, T.AFTER_HOURS_SINGLE)
    krx.at(17, 59)
    before = order.open_quantity
    krx.finish()

    assert too_far is Reason.PRICE_LIMIT
    assert (before, order.open_quantity, order.filled_quantity) == (1, 0, 0)
    assert krx.venue.now.hour == 9  # 18:00 in Seoul


@pytest.mark.parametrize(
    ("hour", "minute", "order_type", "reason"),
    [
        (8, 30, T.BEST, Reason.CALL_AUCTION),
        (8, 30, T.LIMIT_IOC, Reason.CALL_AUCTION),
        (8, 30, T.CONDITIONAL_LIMIT, None),
        (15, 20, T.CONDITIONAL_LIMIT, Reason.CALL_AUCTION),
        (15, 20, T.MARKET_FOK, Reason.CALL_AUCTION),
        (15, 20, T.MARKET, None),
        (15, 30, T.LIMIT, Reason.CLOSED),
        (10, 0, T.MID, Reason.NO_BOOK),
        (10, 0, T.AFTER_MARKET_LIMIT, Reason.ORDER_KIND),
        (10, 0, T.NXT_PRE_LIMIT, Reason.ORDER_KIND),
        (10, 0, T.LIMIT_ON_OPEN, Reason.ORDER_KIND),
    ],
)
def test_which_window_takes_which_type(bench, hour, minute, order_type, reason):
    """Call auctions take limit and market orders; what was not law that day is refused."""
    krx = bench()
    krx.at(hour, minute)

    limit = 290_000 if order_type.names_price else 0
    assert refusal(krx.order, BUY, HYNIX, 1, limit, order_type) is reason


def test_an_order_in_the_closing_auction_waits_for_its_price(bench):
    """At 15:25 nothing trades: a marketable buy gets the single price of 15:30, not 13:20's."""
    krx = bench()
    krx.at(15, 25)

    order = krx.order(BUY, HYNIX, 10, 305_000)
    before = order.filled_quantity
    krx.cancel(order, 4)
    krx.at(15, 30)

    assert before == 0 and order.filled_amount == 6 * 304_000


def test_new_types_and_routes_begin_with_the_second_exchange(bench):
    """In 2021 there was no NXT and no stop limit."""
    krx = bench(date(2021, 1, 4))
    krx.at(10)

    assert refusal(krx.order, BUY, SAMSUNG, 1, 80_000, route=Route.SOR) is Reason.ORDER_KIND
    stop = refusal(krx.order, BUY, SAMSUNG, 1, 80_000, T.STOP_LIMIT, stop=80_000)
    assert stop is Reason.ORDER_KIND


def test_sor_trades_on_krx_and_nxt_has_no_record(bench):
    """A smart order fills on the recorded tape; one for NXT waits until 20:00."""
    krx = bench()
    krx.at(11, 10)

    smart = krx.order(BUY, HYNIX, 1, 300_000, route=Route.SOR)
    nxt = krx.order(BUY, HYNIX, 1, 300_000, route=Route.NXT)
    wrong = refusal(krx.cancel, nxt)
    krx.at(19, 59)
    waiting = nxt.open_quantity
    krx.finish()

    assert smart.filled_amount == 293_000 and smart.listed().route is Route.SOR
    assert (waiting, nxt.filled_quantity, nxt.canceled_quantity) == (1, 0, 1)
    assert wrong is Reason.UNKNOWN_ORDER


def test_a_paper_account_takes_limit_and_market_on_krx(bench):
    """The rest is answered with 90000000."""
    krx = bench(profile=Profile.PAPER)
    krx.at(10)

    for order_type, route in ((T.BEST, Route.KRX), (T.LIMIT, Route.SOR)):
        with pytest.raises(OrderRefused) as refused:
            krx.order(BUY, HYNIX, 1, 290_000, order_type, route=route)
        assert refused.value.body(Profile.PAPER)["msg_cd"] == "90000000"
    assert refusal(krx.order, BUY, HYNIX, 1, 0, T.MARKET) is None


def test_a_buy_at_the_upper_limit_is_legal_and_one_tick_more_is_not(bench):
    """±30 % of 288,000 is 86,400, cut to the tick of 500: 374,000 and 202,000."""
    krx = bench()

    assert krx.venue.replay.limits(HYNIX) == (LOWER, UPPER)
    assert refusal(krx.order, BUY, HYNIX, 1, UPPER) is None
    assert refusal(krx.order, BUY, HYNIX, 1, UPPER + 500) is Reason.PRICE_LIMIT
    assert refusal(krx.order, BUY, HYNIX, 1, LOWER - 500) is Reason.PRICE_LIMIT
    assert refusal(krx.order, BUY, HYNIX, 1, 290_250) is Reason.TICK


def test_a_revision_may_change_price_quantity_and_type(bench):
    """Four of ten become a market order; the six others keep their place."""
    krx = bench()
    krx.at(9)
    order = krx.order(BUY, HYNIX, 10, 290_000)

    revised = krx.change(order, 4, 0, order_type=T.MARKET)
    krx.finish()

    assert revised.original_id == order.order_id and revised.filled_amount == 4 * 294_500
    assert (order.filled_quantity, order.canceled_quantity) == (0, 10)
    assert krx.notices(NoticeKind.REVISED) == [(revised.order_id, 4, 0)]


def test_a_cancel_must_name_its_order_rightly(bench):
    """A wrong branch or exchange is refused, a blank branch is not (PROTOCOL 9.3, FAULTS 16)."""
    krx = bench()
    order = krx.order(BUY, HYNIX, 10, 290_000)

    assert refusal(krx.cancel, order, branch="99999") is Reason.UNKNOWN_ORDER
    assert refusal(krx.cancel, order, route=Route.SOR) is Reason.UNKNOWN_ORDER
    assert refusal(krx.cancel, order, 11) is Reason.NOTHING_LEFT
    assert refusal(krx.cancel, order, branch="06010") is None
    assert refusal(krx.cancel, order) is Reason.NOTHING_LEFT


def test_a_slow_cancel_may_lose_to_a_fill(bench):
    """Taken before the print, carried out after it: what was filled is refused (FAULTS 25)."""
    krx = bench(cash=10**12)
    lost = krx.order(BUY, HYNIX, 10, 300_000)
    krx.venue.slow_cancels = 2

    late = krx.cancel(lost)
    big = krx.order(BUY, HYNIX, 200_000, 300_000)
    half = krx.cancel(big)
    krx.restart()
    krx.at(9)

    orders = krx.account.orders
    assert orders[lost.order_id].filled_quantity == 10
    assert orders[late.order_id].rejected_quantity == 10
    assert orders[big.order_id].filled_quantity == 131_628
    assert orders[half.order_id].canceled_quantity == 200_000 - 131_628
    assert orders[half.order_id].rejected_quantity == 131_628
    assert [n[0] for n in krx.notices(NoticeKind.REFUSED)] == [late.order_id, half.order_id]


def test_the_exchange_may_refuse_what_was_accepted(bench):
    """A late refusal ends the order, frees its cash, and is told."""
    krx = bench()
    before = krx.venue.buying_power(krx.account)
    order = krx.order(BUY, HYNIX, 10, 290_000)

    krx.venue.reject(krx.account, order.order_id, "호가 접수 거부")
    krx.finish()

    assert (order.rejected_quantity, order.filled_quantity) == (10, 0)
    assert krx.venue.buying_power(krx.account) == before
    assert krx.notices(NoticeKind.REFUSED) == [(order.order_id, 10, 290_000)]


def test_a_trade_by_hand_is_an_order_like_any_other(bench):
    """It has a number of its own and is marked in the venue's books only."""
    krx = bench()
    mine = krx.order(BUY, HYNIX, 1, 300_000)
    krx.at(9)

    theirs = krx.venue.trade_by_hand("1234567801", HYNIX, BUY, 3)

    assert theirs.order_id == mine.order_id + 1 and theirs.by_hand and not mine.by_hand
    assert theirs.filled_amount == 3 * 294_500
    assert krx.account.book.positions[HYNIX].quantity == 4


US_DAY = date(2005, 2, 25)  # AAPL 89.62, 88.19, 89.91, 88.99 (bokeh_sampledata)


def test_us_orders_on_the_open_and_on_the_close(bench):
    """Sales at any price and limits for one auction only; 90 is no limit of either auction."""
    us = bench(US_DAY, Market.US, cash=1_000_000_000)

    def place(side: Side, quantity: int, limit: int, order_type: OrderType) -> object:
        return us.order(side, "AAPL", quantity, limit, order_type, exchange=Exchange.NASDAQ)

    opening = place(BUY, 10, 900_000, T.LIMIT_ON_OPEN)
    missed = place(BUY, 10, 890_000, T.LIMIT_ON_OPEN)
    closing = place(BUY, 10, 900_000, T.LIMIT_ON_CLOSE)
    refused = [
        refusal(place, BUY, 1, 0, T.MARKET_ON_OPEN),
        refusal(place, BUY, 1, 0, T.MARKET_ON_CLOSE),
        refusal(place, BUY, 1, 900_000, T.TWAP),
    ]
    us.venue.step(us.venue.replay.close_ts)
    after_open = (missed.open_quantity, us.notices(NoticeKind.KILLED))
    market_close = place(SELL, 5, 0, T.MARKET_ON_CLOSE)
    too_late = refusal(place, SELL, 1, 0, T.MARKET_ON_OPEN)
    us.finish()

    assert opening.filled_amount == 10 * 896_200
    assert after_open == (0, [(missed.order_id, 10, 890_000)])
    assert closing.filled_amount == 10 * 889_900
    assert market_close.filled_amount == 5 * 889_900
    assert refused == [Reason.ORDER_KIND] * 3 and too_late is Reason.CLOSED


def test_a_us_change_must_name_symbol_and_exchange(bench):
    """Another exchange is another symbol: APBK0656 (FAULTS 17)."""
    us = bench(US_DAY, Market.US, cash=1_000_000_000)
    order = us.order(BUY, "AAPL", 1, 500_000, exchange=Exchange.NASDAQ)

    with pytest.raises(OrderRefused) as refused:
        us.cancel(order, exchange=Exchange.NYSE)

    assert refused.value.body(Profile.REAL)["msg_cd"] == "APBK0656"


def test_days_and_hours_have_codes_of_their_own(bench):
    """No business day, not open yet and over: by the venue's clock, per profile."""
    us = bench(US_DAY, Market.US, cash=1_000_000_000, profile=Profile.PAPER)

    def code(moment: object = None) -> str:
        if moment is not None:
            us.venue.glide(moment)
        with pytest.raises(OrderRefused) as refused:
            us.order(BUY, "AAPL", 1, 500_000, exchange=Exchange.NASDAQ)
        return str(refused.value.body(Profile.PAPER)["msg_cd"])

    before_open = code()
    us.finish()
    after_close = code()
    saturday = us.venue.now.replace(day=26, hour=15)
    monday = us.venue.now.replace(day=28, hour=12)

    assert (before_open, after_close) == ("40570000", "40580000")
    assert (code(saturday), code(monday)) == ("40100000", "40570000")


@pytest.mark.parametrize(
    ("side", "quantity", "limit", "reason"),
    [
        (BUY, 10**40, 500_000, Reason.NO_CASH),
        (BUY, 1, 10**40, Reason.TICK),
        (BUY, 10**10, 10**13, Reason.NO_CASH),
        (SELL, 10**40, 500_000, Reason.NO_SHARES),
        (SELL, 1, 10**40, Reason.TICK),
        (BUY, -1, 500_000, Reason.QUANTITY),
        (BUY, 1, -500_000, Reason.TICK),
    ],
)
def test_absurd_numbers_are_refused(bench, side, quantity, limit, reason):
    """Whatever fits the wire's text: a refusal, never a crash, never an overflow."""
    us = bench(US_DAY, Market.US, cash=1_000_000_000)
    us.order(BUY, "AAPL", 1, 1_000_000, exchange=Exchange.NASDAQ)
    us.venue.step(us.venue.replay.open_ts)

    assert refusal(us.order, side, "AAPL", quantity, limit, exchange=Exchange.NASDAQ) is reason


def test_a_journal_of_before_there_were_types_is_read():
    """An order kept by an older exchange is a plain limit order."""
    body = {
        "account": "1234567801", "session": "2005-02-25", "ts": "2005-02-25T14:00:00+00:00",
        "kind": "new", "symbol": "AAPL", "exchange": "NASDAQ", "side": "buy", "quantity": 2,
        "limit": 895_000, "original_id": 0, "filled_quantity": 1, "filled_amount": 895_000,
        "canceled_quantity": 0, "commission": 20, "tax": 0,
    }  # fmt: skip

    order = StandingOrder.from_body("0000000007", body)

    assert (order.order_id, order.bound, order.ceiling) == (7, 895_000, 895_000)
    assert (order.order_type, order.route, order.open_quantity) == (T.LIMIT, Route.KRX, 1)
