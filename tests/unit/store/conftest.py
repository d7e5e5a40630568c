"""The recorded files are opened once per process: what they derive is kept between tests."""

from functools import cache
from pathlib import Path

import pytest

from trading.store.datasets import RecordedSource


@cache
def _opened(directory: Path) -> RecordedSource:
    return RecordedSource(directory)


@pytest.fixture
def recorded(shared_data: Path) -> RecordedSource:
    """Return the recorded KRX and US files; skips where this machine has none."""
    return _opened(shared_data)
