"""Caps, states and loss limits, with hand numbers at and beside each limit."""

import numpy as np
import pytest

from trading.domain.decision import Verdict
from trading.risk.limits import (
    ACTIVE,
    HALTED,
    REDUCING,
    breach,
    cap_weights,
    limit,
    next_state,
    weights_held,
)

UNKNOWN = [-1, -1, -1]


def capped(weights, sectors=UNKNOWN, *, name=1.0, sector=1.0, gross=9.0):
    """Return weights and verdicts after the caps."""
    found, codes = cap_weights(np.array(weights), np.array(sectors), name, sector, gross)
    return list(found), [Verdict(int(c)) for c in codes]


def test_single_name():
    """Only what is above the cap is cut."""
    assert capped([0.05, 0.1, 0.1001], name=0.1) == (
        [0.05, 0.1, 0.1], [Verdict.ALLOWED, Verdict.ALLOWED, Verdict.CAP_SINGLE_NAME],
    )  # fmt: skip


def test_sector():
    """Members of a full sector shrink in proportion; those without a sector are not counted."""
    weights, codes = capped([0.3, 0.1, 0.3], [0, 0, -1], sector=0.2)

    np.testing.assert_allclose(weights, [0.15, 0.05, 0.3])
    assert codes == [Verdict.CAP_SECTOR, Verdict.CAP_SECTOR, Verdict.ALLOWED]
    assert capped([0.3, 0.1, 0.3], sector=0.2)[0] == [0.3, 0.1, 0.3]


def test_gross():
    """All shrink in proportion; names without a weight carry no verdict."""
    weights, codes = capped([1.0, 0.0, 0.6], gross=0.8)

    np.testing.assert_allclose(weights, [0.5, 0.0, 0.3])
    assert codes == [Verdict.CAP_GROSS, Verdict.ALLOWED, Verdict.CAP_GROSS]


def test_caps_work_one_after_the_other():
    """0.5, 0.3, 0.3 → 0.4 by name → 0.2, 0.15 by sector 0.35 → all halved by gross."""
    weights, codes = capped([0.5, 0.3, 0.3], [0, 0, 1], name=0.4, sector=0.35, gross=0.325)

    np.testing.assert_allclose(weights, [0.1, 0.075, 0.15])
    assert codes == [Verdict.CAP_GROSS] * 3
    assert capped([], [])[0] == []


def limited(weights, held, var, state):
    """Return weights and verdicts that may stand in ``state`` with a VaR limit of 3 %."""
    found, codes = limit(
        np.array(weights), np.zeros(len(weights), dtype=np.int64), np.array(held), var, state, 0.03
    )
    return list(found), [Verdict(int(c)) for c in codes]


def test_portfolio_var():
    """At the limit nothing happens; above it all holdings shrink to it."""
    assert limited([0.5, 0.0], [0.0, 0.0], 0.03, ACTIVE)[0] == [0.5, 0.0]
    weights, codes = limited([0.5, 0.0], [0.0, 0.0], 0.04, ACTIVE)
    np.testing.assert_allclose(weights, [0.375, 0.0])
    assert codes == [Verdict.CAP_PORTFOLIO_VAR, Verdict.ALLOWED]


def test_reducing_never_raises():
    """What would rise stays; what would fall falls."""
    assert limited([0.3, 0.1, 0.2], [0.2, 0.2, 0.0], 0.0, REDUCING) == (
        [0.2, 0.1, 0.0], [Verdict.REDUCING, Verdict.ALLOWED, Verdict.REDUCING],
    )  # fmt: skip


def test_halted_moves_nothing():
    """Neither up nor down."""
    assert limited([0.3, 0.1], [0.2, 0.2], 0.5, HALTED) == (
        [0.2, 0.2], [Verdict.HALTED, Verdict.HALTED],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("equity", "previous", "peak", "verdict"),
    [
        (97_001, 100_000, 100_000, Verdict.ALLOWED),
        (97_000, 100_000, 100_000, Verdict.DAILY_LOSS),
        (85_001, 86_000, 100_000, Verdict.ALLOWED),
        (85_000, 86_000, 100_000, Verdict.CAP_DRAWDOWN),
        (80_000, 100_000, 100_000, Verdict.CAP_DRAWDOWN),
        (120_000, 100_000, 100_000, Verdict.ALLOWED),
    ],
)
def test_breach(equity, previous, peak, verdict):
    """3 % since yesterday or 15 % since the peak, at the limit and one unit above it."""
    assert Verdict(breach(equity, previous, peak, 0.03, 0.15)) is verdict


def test_drawdown_and_its_cooldown():
    """Three sessions of reducing, then the peak begins again from that day's equity."""
    assert next_state(100, 90, 0, 0.15, 3) == (ACTIVE, 100, 0)
    assert next_state(86, 100, 0, 0.15, 3) == (ACTIVE, 100, 0)

    states, peak, cooldown = [], 100, 0
    for equity in (85, 84, 83, 82, 82):
        state, peak, cooldown = next_state(equity, peak, cooldown, 0.15, 3)
        states.append((state, peak))

    assert states == [
        (REDUCING, 100), (REDUCING, 100), (REDUCING, 100), (ACTIVE, 82), (ACTIVE, 82),
    ]  # fmt: skip


def test_weights_held():
    """Shares of equity; of nothing, none."""
    quantity, price = np.array([2, 0]), np.array([30, 10])
    assert list(weights_held(quantity, price, 600)) == [0.1, 0.0]
    assert list(weights_held(quantity, price, 0)) == [0.0, 0.0]
