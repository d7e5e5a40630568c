"""The daily screen: which names may be bought, and why the others may not.

Which symbols exist at all is ``store.universe``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Exchange
from trading.domain.market import RawPanel
from trading.features import statistics
from trading.features.cross_section import SCORE_DECIMALS
from trading.features.indicators import Bars
from trading.strategies.base import ScreenSettings


class ScreenReason(IntEnum):
    """Why a name is in or out; the first rule that it fails."""

    SELECTED = 0
    NOT_TRADABLE = 1
    TOO_YOUNG = 2
    PRICE_TOO_LOW = 3
    VALUE_TOO_LOW = 4
    NOT_A_LEADER = 5
    NO_MOMENTUM = 6
    BELOW_TOP = 7
    OTHER_EXCHANGE = 8

    @property
    def text(self) -> str:
        """What the user reads."""
        return _TEXTS[self]


_TEXTS = {
    ScreenReason.SELECTED: "선정",
    ScreenReason.NOT_TRADABLE: "거래 불가",
    ScreenReason.TOO_YOUNG: "상장 기간 부족",
    ScreenReason.PRICE_TOO_LOW: "최소 주가 미달",
    ScreenReason.VALUE_TOO_LOW: "평균 거래대금 미달",
    ScreenReason.NOT_A_LEADER: "거래대금 순위 밖",
    ScreenReason.NO_MOMENTUM: "모멘텀 산출 불가",
    ScreenReason.BELOW_TOP: "모멘텀 순위 밖",
    ScreenReason.OTHER_EXCHANGE: "매매하지 않는 거래소",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Screen:
    """``reason`` of shape ``(n_sessions, n_instruments)`` holds ``ScreenReason`` values."""

    symbols: tuple[str, ...]
    reason: IntArray

    @property
    def selected(self) -> BoolArray:
        """Names that may be bought, per session."""
        chosen: BoolArray = self.reason == ScreenReason.SELECTED
        return chosen

    def explain(self, row: int = -1) -> dict[str, ScreenReason]:
        """Return why each symbol is in or out at ``row`` (the last one by default)."""
        return {
            symbol: ScreenReason(int(code))
            for symbol, code in zip(self.symbols, self.reason[row], strict=True)
        }


def screen(
    bars: Bars,
    raw: RawPanel,
    settings: ScreenSettings,
    *,
    exchanges: Collection[Exchange] = tuple(Exchange),
) -> Screen:
    """Return the screen of every session of ``bars``; ``raw`` may go on for longer.

    Filters (one of ``exchanges``, tradable, listing age in own bars, price as traded, mean traded
    value) come first,
    then the ``leaders`` largest by traded value, then the ``top`` by momentum; 0 switches either
    off. With fewer than ``min_names`` names that have a momentum, all that passed are selected.
    """
    n, m = bars.shape
    unit = raw.market.currency.minor_per_unit
    close = raw.close[:n]
    value = _mean_value(close, raw.volume[:n], unit, settings.value_sessions)
    reason = np.full((n, m), int(ScreenReason.SELECTED), dtype=np.int64)
    for code, failed in (
        (ScreenReason.VALUE_TOO_LOW, value < settings.min_value),
        (ScreenReason.PRICE_TOO_LOW, close < settings.min_price * unit),
        (ScreenReason.TOO_YOUNG, bars.age + 1 < settings.min_bars),
        (ScreenReason.NOT_TRADABLE, ~(bars.tradable & raw.tradable[:n])),
    ):
        reason[failed] = code
    elsewhere = np.array([exchange not in exchanges for exchange in raw.exchanges], dtype=np.bool_)
    reason[:, elsewhere] = int(ScreenReason.OTHER_EXCHANGE)
    if settings.leaders == 0 and settings.top == 0:
        return Screen(symbols=raw.symbols, reason=reason)

    score = statistics.momentum(bars, settings.momentum_window, settings.momentum_skip)
    score = np.round(score, SCORE_DECIMALS)
    for row in range(n):
        names = np.flatnonzero(reason[row] == ScreenReason.SELECTED)
        if 0 < settings.leaders < len(names):
            # Stable: equal values keep the order of the columns.
            order = np.argsort(-value[row, names], kind="stable")
            reason[row, names[order[settings.leaders :]]] = ScreenReason.NOT_A_LEADER
            names = np.sort(names[order[: settings.leaders]])
        known = np.isfinite(score[row, names])
        if settings.top == 0 or known.sum() < settings.min_names:
            continue
        reason[row, names[~known]] = ScreenReason.NO_MOMENTUM
        names = names[known]
        order = np.argsort(-score[row, names], kind="stable")
        reason[row, names[order[settings.top :]]] = ScreenReason.BELOW_TOP
    return Screen(symbols=raw.symbols, reason=reason)


def _mean_value(close: IntArray, volume: IntArray, unit: int, window: int) -> IntArray:
    """Return the mean traded value in currency units; sessions without a bar count as 0."""
    # Whole currency units keep the running sum of decades far below 2**63.
    total = np.cumsum(close * volume // unit, axis=0)
    total[window:] -= total[:-window].copy()
    mean: IntArray = total // window
    return mean
