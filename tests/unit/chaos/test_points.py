"""Boundaries: counted over deaths, and deadly at the passing that the schedule names."""

import os
import re
import signal
from pathlib import Path

from trading.chaos.points import Arena, Kill, Party, Point


def died_by(child: int) -> int:
    """Return the signal that ended a child, 0 when none did."""
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_the_named_passing_kills():
    """The process dies at the second passing, not at the first, and the count outlives it."""
    kill = Kill(point=Point.INTENT_AFTER, nth=2, victims=(Party.CLIENT,))
    arena = Arena([kill])

    child = os.fork()
    if not child:
        arena.set_pid(Party.CLIENT, os.getpid())
        for _ in range(5):
            arena.pass_by(Point.INTENT_AFTER)
        os._exit(0)

    assert died_by(child) == signal.SIGKILL
    assert arena.passed()[Point.INTENT_AFTER] == 2
    assert arena.killed()[Point.INTENT_AFTER] == 1


def test_one_process_kills_the_other_and_lives():
    """At an exchange's boundary the client may be the one that dies."""
    arena = Arena([Kill(point=Point.ORDER_AFTER, nth=1, victims=(Party.CLIENT,))])
    reading, writing = os.pipe()

    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    arena.set_pid(Party.CLIENT, child)
    arena.set_pid(Party.EXCHANGE, os.getpid())
    arena.pass_by(Point.ORDER_AFTER)
    os.close(reading)
    os.close(writing)

    assert died_by(child) == signal.SIGKILL


def test_a_victim_that_is_buried_is_left_alone():
    """Nobody is killed while the other party has no process: its number may be a stranger's."""
    arena = Arena([Kill(point=Point.ORDER_AFTER, nth=1, victims=(Party.CLIENT,))])
    arena.set_pid(Party.CLIENT, 0)

    arena.pass_by(Point.ORDER_AFTER)

    assert arena.killed()[Point.ORDER_AFTER] == 1


def test_every_boundary_names_who_passes_it():
    """The name of a boundary begins with its party."""
    assert {point.party for point in Point} == set(Party)


def test_the_document_lists_every_boundary():
    """docs/chaos.md has a row for each of them, and for no other."""
    page = Path(__file__).parents[3] / "docs" / "chaos.md"
    rows = re.findall(r"^\| `([a-z_.]+\.[a-z_.]+)` \|", page.read_text("utf-8"), re.MULTILINE)

    assert sorted(rows) == sorted(str(point) for point in Point)
