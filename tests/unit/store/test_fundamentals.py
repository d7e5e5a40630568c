"""A figure counts from the session on which it was public, and never before."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import MissingDataError
from trading.store.datasets import RecordedSource
from trading.store.fundamentals import Known, asof, known
from trading.store.lake import Lake

SYMBOLS = ("A", "B", "C")
METRICS = ("eps", "bps")
DAY = date(2021, 3, 1)
SESSIONS = [DAY + timedelta(days=number) for number in range(0, 60, 3)]


def published(*rows: tuple[str, str, date, date, float], rule: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["symbol", "metric", "period", "published", "value"])
    return frame.assign(rule=rule, source="test")


def series(found: Known, metric: str, symbol: str) -> list[float]:
    column: list[float] = found.values[metric][:, found.symbols.index(symbol)].tolist()
    return column


def assert_equal(left: Known, right: Known, rows: int) -> None:
    """Assert that the first rows are the same to the bit."""
    for one, other in (
        (left.values, right.values),
        (left.periods, right.periods),
        (left.by_rule, right.by_rule),
    ):
        for name in one:
            np.testing.assert_array_equal(one[name][:rows], other[name][:rows])


def test_restatements_and_late_reports():
    """The newest period counts; its restatement from its own day; an older period never again."""
    sessions = [date(2021, 3, day) for day in (29, 30, 31)] + [date(2021, 4, day) for day in (1, 2)]
    rows = published(
        ("A", "eps", date(2019, 12, 31), date(2020, 3, 30), 100.0),
        ("A", "eps", date(2020, 12, 31), date(2021, 3, 30), 120.0),
        ("A", "eps", date(2020, 12, 31), date(2021, 4, 1), 90.0),
        # A correction of the year before the last one.
        ("A", "eps", date(2019, 12, 31), date(2021, 4, 2), 101.0),
    )

    found = known(rows, ["eps", "dps"], sessions, ["A", "B"])

    assert series(found, "eps", "A") == [100.0, 120.0, 120.0, 90.0, 90.0]
    assert found.periods["eps"][0, 0] == np.datetime64("2019-12-31")
    assert found.periods["eps"][4, 0] == np.datetime64("2020-12-31")
    assert np.isnan(found.values["eps"][:, 1]).all()
    assert np.isnan(found.values["dps"]).all()
    assert np.isnat(found.periods["dps"]).all()
    assert not found.by_rule["eps"].any()


def test_what_is_public_on_a_holiday_counts_from_the_next_session():
    """Published on a Saturday: the first session that can use it is Monday's."""
    friday, monday = date(2021, 4, 2), date(2021, 4, 5)
    rows = published(("A", "eps", date(2020, 12, 31), date(2021, 4, 3), 5.0), rule=True)

    found = known(rows, ["eps"], [friday, monday], ["A"])

    assert np.isnan(found.values["eps"][0, 0])
    assert found.values["eps"][1, 0] == 5.0
    assert found.by_rule["eps"][:, 0].tolist() == [False, True]


rows_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(METRICS),
        st.integers(0, 3).map(lambda year: date(2017 + year, 12, 31)),
        st.integers(-5, 65).map(lambda days: DAY + timedelta(days=days)),
        st.floats(-1e6, 1e6),
    ),
    max_size=30,
    unique_by=lambda row: row[:4],
)


def by_hand(rows: list[tuple[str, str, date, date, float]], metric: str, symbol: str, day: date):
    """Return the figure as the definition says it."""
    there = [r for r in rows if r[:2] == (symbol, metric) and r[3] <= day]
    return max(there, key=lambda r: (r[2], r[3]))[4] if there else float("nan")


@settings(max_examples=200, deadline=None)
@given(rows_of_any_kind)
def test_definition(rows):
    """On each session: of the newest public period, the newest publication."""
    found = known(published(*rows), METRICS, SESSIONS, SYMBOLS)

    for metric in METRICS:
        expected = [[by_hand(rows, metric, s, day) for s in SYMBOLS] for day in SESSIONS]
        np.testing.assert_array_equal(found.values[metric], np.array(expected))


@settings(max_examples=200, deadline=None)
@given(rows_of_any_kind, st.integers(0, len(SESSIONS) - 1), st.randoms(use_true_random=False))
def test_later_publications_change_nothing_before(rows, cut, random):
    """Restatements and reports to come, and the order of rows, leave the past as it was."""
    until = SESSIONS[cut]
    shuffled = random.sample(rows, len(rows))
    whole = known(published(*shuffled), METRICS, SESSIONS, SYMBOLS)
    then = known(
        published(*[row for row in rows if row[3] <= until]), METRICS, SESSIONS[: cut + 1], SYMBOLS
    )

    assert_equal(whole, then, cut + 1)


@pytest.fixture
def krx(tmp_path: Path, shared_data: Path) -> Lake:
    """Return a lake with the recorded KRX fundamentals of Samsung and SK hynix."""
    lake = Lake(tmp_path)
    table = RecordedSource(shared_data).table(
        "fundamentals", Market.KRX, ["005930", "000660"], date(2000, 1, 1), date(2025, 1, 23)
    )
    lake.upsert(Market.KRX, "fundamentals", table)
    return lake


def test_recorded_figures(krx: Lake):
    """Samsung: EPS 3,166 in force on 2021-01-04, 3,841 on 2022-01-03 (KRX); PER x EPS = close.

    Its statement of 2020 counts from the 15th session after 1 April 2021: the 22nd.
    """
    sessions = [date(2021, 1, 4), date(2021, 4, 21), date(2021, 4, 22), date(2022, 1, 3)]

    found = asof(krx, Market.KRX, ["eps", "per", "total_assets"], sessions, ["005930", "000660"])

    eps, per = (found.values[name][:, 0] for name in ("eps", "per"))
    assert eps.tolist() == [3_166.0, 3_166.0, 3_166.0, 3_841.0]
    assert per[0] * eps[0] == pytest.approx(83_000, rel=0.001)
    periods = found.periods["total_assets"][:, 0].astype(str).tolist()
    assert periods == ["2019-12-31", "2019-12-31", "2020-12-31", "2020-12-31"]
    assert found.by_rule["total_assets"][:, 0].all()
    assert not found.by_rule["eps"].any()
    section = found.cross_section(date(2021, 4, 22))
    assert section.loc["005930", "eps"] == 3_166.0
    assert section.loc["000660", "total_assets"] > section.loc["000660", "eps"]
    with pytest.raises(MissingDataError, match="2021-04-23"):
        found.cross_section(date(2021, 4, 23))


def test_nothing_asked_nothing_known(tmp_path: Path):
    """An empty lake knows nothing, and no session is no row."""
    found = asof(Lake(tmp_path), Market.KRX, ["eps"], [DAY], ["005930"])

    assert np.isnan(found.values["eps"]).all()
    assert known(published(), ["eps"], [], ["A"]).values["eps"].shape == (0, 1)
