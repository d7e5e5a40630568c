"""Whatever prints are lost, late or doubled: after mending, volume and extremes are the day's."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trading.broker.prints import PrintTrack
from trading.domain.market import Tick
from trading.simulation.paths import minute_prints
from trading.wire.records import MinuteRow

OPEN = datetime(2025, 9, 1, tzinfo=UTC)  # 09:00 in Seoul
CLOSE = OPEN + timedelta(hours=6, minutes=30)
AFTER = CLOSE + timedelta(minutes=5)
prices = st.integers(1_000, 1_010)
# Compiled once, before anything is timed.
minute_prints("005930", [(OPEN, 1, 1, 1, 1, 4)], OPEN, CLOSE)


@st.composite
def minutes(draw):
    """Some minutes of a day, not all of them traded."""
    rows = []
    for k in sorted(draw(st.sets(st.integers(0, 12), min_size=1, max_size=8))):
        first, second, third, fourth = (draw(prices) for _ in range(4))
        every = (first, second, third, fourth)
        rows.append(
            MinuteRow(
                start=OPEN + timedelta(minutes=k),
                open=first,
                high=max(every),
                low=min(every),
                close=fourth,
                volume=draw(st.integers(4, 100)),
            )
        )
    return rows


def ticks_of(rows):
    """Return the prints of the minutes as the venue would send them."""
    bars = [(row.start, row.open, row.high, row.low, row.close, row.volume) for row in rows]
    total, ticks = 0, []
    for one in minute_prints("005930", bars, OPEN, CLOSE):
        total += one.volume
        ticks.append(
            Tick(
                symbol=one.symbol,
                price=one.price,
                volume=one.volume,
                cumulative_volume=total,
                ts_event=one.ts,
                ts_recv=one.ts,
            )
        )
    return ticks


def track():
    return PrintTrack("005930", OPEN - timedelta(minutes=5), is_whole_day=True)


@given(rows=minutes())
def test_an_unbroken_day_has_no_holes(rows):
    """Every print is new, none is missing, and there is nothing to mend."""
    seen = track()

    assert all(seen.take(tick) for tick in ticks_of(rows))
    assert not seen.holes
    assert seen.mend(rows, seen.newest, AFTER) == []


@given(rows=minutes(), data=st.data())
def test_lost_late_and_doubled_prints(rows, data):
    """Volume is the day's to the share, highs and lows are the day's, and no print counts twice."""
    ticks = ticks_of(rows)
    fates = [data.draw(st.sampled_from(("kept", "lost", "late", "doubled"))) for _ in ticks]
    arriving, waiting = [], []
    for tick, fate in zip(ticks, fates, strict=True):
        arriving += {"kept": [tick], "doubled": [tick, tick]}.get(fate, [])
        arriving += waiting
        waiting = [tick] if fate == "late" else []
    arriving += waiting
    seen = track()
    events = [tick for tick in arriving if seen.take(tick)]
    if data.draw(st.booleans()):
        # In the middle of the day first, then what came after.
        events += seen.mend(rows, seen.newest, AFTER)
    seen.miss(ticks[-1].cumulative_volume, AFTER)
    events += seen.mend(rows, seen.newest, AFTER)

    assert len([tick for tick in events if tick in ticks]) == len({t for t in events if t in ticks})
    assert sum(tick.volume for tick in events) == ticks[-1].cumulative_volume
    assert max(tick.price for tick in events) == max(tick.price for tick in ticks)
    assert min(tick.price for tick in events) == min(tick.price for tick in ticks)
    assert not seen.holes
    # Where prints were seen at all, the newest price stands last.
    if seen.last is not None and events[-1] not in ticks:
        assert events[-1].price == seen.last.price


@given(rows=minutes(), data=st.data())
def test_a_hole_is_mended_within_its_stretch(rows, data):
    """What a stretch is mended with is not older than the last print before it, nor younger."""
    ticks = ticks_of(rows)
    first = data.draw(st.integers(0, len(ticks) - 1))
    last = data.draw(st.integers(first, len(ticks) - 1))
    seen = track()
    for tick in ticks[:first] + ticks[last:]:
        seen.take(tick)
    bounds = [(hole.since, hole.until) for hole in seen.holes]
    mended = seen.mend(rows, seen.newest, AFTER)

    for tick in mended[:-1]:
        assert any(since <= tick.ts_event <= until for since, until in bounds)
    lost = ticks[first:last]
    assert sum(tick.volume for tick in mended) == sum(tick.volume for tick in lost)
    everything = [*ticks[:first], *mended, *ticks[last:]]
    assert {max(t.price for t in everything), min(t.price for t in everything)} == {
        max(t.price for t in ticks),
        min(t.price for t in ticks),
    }


@given(rows=minutes())
def test_late_comers_have_no_past(rows):
    """Who joins in the middle of the day misses nothing by it."""
    ticks = ticks_of(rows)
    seen = PrintTrack("005930", ticks[-1].ts_event, is_whole_day=False)

    assert seen.take(ticks[-1])
    assert not seen.holes


@given(rows=minutes())
def test_another_day_begins_anew(rows):
    """The volume of yesterday does not make today's prints old."""
    seen = track()
    for tick in ticks_of(rows):
        seen.take(tick)
    day = timedelta(days=1)
    morrow = [
        tick._replace(ts_event=tick.ts_event + day, ts_recv=tick.ts_recv + day)
        for tick in ticks_of(rows)
    ]

    assert all(seen.take(tick) for tick in morrow)
    assert not seen.holes


def test_a_print_off_hours_counts_and_is_not_missed():
    """What trades before the open moves the cumulative volume and nothing else."""
    seen = track()
    early = Tick("005930", 1_000, 50, 50, OPEN - timedelta(hours=1), OPEN)
    seen.skip(early)

    assert seen.take(Tick("005930", 1_001, 10, 60, OPEN, OPEN))
    assert not seen.holes
