"""A local exchange over real sockets, replaying recorded history."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exchange_client import Client

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.exchange.server import ExchangeOptions, ExchangeServer
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource

STARTING_CASH = {Market.US: 1_000_000_000, Market.KRX: 100_000_000}


@dataclass
class Running:
    """An exchange in a thread of this process."""

    server: ExchangeServer
    thread: threading.Thread

    def stop(self) -> None:
        """Stop it as an operator would."""
        self.server.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


@pytest.fixture(scope="session")
def source() -> EmbeddedSource:
    """Return the embedded US history."""
    return EmbeddedSource()


@pytest.fixture
def start_exchange(tmp_path: Path, source: EmbeddedSource) -> Iterator[Callable[..., Client]]:
    """Return a function that starts an exchange and returns a client of it.

    The client's ``running`` stops it; what is left is stopped at the end of the test.
    """
    running: list[Running] = []

    def start(*, market: Market = Market.US, history: Any = None, **options: Any) -> Client:
        rules = shipped_rules(market)
        directory = tmp_path / "exchange"
        chosen = {"participation_bps": 1000, "starting_cash": STARTING_CASH[market], **options}
        server = ExchangeServer(
            history if history is not None else source,
            rules,
            SessionCalendar(market, rules),
            ExchangeOptions(market=market, directory=directory, **chosen),
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.run()), daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.port_file.exists():
            assert thread.is_alive() and time.monotonic() < deadline, "거래소가 시작되지 않음"
            threading.Event().wait(0.01)
        running.append(Running(server, thread))
        client = Client(directory)
        client.stop = running[-1].stop
        return client

    yield start
    for one in running:
        if one.thread.is_alive():
            one.stop()


@pytest.fixture
def exchange(start_exchange: Callable[..., Client]) -> Client:
    """Return a client of a fresh exchange of the real profile in lock-step."""
    return start_exchange()
