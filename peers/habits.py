"""What a peer is known to do differently, each as a change that is computed, never fitted.

A habit changes the wishes (what is traded then, the package's own engine says), the fees, or the
price at which a bar values what is held.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from engines.case import Case

from trading.domain.arrays import SideArray
from trading.strategies.technical import crossing_votes


@dataclass(frozen=True, kw_only=True)
class Habit:
    """One rule of a peer that is not ours; ``None`` leaves a part as it is."""

    text: str
    wish: Callable[[Case, SideArray], SideArray] | None = None
    untaxed: bool = False
    mark: Literal["open"] | None = None


def _late_start(case: Case, wish: SideArray) -> SideArray:
    """Drop the wish of the first bar on which both averages exist."""
    out = wish.copy()
    if case.rule.kind == "above":
        out[case.rule.slow - 1] = 0
    return out


def _running_averages(case: Case, wish: SideArray) -> SideArray:
    """Decide by averages that are differences of one running sum in ``float64``."""
    rule = case.rule
    if rule.kind == "recross":
        return wish
    close = case.prices["close"]
    total = np.vstack([np.zeros(close.shape[1]), np.cumsum(close, axis=0)])
    gap = np.full(close.shape, np.nan)
    for t in range(rule.slow - 1, len(close)):
        quick = (total[t + 1] - total[t + 1 - rule.fast]) / rule.fast
        gap[t] = quick - (total[t + 1] - total[t + 1 - rule.slow]) / rule.slow
    if rule.kind == "crossing":
        gap = crossing_votes(gap, np.ones(gap.shape, dtype=np.bool_))
    return np.sign(np.nan_to_num(gap)).astype(np.int8)


HABITS: Mapping[str, tuple[Habit, ...]] = {
    "backtrader": (),
    "backtesting": (
        Habit(text="지표가 처음 나오는 봉의 의견을 건너뜀", wish=_late_start),
        Habit(
            text="매도세를 매길 수 없음 (수수료 함수가 주문이 아니라 보유의 부호를 받음)",
            untaxed=True,
        ),
    ),
    "bt": (Habit(text="보유를 종가가 아니라 거래하는 값인 시가로 평가함", mark="open"),),
    "vectorbt": (
        Habit(
            text="두 평균이 똑같은 봉을 실수 누적합의 반올림이 한쪽으로 기울임",
            wish=_running_averages,
        ),
    ),
    "pybroker": (),
    "numba": (),
}
