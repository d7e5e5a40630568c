"""An account that moves to another machine: restored from its backup, it trades on as if it had not."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from program import EAGER, configure, trading

START = "2004-11-12"
# A forest small enough for a test is trained and trades.
MOVING = {
    **EAGER,
    "strategies": {
        name: change for name, change in EAGER["strategies"].items() if name != "forest"
    },
    "models": {"forest": {"trees": 4}},
}
SAME = ("decision_hash", "orders_hash", "orders", "fills", "final_equity", "cash_difference")


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> Path:
    """A home that has traded one session; its closing has taken a backup."""
    root = configure(tmp_path_factory.mktemp("first") / "home", MOVING)
    (root / ".env").write_text("KIS_HTS_ID=user01\n")
    answer = trading(root, "demo", "--start", START, "--sessions", "1", "--no-prefect", "--json")
    assert answer.code == 0, answer.err
    return root


def test_every_thing_in_data_was_decided_upon(traded):
    """What a day leaves in data is in the backup or is told to be left out: nothing is forgotten."""
    from trading.backup import KEPT, LEFT_OUT

    there = {path.name for path in (traded / "data").iterdir()}

    assert {name.removesuffix("-wal").removesuffix("-shm") for name in there} <= {*KEPT, *LEFT_OUT}


def test_the_account_trades_on_at_another_place(traded, tmp_path):
    """Champion, books and the next session are what they would have been; the checks find no fault."""
    (archive,) = (traded / "backups").glob("trading-*.zip")
    record = json.loads((traded / "data" / "backup.json").read_text())
    assert (record["path"], record["verified"]) == (str(archive), True)
    moved = tmp_path / "another machine" / "home"

    answer = trading(None, "--root", str(moved), "restore", str(archive), "--json")

    assert answer.code == 0, answer.err
    told = answer.json
    assert told["accounts"] == [
        {"name": "demo-us", "sessions": 1, "last_session": START, "datasets": []}
    ]
    assert [part["market"] for part in told["backfill"]] == ["us"]
    (before,), (after,) = (
        trading(root, "models", "--json").json["models"] for root in (traded, moved)
    )
    assert after == {**before, "page": before["page"].replace(str(traded), str(moved))}
    assert after["aliases"] == ["champion"]
    assert after["trades"]
    assert Path(after["page"]).is_file()
    again = ("demo", "--sessions", "1", "--no-prefect", "--json")
    there, here = trading(moved, *again), trading(traded, *again)
    assert (there.code, here.code) == (0, 0), there.err
    assert {k: there.json[k] for k in SAME} == {k: here.json[k] for k in SAME}
    assert there.json["orders"] > 0
    assert there.json["cash_difference"] == there.json["parity"]["differences"] == 0
    # Where the registry keeps a version's files is known at the new place, the old one being gone.
    shutil.move(traded, tmp_path / "gone")
    with sqlite3.connect(moved / "mlruns" / "mlflow.db") as db:
        (source,) = db.execute("SELECT source FROM model_versions").fetchone()
    assert Path(source).is_relative_to(moved)
    assert (Path(source) / "model.safetensors").is_file()
    found = trading(moved, "check", "--json")
    errors = [f for f in found.json["findings"] if f["severity"] == "error"]
    assert (found.code, errors) == (0, [])
