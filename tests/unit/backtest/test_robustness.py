"""What to make of runs under other conditions: closed forms, and the recorded embedded history."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.backtest import robustness, runner
from trading.execution.decide import Views
from trading.risk.scenarios import CrisisWindow

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

DAYS = [date(2008, 1, day) for day in (2, 3, 4, 7, 8, 9)]
RETURNS = np.array([0.10, -0.20, 0.05, 0.0, 0.10, -0.10])
BENCHMARK = np.array([0.0, -0.10, 0.0, 0.10, np.nan, 0.0])


def test_regimes_by_hand():
    """Sessions of a regime are chained; those before anything was known belong to none."""
    calm, turbulent = robustness.by_regime(
        DAYS, ("calm", "turbulent", "turbulent", "calm", "calm", ""), RETURNS, BENCHMARK,
        periods_per_year=252,
    )  # fmt: skip

    assert (calm.name, calm.sessions, calm.first, calm.last) == ("calm", 3, DAYS[0], DAYS[4])
    assert calm.total_return == pytest.approx(1.1 * 1.1 - 1)
    assert calm.max_drawdown == 0.0
    assert math.isnan(calm.benchmark_return)
    assert math.isnan(calm.sharpe)
    assert turbulent.total_return == pytest.approx(0.8 * 1.05 - 1)
    assert turbulent.benchmark_return == pytest.approx(-0.10)
    assert turbulent.max_drawdown == pytest.approx(0.2)


def test_crises_within_the_run_only():
    """A window that begins before the run or ends after it says nothing; bounds are included."""
    windows = [
        CrisisWindow(name="inside", first=date(2008, 1, 3), last=date(2008, 1, 7)),
        CrisisWindow(name="before", first=date(2008, 1, 1), last=date(2008, 1, 3)),
        CrisisWindow(name="after", first=date(2008, 1, 8), last=date(2008, 1, 10)),
        CrisisWindow(name="weekend", first=date(2008, 1, 5), last=date(2008, 1, 6)),
        CrisisWindow(name="all", first=date(2008, 1, 2), last=date(2008, 1, 9)),
    ]

    found = robustness.in_crises(windows, DAYS, RETURNS, BENCHMARK, periods_per_year=252)

    assert [(one.name, one.sessions) for one in found] == [("inside", 3), ("all", 6)]
    assert found[0].total_return == pytest.approx(0.8 * 1.05 - 1)
    assert robustness.in_crises(windows, [], RETURNS[:0], BENCHMARK[:0], periods_per_year=252) == ()
    assert robustness.by_regime([], (), RETURNS[:0], BENCHMARK[:0], periods_per_year=252) == ()


def test_break_even_of_unchanged_orders():
    """Where every basis point costs the same, the first rerun is at the end of the profit."""
    found = robustness.break_even(500, 100_000, 10_000, lambda bps: round(500 - bps * 10), reruns=4)

    assert found.extra_bps == pytest.approx(50.0)
    assert (found.rerun_bps, found.left) == (pytest.approx(50.0), 0.0)


def test_break_even_when_orders_shrink():
    """Where costs eat the account that pays them, the secant finds the root of the reruns."""
    asked = []

    def profit_at(bps):
        asked.append(bps)
        return round(1_000_000 * math.exp(-bps / 40.0) - 500_000)

    found = robustness.break_even(500_000, 150_000_000, 10_000_000, profit_at, reruns=4)

    assert found.extra_bps == pytest.approx(500_000 / 150_000_000 * 10_000)
    assert found.rerun_bps == pytest.approx(40 * math.log(2), rel=1e-3)
    assert abs(found.left) < 1e-4
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("profit", "traded"), [(-300, 100_000), (0, 100_000), (500, 0), (0, 0), (30_000, 100_000)]
)
def test_break_even_of_nothing(profit, traded):
    """A loss has no cost that it could bear, no trade none at all, and 30 % of every amount is no
    cost: nothing is run again."""

    def never(bps):
        raise AssertionError(bps)

    found = robustness.break_even(profit, traded, 10_000, never, reruns=4)

    assert math.isnan(found.rerun_bps)
    if traded:
        assert found.extra_bps == pytest.approx(profit / traded * 10_000)
    else:
        assert math.isnan(found.extra_bps)


def test_capacity_by_hand():
    """From 8 % to 2 % over one power of ten: 4 % at two thirds of the way in logarithms."""
    assert robustness.capacity([100, 1000], [0.08, 0.02]) == pytest.approx(100 * 10 ** (2 / 3))
    assert robustness.capacity([1000, 100], [0.02, 0.08]) == pytest.approx(100 * 10 ** (2 / 3))
    assert robustness.capacity([100, 1000], [0.08, 0.04]) == pytest.approx(1000)
    assert robustness.capacity([100, 1000], [0.08, 0.05]) == math.inf
    for made in ([], [-0.01], [0.0, 0.0], [math.nan, 0.1]):
        assert math.isnan(robustness.capacity([100, 1000][: len(made)], made))


@pytest.fixture(scope="module")
def base(embedded_market):
    """A year and a half of the embedded history, traded on any agreement."""
    policy = embedded_market.policy
    ensemble = policy.allocation.ensemble.model_copy(
        update={"entry_forecast": 0.0, "min_confidence": 0.0, "exit_forecast": -0.5}
    )
    policy, _ = embedded_market.views(
        allocation=policy.allocation.model_copy(update={"ensemble": ensemble})
    )
    return policy


def traded(market, policy, evaluation, rules=None):
    rules = rules or market.rules
    return runner.run(
        Views(evaluation, market.raw, rules, policy), market.raw, market.actions, market.calendar,
        rules, policy, cash=1_000_000_000, first=date(2004, 1, 2), last=date(2005, 6, 30),
    )  # fmt: skip


def test_delayed_by_nothing_is_the_same(embedded_market, base):
    """No delay changes no order; a delay of one decides on the row before."""
    evaluation = embedded_market.evaluation
    same, late = (robustness.delayed(evaluation, d) for d in (0, 1))

    np.testing.assert_array_equal(same.votes, evaluation.votes)
    np.testing.assert_array_equal(late.votes[1:], evaluation.votes[:-1])
    np.testing.assert_array_equal(late.regime[1:], evaluation.regime[:-1])
    np.testing.assert_array_equal(late.ceilings, evaluation.ceilings)
    assert traded(embedded_market, base, same).equity == (
        traded(embedded_market, base, evaluation).equity
    )


def test_a_late_decision_is_that_of_the_session_before(embedded_market, base):
    """The votes that a late view shows are those that the view of the session before showed."""
    views = Views(embedded_market.evaluation, embedded_market.raw, embedded_market.rules, base)
    late = Views(
        robustness.delayed(embedded_market.evaluation, 1), embedded_market.raw,
        embedded_market.rules, base,
    )  # fmt: skip
    row = 1200

    np.testing.assert_array_equal(late.at(row).morning.votes, views.at(row - 1).morning.votes)
    assert late.at(row).session == views.at(row).session
    np.testing.assert_array_equal(late.at(row).morning.reference, views.at(row).morning.reference)


def test_costs_are_paid_as_told(embedded_market, base):
    """Without costs none is booked; with 10 bp more exactly 10 bp of every amount are, to the unit
    of each order's rounding."""
    free, dearer, usual = (
        traded(embedded_market, base, embedded_market.evaluation, rules)
        for rules in (
            embedded_market.rules.costing(multiple=0),
            embedded_market.rules.costing(extra_ppb=1_000_000),
            embedded_market.rules,
        )
    )
    paid = [
        sum(b.booking.commission + b.booking.tax for day in made.days for b in day.booked)
        for made in (free, dearer, usual)
    ]
    amount = sum(b.fill.amount for day in dearer.days for b in day.booked)
    orders = sum(len(day.orders) for day in dearer.days)

    assert paid[0] == 0
    assert usual.equity[-1] < free.equity[-1]
    usual_rate = paid[2] / sum(b.fill.amount for day in usual.days for b in day.booked)
    assert paid[1] - amount * usual_rate == pytest.approx(amount * 0.001, rel=0.02)
    assert orders > 10
    assert 0.5 < robustness.filled_share(usual) <= 1.0


def test_nothing_ordered_is_no_share(embedded_market, base):
    """Without orders nothing was filled or not filled."""
    evaluation = embedded_market.evaluation
    unscreened = replace(evaluation, screened=np.zeros_like(evaluation.screened))

    made = traded(embedded_market, base, unscreened)

    assert set(made.equity) == {1_000_000_000}
    assert math.isnan(robustness.filled_share(made))
