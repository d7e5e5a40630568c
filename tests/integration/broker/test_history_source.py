"""KIS as a source of the lake: the recorded history comes back through the wire as it was."""

import asyncio
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.broker.history import KisBarSource
from trading.config import resolve_root
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import MissingDataError, UsageError
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.adjust import KIS_US
from trading.store.datasets import EmbeddedSource
from trading.store.intake import Intake, Terms
from trading.store.lake import Lake
from trading.wire.endpoints import Profile

# A session after AAPL's split of 2005-02-28 (2:1).
TODAY = date(2005, 6, 30)
SPLIT = date(2005, 2, 28)
EMBEDDED = EmbeddedSource()


@pytest.fixture
def source(bench, settings, cache):
    """Return the exchange of 2005-06-30 as a source with two connections."""
    bench.control("session", session=TODAY.isoformat())
    clients = [bench.client(cache, settings=settings, profile=Profile.REAL) for _ in range(2)]
    yield KisBarSource(*clients)
    for client in clients:
        asyncio.run(client.close())


def test_daily_rows_are_the_recorded_ones_beside_adjusted_closes(source):
    """Raw bars equal the record to the unit, whatever range is asked for; only the closes before
    a split are halved. (The two flags mean the opposite at KIS's other endpoints.)"""

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        symbol=st.sampled_from(["AAPL", "IBM", "MSFT"]),
        first=st.dates(date(2004, 1, 2), date(2005, 5, 1)),
        days=st.integers(0, 420),
    )
    def law(symbol, first, days):
        last = min(first + timedelta(days=days), TODAY - timedelta(days=1))
        asked = schema.conform(
            source.table("daily", Market.US, [symbol], first, last), schema.DAILY_BARS
        )
        record = EMBEDDED.table("daily", Market.US, [symbol], first, last)

        for name in ("session", "symbol", "exchange", "open", "high", "low", "close", "volume"):
            assert asked[name].to_pylist() == record[name].to_pylist()
        closes = np.array(asked["close"].to_pylist(), dtype=np.float64) / 10_000
        before = np.array(asked["session"].to_pylist(), dtype="datetime64[D]") < np.datetime64(
            SPLIT
        )
        factor = np.where(before & (symbol == "AAPL"), 0.5, 1.0)
        np.testing.assert_allclose(asked["adj_close"].to_numpy(), closes * factor, atol=5e-5)
        assert set(asked["source"].to_pylist()) <= {"kis"}
        assert asked["fetched_at"].null_count == 0

    law()


def test_this_mornings_split_is_known(bench, settings, cache, tmp_path):
    """On the morning of its ex-date, and not before, the adjusted closes tell the split."""
    lake = Lake(tmp_path / "lake")
    rules = shipped_rules(Market.US)
    bench.control("session", session="2005-02-25")
    client = bench.client(cache, settings=settings, profile=Profile.REAL)
    intake = Intake(
        lake,
        resolve_root(tmp_path),
        rules,
        SessionCalendar(Market.US, rules),
        KisBarSource(client),
        Terms(origin="kis", parallel=1, vendor=KIS_US),
    )
    first, last = date(2005, 1, 3), date(2005, 2, 24)

    intake.bring(("daily",), (first, last), known=date(2005, 2, 25), symbols=["AAPL", "IBM"])
    before = lake.actions(Market.US, first, TODAY)
    while bench.control("advance", until="2100-01-01T00:00:00+00:00")["phase"] != "after_close":
        pass
    bench.control("session", session="2005-02-28")
    intake.bring(("daily",), (first, date(2005, 2, 25)), known=SPLIT, symbols=["AAPL", "IBM"])
    asyncio.run(client.close())

    assert before == []
    assert [(a.symbol, a.ex_date, a.numerator) for a in lake.actions(Market.US, first, TODAY)] == [
        ("AAPL", SPLIT, 2)
    ]


def test_other_kinds_of_the_us(source):
    """Index, instruments and rankings come in their agreed shapes."""
    first, last = date(2005, 1, 3), date(2005, 3, 31)

    index = schema.conform(source.table("index", Market.US, None, first, last), schema.INDEX)
    instruments = schema.conform(
        source.table("instruments", Market.US, None, first, last), schema.INSTRUMENTS
    )
    rankings = schema.conform(
        source.table("rankings", Market.US, None, first, last), schema.RANKINGS
    )

    record = EMBEDDED.table("index", Market.US, ["S&P 500"], first, last)
    assert set(index["name"].to_pylist()) == {"S&P 500"}  # what the exchange replays
    assert index["close"].to_pylist() == pytest.approx(record["close"].to_pylist(), abs=0.005)
    assert set(instruments["symbol"].to_pylist()) == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}
    rows = [row for row in rankings.to_pylist() if row["ranking"] == "volume"]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    assert all(row["session"] == TODAY for row in rows)


def test_what_is_not_offered_or_known_is_said(source):
    """Another market, a kind that KIS lacks and an unknown symbol are errors, not empty frames."""
    assert source.kinds(Market.KRX) == frozenset()
    assert {"daily", "minute", "index", "instruments", "rankings"} == source.kinds(Market.US)
    with pytest.raises(UsageError):
        source.table("sectors", Market.US, None, TODAY, TODAY)
    with pytest.raises(MissingDataError):
        source.table("daily", Market.US, ["NOPE"], TODAY, TODAY)


def test_paper_accounts_offer_less(start_bench, settings, cache):
    """모의투자 has no past minutes and no rankings; daily bars it has."""
    bench = start_bench(Profile.PAPER)
    bench.control("session", session=TODAY.isoformat())
    client = bench.client(cache, settings=settings, profile=Profile.PAPER)

    assert KisBarSource(client).kinds(Market.US) == {"daily", "index", "instruments"}
    asyncio.run(client.close())
