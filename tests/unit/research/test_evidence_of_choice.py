"""Whether the best of a sweep is more than luck, over recorded returns."""

import numpy as np
import pytest

from trading import measures
from trading.backtest.settings import ReportSettings, ResearchSettings, WalkForwardSettings
from trading.research.evidence import (
    against_universe,
    choice_lines,
    dispersion,
    evidence_of_choice,
)

SETTINGS = ResearchSettings(report=ReportSettings(repetitions=200))


@pytest.fixture(scope="module")
def universe(embedded_panels):
    """Returns of the S&P 500, 2000-03-01 to 2013-03-01, in the place of the universe."""
    _, adjusted = embedded_panels
    return measures.returns_of(adjusted.benchmark)


@pytest.fixture(scope="module")
def single(embedded_panels):
    """Returns of IBM, the same sessions."""
    _, adjusted = embedded_panels
    return measures.returns_of(adjusted.close[:, adjusted.symbols.index("IBM")])


def test_more_or_less_of_the_market_is_no_skill(universe, single):
    """Half a market, and cash, are their beta; what earns 20 bp a session beside it is more."""
    # 0.1 + 0.2 is not 0.3: what is left beside the beta is rounding.
    part = 0.1 * universe + 0.2 * universe
    found = evidence_of_choice([part, 0.0 * universe, single], universe, SETTINGS)
    better = evidence_of_choice([0.5 * universe, single + 0.002], universe, SETTINGS)

    assert found["superiority"]["superior"] == []
    assert found["superiority"]["p_value"] > 0.05
    assert better["superiority"]["superior"] == [1]
    assert better["superiority"]["p_value"] == pytest.approx(1 / 201)


def test_copies_were_not_chosen(universe, single):
    """Of equals none is the best: a probability of one half."""
    found = evidence_of_choice([single, single, single], universe, SETTINGS)

    assert found["overfitting"]["pbo"] == 0.5
    assert any("PBO) 50 %" in line for line in choice_lines(found))


def test_what_cannot_be_said_is_not_said(universe, single):
    """One configuration was not chosen; an unknown universe, short spans and nothing say nothing."""
    alone = evidence_of_choice([single], universe, SETTINGS)
    holes = evidence_of_choice([single, universe], np.full(len(single), np.nan), SETTINGS)
    short = evidence_of_choice([single[:10], universe[:10]], universe[:10], SETTINGS)
    nothing = evidence_of_choice([], universe, SETTINGS)

    assert alone["overfitting"] is None
    assert alone["superiority"] is not None
    assert holes["superiority"] is None
    assert short == nothing == {"overfitting": None, "superiority": None}
    assert choice_lines(nothing) == []


def test_the_same_returns_say_the_same(universe, single):
    """The seed of the settings is the only chance."""
    first, second = (evidence_of_choice([single, universe], universe, SETTINGS) for _ in range(2))

    assert first == second


def test_a_choice_that_is_always_the_same_does_not_spread(universe, single):
    """What is best on any sessions is chosen by every path, which then is the account itself."""
    better = single + 0.002
    found = dispersion([single, better], WalkForwardSettings(), periods_per_year=252)

    expected = measures.sharpe(better, periods_per_year=252)
    assert found["paths"] == 5  # C(6, 2) splits of two groups each over six groups
    assert found["sharpe_least"] == pytest.approx(expected, rel=1e-12)
    assert found["sharpe_most"] == pytest.approx(expected, rel=1e-12)


def test_a_choice_among_the_like_spreads(embedded_panels, universe):
    """Where the best changes with the sessions (Microsoft or the index), the paths differ."""
    _, adjusted = embedded_panels
    like = measures.returns_of(adjusted.close[:, adjusted.symbols.index("MSFT")])
    found = dispersion([universe, like], WalkForwardSettings(), periods_per_year=252)

    assert found["sharpe_least"] <= found["sharpe_median"] <= found["sharpe_most"]
    assert found["sharpe_least"] < found["sharpe_most"]


def test_nothing_was_chosen(universe):
    """One account, accounts that never moved, or fewer sessions than groups tell no spread."""
    settings = WalkForwardSettings()

    assert dispersion([universe], settings, periods_per_year=252) is None
    still = [0.0 * universe, 0.0 * universe]
    assert dispersion(still, settings, periods_per_year=252) is None
    assert dispersion([universe[:5], universe[:5]], settings, periods_per_year=252) is None


def test_half_the_market_is_its_beta(universe, single):
    """What earns 20 bp a session beside half the index has that alpha, half its beta, and a proof."""
    noise = 0.1 * (single - np.mean(single))
    found = against_universe(0.5 * universe + 0.002 + noise, universe, periods_per_year=252)
    slope = float(np.cov(noise, universe)[0, 1] / np.var(universe, ddof=1))

    assert found["beta"] == pytest.approx(0.5 + slope)
    assert found["alpha"] == pytest.approx(252 * (0.002 - slope * np.mean(universe)))
    assert found["alpha_t"] > 10


def test_nothing_to_hold_against(universe):
    """An account that never moved, and a record that is too short, are held against nothing."""
    assert against_universe(0.0 * universe, universe, periods_per_year=252) is None
    assert against_universe(universe[:19], universe[:19], periods_per_year=252) is None
