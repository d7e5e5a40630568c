"""One door to six methods: statuses, bounds, published numbers, and nothing from the future."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trading.allocation.moments import (
    CovarianceRule,
    complete_returns,
    covariance,
    shrunk_means,
)
from trading.allocation.optimize import (
    AllocationInputs,
    AllocationMethod,
    AllocationStatus,
    ExpectedReturns,
    OptimizerSettings,
    allocate,
    black_litterman,
)
from trading.errors import ModelError

METHODS = list(AllocationMethod)
PLAIN = OptimizerSettings(covariance="sample", window_sessions=1000, min_sessions=20)


def inputs_of(returns, **changes):
    """Return inputs in which everything may be held freely and everything is known."""
    n = returns.shape[1]
    values = {
        "returns": returns,
        "members": np.ones(n, dtype=bool),
        "sectors": np.full(n, -1),
        "previous": np.zeros(n),
        "lower": np.zeros(n),
        "upper": np.ones(n),
        "max_sector": 1.0,
        "gross": 1.0,
        "cost": np.zeros(n),
        "expected": np.linspace(0.0002, 0.001, n),
        "expected_error": np.full(n, 0.0005),
        "market_values": np.linspace(1.0, 3.0, n),
    }
    return AllocationInputs(**(values | changes))


def returns_with(covariance):
    """Return 40 rows whose sample covariance is ``covariance``: ± the columns of its root."""
    n = len(covariance)
    rows = np.linalg.cholesky(covariance).T
    rows = np.tile(np.concatenate([rows, -rows]), (5, 1))
    return rows * np.sqrt(n * (len(rows) - 1) / len(rows))


# --- published numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "percent"),
    [
        (AllocationMethod.EQUAL_RISK, [38.361, 19.181, 24.262, 18.196]),
        (AllocationMethod.MINIMUM_VARIANCE, [74.483, 0.0, 15.172, 10.345]),
    ],
)
def test_maillard_roncalli_teiletche(method, percent):
    """REFERENCES 12: σ 10/20/30/40 %, ρ₁₂ 0.8, ρ₃₄ -0.5."""
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.8
    correlation[2, 3] = correlation[3, 2] = -0.5
    sigma = np.array([0.1, 0.2, 0.3, 0.4])

    chosen = allocate(method, inputs_of(returns_with(np.outer(sigma, sigma) * correlation)), PLAIN)

    assert chosen.status is AllocationStatus.SOLVED
    np.testing.assert_allclose(chosen.weights * 100, percent, atol=0.0005)


@pytest.fixture
def seven_markets():
    """Return covariance and market weights of He and Litterman (1999), tables 1 and 2."""
    lower = [
        [1.0], [0.488, 1.0], [0.478, 0.664, 1.0], [0.515, 0.655, 0.861, 1.0],
        [0.439, 0.310, 0.355, 0.354, 1.0], [0.512, 0.608, 0.783, 0.777, 0.405, 1.0],
        [0.491, 0.779, 0.668, 0.653, 0.306, 0.652, 1.0],
    ]  # fmt: skip
    correlation = np.zeros((7, 7))
    for i, row in enumerate(lower):
        correlation[i, : i + 1] = correlation[: i + 1, i] = row
    sigma = np.array([16.0, 20.3, 24.8, 27.1, 21.0, 20.0, 18.7]) / 100
    weights = np.array([1.6, 2.2, 5.2, 5.5, 11.6, 12.4, 61.5]) / 100
    return np.outer(sigma, sigma) * correlation, weights


@pytest.mark.parametrize(
    ("views", "means", "optimal"),
    [
        ([], [3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6], [1.5, 2.1, 5.0, 5.2, 11.0, 11.8, 58.6]),
        # Germany beats France and the United Kingdom by 5 %.
        ([0.05], [4.3, 7.6, 9.3, 11.0, 4.5, 7.0, 8.1], [1.5, 2.1, -3.9, 35.4, 11.0, -9.5, 58.6]),
        # And Canada the United States by 3 %.
        (
            [0.05, 0.03],
            [4.4, 8.7, 9.5, 11.2, 4.6, 7.0, 7.5],
            [1.5, 41.9, -3.4, 33.6, 11.0, -8.2, 18.8],
        ),
    ],
)
def test_he_litterman(seven_markets, views, means, optimal):
    """Expected returns and unconstrained weights of He and Litterman, to the printed digits."""
    matrix, market = seven_markets
    picks = np.array([[0, 0, -0.295, 1, 0, -0.705, 0], [0, 1, 0, 0, 0, 0, -1.0]])[: len(views)]
    variance = np.diag(picks @ (0.05 * matrix) @ picks.T)

    mu, posterior = black_litterman(
        matrix, market, picks, np.array(views), variance, risk_aversion=2.5, view_scale=0.05
    )

    np.testing.assert_allclose(mu * 100, means, atol=0.0501)
    np.testing.assert_allclose(np.linalg.solve(2.5 * posterior, mu) * 100, optimal, atol=0.0501)


def test_certain_views_are_met(seven_markets):
    """Views without doubt come true in the means; twice the same one cannot be combined."""
    matrix, market = seven_markets
    picks = np.array([[0.0, 0, 0, 1, 0, 0, 0]])

    mu, _ = black_litterman(
        matrix, market, picks, np.array([0.2]), np.zeros(1), risk_aversion=2.5, view_scale=0.05
    )

    assert mu[3] == pytest.approx(0.2)
    with pytest.raises(ModelError):
        black_litterman(
            matrix, market, np.vstack([picks, picks]), np.array([0.2, 0.1]), np.zeros(2),
            risk_aversion=2.5, view_scale=0.05,
        )  # fmt: skip


def test_market_is_held_without_views(four_returns):
    """Without views Black–Litterman holds the market, less what its own doubt costs."""
    inputs = inputs_of(four_returns, expected=None)

    chosen = allocate(AllocationMethod.BLACK_LITTERMAN, inputs, PLAIN)

    market = inputs.market_values / inputs.market_values.sum()
    np.testing.assert_allclose(chosen.weights, market / 1.05, atol=1e-8)


# --- statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "changes", "status"),
    [
        (AllocationMethod.MEAN_VARIANCE, {"expected": None}, "no_expected_returns"),
        (AllocationMethod.MEAN_VARIANCE, {"expected": np.full(4, np.nan)}, "no_expected_returns"),
        (AllocationMethod.BLACK_LITTERMAN, {"market_values": None}, "no_market_values"),
        (
            AllocationMethod.BLACK_LITTERMAN,
            {"market_values": np.array([1.0, np.nan, 1.0, 1.0])},
            "no_market_values",
        ),
        (AllocationMethod.EQUAL_RISK, {"members": np.zeros(4, dtype=bool)}, "no_history"),
    ],
)
def test_what_is_unknown_is_said(four_returns, method, changes, status):
    """No substitute: the status says what is missing, and members are held as they are."""
    previous = np.array([0.3, 0.2, 0.0, 0.1])

    chosen = allocate(method, inputs_of(four_returns, previous=previous, **changes), PLAIN)

    members = changes.get("members", np.ones(4, dtype=bool))
    assert chosen.status == status
    np.testing.assert_array_equal(chosen.weights, np.where(members, previous, 0.0))


def test_a_failing_solver_is_said(four_returns):
    """When a solver gives up, what is held is kept within the caps, under its own status.

    Recorded returns so enlarged that their variance is no number any more.
    """
    inputs = inputs_of(
        four_returns * 1e160, previous=np.array([0.5, 0.1, 0.0, 0.0]), upper=np.full(4, 0.3)
    )

    with np.errstate(over="ignore", invalid="ignore"):
        chosen = allocate(AllocationMethod.MINIMUM_VARIANCE, inputs, PLAIN)

    assert chosen.status is AllocationStatus.SOLVER_FAILED
    np.testing.assert_array_equal(chosen.weights, [0.3, 0.1, 0.0, 0.0])


def test_riskless_pair_fails_openly(four_returns):
    """A name and its mirror image have a portfolio without risk: no equal contributions."""
    mirror = np.column_stack([four_returns[:, 0], -four_returns[:, 0]])

    chosen = allocate(AllocationMethod.EQUAL_RISK, inputs_of(mirror), PLAIN)

    assert chosen.status in (AllocationStatus.SOLVER_FAILED, AllocationStatus.SOLVED)
    if chosen.status is AllocationStatus.SOLVED:
        np.testing.assert_allclose(chosen.weights, 0.5, atol=1e-6)


def test_settings_agree_with_each_other():
    """A window shorter than its own minimum is refused in Korean."""
    with pytest.raises(ValidationError, match="min_sessions 는 window_sessions 이하여야 합니다"):
        OptimizerSettings(window_sessions=100, min_sessions=101)


# --- who is sized ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_young_names_are_not_sized(embedded_returns, method):
    """FB, 198 sessions old at the end, gets nothing and is not part of anybody's covariance."""
    chosen = allocate(method, inputs_of(embedded_returns), OptimizerSettings())
    without = allocate(
        method,
        inputs_of(embedded_returns, members=np.array([True, False, True, True, True])),
        OptimizerSettings(),
    )

    np.testing.assert_array_equal(chosen.sized, [True, False, True, True, True])
    assert chosen.weights[1] == 0.0
    np.testing.assert_array_equal(chosen.weights, without.weights)


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_sold_stays(embedded_returns, method):
    """A frozen holding keeps its weight, sized or not, over caps, and takes its own room."""
    frozen = np.array([0.0, 0.15, 0.3, 0.0, 0.0])
    inputs = inputs_of(
        embedded_returns,
        lower=frozen,
        upper=np.array([0.2, 0.15, 0.3, 0.2, 0.2]),
        sectors=np.array([0, 0, 1, 1, -1]),
        max_sector=0.25,
        previous=frozen,
    )

    chosen = allocate(method, inputs, OptimizerSettings())

    assert chosen.status is AllocationStatus.SOLVED
    assert chosen.weights[1] == 0.15
    assert chosen.weights[2] == 0.3
    assert chosen.weights[0] <= 0.25 - 0.15 + 1e-12
    assert chosen.weights[3] == 0.0
    assert chosen.weights.sum() <= 1.0


def test_no_instruments():
    """Nothing to hold is no error."""
    chosen = allocate(AllocationMethod.EQUAL_RISK, inputs_of(np.zeros((30, 0))), PLAIN)

    assert chosen.status is AllocationStatus.NO_HISTORY
    assert chosen.weights.shape == (0,)


# --- bounds ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    method=st.sampled_from(METHODS),
    last=st.integers(60, 1000),
    rule=st.sampled_from(["sample", "ledoit_wolf", "constant_correlation", "ewma"]),
    caps=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    members=st.lists(st.booleans(), min_size=4, max_size=4),
    sectors=st.lists(st.integers(-1, 2), min_size=4, max_size=4),
    held=st.lists(st.integers(0, 25), min_size=4, max_size=4),
    max_sector=st.floats(0.05, 1.0),
    gross=st.floats(0.0, 1.0),
    turnover=st.sampled_from([0.1, 0.5, 2.0]),
    cost=st.sampled_from([0.0, 0.003]),
)
def test_never_above_a_cap(
    four_returns,
    method,
    last,
    rule,
    caps,
    members,
    sectors,
    held,
    max_sector,
    gross,
    turnover,
    cost,
):
    """Name caps to the bit, sectors and gross to the last rounding, 0 for all others; and not
    more turnover than allowed unless the caps themselves force it."""
    upper, who, codes = np.array(caps), np.array(members), np.array(sectors)
    previous = np.array(held) / 100.0
    inputs = inputs_of(
        four_returns[last - 60 : last],
        members=who, sectors=codes, upper=upper, previous=previous,
        max_sector=max_sector, gross=gross, cost=np.full(4, cost),
    )  # fmt: skip
    chosen = allocate(
        method, inputs, OptimizerSettings(
            covariance=rule, min_sessions=20, max_turnover=turnover
        )
    )  # fmt: skip

    expected = AllocationStatus.SOLVED if who.any() else AllocationStatus.NO_HISTORY
    assert chosen.status is expected
    weights = chosen.weights
    assert (weights <= upper).all() and (weights >= 0.0).all()
    assert (weights[~who] == 0.0).all()
    assert weights.sum() <= gross + 1e-15
    for sector in range(3):
        assert weights[codes == sector].sum() <= max_sector + 1e-15
    if who.any() and turnover < 2.0:
        nearest = allocate(
            AllocationMethod.MEAN_VARIANCE,
            replace(inputs, expected=None),
            PLAIN,
        ).weights
        forced = np.abs(nearest - previous).sum()
        assert np.abs(weights - previous).sum() <= max(turnover, forced) + 1e-7


@pytest.mark.parametrize(
    "method",
    [
        m
        for m in METHODS
        if m not in (AllocationMethod.MEAN_VARIANCE, AllocationMethod.BLACK_LITTERMAN)
    ],
)
def test_caps_leave_cash_only_where_they_must(four_returns, method):
    """Convex methods use what room the caps leave; the others leave what was cut in cash."""
    inputs = inputs_of(four_returns, upper=np.full(4, 0.2))

    chosen = allocate(method, inputs, PLAIN)

    if method in (AllocationMethod.EQUAL_RISK, AllocationMethod.HIERARCHICAL):
        np.testing.assert_allclose(chosen.weights, np.minimum(chosen.target, 0.2), atol=1e-9)
        assert chosen.target.sum() == pytest.approx(1.0, abs=1e-8)
    else:
        np.testing.assert_allclose(chosen.weights, 0.2, atol=1e-8)


def test_contributions_before_and_after_caps(four_returns):
    """Equal before the caps; after them the share of what was cut most falls."""
    chosen = allocate(
        AllocationMethod.EQUAL_RISK, inputs_of(four_returns, upper=np.full(4, 0.24)), PLAIN
    )

    before, after = chosen.contributions(chosen.target), chosen.contributions(chosen.weights)

    np.testing.assert_allclose(before, 0.25, atol=1e-8)
    cut = int(np.argmax(chosen.target - chosen.weights))
    assert chosen.weights[cut] == 0.24 < chosen.target[cut]
    assert after[cut] < 0.21
    assert after.sum() == pytest.approx(1.0)


# --- views -----------------------------------------------------------------------------------


def test_doubt_makes_positions_smaller(four_returns):
    """A mean that is less known is bet on less; one that is not known at all is not bought."""
    sure = inputs_of(four_returns, expected_error=np.zeros(4))
    doubted = inputs_of(four_returns, expected_error=np.full(4, 0.02))
    unseen = inputs_of(four_returns, expected=np.array([0.001, np.nan, 0.001, 0.001]))

    weights = [
        allocate(AllocationMethod.MEAN_VARIANCE, inputs, PLAIN).weights
        for inputs in (sure, doubted, unseen)
    ]

    assert weights[1].sum() < weights[0].sum()
    assert weights[2][1] == pytest.approx(0.0, abs=1e-8)


def test_means_of_the_past(four_returns):
    """By the settings means and errors are those of ``shrunk_means``, whatever the views are."""
    past = PLAIN.model_copy(update={"expected_returns": ExpectedReturns.PAST})
    sample = complete_returns(four_returns, np.ones(4, dtype=bool), min_sessions=20)
    means = shrunk_means(sample, covariance(sample, CovarianceRule.SAMPLE).matrix)
    seen = inputs_of(four_returns, expected=means.mean, expected_error=means.standard_error)

    chosen = allocate(AllocationMethod.MEAN_VARIANCE, inputs_of(four_returns, expected=None), past)

    assert chosen.weights.sum() > 0.0
    np.testing.assert_array_equal(
        chosen.weights, allocate(AllocationMethod.MEAN_VARIANCE, seen, PLAIN).weights
    )


def test_negative_views_are_cash(four_returns):
    """When everything is expected to fall, nothing is held."""
    inputs = inputs_of(four_returns, expected=np.full(4, -0.001))

    chosen = allocate(AllocationMethod.MEAN_VARIANCE, inputs, PLAIN)

    np.testing.assert_allclose(chosen.weights, 0.0, atol=1e-8)


# --- no future -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("last", [1500, 2200, 3000])
def test_no_future(embedded_returns, method, last):
    """To the bit: from the whole history's view, from a copy, and with the future shuffled."""
    shuffled = embedded_returns.copy()
    shuffled[last:] = shuffled[last:][::-1] * 7.0

    plain = allocate(method, inputs_of(embedded_returns[:last].copy()), OptimizerSettings())

    for returns in (embedded_returns, shuffled, np.asfortranarray(embedded_returns)):
        again = allocate(method, inputs_of(returns[:last]), OptimizerSettings())
        np.testing.assert_array_equal(again.weights, plain.weights)
        np.testing.assert_array_equal(again.matrix, plain.matrix)


def test_only_the_window_counts(embedded_returns):
    """Rows before the window change nothing; a shorter window does."""
    returns = embedded_returns[1500:, [0, 2, 3, 4]]
    short = OptimizerSettings(window_sessions=300, min_sessions=250)

    whole = allocate(AllocationMethod.MINIMUM_VARIANCE, inputs_of(returns), short)
    cut = allocate(AllocationMethod.MINIMUM_VARIANCE, inputs_of(returns[-300:]), short)
    longer = allocate(AllocationMethod.MINIMUM_VARIANCE, inputs_of(returns), PLAIN)

    np.testing.assert_array_equal(whole.weights, cut.weights)
    assert np.abs(whole.weights - longer.weights).max() > 0.01


def test_costs_are_spread_over_the_horizon(four_returns):
    """Twice the cost over twice the time is the same; over the same time it trades less."""
    held = np.array([0.4, 0.3, 0.2, 0.1])

    def traded(cost, horizon):
        inputs = inputs_of(four_returns, previous=held, cost=np.full(4, cost))
        settings = PLAIN.model_copy(update={"cost_horizon_sessions": horizon})
        chosen = allocate(AllocationMethod.MINIMUM_VARIANCE, inputs, settings)
        return np.abs(chosen.weights - held).sum()

    assert traded(0.004, 42) == pytest.approx(traded(0.002, 21), abs=1e-6)
    assert 0.0 < traded(0.004, 21) < traded(0.002, 21)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_names_does_not_matter(four_returns, method):
    """Names in another order get the same weights, to what a solver leaves open."""
    order = np.array([2, 0, 3, 1])
    plain = inputs_of(four_returns)
    turned = inputs_of(
        four_returns[:, order],
        expected=plain.expected[order],
        market_values=plain.market_values[order],
    )

    np.testing.assert_allclose(
        allocate(method, turned, PLAIN).weights,
        allocate(method, plain, PLAIN).weights[order],
        atol=1e-6,
    )


@pytest.mark.parametrize("rule", ["sample", "ledoit_wolf"])
def test_more_names_than_sessions(shared_data, rule):
    """60 recorded KRX names on 30 sessions: every method answers, and equal risk is equal."""
    import datetime

    import pandas as pd

    rows = pd.read_parquet(
        shared_data / "krx_daily.parquet",
        columns=["date", "symbol", "close"],
        filters=[
            ("date", ">=", datetime.date(2023, 1, 2)),
            ("date", "<=", datetime.date(2023, 4, 7)),
        ],
    )
    close = rows.pivot_table(index="date", columns="symbol", values="close").to_numpy()
    close = close[-31:, np.isfinite(close).all(axis=0)][:, :60]
    inputs = inputs_of(close[1:] / close[:-1] - 1.0)
    settings = OptimizerSettings(covariance=rule, min_sessions=20)

    for method in METHODS:
        chosen = allocate(method, inputs, settings)
        assert chosen.status is AllocationStatus.SOLVED
        assert chosen.weights.sum() <= 1.0
        if method is AllocationMethod.EQUAL_RISK:
            shares = chosen.contributions(chosen.weights)[chosen.sized]
            np.testing.assert_allclose(shares, 1 / chosen.sized.sum(), atol=1e-6)
