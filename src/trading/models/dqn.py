"""Deep Q-learning on any small environment; exact values where all transitions are known.

The trading environment is elsewhere: this module knows observations, actions and rewards only.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.models.networks import Layers, deterministic, layers, perceptron


class DqnSettings(BaseModel):
    """Parameters of deep Q-learning; ``epsilon_*`` shape the share of random actions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[int, ...] = (128, 128)
    replay: int = Field(default=10_000, ge=1)
    batch: int = Field(default=128, ge=1)
    gamma: float = Field(default=0.99, ge=0, lt=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    soft_update: float = Field(default=0.005, gt=0, le=1)
    double: bool = True
    epsilon_start: float = Field(default=1.0, ge=0, le=1)
    epsilon_end: float = Field(default=0.05, ge=0, le=1)
    epsilon_share: float = Field(default=0.5, gt=0, le=1)
    max_gradient: float = Field(default=10.0, gt=0)
    seed: int = Field(default=7, ge=0)

    def epsilon(self, step: int, steps: int) -> float:
        """Return the share of random actions at ``step`` of ``steps``.

        Falls in a straight line over the first ``epsilon_share`` of the steps, so that a short
        history explores in the same proportion as a long one.
        """
        done = min(1.0, step / max(1.0, self.epsilon_share * steps))
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)


class Environment(Protocol):
    """What is learned: the part of Gymnasium's interface that is needed, with numpy randomness."""

    @property
    def observation_size(self) -> int:
        """Length of an observation."""
        ...

    @property
    def actions(self) -> int:
        """Number of actions, 0 to ``actions - 1``."""
        ...

    def reset(self, rng: np.random.Generator) -> FloatArray:
        """Begin an episode and return its first observation."""
        ...

    def step(self, action: int) -> tuple[FloatArray, float, bool, bool]:
        """Return the next observation, the reward, ``terminated`` and ``truncated``.

        After ``terminated`` nothing follows, so its value is 0. ``truncated`` only stops looking:
        what would have followed still has its value.
        """
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
        activity = np.asarray(observations, dtype=np.float32)
        for weight, bias in self.layers[:-1]:
            activity = np.maximum(activity @ weight.T + bias, 0.0)
        weight, bias = self.layers[-1]
        return (activity @ weight.T + bias).astype(np.float64)


class Replay:
    """A ring of transitions; the oldest make room for the newest."""

    def __init__(self, capacity: int, observation_size: int) -> None:
        self.observation = np.zeros((capacity, observation_size), dtype=np.float32)
        self.following = np.zeros((capacity, observation_size), dtype=np.float32)
        self.action = np.zeros(capacity, dtype=np.int64)
        self.reward = np.zeros(capacity, dtype=np.float32)
        self.terminated = np.zeros(capacity, dtype=np.float32)
        self.size = 0
        self._next = 0

    def add(
        self,
        observation: FloatArray,
        action: int,
        reward: float,
        following: FloatArray,
        *,
        terminated: bool,
    ) -> None:
        """Keep one transition."""
        i = self._next
        self.observation[i], self.following[i] = observation, following
        self.action[i], self.reward[i], self.terminated[i] = action, reward, terminated
        self._next = (i + 1) % len(self.action)
        self.size = min(self.size + 1, len(self.action))


def train(environment: Environment, settings: DqnSettings, *, steps: int) -> DqnFit:
    r"""Learn for ``steps`` steps, one update a step once a batch is there.

    .. math:: y = r + \gamma (1 - \mathrm{terminated})\,
              Q_{target}\bigl(s', \arg\max_a Q(s', a)\bigr)

    The same settings and environment give the same weights, whatever ran before: one thread,
    own random state. A truncated episode bootstraps from its last observation.

    References
    ----------
    .. [1] Mnih, V. et al. (2015). "Human-level control through deep reinforcement learning."
       Nature, 518, 529-533.
    .. [2] van Hasselt, H., Guez, A. and Silver, D. (2016). "Deep Reinforcement Learning with
       Double Q-learning." AAAI, 2094-2100.
    """
    rng = np.random.default_rng(settings.seed)
    replay = Replay(settings.replay, environment.observation_size)
    losses: list[float] = []
    episodes = 0
    with deterministic(settings.seed):
        learner = _Learner(environment, settings)
        observation = environment.reset(rng)
        for step in range(steps):
            if rng.random() < settings.epsilon(step, steps):
                action = int(rng.integers(environment.actions))
            else:
                action = learner.best_action(observation)
            following, reward, terminated, truncated = environment.step(action)
            replay.add(observation, action, reward, following, terminated=terminated)
            if terminated or truncated:
                episodes += 1
                following = environment.reset(rng)
            observation = following
            if replay.size >= settings.batch:
                losses.append(
                    learner.update(replay, rng.integers(replay.size, size=settings.batch))
                )
        return DqnFit(
            layers=layers(learner.online),
            episodes=episodes,
            updates=len(losses),
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


class _Learner:
    """The network that acts and the one that judges, a little behind it."""

    def __init__(self, environment: Environment, settings: DqnSettings) -> None:
        import torch

        shape = (environment.observation_size, settings.hidden, environment.actions)
        self.settings = settings
        self.online, self.target = perceptron(*shape), perceptron(*shape)
        self.target.load_state_dict(self.online.state_dict())
        self._fast, self._slow = list(self.online.parameters()), list(self.target.parameters())
        self._optimizer = torch.optim.Adam(self._fast, lr=settings.learning_rate, fused=True)

    def best_action(self, observation: FloatArray) -> int:
        """Return the action with the highest value."""
        import torch

        with torch.no_grad():
            row = torch.as_tensor(observation, dtype=torch.float32)
            return int(self.online(row).argmax())

    def update(self, replay: Replay, rows: IntArray) -> float:
        """Move one step towards the targets of these transitions and return their loss."""
        import torch
        from torch.nn.functional import smooth_l1_loss

        following = torch.from_numpy(replay.following[rows])
        action = torch.from_numpy(replay.action[rows])[:, None]
        with torch.no_grad():
            judged = self.target(following)
            chooser = self.online(following) if self.settings.double else judged
            ahead = judged.gather(1, chooser.argmax(dim=1, keepdim=True))[:, 0]
            ahead *= 1.0 - torch.from_numpy(replay.terminated[rows])
            wanted = torch.from_numpy(replay.reward[rows]) + self.settings.gamma * ahead
        values = self.online(torch.from_numpy(replay.observation[rows]))
        loss = smooth_l1_loss(values.gather(1, action)[:, 0], wanted)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._fast, self.settings.max_gradient)
        self._optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self._slow, self._fast, strict=True):
                slow.lerp_(fast, self.settings.soft_update)
        return float(loss.detach())
