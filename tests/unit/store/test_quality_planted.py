"""Every kind of planted fault is found in the embedded record; the slow suite takes all of KRX."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from planted_faults import DAILY, INDEX, gate, score

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store import quality, schema
from trading.store.datasets import EmbeddedSource

FIRST, LAST = date(2009, 1, 2), date(2010, 12, 31)
# What five symbols cannot tell: a shift against the market needs a market, and an open and a
# close exchanged for a day look like any other day.
INVISIBLE = {"값만 밀림 (120일)", "시가↔종가 (1일)"}
# Found more often than not: short runs of exchanged columns, and pairs at equal prices.
FAINT = {
    "시가↔종가 (20일)": 0.1,
    "두 종목이 바뀜 (5일)": 0.8,
    "다른 날을 베낌": 0.8,
    "분할 미조정 2:1": 0.8,
}


def context(**more: object) -> quality.Context:
    known = {
        "rules": shipped_rules(Market.US),
        "calendar": SessionCalendar(Market.US),
        "as_of": LAST,
    }
    return quality.Context(**{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(set(DAILY) - INVISIBLE))
def test_planted_daily_faults_are_found(kind: str):
    """All faults of the kind are told of, and hardly a good row is set aside."""
    frame = EmbeddedSource().daily(Market.US, None, FIRST, LAST)

    made = score(kind, DAILY[kind], frame, gate("daily", context()), seeds=3, count=4)

    assert made.faults >= 3
    assert made.found >= FAINT.get(kind, 1.0), made.line
    assert made.false <= 0.005 * made.judged, made.line


@pytest.mark.parametrize("kind", sorted(INDEX))
def test_planted_index_faults_are_found(kind: str):
    """All faults of the kind are told of; no good level is set aside."""
    table = EmbeddedSource().table("index", Market.US, None, date(2001, 1, 2), LAST)
    frame = schema.to_frame(table, schema.INDEX)

    made = score(kind, INDEX[kind], frame, gate("index", context(), "name"), seeds=6, count=1)

    assert (made.found, made.rows or 1.0) >= (1.0, 0.4), made.line
    assert made.false == 0, made.line


def test_any_garbage_is_judged():
    """Whatever numbers a batch holds, the gate ends and every row is either passed or set aside."""
    frame = EmbeddedSource().daily(Market.US, None, date(2010, 6, 1), date(2010, 8, 31))
    rng = np.random.default_rng(7)
    wild = [0, 1, -1, 10**15, -(10**15), 2**62, -(2**62)]
    for _ in range(8):
        garbage = frame.sample(frac=1.0, random_state=int(rng.integers(1 << 30)))
        for name in ("open", "high", "low", "close", "volume"):
            rows = rng.random(len(garbage)) < 0.2
            garbage.loc[rows, name] = rng.choice(wild, int(rows.sum()))
        days = rng.random(len(garbage)) < 0.1
        garbage.loc[days, "session"] = pd.Timestamp(1700, 1, 1)

        result = quality.check("daily", garbage, context())

        assert result.rows == len(garbage)
        assert int(days.sum()) <= len(result.quarantined)
