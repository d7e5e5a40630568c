"""What trained networks over windows of sessions answer, compiled, without torch.

Sums run in one fixed order, in single precision and without reassociation: a window gives the same
bits alone and among thousands. Division by zero is no error here (no divisor can be zero), as the
check for it would keep loops from running side by side. How the networks are taught is in ``deep``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray

SingleArray = NDArray[np.float32]

# Logarithms of a spread further out than this come from nowhere; training and inference clip.
LOG_SPREAD_LIMIT = 4.0
# Windows that are carried through a recurrent layer together: the weights are read once for all.
_BLOCK = 8
_EPSILON = np.float32(1e-5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SequenceFit(ABC):
    """What both networks share: how they see features, and what their outputs mean.

    ``center`` and ``inverse`` (one over the spread) standardise features, clipped at ``clip``
    spreads. Output ``s`` of ``n_steps`` is a forecast ``target_center + target_spread * m`` of the
    excess return of one horizon, the last being the one that votes, and its interval is
    ``quantile`` times the spread that the network expects. ``abstain`` is the share of the
    interval's half width that a forecast must exceed.
    """

    center: SingleArray
    inverse: SingleArray
    clip: SingleArray
    target_center: FloatArray
    target_spread: FloatArray
    quantile: FloatArray
    abstain: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @abstractmethod
    def outputs(self, x: SingleArray) -> SingleArray:
        """Return the last layer of each window of ``x``: means, then logarithms of spreads."""

    def expect(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and spread of the excess return, each of shape ``(n_rows, n_steps)``.

        ``x`` has shape ``(n_rows, window, n_features)``; the spread is not calibrated.
        """
        outputs = self.outputs(np.ascontiguousarray(x, dtype=np.float32)).astype(np.float64)
        mean, log_spread = np.split(outputs, 2, axis=1)
        spread = np.exp(np.clip(log_spread, -LOG_SPREAD_LIMIT, LOG_SPREAD_LIMIT))
        return self.target_center + self.target_spread * mean, self.target_spread * spread

    def forecast(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the forecasts of all horizons and the half widths of their intervals."""
        mean, spread = self.expect(x)
        return mean, self.quantile * spread

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the forecast of the last horizon; NaN where it says too little to be used."""
        mean, half = self.forecast(x)
        weak = np.abs(mean[:, -1]) < self.abstain[0] * half[:, -1]
        return np.where(weak, np.nan, mean[:, -1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recurrent(SequenceFit):
    """Long short-term memory, ``n_layers`` deep; gates in torch's order (in, forget, new, out).

    ``enter`` has shape ``(n_features, 4 hidden)``, ``upward`` ``(n_layers - 1, hidden, 4 hidden)``
    for the layers above, ``onward`` ``(n_layers, hidden, 4 hidden)`` from one session to the next.
    """

    enter: SingleArray
    upward: SingleArray
    onward: SingleArray
    bias: SingleArray
    head: SingleArray
    head_bias: SingleArray

    def outputs(self, x: SingleArray) -> SingleArray:
        """Return the last layer of each window of ``x``."""
        out: SingleArray = recur(
            x, self.center, self.inverse, self.clip[0], self.enter, self.upward, self.onward,
            self.bias, self.head, self.head_bias,
        )  # fmt: skip
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoder(SequenceFit):
    """A Transformer encoder that normalises before each part and reads its last position.

    Weights of the ``n_layers`` layers are stacked, each ``(fan_in, fan_out)``; ``heads`` has shape
    ``(1,)``; ``position`` ``(window, width)`` is added to the embedded features.
    """

    heads: NDArray[np.int64]
    embed: SingleArray
    position: SingleArray
    mix: SingleArray
    mix_bias: SingleArray
    join: SingleArray
    join_bias: SingleArray
    widen: SingleArray
    widen_bias: SingleArray
    narrow: SingleArray
    narrow_bias: SingleArray
    norm: SingleArray
    norm_bias: SingleArray
    head: SingleArray
    head_bias: SingleArray

    def outputs(self, x: SingleArray) -> SingleArray:
        """Return the last layer of each window of ``x``."""
        out: SingleArray = encode(
            x, self.center, self.inverse, self.clip[0], int(self.heads[0]), self.embed,
            self.position, self.mix, self.mix_bias, self.join, self.join_bias, self.widen,
            self.widen_bias, self.narrow, self.narrow_bias, self.norm, self.norm_bias, self.head,
            self.head_bias,
        )  # fmt: skip
        return out


@njit(cache=True, nogil=True, error_model="numpy")
def recur(  # type: ignore[no-untyped-def]
    x, center, inverse, clip, enter, upward, onward, bias, head, head_bias
):
    """Return the head's answer to the last state of each window."""
    n, window, features = x.shape
    layers, hidden, _ = onward.shape
    out = np.empty((n, len(head_bias)), dtype=np.float32)
    seen = np.empty((window * _BLOCK, features), dtype=np.float32)
    gates = np.empty((window * _BLOCK, 4 * hidden), dtype=np.float32)
    states = np.empty((window * _BLOCK, hidden), dtype=np.float32)
    cell = np.empty((_BLOCK, hidden), dtype=np.float32)
    for first in range(0, n, _BLOCK):
        size = min(_BLOCK, n - first)
        # Time first: what a layer adds to one session of all windows lies together.
        for b in range(size):
            for t in range(window):
                _standardise(x[first + b, t], center, inverse, clip, seen[t * size + b])
        rows = window * size
        for layer in range(layers):
            _spread_bias(bias[layer], gates[:rows])
            if layer == 0:
                _add_product(seen[:rows], enter, gates[:rows])
            else:
                _add_product(states[:rows], upward[layer - 1], gates[:rows])
            cell[:size] = 0.0
            for t in range(window):
                now = gates[t * size : (t + 1) * size]
                if t > 0:
                    _add_product(states[(t - 1) * size : t * size], onward[layer], now)
                _advance(now, cell, states[t * size : (t + 1) * size])
        _spread_bias(head_bias, out[first : first + size])
        _add_product(states[rows - size : rows], head, out[first : first + size])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def encode(  # type: ignore[no-untyped-def]
    x, center, inverse, clip, heads, embed, position, mix, mix_bias, join, join_bias, widen,
    widen_bias, narrow, narrow_bias, norm, norm_bias, head, head_bias,
):  # fmt: skip
    """Return the head's answer to the last position of each window."""
    n, window, features = x.shape
    layers, width, wide = widen.shape
    out = np.empty((n, len(head_bias)), dtype=np.float32)
    seen = np.empty((window, features), dtype=np.float32)
    stream = np.empty((window, width), dtype=np.float32)
    quiet = np.empty((window, width), dtype=np.float32)
    mixed = np.empty((window, 3 * width), dtype=np.float32)
    keys = np.empty((width, window), dtype=np.float32)
    weights = np.empty(heads * window, dtype=np.float32)
    broad = np.empty((window, wide), dtype=np.float32)
    for i in range(n):
        for t in range(window):
            _standardise(x[i, t], center, inverse, clip, seen[t])
        stream[:] = position
        _add_product(seen, embed, stream)
        for layer in range(layers):
            # Above the last layer only the last position is read.
            start = window - 1 if layer == layers - 1 else 0
            _normalise(stream, norm[layer, 0], norm_bias[layer, 0], quiet)
            _spread_bias(mix_bias[layer], mixed)
            _add_product(quiet, mix[layer], mixed)
            for t in range(window):
                for c in range(width):
                    keys[c, t] = mixed[t, width + c]
            for t in range(start, window):
                _attend(mixed, keys, heads, t, weights, quiet[t])
            for t in range(start, window):
                for c in range(width):
                    stream[t, c] += join_bias[layer, c]
            _add_product(quiet[start:], join[layer], stream[start:])
            _normalise(stream[start:], norm[layer, 1], norm_bias[layer, 1], quiet[start:])
            _spread_bias(widen_bias[layer], broad[start:])
            _add_product(quiet[start:], widen[layer], broad[start:])
            for t in range(start, window):
                for c in range(wide):
                    broad[t, c] = max(broad[t, c], np.float32(0.0))
                for c in range(width):
                    stream[t, c] += narrow_bias[layer, c]
            _add_product(broad[start:], narrow[layer], stream[start:])
        last = window - 1
        _normalise(stream[last:], norm[layers, 0], norm_bias[layers, 0], quiet[last:])
        _spread_bias(head_bias, out[i : i + 1])
        _add_product(quiet[last:], head, out[i : i + 1])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _standardise(row, center, inverse, clip, out):  # type: ignore[no-untyped-def]
    for c in range(len(row)):
        value = (row[c] - center[c]) * inverse[c]
        out[c] = min(max(value, -clip), clip)


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_bias(bias, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        for j in range(len(bias)):
            out[i, j] = bias[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_product(x, w, out):  # type: ignore[no-untyped-def]
    """Add ``x @ w`` to ``out``, each sum from the first column of ``x`` to the last.

    Two rows and four columns at a time: every weight that is loaded is used twice, every sum is
    loaded and stored once for four products. The order of a sum is the same for any row.
    """
    n, depth = x.shape
    m = w.shape[1]
    four = depth - depth % 4
    for i in range(0, n - 1, 2):
        for k in range(0, four, 4):
            a, b, c, d = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
            e, f, g, h = x[i + 1, k], x[i + 1, k + 1], x[i + 1, k + 2], x[i + 1, k + 3]
            for j in range(m):
                p, q, r, s = w[k, j], w[k + 1, j], w[k + 2, j], w[k + 3, j]
                out[i, j] = (((out[i, j] + a * p) + b * q) + c * r) + d * s
                out[i + 1, j] = (((out[i + 1, j] + e * p) + f * q) + g * r) + h * s
        for k in range(four, depth):
            for j in range(m):
                out[i, j] += x[i, k] * w[k, j]
                out[i + 1, j] += x[i + 1, k] * w[k, j]
    if n % 2:
        i = n - 1
        for k in range(0, four, 4):
            a, b, c, d = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
            for j in range(m):
                p, q, r, s = w[k, j], w[k + 1, j], w[k + 2, j], w[k + 3, j]
                out[i, j] = (((out[i, j] + a * p) + b * q) + c * r) + d * s
        for k in range(four, depth):
            for j in range(m):
                out[i, j] += x[i, k] * w[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(gates, cell, state):  # type: ignore[no-untyped-def]
    """Open and close the gates of one session: what is kept, what is new, what is shown."""
    size, hidden = state.shape
    half = np.float32(0.5)
    for b in range(size):
        # One plain loop over one row at a time, or nothing runs side by side.
        for c in range(2 * hidden):
            gates[b, c] = half * _tanh(half * gates[b, c]) + half
        new, show = gates[b, 2 * hidden : 3 * hidden], gates[b, 3 * hidden :]
        for c in range(hidden):
            new[c] = _tanh(new[c])
        for c in range(hidden):
            show[c] = half * _tanh(half * show[c]) + half
        enter, keep = gates[b, :hidden], gates[b, hidden : 2 * hidden]
        for c in range(hidden):
            cell[b, c] = keep[c] * cell[b, c] + enter[c] * new[c]
            state[b, c] = show[c] * _tanh(cell[b, c])


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _tanh(x):  # type: ignore[no-untyped-def]
    r"""Return the hyperbolic tangent to 2e-7, in operations that run side by side.

    Lambert's continued fraction, cut after its seventh term, at a quarter of ``x``, and twice
    :math:`\tanh 2u = 2 \tanh u / (1 + \tanh^2 u)`. Beyond 9.6 it is 1 in single precision.
    """
    u = np.float32(0.25) * x
    u = min(max(u, np.float32(-2.4)), np.float32(2.4))
    s = u * u
    over = np.float32(135135.0) + s * (np.float32(17325.0) + s * (np.float32(378.0) + s))
    under = np.float32(135135.0) + s * (
        np.float32(62370.0) + s * (np.float32(3150.0) + np.float32(28.0) * s)
    )
    y = u * over / under
    y = (y + y) / (np.float32(1.0) + y * y)
    return (y + y) / (np.float32(1.0) + y * y)


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(rows, weight, bias, out):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    for t in range(len(rows)):
        total = np.float32(0.0)
        for c in range(width):
            total += rows[t, c]
        mean = total / np.float32(width)
        total = np.float32(0.0)
        for c in range(width):
            total += (rows[t, c] - mean) * (rows[t, c] - mean)
        inverse = np.float32(1.0) / np.sqrt(total / np.float32(width) + _EPSILON)
        for c in range(width):
            out[t, c] = (rows[t, c] - mean) * inverse * weight[c] + bias[c]


@njit(cache=True, nogil=True, error_model="numpy")
def _attend(mixed, keys, heads, t, weights, out):  # type: ignore[no-untyped-def]
    """Write what position ``t`` hears from all positions, head by head."""
    width, window = keys.shape
    size = width // heads
    scale = np.float32(1.0) / np.sqrt(np.float32(size))
    weights[:] = np.float32(0.0)
    for head in range(heads):
        heard = weights[head * window : (head + 1) * window]
        for c in range(head * size, (head + 1) * size):
            query, key = mixed[t, c] * scale, keys[c]
            for s in range(window):
                heard[s] += query * key[s]
        most = heard.max()
        for s in range(window):
            heard[s] = np.float32(0.5) * (heard[s] - most)
    # exp 2u = (1 + tanh u) / (1 - tanh u), to 2e-7 of the largest share.
    for s in range(len(weights)):
        y = _tanh(weights[s])
        weights[s] = (np.float32(1.0) + y) / (np.float32(1.0) - y)
    out[:] = np.float32(0.0)
    for head in range(heads):
        begin = head * size
        heard, told = weights[head * window : (head + 1) * window], out[begin : begin + size]
        total = np.float32(0.0)
        for s in range(window):
            total += heard[s]
        for s in range(window):
            share = heard[s] / total
            value = mixed[s, 2 * width + begin : 2 * width + begin + size]
            for c in range(size):
                told[c] += share * value[c]
