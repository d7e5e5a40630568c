"""What the scripts of all clients share: one line per feature tried, and the venue's clock."""

import contextlib
import http.client
import json
import os
import secrets
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import time_machine

WAIT_SECONDS = 20.0
KOREA = ZoneInfo("Asia/Seoul")


class Steps:
    """One run of one client against one exchange.

    ``facts`` are the recorded figures that the answers must repeat, read from the data itself.
    A client that does not keep the call limit needs a pause before each feature.
    """

    def __init__(self, *, pause_seconds: float = 0.0) -> None:
        self._pause = pause_seconds
        self.facts: dict[str, Any] = json.loads(Path(os.environ["CONFORMANCE_FACTS"]).read_text())
        self._port: dict[str, Any] = json.loads(Path(os.environ["CONFORMANCE_PORT"]).read_text())
        self._report = Path(os.environ["CONFORMANCE_REPORT"])
        self.account = "7" + "".join(secrets.choice("0123456789") for _ in range(7))
        self.app_key = secrets.token_hex(18)
        self.app_secret = secrets.token_urlsafe(135)
        self.user = "conf" + self.account

    def try_out(self, feature: str, call: Callable[[], Any]) -> Any:
        """Run ``call`` and record whether it did what it promises; return what it returned."""
        time.sleep(self._pause)
        outcome: dict[str, Any] = {"feature": feature, "ok": True, "error": ""}
        result = None
        try:
            result = call()
        except Exception as error:
            outcome.update(ok=False, error=f"{type(error).__name__}: {error}"[:600])
            traceback.print_exc()
        with self._report.open("a") as file:
            file.write(json.dumps(outcome, ensure_ascii=False) + "\n")
        return result

    def advance(self, until: str) -> None:
        """Live the venue up to an instant, and let the client's clock follow."""
        end = datetime.fromisoformat(until)
        while True:
            place = self._control("/control/advance", {"until": until})
            now = datetime.fromisoformat(place["now"])
            if now >= end or place["phase"] == "closed":
                time_machine.travel(now.astimezone(KOREA), tick=True).start()
                return

    def wait_registered(self, count: int) -> None:
        """Wait until the exchange has sent a client as many messages: one for each registration."""
        wait_for(
            lambda: sum(self._control("/control/status")["frames"].values()) >= count,
            "실시간 등록",
        )

    def _control(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(
            self._port["host"], self._port["rest_port"], timeout=60
        )
        with contextlib.closing(connection):
            headers = {"x-control-token": self._port["token"], "content-type": "application/json"}
            method = "GET" if body is None else "POST"
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(text)
        return json.loads(text)


def same(got: Any, expected: Any) -> None:
    """Demand that a client understood what was recorded."""
    if got != expected:
        raise AssertionError(f"받은 값 {got!r}, 기록된 값 {expected!r}")


def wait_for(is_there: Callable[[], bool], what: str) -> None:
    """Wait until a message that is on its way has come."""
    end = time.monotonic() + WAIT_SECONDS
    while not is_there():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: 오지 않음")
        time.sleep(0.02)
