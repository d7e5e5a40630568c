"""Value at risk against numpy on recorded returns."""

import math

import numpy as np
import pytest

from trading.risk.var import name_vars, portfolio_var, tail_loss


@pytest.fixture(scope="module")
def returns(embedded_panels):
    """Two years of recorded daily returns of the five embedded shares; two are not listed yet."""
    close = embedded_panels[1].close[:501]
    return close[1:] / close[:-1] - 1.0


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


def test_small_samples():
    """Nothing is known of nothing; of one day, that day."""
    assert math.isnan(tail_loss(np.zeros(0), 0.95))
    assert tail_loss(np.array([-0.03]), 0.95) == 0.03
    assert tail_loss(np.array([-0.03, 0.01]), 0.51) == 0.03


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
