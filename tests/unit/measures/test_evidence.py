"""Errors and intervals of track records against closed forms, papers and other packages."""

import math

import numpy as np
import pytest
from scipy import stats

from trading import measures

RETURNS = np.array([0.02, -0.01, 0.015, -0.03, 0.005, 0.01])


@pytest.fixture(scope="module")
def returns(embedded_panels):
    """Returns of AAPL, 2000-03-01 to 2013-03-01."""
    _, adjusted = embedded_panels
    return measures.returns_of(adjusted.close[:, adjusted.symbols.index("AAPL")])


@pytest.mark.parametrize("rho", [-0.5, -0.1, 0.0, 0.2, 0.9])
@pytest.mark.parametrize("q", [2, 12, 252])
def test_scale_of_an_autoregression(rho, q):
    """Lo (2002) gives the sum for an AR(1) in closed form, equation 22."""
    expected = math.sqrt(q) / math.sqrt(
        1 + 2 * rho / (1 - rho) * (1 - (1 - rho**q) / (q * (1 - rho)))
    )

    assert measures.sharpe_scale(rho ** np.arange(1, q), q) == pytest.approx(expected, rel=1e-9)


def test_scale_without_correlation_is_the_square_root():
    """No lags, or no correlation: the square root of the periods; no variance left: unknown."""
    assert measures.sharpe_scale(np.empty(0), 252) == pytest.approx(math.sqrt(252))
    assert measures.sharpe_scale(np.zeros(300), 252) == pytest.approx(math.sqrt(252))
    assert math.isnan(measures.sharpe_scale(np.array([-1.0]), 12))


def test_sharpe_lo_by_hand():
    """Lag 1 only over 12 periods: the variance grows by 1 + 2 (11/12) rho."""
    d = RETURNS - RETURNS.mean()
    rho = np.sum(d[1:] * d[:-1]) / np.sum(d * d)
    expected = measures.sharpe(RETURNS, periods_per_year=12) / math.sqrt(1 + 2 * 11 / 12 * rho)

    assert measures.sharpe_lo(RETURNS, periods_per_year=12, lags=1) == pytest.approx(expected)
    assert measures.sharpe_lo(RETURNS, periods_per_year=12, lags=0) == pytest.approx(
        measures.sharpe(RETURNS, periods_per_year=12)
    )
    assert measures.sharpe_lo(RETURNS, periods_per_year=1, lags=5) == pytest.approx(
        measures.sharpe(RETURNS, periods_per_year=1)
    )


def test_error_of_the_plain_ratio(returns):
    """Without lags it is the error in the PSR: (1 - g3 SR + (g4 - 1) SR^2 / 4) / n, annual."""
    sr = returns.mean() / returns.std()
    g3, g4 = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    expected = math.sqrt(252 * (1 - g3 * sr + (g4 - 1) / 4 * sr**2) / len(returns))

    error = measures.sharpe_error(returns, periods_per_year=252, lags=0)

    assert error == pytest.approx(expected, rel=1e-9)


def test_error_with_lags_is_the_slope_of_the_ratio(returns):
    """The influence of a return is what its weight moves in the ratio (numerical derivative)."""
    x, lags, q = returns[:300], 3, 252
    n, step = len(x), 1e-6

    def ratio(weight):
        w = weight / weight.sum()
        d = x - w @ x
        gamma = [float(np.sum(w[k:] * d[k:] * d[: n - k])) for k in range(lags + 1)]
        v = q * gamma[0] + 2 * sum((q - k) * gamma[k] for k in range(1, lags + 1))
        return q * (w @ x) / math.sqrt(v)

    base = np.ones(n)
    slope = np.array(
        [(ratio(base + step * n * e) - ratio(base - step * n * e)) / (2 * step) for e in np.eye(n)]
    )
    expected = math.sqrt(measures.long_run_variance(slope, lags=lags) / n)

    assert measures.sharpe_error(x, periods_per_year=q, lags=lags) == pytest.approx(
        expected, rel=0.02
    )


def test_ratios_of_nothing_are_unknown():
    """Too few returns, or none that differ, have neither ratio nor error."""
    for values in (np.empty(0), np.array([0.01]), np.zeros(30)):
        assert math.isnan(measures.sharpe_lo(values, periods_per_year=252, lags=2))
        assert math.isnan(measures.sharpe_error(values, periods_per_year=252, lags=2))


def annual(values):
    return measures.sharpe(values, periods_per_year=252)


def test_stationary_interval_is_as_wide_as_the_error_says(returns):
    """Percentiles of the resampled Sharpe ratio lie 1.96 errors apart from it, within a tenth."""
    error = measures.sharpe_error(returns, periods_per_year=252, lags=8)

    found = measures.bootstrap_interval(
        returns, annual, repetitions=2000, rng=np.random.default_rng(1)
    )

    assert found.value == annual(returns)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.10)


def test_interval_is_the_same_for_the_same_seed(returns):
    """The generator is the only source of chance."""
    first, second = (
        measures.bootstrap_interval(
            returns[:500], annual, repetitions=200, rng=np.random.default_rng(7)
        )
        for _ in range(2)
    )

    assert first == second


def test_pairs_stay_paired(returns, embedded_panels):
    """Rows are drawn whole: the difference of a column and itself is 0 in every sample."""
    both = np.column_stack([returns, returns])

    found = measures.bootstrap_interval(
        both,
        lambda v: float(np.abs(v[:, 0] - v[:, 1]).max()),
        repetitions=100,
        rng=np.random.default_rng(1),
    )

    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_bca_agrees_with_scipy(returns):
    """Bias and acceleration are corrected as in scipy.stats.bootstrap, another implementation."""
    outcomes = returns[::40]
    theirs = stats.bootstrap(
        (outcomes,),
        np.mean,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(3),
        vectorized=True,
    ).confidence_interval

    ours = measures.bootstrap_interval(
        outcomes, np.mean, repetitions=20_000, rng=np.random.default_rng(4), method="bca"
    )

    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_block_length_follows_dependence(returns):
    """Absolute returns depend on each other longer than returns; columns take the longest."""
    size = np.abs(returns)

    longest = measures.block_length(size)

    assert longest > 5 * measures.block_length(returns)
    assert measures.block_length(np.column_stack([returns, size])) == longest
    assert measures.block_length(np.full(100, 0.01)) == pytest.approx(100 ** (1 / 3))
    assert measures.block_length(returns[:8]) == pytest.approx(2.0)
    assert measures.block_length(np.empty(0)) == 1.0


@pytest.mark.parametrize("method", ["stationary", "bca"])
@pytest.mark.parametrize("values", [[], [0.01], [0.01, 0.01, 0.01]])
def test_interval_of_nothing_is_unknown(method, values):
    """Without two different values there is no interval."""
    found = measures.bootstrap_interval(
        np.array(values),
        lambda v: float(np.sum(v)),
        repetitions=50,
        rng=np.random.default_rng(1),
        method=method,
    )

    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("method", ["stationary", "bca"])
def test_an_unbounded_statistic_has_no_bound(method):
    """Where redrawn trades hold no loss the profit factor has no value, so the bounds are NaN."""
    found = measures.bootstrap_interval(
        np.array([0.02, 0.01, -0.01]),
        measures.profit_factor,
        repetitions=200,
        rng=np.random.default_rng(1),
        method=method,
    )

    assert found.value == pytest.approx(3.0)
    assert math.isnan(found.high)


def test_bca_of_a_statistic_that_never_moves():
    """A hit rate of 1 is 1 in every sample: the bounds are that, not an error."""
    found = measures.bootstrap_interval(
        np.array([0.02, 0.01, 0.03]),
        measures.hit_rate,
        repetitions=100,
        rng=np.random.default_rng(1),
        method="bca",
    )

    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
