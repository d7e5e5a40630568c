"""Switching autoregressions: statsmodels as the second implementation."""

import numpy as np
import pytest

from trading.errors import ModelError
from trading.models import markov
from trading.models.markov import fit_markov_autoregression
from trading.reference import shipped_list

pytestmark = pytest.mark.compiled_only


@pytest.fixture(scope="module")
def growth():
    """Return the growth of US output that Hamilton (1989) used, per quarter in per cent."""
    # The module that holds the numbers is a test of statsmodels' own: read, not imported.
    return shipped_list("rgnp", "tsa", "regime_switching", "tests", "test_markov_autoregression.py")


def test_likelihood_and_filter_equal_statsmodels(growth):
    """At the fitted parameters both give the same likelihood and filtered probabilities."""
    from statsmodels.tsa.regime_switching.markov_autoregression import MarkovAutoregression

    fit = fit_markov_autoregression(growth, order=4)

    model = MarkovAutoregression(growth, k_regimes=2, order=4, switching_ar=False)
    p = fit.transition
    peer = model.filter([p[0, 0], p[1, 0], *fit.means, fit.variance, *fit.coefficients])
    assert fit.log_likelihood == pytest.approx(peer.llf, rel=1e-10)
    np.testing.assert_allclose(fit.probability, peer.filtered_marginal_probabilities, atol=1e-9)


def test_better_than_its_neighbours(growth):
    """A step in any parameter lowers the likelihood."""
    fit = fit_markov_autoregression(growth, order=1)
    lags = np.column_stack([growth[1:], growth[:-1]])
    stays = np.diag(fit.transition)

    def likelihood(theta: np.ndarray) -> float:
        (a, b), means, variance = theta[:2], theta[2:4], theta[4]
        transition = np.array([[a, 1.0 - a], [1.0 - b, b]])
        return markov._filtered(lags, transition, means, variance, theta[5:])[0]

    best = np.array([*stays, *fit.means, fit.variance, *fit.coefficients])
    assert likelihood(best) == pytest.approx(fit.log_likelihood, rel=1e-12)
    for i in range(len(best)):
        for sign in (1.0, -1.0):
            step = np.zeros(len(best))
            step[i] = sign * 0.02
            assert likelihood(best + step) < fit.log_likelihood


def test_every_path_counted(growth):
    """On ten quarters: the filter's likelihood is the sum over all 2^10 paths of the state."""
    from itertools import product

    y = growth[:10]
    transition = np.array([[0.7, 0.3], [0.1, 0.9]])
    means, variance, phi = np.array([-0.5, 1.2]), 0.6, 0.3
    long_run = np.array([0.1, 0.3]) / 0.4

    total, _ = markov._filtered(
        np.column_stack([y[1:], y[:-1]]), transition, means, variance, np.array([phi])
    )

    expected = 0.0
    for path in product((0, 1), repeat=10):
        weight = long_run[path[0]]
        for t in range(1, 10):
            e = (y[t] - means[path[t]]) - phi * (y[t - 1] - means[path[t - 1]])
            weight *= transition[path[t - 1], path[t]]
            weight *= np.exp(-0.5 * e * e / variance) / np.sqrt(2.0 * np.pi * variance)
        expected += weight
    assert total == pytest.approx(np.log(expected), rel=1e-12)


def test_units(growth):
    """A hundredth of the numbers: the same states, means and deviations a hundredth."""
    whole, small = (fit_markov_autoregression(growth * s, order=1) for s in (1.0, 0.01))

    np.testing.assert_allclose(small.transition, whole.transition, atol=1e-4)
    np.testing.assert_allclose(100.0 * small.means, whole.means, atol=1e-4)
    assert whole.means[0] < whole.means[1]


@pytest.mark.parametrize(
    "series", [np.empty(0), np.ones(20), np.full(100, 2.0), np.full(100, np.nan)]
)
def test_refuses(series):
    """Too few values, none that vary, or holes are a ``ModelError``."""
    with pytest.raises(ModelError):
        fit_markov_autoregression(series, order=1)
