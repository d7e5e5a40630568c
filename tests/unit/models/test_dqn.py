"""Deep Q-learning on environments whose values are known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.models.dqn import DqnSettings, Replay, Student, train, value_iteration, values

# Small and hasty: two or three states need no more.
QUICK = DqnSettings(
    hidden=(16,), batch=32, gamma=0.5, learning_rate=1e-2, soft_update=0.2, replay=500
)


class Corridor:
    """Action 0 pays 1 and stays; action 1 pays 0. ``ends`` after one step, or is cut after five."""

    observation_size = 1
    actions = 2

    def __init__(self, *, ends: bool, lanes: int = 1) -> None:
        self.ends = ends
        self.lanes = lanes
        self._steps = np.zeros(lanes, dtype=np.int64)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        return self.renew(np.ones(self.lanes, dtype=np.bool_), rng)

    def renew(self, done: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self._steps[done] = 0
        return np.ones((self.lanes, 1), dtype=np.float32)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        self._steps += 1
        seen = np.ones((self.lanes, 1), dtype=np.float32)
        ends = np.full(self.lanes, self.ends)
        return seen, 1.0 - actions, ends, self._steps >= 5


class Chain:
    """Five states in a row: left of the first pays 0.2, right of the last pays 1 and ends."""

    lanes = 8
    observation_size = 5
    actions = 2
    reward = np.array([[0.2, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    following = np.array([[0, 1], [0, 2], [1, 3], [2, 4], [3, 4]])
    ends = np.zeros((5, 2), dtype=np.bool_)
    ends[4, 1] = True

    def __init__(self) -> None:
        self._state = np.zeros(self.lanes, dtype=np.int64)
        self._steps = np.zeros(self.lanes, dtype=np.int64)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        return self.renew(np.ones(self.lanes, dtype=np.bool_), rng)

    def renew(self, done: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self._state[done] = rng.integers(5, size=int(done.sum()))
        self._steps[done] = 0
        return np.eye(5, dtype=np.float32)[self._state]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        reward, ends = self.reward[self._state, actions], self.ends[self._state, actions]
        self._state = self.following[self._state, actions]
        self._steps += 1
        return np.eye(5, dtype=np.float32)[self._state], reward, ends, self._steps >= 20


@pytest.mark.compiled_only
def test_the_chain_is_learned():
    """V* of the five states is reached, and going left is the best everywhere (REFERENCES 21)."""
    settings = DqnSettings(gamma=0.9, hidden=(32, 32), learning_rate=1e-3, soft_update=0.01)

    q = train(Chain(), settings, steps=12_000, seed=1).values(np.eye(5))

    np.testing.assert_allclose(q.max(axis=1), [2.0, 1.8, 1.62, 1.458, 1.3122], atol=1e-3)
    assert q.argmax(axis=1).tolist() == [0, 0, 0, 0, 0]


def _perceptron(inputs: int, hidden: tuple[int, ...], outputs: int):
    """Return torch's linear layers with rectifiers between them."""
    from torch import nn

    widths = (inputs, *hidden)
    parts = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*(one for pair in parts for one in pair), nn.Linear(widths[-1], outputs))


def _same_in_torch(student: Student, settings: DqnSettings):
    """Return torch networks with the student's weights, and torch's own Adam."""
    import torch

    shape = (student.online.weights[0].shape[0], settings.hidden, 3)
    networks = []
    for ours in (student.online, student.target):
        theirs = _perceptron(*shape)
        linear = [part for part in theirs if hasattr(part, "weight")]
        with torch.no_grad():
            for part, weight, bias in zip(linear, ours.weights, ours.biases, strict=True):
                part.weight.copy_(torch.from_numpy(weight.T.copy()))
                part.bias.copy_(torch.from_numpy(bias.copy()))
        networks.append(theirs)
    return (*networks, torch.optim.Adam(networks[0].parameters(), lr=1e-3))


@pytest.mark.parametrize(
    ("double", "reward", "max_gradient"), [(True, 1.0, 10.0), (False, 8.0, 0.05)]
)
def test_an_update_is_the_one_torch_makes(double, reward, max_gradient):
    """Loss, weights and target after five updates are those of torch's autograd, Huber loss,
    clipping and Adam; with rewards beyond the loss's bend, and with every gradient clipped."""
    import torch
    from torch.nn.functional import smooth_l1_loss

    settings = DqnSettings(
        hidden=(24, 16), batch=32, double=double, max_gradient=max_gradient, soft_update=0.1
    )
    rng = np.random.default_rng(5)
    student = Student(6, 3, settings, rng)
    # The last layer begins at 0, where the gradient does not reach what is below.
    student.online.flat[:] += rng.normal(0.0, 0.1, student.online.flat.shape).astype(np.float32)
    online, target, adam = _same_in_torch(student, settings)
    replay = Replay(64, 6)
    seen = rng.standard_normal((2, 64, 6)).astype(np.float32)
    replay.add(
        seen[0], rng.integers(3, size=64), reward * rng.standard_normal(64), seen[1],
        rng.random(64) < 0.2,
    )  # fmt: skip
    kept = replay.columns

    for _ in range(5):
        rows = rng.integers(64, size=32)
        loss = student.update(kept, rows[None], 1e-3)

        following = torch.from_numpy(kept.following[rows])
        with torch.no_grad():
            judged = target(following)
            chooser = online(following) if double else judged
            ahead = judged.gather(1, chooser.argmax(dim=1, keepdim=True))[:, 0]
            alive = 1.0 - torch.from_numpy(kept.terminated[rows])
            wanted = torch.from_numpy(kept.reward[rows]) + settings.gamma * alive * ahead
        action = torch.from_numpy(kept.action[rows])[:, None]
        value = online(torch.from_numpy(kept.observation[rows])).gather(1, action)[:, 0]
        expected = smooth_l1_loss(value, wanted)
        adam.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(online.parameters(), max_gradient)
        adam.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                slow.lerp_(fast, settings.soft_update)

        assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for ours, theirs in ((student.online, online), (student.target, target)):
        linear = [part for part in theirs if hasattr(part, "weight")]
        for part, weight, bias in zip(linear, ours.weights, ours.biases, strict=True):
            np.testing.assert_allclose(weight.T, part.weight.detach().numpy(), atol=2e-6)
            np.testing.assert_allclose(bias, part.bias.detach().numpy(), atol=2e-6)


@pytest.mark.compiled_only
def test_a_cut_episode_still_has_a_future():
    """Paid 1 for ever at gamma 0.5 is worth 2, though every episode is cut after five steps."""
    fit = train(Corridor(ends=False), QUICK, steps=1_000, seed=3)

    np.testing.assert_allclose(fit.values(np.ones((1, 1))), [[2.0, 1.0]], atol=0.02)
    assert fit.episodes == 200


@pytest.mark.compiled_only
def test_nothing_follows_the_end():
    """The same environment that ends after one step is worth what that step pays."""
    fit = train(Corridor(ends=True), QUICK, steps=500, seed=3)

    np.testing.assert_allclose(fit.values(np.ones((1, 1))), [[1.0, 0.0]], atol=0.02)
    assert fit.episodes == 500


@pytest.mark.compiled_only
def test_the_same_seed_the_same_weights():
    """Twice from one seed: equal to the bit; another seed, or more lanes, is another course."""
    first = train(Corridor(ends=False), QUICK, steps=120, seed=3)
    np.random.default_rng().random(7)
    second = train(Corridor(ends=False), QUICK, steps=120, seed=3)
    other = train(Corridor(ends=False), QUICK, steps=120, seed=4)

    for (w, b), (v, c) in zip(first.layers, second.layers, strict=True):
        np.testing.assert_array_equal(w, v)
        np.testing.assert_array_equal(b, c)
    assert not np.array_equal(first.layers[0][0], other.layers[0][0])


@pytest.mark.compiled_only
def test_updates_per_step():
    """One update a step once a batch is there, or one in so many steps, however many lanes."""
    counts = [
        train(
            Corridor(ends=True, lanes=lanes),
            QUICK.model_copy(update={"steps_per_update": every}),
            steps=96,
            seed=3,
        ).updates
        for lanes, every in ((1, 1), (8, 1), (8, 4), (8, 16))
    ]

    # The batch of 32 is there after step 32, or after the fourth step of eight lanes.
    assert counts == [65, 72, 18, 5]


@pytest.mark.compiled_only
def test_the_best_weights_are_kept():
    """Of the weights that were judged those return that were worth most, not the last."""
    asked = []

    def judge(layers):
        asked.append(layers)
        return -float(len(asked) == 3) if len(asked) != 2 else 1.0

    fit = train(Corridor(ends=True), QUICK, steps=200, seed=3, judge=judge, judgements=4)

    assert len(asked) == 4
    np.testing.assert_array_equal(fit.layers[0][0], asked[1][0][0])
    assert not np.array_equal(asked[1][0][0], asked[3][0][0])


def test_values_are_torchs():
    """The compiled answer to each row is torch's to 1e-5, and knows no other row."""
    import torch

    torch.manual_seed(1)
    network = _perceptron(4, (128, 128), 3)
    rows = np.random.default_rng(2).standard_normal((9, 4))
    layers = tuple(
        (part.weight.detach().numpy().T.copy(), part.bias.detach().numpy().copy())
        for part in network
        if hasattr(part, "weight")
    )

    got = values(layers, rows)

    with torch.no_grad():
        expected = network(torch.as_tensor(rows, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(values(layers, rows[3:4]), got[3:4])


def test_before_a_full_batch_nothing_is_learned():
    """Fewer steps than a batch leave the first weights and no loss."""
    fit = train(Corridor(ends=True), QUICK, steps=31, seed=3)

    assert fit.updates == 0
    assert np.isnan(fit.loss)


def test_the_oldest_transition_makes_room():
    """A ring of three keeps the last three of five."""
    replay = Replay(3, 1)
    for i in range(5):
        replay.add(
            np.array([[i]]), np.array([i]), np.array([10.0 * i]), np.array([[i + 1]]),
            np.array([i == 4]),
        )  # fmt: skip

    assert replay.size == 3
    kept = np.argsort(replay.columns.action)
    np.testing.assert_array_equal(replay.columns.action[kept], [2, 3, 4])
    np.testing.assert_array_equal(replay.columns.reward[kept], [20.0, 30.0, 40.0])
    np.testing.assert_array_equal(replay.columns.following[kept, 0], [3.0, 4.0, 5.0])
    np.testing.assert_array_equal(replay.columns.terminated[kept], [0.0, 0.0, 1.0])


def test_exploration_falls_with_the_length_of_the_history():
    """A straight line over half of the steps, however many there are, then its end value."""
    settings = DqnSettings(epsilon_start=1.0, epsilon_end=0.1, epsilon_share=0.5)

    for steps in (100, 10_000):
        shares = [settings.epsilon(int(steps * at), steps) for at in (0.0, 0.25, 0.5, 0.75, 1.0)]
        np.testing.assert_allclose(shares, [1.0, 0.55, 0.1, 0.1, 0.1])


def test_steps_become_shorter():
    """The learning rate falls in a straight line to nothing."""
    settings = DqnSettings(learning_rate=0.4)

    assert [settings.rate(step, 4) for step in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])


def test_defaults_are_the_design():
    """128-128, replay 10,000, batch 128, gamma 0.99, learning rate 3e-4, tau 0.005, double."""
    d = DqnSettings()

    assert (d.hidden, d.replay, d.batch, d.gamma) == ((128, 128), 10_000, 128, 0.99)
    assert (d.learning_rate, d.soft_update, d.double) == (3e-4, 0.005, True)


def test_chain_of_five_states():
    """V* = 2, 1.8, 1.62, 1.458, 1.3122; an end that pays more than 1.3122 flips the last state."""
    reward, following, ends = Chain.reward.copy(), Chain.following, Chain.ends

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
