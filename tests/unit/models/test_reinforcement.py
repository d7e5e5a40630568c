"""The policy: saved and read, standardized, and what a learner makes of known worlds."""

from itertools import pairwise

import numpy as np

from trading.models.dqn import values
from trading.models.reinforcement import Policy
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
