import numpy as np
import pytest

from trading.watch.leak import trend


def closes() -> np.ndarray:
    """Recorded closes of IBM: a series whose neighbours are alike, as memory is."""
    from bokeh_sampledata import stocks

    return np.array(stocks.IBM["close"][:400])


def test_slope_and_error_are_those_of_statsmodels():
    """Least squares with Newey-West errors, as statsmodels computes them."""
    import statsmodels.api as sm

    values = closes()
    seconds = 10.0 * np.arange(len(values))
    oracle = sm.OLS(values, sm.add_constant(seconds / 3600.0)).fit(
        cov_type="HAC", cov_kwds={"maxlags": int(np.sqrt(len(values))), "use_correction": False}
    )

    found = trend(seconds, values)

    assert found.slope == pytest.approx(oracle.params[1], rel=1e-9)
    assert found.error == pytest.approx(oracle.bse[1], rel=1e-9)
    assert found.samples == 400
    assert found.hours == pytest.approx(3990 / 3600)


def test_growth_counts_when_it_is_large_and_certain():
    """What grows steadily is a leak; the same within its own noise, or too little, is none."""
    seconds = 10.0 * np.arange(400)
    noise = closes() - closes().mean()

    steady = trend(seconds, 800.0 + 50.0 * seconds / 3600.0)
    noisy = trend(seconds, 50.0 * seconds / 3600.0 + 100.0 * noise)

    assert steady.slope == pytest.approx(50.0)
    assert steady.grows(beyond=20.0, errors=3.0)
    assert not steady.grows(beyond=60.0, errors=3.0)
    assert not noisy.grows(beyond=20.0, errors=3.0)


def test_what_is_loaded_once_is_no_leak():
    """A step after which nothing grows is none, wherever it lies; one every ten minutes is."""
    import statsmodels.api as sm

    seconds = 10.0 * np.arange(492)
    minutes = seconds / 60.0

    for at in (12.0, 40.0, 70.0):  # the watch of an opening market: 235 MB, then 294
        once = trend(seconds, np.where(minutes < at, 235.0, 294.0))
        line = sm.OLS(np.where(minutes < at, 235.0, 294.0), sm.add_constant(seconds / 3600.0)).fit()
        assert once.slope == pytest.approx(line.params[1]) and once.slope > 20.0
        assert not once.grows(beyond=20.0, errors=3.0)
    again = trend(seconds, 235.0 + 10.0 * np.floor(minutes / 10.0))
    assert again.lesser == pytest.approx(60.0, rel=0.1)
    assert again.grows(beyond=20.0, errors=3.0)


def test_a_slope_needs_time():
    """Two samples, or three at once, tell nothing."""
    with pytest.raises(ValueError):
        trend(np.array([0.0, 10.0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError):
        trend(np.zeros(3), np.arange(3.0))
