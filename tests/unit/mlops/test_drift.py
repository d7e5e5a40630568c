"""Drift: nothing is found where nothing is, a real change is, and chances are what they are said."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ks_2samp

from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings, compute
from trading.mlops import dataset, drift
from trading.mlops.drift import Adwin, Profile, kept, ks, psi, realized, rises
from trading.models.base import DriftSettings, ModelSettings
from trading.models.validation import newey_west_t

SETTINGS = DriftSettings()


@pytest.fixture(scope="module")
def taught(embedded_panels):
    """Features of the recorded names, those up to the end of 2006 as a model is taught them."""
    panel = embedded_panels[1]
    end = int(np.searchsorted(panel.sessions, np.datetime64("2006-12-29")))
    data = dataset.build(panel.until(end), FeatureSettings(), ModelSettings())
    values = compute(Bars(panel), FeatureSettings()).select(data.feature_names)

    def recent(day):
        """Rows of the last 60 sessions before a day, as far apart as those of the sample."""
        at = int(np.searchsorted(panel.sessions, np.datetime64(day)))
        rows = slice(at - 60, at)
        return values[rows][::-5][panel.tradable[rows][::-5]]

    return data, Profile.of(data.x, data.row, window=60), recent


def test_index_of_two_histograms():
    """PSI by hand: four even bins against 10, 20, 30, 40 %; the same histogram is at 0."""
    even, skewed = np.array([25, 25, 25, 25]), np.array([10, 20, 30, 40])
    by_hand = sum((p - 0.25) * math.log(p / 0.25) for p in (0.1, 0.2, 0.3, 0.4))

    assert psi(skewed, even) == pytest.approx(by_hand)
    assert psi(even, even) == 0.0


def test_empty_bins():
    """An empty bin counts as half a row, one empty on both sides as nothing, no rows as unknown."""
    one, other = np.array([20, 0, 0]), np.array([10, 10, 0])
    half = (1.0 - 0.5) * math.log(1.0 / 0.5) + (0.5 / 20 - 0.5) * math.log(0.5 / 20 / 0.5)

    assert psi(one, other) == pytest.approx(half)
    assert math.isnan(psi(np.zeros(3), other))
    assert math.isnan(ks(np.zeros(3), other))


def test_distance_is_that_of_scipy(taught):
    """Over percentiles the Kolmogorov distance is scipy's of the rows, at most one bin below."""
    data, profile, recent = taught
    now = recent("2008-12-23")
    found = profile.compare(now, SETTINGS)

    for i in range(len(data.feature_names)):
        exact = ks_2samp(now[:, i], data.x[:, i]).statistic
        assert exact - 0.01 - 1.0 / len(data.x) <= found.ks[i] <= exact + 1e-12


def test_values_that_are_missing(taught):
    """NaN is left out and counted; a column with too few values is unknown and alarms nobody."""
    _, profile, recent = taught
    now = recent("2006-12-01")
    full = profile.compare(now, SETTINGS)
    holes = now.copy()
    holes[::2, 0] = np.nan
    holes[10:, 1] = np.nan
    found = profile.compare(holes, SETTINGS)

    assert found.missing[0] == pytest.approx(0.5, abs=0.02)
    assert np.isfinite(found.score[0])
    assert np.isnan([found.psi[1], found.ks[1], found.score[1], found.outside[1]]).all()
    np.testing.assert_array_equal(found.score[2:], full.score[2:])
    assert not profile.compare(np.full_like(now, np.nan), SETTINGS).is_known


def test_the_same_distribution_alarms_nobody(taught):
    """Rows drawn from the sample itself are no drift: 0 of 200 draws, over all features."""
    data, profile, _ = taught
    rng = np.random.default_rng(7)

    alarms = [
        profile.compare(data.x[rng.integers(0, len(data.x), 48)], SETTINGS).has_drifted
        for _ in range(200)
    ]

    assert not any(alarms)


def test_windows_of_the_sample_alarm_at_their_rate(taught):
    """By its own measure one window in twenty of the sample is too far, all features together."""
    _, profile, recent = taught
    scores = np.nanmax(profile._score(profile.window_psi, profile.window_ks), axis=1)
    limit = profile.compare(recent("2006-12-01"), SETTINGS).limit

    assert len(scores) > 40
    assert np.mean(scores > limit) <= SETTINGS.alarm_rate
    assert np.mean(scores >= limit) > SETTINGS.alarm_rate


def test_the_crisis_of_2008_is_found(taught):
    """What a model of 2001-2006 was taught is not what came in December 2008; 2007 began as usual."""
    data, profile, recent = taught
    crisis, calm = (profile.compare(recent(day), SETTINGS) for day in ("2008-12-23", "2007-03-01"))
    volatile = [i for i, name in enumerate(data.feature_names) if name.startswith("volatility")]

    assert crisis.has_drifted
    assert crisis.score[volatile].max() > crisis.limit
    assert crisis.outside[data.feature_names.index("volatility_long")] > 0.4
    assert not calm.has_drifted


def test_a_short_sample_says_nothing(taught):
    """With fewer windows than asked for there is no limit, and no alarm."""
    data, _, recent = taught
    few = data.row < np.unique(data.row)[40]
    profile = Profile.of(data.x[few], data.row[few], window=60)
    found = profile.compare(recent("2008-12-23"), SETTINGS)

    assert np.isfinite(found.farthest)
    assert not found.is_known
    assert not found.has_drifted


def test_a_constant_has_no_distance(taught):
    """A column that never varied says nothing of drift, but shows when it leaves its one value."""
    data, _, recent = taught
    still = np.concatenate([data.x, np.zeros((len(data.x), 1))], axis=1)
    now = recent("2007-03-01")
    found = Profile.of(still, data.row, window=60).compare(
        np.concatenate([now, np.ones((len(now), 1))], axis=1), SETTINGS
    )

    assert math.isnan(found.score[-1])
    assert found.outside[-1] == 1.0
    assert found.is_known


def test_a_profile_that_was_kept(taught):
    """What is read again compares as what was written."""
    _, profile, recent = taught
    again = Profile.from_tensors(profile.tensors("features"), "features")

    np.testing.assert_array_equal(
        again.compare(recent("2008-12-23"), SETTINGS).score,
        profile.compare(recent("2008-12-23"), SETTINGS).score,
    )


@pytest.mark.parametrize(
    ("delta", "cuts", "width", "mean"),
    [
        (0.002, [(948, 821), (2081, 1005), (2483, 274)], 785, 0.10345669492558482),
        (0.1, [(511, 448), (851, 276), (2011, 648), (2190, 147), (2401, 179)], 867,
         0.10281105555637493),
    ],
)  # fmt: skip
def test_adwin_is_that_of_river(embedded_panels, delta, cuts, width, mean):
    """Cuts, widths and means on MSFT's absolute daily moves are those of river 0.26.1.

    ``ADWIN(delta, clock=1, grace_period=0)``, which begins anew after each cut.
    """
    panel = embedded_panels[1]
    close = panel.close[:, panel.symbols.index("MSFT")]
    moves = np.minimum(np.abs(np.diff(np.log(close))) / 0.1, 1.0)
    window, found = Adwin(delta), []
    for i, value in enumerate(moves):
        if window.update(float(value)):
            found.append((i, window.width))
            window = Adwin(delta)

    assert found == cuts
    assert window.width == width
    assert window.mean == pytest.approx(mean, abs=1e-12)


def test_adwin_finds_a_planted_change():
    """Silent for a thousand errors around 0.3, cut within 250 of those around 0.6, mean near them."""
    rng = np.random.default_rng(3)
    before, after = rng.random(1000) < 0.3, rng.random(1000) < 0.6
    window = Adwin(0.002)

    assert not any(window.update(float(x)) for x in before)
    cut = next(i for i, x in enumerate(after) if window.update(float(x)))
    for x in after[cut + 1 :]:
        window.update(float(x))

    assert cut < 250
    assert window.mean == pytest.approx(0.6, abs=0.05)


def test_adwin_is_silent_without_a_change():
    """Streams of one mean are cut at most as often as promised: delta over a hundred streams."""
    rng = np.random.default_rng(5)
    cut = 0
    for _ in range(100):
        window = Adwin(0.05)
        cut += any(window.update(float(x)) for x in rng.random(200))

    assert cut <= 5


def test_only_what_rises_while_live_counts():
    """A change inside the walk-forward, or to the better, is none; a live one to the worse is."""
    rng = np.random.default_rng(11)
    good, bad = ((rng.random(400) < p).astype(float) for p in (0.2, 0.7))
    with_hole = np.where(np.arange(400) == 5, np.nan, bad)

    assert len(rises(np.concatenate([good, bad]), bad[::-1], delta=0.002)) == 0
    assert len(rises(bad, good, delta=0.002)) == 0
    assert 5 < rises(good, with_hole, delta=0.002)[0] < 100
    assert len(rises(good[:19], bad, delta=0.002)) == 0


def test_a_narrow_error_that_rises_is_found():
    """Errors within a twentieth of the range: one that rises by its own deviation is found."""
    rng = np.random.default_rng(23)
    usual, worse = rng.normal(0.48, 0.05, 200), rng.normal(0.53, 0.05, 250)

    assert 20 < rises(usual, worse, delta=0.002)[0] < 200
    assert len(rises(usual, rng.normal(0.48, 0.05, 250), delta=0.002)) == 0


def test_realized_interval():
    """Mean and Newey-West interval; unknown while there are fewer than four horizons."""
    rng = np.random.default_rng(2)
    ic = rng.normal(0.05, 0.2, 200)
    found = realized(np.append(ic, np.nan), horizon=20)
    t = newey_west_t(ic, lags=19)

    assert found.sessions == 200
    assert found.mean == pytest.approx(ic.mean())
    assert found.mean / ((found.high - found.low) / 2 / 1.959964) == pytest.approx(t)
    short = realized(ic[:79], horizon=20)
    assert np.isfinite(short.mean)
    assert math.isnan(short.low)
    assert realized(np.array([np.nan]), horizon=20).sessions == 0


def overlapping(rng, mean, spread, sessions=1000, horizon=20):
    """Session figures whose outcomes overlap by ``horizon``: noise for a control."""
    noise = rng.normal(0.0, 1.0, sessions + horizon - 1)
    smooth = np.convolve(noise, np.ones(horizon) / math.sqrt(horizon), "valid")
    return mean + spread * smooth


def test_who_keeps_the_promise_stays():
    """Looked at after every block for four years, at most one in twenty of those is refused."""
    rng = np.random.default_rng(13)
    refused = sum(
        kept(overlapping(rng, 0.03, 0.1), promise=0.03, spread=0.1, horizon=20).p <= 0.05
        for _ in range(200)
    )

    assert refused <= 10


def test_who_breaks_the_promise_goes():
    """A rank IC of -0.06 for a promised 0.03 is refused in four years nine times out of ten."""
    rng = np.random.default_rng(17)
    refused = sum(
        kept(overlapping(rng, -0.06, 0.1), promise=0.03, spread=0.1, horizon=20).p <= 0.05
        for _ in range(200)
    )

    assert refused >= 180


def test_evidence_only_grows():
    """A p-value never rises with more sessions, and nothing is known before the first outcomes."""
    rng = np.random.default_rng(19)
    ic = overlapping(rng, -0.1, 0.1)
    p = [kept(ic[:n], promise=0.03, spread=0.1, horizon=20).p for n in range(0, 1000, 50)]

    assert p[0] == 1.0
    assert all(a >= b for a, b in pairwise(p))
    assert kept(ic[:19], promise=0.03, spread=0.1, horizon=20).blocks == 0
    assert kept(ic, promise=0.03, spread=math.nan, horizon=20).p == 1.0


def test_error_of_a_session():
    """The right order is no error, the reverse the whole, too few names unknown."""
    forecast = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, np.nan, 3.0]])
    earned = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])

    np.testing.assert_allclose(drift.errors(forecast, earned, min_names=3), [0.0, 1.0, np.nan])
