"""A killed exchange continues where it was; nothing is lost, nothing happens twice."""

import os
import signal
import subprocess
import sys
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
        self.client = Client(self.directory)

    def kill(self) -> None:
        """End it without warning."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def day_of_trading(directory: Path, *, kills: bool) -> dict[str, Any]:
    """Trade 2005-02-25 in partial fills, killed after every action if wished; return its end."""
    venue = Process(directory)

    def maybe_kill() -> None:
        if kills:
            token = venue.client.token
            venue.kill()
            venue.start()
            venue.client.token = token

    try:
        venue.client.open("2005-02-25")
        maybe_kill()
        venue.client.order("buy", "AAPL", 1000, "95.00")
        maybe_kill()
        places = [venue.client.step()]
        maybe_kill()
        number = venue.client.order("buy", "MSFT", 10, "10.00")["output"]["ODNO"]
        venue.client.change("02", number, "MSFT", 10)
        maybe_kill()
        while places[-1]["phase"] != "after_close":
            places.append(venue.client.step())
        maybe_kill()
        client = venue.client
        return {
            "places": [(place["now"], place["phase"]) for place in places],
            "orders": client.orders("20050225", "20050225"),
            "holdings": client.holdings(),
            "cash": client.cash(),
            "status": {key: client.control("status")[key] for key in ("now", "session", "phase")},
        }
    finally:
        venue.kill()


def test_kills_change_nothing(tmp_path: Path):
    """A day with five kills ends exactly like a day without: orders, fills, cash, clock."""
    calm = day_of_trading(tmp_path / "calm", kills=False)
    killed = day_of_trading(tmp_path / "killed", kills=True)

    assert killed == calm
    assert calm["orders"][0]["ft_ccld_qty"] == "1000"


def test_a_restart_keeps_the_keys(tmp_path: Path):
    """Token, WebSocket key and HTS id of before still count; a cut-off stays cut off."""
    venue = Process(tmp_path)
    try:
        venue.client.open("2005-02-25")
        listener = venue.client.listen()
        listener.register("H0GSCNI0", HTS_ID)
        key, token = listener.approval_key, venue.client.token
        venue.kill()
        venue.start()
        venue.client.token = token

        again = venue.client.connect(key)
        reply = again.register("H0GSCNI0", HTS_ID)
        accepted = venue.client.order("buy", "AAPL", 1, "95.00")
        notice = again.records()
    finally:
        venue.kill()

    assert reply.ok and accepted["rt_cd"] == "0"
    assert notice[1][0][0] == HTS_ID
