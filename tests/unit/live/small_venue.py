"""A venue in memory behind the doors of a live session: it books, loses answers, and forgets to tell."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from trading.backtest.runner import fees_of
from trading.clock import ManualClock
from trading.domain.account import VenueAccount
from trading.domain.market import Quote, Tick
from trading.domain.order import Fill, OrderAck, OrderStatus, OrderUpdate, Side, VenueOrder
from trading.errors import (
    OrderNotSentError,
    OrderRejectedError,
    OrderUnknownError,
    TransientBrokerError,
)
from trading.execution.engine import TradingEngine
from trading.live.books import Supervision
from trading.live.journal import Evidence, Journal, adjustments, read_session
from trading.live.session import LiveSession
from trading.simulation.account import Account

QUICK = Supervision(
    check_interval=timedelta(minutes=30), absence_listings=2, absence_wait_seconds=0.0,
    balance_reads=2,
)  # fmt: skip


class SmallVenue:
    """Orders, fills and money of one account; ``fate`` says what becomes of each submission.

    ``ok``; ``lost``: booked, the answer lost; ``gone``: never arrived; ``refused``. ``plan`` maps
    an instant to what happens then.
    """

    approval_key = "key"
    frames_handled = 0
    polls_prices = False
    takes_orders_early = True

    def __init__(self, start, exchanges, fees, cash):
        self.start, self.exchanges, self.fees = start, exchanges, fees
        self.clock = ManualClock(start.open_ts - timedelta(minutes=30))
        self.book = Account("us", cash)
        self.rows, self.days = {}, {}
        self.sent, self.canceled, self.fate, self.cancel_fate = [], [], [], []
        self.notices, self.plan = [], {}
        self.listings = self.failing = self.balances = self.bare = 0
        self.polled = []

    # --- what tests do ---

    def place(self, symbol, side, quantity, limit):
        """Book an order, as by hand; return its number."""
        number = f"{len(self.rows) + 1:010d}"
        self.rows[number] = VenueOrder(
            venue_order_id=number, branch="", symbol=symbol, side=side, quantity=quantity,
            limit=limit, filled_quantity=0, filled_amount=0, canceled_quantity=0,
            rejected_quantity=0, ts_event=self.clock.now(),
        )  # fmt: skip
        return number

    def fill(self, number, quantity, price, *, told=True, again=0):
        """Fill an order; ``told`` by a notice, and ``again`` that many times more."""
        row = self.rows[number]
        self.rows[number] = replace(
            row, filled_quantity=row.filled_quantity + quantity,
            filled_amount=row.filled_amount + quantity * price,
        )  # fmt: skip
        self.book.apply_fill(
            number, row.symbol, row.side, quantity, quantity * price,
            self.fees(self.exchanges[row.symbol], self.start.session),
        )  # fmt: skip
        now = self.clock.now()
        notice = Fill(
            symbol=row.symbol, side=row.side, quantity=quantity, amount=quantity * price,
            venue_order_id=number, ts_event=now, ts_recv=now,
        )  # fmt: skip
        self.notices += [notice] * ((1 if told else 0) + again)

    def fill_all(self, number, *, told=True):
        """Fill what is open at the limit."""
        row = self.rows[number]
        if row.open_quantity:
            self.fill(number, row.open_quantity, row.limit, told=told)

    def number_of(self, symbol, side=Side.BUY):
        """Return the number of the newest order of a symbol."""
        return max(n for n, r in self.rows.items() if (r.symbol, r.side) == (symbol, side))

    def tick(self, symbol, price):
        """Print."""
        now = self.clock.now()
        self.notices.append(
            Tick(
                symbol=symbol, price=price, volume=1, cumulative_volume=1, ts_event=now, ts_recv=now
            )
        )

    # --- the doors ---

    async def submit(self, intent):
        self.sent.append(intent.intent_id)
        fate = self.fate.pop(0) if self.fate else "ok"
        if fate == "refused":
            raise OrderRejectedError("거부", code="APBK0919")
        if fate == "unsent":
            raise OrderNotSentError("연결하지 못함")
        if fate == "gone":
            raise OrderUnknownError("시간 초과")
        if fate == "broken":
            raise ZeroDivisionError("뜻밖")
        number = self.place(intent.symbol, intent.side, intent.quantity, intent.limit)
        if fate == "lost":
            raise OrderUnknownError("응답 없음")
        return OrderAck(venue_order_id=number, branch="", ts_event=self.clock.now())

    async def cancel(self, order):
        self.canceled.append(order.venue_order_id)
        fate = self.cancel_fate.pop(0) if self.cancel_fate else "ok"
        if fate == "refused":
            raise OrderRejectedError("취소 거부", code="APBK0344")
        if fate != "gone":
            row = self.rows[order.venue_order_id]
            self.rows[order.venue_order_id] = replace(
                row, canceled_quantity=row.canceled_quantity + row.open_quantity
            )
        if fate in ("gone", "lost"):
            raise OrderUnknownError("응답 없음")
        now = self.clock.now()
        self.notices.append(
            OrderUpdate(
                venue_order_id=order.venue_order_id, symbol=order.intent.symbol,
                status=OrderStatus.CANCELED, ts_event=now, ts_recv=now,
            )
        )  # fmt: skip
        return OrderAck(venue_order_id="", branch="", ts_event=now)

    async def orders(self, session):
        self.listings += 1
        if self.failing:
            self.failing -= 1
            raise TransientBrokerError("연속 조회가 끊김")
        if session != self.start.session:
            return list(self.days.get(session, []))
        return [self.rows[number] for number in sorted(self.rows)]

    async def account(self):
        self.balances += 1
        held = dict(self.book.positions)
        if self.bare:
            self.bare -= 1
            held = {}
        return VenueAccount(cash=self.book.cash, buying_power=self.book.cash, positions=held)

    async def quote(self, symbol):
        return Quote(
            symbol=symbol, price=0, previous_close=0, open=0, high=0, low=0, volume=0,
            upper_limit=0, lower_limit=0, ts_event=self.clock.now(),
        )  # fmt: skip

    async def subscribe(self, symbols):
        """Nothing else is streamed."""

    async def poll(self, symbols):
        self.polled.append((self.clock.now(), tuple(symbols)))
        return 0

    async def wait_handled(self, count, *, timeout_seconds=30.0):
        """Everything is handled."""

    async def arrived(self, timeout_seconds):
        return bool(self.notices)

    async def heal(self):
        """No print is ever lost here."""

    def drain(self):
        events, self.notices = self.notices, []
        return events


class Steps:
    """Lets the day pass from plan to plan; at the close the venue ends what is open."""

    def __init__(self, venue, waits):
        self.venue, self.clock, self.waits = venue, venue.clock, waits

    async def open_session(self, session):
        """It is open."""

    async def settle(self, feed, pump):
        await pump()

    async def advance(self, until, feed, pump):
        venue = self.venue
        planned = [at for at in venue.plan if at > self.clock.now()]
        now = min([until, *planned])
        self.clock.set(max(now, self.clock.now()))
        happens = venue.plan.pop(now, None)
        if happens is not None:
            happens()
        if now >= venue.start.close_ts:
            for number, row in venue.rows.items():
                venue.rows[number] = replace(
                    row, canceled_quantity=row.canceled_quantity + row.open_quantity
                )
        await asyncio.sleep(0)
        await pump()


class Told:
    """Keeps what the operator is told."""

    def __init__(self):
        self.messages = []

    def send(self, event, fields):
        if event == "error":
            self.messages.append(fields["message"])


class Day:
    """One session of the recorded day, at a small venue, as often as it is begun."""

    def __init__(self, traded, market, ledger, *, cash=1_000_000_000, supervision=QUICK):
        self.market = market
        self.traded, self.ledger, self.supervision = traded, ledger, supervision
        self.start, self.view = traded.start, traded.view
        self.fees = fees_of(market.rules, market.calendar)
        self.exchanges = dict(zip(self.view.symbols, self.view.exchanges, strict=True))
        self.venue = SmallVenue(self.start, self.exchanges, self.fees, cash)
        self.cash = cash
        self.told = Told()
        self.waits = True
        self.engine = None
        self.decision = traded.result.decision
        self.count = len(self.decision.intents)
        self.intents = {i.symbol: i for i in self.decision.intents}

    def at(self, minutes):
        """Return the instant so many minutes after the open."""
        return self.start.open_ts + timedelta(minutes=minutes)

    def plan(self, minutes, happens):
        """Let something happen then."""
        self.venue.plan[self.at(minutes)] = happens

    def new_engine(self):
        """Return an engine that knows nothing yet."""
        policy = self.traded.engine.policy
        return TradingEngine(
            policy, Account(policy.market, self.cash), self.traded.engine.risk, self.fees
        )

    async def run(self):
        """Run the session to its end, from what the ledger holds."""
        recorded = read_session(self.ledger, self.start.session)
        self.engine = self.new_engine()
        session = LiveSession(
            self.engine, self.venue, self.venue,
            Journal(self.ledger, self.start.session, self.venue.clock),
            Steps(self.venue, self.waits), self.told, self.supervision, exchanges=self.exchanges,
        )  # fmt: skip
        accepted = adjustments(self.ledger, self.start.session, self.start.session)
        start = replace(self.start, adjustments=accepted)
        return await session.run(start, self.view, recorded, evidence=Evidence())

    @property
    def recorded(self):
        """Return what the ledger says."""
        return read_session(self.ledger, self.start.session)

    def statuses(self):
        """Return the ledger's status of each intent, by symbol."""
        return {o.intent.symbol: str(o.status) for o in self.recorded.orders.values()}

    def agrees(self):
        """Whether books and venue hold the same money and shares."""
        ours = {s: p.quantity for s, p in self.engine.account.positions.items()}
        theirs = {s: p.quantity for s, p in self.venue.book.positions.items()}
        return (self.engine.account.cash, ours) == (self.venue.book.cash, theirs)
