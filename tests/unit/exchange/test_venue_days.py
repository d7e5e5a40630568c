"""Interruptions, reserved orders and corporate actions at the venue."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from venue_bench import HYNIX, NFC, NUMBER, ROSWELL, SAMSUNG, Bench, PublishedBars, refusal

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.order import OrderType, Side
from trading.errors import UsageError
from trading.exchange.accounts import Reservation, ReservedState
from trading.exchange.floor import Suspension, SuspensionKind
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.venue import NoticeKind, Suspended
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile
from trading.wire.records import OrderRequest

BUY, SELL = Side.BUY, Side.SELL
HALT, VI = SuspensionKind.HALT, SuspensionKind.VI


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a venue, Korean unless another source is given."""
    made: list[Bench] = []

    def make(session: date, source: object = None, market: Market = Market.KRX) -> Bench:
        made.append(Bench(tmp_path, source or PublishedBars(), market))  # type: ignore[arg-type]
        made[0].venue.open_session(session)
        return made[0]

    yield make
    for one in made:
        one.journal.close()


def seoul(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return an instant of September 2025."""
    return datetime(2025, 9, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=9)


def test_a_recorded_interruption_ends_in_a_single_price(bench):
    """NFC rose to 6,580 by 09:05:45 and next traded at 6,600: 10 % above the open of 5,990."""
    krx = bench(date(2025, 9, 1))
    krx.at(9)
    bought = krx.order(BUY, NFC, 2, 0, OrderType.MARKET)
    resting = krx.order(SELL, NFC, 1, 6_590)
    krx.at(9, 6)

    during = krx.venue.interruption(NFC)
    waiting = krx.order(SELL, NFC, 1, 6_400)
    immediate = refusal(krx.order, BUY, NFC, 1, 6_600, OrderType.LIMIT_IOC)
    before = waiting.filled_quantity
    krx.at(9, 7)

    assert bought.filled_amount == 2 * 5_990
    assert during == Suspension(NFC, VI, seoul(1, 9, 5, 45), seoul(1, 9, 7))
    assert immediate is Reason.CALL_AUCTION
    # Both get the single price; without the interruption 6,590 would have been the one's.
    assert before == 0 and waiting.filled_amount == resting.filled_amount == 6_600
    assert krx.venue.interruption(NFC) is None


def test_a_halted_instrument_takes_orders_and_fills_none(bench):
    """Prints of a halt are passed over; the first after it trades (FAULTS 24)."""
    krx = bench(date(2025, 9, 10))
    krx.at(9)
    resting = krx.order(BUY, HYNIX, 10, 293_500)

    krx.venue.suspend(HYNIX, HALT, seoul(10, 12))
    krx.restart()
    krx.at(11, 10)
    late = krx.order(BUY, HYNIX, 10, 300_000)
    quote = krx.venue.quote(HYNIX)
    during = (krx.account.orders[resting.order_id].filled_quantity, late.filled_quantity)
    krx.at(12, 30)
    after_end = krx.order(BUY, HYNIX, 10, 300_000)
    no_print_yet = after_end.filled_quantity
    krx.finish()

    assert quote.halted and quote.price == 293_000
    assert during == (0, 0) and no_print_yet == 0
    # 305,000 and 304,000 came after the halt: beyond every limit.
    assert [o.filled_quantity for o in krx.account.orders.values()] == [0, 0, 0]
    told = [event for event in krx.told if isinstance(event, Suspended)]
    assert [event.is_over for event in told] == [False, True]


def test_an_imposed_interruption_ends_in_a_single_price(bench):
    """A buy limit of 293,500 rested above 293,000: after a VI it pays the print, not its limit."""
    krx = bench(date(2025, 9, 10))
    krx.at(9)
    krx.venue.suspend(HYNIX, VI, seoul(10, 11))
    resting = krx.order(BUY, HYNIX, 10, 293_500)
    refused = refusal(krx.order, BUY, HYNIX, 1, 0, OrderType.BEST)

    krx.at(11, 10)

    assert refused is Reason.CALL_AUCTION
    assert resting.filled_amount == 2_930_000


def test_an_interruption_may_end_early(bench):
    """Resumed at 10:00, the instrument trades at 11:10 as if nothing had been."""
    krx = bench(date(2025, 9, 10))
    krx.at(9)
    krx.venue.suspend(HYNIX, HALT, seoul(10, 20))
    resting = krx.order(BUY, HYNIX, 10, 293_500)
    krx.at(10)

    krx.venue.resume(HYNIX)
    krx.venue.resume(HYNIX)
    krx.at(11, 10)

    assert resting.filled_amount == 2_935_000
    with pytest.raises(UsageError):
        krx.venue.suspend(HYNIX, HALT, krx.venue.now)
    with pytest.raises(UsageError):
        krx.venue.suspend("999999", HALT, seoul(10, 20))


def request(quantity: int = 10, limit: int = 0, **more: object) -> OrderRequest:
    """Return an order as a reservation asks for it."""
    values = {"symbol": HYNIX, "side": BUY, "order_type": OrderType.MARKET, **more}
    return OrderRequest(account=NUMBER, quantity=quantity, limit=limit, **values)  # type: ignore[arg-type]


def test_a_reserved_order_is_sent_into_the_next_open(bench):
    """Reserved on the evening of the 9th, filled at 294,500 on the 10th, once."""
    krx = bench(date(2025, 9, 9))
    krx.finish()
    krx.until(seoul(9, 17))
    reserved = krx.venue.reserve(krx.account, request())
    canceled = krx.venue.reserve(krx.account, request(5))
    changed = krx.venue.reserve(krx.account, request(5))
    krx.venue.cancel_reserved(krx.account, canceled.number)
    krx.venue.change_reserved(
        krx.account, changed.number, request(2, 280_000, order_type=OrderType.LIMIT)
    )
    again = refusal(krx.venue.cancel_reserved, krx.account, canceled.number)
    krx.restart()

    krx.venue.open_session(date(2025, 9, 10))
    krx.restart()
    krx.finish()

    rows = krx.venue.reserved(krx.account, date(2025, 9, 9), date(2025, 9, 9))
    sent, canceled_state = ReservedState.SENT, ReservedState.CANCELED
    assert [row.state for row in rows] == [sent, canceled_state, sent]
    assert [row.order_ids for row in rows] == [[1], [], [2]]
    orders = krx.account.orders
    assert orders[1].filled_amount == 2_945_000
    assert (orders[2].quantity, orders[2].limit, orders[2].filled_quantity) == (2, 280_000, 0)
    assert again is Reason.NO_RESERVATION and reserved.number == 1
    assert krx.notices(NoticeKind.ACCEPTED) == [(1, 10, 0), (2, 2, 280_000)]


def test_a_reserved_order_that_cannot_be_had_is_told_in_the_list(bench):
    """More than the account can pay: refused at the open with the reason, nothing is placed."""
    krx = bench(date(2025, 9, 9))
    krx.finish()
    krx.until(seoul(9, 17))
    krx.venue.reserve(krx.account, request(1_000))

    krx.venue.open_session(date(2025, 9, 10))

    [row] = krx.venue.reserved(krx.account, date(2025, 9, 9), date(2025, 9, 9))
    assert row.state is ReservedState.REFUSED and row.reason == Reason.NO_CASH.value
    assert krx.account.orders == {}


def test_a_reservation_over_days_asks_for_what_is_left(bench):
    """1 bp of a print is 131 shares: four prints a day, until the last day has passed."""
    krx = bench(date(2025, 9, 9))
    krx.finish()
    krx.until(seoul(9, 17))
    wish = request(1, 293_000, order_type=OrderType.LIMIT)
    krx.venue.reserve(krx.account, wish, date(2025, 9, 11))
    krx.venue.reserve(krx.account, request(1, 280_000, order_type=OrderType.LIMIT),
                      date(2025, 9, 11))  # fmt: skip

    for day in (10, 11):
        krx.venue.open_session(date(2025, 9, day))
        krx.finish()

    filled, unfilled = krx.venue.reserved(krx.account, date(2025, 9, 9), date(2025, 9, 9))
    assert (filled.state, filled.order_ids) == (ReservedState.SENT, [1])
    assert (unfilled.state, unfilled.order_ids) == (ReservedState.SENT, [2, 3])


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (seoul(10, 10), "KIER3672"),
        (seoul(10, 15, 45), "KIER3672"),  # told to be open from 15:40, and it is not
        (seoul(10, 16, 39), "KIER3672"),
        (seoul(10, 16, 40), ""),
        (seoul(10, 23, 39), ""),
        (seoul(10, 23, 40), "KIER3672"),
        (seoul(11, 0, 9), "KIER3672"),
        (seoul(11, 0, 10), ""),
        (seoul(11, 7, 29), ""),
        (seoul(11, 7, 30), "KIER3672"),
        (seoul(13, 12), ""),  # a Saturday
    ],
)
def test_reservations_have_hours(bench, moment, code):
    """16:40 to 07:30 with a break around midnight; all of a day without a session."""
    krx = bench(date(2025, 9, 10))
    krx.until(moment)

    try:
        got = krx.venue.reserve(krx.account, request())
    except OrderRefused as refused:
        assert refused.body(Profile.REAL)["msg_cd"] == code
    else:
        assert isinstance(got, Reservation) and code == ""


def test_an_action_cancels_reservations_and_sets_base_and_shares(bench):
    """A made-up 2:1 split of the published bars: 10 shares become 20, the base is halved."""
    split = CorporateAction(
        symbol=SAMSUNG, ex_date=date(2021, 1, 5), kind=ActionKind.SPLIT, numerator=2, denominator=1
    )
    krx = bench(date(2021, 1, 4), PublishedBars([split]))
    krx.order(BUY, SAMSUNG, 10, 81_000)
    krx.finish()
    krx.until(datetime(2021, 1, 4, 9, tzinfo=UTC))
    krx.venue.reserve(krx.account, request(1, symbol=SAMSUNG))
    cost = krx.account.book.positions[SAMSUNG].cost

    krx.venue.open_session(date(2021, 1, 5))

    held = krx.account.book.positions[SAMSUNG]
    [row] = krx.venue.reserved(krx.account, date(2021, 1, 4), date(2021, 1, 4))
    assert (held.quantity, held.cost) == (20, cost)
    assert krx.venue.replay.reference(SAMSUNG) == 41_500
    assert row.state is ReservedState.CANCELED and krx.account.orders == {}


def test_days_passed_over_leave_their_actions(bench):
    """Made-up actions: 361 won a share and 3:2 on the 5th, which nobody opens; 100 won on the 6th.

    15 shares get 5,415 won less 833 withheld (15.4 %); 22 of the 22.5 are kept, and half a share
    is paid at the base price of the 6th, 83,900 less 100; 22 more get 2,200 won less 338.
    """

    def action(day: int, kind: ActionKind, **terms: int) -> CorporateAction:
        return CorporateAction(symbol=SAMSUNG, ex_date=date(2021, 1, day), kind=kind, **terms)  # type: ignore[arg-type]

    actions = [
        action(6, ActionKind.CASH_DIVIDEND, amount=100),
        action(5, ActionKind.SPLIT, numerator=3, denominator=2),
        action(5, ActionKind.CASH_DIVIDEND, amount=361),
    ]
    krx = bench(date(2021, 1, 4), PublishedBars(actions))
    krx.order(BUY, SAMSUNG, 15, 81_000)
    krx.finish()
    krx.until(datetime(2021, 1, 4, 9, tzinfo=UTC))
    book = krx.account.book
    cash, cost = book.cash, book.positions[SAMSUNG].cost

    krx.venue.open_session(date(2021, 1, 6))
    krx.restart()

    book, held = krx.account.book, krx.account.book.positions[SAMSUNG]
    assert (held.quantity, held.cost) == (22, cost)
    assert book.cash - cash == (5_415 - 833) + 41_900 + (2_200 - 338)
    assert krx.venue.replay.reference(SAMSUNG) == 83_800


def test_a_right_lowers_the_base_price_alone(bench):
    """Made-up: a right of 100:93 on the 5th. 83,000 won are worth 77,190; shares and cash stay.

    The adjusted bar of the 4th carries the right, its volume does not.
    """
    rights = CorporateAction(
        symbol=SAMSUNG,
        ex_date=date(2021, 1, 5),
        kind=ActionKind.RIGHTS,
        numerator=100,
        denominator=93,
    )
    krx = bench(date(2021, 1, 4), PublishedBars([rights]))
    krx.order(BUY, SAMSUNG, 10, 81_000)
    krx.finish()
    krx.until(datetime(2021, 1, 4, 9, tzinfo=UTC))
    cash, held = krx.account.book.cash, krx.account.book.positions[SAMSUNG]

    krx.venue.open_session(date(2021, 1, 5))

    assert krx.venue.replay.reference(SAMSUNG) == 77_190
    assert krx.account.book.positions[SAMSUNG] == held
    assert krx.account.book.cash == cash
    (raw,), (adjusted,) = (
        krx.venue.daily_bars(SAMSUNG, date(2021, 1, 4), date(2021, 1, 4), adjusted=wanted)
        for wanted in (False, True)
    )
    assert (raw.close, adjusted.close, adjusted.volume) == (83_000, 77_190, raw.volume)


def test_days_passed_over_end_the_reservations_of_those_days(bench):
    """Reserved from the 4th to the 5th, which nobody opens: on the 6th nothing is sent for it."""
    krx = bench(date(2021, 1, 4))
    krx.finish()
    krx.until(datetime(2021, 1, 4, 9, tzinfo=UTC))
    wish = request(1, 82_000, symbol=SAMSUNG, order_type=OrderType.LIMIT)
    krx.venue.reserve(krx.account, wish, date(2021, 1, 5))

    krx.venue.open_session(date(2021, 1, 6))

    [row] = krx.venue.reserved(krx.account, date(2021, 1, 4), date(2021, 1, 4))
    assert (row.state, row.order_ids) == (ReservedState.CANCELED, [])
    assert krx.account.orders == {}


def test_a_locked_instrument_sells_to_nobody(bench):
    """로스웰 traded at its upper limit of 2,930 all day: no buyer of ours gets a share."""
    krx = bench(date(2022, 1, 4))
    limit = krx.order(BUY, ROSWELL, 10, 2_930)
    market = krx.order(BUY, ROSWELL, 10, 0, OrderType.MARKET)
    krx.finish()

    assert krx.venue.replay.limits(ROSWELL) == (1_580, 2_930)
    assert limit.filled_quantity == market.filled_quantity == 0
    assert krx.account.book.cash == 100_000_000


def test_settlement_is_by_date_and_never_below_zero(bench):
    """KRX pays on D+2: bought on the 4th, paid on the 6th; sold on the 5th, paid on the 7th."""
    krx = bench(date(2021, 1, 4))
    bought = krx.order(BUY, SAMSUNG, 10, 81_000)
    krx.finish()
    paid = bought.filled_amount + bought.commission

    assert krx.account.cash_on(date(2021, 1, 5)) == 100_000_000
    assert krx.account.cash_on(date(2021, 1, 6)) == 100_000_000 - paid
    krx.venue.open_session(date(2021, 1, 5))
    sold = krx.order(SELL, SAMSUNG, 10, 81_000)
    krx.finish()
    received = sold.filled_amount - sold.commission - sold.tax
    assert krx.account.cash_on(date(2021, 1, 6)) == 100_000_000 - paid
    assert krx.account.cash_on(date(2021, 1, 7)) == 100_000_000 - paid + received
    # 0.08 % and 0.15 % rural tax in 2021, each cut to the won.
    assert sold.tax == sold.filled_amount * 8 // 10_000 + sold.filled_amount * 15 // 10_000


def test_us_reservations_follow_the_us_day(bench):
    """Reserved after the close of 2005-02-25, sent into the open of the 28th after the split."""
    us = bench(date(2005, 2, 25), EmbeddedSource(), Market.US)
    wish = request(3, 400_000, symbol="MSFT", exchange=Exchange.NASDAQ, order_type=OrderType.LIMIT)
    closed = refusal(us.venue.reserve, us.account, wish)
    us.finish()
    us.until(us.venue.now + timedelta(hours=2))

    us.venue.reserve(us.account, wish)
    us.venue.open_session(date(2005, 2, 28))
    us.finish()

    assert closed is Reason.RESERVATION_HOURS
    [order] = us.account.orders.values()
    assert (order.symbol, order.filled_quantity) == ("MSFT", 3)


def test_a_record_without_what_is_held_is_refused(bench):
    """Another set of data under the same name: a balance that cannot name a share would be a lie."""

    class WithoutHynix(PublishedBars):
        def instruments(self, market: Market) -> list[Instrument]:
            """Return the others."""
            return [one for one in super().instruments(market) if one.symbol != HYNIX]

    krx = bench(date(2025, 9, 10))
    krx.order(BUY, HYNIX, 1, 310_000)
    krx.at(9)
    krx.journal.close()
    krx._source = WithoutHynix()

    with pytest.raises(UsageError, match=rf"{HYNIX}.*같은 자료로"):
        krx.start()
