"""Deep Q-learning on environments whose values are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.models.dqn import DqnFit, DqnSettings, Replay, train, value_iteration
from trading.models.networks import deterministic, layers, perceptron

# Small and hasty: two or three states need no more.
QUICK = DqnSettings(
    hidden=(16,), batch=32, gamma=0.5, learning_rate=1e-2, soft_update=0.2, replay=500, seed=3
)


class Corridor:
    """Action 0 pays 1 and stays; action 1 pays 0. ``ends`` after one step, or is cut after five."""

    observation_size = 1
    actions = 2

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.resets: list[int] = []
        self._steps = 0

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        self.resets.append(int(rng.integers(1000)))
        self._steps = 0
        return np.ones(1)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        self._steps += 1
        return np.ones(1), 1.0 - action, self.ends, self._steps >= 5


def test_a_cut_episode_still_has_a_future():
    """Paid 1 for ever at gamma 0.5 is worth 2, though every episode is cut after five steps."""
    fit = train(Corridor(ends=False), QUICK, steps=700)

    np.testing.assert_allclose(fit.values(np.ones((1, 1))), [[2.0, 1.0]], atol=0.02)
    assert fit.episodes == 140


def test_nothing_follows_the_end():
    """The same environment that ends after one step is worth what that step pays."""
    fit = train(Corridor(ends=True), QUICK, steps=500)

    np.testing.assert_allclose(fit.values(np.ones((1, 1))), [[1.0, 0.0]], atol=0.02)
    assert fit.episodes == 500


def test_the_same_seed_the_same_weights():
    """Twice from one seed: equal to the bit, whatever torch drew in between; another seed differs."""
    import torch

    first = train(Corridor(ends=False), QUICK, steps=120)
    torch.rand(7)
    second = train(Corridor(ends=False), QUICK, steps=120)
    other = train(Corridor(ends=False), QUICK.model_copy(update={"seed": 4}), steps=120)

    for (w, b), (v, c) in zip(first.layers, second.layers, strict=True):
        np.testing.assert_array_equal(w, v)
        np.testing.assert_array_equal(b, c)
    assert not np.array_equal(first.layers[0][0], other.layers[0][0])


def test_torch_is_left_as_it_was():
    """Training takes no number from torch's own stream and gives its threads back."""
    import torch

    threads = torch.get_num_threads()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    try:
        torch.set_num_threads(2)
        with deterministic(5):
            inside = torch.get_num_threads()
            torch.rand(10)

        assert inside == 1
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.rand(3), expected)
    finally:
        torch.set_num_threads(threads)


def test_exported_layers_answer_as_torch_does():
    """The arrays give torch's own output to 1e-5."""
    import torch

    with deterministic(1):
        network = perceptron(4, (128, 128), 3)
    rows = np.random.default_rng(2).standard_normal((50, 4))

    fit = DqnFit(layers=layers(network), episodes=0, updates=0, loss=0.0)

    with torch.no_grad():
        expected = network(torch.as_tensor(rows, dtype=torch.float32)).numpy()
    assert [w.shape for w, _ in fit.layers] == [(128, 4), (128, 128), (3, 128)]
    np.testing.assert_allclose(fit.values(rows), expected, atol=1e-5)


def test_before_a_full_batch_nothing_is_learned():
    """Fewer steps than a batch leave the first weights and no loss."""
    fit = train(Corridor(ends=True), QUICK, steps=31)

    assert fit.updates == 0
    assert np.isnan(fit.loss)


def test_the_oldest_transition_makes_room():
    """A ring of three keeps the last three of five."""
    replay = Replay(3, 1)
    for i in range(5):
        replay.add(np.array([i]), i, 10.0 * i, np.array([i + 1]), terminated=i == 4)

    assert replay.size == 3
    assert sorted(replay.action.tolist()) == [2, 3, 4]
    kept = np.argsort(replay.action)
    np.testing.assert_array_equal(replay.reward[kept], [20.0, 30.0, 40.0])
    np.testing.assert_array_equal(replay.terminated[kept], [0.0, 0.0, 1.0])


def test_exploration_falls_with_the_length_of_the_history():
    """A straight line over half of the steps, however many there are, then its end value."""
    settings = DqnSettings(epsilon_start=1.0, epsilon_end=0.1, epsilon_share=0.5)

    for steps in (100, 10_000):
        shares = [settings.epsilon(int(steps * at), steps) for at in (0.0, 0.25, 0.5, 0.75, 1.0)]
        np.testing.assert_allclose(shares, [1.0, 0.55, 0.1, 0.1, 0.1])


def test_defaults_are_the_design():
    """128-128, replay 10,000, batch 128, gamma 0.99, learning rate 3e-4, tau 0.005, double."""
    d = DqnSettings()

    assert (d.hidden, d.replay, d.batch, d.gamma) == ((128, 128), 10_000, 128, 0.99)
    assert (d.learning_rate, d.soft_update, d.double) == (3e-4, 0.005, True)


def test_chain_of_five_states():
    """V* = 2, 1.8, 1.62, 1.458, 1.3122; an end that pays more than 1.3122 flips the last state."""
    reward = np.zeros((5, 2))
    reward[0, 0] = 0.2
    following = np.array([[0, 1], [0, 2], [1, 3], [2, 4], [3, 4]])
    ends = np.zeros((5, 2), dtype=np.bool_)
    ends[4, 1] = True

    def best(pay: float) -> np.ndarray:
        reward[4, 1] = pay
        return value_iteration(reward, following, ends, gamma=0.9)

    np.testing.assert_allclose(
        best(1.0).max(axis=1), [2.0, 1.8, 1.62, 1.458, 1.3122], rtol=0, atol=1e-11
    )
    assert best(1.3121).argmax(axis=1).tolist() == [0, 0, 0, 0, 0]
    assert best(1.3123).argmax(axis=1).tolist() == [0, 0, 0, 0, 1]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), gamma=st.floats(0.0, 0.95))
def test_values_are_those_of_their_own_policy(seed, n, gamma):
    """Value iteration agrees with the linear equations of the policy that it finds best."""
    rng = np.random.default_rng(seed)
    reward = rng.uniform(-1.0, 1.0, (n, 3))
    following = rng.integers(n, size=(n, 3))
    ends = rng.random((n, 3)) < 0.2

    q = value_iteration(reward, following, ends, gamma=gamma)

    chosen = q.argmax(axis=1)
    states = np.arange(n)
    goes = np.zeros((n, n))
    goes[states, following[states, chosen]] = ~ends[states, chosen]
    exact = np.linalg.solve(np.eye(n) - gamma * goes, reward[states, chosen])
    np.testing.assert_allclose(q.max(axis=1), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wrong", [{"gamma": 1.0}, {"batch": 0}, {"layers": 3}])
def test_impossible_settings(wrong):
    """A discount of 1, an empty batch and unknown keys are refused."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DqnSettings(**wrong)
