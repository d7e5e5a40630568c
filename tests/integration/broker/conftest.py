"""The KIS client against a local exchange that replays the embedded US history."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from broker_bench import STARTING_CASH, Bench

from trading.broker.settings import KisSettings
from trading.clock import ManualClock
from trading.config import load_settings
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.exchange.server import CALLS_PER_SECOND, ExchangeOptions, ExchangeServer
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile


@pytest.fixture
def settings(tmp_path: Path) -> KisSettings:
    """Return the shipped ``kis.yaml``, paper accounts as quick as real ones.

    Their pace, one call a second, is kept elsewhere; here it would only be waited for.
    """
    kis = load_settings(tmp_path).kis
    pace = kis.profiles[Profile.REAL].calls_per_second
    paper = kis.profiles[Profile.PAPER].model_copy(update={"calls_per_second": pace})
    return kis.model_copy(update={"profiles": {**kis.profiles, Profile.PAPER: paper}})


@pytest.fixture
def start_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return a function that starts an exchange."""
    benches: list[Bench] = []

    def start(
        profile: Profile = Profile.REAL,
        port: int = 0,
        *,
        source: BarSource | None = None,
        market: Market = Market.US,
        participation_bps: int = 1000,
    ) -> Bench:
        rules = shipped_rules(market)
        server = ExchangeServer(
            source or EmbeddedSource(),
            rules,
            SessionCalendar(market, rules),
            ExchangeOptions(
                market=market,
                directory=tmp_path / "exchange",
                starting_cash=STARTING_CASH,
                participation_bps=participation_bps,
                profile=profile,
                port=port,
                calls_per_second=CALLS_PER_SECOND[Profile.REAL],
            ),
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.run()), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.port_file.exists():
            assert thread.is_alive() and time.monotonic() < deadline, "거래소가 시작되지 않음"
            threading.Event().wait(0.01)
        bench = Bench(
            server=server,
            thread=thread,
            clock=ManualClock(datetime(2000, 1, 1, tzinfo=UTC)),
            directory=tmp_path / "exchange",
        )
        benches.append(bench)
        return bench

    yield start
    for bench in benches:
        if bench.thread.is_alive():
            bench.stop()


@pytest.fixture
def bench(start_bench: Callable[..., Bench]) -> Bench:
    """Return an exchange of the real profile in lock-step."""
    return start_bench()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the folder of the token file."""
    return tmp_path / "cache"
