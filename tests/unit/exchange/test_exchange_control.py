"""Time that the wall clock drives: each recorded session is lived, whatever the steps are."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
from venue_bench import Bench, PublishedBars

from trading.domain.instrument import Market
from trading.errors import SchemaError
from trading.exchange.control import Control
from trading.exchange.venue import Phase

FIRST, SECOND, THIRD = date(2021, 1, 4), date(2021, 1, 5), date(2021, 1, 6)


class CountedBars(PublishedBars):
    """Counts how often a day is read; one day may be damaged."""

    def __init__(self, damaged: date | None = None) -> None:
        super().__init__()
        self.read: list[date] = []
        self._damaged = damaged

    def daily(self, market, symbols, first, last):
        """Return the daily bars of the days."""
        self.read.append(last)
        if last == self._damaged:
            raise SchemaError("깨진 파일")
        return super().daily(market, symbols, first, last)


@pytest.fixture
def opened(tmp_path):
    """Return a function that begins a Korean venue with a session, and what moves it."""
    made = []

    def begin(session, source):
        bench = Bench(tmp_path, source, Market.KRX)
        made.append(bench)
        bench.venue.open_session(session)
        hub = SimpleNamespace(frames={})
        return bench.venue, Control(bench.venue, hub, speed=1.0, start=None, lived=lambda: None)

    yield begin
    for bench in made:
        bench.journal.close()


def _live(control, moment, until, step):
    while moment <= until:
        control._catch_up(moment)
        moment += step


def test_a_step_over_a_whole_session_lives_it(opened):
    """A clock that could not go on for a day neither skips the day nor stands still in it."""
    venue, control = opened(FIRST, PublishedBars())
    control._catch_up(datetime(2021, 1, 4, 3, tzinfo=UTC))

    # From noon in Seoul to the evening of the session after the next.
    for _ in range(3):
        control._catch_up(datetime(2021, 1, 6, 12, tzinfo=UTC))

    assert (venue.session, venue.phase) == (THIRD, Phase.CLOSED)
    assert venue.now == datetime(2021, 1, 6, 12, tzinfo=UTC)


def test_a_day_that_was_not_recorded_is_looked_for_once(opened):
    """After the record ends, a tick costs nothing."""
    source = CountedBars()
    venue, control = opened(THIRD, source)
    source.read.clear()

    _live(control, datetime(2021, 1, 6, 1, tzinfo=UTC), datetime(2021, 1, 12, 12, tzinfo=UTC),
          timedelta(hours=1))  # fmt: skip

    # 2021-01-07 to 2021-01-12, without the weekend.
    assert source.read == [date(2021, 1, day) for day in (7, 8, 11, 12)]
    assert venue.session == THIRD


def test_a_damaged_day_is_no_holiday(opened):
    """A day that is there and cannot be read is an error, not a day that passes."""
    _, control = opened(FIRST, CountedBars(damaged=SECOND))

    with pytest.raises(SchemaError, match="깨진 파일"):
        _live(control, datetime(2021, 1, 4, 1, tzinfo=UTC), datetime(2021, 1, 6, tzinfo=UTC),
              timedelta(hours=1))  # fmt: skip
