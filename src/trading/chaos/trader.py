"""The client of a seed: the real intraday stage, session, client and ledger, behind counted doors."""

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from trading import day
from trading.broker.client import KisClient
from trading.broker.settings import Credentials, KisSettings
from trading.chaos.plan import Plan
from trading.chaos.plants import ForgetfulLedger, LateLedger, Plant, submit_again
from trading.chaos.points import Arena, Point
from trading.chaos.world import views
from trading.clock import ManualClock, WallClock, monotonic_seconds
from trading.config import AppSettings, Env, Home, Settings
from trading.context import Connection, DayContext, Prepared, Run
from trading.domain.account import VenueAccount
from trading.domain.instrument import Market
from trading.domain.order import Order, OrderAck, OrderIntent, OrderStatus, VenueOrder
from trading.errors import BrokerError, DataError, TradingError, TransientBrokerError
from trading.exchange.server import PORT_FILE
from trading.live.journal import CLOSED, read_session
from trading.live.pace import ControlDoor, LockStep, PortFile
from trading.ports import Ledger, Record, RecordKind
from trading.store.ledger import SqliteLedger
from trading.wire.endpoints import Generation

if TYPE_CHECKING:
    from trading.store.lake import Lake

LEDGER_FILE = "ledger.db"
FAILURE_FILE = "failure.txt"
# How a client process ends: done, to be started again, or broken.
DONE, AGAIN, BROKEN = 0, 3, 70

ACCOUNT = "7001000101"
_KEY = "chaos-app-key-of-the-local-exchange-"
_CREDENTIALS = Credentials(
    app_key=_KEY, app_secret=_KEY, account=ACCOUNT, hts_id="chaos", is_secret=False
)
_EXCHANGE_SECONDS = 20.0
_POLL_SECONDS = 0.005
# Session time between two looks at the whole portfolio; each costs a call.
CHECK_MINUTES = 120
ANSWER_SECONDS = 0.3
# Longer than a late request is still on its way after the client gave up on it; see ``plan``.
ABSENCE_SECONDS = 0.5
_INDEX = {Market.KRX: "0001", Market.US: "SPX"}
_COMMITS = {
    RecordKind.DECISION: (Point.DECISION_BEFORE, Point.DECISION_AFTER),
    RecordKind.INTENT: (Point.INTENT_BEFORE, Point.INTENT_AFTER),
    RecordKind.FILL: (Point.FILL_BEFORE, Point.FILL_AFTER),
}


def trade(plan: Plan, folder: Path, arena: Arena, plant: Plant | None) -> int:
    """Trade what is left of the plan's sessions in this process; return how it ended."""
    try:
        for session in plan.sessions:
            _trade_session(plan, folder, arena, plant, session)
    except (BrokerError, DataError) as error:
        # The exchange died, does not answer, or answers nonsense: the same command goes on.
        tell(folder, f"{type(error).__name__}: {error}")
        return AGAIN
    except Exception:
        tell(folder, traceback.format_exc())
        return BROKEN
    return DONE


def tell(folder: Path, text: str) -> None:
    """Leave word of how a process failed."""
    (folder / FAILURE_FILE).write_text(text, encoding="utf-8")


def _trade_session(
    plan: Plan, folder: Path, arena: Arena, plant: Plant | None, session: date
) -> None:
    written = SqliteLedger(folder / LEDGER_FILE)
    try:
        written.claim()
        if read_session(written, session).closed is not None:
            return
        late: LateLedger | None = None
        ledger: Ledger = _WatchedLedger(written, arena)
        if plant is Plant.DROP_INTENT:
            ledger = ForgetfulLedger(ledger)
        elif plant is Plant.LATE_JOURNAL:
            ledger = late = LateLedger(ledger)
        submit = _submission(arena, plant, late)
        day.intraday(_context(plan, folder, session, ledger, arena, submit))
    finally:
        written.close()


Submission = Callable[[KisClient, OrderIntent], Any]


def _submission(arena: Arena, plant: Plant | None, late: LateLedger | None) -> Submission:
    async def submit(client: KisClient, intent: OrderIntent) -> OrderAck:
        try:
            if plant is Plant.RETRY:
                ack = await submit_again(client, intent)
            else:
                ack = await client.submit(intent)
        finally:
            arena.pass_by(Point.ORDER_REPLIED)
            if late is not None:
                late.catch_up()
        return ack

    return submit


def _context(
    plan: Plan,
    folder: Path,
    session: date,
    ledger: Ledger,
    arena: Arena,
    submit: Submission,
) -> DayContext:
    world = plan.world
    settings = _QuickSettings(world.installation.settings.config_dir, plan.order_ids)
    row = world.raw.row_of(session)
    made = views(world, plan.evaluation, plan.policy)
    context = DayContext(
        key=f"chaos-{session}",
        env=Env.DEMO,
        market=world.market,
        session=session,
        run=Run(
            run_id="chaos",
            market=world.market,
            first_session=plan.sessions[0],
            sessions=len(plan.sessions),
            first_bar=world.raw.sessions[0].astype(date),
            starting_cash=plan.cash,
            dataset=world.dataset,
            profile=plan.profile,
            asked={},
        ),
        home=Home(
            root=folder,
            config_dir=world.installation.home.config_dir,
            data_dir=folder,
            mlruns_dir=folder,
            logs_dir=folder,
        ),
        settings=settings,
        rules=world.rules,
        calendar=world.calendar,
        policy=plan.policy,
        clock=WallClock(),
        ledger=ledger,
        # The intraday stage asks the lake for this morning's actions only; so answers the source.
        lake=cast("Lake", world.source),
        source=world.source,
        notifier=_Silent(),
        connect=lambda symbols: _connect(plan, settings, folder, session, symbols, arena, submit),
        replays=True,
    )
    context.prepared = Prepared(
        raw=world.raw,
        adjusted=cast(Any, None),
        row=row,
        views=made,
        view=made.at(row),
        regime_from_index=False,
        model_versions={},
        research=cast(Any, None),
        facts=cast(Any, None),
    )
    return context


class _QuickSettings(Settings):
    """The settings with every wait cut short: they are configuration, not another path."""

    def __init__(self, config_dir: Path, order_ids: Generation) -> None:
        super().__init__(config_dir)
        self._order_ids = order_ids

    @cached_property
    def kis(self) -> KisSettings:
        """``kis.yaml``."""
        kis = super().kis
        profiles = {
            name: profile.model_copy(update={"calls_per_second": 5_000, "reserved_for_cancel": 100})
            for name, profile in kis.profiles.items()
        }
        stream = kis.stream.model_copy(
            update={
                "connect_timeout_seconds": 2.0,
                "reply_timeout_seconds": 2.0,
                "backoff_seconds": 0.01,
                "backoff_max_seconds": 0.05,
                "stall_seconds": 0.4,
            }
        )
        return kis.model_copy(
            update={
                "profiles": profiles,
                "order_ids": self._order_ids,
                "window_seconds": 0.02,
                "connect_timeout_seconds": 1.0,
                "answer_timeout_seconds": ANSWER_SECONDS,
                "backoff_seconds": 0.01,
                "backoff_max_seconds": 0.05,
                "token_wait_seconds": 0.2,
                "stream": stream,
            }
        )

    @cached_property
    def app(self) -> AppSettings:
        """``app.yaml``."""
        app = super().app
        supervision = app.supervision.model_copy(
            update={
                "frame_wait_seconds": 3.0,
                "absence_wait_seconds": 0.05,
                "absence_seconds": ABSENCE_SECONDS,
            }
        )
        return app.model_copy(
            update={"supervision": supervision, "check_interval_minutes": CHECK_MINUTES}
        )


@contextlib.asynccontextmanager
async def _connect(
    plan: Plan,
    settings: Settings,
    folder: Path,
    session: date,
    symbols: Sequence[str],
    arena: Arena,
    submit: Submission,
) -> AsyncIterator[Connection]:
    world = plan.world
    port = _answering(folder / PORT_FILE)
    door = ControlDoor(port, timeout_seconds=5.0)
    door.open_session(session)
    status = door.status()
    clock = ManualClock(datetime.fromisoformat(status["now"]))
    client = KisClient(
        settings.kis,
        profile=plan.profile,
        market=world.market,
        instruments={
            i.symbol: i for i in world.source.instruments(world.market) if i.symbol in set(symbols)
        },
        credentials=_CREDENTIALS,
        clock=clock,
        cache_dir=folder,
        rest_base=f"http://{port.host}:{port.rest_port}",
        ws_base=f"ws://{port.host}:{port.ws_port}",
    )
    wait = settings.app.supervision.frame_wait_seconds
    try:
        if plan.is_curious:
            await asyncio.to_thread(_look_around, client, session, symbols[0])
        yield Connection(
            client=cast(KisClient, _WatchedClient(client, arena, submit)),
            pace=LockStep(door, clock, timeout_seconds=wait),
            untradable=frozenset(status["untradable_symbols"]),
        )
    finally:
        await client.close()


def _look_around(client: KisClient, session: date, symbol: str) -> None:
    """Ask what a curious user asks; an answer that does not come stops nothing."""
    month = session - timedelta(days=30)
    data = client.data
    for ask in (
        lambda: data.daily(symbol, month, session, adjusted=True),
        lambda: client.holidays(session),
        lambda: client.holidays(session + timedelta(days=1)),
        lambda: data.index_daily(_INDEX[client.market], month, session),
    ):
        with contextlib.suppress(TradingError):
            ask()


def _answering(path: Path) -> PortFile:
    """Return where the exchange listens, waiting while it is being started again."""
    deadline = monotonic_seconds() + _EXCHANGE_SECONDS
    while monotonic_seconds() < deadline:
        port = PortFile.read(path)
        if port is not None:
            with contextlib.suppress(TransientBrokerError):
                ControlDoor(port, timeout_seconds=5.0).status()
                return port
        time.sleep(_POLL_SECONDS)
    raise TransientBrokerError("거래소가 시작하지 않음")


class _WatchedLedger:
    """A ledger whose commits are boundaries."""

    def __init__(self, ledger: Ledger, arena: Arena) -> None:
        self._ledger = ledger
        self._arena = arena

    def append(self, *records: Record) -> int:
        """Write the records between their two boundaries."""
        points = [found for record in records if (found := _points_of(record)) is not None]
        for before, _ in points:
            self._arena.pass_by(before)
        written = self._ledger.append(*records)
        for _, after in points:
            self._arena.pass_by(after)
        return written

    def read(
        self, *kinds: RecordKind, session: date | None = None, key: str | None = None
    ) -> Iterator[Record]:
        """Yield what was written."""
        return self._ledger.read(*kinds, session=session, key=key)

    def close(self) -> None:
        """Release the file."""
        self._ledger.close()


def _points_of(record: Record) -> tuple[Point, Point] | None:
    if record.kind is RecordKind.SESSION:
        if record.key.endswith(CLOSED):
            return Point.CLOSED_BEFORE, Point.CLOSED_AFTER
        return Point.OPENED_BEFORE, Point.OPENED_AFTER
    if record.kind is RecordKind.UPDATE:
        if record.body["status"] == OrderStatus.ACCEPTED:
            return Point.ACK_BEFORE, Point.ACK_AFTER
        return Point.UPDATE_BEFORE, Point.UPDATE_AFTER
    return _COMMITS.get(record.kind)


class _WatchedClient:
    """The client, with boundaries around the calls of the order path."""

    def __init__(self, client: KisClient, arena: Arena, submit: Submission) -> None:
        self._client = client
        self._arena = arena
        self._submit = submit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def submit(self, intent: OrderIntent) -> OrderAck:
        """Send an order; see ``ports.Broker``."""
        ack: OrderAck = await self._submit(self._client, intent)
        return ack

    async def cancel(self, order: Order) -> OrderAck:
        """Cancel an order; see ``ports.Broker``."""
        self._arena.pass_by(Point.CANCEL_BEFORE)
        try:
            return await self._client.cancel(order)
        finally:
            self._arena.pass_by(Point.CANCEL_REPLIED)

    async def orders(self, session: date) -> Sequence[VenueOrder]:
        """List orders; see ``ports.Broker``."""
        self._arena.pass_by(Point.LISTING_BEFORE)
        listing = await self._client.orders(session)
        self._arena.pass_by(Point.LISTING_REPLIED)
        return listing

    async def account(self) -> VenueAccount:
        """Return the account; see ``ports.Broker``."""
        account = await self._client.account()
        self._arena.pass_by(Point.ACCOUNT_REPLIED)
        return account


class _Silent:
    """Nobody is told: thousands of seeds would fill a mailbox."""

    def send(self, event: str, fields: Any) -> None:
        """Send nothing."""
