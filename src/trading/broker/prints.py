"""The prints of one instrument: which are new, which are missing, what stood in their place.

The cumulative volume tells: a print that does not begin where the last one ended leaves a hole.
A hole closes by itself when its prints come late, else by the minute bars of its stretch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from trading.domain.market import Tick
from trading.wire.records import MinuteRow

_MINUTE = timedelta(minutes=1)
# No market trades through one, and every two trading days have one between them.
_NIGHT = timedelta(hours=6)


@dataclass(slots=True)
class Hole:
    """Shares ``first`` to ``last`` (cumulative) traded unseen, from ``since`` to ``until``.

    ``number`` grows: whoever asks for the bars of some holes must not close younger ones.
    """

    first: int
    last: int
    since: datetime
    until: datetime
    number: int


class PrintTrack:
    """What has been seen of one instrument on one day.

    ``cumulative`` is the volume told so far, ``None`` until the first print of a day that was
    joined late: what came before it is nobody's business. ``since`` is when it was joined.
    """

    __slots__ = (
        "_extremes",
        "_minute_end",
        "_minutes",
        "cumulative",
        "holes",
        "last",
        "newest",
        "since",
        "symbol",
    )

    cumulative: int | None
    last: Tick | None
    since: datetime
    holes: list[Hole]
    _minutes: dict[datetime, list[int]]
    _extremes: list[int]
    _minute_end: datetime

    def __init__(self, symbol: str, since: datetime, *, is_whole_day: bool) -> None:
        self.symbol = symbol
        self.newest = 0
        self._begin(since)
        if not is_whole_day:
            self.cumulative = None

    def take(self, tick: Tick) -> bool:
        """Note a print; whether it is new. The first one of another day begins a new track."""
        before = self.cumulative
        if before is not None and tick.cumulative_volume - tick.volume != before:
            if self.last is not None and tick.ts_event - self.last.ts_event > _NIGHT:
                self._begin(tick.ts_event - _NIGHT)
                before = 0
            if tick.cumulative_volume <= before:
                return self._is_late(tick)
            if tick.cumulative_volume - tick.volume > before:
                self._open_hole(before, tick.cumulative_volume - tick.volume, tick.ts_event)
        self.cumulative = tick.cumulative_volume
        self.last = tick
        price = tick.price
        if tick.ts_event >= self._minute_end:
            self._extremes = self._see(tick.ts_event, price)
            self._minute_end = _minute(tick.ts_event) + _MINUTE
        extremes = self._extremes
        if price > extremes[0]:
            extremes[0] = price
        elif price < extremes[1]:
            extremes[1] = price
        return True

    def skip(self, tick: Tick) -> None:
        """Note a print outside the regular session: its volume counts, it is nobody's price."""
        if self.cumulative is not None:
            self.cumulative = max(self.cumulative, tick.cumulative_volume)

    def miss(self, total: int, now: datetime) -> None:
        """Note that ``total`` shares had traded by ``now``, without a print that says so."""
        if self.cumulative is not None and total > self.cumulative:
            self._open_hole(self.cumulative, total, now)
            self.cumulative = total

    def mend(self, bars: Iterable[MinuteRow], newest: int, received: datetime) -> list[Tick]:
        """Return prints in place of the holes up to number ``newest``, and close these.

        A minute that was missed whole prints like a recorded one (open, low, high, close); of one
        that was seen in part, the extremes that nobody saw. The volume adds up to the shares that
        were missed, and the last print stands again at the end with what is left of it.
        """
        rows = sorted(bars, key=lambda bar: bar.start)
        holes = [hole for hole in self.holes if hole.number <= newest]
        self.holes = [hole for hole in self.holes if hole.number > newest]
        ticks: list[Tick] = []
        for hole in holes:
            mended = self._mended(hole, rows, received)
            for tick in mended:
                self._see(tick.ts_event, tick.price)
            ticks += mended
        rest = sum(hole.last - hole.first for hole in holes) - sum(tick.volume for tick in ticks)
        last = self.last or (ticks[-1] if ticks else None)
        if last is not None and (ticks or rest):
            ticks.append(last._replace(volume=rest, ts_recv=received, auction=False))
        return ticks

    def _begin(self, since: datetime) -> None:
        self.since = since
        self.cumulative = 0
        self.last = None
        self.holes = []
        self._minutes = {}
        self._extremes = [0, 0]
        self._minute_end = since

    def _open_hole(self, first: int, last: int, until: datetime) -> None:
        since = self.last.ts_event if self.last is not None else self.since
        self.newest += 1
        self.holes.append(Hole(first, last, since, until, self.newest))

    def _is_late(self, tick: Tick) -> bool:
        """Whether a print of the past belongs into a hole; if so, less is missing."""
        begins, ends = tick.cumulative_volume - tick.volume, tick.cumulative_volume
        for hole in self.holes:
            if hole.first <= begins < ends <= hole.last:
                self.holes.remove(hole)
                before = Hole(hole.first, begins, hole.since, tick.ts_event, hole.number)
                after = Hole(ends, hole.last, tick.ts_event, hole.until, hole.number)
                self.holes += [part for part in (before, after) if part.last > part.first]
                self.holes.sort(key=lambda one: one.first)
                self._see(tick.ts_event, tick.price)
                return True
        return False

    def _mended(self, hole: Hole, rows: Sequence[MinuteRow], received: datetime) -> list[Tick]:
        total, ticks = hole.first, []
        for bar in rows:
            is_outside = bar.start + _MINUTE <= hole.since or bar.start > hole.until
            if is_outside or bar.volume <= 0:
                # A minute without trades repeats the price before it.
                continue
            for at, price, volume in self._pieces(bar):
                # Never more than was missed: the bar may hold what came after it was asked for.
                volume = min(volume, hole.last - total)
                total += volume
                ticks.append(
                    Tick(
                        symbol=self.symbol,
                        price=price,
                        volume=volume,
                        cumulative_volume=total,
                        ts_event=min(max(at, hole.since), hole.until),
                        ts_recv=received,
                    )
                )
        return ticks

    def _pieces(self, bar: MinuteRow) -> list[tuple[datetime, int, int]]:
        """Return what a minute traded unseen, as (time, price, volume)."""
        # Imported here: it brings the compiler along, which most who know prices never need.
        from trading.simulation.paths import minute_prints

        seen = self._minutes.get(bar.start)
        if seen is None:
            row = (bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume)
            prints = minute_prints(self.symbol, [row], bar.start, bar.start + _MINUTE)
            return [(one.ts, one.price, one.volume) for one in prints]
        unseen = [bar.low] if 0 < bar.low < seen[1] else []
        unseen += [bar.high] if bar.high > seen[0] else []
        return [(bar.start, price, 0) for price in unseen]

    def _see(self, ts: datetime, price: int) -> list[int]:
        """Note a price of the minute of ``ts``; return its highest and lowest so far."""
        extremes = self._minutes.setdefault(_minute(ts), [price, price])
        extremes[0], extremes[1] = max(extremes[0], price), min(extremes[1], price)
        return extremes


def _minute(ts: datetime) -> datetime:
    return ts.replace(second=0, microsecond=0)
