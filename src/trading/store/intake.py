"""The raw→clean boundary: batches of bars come in through the quality gate."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from trading.domain.actions import CorporateAction
from trading.errors import MissingDataError, SchemaError
from trading.ports import BarSource
from trading.store import schema

if TYPE_CHECKING:
    import pandas as pd

    from trading.config import Home
    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar
    from trading.store.lake import Lake

# The longest time without a session (New York, September 2001: six days; Seoul, October 2025:
# nine), with room to spare.
_LONGEST_CLOSURE = timedelta(days=14)


def ingest(
    lake: "Lake",
    source: BarSource,
    home: "Home",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    *,
    first: date,
    last: date,
    known: date,
) -> dict[str, Any] | None:
    """Bring bars, actions, instruments and index of a range from a source into the lake.

    ``known`` is the session whose morning it is: its actions are public, its bars are not.
    ``None`` when the range holds nothing new.
    """
    market = rules.market
    lake.upsert_instruments(market, source.instruments(market))
    actions = source.actions(market, first, known)
    lake.upsert_actions(market, actions)
    if first > last:
        return None
    index = source.index(market, first, last)
    if len(index):
        lake.upsert_index(market, index)
    frame = source.daily(market, None, first, last)
    if frame.empty:
        raise MissingDataError(f"{first}부터 {last}까지 기록된 시세가 없습니다.")
    return admit(
        lake,
        home,
        rules,
        calendar,
        frame,
        as_of=last,
        actions=actions,
    )


def admit(
    lake: "Lake",
    home: "Home",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    frame: "pd.DataFrame",
    *,
    as_of: date,
    actions: Sequence[CorporateAction],
) -> dict[str, Any]:
    """Let a batch of daily bars through the quality gate: what fails is set aside with its reason.

    Judged beside the sessions that came before it, so that day by day the same rows pass as in
    one batch.
    """
    from trading.store import quality

    market = rules.market
    settings = quality.read_quality(home.config_dir / "quality" / "daily.yaml")
    first = schema.day(frame["session"].min())
    span = timedelta(days=2 * settings.legality.stale_sessions) + _LONGEST_CLOSURE
    history = lake.daily(market, None, first - span, first - timedelta(days=1), layer="raw")
    history = history.loc[history["symbol"].isin(frame["symbol"].unique())]
    result = quality.check_daily(
        frame,
        rules,
        calendar,
        market,
        as_of=as_of,
        actions=actions,
        history=history if len(history) else None,
        settings=settings,
    )
    lake.quarantine(market, "daily", result.quarantined)
    keyed = frame.drop_duplicates(["symbol", "session"], keep="last")
    lake.upsert_daily(market, keyed, layer="raw")
    if len(result.passed) == 0:
        raise SchemaError(f"시세 {result.rows:,}행이 모두 품질 검사에 걸려 쓰지 않습니다.")
    lake.upsert_daily(market, result.passed, layer="clean")
    page = quality.write_report(result, home.data_dir / "reports" / "quality")
    return {
        "rows": result.rows,
        "quarantined": len(result.quarantined),
        "findings": [f"{f.title}: {f.failed:,}건" for f in result.findings],
        "page": str(page),
    }
