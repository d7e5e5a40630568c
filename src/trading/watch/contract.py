"""What must happen in each session and by when, and what of it did not.

Read from what the session leaves behind: ledger, lake, outbox, reports, backups. Whoever notices a
miss tells it; the message is one of a kind, so that several may watch at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from trading.backup import latest
from trading.bootstrap import Installation, open_ledger
from trading.clock import WallClock
from trading.config import Env
from trading.context import report_dir
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import ConfigError, MissingDataError
from trading.log import get_logger
from trading.monitoring import BEAT_SECONDS, SEOUL, Heartbeat, is_running
from trading.notify import Event, OutboxNotifier
from trading.notify.outbox import told_at
from trading.overview import calendar_of, heartbeat_of
from trading.ports import Notifier, RecordKind
from trading.store.lake import Lake

log = get_logger(__name__)

_HOUR = timedelta(hours=1)
# The venue's word on the day is final a minute after the close.
_FINAL = timedelta(minutes=1)


class Duty(StrEnum):
    """One thing that every session owes."""

    ALIVE = "alive"
    OPENED = "opened"
    DATA = "data"
    FEED = "feed"
    DECISION = "decision"
    CHECK = "check"
    HOURLY = "hourly"
    CLOSED = "closed"
    PARITY = "parity"
    REPORT = "report"
    BACKUP = "backup"


DUTY_TEXT = {
    Duty.ALIVE: "살아 있다는 신호",
    Duty.OPENED: "세션 시작",
    Duty.DATA: "지난 거래일까지의 시세",
    Duty.FEED: "거래소가 보내는 소식",
    Duty.DECISION: "개장 때의 매매 결정",
    Duty.CHECK: "장중 점검",
    Duty.HOURLY: "매시 상태",
    Duty.CLOSED: "장 마감 정산",
    Duty.PARITY: "재현 검사",
    Duty.REPORT: "일일 보고서",
    Duty.BACKUP: "백업",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Something that did not happen by its deadline.

    ``at`` is when it was due, in venue time; of a session or a venue that fell silent, when it was
    heard last, in wall time.
    """

    market: Market
    session: date
    duty: Duty
    at: datetime

    @property
    def text(self) -> str:
        """What was expected, in Korean, with its hour."""
        return f"{DUTY_TEXT[self.duty]} ({self.at.astimezone(SEOUL):%Y-%m-%d %H:%M} KST)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one session has left behind so far.

    Instants of the session are venue time; ``hours`` is ``None`` where no hourly status is wanted.
    ``backed_up``, in wall time, is when the home was last backed up, whatever for. ``opened`` is
    when the books were opened, ``data_through`` the last session in the lake before this one.
    """

    market: Market
    session: date
    previous: date
    opens: datetime
    closes: datetime
    opened: datetime | None
    data_through: date | None
    decided: bool
    marks: tuple[datetime, ...]
    hours: tuple[datetime, ...] | None
    closed: datetime | None
    settled: bool
    reported: bool
    wants_backup: bool
    backed_up: datetime | None
    differences: int
    unexplained: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How late things may be: ``late`` in venue time, ``closing`` in wall time."""

    check_interval: timedelta
    late: timedelta
    closing: timedelta


def read_trace(installation: Installation, env: str, market: Market, session: date) -> Trace:
    """Return what ``session`` left behind; an account without a ledger has left nothing.

    Raises
    ------
    ConfigError
        When the calendar of the market does not know the day.
    DataError
        When the ledger cannot be read.
    """
    home, settings = installation.home, installation.settings
    calendar = calendar_of(home.config_dir, market)
    opens, closes = calendar.open_close(session)
    previous = calendar.previous(session)
    trace = Trace(
        market=market,
        session=session,
        previous=previous,
        opens=opens,
        closes=closes,
        opened=None,
        data_through=max(
            (s for s in Lake(home.data_dir / "lake").sessions(market) if s < session), default=None
        ),
        decided=False,
        marks=(),
        hours=None,
        closed=None,
        settled=False,
        reported=(report_dir(home, env, market, session) / "report.html").is_file(),
        wants_backup=settings.app.backup.on_closing,
        backed_up=_backed_up(installation),
        differences=0,
        unexplained=0,
    )
    try:
        ledger = open_ledger(home, env, market, read_only=True)
    except MissingDataError:
        return trace
    marks: list[datetime] = []
    found: dict[str, object] = {}
    try:
        for record in ledger.read(session=session):
            match record.kind:
                case RecordKind.SESSION if record.key.endswith("opened"):
                    found["opened"] = record.ts
                case RecordKind.SESSION:
                    found["closed"] = record.ts
                    found["differences"] = len(record.body["differences"])
                case RecordKind.DECISION:
                    found["decided"] = True
                case RecordKind.MARK:
                    marks.append(record.ts)
                case RecordKind.PARITY:
                    found["settled"] = True
                    found["unexplained"] = record.body["unexplained"]
    finally:
        ledger.close()
    if Event.HOURLY_STATUS in settings.notify.events:
        told = _told(installation, Event.HOURLY_STATUS, market, session)
        found["hours"] = tuple(ts for ts in told if ts is not None)
    if Event.DAILY_REPORT in settings.notify.events and trace.reported:
        found["reported"] = bool(_told(installation, Event.DAILY_REPORT, market, session))
    return replace(trace, marks=tuple(marks), **found)  # type: ignore[arg-type]


def missed(
    trace: Trace,
    deadlines: Deadlines,
    *,
    venue_now: datetime,
    now: datetime,
    closed_at: datetime | None,
) -> list[Missed]:
    """Return what the session owes at ``venue_now`` and did not do, in the order of its hours.

    ``closed_at`` is when it was closed, in wall time as ``now``: what follows the close has no
    hour of its own. ``None`` while it is not closed or nobody knows since when.
    """
    since = now - closed_at if closed_at is not None else timedelta(0)
    is_over = since > deadlines.closing
    found = _missed(trace, deadlines, venue_now, closed_at if is_over else None)
    return sorted(found, key=lambda one: (one.at, one.duty))


def _missed(
    trace: Trace, deadlines: Deadlines, now: datetime, over_since: datetime | None
) -> Iterator[Missed]:
    late = deadlines.late

    def one(duty: Duty, at: datetime) -> Missed:
        return Missed(market=trace.market, session=trace.session, duty=duty, at=at)

    begun = now > trace.opens + late
    if trace.opened is None:
        # Nothing else can have happened: one alarm, not one for each.
        if begun:
            yield one(Duty.OPENED, trace.opens)
        return
    start = max(trace.opens, trace.opened)
    if begun and (trace.data_through is None or trace.data_through < trace.previous):
        yield one(Duty.DATA, trace.opens)
    if now > start + late and not trace.decided:
        yield one(Duty.DECISION, start)
    for at in _gaps(trace, deadlines, start, now):
        yield one(Duty.CHECK, at)
    for at in _silent_hours(trace, deadlines, start, now):
        yield one(Duty.HOURLY, at)
    if trace.closed is None:
        if now > trace.closes + _FINAL + late:
            yield one(Duty.CLOSED, trace.closes)
        return
    if over_since is None:
        return
    if not trace.settled:
        yield one(Duty.PARITY, trace.closed)
    if not trace.reported:
        yield one(Duty.REPORT, trace.closed)
    if trace.wants_backup and (trace.backed_up is None or trace.backed_up < over_since):
        yield one(Duty.BACKUP, trace.closed)


def _gaps(trace: Trace, deadlines: Deadlines, start: datetime, now: datetime) -> Iterator[datetime]:
    """Yield when checks were due that nobody made: where two are too far apart."""
    interval = deadlines.check_interval
    end = min(trace.closes, now)
    marks = [mark for mark in trace.marks if start < mark < end]
    for before, after in zip([start, *marks], [*marks, end], strict=True):
        if after - before > interval + deadlines.late:
            yield before + interval


def _silent_hours(
    trace: Trace, deadlines: Deadlines, start: datetime, now: datetime
) -> Iterator[datetime]:
    """Yield the hours of the session of which nothing was told."""
    if trace.hours is None:
        return
    hour = trace.opens
    while hour < min(trace.closes, now - deadlines.check_interval - deadlines.late):
        if hour >= start and not any(hour <= told < hour + _HOUR for told in trace.hours):
            yield hour
        hour += _HOUR


def tell(notifier: Notifier, env: str, missing: Sequence[Missed]) -> None:
    """Write each miss into the log as an error, and put its message into the outbox once."""
    for one in missing:
        log.error(
            "예정된 일이 없었음",
            market=str(one.market),
            session=str(one.session),
            expected=one.text,
            duty=str(one.duty),
            told=True,
        )
        notifier.send(
            Event.EVENT_MISSED,
            {
                "market": str(one.market),
                "session": str(one.session),
                "expected": one.text,
                "message": f"{MARKET_TEXT[one.market]} 시장 {one.session} 세션에 있어야 할 일이 "
                "없었습니다.",
                "key": f"missed:{env}:{one.market}:{one.session}:{one.duty}:{one.at.isoformat()}",
            },
        )


def owed(
    installation: Installation,
    market: Market,
    session: date,
    *,
    env: str,
    beat: Heartbeat | None,
    now: datetime,
    closed_at: datetime | None = None,
) -> tuple[Trace, list[Missed]]:
    """Return what a session left behind, and what of its duties is missing at the wall's ``now``.

    ``beat`` tells the pace of its venue. Where it is of a later session already, the day of
    this one is over; one of an earlier session says nothing of this one's day. ``closed_at`` is
    for a demo, whose ledger tells the hour of the recorded day.
    """
    trace = read_trace(installation, env, market, session)
    venue = beat.venue_now(now) if beat is not None else now
    if beat is not None and date.fromisoformat(beat.session) > session:
        venue = max(venue, trace.closes + timedelta(days=1))
    if env != Env.DEMO:
        closed_at = trace.closed
    deadlines = _deadlines(installation, beat)
    return trace, missed(trace, deadlines, venue_now=venue, now=now, closed_at=closed_at)


def is_silent(installation: Installation, beat: Heartbeat, now: datetime) -> bool:
    """Whether a session that should live has not shown that for too long."""
    late = installation.settings.app.monitor.late_seconds
    return (now - beat.ts).total_seconds() > max(late, 3 * BEAT_SECONDS)


def send_hourly(installation: Installation, notifier: OutboxNotifier) -> dict[str, int]:
    """Alarm about what the sessions owe, and send what waits in the outbox.

    Without a running session silence is normal in a demo; the configured account at a venue owes
    each day of its market. Returns how many messages were sent and wait, how many sessions run,
    and how much was missing.
    """
    now = WallClock().now()
    running, missing = 0, 0
    for env in Env:
        for market in Market:
            beat = heartbeat_of(installation.home, env, market)
            runs = beat is not None and is_running(beat)
            running += runs
            session = (
                date.fromisoformat(beat.session)
                if beat is not None and runs
                else _awaited(installation, env, market, now)
            )
            if session is None:
                continue
            _, found = owed(installation, market, session, env=env, beat=beat, now=now)
            if beat is not None and runs and is_silent(installation, beat, now):
                found.append(Missed(market=market, session=session, duty=Duty.ALIVE, at=beat.ts))
            missing += len(found)
            tell(notifier, env, found)
    return {
        "sent": notifier.deliver_due(),
        "pending": notifier.pending(),
        "running": running,
        "missed": missing,
    }


def _deadlines(installation: Installation, beat: Heartbeat | None) -> Deadlines:
    """Return how late things may be in a session that runs at the pace of ``beat``."""
    app = installation.settings.app
    late = timedelta(seconds=app.monitor.late_seconds)
    speed = beat.speed if beat is not None and beat.venue_ts is not None else 1.0
    return Deadlines(
        check_interval=timedelta(minutes=app.check_interval_minutes),
        late=late * max(speed or 1.0, 1.0),
        closing=timedelta(minutes=app.monitor.closing_minutes),
    )


def _told(
    installation: Installation, event: Event, market: Market, session: date
) -> list[datetime | None]:
    path = installation.home.data_dir / "outbox.db"
    return told_at(path, event, market=market, session=session.isoformat())


def _backed_up(installation: Installation) -> datetime | None:
    """Return when the last backup that was proven was made; ``None`` when there is none."""
    last = latest(installation.home)
    return last.ts if last is not None and last.verified else None


def _awaited(installation: Installation, env: Env, market: Market, now: datetime) -> date | None:
    """Return the session that should run or have run today without showing that it does."""
    app = installation.settings.app
    if env is Env.DEMO or env is not app.env or market is not app.market:
        return None
    return todays_session(installation, market, now)


def todays_session(installation: Installation, market: Market, now: datetime) -> date | None:
    """Return the session of ``market`` on its local day, if any, until its last duty is due.

    And an hour longer: who looks once an hour sees each deadline, too.
    """
    calendar = calendar_of(installation.home.config_dir, market)
    day = now.astimezone(calendar.timezone).date()
    deadlines = _deadlines(installation, None)
    last = _FINAL + deadlines.late + deadlines.closing + _HOUR
    try:
        return (
            day if calendar.is_session(day) and now < calendar.open_close(day)[1] + last else None
        )
    except ConfigError:
        return None


def hours_of(
    installation: Installation, market: Market, session: date
) -> tuple[datetime, datetime]:
    """Return when the session opens and closes, in venue time."""
    return calendar_of(installation.home.config_dir, market).open_close(session)
