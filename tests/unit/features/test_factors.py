"""Factor scores compare what was public, with what traded, on the day itself."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from trading.domain.market import Facts
from trading.features import factors, statistics
from trading.features.factors import FactorSettings, Measure
from trading.features.indicators import Bars

AAPL, FB, GOOG, IBM, MSFT = range(5)
ALONE = FactorSettings(
    value=(Measure.BOOK_YIELD,),
    quality=(Measure.LOW_DEBT,),
    growth=(Measure.SALES_GROWTH,),
    winsor_quantile=0.0,
    min_names=3,
)


@pytest.fixture
def panel(embedded_panels):
    """Recorded bars of 400 sessions, on which AAPL, IBM and MSFT trade."""
    return embedded_panels[1].until(400)


def facts(panel, sectors=None, **metrics) -> Facts:
    """What a formula needs: one figure a name, or a grid, from the first row on."""
    shape = panel.close.shape
    known = replace(
        Facts.none(*shape),
        fundamentals={
            name: np.broadcast_to(np.asarray(values, dtype=float), shape).copy()
            for name, values in metrics.items()
        },
    )
    if sectors is not None:
        names = tuple(map(str, sorted(set(sectors) - {-1})))
        known = replace(
            known,
            sectors=np.broadcast_to(np.array(sectors, dtype=np.int64), shape),
            sector_names=names,
            sectors_of_the_day=False,
        )
    return known


def day(panel, row: int) -> float:
    return float(panel.sessions[row].astype("datetime64[D]").astype(int))


def test_momentum_is_twelve_months_without_the_last(panel):
    """The momentum score is scipy's z-score of 12-1 momentum among the names that trade."""
    got = factors.scores(Bars(panel), ALONE).momentum

    names = [AAPL, IBM, MSFT]
    raw = statistics.momentum(Bars(panel), 252, 21)[300, names]
    np.testing.assert_allclose(got[300, names], stats.zscore(raw), atol=1e-9)
    assert np.isnan(got[300, [FB, GOOG]]).all()
    assert np.isnan(got[:252]).all()


def test_a_yield_follows_the_price(panel):
    """A book yield of 0.5 at one price is 0.5 · then / now at another."""
    known = facts(panel, book_yield=[0.5] * 5, ratios_as_of=day(panel, 100))
    known.fundamentals["book_yield"][:100] = np.nan
    known.fundamentals["ratios_as_of"][:100] = np.nan

    got = factors.measure(Bars(panel, known), Measure.BOOK_YIELD, ALONE)

    close = panel.close[:, IBM]
    np.testing.assert_allclose(got[100:, IBM], 0.5 * close[100] / close[100:])
    assert np.isnan(got[:100]).all()


def test_a_yield_of_before_the_panel_stays(panel):
    """Without the price of its day a yield is what was published."""
    known = facts(panel, earnings_yield=[0.1] * 5, ratios_as_of=day(panel, 0) - 30)

    got = factors.measure(Bars(panel, known), Measure.EARNINGS_YIELD, ALONE)

    np.testing.assert_array_equal(got[:300, IBM], 0.1)


def test_a_day_that_is_yet_to_come_tells_no_price(panel):
    """Facts that name a later day than their row get the price of the row, not of that day."""
    known = facts(panel, book_yield=[0.5] * 5, ratios_as_of=day(panel, 300))

    got = factors.measure(Bars(panel, known), Measure.BOOK_YIELD, ALONE)

    np.testing.assert_allclose(got[:300, IBM], 0.5)


def test_old_figures_are_gone(panel):
    """A figure counts for ``max_age_days`` and not a day longer."""
    settings = ALONE.model_copy(update={"max_age_days": 100})
    known = facts(
        panel, sales_growth=[0.1] * 5, book_yield=[0.5] * 5, earnings_yield=[0.1] * 5,
        statements_as_of=day(panel, 0), ratios_as_of=day(panel, 0),
    )  # fmt: skip
    days = (panel.sessions - panel.sessions[0]).astype(int)
    bars = Bars(panel, known)

    for which in (Measure.SALES_GROWTH, Measure.BOOK_YIELD, Measure.RETURN_ON_EQUITY):
        got = factors.measure(bars, which, settings)
        assert np.isfinite(got[days <= 100, IBM]).all()
        assert np.isnan(got[days > 100, IBM]).all()


def test_statement_measures(panel):
    """Each is its figure per asset, more being better; ROE is earnings over book."""
    known = facts(
        panel, total_assets=[200.0] * 5, total_liabilities=[50.0] * 5, gross_profit=[60.0] * 5,
        operating_cash_flow=[20.0] * 5, ebitda_growth=[0.3] * 5, book_yield=[0.8] * 5,
        earnings_yield=[0.08] * 5, dividend_yield=[0.02] * 5,
    )  # fmt: skip
    bars = Bars(panel, known)

    def of(which: Measure) -> float:
        return float(factors.measure(bars, which, ALONE)[10, IBM])

    assert of(Measure.LOW_DEBT) == -0.25
    assert of(Measure.GROSS_PROFITABILITY) == pytest.approx(0.3)
    assert of(Measure.CASH_RETURN) == pytest.approx(0.1)
    assert of(Measure.EBITDA_GROWTH) == 0.3
    assert of(Measure.RETURN_ON_EQUITY) == pytest.approx(0.1)
    assert of(Measure.DIVIDEND_YIELD) == 0.02


def test_earnings_growth_knows_no_split(panel):
    """Profit per share today over that of a year ago, both in the panel's share count."""
    then, now = day(panel, 20), day(panel, 380)
    known = facts(panel, earnings_yield=[0.05] * 5, ratios_as_of=then)
    known.fundamentals["earnings_yield"][380:] = 0.08
    known.fundamentals["ratios_as_of"][380:] = now

    got = factors.measure(Bars(panel, known), Measure.EARNINGS_GROWTH, ALONE)[:, IBM]

    close = panel.close[:, IBM]
    assert got[390] == pytest.approx(0.08 * close[380] / (0.05 * close[20]) - 1)
    assert got[350] == pytest.approx(0.0)
    assert np.isnan(got[:252]).all()


def test_a_loss_before_has_no_growth(panel):
    """From a loss no growth is told."""
    known = facts(panel, earnings_yield=[-0.05] * 5, ratios_as_of=day(panel, 0))

    got = factors.measure(Bars(panel, known), Measure.EARNINGS_GROWTH, ALONE)

    assert np.isnan(got).all()


def test_an_absent_factor_shares_its_weight_out(panel):
    """Without fundamentals the composite is momentum alone, and not a quarter of it."""
    found = factors.scores(Bars(panel), ALONE)

    assert np.isnan(found.value).all() and np.isnan(found.quality).all()
    np.testing.assert_array_equal(found.composite, found.momentum)


def test_the_composite_weighs_its_factors(panel):
    """Sum of weight times score over the root of the squared weights, name by name."""
    settings = ALONE.model_copy(update={"value_weight": 0.6, "growth_weight": 0.0})
    known = facts(
        panel,
        book_yield=[0.4, 1.0, 1.0, 0.9, np.nan],
        sales_growth=[0.1, 0.0, 0.0, 0.5, 0.2],
        total_liabilities=[1.0, 1.0, 1.0, 2.0, 4.0],
        total_assets=[8.0] * 5,
    )

    found = factors.scores(Bars(panel, known), settings)

    # Only two names have a book yield, fewer than three: value abstains. Growth has no weight.
    assert np.isnan(found.value).all()
    quality = stats.zscore([-1 / 8, -2 / 8, -4 / 8])
    np.testing.assert_allclose(found.quality[300, [AAPL, IBM, MSFT]], quality, atol=1e-9)
    expected = (0.25 * found.quality + 0.25 * found.momentum)[300] / np.hypot(0.25, 0.25)
    np.testing.assert_allclose(found.composite[300], expected, atol=1e-8)
    # Before there is momentum, quality is all there is.
    np.testing.assert_array_equal(found.composite[100], found.quality[100])


def test_measures_of_a_factor_are_averaged(panel):
    """A factor is the z-score of the mean z-score; a measure that is missing does not count."""
    settings = ALONE.model_copy(update={"quality": (Measure.LOW_DEBT, Measure.CASH_RETURN)})
    known = facts(
        panel,
        total_assets=[8.0] * 5,
        total_liabilities=[1.0, 1.0, 1.0, 2.0, 4.0],
        operating_cash_flow=[3.0, 1.0, 1.0, 1.0, 2.0],
    )

    got = factors.scores(Bars(panel, known), settings).quality[10, [AAPL, IBM, MSFT]]

    mean = stats.zscore([-1, -2, -4]) + stats.zscore([3.0, 1.0, 2.0])
    np.testing.assert_allclose(got, stats.zscore(mean), atol=1e-8)


def test_sector_means_are_taken_off(embedded_panels):
    """Names of a sector that is large enough are compared with their own; the result says how."""
    panel = embedded_panels[1]
    row = len(panel.sessions) - 1  # all five trade
    figures = [1.0, 2.0, 3.0, 20.0, 40.0]
    settings = ALONE.model_copy(update={"min_names": 2})
    plain = settings.model_copy(update={"sector_neutral": False})
    known = facts(panel, sectors=[0, 0, 0, 1, 1], sales_growth=figures)

    neutral = factors.scores(Bars(panel, known), settings)
    market = factors.scores(Bars(panel, known), plain)

    apart = np.array([-1.0, 0.0, 1.0, -10.0, 10.0])
    np.testing.assert_allclose(neutral.growth[row], apart / np.sqrt(np.mean(apart**2)), atol=1e-9)
    np.testing.assert_allclose(market.growth[row], stats.zscore(figures), atol=1e-9)
    assert not neutral.sectors_of_the_day
    assert market.sectors_of_the_day


def test_outliers_are_pulled_in(panel):
    """A figure a thousand times too large does not flatten the others."""
    settings = ALONE.model_copy(update={"winsor_quantile": 0.4})
    known = facts(panel, sales_growth=[0.1, 0.0, 0.0, 0.2, 1e6])

    got = factors.scores(Bars(panel, known), settings).growth[10, [AAPL, IBM, MSFT]]

    low, high = np.quantile([0.1, 0.2, 1e6], [0.4, 0.6])
    np.testing.assert_allclose(got, stats.zscore(np.clip([0.1, 0.2, 1e6], low, high)), atol=1e-6)


def test_who_does_not_trade_takes_no_part(panel):
    """A halted name has no score and moves nobody else's."""
    tradable = panel.tradable.copy()
    tradable[200, MSFT] = False
    settings = ALONE.model_copy(update={"min_names": 2})
    known = facts(panel, sales_growth=[0.1, 0.0, 0.0, 0.2, 0.9])

    got = factors.scores(Bars(replace(panel, tradable=tradable), known), settings).growth

    assert np.isnan(got[200, MSFT])
    np.testing.assert_allclose(got[200, [AAPL, IBM]], [-1.0, 1.0], atol=1e-9)


def test_later_facts_change_no_earlier_score(panel):
    """Cut, or told something else afterwards, a row's scores are the same to the bit."""
    names = {"book_yield": [0.4, 1, 1, 0.9, 0.7], "sales_growth": [0.1, 0, 0, 0.5, 0.2]}
    known = facts(panel, sectors=[0, 0, 0, 0, 0], ratios_as_of=day(panel, 50), **names)
    whole = factors.scores(Bars(panel, known), ALONE)
    later = facts(panel, sectors=[0, 0, 0, 0, 0], ratios_as_of=day(panel, 50), **names)
    for grid in later.fundamentals.values():
        grid[311:] *= -3.0
    restated = factors.scores(Bars(panel, later), ALONE)
    cut = factors.scores(Bars(panel.until(311), known.until(311)), ALONE)

    for name in ("value", "momentum", "growth", "composite"):
        expected = getattr(whole, name)[:311]
        np.testing.assert_array_equal(getattr(cut, name), expected)
        np.testing.assert_array_equal(getattr(restated, name)[:311], expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum_skip": 252},
        {"winsor_quantile": 0.5},
        {"value": ["unknown"]},
        dict.fromkeys(("value_weight", "quality_weight", "momentum_weight", "growth_weight"), 0.0),
        {"unknown": 1},
    ],
)
def test_settings_refuse_nonsense(wrong):
    """Impossible windows, quantiles, measures and weights are errors."""
    with pytest.raises(ValueError):
        FactorSettings(**wrong)
