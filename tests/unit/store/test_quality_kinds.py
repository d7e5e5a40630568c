"""Minutes keep their session, fundamentals their unit; the lake is audited as it stands."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store import quality, schema
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.lake import Lake
from trading.store.quality.audit import audit

PRICES = ["open", "high", "low", "close"]
NORMAL, LATE = date(2025, 9, 1), date(2025, 11, 13)


def context(market: Market, as_of: date, **more: object) -> quality.Context:
    known = {
        "rules": shipped_rules(market),
        "calendar": SessionCalendar(market),
        "as_of": as_of,
    }
    return quality.Context(**{**known, **more})  # type: ignore[arg-type]


def told(result: quality.QualityResult) -> set[str]:
    return {
        title for reason in result.quarantined["reason"].to_pylist() for title in reason.split(", ")
    }


@pytest.fixture
def minutes(recorded: RecordedSource) -> pd.DataFrame:
    """One recorded session of twenty Korean shares."""
    table = recorded.table("minute", Market.KRX, None, NORMAL, NORMAL)
    names = sorted(table["symbol"].unique().to_pylist())[:20]
    kept = table.filter(pc.is_in(table["symbol"], value_set=pa.array(names)))
    return schema.to_frame(kept, schema.MINUTE_BARS)


def test_recorded_minutes_pass(recorded: RecordedSource, minutes: pd.DataFrame):
    """A normal session and a late-opening one have nothing outside their hours."""
    daily = recorded.table("daily", Market.KRX, None, NORMAL, NORMAL)
    late = recorded.table("minute", Market.KRX, None, LATE, LATE)

    result = quality.check("minute", minutes, context(Market.KRX, NORMAL, daily=daily))
    exam_day = quality.check("minute", late, context(Market.KRX, LATE))

    assert len(result.quarantined) == 0
    (agreement,) = result.agreements
    assert agreement.rates["종가"] == 1.0
    assert told(exam_day) <= {"그날의 호가 단위를 벗어난 가격"}
    # 10:00 to 16:29, Seoul: the day of the university entrance exam.
    assert len(exam_day.passed) > 10_000


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda f, r: f.assign(ts=f["ts"].where(~r, f["ts"] - pd.Timedelta(hours=9))), "정규장 밖의 봉"),
        (lambda f, r: f.assign(ts=f["ts"].where(~r, f["ts"].dt.floor("D") + pd.Timedelta(hours=6, minutes=25))), "종가 단일가 시간의 체결"),
        (lambda f, r: f.assign(**{n: f[n].where(~r, f[n] * 10) for n in PRICES}), "하루 가격 제한의 폭을 벗어난 가격"),
        (lambda f, r: f.assign(**{n: f[n].where(~r, f[n] + 1) for n in PRICES}), "그날의 호가 단위를 벗어난 가격"),
        (lambda f, r: f.assign(high=f["high"].where(~r, 1)), "고가 ≥ 시가"),
        (lambda f, r: f.assign(volume=f["volume"].where(~r, -1)), "거래량이 음수가 아님"),
        (lambda f, r: f.assign(session=f["session"].where(~r, pd.Timestamp(2025, 9, 6))), "거래일이 아닌 날의 행"),
        (lambda f, r: f.assign(exchange=f["exchange"].where(~r, "NYSE")), "다른 시장의 거래소"),
        (lambda f, r: pd.concat([f, f[r]]), "종목과 시각이 겹치지 않음"),
    ],
)  # fmt: skip
def test_planted_minute_faults_are_set_aside(minutes: pd.DataFrame, fault, reason: str):
    """One wrong bar is set aside with its reason, and the rest of the session is not."""
    dear = minutes["close"] > 10_000  # there one won is off every grid, half a tick included
    at = int(np.flatnonzero(dear & (minutes["ts"].dt.hour == 2))[50])
    row = np.arange(len(minutes)) == at

    result = quality.check("minute", fault(minutes, row), context(Market.KRX, NORMAL))

    assert reason in told(result)
    assert 1 <= len(result.quarantined) <= 2


def test_a_session_under_another_date_is_found(minutes: pd.DataFrame):
    """Yesterday's bars once more under today's date are a copy, on both days."""
    day = timedelta(days=1)
    again = minutes.assign(ts=minutes["ts"] + day, session=minutes["session"] + day)

    result = quality.check("minute", pd.concat([minutes, again]), context(Market.KRX, NORMAL + day))

    assert "다른 날을 베낀 봉" in told(result)
    assert len(result.quarantined) > len(minutes) / 4


def test_minutes_of_another_share_leave_the_daily_bar(
    recorded: RecordedSource, minutes: pd.DataFrame
):
    """Bars written into another share do not fit into its daily bar."""
    daily = recorded.table("daily", Market.KRX, None, NORMAL, NORMAL)
    middle = minutes.groupby("symbol")["close"].median().sort_values()
    cheap, dear = middle.index[0], middle.index[-1]
    source = minutes["symbol"] == dear
    wrong = minutes.loc[source].assign(symbol=cheap).head(30)
    kept = minutes.loc[~((minutes["symbol"] == cheap) & minutes["ts"].isin(wrong["ts"]))]

    result = quality.check(
        "minute", pd.concat([kept, wrong]), context(Market.KRX, NORMAL, daily=daily)
    )

    assert {"하루 가격 제한의 폭을 벗어난 가격", "일봉의 고가·저가를 벗어난 봉"} & told(result)
    assert len(result.quarantined) == len(wrong)


@pytest.fixture
def figures(recorded: RecordedSource) -> pd.DataFrame:
    """What was published of forty Korean companies."""
    table = recorded.table("fundamentals", Market.KRX, None, date(2015, 1, 1), date(2024, 12, 31))
    frame = schema.to_frame(table, schema.FUNDAMENTALS)
    names = sorted(frame.loc[frame["metric"] == "total_assets", "symbol"].unique())[:40]
    return frame.loc[frame["symbol"].isin(names)].reset_index(drop=True)


def test_recorded_fundamentals_pass(figures: pd.DataFrame):
    """Recorded figures pass, and PER × EPS is PBR × BPS: the close of that day."""
    result = quality.check("fundamentals", figures, context(Market.KRX, date(2024, 12, 31)))

    assert len(result.quarantined) == 0
    (agreement,) = result.agreements
    assert agreement.rates == {"일치": 1.0}


def test_a_unit_slip_is_set_aside(figures: pd.DataFrame):
    """Assets in thousands between assets in won are in the wrong unit; their neighbors are not."""
    assets = figures.index[(figures["metric"] == "total_assets")]
    assets = assets[figures.loc[assets, "symbol"] == figures.loc[assets[0], "symbol"]]
    figures.loc[assets[1], "value"] /= 1_000

    result = quality.check("fundamentals", figures, context(Market.KRX, date(2024, 12, 31)))

    assert told(result) == {"단위가 어긋난 값"}
    assert result.quarantined["period"].to_pylist() == [figures.loc[assets[1], "period"].date()]


def test_planted_figures_are_set_aside(figures: pd.DataFrame):
    """Published too early, twice, from the future, or of another price: each is named."""
    per = figures.index[figures["metric"] == "per"]
    figures.loc[per[3], "value"] *= 1.5
    early = figures.index[figures["metric"] == "total_assets"][5]
    figures.loc[early, "published"] = figures.loc[early, "period"] - pd.Timedelta(days=1)
    future = figures.iloc[[7]].assign(
        period=pd.Timestamp(2025, 1, 2), published=pd.Timestamp(2025, 1, 2)
    )
    twice = figures.iloc[[9]].assign(value=figures["value"].iloc[9] + 1)

    result = quality.check(
        "fundamentals",
        pd.concat([figures, future, twice]),
        context(Market.KRX, date(2024, 12, 31)),
    )

    assert told(result) == {
        "PER×EPS·PBR×BPS가 종가와 다름",
        "공표일이 기간 뒤임",
        "미래에 공표된 행",
        "종목·항목·기간·공표일이 겹치지 않음",
    }


def test_another_company_s_figures_are_found(figures: pd.DataFrame):
    """All figures of one company under another name set both aside."""
    names = sorted(figures.loc[figures["metric"] == "eps", "symbol"].unique())[:2]
    first = figures["symbol"] == names[0]
    copied = figures.loc[first].assign(symbol=names[1])
    kept = figures.loc[figures["symbol"] != names[1]]

    result = quality.check(
        "fundamentals", pd.concat([kept, copied]), context(Market.KRX, date(2024, 12, 31))
    )

    assert told(result) == {"다른 종목과 똑같은 값들"}
    assert set(result.quarantined["symbol"].to_pylist()) == set(names)


def test_the_lake_is_audited_as_it_stands(tmp_path: Path):
    """What was set aside is counted by its reason; what is wrong in the clean layer is said apart."""
    source, span = EmbeddedSource(), (date(2005, 1, 3), date(2005, 12, 30))
    lake = Lake(tmp_path / "lake")
    bars = source.daily(Market.US, None, *span)
    bars.loc[3, "high"] = 1
    rules, calendar = shipped_rules(Market.US), SessionCalendar(Market.US)
    lake.upsert_actions(Market.US, source.actions(Market.US, *span))
    gate = quality.check(
        "daily", bars, context(Market.US, span[1], actions=source.actions(Market.US, *span))
    )
    lake.quarantine(Market.US, "daily", gate.quarantined)
    lake.upsert(Market.US, "daily", gate.passed)
    settings = quality.shipped_settings()

    (report,) = audit(lake, rules, calendar, settings)
    (part,) = audit(lake, rules, calendar, settings, span=(date(2005, 6, 1), date(2005, 6, 30)))
    broken = bars.iloc[[20]].assign(**{name: bars[name].iloc[20] * 10 for name in PRICES})
    lake.upsert(Market.US, "daily", broken)
    (worse,) = audit(lake, rules, calendar, settings, against=source)

    assert (report.rows, report.quarantined) == (len(bars), 1)
    assert [(item.title, item.failed) for item in report.findings if item.severity != "note"] == [
        ("고가 ≥ 시가·종가", 1)
    ]
    assert report.matters
    assert (part.rows, part.quarantined, part.matters) == (22 * 4, 0, False)
    assert worse.checks["정제층에 남은 것: 가격 제한폭을 벗어난 가격"].failed == 1
    assert worse.agreements["저장소와 embedded"].rates["원주가 종가 같음"] < 1.0
    assert audit(Lake(tmp_path / "empty"), rules, calendar, settings) == []
