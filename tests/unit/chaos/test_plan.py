"""Plans: drawn from the seed alone, over recorded days, and complete in what they bring about."""

from pathlib import Path

import numpy as np
import pytest

from trading import bootstrap
from trading import log as logs
from trading.chaos import plan, world
from trading.chaos.points import Point
from trading.domain.instrument import Market
from trading.exchange.faults import KINDS, Stage
from trading.store.datasets import EmbeddedSource


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory):
    """Return the embedded market, loaded as for a run."""
    home: Path = tmp_path_factory.mktemp("home")
    loaded = world.load_all(bootstrap.open_home(home, console=False), None)
    yield loaded
    logs.configure(None)


def test_a_seed_is_one_plan(worlds):
    """The same number gives the same days, wishes, deaths and faults; another gives others."""
    one, again, other = (plan.draw(worlds, seed) for seed in (7, 7, 8))

    assert one.sessions == again.sessions
    assert one.kills == again.kills
    assert one.faults == again.faults
    np.testing.assert_array_equal(one.evaluation.votes, again.evaluation.votes)
    assert (one.sessions, one.kills) != (other.sessions, other.kills)


def test_every_boundary_and_fault_has_its_turn(worlds):
    """Two hundred seeds schedule a death at each boundary and each fault that can happen here."""
    plans = [plan.draw(worlds, seed) for seed in range(200)]

    assert {kill.point for one in plans for kill in one.kills} == set(Point)
    drawn = {fault.kind.number for one in plans for fault in one.faults.faults}
    assert drawn == {
        kind.number
        for kind in KINDS.values()
        if kind.stage is not Stage.OBSERVED and kind.market in (None, Market.US)
    }


def test_prices_are_the_recorded_ones(worlds):
    """What is kept in memory is what the package recorded, bar for bar."""
    kept = worlds[0].source
    session = kept.sessions(Market.US)[-1]

    ours = kept.daily(Market.US, ["IBM"], session, session)
    theirs = EmbeddedSource().daily(Market.US, ["IBM"], session, session)

    columns = ["open", "high", "low", "close", "volume"]
    np.testing.assert_array_equal(ours[columns].to_numpy(), theirs[columns].to_numpy())
    assert len(ours) == 1
