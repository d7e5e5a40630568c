"""What both markets' REST services share: answers, paging, and the figures behind them.

The calls themselves are in ``domestic`` and ``overseas``, their texts in ``trading.wire``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from trading.domain.order import OrderAck, Side
from trading.exchange.accounts import BRANCH, StandingOrder, TradingAccount, affordable
from trading.exchange.gate import Denied
from trading.exchange.replay import DayBar
from trading.exchange.venue import Phase, Venue
from trading.wire import codes
from trading.wire.endpoints import Endpoint, Profile
from trading.wire.records import (
    Balance,
    BuyingPower,
    DailyRow,
    Holding,
    MinuteRow,
    Page,
    RankRow,
    YearRange,
)

RANK_ROWS = 30
_YEAR = timedelta(weeks=52)
T = TypeVar("T")
_CODES = {
    # (real, paper) of PROTOCOL 3.2 and 3.3
    "found": ("KIOK0510", "20310000"),
    "more": ("KIOK0500", "20310000"),
    "empty": ("KIOK0560", "70070000"),
    "quote": ("MCA00000", "MCA00000"),
    "buy": ("APBK0013", "40600000"),
    "sell": ("APBK0013", "40590000"),
    "revise": ("APBK0013", "40620000"),
    "cancel": ("APBK0013", "40630000"),
    # Paper accounts have no reserved Korean orders.
    "reserve": ("APBK2938", "APBK2938"),
    "changed": ("KIOK0430", "KIOK0430"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated REST call."""

    endpoint: Endpoint
    variant: str
    params: Mapping[str, Any]
    owner: str
    is_next_page: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer; ``has_next`` is ``None`` for a call without paging."""

    body: Mapping[str, Any]
    has_next: bool | None = None


class Desk:
    """The services of one market over a venue."""

    def __init__(self, venue: Venue, profile: Profile) -> None:
        self.venue = venue
        self.profile = profile

    def answer(self, outcome: str, body: Mapping[str, Any]) -> Answer:
        """Return ``body`` as a success without paging."""
        return Answer(body=codes.success(body, self._code(outcome)))

    def paged(self, body: Mapping[str, Any], *, has_next: bool, is_empty: bool) -> Answer:
        """Return one page as a success; KIS says by code whether more follows."""
        outcome = "more" if has_next else "empty" if is_empty else "found"
        return Answer(body=codes.success(body, self._code(outcome)), has_next=has_next)

    def page(self, call: Call, rows: Sequence[T], asked: Page) -> tuple[Sequence[T], Page]:
        """Return the rows of the page asked for, and the keys of the next (blank at the end).

        The keys alone say which page: some clients leave out the header that goes with them.
        """
        size = call.endpoint.page_size(self.profile)
        start = int(asked.nk) if asked.nk.isdecimal() else 0
        end = start + size
        more = end < len(rows)
        return rows[start:end], Page(fk=asked.fk or str(len(rows)), nk=str(end) if more else "")

    def account(self, call: Call, number: str) -> TradingAccount:
        """Return the account of the call; another key's is refused as KIS does."""
        if len(number) != 10 or not number.isdigit():
            raise Denied(200, codes.refusal("OPSQ2000"))
        account = self.venue.account(number, call.owner)
        if account is None:
            raise Denied(200, codes.refusal("OPSQ2000"))
        return account

    def acknowledge(self, order: StandingOrder) -> OrderAck:
        """Return the acceptance of an order."""
        return OrderAck(venue_order_id=order.number, branch=BRANCH, ts_event=order.ts)

    def placed(self, side: Side) -> str:
        """Return the kind of success of a new order."""
        return "buy" if side is Side.BUY else "sell"

    def balance(self, account: TradingAccount) -> Balance:
        """Return holdings in order of symbol, cash by settlement, and today's trades."""
        venue = self.venue
        today = list(account.orders.values())
        holdings = []
        for symbol, position in sorted(account.book.positions.items()):
            quote = venue.quote(symbol)
            instrument = venue.instruments[symbol]
            holdings.append(
                Holding(
                    symbol=symbol,
                    quantity=position.quantity,
                    sellable=account.sellable(symbol),
                    cost=position.cost,
                    price=quote.price if quote is not None else 0,
                    name=instrument.name,
                    exchange=instrument.exchange,
                    bought_today=_traded(today, symbol, Side.BUY),
                    sold_today=_traded(today, symbol, Side.SELL),
                )
            )
        following = venue.next_session()
        cash = account.book.cash
        return Balance(
            holdings=tuple(holdings),
            cash=account.cash_on(venue.today),
            cash_next=account.cash_on(following) if following is not None else cash,
            cash_final=cash,
            bought_today=sum(o.filled_amount for o in today if o.side is Side.BUY),
            sold_today=sum(o.filled_amount for o in today if o.side is Side.SELL),
            costs_today=sum(o.commission + o.tax for o in today),
        )

    def buying_power(self, account: TradingAccount, symbol: str, limit: int) -> BuyingPower:
        """Return what may be spent and for how many shares at ``limit`` it is enough."""
        amount = max(0, self.venue.buying_power(account))
        instrument = self.venue.instruments.get(symbol)
        if instrument is None or not self.venue.is_begun:
            return BuyingPower(amount=amount, quantity=0, price=limit)
        price = limit
        if not price:
            quote = self.venue.quote(symbol)
            price = (quote.upper_limit or quote.price) if quote is not None else 0
        return BuyingPower(
            amount=amount,
            quantity=affordable(amount, price, self.venue.fees(instrument.exchange)),
            price=price,
        )

    def year_range(self, symbol: str) -> YearRange | None:
        """Return the range of the last 52 weeks; ``None`` where nothing is recorded."""
        venue = self.venue
        today = venue.today
        bars = venue.daily_bars(symbol, today - _YEAR, today, adjusted=True)
        traded = [bar for bar in bars if bar.volume]
        if not traded:
            return None
        high = max(traded, key=lambda bar: bar.high)
        low = min(traded, key=lambda bar: bar.low)
        return YearRange(high=high.high, high_on=high.session, low=low.low, low_on=low.session)

    def minute_rows(self, symbol: str) -> list[MinuteRow]:
        """Return today's minute bars so far, oldest first, made of the prints of the replay."""
        venue = self.venue
        if not venue.is_begun:
            return []
        tape = venue.replay.tape(symbol)
        rows: list[MinuteRow] = []
        for k in range(venue.last_index(symbol) + 1):
            trade = tape.prints[k]
            start = trade.ts.replace(second=0, microsecond=0)
            if rows and rows[-1].start == start:
                last = rows[-1]
                rows[-1] = MinuteRow(
                    start=start,
                    open=last.open,
                    high=max(last.high, trade.price),
                    low=min(last.low, trade.price),
                    close=trade.price,
                    volume=last.volume + trade.volume,
                    value=tape.value[k],
                )
            else:
                rows.append(
                    MinuteRow(
                        start=start,
                        open=trade.price,
                        high=trade.price,
                        low=trade.price,
                        close=trade.price,
                        volume=trade.volume,
                        value=tape.value[k],
                    )
                )
        return rows

    def ranking(self, symbols: Sequence[str], *, by_value: bool) -> list[RankRow]:
        """Return the leaders of the session so far; before the open, of the session before."""
        venue = self.venue
        if not venue.is_begun:
            return []
        figures = []
        for symbol in symbols:
            volume, value = self._activity(symbol)
            if volume > 0:
                figures.append((value if by_value else volume, symbol, volume, value))
        figures.sort(key=lambda row: (-row[0], row[1]))
        rows = []
        for rank, (_, symbol, volume, value) in enumerate(figures[:RANK_ROWS], start=1):
            quote = venue.quote(symbol)
            previous = venue.replay.previous.get(symbol)
            instrument = venue.instruments[symbol]
            rows.append(
                RankRow(
                    rank=rank,
                    symbol=symbol,
                    name=instrument.name,
                    price=quote.price if quote is not None else 0,
                    previous_close=quote.previous_close if quote is not None else 0,
                    volume=volume,
                    previous_volume=previous.volume if previous is not None else 0,
                    value=value,
                    exchange=instrument.exchange,
                )
            )
        return rows

    def is_business_day(self, day: date) -> bool:
        """Whether orders can be placed on ``day``."""
        return self.venue.calendar.is_session(day)

    def _activity(self, symbol: str) -> tuple[int, int]:
        venue = self.venue
        if venue.phase is Phase.PRE_OPEN:
            bar = venue.replay.previous.get(symbol)
            return (0, 0) if bar is None else (bar.volume, _value(bar))
        index = venue.last_index(symbol)
        if index < 0:
            return 0, 0
        tape = venue.replay.tape(symbol)
        return tape.volume[index], tape.value[index]

    def _code(self, outcome: str) -> str:
        real, paper = _CODES[outcome]
        return real if self.profile is Profile.REAL else paper


def daily_row(bar: DayBar) -> DailyRow:
    """Return a recorded day as a row of the wire."""
    return DailyRow(
        session=bar.session,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        value=bar.value,
    )


def days_from(first: date, count: int) -> list[date]:
    """Return ``count`` calendar days from ``first``."""
    return [first + timedelta(days=k) for k in range(count)]


def newest(rows: Sequence[MinuteRow], last: datetime, count: int) -> list[MinuteRow]:
    """Return the ``count`` newest rows that start no later than ``last``, newest first."""
    return [row for row in reversed(rows) if row.start <= last][:count]


def _traded(orders: Sequence[StandingOrder], symbol: str, side: Side) -> int:
    return sum(o.filled_quantity for o in orders if o.symbol == symbol and o.side is side)


def _value(bar: DayBar) -> int:
    return bar.value if bar.value is not None else bar.close * bar.volume
