"""A study finds what is best, and neither a kill nor a pause changes what it finds."""

import signal
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from trading.backtest.optimize import State, open_study
from trading.backtest.settings import OptimizeSettings, Range
from trading.errors import DataError, UsageError

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

SPACE = {
    "x": Range(low=-10.0, high=10.0),
    "n": Range(low=1, high=20),
    "kind": Range(choices=("plain", "steep")),
}
SETTINGS = OptimizeSettings(batch=4, startup_trials=8, folds=3, prune_after_folds=1)

# The judge of this file in a process of its own, which tells each batch and can be killed.
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_optuna_studies import SETTINGS, SPACE, Valley
from trading.backtest.optimize import open_study

class Telling(Valley):
    def values(self, batch, fold):
        print(fold, flush=True)
        return super().values(batch, fold)

with open_study(("sharpe",), SETTINGS, folder=Path(sys.argv[1]), name="it", asked="a") as study:
    study.search(SPACE, Telling(), int(sys.argv[2]))
"""


@dataclass
class Valley:
    """A value with its top at x = 3 and n = 10 that takes all folds to be known."""

    folds: int = 3
    refused: int = 0
    heard: list = field(default_factory=list)

    def refusal(self, params):
        return "너무 큼" if params["n"] > 18 else None

    def values(self, batch, fold):
        return [(self._value(params) * (fold + 1),) for params in batch]

    def ended(self, params, state):
        self.heard.append(state)

    def _value(self, params):
        steep = 2.0 if params["kind"] == "steep" else 1.0
        return -steep * ((params["x"] - 3.0) ** 2 + (params["n"] - 10) ** 2 / 10.0)


@dataclass
class Two(Valley):
    """Two objectives that cannot both be best: the larger and the smaller x."""

    def values(self, batch, fold):
        return [(params["x"], abs(params["x"] + 5.0)) for params in batch]


def searched(folder, trials, judge=None, name="it", settings=SETTINGS, objectives=("sharpe",)):
    with open_study(objectives, settings, folder=folder, name=name, asked="a") as study:
        study.search(SPACE, judge or Valley(), trials)
        return study.found, study.best()


def test_the_top_is_found_and_every_trial_is_heard_of():
    """Sixty trials come near the top; refused ones are never tried, pruned ones are told."""
    judge = Valley()
    with open_study(("sharpe",), SETTINGS) as study:
        study.search(SPACE, judge, 60)
        found, (best,) = study.found, study.best()
        shares = study.importance()

    assert len(found) == 60
    assert best.values[0] > -6.0
    assert best.values[0] == max(f.values[0] for f in found if f.values)
    tried = [f.state for f in found if f.state is not State.REFUSED]
    assert judge.heard == tried
    assert {f.params["n"] > 18 for f in found if f.state is State.REFUSED} <= {True}
    pruned = [f for f in found if f.state is State.PRUNED]
    assert pruned and all("중앙값" in f.reason and not f.values for f in pruned)
    assert sum(shares[0].values()) == pytest.approx(1.0)
    assert max(shares[0], key=shares[0].get) == "x"


def test_a_pause_changes_nothing(tmp_path):
    """In one go, or in three, or with other batches of work: the same trials."""
    whole = searched(tmp_path / "a", 24)
    searched(tmp_path / "b", 8)
    searched(tmp_path / "b", 16)
    parts = searched(tmp_path / "b", 24)

    assert parts == whole
    assert searched(tmp_path / "b", 24) == whole
    assert searched(tmp_path / "b", 5) == whole


@pytest.mark.parametrize("tells", [1, 4, 8])
def test_a_kill_changes_nothing(tmp_path, tells):
    """SIGKILL in the middle of a batch; the same command goes on, and ends as if nothing was."""
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "k"), "24", __file__.rpartition("/")[0]],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(tells):
        assert killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.stdout.read()
    killed.wait()

    assert searched(tmp_path / "k", 24) == searched(tmp_path / "whole", 24)


def test_half_a_line_is_cut_off(tmp_path):
    """What a power failure left of the last write is dropped; the rest is gone on with."""
    whole = searched(tmp_path / "a", 12)
    searched(tmp_path / "b", 8)
    path = tmp_path / "b" / "it.journal"
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"op_code": 4, "worker_id"')
    (tmp_path / "b" / "it.journal.lock").symlink_to(path)

    assert searched(tmp_path / "b", 12) == whole

    path.write_bytes(b"no journal\n" + lines)
    with pytest.raises(DataError, match="읽을 수 없습니다"):
        searched(tmp_path / "b", 12)


def test_two_objectives_have_a_front(tmp_path):
    """No trial of the front beats another in both; none outside is left unbeaten."""
    found, front = searched(
        tmp_path, 20, Two(folds=2), objectives=("sharpe", "max_drawdown"), name="two"
    )
    with open_study(
        ("sharpe", "max_drawdown"), SETTINGS, folder=tmp_path, name="two", asked="a"
    ) as study:
        shares = study.importance()

    def beats(a, b):
        return a != b and a[0] >= b[0] and a[1] <= b[1]

    points = [f.values for f in found if f.values]
    best = {f.values for f in front}
    assert len(front) > 1
    assert best == {p for p in points if not any(beats(q, p) for q in points)}
    assert len(shares) == 2


def test_nothing_that_can_be_tried():
    """All refused: no best, no importance, and an end."""

    class Never(Valley):
        def refusal(self, params):
            return "안 됨"

    with open_study(("sharpe",), SETTINGS) as study:
        study.search(SPACE, Never(), 6)

        assert [f.state for f in study.found] == [State.REFUSED] * 6
        assert study.best() == []
        assert study.importance() is None


def test_an_account_that_never_moved_is_no_value():
    """NaN ends as pruned, with its reason; it is never the best."""

    class Still(Valley):
        def values(self, batch, fold):
            return [(float("nan"),) for _ in batch]

    with open_study(("sharpe",), SETTINGS) as study:
        study.search(SPACE, Still(), 6)

        assert {f.state for f in study.found} <= {State.PRUNED, State.REFUSED}
        assert study.best() == []


def test_a_study_of_another_search_or_in_use_is_refused(tmp_path):
    """The same name on other history, and a second command at the same time."""
    searched(tmp_path, 4)

    with (
        pytest.raises(UsageError, match="다른 연구가 있습니다"),
        open_study(("sharpe",), SETTINGS, folder=tmp_path, name="it", asked="b"),
    ):
        pass
    with (
        open_study(("sharpe",), SETTINGS, folder=tmp_path, name="it", asked="a"),
        pytest.raises(UsageError, match="하고 있습니다"),
        open_study(("sharpe",), SETTINGS, folder=tmp_path, name="it", asked="a"),
    ):
        pass


def test_a_database_keeps_a_study_as_the_file_does(tmp_path):
    """SQLAlchemy's SQLite stands for the databases; a missing driver and server are sentences."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    database = SETTINGS.model_copy(update={"storage": url})
    searched(tmp_path / "a", 8, settings=database)

    assert searched(tmp_path / "a", 12, settings=database) == searched(tmp_path / "b", 12)
    assert not (tmp_path / "a" / "it.journal").exists()

    for storage, sentence in (
        ("postgresql+pg8000://me:secret@127.0.0.1:1/none", "ai-trading"),
        ("nothing://here", "연결하지 못했습니다"),
    ):
        with pytest.raises(UsageError, match=sentence) as told:
            searched(tmp_path / "c", 4, settings=SETTINGS.model_copy(update={"storage": storage}))
        assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1},
        {"low": 3, "high": 1},
        {"choices": ()},
        {"choices": ("a",), "low": 1, "high": 2},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 1, "high": 9, "log": True, "step": 2},
        {"low": 1, "high": 9, "step": 0},
    ],
)
def test_a_range_is_bounds_or_choices(wrong):
    """What cannot be looked for is refused when it is read."""
    with pytest.raises(ValueError):
        Range.model_validate(wrong)
