"""The controls find what is planted: each of them can fail. Who passes is in ``tests/slow``."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from trading.features.pipeline import FeatureSettings
from trading.mlops import controls
from trading.mlops import dataset as datasets
from trading.models import validation
from trading.models.base import ForestSettings, ModelSettings
from trading.models.forest import Forest

MODELS = ModelSettings(forest=ForestSettings(trees=6, max_depth=4))
SETTINGS = MODELS.validation
LEARNER = Forest(MODELS.forest)
ASKED = {"rank_min_names": 5, "seed": 7}

pytestmark = pytest.mark.compiled_only


@pytest.fixture(scope="module")
def data(embedded_panels):
    """Rows of the years in which four names or five trade."""
    whole = datasets.build(embedded_panels[1], FeatureSettings(), MODELS)
    return some(whole, np.flatnonzero(whole.row >= 1500))


@pytest.fixture(scope="module")
def windowed(data):
    """Ten sessions a row: features that drift from those of the row, as recorded ones do."""
    drift = np.linspace(0.5, 1.0, 10)[None, :, None]
    return replace(data, x=data.x[:, None, :] * drift)


def some(data, at):
    return replace(
        data, x=data.x[at], excess=data.excess[at], forward=data.forward[at], row=data.row[at],
        column=data.column[at], history=None,
    )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What was learned, made of one function of the rows asked."""

    of: object

    @property
    def tensors(self):
        return {}

    def predict(self, x):
        return self.of(x)


@dataclass(frozen=True)
class Planted:
    """A learner made of one function; what it does wrong is its point."""

    fitted: object
    family: str = "planted"
    window: int = 1

    def fit(self, data, at, *, seed):
        return Answer(self.fitted(data, at, seed))


def nearest_neighbor(data, at):
    """Return what answers with the label of the most similar row of ``at``."""
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(n_neighbors=1).fit(data.x[at], data.excess[at]).predict


def test_who_finds_what_is_there_passes(data):
    """A leak is used, noise is not: a plain line passes every control of rows without windows."""

    def line(data, at, seed):
        x = np.column_stack([np.ones(len(at)), data.x[at]])
        # On a busy machine several threads wait for each other far longer than one takes.
        with threadpool_limits(1):
            weight = np.linalg.lstsq(x, data.excess[at], rcond=1e-9)[0]
        if weight[1:].std() < 1e-9:
            weight[1:] = 0.0
        # A product over one row at a time, whatever is asked with it.
        return lambda x: np.array([np.sum(row * weight[1:]) for row in x]) + weight[0]

    found = controls.examine(Planted(line), data, SETTINGS, **ASKED)

    assert [control.sentence for control in found if not control.passed] == []
    assert {control.name for control in found} == {
        "constant", "future_rows", "inside_the_fold", "oracle", "purge", "shuffled", "noise",
    }  # fmt: skip
    for control in found:
        assert control.low <= control.value <= control.high
        assert control.sentence


def test_who_cannot_find_a_leak_fails(data):
    """A learner that looks at the first feature only does not find the oracle at the end."""
    blind = Planted(lambda data, at, seed: lambda x: x[:, 0])

    found = controls.oracle(blind, data, SETTINGS, **ASKED)

    assert not found.passed
    assert found.value < controls.NEAR


def test_who_learns_from_the_test_fails(data):
    """One who is taught every row, also those of the test, finds something in shuffled labels."""

    def everything(data, at, seed):
        return nearest_neighbor(data, np.arange(len(data.row)))

    greedy = Planted(everything)

    shuffled = controls.shuffled_labels(greedy, data, SETTINGS, **ASKED)
    noise = controls.noise_features(greedy, data, SETTINGS, **ASKED)
    inside = controls.inside_the_fold(greedy, data, SETTINGS, seed=7)

    assert not (shuffled.passed or noise.passed or inside.passed)
    assert min(shuffled.value, noise.value) > 0.9
    assert inside.value > 0


def test_who_scales_by_all_rows_fails(data):
    """Features scaled by mean and deviation of the whole history were told what came later."""

    def scaled(data, at, seed):
        mean, deviation = data.x.mean(axis=0), data.x.std(axis=0)
        return lambda x: ((x - mean) / deviation).sum(axis=1)

    assert not controls.inside_the_fold(Planted(scaled), data, SETTINGS, seed=7).passed


def test_who_scales_what_is_asked_together_fails(data):
    """A forecast over the deviation of all that are asked knows what is asked with it."""

    def relative(data, at, seed):
        return lambda x: x[:, 0] / x[:, 0].std()

    found = controls.future_rows(Planted(relative), data, SETTINGS, seed=7)

    assert not found.passed
    assert found.value > 100


def test_who_always_has_a_view_fails(data):
    """Where all labels are equal, a view is made up."""
    sure = Planted(lambda data, at, seed: lambda x: x[:, 0])

    found = controls.constant_target(sure, data, SETTINGS, **ASKED)

    assert not found.passed
    assert found.value > 0


def test_who_forgets_the_order_fails(windowed):
    """The mean of a window is the same in any order; a slope is not."""
    mean = Planted(lambda data, at, seed: lambda x: x.mean(axis=(1, 2)), window=10)
    slope = Planted(lambda data, at, seed: lambda x: x[:, -1, 0] - 2.0 * x[:, 3, 0], window=10)

    assert not controls.order_in_window(mean, windowed, SETTINGS, seed=7).passed
    assert controls.order_in_window(slope, windowed, SETTINGS, seed=7).passed


@pytest.mark.parametrize(("scheme", "gap"), [("anchored", 0), ("anchored", 10), ("rolling", 0)])
def test_a_split_that_is_not_purged_is_found(data, monkeypatch, gap, scheme):
    """With a gap shorter than the labels' overlap their memory forecasts; purged it does not."""
    settings = SETTINGS.model_copy(update={"scheme": scheme, "embargo_sessions": 0})
    sound = controls.purged(data, settings, **ASKED)
    monkeypatch.setattr(validation, "purge", lambda data, settings: gap)

    leaking = controls.purged(data, settings, **ASKED)

    assert sound.passed
    assert not leaking.passed
    assert leaking.value > leaking.high


def test_combinations_that_are_not_purged_are_found(data, monkeypatch):
    """In cross-validation, too, where what is learnt lies on either side."""
    many = SETTINGS.model_copy(update={"groups": 40, "tested_groups": 1})

    def mean_ic():
        rng = np.random.default_rng(3)
        found = [
            validation.dispersion(
                controls.remembered(data, rng), controls.Memory(), many, **ASKED
            ).mean()
            for _ in range(30)
        ]
        return np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))

    sound, error = mean_ic()
    monkeypatch.setattr(validation, "purge", lambda data, settings: 0)
    leaking, _ = mean_ic()

    assert abs(sound) < 3 * error
    assert leaking > sound + 3 * error


def test_too_little_to_tell_does_not_pass(data):
    """Where thirty draws leave the mean too open, the control says so; fewer are refused."""
    few = some(data, np.flatnonzero(data.row < data.row.min() + 100))

    found = controls.shuffled_labels(
        LEARNER, few, SETTINGS.model_copy(update={"folds": 1}), **ASKED
    )

    assert not found.passed
    assert found.high > 0.05
    with pytest.raises(ValueError, match="30 draws"):
        controls.noise_features(LEARNER, data, SETTINGS, **ASKED, draws=29)
