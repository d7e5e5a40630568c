"""The dated law of a market: ticks, price limits, lots, hours, fees, settlement, withholding.

Everything comes from ``config/markets/*.yaml`` in people's units (won, dollars, percent) and is
converted exactly to minor units here. A date without a rule is an error, never today's rule.
Which days are sessions is asked of ``trading.sessions``.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import DateArray, IntArray
from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.errors import ConfigError

FeeKind = Literal["commission", "tax"]
FeeSide = Literal["buy", "sell", "both"]
Rounding = Literal["down", "up", "half_up"]

# Codes of the columns of ``as_array``, for compiled code.
FEE_KINDS: Mapping[str, int] = {"commission": 0, "tax": 1}
FEE_SIDES: Mapping[str, int] = {"both": 0, "buy": 1, "sell": 2}
ROUNDINGS: Mapping[str, int] = {"down": 0, "up": 1, "half_up": 2}
_PAD = np.iinfo(np.int64).max

Ladder = tuple[tuple[int, int], ...]
T = TypeVar("T")
R = TypeVar("R", bound="_ExchangeRow")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRule:
    """One fee in force: what is charged on an order's cumulative amount.

    ``rate_ppb`` is in 1e-9 of the amount, ``per_share_ppm`` in 1e-6 minor units per share,
    ``unit`` the rounding unit in minor units, ``maximum`` a cap per order (0 is none).
    """

    name: str
    kind: FeeKind
    side: FeeSide
    rate_ppb: int
    per_share_ppm: int
    unit: int
    rounding: Rounding
    maximum: int


def as_array(fees: Sequence[FeeRule]) -> IntArray:
    """Return ``int64`` rows of kind, side, rate, per share, unit, rounding, maximum.

    Kind, side and rounding are the codes of ``FEE_KINDS``, ``FEE_SIDES`` and ``ROUNDINGS``.
    """
    rows = [
        (
            FEE_KINDS[fee.kind],
            FEE_SIDES[fee.side],
            fee.rate_ppb,
            fee.per_share_ppm,
            fee.unit,
            ROUNDINGS[fee.rounding],
            fee.maximum,
        )
        for fee in fees
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The regular hours of a day, local time; exam days and half days are in the calendar.

    ``opening_auction`` and ``closing_auction`` are the starts of the call periods, ``None``
    where the market gives no single one. The rest are (start, end) of trading outside of the
    regular session, whose close stays the close of the day: ``pre_hours`` at the previous close,
    ``after_hours`` at today's, ``after_hours_single`` at single prices, ``after_market``
    continuous, ``alternative`` on the second exchange from its first to its last minute.
    """

    open: time
    close: time
    opening_auction: time | None
    closing_auction: time | None
    after_market: tuple[time, time] | None = None
    pre_hours: tuple[time, time] | None = None
    after_hours: tuple[time, time] | None = None
    after_hours_single: tuple[time, time] | None = None
    alternative: tuple[time, time] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarOverride:
    """A day the calendar library has wrong: closed, or open at other local hours."""

    day: date
    closed: bool
    open: time | None
    close: time | None


class SettlementCalendar(Protocol):
    """What ``settlement_date`` asks of a session calendar."""

    def offset(self, day: date, sessions: int) -> date:
        """Return the session ``sessions`` after the session ``day``."""
        ...


class MarketRules:
    """The law of one market. Every method raises ``ConfigError`` for a date without a rule."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        law = MarketLaw.model_validate(document)
        self.market = law.market
        self.first = law.first
        self.last = law.last
        self.calendar_overrides: Mapping[date, CalendarOverride] = {
            row.date: CalendarOverride(
                day=row.date, closed=row.closed, open=row.open, close=row.close
            )
            for row in law.calendar_overrides
        }
        minor = self.market.currency.minor_per_unit
        self._ticks = self._by_exchange("호가 단위", law.tick_ladders, lambda r: r.minor(minor))
        self._limits = self._by_exchange("가격 제한폭", law.price_limits, lambda r: r.rate_ppb())
        self._lots = self._by_exchange("매매 수량 단위", law.lots, lambda r: r.minor(minor))
        self._hours = self._timeline("거래 시간", [(r.from_, r.hours()) for r in law.hours])
        self._lags = self._timeline("결제일", [(r.from_, r.lag_sessions) for r in law.settlement])
        self._withholding = self._timeline(
            "배당 원천징수", [(r.from_, _ppb(r.percent)) for r in law.dividend_withholding]
        )
        self._fees = [
            (fee.by, self._by_exchange(fee.name, fee.rows, _fee_converter(fee, minor)))
            for fee in law.fees
        ]
        self._multiple = 1.0
        self._extra_ppb = 0
        # A sweep asks for the same days once for each set of parameters.
        self._known_fees: dict[tuple[Exchange, date, date], tuple[FeeRule, ...]] = {}

    def costing(self, *, multiple: float = 1.0, extra_ppb: int = 0) -> "MarketRules":
        """Return the same law with other costs, to see what would be left of a result.

        Every fee and tax is multiplied, and every order pays ``extra_ppb`` (in 1e-9) more of its
        amount.
        """
        rules = copy(self)
        rules._multiple = multiple
        rules._extra_ppb = extra_ppb
        rules._known_fees = {}
        return rules

    def tick_ladder(self, exchange: Exchange, day: date) -> Ladder:
        """Return ``((lower bound, tick), …)`` in minor units, ascending."""
        return self._ticks[exchange].at(day)

    def tick_size(self, exchange: Exchange, price: int, day: date) -> int:
        """Return the tick in force at ``price``."""
        return _tick(self.tick_ladder(exchange, day), price)

    def is_on_tick(self, exchange: Exchange, price: int, day: date) -> bool:
        """Whether an order may carry ``price``."""
        return price > 0 and price % self.tick_size(exchange, price, day) == 0

    def round_to_tick(self, exchange: Exchange, price: int, day: date, side: Side) -> int:
        """Return the nearest legal price never worse than asked: a buy down, a sell up."""
        ladder = self.tick_ladder(exchange, day)
        return _floor(ladder, price) if side is Side.BUY else _ceil(ladder, price)

    def price_limits(self, exchange: Exchange, reference: int, day: date) -> tuple[int, int]:
        """Return the day's (lower, upper) limit; (0, 0) without limits or reference.

        The amount is the reference times the rate, rounded down to the reference's tick; the
        limits are then aligned inward to the tick valid at them (PROTOCOL 13.1).
        """
        rate = self._limits[exchange].at(day)
        ladder = self.tick_ladder(exchange, day)
        if rate == 0 or reference <= 0:
            return (0, 0)
        tick = _tick(ladder, reference)
        amount = reference * rate // 1_000_000_000 // tick * tick
        return (_ceil(ladder, reference - amount), _floor(ladder, reference + amount))

    def lot_size(self, exchange: Exchange, price: int, day: date) -> int:
        """Return the order unit in shares at ``price``."""
        lot, below = self._lots[exchange].at(day)
        return lot if below == 0 or price < below else 1

    def fees(
        self, exchange: Exchange, trade_date: date, settlement_date: date
    ) -> tuple[FeeRule, ...]:
        """Return every fee of ``exchange``; taxes and the SEC fee go by settlement date."""
        asked = (exchange, trade_date, settlement_date)
        if asked not in self._known_fees:
            self._known_fees[asked] = self._fees_of(*asked)
        return self._known_fees[asked]

    def _fees_of(
        self, exchange: Exchange, trade_date: date, settlement_date: date
    ) -> tuple[FeeRule, ...]:
        fees = tuple(
            by_exchange[exchange].at(settlement_date if by == "settlement_date" else trade_date)
            for by, by_exchange in self._fees
        )
        if self._multiple != 1.0:
            fees = tuple(_multiplied(fee, self._multiple) for fee in fees)
        return (*fees, _extra(self._extra_ppb)) if self._extra_ppb else fees

    def settlement_date(self, trade_date: date, calendar: SettlementCalendar) -> date:
        """Return the session on which a trade of ``trade_date`` settles."""
        return calendar.offset(trade_date, self._lags.at(trade_date))

    def hours(self, day: date) -> Hours:
        """Return the regular hours in force."""
        return self._hours.at(day)

    def dividend_withholding_ppb(self, day: date) -> int:
        """Return the share of a cash dividend that is withheld, in 1e-9."""
        return self._withholding.at(day)

    def ladder_arrays(
        self, exchanges: Sequence[Exchange], sessions: DateArray
    ) -> tuple[IntArray, IntArray]:
        """Return all ladders and which of them binds in each cell.

        Returns
        -------
        ladders : ndarray of shape (n_ladders, n_steps, 2)
            Lower bound and tick of each step; padding has the largest ``int64`` as its bound.
        ladder_of : ndarray of shape (n_sessions, n_instruments)
            Index into ``ladders``.
        """
        ladders: list[Ladder] = []
        which = np.empty((len(sessions), len(exchanges)), dtype=np.int64)
        for exchange, columns in _columns(exchanges):
            timeline = self._ticks[exchange]
            era = timeline.eras(sessions)
            which[:, columns] = (era + len(ladders))[:, None]
            ladders.extend(timeline.values)
        steps = max((len(ladder) for ladder in ladders), default=0)
        table = np.full((len(ladders), steps, 2), _PAD, dtype=np.int64)
        for index, ladder in enumerate(ladders):
            table[index, : len(ladder)] = ladder
            table[index, len(ladder) :, 1] = ladder[-1][1]
        return table, which

    def limit_arrays(
        self, exchanges: Sequence[Exchange], reference: IntArray, sessions: DateArray
    ) -> tuple[IntArray, IntArray]:
        """Return lower and upper limits of each cell; 0 where there is none.

        ``reference`` has shape ``(n_sessions, n_instruments)``; same rule as ``price_limits``.
        """
        lower = np.zeros_like(reference)
        upper = np.zeros_like(reference)
        for exchange, columns in _columns(exchanges):
            rates = np.array(self._limits[exchange].values, dtype=np.int64)
            rate = rates[self._limits[exchange].eras(sessions)]
            eras = self._ticks[exchange].eras(sessions)
            for era in np.unique(eras):
                rows = np.flatnonzero((eras == era) & (rate > 0))
                if not len(rows):
                    continue
                cells = np.ix_(rows, columns)
                base = reference[cells]
                ladder = np.array(self._ticks[exchange].values[era], dtype=np.int64)
                tick = _tick_array(ladder, base)
                amount = base * rate[rows][:, None] // 1_000_000_000 // tick * tick
                low, high = base - amount, base + amount
                low_tick = _tick_array(ladder, low)
                lower[cells] = np.where(base > 0, -(-low // low_tick) * low_tick, 0)
                upper[cells] = np.where(base > 0, high // _tick_array(ladder, high), 0)
                upper[cells] *= _tick_array(ladder, high)
        return lower, upper

    def lot_arrays(
        self, exchanges: Sequence[Exchange], price: IntArray, sessions: DateArray
    ) -> IntArray:
        """Return the order unit of each cell; ``price`` has shape (n_sessions, n_instruments)."""
        lots = np.ones_like(price)
        for exchange, columns in _columns(exchanges):
            table = np.array(self._lots[exchange].values, dtype=np.int64)
            rule = table[self._lots[exchange].eras(sessions)]
            lot, below = rule[:, :1], rule[:, 1:]
            small = (below == 0) | (price[:, columns] < below)
            lots[:, columns] = np.where(small, lot, 1)
        return lots

    def _by_exchange(
        self, what: str, rows: Sequence[R], convert: Callable[[R], T]
    ) -> dict[Exchange, "_Timeline[T]"]:
        return {
            exchange: self._timeline(
                f"{exchange} {what}",
                [
                    (row.from_, convert(row))
                    for row in rows
                    if row.exchanges is None or exchange in row.exchanges
                ],
            )
            for exchange in Exchange
            if exchange.market is self.market
        }

    def _timeline(self, what: str, rows: Iterable[tuple[date, T]]) -> "_Timeline[T]":
        return _Timeline(self, what, rows)


@cache
def shipped_rules(market: Market) -> MarketRules:
    """Return the law as shipped with the program: the checkout's or the wheel's ``config/``."""
    import yaml

    path = shipped_config_dir() / "markets" / f"{market}.yaml"
    return MarketRules(yaml.safe_load(path.read_text(encoding="utf-8")))


def shipped_config_dir() -> Path:
    """Return the shipped configuration: package data in a wheel, ``config/`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_config"
    return inside if inside.is_dir() else package.parents[1] / "config"


class _Timeline(Generic[T]):
    """Values that hold from a date until the next one."""

    def __init__(self, rules: MarketRules, what: str, rows: Iterable[tuple[date, T]]) -> None:
        ordered = sorted(rows, key=lambda row: row[0])
        self._rules = rules
        self._what = what
        self._starts = [start for start, _ in ordered]
        self.values = [value for _, value in ordered]
        if len(set(self._starts)) < len(self._starts):
            raise ConfigError(f"{rules.market} 시장 규칙에 같은 날짜가 두 번 있음: {what}")

    def at(self, day: date) -> T:
        """Return the value in force on ``day``."""
        index = bisect_right(self._starts, day) - 1
        if index < 0 or not self._rules.first <= day <= self._rules.last:
            self._refuse(day)
        return self.values[index]

    def eras(self, days: DateArray) -> IntArray:
        """Return for each day the index into ``values``."""
        starts = np.array(self._starts, dtype="datetime64[D]")
        index = np.searchsorted(starts, days.astype("datetime64[D]"), side="right") - 1
        if len(days):
            for day in (days.min().item(), days.max().item()):
                self.at(day)
        return index.astype(np.int64)

    def _refuse(self, day: date) -> None:
        market = self._rules.market
        raise ConfigError(
            f"{market} 시장의 {day} {self._what} 규칙이 없음: config/markets/{market}.yaml 에 "
            "그 날짜의 규칙을 적어 주세요"
        )


def _multiplied(fee: FeeRule, multiple: float) -> FeeRule:
    return replace(
        fee,
        rate_ppb=round(fee.rate_ppb * multiple),
        per_share_ppm=round(fee.per_share_ppm * multiple),
        maximum=round(fee.maximum * multiple),
    )


def _extra(rate_ppb: int) -> FeeRule:
    return FeeRule(
        name="extra",
        kind="commission",
        side="both",
        rate_ppb=rate_ppb,
        per_share_ppm=0,
        unit=1,
        rounding="half_up",
        maximum=0,
    )


def _tick(ladder: Ladder, price: int) -> int:
    tick = ladder[0][1]
    for bound, step in ladder:
        if price < bound:
            break
        tick = step
    return tick


def _floor(ladder: Ladder, price: int) -> int:
    tick = _tick(ladder, price)
    return price // tick * tick


def _ceil(ladder: Ladder, price: int) -> int:
    # Bounds are multiples of the tick below them, so rounding up never leaves the grid.
    tick = _tick(ladder, price)
    return -(-price // tick) * tick


def _tick_array(ladder: IntArray, price: IntArray) -> IntArray:
    step = np.searchsorted(ladder[:, 0], price, side="right") - 1
    ticks: IntArray = ladder[np.maximum(step, 0), 1]
    return ticks


def _columns(exchanges: Sequence[Exchange]) -> list[tuple[Exchange, IntArray]]:
    return [
        (exchange, np.array([i for i, e in enumerate(exchanges) if e is exchange], dtype=np.int64))
        for exchange in dict.fromkeys(exchanges)
    ]


def _exact(value: Decimal, scale: int) -> int:
    scaled = value * scale
    if scaled != scaled.to_integral_value():
        raise ConfigError(f"규칙의 숫자가 최소 단위로 나누어떨어지지 않음: {value}")
    return int(scaled)


def _ppb(percent: Decimal) -> int:
    return _exact(percent, 10_000_000)


def _fee_converter(fee: "_Fee", minor: int) -> Callable[["_FeeRow"], FeeRule]:
    def convert(row: _FeeRow) -> FeeRule:
        return FeeRule(
            name=fee.name,
            kind=fee.kind,
            side=fee.side,
            rate_ppb=_ppb(row.rate_percent) + _exact(row.rate_per_million, 1_000),
            per_share_ppm=_exact(row.per_share * minor, 1_000_000),
            unit=_exact(fee.unit, minor),
            rounding=fee.rounding,
            maximum=_exact(row.maximum, minor),
        )

    return convert


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Row(_Strict):
    from_: date = Field(alias="from")
    source: str


class _ExchangeRow(_Row):
    exchanges: tuple[Exchange, ...] | None = None


class _TickRow(_ExchangeRow):
    ladder: tuple[tuple[Decimal, Decimal], ...]

    def minor(self, scale: int) -> Ladder:
        """Return the ladder in minor units."""
        ladder = tuple((_exact(low, scale), _exact(tick, scale)) for low, tick in self.ladder)
        bounds = [bound for bound, _ in ladder]
        if bounds != sorted(set(bounds)) or bounds[:1] != [0]:
            raise ConfigError(f"호가 단위표는 0부터 오름차순이어야 함: {self.from_}")
        return ladder


class _LimitRow(_ExchangeRow):
    rate_percent: Decimal

    def rate_ppb(self) -> int:
        """Return the daily limit in 1e-9 of the reference price; 0 is no limit."""
        return _ppb(self.rate_percent)


class _LotRow(_ExchangeRow):
    lot: int = Field(ge=1)
    below: Decimal = Decimal(0)

    def minor(self, scale: int) -> tuple[int, int]:
        """Return (lot, price below which it binds in minor units or 0 for every price)."""
        return (self.lot, _exact(self.below, scale))


class _HoursRow(_Row):
    open: time
    close: time
    opening_auction: time | None = None
    closing_auction: time | None = None
    after_market: tuple[time, time] | None = None
    pre_hours: tuple[time, time] | None = None
    after_hours: tuple[time, time] | None = None
    after_hours_single: tuple[time, time] | None = None
    alternative: tuple[time, time] | None = None

    def hours(self) -> Hours:
        """Return the row as a domain value."""
        return Hours(
            open=self.open,
            close=self.close,
            opening_auction=self.opening_auction,
            closing_auction=self.closing_auction,
            after_market=self.after_market,
            pre_hours=self.pre_hours,
            after_hours=self.after_hours,
            after_hours_single=self.after_hours_single,
            alternative=self.alternative,
        )


class _LagRow(_Row):
    lag_sessions: int = Field(ge=0)


class _PercentRow(_Row):
    percent: Decimal


class _FeeRow(_ExchangeRow):
    rate_percent: Decimal = Decimal(0)
    rate_per_million: Decimal = Decimal(0)
    per_share: Decimal = Decimal(0)
    maximum: Decimal = Decimal(0)


class _Fee(_Strict):
    name: str
    kind: FeeKind
    side: FeeSide
    by: Literal["trade_date", "settlement_date"]
    unit: Decimal = Field(gt=0)
    rounding: Rounding
    rows: tuple[_FeeRow, ...]


class _OverrideRow(_Strict):
    date: date
    source: str
    closed: bool = False
    open: time | None = None
    close: time | None = None

    @model_validator(mode="after")
    def _closed_or_hours(self) -> Self:
        if self.closed == (self.open is not None and self.close is not None):
            raise ValueError("closed: true 또는 open과 close 가운데 하나만 적어야 함")
        return self


class MarketLaw(_Strict):
    """``config/markets/<market>.yaml``, in people's units."""

    market: Market
    first: date
    last: date
    tick_ladders: tuple[_TickRow, ...]
    price_limits: tuple[_LimitRow, ...]
    lots: tuple[_LotRow, ...]
    hours: tuple[_HoursRow, ...]
    settlement: tuple[_LagRow, ...]
    dividend_withholding: tuple[_PercentRow, ...]
    fees: tuple[_Fee, ...]
    calendar_overrides: tuple[_OverrideRow, ...] = ()
