"""The market before its open: what was known by then, and what was not recorded."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Market
from trading.errors import MissingDataError
from trading.features.factors import FactorScores
from trading.features.indicators import Bars
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.panels import assemble_panels
from trading.strategies.premarket import PremarketSettings, Series, analyze, series_of
from trading.strategies.screener import DEFAULT_SCREENS, screen

AAPL, FB, GOOG, IBM, MSFT = range(5)
US, KRX = Market.US, Market.KRX
SHIPPED = PremarketSettings()


@pytest.fixture(scope="module")
def calendars():
    """Return the sessions of both markets."""
    return {market: SessionCalendar(market) for market in Market}


@pytest.fixture(scope="module")
def nasdaq():
    """Return the embedded NASDAQ Composite."""
    source = EmbeddedSource()
    days = source.sessions(US)
    table = source.table("index", US, None, days[0], days[-1])
    return [s for s in series_of(schema.to_frame(table, schema.INDEX), US) if s.name == "NASDAQ"]


def look(panel, session: date, calendars, used=SHIPPED, **arguments):
    return analyze(
        Bars(panel),
        session,
        used,
        calendars=calendars,
        regime=arguments.pop("regime", "calm"),
        regime_probability=arguments.pop("probability", {"calm": 0.9, "turbulent": 0.1}),
        **arguments,
    )


# ---- the home market -------------------------------------------------------------------------


def test_index_state(embedded_panels, calendars):
    """Level, changes, trend, drawdown and volatility are those of the recorded index."""
    panel = embedded_panels[1]
    session = date(2008, 10, 15)
    close = pd.Series(panel.benchmark, index=panel.sessions)[: np.datetime64("2008-10-14")]

    got = look(panel, session, calendars).index

    returns = close.pct_change()
    # S&P 500 close of 2008-10-14: 998.01, as published.
    assert got.level == pytest.approx(998.01)
    assert got.stand_ins == 0
    for k in (1, 5, 20):
        assert got.changes[str(k)] == pytest.approx(
            close.iloc[-1] / close.iloc[-1 - k] - 1, abs=2e-9
        )
    assert got.trend == pytest.approx(close.iloc[-1] / close.tail(200).mean() - 1, abs=2e-9)
    assert got.drawdown == pytest.approx(close.iloc[-1] / close.tail(252).max() - 1, abs=2e-9)
    volatility = (returns**2).rolling(20).mean() ** 0.5
    assert got.annual_volatility == pytest.approx(volatility.iloc[-1] * 251**0.5, abs=1e-2)
    place = (volatility.tail(756) <= volatility.iloc[-1]).mean()
    assert got.volatility_place == pytest.approx(place, abs=1e-9)


def test_breadth(embedded_panels, calendars):
    """Advances, averages and extremes are counted on each name's own bars."""
    panel = embedded_panels[1]
    row = panel.sessions.searchsorted(np.datetime64("2008-10-14"))

    got = look(panel, date(2008, 10, 15), calendars).breadth

    close = pd.DataFrame(panel.close[: row + 1])[[AAPL, GOOG, IBM, MSFT]]
    last = close.iloc[-1]
    assert got.names == 4
    assert got.advanced == (last > close.iloc[-2]).sum()
    assert got.declined == (last < close.iloc[-2]).sum()
    assert got.above_short == (last > close.tail(50).mean()).mean()
    assert got.above_long == (last > close.tail(200).mean()).mean()
    assert got.highs == (last >= close.tail(252).max()).sum()
    assert got.lows == (last <= close.tail(252).min()).sum()


def test_averages_have_exactly_their_bars(embedded_panels, calendars):
    """The first average is there with its last bar, and each holds no more bars than it says."""
    panel = embedded_panels[1]
    bars = Bars(panel)

    def at(row):
        return analyze(
            bars, panel.sessions[row + 1].item(), SHIPPED, calendars=calendars, regime="calm",
            regime_probability={},
        ).breadth  # fmt: skip

    close = pd.DataFrame(panel.close)
    for row in range(300, 3200, 29):
        last, listed = close.iloc[row], close.iloc[row].notna() & close.iloc[row - 252].notna()
        short = (last > close.iloc[row - 49 : row + 1].mean())[listed].mean()
        long = (last > close.iloc[row - 199 : row + 1].mean())[listed].mean()
        if listed.sum() == at(row).names:
            assert at(row).above_short == pytest.approx(short, abs=1e-9)
            assert at(row).above_long == pytest.approx(long, abs=1e-9)
    assert at(48).above_short is None
    assert at(49).above_short is not None
    assert at(198).above_long is None
    assert at(199).above_long is not None


def test_an_unchanged_close_is_neither(embedded_panels, calendars):
    """A close that equals the one before neither advances nor declines."""
    panel = embedded_panels[1]
    same = panel.close[1:, IBM] == panel.close[:-1, IBM]
    row = int(np.flatnonzero(same)[0]) + 1

    got = look(panel, panel.sessions[row + 1].item(), calendars).breadth

    change = panel.close[row] - panel.close[row - 1]
    assert got.unchanged == (change == 0).sum() >= 1
    assert (got.advanced, got.declined) == ((change > 0).sum(), (change < 0).sum())


def test_a_halt_is_no_bar(embedded_panels, calendars):
    """A name without a bar takes no part; over a halt its own last bar is the previous one."""
    panel = embedded_panels[1]
    row = panel.sessions.searchsorted(np.datetime64("2008-10-14"))
    changed = {n: getattr(panel, n).copy() for n in ("open", "high", "low", "close", "volume")}
    tradable = panel.tradable.copy()
    for name in changed:
        changed[name][row - 1, IBM] = changed[name][row, MSFT] = np.nan
    tradable[row - 1, IBM] = tradable[row, MSFT] = False

    got = look(replace(panel, **changed, tradable=tradable), date(2008, 10, 15), calendars).breadth

    names = [AAPL, GOOG, IBM]
    before = [panel.close[row - 1, AAPL], panel.close[row - 1, GOOG], panel.close[row - 2, IBM]]
    assert got.names == 3
    assert got.advanced == sum(panel.close[row, names] > before)


def test_young_history_says_nothing(embedded_panels, calendars):
    """Without enough rows averages, places and drawdowns are absent, not guessed."""
    got = look(embedded_panels[1], date(2000, 3, 6), calendars)

    assert got.index.trend is got.index.drawdown is got.index.annual_volatility is None
    assert got.index.changes["1"] is not None
    assert got.index.changes["5"] is None
    assert got.breadth.above_short is got.breadth.above_long is None
    assert "기록 없음" in got.text()


def test_an_unknown_regime_has_no_probability(embedded_panels, calendars):
    """Before the regime is estimated its probabilities are left out, and the words say so."""
    got = look(
        embedded_panels[1], date(2000, 6, 1), calendars, regime="unknown",
        probability={"calm": np.nan, "turbulent": np.nan},
    )  # fmt: skip

    assert got.regime_probability == {}
    assert "국면 알 수 없음" in got.text()
    json.dumps(got.to_json(), allow_nan=False)


def test_a_regime_that_is_no_longer_the_likeliest_is_kept(embedded_panels, calendars):
    """Until another one is likely enough the old regime holds, and the line says that it is held."""
    got = look(
        embedded_panels[1], date(2008, 10, 16), calendars, regime="turbulent",
        probability={"calm": 0.64, "turbulent": 0.36},
    )  # fmt: skip

    assert "국면 불안정 유지 (안정 64 %, 불안정 36 %)" in got.text()


def test_no_row_before_the_session(embedded_panels, calendars):
    """Before the first bar there is nothing to say."""
    with pytest.raises(MissingDataError):
        look(embedded_panels[1], date(2000, 3, 1), calendars)


def test_an_unrecorded_index_is_named(embedded_panels, calendars):
    """Where the index was not recorded the names stand in, and the report says for how long."""
    panel = embedded_panels[1]
    row = int(panel.sessions.searchsorted(np.datetime64("2008-10-14")))
    benchmark = panel.benchmark.copy()
    benchmark[row] = np.nan

    got = look(replace(panel, benchmark=benchmark), date(2008, 10, 15), calendars)

    assert got.index.level is None
    assert got.index.stand_ins == 1
    assert any("S&P 500: 최근 200거래일 중 1일" in line for line in got.absent)


def test_missing_last_session_is_named(embedded_panels, calendars):
    """Bars that end before the previous session are used, and said to end."""
    panel = embedded_panels[1].until(2000)
    last = panel.sessions[-1].astype(object)
    session = calendars[US].offset(last, 3)

    got = look(panel, session, calendars)

    assert got.as_of == last
    assert any(f"직전 거래일 {calendars[US].previous(session)}" in line for line in got.absent)


# ---- elsewhere -------------------------------------------------------------------------------


def moves_of(session, home, series, calendars, panel):
    """Return the report of a home market that watches ``series``; the bars do not matter."""
    return look(replace(panel, market=home), session, calendars, series=series)


def us_series(days: list[date], close: list[float], name="S&P 500", market=US) -> Series:
    return Series(
        name=name,
        market=market,
        days=np.array(days, dtype="datetime64[D]"),
        close=np.array(close),
    )


def test_what_korea_knows_of_america(embedded_panels, calendars):
    """Before a Korean open the American close of the day before is known, that of the day never."""
    # S&P 500 closes as published.
    days = [date(2011, 8, 4), date(2011, 8, 5), date(2011, 8, 8), date(2011, 8, 9)]
    series = us_series(days, [1200.07, 1199.38, 1119.46, 1172.53])

    got = moves_of(date(2011, 8, 9), KRX, [series], calendars, embedded_panels[1])

    (move,) = got.moves
    assert (move.day, move.close) == (date(2011, 8, 8), 1119.46)
    # The fall that was in the papers: 6.66 %.
    assert round(100 * move.change, 2) == -6.66
    assert move.since_close == move.change
    assert any("S&P 500 지수가 -6.66 %" in line for line in got.warnings)


def test_a_holiday_at_home_adds_up(embedded_panels, calendars):
    """After a Korean holiday the change since the last Korean close spans more sessions."""
    # Chuseok 2011: no Korean sessions on 12 and 13 September. S&P 500 closes as published.
    days = [date(2011, 9, 8), date(2011, 9, 9), date(2011, 9, 12), date(2011, 9, 13)]
    close = [1185.90, 1154.23, 1162.27, 1172.87]

    got = moves_of(date(2011, 9, 14), KRX, [us_series(days, close)], calendars, embedded_panels[1])

    (move,) = got.moves
    assert move.change == pytest.approx(1172.87 / 1162.27 - 1, abs=1e-9)
    # Friday's American close came after Friday's Korean one.
    assert move.since_close == pytest.approx(1172.87 / 1185.90 - 1, abs=1e-9)


def test_what_america_knows_of_korea(embedded_panels, calendars):
    """Before an American open the Korean close of the same date is known."""
    # KOSPI closes as published.
    days = [date(2011, 8, 5), date(2011, 8, 8), date(2011, 8, 9)]
    series = us_series(days, [1943.75, 1869.45, 1801.35], name="KOSPI", market=KRX)

    got = moves_of(date(2011, 8, 9), US, [series], calendars, embedded_panels[1])

    (move,) = got.moves
    assert (move.day, move.close) == (date(2011, 8, 9), 1801.35)
    assert round(100 * move.change, 2) == -3.64


def test_a_rate_counts_when_its_day_is_over(embedded_panels, calendars):
    """The won's rate of a date is known on the next one, also in New York."""
    # Noon rates as the Federal Reserve published them (DEXKOUS).
    days = [date(2011, 8, 5), date(2011, 8, 8), date(2011, 8, 9)]
    series = us_series(days, [1067.20, 1082.90, 1087.45], name="USDKRW", market=None)

    for home in (KRX, US):
        got = moves_of(date(2011, 8, 9), home, [series], calendars, embedded_panels[1])
        (move,) = got.moves
        assert move.day == date(2011, 8, 8)
        assert move.change == pytest.approx(1082.90 / 1067.20 - 1, abs=1e-9)
        assert any("USDKRW 환율" in line for line in got.warnings)


def test_a_gap_is_absent_and_said_to_be(embedded_panels, calendars):
    """A close that was not recorded is not replaced by an older one."""
    series = us_series([date(2011, 8, 4), date(2011, 8, 5)], [1200.07, 1199.38])

    got = moves_of(date(2011, 8, 9), KRX, [series], calendars, embedded_panels[1])

    assert got.moves == ()
    assert "S&P 500: 2011-08-08 종가가 기록되지 않음" in got.absent
    assert "VIX: 기록 없음" in got.absent


def test_a_move_needs_both_closes(embedded_panels, calendars):
    """Without the close before there is a level and no change."""
    series = us_series([date(2011, 8, 4), date(2011, 8, 8)], [1200.07, 1119.46])

    (move,) = moves_of(date(2011, 8, 9), KRX, [series], calendars, embedded_panels[1]).moves

    assert move.change is None
    assert move.since_close is None
    assert move.close == 1119.46


@settings(max_examples=60, derandomize=True)
@given(
    offset=st.integers(min_value=10, max_value=6000),
    home=st.sampled_from([KRX, US]),
    other=st.sampled_from([KRX, US]),
)
def test_no_close_is_used_before_its_bell(embedded_panels, calendars, offset, home, other):
    """Whatever the season and the holidays: the close shown is the last whose bell has rung."""
    session = calendars[home].next(date(2001, 1, 2) + timedelta(days=offset))
    opening = calendars[home].open_close(session)[0]
    around = calendars[other].sessions(session - timedelta(days=20), session + timedelta(days=5))
    series = us_series(around, [100.0 + k for k in range(len(around))], market=other)
    used = PremarketSettings(watched={home: ("S&P 500",)})

    panel = replace(embedded_panels[1].until(30), market=home)
    (move,) = look(panel, session, calendars, used, series=[series]).moves

    rung = [day for day in around if calendars[other].open_close(day)[1] <= opening]
    assert move.day == rung[-1]
    assert opening.astimezone(UTC) > datetime.combine(move.day, datetime.min.time(), UTC)


# ---- the future ------------------------------------------------------------------------------


@settings(max_examples=20, derandomize=True)
@given(n=st.integers(min_value=2, max_value=3200))
def test_later_rows_change_nothing(embedded_panels, calendars, nasdaq, n):
    """The report of a session is the same with and without, and with another, future."""
    panel = embedded_panels[1]
    session = panel.sessions[n].astype(object)
    day = np.datetime64(session, "D")
    known = [replace(s, days=s.days[s.days < day], close=s.close[s.days < day]) for s in nasdaq]
    changed = {}
    for name in ("open", "high", "low", "close", "volume", "benchmark"):
        changed[name] = getattr(panel, name).copy()
        changed[name][n:] *= 2.0

    whole = look(panel, session, calendars, series=nasdaq)

    assert look(panel.until(n), session, calendars, series=known) == whole
    assert look(replace(panel, **changed), session, calendars, series=nasdaq) == whole


# ---- words and leaders -----------------------------------------------------------------------


def test_report(embedded_panels, calendars, nasdaq):
    """Leaders come from the screen's trace; the report is plain JSON and Korean lines."""
    raw, panel = embedded_panels
    session = date(2008, 10, 16)
    row = int(panel.sessions.searchsorted(np.datetime64("2008-10-15")))
    nothing = np.full(panel.close.shape, np.nan)
    factors = FactorScores(
        value=nothing, quality=nothing, momentum=nothing, growth=nothing, composite=nothing,
        sectors_of_the_day=True,
    )  # fmt: skip
    traces = screen(Bars(panel), raw, DEFAULT_SCREENS[US], factors=factors).trace(row)

    got = look(
        panel, session, calendars, traces=traces, series=nasdaq, regime="turbulent",
        probability={"calm": 0.02, "turbulent": 0.98},
    )  # fmt: skip

    value = (raw.close[row - 19 : row + 1] * raw.volume[row - 19 : row + 1]).sum(axis=0)
    order = [raw.symbols[i] for i in np.argsort(-value)][:4]
    assert [leader.symbol for leader in got.value_leaders] == order
    body = json.loads(json.dumps(got.to_json(), allow_nan=False, ensure_ascii=False))
    assert body["session"] == "2008-10-16"
    assert body["as_of"] == "2008-10-15"
    assert body["moves"][0]["day"] == "2008-10-15"
    assert body["breadth"]["idle"] == 0
    text = got.text()
    # The S&P 500 fell 9.03 % on 2008-10-15, as published.
    assert "1일 -9.03 %" in text
    assert "국면 불안정 (안정 2 %, 불안정 98 %)" in text
    assert "시장 국면이 불안정합니다." in got.warnings
    assert "미국 시장 2008-10-16 장전 (2008-10-15 종가 기준)" in text
    assert "KOSPI: 기록 없음" in text


def test_the_crash_of_2024_08_05(shared_data, calendars):
    """The Korean morning after: the published falls, from the recorded series."""
    source = RecordedSource(shared_data)
    first, last = date(2024, 6, 3), date(2024, 8, 9)
    series = [
        one
        for market in Market
        for one in series_of(
            schema.to_frame(source.table("index", market, None, first, last), schema.INDEX), market
        )
    ]
    bars = source.daily(KRX, ["005930", "000660"], first, last)
    index = source.index(KRX, first, last)
    _, panel = assemble_panels(
        bars, (), calendars[KRX].sessions(first, last), KRX, None, index=index, benchmark="KOSPI"
    )

    got = look(panel, date(2024, 8, 6), calendars, series=series)

    moves = {move.name: move for move in got.moves}
    # As published: KOSPI -8.77 %, KOSDAQ -11.30 %, S&P 500 -3.00 %, VIX 38.57.
    assert round(100 * got.index.changes["1"], 2) == -8.77
    assert round(100 * moves["KOSDAQ"].change, 2) == -11.30
    assert moves["KOSDAQ"].since_close is None
    assert round(100 * moves["S&P 500"].change, 2) == -3.00
    assert round(moves["VIX"].close, 2) == 38.57
    assert moves["USDKRW"].day == date(2024, 8, 5)
    assert got.breadth.declined == 2
    assert len(got.warnings) >= 4
