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


@pytest.mark.parametrize("name", ["decode", "rest"])
def test_ratios_hold(name):
    """Decoding and a REST call cost what was promised."""
    results = run("bench.py", "--only", name)

    assert [one["name"] for one in results.values() if not one["kept"]] == []


def test_the_way_to_an_order_is_short():
    """50 µs in the middle; 250 µs at the 99th percentile, without what other processes take."""
    spreads = run("bench.py", "--only", "decision")["프레임에서 주문 바이트까지 p50"][
        "microseconds"
    ]

    assert spreads["frame to order bytes (stop, all guards)"]["p50"] <= 50
    assert spreads["the same, processor time alone"]["p99"] <= 250


def test_a_busy_feed_loses_nothing():
    """Forty symbols, 2,000 frames a second, twenty seconds: none lost, no growth, in time.

    The way has two wake-ups in it: on a machine that is late with a mere sleep, that counts.
    """
    results = run("feed.py", "--seconds", "20")
    *_, machine = results["소켓에서 판단까지 p99"]["microseconds"].values()

    assert results["놓친 체결"]["value"] == 0
    assert results["놓친 수량"]["value"] == 0
    assert results["늘어난 메모리"]["kept"]
    assert results["초당 프레임"]["kept"]
    assert results["소켓에서 판단까지 p99"]["value"] <= max(5.0, 4 * machine["p99"] / 1e3)
