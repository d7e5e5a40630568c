"""What a flow without a day logs as an error reaches whoever is told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks import backfill as filling
from tasks import research as researching
from trading.backfill import Request
from trading.log import get_logger
from trading.research import runs
from trading.research.history import Scope


def told(root: Path) -> list[str]:
    """Return what the errors in the outbox of a home say."""
    query = "SELECT json_extract(body, '$.message') FROM outbox WHERE event = 'error'"
    with closing(sqlite3.connect(root / "data" / "outbox.db")) as db:
        return [row[0] for row in db.execute(query)]


def lossy(*_: object) -> dict[str, object]:
    """Stand in for hours of work that goes on over what it cannot get."""
    get_logger("trading.store.intake").error("자료를 받지 못함", kind="daily")
    return {}


@pytest.mark.parametrize("flow", ["backfill", "research"])
def test_an_error_of_a_flow_is_told(flow, tmp_path, monkeypatch):
    """Also where the flow itself comes to its end."""
    monkeypatch.setattr(filling.backfill, "backfill", lossy)
    monkeypatch.setattr(runs, "backtest", lossy)

    if flow == "backfill":
        filling._fill_lake(tmp_path, Request())
    else:
        researching._run_backtest(
            tmp_path, "ma", Scope(market=None, symbols=None, first=None, last=None)
        )
    get_logger("trading.store.intake").error("끝난 뒤")

    assert told(tmp_path) == ["자료를 받지 못함"]
