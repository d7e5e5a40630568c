"""Where the orders of one session meet its prints: resting, sleeping, interrupted.

Who may order what, and what it costs, is in ``venue``; the fill rule in ``simulation.matching``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from trading.domain.order import OrderType, Route, Side
from trading.exchange.accounts import StandingOrder
from trading.exchange.replay import SessionReplay
from trading.exchange.windows import AT_CLOSING_PRICE, ON_CLOSE, PASSIVE, WHOLE, Windows
from trading.simulation.matching import Execution, Matcher, WorkingOrder
from trading.simulation.paths import (
    PRINTS_PER_BAR,
    VI_DURATION,
    Print,
    share_of_volume,
)

# Orders at the previous close meet yesterday's last print in a book of their own.
_PRE_HOURS = "/05"


class SuspensionKind(StrEnum):
    """Why an instrument does not trade: stopped, or collecting orders for a single price."""

    HALT = "halt"
    VI = "vi"


class Suspension(NamedTuple):
    """An interruption of trading in one instrument, until an instant of the venue's clock."""

    symbol: str
    kind: SuspensionKind
    since: datetime
    until: datetime


class Floor:
    """The matching of one session; it knows no accounts and no money."""

    def __init__(self, replay: SessionReplay, windows: Windows, participation_bps: int) -> None:
        self.suspensions: dict[str, Suspension] = {}
        self._replay = replay
        self._windows = windows
        self._participation_bps = participation_bps
        self._matchers: dict[str, Matcher] = {}
        self._fed: dict[str, int] = {}
        self._touched: set[str] = set()

    def interruption(self, symbol: str, now: datetime) -> Suspension | None:
        """Return what keeps the instrument from trading at ``now``, recorded or imposed."""
        imposed = self.suspensions.get(symbol)
        if imposed is not None and imposed.since <= now < imposed.until:
            return imposed
        return self._recorded(symbol, now)

    def enter(self, order: StandingOrder, index: int, now: datetime) -> list[Execution]:
        """Take a new order in; ``index`` is the instrument's last print, -1 before the first."""
        if order.is_asleep and not self._is_triggered(order, index):
            return []
        order.is_asleep = False
        return self._admit(order, index, now)

    def on_print(
        self, symbol: str, index: int, orders: Mapping[str, StandingOrder]
    ) -> list[Execution]:
        """Let the instrument's orders, by number, meet a new print."""
        prints = self._replay.tape(symbol).prints
        trade = prints[index]
        matcher = self._feeding(symbol, index)
        imposed = self.suspensions.get(symbol)
        if imposed is not None and imposed.since <= trade.ts:
            if trade.ts < imposed.until:
                matcher.pass_over(trade)
                return []
            is_first = index == 0 or prints[index - 1].ts < imposed.until
            if is_first and imposed.kind is SuspensionKind.VI:
                trade = replace(trade, auction=True)
        if trade.auction and trade.ts >= self._windows.close_ts:
            for order in self._closers(orders.values()):
                self._wake_for_close(order)
                matcher.rest(_working(order))
        executions = matcher.on_print(trade)
        for order in orders.values():
            if order.is_asleep and self._is_triggered(order, index):
                order.is_asleep = False
                executions += matcher.submit(_working(order))
        return executions

    def close(self, symbol: str, index: int, orders: Iterable[StandingOrder]) -> list[Execution]:
        """Let the orders for the close meet the last print where none closed by auction."""
        executions: list[Execution] = []
        if index >= 0:
            for order in self._closers(orders):
                matcher = self._caught_up(symbol, index)
                self._wake_for_close(order)
                executions += matcher.submit(_working(order))
        return executions

    def leave(self, order: StandingOrder, quantity: int) -> None:
        """Take ``quantity`` open shares of an order out; the rest keeps its place."""
        if order.is_asleep:
            return
        key = _key(order)
        self._matcher(key).reduce(order.number, quantity)
        self._touched.add(key)

    def facts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what changed since the last call, by key."""
        for key in sorted(self._touched):
            yield (
                key,
                {"matcher": self._matchers[key].snapshot(), "fed": self._fed.get(key, -1)},
            )
        self._touched.clear()

    def restore(self, key: str, body: Mapping[str, Any]) -> None:
        """Take over what ``facts`` yielded."""
        self._matcher(key).restore(body["matcher"])
        self._fed[key] = body["fed"]

    def _admit(self, order: StandingOrder, index: int, now: datetime) -> list[Execution]:
        key = _key(order)
        self._touched.add(key)
        working = _working(order)
        if order.order_type is OrderType.PRE_HOURS_CLOSE:
            matcher = self._at_previous_close(order.symbol)
            return matcher.submit(working)
        matcher = self._caught_up(order.symbol, index)
        waits = self._windows.is_call(now) or self.interruption(order.symbol, now) is not None
        # After the close only its own price was recorded.
        waits |= now >= self._windows.close_ts and order.order_type not in AT_CLOSING_PRICE
        if waits or order.order_type in PASSIVE:
            matcher.rest(working)
            return []
        if order.order_type in WHOLE and matcher.fillable(working) < order.open_quantity:
            matcher.rest(working)
            return []
        return matcher.submit(working)

    def _caught_up(self, symbol: str, index: int) -> Matcher:
        """Return the instrument's matcher; where nothing waited the last print was not told."""
        if index < 0 or self._fed.get(symbol) == index:
            self._touched.add(symbol)
            return self._matcher(symbol)
        matcher = self._feeding(symbol, index)
        trade = self._replay.tape(symbol).prints[index]
        imposed = self.suspensions.get(symbol)
        if imposed is not None and imposed.since <= trade.ts < imposed.until:
            matcher.pass_over(trade)
        else:
            matcher.on_print(trade)
        return matcher

    def _feeding(self, symbol: str, index: int) -> Matcher:
        self._fed[symbol] = index
        self._touched.add(symbol)
        return self._matcher(symbol)

    def _matcher(self, key: str) -> Matcher:
        matcher = self._matchers.get(key)
        if matcher is None:
            # One matcher an instrument: what is written after an order stays small.
            symbol = key.removesuffix(_PRE_HOURS)
            matcher = self._matchers[key] = Matcher(self._participation_bps)
            matcher.open_session({symbol: self._replay.limits(symbol)})
        return matcher

    def _at_previous_close(self, symbol: str) -> Matcher:
        key = symbol + _PRE_HOURS
        matcher = self._matcher(key)
        previous = self._replay.previous.get(symbol)
        if key not in self._fed and previous is not None:
            self._fed[key] = 0
            matcher.on_print(
                Print(
                    symbol=symbol,
                    ts=self._windows.open_ts,
                    price=self._replay.reference(symbol),
                    volume=share_of_volume(previous.volume, PRINTS_PER_BAR - 1),
                    auction=True,
                )
            )
        return matcher

    def _recorded(self, symbol: str, now: datetime) -> Suspension | None:
        """Return the interruption whose single price the record shows next."""
        if not self._windows.open_ts < now < self._windows.closing_auction:
            return None
        tape = self._replay.tape(symbol)
        following = tape.index_at(now) + 1
        if following == 0 or following >= len(tape.prints):
            return None
        trade = tape.prints[following]
        since = max(trade.ts - VI_DURATION, tape.times[following - 1])
        if not trade.auction or trade.ts >= self._windows.closing_auction or now <= since:
            return None
        return Suspension(symbol, SuspensionKind.VI, since, trade.ts)

    def _closers(self, orders: Iterable[StandingOrder]) -> list[StandingOrder]:
        return [
            order
            for order in orders
            if (order.is_asleep and order.order_type in ON_CLOSE)
            or (
                order.order_type is OrderType.CONDITIONAL_LIMIT
                and order.bound != self._bound(order)
            )
        ]

    def _wake_for_close(self, order: StandingOrder) -> None:
        if order.order_type is OrderType.CONDITIONAL_LIMIT:
            self._matcher(order.symbol).cancel(order.number)
            order.bound = self._bound(order)
        order.is_asleep = False

    def _bound(self, order: StandingOrder) -> int:
        """Return the price at which a conditional limit is a market order; its own without limits."""
        lower, upper = self._replay.limits(order.symbol)
        return (upper if order.side is Side.BUY else lower) or order.limit

    def _is_triggered(self, order: StandingOrder, index: int) -> bool:
        if order.order_type is not OrderType.STOP_LIMIT or order.route is Route.NXT or index < 0:
            return False
        price = self._replay.tape(order.symbol).prints[index].price
        return (price - order.stop) * order.side.sign >= 0


def _key(order: StandingOrder) -> str:
    is_before = order.order_type is OrderType.PRE_HOURS_CLOSE
    return order.symbol + _PRE_HOURS if is_before else order.symbol


def _working(order: StandingOrder) -> WorkingOrder:
    return WorkingOrder(
        order_id=order.number,
        symbol=order.symbol,
        side=order.side,
        quantity=order.open_quantity,
        limit=order.bound,
    )
