"""What tests of single modules share."""

import pytest

from trading import log


@pytest.fixture(autouse=True)
def _fresh_log():
    """Log lines go to the console, wherever a test before this one has sent them."""
    log.configure(None)
