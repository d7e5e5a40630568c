"""The composition root: builds a day from configuration, and owns what must be closed again.

The only floor that sees everything: adapters are chosen here and handed to the use-cases as
ports.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from trading import real_money
from trading.clock import ManualClock, ScaledClock, WallClock, monotonic_seconds
from trading.config import (
    Env,
    Home,
    Secrets,
    Settings,
    load_secrets,
    load_settings,
    resolve_root,
)
from trading.context import Connection, DayContext, Run, heartbeat_path, run_dir
from trading.domain.instrument import Instrument, Market
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT
from trading.errors import (
    ConfigError,
    DataError,
    MissingDataError,
    NothingLeftError,
    SchemaError,
    SessionBusyError,
    TransientBrokerError,
    UsageError,
)
from trading.execution.decide import Policy
from trading.home import UNFINISHED_RESTORE
from trading.live.guardian import heartbeat_mark, is_held
from trading.live.journal import (
    accept_differences,
    closed_sessions,
    open_differences,
    opened_sessions,
)
from trading.live.pace import ControlDoor, LockStep, Pace, PortFile, WallPace
from trading.live.reconcile import Difference
from trading.log import configure, get_logger
from trading.ports import (
    BarSource,
    BulkSource,
    Clock,
    DatasetSource,
    Ledger,
    Record,
    RecordKind,
)
from trading.sessions import SessionCalendar

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from trading.broker.client import KisClient
    from trading.broker.history import KisBarSource
    from trading.broker.settings import Credentials
    from trading.exchange.server import ExchangeOptions
    from trading.execution.decide import View
    from trading.execution.engine import SessionStart, TradingEngine
    from trading.live.drill import DrillReport
    from trading.notify import OutboxNotifier
    from trading.store.intake import Terms
    from trading.store.ledger import SqliteLedger

log = get_logger(__name__)

# A local exchange knows nobody: these open its demo account and mean nothing anywhere else.
_DEMO_KEY = "demo-app-key-of-the-local-exchange--"
_DEMO_ACCOUNT = "7001000101"
_POLL_SECONDS = 0.05
# What holds an account for a moment cancels its orders at most: on paper one call a second.
_BRIEF_SECONDS = 60.0
# Enough recorded sessions for the traded volume that an order is measured by.
_DRILL_SESSIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A home folder with its validated settings and secrets."""

    home: Home
    settings: Settings
    secrets: Secrets


@dataclass(slots=True, kw_only=True)
class _OpenDay:
    installation: Installation
    context: DayContext
    lease: "BaseFileLock"
    notifier: "OutboxNotifier"
    clients: "Sequence[KisClient]"


_days: dict[str, _OpenDay] = {}
_kept_exchanges: set[str] = set()


def open_home(root: Path | None = None, *, console: bool = True) -> Installation:
    """Return the installation at ``root`` with logs flowing into its folder."""
    home = _own_home(root)
    return _opened_home(home, load_settings(home.root), console=console)


def _own_home(root: Path | None) -> Home:
    # What is written from here on belongs to its user alone: books, tokens, reports, logs.
    os.umask(0o077)
    home = resolve_root(root)
    if (home.root / UNFINISHED_RESTORE).exists():
        raise ConfigError(
            f"백업에서 되살리는 일이 끝나지 않은 폴더: {home.root} — trading restore를 다시 실행해 마쳐 주십시오."
        )
    return home


def _opened_home(home: Home, settings: Settings, *, console: bool) -> Installation:
    secrets = load_secrets(home.root)
    configure(home.logs_dir, console=console, keep_days=settings.app.logs.by_file())
    return Installation(home=home, settings=settings, secrets=secrets)


def configured_market(root: Path | None = None) -> Market:
    """Return the market of ``app.yaml``."""
    return load_settings(resolve_root(root).root).app.market


def open_source(installation: Installation, dataset: Path | None = None) -> DatasetSource:
    """Return the dataset at ``dataset`` or ``data.dataset``, else the embedded history."""
    from trading.store.datasets import EmbeddedSource, open_dataset

    path = dataset or installation.settings.app.data.dataset
    if path is None:
        return EmbeddedSource(installation.settings.universe)
    return open_dataset(path, installation.settings.universe)


def recorded_terms(source: BulkSource, folder: Path | None) -> "Terms":
    """Return how a recorded source is asked; the lake remembers what its folder brought."""
    from trading.store.intake import Terms

    return Terms(origin=str(folder.resolve()) if folder is not None else source.name)


def kis_terms(installation: Installation, market: Market) -> "Terms":
    """Return how KIS is asked: symbol by symbol, over several connections."""
    from trading.broker.history import MOMENTARY, SOURCE
    from trading.store.adjust import KIS_KRX, KIS_US
    from trading.store.intake import Terms

    return Terms(
        origin=SOURCE,
        parallel=installation.settings.kis.history_connections,
        momentary=MOMENTARY,
        vendor=KIS_KRX if market is Market.KRX else KIS_US,
    )


def open_ledger(home: Home, env: str, market: Market, *, read_only: bool = False) -> "SqliteLedger":
    """Return the ledger of one account; ``MissingDataError`` when it is to be read and is not there."""
    from trading.store.ledger import SqliteLedger

    path = ledger_path(home, env, market)
    if read_only and not path.exists():
        others = [m for m in Market if ledger_path(home, env, m).exists()]
        hint = "".join(f" ({MARKET_TEXT[m]} 시장의 기록은 --market {m})" for m in others)
        raise MissingDataError(f"아직 거래한 기록이 없습니다: {path}{hint}")
    return SqliteLedger(path, read_only=read_only)


def ledger_path(home: Home, env: str, market: Market) -> Path:
    """Return where the ledger of an account is kept."""
    return home.data_dir / "ledger" / f"{env}-{market}.db"


def research_dir(home: Home) -> Path:
    """Return where research keeps its trials, studies and walk-forwards."""
    return home.data_dir / "research"


def policy_of(settings: Settings, market: Market, calendar: SessionCalendar) -> Policy:
    """Return the policy of ``market``: the same in every environment."""
    voting = settings.features.model_dump_json() + settings.strategies.model_dump_json()
    return Policy(
        market=market,
        allocation=settings.allocation,
        risk=settings.risk,
        orders=settings.execution.for_market(market),
        exits=settings.execution.exits,
        agent_exits=settings.strategies.exits(),
        sessions_per_year=calendar.sessions_per_year,
        voting=hashlib.sha256(voting.encode()).hexdigest()[:16],
    )


def open_notifier(root: Path | None = None) -> "OutboxNotifier":
    """Return the notifier of an installation, for messages about flows.

    Of the settings only those of the messages must be right: that others are wrong is told by it.
    """
    home = _own_home(root)
    return notifier_of(_opened_home(home, Settings(home.config_dir), console=True))


def notifier_of(installation: Installation) -> "OutboxNotifier":
    """Return the notifier of an installation that is open."""
    from trading.notify import open_notifier as open_outbox

    return open_outbox(
        installation.settings.notify,
        path=installation.home.data_dir / "outbox.db",
        clock=WallClock(),
        recipients=installation.secrets.mail_recipients,
        password=installation.secrets.smtp_password,
        webhook_url=installation.secrets.trading_webhook_url,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """What ``trading demo`` was asked for."""

    dataset: Path | None = None
    start: date | None = None
    sessions: int = 1
    fresh: bool = False
    profile: str = "real"
    faults: str | None = None
    speed: float | None = None

    def asked(self) -> dict[str, Any]:
        """Return the request as JSON values, to recognise the same command after a crash."""
        faults = {} if self.faults is None else {"faults": _absolute(self.faults)}
        speed = {} if self.speed is None else {"speed": self.speed}
        return {
            **faults,
            **speed,
            "dataset": str(self.dataset.resolve()) if self.dataset is not None else None,
            "start": self.start.isoformat() if self.start is not None else None,
            "sessions": self.sessions,
            "fresh": self.fresh,
            "profile": self.profile,
        }


def _absolute(faults: str) -> str:
    return faults if faults.startswith("seed:") else str(Path(faults).resolve())


def begin_demo(installation: Installation, market: Market, request: DemoRequest) -> Run:
    """Return the run that this command works on: the unfinished same one, or a new one.

    ``start`` and ``fresh`` begin a new account, unless that very command was interrupted; what
    the old account left is moved to ``data/archive``.

    Raises
    ------
    ConfigError
        When ``app.yaml`` trades somewhere else.
    SessionBusyError
        When another process trades this account.
    """
    env = installation.settings.app.env
    if env is not Env.DEMO:
        raise ConfigError(
            f"config/app.yaml의 env가 {env}라서 데모를 돌리지 않습니다. "
            "env를 demo로 두거나 다른 --root를 주십시오."
        )
    source = open_source(installation, request.dataset)
    if request.faults is not None:
        from trading.exchange.faults import FaultSchedule

        FaultSchedule.parse(request.faults, market)
    # A command that cannot be carried out leaves nothing behind: not a lock, not an empty ledger.
    first = _first_session(installation, source, market, request.start)
    with account_held(installation.home, Env.DEMO, market):
        return _begin(installation, market, request, source, first)


def _begin(
    installation: Installation,
    market: Market,
    request: DemoRequest,
    source: BarSource,
    first: date,
) -> Run:
    latest = None
    begins_anew = request.start is not None or request.fresh
    if ledger_path(installation.home, Env.DEMO, market).exists():
        try:
            ledger = open_ledger(installation.home, Env.DEMO, market)
        except DataError:
            if not begins_anew:
                raise
            # Nobody can read it: it is kept like any other account that is over.
            _archive(installation, market, f"{market}-unreadable")
            return _new_run(installation, market, request, source, first)
        try:
            latest = Run.latest(ledger)
            if latest is not None:
                is_open = len(latest.settled(ledger)) < latest.sessions
                if is_open and dict(latest.asked) == request.asked():
                    return latest
                if not begins_anew:
                    return _continue_account(source, ledger, latest, request)
        finally:
            ledger.close()
    if latest is not None:
        _archive(installation, market, latest.run_id)
    return _new_run(installation, market, request, source, first)


def _continue_account(source: BarSource, ledger: Ledger, latest: Run, request: DemoRequest) -> Run:
    """Return the unfinished run whatever its length, or one over the next recorded sessions."""
    settled = latest.settled(ledger)
    if len(settled) < latest.sessions:
        return latest
    following = [s for s in _recorded(source, latest.market) if s > settled[-1]]
    if not following:
        raise NothingLeftError(
            f"{settled[-1]} 다음에 기록된 거래일이 없습니다. --fresh로 새 계좌를 시작할 수 있습니다."
        )
    run = replace(
        latest,
        run_id=f"{latest.market}-{following[0]}",
        first_session=following[0],
        sessions=request.sessions,
        asked=request.asked(),
    )
    ledger.append(run.record(WallClock().now()))
    return run


def _new_run(
    installation: Installation,
    market: Market,
    request: DemoRequest,
    source: BarSource,
    first: date,
) -> Run:
    app = installation.settings.app
    recorded = _recorded(source, market)
    before = [s for s in recorded if s < first]
    # Kept with the run: another ``data.dataset`` tomorrow must not change what it replays.
    dataset = request.dataset or app.data.dataset
    run = Run(
        run_id=f"{market}-{first}",
        market=market,
        first_session=first,
        sessions=request.sessions,
        first_bar=before[max(0, len(before) - app.data.first_bar_sessions[market])],
        starting_cash=app.demo.cash_minor(market),
        dataset=str(dataset.resolve()) if dataset is not None else None,
        profile=request.profile,
        asked=request.asked(),
    )
    ledger = open_ledger(installation.home, Env.DEMO, market)
    try:
        ledger.append(run.record(WallClock().now()))
    finally:
        ledger.close()
    return run


def _first_session(
    installation: Installation, source: BarSource, market: Market, start: date | None
) -> date:
    """Return the first session to trade: as asked, as configured, or the first with enough history."""
    recorded = _recorded(source, market)
    warmup = installation.settings.app.demo.warmup_sessions[market]
    wanted = start or installation.settings.app.demo.start
    if wanted is None:
        if len(recorded) <= warmup:
            raise MissingDataError(
                f"기록이 {len(recorded):,}거래일뿐이라 {warmup:,}거래일의 준비 기간이 없습니다."
            )
        return recorded[warmup]
    following = [s for s in recorded if s >= wanted]
    if not following:
        raise MissingDataError(
            f"{wanted} 이후에 기록된 거래일이 없습니다. 기록: {recorded[0]} ~ {recorded[-1]}"
        )
    first = following[0]
    least = installation.settings.app.demo.least_sessions
    if recorded.index(first) < least:
        raise UsageError(
            f"{first} 앞에는 {recorded.index(first):,}거래일의 기록뿐입니다. "
            f"{recorded[least]} 이후를 시작일로 주십시오."
        )
    return first


def _recorded(source: BarSource, market: Market) -> list[date]:
    sessions = source.sessions(market)
    if not sessions:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    return sessions


def _archive(installation: Installation, market: Market, run_id: str) -> None:
    """Move what belongs to the old account out of the way; nothing is deleted."""
    home = installation.home
    stop_exchange(installation, f"{Env.DEMO}-{market}")
    stamp = WallClock().now().strftime("%Y%m%dT%H%M%S%f")
    target = home.data_dir / "archive" / f"{run_id}-{stamp}"
    target.mkdir(parents=True)
    path = ledger_path(home, Env.DEMO, market)
    # What the operator said was said of the old account.
    word = run_dir(home) / f"{Env.DEMO}-{market}.control.json"
    for part in (
        path,
        path.with_name(path.name + "-wal"),
        path.with_name(path.name + "-shm"),
        word,
    ):
        if part.exists():
            part.rename(target / part.name)
    for folder in (
        home.data_dir / "exchange" / f"{Env.DEMO}-{market}",
        home.data_dir / "models" / market,
    ):
        if folder.exists():
            folder.rename(target / folder.name)
    log.info("이전 계좌 보관", path=str(target))


def open_day(
    root: Path | None = None, market: Market | None = None, session: date | None = None
) -> DayContext:
    """Open the next session to trade under a lease.

    Raises
    ------
    ConfigError
        When something that the environment asks for is missing.
    MissingDataError
        When the market has no session to trade.
    SessionBusyError
        When another process trades this account.
    UsageError
        When the session before it is not over: what it rests on is not there yet.
    """
    installation = open_home(root)
    app = installation.settings.app
    market = market or app.market
    if app.env is not Env.DEMO:
        if unmet := unmet_today(installation, app.env, market):
            raise ConfigError(" ".join(unmet))
        return _open_venue_day(installation, market, session)
    lease = _lease(installation.home, f"{Env.DEMO}-{market}")
    try:
        run = _current_demo_run(installation, market)
        return _build(installation, market, run, session, lease)
    except BaseException:
        lease.release()
        raise


def open_demo_day(installation: Installation, run: Run) -> DayContext:
    """Open the next session of a demo run under a lease."""
    lease = _lease(installation.home, f"{Env.DEMO}-{run.market}")
    try:
        return _build(installation, run.market, run, None, lease)
    except BaseException:
        lease.release()
        raise


def _current_demo_run(installation: Installation, market: Market) -> Run:
    """Return the run of a scheduled demo day: each one trades the next recorded session."""
    # A market without a record leaves no empty ledger behind.
    if ledger_path(installation.home, Env.DEMO, market).exists():
        ledger = open_ledger(installation.home, Env.DEMO, market)
        try:
            latest = Run.latest(ledger)
            if latest is not None and len(latest.settled(ledger)) < latest.sessions:
                return latest
        finally:
            ledger.close()
    request = DemoRequest()
    source = open_source(installation)
    first = _first_session(installation, source, market, None)
    return _begin(installation, market, request, source, first)


def _build(
    installation: Installation,
    market: Market,
    run: Run,
    session: date | None,
    lease: "BaseFileLock",
) -> DayContext:
    folder = Path(run.dataset) if run.dataset is not None else None
    source = open_source(installation, folder)
    ledger = open_ledger(installation.home, Env.DEMO, market)
    try:
        ledger.claim()
        if session is None:
            session = _next_session(source, ledger, run)
        elif session not in _recorded(source, market):
            raise MissingDataError(
                f"{session}은(는) {MARKET_TEXT[market]} 시장의 기록된 거래일이 아닙니다."
            )
        return _opened(
            installation,
            Env.DEMO,
            run,
            session,
            ledger=ledger,
            source=source,
            terms=recorded_terms(source, folder),
            lease=lease,
            connect=lambda symbols: _connect_demo(installation, run, market, session, symbols),
        )
    except BaseException:
        ledger.close()
        raise


def _opened(
    installation: Installation,
    env: Env,
    run: Run,
    session: date,
    *,
    ledger: Ledger,
    source: BulkSource,
    terms: "Terms",
    lease: "BaseFileLock",
    connect: Callable[[Sequence[str]], AbstractAsyncContextManager[Connection]],
    clients: "Sequence[KisClient]" = (),
) -> DayContext:
    """Put the day together and keep what ``close_day`` must release."""
    from trading.store.intake import Intake
    from trading.store.lake import Lake

    home, settings, market = installation.home, installation.settings, run.market
    rules, calendar = rules_and_calendar(settings, market)
    policy = policy_in_force(settings, env, market, calendar, ledger, session)
    if policy.hash != policy_of(settings, market, calendar).hash:
        log.info(
            "실전 첫 세션의 좁은 한도로 거래",
            max_gross=policy.risk.max_gross,
            max_single_name=policy.risk.max_single_name,
            max_order_share=policy.risk.guards.max_order_share,
        )
    lake = Lake(home.data_dir / "lake")
    intake = Intake(lake, home, rules, calendar, source, terms)
    notifier = notifier_of(installation)
    context = DayContext(
        key=f"{env}-{market}-{session}",
        env=env,
        market=market,
        session=session,
        run=run,
        home=home,
        settings=settings,
        rules=rules,
        calendar=calendar,
        policy=policy,
        clock=WallClock(),
        ledger=ledger,
        lake=lake,
        source=source,
        notifier=notifier,
        connect=connect,
        intake=intake,
        back_up=_daily_backup(installation),
        guard=lambda: ensure_guardian(installation, env, market),
        replays=env is Env.DEMO,
    )
    _days[context.key] = _OpenDay(
        installation=installation, context=context, lease=lease, notifier=notifier, clients=clients
    )
    notifier.start({"market": str(market), "session": str(session)})
    return context


def _daily_backup(installation: Installation) -> Callable[[], Any] | None:
    """Return what takes the day's backup; ``None`` where the settings wish none."""
    from trading.backup import back_up

    wish = installation.settings.app.backup
    if not wish.on_closing:
        return None
    return lambda: back_up(installation.home, installation.settings, with_lake=wish.with_lake)


def _next_session(source: BarSource, ledger: Ledger, run: Run) -> date:
    settled = run.settled(ledger)
    after = settled[-1] if settled else None
    for recorded in _recorded(source, run.market):
        if recorded >= run.first_session and (after is None or recorded > after):
            return recorded
    raise NothingLeftError(
        f"{after} 다음에 기록된 거래일이 없습니다. --fresh로 새 계좌를 시작할 수 있습니다."
    )


def open_past_day(
    root: Path | None = None, market: Market | None = None, session: date | None = None
) -> DayContext:
    """Open a finished session again, to prove or report it; the last one when not named."""
    installation = open_home(root)
    market = market or installation.settings.app.market
    env = installation.settings.app.env
    ledger = open_ledger(installation.home, env, market, read_only=True)
    try:
        closed = closed_sessions(ledger)
        if not closed:
            raise MissingDataError("끝난 세션이 없습니다.")
        session = session or closed[-1]
        if session not in closed:
            raise MissingDataError(
                f"{session} 세션은 끝난 기록이 없습니다. 마지막은 {closed[-1]}입니다."
            )
        run = Run.latest(ledger, session)
        if run is None:
            raise MissingDataError(f"{session} 세션을 시작한 기록이 없습니다.")
    finally:
        ledger.close()
    if env is not Env.DEMO:
        return _open_venue_day(installation, market, session)
    lease = _lease(installation.home, f"{env}-{market}")
    try:
        return _build(installation, market, run, session, lease)
    except BaseException:
        lease.release()
        raise


def current_day(key: str) -> DayContext:
    """Return the open day ``key``."""
    return _days[key].context


def close_day(key: str) -> None:
    """Release what an open day holds; again is no change."""
    day = _days.pop(key, None)
    if day is None:
        return
    name = f"{day.context.env}-{day.context.market}"
    # The last one named goes first, and one that fails keeps no other from being released.
    with contextlib.ExitStack() as held:
        held.callback(day.lease.release)
        if day.context.env == Env.DEMO and name not in _kept_exchanges:
            held.callback(stop_exchange, day.installation, name)
        held.callback(day.context.ledger.close)
        for client in day.clients:
            held.callback(_close, client)
        held.callback(day.notifier.close)


def ensure_guardian(installation: Installation, env: Env, market: Market) -> None:
    """Start the process that stands in for a session once it shows no life, where none watches.

    It outlives the session: it ends by itself once that has ended, or after what it had to do.
    """
    home = installation.home
    run, output = run_dir(home), home.logs_dir / f"guardian-{env}-{market}.log"
    command = [
        sys.executable, "-m", "trading.cli", "--root", str(home.root), "guard-session",
        "--env", str(env), "--market", str(market), "--run-dir", str(run),
        "--seconds", str(installation.settings.app.supervision.dead_man_seconds),
        "--after", str(heartbeat_mark(heartbeat_path(home, env, market))),
    ]  # fmt: skip
    try:
        run.mkdir(parents=True, exist_ok=True)
        if is_held(run / f"{env}-{market}.guardian.lock"):
            return
        home.logs_dir.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as sink:
            subprocess.Popen(
                command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
            )
    except OSError as error:
        # The session trades by its own rules all the same; only nobody stands in for it.
        log.error("감시 프로세스를 띄우지 못함, 세션이 죽으면 대신할 것이 없음", reason=str(error))


def _lease(home: Home, name: str) -> "BaseFileLock":
    """Take the lease of one account; the operating system frees it when the holder dies.

    Whoever holds the account for a moment only is waited for: a halt said at the open must not cost
    the day.
    """
    lease, brief = _locks(home, name)
    with contextlib.suppress(SessionBusyError):
        return _taken(lease, name, seconds=0)
    seconds = _BRIEF_SECONDS if is_held(Path(brief.lock_file)) else 0.0
    return _taken(lease, name, seconds=seconds)


@contextlib.contextmanager
def account_held(home: Home, env: Env, market: Market) -> Iterator[None]:
    """Keep every other process from trading the account, for a moment.

    Raises ``SessionBusyError`` when one does.
    """
    name = f"{env}-{market}"
    lease, brief = _locks(home, name)
    with contextlib.ExitStack() as held:
        for lock, seconds in ((brief, _BRIEF_SECONDS), (lease, 0.0)):
            held.callback(_taken(lock, name, seconds=seconds).release)
        yield


def _locks(home: Home, name: str) -> tuple["BaseFileLock", "BaseFileLock"]:
    """Return an account's lease, and what is held beside it by those who soon give it back."""
    from filelock import FileLock

    folder = run_dir(home)
    folder.mkdir(parents=True, exist_ok=True)
    lease, brief = (
        FileLock(folder / f"{name}{kind}.lock", thread_local=False) for kind in ("", ".brief")
    )
    return lease, brief


def _taken(lock: "BaseFileLock", name: str, *, seconds: float) -> "BaseFileLock":
    from filelock import Timeout

    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise SessionBusyError(f"다른 실행이 이 계좌로 거래하는 중입니다: {name}") from None
    return lock


# -- the local exchange as a process -------------------------------------------------------


def exchange_options(
    installation: Installation, market: Market, name: str, *, profile: str, speed: float | None,
    port: int = 0, start: date | None = None, faults: str | None = None,
    notice_fields: str = "current",
) -> "ExchangeOptions":  # fmt: skip
    """Return how a local exchange of this installation runs; ``faults`` is a file or ``seed:N``."""
    from trading.exchange.faults import FaultSchedule
    from trading.exchange.hub import NoticeFields
    from trading.exchange.server import ExchangeOptions
    from trading.simulation.matching import BASIS_POINTS
    from trading.wire.endpoints import Profile

    orders = installation.settings.execution.for_market(market)
    return ExchangeOptions(
        market=market,
        directory=installation.home.data_dir / "exchange" / name,
        starting_cash=installation.settings.app.demo.cash_minor(market),
        participation_bps=round(orders.participation * BASIS_POINTS),
        profile=Profile(profile),
        speed=speed,
        start=start,
        port=port,
        faults=FaultSchedule.parse(faults, market) if faults is not None else None,
        notice_fields=NoticeFields(notice_fields),
    )


def ensure_exchange(installation: Installation, run: Run, session: date) -> PortFile:
    """Return where the demo's exchange listens, starting it with ``session`` when nobody does."""
    home = installation.home
    name = f"{Env.DEMO}-{run.market}"
    path = home.data_dir / "exchange" / name / "port.json"
    running = _answering(path)
    if running is not None:
        return running
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "trading.cli", "--root", str(home.root), "exchange", "serve",
        "--market", str(run.market), "--name", name, "--profile", run.profile,
    ]  # fmt: skip
    if run.dataset is not None:
        command += ["--dataset", run.dataset]
    if "faults" in run.asked:
        command += ["--faults", run.asked["faults"]]
    speed = run.asked.get("speed", installation.settings.app.demo.speed)
    if speed is not None:
        command += ["--speed", str(speed), "--start", str(session)]
    home.logs_dir.mkdir(parents=True, exist_ok=True)
    output = home.logs_dir / f"exchange-{name}.log"
    with output.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
        )
    deadline = monotonic_seconds() + installation.settings.app.supervision.exchange_start_seconds
    try:
        while monotonic_seconds() < deadline:
            found = _answering(path)
            if found is not None:
                return found
            if process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
    except BaseException:
        # Stopped meanwhile: it has no port file yet by which anybody else could end it.
        process.terminate()
        raise
    process.terminate()
    raise TransientBrokerError(f"로컬 거래소가 시작하지 않았습니다. 까닭은 {output} 에 있습니다.")


@contextlib.contextmanager
def exchange_kept(installation: Installation, market: Market) -> Iterator[None]:
    """Let the demo's exchange run on from day to day, and end it afterwards."""
    name = f"{Env.DEMO}-{market}"
    _kept_exchanges.add(name)
    try:
        yield
    finally:
        _kept_exchanges.discard(name)
        # Another run that trades this account by now needs the exchange, and ends it.
        with (
            contextlib.suppress(SessionBusyError),
            account_held(installation.home, Env.DEMO, market),
        ):
            stop_exchange(installation, name)


def running_exchange(home: Home, market: Market) -> PortFile | None:
    """Return where the demo's exchange listens, ``None`` when it does not run."""
    return _answering(home.data_dir / "exchange" / f"{Env.DEMO}-{market}" / "port.json")


def _answering(path: Path) -> PortFile | None:
    port = PortFile.read(path)
    if port is None:
        return None
    door = ControlDoor(port, timeout_seconds=5.0)
    try:
        door.status()
    except TransientBrokerError:
        return None
    return port


def stop_exchange(installation: Installation, name: str) -> None:
    """Ask the exchange to end and wait for it; it keeps everything in its journal."""
    path = installation.home.data_dir / "exchange" / name / "port.json"
    port = _answering(path)
    if port is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(port.pid, signal.SIGTERM)
    deadline = monotonic_seconds() + installation.settings.app.supervision.exchange_stop_seconds
    while path.exists() and monotonic_seconds() < deadline:
        time.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def _connect_demo(
    installation: Installation, run: Run, market: Market, session: date, symbols: Sequence[str]
) -> AsyncIterator[Connection]:
    port = ensure_exchange(installation, run, session)
    door = ControlDoor(port)
    door.open_session(session)
    status = door.status()
    now = datetime.fromisoformat(status["now"])
    wait = installation.settings.app.supervision.frame_wait_seconds
    clock: Clock
    pace: Pace
    if status["speed"] is None:
        manual = ManualClock(now)
        clock, pace = manual, LockStep(door, manual, timeout_seconds=wait)
    else:
        clock = ScaledClock(now, speed=status["speed"])
        begins = _first_order_at(installation, market, session)
        pace = WallPace(clock, speed=status["speed"], begins=begins)
    source = open_source(installation, Path(run.dataset) if run.dataset is not None else None)
    client = _client(
        installation,
        market,
        run.profile,
        _demo_credentials(),
        clock,
        {i.symbol: i for i in source.instruments(market) if i.symbol in set(symbols)},
        rest_base=f"http://{port.host}:{port.rest_port}",
        ws_base=f"ws://{port.host}:{port.ws_port}",
    )
    try:
        yield Connection(
            client=client, pace=pace, untradable=frozenset(status["untradable_symbols"])
        )
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def account_client(
    installation: Installation, env: Env, market: Market, exchanges: Mapping[str, Any]
) -> "AsyncIterator[tuple[KisClient, Clock]]":
    """Open an account for whoever stands in for its session, with the venue's clock.

    ``exchanges`` names the shares that it will be asked about. Nothing is started:
    ``TransientBrokerError`` when a demo's exchange does not run.
    """
    clock: Clock = WallClock()
    if env is Env.DEMO:
        port = running_exchange(installation.home, market)
        if port is None:
            raise TransientBrokerError(
                "데모의 로컬 거래소가 떠 있지 않아 주문을 물어볼 수 없습니다."
            )
        status = ControlDoor(port).status()
        now = datetime.fromisoformat(status["now"])
        speed = status["speed"]
        clock = ManualClock(now) if speed is None else ScaledClock(now, speed=speed)
        client = _client(
            installation, market, status["profile"], _demo_credentials(), clock, exchanges,
            rest_base=f"http://{port.host}:{port.rest_port}",
            ws_base=f"ws://{port.host}:{port.ws_port}",
        )  # fmt: skip
    else:
        client = _client(
            installation, market, env, _credentials(installation, env), clock, exchanges
        )
    try:
        yield client, clock
    finally:
        await client.close()


def _first_order_at(installation: Installation, market: Market, session: date) -> datetime:
    """Return when the morning's orders leave, at a venue that keeps its own time."""
    _, calendar = rules_and_calendar(installation.settings, market)
    early = installation.settings.execution.for_market(market).preopen_minutes
    return calendar.open_close(session)[0] - timedelta(minutes=early)


def _demo_credentials() -> "Credentials":
    from trading.broker.settings import Credentials

    return Credentials(
        app_key=_DEMO_KEY,
        app_secret=_DEMO_KEY,
        account=_DEMO_ACCOUNT,
        hts_id="demo",
        is_secret=False,
    )


def _client(
    installation: Installation,
    market: Market,
    profile: str,
    credentials: "Credentials",
    clock: Clock,
    instruments: Mapping[str, Any],
    *,
    is_background: bool = False,
    **addresses: str,
) -> "KisClient":
    from trading.broker.client import KisClient

    return KisClient(
        installation.settings.kis,
        profile=profile,
        market=market,
        instruments=instruments,
        credentials=credentials,
        clock=clock,
        cache_dir=installation.home.data_dir / "broker",
        is_background=is_background,
        **addresses,
    )


def reconcile(
    installation: Installation, market: Market, *, accept: bool
) -> tuple[date, list[Difference]] | None:
    """Return the differences that keep the account from trading, ``None`` when none do.

    ``accept`` takes the venue's word for them: the next session begins with its money and shares.

    Raises
    ------
    SessionBusyError
        When another process trades this account.
    """
    env = installation.settings.app.env
    # Where nothing was ever traded, nothing is written.
    open_ledger(installation.home, env, market, read_only=True).close()
    lease = _lease(installation.home, f"{env}-{market}")
    try:
        ledger = open_ledger(installation.home, env, market)
        try:
            found = open_differences(ledger)
            if found is not None and accept:
                accept_differences(ledger, *found, WallClock().now())
            return found
        finally:
            ledger.close()
    finally:
        lease.release()


def rules_and_calendar(settings: Settings, market: Market) -> tuple[MarketRules, SessionCalendar]:
    """Return the dated law of ``market`` and its calendar."""
    rules = settings.markets[market]
    return rules, SessionCalendar(market, rules)


# -- paper and real ------------------------------------------------------------------------


def conditions(
    installation: Installation, env: Env, market: Market | None = None
) -> list[real_money.Condition]:
    """Return what ``env`` asks for before it trades ``market``, met or not, with how far it is."""
    settings, home = installation.settings, installation.home
    market = market or settings.app.market
    found = [
        *real_money.keys(installation.secrets.missing("real" if env is Env.REAL else "paper")),
        real_money.environment(env, settings.app.env),
    ]
    if env is not Env.REAL:
        return found
    today = _today(market)
    _, calendar = rules_and_calendar(settings, market)
    account = installation.secrets.kis_real_account
    with _read_ledger(home, Env.PAPER, market) as paper, _read_ledger(home, env, market) as real:
        return [
            *found,
            real_money.paper_sessions(paper, real, today),
            real_money.walk_forward(
                research_dir(home) / "walk-forward",
                policy_of(settings, market, calendar).hash,
                calendar.sessions_per_year,
            ),
            real_money.drill(
                real, today, policy_in_force(settings, env, market, calendar, real, today).hash
            ),
            real_money.confirmation(
                account.get_secret_value() if account is not None else None,
                os.environ.get("TRADING_CONFIRM_REAL"),
            ),
        ]


def unmet_conditions(
    installation: Installation, env: Env, market: Market | None = None
) -> list[str]:
    """Return what still keeps ``env`` from trading: one Korean sentence each, empty when nothing."""
    return [c.lacking for c in conditions(installation, env, market) if not c.is_met]


def unmet_today(installation: Installation, env: Env, market: Market | None = None) -> list[str]:
    """Return ``unmet_conditions`` after proving the guards, where today's drill alone is missing."""
    lacking = [c for c in conditions(installation, env, market) if not c.is_met]
    if [c.code for c in lacking] == [real_money.DRILL]:
        drill(installation, market or installation.settings.app.market)
        return unmet_conditions(installation, env, market)
    return [c.lacking for c in lacking]


def policy_in_force(
    settings: Settings, env: str, market: Market, calendar: SessionCalendar,
    ledger: Ledger | None, session: date,
) -> Policy:  # fmt: skip
    """Return the policy of ``session``: that of every environment, narrower on a fresh real account.

    How fresh it was is read from what the ledger closed before ``session``, so that whoever
    proves the session later finds the same policy.
    """
    policy = policy_of(settings, market, calendar)
    if env != Env.REAL:
        return policy
    earlier = [s for s in closed_sessions(ledger) if s < session] if ledger is not None else []
    return real_money.first_steps(policy, settings.execution.first_sessions, len(earlier))


@contextlib.contextmanager
def _read_ledger(home: Home, env: Env, market: Market) -> "Iterator[SqliteLedger | None]":
    """Open the ledger of an account to be read; ``None`` where nothing was ever traded."""
    if not ledger_path(home, env, market).exists():
        yield None
        return
    ledger = open_ledger(home, env, market, read_only=True)
    try:
        yield ledger
    finally:
        ledger.close()


def _today(market: Market) -> date:
    return WallClock().now().astimezone(ZoneInfo(market.timezone_name)).date()


def coming_session(root: Path | None = None, market: Market | None = None) -> date | None:
    """Return today's session or the first after it; ``None`` in a demo, whose own is the next."""
    settings = load_settings(resolve_root(root).root)
    if settings.app.env is Env.DEMO:
        return None
    market = market or settings.app.market
    today = _today(market)
    _, calendar = rules_and_calendar(settings, market)
    return today if calendar.is_session(today) else calendar.next(today)


def next_session(installation: Installation, market: Market) -> date | None:
    """Return the first session that an account has not begun; ``None`` in a demo without one.

    Whoever is made champion now votes in that one.
    """
    env = installation.settings.app.env
    coming = coming_session(installation.home.root, market)
    with _read_ledger(installation.home, env, market) as ledger:
        run = Run.latest(ledger) if ledger is not None else None
        opened = opened_sessions(ledger) if ledger is not None else []
    if coming is None and run is not None:
        coming = run.first_session
    if coming is not None and opened and opened[-1] >= coming:
        _, calendar = rules_and_calendar(installation.settings, market)
        return calendar.next(opened[-1])
    return coming


def drill(installation: Installation, market: Market) -> tuple["DrillReport", bool]:
    """Prove the guards of the active policy; return how, and whether the ledger holds it now.

    On the most traded name of the last recorded session, in the lake or else in the source.
    Nothing is written while another process trades the account: its session has its own drill.
    """
    from trading.live.drill import drill as prove

    env, home = installation.settings.app.env, installation.home
    report = prove(*_drill_stage(installation, market))
    if env is Env.DEMO and not ledger_path(home, env, market).exists():
        return report, False
    with contextlib.suppress(SessionBusyError), account_held(home, env, market):
        ledger = open_ledger(home, env, market)
        try:
            now, today = WallClock().now(), _today(market)
            key = f"{today}:{now.isoformat()}"
            ledger.append(
                Record(kind=RecordKind.DRILL, key=key, session=today, ts=now, body=report.body())
            )
        finally:
            ledger.close()
        return report, True
    return report, False


def _drill_stage(
    installation: Installation, market: Market
) -> "tuple[TradingEngine, SessionStart, View]":
    """Return an engine of the active policy at the start of the last recorded session."""
    from trading.backtest import runner
    from trading.domain.decision import TradingState
    from trading.execution.decide import RiskState, Views
    from trading.execution.engine import TradingEngine
    from trading.simulation.account import Account
    from trading.store.lake import Lake
    from trading.store.panels import assemble_panels
    from trading.strategies.evaluation import evaluate

    settings = installation.settings
    rules, calendar = rules_and_calendar(settings, market)
    lake = Lake(installation.home.data_dir / "lake")
    source: Lake | BulkSource = lake if lake.sessions(market) else open_source(installation)
    recorded = source.sessions(market)[-_DRILL_SESSIONS:]
    if len(recorded) < 2:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장의 기록이 없어 훈련할 종목이 없습니다. "
            "trading data backfill로 채우십시오."
        )
    first, last = recorded[0], recorded[-1]
    traded = source.daily(market, None, last, last)
    best = int((traded["close"] * traded["volume"]).to_numpy().argmax())
    symbol = str(traded["symbol"].iloc[best])
    exchanges = {i.symbol: i.exchange for i in source.instruments(market)}
    raw, adjusted = assemble_panels(
        source.daily(market, [symbol], first, last),
        [a for a in source.actions(market, first, last) if a.symbol == symbol],
        calendar.sessions(first, last),
        market,
        [symbol],
        exchanges={symbol: exchanges[symbol]},
    )
    row = len(raw.sessions) - 1
    env = settings.app.env
    with _read_ledger(installation.home, env, market) as ledger:
        policy = policy_in_force(settings, env, market, calendar, ledger, _today(market))
    evaluation = evaluate(
        adjusted.until(row),
        raw,
        features=settings.features,
        strategies=settings.strategies,
        exchanges=settings.universe.exchanges[market],
        first_row=max(0, row - 1),
    ).evaluation
    view = Views(evaluation, raw, rules, policy).at(row, held=[symbol])
    cash = settings.app.demo.cash_minor(market)
    engine = TradingEngine(
        policy,
        Account(market, cash),
        RiskState(peak=cash, cooldown=0, state=TradingState.ACTIVE),
        runner.fees_of(rules, calendar),
    )
    start = runner.session_start(
        view, raw, row, (), rules, engine, *calendar.open_close(view.session)
    )
    return engine, start, view


def _open_venue_day(installation: Installation, market: Market, session: date | None) -> DayContext:
    """Open a session at KIS, today's when not named: 모의투자 or 실전투자, as ``app.yaml`` says.

    What the environment asks for before it is traded was looked at by whoever calls.
    """
    from trading.broker.history import KisBarSource

    home, settings = installation.home, installation.settings
    env = settings.app.env
    _, calendar = rules_and_calendar(settings, market)
    session = session or _today(market)
    if not calendar.is_session(session):
        raise NothingLeftError(f"{session}은(는) {MARKET_TEXT[market]} 시장의 거래일이 아닙니다.")
    before = calendar.previous(session)
    if WallClock().now() < calendar.open_close(before)[1]:
        # The bars of the running session would stay in the lake as if they were whole.
        raise UsageError(
            f"{session} 거래일의 준비는 {before} 거래일이 끝난 뒤에 할 수 있습니다: 그날의 일봉이 아직 다 "
            "만들어지지 않았습니다. 장이 끝난 뒤에 다시 하십시오."
        )
    instruments = _instruments(settings, market)
    if not instruments:
        raise ConfigError(
            f"config/universe.yaml의 instruments에 {MARKET_TEXT[market]} 종목을 적어야 합니다."
        )
    credentials = _credentials(installation, env)
    lease = _lease(home, f"{env}-{market}")
    with contextlib.ExitStack() as undo:
        undo.callback(lease.release)
        ledger = open_ledger(home, env, market)
        undo.callback(ledger.close)
        ledger.claim()
        clients = [
            _client(installation, market, env, credentials, WallClock(), instruments)
            for _ in range(settings.kis.history_connections)
        ]
        for client in clients:
            undo.callback(_close, client)
        run = Run.latest(ledger) or _first_venue_run(
            clients[0],
            ledger,
            market,
            env,
            session,
            calendar,
            settings.app.data.first_bar_sessions[market],
        )
        opened = _opened(
            installation,
            env,
            run,
            session,
            ledger=ledger,
            source=KisBarSource(*clients),
            terms=kis_terms(installation, market),
            lease=lease,
            connect=lambda symbols: _connect_venue(
                installation, env, market, session, instruments, symbols
            ),
            clients=clients,
        )
        undo.pop_all()
    return opened


def _close(client: "KisClient") -> None:
    asyncio.run(client.close())


def _first_venue_run(
    client: "KisClient", ledger: Ledger, market: Market, env: Env, session: date,
    calendar: SessionCalendar, history: int,
) -> Run:  # fmt: skip
    """Begin the account as the venue reports it: its cash and what it holds already."""
    account = asyncio.run(client.account())
    run = Run(
        run_id=f"{env}-{market}-{session}",
        market=market,
        first_session=session,
        sessions=0,
        first_bar=calendar.offset(session, -history),
        starting_cash=account.cash,
        dataset=None,
        profile=env,
        asked={},
        positions={s: (p.quantity, p.cost) for s, p in account.positions.items()},
    )
    ledger.append(run.record(WallClock().now()))
    return run


@contextlib.asynccontextmanager
async def _connect_venue(
    installation: Installation, env: Env, market: Market, session: date,
    instruments: Mapping[str, Any], symbols: Sequence[str],
) -> AsyncIterator[Connection]:  # fmt: skip
    clock = WallClock()
    begins = _first_order_at(installation, market, session)
    watched = {s: i for s, i in instruments.items() if s in set(symbols)}
    client = _client(installation, market, env, _credentials(installation, env), clock, watched)
    try:
        yield Connection(client=client, pace=WallPace(clock, begins=begins))
    finally:
        await client.close()


def open_account(installation: Installation, env: Env, market: Market) -> tuple["KisClient", str]:
    """Return a client that may look at an account beside whoever trades it, and its number."""
    credentials = _credentials(installation, env)
    instruments = _instruments(installation.settings, market)
    client = _client(installation, market, env, credentials, WallClock(), instruments)
    return client, credentials.account


@contextlib.contextmanager
def open_history(
    installation: Installation, market: Market, symbols: Sequence[str] | None = None
) -> "Iterator[KisBarSource]":
    """Open KIS as a source of history: every listed share, or ``symbols``.

    With the keys for real trading where they are given, which may ask for more; no account is
    touched.

    Raises
    ------
    ConfigError
        When there are no keys.
    UsageError
        When a symbol is not known.
    """
    from trading.broker.history import KisBarSource
    from trading.store.datasets.krx_facts import published_by_rule

    env = _history_env(installation)
    _, calendar = rules_and_calendar(installation.settings, market)
    instruments = _listed_instruments(installation, market, symbols)
    with contextlib.ExitStack() as undo:
        clients = []
        for _ in range(installation.settings.kis.history_connections):
            client = _client(
                installation,
                market,
                env,
                _credentials(installation, env),
                WallClock(),
                instruments,
                is_background=True,
            )
            undo.callback(_close, client)
            clients.append(client)
        yield KisBarSource(*clients, published=lambda period: published_by_rule(period, calendar))


def _history_env(installation: Installation) -> Env:
    """Return whose keys ask for history: those of a real account may ask for more."""
    real, paper = installation.secrets.missing("real"), installation.secrets.missing("paper")
    if not real:
        return Env.REAL
    if not paper:
        log.warning("실전투자 키가 없어 모의투자 키로 받음: 초당 1회이고 지난 분봉, 순위가 없음")
        return Env.PAPER
    raise ConfigError(
        "한국투자증권에서 시세를 받으려면 키가 있어야 합니다. 없는 환경 변수: "
        f"{', '.join(real)} (모의투자 키로 받으려면 {', '.join(paper)})"
    )


def _listed_instruments(
    installation: Installation, market: Market, symbols: Sequence[str] | None
) -> dict[str, Instrument]:
    """Return the listed shares, or the named ones; of ``universe.yaml`` without symbol files."""
    from trading.broker.masters import MasterFiles

    settings = installation.settings
    files = MasterFiles(
        settings.kis.master_base,
        directory=installation.home.data_dir / "broker" / "masters",
        clock=WallClock(),
    )
    known = _instruments(settings, market)
    try:
        listed = files.instruments(market, only_shares=symbols is None)
    except (TransientBrokerError, SchemaError) as error:
        log.warning("종목 마스터가 없어 config/universe.yaml의 종목만 받음", reason=str(error))
    else:
        boards = settings.universe.exchanges[market]
        shares = {i.symbol: i for i in listed if i.exchange in boards or symbols is not None}
        known = (known if symbols is not None else {}) | shares
    if symbols is None:
        return known
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise UsageError(
            f"종목 마스터에도 config/universe.yaml에도 없는 종목: {', '.join(unknown)}"
        )
    return {symbol: known[symbol] for symbol in symbols}


def _instruments(settings: Settings, market: Market) -> dict[str, Instrument]:
    return {
        symbol: Instrument(
            symbol=symbol, exchange=fact.exchange, name=fact.name, sector=fact.sector
        )
        for symbol, fact in settings.universe.instruments.items()
        if fact.exchange.market is market
    }


def _credentials(installation: Installation, env: Env) -> "Credentials":
    from trading.broker.settings import Credentials

    def secret(name: str) -> str:
        value = getattr(installation.secrets, name)
        if value is None:
            raise ConfigError(f"환경 변수 {name.upper()}이(가) 없습니다.")
        return str(value.get_secret_value())

    return Credentials(
        app_key=secret(f"kis_{env}_app_key"),
        app_secret=secret(f"kis_{env}_app_secret"),
        account=secret(f"kis_{env}_account"),
        hts_id=secret("kis_hts_id"),
    )
