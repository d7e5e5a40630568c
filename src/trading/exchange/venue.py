"""The venue itself: its clock, its session, who may order what, and what trades.

Everything that changes is in the journal before anybody hears of it, so that a killed venue
continues where it was. HTTP, frames and keys are in ``server``; the tape is in ``replay``.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from trading.domain.arrays import IntArray
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Quote
from trading.domain.order import Side
from trading.domain.rules import MarketRules, as_array
from trading.errors import ConfigError, UsageError
from trading.exchange.accounts import StandingOrder, TradingAccount, cost_of_buying
from trading.exchange.journal import Fact, Journal
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.replay import DayBar, History, SessionReplay, Tape
from trading.log import get_logger, get_trade_log
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.simulation.matching import Execution, Matcher, WorkingOrder
from trading.wire.endpoints import Profile
from trading.wire.records import ChangeRequest, OrderKind, OrderRequest

log = get_logger(__name__)
trade_log = get_trade_log()

# Orders are taken from half an hour before the open (KRX: its opening call auction).
PRE_OPEN = timedelta(minutes=30)
# How long after the close the day is still talked about before the venue is closed.
AFTER_CLOSE = timedelta(hours=1)
# The clock of a venue that has never opened: before every recorded session.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
LIMIT, MARKET = "00", "01"


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
    """What an account is told about an order."""

    ACCEPTED = "accepted"
    FILLED = "filled"
    CANCELED = "canceled"
    REVISED = "revised"


@dataclass(frozen=True, slots=True)
class Notified:
    """Something happened to an order; ``quantity`` and ``price`` are those of the event."""

    kind: NoticeKind
    account: TradingAccount
    order: StandingOrder
    quantity: int
    price: int


Event = Traded | Notified


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
        self._accounts: dict[str, TradingAccount] = {}
        self._watched: frozenset[str] = frozenset()
        self._settles = date.max
        self._fees: dict[Exchange, IntArray] = {}
        self._replay: SessionReplay | None = None
        self._matchers: dict[str, Matcher] = {}
        self._fed: dict[str, int] = {}
        self._schedule: dict[datetime, list[tuple[str, int]]] = {}
        self._instants: list[datetime] = []
        self._scheduled: set[str] = set()
        self._recover()

    # -- time ----------------------------------------------------------------------------

    def open_session(self, session: date) -> None:
        """Begin ``session`` before its open: actions applied, base prices set.

        Opening the session that is already begun changes nothing. ``UsageError`` for a day that
        is no session, was not recorded, or comes before the present one is over.
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
        self._load(session)
        self.session = session
        self.now = max(self.now, opened - PRE_OPEN)
        self.phase = Phase.PRE_OPEN
        for account in self._accounts.values():
            account.begin_session(session)
            self._apply_actions(account)
        self._journal.commit(
            self._state(),
            *(self._account_fact(account) for account in self._accounts.values()),
        )
        replay = self.replay
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
        events: list[Event] = []
        changed = _Changed()
        if self.phase is Phase.OPEN:
            working = self._working()
            for symbol, index in self._schedule.get(target, ()):
                self._print(symbol, index, working.get(symbol, {}), events, changed)
            if target >= replay.close_ts:
                self.phase = Phase.AFTER_CLOSE
                self._expire(changed)
        if self.phase is Phase.AFTER_CLOSE and target >= replay.close_ts + AFTER_CLOSE:
            self.phase = Phase.CLOSED
        self._commit(changed)
        self._publish(events)
        return True

    @property
    def today(self) -> date:
        """The present session, or the day before all of them."""
        return self.session or BEGINNING.date()

    def next_session(self) -> date | None:
        """Return the first session after the present one, ``None`` at the end of the calendar."""
        try:
            return self.calendar.next(self.today)
        except ConfigError:
            return None

    def next_instant(self) -> datetime | None:
        """Return when something next happens; ``None`` once the day is over."""
        replay = self.replay
        boundaries = (replay.open_ts, replay.close_ts, replay.close_ts + AFTER_CLOSE)
        boundary = next((moment for moment in boundaries if moment > self.now), None)
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

    def place(self, account: TradingAccount, request: OrderRequest) -> StandingOrder:
        """Take an order, match it at once against what is left of the last print.

        Raises ``OrderRefused`` when the venue will not have it; nothing has then changed.
        """
        symbol, limit = request.symbol, request.limit
        self._check_hours()
        instrument = self._check_instrument(request)
        if request.order_kind == MARKET and self.market is Market.KRX:
            # Cash is reserved, and the order priced, at the limit of the day (PROTOCOL 9.1).
            lower, upper = self.replay.limits(symbol)
            limit = upper if request.side is Side.BUY else lower
        elif request.order_kind != LIMIT:
            raise OrderRefused(Reason.ORDER_KIND, request.order_kind)
        self._check_price(instrument, limit)
        self._check_quantity(instrument, request.quantity, limit)
        if request.side is Side.BUY:
            cost = cost_of_buying(request.quantity, limit, self._fees[instrument.exchange])
            if cost > account.buying_power(self._fees):
                raise OrderRefused(Reason.NO_CASH)
        elif request.quantity > account.sellable(symbol):
            raise OrderRefused(Reason.NO_SHARES)
        return self._accept(
            account, instrument, request.side, request.quantity, limit, NoticeKind.ACCEPTED
        )

    def change(self, account: TradingAccount, request: ChangeRequest) -> StandingOrder:
        """Cancel or revise an order; either is an order of its own with a new number.

        A revision takes the quantity out of the old order and places it anew at its price.
        """
        number = int(request.original_order_id or 0)
        original = account.orders.get(number)
        if original is None or original.open_quantity == 0:
            raise OrderRefused(Reason.NOTHING_LEFT)
        self._check_hours()
        quantity = request.quantity or original.open_quantity
        if quantity > original.open_quantity:
            raise OrderRefused(Reason.NOTHING_LEFT)
        if request.is_cancel:
            return self._cancel(account, original, quantity)
        instrument = self.instruments[original.symbol]
        self._check_price(instrument, request.limit)
        if original.side is Side.BUY:
            fees = self._fees[instrument.exchange]
            more = cost_of_buying(quantity, request.limit, fees) - cost_of_buying(
                quantity, original.limit, fees
            )
            if more > account.buying_power(self._fees):
                raise OrderRefused(Reason.NO_CASH)
        return self._accept(
            account,
            instrument,
            original.side,
            quantity,
            request.limit,
            NoticeKind.REVISED,
            original=original,
        )

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
            halted=bar is None or bar.volume == 0,
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

    # -- internals -----------------------------------------------------------------------

    def _recover(self) -> None:
        state = self._journal.get("venue", "state")
        for fact in self._journal.read("account"):
            self._accounts[fact.key] = TradingAccount.from_body(fact.key, self.market, fact.body)
        if state is None:
            return
        self._next_order = state["next_order"]
        self.now = datetime.fromisoformat(state["now"])
        session = date.fromisoformat(state["session"])
        self._load(session)
        self.session = session
        self.phase = Phase(state["phase"])
        day = session.isoformat()
        for fact in self._journal.read("order", first=day, last=day):
            order = StandingOrder.from_body(fact.key, fact.body)
            self._accounts[order.account].orders[order.order_id] = order
        for fact in self._journal.read("matcher", first=day, last=day):
            self._matcher(fact.key).restore(fact.body["matcher"])
            self._fed[fact.key] = fact.body["fed"]
        log.info(
            "거래소 상태 복구",
            session=day,
            now=self.now.isoformat(),
            phase=self.phase.value,
            accounts=len(self._accounts),
        )

    def _load(self, session: date) -> None:
        opened, closed = self.calendar.open_close(session)
        replay = SessionReplay(
            source=self._source,
            rules=self._rules,
            market=self.market,
            session=session,
            open_ts=opened,
            close_ts=closed,
            instruments=self.instruments,
        )
        settles = self._rules.settlement_date(session, self.calendar)
        self._fees = {
            exchange: as_array(self._rules.fees(exchange, session, settles))
            for exchange in Exchange
            if exchange.market is self.market
        }
        self._settles = settles
        self._replay = replay
        self._matchers.clear()
        self._fed.clear()
        self._schedule.clear()
        self._instants.clear()
        self._scheduled.clear()

    def _apply_actions(self, account: TradingAccount) -> None:
        replay = self.replay
        for action in replay.actions:
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
        events: list[Event],
        changed: "_Changed",
    ) -> None:
        tape = self.replay.tape(symbol)
        if owners:
            executions = self._matcher(symbol).on_print(tape.prints[index])
            self._fed[symbol] = index
            changed.matchers.add(symbol)
            for execution in executions:
                account, order = owners[execution.order_id]
                events.append(self._execute(account, order, execution, changed))
        # After the notices: who hears of a print knows already what it filled, as in a backtest.
        if symbol in self._watched:
            events.append(Traded(symbol, tape, index))

    def _execute(
        self,
        account: TradingAccount,
        order: StandingOrder,
        execution: Execution,
        changed: "_Changed",
    ) -> Notified:
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
        return Notified(NoticeKind.FILLED, account, order, execution.quantity, execution.price)

    def _accept(
        self,
        account: TradingAccount,
        instrument: Instrument,
        side: Side,
        quantity: int,
        limit: int,
        kind: NoticeKind,
        original: StandingOrder | None = None,
    ) -> StandingOrder:
        changed = _Changed()
        symbol = instrument.symbol
        matcher = self._matcher(symbol)
        if original is not None:
            self._take_out(original, quantity, changed)
        order = self._new_order(
            account,
            instrument,
            side,
            quantity,
            limit,
            OrderKind.NEW if original is None else OrderKind.REVISE,
            original,
        )
        events: list[Event] = [Notified(kind, account, order, quantity, limit)]
        index = self.last_index(symbol)
        if index >= 0 and self._fed.get(symbol) != index:
            matcher.on_print(self.replay.tape(symbol).prints[index])
            self._fed[symbol] = index
        executions = matcher.submit(
            WorkingOrder(
                order_id=order.number, symbol=symbol, side=side, quantity=quantity, limit=limit
            )
        )
        changed.orders[order.order_id] = order
        changed.matchers.add(symbol)
        events += [self._execute(account, order, e, changed) for e in executions]
        self._commit(changed)
        self._publish(events)
        return order

    def _cancel(
        self, account: TradingAccount, original: StandingOrder, quantity: int
    ) -> StandingOrder:
        changed = _Changed()
        self._take_out(original, quantity, changed)
        order = self._new_order(
            account,
            self.instruments[original.symbol],
            original.side,
            quantity,
            original.limit,
            OrderKind.CANCEL,
            original,
        )
        # A cancel is done when it is accepted: nothing of it waits.
        order.canceled_quantity = quantity
        changed.orders[order.order_id] = order
        self._commit(changed)
        self._publish([Notified(NoticeKind.CANCELED, account, order, quantity, original.limit)])
        return order

    def _take_out(self, original: StandingOrder, quantity: int, changed: "_Changed") -> None:
        """Take ``quantity`` shares out of a working order; what is left goes on waiting."""
        matcher = self._matcher(original.symbol)
        rest = original.open_quantity - quantity
        matcher.cancel(original.number)
        original.canceled_quantity += quantity
        if rest:
            # It met the last print already: handing it back cannot trade.
            matcher.submit(
                WorkingOrder(
                    order_id=original.number,
                    symbol=original.symbol,
                    side=original.side,
                    quantity=rest,
                    limit=original.limit,
                )
            )
        changed.orders[original.order_id] = original
        changed.matchers.add(original.symbol)

    def _new_order(
        self,
        account: TradingAccount,
        instrument: Instrument,
        side: Side,
        quantity: int,
        limit: int,
        kind: OrderKind,
        original: StandingOrder | None,
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
            limit=limit,
            original_id=original.order_id if original is not None else 0,
        )
        self._next_order += 1
        account.orders[order.order_id] = order
        trade_log.info(
            "거래소 접수",
            venue_order_id=order.number,
            kind=kind.value,
            symbol=order.symbol,
            side=side.value,
            quantity=quantity,
            limit=limit,
            now=self.now.isoformat(),
        )
        return order

    def _expire(self, changed: "_Changed") -> None:
        for account in self._accounts.values():
            for order in list(account.working()):
                self._matcher(order.symbol).cancel(order.number)
                order.canceled_quantity += order.open_quantity
                changed.orders[order.order_id] = order
                changed.matchers.add(order.symbol)

    def _matcher(self, symbol: str) -> Matcher:
        matcher = self._matchers.get(symbol)
        if matcher is None:
            # One matcher an instrument: what is written after an order stays small.
            matcher = self._matchers[symbol] = Matcher(self._participation_bps)
            matcher.open_session({symbol: self.replay.limits(symbol)})
        return matcher

    def _check_hours(self) -> None:
        if self._replay is None or self.phase in (Phase.CLOSED, Phase.AFTER_CLOSE):
            raise OrderRefused(Reason.CLOSED)
        early = self.phase is Phase.PRE_OPEN
        if early and self.profile is Profile.PAPER and self.market is Market.US:
            raise OrderRefused(Reason.NOT_OPEN_YET)

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

    def _check_price(self, instrument: Instrument, limit: int) -> None:
        day = self.replay.session
        if limit <= 0 or not self._rules.is_on_tick(instrument.exchange, limit, day):
            raise OrderRefused(Reason.TICK)
        lower, upper = self.replay.limits(instrument.symbol)
        if upper and not lower <= limit <= upper:
            raise OrderRefused(Reason.PRICE_LIMIT)

    def _check_quantity(self, instrument: Instrument, quantity: int, limit: int) -> None:
        if quantity <= 0:
            raise OrderRefused(Reason.QUANTITY)
        # The lot goes by the day's base price, so that an order's own limit cannot choose it.
        base = self.replay.reference(instrument.symbol) or limit
        if quantity % self._rules.lot_size(instrument.exchange, base, self.replay.session):
            raise OrderRefused(Reason.LOT)

    def _commit(self, changed: "_Changed") -> None:
        day = self.replay.session.isoformat()
        self._journal.commit(
            self._state(),
            *(
                Fact("order", order.number, order.session.isoformat(), order.body())
                for order in changed.orders.values()
            ),
            *(self._account_fact(account) for account in changed.accounts.values()),
            *(
                Fact(
                    "matcher",
                    symbol,
                    day,
                    {
                        "matcher": self._matchers[symbol].snapshot(),
                        "fed": self._fed.get(symbol, -1),
                    },
                )
                for symbol in sorted(changed.matchers)
            ),
        )

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
            },
        )

    def _account_fact(self, account: TradingAccount) -> Fact:
        return Fact("account", account.number, "", account.body())


class _Changed:
    """What one step touched, to be written in one transaction."""

    __slots__ = ("accounts", "matchers", "orders")

    def __init__(self) -> None:
        self.orders: dict[int, StandingOrder] = {}
        self.accounts: dict[str, TradingAccount] = {}
        self.matchers: set[str] = set()
