"""What the tests of client and local exchange share."""

import asyncio
import json
import threading
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import requests

from trading.broker.client import KisClient
from trading.broker.settings import Credentials, KisSettings
from trading.clock import ManualClock
from trading.domain.instrument import Market
from trading.domain.market import Tick
from trading.domain.order import OrderIntent, Side
from trading.exchange.server import ExchangeServer
from trading.ports import FeedEvent
from trading.store.datasets import EmbeddedSource
from trading.wire.endpoints import Profile

STARTING_CASH = 1_000_000_000  # 100,000 USD in 1/10,000 dollar
CREDENTIALS = Credentials(
    app_key="demo-app-key", app_secret="demo-app-secret", account="12345678-01", hts_id="trader1"
)


@dataclass
class Bench:
    """One exchange with its control door, and a client's clock that follows the venue's."""

    server: ExchangeServer
    thread: threading.Thread
    clock: ManualClock
    directory: Path

    @property
    def base(self) -> str:
        """Return the REST address."""
        return f"http://{self._port['host']}:{self._port['rest_port']}"

    @property
    def ws_base(self) -> str:
        """Return the WebSocket address."""
        return f"ws://{self._port['host']}:{self._port['ws_port']}"

    @property
    def _port(self) -> dict[str, Any]:
        return dict(json.loads(self.server.port_file.read_text()))

    def control(self, what: str, **body: str) -> dict[str, Any]:
        """Use the control door; the clock follows."""
        headers = {"x-control-token": self._port["token"]}
        url = f"{self.base}/control/{what}"
        if what == "status":
            answer = requests.get(url, headers=headers, timeout=30)
        else:
            answer = requests.post(url, json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        place = dict(answer.json())
        self.clock.set(datetime.fromisoformat(place["now"]))
        return place

    def client(self, cache: Path, *, settings: KisSettings, profile: Profile) -> KisClient:
        """Return a client of this exchange, for all that it knows."""
        instruments = dict(self.server.venue.instruments)
        return KisClient(
            settings,
            profile=profile,
            market=self.server.venue.market,
            instruments=instruments,
            credentials=CREDENTIALS,
            clock=self.clock,
            cache_dir=cache,
            rest_base=self.base,
            ws_base=self.ws_base,
        )

    async def advance(self, client: KisClient, session: date) -> tuple[str, list[FeedEvent]]:
        """Live one instant in lock-step: phase and the events that came of it."""
        until = f"{session.isoformat()}T23:59:00+00:00"
        place = await asyncio.to_thread(self.control, "advance", until=until)
        await client.wait_handled(place["frames"][client.approval_key])
        return place["phase"], client.drain()

    async def settle(self, client: KisClient) -> list[FeedEvent]:
        """Return what came of requests made at this instant."""
        place = await asyncio.to_thread(self.control, "status")
        await client.wait_handled(place["frames"][client.approval_key])
        return client.drain()

    def stop(self) -> None:
        """Stop the exchange as an operator would."""
        self.server.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


def ticks(events: list[FeedEvent]) -> list[Tick]:
    """Return the trades among ``events``."""
    return [event for event in events if isinstance(event, Tick)]


def intent(symbol: str, side: Side, quantity: int, limit: int) -> OrderIntent:
    """Return an intent for one order."""
    instruments = {one.symbol: one for one in EmbeddedSource().instruments(Market.US)}
    return OrderIntent(
        intent_id=f"{symbol}-{side}-{quantity}-{limit}",
        session=date(2005, 2, 25),
        boundary="open",
        symbol=symbol,
        exchange=instruments[symbol].exchange,
        side=side,
        quantity=quantity,
        limit=limit,
    )
