"""From weights to legal orders: ticks, lots, bands, cash."""

from datetime import date

import numpy as np
import pytest

from trading.allocation.rebalance import limit_price, rebalance
from trading.domain.decision import Verdict
from trading.domain.instrument import Exchange
from trading.domain.order import Side
from trading.domain.rules import shipped_rules
from trading.simulation.ticks import round_to_tick

EQUITY = 100_000_000
DAYS = (date(2010, 10, 1), date(2015, 6, 15), date(2022, 12, 1), date(2024, 1, 8))


def ladder_of(exchange, day):
    """Return the compiled ladder in force."""
    sessions = np.array([day], dtype="datetime64[D]")
    ladders, which = shipped_rules(exchange.market).ladder_arrays([exchange], sessions)
    return ladders[which[0, 0]]


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("exchange", list(Exchange))
@pytest.mark.parametrize("side", list(Side))
def test_ticks_are_those_of_the_law(exchange, day, side):
    """The compiled rounding gives what ``domain.rules`` gives, on and beside every step."""
    rules = shipped_rules(exchange.market)
    ladder = ladder_of(exchange, day)
    steps = [bound for bound, _ in rules.tick_ladder(exchange, day)]
    prices = {p + d for p in (*steps, 1_234, 77_777, 654_321, 9_999_999) for d in range(-7, 8)}

    for price in (p for p in sorted(prices) if p > 0):
        expected = rules.round_to_tick(exchange, price, day, side)
        smallest = rules.tick_size(exchange, 1, day)
        assert round_to_tick(price, ladder, side is Side.SELL) == max(expected, smallest)


@pytest.mark.parametrize(
    ("reference", "band", "sign", "limits", "expected"),
    [
        # 73,300 × 1.02 = 74,766 → 74,700 down to the tick of 100; a sale at 71,101 → 71,200 up.
        (73_300, 0.02, 1, (51_400, 95_200), 74_700),
        (73_300, 0.03, -1, (51_400, 95_200), 71_200),
        # Over a step of the ladder: 198,000 × 1.02 = 201,960 → tick 500.
        (198_000, 0.02, 1, (0, 0), 201_500),
        # Held inside the daily limits.
        (73_300, 0.50, 1, (51_400, 95_200), 95_200),
        (73_300, 0.50, -1, (51_400, 95_200), 51_400),
        (73_300, 0.50, 1, (0, 0), 109_900),
    ],
)
def test_limit_price(reference, band, sign, limits, expected):
    """KOSPI prices of 2024 worked out by hand."""
    ladder = ladder_of(Exchange.KOSPI, date(2024, 1, 8))

    assert limit_price(reference, band, sign, ladder, *limits) == expected


def rebalanced(weights, **changes):
    """Return (target, order, verdicts) of instruments at 10,000 won bought and sold there."""
    n = len(weights)
    price = np.full(n, 10_000, dtype=np.int64)
    settings = {
        "verdicts": np.zeros(n, dtype=np.int64),
        "quantity": np.zeros(n, dtype=np.int64),
        "tradable": np.ones(n, dtype=np.int64),
        "reference": price,
        "buy_limit": price,
        "lot": np.ones(n, dtype=np.int64),
        "max_shares": np.full(n, 1_000_000, dtype=np.int64),
        "sectors": np.full(n, -1, dtype=np.int64),
        "width": np.zeros(n),
        "equity": EQUITY,
        "cash": EQUITY,
        "max_single_name": 1.0,
        "max_sector": 1.0,
        "max_gross": 9.0,
        "band": 0.02,
        "cash_buffer": 0.0,
        "buy_fee_ppb": 0,
        "resize": False,
    }
    for name, value in changes.items():
        kind = settings[name]
        settings[name] = (
            np.array(value, dtype=kind.dtype) if isinstance(kind, np.ndarray) else value
        )
    target, order, codes = rebalance(np.array(weights), *settings.values())
    return list(target), list(order), [Verdict(int(c)) for c in codes]


def test_entries_are_whole_lots():
    """7.5 % and 0.04 % of a hundred million at 10,000 won: 750 and 4 shares, in lots of ten.

    The lots bought are the nearest that together are worth no more than what is wished: 76 for
    75.9 and 25 for 25.6, unless the cap of the first forbids.
    """
    assert rebalanced([0.075, 0.0004], lot=[10, 10]) == (
        [750, 0], [750, 0], [Verdict.ALLOWED, Verdict.BELOW_LOT],
    )  # fmt: skip
    assert rebalanced([0.0759], lot=[10])[0] == [750]
    assert rebalanced([0.0759, 0.0256], lot=[10, 10])[0] == [760, 250]
    assert rebalanced([0.0759, 0.0256], lot=[10, 10], max_single_name=0.0759)[0] == [750, 260]


def test_not_tradable():
    """A wish for what cannot be traded is named; a holding that cannot be sold stays."""
    target, order, codes = rebalanced([0.1, 0.0, 0.1], tradable=[0, 0, 1], quantity=[0, 70, 0],
                                      reference=[10_000, 10_000, 0])  # fmt: skip

    assert (target, order) == ([0, 70, 0], [0, 0, 0])
    assert codes == [Verdict.NOT_TRADABLE] * 3


def test_exits_never_wait():
    """A weight of zero sells everything, band or not, resizing day or not."""
    assert rebalanced([0.0], quantity=[3])[1] == [-3]


@pytest.mark.parametrize(
    ("weight", "resize", "code", "change", "verdict"),
    [
        # Held 1,000 shares = 10 % of equity.
        (0.15, False, Verdict.ALLOWED, 0, Verdict.WITHIN_BAND),
        (0.15, True, Verdict.ALLOWED, 500, Verdict.ALLOWED),
        (0.12, True, Verdict.ALLOWED, 0, Verdict.WITHIN_BAND),
        (0.1201, True, Verdict.ALLOWED, 201, Verdict.ALLOWED),
        (0.05, False, Verdict.ALLOWED, 0, Verdict.WITHIN_BAND),
        (0.05, True, Verdict.ALLOWED, -500, Verdict.ALLOWED),
        # A limit reduces at once, but never enlarges.
        (0.05, False, Verdict.CAP_SINGLE_NAME, -500, Verdict.CAP_SINGLE_NAME),
        (0.09, False, Verdict.CAP_GROSS, 0, Verdict.CAP_GROSS),
        (0.15, False, Verdict.CAP_PORTFOLIO_VAR, 0, Verdict.CAP_PORTFOLIO_VAR),
    ],
)
def test_resizing(weight, resize, code, change, verdict):
    """Holdings change on resizing days or by a limit, beyond the band."""
    _, order, codes = rebalanced([weight], quantity=[1_000], resize=resize, verdicts=[code])

    assert (order, codes) == ([change], [verdict])


@pytest.mark.parametrize("code", [Verdict.HALTED, Verdict.REDUCING, Verdict.NO_VOLATILITY])
def test_what_is_kept_is_kept_to_the_share(code):
    """A weight that equity turns into a share less must not sell that share.

    3 shares at 290 of an equity of 7,000: int(870 / 7,000 × 7,000 / 290) may be 2.
    """
    short = [
        (q, p, e)
        for q in (1, 3, 5, 7)
        for p in range(101, 400, 7)
        for e in (7_001, 9_999, 12_345)
        if int(q * p / e * e / p) < q
    ]
    assert short

    for quantity, price, equity in short:
        _, order, _ = rebalanced(
            [quantity * price / equity],
            quantity=[quantity], verdicts=[code], reference=[price], equity=equity, resize=True,
            band=0.0,
        )  # fmt: skip
        assert order == [0]


def test_odd_rests_wait():
    """Bought one by one above 50,000 won, sold in tens below: 57 shares leave 7 behind.

    KOSPI lots before 2014-06-02; the recorded 055550 got into this in 2011.
    """
    assert rebalanced([0.0], quantity=[57], lot=[10]) == ([7], [-50], [Verdict.ALLOWED])
    assert rebalanced([0.0], quantity=[7], lot=[10]) == ([7], [0], [Verdict.BELOW_LOT])
    assert rebalanced([0.1], quantity=[57], lot=[10], resize=True)[:2] == ([997], [940])


def test_resizing_ends_at_the_edge():
    """Beyond its band a holding is moved to the edge, by a limit all the way; entries are whole."""
    wide = {"quantity": [1_000], "width": [0.03], "resize": True}

    assert rebalanced([0.15], **wide)[1] == [200]
    assert rebalanced([0.05], **wide)[1] == [-200]
    assert rebalanced([0.12], **wide)[1] == [0]
    assert rebalanced([0.05], **wide, verdicts=[Verdict.CAP_EXPOSURE])[1] == [-500]
    assert rebalanced([0.05], width=[0.03])[1] == [500]


def test_no_portfolio_grows_above_its_gross():
    """What is kept above its wish counts: 30 % of a cap of 40 % leave 1,000 shares to buy."""
    _, order, _ = rebalanced([0.29, 0.2], quantity=[3_000, 0], max_gross=0.40)

    assert order == [0, 1_000]


def test_no_sector_grows_above_its_cap():
    """What is held counts: 25 % of a cap of 30 % leave 500 shares for two of the same sector."""
    _, order, _ = rebalanced(
        [0.25, 0.05, 0.05, 0.05], quantity=[2_500, 0, 0, 0], sectors=[0, 0, 0, 1], max_sector=0.30
    )

    assert order[0] == 0
    assert order[1] + order[2] == 500
    assert order[3] == 500


def test_average_daily_volume():
    """No order is larger than its share of the volume, buying or selling, in whole lots."""
    target, order, codes = rebalanced(
        [0.1, 0.0], quantity=[0, 500], max_shares=[105, 105], lot=[10, 10]
    )

    assert (target, order) == ([100, 400], [100, -100])
    assert codes == [Verdict.CAP_ADV, Verdict.CAP_ADV]
    # Less volume than one lot is no matter of the account's size.
    target, order, codes = rebalanced(
        [0.1, 0.0], quantity=[0, 500], max_shares=[9, 9], lot=[10, 10]
    )
    assert (target, order) == ([0, 500], [0, 0])
    assert codes == [Verdict.CAP_ADV, Verdict.CAP_ADV]


def test_cash_goes_to_the_largest_weight_first():
    """Equal weights are served in the order of instruments; the last gets what is left."""
    target, order, codes = rebalanced([0.3, 0.5, 0.3], cash=10_000 * 9_000)

    # One won a share is reserved for the rounding of fees: 9,000 × 10,000 // 10,001 = 8,999.
    assert order == [3_000, 5_000, 999]
    assert target == order
    assert codes == [Verdict.ALLOWED, Verdict.ALLOWED, Verdict.NO_CASH]


def test_cash_buffer_and_fees_are_kept():
    """99 % of the cash buys shares at their limit with the dearest fee."""
    _, order, _ = rebalanced([1.0], cash=1_000_000, cash_buffer=0.01, buy_fee_ppb=10_000_000)

    # 990,000 // (10,000 + 100 + 1) = 98.
    assert order == [98]


def test_without_cash_nothing_is_bought():
    """Proceeds of the day's sales are not spent before they are there; debts are not paid."""
    for cash in (0, -5_000_000):
        target, order, codes = rebalanced([0.1, 0.0], quantity=[0, 500], cash=cash)
        assert (target, order) == ([0, 0], [0, -500])
        assert codes[0] is Verdict.NO_CASH
