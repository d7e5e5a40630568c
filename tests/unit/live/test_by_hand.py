"""Somebody trades on the same account, a balance answers nonsense, a dividend is under way."""

from dataclasses import replace
from datetime import date

import pytest
from small_venue import QUICK, Day

from trading.domain.account import Position
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.order import OrderStatus, OrderUpdate, Side
from trading.errors import ReconciliationError
from trading.execution.orders import ManualTrades
from trading.live.journal import accept_differences, open_differences
from trading.ports import Record, RecordKind
from trading.store.ledger import MemoryLedger

SET_ASIDE = replace(QUICK, manual_trades=ManualTrades.QUARANTINE)
YESTERDAY = date(2005, 5, 26)


@pytest.fixture
def day(traded, embedded_market):
    """Return the recorded day at a small venue, where trades by hand are adopted."""
    return Day(traded, embedded_market, MemoryLedger())


@pytest.fixture
def aside(traded, embedded_market):
    """Return the same day where trades by hand are kept apart."""
    return Day(traded, embedded_market, MemoryLedger(), supervision=SET_ASIDE)


def trade_by_hand(day, *, told=True, symbol="IBM", side=Side.BUY, quantity=7, price=770_000):
    """Place and fill an order by hand."""
    number = day.venue.place(symbol, side, quantity, price)
    day.venue.fill(number, quantity, price, told=told)
    return number


def holding(day, quantity):
    """Let books and venue hold so many shares of IBM before the session; return the new engines."""
    held = Position(symbol="IBM", quantity=quantity, cost=quantity * 770_000)
    day.venue.book.positions["IBM"] = held
    make = day.new_engine

    def with_ibm():
        engine = make()
        engine.account.positions["IBM"] = held
        engine.last_price["IBM"] = 770_000
        return engine

    return with_ibm


def closed_yesterday(day):
    """Leave a ledger whose last session ended with new books."""
    engine = day.new_engine()
    day.ledger.append(
        Record(
            kind=RecordKind.SESSION, key=f"{YESTERDAY}:closed", session=YESTERDAY,
            ts=day.start.open_ts, body={"engine": engine.snapshot()},
        )
    )  # fmt: skip


@pytest.mark.parametrize("told", [True, False])
async def test_a_trade_by_hand_is_adopted(day, told):
    """Its fill is in the books at its own fees, and it is none of our orders."""
    day.plan(5, lambda: trade_by_hand(day, told=told))

    outcome = await day.run()

    assert (outcome.orders, outcome.differences) == (day.count, ())
    assert day.engine.account.positions["IBM"].quantity == 7
    assert day.agrees()
    (by_hand,) = day.recorded.manual.values()
    assert (by_hand.intent.symbol, by_hand.intent.quantity) == ("IBM", 7)
    assert day.recorded.fills == []
    assert [f.fill.quantity for f in day.recorded.booked] == [7]
    assert any("손으로 낸 주문" in message for message in day.told.messages)


@pytest.mark.parametrize("part", [1, 0])
async def test_an_order_of_ours_that_is_canceled_by_hand(day, part):
    """Canceled in part it works on, and its later fill is booked; as a whole it has ended.

    The notice is the same for both, so the listing says which one it was.
    """
    symbol = day.decision.intents[0].symbol
    limit = day.decision.intents[0].limit
    seen = []

    def cancel():
        number = day.venue.number_of(symbol)
        row = day.venue.rows[number]
        gone = part or row.open_quantity
        day.venue.rows[number] = replace(row, canceled_quantity=row.canceled_quantity + gone)
        now = day.venue.clock.now()
        day.venue.notices.append(
            OrderUpdate(
                venue_order_id=number, symbol=symbol, status=OrderStatus.CANCELED,
                ts_event=now, ts_recv=now,
            )
        )  # fmt: skip

    def look():
        order = day.engine.order_of(day.venue.number_of(symbol))
        seen.append(order.status)
        if part:
            day.venue.fill(order.venue_order_id, order.intent.quantity - part, limit)

    day.plan(5, cancel)
    day.plan(30, look)

    outcome = await day.run()

    assert seen == [OrderStatus.ACCEPTED if part else OrderStatus.CANCELED]
    assert day.statuses()[symbol] == "canceled"
    filled = day.intents[symbol].quantity - part if part else 0
    assert sum(f.fill.quantity for f in day.recorded.booked) == filled
    assert outcome.differences == ()
    assert day.agrees()


async def test_it_is_adopted_once_over_a_restart(day):
    """What the ledger holds of it is taken over; the next listing adds nothing."""

    class Killed(BaseException):
        pass

    def die():
        raise Killed

    day.plan(5, lambda: trade_by_hand(day))
    day.plan(30, die)
    with pytest.raises(Killed):
        await day.run()
    day.venue.clock.set(day.at(31))

    outcome = await day.run()

    assert outcome.differences == ()
    assert len(day.recorded.manual) == 1
    assert day.agrees()


async def test_what_was_ordered_by_hand_is_never_canceled(day):
    """A stop takes our purchase back, not somebody else's."""
    symbol = day.decision.intents[0].symbol
    price = day.decision.intents[0].limit

    def buy():
        day.venue.fill(day.venue.number_of(symbol), 5, price)
        day.venue.place(symbol, Side.BUY, 3, price // 2)

    day.plan(1, buy)
    day.plan(90, lambda: day.venue.tick(symbol, price // 2))

    await day.run()

    ours = min(n for n, r in day.venue.rows.items() if r.symbol == symbol)
    assert day.venue.canceled == [ours]


async def test_shares_promised_by_hand_are_not_sold_twice(day):
    """What a sale by hand holds back is not free for a stop of ours."""
    symbol = day.decision.intents[0].symbol
    price = day.decision.intents[0].limit
    day.plan(1, lambda: day.venue.fill_all(day.venue.number_of(symbol)))
    day.plan(5, lambda: day.venue.place(symbol, Side.SELL, 100, price * 2))
    day.plan(90, lambda: day.venue.tick(symbol, price // 2))

    await day.run()

    (stop,) = [i for i in day.venue.sent if ":exit" in i]
    sold = day.recorded.orders[stop].intent.quantity
    assert sold == day.intents[symbol].quantity - 100


async def test_a_trade_by_hand_is_set_aside(aside):
    """The policy quarantine: not booked, no purchase of that share, and no false alarm either."""
    aside.plan(5, lambda: trade_by_hand(aside))

    outcome = await aside.run()

    assert aside.engine.account.positions == {}
    assert "IBM" in aside.engine.quarantined
    assert outcome.differences == ()
    assert outcome.cash_difference != 0
    assert aside.recorded.manual == {}
    assert aside.recorded.set_aside["0000000005"].filled_quantity == 7


async def test_a_share_that_nobody_knows_is_set_aside(day):
    """Without its exchange its fees are not known: it stays out of the books, and is told."""
    day.exchanges["ZZZ"] = day.exchanges["IBM"]
    exchanges, day.exchanges = day.exchanges, {k: v for k, v in day.exchanges.items() if k != "ZZZ"}
    day.venue.exchanges = exchanges
    day.plan(5, lambda: trade_by_hand(day, symbol="ZZZ"))

    outcome = await day.run()

    assert outcome.differences == ()
    assert "ZZZ" in day.engine.quarantined
    assert any("ZZZ" in message for message in day.told.messages)


async def test_traded_between_sessions(day):
    """A listing of the days between explains it: the session begins, the books are the venue's."""
    closed_yesterday(day)
    number = trade_by_hand(day, told=False)
    day.venue.days[YESTERDAY] = [day.venue.rows.pop(number)]

    outcome = await day.run()

    assert outcome.differences == ()
    assert day.engine.account.positions["IBM"].quantity == 7
    assert day.agrees()
    opened = day.recorded.opened["account"]
    assert opened["positions"]["IBM"] == [7, 7 * 770_000]
    assert day.recorded.booked == []


async def test_set_aside_yesterday_and_adopted_today(traded, embedded_market):
    """Between sessions the policy was changed: what was kept apart is booked now, once."""
    ledger = MemoryLedger()
    first = Day(traded, embedded_market, ledger, supervision=SET_ASIDE)
    closed_yesterday(first)
    number = trade_by_hand(first, told=False)
    first.venue.days[YESTERDAY] = [first.venue.rows.pop(number)]
    snapshot = dict(vars(first.venue.book))

    await first.run()
    assert "IBM" not in first.engine.account.positions
    assert "IBM" in first.engine.quarantined

    later = MemoryLedger()
    for record in ledger.read():
        moved = record.session if record.kind is not RecordKind.QUARANTINE else YESTERDAY
        if moved < first.start.session:
            later.append(replace(record, session=moved))
    second = Day(traded, embedded_market, later)
    vars(second.venue.book).update(snapshot)
    second.venue.days[YESTERDAY] = first.venue.days[YESTERDAY]

    outcome = await second.run()

    assert outcome.differences == ()
    assert second.engine.account.positions["IBM"].quantity == 7
    assert second.agrees()
    assert "IBM" not in second.engine.quarantined


async def test_money_that_nothing_explains_stops_the_start(day):
    """Nothing is traded before somebody has looked."""
    closed_yesterday(day)
    day.venue.book.cash += 1

    with pytest.raises(ReconciliationError, match="계좌가 달라"):
        await day.run()

    assert day.venue.sent == []


async def test_what_the_operator_accepts_is_booked_once(day):
    """Money and shares that came from elsewhere: on the operator's word the session begins."""
    closed_yesterday(day)
    day.venue.book.cash += 50_000_000
    day.venue.book.positions["MSFT"] = Position(symbol="MSFT", quantity=4, cost=1_000_000)
    with pytest.raises(ReconciliationError, match="reconcile --accept"):
        await day.run()

    session, found = open_differences(day.ledger)
    accept_differences(day.ledger, session, found, day.start.open_ts)
    outcome = await day.run()

    assert [(d.what, d.theirs - d.ours, d.price) for d in found] == [
        ("cash", 50_000_000, 0),
        ("MSFT", 4, 250_000),
    ]
    assert open_differences(day.ledger) is None
    assert outcome.differences == ()
    assert day.engine.account.positions["MSFT"] == Position(
        symbol="MSFT", quantity=4, cost=1_000_000
    )
    assert day.agrees()


@pytest.mark.parametrize("when", ["start", "close", "noon"])
async def test_a_balance_that_is_bare_for_a_moment(day, when):
    """An answer without holdings is read again; it is no difference and starts no order."""
    day.plan(1, lambda: [day.venue.fill_all(n) for n in list(day.venue.rows)])
    minutes = {"start": -10, "noon": 160, "close": 390}[when]
    if when == "start":
        day.new_engine = holding(day, 3)
        day.venue.bare = 1
    else:
        day.plan(minutes, lambda: setattr(day.venue, "bare", 1))

    outcome = await day.run()

    assert day.venue.bare == 0
    assert outcome.differences == ()
    assert day.told.messages == []
    assert day.venue.sent == [i.intent_id for i in day.engine.decisions[-1].intents]
    assert day.agrees()


async def test_a_difference_that_stays_is_told_once(day):
    """Shares that came from nowhere: told, their purchase stopped, and found again at the close."""
    day.plan(
        40,
        lambda: day.venue.book.positions.update(MSFT=Position(symbol="MSFT", quantity=5, cost=1)),
    )

    outcome = await day.run()

    assert [(d.what, d.ours, d.theirs) for d in outcome.differences] == [("MSFT", 0, 5)]
    assert "MSFT" in day.engine.quarantined
    assert sum("MSFT" in message for message in day.told.messages) == 2


async def test_money_held_back_for_a_purchase_is_no_difference(day):
    """Where a venue answers what may be spent, open purchases hold it back until they end."""
    held_back = sum(i.quantity * i.limit for i in day.decision.intents)
    day.plan(1, lambda: setattr(day.venue.book, "cash", day.cash - held_back))
    day.plan(389, lambda: setattr(day.venue.book, "cash", day.cash))

    outcome = await day.run()

    assert outcome.differences == ()
    assert day.told.messages == []


async def test_a_dividend_under_way(traded, embedded_market):
    """Our books take it on its ex-date; a venue that pays later is not in the wrong."""
    action = CorporateAction(
        symbol="IBM", ex_date=traded.start.session, kind=ActionKind.CASH_DIVIDEND, amount=2_000
    )
    day = Day(traded, embedded_market, MemoryLedger())
    day.start = day.venue.start = replace(traded.start, actions=(action,))
    day.new_engine = holding(day, 10)

    outcome = await day.run()

    # 10 shares at 0.20 dollars, 15 % withheld.
    assert day.engine.account.cash - day.venue.book.cash == 17_000
    assert outcome.differences == ()
