"""However the bars came into the lake and wherever they are read from, the panels are the same."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_oracle import plain_panels

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, RawPanel
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store.bars import cross_section, last_bars
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.lake import Lake
from trading.store.panels import assemble_panels, build_panels

CALENDAR = SessionCalendar(Market.US)
RULES = shipped_rules(Market.US)
# Over the turn of a year, so that two blocks meet.
FIRST, LAST = date(2004, 10, 1), date(2005, 3, 31)
DAYS = CALENDAR.sessions(FIRST, LAST)
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
BARS = EmbeddedSource().daily(Market.US, list(SYMBOLS), FIRST, LAST)

Panels = tuple[RawPanel, AdjustedPanel]


@st.composite
def recordings(draw: st.DrawFn) -> pd.DataFrame:
    """Recorded bars with sessions missing, halted, marked as a vendor's, and off the grid."""
    cell = st.integers(0, len(BARS) - 1)
    frame = BARS.copy()
    halted = draw(st.lists(cell, max_size=6))
    frame.loc[halted, ["open", "high", "low", "volume"]] = 0
    frame.loc[draw(st.lists(cell, max_size=30)), "basis"] = "adjusted"
    frame.loc[draw(st.lists(cell, max_size=15)), "close"] += draw(st.sampled_from((1, 50, 100)))
    return frame.drop(index=draw(st.lists(cell, max_size=12, unique=True)))


@st.composite
def actions(draw: st.DrawFn) -> list[CorporateAction]:
    found = {}
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(ActionKind))
        ratio = kind in (ActionKind.SPLIT, ActionKind.RIGHTS)
        action = CorporateAction(
            symbol=draw(st.sampled_from(SYMBOLS)),
            ex_date=draw(st.dates(FIRST, LAST)),
            kind=kind,
            numerator=draw(st.integers(1, 50)) if ratio else 1,
            denominator=draw(st.integers(1, 50)) if ratio else 1,
            amount=0 if ratio else draw(st.integers(1, 2_000_000)),
        )
        found[action.symbol, action.ex_date, kind] = action
    return list(found.values())


def assert_same(panels: Panels, expected: Panels) -> None:
    for panel, other in zip(panels, expected, strict=True):
        for name in (field.name for field in fields(panel)):
            value, wanted = getattr(panel, name), getattr(other, name)
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), name
                assert value.tobytes() == wanted.tobytes(), name
            else:
                assert value == wanted, name


def assert_plain(panels: Panels, arrays: Sequence[dict[str, np.ndarray]]) -> None:
    for panel, plain in zip(panels, arrays, strict=True):
        for name, wanted in plain.items():
            assert getattr(panel, name).tobytes() == wanted.tobytes(), name


@settings(max_examples=40)
@given(
    frame=recordings(),
    events=actions(),
    symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True),
    first=st.integers(0, 60),
    rules=st.sampled_from((None, RULES)),
    require_raw=st.booleans(),
)
def test_one_walk_is_the_plain_arithmetic(frame, events, symbols, first, rules, require_raw):
    """Both panels equal, to the bit, what numpy gives row by row."""
    days = DAYS[first:]
    given = {"rules": rules, "require_raw": require_raw}

    panels = assemble_panels(frame, events, days, Market.US, symbols, **given)

    assert_plain(panels, plain_panels(frame, events, days, symbols, **given))


@settings(max_examples=25)
@given(
    frame=recordings(),
    events=actions(),
    symbols=st.none() | st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True),
    span=st.lists(st.sampled_from(DAYS), min_size=2, max_size=2, unique=True).map(sorted),
    known_on=st.none() | st.sampled_from(DAYS),
    batches=st.lists(st.integers(0, 3), min_size=600, max_size=600),
    looks=st.sets(st.integers(0, 3)),
)
def test_cache_and_parquet_agree(
    tmp_path_factory, frame, events, symbols, span, known_on, batches, looks
):
    """Batches in any order, reads between them, any subset and range: one answer, to the bit."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    batch = np.array(batches)[: len(frame)]
    lake.upsert(Market.US, "daily", frame.assign(close=frame["close"] + 100))
    lake.upsert_actions(Market.US, events)
    ask = {"benchmark": "", "rules": RULES, "known_on": known_on}
    for number in range(4):
        lake.upsert(Market.US, "daily", frame.loc[batch == number])
        if number in looks:
            build_panels(lake, CALENDAR, Market.US, None, *span, **ask)

    cached = build_panels(lake, CALENDAR, Market.US, symbols, *span, **ask)
    again = build_panels(lake, CALENDAR, Market.US, symbols, *span, **ask)
    direct = build_panels(lake, CALENDAR, Market.US, symbols, *span, **ask, cached=False)

    assert_same(again, cached)
    assert_same(direct, cached)
    days = CALENDAR.sessions(*span)
    in_span = frame.loc[frame["session"].between(*map(pd.Timestamp, span))]
    inside = [a for a in events if span[0] <= a.ex_date <= span[1]]
    names = cached[0].symbols
    assert_plain(cached, plain_panels(in_span, inside, days, names, rules=RULES))
    if symbols is None:
        known = in_span["session"] < pd.Timestamp(known_on or date.max.replace(year=2200))
        assert names == tuple(sorted(in_span.loc[known, "symbol"].unique()))


@settings(max_examples=25)
@given(
    frame=recordings(),
    symbols=st.lists(st.sampled_from((*SYMBOLS, "NONE")), min_size=1),
    n=st.integers(1, 140),
    as_of=st.none() | st.dates(date(2004, 9, 1), date(2005, 5, 1)),
    day=st.dates(FIRST, LAST),
)
def test_last_bars_and_cross_section(tmp_path_factory, frame, symbols, n, as_of, day):
    """They are the tail of each symbol and the rows of the day, from the cache and from Parquet."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.upsert(Market.US, "daily", frame)
    columns = list(last_bars(lake, Market.US, symbols, n).columns)
    rows = lake.daily(Market.US, None, FIRST, LAST)[columns]
    until = rows.loc[rows["session"] <= pd.Timestamp(as_of or LAST)]
    tail = until.loc[until["symbol"].isin(symbols)].groupby("symbol").tail(n)
    on_day = rows.loc[rows["session"] == pd.Timestamp(day)]

    for cached in (True, False):
        last = last_bars(lake, Market.US, symbols, n, as_of, cached=cached)
        pd.testing.assert_frame_equal(last, tail.reset_index(drop=True))
        section = cross_section(lake, Market.US, day, cached=cached)
        pd.testing.assert_frame_equal(section, on_day.reset_index(drop=True))


@settings(max_examples=15)
@given(frame=recordings(), events=actions(), cut=st.sampled_from(DAYS[1:-1]))
def test_what_comes_later_changes_nothing(tmp_path_factory, frame, events, cut):
    """A panel read on a day is the same rows as one read when bars and actions have gone on."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    seen = frame["session"] <= pd.Timestamp(cut)
    lake.upsert(Market.US, "daily", frame.loc[seen])
    lake.upsert_actions(Market.US, [a for a in events if a.ex_date <= cut])
    read = {"benchmark": "", "rules": RULES}

    before = build_panels(lake, CALENDAR, Market.US, SYMBOLS[2:], FIRST, cut, **read)
    lake.upsert(Market.US, "daily", frame.loc[~seen])
    lake.upsert_actions(Market.US, events)
    after = build_panels(lake, CALENDAR, Market.US, SYMBOLS[2:], FIRST, LAST, **read)
    later = build_panels(lake, CALENDAR, Market.US, SYMBOLS[2:], FIRST, cut, **read)

    assert_same(later, before)
    for panel, other in zip(before, after, strict=True):
        for name in ("open", "high", "low", "close", "volume", "tradable"):
            rows = getattr(panel, name)
            assert rows.tobytes() == getattr(other, name)[: len(rows)].tobytes(), name


def test_recorded_korean_market(recorded: RecordedSource, tmp_path: Path):
    """All names of two Januaries (official and vendor's prices): plain, cached and direct agree."""
    rules, calendar = shipped_rules(Market.KRX), SessionCalendar(Market.KRX)
    first, last = date(2023, 12, 20), date(2024, 1, 12)
    frame = recorded.daily(Market.KRX, None, first, last)
    frame = frame.loc[frame["symbol"].isin(sorted(frame["symbol"].unique())[::12])]
    lake = Lake(tmp_path)
    lake.upsert(Market.KRX, "daily", frame)
    ask = {"benchmark": "", "rules": rules}

    cached = build_panels(lake, calendar, Market.KRX, None, first, last, **ask)
    direct = build_panels(lake, calendar, Market.KRX, None, first, last, **ask, cached=False)

    assert_same(direct, cached)
    days = calendar.sessions(first, last)
    assert_plain(cached, plain_panels(frame, [], days, cached[0].symbols, rules=rules))
    assert 0 < cached[0].tradable.sum() < cached[1].tradable.sum()
    names, cut = cached[0].symbols, days[-5]
    earlier = build_panels(lake, calendar, Market.KRX, names, first, cut, **ask)
    assert earlier[0].reference.tobytes() == cached[0].reference[:-4].tobytes()
    assert earlier[1].close.tobytes() == cached[1].close[:-4].tobytes()
