"""What a coarse bar promises, held against the prints of it: by hand, and on recorded minutes."""

from datetime import date

import numpy as np
import pytest

from trading import bootstrap
from trading.backtest.fills import LEVELS, SIZES, Bar, Case, Path, compare
from trading.domain.instrument import Market
from trading.errors import MissingDataError
from trading.research import fills
from trading.research.history import Scope

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

# AAPL on 2005-05-27, in cents of a dollar: open, low, high, close.
DAY = ([4_059, 4_004, 4_072, 4_056], 1_000)
CENTS = np.array([[0, 1]])


def path(prices, volume, auctions=()):
    """Return a path of prints of ``volume`` shares each."""
    return Path(
        np.array(prices, dtype=np.int64),
        np.full(len(prices), volume, dtype=np.int64),
        np.array([k in auctions for k in range(len(prices))]),
        0,
    )


def rows(coarse, fine, participation=1_000):
    """Return the rows of one bar by case and size."""
    found = compare([Bar(coarse=coarse, fine=fine, ladder=CENTS)], participation)
    return {(row.case, row.size): row for row in found}


def test_the_same_prints_agree():
    """A bar held against its own prints claims what they give, share for share and price for price."""
    same = path(*DAY, auctions=(0,))
    found = rows(same, same)

    assert sum(row.orders for row in found.values()) == 2 * len(LEVELS) * len(SIZES)
    for row in found.values():
        assert row.claimed == row.filled
        assert row.claimed_shares == row.filled_shares
        assert (row.false_fills, row.missed, row.optimism_bps, row.worst_bps) == (0, 0, 0.0, 0.0)
    assert found[Case.NEVER, 0.0].claimed == 0
    # A purchase at the low and a sale at the high.
    assert found[Case.TOUCH, 0.0].orders == 2


def test_an_extreme_that_never_was_is_a_false_fill():
    """A low that no finer print shows fills nobody there: it is counted."""
    found = rows(
        path(*DAY, auctions=(0,)), path([4_059, 4_050, 4_072, 4_056], 1_000, auctions=(0,))
    )

    # Purchases at the low, and a tenth, a quarter and half of the range above it: 40.38.
    assert found[Case.NEVER, 0.0].false_fills == 4
    assert sum(row.false_fills for (case, _), row in found.items() if case is not Case.NEVER) == 0


def test_more_shares_than_traded_there_are_told():
    """A quarter of the day at the low, of which one share in a hundred really traded there."""
    fine = Path(
        np.array([4_059, 4_004, 4_072, 4_056]),
        np.array([1_000, 10, 1_990, 1_000]),
        np.array([True, False, False, False]),
        0,
    )
    found = rows(path(*DAY, auctions=(0,)), fine)
    touch = found[Case.TOUCH, 0.05]

    # 5 % of 4,000 shares wanted, 10 % of a quarter claimed, 10 % of ten and of 1,990 there.
    assert (touch.claimed_shares, touch.filled_shares) == (100 + 100, 1 + 199)
    assert touch.excess_shares == 99


def test_recorded_minutes_prove_every_fill(shared_data, home):
    """On recorded Korean minutes no bar claims a fill that no print allowed, whatever the level."""
    installation = bootstrap.open_home(home, console=False)
    scope = Scope(
        market=Market.KRX, first=date(2025, 9, 1), last=date(2025, 9, 2), dataset=shared_data
    )

    result = fills.validate(installation, scope)

    (days,) = result["comparisons"]
    by_case = {(row["case"], row["size"]): row for row in days["rows"]}
    assert days["bars"] > 200
    assert result["false_fills"] == 0
    assert by_case["through", 0.0]["orders"] > 500
    # A single share is filled by the bar exactly where the minutes fill it.
    for case in ("at_once", "through"):
        assert by_case[case, 0.0]["claimed"] == by_case[case, 0.0]["filled"]
        assert by_case[case, 0.0]["missed"] == 0
    assert by_case["never", 0.05]["claimed"] == 0


def test_recorded_trades_prove_every_fill(shared_data, home):
    """The same of minutes against IBM's trades of 2013-10-08."""
    installation = bootstrap.open_home(home, console=False)
    scope = Scope(
        market=Market.US, first=date(2013, 10, 8), last=date(2013, 10, 8), dataset=shared_data
    )

    (minutes,) = fills.validate(installation, scope)["comparisons"]

    assert (minutes["coarse"], minutes["fine"], minutes["bars"]) == ("minute", "tick", 390)
    assert minutes["false_fills"] == 0
    assert "없던 체결을 낸 주문 0건" in fills.text({"comparisons": [minutes]})
    assert len(fills.rows(minutes)) == len(minutes["rows"]) == 4 * len(SIZES)


def test_without_anything_finer(home):
    """The embedded history has days only: one sentence."""
    with pytest.raises(MissingDataError, match="분봉도 체결도"):
        fills.validate(bootstrap.open_home(home, console=False), Scope())
