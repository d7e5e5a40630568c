"""Backtesters of others in their own environments: the same fills, every cent explained."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[2] / "peers"
sys.path.insert(0, str(PEERS))
compare = importlib.import_module("compare")
environments = importlib.import_module("environments")
workloads = importlib.import_module("engines.workloads")

pytestmark = pytest.mark.skipif(
    not environments.is_ready(), reason="다른 백테스터가 없어 건너뜀 (make compare-peers)"
)


@pytest.fixture(scope="module")
def goog():
    """Return the market of the reference results: 2,148 bars of GOOG, averages of 10 and 30."""
    known = compare.REFERENCES["single"]
    return compare._market(known.title, workloads.reference("single", environments.goog()))


@pytest.mark.slow
def test_recorded_rules_are_explained(capsys):
    """Three rules on four stocks under four peers: nothing unexplained, and who differs in what.

    The fills of the peers are their own; that vectorbt trades a tie of its averages is known.
    """
    status = compare.main(["--part", "recorded", "--json"])

    said = json.loads(capsys.readouterr().out)
    found = {(f["market"].split(" ")[0], f["peer"]): f for f in said["findings"]}
    assert status == 0
    assert len(found) == 12
    assert {f["unexplained"] for f in found.values()} == {"0.00"}
    assert all(check["kept"] for check in said["checks"])
    assert {pair for pair, f in found.items() if not f["same_fills"]} == {
        ("이동평균", "vectorbt"),
        ("SMA", "vectorbt"),
        ("SMA", "backtesting"),
    }
    assert [found[rule, "backtrader"]["their_fills"] for rule in ("이동평균", "RSI", "SMA")] == [
        262, 60, 408,
    ]  # fmt: skip


def test_reference_result(goog):
    """67 orders and 10,078,755.35, as PERFORMANCE.md has it of each of them."""
    known = compare.REFERENCES["single"]
    engines = ("backtrader", "bt", "numba", "pybroker", "vectorbt")

    findings = compare._compared([(goog, engine) for engine in engines])

    assert [finding.fault for finding in findings] == [None] * len(engines)
    assert all(finding.same_fills for finding in findings)
    assert {finding.their_fills for finding in findings} == {known.orders}
    # bt values the last bar at its open, in PERFORMANCE.md its holdings were valued for it.
    assert {f.their_equity for f in findings if f.peer != "bt"} == {known.equity}


def test_our_reference_result(goog):
    """Our own fills, recomputed in fractions, give the published equity to the cent."""
    checks = list(compare._reference_checks(goog, compare.REFERENCES["single"]))

    assert len(checks) == 4
    assert [check.text for check in checks if not check.kept] == []


def test_engine_that_fails_is_told(goog):
    """A market that an engine does not do is a fault that says why; the others are judged."""
    rsi = compare._market("RSI", compare.cases.recorded(compare.cases.RULES["RSI (14, 30/70)"]))

    findings = compare._compared([(goog, "pybroker"), (rsi, "pybroker")])

    assert [f.fault for f in findings] == [None, "실행하지 못함: ValueError: pybroker: recross"]


def test_time_is_one_line_from_the_engine_s_environment():
    """Started by our interpreter, it goes on in the peer's and prints one JSON line."""
    done = subprocess.run(
        [
            sys.executable, PEERS / "time_engine.py", "--engine", "backtesting",
            "--workload", "single", "--repeat", "1",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    line = json.loads(done.stdout)
    assert line["bars"] == 2_148
    assert line["orders"] == 67
    assert line["bars_per_second"] == pytest.approx(2_148 / line["seconds"])
    assert line["version"] == "0.6.6"


def test_workload_that_an_engine_does_not_do():
    """A sweep by bt is refused with one sentence."""
    done = subprocess.run(
        [sys.executable, PEERS / "time_engine.py", "--engine", "bt", "--workload", "sweep"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == "이 라이브러리로는 재지 않는 작업입니다: sweep\n"
