"""How a running session is doing: its heartbeat file, its counts, the machine, the market's hours.

Whoever wants to know reads the file; nothing here decides or alarms.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, money_text, percent_text
from trading.errors import ConfigError
from trading.log import get_logger
from trading.ports import Clock
from trading.sessions import SessionCalendar
from trading.simulation.account import Account

log = get_logger(__name__)

OPEN = "open"
CLOSED = "closed"
# Ended before its end, by an error or because somebody stopped it: its orders may be open.
STOPPED = "stopped"
# How often a running session shows that it lives.
BEAT_SECONDS = 10.0

SEOUL, EASTERN = ZoneInfo("Asia/Seoul"), ZoneInfo("America/New_York")

_MB = 1024 * 1024
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of a session; ``ts`` in wall time.

    ``venue_ts`` is the venue's time at that moment and ``speed`` how many of its seconds pass in
    one of the wall clock's: ``None`` where time stands still until it is moved.
    """

    pid: int
    ts: datetime
    market: str
    session: str
    phase: str
    counters: Mapping[str, int]
    memory_mb: float
    cpu_percent: float
    venue_ts: datetime | None = None
    speed: float | None = None

    def venue_now(self, now: datetime) -> datetime:
        """Return what the venue's clock shows at the wall's ``now``."""
        if self.venue_ts is None:
            return now
        return self.venue_ts + (now - self.ts) * (self.speed or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the whole machine has left: shares in percent, ``sent`` and ``received`` in bytes."""

    memory_percent: float
    cpu_percent: float
    disk_free_gb: float
    disk_percent: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketNow:
    """Whether a market trades, and the hours of its present or next session, in UTC."""

    market: Market
    is_open: bool
    session: str
    opens: datetime
    closes: datetime

    @property
    def text(self) -> str:
        """The Korean words: open until when, or closed until when, in Korean time."""
        if self.is_open:
            return f"장중, {self.closes.astimezone(SEOUL):%H:%M} KST 마감"
        return f"장 닫힘, 다음 개장 {self.opens.astimezone(SEOUL):%Y-%m-%d %H:%M} KST"


class SessionMonitor:
    """Writes the heartbeat of one session; ``counters`` tells how far its counts have come.

    ``venue`` is the venue's clock and ``speed`` its pace, where they are not the wall's.
    """

    def __init__(
        self,
        path: Path,
        *,
        market: str,
        session: str,
        clock: Clock,
        counters: Callable[[], Mapping[str, int]],
        venue: Clock | None = None,
        speed: float | None = 1.0,
    ) -> None:
        import psutil

        self._path = path
        self._market = market
        self._session = session
        self._clock = clock
        self._counters = counters
        self._venue = venue
        self._speed = speed
        self._unreadable = psutil.Error
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only marks the start of the interval

    def beat(self, phase: str) -> Heartbeat:
        """Write the heartbeat file, whole or not at all, and return what it says.

        A beat that a full disk does not take is told and left out: whoever watches decides how
        long a silence may last, and the next one may find room again. What the machine does not
        tell of the process (out of file handles, say) is said as nothing.
        """
        try:
            memory, cpu = self._process.memory_info().rss, self._process.cpu_percent()
        except (OSError, self._unreadable):
            memory, cpu = 0, 0.0
        heartbeat = Heartbeat(
            pid=os.getpid(),
            ts=self._clock.now(),
            market=self._market,
            session=self._session,
            phase=phase,
            counters=dict(sorted(self._counters().items())),
            memory_mb=round(memory / _MB, 1),
            cpu_percent=cpu,
            venue_ts=self._venue.now() if self._venue is not None else None,
            speed=self._speed,
        )
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(asdict(heartbeat), default=_iso), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            # The log may lie on the same disk.
            with contextlib.suppress(OSError):
                log.error("심장박동을 적지 못함", path=str(self._path), reason=str(error))
                fresh.unlink(missing_ok=True)
        return heartbeat

    @contextlib.asynccontextmanager
    async def beating(self, *, every_seconds: float = BEAT_SECONDS) -> AsyncIterator[None]:
        """Beat while the block runs: at its start, every so often, and at its end.

        ``closed`` when it came to its end, ``stopped`` when anything broke it off.
        """

        async def keep_on() -> None:
            while True:
                self.beat(OPEN)
                await asyncio.sleep(every_seconds)

        heart = asyncio.create_task(keep_on())
        last = STOPPED
        try:
            yield
            last = CLOSED
        finally:
            heart.cancel()
            self.beat(last)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return the heartbeat in the file; ``None`` when there is none."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    venue = body.get("venue_ts")
    instants = {
        "ts": datetime.fromisoformat(body["ts"]),
        "venue_ts": datetime.fromisoformat(venue) if venue is not None else None,
    }
    return Heartbeat(**body | instants)


def is_running(heartbeat: Heartbeat) -> bool:
    """Whether the session has not ended and the process that ran it still exists."""
    import psutil

    return heartbeat.phase == OPEN and bool(psutil.pid_exists(heartbeat.pid))


def machine(path: Path) -> Machine:
    """Return what the machine has left; the disk is the one that holds ``path``."""
    import psutil

    disk, network = psutil.disk_usage(str(path)), psutil.net_io_counters()
    return Machine(
        memory_percent=psutil.virtual_memory().percent,
        cpu_percent=psutil.cpu_percent(),
        disk_free_gb=round(disk.free / _GB, 2),
        disk_percent=disk.percent,
        sent=network.bytes_sent,
        received=network.bytes_recv,
    )


def market_now(calendar: SessionCalendar, now: datetime) -> MarketNow | None:
    """Return whether the market trades at ``now``; ``None`` for a day that no calendar knows."""
    day = now.astimezone(calendar.timezone).date()
    try:
        session = day if calendar.is_session(day) else calendar.next(day)
        opens, closes = calendar.open_close(session)
        if now >= closes:
            session = calendar.next(session)
            opens, closes = calendar.open_close(session)
    except ConfigError:
        return None
    return MarketNow(
        market=calendar.market,
        is_open=opens <= now < closes,
        session=session.isoformat(),
        opens=opens,
        closes=closes,
    )


def hours_text(now: datetime) -> Mapping[str, str]:
    """Return ``now`` as it reads on a clock in Seoul and on one in New York."""
    return {
        "kst": f"{now.astimezone(SEOUL):%Y-%m-%d %H:%M:%S} KST",
        "eastern": f"{now.astimezone(EASTERN):%Y-%m-%d %H:%M:%S %Z}",
    }


def status_of(
    account: Account,
    prices: Mapping[str, int],
    *,
    names: Mapping[str, str],
    previous_equity: int,
    starting_equity: int,
) -> dict[str, Any]:
    """Return how an account does, in the field names of the hourly message.

    ``prices`` holds one for each held symbol; money in minor units, holdings as Korean text. A
    return on nothing (shares that were given, an account that was empty) is ``None``.
    """
    equity, currency = account.equity(prices), account.market.currency
    held = sorted(
        account.positions.values(), key=lambda p: (-p.quantity * prices[p.symbol], p.symbol)
    )
    return {
        "equity": equity,
        "cash": account.cash,
        "daily_profit": equity - previous_equity,
        "daily_return": _return(equity, previous_equity),
        "total_return": _return(equity, starting_equity),
        "positions": {
            names.get(p.symbol) or p.symbol: f"{p.quantity:,}주, "
            f"{money_text(prices[p.symbol], currency)}, "
            f"수익률 {percent_text(_return(prices[p.symbol], p.average_price))}"
            for p in held
        },
    }


def _return(now: float, before: float) -> float | None:
    return now / before - 1.0 if before > 0 else None


def market_states(calendars: Iterable[SessionCalendar], now: datetime) -> dict[str, str]:
    """Return in Korean whether each market trades at ``now``, by its Korean name."""
    found = [(calendar.market, market_now(calendar, now)) for calendar in calendars]
    return {
        MARKET_TEXT[market]: state.text if state is not None else "달력 밖의 날이라 모름"
        for market, state in found
    }


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"JSON으로 쓸 수 없는 값: {value!r}")
