"""Bugs that are planted to prove that the harness sees them: each wraps a real part, none edits it."""

from collections.abc import Iterator
from datetime import date
from enum import StrEnum

from trading.domain.order import OrderAck, OrderIntent
from trading.errors import OrderUnknownError
from trading.ports import Broker, Ledger, Record, RecordKind

# Of how many intents one is forgotten.
_FORGETS_EVERY = 3


class Plant(StrEnum):
    """A classic mistake of trading programs."""

    RETRY = "retry"
    DROP_INTENT = "drop-intent"
    LATE_JOURNAL = "late-journal"


async def submit_again(broker: Broker, intent: OrderIntent) -> OrderAck:
    """Send an order, and once more when its answer was lost."""
    try:
        return await broker.submit(intent)
    except OrderUnknownError:
        return await broker.submit(intent)


class ForgetfulLedger:
    """Says of some intents that they are written, and writes them not."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen = 0

    def append(self, *records: Record) -> int:
        """Write all but every third intent."""
        kept = [record for record in records if not self._forgets(record)]
        if kept:
            self._ledger.append(*kept)
        return len(records)

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield what was written."""
        return self._ledger.read(*kinds, session=session, key=key)

    def close(self) -> None:
        """Release the file."""
        self._ledger.close()

    def _forgets(self, record: Record) -> bool:
        if record.kind is not RecordKind.INTENT:
            return False
        self._seen += 1
        return self._seen % _FORGETS_EVERY == 0


class LateLedger:
    """Keeps an intent in memory until its order was answered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._late: list[Record] = []

    def append(self, *records: Record) -> int:
        """Write everything but intents, which wait for ``catch_up``."""
        self._late += [record for record in records if record.kind is RecordKind.INTENT]
        prompt = [record for record in records if record.kind is not RecordKind.INTENT]
        if prompt:
            self._ledger.append(*prompt)
        return len(records)

    def catch_up(self) -> None:
        """Write the intents that wait."""
        if self._late:
            self._ledger.append(*self._late)
            self._late.clear()

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield what was written."""
        return self._ledger.read(*kinds, session=session, key=key)

    def close(self) -> None:
        """Release the file."""
        self._ledger.close()
