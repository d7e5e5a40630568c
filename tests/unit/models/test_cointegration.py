"""Unit roots and cointegration against statsmodels, published numbers and their own size."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.adfvalues import mackinnoncrit, mackinnonp
from statsmodels.tsa.stattools import adfuller, coint

from trading.errors import MissingDataError
from trading.models import cointegration

BARS = 320


@pytest.fixture(scope="module")
def logs(embedded_panels):
    """Log closes of the four recorded stocks that trade in 2006 and 2007."""
    panel = embedded_panels[1]
    rows = slice(1500, 1500 + BARS)
    close = panel.close[rows][:, np.isfinite(panel.close[rows]).all(axis=0)]
    assert close.shape == (BARS, 4)
    return np.ascontiguousarray(np.log(close))


def test_critical_values():
    """MacKinnon (2010): asymptotic values as printed, finite ones as statsmodels."""
    assert cointegration.critical_values(2) == (-3.89644, -3.33613, -3.04445)
    assert cointegration.critical_values(1) == (-3.43035, -2.86154, -2.56677)
    for n in (50, 500):
        for variables, regression in ((1, "c"), (2, "c"), (1, "n")):
            got = cointegration.critical_values(variables, n, constant=regression == "c")
            np.testing.assert_allclose(got, mackinnoncrit(variables, regression, n), rtol=1e-14)


def test_p_values():
    """As statsmodels over the whole range, both tails and NaN included."""
    tau = np.array([-25.0, -18.0, -6.0, -3.5, -2.62, -1.61, -1.0, 0.0, 0.9, 2.0, 3.0, np.inf])
    for variables, regression in ((1, "c"), (2, "c"), (1, "n")):
        got = cointegration.p_value(tau, variables, constant=regression == "c")
        want = [mackinnonp(t, regression, variables) for t in tau[:-1]]
        np.testing.assert_allclose(got[:-1], want, rtol=1e-12, atol=1e-300)
        assert got[-1] == 1.0
    assert np.isnan(cointegration.p_value(np.array([np.nan]), 2)).all()
    assert cointegration.p_value(np.array([-np.inf]), 2)[0] == 0.0


def test_sunspots():
    """Yearly sunspots, AIC up to Schwert's bound: -2.83778, p 0.0531 (statsmodels' example)."""
    import statsmodels.api as sm

    spots = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()

    got = cointegration.adf(spots)

    assert round(got.statistic, 5) == -2.83778
    assert round(got.p_value, 4) == 0.0531
    assert (got.lags, got.observations) == (8, 300)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("max_lag", "autolag"), [(0, False), (3, False), (10, True)])
def test_adf_equals_statsmodels(logs, max_lag, autolag, constant):
    """Statistic, p-value, lags and sample of each recorded stock, to 1e-10."""
    for series in logs.T:
        got = cointegration.adf(series, max_lag=max_lag, autolag=autolag, constant=constant)
        want = adfuller(
            series,
            maxlag=max_lag,
            autolag="aic" if autolag else None,
            regression="c" if constant else "n",
            result_object=False,
        )

        assert got.statistic == pytest.approx(want[0], rel=1e-10)
        assert got.p_value == pytest.approx(want[1], rel=1e-9)
        assert (got.lags, got.observations) == (want[2], want[3])


@pytest.mark.parametrize(("max_lag", "autolag"), [(0, False), (3, False), (10, True)])
def test_engle_granger_equals_statsmodels(logs, max_lag, autolag):
    """Every ordered pair, alone and in a scan: the statistic of ``coint`` to 1e-10."""
    statistic, lags = cointegration.scan(logs, max_lag=max_lag, autolag=autolag)

    for i in range(4):
        for j in set(range(4)) - {i}:
            want = coint(
                logs[:, i], logs[:, j], "c", maxlag=max_lag, autolag="aic" if autolag else None
            )
            alone = cointegration.engle_granger(
                logs[:, i], logs[:, j], max_lag=max_lag, autolag=autolag
            )
            assert statistic[i, j] == pytest.approx(want[0], rel=1e-10)
            assert alone.statistic == pytest.approx(want[0], rel=1e-10)
            assert alone.p_value == pytest.approx(want[1], rel=1e-9)
            assert alone.lags == lags[i, j]
    assert np.isnan(np.diag(statistic)).all()


def test_fit_of_a_pair(logs):
    """Hedge ratio and half-life are those of plain regressions (numpy)."""
    y, x = logs[:, 3], logs[:, 2]
    beta, alpha = np.polyfit(x, y, 1)
    residual = y - alpha - beta * x
    phi = residual[1:] @ residual[:-1] / (residual[:-1] @ residual[:-1])

    got = cointegration.engle_granger(y, x)

    assert (got.alpha, got.beta) == (pytest.approx(alpha), pytest.approx(beta))
    assert got.half_life == pytest.approx(-math.log(2) / math.log(phi))


@pytest.mark.compiled_only
def test_recorded_krx_names(shared_data):
    """Sixty recorded KRX names: all pairs as ``coint``, without lags and by AIC, to 1e-10."""
    import pandas as pd

    frame = pd.read_parquet(shared_data / "krx_daily.parquet", columns=["date", "symbol", "close"])
    frame["date"] = pd.to_datetime(frame["date"])
    wide = frame[frame["date"] >= "2022-01-01"].pivot(
        index="date", columns="symbol", values="close"
    )
    whole = wide.dropna(axis=1).iloc[:500, 5:2000:33]
    levels = np.ascontiguousarray(np.log(whole.to_numpy(np.float64)))
    picks = np.random.default_rng(0).integers(0, levels.shape[1], (40, 2))

    for max_lag, autolag in ((0, None), (10, "aic")):
        statistic, _ = cointegration.scan(levels, max_lag=max_lag, autolag=autolag is not None)
        for i, j in picks[picks[:, 0] != picks[:, 1]]:
            want = coint(levels[:, i], levels[:, j], "c", maxlag=max_lag, autolag=autolag)[0]
            assert statistic[i, j] == pytest.approx(want, rel=1e-10)


@pytest.mark.compiled_only
def test_scan_is_the_same_alone_and_in_company(logs):
    """To the bit: other columns, blocks and threads change nothing about a pair."""
    rng = np.random.default_rng(5)
    shifts = rng.integers(1, BARS, 40)
    # The recorded stocks against themselves at other times: only numbers to fill blocks with.
    many = np.column_stack([logs, *(np.roll(logs[:, k % 4], s) for k, s in enumerate(shifts))])
    few, few_lags = cointegration.scan(logs, max_lag=4)

    one, lags = cointegration.scan(many, max_lag=4)
    two, _ = cointegration.scan(many, max_lag=4, threads=2)

    np.testing.assert_array_equal(one[:4, :4], few)
    np.testing.assert_array_equal(lags[:4, :4], few_lags)
    np.testing.assert_array_equal(one, two)


def test_scan_over_several_blocks(logs, monkeypatch):
    """Blocks are only a way to work: another size, the same bits."""
    whole, _ = cointegration.scan(logs, max_lag=2)
    monkeypatch.setattr(cointegration, "_BLOCK", 2)

    np.testing.assert_array_equal(cointegration.scan(logs, max_lag=2)[0], whole)


def test_series_that_cannot_be_tested(logs):
    """A gap or a price that never moves takes no part; a copy is -inf, not a discovery."""
    gap = logs[:, 0].copy()
    gap[17] = np.nan
    levels = np.column_stack([logs[:, :2], gap, np.full(BARS, 4.6), 2.0 * logs[:, 1] + 1.0])

    statistic, lags = cointegration.scan(levels, max_lag=3)

    assert np.isnan(statistic[2:4]).all()
    assert np.isnan(statistic[:, 2:4]).all()
    assert statistic[1, 4] == statistic[4, 1] == -np.inf
    assert np.isfinite(statistic[0, [1, 4]]).all()
    assert (lags[2:4] == 0).all()
    assert cointegration.engle_granger(logs[:, 1], levels[:, 4]).statistic == -np.inf
    flat = cointegration.engle_granger(logs[:, 1], levels[:, 3])
    assert np.isnan([flat.statistic, flat.beta, flat.p_value, flat.half_life]).all()
    assert np.isnan(cointegration.adf(levels[:, 3], max_lag=2).statistic)
    assert np.isnan(cointegration.scan(logs[:, :1])[0]).all()
    assert cointegration.scan(logs[:, :0])[0].shape == (0, 0)


def test_too_few_bars(logs):
    """A window too short for its lags is told, not guessed."""
    with pytest.raises(MissingDataError, match="받은 것 20개"):
        cointegration.scan(logs[:20], max_lag=10)
    with pytest.raises(MissingDataError, match="받은 것 20개"):
        cointegration.adf(logs[:20, 0], max_lag=10)
    with pytest.raises(MissingDataError, match="받은 것 20개"):
        cointegration.engle_granger(logs[:20, 0], logs[:20, 1], max_lag=10)


@pytest.mark.compiled_only
def test_size_with_the_right_table():
    """Independent walks are rejected 5 % of the time; by the table of one series three times that."""
    walks = np.cumsum(np.random.default_rng(11).standard_normal((200, 60)), axis=0)
    # Pairs that share no walk: independent tests.
    statistic = np.array(
        [
            cointegration.engle_granger(walks[:, k], walks[:, k + 1]).statistic
            for k in range(0, 60, 2)
        ]
    )
    for seed in range(40):
        walks = np.cumsum(np.random.default_rng(seed).standard_normal((200, 20)), axis=0)
        fresh = cointegration.scan(walks)[0][np.arange(0, 20, 2), np.arange(1, 20, 2)]
        statistic = np.append(statistic, fresh)

    right = (statistic < cointegration.critical_values(2, 199)[1]).mean()
    wrong = (statistic < cointegration.critical_values(1, 199)[1]).mean()

    # 430 tests: the standard error of 5 % is 1.1 %, that of 15 % is 1.7 %.
    assert 0.02 < right < 0.085
    assert 0.10 < wrong < 0.21


def test_benjamini_yekutieli():
    """As statsmodels' ``fdr_by``; NaN is no test, and nothing at all is nothing rejected."""
    rng = np.random.default_rng(3)
    p = rng.random(60) ** 3
    for level in (0.01, 0.05, 0.5):
        got = cointegration.benjamini_yekutieli(p, level)
        np.testing.assert_array_equal(got, multipletests(p, level, method="fdr_by")[0])

    holes = np.concatenate([[np.nan], p, [np.nan]])
    assert cointegration.benjamini_yekutieli(holes, 0.05)[1:-1].tolist() == (
        cointegration.benjamini_yekutieli(p, 0.05).tolist()
    )
    assert not cointegration.benjamini_yekutieli(np.array([np.nan]), 0.05).any()
    assert not cointegration.benjamini_yekutieli(np.array([0.9, 0.8]), 0.05).any()


def test_half_life():
    """Closed form: at 1/2 a deviation halves in one bar, at 2^(-1/20) in twenty."""
    phi = np.array([0.5, 2 ** (-1 / 20), 1.0, 1.1, 0.0, -0.3, np.nan])

    got = cointegration.half_life(phi)

    np.testing.assert_allclose(got, [1.0, 20.0, *[np.nan] * 5])


def test_reversion_of_recorded_prices(logs):
    """Regression as numpy, test as ``adfuller``, correction as Kendall's closed form."""
    got = cointegration.reversion(logs)

    for j, series in enumerate(logs.T):
        n = len(series) - 1
        x = np.column_stack([np.ones(n), series[:-1]])
        (_, ols), [left], *_ = np.linalg.lstsq(x, series[1:], rcond=None)
        phi = (n * ols + 1) / (n - 3)
        want = adfuller(series, maxlag=0, autolag=None, result_object=False)
        assert got.phi[j] == pytest.approx(phi, rel=1e-12)
        assert got.p_value[j] == pytest.approx(want[1], rel=1e-9)
        assert got.mean[j] == pytest.approx(series.mean())
        if phi < 1:
            sigma = math.sqrt(left / (n - 2) / (1 - phi**2))
            assert got.sigma[j] == pytest.approx(sigma, rel=1e-9)
            assert got.half_life[j] == pytest.approx(-math.log(2) / math.log(phi), rel=1e-9)
        else:
            assert np.isnan([got.sigma[j], got.half_life[j]]).all()


@pytest.mark.compiled_only
def test_bias_and_size_of_reversion():
    """Least squares is biased by (1 + 3 phi)/n, the correction is not; a walk is refused."""
    rng = np.random.default_rng(9)
    n, runs, phi = 250, 400, 0.9
    noise = rng.standard_normal((n + 100, runs))
    series = np.zeros_like(noise)
    for t in range(1, n + 100):
        series[t] = phi * series[t - 1] + noise[t]
    walks = np.cumsum(rng.standard_normal((n, runs)), axis=0)

    got = cointegration.reversion(series[100:])
    walk = cointegration.reversion(walks)

    ols = (got.phi * (n - 4) - 1) / (n - 1)
    error = ols.std() / math.sqrt(runs)
    assert ols.mean() == pytest.approx(phi - (1 + 3 * phi) / n, abs=3 * error)
    assert got.phi.mean() == pytest.approx(phi, abs=3 * error)
    # A two-sided interval of 95 % leaves a walk below 1 in 2.5 % of samples (400: +- 0.8 %).
    assert (walk.p_value <= 0.025).mean() < 0.05
    assert (got.p_value <= 0.025).mean() > 0.9


def test_reversion_of_nothing():
    """Too short, flat or with a gap: NaN, never a number."""
    flat = np.full((30, 1), 2.0)
    gap = np.linspace(0, 1, 30)[:, None].copy()
    gap[3] = np.nan
    for levels in (flat, gap, flat[:4]):
        got = cointegration.reversion(levels)
        for values in (got.phi, got.half_life, got.mean, got.sigma, got.p_value):
            assert np.isnan(values).all()


def test_compiled_equals_interpreted(logs):
    """The machine code gives what the Python text says, to the bit."""
    y, x = logs[:60, 0].copy(), logs[:60, 3].copy()
    calls = [
        (cointegration._pair, (y, x, 2, True)),
        (cointegration._unit_root, (y, 2, True, True)),
        (cointegration._autoregressions, (logs[:40].copy(),)),
        (cointegration._own_products, (logs[:40].copy(), 2)),
    ]
    for function, arguments in calls:
        plain = getattr(function, "py_func", function)
        np.testing.assert_array_equal(np.array(function(*arguments)), np.array(plain(*arguments)))
    out, again = np.empty((4, 4)), np.empty((4, 4))
    cointegration._products(logs[:70].copy(), logs[:70].copy(), 0, out)
    plain = getattr(cointegration._products, "py_func", cointegration._products)
    plain(logs[:70].copy(), logs[:70].copy(), 0, again)
    np.testing.assert_array_equal(out, again)
