"""REST calls of one account: one worker thread owns the rate budget and the retries.

Cancellations go before orders, orders before balances, balances before quotes. Queries are
repeated after a passing fault; an order is sent once, whatever happens. What the calls mean is
in ``domestic`` and ``overseas``.
"""

import asyncio
import random
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trading.broker.auth import TokenCache
from trading.broker.settings import Credentials, KisSettings
from trading.clock import monotonic_seconds
from trading.errors import (
    AuthenticationError,
    BrokerError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
)
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import auth as wire_auth
from trading.wire import codes
from trading.wire.codes import Retry
from trading.wire.domestic import parse_page
from trading.wire.endpoints import APPROVAL, HASHKEY, REVOKE, TOKEN, Endpoint, Profile
from trading.wire.records import Page

if TYPE_CHECKING:
    import requests

__all__ = ["Answer", "KisSettings", "Priority", "RestTransport"]

log = get_logger(__name__)

# Refused by the gateway for their rate alone: such a call did not reach the ledger.
_RATE_REFUSALS = frozenset({"EGW00201", "EGW00215"})
_NO_TOKEN = frozenset({TOKEN.name, REVOKE.name, APPROVAL.name, HASHKEY.name})
_MORE = frozenset({"F", "M"})


class Priority(IntEnum):
    """Who goes first when the budget is short."""

    CANCEL = 0
    ORDER = 1
    BALANCE = 2
    QUOTE = 3

    @property
    def is_order(self) -> bool:
        """Whether the call changes something at the venue and must not be repeated."""
        return self in (Priority.CANCEL, Priority.ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer; ``has_more`` when the venue has another page."""

    body: Mapping[str, Any]
    has_more: bool


@dataclass(slots=True, kw_only=True)
class _Call:
    endpoint: Endpoint
    fields: Mapping[str, str]
    variant: str
    priority: Priority
    is_next_page: bool
    hashkey: str
    number: int
    future: "Future[Answer]" = field(default_factory=Future)
    ready_at: float = 0.0
    tries: int = 0
    renewed: bool = False


@cache
def _calls_sent(account: str) -> deque[float]:
    """Return the instants of the last calls of one key at one host, shared in this process."""
    return deque()


class RestTransport:
    """The REST side of one account at one host.

    Parameters
    ----------
    clock : Clock
        The venue's clock, which the token's life follows. Rates and pauses use real time.
    cache_dir : Path
        Folder of the token file.
    rng : random.Random
        Jitter of the pauses.
    """

    def __init__(
        self,
        settings: KisSettings,
        *,
        profile: Profile,
        credentials: Credentials,
        clock: Clock,
        cache_dir: Path,
        rng: random.Random,
        base: str | None = None,
    ) -> None:
        own = settings.profiles[profile]
        self._settings = settings
        self._profile = profile
        self._credentials = credentials
        self._rng = rng
        self._base = (base or own.rest_base).rstrip("/")
        self._limit = own.calls_per_second
        self._reserve = own.reserved_for_cancel
        self._tokens = TokenCache(
            credentials,
            host=self._base,
            directory=cache_dir,
            clock=clock,
            renew_before=timedelta(minutes=settings.token_renew_minutes),
            wait_seconds=settings.token_wait_seconds,
        )
        self._condition = threading.Condition()
        self._waiting: list[_Call] = []
        # One account opens several clients a day; the venue counts their calls together.
        self._sent = _calls_sent(credentials.fingerprint(self._base))
        self._numbers = 0
        self._is_closed = False
        self._http: requests.Session | None = None
        self._worker: threading.Thread | None = None
        self.successes = 0
        self.failures = 0

    def start(
        self,
        endpoint: Endpoint,
        fields: Mapping[str, str],
        *,
        priority: Priority,
        variant: str = "",
        is_next_page: bool = False,
        hashkey: str = "",
    ) -> "Future[Answer]":
        """Queue one call; the future answers or fails with an error of ``BrokerError``'s tree."""
        with self._condition:
            if self._is_closed:
                raise BrokerError("이미 닫힌 연결")
            self._numbers += 1
            call = _Call(
                endpoint=endpoint,
                fields=fields,
                variant=variant,
                priority=priority,
                is_next_page=is_next_page,
                hashkey=hashkey,
                number=self._numbers,
            )
            self._waiting.append(call)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="kis-rest", daemon=True)
                self._worker.start()
            self._condition.notify()
        return call.future

    def approval_key(self) -> "Future[Answer]":
        """Ask for a WebSocket key."""
        body = wire_auth.approval_request(self._credentials.app_key, self._credentials.app_secret)
        return self.start(APPROVAL, body, priority=Priority.BALANCE)

    def hashkey(self, fields: Mapping[str, str]) -> "Future[Answer]":
        """Ask for the hash of an order's body."""
        return self.start(HASHKEY, fields, priority=Priority.BALANCE)

    def close(self) -> None:
        """Stop the worker; calls that were not sent fail."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
            worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join(self._settings.answer_timeout_seconds + 1.0)
        for call in self._waiting:
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(TransientBrokerError("보내기 전에 연결을 닫음"))
        self._waiting.clear()

    async def ask(
        self,
        endpoint: Endpoint,
        fields: Mapping[str, str],
        *,
        priority: Priority,
        variant: str = "",
        hashkey: str = "",
    ) -> Mapping[str, Any]:
        """Make one call and return the body of its answer."""
        future = self.start(endpoint, fields, priority=priority, variant=variant, hashkey=hashkey)
        return (await asyncio.wrap_future(future)).body

    async def pages(
        self,
        endpoint: Endpoint,
        request: Callable[[Page], Mapping[str, str]],
        *,
        variant: str = "",
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the bodies of a listing to its end.

        Raises ``TransientBrokerError`` when the venue promises another page without saying
        where, or sends the same place twice: half a listing must never pass for a whole one.
        """
        page = Page()
        seen = {page}
        is_next = False
        while True:
            future = self.start(
                endpoint,
                request(page),
                priority=Priority.BALANCE,
                variant=variant,
                is_next_page=is_next,
            )
            answer = await asyncio.wrap_future(future)
            yield answer.body
            if not answer.has_more:
                return
            page = parse_page(answer.body, endpoint.context)
            if not page.nk.strip() or page in seen:
                raise TransientBrokerError(f"연속 조회가 끊김: {endpoint.name}")
            seen.add(page)
            is_next = True

    # --- worker thread -------------------------------------------------------------------

    def _work(self) -> None:
        import requests

        self._http = requests.Session()
        # A proxy of the environment is for the world outside, not for the local exchange.
        self._http.trust_env = urlsplit(self._base).hostname not in ("127.0.0.1", "localhost")
        while (call := self._next()) is not None:
            if call.tries == 0 and not call.future.set_running_or_notify_cancel():
                continue
            try:
                answer = self._attempt(call)
            except _AgainError as fault:
                self._requeue(call, fault)
            except Exception as error:
                # Handed to whoever waits; the worker itself must live on.
                self.failures += 1
                call.future.set_exception(error)
            else:
                self.successes += 1
                call.future.set_result(answer)
        self._http.close()

    def _next(self) -> _Call | None:
        # Chosen anew after every pause: a cancellation that came meanwhile goes first.
        with self._condition:
            while not self._is_closed:
                now = monotonic_seconds()
                ready = [call for call in self._waiting if call.ready_at <= now]
                if ready:
                    first = min(ready, key=lambda call: (call.priority, call.number))
                    pause = self._pause_before(first.priority, now)
                    if pause <= 0.0:
                        self._waiting.remove(first)
                        self._sent.append(now)
                        return first
                elif self._waiting:
                    pause = min(call.ready_at for call in self._waiting) - now
                else:
                    self._condition.wait()
                    continue
                self._condition.wait(pause)
            return None

    def _pause_before(self, priority: Priority, now: float) -> float:
        window = self._settings.window_seconds
        while self._sent and self._sent[0] <= now - window:
            self._sent.popleft()
        allowed = self._limit if priority is Priority.CANCEL else self._limit - self._reserve
        if len(self._sent) < allowed:
            return 0.0
        return self._sent[len(self._sent) - allowed] + window - now

    def _wait_for_slot(self) -> None:
        # For the calls that a call needs first (the token): they count against the limit too.
        with self._condition:
            while (pause := self._pause_before(Priority.CANCEL, monotonic_seconds())) > 0.0:
                self._condition.wait(pause)
            self._sent.append(monotonic_seconds())

    def _requeue(self, call: _Call, fault: "_AgainError") -> None:
        call.tries += 1
        if call.tries > self._settings.read_retries:
            self.failures += 1
            call.future.set_exception(TransientBrokerError(str(fault), code=fault.code))
            return
        longest = self._settings.backoff_seconds * 2.0 ** (call.tries - 1)
        pause = min(longest, self._settings.backoff_max_seconds) * self._rng.uniform(0.5, 1.0)
        log.warning(
            "조회 재시도",
            endpoint=call.endpoint.name,
            attempt=call.tries,
            code=fault.code,
            reason=str(fault),
        )
        with self._condition:
            call.ready_at = monotonic_seconds() + pause
            self._waiting.append(call)

    def _attempt(self, call: _Call) -> Answer:
        is_order = call.priority.is_order
        token = ""
        if call.endpoint.name not in _NO_TOKEN:
            try:
                token = self._tokens.token(self._post_oauth)
            except BrokerError as error:
                # Nothing was sent yet: for an order, too, this is a definite "not accepted".
                if is_order:
                    raise OrderRejectedError(str(error), code=error.code) from error
                raise
        status, body, tr_cont = self._send(call, token)
        result = codes.outcome(body)
        if call.endpoint.name in _NO_TOKEN and status == 200 and not result.code:
            return Answer(body=body, has_more=False)
        if result.ok and status == 200:
            return Answer(body=body, has_more=tr_cont in _MORE)
        known = codes.lookup(result.code)
        message = f"{result.text or known.cause} [{result.code or status}]"
        if is_order:
            if known.retry is Retry.RENEW:
                self._tokens.forget(token)
            raise _order_error(status, result.code, known.retry, message)
        if known.retry is Retry.RENEW:
            self._tokens.forget(token)
            if call.renewed:
                raise AuthenticationError(message, code=result.code)
            call.renewed = True
            return self._after_renewal(call)
        if known.retry in (Retry.AGAIN, Retry.VERIFY) or (status >= 500 and not result.code):
            raise _AgainError(message, result.code)
        if call.endpoint.name in _NO_TOKEN:
            raise AuthenticationError(message, code=result.code)
        raise BrokerError(message, code=result.code)

    def _after_renewal(self, call: _Call) -> Answer:
        self._wait_for_slot()
        return self._attempt(call)

    def _send(self, call: _Call, token: str) -> tuple[int, Mapping[str, Any], str]:
        import requests

        endpoint = call.endpoint
        tr_id = ""
        if endpoint.real or endpoint.paper:
            tr_id = endpoint.tr_id(self._profile, call.variant, self._settings.order_ids)
        headers = wire_auth.request_headers(
            app_key=self._credentials.app_key,
            app_secret=self._credentials.app_secret,
            token=token,
            tr_id=tr_id,
            is_next_page=call.is_next_page,
            hashkey=call.hashkey,
        )
        try:
            return self._exchange(endpoint, call.fields, headers)
        except (requests.RequestException, ValueError) as error:
            # The text of a requests error may hold the address, never the headers or the body.
            reason = f"응답 없음 ({type(error).__name__})"
            if call.priority.is_order:
                log.error("주문 결과 불명", endpoint=endpoint.name, reason=reason)
                raise OrderUnknownError(reason) from error
            raise _AgainError(reason, "") from error

    def _exchange(
        self, endpoint: Endpoint, fields: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any], str]:
        assert self._http is not None
        response = self._http.request(
            endpoint.method,
            self._base + endpoint.path,
            params=fields if endpoint.method == "GET" else None,
            json=fields if endpoint.method == "POST" else None,
            headers=dict(headers),
            timeout=(
                self._settings.connect_timeout_seconds,
                self._settings.answer_timeout_seconds,
            ),
        )
        body = response.json()
        if not isinstance(body, dict):
            raise ValueError("응답이 JSON 객체가 아님")
        return response.status_code, body, response.headers.get("tr_cont", "").strip()

    def _post_oauth(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        import requests

        self._wait_for_slot()
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            status, body, _ = self._exchange(endpoint, fields, headers)
        except (requests.RequestException, ValueError) as error:
            raise _AgainError(f"응답 없음 ({type(error).__name__})", "") from error
        result = codes.outcome(body)
        if status == 200 and not result.code:
            return body
        known = codes.lookup(result.code)
        message = f"{result.text or known.cause} [{result.code or status}]"
        if known.retry is Retry.MINUTE:
            raise TransientBrokerError(message, code=result.code)
        if known.retry is Retry.AGAIN or (status >= 500 and not result.code):
            raise _AgainError(message, result.code)
        raise AuthenticationError(message, code=result.code)


class _AgainError(BrokerError):
    """A passing fault of a query; the worker counts and decides."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, code=code)


def _order_error(status: int, code: str, retry: Retry, message: str) -> BrokerError:
    # Definite: a business refusal, or a gateway refusal that is known to precede the ledger.
    # Anything else (5xx without a code, time-outs behind the gateway) may have been accepted.
    if code in _RATE_REFUSALS or (code and retry in (Retry.NEVER, Retry.RENEW, Retry.MINUTE)):
        is_known = code in codes.CODES
        if is_known or status < 500:
            return OrderRejectedError(message, code=code)
    log.error("주문 결과 불명", code=code, status=status, reason=message)
    return OrderUnknownError(message, code=code)
