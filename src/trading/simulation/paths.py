"""How a recorded bar becomes the prints of a replay.

A bar does not tell the order of its extremes. Accounts here are long only, so the extreme that
hurts is the low: the path is open, low, high, close, each a price that was really recorded
(docs/adr/0002). The volume of a bar is split evenly over its prints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from numba import njit

PRINTS_PER_BAR = 4
# A static volatility interruption begins a tenth away from the last single price.
VI_PART = 10
VI_DURATION = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One trade of a replay: ``price`` in minor units, ``volume`` in shares, ``ts`` in UTC."""

    symbol: str
    ts: datetime
    price: int
    volume: int
    auction: bool


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
    bars: Iterable[tuple[datetime, int, int, int, int, int]],
    open_ts: datetime,
    close_ts: datetime,
    *,
    bar_seconds: int = 60,
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
    single, previous = reference if bar_seconds <= 60 else 0, open_ts
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
        )
        for k in range(PRINTS_PER_BAR)
    ]


@njit(cache=True)
def share_of_volume(volume: int, k: int) -> int:
    """Return the shares of print ``k``; the four add up to ``volume`` exactly."""
    return volume * (k + 1) // PRINTS_PER_BAR - volume * k // PRINTS_PER_BAR
