"""Measures against published numbers and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from trading import measures

# AAPL adjusted closes would do, but these tests are pure arithmetic: a formula's few numbers.
RETURNS = np.array([0.02, -0.01, 0.015, -0.03, 0.005, 0.01])
EQUITY = np.array([100.0, 120.0, 90.0, 135.0])


def test_sharpe_is_mean_over_deviation():
    """The annualized Sharpe ratio follows its definition."""
    expected = RETURNS.mean() / RETURNS.std(ddof=1) * math.sqrt(252)

    assert measures.sharpe(RETURNS, periods_per_year=252) == pytest.approx(expected)


def test_sharpe_without_variation_is_unknown():
    """A flat record has no Sharpe ratio, rather than an infinite or a zero one."""
    assert math.isnan(measures.sharpe(np.zeros(10), periods_per_year=252))


def test_sortino_counts_all_observations():
    """The downside deviation divides by every observation (Sortino-Price 1994)."""
    downside = math.sqrt((0.01**2 + 0.03**2) / 6)

    ratio = measures.sortino(RETURNS, periods_per_year=1)

    assert ratio == pytest.approx(RETURNS.mean() / downside)


def test_drawdown_and_calmar():
    """120 to 90 is a quarter; Calmar divides the compounded growth by it."""
    np.testing.assert_allclose(measures.drawdown(EQUITY), [0, 0, 0.25, 0])
    assert measures.max_drawdown(EQUITY) == 0.25
    assert measures.cagr(EQUITY, periods_per_year=3) == pytest.approx(0.35)
    assert measures.calmar(EQUITY, periods_per_year=3) == pytest.approx(0.35 / 0.25)
    assert measures.total_return(EQUITY) == pytest.approx(0.35)
    np.testing.assert_allclose(measures.returns_of(EQUITY), [0.2, -0.25, 0.5])


def test_var_and_es_are_observed_losses():
    """Of 100 returns the 5 worst make the 95 % tail: VaR is the fifth, ES their mean."""
    returns = np.arange(-50, 50) / 1000.0

    assert measures.historical_var(returns, level=0.95) == pytest.approx(0.046)
    assert measures.historical_es(returns, level=0.95) == pytest.approx(0.048)


def test_var_of_few_returns_is_the_worst():
    """With fewer than 20 returns the 95 % quantile is the worst one seen."""
    assert measures.historical_var(RETURNS) == pytest.approx(0.03)


def test_turnover_is_one_way():
    """Moving half the money is a turnover of one half."""
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])

    assert measures.turnover(weights) == pytest.approx(0.25)


def test_hit_rate_leaves_out_zeros():
    """Outcomes of zero decide nothing."""
    assert measures.hit_rate(np.array([1.0, 0.0, -1.0, 2.0])) == pytest.approx(2 / 3)


def test_probabilistic_sharpe_of_the_published_hedge_fund():
    """PSR 0.982 normal and 0.913 adjusted, MinTRL 34.56 months (Bailey-Lopez de Prado 2012)."""
    adjusted = {"skew": -2.448, "kurt": 10.164}

    assert measures.probabilistic_sharpe(0.458, 24) == pytest.approx(0.98167, abs=2e-5)
    assert measures.probabilistic_sharpe(0.458, 24, **adjusted) == pytest.approx(0.91336, abs=2e-5)
    assert measures.min_track_record(0.458, **adjusted) == pytest.approx(34.56, abs=0.01)


@pytest.mark.parametrize(
    ("trials", "skew", "kurt", "expected"),
    [(100, -3, 10, 0.900397), (46, -3, 10, 0.950502), (88, 0, 3, 0.950491)],
)
def test_deflated_sharpe_of_the_published_example(trials, skew, kurt, expected):
    """DSR of annual SR 2.5, V 1/2, T 1250 (Bailey-Lopez de Prado 2014; REFERENCES 6)."""
    observed = 2.5 / math.sqrt(250)

    dsr = measures.deflated_sharpe(
        observed, 1250, trials=trials, variance=0.5 / 250, skew=skew, kurt=kurt
    )

    assert dsr == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("trials", "expected"), [(10, 1.5746), (45, 2.2356), (100, 2.5306), (1000, 3.2551), (1, 0.0)]
)
def test_expected_best_of_many(trials, expected):
    """Expected maximum of N unit-variance Sharpe ratios (REFERENCES 6b)."""
    assert measures.expected_max_sharpe(trials) == pytest.approx(expected, abs=5e-5)


def test_moments_agree_with_scipy():
    """Skewness and kurtosis are the population moments of scipy."""
    assert measures.skewness(RETURNS) == pytest.approx(stats.skew(RETURNS))
    assert measures.kurtosis(RETURNS) == pytest.approx(stats.kurtosis(RETURNS, fisher=False))


def test_rank_ic_agrees_with_scipy():
    """Ties and missing cells are treated as Spearman's rho of scipy treats them."""
    forecast = np.array([[1.0, 2.0, 2.0, 4.0, 3.0, np.nan], [1.0, 1.0, np.nan, 1.0, 1.0, 1.0]])
    outcome = np.array([[0.1, 0.3, 0.2, 0.9, 0.0, 5.0], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])

    ic = measures.information_coefficient(forecast, outcome)
    linear = measures.information_coefficient(forecast, outcome, rank=False)

    assert ic[0] == pytest.approx(stats.spearmanr(forecast[0, :5], outcome[0, :5]).statistic)
    assert linear[0] == pytest.approx(np.corrcoef(forecast[0, :5], outcome[0, :5])[0, 1])
    assert math.isnan(ic[1])


def test_nothing_measured_is_unknown():
    """Empty input is NaN everywhere, never zero."""
    empty = np.empty(0)

    for value in (
        measures.total_return(empty),
        measures.cagr(empty, periods_per_year=252),
        measures.annual_volatility(empty, periods_per_year=252),
        measures.sortino(empty, periods_per_year=252),
        measures.max_drawdown(empty),
        measures.calmar(empty, periods_per_year=252),
        measures.historical_var(empty),
        measures.historical_es(empty),
        measures.turnover(np.empty((0, 2))),
        measures.hit_rate(empty),
        measures.skewness(empty),
        measures.probabilistic_sharpe(0.1, 1),
    ):
        assert math.isnan(value)
    assert measures.min_track_record(-0.1) == math.inf


def test_reliability_by_hand():
    """Two bins of ten: 0.3 said and 0.5 seen of two, 0.8 said and 1.0 seen of one: ECE 0.2."""
    found = measures.reliability(np.array([0.25, 0.35, 0.8]), np.array([True, False, True]), bins=2)

    np.testing.assert_allclose(found.predicted, [0.3, 0.8])
    np.testing.assert_allclose(found.observed, [0.5, 1.0])
    assert list(found.count) == [2, 1]
    assert found.error == pytest.approx((2 * 0.2 + 1 * 0.2) / 3)
    assert math.isnan(measures.reliability(np.empty(0), np.empty(0, dtype=bool)).error)


@pytest.mark.parametrize("amount", [100, -100, 1, 0, -7])
def test_attribution_loses_no_unit(amount):
    """Whatever the shares, the parts add up to the amount; nobody's credit is a part of its own."""
    parts = measures.attribution(amount, {"a": 1.0, "b": 1.0, "c": 1.0})

    assert sum(parts.values()) == amount
    assert max(parts.values()) - min(parts.values()) <= 1
    assert measures.attribution(amount, {}) == {"": amount}


def test_attribution_by_shares():
    """Ten of shares 3 and 1: 7.5 and 2.5, the unit left over to the first of equal fractions."""
    assert measures.attribution(10, {"a": 3.0, "b": 1.0}) == {"a": 8, "b": 2}
    assert measures.attribution(-10, {"a": 3.0, "b": 1.0}) == {"a": -8, "b": -2}
