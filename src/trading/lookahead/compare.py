"""What is compared, how, and what a difference is."""

from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np

from trading.domain.arrays import IntArray


class Kind(StrEnum):
    """What is looked at."""

    PANEL = "panel"
    FUNDAMENTAL = "fundamental"
    UNIVERSE = "universe"
    FEATURE = "feature"
    FACTOR = "factor"
    AGENT = "agent"
    WEIGHT = "weight"
    EXPECTATION = "expectation"
    SCREEN = "screen"
    REGIME = "regime"
    DECISION = "decision"

    @property
    def text(self) -> str:
        """What the user reads."""
        return _KIND_TEXT[self]


_KIND_TEXT = {
    Kind.PANEL: "가격 패널",
    Kind.FUNDAMENTAL: "재무",
    Kind.UNIVERSE: "종목 목록",
    Kind.FEATURE: "특성",
    Kind.FACTOR: "팩터 점수",
    Kind.AGENT: "전략",
    Kind.WEIGHT: "앙상블 가중치",
    Kind.EXPECTATION: "기대 수익과 변동성",
    Kind.SCREEN: "종목 선별",
    Kind.REGIME: "시장 국면",
    Kind.DECISION: "크기와 결정",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One registered thing; ``by_symbol`` says whether its last axis is the instruments."""

    kind: Kind
    name: str
    by_symbol: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The first cell of a subject that was another one when the future was.

    ``whole`` is what the whole record says, ``cut`` what was said without the rows from
    ``cut_at`` on (``future`` "absent") or with others in their place ("other").
    """

    name: str
    kind: Kind
    session: date
    symbol: str | None
    whole: float | int | str | None
    cut: float | int | str | None
    cut_at: date
    future: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "kind": str(self.kind),
            "session": str(self.session),
            "cut_at": str(self.cut_at),
        }


def first_difference(whole: Any, cut: Any) -> tuple[int, ...] | None:
    """Return the first cell in which two arrays of one shape are not the same bits.

    All missing numbers are one and the same; 0 and -0 are not.
    """
    at = np.flatnonzero(bits(whole) != bits(cut))
    return tuple(int(i) for i in np.unravel_index(at[0], np.shape(whole))) if at.size else None


def bits(values: Any) -> IntArray:
    """Return each cell as a number that is the same only for the same bits."""
    cells = np.ascontiguousarray(values).ravel()
    if cells.dtype == np.float64:
        cells = np.where(np.isnan(cells), np.nan, cells).view(np.int64)
    whole: IntArray = cells.astype(np.int64)
    return whole


def plain(value: Any) -> float | int | str | None:
    """Return a cell as a JSON value: ``None`` for a missing number, a digest in hex."""
    if isinstance(value, np.uint64):
        return f"{int(value):016x}"
    cell: float | int = value.item()
    return None if cell != cell else cell
