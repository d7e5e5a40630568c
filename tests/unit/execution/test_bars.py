"""Prints become bars."""

from datetime import UTC, datetime

from trading.domain.market import Tick
from trading.execution.bars import BarBuilder
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
