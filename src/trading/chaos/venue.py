"""The exchange of a seed: the real server, with a journal and doors that count who passes."""

import asyncio
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from trading.chaos.plan import Plan
from trading.chaos.points import Arena, Point
from trading.exchange.journal import Fact, Journal
from trading.exchange.server import JOURNAL_FILE, ExchangeOptions, ExchangeServer
from trading.exchange.venue import Event, Notified
from trading.wire.endpoints import BY_PATH
from trading.wire.records import OrderKind

if TYPE_CHECKING:
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import Response

# What the exchange leaves behind when a call broke it.
FAILURE_FILE = "exchange-failure.txt"
CALLS_PER_SECOND = 100_000
ISSUE_PAUSE_SECONDS = 0.05
_SENT_SECONDS = 0.001
_RECEIVED = {
    "us_order": Point.ORDER_RECEIVED,
    "krx_order": Point.ORDER_RECEIVED,
    "us_change": Point.CANCEL_RECEIVED,
    "krx_change": Point.CANCEL_RECEIVED,
    "us_orders": Point.LISTING_RECEIVED,
    "krx_orders": Point.LISTING_RECEIVED,
}
_ANSWERED = {
    Point.ORDER_RECEIVED: Point.ORDER_ANSWERED,
    Point.CANCEL_RECEIVED: Point.CANCEL_ANSWERED,
}


def serve(plan: Plan, folder: Path, arena: Arena, port: int) -> None:
    """Run the exchange of ``plan`` in this process until it dies."""
    world = plan.world
    options = ExchangeOptions(
        market=world.market,
        directory=folder,
        starting_cash=plan.cash,
        profile=plan.profile,
        participation_bps=plan.participation_bps,
        port=port,
        calls_per_second=CALLS_PER_SECOND,
        issue_pause_seconds=ISSUE_PAUSE_SECONDS,
        faults=plan.faults,
    )
    journal = _WatchedJournal(folder / JOURNAL_FILE, arena)
    server = _WatchedServer(world.source, world.rules, world.calendar, options, journal=journal)
    server.arena, server.failures = arena, folder / FAILURE_FILE
    asyncio.run(server.run())


class _WatchedJournal(Journal):
    """A journal whose commits are boundaries, named by what they hold."""

    def __init__(self, path: Path, arena: Arena) -> None:
        super().__init__(path)
        self._arena = arena
        self._orders = {fact.key for fact in self.read("order")}

    def commit(self, *facts: Fact) -> None:
        before, after = self._points(facts)
        if before is not None:
            self._arena.pass_by(before)
        super().commit(*facts)
        self._orders |= {fact.key for fact in facts if fact.kind == "order"}
        if after is not None:
            self._arena.pass_by(after)

    def _points(self, facts: tuple[Fact, ...]) -> tuple[Point | None, Point | None]:
        orders = [fact for fact in facts if fact.kind == "order"]
        new = [fact for fact in orders if fact.key not in self._orders]
        if any(fact.body["kind"] == OrderKind.CANCEL for fact in new):
            return Point.CANCEL_COMMIT_BEFORE, Point.CANCEL_COMMIT_AFTER
        if new:
            return Point.ORDER_BEFORE, Point.ORDER_AFTER
        if orders:
            return Point.TRADE_BEFORE, Point.TRADE_AFTER
        if any(fact.kind == "account" for fact in facts):
            return Point.SESSION_BEFORE, Point.SESSION_AFTER
        return None, None


class _WatchedServer(ExchangeServer):
    """A server that counts the orders and listings it hears of and answers."""

    arena: Arena
    failures: Path

    async def _rest(self, request: "Request") -> "Response":
        endpoint = BY_PATH.get(request.url.path)
        point = _RECEIVED.get(endpoint.name) if endpoint is not None else None
        if point is None:
            return await self._answer(request)
        self.arena.pass_by(point)
        response = await self._answer(request)
        answered = _ANSWERED.get(point)
        if answered is not None:
            # Anything that can be awaited without arguments will do; the type asks for more.
            response.background = cast("BackgroundTask", partial(self._passed, answered))
        return response

    async def _answer(self, request: "Request") -> "Response":
        try:
            return await super()._rest(request)
        except Exception:
            self.failures.write_text(traceback.format_exc(), encoding="utf-8")
            raise

    async def _passed(self, point: Point) -> None:
        self.arena.pass_by(point)

    def _publish(self, events: Sequence[Event]) -> None:
        has_notice = any(isinstance(event, Notified) for event in events)
        if has_notice:
            self.arena.pass_by(Point.NOTICE_BEFORE)
        super()._publish(events)
        if has_notice:
            # Queued frames leave in the loop's next rounds.
            later = asyncio.get_running_loop().call_later
            later(_SENT_SECONDS, self.arena.pass_by, Point.NOTICE_SENT)
