"""Recorded returns of the embedded stocks."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def embedded_returns(embedded_panels):
    """Return simple returns of AAPL, FB, GOOG, IBM, MSFT to 2013-03-01; NaN before listing."""
    _, adjusted = embedded_panels
    assert adjusted.symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    returns = np.full(adjusted.close.shape, np.nan)
    returns[1:] = adjusted.close[1:] / adjusted.close[:-1] - 1.0
    return returns


@pytest.fixture(scope="session")
def four_returns(embedded_returns):
    """Return the last 1,000 sessions of AAPL, GOOG, IBM and MSFT, without a hole."""
    return np.ascontiguousarray(embedded_returns[-1000:, [0, 2, 3, 4]])
