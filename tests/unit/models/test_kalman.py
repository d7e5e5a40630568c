"""The filtered hedge ratio against statsmodels, pykalman and the Nile."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from pykalman import KalmanFilter
from statsmodels.tsa.statespace.mlemodel import MLEModel

from trading.errors import MissingDataError
from trading.models import kalman
from trading.models.kalman import Noise, Prior

BARS = 300
NOISE = Noise(beta=2e-4, alpha=3e-5, observation=4e-4)


@pytest.fixture(scope="module")
def legs(embedded_panels):
    """Log closes of MSFT and, less its mean, IBM from 2006 on."""
    panel = embedded_panels[1]
    rows = slice(1500, 1500 + BARS)
    y, x = (np.log(panel.close[rows, panel.symbols.index(name)]) for name in ("MSFT", "IBM"))
    return y, x - x.mean()


@pytest.fixture(scope="module")
def nile():
    """Annual flow of the Nile, 1871-1970 (statsmodels)."""
    return sm.datasets.nile.load_pandas().data["volume"].to_numpy(np.float64)


def reference(y, x, noise, prior):
    """The same model in statsmodels."""
    model = MLEModel(y, k_states=2)
    model["design"] = np.column_stack([x, np.ones_like(x)])[:, None, :].transpose(1, 2, 0)
    model["transition"] = model["selection"] = np.eye(2)
    model["state_cov"] = np.diag([noise.beta, noise.alpha])
    model["obs_cov"] = np.array([[noise.observation]])
    if prior is kalman.UNKNOWN:
        model.ssm.initialize_diffuse()
    else:
        first, between, second = prior.covariance
        covariance = np.array([[first, between], [between, second]])
        model.ssm.initialize_known(np.array(prior.mean), covariance)
    return model.ssm.filter()


PRIORS = {
    "diffuse": kalman.UNKNOWN,
    "unit": Prior(covariance=(1.0, 0.0, 1.0)),
    "informed": Prior(mean=(0.5, 3.0), covariance=(0.2, -0.1, 0.3)),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_equals_statsmodels(legs, prior):
    """States, innovations, their variances and the likelihood, to 1e-10, from every start."""
    y, x = legs

    got = kalman.hedge_filter(y, x, NOISE, prior)
    want = reference(y, x, NOISE, prior)

    np.testing.assert_allclose(got.states, want.filtered_state.T, rtol=1e-10, atol=1e-10)
    assert got.log_likelihood == pytest.approx(want.llf, abs=1e-8)
    known = np.isfinite(got.innovations)
    assert known[2:].all()
    np.testing.assert_allclose(
        got.innovations[known], want.forecasts_error[0, known], rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(
        got.variances[known], want.forecasts_error_cov[0, 0, known], rtol=1e-10
    )


def test_missing_observations_equal_statsmodels(legs):
    """A halted leg is no observation: the states wait, their variance grows."""
    y = legs[0].copy()
    y[[0, 1, 40, 41, 42, 299]] = np.nan

    got = kalman.hedge_filter(y, legs[1], NOISE, PRIORS["unit"])
    want = reference(y, legs[1], NOISE, PRIORS["unit"])

    np.testing.assert_allclose(got.states, want.filtered_state.T, rtol=1e-10, atol=1e-12)
    assert got.log_likelihood == pytest.approx(want.llf, abs=1e-8)
    assert np.isnan(got.z()[[0, 40, 299]]).all()
    np.testing.assert_array_equal(got.states[40], got.states[39])
    gone = kalman.hedge_filter(legs[0], np.where(np.isnan(y), np.nan, legs[1]), NOISE)
    also = kalman.hedge_filter(y, legs[1], NOISE)
    np.testing.assert_array_equal(gone.states, also.states)


def test_equals_pykalman(legs):
    """The third implementation agrees too."""
    y, x = legs
    prior = PRIORS["informed"]
    first, between, second = prior.covariance
    model = KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.column_stack([x, np.ones_like(x)])[:, None, :],
        initial_state_mean=np.array(prior.mean),
        initial_state_covariance=np.array([[first, between], [between, second]]),
        transition_covariance=np.diag([NOISE.beta, NOISE.alpha]),
        observation_covariance=np.array([[NOISE.observation]]),
    )

    got = kalman.hedge_filter(y, x, NOISE, prior)

    np.testing.assert_allclose(got.states, model.filter(y)[0], rtol=1e-10, atol=1e-10)


def test_nile(nile):
    """Durbin and Koopman's local level: the likelihood at their variances, 15099 and 1469.1.

    -632.54 is that of a start of variance 1e6 whose first observation is not counted (R,
    statsmodels); the exact diffuse one counts the constant of the first as well.
    """
    nothing = np.zeros_like(nile)
    noise = Noise(beta=0.0, alpha=1469.1, observation=15099.0)

    wide = kalman.hedge_filter(nile, nothing, noise, Prior(covariance=(0.0, 0.0, 1e6)))
    exact = kalman.hedge_filter(nile, nothing, noise)

    assert round(wide.log_likelihood_after(1), 2) == -632.54
    model = sm.tsa.UnobservedComponents(nile, "llevel", use_exact_diffuse=True)
    assert exact.log_likelihood == pytest.approx(model.loglike([15099.0, 1469.1]), abs=1e-8)
    assert exact.log_likelihood_after(1) - 0.5 * math.log(2 * math.pi) == pytest.approx(
        exact.log_likelihood, abs=1e-9
    )
    assert np.isnan(exact.z()[0])


def test_nile_is_fitted(nile):
    """The likelihood of the fit is the published optimum's, and no worse than statsmodels' own."""
    nothing = np.zeros_like(nile)

    noise = kalman.fit_ml(nile, nothing)

    got = kalman.hedge_filter(nile, nothing, noise).log_likelihood
    model = sm.tsa.UnobservedComponents(nile, "llevel", use_exact_diffuse=True)
    assert got >= model.fit(disp=0).llf - 1e-6
    assert got == pytest.approx(model.loglike([15099.0, 1469.1]), abs=1e-4)
    assert noise.beta == 0.0
    assert noise.observation == pytest.approx(15099, rel=0.01)
    assert noise.alpha == pytest.approx(1469.1, rel=0.03)


def test_fit_is_a_maximum(legs):
    """No small step from the fit finds a higher likelihood, and scores have unit variance."""
    y, x = legs

    noise = kalman.fit_ml(y, x)

    best = kalman.hedge_filter(y, x, noise)
    for step in (0.97, 1.03):
        for field in ("beta", "alpha", "observation"):
            values = {f: getattr(noise, f) for f in ("beta", "alpha", "observation")}
            values[field] *= step
            assert kalman.hedge_filter(y, x, Noise(**values)).log_likelihood <= (
                best.log_likelihood + 1e-6
            )
    # Closed form: the best observation variance makes the mean square of the scores 1.
    assert np.nanmean(best.z() ** 2) == pytest.approx(1.0, abs=1e-9)
    assert kalman.fit_ml(y, x) == noise


def test_fit_finds_what_was_planted():
    """Variances that a seeded simulation used come back within their sampling error."""
    rng = np.random.default_rng(4)
    n = 400
    x = rng.standard_normal(n)
    beta = 1.0 + np.cumsum(rng.standard_normal(n) * 0.1)
    alpha = np.cumsum(rng.standard_normal(n) * 0.2)
    y = beta * x + alpha + rng.standard_normal(n) * 0.5

    noise = kalman.fit_ml(y, x)

    assert noise.observation == pytest.approx(0.25, rel=0.35)
    assert noise.beta == pytest.approx(0.01, rel=0.8)
    assert noise.alpha == pytest.approx(0.04, rel=0.6)


def test_em_climbs_towards_the_maximum(legs):
    """Each iteration raises the likelihood; from near the maximum it arrives there."""
    y, x = legs[0][:120], legs[1][:120]
    prior = kalman.wide_prior(y, x)

    def likelihood(noise):
        return kalman.hedge_filter(y, x, noise, prior).log_likelihood

    best = kalman.fit_ml(y, x)
    start = Noise(beta=best.beta + 1e-5, alpha=best.alpha * 2, observation=best.observation * 2)
    path = [likelihood(start)]
    for _ in range(3):
        start = kalman.fit_em(y, x, start=start, iterations=2)
        path.append(likelihood(start))

    assert (np.diff(path) > 0).all()
    assert path[-1] == pytest.approx(likelihood(best), abs=1.5)
    assert path[-1] <= likelihood(best) + 0.5


def test_em_step_is_pykalmans(legs):
    """One iteration gives the variances of pykalman's, its matrix cut to the diagonal."""
    y, x = legs[0][:80], legs[1][:80]
    prior = kalman.wide_prior(y, x)
    model = KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.column_stack([x, np.ones_like(x)])[:, None, :],
        initial_state_mean=np.array(prior.mean),
        initial_state_covariance=np.diag([prior.covariance[0], prior.covariance[2]]),
        transition_covariance=np.diag([NOISE.beta, NOISE.alpha]),
        observation_covariance=np.array([[NOISE.observation]]),
        em_vars=["transition_covariance", "observation_covariance"],
    ).em(y, n_iter=1)

    got = kalman.fit_em(y, x, start=NOISE, iterations=1)

    steps = np.diag(model.transition_covariance)
    assert (got.beta, got.alpha) == (pytest.approx(steps[0]), pytest.approx(steps[1]))
    assert got.observation == pytest.approx(float(model.observation_covariance.item()))


def test_later_rows_change_nothing(legs):
    """To the bit: the filter at a row knows nothing of what comes after."""
    y, x = legs
    whole = kalman.hedge_filter(y, x, NOISE)
    for cut in (3, 77, 240):
        part = kalman.hedge_filter(y[:cut], x[:cut], NOISE)
        np.testing.assert_array_equal(part.states, whole.states[:cut])
        np.testing.assert_array_equal(part.z(), whole.z()[:cut])


def test_equal_first_regressors_do_not_break_the_start(legs):
    """Two bars with the same x say nothing of beta: the start stays diffuse until one differs."""
    y, x = legs[0], legs[1].copy()
    x[1] = x[2] = x[0]

    got = kalman.hedge_filter(y, x, NOISE)
    want = reference(y, x, NOISE, kalman.UNKNOWN)

    assert np.flatnonzero(np.isnan(got.z())).tolist() == [0, 3]
    np.testing.assert_allclose(got.states[3:], want.filtered_state.T[3:], rtol=1e-8, atol=1e-8)
    assert got.log_likelihood == pytest.approx(want.llf, abs=1e-6)


def test_too_little_to_fit():
    """Nine observations, or none that vary, are an error; an x that never moves is not."""
    y = np.linspace(0.0, 1.0, 30) ** 2
    with pytest.raises(MissingDataError, match="받은 것 9개"):
        kalman.fit_ml(y[:9], y[:9])
    with pytest.raises(MissingDataError):
        kalman.fit_em(np.ones(30), y, start=NOISE, iterations=1)
    assert kalman.fit_ml(y, np.zeros(30)).beta == 0.0
    assert len(kalman.hedge_filter(y[:0], y[:0], NOISE).z()) == 0


def test_compiled_equals_interpreted(legs):
    """The machine code gives what the Python text says."""
    y, x = (leg[:60].copy() for leg in legs)
    plain = getattr(kalman._filter, "py_func", kalman._filter)
    outputs = []
    for function in (kalman._filter, plain):
        scratch = np.empty((60, 2)), np.empty(60), np.empty(60)
        sums = function(y, x, 1e-4, 1e-5, 1e-3, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, *scratch)
        outputs.append((*scratch, np.array(sums)))
    for compiled, interpreted in zip(*outputs, strict=True):
        np.testing.assert_allclose(compiled, interpreted, rtol=1e-9)
