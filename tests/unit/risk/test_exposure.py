"""The factor on all weights, and what a portfolio is exposed to, on recorded returns."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trading.risk.exposure import (
    DrawdownStep,
    ExposureSettings,
    exposure,
    factor_exposure,
    factor_returns,
    portfolio_volatility,
    sector_weights,
    variance_contributions,
)
from trading.risk.var import portfolio_outcomes

SETTINGS = ExposureSettings()
WEIGHTS = np.array([0.3, 0.2, 0.0, 0.4, 0.1])


def factor_of(
    previous=1.0, volatility=0.10, drawdown=0.0, var=0.01, *, max_var=0.03, settings=SETTINGS
):
    return exposure(
        previous,
        volatility,
        drawdown,
        var,
        settings.annual_volatility_target,
        max_var,
        settings.ladder,
        settings.band,
        settings.max_rise,
    )


@pytest.fixture(scope="module")
def recorded(embedded_panels):
    """Adjusted closes, their returns and what was tradable, 2007 to 2013."""
    panel = embedded_panels[1]
    close = panel.close
    returns = np.full(close.shape, math.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    return close[-1500:], returns[-1500:], panel.tradable[-1500:]


# --- the factor ---------------------------------------------------------------------------------


def test_each_bound_alone():
    """Volatility, drawdown and VaR each cut at once to their own bound; the least one holds."""
    assert factor_of() == 1.0
    assert factor_of(volatility=0.40) == pytest.approx(0.5)
    assert factor_of(var=0.04) == pytest.approx(0.75)
    assert factor_of(drawdown=0.05) == 0.75
    assert factor_of(drawdown=0.049999) == 1.0
    assert factor_of(drawdown=0.30) == 0.50
    assert factor_of(volatility=0.40, drawdown=0.06, var=0.04) == pytest.approx(0.5)


def test_rises_slowly_and_with_room():
    """After calm returns the factor climbs by a step a session, and only with a band to spare."""
    climb = [0.5]
    for _ in range(12):
        climb.append(factor_of(climb[-1], volatility=0.10))
    np.testing.assert_allclose(np.diff(climb)[:10], SETTINGS.max_rise, rtol=1e-6)
    assert climb[-1] == 1.0

    # Allowed 0.5, and 0.4545 with a band of 10 %: between the two nothing moves.
    assert factor_of(0.48, volatility=0.40) == 0.48
    assert factor_of(0.40, volatility=0.40) == pytest.approx(0.45)
    assert factor_of(0.44, volatility=0.40) == pytest.approx(0.5 / 1.1)


def test_ladder_is_left_lower_than_it_was_entered():
    """At 5 % the step is taken; it is given back under 4.55 %, not at 4.99 %."""
    down = factor_of(1.0, drawdown=0.05)

    assert factor_of(down, drawdown=0.0499) == down
    assert factor_of(down, drawdown=0.0456) == down
    assert factor_of(down, drawdown=0.0454) == pytest.approx(down + SETTINGS.max_rise)


@pytest.mark.parametrize("missing", ["volatility", "drawdown", "var"])
def test_unknown_is_never_enlarged(missing):
    """A measure that is missing forbids a rise; the others still cut."""
    assert factor_of(0.5, **{missing: math.nan}) == 0.5
    assert factor_of(1.0, **{missing: math.nan}) == 1.0
    others = {"volatility": 0.40, "drawdown": 0.12, "var": 0.06} | {missing: math.nan}
    assert factor_of(1.0, **others) == pytest.approx(0.5)


def test_cash_is_unbounded():
    """A portfolio without risk is not divided by."""
    assert factor_of(1.0, volatility=0.0, var=0.0) == 1.0
    assert factor_of(0.98, volatility=0.0, var=0.0) == 1.0


fractions = st.floats(0.0, 1.0)
risks = st.floats(0.0, 5.0) | st.just(math.nan)


@given(fractions, risks, fractions, risks)
def test_laws_of_the_factor(previous, volatility, drawdown, var):
    """Never above 1, never negative, never above any bound, no rise beyond a step, no drift."""
    factor = factor_of(previous, volatility, drawdown, var)

    assert 0.0 <= factor <= 1.0
    assert factor <= previous + SETTINGS.max_rise + 1e-9
    if volatility > SETTINGS.annual_volatility_target:
        assert factor * volatility <= SETTINGS.annual_volatility_target * (1 + 1e-6) + 1e-8
    if var > 0.03:
        assert factor * var <= 0.03 * (1 + 1e-6) + 1e-8
    # A second look at the same numbers cuts nothing further.
    assert factor_of(factor, volatility, drawdown, var) >= factor - 1e-9


@given(fractions, risks, fractions, risks, fractions)
def test_more_risk_never_means_more_exposure(previous, volatility, drawdown, var, deeper):
    """Deeper drawdown or higher volatility never raises the factor."""
    before = factor_of(previous, volatility, drawdown, var)

    assert factor_of(previous, volatility, max(drawdown, deeper), var) <= before
    if not math.isnan(volatility):
        assert factor_of(previous, volatility * 1.5, drawdown, var) <= before


def test_over_recorded_crisis(recorded):
    """Through 2008 the factor follows the volatility of that day, and comes back afterwards."""
    _, returns, _ = recorded
    outcomes = portfolio_outcomes(np.array([0.25, 0.0, 0.25, 0.25, 0.25]), returns)
    factor, path = 1.0, []
    for t in range(250, len(outcomes)):
        sigma = portfolio_volatility(outcomes[t - 250 : t], 20.0, 60) * math.sqrt(252)
        factor = factor_of(factor, volatility=sigma)
        path.append(factor)
        assert factor * sigma <= SETTINGS.annual_volatility_target + 1e-6
    # From half of 2008 on the volatility of these four was above 50 % for weeks.
    assert min(path) < 0.4
    assert path[-1] > 0.9


def test_volatility_is_the_weighted_square(recorded):
    """Weights halve every half-life; infinite gives the plain root mean square (numpy.average)."""
    outcomes = portfolio_outcomes(WEIGHTS, recorded[1])[-250:]
    weights = 0.5 ** (np.arange(250)[::-1] / 20.0)

    expected = math.sqrt(np.average(outcomes**2, weights=weights))
    assert portfolio_volatility(outcomes, 20.0, 60) == pytest.approx(expected, rel=1e-12)
    plain = math.sqrt(np.mean(outcomes**2))
    assert portfolio_volatility(outcomes, math.inf, 60) == pytest.approx(plain, rel=1e-12)
    assert math.isnan(portfolio_volatility(outcomes[:59], 20.0, 60))
    assert math.isnan(portfolio_volatility(outcomes[:0], 20.0, 0))


def test_settings():
    """A ladder that does not descend is refused; none at all is allowed."""
    with pytest.raises(ValidationError, match="작아져야"):
        ExposureSettings(
            drawdown_ladder=(
                DrawdownStep(drawdown=0.05, factor=0.5),
                DrawdownStep(drawdown=0.10, factor=0.5),
            )
        )
    flat = ExposureSettings(drawdown_ladder=())
    assert factor_of(drawdown=0.9, settings=flat) == 1.0


# --- exposures ----------------------------------------------------------------------------------


def test_sectors():
    """Weights of a sector are summed; names of none stand last."""
    totals = sector_weights(WEIGHTS, np.array([0, 1, 1, -1, 0]), 2)

    np.testing.assert_allclose(totals, [0.4, 0.2, 0.4])
    assert sector_weights(np.zeros(0), np.zeros(0, dtype=np.int64), 0).tolist() == [0.0]


def test_factor_earns_what_best_less_worst_earned(recorded):
    """Ranked by yesterday's score, held today; the same as sorting by hand."""
    close, returns, tradable = recorded
    scores = np.full(close.shape, math.nan)
    scores[250:] = close[250:] / close[:-250] - 1.0

    found = factor_returns(returns, scores, tradable, 0.4, 4)

    assert np.isnan(found[:251]).all()
    for t in (251, 700, 1499):
        ranked = np.flatnonzero(tradable[t - 1] & np.isfinite(scores[t - 1]))
        order = ranked[np.argsort(-scores[t - 1, ranked])]
        side = int(0.4 * len(ranked))
        expected = returns[t, order[:side]].mean() - returns[t, order[-side:]].mean()
        assert found[t] == pytest.approx(expected, rel=1e-12)
    cut = factor_returns(returns[:900], scores[:900], tradable[:900], 0.4, 4)
    np.testing.assert_array_equal(found[:900], cut)


def test_factor_needs_names(recorded):
    """Fewer names than asked for, or none on a side, is no return."""
    close, returns, tradable = recorded

    assert np.isnan(factor_returns(returns, close, tradable, 0.4, 6)).all()
    assert np.isnan(factor_returns(returns, close, tradable, 0.1, 2)).all()
    assert factor_returns(returns[:0], close[:0], tradable[:0], 0.4, 2).shape == (0,)


def test_betas_are_least_squares(recorded):
    """Betas and their errors are those of statsmodels' regression; variance adds up to 1."""
    import statsmodels.api as sm

    _, returns, _ = recorded
    outcomes = portfolio_outcomes(WEIGHTS, returns)[1:]
    factors = {"market": returns[1:, 3], "momentum": returns[1:, 0] - returns[1:, 4]}

    found = factor_exposure(outcomes, factors, sessions_per_year=252)

    fitted = sm.OLS(outcomes, sm.add_constant(np.column_stack(list(factors.values())))).fit()
    np.testing.assert_allclose(found.beta, fitted.params[1:], rtol=1e-9)
    np.testing.assert_allclose(found.error, fitted.bse[1:], rtol=1e-9)
    assert found.specific == pytest.approx(1.0 - fitted.rsquared, rel=1e-9)
    assert found.contribution.sum() + found.specific == pytest.approx(1.0, rel=1e-12)
    assert found.annual_volatility == pytest.approx(outcomes.std(ddof=1) * math.sqrt(252))
    assert found.names == ("market", "momentum")


def test_absent_factors(recorded):
    """A factor without returns is NaN and leaves the others as if it were not asked for."""
    _, returns, _ = recorded
    outcomes = portfolio_outcomes(WEIGHTS, returns)[1:]
    market = returns[1:, 3]
    value = np.full(len(outcomes), math.nan)
    value[:30] = 0.01

    both = factor_exposure(outcomes, {"value": value, "market": market}, sessions_per_year=252)
    alone = factor_exposure(outcomes, {"market": market}, sessions_per_year=252)

    assert math.isnan(both.beta[0]) and math.isnan(both.contribution[0])
    assert both.beta[1] == alone.beta[0]
    assert both.sessions == alone.sessions == len(outcomes)
    with pytest.raises(ValueError, match="market"):
        factor_exposure(outcomes, {"market": market[:5]}, sessions_per_year=252)


def test_no_variance_no_exposure():
    """Cash has no beta; a factor given twice shares its beta instead of exploding."""
    market = np.sin(np.arange(100.0)) / 100.0

    still = factor_exposure(np.zeros(100), {"market": market}, sessions_per_year=252)
    twice = factor_exposure(market, {"a": market, "b": market}, sessions_per_year=252)
    none = factor_exposure(market, {}, sessions_per_year=252)

    assert math.isnan(still.beta[0]) and math.isnan(still.specific)
    np.testing.assert_allclose(twice.beta, 0.5, rtol=1e-9)
    assert none.specific == pytest.approx(1.0)
    assert math.isnan(
        factor_exposure(market[:1], {"a": market[:1]}, sessions_per_year=252).annual_volatility
    )


def test_contributions_add_up(recorded):
    """A name's share of variance is its covariance with the portfolio (numpy.cov)."""
    _, returns, _ = recorded

    found = variance_contributions(WEIGHTS, returns)

    cov = np.cov(np.nan_to_num(returns), rowvar=False)
    expected = WEIGHTS * (cov @ WEIGHTS) / (WEIGHTS @ cov @ WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found.sum() == pytest.approx(1.0, rel=1e-12)
    assert not variance_contributions(np.zeros(5), returns).any()
    assert not variance_contributions(WEIGHTS, returns[:0]).any()
