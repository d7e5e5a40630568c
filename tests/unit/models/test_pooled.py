"""What the four families that look at returns alone promise alike, on recorded returns."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.mlops.train import FAMILIES, train
from trading.models import inference
from trading.models.base import ModelSettings, purged_tail

FAMILIES_OF_RETURNS = ("arima", "garch", "hmm", "kalman")
SHIPPED = ModelSettings()
# It speaks whatever it gains.
EAGER = {"min_gain_t": -math.inf, "min_outcome_t": -math.inf, "abstain_share": 0.0}

pytestmark = pytest.mark.compiled_only


def learner_of(family, **changes):
    own = getattr(SHIPPED, family).model_copy(update=changes)
    return FAMILIES[family](SHIPPED.model_copy(update={family: own}))


@pytest.fixture(scope="module")
def taught(embedded_panels):
    """Return the rows of each family; those of one window are the same."""
    found = {}

    def of(family):
        window = learner_of(family).window
        if window not in found:
            found[window] = datasets.build(
                embedded_panels[1].until(1700), FeatureSettings(), SHIPPED, window=window
            )
        return found[window]

    return of


def every(data):
    return np.arange(len(data.row))


def with_returns(data, returns):
    x = data.x.copy()
    x[:, :, data.feature_names.index("return_1")] = returns
    return replace(data, x=x)


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_the_same_rows_give_the_same_model(family, taught, tmp_path):
    """To the bit, whatever the seed; saved and loaded, too; and a row does not know the others."""
    data = taught(family)
    learner = learner_of(family, **EAGER)
    first, again = (learner.fit(data, every(data), seed=seed) for seed in (1, 2))

    assert first.tensors.keys() == again.tensors.keys()
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, again.tensors[name])
    kept = inference.FITTED[family](**first.tensors)
    answer = first.predict(data.x)
    np.testing.assert_array_equal(kept.predict(data.x), answer)
    np.testing.assert_array_equal(first.predict(data.x[7:8]), answer[7:8])
    np.testing.assert_array_equal(first.predict(data.x[::-1])[::-1], answer)
    assert np.isfinite(answer).all()
    assert answer.std() > 0


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_a_model_is_trained_kept_and_read_again(family, embedded_panels, tmp_path):
    """As every family: card, files, fingerprint."""
    models = SHIPPED.model_copy(update={family: getattr(SHIPPED, family).model_copy(update=EAGER)})
    model = train(embedded_panels[1].until(1700), FeatureSettings(), models, family=family).model
    model.save(tmp_path)
    again = inference.load(tmp_path)

    assert model.card.family == family
    assert again.fingerprint == model.fingerprint
    assert again.card == model.card


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_it_abstains_where_the_past_explains_nothing(family, taught):
    """Returns whose order within the window is destroyed are forecast by nobody, four times in five."""
    data = taught(family)
    rng = np.random.default_rng(5)
    returns = data.x[:, :, data.feature_names.index("return_1")]

    silent = 0
    for turn in range(5):
        drawn = with_returns(data, rng.permuted(returns, axis=1))
        fitted = learner_of(family).fit(drawn, every(data), seed=turn)
        silent += bool(np.isnan(fitted.predict(drawn.x)).all())

    assert silent >= 4


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_the_interval_covers_what_it_says(family, taught):
    """On the sessions that set it nearly by construction; a wider coverage is a wider interval."""
    data = taught(family)
    _, held = purged_tail(data, every(data), share=0.2)
    narrow, wide = (
        learner_of(family, **EAGER, coverage=c).fit(data, every(data), seed=1) for c in (0.5, 0.9)
    )

    assert (wide.interval(data.x) > narrow.interval(data.x)).all()
    for fitted, coverage in ((narrow, 0.5), (wide, 0.9)):
        missed = np.abs(data.excess[held] - fitted.predict(data.x[held]))
        inside = (missed < fitted.interval(data.x[held])).mean()
        assert inside == pytest.approx(coverage, abs=0.06)


@pytest.mark.parametrize("family", ["garch", "hmm"])
def test_a_turbulent_window_has_a_wider_interval(family, taught):
    """The same returns with their last ten sessions twice as large: how far it may miss is conditional."""
    data = taught(family)
    fitted = learner_of(family, **EAGER).fit(data, every(data), seed=1)
    returns = data.x[:, :, data.feature_names.index("return_1")].copy()
    returns[:, -10:] *= 2.0
    wild = with_returns(data, returns)

    wider = fitted.interval(wild.x) > fitted.interval(data.x)

    assert wider.mean() > 0.97


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_a_name_that_does_not_move_is_not_forecast(family, taught):
    """Its volatility is 0: it takes no part in the fit, and its forecast is none."""
    data = taught(family)
    x = data.x.copy()
    still = every(data)[::4]
    for name in ("return_1", "volatility_long"):
        x[still, :, data.feature_names.index(name)] = 0.0
    moving = np.setdiff1d(every(data), still)
    learner = learner_of(family, **EAGER)

    fitted = learner.fit(replace(data, x=x), every(data), seed=1)
    without = learner.fit(data, moving, seed=1)

    forecast = fitted.predict(x)
    assert np.isnan(forecast[still]).all()
    assert np.isfinite(forecast[moving]).all()
    np.testing.assert_array_equal(forecast[moving], without.predict(data.x[moving]))
    x[:, :, data.feature_names.index("volatility_long")] = 0.0
    with pytest.raises(ModelError, match="움직인 종목이 부족"):
        learner.fit(replace(data, x=x), every(data), seed=1)


@pytest.mark.parametrize("family", FAMILIES_OF_RETURNS)
def test_without_returns_it_cannot_be(family, taught):
    """It says which feature is missing."""
    data = taught(family)
    names = tuple("rsi" if name == "return_1" else name for name in data.feature_names)
    with pytest.raises(ModelError, match="return_1"):
        learner_of(family).fit(replace(data, feature_names=names), every(data), seed=1)


@pytest.mark.parametrize("family", ["arima", "kalman"])
def test_who_knows_tomorrow_only_abstains_from_the_month(family, taught):
    """The next return is explained as before; labels that go the other way silence the model."""
    data = taught(family)
    names = data.feature_names
    scale = data.x[:, 0, names.index("volatility_long")].astype(np.float64)[:, None]
    u = data.x[:, :, names.index("return_1")] / scale
    told, expected = (planted_autoregression if family == "arima" else planted_drift)(u)
    planted = with_returns(data, told * scale)

    def forecast(sign):
        other = replace(planted, excess=data.excess + sign * expected * scale[:, 0])
        return learner_of(family).fit(other, every(data), seed=1).predict(planted.x)

    assert np.isfinite(forecast(1.0)).mean() > 0.4
    assert np.isnan(forecast(-1.0)).all()


def planted_autoregression(u):
    """Each return carries on the one before; then what the last one leaves."""
    out = u.copy()
    for t in range(1, u.shape[1]):
        out[:, t] = u[:, t] + 0.4 * out[:, t - 1]
    return out, 0.4 / 0.6 * out[:, -1]


def planted_premium(u):
    """After ten wild sessions returns are higher, by as much as they were wild; so for weeks."""
    square = np.concatenate([np.ones((len(u), 10)), u**2], axis=1)
    wild = np.stack([square[:, t : t + 10].mean(axis=1) for t in range(u.shape[1] + 1)], axis=1)
    wild = np.sqrt(wild) - 1.0
    return u + wild[:, :-1], 12.0 * wild[:, -1]


def planted_drift(u):
    """Each window has a drift of its own: a recorded return, a fifth of it; it goes on."""
    drift = 0.2 * u[:, 0]
    return u + drift[:, None], 20.0 * drift


@pytest.mark.parametrize(
    ("family", "planted"),
    [
        ("arima", planted_autoregression),
        ("garch", planted_autoregression),
        ("garch", planted_premium),
        ("hmm", planted_premium),
        ("kalman", planted_drift),
    ],
)
def test_what_is_planted_is_found(family, planted, taught):
    """Recorded returns with something to expect in them: it speaks, and its forecasts follow that."""
    data = taught(family)
    names = data.feature_names
    scale = data.x[:, 0, names.index("volatility_long")].astype(np.float64)[:, None]
    u = data.x[:, :, names.index("return_1")] / scale
    told, expected = planted(u)
    # What follows, follows it.
    follows = data.excess + expected * scale[:, 0]
    data = replace(with_returns(data, told * scale), excess=follows)

    forecast = learner_of(family).fit(data, every(data), seed=1).predict(data.x)

    known = np.isfinite(forecast)
    assert known.mean() > 0.4
    assert np.corrcoef(forecast[known] / scale[known, 0], expected[known])[0, 1] > 0.6
