"""The venue itself: its clock, its session, who may order what, and what it costs.

Everything that changes is in the journal before anybody hears of it, so that a killed venue
continues where it was. HTTP, frames and keys are in ``server``; the tape is in ``replay``, how
orders meet it in ``floor``.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from trading.domain.actions import CorporateAction, in_effect_order
from trading.domain.arrays import IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import OrderType, Route, Side
from trading.domain.rules import MarketRules, as_array
from trading.errors import ConfigError, UsageError
from trading.exchange.accounts import (
    BRANCH,
    Reservation,
    ReservedState,
    StandingOrder,
    TradingAccount,
    cost_of_buying,
    reservation,
)
from trading.exchange.floor import Floor, Suspension, SuspensionKind
from trading.exchange.journal import Fact, Journal
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.replay import DayBar, History, SessionReplay, Tape
from trading.exchange.terms import Terms, terms_of
from trading.exchange.windows import IMMEDIATE, ON_CLOSE, ON_OPEN, Windows
from trading.log import get_logger, get_trade_log
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.simulation.matching import Execution
from trading.simulation.paths import MinuteBar
from trading.wire import values
from trading.wire.endpoints import Profile
from trading.wire.order_codes import takes_domestic, takes_overseas
from trading.wire.records import ChangeRequest, OrderKind, OrderRequest

log = get_logger(__name__)
trade_log = get_trade_log()

# Orders are taken from half an hour before the open (KRX: its opening call auction).
PRE_OPEN = timedelta(minutes=30)
# How long after the close the day is still talked about before the venue is closed.
AFTER_CLOSE = timedelta(hours=1)
# The clock of a venue that has never opened: before every recorded session.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)
# PROTOCOL 9.1, 10.1: what the paper server is known to take.
_ON_PAPER = {
    Market.KRX: frozenset({OrderType.LIMIT, OrderType.MARKET}),
    Market.US: frozenset({OrderType.LIMIT}),
}
# Reserved orders are told to be taken from 15:40; 15:30 to 16:40 is refused (FAULTS 11). Before
# the open they end at 07:30, and around midnight the books are turned over (PROTOCOL 9.15).
_RESERVED_AFTER_CLOSE = timedelta(minutes=70)
_RESERVED_BEFORE_OPEN = timedelta(minutes=90)
_TURNOVER = ("2340", "0010")


class Phase(StrEnum):
    """Where in its day the venue is."""

    CLOSED = "closed"
    PRE_OPEN = "pre_open"
    OPEN = "open"
    AFTER_CLOSE = "after_close"


@dataclass(frozen=True, slots=True)
class Traded:
    """A print of the tape: number ``index`` of ``tape``."""

    symbol: str
    tape: Tape
    index: int


class NoticeKind(StrEnum):
    """What an account is told about an order.

    ``KILLED`` is the end of what an immediate or on-open order did not get; ``REFUSED`` a no of
    the exchange to what was accepted before, be it an order or a cancel.
    """

    ACCEPTED = "accepted"
    FILLED = "filled"
    CANCELED = "canceled"
    REVISED = "revised"
    KILLED = "killed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Notified:
    """Something happened to an order; ``quantity`` and ``price`` are those of the event."""

    kind: NoticeKind
    account: TradingAccount
    order: StandingOrder
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """Trading in an instrument is interrupted, or goes on again when ``is_over``."""

    suspension: Suspension
    is_over: bool = False


Event = Traded | Notified | Suspended


class Venue:
    """One market of the local exchange, replayed from ``source``.

    ``publish`` is called with the events of each step after they are durable. Not thread-safe:
    one event loop owns it.
    """

    def __init__(
        self,
        *,
        source: BarSource,
        rules: MarketRules,
        calendar: SessionCalendar,
        journal: Journal,
        market: Market,
        profile: Profile,
        starting_cash: int,
        participation_bps: int,
        publish: Callable[[Sequence[Event]], None],
    ) -> None:
        self.market = market
        self.profile = profile
        self.calendar = calendar
        self.now = BEGINNING
        self.session: date | None = None
        self.phase = Phase.CLOSED
        # So many cancels to come take effect only after the next print (FAULTS 25).
        self.slow_cancels = 0
        self.instruments: Mapping[str, Instrument] = {
            instrument.symbol: instrument for instrument in source.instruments(market)
        }
        self._source = source
        self._rules = rules
        self._journal = journal
        self._starting_cash = starting_cash
        self._participation_bps = participation_bps
        self._publish = publish
        self._history = History(source, market)
        self._next_order = 1
        self._next_reservation = 1
        self._reservations: dict[int, Reservation] = {}
        self._accounts: dict[str, TradingAccount] = {}
        self._watched: frozenset[str] = frozenset()
        self._settles = date.max
        self._fees: dict[Exchange, IntArray] = {}
        self._replay: SessionReplay | None = None
        self._present: tuple[Windows, Floor] | None = None
        self._schedule: dict[datetime, list[tuple[str, int]]] = {}
        self._instants: list[datetime] = []
        self._scheduled: set[str] = set()
        self._recover()

    # -- time ----------------------------------------------------------------------------

    def open_session(self, session: date) -> None:
        """Begin ``session`` before its open: actions applied, base prices set.

        The actions of days that were passed over are applied before its own. Opening the session
        that is already begun changes nothing. ``UsageError`` for a day that is no session, was not
        recorded, or comes before the present one is over.
        """
        if session == self.session:
            return
        if not self.calendar.is_session(session):
            raise UsageError(f"{session}: {self.market} 시장의 거래일이 아님")
        if self.session is not None and session < self.session:
            raise UsageError(f"{session}: 이미 지난 거래일이라 열 수 없음 (현재 {self.session})")
        if self.phase in (Phase.PRE_OPEN, Phase.OPEN):
            raise UsageError(
                f"{self.session}: 아직 끝나지 않은 거래일이 있어 {session}을 열 수 없음"
            )
        opened, _ = self.calendar.open_close(session)
        replay = self._read(session)
        since = self.session + timedelta(days=1) if self.session is not None else session
        actions = sorted(self._source.actions(self.market, since, session), key=in_effect_order)
        changed = _Changed()
        if self._replay is not None:
            # What lived on after the close on the second exchange ends with its day.
            self._expire(END, changed)
        self._load(replay)
        self.session = session
        self.now = max(self.now, opened - PRE_OPEN)
        self.phase = Phase.PRE_OPEN
        for account in self._accounts.values():
            account.begin_session(session)
            self._apply_actions(account, actions)
            changed.accounts[account.number] = account
        self._send_reserved({action.symbol for action in actions}, changed)
        self._commit(changed)
        log.info(
            "거래일 시작",
            market=self.market.value,
            session=session.isoformat(),
            instruments=len(replay.today),
            untradable=len(replay.untradable),
            minutes=replay.has_minutes,
        )

    def step(self, until: datetime) -> bool:
        """Move to the next instant with something in it, at most to ``until``, and live it.

        Returns whether the clock moved. Instants are the prints of watched instruments and of
        those with working orders, the open, the close and the end of the day.
        """
        if self.session is None:
            raise UsageError("열린 거래일이 없음: 먼저 거래일을 여십시오")
        following = self.next_instant()
        target = until if following is None else min(until, following)
        if target <= self.now:
            return False
        replay = self.replay
        self.now = target
        if self.phase is Phase.PRE_OPEN and target >= replay.open_ts:
            self.phase = Phase.OPEN
        changed = _Changed()
        for suspension in self.suspensions():
            if suspension.until == target:
                changed.events.append(Suspended(suspension, is_over=True))
        if self.phase is Phase.OPEN:
            working = self._working()
            for symbol, index in self._schedule.get(target, ()):
                self._print(symbol, index, working.get(symbol, {}), changed)
            if target >= replay.close_ts:
                self.phase = Phase.AFTER_CLOSE
                self._close(changed)
        self._expire(target, changed)
        if self.phase is Phase.AFTER_CLOSE and target >= replay.close_ts + AFTER_CLOSE:
            self.phase = Phase.CLOSED
        self._commit(changed)
        return True

    @property
    def today(self) -> date:
        """The present session, or the day before all of them."""
        return self.session or BEGINNING.date()

    def next_session(self, after: date | None = None) -> date | None:
        """Return the first session after the present one, ``None`` at the end of the calendar.

        ``after``: and after this day, too.
        """
        try:
            return self.calendar.next(max(self.today, after or self.today))
        except ConfigError:
            return None

    def next_instant(self) -> datetime | None:
        """Return when something next happens; ``None`` once the day is over."""
        replay = self.replay
        boundaries = {
            replay.open_ts,
            replay.close_ts,
            replay.close_ts + AFTER_CLOSE,
            *(suspension.until for suspension in self.suspensions()),
            *(
                self.windows.expiry(order.order_type, order.route)
                for account in self._accounts.values()
                for order in account.working()
            ),
        }
        boundary = min((moment for moment in boundaries if moment > self.now), default=None)
        active = self._active()
        self._reschedule(active)
        for position in range(bisect_right(self._instants, self.now), len(self._instants)):
            moment = self._instants[position]
            if any(symbol in active for symbol, _ in self._schedule[moment]):
                return moment if boundary is None else min(moment, boundary)
        return boundary

    def glide(self, moment: datetime) -> None:
        """Let the clock show ``moment`` between two instants; nothing happens, nothing is kept."""
        self.now = max(self.now, moment)

    def watch(self, symbols: Iterable[str]) -> None:
        """Say whose prints somebody listens to."""
        self._watched = frozenset(symbols)

    # -- orders --------------------------------------------------------------------------

    def account(self, number: str, owner: str) -> TradingAccount | None:
        """Return the account, made at first use; ``None`` when it is another key's."""
        account = self._accounts.get(number)
        if account is None:
            account = TradingAccount(number, owner, self.market, self._starting_cash)
            self._journal.commit(self._account_fact(account))
            self._accounts[number] = account
        return account if account.owner == owner else None

    @property
    def accounts(self) -> Sequence[TradingAccount]:
        """All accounts, in order of their first use."""
        return tuple(self._accounts.values())

    def place(self, account: TradingAccount, request: OrderRequest) -> StandingOrder:
        """Take an order, match it at once against what is left of the last print.

        Raises ``OrderRefused`` when the venue will not have it; nothing has then changed.
        """
        changed = _Changed()
        order = self._place(account, request, changed)
        self._commit(changed)
        return order

    def trade_by_hand(
        self,
        number: str,
        symbol: str,
        side: Side,
        quantity: int,
        limit: int = 0,
        order_type: OrderType = OrderType.LIMIT,
    ) -> StandingOrder:
        """Place an order that no program of the account sent, as its owner would in the HTS.

        ``limit`` 0 is the last price. ``UsageError`` for an account nobody has used yet.
        """
        account = self._accounts.get(number)
        if account is None:
            raise UsageError("아직 아무도 쓰지 않은 계좌라 손으로 매매할 수 없음")
        quote = self.quote(symbol)
        if not limit and order_type is not OrderType.MARKET and quote is not None:
            limit = quote.price
        request = OrderRequest(
            account=number,
            symbol=symbol,
            side=side,
            quantity=quantity,
            limit=limit,
            order_type=order_type,
        )
        changed = _Changed()
        order = self._place(account, request, changed, by_hand=True)
        self._commit(changed)
        return order

    def change(
        self, account: TradingAccount, request: ChangeRequest, *, by_hand: bool = False
    ) -> StandingOrder:
        """Cancel or revise an order; either is an order of its own with a new number.

        A revision takes the quantity out of the old order and places it anew at its price.
        ``by_hand``: its owner does so in the HTS.
        """
        original = account.orders.get(values.integer(request.original_order_id))
        if original is None:
            raise OrderRefused(Reason.NOTHING_LEFT)
        self._check_reference(original, request)
        quantity = request.quantity or original.open_quantity
        is_done = original.kind is OrderKind.CANCEL or original.open_quantity == 0
        if is_done or not 0 < quantity <= original.open_quantity:
            raise OrderRefused(Reason.NOTHING_LEFT)
        changed = _Changed()
        if request.is_cancel:
            order = self._cancel(account, original, quantity, changed, by_hand=by_hand)
        else:
            order = self._revise(account, original, quantity, request, changed, by_hand=by_hand)
        self._commit(changed)
        return order

    def reject(self, account: TradingAccount, number: int, reason: str) -> None:
        """Let the exchange refuse an order that was accepted before and has not traded."""
        order = account.orders.get(number)
        if order is None or order.open_quantity == 0 or order.filled_quantity:
            raise UsageError(f"거부할 수 있는 미체결 주문이 아님: {number}")
        changed = _Changed()
        self._refuse(account, order, reason, changed)
        self._commit(changed)

    # -- reserved orders -----------------------------------------------------------------

    def reserve(
        self, account: TradingAccount, request: OrderRequest, last: date | None = None
    ) -> Reservation:
        """Keep an order for the next open, or for every open up to ``last`` until it is filled."""
        self._check_reservable(request)
        reserved = Reservation(
            number=self._next_reservation,
            request=replace(request, account=account.number),
            day=values.local_date(self.now, self.market),
            ts=self.now,
            last=last,
        )
        self._next_reservation += 1
        self._reservations[reserved.number] = reserved
        changed = _Changed()
        changed.reservations[reserved.number] = reserved
        self._commit(changed)
        return reserved

    def change_reserved(
        self, account: TradingAccount, number: int, request: OrderRequest
    ) -> Reservation:
        """Replace what a waiting reservation asks for."""
        reserved = self._waiting(account, number)
        self._check_reservable(request)
        reserved.request = replace(request, account=account.number)
        reserved.changed = self.now
        changed = _Changed()
        changed.reservations[reserved.number] = reserved
        self._commit(changed)
        return reserved

    def cancel_reserved(self, account: TradingAccount, number: int) -> Reservation:
        """Take a waiting reservation back."""
        reserved = self._waiting(account, number)
        self._check_reservation_hours()
        changed = _Changed()
        self._end_reservation(reserved, ReservedState.CANCELED, "", changed)
        self._commit(changed)
        return reserved

    def reserved(self, account: TradingAccount, first: date, last: date) -> list[Reservation]:
        """Return the reservations made on the days, oldest first, ended ones included."""
        return [
            Reservation.from_body(fact.key, fact.body)
            for fact in self._journal.read(
                "reserved", first=first.isoformat(), last=last.isoformat()
            )
            if fact.body["account"] == account.number
        ]

    # -- interruptions -------------------------------------------------------------------

    def suspend(self, symbol: str, kind: SuspensionKind, until: datetime) -> None:
        """Interrupt trading in an instrument from now on: orders are taken, none is filled.

        The tape goes on as it was recorded. A VI ends with a single price: the first print from
        ``until`` on.
        """
        if symbol not in self.instruments:
            raise UsageError(f"모르는 종목이라 거래를 멈출 수 없음: {symbol}")
        if until <= self.now:
            raise UsageError(f"이미 지난 시각까지 거래를 멈출 수 없음: {until.isoformat()}")
        suspension = Suspension(symbol, kind, self.now, until)
        self._floor.suspensions[symbol] = suspension
        self._commit(_Changed(Suspended(suspension)))

    def resume(self, symbol: str) -> None:
        """End an interruption now; without one nothing happens."""
        suspension = self._floor.suspensions.get(symbol)
        if suspension is None or suspension.until <= self.now:
            return
        ended = suspension._replace(until=self.now)
        self._floor.suspensions[symbol] = ended
        self._commit(_Changed(Suspended(ended, is_over=True)))

    def suspensions(self) -> list[Suspension]:
        """Return the imposed interruptions of the session, past ones included, by symbol."""
        if self._present is None:
            return []
        return [suspension for _, suspension in sorted(self._floor.suspensions.items())]

    def interruption(self, symbol: str) -> Suspension | None:
        """Return what keeps an instrument from trading now: imposed, or in the record (VI)."""
        return self._floor.interruption(symbol, self.now)

    def orders(self, account: TradingAccount, first: date, last: date) -> list[StandingOrder]:
        """Return the account's orders of the days, oldest first, ended ones included."""
        found = [
            StandingOrder.from_body(fact.key, fact.body)
            for fact in self._journal.read("order", first=first.isoformat(), last=last.isoformat())
            if fact.body["account"] == account.number
        ]
        return sorted(found, key=lambda order: order.order_id)

    def buying_power(self, account: TradingAccount) -> int:
        """Return what the account may spend now, in minor units."""
        return account.buying_power(self._fees) if self._fees else account.book.cash

    def settlement_date(self, day: date) -> date:
        """Return when a trade made in the session ``day`` is paid."""
        return self._rules.settlement_date(day, self.calendar)

    def fees(self, exchange: Exchange) -> IntArray:
        """Return the fees of a trade made in the present session."""
        return self._fees[exchange]

    # -- market data ---------------------------------------------------------------------

    @property
    def replay(self) -> SessionReplay:
        """The present session's tape; ``UsageError`` before the first session."""
        if self._replay is None:
            raise UsageError("열린 거래일이 없음: 먼저 거래일을 여십시오")
        return self._replay

    @property
    def windows(self) -> Windows:
        """The hours of the present session; ``UsageError`` before the first."""
        return self._opened[0]

    @property
    def is_begun(self) -> bool:
        """Whether any session was ever opened."""
        return self._replay is not None

    def last_index(self, symbol: str) -> int:
        """Return the index of the instrument's last print so far, -1 before the first."""
        if self.phase is Phase.PRE_OPEN:
            return -1
        return self.replay.tape(symbol).index_at(self.now)

    def quote(self, symbol: str) -> Quote | None:
        """Return the instrument's current figures; ``None`` when the venue does not know it."""
        if self._replay is None or symbol not in self.instruments:
            return None
        replay = self._replay
        base = replay.reference(symbol)
        bar = replay.today.get(symbol)
        if bar is None and base == 0:
            return None
        tape, index = replay.tape(symbol), self.last_index(symbol)
        lower, upper = replay.limits(symbol)
        traded = index >= 0
        return Quote(
            symbol=symbol,
            price=tape.prints[index].price if traded else base,
            previous_close=base,
            open=tape.prints[0].price if traded else 0,
            high=tape.high[index] if traded else 0,
            low=tape.low[index] if traded else 0,
            volume=tape.volume[index] if traded else 0,
            upper_limit=upper,
            lower_limit=lower,
            ts_event=tape.times[index] if traded else self.now,
            halted=bar is None or bar.volume == 0 or self._is_halted(symbol),
        )

    def traded_value(self, symbol: str) -> int:
        """Return the value traded so far in the session, in minor units."""
        index = self.last_index(symbol)
        return self.replay.tape(symbol).value[index] if index >= 0 else 0

    def units(self, symbol: str, price: int) -> tuple[int, int]:
        """Return the tick and the lot of an order at ``price`` today."""
        exchange, day = self.instruments[symbol].exchange, self.replay.session
        return (
            self._rules.tick_size(exchange, price, day),
            self._rules.lot_size(exchange, price, day),
        )

    def daily_bars(self, symbol: str, first: date, last: date, *, adjusted: bool) -> list[DayBar]:
        """Return closed sessions' bars and, while the market is open, today's so far.

        A session replayed from intraday bars keeps the bar that its prints made: the official
        one of the same day may differ in the auctions, which the venue never printed.
        """
        if self.session is None or symbol not in self.instruments:
            return []
        is_after = self.phase in (Phase.AFTER_CLOSE, Phase.CLOSED)
        over = is_after and not (self.is_begun and self.replay.has_minutes)
        closed = self.session if over else self.session - timedelta(days=1)
        bars = self._history.bars(
            symbol, first, min(last, closed), as_of=self.session, adjusted=adjusted
        )
        running = self.quote(symbol)
        if not over and last >= self.session >= first and running is not None and running.volume:
            bars.append(
                DayBar(
                    self.session,
                    running.open,
                    running.high,
                    running.low,
                    running.price,
                    running.volume,
                    self.traded_value(symbol),
                    "raw",
                )
            )
        return bars

    def past_minutes(self, symbol: str, session: date) -> tuple[Sequence[MinuteBar], int]:
        """Return the recorded intraday bars of a session before the present, and their seconds."""
        if symbol not in self.instruments or session >= self.today:
            return [], 60
        return self._history.minutes(symbol, session)

    def index_closes(self, first: date, last: date) -> list[tuple[date, float]]:
        """Return the benchmark's recorded closes of sessions that are over, oldest first."""
        is_over = self.phase in (Phase.AFTER_CLOSE, Phase.CLOSED)
        closed = self.today if is_over else self.today - timedelta(days=1)
        return self._history.index(first, min(last, closed))

    # -- internals -----------------------------------------------------------------------

    def _recover(self) -> None:
        state = self._journal.get("venue", "state")
        for fact in self._journal.read("account"):
            self._accounts[fact.key] = TradingAccount.from_body(fact.key, self.market, fact.body)
        held = {symbol for one in self.accounts for symbol in one.book.positions}
        missing = sorted(held - self.instruments.keys())
        if missing:
            raise UsageError(
                f"계좌에 있는 종목이 이 기록에 없어 이어 갈 수 없음: {', '.join(missing)}. "
                "전과 같은 자료로 띄우거나 다른 이름으로 새로 시작하십시오"
            )
        if state is None:
            return
        self._next_order = state["next_order"]
        self._next_reservation = state.get("next_reservation", 1)
        self.now = datetime.fromisoformat(state["now"])
        session = date.fromisoformat(state["session"])
        self._load(self._read(session))
        self.session = session
        self.phase = Phase(state["phase"])
        day = session.isoformat()
        for fact in self._journal.read("order", first=day, last=day):
            order = StandingOrder.from_body(fact.key, fact.body)
            self._accounts[order.account].add(order)
        for fact in self._journal.read("matcher", first=day, last=day):
            self._floor.restore(fact.key, fact.body)
        for symbol, kind, since, until in state.get("suspensions", ()):
            self._floor.suspensions[symbol] = Suspension(
                symbol,
                SuspensionKind(kind),
                datetime.fromisoformat(since),
                datetime.fromisoformat(until),
            )
        for fact in self._journal.read("reserved"):
            if fact.body["state"] == ReservedState.WAITING:
                self._reservations[int(fact.key)] = Reservation.from_body(fact.key, fact.body)
        log.info(
            "거래소 상태 복구",
            session=day,
            now=self.now.isoformat(),
            phase=self.phase.value,
            accounts=len(self._accounts),
        )

    def _read(self, session: date) -> SessionReplay:
        opened, closed = self.calendar.open_close(session)
        return SessionReplay(
            source=self._source,
            rules=self._rules,
            market=self.market,
            session=session,
            open_ts=opened,
            close_ts=closed,
            instruments=self.instruments,
        )

    def _load(self, replay: SessionReplay) -> None:
        session = replay.session
        settles = self._rules.settlement_date(session, self.calendar)
        self._fees = {
            exchange: as_array(self._rules.fees(exchange, session, settles))
            for exchange in Exchange
            if exchange.market is self.market
        }
        self._settles = settles
        self._replay = replay
        windows = Windows.of(session, self._rules, self.calendar)
        self._present = (windows, Floor(replay, windows, self._participation_bps))
        self._schedule.clear()
        self._instants.clear()
        self._scheduled.clear()

    def _apply_actions(self, account: TradingAccount, actions: Sequence[CorporateAction]) -> None:
        replay = self.replay
        for action in actions:
            effect = account.book.apply_action(
                action,
                reference=replay.reference(action.symbol),
                withholding_ppb=self._rules.dividend_withholding_ppb(replay.session),
            )
            if effect is not None:
                log.info(
                    "권리 반영",
                    symbol=action.symbol,
                    kind=action.kind.value,
                    before=effect.quantity_before,
                    after=effect.quantity_after,
                    cash=effect.cash,
                )

    def _active(self) -> set[str]:
        working = {o.symbol for a in self._accounts.values() for o in a.working()}
        return working | (self._watched & self.replay.today.keys())

    def _reschedule(self, active: set[str]) -> None:
        """Merge the tapes of all active instruments by instant, symbols in order."""
        if active <= self._scheduled:
            return
        self._scheduled |= active
        self._schedule = {}
        for symbol in sorted(self._scheduled):
            for index, moment in enumerate(self.replay.tape(symbol).times):
                self._schedule.setdefault(moment, []).append((symbol, index))
        self._instants = sorted(self._schedule)

    def _working(self) -> dict[str, dict[str, tuple[TradingAccount, StandingOrder]]]:
        working: dict[str, dict[str, tuple[TradingAccount, StandingOrder]]] = {}
        for account in self._accounts.values():
            for order in account.working():
                working.setdefault(order.symbol, {})[order.number] = (account, order)
        return working

    def _print(
        self,
        symbol: str,
        index: int,
        owners: Mapping[str, tuple[TradingAccount, StandingOrder]],
        changed: "_Changed",
    ) -> None:
        tape = self.replay.tape(symbol)
        if owners:
            orders = {number: order for number, (_, order) in owners.items()}
            for execution in self._floor.on_print(symbol, index, orders):
                account, order = owners[execution.order_id]
                self._execute(account, order, execution, changed)
            for account, order in owners.values():
                # A stop may have woken, a conditional limit become a market order.
                if order.order_type is not OrderType.LIMIT:
                    changed.orders[order.order_id] = order
                if order.order_type in ON_OPEN and order.open_quantity:
                    self._kill(account, order, changed)
        self._settle_cancels(symbol, changed)
        # After the notices: who hears of a print knows already what it filled, as in a backtest.
        if symbol in self._watched:
            changed.events.append(Traded(symbol, tape, index))

    def _execute(
        self,
        account: TradingAccount,
        order: StandingOrder,
        execution: Execution,
        changed: "_Changed",
    ) -> None:
        account.fill(order, execution, self._fees[order.exchange], self._settles)
        changed.orders[order.order_id] = order
        changed.accounts[account.number] = account
        trade_log.info(
            "거래소 체결",
            venue_order_id=order.number,
            symbol=order.symbol,
            side=order.side.value,
            quantity=execution.quantity,
            price=execution.price,
            now=self.now.isoformat(),
        )
        changed.events.append(
            Notified(NoticeKind.FILLED, account, order, execution.quantity, execution.price)
        )

    def _place(
        self,
        account: TradingAccount,
        request: OrderRequest,
        changed: "_Changed",
        *,
        by_hand: bool = False,
        is_reserved: bool = False,
    ) -> StandingOrder:
        self._check_session(is_reserved=is_reserved)
        instrument = self._check_instrument(request)
        self._check_type(request)
        interrupted = self._is_interrupted(request.symbol)
        self.windows.check(request.order_type, request.route, self.now, interrupted=interrupted)
        terms = self._terms(
            instrument, request.order_type, request.side, request.limit, request.stop
        )
        self._check_quantity(instrument, request.quantity, terms.bound)
        if request.side is Side.BUY:
            self._check_cash(account, instrument, request.quantity, terms.ceiling)
        elif request.quantity > account.sellable(request.symbol):
            raise OrderRefused(Reason.NO_SHARES)
        order = self._new_order(
            account,
            instrument,
            request.side,
            request.quantity,
            terms,
            OrderKind.NEW,
            order_type=request.order_type,
            stop=request.stop,
            route=request.route,
            by_hand=by_hand,
        )
        self._enter(account, order, NoticeKind.ACCEPTED, changed)
        return order

    def _enter(
        self,
        account: TradingAccount,
        order: StandingOrder,
        kind: NoticeKind,
        changed: "_Changed",
    ) -> None:
        """Bring a new order to the floor and tell what came of it at once."""
        changed.events.append(Notified(kind, account, order, order.quantity, order.limit))
        changed.orders[order.order_id] = order
        for execution in self._floor.enter(order, self.last_index(order.symbol), self.now):
            self._execute(account, order, execution, changed)
        if order.order_type in IMMEDIATE and order.open_quantity:
            self._kill(account, order, changed)

    def _revise(
        self,
        account: TradingAccount,
        original: StandingOrder,
        quantity: int,
        request: ChangeRequest,
        changed: "_Changed",
        *,
        by_hand: bool,
    ) -> StandingOrder:
        self._check_session()
        instrument = self.instruments[original.symbol]
        order_type, stop = original.order_type, original.stop
        if self.market is Market.KRX:
            order_type, stop = request.order_type, request.stop
            if not takes_domestic(original.route, order_type):
                raise OrderRefused(Reason.ORDER_KIND, order_type.value)
        interrupted = self._is_interrupted(original.symbol)
        self.windows.check(order_type, original.route, self.now, interrupted=interrupted)
        terms = self._terms(instrument, order_type, original.side, request.limit, stop)
        if quantity < original.open_quantity:
            self._check_quantity(instrument, quantity, terms.bound)
        if original.side is Side.BUY:
            fees = self._fees[instrument.exchange]
            freed = reservation(original, fees) - reservation(original, fees, less=quantity)
            self._check_cash(account, instrument, quantity, terms.ceiling, freed=freed)
        self._take_out(original, quantity, changed)
        order = self._new_order(
            account,
            instrument,
            original.side,
            quantity,
            terms,
            OrderKind.REVISE,
            order_type=order_type,
            stop=stop,
            route=original.route,
            by_hand=by_hand or original.by_hand,
            original=original,
        )
        self._enter(account, order, NoticeKind.REVISED, changed)
        return order

    def _cancel(
        self,
        account: TradingAccount,
        original: StandingOrder,
        quantity: int,
        changed: "_Changed",
        *,
        by_hand: bool,
    ) -> StandingOrder:
        order = self._new_order(
            account,
            self.instruments[original.symbol],
            original.side,
            quantity,
            Terms(original.limit, original.bound, original.ceiling),
            OrderKind.CANCEL,
            order_type=original.order_type,
            stop=original.stop,
            route=original.route,
            by_hand=by_hand or original.by_hand,
            original=original,
        )
        changed.orders[order.order_id] = order
        if self.slow_cancels > 0:
            self.slow_cancels -= 1
        else:
            self._carry_out(account, order, changed)
        return order

    def _carry_out(
        self,
        account: TradingAccount,
        cancel: StandingOrder,
        changed: "_Changed",
    ) -> None:
        """Do what a cancel asks for as far as its order is still open; refuse the rest."""
        original = account.orders[cancel.original_id]
        quantity = min(cancel.open_quantity, original.open_quantity)
        if quantity:
            self._take_out(original, quantity, changed)
            cancel.canceled_quantity += quantity
            changed.orders[cancel.order_id] = cancel
            changed.events.append(
                Notified(NoticeKind.CANCELED, account, cancel, quantity, original.limit)
            )
        if cancel.open_quantity:
            self._refuse(account, cancel, Reason.NOTHING_LEFT.value, changed)

    def _settle_cancels(self, symbol: str | None, changed: "_Changed") -> None:
        """Carry out the cancels that waited for a print of the instrument, ``None`` for all."""
        for account in self._accounts.values():
            for cancel in account.pending_cancels():
                if symbol is None or cancel.symbol == symbol:
                    self._carry_out(account, cancel, changed)

    def _take_out(self, original: StandingOrder, quantity: int, changed: "_Changed") -> None:
        """Take ``quantity`` shares out of a working order; what is left goes on waiting."""
        self._floor.leave(original, quantity)
        original.canceled_quantity += quantity
        changed.orders[original.order_id] = original

    def _kill(
        self,
        account: TradingAccount,
        order: StandingOrder,
        changed: "_Changed",
    ) -> None:
        quantity = order.open_quantity
        self._take_out(order, quantity, changed)
        changed.events.append(Notified(NoticeKind.KILLED, account, order, quantity, order.limit))

    def _refuse(
        self,
        account: TradingAccount,
        order: StandingOrder,
        reason: str,
        changed: "_Changed",
    ) -> None:
        quantity = order.open_quantity
        if order.kind is not OrderKind.CANCEL:
            self._floor.leave(order, quantity)
        order.rejected_quantity += quantity
        order.reason = reason
        changed.orders[order.order_id] = order
        changed.events.append(Notified(NoticeKind.REFUSED, account, order, quantity, order.limit))

    def _new_order(
        self,
        account: TradingAccount,
        instrument: Instrument,
        side: Side,
        quantity: int,
        terms: Terms,
        kind: OrderKind,
        *,
        order_type: OrderType,
        stop: int,
        route: Route,
        by_hand: bool,
        original: StandingOrder | None = None,
    ) -> StandingOrder:
        order = StandingOrder(
            order_id=self._next_order,
            account=account.number,
            session=self.replay.session,
            ts=self.now,
            kind=kind,
            symbol=instrument.symbol,
            exchange=instrument.exchange,
            side=side,
            quantity=quantity,
            limit=terms.limit,
            bound=terms.bound,
            ceiling=terms.ceiling,
            order_type=order_type,
            stop=stop,
            route=route,
            # Nothing that NXT traded was recorded: what goes there waits.
            is_asleep=(
                route is Route.NXT or order_type in ON_CLOSE or order_type is OrderType.STOP_LIMIT
            ),
            by_hand=by_hand,
            original_id=original.order_id if original is not None else 0,
        )
        self._next_order += 1
        account.add(order)
        trade_log.info(
            "거래소 접수",
            venue_order_id=order.number,
            kind=kind.value,
            symbol=order.symbol,
            side=side.value,
            quantity=quantity,
            limit=terms.limit,
            order_type=order_type.value,
            now=self.now.isoformat(),
        )
        return order

    def _close(self, changed: "_Changed") -> None:
        for symbol, owners in self._working().items():
            orders = [order for _, order in owners.values()]
            for execution in self._floor.close(symbol, self.last_index(symbol), orders):
                account, order = owners[execution.order_id]
                self._execute(account, order, execution, changed)

    def _expire(self, moment: datetime, changed: "_Changed") -> None:
        """End what lives no longer than ``moment``; cancels still under way come first."""
        if moment >= self.replay.close_ts:
            self._settle_cancels(None, changed)
        for account in self._accounts.values():
            for order in account.working():
                if self.windows.expiry(order.order_type, order.route) <= moment:
                    self._take_out(order, order.open_quantity, changed)

    @property
    def _opened(self) -> tuple[Windows, Floor]:
        if self._present is None:
            raise UsageError("열린 거래일이 없음: 먼저 거래일을 여십시오")
        return self._present

    @property
    def _floor(self) -> Floor:
        return self._opened[1]

    def _is_halted(self, symbol: str) -> bool:
        interruption = self.interruption(symbol)
        return interruption is not None and interruption.kind is SuspensionKind.HALT

    def _is_interrupted(self, symbol: str) -> bool:
        interruption = self.interruption(symbol)
        return interruption is not None and interruption.kind is SuspensionKind.VI

    def _terms(
        self, instrument: Instrument, order_type: OrderType, side: Side, limit: int, stop: int
    ) -> Terms:
        index = self.last_index(instrument.symbol)
        tape = self.replay.tape(instrument.symbol)
        return terms_of(
            order_type,
            side,
            limit,
            stop,
            instrument=instrument,
            replay=self.replay,
            rules=self._rules,
            last=tape.prints[index].price if index >= 0 else 0,
        )

    def _send_reserved(self, moved: Set[str], changed: "_Changed") -> None:
        """Send what was reserved for this open, in the order it was reserved.

        One for an instrument that was ``moved`` by an action since is canceled, as is one whose
        days have passed.
        """
        session = self.replay.session
        for reserved in list(self._reservations.values()):
            if reserved.request.symbol in moved:
                self._end_reservation(reserved, ReservedState.CANCELED, "권리 발생", changed)
                continue
            if reserved.last is not None and reserved.last < session:
                ended = ReservedState.SENT if reserved.order_ids else ReservedState.CANCELED
                self._end_reservation(reserved, ended, "예약 기간이 지남", changed)
                continue
            rest = reserved.request.quantity - sum(
                body["filled_quantity"]
                for number in reserved.order_ids
                if (body := self._journal.get("order", f"{number:010d}")) is not None
            )
            if rest == 0:
                self._end_reservation(reserved, ReservedState.SENT, "", changed)
                continue
            account = self._accounts[reserved.request.account]
            request = replace(reserved.request, quantity=rest)
            try:
                order = self._place(account, request, changed, is_reserved=True)
            except OrderRefused as refused:
                self._end_reservation(reserved, ReservedState.REFUSED, str(refused), changed)
                continue
            reserved.order_ids.append(order.order_id)
            if reserved.last is None or self.calendar.next(session) > reserved.last:
                self._end_reservation(reserved, ReservedState.SENT, "", changed)
            changed.reservations[reserved.number] = reserved

    def _end_reservation(
        self, reserved: Reservation, state: ReservedState, reason: str, changed: "_Changed"
    ) -> None:
        reserved.state, reserved.reason, reserved.changed = state, reason, self.now
        changed.reservations[reserved.number] = reserved
        del self._reservations[reserved.number]
        log.info("예약 주문", number=reserved.number, state=state.value, reason=reason)

    def _waiting(self, account: TradingAccount, number: int) -> Reservation:
        reserved = self._reservations.get(number)
        if reserved is None or reserved.request.account != account.number:
            raise OrderRefused(Reason.NO_RESERVATION)
        return reserved

    def _check_reservable(self, request: OrderRequest) -> None:
        self._check_reservation_hours()
        instrument = self._check_instrument(request)
        self._check_type(request)
        if request.quantity <= 0:
            raise OrderRefused(Reason.QUANTITY)
        if request.order_type.names_price and not self._rules.is_on_tick(
            instrument.exchange, request.limit, self.replay.session
        ):
            raise OrderRefused(Reason.TICK)

    def _check_reservation_hours(self) -> None:
        if self._replay is None:
            raise OrderRefused(Reason.CLOSED)
        day = values.local_date(self.now, self.market)
        if self.calendar.is_session(day):
            opened, closed = self.calendar.open_close(day)
            begins, ends = closed + _RESERVED_AFTER_CLOSE, opened - _RESERVED_BEFORE_OPEN
            if ends <= self.now < begins:
                raise OrderRefused(Reason.RESERVATION_HOURS)
        korean = values.korean_time(self.now)
        if self.market is Market.KRX and (korean >= _TURNOVER[0] or korean < _TURNOVER[1]):
            raise OrderRefused(Reason.RESERVATION_HOURS)

    def _check_session(self, *, is_reserved: bool = False) -> None:
        if self._replay is None:
            raise OrderRefused(Reason.CLOSED)
        day = values.local_date(self.now, self.market)
        if day != self._replay.session:
            known = self.calendar.is_session(day)
            raise OrderRefused(Reason.NOT_OPEN_YET if known else Reason.NOT_A_SESSION)
        early = self.phase is Phase.PRE_OPEN and not is_reserved
        if early and self.profile is Profile.PAPER and self.market is Market.US:
            raise OrderRefused(Reason.NOT_OPEN_YET)

    def _check_type(self, request: OrderRequest) -> None:
        if self.profile is Profile.PAPER:
            if request.route is not Route.KRX:
                raise OrderRefused(Reason.ROUTE)
            if request.order_type not in _ON_PAPER[self.market]:
                raise OrderRefused(Reason.ORDER_KIND, request.order_type.value)
        taken = (
            takes_domestic(request.route, request.order_type)
            if self.market is Market.KRX
            else takes_overseas(request.side, request.order_type)
        )
        if not taken:
            raise OrderRefused(Reason.ORDER_KIND, request.order_type.value)

    def _check_reference(self, original: StandingOrder, request: ChangeRequest) -> None:
        """Check that a change names its order as KIS wants it (FAULTS 16)."""
        if self.market is Market.US:
            named = (request.symbol, request.exchange)
            if named != (original.symbol, original.exchange):
                raise OrderRefused(Reason.UNKNOWN_SYMBOL)
        elif request.branch not in ("", BRANCH) or request.route is not original.route:
            raise OrderRefused(Reason.UNKNOWN_ORDER)

    def _check_instrument(self, request: OrderRequest) -> Instrument:
        instrument = self.instruments.get(request.symbol)
        if instrument is None or request.symbol not in self.replay.today:
            raise OrderRefused(Reason.UNKNOWN_SYMBOL)
        if request.exchange is not None and request.exchange is not instrument.exchange:
            raise OrderRefused(Reason.UNKNOWN_SYMBOL)
        reason = self.replay.untradable.get(request.symbol)
        if reason is not None:
            raise OrderRefused(Reason.NOT_TRADABLE, reason)
        return instrument

    def _check_cash(
        self,
        account: TradingAccount,
        instrument: Instrument,
        quantity: int,
        ceiling: int,
        *,
        freed: int = 0,
    ) -> None:
        power = account.buying_power(self._fees) + freed
        # The amount first, in exact integers: fees are compiled for amounts that money can be.
        if (
            quantity * ceiling > power
            or cost_of_buying(quantity, ceiling, self._fees[instrument.exchange]) > power
        ):
            raise OrderRefused(Reason.NO_CASH)

    def _check_quantity(self, instrument: Instrument, quantity: int, limit: int) -> None:
        if quantity <= 0:
            raise OrderRefused(Reason.QUANTITY)
        # The lot goes by the day's base price, so that an order's own limit cannot choose it.
        base = self.replay.reference(instrument.symbol) or limit
        if quantity % self._rules.lot_size(instrument.exchange, base, self.replay.session):
            raise OrderRefused(Reason.LOT)

    def _commit(self, changed: "_Changed") -> None:
        """Make durable what changed, then tell what happened."""
        day = self.replay.session.isoformat()
        self._journal.commit(
            self._state(),
            *(
                Fact("order", order.number, order.session.isoformat(), order.body())
                for order in changed.orders.values()
            ),
            *(self._account_fact(account) for account in changed.accounts.values()),
            *(
                Fact("reserved", f"{number:010d}", reserved.day.isoformat(), reserved.body())
                for number, reserved in changed.reservations.items()
            ),
            *(Fact("matcher", key, day, body) for key, body in self._floor.facts()),
        )
        self._publish(changed.events)

    def _state(self) -> Fact:
        session = self.replay.session.isoformat()
        return Fact(
            "venue",
            "state",
            session,
            {
                "session": session,
                "now": self.now.isoformat(),
                "phase": self.phase.value,
                "next_order": self._next_order,
                "next_reservation": self._next_reservation,
                "suspensions": [
                    [symbol, kind.value, since.isoformat(), until.isoformat()]
                    for symbol, kind, since, until in self.suspensions()
                ],
            },
        )

    def _account_fact(self, account: TradingAccount) -> Fact:
        return Fact("account", account.number, "", account.body())


class _Changed:
    """What one step touched, to be written in one transaction, and the events to be told then."""

    __slots__ = ("accounts", "events", "orders", "reservations")

    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.orders: dict[int, StandingOrder] = {}
        self.accounts: dict[str, TradingAccount] = {}
        self.reservations: dict[int, Reservation] = {}
