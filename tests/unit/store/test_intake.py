"""From a source into the lake: the same rows pass however they are cut, and nothing comes twice."""

import json
import os
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trading.config import resolve_root
from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import AuthenticationError, TransientBrokerError
from trading.sessions import SessionCalendar
from trading.store.adjust import KIS_US
from trading.store.datasets import EmbeddedSource
from trading.store.intake import Intake, Terms, admit
from trading.store.lake import Lake

SOURCE = EmbeddedSource()
FIRST, LAST = date(2005, 2, 14), date(2005, 3, 11)
CALENDAR = SessionCalendar(Market.US)
KINDS = ("instruments", "index", "daily")


class Watched(EmbeddedSource):
    """The embedded history, which writes down what it is asked for and fails where it is told."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.failing = {}
        self.holes = set()

    def table(self, kind, market, symbols, first, last):
        """Return the recorded rows, or raise what was planned for a symbol."""
        self.asked.append((kind, tuple(symbols) if symbols else None, first, last))
        error = self.failing.get(symbols[0]) if symbols else None
        if error is not None:
            raise error
        table = super().table(kind, market, symbols, first, last)
        if kind not in ("daily", "index") or not self.holes:
            return table
        days = table["session"].to_pylist()
        return table.filter([day not in self.holes for day in days])

    def daily_asked(self):
        """Return who was asked for daily bars of which days."""
        return [call[1:] for call in self.asked if call[0] == "daily"]


@pytest.fixture
def bars() -> pd.DataFrame:
    """A month over AAPL's split, in which IBM's bar of 02-22 came five times."""
    frame = SOURCE.daily(Market.US, None, FIRST, LAST)
    ibm = frame.index[(frame["symbol"] == "IBM") & (frame["session"] >= "2005-02-22")][:5]
    for name in ("open", "high", "low", "close", "volume"):
        frame.loc[ibm, name] = frame.loc[ibm[0], name]
    return frame


def let_through(root: Path, batches: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the clean layer after these batches."""
    lake = Lake(root / "lake")
    lake.upsert_actions(Market.US, SOURCE.actions(Market.US, FIRST, LAST))
    for batch in batches:
        admit(lake, resolve_root(root), shipped_rules(Market.US), CALENDAR, batch)
    return lake.daily(Market.US, None, FIRST, LAST)


def intake_of(root: Path, source: EmbeddedSource, **terms) -> Intake:
    """Return what brings ``source`` into the lake of ``root``."""
    return Intake(
        Lake(root / "lake"),
        resolve_root(root),
        shipped_rules(Market.US),
        CALENDAR,
        source,
        Terms(origin="embedded", **terms),
    )


@pytest.mark.slow
def test_day_by_day_the_same_rows_pass(bars, tmp_path):
    """From its third appearance on a repeated bar is set aside, whenever the batches are cut."""
    at_once = let_through(tmp_path / "a", [bars])
    daily = let_through(
        tmp_path / "b", [day.reset_index(drop=True) for _, day in bars.groupby("session")]
    )

    missing = bars.merge(at_once[["symbol", "session"]], how="left", indicator=True)
    missing = missing.loc[missing["_merge"] == "left_only"]
    assert set(missing["symbol"]) == {"IBM"}
    assert [str(day.date()) for day in missing["session"]] == [
        "2005-02-24", "2005-02-25", "2005-02-28",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(daily, at_once)


def test_nothing_is_asked_for_twice(tmp_path):
    """A range that grows brings only its new days; the lake is as if it had come at once."""
    source = Watched()
    intake = intake_of(tmp_path / "a", source)
    inner = date(2004, 6, 1), date(2005, 3, 11)
    outer = date(2003, 11, 3), date(2005, 4, 29)
    intake.bring(KINDS, inner, known=inner[1])
    source.asked.clear()

    grown = intake.bring(KINDS, outer, known=outer[1])
    again = intake.bring(KINDS, outer, known=outer[1])

    assert source.daily_asked() == [
        (None, date(2003, 11, 3), date(2003, 12, 31)),
        (None, date(2004, 1, 1), date(2004, 5, 31)),
        (None, date(2005, 3, 12), date(2005, 4, 29)),
    ]
    assert (again.rows, again.changed, again.skipped) == ({}, 0, 3)
    at_once = intake_of(tmp_path / "b", EmbeddedSource())
    at_once.bring(KINDS, outer, known=outer[1])
    assert grown.quarantined == 0
    fingerprints = [
        Lake(tmp_path / name / "lake").fingerprint(Market.US, layer)
        for layer in ("raw", "clean")
        for name in ("a", "b")
    ]
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[2] == fingerprints[3]


def test_again_changes_nothing(tmp_path):
    """The same days once more are the same bytes."""
    intake = intake_of(tmp_path, EmbeddedSource())
    span = date(2004, 11, 1), date(2005, 3, 11)
    first = intake.bring(KINDS, span, known=span[1])
    before = Lake(tmp_path / "lake").fingerprint(Market.US)

    again = intake.bring(KINDS, span, known=span[1], again=True)

    assert again.rows == first.rows
    assert (first.changed > 0, again.changed) == (True, 0)
    assert Lake(tmp_path / "lake").fingerprint(Market.US) == before


def test_symbols_one_by_one_make_the_same_lake(tmp_path):
    """A source that is asked symbol by symbol fills the lake with the same bytes."""
    span = date(2004, 11, 1), date(2005, 3, 11)
    source = Watched()
    intake_of(tmp_path / "a", source, parallel=2).bring(KINDS, span, known=span[1])
    intake_of(tmp_path / "b", EmbeddedSource()).bring(KINDS, span, known=span[1])

    whole = {(symbol, first.year) for (symbol,), first, _ in source.daily_asked()}
    assert whole == {(s, y) for s in ("AAPL", "GOOG", "IBM", "MSFT") for y in (2004, 2005)}
    lakes = [Lake(tmp_path / name / "lake") for name in ("a", "b")]
    assert lakes[0].fingerprint(Market.US) == lakes[1].fingerprint(Market.US)


def test_an_action_that_is_known_late_is_kept(tmp_path, monkeypatch):
    """An archive tells of a delisting weeks after it: bars that came before do not hide it."""
    source = Watched()
    intake = intake_of(tmp_path, source)
    intake.bring(("daily",), (FIRST, date(2005, 2, 25)), known=date(2005, 2, 28))
    gone = CorporateAction(
        symbol="GOOG", ex_date=date(2005, 2, 16), kind=ActionKind.DELISTING, amount=1
    )
    known = [gone, *SOURCE.actions(Market.US, FIRST, LAST)]
    monkeypatch.setattr(
        source,
        "actions",
        lambda market, first, last: [one for one in known if first <= one.ex_date <= last],
    )

    intake.bring(("daily",), (FIRST, LAST), known=date(2005, 3, 14))

    assert gone in Lake(tmp_path / "lake").actions(Market.US, FIRST, LAST)


def test_damaged_actions_come_back_with_their_bars(tmp_path):
    """Without them a split would be a fall: the bars of their days are asked for once more."""
    source = Watched()
    span = date(2005, 1, 3), date(2005, 3, 11)
    intake = intake_of(tmp_path, source)
    intake.bring(KINDS, span, known=span[1])
    lake = Lake(tmp_path / "lake")
    told = lake.actions(Market.US, *span)
    part = next((tmp_path / "lake" / "clean").glob("market=US/kind=actions/*.parquet"))
    part.write_bytes(part.read_bytes()[:-10])
    lake.repair()
    source.asked.clear()

    intake.bring(KINDS, span, known=span[1])

    assert told[0].ex_date == source.daily_asked()[0][1] > span[0]
    assert lake.actions(Market.US, *span) == told


@pytest.mark.parametrize("parallel", [0, 2])
def test_an_unknown_symbol_is_named_every_time(tmp_path, parallel):
    """It is not asked for and not noted as brought; the others come."""
    span = date(2005, 1, 3), date(2005, 1, 14)
    source = Watched()
    intake = intake_of(tmp_path, source, parallel=parallel)

    runs = [
        intake.bring(("daily",), span, known=span[1], symbols=["NOPE", "IBM"]) for _ in range(2)
    ]

    assert [run.unknown for run in runs] == [["NOPE"], ["NOPE"]]
    assert [run.rows.get("daily") for run in runs] == [10, None]
    assert {symbols for symbols, _, _ in source.daily_asked()} == {("IBM",)}


def test_a_symbol_that_fails_stops_nobody(tmp_path):
    """It is tried twice and named; the next run asks for it alone, and the lake is whole."""
    span = date(2005, 1, 3), date(2005, 3, 11)
    source = Watched()
    source.failing = {"IBM": TransientBrokerError("응답 없음", code="EGW00500")}
    intake = intake_of(tmp_path, source, parallel=2)
    steps = []

    first = intake.bring(
        ("daily",), span, known=span[1], progress=lambda done, total: steps.append((done, total))
    )
    tried = [symbols for symbols, _, _ in source.daily_asked() if symbols == ("IBM",)]
    source.failing.clear()
    source.asked.clear()
    second = intake.bring(("daily",), span, known=span[1])

    assert first.failed == {"IBM": "응답 없음"}
    assert len(tried) == 2
    assert steps[-1] == (5, 5)  # FB was not listed yet: done without a question
    assert [symbols for symbols, _, _ in source.daily_asked()] == [("IBM",)]
    assert second.failed == {}
    kept = Lake(tmp_path / "lake").daily(Market.US, None, *span)
    record = SOURCE.daily(Market.US, None, *span)
    columns = ["symbol", "session", "close"]
    pd.testing.assert_frame_equal(kept[columns], record[columns])


def test_a_venue_that_answers_nobody_ends_the_run(tmp_path):
    """A key that is refused is not tried for every symbol, and nothing is noted as brought."""
    span = date(2005, 1, 3), date(2005, 3, 11)
    source = Watched()
    source.failing = dict.fromkeys(("AAPL", "GOOG", "IBM", "MSFT"), AuthenticationError("키 거절"))
    intake = intake_of(tmp_path, source, parallel=1)

    with pytest.raises(AuthenticationError):
        intake.bring(("daily",), span, known=span[1])

    asked = source.daily_asked()
    assert len(asked) == len(set(asked)), "nobody is tried twice"
    assert set(intake.journal.missing("daily", ["AAPL", "IBM"], span)) == {"AAPL", "IBM"}


def test_what_was_fetched_before_a_kill_is_not_fetched_again(tmp_path):
    """The spool of a chunk that was not finished is taken up; afterwards it is gone."""
    span = date(2005, 1, 3), date(2005, 3, 11)
    source = Watched()
    # What is no matter of one symbol goes through at once, as a kill does.
    source.failing = {"MSFT": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        intake_of(tmp_path, source, parallel=1).bring(("daily",), span, known=span[1])
    fetched = {symbols[0] for symbols, _, _ in source.daily_asked()} - {"MSFT"}
    source.failing.clear()
    source.asked.clear()

    brought = intake_of(tmp_path, source, parallel=1).bring(("daily",), span, known=span[1])

    assert fetched == {"AAPL", "GOOG", "IBM"}
    assert [symbols for symbols, _, _ in source.daily_asked()] == [("MSFT",)]
    assert brought.rows["daily"] == len(SOURCE.daily(Market.US, None, *span))
    assert not list((tmp_path / "lake" / "backfill").rglob("*.parquet"))


def test_a_morning_asks_for_its_actions(tmp_path):
    """Bars that were brought at night are asked for once more: only now the split shows."""
    source = Watched()
    friday, saturday, monday = date(2005, 2, 25), date(2005, 2, 26), date(2005, 2, 28)
    intake = intake_of(tmp_path, source, parallel=1, vendor=KIS_US)
    wanted = date(2005, 2, 1), friday
    intake.bring(("daily",), wanted, known=saturday)
    source.asked.clear()

    intake.bring(("daily",), wanted, known=monday, symbols=["AAPL", "IBM"])
    asked = source.daily_asked()
    intake.bring(("daily",), wanted, known=monday, symbols=["AAPL", "IBM"])

    assert [(symbols, last) for symbols, _, last in asked] == [
        (("AAPL",), friday), (("IBM",), friday),
    ]  # fmt: skip
    assert all(first >= date(2005, 2, 17) for _, first, _ in asked)
    assert source.daily_asked() == asked


def test_days_without_any_row_are_asked_for_again(tmp_path):
    """What is not there yet may be there the next time."""
    source = Watched()
    span = date(2013, 3, 4), date(2013, 3, 8)  # after the last embedded session

    brought = intake_of(tmp_path, source).bring(("daily",), span, known=span[1])
    again = intake_of(tmp_path, source).bring(("daily",), span, known=span[1])

    assert brought.missing == again.missing == CALENDAR.sessions(*span)
    assert (brought.rows, again.skipped) == ({"daily": 0}, 0)


def test_a_missing_session_is_named_and_asked_for_again(tmp_path):
    """The other days of its chunk are kept; the next run asks for that day alone."""
    hole, span = date(2004, 6, 16), (date(2004, 5, 3), date(2004, 7, 30))
    source = Watched()
    source.holes = {hole}
    first = intake_of(tmp_path, source).bring(("daily",), span, known=span[1])
    source.holes = set()
    source.asked.clear()

    second = intake_of(tmp_path, source).bring(("daily",), span, known=span[1])

    assert (first.missing, first.refused) == ([hole], [])
    assert source.daily_asked() == [(None, hole, hole)]
    assert second.missing == []
    kept = Lake(tmp_path / "lake").daily(Market.US, None, *span)
    assert len(kept) == len(SOURCE.daily(Market.US, None, *span))


def test_an_index_that_comes_late_is_asked_for_again(tmp_path):
    """Its last session is no hole for ever; of an index that has ended nothing is waited for."""
    span = date(2004, 11, 1), date(2005, 3, 11)
    source = Watched()
    source.holes = {date(2005, 3, 10), span[1]}
    intake = intake_of(tmp_path, source)
    intake.bring(("index",), span, known=span[1])
    source.asked.clear()
    source.holes = set()

    intake.bring(("index",), span, known=span[1])
    source.holes = set(CALENDAR.sessions(date(2005, 3, 14), date(2005, 4, 29)))
    ended = span[0], date(2005, 4, 29)
    intake.bring(("index",), ended, known=ended[1])

    assert [call[2:] for call in source.asked] == [
        (date(2005, 3, 10), span[1]), (date(2005, 3, 12), ended[1]),
    ]  # fmt: skip
    assert intake.journal.missing("index", ["*"], ended) == {}


def test_what_was_damaged_is_brought_again(tmp_path):
    """A file that was repaired away is missing days: the next run asks for them, and no others."""
    source = Watched()
    span = date(2004, 11, 1), date(2005, 3, 11)
    intake_of(tmp_path, source).bring(KINDS, span, known=span[1])
    lake = Lake(tmp_path / "lake")
    whole = lake.fingerprint(Market.US)
    part = next((tmp_path / "lake" / "clean").glob("market=US/kind=daily/month=2005-01/*.parquet"))
    part.write_bytes(part.read_bytes()[:-10])
    lake.repair()
    source.asked.clear()

    intake_of(tmp_path, source).bring(KINDS, span, known=span[1])

    assert source.daily_asked() == [(None, date(2005, 1, 3), date(2005, 1, 31))]
    assert Lake(tmp_path / "lake").fingerprint(Market.US) == whole


class Garbled(Watched):
    """The embedded history, of which highs and adjusted closes are nonsense while ``garbled``."""

    garbled = True

    def table(self, kind, market, symbols, first, last):
        """Return the rows, daily ones with a high below everything and a split of ten for one."""
        table = super().table(kind, market, symbols, first, last)
        if kind != "daily" or not self.garbled:
            return table
        ones = pa.array([1] * len(table), pa.int64())
        table = table.set_column(table.column_names.index("high"), "high", ones)
        close = table["close"].to_numpy() / market.currency.minor_per_unit
        late = table["session"].to_numpy() >= np.datetime64("2005-02-01")
        adjusted = pa.array(np.where(late, close, close / 10.0))
        return table.set_column(table.column_names.index("adj_close"), "adj_close", adjusted)


def test_what_was_refused_is_fetched_again(tmp_path):
    """A venue that answered nonsense is asked once more by the same command, on the same day.

    What its adjusted closes told is forgotten with the rows.
    """
    span = date(2005, 1, 3), date(2005, 3, 11)
    source = Garbled()
    intake = intake_of(tmp_path, source, parallel=1, vendor=KIS_US)
    first = intake.bring(("daily",), span, known=span[1])
    source.garbled = False
    source.asked.clear()

    second = intake.bring(("daily",), span, known=span[1])

    assert (len(first.refused), second.refused) == (1, [])
    assert len(source.daily_asked()) == 4
    assert second.rows["daily"] == len(SOURCE.daily(Market.US, None, *span))
    told = [action.ex_date for action in Lake(tmp_path / "lake").actions(Market.US, *span)]
    assert date(2005, 2, 1) not in told
    assert date(2005, 2, 28) in told


def test_nothing_stays_in_the_spool(tmp_path):
    """Neither beside a symbol that fails day after day, nor for a month after a kill."""
    source = Watched()
    source.failing = {"IBM": TransientBrokerError("응답 없음", code="EGW00500")}
    intake = intake_of(tmp_path, source, parallel=1)
    for last in (date(2005, 3, 10), date(2005, 3, 11)):
        intake.bring(("daily",), (date(2005, 1, 3), last), known=last)
    spool = tmp_path / "lake" / "backfill"
    after_failures = list(spool.rglob("*.parquet"))
    source.failing = {"MSFT": KeyboardInterrupt()}
    span = date(2005, 1, 3), date(2005, 3, 14)
    with pytest.raises(KeyboardInterrupt):
        intake.bring(("daily",), span, known=span[1])
    left = list(spool.rglob("*.parquet"))
    source.failing = {}

    for path in (*left, *(file.parent for file in left)):
        os.utime(path, ns=(0, 0))
    intake.bring(("daily",), (date(2005, 1, 3), date(2005, 3, 15)), known=date(2005, 3, 16))

    assert after_failures == []
    assert left
    assert list(spool.rglob("*.parquet")) == []


def test_a_name_that_was_not_listed_yet_is_not_missing(tmp_path):
    """Of a name that is added later, the years before its listing are no hole, and asked for once."""
    span = date(2010, 1, 4), date(2012, 12, 31)
    source = Watched()
    alone, beside = (intake_of(tmp_path / name, source, parallel=1) for name in "ab")
    beside.bring(("daily",), span, known=span[1], symbols=["AAPL", "IBM"])

    found = [intake.bring(("daily",), span, known=span[1], symbols=["FB"])
             for intake in (alone, beside)]  # fmt: skip

    # FB was listed on 2012-05-18.
    assert [brought.missing for brought in found] == [[], []]
    assert alone.journal.missing("daily", ["FB"], span) == {}
    assert beside.journal.missing("daily", ["FB"], span) == {}


def test_a_name_without_a_bar_on_others_sessions_is_not_missing(tmp_path):
    """A halted name that is asked for alone stops no day; a day of which nobody has a bar does."""
    span = date(2005, 1, 3), date(2005, 3, 11)
    source = Watched()
    intake = intake_of(tmp_path, source, parallel=1)
    intake.bring(("daily",), span, known=span[1], symbols=["AAPL", "GOOG"])
    source.holes = {span[1]}

    halted = intake.bring(("daily",), span, known=span[1], symbols=["IBM"])
    tomorrow = span[0], date(2005, 3, 14)
    source.holes.add(tomorrow[1])
    nobody = intake.bring(("daily",), tomorrow, known=tomorrow[1], symbols=["IBM"])

    assert halted.missing == []
    assert nobody.missing == [tomorrow[1]]


def test_mornings_join_in_the_journal(tmp_path):
    """What is noted of actions does not grow by the day, over weekends neither."""
    source = Watched()
    intake = intake_of(tmp_path, source, parallel=1, vendor=KIS_US)
    mornings = CALENDAR.sessions(date(2005, 2, 22), date(2005, 3, 4))
    for last, morning in pairwise(mornings):
        intake.bring(("daily",), (date(2005, 2, 1), last), known=morning, symbols=["IBM"])

    kept = json.loads(next((tmp_path / "lake" / "backfill").rglob("*.json")).read_text())

    assert kept["kinds"]["actions"] == {"IBM": [["2005-02-22", "2005-03-04"]]}


class Rounded(Watched):
    """The embedded history, with adjusted closes that tell one split of AAPL, by ``ratio``."""

    ratio = 2.0

    def table(self, kind, market, symbols, first, last):
        """Return the rows, adjusted to the evening they are of but for AAPL's before its split."""
        table = super().table(kind, market, symbols, first, last)
        if kind != "daily":
            return table
        close = table["close"].to_numpy() / market.currency.minor_per_unit
        before = table["session"].to_numpy() < np.datetime64("2005-02-28")
        divided = before & (table["symbol"].to_pandas() == "AAPL").to_numpy()
        adjusted = pa.array(np.where(divided, close / self.ratio, close))
        return table.set_column(table.column_names.index("adj_close"), "adj_close", adjusted)


def test_an_action_that_was_traded_on_stands(tmp_path):
    """Closes that are rounded otherwise on the next morning tell nothing new of the last one."""
    friday, monday, tuesday = date(2005, 2, 25), date(2005, 2, 28), date(2005, 3, 1)
    source, lake = Rounded(), Lake(tmp_path / "lake")
    intake = intake_of(tmp_path, source, parallel=1, vendor=KIS_US)

    def told(last, known, **again):
        intake.bring(("daily",), (date(2005, 2, 1), last), known=known, symbols=["AAPL"], **again)
        actions = lake.actions(Market.US, friday, tuesday)
        return [(a.kind, a.ex_date, a.numerator / a.denominator) for a in actions if a.inferred]

    on_monday = told(friday, monday)
    source.ratio = 1.9
    on_tuesday = told(monday, tuesday)
    anew_of_another_kind = told(monday, tuesday, again=True)
    source.ratio = 3.0
    anew = told(monday, tuesday, again=True)

    assert on_monday == on_tuesday == [(ActionKind.SPLIT, monday, 2.0)]
    assert anew_of_another_kind == on_monday
    assert anew == [(ActionKind.SPLIT, monday, 3.0)]
