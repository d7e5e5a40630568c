"""The exception tree: a class exists when its catcher does something different.

::

    TradingError
    ├─ ConfigError                 fix the file; the process does not start
    ├─ UsageError                  fix the command; nothing was done
    ├─ DataError
    │  ├─ MissingDataError         skip the instrument for this decision
    │  │  └─ NothingLeftError      all recorded sessions are traded: nothing is wrong
    │  └─ SchemaError              quarantine the batch, keep yesterday's
    ├─ BrokerError
    │  ├─ TransientBrokerError     retry if the call is read-only
    │  ├─ AuthenticationError      renew once, then halt
    │  ├─ OrderRejectedError       definitive: record, do not resend
    │  │  └─ OrderNotSentError     never left, for a passing reason: it may leave later
    │  └─ OrderUnknownError        ambiguous: mark UNKNOWN, reconcile, never resend
    ├─ OrderStateError             a bug or a lost message: halt and reconcile
    ├─ ReconciliationError         ledger and venue disagree: halt, tell the operator
    ├─ SessionBusyError            another run holds the session: this one is skipped
    ├─ LedgerError                 the ledger takes nothing: no order may leave
    ├─ LeaseLostError              somebody else writes this account: stop at once
    ├─ DeliveryError               a message did not go out: later again, from the outbox
    └─ ModelError                  keep the champion, report
       └─ AbstentionError          keep the champion: a verdict, no failure

Messages are Korean: the command line shows them as they are.
"""


class TradingError(Exception):
    """Base of everything this program raises on purpose."""


class ConfigError(TradingError):
    """A setting is missing, unknown or wrong; the process does not start."""


class UsageError(TradingError):
    """The command asks for something that cannot be; nothing was done."""


class DataError(TradingError):
    """Market data cannot be used as it is."""


class MissingDataError(DataError):
    """Needed data was never recorded; skip the instrument for this decision."""


class NothingLeftError(MissingDataError):
    """No session is to be traded: all recorded ones are, or it is a holiday. Not a failure."""


class SchemaError(DataError):
    """A batch does not have the agreed shape; quarantine it."""


class BrokerError(TradingError):
    """The venue refused or could not be reached.

    ``code`` is the venue's own message code (``EGW00201`` …), or "" when none came.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class TransientBrokerError(BrokerError):
    """A passing fault; a read may be retried."""


class AuthenticationError(BrokerError):
    """Token or key refused; renew once, then halt."""


class OrderRejectedError(BrokerError):
    """The venue refused the order for good; record it and do not resend."""


class OrderNotSentError(OrderRejectedError):
    """The order never reached the ledger, for a reason that passes: no connection, no token, rate."""


class OrderUnknownError(BrokerError):
    """The answer to an order was lost; reconcile, never resend."""


class OrderStateError(TradingError):
    """An order was asked to make an illegal transition."""


class ReconciliationError(TradingError):
    """Ledger and venue disagree."""


class SessionBusyError(TradingError):
    """Another process holds the lease of this market."""


class LedgerError(TradingError):
    """The ledger cannot be written; what is not journalled may not leave."""


class LeaseLostError(TradingError):
    """Another process took the account over while this one slept."""


class DeliveryError(TradingError):
    """A message could not be handed over; the outbox tries it again.

    ``remedy`` says what the operator does, ``detail`` what the other side said. ``is_setting``: it
    stays so until the settings are changed. ``is_down``: the next message would not go out either.
    ``retry_seconds`` is when the other side wants to be asked again, if it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        detail: str = "",
        is_setting: bool = False,
        is_down: bool = False,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.detail = detail
        self.is_setting = is_setting
        self.is_down = is_down
        self.retry_seconds = retry_seconds


class ModelError(TradingError):
    """A model cannot be trained, loaded or trusted; keep the champion."""


class AbstentionError(ModelError):
    """What was taught has no view of anything; that is its answer, and nothing failed."""
