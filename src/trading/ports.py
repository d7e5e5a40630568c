"""Every door of the program as a protocol; each has at least two real implementations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol

from trading.domain.account import VenueAccount
from trading.domain.actions import CorporateAction
from trading.domain.instrument import Instrument, Market
from trading.domain.market import (
    Book,
    ExpectedMatch,
    IndexTick,
    MarketStatus,
    PriceBasis,
    Quote,
    Tick,
)
from trading.domain.order import (
    Fill,
    Order,
    OrderAck,
    OrderDoubt,
    OrderIntent,
    OrderUpdate,
    VenueOrder,
)


class Clock(Protocol):
    """What instant is it now, in UTC: wall, manual or the venue's."""

    def now(self) -> datetime:
        """Return the current instant, timezone-aware UTC."""
        ...


class RecordKind(StrEnum):
    """What a journal row is about."""

    RUN = "run"
    SESSION = "session"
    DECISION = "decision"
    INTENT = "intent"
    UPDATE = "update"
    FILL = "fill"
    VERDICT = "verdict"
    ACTION = "action"
    MARK = "mark"
    OBSERVED = "observed"
    STATE = "state"
    PARITY = "parity"
    MANUAL = "manual"
    MANUAL_FILL = "manual_fill"
    QUARANTINE = "quarantine"
    DIFFERENCE = "difference"
    ADJUSTMENT = "adjustment"
    DRILL = "drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One fact of the journal. ``(kind, key)`` is unique: writing it again changes nothing.

    ``body`` holds JSON values only. ``seq`` is given by the ledger on append.
    """

    kind: RecordKind
    key: str
    session: date
    ts: datetime
    body: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


class Ledger(Protocol):
    """The append-only truth of one market's account."""

    def append(self, *records: Record) -> int:
        """Write the records in one transaction, durable on return.

        Records whose ``(kind, key)`` is already there are left out. Returns how many were new.
        Raises ``LedgerError`` when nothing could be written, ``LeaseLostError`` when somebody
        else writes this account by now: no order may leave after either.
        """
        ...

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield records in the order of writing; of all kinds when none is named."""
        ...

    def close(self) -> None:
        """Release the file; later calls fail."""
        ...


class BarSource(Protocol):
    """Where daily bars come from: KIS, a recorded dataset, the embedded package data.

    Frames have the columns of ``trading.store.schema.DAILY_BARS`` and prices in minor units.
    """

    name: str
    basis: PriceBasis

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return every instrument this source can serve."""
        ...

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return a ``pandas.DataFrame`` of daily bars, ``first`` and ``last`` included.

        ``symbols=None`` means all. What was not recorded is absent, never filled.
        """
        ...

    def sessions(self, market: Market) -> list[date]:
        """Return the sessions that were recorded, in order."""
        ...

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return a ``pandas.DataFrame`` of recorded intraday bars of one session.

        Columns of ``trading.store.schema.MINUTE_BARS``, sorted by ``ts, symbol`` where ``ts`` is
        the UTC start of the bar; empty when none were recorded.
        """
        ...

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return a ``pandas.DataFrame`` ``session, name, close`` of the market's benchmark.

        Empty when no index was recorded for the range.
        """
        ...

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the corporate actions with an ex-date in the range."""
        ...


class BulkSource(BarSource, Protocol):
    """A source that also serves everything it has, kind by kind: what the lake is filled from."""

    def kinds(self, market: Market) -> frozenset[str]:
        """Return the names of ``trading.store.schema.KINDS`` that this source can serve."""
        ...

    def table(
        self, kind: str, market: Market, symbols: Sequence[str] | None, first: date, last: date
    ) -> Any:
        """Return a ``pyarrow.Table`` of one kind in its agreed shape, both ends included.

        ``symbols=None`` means all; for the index they are names of series. Instruments and
        sectors come whole, whatever the range; fundamentals by the day they became public.
        """
        ...


class DatasetSource(BulkSource, Protocol):
    """A recording that says which days it has inside the session: what a replay is made of."""

    def minute_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded intraday bars, oldest first."""
        ...

    def tick_sessions(self, market: Market) -> list[date]:
        """Return every session with recorded trades, oldest first."""
        ...


class Broker(Protocol):
    """An account at a venue: the KIS client over the wire, or matching in this process."""

    @property
    def takes_orders_early(self) -> bool:
        """Whether the venue takes orders before its open."""
        ...

    async def submit(self, intent: OrderIntent) -> OrderAck:
        """Send one order, once.

        Raises ``OrderRejectedError`` when the venue refused it for good and
        ``OrderUnknownError`` when the answer was lost: it may or may not be working.
        """
        ...

    async def cancel(self, order: Order) -> OrderAck:
        """Cancel what is still open of ``order``; same errors as ``submit``."""
        ...

    async def orders(self, session: date) -> Sequence[VenueOrder]:
        """Return a complete listing of the session's orders, ended ones included."""
        ...

    async def account(self) -> VenueAccount:
        """Return cash, buying power and holdings."""
        ...

    async def quote(self, symbol: str) -> Quote:
        """Return the venue's current price and daily limits of one instrument."""
        ...


# What only informs; no order follows from it, but a halt keeps orders back.
MarketInfo = IndexTick | ExpectedMatch | MarketStatus | Book
FeedEvent = Tick | Fill | OrderUpdate | OrderDoubt | MarketInfo


class MarketFeed(Protocol):
    """The venue's stream of prints and execution notices."""

    @property
    def frames_handled(self) -> int:
        """Text messages taken in so far on the current connection."""
        ...

    @property
    def approval_key(self) -> str:
        """The key (approval key) under which the venue knows this connection."""
        ...

    async def subscribe(self, symbols: Sequence[str]) -> None:
        """Ask for the prints of ``symbols`` (the account's notices always come)."""
        ...

    @property
    def polls_prices(self) -> bool:
        """Whether the venue does not stream all prices, so that the rest must be asked for."""
        ...

    async def poll(self, symbols: Sequence[str]) -> int:
        """Ask for the prices of ``symbols``; what has traded follows as an event."""
        ...

    async def heal(self) -> None:
        """Have prints that were lost, and that no later one has shown, come as events."""
        ...

    async def wait_handled(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Return once ``count`` messages were taken in; ``TransientBrokerError`` on time-out."""
        ...

    async def arrived(self, timeout_seconds: float) -> bool:
        """Wait until an event is there to be taken, at most that long."""
        ...

    def drain(self) -> list[FeedEvent]:
        """Return the events that arrived since the last call, in the venue's order."""
        ...


class Notifier(Protocol):
    """Mail, webhook, or nothing; never raises into the caller."""

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send the template ``event`` filled with ``fields``."""
        ...


class ModelRegistry(Protocol):
    """Where trained models are kept and which of them trades."""

    def load(self, name: str, alias: str) -> Any:
        """Return the model under ``alias``; ``ModelError`` when there is none."""
        ...
