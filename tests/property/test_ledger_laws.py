"""Both ledgers are one ledger: any sequence of appends reads back the same from each."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trading.ports import Record, RecordKind
from trading.store.ledger import MemoryLedger, SqliteLedger

START = datetime(2005, 1, 3, tzinfo=UTC)
values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
records = st.builds(
    lambda kind, key, day, seconds, body: Record(
        kind=kind,
        key=key,
        session=date(2005, 1, 3) + timedelta(days=day),
        ts=START + timedelta(seconds=seconds),
        body=body,
    ),
    st.sampled_from([RecordKind.INTENT, RecordKind.FILL, RecordKind.STATE]),
    st.text("abc", max_size=2),
    st.integers(0, 3),
    st.integers(0, 10**6),
    st.dictionaries(st.text(max_size=4), st.one_of(values, st.lists(values, max_size=3))),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(records, max_size=4), max_size=6))
def test_both_ledgers_agree(batches: list[list[Record]]):
    """Counts of new records and every filtered reading are equal after any appends."""
    with tempfile.TemporaryDirectory() as folder:
        disk, memory = SqliteLedger(Path(folder) / "book.db"), MemoryLedger()

        assert [disk.append(*b) for b in batches] == [memory.append(*b) for b in batches]

        for kinds in ((), (RecordKind.FILL,), (RecordKind.FILL, RecordKind.STATE)):
            for session in (None, date(2005, 1, 4)):
                for key in (None, "a"):
                    assert list(disk.read(*kinds, session=session, key=key)) == list(
                        memory.read(*kinds, session=session, key=key)
                    )
        disk.close()
