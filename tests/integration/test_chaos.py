"""Seeds under kills and faults as a user runs them: 0 lost, 0 doubled, 0 difference, and bugs are seen."""

import json
from pathlib import Path

import pytest
from program import trading

from trading.chaos.plants import Plant
from trading.chaos.points import Point
from trading.exchange.faults import NUMBERS

# ``make chaos`` plays a thousand.
SEEDS = 3
JOBS = ("--jobs", "2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the seeds have been played."""
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def played(home: Path) -> dict:
    """Play the seeds once for all tests of this module."""
    answer = trading(home, "chaos", "--seeds", str(SEEDS), *JOBS, "--json", timeout=600)

    assert answer.code == 0, answer.out[-2000:] + answer.err[-2000:]
    return answer.json


def test_nothing_is_lost_doubled_or_off_by_a_unit(played):
    """Killed and disturbed, the ledger is the exchange's books."""
    assert (played["lost"], played["doubled"], played["money_difference"]) == (0, 0, 0)
    assert played["failures"] == []
    assert played["seeds"] == SEEDS
    assert played["orders"] >= 5 * SEEDS
    assert played["kills"] > SEEDS


def test_every_fault_and_boundary_is_counted(played):
    """The counts name the faults of FAULTS.md and every boundary, those of Korea apart."""
    named = {str(number) for number in NUMBERS} | {str(point) for point in Point}

    assert set(played["faults"]) | set(played["not_applicable"]) == named
    assert set(played["not_applicable"]) == {"8", "9", "18"}
    assert sum(played["faults"].values()) > SEEDS


@pytest.mark.slow
def test_the_same_command_goes_on(home, played):
    """Seeds that were played are not played again; the figures are those of all of them."""
    (results,) = (home / "data" / "chaos").glob("as-built-*.jsonl")
    lines = results.read_text("utf-8").splitlines()
    # One seed is taken away, as if the run had been killed before it, in the middle of a line.
    results.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:30], encoding="utf-8")

    again = trading(home, "chaos", "--seeds", str(SEEDS), *JOBS, "--json", timeout=120).json

    assert (again["seeds"], again["lost"], again["doubled"]) == (SEEDS, 0, 0)
    found = results.read_text("utf-8").splitlines()
    assert found[: SEEDS - 1] == lines[:-1]
    # The seed that was taken away was played, and only that.
    assert [json.loads(line)["seed"] for line in found[SEEDS:]] == [json.loads(lines[-1])["seed"]]


@pytest.mark.slow
def test_one_seed_again_keeps_its_files(home):
    """A single seed is played anew, and everything it wrote stays to be looked at."""
    answer = trading(home, "chaos", "--seed", "3", "--json", timeout=120)

    folder = home / "data" / "chaos" / "seed" / "3"
    assert answer.code == 0, answer.out[-2000:]
    assert answer.json["seeds"] == 1
    assert (folder / "ledger.db").exists()
    assert (folder / "journal.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("plant", [Plant.RETRY, Plant.DROP_INTENT, Plant.LATE_JOURNAL])
def test_a_planted_bug_is_found(tmp_path, plant):
    """The harness can see: each classic mistake ends with exit code 1 and the seeds that show it."""
    answer = trading(
        tmp_path, "chaos", "--seeds", "16", "--plant", plant, *JOBS, "--json", timeout=300
    )

    assert answer.code == 1
    assert answer.json["lost"] + answer.json["doubled"] > 0
    assert answer.json["failures"]
