"""Which listed order is ours, what the venue filled behind our back, where books differ."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from trading.domain.account import Position, VenueAccount
from trading.domain.instrument import Exchange
from trading.domain.order import Order, OrderIntent, OrderStatus, Side, VenueOrder
from trading.live.reconcile import (
    CASH,
    Difference,
    PendingAction,
    acknowledgment,
    candidates,
    differences,
    mark_of,
    match_unknown,
    missing_fill,
    unexplained,
)

NOON = datetime(2024, 1, 8, 3, tzinfo=UTC)
OURS = Order(
    intent=OrderIntent(
        intent_id="one", session=date(2024, 1, 8), boundary="open", symbol="005930",
        exchange=Exchange.KOSPI, side=Side.BUY, quantity=10, limit=73_300,
    ),
    status=OrderStatus.UNKNOWN,
)  # fmt: skip
LISTED = VenueOrder(
    venue_order_id="0000000012", branch="06010", symbol="005930", side=Side.BUY, quantity=10,
    limit=73_300, filled_quantity=0, filled_amount=0, canceled_quantity=0, rejected_quantity=0,
    ts_event=NOON,
)  # fmt: skip


def match(*listing, claimed=(), highest="0000000011", unknowns=(OURS,)):
    """Return what is found to be our order."""
    return match_unknown(OURS, listing, claimed=claimed, highest_before=highest, unknowns=unknowns)


def test_the_one_that_it_must_be():
    """Same terms, unclaimed, newer than anything known before."""
    assert match(LISTED) is LISTED
    assert match(LISTED, replace(LISTED, venue_order_id="13", symbol="000660")) is LISTED
    assert match(LISTED, highest="") is LISTED
    assert match(replace(LISTED, original_order_id="0000000000")) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "000660"},
        {"side": Side.SELL},
        {"quantity": 11},
        {"limit": 73_400},
        {"venue_order_id": "0000000011"},
        {"venue_order_id": "9"},
        {"original_order_id": "0000000003"},
    ],
)
def test_what_it_cannot_be(other):
    """Other terms, a number from before, or a cancel of another order."""
    assert match(replace(LISTED, **other)) is None


def test_numbers_are_numbers():
    """Padding says nothing about age: 0000000100 is newer than 99."""
    assert match(replace(LISTED, venue_order_id="0000000100"), highest="99") is not None
    assert mark_of([replace(LISTED, venue_order_id=n) for n in ("99", "0100", "7")]) == (
        "20240108:100"
    )
    assert mark_of([]) == ""


def test_claimed():
    """A number that belongs to a known order is not ours a second time."""
    twin = replace(LISTED, venue_order_id="0000000013")

    assert match(LISTED, claimed=["0000000012"]) is None
    assert match(LISTED, twin, claimed=["0000000012"]) is twin


def test_ambiguity_is_no_match():
    """Two candidates, as of a manual twin, or two of our own unknowns with the same terms."""
    twin = OURS._replace(intent=replace(OURS.intent, intent_id="two"))
    other = OURS._replace(intent=replace(OURS.intent, intent_id="three", quantity=11))

    assert match(LISTED, replace(LISTED, venue_order_id="13")) is None
    assert match(LISTED, unknowns=(OURS, twin)) is None
    assert match(LISTED, unknowns=(OURS, other)) is LISTED


def test_absent_is_not_ambiguous():
    """Only an order that nothing listed could be has never arrived and may leave again."""
    twins = [LISTED, replace(LISTED, venue_order_id="13")]

    assert candidates(OURS, twins, claimed=(), highest_before="11") == twins
    assert candidates(OURS, twins, claimed=["13"], highest_before="12") == []


def test_missing_fill():
    """The difference of what is listed and booked, at its exact amount; never a negative one."""
    booked = OURS._replace(status=OrderStatus.ACCEPTED).with_fill(4, 293_000)

    fill = missing_fill(booked, replace(LISTED, filled_quantity=7, filled_amount=512_900), NOON)

    assert (fill.quantity, fill.amount, fill.venue_order_id) == (3, 219_900, "0000000012")
    assert missing_fill(booked, replace(LISTED, filled_quantity=4), NOON) is None
    assert missing_fill(booked, LISTED, NOON) is None


def test_acknowledgment():
    """A listed order implies that it was accepted."""
    ack = acknowledgment(LISTED)

    assert (ack.venue_order_id, ack.branch, ack.ts_event) == ("0000000012", "06010", NOON)


def test_differences(traded):
    """None when the venue agrees; else cash and each symbol with both numbers."""
    engine = traded.engine
    held = dict(engine.account.positions)
    symbol = next(iter(held))
    cash = engine.account.cash
    agreeing = VenueAccount(
        cash=cash, buying_power=0,
        positions={**held, "ZZZ": Position(symbol="ZZZ", quantity=0, cost=0)},
    )  # fmt: skip
    short = {s: p for s, p in held.items() if s != symbol}
    extra = Position(symbol="AAA", quantity=3, cost=1)

    assert differences(engine.account, agreeing) == []
    assert differences(
        engine.account,
        VenueAccount(cash=cash - 1, buying_power=0, positions={**short, "AAA": extra}),
    ) == [
        Difference(what="cash", ours=cash, theirs=cash - 1),
        Difference(what="AAA", ours=0, theirs=3),
        Difference(what=symbol, ours=held[symbol].quantity, theirs=0),
    ]


def test_the_newest_of_many_dividends_are_under_way():
    """Of fourteen in two months the first are paid already: the last two explain what is missing."""
    paid = [
        PendingAction(symbol=f"S{n}", quantity_before=1, quantity_after=1, cash=100 + 2**n)
        for n in range(14)
    ]
    missing = Difference(what=CASH, ours=paid[-1].cash + paid[-2].cash, theirs=0)
    withdrawn = Difference(what=CASH, ours=7, theirs=0)

    assert unexplained([missing, withdrawn], paid) == [withdrawn]
    assert unexplained([withdrawn], []) == [withdrawn]
