"""An account that moves to another machine: restored from its backup, it trades on as if it had not."""

import json
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import pytest
from program import EAGER, configure, trading

from trading import bootstrap, day
from trading.context import panels
from trading.domain.instrument import Market
from trading.mlops import promote
from trading.mlops.tracking import MlflowRegistry
from trading.mlops.train import train

START = "2004-11-12"
SAME = ("decision_hash", "orders_hash", "orders", "fills", "final_equity", "cash_difference")


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> Path:
    """A home that has traded one session with a champion; its closing has taken a backup."""
    root = configure(tmp_path_factory.mktemp("first") / "home", EAGER)
    (root / ".env").write_text("KIS_HTS_ID=user01\n")
    (root / ".env").chmod(0o600)
    teach(root)
    answer = trading(
        root, "demo", "--start", START, "--sessions", "1", "--no-prefect", "--json", timeout=600
    )
    assert answer.code == 0, answer.err
    return root


def teach(root: Path) -> None:
    """Let a small forest, taught on what was known by then, be the registered champion."""
    installation = bootstrap.open_home(root, console=False)
    request = bootstrap.DemoRequest(start=date.fromisoformat(START), sessions=1)
    context = bootstrap.open_demo_day(
        installation, bootstrap.begin_demo(installation, Market.US, request)
    )
    try:
        day.market_data(context)
        _, adjusted, row = panels(context)
        models = context.settings.models
        small = models.model_copy(
            update={"min_rows": 100, "forest": models.forest.model_copy(update={"trees": 4})}
        )
        model = train(adjusted.until(row), context.settings.features, small).model
        registry = MlflowRegistry(context.home.mlruns_dir)
        page = context.home.data_dir / "reports" / "models" / "forest-us" / "1.html"
        page.parent.mkdir(parents=True)
        page.write_text("<p>판정</p>")
        version = registry.register(
            model, experiment="forest", parameters={}, metrics={}, curves={},
            tags={
                "verdict": "not_proven", "rank_ic": "0.1", "rank_ic_t": "1.0", "page": str(page),
                "trained_through": model.card.trained_through.isoformat(),
            },
            files={"verdict.html": page.read_text()},
        )  # fmt: skip
        promote.install(context.home, registry, version, model.card.name)
    finally:
        bootstrap.close_day(context.key)


def test_every_thing_in_data_was_decided_upon(traded):
    """What a day leaves in data is in the backup or is told to be left out: nothing is forgotten."""
    from trading.backup import KEPT, LEFT_OUT

    there = {path.name for path in (traded / "data").iterdir()}

    assert {name.removesuffix("-wal").removesuffix("-shm") for name in there} <= {*KEPT, *LEFT_OUT}


@pytest.mark.slow
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
    there, here = (trading(root, *again, timeout=600) for root in (moved, traded))
    assert (there.code, here.code) == (0, 0), there.err
    assert {k: there.json[k] for k in SAME} == {k: here.json[k] for k in SAME}
    # It holds shares, whose prices moved.
    assert there.json["final_equity"] != there.json["starting_equity"]
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
