"""The fitted distributions against published digits and scipy."""

import math

import numpy as np
import pytest

from trading.risk.student import (
    fit_student,
    normal_tail,
    student_information,
    student_tail,
)


@pytest.fixture(scope="module")
def index():
    """The last 2,500 recorded daily log returns of the S&P 500 that comes with ``arch``."""
    from arch.data import sp500

    return np.diff(np.log(sp500.load()["Adj Close"].to_numpy(dtype=np.float64)))[-2500:]


@pytest.mark.parametrize(
    ("level", "of_normal", "of_student"),
    [
        (0.95, (1.644854, 2.062713), (1.560850, 2.238684)),
        (0.975, (1.959964, 2.337803), (1.991164, 2.727802)),
        (0.99, (2.326348, 2.665214), (2.606464, 3.448837)),
    ],
)
def test_closed_forms(level, of_normal, of_student):
    """REFERENCES 4: normal, and Student-5 of unit variance."""
    unit = math.sqrt((5 - 2) / 5)

    np.testing.assert_allclose(normal_tail(level), of_normal, atol=5e-7)
    np.testing.assert_allclose(np.array(student_tail(5.0, level)) * unit, of_student, atol=5e-7)


@pytest.mark.parametrize("nu", [2.01, 2.5, 3.0, 4.7, 8.0, 30.0, 100.0])
def test_quantiles_are_those_of_scipy(nu):
    """The compiled quantiles agree with scipy from one level to the other."""
    from scipy import stats

    for level in (0.55, 0.75, 0.9, 0.95, 0.99, 0.999, 0.99999):
        assert student_tail(nu, level)[0] == pytest.approx(stats.t.ppf(level, nu), rel=1e-11)
        assert normal_tail(level)[0] == pytest.approx(stats.norm.ppf(level), rel=1e-13)


def test_student_fit_is_the_most_likely(index):
    """No fit of scipy's is likelier, and the degrees of freedom are the same to 5e-5."""
    from scipy import stats

    ours = fit_student(index)

    theirs = stats.t.fit(index)
    assert stats.t.logpdf(index, *ours).sum() >= stats.t.logpdf(index, *theirs).sum()
    np.testing.assert_allclose(ours, theirs, rtol=5e-5)


def test_student_fit_of_windows(index):
    """At the fit of each window the slopes of scipy's likelihood vanish, unless ``nu`` is bounded."""
    from scipy import stats

    for start in range(0, 2250, 250):
        sample = index[start : start + 250]
        nu, location, scale = fit_student(sample)
        unit = np.array([nu, sample.std(), scale])
        for k in range(3):
            step = np.zeros(3)
            step[k] = 1e-5 * unit[k]
            up, down = np.array([nu, location, scale]) + step, [nu, location, scale] - step
            slope = stats.t.logpdf(sample, *up).sum() - stats.t.logpdf(sample, *down).sum()
            assert abs(slope) / 2e-5 < 1e-3


@pytest.mark.parametrize("nu", [3.0, 5.0, 20.0])
def test_information(nu):
    """Fisher's information is the integral of the squared slopes of scipy's likelihood."""
    from scipy import integrate, stats

    def slopes(x):
        steps = np.diag([1e-4, 1e-4, 1e-4 * nu])
        at = np.array([0.0, 1.5, nu])
        return [
            (
                stats.t.logpdf(x, (at + s)[2], (at + s)[0], (at + s)[1])
                - stats.t.logpdf(x, (at - s)[2], (at - s)[0], (at - s)[1])
            )
            / (2.0 * s.sum())
            for s in steps
        ]

    x = np.tan(np.linspace(-math.pi / 2, math.pi / 2, 4003)[1:-1])
    g = np.array(slopes(x))
    density = stats.t.pdf(x, nu, 0.0, 1.5) * (1.0 + x * x)
    expected = [[integrate.simpson(a * b * density, dx=math.pi / 4002) for b in g] for a in g]
    np.testing.assert_allclose(student_information(nu, 1.5), expected, rtol=2e-4, atol=2e-6)
