"""Weights of equal volatility."""

import numpy as np

from trading.allocation.sizing import volatility_weights


def test_equal_volatility():
    """target / sigma for members; 0 for others and for those without a known volatility."""
    members = np.array([True, True, False, True, True])
    sigma = np.array([0.30, 0.15, 0.30, np.nan, 0.0])

    weights = volatility_weights(members, sigma, 0.03)

    np.testing.assert_allclose(weights, [0.1, 0.2, 0.0, 0.0, 0.0])
