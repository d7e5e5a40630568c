"""Fixtures that every test may use, and the guard over the checkout's own folders."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trading.domain.market import AdjustedPanel, RawPanel

CHECKOUT = Path(__file__).resolve().parents[1]
GUARDED = ("data", "mlruns", "logs")


def _snapshot() -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(CHECKOUT)): (path.stat().st_size, path.stat().st_mtime_ns)
        for folder in GUARDED
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of recorded market data; skips where this machine has none."""
    named = os.environ.get("TRADING_DATASET")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if not (folder / "MANIFEST.md").is_file():
        pytest.skip(f"기록된 시장 자료가 없어 건너뜀: {folder} (TRADING_DATASET 으로 지정)")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty home folder of its own."""
    root = tmp_path / "home"
    root.mkdir()
    return root


@pytest.fixture(scope="session")
def embedded_panels() -> "tuple[RawPanel, AdjustedPanel]":
    """Return both panels of the embedded US history, with the S&P 500 as benchmark."""
    from trading.domain.instrument import Market
    from trading.store.adjust import assemble_panels
    from trading.store.datasets import EmbeddedSource

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    first, last = days[0], days[-1]
    return assemble_panels(
        source.daily(Market.US, None, first, last),
        source.actions(Market.US, first, last),
        days,
        Market.US,
        None,
        index=source.index(Market.US, first, last),
        benchmark="S&P 500",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember the checkout's folders; only the controlling process does, xdist workers not."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[_BEFORE] = _snapshot()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when a test wrote into the checkout instead of its own root."""
    before = session.config.stash.get(_BEFORE, None)
    if before is None:
        return
    after = _snapshot()
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        session.config.stash[_CHANGED] = changed
        if exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files that a test changed in the checkout."""
    changed = terminalreporter.config.stash.get(_CHANGED, [])
    if changed:
        terminalreporter.section("테스트가 작업 폴더의 data/, mlruns/, logs/ 를 바꿈")
        for name in changed[:20]:
            terminalreporter.line(name)


_BEFORE = pytest.StashKey[dict[str, tuple[int, int]]]()
_CHANGED = pytest.StashKey[list[str]]()
