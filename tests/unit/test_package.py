"""What the package does for whoever starts the program."""

import json
import os
import subprocess
import sys

import pytest

LIBRARIES = "OPENBLAS", "MKL", "OMP"


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), ("2", 2)])
def test_linear_algebra_runs_on_one_thread(asked, expected):
    """Last bits depend on the number of threads; who wants more says so in the environment."""
    names = [f"{library}_NUM_THREADS" for library in LIBRARIES]
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= dict.fromkeys(names, asked) if asked is not None else {}

    answer = subprocess.run(
        [sys.executable, "-c",
         "import trading, numpy, json, threadpoolctl as t;"
         "print(json.dumps([p['num_threads'] for p in t.threadpool_info()]))"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    threads = json.loads(answer.stdout)
    assert threads
    assert set(threads) <= {1, expected}
