"""One look at everything: the account, the processes, the machine, the errors since the last look."""

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trading.bootstrap import Installation
from trading.domain.instrument import Market
from trading.errors import DataError, MissingDataError
from trading.live.pace import PortFile
from trading.monitoring import (
    Heartbeat,
    Machine,
    MarketNow,
    is_running,
    machine,
    market_now,
)
from trading.overview import AccountNow, account_now, calendar_of, heartbeat_of

PROCESS_TEXT = {"session": "세션", "exchange": "로컬 거래소", "monitor": "감시"}

_MB = 1024 * 1024
# The monitor's own alarms are counted as misses, not as errors once more.
_OWN = "trading.watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNow:
    """What one process of the program uses."""

    pid: int
    memory_mb: float
    cpu_percent: float
    files: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLine:
    """One error of the log; ``detail`` is its reason or exception."""

    ts: str
    logger: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Everything that one look saw; ``account`` is ``None`` before the first session.

    ``processes`` by what they are: session, exchange, monitor. ``sent`` and ``received`` are bytes
    a second over all networks, this machine's own included. ``unread`` says in Korean what could
    not be looked at.
    """

    ts: datetime
    is_running: bool
    heartbeat: Heartbeat | None
    account: AccountNow | None
    markets: Mapping[Market, MarketNow | None]
    processes: Mapping[str, ProcessNow]
    machine: Machine
    sent: float
    received: float
    errors: tuple[ErrorLine, ...]
    unread: str = ""

    @property
    def calls(self) -> tuple[int, int]:
        """REST calls of the session that succeeded and failed."""
        counters = self.heartbeat.counters if self.heartbeat is not None else {}
        return counters.get("api_succeeded", 0), counters.get("api_failed", 0)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; of the signals those that led to an order or hold something."""
        body = asdict(self)
        succeeded, failed = self.calls
        body["api"] = {"succeeded": succeeded, "failed": failed}
        if self.account is not None:
            account = self.account.to_json()
            for name in ("marks", "heartbeat", "hours", "word"):
                account.pop(name)
            account["word"] = str(self.account.word.state)
            account["signals"] = [
                signal
                for signal in account["signals"]
                if signal["order"] is not None or signal["target_quantity"] != 0
            ]
            body["account"] = account
        return body


@dataclass(slots=True)
class Sampler:
    """Looks at one account of one home, again and again."""

    installation: Installation
    env: str
    market: Market
    _processes: dict[int, Any] = field(default_factory=dict)
    _last: tuple[datetime, Machine] | None = None
    _errors: "ErrorTail | None" = None

    def look(self, now: datetime) -> Sample:
        """Return everything as it is at the wall's ``now``; what cannot be read is said, not raised."""
        home = self.installation.home
        unread = ""
        beat = heartbeat_of(home, self.env, self.market)
        try:
            account = account_now(home, self.env, self.market, now=now)
        except MissingDataError:
            account = None
        except (DataError, OSError, sqlite3.Error) as error:
            account, unread = None, str(error)
        if self._errors is None:
            self._errors = ErrorTail(home.logs_dir)
        present = machine(home.root)
        sent, received = self._rates(now, present)
        return Sample(
            ts=now,
            is_running=beat is not None and is_running(beat),
            heartbeat=beat,
            account=account,
            markets={
                market: market_now(calendar_of(home.config_dir, market), now) for market in Market
            },
            processes=self._look_at_processes(beat),
            machine=present,
            sent=sent,
            received=received,
            errors=self._errors.news(),
            unread=unread,
        )

    def _rates(self, now: datetime, present: Machine) -> tuple[float, float]:
        before, self._last = self._last, (now, present)
        if before is None:
            return 0.0, 0.0
        seconds = max((now - before[0]).total_seconds(), 1e-3)
        return (
            max(0, present.sent - before[1].sent) / seconds,
            max(0, present.received - before[1].received) / seconds,
        )

    def _look_at_processes(self, beat: Heartbeat | None) -> dict[str, ProcessNow]:
        pids = {"monitor": os.getpid()}
        if beat is not None and is_running(beat):
            pids["session"] = beat.pid
        if self.env == "demo":
            name = f"{self.env}-{self.market}"
            port = PortFile.read(self.installation.home.data_dir / "exchange" / name / "port.json")
            if port is not None:
                pids["exchange"] = port.pid
        found = {kind: self._process(pid) for kind, pid in pids.items()}
        self._processes = {pid: p for pid, p in self._processes.items() if pid in pids.values()}
        return {kind: one for kind, one in found.items() if one is not None}

    def _process(self, pid: int) -> ProcessNow | None:
        import psutil

        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            with process.oneshot():
                return ProcessNow(
                    pid=pid,
                    memory_mb=round(process.memory_info().rss / _MB, 1),
                    cpu_percent=process.cpu_percent(),
                    files=process.num_fds(),
                    threads=process.num_threads(),
                )
        except psutil.Error:
            self._processes.pop(pid, None)
            return None


class ErrorTail:
    """The errors that were written to ``logs/errors.jsonl`` since it was made."""

    def __init__(self, logs_dir: Path) -> None:
        self._path = logs_dir / "errors.jsonl"
        self._file: Any = None
        self._rest = b""
        self._open(at_end=True)

    def news(self) -> tuple[ErrorLine, ...]:
        """Return the errors since the last call, also over the turn of the day."""
        lines = self._read()
        try:
            is_same = self._file is not None and (self._path.stat().st_ino == _inode(self._file))
        except FileNotFoundError:
            is_same = True
        if not is_same:
            self._open(at_end=False)
            lines += self._read()
        return tuple(one for one in map(_error_line, lines) if one is not None)

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, *, at_end: bool) -> None:
        self.close()
        self._rest = b""
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return
        if at_end:
            self._file.seek(0, 2)

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        whole: bytes = self._rest + self._file.read()
        # A line that is still being written waits for its end.
        *lines, self._rest = whole.split(b"\n")
        return lines


def _inode(file: Any) -> int:
    return os.fstat(file.fileno()).st_ino


def _error_line(line: bytes) -> ErrorLine | None:
    try:
        body = json.loads(line)
    except ValueError:
        return None
    if str(body.get("logger", "")).startswith(_OWN):
        return None
    return ErrorLine(
        ts=str(body.get("ts", "")),
        logger=str(body.get("logger", "")),
        event=str(body.get("event", "")),
        detail=str(body.get("reason") or body.get("error") or ""),
    )
