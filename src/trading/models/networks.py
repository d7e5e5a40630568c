"""Networks in torch: their layers, for training only.

What a trained network answers while trading is computed from its exported layers elsewhere: torch
is never asked for a decision.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Layers = tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]


def perceptron(inputs: int, hidden: Sequence[int], outputs: int) -> "nn.Sequential":
    """Return linear layers with rectifiers between them, initialized by torch's own generator."""
    from torch import nn

    widths = [inputs, *hidden]
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        parts += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(widths[-1], outputs))


def layers(network: "nn.Sequential") -> Layers:
    """Return each linear layer's weights ``(fan_out, fan_in)`` and biases, from input to output."""
    from torch import nn

    return tuple(
        (part.weight.detach().numpy().copy(), part.bias.detach().numpy().copy())
        for part in network
        if isinstance(part, nn.Linear)
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
