"""The daily screen: every rule with its reason, the ranks behind it, and nothing of the future."""

import json
from collections import Counter
from dataclasses import fields, replace
from datetime import date
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, Facts
from trading.features.factors import FactorScores
from trading.features.indicators import Bars
from trading.store import schema
from trading.store.datasets import RecordedSource
from trading.store.panels import assemble_panels
from trading.store.universe import standings
from trading.strategies.screener import (
    DEFAULT_SCREENS,
    ScreenReason,
    ScreenSettings,
    Standing,
    screen,
    screen_body,
    screen_text,
)

AAPL, FB, GOOG, IBM, MSFT = range(5)
nan = np.nan


def of(**changes) -> ScreenSettings:
    return DEFAULT_SCREENS[Market.US].model_copy(update=changes)


def scored(composite: np.ndarray) -> FactorScores:
    """Return scores of which momentum is the only factor."""
    absent = np.full(composite.shape, nan)
    return FactorScores(
        value=absent,
        quality=absent,
        momentum=composite,
        growth=absent,
        composite=composite,
        sectors_of_the_day=True,
    )


def momentum(panel: AdjustedPanel) -> FactorScores:
    """Return the change over 60 sessions as the score, whatever the features say today."""
    change = np.full(panel.close.shape, nan)
    change[60:] = panel.close[60:] / panel.close[:-60] - 1.0
    return scored(change)


def look(panels, used: ScreenSettings, *, rows: slice = slice(None), score=None, **arguments):
    """Return the screen of some rows of the panels; the score is momentum when not given."""
    raw, panel = (cut(one, rows) for one in panels)
    facts = arguments.pop("facts", None)
    factors = momentum(panel) if score is None else scored(np.tile(score, (len(panel.close), 1)))
    return screen(Bars(panel, facts), raw, used, factors=factors, **arguments)


def reasons(screened, row=-1):
    """Return why each symbol is in or out at a row."""
    return dict(zip(screened.symbols, map(ScreenReason, screened.reason[row]), strict=True))


def cut(panel, rows: slice):
    """Return some rows of a panel."""
    arrays = {
        field.name: getattr(panel, field.name)[rows]
        for field in fields(panel)
        if isinstance(getattr(panel, field.name), np.ndarray)
    }
    return replace(panel, **arrays)


def halted(panels, cells):
    """Return the panels as if some names had not traded in some sessions."""
    raw, panel = panels
    changed_raw = {
        n: getattr(raw, n).copy() for n in ("open", "high", "low", "close", "volume", "tradable")
    }
    changed = {
        n: getattr(panel, n).copy() for n in ("open", "high", "low", "close", "volume", "tradable")
    }
    for row, i in cells:
        for name in ("open", "high", "low", "volume", "tradable"):
            changed_raw[name][row, i] = 0
        changed_raw["close"][row, i] = changed_raw["close"][row - 1, i]
        for name in ("open", "high", "low", "close", "volume"):
            changed[name][row, i] = nan
        changed["tradable"][row, i] = False
    return replace(raw, **changed_raw), replace(panel, **changed)


# ---- filters ---------------------------------------------------------------------------------


def test_filters_in_order(embedded_panels):
    """Price as traded, age, traded value and tradability each keep a name out, with the reason."""
    young = reasons(look(embedded_panels, of(min_bars=300)))
    cheap = reasons(look(embedded_panels, of(min_price=30.0)))
    thin = reasons(look(embedded_panels, of(min_value=2e9)))
    absent = reasons(look(embedded_panels, of()), 1000)

    assert young["FB"] is ScreenReason.TOO_YOUNG
    assert young["IBM"] is ScreenReason.SELECTED
    # Closes of 2013-03-01: FB 27.78, MSFT 27.95 dollars.
    assert [s for s, why in cheap.items() if why is ScreenReason.PRICE_TOO_LOW] == ["FB", "MSFT"]
    assert thin["AAPL"] is ScreenReason.SELECTED
    assert thin["IBM"] is ScreenReason.VALUE_TOO_LOW
    assert absent["GOOG"] is ScreenReason.NOT_TRADABLE
    assert ScreenReason.NOT_TRADABLE.text == "거래 불가"


def test_first_failed_rule_wins(embedded_panels):
    """A name that fails several rules is out for the first: age before price before value."""
    all_three = of(min_bars=300, min_price=1e6, min_value=1e12)

    assert reasons(look(embedded_panels, all_three))["FB"] is ScreenReason.TOO_YOUNG
    assert reasons(look(embedded_panels, all_three))["IBM"] is ScreenReason.PRICE_TOO_LOW


def test_mean_value_is_exact(embedded_panels):
    """A name whose mean traded value is the limit passes; one dollar more and it does not."""
    raw = embedded_panels[0]
    value = raw.close[-20:, IBM] * raw.volume[-20:, IBM] // 10_000
    mean = int(value.sum() // 20)

    assert reasons(look(embedded_panels, of(min_value=mean)))["IBM"] is ScreenReason.SELECTED
    above = look(embedded_panels, of(min_value=mean + 1))
    assert reasons(above)["IBM"] is ScreenReason.VALUE_TOO_LOW
    assert above.value[-1, IBM] == mean


def test_other_exchanges(embedded_panels):
    """A name of an exchange that is not traded is out, and the reason says so."""
    at = reasons(look(embedded_panels, of(), exchanges=(Exchange.NASDAQ,)))

    assert at["IBM"] is ScreenReason.OTHER_EXCHANGE
    assert at["MSFT"] is ScreenReason.SELECTED


def test_halts(embedded_panels):
    """A halt keeps a name out on its day and for the sessions after it."""
    panels = halted(embedded_panels, [(1000, IBM)])

    got = look(panels, of(halt_sessions=3))

    why = [ScreenReason(int(code)) for code in got.reason[999:1004, IBM]]
    assert why == [
        ScreenReason.SELECTED,
        ScreenReason.HALTED,
        ScreenReason.RECENTLY_HALTED,
        ScreenReason.RECENTLY_HALTED,
        ScreenReason.SELECTED,
    ]
    assert (got.reason[1000:1003, MSFT] == ScreenReason.SELECTED).all()
    assert "1거래일 전" in got.trace(1001)[IBM].text


def test_a_hole_in_the_record_is_no_halt(embedded_panels):
    """A session that the whole market lacks keeps nobody out afterwards."""
    listed = np.flatnonzero(embedded_panels[0].close[1000] > 0)
    panels = halted(embedded_panels, [(1000, i) for i in listed])

    got = look(panels, of())

    assert (got.reason[1000, listed] == ScreenReason.NOT_TRADABLE).all()
    assert (got.reason[1001, listed] == ScreenReason.SELECTED).all()


def test_designations(embedded_panels):
    """A graver designation than allowed keeps a name out; an unknown one does not."""
    standing = np.full(embedded_panels[1].close.shape, Standing.UNKNOWN, dtype=np.int64)
    standing[-1] = [
        Standing.ADMINISTRATIVE, Standing.CAUTION, Standing.UNKNOWN, Standing.WARNING,
        Standing.NORMAL,
    ]  # fmt: skip

    got = look(embedded_panels, of(), standing=standing)
    strict = look(embedded_panels, of(gravest="normal"), standing=standing)
    lenient = look(embedded_panels, of(gravest="administrative"), standing=standing)

    out = [s for s, why in reasons(got).items() if why is ScreenReason.DESIGNATED]
    assert out == ["AAPL", "IBM"]
    assert reasons(strict)["FB"] is ScreenReason.DESIGNATED
    assert lenient.selected[-1].all()
    assert [got.trace()[i].text for i in (AAPL, IBM)] == [
        "시장 조치 종목: 관리종목",
        "시장 조치 종목: 투자경고",
    ]
    assert any("1종목은 기록이 없어" in note for note in got.notes())


# ---- leaders, scores, sectors ------------------------------------------------------------------


def test_leaders_then_score(embedded_panels):
    """Of the most traded names the best by score are selected; too few with a score: all."""
    raw = embedded_panels[0]
    used = of(leaders=4, top=2, min_names=3)

    why = reasons(look(embedded_panels, used))
    few = reasons(look(embedded_panels, used.model_copy(update={"min_names": 5})))

    value = (raw.close[-20:] * raw.volume[-20:]).sum(axis=0)
    assert why[raw.symbols[int(np.argmin(value))]] is ScreenReason.NOT_A_LEADER
    assert Counter(why.values())[ScreenReason.SELECTED] == 2
    assert Counter(few.values())[ScreenReason.SELECTED] == 4


def test_surging_volume_leads_too(embedded_panels):
    """A name with the largest volume over its usual one competes besides the value leaders."""
    panel = embedded_panels[1]
    means = pd.DataFrame(panel.volume).rolling(20).mean().to_numpy()
    # The window of the definition ends with the bar itself.
    ratio = panel.volume / means
    row = next(
        t for t in range(3200, len(ratio)) if ratio[t, IBM] > 2 and np.argmax(ratio[t]) == IBM
    )

    alone = look(embedded_panels, of(leaders=1), rows=slice(row + 1))
    union = look(embedded_panels, of(leaders=1, surges=1), rows=slice(row + 1))
    calm = look(embedded_panels, of(leaders=1, surges=1, min_surge=99.0), rows=slice(row + 1))

    assert list(np.flatnonzero(alone.selected[-1])) == [AAPL]
    assert list(np.flatnonzero(union.selected[-1])) == [AAPL, IBM]
    assert list(np.flatnonzero(calm.selected[-1])) == [AAPL]
    assert union.volume_ratio[-1, IBM] == pytest.approx(ratio[row, IBM], abs=1e-9)


def test_no_score_and_below_top(embedded_panels):
    """With enough scored names those without a score and those ranked lower are out."""
    got = look(embedded_panels, of(top=2, min_names=3), score=[3.0, nan, 1.0, 2.0, 0.5])

    assert list(reasons(got).values()) == [
        ScreenReason.SELECTED,
        ScreenReason.NO_SCORE,
        ScreenReason.BELOW_TOP,
        ScreenReason.SELECTED,
        ScreenReason.BELOW_TOP,
    ]
    assert [trace.score_rank for trace in got.trace()] == [1, None, 3, 2, 4]


def test_equal_scores_keep_the_order_of_the_columns(embedded_panels):
    """Ties go to the first column, also when they differ by less than the rounding."""
    even = look(embedded_panels, of(top=2), score=[1.0, 1.0, 1.0, 1.0, 1.0])
    nearly = look(embedded_panels, of(top=2), score=[1.0, 1.0, 1.0, 1.0, 1.0 + 1e-12])

    assert list(np.flatnonzero(even.selected[-1])) == [AAPL, FB]
    assert list(np.flatnonzero(nearly.selected[-1])) == [AAPL, FB]


def sectors_of(panels, codes, names=("IT", "서비스")) -> Facts:
    shape = panels[1].close.shape
    return Facts(
        sectors=np.broadcast_to(np.array(codes, dtype=np.int64), shape),
        sector_names=names,
        sectors_of_the_day=False,
        fundamentals={},
    )


def test_sector_cap(embedded_panels):
    """No more of a sector than its cap: the next best of another one follows."""
    facts = sectors_of(embedded_panels, [0, 1, 0, 0, -1])
    score = [5.0, 1.0, 4.0, 3.0, 2.0]

    got = look(embedded_panels, of(top=3, sector_cap=1), score=score, facts=facts)
    free = look(embedded_panels, of(top=3, sector_cap=0), score=score, facts=facts)

    assert list(np.flatnonzero(got.selected[-1])) == [AAPL, FB, MSFT]
    assert reasons(got)["GOOG"] is reasons(got)["IBM"] is ScreenReason.SECTOR_FULL
    assert got.trace()[GOOG].text == "업종 한도 참: IT 1종목 (팩터 점수 2위)"
    assert list(np.flatnonzero(free.selected[-1])) == [AAPL, GOOG, IBM]


def test_unknown_sectors_are_not_one_sector(embedded_panels):
    """Names without a recorded sector are not capped, and the notes say so."""
    facts = sectors_of(embedded_panels, [-1] * 5)

    got = look(
        embedded_panels, of(top=3, sector_cap=1), score=[5.0, 4.0, 3.0, 2.0, 1.0], facts=facts
    )

    assert got.selected[-1].sum() == 3
    assert any("업종 한도를 적용하지 못함" in note for note in got.notes())


def test_a_selected_name_stays_within_the_buffer(embedded_panels):
    """Selected yesterday and within top × (1 + buffer): it stays; beyond: it leaves."""
    n = 400
    raw, panel = (cut(one, slice(3000, 3000 + n)) for one in embedded_panels)
    # FB lists too late: four names, two places, buffer one half: the third rank may stay.
    score = np.tile([4.0, nan, 3.0, 2.0, 1.0], (n, 1))
    score[100] = [4.0, nan, 2.0, 3.0, 1.0]  # GOOG falls to the third rank
    score[200] = [4.0, nan, 1.0, 3.0, 2.0]  # GOOG falls to the fourth
    used = of(top=2, buffer=0.5, min_names=3, min_bars=1)

    got = screen(Bars(panel), raw, used, factors=scored(score))

    assert list(np.flatnonzero(got.selected[100])) == [AAPL, GOOG]
    assert "선정 유지" in got.trace(100)[GOOG].text
    assert got.trace(100)[IBM].text == "팩터 점수 2위: 3위 안의 전날 선정 종목이 자리를 지킴"
    assert list(np.flatnonzero(got.selected[200])) == [AAPL, IBM]
    # IBM ranks third from then on, and stays.
    assert list(np.flatnonzero(got.selected[201])) == [AAPL, IBM]


def test_a_selected_name_stays_a_leader_within_the_buffer(embedded_panels):
    """The cut by traded value has the same buffer for those who are in."""
    n, used = 1700, of(leaders=2, min_bars=1)
    plain = look(embedded_panels, used.model_copy(update={"buffer": 0.0}), rows=slice(n))
    kept = look(embedded_panels, used.model_copy(update={"buffer": 0.5}), rows=slice(n))

    def entries(found) -> int:
        return int((found.selected[1:] & ~found.selected[:-1]).sum())

    assert entries(kept) < entries(plain)
    rank = np.argsort(np.argsort(-kept.value, axis=1, kind="stable"), axis=1)
    stays = kept.selected[1:] & (rank[1:] == 2)
    assert stays.any()
    assert (kept.selected[:-1] | ~stays).all()


# ---- the future ------------------------------------------------------------------------------

PATHS = of(leaders=4, surges=1, min_surge=1.2, top=2, buffer=0.5, sector_cap=1, min_names=3)


@pytest.fixture(scope="module")
def whole(embedded_panels):
    """Return the screen of the whole embedded history in which what was selected matters."""
    raw, panel = embedded_panels
    facts = sectors_of(embedded_panels, [0, 1, 0, 1, 0])
    return screen(Bars(panel, facts), raw, PATHS, factors=momentum(panel))


@settings(max_examples=15, derandomize=True)
@given(n=st.integers(min_value=1, max_value=3269))
def test_rows_know_no_future(embedded_panels, whole, n):
    """Cutting the panels after a row changes nothing up to it, whatever was selected before."""
    raw, panel = embedded_panels
    facts = sectors_of(embedded_panels, [0, 1, 0, 1, 0])

    part = panel.until(n)
    short = screen(Bars(part, facts.until(n)), raw, PATHS, factors=momentum(part))
    both = screen(Bars(part, facts.until(n)), cut(raw, slice(n)), PATHS, factors=momentum(part))

    for name in ("reason", "value", "volume_ratio", "halted"):
        np.testing.assert_array_equal(getattr(short, name), getattr(whole, name)[:n])
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name)[:n])
    assert short.trace() == whole.trace(n - 1)
    assert short.notes() == whole.notes(n - 1)


def test_another_future(embedded_panels):
    """Other prices and volumes after a row change nothing up to it."""
    raw, panel = embedded_panels
    n = 2500
    changed_raw, changed = {}, {}
    for name in ("open", "high", "low", "close", "volume"):
        changed_raw[name] = getattr(raw, name).copy()
        changed_raw[name][n:] *= 3
        changed[name] = getattr(panel, name).copy()
        changed[name][n:] *= 3.0
    other_raw, other = replace(raw, **changed_raw), replace(panel, **changed)

    whole = screen(Bars(panel), raw, PATHS, factors=momentum(panel))
    got = screen(Bars(other), other_raw, PATHS, factors=momentum(other))

    np.testing.assert_array_equal(got.reason[:n], whole.reason[:n])
    assert (got.value[n:] != whole.value[n:]).any()


# ---- degenerate ------------------------------------------------------------------------------


def columns(panels, names: list[int]):
    """Return the panels with some of their columns."""
    found = []
    for panel in panels:
        arrays = {
            field.name: getattr(panel, field.name)[:, names]
            for field in fields(panel)
            if getattr(getattr(panel, field.name), "ndim", 0) == 2
        }
        lists = {
            name: tuple(getattr(panel, name)[i] for i in names)
            for name in ("symbols", "exchanges")
            if hasattr(panel, name)
        }
        found.append(replace(panel, **arrays, **lists))
    return found


def test_one_name_and_none(embedded_panels):
    """A universe of one passes its filters; one of none has an empty screen."""
    one = look(columns(embedded_panels, [IBM]), PATHS)
    none = look(columns(embedded_panels, []), PATHS)

    assert reasons(one) == {"IBM": ScreenReason.SELECTED}
    assert "통과한 종목을 모두 선정" in one.trace()[0].text
    assert reasons(none) == {}
    assert none.trace() == []
    assert screen_body(none)["selected"] == 0


def test_no_scores_at_all(embedded_panels):
    """Without any score the screen passes all leaders, and says which factors are absent."""
    got = look(embedded_panels, of(top=2), score=[nan] * 5)

    assert got.selected[-1].all()
    assert "가치·우량·모멘텀·성장 팩터" in " ".join(got.notes())


def test_no_volume_ever(embedded_panels):
    """A name whose bars carry no volume has no ratio and no value; it leads nothing."""
    raw, panel = embedded_panels
    silent, quiet = raw.volume.copy(), panel.volume.copy()
    silent[:, IBM], quiet[:, IBM] = 0, 0.0

    got = look(
        (replace(raw, volume=silent), replace(panel, volume=quiet)),
        of(leaders=4, surges=1, min_value=0.0, buffer=0.0),
    )

    assert reasons(got)["IBM"] is ScreenReason.NOT_A_LEADER
    assert got.trace()[IBM].volume_ratio is None
    assert "거래량 기록 없음" in got.trace()[IBM].text


# ---- the trace -------------------------------------------------------------------------------


def test_trace_tells_the_numbers(embedded_panels):
    """Each line has what was measured and what it was measured against."""
    out = look(embedded_panels, of(min_bars=300, min_value=2e9, leaders=4, top=2)).trace()

    bars = int(np.isfinite(embedded_panels[1].close[:, FB]).sum())
    assert out[FB].text == f"상장 기간 {bars}봉 < 하한 300봉"
    value = int(
        (embedded_panels[0].close[-20:, IBM] * embedded_panels[0].volume[-20:, IBM] // 10_000).sum()
        // 20
    )
    short = value // 100_000 / 10
    assert out[IBM].text == f"평균 거래대금 {short:,.1f}백만 달러 < 하한 2,000백만 달러"
    assert out[IBM].value == value
    assert out[FB].price == 277_800
    assert out[IBM].sector is None
    assert out[IBM].standing == "기록 없음"
    cheap = look(embedded_panels, of(min_price=30.0)).trace()
    assert cheap[MSFT].text == "주가 $27.95 < 하한 $30.00"


def test_a_value_just_below_its_bound_is_not_rounded_up_to_it(embedded_panels):
    """What missed a bound never reads as the bound."""
    raw = embedded_panels[0]
    mean = int((raw.close[-20:, IBM] * raw.volume[-20:, IBM] // 10_000).sum() // 20)

    least = float(mean // 100_000 * 100_000 + 100_000)
    line = look(embedded_panels, of(min_value=least)).trace()[IBM].text

    left, right = (part.split("백만")[0].split()[-1] for part in line.split("<"))
    assert float(left.replace(",", "")) < float(right.replace(",", ""))


def test_ranks_explain_the_cuts(embedded_panels):
    """A leader is in by its rank of value or of volume; the selected are the best by score."""
    used = of(leaders=3, surges=1, top=2, buffer=0.0, min_names=2)
    found = look(embedded_panels, used, rows=slice(3000, 3269), score=[5.0, 4.0, 3.0, 2.0, 1.0])
    for row in range(60, 269, 13):
        traces = found.trace(row)
        for trace in traces:
            if trace.reason == "NOT_A_LEADER":
                assert trace.value_rank > 3
            if trace.selected:
                assert trace.score_rank <= 2
            if trace.reason in ("NOT_TRADABLE", "TOO_YOUNG"):
                assert trace.value_rank is trace.score_rank is None


def test_body_and_text(embedded_panels):
    """What is stored is plain JSON without NaN; what is printed names selected names and counts."""
    found = look(embedded_panels, of(leaders=4, top=2, min_names=3))

    body = json.loads(json.dumps(screen_body(found), allow_nan=False, ensure_ascii=False))
    text = screen_text(body)

    assert body["selected"] == 2
    assert sum(body["reasons"].values()) == len(body["names"]) == 5
    chosen = [name["symbol"] for name in body["names"] if name["selected"]]
    assert all(symbol in text for symbol in chosen)
    assert "선정 2종목 / 전체 5종목" in text
    assert "제외 거래대금·거래량 순위 밖: 1종목" in text
    assert "관리종목·투자경고·정리매매: 기록이 없어 거르지 못함" in text
    assert "FB" in screen_text(body, symbols=("FB",))


def test_who_came_and_who_left(embedded_panels):
    """The body names the changes since the session before, and why a name left."""
    n = 400
    raw, panel = (cut(one, slice(3000, 3000 + n)) for one in embedded_panels)
    score = np.tile([4.0, nan, 3.0, 2.0, 1.0], (n, 1))
    score[200:] = [4.0, nan, 1.0, 3.0, 2.0]
    used = of(top=2, buffer=0.0, min_names=3, min_bars=1)
    found = screen(Bars(panel), raw, used, factors=scored(score))

    body, quiet = screen_body(found, 200), screen_body(found, 201)

    assert (body["entered"], body["left"]) == (["IBM"], ["GOOG"])
    assert "새로 선정: IBM" in screen_text(body)
    assert "선정에서 빠짐: GOOG 팩터 점수 4위 > 2위" in screen_text(body)
    assert (quiet["entered"], quiet["left"]) == ([], [])
    assert screen_body(found, 0)["left"] == []


def test_every_reason_has_its_words():
    """Codes and texts are one to one."""
    assert len({reason.text for reason in ScreenReason}) == len(ScreenReason)
    assert len({standing.text for standing in Standing}) == len(Standing)


def test_shipped_screens():
    """Korea ranks a whole market; the five embedded American names all compete."""
    krx = DEFAULT_SCREENS[Market.KRX]

    assert krx.kept_to(krx.top) == 50
    assert of(buffer=0.15).kept_to(40) == 46
    with pytest.raises(ValueError, match="extra"):
        ScreenSettings.model_validate({**krx.model_dump(), "momentum_window": 252})


# ---- the whole Korean market -------------------------------------------------------------------


@cache
def korea(folder):
    """Return official raw bars of every name in the first weeks of 2024, and their panels."""
    first, last = date(2024, 1, 2), date(2024, 2, 13)
    source = RecordedSource(folder)
    official = pd.read_parquet(folder / "krx_cross_section.parquet")
    official["date"] = pd.to_datetime(official["date"])
    official = official[
        official["date"].between(str(first), str(last)) & (official["market"] != "KONEX")
    ]
    traded = official["volume"] > 0
    columns_of = {n: official[n].where(traded, 0) for n in ("open", "high", "low", "volume")}
    bars = official.assign(
        **columns_of,
        session=official["date"].dt.date,
        exchange=official["market"].astype(str).str.removesuffix(" GLOBAL"),
        basis="raw",
        adj_close=nan,
        fetched_at=None,
    )
    bars = schema.to_frame(schema.conform(bars, schema.DAILY_BARS), schema.DAILY_BARS)
    days = sorted(set(bars["session"]))
    raw, panel = assemble_panels(bars, (), days, Market.KRX, None)
    listings = source.table("listings", Market.KRX, None, first, last)
    return official, raw, panel, standings(listings, raw.sessions, raw.symbols)


def by_hand(
    official: pd.DataFrame, symbols, used: ScreenSettings, score, sector
) -> list[list[str]]:
    """Return the reasons of every day, from the official file with pandas and plain loops."""
    wide = official.pivot(index="date", columns="symbol", values=["close", "volume", "dept"])
    # A name that the file no longer lists is halted until an action says that it is gone.
    close = wide["close"][list(symbols)].ffill().fillna(0).to_numpy(dtype=float)
    volume = wide["volume"][list(symbols)].fillna(0).astype(float)
    segment = wide["dept"][list(symbols)].ffill().fillna("").to_numpy()
    traded, listed = volume.to_numpy() > 0, close > 0
    value = pd.DataFrame(close * volume.to_numpy()).rolling(used.value_sessions, min_periods=1)
    value = (value.sum() // used.value_sessions).to_numpy()
    own = [volume[s][volume[s] > 0] for s in symbols]
    ratio = pd.concat([v / v.rolling(used.surge_bars).mean() for v in own], axis=1)
    ratio = ratio.reindex(volume.index).ffill().to_numpy()
    bars = traded.cumsum(axis=0)
    out, before = [], set()
    for t in range(len(close)):
        lately = slice(max(0, t - used.halt_sessions + 1), t + 1)
        why, passed = {}, []
        for i in range(len(symbols)):
            if not listed[t, i]:
                why[i] = "NOT_TRADABLE"
            elif not traded[t, i]:
                why[i] = "HALTED"
            elif (listed[lately, i] & ~traded[lately, i]).any():
                why[i] = "RECENTLY_HALTED"
            elif segment[t, i].startswith(("관리종목", "투자주의환기종목")):
                why[i] = "DESIGNATED"
            elif bars[t, i] < used.min_bars:
                why[i] = "TOO_YOUNG"
            elif close[t, i] < used.min_price:
                why[i] = "PRICE_TOO_LOW"
            elif value[t, i] < used.min_value:
                why[i] = "VALUE_TOO_LOW"
            else:
                passed.append(i)
        by_value = sorted(passed, key=lambda i: -value[t, i])
        leaders = set(by_value[: used.leaders])
        leaders |= set(by_value[: int(used.leaders * (1 + used.buffer))]) & before
        surging = [i for i in passed if ratio[t, i] >= used.min_surge]
        leaders |= set(sorted(surging, key=lambda i: -ratio[t, i].round(9))[: used.surges])
        why |= {i: "NOT_A_LEADER" for i in passed if i not in leaders}
        why |= {i: "NO_SCORE" for i in leaders if np.isnan(score[i])}
        best = [i for i in passed if i in leaders and not np.isnan(score[i])]
        best.sort(key=lambda i: -score[i])
        why |= dict.fromkeys(best, "BELOW_TOP")
        stay = [i for i in best[: int(used.top * (1 + used.buffer))] if i in before]
        chosen: list[int] = []
        for i in [*stay, *(i for i in best if i not in stay)]:
            if len(chosen) == used.top:
                break
            if sector[i] is not None and (
                [sector[c] for c in chosen].count(sector[i]) == used.sector_cap
            ):
                why[i] = "SECTOR_FULL"
                continue
            chosen.append(i)
        why |= dict.fromkeys(chosen, "SELECTED")
        before = set(chosen)
        out.append([why[i] for i in range(len(symbols))])
    return out


def test_the_whole_market_by_hand(shared_data):
    """Every reason of every Korean name on 28 sessions is what plain pandas says."""
    official, raw, panel, standing = korea(shared_data)
    table = pd.read_parquet(shared_data / "krx_sectors.parquet").set_index("symbol")
    industry = table["krx_industry_finda"]
    names = sorted(industry.dropna().unique())
    sector = [industry.get(s) if isinstance(industry.get(s), str) else None for s in raw.symbols]
    codes = [names.index(of_it) if of_it is not None else -1 for of_it in sector]
    cap = official.groupby("symbol")["market_cap"].first()
    # A score with ties, with gaps, and with nothing of the bars in it: the size, in steps.
    score = [np.round(np.log(cap[s]), 1) if cap[s] < 5e12 else nan for s in raw.symbols]
    used = DEFAULT_SCREENS[Market.KRX].model_copy(
        update={"min_bars": 15, "value_sessions": 10, "surge_bars": 10, "sector_cap": 4}
    )

    got = screen(
        Bars(panel, sectors_of((raw, panel), codes, tuple(names))),
        raw,
        used,
        factors=scored(np.tile(score, (len(raw.sessions), 1))),
        standing=standing,
    )

    expected = by_hand(official, raw.symbols, used, score, sector)
    names_of = np.array([ScreenReason(code).name for code in range(len(ScreenReason))])
    np.testing.assert_array_equal(names_of[got.reason], expected)
    found = set(np.unique(names_of[got.reason]))
    assert found == {reason.name for reason in ScreenReason} - {"OTHER_EXCHANGE"}
    assert len(raw.symbols) > 2000


def test_leaders_are_those_of_the_official_value(shared_data):
    """Close times volume ranks the 200 leaders almost as KRX's own traded value does."""
    official, raw, panel, _ = korea(shared_data)

    got = look((raw, panel), DEFAULT_SCREENS[Market.KRX].model_copy(update={"min_bars": 1}))

    value = official.pivot(index="date", columns="symbol", values="value")[list(raw.symbols)]
    mean = value.fillna(0).tail(20).mean().to_numpy()
    ours = set(np.argsort(-got.value[-1], kind="stable")[:200])
    theirs = set(np.argsort(-mean, kind="stable")[:200])
    assert len(ours & theirs) >= 198
