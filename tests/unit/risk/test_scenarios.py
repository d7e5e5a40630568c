"""Recorded crises on holdings of today: what moved on its own record, by proxy, or not at all."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from trading.risk.scenarios import Basis, CrisisWindow, ScenarioSettings, replay

SECTORS = np.zeros(5, dtype=np.int64)


@pytest.fixture(scope="module")
def recorded(embedded_panels):
    """Symbols, sessions and returns of the embedded shares; all of them are technology."""
    panel = embedded_panels[1]
    returns = np.full(panel.close.shape, np.nan)
    returns[1:] = panel.close[1:] / panel.close[:-1] - 1.0
    return panel.symbols, panel.sessions, returns


def of(symbols, weights):
    return np.array([weights.get(symbol, 0.0) for symbol in symbols])


def test_own_record(recorded, embedded_panels):
    """One share held through 2008 loses what its close lost, on the recorded days."""
    symbols, sessions, returns = recorded
    weights = of(symbols, {"IBM": 1.0})

    crash = replay(weights, symbols, SECTORS, returns, sessions)[0]

    days = sessions.astype("datetime64[D]")
    before = np.searchsorted(days, np.datetime64("2008-09-15")) - 1
    after = np.searchsorted(days, np.datetime64("2008-11-20"))
    close = embedded_panels[1].close[before : after + 1, list(symbols).index("IBM")]
    assert crash.is_covered
    assert crash.loss == pytest.approx(1.0 - close[-1] / close[0], rel=1e-12)
    np.testing.assert_allclose(crash.path, close[1:] / close[0], rtol=1e-12)
    fall = close / np.maximum.accumulate(close)
    assert crash.max_drawdown == pytest.approx(1.0 - fall.min(), rel=1e-12)
    daily = close[1:] / close[:-1] - 1.0
    assert crash.worst_day == pytest.approx(-daily.min(), rel=1e-12)
    assert crash.worst_session == days[before + 1 + int(daily.argmin())].astype(date)
    assert (crash.own, crash.proxy, crash.left_out) == (1.0, 0.0, 0.0)
    assert len(crash.sessions) == len(crash.path) == after - before


def test_proxy_of_the_sector(recorded):
    """FB was listed in 2012: in 2011 it moves as the mean of the four others, and says so."""
    symbols, sessions, returns = recorded
    weights = of(symbols, {"FB": 0.5, "AAPL": 0.25})

    downgrade = replay(weights, symbols, SECTORS, returns, sessions)[1]

    assert (downgrade.own, downgrade.proxy, downgrade.left_out) == (0.25, 0.5, 0.0)
    fb = next(one for one in downgrade.holdings if one.symbol == "FB")
    assert fb.basis is Basis.PROXY
    days = sessions.astype("datetime64[D]")
    inside = (days >= np.datetime64("2011-08-01")) & (days <= np.datetime64("2011-10-04"))
    peers = [i for i, symbol in enumerate(symbols) if symbol != "FB"]
    mean = returns[inside][:, peers].mean(axis=1)
    assert fb.contribution == pytest.approx(0.5 * (np.prod(1.0 + mean) - 1.0), rel=1e-12)
    assert sum(one.contribution for one in downgrade.holdings) == pytest.approx(-downgrade.loss)


@pytest.mark.parametrize("case", ["too few peers", "no sector", "another sector"])
def test_left_out(recorded, case):
    """Without a sector to stand in, a name is left out, unmoved, and its weight shown."""
    symbols, sessions, returns = recorded
    weights = of(symbols, {"FB": 0.5, "AAPL": 0.25})
    sectors = SECTORS.copy()
    settings = ScenarioSettings()
    if case == "too few peers":
        settings = ScenarioSettings(min_proxy_names=5)
    else:
        sectors[list(symbols).index("FB")] = -1 if case == "no sector" else 7

    downgrade = replay(weights, symbols, sectors, returns, sessions, settings)[1]

    assert (downgrade.own, downgrade.proxy, downgrade.left_out) == (0.25, 0.0, 0.5)
    alone = replay(of(symbols, {"AAPL": 0.25}), symbols, sectors, returns, sessions)[1]
    np.testing.assert_array_equal(downgrade.path, alone.path)


def test_not_recorded(recorded):
    """A crisis after the end of the record, or cut by its beginning, is said to be missing."""
    symbols, sessions, returns = recorded
    weights = of(symbols, {"IBM": 1.0})

    found = replay(weights, symbols, SECTORS, returns, sessions)
    late = np.searchsorted(sessions.astype("datetime64[D]"), np.datetime64("2008-10-01"))
    cut = replay(weights, symbols, SECTORS, returns[late:], sessions[late:])
    early = replay(weights, symbols, SECTORS, returns[:late], sessions[:late])

    assert [one.is_covered for one in found] == [True, True, False, False]
    for missing in (found[2], found[3], cut[0], early[0]):
        assert not missing.is_covered
        assert len(missing.path) == len(missing.sessions) == 0
        assert missing.loss == missing.worst_day == missing.max_drawdown == 0.0
        assert missing.worst_session is None
        assert missing.left_out == 1.0


def test_halts_and_ends(recorded):
    """A halt inside is no move; a name that stops being recorded keeps its last value."""
    symbols, sessions, returns = recorded
    i = list(symbols).index("MSFT")
    weights = of(symbols, {"MSFT": 0.5})
    days = sessions.astype("datetime64[D]")
    gone = returns.copy()
    gone[days > np.datetime64("2008-10-10"), i] = np.nan

    crash = replay(weights, symbols, SECTORS, gone, sessions)[0]

    kept = (days >= np.datetime64("2008-09-15")) & (days <= np.datetime64("2008-10-10"))
    assert crash.own == 0.5
    assert crash.loss == pytest.approx(0.5 * (1.0 - np.prod(1.0 + returns[kept, i])), rel=1e-12)
    assert (np.diff(crash.path[kept.sum() - 1 :]) == 0.0).all()


def test_what_follows_changes_nothing(recorded):
    """Rows after the last session of a window change nothing in its scenario."""
    symbols, sessions, returns = recorded
    weights = of(symbols, {"IBM": 0.4, "AAPL": 0.3, "GOOG": 0.1})
    end = np.searchsorted(sessions.astype("datetime64[D]"), np.datetime64("2011-10-04")) + 1

    whole = replay(weights, symbols, SECTORS, returns, sessions)[1]
    cut = replay(weights, symbols, SECTORS, returns[:end], sessions[:end])[1]

    np.testing.assert_array_equal(whole.path, cut.path)
    assert whole.holdings == cut.holdings


def test_cash_and_gains(recorded):
    """Cash does not move; a portfolio that rose has a negative loss and no drawdown of its own."""
    symbols, sessions, returns = recorded
    calm = ScenarioSettings(
        windows=(CrisisWindow(name="상승", first=date(2012, 1, 3), last=date(2012, 1, 4)),)
    )

    (cash,) = replay(np.zeros(5), symbols, SECTORS, returns, sessions, calm)
    (gain,) = replay(of(symbols, {"AAPL": 1.0}), symbols, SECTORS, returns, sessions, calm)

    assert cash.loss == cash.max_drawdown == cash.worst_day == 0.0
    assert cash.holdings == () and cash.is_covered
    # AAPL closed at 405.00, 411.23 and 413.44 on 2011-12-30, 2012-01-03 and 2012-01-04.
    assert gain.loss == pytest.approx(1.0 - 413.44 / 405.00, abs=1e-4)
    assert gain.max_drawdown == 0.0 and gain.worst_day == 0.0


def test_windows():
    """A window that ends before it begins is refused."""
    with pytest.raises(ValidationError, match="앞섭니다"):
        CrisisWindow(name="거꾸로", first=date(2020, 2, 2), last=date(2020, 2, 1))


def test_black_monday_of_korea(shared_data: Path):
    """KOSPI as a holding: 8.77 % on 2024-08-05, its largest fall of a day since 2008 (KRX)."""
    pd = pytest.importorskip("pandas")
    levels = pd.read_parquet(shared_data / "index_daily.parquet").query("symbol == 'KOSPI'")
    levels = levels[levels["date"] >= "2008-01-01"].sort_values("date")
    close = levels["close"].to_numpy()[:, None]
    returns = np.vstack([[np.nan], close[1:] / close[:-1] - 1.0])
    sessions = levels["date"].to_numpy().astype("datetime64[D]")

    found = replay(np.ones(1), ("KOSPI",), np.zeros(1, dtype=np.int64), returns, sessions)

    august = found[3]
    assert august.worst_session == date(2024, 8, 5)
    assert august.worst_day == pytest.approx(0.0877, abs=5e-5)
    assert all(one.is_covered for one in found)
    # Published closes: 2,441.55 after 2,770.69 on 2024-07-31.
    assert august.loss == pytest.approx(1.0 - 2441.55 / 2770.69, abs=1e-6)
    # 2020-03-19 closed at 1,457.64 after 2,210.34 on 2020-02-19.
    assert found[2].max_drawdown == pytest.approx(1.0 - 1457.64 / 2210.34, abs=1e-3)


def test_shares_of_korea_in_2020_and_2024(shared_data: Path):
    """Recorded KRX shares: those of 2020 move on their own, one listed later by its sector."""
    pd = pytest.importorskip("pandas")
    # 373220 LG Energy Solution was listed on 2022-01-27; the others stand in for its sector.
    names = ("005930", "000660", "005380", "373220")
    daily = pd.read_parquet(
        shared_data / "krx_daily.parquet",
        columns=["date", "symbol", "close"],
        filters=[("symbol", "in", list(names)), ("date", ">=", pd.Timestamp("2019-01-01"))],
    )
    table = daily.pivot(index="date", columns="symbol", values="close")
    names = tuple(name for name in names if name in table)
    assert {"005930", "000660"} <= set(names)
    close = table[list(names)].to_numpy(dtype=np.float64)
    returns = np.vstack([np.full(len(names), np.nan), close[1:] / close[:-1] - 1.0])
    sessions = table.index.to_numpy().astype("datetime64[D]")
    weights = np.full(len(names), 1.0 / len(names))
    settings = ScenarioSettings(min_proxy_names=2)

    found = replay(
        weights, names, np.zeros(len(names), dtype=np.int64), returns, sessions, settings
    )

    assert [one.is_covered for one in found] == [False, False, True, True]
    assert 0.15 < found[2].loss < 0.5 and 0.08 < found[3].loss < 0.25
    assert found[3].own == pytest.approx(1.0)
    samsung = next(one for one in found[3].holdings if one.symbol == "005930")
    # Published: 83,900 won on 2024-07-31, 71,400 won on 2024-08-05.
    assert samsung.contribution == pytest.approx(weights[0] * (71_400 / 83_900 - 1.0), abs=1e-6)
    assert found[2].own + found[2].proxy == pytest.approx(1.0)
