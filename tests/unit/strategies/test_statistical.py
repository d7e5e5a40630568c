"""The statistical agents: no future, against independent computation, and their rules."""

import math
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import adfuller, coint

from trading.domain.market import Facts
from trading.features.indicators import Bars
from trading.features.pipeline import FeatureSettings
from trading.features.statistics import session_returns
from trading.models import kalman
from trading.strategies import statistical
from trading.strategies.base import Inputs
from trading.strategies.statistical import (
    KalmanPairsSettings,
    MeanReversionSettings,
    Pair,
    PairsSettings,
    StatArbSettings,
)

nan = np.nan


# Five recorded stocks are cointegrated as little as any: with honest levels nothing passes.
LOOSE = {
    "false_discovery": 0.99,
    "retest_level": 0.9,
    "min_half_life": 1.0,
    "max_half_life": 400.0,
    "max_lag": 2,
    "validation": 60,
}
LOOSE_SETTINGS = {
    "pairs": PairsSettings(**LOOSE),
    "kalman_pairs": KalmanPairsSettings(**LOOSE, min_sigma=0.5, max_sigma=2.0),
    "stat_arb": StatArbSettings(min_names=3, explained=0.5, window=120),
    "mean_reversion": MeanReversionSettings(confidence=0.6, max_half_life=200.0, enter=1.0),
}
VOTERS = {agent.name: agent.votes for agent in statistical.AGENTS}


def inputs_of(panel, facts=None) -> Inputs:
    return Inputs(bars=Bars(panel, facts), features=FeatureSettings())


def changed(panel, **columns) -> object:
    """A copy of a panel with other numbers; where the close is NaN there is no bar."""
    fields = {
        name: columns.get(name, getattr(panel, name).copy())
        for name in ("open", "high", "low", "close", "volume")
    }
    halted = ~np.isfinite(fields["close"])
    for name, values in fields.items():
        fields[name] = np.where(halted, nan, values)
    return replace(panel, **fields, tradable=panel.tradable & ~halted)


@pytest.fixture(scope="module")
def panel(embedded_panels):
    """The recorded stocks to the end of 2006."""
    return embedded_panels[1].until(1700)


@pytest.fixture(scope="module")
def said(panel):
    """The votes of every agent under loose levels, on the whole panel."""
    inputs = inputs_of(panel)
    return {name: vote(inputs, LOOSE_SETTINGS[name]) for name, vote in VOTERS.items()}


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", VOTERS)
def test_they_speak(said, name):
    """Under loose levels every agent has views on both sides, so the tests below test something."""
    votes = said[name][np.isfinite(said[name])]

    assert {-1.0, 0.0, 1.0} <= set(votes)
    assert (np.abs(votes) <= 1.0).all()


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", VOTERS)
def test_cutting_the_future_changes_nothing(panel, said, name):
    """Row t is the same to the bit whatever rows follow: cut at refits, beside them, anywhere."""
    refits = [start for start, _ in statistical.periods(panel.sessions, "quarter", 560)]
    rng = np.random.default_rng(20)
    # Right after a refit a window that reaches too far has nothing to reach for.
    cuts = [*rng.choice(refits, 2), *(rng.choice(refits, 6) + 1), *rng.integers(600, 1700, 3)]

    for cut in cuts:
        got = VOTERS[name](inputs_of(panel.until(int(cut))), LOOSE_SETTINGS[name])
        np.testing.assert_array_equal(got, said[name][:cut])


@pytest.mark.compiled_only
def test_fits_know_no_later_row(panel):
    """Every number of a fit, not only the votes that follow, is the same on its own last row."""
    settings = PairsSettings(**LOOSE)
    stat_arb = LOOSE_SETTINGS["stat_arb"]
    bars = Bars(panel)
    returns = session_returns(bars)
    seen = 0
    for start, _, found in statistical.formed(inputs_of(panel), settings):
        cut = panel.until(start + 1)
        *_, (last, stop, alone) = statistical.formed(inputs_of(cut), settings)
        assert (last, stop, alone) == (start, start + 1, found)
        seen += len(found)
        short = Bars(cut)
        names, weights = statistical._portfolios(short, session_returns(short), stat_arb, start)
        whole = statistical._portfolios(bars, returns, stat_arb, start)
        np.testing.assert_array_equal(names, whole[0])
        np.testing.assert_array_equal(weights, whole[1])
    assert seen > 10


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", VOTERS)
def test_another_future_changes_nothing(panel, said, name):
    """Row t is the same to the bit when every later price and volume is another."""
    rng = np.random.default_rng(21)
    refits = [start for start, _ in statistical.periods(panel.sessions, "quarter", 560)]
    for cut in (*(rng.choice(refits, 4) + 1), rng.integers(800, 1650)):
        other = {
            field: np.concatenate(
                [values[:cut], values[cut:] * np.exp(rng.normal(0, 0.05, values[cut:].shape))]
            )
            for field in ("open", "high", "low", "close", "volume")
            for values in [getattr(panel, field)]
        }
        got = VOTERS[name](inputs_of(changed(panel, **other)), LOOSE_SETTINGS[name])
        np.testing.assert_array_equal(got[:cut], said[name][:cut])


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", VOTERS)
def test_krx_names_with_halts(shared_data, name):
    """Recorded KRX names, halts and late listings included: cutting rows changes nothing."""
    whole = _krx(shared_data)
    settings = {
        "pairs": PairsSettings(**LOOSE, leaders=25),
        "kalman_pairs": KalmanPairsSettings(**LOOSE, leaders=12, max_pairs=4),
        "stat_arb": StatArbSettings(leaders=25),
        "mean_reversion": MeanReversionSettings(confidence=0.8),
    }[name]

    votes = VOTERS[name](inputs_of(whole), settings)

    assert {-1.0, 0.0, 1.0} <= set(votes[np.isfinite(votes)])
    for cut in (640, 707, 899):
        got = VOTERS[name](inputs_of(whole.until(cut)), settings)
        np.testing.assert_array_equal(got, votes[:cut])


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", VOTERS)
@pytest.mark.parametrize("sessions", [0, 1, 30, 900])
def test_too_little_to_see(panel, name, sessions):
    """A short panel, one name, or names that never traded: silence."""
    short = panel.until(sessions)
    settings = VOTERS_SHIPPED[name]
    if sessions < 900:
        assert np.isnan(VOTERS[name](inputs_of(short), settings)).all()
        return
    nothing = changed(short, close=np.full(short.close.shape, nan))
    flat = {f: np.full(short.close.shape, 50.0) for f in ("open", "high", "low", "close")}
    for odd in (nothing, changed(short, **flat)):
        assert np.isnan(VOTERS[name](inputs_of(odd), LOOSE_SETTINGS[name])).all()
    lonely = changed(short, close=np.where(np.arange(5) == 2, short.close, nan))
    got = VOTERS[name](inputs_of(lonely), LOOSE_SETTINGS[name])
    assert np.isnan(got[:, [0, 1, 3, 4]]).all()
    assert name == "mean_reversion" or np.isnan(got).all()


VOTERS_SHIPPED = {agent.name: agent.settings() for agent in statistical.AGENTS}


def test_periods_begin_on_first_sessions(panel):
    """From the first session of each month or quarter on which the window is complete."""
    days = panel.sessions.astype(object)

    months = list(statistical.periods(panel.sessions, "month", 250))
    quarters = list(statistical.periods(panel.sessions, "quarter", 250))

    assert months[0][0] >= 250
    assert all(days[start].month != days[start - 1].month for start, _ in months)
    assert all(days[start].month in (1, 4, 7, 10) for start, _ in quarters)
    assert [stop for _, stop in months[:-1]] == [start for start, _ in months[1:]]
    assert months[-1][1] == quarters[-1][1] == 1700
    # 1700 sessions from 2000-03-01 end on 2006-12-01: 250 of them in February 2001.
    assert (days[months[0][0]].year, days[months[0][0]].month) == (2001, 3)
    assert len(months) == 70
    assert len(quarters) == 23


def test_stances_event_by_event():
    """A view stands from ``enter`` to ``leave``, turns at once at the other side, waits on NaN."""
    z = np.array([nan, -1.9, -2.0, -0.6, nan, -0.5, -3, 2.0, 0.6, 0.5, 0.0, 2.5, 2.5, 2.5])
    live = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1], dtype=bool)

    got = statistical._stances(z[:, None], live[:, None], np.array([nan]), 2.0, 0.5, 0.5)

    np.testing.assert_array_equal(got[:, 0], [nan, nan, 1, 1, 1, 0, 1, -1, -1, 0, 0, -1, 0, -1])
    going = statistical._stances(z[:1, None], live[:1, None], np.array([1.0]), 2.0, 0.5, 0.5)
    assert going.item() == 1.0
    never = statistical._stances(z[:2, None], ~live[:2, None], np.array([nan]), 2.0, 0.5, 0.5)
    assert np.isnan(never).all()


@pytest.mark.compiled_only
def test_formed_pairs_recomputed(panel):
    """Which pairs pass, by statsmodels: ``coint`` both ways, ``fdr_by``, OLS, ``adfuller``."""
    settings = PairsSettings(**LOOSE | {"false_discovery": 0.9, "retest_level": 0.7})
    logs = np.log(panel.close)
    seen = 0
    for start, _, found in list(statistical.formed(inputs_of(panel), settings))[::3]:
        window = slice(start - 559, start - 59)
        names = [i for i in range(5) if np.isfinite(logs[window, i]).all()]
        tests = {
            (i, j): coint(logs[window, i], logs[window, j], "c", maxlag=2, autolag="aic")[:2]
            for i in names
            for j in names
            if i != j
        }
        passed, *_ = multipletests([p for _, p in tests.values()], 0.9, method="fdr_by")
        want = {}
        for (i, j), ok in zip(tests, passed, strict=True):
            if not ok or (j, i) in want or tests[i, j][0] > tests.get((j, i), (9,))[0]:
                continue
            beta, alpha = np.polyfit(logs[window, j], logs[window, i], 1)
            e = logs[window, i] - alpha - beta * logs[window, j]
            phi = e[1:] @ e[:-1] / (e[:-1] @ e[:-1])
            rest = logs[start - 59 : start + 1]
            out = rest[:, i] - alpha - beta * rest[:, j]
            p = adfuller(out, maxlag=2, autolag="aic", regression="n", result_object=False)[1]
            life = -math.log(2) / math.log(phi)
            if beta > 0 and 1 <= life <= 400 and p <= 0.7:
                want[i, j] = (beta, life, p)
        assert {(pair.y, pair.x) for pair in found} == set(want)
        for pair in found:
            beta, life, p = want[pair.y, pair.x]
            assert pair.row == start
            assert pair.beta == pytest.approx(beta)
            assert pair.half_life == pytest.approx(life)
            assert pair.retest_p == pytest.approx(p)
            seen += 1
    assert seen >= 3


@pytest.mark.compiled_only
def test_shipped_levels_find_nothing_here(panel):
    """Five recorded stocks have no pair that stands all tests; the agents abstain."""
    inputs = inputs_of(panel)

    for name in ("pairs", "kalman_pairs"):
        assert np.isnan(VOTERS[name](inputs, VOTERS_SHIPPED[name])).all()


@pytest.mark.compiled_only
def test_pairs_vote_by_the_spread(panel, said):
    """At each new view the recomputed z-score is beyond 2, cheap leg 1 and rich leg -1."""
    settings = LOOSE_SETTINGS["pairs"].model_copy(update={"max_pairs": 1})
    logs = np.log(panel.close)
    inputs = inputs_of(panel)
    votes = statistical.pairs(inputs, settings)
    entries = 0
    for start, stop, found in statistical.formed(inputs, settings):
        for pair in found:
            for t in range(start + 1, stop):
                spread = logs[t - 59 : t + 1, pair.y] - pair.beta * logs[t - 59 : t + 1, pair.x]
                z = (spread[-1] - spread.mean()) / spread.std(ddof=1)
                if abs(z) > 2.001:
                    assert votes[t, pair.y] == -np.sign(z)
                    assert votes[t, pair.x] == np.sign(z)
                    entries += 1
                elif abs(z) < 0.499:
                    assert not np.nan_to_num(votes[t, [pair.y, pair.x]]).any()
    assert entries > 20


BASE = 1300
"""A row at which all but FB trade."""


def scripted(panel, fits, scores, **changes):
    """The votes of pairs whose scores are written down."""
    settings = PairsSettings(**changes)

    def of(pair, start, stop):
        z = np.array(scores[pair.y, pair.x][start - BASE : stop - BASE], dtype=float)
        return z, np.ones(len(z), dtype=bool)

    return statistical._pair_votes(Bars(panel), fits, of, settings)[BASE:]


def pair_of(y, x) -> Pair:
    return Pair(row=0, y=y, x=x, alpha=0, beta=1, half_life=9, statistic=-9, retest_p=0)


def test_a_name_in_several_pairs_gets_the_mean(panel):
    """Only views that stand are averaged; the rich leg counts against."""
    fits = [(BASE, BASE + 4, (pair_of(0, 2), pair_of(0, 3), pair_of(4, 0)))]
    scores = {
        (0, 2): [-2.5, -2.5, -2.5, 0.0],
        (0, 3): [0.0, -2.5, -2.5, 0.0],
        (4, 0): [0.0, 0.0, -2.5, -2.5],
    }

    got = scripted(panel, fits, scores)

    np.testing.assert_array_equal(got[:4, 0], [1, 1, 0.333333333, -1])
    np.testing.assert_array_equal(got[:4, 2], [-1, -1, -1, 0])
    np.testing.assert_array_equal(got[:4, 3], [nan, -1, -1, 0])
    np.testing.assert_array_equal(got[:4, 4], [nan, nan, 1, 1])


def test_a_view_survives_a_refit_and_is_withdrawn_with_its_pair(panel):
    """Fitted anew, even the other way round, a view stands; without its pair it is 0, then silence."""
    fits = [
        (BASE, BASE + 2, (pair_of(0, 2),)),
        (BASE + 2, BASE + 4, (pair_of(2, 0),)),
        (BASE + 4, BASE + 6, ()),
        (BASE + 6, BASE + 8, ()),
    ]
    scores = {(0, 2): [-2.5, -1.0], (2, 0): [0, 0, 1.0, 1.2]}

    got = scripted(panel, fits, scores)

    np.testing.assert_array_equal(got[:8, 0], [1, 1, 1, 1, 0, 0, nan, nan])
    np.testing.assert_array_equal(got[:8, 2], [-1, -1, -1, -1, 0, 0, nan, nan])


def test_a_long_halt_ends_a_view(panel):
    """A halted leg carries the view for ``max_halt`` sessions, no event in them; then it ends."""
    close = panel.close.copy()
    close[BASE + 2 : BASE + 9, 2] = nan
    fits = [(BASE, BASE + 12, (pair_of(0, 2),))]
    scores = {(0, 2): [-2.5, -1, 0, 2.5, -1, -1, -1, -1, -1, -1, -2.5, -1]}

    got = scripted(changed(panel, close=close), fits, scores, max_halt=5)

    np.testing.assert_array_equal(got[:12, 0], [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1])


@pytest.mark.compiled_only
@pytest.mark.parametrize("name", ["stat_arb", "mean_reversion"])
def test_a_name_that_stops_trading_loses_its_view(panel, said, name):
    """What will not trade again has no view for longer than ``max_halt`` sessions."""
    rows, columns = np.nonzero(np.abs(np.nan_to_num(said[name])) == 1.0)
    pick = np.flatnonzero((rows > 900) & (rows < 1500))[0]
    row, column = int(rows[pick]), int(columns[pick])
    close = panel.close.copy()
    close[row + 1 :, column] = nan

    got = VOTERS[name](inputs_of(changed(panel, close=close)), LOOSE_SETTINGS[name])[:, column]

    assert got[row] == said[name][row, column]
    assert (got[row + 1 : row + 6] == got[row]).sum() >= 1
    assert not np.nan_to_num(got[row + 6 :]).any()
    assert np.isnan(got[row + 100 :]).all()


@pytest.mark.compiled_only
def test_kalman_scores_and_their_validity(panel):
    """Entries are innovations beyond 2 sigma of a filter fitted on the formation window alone; a
    pair whose sigma is outside the band has no view."""
    settings = LOOSE_SETTINGS["kalman_pairs"].model_copy(update={"max_pairs": 1})
    inputs = inputs_of(panel)
    logs = np.log(panel.close)
    votes = statistical.kalman_pairs(inputs, settings)
    narrow = settings.model_copy(update={"min_sigma": 0.98, "max_sigma": 1.02})
    careful = statistical.kalman_pairs(inputs, narrow)
    entries = refused = 0
    for start, stop, found in statistical.formed(inputs, settings):
        for pair in found:
            first = start - 559
            y, x = logs[first:stop, pair.y], logs[first:stop, pair.x]
            x = x - x[:500].mean()
            noise = kalman.fit_ml(y[:500], x[:500])
            z = kalman.hedge_filter(y, x, noise).z()
            for t in range(560, stop - first):
                sigma = math.sqrt((z[t - 59 : t + 1] ** 2).mean())
                at = first + t
                if abs(z[t]) > 2.001 and 0.501 < sigma < 1.999:
                    assert votes[at, pair.y] == -np.sign(z[t])
                    assert votes[at, pair.x] == np.sign(z[t])
                    entries += 1
                if not 0.979 < sigma < 1.021:
                    assert not np.nan_to_num(careful[at, [pair.y, pair.x]]).any()
                    refused += abs(z[t]) > 2.001
    assert entries > 5
    assert refused > 5


@pytest.mark.compiled_only
def test_kalman_scores_know_no_future(panel):
    """The scores themselves, not only the votes, are the same to the bit whatever follows."""
    settings = LOOSE_SETTINGS["kalman_pairs"]
    y, x = np.log(panel.close[900:1600, 4]), np.log(panel.close[900:1600, 3])
    z, believed = statistical._kalman_z(y, x, settings)

    for cut in (560, 561, 640):
        part, also = statistical._kalman_z(y[:cut], x[:cut], settings)
        np.testing.assert_array_equal(part, z[: cut - 559])
        np.testing.assert_array_equal(also, believed[: cut - 559])


@pytest.mark.compiled_only
def test_kalman_by_em(panel):
    """The other estimator gives views too, nearly the same."""
    settings = LOOSE_SETTINGS["kalman_pairs"].model_copy(update={"max_pairs": 1})
    short = inputs_of(panel.until(760))
    em = settings.model_copy(update={"estimation": "em", "em_iterations": 1})

    by_em = statistical.kalman_pairs(short, em)
    by_ml = statistical.kalman_pairs(short, settings)

    assert np.isfinite(by_ml).any()
    assert np.mean(np.nan_to_num(by_em) == np.nan_to_num(by_ml)) > 0.9


@pytest.mark.compiled_only
def test_sectors_keep_pairs_apart(panel):
    """With ``same_sector`` names of different sectors, as of the row, are never tested together."""
    sectors = np.broadcast_to(np.array([0, 0, -1, 1, 1]), panel.close.shape)
    facts = Facts(
        sectors=sectors, sector_names=("a", "b"), sectors_of_the_day=True, fundamentals={}
    )
    settings = PairsSettings(**LOOSE | {"retest_level": 0.99, "same_sector": True})

    found = [
        {pair.y, pair.x}
        for _, _, pairs in statistical.formed(inputs_of(panel, facts), settings)
        for pair in pairs
    ]

    assert found
    # AAPL is cointegrated with both of them without sectors, and FB is not listed yet.
    assert all(legs == {3, 4} for legs in found)


def test_leaders_are_the_most_traded(panel):
    """Of all names that trade, those of the highest mean traded value; 0 means everyone."""
    bars = Bars(panel)
    row = 1690
    value = (panel.close * panel.volume)[row - 59 : row + 1].mean(axis=0)
    value[np.isnan(value)] = -1.0
    settings = PairsSettings(leaders=2)

    two = statistical._eligible(bars, settings, row, 560)
    everyone = statistical._eligible(bars, settings.model_copy(update={"leaders": 0}), row, 560)

    assert set(two) == set(np.argsort(-value)[:2])
    # FB is listed in 2012, GOOG only since August 2004.
    assert everyone.tolist() == [0, 2, 3, 4]
    cut = Bars(panel.until(row + 1))
    np.testing.assert_array_equal(statistical._eligible(cut, settings, row, 560), two)
    loud = panel.volume.copy()
    loud[row + 1 :, 3] *= 1e6
    later = Bars(changed(panel, volume=loud))
    np.testing.assert_array_equal(statistical._eligible(later, settings, row, 560), two)


@pytest.mark.compiled_only
def test_stat_arb_recomputed(panel, said):
    """The s-score by numpy's own linear algebra: every entry and every silence agrees."""
    close = panel.close
    returns = close[1:] / close[:-1] - 1
    returns = np.vstack([np.full(5, nan), returns])
    votes = said["stat_arb"]
    checked = 0
    for start, stop in list(statistical.periods(panel.sessions, "month", 900))[::5]:
        window = returns[start - 119 : start + 1]
        names = np.flatnonzero(np.isfinite(window).all(axis=0))
        window = window[:, names]
        values, vectors = np.linalg.eigh(np.corrcoef(window.T))
        share = np.cumsum(values[::-1]) / values.sum()
        count = min(int(np.sum(share < 0.5)) + 1, len(names) - 1)
        weights = vectors[:, ::-1][:, :count] / window.std(axis=0, ddof=1)[:, None]
        for t in range(start, stop, 3):
            recent = returns[t - 59 : t + 1][:, names]
            design = np.column_stack([np.ones(60), recent @ weights])
            fit, *_ = np.linalg.lstsq(design, recent, rcond=None)
            x = np.cumsum(recent - design @ fit, axis=0)
            b, a = np.array([np.polyfit(x[:-1, i], x[1:, i], 1) for i in range(len(names))]).T
            noise = x[1:] - a - b * x[:-1]
            good = (b > 0) & (b < math.exp(-1 / 30))
            mean = np.where(good, a / (1 - b), 0.0)
            sigma = np.sqrt((noise**2).sum(axis=0) / 57 / np.where(good, 1 - b**2, 1.0))
            score = -(mean - mean[good].sum() / max(1, good.sum())) / sigma
            for k, name in enumerate(names):
                vote = votes[t, name]
                if not good[k]:
                    assert not np.nan_to_num(vote)
                elif abs(score[k]) > 1.2501:
                    assert vote == -np.sign(score[k])
                    checked += 1
                elif -0.4999 < score[k] < 0.7499:
                    assert not np.nan_to_num(vote)
                    checked += 1
    assert checked > 100


def test_components_are_few_and_have_one_sign(panel):
    """As many as explain the share asked for, scaled to volatility, whatever sign LAPACK chose."""
    close = panel.close[1400:1600][:, [0, 2, 3, 4]]
    window = close[1:] / close[:-1] - 1

    one = statistical._components(window, StatArbSettings(explained=0.3))
    most = statistical._components(window, StatArbSettings(explained=0.99))
    capped = statistical._components(window, StatArbSettings(explained=0.99, max_factors=2))

    assert (one.shape, most.shape, capped.shape) == ((4, 1), (4, 3), (4, 2))
    np.testing.assert_array_equal(capped, most[:, :2])
    scale = window.std(axis=0, ddof=1)
    unit = most * scale[:, None]
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-8)
    assert (unit[np.argmax(np.abs(unit), axis=0), range(3)] > 0).all()


@pytest.mark.compiled_only
def test_mean_reversion_is_refused_where_a_walk_is_possible(panel, said):
    """Under shipped levels recorded prices give almost no view: what is taken, ``adfuller`` rejects."""
    inputs = inputs_of(panel)
    logs = np.log(panel.close)
    shipped = statistical.mean_reversion(inputs, MeanReversionSettings())
    loose = said["mean_reversion"]
    spoken = 0
    for start, stop in statistical.periods(panel.sessions, "month", 249):
        for i in (0, 2, 3, 4):
            window = logs[start - 249 : start + 1, i]
            if not np.isfinite(window).all():
                continue
            p = adfuller(window, maxlag=0, autolag=None, result_object=False)[1]
            if p > 0.025:
                assert not np.nan_to_num(shipped[start:stop, i]).any()
            if p > 0.2:
                assert not np.nan_to_num(loose[start:stop, i]).any()
            else:
                spoken += np.isfinite(loose[start:stop, i]).any()
    assert spoken > 10


@pytest.mark.compiled_only
def test_mean_reversion_score(panel, said):
    """New views stand where the recomputed distance from the mean is beyond ``enter``."""
    logs = np.log(panel.close)
    votes = said["mean_reversion"]
    checked = 0
    for start, stop in statistical.periods(panel.sessions, "month", 249):
        for i in (0, 3, 4):
            if not np.isfinite(votes[start:stop, i]).all():
                continue
            window = logs[start - 249 : start + 1, i]
            slope, intercept = np.polyfit(window[:-1], window[1:], 1)
            left = window[1:] - slope * window[:-1] - intercept
            phi = (249 * slope + 1) / 246
            if not 0 < phi < 1 or adfuller(window, 0, autolag=None, result_object=False)[1] > 0.19:
                continue
            sigma = math.sqrt(left @ left / 247 / (1 - phi**2))
            z = (logs[start:stop, i] - window.mean()) / sigma
            beyond = np.abs(z) > 1.0001
            np.testing.assert_array_equal(votes[start:stop, i][beyond], -np.sign(z[beyond]))
            checked += int(beyond.sum())
    assert checked > 30


def test_rolling_sigma_and_spread():
    """Closed forms on a few numbers, NaN where half a window is missing or nothing moves."""
    z = np.array([nan, 3.0, 4.0, nan, nan, nan])

    got = statistical._rolling_sigma(z, 3)

    np.testing.assert_allclose(got, [nan, nan, math.sqrt(12.5), math.sqrt(12.5), nan, nan])
    flat = statistical._spread_z(np.full(5, 2.0), np.arange(5.0), 0.0, 3)
    assert np.isnan(flat).all()
    up = statistical._spread_z(np.array([0.0, 1.0, 5.0]), np.array([0.0, 0.0, 1.0]), 3.0, 3)
    np.testing.assert_allclose(up, [1.0])


def test_compiled_equals_interpreted(panel):
    """The machine code gives what the Python text says."""
    close = panel.close[1400:1440][:, [0, 2, 3]].copy()
    returns = close[1:] / close[:-1] - 1
    z = returns * 50
    calls = [
        (statistical._logs, (close,)),
        (statistical._stances, (z, np.abs(z) < 4, np.full(3, nan), 1.0, 0.5, 0.5)),
        (statistical._spread_z, (close[:, 0].copy(), close[:, 1].copy(), 0.5, 20)),
        (statistical._rolling_sigma, (z[:, 0].copy(), 5)),
        (statistical._residual_scores, (returns, np.ones((3, 1)), 30, 0.99)),
    ]
    for function, arguments in calls:
        plain = getattr(function, "py_func", function)
        np.testing.assert_allclose(function(*arguments), plain(*arguments), rtol=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PairsSettings(enter=0.5),
        lambda: PairsSettings(formation=400),
        lambda: PairsSettings(min_half_life=50),
        lambda: KalmanPairsSettings(min_sigma=1.1),
        lambda: StatArbSettings(leave_short=1.3),
        lambda: StatArbSettings(residual_window=300),
        lambda: MeanReversionSettings(window=200),
        lambda: MeanReversionSettings(leave=2.0),
        lambda: MeanReversionSettings(max_half_life=2.0),
        lambda: MeanReversionSettings.model_validate({"nothing": 1}),
    ],
)
def test_settings_refuse_nonsense(build):
    """Levels in the wrong order, windows too short for their test, unknown keys."""
    with pytest.raises(ValueError):
        build()


def _krx(folder):
    """Thirty recorded KRX names over 900 sessions, as a panel; halts are no bars."""
    import pandas as pd

    from trading.domain.instrument import Market
    from trading.domain.market import AdjustedPanel

    fields = ["open", "high", "low", "close", "volume"]
    frame = pd.read_parquet(folder / "krx_daily.parquet", columns=["date", "symbol", *fields])
    frame["date"] = pd.to_datetime(frame["date"])
    days = np.sort(frame["date"].unique())[-900:]
    frame = frame[frame["date"] >= days[0]]
    symbols = np.sort(frame["symbol"].unique())[::77]
    frame = frame[frame["symbol"].isin(symbols)]
    grids = {
        field: frame.pivot(index="date", columns="symbol", values=field)
        .reindex(index=days, columns=symbols)
        .to_numpy(np.float64)
        for field in fields
    }
    traded = np.isfinite(grids["open"]) & np.isfinite(grids["close"]) & (grids["volume"] > 0)
    return AdjustedPanel(
        market=Market.KRX,
        symbols=tuple(symbols),
        sessions=days.astype("datetime64[D]"),
        tradable=traded,
        benchmark=np.full(len(days), nan),
        benchmark_name="",
        **{field: np.where(traded, grid, nan) for field, grid in grids.items()},
    )
