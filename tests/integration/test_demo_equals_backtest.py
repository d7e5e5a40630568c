"""Sessions over the wire and in a backtest: the same orders, decisions and money, by day and by minute."""

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from program import EAGER, configure, trading

FIRST, LAST, SESSIONS = "2025-09-03", "2025-09-05", 3
NAMES = 14
FILES = (
    "krx_daily.parquet", "krx_daily_2025.parquet", "krx_minute.parquet", "krx_symbols.parquet",
    "krx_cross_section.parquet", "krx_sectors.parquet", "krx_fundamentals.parquet",
)  # fmt: skip
# What comes to pass in few sessions: every name trades, in parts, and is sold within the day.
TRADED = {
    **EAGER,
    "execution": {
        "krx": {"participation": 0.01},
        "exits": {"stop_loss": 0.01, "take_profit": 0.015, "cooldown_sessions": 1},
    },
    "app": {"data": {"first_bar_sessions": {"krx": 310}}},
}
SAME = ("orders", "fills", "final_equity", "orders_hash", "decision_hash", "ambiguous_fills")


@pytest.fixture
def some(shared_data: Path, tmp_path: Path) -> Path:
    """Return a folder with the recorded rows of a few names that have minutes, and some that have none.

    With so few the preparation of a day takes seconds.
    """
    folder = tmp_path / "some"
    folder.mkdir()
    minutes = pq.read_table(shared_data / "krx_minute.parquet", columns=["ts_kst", "symbol"])
    days = pc.strftime(minutes["ts_kst"], "%Y-%m-%d")
    whole = [
        set(minutes.filter(pc.equal(days, day))["symbol"].unique().to_pylist())
        for day in (FIRST, "2025-09-04", LAST)
    ]
    always = sorted(set.intersection(*whole))[:NAMES]
    never = sorted(set(minutes["symbol"].unique().to_pylist()) - set.union(*whole))[:4]
    for name in FILES:
        table = pq.read_table(shared_data / name)
        keep = pc.is_in(table["symbol"], value_set=pa.array([*always, *never], pa.string()))
        pq.write_table(table.filter(keep), folder / name)
    (folder / "index_daily.parquet").write_bytes((shared_data / "index_daily.parquet").read_bytes())
    return folder


@pytest.mark.slow
def test_minutes_over_the_wire_and_in_process(some, tmp_path):
    """A demo over three sessions of Korean minutes and the backtest of them are one, to the won."""
    root = configure(tmp_path / "home", TRADED)
    demo = trading(
        root, "demo", "--market", "krx", "--dataset", str(some), "--start", FIRST,
        "--sessions", str(SESSIONS), "--no-prefect", "--json", timeout=900,
    )  # fmt: skip
    assert demo.code == 0, demo.err[-3000:]

    backtest = trading(
        root, "backtest", "ensemble", "--market", "krx", "--dataset", str(some), "--from", FIRST,
        "--to", LAST, "--replay", "minute", "--first-bar", _first_bar(root, "krx"), "--json", timeout=900,
    )  # fmt: skip

    assert backtest.code == 0, backtest.err[-3000:]
    over_wire, in_process = demo.json, backtest.json
    assert {k: in_process[k] for k in SAME} == {k: over_wire[k] for k in SAME}
    assert over_wire["parity"] == {
        "orders": over_wire["orders"], "differences": 0, "unexplained": 0,
    }  # fmt: skip
    assert over_wire["orders"] > 10
    assert over_wire["fills"] > 2 * over_wire["orders"]
    assert in_process["cash_difference"] == over_wire["cash_difference"] == 0
    assert in_process["replayed_sessions"] == {"minute": SESSIONS, "daily": 0}
    assert in_process["replayed_names"]["daily"] > 0


def test_days_over_the_wire_and_in_process(tmp_path):
    """A demo over three embedded sessions and the backtest of them are one, over MSFT's dividend too."""
    changes = {**EAGER, "execution": {**EAGER["execution"], "exits": {"stop_loss": 0.005}}}
    root = configure(tmp_path / "home", changes)
    demo = trading(
        root, "demo", "--start", "2004-11-11", "--sessions", "3", "--no-prefect", "--json",
        timeout=900,
    )  # fmt: skip
    assert demo.code == 0, demo.err[-3000:]

    backtest = trading(
        root, "backtest", "ensemble", "--from", "2004-11-11", "--to", "2004-11-15",
        "--first-bar", _first_bar(root, "us"), "--json", timeout=900,
    )  # fmt: skip

    assert backtest.code == 0, backtest.err[-3000:]
    assert {k: backtest.json[k] for k in SAME} == {k: demo.json[k] for k in SAME}
    assert demo.json["last_session"] == "2004-11-15"
    assert demo.json["orders"] >= 4
    assert backtest.json["replayed_sessions"] == {"daily": 3}
    # Nobody asked for slippage, and none was taken.
    assert backtest.json["slippage"] == 0


def _first_bar(root: Path, market: str) -> str:
    """Return where the demo's panels begin, as its ledger says."""
    path = root / "data" / "ledger" / f"demo-{market}.db"
    with sqlite3.connect(path) as db:
        ((body,),) = db.execute("SELECT body FROM journal WHERE kind = 'run'").fetchall()
    return str(json.loads(body)["first_bar"])
