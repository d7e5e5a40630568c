"""How a recorded bar becomes the prints of a replay.

A bar does not tell the order of its extremes. Accounts here are long only, so the extreme that
hurts is the low: the path is open, low, high, close, each a price that was really recorded
(docs/adr/0002). The volume of a bar is split evenly over its prints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from trading.domain.instrument import Exchange
from trading.domain.rules import MarketRules

PRINTS_PER_BAR = 4
_LOW, _HIGH = 1, 2
# A static volatility interruption begins a tenth away from the last single price.
VI_PART = 10
VI_DURATION = timedelta(minutes=2)
# A minute recording whose close is further than this from the daily close is another price.
CLOSE_TOLERANCE = 0.001
MINUTE_SECONDS = 60

# (start, open, high, low, close, volume)
MinuteBar = tuple[datetime, int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One trade of a replay: ``price`` in minor units, ``volume`` in shares, ``ts`` in UTC.

    ``other`` is the other extreme of the same bar, where it is not known which came first: the
    high beside a print at the low, the low beside one at the high, else 0.
    """

    symbol: str
    ts: datetime
    price: int
    volume: int
    auction: bool
    other: int = 0


class DayPrices(NamedTuple):
    """What a session did to one instrument, in minor units, and whether a vendor restated it."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    is_adjusted: bool


def refusal(
    day: DayPrices,
    last: int | None,
    exchange: Exchange,
    session: date,
    limits: tuple[int, int],
    rules: MarketRules,
) -> str:
    """Return why a replay takes no orders for an instrument in a session, "" when it does.

    A price that the market of that day cannot have made is no price to trade at. ``last`` is the
    last intraday price, ``None`` where only the day was recorded; ``limits`` is the lowest and
    the highest legal price, 0 where there is none.
    """
    if last is not None:
        if abs(last - day.close) > CLOSE_TOLERANCE * day.close:
            return "분봉 종가와 일봉 종가가 0.1% 넘게 다름"
    elif day.volume > 0 and day.is_adjusted:
        # Tick rules bind orders, not prints; but an adjusted price off the grid was never
        # a price of that day.
        prices = {day.open, day.high, day.low, day.close}
        if not all(rules.is_on_tick(exchange, p, session) for p in prices):
            return "수정 주가가 그날의 호가 단위와 맞지 않음"
    lower, upper = limits
    if day.volume > 0 and upper > 0 and (day.high > upper or day.low < lower):
        return "기록된 가격이 가격 제한폭을 벗어남"
    return ""


def minute_bars(frame: Any, symbols: Sequence[str]) -> dict[str, list[MinuteBar]]:
    """Return the rows of a frame of intraday bars of ``symbols`` as plain values, oldest first."""
    bars: dict[str, list[MinuteBar]] = {}
    wanted = frame.loc[frame["symbol"].isin(symbols)] if len(frame) else frame
    if len(wanted) == 0:
        return bars
    starts = [moment.to_pydatetime() for moment in wanted["ts"]]
    prices = [wanted[c].tolist() for c in ("open", "high", "low", "close", "volume")]
    for symbol, start, *row in zip(wanted["symbol"].tolist(), starts, *prices, strict=True):
        o, h, lo, c, v = row
        bars.setdefault(symbol, []).append((start, o, h, lo, c, v))
    return bars


def bar_seconds(frame: Any) -> int:
    """Return the width of recorded intraday bars: the least distance between two starts."""
    if len(frame) == 0:
        return MINUTE_SECONDS
    starts = np.unique(frame["ts"].dt.as_unit("s").astype(np.int64).to_numpy())
    return int(np.diff(starts).min()) if len(starts) > 1 else MINUTE_SECONDS


@lru_cache(maxsize=8)
def session_instants(open_ts: datetime, close_ts: datetime) -> tuple[datetime, ...]:
    """Return the four instants at which a daily bar prints: open, two between, close."""
    step = (close_ts - open_ts) / (PRINTS_PER_BAR - 1)
    # Whole seconds: the wire carries HHMMSS.
    inner = ((open_ts + step * k).replace(microsecond=0) for k in range(PRINTS_PER_BAR - 1))
    return (*inner, close_ts)


def daily_prints(
    symbol: str,
    open_: int,
    high: int,
    low: int,
    close: int,
    volume: int,
    open_ts: datetime,
    close_ts: datetime,
) -> list[Print]:
    """Return the prints of one daily bar; none on a halt (``open_`` of 0).

    The first and the last are the single prices of the auctions.
    """
    if open_ <= 0:
        return []
    return _prints(
        symbol,
        (open_, low, high, close),
        volume,
        session_instants(open_ts, close_ts),
        auctions=(True, False, False, True),
    )


def minute_prints(
    symbol: str,
    bars: Iterable[MinuteBar],
    open_ts: datetime,
    close_ts: datetime,
    *,
    bar_seconds: int = MINUTE_SECONDS,
    reference: int = 0,
) -> list[Print]:
    """Return the prints of one instrument's intraday bars.

    Parameters
    ----------
    bars : iterable of (start, open, high, low, close, volume)
        In order of time; ``start`` in UTC. The first print at the open is the opening auction.
        A bar that starts at the close is the closing auction, one print.
    reference : int
        The base price of the day where volatility interruptions are law, else 0. One is seen in
        the record as a minute without trades and then a price at least 10 % away from the last
        single price: it ends in a single price itself (PROTOCOL 13.1).
    """
    prints: list[Print] = []
    step = bar_seconds // PRINTS_PER_BAR
    # Bars wider than a minute cannot show two minutes of silence.
    single, previous = reference if bar_seconds <= MINUTE_SECONDS else 0, open_ts
    for start, open_, high, low, close, volume in bars:
        if open_ <= 0 or volume <= 0:
            continue
        if start >= close_ts:
            prints.append(
                Print(symbol=symbol, ts=close_ts, price=close, volume=volume, auction=True)
            )
            continue
        instants = tuple(start + timedelta(seconds=step * k) for k in range(PRINTS_PER_BAR))
        first_is_auction = (not prints and start == open_ts) or (
            abs(open_ - single) * VI_PART >= single > 0 and start - previous >= VI_DURATION
        )
        if first_is_auction and single:
            single = open_
        previous = start
        prints += _prints(
            symbol,
            (open_, low, high, close),
            volume,
            instants,
            auctions=(first_is_auction, False, False, False),
        )
    return prints


def _prints(
    symbol: str,
    prices: tuple[int, int, int, int],
    volume: int,
    instants: tuple[datetime, ...],
    *,
    auctions: tuple[bool, bool, bool, bool],
) -> list[Print]:
    return [
        Print(
            symbol=symbol,
            ts=instants[k],
            price=prices[k],
            volume=share_of_volume(volume, k),
            auction=auctions[k],
            other=prices[3 - k] if k in (_LOW, _HIGH) and prices[1] != prices[2] else 0,
        )
        for k in range(PRINTS_PER_BAR)
    ]


@njit(cache=True)
def share_of_volume(volume: int, k: int) -> int:
    """Return the shares of print ``k``; the four add up to ``volume`` exactly."""
    return volume * (k + 1) // PRINTS_PER_BAR - volume * k // PRINTS_PER_BAR
