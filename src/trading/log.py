"""Structured logs: a Korean console for people, JSON lines for machines.

``logs/trading.jsonl`` holds everything, ``logs/errors.jsonl`` the errors with stack and context,
``logs/trades.jsonl`` the life of each order. Files turn over at midnight in Seoul; old ones are
removed. Who is told about an error by mail is decided in ``notify``.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import structlog
from structlog.typing import FilteringBoundLogger

from trading.clock import WallClock

_SEOUL = ZoneInfo("Asia/Seoul")
_TRADE_LOGGER = "trades"
_FILES = ("trading", "errors", _TRADE_LOGGER)
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LEVEL_NAMES = {
    "debug": "상세",
    "info": "정보",
    "warning": "주의",
    "error": "오류",
    "critical": "위험",
}
_COLORS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "critical": "1;31"}
_MASK = "***"
_SECRET_KEY = re.compile(
    r"(appkey|appsecret|secretkey|secret|password|token|approvalkey|authorization|"
    r"htsid|account|accountno|accountnumber|cano|personalseckey)$"
)

EventDict = MutableMapping[str, Any]


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; usable before ``configure`` (console only)."""
    return _LOGGER.bind(logger=name)


def get_trade_log() -> FilteringBoundLogger:
    """Return the logger whose lines also go to ``trades.jsonl``."""
    return get_logger(_TRADE_LOGGER)


def configure(
    logs_dir: Path | None,
    *,
    level: str = "info",
    console: bool = True,
    keep_days: Mapping[str, int] | None = None,
) -> None:
    """Choose where log lines go; a later call replaces the choice of an earlier one.

    Parameters
    ----------
    logs_dir : Path or None
        Folder of the JSON files, made with their first line; ``None`` writes no files.
    level : str
        Least level that is written anywhere: ``debug`` … ``critical``.
    console : bool
        Whether lines are also shown on stderr.
    keep_days : Mapping or None
        How long the files of past days are kept, by the name of the file (``trading``,
        ``errors``, ``trades``); a name that is not given keeps all.
    """
    for stream in (sys.stdout, sys.stderr):
        # Korean text must survive LANG=C; a replaced stream (pytest, pipe) may lack the method.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    _SINK.open(logs_dir, level=_LEVELS[level], console=console, keep_days=keep_days or {})
    threading.excepthook = _tell_thread_end
    asyncio_lines = logging.getLogger("asyncio")
    asyncio_lines.handlers = [_AsyncioLines()]
    asyncio_lines.propagate = False


def register_secret(value: str) -> None:
    """Mask ``value`` wherever it appears in later log lines; very short values are ignored.

    As it stands in an address (percent-encoded), too.
    """
    if len(value) >= 4:
        # The longest first: a part of a secret must not be masked before the whole is found.
        _SECRETS[:] = sorted({*_SECRETS, value, _in_address(value)}, key=len, reverse=True)


def masked(text: str) -> str:
    """Return a text without the registered secrets: what another's server says may repeat one."""
    for secret in _SECRETS:
        text = text.replace(secret, _MASK)
    return text


def _in_address(value: str) -> str:
    return re.sub(
        rb"[^A-Za-z0-9_.~-]", lambda found: b"%%%02X" % found[0][0], value.encode()
    ).decode()


def on_error(listener: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
    """Hand every later line of level ``error`` or above to ``listener``; return what ends that.

    The line is masked already. One that was logged with ``told=True`` is left out: whoever wrote
    it tells of it by a message of its own.
    """
    _SINK.listeners.append(listener)

    def stop() -> None:
        if listener in _SINK.listeners:
            _SINK.listeners.remove(listener)

    return stop


def _tell_thread_end(ended: threading.ExceptHookArgs) -> None:
    """Put into the log what ended a thread: its own words would go to stderr alone, unmasked."""
    if ended.exc_value is not None and ended.exc_type is not SystemExit:
        name = ended.thread.name if ended.thread is not None else ""
        get_logger(__name__).error("스레드가 오류로 끝남", thread=name, exc_info=ended.exc_value)


class _AsyncioLines(logging.Handler):
    """Puts into the log what asyncio says of tasks that failed and that nobody asked about."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(__name__)
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell("비동기 작업의 문제", detail=record.getMessage(), exc_info=record.exc_info)


_SECRETS: list[str] = []
_CLOCK = WallClock()


def _drop_quiet(logger: "_Sink", method: str, event: EventDict) -> EventDict:
    if _LEVELS[str(event["level"])] < logger.level:
        raise structlog.DropEvent
    return event


def _stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["ts"] = _CLOCK.now().isoformat(timespec="milliseconds")
    return event


def _describe_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` into text; an error without one gets the stack of its caller."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        event["error"] = f"{info[0].__name__}: {info[1]}"
        event["stack"] = "".join(traceback.format_exception(*info))
    elif _LEVELS[str(event["level"])] >= _LEVELS["error"]:
        frames = [
            frame
            for frame in traceback.extract_stack()
            if "structlog" not in frame.filename and frame.filename != __file__
        ]
        event["stack"] = "".join(traceback.format_list(frames[-12:]))
    return event


def _redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    return cast(EventDict, _masked(event))


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, MutableMapping):
        return {
            # JSON knows text alone as a key.
            str(key): _MASK if _is_secret_key(key) and item not in (None, "") else _masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else _masked(str(value))


def _is_secret_key(key: object) -> bool:
    return _SECRET_KEY.search(re.sub(r"[^a-z]", "", str(key).lower())) is not None


def _hand_over(
    _logger: object, _method: str, event: EventDict
) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (event,), {}


class _Sink:
    """Where finished events end: the console and the three files."""

    def __init__(self) -> None:
        self.level = _LEVELS["info"]
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self._console = True
        self._place: tuple[Path | None, dict[str, int]] = (None, {})
        self._files: dict[str, _DailyFile] = {}

    def open(
        self, logs_dir: Path | None, *, level: int, console: bool, keep_days: Mapping[str, int]
    ) -> None:
        self.level = level
        self._console = console
        place = (logs_dir, dict(keep_days))
        if place == self._place:
            # A thread may be about to write to them.
            return
        names = () if logs_dir is None else _FILES
        former, self._place = self._files, place
        self._files = {
            name: _DailyFile(cast(Path, logs_dir), name, keep_days.get(name)) for name in names
        }
        for file in former.values():
            file.close()

    def write(self, event: EventDict) -> None:
        is_error = _LEVELS[str(event["level"])] >= _LEVELS["error"]
        is_told = bool(event.pop("told", False))
        if self._console:
            _print_line(event, with_stack=not self._files)
        if self._files:
            try:
                self._write_files(event, is_error)
            except OSError as error:
                # Whoever logs goes on: that a disk is full is for the ledger to say, which stops
                # in good order. What was to be written is shown, so that it is not lost.
                _print_line({**event, "unwritten": str(error)}, with_stack=True)
        if is_error and not is_told:
            for listener in list(self.listeners):
                listener(event)

    def _write_files(self, event: EventDict, is_error: bool) -> None:
        whole = _json_line(event)
        brief = _json_line({k: v for k, v in event.items() if k != "stack"}) if is_error else whole
        self._files["trading"].write(brief)
        if is_error:
            self._files["errors"].write(whole)
        if event["logger"] == _TRADE_LOGGER:
            self._files["trades"].write(brief)

    debug = info = warning = error = critical = exception = msg = write


class _DailyFile:
    """An append-only file that is renamed ``name-YYYY-MM-DD.jsonl`` when its day is over.

    Several processes write to one file: each line is a single ``O_APPEND`` write, and the
    rename is done once, under a lock on the folder.
    """

    def __init__(self, folder: Path, name: str, keep_days: int | None) -> None:
        self._folder = folder
        self._name = name
        self._keep_days = keep_days
        self._path = folder / f"{name}.jsonl"
        self._fd = -1
        self._day_ends = 0.0
        self._turning = threading.Lock()
        self._is_cut = False

    def write(self, line: bytes) -> None:
        now = _CLOCK.now()
        if now.timestamp() >= self._day_ends:
            # Several threads may be the first of a day.
            with self._turning:
                if now.timestamp() >= self._day_ends:
                    self._turn_over(now)
        # A line that a full disk cut off must not run into the next one.
        whole = b"\n" + line if self._is_cut else line
        self._is_cut = os.write(self._fd, whole) < len(whole)
        if self._is_cut:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._day_ends = 0.0

    def _turn_over(self, now: datetime) -> None:
        today = now.astimezone(_SEOUL).date()
        self._folder.mkdir(parents=True, exist_ok=True)
        with _folder_lock(self._folder):
            if self._path.exists():
                written = datetime.fromtimestamp(self._path.stat().st_mtime, _SEOUL).date()
                if written < today:
                    self._path.rename(self._archive(written))
            self._remove_old(today)
            fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if self._fd < 0:
            self._fd = fresh
        else:
            # Under the same number: another thread may be about to write to it, and were it closed
            # the next file to be opened, a ledger perhaps, would get that line.
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)
        midnight = datetime(today.year, today.month, today.day, tzinfo=_SEOUL) + timedelta(days=1)
        self._day_ends = midnight.timestamp()

    def _archive(self, written: date) -> Path:
        """Return a name that is not taken: a clock that was set back comes to a day twice."""
        names = (
            f"{self._name}-{written}{part}.jsonl" for part in ("", *map(_part, range(2, 1000)))
        )
        return next(path for name in names if not (path := self._folder / name).exists())

    def _remove_old(self, today: date) -> None:
        if self._keep_days is None:
            return
        first = (today - timedelta(days=self._keep_days)).isoformat()
        for path in self._folder.glob(f"{self._name}-????-??-??*.jsonl"):
            if path.stem.removeprefix(f"{self._name}-")[:10] < first:
                path.unlink(missing_ok=True)


def _part(number: int) -> str:
    return f".{number}"


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _json_line(event: EventDict) -> bytes:
    head = {key: event[key] for key in ("ts", "level", "logger", "event")}
    text = json.dumps({**head, **event}, ensure_ascii=False, default=str)
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


def _print_line(event: EventDict, *, with_stack: bool) -> None:
    level = str(event["level"])
    when = datetime.fromisoformat(str(event["ts"])).astimezone(_SEOUL)
    fields = " ".join(
        f"{key}={value}"
        for key, value in event.items()
        if key not in ("ts", "level", "logger", "event", "stack")
    )
    stream = sys.stderr
    label = _LEVEL_NAMES[level]
    if stream.isatty():
        label = f"\x1b[{_COLORS[level]}m{label}\x1b[0m"
    line = f"{when:%H:%M:%S} {label} {event['event']}" + (f"  {fields}" if fields else "") + "\n"
    if with_stack and "error" in event:
        line += str(event["stack"])
    # A closed terminal must not stop trading: the files still have the line.
    with contextlib.suppress(OSError, ValueError):
        try:
            stream.write(line)
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "backslashreplace").decode())
        stream.flush()


_SINK = _Sink()
_LOGGER = cast(
    FilteringBoundLogger,
    structlog.wrap_logger(
        _SINK,
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            _drop_quiet,
            _stamp,
            _describe_error,
            _redact,
            _hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
    ),
)
