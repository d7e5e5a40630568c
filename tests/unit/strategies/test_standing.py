"""The vote of the policy: what an account of its own holds, and nothing that came later."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings, compute, fingerprint
from trading.models.base import ModelCard
from trading.models.inference import TrainedModel, load
from trading.models.reinforcement import Policy
from trading.models.rl_env import Account
from trading.strategies.base import AgentSettings, Inputs
from trading.strategies.catalog import AGENTS

FEATURES = FeatureSettings()
NAMES = ("return_1", "rsi", "volatility_short")
VOTES = AGENTS["dqn"].votes


def _model(edge: float = 1.0) -> TrainedModel:
    """Return a policy of random weights, taught through 2006."""
    rng = np.random.default_rng(2)
    widths = (len(NAMES) + 2, 16, 2)
    policy = Policy(
        mean=np.array([0.0, 50.0, 0.02], dtype=np.float32),
        scale=np.array([0.02, 15.0, 0.01], dtype=np.float32),
        clip=5.0,
        unit=0.1,
        edge=edge,
        account=Account(cash=1_000_000_000, participation_bps=1_000),
        layers=tuple(
            (rng.standard_normal((a, b)).astype(np.float32), np.zeros(b, dtype=np.float32))
            for a, b in pairwise(widths)
        ),
    )
    card = ModelCard(
        name="dqn-us", family="dqn", market="us", window=1, feature_names=NAMES,
        feature_fingerprint=fingerprint(FEATURES), horizon_sessions=20, rank_min_names=5,
        trained_through=date(2006, 12, 29), forecast_scale=0.2, long_hits=1.0, long_count=2.0,
        short_hits=0.0, short_count=0.0, rank_ic=0.0, rank_ic_t=0.0, rank_ic_sessions=100,
        rows=1000, seed=7, dataset_hash="", configuration_hash="", code_version="",
    )  # fmt: skip
    return TrainedModel(card=card, fitted=policy)


def _inputs(panel, model) -> Inputs:
    return Inputs(bars=Bars(panel), features=FEATURES, models={"dqn": model} if model else {})


@pytest.fixture(scope="module")
def panel(embedded_panels):
    return embedded_panels[1].until(2000)


@pytest.fixture(scope="module")
def votes(panel):
    return VOTES(_inputs(panel, _model()), AgentSettings())


def test_it_votes_for_what_it_holds(panel, votes):
    """From the end of training on: 0 in cash, up to 1 while holding; abstains before."""
    start = int(np.searchsorted(panel.sessions, np.datetime64("2006-12-29")))
    said = votes[start:]

    assert np.isnan(votes[:start]).all()
    assert np.isfinite(said[:, [0, 2, 3, 4]]).all()
    assert np.isnan(said[:, 1]).all(), "FB does not trade yet"
    assert 0.1 < np.mean(said[:, [0, 2, 3, 4]] > 0) < 0.9
    assert (np.nanmin(said), np.nanmax(said)) == (0.0, 1.0)


def test_later_rows_change_nothing(panel, votes):
    """Cutting the panel anywhere leaves every earlier vote as it was, to the bit."""
    for n in (1999, 1900, 1850):
        cut = VOTES(_inputs(panel.until(n), _model()), AgentSettings())
        np.testing.assert_array_equal(cut, votes[:n])


def test_an_account_remembers(panel, votes):
    """A vote hangs on what was bought before: begun later, the account says something else."""
    model = _model()
    later = TrainedModel(
        card=replace(model.card, trained_through=date(2007, 6, 1)), fitted=model.fitted
    )
    start = int(np.searchsorted(panel.sessions, np.datetime64("2007-06-01")))

    fresh = VOTES(_inputs(panel, later), AgentSettings())

    assert np.isnan(fresh[:start]).all()
    assert not np.array_equal(fresh[start:], votes[start:], equal_nan=True)


def test_first_vote_is_the_forecast(panel, votes):
    """The first day's account is in cash: its vote is the policy's forecast over the scale."""
    model = _model()
    start = int(np.searchsorted(panel.sessions, np.datetime64("2006-12-29")))
    x = compute(Bars(panel), FEATURES).select(NAMES)[start, [0, 2, 3, 4]]

    expected = np.clip(model.predict(x) / 0.2, 0.0, 1.0)

    np.testing.assert_allclose(votes[start, [0, 2, 3, 4]], expected, atol=1e-6)


def test_it_abstains(panel):
    """Without a champion, after the panel, and when validation showed no gain."""
    late = _model()
    late = TrainedModel(
        card=replace(late.card, trained_through=date(2020, 1, 2)), fitted=late.fitted
    )

    for model in (None, late, _model(edge=0.0)):
        assert np.isnan(VOTES(_inputs(panel, model), AgentSettings())).all()


def test_a_saved_policy_votes_the_same(panel, votes, tmp_path):
    """Read from its files it says the same; other features are refused."""
    _model().save(tmp_path)

    np.testing.assert_array_equal(VOTES(_inputs(panel, load(tmp_path)), AgentSettings()), votes)

    inputs = replace(_inputs(panel, _model()), features=FeatureSettings(rsi_window=15))
    with pytest.raises(ModelError, match="지문"):
        VOTES(inputs, AgentSettings())
