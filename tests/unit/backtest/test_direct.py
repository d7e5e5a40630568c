"""The lane without a portfolio: compiled loop, engine and sweep of pairs are one and the same."""

import gc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading import measures
from trading.backtest import direct
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import UsageError
from trading.execution.engine import TradingEngine
from trading.strategies.technical import average_sides, running_sums

CASH = 1_000_000_000
# 0.015 % on both sides and 0.2 % on sales, to the nearest unit.
FEES = np.array([[0, 0, 150_000, 0, 1, 2, 0], [1, 2, 2_000_000, 0, 1, 2, 0]], dtype=np.int64)


def bars_of(raw):
    """Return the bars of a panel under the law of their days, every order at the same fees."""
    rules, days = shipped_rules(raw.market), raw.sessions
    lower, upper = rules.limit_arrays(raw.exchanges, raw.reference, days)
    return direct.Bars(
        open=np.where(raw.tradable, raw.open, 0),
        close=raw.close,
        volume=raw.volume,
        lower=lower,
        upper=upper,
        lot=rules.lot_arrays(raw.exchanges, raw.reference, days),
        fees=FEES[None],
        fee_of=np.zeros((1, len(raw.symbols)), dtype=np.int64),
    )


@pytest.fixture(scope="module")
def bars(embedded_panels):
    """Return the embedded shares as they were traded, without actions taken into account."""
    raw, _ = embedded_panels
    return bars_of(raw)


def cut(bars, rows, columns):
    """Return some of the bars and instruments."""
    fields = [np.ascontiguousarray(field[rows][:, columns]) for field in bars[:6]]
    return direct.Bars(*fields, bars.fees, bars.fee_of[:, columns])


def replayed(market, bars, wish, size, cash):
    """Return what the engine makes of it."""
    symbols = [f"S{i}" for i in range(bars.close.shape[1])]
    return direct.replay(bars, wish, size, cash=cash, policy=market.policy, symbols=symbols)


def assert_same(one, other):
    """Both runs are the same to the unit."""
    np.testing.assert_array_equal(one.fills, other.fills)
    np.testing.assert_array_equal(one.equity, other.equity)
    assert (one.orders, one.cash) == (other.orders, other.cash)


@settings(max_examples=25)
@given(data=st.data())
def test_the_engine_does_the_same(bars, embedded_market, data):
    """Events through the engine and the compiled loop agree over names, dates and binding rules."""
    first = data.draw(st.integers(0, 2500), "first")
    length = data.draw(st.integers(1, 700), "length")
    names = data.draw(st.sets(st.integers(0, 4), min_size=1), "names")
    some = cut(bars, slice(first, first + length), sorted(names))
    size = direct.Size(
        shares=data.draw(st.sampled_from([0, 1, 100, 5000] if len(names) == 1 else [7, 5000])),
        participation_bps=data.draw(st.sampled_from([0, 1, 10, 1000, 10_000])),
    )
    cash = data.draw(st.sampled_from([0, 5_000_000, CASH]), "cash")
    fast = data.draw(st.integers(1, 9), "fast")
    wish = direct.above(some.close, fast, data.draw(st.integers(fast + 1, 40), "slow"))

    compiled = direct.run(some, wish, size, cash=cash)

    assert_same(compiled, replayed(embedded_market, some, wish, size, cash))
    assert compiled.cash >= 0


def test_a_run_leaves_nothing_to_collect(bars, embedded_market):
    """All that the engine made is freed with it: the collector of garbage has nothing to look for."""
    few = cut(bars, slice(0, 200), [0, 1])
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is TradingEngine for one in gc.get_objects())
        replayed(embedded_market, few, direct.above(few.close, 5, 20), direct.Size(1, 10_000), CASH)
        after = sum(type(one) is TradingEngine for one in gc.get_objects())
    finally:
        gc.enable()

    assert after == before


def test_money_adds_up_in_fractions(bars):
    """Exact fees differ from the booked ones by at most half a unit for each fee charged."""
    wish = direct.above(bars.close, 10, 30)

    made = direct.run(bars, wish, direct.Size(100, 10_000), cash=10**11)

    cash, fees, held = Fraction(10**11), 0, np.zeros(5, dtype=np.int64)
    for _, i, sign, shares, price, *_ in made.fills.tolist():
        rates = [Fraction(15, 100_000)] + ([Fraction(2, 1000)] if sign < 0 else [])
        cash -= sign * shares * price + sum(shares * price * rate for rate in rates)
        held[i] += sign * shares
        fees += len(rates)
    exact = cash + int((held * bars.close[-1]).sum())
    assert len(made.fills) > 300
    assert abs(exact - int(made.equity[-1])) <= Fraction(fees, 2)


def test_an_order_fills_at_the_open_after_its_wish(bars):
    """The wish of a close is bought at the next open, whole, and sold after the opposite one."""
    some = cut(bars, slice(0, 6), [0])
    wish = np.array([0, 1, 1, -1, 0, 0], dtype=np.int8)[:, None]

    made = direct.run(some, wish, direct.Size(10, 10_000), cash=CASH)

    bought, sold = made.fills.tolist()
    assert bought[:5] == [2, 0, 1, 10, int(some.open[2, 0])]
    assert sold[:5] == [4, 0, -1, 10, int(some.open[4, 0])]
    assert sold[6] == round(10 * int(some.open[4, 0]) * 0.002)


def test_an_auction_gives_a_share_of_its_own_volume(bars):
    """What the participation leaves over is asked for again at the next open."""
    some = cut(bars, slice(0, 4), [0])
    wish = np.array([1, 1, 1, 1], dtype=np.int8)[:, None]
    # The auction has a quarter of the day's volume, the account a hundredth of a percent of it.
    first, second = (int(some.volume[t, 0]) // 4 // 10_000 for t in (1, 2))

    made = direct.run(some, wish, direct.Size(first + second, 1), cash=10**12)

    assert made.fills[:, direct.SHARES].tolist() == [first, second]


def test_all_cash_is_counted_at_the_close_of_the_wish(bars):
    """The shares of all cash are those that the close pays for with fees; a higher open cuts them."""
    some = cut(bars, slice(0, 3), [0])
    wish = np.array([1, 0, 0], dtype=np.int8)[:, None]

    made = direct.run(some, wish, direct.Size(0, 10_000), cash=CASH)

    close, opened = int(some.close[0, 0]), int(some.open[1, 0])
    asked = CASH // (close + close * 150_000 // 10**9 + 1)
    paid_for = CASH // (opened + opened * 150_000 // 10**9 + 1)
    assert made.fills[0, direct.SHARES] == min(asked, paid_for)
    assert made.cash >= 0


def test_what_comes_later_changes_nothing(bars):
    """A run over fewer bars is the beginning of the run over more."""
    wish = direct.above(bars.close, 5, 20)
    size = direct.Size(300, 50)

    whole = direct.run(bars, wish, size, cash=CASH)
    part = direct.run(cut(bars, slice(0, 900), range(5)), wish[:900], size, cash=CASH)

    np.testing.assert_array_equal(part.equity, whole.equity[:900])
    np.testing.assert_array_equal(part.fills, whole.fills[whole.fills[:, direct.ROW] < 900])


def test_more_fills_than_there_was_room_for(bars):
    """An order that is filled a little every day for years loses none of its fills."""
    some = cut(bars, slice(0, 3000), [0])
    wish = np.ones((3000, 1), dtype=np.int8)

    made = direct.run(some, wish, direct.Size(10**9, 1), cash=10**15)

    expected = some.volume[1:, 0] // 4 // 10_000
    np.testing.assert_array_equal(made.fills[:, direct.SHARES], expected[expected > 0])


@pytest.mark.parametrize(("shares", "bps"), [(0, 10_000), (100, 10_000), (5000, 20)])
def test_a_sweep_is_many_runs(bars, shares, bps):
    """Each pair ends as a run by itself does: equity, orders, drawdown and Sharpe ratio."""
    pairs = np.array([[2, 45], [10, 30], [41, 165], [3, 4]])
    size = direct.Size(shares, bps)

    swept = direct.sweep(bars, pairs, size, cash=CASH, periods_per_year=252)

    for i in range(5):
        alone = cut(bars, slice(None), [i])
        for p, (fast, slow) in enumerate(pairs):
            made = direct.run(alone, direct.above(alone.close, fast, slow), size, cash=CASH)
            path = np.concatenate(([CASH], made.equity)).astype(float)
            returns = path[1:] / path[:-1] - 1.0
            assert swept[i, p, direct.FINAL_EQUITY] == made.equity[-1]
            assert swept[i, p, direct.ORDERS] == made.orders
            assert swept[i, p, direct.MAX_DRAWDOWN] == pytest.approx(measures.max_drawdown(path))
            sharpe = returns.mean() / returns.std() * np.sqrt(252)
            assert swept[i, p, direct.SHARPE] == pytest.approx(sharpe, rel=1e-9, nan_ok=True)


def test_sides_are_those_of_exact_averages(bars):
    """The side is the sign of the difference of the averages, compared as fractions."""
    close = np.ascontiguousarray(bars.close[:400, 0])
    side = np.empty(400, dtype=np.int8)

    average_sides(running_sums(close), 3, 7, side)

    assert side[:6].tolist() == [0] * 6
    for t in range(6, 400):
        fast = Fraction(int(close[t - 2 : t + 1].sum()), 3)
        slow = Fraction(int(close[t - 6 : t + 1].sum()), 7)
        assert side[t] == (fast > slow) - (fast < slow)


def test_a_korean_limit_lock_is_not_traded(shared_data, embedded_market):
    """On recorded KRX bars, price limits, halts and lots bind alike in the loop and the engine."""
    from trading.store.datasets import RecordedSource
    from trading.store.panels import assemble_panels

    source = RecordedSource(shared_data)
    days = [d for d in source.sessions(Market.KRX) if 2001 <= d.year <= 2003]
    symbols = sorted(i.symbol for i in source.instruments(Market.KRX))[:60]
    raw, _ = assemble_panels(
        source.daily(Market.KRX, symbols, days[0], days[-1]), (), days, Market.KRX, None
    )
    korean = bars_of(raw)
    wish, size = direct.above(korean.close, 3, 10), direct.Size(205, 300)

    made = direct.run(korean, wish, size, cash=10**12)

    assert_same(made, replayed(embedded_market, korean, wish, size, 10**12))
    row, column, sign, _, price = made.fills[:, :5].T
    upper, lower = korean.upper[row, column], korean.lower[row, column]
    assert not ((sign > 0) & (upper > 0) & (price >= upper)).any()
    assert not ((sign < 0) & (price <= lower)).any()
    assert (korean.volume[row, column] > 0).all()
    locked = (korean.open >= korean.upper) & (korean.upper > 0) & (korean.open > 0)
    assert locked.any()


def test_wishes_are_whole_lots():
    """Fixed shares and what cash pays for are both rounded down to the lot."""
    assert direct.target_of(205, 0, 0, 40_000, 0, 10) == 200
    assert direct.target_of(0, 0, 999_999, 40_000, 0, 10) == 20


def test_what_cannot_be_asked(bars):
    """All cash into several names, and a wish of another shape, are refused in a sentence."""
    wish = direct.above(bars.close, 5, 20)

    with pytest.raises(UsageError, match="한 종목"):
        direct.run(bars, wish, direct.Size(0, 10_000), cash=CASH)
    with pytest.raises(UsageError, match="모양"):
        direct.run(bars, wish[:-1], direct.Size(1, 10_000), cash=CASH)
