"""Losses over several sessions: simulation and the exact value judge each other."""

import math

import numpy as np
import pytest

from trading.risk.student import fit_student, normal_tail, student_tail
from trading.risk.sums import (
    exact_sum,
    risk_table,
    simulate_filtered,
    simulate_student,
    simulation_risk,
)
from trading.risk.var import METHODS, VarSettings, filtered, garch_variance

ALPHA, BETA = VarSettings().garch_alpha, VarSettings().garch_beta
# Uncompiled, what draws many numbers takes minutes.


@pytest.fixture(scope="module")
def index():
    """The last 2,500 recorded daily log returns of the S&P 500 that comes with ``arch``."""
    from arch.data import sp500

    return np.diff(np.log(sp500.load()["Adj Close"].to_numpy(dtype=np.float64)))[-2500:]


def test_exact_year_of_the_index(index):
    """PERFORMANCE 6: 252-day VaR 95 % is 0.1265 (its FFT; the 99 % figures there lack the tail)."""
    nu, location, scale = fit_student(index)

    risk = exact_sum(nu, location, scale, n_sessions=252, level=0.95)

    assert risk.var == pytest.approx(0.1265, abs=5e-5)
    assert exact_sum(nu, location, scale, n_sessions=252, level=0.99).var == pytest.approx(
        0.2946, abs=5e-4
    )


@pytest.mark.parametrize("nu", [2.05, 2.5, 3.0, 5.0, 50.0])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_exact_single_session(nu, level):
    """A sum of one is the distribution itself."""
    risk = exact_sum(nu, 0.001, 0.02, n_sessions=1, level=level)

    var, es = student_tail(nu, level)
    assert risk.var == pytest.approx(0.02 * var - 0.001, rel=1e-9)
    assert risk.es == pytest.approx(0.02 * es - 0.001, rel=1e-9)


def test_exact_sum_of_two():
    """The convolution of two Student-4 densities, integrated by scipy, has the same quantile."""
    from scipy import integrate, stats

    risk = exact_sum(4.0, 0.0, 1.0, n_sessions=2, level=0.99)

    def below(y):
        return stats.t.pdf(y, 4.0) * stats.t.cdf(-risk.var - y, 4.0)

    share = integrate.quad(below, -np.inf, np.inf, epsabs=1e-12, limit=400)[0]
    assert share == pytest.approx(0.01, abs=1e-9)


def test_exact_sum_tends_to_the_normal():
    """The sum of very many Student-30 returns is normal (central limit theorem)."""
    n, sigma = 100_000, math.sqrt(30 / 28)

    risk = exact_sum(30.0, 0.0, 1.0, n_sessions=n, level=0.95)

    var, es = normal_tail(0.95)
    assert risk.var == pytest.approx(var * sigma * math.sqrt(n), rel=1e-5)
    assert risk.es == pytest.approx(es * sigma * math.sqrt(n), rel=1e-5)


def test_exact_sum_needs_a_variance():
    """A sum without variance has no unit to compute in."""
    with pytest.raises(ValueError, match="above 2"):
        exact_sum(2.0, 0.0, 1.0, n_sessions=5, level=0.95)


@pytest.mark.compiled_only
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_simulation_finds_the_exact_value(index, level):
    """Within three of its own standard errors, 40,000 paths of a year find VaR and ES."""
    nu, location, scale = fit_student(index)
    exact = exact_sum(nu, location, scale, n_sessions=252, level=level)

    sums = simulate_student(
        nu, location, scale, n_sessions=252, n_paths=40_000, rng=np.random.default_rng(5)
    )

    risk = simulation_risk(sums, level)
    assert abs(risk.var - exact.var) < 3.0 * risk.var_error
    assert abs(risk.es - exact.es) < 3.0 * risk.es_error
    assert risk.var_error < 0.05 * risk.var


def test_simulated_values_are_student():
    """Kolmogorov and Smirnov find nothing against scipy's distribution (seeded)."""
    from scipy import stats

    for nu in (2.2, 4.0, 50.0):
        values = simulate_student(
            nu, 0.0, 1.0, n_sessions=1, n_paths=2_000, rng=np.random.default_rng(8)
        )
        assert stats.kstest(values, stats.t(nu).cdf).pvalue > 0.05


def test_common_random_numbers():
    """One seed gives one set of draws: the difference of two portfolios keeps little error."""
    first, second = (
        simulate_student(nu, 0.0, 0.01, n_sessions=5, n_paths=2_000, rng=np.random.default_rng(1))
        for nu in (4.0, 4.2)
    )

    assert np.corrcoef(first, second)[0, 1] > 0.999
    again = simulate_student(
        4.0, 0.01, 0.02, n_sessions=5, n_paths=2_000, rng=np.random.default_rng(1)
    )
    np.testing.assert_allclose(again, 2.0 * first + 0.05, rtol=1e-12, atol=1e-15)


def test_filtered_simulation_of_one_session(index):
    """One session ahead, simulation finds the filtered VaR within its error."""
    sample = index[-250:]
    exact = filtered(sample, 0.95, alpha=ALPHA, beta=BETA)

    sums = simulate_filtered(
        sample, alpha=ALPHA, beta=BETA, n_sessions=1, n_paths=3_000, rng=np.random.default_rng(2)
    )

    risk = simulation_risk(sums, 0.95)
    assert abs(risk.var - exact.var) < 4.0 * max(risk.var_error, 1e-4)
    flat = simulate_filtered(
        np.full(9, 0.01), alpha=0.1, beta=0.8, n_sessions=5, n_paths=3, rng=np.random.default_rng(2)
    )
    np.testing.assert_allclose(flat, 0.05)


@pytest.mark.compiled_only
def test_filtered_simulation_reverts(index):
    """The mean square of ten sessions is the sum of the variance forecasts of GARCH(1,1)."""
    storm = np.r_[index[50:250], index[:50] * 4.0]
    storm = np.r_[storm, -storm]  # so that the standardized returns have next to no mean

    sums = simulate_filtered(
        storm, alpha=ALPHA, beta=BETA, n_sessions=10, n_paths=400_000, rng=np.random.default_rng(4)
    )

    variance = garch_variance(storm, ALPHA, BETA)
    square = np.mean(storm**2 / variance[:-1])
    ahead, total = variance[-1], 0.0
    for _ in range(10):
        total += square * ahead
        ahead = (1.0 - ALPHA - BETA) * variance[0] + (ALPHA * square + BETA) * ahead
    assert np.mean(sums**2) == pytest.approx(total, rel=0.02)


def test_mirrored_paths_cost_no_precision(index):
    """Over 40 seeds the VaR spreads as its error says: half the draws, all the information."""
    nu, location, scale = fit_student(index)

    found = [
        simulation_risk(
            simulate_student(
                nu, location, scale, n_sessions=1, n_paths=1000, rng=np.random.default_rng(seed)
            ),
            0.95,
        )
        for seed in range(40)
    ]

    told = np.mean([one.var_error for one in found])
    # 40 values know their spread to about 11 %.
    assert np.std([one.var for one in found]) == pytest.approx(told, rel=0.3)


@pytest.mark.compiled_only
def test_table(index):
    """A report shows every method, one session ahead and over the horizon."""
    settings = VarSettings()

    table = risk_table(index[:250], level=0.95, settings=settings, rng=np.random.default_rng(1))

    assert [one.method for one in table[:4]] == list(METHODS)
    assert {one.sessions for one in table[4:]} == {settings.horizon_sessions}
    simulated, exact = table[5], table[6]
    assert abs(simulated.var - exact.var) < 4.0 * simulated.var_error
    assert all(one.var > 0.0 and one.es > one.var for one in table)


def test_table_without_movement():
    """A portfolio that never moved loses nothing by any method."""
    settings = VarSettings(monte_carlo_paths=1000)

    table = risk_table(np.zeros(250), level=0.95, settings=settings, rng=np.random.default_rng(1))

    assert all(one.var == one.es == one.var_error == 0.0 for one in table)
