"""What is known before many opens at once: prices of orders, means, and who is in view."""

import numpy as np
import pytest

from trading.execution.mornings import MAX_VIEW_SYMBOLS, columns_of, limit_prices


def test_limit_prices():
    """Each instrument on its own ladder and limits; none without a reference price."""
    ladders = np.array([[[0, 5], [1_000, 10]], [[0, 1], [0, 1]]], dtype=np.int64)

    prices = limit_prices(
        np.array([[990, 990, 0, 990]]),
        0.10,
        1,
        ladders,
        np.array([[0, 1, 0, 1]]),
        np.array([[0, 0, 0, 900]]),
        np.array([[0, 0, 0, 1_050]]),
    )

    assert prices.tolist() == [[1_080, 1_089, 0, 1_050]]


@pytest.mark.compiled_only
def test_a_block_is_its_sessions_one_by_one(embedded_market):
    """Many mornings made at once are those that are made alone, to the bit."""
    _, views = embedded_market.views()
    together = views.between(900, 964)

    for row in (900, 917, 963):
        alone = views.between(row, row + 1)
        for name in together._fields:
            if name in ("first_row", "returns", "ceilings", "ladders"):
                continue
            np.testing.assert_array_equal(
                getattr(together, name)[row - 900], getattr(alone, name)[0], err_msg=name
            )


@pytest.mark.compiled_only
def test_the_mean_volume_is_that_of_the_sessions_before(embedded_market):
    """What may be bought follows from the days before the session, fewer at the beginning."""
    policy, views = embedded_market.views()
    volume, window = embedded_market.raw.volume, policy.risk.adv_sessions

    known = views.between(1, 200)

    for row in (1, 2, window, window + 1, 199):
        before = volume[max(0, row - window) : row]
        np.testing.assert_array_equal(known.volume[row - 1], before.sum(axis=0) // len(before))


@pytest.mark.compiled_only
def test_a_narrow_universe_is_seen_whole(embedded_market):
    """Up to the number of names a feed carries, everybody is in view."""
    _, views = embedded_market.views()

    columns = columns_of(views.between(900, 901), 0, np.zeros(5, dtype=np.bool_))

    assert columns.tolist() == list(range(5)) and len(columns) <= MAX_VIEW_SYMBOLS
