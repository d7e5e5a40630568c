"""Networks over windows: what they are taught by, when they stop, how sure they are."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from trading.errors import ModelError
from trading.features.labels import forward_returns
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.mlops.train import train
from trading.models import deep, networks
from trading.models.base import (
    LstmSettings,
    ModelSettings,
    TransformerSettings,
    ValidationSettings,
)
from trading.strategies.catalog import StrategySettings
from trading.strategies.evaluation import evaluate

# A year of training in interpreted loops is too long.
pytestmark = pytest.mark.compiled_only

SMALL = {"window": 8, "epochs": 2, "learning_rate": 5e-3, "dropout": 0.0}
LSTM = deep.Lstm(LstmSettings(hidden=8, layers=1, **SMALL))
TRANSFORMER = deep.Transformer(
    TransformerSettings(d_model=8, d_model_cuda=8, heads=2, layers=1, feedforward=2, **SMALL)
)
BOTH = pytest.mark.parametrize("learner", [LSTM, TRANSFORMER], ids=lambda one: one.family)


def changed(learner, **settings):
    """Return the learner with other settings."""
    return replace(learner, settings=learner.settings.model_copy(update=settings))


@pytest.fixture(scope="module")
def data(embedded_panels):
    return datasets.build(embedded_panels[1], FeatureSettings(), ModelSettings(), window=8)


@pytest.fixture(scope="module")
def early(data):
    """Return the rows of the first years."""
    return np.flatnonzero(data.row < np.quantile(data.row, 0.6))


@BOTH
def test_the_same_seed_the_same_weights(data, early, learner):
    """Twice from one seed: equal to the bit, whatever torch drew in between; another differs."""
    first = learner.fit(data, early, seed=7).tensors
    torch.rand(7)
    state = torch.get_rng_state()
    again = learner.fit(data, early, seed=7).tensors
    other = learner.fit(data, early, seed=8).tensors

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["head"], other["head"])
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_have_the_returns_of_shorter_horizons(embedded_panels, data):
    """``path`` is the label of 5 and 10 sessions, known before the label of 20."""
    panel = embedded_panels[1]

    assert data.steps == (5, 10)
    for step, column in zip(data.steps, data.path.T, strict=True):
        expected = forward_returns(panel, step).excess[data.row, data.column]
        np.testing.assert_array_equal(column, expected)


def test_scales_are_measured_on_what_is_taught(data, early):
    """The sessions that tell when to stop move neither features nor targets; nor do later rows."""
    course = deep.Course.of(data, early, LSTM.settings)
    x, excess = data.x.copy(), data.excess.copy()
    unseen = np.setdiff1d(np.arange(len(data.row)), course.taught)
    x[unseen] *= 3.0
    excess[unseen] += 1.0

    other = deep.Course.of(replace(data, x=x, excess=excess), early, LSTM.settings)

    for name, values in course.scales.items():
        np.testing.assert_array_equal(values, other.scales[name])
    now = data.x[course.taught, -1]
    batch, wanted, known = course.batch(torch.from_numpy(course.taught))
    expected = (now - now.mean(axis=0)) / now.std(axis=0)
    np.testing.assert_allclose(batch[:, -1].numpy(), expected.clip(-5, 5), atol=2e-4)
    np.testing.assert_allclose(wanted.numpy().std(axis=0), 1.0, atol=1e-5)
    assert known.numpy().all()
    gap = data.horizon + LSTM.window - 1
    assert data.row[course.taught].max() + gap < data.row[course.held].min()


def test_training_goes_back_to_where_the_held_loss_was_least(data, early):
    """What is kept is the epoch with the least held loss, and ``patience`` later it ends."""
    settings = LSTM.settings.model_copy(update={"epochs": 12, "patience": 2, "learning_rate": 0.03})
    with networks.deterministic(7):
        course = deep.Course.of(data, early, settings)
        network = networks.recurrent(data.x.shape[2], settings, course.outputs)
        deep.teach(network, networks.recur, course, "")
        taught, held = torch.from_numpy(course.taught), torch.from_numpy(course.held)
        kept = deep._held_loss(network, networks.recur, course, held)
    with networks.deterministic(7):
        network = networks.recurrent(data.x.shape[2], settings, course.outputs)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
        losses = []
        for _ in range(settings.epochs):
            deep.one_epoch(network, networks.recur, course, optimizer, taught)
            losses.append(deep._held_loss(network, networks.recur, course, held))

    waits = np.subtract(range(settings.epochs), [np.argmin(losses[: i + 1]) for i in range(12)])
    stopped = int(np.argmax(waits >= 2)) if (waits >= 2).any() else settings.epochs - 1
    assert stopped < settings.epochs - 1
    assert kept == pytest.approx(min(losses[: stopped + 1]), abs=1e-6)


@BOTH
def test_intervals_cover_what_they_say(data, learner):
    """Over later sessions of the recorded history 80 % intervals hold 80 % of the outcomes.

    Eras differ: tech shares of 2001 moved twice as much as those of 2005, so single years are
    further off. All of the test years together are within eight points.
    """
    hits = []
    for first, last in ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0)):
        begin, end = np.quantile(data.row, [first, last])
        train = np.flatnonzero(data.row + data.horizon + 8 < begin)
        test = np.flatnonzero((data.row >= begin) & (data.row <= end))
        mean, half = learner.fit(data, train, seed=7).forecast(data.x[test])
        outcome = np.column_stack([data.path, data.excess])[test]
        hits.append(np.abs(outcome - mean) <= half)

    assert np.concatenate(hits).mean(axis=0) == pytest.approx([0.8] * 3, abs=0.08)


@BOTH
def test_a_forecast_that_says_too_little_is_not_given(data, early, learner):
    """Below the share of its interval's half width a forecast is NaN; share 0 gives all."""
    everything = changed(learner, abstain_share=0.0).fit(data, early, seed=7)
    bold = changed(learner, abstain_share=0.1).fit(data, early, seed=7)

    mean, half = bold.forecast(data.x)
    got = bold.predict(data.x)

    assert mean.shape == (len(data.row), 3)
    np.testing.assert_array_equal(everything.predict(data.x), mean[:, -1])
    weak = np.abs(mean[:, -1]) < 0.1 * half[:, -1]
    assert 0.02 < weak.mean() < 0.98
    np.testing.assert_array_equal(np.isnan(got), weak)
    np.testing.assert_array_equal(got[~weak], mean[~weak, -1])


@BOTH
@pytest.mark.parametrize("target", ["excess", "rank"])
def test_a_planted_leak_is_found(data, early, learner, target):
    """A feature that contains the label is found, whatever is learned."""
    leak = np.broadcast_to(data.excess[:, None, None], (*data.x.shape[:2], 1))
    leaking = replace(data, x=np.concatenate([data.x, leak], axis=2).astype(np.float32))
    later = np.setdiff1d(np.arange(len(data.row)), early)
    sharp = changed(learner, target=target, epochs=12, patience=12, abstain_share=0.0)

    forecast = sharp.fit(leaking, early, seed=7).predict(leaking.x[later])

    assert np.corrcoef(forecast, data.excess[later])[0, 1] > 0.7
    # In units of a return, also where ranks were learned.
    assert 0.3 < forecast.std() / data.excess[later].std() < 2.0


@BOTH
def test_nothing_to_learn_is_one_forecast_for_all(data, early, learner):
    """A constant target is forecast for every row."""
    constant = replace(data, excess=np.zeros_like(data.excess), path=np.zeros_like(data.path))

    forecast = changed(learner, abstain_share=0.0).fit(constant, early, seed=7).predict(data.x)

    np.testing.assert_array_equal(forecast, 0.0)


@BOTH
def test_a_trained_family_votes_after_what_it_was_taught(embedded_panels, learner):
    """From panel to votes: none in sample, then one for each name that has its window."""
    raw, panel = embedded_panels
    models = ModelSettings(validation=ValidationSettings(folds=2)).model_copy(
        update={learner.family: learner.settings}
    )

    model = train(panel.until(2000), FeatureSettings(), models, family=learner.family).model
    votes = evaluate(
        panel.until(2200), raw, features=FeatureSettings(), strategies=StrategySettings(),
        models={learner.family: model}, agents=(learner.family,),
    ).evaluation.votes[:, 0]  # fmt: skip

    start = int(np.searchsorted(panel.sessions, np.datetime64(model.card.trained_through)))
    assert model.card.window == 8
    assert np.isnan(votes[:start]).all()
    assert np.isfinite(votes[start:]).mean() > 0.5
    assert np.nanmax(np.abs(votes)) <= 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU가 없음")
@BOTH
def test_a_card_gives_the_result_of_the_processor(data, early, learner):
    """The same weights at the start, the same batches: forecasts within what bfloat16 rounds."""
    here = changed(learner, device="cpu").fit(data, early, seed=7).forecast(data.x)[0]
    there = changed(learner, device="cuda").fit(data, early, seed=7).forecast(data.x)[0]

    np.testing.assert_allclose(there, here, atol=0.25 * here.std())


def test_too_few_sessions_and_a_missing_card_are_refused(data, early):
    """Both are a ``ModelError`` in Korean."""
    with pytest.raises(ModelError, match="부족"):
        LSTM.fit(data, early[:30], seed=7)
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="GPU"):
            changed(LSTM, device="cuda").fit(data, early, seed=7)


def test_a_bar_is_drawn_on_a_terminal_only(data, early, monkeypatch):
    """A terminal sees how far training is; a file sees nothing."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen, file = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    for stream in (screen, file):
        monkeypatch.setattr(sys, "stderr", stream)
        changed(LSTM, epochs=1).fit(data, early, seed=7)

    assert "LSTM 학습" in screen.getvalue()
    assert file.getvalue() == ""
