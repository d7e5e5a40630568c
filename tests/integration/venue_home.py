"""A local exchange in a thread of the test, and a home whose ``kis.yaml`` leads to it."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from program import configure

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.exchange.server import ExchangeOptions, ExchangeServer
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile

SESSION = "2005-02-25"
# More and sooner than KIS allows, so that a test does not wait for its own calls, or for the
# minute since the token of another test.
CALLS = 50
ISSUE_PAUSE_SECONDS = 0.01
KEYS = {
    "KIS_PAPER_APP_KEY": "paper-key-of-test",
    "KIS_PAPER_APP_SECRET": "paper-secret-of-test",
    "KIS_PAPER_ACCOUNT": "50001234-01",
    "KIS_REAL_APP_KEY": "real-key-of-test",
    "KIS_REAL_APP_SECRET": "real-secret-of-test",
    "KIS_REAL_ACCOUNT": "60001234-01",
    "KIS_HTS_ID": "user01",
}


class Venue:
    """An exchange of one market and profile with its control door."""

    def __init__(
        self,
        directory: Path,
        *,
        profile: Profile = Profile.PAPER,
        market: Market = Market.US,
        source: Any = None,
        session: str = SESSION,
        **options: Any,
    ) -> None:
        rules = shipped_rules(market)
        self.server = ExchangeServer(
            source or EmbeddedSource(),
            rules,
            SessionCalendar(market, rules),
            ExchangeOptions(
                market=market,
                directory=directory,
                starting_cash=1_000_000_000,
                participation_bps=1000,
                profile=profile,
                **{
                    "calls_per_second": CALLS,
                    "issue_pause_seconds": ISSUE_PAUSE_SECONDS,
                    **options,
                },
            ),
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.run()), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.server.port_file.exists():
            assert self._thread.is_alive() and time.monotonic() < deadline
            threading.Event().wait(0.01)
        port = json.loads(self.server.port_file.read_text())
        self.token = port["token"]
        self.base = f"http://{port['host']}:{port['rest_port']}"
        self.ws_base = f"ws://{port['host']}:{port['ws_port']}"
        self.http = httpx.Client(base_url=self.base, timeout=30)
        self.control("session", session=session)

    def control(self, what: str, **body: str) -> dict[str, Any]:
        """Use the control door."""
        answer = self.http.post(
            f"/control/{what}", json=body, headers={"x-control-token": self.token}
        )
        answer.raise_for_status()
        return dict(answer.json())

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Return the exchange's own facts of one kind."""
        return [dict(fact.body) for fact in self.server._journal.read(kind)]

    def stop(self) -> None:
        """Stop it as an operator would."""
        self.server.stop()
        self._thread.join(timeout=10)
        self.http.close()


def home_of(
    root: Path, base: str, ws_base: str, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Return a home for paper trading whose KIS is at ``base``, in either environment."""
    profile = {"rest_base": base, "ws_base": ws_base, "calls_per_second": CALLS}
    kis = {"profiles": {"real": profile, "paper": profile}, "backoff_seconds": 0.05}
    return configure(root, {"app": {"env": "paper", "market": "us"}, "kis": kis, **(changes or {})})
