"""Each guard refuses what it is there for, and nothing else."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.config import load_settings
from trading.domain.decision import TradingState
from trading.domain.instrument import Exchange
from trading.domain.order import OrderIntent, OrderType, Side
from trading.home import shipped_config_dir
from trading.risk.guards import (
    GUARDS,
    Exposure,
    GuardCode,
    Guards,
    Law,
    OrderContext,
    Trading,
)
from trading.risk.limits import GuardSettings

SETTINGS = load_settings(shipped_config_dir().parent).risk.model_copy(
    update={
        "guards": GuardSettings(
            max_order_share=0.2, max_orders_per_minute=3, max_price_deviation=0.1, stale_seconds=60
        )
    }
)
NOW = datetime(2024, 1, 8, 1, tzinfo=UTC)
# Samsung Electronics closed at 76,600 on 2024-01-05; the ladder of KRX since 2023-01-25.
LADDER = np.array(
    [[0, 1], [2_000, 5], [5_000, 10], [20_000, 50], [50_000, 100], [200_000, 500], [500_000, 1_000]]
)
BUY = OrderIntent(
    intent_id="krx:2024-01-08:open:005930:buy", session=date(2024, 1, 8), boundary="open",
    symbol="005930", exchange=Exchange.KOSPI, side=Side.BUY, quantity=10, limit=76_600,
)  # fmt: skip
SELL = replace(BUY, side=Side.SELL)
VALUE = 766_000
LAW = Law(lower=53_700, upper=99_500, ladder=LADDER, lot=1, max_shares=10, buy_fee_ppb=140_000)
# A tenth of equity in the name, four tenths in its sector, everything invested.
EXPOSURE = Exposure(
    price=76_600, equity=10 * VALUE, name=0, sector=3 * VALUE, gross=9 * VALUE,
    planned_sector=0, planned_gross=0, open_shares=0,
)  # fmt: skip
CONTEXT = OrderContext(
    now=NOW, is_open=True, state=TradingState.ACTIVE, trading=Trading.OPEN, reference=76_600,
    data_age=timedelta(seconds=60), free_quantity=10, free_cash=VALUE + 107,
    is_known=False, is_frozen=False, law=LAW, exposure=EXPOSURE,
)  # fmt: skip
REDUCING = replace(CONTEXT, state=TradingState.REDUCING)


def with_law(**changes):
    """Return the context of another law."""
    return replace(CONTEXT, law=replace(LAW, **changes))


def with_exposure(**changes):
    """Return the context of other holdings."""
    return replace(CONTEXT, exposure=replace(EXPOSURE, **changes))


# One unit beyond each limit, each violating that guard and no guard before it.
BEYOND = [
    (GuardCode.BAD_QUANTITY, replace(BUY, quantity=0), CONTEXT),
    (GuardCode.BAD_QUANTITY, replace(SELL, quantity=-10), CONTEXT),
    (GuardCode.BAD_QUANTITY, replace(SELL, limit=0), CONTEXT),
    (GuardCode.BAD_QUANTITY, replace(BUY, quantity=10.0), CONTEXT),
    (GuardCode.BAD_QUANTITY, replace(BUY, quantity=True), CONTEXT),
    (GuardCode.ORDER_TYPE, replace(BUY, order_type=OrderType.MARKET), CONTEXT),
    (GuardCode.ORDER_TYPE, replace(SELL, order_type=OrderType.BEST_IOC), CONTEXT),
    (GuardCode.DUPLICATE, BUY, replace(CONTEXT, is_known=True)),
    (GuardCode.SYMBOL_FROZEN, SELL, replace(CONTEXT, is_frozen=True)),
    (GuardCode.SESSION_CLOSED, SELL, replace(CONTEXT, is_open=False)),
    (GuardCode.HALTED, SELL, replace(CONTEXT, state=TradingState.HALTED)),
    (GuardCode.REDUCING, BUY, REDUCING),
    (GuardCode.SHORT_SALE, replace(SELL, quantity=11), CONTEXT),
    (GuardCode.SHORT_SALE, SELL, replace(CONTEXT, free_quantity=-1)),
    (GuardCode.UNKNOWN_SYMBOL, SELL, replace(CONTEXT, law=None)),
    (GuardCode.SYMBOL_HALTED, SELL, replace(CONTEXT, trading=Trading.HALTED)),
    (GuardCode.ENTRY_STOPPED, BUY, replace(CONTEXT, trading=Trading.NO_ENTRY)),
    (GuardCode.STALE_DATA, SELL, replace(CONTEXT, reference=0)),
    (GuardCode.STALE_DATA, BUY, replace(CONTEXT, data_age=timedelta(seconds=60.001))),
    (GuardCode.PRICE_LIMIT, SELL, with_law(lower=76_700)),
    (GuardCode.PRICE_LIMIT, BUY, with_law(upper=76_500)),
    (GuardCode.TICK, replace(SELL, limit=76_550), CONTEXT),
    (GuardCode.LOT, replace(SELL, quantity=9), with_law(lot=10)),
    (GuardCode.PRICE_BAND, replace(SELL, limit=68_900), CONTEXT),
    (GuardCode.PRICE_BAND, replace(BUY, limit=84_300), CONTEXT),
    (GuardCode.ORDER_VALUE, BUY, with_exposure(equity=5 * VALUE - 1)),
    (GuardCode.ADV_SHARE, BUY, with_law(max_shares=9)),
    (GuardCode.ADV_SHARE, BUY, with_exposure(open_shares=1)),
    (GuardCode.NO_CASH, BUY, replace(CONTEXT, free_cash=VALUE + 106)),
    (GuardCode.GROSS, BUY, with_exposure(gross=9 * VALUE + 1)),
    (GuardCode.SECTOR, BUY, with_exposure(sector=3 * VALUE + 1)),
    (GuardCode.SINGLE_NAME, BUY, with_exposure(name=1)),
]


def test_at_every_limit_orders_leave():
    """All the cash with its fee, all the room, a minute-old price, every free share."""
    guards = Guards(SETTINGS)

    assert guards.refuse(BUY, CONTEXT) is None
    assert guards.refuse(SELL, CONTEXT) is None
    assert guards.refuse(replace(SELL, limit=69_000), REDUCING) is None


@pytest.mark.parametrize(("code", "intent", "context"), BEYOND)
def test_one_step_beyond(code, intent, context):
    """One unit over a limit is refused, with the code of that limit."""
    assert Guards(SETTINGS).refuse(intent, context) is code


@pytest.mark.parametrize(("code", "intent", "context"), BEYOND)
def test_nothing_but_its_guard_refuses_it(code, intent, context):
    """Without that guard the order leaves, or a later one that must see it too says so."""
    others = {name: guard for name, guard in GUARDS.items() if name is not code}

    answer = Guards(SETTINGS, others).refuse(intent, context)

    order = list(GuardCode)
    assert answer is None or order.index(answer) > order.index(code)


def test_every_guard_is_in_the_chain_once_and_in_the_order_of_the_codes():
    """Unwired means missing from here; the documents list them in this order."""
    assert list(GUARDS) == list(GuardCode)


def test_every_code_is_tested_here():
    """A new code needs its case."""
    assert {code for code, *_ in BEYOND} | {GuardCode.ORDER_RATE} == set(GuardCode)


def test_a_sale_is_held_back_by_no_limit_of_a_purchase():
    """Getting out must not fail for being large, for a sidecar, or for what else is held."""
    context = replace(
        with_law(max_shares=0), free_cash=-1, trading=Trading.NO_ENTRY, exposure=None,
        state=TradingState.REDUCING,
    )  # fmt: skip

    assert Guards(SETTINGS).refuse(SELL, context) is None


def test_what_the_decision_knowingly_holds_above_a_cap_does_not_stop_its_orders():
    """Prices carried a sector over its cap; the plan of the day stands, one share more does not."""
    drifted = with_exposure(sector=5 * VALUE, planned_sector=6 * VALUE)

    assert Guards(SETTINGS).refuse(BUY, drifted) is None
    beyond = with_exposure(sector=5 * VALUE + 1, planned_sector=6 * VALUE)
    assert Guards(SETTINGS).refuse(BUY, beyond) is GuardCode.SECTOR


def test_an_entry_below_the_reference_counts_at_its_limit():
    """Ten per cent lower eleven shares cost no more than ten did."""
    cheap = replace(BUY, quantity=11, limit=69_000)
    context = replace(with_law(max_shares=11), exposure=replace(EXPOSURE, gross=0, sector=0))

    assert Guards(SETTINGS).refuse(cheap, context) is None
    dearer = replace(cheap, limit=76_600)
    wealthy = replace(context, free_cash=2 * VALUE)
    assert Guards(SETTINGS).refuse(dearer, wealthy) is GuardCode.SINGLE_NAME


def test_a_name_without_a_sector_has_no_sector_limit():
    """Names that no source sorts are never capped by sector (``risk.limits.cap_weights``)."""
    assert Guards(SETTINGS).refuse(BUY, with_exposure(sector=None)) is None


@pytest.mark.parametrize(
    ("code", "context"),
    [
        (GuardCode.DUPLICATE, replace(CONTEXT, is_known=None)),
        (GuardCode.SYMBOL_FROZEN, replace(CONTEXT, is_frozen=None)),
        (GuardCode.SESSION_CLOSED, replace(CONTEXT, is_open=None)),
        (GuardCode.HALTED, replace(CONTEXT, state=None)),
        (GuardCode.SYMBOL_HALTED, replace(CONTEXT, trading=None)),
        (GuardCode.STALE_DATA, replace(CONTEXT, reference=float("nan"))),
        (GuardCode.STALE_DATA, replace(CONTEXT, data_age=None)),
        (GuardCode.PRICE_LIMIT, with_law(lower=None)),
        (GuardCode.PRICE_LIMIT, with_law(upper=float("nan"))),
        (GuardCode.TICK, with_law(ladder=np.zeros((0, 2), dtype=np.int64))),
        (GuardCode.TICK, with_law(ladder=np.array([[0, 0]]))),
        (GuardCode.LOT, with_law(lot=0)),
        (GuardCode.ORDER_VALUE, with_exposure(equity=0)),
        (GuardCode.ORDER_VALUE, with_exposure(equity=-1)),
        (GuardCode.ORDER_VALUE, with_exposure(equity=float("nan"))),
        (GuardCode.ORDER_VALUE, with_exposure(price=0)),
        (GuardCode.ORDER_VALUE, replace(CONTEXT, exposure=None)),
        (GuardCode.ADV_SHARE, with_exposure(open_shares=float("nan"))),
        (GuardCode.NO_CASH, replace(CONTEXT, free_cash=float("nan"))),
        (GuardCode.GROSS, with_exposure(gross=float("nan"))),
        (GuardCode.SECTOR, with_exposure(sector=float("nan"))),
        (GuardCode.SINGLE_NAME, with_exposure(name=float("nan"))),
    ],
)
def test_what_is_not_known_is_refused(code, context):
    """Guards fail closed: a purchase of which something cannot be checked does not leave."""
    assert Guards(SETTINGS).refuse(BUY, context) is code


def test_short_sales_of_nobody_knows_how_much():
    """An unknown holding is none."""
    unknown = replace(CONTEXT, free_quantity=float("nan"))

    assert Guards(SETTINGS).refuse(SELL, unknown) is GuardCode.SHORT_SALE


def test_a_guard_that_breaks_refuses():
    """An error in a guard is no permission."""

    def broken(case):
        raise ZeroDivisionError

    chain = {GuardCode.LOT: broken}

    assert Guards(SETTINGS, chain).refuse(BUY, CONTEXT) is GuardCode.LOT
    assert Guards(SETTINGS, {GuardCode.LOT: lambda case: None}).refuse(BUY, CONTEXT) is (
        GuardCode.LOT
    )


def test_rate():
    """Three orders a minute; the fourth waits until the first is sixty seconds old."""
    guards = Guards(SETTINGS)
    for second in range(3):
        assert guards.refuse(SELL, replace(CONTEXT, now=NOW + timedelta(seconds=second))) is None

    early = replace(CONTEXT, now=NOW + timedelta(seconds=59.999))
    assert guards.refuse(SELL, early) is GuardCode.ORDER_RATE
    later = replace(CONTEXT, now=NOW + timedelta(seconds=60))
    assert guards.refuse(SELL, later) is None
    assert guards.refuse(SELL, later) is GuardCode.ORDER_RATE
    assert guards.fresh().refuse(SELL, later) is None


def test_what_is_refused_does_not_count_as_sent():
    """Refusals use up none of the rate."""
    guards = Guards(SETTINGS)
    for _ in range(10):
        guards.refuse(BUY, REDUCING)

    assert guards.refuse(BUY, CONTEXT) is None


@given(
    quantity=st.integers(1, 40), limit=st.integers(1, 200_000), held=st.integers(0, 40),
    cash=st.integers(0, 4_000_000), side=st.sampled_from(Side),
)  # fmt: skip
def test_whatever_leaves_breaks_no_limit(quantity, limit, held, cash, side):
    """Of any order that leaves the limits hold, computed here in other words."""
    intent = replace(BUY, side=side, quantity=quantity, limit=limit)
    context = replace(
        with_exposure(name=held * 76_600, gross=held * 76_600, sector=held * 76_600),
        free_cash=cash, free_quantity=held,
    )  # fmt: skip

    if Guards(SETTINGS).refuse(intent, context) is not None:
        return

    tick = 100 if limit >= 50_000 else 50 if limit >= 20_000 else 10
    assert limit % tick == 0
    assert 68_940 <= limit <= 84_260
    if side is Side.SELL:
        assert quantity <= held
    else:
        assert quantity * limit * 1.000_14 <= cash + 1
        assert quantity * min(limit, 76_600) <= 2 * VALUE
        assert held * 76_600 + quantity * min(limit, 76_600) <= VALUE
