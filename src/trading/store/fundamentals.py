"""Fundamentals as they were known on each session.

From which day a row counts is the source's word (``published``): KRX's own ratios from the
session they are of, a statement from the first session after its filing, one whose filing day
was not recorded from the 15th session after 1 April of the next year (``rule``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import BoolArray, DateArray, FloatArray, IntArray
from trading.domain.instrument import Market
from trading.errors import MissingDataError
from trading.store.cache import codes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from trading.store.lake import Lake


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What was known of each metric; arrays are ``(n_sessions, n_symbols)``.

    ``values`` are NaN and ``periods`` NaT before anything was published. ``by_rule`` marks
    figures whose day of publication is a rule's, not a record's.
    """

    sessions: DateArray
    symbols: tuple[str, ...]
    values: dict[str, FloatArray]
    periods: dict[str, DateArray]
    by_rule: dict[str, BoolArray]

    def cross_section(self, session: date) -> "pd.DataFrame":
        """Return the figures of one session, a row a symbol and a column a metric."""
        import pandas as pd

        row = int(np.searchsorted(self.sessions, np.datetime64(session, "D")))
        if row == len(self.sessions) or self.sessions[row] != np.datetime64(session, "D"):
            raise MissingDataError(f"{session}: 조회한 거래일에 없음")
        figures = {name: grid[row] for name, grid in self.values.items()}
        return pd.DataFrame(figures, index=pd.Index(self.symbols, name="symbol"))


def asof(
    lake: "Lake",
    market: Market,
    metrics: Sequence[str],
    sessions: Sequence[date],
    symbols: Sequence[str],
) -> Known:
    """Return each metric of each symbol as it was known on each session; see ``known``."""
    table = lake.table(
        market,
        "fundamentals",
        columns=["symbol", "metric", "period", "published", "value", "rule"],
        symbols=symbols,
        last=sessions[-1] if sessions else None,
    )
    return known(table, metrics, sessions, symbols)


def known(
    rows: "pd.DataFrame | pa.Table",
    metrics: Sequence[str],
    sessions: Sequence[date],
    symbols: Sequence[str],
) -> Known:
    """Return the latest period that was published on or before each session.

    Of one period the latest publication counts (a restatement changes the sessions from its own
    day on, never those before); what is published late of an older period changes nothing.

    Parameters
    ----------
    rows : DataFrame or Table
        ``symbol, metric, period, published, value, rule``, in any order.
    metrics, symbols : sequence of str
        What is asked for; a metric that nobody published is NaN.
    sessions : sequence of date
        Ascending.
    """
    days = np.array(sessions, dtype="datetime64[D]")
    shape = (len(days), len(symbols))
    column = _places(rows, "symbol", symbols)
    metric = _places(rows, "metric", metrics)
    period, published = (_days(rows, name) for name in ("period", "published"))
    row = np.searchsorted(days.astype(np.int64), published)
    kept = np.flatnonzero((column >= 0) & (metric >= 0) & (row < len(days)))
    group = metric[kept] * len(symbols) + column[kept]
    kept = kept[np.lexsort((period[kept], published[kept], group))]
    kept = kept[_newest_so_far(metric[kept] * len(symbols) + column[kept], period[kept])]

    value = np.append(rows["value"].to_numpy().astype(np.float64)[kept], np.nan)
    rule = np.append(rows["rule"].to_numpy().astype(np.bool_)[kept], False)
    ended = np.append(period[kept].astype("datetime64[D]"), np.datetime64("NaT", "D"))
    result = Known(sessions=days, symbols=tuple(symbols), values={}, periods={}, by_rule={})
    for number, name in enumerate(metrics):
        mine = np.flatnonzero(metric[kept] == number)
        # Row numbers grow with the day of publication: the largest so far is the one in force.
        latest = np.full(shape, -1, dtype=np.int32)
        latest[row[kept[mine]], column[kept[mine]]] = mine
        np.maximum.accumulate(latest, axis=0, out=latest)
        result.values[name] = value.take(latest)
        result.periods[name] = ended.take(latest)
        result.by_rule[name] = rule.take(latest)
    return result


def _newest_so_far(group: IntArray, period: IntArray) -> BoolArray:
    """Return which rows are of no older period than those before them in their group."""
    if len(group) == 0:
        return np.zeros(0, dtype=np.bool_)
    position = period - period.min()
    key = group * (int(position.max()) + 1) + position
    return np.asarray(key == np.maximum.accumulate(key))


def _places(rows: "pd.DataFrame | pa.Table", name: str, wanted: Sequence[str]) -> IntArray:
    """Return where the text of each row is in ``wanted``, or -1."""
    place = {word: number for number, word in enumerate(wanted)}
    code, words = codes(rows, name)
    at = np.array([place.get(word, -1) for word in words], dtype=np.int64)
    return at[code] if len(words) else np.zeros(0, dtype=np.int64)


def _days(rows: "pd.DataFrame | pa.Table", name: str) -> IntArray:
    return rows[name].to_numpy().astype("datetime64[D]").astype(np.int64)
