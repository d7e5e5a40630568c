"""The access token, shared by every process of one app key.

KIS issues one token a minute and sends the customer a message each time, so the token lives in a
file (0600) under a lock, keyed by host and app key, together with the instant at which one was
last asked for. Its life follows the venue's clock.
"""

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from trading.broker.settings import Credentials
from trading.clock import monotonic_seconds
from trading.errors import AuthenticationError, BrokerError, SchemaError, TransientBrokerError
from trading.log import get_logger, register_secret
from trading.ports import Clock
from trading.wire import auth
from trading.wire.endpoints import TOKEN, Endpoint

log = get_logger(__name__)

Post = Callable[[Endpoint, Mapping[str, Any]], Mapping[str, Any]]
_TOO_SOON = "EGW00133"
_POLL_SECONDS = 1.0
_NO_FILE = "접근토큰 파일을 쓸 수 없음: 디스크 공간과 data 폴더의 권한을 확인하십시오"
# Within these hours KIS hands out the same token again: asking sooner is of no use.
_SAME_TOKEN = timedelta(hours=6)


class NotSentError(TransientBrokerError):
    """No connection could be made: nothing left this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saved:
    """What the file holds: a token, and when one was last asked for by either clock."""

    token: auth.AccessToken | None = None
    renew_at: datetime | None = None
    asked_at: datetime | None = None
    asked_monotonic: float = 0.0


class TokenCache:
    """The token of one app key at one host.

    ``post`` sends one OAuth call within the rate budget; it raises ``NotSentError`` when nothing
    was sent. The methods block and belong to the transport's worker thread, except ``close``.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        host: str,
        directory: Path,
        clock: Clock,
        renew_before: timedelta,
        wait_seconds: float,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._renew_before = renew_before
        self._wait_seconds = wait_seconds
        self._path = directory / f"kis-token-{credentials.fingerprint(host)}.json"
        self._known = _Saved()
        self._closing = threading.Event()

    def token(self, post: Post, *, waits: bool = True) -> str:
        """Return a usable token: ours, another process's, or a new one.

        At most one is asked for in ``wait_seconds``, whoever asks; meanwhile the file is looked
        at, because the one who asked may be given it. Who does not wait is told at once that there
        is none: an order that left two minutes late would leave unlooked at.
        """
        token = self._usable(self._known)
        if token is not None:
            return token.value
        try:
            return self._shared(post, waits=waits)
        except OSError as error:
            # The disk, not the venue: a token in hand opens doors all the same.
            alive = self._alive()
            if alive is None:
                raise TransientBrokerError(f"{_NO_FILE} ({type(error).__name__})") from error
            log.warning(_NO_FILE, reason=type(error).__name__)
            return alive.value

    def _shared(self, post: Post, *, waits: bool) -> str:
        refusal: BrokerError | None = None
        waited = 0.0
        while True:
            with self._lock():
                self._known = self._read()
                token = self._usable(self._known)
                if token is not None:
                    return token.value
                pause = self._until_next(self._known)
                if pause <= 0.0:
                    try:
                        return self._issue(post).value
                    except BrokerError as error:
                        alive = self._alive()
                        if alive is not None:
                            log.warning("접근토큰 갱신 실패, 쓰던 것을 계속 씀", reason=str(error))
                            return alive.value
                        if error.code != _TOO_SOON or refusal is not None:
                            raise
                        refusal = error
                        log.warning("접근토큰 발급 대기", wait_seconds=self._wait_seconds)
                else:
                    alive = self._alive()
                    if alive is not None:
                        return alive.value
            if not waits:
                raise TransientBrokerError("접근토큰이 아직 없음") from refusal
            if waited > 2.0 * self._wait_seconds or self._closing.is_set():
                raise TransientBrokerError("접근토큰을 기다리다 그만둠") from refusal
            pause = min(_POLL_SECONDS, pause if pause > 0.0 else self._wait_seconds)
            self._closing.wait(pause)
            waited += pause

    def forget(self, value: str) -> None:
        """Drop a token that the venue no longer takes, unless it was replaced already."""
        if self._known.token is not None and self._known.token.value == value:
            self._known = _Saved()
        try:
            with self._lock():
                saved = self._read()
                if saved.token is not None and saved.token.value == value:
                    log.warning("접근토큰이 만료 전에 무효가 됨")
                    self._write(replace(saved, token=None, renew_at=None))
        except OSError as error:
            # What the venue said of the call itself must reach whoever made it.
            log.warning(_NO_FILE, reason=type(error).__name__)

    def close(self) -> None:
        """Let nobody wait any longer for a token."""
        self._closing.set()

    def _usable(self, saved: _Saved) -> auth.AccessToken | None:
        if saved.renew_at is None or self._clock.now() >= saved.renew_at:
            return None
        return saved.token

    def _alive(self) -> auth.AccessToken | None:
        """Return the token that should be renewed but has not ended yet."""
        token = self._known.token
        return token if token is not None and self._clock.now() < token.expires_at else None

    def _until_next(self, saved: _Saved) -> float:
        """Return how long to wait before a token may be asked for again.

        By the clock that has moved further: a replay may live days between two minutes of ours,
        and a clock that was set back says nothing.
        """
        if saved.asked_at is None:
            return 0.0
        by_clock = (self._clock.now() - saved.asked_at).total_seconds()
        by_machine = monotonic_seconds() - saved.asked_monotonic
        if by_clock < 0.0 and by_machine < 0.0:
            return 0.0
        return self._wait_seconds - max(by_clock, by_machine)

    def _issue(self, post: Post) -> auth.AccessToken:
        now = self._clock.now()
        before = self._known
        # Written before it is sent: whoever finds the file after a crash waits its minute, and is
        # then given the same token.
        self._known = replace(before, asked_at=now, asked_monotonic=monotonic_seconds())
        self._write(self._known)
        body = auth.token_request(self._credentials.app_key, self._credentials.app_secret)
        try:
            token = auth.parse_token(post(TOKEN, body))
        except NotSentError:
            self._write(before)
            raise
        except SchemaError as error:
            raise AuthenticationError(str(error)) from error
        register_secret(token.value)
        renew_at = token.expires_at - self._renew_before
        if renew_at <= now:
            # By our clock it has ended already, and the venue knows better.
            log.warning("증권사와 시계가 다름", expires_at=token.expires_at.isoformat())
            renew_at = now + _SAME_TOKEN
        self._known = replace(self._known, token=token, renew_at=renew_at)
        self._write(self._known)
        log.info("접근토큰 발급", expires_at=token.expires_at.isoformat())
        return token

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_suffix(".lock"), mode=0o600)
        try:
            lock.acquire(timeout=self._wait_seconds + 60.0)
        except Timeout:
            raise TransientBrokerError("다른 프로세스가 접근토큰을 잡고 놓지 않음") from None
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> _Saved:
        try:
            text = self._path.read_text(encoding="utf-8")
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                log.warning("다른 사용자가 읽을 수 있던 접근토큰 파일의 권한을 고침")
                self._path.chmod(0o600)
            saved = json.loads(text)
            asked = saved["asked_at"]
            token = None
            if saved["token"] is not None:
                register_secret(str(saved["token"]))
                token = auth.AccessToken(
                    value=str(saved["token"]), expires_at=_instant(saved["expires_at"])
                )
            return _Saved(
                token=token,
                renew_at=_instant(saved["renew_at"]) if token is not None else None,
                asked_at=_instant(asked) if asked is not None else None,
                asked_monotonic=float(saved["asked_monotonic"]),
            )
        except FileNotFoundError:
            return _Saved()
        except (ValueError, KeyError, TypeError):
            log.warning("접근토큰 파일을 읽을 수 없어 새로 발급")
            return _Saved()

    def _write(self, saved: _Saved) -> None:
        body = {
            "token": saved.token.value if saved.token is not None else None,
            "expires_at": saved.token.expires_at.isoformat() if saved.token is not None else None,
            "renew_at": saved.renew_at.isoformat() if saved.renew_at is not None else None,
            "asked_at": saved.asked_at.isoformat() if saved.asked_at is not None else None,
            "asked_monotonic": saved.asked_monotonic,
        }
        # Only the holder of the lock writes; what a killed one left is overwritten.
        temporary = self._path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file)
        temporary.replace(self._path)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("시간대가 없는 시각")
    return instant
