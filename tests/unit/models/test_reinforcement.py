"""The policy: saved and read, standardized, and what a learner makes of known worlds."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models.base import History, ModelSettings, PolicySettings
from trading.models.dqn import DqnSettings, values
from trading.models.reinforcement import Dqn, Policy
from trading.models.rl_env import Account


def random_policy(n_features: int, *, edge: float = 1.0, seed: int = 0) -> Policy:
    """Return a policy of random weights."""
    rng = np.random.default_rng(seed)
    widths = (n_features + 2, 8, 2)
    return Policy(
        mean=rng.standard_normal(n_features).astype(np.float32),
        scale=np.full(n_features, 2.0, dtype=np.float32),
        clip=3.0,
        unit=0.1,
        edge=edge,
        account=Account(cash=1_000_000_000, participation_bps=1_000),
        layers=tuple(
            (
                rng.standard_normal((a, b)).astype(np.float32),
                rng.standard_normal(b).astype(np.float32),
            )
            for a, b in pairwise(widths)
        ),
    )


def test_a_policy_is_its_tensors():
    """What is read from the tensors is what was saved."""
    policy = random_policy(3)

    again = Policy.of(**policy.tensors)

    x = np.random.default_rng(1).standard_normal((20, 3))
    np.testing.assert_array_equal(again.predict(x), policy.predict(x))
    assert again.account == policy.account
    assert list(again.tensors) == list(policy.tensors)


def test_a_forecast_is_the_worth_of_holding_to_who_holds_nothing():
    """The difference of the two values for an account in cash, in logarithms of growth; 0 without
    an edge."""
    policy = random_policy(3)
    x = np.array([[0.5, -20.0, 1.0], [3.0, 0.0, 90.0]])

    scaled = np.clip((x - policy.mean) / 2.0, -3.0, 3.0)
    q = values(policy.layers, np.column_stack([scaled, np.zeros((2, 2))]))

    np.testing.assert_allclose(policy.predict(x), 0.1 * (q[:, 1] - q[:, 0]), rtol=1e-6)
    assert (random_policy(3, edge=0.0).predict(x) == 0.0).all()


SMALL = PolicySettings(
    learning=DqnSettings(hidden=(32,), batch=64, steps_per_update=8, learning_rate=2e-3, gamma=0.9),
    steps=16_000,
    lanes=32,
    judgements=3,
)


@pytest.fixture(scope="module")
def data(embedded_panels):
    """Labels of five years of recorded bars; the history tells tomorrow's return from the open."""
    panel = embedded_panels[1].until(1_250)
    plain = datasets.build(panel, FeatureSettings(), ModelSettings(min_rows=50))
    ahead = np.full(panel.open.shape, np.nan)
    ahead[:-2] = np.log(panel.open[2:] / panel.open[1:-1])
    told = History(panel=panel, x=ahead[:, :, None].astype(np.float32))
    return replace(plain, feature_names=("tomorrow",), history=lambda names: told)


@pytest.mark.compiled_only
def test_tomorrow_is_found_and_only_the_past_is_seen(data):
    """With tomorrow in its features the policy shows an edge and wants what rises; the same rows
    and seed give it to the bit, whatever prices followed the labels."""
    at = np.flatnonzero(data.row + data.horizon < 900)
    policy = Dqn(SMALL).fit(data, at, seed=3)

    assert policy.edge == 1.0
    worth = policy.predict(np.array([[-0.05], [0.05]]))
    assert worth[0] < 0.0 < worth[1]

    told = data.history(data.feature_names)
    later = np.arange(len(data.sessions)) > data.row[at].max() + data.horizon
    moved = replace(
        told.panel,
        **{
            field: np.where(later[:, None], 1.5, 1.0) * getattr(told.panel, field)
            for field in ("open", "high", "low", "close")
        },
    )
    x = np.where(later[:, None, None], 0.0, told.x).astype(np.float32)
    other = replace(data, history=lambda names: History(panel=moved, x=x))
    again = Dqn(SMALL).fit(other, at, seed=3)
    for name, tensor in policy.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_too_little_is_refused(data):
    """Without the history of all sessions, or with too few of them, there is nothing to learn."""
    with pytest.raises(ModelError, match="모든 거래일"):
        Dqn(SMALL).fit(replace(data, history=None), np.arange(50), seed=1)
    with pytest.raises(ModelError, match="부족"):
        Dqn(SMALL).fit(data, np.arange(1), seed=1)
