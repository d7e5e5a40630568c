"""Homes and commands of the program as a user runs it: one process, one folder."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
# Thresholds so low that every name trades, shares of a print so small that orders fill in parts,
# one agent, and nothing to train: a day with many moments that takes seconds.
EAGER: Mapping[str, Mapping[str, Any]] = {
    "strategies": {
        name: {"enabled": False}
        for name in (
            "rsi",
            "bollinger_mfi",
            "momentum",
            "pairs",
            "kalman_pairs",
            "stat_arb",
            "mean_reversion",
            "factor",
            "forest",
        )
    },
    "allocation": {
        "ensemble": {"entry_forecast": 0.05, "min_confidence": 0.05, "max_entry_var": 1.0},
        "sizing": {"volatility_target": 0.1},
        "no_trade_band": 0.001,
        "resize": "daily",
    },
    "execution": {"us": {"participation": 0.0001}, "exits": {"stop_loss": None}},
    "risk": {"exposure": {"annual_volatility_target": 10.0, "drawdown_ladder": []}},
    "models": {"min_rows": 10_000_000},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def command(root: Path | None, *arguments: str) -> list[str]:
    """Return the command line of the program."""
    home = ["--root", str(root)] if root is not None else []
    return [sys.executable, "-m", "trading.cli", *home, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return an environment without anybody's keys."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KIS_", "TRADING_"))}
    return kept | more


def trading(root: Path | None, *arguments: str, timeout: float = 400.0, **more: str) -> Answer:
    """Run the program to its end; the first run of a checkout compiles, minutes on a busy machine."""
    done = subprocess.run(
        command(root, *arguments), capture_output=True, text=True, timeout=timeout,
        env=environment(**more), cwd=root if root is not None and root.is_dir() else "/",
    )  # fmt: skip
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def configure(root: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Give ``root`` the shipped configuration with ``changes`` by file."""
    shutil.copytree(CHECKOUT / "config", root / "config", dirs_exist_ok=True)
    for name, change in changes.items():
        path = root / "config" / f"{name}.yaml"
        settings = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(_merged(settings, change), allow_unicode=True))
    return root


def _merged(settings: Any, change: Any) -> Any:
    if not isinstance(change, Mapping) or not isinstance(settings, Mapping):
        return change
    return {**settings, **{k: _merged(settings.get(k), v) for k, v in change.items()}}


def ledger_rows(root: Path, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return what the demo ledger answers, as a reader beside the session."""
    path = root / "data" / "ledger" / "demo-us.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as db:
        rows = db.execute(query, values).fetchall()
    db.close()
    return rows


def messages(root: Path, event: str) -> list[dict[str, Any]]:
    """Return the fields of each message of ``event`` in the outbox, by any channel, in their order."""
    with sqlite3.connect(root / "data" / "outbox.db", timeout=10) as db:
        rows = db.execute(
            "SELECT body FROM outbox WHERE event = ? ORDER BY id", (event,)
        ).fetchall()
    db.close()
    return [json.loads(body) for (body,) in rows]


def venue_orders(root: Path) -> list[dict[str, Any]]:
    """Return the orders in the journal of the exchange, which must have ended."""
    path = root / "data" / "exchange" / "demo-us" / "journal.db"
    with sqlite3.connect(path, timeout=10) as db:
        rows = db.execute("SELECT body FROM fact WHERE kind = 'order'").fetchall()
    db.close()
    return [json.loads(body) for (body,) in rows]
