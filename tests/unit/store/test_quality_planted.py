"""Every kind of planted fault is found in the embedded record; the slow suite takes all of KRX."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from planted_faults import DAILY, INDEX, gate, score

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store import quality, schema
from trading.store.datasets import EmbeddedSource, RecordedSource

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


def keys(result: quality.QualityResult) -> set[tuple[str, date]]:
    rows = result.quarantined
    return set(zip(rows["symbol"].to_pylist(), rows["session"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    "kind", ["소수점 ×10", "고가↔저가", "소수점 ×10 (10일)", "분할 미조정 5:1"]
)
def test_the_order_of_rows_does_not_matter(kind: str):
    """Shuffled, a batch has the same rows set aside."""
    rng = np.random.default_rng(3)
    frame = DAILY[kind](EmbeddedSource().daily(Market.US, None, FIRST, LAST), rng, 4).frame

    first = quality.check("daily", frame, context())
    second = quality.check("daily", frame.sample(frac=1.0, random_state=1), context())

    assert keys(first) == keys(second) != set()


# Of two rows of one key, and of no row at all, a batch of one day knows as much as any other.
@pytest.mark.parametrize("kind", sorted(set(DAILY) - {"미래의 행"}))
def test_what_comes_later_sets_nothing_aside(kind: str):
    """Cut after any day, the record has the same rows set aside up to it."""
    bars = EmbeddedSource().daily(Market.US, None, date(2010, 1, 4), date(2010, 12, 31))
    frame = DAILY[kind](bars, np.random.default_rng(5), 4).frame
    whole = keys(quality.check("daily", frame, context()))

    for last in (date(2010, 5, 18), date(2010, 10, 20)):
        cut = frame.loc[frame["session"] <= pd.Timestamp(last)]
        early = keys(quality.check("daily", cut, context(as_of=last)))
        assert early == {key for key in whole if key[1] <= last}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=pytest.mark.slow)
        for k in ("소수점 ×10", "고가↔저가", "종가만 ×10", "소수점 ×0.1")
    ],
)
def test_day_by_day_is_as_at_once(kind: str):
    """Judged each day beside the days before it as they came, the same rows are set aside."""
    bars = EmbeddedSource().daily(Market.US, None, date(2010, 1, 4), date(2010, 6, 30))
    frame = DAILY[kind](bars, np.random.default_rng(5), 4).frame
    table = schema.cast(frame, schema.DAILY_BARS)
    days = sorted(set(table["session"].to_pylist()))
    back = quality.history_sessions("daily", quality.shipped_settings())

    at_once = keys(quality.check("daily", table, context()))
    day_by_day: set[tuple[str, date]] = set()
    for number in range(40, len(days)):
        early = pc.less(table["session"], days[number])
        recent = pc.greater_equal(table["session"], days[max(number - back, 0)])
        today = quality.check(
            "daily",
            table.filter(pc.equal(table["session"], days[number])),
            context(as_of=days[number], history=table.filter(pc.and_(early, recent))),
        )
        day_by_day |= keys(today)

    assert day_by_day == {key for key in at_once if key[1] >= days[40]}


def test_any_level_is_judged():
    """Whatever levels a batch or its past holds, the gate ends and loses no row."""
    table = EmbeddedSource().table("index", Market.US, None, date(2004, 1, 2), date(2005, 12, 30))
    frame = schema.to_frame(table, schema.INDEX)
    rng = np.random.default_rng(11)
    wild = [0.0, -1.0, 1e-300, 1e300, np.inf, -np.inf]
    for share in (0.01, 0.3, 1.0):
        garbage = frame.copy()
        rows = rng.random(len(frame)) < share
        garbage.loc[rows, "close"] = rng.choice(wild, int(rows.sum()))
        history = schema.cast(garbage, schema.INDEX)
        later = frame.assign(session=frame["session"] + pd.DateOffset(years=2))

        result = quality.check("index", garbage, context())
        after = quality.check("index", later, context(history=history))

        assert (result.rows, after.rows) == (len(frame), len(frame))
        assert len(result.quarantined) >= int(rows.sum())


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


@pytest.mark.parametrize("kind", sorted(INDEX))
def test_what_comes_later_sets_no_level_aside(kind: str):
    """Cut after any day, the levels have the same rows set aside up to it."""
    table = EmbeddedSource().table("index", Market.US, None, date(2004, 1, 2), LAST)
    frame = INDEX[kind](schema.to_frame(table, schema.INDEX), np.random.default_rng(2), 1).frame

    def aside(levels: pd.DataFrame, last: date) -> set[tuple[str, date]]:
        rows = quality.check("index", levels, context(as_of=last)).quarantined
        return set(zip(rows["name"].to_pylist(), rows["session"].to_pylist(), strict=True))

    whole = aside(frame, LAST)
    for last in (date(2006, 3, 3), date(2007, 10, 18), date(2009, 7, 9)):
        early = aside(frame.loc[frame["session"] <= pd.Timestamp(last)], last)
        assert early == {key for key in whole if key[1] <= last}


def test_what_comes_later_sets_nothing_aside_in_seoul(recorded: RecordedSource):
    """044180 leaves its level in 2012-05 and comes back on 06-08: cut before, the same is known."""
    used = context(rules=shipped_rules(Market.KRX), calendar=SessionCalendar(Market.KRX))
    last = date(2012, 6, 5)

    def aside(until: date) -> set[tuple[str, date]]:
        table = recorded.table("daily", Market.KRX, ["044180", "005930"], date(2012, 4, 2), until)
        return keys(quality.check("daily", table, replace(used, as_of=until)))

    assert aside(last) == {key for key in aside(date(2012, 6, 29)) if key[1] <= last}
