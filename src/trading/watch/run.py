"""The monitor at work: attaches to what runs, keeps a demo running where nothing does, and judges.

What a look sees is ``probe``, what must happen ``contract``, how it is shown ``screen``.
"""

import contextlib
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np

from trading.bootstrap import Installation, account_held, notifier_of
from trading.clock import WallClock, monotonic_seconds
from trading.config import Env, LeakSettings
from trading.context import run_dir
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.errors import DataError, SessionBusyError
from trading.log import get_logger
from trading.monitoring import SEOUL, Heartbeat
from trading.watch import contract
from trading.watch.contract import Duty, Missed
from trading.watch.leak import Trend, trend
from trading.watch.probe import PROCESS_TEXT, Sample, Sampler

log = get_logger(__name__)

Show = Callable[["Watch", Sample], None]

# A demo that has just ended leaves its account free for a moment before its next day.
_FREE_LOOKS = 3
# Between two starts of a demo that fails; twice as long each time, for a watch lasts a day.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 10.0, 1800.0
_STOP_SECONDS = 30.0
# Disk full, quota used up, file too large.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Whether one process grew; ``trend`` is ``None`` where it was not watched for long enough."""

    process: str
    figure: str
    unit: str
    trend: Trend | None
    is_leak: bool

    @property
    def text(self) -> str:
        """The Korean sentence."""
        name = f"{PROCESS_TEXT.get(self.process, self.process)} {self.figure}"
        if self.trend is None:
            return f"{name}: 판단하기에 짧음"
        found = f"시간당 {self.trend.slope:+,.2f} ± {self.trend.error:,.2f} {self.unit}"
        word = "샘" if self.is_leak else "새지 않음"
        return (
            f"{name}: {found} ({self.trend.hours:.1f}시간, 표본 {self.trend.samples:,}개) — {word}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the watched time went; ``findings`` are Korean sentences, none when all was well."""

    started: datetime
    ended: datetime
    samples: int
    sessions: tuple[str, ...]
    errors: int
    missed: tuple[str, ...]
    differences: int
    leaks: tuple[Leak, ...]
    findings: tuple[str, ...]
    folder: Path

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {
            "clean": self.is_clean,
            "hours": (self.ended - self.started).total_seconds() / 3600.0,
            "leaks": [asdict(one) | {"text": one.text} for one in self.leaks],
        }

    def text(self) -> str:
        """Return the Korean verdict."""
        hours = (self.ended - self.started).total_seconds() / 3600.0
        watched = ", ".join(self.sessions) or "없음"
        lines = [
            "",
            f"감시 판정: {'이상 없음' if self.is_clean else f'살펴볼 것 {len(self.findings)}가지'}",
            f"  본 시간 {hours:.2f}시간, 표본 {self.samples:,}개, 세션 {watched}",
            f"  오류 {self.errors:,}건, 없었던 일 {len(self.missed):,}건, 장부 차이 {self.differences:,}건",
            *(f"  {leak.text}" for leak in self.leaks),
            *(f"  살펴볼 것: {finding}" for finding in self.findings),
            f"  기록: {self.folder}",
        ]
        return "\n".join(lines)


@dataclass(slots=True)
class _Series:
    """Figures of one process over time."""

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)


class Watch:
    """One watch over one account of one home; it keeps a demo running unless told to attach only."""

    def __init__(
        self, installation: Installation, market: Market, *, only_attaches: bool = False
    ) -> None:
        app = installation.settings.app
        self.installation = installation
        self.market = market
        self.env = str(app.env)
        self._keeps_demo = app.env is Env.DEMO and not only_attaches
        self.settings = app.monitor
        self.started = WallClock().now()
        self._begun = monotonic_seconds()
        self.samples = 0
        self.errors: list[str] = []
        self.missed: list[Missed] = []
        self.sessions: list[date] = []
        self.differences: dict[date, int] = {}
        # What was found, and how often.
        self.findings: Counter[str] = Counter()
        self.folder = installation.home.logs_dir / "monitor"
        self.child: _Demo | None = None
        self._sampler = Sampler(installation, self.env, market)
        self._told: set[tuple[date, Duty, datetime]] = set()
        self._notifier = notifier_of(installation)
        self._series: dict[tuple[str, int], _Series] = {}
        self._session_since: tuple[date | None, float] = (None, 0.0)
        self._seen_open: dict[date, datetime] = {}
        self._closed_at: dict[date, datetime] = {}
        self._settled: set[date] = set()
        self._progress: tuple[int, float] = (-1, 0.0)
        self._lost_since: float | None = None
        self._free = 0
        self._failures, self._start_after = 0, 0.0
        self._unread = ""

    def run(self, hours: float, show: Show, stop: threading.Event) -> Verdict:
        """Watch until the time is over or ``stop`` is set; return how it went.

        Raises ``SessionBusyError`` when somebody watches the account already.
        """
        until = monotonic_seconds() + hours * 3600.0
        with self._alone():
            return self._run(until, show, stop)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no second watch look after the same account: two would each start a demo."""
        from filelock import FileLock, Timeout

        path = run_dir(self.installation.home) / f"{self.env}-{self.market}.monitor.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SessionBusyError("다른 감시가 이미 이 계좌를 보고 있습니다.") from None
        try:
            yield
        finally:
            lock.release()

    def _run(self, until: float, show: Show, stop: threading.Event) -> Verdict:
        self._notifier.start()
        try:
            while not stop.is_set() and (left := until - monotonic_seconds()) > 0:
                began = monotonic_seconds()
                sample = self.step()
                # A closed terminal must not end the watch: the files still have the sample.
                with contextlib.suppress(OSError):
                    show(self, sample)
                spent = monotonic_seconds() - began
                stop.wait(min(left, max(0.0, self.settings.sample_seconds - spent)))
        except KeyboardInterrupt:
            # The verdict over what was seen so far is what was asked for.
            pass
        finally:
            if self.child is not None:
                self.child.stop()
            self._notifier.close()
        return self.verdict()

    def step(self) -> Sample:
        """Look once, keep what was seen, alarm, and start a demo where one is wanted."""
        now = WallClock().now()
        sample = self._sampler.look(now)
        self.samples += 1
        for error in sample.errors:
            self.errors.append(f"{error.event}: {error.detail}" if error.detail else error.event)
        if sample.unread and sample.unread != self._unread:
            self.findings[f"장부를 읽지 못함: {sample.unread}"] += 1
        self._unread = sample.unread
        self._remember(sample)
        with self._survivable():
            missing = [*self._owed(sample, now), *self._silences(sample, now)]
            self._alarm(missing)
        with self._survivable():
            self._keep(sample, now)
        if self._keeps_demo:
            with self._survivable():
                self._keep_running(sample)
        return sample

    @contextlib.contextmanager
    def _survivable(self) -> Iterator[None]:
        """Turn a full disk or a ledger that cannot be read into a finding; the watch goes on."""
        try:
            yield
        except (OSError, DataError, sqlite3.Error) as error:
            is_full = getattr(error, "errno", None) in _NO_SPACE or "full" in str(error)
            reason = "디스크에 자리가 없음" if is_full else str(error)
            self.findings[f"감시가 읽거나 쓰지 못함: {reason}"] += 1

    @property
    def is_closing(self) -> bool:
        """Whether the last session is over and its day is not yet settled."""
        last = self.sessions[-1] if self.sessions else None
        return last in self._closed_at and last not in self._settled

    # -- what is owed --------------------------------------------------------------------

    def _owed(self, sample: Sample, now: datetime) -> list[Missed]:
        beat = sample.heartbeat
        if beat is not None and sample.is_running:
            self._begin(date.fromisoformat(beat.session))
        if self.env != Env.DEMO:
            today = contract.todays_session(self.installation, self.market, now)
            if today is not None:
                self._begin(today)
        found: list[Missed] = []
        for session in self.sessions[-2:]:
            trace, missing = contract.owed(
                self.installation,
                self.market,
                session,
                env=self.env,
                beat=beat,
                now=now,
                closed_at=self._closed_at.get(session),
            )
            if trace.closed is None:
                self._seen_open[session] = now
            else:
                # Not when the close was first seen: what followed it may be done by then.
                self._closed_at.setdefault(session, self._seen_open.get(session, now))
                self.differences[session] = trace.differences + trace.unexplained
                if trace.settled:
                    self._settled.add(session)
            found += missing
        return found

    def _begin(self, session: date) -> None:
        if session not in self.sessions:
            self.sessions.append(session)

    def _silences(self, sample: Sample, now: datetime) -> Iterator[Missed]:
        """Yield a session that died before its close, and a venue of which nothing is heard."""
        beat, clock = sample.heartbeat, monotonic_seconds()
        present = self.sessions[-1] if self.sessions else None
        is_over = present is None or present in self._closed_at
        if sample.is_running or is_over:
            self._lost_since = None
        elif beat is not None and beat.session == str(present):
            self._lost_since = self._lost_since if self._lost_since is not None else clock
            if clock - self._lost_since > self.settings.late_seconds:
                yield self._miss(present, Duty.ALIVE, beat.ts)
                return
        if beat is None or not sample.is_running:
            return
        if contract.is_silent(self.installation, beat, now) and present is not None and not is_over:
            # It is there and says nothing: it hangs, or somebody has stopped it.
            yield self._miss(present, Duty.ALIVE, beat.ts)
            # Of its venue nothing is known while it says nothing.
            self._progress = (self._progress[0], clock)
            return
        heard = beat.counters.get("frames", 0) + beat.counters.get("api_succeeded", 0)
        if heard != self._progress[0] or not self._is_open(beat, now):
            self._progress = (heard, clock)
        elif clock - self._progress[1] > self.settings.silence_seconds and present is not None:
            yield self._miss(present, Duty.FEED, beat.ts.replace(second=0, microsecond=0))
            self._progress = (heard, clock)

    def _is_open(self, beat: Heartbeat, now: datetime) -> bool:
        if not beat.speed:
            return False
        hours = contract.hours_of(self.installation, self.market, date.fromisoformat(beat.session))
        return hours[0] <= beat.venue_now(now) < hours[1]

    def _miss(self, session: date | None, duty: Duty, at: datetime) -> Missed:
        assert session is not None
        return Missed(market=self.market, session=session, duty=duty, at=at)

    def _alarm(self, missing: list[Missed]) -> None:
        fresh = [one for one in missing if (one.session, one.duty, one.at) not in self._told]
        self._told |= {(one.session, one.duty, one.at) for one in fresh}
        self.missed += fresh
        contract.tell(self._notifier, self.env, fresh)

    # -- the record ----------------------------------------------------------------------

    def _keep(self, sample: Sample, now: datetime) -> None:
        """Append the sample to the file of its hour, and forget files that are too old."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{now.astimezone(SEOUL):%Y%m%d-%H}.jsonl"
        is_new = not path.exists()
        body = sample.to_json() | {
            "missed": [one.text for one in self.missed],
            "error_count": len(self.errors),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(body, ensure_ascii=False, default=str) + "\n")
        if is_new:
            oldest = now - timedelta(days=self.settings.keep_days)
            for old in self.folder.glob("*.jsonl"):
                if old.name < f"{oldest.astimezone(SEOUL):%Y%m%d-%H}.jsonl":
                    old.unlink(missing_ok=True)

    def _remember(self, sample: Sample) -> None:
        """Keep what the processes use while a session is past its start."""
        clock = monotonic_seconds()
        beat = sample.heartbeat
        session = date.fromisoformat(beat.session) if beat is not None else None
        if not sample.is_running:
            self._session_since = (None, clock)
        elif session != self._session_since[0]:
            self._session_since = (session, clock)
        warmup = self.settings.leak.warmup_minutes * 60.0
        for kind, process in sample.processes.items():
            # The monitor works the same whether a session runs or not.
            since = self._begun if kind == "monitor" else self._session_since[1]
            series = self._series.setdefault((kind, process.pid), _Series())
            if clock - since < warmup or not (sample.is_running or kind == "monitor"):
                continue
            series.seconds.append(clock)
            series.memory.append(process.memory_mb)
            series.files.append(float(process.files))

    # -- the demo ------------------------------------------------------------------------

    def _keep_running(self, sample: Sample) -> None:
        if self.child is not None:
            code = self.child.poll()
            if code is None:
                if self.child.is_late(sample, self.settings.start_minutes * 60.0):
                    self.findings["띄운 데모가 제때 세션을 시작하지 않음"] += 1
                return
            self.child = None
            self._free = _FREE_LOOKS
            if code != 0:
                last, output = _last_words(self._demo_log()), self._demo_log()
                self.findings[f"데모가 종료 코드 {code}(으)로 끝남: {last} ({output})"] += 1
                # The verdict may be a day away.
                log.error(
                    "띄운 데모가 오류로 끝남", market=str(self.market), code=code,
                    detail=f"{last} ({output})",
                )  # fmt: skip
                pause = min(_FIRST_PAUSE_SECONDS * 2.0**self._failures, _LONGEST_PAUSE_SECONDS)
                self._failures += 1
                self._start_after = monotonic_seconds() + pause
            else:
                self._failures = 0
        if monotonic_seconds() < self._start_after:
            return
        self._free = self._free + 1 if self._is_free() else 0
        if self._free >= _FREE_LOOKS:
            self._free = 0
            self.child = _Demo(self.installation, self.market, self._demo_log())

    def _is_free(self) -> bool:
        try:
            with account_held(self.installation.home, Env.DEMO, self.market):
                return True
        except SessionBusyError:
            return False

    def _demo_log(self) -> Path:
        return self.installation.home.logs_dir / f"monitor-demo-{self.market}.log"

    # -- the verdict ---------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Return how the watched time went, up to now."""
        leaks = tuple(self._leaks())
        differences = sum(self.differences.values())
        findings = [
            f"{text} ({times}번)" if times > 1 else text for text, times in self.findings.items()
        ]
        if self.errors:
            kinds = list(dict.fromkeys(self.errors))
            more = f" 외 {len(kinds) - 3}가지" if len(kinds) > 3 else ""
            findings.append(f"오류 {len(self.errors):,}건: {' / '.join(kinds[:3])}{more}")
        findings += [f"없었던 일: {one.session} {one.text}" for one in self.missed]
        if differences:
            findings.append(f"장부와 거래소, 또는 재현의 차이 {differences:,}건")
        findings += [leak.text for leak in leaks if leak.is_leak]
        return Verdict(
            started=self.started,
            ended=WallClock().now(),
            samples=self.samples,
            sessions=tuple(map(str, self.sessions)),
            errors=len(self.errors),
            missed=tuple(one.text for one in self.missed),
            differences=differences,
            leaks=leaks,
            findings=tuple(findings),
            folder=self.folder,
        )

    def _leaks(self) -> Iterator[Leak]:
        # Of a process that came back it is the last life that is judged.
        latest = {kind: series for (kind, _), series in self._series.items()}
        for kind, series in latest.items():
            for figure, unit, values, beyond in (
                ("메모리", "MB", series.memory, self.settings.leak.memory_mb_per_hour),
                ("열린 파일", "개", series.files, self.settings.leak.files_per_hour),
            ):
                yield judge(kind, figure, unit, series.seconds, values, beyond, self.settings.leak)


def _last_words(path: Path) -> str:
    """Return the last two lines: what went wrong, and where more of it is."""
    lines = path.read_text("utf-8", errors="replace").strip().splitlines()
    return " ".join(lines[-2:]) if lines else "남긴 말 없음"


def judge(
    process: str, figure: str, unit: str, seconds: list[float], values: list[float],
    beyond: float, settings: LeakSettings,
) -> Leak:  # fmt: skip
    """Return whether ``values`` at ``seconds`` grow by more than ``beyond`` an hour, beyond doubt."""
    is_long = len(seconds) > 2 and seconds[-1] - seconds[0] >= settings.least_minutes * 60.0
    found = trend(np.array(seconds), np.array(values)) if is_long else None
    grows = found is not None and found.grows(beyond=beyond, errors=settings.standard_errors)
    return Leak(process=process, figure=figure, unit=unit, trend=found, is_leak=grows)


class _Demo:
    """A demo at wall clock that the monitor started, and ends when it ends."""

    def __init__(self, installation: Installation, market: Market, output: Path) -> None:
        speed = installation.settings.app.monitor.demo_speed
        command = [
            sys.executable, "-m", "trading.cli", "--root", str(installation.home.root), "demo",
            "--market", str(market), "--speed", str(speed), "--no-prefect",
        ]  # fmt: skip
        output.parent.mkdir(parents=True, exist_ok=True)
        self._sink: IO[bytes] = output.open("ab")
        # Apart from the terminal: Ctrl+C reaches the monitor alone, which ends it in order.
        self._process = subprocess.Popen(
            command, stdout=self._sink, stderr=self._sink, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._since = monotonic_seconds()
        self._was_seen = False
        self._was_late = False
        log.info(
            "데모를 벽시계로 시작", market=MARKET_TEXT[market], speed=speed, output=str(output)
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        code = self._process.poll()
        if code is not None:
            self._sink.close()
        return code

    def is_late(self, sample: Sample, seconds: float) -> bool:
        """Whether it should have begun a session by now and did not; told once."""
        beat = sample.heartbeat
        self._was_seen |= beat is not None and sample.is_running and beat.pid == self.pid
        is_late = not self._was_seen and monotonic_seconds() - self._since > seconds
        if not is_late or self._was_late:
            return False
        self._was_late = True
        return True

    def stop(self) -> None:
        """End it as Ctrl+C does, and by force where it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._sink.close()
