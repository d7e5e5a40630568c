"""Clean rows pass, planted faults are set aside with their reason, and nothing is lost."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir, shipped_rules
from trading.errors import ConfigError, SchemaError
from trading.sessions import SessionCalendar
from trading.store import quality, schema
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.quality import QualityResult, Severity
from trading.store.quality.agreement import agree

SOURCE = EmbeddedSource()
FIRST, LAST = date(2004, 10, 1), date(2005, 4, 29)
CALENDAR = SessionCalendar(Market.US)
BAR = ["open", "high", "low", "close", "volume"]
PRICES = BAR[:4]


@pytest.fixture
def bars() -> pd.DataFrame:
    """Seven months of the embedded stocks, AAPL's split and MSFT's special dividend included."""
    return SOURCE.daily(Market.US, None, FIRST, LAST)


def context(market: Market = Market.US, **more: object) -> quality.Context:
    known = {
        "rules": shipped_rules(market),
        "calendar": CALENDAR if market is Market.US else SessionCalendar(market),
        "as_of": LAST,
    }
    if market is Market.US:
        known["actions"] = SOURCE.actions(Market.US, FIRST, LAST)
    return quality.Context(**{**known, **more})  # type: ignore[arg-type]


def check(frame: pd.DataFrame, **more: object) -> QualityResult:
    return quality.check("daily", frame, context(**more))


def reasons(result: QualityResult) -> dict[tuple[str, str], str]:
    rows = result.quarantined
    days = [day.isoformat() for day in rows["session"].to_pylist()]
    keys = zip(rows["symbol"].to_pylist(), days, strict=True)
    return dict(zip(keys, rows["reason"].to_pylist(), strict=True))


def named(result: QualityResult, name: str) -> quality.Finding:
    return next(item for item in result.checks if item.check == name)


def row(bars: pd.DataFrame, symbol: str, day: str) -> int:
    return bars.index[(bars["symbol"] == symbol) & (bars["session"] == day)][0]


def test_recorded_rows_pass(bars: pd.DataFrame):
    """The embedded bars have no finding, through a split and a special dividend."""
    result = check(bars)

    assert result.findings == ()
    assert result.passed.equals(schema.cast(bars, schema.DAILY_BARS))
    daily = quality.shipped_settings().daily
    made = {item.check for item in result.checks}
    assert set(daily.checks) - made == {"tick_grid", "failed_share"}  # KRX only; refusals only
    assert {item.type for item in daily.expectations} <= made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"high": 1_000}, "고가 ≥ 시가·종가"),
        ({"low": 99_999_999}, "시가·종가 ≥ 저가"),
        ({"open": 0}, "시가·종가 ≥ 저가"),
        ({"close": 0}, "시가·종가 ≥ 저가"),
        ({"low": -5}, "저가가 0보다 큼"),
        ({"volume": -5}, "거래량이 음수가 아님"),
        ({"exchange": "MOON"}, "아는 거래소, 다른 시장의 거래소"),
        ({"exchange": "KOSDAQ"}, "다른 시장의 거래소"),
        ({"basis": "guess"}, "가격 기준 표시"),
        ({"symbol": "ib m"}, "종목 코드 형식"),
        ({"session": pd.Timestamp(2004, 12, 25)}, "거래일이 아닌 날의 행"),
        ({"session": pd.Timestamp(1904, 12, 25)}, "거래일이 아닌 날의 행"),
        ({"session": pd.Timestamp(2190, 1, 2)}, "미래의 행, 거래일이 아닌 날의 행"),
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
    assert result.quarantined["close"].to_pylist() == [bars.loc[at, "close"]]


@pytest.mark.parametrize(
    ("gone", "is_fair"), [(date(2005, 4, 29), True), (date(2009, 6, 1), False)]
)
def test_only_the_last_sessions_of_a_name_know_no_limit(
    bars: pd.DataFrame, gone: date, is_fair: bool
):
    """A jump before a delisting is fair; of a name that goes years later it is a fault."""
    at = row(bars, "IBM", "2005-04-20")
    bars.loc[at, PRICES] *= 30
    ended = [
        replace(item, delisted=gone) if item.symbol == "IBM" else item
        for item in SOURCE.instruments(Market.US)
    ]

    result = check(bars, instruments=ended)

    assert (("IBM", "2005-04-20") in reasons(result)) is not is_fair


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
    bars.loc[at, PRICES] *= 10

    assert reasons(check(bars)) == {("IBM", "2004-12-15"): "가격 제한폭을 벗어난 가격"}


def test_a_misplaced_run_is_told_when_it_ends(bars: pd.DataFrame):
    """The jump is set aside on its evening; what stood between it and the jump back is told."""
    at = row(bars, "IBM", "2004-12-15")
    bars.loc[at : at + 4, PRICES] *= 10

    result = check(bars)

    assert list(reasons(result)) == [("IBM", "2004-12-15")]
    (told,) = [item for item in result.findings if item.check == "excursion"]
    days = ["2004-12-16", "2004-12-17", "2004-12-20", "2004-12-21"]
    assert [example["session"][:10] for example in told.examples] == days
    assert told.severity is quality.Severity.WARN


def test_a_split_explains_the_jump():
    """The same fall is a fault by itself, and fair on the morning of a split."""
    bars = SOURCE.daily(Market.US, ["IBM"], date(2004, 11, 1), date(2004, 12, 31))
    at = row(bars, "IBM", "2004-12-15")
    for ratio, reason in (
        (2, "기업행위 없이 분할 비율만큼 뛴 가격"),
        (10, "가격 제한폭을 벗어난 가격"),
    ):
        split = CorporateAction(
            symbol="IBM", ex_date=date(2004, 12, 15), kind=ActionKind.SPLIT, numerator=ratio
        )
        after = bars.copy()
        after.loc[at:, PRICES] //= ratio
        after.loc[at:, "volume"] *= ratio

        told = check(after, actions=[split])

        assert next(iter(reasons(check(after)).items())) == (("IBM", "2004-12-15"), reason)
        assert reasons(told) == {}
    assert [item.reason for item in told.explained] == ["기업행위(분할·권리락·배당)로 바뀐 기준가"]


def test_stale_and_twin_rows(bars: pd.DataFrame):
    """A bar repeated over sessions, or shared by two symbols, is a feed that stood still."""
    ibm = row(bars, "IBM", "2004-12-15")
    for step in (1, 2, 3):
        bars.loc[ibm + step, BAR] = bars.loc[ibm, BAR]
    bars.loc[row(bars, "GOOG", "2005-03-01"), BAR] = bars.loc[row(bars, "MSFT", "2005-03-01"), BAR]

    assert reasons(check(bars)) == {
        ("IBM", "2004-12-17"): "똑같은 봉의 되풀이",
        ("IBM", "2004-12-20"): "똑같은 봉의 되풀이",
        # GOOG left its own level, so the bar is MSFT's.
        ("GOOG", "2005-03-01"): "가격 제한폭을 벗어난 가격, 다른 종목과 똑같은 봉",
    }


def test_history_is_context_only(bars: pd.DataFrame):
    """A one-day batch is judged against the bars before it, which are not judged again."""
    last = bars["session"] == "2005-04-29"
    batch = bars.loc[last].copy()
    batch[PRICES] *= 10
    history = schema.cast(bars.loc[~last], schema.DAILY_BARS)

    alone = check(batch)
    with_history = check(batch, history=history)

    assert len(alone.passed) == len(batch)
    assert len(with_history.quarantined) == len(batch)
    assert with_history.rows == len(batch)


def test_wrong_columns_stop_the_batch(bars: pd.DataFrame):
    """A batch without the agreed columns is refused whole; an empty one has no finding."""
    with pytest.raises(SchemaError):
        check(bars.drop(columns="basis"))

    assert check(bars.iloc[:0]).rows == 0


def test_a_symbol_without_a_session_is_noted(bars: pd.DataFrame):
    """A row that is missing inside a symbol's life is counted and told, and holds nothing back."""
    result = check(bars.drop(index=[row(bars, "IBM", "2004-12-15")]))

    lives = result.coverage.symbols
    assert {name: life.gaps for name, life in lives.items()} == {
        "AAPL": 0,
        "GOOG": 0,
        "IBM": 1,
        "MSFT": 0,
    }
    assert result.coverage.missing == {("2004-12", "NYSE"): 1}
    assert (named(result, "gap").severity, named(result, "gap").failed) == (Severity.NOTE, 1)
    assert (result.refusals, len(result.quarantined)) == ((), 0)


def test_a_session_without_rows_is_told(bars: pd.DataFrame):
    """A market day that all symbols lack must be looked at; the other days are not held back."""
    result = check(bars.loc[bars["session"] != "2004-12-15"])
    report = quality.Report(Market.US, "daily")
    report.add(result)

    missing = named(result, "missing_session")
    assert (missing.severity, missing.examples) == (Severity.WARN, ({"session": "2004-12-15"},))
    assert result.refusals == ()
    assert report.matters


def test_most_symbols_missing_is_told(bars: pd.DataFrame):
    """A day with one of four symbols was cut off on the way: it is told with its figures."""
    lost = (bars["session"] == "2004-12-15") & (bars["symbol"] != "IBM")

    thin = named(check(bars.loc[~lost]), "thin_session")

    assert thin.severity is Severity.WARN
    assert thin.examples == ({"session": "2004-12-15", "rows": 1, "absent": 3},)


def test_a_session_that_is_not_there_yet_is_noted(bars: pd.DataFrame):
    """What was asked for beyond the last row may still come."""
    result = check(bars.loc[bars["session"] < "2005-04-29"], span=(FIRST, LAST))

    assert named(result, "missing_tail").examples == ({"session": "2005-04-29"},)
    assert result.refusals == ()


def test_many_failed_rows_refuse_the_batch(bars: pd.DataFrame):
    """When a fifth of a large batch fails, its source is not to be trusted."""
    bars.loc[bars.index[:200], "high"] = 1

    assert check(bars).refusals == (f"어긋난 행이 너무 많음: 1건 ({len(bars)}, 200)",)


def test_report_is_korean_and_complete(bars: pd.DataFrame, tmp_path: Path):
    """The page names checks, findings and months and needs nothing from outside."""
    bars.loc[row(bars, "IBM", "2004-12-15"), "high"] = 1_000
    report = quality.Report(Market.US, "daily")
    report.add(check(bars))

    path = quality.write_page([report], tmp_path)

    page = path.read_text(encoding="utf-8")
    for text in (
        "자료 품질 보고서",
        "고가 ≥ 시가",
        "2004-12-15",
        "NYSE 2005-04",
        "거래일이 아닌 날의 행",
    ):
        assert text in page
    assert "http" not in page
    assert "src=" not in page
    found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (found["rows"], found["quarantined"]) == (len(bars), 1)
    assert [finding["failed"] for finding in found["findings"]] == [1, 1]
    assert found["reports"][0]["first"] == "2004-10-01"


def test_reports_add_up(bars: pd.DataFrame):
    """Two halves, the second beside the first, give the figures of the whole."""
    whole = quality.Report(Market.US, "daily")
    whole.add(check(bars))
    halves = quality.Report(Market.US, "daily")
    early = bars["session"] < "2005-01-01"
    halves.add(check(bars.loc[early]))
    history = schema.cast(bars.loc[early], schema.DAILY_BARS)
    halves.add(check(bars.loc[~early], history=history))

    assert halves.summary()["findings"] == whole.summary()["findings"]
    assert (halves.rows, halves.coverage) == (whole.rows, whole.coverage)


def test_wrong_settings_are_named(tmp_path: Path):
    """Unknown keys and unknown checks are configuration errors with the file or the title."""
    folder = tmp_path / "quality"
    folder.mkdir()
    with pytest.raises(ConfigError, match="설정 파일이 없음"):
        quality.read_settings(tmp_path)
    for name in ("daily", "minute", "index", "fundamentals"):
        text = (shipped_config_dir() / "quality" / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert quality.read_settings(tmp_path) == quality.shipped_settings()

    (folder / "index.yaml").write_text("more: 1\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"index\.yaml(.|\n)*more"):
        quality.read_settings(tmp_path)


def test_an_expectation_that_cannot_run_is_named(bars: pd.DataFrame):
    """A check on a column that the suite does not have names its title."""
    used = quality.shipped_settings()
    broken = used.daily.expectations[0].model_copy(
        update={"title": "없는 열", "kwargs": {"column": "nothing"}}
    )
    daily = used.daily.model_copy(update={"expectations": (broken,)})

    with pytest.raises(ConfigError, match="없는 열"):
        quality.check("daily", bars, context(), used.model_copy(update={"daily": daily}))


def test_two_records_agree(bars: pd.DataFrame):
    """A record agrees with itself; one wrong close costs one close and two returns."""
    other = bars.copy()
    other.loc[row(bars, "IBM", "2004-12-15"), "close"] += 5_000

    tables = [schema.cast(frame, schema.DAILY_BARS) for frame in (bars, other)]
    same, off = agree(tables[0], tables[0], "같음"), agree(tables[0], tables[1], "다름")

    assert same is not None
    assert set(same.rates.values()) == {1.0}
    assert off is not None
    assert off.rates["원주가 종가 같음"] == pytest.approx(1 - 1 / len(bars))
    assert off.rates["수익률 20bp 안"] == pytest.approx(1 - 2 / (len(bars) - 4))
    assert agree(tables[0], tables[1].slice(0, 0), "없음") is None


def test_korean_law_by_date(recorded: RecordedSource):
    """Official rows pass; a price off the grid or beyond ±30 % does not."""
    last = date(2024, 1, 31)
    bars = recorded.daily(Market.KRX, ["005930", "000660", "086520"], date(2024, 1, 2), last)

    def quarantined(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
        return reasons(check(frame, market=Market.KRX, as_of=last))

    assert quarantined(bars) == {}
    at = row(bars, "005930", "2024-01-10")
    bars.loc[at, PRICES] += 1
    assert quarantined(bars) == {("005930", "2024-01-10"): "그날의 호가 단위를 벗어난 가격"}
    bars.loc[at, PRICES] += 29_999
    # The cap of that day, an official figure, is of the price before.
    reason = "가격 제한폭을 벗어난 가격, 시가총액이 종가와 주식 수에 맞지 않음"
    assert quarantined(bars) == {("005930", "2024-01-10"): reason}


def test_korean_exceptions_are_explained(recorded: RecordedSource):
    """A share that trades again after a halt at a new base price is fair, and says why.

    019570 was traded again on 2023-05-03 after months, from 377 won to 1,180 (recorded).
    """
    last = date(2023, 12, 28)
    bars = recorded.daily(Market.KRX, ["019570"], date(2022, 1, 3), last)

    result = check(bars, market=Market.KRX, as_of=last)

    assert reasons(result) == {}
    explained = {item.reason: item for item in result.explained}
    examples = explained["거래정지 뒤 재개: 새 기준가"].examples
    assert [example["session"] for example in examples] == ["2023-05-03"]


def test_an_action_left_out_is_found(recorded: RecordedSource):
    """Free shares of 425040 (one for one, 2024-01-02) break the vendor's row of the day before."""
    first, last = date(2023, 12, 1), date(2024, 1, 31)
    bars = recorded.daily(Market.KRX, ["425040", "005930"], first, last)

    found = reasons(check(bars, market=Market.KRX, as_of=last))

    assert found == {("425040", "2023-12-28"): "가격 제한폭을 벗어난 가격"}


def levels() -> pa.Table:
    return SOURCE.table("index", Market.US, None, date(2003, 1, 2), date(2005, 12, 30))


def test_recorded_levels_pass():
    """The embedded index series have no finding."""
    result = quality.check("index", levels(), context(as_of=date(2005, 12, 30)))

    assert result.findings == ()
    assert result.rows == len(levels())


def test_levels_are_judged_by_their_own_past():
    """A decimal slip, a value that stands still and one of another series are set aside."""
    frame = schema.to_frame(levels(), schema.INDEX)
    names = sorted(frame["name"].unique())
    nasdaq, sp500 = (frame.index[frame["name"] == name] for name in names)
    assert names == ["NASDAQ", "S&P 500"]
    wrong = {
        "slip": sp500[200],
        "still": sp500[300:306],
        "mixed": sp500[400],
        "shared": sp500[500],
    }
    prices = ["open", "high", "low", "close"]
    frame.loc[wrong["slip"], prices] /= 10
    frame.loc[wrong["still"], prices] = frame.loc[wrong["still"][0], prices].to_numpy(float)
    both = frame.loc[[sp500[400], nasdaq[400]], prices].to_numpy(float)
    frame.loc[[nasdaq[400], sp500[400]], prices] = both
    frame.loc[wrong["shared"], prices] = frame.loc[nasdaq[500], prices].to_numpy(float)

    result = quality.check("index", frame, context(as_of=date(2005, 12, 30)))

    told = reasons_of_levels(result)
    day = frame["session"].dt.date.map(str)
    assert "제 수준을 벗어난 값" in told["S&P 500", day[wrong["slip"]]]
    assert {("S&P 500", day[at]) for at in wrong["still"][3:]} <= set(told)
    assert "다른 계열의 수준인 값" in told["S&P 500", day[wrong["mixed"]]]
    assert "다른 계열의 수준인 값" in told["NASDAQ", day[wrong["mixed"]]]
    assert "다른 계열과 똑같은 값" in told["S&P 500", day[wrong["shared"]]]
    assert ("NASDAQ", day[wrong["shared"]]) not in told
    single = {day[wrong[name]] for name in ("slip", "mixed", "shared")}
    assert {when for _, when in told} <= single | {day[at] for at in wrong["still"]}


def reasons_of_levels(result: QualityResult) -> dict[tuple[str, str], str]:
    rows = result.quarantined.to_pylist()
    return {(item["name"], item["session"].isoformat()): item["reason"] for item in rows}
