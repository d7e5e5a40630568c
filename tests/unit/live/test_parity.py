"""Planted differences are named, each by its own name; nothing planted, nothing found."""

from dataclasses import replace

import numpy as np
import pytest

from trading.domain.order import OrderStatus
from trading.live.parity import DifferenceKind, compare, history_hashes

K = DifferenceKind


def compared(traded, recorded=None, *, result=None, with_volume=True, **changes):
    """Return the report on the session as recorded, or as changed."""
    what = {
        "history": traded.history,
        "lake_bars": traded.bars,
        "neighbour_bars": traded.neighbours,
    } | changes
    return compare(
        recorded or traded.recorded, result or traded.result, with_volume=with_volume, **what
    )


def found(report):
    """Return what was found, without the words."""
    return [(d.kind, d.symbol, d.explained) for d in report.differences]


@pytest.fixture
def bought(traded):
    """Return a purchase of the session that was filled."""
    booked = traded.result.booked[0]
    return booked.intent


def test_nothing_planted(traded):
    """The session computed again from the same data is the same."""
    report = compared(traded)

    assert report.differences == ()
    assert report.unexplained == 0
    assert report.orders == len(traded.result.orders) >= 3
    assert report.session == "2005-05-27"


@pytest.mark.parametrize("neighbour", [0, 1])
def test_shifted_bar(traded, neighbour):
    """The lake has another day's bar under this date."""
    bars = traded.bars | {"IBM": traded.neighbours["IBM"][neighbour]}

    assert found(compared(traded, lake_bars=bars)) == [(K.BAR_SHIFTED, "IBM", True)]


def test_a_session_that_came_late(traded):
    """Started again at noon, a session saw a part of the bar: the lake must hold that part."""
    open_, high, low, close, volume = traded.bars["IBM"]
    part = {"IBM": ((low + high) // 2, high, low, close, volume // 2)}
    late = replace(traded.recorded, observed=traded.recorded.observed | part, saw_open=False)
    outside = traded.bars | {"IBM": (open_, high - 100, low, close, volume)}

    assert found(compared(traded, late)) == []
    assert found(compared(traded, late, lake_bars=outside)) == [(K.BAR_CHANGED, "IBM", True)]
    assert found(compared(traded, replace(late, saw_open=True, polled=True))) == []
    whole = replace(late, saw_open=True)
    assert found(compared(traded, whole)) == [(K.BAR_CHANGED, "IBM", True)]


def test_changed_price(traded):
    """One unit of one field, named with both values."""
    open_, high, low, close, volume = traded.bars["MSFT"]
    bars = traded.bars | {"MSFT": (open_, high, low, close + 100, volume)}

    report = compared(traded, lake_bars=bars)

    assert found(report) == [(K.BAR_CHANGED, "MSFT", True)]
    assert report.differences[0].detail == f"close {close:,} → {close + 100:,}"


def test_volume_only_where_it_can_be_compared(traded):
    """Minute bars leave out what traded after the close."""
    bars = traded.bars | {"MSFT": (*traded.bars["MSFT"][:4], 1)}

    assert found(compared(traded, lake_bars=bars)) == [(K.BAR_CHANGED, "MSFT", True)]
    assert found(compared(traded, lake_bars=bars, with_volume=False)) == []


def test_missing_bar(traded):
    """The lake knows nothing of what the session saw."""
    bars = {s: b for s, b in traded.bars.items() if s != "IBM"}

    assert found(compared(traded, lake_bars=bars)) == [(K.BAR_MISSING, "IBM", True)]


def test_changed_history(traded, embedded_market):
    """One unit in one old bar changes that symbol's fingerprint, and no other."""
    raw = embedded_market.raw
    row = raw.row_of(traded.start.session)
    close = raw.close.copy()
    close[17, raw.symbols.index("IBM")] += 1

    changed = history_hashes(replace(raw, close=close), row, traded.view.symbols)

    assert found(compared(traded, history=changed)) == [(K.HISTORY_CHANGED, "IBM", True)]
    close = raw.close.copy()
    close[row:] += 1
    assert history_hashes(replace(raw, close=close), row, traded.view.symbols) == traded.history


def test_changed_policy(traded):
    """Other settings explain everything."""
    decision = replace(traded.result.decision, policy_hash="other")

    assert found(compared(traded, result=replace(traded.result, decision=decision))) == [
        (K.POLICY_CHANGED, "", True)
    ]


def test_changed_decision(traded):
    """Another target without a cause is unexplained; with a changed bar it is explained."""
    first, *rest = traded.result.decision.choices
    decision = replace(
        traded.result.decision,
        choices=(replace(first, target_quantity=first.target_quantity + 1), *rest),
    )
    result = replace(traded.result, decision=decision)
    bars = {s: b for s, b in traded.bars.items() if s != "IBM"}

    report = compared(traded, result=result)

    assert found(report) == [(K.DECISION, first.symbol, False)]
    assert report.unexplained == 1
    assert compared(traded, result=result, lake_bars=bars).unexplained == 0


def test_a_session_without_a_decision(traded):
    """Every choice that is missing on one side is named."""
    recorded = replace(traded.recorded, decision=None)

    report = compared(traded, recorded)

    assert {d.kind for d in report.differences} == {K.DECISION}
    assert len(report.differences) == len(traded.result.decision.choices)


def test_dropped_fill(traded, bought):
    """A fill that the ledger lacks."""
    recorded = traded.recorded
    fills = [f for f in recorded.fills if f.intent_id != bought.intent_id]

    assert found(compared(traded, replace(recorded, fills=fills))) == [
        (K.FILL_DROPPED, bought.symbol, False)
    ]


def test_extra_and_changed_fill(traded, bought):
    """A fill that the replay lacks, and one at another price."""
    recorded = traded.recorded
    one = next(f for f in recorded.fills if f.intent_id == bought.intent_id)
    dearer = replace(one, fill=one.fill._replace(amount=one.fill.amount + 1))
    others = [f for f in recorded.fills if f.intent_id != bought.intent_id]

    assert found(compared(traded, replace(recorded, fills=[*recorded.fills, one]))) == [
        (K.FILL_EXTRA, bought.symbol, False)
    ]
    assert found(compared(traded, replace(recorded, fills=[*others, dearer]))) == [
        (K.FILL_CHANGED, bought.symbol, False)
    ]


def test_extra_order(traded, bought):
    """An order that nobody decided."""
    recorded = traded.recorded
    ours = recorded.orders[bought.intent_id]
    extra = ours._replace(
        intent=replace(bought, intent_id="us:2005-05-27:open:FB:buy", symbol="FB")
    )
    orders = recorded.orders | {extra.intent.intent_id: extra}

    assert found(compared(traded, replace(recorded, orders=orders))) == [
        (K.ORDER_EXTRA, "FB", False)
    ]


def test_missing_and_changed_order(traded, bought):
    """An order that was never sent is one difference, its fills are not named again."""
    recorded = traded.recorded
    kept = {k: o for k, o in recorded.orders.items() if k != bought.intent_id}
    fills = [f for f in recorded.fills if f.intent_id != bought.intent_id]
    ours = recorded.orders[bought.intent_id]
    dearer = ours._replace(intent=replace(bought, limit=bought.limit + 100))

    assert found(compared(traded, replace(recorded, orders=kept, fills=fills))) == [
        (K.ORDER_MISSING, bought.symbol, False)
    ]
    assert found(
        compared(traded, replace(recorded, orders=recorded.orders | {bought.intent_id: dearer}))
    ) == [(K.ORDER_CHANGED, bought.symbol, False)]


def test_refused_order(traded, bought):
    """What the venue refused is named with its reason and explains its missing fills."""
    recorded = traded.recorded
    ours = recorded.orders[bought.intent_id]._replace(
        status=OrderStatus.REJECTED, reason="APBK0919"
    )
    fills = [f for f in recorded.fills if f.intent_id != bought.intent_id]

    report = compared(
        traded,
        replace(recorded, orders=recorded.orders | {bought.intent_id: ours}, fills=fills),
    )

    assert found(report) == [(K.ORDER_REFUSED, bought.symbol, True)]
    assert report.differences[0].detail == "APBK0919"


def test_what_follows_a_refusal_is_explained(traded, bought):
    """A refused order that is sent again is the refusal's doing; in another name it is not."""
    recorded = traded.recorded
    ours = recorded.orders[bought.intent_id]
    refused = ours._replace(status=OrderStatus.REJECTED, reason="APBK0656")
    again = ours._replace(
        intent=replace(bought, intent_id=bought.intent_id.replace("open", "again"))
    )
    other = ours._replace(
        intent=replace(bought, intent_id="us:2005-05-27:again:FB:buy", symbol="FB")
    )
    orders = recorded.orders | {bought.intent_id: refused, again.intent.intent_id: again}
    first = next(f for f in recorded.fills if f.intent_id == bought.intent_id)
    moved = [
        replace(f, intent_id=again.intent.intent_id) if f is first else f for f in recorded.fills
    ]

    followed = compared(traded, replace(recorded, orders=orders, fills=moved))
    strange = compared(
        traded,
        replace(recorded, orders=orders | {other.intent.intent_id: other}, fills=moved),
    )

    assert followed.unexplained == 0
    assert {d.kind for d in followed.differences} == {K.ORDER_REFUSED, K.ORDER_EXTRA, K.FILL_EXTRA}
    assert [d.symbol for d in strange.differences if not d.explained] == ["FB"]


def test_a_name_of_which_nothing_was_seen(traded, bought):
    """Where no print came all day, what the record would have done there is explained."""
    recorded = traded.recorded
    kept = {k: o for k, o in recorded.orders.items() if k != bought.intent_id}
    fills = [f for f in recorded.fills if f.intent_id != bought.intent_id]
    seen = {s: bar for s, bar in recorded.observed.items() if s != bought.symbol}

    report = compared(traded, replace(recorded, orders=kept, fills=fills, observed=seen))

    assert found(report) == [
        (K.PRICES_UNSEEN, bought.symbol, True),
        (K.ORDER_MISSING, bought.symbol, True),
    ]


def test_denied_orders_are_not_compared(traded, bought):
    """A guard's refusal never left the house, on either side."""
    ours = traded.recorded.orders[bought.intent_id]._replace(status=OrderStatus.DENIED)
    ours = ours._replace(intent=replace(bought, intent_id="us:2005-05-27:exit9:IBM:sell"))
    result = replace(traded.result, orders=(*traded.result.orders, ours))
    recorded = replace(
        traded.recorded, orders=traded.recorded.orders | {ours.intent.intent_id: ours}
    )

    assert found(compared(traded, recorded, result=result)) == []


def test_every_planted_difference_at_once(traded, bought):
    """Each is named once, and the data come first."""
    recorded = traded.recorded
    last = recorded.fills[-1]
    bars = traded.bars | {"IBM": traded.neighbours["IBM"][0]}

    report = compared(
        traded,
        replace(recorded, fills=recorded.fills[:-1]),
        lake_bars=bars,
        history={s: ("x" if s == "MSFT" else h) for s, h in traded.history.items()},
    )

    assert found(report) == [
        (K.BAR_SHIFTED, "IBM", True),
        (K.HISTORY_CHANGED, "MSFT", True),
        (K.FILL_DROPPED, last.fill.symbol, True),
    ]
    assert np.all([d.detail for d in report.differences])
