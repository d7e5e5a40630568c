"""What an account looks like now: read beside the session that trades it, nothing is written.

Used by whoever shows it. How a finished session went is ``settlement`` and ``reporting``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from trading.bootstrap import open_ledger, rules_and_calendar
from trading.clock import WallClock
from trading.config import Home, Settings
from trading.context import Run, heartbeat_path, run_dir
from trading.domain.account import Position
from trading.domain.actions import ActionKind, in_effect_order
from trading.domain.decision import TradingState, Verdict
from trading.domain.instrument import Currency, Market
from trading.domain.order import Order, OrderStatus, Side
from trading.execution.engine import stricter
from trading.live import control
from trading.live.journal import RecordedSession, adjustments, closed_sessions, read_session
from trading.monitoring import Heartbeat, MarketNow, is_running, market_now, read_heartbeat
from trading.ports import Ledger, RecordKind
from trading.sessions import SessionCalendar
from trading.settlement import capital_before
from trading.simulation.account import book, lost_right
from trading.store.lake import Lake


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingNow:
    """One holding; money in minor units, ``last_price`` as of the last check or fill.

    ``change`` is since the close before this session, restated for the actions of its morning;
    ``None`` where that is not known.
    """

    symbol: str
    name: str
    quantity: int
    average_cost: float
    last_price: int
    change: float | None

    @property
    def value(self) -> int:
        """Market value in minor units."""
        return self.quantity * self.last_price

    @property
    def total_return(self) -> float:
        """Gain or loss against what was paid, without fees, as a fraction."""
        return self.last_price / self.average_cost - 1.0 if self.average_cost else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNow:
    """One order of the session as it stands; ``message`` is what the venue or a guard said."""

    symbol: str
    name: str
    boundary: str
    side: Side
    quantity: int
    limit: int
    status: OrderStatus
    filled_quantity: int
    filled_amount: int
    reason: str
    message: str

    @property
    def average_fill(self) -> float | None:
        """Average fill price in minor units; ``None`` when nothing was filled."""
        return self.filled_amount / self.filled_quantity if self.filled_quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalNow:
    """What the decision said of one instrument, and the order that followed, if one did."""

    symbol: str
    name: str
    votes: Mapping[str, float]
    forecast: float
    confidence: float
    weight: float
    target_quantity: int
    verdict: Verdict
    order: OrderNow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkNow:
    """The account as it was valued at one check, in venue time."""

    ts: datetime
    equity: int
    cash: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNow:
    """An account as its ledger, its heartbeat and its operator's word show it.

    ``session`` is the one that runs or ran last, ``None`` before the first. ``is_replay``: the
    session repeats a recorded day, and ``venue_now`` is that day's time. ``total_return`` counts
    from the account's first money, ``daily_return`` from the last close: what the operator brought
    or took is in ``starting_equity`` and ``previous_equity``, as it was no gain. ``hours`` are those
    of the venue's own time. ``is_closed``: the session is over and its books are final.
    """

    env: str
    market: Market
    session: date | None
    is_replay: bool
    is_running: bool
    is_closed: bool
    venue_now: datetime
    hours: MarketNow | None
    heartbeat: Heartbeat | None
    state: TradingState
    word: control.Standing
    equity: int
    cash: int
    starting_equity: int
    previous_equity: int
    holdings: tuple[HoldingNow, ...] = ()
    signals: tuple[SignalNow, ...] = ()
    orders: tuple[OrderNow, ...] = ()
    marks: tuple[MarkNow, ...] = ()
    regime: str = ""
    denied: int = 0

    @property
    def currency(self) -> Currency:
        """The currency of all money in it."""
        return self.market.currency

    @property
    def total_return(self) -> float:
        """Return since the account began, as a fraction; 0 where it began with nothing."""
        return self.equity / self.starting_equity - 1.0 if self.starting_equity else 0.0

    @property
    def daily_profit(self) -> int:
        """What was earned since the last close, in minor units."""
        return self.equity - self.previous_equity

    @property
    def daily_return(self) -> float:
        """Return since the last close, as a fraction; 0 where there was nothing."""
        return self.equity / self.previous_equity - 1.0 if self.previous_equity else 0.0

    @property
    def exposure(self) -> float:
        """Share of equity that is invested."""
        return sum(one.value for one in self.holdings) / self.equity if self.equity else 0.0

    @property
    def fills(self) -> int:
        """Orders of which something was filled."""
        return sum(one.filled_quantity > 0 for one in self.orders)

    @property
    def refused(self) -> int:
        """Orders that the venue refused."""
        return sum(one.status is OrderStatus.REJECTED for one in self.orders)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, with the figures that follow from others."""
        body = asdict(self) | {
            "currency": self.currency,
            "total_return": self.total_return,
            "daily_profit": self.daily_profit,
            "daily_return": self.daily_return,
            "exposure": self.exposure,
            "fills": self.fills,
            "refused": self.refused,
        }
        body["holdings"] = [
            asdict(one) | {"value": one.value, "total_return": one.total_return}
            for one in self.holdings
        ]
        body["signals"] = [
            asdict(one) | {"verdict": one.verdict.name, "votes": dict(one.votes)}
            for one in self.signals
        ]
        return body


def heartbeat_of(home: Home, env: str, market: Market) -> Heartbeat | None:
    """Return the last sign of life of an account's session; one that nobody can read is none."""
    try:
        return read_heartbeat(heartbeat_path(home, env, market))
    except (ValueError, KeyError, TypeError):
        # Written whole or not at all: it is of another version.
        return None


@cache
def calendar_of(config_dir: Path, market: Market) -> SessionCalendar:
    """Return the calendar of ``market`` by the law in ``config_dir``; made once a process."""
    return rules_and_calendar(Settings(config_dir), market)[1]


def account_now(home: Home, env: str, market: Market, *, now: datetime | None = None) -> AccountNow:
    """Return the account as it is at the wall's ``now``.

    Raises
    ------
    MissingDataError
        When nothing was ever traded.
    DataError
        When the ledger cannot be read.
    """
    now = now or WallClock().now()
    ledger = open_ledger(home, env, market, read_only=True)
    try:
        return _read(ledger, home, env, market, now)
    finally:
        ledger.close()


def _read(ledger: Ledger, home: Home, env: str, market: Market, now: datetime) -> AccountNow:
    calendar = calendar_of(home.config_dir, market)
    heartbeat = heartbeat_of(home, env, market)
    word = control.read(run_dir(home), env, market)
    run = Run.latest(ledger)
    begun = [r.session for r in ledger.read(RecordKind.SESSION)]
    session = max(begun, default=None)
    is_alive = heartbeat is not None and is_running(heartbeat)
    venue_now = heartbeat.venue_now(now) if heartbeat is not None and is_alive else now
    start = run.starting_cash if run is not None else 0
    common: dict[str, Any] = {
        "env": env,
        "market": market,
        "session": session,
        "is_replay": env == "demo",
        "is_running": is_alive,
        "venue_now": venue_now,
        "hours": market_now(calendar, venue_now),
        "heartbeat": heartbeat,
        "word": word,
    }
    if session is None or run is None:
        return AccountNow(
            **common, is_closed=False, state=word.state, equity=start, cash=start,
            starting_equity=start, previous_equity=start,
        )  # fmt: skip
    recorded = read_session(ledger, session)
    earlier = [s for s in closed_sessions(ledger) if s < session]
    previous, starting = capital_before(ledger, run, calendar, session)
    cash, positions = _books(ledger, recorded, earlier)
    prices = _prices(recorded)
    lake = Lake(home.data_dir / "lake")
    names = {i.symbol: i.name for i in lake.instruments(market)}
    closes = _previous_closes(lake, calendar, market, session, sorted(positions))
    holdings = tuple(
        HoldingNow(
            symbol=symbol,
            name=names.get(symbol, ""),
            quantity=held.quantity,
            average_cost=held.average_price,
            last_price=prices.get(symbol) or closes.get(symbol) or round(held.average_price),
            change=prices[symbol] / closes[symbol] - 1.0
            if symbol in prices and closes.get(symbol)
            else None,
        )
        for symbol, held in sorted(positions.items())
    )
    orders = _orders(recorded, names)
    return AccountNow(
        **common,
        is_closed=recorded.closed is not None,
        state=_state(recorded, word),
        equity=cash + sum(one.value for one in holdings),
        cash=cash,
        starting_equity=starting,
        previous_equity=previous,
        holdings=holdings,
        signals=_signals(recorded, orders, names),
        orders=orders,
        marks=tuple(
            MarkNow(ts=r.ts, equity=r.body["equity"], cash=r.body["cash"])
            for r in ledger.read(RecordKind.MARK, session=session)
        ),
        regime=recorded.decision.regime if recorded.decision is not None else "",
        denied=len(recorded.denied),
    )


def _state(recorded: RecordedSession, word: control.Standing) -> TradingState:
    """Return what the session may do: its own word, and the operator's where it is stricter."""
    if recorded.closed is not None:
        own = TradingState(recorded.closed["state"])
    elif recorded.mark is not None:
        own = TradingState(recorded.mark["state"])
    else:
        own = recorded.state or TradingState.ACTIVE
    return stricter(own, word.state)


def _books(
    ledger: Ledger, recorded: RecordedSession, earlier: Sequence[date]
) -> tuple[int, dict[str, Position]]:
    """Return cash and holdings after everything that the ledger has of the session."""
    if recorded.closed is not None:
        account = recorded.closed["engine"]["account"]
        return account["cash"], _positions(account)
    assert recorded.opened is not None
    account = recorded.opened["account"]
    cash, held = account["cash"], dict(account["positions"])
    for action in recorded.actions:
        symbol = action["symbol"]
        cash += action["cash"]
        quantity, cost = held.get(symbol, (0, 0))
        if action["kind"] == ActionKind.RIGHTS:
            cost -= lost_right(cost, action["numerator"], action["denominator"])
        held[symbol] = (action["quantity_after"], cost if action["quantity_after"] else 0)
    since = earlier[-1] + timedelta(days=1) if earlier else recorded.session
    for one in adjustments(ledger, since, recorded.session):
        if one.symbol:
            quantity, cost = held.get(one.symbol, (0, 0))
            held[one.symbol] = (quantity + one.amount, max(0, cost + one.amount * one.price))
        else:
            cash += one.amount
    for known in recorded.booked:
        fill = known.fill
        quantity, cost = held.get(fill.symbol, (0, 0))
        fee = known.commission + known.tax
        quantity, cost, cash, _ = book(
            fill.side.sign, fill.quantity, fill.amount, fee, quantity, cost, cash
        )
        held[fill.symbol] = (quantity, cost)
    return int(cash), _positions({"positions": held})


def _positions(account: Mapping[str, Any]) -> dict[str, Position]:
    return {
        symbol: Position(symbol=symbol, quantity=int(quantity), cost=int(cost))
        for symbol, (quantity, cost) in account["positions"].items()
        if quantity
    }


def _prices(recorded: RecordedSession) -> dict[str, int]:
    """Return the last price that the ledger has of each symbol that is held or was traded."""
    if recorded.closed is not None:
        return dict(recorded.closed["engine"]["last_price"])
    prices: dict[str, int] = dict((recorded.opened or {}).get("last_price", {}))
    prices |= {
        known.fill.symbol: round(known.fill.amount / known.fill.quantity)
        for known in recorded.booked
    }
    if recorded.mark is not None:
        prices |= recorded.mark["prices"]
    return prices


def _previous_closes(
    lake: Lake, calendar: SessionCalendar, market: Market, session: date, symbols: Sequence[str]
) -> dict[str, int]:
    """Return the closes before the session, as the morning's actions left them."""
    if not symbols:
        return {}
    day = calendar.previous(session)
    bars = lake.daily(market, symbols, day, day)
    closes = {str(s): int(c) for s, c in zip(bars["symbol"], bars["close"], strict=True)}
    for action in sorted(lake.actions(market, session, session), key=in_effect_order):
        if action.symbol in closes:
            closes[action.symbol] = action.ex_price(closes[action.symbol])
    return closes


def _orders(recorded: RecordedSession, names: Mapping[str, str]) -> tuple[OrderNow, ...]:
    filled: dict[str, tuple[int, int]] = {}
    for known in recorded.booked:
        quantity, amount = filled.get(known.intent_id, (0, 0))
        filled[known.intent_id] = (quantity + known.fill.quantity, amount + known.fill.amount)
    sent = [
        _order(order, names, filled.get(order.intent.intent_id, (0, 0)), order.reason)
        for order in (*recorded.orders.values(), *recorded.manual.values())
    ]
    denied = [
        _order(Order(intent=intent).moved(OrderStatus.DENIED), names, (0, 0), code)
        for intent, code in recorded.denied
    ]
    return (*sent, *denied)


def _order(
    order: Order, names: Mapping[str, str], filled: tuple[int, int], message: str
) -> OrderNow:
    intent, (quantity, amount) = order.intent, filled
    return OrderNow(
        symbol=intent.symbol,
        name=names.get(intent.symbol, ""),
        boundary=intent.boundary,
        side=intent.side,
        quantity=intent.quantity,
        limit=intent.limit,
        status=status_with_fills(order, quantity),
        filled_quantity=quantity,
        filled_amount=amount,
        reason=intent.reason,
        message=message,
    )


def status_with_fills(order: Order, filled: int) -> OrderStatus:
    """Return where an order of the ledger stands once ``filled`` shares of it are.

    The ledger keeps a fill as a fill; the order's own row may be the one of its acceptance.
    """
    if filled >= order.intent.quantity:
        return OrderStatus.FILLED
    if filled and order.status is OrderStatus.ACCEPTED:
        return OrderStatus.PARTIALLY_FILLED
    return order.status


def _signals(
    recorded: RecordedSession, orders: Sequence[OrderNow], names: Mapping[str, str]
) -> tuple[SignalNow, ...]:
    if recorded.decision is None:
        return ()
    boundary = recorded.decision.boundary
    of_decision = {one.symbol: one for one in orders if one.boundary == boundary}
    return tuple(
        SignalNow(
            symbol=choice.symbol,
            name=names.get(choice.symbol, ""),
            votes=choice.votes,
            forecast=choice.forecast,
            confidence=choice.confidence,
            weight=choice.weight,
            target_quantity=choice.target_quantity,
            verdict=choice.verdict,
            order=of_decision.get(choice.symbol),
        )
        for choice in recorded.decision.choices
    )
