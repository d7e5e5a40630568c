"""Measures of returns and drawdowns against closed forms and an independent package."""

import math

import numpy as np
import pytest

from trading import measures


@pytest.fixture(scope="module")
def closes(embedded_panels):
    """The adjusted closes of AAPL, 2000-03-01 to 2013-03-01."""
    _, adjusted = embedded_panels
    return adjusted.close[:, adjusted.symbols.index("AAPL")]


def test_of_a_recorded_history_as_empyrical_says(closes):
    """Omega, tail ratio, Sortino and Calmar ratio of AAPL are those of empyrical-reloaded 0.7.1."""
    returns = measures.returns_of(closes)

    assert len(returns) == 3269
    assert measures.omega(returns) == pytest.approx(1.1325535441817356, rel=1e-9)
    assert measures.tail_ratio(returns) == pytest.approx(1.1001010970288412, rel=1e-9)
    assert measures.sortino(returns, periods_per_year=252) == pytest.approx(
        0.9549729501237912, rel=1e-9
    )
    assert measures.max_drawdown(closes) == pytest.approx(0.818017893057771, rel=1e-9)
    assert measures.calmar(closes, periods_per_year=252) == pytest.approx(
        0.27082608715472006, rel=1e-9
    )


def test_omega_by_hand():
    """Over 1 %: gained 2 + 1, lost 3 + 1."""
    returns = np.array([0.03, 0.02, -0.02, 0.0])

    assert measures.omega(returns, 0.01) == pytest.approx(3 / 4)
    assert measures.omega(-np.abs(returns)) == 0.0
    assert math.isnan(measures.omega(np.abs(returns)))


def test_tail_ratio_needs_a_loss():
    """Without a loss at the lower quantile there is no ratio; a loss at the upper one is negative."""
    returns = np.linspace(-0.10, 0.20, 31)

    assert measures.tail_ratio(returns, 0.9) == pytest.approx(0.17 / 0.07)
    assert measures.tail_ratio(returns - 0.2, 0.9) == pytest.approx(-0.03 / 0.27)
    assert math.isnan(measures.tail_ratio(returns + 0.2))


def test_drawdown_spells_by_hand():
    """The deepest first; the open one has no recovery; a plateau's spell begins at its end."""
    equity = np.array([100.0, 120.0, 120.0, 90.0, 114.0, 120.0, 130.0, 117.0, 130.0, 104.0, 110.0])

    spells = measures.drawdown_spells(equity)

    assert [(s.peak, s.trough, s.recovery, s.length, s.recovery_length) for s in spells] == [
        (2, 3, 5, 3, 2),
        (8, 9, None, 2, None),
        (6, 7, 8, 2, 1),
    ]
    assert [s.depth for s in spells] == pytest.approx([0.25, 0.2, 0.1])


def test_drawdown_spells_of_a_recorded_history(closes):
    """Spells cover every session under water once, and the first is the maximum drawdown."""
    spells = measures.drawdown_spells(closes)
    below = measures.drawdown(closes) > 0

    covered = np.zeros(len(closes), dtype=int)
    for spell in spells:
        end = len(closes) if spell.recovery is None else spell.recovery
        covered[spell.peak + 1 : end] += 1
        assert closes[spell.trough] == closes[spell.peak : end].min()
        assert spell.depth == pytest.approx(1 - closes[spell.trough] / closes[spell.peak])
        assert spell.recovery is None or closes[spell.recovery] >= closes[spell.peak]
    np.testing.assert_array_equal(covered, below)
    assert spells[0].depth == measures.max_drawdown(closes)
    assert [s.depth for s in spells] == sorted((s.depth for s in spells), reverse=True)


@pytest.mark.parametrize("equity", [[], [100.0], [100.0, 100.0], [1.0, 2.0, 3.0]])
def test_what_never_fell_has_no_spell(equity):
    """Empty, flat and rising paths were never under water."""
    assert measures.drawdown_spells(np.array(equity)) == ()


def test_total_loss_is_a_drawdown_of_one():
    """A path that ends at 0 is down by all."""
    (spell,) = measures.drawdown_spells(np.array([10.0, 5.0, 0.0]))

    assert (spell.depth, spell.trough, spell.recovery, spell.length) == (1.0, 2, None, 2)


def test_nothing_measured_is_unknown():
    """Empty input is NaN, never zero."""
    empty = np.empty(0)

    assert math.isnan(measures.omega(empty))
    assert math.isnan(measures.tail_ratio(empty))
    assert math.isnan(measures.payoff_ratio(empty))
    assert math.isnan(measures.profit_factor(empty))


def test_payoff_and_profit_factor_by_hand():
    """Gains 3 and 1 against losses 1, 1, 2: means 2 and 4/3, sums 4 and 4."""
    outcomes = np.array([3.0, 1.0, 0.0, -1.0, -1.0, -2.0])

    assert measures.payoff_ratio(outcomes) == pytest.approx(1.5)
    assert measures.profit_factor(outcomes) == pytest.approx(1.0)
    assert measures.profit_factor(-np.abs(outcomes)) == 0.0
    assert math.isnan(measures.payoff_ratio(-np.abs(outcomes)))
    assert math.isnan(measures.payoff_ratio(np.abs(outcomes)))
    assert math.isnan(measures.profit_factor(np.abs(outcomes)))
