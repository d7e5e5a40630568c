"""Speed of teaching and asking models, as ratios against torch and scikit-learn in one run.

``python bench/learn.py [--json]``. What the numbers mean and what they were is in
``docs/models.md``.
"""

import argparse
import os
import sys
from collections.abc import Callable
from time import process_time_ns
from typing import Any

# One thread each: what is measured is the work, not how many cores the machine can spare.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from measure import Result, Spread, show, time_calls
from pairs import embedded
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor, nn

from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset
from trading.models import deep, networks
from trading.models.base import Dataset, ModelSettings
from trading.models.forest import Forest
from trading.models.sequences import SequenceFit
from trading.models.validation import folds, walk_forward

SETTINGS = ModelSettings()
UNIVERSE = 2700
ROUNDS = 5
ONE = 400


class BareLstm(nn.Module):
    """What anybody would write."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        own = SETTINGS.lstm
        self.memory = nn.LSTM(inputs, own.hidden, own.layers, batch_first=True, dropout=own.dropout)
        self.head = nn.Linear(own.hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the head's answer to the last state."""
        states, _ = self.memory(x)
        answer: Tensor = self.head(states[:, -1])
        return answer


class BareTransformer(nn.Module):
    """What anybody would write, of torch's own layers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        own = SETTINGS.transformer
        width = own.d_model
        self.embed = nn.Linear(inputs, width, bias=False)
        self.position: Tensor
        self.register_buffer("position", torch.from_numpy(networks.positions(own.window, width)))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, own.heads, own.feedforward * width, own.dropout,
                batch_first=True, norm_first=True,
            )
            for _ in range(own.layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the head's answer to the last position."""
        stream = self.embed(x) + self.position
        for layer in self.layers:
            stream = layer(stream)
        answer: Tensor = self.head(self.norm(stream[:, -1]))
        return answer


def timed(calls: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, list[int]]:
    """Return processor times of the process, taken in turns after a first call of each."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = process_time_ns()
            call()
            times[name].append(process_time_ns() - begin)
    return times


def ratio(times: dict[str, list[int]], ours: str, theirs: str) -> float:
    """Return the median of ours over theirs, round by round: a busy moment meets both."""
    return float(np.median(np.divide(times[ours], times[theirs])))


def epoch(learner: deep.Lstm | deep.Transformer, data: Dataset, bare: nn.Module) -> Result:
    """Time an epoch of ours, windows picked and standardised, and of a plain loop over tensors."""
    own, everything = learner.settings, np.arange(len(data.row))
    course = deep.Course.of(data, everything, own)
    network, run = networks_of(learner, data, course)
    taught = torch.from_numpy(course.taught)
    optimizer = torch.optim.AdamW(network.parameters(), lr=own.learning_rate, fused=True)
    x, wanted, known = course.batch(taught)
    theirs_by = torch.optim.AdamW(bare.parameters(), lr=own.learning_rate, fused=True)

    def theirs() -> None:
        bare.train()
        for rows in torch.randperm(len(x)).split(own.batch):
            mean, log_spread = bare(x[rows]).chunk(2, dim=1)
            log_spread = log_spread.clamp(-4.0, 4.0)
            each = log_spread + 0.5 * ((wanted[rows] - mean) * (-log_spread).exp()).square()
            loss = (each * known[rows]).sum() / known[rows].sum()
            theirs_by.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(bare.parameters(), own.max_gradient)
            theirs_by.step()

    names = {f"trading, {len(x):,} windows in batches of {own.batch}": "ours", "torch": "theirs"}
    calls: dict[str, Callable[[], Any]] = {
        next(iter(names)): lambda: deep.one_epoch(network, run, course, optimizer, taught),
        "torch": theirs,
    }
    times = timed(calls)
    return Result(
        name=f"{learner.title} 한 바퀴 (자료를 고르고 표준화하는 시간 포함, 맨 PyTorch 반복문 대비)",
        value=ratio(times, next(iter(names)), "torch"),
        limit=1.15,
        unit="배",
        spreads={name: Spread.of(found) for name, found in times.items()},
    )


def networks_of(
    learner: deep.Lstm | deep.Transformer, data: Dataset, course: deep.Course
) -> tuple[nn.ModuleDict, Callable[[nn.ModuleDict, Tensor], Tensor]]:
    """Return a learner's untaught network and what runs it."""
    features = data.x.shape[2]
    if isinstance(learner, deep.Lstm):
        return networks.recurrent(features, learner.settings, course.outputs), networks.recur
    width = learner.settings.d_model
    position = torch.from_numpy(networks.positions(data.window, width))
    network = networks.encoder(features, learner.settings, course.outputs, width=width)
    return network, lambda net, x: networks.encode(net, x, position)


def inference(fitted: SequenceFit, bare: nn.Module, data: Dataset, title: str) -> list[Result]:
    """Time one window and a universe of them, against the same weights in torch."""
    bare.eval()
    raw = np.ascontiguousarray(np.resize(data.x, (UNIVERSE, *data.x.shape[1:])))
    seen = (raw - fitted.center) * fitted.inverse
    x = torch.from_numpy(np.clip(seen, -fitted.clip[0], fitted.clip[0]).astype(np.float32))
    one, window = raw[:1].copy(), x[:1].clone()
    with torch.inference_mode():
        jit = torch.jit.freeze(torch.jit.trace(bare, window, check_trace=False))
        np.testing.assert_allclose(fitted.outputs(raw), bare(x).numpy(), atol=1e-5)
        np.testing.assert_allclose(fitted.outputs(one), jit(window).numpy(), atol=1e-5)
        single: dict[str, list[int]] = {"trading": [], "torch jit": [], "torch": []}
        for _ in range(5):
            single["trading"] += time_calls(lambda: fitted.outputs(one), samples=ONE)
            single["torch jit"] += time_calls(lambda: jit(window), samples=ONE)
            single["torch"] += time_calls(lambda: bare(window), samples=ONE)
        whole = timed({"trading": lambda: fitted.outputs(raw), "torch": lambda: bare(x)})
    return [
        Result(
            name=f"{title} 추론, 창 하나 (torch jit 대비)",
            value=float(np.median(single["trading"]) / np.median(single["torch jit"])),
            limit=1.0,
            unit="배",
            spreads={name: Spread.of(found) for name, found in single.items()},
        ),
        Result(
            name=f"{title} 추론, 창 {UNIVERSE:,}개 (torch 대비, 둘 다 스레드 하나)",
            value=ratio(whole, "trading", "torch"),
            limit=None,
            unit="배",
            spreads={name: Spread.of(found) for name, found in whole.items()},
        ),
    ]


def sequences(data: Dataset) -> list[Result]:
    """Measure both networks, untaught: what they know makes no difference to the time."""
    out = []
    for learner, kind in (
        (deep.Lstm(SETTINGS.lstm), BareLstm),
        (deep.Transformer(SETTINGS.transformer), BareTransformer),
    ):
        course = deep.Course.of(data, np.arange(len(data.row)), learner.settings)
        bare = kind(data.x.shape[2], course.outputs)
        out.append(epoch(learner, data, bare))
        same, _ = networks_of(learner, data, course)
        state = {name: part for name, part in bare.state_dict().items() if name != "position"}
        same.load_state_dict(state)
        if isinstance(learner, deep.Lstm):
            fitted: SequenceFit = deep.Recurrent(**course.scales, **deep._recurrent(same))
        else:
            position = networks.positions(data.window, learner.settings.d_model)
            weights = deep._encoder(same, position, learner.settings.heads)
            fitted = deep.Encoder(**course.scales, **weights)
        out += inference(fitted, bare, data, learner.title.removesuffix(" 학습"))
    return out


def walks(data: Dataset) -> Result:
    """Time a walk-forward of the forest, and scikit-learn fitting and asking the same folds."""
    own = SETTINGS.forest

    def theirs() -> None:
        for train, test in folds(data, SETTINGS.validation):
            drawn = min(own.sample_rows, len(train))
            RandomForestRegressor(
                n_estimators=own.trees,
                max_depth=own.max_depth,
                min_samples_leaf=max(1, round(own.min_leaf_share * drawn)),
                max_features=own.max_features,
                max_samples=drawn,
                n_jobs=1,
                random_state=own.seed,
            ).fit(data.x[train], data.excess[train]).predict(data.x[test])

    def ours() -> None:
        walk_forward(
            data,
            Forest(own),
            SETTINGS.validation,
            rank_min_names=SETTINGS.rank_min_names,
            seed=own.seed,
        )

    times = timed({"trading": ours, "scikit-learn": theirs})
    return Result(
        name=f"랜덤 포레스트 순차 검증, {len(data.row):,}행 (맨 scikit-learn 대비)",
        value=ratio(times, "trading", "scikit-learn"),
        limit=1.2,
        unit="배",
        spreads={name: Spread.of(found) for name, found in times.items()},
    )


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    panel = embedded()
    rows = dataset.build(panel, FeatureSettings(), SETTINGS)
    windows = dataset.build(panel, FeatureSettings(), SETTINGS, window=SETTINGS.lstm.window)
    return show([*sequences(windows), walks(rows)], as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
