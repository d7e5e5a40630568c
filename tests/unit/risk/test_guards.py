"""Each guard refuses what it is there for, and nothing else."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from trading.domain.decision import TradingState
from trading.domain.instrument import Exchange
from trading.domain.order import OrderIntent, Side
from trading.risk.guards import GuardCode, Guards, OrderContext
from trading.risk.limits import GuardSettings

SETTINGS = GuardSettings(
    max_order_share=0.2, max_orders_per_minute=3, max_price_deviation=0.1, stale_seconds=60
)
NOW = datetime(2024, 1, 8, 1, tzinfo=UTC)
BUY = OrderIntent(
    intent_id="krx:2024-01-08:open:005930:buy", session=date(2024, 1, 8), boundary="open",
    symbol="005930", exchange=Exchange.KOSPI, side=Side.BUY, quantity=10, limit=73_300,
)  # fmt: skip
SELL = replace(BUY, side=Side.SELL)
CONTEXT = OrderContext(
    now=NOW, is_open=True, state=TradingState.ACTIVE, reference=73_300,
    data_age=timedelta(seconds=60), free_quantity=10, free_cash=733_000, equity=3_665_000,
    is_known=False, is_frozen=False,
)  # fmt: skip
REDUCING = replace(CONTEXT, state=TradingState.REDUCING)


def test_at_every_limit_orders_leave():
    """All the cash, a fifth of equity, a minute-old price, every free share, a tenth away."""
    guards = Guards(SETTINGS)

    assert guards.refuse(BUY, CONTEXT) is None
    assert guards.refuse(SELL, CONTEXT) is None
    assert guards.refuse(replace(SELL, limit=65_970), REDUCING) is None


@pytest.mark.parametrize(
    ("code", "intent", "context"),
    [
        (GuardCode.BAD_QUANTITY, replace(BUY, quantity=0), CONTEXT),
        (GuardCode.BAD_QUANTITY, replace(SELL, limit=0), CONTEXT),
        (GuardCode.DUPLICATE, BUY, replace(CONTEXT, is_known=True)),
        (GuardCode.SYMBOL_FROZEN, SELL, replace(CONTEXT, is_frozen=True)),
        (GuardCode.SESSION_CLOSED, SELL, replace(CONTEXT, is_open=False)),
        (GuardCode.HALTED, SELL, replace(CONTEXT, state=TradingState.HALTED)),
        (GuardCode.REDUCING, BUY, REDUCING),
        (GuardCode.SHORT_SALE, replace(SELL, quantity=11), CONTEXT),
        (GuardCode.STALE_DATA, SELL, replace(CONTEXT, reference=0)),
        (GuardCode.STALE_DATA, BUY, replace(CONTEXT, data_age=timedelta(seconds=60.001))),
        (GuardCode.PRICE_BAND, replace(SELL, limit=65_969), CONTEXT),
        (GuardCode.PRICE_BAND, replace(BUY, limit=80_631), CONTEXT),
        (GuardCode.ORDER_VALUE, BUY, replace(CONTEXT, equity=3_664_999)),
        (GuardCode.NO_CASH, BUY, replace(CONTEXT, free_cash=732_999)),
    ],
)  # fmt: skip
def test_one_step_beyond(code, intent, context):
    """One unit over a limit is refused, with the code of that limit."""
    assert Guards(SETTINGS).refuse(intent, context) is code


def test_a_sale_is_not_held_back_by_value_or_cash():
    """Getting out must not fail for being large."""
    context = replace(CONTEXT, equity=0, free_cash=-1)

    assert Guards(SETTINGS).refuse(SELL, context) is None


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


def test_what_is_refused_does_not_count_as_sent():
    """Refusals use up none of the rate."""
    guards = Guards(SETTINGS)
    for _ in range(10):
        guards.refuse(BUY, REDUCING)

    assert guards.refuse(BUY, CONTEXT) is None


def test_every_code_is_tested_here():
    """A new code needs its case."""
    tested = {case[0] for case in test_one_step_beyond.pytestmark[0].args[1]}

    assert tested | {GuardCode.ORDER_RATE} == set(GuardCode)
