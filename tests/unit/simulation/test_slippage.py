"""What a fill costs beyond its print: figures of the formula, ticks, limits, and its bounds."""

from datetime import date

import numpy as np
import pytest

from trading.domain.instrument import Exchange
from trading.domain.order import Side
from trading.domain.rules import shipped_rules
from trading.errors import UsageError
from trading.simulation.matching import Matcher, WorkingOrder
from trading.simulation.paths import Print
from trading.simulation.slippage import Rates, Slippage, SlippageSettings, impact_scales, slipped

BUY, SELL = 1, -1
NONE = Rates(0.0, 0, 0.0)
DAY = date(2024, 1, 8)


def ladder(exchange=Exchange.KOSPI, day=DAY):
    """Return the tick ladder in force."""
    sessions = np.array([day], dtype="datetime64[D]")
    ladders, which = shipped_rules(exchange.market).ladder_arrays([exchange], sessions)
    return ladders[which[0, 0]]


def paid(
    sign, price, *, traded=100, limit=None, auction=False, rates=NONE, scale=0.0, lower=0, upper=0
):
    """Return the price after slippage at a far limit."""
    far = 10 * price if sign > 0 else 1
    return slipped(sign, price, traded, limit or far, auction, rates, scale, ladder(), lower, upper)


def test_nothing_is_nothing():
    """Without slippage a fill keeps its print, on the grid or not."""
    assert paid(BUY, 257_750) == 257_750
    assert paid(SELL, 257_751, auction=True) == 257_751


@pytest.mark.parametrize(
    ("sign", "price", "rates", "auction", "expected"),
    [
        # 10 bp of 50,000 won are 50, below one tick of 100: a tick against the account.
        (BUY, 50_000, Rates(10.0, 0, 0.0), False, 50_100),
        (SELL, 50_000, Rates(10.0, 0, 0.0), False, 49_950),
        (BUY, 50_000, Rates(40.0, 0, 0.0), False, 50_200),
        (BUY, 50_000, Rates(0.0, 2, 0.0), False, 50_200),
        (SELL, 60_000, Rates(0.0, 2, 0.0), False, 59_800),
        # An auction has one price for all; what it costs has a key of its own.
        (BUY, 50_000, Rates(10.0, 2, 0.0), True, 50_000),
        (BUY, 50_000, Rates(0.0, 0, 20.0), True, 50_100),
    ],
)
def test_half_a_spread(sign, price, rates, auction, expected):
    """Basis points and ticks, rounded to the KOSPI grid of 2024 against the account."""
    assert paid(sign, price, rates=rates, auction=auction) == expected


def test_square_root_impact():
    """One per cent of an average day at 2 % daily volatility and Y = 1 moves 20 basis points.

    0.02 · √0.01 = 0.002: 40 of 20,000 won. Four times the shares move it twice as far.
    """
    (scale,) = impact_scales(1.0, np.array([0.02 * np.sqrt(252)]), 252, np.array([1_000_000]))

    assert paid(BUY, 20_000, traded=10_000, scale=scale) == pytest.approx(20_040, abs=10)
    assert paid(BUY, 20_000, traded=10_000, scale=scale) % 10 == 0
    assert paid(SELL, 20_000, traded=40_000, scale=scale) == pytest.approx(19_920, abs=10)


def test_unknown_volume_or_volatility_has_no_impact():
    """Nothing is taken off where the law has nothing to say."""
    scales = impact_scales(1.0, np.array([np.nan, 0.3, 0.0]), 252, np.array([100, 0, 100]))

    assert scales.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("sign", "limit", "expected"), [(BUY, 50_100, 50_100), (SELL, 49_900, 49_900)]
)
def test_never_beyond_the_limit(sign, limit, expected):
    """However dear, the order's own limit and the price limits of the day hold."""
    rates = Rates(500.0, 0, 0.0)

    assert paid(sign, 50_000, limit=limit, rates=rates) == expected
    assert paid(BUY, 50_000, rates=rates, upper=50_400) == 50_400
    assert paid(SELL, 50_000, rates=rates, lower=49_700) == 49_700


def test_who_waited_at_its_limit_pays_nothing():
    """A resting order that the price came to gave the liquidity that others took."""
    matcher = Matcher(10_000)
    matcher.open_session(
        {"005930": (0, 0)}, {"005930": Slippage(Rates(50.0, 0, 50.0), 0.0, ladder())}
    )
    open_, close = (
        Print(symbol="005930", ts=None, price=price, volume=1_000, auction=price == 50_000)
        for price in (50_000, 49_000)
    )
    for name, limit in (("taker", 60_000), ("maker", 49_500)):
        matcher.rest(
            WorkingOrder(order_id=name, symbol="005930", side=Side.BUY, quantity=10, limit=limit)
        )

    (taker,) = matcher.on_print(open_)
    (maker,) = matcher.on_print(close)

    assert (taker.price, taker.slippage) == (50_300, 3_000)
    assert (maker.price, maker.slippage) == (49_500, 0)


def test_parts_of_an_order_share_its_impact():
    """The second part of an order pays for the first too."""
    matcher = Matcher(10_000)
    matcher.open_session({"005930": (0, 0)}, {"005930": Slippage(NONE, 0.001, ladder())})
    order = WorkingOrder(order_id="1", symbol="005930", side=Side.BUY, quantity=200, limit=60_000)
    matcher.rest(order)
    print_ = Print(symbol="005930", ts=None, price=50_000, volume=100, auction=False)

    (first,), (second,) = matcher.on_print(print_), matcher.on_print(print_)

    # 50,000 · 0.001 · √100 = 500, and with √200 it is 707: up to the next hundred.
    assert (first.price, second.price) == (50_500, 50_800)


@pytest.mark.parametrize("bad", [{"impact": -1.0}, {"half_spread_bps": 2_000.0}, {"spread": 1.0}])
def test_settings_refuse_nonsense(bad):
    """Negative, absurd and misspelt settings are errors."""
    with pytest.raises((ValueError, UsageError)):
        SlippageSettings(**bad)
