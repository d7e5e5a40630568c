"""Measures against a benchmark, compared with statsmodels and empyrical."""

import math

import numpy as np
import pytest

from trading import measures


@pytest.fixture(scope="module")
def pair(embedded_panels):
    """Returns of AAPL and of the S&P 500 (price index), 2000-03-01 to 2013-03-01."""
    _, adjusted = embedded_panels
    return (
        measures.returns_of(adjusted.close[:, adjusted.symbols.index("AAPL")]),
        measures.returns_of(adjusted.benchmark),
    )


@pytest.mark.parametrize("lags", [0, 5, 8])
def test_regression_as_statsmodels(pair, lags):
    """Coefficients, Newey-West t-values and R2 are those of statsmodels' OLS with HAC errors."""
    import statsmodels.api as sm

    y, x = pair
    theirs = sm.OLS(y, sm.add_constant(x)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )

    ours = measures.regression(y, x, periods_per_year=252, lags=lags)

    assert ours.alpha == pytest.approx(252 * theirs.params[0], rel=1e-9)
    assert ours.beta == pytest.approx(theirs.params[1], rel=1e-9)
    assert (ours.alpha_t, ours.beta_t) == pytest.approx(tuple(theirs.tvalues), rel=1e-9)
    assert ours.r_squared == pytest.approx(theirs.rsquared, rel=1e-9)


def test_alpha_and_beta_as_empyrical(pair):
    """Beta of empyrical-reloaded 0.7.1; its alpha is compounded over the year, ours is not."""
    ours = measures.regression(*pair, periods_per_year=252)

    assert ours.beta == pytest.approx(1.1255656868748563, rel=1e-6)
    assert (1 + ours.alpha / 252) ** 252 - 1 == pytest.approx(0.32016552, abs=1e-6)


def test_default_lags(pair):
    """Of 3,269 sessions 4 (32.69)^(2/9) is 8.68: 8 lags."""
    assert measures.regression(*pair, periods_per_year=252) == measures.regression(
        *pair, periods_per_year=252, lags=8
    )


def test_an_exact_multiple_has_no_error(pair):
    """Twice the benchmark and 1 bp: alpha, beta and R2 are exact, t-values are not known."""
    _, x = pair

    found = measures.regression(2 * x + 1e-4, x, periods_per_year=252)

    assert (found.alpha, found.beta, found.r_squared) == pytest.approx((0.0252, 2.0, 1.0))
    assert math.isnan(found.alpha_t)
    assert math.isnan(found.beta_t)


def test_without_a_benchmark_there_is_no_regression():
    """A benchmark that stands still, or too few periods, explains nothing."""
    for y, x in (
        (np.array([0.01, 0.02, 0.0]), np.zeros(3)),
        (np.array([0.01, 0.02]), np.array([0.0, 0.01])),
        (np.empty(0), np.empty(0)),
    ):
        found = measures.regression(y, x, periods_per_year=252)
        assert math.isnan(found.beta)
        assert math.isnan(found.alpha_t)
        assert math.isnan(found.r_squared)


def test_information_ratio_as_quantstats(pair):
    """0.0452 a session as quantstats 0.0.86 says, over a year its square root of 252 times."""
    ratio = measures.information_ratio(*pair, periods_per_year=252)

    assert ratio == pytest.approx(0.04515843221426457 * math.sqrt(252), rel=1e-9)
    assert math.isnan(measures.information_ratio(pair[0], pair[0], periods_per_year=252))


def test_exposure_matched_takes_the_exposure_of_the_close_before():
    """What was bought during a session earns the benchmark from the next one on."""
    matched = measures.exposure_matched(
        np.array([0.10, -0.20, 0.05]), np.array([0.0, 0.5, 1.0, 0.2])
    )

    np.testing.assert_allclose(matched, [0.0, -0.10, 0.05])


def test_long_run_variance_by_hand():
    """Of 1, 2, 4: deviations -4/3, -1/3, 5/3; variance 14/9, lag 1 weighs half of -1/9 twice."""
    values = np.array([1.0, 2.0, 4.0])

    assert measures.long_run_variance(values, lags=0) == pytest.approx(14 / 9)
    assert measures.long_run_variance(values, lags=1) == pytest.approx(14 / 9 - 1 / 27)
    assert measures.long_run_variance(np.empty(0), lags=3) == 0.0
