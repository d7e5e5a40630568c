"""Serial, several processes and a Dask cluster: the same results in the same order."""

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import date

import psutil
import pytest

from trading import bootstrap
from trading.backtest.workers import open_workers
from trading.domain.instrument import Market
from trading.errors import TradingError, UsageError
from trading.research import runs
from trading.research.history import Scope
from trading.research.optimize import optimize
from trading.research.parameters import grid
from trading.research.walkforward import Plan, walk_forward

distributed = pytest.importorskip("distributed", reason="Dask가 없어 건너뜀")

SCOPE = Scope(
    market=Market.US, symbols=("AAPL", "IBM", "MSFT"), first=date(2005, 6, 1), last=date(2006, 3, 1)
)
GRID = grid(["fast=5,10,15", "slow=20,40"])


def times(shared, item):
    """A task: where it ran is not told."""
    return [shared["factor"] * item, item]


def process(shared, item):
    """A task: which process did it."""
    return os.getpid()


def die(shared, item):
    """A task that does not come back."""
    os.kill(os.getpid(), signal.SIGKILL) if item == 3 else None
    return item


@pytest.fixture(scope="module")
def cluster():
    """Return the address of a cluster of two processes, gone with the module's tests."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        scheduler_port=0,
    ) as made:
        yield "dask://" + made.scheduler_address.removeprefix("tcp://")


def test_results_come_in_the_order_of_the_work(cluster):
    """Also with more items than workers, with none, and twice with the same workers."""
    for named in (None, "1", "2", cluster):
        with open_workers(named, {"factor": 3}) as hands:
            assert list(hands.map(times, range(20))) == [[3 * i, i] for i in range(20)]
            assert list(hands.map(times, [])) == []
            assert list(hands.map(times, [7])) == [[21, 7]]


def test_the_work_is_really_done_elsewhere(cluster):
    """Two workers of this machine and of the cluster each did some of it."""
    with open_workers(cluster, None) as hands:
        found = set(hands.map(process, range(40)))
    with open_workers("2", None) as hands:
        local = set(hands.map(process, range(40)))

    assert len(found) == 2
    assert os.getpid() not in found
    # The first item warms this process, the others are done by the two.
    assert local - {os.getpid()}


ABANDONED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_workers import process, wait_long
from trading.backtest.workers import open_workers
if __name__ == "__main__":
    with open_workers("2", None) as hands:
        list(hands.map(process, [0]))
        for _ in hands.map(wait_long, range(2)):
            pass
"""


def wait_long(shared, item):
    """A task that tells who does it and then waits for an event that never comes."""
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    threading.Event().wait(600)


def test_nobody_works_on_for_a_command_that_was_killed(tmp_path):
    """SIGKILL of the command ends its workers, though they are in the middle of something."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED, encoding="utf-8")
    command = subprocess.Popen(
        [sys.executable, str(script), __file__.rpartition("/")[0]],
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = [psutil.Process(int(command.stdout.readline())) for _ in range(2)]
    command.kill()
    command.wait()

    gone, left = psutil.wait_procs(workers, timeout=30)
    assert (len(gone), left) == (2, [])


def without_counts(result):
    return {k: v for k, v in result.items() if k not in ("trials", "path", "mlflow_run")}


@pytest.mark.slow
def test_sweep_walk_forward_and_study_are_the_same(cluster, tmp_path):
    """Orders, equity, choices and the trials of a study, to the bit."""
    made = []
    for number, named in enumerate((None, "2", cluster)):
        installation = bootstrap.open_home(tmp_path / str(number))
        swept = runs.sweep(installation, "ma_crossover", GRID, SCOPE, workers=named)
        walked = walk_forward(
            installation, "ma_crossover", GRID, SCOPE, Plan(train=60, test=40), workers=named
        )
        found = optimize(installation, "ma_crossover", SCOPE, trials=6, name="same", workers=named)
        kept = (tmp_path / str(number) / "data/research/optuna/same.csv").read_text("utf-8")
        found = {k: v for k, v in found.items() if k not in ("page", "table")}
        made.append((without_counts(swept), without_counts(walked), without_counts(found), kept))
        assert swept["trials"]["distinct"] == len(GRID)

    assert made[1] == made[0]
    assert made[2] == made[0]
    assert len({run["orders_hash"] for run in made[0][0]["runs"]}) > 1


def test_nobody_at_the_address(tmp_path):
    """A refused address and a word that is none are sentences; nothing was done."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for named, sentence in (
        (f"dask://127.0.0.1:{port}", "스케줄러에 연결하지 못했습니다"),
        ("dask://", "스케줄러에 연결하지 못했습니다"),
        ("0", "1 이상의 수"),
        ("-2", "1 이상의 수"),
        ("many", "1 이상의 수"),
    ):
        with pytest.raises(UsageError, match=sentence), open_workers(named, None):
            pass


def test_a_cluster_without_workers():
    """A scheduler alone does nothing."""
    with (
        distributed.LocalCluster(
            n_workers=0, dashboard_address=None, scheduler_port=0, processes=True
        ) as empty,
        pytest.raises(UsageError, match="일꾼이 없습니다"),
        open_workers("dask://" + empty.scheduler_address.removeprefix("tcp://"), None),
    ):
        pass


def test_a_worker_that_dies_is_told_and_what_came_before_is_there(cluster):
    """The results before it are handed out; then a sentence."""
    for named in ("2", cluster):
        got = []
        with (
            pytest.raises(TradingError, match="프로세스가 죽었습니다"),
            open_workers(named, None) as hands,
        ):
            for item in hands.map(die, [0, 1, 2, 3]):
                got.append(item)
        assert got == [0, 1, 2][: len(got)]
        assert 0 in got
