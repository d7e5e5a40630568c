"""Tests of forecasts against papers, statsmodels-free oracles and their own size."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config
from pydantic import ValidationError

from trading.risk.backtests import (
    DemotionSettings,
    Zone,
    _lagged_quantile,
    backtest,
    basel_zone,
    champion_path,
    dynamic_quantile,
    independence,
    judge,
    kupiec,
    null_tables,
    shortfall,
    shortfall_given_hits,
)
from trading.risk.student import student_tail
from trading.risk.var import (
    FILTERED,
    HISTORICAL,
    METHODS,
    NO_CHAMPION,
    NORMAL,
    STUDENT,
    VarSettings,
    forecast_path,
)

CHI2_1, CHI2_2, CHI2_5 = 3.841459, 5.991465, 11.070498  # 95 % quantiles
# Uncompiled, fewer draws must do: only what does not depend on the tables is then sharp.
SETTINGS = DemotionSettings(draws=1_000 if config.DISABLE_JIT else 20_000)


@pytest.fixture(scope="module")
def outcomes(embedded_panels):
    """The recorded returns of equal weights in what was listed of the five embedded shares."""
    close = embedded_panels[1].close
    returns = close[1:] / close[:-1] - 1.0
    known = np.isfinite(returns)
    return np.where(known, returns, 0.0).sum(axis=1) / known.sum(axis=1)


@pytest.fixture(scope="module")
def forecasts(outcomes):
    """What every method forecast for them (a shorter record where nothing is compiled)."""
    n = 320 if config.DISABLE_JIT else len(outcomes)
    settings = VarSettings()
    return forecast_path(outcomes[:n], 250, 0.95, settings.garch_alpha, settings.garch_beta)


def constant_forecasts(n, var, es):
    """The same forecast by every method on every session."""
    return np.broadcast_to([var, es], (n, len(METHODS), 2)).copy()


# --- single tests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "n", "below", "above"),
    [
        (0.01, 255, 0, 7), (0.01, 510, 1, 11), (0.01, 1000, 4, 17),
        (0.05, 255, 6, 21), (0.05, 510, 16, 36), (0.05, 1000, 37, 65),
        (0.025, 255, 2, 12), (0.025, 510, 6, 21), (0.025, 1000, 15, 36),
    ],
)  # fmt: skip
def test_kupiec_regions(share, n, below, above):
    """REFERENCES 2: the nine non-rejection regions of Kupiec's table at 5 %."""
    kept = [x for x in range(n + 1) if kupiec(x, n, share) < CHI2_1]

    # The table prints "N < 7" without a lower end; the ratio of no hit in 255, 5.13, has one.
    assert kept == list(range(below + 1, above))


def test_kupiec_digits():
    """REFERENCES 2: the ratio of 5 and of 10 hits in 250 sessions at 1 %."""
    assert kupiec(5, 250, 0.01) == pytest.approx(1.956810, abs=5e-7)
    assert kupiec(10, 250, 0.01) == pytest.approx(12.955491, abs=5e-7)
    assert kupiec(0, 250, 0.01) == pytest.approx(-2 * 250 * math.log(0.99), rel=1e-12)
    assert kupiec(250, 250, 0.01) == pytest.approx(-2 * 250 * math.log(0.01), rel=1e-12)


@pytest.mark.parametrize(
    ("hits", "zone"),
    [(0, "green"), (4, "green"), (5, "yellow"), (9, "yellow"), (10, "red"), (250, "red")],
)
def test_basel(hits, zone):
    """REFERENCES 3: green to 4 hits in 250 sessions, yellow to 9, red from 10."""
    assert basel_zone(hits) is Zone(zone)


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_independence_is_the_ratio_of_transitions(hits):
    """The ratio from the places of hits is the one of the four transition counts (entropy form)."""
    pairs = list(pairwise(hits))
    count = {pair: pairs.count(pair) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))}

    found = independence(np.array(hits))

    # G statistic of the 2 by 2 table: 2 sum O ln(O / E).
    expected = 0.0
    for (a, b), seen in count.items():
        if seen:
            row = count[a, 0] + count[a, 1]
            column = count[0, b] + count[1, b]
            expected += 2.0 * seen * math.log(seen * len(pairs) / (row * column))
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=12, max_size=60), st.integers(1, 4))
def test_dynamic_quantile_is_a_projection(hits, lags):
    """The statistic is the squared length of the projection on the regressors (numpy.lstsq)."""
    y = np.array(hits, dtype=np.float64)
    n = len(y)
    var = 0.02 + 0.001 * np.sin(np.arange(n))
    design = np.column_stack(
        [np.ones(n - lags), *(y[lags - k : n - k] for k in range(1, lags + 1)), var[lags:]]
    )
    error = y[lags:] - 0.05

    found = dynamic_quantile(y.astype(bool), var, 0.05, lags=lags)
    on_hits = _lagged_quantile(np.flatnonzero(y), 0, int(y.sum()), 0, n, 0.05, lags)

    for regressors, statistic in ((design, found), (design[:, :-1], on_hits)):
        fitted = regressors @ np.linalg.lstsq(regressors, error, rcond=1e-10)[0]
        assert statistic == pytest.approx(fitted @ fitted / (0.05 * 0.95), rel=1e-6, abs=1e-7)


def test_constant_forecast_is_no_regressor():
    """A VaR that never moves adds nothing to the constant."""
    hits = np.zeros(100, dtype=bool)
    hits[[10, 11, 50]] = True

    with_var = dynamic_quantile(hits, np.full(100, 0.02), 0.05)

    where = np.flatnonzero(hits)
    assert with_var == pytest.approx(_lagged_quantile(where, 0, 3, 0, 100, 0.05, 4), rel=1e-12)


def test_shortfall_by_hand():
    """Two hits of four sessions, once the ES and twice the ES."""
    outcomes = np.array([-0.03, 0.01, -0.06, -0.01])
    var, es = np.full(4, 0.02), np.full(4, 0.03)

    assert shortfall_given_hits(outcomes, var, es) == pytest.approx(1 - 3 / 2)
    assert shortfall(outcomes, var, es, 0.25) == pytest.approx(1 - 3 / (4 * 0.25))
    assert math.isnan(shortfall_given_hits(np.zeros(4), var, es))


# --- null distributions -------------------------------------------------------------------------


def test_exact_share_of_hits():
    """The p-value of a number of hits sums scipy's binomial over all that are as unlikely."""
    from scipy import stats

    table = null_tables(250, 0.95, SETTINGS).coverage

    probability = stats.binom.pmf(np.arange(251), 250, 0.05)
    ratio = np.array([kupiec(x, 250, 0.05) for x in range(251)])
    for hits in (0, 3, 12, 13, 20, 24, 60):
        expected = probability[ratio >= ratio[hits] - 1e-9].sum()
        assert table[hits] == pytest.approx(expected, abs=1e-12)


@pytest.mark.compiled_only
def test_sizes_of_nominal_tests():
    """REFERENCES 3: at 1,000 sessions independence rejects about 8 %, joint 5.5 %, DQ 5 %."""
    tables = null_tables(1000, 0.95, SETTINGS)

    assert np.mean(tables.independence > CHI2_1) == pytest.approx(0.08, abs=0.01)
    assert np.mean(tables.conditional_coverage > CHI2_2) == pytest.approx(0.055, abs=0.006)
    assert np.mean(tables.dynamic_quantile > CHI2_5) == pytest.approx(0.05, abs=0.006)


@pytest.mark.compiled_only
def test_acerbi_szekely_critical_value():
    """REFERENCES 3: the 5 % quantile of Z2 over 250 sessions at 2.5 % is about -0.70."""
    table = null_tables(250, 0.975, DemotionSettings(tail_nu=100.0)).shortfall

    assert -np.quantile(table, 0.95) == pytest.approx(-0.70, abs=0.01)
    # Heavier tails reach further: -0.82 for Student-3 in table 3 of the paper.
    table = null_tables(250, 0.975, DemotionSettings(tail_nu=3.0)).shortfall
    assert -np.quantile(table, 0.95) == pytest.approx(-0.82, abs=0.02)


@pytest.mark.compiled_only
@pytest.mark.parametrize("n", [250, 1000])
def test_simulated_p_values_are_honest(n):
    """On 1,500 fresh right forecasts each p-value is below 5 % in at most 5 % of them."""
    rng = np.random.default_rng(23)
    table = null_tables(n, 0.95, SETTINGS)
    found = []
    for _ in range(1500):
        hits = rng.random(n) < 0.05
        where = np.flatnonzero(hits)
        found.append(
            (
                table.coverage[len(where)],
                (table.independence >= independence(hits) - 1e-9).mean(),
                (
                    table.dynamic_quantile
                    >= _lagged_quantile(where, 0, len(where), 0, n, 0.05, 4) - 1e-9
                ).mean(),
            )
        )

    assert (np.mean(np.array(found) <= 0.05, axis=0) < 0.05 + 0.015).all()
    # Not so low either that nothing is ever found.
    assert (np.mean(np.array(found) <= 0.05, axis=0) > 0.01).all()


# --- a window -----------------------------------------------------------------------------------


@pytest.mark.compiled_only
def test_backtest_of_recorded_returns(outcomes, forecasts):
    """Counts are those of the record, and every p-value is one."""
    var, es = forecasts[-1000:, FILTERED, 0], forecasts[-1000:, FILTERED, 1]

    found = backtest(outcomes[-1000:], var, es, level=0.95, settings=SETTINGS)

    assert found.hits == int((-outcomes[-1000:] > var).sum())
    assert found.expected == pytest.approx(50.0)
    statistics = (
        found.coverage, found.independence, found.conditional_coverage, found.dynamic_quantile,
        found.shortfall_given_hits, found.shortfall,
    )  # fmt: skip
    assert all(0.0 < one.simulated <= 1.0 for one in statistics)
    assert found.conditional_coverage.value == pytest.approx(
        found.coverage.value + found.independence.value
    )
    assert found.zone is Zone.GREEN


def test_backtest_without_hits():
    """No hit at all is a finding about the share, not an error."""
    found = backtest(
        np.full(300, 0.001), np.full(300, 0.02), np.full(300, 0.03), level=0.95, settings=SETTINGS
    )

    assert found.hits == 0
    assert found.coverage.simulated < 1e-5
    assert math.isnan(found.shortfall_given_hits.value)
    assert found.shortfall.value == 1.0


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [249, 250, 256, 300, 319])
def test_champion_knows_no_future(outcomes, forecasts, cut):
    """The champion after a session is the same whatever follows."""
    n = min(len(forecasts), 320)
    whole = judge(outcomes[:n], forecasts[:n], level=0.95, settings=SETTINGS)

    again = judge(outcomes[:cut], forecasts[:cut], level=0.95, settings=SETTINGS)

    np.testing.assert_array_equal(whole.champion[:cut], again.champion)
    np.testing.assert_array_equal(whole.p_values[:cut], again.p_values)


@pytest.mark.compiled_only
def test_path_equals_each_window_judged_alone(outcomes, forecasts):
    """The running path gives on any session what the tests give on its two windows alone."""
    whole = judge(outcomes, forecasts, level=0.95, settings=SETTINGS)

    for t in (1500, 2222, len(outcomes) - 1):
        for m in range(len(METHODS)):
            smallest = 1.0
            for window in SETTINGS.windows:
                rows = slice(t + 1 - window, t + 1)
                var, es = forecasts[rows, m].T
                table = null_tables(window, 0.95, SETTINGS)
                hits = -outcomes[rows] > var
                where = np.flatnonzero(hits)
                lagged = _lagged_quantile(where, 0, len(where), 0, window, 0.05, 4)
                beyond = -shortfall(outcomes[rows], var, es, 0.05)
                for sorted_, value in (
                    (table.independence, independence(hits)),
                    (table.dynamic_quantile, lagged),
                    (table.shortfall, beyond),
                ):
                    above = np.count_nonzero(sorted_ >= value - 1e-9)
                    smallest = min(smallest, (above + 1) / (len(sorted_) + 1))
                smallest = min(smallest, table.coverage[len(where)])
            assert whole.p_values[t, m] == pytest.approx(min(8 * smallest, 1.0), rel=1e-9)


@pytest.mark.compiled_only
def test_recorded_crisis_demotes_what_forgets(outcomes, forecasts):
    """Over 2000-2013 only the method that follows volatility is never demoted."""
    found = judge(outcomes, forecasts, level=0.95, settings=SETTINGS)

    share = found.demoted.mean(axis=0)
    assert share[FILTERED] == 0.0
    assert (share[[HISTORICAL, NORMAL, STUDENT]] > 0.2).all()
    assert (found.champion == FILTERED).all()


def test_demotion_and_return():
    """Five failed sessions on end demote; twenty passed ones on end bring back."""
    settings = SETTINGS.model_copy(update={"windows": (100,)})
    n = 420
    # Five hits a hundred sessions, spread out, but 20 in a row from session 150 on.
    outcomes = np.full(n, 0.001)
    outcomes[10::20] = -0.025
    outcomes[150:170] = -0.025
    forecasts = constant_forecasts(n, 0.02, 0.025)

    found = judge(outcomes, forecasts, level=0.95, settings=settings)

    failed = found.p_values[:, 0] <= settings.family_wise
    assert np.isnan(found.p_values[:99]).all() and not found.demoted[:99].any()
    first = int(np.argmax(failed))
    assert failed[first : first + 5].all() and not failed[99:first].any()
    assert np.argmax(found.demoted[:, 0]) == first + 4
    last = int(np.flatnonzero(failed)[-1])
    np.testing.assert_array_equal(found.demoted[first + 4 : last + 20, 0], True)
    np.testing.assert_array_equal(found.demoted[last + 20 :, 0], False)
    # All methods forecast the same here, so that nobody is left to be in force.
    expected = np.where(found.demoted[:, 0], NO_CHAMPION, METHODS.index(settings.preferred[0]))
    np.testing.assert_array_equal(found.champion, expected)


def test_the_next_in_order_steps_in():
    """Demoting the preferred method puts the next one in force."""
    settings = SETTINGS.model_copy(update={"windows": (250,)})
    outcomes = np.full(400, 0.001)
    outcomes[10::20] = -0.025
    forecasts = constant_forecasts(400, 0.02, 0.025)
    forecasts[:, FILTERED] = 0.0005, 0.0007
    forecasts[:, STUDENT] = 0.03, 0.04

    path = champion_path(outcomes, forecasts, level=0.95, settings=settings)

    # Student forecasts too much: no hit in 250 sessions at 5 % is not chance either.
    assert path[0] == FILTERED
    assert path[-1] == HISTORICAL


def test_missing_forecasts_start_windows_anew():
    """A session without a forecast is in no window: the next evaluation needs a full one."""
    settings = SETTINGS.model_copy(update={"windows": (100,)})
    forecasts = constant_forecasts(300, 0.02, 0.025)
    forecasts[120] = math.nan

    found = judge(np.full(300, 0.001), forecasts, level=0.95, settings=settings)

    assert np.isfinite(found.p_values[99:120]).all()
    assert np.isnan(found.p_values[120:220]).all()
    assert np.isfinite(found.p_values[220:]).all()


def test_a_forecast_of_no_loss_fails():
    """Whoever forecasts no loss at all is wrong with the first one, without a division by 0."""
    settings = SETTINGS.model_copy(update={"windows": (100,)})
    outcomes = np.zeros(200)
    outcomes[120] = -0.01

    found = judge(outcomes, constant_forecasts(200, 0.0, 0.0), level=0.95, settings=settings)

    assert found.p_values[120, 0] <= settings.family_wise


def test_too_little_record_judges_nothing():
    """Without a full window the preferred method is in force."""
    empty = judge(np.zeros(0), np.zeros((0, 4, 2)), level=0.95, settings=SETTINGS)
    short = judge(np.zeros(50), constant_forecasts(50, 0.1, 0.2), level=0.95, settings=SETTINGS)

    assert empty.champion.shape == (0,)
    np.testing.assert_array_equal(short.champion, METHODS.index(SETTINGS.preferred[0]))


@pytest.mark.compiled_only
def test_size_and_power_of_the_rule():
    """Right forecasts are rarely demoted; losses half as large again mostly within a year."""
    var, es = student_tail(4.0, 0.95)
    rng = np.random.default_rng(31)
    lost_right, lost_wrong, days = [], [], []
    for _ in range(150):
        outcomes = rng.standard_t(4.0, 1250)
        forecasts = constant_forecasts(1250, var, es)
        right = judge(outcomes, forecasts, level=0.95, settings=SETTINGS).demoted[:, 0]
        outcomes[1000:] *= 1.5
        wrong = judge(outcomes, forecasts, level=0.95, settings=SETTINGS).demoted[:, 0]
        lost_right.append(right.any())
        days.append(right[249:].mean())
        lost_wrong.append(wrong[1000:].any())

    # docs/risk.md: 12 % in four years, 1 % of sessions, 85 % within 250 sessions.
    assert np.mean(lost_right) < 0.22
    assert np.mean(days) < 0.03
    assert np.mean(lost_wrong) > 0.72


def test_settings():
    """An empty or repeated order of preference is refused."""
    with pytest.raises(ValidationError, match="하나 이상"):
        DemotionSettings(preferred=())
    with pytest.raises(ValidationError, match="겹치지"):
        DemotionSettings(preferred=("normal", "normal"))
