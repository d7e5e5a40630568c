"""Homes for the dashboard's tests, made by the program: three finished sessions, none, a broken one."""

import functools
import shutil
import tempfile
from pathlib import Path

from program import EAGER, configure, trading

FIRST, LAST = "2004-11-12", "2004-11-16"
PAGES = (
    "overview",
    "positions",
    "orders",
    "decisions",
    "exposure",
    "learners",
    "quality",
    "api",
    "logbook",
)


@functools.cache
def finished(_process: str = "") -> Path:
    """Return a home after three recorded sessions; made once, nobody writes into it."""
    root = configure(Path(tempfile.mkdtemp(prefix="dashboard-")) / "home", EAGER)
    done = trading(
        root, "demo", "--start", FIRST, "--sessions", "3", "--no-prefect", "--json", timeout=300
    )
    assert done.code == 0, done.err
    return root


def copy_of(root: Path, target: Path) -> Path:
    """Return a home of its own with the same content."""
    shutil.copytree(root, target)
    return target
