"""Deep Q-learning on any small environment; exact values where all transitions are known.

The network is taught by hand: forward and backward pass, clipping and Adam are written out and
compiled, several times as fast as a framework at this size. The trading environment is in
``rl_env``: this module knows observations, actions and rewards only.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from trading.domain.arrays import BoolArray, FloatArray, IntArray

SingleArray = NDArray[np.float32]
# Weights ``(fan_in, fan_out)`` and biases of each linear layer, from input to output.
Layers = tuple[tuple[SingleArray, SingleArray], ...]

# Decay of Adam's means, and what keeps its step finite: the defaults of everybody.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class DqnSettings(BaseModel):
    """Parameters of deep Q-learning; commented in ``config/models.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[int, ...] = (128, 128)
    replay: int = Field(default=10_000, ge=1)
    batch: int = Field(default=128, ge=1)
    gamma: float = Field(default=0.99, ge=0, lt=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    steps_per_update: int = Field(default=1, ge=1)
    soft_update: float = Field(default=0.005, gt=0, le=1)
    double: bool = True
    epsilon_start: float = Field(default=1.0, ge=0, le=1)
    epsilon_end: float = Field(default=0.05, ge=0, le=1)
    epsilon_share: float = Field(default=0.5, gt=0, le=1)
    max_gradient: float = Field(default=10.0, gt=0)

    def epsilon(self, step: int, steps: int) -> float:
        """Return the share of random actions at ``step`` of ``steps``.

        Falls in a straight line over the first ``epsilon_share`` of the steps, so that a short
        history explores in the same proportion as a long one.
        """
        done = min(1.0, step / max(1.0, self.epsilon_share * steps))
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)

    def rate(self, step: int, steps: int) -> float:
        """Return Adam's learning rate at ``step`` of ``steps``: a straight line to 0.

        What a session earns is mostly noise. Steps that do not become shorter follow the last of
        it for ever, by more than a trade costs.
        """
        return self.learning_rate * (1.0 - step / steps)


class Environment(Protocol):
    """What is learned: ``lanes`` episodes side by side, as in Gymnasium but for many at once."""

    @property
    def lanes(self) -> int:
        """Episodes that run at a time."""
        ...

    @property
    def observation_size(self) -> int:
        """Length of an observation."""
        ...

    @property
    def actions(self) -> int:
        """Number of actions, 0 to ``actions - 1``."""
        ...

    def reset(self, rng: np.random.Generator) -> SingleArray:
        """Begin an episode in every lane; return observations ``(lanes, observation_size)``."""
        ...

    def step(self, actions: IntArray) -> tuple[SingleArray, FloatArray, BoolArray, BoolArray]:
        """Return the next observations, the rewards, ``terminated`` and ``truncated``.

        After ``terminated`` nothing follows, so its value is 0. ``truncated`` only stops looking:
        what would have followed still has its value. The arrays are the caller's until the next
        step.
        """
        ...

    def renew(self, done: BoolArray, rng: np.random.Generator) -> SingleArray:
        """Begin another episode in the lanes that are ``done``; return all observations."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DqnFit:
    """A trained Q network as plain arrays; ``loss`` is the mean of the last tenth of the updates."""

    layers: Layers
    episodes: int
    updates: int
    loss: float

    def values(self, observations: FloatArray) -> FloatArray:
        """Return the value of each action, shape ``(n, actions)``, of ``(n, observation_size)``."""
        return values(self.layers, observations)


class Network(NamedTuple):
    """A network whose numbers lie in one row, ``flat``, and its layers, which look into it."""

    flat: SingleArray
    weights: tuple[SingleArray, ...]
    biases: tuple[SingleArray, ...]


class Moments(NamedTuple):
    """Adam's running means of the gradient and of its square."""

    mean: SingleArray
    square: SingleArray


class Transitions(NamedTuple):
    """What happened: the columns of a replay memory."""

    observation: SingleArray
    action: IntArray
    reward: SingleArray
    following: SingleArray
    terminated: SingleArray


class Step(NamedTuple):
    """How an update is made, in the precision that it is calculated in."""

    gamma: np.float32
    soft_update: np.float32
    max_gradient: float
    double: bool


class Replay:
    """A ring of transitions; the oldest make room for the newest."""

    def __init__(self, capacity: int, observation_size: int) -> None:
        self.columns = Transitions(
            observation=np.zeros((capacity, observation_size), dtype=np.float32),
            action=np.zeros(capacity, dtype=np.int64),
            reward=np.zeros(capacity, dtype=np.float32),
            following=np.zeros((capacity, observation_size), dtype=np.float32),
            terminated=np.zeros(capacity, dtype=np.float32),
        )
        self.size = 0
        self._next = 0

    def add(
        self,
        observation: SingleArray,
        action: IntArray,
        reward: FloatArray,
        following: SingleArray,
        terminated: BoolArray,
    ) -> None:
        """Keep one transition of each lane."""
        capacity = len(self.columns.action)
        rows = np.arange(self._next, self._next + len(action)) % capacity
        kept = self.columns
        kept.observation[rows], kept.following[rows] = observation, following
        kept.action[rows], kept.reward[rows], kept.terminated[rows] = action, reward, terminated
        self._next = (self._next + len(action)) % capacity
        self.size = min(self.size + len(action), capacity)


def train(
    environment: Environment,
    settings: DqnSettings,
    *,
    steps: int,
    seed: int,
    judge: Callable[[Layers], float] | None = None,
    judgements: int = 1,
) -> DqnFit:
    r"""Learn for ``steps`` steps of all lanes together, with updates once a batch is there.

    .. math:: y = r + \gamma (1 - \mathrm{terminated})\,
              Q_{target}\bigl(s', \arg\max_a Q(s', a)\bigr)

    The same settings, environment and seed give the same weights, whatever ran before: one
    thread, own random state. A truncated episode bootstraps from its last observation. The first values
    are all 0: nothing is known yet.

    Parameters
    ----------
    judge : callable, optional
        What the weights are worth, asked ``judgements`` times over the second half of the steps;
        the best of them are returned. Without one the last are.

    References
    ----------
    .. [1] Mnih, V. et al. (2015). "Human-level control through deep reinforcement learning."
       Nature, 518, 529-533.
    .. [2] van Hasselt, H., Guez, A. and Silver, D. (2016). "Deep Reinforcement Learning with
       Double Q-learning." AAAI, 2094-2100.
    """
    rng = np.random.default_rng(seed)
    lanes, every = environment.lanes, settings.steps_per_update
    replay = Replay(max(settings.replay, lanes), environment.observation_size)
    student = Student(environment.observation_size, environment.actions, settings, rng)
    rounds = -(-steps // lanes)
    judged = {rounds - 1 - i * rounds // (2 * judgements) for i in range(judgements)}
    losses: list[float] = []
    episodes = 0
    best: tuple[float, Layers] | None = None
    with one_thread():
        observation = environment.reset(rng).copy()
        for turn in range(rounds):
            action = student.best_actions(observation)
            random = rng.random(lanes) < settings.epsilon(turn * lanes, steps)
            if random.any():
                action = np.where(random, rng.integers(environment.actions, size=lanes), action)
            following, reward, terminated, truncated = environment.step(action)
            replay.add(observation, action, reward, following, terminated)
            done = terminated | truncated
            if done.any():
                episodes += int(done.sum())
                following = environment.renew(done, rng)
            observation[:] = following
            if replay.size >= settings.batch:
                done_steps = turn * lanes
                due = (done_steps + lanes) // every - done_steps // every
                rows = rng.integers(replay.size, size=(due, settings.batch))
                if due:
                    rate = settings.rate(turn, rounds)
                    losses.append(student.update(replay.columns, rows, rate))
            if judge is not None and turn in judged:
                worth = judge(student.layers())
                if best is None or worth > best[0]:
                    best = worth, student.layers()
    return DqnFit(
        layers=best[1] if best is not None else student.layers(),
        episodes=episodes,
        updates=student.updates,
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])) if losses else math.nan,
    )


def value_iteration(
    reward: FloatArray,
    following: IntArray,
    terminated: BoolArray,
    *,
    gamma: float,
    tolerance: float = 1e-12,
) -> FloatArray:
    r"""Return the value of each action in each state when every step after it is the best one.

    .. math:: Q(s, a) = r(s, a) + \gamma \max_{a'} Q(s', a')

    Parameters
    ----------
    reward, following, terminated : ndarray of shape (n_states, n_actions)
        What an action pays, to which state it leads, whether everything ends there.
    gamma : float
        Discount per step, below 1.
    tolerance : float
        Largest error of any value.
    """
    values = np.zeros(reward.shape)
    while True:
        ahead = np.where(terminated, 0.0, values.max(axis=1)[following])
        improved: FloatArray = reward + gamma * ahead
        # A change of d leaves an error of at most d gamma / (1 - gamma).
        if np.max(np.abs(improved - values)) * gamma <= tolerance * (1.0 - gamma):
            return improved
        values = improved


def values(layers: Layers, observations: FloatArray) -> FloatArray:
    """Return the value of each action, shape ``(n, actions)``; rows do not know one another."""
    rows = np.ascontiguousarray(observations, dtype=np.float32)
    weights, biases = (tuple(part) for part in zip(*layers, strict=True))
    out: FloatArray = _values(rows, weights, biases)
    return out


@njit(cache=True)
def answer(row: SingleArray, weights: Any, biases: Any, scratch: SingleArray) -> SingleArray:
    """Return the value of each action at one observation; a view into ``scratch``.

    Sums run over the inputs in their order: the answer is the same to the bit whatever other
    observations are asked about. ``scratch`` has two rows as long as the widest layer.
    """
    below = row
    for k in range(len(weights)):
        weight = weights[k]
        out = scratch[k % 2, : weight.shape[1]]
        out[:] = biases[k]
        for i in range(weight.shape[0]):
            at = below[i]
            if at != 0.0:
                for j in range(weight.shape[1]):
                    out[j] += at * weight[i, j]
        if k + 1 < len(weights):
            for j in range(weight.shape[1]):
                out[j] = max(out[j], np.float32(0.0))
        below = out
    return below


class Student:
    """The network that acts and the one that judges, a little behind it."""

    def __init__(
        self, inputs: int, actions: int, settings: DqnSettings, rng: np.random.Generator
    ) -> None:
        widths = (inputs, *settings.hidden, actions)
        self.online, self.target = (_network(widths) for _ in range(2))
        for weight, bias in zip(self.online.weights[:-1], self.online.biases[:-1], strict=True):
            reach = 1.0 / math.sqrt(len(weight))
            weight[:] = rng.uniform(-reach, reach, weight.shape)
            bias[:] = rng.uniform(-reach, reach, bias.shape)
        self.target.flat[:] = self.online.flat
        self.gradient = _network(widths)
        self.moments = Moments(np.zeros_like(self.online.flat), np.zeros_like(self.online.flat))
        self.updates = 0
        self._step = Step(
            gamma=np.float32(settings.gamma),
            soft_update=np.float32(settings.soft_update),
            max_gradient=settings.max_gradient,
            double=settings.double,
        )
        self._batches = [np.zeros((settings.batch, inputs), dtype=np.float32) for _ in range(2)]
        self._activity, self._other, self._slopes = (
            tuple(np.zeros((settings.batch, width), dtype=np.float32) for width in widths[1:])
            for _ in range(3)
        )

    def layers(self) -> Layers:
        """Return a copy of the network that acts."""
        return tuple(
            (weight.copy(), bias.copy())
            for weight, bias in zip(self.online.weights, self.online.biases, strict=True)
        )

    def best_actions(self, observations: SingleArray) -> IntArray:
        """Return the action with the highest value at each observation."""
        out: IntArray = _best(observations, self.online.weights, self.online.biases)
        return out

    def update(self, seen: Transitions, batches: IntArray, rate: float) -> float:
        """Make a step of Adam's at ``rate`` towards the targets of each batch; return the mean loss."""
        loss = _updates(
            self.online, self.target, self.gradient, self.moments, self._step, rate, self.updates,
            seen, batches, self._batches[0], self._batches[1],
            self._activity, self._other, self._slopes,
        )  # fmt: skip
        self.updates += len(batches)
        return float(loss)


def one_thread() -> AbstractContextManager[Any]:
    """Let the products of matrices run on one thread: several are slower here, and sum otherwise."""
    # Loaded now, or the limit would not reach it.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _network(widths: tuple[int, ...]) -> Network:
    flat = np.zeros(sum((a + 1) * b for a, b in pairwise(widths)), dtype=np.float32)
    weights, biases, at = [], [], 0
    for fan_in, fan_out in pairwise(widths):
        weights.append(flat[at : at + fan_in * fan_out].reshape(fan_in, fan_out))
        at += fan_in * fan_out
        biases.append(flat[at : at + fan_out])
        at += fan_out
    return Network(flat, tuple(weights), tuple(biases))


@njit(cache=True)
def _values(rows: SingleArray, weights: Any, biases: Any) -> FloatArray:
    out = np.empty((len(rows), weights[-1].shape[1]))
    scratch = np.empty((2, widest(weights)), dtype=np.float32)
    for i in range(len(rows)):
        out[i] = answer(rows[i], weights, biases, scratch)
    return out


@njit(cache=True)
def _best(rows: SingleArray, weights: Any, biases: Any) -> IntArray:
    out = np.empty(len(rows), dtype=np.int64)
    scratch = np.empty((2, widest(weights)), dtype=np.float32)
    for i in range(len(rows)):
        out[i] = np.argmax(answer(rows[i], weights, biases, scratch))
    return out


@njit(cache=True)
def widest(weights: Any) -> int:
    """Return the width of the widest layer."""
    most = 0
    for k in range(len(weights)):
        most = max(most, weights[k].shape[1])
    return most


@njit(cache=True, error_model="numpy")
def _updates(  # type: ignore[no-untyped-def]
    online, target, gradient, moments, step, rate, done, seen, batches,
    observation, following, activity, other, slopes,
):  # fmt: skip
    total = 0.0
    for b in range(len(batches)):
        rows = batches[b]
        for i in range(len(rows)):
            observation[i] = seen.observation[rows[i]]
            following[i] = seen.following[rows[i]]
        _forward(following, target, other)
        judged = other[-1]
        chooser = judged
        if step.double:
            _forward(following, online, activity)
            chooser = activity[-1]
        wanted = np.empty(len(rows), dtype=np.float32)
        for i in range(len(rows)):
            ahead = judged[i, np.argmax(chooser[i])]
            alive = np.float32(1.0) - seen.terminated[rows[i]]
            wanted[i] = seen.reward[rows[i]] + step.gamma * alive * ahead
        _forward(observation, online, activity)
        total += _slope_of_loss(activity[-1], seen.action, rows, wanted, slopes[-1])
        _backward(observation, online, activity, slopes, gradient)
        _adam(online.flat, gradient.flat, moments, step.max_gradient, rate, done + b + 1)
        online_flat, target_flat = online.flat, target.flat
        for i in range(len(target_flat)):
            target_flat[i] += step.soft_update * (online_flat[i] - target_flat[i])
    return total / len(batches)


@njit(cache=True)
def _forward(rows, network, activity):  # type: ignore[no-untyped-def]
    below = rows
    last = len(network.weights) - 1
    for k in range(last + 1):
        out = activity[k]
        np.dot(below, network.weights[k], out)
        bias = network.biases[k]
        least = np.float32(0.0) if k < last else np.float32(-np.inf)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = max(out[i, j] + bias[j], least)
        below = out


@njit(cache=True)
def _slope_of_loss(values, actions, rows, wanted, slope):  # type: ignore[no-untyped-def]
    """Write the derivative of the mean Huber loss by each value, and return the loss."""
    n = len(rows)
    slope[:] = np.float32(0.0)
    loss = 0.0
    for i in range(n):
        action = actions[rows[i]]
        error = values[i, action] - wanted[i]
        size = abs(error)
        loss += 0.5 * error * error if size < 1.0 else size - 0.5
        slope[i, action] = min(max(error, np.float32(-1.0)), np.float32(1.0)) / np.float32(n)
    return loss / n


@njit(cache=True)
def _backward(rows, network, activity, slopes, gradient):  # type: ignore[no-untyped-def]
    for k in range(len(network.weights) - 1, -1, -1):
        slope = slopes[k]
        below = activity[k - 1] if k > 0 else rows
        np.dot(below.T, slope, gradient.weights[k])
        bias = gradient.biases[k]
        bias[:] = np.float32(0.0)
        for i in range(slope.shape[0]):
            for j in range(slope.shape[1]):
                bias[j] += slope[i, j]
        if k > 0:
            under = slopes[k - 1]
            np.dot(slope, network.weights[k].T, under)
            for i in range(under.shape[0]):
                for j in range(under.shape[1]):
                    # The rectifier lets through what it let through.
                    under[i, j] = under[i, j] if below[i, j] > 0.0 else np.float32(0.0)


@njit(cache=True, error_model="numpy")
def _adam(flat, gradient, moments, max_gradient, learning_rate, number):  # type: ignore[no-untyped-def]
    """Clip the gradient to its largest norm and make Adam's step ``number`` (from 1).

    References
    ----------
    .. [1] Kingma, D. P. and Ba, J. (2015). "Adam: A Method for Stochastic Optimization." ICLR.
    """
    norm = math.sqrt(np.dot(gradient, gradient))
    scale = np.float32(min(1.0, max_gradient / (norm + 1e-6)))
    keep_1, keep_2 = np.float32(1.0 - _BETA_1), np.float32(1.0 - _BETA_2)
    rate = np.float32(learning_rate / (1.0 - _BETA_1**number))
    spread = np.float32(1.0 / math.sqrt(1.0 - _BETA_2**number))
    epsilon = np.float32(_EPSILON)
    mean, square = moments.mean, moments.square
    for i in range(len(flat)):
        slope = gradient[i] * scale
        mean[i] += keep_1 * (slope - mean[i])
        square[i] += keep_2 * (slope * slope - square[i])
        flat[i] -= rate * mean[i] / (np.sqrt(square[i]) * spread + epsilon)
