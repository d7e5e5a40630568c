"""The pooled ARIMA against statsmodels and least squares, on recorded returns."""

import numpy as np
import pytest

from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models import arima
from trading.models.arima import Arma
from trading.models.base import ArimaSettings, ModelSettings
from trading.models.pooled import _measured

SETTINGS = ArimaSettings()


@pytest.fixture(scope="module")
def windows(embedded_panels):
    """Return windows of recorded returns in units of the newest volatility."""
    data = datasets.build(
        embedded_panels[1].until(1500), FeatureSettings(), ModelSettings(), window=SETTINGS.window
    )
    columns = [data.feature_names.index(name) for name in ("return_1", "volatility_long")]
    u, scale = _measured(*(data.x[:, :, column] for column in columns), Arma.scaled_at)
    assert np.isfinite(scale).all()
    return u


def arma(ar, ma):
    """Return a process with these coefficients."""
    return Arma(mean=np.zeros(1), ar=np.array(ar), ma=np.array(ma), variance=np.ones(1))


def test_the_forecast_is_that_of_statsmodels(windows):
    """With the same coefficients a window's forecast is the sum that statsmodels expects."""
    from statsmodels.tsa.arima.model import ARIMA

    ar, ma = [0.35, -0.2], [-0.25]
    got, _ = arma(ar, ma).ahead(windows[:5], 20)

    for i in range(5):
        fixed = ARIMA(windows[i], order=(2, 0, 1), trend="n").smooth([*ar, *ma, 1.0])
        # The filter of statsmodels starts from the stationary distribution, ours from nothing: after
        # twenty sessions that is all but forgotten.
        assert got[i] == pytest.approx(float(fixed.forecast(20).sum()), abs=1e-4)


def test_the_coefficients_are_those_of_least_squares(windows):
    """An autoregression of order two is the regression on its two lags."""
    y, lags = windows[:, -1], np.column_stack([windows[:, -2], windows[:, -3]])
    wanted = np.linalg.lstsq(lags, y, rcond=None)[0]

    ar, ma, variance = arima._fitted(windows, 0.0, 2, 0, own=1)

    np.testing.assert_allclose(ar, wanted, atol=1e-4)
    assert len(ma) == 0
    assert variance == pytest.approx(float(np.mean((y - lags @ wanted) ** 2)), rel=1e-6)


def test_the_density_is_that_of_the_surprises(windows):
    """Of no coefficients it is the normal density of the returns themselves."""
    from scipy.stats import norm

    got = arma([], []).log_density(windows, 5)

    np.testing.assert_allclose(got, norm.logpdf(windows[:, -5:]).mean(axis=1), rtol=1e-12)


def test_partial_autocorrelations_are_stationary():
    """Durbin-Levinson: the last coefficient is the last of them, and all roots are outside."""
    for partial in ([0.9], [-0.95, 0.95], [0.5, -0.9]):
        ar = arima._coefficients(np.array(partial))
        assert ar[-1] == partial[-1]
        assert np.abs(np.roots([1.0, *-ar])).max() < 1.0


def test_the_order_is_chosen_once(windows):
    """By BIC where nothing is given; fitted again it stays, with the mean around which it was found."""
    estimate = arima.estimator(SETTINGS)
    ours, null = estimate(windows, 5)
    again, _ = estimate(windows[::2], 5, arma([0.1, 0.1], []))

    assert len(ours.ar) + len(ours.ma) >= 1
    assert len(null.ar) == len(null.ma) == 0
    assert (len(again.ar), len(again.ma), float(again.mean[0])) == (2, 0, 0.0)
