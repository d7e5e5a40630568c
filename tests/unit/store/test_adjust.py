"""Actions are found in raw and adjusted closes, and prices and returns follow from them."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.errors import DataError
from trading.simulation.account import Account
from trading.store.adjust import (
    KIS_KRX,
    KIS_US,
    KOREAN_VENDOR,
    WIKI,
    DividendBase,
    Vendor,
    actions_from_base,
    factors,
    infer_actions,
    total_return,
)
from trading.store.datasets import EmbeddedSource
from trading.store.panels import assemble_panels

SOURCE = EmbeddedSource()
FIRST, LAST = date(2004, 1, 2), date(2005, 12, 30)
SPLIT, RIGHTS, DIVIDEND = ActionKind.SPLIT, ActionKind.RIGHTS, ActionKind.CASH_DIVIDEND


def bars(symbols: list[str] | None = None, first: date = FIRST, last: date = LAST) -> pd.DataFrame:
    return SOURCE.daily(Market.US, symbols, first, last)


def found(symbol: str) -> list[CorporateAction]:
    return [a for a in SOURCE.actions(Market.US, *(date(2000, 1, 1), LAST)) if a.symbol == symbol]


def series(close: list[int], **columns: list[float]) -> pd.DataFrame:
    """Return one symbol's rows on consecutive days."""
    return pd.DataFrame(
        {
            "session": pd.date_range("2020-01-02", periods=len(close)),
            "symbol": "X",
            "close": close,
            "volume": 1,
            "basis": "raw",
            **columns,
        }
    )


def terms(actions: list[CorporateAction]) -> list[tuple[ActionKind, float]]:
    """Return kind and ratio, as far as whole won can tell it."""
    return [(a.kind, round(a.numerator / a.denominator, 3)) for a in actions]


def test_splits_are_those_that_happened():
    """AAPL 2:1 on 2000-06-21 and 2005-02-28, MSFT 2:1 on 2003-02-18 (company notices)."""
    splits = [
        (a.symbol, a.ex_date, a.numerator, a.denominator)
        for a in SOURCE.actions(Market.US, date(2000, 1, 1), date(2013, 12, 31))
        if a.kind is SPLIT
    ]

    assert splits == [
        ("AAPL", date(2000, 6, 21), 2, 1),
        ("AAPL", date(2005, 2, 28), 2, 1),
        ("MSFT", date(2003, 2, 18), 2, 1),
    ]


def test_special_dividend_is_a_dividend():
    """MSFT paid 3.00 special and 0.08 regular on 2004-11-15; an 11 % step is no 10:9 split."""
    (action,) = [a for a in found("MSFT") if a.ex_date == date(2004, 11, 15)]

    assert (action.kind, action.amount, action.inferred) == (DIVIDEND, 30_800, True)


def test_ibm_pays_four_times_a_year():
    """IBM's quarterly dividends 2001-2012: 48, from 0.13 to 0.85 dollars (IBM dividend history)."""
    paid = [
        a.amount
        for a in SOURCE.actions(Market.US, date(2001, 1, 1), date(2012, 12, 31))
        if a.symbol == "IBM"
    ]

    assert len(paid) == 48
    assert (paid[0], paid[-1]) == (1_300, 8_500)
    assert all(amount % 100 == 0 for amount in paid)


def test_previous_close_convention():
    """Yahoo's factor 1 - D / previous close: 48.00 and D = 1.20 give 0.975."""
    frame = series([480_000, 470_000], adj_close=[48.0 * 0.975, 47.0])

    (action,) = infer_actions(
        frame, minor_per_unit=10_000, vendor=Vendor(dividends=DividendBase.PREVIOUS_CLOSE)
    )

    assert (action.kind, action.amount) == (DIVIDEND, 12_000)


def test_rounded_adjusted_closes_are_no_dividends():
    """A series rounded to cents steps by rounding alone; only the real events are found."""
    frame = bars(["AAPL"], date(2005, 1, 3), date(2005, 4, 29))
    frame["adj_close"] = frame["adj_close"].round(2)

    (action,) = infer_actions(frame, minor_per_unit=10_000, vendor=Vendor(adj_unit=0.01))

    assert (action.kind, action.ex_date) == (SPLIT, date(2005, 2, 28))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        # Adjusted before the ex-date: 10,000 won is worth so much after it.
        (0.5, (SPLIT, 2)),
        (0.1, (SPLIT, 10)),
        (0.8, (SPLIT, 1.25)),
        (10.0, (SPLIT, 0.1)),
        # A rights issue at 8,700; no small ratio.
        (0.87, (RIGHTS, 1.149)),
        # Seven old shares for two new ones.
        (3.5, (SPLIT, 0.286)),
        # A base price set anew after a spin-off: nobody lost shares.
        (1.05, (RIGHTS, 0.952)),
    ],
)
def test_what_a_step_means_where_dividends_make_none(factor, expected):
    """A Korean vendor adjusts for splits, rights and reductions only."""
    frame = series([10_000] * 6 + [round(10_000 * factor)] * 6, adj_close=[10_000 * factor] * 12)

    actions = infer_actions(frame, minor_per_unit=1, vendor=KOREAN_VENDOR)

    assert terms(actions) == [expected]
    assert actions[0].ex_date == date(2020, 1, 8)


def test_a_single_day_that_disagrees_is_no_action():
    """Raw and adjusted closes of two feeds differ for a day by 8 %: nothing happened."""
    adjusted = [10_000.0] * 15
    adjusted[7] = 10_800.0

    assert not infer_actions(
        series([10_000] * 15, adj_close=adjusted), minor_per_unit=1, vendor=KOREAN_VENDOR
    )


def test_a_halt_ends_with_its_action():
    """Halted rows say when the price was restated; their own prices prove nothing."""
    frame = series(
        [10_000] * 5 + [1_000] * 3 + [1_050] * 5, adj_close=[1_000.0] * 8 + [1_050.0] * 5
    )
    frame.loc[5:7, "volume"] = 0

    (action,) = infer_actions(frame, minor_per_unit=1, vendor=KOREAN_VENDOR)

    assert terms([action]) == [(SPLIT, 10)]
    assert action.ex_date == date(2020, 1, 7)


def test_an_action_of_this_morning():
    """Before any bar of the ex-date the adjusted close of the evening before tells the split."""
    frame = pd.concat(
        [
            series([10_000] * 3, adj_close=[2_000.0] * 3),
            series([500] * 3, adj_close=[500.0] * 3).assign(symbol="Y"),
        ]
    )
    left = series([700], adj_close=[350.0]).assign(symbol="GONE")

    actions = infer_actions(
        pd.concat([left, frame]),
        minor_per_unit=1,
        vendor=KIS_KRX,
        known_on=date(2020, 1, 6),
    )

    assert [(a.symbol, a.ex_date) for a in actions] == [("X", date(2020, 1, 6))]
    assert terms(actions) == [(SPLIT, 5)]
    assert infer_actions(frame, minor_per_unit=1, vendor=KIS_KRX) == []


def test_the_shares_tell_a_reduction_from_the_first_auction():
    """One for three whose first auction opened 8 % higher: the shares say one for three."""
    close, adjusted = [1_000] * 6 + [3_240] * 6, [3_240.0] * 12
    shares = [300] * 6 + [100] * 6

    plain = infer_actions(series(close, adj_close=adjusted), minor_per_unit=1, vendor=KOREAN_VENDOR)
    told = infer_actions(
        series(close, adj_close=adjusted, shares=shares), minor_per_unit=1, vendor=KOREAN_VENDOR
    )

    assert terms(plain) == [(SPLIT, 0.309)]
    assert terms(told) == [(SPLIT, 0.333)]


@pytest.mark.parametrize(
    ("base", "shares", "expected"),
    [
        (5_000, None, [(SPLIT, 2)]),
        (8_690, None, [(RIGHTS, 1.151)]),
        (33_200, [300, 100], [(SPLIT, 0.333)]),
        (10_000, None, []),
        # No rights issue takes three quarters out of a price.
        (2_300, None, []),
    ],
)
def test_official_base_prices(base, shares, expected):
    """A session's change is counted from the base price, which an ex-date moves."""
    frame = series([10_000, base], base=[10_000, base])
    if shares:
        frame["shares"] = shares

    assert terms(actions_from_base(frame, source="marcap")) == expected


IBM = bars(["IBM"])[["session", "symbol", "close", "volume"]]  # no split in these two years


@settings(max_examples=100, deadline=None)
@given(
    st.integers(5, len(IBM) - 6),
    st.sampled_from([0.5, 0.2, 0.1, 0.02, 2.0, 10.0, 0.93, 0.87, 0.7]),
    st.lists(st.integers(0, len(IBM) - 1), max_size=20),
    st.randoms(use_true_random=False),
)
def test_one_action_in_noise(ex, factor, corrupt, random):
    """Whole units, days that disagree, any order of rows: exactly the action is found.

    Recorded closes in cents stand for won; adjusted ones are cut to whole units.
    """
    frame = IBM.assign(close=IBM["close"] // 100)
    adjusted = frame["close"].to_numpy(dtype=np.float64)
    frame.loc[: ex - 1, "close"] = np.round(frame["close"].to_numpy()[:ex] / factor).astype(int)
    adjusted = np.floor(adjusted)
    # Not beside the action: there nothing can tell a wrong price from it.
    for row in corrupt:
        if abs(row - ex) > 6:
            adjusted[row] = np.floor(adjusted[row] * random.choice([0.92, 0.995, 1.005, 1.1]))
    frame = frame.assign(adj_close=adjusted).sample(frac=1.0, random_state=random.randrange(2**32))

    (action,) = infer_actions(frame, minor_per_unit=1, vendor=KOREAN_VENDOR)

    assert action.ex_date == IBM["session"].iloc[ex].date()
    assert action.numerator / action.denominator == pytest.approx(1 / factor, rel=0.003)
    assert action.kind is (RIGHTS if 0.5 < factor < 1 else SPLIT)


KRX_SPLITS = [
    # symbol, ex-date, new shares for one old; the last two are bonus issues
    ("090430", date(2015, 5, 8), 10),
    ("002790", date(2015, 5, 8), 10),
    ("003670", date(2015, 5, 4), 10),
    ("027410", date(2016, 11, 23), 2),
    ("004990", date(2016, 4, 27), 10),  # first day of the halt; traded again on 2016-05-17
    ("056190", date(2017, 6, 14), 2),
    ("213420", date(2017, 6, 16), 2),
]


@pytest.fixture
def krx_raw(shared_data: Path) -> pd.DataFrame:
    """Return the recorded raw closes of KRX with the vendor's adjusted ones."""
    frame = pd.read_parquet(shared_data / "krx_daily_raw.parquet")
    return frame.rename(columns={"date": "session", "raw_close": "close", "raw_volume": "volume"})


def test_krx_raw_closes(krx_raw: pd.DataFrame):
    """Known splits are all found, and 582,681 rows of rounded and noisy closes make no others.

    Restated by the 124, 118 first moves are within 16 %; three ratios are wrong for a wrong raw
    price before them (001470, 034310, 217270).
    """
    actions = infer_actions(krx_raw, minor_per_unit=1, vendor=KOREAN_VENDOR)
    splits = {(a.symbol, a.ex_date): a for a in actions if a.kind is SPLIT}

    for symbol, ex_date, new in KRX_SPLITS:
        action = splits[symbol, ex_date]
        assert (action.numerator, action.denominator) == (new, 1)
    assert 115 <= len(actions) <= 130
    # Samsung, Hyundai, POSCO, KEPCO: nothing happened to their shares before 2017-07.
    assert not {"005930", "005380", "005490", "015760"} & {a.symbol for a in actions}
    # Another company's prices are woven into the raw series of 032640.
    assert "032640" not in {a.symbol for a in actions}


def test_krx_reductions_follow_the_shares_outstanding(shared_data: Path):
    """Official raw closes, shares and a vendor's adjusted closes of 2021-2025 agree on reductions."""
    raw = pd.read_parquet(
        shared_data / "krx_cross_section.parquet",
        columns=["date", "symbol", "close", "volume", "shares"],
    )
    adjusted = pd.read_parquet(
        shared_data / "krx_daily.parquet",
        columns=["date", "symbol", "close"],
        filters=[("date", ">=", date(2021, 1, 1))],
    )
    frame = raw.merge(adjusted.rename(columns={"close": "adj_close"}), on=["date", "symbol"])
    frame = frame.rename(columns={"date": "session"}).sort_values(["symbol", "session"])
    frame["session"] = pd.to_datetime(frame["session"])
    frame["before"] = frame.groupby("symbol")["session"].shift()
    frame["shares_before"] = frame.groupby("symbol")["shares"].shift()

    actions = infer_actions(frame, minor_per_unit=1, vendor=KOREAN_VENDOR)
    rows = frame.set_index(["symbol", "session"])
    # The record is of some weeks at the start of each year: between them anything may happen.
    inside = [
        (a, rows.loc[(a.symbol, pd.Timestamp(a.ex_date))])
        for a in actions
        if rows.loc[(a.symbol, pd.Timestamp(a.ex_date)), "before"]
        > pd.Timestamp(a.ex_date) - timedelta(days=30)
    ]
    reduced = [
        (a.numerator / a.denominator, row["shares"] / row["shares_before"])
        for a, row in inside
        if a.kind is SPLIT and row["shares"] < row["shares_before"]
    ]

    assert 40 <= len(inside) <= 60
    assert len(reduced) >= 8
    assert all(abs(ratio / left - 1) < 0.01 for ratio, left in reduced)


# ---- factors -------------------------------------------------------------------------------


def test_factors_are_those_of_the_panel():
    """The adjusted close of a panel is the raw close times the factors up to its day."""
    frame = bars()
    actions = SOURCE.actions(Market.US, FIRST, LAST)
    sessions = sorted({d.date() for d in frame["session"]})
    _, adjusted = assemble_panels(frame, actions, sessions, Market.US, None)

    table = factors(frame, actions)

    days = np.array(sessions, dtype="datetime64[D]")
    for column, symbol in enumerate(adjusted.symbols):
        own = table.loc[table["symbol"] == symbol]
        close = frame.loc[frame["symbol"] == symbol].set_index("session")["close"]
        factor = np.array(
            [own.loc[own["ex_date"] <= day, "price"].prod() for day in close.index.to_numpy()]
        )
        row = np.searchsorted(days, close.index.to_numpy().astype("datetime64[D]"))
        np.testing.assert_allclose(adjusted.close[row, column], close * factor, rtol=1e-12)


def test_apples_factor_of_2005():
    """88.99 became 44.495: two shares for one, and no other factor in two years."""
    (row,) = factors(bars(["AAPL"]), found("AAPL")).to_dict("records")

    assert row == {
        "symbol": "AAPL",
        "ex_date": pd.Timestamp(2005, 2, 28),
        "previous": 889_900,
        "base": 444_950,
        "shares": 2.0,
        "price": 2.0,
    }


def test_a_dividend_goes_to_the_old_shares_before_a_right_and_a_split():
    """All three on one morning: 1,000 - 100 = 900, a right of 900:810, then 3:1 is 270."""
    morning = date(2020, 1, 3)
    actions = [
        CorporateAction(symbol="X", ex_date=morning, kind=SPLIT, numerator=3),
        CorporateAction(symbol="X", ex_date=morning, kind=RIGHTS, numerator=10, denominator=9),
        CorporateAction(symbol="X", ex_date=morning, kind=DIVIDEND, amount=100),
    ]

    (row,) = factors(series([1_000, 280]), actions).to_dict("records")

    assert (row["previous"], row["base"], row["shares"]) == (1_000, 270, 3.0)
    assert row["price"] == pytest.approx(1_000 / 900 * 10 / 9 * 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 503), st.randoms(use_true_random=False))
def test_what_is_known_on_a_day(cut, random):
    """Later rows and actions, and the order of rows, change nothing that was known on a day."""
    frame = bars(["AAPL", "IBM"])
    actions = SOURCE.actions(Market.US, FIRST, LAST)
    day = sorted(frame["session"].unique())[cut]
    known = day.date()
    shuffled = frame.sample(frac=1.0, random_state=random.randrange(2**32))
    cut_off = frame.loc[frame["session"] <= day]

    pd.testing.assert_frame_equal(
        factors(shuffled, actions, known_on=known),
        factors(cut_off, [a for a in actions if a.ex_date <= known]),
    )
    pd.testing.assert_frame_equal(
        total_return(shuffled, actions, known_on=known), total_return(cut_off, actions)
    )


# ---- total return --------------------------------------------------------------------------


def test_total_return_by_hand():
    """100 to 110; 5 paid at 104.50; three for two at 70; the right at 63 is lost."""
    actions = [
        CorporateAction(symbol="X", ex_date=date(2020, 1, 4), kind=DIVIDEND, amount=50_000),
        CorporateAction(
            symbol="X", ex_date=date(2020, 1, 5), kind=SPLIT, numerator=3, denominator=2
        ),
        CorporateAction(
            symbol="X", ex_date=date(2020, 1, 6), kind=RIGHTS, numerator=10, denominator=9
        ),
    ]
    frame = series([1_000_000, 1_100_000, 1_045_000, 700_000, 630_000])

    result = total_return(frame, actions)
    net = total_return(frame, actions, rules=shipped_rules(Market.US))

    steps = [1.0, 1.1, (104.5 + 5) / 110, 70 * 1.5 / 104.5, 63 / 70]
    np.testing.assert_allclose(result["gross"], np.cumprod(steps), rtol=1e-12)
    steps[2] = (104.5 + 5 * 0.85) / 110  # a Korean resident pays 15 % to the United States
    np.testing.assert_allclose(net["net"], np.cumprod(steps), rtol=1e-12)


def test_total_return_is_what_an_account_earns():
    """100 IBM, dividends kept as cash: the account's gain is the dividends plus the price."""
    frame = bars(["IBM"])
    actions = [a for a in SOURCE.actions(Market.US, FIRST, LAST) if a.symbol == "IBM"]
    rules = shipped_rules(Market.US)
    holder = Account(Market.US, 0)
    holder.restore({"cash": 0, "positions": {"IBM": [100, 0]}, "traded": {}})
    for action in actions:
        holder.apply_action(
            action, reference=0, withholding_ppb=rules.dividend_withholding_ppb(action.ex_date)
        )
    last = int(frame["close"].iloc[-1])

    grown = total_return(frame, actions, rules=rules)["net"].iloc[-1]

    first = int(frame["close"].iloc[0])
    kept_as_cash = holder.equity({"IBM": last}) / (100 * first)
    # Reinvested dividends earn a little on top of 1.5 % in two years.
    assert grown == pytest.approx(kept_as_cash, abs=0.001)
    assert grown > last / first + 0.01


def test_no_total_return_of_adjusted_prices():
    """A dividend was paid on the price that was traded."""
    frame = series([100, 101]).assign(basis="adjusted")

    with pytest.raises(DataError, match="수정한 가격"):
        total_return(frame, [])


def test_what_is_no_price_is_left_out():
    """Zero, negative, missing and infinite closes stand for nothing."""
    frame = series(
        [10_000, 10_000, 0, -5, 10_000, 10_000, 5_000],
        adj_close=[5_000.0, float("nan"), 1.0, 1.0, float("inf"), 0.0, 5_000.0],
    )

    (action,) = infer_actions(frame, minor_per_unit=1, vendor=KIS_KRX)

    assert terms([action]) == [(SPLIT, 2)]
    assert action.ex_date == date(2020, 1, 8)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 9, 500, 10_000, 3_000_000]),
            st.sampled_from([0.0, 1.0, 3.0, 499.0, 10_000.0, 1e9, float("nan")]),
            st.sampled_from([0, 1, 10**9]),
            st.sampled_from(["X", "Y"]),
        ),
        max_size=40,
    ),
    st.sampled_from([WIKI, KOREAN_VENDOR, KIS_KRX, KIS_US]),
    st.sampled_from([None, date(2030, 1, 2)]),
)
def test_any_numbers_give_actions_that_can_be_applied(rows, vendor, known_on):
    """Whatever a vendor writes, what is found has whole positive terms and moves a price."""
    frame = series([close for close, *_ in rows], adj_close=[adjusted for _, adjusted, *_ in rows])
    frame["volume"] = [volume for *_, volume, _ in rows]
    frame["symbol"] = [symbol for *_, symbol in rows]

    for action in infer_actions(frame, minor_per_unit=1, vendor=vendor, known_on=known_on):
        assert action.numerator > 0 < action.denominator
        assert (action.numerator != action.denominator) is (action.kind is not DIVIDEND)
        assert (action.amount > 0) is (action.kind is DIVIDEND)
        assert action.ex_price(10_000) > 0


def test_repeated_rows_are_refused():
    """Two closes of one day have no factor."""
    frame = series([100, 101])
    with pytest.raises(DataError, match="행이 여럿"):
        factors(pd.concat([frame, frame]), [])


def test_nothing_in_nothing_out():
    """No rows, no actions."""
    empty = series([]).astype({"session": "datetime64[s]"}).assign(adj_close=[], base=[])

    assert infer_actions(empty, minor_per_unit=1, vendor=WIKI) == []
    assert actions_from_base(empty) == []
    assert factors(empty, []).empty
    assert total_return(empty, []).empty
