"""A venue without sockets, over the embedded US history or a few published Korean bars.

Korean bars (open, high, low, close, volume), as KRX published them:
005930 삼성전자, 000660 SK하이닉스, 900260 로스웰; one-minute bars of 265740 엔에프씨 on 2025-09-01, which was
interrupted (VI) between 09:05 and 09:07: opened at 5,990, next single price 6,600.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from trading.domain.actions import CorporateAction
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.domain.order import OrderType, Route, Side
from trading.domain.rules import shipped_rules
from trading.exchange.accounts import StandingOrder, TradingAccount
from trading.exchange.journal import Journal
from trading.exchange.refusals import OrderRefused, Reason
from trading.exchange.venue import Event, NoticeKind, Notified, Venue
from trading.ports import BarSource
from trading.sessions import SessionCalendar
from trading.wire.endpoints import Profile
from trading.wire.records import ChangeRequest, OrderRequest

OWNER, NUMBER = "key", "1234567801"
SAMSUNG, HYNIX, NFC, ROSWELL = "005930", "000660", "265740", "900260"
DAILY = {
    SAMSUNG: {
        date(2020, 12, 30): (77_400, 81_300, 77_300, 81_000, 29_417_421),
        date(2021, 1, 4): (81_000, 84_400, 80_200, 83_000, 38_655_276),
        date(2021, 1, 5): (81_600, 83_900, 81_600, 83_900, 35_335_669),
        date(2021, 1, 6): (83_300, 84_500, 82_100, 82_200, 42_089_013),
    },
    HYNIX: {
        date(2025, 9, 9): (278_000, 288_500, 277_000, 288_000, 4_158_342),
        date(2025, 9, 10): (294_500, 305_000, 293_000, 304_000, 5_265_553),
        date(2025, 9, 11): (310_000, 315_000, 305_500, 307_000, 5_148_088),
    },
    ROSWELL: {
        date(2022, 1, 3): (2_255, 2_255, 2_255, 2_255, 765_393),
        date(2022, 1, 4): (2_930, 2_930, 2_930, 2_930, 5_363_327),
    },
    NFC: {
        date(2025, 8, 29): (5_390, 6_580, 5_320, 5_840, 2_230_181),
        # The day as far as its minutes below go.
        date(2025, 9, 1): (5_990, 6_990, 5_980, 6_790, 691_271),
    },
}
MINUTES = [
    (0, 5_990, 6_120, 5_980, 6_120, 39_346),
    (1, 6_120, 6_450, 6_120, 6_310, 50_248),
    (2, 6_320, 6_380, 6_250, 6_350, 59_116),
    (3, 6_350, 6_450, 6_290, 6_430, 28_844),
    (4, 6_400, 6_570, 6_400, 6_560, 71_281),
    (5, 6_570, 6_580, 6_500, 6_580, 30_040),
    (7, 6_600, 6_870, 6_600, 6_790, 170_064),
    (8, 6_780, 6_990, 6_780, 6_890, 183_405),
    (9, 6_870, 6_900, 6_725, 6_790, 58_927),
]


class PublishedBars:
    """The bars above as a source."""

    name = "published"
    basis = PriceBasis.RAW

    def __init__(self, actions: Sequence[CorporateAction] = ()) -> None:
        self._actions = actions

    def instruments(self, market: Market) -> Sequence[Instrument]:
        """Return the instruments of the bars."""
        if market is not Market.KRX:
            return []
        exchanges = {NFC: Exchange.KOSDAQ, ROSWELL: Exchange.KOSDAQ}
        return [
            Instrument(symbol=s, exchange=exchanges.get(s, Exchange.KOSPI), name=s) for s in DAILY
        ]

    def daily(self, market: Market, symbols: Sequence[str] | None, first: date, last: date) -> Any:
        """Return the daily bars of the days."""
        rows = [
            (pd.Timestamp(day), symbol, *bar, pd.NA, "raw")
            for symbol, bars in DAILY.items()
            for day, bar in bars.items()
            if first <= day <= last and (symbols is None or symbol in symbols)
        ]
        names = ("session", "symbol", "open", "high", "low", "close", "volume", "value", "basis")
        return pd.DataFrame(rows, columns=list(names))

    def sessions(self, market: Market) -> list[date]:
        """Return the days with bars."""
        return sorted({day for bars in DAILY.values() for day in bars})

    def minute(self, market: Market, session: date, symbols: Sequence[str]) -> Any:
        """Return the minute bars of 2025-09-01."""
        names = ("ts", "symbol", "open", "high", "low", "close", "volume")
        start = datetime(2025, 9, 1, tzinfo=UTC)  # 09:00 in Seoul
        rows = [
            (pd.Timestamp(start + timedelta(minutes=minute)), NFC, *bar)
            for minute, *bar in MINUTES
            if session == date(2025, 9, 1)
        ]
        return pd.DataFrame(rows, columns=list(names))

    def index(self, market: Market, first: date, last: date) -> Any:
        """Return no index."""
        return pd.DataFrame(columns=["session", "name", "close"])

    def actions(self, market: Market, first: date, last: date) -> Sequence[CorporateAction]:
        """Return the actions given."""
        return [a for a in self._actions if first <= a.ex_date <= last]


class Bench:
    """A venue, its one account, and what it told."""

    def __init__(
        self,
        directory: Path,
        source: BarSource,
        market: Market,
        *,
        profile: Profile = Profile.REAL,
        cash: int = 100_000_000,
        participation_bps: int = 1000,
    ) -> None:
        self.path = directory / "journal.db"
        self.told: list[Event] = []
        self._source = source
        self._market = market
        self._options: Any = {
            "profile": profile,
            "starting_cash": cash,
            "participation_bps": participation_bps,
        }
        self._rules = shipped_rules(market)
        self._calendar = SessionCalendar(market, self._rules)
        self.start()

    def start(self) -> None:
        """Begin a venue from what the journal holds."""
        self.journal = Journal(self.path)
        self.venue = Venue(
            source=self._source,
            rules=self._rules,
            calendar=self._calendar,
            journal=self.journal,
            market=self._market,
            publish=self.told.extend,
            **self._options,
        )

    def restart(self) -> None:
        """Forget everything in memory, as a killed process does."""
        self.journal.close()
        self.start()

    @property
    def account(self) -> TradingAccount:
        """The account, made at first use."""
        account = self.venue.account(NUMBER, OWNER)
        assert account is not None
        return account

    def order(
        self,
        side: Side,
        symbol: str,
        quantity: int,
        limit: int = 0,
        order_type: OrderType = OrderType.LIMIT,
        *,
        stop: int = 0,
        route: Route = Route.KRX,
        exchange: Exchange | None = None,
    ) -> StandingOrder:
        """Place an order."""
        request = OrderRequest(
            account=NUMBER,
            symbol=symbol,
            side=side,
            quantity=quantity,
            limit=limit,
            order_type=order_type,
            stop=stop,
            route=route,
            exchange=exchange,
        )
        return self.venue.place(self.account, request)

    def change(
        self,
        order: StandingOrder,
        quantity: int = 0,
        limit: int = 0,
        *,
        is_cancel: bool = False,
        **more: Any,
    ) -> StandingOrder:
        """Revise an order, or cancel it."""
        is_us = self._market is Market.US
        named = {"symbol": order.symbol, "exchange": order.exchange} if is_us else {}
        request = ChangeRequest(
            account=NUMBER,
            original_order_id=order.number,
            quantity=quantity,
            limit=limit,
            is_cancel=is_cancel,
            **{**named, **more},
        )
        return self.venue.change(self.account, request)

    def cancel(self, order: StandingOrder, quantity: int = 0, **more: Any) -> StandingOrder:
        """Cancel an order."""
        return self.change(order, quantity, is_cancel=True, **more)

    def at(self, hour: int, minute: int = 0, second: int = 0) -> None:
        """Live until a time of the session's day in Seoul."""
        day = self.venue.today
        self.until(
            datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
            - timedelta(hours=9)
        )

    def until(self, moment: datetime) -> None:
        """Live until an instant."""
        while self.venue.now < moment:
            self.venue.step(moment)

    def finish(self) -> None:
        """Live the session and its evening."""
        while (following := self.venue.next_instant()) is not None:
            self.venue.step(following)

    def notices(self, kind: NoticeKind) -> list[tuple[int, int, int]]:
        """Return (order, quantity, price) of the notices of a kind."""
        return [
            (event.order.order_id, event.quantity, event.price)
            for event in self.told
            if isinstance(event, Notified) and event.kind is kind
        ]


def refusal(call: Any, *arguments: Any, **named: Any) -> Reason | None:
    """Return why the venue refused, ``None`` when it did not."""
    try:
        call(*arguments, **named)
    except OrderRefused as refused:
        return refused.reason
    return None
