"""Recorded history as the exchange sees it: the tape of one session, and the bars before it.

How a bar becomes prints is in ``simulation.paths``; who trades against them is in ``venue``.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from math import prod
from typing import Any, NamedTuple

from trading.domain.actions import ActionKind, CorporateAction, in_effect_order
from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis
from trading.domain.rules import MarketRules
from trading.errors import UsageError
from trading.ports import BarSource
from trading.simulation.paths import (
    DayPrices,
    MinuteBar,
    Print,
    bar_seconds,
    daily_prints,
    minute_bars,
    minute_prints,
    refusal,
)

# How far back the last close of an instrument is looked for: longer halts have no base price.
LOOKBACK_DAYS = 30
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 1, 1)


class DayBar(NamedTuple):
    """One recorded day in minor units; ``value`` (traded value) is ``None`` if not recorded."""

    session: date
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int | None
    basis: str


class Tape:
    """The prints of one instrument in one session, with the running figures after each."""

    __slots__ = ("high", "high_at", "low", "low_at", "prints", "times", "value", "volume")

    def __init__(self, prints: list[Print]) -> None:
        self.prints = prints
        self.times = [trade.ts for trade in prints]
        self.volume: list[int] = []
        self.value: list[int] = []
        self.high: list[int] = []
        self.low: list[int] = []
        # The prints that made them.
        self.high_at: list[int] = []
        self.low_at: list[int] = []
        volume = value = high = high_at = low_at = 0
        low = prints[0].price if prints else 0
        for k, trade in enumerate(prints):
            volume += trade.volume
            value += trade.volume * trade.price
            if trade.price > high:
                high, high_at = trade.price, k
            if trade.price < low:
                low, low_at = trade.price, k
            self.volume.append(volume)
            self.value.append(value)
            self.high.append(high)
            self.low.append(low)
            self.high_at.append(high_at)
            self.low_at.append(low_at)

    def index_at(self, now: datetime) -> int:
        """Return the index of the last print up to ``now``, -1 before the first."""
        return bisect_right(self.times, now) - 1


class SessionReplay:
    """One session of recorded bars; tapes are made when somebody looks at an instrument."""

    def __init__(
        self,
        *,
        source: BarSource,
        rules: MarketRules,
        market: Market,
        session: date,
        open_ts: datetime,
        close_ts: datetime,
        instruments: Mapping[str, Instrument],
    ) -> None:
        self.market = market
        self.session = session
        self.open_ts = open_ts
        self.close_ts = close_ts
        self._rules = rules
        self._instruments = instruments
        first = session - timedelta(days=LOOKBACK_DAYS)
        frame = source.daily(market, None, first, session)
        self.today: dict[str, DayBar] = {}
        self.previous: dict[str, DayBar] = {}
        for symbol, bar in _day_bars(frame):
            if bar.session == session:
                self.today[symbol] = bar
            elif bar.close > 0:
                self.previous[symbol] = bar
        if not self.today:
            raise UsageError(f"{session}: 이 날의 기록된 시세가 없어 열 수 없음")
        self._base = {symbol: bar.close for symbol, bar in self.previous.items()}
        for action in sorted(source.actions(market, first, session), key=in_effect_order):
            last = self.previous.get(action.symbol)
            if last is not None and last.session < action.ex_date:
                self._base[action.symbol] = action.ex_price(self._base[action.symbol])
        intraday = source.minute(market, session, sorted(self.today))
        self._minutes = minute_bars(intraday, list(self.today))
        self._bar_seconds = bar_seconds(intraday)
        self._tapes: dict[str, Tape] = {}
        self.untradable = self._find_untradable()

    def exchange_of(self, symbol: str) -> Exchange:
        """Return the listing exchange of a known instrument."""
        return self._instruments[symbol].exchange

    def reference(self, symbol: str) -> int:
        """Return the base price: the last close restated for the actions since, else 0."""
        return self._base.get(symbol, 0)

    def limits(self, symbol: str) -> tuple[int, int]:
        """Return the lowest and highest legal price, (0, 0) where there is no limit."""
        reference = self.reference(symbol)
        if reference <= 0:
            return 0, 0
        lower, upper = self._rules.price_limits(self.exchange_of(symbol), reference, self.session)
        return lower, upper

    def tape(self, symbol: str) -> Tape:
        """Return the instrument's prints; none on a halt or where nothing was recorded."""
        tape = self._tapes.get(symbol)
        if tape is None:
            tape = self._tapes[symbol] = Tape(self._prints(symbol))
        return tape

    @property
    def has_minutes(self) -> bool:
        """Whether any instrument has recorded intraday bars in this session."""
        return bool(self._minutes)

    def untradable_counts(self) -> dict[str, int]:
        """Return how many instruments cannot be traded in this replay, by reason."""
        return dict(sorted(Counter(self.untradable.values()).items()))

    def _prints(self, symbol: str) -> list[Print]:
        bars = self._minutes.get(symbol)
        if bars is not None:
            return minute_prints(
                symbol,
                bars,
                self.open_ts,
                self.close_ts,
                bar_seconds=self._bar_seconds,
                reference=self.reference(symbol) if self.market is Market.KRX else 0,
            )
        bar = self.today.get(symbol)
        if bar is None or bar.volume <= 0:
            return []
        return daily_prints(
            symbol,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            self.open_ts,
            self.close_ts,
        )

    def _find_untradable(self) -> dict[str, str]:
        found = {}
        for symbol, bar in self.today.items():
            if symbol not in self._instruments:
                found[symbol] = "종목 정보가 없음"
                continue
            reason = self._illegality(symbol, bar)
            if reason:
                found[symbol] = reason
        return found

    def _illegality(self, symbol: str, bar: DayBar) -> str:
        minutes = self._minutes.get(symbol)
        return refusal(
            DayPrices(
                open=bar.open,
                high=bar.high,
                low=bar.low,
                close=bar.close,
                volume=bar.volume,
                is_adjusted=bar.basis == PriceBasis.ADJUSTED.value,
            ),
            minutes[-1][4] if minutes else None,
            self.exchange_of(symbol),
            self.session,
            self.limits(symbol),
            self._rules,
        )


class History:
    """Daily bars of the past, one instrument at a time, kept once read."""

    def __init__(self, source: BarSource, market: Market) -> None:
        self._source = source
        self._market = market
        self._bars: dict[str, list[DayBar]] = {}
        self._actions: dict[str, list[CorporateAction]] | None = None

    def bars(
        self, symbol: str, first: date, last: date, *, as_of: date, adjusted: bool
    ) -> list[DayBar]:
        """Return the bars from ``first`` to ``last``, oldest first.

        ``adjusted`` restates prices for the splits and rights between a bar and ``as_of``, and
        volumes for the splits, as KIS does (its adjusted price leaves cash dividends alone).
        """
        bars = self._bars.get(symbol)
        if bars is None:
            frame = self._source.daily(self._market, [symbol], FIRST_DAY, LAST_DAY)
            bars = self._bars[symbol] = [bar for _, bar in _day_bars(frame)]
        chosen = [bar for bar in bars if first <= bar.session <= last]
        if not adjusted:
            return chosen
        actions = [a for a in self._restating(symbol) if a.ex_date <= as_of]
        return [_adjusted(bar, actions) for bar in chosen]

    def minutes(self, symbol: str, session: date) -> tuple[Sequence[MinuteBar], int]:
        """Return the recorded intraday bars of a session, oldest first, and their seconds."""
        frame = self._source.minute(self._market, session, [symbol])
        return minute_bars(frame, [symbol]).get(symbol, []), bar_seconds(frame)

    def index(self, first: date, last: date) -> list[tuple[date, float]]:
        """Return the recorded closes of the market's benchmark, oldest first."""
        frame = self._source.index(self._market, first, last)
        return list(zip(frame["session"].dt.date, frame["close"].tolist(), strict=True))

    def _restating(self, symbol: str) -> list[CorporateAction]:
        if self._actions is None:
            self._actions = {}
            for action in self._source.actions(self._market, FIRST_DAY, LAST_DAY):
                if action.kind in (ActionKind.SPLIT, ActionKind.RIGHTS):
                    self._actions.setdefault(action.symbol, []).append(action)
        return self._actions.get(symbol, [])


def _adjusted(bar: DayBar, actions: Sequence[CorporateAction]) -> DayBar:
    later = [action for action in actions if bar.session < action.ex_date]
    numerator = prod(action.numerator for action in later)
    denominator = prod(action.denominator for action in later)
    if numerator == denominator:
        return bar
    splits = [action for action in later if action.kind is ActionKind.SPLIT]
    shares = prod(action.numerator for action in splits)
    old_shares = prod(action.denominator for action in splits)

    def price(value: int) -> int:
        return (value * denominator + numerator // 2) // numerator

    return bar._replace(
        open=price(bar.open),
        high=price(bar.high),
        low=price(bar.low),
        close=price(bar.close),
        volume=bar.volume * shares // old_shares,
    )


def _day_bars(frame: Any) -> list[tuple[str, DayBar]]:
    """Return the rows of a daily frame as plain values, oldest first."""
    if len(frame) == 0:
        return []
    ordered = frame.sort_values(["session", "symbol"], kind="stable")
    columns = zip(
        ordered["symbol"].tolist(),
        ordered["session"].dt.date.tolist(),
        *(ordered[c].astype("int64").tolist() for c in ("open", "high", "low", "close", "volume")),
        ordered["value"].tolist(),
        ordered["basis"].astype(str).tolist(),
        strict=True,
    )
    return [
        (symbol, DayBar(session, o, h, lo, c, v, int(value) if value == value else None, basis))
        for symbol, session, o, h, lo, c, v, value, basis in (
            # pandas' NA is neither equal nor unequal to itself: turn it into NaN first.
            (*row[:7], row[7] if isinstance(row[7], int | float) else float("nan"), row[8])
            for row in columns
        )
    ]
