"""The hidden Markov model as a forecaster: hmmlearn as a second opinion, recorded returns as data."""

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM

from trading.models import hmm
from trading.models.base import HmmSettings
from trading.models.hmm import Hidden

START, MEANS, SIGMA = np.array([0.7, 0.3]), np.array([0.1, -0.2]), np.array([0.7, 1.8])
TRANSITION = np.array([[0.95, 0.05], [0.2, 0.8]])


@pytest.fixture(scope="module")
def windows(embedded_panels):
    """Return windows of sixty recorded returns that do not overlap, in units of their deviation."""
    close = embedded_panels[1].close
    whole = close[:, np.isfinite(close).all(axis=0)]
    change = whole[1:] / whole[:-1] - 1.0
    u = change / change.std(axis=0)
    return np.ascontiguousarray(u[: len(u) // 60 * 60].T.reshape(-1, 60))


@pytest.fixture
def process():
    return Hidden(start=START, transition=TRANSITION, means=MEANS, sigma=SIGMA)


def theirs():
    model = GaussianHMM(2, covariance_type="diag")
    model.startprob_, model.transmat_ = START, TRANSITION
    model.means_, model.covars_ = MEANS[:, None], (SIGMA**2)[:, None]
    return model


def test_the_density_is_that_of_hmmlearn(windows, process):
    """What the last returns add to the log likelihood of those before them."""
    model, some = theirs(), windows[:8]
    wanted = [(model.score(w[:, None]) - model.score(w[:-5, None])) / 5 for w in some]

    np.testing.assert_allclose(process.log_density(some, 5), wanted, rtol=1e-9)


def test_the_forecast_mixes_the_states_as_they_will_be(windows, process):
    """Filtered probabilities times powers of the transitions; the long-run mean is left out."""
    model, some = theirs(), windows[:8]
    today = np.array([model.predict_proba(w[:, None])[-1] for w in some])
    usual = np.array([0.8, 0.2]) @ MEANS
    mean = variance = 0.0
    for k in range(1, 21):
        ahead = today @ np.linalg.matrix_power(TRANSITION, k)
        mean = mean + ahead @ (MEANS - usual)
        variance = variance + ahead @ (SIGMA**2 + MEANS**2) - (ahead @ MEANS) ** 2

    got, spread = process.ahead(some, 20)

    np.testing.assert_allclose(got, mean, rtol=1e-9)
    np.testing.assert_allclose(spread, np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("states", [2, 3])
def test_states_are_ordered_by_volatility(windows, states):
    """The first is the calm one, and none is expected to pay where nothing is expected."""
    estimate = hmm.estimator(HmmSettings(states=states))

    found, null = estimate(windows, 5)

    assert (np.diff(found.sigma) > 0).all()
    np.testing.assert_allclose(found.transition.sum(axis=1), 1.0, atol=1e-8)
    assert np.ptp(null.means) == 0.0
    assert null.means[0] == pytest.approx(found.usual)
    assert null.ahead(windows, 20)[0] == pytest.approx(np.zeros(len(windows)), abs=1e-9)
