"""A killed exchange continues where it was; nothing is lost, nothing happens twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exchange_client import HTS_ID, Client

PROGRAM = """
import sys
from pathlib import Path
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.exchange.server import ExchangeOptions, serve
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource

rules = shipped_rules(Market.US)
serve(EmbeddedSource(), rules, SessionCalendar(Market.US, rules), ExchangeOptions(
    market=Market.US, directory=Path(sys.argv[1]), starting_cash=1_000_000_000,
    participation_bps=1))
"""


class Process:
    """An exchange in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = Client()
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        file = self.directory / "port.json"
        file.unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(self.directory)])
        while not file.exists():
            assert self.process.poll() is None
            try:
                self.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
        self.client.reach(self.directory)

    def kill(self) -> None:
        """End it without warning."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_and_start(self) -> None:
        """End it without warning and start it again; the client knows the new address."""
        self.kill()
        self.start()


def trade(client: Client, pause: Callable[[], None]) -> dict[str, Any]:
    """Trade 2005-02-25 in partial fills, with a pause after what matters; return its end."""
    client.open("2005-02-25")
    client.order("buy", "AAPL", 1000, "95.00")
    places = [client.step()]
    number = client.order("buy", "MSFT", 10, "10.00")["output"]["ODNO"]
    pause()
    client.change("02", number, "MSFT", 10)
    while places[-1]["phase"] != "after_close":
        places.append(client.step())
    pause()
    status = client.control("status")
    return {
        "places": [(place["now"], place["phase"]) for place in places],
        "orders": client.orders("20050225", "20050225"),
        "holdings": client.holdings(),
        "cash": client.cash(),
        "status": {key: status[key] for key in ("now", "session", "phase")},
    }


def test_kills_change_nothing(start_exchange: Callable[..., Client], tmp_path: Path):
    """A day with two kills ends exactly like a day without: orders, fills, cash, clock."""
    calm = trade(start_exchange(participation_bps=1), lambda: None)
    venue = Process(tmp_path / "killed")

    try:
        killed = trade(venue.client, venue.kill_and_start)
    finally:
        venue.kill()

    assert killed == calm
    assert calm["orders"][0]["ft_ccld_qty"] == "1000"


def test_a_restart_keeps_the_keys(start_exchange: Callable[..., Client]):
    """Token, WebSocket key and HTS id of before still count."""
    client = start_exchange()
    client.open("2005-02-25")
    listener = client.listen()
    listener.register("H0GSCNI0", HTS_ID)
    token = client.token
    client.stop()
    client = start_exchange()
    client.token = token

    again = client.connect(listener.approval_key)
    reply = again.register("H0GSCNI0", HTS_ID)
    accepted = client.order("buy", "AAPL", 1, "95.00")

    assert reply.ok and accepted["rt_cd"] == "0"
    assert again.records()[1][0][0] == HTS_ID
