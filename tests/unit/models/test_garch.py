"""GJR-GARCH in mean as a forecaster: arch as a second opinion, recorded returns as data."""

import math

import numpy as np
import pytest
from arch.univariate import ARX, GARCH, ARCHInMean, StudentsT

from trading.models import garch
from trading.models.base import GarchSettings
from trading.models.garch import Gjr

MU, AR, PREMIUM, OMEGA, ALPHA, GAMMA, BETA, NU = THETA = (
    0.03, -0.04, 0.1, 0.03, 0.03, 0.08, 0.9, 6.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def returns(embedded_panels):
    """Return recorded returns in units of their deviation."""
    close = embedded_panels[1].close
    name = close[:, np.isfinite(close).all(axis=0)][:, 0]
    change = name[1:] / name[:-1] - 1.0
    return change / change.std()


def test_the_density_is_that_of_arch(returns):
    """The mean log density of the last returns, long after the start is forgotten."""
    from scipy.stats import t

    own = 250
    model = ARX(
        returns, lags=[1], volatility=GARCH(1, 1, 1), distribution=StudentsT(), constant=True
    )
    theirs = model.fix([MU * (1.0 - AR), AR, OMEGA, ALPHA, GAMMA, BETA, NU])
    h, e = theirs.conditional_volatility[-own:] ** 2, theirs.resid[-own:]
    unit = math.sqrt(NU / (NU - 2.0))
    wanted = t.logpdf(e / np.sqrt(h) * unit, NU) + math.log(unit) - 0.5 * np.log(h)
    parameters = np.array([MU, AR, 0.0, OMEGA, ALPHA, GAMMA, BETA, NU])

    got = Gjr(parameters=parameters).log_density(returns[None, :], own)

    assert got[0] == pytest.approx(wanted.mean(), abs=1e-9)


def test_the_forecast_is_what_the_recursion_expects(returns):
    """Return by return and step by step, as the formula says."""
    usual = OMEGA / (1.0 - ALPHA - GAMMA / 2 - BETA)
    h, deviation = 1.0, 0.0
    for u in returns:
        e = u - MU - AR * deviation - PREMIUM * (math.sqrt(h) - math.sqrt(usual))
        h = OMEGA + (ALPHA + GAMMA * (e < 0)) * e * e + BETA * h
        deviation = u - MU
    total = square = 0.0
    for _ in range(20):
        deviation = AR * deviation + PREMIUM * (math.sqrt(h) - math.sqrt(usual))
        total, square = total + deviation, square + h
        h = OMEGA + (ALPHA + GAMMA / 2 + BETA) * h

    mean, spread = Gjr(parameters=np.array(THETA)).ahead(returns[None, :], 20)

    assert mean[0] == pytest.approx(total, rel=1e-9)
    assert spread[0] == pytest.approx(math.sqrt(square), rel=1e-9)


def test_the_search_finds_the_highest_likelihood(returns):
    """Of one long series it is that of arch: no other parameters explain its returns better."""
    own = len(returns) - 100
    model = ARCHInMean(
        returns, lags=[1], form="vol", volatility=GARCH(1, 1, 1), distribution=StudentsT()
    )
    best = model.fit(disp="off").params.to_numpy()
    usual = math.sqrt(best[3] / (1.0 - best[4] - best[5] / 2 - best[6]))
    mean = (best[0] + best[2] * usual) / (1.0 - best[1])
    other = Gjr(parameters=np.array([mean, *best[1:]]))

    ours, null = garch.estimator(GarchSettings())(returns[None, :], own)

    density = ours.log_density(returns[None, :], own)[0]
    assert density >= other.log_density(returns[None, :], own)[0] - 1e-4
    assert density >= null.log_density(returns[None, :], own)[0]
    assert null.parameters[1] == null.parameters[2] == 0.0


def test_every_point_of_the_search_is_stationary():
    """Variance is positive whatever the shock, and comes back from it."""
    rng = np.random.default_rng(3)
    low, high = np.array(garch._BOUNDS).T
    for point in rng.uniform(low, high, (200, len(low))):
        _, _, _, omega, alpha, gamma, beta, nu = garch._parameters(point)
        assert omega > 0 and alpha >= 0 and alpha + gamma >= -1e-12 and beta >= 0 and nu > 2
        assert alpha + gamma / 2 + beta < 1
