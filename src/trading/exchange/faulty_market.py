"""What happens in the market and on the account without the client: halts, trades by hand."""

import random
from datetime import timedelta

from trading.domain.instrument import Market
from trading.domain.order import OrderType, Side
from trading.exchange.accounts import TradingAccount
from trading.exchange.faults import Fault, Injector, Stage
from trading.exchange.floor import SuspensionKind
from trading.exchange.refusals import OrderRefused
from trading.exchange.venue import Phase, Venue
from trading.wire.values import local_date

_FULL_DAY = timedelta(hours=6, minutes=30)


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
        if self._injector.is_idle or venue.phase is not Phase.OPEN:
            return
        fault = self._injector.on(Stage.INSTANT, session=venue.session, now=venue.now)
        if fault is not None and not self._happens(fault):
            self._injector.take_back(fault)

    def _observe(self) -> None:
        """Count what is special about a session that has begun."""
        venue, replay = self._venue, self._venue.replay
        if replay.actions:
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

    def _happens(self, fault: Fault) -> bool:
        account = next(iter(self._venue.accounts), None)
        if account is None:
            return False
        match fault.kind.variant:
            case "buy" | "sell" as side:
                return self._by_hand(fault, account, Side(side), OrderType.LIMIT)
            case "by_hand":
                return self._by_hand(fault, account, Side.BUY, OrderType.MARKET)
            case kind:
                symbol = fault.symbol or self._symbol(account, Side.BUY)
                until = self._venue.now + timedelta(minutes=fault.option("minutes"))
                self._venue.suspend(symbol, SuspensionKind(kind), until)
                return True

    def _by_hand(
        self, fault: Fault, account: TradingAccount, side: Side, order_type: OrderType
    ) -> bool:
        """Trade at the last price or at the market's; whether the venue took the order."""
        venue = self._venue
        symbol = fault.symbol or self._symbol(account, side)
        quantity = fault.option("quantity")
        if side is Side.SELL:
            quantity = min(quantity, account.sellable(symbol))
        try:
            venue.trade_by_hand(account.number, symbol, side, quantity, order_type=order_type)
        except OrderRefused:
            return False
        return True

    def _symbol(self, account: TradingAccount, side: Side) -> str:
        """Return what the customer may want to trade, the same at the same instant."""
        held = [symbol for symbol in account.book.positions if account.sellable(symbol) > 0]
        working = [order.symbol for order in account.working()]
        wanted = held if side is Side.SELL else working or held or self._venue.replay.today
        return random.Random(self._venue.now.isoformat()).choice(sorted(wanted) or [""])
