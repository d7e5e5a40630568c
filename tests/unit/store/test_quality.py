"""Clean rows pass, planted faults are set aside with their reason, and nothing is lost."""

import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import ConfigError, SchemaError
from trading.sessions import SessionCalendar
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.quality import (
    QualityResult,
    check_daily,
    read_quality,
    shipped_quality,
    write_report,
)

SOURCE = EmbeddedSource()
FIRST, LAST = date(2004, 10, 1), date(2005, 4, 29)
CALENDAR = SessionCalendar(Market.US)


@pytest.fixture
def bars() -> pd.DataFrame:
    """Seven months of the embedded stocks, AAPL's split and MSFT's special dividend included."""
    return SOURCE.daily(Market.US, None, FIRST, LAST)


def check(frame: pd.DataFrame, **more: object) -> QualityResult:
    return check_daily(
        frame,
        shipped_rules(Market.US),
        CALENDAR,
        Market.US,
        **{"as_of": LAST, "actions": SOURCE.actions(Market.US, FIRST, LAST), **more},  # type: ignore[arg-type]
    )


def reasons(result: QualityResult) -> dict[tuple[str, str], str]:
    rows = result.quarantined
    return {(row.symbol, row.session.date().isoformat()): row.reason for row in rows.itertuples()}


def row(bars: pd.DataFrame, symbol: str, day: str) -> int:
    return bars.index[(bars["symbol"] == symbol) & (bars["session"] == day)][0]


def test_recorded_rows_pass(bars: pd.DataFrame):
    """The embedded bars have no finding, through a split and a special dividend."""
    result = check(bars)

    assert result.findings == ()
    pd.testing.assert_frame_equal(result.passed, bars)
    assert result.summary()["rows"] == len(bars)
    assert len(result.checks) == len(shipped_quality().expectations) + 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"high": 1_000}, "고가 ≥ 저가, 고가 ≥ 시가, 고가 ≥ 종가"),
        ({"low": 99_999_999}, "고가 ≥ 저가, 시가 ≥ 저가, 종가 ≥ 저가"),
        ({"open": 0}, "시가가 0보다 큼, 시가 ≥ 저가"),
        ({"volume": -5}, "거래량이 음수가 아님"),
        ({"exchange": "MOON"}, "아는 거래소"),
        ({"symbol": "ib m"}, "종목 코드 형식"),
        ({"session": pd.Timestamp(2004, 12, 25)}, "거래일이 아닌 날의 행"),
    ],
)
def test_planted_fault_is_set_aside(bars: pd.DataFrame, change: dict[str, object], reason: str):
    """One wrong cell sets one row aside and names every check that it fails."""
    at = row(bars, "IBM", "2004-12-15")
    for name, value in change.items():
        bars.loc[at, name] = value

    result = check(bars)

    assert list(reasons(result).values()) == [reason]
    assert len(result.passed) == len(bars) - 1
    assert result.quarantined.iloc[0]["close"] == bars.loc[at, "close"]


def test_repeated_key_sets_both_aside(bars: pd.DataFrame):
    """Of two rows with one key neither can be trusted."""
    twice = pd.concat([bars, bars.iloc[[10]].assign(close=bars["close"].iloc[10] + 100)])

    assert len(check(twice).quarantined) == 2


def test_future_rows_do_not_pass(bars: pd.DataFrame):
    """Rows after the session that can be known are set aside."""
    result = check(bars, as_of=date(2005, 4, 28))

    assert {day for _, day in reasons(result)} == {"2005-04-29"}
    assert set(reasons(result).values()) == {"미래의 행"}


def test_impossible_jump_is_found_once(bars: pd.DataFrame):
    """A decimal point error is set aside; the good row after it is not."""
    at = row(bars, "IBM", "2004-12-15")
    bars.loc[at, ["open", "high", "low", "close"]] *= 10

    assert reasons(check(bars)) == {("IBM", "2004-12-15"): "가격 제한폭을 벗어난 가격"}


def test_a_split_explains_the_jump():
    """The same fall of 90 % is a fault by itself and fair on the morning of a 10:1 split."""
    bars = SOURCE.daily(Market.US, ["IBM"], date(2004, 12, 1), date(2004, 12, 31))
    at = row(bars, "IBM", "2004-12-15")
    bars.loc[at:, ["open", "high", "low", "close"]] //= 10
    split = CorporateAction(
        symbol="IBM", ex_date=date(2004, 12, 15), kind=ActionKind.SPLIT, numerator=10
    )

    assert reasons(check(bars)) == {("IBM", "2004-12-15"): "가격 제한폭을 벗어난 가격"}
    assert reasons(check(bars, actions=[split])) == {}


def test_stale_and_twin_rows(bars: pd.DataFrame):
    """A bar repeated over sessions, or shared by two symbols, is a feed that stood still."""
    prices = ["open", "high", "low", "close", "volume"]
    ibm = row(bars, "IBM", "2004-12-15")
    for step in (1, 2, 3):
        bars.loc[ibm + step, prices] = bars.loc[ibm, prices]
    bars.loc[row(bars, "GOOG", "2005-03-01"), prices] = bars.loc[
        row(bars, "MSFT", "2005-03-01"), prices
    ]

    result = check(bars)

    assert reasons(result) == {
        ("IBM", "2004-12-17"): "똑같은 봉의 되풀이",
        ("IBM", "2004-12-20"): "똑같은 봉의 되풀이",
        ("GOOG", "2005-03-01"): "가격 제한폭을 벗어난 가격, 다른 종목과 똑같은 봉",
        ("MSFT", "2005-03-01"): "다른 종목과 똑같은 봉",
    }


def test_history_is_context_only(bars: pd.DataFrame):
    """A one-day batch is judged against the bars before it, which are not judged again."""
    last = bars["session"] == "2005-04-29"
    batch = bars.loc[last].copy()
    batch[["open", "high", "low", "close"]] *= 10

    alone = check(batch)
    with_history = check(batch, history=bars.loc[~last])

    assert len(alone.passed) == len(batch)
    assert len(with_history.quarantined) == len(batch)
    assert with_history.rows == len(batch)


def test_wrong_columns_stop_the_batch(bars: pd.DataFrame):
    """A batch without the agreed columns is refused whole; an empty one has no finding."""
    with pytest.raises(SchemaError):
        check(bars.drop(columns="basis"))

    assert check(bars.iloc[:0]).summary()["rows"] == 0


def test_coverage_counts_gaps(bars: pd.DataFrame):
    """Missing sessions inside a symbol's life are counted."""
    result = check(bars.drop(index=[row(bars, "IBM", "2004-12-15")]))

    gaps = result.coverage.set_index("symbol")["gaps"].to_dict()
    assert gaps == {"AAPL": 0, "GOOG": 0, "IBM": 1, "MSFT": 0}


def test_report_is_korean_and_complete(bars: pd.DataFrame, tmp_path: Path):
    """The page names checks, findings and symbols; the JSON beside it has the numbers."""
    bars.loc[row(bars, "IBM", "2004-12-15"), "high"] = 1_000

    path = write_report(check(bars), tmp_path)

    page = path.read_text(encoding="utf-8")
    for text in ("일봉 품질 보고서", "고가 ≥ 저가", "2004-12-15", "MSFT", "거래일이 아닌 날의 행"):
        assert text in page
    summary = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (summary["rows"], summary["quarantined"]) == (len(bars), 1)
    assert [finding["failed"] for finding in summary["findings"]] == [1, 1, 1]


def test_wrong_settings_are_named(tmp_path: Path):
    """Unknown keys and unknown checks are configuration errors with the file or the title."""
    path = tmp_path / "daily.yaml"
    with pytest.raises(ConfigError, match="설정 파일이 없음"):
        read_quality(path)
    path.write_text("expectations: []\nlegality: {}\nreport: {examples: 1, symbols: 1}\nmore: 1\n")
    with pytest.raises(ConfigError, match="more"):
        read_quality(path)


def test_korean_law_by_date(recorded: RecordedSource):
    """Official rows pass; a price off the grid or beyond ±30 % does not."""
    calendar, rules = SessionCalendar(Market.KRX), shipped_rules(Market.KRX)
    bars = recorded.daily(
        Market.KRX, ["005930", "000660", "086520"], date(2024, 1, 2), date(2024, 1, 31)
    )

    def quarantined(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
        return reasons(check_daily(frame, rules, calendar, Market.KRX, as_of=date(2024, 1, 31)))

    assert quarantined(bars) == {}
    at = row(bars, "005930", "2024-01-10")
    bars.loc[at, ["open", "high", "low", "close"]] += 1
    assert quarantined(bars) == {("005930", "2024-01-10"): "그날의 호가 단위를 벗어난 가격"}
    bars.loc[at, ["open", "high", "low", "close"]] += 29_999
    assert quarantined(bars) == {("005930", "2024-01-10"): "가격 제한폭을 벗어난 가격"}
