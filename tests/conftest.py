"""Fixtures that every test may use, and the guard over the checkout's own folders."""

import os
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from trading.backtest.record import RunRecord
    from trading.domain.actions import CorporateAction
    from trading.domain.market import AdjustedPanel, RawPanel
    from trading.domain.rules import MarketRules
    from trading.execution.decide import Policy, Views
    from trading.sessions import SessionCalendar
    from trading.strategies.base import Evaluation

# How long an example takes says how busy the machine is, not whether the law holds.
settings.register_profile("trading", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trading")

CHECKOUT = Path(__file__).resolve().parents[1]
GUARDED = ("data", "mlruns", "logs")
# To 2006-12-01: over the AAPL split of 2005-02-28 and the MSFT dividend of 2004-11-15.
EMBEDDED_ROWS = 1700


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
    from trading.store.datasets import EmbeddedSource
    from trading.store.panels import assemble_panels

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedMarket:
    """The embedded US history with its law, the shipped policy and its views to 2006-12-01."""

    raw: "RawPanel"
    actions: "tuple[CorporateAction, ...]"
    rules: "MarketRules"
    calendar: "SessionCalendar"
    policy: "Policy"
    evaluation: "Evaluation"

    def views(self, **changes: object) -> "tuple[Policy, Views]":
        """Return policy and views, with other parts of the policy (``risk=…``, ``exits=…``)."""
        from trading.execution.decide import Views

        policy = replace(self.policy, **changes)
        return policy, Views(self.evaluation, self.raw, self.rules, policy)


@pytest.fixture(scope="session")
def embedded_market(embedded_panels: "tuple[RawPanel, AdjustedPanel]") -> EmbeddedMarket:
    """Return the embedded history ready to trade by the technical agents; names have no sector."""
    from trading.bootstrap import policy_of
    from trading.config import load_settings
    from trading.domain.instrument import Market
    from trading.domain.rules import shipped_rules
    from trading.sessions import SessionCalendar
    from trading.store.datasets import EmbeddedSource
    from trading.strategies.evaluation import evaluate

    raw, adjusted = embedded_panels
    settings = load_settings(CHECKOUT)
    calendar = SessionCalendar(Market.US)
    return EmbeddedMarket(
        raw=raw,
        actions=tuple(
            EmbeddedSource().actions(
                Market.US, raw.sessions[0].astype(object), raw.sessions[-1].astype(object)
            )
        ),
        rules=shipped_rules(Market.US),
        calendar=calendar,
        policy=policy_of(settings, Market.US, calendar),
        evaluation=evaluate(
            adjusted.until(EMBEDDED_ROWS),
            raw,
            features=settings.features,
            strategies=settings.strategies,
            agents=("ma_crossover", "rsi", "bollinger_mfi", "momentum"),
        ).evaluation,
    )


@pytest.fixture(scope="session")
def embedded_run(
    embedded_market: EmbeddedMarket, embedded_panels: "tuple[RawPanel, AdjustedPanel]"
) -> "RunRecord":
    """Return the record of three years of an ensemble that enters on any agreement."""
    from trading.backtest import runner
    from trading.backtest.record import Evidence, record_of
    from trading.backtest.trials import Count

    allocation = embedded_market.policy.allocation
    ensemble = allocation.ensemble.model_copy(
        update={"entry_forecast": 0.0, "min_confidence": 0.0, "exit_forecast": -0.5}
    )
    policy, views = embedded_market.views(
        allocation=allocation.model_copy(update={"ensemble": ensemble}),
        exits=embedded_market.policy.exits.model_copy(
            update={"stop_loss": 0.12, "trailing_stop": 0.25, "take_profit": 1.0}
        ),
    )
    result = runner.run(
        views,
        embedded_market.raw,
        embedded_market.actions,
        embedded_market.calendar,
        embedded_market.rules,
        policy,
        cash=1_000_000_000,
        first=date(2003, 6, 2),
        last=date(2006, 6, 30),
    )
    return record_of(
        result,
        embedded_market.raw,
        embedded_panels[1],
        embedded_market.actions,
        strategy="ensemble",
        params={"window": 20},
        sessions_per_year=policy.sessions_per_year,
        policy_hash=policy.hash,
        evidence=Evidence(
            price_basis=embedded_market.raw.basis,
            survivorship="biased",
            survivorship_text="있음 <다섯> 종목만",
            are_sectors_of_today=True,
            replayed={"daily": len(result.sessions)},
        ),
        most_charts=3,
        trials=Count(raw=12, distinct=8, effective=2.5),
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes minutes as plain Python where compilation is off."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") == "0":
        return
    too_slow = pytest.mark.skip(reason="컴파일하지 않으면 너무 오래 걸림")
    for item in items:
        if item.get_closest_marker("compiled_only"):
            item.add_marker(too_slow)


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
