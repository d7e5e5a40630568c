"""Losses forecast from recorded returns, against closed forms, papers and other libraries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from trading.risk.student import (
    NU_MAX,
    fit_student,
)
from trading.risk.var import (
    FILTERED,
    HISTORICAL,
    METHODS,
    NO_CHAMPION,
    NORMAL,
    STUDENT,
    VarMethod,
    VarSettings,
    filtered,
    forecast_path,
    garch_variance,
    historical,
    limit_var,
    name_risks,
    name_vars,
    normal,
    portfolio_outcomes,
    portfolio_var,
    portfolio_vars,
    student,
    tail_loss,
    tail_risks,
)

ALPHA, BETA = VarSettings().garch_alpha, VarSettings().garch_beta
# Uncompiled, what draws many numbers takes minutes.


@pytest.fixture(scope="module")
def returns(embedded_panels):
    """Two years of recorded daily returns of the five embedded shares; two are not listed yet."""
    close = embedded_panels[1].close[:501]
    return close[1:] / close[:-1] - 1.0


@pytest.fixture(scope="module")
def index():
    """The last 2,500 recorded daily log returns of the S&P 500 that comes with ``arch``."""
    from arch.data import sp500

    return np.diff(np.log(sp500.load()["Adj Close"].to_numpy(dtype=np.float64)))[-2500:]


# --- the historical rule ------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.90, 0.95, 0.99])
@pytest.mark.parametrize("n", [20, 60, 100, 250, 499])
def test_quantile_rule(returns, level, n):
    """The smallest recorded loss that at most floor((1 - level) n) days exceeded."""
    sample = returns[:n, 3]
    allowed = math.floor(round((1 - level) * n, 6))

    loss = tail_loss(sample, level)

    losses = -sample
    assert loss in losses
    assert (losses > loss).sum() <= allowed
    assert (losses >= loss).sum() > allowed
    # numpy.quantile: ours is the order statistic right of (1 - level) n, "higher" on n + 1 points.
    assert loss == np.partition(losses, -allowed - 1)[-allowed - 1]


@pytest.mark.parametrize("level", [0.90, 0.95, 0.975, 0.99])
@pytest.mark.parametrize("n", [1, 7, 60, 250, 499])
def test_shortfall_rule(returns, level, n):
    """Expected shortfall is the least of Rockafellar and Uryasev's function (2000, theorem 1)."""
    sample = returns[:n, 3]
    losses = -sample

    es = tail_risks(sample, level, ALPHA, BETA)[HISTORICAL, 1]

    bounds = [q + np.maximum(losses - q, 0.0).mean() / (1 - level) for q in losses]
    assert es == pytest.approx(min(bounds), rel=1e-12)


def test_small_samples():
    """Nothing is known of nothing; of one day, that day."""
    assert math.isnan(tail_loss(np.zeros(0), 0.95))
    assert tail_loss(np.array([-0.03]), 0.95) == 0.03
    assert tail_loss(np.array([-0.03, 0.01]), 0.51) == 0.03
    assert np.isnan(tail_risks(np.zeros(0), 0.95, ALPHA, BETA)).all()
    np.testing.assert_array_equal(tail_risks(np.array([-0.03]), 0.95, ALPHA, BETA), 0.03)


def test_portfolio(returns):
    """The weighted days, not the weighted losses; days without a price did not move."""
    weights = np.array([0.3, 0.2, 0.0, 0.4, 0.1])

    var = portfolio_var(weights, returns, 0.95)

    outcomes = (np.nan_to_num(returns) * weights).sum(axis=1)
    assert var == pytest.approx(np.sort(-outcomes)[-26], rel=1e-12)
    assert var < (weights * np.nan_to_num(name_vars(returns, 0.95, 60))).sum()


def test_portfolio_without_risk(returns):
    """Cash loses nothing, a gain is no loss, and no history is no number to reduce by."""
    assert portfolio_var(np.zeros(5), returns, 0.95) == 0.0
    assert portfolio_var(np.ones(1), np.full((30, 1), 0.01), 0.95) == 0.0
    assert portfolio_var(np.ones(5), returns[:0], 0.95) == 0.0
    for weights, past in (
        (np.zeros(5), returns),
        (np.ones(1), np.full((30, 1), 0.01)),
        (np.ones(5), returns[:0]),
    ):
        np.testing.assert_array_equal(portfolio_vars(weights, past, 0.95, ALPHA, BETA), 0.0)


def test_each_name(returns):
    """A name with too little history has no VaR; halts are left out."""
    vars_ = name_vars(returns, 0.95, 60)

    assert np.isnan(vars_[[1, 2]]).all()
    for i in (0, 3, 4):
        assert vars_[i] == tail_loss(returns[:, i], 0.95)
    gaps = returns.copy()
    gaps[::2, 3] = np.nan
    assert name_vars(gaps, 0.95, 60)[3] == tail_loss(returns[1::2, 3].copy(), 0.95)
    assert np.isnan(name_vars(gaps, 0.95, 251)[3])


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        # Few values, so that ties are common.
        elements=st.sampled_from([-0.02, -0.01, 0.0, 0.005, 0.03, math.nan]),
    ),
    st.sampled_from([0.6, 0.9, 0.95, 0.99]),
)
def test_heap_is_the_sort(table, level):
    """The heap of the worst returns gives what sorting each column gives, ties and gaps or not."""
    found = name_risks(table, level, 1)

    for i, column in enumerate(table.T):
        known = column[~np.isnan(column)]
        expected = tail_risks(known, level, ALPHA, BETA)[HISTORICAL]
        np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-15)


# --- distributions ------------------------------------------------------------------------------


def test_parametric_rows(index):
    """Normal from mean and deviation, Student from scipy's quantile of the fitted distribution."""
    from scipy import stats

    risks = tail_risks(index, 0.99, ALPHA, BETA)

    mean, sigma = index.mean(), index.std(ddof=1)
    # scipy.stats: quantile, and the conditional mean beyond it.
    assert risks[NORMAL, 0] == pytest.approx(2.3263478740408408 * sigma - mean, rel=1e-12)
    assert risks[NORMAL, 1] == pytest.approx(2.6652142203458076 * sigma - mean, rel=1e-12)
    nu, location, scale = fit_student(index)
    fitted = stats.t(nu, location, scale)
    assert risks[STUDENT, 0] == pytest.approx(-fitted.ppf(0.01), rel=1e-11)
    beyond = fitted.expect(lambda x: x, ub=fitted.ppf(0.01)) / 0.01
    assert risks[STUDENT, 1] == pytest.approx(-beyond, rel=1e-6)


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros(250),
        np.full(250, 0.01),
        np.r_[np.zeros(200), np.linspace(-0.05, 0.05, 50)],
        np.r_[np.zeros(125), np.linspace(-0.05, 0.05, 125)],
        np.linspace(-0.02, 0.03, 250),
        np.array([-0.1, 0.1]),
        np.array([0.02]),
        np.r_[np.linspace(-1e-3, 1e-3, 240), np.full(10, -0.9)],
        np.r_[np.linspace(-1e-12, 1e-12, 100), -0.5],
    ],
)
def test_odd_samples(sample):
    """Ties, constants and outliers give finite losses by every method, ES never below VaR."""
    risks = tail_risks(sample, 0.95, ALPHA, BETA)

    assert np.isfinite(risks).all()
    assert (risks[:, 1] >= risks[:, 0] - 1e-15).all()
    # Half the sample one value: no maximum of the likelihood, so the normal scale stands.
    if np.max(np.unique(sample, return_counts=True)[1]) * 2 >= len(sample):
        assert fit_student(sample)[0] == NU_MAX


# --- filtered -----------------------------------------------------------------------------------


def test_garch_filter(index):
    """The recursion is a first-order linear filter of squared residuals (scipy.signal)."""
    from scipy.signal import lfilter

    residuals = index[:500] - index[:500].mean()
    target = np.mean(residuals**2)

    variance = garch_variance(residuals, 0.1, 0.8)

    driven = 0.1 * target + 0.1 * residuals**2
    expected, _ = lfilter([1.0], [1.0, -0.8], driven, zi=[0.8 * target])
    np.testing.assert_allclose(variance[1:], expected, rtol=1e-12)
    assert variance[0] == pytest.approx(target, rel=1e-14)


def test_filtered_follows_volatility(index):
    """After the calm of a window the filtered loss is below the historical one, after storm above."""
    quiet = np.r_[index[:50] * 3.0, index[50:250]]
    storm = np.r_[index[50:250], index[:50] * 3.0]

    for sample, is_above in ((quiet, False), (storm, True)):
        risks = tail_risks(sample, 0.95, ALPHA, BETA)
        assert (risks[FILTERED, 0] > risks[HISTORICAL, 0]) is np.bool_(is_above)
    without = tail_risks(storm, 0.95, 0.0, 0.0)
    np.testing.assert_allclose(without[FILTERED], without[HISTORICAL], rtol=1e-12)


# --- what limits go by --------------------------------------------------------------------------


def test_all_methods_of_a_portfolio(returns):
    """The first is the historical VaR to the bit; the rest are those of its outcomes."""
    weights = np.array([0.3, 0.2, 0.0, 0.4, 0.1])

    vars_ = portfolio_vars(weights, returns, 0.95, ALPHA, BETA)

    assert METHODS == (
        VarMethod.HISTORICAL, VarMethod.NORMAL, VarMethod.STUDENT, VarMethod.FILTERED,
    )  # fmt: skip
    assert vars_[HISTORICAL] == portfolio_var(weights, returns, 0.95)
    outcomes = portfolio_outcomes(weights, returns)
    np.testing.assert_array_equal(vars_, tail_risks(outcomes, 0.95, ALPHA, BETA)[:, 0])


@given(st.floats(0.01, 3.0))
def test_losses_scale_with_the_portfolio(returns, factor):
    """A factor on all weights is the same factor on every VaR, so one evaluation serves both."""
    past = returns[:120]
    weights = np.array([0.5, 0.0, 0.0, 0.3, 0.2])

    scaled = portfolio_vars(factor * weights, past, 0.95, ALPHA, BETA)

    # The fit of the Student distribution stops at eight digits.
    plain = portfolio_vars(weights, past, 0.95, ALPHA, BETA)
    np.testing.assert_allclose(scaled, factor * plain, rtol=1e-7)


@pytest.mark.parametrize(
    ("champion", "expected"), [(HISTORICAL, 3.0), (NORMAL, 3.0), (STUDENT, 4.0), (FILTERED, 3.0)]
)
def test_limits_take_the_larger(champion, expected):
    """The champion's VaR counts only where it is above the historical one."""
    assert limit_var(np.array([3.0, 2.0, 4.0, 1.0]), champion) == expected


def test_limits_without_a_champion_take_the_largest():
    """Where every method is demoted the limits fail closed."""
    assert limit_var(np.array([3.0, 2.0, 4.0, 5.0]), NO_CHAMPION) == 5.0


@pytest.mark.parametrize("cut", [251, 255, 262])
def test_forecasts_know_no_future(index, cut):
    """Forecasts up to a session are the same to the bit whatever follows."""
    whole = forecast_path(index[:270], 250, 0.95, ALPHA, BETA)

    again = forecast_path(index[:cut], 250, 0.95, ALPHA, BETA)

    np.testing.assert_array_equal(whole[:cut], again)
    assert np.isnan(whole[:250]).all()
    np.testing.assert_array_equal(whole[cut], tail_risks(index[cut - 250 : cut], 0.95, ALPHA, BETA))


# --- standard errors ----------------------------------------------------------------------------


def test_error_of_a_quantile_is_that_of_its_bootstrap(index):
    """The exact bootstrap error agrees with 4,000 resamples (seeded)."""
    sample = index[:250]
    rng = np.random.default_rng(3)

    found = historical(sample, 0.95)

    resamples = np.sort(rng.choice(sample, (4000, 250)), axis=1)
    assert found.var == tail_loss(sample, 0.95)
    assert found.var_error == pytest.approx(resamples[:, 12].std(), rel=0.06)
    assert found.es_error == pytest.approx(resamples[:, :13].mean(axis=1).std(), rel=0.25)


@pytest.mark.compiled_only
@pytest.mark.parametrize(("method", "room"), [(historical, 0.25), (student, 0.10), (normal, 0.10)])
def test_errors_are_the_spread_of_estimates(method, room):
    """Over 600 seeded samples, errors are as large as estimates vary; normal ones for normal data."""
    rng = np.random.default_rng(17)
    draw = rng.standard_normal if method is normal else lambda size: rng.standard_t(5.0, size)

    found = [method(draw(500), 0.95) for _ in range(600)]

    for value, error in (("var", "var_error"), ("es", "es_error")):
        spread = np.std([getattr(one, value) for one in found])
        told = np.median([getattr(one, error) for one in found])
        assert told == pytest.approx(spread, rel=room), value


def test_error_of_a_constant_is_none():
    """What never moved has no error, and an empty sample has nothing."""
    flat = filtered(np.full(50, 0.01), 0.95, alpha=ALPHA, beta=BETA)
    assert flat.var == pytest.approx(-0.01, rel=1e-12)
    assert flat.var_error == 0.0
    assert math.isnan(historical(np.zeros(0), 0.95).var)


def test_reports_agree_with_the_decision(index):
    """The functions with errors give the numbers of the compiled one."""
    sample = index[:250]
    risks = tail_risks(sample, 0.95, ALPHA, BETA)

    found = (
        historical(sample, 0.95),
        normal(sample, 0.95),
        student(sample, 0.95),
        filtered(sample, 0.95, alpha=ALPHA, beta=BETA),
    )

    np.testing.assert_allclose([(one.var, one.es) for one in found], risks, rtol=1e-12)
    assert [one.method for one in found] == list(METHODS)
    assert all(0.0 < one.var_error < one.var for one in found)
    assert all(0.0 < one.es_error < one.es for one in found)


def test_settings():
    """Coefficients that let the variance grow without end are refused."""
    with pytest.raises(ValidationError, match="1보다 작아야"):
        VarSettings(garch_alpha=0.2, garch_beta=0.8)
    with pytest.raises(ValidationError):
        VarSettings(unknown=1)
