"""The local level as a forecaster: the filter of pairs and pykalman as second opinions."""

import math

import numpy as np
import pytest

from trading.models import level
from trading.models.kalman import Noise, Prior, hedge_filter
from trading.models.level import Level

MEAN, P, Q, R = 0.02, 0.05, 0.001, 0.9


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
    return Level(mean=np.array([MEAN]), variances=np.array([P, Q, R]))


def test_it_is_the_filter_of_pairs_without_a_hedge(windows, process):
    """Level, density and what is known of the level, where the other leg is always 0."""
    for window in windows[:5]:
        other = hedge_filter(
            window - MEAN,
            np.zeros_like(window),
            Noise(beta=0.0, alpha=Q, observation=R),
            Prior(covariance=(0.0, 0.0, P)),
        )
        mean, _ = process.ahead(window[None, :], 20)

        assert mean[0] == pytest.approx(20 * other.states[-1, 1], rel=1e-9)
        assert process.log_density(window[None, :], 5)[0] == pytest.approx(
            other.log_likelihood_after(55) / 5, rel=1e-9
        )


def test_the_spread_is_that_of_the_sum(windows, process):
    """The variance of twenty returns to come, with pykalman's covariance of what is known today."""
    from pykalman import KalmanFilter

    kalman = KalmanFilter(
        transition_matrices=[[1.0]], observation_matrices=[[1.0]], transition_covariance=[[Q]],
        observation_covariance=[[R]], initial_state_mean=[0.0], initial_state_covariance=[[P]],
    )  # fmt: skip
    _, known = kalman.filter(windows[0] - MEAN)
    today = float(np.asarray(known)[-1, 0, 0])
    # Returns to come share today's level, and every step before the earlier of two.
    k = np.arange(1, 21)
    covariance = today + Q * np.minimum.outer(k, k) + R * np.eye(20)

    _, spread = process.ahead(windows, 20)

    np.testing.assert_allclose(spread, math.sqrt(covariance.sum()), rtol=1e-9)


def test_the_search_finds_the_highest_likelihood(windows):
    """Nothing in its neighbourhood explains the returns better, and a level of 0 does not."""
    found, null = level.estimate(windows, 30)
    best = found.log_density(windows, 30).mean()

    assert best >= null.log_density(windows, 30).mean() - 1e-6
    for factors in ((2, 1, 1), (0.5, 1, 1), (1, 2, 1), (1, 0.5, 1), (1, 1, 1.05), (1, 1, 0.95)):
        other = Level(mean=found.mean, variances=found.variances * np.array(factors))
        assert other.log_density(windows, 30).mean() <= best + 1e-7
    assert null.ahead(windows, 20)[0] == pytest.approx(np.zeros(len(windows)))
