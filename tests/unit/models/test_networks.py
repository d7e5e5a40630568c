"""The compiled networks against torch's own evaluation."""

import numpy as np
import pytest
import torch

from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models import deep, networks, sequences
from trading.models.base import LstmSettings, ModelSettings, TransformerSettings
from trading.models.sequences import Encoder, Recurrent

WINDOW = 20
# What standardises features and calibrates answers is not the network's.
PLAIN = {
    "clip": np.array([1e9], dtype=np.float32),
    "target_center": np.zeros(3),
    "target_spread": np.ones(3),
    "quantile": np.ones(3),
    "abstain": np.zeros(1),
}


@pytest.fixture(scope="module")
def windows(embedded_panels):
    """Return standardised recorded windows."""
    data = datasets.build(embedded_panels[1], FeatureSettings(), ModelSettings(), window=WINDOW)
    x = data.x[::40]
    return ((x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))).astype(np.float32)


def plain(features):
    """Return scales that leave the features as they are."""
    ones = np.ones(features, dtype=np.float32)
    return {**PLAIN, "center": 0 * ones, "inverse": ones}


def recurrent(settings, features):
    """Return the compiled and the torch network with the same random weights."""
    with networks.deterministic(3):
        network = networks.recurrent(features, settings, 6).eval()
    return Recurrent(**plain(features), **deep._recurrent(network)), network


def encoder(settings, features, width, window):
    """Return the compiled and the torch network with the same random weights."""
    position = networks.positions(window, width)
    with networks.deterministic(3):
        network = networks.encoder(features, settings, 6, width=width).eval()
        for name, part in network.named_parameters():
            # Norms begin as ones and zeros, which would hide a confusion of them.
            if "norm" in name:
                torch.nn.init.normal_(part, mean=1.0, std=0.3)
    fitted = Encoder(**plain(features), **deep._encoder(network, position, settings.heads))
    return fitted, network, torch.from_numpy(position)


@pytest.mark.compiled_only
@pytest.mark.parametrize(
    ("hidden", "layers", "window"), [(64, 2, 20), (7, 1, 5), (10, 3, 1), (33, 2, 11)]
)
def test_recurrent_equals_torch(windows, hidden, layers, window):
    """Any width and depth gives torch's answer to 1e-5."""
    x = np.ascontiguousarray(windows[:, -window:])
    fitted, network = recurrent(LstmSettings(hidden=hidden, layers=layers), x.shape[2])

    with torch.no_grad():
        expected = networks.recur(network, torch.from_numpy(x)).numpy()

    np.testing.assert_allclose(fitted.outputs(x), expected, atol=1e-5, rtol=0)


@pytest.mark.compiled_only
@pytest.mark.parametrize(
    ("width", "heads", "layers", "window"), [(64, 8, 4, 20), (12, 3, 1, 7), (16, 1, 2, 1)]
)
def test_encoder_equals_torch(windows, width, heads, layers, window):
    """Any width, depth and number of heads gives torch's answer to 1e-5."""
    x = np.ascontiguousarray(windows[:, -window:])
    settings = TransformerSettings(d_model=width, d_model_cuda=width, heads=heads, layers=layers)
    fitted, network, position = encoder(settings, x.shape[2], width, window)

    with torch.no_grad():
        expected = networks.encode(network, torch.from_numpy(x), position).numpy()

    np.testing.assert_allclose(fitted.outputs(x), expected, atol=1e-5, rtol=0)


def small(windows, family):
    """Return a small compiled network of a family."""
    features = windows.shape[2]
    if family == "lstm":
        return recurrent(LstmSettings(hidden=6), features)[0]
    settings = TransformerSettings(d_model=8, d_model_cuda=8, heads=2, layers=2)
    return encoder(settings, features, 8, windows.shape[1])[0]


@pytest.mark.parametrize("family", ["lstm", "transformer"])
def test_a_window_alone_is_the_same_window(windows, family):
    """Bits do not depend on what is asked together; later rows of a batch change nothing."""
    x = np.ascontiguousarray(windows[:19])
    fitted = small(x, family)

    together = fitted.outputs(x)
    alone = np.concatenate([fitted.outputs(x[i : i + 1]) for i in range(len(x))])
    changed = fitted.outputs(np.concatenate([x[:11], x[:1] * np.float32(50.0), x[12:]]))

    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[:11], changed[:11])
    assert not np.array_equal(together[11], changed[11])


@pytest.mark.parametrize("family", ["lstm", "transformer"])
def test_order_in_the_window_matters(windows, family):
    """Sessions in another order are another window, though the last one stays where it is."""
    x = np.ascontiguousarray(windows[:4])
    fitted = small(x, family)
    order = np.r_[np.random.default_rng(5).permutation(WINDOW - 1), WINDOW - 1]

    moved = np.abs(fitted.outputs(x) - fitted.outputs(np.ascontiguousarray(x[:, order])))

    assert moved.max(axis=1).min() > 1e-3


@pytest.mark.compiled_only
def test_hyperbolic_tangent():
    """Lambert's fraction is numpy's tanh in double precision to 2e-7, and saturates."""
    x = np.linspace(-30.0, 30.0, 20_001).astype(np.float32)
    gates = np.tile(x[:, None], (1, 4))
    cell, state = np.zeros((len(x), 1), dtype=np.float32), np.empty((len(x), 1), dtype=np.float32)

    sequences._advance(gates, cell, state)

    wide = x.astype(np.float64)
    sigmoid = 1.0 / (1.0 + np.exp(-wide))
    np.testing.assert_allclose(cell[:, 0], sigmoid * np.tanh(wide), atol=4e-7, rtol=0)
    expected = sigmoid * np.tanh(sigmoid * np.tanh(wide))
    np.testing.assert_allclose(state[:, 0], expected, atol=6e-7, rtol=0)


def test_positions_are_sines_and_cosines():
    """Pairs of sine and cosine with wavelengths from one turn of 2 pi to 10000 times as long."""
    got = networks.positions(3, 4)

    expected = [[np.sin(t), np.cos(t), np.sin(t / 100.0), np.cos(t / 100.0)] for t in range(3)]
    np.testing.assert_allclose(got, expected, atol=1e-7)
