"""Laws of the dated rules over many dates and prices."""

from datetime import date, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.domain.rules import shipped_rules

FIRST, LAST = date(2000, 3, 1), date(2026, 11, 20)
EXCHANGES = st.sampled_from(list(Exchange))
DAYS = st.dates(FIRST, LAST)
PRICES = st.integers(1, 50_000_000)


@given(EXCHANGES, PRICES, DAYS, st.sampled_from(list(Side)))
def test_rounded_prices_are_legal_and_never_worse(exchange, price, day, side):
    """The result is on the grid, on the asked side, and within one tick."""
    rules = shipped_rules(exchange.market)

    rounded = rules.round_to_tick(exchange, price, day, side)

    assert rounded <= price if side is Side.BUY else rounded >= price
    assert abs(rounded - price) < rules.tick_size(exchange, price, day)
    assert rounded == 0 or rules.is_on_tick(exchange, rounded, day)
    assert rules.round_to_tick(exchange, rounded, day, side) == rounded


@given(st.sampled_from([Exchange.KOSPI, Exchange.KOSDAQ]), st.integers(100, 5_000_000), DAYS)
def test_price_limits_are_legal_and_hold_the_reference(exchange, reference, day):
    """Both limits are on the grid and no wider than the rate."""
    rules = shipped_rules(Market.KRX)
    percent = 30 if day >= date(2015, 6, 15) else 15

    lower, upper = rules.price_limits(exchange, reference, day)

    assert rules.is_on_tick(exchange, lower, day)
    assert rules.is_on_tick(exchange, upper, day)
    assert reference * (100 - percent) <= 100 * lower
    assert 100 * upper <= reference * (100 + percent)


@given(
    st.lists(EXCHANGES.filter(lambda e: e.market is Market.KRX), min_size=1, max_size=4),
    st.lists(DAYS, min_size=1, max_size=6, unique=True).map(sorted),
    st.data(),
)
@settings(max_examples=50)
def test_arrays_say_what_the_single_questions_say(exchanges, days, data):
    """Vectorised ladders, limits and lots equal the scalar ones in every cell."""
    rules = shipped_rules(Market.KRX)
    shape = (len(days), len(exchanges))
    cells = st.lists(st.integers(0, 2_000_000), min_size=shape[0] * shape[1], max_size=None)
    reference = np.array(data.draw(cells)[: shape[0] * shape[1]], dtype=np.int64).reshape(shape)
    sessions = np.array(days, dtype="datetime64[D]")

    lower, upper = rules.limit_arrays(exchanges, reference, sessions)
    ladders, ladder_of = rules.ladder_arrays(exchanges, sessions)
    lots = rules.lot_arrays(exchanges, reference, sessions)

    for t, day in enumerate(days):
        for i, exchange in enumerate(exchanges):
            price = int(reference[t, i])
            assert (lower[t, i], upper[t, i]) == rules.price_limits(exchange, price, day)
            assert lots[t, i] == rules.lot_size(exchange, price, day)
            ladder = ladders[ladder_of[t, i]]
            step = np.searchsorted(ladder[:, 0], price, side="right") - 1
            assert ladder[step, 1] == rules.tick_size(exchange, price, day)


def test_every_date_has_a_rule():
    """From 2000-03-01 to 2026-11-20 each question has an answer on each exchange."""
    for day in (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)):
        for exchange in Exchange:
            rules = shipped_rules(exchange.market)
            assert rules.tick_ladder(exchange, day)[0][0] == 0
            assert rules.lot_size(exchange, 10_000, day) >= 1
            assert rules.fees(exchange, day, day)
        for market in Market:
            rules = shipped_rules(market)
            assert rules.hours(day).open < rules.hours(day).close
            assert 0 < rules.dividend_withholding_ppb(day) < 1_000_000_000
