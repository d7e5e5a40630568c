"""The access token, shared by every process of one app key.

KIS issues one token a minute and sends the customer a message each time, so the token lives in a
file (0600) under a lock, keyed by host and app key. Its life follows the venue's clock.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from trading.broker.settings import Credentials
from trading.errors import AuthenticationError, BrokerError, SchemaError
from trading.log import get_logger
from trading.ports import Clock
from trading.wire import auth
from trading.wire.endpoints import TOKEN, Endpoint

log = get_logger(__name__)

Post = Callable[[Endpoint, Mapping[str, Any]], Mapping[str, Any]]
_TOO_SOON = "EGW00133"
_POLL_SECONDS = 1.0


class TokenCache:
    """The token of one app key at one host.

    ``post`` sends one OAuth call within the rate budget. The methods block and belong to the
    transport's worker thread.
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
        self._token: auth.AccessToken | None = None
        self._pause = threading.Event()

    def token(self, post: Post) -> str:
        """Return a usable token: ours, another process's, or a new one."""
        if self._token is not None and self._is_usable(self._token):
            return self._token.value
        waited = 0.0
        while True:
            with self._lock():
                found = self._read()
                if found is None or not self._is_usable(found):
                    # In between only the cache is looked at: asking each time would be a burst.
                    is_last_try = waited >= self._wait_seconds
                    is_first = waited == 0.0
                    found = (
                        self._issue(post, is_last_try=is_last_try)
                        if is_first or is_last_try
                        else None
                    )
            if found is not None:
                self._token = found
                return found.value
            # Another process may have been given a token meanwhile.
            pause = min(_POLL_SECONDS, self._wait_seconds)
            self._pause.wait(pause)
            waited += pause

    def forget(self, value: str) -> None:
        """Drop a token that the venue no longer takes, unless it was replaced already."""
        if self._token is not None and self._token.value == value:
            self._token = None
        with self._lock():
            found = self._read()
            if found is not None and found.value == value:
                log.warning("접근토큰이 만료 전에 무효가 됨")
                self._path.unlink(missing_ok=True)

    def _is_usable(self, token: auth.AccessToken) -> bool:
        return self._clock.now() + self._renew_before < token.expires_at

    def _issue(self, post: Post, *, is_last_try: bool) -> auth.AccessToken | None:
        # ``None`` when the venue asks to wait: a token was issued less than a minute ago.
        body = auth.token_request(self._credentials.app_key, self._credentials.app_secret)
        try:
            token = auth.parse_token(post(TOKEN, body))
        except SchemaError as error:
            raise AuthenticationError(str(error)) from error
        except BrokerError as error:
            if error.code == _TOO_SOON and not is_last_try:
                log.warning("접근토큰 발급 대기", wait_seconds=self._wait_seconds)
                return None
            raise
        self._write(token)
        log.info("접근토큰 발급", expires_at=token.expires_at.isoformat())
        return token

    def _lock(self) -> Any:
        from filelock import FileLock

        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"), mode=0o600)

    def _read(self) -> auth.AccessToken | None:
        try:
            saved = json.loads(self._path.read_text(encoding="utf-8"))
            return auth.AccessToken(
                value=str(saved["token"]), expires_at=datetime.fromisoformat(saved["expires_at"])
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            log.warning("접근토큰 파일을 읽을 수 없어 새로 발급")
            return None

    def _write(self, token: auth.AccessToken) -> None:
        saved = {"token": token.value, "expires_at": token.expires_at.isoformat()}
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(saved, file)
        temporary.replace(self._path)
