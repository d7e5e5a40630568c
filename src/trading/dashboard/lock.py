"""The optional password in front of the dashboard, and the pause after wrong ones.

It keeps other people of this machine out; the browser reaches the server on the loopback alone.
"""

import hmac
import math
import threading
from datetime import datetime, timedelta

from pydantic import SecretStr

from trading.ports import Clock


class Lock:
    """Compares passwords in constant time; after too many wrong ones nobody is heard for a while.

    One lock serves every browser of the server: a new window is no new attempt.
    """

    def __init__(
        self, password: SecretStr, *, attempts: int, pause: timedelta, clock: Clock
    ) -> None:
        self._password = password.get_secret_value().encode()
        self._attempts = attempts
        self._pause = pause
        self._clock = clock
        self._guard = threading.Lock()
        self._wrong = 0
        self._closed_until: datetime | None = None

    def refusal(self, given: str) -> str | None:
        """Return why ``given`` opens nothing, in Korean; ``None`` when it is the password."""
        with self._guard:
            now = self._clock.now()
            if self._closed_until is not None and now < self._closed_until:
                left = math.ceil((self._closed_until - now).total_seconds())
                return f"잘못된 비밀번호가 이어져 잠겼습니다. {left}초 뒤에 다시 시도하십시오."
            if hmac.compare_digest(given.encode(), self._password):
                self._wrong, self._closed_until = 0, None
                return None
            self._wrong += 1
            if self._wrong < self._attempts:
                return f"비밀번호가 다릅니다. {self._attempts - self._wrong}번 더 틀리면 잠깁니다."
            self._wrong, self._closed_until = 0, now + self._pause
            seconds = math.ceil(self._pause.total_seconds())
            return f"비밀번호가 {self._attempts}번 틀려 {seconds}초 동안 잠급니다."
