"""Which recorded prints a session of a backtest is traded against: days, minutes or trades.

The decision is the same; only the path inside the session differs. How bars become prints is
``simulation.paths``. Where a name has no intraday record in a session its daily bar is replayed,
and the result counts how often.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from trading.backtest.runner import Instants, daily_instants
from trading.domain.instrument import Market
from trading.domain.market import RawPanel
from trading.domain.rules import MarketRules
from trading.execution.decide import View
from trading.execution.engine import SessionStart
from trading.simulation.paths import (
    DayPrices,
    Print,
    bar_seconds,
    minute_bars,
    minute_prints,
    refusal,
)


class ReplayKind(StrEnum):
    """How finely a session is replayed."""

    DAILY = "daily"
    MINUTE = "minute"
    TICK = "tick"


# Returns the recorded prints of those of the symbols that have some in the session, oldest first.
Recording = Callable[[SessionStart, Sequence[str]], Mapping[str, list[Print]]]


class IntradayReplay:
    """Sessions of recorded intraday prints, each name's daily bar where there are none.

    Parameters
    ----------
    recording : callable
        Returns the prints of a session; see ``minutes`` and ``trading.research.history``.
    """

    def __init__(
        self, raw: RawPanel, rules: MarketRules, kind: ReplayKind, recording: Recording
    ) -> None:
        self._raw = raw
        self._rules = rules
        self._kind = kind
        self._recording = recording
        # Names with an intraday record in each session, and those without, as first replayed.
        self._replayed: dict[date, tuple[int, int]] = {}
        self._kept: tuple[date | None, tuple[str, ...], Mapping[str, list[Print]]] = None, (), {}

    @property
    def sessions(self) -> dict[str, int]:
        """Sessions in which any name was replayed by its intraday record, and those without one."""
        fine = sum(n > 0 for n, _ in self._replayed.values())
        return {str(self._kind): fine, str(ReplayKind.DAILY): len(self._replayed) - fine}

    @property
    def names(self) -> dict[str, int]:
        """The same for each name of each session."""
        return {
            str(self._kind): sum(n for n, _ in self._replayed.values()),
            str(ReplayKind.DAILY): sum(n for _, n in self._replayed.values()),
        }

    def refused(self, row: int, view: View, start: SessionStart) -> frozenset[str]:
        """Return the names that the local exchange would take no orders for in this replay."""
        raw, prints = self._raw, self._prints(start, view)
        found = set()
        for i, symbol in enumerate(view.symbols):
            j = raw.columns[symbol]
            day = DayPrices(
                open=int(raw.open[row, j]),
                high=int(raw.high[row, j]),
                low=int(raw.low[row, j]),
                close=int(raw.close[row, j]),
                volume=int(raw.volume[row, j]),
                # The panel of a source of adjusted prices closes the cells that are no real ones.
                is_adjusted=not raw.tradable[row, j],
            )
            last = prints[symbol][-1].price if prints.get(symbol) else None
            limits = int(view.lower[i]), int(view.upper[i])
            if refusal(day, last, view.exchanges[i], start.session, limits, self._rules):
                found.add(symbol)
        return frozenset(found)

    def instants(self, row: int, view: View, start: SessionStart) -> Instants:
        """Return the prints of the session in ``row`` by instant, instruments in view order."""
        prints = self._prints(start, view)
        fine = sum(symbol in prints for symbol in view.symbols)
        self._replayed.setdefault(start.session, (fine, len(view.symbols) - fine))
        return merged(self._raw, row, view, start, prints)

    def _prints(self, start: SessionStart, view: View) -> Mapping[str, list[Print]]:
        if self._kept[:2] != (start.session, view.symbols):
            recorded = self._recording(start, view.symbols)
            self._kept = start.session, view.symbols, recorded
        return self._kept[2]


def merged(
    raw: RawPanel,
    row: int,
    view: View,
    start: SessionStart,
    prints: Mapping[str, list[Print]],
) -> Instants:
    """Return recorded prints and, of the other names, those of their daily bars, by instant."""
    by_instant: dict[datetime, list[Print]] = {}
    for ts, daily in daily_instants(raw, row, view, start):
        by_instant.setdefault(ts, []).extend(p for p in daily if p.symbol not in prints)
    for symbol in view.symbols:
        if symbol not in prints or not raw.tradable[row, raw.columns[symbol]]:
            continue
        for trade in prints[symbol]:
            by_instant.setdefault(trade.ts, []).append(trade)
    order = {symbol: i for i, symbol in enumerate(view.symbols)}
    return [
        (ts, sorted(at, key=lambda p: order[p.symbol]))
        for ts, at in sorted(by_instant.items())
        if at
    ]


def minutes(
    market: Market, start: SessionStart, frame: Any, symbols: Sequence[str]
) -> dict[str, list[Print]]:
    """Return the prints of ``symbols`` in a frame of intraday bars (``ports.BarSource.minute``).

    The frame holds a whole session: the width of its bars is seen in all names together.
    """
    width = bar_seconds(frame)
    return {
        symbol: minute_prints(
            symbol,
            bars,
            start.open_ts,
            start.close_ts,
            bar_seconds=width,
            reference=start.reference.get(symbol, 0) if market is Market.KRX else 0,
        )
        for symbol, bars in minute_bars(frame, symbols).items()
    }
