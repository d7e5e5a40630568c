"""One real restatement, for the fundamentals that no embedded record holds."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.instrument import Market
from trading.lookahead.compare import Kind, Subject, Violation, first_difference, plain
from trading.sessions import SessionCalendar
from trading.store import fundamentals

if TYPE_CHECKING:
    import pandas as pd

SUBJECT = Subject(Kind.FUNDAMENTAL, "restatement")
# Apple's fiscal year 2009, which ended 2009-09-26, as published twice: net sales and net income in
# dollars, in the 10-K of 2009-10-27 and, under new rules of revenue recognition, in the 10-K/A of
# 2010-01-25.
_PERIOD = date(2009, 9, 26)
_PUBLISHED = {
    date(2009, 10, 27): {"net_sales": 36_537e6, "net_income": 5_704e6},
    date(2010, 1, 25): {"net_sales": 42_905e6, "net_income": 8_235e6},
}


def mornings() -> tuple[list[date], int, int]:
    """Return sessions around both publications, and the rows between: cut elsewhere, all is one."""
    first, last = min(_PUBLISHED), max(_PUBLISHED)
    month = timedelta(days=31)
    days = SessionCalendar(Market.US).sessions(first - month, last + month)
    return days, days.index(first) + 1, days.index(last) + 1


def _rows() -> "pd.DataFrame":
    """Return the figures as rows of ``schema.FUNDAMENTALS``."""
    import pandas as pd

    rows = [
        ("AAPL", metric, pd.Timestamp(_PERIOD), pd.Timestamp(day), value, False)
        for day, figures in _PUBLISHED.items()
        for metric, value in figures.items()
    ]
    names = ["symbol", "metric", "period", "published", "value", "rule"]
    return pd.DataFrame(rows, columns=names)


def difference(days: Sequence[date], row: int, future: str) -> Violation | None:
    """Compare what was known before the morning in ``row`` with what the whole record says."""
    rows = _rows()
    later = rows["published"] >= np.datetime64(days[row], "s")
    if future == "absent":
        other, end = rows[~later], row
    else:
        other, end = rows.assign(value=rows["value"].where(~later, -rows["value"])), len(days)
    metrics = sorted(set(rows["metric"]))
    whole = fundamentals.known(rows, metrics, days, ["AAPL"]).values
    cut = fundamentals.known(other, metrics, days[:end], ["AAPL"]).values
    for metric in metrics:
        cell = first_difference(whole[metric][:row], cut[metric][:row])
        if cell is not None:
            return Violation(
                name=f"{SUBJECT.name}.{metric}",
                kind=SUBJECT.kind,
                session=days[cell[0]],
                symbol="AAPL",
                whole=plain(whole[metric][cell]),
                cut=plain(cut[metric][cell]),
                cut_at=days[row],
                future=future,
            )
    return None
