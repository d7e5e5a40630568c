"""The gate between raw and clean daily bars: what may pass, what is set aside, and why.

Shape is checked by ``schema`` before; corporate actions are inferred by ``adjust``.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.domain.actions import CorporateAction
from trading.domain.arrays import BoolArray, IntArray
from trading.domain.instrument import Market
from trading.domain.market import PriceBasis
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError
from trading.log import get_logger
from trading.store import schema
from trading.store.adjust import assemble_panels, off_tick_grid, place

if TYPE_CHECKING:
    import pandas as pd

    from trading.domain.rules import MarketRules
    from trading.sessions import SessionCalendar

log = get_logger(__name__)

_FILE = "quality/daily.yaml"
_TEMPLATE = Path(__file__).with_name("quality.html.j2")
_SHOWN = ["session", "symbol", "open", "high", "low", "close", "volume", "source"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expectation(_Strict):
    """One Great Expectations check as ``type`` and ``kwargs``, on all or only traded rows."""

    title: str
    type: str
    kwargs: dict[str, Any]
    rows: Literal["all", "traded"] = "all"


class LegalitySettings(_Strict):
    """Thresholds of the checks against the market's own law."""

    tick_grid_markets: tuple[Market, ...]
    half_tick_from: date
    max_move: float = Field(gt=0)
    stale_sessions: int = Field(ge=2)
    twin_min_volume: int = Field(ge=0)


class ReportSettings(_Strict):
    """How much the page shows."""

    examples: int = Field(ge=0)
    symbols: int = Field(ge=0)


class QualitySettings(_Strict):
    """``config/quality/daily.yaml``."""

    expectations: tuple[Expectation, ...]
    legality: LegalitySettings
    report: ReportSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check and the rows that failed it; ``examples`` are the first of them."""

    check: str
    title: str
    checked: int
    failed: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityResult:
    """What passed, what was set aside with its ``reason``, and every check that was made.

    ``coverage`` has one row per symbol: bars, halts, and sessions without a row between its
    first and last bar.
    """

    market: Market
    passed: "pd.DataFrame"
    quarantined: "pd.DataFrame"
    checks: tuple[Finding, ...]
    coverage: "pd.DataFrame"

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.passed) + len(self.quarantined)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The checks that some row failed."""
        return tuple(check for check in self.checks if check.failed)

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        sessions = self.passed["session"]
        return {
            "market": self.market.value,
            "rows": self.rows,
            "quarantined": len(self.quarantined),
            "symbols": len(self.coverage),
            "first": None if sessions.empty else schema.day(sessions.min()).isoformat(),
            "last": None if sessions.empty else schema.day(sessions.max()).isoformat(),
            "adjusted_rows": int((self.passed["basis"] == PriceBasis.ADJUSTED.value).sum()),
            "halts": int(self.coverage["halts"].sum()),
            "gaps": int(self.coverage["gaps"].sum()),
            "findings": [asdict(finding) for finding in self.findings],
        }


@cache
def shipped_quality() -> QualitySettings:
    """Return the quality settings that come with the program."""
    return read_quality(shipped_config_dir() / _FILE)


def read_quality(path: Path) -> QualitySettings:
    """Return the settings in ``path``; ``ConfigError`` when they are not valid."""
    try:
        return QualitySettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"설정 파일이 없음: {path}") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"설정 파일 오류: {path}: {error}") from error


def check_daily(
    frame: "pd.DataFrame",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    market: Market,
    *,
    as_of: date,
    actions: Iterable[CorporateAction] = (),
    history: "pd.DataFrame | None" = None,
    settings: QualitySettings | None = None,
) -> QualityResult:
    """Judge one batch of daily bars.

    Parameters
    ----------
    frame : DataFrame
        ``schema.DAILY_BARS``; keys may repeat.
    as_of : date
        The last session that can be known; later rows are from the future.
    actions : iterable of CorporateAction
        What explains a jump of raw prices.
    history : DataFrame, optional
        Clean bars before the batch: known context, not judged again.
    settings : QualitySettings, optional
        Default: as shipped.

    Raises
    ------
    SchemaError
        When the batch does not have the agreed columns and types: quarantine it whole.
    """
    import pandas as pd

    used = settings or shipped_quality()
    batch = schema.cast(frame, schema.DAILY_BARS).reset_index(drop=True)
    reasons: list[list[str]] = [[] for _ in range(len(batch))]
    checks: list[Finding] = []

    def note(check: str, title: str, checked: int, rows: IntArray) -> None:
        shown = batch.loc[rows[: used.report.examples], _SHOWN]
        checks.append(
            Finding(
                check=check,
                title=title,
                checked=checked,
                failed=len(rows),
                examples=tuple(json.loads(shown.to_json(orient="records", date_format="iso"))),
            )
        )
        for row in rows:
            reasons[row].append(title)

    if len(batch):
        for expectation, checked, rows in _expectations(batch, used.expectations):
            note(expectation.type, expectation.title, checked, rows)
        clean = np.array([not reason for reason in reasons], dtype=np.bool_)
        for name, title, checked, bad in _legality(
            batch, clean, rules, calendar, market, as_of, list(actions), history, used.legality
        ):
            note(name, title, checked, np.flatnonzero(bad))

    failed = np.array([bool(reason) for reason in reasons], dtype=np.bool_)
    quarantined = batch.loc[failed].reset_index(drop=True)
    quarantined["reason"] = [", ".join(reason) for reason in reasons if reason]
    passed = batch.loc[~failed].reset_index(drop=True)
    result = QualityResult(
        market=market,
        passed=passed,
        quarantined=quarantined,
        checks=tuple(checks),
        coverage=_coverage(passed, calendar)
        if len(passed)
        else pd.DataFrame(
            {"symbol": [], "bars": [], "halts": [], "gaps": [], "first": [], "last": []}
        ),
    )
    level = log.warning if len(quarantined) else log.info
    level("일봉 품질 검사", market=market.value, rows=result.rows, quarantined=len(quarantined))
    return result


def write_report(
    result: QualityResult, directory: Path, *, settings: QualitySettings | None = None
) -> Path:
    """Write the page and, beside it, the summary as JSON; return where the page is."""
    import jinja2

    used = settings or shipped_quality()
    summary = result.summary()
    worst = result.coverage.sort_values(["gaps", "symbol"], ascending=[False, True])
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary,
        checks=result.checks,
        coverage=worst.head(used.report.symbols).to_dict("records"),
        columns=_SHOWN,
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"quality-{result.market.value}-{summary['first']}_{summary['last']}.html"
    path.write_text(page, encoding="utf-8")
    path.with_suffix(".json").write_text(
        json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8"
    )
    return path


def _expectations(
    batch: "pd.DataFrame", expectations: Iterable[Expectation]
) -> list[tuple[Expectation, int, IntArray]]:
    """Run the suite once per kind of rows; return the failing row numbers of each check."""
    # Great Expectations reports its use over the network unless it is told not to before import.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import (
        ExpectationConfiguration,
    )

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    found: list[tuple[Expectation, int, IntArray]] = []
    for kind in ("all", "traded"):
        wanted = [item for item in expectations if item.rows == kind]
        rows = batch if kind == "all" else batch.loc[batch["volume"] > 0]
        if not wanted or rows.empty:
            continue
        suite = context.suites.add(
            gx.ExpectationSuite(
                name=kind,
                expectations=[
                    ExpectationConfiguration(type=item.type, kwargs=item.kwargs) for item in wanted
                ],
            )
        )
        data = (
            context.data_sources.add_pandas(kind)
            .add_dataframe_asset(kind)
            .add_batch_definition_whole_dataframe(kind)
        )
        definition = gx.ValidationDefinition(name=kind, data=data, suite=suite)
        outcome = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": rows}, result_format={"result_format": "COMPLETE"}
        )
        # Results come grouped by column, so each is found again by its own configuration.
        for item in wanted:
            result = next(
                entry
                for entry in outcome.results
                if (made := entry.expectation_config) is not None
                and made.type == item.type
                and item.kwargs.items() <= made.kwargs.items()
            )
            if result.exception_info.get("raised_exception"):
                raise ConfigError(f"config/{_FILE}의 검사를 할 수 없음: {item.title}")
            failing = result.result.get("unexpected_index_list") or []
            found.append((item, len(rows), np.array(sorted(set(failing)), dtype=np.int64)))
    return found


def _legality(
    batch: "pd.DataFrame",
    clean: BoolArray,
    rules: "MarketRules",
    calendar: "SessionCalendar",
    market: Market,
    as_of: date,
    actions: list[CorporateAction],
    history: "pd.DataFrame | None",
    limits: LegalitySettings,
) -> Iterable[tuple[str, str, int, BoolArray]]:
    """Yield name, title, rows checked and rows failed of each check; ``clean`` rows only count."""
    import pandas as pd

    day = batch["session"].to_numpy().astype("datetime64[D]")
    future = day > np.datetime64(as_of)
    yield "future", "미래의 행", len(batch), future
    first, last = day.min().item(), day.max().item()
    known = np.array(calendar.sessions(first, last), dtype="datetime64[D]")
    closed = ~np.isin(day, known)
    yield "calendar", "거래일이 아닌 날의 행", len(batch), closed

    traded = clean & ~future & ~closed & (batch["volume"] > 0).to_numpy()
    raw = traded & (batch["basis"] == PriceBasis.RAW.value).to_numpy()
    if market in limits.tick_grid_markets and raw.any():
        half = day >= np.datetime64(limits.half_tick_from)
        off = np.zeros(len(batch), dtype=np.bool_)
        for allowed in (False, True):
            rows = raw & (half == allowed)
            if rows.any():
                off[rows] = off_tick_grid(batch.loc[rows], rules, half_tick=allowed)
        yield "tick_grid", "그날의 호가 단위를 벗어난 가격", int(raw.sum()), off

    whole = batch.loc[clean & ~future & ~closed]
    before = 0
    if history is not None and len(history):
        before = len(history)
        whole = pd.concat([history, whole], ignore_index=True)
    if len(whole):
        bad = np.zeros(len(batch), dtype=np.bool_)
        bad[clean & ~future & ~closed] = _beyond_limits(
            whole, rules, calendar, market, actions, limits
        )[before:]
        yield "price_limit", "가격 제한폭을 벗어난 가격", int(raw.sum()), bad & raw
        bad = np.zeros(len(batch), dtype=np.bool_)
        bad[clean & ~future & ~closed] = _repeats(whole, limits.stale_sessions)[before:]
        yield "stale", "똑같은 봉의 되풀이", int(traded.sum()), bad & traded

    bars = ["session", "open", "high", "low", "close", "volume"]
    busy = traded & (batch["volume"] >= limits.twin_min_volume).to_numpy()
    twin = np.zeros(len(batch), dtype=np.bool_)
    twin[busy] = batch.loc[busy].duplicated(bars, keep=False).to_numpy()
    yield "twin", "다른 종목과 똑같은 봉", int(busy.sum()), twin


def _beyond_limits(
    whole: "pd.DataFrame",
    rules: "MarketRules",
    calendar: "SessionCalendar",
    market: Market,
    actions: list[CorporateAction],
    limits: LegalitySettings,
) -> BoolArray:
    """Return which rows no legal trade could have made from the session before.

    Only rows whose session before was traded at raw prices are judged: first days, and days
    after a halt or a gap, have base prices of their own.
    """
    days = calendar.sessions(schema.day(whole["session"].min()), schema.day(whole["session"].max()))
    panel, _ = assemble_panels(whole, actions, days, market, None)
    cells = place(whole, panel.sessions, panel.symbols)
    is_raw = np.zeros(panel.close.shape, dtype=np.bool_)
    is_raw[cells.row, cells.column] = (whole["basis"] == PriceBasis.RAW.value).to_numpy()[
        cells.kept
    ]
    is_raw &= panel.tradable
    judged = is_raw.copy()
    judged[0] = False
    judged[1:] &= is_raw[:-1]

    lower, upper = rules.limit_arrays(panel.exchanges, panel.reference, panel.sessions)
    beyond = (upper > 0) & ((panel.high > upper) | (panel.low < lower))
    move = np.abs(panel.close / np.maximum(panel.reference, 1) - 1)
    beyond |= (upper == 0) & (move > limits.max_move)
    beyond &= judged
    # The first good row after a bad one jumps back; it is fair where the bad one started from.
    back = np.abs(panel.close[1:] / np.maximum(panel.reference[:-1], 1) - 1) <= limits.max_move
    beyond[1:] &= ~(beyond[:-1] & back)
    bad = np.zeros(len(whole), dtype=np.bool_)
    bad[np.flatnonzero(cells.kept)] = beyond[cells.row, cells.column]
    return bad


def _repeats(whole: "pd.DataFrame", sessions: int) -> BoolArray:
    """Return which rows are at least the ``sessions``-th equal bar of their symbol in a row."""
    import pandas as pd

    order = np.lexsort((whole["session"].to_numpy(), pd.factorize(whole["symbol"])[0]))
    same = np.ones(len(order), dtype=np.bool_)
    for name in ("symbol", "open", "high", "low", "close", "volume"):
        values = whole[name].to_numpy()[order]
        same[1:] &= values[1:] == values[:-1]
    same[0] = False
    number = np.arange(len(order))
    start = np.maximum.accumulate(np.where(same, 0, number))
    bad = np.zeros(len(order), dtype=np.bool_)
    bad[order] = number - start >= sessions - 1
    return bad


def _coverage(passed: "pd.DataFrame", calendar: "SessionCalendar") -> "pd.DataFrame":
    groups = passed.assign(halt=passed["volume"] == 0).groupby("symbol", sort=True)
    table = groups.agg(
        bars=("session", "size"),
        halts=("halt", "sum"),
        first=("session", "min"),
        last=("session", "max"),
    ).reset_index()
    days = np.array(
        calendar.sessions(schema.day(table["first"].min()), schema.day(table["last"].max())),
        dtype="datetime64[D]",
    )
    start = np.searchsorted(days, table["first"].to_numpy().astype("datetime64[D]"))
    end = np.searchsorted(days, table["last"].to_numpy().astype("datetime64[D]"), side="right")
    table["gaps"] = end - start - table["bars"]
    table["first"] = [schema.day(day).isoformat() for day in table["first"]]
    table["last"] = [schema.day(day).isoformat() for day in table["last"]]
    return table
