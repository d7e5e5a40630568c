"""What happens in the market and on the account without the client: halts, trades by hand."""

import random
from datetime import timedelta

from trading.domain.instrument import Market
from trading.domain.order import OrderType, Side
from trading.exchange.accounts import BRANCH, StandingOrder, TradingAccount
from trading.exchange.faults import Fault, Injector, Stage
from trading.exchange.floor import SuspensionKind
from trading.exchange.refusals import OrderRefused
from trading.exchange.venue import Phase, Venue
from trading.wire.records import ChangeRequest, OrderKind
from trading.wire.values import local_date

_FULL_DAY = timedelta(hours=6, minutes=30)
_REASON = "거래소가 받지 않은 주문입니다"


class FaultyMarket:
    """Looks after each instant whether something is due."""

    def __init__(self, injector: Injector, venue: Venue) -> None:
        self._injector = injector
        self._venue = venue
        self._session = venue.session

    def live(self) -> None:
        """Let what is due at this instant happen."""
        venue = self._venue
        if venue.session != self._session:
            self._session = venue.session
            self._observe()
        if self._injector.is_idle or venue.phase is not Phase.OPEN or not venue.accounts:
            return
        account = venue.accounts[0]
        fault = self._injector.on(
            Stage.INSTANT,
            session=venue.session,
            now=venue.now,
            is_possible=lambda fault: bool(self._symbol(fault, account)),
        )
        if fault is None:
            return
        try:
            self._strike(fault, account, self._symbol(fault, account))
        except OrderRefused:
            self._injector.take_back(fault)

    def _strike(self, fault: Fault, account: TradingAccount, symbol: str) -> None:
        venue = self._venue
        match fault.kind.variant:
            case "buy" | "by_hand" as how:
                _, lot = venue.units(symbol, venue.replay.reference(symbol))
                venue.trade_by_hand(
                    account.number,
                    symbol,
                    Side.BUY,
                    -(-fault.option("quantity") // lot) * lot,
                    order_type=OrderType.LIMIT if how == "buy" else OrderType.MARKET,
                )
            case "sell":
                quantity = min(fault.option("quantity"), account.sellable(symbol))
                venue.trade_by_hand(account.number, symbol, Side.SELL, quantity)
            case "cancel" | "revise" as how:
                order = _ours(account, symbol)[0]
                request = ChangeRequest(
                    account=account.number,
                    original_order_id=order.number,
                    quantity=0,
                    limit=order.limit,
                    is_cancel=how == "cancel",
                    branch=BRANCH,
                    symbol=symbol,
                    exchange=order.exchange,
                    order_type=order.order_type,
                    stop=order.stop,
                    route=order.route,
                )
                venue.change(account, request, by_hand=True)
            case "rejected":
                order = next(o for o in _ours(account, symbol) if not o.filled_quantity)
                venue.reject(account, order.order_id, _REASON)
            case kind:
                until = venue.now + timedelta(minutes=fault.option("minutes"))
                venue.suspend(symbol, SuspensionKind(kind), until)

    def _symbol(self, fault: Fault, account: TradingAccount) -> str:
        """Return what a fault concerns, the same at the same instant; "" while there is none."""
        held = [symbol for symbol in account.book.positions if account.sellable(symbol) > 0]
        ours = _ours(account, fault.symbol)
        match fault.kind.variant:
            case "sell":
                wanted = [symbol for symbol in held if fault.symbol in ("", symbol)]
            case "cancel" | "revise":
                wanted = [order.symbol for order in ours]
            case "rejected":
                wanted = [order.symbol for order in ours if not order.filled_quantity]
            case _ if fault.symbol:
                return fault.symbol if fault.symbol in self._venue.instruments else ""
            case _:
                replay = self._venue.replay
                tradable = replay.today.keys() - replay.untradable.keys()
                wanted = [order.symbol for order in ours] or held or list(tradable)
        return random.Random(self._venue.now.isoformat()).choice(sorted(wanted) or [""])  # noqa: S311 (a choice that a replay repeats)

    def _observe(self) -> None:
        """Count what is special about a session that has begun."""
        venue, replay = self._venue, self._venue.replay
        if any(
            replay.reference(symbol) != bar.close
            for symbol, bar in replay.previous.items()
            if symbol in replay.today
        ):
            self._injector.observe("22/base_price")
        if venue.market is not Market.US:
            return
        opened, closed = replay.open_ts, replay.close_ts
        if local_date(opened, Market.KRX) != local_date(closed, Market.KRX):
            self._injector.observe("23/midnight")
        if closed - opened < _FULL_DAY:
            self._injector.observe("23/half_day")
        before = venue.calendar.open_close(venue.calendar.previous(replay.session))[0]
        if before.time() != opened.time():
            self._injector.observe("23/dst")


def _ours(account: TradingAccount, symbol: str) -> list[StandingOrder]:
    """Return the orders that wait and were not made by hand, oldest first."""
    return [
        order
        for order in account.working()
        if not order.by_hand and order.kind is not OrderKind.CANCEL and symbol in ("", order.symbol)
    ]
