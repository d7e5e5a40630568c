"""The journal of what was brought: a set of days a symbol, whatever the order it is told them."""

import json
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import DataError, SessionBusyError
from trading.store import journal
from trading.store.journal import EVERYTHING, Journal

BEGIN = date(2024, 1, 1)
SPANS = st.tuples(st.integers(0, 40), st.integers(0, 15)).map(
    lambda pair: (BEGIN + timedelta(days=pair[0]), BEGIN + timedelta(days=sum(pair)))
)
NAMES = st.sampled_from([EVERYTHING, "AAPL", "BRK/B"])


def days_of(spans):
    """Return every day of some spans."""
    return {
        first + timedelta(days=number)
        for first, last in spans
        for number in range((last - first).days + 1)
    }


@given(
    told=st.lists(st.tuples(st.sampled_from(["add", "forget"]), NAMES, SPANS), max_size=12),
    wanted=SPANS,
)
def test_what_is_missing_is_what_was_never_brought(told, wanted, tmp_path_factory):
    """The days it names are those of the model, in order and joined."""
    book = Journal(tmp_path_factory.mktemp("lake"), Market.US, "kis")
    model = {EVERYTHING: set(), "AAPL": set(), "BRK/B": set()}
    for what, name, span in told:
        if what == "add":
            book.add("daily", {name: span})
            model[name] |= days_of([span])
        else:
            book.forget("daily", span)
            for kept in model.values():
                kept -= days_of([span])

    missing = book.missing("daily", ["AAPL", "BRK/B"], wanted)

    for name in ("AAPL", "BRK/B"):
        spans = missing.get(name, [])
        assert days_of(spans) == days_of([wanted]) - model[name] - model[EVERYTHING]
        assert all(a[1] + timedelta(days=1) < b[0] for a, b in pairwise(spans))
    assert book.missing("minute", ["AAPL"], wanted) == {"AAPL": [wanted]}


def test_each_source_has_its_own(tmp_path):
    """What one source brought another still lacks; both are named, and both forget."""
    span = BEGIN, BEGIN + timedelta(days=9)
    Journal(tmp_path, Market.KRX, "kis").add("daily", {"005930": span})
    Journal(tmp_path, Market.KRX, "/data/krx").add("daily", {EVERYTHING: span})

    assert journal.origins(tmp_path, Market.KRX) == {"kis", "/data/krx"}
    assert journal.origins(tmp_path, Market.US) == frozenset()
    assert Journal(tmp_path, Market.KRX, "other").missing("daily", [EVERYTHING], span)

    journal.forget(tmp_path, Market.KRX, "daily", (BEGIN, BEGIN))

    for origin, name in (("kis", "005930"), ("/data/krx", EVERYTHING)):
        book = Journal(tmp_path, Market.KRX, origin)
        assert book.missing("daily", [name], span) == {name: [(BEGIN, BEGIN)]}


def test_only_one_back_fill_of_a_source_runs(tmp_path):
    """A second one is told so at once; another source is free."""
    ours, theirs = (Journal(tmp_path, Market.US, "kis") for _ in range(2))

    with ours.held():
        with pytest.raises(SessionBusyError), theirs.held():
            pass
        with Journal(tmp_path, Market.US, "embedded").held():
            pass
    with theirs.held():
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kinds": 3}', '{"kinds": {"daily": [1]}}'])
def test_a_damaged_journal_is_told(tmp_path, content):
    """It is neither taken for empty nor a riddle: the sentence names the file."""
    book = Journal(tmp_path, Market.US, "kis")
    book.add("daily", {"AAPL": (BEGIN, BEGIN)})
    (path,) = tmp_path.glob("backfill/market=US/*.json")
    path.write_text(content)

    with pytest.raises(DataError, match="채우기 기록"):
        book.missing("daily", ["AAPL"], (BEGIN, BEGIN))
    assert path.name in str(_error_of(book))


def _error_of(book):
    with pytest.raises(DataError) as caught:
        book.add("daily", {"AAPL": (BEGIN, BEGIN)})
    return caught.value


def test_spool_keeps_what_was_fetched(tmp_path):
    """A table comes back as it was, a torn one not at all, and none after the chunk is whole."""
    import pyarrow as pa

    book = Journal(tmp_path, Market.US, "kis")
    table = pa.table({"close": [1, 2, 3]})
    book.spool("daily-2024", "BRK/B", table)
    book.spool("daily-2024", "AAPL", table)

    assert book.spooled("daily-2024", "BRK/B") == table
    assert book.spooled("daily-2023", "BRK/B") is None
    (torn, _) = sorted(tmp_path.rglob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:40])
    kept = [book.spooled("daily-2024", name) for name in ("AAPL", "BRK/B")]
    assert sorted(one is None for one in kept) == [False, True]
    book.unspool("daily-2024")
    assert book.spooled("daily-2024", "AAPL") is book.spooled("daily-2024", "BRK/B") is None


def test_the_file_is_plain_text(tmp_path):
    """Whoever opens it sees the source, the kinds and the days."""
    Journal(tmp_path, Market.US, "kis").add("daily", {"AAPL": (BEGIN, BEGIN)})

    (path,) = tmp_path.glob("backfill/market=US/*.json")
    assert json.loads(path.read_text()) == {
        "origin": "kis",
        "kinds": {"daily": {"AAPL": [["2024-01-01", "2024-01-01"]]}},
    }
