"""A bar as prints: only recorded prices, all of the volume, in the order that hurts."""

from datetime import UTC, datetime, timedelta

import pytest

from trading.simulation.paths import (
    daily_prints,
    minute_prints,
    session_instants,
    share_of_volume,
)

OPEN = datetime(2024, 1, 8, 0, tzinfo=UTC)
CLOSE = datetime(2024, 1, 8, 6, 30, tzinfo=UTC)


def test_daily_path(embedded_panels):
    """Open, low, high, close of a recorded bar; both ends are auctions."""
    raw = embedded_panels[0]
    row, i = 1000, raw.symbols.index("IBM")
    bar = [int(getattr(raw, name)[row, i]) for name in ("open", "high", "low", "close", "volume")]

    prints = daily_prints("IBM", *bar, OPEN, CLOSE)

    open_, high, low, close, volume = bar
    assert [p.price for p in prints] == [open_, low, high, close]
    assert sum(p.volume for p in prints) == volume
    assert [p.auction for p in prints] == [True, False, False, True]
    assert [p.ts for p in prints] == list(session_instants(OPEN, CLOSE))
    assert prints[0].ts == OPEN
    assert prints[-1].ts == CLOSE


def test_instants_are_whole_seconds():
    """The wire carries HHMMSS, also on a half day whose thirds are not whole."""
    instants = session_instants(OPEN, OPEN + timedelta(minutes=211, seconds=1))

    assert all(ts.microsecond == 0 for ts in instants)
    assert list(instants) == sorted(set(instants))


def test_a_halted_day_prints_nothing():
    """Halts carry no open."""
    assert daily_prints("IBM", 0, 0, 0, 100, 0, OPEN, CLOSE) == []


@pytest.mark.parametrize("volume", [0, 1, 2, 3, 4, 7, 1_000_003])
def test_shares_of_a_volume_add_up(volume):
    """Four parts, none negative, no share lost."""
    parts = [share_of_volume(volume, k) for k in range(4)]

    assert sum(parts) == volume
    assert max(parts) - min(parts) <= 1


def test_minute_bars():
    """The first bar at the open begins with the auction, the one at the close is the auction."""
    bars = [
        (OPEN, 100, 104, 98, 101, 40),
        (OPEN + timedelta(minutes=1), 101, 102, 100, 102, 9),
        (OPEN + timedelta(minutes=2), 0, 0, 0, 0, 0),
        (OPEN + timedelta(minutes=3), 102, 102, 102, 102, 0),
        (CLOSE, 103, 103, 103, 103, 500),
    ]

    prints = minute_prints("A", bars, OPEN, CLOSE)

    assert [p.price for p in prints] == [100, 98, 104, 101, 101, 100, 102, 102, 103]
    assert [p.auction for p in prints] == [True, *[False] * 7, True]
    assert sum(p.volume for p in prints) == 549
    assert (prints[-1].ts, prints[-1].volume) == (CLOSE, 500)
    assert [p.ts for p in prints] == sorted(p.ts for p in prints)


def test_a_late_first_bar_is_no_auction():
    """An instrument that first trades after the open had no opening auction."""
    prints = minute_prints("A", [(OPEN + timedelta(minutes=5), 1, 1, 1, 1, 4)], OPEN, CLOSE)

    assert not any(p.auction for p in prints)


NFC = [  # 엔에프씨 (265740) on 2025-09-01, base 5,840: minute, open, high, low, close, volume
    (0, 5_990, 6_120, 5_980, 6_120, 39_346),
    (4, 6_400, 6_570, 6_400, 6_560, 71_281),
    (5, 6_570, 6_580, 6_500, 6_580, 30_040),
    (7, 6_600, 6_870, 6_600, 6_790, 170_064),
    (8, 6_780, 6_990, 6_780, 6_890, 183_405),
]


def singles(reference: int, seconds: int = 60) -> list[int]:
    """Return the single prices seen in those minutes."""
    bars = [(OPEN + timedelta(minutes=minute), *bar) for minute, *bar in NFC]
    prints = minute_prints("A", bars, OPEN, CLOSE, bar_seconds=seconds, reference=reference)
    return [p.price for p in prints if p.auction]


def test_an_interruption_ends_in_a_single_price():
    """Silent at 09:06, then 10 % above the open: the single price after two minutes of VI."""
    assert singles(5_840) == [5_990, 6_600]


def test_no_interruption_is_seen_where_none_can_be():
    """Without the law, or in bars too wide to show two silent minutes."""
    assert singles(0) == [5_990]
    assert singles(5_840, seconds=300) == [5_990]
