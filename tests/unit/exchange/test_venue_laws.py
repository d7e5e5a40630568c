"""Laws of the venue under any order of events: money, shares, cash, and what a kill leaves.

The model below knows the deposit, the orders as they are listed, and the day's corporate
actions; it shares no arithmetic with the venue.
"""

import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from venue_bench import HYNIX, NUMBER, SAMSUNG, Bench, PublishedBars

from trading.domain.actions import ActionKind
from trading.domain.instrument import Market
from trading.domain.order import OrderType, Route, Side
from trading.domain.rules import shipped_rules
from trading.exchange.accounts import reservation
from trading.exchange.floor import SuspensionKind
from trading.exchange.refusals import OrderRefused
from trading.exchange.venue import Phase
from trading.store.datasets import EmbeddedSource
from trading.wire.records import OrderKind, OrderRequest

T = OrderType
SOURCES = {Market.US: EmbeddedSource(), Market.KRX: PublishedBars()}
SIDES = st.sampled_from(Side)
QUANTITIES = st.one_of(st.integers(1, 40), st.integers(1, 3_000))
# Ticks from the base price.
AWAY = st.integers(-12, 12)


def has_orders(machine: "VenueLaws") -> bool:
    """Whether there is an order of the day to change."""
    return bool(machine.bench.account.orders)


class VenueLaws(RuleBasedStateMachine):
    """Any orders, changes, interruptions, days and kills."""

    market: Market
    days: tuple[date, ...]
    symbols: tuple[str, ...]
    types: tuple[OrderType, ...]
    cash: int

    @initialize(participation=st.sampled_from([1, 40, 1000]))
    def begin(self, participation: int) -> None:
        """Open the first day with nothing held."""
        self.folder = tempfile.TemporaryDirectory()
        self.source = SOURCES[self.market]
        self.bench = Bench(
            Path(self.folder.name),
            self.source,
            self.market,
            cash=self.cash,
            participation_bps=participation,
        )
        self.venue = self.bench.venue
        self.left = list(self.days)
        self.base_cash = self.cash
        self.base_held: dict[str, int] = {}
        self.open_next()

    def teardown(self) -> None:
        """Release the file."""
        if hasattr(self, "bench"):
            self.bench.journal.close()
            self.folder.cleanup()

    # -- what may happen -----------------------------------------------------------------

    @rule(
        side=SIDES,
        symbol=st.integers(0, 2),
        quantity=QUANTITIES,
        away=AWAY,
        kind=st.integers(0, 60),
        route=st.sampled_from([*[Route.KRX] * 6, Route.SOR, Route.NXT]),
    )
    def place(
        self, side: Side, symbol: int, quantity: int, away: int, kind: int, route: Route
    ) -> None:
        """Place any order; a refusal leaves no trace."""
        request = self.request(side, self.name(symbol), quantity, away, kind, route)
        self.refusable(lambda: self.venue.place(self.bench.account, request))

    @rule(symbol=st.integers(0, 2), quantity=QUANTITIES, away=st.integers(-3, 12))
    def buy(self, symbol: int, quantity: int, away: int) -> None:
        """Place a plain buy, so that there is something to sell."""
        self.place(Side.BUY, symbol, quantity, away, 0, Route.KRX)

    @rule(side=SIDES, symbol=st.integers(0, 2), quantity=QUANTITIES)
    def trade_by_hand(self, side: Side, symbol: int, quantity: int) -> None:
        """Trade outside of the program."""
        name = self.name(symbol)
        self.refusable(lambda: self.venue.trade_by_hand(NUMBER, name, side, quantity))

    @precondition(has_orders)
    @rule(which=st.integers(0, 50), quantity=QUANTITIES, slow=st.booleans())
    def cancel(self, which: int, quantity: int, slow: bool) -> None:
        """Cancel any order of the day, wholly, partly or by too much; at once or late."""
        order = self.any_order(which)
        self.venue.slow_cancels = int(slow)
        self.refusable(
            lambda: self.bench.cancel(order, quantity % (order.quantity + 2), route=order.route)
        )
        self.venue.slow_cancels = 0

    @precondition(has_orders)
    @rule(which=st.integers(0, 50), quantity=QUANTITIES, away=AWAY, kind=st.integers(0, 60))
    def revise(self, which: int, quantity: int, away: int, kind: int) -> None:
        """Revise any order of the day to anything."""
        order = self.any_order(which)
        wish = self.request(order.side, order.symbol, 1, away, kind, Route.KRX)
        self.refusable(
            lambda: self.bench.change(
                order,
                quantity % (order.quantity + 2),
                wish.limit,
                order_type=wish.order_type,
                stop=wish.stop,
                route=order.route,
            )
        )

    @precondition(has_orders)
    @rule(which=st.integers(0, 50))
    def reject(self, which: int) -> None:
        """Let the exchange refuse an open order."""
        order = self.any_order(which)
        if order.open_quantity > 0 and order.filled_quantity == 0:
            self.venue.reject(self.bench.account, order.order_id, "거부")

    @rule(
        symbol=st.integers(0, 2), kind=st.sampled_from(SuspensionKind), minutes=st.integers(1, 300)
    )
    def suspend(self, symbol: int, kind: SuspensionKind, minutes: int) -> None:
        """Interrupt an instrument."""
        name = self.name(symbol)
        self.venue.suspend(name, kind, self.venue.now + timedelta(minutes=minutes))

    @rule(minutes=st.integers(1, 200))
    def wait(self, minutes: int) -> None:
        """Let time pass, instant by instant."""
        self.bench.until(self.venue.now + timedelta(minutes=minutes))

    @rule()
    def step(self) -> None:
        """Live the next instant."""
        following = self.venue.next_instant()
        if following is not None:
            self.venue.step(following)

    @rule(side=SIDES, symbol=st.integers(0, 2), quantity=QUANTITIES, away=AWAY)
    def reserve(self, side: Side, symbol: int, quantity: int, away: int) -> None:
        """Leave an order for the next open, when the hour allows."""
        request = self.request(side, self.name(symbol), quantity, away, 0, Route.KRX)
        self.refusable(lambda: self.venue.reserve(self.bench.account, request))

    # A day without orders teaches nothing.
    @precondition(lambda self: self.left and len(self.bench.account.orders) > 3)
    @rule(late=st.booleans())
    def next_day(self, late: bool) -> None:
        """Live the rest of the day, and perhaps its evening; begin the next."""
        self.bench.finish()
        assert self.venue.phase is Phase.CLOSED
        if late:
            self.bench.until(self.venue.now + timedelta(hours=2))
            self.reserve(Side.BUY, 0, 1, 0)
        assert all(o.open_quantity == 0 for o in self.bench.account.orders.values())
        self.open_next()

    @rule()
    def kill(self) -> None:
        """What is in the journal is what was in memory."""
        before = self.picture()
        self.bench.restart()
        self.venue = self.bench.venue
        assert self.picture() == before

    # -- what always holds ---------------------------------------------------------------

    @invariant()
    def money_and_shares_add_up(self) -> None:
        """Deposit and dividends, less purchases, plus sales, less every fee: to the unit."""
        cash, held = self.expected()
        book = self.bench.account.book
        assert book.cash == cash
        assert {s: p.quantity for s, p in book.positions.items()} == held

    @invariant()
    def nothing_is_overdrawn(self) -> None:
        """No more is promised than there is, today and on every day of payment."""
        account = self.bench.account
        working = account.working()
        promised = sum(o.open_quantity * o.ceiling for o in working if o.side is Side.BUY)
        assert 0 <= self.venue.buying_power(account) <= account.book.cash - promised
        for symbol in self.symbols:
            held = account.book.positions.get(symbol)
            sold = sum(
                o.open_quantity for o in working if o.side is Side.SELL and o.symbol == symbol
            )
            assert account.sellable(symbol) == (held.quantity if held else 0) - sold >= 0
        for days in range(8):
            assert account.cash_on(self.venue.today + timedelta(days=days)) >= 0
        if not working:
            assert self.venue.buying_power(account) == account.book.cash
        assert all(
            reservation(order, self.venue.fees(order.exchange)) > 0
            for order in working
            if order.side is Side.BUY
        )

    @invariant()
    def orders_are_whole_and_prices_kept(self) -> None:
        """Nothing is filled, canceled or refused twice; no limit is broken."""
        for order in self.bench.account.orders.values():
            assert order.open_quantity >= 0 and order.filled_quantity >= 0
            if (
                order.filled_quantity
                and order.limit
                and order.order_type is not T.CONDITIONAL_LIMIT
            ):
                better = order.limit * order.filled_quantity - order.filled_amount
                assert better * order.side.sign >= 0
            if order.kind is OrderKind.CANCEL:
                assert order.filled_quantity == 0

    @invariant()
    def the_floor_holds_exactly_what_is_awake(self) -> None:
        """Resting in a matcher is what the books call open, share for share."""
        resting = {
            order["order_id"]: order["quantity"]
            for snapshot in self.matchers().values()
            for order in snapshot["orders"]
        }
        awake = {
            order.number: order.open_quantity
            for order in self.bench.account.working()
            if not order.is_asleep
        }
        assert resting == awake

    # -- the model -----------------------------------------------------------------------

    def expected(self) -> tuple[int, dict[str, int]]:
        """Return cash and shares by the listed orders of the day."""
        cash, held = self.base_cash, dict(self.base_held)
        for order in self.bench.account.orders.values():
            cash -= order.side.sign * order.filled_amount + order.commission + order.tax
            shares = held.get(order.symbol, 0) + order.side.sign * order.filled_quantity
            held[order.symbol] = shares
        return cash, {symbol: shares for symbol, shares in held.items() if shares}

    def open_next(self) -> None:
        """Begin the next day; the model follows the corporate actions since the last one."""
        day = self.left.pop(0)
        since = self.venue.session + timedelta(days=1) if self.venue.session is not None else day
        cash, held = self.expected() if self.venue.is_begun else (self.base_cash, {})
        self.venue.open_session(day)
        actions = sorted(
            self.source.actions(self.market, since, day),
            key=lambda a: (a.ex_date, a.kind is ActionKind.SPLIT),
        )
        for action in actions:
            shares = held.get(action.symbol, 0)
            if action.kind is ActionKind.CASH_DIVIDEND:
                gross = shares * action.amount
                cash += gross - gross * 15 // 100
            elif action.kind is ActionKind.SPLIT and shares:
                held[action.symbol] = shares * action.numerator // action.denominator
        self.base_cash, self.base_held = cash, held

    def name(self, which: int) -> str:
        """Return one of the symbols recorded that day."""
        recorded = [s for s in self.symbols if s in self.venue.replay.today]
        return recorded[which % len(recorded)]

    def request(
        self, side: Side, name: str, quantity: int, away: int, kind: int, route: Route
    ) -> OrderRequest:
        """Return an order near the base price, on its grid."""
        exchange = self.venue.instruments[name].exchange
        base = self.venue.replay.reference(name)
        rules = shipped_rules(self.market)
        day = self.venue.replay.session
        tick = rules.tick_size(exchange, base, day)
        price = rules.round_to_tick(exchange, base, day, side) + away * tick
        order_type = self.types[kind % len(self.types)]
        return OrderRequest(
            account=NUMBER,
            symbol=name,
            side=side,
            quantity=quantity,
            limit=price if order_type.names_price else 0,
            order_type=order_type,
            stop=price if order_type is T.STOP_LIMIT else 0,
            route=route if self.market is Market.KRX else Route.KRX,
            exchange=exchange if self.market is Market.US else None,
        )

    def any_order(self, which: int) -> Any:
        """Return one of the day's orders."""
        orders = list(self.bench.account.orders.values())
        return orders[which % len(orders)]

    def refusable(self, act: Any) -> None:
        """Do something that may be refused; a refusal changes nothing."""
        before = self.picture()
        try:
            act()
        except OrderRefused:
            assert self.picture() == before

    def matchers(self) -> dict[str, Any]:
        """Return what every matcher holds."""
        floor = self.venue._floor
        return {key: matcher.snapshot() for key, matcher in floor._matchers.items()}

    def picture(self) -> Any:
        """Return everything that must survive a kill."""
        venue, account = self.venue, self.bench.account
        begun = {key for key, held in self.matchers().items() if held["orders"]}
        return (
            venue.now,
            venue.session,
            venue.phase,
            account.body(),
            {number: order.body() for number, order in account.orders.items()},
            {key: held for key, held in self.matchers().items() if key in begun},
            venue.suspensions(),
            venue.reserved(account, date(2000, 1, 1), date(2099, 1, 1)),
        )


class UsVenueLaws(VenueLaws):
    """AAPL's 2:1 split of 2005-02-28 and MSFT's 3.08 of 2004-11-15 lie on the way."""

    market = Market.US
    days = (
        date(2004, 11, 12),
        date(2004, 11, 15),
        date(2005, 2, 25),
        date(2005, 2, 28),
        date(2005, 3, 1),
    )
    symbols = ("AAPL", "MSFT", "IBM")
    types = (T.LIMIT, T.LIMIT, T.LIMIT, T.LIMIT_ON_OPEN, T.LIMIT_ON_CLOSE, T.MARKET_ON_CLOSE,
             T.MARKET_ON_OPEN)  # fmt: skip
    cash = 3_000_000_000


class KrxVenueLaws(VenueLaws):
    """Every Korean type, before and after the second exchange began."""

    market = Market.KRX
    days = (
        date(2021, 1, 4),
        date(2021, 1, 5),
        date(2021, 1, 6),
        date(2025, 9, 10),
        date(2025, 9, 11),
    )
    symbols = (SAMSUNG, HYNIX)
    types = (*(T.LIMIT, T.MARKET, T.LIMIT) * 8, *(k for k in OrderType if k is not T.MARKET_OPEN))
    cash = 3_000_000_000


for machine in (UsVenueLaws, KrxVenueLaws):
    machine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestUsVenue = UsVenueLaws.TestCase
TestKrxVenue = KrxVenueLaws.TestCase
