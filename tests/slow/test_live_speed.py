"""The live path keeps its promises: ratios within one run, and a feed that loses nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]


def run(script, *arguments):
    """Run a script of ``bench/`` and return its results by name."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "bench" / script), "--json", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout.splitlines()[-1])["results"]}


@pytest.mark.parametrize("name", ["decode", "rest", "decision"])
def test_ratios_hold(name):
    """Decoding, a REST call and the way to an order cost what was promised."""
    results = run("bench.py", "--only", name)

    assert [one["name"] for one in results.values() if not one["kept"]] == []


def test_a_busy_feed_loses_nothing():
    """Forty symbols, 2,000 frames a second, twenty seconds: none lost, no growth, in time."""
    results = run("soak.py", "--seconds", "20")

    assert results["놓친 체결"]["value"] == 0
    assert results["놓친 수량"]["value"] == 0
    assert [one["name"] for one in results.values() if not one["kept"]] == []
