"""Speed of deep Q-learning and of its environment, as ratios against others in the same run.

``python bench/dqn.py [--peer python] [--json]``. ``--peer`` is a Python that has stable-baselines3
(``pip install '.[bench]'``, or an environment of its own); without one only our side is timed. What
the numbers mean and what they were is in ``docs/reinforcement.md``.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any

import numpy as np
from measure import Result, Spread, show

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.models.dqn import DqnSettings, train
from trading.models.rl_env import Account, Trading, gymnasium_env, segments, tape

UPDATES = 1_500
ENV_STEPS = 20_000
LANES = 1_024
ROUNDS = 3
# One update a step, a batch of 128, layers of 128 and 128: on both sides.
SETTINGS = DqnSettings()


def trading(lanes: int) -> Trading:
    """Return accounts on the recorded bars that come with the program."""
    from trading.features import pipeline
    from trading.store.datasets import EmbeddedSource
    from trading.store.panels import assemble_panels

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    _, panel = assemble_panels(
        source.daily(Market.US, None, days[0], days[-1]), [], days, Market.US, None
    )
    x = pipeline.compute(panel, pipeline.FeatureSettings()).values
    x = x[:, :, np.isfinite(x[-1]).any(axis=0)]
    usable = np.logical_and.reduce(np.isfinite(x), axis=2)
    flat = x[usable]
    scaled = ((x - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1e-8)).astype(np.float32)
    recorded = tape(panel, scaled, shipped_rules(Market.US))
    account = Account(cash=1_000_000_000, participation_bps=1_000)
    return Trading(recorded, segments(usable), account, lanes=lanes, length=250)


def timed(work: Callable[[], Any], units: int) -> list[int]:
    """Return processor nanoseconds a unit of work, of each round; the first round is not counted."""
    times = []
    for _ in range(ROUNDS + 1):
        begin = process_time_ns()
        work()
        times.append((process_time_ns() - begin) // units)
    return times[1:]


def ours() -> list[int]:
    """Return the times of an update of ours, with its step of the environment."""
    environment = trading(1)
    steps = UPDATES + SETTINGS.batch
    return timed(lambda: train(environment, SETTINGS, steps=steps, seed=7), UPDATES)


def theirs() -> list[int]:
    """Return the times of an update of stable-baselines3 on the same environment."""
    import torch
    from stable_baselines3 import DQN

    torch.set_num_threads(1)
    env = gymnasium_env(trading(1))

    def learn() -> None:
        DQN(
            "MlpPolicy",
            env,
            learning_rate=SETTINGS.learning_rate,
            buffer_size=SETTINGS.replay,
            learning_starts=SETTINGS.batch,
            batch_size=SETTINGS.batch,
            tau=SETTINGS.soft_update,
            gamma=SETTINGS.gamma,
            train_freq=1,
            gradient_steps=1,
            target_update_interval=1,
            policy_kwargs={"net_arch": list(SETTINGS.hidden)},
            device="cpu",
            seed=7,
        ).learn(UPDATES + SETTINGS.batch)

    return timed(learn, UPDATES)


def many() -> list[int]:
    """Return the times of a step of one account among many, in tenths of a nanosecond."""
    environment = trading(LANES)
    rng = np.random.default_rng(7)
    actions = rng.integers(2, size=(64, LANES))
    environment.reset(rng)

    def steps() -> None:
        for k in range(10 * ENV_STEPS // LANES):
            _, _, terminated, truncated = environment.step(actions[k % 64])
            done = terminated | truncated
            if done.any():
                environment.renew(done, rng)

    return timed(steps, ENV_STEPS)


def cart_pole() -> list[int]:
    """Return the times of a step of Gymnasium's CartPole."""
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    actions = np.random.default_rng(7).integers(2, size=ENV_STEPS).tolist()

    def steps() -> None:
        env.reset(seed=7)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return timed(steps, ENV_STEPS)


def alone() -> list[int]:
    """Return the times of a step of our environment behind Gymnasium's interface."""
    env = gymnasium_env(trading(1))
    actions = np.random.default_rng(7).integers(2, size=ENV_STEPS).tolist()

    def steps() -> None:
        env.reset(seed=7)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return timed(steps, ENV_STEPS)


def of_peer(python: str) -> list[int] | None:
    """Return what ``theirs`` says in another Python; ``None`` when it has no stable-baselines3."""
    source = Path(__file__).resolve().parents[1] / "src"
    told = subprocess.run(
        [python, __file__, "--theirs"],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    return [int(word) for word in told.stdout.split()] if told.returncode == 0 else None


def main() -> int:
    """Time both sides and say what is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=sys.executable, help="stable-baselines3 가 있는 파이썬")
    parser.add_argument("--json", action="store_true", help="JSON 으로 출력")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        try:
            sys.stdout.write(" ".join(map(str, theirs())))
        except ModuleNotFoundError:
            return 1
        return 0

    mine, peer = ours(), of_peer(options.peer)
    updates = Result(
        name="DQN 갱신, 배치 128, 128-128, 한 걸음에 한 번"
        if peer is not None
        else "DQN 갱신 (stable-baselines3 가 없어 우리 쪽만 잼: --peer 로 알려 주세요)",
        value=min(peer) / min(mine) if peer is not None else 1e9 / min(mine),
        limit=3.0 if peer is not None else None,
        unit="배 (stable-baselines3 대비)" if peer is not None else "회/초",
        at_least=True,
        spreads={"우리 갱신 하나": Spread.of(mine)}
        | ({"stable-baselines3 갱신 하나": Spread.of(peer)} if peer is not None else {}),
    )
    vector, pole, single = many(), cart_pole(), alone()
    steps = Result(
        name=f"환경의 걸음, 계좌 {LANES:,}개 나란히",
        value=min(pole) * 10 / min(vector),
        limit=10.0,
        unit="배 (gymnasium CartPole 대비)",
        at_least=True,
        spreads={
            "우리 걸음 열": Spread.of(vector),
            "gymnasium CartPole 걸음 하나": Spread.of(pole),
            "우리 걸음 하나 (Gymnasium 으로)": Spread.of(single),
        },
    )
    return show([updates, steps], as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
