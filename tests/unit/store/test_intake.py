"""The raw→clean boundary lets the same rows through, in one batch or day by day."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trading.config import resolve_root
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource
from trading.store.intake import admit
from trading.store.lake import Lake

SOURCE = EmbeddedSource()
FIRST, LAST = date(2005, 2, 14), date(2005, 3, 11)


@pytest.fixture
def bars() -> pd.DataFrame:
    """A month over AAPL's split, in which IBM's bar of 02-22 came five times."""
    frame = SOURCE.daily(Market.US, None, FIRST, LAST)
    ibm = frame.index[(frame["symbol"] == "IBM") & (frame["session"] >= "2005-02-22")][:5]
    for name in ("open", "high", "low", "close", "volume"):
        frame.loc[ibm, name] = frame.loc[ibm[0], name]
    return frame


def let_through(root: Path, batches: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the clean layer after these batches."""
    lake = Lake(root / "lake")
    home = resolve_root(root)
    for batch in batches:
        admit(
            lake, home, shipped_rules(Market.US), SessionCalendar(Market.US), batch,
            as_of=batch["session"].max().date(), actions=SOURCE.actions(Market.US, FIRST, LAST),
        )  # fmt: skip
    return lake.daily(Market.US, None, FIRST, LAST)


def test_day_by_day_the_same_rows_pass(bars, tmp_path):
    """From its third appearance on a repeated bar is set aside, whenever the batches are cut."""
    at_once = let_through(tmp_path / "a", [bars])
    daily = let_through(
        tmp_path / "b", [day.reset_index(drop=True) for _, day in bars.groupby("session")]
    )

    missing = bars.merge(at_once[["symbol", "session"]], how="left", indicator=True)
    missing = missing.loc[missing["_merge"] == "left_only"]
    assert set(missing["symbol"]) == {"IBM"}
    assert [str(day.date()) for day in missing["session"]] == [
        "2005-02-24", "2005-02-25", "2005-02-28",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(daily, at_once)
