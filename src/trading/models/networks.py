"""Networks in torch: their layers, for training only.

What a trained network answers while trading is computed from its exported layers elsewhere: torch
is never asked for a decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trading.models.base import LstmSettings, TransformerSettings


def recurrent(inputs: int, settings: "LstmSettings", outputs: int) -> "nn.ModuleDict":
    """Return long short-term memory and a linear head."""
    from torch import nn

    return nn.ModuleDict(
        {
            "memory": nn.LSTM(
                inputs,
                settings.hidden,
                settings.layers,
                batch_first=True,
                dropout=settings.dropout if settings.layers > 1 else 0.0,
            ),
            "head": nn.Linear(settings.hidden, outputs),
        }
    )


def recur(network: "nn.ModuleDict", x: "Tensor") -> "Tensor":
    """Return the head's answer to the last state of windows ``(n, window, inputs)``."""
    states, _ = network["memory"](x)
    answer: Tensor = network["head"](states[:, -1])
    return answer


def encoder(
    inputs: int, settings: "TransformerSettings", outputs: int, *, width: int
) -> "nn.ModuleDict":
    """Return a Transformer encoder of ``width`` that normalises before each part [1]_, and a head.

    References
    ----------
    .. [1] Vaswani, A. et al. (2017). "Attention Is All You Need." NeurIPS 30.
    .. [2] Xiong, R. et al. (2020). "On Layer Normalization in the Transformer Architecture."
       ICML, 10524-10533.
    """
    from torch import nn

    return nn.ModuleDict(
        {
            "embed": nn.Linear(inputs, width, bias=False),
            "layers": nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width,
                    settings.heads,
                    settings.feedforward * width,
                    dropout=settings.dropout,
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(settings.layers)
            ),
            "norm": nn.LayerNorm(width),
            "head": nn.Linear(width, outputs),
        }
    )


def encode(network: "nn.ModuleDict", x: "Tensor", position: "Tensor") -> "Tensor":
    """Return the head's answer to the last position of windows ``(n, window, inputs)``."""
    stream = network["embed"](x) + position
    for layer in network["layers"]:  # type: ignore[attr-defined]
        stream = layer(stream)
    answer: Tensor = network["head"](network["norm"](stream[:, -1]))
    return answer


def positions(window: int, width: int) -> NDArray[np.float32]:
    r"""Return sines and cosines of shape ``(window, width)`` that tell the positions apart.

    .. math:: \sin(t / 10000^{2i/d}),\ \cos(t / 10000^{2i/d})
    """
    angle = np.arange(window)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return (
        np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(window, width).astype(np.float32)
    )


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Train on one thread from ``seed``; torch's threads and random state are as before afterwards.

    Sums over several threads come out in another order, and so does every weight after them.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
