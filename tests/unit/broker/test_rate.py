"""The call budget that processes share: never over the limit, the urgent first, nobody starved."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.broker import rate
from trading.broker.rate import RateWindow

CANCEL, ORDER, BALANCE, QUOTE = range(4)


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only element is the instant of the machine."""
    now = [1000.0]
    monkeypatch.setattr(rate, "monotonic_seconds", lambda: now[0])
    return now


@pytest.fixture
def window(tmp_path):
    """Return a function that opens the same file as another process would."""
    opened = []

    def make(limit=3, seconds=1.0):
        opened.append(RateWindow(tmp_path / "rate", limit=limit, seconds=seconds))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_two_processes_have_one_budget(window, clock):
    """What one takes the other does not have; a window later it is there again."""
    ours, theirs = window(), window()

    taken = [one.take(QUOTE)[0] for one in (ours, theirs, ours)]
    clock[0] += 0.4
    pause, slot = theirs.take(QUOTE)

    assert taken == [0.0, 0.0, 0.0]
    assert (round(pause, 6), slot) == (0.6, -1)
    clock[0] += pause + rate._CLAIM_SECONDS
    assert ours.take(QUOTE)[0] == 0.0


def test_a_call_counts_from_its_answer(window, clock):
    """However late it arrived, the venue counts it no later than it answered."""
    only = window(limit=1)
    _, slot = only.take(ORDER)
    clock[0] += 0.9
    only.answered(slot)
    clock[0] += 0.9

    assert only.take(ORDER)[0] == pytest.approx(0.1)


def test_the_reserve_is_for_cancellations(window, clock):
    """Others stop before the last calls of a window; a cancellation does not."""
    shared = window(limit=3)

    others = [shared.take(ORDER, reserve=1)[0] for _ in range(3)]

    assert others[:2] == [0.0, 0.0] and others[2] > 0.0
    assert shared.take(CANCEL)[0] == 0.0


def test_a_waiting_order_of_another_process_goes_first(window, clock):
    """A price waits while an order of another process waits, and no longer."""
    ours, theirs = window(limit=1), window(limit=1)
    ours.take(QUOTE)
    pause, _ = theirs.take(ORDER)
    clock[0] += pause

    assert ours.take(QUOTE)[0] > 0.0
    assert theirs.take(ORDER)[0] == 0.0


def test_a_waiter_that_died_holds_nobody_up(window, clock):
    """Its claim ends shortly after its turn."""
    ours, theirs = window(limit=1), window(limit=1)
    ours.take(QUOTE)
    pause, _ = theirs.take(ORDER)  # and is killed
    clock[0] += pause + 2 * rate._CLAIM_SECONDS

    assert ours.take(QUOTE)[0] == 0.0


def test_after_a_refusal_the_calls_grow_back_slowly(window, clock):
    """A window of silence, half the calls, then one more a window: no second burst."""
    shared = window(limit=8)
    shared.take(QUOTE)
    shared.refused()
    shared.refused()  # of another call in flight: the same event

    held = shared.take(QUOTE)[0]
    counts = []
    for _ in range(6):
        clock[0] += 1.0 + 2 * rate._CLAIM_SECONDS
        counts.append(sum(shared.take(QUOTE)[0] == 0.0 for _ in range(10)))

    assert held == pytest.approx(1.0)
    assert counts == [4, 5, 6, 7, 8, 8]
    assert not shared.is_throttled


def test_a_restarted_machine_starts_afresh(window, clock):
    """Stamps from before the start lie in the future and are ignored."""
    shared = window(limit=2)
    clock[0] = 1e6
    shared.take(ORDER)
    shared.take(ORDER)
    shared.refused()
    clock[0] = 50.0

    assert [shared.take(ORDER)[0] for _ in range(2)] == [0.0, 0.0]
    assert shared.take(ORDER)[0] > 0.0


@given(junk=st.binary(max_size=1024))
def test_junk_in_the_file_does_no_harm(tmp_path_factory, junk):
    """Whatever the file held, calls go on, never more than allowed, and never wait long."""
    path = tmp_path_factory.mktemp("rate") / "rate"
    path.write_bytes(junk)
    window = RateWindow(path, limit=2, seconds=0.5)

    taken = [window.take(QUOTE) for _ in range(6)]
    window.close()

    assert sum(slot >= 0 for _, slot in taken) <= 2
    assert all(0.0 <= pause <= 0.5 + rate._CLAIM_SECONDS for pause, _ in taken)


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 20))
def test_no_window_ever_holds_more_than_its_limit(tmp_path_factory, seed, limit):
    """Against a venue that counts arrivals anywhere between sending and answer."""
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("rate") / "rate"
    now = 100.0
    window = RateWindow(path, limit=limit, seconds=1.0)
    arrived = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate, "monotonic_seconds", lambda: now)
        for _ in range(150):
            pause, slot = window.take(rng.randrange(4))
            if slot < 0:
                now += pause * rng.uniform(0.3, 1.1)
                continue
            delay = rng.uniform(0.0, 0.5)
            arrived.append(now + rng.uniform(0.0, delay))
            now += delay
            window.answered(slot)
    window.close()

    spans = [b - a for a, b in zip(arrived, itertools.islice(arrived, limit, None), strict=False)]
    assert min(spans, default=1.0) >= 1.0 - 1e-9


def test_it_costs_little(window):
    """Taking and giving a slot costs far less than the 50 µs that a call may lose to it."""
    shared = window(limit=18)
    taken = []
    for _ in range(2000):
        begun = time.perf_counter()
        _, slot = shared.take(QUOTE, reserve=2)
        shared.answered(slot)
        taken.append(time.perf_counter() - begun)
        shared.give_back(slot)

    assert sorted(taken)[1000] < 50e-6
