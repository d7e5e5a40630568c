"""REST calls of one account: one worker thread owns the connection and the retries.

Cancellations go before orders, orders before balances, balances before quotes, and these before
what a back-fill asks. Queries are repeated after a passing fault; an order is sent once, whatever happens. The budget that all
processes share is in ``rate``; what the calls mean is in ``domestic`` and ``overseas``.
"""

import asyncio
import json
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from trading.broker.auth import NotSentError, TokenCache
from trading.broker.rate import RateWindow
from trading.broker.settings import Credentials, KisSettings
from trading.clock import monotonic_seconds
from trading.errors import (
    AuthenticationError,
    BrokerError,
    OrderNotSentError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
)
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import auth as wire_auth
from trading.wire import codes
from trading.wire.accounts import parse_page
from trading.wire.codes import Retry
from trading.wire.endpoints import APPROVAL, HASHKEY, REVOKE, TOKEN, Endpoint, Profile
from trading.wire.records import Page

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["Answer", "KisSettings", "Priority", "RestTransport"]

log = get_logger(__name__)

_CLOSED = "보내기 전에 연결을 닫음"
_NO_FILES = "증권사를 호출할 수 없음: 디스크 공간과 data 폴더의 권한을 확인하십시오"
_NO_CONNECTION = "증권사에 연결하지 못함: 네트워크와 config/kis.yaml의 주소를 확인하십시오"
# PROTOCOL 4: the services that hand out keys take one call a second.
_KEY_LIMIT = 1
_NOBODY, _OTHERS = -1, -2
# KIS writes numbers as text; should one come bare, it is read as the text it was.
_READER = json.JSONDecoder(parse_int=str, parse_float=str)
_CHUNK = 2**16
_NO_TOKEN = frozenset({TOKEN.name, REVOKE.name, APPROVAL.name, HASHKEY.name})
_MORE = frozenset({"F", "M"})


class Priority(IntEnum):
    """Who goes first when the budget is short."""

    CANCEL = 0
    ORDER = 1
    BALANCE = 2
    QUOTE = 3
    HISTORY = 4

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
    queued_at: float
    future: "Future[Answer]" = field(default_factory=Future)
    ready_at: float = 0.0
    tries: int = 0
    renewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    body: Mapping[str, Any]
    tr_cont: str
    retry_after: str


class _Budget:
    """The windows that a call must pass: the gateway's, and the ledger's or the key services'."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        limit: int,
        reserve: int,
        session_reserve: int,
        seconds: float,
    ) -> None:
        def window(kind: str, calls: int) -> RateWindow:
            return RateWindow(folder / f"kis-rate-{name}{kind}", limit=calls, seconds=seconds)

        self._reserve = reserve
        self._session_reserve = session_reserve
        self._gateway = window("", limit)
        # Its limit is not published: it counts only once the venue has refused for it.
        self._ledger = window("-ledger", limit)
        self._keys = window("-keys", _KEY_LIMIT)

    def take(self, endpoint: Endpoint, priority: Priority) -> tuple[float, int]:
        """Take a slot of the gateway: ``(0, slot)``, or how long to wait and who must.

        ``_NOBODY`` may go at all, or ``_OTHERS`` may go first.
        """
        reserve = 0 if priority is Priority.CANCEL else self._reserve
        if priority is Priority.HISTORY:
            reserve += self._session_reserve
        pause, slot = self._gateway.take(priority, reserve=reserve)
        if pause > 0.0:
            return pause, _NOBODY
        second = self._second(endpoint)
        if second is not None:
            pause, _ = second.take(priority)
            if pause > 0.0:
                self._gateway.give_back(slot)
                return pause, _OTHERS
        return 0.0, slot

    def answered(self, slot: int) -> None:
        """Count the call from its answer."""
        self._gateway.answered(slot)

    def refused(self, code: str) -> None:
        """Slow down after a refusal for the rate; other codes change nothing."""
        if code == codes.GATEWAY_RATE:
            self._gateway.refused()
        elif code == codes.LEDGER_RATE:
            self._ledger.refused()

    def close(self) -> None:
        """Release the files."""
        for window in (self._gateway, self._ledger, self._keys):
            window.close()

    def _second(self, endpoint: Endpoint) -> RateWindow | None:
        if endpoint is APPROVAL:
            return self._keys
        if "/trading/" in endpoint.path and self._ledger.is_throttled:
            return self._ledger
        return None


class RestTransport:
    """The REST side of one account at one host.

    Parameters
    ----------
    clock : Clock
        The venue's clock, which the token's life follows. Rates and pauses use real time.
    cache_dir : Path
        Folder of the files that all processes of this app key share: token and call budget.
    rng : random.Random
        Jitter of the pauses.
    is_background : bool, default=False
        Whether its queries wait behind those of everybody else who uses the key: a back-fill.
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
        is_background: bool = False,
    ) -> None:
        own = settings.profiles[profile]
        self._settings = settings
        self._profile = profile
        self._credentials = credentials
        self._is_background = is_background
        self._rng = rng
        self._base = (base or own.rest_base).rstrip("/")
        self._cache_dir = cache_dir
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
        self._numbers = 0
        self._let_by_at = 0.0
        self._is_closed = False
        self._budget: _Budget | None = None
        self._line: _Line | None = None
        self._used_at = 0.0
        self._worker: threading.Thread | None = None
        self.successes = 0
        self.failures = 0
        self.rate_refusals = 0

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
        if self._is_background and priority is Priority.QUOTE:
            priority = Priority.HISTORY
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
                queued_at=monotonic_seconds(),
            )
            if self._worker is None:
                try:
                    self._budget = self._open_budget()
                except OSError as error:
                    raise _unsent(priority, f"{_NO_FILES} ({type(error).__name__})") from error
                self._worker = threading.Thread(target=self._work, name="kis-rest", daemon=True)
                self._worker.start()
            self._waiting.append(call)
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
            self._condition.notify_all()
            worker = self._worker
        self._tokens.close()
        if worker is not None and worker is not threading.current_thread():
            worker.join(self._settings.answer_timeout_seconds + 1.0)
        self._abandon(_CLOSED)

    def _abandon(self, reason: str) -> None:
        with self._condition:
            left, self._waiting = self._waiting, []
            # Whoever calls next begins anew.
            self._worker = None
        for call in left:
            # A query that waits for its repetition is running already.
            if call.tries or call.future.set_running_or_notify_cancel():
                call.future.set_exception(_unsent(call.priority, reason))

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

    def _open_budget(self) -> _Budget:
        limit, reserve = self._settings.budget(self._profile)
        return _Budget(
            self._cache_dir,
            self._credentials.fingerprint(self._base),
            limit=limit,
            reserve=reserve,
            session_reserve=self._settings.profiles[self._profile].reserved_for_session,
            seconds=self._settings.window_seconds,
        )

    def _work(self) -> None:
        trouble = None
        try:
            self._line = _Line(self._base)
            while (chosen := self._next()) is not None:
                self._carry(*chosen)
        except Exception as error:
            log.exception("증권사 호출 작업 중단")
            trouble = type(error).__name__
        if self._line is not None:
            self._line.close()
        self._own_budget.close()
        if trouble is not None:
            # The shared files fail: nobody may wait for answers that never come.
            self._abandon(f"{_NO_FILES} ({trouble})")

    def _carry(self, call: _Call, slot: int) -> None:
        if call.tries == 0 and not call.future.set_running_or_notify_cancel():
            return
        try:
            answer = self._attempt(call, slot)
        except _AgainError as fault:
            self._requeue(call, fault)
        except Exception as error:
            # Handed to whoever waits; the worker itself must live on.
            self.failures += 1
            call.future.set_exception(error)
        else:
            self.successes += 1
            call.future.set_result(answer)

    def _next(self) -> tuple[_Call, int] | None:
        # Chosen anew after every pause: a cancellation that came meanwhile goes first.
        assert self._budget is not None
        with self._condition:
            while not self._is_closed:
                now = monotonic_seconds()
                ready = [call for call in self._waiting if call.ready_at <= now]
                if ready:
                    first, priority = self._first(ready, now)
                    pause, slot = self._budget.take(first.endpoint, priority)
                    if pause <= 0.0:
                        if priority < first.priority:
                            self._let_by_at = now
                        self._waiting.remove(first)
                        return first, slot
                    if slot == _OTHERS:
                        first.ready_at = now + pause
                        continue
                elif self._waiting:
                    pause = min(call.ready_at for call in self._waiting) - now
                else:
                    self._condition.wait()
                    continue
                self._condition.wait(pause)
            return None

    def _first(self, ready: list[_Call], now: float) -> tuple[_Call, Priority]:
        """Return which call goes next, and as what.

        A query that has waited for ``patience_seconds`` behind orders is let by, but only one in
        that time: the queries cannot starve, and neither can the orders. Nothing passes a
        cancellation.
        """
        first = min(ready, key=lambda call: (call.priority, call.number))
        patience = self._settings.patience_seconds
        if first.priority is not Priority.CANCEL and now - self._let_by_at >= patience:
            starved = [
                call
                for call in ready
                if call.priority > first.priority and now - call.queued_at >= patience
            ]
            if starved:
                return min(starved, key=lambda call: call.number), first.priority
        return first, first.priority

    def _wait_for_slot(self, endpoint: Endpoint) -> int:
        # For the calls that a call needs first (the token): they count against the limit too.
        assert self._budget is not None
        with self._condition:
            while not self._is_closed:
                pause, slot = self._budget.take(endpoint, Priority.CANCEL)
                if pause <= 0.0:
                    return slot
                self._condition.wait(pause)
        raise TransientBrokerError(_CLOSED)

    def _requeue(self, call: _Call, fault: "_AgainError") -> None:
        call.tries += 1
        if call.tries > self._settings.read_retries:
            self.failures += 1
            call.future.set_exception(TransientBrokerError(str(fault), code=fault.code))
            return
        longest = self._settings.backoff_seconds * 2.0 ** (call.tries - 1)
        pause = min(longest, self._settings.backoff_max_seconds) * self._rng.uniform(0.5, 1.0)
        pause = max(pause, min(fault.retry_after, self._settings.backoff_max_seconds))
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

    def _attempt(self, call: _Call, slot: int) -> Answer:
        is_order = call.priority.is_order
        token = ""
        if call.endpoint.name not in _NO_TOKEN:
            begun = monotonic_seconds()
            try:
                # A cancel is welcome late, an order is not.
                waits = call.priority is not Priority.ORDER
                token = self._tokens.token(self._post_oauth, waits=waits)
                if monotonic_seconds() - begun > self._settings.window_seconds / 2:
                    # Everybody who waited for the token would send at once.
                    slot = self._wait_for_slot(call.endpoint)
            except BrokerError as error:
                # Nothing was sent yet: for an order, too, this is a definite "not accepted".
                if is_order:
                    raise OrderNotSentError(str(error), code=error.code) from error
                if isinstance(error, NotSentError):
                    raise _AgainError(str(error), error.code) from error
                raise
        reply = self._send(call, token, slot)
        result = codes.outcome(reply.body)
        if call.endpoint.name in _NO_TOKEN and reply.status == 200 and not result.code:
            return Answer(body=reply.body, has_more=False)
        if result.ok and reply.status == 200:
            return Answer(body=reply.body, has_more=reply.tr_cont in _MORE)
        known = codes.lookup(result.code, result.text)
        message = _message(reply.status, result, known)
        if result.code in codes.RATE_REFUSALS:
            self.rate_refusals += 1
            self._own_budget.refused(result.code)
        if known.retry is Retry.RENEW:
            self._tokens.forget(token)
        if is_order:
            raise _order_error(reply.status, result, known.retry, message)
        if known.retry is Retry.RENEW and token:
            if call.renewed:
                raise AuthenticationError(message, code=result.code)
            call.renewed = True
            return self._attempt(call, self._wait_for_slot(call.endpoint))
        if _may_pass(reply.status, result, known.retry):
            raise _AgainError(message, result.code, _seconds(reply.retry_after))
        if call.endpoint.name in _NO_TOKEN:
            raise AuthenticationError(message, code=result.code)
        raise BrokerError(message, code=result.code)

    @property
    def _own_budget(self) -> _Budget:
        assert self._budget is not None
        return self._budget

    def _send(self, call: _Call, token: str, slot: int) -> _Reply:
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
            return self._exchange(endpoint, call.fields, headers, slot)
        except Exception as error:
            not_sent = _was_not_sent(error)
            reason = _NO_CONNECTION if not_sent else f"응답 없음 ({type(error).__name__})"
            if call.priority.is_order:
                if not_sent:
                    raise OrderNotSentError(f"{_NO_CONNECTION}; 주문은 나가지 않음") from error
                # Told by who sent it, and asks for what became of it.
                log.error("주문 결과 불명", endpoint=endpoint.name, reason=reason, told=True)
                raise OrderUnknownError(reason) from error
            raise _AgainError(reason, "") from error

    def _exchange(
        self, endpoint: Endpoint, fields: Mapping[str, Any], headers: Mapping[str, str], slot: int
    ) -> _Reply:
        assert self._line is not None
        now = monotonic_seconds()
        if now - self._used_at > self._settings.idle_connection_seconds:
            # A connection that was idle for long may be gone without a word: what is sent on it
            # would be neither answered nor refused.
            self._line.close()
            self._line = _Line(self._base)
        try:
            response, content = self._line.send(
                endpoint,
                fields,
                headers,
                connect_seconds=self._settings.connect_timeout_seconds,
                answer_seconds=self._settings.answer_timeout_seconds,
            )
        finally:
            self._used_at = monotonic_seconds()
            self._own_budget.answered(slot)
        body = _READER.decode(content.decode("utf-8-sig"))
        if not isinstance(body, dict):
            raise ValueError("응답이 JSON 객체가 아님")
        return _Reply(
            status=response.status,
            body=body,
            tr_cont=response.headers.get("tr_cont", "").strip(),
            retry_after=response.headers.get("retry-after", ""),
        )

    def _post_oauth(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        slot = self._wait_for_slot(endpoint)
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            reply = self._exchange(endpoint, fields, headers, slot)
        except Exception as error:
            if _was_not_sent(error):
                raise NotSentError(_NO_CONNECTION) from error
            raise _AgainError(f"응답 없음 ({type(error).__name__})", "") from error
        result = codes.outcome(reply.body)
        if reply.status == 200 and not result.code:
            return reply.body
        known = codes.lookup(result.code)
        message = _message(reply.status, result, known)
        if known.retry is Retry.MINUTE:
            raise TransientBrokerError(message, code=result.code)
        if _may_pass(reply.status, result, known.retry):
            raise _AgainError(message, result.code, _seconds(reply.retry_after))
        raise AuthenticationError(message, code=result.code)


class _AgainError(BrokerError):
    """A passing fault of a query; the worker counts and decides."""

    def __init__(self, message: str, code: str, retry_after: float = 0.0) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class _Line:
    """The one kept connection to the venue: the pool that ``requests`` makes, without its session.

    A session would follow a redirection, which sends an order a second time, and put the password
    of a .netrc in the place of the token; and it takes as long again as the call itself.
    """

    def __init__(self, base: str) -> None:
        from requests import PreparedRequest
        from requests.adapters import HTTPAdapter
        from requests.utils import default_user_agent, get_environ_proxies
        from urllib3 import HTTPConnectionPool

        # A proxy of the environment is for the world outside, not for the local exchange.
        is_local = base.startswith(("http://127.0.0.1:", "http://localhost:"))
        proxies = {} if is_local else get_environ_proxies(base)
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        anything = PreparedRequest()
        anything.prepare_url(base, None)
        assert anything.url is not None
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
        pool = adapter.get_connection_with_tls_context(anything, verify, proxies)
        adapter.cert_verify(pool, anything.url, verify, None)  # type: ignore[no-untyped-call]
        assert isinstance(pool, HTTPConnectionPool)
        self._pool = pool
        self._prefix = urlsplit(base).path
        self._agent = default_user_agent()

    def send(
        self,
        endpoint: Endpoint,
        fields: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        connect_seconds: float,
        answer_seconds: float,
    ) -> tuple["BaseHTTPResponse", bytes]:
        """Send one request, once, and return its answer and the whole content of that."""
        from urllib3 import Timeout
        from urllib3.exceptions import ReadTimeoutError

        is_query = endpoint.method == "GET"
        response = self._pool.urlopen(
            endpoint.method,
            self._prefix + endpoint.path + (f"?{urlencode(fields)}" if is_query else ""),
            body=None if is_query else json.dumps(fields).encode(),
            headers={**headers, "user-agent": self._agent},
            retries=False,
            redirect=False,
            timeout=Timeout(connect=connect_seconds, read=answer_seconds),
            preload_content=False,
        )
        # The timeout is one of each read: an answer that trickles in would take for ever, and
        # every cancel would wait behind it.
        ends = monotonic_seconds() + answer_seconds
        content = b""
        while chunk := response.read1(_CHUNK):
            content += chunk
            if monotonic_seconds() > ends:
                response.close()
                raise ReadTimeoutError(self._pool, endpoint.path, "답이 제때 끝나지 않음")
        response.release_conn()
        return response, content

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


def _unsent(priority: Priority, reason: str) -> BrokerError:
    """Return the error of a call that did not leave: of an order that is a definite answer."""
    return OrderNotSentError(reason) if priority.is_order else TransientBrokerError(reason)


def _seconds(retry_after: str) -> float:
    # The other form, a date, is left aside: the back-off does as well.
    return float(retry_after) if retry_after.isdecimal() else 0.0


def _was_not_sent(error: Exception) -> bool:
    """Whether no connection was made, so that nothing can have left."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    return isinstance(error, NewConnectionError | ConnectTimeoutError)


def _message(status: int, result: codes.Outcome, known: codes.MessageCode) -> str:
    if not result.code and not result.text:
        return f"증권사 서버가 점검 중이거나 답하지 못함 [{status}]"
    return f"{result.text or known.cause} [{result.code or status}]"


def _may_pass(status: int, result: codes.Outcome, retry: Retry) -> bool:
    """Whether a query may be answered when it is asked again."""
    if retry in (Retry.AGAIN, Retry.VERIFY) or status == 429 or not result.code:
        return True
    return status >= 500 and result.code not in codes.CODES


def _order_error(status: int, result: codes.Outcome, retry: Retry, message: str) -> BrokerError:
    """Return what became of an order that was not accepted in so many words.

    Refused only where that is certain: the venue says so (``rt_cd``), with a code of which it is
    known that it is a refusal of the gateway before the ledger, or the ledger's own. Everything
    else may have been accepted.
    """
    is_known = result.refused and result.code in codes.CODES
    if is_known and (result.code in codes.RATE_REFUSALS or retry in (Retry.RENEW, Retry.MINUTE)):
        # Of the gateway, before the ledger, and over in a moment.
        return OrderNotSentError(message, code=result.code)
    if result.refused and (
        (result.code in codes.CODES and retry is Retry.NEVER)
        or (status == 200 and codes.is_ledger_refusal(result.code))
    ):
        return OrderRejectedError(message, code=result.code)
    log.error("주문 결과 불명", code=result.code, status=status, reason=message, told=True)
    return OrderUnknownError(message, code=result.code)
