"""``trading fills``: recorded minutes and trades against which ``fill`` is held.

What is compared, and how, is ``backtest.fills``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from trading import bootstrap
from trading.backtest import fills
from trading.backtest.fills import Bar
from trading.bootstrap import Installation
from trading.domain.arrays import IntArray
from trading.domain.instrument import Market
from trading.domain.rules import MarketRules
from trading.domain.wording import MARKET_TEXT, REPLAY_TEXT
from trading.errors import MissingDataError
from trading.ports import DatasetSource
from trading.research.history import Scope
from trading.sessions import SessionCalendar
from trading.simulation.matching import BASIS_POINTS
from trading.simulation.paths import Print, bar_seconds, daily_prints, minute_bars, minute_prints

_CASE_TEXT = {
    "at_once": "곧바로 체결될 가격",
    "through": "가격이 지나감",
    "touch": "가격이 닿기만 함",
    "never": "가격이 오지 않음",
}
HEADS = (
    "경우", "크기", "주문", "체결(봉)", "체결(실제)", "없던 체결", "놓친 체결", "수량비", "초과 수량",
    "유리함(bp)", "최대(bp)",
)  # fmt: skip


def validate(installation: Installation, scope: Scope) -> dict[str, Any]:
    """Hold ``fill`` against everything finer than a day that the source has of a market.

    Days are compared with their minutes, minutes with their trades. A bar is made of the very
    prints that it is compared with, so that only the fill rule can differ.

    Raises
    ------
    MissingDataError
        If the source has neither minutes nor trades in the range.
    """
    settings = installation.settings
    market = scope.market or settings.app.market
    source = bootstrap.open_source(installation, scope.dataset)
    rules, calendar = bootstrap.rules_and_calendar(settings, market)
    share = round(settings.execution.for_market(market).participation * BASIS_POINTS)
    first, last = scope.first or date.min, scope.last or date.max
    found = []
    for coarse, fine, days, bars in (
        ("daily", "minute", source.minute_sessions(market), _days),
        ("minute", "tick", source.tick_sessions(market), _minutes),
    ):
        asked = [day for day in days if first <= day <= last]
        names = _Names(source, market, rules, scope.symbols)
        made = list(bars(source, names, calendar, asked))
        if made:
            rows = fills.compare(made, share)
            found.append(
                {
                    "coarse": coarse,
                    "fine": fine,
                    "sessions": len(asked),
                    "bars": len(made),
                    "false_fills": fills.worst(rows),
                    "rows": [row.to_json() for row in rows],
                }
            )
    if not found:
        raise MissingDataError(
            f"{MARKET_TEXT[market]} 시장에는 이 기간의 분봉도 체결도 기록되어 있지 않습니다. "
            "--dataset으로 기록 폴더를 주십시오."
        )
    return {
        "market": str(market),
        "participation_bps": share,
        "false_fills": sum(one["false_fills"] for one in found),
        "comparisons": found,
    }


class _Names:
    """The instruments that are compared, and their ticks."""

    def __init__(
        self,
        source: DatasetSource,
        market: Market,
        rules: MarketRules,
        symbols: Sequence[str] | None,
    ) -> None:
        self.market = market
        self.exchanges = {
            i.symbol: i.exchange
            for i in source.instruments(market)
            if symbols is None or i.symbol in symbols
        }
        self._rules = rules

    def ladder(self, symbol: str, session: date) -> IntArray:
        """Return the tick ladder of an instrument in a session."""
        day = np.array([session], dtype="datetime64[D]")
        ladders, which = self._rules.ladder_arrays([self.exchanges[symbol]], day)
        ladder: IntArray = ladders[which[0, 0]]
        return ladder


def _days(
    source: DatasetSource, names: _Names, calendar: SessionCalendar, days: list[date]
) -> Iterator[Bar]:
    """Yield each session of each name that has minutes: its daily bar, and them."""
    for session in days:
        opened, closed = calendar.open_close(session)
        frame = source.minute(names.market, session, list(names.exchanges))
        width = bar_seconds(frame)
        for symbol, bars in minute_bars(frame, list(names.exchanges)).items():
            fine = minute_prints(symbol, bars, opened, closed, bar_seconds=width)
            volume = sum(p.volume for p in fine)
            prices = [p.price for p in fine]
            coarse = daily_prints(
                symbol, prices[0], max(prices), min(prices), prices[-1], volume, opened, closed
            )
            yield Bar(
                coarse=fills.path_of(coarse),
                fine=fills.path_of(fine),
                ladder=names.ladder(symbol, session),
            )


def _minutes(
    source: DatasetSource, names: _Names, calendar: SessionCalendar, days: list[date]
) -> Iterator[Bar]:
    """Yield each minute of each name that has trades: the four prints of its bar, and them."""
    from trading.store.minutes import prints

    for session in days:
        ticks = source.table("ticks", names.market, list(names.exchanges), session, session)
        opened, closed = calendar.open_close(session)
        for symbol, trades in prints(ticks, calendar).items():
            before = 0
            for minute in _by_minute(trades).values():
                prices = [p.price for p in minute]
                bar = (
                    minute[0].ts.replace(second=0, microsecond=0),
                    prices[0], max(prices), min(prices), prices[-1],
                    sum(p.volume for p in minute),
                )  # fmt: skip
                if bar[0] < closed:
                    coarse = minute_prints(symbol, [bar], opened, closed)
                    if before == 0:
                        # As the first print of the bar: the opening price of whoever waited.
                        minute = [replace(minute[0], auction=True), *minute[1:]]
                    yield Bar(
                        coarse=fills.path_of(coarse, before),
                        fine=fills.path_of(minute, before),
                        ladder=names.ladder(symbol, session),
                    )
                before = prices[-1]


def _by_minute(trades: list[Print]) -> Mapping[Any, list[Print]]:
    found: dict[Any, list[Print]] = {}
    for trade in trades:
        found.setdefault(trade.ts.replace(second=0, microsecond=0), []).append(trade)
    return found


def text(result: Mapping[str, Any]) -> str:
    """Return the comparison as a user reads it."""
    return "\n".join(
        f"{REPLAY_TEXT[one['coarse']]} {one['bars']:,}개를 {REPLAY_TEXT[one['fine']]}과 맞춰 봄 "
        f"({one['sessions']:,}거래일): 없던 체결을 낸 주문 {one['false_fills']:,}건"
        for one in result["comparisons"]
    )


def rows(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the cases of one comparison as lines of a table; ``HEADS`` are its heads."""
    return [
        (
            _CASE_TEXT[row["case"]],
            f"{row['size']:.0%}" if row["size"] else "1주",
            f"{row['orders']:,}",
            f"{row['claimed']:,}",
            f"{row['filled']:,}",
            f"{row['false_fills']:,}",
            f"{row['missed']:,}",
            f"{row['claimed_shares'] / row['filled_shares']:.3f}" if row["filled_shares"] else "-",
            f"{row['excess_shares'] / row['claimed_shares']:.2%}" if row["claimed_shares"] else "-",
            f"{row['optimism_bps']:.2f}",
            f"{row['worst_bps']:.1f}",
        )
        for row in comparison["rows"]
    ]
