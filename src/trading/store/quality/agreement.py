"""How well two records of the same daily bars agree."""

from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.store.quality.bars import DAY_SPAN, codes, numbers
from trading.store.quality.result import Agreement

if TYPE_CHECKING:
    import pyarrow as pa

# Two returns this close are the same one: five and twenty basis points.
_CLOSE, _NEAR = 0.0005, 0.0020


def agree(left: "pa.Table", right: "pa.Table", pair: str) -> Agreement | None:
    """Compare the days that both tables have with trades; ``None`` when there are none.

    Closes are compared where both are raw, returns from one common day to the next common day
    of a symbol, and the shape as high and low in units of the close: shape and returns do not
    depend on how either side is adjusted, but on the days of an action.
    """
    symbols = sorted(set(codes(left["symbol"])[1]) | set(codes(right["symbol"])[1]))
    number = {name: code for code, name in enumerate(symbols)}
    keys, rows, raw = zip(*(_traded(table, number) for table in (left, right)), strict=True)
    common, at_left, at_right = np.intersect1d(keys[0], keys[1], return_indices=True)
    if not len(common):
        return None
    at = rows[0][at_left], rows[1][at_right]
    closes, highs, lows = (
        tuple(
            numbers(table, name)[rows_].astype(np.float64)
            for table, rows_ in zip((left, right), at, strict=True)
        )
        for name in ("close", "high", "low")
    )
    follows = np.flatnonzero(np.diff(common // DAY_SPAN) == 0)
    moves = [close[follows + 1] / close[follows] - 1 for close in closes]
    off = np.abs(moves[0] - moves[1])
    shape = np.maximum(
        np.abs(highs[0] / closes[0] - highs[1] / closes[1]),
        np.abs(lows[0] / closes[0] - lows[1] / closes[1]),
    )
    both_raw = raw[0][at[0]] & raw[1][at[1]]
    rates = {
        "수익률 5bp 안": _share(off <= _CLOSE),
        "수익률 20bp 안": _share(off <= _NEAR),
        "고가·저가 모양 20bp 안": _share(shape <= _NEAR),
        "원주가 종가 같음": _share((closes[0] == closes[1])[both_raw]),
    }
    return Agreement(
        pair=pair,
        rows=len(common),
        rates={name: rate for name, rate in rates.items() if rate is not None},
    )


def caps_agree(daily: "pa.Table", listings: "pa.Table") -> Agreement | None:
    """Compare raw closes with market cap over shares of the same day."""
    names = sorted(set(codes(daily["symbol"])[1]) | set(codes(listings["symbol"])[1]))
    number = {name: code for code, name in enumerate(names)}
    keys, rows, raw = _traded(daily, number)
    code, texts = codes(listings["symbol"])
    listed = _numbered(code, texts, number) * DAY_SPAN + numbers(listings, "session")
    _, at, where = np.intersect1d(keys, listed, return_indices=True)
    close = numbers(daily, "close")[rows[at]]
    cap, shares = (numbers(listings, name, np.nan)[where] for name in ("market_cap", "shares"))
    known = raw[rows[at]] & (cap > 0) & (shares > 0)
    if not known.any():
        return None
    # A cap of whole won is exact; a source that rounds it to millions is not.
    equal = np.abs(cap[known] / shares[known] / close[known] - 1) <= _CLOSE
    return Agreement(
        pair="일봉 종가와 시가총액÷주식 수",
        rows=int(known.sum()),
        rates={"5bp 안": float(equal.mean())},
    )


def _traded(table: "pa.Table", number: dict[str, int]) -> tuple[IntArray, IntArray, BoolArray]:
    """Return the keys of the rows with trades, their numbers, and which rows are raw."""
    code, texts = codes(table["symbol"])
    basis, bases = codes(table["basis"])
    rows = np.flatnonzero((numbers(table, "volume") > 0) & (numbers(table, "close") > 0))
    key = _numbered(code, texts, number) * DAY_SPAN + numbers(table, "session").astype(np.int64)
    raw = np.array([name == "raw" for name in bases], dtype=np.bool_)[basis]
    return key[rows], rows, raw


def _numbered(code: IntArray, texts: list[str], number: dict[str, int]) -> IntArray:
    return np.array([number[text] for text in texts], dtype=np.int64)[code]


def _share(alike: BoolArray | FloatArray) -> float | None:
    return float(alike.mean()) if len(alike) else None
