"""The pooled ARIMA against statsmodels and its own promises, on recorded returns."""

from dataclasses import replace

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.mlops.train import FAMILIES
from trading.models import arima
from trading.models.arima import Arima, Arma
from trading.models.base import ArimaSettings, ModelSettings, purged_tail
from trading.models.inference import FITTED

SETTINGS = ArimaSettings()


@pytest.fixture(scope="module")
def data(embedded_panels):
    return datasets.build(
        embedded_panels[1].until(1500), FeatureSettings(), ModelSettings(), window=SETTINGS.window
    )


def arma(data, ar, ma, least=0.0):
    """Return a model with these coefficients."""
    columns = [data.feature_names.index(name) for name in ("return_1", "volatility_long")]
    return Arma(
        columns=np.array(columns), horizon=np.array([data.horizon]), mean=np.zeros(1),
        ar=np.array(ar), ma=np.array(ma), half_width=np.ones(1), least=np.array([least]),
    )  # fmt: skip


def test_the_forecast_is_that_of_statsmodels(data):
    """With the same coefficients a window's forecast is the sum that statsmodels expects."""
    from statsmodels.tsa.arima.model import ARIMA

    ar, ma = [0.35, -0.2], [-0.25]
    model = arma(data, ar, ma)
    x = data.x[:5]
    got = model.predict(x)

    for i in range(5):
        returns = x[i, :, model.columns[0]].astype(float)
        fixed = ARIMA(returns, order=(2, 0, 1), trend="n").smooth([*ar, *ma, 1.0])
        # The filter of statsmodels starts from the stationary distribution, ours from nothing: after
        # twenty sessions that is all but forgotten.
        assert got[i] == pytest.approx(float(fixed.forecast(data.horizon).sum()), abs=2e-6)


def test_the_coefficients_are_those_of_least_squares(data):
    """An autoregression of order two is the regression on its two lags."""
    u, _ = arima._in_volatility(data.x, arma(data, [], []).columns)
    y, lags = u[:, -1], np.column_stack([u[:, -2], u[:, -3]])
    wanted = np.linalg.lstsq(lags, y, rcond=None)[0]

    ar, ma, variance = arima._fitted(u, 0.0, 2, 0, own=1)

    np.testing.assert_allclose(ar, wanted, atol=1e-4)
    assert len(ma) == 0
    assert variance == pytest.approx(float(np.mean((y - lags @ wanted) ** 2)), rel=1e-6)


def test_partial_autocorrelations_are_stationary():
    """Durbin-Levinson: the last coefficient is the last of them, and all roots are outside."""
    for partial in ([0.9], [-0.95, 0.95], [0.5, -0.9]):
        ar = arima._coefficients(np.array(partial))
        assert ar[-1] == partial[-1]
        assert np.abs(np.roots([1.0, *-ar])).max() < 1.0


def test_a_planted_autoregression_is_found_and_what_it_forecasts_follows(data):
    """Recorded returns with their yesterday added: the sign is found, the outcome follows it."""
    x = data.x.copy()
    column = data.feature_names.index("return_1")
    plain = x[:, :, column].copy()
    for t in range(1, x.shape[1]):
        x[:, t, column] = plain[:, t] + 0.4 * x[:, t - 1, column]
    planted = replace(data, x=x)
    at = np.arange(len(data.row))

    fitted = Arima(SETTINGS).fit(planted, at, seed=1)
    forecast = fitted.predict(x)

    assert np.isfinite(fitted.least[0])
    assert np.isfinite(forecast).mean() > 0.5
    known = np.isfinite(forecast)
    assert np.corrcoef(forecast[known], x[known, -1, column])[0, 1] > 0.8


def test_it_abstains_where_the_past_explains_nothing(data):
    """Returns whose order within the window is destroyed are forecast by nobody."""
    rng = np.random.default_rng(5)
    x = data.x.copy()
    column = data.feature_names.index("return_1")
    x[:, :, column] = rng.permuted(x[:, :, column], axis=1)

    silent = 0
    for turn in range(5):
        x[:, :, column] = rng.permuted(x[:, :, column], axis=1)
        fitted = Arima(SETTINGS).fit(replace(data, x=x), np.arange(len(data.row)), seed=turn)
        silent += bool(np.isnan(fitted.predict(x)).all())

    assert silent >= 4


def test_the_interval_covers_what_it_says(data):
    """On the sessions that set it, by construction; a wider coverage is a wider interval."""
    at = np.arange(len(data.row))
    _, held = purged_tail(data, at, share=SETTINGS.validation_share)
    narrow, wide = (
        Arima(SETTINGS.model_copy(update={"coverage": c})).fit(data, at, seed=1).interval(data.x)
        for c in (0.5, 0.9)
    )

    assert (wide > narrow).all()
    inside = np.abs(data.excess[held]) < wide[held]
    assert 0.8 < inside.mean() < 0.98


def test_it_is_a_family_like_any_other(data):
    """Its tensors become the same model again; without returns among the features it cannot be."""
    learner = FAMILIES["arima"](ModelSettings())
    assert (learner.family, learner.window) == ("arima", SETTINGS.window)
    model = arma(data, [0.1], [])
    again = FITTED["arima"](**model.tensors)
    np.testing.assert_array_equal(again.predict(data.x), model.predict(data.x))
    np.testing.assert_array_equal(model.predict(data.x[3:4]), model.predict(data.x)[3:4])
    other = replace(data, feature_names=("rsi", *data.feature_names[1:]))
    with pytest.raises(ModelError, match="return_1"):
        learner.fit(other, np.arange(len(data.row)), seed=1)
