"""The dated law: facts with a source, and errors where no rule stands."""

from datetime import date, time

import numpy as np
import pytest
import yaml

from trading.domain.instrument import Exchange, Market
from trading.domain.order import Side
from trading.domain.rules import (
    FEE_KINDS,
    FEE_SIDES,
    ROUNDINGS,
    MarketRules,
    as_array,
    shipped_config_dir,
    shipped_rules,
)
from trading.errors import ConfigError
from trading.sessions import SessionCalendar
from trading.simulation import account

KRX = shipped_rules(Market.KRX)
US = shipped_rules(Market.US)


def krx_document():
    """Return the shipped Korean law as its file says it."""
    path = shipped_config_dir() / "markets" / "krx.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("exchange", "price", "day", "tick"),
    [
        (Exchange.KOSPI, 700, date(2010, 10, 1), 5),
        (Exchange.KOSPI, 700, date(2010, 10, 4), 1),
        (Exchange.KOSPI, 150_000, date(2023, 1, 20), 500),
        (Exchange.KOSPI, 150_000, date(2023, 1, 25), 100),
        (Exchange.KOSDAQ, 150_000, date(2023, 1, 20), 100),
        (Exchange.KOSPI, 500_000, date(2023, 1, 25), 1000),
        (Exchange.KOSPI, 1_999, date(2024, 1, 8), 1),
        (Exchange.KOSPI, 2_000, date(2024, 1, 8), 5),
    ],
)
def test_korean_ticks_change_on_their_dates(exchange, price, day, tick):
    """Tick tables of 2010-10-04 and 2023-01-25 (PROTOCOL 13.1, 13.3)."""
    assert KRX.tick_size(exchange, price, day) == tick


@pytest.mark.parametrize(
    ("exchange", "day", "price", "tick"),
    [
        (Exchange.NYSE, date(2001, 1, 26), 1_000_000, 625),
        (Exchange.NYSE, date(2001, 1, 29), 1_000_000, 100),
        (Exchange.NASDAQ, date(2001, 4, 6), 1_000_000, 625),
        (Exchange.NASDAQ, date(2001, 4, 9), 1_000_000, 100),
        (Exchange.NASDAQ, date(2020, 1, 2), 9_999, 1),
        (Exchange.NASDAQ, date(2020, 1, 2), 10_000, 100),
    ],
)
def test_american_ticks_turn_decimal(exchange, day, price, tick):
    """Sixteenths before decimalisation, then cents, and 1/100 cent below a dollar."""
    assert US.tick_size(exchange, price, day) == tick


def test_rounding_is_never_worse_than_asked():
    """A buy rounds down, a sell up, and the result is legal."""
    day = date(2024, 1, 8)

    assert KRX.round_to_tick(Exchange.KOSPI, 54_350, day, Side.BUY) == 54_300
    assert KRX.round_to_tick(Exchange.KOSPI, 54_350, day, Side.SELL) == 54_400
    assert KRX.round_to_tick(Exchange.KOSPI, 49_960, day, Side.SELL) == 50_000
    assert not KRX.is_on_tick(Exchange.KOSPI, 54_350, day)
    assert KRX.is_on_tick(Exchange.KOSPI, 54_300, day)


@pytest.mark.parametrize(
    ("exchange", "reference", "day", "limits"),
    [
        # Amount = 54,300 x 0.3 = 16,290, floored to the tick of 54,300 (100): 16,200.
        (Exchange.KOSPI, 54_300, date(2024, 1, 8), (38_100, 70_500)),
        # 2,005 x 0.3 = 601.5 -> 600; below 2,000 the tick is 1, above it 5.
        (Exchange.KOSPI, 2_005, date(2024, 1, 8), (1_405, 2_605)),
        (Exchange.KOSPI, 10_000, date(2015, 6, 12), (8_500, 11_500)),
        (Exchange.KOSPI, 10_000, date(2015, 6, 15), (7_000, 13_000)),
        (Exchange.KOSDAQ, 10_000, date(2005, 3, 25), (8_800, 11_200)),
        (Exchange.KOSDAQ, 10_000, date(2005, 3, 28), (8_500, 11_500)),
        (Exchange.KOSPI, 0, date(2024, 1, 8), (0, 0)),
    ],
)
def test_korean_price_limits(exchange, reference, day, limits):
    """12 %, 15 % and 30 % on their dates, rounded as PROTOCOL 13.1 says."""
    assert KRX.price_limits(exchange, reference, day) == limits


@pytest.mark.parametrize(
    ("reference", "day", "lower", "upper"),
    [
        # Closes of 005930, 000270 and 012330 on days on which they were locked at the limit.
        (256_000, date(2000, 3, 2), None, 294_000),
        (4_560, date(2000, 4, 20), None, 5_240),
        (8_750, date(2001, 9, 12), 7_440, None),
        (9_920, date(2007, 10, 25), None, 11_400),
        (472_500, date(2008, 10, 24), 402_000, None),
    ],
)
def test_limits_are_where_stocks_were_locked(reference, day, lower, upper):
    """The rounding rule gives the very prices at which the market stood still."""
    limits = KRX.price_limits(Exchange.KOSPI, reference, day)

    assert limits[0] == lower or lower is None
    assert limits[1] == upper or upper is None


def test_recorded_closes_stay_inside(shared_data):
    """Of 19,529 raw closes of five KOSPI names four are outside, after lost rows; 20 at a limit."""
    import pandas as pd

    frame = pd.read_parquet(
        shared_data / "krx_daily_raw.parquet",
        columns=["date", "symbol", "raw_close", "raw_volume"],
        filters=[("symbol", "in", ["005930", "005380", "012330", "000270", "015760"])],
    )
    frame = frame[frame["raw_volume"] > 0].sort_values(["symbol", "date"])
    frame["previous"] = frame.groupby("symbol")["raw_close"].shift()
    frame = frame.dropna(subset=["previous"])

    outside = locked = 0
    for row in frame.itertuples():
        day = pd.Timestamp(row.date).date()
        lower, upper = KRX.price_limits(Exchange.KOSPI, int(row.previous), day)
        outside += not lower <= row.raw_close <= upper
        locked += row.raw_close in (lower, upper)

    assert len(frame) > 19_000
    assert outside <= 4
    assert locked >= 20


def test_no_limits_in_america():
    """The US market has no daily price limit."""
    assert US.price_limits(Exchange.NYSE, 1_000_000, date(2020, 3, 16)) == (0, 0)


def test_kospi_lots_end_in_2014():
    """KOSPI trades tens below 50,000 won to 2014-06-01; KOSDAQ never did."""
    assert KRX.lot_size(Exchange.KOSPI, 49_950, date(2014, 5, 30)) == 10
    assert KRX.lot_size(Exchange.KOSPI, 50_000, date(2014, 5, 30)) == 1
    assert KRX.lot_size(Exchange.KOSPI, 49_950, date(2014, 6, 2)) == 1
    assert KRX.lot_size(Exchange.KOSDAQ, 3_000, date(2010, 1, 4)) == 1
    assert US.lot_size(Exchange.NYSE, 10_000, date(2010, 1, 4)) == 1


@pytest.mark.parametrize(
    ("last_old", "first_new", "old_percent", "new_percent"),
    [
        (date(2019, 5, 29), date(2019, 5, 30), 0.30, 0.25),
        (date(2020, 12, 28), date(2020, 12, 29), 0.25, 0.23),
        (date(2022, 12, 27), date(2022, 12, 28), 0.23, 0.20),
        (date(2023, 12, 26), date(2023, 12, 27), 0.20, 0.18),
        (date(2024, 12, 26), date(2024, 12, 27), 0.18, 0.15),
        (date(2025, 12, 26), date(2025, 12, 29), 0.15, 0.20),
    ],
)
@pytest.mark.parametrize("exchange", [Exchange.KOSPI, Exchange.KOSDAQ])
def test_sell_tax_follows_settlement(exchange, last_old, first_new, old_percent, new_percent):
    """The first trade date of each new rate is PROTOCOL 13.3's, by way of T+2."""
    calendar = SessionCalendar(Market.KRX)

    for day, percent in ((last_old, old_percent), (first_new, new_percent)):
        fees = KRX.fees(exchange, day, KRX.settlement_date(day, calendar))
        total = sum(fee.rate_ppb for fee in fees if fee.kind == "tax")
        assert total == round(percent * 1e7)
        assert all(fee.side == "sell" for fee in fees if fee.kind == "tax")


def test_american_settlement_shortens():
    """T+3, T+2 since 2017-09-05, T+1 since 2024-05-28."""
    calendar = SessionCalendar(Market.US)

    assert US.settlement_date(date(2017, 9, 1), calendar) == date(2017, 9, 7)
    assert US.settlement_date(date(2017, 9, 5), calendar) == date(2017, 9, 7)
    assert US.settlement_date(date(2024, 5, 24), calendar) == date(2024, 5, 29)
    assert US.settlement_date(date(2024, 5, 28), calendar) == date(2024, 5, 29)


@pytest.mark.parametrize(
    ("day", "per_million"),
    [
        (date(2000, 3, 1), 33.30),
        (date(2010, 4, 1), 16.90),
        (date(2018, 5, 22), 13.00),
        (date(2024, 5, 22), 27.80),
        (date(2025, 5, 14), 0.00),
        (date(2026, 4, 4), 20.60),
    ],
)
def test_sec_fee_by_settlement(day, per_million):
    """Section 31 rates as the SEC's advisories give them."""
    fee = next(f for f in US.fees(Exchange.NYSE, day, day) if f.name == "sec_fee")

    assert fee.rate_ppb == round(per_million * 1000)
    assert (fee.unit, fee.rounding) == (100, "up")


def test_trading_activity_fee_has_a_cap():
    """0.000166 USD a share, at most 8.30 USD, in 2024 and 2025 (FINRA)."""
    day = date(2024, 6, 3)
    fee = next(f for f in US.fees(Exchange.NYSE, day, day) if f.name == "trading_activity_fee")

    assert (fee.per_share_ppm, fee.maximum) == (1_660_000, 83_000)


def test_fee_array_speaks_the_codes_of_the_compiled_core():
    """The columns and codes are those that ``simulation.account.costs`` reads."""
    day = date(2024, 6, 3)
    fees = as_array(US.fees(Exchange.NASDAQ, day, day))

    assert fees.dtype == np.int64
    assert fees.shape == (3, 7)
    assert (
        FEE_SIDES["both"],
        FEE_SIDES["buy"],
        FEE_SIDES["sell"],
    ) == (account.SIDE_BOTH, account.SIDE_BUY, account.SIDE_SELL)
    assert FEE_KINDS["tax"] == account.KIND_TAX
    assert (ROUNDINGS["down"], ROUNDINGS["up"]) == (account.ROUND_DOWN, account.ROUND_UP)
    # 1,000 shares at 50 USD: 0.25 % = 125 USD; 27.80 a million = 1.39; 0.000166 x 1,000 = 0.17.
    assert account.costs(-1, 1_000, 500_000_000, fees) == (1_250_000, 13_900 + 1_700)
    assert account.costs(1, 1_000, 500_000_000, fees) == (1_250_000, 0)


def test_other_costs_are_the_same_law():
    """Twice the fees and 10 bp of the amount more; ticks, limits and the law itself stay."""
    day = date(2024, 6, 3)
    dearer = US.costing(multiple=2, extra_ppb=1_000_000)
    fees = as_array(dearer.fees(Exchange.NASDAQ, day, day))

    # 1,000 shares at 50 USD paid 125 USD, 1.39 and 0.17; 10 bp of 50,000 USD are 50.
    assert account.costs(-1, 1_000, 500_000_000, fees) == (2_500_000 + 500_000, 27_800 + 3_400)
    assert US.costing(multiple=0).fees(Exchange.NASDAQ, day, day)[0].rate_ppb == 0
    assert as_array(US.costing().fees(Exchange.NASDAQ, day, day)).tobytes() == (
        as_array(US.fees(Exchange.NASDAQ, day, day)).tobytes()
    )
    assert dearer.tick_ladder(Exchange.NASDAQ, day) == US.tick_ladder(Exchange.NASDAQ, day)


def test_korean_hours_are_dated():
    """Close 15:30 since 2016-08-01, auction 08:30 since 2019-04-29, after-market since 2026."""
    assert KRX.hours(date(2016, 7, 29)).close == time(15, 0)
    assert KRX.hours(date(2016, 8, 1)).close == time(15, 30)
    assert KRX.hours(date(2019, 4, 26)).opening_auction == time(8, 0)
    assert KRX.hours(date(2019, 4, 29)).opening_auction == time(8, 30)
    assert KRX.hours(date(2026, 9, 11)).after_market is None
    assert KRX.hours(date(2026, 9, 14)).after_market == (time(16), time(20))
    assert KRX.hours(date(2026, 9, 14)).close == time(15, 30)


def test_dividends_are_withheld():
    """15.4 % in Korea since 2005, 15 % on US dividends."""
    assert KRX.dividend_withholding_ppb(date(2004, 12, 31)) == 165_000_000
    assert KRX.dividend_withholding_ppb(date(2005, 1, 1)) == 154_000_000
    assert US.dividend_withholding_ppb(date(2012, 1, 1)) == 150_000_000


@pytest.mark.parametrize("day", [date(1999, 12, 31), date(2028, 1, 1)])
def test_a_date_without_a_rule_is_an_error(day):
    """Neither yesterday's nor today's rule stands in; the message names market and date."""
    calendar = SessionCalendar(Market.KRX)

    for ask in (
        lambda: KRX.tick_ladder(Exchange.KOSPI, day),
        lambda: KRX.price_limits(Exchange.KOSPI, 1000, day),
        lambda: KRX.lot_size(Exchange.KOSPI, 1000, day),
        lambda: KRX.fees(Exchange.KOSPI, day, day),
        lambda: KRX.settlement_date(day, calendar),
        lambda: KRX.hours(day),
        lambda: KRX.dividend_withholding_ppb(day),
        lambda: KRX.ladder_arrays([Exchange.KOSPI], np.array([day], dtype="datetime64[D]")),
    ):
        with pytest.raises(ConfigError, match=f"krx 시장의 {day}"):
            ask()


def test_a_gap_before_the_first_row_is_an_error():
    """A law whose first row starts late has no rule before it."""
    document = krx_document()
    document["hours"] = [row for row in document["hours"] if row["from"] >= date(2016, 8, 1)]

    with pytest.raises(ConfigError, match="거래 시간"):
        MarketRules(document).hours(date(2016, 7, 29))


def test_a_law_that_contradicts_itself_is_refused():
    """Two rows of one date, a ladder out of order, a number finer than the minor unit."""
    twice = krx_document()
    twice["settlement"] = [*twice["settlement"], *twice["settlement"]]
    unordered = krx_document()
    unordered["tick_ladders"][0]["ladder"] = [[5000, 10], [0, 5]]
    too_fine = krx_document()
    too_fine["tick_ladders"][0]["ladder"] = [[0, 0.5]]

    for document, said in ((twice, "두 번"), (unordered, "오름차순"), (too_fine, "최소 단위")):
        with pytest.raises(ConfigError, match=said):
            MarketRules(document)
