"""How the networks over windows of sessions are taught, with torch.

What they answer, compiled and without torch, is in ``sequences``; their layers are in ``networks``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.errors import ModelError
from trading.features.cross_section import percentile_rank
from trading.log import get_logger
from trading.models import networks
from trading.models.base import (
    Dataset,
    LstmSettings,
    SequenceSettings,
    TransformerSettings,
    purged_tail,
)
from trading.models.sequences import LOG_SPREAD_LIMIT, Encoder, Recurrent, SequenceFit, SingleArray
from trading.progress import progress_bar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = get_logger(__name__)

# Windows that are asked together where nothing is learned.
_ASKED = 1024
# A matrix of windows larger than this share of a card's free memory stays in the host's.
_CARD_SHARE = 0.5

Fit = TypeVar("Fit", bound=SequenceFit)


@dataclass(frozen=True, slots=True)
class Lstm:
    """The recurrent learner."""

    settings: LstmSettings
    family: str = "lstm"
    title: ClassVar = "LSTM 학습"

    @property
    def window(self) -> int:
        """Sessions that one forecast looks at."""
        return self.settings.window

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Recurrent:
        """Return what the rows ``at`` teach; see ``teach``."""
        with networks.deterministic(seed):
            course = Course.of(data, at, self.settings)
            network = networks.recurrent(data.x.shape[2], self.settings, course.outputs)
            teach(network, networks.recur, course, self.title)
            return course.calibrated(Recurrent(**course.scales, **_recurrent(network)))


@dataclass(frozen=True, slots=True)
class Transformer:
    """The learner that attends to every session of the window."""

    settings: TransformerSettings
    family: str = "transformer"
    title: ClassVar = "트랜스포머 학습"

    @property
    def window(self) -> int:
        """Sessions that one forecast looks at."""
        return self.settings.window

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Encoder:
        """Return what the rows ``at`` teach; see ``teach``."""
        import torch

        settings = self.settings
        with networks.deterministic(seed):
            course = Course.of(data, at, settings)
            on_card = course.device.type == "cuda"
            width = settings.d_model_cuda if on_card else settings.d_model
            network = networks.encoder(data.x.shape[2], settings, course.outputs, width=width)
            position = networks.positions(data.window, width)
            where = torch.from_numpy(position).to(course.device)
            teach(network, lambda net, x: networks.encode(net, x, where), course, self.title)
            weights = _encoder(network, position, settings.heads)
            return course.calibrated(Encoder(**course.scales, **weights))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """What is learned from and what tells when to stop, standardised batch by batch.

    ``wanted`` has shape ``(n_rows, n_steps)``, standardised, the last column being the horizon that
    votes; where it was not known ``known`` is 0.
    """

    data: Dataset
    settings: SequenceSettings
    device: "torch.device"
    taught: IntArray
    held: IntArray
    scales: dict[str, Any]
    windows: "Tensor"
    center: "Tensor"
    inverse: "Tensor"
    wanted: "Tensor"
    known: "Tensor"

    @classmethod
    def of(cls, data: Dataset, at: IntArray, settings: SequenceSettings) -> "Course":
        """Return the course of the rows ``at``; every scale is measured where it is taught."""
        import torch

        taught, held = purged_tail(data, at, share=settings.validation_share)
        device = _device(settings)
        # A session is in as many windows as there are sessions in one: its row tells enough.
        now = data.x[taught, -1].astype(np.float64)
        spread = now.std(axis=0)
        center = now.mean(axis=0).astype(np.float32)
        inverse = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
        targets = _targets(data, at, taught, settings)
        target_center = np.nanmean(targets[taught], axis=0)
        target_spread = np.nanstd(targets[taught], axis=0)
        wanted = (targets - target_center) / np.where(target_spread > 0, target_spread, 1.0)
        windows = torch.from_numpy(np.ascontiguousarray(data.x, dtype=np.float32))
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if windows.numel() * windows.element_size() < _CARD_SHARE * free:
                windows = windows.to(device)
        return cls(
            data=data,
            settings=settings,
            device=device,
            taught=taught,
            held=held,
            scales={
                "center": center,
                "inverse": inverse.astype(np.float32),
                "clip": np.array([settings.clip], dtype=np.float32),
                "target_center": target_center,
                "target_spread": target_spread,
                "quantile": np.ones(targets.shape[1]),
                "abstain": np.array([settings.abstain_share]),
            },
            windows=windows,
            center=torch.from_numpy(center).to(device),
            inverse=torch.from_numpy(inverse.astype(np.float32)).to(device),
            wanted=torch.from_numpy(np.nan_to_num(wanted).astype(np.float32)).to(device),
            known=torch.from_numpy(np.isfinite(wanted).astype(np.float32)).to(device),
        )

    @property
    def outputs(self) -> int:
        """Numbers that a network answers: a mean and a spread for each horizon."""
        return 2 * self.wanted.shape[1]

    def batch(self, rows: "Tensor") -> tuple["Tensor", "Tensor", "Tensor"]:
        """Return standardised windows, what is wanted of them, and where that is known."""
        rows = rows.to(self.windows.device)
        x = self.windows.index_select(0, rows).to(self.device, non_blocking=True)
        x = x.sub_(self.center).mul_(self.inverse)
        x = x.clamp_(-self.settings.clip, self.settings.clip)
        rows = rows.to(self.device)
        return x, self.wanted.index_select(0, rows), self.known.index_select(0, rows)

    def calibrated(self, fitted: Fit) -> Fit:
        """Return ``fitted`` with intervals as wide as the held sessions were off [1]_.

        The error over the expected spread is below ``quantile`` in ``coverage`` of them. The same
        sessions have said when to stop, which narrows the intervals a little.

        References
        ----------
        .. [1] Lei, J. et al. (2018). "Distribution-Free Predictive Inference for Regression."
           Journal of the American Statistical Association, 113(523), 1094-1111.
        """
        mean, spread = fitted.expect(self.data.x[self.held])
        off = np.abs(_returns(self.data)[self.held] - mean)
        score = off / np.where(spread > 0, spread, 1.0)
        quantile = [_conformal(each, self.settings.coverage) for each in score.T]
        return replace(fitted, quantile=np.array(quantile))


def teach(
    network: "nn.ModuleDict",
    run: Callable[["nn.ModuleDict", "Tensor"], "Tensor"],
    course: Course,
    title: str,
) -> None:
    r"""Fit ``network``; it is left in the host's memory as it was when the held loss was least.

    The loss is the negative log-likelihood of a normal variable whose spread the network expects,
    too, over all horizons [1]_:

    .. math:: \log s + \tfrac{1}{2} \left(\frac{y - m}{s}\right)^2

    On a card it is calculated in bfloat16 where torch thinks that safe; here in single precision.

    Raises
    ------
    ModelError
        If the loss is never a number.

    References
    ----------
    .. [1] Nix, D. A. and Weigend, A. S. (1994). "Estimating the Mean and Variance of the Target
       Probability Distribution." IEEE International Conference on Neural Networks, 55-60.
    """
    import torch

    settings = course.settings
    network.to(course.device)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    taught, held = torch.from_numpy(course.taught), torch.from_numpy(course.held)
    best, least, waited, epoch = None, np.inf, 0, 0
    with progress_bar(title) as told:
        for epoch in range(1, settings.epochs + 1):
            one_epoch(network, run, course, optimizer, taught)
            loss = _held_loss(network, run, course, held)
            if told is not None:
                told(epoch, settings.epochs)
            waited += 1
            if loss < least:
                best = {name: part.detach().clone() for name, part in network.state_dict().items()}
                least, waited = loss, 0
            if waited >= settings.patience:
                break
    if best is None:
        raise ModelError("신경망 학습이 발산함: 손실이 수가 아님")
    network.load_state_dict(best)
    network.to("cpu").eval()
    log.debug("신경망 학습", title=title, rows=len(taught), epochs=epoch, loss=round(least, 4))


def one_epoch(
    network: "nn.ModuleDict",
    run: Callable[["nn.ModuleDict", "Tensor"], "Tensor"],
    course: Course,
    optimizer: "torch.optim.Optimizer",
    taught: "Tensor",
) -> None:
    """Take one step for each batch of the rows ``taught``, in a new order."""
    import torch

    network.train()
    parameters = list(network.parameters())
    order = taught[torch.randperm(len(taught))]
    for first in range(0, len(order), course.settings.batch):
        x, wanted, known = course.batch(order[first : first + course.settings.batch])
        with _cast(course.device):
            answer = run(network, x)
        optimizer.zero_grad()
        torch.autograd.backward(_loss(answer.float(), wanted, known))
        torch.nn.utils.clip_grad_norm_(parameters, course.settings.max_gradient)
        optimizer.step()


def _held_loss(
    network: "nn.ModuleDict",
    run: Callable[["nn.ModuleDict", "Tensor"], "Tensor"],
    course: Course,
    held: "Tensor",
) -> float:
    import torch

    network.eval()
    total = 0.0
    with torch.no_grad(), _cast(course.device):
        for first in range(0, len(held), _ASKED):
            rows = held[first : first + _ASKED]
            x, wanted, known = course.batch(rows)
            total += float(_loss(run(network, x).float(), wanted, known)) * len(rows)
    return total / len(held)


def _loss(answer: "Tensor", wanted: "Tensor", known: "Tensor") -> "Tensor":
    mean, log_spread = answer.chunk(2, dim=1)
    log_spread = log_spread.clamp(-LOG_SPREAD_LIMIT, LOG_SPREAD_LIMIT)
    each = log_spread + 0.5 * ((wanted - mean) * (-log_spread).exp()).square()
    return (each * known).sum() / known.sum()


def _targets(
    data: Dataset, at: IntArray, taught: IntArray, settings: SequenceSettings
) -> FloatArray:
    """Return what is wanted of each row for each horizon; NaN where it is not known.

    Ranks are taken among the rows ``at`` of a session and stretched to the spread of the returns
    that are ``taught``: a forecast is in units of a return either way.
    """
    returns = _returns(data)
    if settings.target == "excess":
        return returns
    out = np.full_like(returns, np.nan)
    sessions, position = np.unique(data.row[at], return_inverse=True)
    grid = np.full((len(sessions), int(data.column.max()) + 1), np.nan)
    for step in range(returns.shape[1]):
        grid[position, data.column[at]] = returns[at, step]
        rank = percentile_rank(grid, np.isfinite(grid), min_names=2)
        # The standard deviation of ranks in (-1, 1) is one over the root of three.
        stretch = np.sqrt(3.0) * np.nanstd(returns[taught, step])
        out[at, step] = (2.0 * rank[position, data.column[at]] - 1.0) * stretch
    return out


def _returns(data: Dataset) -> FloatArray:
    shorter = () if data.path is None else (data.path,)
    return np.column_stack([*shorter, data.excess])


def _conformal(score: FloatArray, coverage: float) -> float:
    """Return what a further score stays below with probability ``coverage``."""
    ordered = np.sort(score[np.isfinite(score)])
    place = int(np.ceil((len(ordered) + 1) * coverage))
    return float(ordered[min(place, len(ordered)) - 1])


def _recurrent(network: "nn.ModuleDict") -> dict[str, Any]:
    """Return the weights as ``Recurrent`` wants them: transposed, both biases in one."""
    part = _numbers(network)
    layers = range(sum(name.startswith("memory.weight_ih") for name in part))
    ways_in = [part[f"memory.weight_ih_l{i}"].T for i in layers]
    hidden = ways_in[0].shape[1] // 4
    upward = np.array(ways_in[1:], dtype=np.float32).reshape(-1, hidden, 4 * hidden)
    bias = [part[f"memory.bias_ih_l{i}"] + part[f"memory.bias_hh_l{i}"] for i in layers]
    return {
        "enter": np.ascontiguousarray(ways_in[0]),
        "upward": upward,
        "onward": np.array([part[f"memory.weight_hh_l{i}"].T for i in layers]),
        "bias": np.array(bias),
        "head": np.ascontiguousarray(part["head.weight"].T),
        "head_bias": part["head.bias"],
    }


def _encoder(network: "nn.ModuleDict", position: SingleArray, heads: int) -> dict[str, Any]:
    """Return the weights as ``Encoder`` wants them: transposed and stacked by layer."""
    part = _numbers(network)
    layers = range(sum(name.endswith("norm1.weight") for name in part))

    def stacked(name: str) -> SingleArray:
        found = [part[f"layers.{i}.{name}"] for i in layers]
        return np.ascontiguousarray([each.T for each in found])

    def norms(name: str) -> SingleArray:
        found = [[part[f"layers.{i}.norm{j}.{name}"] for j in (1, 2)] for i in layers]
        return np.array([*found, [part[f"norm.{name}"]] * 2])

    return {
        "heads": np.array([heads]),
        "embed": np.ascontiguousarray(part["embed.weight"].T),
        "position": position,
        "mix": stacked("self_attn.in_proj_weight"),
        "mix_bias": stacked("self_attn.in_proj_bias"),
        "join": stacked("self_attn.out_proj.weight"),
        "join_bias": stacked("self_attn.out_proj.bias"),
        "widen": stacked("linear1.weight"),
        "widen_bias": stacked("linear1.bias"),
        "narrow": stacked("linear2.weight"),
        "narrow_bias": stacked("linear2.bias"),
        "norm": norms("weight"),
        "norm_bias": norms("bias"),
        "head": np.ascontiguousarray(part["head.weight"].T),
        "head_bias": part["head.bias"],
    }


def _numbers(network: "nn.ModuleDict") -> dict[str, SingleArray]:
    return {name: part.detach().numpy().copy() for name, part in network.named_parameters()}


def _device(settings: SequenceSettings) -> "torch.device":
    import torch

    found = torch.cuda.is_available()
    if settings.device == "cuda" and not found:
        raise ModelError("GPU를 찾을 수 없음: config/models.yaml의 device를 auto나 cpu로 바꾸세요")
    return torch.device("cuda" if found and settings.device != "cpu" else "cpu")


def _cast(device: "torch.device") -> Any:
    """Return the mixed precision of a card; on a processor it costs the Transformer, so none."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
