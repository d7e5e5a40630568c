"""Prints become bars."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.market import Tick
from trading.execution.bars import BarBuilder, merge
from trading.simulation.paths import daily_prints

OPEN, CLOSE = datetime(2004, 2, 24, 14, 30, tzinfo=UTC), datetime(2004, 2, 24, 21, tzinfo=UTC)


def test_prints_of_a_bar_make_that_bar(embedded_panels):
    """What the path took apart, the builder puts together; a silent instrument has no bar."""
    raw = embedded_panels[0]
    builder = BarBuilder()
    bars = {}
    for symbol in ("AAPL", "IBM"):
        i = raw.symbols.index(symbol)
        bars[symbol] = tuple(
            int(getattr(raw, name)[1000, i]) for name in ("open", "high", "low", "close", "volume")
        )
        for p in daily_prints(symbol, *bars[symbol], OPEN, CLOSE):
            builder.add(
                Tick(
                    symbol=symbol, price=p.price, volume=p.volume, cumulative_volume=0,
                    ts_event=p.ts, ts_recv=p.ts,
                )
            )  # fmt: skip

    assert dict(builder.close()) == bars
    assert builder.close() == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=60
    )
)
def test_arrays_are_merged_as_prints_are(prints):
    """Whatever the prints: ``merge`` on arrays gives what the builder gives print by print."""
    builder, expected, begun = BarBuilder(), [], []
    for row, (group, price, volume) in enumerate(prints):
        if not begun or prints[begun[-1]][0] != group:
            if begun:
                expected.append(builder.close()["X"])
            begun.append(row)
        builder.add(
            Tick(
                symbol="X", price=price, volume=volume, cumulative_volume=0,
                ts_event=OPEN, ts_recv=OPEN,
            )
        )  # fmt: skip
    expected.append(builder.close()["X"])
    group, price, volume = (
        np.array(column, dtype=np.int64) for column in zip(*prints, strict=True)
    )

    first, bars = merge(group, price, price, price, price, volume)

    assert first.tolist() == begun
    assert [tuple(bar) for bar in bars.tolist()] == expected


def test_a_row_without_a_price_counts_by_its_volume():
    """Inside a bar, before its first price, and alone."""
    group = np.array([0, 0, 0, 1, 1, 2], dtype=np.int64)
    price = np.array([30, 0, 20, 0, 50, 0], dtype=np.int64)
    volume = np.array([1, 2, 3, 4, 5, 6], dtype=np.int64)

    first, bars = merge(group, price, price, price, price, volume)

    assert first.tolist() == [0, 3, 5]
    assert bars.tolist() == [[30, 30, 20, 20, 6], [50, 50, 50, 50, 9], [0, 0, 0, 0, 6]]
