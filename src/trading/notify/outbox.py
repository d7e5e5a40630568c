"""A durable outbox in front of the channels: gathering, repeating, waiting, trying again.

``send`` only writes a row and returns; a thread with an event loop of its own delivers. Each
channel has its own row of a message, so that a dead webhook never sends a mail twice. Rows are
claimed before they are tried: two processes never send the same row at once, and a crash in
between means another try after the delay (at least once; a mail keeps its Message-ID, so that
mail programs show it once).
"""

import asyncio
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trading.domain.wording import CHANNEL_TEXT
from trading.errors import DeliveryError
from trading.log import get_logger, on_error
from trading.notify.channels import Channel
from trading.notify.message import HIDDEN, Entry, Message, as_json, compose
from trading.notify.settings import Event, NotifySettings
from trading.ports import Clock

log = get_logger(__name__)

T = TypeVar("T")

# Rows of this batch wait for the end of the quiet hours.
_HELD = "held"
_PRUNE_EVERY = timedelta(days=1)
# Errors of the log that wait to be written; a storm of more different ones is counted only.
_MOST_ERRORS = 200
# What differs from one time to the next of the same thing.
_CHANGING = frozenset({"ts", "key", "same_as"})
# What is said otherwise of a line of the log, and what would mean something else in a message.
_NOT_OF_A_LINE = frozenset({"ts", "event", "stack", "level", "logger", "report", *HIDDEN})
# What no waiting mends, in the primary codes of SQLite.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LEVEL_TEXT = {"error": "오류", "critical": "위험"}


class _Row(NamedTuple):
    """A row that waits, without its body."""

    id: int
    channel: str
    event: str
    batch: str | None
    created_at: str
    next_try_at: str
    attempts: int


@dataclass(slots=True)
class _Trouble:
    """A channel that takes nothing: how often in a row, and until when it is left alone."""

    failures: int = 0
    until: datetime | None = None


class OutboxNotifier:
    """The ``Notifier`` of this program."""

    def __init__(
        self, path: Path, *, settings: NotifySettings, channels: Sequence[Channel], clock: Clock
    ) -> None:
        self._path = path
        self._settings = settings
        self._channels = {channel.name: channel for channel in channels}
        self._clock = clock
        self._trouble = {channel.name: _Trouble() for channel in channels}
        self._pruned_at: datetime | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None
        self._errors = _ErrorLines()
        self._stop_listening: Callable[[], None] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) not in _DAMAGED:
                raise
            self._begin_afresh(str(error))

    @property
    def channels(self) -> Sequence[Channel]:
        """The ways out that are configured."""
        return tuple(self._channels.values())

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        """Put the message into the outbox and return; problems are logged, never raised.

        The reserved field ``key`` makes the message one of a kind: a second one with the same
        key (a restarted session tells its day again) is left out. Without a key, the same message
        of an event of ``repeat`` is counted instead of told again; ``same_as`` names what is the
        same where the other fields differ each time.
        """
        try:
            if event not in self._settings.events:
                if event not in set(Event):
                    log.error("모르는 이름의 알림", event_name=event)
                return
            self._write(event, fields)
            self._wake.set()
        except Exception as error:  # a message must never stop a trade
            log.error("알림 보관 실패", event_name=event, reason=str(error))

    def deliver_due(self, *, gathers: bool = False) -> int:
        """Try every row whose time has come, oldest first; return how many rows went out.

        ``gathers`` leaves what is still being gathered. May be called beside a running event loop.
        """
        return _apart(self._deliver(flush=not gathers))

    def pending(self) -> int:
        """Return how many deliveries are still to be made."""
        with closing(self._connect()) as db:
            row = db.execute(
                f"SELECT count(*) FROM outbox WHERE {self._open()}",  # noqa: S608 (the condition is ours; its values are parameters)
                self._open_values(),
            ).fetchone()
        return int(row[0])

    def start(self, about: Mapping[str, Any] | None = None) -> None:
        """Deliver in a thread of its own from now on, and tell every error of the log.

        ``about`` are fields of each such error: whose day it is.
        """
        if self._worker is None:
            self._worker = threading.Thread(
                target=self._work, args=(dict(about or {}),), name="notify", daemon=True
            )
            self._worker.start()
            self._stop_listening = on_error(self._take_error)

    def close(self, *, timeout_seconds: float = 30.0) -> None:
        """Stop the thread after it sent what was gathered; what fails waits for the next start.

        The report of the day is among it, and a mail may take seconds. A server that is down is
        asked once only.
        """
        if self._stop_listening is not None:
            self._stop_listening()
        self._closing.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(timeout_seconds)

    def __enter__(self) -> "OutboxNotifier":
        """Deliver, and tell every error of the log, while the block runs: where no day is open."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """See ``close``."""
        self.close()

    def _prepare(self) -> None:
        # Who is told what is nobody else's to read; older files are given less, too.
        self._path.touch(mode=0o600)
        self._path.chmod(0o600)
        with closing(self._connect()) as db, db:
            db.execute(_TABLE)
            known = {row[1] for row in db.execute("PRAGMA table_info(outbox)")}
            for column, kind in _ADDED.items():
                if column not in known:
                    db.execute(f"ALTER TABLE outbox ADD COLUMN {column} {kind}")

    def _begin_afresh(self, reason: str) -> None:
        """Put a file aside that is no outbox any more: no day waits for somebody to do that."""
        aside = self._path.with_name(f"outbox.broken-{self._clock.now():%Y%m%dT%H%M%S}.db")
        self._path.replace(aside)
        # It belongs to the damaged file.
        self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
        self._prepare()
        log.error("손상된 알림 보관함을 옆으로 옮기고 새로 시작", path=str(aside), reason=reason)
        self.send(
            Event.ERROR,
            {
                "message": "알림 보관함이 손상되어 새로 만들었습니다. 아직 보내지 못한 알림은 잃었을 수 있습니다.",
                "path": str(aside),
                "reason": reason,
            },
        )

    # --- writing ------------------------------------------------------------------------------

    def _write(self, event: str, fields: Mapping[str, Any], *, times: int = 1) -> None:
        now = self._clock.now()
        body = as_json(fields)
        with closing(self._connect()) as db, db:
            # The count of a repetition must not be read by two at once.
            db.execute("BEGIN IMMEDIATE")
            for channel in self._channels:
                self._put(db, channel, event, body, fields, now, times)

    def _put(
        self,
        db: sqlite3.Connection,
        channel: str,
        event: str,
        body: str,
        fields: Mapping[str, Any],
        now: datetime,
        times: int,
    ) -> None:
        key, stamp = fields.get("key"), now.isoformat()
        batch = self._settings.batch.group_of(event)
        due = now + timedelta(seconds=self._settings.batch.wait_seconds if batch else 0.0)
        same = None
        repeat = self._settings.repeat
        if key is None and event in repeat.events and repeat.window_seconds > 0:
            same = _same(event, fields)
            if db.execute(
                f"UPDATE outbox SET times = times + ?, last_at = ? WHERE {self._open()} "  # noqa: S608 (the condition is ours; its values are parameters)
                "AND channel = ? AND same_as = ?",
                (times, stamp, *self._open_values(), channel, same),
            ).rowcount:
                return
            told = db.execute(_TOLD, (channel, same)).fetchone()[0]
            if told is not None:
                window = timedelta(seconds=repeat.window_seconds)
                due = max(due, datetime.fromisoformat(told) + window)
        db.execute(
            _INSERT, (key, channel, event, body, stamp, due.isoformat(), batch, same, times, stamp)
        )

    def _take_error(self, line: Mapping[str, Any]) -> None:
        """Keep an error of the log for the thread; those of the messages themselves stay there."""
        if not str(line.get("logger", "")).startswith(__package__ or ""):
            self._errors.add(line)
            self._wake.set()

    def _write_errors(self, about: Mapping[str, Any]) -> None:
        if Event.ERROR not in self._settings.events:
            return
        lines = self._errors.taken()
        while lines:
            line, times = lines[0]
            fields = {name: value for name, value in line.items() if name not in _NOT_OF_A_LINE}
            level = _LEVEL_TEXT.get(str(line["level"]), str(line["level"]))
            named = {"message": line["event"], "level": level, "logger": line["logger"]}
            try:
                self._write(
                    Event.ERROR,
                    {**about, **fields, **named, "same_as": _line_key(line)},
                    times=times,
                )
            except sqlite3.Error:
                # On a full disk they wait here for as long as the process lives.
                for again, count in lines:
                    self._errors.add(again, times=count)
                raise
            except Exception as error:
                # One that can never be written keeps none of the others back.
                log.error("알림 보관 실패", event_name=str(Event.ERROR), reason=str(error))
            lines.pop(0)

    # --- delivering ---------------------------------------------------------------------------

    def _work(self, about: Mapping[str, Any]) -> None:
        while True:
            is_last = self._closing.is_set()
            self._wake.clear()
            try:
                self._write_errors(about)
                asyncio.run(self._deliver(flush=is_last))
                pause = self._seconds_to_next()
            except Exception as error:  # the thread must outlive a full disk or a locked file
                log.error("알림 전송 중단", reason=str(error))
                pause = self._settings.retry.first_delay_seconds
            if is_last:
                return
            self._wake.wait(pause)

    def _seconds_to_next(self) -> float:
        """Return how long nothing is due, at most the first delay."""
        now, longest = self._clock.now(), self._settings.retry.first_delay_seconds
        moments = [
            max(datetime.fromisoformat(row.next_try_at), self._trouble[row.channel].until or now)
            for row in self._waiting()
        ]
        soonest = min(moments, default=now + timedelta(seconds=longest))
        return min(max((soonest - now).total_seconds(), 0.05), longest)

    async def _deliver(self, *, flush: bool) -> int:
        now = self._clock.now()
        self._prune(now)
        waiting = self._held_back(self._waiting(), now)
        sent = await asyncio.gather(
            *(
                self._deliver_channel(
                    channel, _messages(waiting, channel.name, now, self._settings, flush=flush)
                )
                for channel in self._channels.values()
            )
        )
        return sum(sent)

    async def _deliver_channel(self, channel: Channel, messages: Sequence[Sequence[_Row]]) -> int:
        """Send one message after the other; a channel that is down is left alone for a while."""
        trouble, sent = self._trouble[channel.name], 0
        for rows in messages:
            if trouble.until is not None and self._clock.now() < trouble.until:
                break
            sent += await self._try(channel, rows)
        return sent

    async def _try(self, channel: Channel, rows: Sequence[_Row]) -> int:
        retry, now = self._settings.retry, self._clock.now()
        with closing(self._connect()) as db, db:
            ours = [
                row
                for row in rows
                if db.execute(
                    _CLAIM,
                    (
                        (
                            now + timedelta(seconds=retry.delay_seconds(row.attempts + 1))
                        ).isoformat(),
                        row.id,
                        row.attempts,
                    ),
                ).rowcount
                == 1
            ]
            told = {row.id: db.execute(_BODY, (row.id,)).fetchone() for row in ours}
        if not ours:
            return 0
        trouble = self._trouble[channel.name]
        try:
            message = self._message(ours, told)
            message_id = self._message_id(channel, ours)
            at = datetime.fromisoformat(ours[0].created_at)
            remark = await channel.deliver(message, message_id=message_id, at=at)
        except Exception as error:
            failure = error if isinstance(error, DeliveryError) else _unexpected(error)
            self._failed(channel, ours, failure)
            return 0
        trouble.failures, trouble.until = 0, None
        if remark:
            log.warning("알림을 일부만 보냄", channel=channel.name, reason=remark)
        self._settle(ours, told)
        return len(ours)

    def _message(self, rows: Sequence[_Row], told: Mapping[int, tuple[str, int, str]]) -> Message:
        entries = []
        for row in rows:
            body, times, last_at = told[row.id]
            entries.append(
                Entry(
                    event=row.event,
                    fields=json.loads(body),
                    at=datetime.fromisoformat(row.created_at),
                    times=times,
                    last_at=datetime.fromisoformat(last_at or row.created_at),
                )
            )
        is_held = rows[0].batch == _HELD
        return compose(
            entries,
            prefix=self._settings.subject_prefix,
            headline="조용한 시간에 모인 알림:" if is_held else "",
        )

    def _message_id(self, channel: Channel, rows: Sequence[_Row]) -> str:
        named = json.dumps(
            [str(self._path.absolute()), channel.name, *(list(row[:5]) for row in rows)]
        )
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    def _settle(self, rows: Sequence[_Row], told: Mapping[int, tuple[str, int, str]]) -> None:
        """Mark rows as sent; what repeated while they were on their way is told later."""
        now = self._clock.now()
        due = (now + timedelta(seconds=self._settings.repeat.window_seconds)).isoformat()
        with closing(self._connect()) as db, db:
            for row in rows:
                db.execute(_SENT, (now.isoformat(), row.id))
                db.execute(_REST, (now.isoformat(), due, told[row.id][1], row.id, told[row.id][1]))

    def _failed(self, channel: Channel, rows: Sequence[_Row], failure: DeliveryError) -> None:
        retry, now = self._settings.retry, self._clock.now()
        reason = f"{failure} ({failure.detail})" if failure.detail else str(failure)
        with closing(self._connect()) as db, db:
            db.executemany(_FAILED, [(reason, row.id) for row in rows])
        if failure.is_down:
            trouble = self._trouble[channel.name]
            trouble.failures += 1
            wait = failure.retry_seconds or retry.delay_seconds(trouble.failures)
            trouble.until = now + timedelta(seconds=wait)
        lost = [row for row in rows if row.attempts + 1 >= retry.max_attempts]
        fields = {"channel": channel.name, "reason": reason, "remedy": failure.remedy}
        log.warning("알림 전송 실패", messages=len(rows), **fields)
        if lost:
            log.error("알림 전송 포기", messages=len(lost), attempts=retry.max_attempts, **fields)
            self._tell_elsewhere(channel, lost, reason)

    def _tell_elsewhere(self, channel: Channel, lost: Sequence[_Row], reason: str) -> None:
        """Say by the other channels that this one lost messages; never by itself."""
        now = self._clock.now()
        fields = {
            "message": f"{CHANNEL_TEXT.get(channel.name, channel.name)}(으)로 알림 {len(lost)}건을 "
            f"보내지 못해 포기했습니다: {reason}",
            "same_as": f"given-up:{channel.name}",
        }
        if Event.ERROR not in self._settings.events or any(
            json.loads(self._body_of(row)).get("same_as", "").startswith("given-up:")
            for row in lost
        ):
            return
        with closing(self._connect()) as db, db:
            db.execute("BEGIN IMMEDIATE")
            for other in self._channels:
                if other != channel.name:
                    self._put(db, other, Event.ERROR, as_json(fields), fields, now, 1)

    def _body_of(self, row: _Row) -> str:
        with closing(self._connect()) as db:
            return str(db.execute(_BODY, (row.id,)).fetchone()[0])

    def _held_back(self, rows: Sequence[_Row], now: datetime) -> list[_Row]:
        """Let what is not pressing wait for the end of the quiet hours; return the rest."""
        over = self._settings.quiet.over_at(now)
        if over is None:
            return list(rows)
        held = {row.id for row in rows if row.event not in self._settings.quiet.passing}
        until = over.astimezone(UTC).isoformat()
        late = [row.id for row in rows if row.id in held and row.next_try_at < until]
        if late:
            with closing(self._connect()) as db, db:
                db.executemany(
                    "UPDATE outbox SET next_try_at = ?, batch = ? WHERE id = ? AND sent_at IS NULL",
                    [(until, _HELD, row) for row in late],
                )
        return [row for row in rows if row.id not in held]

    def _waiting(self) -> list[_Row]:
        with closing(self._connect()) as db:
            found = db.execute(
                "SELECT id, channel, event, batch, created_at, next_try_at, attempts FROM outbox "  # noqa: S608 (the condition is ours; its values are parameters)
                f"WHERE {self._open()} ORDER BY id",
                self._open_values(),
            ).fetchall()
        return [_Row(*one) for one in found]

    def _prune(self, now: datetime) -> None:
        """Forget what is old: sent, given up, or for a channel that is no more."""
        if self._pruned_at is not None and now - self._pruned_at < _PRUNE_EVERY:
            return
        self._pruned_at = now
        before = (now - timedelta(days=self._settings.keep_days)).isoformat()
        with closing(self._connect()) as db, db:
            lost = db.execute(
                f"SELECT count(*) FROM outbox WHERE created_at < ? AND {self._open()}",  # noqa: S608 (the condition is ours; its values are parameters)
                (before, *self._open_values()),
            ).fetchone()[0]
            db.execute("DELETE FROM outbox WHERE created_at < ?", (before,))
        if lost:
            log.error(
                "끝내 보내지 못한 오래된 알림을 지움", messages=lost, days=self._settings.keep_days
            )

    def _open(self) -> str:
        """Return the SQL condition of rows that are still to be delivered."""
        places = ", ".join("?" * len(self._channels))
        return f"sent_at IS NULL AND attempts < ? AND channel IN ({places})"

    def _open_values(self) -> tuple[int | str, ...]:
        return (self._settings.retry.max_attempts, *self._channels)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10.0)


class Backlog(NamedTuple):
    """Deliveries that should have been made: how many, since when, and what the last one met."""

    late: int
    oldest: datetime | None
    reason: str


def backlog(path: Path, *, before: datetime) -> Backlog:
    """Return what was written before ``before`` and has not left; raises ``sqlite3.Error``.

    One that is held for the quiet hours, or counts an error on, is not late.
    """
    instant = before.astimezone(UTC).isoformat()
    with closing(_reader(path)) as db:
        late, oldest = db.execute(_LATE, (instant, instant)).fetchone()
        reason = db.execute(_LAST_REASON, (instant,)).fetchone()
    return Backlog(
        late=late,
        oldest=datetime.fromisoformat(oldest) if oldest is not None else None,
        reason=reason[0] if reason is not None else "",
    )


def told_at(path: Path, event: str, *, market: str, session: str) -> list[datetime | None]:
    """Return the field ``ts`` of each message of ``event`` about a session, ``None`` without one.

    Empty before the first message; raises ``sqlite3.Error``.
    """
    if not path.is_file():
        return []
    with closing(_reader(path)) as db:
        rows = db.execute(_TOLD_OF, (event, market, session)).fetchall()
    return [datetime.fromisoformat(ts) if ts is not None else None for (ts,) in rows]


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)


class _ErrorLines:
    """Errors of the log, alike ones counted, until the thread takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[Mapping[str, Any], int]] = {}

    def add(self, line: Mapping[str, Any], *, times: int = 1) -> None:
        key = _line_key(line)
        with self._lock:
            if key not in self._lines and len(self._lines) >= _MOST_ERRORS:
                key = next(reversed(self._lines))
            first, before = self._lines.get(key, (line, 0))
            self._lines[key] = (first, before + times)

    def taken(self) -> list[tuple[Mapping[str, Any], int]]:
        with self._lock:
            lines, self._lines = self._lines, {}
        return list(lines.values())


def _line_key(line: Mapping[str, Any]) -> str:
    """Return what makes two errors of the log the same: where, what, on which name."""
    kind = str(line.get("error", "")).partition(":")[0]
    return "|".join(str(part) for part in (line["logger"], line["event"], kind, line.get("symbol")))


def _same(event: str, fields: Mapping[str, Any]) -> str:
    told = fields.get("same_as")
    if told is None:
        told = as_json({k: v for k, v in fields.items() if k not in _CHANGING})
    return hashlib.sha256(f"{event}|{told}".encode()).hexdigest()[:32]


def _messages(
    rows: Sequence[_Row], channel: str, now: datetime, settings: NotifySettings, *, flush: bool
) -> list[list[_Row]]:
    """Return the rows that are due, those of a batch together, in the order of the oldest."""
    stamp = now.isoformat()
    gathering = timedelta(seconds=settings.batch.wait_seconds)
    found: list[list[_Row]] = []
    batches: dict[str, list[_Row]] = {}
    for row in rows:
        if row.channel != channel:
            continue
        is_due = row.next_try_at <= stamp
        if row.batch is None:
            if is_due:
                found.append([row])
            continue
        # One that is only gathered leaves with the first of its batch; a repetition or a retry
        # waits for its own time.
        gathered_until = datetime.fromisoformat(row.created_at) + gathering
        is_gathered = row.attempts == 0 and row.next_try_at <= gathered_until.isoformat()
        if is_due or is_gathered:
            batches.setdefault(row.batch, []).append(row)
    for batch in batches.values():
        if flush or any(row.next_try_at <= stamp for row in batch):
            most = settings.batch.most
            found += [batch[i : i + most] for i in range(0, len(batch), most)]
    return sorted(found, key=lambda group: group[0].id)


def _unexpected(error: Exception) -> DeliveryError:
    return DeliveryError(
        f"예상하지 못한 오류: {type(error).__name__}: {error}",
        remedy="프로그램의 오류입니다. logs/errors.jsonl과 함께 알려 주십시오.",
    )


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a loop of its own: the caller may be inside one (a flow's hook)."""
    with ThreadPoolExecutor(1, thread_name_prefix="notify") as pool:
        return pool.submit(asyncio.run, work).result()


_TABLE = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY,
    key TEXT,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL,
    next_try_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent_at TEXT,
    last_error TEXT,
    batch TEXT,
    same_as TEXT,
    times INTEGER NOT NULL DEFAULT 1,
    last_at TEXT,
    UNIQUE (key, channel)
)
"""
# Columns that outboxes of earlier versions lack.
_ADDED = {
    "batch": "TEXT",
    "same_as": "TEXT",
    "times": "INTEGER NOT NULL DEFAULT 1",
    "last_at": "TEXT",
}
_INSERT = """
INSERT INTO outbox
    (key, channel, event, body, created_at, next_try_at, batch, same_as, times, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key, channel) DO NOTHING
"""
_LATE = (
    "SELECT count(*), min(created_at) FROM outbox WHERE sent_at IS NULL AND created_at < ? "
    "AND (attempts > 0 OR next_try_at < ?)"
)
_LAST_REASON = (
    "SELECT last_error FROM outbox WHERE sent_at IS NULL AND created_at < ? "
    "AND last_error IS NOT NULL ORDER BY id DESC LIMIT 1"
)
_TOLD_OF = (
    "SELECT DISTINCT json_extract(body, '$.ts') FROM outbox WHERE event = ? "
    "AND json_extract(body, '$.market') = ? AND json_extract(body, '$.session') = ?"
)
_TOLD = "SELECT max(sent_at) FROM outbox WHERE channel = ? AND same_as = ?"
_BODY = "SELECT body, times, last_at FROM outbox WHERE id = ?"
_CLAIM = (
    "UPDATE outbox SET attempts = attempts + 1, next_try_at = ? WHERE id = ? AND attempts = ? "
    "AND sent_at IS NULL"
)
_FAILED = "UPDATE outbox SET last_error = ? WHERE id = ?"
_SENT = "UPDATE outbox SET sent_at = ?, last_error = NULL WHERE id = ?"
_REST = """
INSERT INTO outbox
    (channel, event, body, created_at, next_try_at, batch, same_as, times, last_at)
SELECT channel, event, body, ?, ?, batch, same_as, times - ?, last_at FROM outbox
WHERE id = ? AND times > ?
"""
